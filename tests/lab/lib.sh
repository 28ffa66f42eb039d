# The lab: its places, and what its scripts have in common. Sourced by bash scripts.
# shellcheck shell=bash disable=SC2034 # its variables are for those who source it

LAB_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bed/lib.sh
. "$LAB_HERE/../bed/lib.sh"
LAB=${ROOST_LAB:-/var/tmp/roost-lab}
LAB_IMAGE=$BED_CACHE/lab
LAB_NETNS=${ROOST_LAB_NETNS:-roost-lab}
LAB_MIRROR='deb http://deb.debian.org/debian bookworm main'
LAB_MIRROR_SECURITY='deb http://deb.debian.org/debian-security bookworm-security main'
# The hosts by their indexes from 1 on: hypervisors, and the witness. Theirs are 10.77.0.INDEX and 10.77.1.INDEX, and their BMCs'
# 10.77.0.(100 + INDEX).
LAB_HOSTS=(h1 h2 h3 w)
LAB_GUESTS=(alpha beta gamma shop)
# A host's machine. One processor for each: QEMU 7.2's TCG keeps translations of code that another processor has patched meanwhile,
# as Linux does with its static branches, so that a host with two hung now and then for ever in an int3 that was no longer there.
# What is left out of its processor is what makes TCG slowest: with erms Linux copies byte by byte, and each stac and clac of smap
# ends a translation.
LAB_MACHINE=(-nodefaults -display none -accel "tcg,thread=multi" -M q35 -cpu "max,+svm,-erms,-smap,-pku,-mpx" -smp 1 -rtc base=utc)
# What its kernel is told: no mitigations, and the clock that costs least to read, which QEMU keeps in step.
LAB_BOOT="root=/dev/vda console=ttyS0 quiet net.ifnames=0 mitigations=off tsc=reliable"

# lab_index HOST: prints its index.
lab_index() {
    local i
    for i in "${!LAB_HOSTS[@]}"; do
        [ "${LAB_HOSTS[i]}" != "$1" ] || { echo $((i + 1)); return; }
    done
    die "there is no host '$1': they are ${LAB_HOSTS[*]}"
}

# lab_kernel VMLINUZ FILE: the kernel without its packing, of which QEMU needs none, and which takes an emulated processor seconds.
lab_kernel() {
    local magic at
    for magic in '\xfd7zXZ\x00=xz -dc' '\x02!L\x18=lz4 -dc'; do
        at=$(LC_ALL=C grep -abo -m 1 -P "${magic%%=*}" "$1" | head -n 1 | cut -d: -f1) || true
        [ -n "$at" ] || continue
        # What stands behind it is not its own, and is complained of.
        tail -c "+$((at + 1))" "$1" | ${magic#*=} >"$2.new" 2>/dev/null || true
        [ "$(head -c 4 "$2.new")" != $'\x7fELF' ] || { mv "$2.new" "$2"; return; }
    done
    rm -f "$2.new"
    die "'$1' is packed in a way that is not known here"
}

inside() { ip netns exec "$LAB_NETNS" "$@"; }
