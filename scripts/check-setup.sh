#!/usr/bin/env bash
# Names everything that a build needs and this machine lacks.
set -euo pipefail

missing=()
command -v cargo >/dev/null || missing+=("cargo (the Rust toolchain, https://rustup.rs)")
command -v cc >/dev/null || missing+=("a C compiler (apt: build-essential, macOS: xcode-select --install)")
if ! command -v python3 >/dev/null; then
  missing+=("python3 with pip (apt: python3-pip)")
elif ! python3 -m pip --version >/dev/null 2>&1; then
  missing+=("pip for python3 (apt: python3-pip)")
fi

if ((${#missing[@]})); then
  printf 'missing: %s\n' "${missing[@]}" >&2
  exit 1
fi
