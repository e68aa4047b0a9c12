#!/bin/sh
# Makes the secrets that compose.yaml names, once: what is there is left as it is.
#
#   sh deploy/compose/secrets.sh [FOLDER]     then the variable SECRETS names the folder to Compose
set -eu
folder=${1:-$(dirname "$0")/secrets}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# keep NAME VALUE
keep() {
    [ -e "$folder/$1" ] || printf '%s' "$2" >"$folder/$1"
}

# Nobody else on this machine may enter the folder. In a container each file is seen alone, by a user who is not its
# owner, so the files themselves may be read.
mkdir -p "$folder"
chmod 700 "$folder"
umask 022
keep services_token "$(random)"
# As Standard Webhooks wants it.
keep webhook_secret "whsec_$(head -c 24 /dev/urandom | base64)"
keep replication_password "$(random)"
keep postgres_password "$(random)"
password=$(cat "$folder/postgres_password")
keep database_url "postgres://carmel:$password@postgres:5432/carmel"
keep database_replica_urls "postgres://carmel:$password@postgres-replica:5432/carmel"
