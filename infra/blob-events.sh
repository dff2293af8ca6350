#!/usr/bin/env bash
# Lets blobs in "incoming" start score_blob; run once, after the first deployment. Reads the values of azd:
# AZURE_RESOURCE_GROUP, AZURE_FUNCTION_NAME, AZURE_SYSTEM_TOPIC_NAME.
# The subscription's address contains the host's key for blob events, which exists only once the app runs. The key goes
# from one command to the next and is stored nowhere else.
set -euo pipefail
# shellcheck source=infra/app.sh
source "$(dirname "$0")/app.sh"

[[ ,${SCORE_TRIGGERS:-blob}, == *,blob,* ]] || exit 0
group=${AZURE_RESOURCE_GROUP:?set it, or run this by azd}
app=${AZURE_FUNCTION_NAME:?set it, or run this by azd}
topic=${AZURE_SYSTEM_TOPIC_NAME:?set it, or run this by azd}

if az eventgrid system-topic event-subscription show --resource-group "$group" --system-topic-name "$topic" \
  --name score-blob --output none 2>/dev/null; then
  exit 0
fi

host=$(app_host "$group" "$app")
key=$(app_key "$group" "$app" blobs) || {
  echo "error: $app has no key for blob events; is score_blob part of the app, and does the app start?" >&2
  exit 1
}

# "@-" is standard input: every user of this machine can see the arguments of a program.
az eventgrid system-topic event-subscription create --resource-group "$group" --system-topic-name "$topic" \
  --name score-blob --endpoint-type webhook --endpoint @- \
  --included-event-types Microsoft.Storage.BlobCreated \
  --subject-begins-with /blobServices/default/containers/incoming/ --output none \
  <<<"https://$host/runtime/webhooks/blobs?functionName=Host.Functions.score_blob&code=$key"
