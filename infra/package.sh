#!/usr/bin/env bash
# The app as Azure takes it: infra/package.sh FOLDER [ZIP]
# SCORE_MODELS is the folder of model folders (models), SCORE_TRIGGERS what sets scoring off (http,servicebus,blob).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?usage: infra/package.sh FOLDER [ZIP]}
zip=()
(($# < 2)) || zip=(--zip "$2")
models=("${SCORE_MODELS:-models}"/*/)

scripts/build-portable.sh x86_64
dist/x86_64/bin/handler package --force --target x86_64 --out "$folder" "${zip[@]}" \
  --trigger "${SCORE_TRIGGERS:-http,servicebus,blob}" --model "${models[@]%/}"
