#!/usr/bin/env bash
# Writes the image that the app runs into SCORE_IMAGE of the azd environment, so that the next azd provision leaves it.
set -euo pipefail

group=${AZURE_RESOURCE_GROUP:?set it, or run this by azd}
app=${AZURE_FUNCTION_NAME:?set it, or run this by azd}
if [[ ${SCORE_HOSTING:-} == containerapp ]]; then
  image=$(az resource show --resource-group "$group" --name "$app" --resource-type Microsoft.App/containerApps \
    --api-version 2026-07-01 --query 'properties.template.containers[0].image' --output tsv)
else
  image=$(az functionapp config show --resource-group "$group" --name "$app" --query linuxFxVersion --output tsv)
  image=${image#DOCKER|}
fi
if [[ -z $image || $image == None ]]; then
  echo "error: Azure does not tell which image $app runs; expected one after azd deploy" >&2
  exit 1
fi
azd env set SCORE_IMAGE "$image"
