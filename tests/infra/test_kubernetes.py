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
FOLDERS = [FOLDER, FOLDER / "standalone", FOLDER / "bulk"]


def read(folder):
    files = [path for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [manifest for path in files for manifest in yaml.safe_load_all(path.read_text())]


HOST, STANDALONE, BULK = map(read, FOLDERS)  # with the Functions host, without it, and a job without HTTP
MANIFESTS = HOST + STANDALONE + BULK
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


def one(kind, manifests=HOST):
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
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


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kustomization_lists_every_file(folder):
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


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
    metric = re.search(r"\((\w+)\)", prometheus["metadata"]["query"]).group(1)
    sources = (ROOT / "handler/src").rglob("*.rs")
    assert any(f'"{metric}"' in source.read_text() for source in sources)


@pytest.mark.parametrize("manifests", [HOST, STANDALONE], ids=["host", "standalone"])
def test_probes_ask_the_handler(manifests):
    (container,) = one("Deployment", manifests)["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/api/health/live", "liveness": "/api/health/live", "readiness": "/api/health/ready"}
    assert all(container[f"{name}Probe"]["httpGet"]["port"] == "http" for name in paths)


@pytest.mark.parametrize("manifests", [HOST, STANDALONE], ids=["host", "standalone"])
def test_pods_stop_without_losing_calls(manifests):
    """The pod leaves the service first, and what is in work may take SCORE_TIMEOUT (60 s) after that."""
    pod = one("Deployment", manifests)["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= 5 and pod["terminationGracePeriodSeconds"] >= pause + 60


def test_the_host_drains_when_it_is_stopped():
    """Else it drops the messages in work, and others score them again."""
    assert one("ConfigMap")["data"]["FUNCTIONS_ENABLE_DRAIN_ON_APP_STOPPING"] == "1"


def test_names_of_the_standalone_manifests_fit_together():
    deployment, dockerfile = one("Deployment", STANDALONE), (ROOT / "Dockerfile").read_text()
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert one("Service", STANDALONE)["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert one("HorizontalPodAutoscaler", STANDALONE)["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    stage = dockerfile.split(" AS standalone\n")[1].split("\nFROM ")[0]
    assert f"EXPOSE {container['ports'][0]['containerPort']}" in stage and "SCORE_PORT=8080" in stage
    assert f"USER {pod['spec']['securityContext']['runAsUser']}" in stage
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("manifests", [HOST, STANDALONE, BULK], ids=["host", "standalone", "bulk"])
def test_pods_have_no_more_rights_than_they_need(manifests):
    pod = one("Job" if manifests is BULK else "Deployment", manifests)["spec"]["template"]["spec"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False and not rights.get("privileged")
        assert rights["capabilities"]["drop"] == ["ALL"]
        low = any(port["containerPort"] < 1024 for port in container.get("ports", []))
        assert rights["capabilities"].get("add", []) == (["NET_BIND_SERVICE"] if low else [])
    if manifests is not HOST:
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["automountServiceAccountToken"] is False
        assert rights["readOnlyRootFilesystem"] is True


def test_the_job_scores_a_file_on_its_volume():
    """A pod that is killed is followed by one that goes on; what would end in the same way again is not tried again."""
    job = one("Job", BULK)["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == one("Deployment", STANDALONE)["spec"]["template"]["spec"]["containers"][0]["image"]
    command, *options = container["args"]
    source = (ROOT / "handler/src/commands/arguments.rs").read_text()
    known = source.split("pub struct ScoreArguments")[1].split("\n}\n")[0]
    fields = {"in": "input", "out": "output"}
    options = {name.removeprefix("--"): value for name, _, value in (option.partition("=") for option in options)}
    assert command == "score" and "resume" in options
    assert all(f"pub {fields.get(name, name)}: " in known for name in options)
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "files"]
    assert all(options[name].startswith(mount["mountPath"] + "/") for name in ("in", "out"))
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [1, 2]
    assert rule["onExitCodes"]["containerName"] == container["name"] and pod["restartPolicy"] == "Never"


def test_secrets_of_the_readme_are_those_of_the_deployment():
    made = set(re.findall(r"create secret generic ([\w-]+)", (FOLDER / "README.md").read_text()))
    asked = re.findall(r"(?:secretName|secretKeyRef:\s+name): ([\w-]+)", (FOLDER / "deployment.yaml").read_text())
    assert made == set(asked)
    assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS}
