#!/usr/bin/env bash
# Tests the page in Chromium against the built handler. --screenshots takes the README's pictures instead.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh node=nodejs npm=npm chromium=chromium
scripts/fetch-onnxruntime.sh
scripts/build-page.sh --check
cargo build --locked -p handler

case ${1-} in
  --screenshots) npm run --silent --prefix page screenshots ;;
  *) npm run --silent --prefix page test ;;
esac
