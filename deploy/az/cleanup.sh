#!/usr/bin/env bash
# Deletes the app's resource group with everything in it, after asking.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

# shellcheck source=deploy/az/lib.sh
source "$here/lib.sh"
yes=false
while (($#)); do
  case $1 in
    --settings)
      [[ -f ${2-} ]] || die "--settings '${2-}': no such file; expected lines NAME=value"
      # shellcheck disable=SC1090  # the user's file
      source "$2"
      shift
      ;;
    --yes) yes=true ;;
    --dry-run) dry_run=true ;;
    *) echo "usage: cleanup.sh [--settings FILE] [--yes] [--dry-run]" >&2 && exit 2 ;;
  esac
  shift
done
# shellcheck source=deploy/az/settings.sh
source "$here/settings.sh"
[[ -n $APP || $RESOURCE_GROUP != rg- ]] || die "neither APP nor RESOURCE_GROUP is set"

exec 3>&1
if ! $dry_run; then
  sign_in
  take_inventory
  if [[ $(azure group exists --name "$RESOURCE_GROUP" --output tsv) != true ]]; then
    echo "there is no resource group $RESOURCE_GROUP"
    exit
  fi
  echo "resource group $RESOURCE_GROUP:"
  echo "$inventory"
  if ! $yes; then
    read -rp "delete all of it? Type the group's name: " answer || answer=
    [[ $answer == "$RESOURCE_GROUP" ]] || die "nothing was deleted"
  fi
fi
run group delete --name "$RESOURCE_GROUP" --yes --no-wait
