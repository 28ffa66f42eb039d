//! The machine goes down.

use super::world::{SECOND, World, exec, failed, process, site, tcp};
use roost_guest::subcluster::Outcome;
use roost_proto::link::{GroupState, ResourceState};

fn db_and_web() -> String {
    site(&[exec("db", ""), tcp("port", "needs = [\"db\"]"), process("web", "needs = [\"port\"]")].concat())
}

#[test]
fn groups_are_stopped_in_reverse_and_stay_down() {
    let mut world =
        World::online(&format!("{}{}", db_and_web(), site(&exec("two", "")).replace("site", "second")));
    world.shut_down();
    world.began(&["stop web", "stop two"]);
    assert_eq!(world.state(), GroupState::Stopping);
    world.end("stop two", Outcome::Stopped);
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop db"]);
    assert!(!world.machine.is_down());
    world.end("stop db", Outcome::Stopped);
    assert!(world.machine.is_down());
    assert_eq!(world.state(), GroupState::Offline);
    assert_eq!(world.resource("db").state, ResourceState::Stopped);
    world.began(&[]);
    world.sleep(100 * SECOND);
    world.began(&[]);
}

#[test]
fn what_is_being_started_is_cancelled_and_stopped() {
    let mut world = World::new(&db_and_web());
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.take();
    world.shut_down();
    world.began(&["cancel start db", "stop db"]);
    world.end("stop db", Outcome::Stopped);
    assert!(world.machine.is_down());
}

#[test]
fn what_is_not_seen_yet_is_looked_at_and_then_stopped() {
    let mut world = World::new(&db_and_web());
    world.shut_down();
    assert!(!world.machine.is_down());
    world.end("monitor db", Outcome::Running);
    world.take();
    world.end("monitor web", Outcome::Stopped);
    world.began(&["stop db"]);
    world.end("stop db", Outcome::Stopped);
    assert!(world.machine.is_down());
}

#[test]
fn what_cannot_be_stopped_holds_nothing_up() {
    let mut world = World::online(&db_and_web());
    world.shut_down();
    world.end("stop web", failed());
    world.end("stop db", failed());
    assert!(world.machine.is_down());
}

#[test]
fn a_faulted_group_is_stopped_and_a_frozen_one_is_not() {
    let faulted = site(&["restarts = 0\n", &process("web", "attempts = 0"), &exec("db", "")].concat());
    let mut world = World::online(&faulted);
    world.gone("web");
    world.take();
    world.shut_down();
    world.began(&["stop db"]);
    world.end("stop db", Outcome::Stopped);
    assert!(world.machine.is_down());

    let mut world = World::online(&db_and_web());
    world.freeze();
    world.take();
    world.shut_down();
    world.began(&[]);
    assert!(world.machine.is_down());
}

#[test]
fn a_group_that_is_thawed_meanwhile_is_stopped_too() {
    let mut world =
        World::online(&format!("{}{}", site(&exec("one", "")), site(&exec("two", "")).replace("site", "b")));
    world.freeze();
    world.shut_down();
    world.began(&["stop two"]);
    world.thaw();
    world.began(&["stop one"]);
    world.end_well(&["stop two", "stop one"]);
    assert!(world.machine.is_down());
}

#[test]
fn a_death_during_the_shutdown_is_no_failure() {
    let mut world = World::online(&db_and_web());
    world.shut_down();
    world.gone("db");
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop web", "stop db"]);
    assert_eq!(world.resource("db").restarts, 0);
}

#[test]
fn a_waiting_reload_is_given_up_and_a_new_one_is_not_begun() {
    let mut world = World::online(&db_and_web());
    world.reload(&db_and_web().replace("/s", "/other"));
    world.shut_down();
    world.settle();
    assert!(!world.take().contains(&"switch".to_owned()));
    assert!(world.machine.is_down());
    world.reload(&db_and_web());
    world.began(&[]);
}
