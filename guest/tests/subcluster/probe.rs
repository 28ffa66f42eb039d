//! Probes: they look, and what they need is restarted.

use super::world::{SECOND, World, cause, exec, failed, process, site, tcp};
use core::time::Duration;
use roost_guest::subcluster::Outcome;
use roost_proto::link::{GroupState, ResourceState};

fn web_and_port(more: &str) -> String {
    site(&[process("web", ""), tcp("port", &format!("needs = [\"web\"]\n{more}"))].concat())
}

/// A world in which "web" was just started, and "port" is tried for the first time.
fn trying(text: &str) -> World {
    let mut world = World::new(text);
    world.end("monitor web", Outcome::Running);
    world.take();
    world
}

#[test]
fn tries_come_soon_at_first_and_then_each_second() {
    let mut world = trying(&web_and_port(""));
    for pause in [100, 200, 400, 800, 1000, 1000] {
        assert_eq!(world.resource("port").state, ResourceState::Starting);
        world.end("monitor port", failed());
        world.sleep(Duration::from_millis(pause - 1));
        world.began(&[]);
        world.sleep(Duration::from_millis(1));
        world.began(&["monitor port"]);
    }
    world.end("monitor port", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
    assert_eq!(world.resource("port").restarts, 0);
}

#[test]
fn a_probe_without_success_in_time_restarts_what_it_needs() {
    let mut world = trying(&web_and_port("start_timeout = \"5s\"\ntimeout = \"2s\""));
    let begun = world.now;
    loop {
        assert!(world.limit("monitor port") <= 2 * SECOND);
        world.end("monitor port", failed());
        world.take();
        if !world.flights.is_empty() {
            break; // web is being stopped
        }
        world.sleep(SECOND);
    }
    let took = world.now.since(begun);
    assert!(took >= 5 * SECOND && took <= 7 * SECOND, "{took:?}");
    assert!(world.flights.values().any(|(label, _)| label == "stop web"));
    assert_eq!((world.resource("port").restarts, world.resource("web").restarts), (1, 0));
    assert!(world.resource("port").detail.contains("no success within 5s; last: it broke"));
}

#[test]
fn a_probe_that_fails_restarts_what_it_needs_and_all_that_depends_on_that() {
    let text = site(
        &[
            process("web", ""),
            tcp("port", "needs = [\"web\"]"),
            exec("cache", "needs = [\"web\"]"),
            exec("front", "needs = [\"port\"]"),
        ]
        .concat(),
    );
    let mut world = World::online(&text);
    world.sleep(10 * SECOND);
    world.end("monitor web", Outcome::Running);
    world.take();
    world.end("monitor port", Outcome::TimedOut(cause("no answer")));
    let running: Vec<String> = world.flights.values().map(|(label, _)| label.clone()).collect();
    assert!(running.contains(&"stop front".to_owned()) && running.contains(&"stop cache".to_owned()));
    assert!(!running.contains(&"stop web".to_owned()), "it is needed until both are stopped");
    world.end_well(&["stop front"]);
    world.take();
    world.end_well(&["stop cache"]);
    world.began(&["stop web"]);
    world.end_well(&["stop web"]);
    world.began(&["start web"]);
    world.end_well(&["start web"]);
    let mut begun = world.take();
    begun.sort();
    assert_eq!(begun, ["monitor port", "start cache"]);
    assert_eq!(world.resource("front").state, ResourceState::Waiting);
    world.settle();
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn attempts_and_backoff_are_those_of_the_probe() {
    let more = "attempts = 2\nbackoff = \"10s\"\nbackoff_max = \"20s\"\ninterval = \"1s\"";
    let mut world = World::online(&web_and_port(more));
    world.sleep(SECOND);
    world.end("monitor port", failed());
    world.end_well(&["stop web", "start web", "monitor port"]); // the first at once
    world.sleep(SECOND);
    world.take();
    world.end("monitor port", failed());
    world.end_well(&["stop web"]);
    world.began(&["stop web"]);
    world.sleep(10 * SECOND);
    world.began(&["start web"]);
    world.end_well(&["start web", "monitor port"]);
    world.sleep(SECOND);
    world.take();
    world.end("monitor port", failed());
    world.began(&["stop web"]);
    assert_eq!(world.resource("port").restarts, 0, "the group's turn: its attempts are as new");
}

#[test]
fn a_probe_behind_a_probe_restarts_what_both_need() {
    let text = site(
        &[process("web", ""), tcp("port", "needs = [\"web\"]"), tcp("page", "needs = [\"port\"]")].concat(),
    );
    let mut world = World::online(&text);
    world.sleep(10 * SECOND);
    world.take();
    world.end("monitor page", failed());
    assert!(world.take().contains(&"stop web".to_owned()));
    assert_eq!(world.resource("page").restarts, 1);
}

#[test]
fn a_probe_that_needs_nothing_goes_to_the_groups_rung() {
    let text = site(&[process("web", ""), tcp("port", "attempts = 3")].concat());
    let mut world = World::online(&text);
    world.sleep(10 * SECOND);
    world.take();
    world.end("monitor port", failed());
    assert!(world.take().contains(&"stop web".to_owned()), "the whole group is restarted");
    world.settle();
    assert_eq!(world.state(), GroupState::Online);
    world.sleep(10 * SECOND);
    world.end("monitor port", failed());
    assert_eq!(world.fault().resource, "port");
    assert_eq!(world.fault().reason, "it broke; 1 restart of the group within 1h did not help");
}

#[test]
fn a_probe_is_never_started_or_stopped() {
    let mut world = World::online(&web_and_port(""));
    world.sleep(10 * SECOND);
    world.end("monitor port", failed());
    world.settle();
    world.sleep(100 * SECOND);
    world.shut_down();
    world.settle();
    assert!(!world.take().iter().any(|begun| begun == "start port" || begun == "stop port"));
}

#[test]
fn the_time_that_the_machine_stands_still_is_no_part_of_a_probes_time() {
    let hour = 3600 * SECOND;
    let text = web_and_port("start_timeout = \"5s\"\ntimeout = \"2s\"");
    // During a try, which may end as it likes, and during a pause.
    for outcome in [failed(), Outcome::TimedOut(cause("no answer"))] {
        let mut world = trying(&text);
        world.stand_still(hour);
        world.end("monitor port", outcome.clone());
        world.began(&[]);
        assert_eq!(world.resource("port").state, ResourceState::Starting);
        world.stand_still(hour);
        world.sleep(Duration::ZERO);
        world.began(&["monitor web", "monitor port"]);
        world.end("monitor port", outcome);
        world.began(&[]);
        assert_eq!((world.state(), world.resource("port").restarts), (GroupState::Starting, 0));
        world.sleep(SECOND);
        world.end("monitor port", Outcome::Running);
        assert_eq!(world.state(), GroupState::Online);
    }
}
