#!/usr/bin/env bash
# The steps that make the app on a plan of App Service, and those that try it.
# shellcheck disable=SC2153,SC2154  # set by deploy.sh, lib.sh, settings.sh and steps.sh

# Flex Consumption has a plan for each app, made with the app.
step_plan() {
  local command=(appservice plan create)
  case $PLAN_SKU in
    ACA) make_environment ;;
    FC1) ;;
    *)
      exists Microsoft.Web/serverFarms "$PLAN" && return
      [[ $PLAN_SKU != EP? ]] || command=(functionapp plan create)
      run "${command[@]}" --resource-group "$RESOURCE_GROUP" --name "$PLAN" --location "$LOCATION" --sku "$PLAN_SKU" --is-linux
      ;;
  esac
}

step_app() {
  local identity
  identity=$(id_of Microsoft.ManagedIdentity/userAssignedIdentities "$IDENTITY")
  if [[ $PLAN_SKU == ACA ]]; then
    make_container_app "$identity"
    return
  fi
  # Made once: az overwrites all settings of an app with each create.
  exists Microsoft.Web/sites "$APP" || create_app "$identity"
  [[ $AUTH == keys ]] ||
    run functionapp identity assign --resource-group "$RESOURCE_GROUP" --name "$APP" --identities "$identity"
  [[ $PLAN_SKU != FC1 ]] || scale_flex
}

create_app() {
  local identity=$1 options=()
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
}

# Flex Consumption adds an instance for every FLEX_CONCURRENCY requests at once (deploy/README.md says how to choose it).
scale_flex() {
  run functionapp scale config set --resource-group "$RESOURCE_GROUP" --name "$APP" \
    --trigger-type http --trigger-settings "perInstanceConcurrency=$FLEX_CONCURRENCY"
  [[ $FLEX_ALWAYS_READY == 0 ]] ||
    run functionapp scale config always-ready set --resource-group "$RESOURCE_GROUP" --name "$APP" \
      --settings "http=$FLEX_ALWAYS_READY"
}

# Sets the array `settings` to what the functions need wherever they run, by the identity of the app.
identity_settings() {
  local client=$1 blob queue table redis bus
  blob=$(storage_uri blob)
  queue=$(storage_uri queue)
  table=$(storage_uri table)
  settings+=("AZURE_CLIENT_ID=$client"
    "AzureWebJobsStorage__blobServiceUri=$blob"
    "AzureWebJobsStorage__queueServiceUri=$queue"
    "AzureWebJobsStorage__tableServiceUri=$table"
    AzureWebJobsStorage__credential=managedidentity
    "AzureWebJobsStorage__clientId=$client")
  if has queue "$TRIGGERS"; then
    bus=$(bus_host)
    settings+=("ServiceBusConnection__fullyQualifiedNamespace=$bus"
      ServiceBusConnection__credential=managedidentity
      "ServiceBusConnection__clientId=$client")
  fi
  if [[ $CACHE != none ]]; then
    redis=$(redis_address)
    settings+=(REDIS_AUTH=entra "REDIS_URL=rediss://$redis")
  fi
}

# Names of queues, and the functions that are off. A function that is on has no such setting, but for score_large_blob, which the
# image has off.
function_settings() {
  local function off=true
  settings+=("SCORE_QUEUE=$SCORE_QUEUE" "SCORE_RESULT_QUEUE=$SCORE_RESULT_QUEUE" "SCORE_REJECTED_QUEUE=$SCORE_REJECTED_QUEUE")
  for function in http queue blob; do
    if has "$function" "$TRIGGERS"; then
      old+=("AzureWebJobs_score_${function}_Disabled")
    else
      settings+=("AzureWebJobs_score_${function}_Disabled=true")
    fi
  done
  ! has large-blob "$TRIGGERS" || off=false
  settings+=("SCORE_BLOBS_QUEUE=$SCORE_BLOBS_QUEUE" "AzureWebJobs_score_large_blob_Disabled=$off")
}

step_settings() {
  local settings=() old=() client
  [[ $PLAN_SKU != ACA ]] || return 0 # they are part of the container app
  function_settings
  [[ $PLAN_SKU == FC1 ]] || settings+=(FUNCTIONS_WORKER_RUNTIME=custom)
  [[ $PLAN_SKU == FC1 || $PACKAGE == image ]] || settings+=(WEBSITE_RUN_FROM_PACKAGE=1)
  if [[ $AUTH == identity ]]; then
    client=$(identity_value clientId)
    identity_settings "$client"
    # With these az has handed the storage account's key to the app.
    old+=(AzureWebJobsStorage AzureWebJobsStorage__accountName AzureWebJobsDashboard DEPLOYMENT_STORAGE_CONNECTION_STRING)
    [[ $PLAN_SKU != EP? || $PACKAGE == zip ]] || old+=(WEBSITE_CONTENTAZUREFILECONNECTIONSTRING WEBSITE_CONTENTSHARE)
  else
    secret_settings
  fi
  run functionapp config appsettings set --resource-group "$RESOURCE_GROUP" --name "$APP" --settings "${settings[@]}"
  ((${#old[@]} == 0)) ||
    run functionapp config appsettings delete --resource-group "$RESOURCE_GROUP" --name "$APP" --setting-names "${old[@]}"
  lock_storage
}

# An image on Premium needs the file share only while the app is made: no setting names the key any longer.
lock_storage() {
  [[ $AUTH == identity && $PLAN_SKU == EP? && $PACKAGE == image ]] || return 0
  run storage account update --resource-group "$RESOURCE_GROUP" --name "$STORAGE" --allow-shared-key-access false
}

# Keys go to az in files that only their owner can read: every user of a machine can see the arguments of a program.
secret_settings() {
  local secret redis
  if has queue "$TRIGGERS"; then
    secret=$(ask "connection string of $SERVICE_BUS" servicebus namespace authorization-rule keys list \
      --resource-group "$RESOURCE_GROUP" --namespace-name "$SERVICE_BUS" --name RootManageSharedAccessKey \
      --query primaryConnectionString)
    printf 'ServiceBusConnection=%s' "$secret" >"$scratch/bus"
    settings+=("@$scratch/bus")
  fi
  # az finds the password of a registry by itself in the public cloud only.
  if [[ $PACKAGE == image && -z $IMAGE ]]; then
    secret=$(ask "password of $REGISTRY" acr credential show --resource-group "$RESOURCE_GROUP" --name "$REGISTRY" \
      --query 'passwords[0].value')
    printf 'DOCKER_REGISTRY_SERVER_PASSWORD=%s' "$secret" >"$scratch/registry"
    settings+=("DOCKER_REGISTRY_SERVER_URL=https://${REGISTRY,,}$registry_suffix"
      "DOCKER_REGISTRY_SERVER_USERNAME=$REGISTRY" "@$scratch/registry")
  fi
  if [[ $CACHE != none ]]; then
    redis=$(redis_address)
    secret=$(redis_key)
    printf 'REDIS_CONNECTION_STRING=%s,password=%s,ssl=True' "$redis" "$secret" >"$scratch/redis"
    settings+=("@$scratch/redis")
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

# The code itself: which image, or the zip. The platform asks for the app's health without a key; Flex Consumption has no
# such check, and a container app has probes.
step_code() {
  local client config='"healthCheckPath": "/api/health/live"'
  [[ $PLAN_SKU != ACA ]] || return 0
  if [[ $PACKAGE == image && $AUTH == identity ]]; then
    client=$(identity_value clientId)
    config+=", \"acrUseManagedIdentityCreds\": true, \"acrUserManagedIdentityID\": \"$client\""
  fi
  [[ $PLAN_SKU == FC1 ]] ||
    run functionapp config set --resource-group "$RESOURCE_GROUP" --name "$APP" --generic-configurations "{$config}"
  if [[ $PACKAGE == zip ]]; then
    put_zip functionapp deployment source config-zip --resource-group "$RESOURCE_GROUP" --name "$APP" --src "$ZIP"
  else
    run functionapp config container set --resource-group "$RESOURCE_GROUP" --name "$APP" --image "$(image)"
  fi
}

# A minute after the upload to Flex Consumption az asks the host for its key, once, and ends with an error if the host
# still starts. The package is there by then, and the test call waits for the host.
put_zip() {
  local after_upload='Failed to fetch host (key|url)|Deployment was successful but'
  show "$@"
  $dry_run && return
  if ! azure "$@" --output none 2>"$scratch/refusal"; then
    cat "$scratch/refusal" >&2
    [[ $PLAN_SKU == FC1 ]] && grep -qE "$after_upload" "$scratch/refusal" || return 1
    echo "the package is uploaded; its host still starts" >&3
  fi
}

# Not by az functionapp show, which reads the publishing profile with its passwords too.
app_host() {
  if [[ $PLAN_SKU == ACA ]]; then
    ask "host of $APP" resource show --ids "$(id_of Microsoft.App/containerApps "$APP")" --api-version "$containerapp_api" \
      --query properties.configuration.ingress.fqdn
  else
    ask "host of $APP" resource show --ids "$(id_of Microsoft.Web/sites "$APP")" --api-version 2025-05-01 \
      --query properties.defaultHostName
  fi
}

# app_key function|blobs: the key that calls of functions carry, or the one that Event Grid does
app_key() {
  local -A keys=([function]=functionKeys.default [blobs]=systemKeys.blobs_extension)
  if [[ $PLAN_SKU == ACA ]]; then
    container_app_key "$1"
  else
    ask_until "$1 key of $APP" functionapp keys list --resource-group "$RESOURCE_GROUP" --name "$APP" --query "${keys[$1]}"
  fi
}

step_test() {
  local host key
  has http "$TRIGGERS" || return 0
  host=$(app_host)
  key=$(app_key function)
  echo "curl https://$host/api/score --header 'x-functions-key: ...' --data @$TEST_REQUEST" >&3
  [[ $PLAN_SKU == FC1 ]] || echo "curl https://$host/api/health/live" >&3
  $dry_run && return
  # A new app needs minutes: its image is pulled, and new roles are not known everywhere at once.
  curl --silent --show-error --fail --retry 1000 --retry-all-errors --retry-delay "$RETRY_DELAY" \
    --retry-max-time "$TEST_WAIT" \
    --config - --header 'content-type: application/json' --data-binary "@$TEST_REQUEST" \
    "https://$host/api/score" <<<"header = \"x-functions-key: $key\""
  echo
  # The platform asks without a key.
  [[ $PLAN_SKU == FC1 ]] || curl --silent --show-error --fail --output /dev/null "https://$host/api/health/live"
}
