#!/usr/bin/env bash
# The checks before the first request to Azure, and then which names are taken.
# shellcheck disable=SC2154  # set by deploy.sh and lib.sh

# matches WHAT VALUE PATTERN RULE
matches() {
  [[ $2 =~ ^($3)$ ]] || die "$1 '$2': expected $4"
}

check_settings() {
  local service
  [[ -n $APP ]] || die "APP is not set: the name of the function app, for instance APP=my-scores"
  matches APP "$APP" '[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?' "1 to 63 letters, digits and inner hyphens"
  matches PLAN_SKU "$PLAN_SKU" 'B[123]|S[123]|P[0-5]m?v[234]|P[123]v2|EP[123]|FC1|ACA' \
    "B1 to B3, S1 to S3, P0v3 or P0v4 and the like, EP1 to EP3, FC1, or ACA"
  matches PACKAGE "$PACKAGE" 'image|zip' "image or zip"
  matches AUTH "$AUTH" 'identity|keys' "identity or keys"
  matches CACHE "$CACHE" 'managed|classic|none' "managed, classic or none"
  for service in $TRIGGERS; do
    matches TRIGGERS "$service" 'http|queue|blob|large-blob' "http, queue, blob and large-blob, separated by spaces"
  done
  [[ $PLAN_SKU != FC1 || $PACKAGE == zip ]] || die "PACKAGE 'image': Flex Consumption (PLAN_SKU FC1) takes no image; expected zip"
  case $PLAN_SKU in
    FC1) check_flex ;;
    ACA) check_container_app ;;
  esac
  matches RESOURCE_GROUP "$RESOURCE_GROUP" '[A-Za-z0-9_.()-]{0,89}[A-Za-z0-9_()-]' "1 to 90 letters, digits and _ . ( ) -, no dot at the end"
  matches STORAGE "$STORAGE" '[a-z0-9]{3,24}' "3 to 24 lower-case letters and digits"
  [[ $PACKAGE == zip ]] || matches REGISTRY "$REGISTRY" '[A-Za-z0-9]{5,50}' "5 to 50 letters and digits"
  [[ $PLAN_SKU == FC1 ]] || matches PLAN "$PLAN" '[A-Za-z0-9-]{1,60}' "1 to 60 letters, digits and hyphens"
  [[ $AUTH == keys ]] || matches IDENTITY "$IDENTITY" '[A-Za-z0-9][A-Za-z0-9_-]{2,127}' "3 to 128 letters, digits, _ and -"
  if has queue "$TRIGGERS"; then
    matches SERVICE_BUS "$SERVICE_BUS" '[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]' "6 to 50 letters, digits and inner hyphens, a letter first"
    for service in SCORE_QUEUE SCORE_RESULT_QUEUE SCORE_REJECTED_QUEUE; do
      matches "$service" "${!service}" '[A-Za-z0-9]([A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?' "a queue's name of letters, digits and . _ / -"
    done
  fi
  ! has large-blob "$TRIGGERS" ||
    matches SCORE_BLOBS_QUEUE "$SCORE_BLOBS_QUEUE" '[a-z0-9](-?[a-z0-9]){2,62}' "3 to 63 lower-case letters, digits and single inner hyphens"
  case $CACHE in
    managed)
      matches REDIS "$REDIS" '[A-Za-z0-9]+(-[A-Za-z0-9]+)*' "letters, digits and single inner hyphens"
      matches "length of REDIS" "${#REDIS}" '[1-9]|[1-5][0-9]|60' "1 to 60"
      matches CACHE_SKU "$CACHE_SKU" '(Balanced_B|MemoryOptimized_M|ComputeOptimized_X|FlashOptimized_A)[0-9]+' "for instance Balanced_B0"
      ;;
    classic)
      matches REDIS "$REDIS" '[A-Za-z0-9]+(-[A-Za-z0-9]+)*' "letters, digits and single inner hyphens"
      matches "length of REDIS" "${#REDIS}" '[1-9]|[1-5][0-9]|6[0-3]' "1 to 63"
      matches CACHE_SKU "$CACHE_SKU" '(Basic|Standard)_C[0-6]|Premium_P[1-5]' "for instance Basic_C0"
      ;;
  esac
  [[ $PACKAGE == image ]] || $dry_run || check_zip
  [[ -f $TEST_REQUEST ]] || die "TEST_REQUEST '$TEST_REQUEST': no such file; expected a request in JSON"
}

check_flex() {
  matches FLEX_MEMORY "$FLEX_MEMORY" '512|2048|4096' "512, 2048 or 4096 (MB)"
  [[ -n $FLEX_CONCURRENCY ]] || FLEX_CONCURRENCY=$((FLEX_MEMORY / 32 < 64 ? FLEX_MEMORY / 32 : 64))
  matches FLEX_INSTANCES "$FLEX_INSTANCES" '[1-9][0-9]{0,2}|1000' "1 to 1000"
  matches FLEX_CONCURRENCY "$FLEX_CONCURRENCY" '[1-9][0-9]{0,2}|1000' "1 to 1000"
  matches FLEX_ALWAYS_READY "$FLEX_ALWAYS_READY" '[0-9]{1,3}|1000' "0 to 1000"
  ((FLEX_ALWAYS_READY <= FLEX_INSTANCES)) ||
    die "FLEX_ALWAYS_READY '$FLEX_ALWAYS_READY': expected no more than FLEX_INSTANCES, which is $FLEX_INSTANCES"
}

check_container_app() {
  [[ $PACKAGE == image ]] || die "PACKAGE 'zip': Container Apps (PLAN_SKU ACA) run images; expected image"
  [[ $AUTH == identity ]] || die "AUTH 'keys': with Container Apps (PLAN_SKU ACA) expected identity"
  matches APP "$APP" '[a-z]([a-z0-9-]{0,30}[a-z0-9])' "2 to 32 lower-case letters, digits and inner hyphens, a letter first (Container Apps)"
  matches ACA_CPU "$ACA_CPU" '[0-9]+(\.[0-9]+)?' "a number of cores, for instance 1.0"
  matches ACA_MEMORY "$ACA_MEMORY" '[0-9]+(\.[0-9]+)?Gi' "for instance 2Gi, twice the cores"
  matches ACA_REPLICAS "$ACA_REPLICAS" '[0-9]+-[1-9][0-9]*' "the fewest and the most replicas, for instance 0-10"
}

# The host shows a program that it may not execute only as a first call that hangs for two minutes.
check_zip() {
  local entry
  [[ -f $ZIP ]] || die "ZIP '$ZIP': no such file; expected the package of the app"
  command -v zipinfo >/dev/null || return 0
  entry=$(zipinfo "$ZIP" bin/handler 2>/dev/null) || die "ZIP '$ZIP': has no bin/handler; expected what handler package writes"
  [[ $entry == ?rwxr-xr-x* ]] ||
    die "ZIP '$ZIP': bin/handler has the mode ${entry%% *}; expected -rwxr-xr-x, as handler package writes it"
  ! has large-blob "$TRIGGERS" || zipinfo "$ZIP" score_large_blob/function.json >/dev/null 2>&1 ||
    die "ZIP '$ZIP': has no score_large_blob, which TRIGGERS names; expected what handler package --trigger large-blob writes"
}

# Names that must be unique in all of Azure: a taken one is refused before the first resource is made. So is a region
# without Flex Consumption.
check_names() {
  $dry_run && return
  [[ $PLAN_SKU != FC1 ]] || check_region
  [[ $PLAN_SKU == ACA ]] || exists Microsoft.Web/sites "$APP" ||
    available APP rest --method post --body "{\"name\": \"$APP\", \"type\": \"Microsoft.Web/sites\"}" \
      --uri "/subscriptions/$subscription_id/providers/Microsoft.Web/checkNameAvailability?api-version=2025-05-01"
  exists Microsoft.Storage/storageAccounts "$STORAGE" ||
    available STORAGE storage account check-name --name "$STORAGE"
  [[ $PACKAGE == zip || -n $IMAGE ]] || exists Microsoft.ContainerRegistry/registries "$REGISTRY" ||
    available REGISTRY acr check-name --name "$REGISTRY"
  ! has queue "$TRIGGERS" || exists Microsoft.ServiceBus/namespaces "$SERVICE_BUS" ||
    available SERVICE_BUS servicebus namespace exists --name "$SERVICE_BUS"
}

check_region() {
  local regions
  regions=$(azure functionapp list-flexconsumption-locations --query "[].name" --output tsv)
  grep -qixF "${LOCATION// /}" <<<"${regions// /}" ||
    die "LOCATION '$LOCATION': Flex Consumption (PLAN_SKU FC1) is not there; expected one of ${regions//$'\n'/, }"
}

# available SETTING ARGUMENT...: asks with this call whether the setting's value is free
available() {
  local setting=$1 answer
  shift
  answer=$(azure "$@" --query nameAvailable --output tsv)
  [[ $answer == true ]] || die "$setting '${!setting}': the name is taken; expected one that is free in all of Azure"
}
