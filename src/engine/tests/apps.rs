//! What is shown and explained of applications, on a host that is all of its cluster: its own machine is home, and a cold
//! standby VM is the other target.

use super::super::keeper::remote_agent::GuestInput;
use super::*;
use roost_proto::control::{Ask, Condition, GroupStatus, Health, Reply, Status};
use roost_proto::insight::{Explanation, GroupExplained, Subject, Trial, Verdict};
use roost_proto::link::{self, GuestMessage, ManagedReport, Wanted};

const APPS: &str = "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n[[group]]\nname = \"spare\"\nvm = \"spare1\"\nstandby = \"cold\"\n\
                    [[group]]\nname = \"orders\"\napp = \"postgres\"\non = [\"hv1\", \"vm:spare\"]\n";

/// What was asked is answered at once.
fn asked(alone: &mut Alone, ask: Ask) -> Reply {
    alone.engine.handle(alone.now, Input::Ask { request: RequestId(9), ask, now_ms: 1_000_000 });
    let mut reply = None;
    while let Some(output) = alone.engine.poll_output() {
        match output {
            Output::Reply { reply: said, .. } => reply = Some(*said),
            Output::Write(write) => alone.writes.push(write.number),
            _ => {}
        }
    }
    reply.expect("there is nobody to wait for")
}

fn status(alone: &mut Alone) -> Status {
    match asked(alone, Ask::Cluster) {
        Reply::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn group(alone: &mut Alone, name: &str) -> GroupStatus {
    status(alone).groups.into_iter().find(|group| group.name == name).expect("it is in the file")
}

fn explained(alone: &mut Alone, name: &str) -> GroupExplained {
    match asked(alone, Ask::Explain { subject: name.to_owned() }) {
        Reply::Explanation(Explanation { subject: Subject::Group(group), .. }) => group,
        other => panic!("{other:?}"),
    }
}

/// The machine's controller says how the application is, as of the newest order that it heard.
fn tells(alone: &mut Alone, wanted: Wanted, state: link::GroupState, obeys: Option<u32>) {
    let report =
        link::GroupReport { name: "postgres".to_owned(), state, frozen: false, resources: Vec::new() };
    let epoch = alone.engine.ledger().group("orders").epoch;
    let managed = ManagedReport { report, wanted, epoch, obeys };
    say(alone, GuestMessage::Managed(managed));
}

fn say(alone: &mut Alone, message: GuestMessage) {
    alone.handle(Input::Machine(GuestInput::Message(message)));
}

/// Time passes, and what is written is durable.
fn pass(alone: &mut Alone) {
    for _ in 0..8 {
        alone.sync();
        alone.pass(Duration::from_millis(250));
    }
}

/// The machine's controller is connected, and the application is online on the machine.
fn online() -> Alone {
    let mut alone = Alone::of(APPS);
    pass(&mut alone);
    let software = "roost-guest 0.1.0".to_owned();
    alone.handle(Input::Machine(GuestInput::Connected {
        boot_id: [1; 16],
        software,
        version: link::ORDERS_SINCE,
    }));
    say(&mut alone, GuestMessage::Snapshot { groups: 1 });
    tells(&mut alone, Wanted::Offline, link::GroupState::Offline, None);
    pass(&mut alone);
    let orders = group(&mut alone, "orders");
    assert_eq!(orders.owner.as_deref(), Some("hv1"), "{orders:?}");
    tells(&mut alone, Wanted::Online, link::GroupState::Online, Some(1));
    pass(&mut alone);
    alone
}

#[test]
fn an_application_at_home_and_its_cold_standby_are_well() {
    let mut alone = online();
    let orders = group(&mut alone, "orders");
    assert_eq!(
        (orders.condition, orders.target.as_deref()),
        (Condition::Online, Some("hv1")),
        "{}",
        orders.reason
    );
    assert_eq!((orders.home.as_deref(), orders.vm.as_str()), (Some("hv1"), ""));
    assert_eq!(
        (&orders.targets[..], orders.preparing),
        (&["hv1".to_owned(), "vm:spare".to_owned()][..], None)
    );
    let spare = group(&mut alone, "spare");
    assert_eq!((spare.condition, spare.standby, spare.reason.as_str()), (Condition::Offline, true, ""));
    assert_eq!(super::super::keeper::health(&spare), Health::Healthy);
    alone.order("spare", GroupOrder::Intent(Intent::Offline));
    pass(&mut alone);
    let spare = group(&mut alone, "spare");
    assert!(
        !spare.standby && spare.condition == Condition::Offline,
        "what an operator wants off is no standby"
    );
}

#[test]
fn an_application_is_explained_by_its_targets_and_not_by_libvirt() {
    let mut alone = online();
    let orders = explained(&mut alone, "orders");
    assert_eq!((orders.app.as_deref(), orders.target.as_deref()), (Some("postgres"), Some("hv1")));
    assert!(orders.why.iter().any(|why| why.contains("'hv1' is its home")), "{orders:?}");
    let [home, spare] = orders.hosts.as_slice() else { panic!("{orders:?}") };
    assert_eq!((home.host.as_str(), home.verdict), ("hv1", Verdict::Owner));
    assert_eq!(spare.host, "vm:spare");
    assert!(spare.reason.contains("'spare'"), "{spare:?}");
    assert!(
        matches!(&orders.failback, Some(Trial::Refused { reason }) if reason.contains("as near to its home"))
    );
    assert!(matches!(home.switch, Some(Trial::Refused { .. })), "{home:?}");
    let words = format!("{:?} {:?} {:?}", orders.why, orders.problems, orders.next.first());
    assert!(!words.contains("libvirt") && !words.contains("its VM") && !words.contains("guest's"), "{words}");
    assert!(words.contains("if its roost-guest gives up on it"), "{words}");
    let spare = explained(&mut alone, "spare");
    assert!(spare.why.iter().any(|why| why.contains("off until an application needs it")), "{spare:?}");
}

#[test]
fn a_controller_that_is_not_heard_is_told_in_its_own_words() {
    let mut alone = Alone::of(APPS);
    pass(&mut alone);
    let orders = group(&mut alone, "orders");
    assert_eq!(orders.condition, Condition::Waiting);
    assert!(orders.reason.contains("roost-guest of 'hv1' is not connected"), "{}", orders.reason);
    assert!(orders.target.is_none() && orders.home.as_deref() == Some("hv1"));
}
