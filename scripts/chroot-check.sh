#!/usr/bin/env bash
# Shows that an app runs on a bare Debian 11, the oldest system of the Functions host: chroot-check.sh [APP.zip|FOLDER]
# Without an argument: the app as make build-portable and this folder have it. Needs root, for chroot.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/image-check
machine=$(uname -m)

fail() {
  echo "error: $1" >&2
  exit 1
}

((EUID == 0)) || fail "chroot needs root"
scripts/setup.sh debootstrap=debootstrap curl=curl unzip=unzip
scripts/debian-root.sh bullseye "$work/roots/bullseye"

root=$(mktemp -d "$work/chroot.XXXXXX")
handler=
finish() {
  [[ -z $handler ]] || kill "$handler" 2>/dev/null || true
  wait
  rm -rf "$root"
}
trap finish EXIT
cp -a "$work/roots/bullseye/." "$root"
app=$root/home/site/wwwroot
mkdir -p "$app"

case ${1:-} in
  *.zip) unzip -q "$1" -d "$app" ;;
  ?*) cp -a "$1/." "$app" ;;
  *)
    [[ -x dist/$machine/bin/handler ]] || fail "dist/$machine/bin/handler is not there; run make build-portable"
    cp -a host.json score_*/ models "dist/$machine/bin" "$app"
    ;;
esac
# A host that may not execute it shows that only by a first call that hangs for two minutes.
[[ $(stat --format %a "$app/bin/handler") == 755 ]] || fail "bin/handler must have mode 755"
scripts/check-elf.sh -m "$machine" "$app/bin/handler" "$app/bin/libonnxruntime.so.1"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# A mount namespace of its own takes /proc along when the handler ends.
# shellcheck disable=SC2016 # for the inner shells
unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" env -i PATH="$PATH" HOME=/home \
  FUNCTIONS_CUSTOMHANDLER_PORT="$1" sh -c "cd /home/site/wwwroot && exec bin/handler"' \
  "$root" "$port" >"$work/chroot.log" 2>&1 &
handler=$!
scripts/smoke.sh "$port" || { cat "$work/chroot.log" >&2 && exit 1; }
echo "the app runs on Debian $(<"$root/etc/debian_version"), glibc $(chroot "$root" ldd --version | sed -n '1s/.* //p')"
