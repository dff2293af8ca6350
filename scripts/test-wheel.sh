#!/usr/bin/env bash
# Installs the wheel into a fresh venv by pip and serves models with it: test-wheel.sh
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/wheel
# pip writes another first line for a path with spaces.
venv="$work/a venv"

handler=$(scripts/test-handler.sh)
rm -rf "$work"
scripts/build-wheel.sh "$handler" "$work"
python3 -m venv "$venv" || { echo "error: python3 cannot make a venv; please install python3-venv" >&2 && exit 1; }
PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet --no-compile "$work"/score_onnx-*.whl
exec "$venv/bin/python" tests/wheel/check.py "$venv/bin/score-onnx"
