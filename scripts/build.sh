#!/usr/bin/env bash
# Builds bin/handler, with the ONNX Runtime library beside it: the release build, or with --quick the tests' unoptimised
# one, which takes a quarter of the time.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1-} in
  # Without large blobs and Parquet, which take a fifth of the time to compile.
  --quick) folder=debug profile=(--no-default-features --features text) ;;
  '') folder=release profile=(--release) ;;
  *)
    echo "usage: $0 [--quick]" >&2
    exit 2
    ;;
esac

scripts/setup.sh
scripts/fetch-onnxruntime.sh
cargo build "${profile[@]}" --locked --package handler

# By a rename, so that a running handler keeps its file and never sees half a program.
mkdir -p bin
install -m 755 "${CARGO_TARGET_DIR:-target}/$folder/handler" bin/.handler.new
mv -f bin/.handler.new bin/handler
