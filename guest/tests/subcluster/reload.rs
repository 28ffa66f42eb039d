//! A changed configuration: what changed is restarted, and nothing else.

use super::world::{SECOND, World, exec, failed, process, site, tcp};
use roost_guest::subcluster::Outcome;
use roost_proto::link::{GroupState, ResourceState};

fn db_and_web() -> String {
    site(&[exec("db", ""), process("web", "needs = [\"db\"]"), process("other", "")].concat())
}

#[test]
fn the_same_configuration_changes_nothing() {
    let mut world = World::online(&db_and_web());
    world.reload(&db_and_web());
    world.began(&["switch"]);
    assert_eq!(world.state(), GroupState::Online);
    assert!(world.reports.is_empty());
}

#[test]
fn running_monitors_are_made_again_after_the_switch() {
    let mut world = World::online(&site(&exec("db", "")));
    world.sleep(10 * SECOND);
    world.take();
    world.reload(&site(&exec("db", "interval = \"20s\"")));
    world.began(&["cancel monitor db", "switch"]);
    world.sleep(SECOND / 100);
    world.began(&["monitor db"]);
}

#[test]
fn timings_needs_and_ways_to_stop_restart_nothing() {
    let mut world = World::online(&db_and_web());
    let new = site(
        &[
            process("other", "interval = \"3s\"\nattempts = 7\nstop_signal = \"INT\""),
            exec("db", "needs = [\"other\"]\ntimeout = \"3s\"")
                .replace("/p", "/new-stop")
                .replace("/m", "/new-monitor"),
            process("web", ""),
        ]
        .concat(),
    );
    world.reload(&new);
    world.began(&["switch"]);
    assert_eq!(world.state(), GroupState::Online);
    world.sleep(60 * SECOND);
    world.settle();
    assert!(world.take().iter().all(|begun| begun.starts_with("monitor")));
}

#[test]
fn what_changed_is_stopped_with_what_depends_on_it_before_the_switch_and_started_after() {
    let mut world = World::online(&db_and_web());
    world.reload(&db_and_web().replace("/s", "/other-start"));
    world.began(&["stop web"]);
    world.end("stop web", Outcome::Stopped);
    world.began(&["stop db"]);
    world.end("stop db", Outcome::Stopped);
    // The new db may run already: it is looked at.
    world.began(&["switch", "monitor db"]);
    world.end("monitor db", Outcome::Stopped);
    world.began(&["start db"]);
    world.end_well(&["start db", "monitor db", "start web"]);
    assert_eq!(world.state(), GroupState::Online);
    assert_eq!(world.resource("db").restarts, 0);
}

#[test]
fn what_is_removed_is_stopped_and_what_is_new_is_looked_at_and_started() {
    let mut world = World::online(&db_and_web());
    let new = site(&[exec("db", ""), process("web", "needs = [\"db\"]"), process("new", "")].concat());
    world.reload(&new);
    world.began(&["stop other"]);
    world.end("stop other", Outcome::Stopped);
    world.began(&["switch", "monitor new"]);
    world.end("monitor new", Outcome::Stopped);
    world.began(&["start new"]);
    world.end("start new", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
    assert_eq!(world.group("site").resources.len(), 3);
}

#[test]
fn what_depends_on_a_new_resource_and_runs_goes_on() {
    let mut world = World::online(&site(&process("web", "")));
    world.reload(&site(&[exec("disk", ""), process("web", "needs = [\"disk\"]")].concat()));
    world.began(&["switch", "monitor disk"]);
    world.end("monitor disk", Outcome::Stopped);
    world.began(&["start disk"]);
    world.end_well(&["start disk", "monitor disk"]);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn a_new_resource_that_is_found_broken_is_cleaned_up_below_what_runs() {
    let mut world = World::online(&site(&process("web", "")));
    world.reload(&site(&[exec("disk", ""), process("web", "needs = [\"disk\"]")].concat()));
    world.take();
    world.end("monitor disk", failed());
    world.began(&["stop disk"]);
    world.end("stop disk", Outcome::Stopped);
    world.end_well(&["start disk", "monitor disk"]);
    world.began(&["start disk", "monitor disk"]);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn groups_come_and_go() {
    let second = site(&process("two", "")).replace("site", "second");
    let third = site(&process("three", "")).replace("site", "third");
    let first = site(&process("one", ""));
    let mut world = World::online(&format!("{first}{second}"));
    world.reload(&format!("{third}{second}"));
    world.began(&["stop one"]);
    world.end("stop one", Outcome::Stopped);
    world.began(&["switch", "monitor three"]);
    world.end("monitor three", Outcome::Stopped);
    world.end("start three", Outcome::Running);
    let names: Vec<String> =
        world.machine.reports().into_iter().map(|report| report.group().name.clone()).collect();
    assert_eq!(names, ["third", "second"]);
    world.take();
    world.gone("two"); // ids are those of the new configuration
    world.began(&["start two"]);
}

#[test]
fn a_reload_waits_for_starts_and_begins_no_other_slow_one() {
    let slow = site(&[exec("db", ""), exec("app", "needs = [\"db\"]")].concat());
    let quick = site(&[process("web", ""), exec("disk", "")].concat()).replace("site", "second");
    let mut world = World::new(&format!("{slow}{quick}"));
    world.end_well(&["monitor web", "monitor disk"]);
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor app", Outcome::Stopped);
    world.take();
    world.reload(&format!("{slow}{quick}{}", site(&process("new", "")).replace("site", "third")));
    world.began(&[]); // db is being started
    world.gone("web");
    world.began(&["start web"]); // a process is restarted as ever
    world.end("start web", Outcome::Running);
    world.gone("disk");
    world.end("stop disk", Outcome::Stopped);
    world.began(&["stop disk"]); // its start takes time, and has to wait
    world.end("start db", Outcome::Running);
    world.end("monitor db", Outcome::Running);
    world.began(&["monitor db", "switch", "start app", "start disk", "monitor new"]);
}

#[test]
fn nothing_is_started_in_a_group_that_is_about_to_change() {
    let mut world = World::online(&db_and_web());
    world.reload(&db_and_web().replace("/s", "/other-start"));
    world.gone("other");
    world.began(&["stop web"]);
    world.end("stop web", Outcome::Stopped);
    world.end("stop db", Outcome::Stopped);
    world.began(&["stop db", "switch", "monitor db"]);
    world.end("monitor db", Outcome::Stopped);
    world.began(&["start db", "start other"]);
}

#[test]
fn a_second_reload_replaces_the_one_that_waits() {
    let mut world = World::online(&db_and_web());
    world.reload(&db_and_web().replace("/s", "/other-start"));
    world.began(&["stop web"]);
    world.reload(&db_and_web());
    world.end("stop web", Outcome::Stopped);
    // It was asked for no more, but it was begun.
    world.began(&["stop db"]);
    world.end("stop db", Outcome::Stopped);
    world.began(&["switch", "start db"]);
}

#[test]
fn a_frozen_group_keeps_what_is_taken_out_and_thaws_into_the_new_configuration() {
    let mut world = World::online(&db_and_web());
    world.freeze();
    world.reload(&site(
        &[exec("db", "").replace("/s", "/other-start"), process("web", "needs = [\"db\"]")].concat(),
    ));
    world.began(&["switch"]);
    assert_eq!(world.resource("db").state, ResourceState::Running);
    world.thaw();
    world.began(&["stop web"]);
    world.end("stop web", Outcome::Stopped);
    world.end("stop db", Outcome::Stopped);
    world.began(&["stop db", "start db"]);
}

#[test]
fn a_frozen_group_that_is_taken_out_is_left_running_and_told_of() {
    let other = site(&process("two", "")).replace("site", "second");
    let mut world = World::online(&format!("{}{other}", site(&process("one", ""))));
    world.freeze();
    world.logs.clear();
    world.reload(&other);
    world.began(&["switch"]);
    assert!(
        world.logs.iter().any(|log| log.contains("'site'") && log.contains("left running")),
        "{:?}",
        world.logs
    );
}

#[test]
fn a_reload_that_changes_a_faulted_group_clears_its_fault() {
    let text = site(&["restarts = 0\n", &process("web", "attempts = 0"), &exec("db", "")].concat());
    let mut world = World::online(&text);
    world.gone("web");
    world.take();
    world.reload(&format!("{text}{}", site(&process("two", "")).replace("site", "second")));
    assert_eq!(world.fault().resource, "web", "this group did not change");
    world.settle();
    world.take();
    world.reload(&text.replace("/bin/daemon", "/bin/better"));
    // What is not known to run is looked at before it is left to the new configuration.
    world.began(&["monitor web", "stop two"]);
    world.end("monitor web", Outcome::Stopped);
    world.end("stop two", Outcome::Stopped);
    world.began(&["switch", "monitor web"]);
    world.end("monitor web", Outcome::Stopped);
    world.began(&["start web"]);
    world.end("start web", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn what_cannot_be_stopped_for_a_reload_is_not_started_a_second_time() {
    let mut world = World::online(&site(&exec("db", "")));
    world.reload(&site(&exec("db", "").replace("/s", "/other-start")));
    world.take();
    world.end("stop db", failed());
    world.began(&["switch"]);
    assert_eq!(world.fault().reason, "it could not be stopped: it broke");
    world.sleep(60 * SECOND);
    assert!(world.take().iter().all(|begun| begun == "monitor db"));

    // If it is no more in the configuration, there is nothing that could run twice.
    let mut world = World::online(&site(&[exec("db", ""), process("web", "")].concat()));
    world.reload(&site(&process("web", "")));
    world.end("stop db", failed());
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn a_changed_probe_has_its_time_again_and_restarts_nothing() {
    let text = site(
        &[process("web", ""), tcp("port", "needs = [\"web\"]"), process("front", "needs = [\"port\"]")]
            .concat(),
    );
    let mut world = World::online(&text);
    world.reload(&text.replace(":80", ":81"));
    world.began(&["switch", "monitor port"]);
    world.end("monitor port", failed());
    world.began(&[]);
    assert_eq!(world.resource("port").state, ResourceState::Starting);
    world.sleep(SECOND);
    world.take();
    world.end("monitor port", Outcome::Running);
    assert_eq!(world.state(), GroupState::Online);
    world.began(&[]);
}

#[test]
fn a_probe_that_becomes_something_that_is_started_and_back() {
    let probe = site(&tcp("port", ""));
    let service = site(&exec("port", ""));
    let mut world = World::online(&probe);
    world.reload(&service);
    world.began(&["switch", "monitor port"]);
    world.end("monitor port", Outcome::Stopped);
    world.end_well(&["start port", "monitor port"]);
    world.take();
    world.reload(&probe);
    world.began(&["stop port"]);
    world.end("stop port", Outcome::Stopped);
    world.began(&["switch", "monitor port"]);
    // The same while it is frozen: nothing is stopped, and nothing that was believed of the one is believed of the other.
    world.freeze();
    world.take();
    world.reload(&service);
    world.began(&["cancel monitor port", "switch", "monitor port"]);
}
