# The fleet of compose.yaml: to be sourced. Without Kafka, for which Debian has no package: its events go through Redis
# here, and its image is not tried.

compose() {
    KAFKA_BROKERS='' SECRETS=$FOLDER/secrets HTTP_ADDRESS=127.0.0.1:8080 \
        docker-compose --project-name fleet --file compose.yaml --file deploy/test/compose.without-kafka.yaml "$@"
}

# ask SERVICE SQL: what a database answers, without spaces
ask() {
    compose exec -T "$1" psql --username carmel --no-align --tuples-only --command "$2" | tr -d ' \r\n'
}

the_fleet_sells() {
    local shop=http://127.0.0.1:8080 part published order
    say "the fleet of compose.yaml, Kafka left out: there is no package of it"
    sh deploy/compose/secrets.sh "$FOLDER/secrets"
    compose down --volumes --remove-orphans >/dev/null 2>&1
    compose up --detach --no-build >"$FOLDER/compose.log" 2>&1 || fleet_failed "did not start"
    compose run --rm -T migrate sample >"$FOLDER/sample.log" 2>&1 || { tail -5 "$FOLDER/sample.log" >&2; fleet_failed "has no sample data"; }
    [ "$(ask postgres-replica 'SELECT pg_is_in_recovery()')" = t ] || fleet_failed "has no replica"
    published=$(docker ps --format '{{.Names}} {{.Ports}}' | grep -e '->' | cut -d' ' -f1)
    [ "$published" = fleet_nginx_1 ] || fleet_failed "has open ports at: $published"
    order=$(inside sh deploy/test/buy.sh "$shop") || fleet_failed "does not sell"
    say "sold $order; three parts are killed, and started again"
    for part in orders payments gateway; do
        docker kill --signal KILL "fleet_${part}_1" >/dev/null
        docker start "fleet_${part}_1" >/dev/null
        healthy "fleet_${part}_1"
    done
    compose up --detach --no-build --scale orders=2 --scale gateway=2 >>"$FOLDER/compose.log" 2>&1
    order=$(inside sh deploy/test/buy.sh "$shop") || fleet_failed "does not sell any more"
    say "sold $order"
    compose run --rm -T migrate audit 2>/dev/null | tail -1
    compose down --volumes >>"$FOLDER/compose.log" 2>&1
}

fleet_failed() {
    compose ps >&2
    compose logs --tail 15 >&2
    fail "the fleet $1"
}
