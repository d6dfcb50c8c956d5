# syntax=docker/dockerfile:1
# Build it in the folder of the module:
#   docker build -t kafka .
# A .dockerignore with .git, .flow and .env keeps these out of the build.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# A static program: it needs nothing of the image that it runs in.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w" -o /out/kafka ./cmd/flow/testdata/kafka \
    && mkdir /out/data

# The certificates of public authorities, time zones and a user that is not root; no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/kafka /usr/local/bin/kafka
# Mount a volume here if a primitive keeps its state in the data folder.
COPY --from=build --chown=65532:65532 /out/data /data
WORKDIR /data
# A container is reached from outside of it only.
ENV FLOW_DATA=/data FLOW_HTTP=:8080 FLOW_ADMIN=:9650
USER 65532:65532
EXPOSE 8080 9650
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/kafka"]
