# A Docker engine of the test's own: to be sourced. It lives in namespaces of its own, so its network, its rules and its
# mounts are gone when it is, and no other engine on this machine notices. What it has built stays in "$FOLDER", for the
# next run; `cargo clean` removes it.

SOCKET=$FOLDER/docker.sock
export DOCKER_HOST=unix://$SOCKET DOCKER_BUILDKIT=0 DOCKER_CONFIG=$FOLDER/config

engine_start() {
    mkdir -p "$FOLDER/engine" "$DOCKER_CONFIG"
    rm -f "$SOCKET" "$FOLDER/docker.pid"
    # Without a network but its own: an image that is not here cannot be had from elsewhere by mistake.
    setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc sh -c '
        ip link set lo up
        exec dockerd --data-root "$0/engine" --exec-root "$0/run" --pidfile "$0/docker.pid" --host "unix://$0/docker.sock" \
            --default-ulimit nofile=20000:20000 --cgroup-parent /carmel-test' "$FOLDER" >"$FOLDER/engine.log" 2>&1 &
    KEEPER=$!
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && break
        kill -0 "$KEEPER" 2>/dev/null || { tail -20 "$FOLDER/engine.log" >&2; fail "the engine did not start"; }
        sleep 0.1
    done
    docker info >/dev/null || fail "the engine does not answer"
    ENGINE=$(pgrep --parent "$KEEPER")
}

# Everything in the namespaces ends with their first process.
engine_stop() {
    [ -n "${KEEPER:-}" ] || return 0
    docker ps --quiet --all | xargs --no-run-if-empty docker rm --force --volumes >/dev/null 2>&1 || true
    kill -KILL "$KEEPER" 2>/dev/null || true
    wait "$KEEPER" 2>/dev/null || true
    rm -rf "$FOLDER/run" "$SOCKET"
    find /sys/fs/cgroup -depth -type d -path '*/carmel-test*' -exec rmdir {} + 2>/dev/null || true
}

# Runs a command where the containers can be reached.
inside() {
    nsenter --target "$ENGINE" --net -- "$@"
}
