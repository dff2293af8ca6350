#!/usr/bin/env bash
# Asks a handler that serves the sample model what the Functions host would ask it: smoke.sh PORT [--http]
#   --http  a handler without the host, which serves no messages
set -euo pipefail
cd "$(dirname "$0")/.."

host=http://127.0.0.1:${1:?usage: smoke.sh PORT [--http]}
digit=examples/mnist/seven.json

fail() {
  echo "error: $1" >&2
  exit 1
}

for _ in {1..100}; do
  ! curl --silent --fail --output /dev/null "$host/" || break
  sleep 0.1
done
curl --silent --fail --show-error --output /dev/null "$host/" || fail "GET / is not answered"

answer=$(curl --silent --show-error "$host/api/score" --header 'content-type: application/json' --data "@$digit")
[[ $answer == '[7]' ]] || fail "POST /api/score answered $answer, expected [7]"

for path in live ready; do
  curl --silent --fail --show-error --output /dev/null "$host/api/health/$path" || fail "GET /api/health/$path is not answered with 200"
done

if [[ ${2:-} == --http ]]; then
  echo "answered GET /, POST /api/score and both health paths"
  exit
fi

# A batch of one Service Bus message: lists of bodies in base64 and of metadata, each as JSON in a string. The host sends it
# in chunks.
message=$(base64 <"$digit" | tr -d '\n')
answer=$(curl --silent --show-error "$host/score_queue" --header 'content-type: application/json' \
  --header 'transfer-encoding: chunked' --data @- <<JSON
{"Data": {"message": "[\"$message\"]"}, "Metadata": {"MessageIdArray": "[\"smoke\"]", "DeliveryCountArray": "[1]"}}
JSON
)
python3 - "$answer" <<'PYTHON' || fail "POST /score_queue answered $answer, expected the result [7] for the message smoke"
import json, sys

outputs = json.loads(sys.argv[1])["Outputs"]
result = json.loads(outputs["result"][0])
sys.exit((result["id"], result["result"]) != ("smoke", [7]) or "rejected" in outputs)
PYTHON
echo "answered GET /, POST /api/score, both health paths and POST /score_queue"
