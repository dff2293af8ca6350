#!/usr/bin/env bash
# Refuses programs and libraries that Debian 11, the oldest system of the Functions host, could not load:
# check-elf.sh [-m x86_64|aarch64] [-g LIBSTDCXX] FILE...
#   -m  the machine they must be for, otherwise any
#   -g  the libstdc++ that goes with them: it must run on Debian 11, too, and have the versions that the files need
set -euo pipefail

# glibc 2.31, and libstdc++ of GCC 10
declare -A newest=([GLIBC]=2.31 [GLIBCXX]=3.4.28 [CXXABI]=1.3.12)

usage() {
  echo "usage: $0 [-m x86_64|aarch64] [-g LIBSTDCXX] FILE..." >&2
  exit 2
}

machine=
libstdcxx=
while getopts m:g: option; do
  case $option in
    m) machine=$OPTARG ;;
    g) libstdcxx=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
(($#)) || usage
if ! command -v readelf >/dev/null; then
  echo "error: readelf is missing (apt: binutils)" >&2
  exit 1
fi

machine_of() {
  case $(LC_ALL=C readelf -h "$1" 2>/dev/null | sed -n 's/^ *Machine: *//p') in
    *X86-64) echo x86_64 ;;
    AArch64) echo aarch64 ;;
    ?*) echo another machine ;;
  esac
}

# gives FILE VERSION: whether a library has this version of its symbols
gives() {
  LC_ALL=C readelf -W --version-info "$1" |
    awk -v version="$2" '/^Version/ { defines = /^Version definition/ } defines && $NF == version { found = 1 } END { exit !found }'
}

# The versions it needs of its libraries; those it gives itself are listed in another section.
versions_of() {
  LC_ALL=C readelf -W --version-info "$1" |
    awk '/^Version/ { needs = /^Version needs/ } needs && match($0, /Name: [^ ]+/) { print substr($0, RSTART + 6, RLENGTH - 6) }' |
    sort --unique --version-sort
}

is_newer() {
  [[ $1 != "$2" && $(printf '%s\n' "$1" "$2" | sort --version-sort | tail -n 1) == "$1" ]]
}

failed=0
refuse() {
  echo "error: $1" >&2
  failed=1
}

for file in "$@" ${libstdcxx:+"$libstdcxx"}; do
  found=$(machine_of "$file")
  if [[ -z $found ]]; then
    refuse "$file is not an ELF file"
    continue
  fi
  [[ -z $machine || $found == "$machine" ]] || refuse "$file is for $found, expected $machine"

  declare -A needs=()
  while IFS=_ read -r family version; do
    [[ -n ${newest[$family]:-} ]] || continue
    # GLIBC_PRIVATE and GLIBC_ABI_... have no number, and are there in one glibc and not in another.
    if [[ ! $version =~ ^[0-9.]+$ ]] || is_newer "$version" "${newest[$family]}"; then
      refuse "$file needs ${family}_$version, Debian 11 has ${family}_${newest[$family]}"
    fi
    needs[$family]=$version
    [[ $family == GLIBC || -z $libstdcxx || $file == "$libstdcxx" ]] || gives "$libstdcxx" "${family}_$version" ||
      refuse "$file needs ${family}_$version, which $libstdcxx lacks"
  done < <(versions_of "$file")
  echo "$file: $found, GLIBC ${needs[GLIBC]:-none}, GLIBCXX ${needs[GLIBCXX]:-none}, CXXABI ${needs[CXXABI]:-none}"
done
exit "$failed"
