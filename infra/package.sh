#!/usr/bin/env bash
# The app as Azure takes it: infra/package.sh FOLDER [ZIP]
# SCORE_MODELS is the folder of model folders (models), SCORE_TRIGGERS what sets scoring off (http,servicebus,blob), and
# SCORE_LARGE_BLOBS=true adds large-blob, for which main.bicep makes the queue.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?usage: infra/package.sh FOLDER [ZIP]}
zip=()
(($# < 2)) || zip=(--zip "$2")
models=("${SCORE_MODELS:-models}"/*/)
triggers=${SCORE_TRIGGERS:-http,servicebus,blob}
[[ ${SCORE_LARGE_BLOBS:-} != true ]] || triggers+=,large-blob

scripts/build-portable.sh x86_64
dist/x86_64/bin/handler package --force --target x86_64 --out "$folder" "${zip[@]}" \
  --trigger "$triggers" --model "${models[@]%/}"
