"""What azd and the workflows name, held against what there is."""

import json
import os
import re
import subprocess
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
            kind, value = re.search(rf"^param {name} (\w+) = (.*)$", source, re.MULTILINE).groups()
            assert default.group(1) == (value.strip("'") if kind == "string" else value), name


AZD = yaml.safe_load((ROOT / "azure.yaml").read_text())
SITES = {"score": "function-zip", "score-image": "function-container", "score-app": "container-app"}


def test_services_of_azd_are_those_of_the_template():
    assert set(AZD["services"]) == set(SITES)
    conditions = {service["condition"].strip("${}") for service in AZD["services"].values()}
    assert len(conditions) == 3 and conditions <= set(MAIN.outputs)
    # The conditions are outputs, so the resources come first; azd would package before it provisions.
    assert [step["azd"] for step in AZD["workflows"]["up"]["steps"]] == ["provision", "deploy --all"]
    for name, service in AZD["services"].items():
        assert f"'azd-service-name': '{name}'" in (ROOT / f"infra/app/{SITES[name]}.bicep").read_text()
        if service["language"] == "docker":
            assert (ROOT / service["docker"]["path"]).is_file() and service["docker"]["remoteBuild"] is True


def test_hooks_of_azd_exist():
    for owner in [AZD, *AZD["services"].values()]:
        for hook in owner["hooks"].values():
            for command in hook["run"].split(" && "):
                assert os.access(ROOT / command.split()[0], os.X_OK), command
    package = AZD["services"]["score"]
    assert package["hooks"]["prepackage"]["run"].split()[1] == package["dist"]


def test_the_image_that_runs_is_kept(tmp_path):
    """azd provision would put Microsoft's image back."""
    (tmp_path / "azd").write_text('#!/bin/sh\necho "$@" >>"$0.log"\n')
    (tmp_path / "az").write_text("""#!/bin/sh
case $* in
  *linuxFxVersion*) echo "DOCKER|r.example/score@sha256:1" ;;
  *containerApps*) echo "r.example/score@sha256:2" ;;
esac
""")
    for name in ("az", "azd"):
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "AZURE_RESOURCE_GROUP": "rg", "AZURE_FUNCTION_NAME": "app"}
    for hosting in ("container", "containerapp"):
        subprocess.run([ROOT / "infra/keep-image.sh"], env={**environment, "SCORE_HOSTING": hosting}, check=True)
    assert (tmp_path / "azd.log").read_text().split("\n")[:2] == [
        "env set SCORE_IMAGE r.example/score@sha256:1",
        "env set SCORE_IMAGE r.example/score@sha256:2",
    ]


def test_variables_of_the_workflow_are_outputs_of_the_template():
    used = set(re.findall(r"\bvars\.(\w+)", WORKFLOWS["deploy.yml"]))
    login = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}
    assert used - login <= set(MAIN.outputs)


# The first majors that run on Node 24; runners refuse older ones. functions-action moved to it within its v1.
NODE_24 = {
    "actions/checkout": 5,
    "actions/cache": 5,
    "actions/attest": 4,
    "actions/upload-artifact": 6,
    "actions/download-artifact": 7,
    "azure/login": 3,
    "azure/functions-action": 1,
    "docker/setup-buildx-action": 4,
    "docker/build-push-action": 7,
    # Steps of a shell and a container.
    "pypa/gh-action-pypi-publish": 1,
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_run_on_node_24(name):
    for action, major in re.findall(r"uses: ([\w./-]+)@\S+ # v(\d+)", WORKFLOWS[name]):
        assert int(major) >= NODE_24[action.lower()], action


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_named_by_commit(name):
    """A tag can be moved to other code. Renovate reads the version behind the commit and raises both."""
    used = re.findall(r"uses: (.*)", WORKFLOWS[name])
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    renovate = json.loads((ROOT / ".github/renovate.json").read_text())
    assert "helpers:pinGitHubActionDigestsToSemver" in renovate["extends"]


def test_deployments_come_from_main():
    for job in yaml.safe_load(WORKFLOWS["deploy.yml"])["jobs"].values():
        assert "github.ref == 'refs/heads/main'" in job["if"]


def test_only_packages_of_main_are_deployed():
    """Runs of pull requests, also from forks, have artifacts of the same name."""
    steps = {step.get("name", step.get("uses")): step for step in yaml.safe_load(WORKFLOWS["deploy.yml"])["jobs"]["zip"]["steps"]}
    names = list(steps)
    check = steps["check that the run is one of main"]["run"]
    assert '".github/workflows/ci.yml push main $GITHUB_REPOSITORY success"' in check and "exit 1" in check
    (download,) = [name for name in names if name.startswith("actions/download-artifact@")]
    assert names.index("check that the run is one of main") < names.index(download)
    last = steps["find the last package that worked"]["run"]
    assert '.head_branch == "main"' in last and ".head_repository_id == .workflow_run.repository_id" in last


def test_known_vulnerabilities_are_checked_or_that_is_said():
    assert "cargo deny --locked check advisories" in WORKFLOWS["ci.yml"]
    lint = (ROOT / "scripts/lint.sh").read_text()
    assert "check --disable-fetch advisories" in lint and "NOT CHECKED: known vulnerabilities" in lint


def test_a_release_is_taken_back_only_if_it_does_not_score():
    """Azure may not tell the key of a host that starts; that says nothing about the release."""
    for job in yaml.safe_load(WORKFLOWS["deploy.yml"])["jobs"].values():
        steps = {step["name"]: step for step in job["steps"] if "name" in step}
        assert "echo bad=true" in steps["smoke call"]["run"] and "status == 3" in steps["smoke call"]["run"]
        assert "steps.smoke.outputs.bad == 'true'" in (steps.get("find the last package that worked") or steps["roll back"])["if"]


def test_documented_identities_of_workflows_trust_environments():
    readme = (ROOT / "infra/README.md").read_text()
    assert "az identity federated-credential create" in readme
    assert re.search(r"--subject repo:\S+:environment:", readme)


# What a job may do beside reading, and signing in with its own identity.
PUBLISHES = {
    ("release.yml", "image"): {("packages", "write")},
    ("release.yml", "publish"): {("contents", "write"), ("packages", "write"), ("attestations", "write")},
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_have_few_rights_and_no_stored_secrets(name):
    workflow = yaml.safe_load(WORKFLOWS[name])
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    assert "secrets." not in WORKFLOWS[name]
    for key, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 60
        usual = {("contents", "read"), ("actions", "read"), ("id-token", "write")}
        assert set(job.get("permissions", {}).items()) <= usual | PUBLISHES.get((name, key), set())
        for step in job["steps"]:
            # values go through the environment, never into the text of a script
            assert "${{" not in step.get("run", ""), step
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


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


def test_the_last_stage_installs_nothing():
    """Packages of an old release vanish from the mirrors, and with them the image could not be built."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert "apt-get" in stages[1] and not any("apt-get" in stage for stage in stages[2:])


def test_renovate_fills_the_digests_of_images():
    renovate = json.loads((ROOT / ".github/renovate.json").read_text())
    assert "docker:pinDigests" in renovate["extends"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    for argument in set(re.findall(r"^FROM \$\{(\w+)\}", dockerfile, re.MULTILINE)):
        # Renovate reads the default of an argument that a FROM uses, and adds the digest behind the tag.
        assert re.search(rf"^ARG {argument}=[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{{64}})?$", dockerfile, re.MULTILINE), argument


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
