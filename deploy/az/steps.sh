#!/usr/bin/env bash
# The steps. Each can be run again: it makes what is missing and leaves what is there.
# shellcheck disable=SC2153,SC2154  # set by deploy.sh, lib.sh and settings.sh

redis_api=2025-07-01

step_group() {
  run group create --name "$RESOURCE_GROUP" --location "$LOCATION"
}

step_identity() {
  [[ $AUTH == identity ]] || return 0
  exists Microsoft.ManagedIdentity/userAssignedIdentities "$IDENTITY" ||
    run identity create --resource-group "$RESOURCE_GROUP" --name "$IDENTITY" --location "$LOCATION"
}

step_storage() {
  local shared_key=false container
  # Azure Files knows no identities, and a zip on Premium lies there.
  if [[ $AUTH == keys || ($PLAN_SKU == EP? && $PACKAGE == zip) ]]; then
    shared_key=true
  fi
  exists Microsoft.Storage/storageAccounts "$STORAGE" ||
    run storage account create --resource-group "$RESOURCE_GROUP" --name "$STORAGE" --location "$LOCATION" \
      --sku Standard_LRS --kind StorageV2 --min-tls-version TLS1_2 --https-only true \
      --allow-blob-public-access false --allow-shared-key-access "$shared_key"
  has blob "$TRIGGERS" || return 0
  for container in incoming scored rejected; do
    run storage container-rm create --resource-group "$RESOURCE_GROUP" --storage-account "$STORAGE" --name "$container"
  done
}

step_servicebus() {
  local queue local_auth_off=true
  has queue "$TRIGGERS" || return 0
  [[ $AUTH == identity ]] || local_auth_off=false
  exists Microsoft.ServiceBus/namespaces "$SERVICE_BUS" ||
    run servicebus namespace create --resource-group "$RESOURCE_GROUP" --name "$SERVICE_BUS" --location "$LOCATION" \
      --sku Standard --min-tls 1.2 --disable-local-auth "$local_auth_off"
  for queue in "$SCORE_QUEUE" "$SCORE_RESULT_QUEUE" "$SCORE_REJECTED_QUEUE"; do
    run servicebus queue create --resource-group "$RESOURCE_GROUP" --namespace-name "$SERVICE_BUS" --name "$queue"
  done
}

step_cache() {
  case $CACHE in
    managed) managed_cache ;;
    classic) classic_cache ;;
  esac
}

# As resources, because az redisenterprise is an extension. One endpoint (EnterpriseCluster), so that no certificate
# meets a node's address.
managed_cache() {
  local cluster principal keys=Disabled
  cluster=$(id_of Microsoft.Cache/redisEnterprise "$REDIS")
  [[ $AUTH == identity ]] || keys=Enabled
  exists Microsoft.Cache/redisEnterprise "$REDIS" ||
    put "$cluster" "$redis_api" \
      "{\"location\": \"$LOCATION\", \"sku\": {\"name\": \"$CACHE_SKU\"}, \"properties\": {\"highAvailability\": \"Disabled\", \"minimumTlsVersion\": \"1.2\", \"publicNetworkAccess\": \"Enabled\"}}"
  put "$cluster/databases/default" "$redis_api" \
    "{\"properties\": {\"clientProtocol\": \"Encrypted\", \"port\": 10000, \"clusteringPolicy\": \"EnterpriseCluster\", \"evictionPolicy\": \"AllKeysLRU\", \"accessKeysAuthentication\": \"$keys\"}}"
  [[ $AUTH == identity ]] || return 0
  principal=$(identity_value principalId)
  put "$cluster/databases/default/accessPolicyAssignments/score" "$redis_api" \
    "{\"properties\": {\"accessPolicyName\": \"default\", \"user\": {\"objectId\": \"$principal\"}}}"
}

classic_cache() {
  local entra=true id principal
  id=$(id_of Microsoft.Cache/redis "$REDIS")
  [[ $AUTH == identity ]] || entra=false
  exists Microsoft.Cache/redis "$REDIS" ||
    run redis create --resource-group "$RESOURCE_GROUP" --name "$REDIS" --location "$LOCATION" \
      --sku "${CACHE_SKU%_*}" --vm-size "${CACHE_SKU#*_}" --minimum-tls-version 1.2 --disable-access-keys "$entra" \
      --redis-configuration "{\"aad-enabled\": \"$entra\", \"maxmemory-policy\": \"allkeys-lru\"}"
  run resource wait --ids "$id" --api-version 2024-11-01 --created --timeout 3600
  [[ $AUTH == identity ]] || return 0
  principal=$(identity_value principalId)
  run redis access-policy-assignment create --resource-group "$RESOURCE_GROUP" --name "$REDIS" \
    --policy-assignment-name score --access-policy-name "Data Contributor" \
    --object-id "$principal" --object-id-alias "$IDENTITY"
}

# identity_value clientId|principalId
identity_value() {
  ask "$1 of $IDENTITY" identity show --resource-group "$RESOURCE_GROUP" --name "$IDENTITY" --query "$1"
}

step_image() {
  local admin=false status
  [[ $PACKAGE == image && -z $IMAGE ]] || return 0
  [[ $AUTH == identity ]] || admin=true
  exists Microsoft.ContainerRegistry/registries "$REGISTRY" ||
    run acr create --resource-group "$RESOURCE_GROUP" --name "$REGISTRY" --location "$LOCATION" --sku Basic \
      --admin-enabled "$admin"
  status=$(ask Succeeded acr build --registry "$REGISTRY" --resource-group "$RESOURCE_GROUP" --image "score:$IMAGE_TAG" \
    --no-logs --query status "$root")
  [[ $status == *Succeeded* ]] || die "the image was not built (${status,,}); see: az acr task logs --registry $REGISTRY"
}

image() {
  echo "${IMAGE:-${REGISTRY,,}.azurecr.io/score:$IMAGE_TAG}"
}

step_roles() {
  local principal storage bus
  [[ $AUTH == identity ]] || return 0
  principal=$(identity_value principalId)
  storage=$(id_of Microsoft.Storage/storageAccounts "$STORAGE")
  bus=$(id_of Microsoft.ServiceBus/namespaces "$SERVICE_BUS")
  grant b7e6dc6d-f1e8-4753-8033-0f276bb0955b "$storage" # Storage Blob Data Owner
  grant 974c5e8b-45b9-4653-ba55-5f855dd0fb88 "$storage" # Storage Queue Data Contributor
  grant 0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3 "$storage" # Storage Table Data Contributor
  if has queue "$TRIGGERS"; then
    grant 4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0 "$bus" # Azure Service Bus Data Receiver
    grant 69a216fc-b8fb-44d8-bc22-1f3c2cd27a39 "$bus" # Azure Service Bus Data Sender
  fi
  if [[ $PACKAGE == image && -z $IMAGE ]]; then
    grant 7f951dda-4ed3-4680-a7ca-43fe172d538d "$(id_of Microsoft.ContainerRegistry/registries "$REGISTRY")" # AcrPull
  fi
}

# grant ROLE SCOPE, to the step's principal
grant() {
  run role assignment create --role "$1" --scope "$2" --assignee-object-id "$principal" \
    --assignee-principal-type ServicePrincipal
}

# Flex Consumption has a plan for each app, made with the app.
step_plan() {
  local command=(appservice plan create)
  [[ $PLAN_SKU != FC1 ]] || return 0
  exists Microsoft.Web/serverFarms "$PLAN" && return
  [[ $PLAN_SKU != EP? ]] || command=(functionapp plan create)
  run "${command[@]}" --resource-group "$RESOURCE_GROUP" --name "$PLAN" --location "$LOCATION" --sku "$PLAN_SKU" --is-linux
}

step_app() {
  local identity options=()
  identity=$(id_of Microsoft.ManagedIdentity/userAssignedIdentities "$IDENTITY")
  # Made once: az writes all the settings of an app anew with each create.
  if ! exists Microsoft.Web/sites "$APP"; then
    if [[ $PLAN_SKU == FC1 ]]; then
      options+=(--flexconsumption-location "$LOCATION" --runtime custom
        --instance-memory "$FLEX_MEMORY" --maximum-instance-count "$FLEX_INSTANCES")
      [[ $AUTH == keys ]] ||
        options+=(--deployment-storage-auth-type UserAssignedIdentity --deployment-storage-auth-value "$identity")
    else
      options+=(--plan "$PLAN" --functions-version 4 --os-type Linux)
      if [[ $PACKAGE == image ]]; then options+=(--image "$(image)"); else options+=(--runtime custom); fi
    fi
    run functionapp create --resource-group "$RESOURCE_GROUP" --name "$APP" --storage-account "$STORAGE" \
      --https-only true "${options[@]}"
  fi
  [[ $AUTH == keys ]] ||
    run functionapp identity assign --resource-group "$RESOURCE_GROUP" --name "$APP" --identities "$identity"
}

step_settings() {
  local settings=() old=() client redis_address function
  settings+=("SCORE_QUEUE=$SCORE_QUEUE" "SCORE_RESULT_QUEUE=$SCORE_RESULT_QUEUE" "SCORE_REJECTED_QUEUE=$SCORE_REJECTED_QUEUE")
  for function in http queue blob; do
    settings+=("AzureWebJobs_score_${function}_Disabled=$(has "$function" "$TRIGGERS" && echo false || echo true)")
  done
  [[ $PLAN_SKU == FC1 ]] || settings+=(FUNCTIONS_WORKER_RUNTIME=custom)
  [[ $PLAN_SKU == FC1 || $PACKAGE == image ]] || settings+=(WEBSITE_RUN_FROM_PACKAGE=1)
  if [[ $AUTH == identity ]]; then
    client=$(identity_value clientId)
    settings+=("AZURE_CLIENT_ID=$client"
      "AzureWebJobsStorage__accountName=$STORAGE"
      AzureWebJobsStorage__credential=managedidentity
      "AzureWebJobsStorage__clientId=$client")
    ! has queue "$TRIGGERS" ||
      settings+=("ServiceBusConnection__fullyQualifiedNamespace=$SERVICE_BUS.servicebus.windows.net"
        ServiceBusConnection__credential=managedidentity
        "ServiceBusConnection__clientId=$client")
    if [[ $CACHE != none ]]; then
      redis_address=$(redis_address)
      settings+=(REDIS_AUTH=entra "REDIS_URL=rediss://$redis_address")
    fi
    # With these az has handed the storage account's key to the app.
    old=(AzureWebJobsStorage AzureWebJobsDashboard DEPLOYMENT_STORAGE_CONNECTION_STRING)
    [[ $PLAN_SKU != EP? || $PACKAGE == zip ]] || old+=(WEBSITE_CONTENTAZUREFILECONNECTIONSTRING WEBSITE_CONTENTSHARE)
  else
    secret_settings
  fi
  run functionapp config appsettings set --resource-group "$RESOURCE_GROUP" --name "$APP" --settings "${settings[@]}"
  ((${#old[@]} == 0)) ||
    run functionapp config appsettings delete --resource-group "$RESOURCE_GROUP" --name "$APP" --setting-names "${old[@]}"
}

# Keys go to az in files that only their owner can read: the arguments of a program can be seen by everybody.
secret_settings() {
  local secret redis_address
  if has queue "$TRIGGERS"; then
    secret=$(ask "connection string of $SERVICE_BUS" servicebus namespace authorization-rule keys list \
      --resource-group "$RESOURCE_GROUP" --namespace-name "$SERVICE_BUS" --name RootManageSharedAccessKey \
      --query primaryConnectionString)
    printf 'ServiceBusConnection=%s' "$secret" >"$scratch/bus"
    settings+=("@$scratch/bus")
  fi
  if [[ $CACHE != none ]]; then
    redis_address=$(redis_address)
    secret=$(redis_key)
    printf 'REDIS_CONNECTION_STRING=%s,password=%s,ssl=True' "$redis_address" "$secret" >"$scratch/redis"
    settings+=("@$scratch/redis")
  fi
}

# host:port
redis_address() {
  local host
  if [[ $CACHE == classic ]]; then
    host=$(ask "host of $REDIS" redis show --resource-group "$RESOURCE_GROUP" --name "$REDIS" --query hostName)
    echo "$host:6380"
  else
    host=$(ask "host of $REDIS" resource show --ids "$(id_of Microsoft.Cache/redisEnterprise "$REDIS")" \
      --api-version "$redis_api" --query properties.hostName)
    echo "$host:10000"
  fi
}

redis_key() {
  if [[ $CACHE == classic ]]; then
    ask "key of $REDIS" redis list-keys --resource-group "$RESOURCE_GROUP" --name "$REDIS" --query primaryKey
  else
    ask "key of $REDIS" rest --method post --query primaryKey \
      --uri "$(id_of Microsoft.Cache/redisEnterprise "$REDIS")/databases/default/listKeys?api-version=$redis_api"
  fi
}

# The code itself: which image, or the zip. The platform asks for the app's health without a key; Flex Consumption, whose
# instances come and go, does not ask.
step_code() {
  local client config='"healthCheckPath": "/api/health/live"'
  if [[ $PACKAGE == image && $AUTH == identity ]]; then
    client=$(identity_value clientId)
    config+=", \"acrUseManagedIdentityCreds\": true, \"acrUserManagedIdentityID\": \"$client\""
  fi
  [[ $PLAN_SKU == FC1 ]] ||
    run functionapp config set --resource-group "$RESOURCE_GROUP" --name "$APP" --generic-configurations "{$config}"
  if [[ $PACKAGE == zip ]]; then
    run functionapp deployment source config-zip --resource-group "$RESOURCE_GROUP" --name "$APP" --src "$ZIP"
  else
    run functionapp config container set --resource-group "$RESOURCE_GROUP" --name "$APP" --image "$(image)"
  fi
}

# Not by az functionapp show, which reads the publishing profile with its passwords too.
app_host() {
  ask "host of $APP" resource show --ids "$(id_of Microsoft.Web/sites "$APP")" --query properties.defaultHostName \
    --api-version 2025-05-01
}

step_test() {
  local host key
  has http "$TRIGGERS" || return 0
  host=$(app_host)
  key=$(ask "function key of $APP" functionapp keys list --resource-group "$RESOURCE_GROUP" --name "$APP" \
    --query functionKeys.default)
  echo "curl https://$host/api/score --header 'x-functions-key: ...' --data @$TEST_REQUEST" >&3
  [[ $PLAN_SKU == FC1 ]] || echo "curl https://$host/api/health/live" >&3
  $dry_run && return
  # A new app needs minutes: its image is pulled, and new roles are not known everywhere at once.
  curl --silent --show-error --fail --retry 1000 --retry-all-errors --retry-delay 10 --retry-max-time "$TEST_WAIT" \
    --config - --header 'content-type: application/json' --data-binary "@$TEST_REQUEST" \
    "https://$host/api/score" <<<"header = \"x-functions-key: $key\""
  echo
  # Where the platform asks, it has no key.
  [[ $PLAN_SKU == FC1 ]] || curl --silent --show-error --fail --output /dev/null "https://$host/api/health/live"
}

# Storage tells the app of new blobs; the app has to be there, as it is asked whether it wants to be told.
step_events() {
  local host key
  has blob "$TRIGGERS" || return 0
  host=$(app_host)
  key=$(ask "blobs_extension key of $APP" functionapp keys list --resource-group "$RESOURCE_GROUP" --name "$APP" \
    --query systemKeys.blobs_extension)
  cat >"$scratch/events.json" <<EVENTS
{"properties": {
  "destination": {"endpointType": "WebHook", "properties": {
    "endpointUrl": "https://$host/runtime/webhooks/blobs?functionName=Host.Functions.score_blob&code=$key"}},
  "filter": {
    "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
    "subjectBeginsWith": "/blobServices/default/containers/incoming/"}}}
EVENTS
  put "$(id_of Microsoft.Storage/storageAccounts "$STORAGE")/providers/Microsoft.EventGrid/eventSubscriptions/score-blob" \
    2025-02-15 "@$scratch/events.json"
}
