#!/usr/bin/env bash
# One prediction by the deployed app: infra/smoke.sh RESOURCE_GROUP APP [MODEL]
# Waits until the app is ready, asks it what the model expects, and sends the sample request it shows. SCORE_SMOKE_URL
# replaces the app's address, and needs no key then. SCORE_SMOKE_SECONDS is how long the app may take to come up (300).
# Ends with 1 if the app does not score, with 3 if Azure did not tell where the app is or its key.
set -euo pipefail
# shellcheck source=infra/app.sh
source "$(dirname "$0")/app.sh"

group=${1:?usage: infra/smoke.sh RESOURCE_GROUP APP [MODEL]}
app=${2:?usage: infra/smoke.sh RESOURCE_GROUP APP [MODEL]}
model=${3:-}
site=${SCORE_SMOKE_URL:-}
key=
if [[ -z $site ]]; then
  host=$(app_host "$group" "$app") || exit 3
  key=$(app_key "$group" "$app" function) || exit 3
  site=https://$host
fi
url=$site/api/score${model:+/$model}

# The key comes by standard input: every user of this machine can see the arguments of a program.
call() {
  curl --silent --show-error --fail-with-body --max-time 60 --header @- "$@" <<<"x-functions-key: $key"
}

# Without a key, as the platform asks: 200 once models are loaded. Packages made with --no-health have 404 there.
end=$((SECONDS + ${SCORE_SMOKE_SECONDS:-300}))
until status=$(curl --silent --output /dev/null --max-time 60 --write-out '%{http_code}' "$site/api/health/ready") &&
  [[ $status == 200 || $status == 404 ]]; do
  if ((SECONDS >= end)); then
    echo "error: $site/api/health/ready does not become ready (last status: $status)" >&2
    [[ $status != 000 ]] || echo "calls that hang mean that the host cannot start the handler: bin/handler needs mode 755" >&2
    exit 1
  fi
  sleep 5
done
until description=$(call "$url" 2>&1); do
  if ((SECONDS >= end)); then
    echo "error: $url does not answer: $description" >&2
    exit 1
  fi
  sleep 5
done
sample=$(jq --exit-status --compact-output .sample_request <<<"$description") || {
  echo "error: $url shows no sample_request; name a model" >&2
  exit 1
}
request=$(mktemp)
trap 'rm -f "$request"' EXIT
echo "$sample" >"$request"
answer=$(call "$url" --header 'content-type: application/json' --data-binary "@$request") || {
  echo "error: $url refuses its own sample request: $answer" >&2
  exit 1
}
jq --exit-status . <<<"$answer" >/dev/null
echo "$app scores"
