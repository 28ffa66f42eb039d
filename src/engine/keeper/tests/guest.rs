//! What the guest's controller says, or does not say.

use super::*;
use crate::engine::keeper::remote_agent::NEWS_PER_MINUTE;
use roost_proto::control::ControllerStatus;
use roost_proto::link::MAX_GROUPS;

#[test]
fn a_fault_reboots_the_guest_and_the_old_fault_counts_no_more() {
    let mut world = World::well("");
    world.fault();
    world.done(&VmAction::Reboot, Ok(()));
    world.fault(); // the guest is still on its way down
    world.pass(Duration::from_secs(20));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Recovering));
    world.guest_boots(2);
    assert_eq!(world.group().condition, Condition::Recovering, "its application is not up yet");
    world.report("site", GroupState::Online);
    assert_eq!(world.group().condition, Condition::Online);
    assert_eq!((world.count(EventKind::Fault), world.count(EventKind::Recovered)), (1, 1));
    let fault = world.events.iter().find(|e| e.kind == EventKind::Fault).expect("counted above");
    assert_eq!(fault.output, "no such file");
}

#[test]
fn the_controller_of_the_boot_that_ends_is_not_believed() {
    let mut world = World::well("");
    world.fault();
    world.done(&VmAction::Reboot, Ok(()));
    world.guest_boots(1); // it reconnects on its way down
    world.fault();
    world.pass(Duration::from_secs(20));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Recovering));
}

#[test]
fn what_a_reset_guest_had_sent_before_counts_no_more() {
    let mut world = World::well("");
    world.hang(Duration::from_secs(11));
    let file = PathBuf::from("/screens/web-1.screenshot");
    world.done(&VmAction::Screenshot { file }, Err(ActionError::Failed("no video".to_owned())));
    world.done(&VmAction::Reset, Ok(()));
    world.guest_boots(1); // it stood in the queue
    world.fault();
    assert_eq!((world.count(EventKind::Fault), world.group().condition), (0, Condition::Recovering));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.orders, []);
}

#[test]
fn a_guest_that_does_not_reboot_is_reset_then_restarted_then_given_up() {
    let mut world = World::well("");
    world.fault();
    world.done(&VmAction::Reboot, Ok(()));
    world.pass(Duration::from_secs(60 + 11));
    world.done(&VmAction::Reset, Ok(()));
    world.guest_boots(2);
    world.fault();
    world.pass(Duration::from_secs(21));
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    world.start_works();
    world.guest_boots(3);
    world.fault();
    world.pass(Duration::from_secs(41));
    world.done(&VmAction::Destroy, Ok(()));
    world.start_works();
    world.guest_boots(4);
    world.fault();
    world.pass(Duration::from_secs(3600));
    let group = world.group();
    assert_eq!((world.orders.len(), group.condition), (0, Condition::GivenUp));
    assert!(group.reason.contains("httpd"), "{}", group.reason);
}

#[test]
fn a_given_up_guest_that_somebody_mended_is_well_again() {
    let more = "apps = [\"site\"]";
    let mut world = World::well(more);
    for boot in 2..9 {
        world.fault();
        world.pass(Duration::from_secs(71));
        while let Some(order) = world.orders.last().map(|o| o.action.clone()) {
            if order == VmAction::Start {
                world.start_works();
            } else {
                world.done(&order, Ok(()));
            }
        }
        if world.group().condition == Condition::GivenUp {
            break;
        }
        world.guest_boots(boot);
        world.report("site", GroupState::Online);
    }
    assert_eq!(world.group().condition, Condition::GivenUp);
    world.report("site", GroupState::Online); // `roost-guest thaw`, after somebody mended it
    assert_eq!(world.group().condition, Condition::Online);
}

#[test]
fn only_groups_that_count_restart_the_vm() {
    let mut world = World::running("apps = [\"other\"]");
    world.guest_boots(1);
    world.fault();
    world.pass(Duration::from_secs(5));
    let group = world.group();
    assert_eq!((world.orders.len(), group.condition), (0, Condition::Degraded));
    assert!(group.reason.contains("no group 'other'"), "{}", group.reason);
}

#[test]
fn a_guest_that_hangs_is_photographed_and_reset() {
    let mut world = World::well("");
    world.hang(Duration::from_secs(9));
    assert_eq!(world.orders, []);
    world.hang(Duration::from_secs(2));
    let file = PathBuf::from("/screens/web-1.screenshot");
    world.done(&VmAction::Screenshot { file }, Ok(()));
    world.done(&VmAction::Reset, Ok(()));
    world.guest_boots(2);
    world.report("site", GroupState::Online);
    assert_eq!((world.group().condition, world.group().recoveries.reset), (Condition::Online, 1));
}

#[test]
fn no_picture_is_no_reason_to_wait() {
    let mut world = World::well("");
    world.hang(Duration::from_secs(11));
    let file = PathBuf::from("/screens/web-1.screenshot");
    world.done(&VmAction::Screenshot { file }, Err(ActionError::Failed("no video".to_owned())));
    assert_eq!(world.actions(), [&VmAction::Reset]);
}

#[test]
fn a_silent_controller_in_a_vm_that_moves_is_reported_then_handled_as_configured() {
    let mut world = World::well("silence_patience = \"30s\"");
    world.pass(Duration::from_secs(11));
    let group = world.group();
    assert_eq!((group.condition, group.controller), (Condition::Degraded, ControllerStatus::Silent));
    assert_eq!((world.orders.len(), world.count(EventKind::ControllerLost)), (0, 1));
    world.pass(Duration::from_secs(28));
    assert_eq!(world.orders, []);
    world.pass(Duration::from_secs(2));
    assert!(matches!(world.actions()[..], [VmAction::Screenshot { .. }]), "{:?}", world.orders);

    let mut world = World::well("on_silence = \"report\"");
    world.pass(Duration::from_secs(3600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Degraded));
    world.beat();
    assert_eq!(world.group().condition, Condition::Online);
}

#[test]
fn beats_prevent_all_that() {
    let mut world = World::well("");
    for _ in 0..600 {
        world.hang(Duration::from_secs(1));
        world.beat();
    }
    assert_eq!((world.orders.len(), world.count(EventKind::ControllerLost)), (0, 0));
}

#[test]
fn a_vm_that_is_busy_being_saved_is_not_silent() {
    let mut world = World::well("");
    for _ in 0..100 {
        world.now = world.now + Duration::from_secs(1);
        let view = DomainView { job: Job::Save, ..world.view(Run::Running) };
        world.see_view(view, None);
    }
    assert_eq!(world.orders, []);
}

#[test]
fn a_guest_that_never_had_a_controller_is_not_silent() {
    let mut world = World::running("");
    world.hang(Duration::from_secs(3600));
    let group = world.group();
    assert_eq!((world.orders.len(), group.condition), (0, Condition::Online));
    assert_eq!(group.controller, ControllerStatus::Never);
}

#[test]
fn named_applications_want_a_controller_and_their_absence_is_a_danger_after_the_boot_grace() {
    let mut world = World::new("apps = [\"site\"]");
    world.see(Run::Off(Off::Unknown));
    world.start_works();
    world.pass(Duration::from_secs(110));
    assert_eq!((world.group().condition, world.count(EventKind::Danger)), (Condition::Starting, 0));
    world.pass(Duration::from_secs(20));
    assert_eq!((world.group().condition, world.count(EventKind::Danger)), (Condition::Degraded, 1));
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.orders, [], "what is not known to have a controller is not restarted for its silence");
    world.guest_boots(1);
    world.report("site", GroupState::Online);
    world.pass(Duration::from_secs(1));
    assert_eq!((world.group().condition, world.group().dangers.len()), (Condition::Online, 0));
}

#[test]
fn a_guest_that_is_faster_than_libvirt_tells_is_believed() {
    let mut world = World::well("");
    world.stops(Off::Failed);
    world.guest_boots(2); // libvirt has not told yet that the VM runs again
    world.report("site", GroupState::Online);
    world.start_works();
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
}

#[test]
fn a_boot_that_was_condemned_by_mistake_is_believed_again() {
    let mut world = World::well("");
    world.life += 1;
    world.see(Run::Running); // a stop and a start that libvirt told in one
    world.guest_boots(1);
    assert_eq!(world.group().controller, ControllerStatus::Awaited);
    world.pass(Duration::from_secs(31));
    world.guest_boots(1);
    world.report("site", GroupState::Online);
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
}

#[test]
fn a_guest_that_once_had_a_controller_gets_its_boot_grace_then_is_judged() {
    let mut world = World::well("");
    let mut world = World::with("", world.stored.take().expect("stored"));
    world.see(Run::Running);
    world.hang(Duration::from_secs(119));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Starting));
    world.hang(Duration::from_secs(2));
    assert!(matches!(world.actions()[..], [VmAction::Screenshot { .. }]), "{:?}", world.orders);
}

#[test]
fn a_link_that_ends_is_not_yet_silence() {
    let mut world = World::well("");
    world.guest(GuestInput::Lost { reason: "closed".to_owned() });
    world.pass(Duration::from_secs(5));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
    world.guest_boots(1); // the controller was restarted; its applications live on
    world.report("site", GroupState::Online);
    world.pass(Duration::from_secs(5));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
}

#[test]
fn a_reboot_from_inside_is_no_failure() {
    let mut world = World::well("");
    let view = world.view(Run::Running);
    world.see_view(view, Some(Happened::Rebooted));
    world.guest(GuestInput::Lost { reason: "closed".to_owned() });
    world.pass(Duration::from_secs(60));
    world.guest_boots(2);
    world.report("site", GroupState::Online);
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
}

#[test]
fn a_guest_that_lies_is_cut_off_and_can_do_no_more() {
    let report = |name: &str| {
        let (name, state) = (name.to_owned(), GroupState::Online);
        GuestMessage::Group(GroupReport { name, state, frozen: false, resources: Vec::new() })
    };
    let lies = [
        vec![GuestMessage::Snapshot { groups: u16::try_from(MAX_GROUPS).expect("64") + 1 }],
        vec![GuestMessage::Snapshot { groups: 2 }, report("a"), report("a")],
        vec![GuestMessage::Snapshot { groups: 1 }, report("a b")],
        vec![GuestMessage::Snapshot { groups: 0 }, report("a")],
    ];
    for lie in lies {
        let mut world = World::well("");
        for message in lie {
            world.engine.handle(
                world.now,
                Input::Guest { group: "web".to_owned(), input: GuestInput::Message(message) },
            );
        }
        let mut dropped = false;
        while let Some(output) = world.engine.poll_output() {
            dropped |= matches!(output, Output::Drop(_));
            assert!(!matches!(output, Output::Order(_)));
        }
        assert!(dropped);
    }
}

#[test]
fn a_guest_that_changes_its_mind_all_the_time_fills_no_file() {
    let mut world = World::well("");
    for _ in 0..10 * NEWS_PER_MINUTE {
        world.report("site", GroupState::Recovering);
        world.report("site", GroupState::Online);
    }
    assert!(world.count(EventKind::App) <= NEWS_PER_MINUTE as usize, "{}", world.count(EventKind::App));
    assert_eq!(world.orders, []);
}

#[test]
fn how_long_an_application_was_away_is_told() {
    let mut world = World::well("");
    world.report("site", GroupState::Recovering);
    world.now = world.now + Duration::from_millis(7);
    world.report("site", GroupState::Online);
    let last = world.events.last().expect("told");
    assert_eq!(last.text, "'site' in the guest is online after 7 ms");
}
