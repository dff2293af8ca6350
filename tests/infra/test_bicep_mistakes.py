"""The checks of the Bicep files, shown mistakes: each must be found."""

from pathlib import Path

import azure_models
import bicep
import pytest

INFRA = Path(__file__).parents[2] / "infra"


def changed(tmp_path, name, old, new):
    source = (INFRA / "app" / name).read_text()
    assert old in source
    path = tmp_path / name
    path.write_text(source.replace(old, new, 1))
    return bicep.read(path)


@pytest.mark.parametrize(
    "name, old, new, expected",
    [
        ("redis.bicep", "evictionPolicy:", "evictonPolicy:", "evictonPolicy: no such property"),
        ("redis.bicep", "'AllKeysLRU'", "'allkeys-lru'", "'allkeys-lru' is none of"),
        ("redis.bicep", "? 'Enabled' :", "? 'On' :", "'On' is none of"),
        ("redis.bicep", "objectId: id", "objectID: id", "objectID: no such property"),
        ("messaging.bicep", "lockDuration:", "lockDurations:", "lockDurations: no such property"),
        ("messaging.bicep", "tier: public ? 'Standard'", "tier: public ? 'Silver'", "'Silver' is none of"),
        ("storage.bicep", "allowSharedKeyAccess:", "allowSharedKey:", "allowSharedKey: no such"),
        ("storage.bicep", "'TLS1_2'", "'1.2'", "'1.2' is none of"),
        ("function-zip.bicep", "instanceMemoryMB:", "instanceMemory:", "instanceMemory: no such"),
        ("function-zip.bicep", "'blobContainer'", "'container'", "'container' is none of"),
        ("function-zip.bicep", "'custom'", "'rust'", "'rust' is none of"),
        ("function-container.bicep", "acrUserManagedIdentityID:", "acrIdentity:", "acrIdentity: no"),
        ("function-zip.bicep", "perInstanceConcurrency:", "perInstance:", "perInstance: no such"),
        ("container-app.bicep", "kind: 'functionapp'", "kind: 'functions'", "'functions' is none of"),
        ("container-app.bicep", "image: shown", "images: shown", "images: no such"),
        ("container-app.bicep", "infrastructureSubnetId:", "subnetId:", "subnetId: no such"),
        ("network.bicep", "serviceName:", "service:", "service: no such"),
        ("endpoint.bicep", "groupIds:", "groups:", "groups: no such"),
        ("key-vault.bicep", "enableRbacAuthorization:", "enableRbac:", "enableRbac: no such"),
        ("identity.bicep", "tags: tags\n", "tags: tags\n  properties: { clientId: name }\n", "only the service"),
    ],
)
def test_names_and_values(tmp_path, name, old, new, expected):
    file = changed(tmp_path, name, old, new)
    assert not file.mistakes
    found = [m for r in file.resources for m in azure_models.mistakes(r.kind, r.body)]
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("redis.bicep", "    name: sku\n  }", "    name: sku\n"),
        ("storage.bicep", "'Standard_LRS'", "'Standard_LRS"),
        ("messaging.bicep", "for queue in queueNames:", "for queue queueNames:"),
    ],
)
def test_syntax(tmp_path, name, old, new):
    assert changed(tmp_path, name, old, new).mistakes
