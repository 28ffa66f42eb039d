//! Groups that the host orders online and offline.

use super::world::{SECOND, World, exec, failed, process, site, tcp};
use core::time::Duration;
use roost_guest::subcluster::{Cause, Input, Outcome, Report};
use roost_proto::link::{
    self, Circumstances, Exit, GroupState, ManagedReport, Order, Readiness, ResourceState, Wanted,
};

const LEASE: Duration = Duration::from_secs(30);

/// Without commands.
fn plain() -> String {
    site(&["managed = true\n", &exec("db", ""), &process("web", "needs = [\"db\"]")].concat())
}

fn hooked() -> String {
    let keys = "managed = true\nbefore_online = [\"/b\"]\nafter_offline = [\"/a\"]\nready = [\"/r\"]\nrestarts = 0\n";
    site(&[keys, &exec("db", ""), &process("web", "needs = [\"db\"]\nattempts = 0")].concat())
}

impl World {
    fn order(&mut self, number: u32, epoch: u64, wanted: Wanted) {
        self.order_for(number, epoch, wanted, link::Cause::Start);
    }

    fn order_for(&mut self, number: u32, epoch: u64, wanted: Wanted, reason: link::Cause) {
        self.machine.heard(self.now);
        self.machine.handle(
            self.now,
            Input::Order(Order {
                group: "site".to_owned(),
                number,
                epoch,
                wanted,
                lease_ms: u32::try_from(LEASE.as_millis()).expect("small"),
                circumstances: circumstances(reason),
            }),
        );
        self.drain();
    }

    fn ask(&mut self, number: u32) {
        let (group, circumstances) = ("site".to_owned(), circumstances(link::Cause::Failback));
        self.machine.handle(self.now, Input::AskReady { group, number, circumstances });
        self.drain();
    }

    fn meet(&mut self) {
        self.machine.handle(self.now, Input::Met);
        self.drain();
    }

    /// Ends the command that is called `hook`.
    #[track_caller]
    fn hook_ends(&mut self, hook: &str, result: Result<(), Cause>) -> (Circumstances, u64) {
        let op = self.hooks.iter().find(|(_, (other, ..))| other == hook).map(|(&op, _)| op);
        let op = op.unwrap_or_else(|| panic!("'{hook}' is not under way: {:?}", self.hooks));
        let (_, circumstances, epoch) = self.hooks.remove(&op).expect("just found");
        self.machine.handle(self.now, Input::HookDone { op, result });
        self.drain();
        (circumstances, epoch)
    }

    fn told(&self) -> &ManagedReport {
        self.managed.last().expect("it was told of")
    }

    /// Told last: what is wanted, the epoch, the order that is obeyed.
    fn obeyed(&self) -> (Wanted, u64, Option<u32>) {
        let told = self.told();
        (told.wanted, told.epoch, told.obeys)
    }

    /// Ordered online, and there.
    fn managed(text: &str) -> Self {
        let mut world = Self::new(text);
        world.settle();
        assert_eq!(world.state(), GroupState::Offline);
        world.meet();
        world.order(1, 7, Wanted::Online);
        if text.contains("before_online") {
            world.hook_ends("before_online", Ok(()));
        }
        world.settle();
        assert_eq!(world.state(), GroupState::Online);
        world.take();
        world
    }
}

fn circumstances(reason: link::Cause) -> Circumstances {
    Circumstances { target: "vm:db1-standby".to_owned(), previous: "db1".to_owned(), reason }
}

fn broken() -> Cause {
    Cause { reason: "exit status 1".to_owned(), exit: Exit::Code(1), output: "so\nit is behind\n".to_owned() }
}

#[test]
fn nothing_is_started_at_boot_and_what_runs_is_stopped() {
    let mut world = World::new(&plain());
    world.began(&["monitor db", "monitor web"]);
    assert_eq!(world.state(), GroupState::Stopping, "nothing is known yet");
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.began(&[]);
    assert_eq!(world.state(), GroupState::Offline);
    assert_eq!(world.obeyed(), (Wanted::Offline, 0, None));
    assert_eq!(world.resource("web").state, ResourceState::Stopped);

    let mut world = World::new(&plain());
    world.end("monitor db", Outcome::Running);
    world.end("monitor web", Outcome::Stopped);
    world.take();
    assert_eq!(world.state(), GroupState::Stopping);
    world.end("stop db", Outcome::Stopped);
    assert_eq!(world.state(), GroupState::Offline);
}

#[test]
fn what_somebody_starts_where_it_is_not_wanted_is_stopped() {
    let text = site(&["managed = true\n", &exec("db", ""), &tcp("port", "needs = [\"db\"]")].concat());
    let mut world = World::new(&text);
    world.settle();
    world.take();
    world.sleep(10 * SECOND);
    world.began(&["monitor db"]); // and not the port, which another's may be
    world.end("monitor db", Outcome::Running);
    world.began(&["stop db"]);
    assert_eq!(world.state(), GroupState::Stopping);
    world.end("stop db", Outcome::Stopped);
    assert_eq!(world.state(), GroupState::Offline);
}

#[test]
fn ordered_online_and_offline_it_goes_there_and_says_so_with_the_state() {
    let mut world = World::new(&hooked());
    world.settle();
    world.take();
    world.meet();
    world.order_for(1, 7, Wanted::Online, link::Cause::Failover);
    world.began(&["before_online"]);
    assert_eq!(world.obeyed(), (Wanted::Online, 7, Some(1)));
    assert_eq!(world.told().report.state, GroupState::Starting);
    let (given, epoch) = world.hook_ends("before_online", Ok(()));
    assert_eq!((given, epoch), (circumstances(link::Cause::Failover), 7));
    world.began(&["monitor db", "monitor web"]); // the command may have started something
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.settle();
    world.began(&["start db", "monitor db", "start web"]);
    assert_eq!(world.told().report.state, GroupState::Online);

    world.order_for(2, 7, Wanted::Offline, link::Cause::Switchover);
    world.began(&["stop web"]);
    assert_eq!(world.obeyed(), (Wanted::Offline, 7, Some(2)));
    assert_eq!(world.told().report.state, GroupState::Stopping);
    world.end_well(&["stop web", "stop db"]);
    world.began(&["stop db", "after_offline"]);
    assert_eq!(world.told().report.state, GroupState::Stopping, "its command has not succeeded yet");
    let (given, _) = world.hook_ends("after_offline", Ok(()));
    assert_eq!(given.reason, link::Cause::Switchover);
    assert_eq!(world.told().report.state, GroupState::Offline);
    assert_eq!(world.obeyed(), (Wanted::Offline, 7, Some(2)));

    world.order(3, 7, Wanted::Offline);
    world.began(&[]); // nothing was brought online since
    assert_eq!(world.obeyed().2, Some(3));
}

#[test]
fn the_same_order_again_changes_nothing_but_what_is_obeyed() {
    let mut world = World::managed(&hooked());
    world.order(2, 7, Wanted::Online);
    world.order(3, 9, Wanted::Online);
    world.began(&[]);
    assert_eq!(world.obeyed(), (Wanted::Online, 9, Some(3)));
}

#[test]
fn an_order_of_an_older_epoch_is_refused_and_answered() {
    let mut world = World::managed(&plain());
    let told = world.managed.len();
    world.order(2, 6, Wanted::Offline);
    world.order(3, 6, Wanted::Offline);
    world.began(&[]);
    assert_eq!(world.managed.len(), told + 2);
    assert_eq!(world.obeyed(), (Wanted::Online, 7, Some(1)));
    assert_eq!(world.logs.iter().filter(|text| text.contains("refused")).count(), 1);
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn an_order_counts_on_its_connection_only() {
    let mut world = World::managed(&plain());
    let told = world.managed.len();
    world.meet();
    world.began(&[]);
    assert_eq!(world.managed.len(), told, "a snapshot tells it");
    let Report::Managed(report) = world.machine.reports().remove(0) else { panic!("it is managed") };
    assert_eq!((report.wanted, report.epoch, report.obeys), (Wanted::Online, 7, None));
}

#[test]
fn what_goes_down_goes_down_whole_before_it_comes_up() {
    let mut world = World::managed(&hooked());
    world.order(2, 7, Wanted::Offline);
    world.order(3, 8, Wanted::Online);
    world.began(&["stop web"]);
    world.end_well(&["stop web", "stop db"]);
    world.hook_ends("after_offline", Ok(()));
    world.began(&["stop db", "after_offline", "before_online"]);
    assert_eq!(world.told().report.state, GroupState::Starting);
    assert_eq!(world.obeyed(), (Wanted::Online, 8, Some(3)));
}

#[test]
fn a_way_up_that_is_not_wanted_any_more_is_broken_off_and_cleaned_up() {
    let mut world = World::new(&hooked());
    world.settle();
    world.order(1, 7, Wanted::Online);
    world.take();
    world.order(2, 7, Wanted::Offline);
    world.began(&["cancel before_online", "monitor db", "monitor web"]);
    assert_eq!(world.state(), GroupState::Stopping, "the command may have started something");
    world.end("monitor db", Outcome::Running);
    world.end("monitor web", Outcome::Stopped);
    world.end("stop db", Outcome::Stopped);
    world.began(&["stop db", "after_offline"]);
    world.hook_ends("after_offline", Ok(()));
    assert_eq!(world.state(), GroupState::Offline);
}

#[test]
fn a_command_that_fails_on_the_way_up_faults_the_group_until_the_next_order() {
    let mut world = World::new(&hooked());
    world.settle();
    world.order(1, 7, Wanted::Online);
    world.hook_ends("before_online", Err(broken()));
    world.take();
    let fault = world.fault();
    assert_eq!((fault.resource.as_str(), fault.exit), ("before_online", Exit::Code(1)));
    world.sleep(20 * SECOND);
    assert!(!world.take().iter().any(|begun| !begun.starts_with("monitor")), "it is left alone");

    let mut world = world.crash(&hooked());
    assert_eq!(world.fault(), fault);
    world.settle();
    world.take();
    world.order_for(1, 7, Wanted::Online, link::Cause::Recovery);
    world.began(&["before_online"]);
    assert_eq!(world.state(), GroupState::Starting);
    world.hook_ends("before_online", Ok(()));
    world.settle();
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn a_faulted_group_starts_afresh_by_an_order_and_goes_down_by_one() {
    let mut world = World::managed(&hooked());
    world.gone("web");
    assert_eq!(world.fault().resource, "web");
    world.take();
    world.order(2, 7, Wanted::Online);
    world.began(&["before_online"]);
    world.hook_ends("before_online", Ok(()));
    world.began(&["monitor web"]); // db runs on
    world.end("monitor web", Outcome::Stopped);
    world.settle();
    assert_eq!(world.state(), GroupState::Online);
    world.gone("web");
    assert_eq!(world.fault().resource, "web");
    world.take();
    world.order(3, 7, Wanted::Offline);
    world.began(&["stop db"]);
    assert_eq!(world.state(), GroupState::Stopping);
    world.end("stop db", Outcome::Stopped);
    world.hook_ends("after_offline", Ok(()));
    assert_eq!(world.state(), GroupState::Offline);
}

#[test]
fn a_way_down_that_fails_is_told_tried_again_and_then_left_to_the_host() {
    let mut world = World::managed(&hooked());
    world.order(2, 7, Wanted::Offline);
    world.end_well(&["stop web"]);
    world.end("stop db", failed());
    assert_eq!(world.fault().resource, "db");
    assert!(world.fault().reason.starts_with("it could not be stopped"));
    world.take();
    world.machine.heard(world.now);
    world.sleep(6 * SECOND);
    world.began(&["stop db"]);
    assert_eq!(world.fault().resource, "db", "it stays told until it is down");
    world.end("stop db", Outcome::Stopped);
    world.began(&["after_offline"]);
    for _ in 0..2 {
        world.hook_ends("after_offline", Err(broken()));
        assert_eq!(world.fault().resource, "after_offline");
        world.take();
        world.sleep(20 * SECOND);
        assert!(world.take().contains(&"after_offline".to_owned()));
    }
    world.hook_ends("after_offline", Err(broken()));
    world.sleep(1000 * SECOND);
    assert!(!world.take().contains(&"after_offline".to_owned()), "three times are enough");
    assert_eq!(world.fault().resource, "after_offline");
    world.order(3, 7, Wanted::Offline);
    assert_eq!(world.obeyed(), (Wanted::Offline, 7, Some(3)));
    assert_eq!(world.fault().resource, "after_offline");
    world.hook_ends("after_offline", Ok(()));
    assert_eq!(world.state(), GroupState::Offline);
}

#[test]
fn a_lost_host_ends_the_lease_and_the_group() {
    let mut world = World::managed(&hooked());
    world.sleep(LEASE - SECOND);
    world.machine.heard(world.now); // any word will do
    world.settle();
    world.sleep(LEASE - SECOND);
    world.settle();
    assert_eq!(world.state(), GroupState::Online);
    world.take();
    world.sleep(SECOND);
    assert!(world.take().contains(&"stop web".to_owned()));
    assert_eq!(world.obeyed(), (Wanted::Offline, 7, None));
    for _ in 0..4 {
        world.settle();
    }
    let (given, epoch) = world.hook_ends("after_offline", Ok(()));
    assert_eq!((given, epoch), (circumstances(link::Cause::Lease), 7));
    assert_eq!(world.state(), GroupState::Offline);
    // The host is back, and still has the right.
    world.order(9, 7, Wanted::Online);
    assert_eq!(world.obeyed(), (Wanted::Online, 7, Some(9)));
    world.hook_ends("before_online", Ok(()));
}

#[test]
fn a_group_whose_data_protects_itself_outlives_its_host() {
    let text = plain().replace("managed = true", "managed = true\non_lost_host = \"keep\"");
    let mut world = World::managed(&text);
    world.sleep(LEASE * 100);
    world.settle();
    assert_eq!(world.state(), GroupState::Online);
}

#[test]
fn orders_outlive_the_controller_and_so_do_commands_that_are_due() {
    let mut world = World::managed(&hooked()).crash(&hooked());
    world.end("monitor db", Outcome::Running);
    world.end("monitor web", Outcome::Running);
    world.began(&["monitor db", "monitor web"]);
    assert_eq!(world.state(), GroupState::Online);
    assert_eq!(world.obeyed(), (Wanted::Online, 7, None));
    world.order(1, 6, Wanted::Offline);
    assert_eq!(world.obeyed(), (Wanted::Online, 7, None));
    world.order(2, 7, Wanted::Offline);
    world.end_well(&["stop web", "stop db"]);
    world.take();

    let mut world = world.crash(&hooked());
    world.began(&["monitor db", "monitor web"]);
    assert_eq!(world.state(), GroupState::Stopping);
    world.end("monitor db", Outcome::Stopped);
    world.end("monitor web", Outcome::Stopped);
    world.began(&["after_offline"]);
    world.hook_ends("after_offline", Ok(()));
    assert_eq!(world.state(), GroupState::Offline);

    let mut world = world.crash(&hooked());
    world.settle();
    world.began(&["monitor db", "monitor web"]);
    world.order(1, 7, Wanted::Online);
    let mut world = world.crash(&hooked());
    assert!(world.take().contains(&"before_online".to_owned()), "its end was not seen");
    // The lease counts from here, for a host had no chance to be heard before.
    world.sleep(LEASE);
    assert!(world.take().contains(&"cancel before_online".to_owned()));
}

#[test]
fn a_frozen_group_is_not_touched_and_its_orders_are_kept() {
    let mut world = World::managed(&hooked());
    world.freeze();
    world.order(2, 8, Wanted::Offline);
    world.began(&[]);
    assert_eq!(world.obeyed(), (Wanted::Offline, 8, Some(2)));
    assert_eq!(world.told().report.state, GroupState::Online);
    assert!(world.told().report.frozen);
    world.ask(1);
    assert!(matches!(&world.answers[0].1, Readiness::NotReady { reason } if reason.contains("frozen")));
    world.thaw();
    world.began(&["stop web"]);

    let mut world = World::new(&hooked());
    world.settle();
    world.order(1, 7, Wanted::Online);
    world.freeze();
    world.hook_ends("before_online", Err(broken()));
    assert_eq!(world.state(), GroupState::Starting, "what fails raises no fault");
    world.take();
    world.thaw();
    assert!(world.take().contains(&"before_online".to_owned()));
}

#[test]
fn whether_it_could_be_brought_online_is_asked_of_its_command() {
    let mut world = World::new(&hooked());
    world.settle();
    world.take();
    for number in 1..=3 {
        world.ask(number);
    }
    world.began(&["ready"]);
    assert!(matches!(&world.answers[..], [(2, Readiness::NotReady { .. })]), "{:?}", world.answers);
    let (given, _) = world.hook_ends("ready", Err(broken()));
    assert_eq!(given.reason, link::Cause::Failback);
    let why = Readiness::NotReady { reason: "it is behind".to_owned() };
    assert_eq!(world.answers[1], (1, why));
    world.hook_ends("ready", Ok(()));
    assert_eq!(world.answers[2], (3, Readiness::Ready));
    assert_eq!(world.state(), GroupState::Offline, "it is not touched by that");

    world.ask(4);
    world.take();
    world.meet();
    world.began(&["cancel ready"]); // nobody on the new connection has asked
    let silent = Cause { output: String::new(), ..broken() };
    world.ask(1);
    world.hook_ends("ready", Err(silent));
    let why = Readiness::NotReady { reason: "exit status 1".to_owned() };
    assert_eq!(world.answers.last(), Some(&(1, why)));

    let mut world = World::online(&site(&process("web", "")));
    world.ask(5);
    assert!(matches!(world.answers[..], [(5, Readiness::NotReady { .. })]));
    let mut world = World::new(&plain());
    world.ask(6);
    assert_eq!(world.answers, [(6, Readiness::Ready)]);
}

#[test]
fn a_reload_makes_a_group_managed_while_it_runs_and_takes_that_away() {
    let alone = plain().replace("managed = true\n", "");
    let mut world = World::online(&alone);
    world.reload(&plain());
    world.began(&["switch"]);
    assert_eq!(world.obeyed(), (Wanted::Online, 0, None));
    world.sleep(LEASE * 10);
    world.settle();
    assert_eq!(world.state(), GroupState::Online, "no host has said how long it may go on without one");
    world.order(1, 1, Wanted::Offline);
    world.settle();
    assert_eq!(world.state(), GroupState::Offline);
    world.take();
    world.reload(&alone);
    world.began(&["switch", "start db"]);
}

#[test]
fn a_reload_waits_for_commands_and_begins_none_on_the_way_up() {
    let mut world = World::managed(&hooked());
    world.order(2, 7, Wanted::Offline);
    world.end_well(&["stop web", "stop db"]);
    world.take();
    let other = hooked().replace("\"/b\"", "\"/other\"");
    world.reload(&other);
    world.ask(1);
    world.began(&["ready"]);
    world.hook_ends("after_offline", Ok(()));
    world.began(&["cancel ready", "switch"]);
    assert!(matches!(world.answers[..], [(1, Readiness::NotReady { .. })]));
    world.order(3, 7, Wanted::Online);
    world.began(&["before_online"]);
}

#[test]
fn a_shutdown_promises_the_host_nothing() {
    let mut world = World::managed(&hooked());
    world.shut_down();
    world.end_well(&["stop web", "stop db"]);
    world.began(&["stop web", "stop db"]);
    assert!(world.machine.is_down());
    assert_eq!(world.state(), GroupState::Stopping);
    let mut world = World::new(&hooked());
    world.settle();
    world.order(1, 7, Wanted::Online);
    world.take();
    world.shut_down();
    world.began(&["cancel before_online"]);
    assert!(world.machine.is_down());
    world.order(2, 7, Wanted::Offline);
    world.began(&[]);
}
