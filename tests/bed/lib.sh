# The test bed: a private libvirtd and a small real guest. Sourced by bash scripts.
# Nothing here touches the machine's own libvirt, and no AF_VSOCK socket is opened outside of a guest.
# shellcheck shell=bash disable=SC2034 # its variables are for those who source it

BED_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BED_CACHE=${ROOST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roost}
BED_TARGET=${CARGO_TARGET_DIR:-$BED_ROOT/target}
VSOCK_DEVICE_VERSION=0.3.0
CARGO_DENY_VERSION=0.20.2
CARGO_DEB_VERSION=3.8.0
CARGO_RPM_VERSION=0.21.1
GUEST_TARGET=x86_64-unknown-linux-musl
# Loading order matters: each module stands after those that it needs.
GUEST_MODULES="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci vsock \
vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport button evdev"

die() {
    echo "$0: $*" >&2
    exit 1
}

# await SECONDS WHAT COMMAND...: runs COMMAND until it succeeds; fails loudly when the time is over.
await() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || die "gave up waiting: $what"
        sleep 0.02
    done
}

# Installs those of the named Debian packages that are missing.
bed_packages() {
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# Everything that is needed to build the project.
bed_install_build() {
    bed_packages gcc g++ pkg-config libvirt-dev musl-tools
    command -v cargo >/dev/null || die "no cargo: install Rust first (https://rustup.rs)"
    (cd "$BED_ROOT" && rustup target list --installed | grep -qx "$GUEST_TARGET") ||
        (cd "$BED_ROOT" && rustup target add "$GUEST_TARGET")
}

# bed_tool CRATE VERSION: a program from crates.io, at this very version, in the cache.
bed_tool() {
    [ "$("$BED_CACHE/bin/$1" --version 2>/dev/null)" = "$1 $2" ] && return
    echo "building $1 $2 (once, some minutes)"
    (cd / && CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        cargo install --quiet --locked --force --root "$BED_CACHE" "$1" --version "$2") || die "'$1' could not be built"
}

# What makes packages of what was built.
bed_install_packagers() {
    bed_tool cargo-deb "$CARGO_DEB_VERSION"
    bed_tool cargo-generate-rpm "$CARGO_RPM_VERSION"
}

# Everything that is needed to run a real VM.
bed_install_vm() {
    bed_packages qemu-system-x86 libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients \
        busybox-static iproute2 cpio kmod socat jq
    mkdir -p "$BED_CACHE"
    if ! [ -x "$BED_CACHE/bin/vhost-device-vsock" ]; then
        echo "building vhost-device-vsock (once, about a minute)"
        (cd / && cargo install --quiet --locked --root "$BED_CACHE" vhost-device-vsock --version "$VSOCK_DEVICE_VERSION")
    fi
    bed_install_kernel
}

# Debian's cloud kernel and its modules, unpacked and not installed.
bed_install_kernel() {
    compgen -G "$BED_CACHE/kernel/boot/vmlinuz-*" >/dev/null && return
    local work package
    work=$(mktemp -d)
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
    [ -n "$package" ] || { apt-get update -qq; package=$(apt-cache depends linux-image-cloud-amd64 |
        awk '/Depends: linux-image/ { print $2; exit }'); }
    [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64"
    (cd "$work" && apt-get download -qq "$package" && dpkg-deb -x "$package"*.deb tree) ||
        die "the kernel package '$package' could not be fetched"
    rm -rf "$BED_CACHE/kernel"
    mv "$work/tree" "$BED_CACHE/kernel"
    rm -rf "$work"
}

bed_kernel() {
    compgen -G "$BED_CACHE/kernel/boot/vmlinuz-*" | head -n 1
}

# bed_initramfs FILE CONTROLLER CONFIG [INIT]: a guest of busybox, the modules, the controller and its configuration.
bed_initramfs() {
    local file=$1 controller=$2 config=$3 init=${4:-$BED_ROOT/tests/bed/guest-init} tree module path
    tree=$(mktemp -d)
    mkdir -p "$tree"/{bin,lib,usr/sbin,etc/roost,etc/acpi/PWRF,srv/www}
    cp /bin/busybox "$tree/bin/busybox"
    for module in $GUEST_MODULES; do
        path=$(find "$BED_CACHE/kernel/lib/modules" -name "$module.ko" | head -n 1)
        [ -n "$path" ] || die "Debian's kernel has no module '$module'"
        cp "$path" "$tree/lib/"
        echo "$module"
    done >"$tree/lib/order"
    cp "$controller" "$tree/usr/sbin/roost-guest"
    cp "$config" "$tree/etc/roost/guest.toml"
    cp "$init" "$tree/init"
    cp "$BED_ROOT/tests/bed/web" "$tree/usr/sbin/web"
    cp "$BED_ROOT/tests/bed/power-button" "$tree/etc/acpi/PWRF/00000080"
    echo "all is well" >"$tree/srv/www/index.html"
    chmod 755 "$tree/init" "$tree/usr/sbin/web" "$tree/etc/acpi/PWRF/00000080"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$file"
    rm -rf "$tree"
}

# Starts a libvirtd of our own, for the folder $1, whose socket is $1/libvirt/libvirt-sock.
bed_libvirtd() {
    local dir=$1
    mkdir -p "$dir"/libvirt/{etc,state}
    cat >"$dir/libvirt/etc/libvirtd.conf" <<EOF
unix_sock_dir = "$dir/libvirt"
auth_unix_rw = "none"
log_outputs = "3:file:$dir/libvirt/libvirtd.log"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
EOF
    cp "$BED_ROOT/tests/bed/qemu.conf" "$dir/libvirt/etc/qemu.conf"
    # Its /run, /var/lib and /etc are tmpfs of its own mount namespace.
    # shellcheck disable=SC2016 # the inner shell expands
    unshare --mount --propagation private bash -c '
        for place in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt; do
            mkdir -p "$place" && mount -t tmpfs bed "$place"
        done
        cp "$1/libvirt/etc/qemu.conf" /etc/libvirt/
        exec libvirtd -f "$1/libvirt/etc/libvirtd.conf" -p "$1/libvirt/libvirtd.pid"' - "$dir" \
        >"$dir/libvirt/libvirtd.out" 2>&1 &
    BED_LIBVIRTD=$!
    BED_URI="qemu:///system?socket=$dir/libvirt/libvirt-sock"
    await 60 "libvirtd answers (see $dir/libvirt/libvirtd.log)" virsh -q -c "$BED_URI" version
}

# bed_accelerator DIR: kvm if a guest really starts with it, tcg otherwise. That /dev/kvm exists tells too little.
bed_accelerator() {
    local tree=$1/probe
    mkdir -p "$tree/bin"
    cp /bin/busybox "$tree/bin/"
    printf '#!/bin/busybox sh\necho "guest: works" >/dev/ttyS0\n/bin/busybox poweroff -f\n' >"$tree/init"
    mkdir -p "$tree/dev"
    mknod "$tree/dev/ttyS0" c 4 64
    mknod "$tree/dev/console" c 5 1
    chmod 755 "$tree/init"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) >"$1/probe.img"
    rm -rf "$tree"
    # In a shell of its own, which keeps to itself that QEMU was aborted.
    if [ -e /dev/kvm ] && (timeout 20 qemu-system-x86_64 -accel kvm -cpu host -M q35 -m 128M -nodefaults -display none \
        -no-reboot -serial "file:$1/probe.out" -kernel "$(bed_kernel)" -initrd "$1/probe.img" \
        -append "console=ttyS0 quiet panic=-1"; true) >/dev/null 2>&1 && grep -qs "guest: works" "$1/probe.out"; then
        echo kvm
    else
        echo tcg
    fi
}

# bed_domain DIR NAME ACCELERATOR [DEVICES [MIB]]: the definition of a small guest.
bed_domain() {
    local dir=$1 name=$2 devices=${4:-} mib=${5:-128} type=qemu cpu=maximum
    [ "$3" != kvm ] || { type=kvm; cpu=host-passthrough; }
    cat <<EOF
<domain type='$type' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>$name</name>
  <memory unit='MiB'>$mib</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$(bed_kernel)</kernel>
    <initrd>$dir/guest.img</initrd>
    <cmdline>console=ttyS0 quiet panic=1 rdinit=/init</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='$cpu'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='$dir/$name.console' append='on'/><target port='0'/></serial>
    <serial type='unix'><source mode='bind' path='$dir/$name.shell'/><target port='1'/></serial>
    <video><model type='vga'/></video>
    <memballoon model='none'/>
    $devices
  </devices>
  <qemu:commandline>
    <qemu:arg value='-chardev'/><qemu:arg value='socket,id=vsock,path=$dir/$name.vhost'/>
    <qemu:arg value='-device'/><qemu:arg value='vhost-user-vsock-pci,chardev=vsock,addr=0x10'/>
  </qemu:commandline>
</domain>
EOF
}

# bed_vsock DIR NAME CID: the device behind the guest's vsock, for all lives of the VM.
bed_vsock() {
    rm -f "$1/$2.vhost" "$1/$2.vsock"
    "$BED_CACHE/bin/vhost-device-vsock" --vm "guest-cid=$3,socket=$1/$2.vhost,uds-path=$1/$2.vsock" \
        >"$1/$2.vsock.log" 2>&1 &
    BED_VSOCK=$!
    await 10 "vhost-device-vsock listens" test -S "$1/$2.vhost"
}

# bed_guest DIR NAME COMMAND: runs a line in the guest's shell and prints what it prints.
bed_guest() {
    local line pid status=
    coproc SHELL_IO { socat - "UNIX-CONNECT:$1/$2.shell"; }
    pid=$SHELL_IO_PID
    printf '%s; echo "@@$?"\n' "$3" >&"${SHELL_IO[1]}"
    while IFS= read -r -t 30 -u "${SHELL_IO[0]}" line; do
        line=${line%$'\r'}
        case $line in
        *@@*) status=${line##*@@}; break ;;
        *) printf '%s\n' "$line" ;;
        esac
    done
    kill "$pid" 2>/dev/null || true # it may have ended
    wait "$pid" 2>/dev/null || true
    return "${status:-255}"
}
