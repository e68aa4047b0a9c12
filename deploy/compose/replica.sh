#!/bin/sh
# Copies the primary when there is no copy yet, then follows it. A copy that was broken off never gets the final name.
set -eu
if [ ! -d "$PGDATA" ]; then
    rm -rf "$PGDATA.new"
    PGPASSWORD=$(cat /run/secrets/replication_password) pg_basebackup --host=postgres --username=replicator \
        --pgdata="$PGDATA.new" --wal-method=stream --slot=replica --write-recovery-conf --checkpoint=fast
    mv "$PGDATA.new" "$PGDATA"
fi
exec "$@"
