#!/usr/bin/env bash
# Puts the app on Azure, with all it needs. A second run continues where the first one stopped.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
steps=(group identity storage servicebus cache image roles plan app settings code test events)

usage() {
  cat <<USAGE
usage: deploy.sh [--settings FILE] [--only STEP] [--dry-run]
  --settings FILE  lines NAME=value; settings.sh has the names (environment variables do as well)
  --only STEP      ${steps[*]}
  --dry-run        print the az commands instead of running them
USAGE
}

# shellcheck source=deploy/az/lib.sh
source "$here/lib.sh"
only=
while (($#)); do
  case $1 in
    --settings)
      [[ -f ${2-} ]] || die "--settings '${2-}': no such file; expected lines NAME=value"
      # shellcheck disable=SC1090  # the user's file
      source "$2"
      shift
      ;;
    --only)
      only=${2-}
      has "$only" "${steps[*]}" || die "--only '$only': expected one of ${steps[*]}"
      shift
      ;;
    --dry-run) dry_run=true ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
# shellcheck source=deploy/az/settings.sh
source "$here/settings.sh"
# shellcheck source=deploy/az/checks.sh
source "$here/checks.sh"
# shellcheck source=deploy/az/providers.sh
source "$here/providers.sh"
# shellcheck source=deploy/az/steps.sh
source "$here/steps.sh"
# shellcheck source=deploy/az/app.sh
source "$here/app.sh"
# shellcheck source=deploy/az/containerapp.sh
source "$here/containerapp.sh"
# shellcheck source=deploy/az/events.sh
source "$here/events.sh"

exec 3>&1 # where calls are shown, also those whose output is taken
umask 077
scratch=$(mktemp -d) # for secrets on their way to az
step=
finish() {
  local status=$?
  rm -rf "$scratch"
  ((status == 0)) || [[ -z $step ]] || echo "error: step '$step' did not succeed; the same command continues from there" >&2
}
trap finish EXIT

check_settings
sign_in
take_inventory
step=providers
register_providers
step=
check_names
for step in "${steps[@]}"; do
  [[ -z $only || $step == "$only" ]] || continue
  echo "# $step"
  "step_$step"
done
