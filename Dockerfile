# syntax=docker/dockerfile:1.7

# The dependencies' C code is compiled here, with cmake.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin pierhead \
    && install -D target/release/pierhead /image/usr/bin/pierhead
COPY --chmod=0644 <<'CONFIG' /image/etc/distribution/config.yml
# What the image serves until a file of yours is mounted here: as the registry's own image does, plain HTTP for a
# network that nobody else is on. conf/reference.yml has every key.
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
health:
  storagedriver:
    enabled: true
CONFIG
RUN install -d /data

# glibc, the CA certificates and a user without rights; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image /
COPY --from=build --chown=nonroot:nonroot /data /var/lib/registry
USER nonroot:nonroot
VOLUME ["/var/lib/registry"]
EXPOSE 5000
ENTRYPOINT ["/usr/bin/pierhead"]
CMD ["serve", "/etc/distribution/config.yml"]
