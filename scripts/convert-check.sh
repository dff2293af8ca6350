#!/usr/bin/env bash
# Converts scikit-learn models by tools/to_onnx.py and compares what the built program answers: convert-check.sh
# [PYTEST ARGUMENTS ...]. SCORE_HANDLER names a program that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=(tools/requirements.txt tests/convert/requirements.txt)
work=target/convert
packages=$work/python

if [[ -n ${SCORE_HANDLER:-} ]]; then
  scripts/setup.sh
  scripts/fetch-onnxruntime.sh
else
  scripts/build.sh
fi

# A folder of packages instead of a virtual environment: Debian's Python has neither venv nor lets pip install elsewhere.
python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
wanted="$python $(cat "${requirements[@]}" | cksum)"
if [[ ! -f $packages/.installed || $(<"$packages/.installed") != "$wanted" ]]; then
  echo "installing the packages of ${requirements[*]}"
  rm -rf "$packages"
  PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$packages" \
    --requirement "${requirements[0]}" --requirement "${requirements[1]}"
  echo "$wanted" >"$packages/.installed"
fi

# Absolute, since the tests start it from folders of their own. They share the conformance suite's harness.
SCORE_HANDLER=$(realpath "${SCORE_HANDLER:-bin/handler}")
export SCORE_HANDLER
export PYTHONPATH=$PWD/$packages:$PWD/tests/conformance PYTHONDONTWRITEBYTECODE=1
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/models" "${@:-tests/convert}"
