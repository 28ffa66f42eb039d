//! Operators' orders: stored before they hold, and kept.

use super::*;

#[test]
fn offline_asks_the_guest_then_pulls_the_plug_and_lasts() {
    let mut world = World::running("stop_timeout = \"30s\"");
    world.operator(OperatorOrder::Intent(Intent::Offline));
    assert!(world.answers[0].is_ok());
    world.done(&VmAction::Shutdown, Ok(()));
    world.pass(Duration::from_secs(29));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Stopping));
    world.pass(Duration::from_secs(2));
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
    let mut later = World::with("", world.stored.expect("stored"));
    later.see(Run::Off(Off::Destroyed));
    later.pass(Duration::from_secs(600));
    assert_eq!((later.orders.len(), later.group().condition), (0, Condition::Offline));
    assert_eq!(later.engine.status(later.now, 0).health, roost_proto::control::Health::Healthy);
}

#[test]
fn offline_lasts_across_a_boot_of_the_host() {
    let mut world = World::running("");
    world.operator(OperatorOrder::Intent(Intent::Offline));
    let mut saved = world.stored.expect("stored");
    "another boot".clone_into(&mut saved.boot_id);
    let mut later = World::with("", saved);
    later.see(Run::Off(Off::Unknown));
    later.pass(Duration::from_secs(60));
    assert_eq!(later.orders, []);
}

#[test]
fn an_order_that_is_not_on_disk_does_not_hold() {
    let mut world = World::running("");
    world.disk = Err("no space left on device".to_owned());
    world.operator(OperatorOrder::Intent(Intent::Offline));
    assert!(matches!(&world.answers[0], Err((Refusal::NotStored, why)) if why.contains("no space")));
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Online));
    assert_eq!(world.count(EventKind::Storage), 1, "told once");
    world.disk = Ok(());
    world.pass(Duration::from_secs(60));
    world.operator(OperatorOrder::Intent(Intent::Offline));
    assert_eq!(world.actions(), [&VmAction::Shutdown]);
}

#[test]
fn a_full_disk_stops_no_recovery() {
    let mut world = World::running("");
    world.disk = Err("no space left on device".to_owned());
    world.stops(Off::Failed);
    assert_eq!(world.actions(), [&VmAction::Start]);
}

#[test]
fn online_while_it_goes_down_starts_it_again() {
    let mut world = World::running("on_guest_shutdown = \"offline\"");
    world.operator(OperatorOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.operator(OperatorOrder::Intent(Intent::Online));
    assert_eq!(world.group().condition, Condition::Stopping);
    world.stops(Off::Shutdown);
    assert_eq!(world.actions(), [&VmAction::Start]);
    world.start_works();
    assert_eq!((world.group().condition, world.group().intent), (Condition::Online, Intent::Online));
}

#[test]
fn online_holds_though_the_daemon_dies_before_it_could_act() {
    let more = "on_guest_shutdown = \"offline\"";
    let mut world = World::running(more);
    world.operator(OperatorOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.stops(Off::Shutdown);
    world.operator(OperatorOrder::Intent(Intent::Online));
    let mut later = World::with(more, world.stored.expect("stored"));
    later.see(Run::Off(Off::Shutdown)); // by our own order, before
    assert_eq!(later.actions(), [&VmAction::Start]);
}

#[test]
fn offline_in_the_middle_of_a_recovery_ends_it() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    world.operator(OperatorOrder::Intent(Intent::Offline));
    world.start_works(); // it was under way
    world.done(&VmAction::Shutdown, Ok(()));
    world.stops(Off::Shutdown);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
}

#[test]
fn a_frozen_group_is_watched_and_not_touched() {
    let mut world = World::well("");
    world.operator(OperatorOrder::Freeze);
    world.fault();
    world.stops(Off::Failed);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::LeftAlone));
    let mut world = World::with("", world.stored.expect("stored"));
    world.see(Run::Off(Off::Failed));
    world.pass(Duration::from_secs(600));
    assert_eq!(world.orders, [], "also after a restart of the daemon");
    world.operator(OperatorOrder::Thaw);
    assert_eq!(world.actions(), [&VmAction::Start]);
}

#[test]
fn a_recovery_under_way_stops_when_it_is_frozen() {
    let mut world = World::well("");
    world.hang(Duration::from_secs(11));
    world.operator(OperatorOrder::Freeze);
    let file = PathBuf::from("/screens/web-1.screenshot");
    world.done(&VmAction::Screenshot { file }, Ok(()));
    world.hang(Duration::from_secs(600));
    assert_eq!(world.orders, []);
}

#[test]
fn an_unknown_group_is_answered_with_the_nearest_name() {
    let mut world = World::running("");
    let (who, group, order) = ("root".to_owned(), "wbe".to_owned(), OperatorOrder::Freeze);
    world.handle(Input::Operator { request: RequestId(1), who, group, order });
    assert!(
        matches!(&world.answers[0], Err((Refusal::UnknownGroup, why)) if why.contains("did you mean 'web'?"))
    );
}

#[test]
fn a_reload_restarts_nothing_and_remembers_what_it_forgot() {
    let mut world = World::running("");
    world.operator(OperatorOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.stops(Off::Shutdown);
    let mut without = config("");
    let group = without.groups.remove(0);
    world.engine.reload(&without, world.now);
    world.drain();
    assert!(world.engine.domains().is_empty());
    without.groups.push(group);
    world.engine.reload(&without, world.now);
    world.drain();
    world.see(Run::Off(Off::Shutdown));
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
}
