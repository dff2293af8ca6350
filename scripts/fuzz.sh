#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (30), or the targets that are named. What is found is written to
# fuzz/artifacts/TARGET; inputs that are new stay in target/fuzz/corpus for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo_fuzz=0.13.2
seconds=${FUZZ_SECONDS:-30}

# libFuzzer is C++.
scripts/setup.sh g++=g++
[[ $(cargo fuzz --version 2>/dev/null) == "cargo-fuzz $cargo_fuzz" ]] \
  || cargo install cargo-fuzz --version "$cargo_fuzz" --locked --debug

# The sanitizers are not stable yet: with this the stable compiler takes their flags.
export RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
# The same versions as the product.
cp Cargo.lock fuzz/Cargo.lock
fuzz() {
  cargo fuzz "$1" --fuzz-dir fuzz --target-dir target/fuzz "${@:2}"
}
fuzz build

if (($#)); then
  targets=("$@")
else
  mapfile -t targets < <(cargo fuzz list --fuzz-dir fuzz)
fi
for target in "${targets[@]}"; do
  log=target/fuzz/$target.log
  mkdir -p "target/fuzz/corpus/$target"
  if ! fuzz run "$target" "target/fuzz/corpus/$target" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 &>"$log"; then
    tail -n 60 "$log" >&2
    echo "fuzz: $target failed; $log has all of it" >&2
    exit 1
  fi
  echo "fuzz: $target: $(grep -o 'Done .*' "$log")"
done
