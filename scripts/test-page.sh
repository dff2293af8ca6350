#!/usr/bin/env bash
# Tests the page in Chromium against the built handler. --screenshots takes the README's pictures instead.
set -euo pipefail
cd "$(dirname "$0")/.."

CHROMIUM=$(command -v chromium || command -v google-chrome || true)
[[ -n $CHROMIUM ]] || scripts/setup.sh chromium=chromium
scripts/setup.sh redis-server=redis-server
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
scripts/fetch-onnxruntime.sh
scripts/build-page.sh --check
HANDLER=$(scripts/test-handler.sh)
export HANDLER

# The Python snippets are run.
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import requests' 2>/dev/null; then
  python3 -m venv page/node_modules/.python
  PYTHON=$PWD/page/node_modules/.python/bin/python
  "$PYTHON" -m pip install --quiet --disable-pip-version-check requests
fi
export PYTHON

case ${1-} in
  --screenshots) npm run --silent --prefix page screenshots ;;
  *) npm run --silent --prefix page test ;;
esac
