//! Moving on purpose: what operators ask for, hosts that are emptied, and how moves end.

use super::*;
use roost_proto::cluster::decision::{Asked, Carry, MoveOutcome};
use roost_proto::cluster::{MoveAsk, Whither};
use roost_proto::control::MoveMethod;

impl Office {
    /// What comes of an operator's wish.
    fn ask(&mut self, group: &str, whither: Whither, method: Option<MoveMethod>) -> Result<Decision, String> {
        let asked = Asked { host: id(A), start: 1, number: 1 };
        let ask = MoveAsk { asked, group: group.to_owned(), whither, method };
        self.with_leader(|leader, view| leader.plan_move(view, &ask)).expect("it is known how things are")
    }

    fn refusal(&mut self, group: &str, whither: Whither, method: Option<MoveMethod>) -> String {
        self.ask(group, whither, method).expect_err("it cannot be done")
    }

    /// The group is on its way from `b` to `c`.
    fn on_its_way(more: &str, method: MoveMethod) -> Self {
        let text = format!("on = [\"b\", \"c\"]\n{more}");
        let mut config = config("", &group("web", &text));
        config.cluster.save_dir = Some("/save".into());
        let mut office = Self::new(config);
        office.settle();
        office.well("web");
        let begin = office.ask("web", Whither::Host(id(C)), Some(method)).expect("it can");
        office.apply(begin);
        assert!(office.ledger.group("web").moving.is_some_and(|moving| moving.to == id(C)));
        office.well("web");
        office.settle();
        assert!(office.ledger.group("web").moving.is_some(), "nothing ends it");
        office
    }

    fn outcome(&self) -> Option<&MoveOutcome> {
        match self.decided.last() {
            Some(Decision::MoveEnd { outcome, .. }) => Some(outcome),
            _ => None,
        }
    }
}

#[test]
fn memory_that_has_left_is_the_targets_and_the_move_ends_when_it_runs() {
    let mut office = Office::on_its_way("", MoveMethod::Live);
    office.tell(B, "web", GroupState::Gone { still_ms: 80 }, 1000, 1);
    office.settle();
    assert_eq!(office.owner("web"), C);
    let handover = office.ledger.group("web").handover.expect("it is to be taken over");
    assert_eq!((handover.carry, handover.still_ms), (Carry::Live, 80));
    office.tell(C, "web", GroupState::Coming, 1000, 1);
    office.settle();
    assert!(office.ledger.group("web").handover.is_some());
    office.tell(C, "web", GroupState::Taken, 1000, 1);
    office.settle();
    assert_eq!((office.owner("web"), office.ledger.group("web").handover), (C, None));
}

#[test]
fn a_move_that_is_refused_leaves_the_group_where_it_is() {
    let mut office = Office::on_its_way("", MoveMethod::Live);
    office.tell(B, "web", GroupState::Stayed { reason: "no route".to_owned() }, 1000, 1);
    office.settle();
    assert_eq!(office.outcome(), Some(&MoveOutcome::Failed { reason: "no route".to_owned() }));
    office.well("web");
    office.settle();
    assert_eq!(
        (office.owner("web"), office.ledger.group("web").moving),
        (B, None),
        "it is not tried by itself"
    );
}

#[test]
fn memory_in_a_file_is_taken_back_when_the_target_is_lost_and_other_memory_is_lost_with_it() {
    for (method, back) in [(MoveMethod::Suspend, true), (MoveMethod::Live, false)] {
        let mut office = Office::on_its_way("", method);
        let incarnation = office.lives[&id(C)];
        office.apply(Decision::Evict { host: id(C), incarnation });
        office.tell(B, "web", GroupState::Gone { still_ms: 900 }, 1000, 1);
        office.step();
        let outcome = office.decided.iter().rev().find_map(|decision| match decision {
            Decision::MoveEnd { outcome, .. } => Some(outcome.clone()),
            _ => None,
        });
        assert_eq!(matches!(outcome, Some(MoveOutcome::Back { .. })), back, "{outcome:?}");
        assert_eq!(office.owner("web"), B);
        assert_eq!(office.ledger.group("web").handover.is_some(), back);
    }
}

#[test]
fn a_move_to_a_host_that_is_lost_or_leaves_is_ended() {
    let mut office = Office::on_its_way("", MoveMethod::Live);
    let incarnation = office.lives[&id(C)];
    office.apply(Decision::Evict { host: id(C), incarnation });
    office.step();
    assert!(office.ledger.group("web").moving.is_none());
    let mut office = Office::on_its_way("", MoveMethod::Live);
    office.set_mode(C, HostMode::Maintenance);
    office.well("web");
    office.step();
    assert!(office.ledger.group("web").moving.is_none());
}

#[test]
fn memory_that_cannot_be_taken_over_counts_no_more() {
    let mut office = Office::on_its_way("", MoveMethod::Live);
    office.tell(B, "web", GroupState::Gone { still_ms: 80 }, 1000, 1);
    office.settle();
    office.tell(C, "web", GroupState::NotTaken { reason: "it is not there".to_owned() }, 1000, 1);
    office.settle();
    let lost = MoveOutcome::Lost { reason: "it is not there".to_owned() };
    assert_eq!((office.outcome(), office.ledger.group("web").handover), (Some(&lost), None));
    assert_eq!(office.owner("web"), C, "it is started anew there");
}

#[test]
fn what_cannot_be_done_is_refused_with_what_is_missing() {
    let groups = [
        group("web", "on = [\"b\", \"c\"]"),
        group("free", "on = [\"b\"]"),
        group("big", "on = [\"b\", \"c\"]"),
        group("any", ""),
    ];
    let mut office = Office::of(&groups);
    office.order("free", GroupOrder::Intent(Intent::Offline));
    office.settle();
    office.tell(B, "web", GroupState::Well, 1000, 1);
    let home = office.owner("big");
    office.tell(home, "big", GroupState::Well, 20_000, 1);
    office.well("any");
    let mut has = |group: &str, whither, method, words: &str| {
        let reason = office.refusal(group, whither, method);
        assert!(reason.contains(words), "{reason}");
    };
    has("web", Whither::Host(id(A)), None, "'on' does not name 'a'");
    has("web", Whither::Host(id(B)), None, "it is on 'b' already");
    has("web", Whither::Home, None, "as near to its home as it can be");
    has("any", Whither::Home, None, "it has no home");
    has("free", Whither::Elsewhere, None, "on no host now");
    has("big", Whither::Host(id(C)), None, "no room");
    has("web", Whither::Host(id(C)), Some(MoveMethod::Suspend), "no 'save_dir'");
    office.tell(C, "web", GroupState::Undefined, 1000, 1);
    assert!(office.refusal("web", Whither::Host(id(C)), None).contains("does not know its VM"));
    office.tell(C, "web", GroupState::Down, 1000, 1);
    office.tell(B, "web", GroupState::Coming, 1000, 1);
    assert!(office.refusal("web", Whither::Host(id(C)), None).contains("--cold"), "there is no memory yet");
    assert!(office.ask("web", Whither::Host(id(C)), Some(MoveMethod::Cold)).is_ok());
    office.set_mode(C, HostMode::Maintenance);
    office.tell(B, "web", GroupState::Well, 1000, 1);
    assert!(office.refusal("web", Whither::Host(id(C)), None).contains("'c' is in maintenance"));
    office.order("web", GroupOrder::Freeze);
    assert!(office.refusal("web", Whither::Elsewhere, None).contains("roost thaw web"));
}

#[test]
fn a_second_move_is_refused_and_told_what_runs() {
    let mut office = Office::on_its_way("", MoveMethod::Live);
    assert!(office.refusal("web", Whither::Host(id(C)), None).contains("from 'b' to 'c' already (live)"));
    office.tell(B, "web", GroupState::Gone { still_ms: 1 }, 1000, 1);
    office.settle();
    assert!(office.refusal("web", Whither::Host(id(B)), None).contains("'c' takes it over"));
}

#[test]
fn practice_counts_as_a_failure() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]")]);
    office.settle();
    office.well("web");
    let decision = office.ask("web", Whither::Failover, None).expect("there is another host");
    office.apply(decision);
    office.tell(B, "web", GroupState::Down, 1000, 1);
    office.settle();
    assert_eq!((office.owner("web"), office.ledger.group("web").failed_on.as_slice()), (C, &[id(B)][..]));
    office.well("web");
    let reason = office.refusal("web", Whither::Home, None);
    assert!(reason.contains("roost online web"), "{reason}");
    assert_eq!(office.mode(B), HostMode::Active);
}

#[test]
fn a_host_is_emptied_by_the_best_method_two_at_a_time_and_the_important_first() {
    let groups: Vec<String> = (1..=4)
        .map(|nth| group(&format!("g{nth}"), &format!("on = [\"b\", \"c\"]\npriority = {nth}")))
        .collect();
    let mut office = Office::of(&groups);
    office.settle();
    office.pass(Duration::from_secs(4), &[B, C]);
    for nth in 1..=4 {
        office.well(&format!("g{nth}"));
    }
    office.set_mode(B, HostMode::Maintenance);
    office.settle();
    let moving = |office: &Office| -> Vec<bool> {
        (1..=4).map(|nth| office.ledger.group(&format!("g{nth}")).moving.is_some()).collect()
    };
    assert_eq!(moving(&office), [false, false, true, true]);
    office.tell(B, "g4", GroupState::Gone { still_ms: 1 }, 1000, 1);
    office.settle();
    assert_eq!(moving(&office), [false, true, true, false]);
    // What is refused is tried by the next method, and no other group waits for that.
    office.tell(B, "g3", GroupState::Stayed { reason: "refused".to_owned() }, 1000, 1);
    office.settle();
    office.tell(B, "g3", GroupState::Well, 1000, 1);
    office.settle();
    assert!(office.ledger.group("g3").recalled.is_some());
    assert_eq!(moving(&office), [true, true, false, false]);
}

#[test]
fn what_may_not_be_stopped_stays_on_a_host_in_maintenance_and_that_is_told_once() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]\nmoves = [\"live\"]")]);
    office.settle();
    office.well("web");
    office.set_mode(B, HostMode::Maintenance);
    office.settle();
    office.tell(B, "web", GroupState::Stayed { reason: "refused".to_owned() }, 1000, 1);
    office.settle();
    office.tell(B, "web", GroupState::Well, 1000, 1);
    office.settle();
    assert!(office.ledger.group("web").recalled.is_none() && office.ledger.group("web").moving.is_none());
    assert!(office.told("roost switch web --cold"));
    office.acts.clear();
    office.pass(Duration::from_secs(5), &[B, C]);
    assert!(!office.told("--cold"));
}

#[test]
fn a_host_that_leaves_moves_what_it_can_and_then_stops_the_rest() {
    let mut office = Office::of(&[group("web", "on = [\"b\", \"c\"]\nmoves = [\"live\"]")]);
    office.settle();
    office.well("web");
    let leaves = |office: &mut Office| {
        office.now = office.now + BEAT;
        office.beat_as(B, Life::Leaving);
        office.beat(C);
        office.settle();
    };
    leaves(&mut office);
    assert!(office.ledger.group("web").moving.is_some());
    office.well("web");
    for _ in 0..4 * 59 {
        leaves(&mut office);
    }
    assert!(office.ledger.group("web").moving.is_some());
    for _ in 0..8 {
        leaves(&mut office);
    }
    assert!(office.ledger.group("web").moving.is_none(), "its guest needs the time that is left");
    office.well("web");
    leaves(&mut office);
    assert!(office.ledger.group("web").recalled.is_some());
}

#[test]
fn what_must_be_together_moves_together() {
    let groups = [
        group("web", "on = [\"b\", \"c\"]\ntogether = [\"db\"]"),
        group("db", "on = [\"b\", \"c\"]\nmoves = [\"cold\"]"),
        group("cache", "on = [\"b\", \"c\"]\ntogether = [\"web\"]"),
    ];
    let mut office = Office::of(&groups);
    office.settle();
    office.pass(Duration::from_secs(4), &[B, C]);
    for name in ["web", "db", "cache"] {
        assert_eq!(office.owner(name), B);
        office.well(name);
    }
    let begin = office.ask("web", Whither::Host(id(C)), None).expect("it can");
    office.apply(begin);
    office.settle();
    assert!(office.ledger.group("cache").moving.is_some_and(|moving| moving.to == id(C)));
    assert!(office.ledger.group("db").recalled.is_some_and(|recall| recall.to == Some(id(C))));
}

#[test]
fn a_trial_says_how_a_vm_would_go_and_moves_nothing() {
    use roost_proto::insight::Trial;
    let live =
        "its memory goes from 'b' to 'c', while it runs on, at most 10m: if that fails, it stays on 'b'";
    let cold = ["its guest is asked to shut down on 'b', at most 2m", "it is started on 'c'"];
    for (moves, wanted) in [("", &[live][..]), ("moves = [\"cold\"]", &cold[..])] {
        let mut office = Office::of(&[group("web", &format!("on = [\"b\", \"c\"]\n{moves}"))]);
        office.settle();
        office.well("web");
        let (before, web) = (office.ledger.clone(), office.config.groups[0].clone());
        let mut tried = |whither| {
            let trial = office.with_leader(|leader, view| leader.try_move(view, &web, whither));
            trial.expect("it is known how things are")
        };
        let steps = wanted.iter().map(|step| (*step).to_owned()).collect();
        assert_eq!(tried(Whither::Elsewhere), Trial::Done { to: C.to_owned(), steps });
        let Trial::Refused { reason } = tried(Whither::Home) else { panic!("it is there") };
        assert!(reason.contains("as near to its home as it can be"), "{reason}");
        assert_eq!(office.ledger, before);
    }
}
