//! Peers on the guest link that do not behave: cut off, counted, told once, and the others do not notice.

mod common;

use common::{Bed, CONFIG, Guest, SOON, hello};
use roost_proto::control::{Condition, ControllerStatus};
use roost_proto::frame::encode;
use roost_proto::link::{Fault, GroupState, GuestMessage, HostMessage, Versions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Two groups; the second has a guest that behaves, throughout.
const TWO: &str = r#"
[[group]]
name = "good"
vm = "other"
link = "hybrid:DIR/good.vsock"
"#;

struct Link {
    bed: Bed,
    web: PathBuf,
    good: Guest,
}

impl Link {
    fn new() -> Self {
        let bed = Bed::start(&format!("{CONFIG}{TWO}"));
        let web = bed.dir.join("web.vsock");
        let mut good = Guest::greet(&bed.dir.join("good.vsock"), 9);
        good.tell("app", GroupState::Online);
        bed.event("'app' in the guest is online");
        Self { bed, web, good }
    }

    /// The guest that behaves was never cut off: it still gets beats, and is heard.
    fn others_do_not_notice(mut self) {
        assert_eq!(self.good.hear(), Some(HostMessage::Beat));
        self.good.say(&GuestMessage::Beat);
        let lost = self
            .bed
            .events()
            .iter()
            .filter(|e| e.group.as_deref() == Some("good"))
            .any(|e| e.text.contains("ended"));
        assert!(!lost, "{:?}", self.bed.events());
    }

    fn told(&self, words: &str) -> usize {
        self.bed.event(words);
        self.bed.events().iter().filter(|event| event.text.contains(words)).count()
    }
}

#[test]
fn garbage_is_cut_off_and_told_once() {
    let link = Link::new();
    for _ in 0..5 {
        let mut guest = Guest::connect(&link.web);
        guest.socket.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        guest.is_cut_off();
    }
    assert_eq!(link.told("no message of this protocol"), 1);
    link.others_do_not_notice();
}

#[test]
fn a_greeting_of_another_kind_is_cut_off() {
    let link = Link::new();
    let mut guest = Guest::connect(&link.web);
    guest.say(&GuestMessage::Beat);
    guest.is_cut_off();
    assert_eq!(link.told("no greeting"), 1);
    link.others_do_not_notice();
}

#[test]
fn half_a_frame_is_cut_off() {
    let link = Link::new();
    let mut bytes = Vec::new();
    encode(&GuestMessage::Hello(hello(1)), &mut bytes).expect("small");
    let mut guest = Guest::connect(&link.web);
    guest.socket.write_all(&bytes[..bytes.len() / 2]).expect("sent");
    guest.is_cut_off();
    assert_eq!(link.told("part of a message"), 1);
    link.others_do_not_notice();
}

#[test]
fn a_peer_that_says_nothing_is_cut_off() {
    let link = Link::new();
    Guest::connect(&link.web).is_cut_off();
    assert_eq!(link.told("said nothing"), 1);
    link.others_do_not_notice();
}

#[test]
fn a_frame_that_is_too_long_is_cut_off() {
    let link = Link::new();
    let mut guest = Guest::greet(&link.web, 1);
    guest.socket.write_all(&[0xff, 0xff, 0, 0]).expect("sent");
    guest.is_cut_off();
    assert_eq!(link.told("no message of this protocol"), 1);
    link.others_do_not_notice();
}

#[test]
fn a_flood_is_cut_off() {
    let link = Link::new();
    let mut guest = Guest::greet(&link.web, 1);
    let mut beat = Vec::new();
    encode(&GuestMessage::Beat, &mut beat).expect("small");
    let start = Instant::now();
    while guest.socket.write_all(&beat.repeat(1000)).is_ok() {
        assert!(start.elapsed() < SOON, "a flood is not noticed");
    }
    assert_eq!(link.told("more than a controller has to say"), 1);
    link.others_do_not_notice();
}

#[test]
fn connections_without_end_are_refused() {
    let link = Link::new();
    let mut peers: Vec<Guest> = (0..4).map(|_| Guest::connect(&link.web)).collect();
    Guest::connect(&link.web).is_cut_off();
    assert_eq!(link.told("opens connections without a greeting"), 1);
    peers[0].say(&GuestMessage::Hello(hello(1))); // the first ones are still listened to
    assert!(matches!(peers[0].hear(), Some(HostMessage::Welcome { .. })));
    link.others_do_not_notice();
}

#[test]
fn another_version_is_told_which_ones_are_spoken() {
    let link = Link::new();
    let mut guest = Guest::connect(&link.web);
    guest.say(&GuestMessage::Hello(roost_proto::link::Hello {
        versions: Versions { oldest: 7, newest: 9 },
        ..hello(1)
    }));
    assert!(matches!(guest.hear(), Some(HostMessage::Refused { versions }) if versions.oldest == 1));
    guest.is_cut_off();
    assert_eq!(link.told("update roost-guest or roostd"), 1);
    link.others_do_not_notice();
}

#[test]
fn a_lying_report_is_cut_off() {
    let link = Link::new();
    let mut guest = Guest::greet(&link.web, 1);
    guest.tell("no name\n\u{1b}[31m", GroupState::Online);
    guest.is_cut_off();
    assert_eq!(link.told("bad name"), 1);
    link.others_do_not_notice();
}

#[test]
fn a_controller_that_connects_anew_replaces_itself() {
    let link = Link::new();
    let mut first = Guest::greet(&link.web, 1);
    first.tell("site", GroupState::Online);
    let mut second = Guest::greet(&link.web, 1);
    second.tell("site", GroupState::Online);
    first.is_cut_off();
    link.bed.until("it is online", |bed| (bed.group("web").condition == Condition::Online).then_some(()));
    assert_eq!(link.bed.group("web").controller, ControllerStatus::Connected);
    link.others_do_not_notice();
}

#[test]
fn what_a_guest_says_reaches_the_operator_without_its_escapes() {
    let link = Link::new();
    let mut guest = Guest::greet(&link.web, 1);
    guest.tell(
        "site",
        GroupState::Faulted(Fault {
            resource: "httpd".to_owned(),
            reason: "\u{1b}[2Jgone".to_owned(),
            exit: roost_proto::link::Exit::Code(1),
            output: "line\n\u{1b}]0;title\u{7}".to_owned(),
        }),
    );
    let event = link.bed.event("was given up on: httpd");
    assert!(!event.text.contains('\u{1b}') && !event.output.contains('\u{1b}'), "{event:?}");
    assert!(event.output.starts_with("line\n"));
    link.others_do_not_notice();
}
