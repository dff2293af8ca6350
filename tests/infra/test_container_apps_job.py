"""The manifest of a job on Container Apps, held against the models of Microsoft's management package."""

from pathlib import Path

import azure_models
import yaml
from azure.mgmt.appcontainers import models

ROOT = Path(__file__).parents[2]
JOB = yaml.safe_load((ROOT / "deploy/container-apps/job.yaml").read_text())
KUBERNETES = yaml.safe_load((ROOT / "deploy/kubernetes/bulk/job.yaml").read_text())


def mistakes(job):
    known = azure_models.properties(models.Job, models)
    rest = {key: value for key, value in job.items() if key not in {"name", "type"}}
    return list(azure_models.compare(rest, known, models, "job"))


def test_properties_are_known():
    assert not mistakes(JOB)
    (container,) = JOB["properties"]["template"]["containers"]
    wrong = {**JOB["properties"]["template"], "containers": [{**container, "argz": []}]}
    assert mistakes({**JOB, "properties": {**JOB["properties"], "template": wrong}})


def test_it_runs_what_the_job_on_kubernetes_runs():
    template = JOB["properties"]["template"]
    (container,) = template["containers"]
    (other,) = KUBERNETES["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["args"]) == (other["image"], other["args"])
    (mount,), (volume,) = container["volumeMounts"], template["volumes"]
    assert mount["volumeName"] == volume["name"] and mount["mountPath"] == "/files"
