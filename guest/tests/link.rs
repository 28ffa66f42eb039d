//! The link, with a host of the test's own at the other end of a Unix socket.

mod common;

use common::{Bed, LONG, kill, service};
use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{
    Cause, Circumstances, GroupReport, GroupState, GuestMessage, HostMessage, LINK_VERSIONS, MAGIC,
    ManagedReport, Order, Readiness, Versions, Wanted,
};
use roost_proto::local::LinkStatus;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// A host that listens.
struct Host(UnixListener);

/// A guest's connection.
struct Guest {
    socket: UnixStream,
    decoder: Decoder,
}

impl Host {
    fn listen(bed: &Bed) -> Self {
        Self(UnixListener::bind(bed.path("host.sock")).expect("a socket"))
    }

    fn accept(&self) -> Guest {
        self.0.set_nonblocking(true).expect("set");
        let until = Instant::now() + LONG;
        loop {
            match self.0.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false).expect("set");
                    socket.set_read_timeout(Some(LONG)).expect("set");
                    return Guest { socket, decoder: Decoder::default() };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5)); // accept has no limit of its own
                }
                Err(error) => panic!("no guest: {error}"),
            }
        }
    }

    /// Accepts and welcomes; returns the snapshot.
    fn welcome(&self) -> (Guest, Vec<GroupReport>) {
        let mut guest = self.accept();
        let GuestMessage::Hello(hello) = guest.hear() else { panic!("it greets first") };
        assert_eq!((hello.magic, hello.versions), (MAGIC, LINK_VERSIONS));
        assert_eq!(hello.boot_id, roost_guest::procfs::boot_id());
        guest.say(&HostMessage::Welcome { version: 1, host: "hv1".to_owned(), group: "web".to_owned() });
        let snapshot = guest.snapshot();
        (guest, snapshot)
    }
}

impl Guest {
    fn say(&mut self, message: &HostMessage) {
        let mut out = Vec::new();
        encode(message, &mut out).expect("small");
        self.socket.write_all(&out).expect("it reads");
    }

    fn hear(&mut self) -> GuestMessage {
        loop {
            if let Some(message) = self.decoder.next().expect("a good stream") {
                return message;
            }
            let mut piece = [0; 4096];
            let count = self.socket.read(&mut piece).expect("it speaks");
            assert_ne!(count, 0, "the guest closed the connection");
            self.decoder.push(&piece[..count]);
        }
    }

    fn snapshot(&mut self) -> Vec<GroupReport> {
        let GuestMessage::Snapshot { groups } = self.hear() else { panic!("a snapshot follows the welcome") };
        (0..groups)
            .map(|_| match self.hear() {
                GuestMessage::Group(report) => {
                    report.check().expect("within the limits");
                    report
                }
                other => panic!("not {other:?} within a snapshot"),
            })
            .collect()
    }

    /// Waits until a group is told to be in a state.
    fn hear_state(&mut self, name: &str, is: impl Fn(&GroupState) -> bool) {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            if let GuestMessage::Group(report) = self.hear()
                && report.name == name
                && is(&report.state)
            {
                return;
            }
        }
        panic!("group '{name}' was not told so");
    }

    /// Waits until the guest has closed the connection.
    fn hear_end(&mut self) {
        let mut piece = [0; 4096];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the guest is still there: {error}"),
            }
        }
    }
}

const LINK: &str = "[controller]\nlink = \"unix:DIR/host.sock\"\n";

fn config(resources: &[String]) -> String {
    format!("{LINK}[[group]]\nname = \"site\"\n{}", resources.concat())
}

#[test]
fn changes_are_told_at_once_and_a_fault_with_all_that_is_known() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    let text =
        config(&[service("web", "attempts = 1")]).replace("name = \"site\"", "name = \"site\"\nrestarts = 0");
    bed.run(&text);
    let (mut guest, snapshot) = host.welcome();
    assert_eq!(snapshot.len(), 1);
    if snapshot[0].state != GroupState::Online {
        guest.hear_state("site", |state| *state == GroupState::Online);
    }
    assert_eq!(bed.link(), Some(LinkStatus::Up { host: "hv1".to_owned(), group: "web".to_owned() }));
    let web = bed.await_pid("web.pid");
    kill(web, libc::SIGKILL);
    guest.hear_state("site", |state| *state == GroupState::Recovering);
    guest.hear_state("site", |state| *state == GroupState::Online);
    kill(bed.await_other_pid("web.pid", web), libc::SIGKILL);
    guest.hear_state("site", |state| matches!(state, GroupState::Faulted(fault) if fault.resource == "web"));
}

#[test]
fn beats_are_answered_and_sent_unasked() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&config(&[service("web", "")]));
    bed.await_online();
    let (mut guest, _) = host.welcome();
    let begin = Instant::now();
    while guest.hear() != GuestMessage::Beat {} // a report of the last moment may come first
    assert!(begin.elapsed() < Duration::from_secs(3), "a beat comes by itself");
    std::thread::sleep(Duration::from_millis(600)); // more than half a beat: the guest owes one soon
    guest.say(&HostMessage::Beat);
    let begin = Instant::now();
    assert_eq!(guest.hear(), GuestMessage::Beat);
    assert!(begin.elapsed() < Duration::from_millis(300), "it answers: {:?}", begin.elapsed());
}

#[test]
fn a_host_that_sends_garbage_is_left_and_met_again() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&config(&[service("web", "")]));
    bed.await_online();
    let web = bed.await_pid("web.pid");
    for garbage in [&[0, 0, 0][..], &[0xff; 4096], &[2, 0, 0xff, 0xff], &[1, 0, 7]] {
        let (mut guest, snapshot) = host.welcome();
        assert_eq!(snapshot[0].state, GroupState::Online);
        guest.socket.write_all(garbage).expect("room");
        guest.hear_end();
    }
    let (_guest, snapshot) = host.welcome();
    assert_eq!(snapshot[0].state, GroupState::Online);
    assert_eq!(bed.await_pid("web.pid"), web, "no application notices");
    assert_eq!(bed.log().matches("no link to the host").count(), bed.log().matches("the host sent").count());
}

#[test]
fn a_host_that_does_not_read_is_left_and_gets_a_snapshot_later() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    // Large reports, often: the socket is full long before ten seconds are over.
    let names: Vec<String> = (0..60).map(|i| service(&format!("web{i}"), "")).collect();
    bed.run(&config(&names));
    bed.await_online();
    let (guest, _) = host.welcome();
    let mut beating = guest.socket.try_clone().expect("a copy");
    let begin = Instant::now();
    let mut pid = bed.await_pid("web0.pid");
    bed.await_true("the link is given up", |bed| {
        let mut out = Vec::new();
        encode(&HostMessage::Beat, &mut out).expect("small");
        let _ = beating.write_all(&out); // it beats, so it is not silent
        if begin.elapsed() < Duration::from_secs(8) {
            for group in ["freeze", "thaw"] {
                bed.command(&[group, "site"]).status().expect("it runs");
            }
        }
        bed.log().contains("the host has read nothing")
    });
    drop(guest);
    let (_guest, snapshot) = host.welcome();
    assert_eq!(snapshot[0].resources.len(), 60);
    kill(pid, libc::SIGKILL);
    pid = bed.await_other_pid("web0.pid", pid);
    assert!(common::is_alive(pid));
}

#[test]
fn a_host_of_another_version_is_named_in_the_status() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&config(&[service("web", "")]));
    let mut guest = host.accept();
    assert!(matches!(guest.hear(), GuestMessage::Hello(_)));
    guest.say(&HostMessage::Refused { versions: Versions { oldest: 7, newest: 9 } });
    guest.hear_end();
    bed.await_online();
    assert!(matches!(bed.link(), Some(LinkStatus::Down { reason }) if reason.contains("7 to 9")));
}

#[test]
fn a_host_that_comes_later_is_found_and_a_reload_tells_all_anew() {
    let mut bed = Bed::new();
    bed.run(&config(&[service("web", "")]));
    bed.await_online();
    assert!(matches!(bed.link(), Some(LinkStatus::Down { .. })));
    let host = Host::listen(&bed);
    let (mut guest, snapshot) = host.welcome();
    assert_eq!(snapshot[0].state, GroupState::Online);
    bed.configure(&format!(
        "{}[[group]]\nname = \"second\"\n{}",
        config(&[service("web", "")]),
        service("other", "")
    ));
    bed.signal(libc::SIGHUP);
    let groups = loop {
        if let GuestMessage::Snapshot { groups } = guest.hear() {
            break groups;
        }
    };
    assert_eq!(groups, 2);
    guest.hear_state("second", |state| *state == GroupState::Online);
}

/// A managed group of one process; its commands write what they were given to the file `hooks`.
fn managed(bed: &Bed, keys: &str) -> String {
    let note = "$ROOST_GROUP $ROOST_TARGET $ROOST_PREVIOUS $ROOST_REASON $ROOST_EPOCH >> DIR/hooks";
    for hook in ["before", "after"] {
        bed.script(hook, &format!("echo {hook} {note}"));
    }
    format!(
        "[controller]\nlink = \"unix:DIR/host.sock\"\n[[group]]\nname = \"site\"\nmanaged = true\n\
         before_online = [\"DIR/before\"]\nafter_offline = [\"DIR/after\"]\n{keys}\n{}",
        service("web", "")
    )
}

impl Host {
    /// Welcomes in the newest version; returns the only group.
    fn welcome_managed(&self) -> (Guest, ManagedReport) {
        let mut guest = self.accept();
        assert!(matches!(guest.hear(), GuestMessage::Hello(_)));
        let version = LINK_VERSIONS.newest;
        guest.say(&HostMessage::Welcome { version, host: "hv1".to_owned(), group: "web".to_owned() });
        assert_eq!(guest.hear(), GuestMessage::Snapshot { groups: 1 });
        let GuestMessage::Managed(report) = guest.hear() else { panic!("it is managed") };
        (guest, report)
    }
}

impl Guest {
    fn order(&mut self, number: u32, epoch: u64, wanted: Wanted, lease: Duration) {
        let reason = if wanted == Wanted::Online { Cause::Failover } else { Cause::Switchover };
        self.say(&HostMessage::Order(Order {
            group: "site".to_owned(),
            number,
            epoch,
            wanted,
            lease_ms: u32::try_from(lease.as_millis()).expect("short"),
            circumstances: circumstances(reason),
        }));
    }

    /// Waits until the managed group is told to be so.
    fn hear_managed(&mut self, is: impl Fn(&ManagedReport) -> bool) -> ManagedReport {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            match self.hear() {
                GuestMessage::Managed(report) if is(&report) => return report,
                GuestMessage::Beat => self.say(&HostMessage::Beat),
                _ => {}
            }
        }
        panic!("it was not told so");
    }
}

fn circumstances(reason: Cause) -> Circumstances {
    Circumstances { target: "vm:db1-standby".to_owned(), previous: "db1".to_owned(), reason }
}

fn is_confirmed(report: &ManagedReport, number: u32) -> bool {
    report.obeys == Some(number)
        && report.wanted == Wanted::Offline
        && report.report.state == GroupState::Offline
}

fn is_online(report: &ManagedReport) -> bool {
    report.report.state == GroupState::Online
}

fn hooks(bed: &Bed) -> String {
    std::fs::read_to_string(bed.path("hooks")).unwrap_or_default()
}

#[test]
fn a_managed_group_goes_where_its_host_orders_it() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&managed(&bed, "ready = [\"DIR/missing\"]"));
    let check = bed.command(&["check"]).output().expect("it runs");
    let warning = format!("warning: site/ready: there is no program '{}'", bed.path("missing").display());
    assert!(String::from_utf8_lossy(&check.stdout).contains(&warning), "{check:?}");
    let (mut guest, report) = host.welcome_managed();
    assert_eq!((report.wanted, report.epoch, report.obeys), (Wanted::Offline, 0, None));
    if report.report.state != GroupState::Offline {
        guest.hear_managed(|report| report.report.state == GroupState::Offline);
    }

    guest.order(1, 7, Wanted::Online, LONG);
    let report = guest.hear_managed(is_online);
    assert_eq!((report.wanted, report.epoch, report.obeys), (Wanted::Online, 7, Some(1)));
    assert_eq!(hooks(&bed), "before site vm:db1-standby db1 failover 7\n");
    let web = bed.await_pid("web.pid");
    kill(web, libc::SIGKILL);
    guest.hear_managed(|report| report.report.state == GroupState::Recovering);
    guest.hear_managed(is_online);
    let web = bed.await_other_pid("web.pid", web);

    guest.order(2, 6, Wanted::Offline, LONG);
    let report = guest.hear_managed(|_| true);
    assert_eq!((report.wanted, report.epoch, report.obeys), (Wanted::Online, 7, Some(1)), "it is refused");
    assert!(is_online(&report));

    let output = bed.command(&["status"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("managed: wanted online, epoch 7, host heard 0."), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");

    guest.order(3, 8, Wanted::Offline, LONG);
    guest.hear_managed(|report| is_confirmed(report, 3));
    assert!(!common::is_alive(web));
    assert!(hooks(&bed).ends_with("after site vm:db1-standby db1 switchover 8\n"), "{}", hooks(&bed));
    assert_eq!(bed.command(&["status"]).status().expect("it runs").code(), Some(0), "it is as wanted");
}

#[test]
fn orders_outlive_the_controller() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&managed(&bed, ""));
    let (mut guest, _) = host.welcome_managed();
    guest.order(1, 7, Wanted::Online, LONG);
    guest.hear_managed(is_online);
    let web = bed.await_pid("web.pid");
    bed.end(libc::SIGKILL);
    drop(guest);
    bed.start();
    let (mut guest, report) = host.welcome_managed();
    assert_eq!((report.wanted, report.epoch, report.obeys), (Wanted::Online, 7, None));
    guest.order(1, 7, Wanted::Online, LONG);
    guest.hear_managed(|report| is_online(report) && report.obeys == Some(1));
    assert_eq!(bed.await_pid("web.pid"), web, "it is adopted");
    assert!(common::is_alive(web));
    assert_eq!(hooks(&bed).lines().count(), 1, "it ran already");

    guest.order(2, 6, Wanted::Offline, LONG);
    assert_eq!(guest.hear_managed(|_| true).epoch, 7);
    guest.order(3, 9, Wanted::Offline, LONG);
    guest.hear_managed(|report| is_confirmed(report, 3));
    bed.end(libc::SIGKILL);
    drop(guest);
    bed.start();
    let (mut guest, report) = host.welcome_managed();
    assert_eq!((report.wanted, report.epoch), (Wanted::Offline, 9));
    guest.order(1, 8, Wanted::Online, LONG);
    let report = guest.hear_managed(|report| report.report.state == GroupState::Offline);
    assert_eq!((report.wanted, report.epoch), (Wanted::Offline, 9), "it is refused");
    assert!(!common::is_alive(web));
}

#[test]
fn a_host_that_falls_silent_loses_its_groups_in_time() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&managed(&bed, ""));
    let (mut guest, _) = host.welcome_managed();
    let lease = Duration::from_secs(4);
    guest.order(1, 7, Wanted::Online, lease);
    guest.hear_managed(is_online);
    let web = bed.await_pid("web.pid");
    let begin = Instant::now();
    while begin.elapsed() < lease + lease / 2 {
        assert!(matches!(guest.hear(), GuestMessage::Beat));
        guest.say(&HostMessage::Beat);
    }
    assert!(common::is_alive(web), "any word renews the lease");
    let heard = Instant::now();
    loop {
        if let GuestMessage::Managed(report) = guest.hear()
            && report.report.state == GroupState::Offline
        {
            assert_eq!((report.wanted, report.epoch, report.obeys), (Wanted::Offline, 7, None));
            break;
        }
    }
    assert!(heard.elapsed() >= lease - Duration::from_millis(200), "{:?}", heard.elapsed());
    assert!(!common::is_alive(web));
    assert!(hooks(&bed).ends_with("after site vm:db1-standby db1 lease 7\n"), "{}", hooks(&bed));
}

#[test]
fn commands_are_judged_by_their_end_and_their_time() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    let text = managed(&bed, "ready = [\"DIR/ready\"]\nhook_timeout = \"3s\"");
    bed.script("ready", "echo $ROOST_REASON >> DIR/asked; echo first; cat DIR/why; test ! -s DIR/why");
    bed.script("before", "echo $$ > DIR/before.pid; test -e DIR/quick || sleep 1000");
    std::fs::write(bed.path("why"), "it lags by 7 s\n").expect("written");
    bed.run(&text);
    let (mut guest, _) = host.welcome_managed();
    let ask = |guest: &mut Guest, number| {
        let circumstances = circumstances(Cause::Failback);
        guest.say(&HostMessage::AskReady { group: "site".to_owned(), number, circumstances });
        loop {
            if let GuestMessage::Ready { number: answered, readiness, .. } = guest.hear() {
                assert_eq!(answered, number);
                return readiness;
            }
        }
    };
    assert_eq!(ask(&mut guest, 1), Readiness::NotReady { reason: "it lags by 7 s".to_owned() });
    std::fs::write(bed.path("why"), "").expect("written");
    assert_eq!(ask(&mut guest, 2), Readiness::Ready);
    assert_eq!(std::fs::read_to_string(bed.path("asked")).expect("it was asked"), "failback\nfailback\n");

    guest.order(1, 1, Wanted::Online, LONG);
    let report = guest.hear_managed(|report| matches!(report.report.state, GroupState::Faulted(_)));
    let GroupState::Faulted(fault) = report.report.state else { unreachable!("it was just seen") };
    assert_eq!(fault.resource, "before_online");
    assert_eq!(fault.reason, "it took longer than 3s and was killed");
    let pid = bed.await_pid("before.pid");
    bed.await_true("it is killed", |_| !common::is_alive(pid));
    std::fs::write(bed.path("quick"), "").expect("written");
    guest.order(2, 1, Wanted::Online, LONG);
    guest.hear_managed(is_online);
}

#[test]
fn a_controller_killed_in_a_command_waits_for_it_and_runs_it_again() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    let text = managed(&bed, "");
    let waits =
        "echo begin >> DIR/hooks; echo $$ > DIR/before.pid; while ! test -e DIR/go; do sleep 0.05; done";
    bed.script("before", waits);
    bed.run(&text);
    let (mut guest, _) = host.welcome_managed();
    guest.order(1, 1, Wanted::Online, LONG);
    bed.await_pid("before.pid");
    bed.end(libc::SIGKILL);
    drop(guest);
    bed.start();
    let (mut guest, report) = host.welcome_managed();
    assert_eq!((report.wanted, report.epoch), (Wanted::Online, 1));
    bed.await_true("it waits", |bed| bed.log().contains("before_online: waiting for the end of process"));
    assert_eq!(hooks(&bed), "begin\n");
    std::fs::write(bed.path("go"), "").expect("written");
    if !is_online(&report) {
        guest.hear_managed(is_online);
    }
    assert_eq!(hooks(&bed), "begin\nbegin\n");
}

#[test]
fn a_host_of_the_first_version_sees_a_managed_group_as_any_other() {
    let mut bed = Bed::new();
    let host = Host::listen(&bed);
    bed.run(&managed(&bed, ""));
    let (mut guest, snapshot) = host.welcome();
    if snapshot[0].state != GroupState::Offline {
        guest.hear_state("site", |state| *state == GroupState::Offline);
    }
    guest.order(1, 1, Wanted::Online, LONG);
    guest.hear_end(); // it knows of no orders
}
