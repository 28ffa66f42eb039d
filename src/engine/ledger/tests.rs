use super::*;
use proptest::prelude::*;
use roost_proto::cluster::decision::Arms;

const A: HostId = HostId(1);
const B: HostId = HostId(2);

const fn life(start: u32, boot: u64) -> Incarnation {
    Incarnation { start, boot }
}

/// A ledger and how far it is.
#[derive(Clone, Default)]
struct Book {
    ledger: Ledger,
    index: Index,
}

impl Book {
    fn decide(&mut self, decision: Decision) -> Effect {
        self.index += 1;
        self.ledger.apply(self.index, &Entry { asked: None, decision })
    }

    fn admit(&mut self, host: HostId, incarnation: Incarnation, machine: u64) -> Effect {
        let name = format!("host-{}", host.0);
        self.decide(Decision::Admit { host, name, incarnation, machine, proof: Proof::None })
    }

    fn assign(&mut self, epoch: u64, to: HostId, incarnation: Incarnation) -> Effect {
        self.decide(Decision::Assign {
            group: "web".to_owned(),
            epoch,
            to,
            incarnation,
            need: Need::default(),
        })
    }

    fn order(&mut self, order: GroupOrder) -> Effect {
        self.decide(Decision::Order { group: "web".to_owned(), order, by: "somebody".to_owned() })
    }

    fn release(&mut self, epoch: u64, changed: Index) -> Effect {
        self.decide(Decision::Release { group: "web".to_owned(), epoch, changed })
    }

    fn recall(&mut self, epoch: u64) -> Effect {
        let (to, why) = (Some(B), RecallReason::Failed);
        self.decide(Decision::Recall { group: "web".to_owned(), epoch, to, why })
    }

    fn web(&self) -> &GroupRecord {
        self.ledger.group("web")
    }
}

/// Two hosts, the first of which owns the group.
fn book() -> Book {
    let mut book = Book::default();
    assert_eq!(book.admit(A, life(1, 1), 10), Effect::Done);
    assert_eq!(book.admit(B, life(1, 2), 20), Effect::Done);
    assert_eq!(book.assign(0, A, life(1, 1)), Effect::Done);
    book
}

#[test]
fn a_group_has_one_owner_and_a_new_epoch_with_each() {
    let mut book = book();
    assert_eq!((book.web().owner, book.web().epoch), (Some(A), 1));
    assert_ne!(book.assign(1, B, life(1, 2)), Effect::Done, "it has an owner");
    assert_eq!(book.recall(1), Effect::Done);
    let changed = book.web().changed;
    assert_eq!(book.release(1, changed), Effect::Done);
    assert_eq!((book.web().owner, book.web().wish), (None, Some(B)));
    assert_ne!(book.assign(0, B, life(1, 2)), Effect::Done, "that was another epoch");
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
    assert_eq!((book.web().owner, book.web().epoch), (Some(B), 2));
}

#[test]
fn an_evicted_host_keeps_its_groups_from_others_until_it_is_fenced() {
    let mut book = book();
    assert_ne!(book.decide(Decision::Evict { host: A, incarnation: life(9, 9) }), Effect::Done);
    assert_eq!(book.decide(Decision::Evict { host: A, incarnation: life(1, 1) }), Effect::Done);
    assert_ne!(book.assign(1, B, life(1, 2)), Effect::Done);
    assert_ne!(book.admit(A, life(2, 3), 10), Effect::Done, "it may still run something");
    let fenced = |incarnation| Decision::Fenced { host: A, incarnation, by: FencedBy::Agent };
    assert_ne!(book.decide(fenced(life(2, 3))), Effect::Done, "another life was fenced");
    assert_eq!(book.decide(fenced(life(1, 1))), Effect::Done);
    assert_eq!(book.web().owner, None);
    assert_ne!(book.decide(fenced(life(1, 1))), Effect::Done);
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
    assert_eq!(book.admit(A, life(2, 3), 10), Effect::Done);
}

#[test]
fn a_daemon_that_starts_again_keeps_its_groups_and_a_machine_that_booted_does_not() {
    let mut book = book();
    assert_eq!(book.admit(A, life(2, 1), 10), Effect::Done);
    assert_eq!(book.web().owner, Some(A), "the same boot: its VMs may run");
    assert!(!book.ledger.admits(A, life(1, 1)));
    assert_ne!(book.admit(A, life(2, 1), 10), Effect::Done);
    assert_ne!(book.admit(A, life(1, 1), 10), Effect::Done, "that life is over");
    assert_eq!(book.admit(A, life(3, 5), 10), Effect::Done);
    assert_eq!((book.web().owner, book.web().last), (None, Some(A)), "another boot: nothing of it runs");
}

impl Book {
    fn move_begin(&mut self, epoch: u64, carry: Carry) -> Effect {
        let (group, to, incarnation) = ("web".to_owned(), B, life(1, 2));
        self.decide(Decision::MoveBegin { group, epoch, to, incarnation, carry, why: RecallReason::Moved })
    }

    fn move_end(&mut self, epoch: u64, begun: Index, outcome: MoveOutcome) -> Effect {
        self.decide(Decision::MoveEnd { group: "web".to_owned(), epoch, begun, outcome })
    }
}

#[test]
fn memory_becomes_the_targets_only_by_the_end_of_its_own_move() {
    let mut book = book();
    let over = || MoveOutcome::Over { still_ms: 7 };
    assert_ne!(book.move_end(1, book.index, over()), Effect::Done, "nothing has begun");
    assert_eq!(book.move_begin(1, Carry::Live), Effect::Done);
    let begun = book.index;
    assert_ne!(book.move_begin(1, Carry::Live), Effect::Done, "one at a time");
    assert_ne!(book.recall(1), Effect::Done, "it is on its way");
    assert_ne!(book.release(1, book.web().changed), Effect::Done);
    assert_eq!((book.web().owner, book.web().epoch), (Some(A), 1), "until it is there it is where it was");
    assert_ne!(book.move_end(1, begun - 1, over()), Effect::Done, "that was another move");
    assert_ne!(book.move_end(0, begun, over()), Effect::Done, "that was another epoch");
    assert_eq!(book.move_end(1, begun, over()), Effect::Done);
    assert_eq!((book.web().owner, book.web().epoch, book.web().last), (Some(B), 2, Some(A)));
    assert_eq!(book.web().handover, Some(Handover { begun, carry: Carry::Live, still_ms: 7 }));
    assert_ne!(book.move_end(2, begun, over()), Effect::Done, "it is over");
    assert_ne!(book.recall(2), Effect::Done, "it is being taken over");
    assert_eq!(book.move_end(2, begun, MoveOutcome::Taken), Effect::Done);
    assert_eq!((book.web().owner, book.web().handover), (Some(B), None));
}

#[test]
fn whatever_else_gives_a_group_to_a_host_gives_it_none_of_its_memory() {
    let mut book = book();
    assert_eq!(book.move_begin(1, Carry::Suspend), Effect::Done);
    let begun = book.index;
    assert_eq!(book.decide(Decision::Evict { host: A, incarnation: life(1, 1) }), Effect::Done);
    let over = MoveOutcome::Over { still_ms: 0 };
    assert_ne!(book.move_end(1, begun, over.clone()), Effect::Done, "its owner was evicted");
    let by = FencedBy::Agent;
    assert_eq!(book.decide(Decision::Fenced { host: A, incarnation: life(1, 1), by }), Effect::Done);
    assert_eq!((book.web().owner, book.web().moving), (None, None));
    assert_ne!(book.move_end(1, begun, over), Effect::Done);
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
    assert_eq!((book.web().handover, book.web().left), (None, Some(begun)), "its file is to be taken away");
}

#[test]
fn a_target_that_was_booted_or_evicted_gets_no_memory() {
    let over = || MoveOutcome::Over { still_ms: 0 };
    for booted in [true, false] {
        let mut book = book();
        assert_eq!(book.move_begin(1, Carry::Suspend), Effect::Done);
        let begun = book.index;
        if booted {
            assert_eq!(book.admit(B, life(2, 9), 20), Effect::Done);
        } else {
            assert_eq!(book.decide(Decision::Evict { host: B, incarnation: life(1, 2) }), Effect::Done);
        }
        assert_ne!(book.move_end(1, begun, over()), Effect::Done);
        assert_eq!(book.move_end(1, begun, MoveOutcome::Back { still_ms: 0 }), Effect::Done);
        assert_eq!((book.web().owner, book.web().epoch), (Some(A), 2), "its owner takes it back");
        assert!(book.web().handover.is_some());
    }
    let mut book = book();
    assert_eq!(book.move_begin(1, Carry::Live), Effect::Done);
    let begun = book.index;
    assert_eq!(book.admit(B, life(2, 2), 20), Effect::Done, "its daemon was started again, and no more");
    assert_ne!(book.move_end(1, begun, MoveOutcome::Back { still_ms: 0 }), Effect::Done, "there is no file");
    assert_eq!(book.move_end(1, begun, over()), Effect::Done);
}

#[test]
fn a_move_begins_only_from_an_owner_to_another_host_that_may_be_used() {
    let mut book = book();
    assert_ne!(book.move_begin(0, Carry::Live), Effect::Done, "that was another epoch");
    let mode = |mode| Decision::Mode { host: B, mode, by: "somebody".to_owned() };
    book.decide(mode(HostMode::Maintenance));
    assert_ne!(book.move_begin(1, Carry::Live), Effect::Done);
    book.decide(mode(HostMode::Active));
    book.order(GroupOrder::Freeze);
    assert_ne!(book.move_begin(1, Carry::Live), Effect::Done);
    book.order(GroupOrder::Thaw);
    book.order(GroupOrder::Intent(Intent::Offline));
    assert_ne!(book.move_begin(1, Carry::Live), Effect::Done);
    book.order(GroupOrder::Intent(Intent::Online));
    assert_eq!(book.move_begin(1, Carry::Live), Effect::Done);
    assert_eq!(book.move_end(1, book.index, MoveOutcome::Failed { reason: String::new() }), Effect::Done);
    assert_eq!(book.recall(1), Effect::Done);
    assert_ne!(book.move_begin(1, Carry::Live), Effect::Done, "it is recalled");
}

#[test]
fn another_machine_of_the_same_name_takes_nothing_over() {
    let mut book = book();
    assert_ne!(book.admit(A, life(2, 5), 11), Effect::Done);
    assert_eq!(book.web().owner, Some(A));
}

#[test]
fn nothing_is_given_to_who_is_not_there_or_shall_not_get_anything() {
    let mut book = book();
    book.recall(1);
    let changed = book.web().changed;
    book.release(1, changed);
    assert_ne!(book.assign(1, B, life(7, 2)), Effect::Done, "another life");
    for mode in [HostMode::Maintenance, HostMode::Quarantined] {
        assert_eq!(book.decide(Decision::Mode { host: B, mode, by: String::new() }), Effect::Done);
        assert_ne!(book.assign(1, B, life(1, 2)), Effect::Done);
    }
    book.decide(Decision::Mode { host: B, mode: HostMode::Active, by: String::new() });
    for order in [GroupOrder::Intent(Intent::Offline), GroupOrder::Freeze] {
        book.order(order);
        assert_ne!(book.assign(1, B, life(1, 2)), Effect::Done);
        book.order(GroupOrder::Intent(Intent::Online));
        book.order(GroupOrder::Thaw);
    }
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
}

#[test]
fn a_release_holds_only_when_nothing_was_decided_since_its_owner_said_that_it_is_down() {
    let mut book = book();
    book.order(GroupOrder::Intent(Intent::Offline));
    let down = book.web().changed;
    book.order(GroupOrder::Intent(Intent::Online)); // its owner may start it again from here on
    assert_ne!(book.release(1, down), Effect::Done);
    assert_eq!(book.web().owner, Some(A));
}

#[test]
fn a_frozen_group_is_not_recalled() {
    let mut book = book();
    book.order(GroupOrder::Freeze);
    assert_ne!(book.recall(1), Effect::Done);
}

#[test]
fn an_order_that_arrives_again_or_late_counts_once() {
    let mut book = Book::default();
    let mut ask = |number, intent| {
        let asked = Some(Asked { host: A, start: 1, number });
        let order = GroupOrder::Intent(intent);
        let decision = Decision::Order { group: "web".to_owned(), order, by: String::new() };
        book.index += 1;
        book.ledger.apply(book.index, &Entry { asked, decision });
        book.web().intent
    };
    assert_eq!(ask(1, Intent::Offline), Intent::Offline);
    assert_eq!(ask(2, Intent::Online), Intent::Online);
    assert_eq!(ask(1, Intent::Offline), Intent::Online);
    assert_eq!(ask(2, Intent::Offline), Intent::Online);
}

#[test]
fn a_group_that_was_given_up_waits_for_an_operator() {
    let mut book = book();
    book.recall(1);
    let changed = book.web().changed;
    book.release(1, changed);
    let give_up = Decision::GiveUp { group: "web".to_owned(), epoch: 1, reason: "broken".to_owned() };
    assert_eq!(book.decide(give_up.clone()), Effect::Done);
    assert_ne!(book.decide(give_up), Effect::Done);
    assert_ne!(book.assign(1, B, life(1, 2)), Effect::Done);
    book.order(GroupOrder::Intent(Intent::Online));
    assert_eq!(book.web().failed_on, []);
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
}

#[test]
fn a_host_leaves_when_it_owns_nothing() {
    let mut book = book();
    let leave = Decision::Leave { host: A, incarnation: life(1, 1) };
    assert_ne!(book.decide(leave.clone()), Effect::Done);
    book.recall(1);
    let changed = book.web().changed;
    book.release(1, changed);
    assert_eq!(book.decide(leave), Effect::Done);
    assert_eq!(book.ledger.standing(A), Standing::Out);
}

#[test]
fn an_operator_may_vouch_for_a_host_that_was_never_seen() {
    let mut book = Book::default();
    let fenced = |by| Decision::Fenced { host: A, incarnation: Incarnation::default(), by };
    assert_ne!(book.decide(fenced(FencedBy::Time)), Effect::Done);
    assert_eq!(book.decide(fenced(FencedBy::Operator)), Effect::Done);
    assert!(book.ledger.host(A).is_some());
}

fn any_decision() -> impl Strategy<Value = Decision> {
    let host = || prop_oneof![Just(A), Just(B)];
    let lives = || (1_u32..4, 1_u64..3).prop_map(|(start, boot)| life(start, boot));
    let web = || "web".to_owned();
    prop_oneof![
        (host(), lives(), 1_u64..3).prop_map(|(host, incarnation, machine)| Decision::Admit {
            host,
            name: String::new(),
            incarnation,
            machine,
            proof: Proof::None
        }),
        (host(), lives()).prop_map(|(host, incarnation)| Decision::Evict { host, incarnation }),
        (host(), lives()).prop_map(|(host, incarnation)| Decision::Fenced {
            host,
            incarnation,
            by: FencedBy::Agent
        }),
        (host(), lives()).prop_map(|(host, incarnation)| Decision::Leave { host, incarnation }),
        (0_u64..6, host(), lives()).prop_map(move |(epoch, to, incarnation)| Decision::Assign {
            group: web(),
            epoch,
            to,
            incarnation,
            need: Need::default()
        }),
        (0_u64..6).prop_map(move |epoch| Decision::Recall {
            group: web(),
            epoch,
            to: None,
            why: RecallReason::Moved
        }),
        (0_u64..6, 0_u64..60).prop_map(move |(epoch, changed)| Decision::Release {
            group: web(),
            epoch,
            changed
        }),
        prop_oneof![
            Just(GroupOrder::Intent(Intent::Offline)),
            Just(GroupOrder::Intent(Intent::Online)),
            Just(GroupOrder::Thaw)
        ]
        .prop_map(move |order| Decision::Order { group: web(), order, by: String::new() }),
    ]
}

/// What may be decided of the VM `web` and of the application `app`, which may run inside it.
fn any_about_an_application() -> impl Strategy<Value = Decision> {
    let host = || prop_oneof![Just(A), Just(B)];
    let lives = || (1_u32..4, 1_u64..3).prop_map(|(start, boot)| life(start, boot));
    let group = || prop_oneof![Just("web".to_owned()), Just("app".to_owned())];
    let target = || prop_oneof![Just(A), Just(B), Just(HostId::of_vm("web"))];
    prop_oneof![
        2 => any_decision(),
        2 => (group(), 0_u64..5, host(), lives()).prop_map(|(group, epoch, to, incarnation)| Decision::Assign {
            group,
            epoch,
            to,
            incarnation,
            need: Need::default()
        }),
        4 => (0_u64..5, host(), lives(), 0_u64..5).prop_map(|(epoch, to, incarnation, inside_epoch)| {
            let (group, inside) = ("app".to_owned(), "web".to_owned());
            Decision::AssignInside { group, epoch, to, incarnation, inside, inside_epoch }
        }),
        1 => (0_u64..5, target()).prop_map(|(epoch, to)| {
            let (group, to, why) = ("app".to_owned(), Some(to), RecallReason::Failed);
            Decision::Recall { group, epoch, to, why }
        }),
        1 => (0_u64..5, 0_u64..60).prop_map(|(epoch, changed)| {
            Decision::Release { group: "app".to_owned(), epoch, changed }
        }),
        1 => (0_u64..5, proptest::option::of(target())).prop_map(|(epoch, to)| {
            let (group, by) = ("app".to_owned(), String::new());
            Decision::Prepare { group, epoch, to, why: RecallReason::Home, by }
        }),
        2 => (0_u64..5, host(), lives()).prop_map(|(epoch, to, incarnation)| {
            let (group, carry, why) = ("web".to_owned(), Carry::Live, RecallReason::Moved);
            Decision::MoveBegin { group, epoch, to, incarnation, carry, why }
        }),
        2 => (0_u64..5, 0_u64..60).prop_map(|(epoch, begun)| {
            let (group, outcome) = ("web".to_owned(), MoveOutcome::Over { still_ms: 0 });
            Decision::MoveEnd { group, epoch, begun, outcome }
        }),
    ]
}

proptest! {
    #[test]
    fn an_application_inside_a_vm_has_that_vms_owner_or_none(
        decisions in proptest::collection::vec(any_about_an_application(), 1..80),
    ) {
        let mut book = Book::default();
        for decision in decisions {
            let before = book.clone();
            let effect = book.decide(decision);
            let (was, is) = (before.ledger.group("app"), book.ledger.group("app"));
            let same = is == was && book.web() == before.web() && book.ledger.apps == before.ledger.apps;
            prop_assert!(effect == Effect::Done || same, "what is passed over changes nothing");
            prop_assert!(is.owner == was.owner || is.owner.is_none() || is.epoch == was.epoch + 1);
            if let Some(vm) = book.ledger.inside("app") {
                prop_assert_eq!(is.owner, book.ledger.group(vm).owner);
                prop_assert!(is.owner.is_some());
            }
            prop_assert!(is.owner.is_some() || book.ledger.preparing("app").is_none());
            let snapshot = postcard::to_allocvec(&book.ledger).expect("it can be encoded");
            prop_assert_eq!(Ledger::from_snapshot(&snapshot), Some(book.ledger.clone()));
        }
    }

    #[test]
    fn whatever_is_decided_an_owner_changes_only_by_a_free_group_and_a_new_epoch(
        decisions in proptest::collection::vec(any_decision(), 1..60),
    ) {
        let mut book = Book::default();
        for decision in decisions {
            let before = book.clone();
            let effect = book.decide(decision);
            let (was, is) = (before.web(), book.web());
            prop_assert!(effect == Effect::Done || *was == *is, "what is passed over changes nothing");
            prop_assert!(is.epoch == was.epoch || (was.owner.is_none() && is.epoch == was.epoch + 1));
            prop_assert!(is.owner == was.owner || is.owner.is_none() || is.epoch == was.epoch + 1);
            if let Some(owner) = is.owner {
                let standing = book.ledger.standing(owner);
                prop_assert!(standing != Standing::Out, "{owner:?} owns it and is out");
            }
        }
    }
}

/// One of three groups, and a decision about it that holds if the rest does: of the epoch, the change and the move that it is in.
fn aimed(ledger: &Ledger, decision: Decision, name: &str) -> Decision {
    let record = ledger.group(name);
    let (group, epoch, changed) = (name.to_owned(), record.epoch, record.changed);
    match decision {
        Decision::Assign { to, incarnation, need, .. } => {
            Decision::Assign { group, epoch, to, incarnation, need }
        }
        Decision::Release { .. } => Decision::Release { group, epoch, changed },
        Decision::Recall { to, .. } => match (ledger.standing(B), record.moving) {
            (_, Some(moving)) => {
                let outcome = MoveOutcome::Over { still_ms: 1 };
                Decision::MoveEnd { group, epoch, begun: moving.begun, outcome }
            }
            (Standing::In(Member { incarnation, .. }), None) => {
                let (carry, why) = (Carry::Live, RecallReason::Moved);
                Decision::MoveBegin { group, epoch, to: B, incarnation, carry, why }
            }
            _ => Decision::Recall { group, epoch, to, why: RecallReason::Moved },
        },
        other => other,
    }
}

proptest! {
    #[test]
    fn what_a_host_owns_is_found_as_by_a_look_through_all_groups(
        decisions in proptest::collection::vec((any_decision(), "web|db|mail"), 1..120),
    ) {
        let mut book = Book::default();
        for (decision, name) in decisions {
            let decision = aimed(&book.ledger, decision, &name);
            book.decide(decision);
            for host in [A, B] {
                let mine = book.ledger.groups().filter(|(_, group)| group.owner == Some(host));
                prop_assert!(mine.map(|(name, _)| name).eq(book.ledger.owned(host)));
            }
            for (_, row) in book.ledger.owners() {
                let changed = row.groups.iter().map(|name| book.ledger.group(name).changed).max();
                prop_assert!(changed.is_some_and(|changed| changed <= row.changed));
            }
            let free = book.ledger.groups().filter(|(_, group)| group.owner.is_none());
            prop_assert!(free.map(|(name, _)| name).eq(book.ledger.free_groups()));
        }
        let snapshot = postcard::to_allocvec(&book.ledger).expect("it can be encoded");
        let read: Ledger = postcard::from_bytes(&snapshot).expect("it is whole");
        let rows = |ledger: &Ledger| ledger.owners().map(|(id, row)| (id, row.groups.clone())).collect::<Vec<_>>();
        prop_assert_eq!(rows(&read), rows(&book.ledger), "it is the same when it is read again");
        prop_assert_eq!(read.free_groups(), book.ledger.free_groups());
    }
}

#[test]
fn what_a_later_version_adds_at_the_end_is_passed_over() {
    let mut book = Book::default();
    book.admit(A, life(1, 1), 7);
    let mut snapshot = postcard::to_allocvec(&book.ledger).expect("it can be encoded");
    snapshot.extend_from_slice(b"later");
    let read = Ledger::from_snapshot(&snapshot).expect("what is known of it is whole");
    assert_eq!(
        postcard::to_allocvec(&read).expect("it can"),
        postcard::to_allocvec(&book.ledger).expect("it can")
    );
}

#[test]
fn a_snapshot_of_version_1_holds_no_applications() {
    let mut book = book();
    let parts = (&book.ledger.hosts, &book.ledger.groups, &book.ledger.asked, &book.ledger.arming);
    let snapshot = postcard::to_allocvec(&parts).expect("it can be encoded");
    assert_eq!(Ledger::from_snapshot(&snapshot), Some(book.ledger.clone()));
    let whole = postcard::to_allocvec(&book.ledger).expect("it can be encoded");
    assert!(whole.starts_with(&snapshot) && whole.len() > snapshot.len());
    assert_eq!(Ledger::from_snapshot(&snapshot[..snapshot.len() - 1]), None, "a torn one is none");
    let inside = Decision::AssignInside {
        group: "app".to_owned(),
        epoch: 0,
        to: A,
        incarnation: life(1, 1),
        inside: "web".to_owned(),
        inside_epoch: 1,
    };
    assert_eq!(book.decide(inside), Effect::Done);
    assert_eq!(book.ledger.target("app"), Some(HostId::of_vm("web")));
    assert_eq!(book.recall(1), Effect::Done);
    assert_eq!(book.release(1, book.web().changed), Effect::Done);
    assert_eq!(
        (book.ledger.target("app"), book.ledger.group("app").last),
        (None, Some(HostId::of_vm("web")))
    );
    assert_eq!(book.ledger.apps_in("web").count(), 0);
}

/// Its VM runs there already; the application would have to do without.
#[test]
fn an_application_is_given_a_place_in_a_vm_on_a_host_that_takes_nothing_new() {
    for mode in [HostMode::Maintenance, HostMode::Quarantined] {
        let mut book = book();
        assert_eq!(book.decide(Decision::Mode { host: A, mode, by: String::new() }), Effect::Done);
        let (group, inside) = ("app".to_owned(), "web".to_owned());
        let (epoch, to, incarnation, inside_epoch) = (0, A, life(1, 1), 1);
        let decision = Decision::AssignInside { group, epoch, to, incarnation, inside, inside_epoch };
        assert_eq!(book.decide(decision), Effect::Done);
        assert_eq!(book.ledger.target("app"), Some(HostId::of_vm("web")));
    }
}

#[test]
fn while_the_cluster_is_disarmed_nothing_is_given_or_taken_and_nobody_evicted() {
    let mut book = book();
    let arm = |arms| Decision::Arm { arms, by: "root".to_owned() };
    assert_eq!(book.decide(arm(Arms::Disarmed)), Effect::Done);
    assert_ne!(book.decide(arm(Arms::Disarmed)), Effect::Done, "it is so already");
    let before = book.web().clone();
    assert_ne!(book.decide(Decision::Evict { host: A, incarnation: life(1, 1) }), Effect::Done);
    assert_ne!(book.recall(1), Effect::Done);
    assert_ne!(book.release(1, before.changed), Effect::Done);
    let reason = "nothing is left".to_owned();
    assert_ne!(book.decide(Decision::GiveUp { group: "web".to_owned(), epoch: 1, reason }), Effect::Done);
    assert_eq!(*book.web(), before);
    assert_eq!(book.order(GroupOrder::Intent(Intent::Offline)), Effect::Done, "an order is remembered");
    assert_eq!(book.admit(A, life(2, 2), 10), Effect::Done, "a host that boots comes in");
    assert_eq!(book.web().owner, None, "nothing of it runs after a boot");
    assert_ne!(book.assign(1, B, life(1, 2)), Effect::Done, "and nothing is started");
    assert_eq!(book.decide(arm(Arms::Armed)), Effect::Done);
    assert_eq!(book.order(GroupOrder::Intent(Intent::Online)), Effect::Done);
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
}

#[test]
fn silence_proves_nothing_after_a_disarming_until_the_host_says_that_it_heard_of_the_newest_arming() {
    let proof = Proof::Watchdog { timeout_ms: 5000, lease_ms: 3000 };
    let mut book = Book::default();
    let admit = |host, incarnation| {
        let name = "host".to_owned();
        Decision::Admit { host, name, incarnation, machine: 1, proof }
    };
    let arm = |arms| Decision::Arm { arms, by: "root".to_owned() };
    let renew = |incarnation, armed| Decision::Renew { host: A, incarnation, proof, armed };
    let proven = |book: &Book, host| match book.ledger.standing(host) {
        Standing::In(member) | Standing::Evicted(member) => member.proof,
        Standing::Out => Proof::None,
    };
    book.decide(admit(A, life(1, 1)));
    book.decide(admit(B, life(1, 2)));
    assert_eq!(proven(&book, A), proof);
    book.decide(Decision::Evict { host: B, incarnation: life(1, 2) });
    book.decide(arm(Arms::Disarmed));
    assert_eq!((proven(&book, A), proven(&book, B)), (Proof::None, Proof::None));
    book.decide(admit(A, life(2, 1)));
    assert_eq!(proven(&book, A), Proof::None, "who comes in meanwhile lives by it, too");
    assert_ne!(book.decide(renew(life(2, 1), 0)), Effect::Done, "it is disarmed still");
    book.decide(arm(Arms::Armed));
    let armed = book.index;
    let time = Decision::Fenced { host: B, incarnation: life(1, 2), by: FencedBy::Time };
    assert_ne!(book.decide(time), Effect::Done);
    assert_ne!(book.decide(renew(life(2, 1), 0)), Effect::Done, "that was said before it was disarmed");
    assert_ne!(book.decide(renew(life(1, 1), armed)), Effect::Done, "another life said so");
    assert_eq!(proven(&book, A), Proof::None);
    assert_eq!(book.decide(renew(life(2, 1), armed)), Effect::Done);
    assert_eq!(proven(&book, A), proof);
    let itself = Decision::Fenced { host: B, incarnation: life(1, 2), by: FencedBy::Itself };
    assert_eq!(book.decide(itself), Effect::Done);
}

#[test]
fn what_its_host_gave_back_to_be_shut_down_is_kept_for_it_until_it_is_given_or_ordered() {
    let kept = || {
        let mut book = book();
        let (group, to, why) = ("web".to_owned(), Some(A), RecallReason::Kept);
        assert_eq!(book.decide(Decision::Recall { group, epoch: 1, to, why }), Effect::Done);
        let changed = book.web().changed;
        assert_eq!(book.release(1, changed), Effect::Done);
        assert_eq!((book.web().owner, book.web().kept, book.web().wish), (None, Some(A), Some(A)));
        book
    };
    let mut book = kept();
    assert_eq!(book.assign(1, B, life(1, 2)), Effect::Done);
    assert_eq!(book.web().kept, None);
    let mut book = kept();
    assert_eq!(book.order(GroupOrder::Intent(Intent::Online)), Effect::Done);
    assert_eq!(book.web().kept, None, "an operator does not wait for it");
    let mut book = self::book();
    let (group, to, why) = ("web".to_owned(), Some(A), RecallReason::Kept);
    book.decide(Decision::Recall { group, epoch: 1, to, why });
    book.decide(Decision::Evict { host: A, incarnation: life(1, 1) });
    book.decide(Decision::Fenced { host: A, incarnation: life(1, 1), by: FencedBy::Agent });
    assert_eq!((book.web().owner, book.web().kept), (None, None), "it did not leave in order");
}
