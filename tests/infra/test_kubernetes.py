"""The manifests, held against the schemas of Kubernetes and KEDA, and against each other."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
FILES = [path for path in sorted(FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml"]
MANIFESTS = [manifest for path in FILES for manifest in yaml.safe_load_all(path.read_text())]
OF_KEDA = {"ScaledObject": keda.ScaledObject, "TriggerAuthentication": keda.TriggerAuthentication}


def closed(schema):
    """The schema, refusing properties it does not know."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


def mistakes(manifest):
    if manifest["apiVersion"] == "keda.sh/v1alpha1":
        schema = closed(OF_KEDA[manifest["kind"]].model_json_schema())
        return [error.message for error in Draft202012Validator(schema).iter_errors(manifest)]
    try:
        kubernetes_validate.validate(manifest, "1.34", strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    return []


def one(kind):
    (found,) = [manifest for manifest in MANIFESTS if manifest["kind"] == kind]
    return found


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_schema(manifest):
    assert not mistakes(manifest)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_a_misspelt_property_is_found(manifest):
    assert mistakes({**manifest, "sepc": {}})


def test_misspelt_properties_inside_are_found():
    scaled = one("ScaledObject")
    assert mistakes({**scaled, "spec": {**scaled["spec"], "minReplicas": 1}})
    deployment = one("Deployment")
    assert mistakes({**deployment, "spec": {**deployment["spec"], "replica": 1}})


def test_kustomization_lists_every_file():
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert sorted(kustomization["resources"]) == [path.name for path in FILES]


def test_names_fit_together():
    pod = one("Deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
    assert one("Service")["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert one("Service")["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert container["envFrom"][0]["configMapRef"]["name"] == one("ConfigMap")["metadata"]["name"]
    scaled = one("ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == one("Deployment")["metadata"]["name"]
    queue, prometheus = scaled["triggers"]
    assert queue["authenticationRef"]["name"] == one("TriggerAuthentication")["metadata"]["name"]
    assert queue["metadata"]["queueName"] == one("ConfigMap")["data"]["SCORE_QUEUE"]
    identity = one("ServiceAccount")["metadata"]["annotations"]["azure.workload.identity/client-id"]
    assert one("TriggerAuthentication")["spec"]["podIdentity"]["identityId"] == identity
    figure = re.search(r"\((\w+)\)", prometheus["metadata"]["query"]).group(1)
    sources = (ROOT / "handler/src").rglob("*.rs")
    assert any(f'"{figure}"' in source.read_text() for source in sources)


def test_probes_ask_the_health_functions():
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/api/health/live", "liveness": "/api/health/live", "readiness": "/api/health/ready"}


def test_secrets_of_the_readme_are_those_of_the_deployment():
    made = set(re.findall(r"create secret generic ([\w-]+)", (FOLDER / "README.md").read_text()))
    asked = re.findall(r"(?:secretName|secretKeyRef:\s+name): ([\w-]+)", (FOLDER / "deployment.yaml").read_text())
    assert made == set(asked)
    assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS}
