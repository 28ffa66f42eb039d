//! The frozen bytes of what the controller keeps in its run directory and says on its own socket, and frames in any
//! condition. (Those of the link stand in `link.rs`.)
//!
//! A controller that is upgraded reads what the one before it wrote. Whoever has to change a byte here raises
//! `RUNTIME_VERSION`, so that the file is not misread.

use proptest::prelude::*;
use roost_proto::frame::{Decoder, FrameError, MAX_PAYLOAD, encode};
use roost_proto::link::{
    Cause, Circumstances, Exit, Fault, GroupReport, GroupState, GuestMessage, Hello, HostMessage, MAX_DETAIL,
    MAX_OUTPUT, MAX_REASON, MAX_RESOURCES, ManagedReport, ResourceReport, ResourceState, Versions, Wanted,
};
use roost_proto::local::{
    GroupRuntime, LinkStatus, ManagedRuntime, ProcessId, Progress, RUNTIME_VERSION, Reply, Request,
    ResourceRuntime, Runtime,
};
use roost_proto::retry::Attempts;
use roost_proto::text::clip;
use roost_proto::time::Instant;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// `message` is written as `frozen`, a frame in hexadecimal, and is read from it.
#[track_caller]
fn frozen<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T, frozen: &str) {
    let mut frame = Vec::new();
    encode(message, &mut frame).expect("it fits");
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, frozen, "{message:?}");
    let mut decoder = Decoder::default();
    decoder.push(&frame);
    assert_eq!(decoder.next::<T>().expect("its own bytes").as_ref(), Some(message));
    assert!(!decoder.is_partial());
}

#[test]
fn what_is_asked_and_answered_on_the_controllers_socket() {
    frozen(&Request::Status, "010000");
    frozen(&Request::Freeze { group: "site".into() }, "0600010473697465");
    frozen(&Request::Thaw { group: "site".into() }, "0600020473697465");
    let report =
        GroupReport { name: "g".into(), state: GroupState::Online, frozen: false, resources: Vec::new() };
    frozen(&Reply::Group(report.clone()), "0600000167020000");
    frozen(&Reply::End(LinkStatus::None), "02000100");
    let up = LinkStatus::Up { host: "hv1".into(), group: "web".into() };
    frozen(&Reply::End(up), "0a0001010368763103776562");
    frozen(&Reply::End(LinkStatus::Down { reason: "x".into() }), "040001020178");
    frozen(&Reply::Done, "010002");
    frozen(&Reply::Refused { reason: "no".into() }, "040003026e6f");
    let report = ManagedReport { report, wanted: Wanted::Online, epoch: 300, obeys: None };
    frozen(&Reply::Managed { report, heard_ms: Some(300) }, "0d0004016702000001ac020001ac02");
}

#[test]
fn what_the_controller_keeps() {
    let mut attempts = Attempts::default();
    attempts.count(Instant::from_nanos(300), Duration::from_secs(1));
    let runtime = Runtime {
        version: RUNTIME_VERSION,
        boot_id: [7; 16],
        starts: 2,
        groups: vec![GroupRuntime {
            name: "site".into(),
            frozen: true,
            fault: Some(Fault {
                resource: "web".into(),
                reason: "r".into(),
                exit: Exit::Signal(9),
                output: "o".into(),
            }),
            restarts: attempts.clone(),
            managed: Some(ManagedRuntime {
                wanted: Wanted::Online,
                epoch: 300,
                lease_ms: Some(30_000),
                circumstances: Circumstances {
                    target: "vm:s".into(),
                    previous: "db1".into(),
                    reason: Cause::Failover,
                },
                progress: Progress::Leaving,
            }),
            resources: vec![
                ResourceRuntime {
                    name: "web".into(),
                    fingerprint: 0x0123_4567_89ab_cdef,
                    process: Some(ProcessId { pid: 4711, start_ticks: 300 }),
                    attempts,
                },
                ResourceRuntime { name: "db".into(), ..ResourceRuntime::default() },
            ],
        }],
    };
    frozen(
        &runtime,
        "560002070707070707070707070707070707070201047369746501010377656201720212\
         016f01ac020101ac0201b0ea0104766d3a730364623101030203776562ef9bafcdf8acd1910101ce49ac0201ac02026462000000",
    );
}

fn text(max: usize) -> impl Strategy<Value = String> {
    any::<String>().prop_map(move |text| clip(&text, max).to_owned())
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![Just(Exit::Unknown), any::<i32>().prop_map(Exit::Code), any::<i32>().prop_map(Exit::Signal)]
}

fn state() -> impl Strategy<Value = GroupState> {
    let fault = (name(), text(MAX_REASON), exit(), text(MAX_OUTPUT))
        .prop_map(|(resource, reason, exit, output)| Fault { resource, reason, exit, output });
    prop_oneof![
        Just(GroupState::Offline),
        Just(GroupState::Starting),
        Just(GroupState::Online),
        Just(GroupState::Degraded),
        Just(GroupState::Recovering),
        Just(GroupState::Stopping),
        fault.prop_map(GroupState::Faulted),
    ]
}

fn resource() -> impl Strategy<Value = ResourceReport> {
    let state = prop_oneof![
        Just(ResourceState::Stopped),
        Just(ResourceState::Starting),
        Just(ResourceState::Running),
        Just(ResourceState::Degraded),
        Just(ResourceState::Stopping),
        Just(ResourceState::Waiting),
        Just(ResourceState::Failed),
    ];
    (name(), state, any::<u32>(), text(MAX_DETAIL))
        .prop_map(|(name, state, restarts, detail)| ResourceReport { name, state, restarts, detail })
}

fn report() -> impl Strategy<Value = GroupReport> {
    (name(), state(), any::<bool>(), proptest::collection::vec(resource(), 0..=MAX_RESOURCES / 4))
        .prop_map(|(name, state, frozen, resources)| GroupReport { name, state, frozen, resources })
}

fn versions() -> impl Strategy<Value = Versions> {
    (any::<u16>(), any::<u16>()).prop_map(|(oldest, newest)| Versions { oldest, newest })
}

fn guest_message() -> impl Strategy<Value = GuestMessage> {
    let hello = (any::<[u8; 4]>(), versions(), text(64), any::<[u8; 16]>(), any::<u32>()).prop_map(
        |(magic, versions, software, boot_id, starts)| {
            GuestMessage::Hello(Hello { magic, versions, software, boot_id, starts })
        },
    );
    prop_oneof![
        hello,
        any::<u16>().prop_map(|groups| GuestMessage::Snapshot { groups }),
        report().prop_map(GuestMessage::Group),
        Just(GuestMessage::Beat),
    ]
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    prop_oneof![
        (any::<u16>(), text(64), text(64)).prop_map(|(version, host, group)| HostMessage::Welcome {
            version,
            host,
            group
        }),
        versions().prop_map(|versions| HostMessage::Refused { versions }),
        Just(HostMessage::Beat),
    ]
}

/// Pushes `stream` in pieces that end at `cuts`; the messages, and the error if there is one.
fn decode<T: DeserializeOwned>(stream: &[u8], cuts: &[prop::sample::Index]) -> (Vec<T>, Option<FrameError>) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    let mut start = 0;
    for end in ends {
        decoder.push(&stream[start..end]);
        start = end;
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fn stream<T: Serialize>(messages: &[T]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        encode(message, &mut stream).expect("within its limits it fits");
    }
    stream
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    proptest::collection::vec(any::<prop::sample::Index>(), 0..8)
}

proptest! {
    #[test]
    fn guests_are_heard_however_the_stream_is_cut(
        messages in proptest::collection::vec(guest_message(), 0..4),
        cuts in cuts(),
    ) {
        prop_assert_eq!(decode(&stream(&messages), &cuts), (messages, None));
    }

    #[test]
    fn hosts_are_heard_however_the_stream_is_cut(
        messages in proptest::collection::vec(host_message(), 0..6),
        cuts in cuts(),
    ) {
        prop_assert_eq!(decode(&stream(&messages), &cuts), (messages, None));
    }

    /// A frame of the right length around nonsense: what is read of it is at most one message, and then the end.
    #[test]
    fn nonsense_in_a_whole_frame_is_one_message_or_the_end(
        payload in proptest::collection::vec(any::<u8>(), 1..600),
        cuts in cuts(),
    ) {
        let mut frame = u16::try_from(payload.len()).expect("small").to_le_bytes().to_vec();
        frame.extend_from_slice(&payload);
        let (guest, error) = decode::<GuestMessage>(&frame, &cuts);
        prop_assert_eq!(guest.len() + usize::from(error.is_some()), 1);
        let (host, error) = decode::<HostMessage>(&frame, &cuts);
        prop_assert_eq!(host.len() + usize::from(error.is_some()), 1);
        let _ = decode::<Runtime>(&frame, &cuts);
        let _ = decode::<Request>(&frame, &cuts);
        let _ = decode::<Reply>(&frame, &cuts);
    }

    /// One byte of a good stream changed, or its end missing.
    #[test]
    fn a_damaged_stream_never_panics(
        message in guest_message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in cuts(),
    ) {
        let mut damaged = stream(&[message.clone(), message]);
        let at = at.index(damaged.len());
        let (read, error) = decode::<GuestMessage>(&damaged[..at], &cuts);
        prop_assert!(read.len() <= 2 && error.is_none(), "what is cut off is waited for");
        damaged[at] = byte;
        let _ = decode::<GuestMessage>(&damaged, &cuts);
    }
}

/// A length that the frame does not hold is refused before room is made for it.
#[test]
fn an_enormous_claim_is_refused() {
    let claim = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]; // u64::MAX as a varint
    for before in [vec![2_u8], vec![2, 1, b'g', 2, 0], vec![0, 82, 83, 84, 49, 1, 1]] {
        let payload: Vec<u8> = before.into_iter().chain(claim).collect();
        let mut frame = u16::try_from(payload.len()).expect("small").to_le_bytes().to_vec();
        frame.extend_from_slice(&payload);
        let mut decoder = Decoder::default();
        decoder.push(&frame);
        assert_eq!(decoder.next::<GuestMessage>(), Err(FrameError::Malformed));
    }
}

#[test]
fn an_error_is_final() {
    let mut decoder = Decoder::default();
    decoder.push(&[1, 0, 0xee]);
    assert_eq!(decoder.next::<GuestMessage>(), Err(FrameError::Malformed));
    decoder.push(&stream(&[GuestMessage::Beat]));
    assert_eq!(decoder.next::<GuestMessage>(), Err(FrameError::Malformed));
    assert!(MAX_PAYLOAD < usize::from(u16::MAX), "a header can announce too much, and that is refused");
}
