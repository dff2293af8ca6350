"""The Bicep files: their syntax, the types they use, what must be closed, and names checked against Azure's models."""

import json
import re
from collections import Counter
from pathlib import Path

import azure_models
import bicep
import pytest

INFRA = Path(__file__).parents[2] / "infra"
FILES = [bicep.read(path) for path in sorted(INFRA.rglob("*.bicep"))]
RESOURCES = [resource for file in FILES for resource in file.resources if not resource.existing]

VERSIONS = {
    "Microsoft.App/containerApps": "2026-07-01",
    "Microsoft.App/managedEnvironments": "2026-07-01",
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
    "Microsoft.Cache/redisEnterprise": "2025-07-01",
    "Microsoft.Cache/redisEnterprise/databases": "2025-07-01",
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": "2025-07-01",
    "Microsoft.ContainerRegistry/registries": "2025-11-01",
    "Microsoft.EventGrid/systemTopics": "2025-02-15",
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": "2025-02-15",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.KeyVault/vaults": "2024-11-01",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.Network/privateDnsZones": "2024-06-01",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "2024-06-01",
    "Microsoft.Network/privateEndpoints": "2025-05-01",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "2025-05-01",
    "Microsoft.Network/virtualNetworks": "2025-05-01",
    "Microsoft.OperationalInsights/workspaces": "2025-07-01",
    "Microsoft.Resources/resourceGroups": "2024-03-01",
    "Microsoft.ServiceBus/namespaces": "2024-01-01",
    "Microsoft.ServiceBus/namespaces/queues": "2024-01-01",
    "Microsoft.Storage/storageAccounts": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices/queues": "2025-06-01",
    "Microsoft.Web/serverfarms": "2025-03-01",
    "Microsoft.Web/sites": "2025-03-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "2025-03-01",
    "Microsoft.Web/sites/config": "2025-03-01",
}

# What keeps keys and passwords out, and what the app cannot do without.
PUBLIC = ("Enabled", "Disabled")  # a choice: disabled with a virtual network
REQUIRED = {
    "Microsoft.App/containerApps": {
        "kind": "functionapp",
        "identity.type": "UserAssigned",
        "properties.configuration.ingress.allowInsecure": False,
    },
    "Microsoft.Cache/redisEnterprise": {
        "properties.minimumTlsVersion": "1.2",
        "properties.publicNetworkAccess": PUBLIC,
    },
    "Microsoft.Cache/redisEnterprise/databases": {
        "name": "default",
        "properties.accessKeysAuthentication": "Disabled",
        "properties.clientProtocol": "Encrypted",
        "properties.port": 10000,
    },
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": {
        "properties.accessPolicyName": "default",
    },
    "Microsoft.ContainerRegistry/registries": {"properties.adminUserEnabled": False},
    "Microsoft.Insights/components": {"properties.DisableLocalAuth": True},
    "Microsoft.KeyVault/vaults": {"properties.enableRbacAuthorization": True},
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": {"properties.registrationEnabled": False},
    "Microsoft.ServiceBus/namespaces": {
        "properties.disableLocalAuth": True,
        "properties.publicNetworkAccess": PUBLIC,
    },
    "Microsoft.Storage/storageAccounts": {
        "properties.allowBlobPublicAccess": False,
        "properties.allowSharedKeyAccess": False,
        "properties.publicNetworkAccess": PUBLIC,
        "properties.supportsHttpsTrafficOnly": True,
    },
    "Microsoft.Web/serverfarms": {"properties.reserved": True},
    "Microsoft.Web/sites": {"identity.type": "UserAssigned", "properties.httpsOnly": True},
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"properties.allow": False},
}


@pytest.fixture(params=FILES, ids=lambda file: file.path.name)
def file(request):
    return request.param


def test_files_are_found():
    assert len(FILES) >= 11 and len(RESOURCES) >= 25


def test_syntax(file):
    assert not file.mistakes


def test_types_and_versions(file):
    for resource in file.resources:
        assert resource.version == VERSIONS.get(resource.kind), resource.kind


def test_properties_and_values_are_those_of_azure(file):
    for resource in file.resources:
        if resource.kind in azure_models.CLASSES and not resource.existing:
            assert not azure_models.mistakes(resource.kind, resource.body)


def test_every_type_has_a_model():
    assert set(azure_models.CLASSES) == set(VERSIONS) - {"Microsoft.Resources/resourceGroups"}
    assert {resource.kind for resource in RESOURCES} == set(VERSIONS)


@pytest.mark.parametrize("kind", REQUIRED)
def test_required_properties(kind):
    found = [resource for resource in RESOURCES if resource.kind == kind]
    assert found
    for resource in found:
        for path, expected in REQUIRED[kind].items():
            assert at(resource.body, path) == expected, f"{resource.symbol}: {path}"


def test_no_keys_are_read_and_none_go_out(file):
    source = file.path.read_text()
    assert not re.search(r"\blist\w*\(|@secure|AccountKey=|SharedAccessKey", source)
    for name, value in file.outputs.items():
        assert not re.search(r"(?i)key(?!_vault_uri)|secret|password|credential\b", name + " " + value.split("{")[0])


def test_parameters_and_variables_are_used(file):
    uses = Counter(file.identifiers)
    for name in [*file.parameters, *file.variables]:
        assert uses[name] > 1, f"{file.path.name}: {name} is never used"


def test_modules_get_the_parameters_they_have(file):
    for symbol, path, given in file.modules:
        module = bicep.read(file.path.parent / path)
        assert set(given) <= set(module.parameters), symbol
        needed = {name for name, optional in module.parameters.items() if not optional}
        assert needed <= set(given), symbol
        for name in re.findall(rf"\b{symbol}!?\.outputs\.(\w+)", file.path.read_text()):
            assert name in module.outputs, f"{symbol} has no output {name}"


def test_every_module_is_used():
    used = {(file.path.parent / path).resolve() for file in FILES for _, path, _ in file.modules}
    assert used | {(INFRA / "main.bicep").resolve()} == {file.path.resolve() for file in FILES}


def test_clustering_policies_are_those_of_azure():
    from azure.mgmt.redisenterprise.models import ClusteringPolicy

    source = (INFRA / "main.bicep").read_text()
    allowed = re.search(r"@allowed\(\[([^]]*)\]\)\s*@description\([^)]*\)\s*param redisClusteringPolicy", source)
    assert set(re.findall(r"'(\w+)'", allowed.group(1))) == {policy.value for policy in ClusteringPolicy}


def test_probes_are_those_of_azure():
    from azure.mgmt.appcontainers import models

    (file,) = [file for file in FILES if file.path.name == "container-app.bicep"]
    probes = file.variables["probes"]
    known = azure_models.properties(models.ContainerAppProbe, models)
    assert not [mistake for probe in probes for mistake in azure_models.compare(probe, known, models, "probe")]
    asked = {probe["type"]: probe["httpGet"]["path"] for probe in probes}
    assert asked == {"Startup": "/api/health/live", "Readiness": "/api/health/ready", "Liveness": "/api/health/live"}


def test_scale_rules_are_left_to_the_platform():
    """Azure refuses them on a function app: FunctionAppCannotSetScaleRules."""
    app = at_file("container-app.bicep", "Microsoft.App/containerApps").body
    assert set(at(app, "properties.template.scale")) == {"minReplicas", "maxReplicas"}


def test_roles_are_named_by_their_scope_and_holder():
    roles = [r for r in RESOURCES if r.kind == "Microsoft.Authorization/roleAssignments"]
    of_topic = {"sender": "topic.id"}  # in large-blobs.bicep
    named = {r.symbol for f in FILES if f.path.name == "roles.bicep" for r in f.resources} | set(of_topic)
    assert named >= {r.symbol for r in roles}
    for role in roles:
        scope, holder = role.body["scope"].text, of_topic.get(role.symbol, "principalId")
        assert role.body["name"].text.startswith(f"guid({scope}.id, {holder}, "), role.symbol


def test_hosting_of_the_package():
    app = at_file("function-zip.bicep", "Microsoft.Web/sites").body
    assert at(app, "properties.functionAppConfig.runtime") == {"name": "custom", "version": "1.0"}
    storage = "properties.functionAppConfig.deployment.storage"
    assert at(app, f"{storage}.authentication.type") == "UserAssignedIdentity"
    settings = at_file("function-zip.bicep", "Microsoft.Web/sites/config").body["properties"]
    assert "FUNCTIONS_WORKER_RUNTIME" not in settings.text  # refused on Flex Consumption


def test_hosting_of_the_image():
    app = at_file("function-container.bicep", "Microsoft.Web/sites").body
    assert at(app, "properties.siteConfig.acrUseManagedIdentityCreds") is True
    settings = at_file("function-container.bicep", "Microsoft.Web/sites/config").body["properties"]
    assert "FUNCTIONS_WORKER_RUNTIME: 'custom'" in settings.text
    assert "WEBSITES_ENABLE_APP_SERVICE_STORAGE: 'false'" in settings.text


def test_health_is_asked_of_the_function_without_a_key():
    app = at_file("function-container.bicep", "Microsoft.Web/sites").body
    assert at(app, "properties.siteConfig.healthCheckPath") == "/api/health/live"
    # Flex Consumption has no such check.
    assert "healthCheckPath" not in (INFRA / "app/function-zip.bicep").read_text()
    for word in ("live", "ready"):
        for function in INFRA.parent.glob(f"score_health_{word}/function.json"):
            trigger = json.loads(function.read_text())["bindings"][0]
            assert (trigger["authLevel"], trigger["route"]) == ("anonymous", f"health/{word}")


MAIN = (INFRA / "main.bicep").read_text()


def decorators(parameter):
    """What stands before a parameter of main.bicep."""
    return re.search(rf"((?:^@.*\n(?:^ .*\n|^\]\)\n)*)+)param {parameter} ", MAIN, re.MULTILINE).group(1)


def test_regions_are_those_of_flex_consumption():
    regions = re.findall(r"^  '(\w+)'$", decorators("location"), re.MULTILINE)
    assert {"westeurope", "eastus", "swedencentral"} <= set(regions) and len(regions) > 25
    assert "type: 'location'" in decorators("location")


def test_an_app_may_have_one_instance():
    assert "@minValue(1)" in decorators("maximumInstanceCount")


def test_requests_at_once_fit_to_the_host():
    """More than maxConcurrentRequests would wait in the host; both ways to Azure derive the same number."""
    host = json.loads((INFRA.parent / "host.json").read_text())["extensions"]["http"]
    most = host["maxConcurrentRequests"]
    assert f"min(instanceMemoryMB / 32, {most})" in MAIN
    assert f"FLEX_MEMORY / 32 < {most} ? FLEX_MEMORY / 32 : {most}" in (INFRA.parent / "deploy/az/checks.sh").read_text()


def test_plans_are_those_that_deploy_az_takes():
    pattern = re.search(r'matches PLAN_SKU "\$PLAN_SKU" \'(.*)\'', (INFRA.parent / "deploy/az/checks.sh").read_text()).group(1)
    skus = re.findall(r"'(\w+)'", decorators("planSku").split("@description")[0])
    assert {"P0v4", "P1v4", "B1", "EP1"} <= set(skus)
    for sku in skus:
        assert re.fullmatch(pattern, sku), sku


def test_a_network_closes_every_store():
    assert MAIN.count("public: !vnetEnabled") == 3  # storage, Service Bus, Redis
    services = re.search(r"var privateServices = \[\n(.*?)\n\]", MAIN, re.DOTALL).group(1)
    found = set(re.findall(r"service: '(\w+)', zone", services))
    assert found == {"blob", "queue", "table", "namespace", "redisEnterprise"}
    for name in ("function-zip", "function-container", "container-app"):
        assert "empty(subnetId) ? null :" in (INFRA / f"app/{name}.bicep").read_text()
    assert MAIN.count("subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''") == 3
    assert MAIN.count("dependsOn: [appRoles, endpoints]") == 3, "an app that starts before its endpoints finds no storage"


def test_no_suffix_belongs_to_one_cloud():
    public = r"(?<!privatelink\.)\b(core\.windows|azurewebsites|azurecr|servicebus\.windows|redis\.cache\.windows|vault\.azure)\.(net|io)"
    for path in [*INFRA.rglob("*.bicep"), *INFRA.glob("*.sh"), *(INFRA.parent / "deploy/az").glob("*.sh")]:
        found = re.search(public, path.read_text().replace("registry_suffix=.azurecr.io", ""))  # shown by a dry run
        assert not found, f"{path}: {found}"


def test_settings_are_those_the_functions_ask_for():
    settings = (INFRA / "app/settings.bicep").read_text()
    root = INFRA.parent
    package = root / "handler/src/commands/package/templates"
    for function in [*root.glob("score_*/function.json"), package / "score_large_blob.json"]:
        text = function.read_text()
        for name in re.findall(r"%(\w+)%", text):
            assert f"  {name}: " in settings
        for connection in re.findall(r'"connection": "(\w+)"', text):
            assert f"  {connection}__credential: " in settings


def test_event_grid_reaches_the_queue_of_large_blobs_in_a_network():
    storage = (INFRA / "app/storage.bicep").read_text()
    assert "publicNetworkAccess: public || takesEvents ? 'Enabled' : 'Disabled'" in storage
    assert "bypass: 'AzureServices'" in storage and "defaultAction: public ? 'Allow' : 'Deny'" in storage


def test_the_image_has_large_blobs_off_and_the_settings_switch_them():
    settings = (INFRA / "app/settings.bicep").read_text()
    dockerfile = (INFRA.parent / "Dockerfile").read_text()
    assert "  AzureWebJobs_score_large_blob_Disabled: largeBlobs ? 'false' : 'true'\n" in settings
    assert "AzureWebJobs_score_large_blob_Disabled=true" in dockerfile and " score_large_blob/function.json" in dockerfile


def at(body, path):
    for part in path.split("."):
        body = body[part]
    return body


def at_file(name, kind):
    (file,) = [file for file in FILES if file.path.name == name]
    (resource,) = [resource for resource in file.resources if resource.kind == kind]
    return resource
