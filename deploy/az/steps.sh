#!/usr/bin/env bash
# The steps up to the app: what the app needs. Each can be run again: it makes what is missing and leaves what is there.
# shellcheck disable=SC2153,SC2154  # set by deploy.sh, lib.sh and settings.sh

redis_api=2025-07-01
storage_api=2025-06-01

step_group() {
  run group create --name "$RESOURCE_GROUP" --location "$LOCATION"
}

step_identity() {
  [[ $AUTH == identity ]] || return 0
  exists Microsoft.ManagedIdentity/userAssignedIdentities "$IDENTITY" ||
    run identity create --resource-group "$RESOURCE_GROUP" --name "$IDENTITY" --location "$LOCATION"
}

# The containers of the functions that are on.
containers() {
  local names=()
  ! has blob "$TRIGGERS" || names+=(incoming)
  ! has large-blob "$TRIGGERS" || names+=(incoming-large)
  ((${#names[@]} == 0)) || echo "${names[@]}" scored rejected
}

step_storage() {
  local shared_key=false container
  # While an app on Premium is made, Azure makes a file share for it, and only the account's key opens Azure Files.
  # lock_storage switches the key off where nothing needs it later.
  if [[ $AUTH == keys || $PLAN_SKU == EP? ]]; then
    shared_key=true
  fi
  exists Microsoft.Storage/storageAccounts "$STORAGE" ||
    run storage account create --resource-group "$RESOURCE_GROUP" --name "$STORAGE" --location "$LOCATION" \
      --sku Standard_LRS --kind StorageV2 --min-tls-version TLS1_2 --https-only true \
      --allow-blob-public-access false --allow-shared-key-access "$shared_key"
  for container in $(containers); do
    run storage container-rm create --resource-group "$RESOURCE_GROUP" --storage-account "$STORAGE" --name "$container"
  done
  # As a resource: az storage queue create needs a role for data, which the caller may lack.
  ! has large-blob "$TRIGGERS" ||
    put "$(id_of Microsoft.Storage/storageAccounts "$STORAGE")/queueServices/default/queues/$SCORE_BLOBS_QUEUE" "$storage_api" '{}'
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

# As resources, because az redisenterprise is an extension. EnterpriseCluster has one endpoint, whose name is the one in
# its certificate; the nodes of other policies are announced by address.
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

# Only what .dockerignore lets in: az looks at every file of the folder, also at those that it leaves out then. Below target/ these are
# many, and a build may remove one meanwhile.
build_context() {
  mkdir -p "$scratch/context"
  # shellcheck disable=SC2046 # the lines may be patterns
  (cd "$root" && tar --create --file - .dockerignore Dockerfile $(sed -n 's/^!//p' .dockerignore)) |
    tar --extract --preserve-permissions --file - --directory "$scratch/context"
}

step_image() {
  local admin=false status
  [[ $PACKAGE == image && -z $IMAGE ]] || return 0
  [[ $AUTH == identity ]] || admin=true
  exists Microsoft.ContainerRegistry/registries "$REGISTRY" ||
    run acr create --resource-group "$RESOURCE_GROUP" --name "$REGISTRY" --location "$LOCATION" --sku Basic \
      --admin-enabled "$admin"
  $dry_run || build_context
  status=$(ask Succeeded acr build --registry "$REGISTRY" --resource-group "$RESOURCE_GROUP" --image "score:$IMAGE_TAG" \
    --no-logs --query status "$scratch/context") ||
    die "the registry built no image; where it may not (TasksOperationsNotAllowed: subscriptions with free credit)," \
      "build and push one with Docker, and give its name by IMAGE"
  [[ $status == *Succeeded* ]] || die "the image was not built (${status,,}); see: az acr task logs --registry $REGISTRY"
}

image() {
  echo "${IMAGE:-${REGISTRY,,}$registry_suffix/score:$IMAGE_TAG}"
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

# The name of the Service Bus host: the end of it differs between clouds.
bus_host() {
  local endpoint
  endpoint=$(ask "host of $SERVICE_BUS" servicebus namespace show --resource-group "$RESOURCE_GROUP" --name "$SERVICE_BUS" \
    --query serviceBusEndpoint)
  endpoint=${endpoint#https://}
  echo "${endpoint%%[:/]*}"
}

# storage_uri blob|queue|table
storage_uri() {
  ask "$1 address of $STORAGE" storage account show --resource-group "$RESOURCE_GROUP" --name "$STORAGE" \
    --query "primaryEndpoints.$1"
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
