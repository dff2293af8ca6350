#!/usr/bin/env bash
# Resource providers. A new subscription has almost none of them registered, and az registers none by itself: every
# request for a resource of an unregistered provider is answered 409 MissingSubscriptionRegistration.
# shellcheck disable=SC2154  # set by deploy.sh and lib.sh

wanted_providers() {
  local providers=(Microsoft.Storage)
  [[ $AUTH == keys ]] || providers+=(Microsoft.ManagedIdentity)
  # az makes an Application Insights with each app of Microsoft.Web, and its workspace.
  if [[ $PLAN_SKU == ACA ]]; then
    providers+=(Microsoft.App)
  else
    providers+=(Microsoft.Web Microsoft.Insights Microsoft.OperationalInsights)
  fi
  [[ $CACHE == none ]] || providers+=(Microsoft.Cache)
  [[ $PACKAGE == zip || -n $IMAGE ]] || providers+=(Microsoft.ContainerRegistry)
  ! has queue "$TRIGGERS" || providers+=(Microsoft.ServiceBus)
  ! has blob "$TRIGGERS" && ! has large-blob "$TRIGGERS" || providers+=(Microsoft.EventGrid)
  echo "${providers[@]}"
}

# Prints the providers of the list that are not registered.
unregistered() {
  local provider registered
  registered=$(azure provider list --query "[?registrationState=='Registered'].namespace" --output tsv)
  for provider in "$@"; do
    grep -qixF "$provider" <<<"$registered" || echo "$provider"
  done
}

# All registrations are started first and run at the same time; each takes up to some minutes.
register_providers() {
  local wanted missing provider end=$((SECONDS + PROVIDER_WAIT))
  read -ra wanted <<<"$(wanted_providers)"
  if $dry_run; then
    missing=("${wanted[@]}")
  else
    mapfile -t missing < <(unregistered "${wanted[@]}")
  fi
  ((${#missing[@]})) || return 0
  for provider in "${missing[@]}"; do
    run provider register --namespace "$provider"
  done
  $dry_run && return
  while mapfile -t missing < <(unregistered "${missing[@]}") && ((${#missing[@]})); do
    ((SECONDS < end)) ||
      die "${missing[*]}: not registered within $PROVIDER_WAIT s (PROVIDER_WAIT); see: az provider show --namespace ${missing[0]}"
    sleep "$RETRY_DELAY"
  done
}
