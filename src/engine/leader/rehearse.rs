//! Rehearsal: what the leader would do if hosts were lost, by letting it do that to a copy of the ledger.
//!
//! The same code decides as in earnest. What takes time there happens at once here: a lost host is fenced, a group that is
//! given to a host is well, and one that is recalled is off.

use super::super::ledger::{Effect, Ledger, Standing};
use super::super::rights::only_group;
use super::placement::Plan;
use super::reports::Reports;
use super::{Act, Leader, View};
use crate::config::Config;
use roost_proto::cluster::decision::{Decision, Entry, FencedBy, MoveOutcome};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{GroupReport, GroupState, HostId, Need};
use roost_proto::control::Intent;
use std::collections::{BTreeMap, BTreeSet};

/// Indexes of decisions that are rehearsed begin here: no ledger has come so far.
const FIRST: Index = 1 << 60;
/// Rounds of decisions: each moves something, or it is over. Groups that drive each other out, as they may in earnest while
/// something changes, end here.
const MAX_ROUNDS: u32 = 200;

/// A group that goes somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The group.
    pub group: String,
    /// From where, if it was anybody's.
    pub from: Option<HostId>,
    /// Where to.
    pub to: HostId,
    /// In which round of decisions, from 1.
    pub step: u32,
    /// What it takes there.
    pub need: Need,
}

/// A group that is wanted, and nobody's in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The group.
    pub group: String,
    /// Whose it was, if anybody's.
    pub from: Option<HostId>,
    /// Why.
    pub reason: String,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// What goes where, in order.
    pub moved: Vec<Moved>,
    /// What runs nowhere.
    pub left: Vec<Left>,
}

/// What would become of the groups if these hosts were lost, and known to run nothing.
pub fn rehearse(view: &View<'_>, reports: &Reports, without: &BTreeSet<HostId>) -> Rehearsed {
    let mut stage = Stage { ledger: view.ledger.clone(), reports: reports.clone(), index: FIRST };
    without.iter().for_each(|host| stage.lose(*host));
    let mut leader = Leader::new(view.now, 0);
    let mut moved: BTreeMap<String, (usize, Moved)> = BTreeMap::new();
    for step in 1..=MAX_ROUNDS {
        let mut acts = Vec::new();
        leader.reports = core::mem::take(&mut stage.reports);
        leader.settle_groups(&View { ledger: &stage.ledger, ..*view }, &mut acts);
        stage.reports = core::mem::take(&mut leader.reports);
        // Starts that are spread over seconds, and room that is told late, are not waited for.
        leader.assigned.clear();
        leader.making_room = None;
        let mut any = false;
        for act in acts {
            let Act::Decide(decision) = act else { continue };
            let before = only_group(&decision).map(|group| stage.ledger.group(group).owner);
            if stage.apply(&decision) != Effect::Done {
                continue;
            }
            any = true;
            let Some((group, before)) = only_group(&decision).zip(before) else { continue };
            let record = stage.ledger.group(group);
            if let Some(to) = record.owner.filter(|to| before != Some(*to)) {
                let (order, from) = (moved.len(), view.ledger.group(group).owner);
                let one = Moved { group: group.to_owned(), from, to, step, need: record.need };
                moved.insert(group.to_owned(), (order, one));
            }
        }
        if !any {
            break;
        }
    }
    let mut moved: Vec<_> = moved.into_values().collect();
    moved.retain(|(_, one)| one.from != Some(one.to) && stage.ledger.group(&one.group).owner == Some(one.to));
    moved.sort_by_key(|(order, one)| (one.step, *order));
    let end = View { ledger: &stage.ledger, ..*view };
    let left = left(view, &end, &stage.reports, without);
    Rehearsed { moved: moved.into_iter().map(|(_, one)| one).collect(), left }
}

/// Groups that are wanted, and nobody's in the end. What was given up on before is no news.
fn left(begin: &View<'_>, end: &View<'_>, reports: &Reports, without: &BTreeSet<HostId>) -> Vec<Left> {
    let plan = Plan::new(end, reports);
    let mut left = Vec::new();
    for group in &end.config.groups {
        let (before, after) = (begin.ledger.group(&group.name), end.ledger.group(&group.name));
        if after.owner.is_some() || after.intent == Intent::Offline || before.given_up.is_some() {
            continue;
        }
        let others =
            plan.judge(group, None).into_iter().filter(|(name, _)| !without.contains(&HostId::of(name)));
        let others: Vec<(&str, Option<String>)> =
            others.map(|(name, judged)| (name, judged.err().map(|why| why.words(name)))).collect();
        let unwell = group.needs.iter().find(|need| {
            let owner = end.ledger.group(need).owner;
            owner.is_none_or(|owner| *reports.state(owner, need) != GroupState::Well)
        });
        let reason = if after.frozen {
            "it is frozen: it is started nowhere until `roost thaw`".to_owned()
        } else if let Some(reason) = &after.given_up {
            reason.clone()
        } else if others.is_empty() {
            "no other host may run it".to_owned()
        } else if let Some(need) = unwell {
            format!("it needs '{need}', which is not well")
        } else {
            let able = others.iter().find(|(_, why)| why.is_none());
            let words: Vec<&str> = others.iter().filter_map(|(_, why)| why.as_deref()).collect();
            able.map_or_else(|| words.join("; "), |(name, _)| format!("'{name}' cannot be given it yet"))
        };
        left.push(Left { group: group.name.clone(), from: before.owner, reason });
    }
    left
}

/// The ledger and the reports, as they would become.
struct Stage {
    ledger: Ledger,
    reports: Reports,
    index: Index,
}

impl Stage {
    fn apply(&mut self, decision: &Decision) -> Effect {
        self.index += 1;
        let effect = self.ledger.apply(self.index, &Entry { asked: None, decision: decision.clone() });
        if effect == Effect::Done {
            match decision {
                Decision::Assign { group, .. } | Decision::AssignInside { group, .. } => {
                    self.suppose(group, GroupState::Well)
                }
                Decision::Recall { group, .. } => self.suppose(group, GroupState::Down),
                Decision::MoveBegin { group, .. } => self.suppose(group, GroupState::Gone { still_ms: 0 }),
                Decision::MoveEnd { group, outcome, .. } => self.suppose(
                    group,
                    match outcome {
                        MoveOutcome::Over { .. } | MoveOutcome::Back { .. } => GroupState::Taken,
                        MoveOutcome::Failed { .. } | MoveOutcome::Taken | MoveOutcome::Lost { .. } => {
                            GroupState::Well
                        }
                    },
                ),
                _ => {}
            }
        }
        effect
    }

    /// The owner of a group says at once that it is so there.
    fn suppose(&mut self, group: &str, state: GroupState) {
        let record = self.ledger.group(group);
        let (changed, need) = (record.changed, record.need);
        let Some(host) = record.owner else { return };
        let memory = i64::from(need.memory_mib);
        let taken = match (has_memory(self.reports.state(host, group)), has_memory(&state)) {
            (false, true) => memory,
            (true, false) => -memory,
            (false, false) | (true, true) => 0,
        };
        let report = GroupReport { group: group.to_owned(), changed, state, need: Some(need) };
        self.reports.suppose(host, report, taken);
    }

    /// A host is lost, and its groups are free, as if an operator had confirmed it.
    fn lose(&mut self, host: HostId) {
        let incarnation = match self.ledger.standing(host) {
            Standing::Out => return,
            Standing::In(member) => {
                self.apply(&Decision::Evict { host, incarnation: member.incarnation });
                member.incarnation
            }
            Standing::Evicted(member) => member.incarnation,
        };
        self.apply(&Decision::Fenced { host, incarnation, by: FencedBy::Operator });
        self.reports.remove(host);
    }
}

/// Whether a majority of the voters is left.
pub fn has_quorum(view: &View<'_>, without: &BTreeSet<HostId>) -> bool {
    let left = view.voters.keys().filter(|voter| !without.contains(voter) && view.is_here(**voter)).count();
    left > view.voters.len() / 2
}

/// Whether a VM in this state has its memory on the host that says so.
const fn has_memory(state: &GroupState) -> bool {
    matches!(
        state,
        GroupState::Well
            | GroupState::Unwell
            | GroupState::Suspended
            | GroupState::Stray
            | GroupState::Taken
            | GroupState::Stayed { .. }
    )
}

/// The most work that a rehearsal of every host's loss may be, in hosts times groups: a leader that reckons for longer than a
/// beat would be taken for dead.
pub const MAX_WORK: usize = 40_000;

/// Whether a rehearsal for each host is more than a leader can do in between.
pub fn is_too_much(config: &Config) -> bool {
    config.hosts.len() * config.groups.len() > MAX_WORK
}
