//! The frozen bytes of what hosts say to each other. They hold for format 1 of datagrams; whoever has to change one raises
//! `DATAGRAM_VERSIONS`, unless a kind or a field is added at the end.

use proptest::prelude::{any, prop_assert_eq, proptest};
use roost_proto::cluster::codec::MAX_PLAINTEXT;
use roost_proto::cluster::decision::{Arms, Asked, Carry, Decision, Entry, MoveOutcome, Proof, RecallReason};
use roost_proto::cluster::raft::{Ballot, LogEntry, Payload, Position, RaftMessage, StorageId};
use roost_proto::cluster::{
    Beat, Datagram, Echo, GroupReport, GroupState, Hello, HostId, Incarnation, LedgerId, Life, Message,
    MoveAsk, Need, Question, Report, Room, Running, Silent, Stamp, Whither,
};
use roost_proto::control::MoveMethod;

const A: HostId = HostId(300);
const LIFE: Incarnation = Incarnation { start: 5, boot: 7 };

/// A datagram of `messages` alone has these bytes after those of the ledger and of no beat.
#[track_caller]
fn frozen(messages: Vec<Message>, frozen: &str) {
    let datagram = Datagram { ledger: LedgerId(0x0403_0201), beat: None, messages };
    let bytes = datagram.encode();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, format!("0102030400{frozen}"), "{datagram:?}");
    assert_eq!(Datagram::decode(&bytes), Ok(datagram));
}

#[test]
fn beats() {
    let echo = Echo { start: 300, stamp: Stamp(1000), admitted: true };
    let of = |echo, life| Beat { stamp: Stamp(2000), echo, applied: 3, life };
    for (beat, frozen) in [
        (of(None, Life::Leased), "0100000005d00f000300"),
        (of(Some(echo), Life::Unleased), "010000000ad00f01ac02e807010301"),
        (of(Some(Echo { admitted: false, ..echo }), Life::Leaving), "010000000ad00f01ac02e807000302"),
    ] {
        let datagram = Datagram { ledger: LedgerId(1), beat: Some(beat), messages: vec![] };
        let hex: String = datagram.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, frozen, "{beat:?}");
        assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    }
}

#[test]
fn messages_of_each_kind() {
    let storage = StorageId(9);
    let last = Position { term: 3, index: 300 };
    let vote = RaftMessage::AskVote { term: 4, ballot: Ballot::Election, last, storage };
    frozen(vec![Message::Raft(vote)], "080000040103ac0209");
    let entries = vec![
        LogEntry { term: 4, payload: Payload::Blank },
        LogEntry { term: 4, payload: Payload::Data(vec![1, 2]) },
    ];
    let append = RaftMessage::Append { term: 4, previous: last, commit: 2, entries };
    frozen(vec![Message::Raft(append)], "0f00020403ac02020204000402020102");
    let hello = Hello {
        machine: 300,
        proof: Proof::Watchdog { timeout_ms: 5000, lease_ms: 3000 },
        storage,
        config: 1,
        running: Running::Nothing,
        armed: 300,
    };
    frozen(vec![Message::Hello(hello)], "0d01ac02018827b817090101ac02");
    let silent = Silent { host: A, incarnation: Some(LIFE), ago_ms: 1000 };
    let never = Silent { incarnation: None, ..silent };
    frozen(vec![Message::Silent(vec![silent, never])], "0e0202ac02010507e807ac0200e807");
    frozen(vec![Message::LastAnswered { host: A, incarnation: LIFE, ago_ms: 1 }], "0603ac02050701");
    let group = GroupReport {
        group: "web".to_owned(),
        changed: 300,
        state: GroupState::Well,
        need: Some(Need { memory_mib: 2048, cpus: 2 }),
    };
    let room = Room { memory_mib: 4096, memory_total_mib: 8192, cpus: 4 };
    let report = Report { number: 2, after: Some(1), newest: 2, room: Some(room), groups: vec![group] };
    frozen(vec![Message::Report(report)], "1704020101020180208040040103776562ac020301801002");
    frozen(vec![Message::ReportHeard { term: 3, start: 5, number: 9 }], "0405030509");
    let asked = Asked { host: A, start: 5, number: 1 };
    let decision =
        Decision::Fenced { host: A, incarnation: LIFE, by: roost_proto::cluster::decision::FencedBy::Agent };
    frozen(vec![Message::Ask(Entry { asked: Some(asked), decision })], "0c0601ac02050102ac02050700");
    let question = |question| vec![Message::Question { start: 5, number: 300, first: 2, lacks: 5, question }];
    frozen(question(Question::Cluster), "070905ac02020500");
    frozen(question(Question::Own), "070905ac02020501");
    frozen(question(Question::Explain("web".to_owned())), "0b0905ac0202050203776562");
    frozen(question(Question::Without(vec![A])), "0a0905ac0202050301ac02");
    frozen(question(Question::WithoutAny), "070905ac02020504");
    let answer =
        Message::Answer { start: 5, number: 300, edition: 1, page: 2, pages: 3, bytes: b"x\xff".to_vec() };
    frozen(vec![answer], "0a0a05ac020102030278ff");
    let arm = Decision::Arm { arms: Arms::Disarmed, by: "root".to_owned() };
    frozen(vec![Message::Ask(Entry { asked: None, decision: arm })], "0906000d0104726f6f74");
    let renewed = Proof::Watchdog { timeout_ms: 5000, lease_ms: 3000 };
    let renew = Decision::Renew { host: A, incarnation: LIFE, proof: renewed, armed: 300 };
    frozen(vec![Message::Ask(Entry { asked: None, decision: renew })], "0e06000eac020507018827b817ac02");
    let group = || "web".to_owned();
    let (epoch, to, incarnation, carry) = (3, A, LIFE, Carry::Suspend);
    let begin =
        Decision::MoveBegin { group: group(), epoch, to, incarnation, carry, why: RecallReason::Moved };
    frozen(vec![Message::Ask(Entry { asked: None, decision: begin })], "0e06000b0377656203ac0205070102");
    let outcomes = [
        (MoveOutcome::Over { still_ms: 300 }, "0d06000c0377656203ac0200ac02"),
        (MoveOutcome::Back { still_ms: 1 }, "0c06000c0377656203ac020101"),
        (MoveOutcome::Failed { reason: "no".to_owned() }, "0e06000c0377656203ac0202026e6f"),
        (MoveOutcome::Taken, "0b06000c0377656203ac0203"),
        (MoveOutcome::Lost { reason: "no".to_owned() }, "0e06000c0377656203ac0204026e6f"),
    ];
    for (outcome, bytes) in outcomes {
        let end = Decision::MoveEnd { group: group(), epoch: 3, begun: 300, outcome };
        frozen(vec![Message::Ask(Entry { asked: None, decision: end })], bytes);
    }
    let whither = Whither::Host(A);
    let ask = MoveAsk { asked, group: group(), whither, method: Some(MoveMethod::Cold) };
    frozen(vec![Message::AskMove(ask)], "0e07ac0205010377656200ac020102");
    frozen(vec![Message::Refused { asked, reason: "no".to_owned() }], "0808ac020501026e6f");
    let states = [
        (GroupState::Gone { still_ms: 300 }, "1004020002000103776562ac0209ac0200"),
        (GroupState::Stayed { reason: "no".to_owned() }, "1104020002000103776562ac020a026e6f00"),
        (GroupState::Taken, "0e04020002000103776562ac020b00"),
        (GroupState::NotTaken { reason: "no".to_owned() }, "1104020002000103776562ac020c026e6f00"),
    ];
    for (state, bytes) in states {
        let told = GroupReport { group: group(), changed: 300, state, need: None };
        let report = Report { number: 2, after: None, newest: 2, room: None, groups: vec![told] };
        frozen(vec![Message::Report(report)], bytes);
    }
    let two = Message::LastAnswered { host: A, incarnation: LIFE, ago_ms: 1 };
    frozen(vec![two.clone(), two], "0603ac020507010603ac02050701");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_to_one_meaning_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..=MAX_PLAINTEXT + 1)) {
        if let Ok(datagram) = Datagram::decode(&bytes) {
            prop_assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
        }
    }

    #[test]
    fn what_is_said_arrives(stamp: u64, applied: u64, start: u16, echoed: u64, admitted: bool, hosts in proptest::collection::vec(any::<(u32, u64, bool)>(), 0..40)) {
        let echo = Some(Echo { start, stamp: Stamp(echoed), admitted });
        let beat = Some(Beat { stamp: Stamp(stamp), echo, applied, life: Life::Leased });
        let silent = hosts.iter().map(|(host, ago_ms, heard)| Silent {
            host: HostId(*host),
            incarnation: heard.then_some(LIFE),
            ago_ms: *ago_ms,
        });
        let datagram = Datagram { ledger: LedgerId(1), beat, messages: vec![Message::Silent(silent.collect())] };
        prop_assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    }
}
