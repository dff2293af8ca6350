#!/usr/bin/env bash
# Runs deploy/az with the real az against a fake of Azure on 127.0.0.1. Fetches az (about 730 MB) into target/.
# deploy-check.sh [--short]: one deployment instead of every kind of them
set -euo pipefail
cd "$(dirname "$0")/.."

azure_cli=2.91.0
venv=target/azure-cli

for program in python3 openssl curl; do
  command -v "$program" >/dev/null || { echo "error: $program is missing; please install it" >&2 && exit 1; }
done
if [[ $(cat "$venv/.installed" 2>/dev/null) != "$azure_cli" ]]; then
  rm -rf "$venv"
  python3 -m venv "$venv" || { echo "error: python3 cannot make a venv; please install python3-venv" >&2 && exit 1; }
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet "azure-cli==$azure_cli"
  echo "$azure_cli" >"$venv/.installed"
fi
time "$venv/bin/python" tests/deploy/check.py "$PWD/$venv/bin" "$@"
