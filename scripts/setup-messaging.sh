#!/usr/bin/env bash
# Puts the Azure SDKs, a library for the broker and Azurite into target/messaging, for tests/azure_sdks.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

azurite=3.35.0
requirements=tests/messaging/requirements.txt
work=target/messaging
packages=$work/python

scripts/setup.sh python3-config=python3-dev node=nodejs npm=npm

python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
wanted="$python $(cksum <"$requirements")"
if [[ ! -f $packages/.installed || $(<"$packages/.installed") != "$wanted" ]]; then
  echo "installing the packages of $requirements"
  rm -rf "$packages"
  # the broker's library has no wheels; it is C without further needs
  PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --quiet --no-deps --only-binary=:all: --no-binary=python-qpid-proton \
    --target "$packages" --requirement "$requirements"
  echo "$wanted" >"$packages/.installed"
fi

if [[ ! -f $work/azurite/.installed || $(<"$work/azurite/.installed") != "$azurite" ]]; then
  echo "installing azurite $azurite"
  rm -rf "$work/azurite"
  mkdir -p "$work/azurite"
  npm install --prefix "$work/azurite" --ignore-scripts --omit=optional --no-audit --no-fund \
    --no-update-notifier --loglevel=error "azurite@$azurite"
  echo "$azurite" >"$work/azurite/.installed"
fi
