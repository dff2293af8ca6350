#!/usr/bin/env bash
# Packs a built program into a wheel: build-wheel.sh PROGRAM FOLDER [PLATFORM]
# PLATFORM is where it runs, such as manylinux_2_28_x86_64 or macosx_14_0_arm64; by default machines like this one.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: build-wheel.sh PROGRAM FOLDER [PLATFORM]"
WHEEL_PROGRAM=$(realpath "${1:?$usage}")
folder=${2:?$usage}
case $(uname -s) in
  Darwin) here=macosx_14_0_$(uname -m) ;;
  *) here=linux_$(uname -m) ;;
esac
WHEEL_PLATFORM=${3:-$here}
export WHEEL_PROGRAM WHEEL_PLATFORM

PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder" ./wheel
