#!/usr/bin/env bash
# Prints the path of the unoptimised program that tests run: SCORE_HANDLER if that is set, else what cargo builds.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z ${SCORE_HANDLER-} ]]; then
  cargo build --locked --package handler >&2
fi
# Absolute, since tests start it from folders of their own.
realpath "${SCORE_HANDLER:-${CARGO_TARGET_DIR:-target}/debug/handler}"
