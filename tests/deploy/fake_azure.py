"""Plays Azure for the real az: a resource manager, an identity endpoint, an app, all on 127.0.0.1.

Resources are kept as they are put; what az needs beyond that is in `special`. Every request is recorded.
"""
import base64
import copy
import io
import json
import re
import ssl
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-000000000002"
PRINCIPAL = "00000000-0000-0000-0000-0000000000aa"
CLIENT = "00000000-0000-0000-0000-0000000000cc"
OF_TOPIC = "00000000-0000-0000-0000-0000000000bb"  # the identity of the topic of a storage account
SECRET = "c2VjcmV0LXRoYXQtbXVzdC1ub3QtYmUtc2hvd24="
LOCATION = {"name": "westeurope", "displayName": "West Europe"}
# Suffixes of no real cloud: a script that writes a suffix of its own is found by a name that does not fit.
STORAGE_SUFFIX, REGISTRY_SUFFIX, VAULT_SUFFIX = "core.fake.example", ".azurecr.example", ".vault.example"
BUS_SUFFIX = "servicebus.example"
# The resource providers that a new subscription has without being asked.
PROVIDERS = {"microsoft.authorization", "microsoft.resources", "microsoft.features"}
# What the resource manager answers for a host that is still starting, one after another.
STARTING_HOST = [
    (400, {"error": {"code": "BadRequest", "message": "Encountered an error (ServiceUnavailable) from host runtime."}}),
    (502, {"error": {"code": "BadGateway", "message": "The gateway got no answer."}}),
    (200, {"functionKeys": {}, "systemKeys": {}, "masterKey": SECRET}),  # the keys themselves come last
]


def token():
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    claims = {"tid": TENANT, "oid": PRINCIPAL, "exp": int(time.time()) + 86400}
    return ".".join([part({"alg": "none"}), part(claims), part("signature")])


def stack(name, version):
    settings = {
        "runtimeVersion": version, "isDefault": True, "isHidden": False, "isDeprecated": False, "isPreview": False,
        "appInsightsSettings": {"isSupported": True}, "gitHubActionSettings": {"isSupported": False},
        "appSettingsDictionary": {"FUNCTIONS_WORKER_RUNTIME": name},
        "siteConfigPropertiesDictionary": {"use32BitWorkerProcess": False, "linuxFxVersion": ""},
        "supportedFunctionsExtensionVersions": ["~4"],
        "Sku": [{"skuCode": "FC1", "instanceMemoryMB": [{"size": 2048, "isDefault": True}],
                 "maximumInstanceCount": {"defaultValue": 100, "highestMaximumInstanceCount": 1000},
                 "functionAppConfigProperties": {"runtime": {"name": name, "version": version}}}],
    }
    minor = {"displayText": version, "value": version, "stackSettings": {"linuxRuntimeSettings": settings}}
    major = {"displayText": version, "value": version, "minorVersions": [minor]}
    return {"name": name, "type": "Microsoft.Web/functionAppStacks",
            "properties": {"displayText": name, "value": name, "majorVersions": [major]}}


def merge(old, new):
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            merge(old[key], value)
        else:
            old[key] = value
    return old


class Azure:
    def __init__(self, certificate):
        self.resources = {}  # by lower-case path
        self.requests = []
        self.taken = set()  # names that another subscription has
        self.build_context = []  # the names of the files that an image was last built of
        self.builds = True  # whether registries may build; subscriptions with free credit may not
        self.refused = None  # part of the paths that nothing may be put to
        self.registered = {}  # resource provider -> how often it was asked for since it was registered
        self.secrets = {}  # of container apps, by lower-case path
        self.asked_for_keys = 0
        self.called = False  # whether the app had to look at a key
        self.lock = threading.Lock()
        self.arm = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.arm.socket = context.wrap_socket(self.arm.socket, server_side=True)
        self.identity = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.host = f"localhost:{self.arm.server_port}"
        for server in (self.arm, self.identity):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def reset(self):
        self.resources.clear()
        self.requests.clear()
        self.registered.clear()
        self.secrets.clear()
        self.asked_for_keys = 0

    # --- what Azure refuses ---

    def refusal(self, method, path, body):
        """The answer to a request that Azure refuses, or None."""
        key = path.lower()
        for namespace in re.findall(r"/providers/(microsoft\.\w+)/", key + "/"):
            if method != "GET" and self.state(namespace) != "Registered" and not key.endswith("/register"):
                return 409, {"error": {"code": "MissingSubscriptionRegistration", "message":
                             f"The subscription is not registered to use namespace '{namespace}'. "
                             "See https://aka.ms/rps-not-found for how to register subscriptions."}}
        if method == "PUT" and self.refused and self.refused in key:
            return 403, {"error": {"code": "AuthorizationFailed", "message": "not allowed"}}
        if method == "PUT" and re.search("/microsoft.eventgrid/systemtopics/[^/]+$", key):
            of_source = self.topic_of(body["properties"]["source"])
            if of_source not in (None, key):
                return 400, {"error": {"code": "InvalidRequest", "message": "Only one system topic is allowed per source."}}
        if method == "PUT" and key.endswith("/config/appsettings"):
            return self.refused_settings(key, body["properties"])
        if method == "PUT" and "/microsoft.app/containerapps/" in key and body.get("kind") == "functionapp":
            scale = body["properties"]["template"].get("scale", {})
            if scale.get("rules") and not scale.get("allowScalingRuleOverride"):
                return 400, {"error": {"code": "FunctionAppCannotSetScaleRules", "message": "Scale rules cannot be manually "
                             "configured on the Function App. Scaling is auto-configured on the revision."}}
        if method == "PUT" and re.search(r"/microsoft\.web/sites/[^/]+$", key):
            settings = (body["properties"].get("siteConfig") or {}).get("appSettings") or []
            return self.refused_settings(key, {s["name"]: s.get("value") for s in settings})
        return None

    def refused_settings(self, key, settings):
        for name in settings:
            if not re.fullmatch(r"[A-Za-z0-9_.]+", name):  # on Linux; Azure/Azure-Functions issues 1851 and 2132
                return 400, {"Code": "BadRequest", "Message": f"AppSetting with name '{name}' is not allowed."}
        share = settings.get("WEBSITE_CONTENTAZUREFILECONNECTIONSTRING")
        account = re.search(r"AccountName=(\w+)", share or "")
        if account:
            group = key.split("/providers/")[0]
            storage = self.resources[f"{group}/providers/microsoft.storage/storageaccounts/{account[1].lower()}"]
            if storage["properties"].get("allowSharedKeyAccess") is False:
                return 400, {"Code": "BadRequest", "Message": "Creation of storage file share failed with: 'The remote "
                             "server returned an error: (403) Forbidden.'. Please check if the storage account is accessible."}
        return None

    def state(self, namespace):
        if namespace in PROVIDERS:
            return "Registered"
        asked = self.registered.get(namespace)
        return "NotRegistered" if asked is None else "Registered" if asked >= 1 else "Registering"

    def provider(self, namespace):
        return {"id": f"/subscriptions/{SUBSCRIPTION}/providers/{namespace}", "namespace": namespace, "resourceTypes": [],
                "registrationState": self.state(namespace.lower())}

    def providers(self, method, path):
        """The registration of resource providers: it takes a while, so the first question after it finds it under way."""
        parts = path.split("/providers")[1].strip("/").split("/")
        if parts == [""]:
            answer = {"value": [self.provider(name) for name in [*PROVIDERS, *self.registered, "Microsoft.Cache"]]}
            self.registered = {namespace: asked + 1 for namespace, asked in self.registered.items()}
            return 200, answer
        namespace, *action = parts
        if method == "POST" and action == ["register"]:
            self.registered.setdefault(namespace.lower(), 0)
            return 200, self.provider(namespace)
        answer = self.provider(namespace)
        if namespace.lower() in self.registered:
            self.registered[namespace.lower()] += 1
        return 200, answer

    # --- resources ---

    def put(self, path, body):
        key = path.lower()
        with self.lock:
            new = key not in self.resources
            resource = self.resources.setdefault(key, {})
        if "/roleassignments/" in key and new and self.same_role(key, body):
            del self.resources[key]
            return 409, {"error": {"code": "RoleAssignmentExists", "message": "The role assignment already exists."}}
        merge(resource, copy.deepcopy(body or {}))
        parts = path.split("/providers/")[-1].split("/")
        resource.update(id=path, name=path.split("/")[-1])
        resource["type"] = "/".join([parts[0], *parts[1::2]]) if "/providers/" in path else "group"
        properties = resource.get("properties")
        properties = resource["properties"] = {} if properties is None else properties
        properties["provisioningState"] = "Succeeded"
        self.complete(resource, properties)
        return (201 if re.search("/(roleassignments|systemtopics/[^/]+/eventsubscriptions)/", key) else 200), resource

    def topic_of(self, source):
        topics = [key for key, resource in self.resources.items() if resource["type"] == "Microsoft.EventGrid/systemTopics"
                  and resource["properties"]["source"].lower() == source.lower()]
        return topics[0] if topics else None

    def same_role(self, key, body):
        pick = lambda properties: (properties["principalId"], properties["roleDefinitionId"].lower())
        scope = key.split("/providers/microsoft.authorization/")[0]
        return any(other.startswith(scope + "/providers/microsoft.authorization/roleassignments/") and other != key
                   and pick(resource["properties"]) == pick(body["properties"])
                   for other, resource in self.resources.items())

    def complete(self, resource, properties):
        """What Azure itself adds to a resource."""
        kind, name = resource["type"].lower(), resource["name"]
        if kind == "microsoft.managedidentity/userassignedidentities":
            properties.update(principalId=PRINCIPAL, clientId=CLIENT, tenantId=TENANT)
        elif kind == "microsoft.storage/storageaccounts":
            properties["primaryEndpoints"] = {
                service: f"https://{name}.{service}.{STORAGE_SUFFIX}/" for service in ("blob", "queue", "table", "file")}
        elif kind == "microsoft.containerregistry/registries":
            properties["loginServer"] = f"{name}{REGISTRY_SUFFIX}"
        elif kind == "microsoft.servicebus/namespaces":
            properties["serviceBusEndpoint"] = f"https://{name}.{BUS_SUFFIX}:443/"
        elif kind == "microsoft.cache/redis":
            properties["hostName"] = f"{name}.redis.cache.example"
        elif kind == "microsoft.cache/redisenterprise":
            properties["hostName"] = f"{name}.westeurope.redis.example"
        elif kind == "microsoft.insights/components":
            properties["ConnectionString"] = "InstrumentationKey=0"
        elif kind == "microsoft.web/serverfarms":
            sku = resource.get("sku", {})
            sku.setdefault("tier", {"F": "FlexConsumption", "E": "ElasticPremium"}.get(sku.get("name", "B1")[0], "Basic"))
            properties["reserved"] = True
        elif kind == "microsoft.authorization/roleassignments":
            properties["scope"] = resource["id"].split("/providers/Microsoft.Authorization/")[0]
        elif kind == "microsoft.eventgrid/systemtopics" and "identity" in resource:
            resource["identity"]["principalId"] = OF_TOPIC
        elif kind == "microsoft.eventgrid/eventsubscriptions" and "/systemtopics/" not in resource["id"].lower():
            self.topic_for(resource["id"].split("/providers/Microsoft.EventGrid/")[0])
        elif kind == "microsoft.app/containerapps":
            configuration = properties["configuration"]
            configuration["ingress"]["fqdn"] = self.host
            self.secrets[resource["id"].lower()] = {s["name"]: s.pop("value") for s in configuration["secrets"]}
        elif kind == "microsoft.web/sites":
            self.complete_site(resource, properties, name)

    def topic_for(self, source):
        """A subscription on an account itself makes its topic, unless the account has one."""
        if not self.topic_of(source):
            group, account = source.split("/providers/")[0], source.split("/")[-1]
            self.put(f"{group}/providers/Microsoft.EventGrid/systemTopics/{account}-7ee3", {
                "location": "westeurope", "properties": {"source": source, "topicType": "Microsoft.Storage.StorageAccounts"}})

    def complete_site(self, resource, properties, name):
        farm = properties.get("serverFarmId", "")
        if farm and not farm.startswith("/"):
            group = resource["id"].split("/providers/")[0]
            farm = properties["serverFarmId"] = f"{group}/providers/Microsoft.Web/serverfarms/{farm}"
        sku = self.resources.get(farm.lower(), {}).get("sku", {})
        identities = resource.get("identity", {}).get("userAssignedIdentities") or {}
        for identity in identities:
            identities[identity] = {"principalId": PRINCIPAL, "clientId": CLIENT}
        properties.update(
            resourceGroup=resource["id"].split("/")[4], sku=sku.get("tier"), reserved=True, state="Running", defaultHostName=self.host, enabledHostNames=[self.host],
            hostNameSslStates=[{"name": self.host, "hostType": "Repository"}, {"name": self.host, "hostType": "Standard"}])
        config = properties.pop("siteConfig", None) or {}
        settings = config.pop("appSettings", None)
        base = resource["id"].lower()
        if settings is not None:
            self.put(f"{resource['id']}/config/appsettings", {})
            self.resources[base + "/config/appsettings"]["properties"] = {s["name"]: s.get("value") for s in settings}
        self.put(f"{resource['id']}/config/web", {"properties": config})

    def children(self, path, types):
        """Resources right below a collection, or all of a group that are listed by types."""
        prefix = path.lower() + "/"
        return [r for key, r in self.resources.items()
                if key.startswith(prefix) and len(key[len(prefix):].split("/")) == types]

    # --- what is more than keeping resources ---

    def special(self, method, path, query, body):
        low = path.lower()
        web = "/providers/microsoft.web"
        if low.startswith("/metadata/endpoints"):
            return 200, {}
        if low == "/msi/token":
            return 200, {"access_token": token(), "expires_on": str(int(time.time()) + 86400), "token_type": "Bearer",
                         "resource": query["resource"][0], "client_id": CLIENT}
        if low == "/subscriptions":
            return 200, {"value": [self.subscription()]}
        if re.fullmatch(f"/subscriptions/{SUBSCRIPTION}/providers(/microsoft\\.\\w+(/register)?)?", low):
            return self.providers(method, path)
        if low == f"/subscriptions/{SUBSCRIPTION}":
            return 200, self.subscription()
        if low.endswith("/locations") and method == "GET":
            return 200, {"value": [LOCATION]}
        if low.endswith("/georegions"):
            return 200, {"value": [{"name": "West Europe", "properties": {
                "displayName": "West Europe", "orgDomain": "PUBLIC;FLEXCONSUMPTION;LINUX"}}]}
        if low.endswith("/functionappstacks"):
            names = [("custom", "1.0")] + ([] if "/locations/" in low else [("dotnet", "8")])
            return 200, {"value": [stack(*pair) for pair in names]}
        if low.endswith("/roledefinitions"):
            return 200, {"value": []}
        if "checknameavailability" in low:
            return 200, {"nameAvailable": body["name"] not in self.taken, "reason": "AlreadyExists", "message": ""}
        if low.endswith("/resources") and method == "GET":
            return 200, {"value": self.listed(low[:-len("/resources")], query)}
        if low.startswith("/secrets/host--"):  # a vault with the keys of the host of a container app
            if not self.called:
                return 404, {"error": {"code": "SecretNotFound", "message": "not found"}}
            return 200, {"value": SECRET}
        if low.endswith("/listsecrets"):
            return 200, {"value": [{"name": n, "value": v} for n, v in self.secrets[low[:-len("/listsecrets")]].items()]}
        if low.endswith("/listkeys"):
            if "/host/default/" in low:
                self.asked_for_keys += 1
                if self.asked_for_keys <= len(STARTING_HOST):
                    return STARTING_HOST[self.asked_for_keys - 1]
            return 200, self.keys(low)
        if low.endswith("/listcredentials"):
            return 200, {"username": "admin", "passwords": [{"name": "password", "value": SECRET}]}
        if low.endswith("/listbuildsourceuploadurl"):
            return 200, {"uploadUrl": f"https://{self.host}/upload/source.tar.gz?sig={SECRET}", "relativePath": "source.tar.gz"}
        if low.endswith("/schedulerun") and not self.builds:
            return 403, {"error": {"code": "TasksOperationsNotAllowed", "message": "ACR Tasks requests are not permitted."}}
        if low.endswith("/schedulerun") or "/runs/" in low:
            return 200, {"id": f"{path}/r1", "name": "r1", "properties": {"runId": "r1", "status": "Succeeded"}}
        if low.startswith("/upload/"):
            return 201, {}
        if low.endswith("/config/appsettings/list"):
            return 200, self.resources.get(low[:-len("/list")], {"properties": {}})
        if low.endswith("/config/appsettings") and method == "PUT":
            self.put(path, {})
            self.resources[low]["properties"] = dict(body["properties"])
            return 200, self.resources[low]
        if low.endswith("/config/slotconfignames") and method == "GET":
            return 200, {"properties": {}}
        if "basicpublishingcredentialspolicies" in low:
            return 200, {"properties": {"allow": False}}
        if low.startswith("/api/publish") or low.startswith("/api/zipdeploy"):
            return 202, "1"
        if low.startswith("/api/deployments") or "/deploymentstatus" in low:
            return 200, {"id": "1", "status": 4, "complete": True, "properties": {"status": "RuntimeSuccessful"}}
        if low.startswith(("/admin/", "/api/health/")) or low == "/":
            return 200, {}
        return None

    def score(self, method, key):
        """The app itself, which asks for a function key."""
        self.called = True
        keys = {SECRET, *(value for app in self.secrets.values() for name, value in app.items() if name == "host-function-default")}
        if key not in keys:
            return 401, None
        return 200, [7] if method == "POST" else {"sample_request": {"data": [[0.0]]}}

    def keys(self, low):
        if "/host/default/" in low:
            return {"functionKeys": {"default": SECRET}, "systemKeys": {"blobs_extension": SECRET}, "masterKey": SECRET}
        if "/storageaccounts/" in low:
            return {"keys": [{"keyName": f"key{n}", "value": SECRET, "permissions": "FULL"} for n in (1, 2)]}
        return {"primaryKey": SECRET, "secondaryKey": SECRET,
                "primaryConnectionString": f"Endpoint=sb://x/;SharedAccessKeyName=k;SharedAccessKey={SECRET}"}

    def subscription(self):
        return {"id": f"/subscriptions/{SUBSCRIPTION}", "subscriptionId": SUBSCRIPTION, "tenantId": TENANT,
                "displayName": "Fake", "state": "Enabled"}

    def listed(self, scope, query):
        wanted = re.search(r"resourceType eq '([^']+)'", query.get("$filter", [""])[0])
        found = [r for key, r in self.resources.items()
                 if key.startswith(scope + "/") and len(key.split("/providers/")[-1].split("/")) == 3
                 and key.count("/providers/") == 1]
        return [r for r in found if not wanted or r["type"].lower() == wanted[1].lower()]

    def answer(self, method, path, query, body):
        answer = self.refusal(method, path, body) or self.special(method, path, query, body)
        if answer:
            return answer
        key = path.lower()
        if method in ("PUT", "PATCH"):
            return self.put(path, body)
        if method == "DELETE":
            for gone in [k for k in self.resources if k == key or k.startswith(key + "/")]:
                del self.resources[gone]
            return 200, {}
        if method == "HEAD":
            return (204 if key in self.resources else 404), None
        if key in self.resources:
            return 200, self.resources[key]
        if method == "GET" and len(key.split("/providers/")[-1].split("/")) % 2 == 0:
            return 200, {"value": self.children(path, 1)}
        code = "ResourceGroupNotFound" if "/providers/" not in key else "ResourceNotFound"
        return 404, {"error": {"code": code, "message": f"{path} was not found."}}

    def handler(azure):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = urlsplit(self.path)
                query = parse_qs(url.query)
                is_json = "json" in self.headers.get("Content-Type", "") and raw
                body = json.loads(raw) if is_json else None
                if url.path.startswith("/upload/"):
                    with tarfile.open(fileobj=io.BytesIO(raw)) as context:
                        azure.build_context = context.getnames()
                if url.path != "/msi/token":
                    azure.requests.append({"method": self.command, "path": url.path, "body": body, "bytes": len(raw),
                                           "api": query.get("api-version", [None])[0], "headers": dict(self.headers)})
                if url.path == "/api/score":
                    status, answer = azure.score(self.command, self.headers.get("x-functions-key"))
                else:
                    status, answer = azure.answer(self.command, re.sub("/+", "/", url.path).rstrip("/") or "/", query, body)
                data = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if url.path.startswith("/upload/"):
                    self.send_header("ETag", '"1"')
                    self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = serve

            def log_message(self, *_):
                pass

        return Handler
