"""Which properties and values Azure's resource types have, read from the models of Microsoft's management packages."""

import enum
import importlib
import re
from dataclasses import dataclass

# type -> package, its class of the request's body
CLASSES = {
    "Microsoft.App/containerApps": ("appcontainers", "ContainerApp"),
    "Microsoft.App/managedEnvironments": ("appcontainers", "ManagedEnvironment"),
    "Microsoft.Authorization/roleAssignments": (
        "authorization.v2022_04_01",
        "RoleAssignmentCreateParameters",
    ),
    "Microsoft.Cache/redisEnterprise": ("redisenterprise", "Cluster"),
    "Microsoft.Cache/redisEnterprise/databases": ("redisenterprise", "Database"),
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": (
        "redisenterprise",
        "AccessPolicyAssignment",
    ),
    "Microsoft.ContainerRegistry/registries": ("containerregistry", "Registry"),
    "Microsoft.EventGrid/systemTopics": ("eventgrid", "SystemTopic"),
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": ("eventgrid", "EventSubscription"),
    "Microsoft.Insights/components": (
        "applicationinsights.v2020_02_02",
        "ApplicationInsightsComponent",
    ),
    "Microsoft.KeyVault/vaults": ("keyvault", "VaultCreateOrUpdateParameters"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("msi.v2024_11_30", "Identity"),
    "Microsoft.Network/privateDnsZones": ("privatedns", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": ("privatedns", "VirtualNetworkLink"),
    "Microsoft.Network/privateEndpoints": ("network", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ("network", "PrivateDnsZoneGroup"),
    "Microsoft.Network/virtualNetworks": ("network", "VirtualNetwork"),
    "Microsoft.OperationalInsights/workspaces": ("loganalytics", "Workspace"),
    "Microsoft.ServiceBus/namespaces": ("servicebus", "SBNamespace"),
    "Microsoft.ServiceBus/namespaces/queues": ("servicebus", "SBQueue"),
    "Microsoft.Storage/storageAccounts": ("storage", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("storage", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("storage", "BlobContainer"),
    "Microsoft.Storage/storageAccounts/queueServices": ("storage", "QueueServiceProperties"),
    "Microsoft.Storage/storageAccounts/queueServices/queues": ("storage", "StorageQueue"),
    "Microsoft.Web/serverfarms": ("web", "AppServicePlan"),
    "Microsoft.Web/sites": ("web", "Site"),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (
        "web",
        "CsmPublishingCredentialsPoliciesEntity",
    ),
    "Microsoft.Web/sites/config": ("web", "StringDictionary"),
}

# Bicep's own, of no resource type; the name is part of the address.
OF_BICEP = {"name", "parent", "scope", "dependsOn"}


@dataclass
class Property:
    """One property: its type (a model, an enum or None for anything else), and whether only the service sets it."""

    type: object
    read_only: bool


def mistakes(kind, body):
    """What in the body of a resource the models do not know."""
    package, name = CLASSES[kind]
    models = importlib.import_module(f"azure.mgmt.{package}.models")
    rest = {key: value for key, value in body.items() if key not in OF_BICEP}
    return list(compare(rest, properties(getattr(models, name), models), models, kind))


def compare(body, known, models, where):
    for key, value in body.items():
        path = f"{where}: {key}"
        found = known.get(key)
        if found is None:
            yield f"{path}: no such property; known are {', '.join(sorted(known))}"
        elif found.read_only:
            yield f"{path}: only the service sets this"
        elif isinstance(found.type, dict):
            if isinstance(value, dict):
                yield from compare(value, found.type, models, path)
        elif isinstance(found.type, type) and issubclass(found.type, enum.Enum):
            allowed = {member.value for member in found.type}
            for one in value if isinstance(value, tuple) else [value]:
                if isinstance(one, str) and one not in allowed:
                    yield f"{path}: {one!r} is none of {', '.join(sorted(allowed))}"
        elif found.type is not None:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    kind = of_kind(found.type, one, models)
                    yield from compare(one, properties(kind, models), models, path)


def of_kind(model, body, models):
    """The model of one kind, where a property such as endpointType names the kind."""
    for attribute, kinds in (getattr(model, "_subtype_map", None) or {}).items():
        wire = model._attribute_map[attribute]["key"]
        return getattr(models, kinds.get(body.get(wire), model.__name__))
    return model


def properties(model, models):
    """The properties of a model by the names they have on the wire."""
    if hasattr(model, "_attribute_map"):
        return of_older_generator(model, models)
    model.__new__(model)  # fills in the table
    annotations = {}
    for base in reversed(model.__mro__):
        annotations.update(getattr(base, "__annotations__", {}))
    table = {}
    for attribute, field in model._attr_to_rest_field.items():
        read_only = field._visibility == ["read"]
        table[field._rest_name] = Property(named(annotations.get(attribute), models), read_only)
    return table


def of_older_generator(model, models):
    """These models flatten: `properties.port` is an attribute of the resource itself."""
    annotations = {}
    for base in reversed(model.__mro__):
        annotations.update(getattr(base.__init__, "__annotations__", {}))
    table = {}
    for attribute, wire in model._attribute_map.items():
        *parents, last = re.split(r"(?<!\\)\.", wire["key"])
        level = table
        for parent in parents:
            level = level.setdefault(parent, Property({}, False)).type
        read_only = bool(model._validation.get(attribute, {}).get("readonly"))
        level[last] = Property(named(annotations.get(attribute), models), read_only)
    return table


def named(annotation, models):
    """The model or enum in an annotation, of the elements if it is a list; maps are not looked into."""
    words = str(annotation)
    if annotation is None or re.search(r"\b([Dd]ict|Mapping)\[", words):
        return None
    found = re.search(r"_models(?:_py3)?\.(\w+)", words)
    return getattr(models, found.group(1), None) if found else None
