# Two PostgreSQL servers with the example's script, and a client that remembers what it was told. Sourced by bash scripts,
# after lib.sh.
# shellcheck shell=bash

PG_EXAMPLE=$BED_ROOT/man/examples/postgresql
PG_BIN=/usr/lib/postgresql/15/bin
PG_PORT=5432

pg_install() { bed_packages postgresql util-linux; }

# pg_server DIR NAME ADDRESS PEER PEER_ADDRESS: what is on the disk of a server before it has a database. GROUP is its managed group.
pg_server() {
    local dir=$1
    mkdir -p "$dir"/{conf.d,sockets,state}
    sed "s|^NAME=.*|NAME=$2|; s|^PEER=.*|PEER=$4|; s|^PEER_HOST=.*|PEER_HOST=$5|
        s|^DATA=.*|DATA=$dir/main|; s|^CONFIG=.*|CONFIG=$dir/postgresql.conf|; s|^SETTINGS=.*|SETTINGS=$dir/conf.d/roost.conf|
        s|^SOCKETS=.*|SOCKETS=$dir/sockets|; s|^LOG=.*|LOG=$dir/log|; s|^STATE=.*|STATE=$dir/state|; s|^RUN=.*|RUN=${PG_RUN:-/run/roost-postgres}|" \
        "$PG_EXAMPLE/postgres.conf" >"$dir/postgres.conf"
    sed "s|^listen_addresses.*|listen_addresses = '$3'|" "$PG_EXAMPLE/postgresql.conf" >"$dir/conf.d/standby.conf"
    cat >"$dir/postgresql.conf" <<END
data_directory = '$dir/main'
hba_file = '$dir/pg_hba.conf'
ident_file = '$dir/pg_ident.conf'
unix_socket_directories = '$dir/sockets'
shared_buffers = '16MB'
jit = off
include_dir = 'conf.d'
END
    printf 'local all all trust\nhost all all all trust\nhost replication all all trust\n' >"$dir/pg_hba.conf"
    touch "$dir/pg_ident.conf" "$dir/log"
    chown -R postgres:postgres "$dir"
}

# pg_database DIR: a new database, with the role of the example and a table for the client. It is down afterwards.
pg_database() {
    local su=(setpriv --reuid postgres --regid postgres --init-groups --)
    "${su[@]}" "$PG_BIN/initdb" -D "$1/main" -E UTF8 --locale C -N >/dev/null
    "${su[@]}" "$PG_BIN/pg_ctl" -s -w -D "$1/main" -l "$1/log" -o "-c config_file=$1/postgresql.conf" start
    "${su[@]}" "$PG_BIN/psql" -qAtX -h "$1/sockets" -p "$PG_PORT" -d postgres -f "$PG_EXAMPLE/role.sql" \
        -c "create table told (n bigint primary key)"
    "${su[@]}" "$PG_BIN/pg_ctl" -s -w -m fast -D "$1/main" stop
}

# pg_client ADDRESSES FILE: writes row after row, each on a connection of its own, to whichever of the servers takes it, and keeps
# in FILE those that were acknowledged, as "NUMBER MS". While FILE.on exists.
pg_client() {
    local n=0
    touch "$2" "$2.on"
    while [ -e "$2.on" ]; do
        n=$((n + 1))
        if PGCONNECT_TIMEOUT=2 timeout 5 "$PG_BIN/psql" -qX -v ON_ERROR_STOP=1 \
            -d "host=$1 port=$PG_PORT user=postgres dbname=postgres target_session_attrs=read-write" \
            -c "insert into told values ($n)" >/dev/null 2>&1; then
            echo "$n $(date +%s%3N)" >>"$2"
        else
            sleep 0.02
        fi
    done
}

# pg_lost ADDRESSES FILE: how many of the acknowledged rows are not there.
pg_lost() {
    cut -d' ' -f1 "$2" | sort >"$2.told"
    "$PG_BIN/psql" -qAtX -v ON_ERROR_STOP=1 \
        -d "host=$1 port=$PG_PORT user=postgres dbname=postgres target_session_attrs=read-write connect_timeout=5" \
        -c 'select n from told' | sort >"$2.there"
    comm -23 "$2.told" "$2.there" | wc -l
}
