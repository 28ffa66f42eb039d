# Two small services on the standby bed: orders, whose standby VM is warm, and reports, whose standby VM is cold. Sourced by bash
# scripts, after bed.sh.
# shellcheck shell=bash disable=SC2034

LAB_GUESTS="warm=3 cold=4"

# services_stage: makes the guests, and switches everything on.
services_stage() {
    local vm app accelerator
    accelerator=$(bed_accelerator "$LAB")
    mkdir -p "$LAB/vms"
    for vm in warm=orders cold=reports; do
        app=${vm#*=} vm=${vm%=*}
        { printf '[controller]\nlink = "vsock"\n\n' && bed_service "$app" "${ADDRESS[vm:$vm]}" /srv/www; } >"$LAB/$vm.toml"
        bed_initramfs "$LAB/vms/$vm.img" "$BED_TARGET/$GUEST_TARGET/release/roost-guest" "$LAB/$vm.toml"
        bed_network_boot "$LAB/$vm.tree" "${ADDRESS[vm:$vm]}"
        bed_add "$LAB/vms/$vm.img" "$LAB/$vm.tree"
        bed_domain /run/bed "$vm" "$accelerator" "$(bed_network "${ADDRESS[vm:$vm]}")" |
            sed "s|/guest.img|/$vm.img|" >"$LAB/vms/$vm.xml"
    done
    mkdir -p "$LAB/www"
    echo "all is well" >"$LAB/www/index.html"
    { printf '[controller]\nlink = "unix:/run/bed/run/guest.sock"\n\n' &&
        bed_service orders "${ADDRESS[db1]}" "$LAB/www" && bed_service reports "${ADDRESS[db1]}" "$LAB/www"; } >"$LAB/db1.toml"
    cp "$BED_STANDBY/roost.toml" "$LAB/roost.toml"
    bed_hosts
    await 120 "every host is up" are_there
    await 120 "the warm VM is up" is_up warm
    await 60 "orders are on db1" is_at orders db1
    await 60 "reports are on db1" is_at reports db1
}
