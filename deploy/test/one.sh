# The all-in-one shop in one container: to be sourced.

# healthy CONTAINER: waits until the image's own health check says so
healthy() {
    local state
    for _ in $(seq 600); do
        state=$(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$1")
        case $state in
            'running healthy') return 0 ;;
            exited*) break ;;
        esac
        sleep 0.2
    done
    docker logs --tail 30 "$1" >&2
    fail "$1 is $state"
}

# counts_its_jobs SHOP: whether it does, which is every quarter of a minute
counts_its_jobs() {
    local metrics
    for _ in $(seq 60); do
        metrics=$(inside curl --silent --fail "$1/metrics") || return 1
        [[ $metrics == *jobs_waiting{* ]] && return 0
        sleep 1
    done
    return 1
}

one_container_sells() {
    local shop=http://127.0.0.1:3000 order
    say "one container, read-only, nobody's user, its data on a volume"
    docker volume rm --force shop >/dev/null
    docker run --detach --name shop --read-only --cap-drop ALL --security-opt no-new-privileges \
        --volume shop:/data --publish 127.0.0.1:3000:3000 "$CARMEL_IMAGE" serve --sample >/dev/null
    healthy shop
    [ "$(docker top shop -eo pid,uid | awk "END { print \$2 }")" = 65532 ] || fail "it runs as somebody else"
    order=$(inside sh deploy/test/buy.sh "$shop")
    say "sold $order; killed, and started again"
    docker kill --signal KILL shop >/dev/null
    docker start shop >/dev/null
    healthy shop
    order=$(inside sh deploy/test/buy.sh "$shop")
    say "sold $order"
    docker exec shop carmel audit | tail -1
    counts_its_jobs "$shop" || fail "jobs_waiting, by which the workers of a fleet are scaled, is no metric any more"
    docker stop --time 60 shop >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' shop)" = 0 ] || fail "SIGTERM did not end it well"
    docker rm --volumes shop >/dev/null
    docker volume rm shop >/dev/null
}
