//! Operators' orders, as the ledger has them: they are kept.

use super::*;

#[test]
fn offline_asks_the_guest_then_pulls_the_plug_and_lasts() {
    let mut world = World::running("stop_timeout = \"30s\"");
    world.operator(GroupOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.pass(Duration::from_secs(29));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Stopping));
    world.pass(Duration::from_secs(2));
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
    let mut later = world.again("");
    later.see(Run::Off(Off::Destroyed));
    later.pass(Duration::from_secs(600));
    assert_eq!((later.orders.len(), later.group().condition), (0, Condition::Offline));
    assert_eq!(later.engine.status(later.now, 0).health, roost_proto::control::Health::Healthy);
}

#[test]
fn offline_lasts_across_a_boot_of_the_host() {
    let mut world = World::running("");
    world.operator(GroupOrder::Intent(Intent::Offline));
    "another boot".clone_into(&mut world.stored.as_mut().expect("stored").boot_id);
    let mut later = world.again("");
    later.see(Run::Off(Off::Unknown));
    later.pass(Duration::from_secs(60));
    assert_eq!(later.orders, []);
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
    world.operator(GroupOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.operator(GroupOrder::Intent(Intent::Online));
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
    world.operator(GroupOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.stops(Off::Shutdown);
    world.operator(GroupOrder::Intent(Intent::Online));
    let mut later = world.again(more);
    later.see(Run::Off(Off::Shutdown)); // by our own order, before
    assert_eq!(later.actions(), [&VmAction::Start]);
}

#[test]
fn offline_in_the_middle_of_a_recovery_ends_it() {
    let mut world = World::running("");
    world.stops(Off::Failed);
    world.operator(GroupOrder::Intent(Intent::Offline));
    world.start_works(); // it was under way
    world.done(&VmAction::Shutdown, Ok(()));
    world.stops(Off::Shutdown);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
}

#[test]
fn a_frozen_group_is_watched_and_not_touched() {
    let mut world = World::well("");
    world.operator(GroupOrder::Freeze);
    world.fault();
    world.stops(Off::Failed);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::LeftAlone));
    let mut world = world.again("");
    world.see(Run::Off(Off::Failed));
    world.pass(Duration::from_secs(600));
    assert_eq!(world.orders, [], "also after a restart of the daemon");
    world.operator(GroupOrder::Thaw);
    assert_eq!(world.actions(), [&VmAction::Start]);
}

#[test]
fn a_recovery_under_way_stops_when_it_is_frozen() {
    let mut world = World::well("");
    world.hang(Duration::from_secs(11));
    world.operator(GroupOrder::Freeze);
    let file = PathBuf::from("/screens/web-1.screenshot");
    world.done(&VmAction::Screenshot { file }, Ok(()));
    world.hang(Duration::from_secs(600));
    assert_eq!(world.orders, []);
}

#[test]
fn a_reload_restarts_nothing_and_remembers_what_it_forgot() {
    let mut world = World::running("");
    world.operator(GroupOrder::Intent(Intent::Offline));
    world.done(&VmAction::Shutdown, Ok(()));
    world.stops(Off::Shutdown);
    let mut without = config("");
    let group = without.groups.remove(0);
    world.engine.reload(&without, world.now);
    world.drain();
    assert_eq!(world.engine.domains(), ["web1"], "it is this host's");
    world.right.hold = Hold::Elsewhere;
    world.set_right();
    world.drain();
    world.pass(Duration::from_secs(1));
    assert!(world.engine.domains().is_empty());
    world.right.hold = Hold::Owned;
    without.groups.push(group);
    world.engine.reload(&without, world.now);
    world.set_right();
    world.see(Run::Off(Off::Shutdown));
    world.pass(Duration::from_secs(60));
    assert_eq!((world.orders.len(), world.group().condition), (0, Condition::Offline));
}
