# The image of the shop: one program, for every part of a fleet.
#
#   docker build -t carmel .
#   docker run --read-only -v carmel:/data -p 127.0.0.1:3000:3000 carmel serve --sample
#
# Docker's classic builder understands all of it, and so do BuildKit, podman and kaniko.

# The skeleton of the workspace: its manifests, and an empty library for each. It stays the same, byte for byte, until
# a dependency changes, and with it everything that the next stage builds first.
FROM rust:1.95-bookworm AS skeleton
WORKDIR /src
COPY . .
RUN mkdir /skeleton \
    && find . -name Cargo.toml -exec cp --parents {} Cargo.lock /skeleton ';' \
    && find /skeleton -name Cargo.toml -exec sh -c 'mkdir "${1%/*}/src" && : > "${1%/*}/src/lib.rs"' sh {} ';'

FROM rust:1.95-bookworm AS dependencies
WORKDIR /src
# `dev` is built in a quarter of the time: for tests.
ARG PROFILE=release
COPY --from=skeleton /skeleton .
RUN cargo build --locked --profile "$PROFILE" --package carmel

FROM dependencies AS build
ARG PROFILE=release
COPY . .
# The empty libraries are younger than the sources that take their place: cargo would believe that nothing changed.
RUN find crates -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" --package carmel \
    && mkdir /data \
    && cp target/*/carmel /usr/local/bin/

# glibc, certificates, time zones, and nothing else: no shell, no package manager, a user who is nobody.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Carmel" \
      org.opencontainers.image.description="A commerce backend: users, catalogue, stock, orders, payments and mails" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /usr/local/bin/carmel /usr/local/bin/
# The folder belongs to the user, so that a new volume on it does too.
COPY --from=build --chown=65532:65532 /data /data
# As a number: Kubernetes must see that it is not root.
USER 65532:65532
# `carmel.toml` may be mounted here.
WORKDIR /etc/carmel
# Every part listens on one port, whichever it is. SQLite's temporary files go where writing is allowed.
ENV CARMEL_SERVER_HOST=0.0.0.0 CARMEL_SERVER_PORT=3000 CARMEL_DATA_FOLDER=/data TMPDIR=/data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["carmel", "healthcheck"]
ENTRYPOINT ["carmel"]
CMD ["serve"]
