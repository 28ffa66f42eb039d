//! How a group comes up: looks first, then starts in order.

use super::world::{SECOND, World, cause, exec, failed, process, resource, site, tcp};
use core::time::Duration;
use roost_guest::subcluster::Outcome;
use roost_proto::link::{GroupState, ResourceState};

/// disk <- db <- web; disk <- log.
fn tree() -> String {
    site(
        &[
            exec("disk", "start_timeout = \"30s\"\nstop_timeout = \"40s\"\ntimeout = \"5s\""),
            exec("db", "needs = [\"disk\"]"),
            process("log", "needs = [\"disk\"]"),
            process("web", "needs = [\"db\"]"),
        ]
        .concat(),
    )
}

#[test]
fn everything_is_looked_at_first_and_at_once() {
    let mut world = World::new(&tree());
    world.began(&["monitor disk", "monitor db", "monitor log", "monitor web"]);
    assert_eq!(world.state(), GroupState::Starting);
    assert_eq!(world.limit("monitor disk"), 5 * SECOND);
}

#[test]
fn what_runs_is_adopted_and_not_restarted() {
    let mut world = World::new(&tree());
    world.take();
    world.end_well(&["monitor disk", "monitor db", "monitor log"]);
    assert_eq!(world.state(), GroupState::Starting);
    world.end("monitor web", Outcome::Degraded(cause("slow")));
    world.began(&[]);
    assert_eq!(world.state(), GroupState::Degraded);
    assert_eq!(world.resource("web").detail, "slow");
}

#[test]
fn the_stopped_are_started_in_order_and_independent_ones_together() {
    let mut world = World::new(&tree());
    for name in ["disk", "db", "log"] {
        world.end(&format!("monitor {name}"), Outcome::Stopped);
    }
    world.take();
    world.end("monitor web", Outcome::Stopped);
    world.began(&["start disk"]);
    assert_eq!(world.limit("start disk"), 30 * SECOND);
    assert_eq!(world.resource("db").state, ResourceState::Waiting);
    world.end("start disk", Outcome::Running);
    world.began(&["monitor disk"]); // it does not count as running before it was seen to
    assert_eq!(world.resource("disk").state, ResourceState::Starting);
    world.end("monitor disk", Outcome::Running);
    world.began(&["start db", "start log"]);
    world.end("start log", Outcome::Running);
    world.began(&[]); // the start of a process is enough
    assert_eq!(world.resource("log").state, ResourceState::Running);
    world.end("start db", Outcome::Running);
    world.end("monitor db", Outcome::Running);
    world.began(&["monitor db", "start web"]);
    world.end("start web", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn what_is_found_failed_is_stopped_before_it_is_started() {
    for outcome in [failed(), Outcome::TimedOut(cause("hangs"))] {
        let mut world = World::new(&site(&exec("db", "stop_timeout = \"40s\"")));
        world.take();
        world.end("monitor db", outcome);
        world.began(&["stop db"]);
        assert_eq!(world.limit("stop db"), 40 * SECOND);
        world.end("stop db", Outcome::Stopped);
        world.began(&["start db"]);
        assert_eq!(world.resource("db").restarts, 0, "what was found broken is no failed attempt");
    }
}

#[test]
fn what_runs_without_what_it_needs_is_stopped_first() {
    let mut world = World::new(&tree());
    world.end("monitor disk", Outcome::Stopped);
    world.end_well(&["monitor db", "monitor log"]);
    world.take();
    world.end("monitor web", Outcome::Running);
    world.began(&["stop web", "stop log"]);
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop db"]);
    world.end("stop db", Outcome::Stopped);
    world.began(&[]);
    world.end("stop log", Outcome::Stopped);
    world.began(&["start disk"]);
}

#[test]
fn what_was_started_with_another_configuration_is_restarted() {
    let old = site(&[process("db", ""), process("web", "needs = [\"db\"]")].concat());
    let mut first = World::new(&old);
    first.settle();
    let new = old.replacen("/bin/daemon", "/bin/other", 1);
    let mut world = first.crash(&new);
    world.take();
    world.end_well(&["monitor db", "monitor web"]);
    world.began(&["stop web"]);
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop db"]);
    world.end("stop db", Outcome::Stopped);
    world.began(&["start db"]);
    assert_eq!(world.resource("db").restarts, 0);
}

#[test]
fn timings_are_no_other_configuration() {
    let old = site(&process("web", ""));
    let mut first = World::new(&old);
    first.settle();
    let mut world = first.crash(&site(&process("web", "interval = \"3s\"\nstop_signal = \"INT\"")));
    world.take();
    world.end("monitor web", Outcome::Running);
    world.began(&[]);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn what_is_dead_at_the_confirming_look_failed_its_start() {
    for outcome in [Outcome::Stopped, failed(), Outcome::TimedOut(cause("hangs"))] {
        let mut world = World::new(&site(&exec("db", "")));
        world.end("monitor db", Outcome::Stopped);
        world.end("start db", Outcome::Running);
        world.take();
        world.end("monitor db", outcome);
        world.began(&["stop db"]);
        world.end("stop db", Outcome::Stopped);
        world.began(&["start db"]);
        assert_eq!(world.resource("db").restarts, 1);
        assert_eq!(world.state(), GroupState::Recovering);
    }
}

#[test]
fn what_cannot_be_looked_at_for_its_configuration_faults_at_its_start() {
    let mut world = World::new(&site(&exec("db", "")));
    world.take();
    world.end("monitor db", Outcome::Misconfigured(cause("no such agent")));
    world.began(&["start db"]);
    world.end("start db", Outcome::Misconfigured(cause("no such agent")));
    world.began(&[]);
    assert_eq!(world.fault().reason, "no such agent");
}

#[test]
fn probes_are_not_looked_at_but_tried_in_their_order() {
    let mut world = World::new(&site(&[process("web", ""), tcp("port", "needs = [\"web\"]")].concat()));
    world.began(&["monitor web"]);
    world.end("monitor web", Outcome::Running);
    world.began(&["monitor port"]);
    assert_eq!(world.state(), GroupState::Starting);
    world.end("monitor port", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn a_group_of_each_kind_comes_up() {
    let kinds = ["systemd:a.service", "ocf:heartbeat:Dummy", "lsb:a", "mount", "exec"];
    for kind in kinds {
        let mut world = World::new(&site(&resource("it", kind, "")));
        world.end("monitor it", Outcome::Stopped);
        world.end("start it", Outcome::Running);
        world.end("monitor it", Outcome::Running);
        world.began(&["monitor it", "start it", "monitor it"]);
        assert_eq!(world.state(), GroupState::Online, "{kind}");
    }
}

#[test]
fn groups_do_not_wait_for_each_other() {
    let text = format!("{}{}", site(&exec("db", "")), site(&exec("other", "")).replace("site", "second"));
    let mut world = World::new(&text);
    world.began(&["monitor db", "monitor other"]);
    world.end("monitor other", Outcome::Stopped);
    world.began(&["start other"]);
    world.sleep(Duration::from_secs(10));
    world.began(&[]);
}
