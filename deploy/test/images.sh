# The images that others publish, made from Debian's packages where there is no registry: to be sourced. They have the
# names, variables, users and folders of the real ones as far as Dockerfile and compose.yaml rely on them.

have() {
    docker image inspect "$1" >/dev/null 2>&1
}

# debian NAME MMDEBSTRAP-ARGUMENTS...
debian() {
    local name=$1
    shift
    have "$name" && return 0
    say "making $name from Debian's packages"
    mmdebstrap --quiet --mode=root --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' "$@" bookworm - | docker import - "$name" >/dev/null
}

# Of gcr.io/distroless/cc-debian12:nonroot: libraries, no shell.
stand_in_runtime() {
    debian gcr.io/distroless/cc-debian12:nonroot --variant=extract --include=libc6,libgcc-s1,libstdc++6,tzdata \
        --customize-hook='rm -rf "$1"/usr/share/doc "$1"/var/lib/apt "$1"/var/cache' \
        --customize-hook='mkdir -p "$1"/etc "$1"/tmp && chmod 1777 "$1"/tmp' \
        --customize-hook='echo "nonroot:x:65532:65532::/home/nonroot:/sbin/nologin" >"$1"/etc/passwd'
}

# Of rust:1.95-bookworm: this machine's own toolchain, and the sources of all dependencies, because its containers reach
# no registry.
stand_in_rust() {
    local home=${CARGO_HOME:-$HOME/.cargo} copy=$FOLDER/cargo lock
    cargo fetch --locked --quiet
    lock=$(sha256sum Cargo.lock | cut -c1-12)
    debian carmel-test/rust --variant=minbase --include=gcc,g++,libc6-dev,make,pkg-config,perl,cmake,zlib1g-dev,libssl-dev \
        --customize-hook="cp -a '$(rustc --print sysroot)/bin' '$(rustc --print sysroot)/lib' \"\$1\"/usr/local/" \
        --customize-hook='rm -f "$1"/usr/local/bin/rust-analyzer'
    if ! have "carmel-test/rust:$lock"; then
        rm -rf "$copy" && mkdir -p "$copy/registry"
        cp -a "$home"/registry/index "$home"/registry/cache "$copy/registry/"
        printf 'FROM carmel-test/rust\nENV CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true\nCOPY . /usr/local/cargo\n' \
            | docker build --quiet --tag "carmel-test/rust:$lock" --file - "$copy" >>"$FOLDER/images.log" 2>&1
        rm -rf "$copy"
    fi
    docker tag "carmel-test/rust:$lock" rust:1.95-bookworm
}

# Of postgres, redis and nginx: one base for the three.
stand_in_servers() {
    debian carmel-test/servers --variant=minbase --include=postgresql-15,redis-server,nginx-light,curl
    local name
    for name in postgres:15-bookworm redis:7-bookworm nginx:1.28-bookworm; do
        docker build --quiet --tag "$name" --file "deploy/test/stand-ins/${name%%:*}.dockerfile" deploy/test/stand-ins \
            >>"$FOLDER/images.log" 2>&1
    done
}
