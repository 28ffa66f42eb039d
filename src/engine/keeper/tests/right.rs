//! What follows from whose a group is, and from whether the lease holds: pausing, going on, destroying.

use super::super::vm::Paused;
use super::*;
use roost_proto::cluster::GroupState as Told;

impl World {
    fn hold(&mut self, hold: Hold, epoch: u64) {
        self.right = Right { hold, epoch, changed: self.right.changed + 1, ..self.right };
        self.set_right();
    }

    /// The configuration of the cluster has this, too.
    fn cluster(&mut self, more: &str) {
        let text = CONFIG.replace("name = \"lab\"", &format!("name = \"lab\"\n{more}"));
        self.engine.reload(&config::parse(&text).expect("a good configuration"), self.now);
        self.drain();
    }

    fn state(&self) -> Told {
        self.engine.reports(self.now).remove(0).state
    }

    fn failed() -> Result<(), ActionError> {
        Err(ActionError::Failed("QEMU does not answer".to_owned()))
    }

    /// The lease runs out, and the VM is made to stand still.
    fn suspended() -> Self {
        let mut world = Self::running("");
        world.hold(Hold::Suspended, 1);
        assert!(world.engine.may_run());
        world.done(&VmAction::Suspend, Ok(()));
        world.see(Run::Paused(Paused::User));
        assert!(!world.engine.may_run());
        assert_eq!((world.orders.len(), world.state()), (0, Told::Suspended));
        world
    }
}

#[test]
fn what_stood_still_for_want_of_a_lease_goes_on_in_the_same_epoch() {
    let mut world = World::suspended();
    world.pass(Duration::from_secs(600));
    assert_eq!(world.orders, [], "however long it takes");
    world.hold(Hold::Owned, 1);
    world.done(&VmAction::Resume, Ok(()));
    world.see(Run::Running);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.orders, []);
    assert_eq!((world.state(), world.group().recoveries.restart), (Told::Well, 0));
}

#[test]
fn what_became_this_hosts_while_it_ran_and_stood_still_goes_on() {
    let mut world = World::running("");
    // It ran before it was given to this host, which has no lease yet.
    world.hold(Hold::Suspended, 2);
    world.done(&VmAction::Suspend, Ok(()));
    world.see(Run::Paused(Paused::User));
    world.hold(Hold::Owned, 2);
    assert_eq!(world.actions(), [&VmAction::Resume]);
}

/// A daemon that dies between the two would take the pause for a person's.
#[test]
fn a_pause_is_ordered_when_the_disk_has_it_or_takes_too_long() {
    let answers = [Some(Ok(())), Some(Err("no space left".to_owned())), None];
    for answer in answers {
        let mut world = World::running("");
        world.right = Right { hold: Hold::Suspended, ..world.right };
        world.engine.set_right(world.now, "web", world.right);
        let Some(Output::Store(saved)) = world.engine.poll_output() else { panic!("it is not written") };
        assert_eq!(saved.groups["web"].suspended, Some(1));
        assert_eq!(world.engine.poll_output(), None);
        match answer {
            Some(result) => world.handle(Input::Stored(result)),
            None => {
                let by = world.engine.poll_timeout().expect("a disk that hangs is not waited for");
                assert_eq!(by.since(world.now), Duration::from_millis(100));
                world.now = by;
                world.engine.handle_timeout(by);
                world.drain();
            }
        }
        assert_eq!(world.actions(), [&VmAction::Suspend]);
    }
}

#[test]
fn that_it_stands_still_is_known_after_a_restart_of_the_daemon() {
    let world = World::suspended();
    let mut world = world.again("");
    assert!(world.engine.may_run(), "it is not known yet");
    world.see(Run::Paused(Paused::User));
    assert_eq!(world.orders, []);
    world.hold(Hold::Owned, 1);
    assert_eq!(world.actions(), [&VmAction::Resume]);
}

#[test]
fn a_daemon_that_starts_without_a_lease_does_not_wait_long_for_libvirt() {
    let mut world = World::suspended().again("");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.orders, []);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.actions(), [&VmAction::Kill]);
}

#[test]
fn a_resume_that_fails_is_tried_again() {
    let mut world = World::suspended();
    world.hold(Hold::Owned, 1);
    for _ in 0..3 {
        world.done(&VmAction::Resume, World::failed());
        assert_eq!(world.orders, []);
        world.pass(Duration::from_secs(2));
    }
    assert_eq!(world.actions(), [&VmAction::Resume]);
}

#[test]
fn what_does_not_stand_still_is_destroyed_and_then_killed_and_that_again_and_again() {
    let mut world = World::running("");
    world.hold(Hold::Suspended, 1);
    world.done(&VmAction::Suspend, Err(ActionError::TimedOut));
    world.done(&VmAction::Destroy, Err(ActionError::TimedOut));
    world.done(&VmAction::Kill, World::failed());
    assert!(world.engine.may_run(), "it still runs, and the watchdog is not fed");
    for _ in 0..3 {
        world.pass(Duration::from_secs(2));
        // libvirt still shows it as running: it is asked from the beginning.
        world.done(&VmAction::Suspend, World::failed());
        world.done(&VmAction::Destroy, World::failed());
        world.done(&VmAction::Kill, World::failed());
    }
    assert!(world.engine.may_run());
}

#[test]
fn what_libvirt_does_not_show_is_killed_when_the_lease_runs_out() {
    let mut world = World::running("");
    world.handle(Input::Libvirt(LibvirtInput::Lost { reason: "it hangs".to_owned() }));
    assert!(world.engine.may_run());
    world.hold(Hold::Suspended, 1);
    world.done(&VmAction::Kill, World::failed());
    assert!(world.engine.may_run());
    world.pass(Duration::from_secs(2));
    world.done(&VmAction::Kill, Ok(()));
    assert!(!world.engine.may_run());
}

#[test]
fn a_start_that_may_still_happen_keeps_the_watchdog_hungry() {
    let mut world = World::new("");
    world.see(Run::Off(Off::Unknown));
    let ticket = world.orders[0].ticket;
    world.done(&VmAction::Start, Err(ActionError::TimedOut));
    world.hold(Hold::Suspended, 1);
    world.pass(Duration::from_secs(120));
    assert!(world.engine.may_run(), "libvirt shows it as off, and starts it any moment");
    world.starts();
    world.done(&VmAction::Suspend, Ok(()));
    world.see(Run::Paused(Paused::User));
    world.handle(Input::Libvirt(LibvirtInput::Ended { ticket }));
    world.pass(Duration::from_secs(30));
    assert!(!world.engine.may_run());
}

#[test]
fn with_stop_the_plug_is_pulled_at_once() {
    let mut world = World::running("");
    world.cluster("on_quorum_loss = \"stop\"");
    world.hold(Hold::Suspended, 1);
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    assert!(!world.engine.may_run());
    world.hold(Hold::Owned, 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.actions(), [&VmAction::Start], "it is wanted online, and starts anew");
}

#[test]
fn an_evicted_host_destroys_what_it_paused() {
    let mut world = World::suspended();
    world.hold(Hold::Lost, 1);
    assert!(world.engine.is_left());
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.orders, [], "and starts nothing");
    assert!(!world.engine.is_left());
}

/// Its memory is older than its disks: another host wrote them since.
#[test]
fn what_was_paused_in_an_earlier_epoch_never_goes_on() {
    for next in [Hold::Owned, Hold::Recalled, Hold::Elsewhere] {
        let mut world = World::suspended();
        world.hold(next, 2);
        assert_eq!(world.actions(), [&VmAction::Destroy], "{next:?}");
        world.done(&VmAction::Destroy, Ok(()));
        world.stops(Off::Destroyed);
        world.pass(Duration::from_secs(5));
        let expected: &[&VmAction] = if next == Hold::Owned { &[&VmAction::Start] } else { &[] };
        assert_eq!(world.actions(), expected, "{next:?}");
    }
}

#[test]
fn what_a_person_paused_is_not_made_to_go_on() {
    let mut world = World::running("");
    world.see(Run::Paused(Paused::User));
    world.hold(Hold::Suspended, 1);
    assert_eq!(world.orders, [], "it stands still already");
    world.hold(Hold::Owned, 1);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.orders, []);
}

#[test]
fn what_is_to_be_given_back_is_shut_down_and_told_as_down_only_when_it_is() {
    let mut world = World::running("");
    world.hold(Hold::Recalled, 1);
    world.done(&VmAction::Shutdown, Ok(()));
    assert_ne!(world.state(), Told::Down);
    world.pass(Duration::from_secs(121));
    assert_ne!(world.state(), Told::Down);
    world.done(&VmAction::Destroy, World::failed());
    world.pass(Duration::from_secs(10));
    assert_ne!(world.state(), Told::Down, "a VM that cannot be stopped is never told as stopped");
    world.orders.clear();
    world.stops(Off::Shutdown);
    assert_eq!(world.state(), Told::Down);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.orders, [], "it is not started again");
}

#[test]
fn while_it_is_not_known_whose_it_is_nothing_is_done() {
    for run in [Run::Off(Off::Crashed), Run::Running, Run::Paused(Paused::User)] {
        let mut world = World::new("");
        world.orders.clear();
        world.right.hold = Hold::Unknown;
        world.set_right();
        world.see(run);
        world.pass(Duration::from_secs(120));
        assert_eq!(world.orders, [], "{run:?}");
    }
}

#[test]
fn a_stray_is_told_once_and_destroyed_if_that_is_configured() {
    let mut world = World::running("");
    world.hold(Hold::Elsewhere, 2);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.count(EventKind::Stray), world.state()), (0, 1, Told::Stray));
    world.cluster("on_stray = \"stop\"");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.actions(), [&VmAction::Destroy]);
    // What migrates is on two hosts for a moment.
    let mut world = World::running("");
    world.cluster("on_stray = \"stop\"");
    world.hold(Hold::Elsewhere, 2);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.orders, []);
    world.stops(Off::Migrated);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.orders, []);
}

#[test]
fn what_was_never_anybodys_is_no_stray() {
    let mut world = World::new("");
    world.orders.clear();
    world.cluster("on_stray = \"stop\"");
    world.hold(Hold::Elsewhere, 0);
    world.see(Run::Running);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.count(EventKind::Stray)), (0, 0), "it is given to this host first");
    assert_eq!(world.state(), Told::Stray);
}
