//! Frozen by a person, and thawed.

use super::world::{SECOND, World, cause, exec, failed, process, site, tcp};
use roost_guest::subcluster::Outcome;
use roost_proto::link::{GroupState, ResourceState};

fn db_and_web() -> String {
    site(&[exec("db", ""), process("web", "needs = [\"db\"]")].concat())
}

#[test]
fn a_frozen_group_is_watched_and_told_of_and_not_touched() {
    let mut world = World::online(&db_and_web());
    world.freeze();
    assert!(world.reports.last().expect("a report").frozen);
    world.gone("web");
    world.began(&[]);
    assert_eq!(world.resource("web").state, ResourceState::Failed);
    world.sleep(10 * SECOND);
    let mut begun = world.take();
    begun.sort();
    assert_eq!(begun, ["monitor db", "monitor web"]);
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.began(&[]);
    assert_eq!(world.resource("db").state, ResourceState::Failed);
    assert_eq!(world.resource("db").restarts, 0);
}

#[test]
fn what_is_under_way_is_let_end_and_nothing_follows_it() {
    let mut world = World::new(&db_and_web());
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.freeze();
    world.take();
    world.end("start db", Outcome::Running);
    world.began(&["monitor db"]); // to see is not to touch
    world.end("monitor db", Outcome::Running);
    world.began(&[]);
    assert_eq!(world.resource("db").state, ResourceState::Running);

    let mut world = World::online(&db_and_web());
    world.gone("db");
    world.began(&["stop web"]);
    world.freeze();
    world.end("stop web", Outcome::Stopped);
    world.began(&[]);
}

#[test]
fn what_was_to_be_stopped_is_watched_like_the_rest_when_it_is_not() {
    let text =
        site(&[exec("db", ""), exec("app", "needs = [\"db\"]"), exec("web", "needs = [\"app\"]")].concat());
    let mut world = World::online(&text);
    world.gone("db");
    world.began(&["stop web"]);
    assert_eq!(world.resource("db").state, ResourceState::Stopping);
    world.freeze();
    assert_eq!(world.resource("db").state, ResourceState::Failed);
    world.end("stop web", Outcome::Stopped);
    world.sleep(10 * SECOND);
    let mut begun = world.take();
    begun.sort();
    assert_eq!(begun, ["monitor app", "monitor db", "monitor web"]);
    world.end("monitor db", Outcome::Running);
    assert_eq!(world.resource("db").state, ResourceState::Running);
}

#[test]
fn a_stop_or_start_that_fails_in_a_frozen_group_raises_no_fault() {
    let mut world = World::online(&db_and_web());
    world.gone("db");
    world.freeze();
    world.end("stop web", failed());
    assert_eq!(world.state(), GroupState::Recovering);
    let mut world = World::new(&site(&exec("db", "")));
    world.end("monitor db", Outcome::Stopped);
    world.freeze();
    world.take();
    world.end("start db", Outcome::Misconfigured(cause("wrong")));
    world.began(&[]);
    assert_eq!(world.state(), GroupState::Starting);
}

#[test]
fn a_thawed_group_is_looked_at_and_taken_care_of() {
    let mut world = World::online(&db_and_web());
    world.freeze();
    world.gone("web");
    world.sleep(10 * SECOND);
    world.end("monitor db", Outcome::Stopped);
    world.take();
    world.thaw();
    // The monitor of web is under way for its report; the look is a new one.
    world.began(&["cancel monitor web", "monitor db", "monitor web"]);
    world.end("monitor db", Outcome::Running); // a person has started it
    world.end("monitor web", Outcome::Stopped);
    world.began(&["start web"]);
    world.end("start web", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
    assert!(!world.group("site").frozen);
}

#[test]
fn a_thaw_of_what_runs_only_looks_at_it() {
    let mut world = World::online(&db_and_web());
    world.freeze();
    world.thaw();
    world.began(&[]);
    assert_eq!(world.state(), GroupState::Online);
    world.sleep(SECOND / 100);
    let mut begun = world.take();
    begun.sort();
    assert_eq!(begun, ["monitor db", "monitor web"]);
}

#[test]
fn a_thaw_clears_a_fault_and_all_counts() {
    let text = site(&["restarts = 0\n", &process("web", "attempts = 1")].concat());
    let mut world = World::online(&text);
    world.gone("web");
    world.end("start web", Outcome::Running);
    world.gone("web");
    assert_eq!(world.fault().resource, "web");
    world.take();
    world.thaw();
    world.began(&["monitor web"]);
    assert_eq!(world.state(), GroupState::Starting);
    world.end("monitor web", Outcome::Stopped);
    world.began(&["start web"]);
    world.end("start web", Outcome::Running);
    assert_eq!(world.resource("web").restarts, 0);
    world.gone("web");
    world.began(&["start web"]); // at once, for it is the first again
}

#[test]
fn freeze_fault_and_counts_survive_the_controller() {
    let text = site(&["restarts = 0\n", &process("web", "attempts = 1")].concat());
    let mut world = World::online(&text);
    world.gone("web");
    world.end("start web", Outcome::Running);
    let mut world = world.crash(&text);
    world.end("monitor web", Outcome::Running);
    assert_eq!(world.resource("web").restarts, 1);
    world.gone("web");
    let fault = world.fault();

    let mut world = world.crash(&text);
    world.take();
    assert_eq!(world.fault(), fault);
    world.end("monitor web", Outcome::Stopped);
    world.began(&[]);

    world.freeze();
    let mut world = world.crash(&text);
    world.take();
    assert!(world.group("site").frozen);
    world.end("monitor web", Outcome::Stopped);
    world.sleep(60 * SECOND);
    assert!(!world.take().iter().any(|begun| begun.starts_with("start")));
}

#[test]
fn a_frozen_probe_is_tried_on_and_its_end_of_time_restarts_nothing() {
    let text = site(&[process("web", ""), tcp("port", "needs = [\"web\"]\nstart_timeout = \"3s\"")].concat());
    let mut world = World::new(&text);
    world.end("monitor web", Outcome::Running);
    world.freeze();
    world.take();
    for _ in 0..20 {
        for (label, _) in world.flights.clone().into_values() {
            world.end(&label, if label == "monitor web" { Outcome::Running } else { failed() });
        }
        world.sleep(SECOND);
    }
    assert_eq!(world.resource("port").state, ResourceState::Failed);
    assert!(world.take().iter().all(|begun| begun == "monitor port" || begun == "monitor web"));
}
