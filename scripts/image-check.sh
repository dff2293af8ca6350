#!/usr/bin/env bash
# Builds the Dockerfile as it is and runs the handler in the images, without Docker and without a registry of images.
# Bare Debian systems stand in for the base images: two releases for the host's image, the builder with this machine's
# Rust. So Microsoft's image and the Functions host itself are not exercised. Needs root, for buildah's chroot.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/image-check
machine=$(uname -m)
image=localhost/score:check
script_root=/home/site/wwwroot
revision='image-check' # always the same: buildah takes a label from its cache even if the argument has changed
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

rust=$(sed -n 's/^ARG RUST_IMAGE=\([^@]*\).*/\1/p' Dockerfile)
rust_suite=${rust##*-}
# Microsoft's image has been Debian 11 and will be a newer one: the oldest stand-in and the newest.
suites=(bullseye trixie)
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

# One image of a release stands in for the host's image and for Debian's own.
for suite in "${suites[@]}"; do
  is_there "localhost/base:$suite" "$suite" && continue
  scripts/debian-root.sh "$suite" "$work/roots/$suite"
  begin_stand_in "$work/roots/$suite"
  build config --env HOME=/home --env AzureWebJobsScriptRoot=$script_root --env ASPNETCORE_URLS=http://+:80 \
    --port 80 --cmd '["/azure-functions-host/start.sh"]' "$container"
  end_stand_in "localhost/base:$suite" "$suite"
done

# The image of Rust's builder has gcc, libc's headers and certificates, cargo's and rustup's folders in /usr/local.
toolchain="$rust_suite $(rustc --version)"
if ! is_there "localhost/rust:$rust_suite" "$toolchain"; then
  scripts/debian-root.sh "$rust_suite" "$work/roots/$rust_suite-rust" gcc,libc6-dev,ca-certificates
  begin_stand_in "$work/roots/$rust_suite-rust"
  mkdir -p "$tree/usr/local/cargo" "$tree/usr/local/rust"
  tar --directory "$(rustc --print sysroot)" --create --exclude=./share --exclude=./lib/rustlib/src . |
    tar --directory "$tree/usr/local/rust" --extract --no-same-owner
  # Registries may be reached through a proxy that only this machine's certificates vouch for.
  certificates=/usr/local/share/machine.pem
  cp -L "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$tree$certificates"
  build config --env CARGO_HOME=/usr/local/cargo \
    --env PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HTTP_CAINFO=$certificates --env PIP_CERT=$certificates "$container"
  end_stand_in "localhost/rust:$rust_suite" "$toolchain"
fi

# build_image SUITE [OPTION...]: the Dockerfile on the stand-ins of this release
build_image() {
  local suite=$1 began=$SECONDS
  shift
  build build --isolation chroot --pull-never --layers --force-rm --format docker --quiet --tag "$image" \
    --build-arg RUST_IMAGE="localhost/rust:$rust_suite" --build-arg SYSTEM=localhost/base:bullseye \
    --build-arg BASE="localhost/base:$suite" --build-arg STANDALONE=localhost/base:trixie \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" "$@" . >"$work/build.log" 2>&1 || {
    tail -n 20 "$work/build.log" >&2
    fail "the Dockerfile does not build on $suite; $work/build.log says more"
  }
  echo "built the Dockerfile on $suite in $((SECONDS - began)) s"
  container=$(build from --pull-never "$image")
  containers+=("$container")
  tree=$(build mount "$container")
}

# check_program FOLDER [OPTION...]: the program, its library and the locale run on the system of the image
check_program() {
  scripts/check-elf.sh -m "$machine" "${@:2}" "$1/bin/handler" "$1/bin/libonnxruntime.so.1"
  readelf -d "$1/bin/libonnxruntime.so.1" | grep -q 'SONAME.*\[libonnxruntime\.so\.1\]' ||
    fail "the library's soname is not its name"
  [[ $(LC_ALL=en_US.UTF-8 chroot "$tree" locale charmap 2>&1) == UTF-8 ]] ||
    fail "the image lacks the locale en_US.UTF-8, or its C library cannot read it"
}

# serve PORT_VARIABLE FOLDER [--http]: starts the handler in the container and asks it what the Functions host would
serve() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  buildah "${storage[@]}" run --isolation chroot --env "$1=$port" "$container" -- "$2/bin/handler" >"$work/handler.log" 2>&1 &
  handler=$!
  scripts/smoke.sh "$port" "${@:3}" || { cat "$work/handler.log" >&2 && exit 1; }
  kill "$handler"
  wait "$handler" || true
  handler=
}

check_host_image() {
  local app=$tree$script_root expected found
  expected=$(
    printf '%s\n' bin/handler bin/libonnxruntime.so.1 bin/libstdc++.so.6 score_large_blob/function.json
    git ls-files host.json 'score_*/*' 'models/*' ':!models/*/README.md'
  )
  found=$(cd "$app" && find . ! -type d -printf '%P\n')
  diff <(sort <<<"$expected") <(sort <<<"$found") || fail "the image's app has other files (>) than expected (<)"
  [[ $(cd "$app" && find . -type f -perm /111 -printf '%P %m\n') == 'bin/handler 755' ]] ||
    fail "bin/handler must be the only program, with mode 755"
  [[ $(find "$app" ! -user 0 -o ! -type l -perm /022) == '' ]] || fail "users other than root may write to the app"
  check_program "$app" -g "$app/bin/libstdc++.so.6"
  check_metadata
  serve FUNCTIONS_CUSTOMHANDLER_PORT "$script_root"
}

check_metadata() {
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
assert environment["AzureWebJobs_score_large_blob_Disabled"] == "true", "it needs a queue that an app may lack"
assert not config.get("Entrypoint"), config
assert config["Cmd"] == ["/azure-functions-host/start.sh"], "the base image's command is the host's start"

steps = [step for step in image["history"] if not step.get("empty_layer")]
sizes = [layer["size"] for layer in manifest["layers"]]
assert not any("apt" in step.get("created_by", "") for step in steps[1:]), "the last stage installs packages"
for step, size in zip(steps, sizes, strict=True):
    print(f"{size / 1e6:8.1f} MB  {step.get('created_by', '').removeprefix('/bin/sh -c ')[:90]}")
print(f"{sum(sizes) / 1e6:8.1f} MB  in all, {sum(sizes[1:]) / 1e6:.1f} MB of them above the base image")
PYTHON
}

inspect() {
  skopeo inspect "$@" "containers-storage:[overlay@$work/store+$work/run]$image"
}

for suite in "${suites[@]}"; do
  build_image "$suite"
  check_host_image
done

build_image trixie --target standalone
check_program "$tree/app"
[[ $(inspect --config | python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["User"])') == 65534 ]] ||
  fail "the image without the host must not run as root"
serve SCORE_PORT /app --http
