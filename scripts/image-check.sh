#!/usr/bin/env bash
# Builds the Dockerfile as it is and runs the handler in the image, without Docker and without a registry of images.
# Stand-ins bear the names of the two base images: bare Debian systems of the same releases, the builder with this
# machine's Rust. So Microsoft's image and the Functions host itself are not exercised. Needs root, for buildah's chroot.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/image-check
machine=$(uname -m)
image=localhost/score:check
script_root=/home/site/wwwroot
revision=$(git rev-parse HEAD)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

fail() {
  echo "error: $1" >&2
  exit 1
}

((EUID == 0)) || fail "buildah's isolation by chroot needs root"
scripts/setup.sh buildah=buildah crun=crun debootstrap=debootstrap newuidmap=uidmap skopeo=skopeo \
  readelf=binutils curl=curl

# A store of its own: neither other images of this machine nor what it is told about registries matter.
storage=(--storage-driver overlay --root "$work/store" --runroot "$work/run")
build() {
  buildah "${storage[@]}" "$@"
}

base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
rust=$(sed -n 's/^ARG RUST_IMAGE=//p' Dockerfile)
rust_suite=${rust##*-}
containers=()
handler=
finish() {
  [[ -z $handler ]] || kill "$handler" 2>/dev/null || true
  wait
  ((${#containers[@]} == 0)) || build rm "${containers[@]}" >/dev/null
}
trap finish EXIT

is_there() {
  [[ $(build inspect --type image --format '{{index .OCIv1.Config.Labels "stand-in"}}' "$1" 2>/dev/null) == "$2" ]]
}

# stand_in IMAGE SYSTEM LABEL: an image of that name out of a folder; what runs in between may add to $tree
begin_stand_in() {
  container=$(build from scratch)
  containers+=("$container")
  tree=$(build mount "$container")
  cp -a "$1/." "$tree"
}
end_stand_in() {
  build config --label "stand-in=$2" "$container"
  build umount "$container" >/dev/null
  build commit --quiet --format docker "$container" "$1" >/dev/null
  echo "made the stand-in for $1"
}

if ! is_there "$base" bullseye; then
  scripts/debian-root.sh bullseye "$work/roots/bullseye"
  begin_stand_in "$work/roots/bullseye"
  build config --env HOME=/home --env AzureWebJobsScriptRoot=$script_root --env ASPNETCORE_URLS=http://+:80 \
    --port 80 --cmd '["/azure-functions-host/start.sh"]' "$container"
  end_stand_in "$base" bullseye
fi

# The image of Rust's builder has gcc, libc's headers and certificates, cargo's and rustup's folders in /usr/local.
toolchain="$rust_suite $(rustc --version)"
if ! is_there "$rust" "$toolchain"; then
  scripts/debian-root.sh "$rust_suite" "$work/roots/$rust_suite-rust" gcc,libc6-dev,ca-certificates
  begin_stand_in "$work/roots/$rust_suite-rust"
  mkdir -p "$tree/usr/local/cargo" "$tree/usr/local/rust"
  tar --directory "$(rustc --print sysroot)" --create --exclude=./share --exclude=./lib/rustlib/src . |
    tar --directory "$tree/usr/local/rust" --extract --no-same-owner
  # Registries may be reached through something that only this machine's certificates vouch for.
  certificates=/usr/local/share/machine.pem
  cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$tree$certificates"
  build config --env CARGO_HOME=/usr/local/cargo \
    --env PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HTTP_CAINFO=$certificates --env PIP_CERT=$certificates "$container"
  end_stand_in "$rust" "$toolchain"
fi

began=$SECONDS
build build --isolation chroot --pull-never --layers --force-rm --format docker --quiet --tag "$image" \
  --build-arg VERSION="$version" --build-arg REVISION="$revision" . >"$work/build.log" 2>&1 || {
  tail -n 20 "$work/build.log" >&2
  fail "the Dockerfile does not build; $work/build.log says more"
}
echo "built the Dockerfile in $((SECONDS - began)) s"

container=$(build from --pull-never "$image")
containers+=("$container")
tree=$(build mount "$container")
app=$tree$script_root

expected=$(
  printf '%s\n' bin/handler bin/libonnxruntime.so.1
  git ls-files host.json 'score_*/*' 'models/*' ':!models/*/README.md'
)
found=$(cd "$app" && find . ! -type d -printf '%P\n')
diff <(sort <<<"$expected") <(sort <<<"$found") || fail "the image's app has other files (>) than expected (<)"
[[ $(cd "$app" && find . -type f -perm /111 -printf '%P %m\n') == 'bin/handler 755' ]] ||
  fail "bin/handler must be the only program, with mode 755"
[[ $(find "$app" ! -user 0 -o ! -type l -perm /022) == '' ]] || fail "others than root may write to the app"
readelf -d "$app/bin/libonnxruntime.so.1" | grep -q 'SONAME.*\[libonnxruntime\.so\.1\]' || fail "the library's soname is not its name"
scripts/check-elf.sh -m "$machine" "$app/bin/handler" "$app/bin/libonnxruntime.so.1"
[[ -z $(find "$tree"/var/lib/apt/lists "$tree"/var/cache/apt/archives -type f ! -name lock) ]] || fail "the image holds what apt has fetched"
chroot "$tree" locale -a | grep -qx en_US.utf8 || fail "the image lacks the locale en_US.UTF-8"

inspect() {
  skopeo inspect "$@" "containers-storage:[overlay@$work/store+$work/run]$image"
}
python3 - "$version" "$revision" <(inspect --config) <(inspect --raw) <<'PYTHON' || fail "the image's metadata is wrong"
import json, sys

version, revision = sys.argv[1:3]
image, manifest = (json.load(open(file)) for file in sys.argv[3:])
config = image["config"]
labels = config["Labels"]
assert labels["org.opencontainers.image.version"] == version, labels
assert labels["org.opencontainers.image.revision"] == revision, labels
environment = dict(variable.split("=", 1) for variable in config["Env"])
assert environment["FUNCTIONS_WORKER_RUNTIME"] == "custom", environment
assert environment["AzureWebJobsScriptRoot"] == config["WorkingDir"], config
assert not config.get("Entrypoint"), config
assert config["Cmd"] == ["/azure-functions-host/start.sh"], "the base image's command is the host's start"

steps = [step for step in image["history"] if not step.get("empty_layer")]
sizes = [layer["size"] for layer in manifest["layers"]]
for step, size in zip(steps, sizes, strict=True):
    print(f"{size / 1e6:8.1f} MB  {step.get('created_by', '').removeprefix('/bin/sh -c ')[:90]}")
print(f"{sum(sizes) / 1e6:8.1f} MB  in all, {sum(sizes[1:]) / 1e6:.1f} MB of them above the base image")
PYTHON

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
buildah "${storage[@]}" run --isolation chroot --env FUNCTIONS_CUSTOMHANDLER_PORT="$port" "$container" -- bin/handler \
  >"$work/handler.log" 2>&1 &
handler=$!
scripts/smoke.sh "$port" || { cat "$work/handler.log" >&2 && exit 1; }
