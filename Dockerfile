# check=error=true
# One image for both programs: `server` (the default command) and `indexer`.

FROM golang:1.26-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ libfaiss-dev libopenblas-pthread-dev make python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY tools/weights/ tools/weights/
RUN weights="$(tools/weights/build)" && install -D -m 0644 -t bin/weights "$weights"/*.weights
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# After the copy, so that a new version does not download the modules again.
ARG VERSION=dev
ARG COMMIT=unknown
RUN make binaries VERSION="$VERSION" COMMIT="$COMMIT"

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libgomp1 libopenblas0-pthread libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
# Volumes take owner and mode from the image, on Docker and on Fargate: without these two lines uid 10001 could not write there.
RUN groupadd --gid 10001 vectorstore \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin vectorstore \
 && install -d -o 10001 -g 10001 -m 0750 /app/vectorstore /app/tmp
# A layer of its own, which a new version of the programs leaves as it is.
COPY --from=build /src/bin/weights/use-multilingual-v3.weights /usr/local/bin/weights/
COPY --from=build /src/bin/indexer /src/bin/server /usr/local/bin/
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="vectorstore" \
      org.opencontainers.image.description="Vector search over vendors.json: indexer and query server" \
      org.opencontainers.image.source="https://github.com/taksuehiro/vectorstore" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
WORKDIR /app
# Everything that is written goes to the two volumes, so the root file system may be read-only.
ENV VECTORSTORE_LOCAL_DIR=/app/vectorstore \
    TMPDIR=/app/tmp
VOLUME ["/app/vectorstore", "/app/tmp"]
USER 10001:10001
EXPOSE 8080 9090 9091
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["server", "health"]
CMD ["server"]
