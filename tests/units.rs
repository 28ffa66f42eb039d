//! What is installed beside the programs: systemd's own tools read it, in a root of the test's making.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// systemd's own score of a unit's exposure, 0 to 10: what `roostd.service` has reached. It is raised by a person only.
const MOST_EXPOSURE: f64 = 2.4;

struct Root(PathBuf);

impl Root {
    /// A root with the units, stand-ins for the programs that they start, and the units of systemd that they name.
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("roost-units-{name}-{}", std::process::id()));
        let units = root.join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).expect("a new folder");
        for program in ["usr/sbin/roostd", "usr/bin/roost", "usr/sbin/roost-guest", "bin/sh"] {
            let program = root.join(program);
            std::fs::create_dir_all(program.parent().expect("it has one")).expect("a new folder");
            std::fs::copy("/bin/true", program).expect("a copy");
        }
        for file in std::fs::read_dir("/lib/systemd/system").expect("systemd's own units") {
            let file = file.expect("a file").path();
            if file.extension().is_some_and(|kind| kind == "target" || kind == "slice") && file.is_file() {
                std::fs::copy(&file, units.join(file.file_name().expect("a name"))).expect("a copy");
            }
        }
        for unit in ["roostd.service", "roost-guest.service"] {
            std::fs::copy(shipped(unit), units.join(unit)).expect("a copy");
        }
        Self(root)
    }

    fn option(&self) -> String {
        format!("--root={}", self.0.display())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn systemd_understands_the_units() {
    let root = Root::new("verify");
    let (good, text) = run(
        "systemd-analyze",
        &["verify", "--man=no", &root.option(), "roostd.service", "roost-guest.service"],
    );
    assert!(good && text.is_empty(), "{text}");
}

#[test]
fn roostd_is_as_confined_as_it_was() {
    let (_, text) = run(
        "systemd-analyze",
        &["security", "--offline=true", "--no-pager", shipped("roostd.service").to_str().expect("text")],
    );
    let line = text.lines().find(|line| line.contains("Overall exposure level")).expect("the score");
    let score: f64 = line
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("a number")
        .parse()
        .expect("a number");
    assert!(score <= MOST_EXPOSURE, "{text}");
}

/// Each exception from what could be confined is explained where it is made.
#[test]
fn the_controllers_applications_outlive_it() {
    let unit = std::fs::read_to_string(shipped("roost-guest.service")).expect("the unit");
    for line in ["KillMode=process", "RuntimeDirectoryPreserve=yes", "Restart=always"] {
        assert!(unit.lines().any(|l| l == line), "{line} is missing, and applications would not survive");
    }
    let unit = std::fs::read_to_string(shipped("roostd.service")).expect("the unit");
    for line in [
        "KillMode=process",
        "Restart=always",
        "RuntimeDirectoryPreserve=yes", // the lease, which the next life goes on with
        "Type=notify",
        "WatchdogSec=10s",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line} is missing");
    }
}

/// What it is for shows `tests/lab/run busy-host`.
#[test]
fn roostd_computes_before_other_services() {
    assert_eq!(values("CPUWeight"), ["10000"]);
}

/// It would be taken from the applications too: see the unit.
#[test]
fn the_controllers_unit_takes_nothing_from_applications() {
    let (_, text) = run(
        "systemd-analyze",
        &["security", "--offline=true", "--no-pager", shipped("roost-guest.service").to_str().expect("text")],
    );
    // A mark stands before what confines. What every service has confines nothing that an application does.
    let usual =
        ["KeyringMode=", "SupplementaryGroups=", "NotifyAccess=", "AmbientCapabilities=", "Delegate="];
    let confined: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('✓'))
        .filter(|line| !usual.iter().any(|key| line.contains(key)))
        .collect();
    assert!(text.contains("Overall exposure level"), "{text}");
    assert!(confined.is_empty(), "{confined:?}");
}

/// The values of a key of `roostd.service`, over all its lines.
fn values(key: &str) -> Vec<String> {
    let unit = std::fs::read_to_string(shipped("roostd.service")).expect("the unit");
    let of_key = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    unit.lines()
        .filter_map(of_key)
        .flat_map(|value| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_cluster_is_possible_in_the_sandbox() {
    for (key, needed) in [
        ("RestrictAddressFamilies", &["AF_UNIX", "AF_VSOCK", "AF_INET", "AF_INET6"][..]), // libvirt, guests, hosts
        ("CapabilityBoundingSet", &["CAP_NET_BIND_SERVICE", "CAP_KILL"]), // ports, another user's QEMU
        ("DeviceAllow", &["/dev/watchdog", "char-watchdog", "char-ipmidev", "char-ttyS", "char-ttyUSB"]),
        ("BindReadOnlyPaths", &["-/root/.ssh"]), // fence agents that log in
    ] {
        let values = values(key);
        assert!(needed.iter().all(|one| values.iter().any(|value| value == one)), "{key}: {values:?}");
    }
    // With one of these the watchdog cannot be opened, no host reached, or a QEMU not found.
    for key in ["PrivateDevices", "PrivateNetwork", "IPAddressDeny", "ProtectProc", "ProcSubset"] {
        assert_eq!(values(key), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn a_shutdown_of_the_machine_leaves_time_and_all_that_is_needed_to_leave() {
    let stop = values("TimeoutStopSec").concat();
    let seconds: u64 = stop.strip_suffix('s').and_then(|number| number.parse().ok()).expect("seconds");
    assert!(
        seconds > roost::engine::LEAVE_WITHIN.as_secs() + roost::driver::shutdown::ANSWER_WITHIN.as_secs()
    );
    let after = values("After");
    for unit in ["network.target", "libvirtd.service", "libvirt-guests.service", "virt-guest-shutdown.target"]
    {
        assert!(after.iter().any(|one| one == unit), "{unit} is stopped before roostd has left");
    }
}

#[test]
fn the_operators_group_and_the_folders_are_made() {
    let root = Root::new("create");
    std::fs::create_dir_all(root.0.join("etc")).expect("a new folder");
    let (good, text) =
        run("systemd-sysusers", &[&root.option(), shipped("roost.sysusers").to_str().expect("text")]);
    assert!(good, "{text}");
    let groups = std::fs::read_to_string(root.0.join("etc/group")).expect("the groups");
    assert!(groups.starts_with("roost:"), "{groups}");
    let (good, text) = run(
        "systemd-tmpfiles",
        &[&root.option(), "--create", shipped("roost.tmpfiles").to_str().expect("text")],
    );
    assert!(
        good && ["vms", "hooks.d"].iter().all(|dir| root.0.join("etc/roost").join(dir).is_dir()),
        "{text}"
    );
}

/// The places that roost(8) says need no drop-in.
#[test]
fn metrics_can_be_written_where_the_manual_says_so() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/roost.8"));
    let page = page.expect("the page");
    let paths = values("ReadWritePaths");
    let named =
        page.lines().filter_map(|line| line.strip_prefix(".Pa /var/lib/")).filter(|p| p.contains("node"));
    let named: Vec<String> = named.map(|path| format!("-/var/lib/{}", path.trim_end_matches(" ,"))).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named.iter().all(|path| paths.contains(path)), "{named:?} are not all in {paths:?}");
}
