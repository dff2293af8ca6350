#!/usr/bin/env bash
# Installs what the tests need and this machine lacks. The tests start a Redis of their own on a private port.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v cc >/dev/null || packages+=(build-essential)
command -v redis-server >/dev/null || packages+=(redis-server)
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)

if ((${#packages[@]})); then
  become=()
  ((EUID == 0)) || become=(sudo -n)
  if ! command -v apt-get >/dev/null || ! "${become[@]}" true 2>/dev/null; then
    echo "error: please install these packages (Debian and Ubuntu names): ${packages[*]}" >&2
    exit 1
  fi
  echo "installing ${packages[*]}"
  "${become[@]}" apt-get update -qq
  "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

scripts/check-setup.sh
