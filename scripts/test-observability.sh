#!/usr/bin/env bash
# Tests the figures of the built program against Prometheus itself: test-observability.sh [PYTEST ARGUMENTS ...]
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=tests/observability/requirements.txt
work=target/observability
packages=$work/python

scripts/setup.sh redis-server=redis-server prometheus=prometheus promtool=prometheus openssl=openssl
scripts/fetch-onnxruntime.sh
cargo build --locked -p handler

python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
wanted="$python $(cksum <"$requirements")"
if [[ ! -f $packages/.installed || $(<"$packages/.installed") != "$wanted" ]]; then
  echo "installing the packages of $requirements"
  rm -rf "$packages"
  PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$packages" --requirement "$requirements"
  echo "$wanted" >"$packages/.installed"
fi

SCORE_HANDLER=$(realpath "${SCORE_HANDLER:-${CARGO_TARGET_DIR:-target}/debug/handler}")
export SCORE_HANDLER
export PYTHONPATH=$packages PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work"
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/run" "${@:-tests/observability}"
