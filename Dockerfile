# Renovate keeps the digests of these images (.github/renovate.json): a tag alone moves without a commit that says so.
ARG RUST_IMAGE=rust:1-bookworm
# The release of Debian that BASE is made of, or an older one: a library of it runs on BASE.
ARG SYSTEM=debian:bullseye-slim
# The image of the Functions host.
ARG BASE=mcr.microsoft.com/azure-functions/base:4
# What the image without the host is made of (--target standalone).
ARG STANDALONE=debian:trixie-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# The Functions images have had glibc 2.31 and 2.36. cargo-zigbuild links for 2.28, as ONNX Runtime is, so either will do.
COPY scripts/zigbuild.txt scripts/
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip locales \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /app/locale \
    && localedef -i en_US -f UTF-8 /app/locale/en_US.utf8 \
    && PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir --no-deps --require-hashes \
        --requirement scripts/zigbuild.txt

COPY scripts scripts
RUN scripts/fetch-onnxruntime.sh "$(uname -s)-$(uname -m)" /app/bin

# The dependencies, built against empty crates: a layer that lasts until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY vendor vendor
COPY score/Cargo.toml score/
COPY crates/redis-store/Cargo.toml crates/redis-store/
COPY crates/text/Cargo.toml crates/text/
COPY crates/wire/Cargo.toml crates/wire/
COPY handler/Cargo.toml handler/
# Not built, but cargo reads the manifest of every member.
COPY benches/limit/Cargo.toml benches/limit/
COPY benches/micro/Cargo.toml benches/micro/
COPY crates/functions-host/Cargo.toml crates/functions-host/
RUN mkdir score/src crates/redis-store/src crates/text/src crates/wire/src crates/functions-host/src handler/src benches/limit/src \
    && touch score/src/lib.rs crates/redis-store/src/lib.rs crates/text/src/lib.rs crates/wire/src/lib.rs crates/functions-host/src/lib.rs \
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

# ONNX Runtime needs libstdc++, which a slim base may lack. Every Debian with apt has it, so nothing is installed.
FROM ${SYSTEM} AS system
RUN mkdir /system && cp -L /usr/lib/*-linux-gnu/libstdc++.so.6 /system/

# The handler without the Functions host: HTTP only, on port 8080, for clusters that have their own way to messages.
FROM ${STANDALONE} AS standalone
ENV SCORE_BIND=0.0.0.0 \
    SCORE_PORT=8080
# For text models.
COPY --from=build /app/locale/en_US.utf8 /usr/lib/locale/en_US.utf8
WORKDIR /app
COPY --from=build /app/bin/libonnxruntime.so.1 bin/
COPY models models
COPY --from=build /app/bin/handler bin/
USER 65534
EXPOSE 8080
ENTRYPOINT ["bin/handler"]

# The host starts the handler, so no entry point is set; it runs as root, as the base image does.
FROM ${BASE}
ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    FUNCTIONS_WORKER_RUNTIME=custom
# For text models.
COPY --from=build /app/locale/en_US.utf8 /usr/lib/locale/en_US.utf8
WORKDIR /home/site/wwwroot
# Files that seldom change come first, so that a new build of the handler is one small layer to push and pull.
# The library looks for libstdc++ in its own folder first.
COPY --from=system /system/libstdc++.so.6 bin/
COPY --from=build /app/bin/libonnxruntime.so.1 bin/
COPY models models
COPY host.json ./
COPY score_http score_http
COPY score_queue score_queue
COPY score_blob score_blob
COPY score_health_live score_health_live
COPY score_health_ready score_health_ready
# Off, because it needs a queue of its own: AzureWebJobs_score_large_blob_Disabled=false switches it on.
ENV AzureWebJobs_score_large_blob_Disabled=true \
    SCORE_BLOBS_QUEUE=score-large-blobs
COPY handler/src/commands/package/templates/score_large_blob.json score_large_blob/function.json
COPY --from=build /app/bin/handler bin/
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="score" \
      org.opencontainers.image.description="ONNX models as an Azure Functions app" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
