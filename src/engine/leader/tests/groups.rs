//! Which group goes where.

use super::*;

const GIVEN_UP: &str = "the third start failed";

fn given_up() -> GroupState {
    GroupState::GivenUp { reason: GIVEN_UP.to_owned() }
}

#[test]
fn a_group_goes_to_the_first_host_of_its_list_that_can_take_it() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"b\", \"a\"]")]);
    office.set_mode(C, HostMode::Maintenance);
    office.settle();
    assert_eq!(office.owner("web"), B);
    assert_eq!(office.ledger.group("web").epoch, 1);
}

#[test]
fn without_a_list_it_goes_where_there_is_the_most_room() {
    let mut office = Office::of(&[group("web", "")]);
    office.room(A, 4000);
    office.room(C, 5000);
    office.settle();
    assert_eq!(office.owner("web"), B);
}

#[test]
fn what_needs_more_memory_than_a_host_has_left_goes_elsewhere_or_waits() {
    let mut office = Office::of(&[group("db", "on = [\"b\"]"), group("web", "on = [\"b\", \"a\"]")]);
    office.tell(B, "db", GroupState::Down, 6000, 1);
    office.tell(B, "web", GroupState::Down, 5000, 1);
    office.settle();
    assert_eq!((office.owner("db"), office.owner("web")), (B, A), "b has 10,000 MiB for both");
    let mut office = Office::of(&[group("web", "")]);
    office.tell(B, "web", GroupState::Down, 10_001, 1);
    office.pass(Duration::from_secs(3), &[B, C]);
    assert_eq!(office.owner("web"), "nobody");
    assert!(office.told("no host that may run it has room"));
}

/// Memory that is free now counts as well as what is promised: something that is not Roost's may use it.
#[test]
fn memory_that_others_use_is_not_given_away() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"a\"]")]);
    office.tell(B, "web", GroupState::Down, 5000, 1);
    office.room(B, 4000);
    office.settle();
    assert_eq!(office.owner("web"), A);
}

#[test]
fn a_vm_with_more_cpus_than_a_host_goes_elsewhere_and_busy_hosts_come_last() {
    let mut office = Office::of(&[group("big", "on = [\"b\"]"), group("web", "")]);
    office.tell(B, "big", GroupState::Down, 100, 9);
    office.settle();
    assert_eq!(office.owner("big"), "nobody", "b has 8 CPUs");
    let mut office = Office::of(&[group("busy", "on = [\"b\"]"), group("web", "")]);
    office.set_mode(A, HostMode::Maintenance);
    office.tell(B, "busy", GroupState::Down, 100, 8);
    office.tell(B, "web", GroupState::Down, 1000, 2);
    office.room(C, 5000);
    office.settle();
    assert_eq!(office.owner("busy"), B);
    assert_eq!(office.owner("web"), C, "b has more memory, but its CPUs are promised");
}

#[test]
fn groups_that_must_be_apart_are() {
    let apart = group("two", "on = [\"b\", \"c\"]\napart = [\"one\"]");
    let mut office = Office::of(&[group("one", "on = [\"b\"]"), apart]);
    office.settle();
    assert_eq!((office.owner("one"), office.owner("two")), (B, C));
    let apart = group("two", "on = [\"b\"]\napart = [\"one\"]");
    let mut office = Office::of(&[group("one", "on = [\"b\"]"), apart]);
    office.pass(Duration::from_secs(3), &[B, C]);
    assert_eq!(office.owner("two"), "nobody");
    assert!(office.told("it must not be with 'one'"));
}

#[test]
fn groups_that_must_be_together_go_where_all_of_them_can() {
    // `app` comes first by its name, and would like `b` best; `data` cannot be there.
    let app = group("app", "on = [\"b\", \"c\"]\ntogether = [\"data\"]");
    let mut office = Office::of(&[app.clone(), group("data", "on = [\"c\", \"a\"]")]);
    office.settle();
    assert_eq!((office.owner("app"), office.owner("data")), (C, C));
    // Where only one of them has room, neither goes.
    let app = group("app", "on = [\"b\", \"c\"]\ntogether = [\"data\"]");
    let mut office = Office::of(&[app, group("data", "on = [\"b\", \"c\"]")]);
    office.tell(B, "app", GroupState::Down, 3000, 1);
    office.tell(B, "data", GroupState::Down, 3000, 1);
    office.room(B, 5000);
    office.settle();
    assert_eq!((office.owner("app"), office.owner("data")), (C, C));
}

#[test]
fn what_is_together_moves_together() {
    let app = group("app", "together = [\"data\"]");
    let mut office = Office::of(&[app, group("data", "")]);
    office.settle();
    let host = office.owner("app");
    assert_eq!(office.owner("data"), host);
    office.well("data");
    office.tell(host, "app", given_up(), 1000, 1);
    office.settle();
    for name in ["app", "data"] {
        assert!(office.ledger.group(name).recalled.is_some(), "{name} is to go");
        office.tell(host, name, GroupState::Down, 1000, 1);
    }
    office.settle();
    let next = office.owner("app");
    assert_ne!(next, host);
    assert_eq!(office.owner("data"), next);
}

#[test]
fn what_a_group_needs_must_be_well_and_not_merely_started() {
    let mut office = Office::of(&[group("app", "needs = [\"db\"]"), group("db", "on = [\"b\"]")]);
    office.settle();
    assert_eq!((office.owner("db"), office.owner("app")), (B, "nobody"));
    for state in [GroupState::Coming, GroupState::Unwell, GroupState::Suspended] {
        office.tell(B, "db", state, 1000, 1);
        office.settle();
        assert_eq!(office.owner("app"), "nobody");
    }
    office.well("db");
    office.settle();
    assert_ne!(office.owner("app"), "nobody");
}

#[test]
fn the_more_important_gets_the_room_and_no_more_goes_for_it_than_must() {
    let small = |name: &str| group(name, "on = [\"b\"]");
    let big = group("big", "on = [\"b\"]\npriority = 10");
    let mut office = Office::of(&[small("s1"), small("s2"), small("s3"), big]);
    for name in ["s1", "s2", "s3"] {
        office.tell(B, name, GroupState::Down, 3000, 1);
    }
    office.order("big", GroupOrder::Intent(Intent::Offline));
    office.settle();
    for name in ["s1", "s2", "s3"] {
        assert_eq!(office.owner(name), B);
        office.tell(B, name, GroupState::Well, 3000, 1);
    }
    office.order("big", GroupOrder::Intent(Intent::Online));
    office.tell(B, "big", GroupState::Down, 4000, 1);
    office.settle();
    let recalled = |office: &Office| {
        ["s1", "s2", "s3"].into_iter().filter(|name| office.ledger.group(name).recalled.is_some()).count()
    };
    assert_eq!(recalled(&office), 1, "3,000 MiB more are enough");
    // Its shutdown takes a while, and the leader looks again and again meanwhile.
    office.pass(Duration::from_secs(20), &[B, C]);
    assert_eq!((recalled(&office), office.owner("big")), (1, "nobody"));
    office.tell(B, "s1", GroupState::Down, 3000, 1);
    office.settle();
    assert_eq!((office.owner("big"), office.owner("s1")), (B, "nobody"));
}

#[test]
fn a_host_starts_so_many_at_once_and_the_others_in_turn() {
    let names: Vec<String> = (0..9).map(|nth| format!("g{nth}")).collect();
    let groups: Vec<String> = names.iter().map(|name| group(name, "on = [\"b\"]")).collect();
    let mut office = Office::of(&groups);
    let given = |office: &Office| names.iter().filter(|name| office.owner(name) == B).count();
    office.settle();
    assert_eq!(given(&office), 4);
    office.pass(Duration::from_millis(2500), &[B, C]);
    assert_eq!(given(&office), 4);
    office.pass(Duration::from_secs(1), &[B, C]);
    assert_eq!(given(&office), 8);
    office.pass(Duration::from_secs(4), &[B, C]);
    assert_eq!(given(&office), 9);
}

#[test]
fn what_runs_already_is_given_to_its_host_at_once_however_many_there_are() {
    let names: Vec<String> = (0..9).map(|nth| format!("g{nth}")).collect();
    let groups: Vec<String> = names.iter().map(|name| group(name, "on = [\"b\"]")).collect();
    let mut office = Office::of(&groups);
    names.iter().for_each(|name| office.tell(B, name, GroupState::Stray, 1000, 1));
    office.settle();
    assert_eq!(names.iter().filter(|name| office.owner(name) == B).count(), 9);
}

#[test]
fn what_fails_on_one_host_is_tried_on_the_next_and_given_up_after_the_last() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.settle();
    for host in [B, C] {
        assert_eq!(office.owner("web"), host);
        office.tell(host, "web", given_up(), 1000, 1);
        office.settle();
        if host == B {
            let recall = office.ledger.group("web").recalled.expect("it goes");
            assert_eq!(recall.why, RecallReason::Failed);
            office.tell(host, "web", GroupState::Down, 1000, 1);
            office.settle();
        }
    }
    let record = office.ledger.group("web");
    assert!(record.given_up.as_deref().is_some_and(|why| why.contains(GIVEN_UP)), "{record:?}");
    office.pass(Duration::from_secs(60), &[B, C]);
    assert_eq!(office.ledger.group("web").epoch, 2, "given up is given up");
    office.order("web", GroupOrder::Intent(Intent::Online));
    assert_eq!(office.ledger.group("web").given_up, None, "until an operator wants it");
}

#[test]
fn a_group_whose_only_host_is_gone_waits_for_it_for_ever() {
    let mut office = Office::of(&[group("web", "on = [\"c\"]")]);
    office.settle();
    office.well("web");
    office.lose_c(Duration::from_secs(4));
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Operator });
    office.pass(Duration::from_secs(3600), &[B]);
    assert_eq!((office.owner("web"), office.ledger.group("web").given_up.clone()), ("nobody", None));
    assert!(office.told("it waits: 'c' is not in the cluster"));
    office.comes_again(C, Incarnation { start: 2, boot: 2 }, Running::Nothing);
    office.settle();
    office.reports.clear();
    office.room(C, 10_000);
    office.settle();
    assert_eq!(office.owner("web"), C);
}

#[test]
fn what_an_evicted_host_owned_starts_nowhere_before_it_is_fenced() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]")]);
    office.settle();
    office.well("web");
    office.lose_c(Duration::from_secs(10));
    assert_eq!((office.standing(C), office.owner("web")), ("evicted", C));
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Operator });
    office.settle();
    assert_eq!(office.owner("web"), B);
}

/// It may have been started by hand before there was a cluster: what is not known to be off on a host that may run it is not
/// started elsewhere.
#[test]
fn what_was_never_given_to_anybody_waits_for_the_word_of_every_host() {
    for state in [GroupState::Unknown, GroupState::Down] {
        let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
        office.tell(C, "web", state.clone(), 1000, 1);
        office.settle();
        assert_eq!(office.owner("web"), if state == GroupState::Down { B } else { "nobody" });
    }
    // It runs on one already: it is that one's, though the other is preferred.
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.tell(C, "web", GroupState::Stray, 1000, 1);
    office.settle();
    assert_eq!(office.owner("web"), C);
    // It runs on two.
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.tell(B, "web", GroupState::Stray, 1000, 1);
    office.tell(C, "web", GroupState::Stray, 1000, 1);
    office.pass(Duration::from_secs(3), &[B, C]);
    assert_eq!(office.owner("web"), "nobody");
    assert!(office.told("already runs on 'b' and 'c'"));
}

#[test]
fn what_may_run_on_an_evicted_host_since_before_the_cluster_is_not_started_elsewhere() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.order("web", GroupOrder::Freeze);
    office.tell(C, "web", GroupState::Stray, 1000, 1);
    office.settle();
    assert_eq!(office.owner("web"), "nobody", "it is frozen");
    office.lose_c(Duration::from_secs(4));
    office.order("web", GroupOrder::Thaw);
    office.settle();
    assert_eq!((office.standing(C), office.owner("web")), ("evicted", "nobody"));
    // That its lease and its watchdog ran out says nothing about what it never owned.
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Time });
    office.settle();
    assert_eq!(office.owner("web"), "nobody");
}

#[test]
fn an_evicted_host_that_never_said_what_it_runs_blocks_what_was_never_given_to_anybody() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.leader.reports.forget(id(C), office.lives[&id(C)]);
    office.lose_c(Duration::from_secs(10));
    assert_eq!((office.standing(C), office.owner("web")), ("evicted", "nobody"));
    assert!(office.told("'c' has not said whether it runs there"));
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Agent });
    office.settle();
    assert_eq!(office.owner("web"), B);
}

/// The last that a host said may be what a new life of its daemon said before it was admitted.
#[test]
fn what_a_host_said_before_it_lost_its_power_blocks_nobody() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]")]);
    office.settle();
    office.well("web");
    office.tell(C, "web", GroupState::Stray, 1000, 1);
    office.lose_c(Duration::from_secs(4));
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Fenced { host: id(C), incarnation, by: FencedBy::Agent });
    office.settle();
    assert_eq!(office.owner("web"), B);
}

#[test]
fn a_host_on_which_many_fail_is_quarantined_for_a_while() {
    let names = ["g1", "g2", "g3"];
    let groups: Vec<String> = names.iter().map(|name| group(name, "on = [\"b\", \"c\"]")).collect();
    let mut office = Office::of(&groups);
    office.settle();
    for name in names {
        assert_eq!((office.owner(name), office.mode(B)), (B, HostMode::Active));
        office.tell(B, name, given_up(), 1000, 1);
        office.settle();
    }
    assert_eq!(office.mode(B), HostMode::Quarantined);
    office.pass(Duration::from_secs(590), &[B, C]);
    assert_eq!(office.mode(B), HostMode::Quarantined);
    office.pass(Duration::from_secs(20), &[B, C]);
    assert_eq!(office.mode(B), HostMode::Active);
}

#[test]
fn a_host_in_maintenance_gives_away_what_can_go_and_keeps_the_rest() {
    let mut office = Office::of(&[group("goes", "on = [\"b\", \"c\"]"), group("stays", "on = [\"b\"]")]);
    office.settle();
    office.well("goes");
    office.well("stays");
    office.set_mode(B, HostMode::Maintenance);
    office.settle();
    assert!(office.ledger.group("goes").moving.is_some());
    let stays = office.ledger.group("stays");
    assert!(stays.recalled.is_none() && stays.moving.is_none(), "it would run nowhere");
}

#[test]
fn what_is_frozen_or_wanted_offline_is_left_alone() {
    let mut office = Office::of(&[group("cold", ""), group("stiff", "")]);
    office.order("cold", GroupOrder::Intent(Intent::Offline));
    office.order("stiff", GroupOrder::Freeze);
    office.pass(Duration::from_secs(30), &[B, C]);
    assert_eq!((office.owner("cold"), office.owner("stiff")), ("nobody", "nobody"));
}

#[test]
fn what_the_next_life_of_a_host_said_is_not_forgotten_with_the_one_before() {
    let mut office = Office::of(&[group("web", "on = [\"c\"]")]);
    office.settle();
    office.lose_c(Duration::from_secs(4));
    office.comes_again(C, Incarnation { start: 2, boot: 1 }, Running::Nothing);
    office.reports.remove(&id(C));
    office.tell(C, "web", GroupState::Down, 1000, 1);
    office.settle();
    assert_eq!((office.standing(C), office.owner("web")), ("in", C));
    office.tell(C, "web", GroupState::Well, 1000, 1);
    assert_eq!(
        *office.leader.reports.state(id(C), "web"),
        GroupState::Well,
        "it follows upon what was heard"
    );
}

#[test]
fn where_no_other_host_comes_it_is_tried_again_where_it_failed() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.settle();
    office.tell(B, "web", given_up(), 1000, 1);
    office.set_mode(C, HostMode::Maintenance);
    office.apply(Decision::Recall { group: "web".to_owned(), epoch: 1, to: None, why: RecallReason::Failed });
    office.tell(B, "web", GroupState::Down, 1000, 1);
    office.pass(Duration::from_secs(50), &[B, C]);
    assert_eq!(office.owner("web"), "nobody");
    assert!(office.told("it failed on 'b'; 'c' is in maintenance"));
    office.pass(Duration::from_secs(20), &[B, C]);
    assert_eq!((office.owner("web"), office.ledger.group("web").epoch), (B, 2));
    office.tell(B, "web", given_up(), 1000, 1);
    office.settle();
    assert_eq!(office.ledger.group("web").given_up.as_deref(), Some(GIVEN_UP), "not for ever");
}
