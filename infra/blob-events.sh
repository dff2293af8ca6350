#!/usr/bin/env bash
# Lets blobs in "incoming" set off score_blob; run once, after the first deployment. Reads what azd knows:
# AZURE_RESOURCE_GROUP, AZURE_FUNCTION_NAME, AZURE_SYSTEM_TOPIC_NAME.
# The subscription's address bears the host's key for blob events, which exists only once the app runs. The key goes from
# one command to the next and is stored nowhere else.
set -euo pipefail

[[ ${SCORE_TRIGGERS:-blob} == *blob* ]] || exit 0
group=${AZURE_RESOURCE_GROUP:?set it, or run this by azd}
app=${AZURE_FUNCTION_NAME:?set it, or run this by azd}
topic=${AZURE_SYSTEM_TOPIC_NAME:?set it, or run this by azd}

if az eventgrid system-topic event-subscription show --resource-group "$group" --system-topic-name "$topic" \
  --name score-blob --output none 2>/dev/null; then
  exit 0
fi

key=
for _ in {1..20}; do
  key=$(az functionapp keys list --resource-group "$group" --name "$app" --query systemKeys.blobs_extension --output tsv)
  [[ -z $key || $key == None ]] || break
  key=
  sleep 15
done
if [[ -z $key ]]; then
  echo "error: $app has no key blobs_extension; is score_blob part of the app, and does the app start?" >&2
  exit 1
fi

# "@-" is standard input: arguments can be seen by others on this machine.
az eventgrid system-topic event-subscription create --resource-group "$group" --system-topic-name "$topic" \
  --name score-blob --endpoint-type webhook --endpoint @- \
  --included-event-types Microsoft.Storage.BlobCreated \
  --subject-begins-with /blobServices/default/containers/incoming/ --output none \
  <<<"https://$app.azurewebsites.net/runtime/webhooks/blobs?functionName=Host.Functions.score_blob&code=$key"
