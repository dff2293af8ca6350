#!/usr/bin/env bash
# Registers the resource provider that Flex Consumption needs in a network (VNET_ENABLED). A deployment of Bicep files
# registers the providers of its resources by itself, but none of them is of Microsoft.App then.
set -euo pipefail

[[ ${VNET_ENABLED:-false} == true ]] || exit 0
state=$(az provider show --namespace Microsoft.App --query registrationState --output tsv)
[[ $state == Registered ]] || az provider register --namespace Microsoft.App --wait
