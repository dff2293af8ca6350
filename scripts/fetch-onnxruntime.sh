#!/usr/bin/env bash
# Puts the pinned ONNX Runtime library into a folder: fetch-onnxruntime.sh [SYSTEM-MACHINE] [FOLDER]
# SYSTEM-MACHINE is Linux-x86_64, Linux-aarch64 or Darwin-arm64; the default is this machine. FOLDER is bin by default.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $1" >&2
  exit 1
}

requirements=scripts/onnxruntime.txt
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$requirements")
machine=${1:-$(uname -s)-$(uname -m)}
folder=${2:-bin}

case $machine in
  Linux-x86_64 | Linux-aarch64)
    platform=manylinux_2_28_${machine#Linux-}
    member=onnxruntime/capi/libonnxruntime.so.$version
    library=$folder/libonnxruntime.so.1
    ;;
  Darwin-arm64)
    platform=macosx_14_0_arm64
    member=onnxruntime/capi/libonnxruntime.$version.dylib
    library=$folder/libonnxruntime.dylib
    ;;
  *)
    [[ -f ${ORT_DYLIB_PATH:-} ]] && exit 0
    fail "no ONNX Runtime is known here for $machine; set ORT_DYLIB_PATH to an ONNX Runtime library, 1.24 or newer"
    ;;
esac

stamp=$folder/.onnxruntime
wanted="$version $machine"
if [[ -f $library && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed to fetch ONNX Runtime (apt: python3-pip)"
mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching ONNX Runtime $version for $machine"
# A wheel is only unpacked here, so neither the local Python's version nor pip's rule to install into a virtualenv matters.
PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip download --quiet --no-deps --require-hashes \
  --only-binary=:all: --python-version 3.11 --implementation cp --platform "$platform" \
  --dest "$work" --requirement "$requirements" || fail "pip could not download ONNX Runtime $version for $platform"

python3 - "$work"/onnxruntime-*.whl "$member" "$work/library" <<'PYTHON' || fail "the wheel holds no $member"
import shutil, sys, zipfile

wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as copy:
    shutil.copyfileobj(source, copy)
PYTHON
chmod 644 "$work/library"
rm -f "$stamp"
mv -f "$work/library" "$library"
echo "$wanted" >"$stamp"
