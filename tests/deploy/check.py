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

from fake_azure import CLIENT, PRINCIPAL, SECRET, SUBSCRIPTION, Azure

ROOT = Path(__file__).resolve().parents[2]
BASE = f"/subscriptions/{SUBSCRIPTION}"
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "storageaccounts", "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "storageaccounts",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "storageaccounts", "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "namespaces",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "namespaces",
}
ACR_PULL = {"7f951dda-4ed3-4680-a7ca-43fe172d538d": "registries"}
VARIANTS = {
    "image on B1, Azure Managed Redis": {},
    "zip on Flex Consumption": {"PLAN_SKU": "FC1"},
    "image on Premium": {"PLAN_SKU": "EP1", "CACHE": "none"},
    "zip on Premium": {"PLAN_SKU": "EP1", "PACKAGE": "zip", "CACHE": "none"},
    "image on B1, Azure Cache for Redis": {"CACHE": "classic"},
    "with keys, Azure Cache for Redis": {"AUTH": "keys", "CACHE": "classic"},
    "with keys, Azure Managed Redis": {"AUTH": "keys", "TRIGGERS": "http queue"},
}
BAD = {
    "APP": ["", "-scores", "my_scores", "s" * 64], "STORAGE": ["ab", "a" * 25, "Stscores", "st-scores"],
    "SERVICE_BUS": ["sb-ab", "s" * 51, "1service", "service-"], "REGISTRY": ["crab", "c" * 51, "cr-scores"],
    "RESOURCE_GROUP": ["rg scores", "rg-scores.", "r" * 91], "REDIS": ["redis_scores", "redis--scores", "r" * 61],
    "PLAN_SKU": ["Y1", "B9"], "PACKAGE": ["docker"], "AUTH": ["password"], "CACHE": ["memcached"], "TRIGGERS": ["http timer"],
    "CACHE_SKU": ["Basic_C0"], "SCORE_QUEUE": ["-score"], "IDENTITY": ["id"], "PLAN": ["plan_1"],
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
        self.plain_zip = folder / "plain.zip"
        with zipfile.ZipFile(self.plain_zip, "w") as archive:
            archive.writestr("bin/handler", "")
        authority = str(folder / "crt.pem")
        self.environment = {
            "PATH": f"{az}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "AZURE_CONFIG_DIR": str(folder / "az"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_SURVEY_MESSAGE": "no", "REQUESTS_CA_BUNDLE": authority,
            "CURL_CA_BUNDLE": authority, "IDENTITY_HEADER": "x", "NO_PROXY": "localhost,127.0.0.1",
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.azure.identity.server_port}/msi/token", "TEST_WAIT": "20",
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
                "logAnalyticsResourceId", "appInsightsResourceId", "vmImageAliasDoc")},
            "suffixes": {"storageEndpoint": "core.windows.net", "acrLoginServerEndpoint": ".azurecr.io",
                         "keyvaultDns": ".vault.azure.net", "sqlServerHostname": ".database.windows.net"}}))
        self.run("az", "cloud", "set", "-n", "Fake")
        self.run("az", "login", "--identity", "-o", "none")


def refusals(check):
    """What can be known to be wrong is refused in one line, before any request."""
    for setting, values in BAD.items():
        for value in values:
            answer = check.deploy(ok=False, **{setting: value})
            assert answer.startswith("error: ") and setting in answer and answer.count("\n") == 1, (setting, value, answer)
    assert "takes no image" in check.deploy(ok=False, PLAN_SKU="FC1", PACKAGE="image")
    assert "no such file" in check.deploy(ok=False, PACKAGE="zip", ZIP="nowhere.zip")
    if shutil.which("zipinfo"):
        assert "expected -rwxr-xr-x" in check.deploy(ok=False, PACKAGE="zip", ZIP=str(check.plain_zip))
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


def look_at(azure, chosen):
    """What is there in the end, and with what it was asked for."""
    group = f"{BASE}/resourcegroups/rg-my-scores"
    found = lambda path: azure.resources[f"{group}/providers/{path}".lower()]
    absent = lambda path: f"{group}/providers/{path}".lower() not in azure.resources
    app = found("Microsoft.Web/sites/my-scores")
    settings = found("Microsoft.Web/sites/my-scores/config/appsettings")["properties"]
    web = found("Microsoft.Web/sites/my-scores/config/web")["properties"]
    storage = found("Microsoft.Storage/storageAccounts/stmyscores")["properties"]
    keyless = chosen["AUTH"] == "identity"
    flex, image = chosen["PLAN_SKU"] == "FC1", chosen["PACKAGE"] == "image"
    files_key = chosen["PLAN_SKU"] == "EP1" and not image

    assert settings.get("FUNCTIONS_WORKER_RUNTIME") == (None if flex else "custom")
    assert settings["SCORE_QUEUE"] == "score" and settings["SCORE_RESULT_QUEUE"] == "score-results"
    assert settings["AzureWebJobs_score_blob_Disabled"] == str("blob" not in chosen["TRIGGERS"]).lower()
    for queue in ("score", "score-results", "score-rejected"):
        found(f"Microsoft.ServiceBus/namespaces/sb-my-scores/queues/{queue}")
    for container in ("incoming", "scored", "rejected") if "blob" in chosen["TRIGGERS"] else ():
        found(f"Microsoft.Storage/storageAccounts/stmyscores/blobServices/default/containers/{container}")
    assert storage["allowSharedKeyAccess"] == (not keyless or files_key) and not storage["allowBlobPublicAccess"]
    assert app["properties"]["httpsOnly"] is True

    if flex:
        config = app["properties"]["functionAppConfig"]
        assert config["runtime"] == {"name": "custom", "version": "1.0"}, config
        assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity", config
    assert web.get("healthCheckPath") == (None if flex else "/api/health/live"), web
    if image:
        assert web["linuxFxVersion"] == "DOCKER|crmyscores.azurecr.io/score:1", web
        assert settings["WEBSITES_ENABLE_APP_SERVICE_STORAGE"] == "false"
        assert bool(found("Microsoft.ContainerRegistry/registries/crmyscores")["properties"]["adminUserEnabled"]) != keyless
    else:
        assert absent("Microsoft.ContainerRegistry/registries/crmyscores")
        assert any(r["path"].startswith(("/api/publish", "/api/zipdeploy")) and r["bytes"] for r in azure.requests)

    keys = {name for name, value in settings.items() if SECRET in (value or "")}
    if not keyless:
        assert keys >= {"AzureWebJobsStorage", "ServiceBusConnection", "REDIS_CONNECTION_STRING"}, keys
        assert "," in settings["REDIS_CONNECTION_STRING"] and settings["REDIS_CONNECTION_STRING"].endswith("=,ssl=True")
        assert image == ("DOCKER_REGISTRY_SERVER_PASSWORD" in keys)
        return
    assert keys == ({"WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"} if files_key else set()), keys
    identity = f"{group}/providers/microsoft.managedidentity/userassignedidentities/id-my-scores"
    assert [i.lower() for i in app["identity"]["userAssignedIdentities"]] == [identity]
    assert settings["AzureWebJobsStorage__accountName"] == "stmyscores" and settings["AzureWebJobsStorage__clientId"] == CLIENT
    assert settings["ServiceBusConnection__fullyQualifiedNamespace"] == "sb-my-scores.servicebus.windows.net"
    assert found("Microsoft.ServiceBus/namespaces/sb-my-scores")["properties"]["disableLocalAuth"] is True
    if image:
        assert web["acrUseManagedIdentityCreds"] is True and web["acrUserManagedIdentityID"] == CLIENT
    roles = {}
    for key, resource in azure.resources.items():
        if "/roleassignments/" in key:
            given = resource["properties"]
            assert given["principalId"] == PRINCIPAL and given["principalType"] == "ServicePrincipal"
            roles[given["roleDefinitionId"].split("/")[-1]] = key.split("/providers/")[1].split("/")[1]
    expected = ROLES | (ACR_PULL if image else {})
    assert {role: roles.get(role) for role in expected} == expected, roles
    cache = {"managed": "redisEnterprise/redis-my-scores/databases/default", "classic": "redis/redis-my-scores"}
    if chosen["CACHE"] in cache:
        policy = found(f"Microsoft.Cache/{cache[chosen['CACHE']]}/accessPolicyAssignments/score")["properties"]
        assert PRINCIPAL in json.dumps(policy) and settings["REDIS_AUTH"] == "entra"
        assert re.fullmatch(r"rediss://redis-my-scores\.[a-z.]+:(10000|6380)", settings["REDIS_URL"])
    events = found("Microsoft.Storage/storageAccounts/stmyscores/providers/Microsoft.EventGrid/eventSubscriptions/score-blob")
    assert "functionName=Host.Functions.score_blob&code=" in events["properties"]["destination"]["properties"]["endpointUrl"]


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
    print("\nrefused before anything was made: 4 taken names")


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
        check.sign_in()
        if short == ["--short"]:
            name, settings = next(iter(VARIANTS.items()))
            return variant(check, name, settings)
        for name, settings in VARIANTS.items():
            variant(check, name, settings)
        taken(check)
        goes_on(check)
        clean_up(check)


if __name__ == "__main__":
    main()
