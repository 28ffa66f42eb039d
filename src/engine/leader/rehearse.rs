//! Rehearsal: what the leader would do if hosts were lost, by letting it do that to a copy of the ledger.
//!
//! The same code decides as in earnest. What takes time there happens at once here: a lost host is fenced, a group that is
//! given to a host is well, and one that is recalled is off.

use super::super::ledger::{Effect, Ledger, Standing};
use super::super::rights::only_group;
use super::apps::{Able, judge_targets, needed};
use super::placement::Plan;
use super::reports::Reports;
use super::{Act, Leader, View};
use crate::config::{self, App, Config, Standby, Target};
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

/// Where a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub host: HostId,
    /// In the VM of which group it is, if it is an application in one.
    pub inside: Option<String>,
}

impl Place {
    /// Where the ledger has a group, if anybody has it.
    pub fn of(ledger: &Ledger, group: &str) -> Option<Self> {
        let host = ledger.group(group).owner?;
        Some(Self { host, inside: ledger.inside(group).map(str::to_owned) })
    }
}

/// A group that goes somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The group.
    pub group: String,
    /// From where, if it was anybody's.
    pub from: Option<Place>,
    /// Where to.
    pub to: Place,
    /// In which round of decisions, from 1.
    pub step: u32,
    /// What it takes there.
    pub need: Need,
    /// The applications for which it is started, if it is a cold standby.
    pub needed_by: Vec<String>,
}

/// A group that is wanted, and nobody's in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The group.
    pub group: String,
    /// Where it was, if anybody had it.
    pub from: Option<Place>,
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
    without.iter().for_each(|host| stage.lose(view.config, *host));
    let mut leader = Leader::new(view.now, 0);
    let mut moved: BTreeMap<String, (usize, Moved)> = BTreeMap::new();
    let (mut step, mut patient) = (1, view.config.groups.iter().any(|group| group.app.is_some()));
    for _ in 0..MAX_ROUNDS {
        let mut acts = Vec::new();
        leader.reports = core::mem::take(&mut stage.reports);
        let here = View { ledger: &stage.ledger, ..*view };
        leader.settle_groups(&here, &mut acts);
        let needed = needed(&here, &leader.reports);
        stage.reports = core::mem::take(&mut leader.reports);
        // Starts that are spread over seconds, and room that is told late, are not waited for.
        leader.assigned.clear();
        leader.making_room = None;
        let mut any = false;
        for act in acts {
            let Act::Decide(decision) = act else { continue };
            let before = only_group(&decision).map(|group| Place::of(&stage.ledger, group));
            if stage.apply(view.config, &decision) != Effect::Done {
                continue;
            }
            any = true;
            let Some((group, before)) = only_group(&decision).zip(before) else { continue };
            if let Some(to) = Place::of(&stage.ledger, group).filter(|to| before.as_ref() != Some(to)) {
                let (order, from) = (moved.len(), Place::of(view.ledger, group));
                let (need, needed_by) =
                    (stage.ledger.group(group).need, needed.get(group).cloned().unwrap_or_default());
                let one = Moved { group: group.to_owned(), from, to, step, need, needed_by };
                moved.insert(group.to_owned(), (order, one));
            }
        }
        if !any {
            // Applications wait a while for a controller that may connect. Here none does.
            if !core::mem::take(&mut patient) {
                break;
            }
            leader.waits_no_more();
        }
        step += u32::from(any);
    }
    let mut moved: Vec<_> = moved.into_values().collect();
    moved.retain(|(_, one)| {
        one.from.as_ref() != Some(&one.to) && Place::of(&stage.ledger, &one.group).as_ref() == Some(&one.to)
    });
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
        // A cold standby that does not come is told with what needs it.
        if group.standby == Standby::Cold {
            continue;
        }
        let others: Vec<(String, Option<String>)> = match &group.app {
            None => {
                let others = plan.judge(group, None).into_iter();
                let others = others.filter(|(name, _)| !without.contains(&HostId::of(name)));
                others
                    .map(|(name, judged)| (name.to_owned(), judged.err().map(|why| why.words(name))))
                    .collect()
            }
            Some(app) => left_targets(end, reports, &plan, (group, app), without),
        };
        let unwell = group.needs.iter().find(|need| {
            let owner = end.ledger.group(need).owner;
            owner.is_none_or(|owner| *reports.state(owner, need) != GroupState::Well)
        });
        let reason = if after.frozen {
            "it is frozen: it is started nowhere until `roost thaw`".to_owned()
        } else if let Some(reason) = &after.given_up {
            reason.clone()
        } else if others.is_empty() {
            let what = if group.app.is_some() { "target" } else { "host" };
            format!("no other {what} may run it")
        } else if let Some(need) = unwell {
            format!("it needs '{need}', which is not well")
        } else {
            let able = others.iter().find(|(_, why)| why.is_none());
            let words: Vec<&str> = others.iter().filter_map(|(_, why)| why.as_deref()).collect();
            able.map_or_else(|| words.join("; "), |(name, _)| format!("'{name}' cannot be given it yet"))
        };
        left.push(Left { group: group.name.clone(), from: Place::of(begin.ledger, &group.name), reason });
    }
    left
}

/// The targets that an application still has, and what keeps it from each. Of a VM without room each of its hosts says why.
fn left_targets(
    end: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    (group, app): (&config::Group, &App),
    without: &BTreeSet<HostId>,
) -> Vec<(String, Option<String>)> {
    let judged = judge_targets(end, reports, plan, group, app).into_iter();
    let judged = judged.filter(|(target, _)| !without.contains(&target.id()));
    let told = judged.map(|(target, able)| {
        let full = matches!(able, Able::NoRoom(_)).then(|| end.config.group(target.name())).flatten();
        let hosts = full.map(|vm| plan.judge(vm, None)).unwrap_or_default().into_iter();
        let hosts = hosts.filter(|(name, _)| !without.contains(&HostId::of(name)));
        let hosts: Vec<String> = hosts.filter_map(|(name, judged)| Some(judged.err()?.words(name))).collect();
        let why = able.words().map(|why| match hosts.as_slice() {
            [] => why.to_owned(),
            hosts => format!("{why}: {}", hosts.join("; ")),
        });
        (target.to_string(), why)
    });
    told.collect()
}

/// The ledger and the reports, as they would become.
struct Stage {
    ledger: Ledger,
    reports: Reports,
    index: Index,
}

impl Stage {
    fn apply(&mut self, config: &Config, decision: &Decision) -> Effect {
        self.index += 1;
        let effect = self.ledger.apply(self.index, &Entry { asked: None, decision: decision.clone() });
        if effect == Effect::Done {
            match decision {
                Decision::Assign { group, .. } | Decision::AssignInside { group, .. } => {
                    self.suppose(group, GroupState::Well);
                    self.connect(config, group);
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

    /// The controller of a VM that is well connects, and its applications are down there.
    fn connect(&mut self, config: &Config, vm: &str) {
        let Some(host) = self.ledger.group(vm).owner else { return };
        let inside = |target: &Target| matches!(target, Target::Vm(name) if name == vm);
        let apps = config.groups.iter().filter(|group| {
            let app = group.app.as_ref().is_some_and(|app| app.targets.iter().any(inside));
            app && self.ledger.group(&group.name).owner != Some(host)
        });
        for app in apps {
            let changed = self.ledger.group(&app.name).changed;
            let report =
                GroupReport { group: app.name.clone(), changed, state: GroupState::Down, need: None };
            self.reports.suppose(host, report, 0);
        }
    }

    /// A host is lost, and its groups are free, as if an operator had confirmed it.
    fn lose(&mut self, config: &Config, host: HostId) {
        let incarnation = match self.ledger.standing(host) {
            Standing::Out => return,
            Standing::In(member) => {
                self.apply(config, &Decision::Evict { host, incarnation: member.incarnation });
                member.incarnation
            }
            Standing::Evicted(member) => member.incarnation,
        };
        self.apply(config, &Decision::Fenced { host, incarnation, by: FencedBy::Operator });
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
