#!/usr/bin/env bash
# Unpacks a tarball and sends a request to its program, which serves the sample model in it: test-tarball.sh FILE
set -euo pipefail

file=$(realpath "${1:?usage: test-tarball.sh FILE}")
cd "$(dirname "$0")/.."

port=${SCORE_PORT:-7071}
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf "$work"' EXIT
tar -xzf "$file" -C "$work"
(cd "$work"/score-* && exec bin/handler serve models/mnist --port "$port") &
server=$!
scripts/smoke.sh "$port" --http
