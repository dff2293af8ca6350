#!/usr/bin/env bash
# Serves bin/handler: under the Functions host where Core Tools are installed, else on its own with the same paths.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${SCORE_PORT:-7071}
if [[ ! -x bin/handler ]]; then
  echo "error: bin/handler is not there; run make build" >&2
  exit 1
fi

cat <<TEXT
Try it from another terminal:

  curl -s http://127.0.0.1:$port/api/score -H 'content-type: application/json' -d @examples/mnist/seven.json

It answers [7]. Ctrl-C ends the server.

TEXT

if command -v func >/dev/null; then
  exec func start --port "$port"
fi
SCORE_PORT=$port exec bin/handler
