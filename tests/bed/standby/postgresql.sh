# Two PostgreSQL servers with the example's script, and a client that remembers what it was told. Sourced by bash scripts,
# after lib.sh.
# shellcheck shell=bash

PG_EXAMPLE=$BED_ROOT/man/examples/postgresql
PG_BIN=/usr/lib/postgresql/15/bin
PG_PORT=5432

pg_install() { bed_packages postgresql util-linux; }

# pg_server DIR NAME ADDRESS PEER PEER_ADDRESS: what is on the disk of a server before it has a database. PG_AT is where DIR will be,
# PG_RUN what a boot clears.
pg_server() {
    local dir=${PG_AT:-$1}
    mkdir -p "$1"/{conf.d,sockets,state}
    sed "s|^NAME=.*|NAME=$2|; s|^PEER=.*|PEER=$4|; s|^PEER_HOST=.*|PEER_HOST=$5|
        s|^DATA=.*|DATA=$dir/main|; s|^CONFIG=.*|CONFIG=$dir/postgresql.conf|; s|^SETTINGS=.*|SETTINGS=$dir/conf.d/roost.conf|
        s|^SOCKETS=.*|SOCKETS=$dir/sockets|; s|^LOG=.*|LOG=$dir/log|; s|^STATE=.*|STATE=$dir/state|; s|^RUN=.*|RUN=${PG_RUN:-/run/roost-postgres}|" \
        "$PG_EXAMPLE/postgres.conf" >"$1/postgres.conf"
    sed "s|^listen_addresses.*|listen_addresses = '$3'|" "$PG_EXAMPLE/postgresql.conf" >"$1/conf.d/standby.conf"
    cat >"$1/postgresql.conf" <<END
data_directory = '$dir/main'
hba_file = '$dir/pg_hba.conf'
ident_file = '$dir/pg_ident.conf'
unix_socket_directories = '$dir/sockets'
shared_buffers = '16MB'
jit = off
include_dir = 'conf.d'
END
    printf 'local all all trust\nhost all all all trust\nhost replication all all trust\n' >"$1/pg_hba.conf"
    touch "$1/pg_ident.conf" "$1/log"
    chown -R postgres:postgres "$1"
}

# pg_database DIR: a new database, with the role of the example and a table for the client. It is down afterwards.
pg_database() {
    local su=(setpriv --reuid postgres --regid postgres --init-groups --)
    "${su[@]}" "$PG_BIN/initdb" -D "$1/main" -E UTF8 --locale C -N >/dev/null
    "${su[@]}" "$PG_BIN/pg_ctl" -s -w -D "$1/main" -l "$1/log" -o "-c config_file=$1/postgresql.conf -c listen_addresses=" start
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

# pg_root TREE: the root of a small machine that has PostgreSQL and the example's script, from what Debian installed here.
pg_root() {
    local tree=$1 program
    mkdir -p "$tree"/{bin,dev,etc/roost,lib,lib64,proc,run,srv,sys,tmp,root,usr/{bin,sbin,lib/postgresql/15,share}}
    chmod 1777 "$tree/tmp"
    for program in dash:/bin/sh mawk:/usr/bin/awk busybox:/bin/busybox sed:/bin/sed flock:/usr/bin/flock setpriv:/usr/bin/setpriv \
        install:/usr/bin/install sync:/bin/sync id:/usr/bin/id; do
        cp "$(command -v "${program%%:*}")" "$tree${program#*:}"
    done
    cp -r /usr/lib/postgresql/15/{bin,lib} "$tree/usr/lib/postgresql/15/"
    rm -rf "$tree"/usr/lib/postgresql/15/lib/{bitcode,llvmjit*}
    cp -r /usr/share/zoneinfo "$tree/usr/share/"
    mkdir "$tree/usr/share/postgresql"
    cp -r /usr/share/postgresql/15 "$tree/usr/share/postgresql/"
    # The libraries, where the programs look for them.
    { find "$tree/bin" "$tree/usr/bin" "$tree/usr/lib/postgresql" -type f -exec ldd {} + 2>/dev/null || true; } | # some are none
        awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u |
        while read -r program; do cp -L --parents "$program" "$tree/"; done
    printf 'root:x:0:0:root:/root:/bin/sh\npostgres:x:%s:%s::/tmp:/bin/sh\n' "$(id -u postgres)" "$(id -g postgres)" >"$tree/etc/passwd"
    printf 'root:x:0:\npostgres:x:%s:\n' "$(id -g postgres)" >"$tree/etc/group"
    install -m 755 "$PG_EXAMPLE/roost-postgres" "$tree/usr/sbin/"
}
