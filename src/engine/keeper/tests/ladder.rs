//! The ladder: its order, its waits, its end.

use super::*;

#[test]
fn the_second_failure_waits_and_the_last_gives_up() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    world.start_works();
    world.stops(Off::Failed);
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Recovering));
    world.pass(Duration::from_secs(7));
    assert_eq!(world.orders, [], "the backoff is 10 s, less at most a fifth");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.actions(), [&VmAction::Start]);
    world.start_works();
    world.stops(Off::Failed);
    assert_eq!(world.group().condition, Condition::GivenUp);
    assert_eq!(world.count(EventKind::GivenUp), 1);
    world.pass(Duration::from_secs(7200));
    assert_eq!(world.orders, [], "given up is given up");
}

#[test]
fn giving_up_survives_a_restart_of_the_daemon_and_an_operator_ends_it() {
    let mut world = World::running("");
    for _ in 0..2 {
        world.stops(Off::Failed);
        world.pass(Duration::from_secs(11));
        world.start_works();
    }
    world.stops(Off::Failed);
    let mut world = World::with("", world.stored.expect("stored"));
    world.see(Run::Off(Off::Failed));
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::GivenUp));
    world.operator(GroupOrder::Intent(Intent::Online));
    assert_eq!(world.actions(), [&VmAction::Start]);
    world.start_works();
    assert_eq!((world.group().condition, world.group().recoveries.restart), (Condition::Online, 0));
}

#[test]
fn a_window_that_is_over_makes_room() {
    let mut world = World::running("");
    for _ in 0..5 {
        world.stops(Off::Failed);
        world.start_works();
        assert_eq!(world.group().condition, Condition::Online);
        world.pass(Duration::from_secs(3601));
    }
}

#[test]
fn a_start_that_fails_is_a_failed_recovery() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    world.done(&VmAction::Start, Err(ActionError::Failed("no memory".to_owned())));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Recovering));
    world.pass(Duration::from_secs(11));
    world.done(&VmAction::Start, Err(ActionError::Failed("no memory".to_owned())));
    let group = world.group();
    assert_eq!(group.condition, Condition::GivenUp);
    assert!(group.reason.contains("no memory"), "{}", group.reason);
}

#[test]
fn a_start_that_works_and_is_dead_at_once_is_no_tight_loop() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    for _ in 0..2 {
        world.pass(Duration::from_secs(11));
        world.start_works();
        world.stops(Off::Failed);
    }
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::GivenUp));
    assert_eq!(world.group().recoveries.restart, 2);
}

#[test]
fn a_busy_libvirt_is_asked_again_and_nothing_is_counted_twice() {
    for error in [ActionError::Busy, ActionError::NotConnected] {
        let mut world = World::running("");
        world.stops(Off::Failed);
        for _ in 0..5 {
            world.done(&VmAction::Start, Err(error.clone()));
            assert_eq!(world.orders, []);
            world.pass(Duration::from_secs(2));
        }
        world.start_works();
        assert_eq!((world.group().condition, world.group().recoveries.restart), (Condition::Online, 1));
    }
}

#[test]
fn a_start_that_took_too_long_may_still_work() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    world.done(&VmAction::Start, Err(ActionError::TimedOut));
    world.pass(Duration::from_secs(20));
    assert_eq!(world.orders, []);
    world.starts();
    assert_eq!((world.group().condition, world.group().recoveries.restart), (Condition::Online, 1));
}

#[test]
fn somebody_else_may_mend_it_first() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    world.start_works();
    world.stops(Off::Failed);
    world.starts(); // by hand, during the backoff
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
    assert_eq!(world.group().recoveries.restart, 1);
}

#[test]
fn another_boot_of_the_host_starts_afresh() {
    let mut world = World::running("");
    for _ in 0..2 {
        world.stops(Off::Failed);
        world.pass(Duration::from_secs(11));
        world.start_works();
    }
    world.stops(Off::Failed);
    let mut saved = world.stored.expect("stored");
    "another boot".clone_into(&mut saved.boot_id);
    let mut world = World::with("", saved);
    world.see(Run::Off(Off::Unknown));
    world.start_works();
    assert_eq!((world.group().condition, world.group().recoveries.restart), (Condition::Online, 0));
}

/// QEMU's last words come with libvirt's, and a report has to fit a datagram.
#[test]
fn the_leader_is_told_no_more_of_a_reason_than_fits() {
    let mut world = World::new("");
    world.see(Run::Off(Off::Unknown));
    for _ in 0..10 {
        if world.actions().contains(&&VmAction::Start) {
            world.done(&VmAction::Start, Err(ActionError::Failed("no ".repeat(1000))));
        }
        world.pass(Duration::from_secs(60));
    }
    let report = world.engine.reports(world.now).remove(0);
    let roost_proto::cluster::GroupState::GivenUp { reason } = report.state else {
        panic!("{:?}", report.state);
    };
    assert!(reason.contains("could not be started: no no"), "{reason}");
    assert!(reason.len() <= roost_proto::cluster::MAX_REASON, "{}", reason.len());
}
