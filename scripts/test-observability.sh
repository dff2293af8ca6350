#!/usr/bin/env bash
# Tests the metrics of the built program against Prometheus itself: test-observability.sh [PYTEST ARGUMENTS ...]
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=tests/observability/requirements.txt
work=target/observability
packages=$work/python

scripts/setup.sh redis-server=redis-server prometheus=prometheus promtool=prometheus openssl=openssl
scripts/fetch-onnxruntime.sh

scripts/install-python.sh "$packages" "$requirements"

SCORE_HANDLER=$(scripts/test-handler.sh)
export SCORE_HANDLER
export PYTHONPATH=$packages PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work"
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/run" "${@:-tests/observability}"
