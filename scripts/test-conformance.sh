#!/usr/bin/env bash
# Tests the built program against other projects' data, clients and models: test-conformance.sh [PYTEST ARGUMENTS ...]
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=tests/conformance/requirements.txt
work=target/conformance
packages=$work/python

scripts/setup.sh
scripts/fetch-onnxruntime.sh
cargo build --locked -p handler

# A folder of packages instead of a virtual environment: Debian's Python has neither venv nor lets pip install elsewhere.
python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
wanted="$python $(cksum <"$requirements")"
if [[ ! -f $packages/.installed || $(<"$packages/.installed") != "$wanted" ]]; then
  echo "installing the packages of $requirements"
  rm -rf "$packages"
  PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$packages" --requirement "$requirements"
  echo "$wanted" >"$packages/.installed"
fi

# Absolute, since the tests start it from folders of their own.
SCORE_HANDLER=$(realpath "${SCORE_HANDLER:-${CARGO_TARGET_DIR:-target}/debug/handler}")
export SCORE_HANDLER
export PYTHONPATH=$packages PYTHONDONTWRITEBYTECODE=1
mkdir -p "$work"
exec python3 -m pytest -q -p no:cacheprovider --basetemp "$work/models" "${@:-tests/conformance}"
