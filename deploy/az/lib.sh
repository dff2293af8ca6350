#!/usr/bin/env bash
# How az is called: every call is shown, and with --dry-run only shown. No call has a secret among its arguments.
# shellcheck disable=SC2034,SC2154  # set and used by the files that source this one

dry_run=false

die() {
  echo "error: $*" >&2
  exit 1
}

show() {
  local line=az argument
  for argument in "$@"; do
    [[ $argument =~ ^[A-Za-z0-9@%+=:,./_-]+$ ]] || argument=${argument@Q}
    line+=" $argument"
  done
  echo "$line" >&3
}

azure() {
  az "$@" ${SUBSCRIPTION:+--subscription "$SUBSCRIPTION"} --only-show-errors
}

# run ARGUMENT...: a call whose answer is not needed
run() {
  show "$@"
  $dry_run || azure "$@" --output none
}

# ask PLACEHOLDER ARGUMENT...: a call for one value; a dry run prints the placeholder instead
ask() {
  local placeholder=$1 answer
  shift
  show "$@"
  if $dry_run; then
    echo "<$placeholder>"
  else
    answer=$(azure "$@" --output tsv)
    [[ -n $answer && $answer != None ]] || die "Azure does not tell the $placeholder (yet)"
    echo "$answer"
  fi
}

# ask_until PLACEHOLDER ARGUMENT...: the same for a value of the Functions host. A host that starts answers 400 and 502
# for minutes, and a key of an extension exists only after that: the call is repeated for KEY_WAIT seconds.
ask_until() {
  local placeholder=$1 answer end=$((SECONDS + KEY_WAIT))
  shift
  show "$@"
  if $dry_run; then
    echo "<$placeholder>"
    return
  fi
  until answer=$(azure "$@" --output tsv 2>"$scratch/refusal") && [[ -n $answer && $answer != None ]]; do
    if ((SECONDS >= end)); then
      cat "$scratch/refusal" >&2
      die "no $placeholder within $KEY_WAIT s (KEY_WAIT): expected a running host; its log says why it does not start"
    fi
    sleep "$RETRY_DELAY"
  done
  echo "$answer"
}

# put ID API_VERSION BODY: makes a resource for which az has no command, and waits for it
put() {
  run rest --method put --uri "$1?api-version=$2" --body "$3"
  run resource wait --ids "$1" --api-version "$2" --created --timeout 3600
}

# has WORD LIST: whether the list of words has this one
has() {
  [[ " $2 " == *" $1 "* ]]
}

# What the group holds, one type/name a line, in lower case; asked for once, so that a second run skips what is there.
inventory=
take_inventory() {
  $dry_run && return
  [[ $(azure group exists --name "$RESOURCE_GROUP" --output tsv) == true ]] || return 0
  inventory=$(azure resource list --resource-group "$RESOURCE_GROUP" --query "[].join('/', [type, name])" --output tsv)
  inventory=${inventory,,}
}

# exists TYPE NAME
exists() {
  grep -qixF "$1/$2" <<<"$inventory"
}

# The id of a resource in the group: id_of TYPE NAME
id_of() {
  echo "/subscriptions/$subscription_id/resourceGroups/$RESOURCE_GROUP/providers/$1/$2"
}

# Sets subscription_id, which also proves that az is signed in, and the suffixes of the cloud that az is set to.
sign_in() {
  registry_suffix=.azurecr.io
  if $dry_run; then
    subscription_id=${SUBSCRIPTION:-<subscription>}
    return
  fi
  command -v az >/dev/null || die "az is missing; see https://aka.ms/azure-cli"
  if ! subscription_id=$(azure account show --query id --output tsv 2>/dev/null); then
    [[ -z $SUBSCRIPTION ]] || die "no subscription '$SUBSCRIPTION' for the account that is signed in; see: az login, az account list"
    die "not signed in to Azure, or no subscription chosen; run: az login"
  fi
  registry_suffix=$(az cloud show --query suffixes.acrLoginServerEndpoint --output tsv)
}
