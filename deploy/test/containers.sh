#!/usr/bin/env bash
# Builds the image, lets one container of it sell as the README says, then the whole fleet of compose.yaml; both are
# killed in between and audited at the end. Leaves nothing running. Ends with 77 and a sentence where it cannot be done.
#
#   bash deploy/test/containers.sh [FOLDER]     what was built stays in the folder, for the next time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
FOLDER=$(realpath --canonicalize-missing "${1:-target/deploy}")
export CARMEL_IMAGE=carmel-test/carmel PROFILE=dev

say() { echo "   $*"; }
fail() { echo "$*" >&2; exit 1; }
cannot() { echo "left out, because $*"; exit 77; }

[ "$(uname -s)" = Linux ] || cannot "an engine of its own needs Linux"
[ "$(id -u)" = 0 ] || cannot "an engine of its own needs root"
for program in docker dockerd docker-compose mmdebstrap unshare nsenter setpriv iptables curl; do
    command -v "$program" >/dev/null || cannot "$program is not installed"
done

. deploy/test/engine.sh
. deploy/test/images.sh
. deploy/test/one.sh
. deploy/test/fleet.sh

dependencies() {
    docker build --quiet --build-arg PROFILE="$PROFILE" --target dependencies "$1" 2>/dev/null
}

a_changed_line_builds_no_dependency() {
    local changed=$FOLDER/changed
    rm -rf "$changed" && mkdir -p "$changed"
    cp --archive --parents Dockerfile .dockerignore Cargo.* crates docs/openapi.json xtask/Cargo.toml bench/Cargo.toml "$changed"
    echo '// changed' >>"$changed/crates/kernel/src/lib.rs"
    [ "$(dependencies .)" = "$(dependencies "$changed")" ] || fail "a changed line builds all dependencies again"
    rm -rf "$changed"
}

trap engine_stop EXIT
trap 'exit 130' INT TERM
engine_start
stand_in_runtime
stand_in_rust
say "building the image (profile $PROFILE)"
docker build --build-arg PROFILE="$PROFILE" --tag "$CARMEL_IMAGE" . >"$FOLDER/build.log" 2>&1 \
    || { tail -40 "$FOLDER/build.log" >&2; fail "the image was not built"; }
a_changed_line_builds_no_dependency
one_container_sells
stand_in_servers
the_fleet_sells
