#!/usr/bin/env bash
# The step that lets storage tell the app of new blobs.
# shellcheck disable=SC2034,SC2153,SC2154  # set by deploy.sh, lib.sh, settings.sh and steps.sh, and read by them

events_api=2025-02-15

step_events() {
  ! has blob "$TRIGGERS" || blob_events
  ! has large-blob "$TRIGGERS" || large_blob_events
}

# Event Grid first asks the app whether it wants that, so the app has to run.
blob_events() {
  local host key
  host=$(app_host)
  key=$(app_key blobs)
  cat >"$scratch/events.json" <<EVENTS
{"properties": {
  "destination": {"endpointType": "WebHook", "properties": {
    "endpointUrl": "https://$host/runtime/webhooks/blobs?functionName=Host.Functions.score_blob&code=$key"}},
  "filter": {
    "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
    "subjectBeginsWith": "/blobServices/default/containers/incoming/"}}}
EVENTS
  put "$(id_of Microsoft.Storage/storageAccounts "$STORAGE")/providers/Microsoft.EventGrid/eventSubscriptions/score-blob" \
    "$events_api" "@$scratch/events.json"
}

# Large blobs are named by the messages of a queue. An account without keys lets the topic of its events send to the queue as the
# topic itself; otherwise Event Grid uses the account's key.
large_blob_events() {
  local storage scope queue destination principal
  storage=$(id_of Microsoft.Storage/storageAccounts "$STORAGE")
  scope=$storage/providers/Microsoft.EventGrid
  queue="{\"endpointType\": \"StorageQueue\", \"properties\": {\"resourceId\": \"$storage\", \"queueName\": \"$SCORE_BLOBS_QUEUE\"}}"
  destination="\"destination\": $queue"
  if [[ $AUTH == identity ]]; then
    scope=$(id_of Microsoft.EventGrid/systemTopics "$(topic_of_storage)")
    put "$scope" "$events_api" \
      "{\"location\": \"$LOCATION\", \"identity\": {\"type\": \"SystemAssigned\"}, \"properties\": {\"source\": \"$storage\", \"topicType\": \"Microsoft.Storage.StorageAccounts\"}}"
    principal=$(ask "identity of the topic" resource show --ids "$scope" --api-version "$events_api" --query identity.principalId)
    grant c6a89b2d-59bc-44d0-9896-0f6e12d7b80a "$storage/queueServices/default/queues/$SCORE_BLOBS_QUEUE" # Storage Queue Data Message Sender
    destination="\"deliveryWithResourceIdentity\": {\"identity\": {\"type\": \"SystemAssigned\"}, \"destination\": $queue}"
  fi
  cat >"$scratch/events.json" <<EVENTS
{"properties": {
  $destination,
  "eventDeliverySchema": "EventGridSchema",
  "filter": {
    "includedEventTypes": ["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed"],
    "subjectBeginsWith": "/blobServices/default/containers/incoming-large/"}}}
EVENTS
  put "$scope/eventSubscriptions/score-large-blob" "$events_api" "@$scratch/events.json"
}

# An account has one topic, under any name. Azure has made it if the account has a subscription that was made without one.
topic_of_storage() {
  local name=
  $dry_run || name=$(azure eventgrid system-topic list --resource-group "$RESOURCE_GROUP" \
    --query "[?ends_with(source, '/storageAccounts/$STORAGE')].name | [0]" --output tsv)
  [[ -n $name && $name != None ]] || name=evgt-$APP
  echo "$name"
}
