#!/usr/bin/env bash
# Puts the Azure SDKs, a library for the broker and Azurite into target/messaging, for tests/azure_sdks.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

azurite=3.35.0
requirements=tests/messaging/requirements.txt
work=target/messaging
packages=$work/python

scripts/setup.sh python3-config=python3-dev node=nodejs npm=npm

# The broker's library has no wheels; it is C without further needs.
scripts/install-python.sh "$packages" "$requirements" --no-binary=python-qpid-proton

if [[ ! -f $work/azurite/.installed || $(<"$work/azurite/.installed") != "$azurite" ]]; then
  echo "installing azurite $azurite"
  rm -rf "$work/azurite"
  mkdir -p "$work/azurite"
  npm install --prefix "$work/azurite" --ignore-scripts --omit=optional --no-audit --no-fund \
    --no-update-notifier --loglevel=error "azurite@$azurite"
  echo "$azurite" >"$work/azurite/.installed"
fi
