#!/usr/bin/env bash
# The parameters with their defaults: each is an environment variable, or a line NAME=value of the file that deploy.sh
# and cleanup.sh take with --settings. deploy/README.md explains them.
# shellcheck disable=SC2034  # read by the files that source this one

: "${APP:=}"                       # the function app; the other names are made from it
: "${LOCATION:=westeurope}"
: "${SUBSCRIPTION:=}"              # name or id; the one chosen in az if empty
: "${PLAN_SKU:=B1}"                # B1, P0v4, ... (Dedicated), EP1 to EP3 (Premium), FC1 (Flex Consumption), ACA (Container Apps)
: "${PACKAGE:=$([[ $PLAN_SKU == FC1 ]] && echo zip || echo image)}" # image, zip
: "${AUTH:=identity}"              # identity (no keys in the app's settings), keys
: "${CACHE:=managed}"              # managed (Azure Managed Redis), classic (Azure Cache for Redis), none
: "${TRIGGERS:=http queue blob}"   # which functions are on: http, queue, blob, large-blob

: "${CACHE_SKU:=$([[ $CACHE == classic ]] && echo Basic_C0 || echo Balanced_B0)}"
: "${ZIP:=app.zip}"
: "${IMAGE:=}"                     # an image that is already in the registry; built from the Dockerfile if empty
: "${IMAGE_TAG:=$(git -C "$here" describe --always --dirty 2>/dev/null || echo 1)}"
: "${FLEX_MEMORY:=2048}"           # MB of an instance: 512, 2048, 4096
: "${FLEX_INSTANCES:=100}"         # at most so many: 1 to 1000
: "${FLEX_CONCURRENCY:=}"          # HTTP requests at once for one instance; from FLEX_MEMORY if empty
: "${FLEX_ALWAYS_READY:=0}"        # instances that always run
: "${ACA_CPU:=1.0}"                # cores of a replica, on Container Apps
: "${ACA_MEMORY:=2Gi}"
: "${ACA_REPLICAS:=0-10}"          # fewest and most replicas
: "${TEST_REQUEST:=$root/examples/mnist/seven.json}"
: "${TEST_WAIT:=600}"              # seconds that the test call is tried again
: "${KEY_WAIT:=600}"               # seconds that a starting host is asked for its keys
: "${PROVIDER_WAIT:=600}"          # seconds that the registration of a resource provider may take
: "${RETRY_DELAY:=10}"             # seconds between two tries of any of these

compact=${APP,,}
compact=${compact//[^a-z0-9]/}
: "${RESOURCE_GROUP:=rg-$APP}"
: "${STORAGE:=st${compact:0:22}}"
: "${SERVICE_BUS:=sb-$APP}"
: "${REDIS:=redis-$APP}"
: "${REGISTRY:=cr${compact:0:48}}"
: "${PLAN:=plan-$APP}"
: "${IDENTITY:=id-$APP}"
: "${SCORE_QUEUE:=score}"
: "${SCORE_RESULT_QUEUE:=score-results}"
: "${SCORE_REJECTED_QUEUE:=score-rejected}"
: "${SCORE_BLOBS_QUEUE:=score-large-blobs}" # in the storage account
