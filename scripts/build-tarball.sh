#!/usr/bin/env bash
# Packs the program, ONNX Runtime beside it, the sample model and the licence: build-tarball.sh BIN PLATFORM FOLDER
# BIN is the folder with both, PLATFORM the last part of the name, such as x86_64-linux.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: build-tarball.sh BIN PLATFORM FOLDER"
bin=${1:?$usage}
name=score-$(scripts/version.sh)-${2:?$usage}
folder=${3:?$usage}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/bin" "$work/$name/models" "$folder"
cp "$bin/handler" "$bin"/libonnxruntime.* "$work/$name/bin/"
cp -R models/mnist "$work/$name/models/"
cp LICENSE CHANGELOG.md docs/install.md "$work/$name/"
tar -czf "$folder/$name.tar.gz" -C "$work" "$name"
