//! `roostd` as a whole, on libvirt's test driver.

mod common;

use common::{Bed, CONFIG, Guest};
use nix::sys::signal::Signal;
use roost_proto::control::{Ask, Condition, Event, Health, Intent, Refusal, Reply};
use roost_proto::link::{Exit, Fault, GroupState};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn intent(intent: Intent) -> Ask {
    Ask::Intent { group: "web".to_owned(), intent }
}

fn is(bed: &Bed, condition: Condition) {
    bed.until(&format!("{condition:?}"), |bed| (bed.group("web").condition == condition).then_some(()));
}

fn refused(replies: &[Reply]) -> (Refusal, &str) {
    match replies {
        [Reply::Refused { code, reason }] => (*code, reason),
        other => panic!("not refused: {other:?}"),
    }
}

/// Runs a `roostd` that cannot run; returns its exit status and its words.
fn fails(bed: &Bed) -> (i32, String) {
    let output = bed.command().output().expect("it runs");
    (output.status.code().expect("it exits"), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_running_vm_is_found_and_kept() {
    let bed = Bed::start(CONFIG);
    is(&bed, Condition::Online);
    let status = bed.status();
    assert_eq!(
        (status.cluster.as_str(), status.host.as_str(), status.health),
        ("lab", "hv1", Health::Healthy)
    );
}

#[test]
fn offline_is_stored_carried_out_and_kept_across_a_crash_of_the_daemon() {
    let mut bed = Bed::start(CONFIG);
    is(&bed, Condition::Online);
    assert!(matches!(bed.ask(intent(Intent::Offline))[..], [Reply::Done { .. }]));
    is(&bed, Condition::Offline);
    // Before that, the daemon would find the VM its own still, and shut it down.
    bed.until("it is given back", |bed| bed.group("web").owner.is_none().then_some(()));
    bed.end(Signal::SIGKILL);
    bed.run(); // libvirt's test driver forgot: the domain runs again, as if somebody had started it by hand
    bed.event("the group is not this host's");
    assert_eq!(bed.group("web").intent, Intent::Offline);
    assert!(matches!(bed.ask(intent(Intent::Online))[..], [Reply::Done { .. }]));
    is(&bed, Condition::Online);
    let starts = bed.events().iter().filter(|event| event.text.contains("root wants it o")).count();
    assert_eq!(starts, 2, "events are kept across the crash: {:?}", bed.events());
}

#[test]
fn a_guest_speaks_and_its_application_is_shown() {
    let bed = Bed::start(CONFIG);
    let mut guest = Guest::greet(&bed.dir.join("web.vsock"), 1);
    guest.tell("site", GroupState::Starting);
    is(&bed, Condition::Degraded);
    guest.tell("site", GroupState::Online);
    is(&bed, Condition::Online);
    assert_eq!(bed.group("web").apps[0].name, "site");
}

#[test]
fn an_unknown_group_is_refused_with_the_nearest_name() {
    let bed = Bed::start(CONFIG);
    let replies = bed.ask(Ask::Freeze { group: "wbe".to_owned() });
    let (code, reason) = refused(&replies);
    assert!(code == Refusal::UnknownGroup && reason.contains("did you mean 'web'?"), "{reason}");
}

#[test]
fn requests_that_are_none_are_refused_and_say_why() {
    let bed = Bed::start(CONFIG);
    for (line, words) in [
        ("hello", "no request"),
        ("{\"version\":1,\"ask\":\"dance\"}", "dance"),
        ("{\"version\":99,\"ask\":\"status\"}", "version 99"),
        (&"x".repeat(5000), "more than 4096"),
    ] {
        let replies = bed.ask_text(line);
        let (code, reason) = refused(&replies);
        assert!(code == Refusal::BadRequest && reason.contains(words), "{reason}");
    }
    is(&bed, Condition::Online);
}

#[test]
fn everybody_may_look_and_only_operators_may_touch() {
    let bed = Bed::start(CONFIG);
    for dir in [bed.dir.clone(), bed.dir.join("run")] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let roost = bed.dir.join("roost"); // where nobody may reach it
    std::fs::copy(env!("CARGO_BIN_EXE_roost"), &roost).expect("room");
    let ask = |what: &[&str]| {
        let mut command = Command::new(&roost);
        let output = command.arg("--socket").arg(bed.socket()).args(what).uid(65534).gid(65534).output();
        output.expect("roost runs")
    };
    bed.until("all is well", |bed| (bed.status().health == Health::Healthy).then_some(()));
    assert_eq!(ask(&["status"]).status.code(), Some(0));
    let output = ask(&["freeze", "web"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(77) && words.contains("may look"), "{:?}: {words}", output.status);
    assert!(!bed.group("web").frozen);
}

#[test]
fn events_are_followed() {
    let bed = Bed::start(CONFIG);
    is(&bed, Condition::Online);
    let mut socket = UnixStream::connect(bed.socket()).expect("it listens");
    socket.set_read_timeout(Some(common::SOON)).expect("a socket option");
    let after = bed.events().last().map_or(0, |event| event.seq);
    writeln!(socket, "{{\"version\":1,\"ask\":\"events\",\"after\":{after},\"follow\":true}}")
        .expect("it reads");
    bed.ask(Ask::Freeze { group: "web".to_owned() });
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).expect("an event");
    assert!(line.contains("froze it"), "{line}");
}

#[test]
fn a_bad_configuration_is_refused_with_line_and_status() {
    let bed = Bed::new(&CONFIG.replace("vm =", "vmm ="));
    let (code, words) = fails(&bed);
    assert!(
        code == 78 && words.contains("roost.toml:9:") && words.contains("did you mean 'vm'?"),
        "{code}: {words}"
    );
    let bed = Bed::new(CONFIG);
    std::fs::remove_file(bed.dir.join("roost.toml")).expect("ours");
    let (code, words) = fails(&bed);
    assert!(code == 78 && words.contains("cannot be read"), "{code}: {words}");
    let bed = Bed::new(&CONFIG.replace("\"hv1\"", "\"hv7\""));
    let (code, words) = fails(&bed);
    assert!(code == 78 && words.contains("hv7"), "{code}: {words}");
}

#[test]
fn a_damaged_state_is_refused_and_not_overwritten() {
    let bed = Bed::new(CONFIG);
    std::fs::create_dir(bed.dir.join("state")).expect("fresh");
    std::fs::write(bed.dir.join("state/state.json"), "{").expect("writable");
    let (code, words) = fails(&bed);
    assert!(code == 71 && words.contains("state.json") && words.contains("move it away"), "{code}: {words}");
    assert_eq!(std::fs::read_to_string(bed.dir.join("state/state.json")).expect("kept"), "{");
}

#[test]
fn a_second_daemon_is_refused() {
    let bed = Bed::start(CONFIG);
    let (code, words) = fails(&bed);
    assert!(code == 71 && words.contains("another roostd"), "{code}: {words}");
    is(&bed, Condition::Online);
}

#[test]
fn a_reload_takes_what_is_good_and_keeps_what_was_when_it_is_not() {
    let bed = Bed::start(CONFIG);
    is(&bed, Condition::Online);
    bed.configure(&CONFIG.replace("vm = \"test\"", "vm = 7"));
    let replies = bed.ask(Ask::Reload);
    let (code, reason) = refused(&replies);
    assert!(code == Refusal::BadConfiguration && reason.contains("stays in force"), "{reason}");
    bed.configure(&format!(
        "{CONFIG}[[group]]\nname = \"new\"\nvm = \"none\"\nlink = \"hybrid:DIR/new.vsock\"\n"
    ));
    bed.signal(Signal::SIGHUP);
    bed.event("2 groups");
    bed.until("the new group is shown", |bed| (bed.status().groups.len() == 2).then_some(()));
    let health = bed.until("its VM is missed", |bed| {
        (bed.group("new").condition == Condition::GivenUp).then(|| bed.status().health)
    });
    assert_eq!(health, Health::Broken);
    Guest::greet(&bed.dir.join("new.vsock"), 1);
    assert_eq!(bed.group("web").recoveries.restart, 0);
}

#[test]
fn a_disk_without_room_for_events_is_told_and_stops_nothing() {
    let bed = Bed::new(CONFIG);
    std::fs::create_dir(bed.dir.join("state")).expect("fresh");
    std::os::unix::fs::symlink("/dev/full", bed.dir.join("state/events.jsonl")).expect("a link");
    let mut bed = bed;
    bed.run();
    bed.event("events cannot be written to disk: No space");
    assert!(matches!(bed.ask(intent(Intent::Offline))[..], [Reply::Done { .. }]));
    is(&bed, Condition::Offline);
    std::fs::remove_file(bed.dir.join("state/events.jsonl")).expect("ours");
    bed.ask(intent(Intent::Online));
    bed.event("events are written to disk again");
}

#[test]
fn it_ends_when_it_is_told_to_and_says_so() {
    let mut bed = Bed::start(CONFIG);
    is(&bed, Condition::Online);
    bed.end(Signal::SIGTERM);
    assert!(!bed.socket().exists(), "its socket is gone");
    let events = std::fs::read_to_string(bed.dir.join("state/events.jsonl")).expect("kept");
    assert!(events.contains("roostd ends; VMs run on"), "{events}");
}

#[test]
fn hooks_hear_what_happens_and_one_that_hangs_holds_nothing_up() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new(CONFIG);
    let folder = bed.dir.join("hooks.d");
    std::fs::create_dir(&folder).expect("fresh");
    let hook = folder.join("hangs");
    let script = "#!/bin/sh\necho $ROOST_SEQ $ROOST_KIND >> DIR/told\nexec sleep 60\n";
    std::fs::write(&hook, script.replace("DIR", bed.dir.to_str().expect("a plain path"))).expect("writable");
    for path in [&folder, &hook] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let mut bed = bed;
    bed.run();
    let told = |bed: &Bed| std::fs::read_to_string(bed.dir.join("told")).unwrap_or_default();
    bed.until("the hook hangs", |bed| (told(bed) == "1 daemon-started\n").then_some(()));
    let mut guest = Guest::greet(&bed.dir.join("web.vsock"), 1);
    let fault = Fault {
        resource: "httpd".to_owned(),
        reason: "it ends as soon as it is started".to_owned(),
        exit: Exit::Code(1),
        output: String::new(),
    };
    guest.tell("site", GroupState::Faulted(fault));
    bed.event("ask the guest to reboot now");
    assert!(matches!(bed.ask(intent(Intent::Offline))[..], [Reply::Done { .. }]));
    is(&bed, Condition::Offline);
    assert_eq!(told(&bed), "1 daemon-started\n", "all of that happened while it hung");
    // What one life had begun, or not told, and its end are told by the next.
    std::fs::write(&hook, format!("#!/bin/sh\necho $ROOST_SEQ $ROOST_KIND >> {}/told\n", bed.dir.display()))
        .expect("writable");
    bed.end(Signal::SIGTERM);
    let text = std::fs::read_to_string(bed.dir.join("state/events.jsonl")).expect("kept");
    let last: Event = serde_json::from_str(text.lines().last().expect("a line")).expect("an event");
    let end = last.seq;
    bed.run();
    let expected: Vec<u64> = std::iter::once(1).chain(1..=end + 1).collect();
    bed.until("all is told", |bed| {
        let text = told(bed);
        let numbers = text.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
        let numbers: Vec<u64> = numbers.take(expected.len()).collect();
        (numbers == expected).then_some(())
    });
    assert!(told(&bed).contains(&format!("{end} daemon-stopped\n")), "{}", told(&bed));
}
