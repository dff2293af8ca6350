#!/usr/bin/env bash
# Installs what this machine lacks: setup.sh [PROGRAM=PACKAGE ...]
# A C compiler and pip are always needed; each further pair names a program, or a library that is loaded by its path,
# and the package it comes in.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
  echo "error: cargo is missing; install the Rust toolchain from https://rustup.rs" >&2
  exit 1
fi

has() {
  case $1 in
    *.so) compgen -G "/usr/lib/*/$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

packages=()
for pair in cc=build-essential "$@"; do
  has "${pair%%=*}" || packages+=("${pair#*=}")
done
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
((${#packages[@]})) || exit 0

become=()
((EUID == 0)) || become=(sudo -n)
if ! command -v apt-get >/dev/null || ! "${become[@]}" true 2>/dev/null; then
  echo "error: please install these packages (Debian and Ubuntu names): ${packages[*]}" >&2
  exit 1
fi
echo "installing ${packages[*]}"
"${become[@]}" apt-get update -qq
"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
