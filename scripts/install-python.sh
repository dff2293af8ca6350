#!/usr/bin/env bash
# Puts Python packages into a folder, unless they are there: install-python.sh FOLDER REQUIREMENTS [PIP OPTIONS ...]
#
# A folder of packages instead of a virtual environment: Debian's Python has neither venv nor lets pip install elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1
shift
files=()
for argument in "$@"; do
  if [[ -f $argument ]]; then files+=("$argument"); fi
done
wanted="$(python3 -c 'import sys; print(sys.implementation.cache_tag)') $* $(cat "${files[@]}" | cksum)"
if [[ -f $folder/.installed && $(<"$folder/.installed") == "$wanted" ]]; then exit; fi
echo "installing the packages of ${files[*]}"
rm -rf "$folder"
PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
  python3 -m pip install --quiet --no-deps --only-binary=:all: --target "$folder" --requirement "$@"
echo "$wanted" >"$folder/.installed"
