//! What libvirt says, and what is made of it.

use super::*;
use crate::engine::keeper::vm::Paused;

#[test]
fn a_vm_that_is_off_after_a_boot_of_the_host_is_started() {
    let mut world = World::new("");
    world.see(Run::Off(Off::Unknown));
    assert_eq!(world.group().condition, Condition::Starting);
    world.start_works();
    assert_eq!((world.group().condition, world.orders.len()), (Condition::Online, 0));
    assert_eq!(world.group().recoveries.restart, 0, "a first start is no recovery");
}

#[test]
fn a_restart_of_the_daemon_restarts_nothing() {
    let mut world = World::running("");
    world.pass(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
}

#[test]
fn a_killed_vm_is_restarted_at_once() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    assert_eq!(world.actions(), [&VmAction::Start]);
    world.start_works();
    assert_eq!((world.group().condition, world.group().recoveries.restart), (Condition::Online, 1));
    assert_eq!(world.count(EventKind::Recovered), 1);
}

#[test]
fn a_stop_that_only_a_poll_showed_is_mended_too() {
    let mut world = World::running("");
    world.see(Run::Off(Off::Destroyed));
    assert_eq!(world.actions(), [&VmAction::Start]);
}

#[test]
fn libvirt_that_does_not_answer_is_no_dead_vm() {
    let mut world = World::well("");
    world.handle(Input::Libvirt(LibvirtInput::Lost { reason: "it hangs".to_owned() }));
    assert_eq!(world.group().condition, Condition::Unknown);
    world.guest(GuestInput::Lost { reason: "closed".to_owned() });
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.orders, []);
    world.handle(Input::Libvirt(LibvirtInput::Connected));
    world.see(Run::Running);
    world.guest_boots(1);
    world.report("site", GroupState::Online);
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
}

#[test]
fn a_vm_that_died_while_libvirt_was_away_is_restarted() {
    let mut world = World::running("");
    world.handle(Input::Libvirt(LibvirtInput::Lost { reason: "it was restarted".to_owned() }));
    world.handle(Input::Libvirt(LibvirtInput::Connected));
    world.see(Run::Off(Off::Unknown));
    assert_eq!(world.actions(), [&VmAction::Start]);
    assert_eq!(world.group().recoveries.restart, 1);
}

#[test]
fn a_paused_vm_is_left_alone() {
    for why in [Paused::User, Paused::Busy, Paused::Unknown] {
        let mut world = World::well("");
        world.see(Run::Paused(why));
        world.hang(Duration::from_secs(3600));
        assert_eq!((world.orders.len(), world.group().condition), (0, Condition::LeftAlone), "{why:?}");
        assert_eq!(world.hush, Hush::Quiet, "nobody there reads");
        world.see(Run::Running);
        assert_eq!(world.hush, Hush::Speak);
        world.beat();
        assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online), "{why:?}");
    }
}

#[test]
fn a_vm_that_goes_on_after_a_pause_was_not_silent_meanwhile() {
    let mut world = World::well("");
    world.see(Run::Paused(Paused::User));
    world.now = world.now + Duration::from_secs(3600); // libvirt shows nothing, for nothing changes
    world.see(Run::Running);
    assert_eq!((world.orders.len(), world.count(EventKind::ControllerLost)), (0, 0));
    world.beat();
    assert_eq!(world.group().condition, Condition::Online);
}

#[test]
fn a_disk_error_is_told_and_not_made_worse() {
    let mut world = World::well("");
    world.see(Run::Paused(Paused::IoError));
    world.hang(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Degraded));
}

#[test]
fn a_crashed_kernel_is_restarted() {
    for run in [Run::Crashed, Run::Paused(Paused::Crashed), Run::Paused(Paused::Watchdog)] {
        let mut world = World::running("");
        world.see(run);
        world.done(&VmAction::Destroy, Ok(()));
        world.stops(Off::Destroyed);
        world.start_works();
        assert_eq!(world.group().condition, Condition::Online, "{run:?}");
        assert_eq!(world.group().recoveries.restart, 1, "{run:?}");
    }
}

#[test]
fn what_a_person_did_with_the_vm_is_respected() {
    for why in [Off::Saved, Off::Snapshot, Off::Migrated] {
        let mut world = World::running("");
        world.stops(why);
        world.pass(Duration::from_secs(600));
        assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline), "{why:?}");
        assert_eq!(world.count(EventKind::VmLeftAlone), 1);
        let saved = world.stored.clone().expect("it is remembered");
        let mut later = World::with("", saved);
        later.see(Run::Off(why));
        assert_eq!(later.orders, [], "{why:?}");
        later.operator(GroupOrder::Intent(Intent::Online));
        assert_eq!(later.actions(), [&VmAction::Start]);
    }
}

#[test]
fn a_shutdown_from_inside_counts_as_failed_or_as_wanted_never_as_both() {
    let mut world = World::running("on_guest_shutdown = \"restart\"");
    world.stops(Off::Shutdown);
    assert_eq!(world.actions(), [&VmAction::Start]);
    let mut world = World::running("on_guest_shutdown = \"offline\"");
    world.stops(Off::Shutdown);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
    assert_eq!(world.group().recoveries.restart, 0);
}

#[test]
fn a_shutdown_from_inside_while_the_daemon_was_away_counts_the_same() {
    let before = World::running("on_guest_shutdown = \"offline\"");
    let saved = before.stored.expect("that it ran is remembered");
    let mut world = World::with("on_guest_shutdown = \"offline\"", saved);
    world.see(Run::Off(Off::Shutdown));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
}

#[test]
fn a_missing_domain_is_defined_if_its_file_is_named() {
    let mut world = World::new("xml = \"/etc/roost/vms/web1.xml\"");
    world.see(Run::Undefined);
    assert_eq!(world.group().condition, Condition::Starting);
    world.done(&VmAction::Define { xml: PathBuf::from("/etc/roost/vms/web1.xml") }, Ok(()));
    world.see(Run::Off(Off::Unknown));
    world.start_works();
    assert_eq!(world.group().condition, Condition::Online);
}

#[test]
fn a_domain_that_is_seen_before_its_definition_is_answered_is_started_at_once() {
    let mut world = World::new("xml = \"/etc/roost/vms/web1.xml\"");
    world.see(Run::Undefined);
    world.see(Run::Off(Off::Unknown)); // libvirt's event was faster
    world.done(&VmAction::Define { xml: PathBuf::from("/etc/roost/vms/web1.xml") }, Ok(()));
    assert_eq!(world.actions(), [&VmAction::Start], "and not when libvirt is next asked for all");
}

#[test]
fn a_missing_domain_without_a_file_is_told() {
    let mut world = World::new("");
    world.see(Run::Undefined);
    world.pass(Duration::from_secs(60));
    let group = world.group();
    assert_eq!((world.orders.len(), group.condition), (0, Condition::GivenUp));
    assert!(group.reason.contains("web1") && group.reason.contains("'xml'"), "{}", group.reason);
    world.see(Run::Off(Off::Unknown));
    assert_eq!(world.actions(), [&VmAction::Start]);
}

#[test]
fn a_definition_that_fails_is_tried_again_in_a_while() {
    let mut world = World::new("xml = \"/x.xml\"");
    world.see(Run::Undefined);
    let define = VmAction::Define { xml: PathBuf::from("/x.xml") };
    world.done(&define, Err(ActionError::Failed("no such file".to_owned())));
    assert_eq!(world.group().condition, Condition::GivenUp);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.orders, []);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.actions(), [&define]);
}

#[test]
fn a_definition_that_comes_late_is_gone_on_with_when_it_is_there() {
    let mut world = World::new("xml = \"/x.xml\"");
    world.see(Run::Undefined);
    let define = VmAction::Define { xml: PathBuf::from("/x.xml") };
    world.done(&define, Err(ActionError::TimedOut));
    world.handle(Input::Libvirt(LibvirtInput::Lost { reason: "it is slow".to_owned() }));
    world.see(Run::Off(Off::Unknown));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.actions(), [&VmAction::Start], "and not half a minute later");
}

#[test]
fn a_definition_that_never_comes_is_tried_again_when_libvirt_is_free() {
    let mut world = World::new("xml = \"/x.xml\"");
    world.see(Run::Undefined);
    let define = VmAction::Define { xml: PathBuf::from("/x.xml") };
    world.done(&define, Err(ActionError::TimedOut));
    assert_eq!(world.group().condition, Condition::Starting, "it is not given up");
    world.pass(Duration::from_secs(2));
    world.done(&define, Err(ActionError::Busy)); // with the first
    assert_eq!(world.group().condition, Condition::Starting);
    world.pass(Duration::from_secs(2));
    world.done(&define, Ok(()));
    world.see(Run::Off(Off::Unknown));
    assert_eq!(world.actions(), [&VmAction::Start]);
    assert_eq!(world.count(EventKind::RecoveryFailed), 1);
}

#[test]
fn autostart_is_a_danger_told_once() {
    let mut world = World::new("");
    for _ in 0..3 {
        let view = DomainView { autostart: true, ..world.view(Run::Running) };
        world.see_view(view, None);
    }
    assert_eq!(world.count(EventKind::Danger), 1);
    assert!(world.group().dangers[0].contains("virsh autostart --disable web1"));
    assert_eq!(world.engine.status(world.now, 0).health, roost_proto::control::Health::Degraded);
}

#[test]
fn a_vm_stuck_on_its_way_down_is_helped() {
    let mut world = World::running("stop_timeout = \"30s\"");
    world.see(Run::ShuttingDown);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.orders, []);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.actions(), [&VmAction::Destroy]);
}
