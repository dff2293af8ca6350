#!/usr/bin/env bash
# Builds the page from page/src into handler/src/http/page; with --check it only fails if that is not up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh node=nodejs npm=npm

wanted=$(cksum <page/package-lock.json)
if [[ ! -f page/node_modules/.installed || $(<page/node_modules/.installed) != "$wanted" ]]; then
  npm ci --prefix page --no-audit --no-fund --no-update-notifier --loglevel=error
  echo "$wanted" >page/node_modules/.installed
fi

case ${1-} in
  --check) npm run --silent --prefix page check ;;
  *) npm run --silent --prefix page build ;;
esac
