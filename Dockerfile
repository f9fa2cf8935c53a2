# syntax=docker/dockerfile:1

# The dependencies' C code (AWS-LC, zlib-ng) is compiled here, with cmake.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY conf ./conf
COPY loadtest ./loadtest
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin pierhead \
    && install -D target/release/pierhead /image/usr/bin/pierhead \
    && install -D --mode=0644 conf/quickstart.yml /image/etc/distribution/config.yml \
    && install -d --mode=0755 --owner=65532 --group=65532 /image/var/lib/registry

# glibc, the CA certificates and a user; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image /
USER nonroot:nonroot
WORKDIR /var/lib/registry
VOLUME ["/var/lib/registry"]
EXPOSE 5000 5050
ENTRYPOINT ["/usr/bin/pierhead"]
CMD ["serve", "/etc/distribution/config.yml"]
