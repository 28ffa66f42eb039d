# The standby bed: a lab with db1, a machine that runs applications itself, and hv2 and hv3, whose VMs are its standbys. Clients
# outside ask each place where an application may run. Sourced by bash scripts, after cluster/lab.sh and words.sh.
# shellcheck shell=bash disable=SC2034 # its variables are for those who source it

BED_STANDBY=$BED_ROOT/tests/bed/standby
HOSTS=(db1 hv2 hv3)
ASKERS=()
LAB_LIBVIRT=yes LAB_BRIDGE=yes
# The network address of each place, and the port of each application.
declare -A ADDRESS=([db1]=10.1.0.1 [vm:warm]=10.1.0.8 [vm:cold]=10.1.0.9)
declare -A PORT=([orders]=8001 [reports]=8002)

disk() { echo "$LAB/hosts/$1"; }

# bed_network ADDRESS: the device of a VM on its host's network.
bed_network() {
    printf "<interface type='bridge'><mac address='52:54:00:00:00:%02d'/><source bridge='br1'/><model type='virtio'/></interface>" \
        "${1##*.}"
}

# bed_add FILE DIR: what is in DIR comes into a guest's initramfs, too.
bed_add() {
    (cd "$2" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >>"$1"
}

# bed_network_boot DIR ADDRESS: what a guest does at boot, to have a network; with the modules for it.
bed_network_boot() {
    local module
    mkdir -p "$1/etc" "$1/lib"
    for module in failover net_failover virtio_net; do
        cp "$(find "$BED_CACHE/kernel/lib/modules" -name "$module.ko" | head -n 1)" "$1/lib/"
    done
    cat >"$1/etc/boot" <<END
#!/bin/sh
for module in failover net_failover virtio_net; do insmod "/lib/\$module.ko"; done
ip address add $2/24 dev eth0
ip link set eth0 up
END
    chmod 755 "$1/etc/boot"
}

# bed_service GROUP ADDRESS ROOT: the managed group of a small service, for a guest.toml.
bed_service() {
    cat <<END
[[group]]
name = "$1"
managed = true

[[group.resource]]
name = "service"
kind = "process"
command = ["/bin/busybox", "httpd", "-f", "-p", "$2:${PORT[$1]}", "-h", "$3"]
stop_timeout = "5s"

END
}

# bed_application_host HOST: what such a machine starts beside roostd: the controller, with what is in /run of its own.
bed_application_host() {
    cat >"$(disk "$1")/boot" <<'END'
#!/bin/sh
for place in /run/roost-guest /run/roost-postgres; do
    mkdir -p "$place"
    mount -t tmpfs guest "$place"
done
while :; do
    roost-guest --config /run/bed/guest.toml
    sleep 0.1
done
END
    chmod 755 "$(disk "$1")/boot"
}

# bed_hosts: all of them, with power. What guest.toml db1 has, and which VMs there are, is in LAB already.
bed_hosts() {
    local host
    ip address add 10.1.0.100/24 dev bridge1 # the clients'
    install -m 755 "$BED_TARGET/$GUEST_TARGET/release/roost-guest" "$LAB/sbin/"
    lab_conf
    for host in "${HOSTS[@]}"; do
        lab_host "$host"
        if [ "$host" = db1 ]; then
            bed_application_host db1
            cp "$LAB/db1.toml" "$(disk db1)/guest.toml"
        else
            cp "$LAB"/vms/*.img "$(disk "$host")/"
        fi
        power "$host" on
        [ "$host" != hv2 ] || lab_capabilities hv2
    done
}

# bed_break HOST: everything on it is killed, and it does not start again; its outlet takes 1 s for each answer. bed_repair HOST.
bed_break() {
    echo 1 >"$LAB/power/$1.late"
    touch "$LAB/power/$1.broken"
    power "$1" off
}
bed_repair() {
    rm "$LAB/power/$1".{late,broken}
    power "$1" on
}

# --- applications ----------------------------------------------------------------------------------------------------------
# is_at APP TARGET: it is well there, by the word of hv2.
is_at() {
    [ "$(status_of hv2 ".groups[] | select(.name == \"$1\") | .condition, .target" | xargs)" = "online $2" ]
}
# is_up GROUP: the VM is well, and its controller has spoken.
is_up() {
    [ "$(status_of hv2 ".groups[] | select(.name == \"$1\") | .condition, .controller" | xargs)" = "online connected" ]
}
are_there() {
    [ "$(status_of hv2 '(.hosts | map(select(.state == "up" and .votes)) | length == 3) and (.hosts | any(.leads))')" = true ]
}

# ask APP TARGET: a client, in the background, which notes each answer in LAB/answers, as "APP TARGET MS". While LAB/asks exists.
ask() {
    touch "$LAB/asks" "$LAB/answers"
    asker "$1" "$2" "http://${ADDRESS[$2]}:${PORT[$1]}/" &
    ASKERS+=($!)
}
asker() {
    while [ -e "$LAB/asks" ]; do
        if curl -s -o /dev/null --max-time 0.5 "$3"; then
            echo "$1 $2 $((${EPOCHREALTIME/./} / 1000))" >>"$LAB/answers"
        fi
        sleep "${PAUSE:-0.1}"
    done
}
ask_no_more() {
    rm "$LAB/asks"
    wait "${ASKERS[@]}"
}
# answered APP TARGET SINCE: AT, the first answer there after that.
answered() {
    AT=$(awk -v app="$1" -v target="$2" -v since="$3" '$1 == app && $2 == target && $3 > since { print $3; exit }' "$LAB/answers")
    [ -n "$AT" ]
}
# last_answer APP TARGET
last_answer() {
    awk -v app="$1" -v target="$2" '$1 == app && $2 == target { at = $3 } END { print at + 0 }' "$LAB/answers"
}
# twice: says which application answered in two places at once: in one, between two answers in another that are close together.
twice() {
    sort -s -k 1,1 -k 3,3n "$LAB/answers" | awk '
        $1 != app { app = $1; first = second = "" }
        first == $2 && second != "" && second != $2 && $3 - first_at < 1000 {
            print $1 " answered at " second " between two answers at " $2; exit }
        { first = second; first_at = second_at; second = $2; second_at = $3 }'
}
# is_off VM: no host has it running.
is_off() {
    local host
    for host in hv2 hv3; do
        [ "$(virsh -q -c "qemu:///system?socket=$(disk "$host")/libvirt/libvirt-sock" domstate "$1" 2>/dev/null)" != running ] || return 1
    done
}
last_words() {
    local host
    for host in "${HOSTS[@]}"; do
        echo "--- the last events of $host" >&2
        tail -n 25 "$(disk "$host")/roostd.log" >&2 || true
    done
    echo "--- db1's controller" >&2
    tail -n 10 "$(disk db1)/boot.log" >&2 || true
}
