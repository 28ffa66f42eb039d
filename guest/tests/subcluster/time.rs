//! Intervals, wakeups, and a machine that stands still.

use super::world::{SECOND, World, cause, exec, process, site};
use core::time::Duration;
use roost_guest::subcluster::Outcome;
use roost_proto::link::GroupState;

#[test]
fn the_next_monitor_comes_an_interval_after_the_end_of_the_last() {
    let mut world = World::online(&site(&exec("db", "interval = \"10s\"")));
    world.sleep(10 * SECOND);
    world.began(&["monitor db"]);
    world.sleep(15 * SECOND); // the monitor takes its time
    world.began(&[]);
    world.end("monitor db", Outcome::Running);
    world.sleep(10 * SECOND - Duration::from_millis(1));
    world.began(&[]);
    world.sleep(Duration::from_millis(1));
    world.began(&["monitor db"]);
}

#[test]
fn an_interval_of_zero_means_events_alone() {
    let mut world = World::online(&site(&process("web", "interval = \"0s\"")));
    world.sleep(1000 * SECOND);
    world.began(&[]);
    assert_eq!(world.wakes, 0);
    assert_eq!(world.machine.poll_timeout(), None);
    world.gone("web");
    world.began(&["start web"]);
}

#[test]
fn an_idle_controller_wakes_once_for_several_monitors() {
    let five: String = (0..5).map(|nth| process(&format!("p{nth}"), "")).collect();
    let mut world = World::online(&site(&five));
    // A first while, in which those that were started together are drawn together.
    for _ in 0..60 {
        world.sleep(SECOND);
        world.settle();
    }
    world.wakes = 0;
    world.take();
    for _ in 0..600 {
        world.sleep(SECOND / 10);
        world.settle();
    }
    let monitors = world.take().len();
    assert!((28..=36).contains(&monitors), "{monitors} monitors in a minute");
    assert!(world.wakes <= 16, "{} wakeups in a minute", world.wakes);
}

#[test]
fn many_monitors_are_not_begun_in_one_go() {
    let many: String = (0..60).map(|nth| exec(&format!("p{nth}"), "")).collect();
    let mut world = World::online(&site(&many));
    // Agents take their time, each its own.
    let mut most = 0;
    for nth in 0..40_000 {
        world.sleep(Duration::from_millis(3));
        let begun = world.take().len();
        if nth > 20_000 {
            most = most.max(begun);
        }
        let first = world.flights.values().next().map(|(label, _)| label.clone());
        if let Some(label) = first {
            world.end(&label, Outcome::Running);
        }
    }
    assert!(most <= 8, "{most} monitors at once");
}

#[test]
fn a_suspended_machine_restarts_nothing() {
    let mut world = World::online(&site(&[exec("db", ""), process("web", "needs = [\"db\"]")].concat()));
    world.stand_still(8 * 3600 * SECOND);
    world.sleep(Duration::ZERO);
    let mut begun = world.take();
    begun.sort();
    assert_eq!(begun, ["monitor db", "monitor web"], "each overdue monitor is made once");
    // Suspended again with monitors under way: their limits are over when the machine wakes.
    world.stand_still(8 * 3600 * SECOND);
    world.end("monitor db", Outcome::TimedOut(cause("no answer within 20s")));
    world.began(&["monitor db"]); // asked again, not believed
    world.end("monitor web", Outcome::Running);
    world.end("monitor db", Outcome::Running);
    world.began(&[]);
    assert_eq!(world.state(), GroupState::Online);
    assert!(world.reports.is_empty());
}

#[test]
fn a_look_and_a_confirming_look_are_asked_again_too() {
    let mut world = World::new(&site(&exec("db", "")));
    world.take();
    world.stand_still(3600 * SECOND);
    world.end("monitor db", Outcome::TimedOut(cause("no answer")));
    world.began(&["monitor db"]);
    world.end("monitor db", Outcome::Stopped);
    world.end("start db", Outcome::Running);
    world.take();
    world.stand_still(3600 * SECOND);
    world.end("monitor db", Outcome::TimedOut(cause("no answer")));
    world.began(&["monitor db"]);
    world.end("monitor db", Outcome::Running);
    assert_eq!((world.state(), world.resource("db").restarts), (GroupState::Online, 0));
}

#[test]
fn a_limit_that_was_over_on_time_is_believed() {
    let mut world = World::online(&site(&exec("db", "timeout = \"20s\"")));
    world.sleep(10 * SECOND);
    world.take();
    world.sleep(21 * SECOND); // a busy machine is late by a little
    world.end("monitor db", Outcome::TimedOut(cause("no answer")));
    world.began(&["stop db"]);
}

#[test]
fn a_clock_that_goes_back_is_not_believed() {
    let mut world = World::online(&site(&process("web", "attempts = 1\nwindow = \"10m\"")));
    world.gone("web");
    world.end("start web", Outcome::Running);
    world.now = roost_proto::time::Instant::from_nanos(1);
    world.gone("web");
    assert_eq!(world.state(), GroupState::Recovering, "the first attempt still counts");
    assert_eq!(world.resource("web").restarts, 0, "so it is the group that is restarted");
}
