#!/usr/bin/env bash
# Packs a built program into a wheel: build-wheel.sh PROGRAM PLATFORM FOLDER
# PLATFORM is where it runs, such as manylinux_2_28_x86_64, manylinux_2_28_aarch64 or macosx_14_0_arm64.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: build-wheel.sh PROGRAM PLATFORM FOLDER"
WHEEL_PROGRAM=$(realpath "${1:?$usage}")
WHEEL_PLATFORM=${2:?$usage}
export WHEEL_PROGRAM WHEEL_PLATFORM

PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip wheel --quiet --no-deps --wheel-dir "${3:?$usage}" ./wheel
