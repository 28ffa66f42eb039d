//! An application on a machine of its own: `roostd` as a whole, without libvirt, and the machine's own `roost-guest` as a whole.

mod common;
#[path = "common/controller.rs"]
mod controller;

use common::{Bed, SOON};
use controller::{Controller, process};
use nix::sys::signal::Signal;
use roost_proto::control::{Ask, Condition, ControllerStatus, Health, Intent, LibvirtStatus, Reply};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const CONFIG: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "db1"
role = "application"
[[group]]
name = "orders"
app = "postgres"
on = ["db1"]
app_lease = "10s"
"#;

const GUEST: &str = r#"
[controller]
link = "unix:DIR/run/guest.sock"
[[group]]
name = "postgres"
managed = true
before_online = ["/bin/sh", "-c", "echo online $ROOST_GROUP $ROOST_TARGET $ROOST_REASON $ROOST_EPOCH >> DIR/told"]
after_offline = ["/bin/sh", "-c", "echo offline $ROOST_GROUP $ROOST_TARGET $ROOST_REASON $ROOST_EPOCH >> DIR/told"]
[[group.resource]]
name = "db"
kind = "process"
command = ["/bin/sh", "-c", "echo $$ > DIR/pid; exec sleep 1000"]
"#;

/// Not a test: `roost-guest`, when a test starts this program as that.
#[test]
fn controller() {
    controller::main();
}

fn start() -> (Bed, Controller) {
    let mut bed = Bed::of_host("db1", CONFIG);
    bed.run();
    let controller = Controller::start(&bed, GUEST);
    (bed, controller)
}

fn is(bed: &Bed, condition: Condition) {
    bed.until(&format!("{condition:?}"), |bed| (bed.group("orders").condition == condition).then_some(()));
}

/// It is online, and its process is there.
fn runs(bed: &Bed) -> i32 {
    is(bed, Condition::Online);
    bed.until("its process", |bed| process(&bed.dir))
}

fn wants(bed: &Bed, intent: Intent) {
    let replies = bed.ask(Ask::Intent { group: "orders".to_owned(), intent });
    assert!(matches!(replies[..], [Reply::Done { .. }]), "{replies:?}");
}

fn told(bed: &Bed) -> Vec<String> {
    let text = std::fs::read_to_string(bed.dir.join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn an_application_is_brought_online_and_taken_offline_on_a_machine_without_libvirt() {
    let (bed, _controller) = start();
    runs(&bed);
    let status = bed.status();
    assert_eq!((status.health, &status.libvirt), (Health::Healthy, &LibvirtStatus::Unused));
    let group = bed.group("orders");
    assert_eq!((group.target.as_deref(), group.home.as_deref()), (Some("db1"), Some("db1")));
    assert_eq!((group.controller, group.apps.len()), (ControllerStatus::Connected, 1));
    assert_eq!(told(&bed), ["online postgres db1 start 1"]);
    let mode = std::fs::metadata(bed.dir.join("run/guest.sock")).expect("it listens").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    wants(&bed, Intent::Offline);
    is(&bed, Condition::Offline);
    assert_eq!(process(&bed.dir), None, "what is shown as offline is off");
    assert_eq!(told(&bed)[1..], ["offline postgres db1 stop 1"]);
    bed.until("it is given back", |bed| bed.group("orders").owner.is_none().then_some(()));

    wants(&bed, Intent::Online);
    runs(&bed);
    assert_eq!(told(&bed)[2..], ["online postgres db1 start 2"]);
}

#[test]
fn it_goes_on_across_a_crash_of_either_daemon() {
    let (mut bed, mut controller) = start();
    let pid = runs(&bed);
    bed.end(Signal::SIGKILL);
    bed.run();
    assert_eq!((runs(&bed), told(&bed).len()), (pid, 1), "nothing was begun anew");
    controller.crash();
    bed.event("the link to the machine's own roost-guest ended");
    controller.run();
    assert_eq!((runs(&bed), told(&bed).len()), (pid, 1), "nothing was begun anew");
    assert_eq!(bed.group("orders").recoveries.restart, 0);
}

#[test]
fn a_host_that_is_not_heard_for_the_lease_loses_it_and_gets_it_back() {
    let (mut bed, _controller) = start();
    runs(&bed);
    bed.end(Signal::SIGKILL);
    let begun = std::time::Instant::now();
    while process(&bed.dir).is_some() {
        assert!(begun.elapsed() < SOON, "it goes on without its host");
        std::thread::sleep(std::time::Duration::from_millis(20)); // between two looks; the bound above judges
    }
    assert!(begun.elapsed() >= std::time::Duration::from_secs(9), "{:?}", begun.elapsed());
    bed.run();
    runs(&bed);
}

#[test]
fn nobody_but_root_speaks_for_the_machine() {
    let mut bed = Bed::of_host("db1", CONFIG);
    bed.run();
    bed.until("it listens", |bed| bed.dir.join("run/guest.sock").exists().then_some(()));
    for (path, mode) in [("", 0o755), ("run", 0o755), ("run/guest.sock", 0o666)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(bed.dir.join(path), permissions).expect("ours");
    }
    let script =
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(1))";
    let mut command = Command::new("python3");
    let output =
        command.args(["-c", script]).arg(bed.dir.join("run/guest.sock")).uid(65534).gid(65534).output();
    let output = output.expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "b''", "it is cut off: {output:?}");
    bed.event("user 65534 connected as the machine's own controller");
}
