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

# lab_index HOST: prints its index.
lab_index() {
    local i
    for i in "${!LAB_HOSTS[@]}"; do
        [ "${LAB_HOSTS[i]}" != "$1" ] || { echo $((i + 1)); return; }
    done
    die "there is no host '$1': they are ${LAB_HOSTS[*]}"
}

inside() { ip netns exec "$LAB_NETNS" "$@"; }
