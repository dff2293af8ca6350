#!/usr/bin/env bash
# Lets score_blob score a file under `func start`: infra/local-blob.sh FILE [NAME]
# Puts the file into the container "incoming" of Azurite, and sends the host the notification of Event Grid, which
# Azurite does not send. Needs az, jq and curl. SCORE_LOCAL is the address of the host (http://127.0.0.1:7071).
set -euo pipefail

file=${1:?usage: infra/local-blob.sh FILE [NAME]}
name=${2:-$(basename "$file")}
host=${SCORE_LOCAL:-http://127.0.0.1:7071}
storage=${AzureWebJobsStorage:-UseDevelopmentStorage=true}
[[ -f $file ]] || { echo "error: '$file': no such file; expected one to score" >&2 && exit 1; }

for container in incoming scored rejected; do
  az storage container create --name "$container" --connection-string "$storage" --output none --only-show-errors
done
az storage blob upload --container-name incoming --name "$name" --file "$file" --overwrite --no-progress \
  --connection-string "$storage" --output none --only-show-errors
url=$(az storage blob url --container-name incoming --name "$name" --connection-string "$storage" --output tsv --only-show-errors)

status=$(jq --null-input --arg name "$name" --arg url "$url" --arg size "$(wc -c <"$file")" '[{
    id: "\(now)", topic: "local", subject: "/blobServices/default/containers/incoming/blobs/\($name)",
    eventType: "Microsoft.Storage.BlobCreated", eventTime: (now | todate), dataVersion: "", metadataVersion: "1",
    data: {api: "PutBlob", blobType: "BlockBlob", contentType: "application/octet-stream",
           contentLength: ($size | tonumber), eTag: "0x1", url: $url}}]' |
  curl --silent --show-error --output /dev/null --write-out '%{http_code}' --data-binary @- \
    --header 'content-type: application/json' --header 'aeg-event-type: Notification' \
    "$host/runtime/webhooks/blobs?functionName=Host.Functions.score_blob") || true
[[ $status == 202 ]] || {
  echo "error: $host answered $status to the notification; expected 202, from func start with score_blob switched on" >&2
  exit 1
}
echo "the result will be the blob scored/$name.json, or rejected/$name.json"
