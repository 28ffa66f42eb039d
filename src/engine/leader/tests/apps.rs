//! Applications: `c` is the physical primary of the application `db`, and the VM `s` on `a` or `b` its standby.

use super::*;
use roost_proto::cluster::decision::Asked;
use roost_proto::cluster::{MoveAsk, Whither};

const VM: &str = "vm:s";

fn world(vm: &str, app: &str) -> Office {
    let groups = [
        group("s", &format!("on = [\"a\", \"b\"]\n{vm}")),
        format!("[[group]]\nname = \"db\"\napp = \"postgres\"\non = [\"c\", \"vm:s\"]\n{app}\n"),
    ];
    let mut office = Office::new(config("role = \"application\"", &groups.concat()));
    office.down("s", &[A, B]);
    office.down("db", &[A, B, C]);
    office
}

/// The application runs on `c`, and its standby is warm.
fn warm(app: &str) -> Office {
    let mut office = world("", app);
    office.settle();
    office.well("s");
    office.well("db");
    office.settle();
    assert_eq!(office.place(), "c");
    office
}

/// The application runs in the VM.
fn inside(vm: &str, app: &str) -> Office {
    let mut office = world(vm, app);
    office.settle();
    office.well("db");
    office.lose_primary();
    office.settle();
    office.well("s");
    office.settle();
    office.well("db");
    office.settle();
    assert_eq!(office.place(), VM);
    office
}

impl Office {
    fn down(&mut self, group: &str, hosts: &[&str]) {
        hosts.iter().for_each(|host| self.tell(host, group, GroupState::Down, 1000, 1));
    }

    /// Where the application is.
    fn place(&self) -> &'static str {
        match self.ledger.target("db") {
            Some(target) if target == id(C) => C,
            Some(target) if target == HostId::of_vm("s") => VM,
            Some(_) => "elsewhere",
            None => "nowhere",
        }
    }

    fn lose_primary(&mut self) {
        let incarnation = self.lives[&id(C)];
        self.apply(Decision::Evict { host: id(C), incarnation });
        self.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Agent });
    }

    fn primary_is_back(&mut self) {
        let before = self.lives[&id(C)];
        let life = Incarnation { start: before.start + 1, boot: before.boot + 1 };
        self.reports.remove(&id(C));
        self.comes_again(C, life, Running::Nothing);
        self.settle();
        assert_eq!(self.standing(C), "in");
        self.room(C, 10_000);
        self.tell(C, "db", GroupState::Down, 0, 0);
        self.settle();
    }

    fn wish(&mut self, whither: Whither) -> Result<(), String> {
        let asked = Asked { host: id(A), start: 1, number: 1 };
        let ask = MoveAsk { asked, group: "db".to_owned(), whither, method: None };
        let decision = self
            .with_leader(|leader, view| leader.plan_move(view, &ask))
            .expect("it is known how things are")?;
        assert_eq!(self.apply(decision), Effect::Done);
        self.well("db"); // as of that
        self.settle();
        Ok(())
    }

    fn is_preparing(&self) -> bool {
        self.ledger.preparing("db").is_some()
    }

    /// The application is stopped where it is, as it was recalled.
    fn stops(&mut self) {
        let record = self.ledger.group("db");
        assert!(record.recalled.is_some(), "{record:?}");
        let owner = self.owner("db");
        self.tell(owner, "db", GroupState::Down, 0, 0);
        self.settle();
    }
}

#[test]
fn it_starts_at_home_and_goes_into_the_warm_vm_when_home_is_lost_and_fenced() {
    let mut office = warm("");
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Evict { host: id(C), incarnation });
    office.settle();
    assert_eq!(office.place(), C, "it may run there still");
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Agent });
    office.settle();
    assert_eq!((office.place(), office.owner("db")), (VM, office.owner("s")));
}

#[test]
fn a_cold_standby_stays_on_while_its_guest_boots() {
    let mut office = world("standby = \"cold\"", "");
    office.settle();
    office.well("db");
    office.lose_primary();
    office.settle();
    let host = office.owner("s");
    office.tell(host, "db", GroupState::Unknown, 0, 0);
    office.well("s");
    office.settle();
    assert_eq!(office.ledger.group("s").recalled, None);
    assert_eq!(office.place(), "nowhere");
}

#[test]
fn it_leaves_a_vm_that_was_given_up_on_for_a_target_that_can_take_it() {
    let mut office = inside("", "");
    let (group, epoch) = ("s".to_owned(), office.ledger.group("s").epoch);
    office.apply(Decision::GiveUp { group, epoch, reason: "it does not start".to_owned() });
    let host = office.owner("db");
    office.tell(host, "db", GroupState::Coming, 0, 0);
    office.settle();
    assert_eq!(office.ledger.group("db").recalled, None, "nothing else can take it");
    office.primary_is_back();
    office.tell(host, "db", GroupState::Coming, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), "c");
}

#[test]
fn in_a_vm_that_was_given_up_on_it_is_given_up_on_when_it_failed_on_every_other_target() {
    let mut office = warm("");
    office.tell(C, "db", GroupState::GivenUp { reason: "it does not start".to_owned() }, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), VM);
    let (group, epoch) = ("s".to_owned(), office.ledger.group("s").epoch);
    office.apply(Decision::GiveUp { group, epoch, reason: "it does not start".to_owned() });
    let host = office.owner("db");
    office.tell(host, "db", GroupState::Coming, 0, 0);
    office.tell(C, "db", GroupState::Down, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), "nowhere");
    assert_eq!(office.ledger.group("db").given_up.as_deref(), Some("it failed on every target"));
}

#[test]
fn a_cold_standby_is_off_until_it_is_needed_and_off_again_afterwards() {
    let mut office = world("standby = \"cold\"", "");
    office.settle();
    office.well("db");
    office.settle();
    assert_eq!((office.place(), office.owner("s")), (C, "nobody"));
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Evict { host: id(C), incarnation });
    office.settle();
    assert_eq!((office.place(), office.owner("s")), (C, A), "it boots while the primary is fenced");
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Agent });
    office.settle();
    assert_eq!((office.place(), office.owner("s")), ("nowhere", A), "the VM comes first");
    let why = office.leader.waiting("db").expect("it waits");
    assert!(why.contains("'s' is not well yet") || why.contains("started first"), "{why}");
    office.tell(A, "db", GroupState::Unknown, 0, 0);
    office.well("s");
    office.settle();
    assert_eq!((office.place(), office.owner("s")), ("nowhere", A), "its controller has not spoken yet");
    office.down("db", &[A]);
    office.settle();
    assert_eq!(office.place(), VM);
    office.well("db");
    office.primary_is_back();
    office.wish(Whither::Home).expect("home is back");
    office.tell(C, "db", GroupState::Ready, 0, 0);
    office.settle();
    office.stops();
    assert_eq!((office.place(), office.owner("s")), (C, A), "it may have to go back");
    office.tell(C, "db", GroupState::Coming, 0, 0);
    office.settle();
    assert!(office.ledger.group("s").recalled.is_none());
    office.well("db");
    office.settle();
    assert!(office.ledger.group("s").recalled.is_some_and(|recall| recall.why == RecallReason::Unneeded));
    office.tell(A, "s", GroupState::Down, 1000, 1);
    office.settle();
    assert_eq!(office.owner("s"), "nobody");
}

#[test]
fn a_failback_waits_until_home_is_ready_and_home_until_it_has_stopped_in_the_vm() {
    let mut office = inside("", "");
    office.primary_is_back();
    assert_eq!(office.place(), VM, "nobody asked for it");
    office.wish(Whither::Home).expect("home is back");
    assert!(office.is_preparing() && office.place() == VM);
    assert!(office.ledger.group("db").recalled.is_none(), "home has not said that it is ready");
    office.tell(C, "db", GroupState::Ready, 0, 0);
    office.settle();
    assert!(office.ledger.group("db").recalled.is_some_and(|recall| recall.why == RecallReason::Home));
    assert_eq!(office.place(), VM, "it has not stopped there");
    office.stops();
    assert_eq!(office.place(), C);
}

#[test]
fn a_home_that_is_not_ready_leaves_it_where_it_is() {
    let mut office = inside("", "");
    office.primary_is_back();
    office.wish(Whither::Home).expect("home is back");
    office.tell(C, "db", GroupState::NotReady { reason: "12 MB behind".to_owned() }, 0, 0);
    office.settle();
    assert!(!office.is_preparing() && office.place() == VM);
    assert!(office.told("12 MB behind"));
    office.wish(Whither::Home).expect("again");
    office.pass(super::super::apps::READY_WITHIN + BEAT, &[B, C]);
    assert!(!office.is_preparing() && office.place() == VM);
    assert!(office.told("does not say whether it is ready"));
}

#[test]
fn a_failback_that_fails_returns_to_the_vm() {
    let mut office = inside("", "");
    office.primary_is_back();
    office.wish(Whither::Home).expect("home is back");
    office.tell(C, "db", GroupState::Ready, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), C);
    office.tell(C, "db", GroupState::GivenUp { reason: "disk full".to_owned() }, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), VM);
    let refusal = office.wish(Whither::Home);
    assert!(refusal.is_err(), "it is not known to run there yet, or home failed lately: {refusal:?}");
}

#[test]
fn it_goes_home_by_itself_after_its_time_and_in_its_hours() {
    let mut office = inside("", "failback = \"auto\"\nfailback_after = \"1m\"");
    office.primary_is_back();
    office.well("db");
    office.pass(Duration::from_secs(59), &[B, C]);
    assert!(!office.is_preparing());
    office.pass(Duration::from_secs(2), &[B, C]);
    assert!(office.is_preparing());

    let mut office =
        inside("", "failback = \"auto\"\nfailback_after = \"1m\"\nfailback_window = \"02:00-04:00\"");
    office.primary_is_back();
    office.well("db");
    office.pass(Duration::from_secs(120), &[B, C]);
    assert!(!office.is_preparing(), "nobody knows the hour");
}

#[test]
fn a_fault_climbs_from_the_primary_to_the_vm_and_ends_there() {
    let mut office = warm("");
    office.tell(C, "db", GroupState::GivenUp { reason: "exit status 1".to_owned() }, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), VM);
    let owner = office.owner("db");
    office.tell(owner, "db", GroupState::GivenUp { reason: "exit status 1".to_owned() }, 0, 0);
    office.settle();
    assert!(office.ledger.group("db").given_up.is_some());
    assert_eq!(office.mode(C), HostMode::Active, "one application makes no bad host");
}

#[test]
fn it_goes_along_when_its_vm_is_moved_and_is_nobodys_when_that_is_off() {
    let mut office = inside("", "");
    let (from, to) = if office.owner("s") == A { (A, B) } else { (B, A) };
    let (epoch, begun) = (office.ledger.group("s").epoch, office.index + 1);
    let carry = roost_proto::cluster::decision::Carry::Live;
    let (incarnation, why) = (office.lives[&id(to)], RecallReason::Moved);
    let group = "s".to_owned();
    office.apply(Decision::MoveBegin { group: group.clone(), epoch, to: id(to), incarnation, carry, why });
    let before = office.ledger.group("db").epoch;
    let outcome = roost_proto::cluster::decision::MoveOutcome::Over { still_ms: 1 };
    office.apply(Decision::MoveEnd { group, epoch, begun, outcome });
    assert_eq!((office.owner("s"), office.owner("db"), office.place()), (to, to, VM), "from {from}");
    assert_eq!(office.ledger.group("db").epoch, before + 1);

    let incarnation = office.lives[&id(to)];
    office.apply(Decision::Evict { host: id(to), incarnation });
    assert_eq!(office.place(), VM, "it may run there still");
    office.apply(Decision::Fenced { host: id(to), incarnation, by: FencedBy::Agent });
    assert_eq!((office.place(), office.owner("db")), ("nowhere", "nobody"));
}

#[test]
fn a_primary_in_maintenance_is_emptied_into_the_vm() {
    let mut office = warm("");
    office.set_mode(C, HostMode::Maintenance);
    office.well("db");
    office.settle();
    assert!(office.is_preparing());
    office.well("db");
    let owner = office.owner("s");
    office.tell(owner, "db", GroupState::Ready, 0, 0);
    office.settle();
    office.stops();
    assert_eq!(office.place(), VM);
}

#[test]
fn a_target_without_a_controller_is_waited_for_a_while() {
    let mut office = world("", "");
    office.tell(C, "db", GroupState::Unknown, 0, 0);
    office.settle();
    office.well("s");
    office.settle();
    assert_eq!(office.place(), "nowhere", "home boots as well");
    office.pass(Duration::from_secs(16), &[B, C]);
    assert_eq!(office.place(), VM);
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut office = warm("");
    let refusal = office.wish(Whither::Host(id(C))).expect_err("it is there");
    assert!(refusal.contains("on 'c' already"), "{refusal}");
    let refusal = office.wish(Whither::Home).expect_err("it is there");
    assert!(refusal.contains("as near to its home"), "{refusal}");
    office.order("s", GroupOrder::Intent(Intent::Offline));
    let refusal = office.wish(Whither::Elsewhere).expect_err("its only other target is off");
    assert!(refusal.contains("'s' is wanted offline"), "{refusal}");
}

#[test]
fn the_more_important_application_gets_the_room_of_the_standby_host() {
    let mut vms = String::new();
    for vm in ["s1", "s2"] {
        vms += &group(vm, "on = [\"b\"]\nstandby = \"cold\"");
    }
    for (app, vm, priority) in [("low", "s1", 1), ("high", "s2", 9)] {
        vms += &format!(
            "[[group]]\nname = \"{app}\"\napp = \"x\"\non = [\"c\", \"vm:{vm}\"]\npriority = {priority}\n"
        );
    }
    let mut office = Office::new(config("role = \"application\"", &vms));
    for vm in ["s1", "s2"] {
        office.tell(B, vm, GroupState::Down, 6000, 1);
    }
    for app in ["low", "high"] {
        office.down(app, &[B, C]);
    }
    office.settle();
    office.well("low");
    office.well("high");
    office.settle();
    office.lose_primary();
    office.settle();
    assert_eq!((office.owner("s1"), office.owner("s2")), ("nobody", B));
}

/// What a rehearsal of these losses says: who goes where, from where, and what stays.
fn rehearsed(office: &mut Office, without: &[&str]) -> (Vec<String>, Vec<String>) {
    use crate::engine::leader::rehearse::{Place, rehearse};
    let without = without.iter().map(|host| id(host)).collect();
    let rehearsed = office.with_leader(|leader, view| rehearse(view, &leader.reports, &without));
    let name = |host: HostId| [A, B, C].into_iter().find(|known| id(known) == host).unwrap_or("?");
    let place = |place: &Place| match &place.inside {
        Some(vm) => format!("vm:{vm} on {}", name(place.host)),
        None => name(place.host).to_owned(),
    };
    let moved = rehearsed.moved.iter().map(|one| {
        let from = one.from.as_ref().map_or_else(|| "nowhere".to_owned(), place);
        let needed =
            if one.needed_by.is_empty() { String::new() } else { format!(" for {:?}", one.needed_by) };
        format!("{} {}: {from} -> {}{needed}", one.step, one.group, place(&one.to))
    });
    let left = rehearsed.left.iter().map(|one| format!("{}: {}", one.group, one.reason));
    (moved.collect(), left.collect())
}

#[test]
fn a_rehearsal_starts_the_cold_standby_and_then_the_application_in_it() {
    let mut office = world("standby = \"cold\"", "");
    office.settle();
    office.well("db");
    office.settle();
    // The controller in a VM that is off is not connected, and its host does not know how the application is there.
    [A, B].into_iter().for_each(|host| office.tell(host, "db", GroupState::Unknown, 0, 0));
    let before = office.ledger.clone();
    let (moved, left) = rehearsed(&mut office, &[C]);
    assert_eq!(moved, ["1 s: nowhere -> a for [\"db\"]", "2 db: c -> vm:s on a"]);
    assert!(left.is_empty() && office.ledger == before, "{left:?}");
    let (moved, left) = rehearsed(&mut office, &[A]);
    assert!(moved.is_empty() && left.is_empty(), "a standby that is off is not missed: {moved:?} {left:?}");
}

#[test]
fn a_rehearsal_goes_on_without_controllers_that_are_not_heard() {
    let mut office = inside("", "");
    office.tell(C, "db", GroupState::Unknown, 0, 0);
    let (moved, left) = rehearsed(&mut office, &[A]);
    assert_eq!(moved, ["1 s: a -> b", "2 db: vm:s on a -> vm:s on b"], "its VM goes, and it with that");
    assert_eq!(left, [""; 0]);
    let (moved, left) = rehearsed(&mut office, &[A, B]);
    assert!(moved.is_empty(), "{moved:?}");
    assert!(left.iter().any(|left| left.starts_with("db: ")), "{left:?}");
}

#[test]
fn a_rehearsal_waits_for_no_controller_that_might_connect() {
    let groups = group("s", "on = [\"a\"]")
        + "[[group]]\nname = \"db\"\napp = \"postgres\"\non = [\"b\", \"c\", \"vm:s\"]\n";
    let mut office = Office::new(config("", &groups));
    office.down("s", &[A]);
    office.down("db", &[A, B, C]);
    office.settle();
    office.well("s");
    office.well("db");
    office.settle();
    assert_eq!(office.owner("db"), B);
    office.tell(C, "db", GroupState::Unknown, 0, 0);
    let (moved, left) = rehearsed(&mut office, &[B]);
    assert_eq!((&moved[..], &left[..]), (&["1 db: b -> vm:s on a".to_owned()][..], &[][..]));
}

#[test]
fn a_rehearsal_says_which_primaries_do_not_fit_on_a_standby_host() {
    let mut text =
        group("s", "on = [\"a\"]\nstandby = \"cold\"") + &group("t", "on = [\"a\"]\nstandby = \"cold\"");
    for (app, vm, more) in [("db", "s", "priority = 5"), ("shop", "t", "")] {
        text += &format!("[[group]]\nname = \"{app}\"\napp = \"{app}\"\non = [\"c\", \"vm:{vm}\"]\n{more}\n");
    }
    let mut office = Office::new(config("role = \"application\"", &text));
    for group in ["s", "t"] {
        office.tell(A, group, GroupState::Down, 6000, 1);
    }
    for app in ["db", "shop"] {
        office.down(app, &[A, C]);
    }
    office.settle();
    for app in ["db", "shop"] {
        office.well(app);
    }
    office.settle();
    assert_eq!((office.owner("db"), office.owner("shop")), (C, C));
    let (moved, left) = rehearsed(&mut office, &[C]);
    assert_eq!(moved, ["1 s: nowhere -> a for [\"db\"]", "2 db: c -> vm:s on a"], "the more important one");
    assert_eq!(
        left,
        ["shop: no host has room for 't': no room on 'a': it needs 6000 MiB, and 4000 MiB are left"],
        "the VM is not told of by itself"
    );
}

impl Office {
    fn try_move(&mut self, whither: Whither) -> roost_proto::insight::Trial {
        let group = self.config.group("db").expect("it is there").clone();
        self.with_leader(|leader, view| leader.try_move(view, &group, whither))
            .expect("how things are is known")
    }
}

#[test]
fn a_trial_tells_the_steps_of_a_failback_and_does_nothing() {
    use roost_proto::insight::Trial;
    let mut office = inside("standby = \"cold\"", "stop_timeout = \"90s\"");
    let Trial::Refused { reason } = office.try_move(Whither::Home) else { panic!("home is lost") };
    assert!(reason.contains("as near to its home as it can be, on 'vm:s'"), "{reason}");
    office.primary_is_back();
    let before = office.ledger.clone();
    let Trial::Done { to, steps } = office.try_move(Whither::Home) else { panic!("home is back") };
    assert_eq!(to, C);
    assert_eq!(
        steps,
        [
            "'c' is asked whether it is ready, while 'db' runs on: if it is not within 5m, nothing else is done",
            "it is taken offline on 'vm:s', at most 90s",
            "it is brought online on 'c'; if that fails, it goes on where it can",
            "the VM of 's' is stopped, once 'db' is well",
        ]
    );
    assert!(office.ledger == before && !office.is_preparing());
    assert!(
        matches!(office.try_move(Whither::Host(HostId::of_vm("s"))), Trial::Refused { .. }),
        "it is there"
    );
}

#[test]
fn a_trial_of_a_switch_tells_of_the_vm_that_has_to_start() {
    use roost_proto::insight::Trial;
    let mut office = world("standby = \"cold\"", "");
    office.settle();
    office.well("db");
    office.settle();
    let Trial::Done { to, steps } = office.try_move(Whither::Elsewhere) else { panic!("the VM can take it") };
    assert_eq!((to.as_str(), steps.len()), (VM, 4), "{steps:?}");
    assert_eq!(steps[0], "the VM of 's' is started");
}
