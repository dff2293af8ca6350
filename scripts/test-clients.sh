#!/usr/bin/env bash
# Tests the built program with client libraries of other servers, with clients that are generated from its OpenAPI document, and
# with recorded requests of clients that do not run here: test-clients.sh [PYTEST ARGUMENTS ...]. CLIENTS_MODEL=target/minilm/models/minilm takes another model than the tiny one.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/clients

scripts/setup.sh redis-server=redis-server node=nodejs npm=npm
scripts/fetch-onnxruntime.sh

scripts/install-python.sh "$work/python" tests/clients/requirements.txt --require-hashes
# Installs the packages of a folder below tests/clients beside copies of its programs, where Node.js looks for them.
install_node() {
  local source=tests/clients/$1 folder=$work/$1 wanted
  wanted="$(node --version) $(cksum <"$source/package-lock.json")"
  if [[ ! -f $folder/.installed || $(<"$folder/.installed") != "$wanted" ]]; then
    echo "installing the packages of $source/package-lock.json"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$source/package.json" "$source/package-lock.json" "$folder/"
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
    echo "$wanted" >"$folder/.installed"
  fi
  cp "$source"/* "$folder/"
}
install_node npm
install_node typescript

SCORE_HANDLER=$(scripts/test-handler.sh)
[[ -z ${CLIENTS_MODEL-} ]] || CLIENTS_MODEL=$(realpath "$CLIENTS_MODEL")
export SCORE_HANDLER CLIENTS_MODEL=${CLIENTS_MODEL:-tests/data/text/tiny}
export PYTHONPATH=$PWD/$work/python PYTHONDONTWRITEBYTECODE=1
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/apps" "${@:-tests/clients}"
