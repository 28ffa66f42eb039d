//! From failure to fault.

use super::world::{SECOND, World, cause, exec, failed, process, resource, site};
use core::time::Duration;
use roost_guest::subcluster::{Input, Outcome};
use roost_proto::link::{Exit, GroupState, MAX_OUTPUT, MAX_REASON, ResourceState};

fn web(more: &str) -> String {
    site(&process("web", more))
}

#[test]
fn a_process_that_died_is_started_in_the_same_instant_without_a_stop() {
    let mut world = World::online(&web(""));
    world.gone("web");
    world.began(&["start web"]);
    assert_eq!(world.reports.len(), 1);
    assert_eq!(world.reports[0].state, GroupState::Recovering);
    world.end("start web", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
    let web = world.resource("web");
    assert_eq!((web.restarts, web.detail.as_str()), (1, "runs again after: killed by signal 9"));
}

#[test]
fn further_restarts_wait_twice_as_long_each_up_to_the_cap() {
    let mut world =
        World::online(&web("attempts = 6\nbackoff = \"1s\"\nbackoff_max = \"5s\"\nwindow = \"10m\""));
    world.gone("web");
    world.end("start web", Outcome::Running);
    world.take();
    for longest in [1, 2, 4, 5, 5] {
        world.gone("web");
        assert_eq!(world.resource("web").state, ResourceState::Waiting);
        let longest = longest * SECOND;
        world.sleep(longest * 4 / 5 - Duration::from_millis(1));
        world.began(&[]);
        world.sleep(longest / 5 + Duration::from_millis(2));
        world.began(&["start web"]);
        world.end("start web", Outcome::Running);
    }
}

#[test]
fn attempts_outside_the_window_count_no_more() {
    let mut world = World::online(&web("attempts = 1\nwindow = \"1m\"\nbackoff_max = \"10s\""));
    for _ in 0..10 {
        world.gone("web");
        world.began(&["start web"]);
        world.end("start web", Outcome::Running);
        world.sleep(60 * SECOND);
        world.settle();
        world.take();
    }
}

#[test]
fn dependents_are_stopped_in_reverse_and_started_in_order() {
    let text = site(
        &[
            process("db", ""),
            exec("app", "needs = [\"db\"]"),
            process("web", "needs = [\"app\"]"),
            process("other", ""),
        ]
        .concat(),
    );
    let mut world = World::online(&text);
    world.gone("db");
    world.began(&["stop web"]);
    assert_eq!(world.resource("app").state, ResourceState::Running);
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop app"]);
    world.end("stop app", Outcome::Stopped);
    world.began(&["start db"]); // its process is dead already
    world.end("start db", Outcome::Running);
    world.began(&["start app"]);
    world.end("start app", Outcome::Running);
    world.end("monitor app", Outcome::Running);
    world.began(&["monitor app", "start web"]);
    world.end("start web", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
    assert_eq!(world.resource("other").restarts, 0);
    assert_eq!(world.resource("web").restarts, 0, "attempts are those of what failed");
}

#[test]
fn every_kind_but_a_process_is_stopped_before_it_is_started_again() {
    for kind in ["systemd:a.service", "ocf:heartbeat:Dummy", "lsb:a", "mount", "exec"] {
        let mut world = World::online(&site(&resource("it", kind, "")));
        world.gone("it");
        world.began(&["stop it"]);
        world.end("stop it", Outcome::Stopped);
        world.began(&["start it"]);
    }
}

#[test]
fn a_monitor_that_finds_it_stopped_failed_or_hanging_is_a_failure() {
    let outcomes =
        [Outcome::Stopped, failed(), Outcome::TimedOut(cause("hangs")), Outcome::Misconfigured(cause("x"))];
    for outcome in outcomes {
        let mut world = World::online(&site(&exec("db", "")));
        world.sleep(10 * SECOND);
        world.began(&["monitor db"]);
        world.end("monitor db", outcome);
        world.began(&["stop db"]);
        assert_eq!(world.resource("db").restarts, 1);
    }
}

#[test]
fn a_process_whose_monitor_finds_it_stopped_is_started_and_one_that_hangs_is_stopped_first() {
    let mut world = World::online(&web(""));
    world.sleep(10 * SECOND);
    world.take();
    world.end("monitor web", Outcome::Stopped);
    world.began(&["start web"]);

    let mut world = World::online(&web(""));
    world.sleep(10 * SECOND);
    world.take();
    world.end("monitor web", failed());
    world.began(&["stop web"]);
}

#[test]
fn a_running_monitor_is_cancelled_when_its_resource_ends() {
    let mut world = World::online(&site(&exec("db", "")));
    world.sleep(10 * SECOND);
    world.gone("db");
    world.began(&["monitor db", "cancel monitor db", "stop db"]);
}

#[test]
fn a_start_that_fails_is_a_failed_attempt_and_is_cleaned_up() {
    for outcome in [failed(), Outcome::TimedOut(cause("hangs")), Outcome::Stopped] {
        let mut world = World::new(&site(&[exec("db", ""), process("web", "needs = [\"db\"]")].concat()));
        world.end("monitor db", Outcome::Stopped);
        world.end("monitor web", Outcome::Stopped);
        world.take();
        world.end("start db", outcome.clone());
        world.began(&["stop db"]);
        world.end("stop db", Outcome::Stopped);
        world.began(&["start db"]);
        assert_eq!(world.resource("db").restarts, 1);
        world.end("start db", outcome);
        world.end("stop db", Outcome::Stopped);
        world.began(&["stop db"]); // and now backoff
        assert_eq!(world.resource("db").state, ResourceState::Waiting);
    }
}

#[test]
fn a_process_that_dies_at_once_is_never_started_in_a_tight_loop() {
    let text = web("attempts = 100\nbackoff = \"100ms\"\nbackoff_max = \"1s\"\nwindow = \"1h\"");
    let mut world = World::online(&text);
    let mut starts = 0;
    for _ in 0..600 {
        if world.flights.is_empty() && world.resource("web").state == ResourceState::Running {
            world.gone("web");
        }
        if !world.flights.is_empty() {
            starts += 1;
            world.end("start web", Outcome::Running);
        }
        world.sleep(Duration::from_millis(100));
    }
    assert!((55..=85).contains(&starts), "{starts} starts in a minute");
}

#[test]
fn spent_attempts_restart_the_group_and_then_raise_a_fault() {
    let text = site(
        &[
            "restarts = 1\n".to_owned(),
            process("db", ""),
            process("web", "attempts = 2\nbackoff = \"1s\"\nneeds = [\"db\"]"),
            process("other", ""),
        ]
        .concat(),
    );
    let mut world = World::online(&text);
    for _ in 0..2 {
        world.gone("web");
        world.sleep(2 * SECOND);
        world.began(&["start web"]);
        world.end("start web", Outcome::Running);
    }
    world.gone("web");
    world.began(&["stop other", "stop db"]); // what depends first, and the dead one needs no stop
    assert_eq!(world.state(), GroupState::Recovering);
    world.end("stop db", Outcome::Stopped);
    world.began(&[]); // nothing is started before all is stopped
    world.end("stop other", Outcome::Stopped);
    world.began(&["start db", "start other"]);
    world.end_well(&["start db", "start other"]);
    world.began(&["start web"]);
    world.end("start web", Outcome::Running);
    assert_eq!(world.resource("web").restarts, 0, "attempts begin anew");
    assert_eq!(world.state(), GroupState::Online);
    for _ in 0..2 {
        world.gone("web");
        world.sleep(2 * SECOND);
        world.end("start web", Outcome::Running);
    }
    world.take();
    world.reports.clear();
    world.gone("web");
    world.began(&[]);
    let fault = world.fault();
    assert_eq!(fault.resource, "web");
    assert_eq!(
        fault.reason,
        "killed by signal 9; 2 restarts within 10m and 1 restart of the group within 1h did not help"
    );
    assert_eq!((fault.exit, fault.output.as_str()), (Exit::Code(1), "its last line"));
    assert_eq!(world.reports.len(), 1);
    assert!(matches!(world.reports[0].state, GroupState::Faulted(_)));
    assert_eq!(world.resource("web").state, ResourceState::Failed);
    assert_eq!(world.resource("db").state, ResourceState::Running);
}

#[test]
fn with_no_attempts_the_group_has_its_turn_at_once() {
    let mut world = World::online(&site(&[process("web", "attempts = 0"), process("other", "")].concat()));
    world.gone("web");
    world.began(&["stop other"]);
}

#[test]
fn with_no_attempts_and_no_restarts_the_fault_comes_at_once() {
    let mut world = World::online(&site(&["restarts = 0\n", &process("web", "attempts = 0")].concat()));
    world.gone("web");
    world.began(&[]);
    assert_eq!(world.fault().reason, "killed by signal 9");
}

#[test]
fn what_is_set_up_wrongly_is_not_tried_again() {
    let mut world = World::new(&site(&[exec("db", ""), process("web", "")].concat()));
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Running);
    world.take();
    world.end("start db", Outcome::Misconfigured(cause("no parameter 'device'")));
    world.began(&[]);
    assert_eq!(world.fault().reason, "no parameter 'device'");
    assert_eq!(world.resource("db").restarts, 0);
    assert_eq!(world.resource("web").state, ResourceState::Running);
}

#[test]
fn what_cannot_be_stopped_is_not_started_a_second_time() {
    for outcome in [failed(), Outcome::TimedOut(cause("it broke")), Outcome::Degraded(cause("it broke"))] {
        let mut world = World::online(&site(&exec("db", "")));
        world.gone("db");
        world.take();
        world.end("stop db", outcome);
        world.began(&[]);
        assert_eq!(world.fault().reason, "it could not be stopped: it broke");
        world.sleep(300 * SECOND);
        assert!(!world.take().iter().any(|begun| begun.contains("start") || begun.contains("stop")));
    }
}

#[test]
fn a_faulted_group_is_watched_and_not_touched() {
    let text = site(&["restarts = 0\n", &process("web", "attempts = 0"), &exec("db", "")].concat());
    let mut world = World::online(&text);
    world.gone("web");
    world.take();
    world.reports.clear();
    world.sleep(10 * SECOND);
    let mut begun = world.take();
    begun.sort();
    assert_eq!(begun, ["monitor db", "monitor web"]);
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.began(&[]);
    assert_eq!(world.resource("db").state, ResourceState::Failed);
    assert!(matches!(world.reports.last().expect("a report").state, GroupState::Faulted(_)));
    world.sleep(10 * SECOND);
    world.take();
    world.end("monitor db", Outcome::Running);
    assert_eq!(world.resource("db").state, ResourceState::Running);
    assert_eq!(world.fault().resource, "web", "a fault stays");
}

#[test]
fn what_is_under_way_when_the_fault_comes_ends_well() {
    let text = site(&["restarts = 0\n", &process("web", "attempts = 0"), &exec("db", "")].concat());
    let mut world = World::new(&text);
    world.end("monitor web", Outcome::Running);
    world.end("monitor db", Outcome::Stopped);
    world.gone("web");
    world.take();
    world.end("start db", Outcome::Running);
    world.began(&["monitor db"]);
    world.end("monitor db", Outcome::Running);
    assert_eq!(world.resource("db").state, ResourceState::Running);
}

#[test]
fn a_dependent_that_dies_with_what_it_needs_is_not_counted() {
    let text = site(&[exec("db", ""), process("web", "needs = [\"db\"]")].concat());
    let mut world = World::online(&text);
    world.gone("db");
    world.began(&["stop web"]);
    world.gone("web");
    world.began(&[]); // its stop ends soon
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop db"]);
    assert_eq!(world.resource("web").restarts, 0);
}

#[test]
fn one_that_dies_while_it_waits_for_its_stop_is_not_counted() {
    let text = site(
        &[exec("disk", ""), process("db", "needs = [\"disk\"]"), exec("web", "needs = [\"db\"]")].concat(),
    );
    let mut world = World::online(&text);
    world.gone("disk");
    world.began(&["stop web"]);
    world.gone("db");
    assert_eq!(world.resource("db").restarts, 0);
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop disk"]); // the process is dead: nothing to stop
}

#[test]
fn a_start_whose_need_dies_is_cancelled_and_cleaned_up() {
    let text = site(&[process("db", ""), exec("app", "needs = [\"db\"]")].concat());
    let mut world = World::new(&text);
    world.end("monitor db", Outcome::Running);
    world.end("monitor app", Outcome::Stopped);
    world.began(&["monitor db", "monitor app", "start app"]);
    world.gone("db");
    world.began(&["cancel start app", "stop app"]);
    world.end("stop app", Outcome::Stopped);
    world.began(&["start db"]);
}

#[test]
fn one_that_is_gone_while_its_start_is_confirmed_has_failed() {
    let mut world = World::new(&site(&resource("it", "systemd:a.service", "")));
    world.end("monitor it", Outcome::Stopped);
    world.end("start it", Outcome::Running);
    world.take();
    world.gone("it");
    world.began(&["cancel monitor it", "stop it"]);
    assert_eq!(world.resource("it").restarts, 1);
}

#[test]
fn an_answer_to_what_was_cancelled_is_not_heard() {
    let mut world = World::online(&site(&exec("db", "")));
    world.sleep(10 * SECOND);
    let (&op, _) = world.flights.iter().next().expect("the monitor");
    world.gone("db");
    world.take();
    let outcome = Outcome::Running;
    world.machine.handle(world.now, Input::Done { op, outcome });
    world.drain();
    world.began(&[]);
    assert_eq!(world.resource("db").state, ResourceState::Stopping);
}

#[test]
fn what_agents_say_is_cut_to_the_limits_of_a_report() {
    let text = site(&["restarts = 0\n", &exec("db", "attempts = 1\nwindow = \"1h\"")].concat());
    let mut world = World::online(&text);
    let mut long = cause(&"ä".repeat(MAX_REASON));
    long.output = "ö".repeat(MAX_OUTPUT) + "end";
    let id = world.id("db");
    world.machine.handle(world.now, Input::Gone { id, cause: long.clone() });
    world.drain();
    world.end("stop db", Outcome::Stopped);
    world.end("start db", Outcome::Failed(long));
    let fault = world.fault();
    assert!(fault.reason.ends_with("1 restart within 1h did not help"), "{}", fault.reason);
    assert!(fault.output.ends_with("end"));
    assert_eq!(world.group("site").check(), Ok(()));
}

#[test]
fn degraded_is_running_and_is_told() {
    let mut world = World::online(&site(&exec("db", "")));
    world.sleep(10 * SECOND);
    world.take();
    world.end("monitor db", Outcome::Degraded(cause("one disk is missing")));
    world.began(&[]);
    assert_eq!(world.reports.last().map(|report| &report.state), Some(&GroupState::Degraded));
    assert_eq!(world.resource("db").detail, "one disk is missing");
    world.sleep(10 * SECOND);
    world.end("monitor db", Outcome::Running);
    assert_eq!(world.reports.last().map(|report| &report.state), Some(&GroupState::Online));
}

#[test]
fn reports_come_when_something_differs_and_what_is_kept_when_it_must_be() {
    let mut world = World::online(&site(&[exec("db", ""), process("web", "")].concat()));
    for _ in 0..20 {
        world.sleep(10 * SECOND);
        world.settle();
    }
    assert!(world.take().len() > 20, "monitors were made");
    assert_eq!((world.reports.len(), world.kept.len()), (0, 0));
    world.gone("web");
    assert_eq!((world.reports.len(), world.kept.len()), (1, 1));
    assert_eq!(world.kept[0].groups[0].resources[1].attempts.within(world.now, SECOND), 1);
    world.end("start web", Outcome::Running);
    assert_eq!((world.reports.len(), world.kept.len()), (2, 1));
}
