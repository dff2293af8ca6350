#!/usr/bin/env bash
# Release build for Linux with an old glibc, as the Functions host has: build-portable.sh [x86_64|aarch64 ...]
# Puts dist/MACHINE/bin/handler and the ONNX Runtime library beside it; without arguments for both machines.
set -euo pipefail
cd "$(dirname "$0")/.."

# As ONNX Runtime's own library; Debian 11, the oldest system of the host, has 2.31.
glibc=2.28
requirements=scripts/zigbuild.txt
tools=target/zigbuild

machines=("$@")
((${#machines[@]})) || machines=(x86_64 aarch64)
for machine in "${machines[@]}"; do
  case $machine in
    x86_64 | aarch64) ;;
    *)
      echo "error: unknown machine $machine, expected x86_64 or aarch64" >&2
      exit 1
      ;;
  esac
done

scripts/setup.sh

scripts/install-python.sh "$tools" "$requirements" --require-hashes
export PATH="$PWD/$tools/bin:$PATH" CARGO_ZIGBUILD_ZIG_PATH="$PWD/$tools/ziglang/zig"

libraries=$(rustc --print sysroot)/lib/rustlib
for machine in "${machines[@]}"; do
  target=$machine-unknown-linux-gnu
  if [[ ! -d $libraries/$target ]]; then
    if ! command -v rustup >/dev/null || ! rustup target add "$target"; then
      echo "error: Rust's standard library for $target is missing; rustup target add $target gets it" >&2
      exit 1
    fi
  fi
  cargo zigbuild --release --locked --package handler --target "$target.$glibc"

  bin=dist/$machine/bin
  scripts/fetch-onnxruntime.sh "Linux-$machine" "$bin"
  install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/handler" "$bin/.handler.new"
  mv -f "$bin/.handler.new" "$bin/handler"
  scripts/check-elf.sh -m "$machine" "$bin/handler" "$bin/libonnxruntime.so.1"
done
