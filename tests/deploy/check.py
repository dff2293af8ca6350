"""Runs deploy/az with the real az against a fake of Azure, and looks at the requests: check.py FOLDER_OF_AZ [--short]"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from fake_azure import REGISTRY_SUFFIX, SECRET, STORAGE_SUFFIX, SUBSCRIPTION, VAULT_SUFFIX, Azure
from found import BASE, ROOT, look_at

VARIANTS = {
    "image on B1, Azure Managed Redis": {"TRIGGERS": "http queue blob large-blob"},
    "zip on Flex Consumption": {"PLAN_SKU": "FC1", "FLEX_ALWAYS_READY": "1", "TRIGGERS": "http large-blob"},
    "image on Premium": {"PLAN_SKU": "EP1", "CACHE": "none", "TRIGGERS": "http blob"},
    "zip on Premium": {"PLAN_SKU": "EP1", "PACKAGE": "zip", "CACHE": "none"},
    "image on B1, Azure Cache for Redis": {"CACHE": "classic"},
    "with keys, Azure Cache for Redis": {"AUTH": "keys", "CACHE": "classic"},
    "with keys, Azure Managed Redis": {"AUTH": "keys", "TRIGGERS": "http queue large-blob"},
    "image on Container Apps": {"PLAN_SKU": "ACA", "TRIGGERS": "http blob"},
}
BAD = {
    "APP": ["", "-scores", "my_scores", "s" * 64], "STORAGE": ["ab", "a" * 25, "Stscores", "st-scores"],
    "SERVICE_BUS": ["sb-ab", "s" * 51, "1service", "service-"], "REGISTRY": ["crab", "c" * 51, "cr-scores"],
    "RESOURCE_GROUP": ["rg scores", "rg-scores.", "r" * 91], "REDIS": ["redis_scores", "redis--scores", "r" * 61],
    "PLAN_SKU": ["Y1", "B9", "P0v5"], "PACKAGE": ["docker"], "AUTH": ["password"], "CACHE": ["memcached"], "TRIGGERS": ["http timer"],
    "FLEX_MEMORY": ["1024", "2 GB"], "FLEX_INSTANCES": ["0", "1001"], "FLEX_CONCURRENCY": ["0"], "FLEX_ALWAYS_READY": ["-1", "101"],
    "ACA_REPLICAS": ["3", "1-0"], "ACA_MEMORY": ["2048"], "ACA_CPU": ["one"],
    "CACHE_SKU": ["Basic_C0"], "SCORE_QUEUE": ["-score"], "SCORE_BLOBS_QUEUE": ["large--blobs", "Large", "q"], "IDENTITY": ["id"], "PLAN": ["plan_1"],
}


class Check:
    def __init__(self, az, folder):
        self.folder = folder
        certificate = folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "crt.pem"],
                       check=True, capture_output=True)
        certificate.write_text((folder / "key.pem").read_text() + (folder / "crt.pem").read_text())
        self.azure = Azure(certificate)
        self.zip = folder / "app.zip"
        with zipfile.ZipFile(self.zip, "w") as archive:
            archive.writestr("host.json", (ROOT / "host.json").read_text())
            handler = zipfile.ZipInfo("bin/handler")
            handler.create_system, handler.external_attr = 3, 0o100755 << 16
            archive.writestr(handler, "")
        self.small_zip = folder / "small.zip"
        shutil.copy(self.zip, self.small_zip)
        with zipfile.ZipFile(self.zip, "a") as archive:
            archive.writestr("score_large_blob/function.json", "{}")
        self.plain_zip = folder / "plain.zip"
        with zipfile.ZipFile(self.plain_zip, "w") as archive:
            archive.writestr("bin/handler", "")
        authority = str(folder / "crt.pem")
        self.environment = {
            "PATH": f"{az}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "AZURE_CONFIG_DIR": str(folder / "az"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_SURVEY_MESSAGE": "no", "REQUESTS_CA_BUNDLE": authority,
            "CURL_CA_BUNDLE": authority, "IDENTITY_HEADER": "x", "NO_PROXY": "localhost,127.0.0.1",
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.azure.identity.server_port}/msi/token", "TEST_WAIT": "20",
            "KEY_WAIT": "60", "RETRY_DELAY": "1",
        }

    def run(self, *command, ok=True, stdin="", **settings):
        result = subprocess.run([str(c) for c in command], env=self.environment | settings, input=stdin, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder, check=False)
        assert (result.returncode == 0) == ok, f"{command} ended with {result.returncode}:\n{result.stdout}"
        assert SECRET not in result.stdout, f"a secret was shown:\n{result.stdout}"
        return result.stdout

    def deploy(self, *options, ok=True, **settings):
        return self.run(ROOT / "deploy/az/deploy.sh", *options, ok=ok, **{"APP": "my-scores", "ZIP": str(self.zip)} | settings)

    def sign_in(self):
        host = f"https://{self.azure.host}"
        self.run("az", "cloud", "register", "-n", "Fake", "--skip-endpoint-discovery", "--cloud-config", json.dumps({
            "endpoints": {name: host for name in (
                "resourceManager", "management", "activeDirectory", "activeDirectoryResourceId", "appServiceResourceId",
                "microsoftGraphResourceId", "activeDirectoryGraphResourceId", "batchResourceId", "gallery", "sqlManagement",
                "logAnalyticsResourceId", "appInsightsResourceId", "vmImageAliasDoc")} | {"resourceManager": f"{host}/"},
            "suffixes": {"storageEndpoint": STORAGE_SUFFIX, "acrLoginServerEndpoint": REGISTRY_SUFFIX,
                         "keyvaultDns": VAULT_SUFFIX, "sqlServerHostname": ".database.example"}}))
        self.run("az", "cloud", "set", "-n", "Fake")
        self.run("az", "login", "--identity", "-o", "none")


def refusals(check):
    """What can be known to be wrong is refused in one line, before any request."""
    for setting, values in BAD.items():
        plan = {"FLEX": {"PLAN_SKU": "FC1"}, "ACA_": {"PLAN_SKU": "ACA"}}.get(setting[:4], {})
        plan |= {"TRIGGERS": "http large-blob"} if setting == "SCORE_BLOBS_QUEUE" else {}
        for value in values:
            answer = check.deploy(ok=False, **plan | {setting: value})
            assert answer.startswith("error: ") and setting in answer and answer.count("\n") == 1, (setting, value, answer)
    assert "takes no image" in check.deploy(ok=False, PLAN_SKU="FC1", PACKAGE="image")
    for plan, wrong in (("ACA", {"AUTH": "keys"}), ("ACA", {"PACKAGE": "zip"}), ("ACA", {"APP": "My-scores"})):
        assert "Container Apps" in check.deploy(ok=False, PLAN_SKU=plan, **wrong)
    assert "no such file" in check.deploy(ok=False, PACKAGE="zip", ZIP="nowhere.zip")
    if shutil.which("zipinfo"):
        assert "expected -rwxr-xr-x" in check.deploy(ok=False, PACKAGE="zip", ZIP=str(check.plain_zip))
        large = {"PACKAGE": "zip", "TRIGGERS": "http large-blob"}
        assert "has no score_large_blob" in check.deploy(ok=False, ZIP=str(check.small_zip), **large)
    assert "expected one of group identity" in check.deploy("--only", "nothing", ok=False)
    assert "run: az login" in check.deploy(ok=False)
    dry = check.deploy("--dry-run", AUTH="keys", PATH="/usr/bin:/bin")
    assert "az servicebus namespace create" in dry and "rediss" not in dry and check.azure.requests == [], dry
    print(f"refused before any request: {sum(map(len, BAD.values()))} bad settings; dry run without az")


def variant(check, name, settings):
    azure = check.azure
    azure.reset()
    chosen = {"PLAN_SKU": "B1", "AUTH": "identity", "CACHE": "managed", "TRIGGERS": "http queue blob"} | settings
    chosen.setdefault("PACKAGE", "zip" if chosen["PLAN_SKU"] == "FC1" else "image")
    if chosen["PACKAGE"] == "image":
        settings = settings | {"IMAGE_TAG": "1"}
    times = []
    for _ in range(2):
        start, before = time.monotonic(), len(azure.requests)
        output = check.deploy(**settings)
        times.append(time.monotonic() - start)
        assert "[7]" in output, output
        look_at(azure, chosen)
    assert " create --resource-group" not in re.sub("az (servicebus queue|storage container-rm|.*assignment) create", "", output)
    summary(name, azure.requests[:before], times)


def settings_with_hyphens(check):
    """The fake refuses them as Azure does; a switch with a hyphen in the function's name is one."""
    refusal = check.run("az", "functionapp", "config", "appsettings", "set", "--resource-group", "rg-my-scores", "--name",
                        "my-scores", "--settings", "AzureWebJobs.score-queue.Disabled=true", ok=False)
    assert "AppSetting with name 'AzureWebJobs.score-queue.Disabled' is not allowed" in refusal, refusal


def scale_rules_of_a_function_app(check):
    """The platform makes them; the fake refuses others as Azure does."""
    app = f"{BASE}/resourceGroups/rg-my-scores/providers/Microsoft.App/containerApps/my-scores"
    rules = [{"name": "http", "http": {"metadata": {"concurrentRequests": "64"}}}]
    body = {"kind": "functionapp", "location": "westeurope", "properties": {"template": {"scale": {"rules": rules}}}}
    refusal = check.run("az", "rest", "--method", "put", "--uri", f"{app}?api-version=2026-07-01", "--body", json.dumps(body),
                        ok=False)
    assert "FunctionAppCannotSetScaleRules" in refusal, refusal


def scripts_of_azd(check):
    """infra/smoke.sh and infra/blob-events.sh against an app whose host still starts, on App Service and Container Apps."""
    azure = check.azure
    group = f"{BASE}/resourceGroups/rg-my-scores/providers"
    topic = f"{group}/Microsoft.EventGrid/systemTopics/topic"
    azure.put(topic, {"location": "westeurope"})
    for hosting, vault in ("zip", ""), ("containerapp", f"https://{azure.host}/"):
        if vault:
            azure.put(f"{group}/Microsoft.App/containerApps/my-scores", {
                "location": "westeurope", "properties": {"configuration": {"ingress": {}, "secrets": []}}})
        app = {"SCORE_HOSTING": hosting, "AZURE_KEY_VAULT_URI": vault, "SCORE_KEY_DELAY": "1"}
        azure.asked_for_keys, azure.called = 0, False
        assert "my-scores scores" in check.run(ROOT / "infra/smoke.sh", "rg-my-scores", "my-scores", **app)
        azure.asked_for_keys, azure.called = 0, False
        events = {"AZURE_RESOURCE_GROUP": "rg-my-scores", "AZURE_FUNCTION_NAME": "my-scores", "AZURE_SYSTEM_TOPIC_NAME": "topic"}
        for _ in range(2):
            check.run(ROOT / "infra/blob-events.sh", **app, **events)
        subscription = azure.resources.pop(f"{topic}/eventSubscriptions/score-blob".lower())["properties"]
        assert subscription["destination"]["properties"]["endpointUrl"].rstrip() == (
            f"https://{azure.host}/runtime/webhooks/blobs?functionName=Host.Functions.score_blob&code={SECRET}")
        assert [r["path"] for r in azure.requests if r["method"] == "PUT"][-1].endswith("eventSubscriptions/score-blob")
    azure.registered.pop("microsoft.app", None)
    check.run(ROOT / "infra/providers.sh")
    assert "microsoft.app" not in azure.registered
    check.run(ROOT / "infra/providers.sh", VNET_ENABLED="true")
    assert azure.state("microsoft.app") == "Registered", "Flex Consumption needs it in a network"
    azure.asked_for_keys = 0
    gone = {"SCORE_KEY_SECONDS": "0", "SCORE_HOSTING": "zip"}
    refused = check.run(ROOT / "infra/smoke.sh", "rg-my-scores", "my-scores", ok=False, **gone)
    assert "has no function key after 0 s" in refused, refused
    print("\ninfra/smoke.sh and infra/blob-events.sh waited for the keys of a starting host")


def summary(name, requests, times):
    print(f"\n{name}: {len(requests)} requests, {times[0]:.0f} s, again {times[1]:.0f} s; what it changed:")
    for line, count in Counter(
            f"  {r['method']:6} {r['path'].replace(BASE, '')}  {r['api'] or ''}" for r in requests
            if r["method"] not in ("GET", "HEAD")).items():
        line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "(id)", line)
        print(line + (f"  ({count} times)" if count > 1 else ""))


def taken(check):
    """Names of others are refused before anything is made."""
    for setting, name in {"APP": "my-scores", "STORAGE": "stmyscores", "SERVICE_BUS": "sb-my-scores",
                          "REGISTRY": "crmyscores"}.items():
        check.azure.reset()
        check.azure.taken = {name}
        assert f"{setting} '{name}': the name is taken" in check.deploy(ok=False)
        assert not any(r["method"] == "PUT" for r in check.azure.requests)
    check.azure.taken = set()
    refusal = check.deploy(ok=False, PLAN_SKU="FC1", LOCATION="atlantis")
    assert "LOCATION 'atlantis': Flex Consumption (PLAN_SKU FC1) is not there; expected one of westeurope" in refusal
    assert not any(r["method"] == "PUT" for r in check.azure.requests)
    print("\nrefused before anything was made: 4 taken names, a region without Flex Consumption")


def goes_on(check):
    """After a failure the same command does the rest."""
    check.azure.reset()
    check.azure.refused = "/serverfarms/"
    settings = {"CACHE": "none", "IMAGE": "example.azurecr.io/score:1"}
    assert "error: step 'plan' did not succeed" in check.deploy(ok=False, **settings)
    assert not any("/sites/" in key for key in check.azure.resources)
    check.azure.refused = None
    assert "[7]" in check.deploy(**settings)
    print("went on after a failed step")


def registry_that_builds_nothing(check):
    check.azure.reset()
    check.azure.builds = False
    refusal = check.deploy("--only", "image", ok=False)
    assert "TasksOperationsNotAllowed" in refusal and "give its name by IMAGE" in refusal, refusal
    check.azure.builds = True
    print("said what to do where a registry may not build")


def clean_up(check):
    command = (ROOT / "deploy/az/cleanup.sh",)
    check.deploy("--only", "group", SUBSCRIPTION=SUBSCRIPTION)
    check.deploy("--only", "storage")
    assert "nothing was deleted" in check.run(*command, ok=False, stdin="yes\n", APP="my-scores")
    assert any("stmyscores" in key for key in check.azure.resources)
    check.run(*command, stdin="rg-my-scores\n", APP="my-scores")
    assert not check.azure.resources
    assert "there is no resource group" in check.run(*command, "--yes", APP="my-scores")
    print("deleted after asking, and nothing to delete afterwards")


def main():
    _, az, *short = sys.argv
    with tempfile.TemporaryDirectory() as folder:
        check = Check(az, Path(folder))
        refusals(check)
        print(check.run(Path(az) / "python", ROOT / "tests/deploy/documented.py"), end="")
        check.sign_in()
        if short == ["--short"]:
            name, settings = next(iter(VARIANTS.items()))
            variant(check, name, settings)
            settings_with_hyphens(check)
            return scripts_of_azd(check)
        for name, settings in VARIANTS.items():
            variant(check, name, settings)
            if settings.get("PLAN_SKU") == "ACA":
                scale_rules_of_a_function_app(check)
            if settings.keys() <= {"TRIGGERS"}:
                settings_with_hyphens(check)
                scripts_of_azd(check)
        taken(check)
        goes_on(check)
        registry_that_builds_nothing(check)
        clean_up(check)


if __name__ == "__main__":
    main()
