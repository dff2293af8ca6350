"""What the fake Azure holds after a deployment, held against what was chosen."""
import json
import re
from pathlib import Path

from fake_azure import BUS_SUFFIX, CLIENT, PRINCIPAL, REGISTRY_SUFFIX, SECRET, STORAGE_SUFFIX, SUBSCRIPTION

ROOT = Path(__file__).resolve().parents[2]
BASE = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{BASE}/resourcegroups/rg-my-scores"
IDENTITY = f"{GROUP}/providers/microsoft.managedidentity/userassignedidentities/id-my-scores"
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "storageaccounts", "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "storageaccounts",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "storageaccounts", "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "namespaces",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "namespaces",
}
ACR_PULL = {"7f951dda-4ed3-4680-a7ca-43fe172d538d": "registries"}
QUEUE_MESSAGE_SENDER = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"


class Found:
    def __init__(self, azure, chosen):
        self.azure, self.chosen = azure, chosen
        self.keyless, self.image = chosen["AUTH"] == "identity", chosen["PACKAGE"] == "image"
        self.flex, self.container_app = chosen["PLAN_SKU"] == "FC1", chosen["PLAN_SKU"] == "ACA"
        # A zip on Premium lies in Azure Files, which only opens with the account's key.
        self.files_key = chosen["PLAN_SKU"] == "EP1" and not self.image

    def has_trigger(self, name):
        return name in self.chosen["TRIGGERS"].split()

    def has(self, path):
        return f"{GROUP}/providers/{path}".lower() in self.azure.resources

    def resource(self, path):
        return self.azure.resources[f"{GROUP}/providers/{path}".lower()]

    def settings(self):
        if self.container_app:
            (container,) = self.resource("Microsoft.App/containerApps/my-scores")["properties"]["template"]["containers"]
            return {variable["name"]: variable["value"] for variable in container["env"]}
        return self.resource("Microsoft.Web/sites/my-scores/config/appsettings")["properties"]


def look_at(azure, chosen):
    """What is there in the end, and with what it was asked for."""
    found = Found(azure, chosen)
    look_at_stores(found)
    look_at_settings(found)
    if found.container_app:
        look_at_container_app(found)
    else:
        look_at_app(found)
    if found.keyless:
        look_at_roles(found)
    if found.has_trigger("blob"):
        look_at_events(found)
    look_at_large_blobs(found)


def look_at_stores(found):
    storage = found.resource("Microsoft.Storage/storageAccounts/stmyscores")["properties"]
    assert storage["allowSharedKeyAccess"] == (not found.keyless or found.files_key) and not storage["allowBlobPublicAccess"]
    blob, large = found.has_trigger("blob"), found.has_trigger("large-blob")
    for container, wanted in {"incoming": blob, "incoming-large": large, "scored": blob or large, "rejected": blob or large}.items():
        assert found.has(f"Microsoft.Storage/storageAccounts/stmyscores/blobServices/default/containers/{container}") == wanted
    bus = "Microsoft.ServiceBus/namespaces/sb-my-scores"
    assert found.has(bus) == ("queue" in found.chosen["TRIGGERS"])
    if found.has(bus):
        assert (found.resource(bus)["properties"]["disableLocalAuth"] is True) == found.keyless
        assert all(found.has(f"{bus}/queues/{queue}") for queue in ("score", "score-results", "score-rejected"))
    registry = "Microsoft.ContainerRegistry/registries/crmyscores"
    assert found.has(registry) == found.image
    if found.image:
        assert bool(found.resource(registry)["properties"]["adminUserEnabled"]) != found.keyless
        look_at_build_context(found.azure.build_context)


def look_at_build_context(names):
    """All that the Dockerfile copies, and nothing of what was built here."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    missing = [path for paths in copied for path in paths.split() if not any(f"{name}/".startswith(f"{path}/") for name in names)]
    assert not missing, f"the image's build has no {missing}"
    assert not [name for name in names if name.split("/")[0] in ("target", "bin", ".git")]


def look_at_settings(found):
    settings, triggers = found.settings(), found.chosen["TRIGGERS"].split()
    assert settings.get("FUNCTIONS_WORKER_RUNTIME") == (None if found.flex else "custom")
    assert settings["SCORE_QUEUE"] == "score" and settings["SCORE_RESULT_QUEUE"] == "score-results"
    switches = {name: value for name, value in settings.items() if name.lower().endswith("disabled")}
    off = {trigger for trigger in ("http", "queue", "blob") if trigger not in triggers}
    # The image has this one off, so the setting says what it is to be.
    large = {"AzureWebJobs_score_large_blob_Disabled": "false" if "large-blob" in triggers else "true"}
    assert switches == {f"AzureWebJobs_score_{trigger}_Disabled": "true" for trigger in off} | large, switches
    assert settings["SCORE_BLOBS_QUEUE"] == "score-large-blobs"

    keys = {name for name, value in settings.items() if SECRET in (value or "")}
    if not found.keyless:
        assert keys >= {"AzureWebJobsStorage", "ServiceBusConnection", "REDIS_CONNECTION_STRING"}, keys
        assert "," in settings["REDIS_CONNECTION_STRING"] and settings["REDIS_CONNECTION_STRING"].endswith("=,ssl=True")
        assert found.image == ("DOCKER_REGISTRY_SERVER_PASSWORD" in keys)
        return
    assert keys == ({"WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"} if found.files_key else set()), keys
    assert "AzureWebJobsStorage__accountName" not in settings, "only the public cloud's suffix fits to it"
    for service in ("blob", "queue", "table"):
        assert settings[f"AzureWebJobsStorage__{service}ServiceUri"] == f"https://stmyscores.{service}.{STORAGE_SUFFIX}/"
    assert settings["AzureWebJobsStorage__clientId"] == CLIENT
    if "queue" in triggers:
        assert settings["ServiceBusConnection__fullyQualifiedNamespace"] == f"sb-my-scores.{BUS_SUFFIX}"
    if found.chosen["CACHE"] != "none":
        assert settings["REDIS_AUTH"] == "entra"
        assert re.fullmatch(r"rediss://redis-my-scores\.[a-z.]+:(10000|6380)", settings["REDIS_URL"])


def look_at_app(found):
    app = found.resource("Microsoft.Web/sites/my-scores")
    web = found.resource("Microsoft.Web/sites/my-scores/config/web")["properties"]
    assert app["properties"]["httpsOnly"] is True
    assert web.get("healthCheckPath") == (None if found.flex else "/api/health/live"), web
    if found.keyless:
        assert [i.lower() for i in app["identity"]["userAssignedIdentities"]] == [IDENTITY]
    if found.flex:
        config = app["properties"]["functionAppConfig"]
        assert config["runtime"] == {"name": "custom", "version": "1.0"}, config
        assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity", config
        assert config["scaleAndConcurrency"]["triggers"]["http"]["perInstanceConcurrency"] == 64, config
        assert config["scaleAndConcurrency"]["alwaysReady"] == [{"name": "http", "instanceCount": 1}], config
    if found.image:
        assert web["linuxFxVersion"] == f"DOCKER|crmyscores{REGISTRY_SUFFIX}/score:1", web
        assert found.settings()["WEBSITES_ENABLE_APP_SERVICE_STORAGE"] == "false"
        if found.keyless:
            assert web["acrUseManagedIdentityCreds"] is True and web["acrUserManagedIdentityID"] == CLIENT
    else:
        assert any(r["path"].startswith(("/api/publish", "/api/zipdeploy")) and r["bytes"] for r in found.azure.requests)


def look_at_container_app(found):
    app = found.resource("Microsoft.App/containerApps/my-scores")
    properties = app["properties"]
    assert app["kind"] == "functionapp" and [i.lower() for i in app["identity"]["userAssignedIdentities"]] == [IDENTITY]
    assert found.has("Microsoft.App/managedEnvironments/plan-my-scores")
    (registry,) = properties["configuration"]["registries"]
    assert registry["server"] == f"crmyscores{REGISTRY_SUFFIX}" and registry["identity"].lower() == IDENTITY
    (container,) = properties["template"]["containers"]
    assert container["image"] == f"crmyscores{REGISTRY_SUFFIX}/score:1"
    assert {probe["type"] for probe in container["probes"]} == {"Startup", "Readiness", "Liveness"}
    assert "rules" not in properties["template"]["scale"], "the platform refuses rules beside its own"
    # The keys are files of secrets, the same in a second deployment, and no variable holds one.
    files = {file["path"]: file["secretRef"] for file in properties["template"]["volumes"][0]["secrets"]}
    assert set(files) == {"host.master", "host.function.default", "host.systemKey.blobs_extension"}
    keys = found.azure.secrets[f"{GROUP}/providers/microsoft.app/containerapps/my-scores"]
    assert set(files.values()) == set(keys) and all(len(key) == 64 for key in keys.values())
    puts = [r["body"] for r in found.azure.requests if r["method"] == "PUT" and r["path"].endswith("/containerApps/my-scores")]
    assert all(p["properties"]["configuration"] == puts[0]["properties"]["configuration"] for p in puts)


def look_at_roles(found):
    roles = {}
    for key, resource in found.azure.resources.items():
        if "/roleassignments/" in key:
            given = resource["properties"]
            if given["roleDefinitionId"].endswith(QUEUE_MESSAGE_SENDER):
                continue  # of the topic
            assert given["principalId"] == PRINCIPAL and given["principalType"] == "ServicePrincipal"
            roles[given["roleDefinitionId"].split("/")[-1]] = key.split("/providers/")[1].split("/")[1]
    expected = {role: kind for role, kind in ROLES.items() if kind != "namespaces" or "queue" in found.chosen["TRIGGERS"]}
    expected |= ACR_PULL if found.image else {}
    assert {role: roles.get(role) for role in expected} == expected, roles
    cache = {"managed": "redisEnterprise/redis-my-scores/databases/default", "classic": "redis/redis-my-scores"}
    if found.chosen["CACHE"] in cache:
        policy = found.resource(f"Microsoft.Cache/{cache[found.chosen['CACHE']]}/accessPolicyAssignments/score")["properties"]
        assert PRINCIPAL in json.dumps(policy)


def look_at_events(found):
    events = found.resource(
        "Microsoft.Storage/storageAccounts/stmyscores/providers/Microsoft.EventGrid/eventSubscriptions/score-blob")
    url = events["properties"]["destination"]["properties"]["endpointUrl"]
    assert re.fullmatch(rf"https://{found.azure.host}/runtime/webhooks/blobs\?"
                        r"functionName=Host\.Functions\.score_blob&code=[\w+/=]{40,}", url)


def look_at_large_blobs(found):
    """Events go to the queue that the function reads: by the topic's identity, or by the account's key."""
    account = "Microsoft.Storage/storageAccounts/stmyscores"
    queue, wanted = f"{account}/queueServices/default/queues/score-large-blobs", found.has_trigger("large-blob")
    assert found.has(queue) == wanted
    topics = [key for key in found.azure.resources if re.search(r"/systemtopics/[^/]+$", key)]
    # One topic for each account is all that Azure makes.
    assert len(topics) == (wanted or found.has_trigger("blob")), topics
    if not wanted:
        return
    scope = topics[0] if found.keyless else f"{GROUP}/providers/{account}/providers/microsoft.eventgrid".lower()
    events = found.azure.resources[f"{scope}/eventsubscriptions/score-large-blob"]["properties"]
    assert events["filter"]["subjectBeginsWith"] == "/blobServices/default/containers/incoming-large/"
    assert events["filter"]["includedEventTypes"] == ["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed"]
    if found.keyless:
        topic = found.azure.resources[topics[0]]
        assert topic["properties"]["source"].lower() == f"{GROUP}/providers/{account}".lower()
        (role,) = [resource["properties"] for key, resource in found.azure.resources.items()
                   if key.startswith(f"{GROUP}/providers/{queue}/providers/microsoft.authorization/roleassignments/".lower())]
        assert role["principalId"] == topic["identity"]["principalId"] != PRINCIPAL
        assert role["roleDefinitionId"].endswith(QUEUE_MESSAGE_SENDER)
        assert events["deliveryWithResourceIdentity"]["identity"] == {"type": "SystemAssigned"}
    sent = events["deliveryWithResourceIdentity"] if found.keyless else events
    assert sent["destination"]["endpointType"] == "StorageQueue"
    assert sent["destination"]["properties"]["queueName"] == "score-large-blobs"
    assert sent["destination"]["properties"]["resourceId"].lower() == f"{GROUP}/providers/{account}".lower()
