//! The link's frozen bytes: what version 1 puts on the wire never changes, so that a guest image that nobody has touched for
//! years still speaks with its host. And whatever comes over the wire is decoded or refused.

use proptest::prelude::{any, prop_assert_eq, proptest};
use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{
    Cause, Circumstances, Exit, Fault, GroupReport, GroupState, GuestMessage, Hello, HostMessage, MAGIC,
    ManagedReport, Order, Readiness, ResourceReport, ResourceState, Versions, Wanted,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn frozen<T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug>(message: &T, bytes: &str) {
    let mut out = Vec::new();
    encode(message, &mut out).expect("small");
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, bytes, "{message:?}");
    let mut decoder = Decoder::default();
    decoder.push(&out);
    assert_eq!(decoder.next::<T>().expect("its own bytes").as_ref(), Some(message));
}

fn group(state: GroupState) -> GuestMessage {
    let resource =
        |name: &str, state| ResourceReport { name: name.into(), state, restarts: 300, detail: "d".into() };
    let resources = vec![
        resource("a", ResourceState::Stopped),
        resource("b", ResourceState::Starting),
        resource("c", ResourceState::Running),
        resource("d", ResourceState::Degraded),
        resource("e", ResourceState::Stopping),
        resource("f", ResourceState::Waiting),
        resource("g", ResourceState::Failed),
    ];
    GuestMessage::Group(GroupReport { name: "site".into(), state, frozen: true, resources })
}

#[test]
fn what_a_guest_says() {
    let hello = Hello {
        magic: MAGIC,
        versions: Versions { oldest: 1, newest: 1 },
        software: "roost-guest 0.1.0".into(),
        boot_id: [7; 16],
        starts: 300,
    };
    frozen(
        &GuestMessage::Hello(hello),
        "2b000052535431010111726f6f73742d677565737420302e312e3007070707070707070707070707070707ac02",
    );
    frozen(&GuestMessage::Snapshot { groups: 3 }, "02000103");
    frozen(&GuestMessage::Beat, "010003");
    frozen(
        &group(GroupState::Online),
        "3a00020473697465020107016100ac020164016201ac020164016302ac020164016403ac020164016504ac020164016605ac020164016706ac020164",
    );
    let fault = |exit| {
        let (resource, reason, output) = ("a".to_owned(), "r".to_owned(), "o".to_owned());
        let state = GroupState::Faulted(Fault { resource, reason, exit, output });
        GuestMessage::Group(GroupReport { name: "s".into(), state, frozen: false, resources: vec![] })
    };
    frozen(&fault(Exit::Unknown), "0d00020173060161017200016f0000");
    frozen(&fault(Exit::Code(-1)), "0e0002017306016101720101016f0000");
    frozen(&fault(Exit::Signal(9)), "0e0002017306016101720212016f0000");
}

#[test]
fn every_state_has_its_number() {
    let states = [
        GroupState::Offline,
        GroupState::Starting,
        GroupState::Online,
        GroupState::Degraded,
        GroupState::Recovering,
        GroupState::Stopping,
    ];
    for (number, state) in states.into_iter().enumerate() {
        assert_eq!(postcard::to_allocvec(&state).expect("small"), [u8::try_from(number).expect("few")]);
    }
}

#[test]
fn what_a_host_says() {
    frozen(
        &HostMessage::Welcome { version: 1, host: "hv1".into(), group: "web".into() },
        "0a0000010368763103776562",
    );
    frozen(&HostMessage::Refused { versions: Versions { oldest: 1, newest: 2 } }, "0300010102");
    frozen(&HostMessage::Beat, "010002");
}

#[test]
fn what_version_2_adds() {
    let report =
        GroupReport { name: "db".into(), state: GroupState::Offline, frozen: false, resources: vec![] };
    let managed = ManagedReport { report, wanted: Wanted::Online, epoch: 300, obeys: Some(2) };
    frozen(&GuestMessage::Managed(managed), "0c000402646200000001ac020102");
    let ready = |readiness| GuestMessage::Ready { group: "db".into(), number: 300, readiness };
    frozen(&ready(Readiness::Ready), "070005026462ac0200");
    frozen(&ready(Readiness::NotReady { reason: "r".into() }), "090005026462ac02010172");
    let circumstances =
        Circumstances { target: "vm:s".into(), previous: "db1".into(), reason: Cause::Failover };
    let order = Order {
        group: "db".into(),
        number: 1,
        epoch: 300,
        wanted: Wanted::Offline,
        lease_ms: 30_000,
        circumstances: circumstances.clone(),
    };
    frozen(&HostMessage::Order(order), "15000302646201ac0200b0ea0104766d3a730364623101");
    frozen(
        &HostMessage::AskReady { group: "db".into(), number: 7, circumstances },
        "0f00040264620704766d3a730364623101",
    );
    let causes = [
        Cause::Start,
        Cause::Failover,
        Cause::Switchover,
        Cause::Failback,
        Cause::Recovery,
        Cause::Stop,
        Cause::Lease,
    ];
    for (number, cause) in causes.into_iter().enumerate() {
        assert_eq!(postcard::to_allocvec(&cause).expect("small"), [u8::try_from(number).expect("few")]);
    }
}

proptest! {
    #[test]
    fn garbage_is_decoded_or_refused_however_it_is_cut(bytes: Vec<u8>, step in 1_usize..64) {
        let decode = |step: usize| {
            let mut decoder = Decoder::default();
            let mut messages: Vec<GuestMessage> = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                loop {
                    match decoder.next() {
                        Ok(Some(message)) => messages.push(message),
                        Ok(None) => break,
                        Err(error) => return (messages, Some(error)),
                    }
                }
            }
            (messages, None)
        };
        prop_assert_eq!(decode(step), decode(bytes.len().max(1)));
    }

    #[test]
    fn whatever_is_sent_is_heard(name in "[a-z]{1,64}", restarts: u32, code in any::<i32>(), output: String) {
        let output = roost_proto::text::clip(&output, roost_proto::link::MAX_OUTPUT).to_owned();
        let fault = Fault { resource: name.clone(), reason: String::new(), exit: Exit::Code(code), output };
        let resource = ResourceReport { name: name.clone(), state: ResourceState::Failed, restarts, detail: String::new() };
        let (state, resources) = (GroupState::Faulted(fault), vec![resource]);
        let report = GroupReport { name, state, frozen: false, resources };
        prop_assert_eq!(report.check(), Ok(()));
        let message = GuestMessage::Group(report);
        let mut bytes = Vec::new();
        encode(&message, &mut bytes).expect("within its limits it fits");
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        prop_assert_eq!(decoder.next::<GuestMessage>().expect("its own bytes"), Some(message));
    }
}
