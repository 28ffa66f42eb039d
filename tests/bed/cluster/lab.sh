# The lab: several hosts on this machine, each in namespaces of its own (processes, mounts, network, name), joined by
# bridges. The lab as a whole is such a namespace too: when its first process ends, well or not, the kernel ends every process,
# mount, cable and bridge in it, and nothing of the machine's own is touched. Sourced by bash scripts, after lib.sh.
# shellcheck shell=bash

LAB_HERE=$(dirname "${BASH_SOURCE[0]}")
# What `host` and `power` read. LAB_GUESTS are guests as "NAME=CID ...", LAB_WATCHDOG the library of watchdog.c.
# With LAB_BRIDGE=yes the hosts' VMs are on their networks: a host's address is at a bridge, br1, with its port in it.
LAB_LINKS=1 LAB_BRIDGE=no LAB_LIBVIRT=no LAB_GUESTS='' LAB_WATCHDOG='' LAB_ROOSTD=$BED_TARGET/release/roostd
LAB_VSOCK=$BED_CACHE/bin/vhost-device-vsock

# lab_build hosts|guests: installs and builds what a lab of hosts alone, or of hosts with real guests, stands on. Before lab_enter.
# ROOST_BUILT=1 takes what was built before as it is.
lab_build() {
    [ -z "${ROOST_LAB:-}" ] || return 0
    [ "$(id -u)" = 0 ] || die "only root can make namespaces: run it as root"
    [ -z "${ROOST_BUILT:-}" ] || return 0
    bed_install_build
    bed_packages iproute2 socat jq procps
    echo "building"
    (cd "$BED_ROOT" && cargo build --quiet --release -p roost)
    if [ "$1" = guests ]; then
        bed_install_vm
        (cd "$BED_ROOT" && cargo build --quiet --release -p roost-guest --target "$GUEST_TARGET")
    fi
}

# lab_enter ARGUMENT...: runs this script again, as the first process of a new lab with the folder LAB, and ends with it.
# Inside of the lab it returns.
lab_enter() {
    if [ -n "${ROOST_LAB:-}" ]; then
        LAB=$ROOST_LAB
        lab_set_up
        return
    fi
    LAB=$(mktemp -d /tmp/roost-lab.XXXXXX)
    { : <&0; } 2>/dev/null || exec </dev/null # as in CI, where there is no standard input
    # Whatever ends this script ends the lab.
    ROOST_LAB=$LAB setpriv --pdeathsig KILL unshare --mount --propagation private --pid --mount-proc --net --fork --kill-child \
        bash "$0" "$@" <&0 &
    local lab=$! status=0
    # shellcheck disable=SC2064 # the number is known now
    trap "kill -KILL $lab 2>/dev/null" INT TERM
    wait "$lab" || status=$?
    if [ -z "${ROOST_LAB_KEEP:-}" ]; then
        until rm -rf "$LAB" 2>/dev/null; do sleep 0.1; done # what ran in it may take a moment to be gone
    else
        echo "what it left is in $LAB" >&2
    fi
    exit "$status"
}

lab_set_up() {
    local link
    mount -t tmpfs lab /run # the hosts' /run/bed is in it
    mkdir -p /run/bed "$LAB"/{hosts,power,sbin}
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
    ip link set lo up
    for link in 1 2; do
        ip link add "bridge$link" type bridge forward_delay 0 mcast_snooping 0
        ip link set "bridge$link" up
    done
    cp "$LAB_HERE/../qemu.conf" "$LAB/qemu.conf"
    sed "s|@LAB@|$LAB|" "$LAB_HERE/fence_bed" >"$LAB/sbin/fence_bed"
    chmod 755 "$LAB/sbin/fence_bed"
    (umask 077 && "$BED_TARGET/release/roost" keygen "$LAB/key" >/dev/null)
    touch "$LAB/power/log"
    socat -t 60 "UNIX-LISTEN:$LAB/power/socket,fork" "EXEC:$LAB_HERE/power $LAB --serve" &
}

# lab_host HOST: a new machine with an empty disk, its configuration and key; it is off.
lab_host() {
    local disk=$LAB/hosts/$1
    rm -rf "$disk"
    mkdir -p "$disk/vms"
    tr -d - </proc/sys/kernel/random/uuid >"$disk/machine-id"
    cp "$LAB/roost.toml" "$LAB/key" "$disk/"
    cp "$LAB"/vms/*.xml "$disk/vms/"
}

# lab_capabilities HOST: keeps what its libvirt found out about QEMU, for every boot of every host after it.
lab_capabilities() {
    local found
    found=/proc/$(<"$LAB/power/$1.pid")/root/var/cache/libvirt
    await 60 "libvirtd answers on $1" virsh -q -c "qemu:///system?socket=$LAB/hosts/$1/libvirt/libvirt-sock" domcapabilities
    cp -r "$found" "$LAB/capabilities"
}

lab_conf() {
    declare -p LAB_LINKS LAB_BRIDGE LAB_LIBVIRT LAB_GUESTS LAB_WATCHDOG LAB_ROOSTD LAB_VSOCK >"$LAB/lab.conf"
}

# Events from here on are looked at, of every host of HOSTS.
declare -A MARK=()
mark() {
    local host
    for host in "${HOSTS[@]}"; do MARK[$host]=$(last_event "$host"); done
}
# tell SECONDS TEXT HOST...: waits until one of these hosts tells it, and says so, with that host's time. In AT and EVENT_HOST.
tell() {
    local end=$((SECONDS + $1)) text=$2 host event
    shift 2
    while :; do
        for host in "$@"; do
            event=$(events_since "$host" "${MARK[$host]}" ".text | contains(\"$text\")" | head -n 1) || true
            [ -z "$event" ] || break 2
        done
        [ "$SECONDS" -lt "$end" ] || die "this did not happen in time on $*: '$text'"
        sleep 0.1
    done
    AT=$(jq -r .at_ms <<<"$event")
    say_at "$AT" "$host: $(jq -r '(.group // empty | . + ": ") // "", .text' <<<"$event" | tr -d '\n')"
}

# power HOST on|off|status|reset|cut|mend
power() { "$LAB_HERE/power" "$LAB" "$@"; }

# lab_dark HOST...: all of them are off, and none was switched on again by the agent of another.
lab_dark() {
    local host
    for host in "$@"; do touch "$LAB/power/$host.unreachable"; done
    for host in "$@" "$@"; do power "$host" off; done
    for host in "$@"; do rm -f "$LAB/power/$host".{unreachable,cut,slow,late,broken}; done
}

# roost_on HOST ARGUMENT...: the operator's command there.
roost_on() {
    local host=$1
    shift
    "$BED_TARGET/release/roost" --socket "$LAB/hosts/$host/run/roostd.sock" "$@"
}

# The number that roostd of a host has in the lab.
roostd_of() { pgrep --ns "$(<"$LAB/power/$1.pid")" --nslist pid -x roostd; }

# status_of HOST FILTER: something of its status, by jq; nothing when it does not answer. (The exit status of `roost status`
# tells of health.)
status_of() { { roost_on "$1" status --json 2>/dev/null || true; } | jq -r "$2"; }

# is_settled HOST NUMBER: by that host's word somebody leads, so many hosts are up and vote (the voters of a new cluster are
# taken in one by one), and every group is in one of the conditions LAB_SETTLED.
LAB_SETTLED='"online", "elsewhere"'
is_settled() {
    [ "$(status_of "$1" "(.hosts | map(select(.state == \"up\" and .votes)) | length == $2) and (.hosts | any(.leads))
        and (.groups | all(.owner != null and (.condition | IN($LAB_SETTLED))))")" = true ]
}
# are_settled HOST...: by the word of each of them.
are_settled() {
    local host
    for host in "$@"; do is_settled "$host" $# || return 1; done
}

# last_event HOST: the number of its newest event. events_since HOST NUMBER FILTER: those after it that a jq filter selects.
last_event() { roost_on "$1" events --json | tail -n 1 | jq -r .seq; }
events_since() { roost_on "$1" events --since "$2" --json 2>/dev/null | jq -c "select($3)"; }
