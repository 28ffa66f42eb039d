//! The link, with a host of the test's own at the other end of a Unix socket.

mod common;

use common::{Bed, LONG, kill, service};
use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{GroupReport, GroupState, GuestMessage, HostMessage, LINK_VERSIONS, MAGIC, Versions};
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
