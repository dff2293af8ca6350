#!/usr/bin/env bash
# Release build: bin/handler, and the ONNX Runtime library beside it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
scripts/fetch-onnxruntime.sh
cargo build --release --locked --package handler

# By a rename, so that a running handler keeps its file and nobody sees half a program.
mkdir -p bin
install -m 755 "${CARGO_TARGET_DIR:-target}/release/handler" bin/.handler.new
mv -f bin/.handler.new bin/handler
