"""What azd and the workflows name, held against what there is."""

import json
import os
import re
from pathlib import Path

import bicep
import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAIN = bicep.read(ROOT / "infra/main.bicep")
WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")}


def test_parameters_are_those_of_the_template():
    given = json.loads((ROOT / "infra/main.parameters.json").read_text())["parameters"]
    assert set(given) <= set(MAIN.parameters)
    assert {name for name, optional in MAIN.parameters.items() if not optional} <= set(given)


def test_defaults_of_azd_are_those_of_the_template():
    source = MAIN.path.read_text()
    given = json.loads((ROOT / "infra/main.parameters.json").read_text())["parameters"]
    for name, parameter in given.items():
        default = re.fullmatch(r"\$\{\w+=(.*)\}", parameter["value"])
        if default:
            assert f"param {name} string = '{default.group(1)}'" in source


def test_hooks_of_azd_exist():
    service = yaml.safe_load((ROOT / "azure.yaml").read_text())["services"]["score"]
    site = (ROOT / "infra/app/function-zip.bicep").read_text()
    assert "'azd-service-name': 'score'" in site
    for hook in service["hooks"].values():
        script = ROOT / hook["run"].split()[0]
        assert os.access(script, os.X_OK), script
    assert service["hooks"]["prepackage"]["run"].split()[1] == service["dist"]


def test_variables_of_the_workflow_are_outputs_of_the_template():
    used = set(re.findall(r"\bvars\.(\w+)", WORKFLOWS["deploy.yml"]))
    login = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}
    assert used - login <= set(MAIN.outputs)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_have_few_rights_and_no_stored_secrets(name):
    workflow = yaml.safe_load(WORKFLOWS[name])
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    assert "secrets." not in WORKFLOWS[name]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job.get("permissions", {}).items()) <= {("contents", "read"), ("actions", "read"), ("id-token", "write")}
        for step in job["steps"]:
            # values go through the environment, never into the text of a script
            assert "${{" not in step.get("run", ""), step
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            assert re.fullmatch(r"[\w./-]+@(v\d+|[0-9a-f]{40})", step.get("uses", "a/b@v1"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_scripts_and_targets_of_the_workflows_exist(name):
    makefile = (ROOT / "Makefile").read_text()
    for job in yaml.safe_load(WORKFLOWS[name])["jobs"].values():
        for step in job["steps"]:
            words = step.get("run", "").split()
            if words[:1] == ["make"]:
                assert f"\n{words[1]}:" in makefile
            elif words and "/" in words[0]:
                assert os.access(ROOT / words[0], os.X_OK), words[0]


FUNCTIONS = {path.parent.name for path in ROOT.glob("score_*/function.json")} | {
    path.stem for path in (ROOT / "handler/src/commands/package/templates").glob("score_*.json")
}
NAMING = [
    ROOT / "local.settings.json",
    ROOT / "README.md",
    *(ROOT / "docs").glob("*.md"),
    *(path for folder in ("deploy", "infra") for path in (ROOT / folder).rglob("*") if path.is_file()),
]


def test_functions_that_are_named_exist():
    """Azure says nothing of a switch or an event address that names no function."""
    named = set()
    for path in NAMING:
        text = path.read_text()
        named |= set(re.findall(r"AzureWebJobs[_.](score_\w+?)[_.]Disabled", text))
        named |= set(re.findall(r"functionName=Host\.Functions\.([\w-]+)", text))
    assert named >= {"score_queue", "score_blob"} and named <= FUNCTIONS


def test_names_of_app_settings_are_those_that_azure_accepts_on_linux():
    config = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/config.yaml").read_text()))[-1]["data"]
    local = json.loads((ROOT / "local.settings.json").read_text())["Values"]
    for name in [*config, *local, *FUNCTIONS]:
        assert re.fullmatch(r"[A-Za-z0-9_.]+", name), name
