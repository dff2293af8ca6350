#!/usr/bin/env bash
# Tests the built program with client libraries for embeddings, and with recorded requests of those that do not run here:
# test-clients.sh [PYTEST ARGUMENTS ...]. CLIENTS_MODEL=target/minilm/models/minilm takes another model than the tiny one.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/clients

scripts/setup.sh redis-server=redis-server node=nodejs npm=npm
scripts/fetch-onnxruntime.sh

scripts/install-python.sh "$work/python" tests/clients/requirements.txt --require-hashes
wanted="$(node --version) $(cksum <tests/clients/npm/package-lock.json)"
if [[ ! -f $work/npm/.installed || $(<"$work/npm/.installed") != "$wanted" ]]; then
  echo "installing the packages of tests/clients/npm/package-lock.json"
  rm -rf "$work/npm"
  mkdir -p "$work/npm"
  cp tests/clients/npm/package.json tests/clients/npm/package-lock.json "$work/npm/"
  npm ci --prefix "$work/npm" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
  echo "$wanted" >"$work/npm/.installed"
fi
# Beside their packages, where Node.js looks for them.
cp tests/clients/npm/*.mjs "$work/npm/"

SCORE_HANDLER=$(scripts/test-handler.sh)
[[ -z ${CLIENTS_MODEL-} ]] || CLIENTS_MODEL=$(realpath "$CLIENTS_MODEL")
export SCORE_HANDLER CLIENTS_MODEL=${CLIENTS_MODEL:-tests/data/text/tiny}
export PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/apps" "${@:-tests/clients}"
