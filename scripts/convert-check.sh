#!/usr/bin/env bash
# Converts scikit-learn models by tools/to_onnx.py and compares what the built program answers: convert-check.sh
# [PYTEST ARGUMENTS ...]. SCORE_HANDLER names a program that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/convert
packages=$work/python

if [[ -n ${SCORE_HANDLER:-} ]]; then
  scripts/setup.sh
  scripts/fetch-onnxruntime.sh
else
  scripts/build.sh
fi

scripts/install-python.sh "$packages" tools/requirements.txt --requirement tests/convert/requirements.txt

# Absolute, since the tests start it from folders of their own. They share the conformance suite's harness.
SCORE_HANDLER=$(realpath "${SCORE_HANDLER:-bin/handler}")
export SCORE_HANDLER
export PYTHONPATH=$PWD/$packages:$PWD/tests/conformance PYTHONDONTWRITEBYTECODE=1
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/models" "${@:-tests/convert}"
