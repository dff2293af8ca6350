#!/usr/bin/env bash
# Makes a bare Debian system in a folder, unless it is there: debian-root.sh SUITE FOLDER [PACKAGE,PACKAGE...]
# It comes from DEBIAN_MIRROR; the default is where this machine's own packages come from.
set -euo pipefail

suite=$1 folder=$2 packages=${3:-}
[[ ! -d $folder ]] || exit 0

mirror=${DEBIAN_MIRROR:-}
if [[ -z $mirror ]]; then
  # shellcheck disable=SC2016 # apt's placeholders
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sort --unique | head -n 1)
fi
if [[ -z $mirror ]]; then
  echo "error: this machine's apt knows no mirror of Debian (after apt-get update); set DEBIAN_MIRROR to one's address" >&2
  exit 1
fi

echo "making a Debian $suite in $folder"
mkdir -p "$(dirname "$folder")"
rm -rf "$folder.new"
debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$folder.new" "$mirror" >"$folder.log" || {
  tail -n 5 "$folder.log" >&2
  echo "error: debootstrap could not make a Debian $suite; $folder.log says more" >&2
  exit 1
}
rm -f "$folder.new"/var/cache/apt/archives/*.deb
mv "$folder.new" "$folder"
