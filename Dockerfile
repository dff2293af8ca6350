ARG RUST_IMAGE=rust:1-bookworm
ARG BASE=mcr.microsoft.com/azure-functions/base:4

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# The Functions images have had glibc 2.31 and 2.36. cargo-zigbuild links for 2.28, as ONNX Runtime is, so either will do.
COPY scripts/zigbuild.txt scripts/
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir --no-deps --require-hashes \
        --requirement scripts/zigbuild.txt

COPY scripts scripts
RUN scripts/fetch-onnxruntime.sh "$(uname -s)-$(uname -m)" /app/bin

# The dependencies, built against empty crates: a layer that lasts until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY score/Cargo.toml score/
COPY crates/redis-store/Cargo.toml crates/redis-store/
COPY crates/wire/Cargo.toml crates/wire/
COPY handler/Cargo.toml handler/
# Not built, but cargo reads the manifest of every member.
COPY benches/limit/Cargo.toml benches/limit/
COPY benches/micro/Cargo.toml benches/micro/
COPY crates/functions-host/Cargo.toml crates/functions-host/
RUN mkdir score/src crates/redis-store/src crates/wire/src crates/functions-host/src handler/src benches/limit/src \
    && touch score/src/lib.rs crates/redis-store/src/lib.rs crates/wire/src/lib.rs crates/functions-host/src/lib.rs \
    && touch handler/src/lib.rs \
    && echo 'fn main() {}' >handler/src/main.rs \
    && cp handler/src/main.rs benches/limit/src/ \
    && cargo zigbuild --release --locked --package handler --target "$(uname -m)-unknown-linux-gnu.2.28"

COPY score score
COPY crates crates
COPY handler handler
# `handler package` has them inside.
COPY host.json ./
COPY score_http score_http
COPY score_queue score_queue
COPY score_blob score_blob
COPY score_health_live score_health_live
COPY score_health_ready score_health_ready
# cargo goes by file times, and the copied files may be older than the empty ones.
RUN find score crates handler -name '*.rs' -exec touch {} + \
    && cargo zigbuild --release --locked --package handler --target "$(uname -m)-unknown-linux-gnu.2.28" \
    && install -m 755 "target/$(uname -m)-unknown-linux-gnu/release/handler" /app/bin/handler

# The host starts the handler, so no entry point is set; it runs as root, as the base image does.
FROM ${BASE}
ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    FUNCTIONS_WORKER_RUNTIME=custom
# ONNX Runtime needs libstdc++, which a slim base may lack, and for text models the locale en_US.UTF-8.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libstdc++6 locales \
    && localedef -i en_US -f UTF-8 en_US.UTF-8 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /home/site/wwwroot
# What changes least comes first, so that a new build of the handler is one small layer to push and pull.
COPY --from=build /app/bin/libonnxruntime.so.1 bin/
COPY models models
COPY host.json ./
COPY score_http score_http
COPY score_queue score_queue
COPY score_blob score_blob
COPY score_health_live score_health_live
COPY score_health_ready score_health_ready
COPY --from=build /app/bin/handler bin/
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="score" \
      org.opencontainers.image.description="ONNX models as an Azure Functions app" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
