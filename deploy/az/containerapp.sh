#!/usr/bin/env bash
# The app on Container Apps (PLAN_SKU=ACA), as resources: `az containerapp create --kind functionapp` is an extension.
# shellcheck disable=SC2034,SC2153,SC2154  # set by deploy.sh, lib.sh, settings.sh and steps.sh

containerapp_api=2026-07-01

make_environment() {
  exists Microsoft.App/managedEnvironments "$PLAN" ||
    put "$(id_of Microsoft.App/managedEnvironments "$PLAN")" "$containerapp_api" \
      "{\"location\": \"$LOCATION\", \"properties\": {\"workloadProfiles\": [{\"name\": \"Consumption\", \"workloadProfileType\": \"Consumption\"}]}}"
}

# The Functions host reads its keys from files (AzureWebJobsSecretStorageType=ContainerApps), which are secrets of the
# container app, and makes none by itself. A second run keeps the keys of the first.
# The secret's name, and the name of its file, which the host expects (ContainerAppsSecretsRepository in its source).
key_files=(host-master=host.master host-function-default=host.function.default
  host-systemkey-blobs=host.systemKey.blobs_extension)

stored_key() {
  azure rest --method post --uri "$(id_of Microsoft.App/containerApps "$APP")/listSecrets?api-version=$containerapp_api" \
    --query "value[?name=='$1'].value | [0]" --output tsv
}

# container_app_key function|blobs
container_app_key() {
  local -A names=([function]=host-function-default [blobs]=host-systemkey-blobs)
  if $dry_run; then echo "<$1 key of $APP>"; else stored_key "${names[$1]}"; fi
}

# Prints the secrets as JSON, for a file that az reads.
container_app_secrets() {
  local pair name key separator=
  for pair in "${key_files[@]}"; do
    name=${pair%%=*}
    key=
    if exists Microsoft.App/containerApps "$APP"; then key=$(stored_key "$name"); fi
    [[ -n $key && $key != None ]] || key=$(openssl rand -hex 32)
    printf '%s{"name": "%s", "value": "%s"}' "$separator" "$name" "$key"
    separator=', '
  done
}

# The scale rules are made by the platform from the triggers of the functions; replicas stay within ACA_REPLICAS.
make_container_app() {
  local identity=$1 client environment settings=() old=() secrets=
  client=$(identity_value clientId)
  environment=$(id_of Microsoft.App/managedEnvironments "$PLAN")
  settings+=(FUNCTIONS_WORKER_RUNTIME=custom AzureWebJobsSecretStorageType=ContainerApps
    FUNCTIONS_ENABLE_DRAIN_ON_APP_STOPPING=1)
  function_settings
  identity_settings "$client"
  $dry_run || secrets=$(container_app_secrets)
  container_app_json "$identity" "$environment" "$secrets" "${settings[@]}" >"$scratch/app.json"
  put "$(id_of Microsoft.App/containerApps "$APP")" "$containerapp_api" "@$scratch/app.json"
}

# container_app_json IDENTITY ENVIRONMENT SECRETS SETTING...
container_app_json() {
  local identity=$1 environment=$2 secrets=$3 registries=
  shift 3
  [[ -n $IMAGE ]] || registries="{\"server\": \"${REGISTRY,,}$registry_suffix\", \"identity\": \"$identity\"}"
  cat <<APP
{"kind": "functionapp", "location": "$LOCATION",
 "identity": {"type": "UserAssigned", "userAssignedIdentities": {"$identity": {}}},
 "properties": {
  "managedEnvironmentId": "$environment", "workloadProfileName": "Consumption",
  "configuration": {
   "activeRevisionsMode": "Single",
   "ingress": {"external": true, "targetPort": 80, "allowInsecure": false},
   "registries": [$registries], "secrets": [$secrets]},
  "template": {
   "terminationGracePeriodSeconds": 60,
   "containers": [{
    "name": "score", "image": "$(image)", "resources": {"cpu": $ACA_CPU, "memory": "$ACA_MEMORY"},
    "env": [$(environment_json "$@")],
    "volumeMounts": [{"volumeName": "functions-keys", "mountPath": "/run/secrets/functions-keys"}],
    "probes": [
     {"type": "Startup", "periodSeconds": 5, "failureThreshold": 36, "httpGet": {"path": "/api/health/live", "port": 80}},
     {"type": "Readiness", "periodSeconds": 10, "timeoutSeconds": 5, "httpGet": {"path": "/api/health/ready", "port": 80}},
     {"type": "Liveness", "periodSeconds": 30, "timeoutSeconds": 5, "failureThreshold": 4,
      "httpGet": {"path": "/api/health/live", "port": 80}}]}],
   "volumes": [{"name": "functions-keys", "storageType": "Secret", "secrets": [$(key_files_json)]}],
   "scale": {"minReplicas": ${ACA_REPLICAS%-*}, "maxReplicas": ${ACA_REPLICAS#*-}}}}}
APP
}

# environment_json NAME=VALUE...
environment_json() {
  local pair separator=
  for pair in "$@"; do
    printf '%s{"name": "%s", "value": "%s"}' "$separator" "${pair%%=*}" "${pair#*=}"
    separator=', '
  done
}

key_files_json() {
  local pair separator=
  for pair in "${key_files[@]}"; do
    printf '%s{"secretRef": "%s", "path": "%s"}' "$separator" "${pair%%=*}" "${pair#*=}"
    separator=', '
  done
}
