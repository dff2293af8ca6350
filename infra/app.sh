#!/usr/bin/env bash
# How the scripts of this folder reach the deployed app; they source this file. SCORE_HOSTING (azd sets it) says what the
# app runs on: zip, container, or containerapp. AZURE_KEY_VAULT_URI is needed for containerapp.

# app_host GROUP APP: the name of its host, whose end differs between clouds and regions
app_host() {
  local host
  host=$(app_host_now "$@") && [[ -n $host && $host != None ]] || {
    echo "error: Azure does not tell the host name of $2 in $1" >&2
    return 3
  }
  echo "$host"
}

app_host_now() {
  if [[ ${SCORE_HOSTING:-} == containerapp ]]; then
    az resource show --resource-group "$1" --name "$2" --resource-type Microsoft.App/containerApps \
      --api-version 2026-07-01 --query properties.configuration.ingress.fqdn --output tsv
  else
    az resource show --resource-group "$1" --name "$2" --resource-type Microsoft.Web/sites \
      --api-version 2025-05-01 --query properties.defaultHostName --output tsv
  fi
}

# The key as it is now: a host that starts answers 400 and 502 for minutes, and the key of an extension comes even later.
# On Container Apps the host writes its keys into the vault when it has to look at one for the first time, so it is called.
app_key_now() {
  local -A app_service=([function]=functionKeys.default [blobs]=systemKeys.blobs_extension)
  local -A key_vault=([function]=host--functionKey--default [blobs]=host--systemKey--blobs-095extension)
  local resource
  if [[ ${SCORE_HOSTING:-} == containerapp ]]; then
    resource=$(az cloud show --query suffixes.keyvaultDns --output tsv)
    curl --silent --output /dev/null --max-time 60 --header 'x-functions-key: none' "https://$(app_host "$1" "$2")/api/score" || true
    az rest --uri "${AZURE_KEY_VAULT_URI:?set it, or run this by azd}secrets/${key_vault[$3]}?api-version=7.4" \
      --resource "https://${resource#.}" --query value --output tsv
  else
    az functionapp keys list --resource-group "$1" --name "$2" --query "${app_service[$3]}" --output tsv
  fi
}

# app_key GROUP APP function|blobs: asks for SCORE_KEY_SECONDS (600). Ends with 3 without a key, which says nothing about
# the release that was deployed.
app_key() {
  local key end=$((SECONDS + ${SCORE_KEY_SECONDS:-600}))
  until key=$(app_key_now "$@") && [[ -n $key && $key != None ]]; do
    if ((SECONDS >= end)); then
      echo "error: $2 has no $3 key after ${SCORE_KEY_SECONDS:-600} s: expected a host that runs; its log says why not" >&2
      return 3
    fi
    sleep "${SCORE_KEY_DELAY:-10}"
  done
  echo "$key"
}
