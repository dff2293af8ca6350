#!/usr/bin/env bash
# Tests the built program against other projects' data, clients and models: test-conformance.sh [PYTEST ARGUMENTS ...]
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=tests/conformance/requirements.txt
work=target/conformance
packages=$work/python
operators=$work/operators
texts=$work/texts
heads=$work/heads

scripts/setup.sh
scripts/fetch-onnxruntime.sh
cargo build --locked -p text --example token_ids

scripts/install-python.sh "$packages" "$requirements"
scripts/install-python.sh "$operators" tests/conformance/custom_operators.txt --require-hashes
scripts/install-python.sh "$texts" tests/conformance/text_models.txt --require-hashes
scripts/install-python.sh "$heads" tests/conformance/text_heads.txt --require-hashes

# Absolute, since the tests start it from folders of their own.
SCORE_HANDLER=$(scripts/test-handler.sh)
export SCORE_HANDLER
TOKEN_IDS_PROGRAM=$(realpath "${TOKEN_IDS_PROGRAM:-${CARGO_TARGET_DIR:-target}/debug/examples/token_ids}")
export TOKEN_IDS_PROGRAM
export PYTHONPATH=$packages:$operators:$texts:$heads PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work"
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/models" "${@:-tests/conformance}"
