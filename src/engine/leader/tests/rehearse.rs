//! What would become of the groups, rehearsed; and that it then becomes of them.

use super::*;
use crate::engine::leader::placement::{Obstacle, Plan};
use crate::engine::leader::rehearse::{Rehearsed, has_quorum, rehearse};

impl Office {
    fn look<T>(&mut self, look: impl FnOnce(&View<'_>, &Reports) -> T) -> T {
        self.with_leader(|leader, view| look(view, &leader.reports))
    }

    fn without(&mut self, hosts: &[&str]) -> Rehearsed {
        let hosts = hosts.iter().map(|host| id(host)).collect();
        self.look(|view, reports| rehearse(view, reports, &hosts))
    }

    /// Everything is placed and well; each group takes so much memory, and its host has told of it.
    fn well_placed(&mut self, groups: &[(&str, u32)]) {
        for host in [A, B, C] {
            let need = |(group, memory_mib): &(&str, u32)| GroupReport {
                group: (*group).to_owned(),
                changed: 0,
                state: GroupState::Down,
                need: Some(Need { memory_mib: *memory_mib, cpus: 1 }),
            };
            let room = Room { memory_mib: 10_000, memory_total_mib: 10_000, cpus: 8 };
            self.report(host, Some(room), groups.iter().map(need).collect());
        }
        for _ in 0..10 {
            self.settle();
            for host in [A, B, C] {
                let owned: Vec<_> =
                    groups.iter().filter(|(group, _)| self.owner(group) == host).copied().collect();
                let used: u32 = owned.iter().map(|(_, memory)| memory).sum();
                let told = |(group, memory_mib): (&str, u32)| GroupReport {
                    group: group.to_owned(),
                    changed: self.ledger.group(group).changed,
                    state: GroupState::Well,
                    need: Some(Need { memory_mib, cpus: 1 }),
                };
                let told = owned.into_iter().map(told).collect();
                let room = Room { memory_mib: 10_000 - used, memory_total_mib: 10_000, cpus: 8 };
                self.report(host, Some(room), told);
            }
            self.now = self.now + Duration::from_secs(4);
            [B, C].into_iter().for_each(|host| self.beat(host));
        }
        assert!(groups.iter().all(|(group, _)| self.owner(group) != "nobody"), "{:?}", self.ledger);
    }
}

fn moves(rehearsed: &Rehearsed) -> Vec<(&str, HostId, u32)> {
    rehearsed.moved.iter().map(|one| (one.group.as_str(), one.to.host, one.step)).collect()
}

#[test]
fn the_groups_of_a_lost_host_go_where_there_is_room_and_the_most_important_first() {
    let mut office = Office::of(&[
        group("web", "on = [\"c\", \"a\", \"b\"]"),
        group("db", "on = [\"c\", \"b\"]\npriority = 5"),
        group("mail", "on = [\"a\", \"b\"]"),
    ]);
    office.well_placed(&[("web", 3000), ("db", 3000), ("mail", 8000)]);
    assert_eq!((office.owner("web"), office.owner("db"), office.owner("mail")), (C, C, A));
    let before = office.ledger.clone();
    let rehearsed = office.without(&[C]);
    assert_eq!(moves(&rehearsed), [("db", id(B), 1), ("web", id(B), 1)], "'a' has no room for 'web'");
    assert_eq!(rehearsed.left, []);
    assert_eq!(rehearsed.moved[0].from.as_ref().map(|from| from.host), Some(id(C)));
    assert_eq!(office.ledger, before, "it is but a rehearsal");
    assert_eq!(office.without(&[A]).left, [], "'b' has room for 'mail'");
    assert_eq!(office.without(&[B]), Rehearsed::default(), "nothing is there");
}

#[test]
fn what_does_not_fit_is_told_with_the_reason_of_each_host() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"a\"]"), group("mail", "on = [\"a\"]")]);
    office.well_placed(&[("web", 3000), ("mail", 8000)]);
    let rehearsed = office.without(&[C]);
    assert_eq!(moves(&rehearsed), []);
    assert_eq!(rehearsed.left.len(), 1);
    let from = rehearsed.left[0].from.as_ref().map(|from| from.host);
    assert_eq!((rehearsed.left[0].group.as_str(), from), ("web", Some(id(C))));
    assert_eq!(rehearsed.left[0].reason, "no room on 'a': it needs 3000 MiB, and 2000 MiB are left");
    assert_eq!(office.without(&[A]).left[0].reason, "no other host may run it");
}

#[test]
fn lesser_groups_make_room_and_those_that_need_others_come_a_step_later() {
    let mut office = Office::of(&[
        group("db", "on = [\"c\", \"a\"]\npriority = 5"),
        group("web", "on = [\"c\", \"b\"]\nneeds = [\"db\"]"),
        group("test", "on = [\"a\", \"b\"]"),
    ]);
    office.well_placed(&[("db", 3000), ("web", 1000), ("test", 8000)]);
    let rehearsed = office.without(&[C]);
    let step = |group: &str| {
        let found = rehearsed.moved.iter().find(|one| one.group == group);
        found.map(|one| (one.to.host, one.step)).unwrap_or_else(|| panic!("{rehearsed:?}"))
    };
    assert!(step("db").0 == id(A) && step("web").0 == id(B) && step("test").0 == id(B), "{rehearsed:?}");
    assert!(step("test").1 <= step("db").1 || step("db").1 < step("web").1, "{rehearsed:?}");
    assert!(step("db").1 < step("web").1, "{rehearsed:?}");
}

#[test]
fn what_is_frozen_or_wanted_offline_stays_where_it_falls() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"a\"]"), group("db", "on = [\"c\", \"a\"]")]);
    office.well_placed(&[("web", 1000), ("db", 1000)]);
    office.order("web", GroupOrder::Freeze);
    office.order("db", GroupOrder::Intent(Intent::Offline));
    let rehearsed = office.without(&[C]);
    assert_eq!(moves(&rehearsed), []);
    assert_eq!(rehearsed.left.len(), 1, "{rehearsed:?}");
    assert!(rehearsed.left[0].reason.contains("roost thaw"), "{rehearsed:?}");
}

#[test]
fn a_rehearsal_says_what_then_happens() {
    let mut office = Office::of(&[
        group("web", "on = [\"c\", \"a\", \"b\"]"),
        group("db", "on = [\"c\", \"b\"]\npriority = 5"),
        group("mail", "apart = [\"db\"]"),
    ]);
    office.well_placed(&[("web", 3000), ("db", 3000), ("mail", 2000)]);
    let rehearsed = office.without(&[C]);
    let life = office.lives[&id(C)];
    office.apply(Decision::Evict { host: id(C), incarnation: life });
    office.apply(Decision::Fenced { host: id(C), incarnation: life, by: FencedBy::Operator });
    office.lives.insert(id(C), Incarnation { start: 1, boot: 2 }); // it does not come
    office.settle();
    for one in &rehearsed.moved {
        assert_eq!(office.ledger.group(&one.group).owner, Some(one.to.host), "{}: {rehearsed:?}", one.group);
    }
    assert!(rehearsed.moved.len() >= 2, "{rehearsed:?}");
}

#[test]
fn a_majority_of_the_voters_must_be_left() {
    let mut office = Office::of(&[]);
    let mut quorum = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| id(host)).collect();
        office.look(|view, _| has_quorum(view, &hosts))
    };
    assert!(quorum(&[C]) && quorum(&[A]));
    assert!(!quorum(&[B, C]));
}

#[test]
fn each_host_is_judged_by_the_rules_that_place() {
    let mut office = Office::new(config(
        "[[host]]\nname = \"w\"\naddress = \"192.0.2.9\"\nrole = \"witness\"",
        &[group("web", ""), group("db", "apart = [\"web\"]")].concat(),
    ));
    office.well_placed(&[("web", 3000), ("db", 1000)]);
    let owner = office.owner("web");
    let db = office.config.groups[1].clone();
    let judged = office.look(|view, reports| {
        let plan = Plan::new(view, reports);
        let judged = plan.judge(&db, None).into_iter();
        judged.map(|(name, judged)| (name.to_owned(), judged.err())).collect::<Vec<_>>()
    });
    let of = |host: &str| judged.iter().find(|(name, _)| name == host).map(|(_, obstacle)| obstacle.clone());
    let Some(Some(Obstacle::Company(rule))) = of(owner) else { panic!("{judged:?}") };
    assert_eq!(rule.with, "web");
    assert!(of("w").is_none(), "a witness is in nobody's 'on': {judged:?}");
    office.set_mode(if owner == B { C } else { B }, HostMode::Maintenance);
    let other = if owner == B { C } else { B };
    let words = office.look(|view, reports| {
        let plan = Plan::new(view, reports);
        let judged = plan.judge(&db, None).into_iter();
        judged.filter_map(|(name, judged)| judged.err().map(|why| why.words(name))).collect::<Vec<_>>()
    });
    assert!(words.contains(&format!("'{other}' is in maintenance")), "{words:?}");
}
