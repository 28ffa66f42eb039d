//! Why a group is where it is and not elsewhere, what is wrong with it, and what the next failures would do.

use super::fencing;
use crate::config::Group;
use crate::engine::Engine;
use crate::engine::keeper::health;
use crate::engine::keeper::ladder::{self, Rung};
use crate::engine::leader::placement::{Fit, Obstacle, Plan, Unusable};
use crate::engine::leader::rehearse::{Place, Rehearsed, has_quorum, rehearse};
use crate::engine::leader::reports::Reports;
use crate::engine::ledger::{GroupRecord, Standing};
use core::time::Duration;
use roost_proto::cluster::decision::RecallReason;
use roost_proto::cluster::{HostId, Whither};
use roost_proto::control::{Condition, ControllerStatus, GroupStatus, Health, Intent};
use roost_proto::insight::{Explanation, FencingBy, GroupExplained, HostVerdict, Subject, Verdict};
use roost_proto::link::GroupState;
use roost_proto::time::{Instant, Span};
use std::collections::BTreeSet;

/// Of so many places where a group may go it is told what its move there would mean, at most: each takes a look at all groups.
const MAX_TRIALS: usize = 16;

impl Engine {
    /// Why a group of the configuration is as it is, as far as this host knows: a leader knows most.
    pub(in crate::engine) fn explain_group(&self, now: Instant, group: &Group) -> Explanation {
        let record = self.ledger.group(&group.name);
        let (condition, reason) = self.condition_of(now, group);
        let mut explained = GroupExplained {
            name: group.name.clone(),
            vm: group.vm.clone(),
            intent: record.intent,
            condition,
            owner: record.owner.map(|owner| self.name(owner)),
            why: self.why_it_is_there(group, record),
            problems: self.problems_of(group, record),
            hosts: Vec::new(),
            next: Vec::new(),
            app: group.app.as_ref().map(|app| app.name.clone()),
            target: Place::of(&self.ledger, &group.name)
                .filter(|_| group.app.is_some())
                .map(|place| self.place(&place)),
            switch: None,
            failback: None,
        };
        let blocked = record.owner.is_some_and(|owner| self.is_evicted(owner)); // told with what to do
        if !reason.is_empty()
            && !blocked
            && !explained.problems.iter().any(|problem| problem.contains(&reason))
        {
            explained.problems.insert(0, reason);
        }
        let none = Reports::default();
        let reports = self.reports_here();
        self.looks(now, |view| {
            let plan = Plan::new(view, reports.unwrap_or(&none));
            explained.hosts = match &group.app {
                Some(app) => self.target_verdicts(view, reports, &plan, (group, app)),
                None => self.verdicts(group, record, &plan, reports.is_some()),
            };
            if let Some(leader) = self.leader.as_ref().filter(|_| reports.is_some()) {
                explained.why.extend(self.needs_of(leader, view, group));
                explained.switch = leader.try_move(view, group, Whither::Elsewhere);
                explained.failback = leader.try_move(view, group, Whither::Home);
                for verdict in explained.hosts.iter_mut().take(MAX_TRIALS) {
                    let whither = Whither::Host(self.target_id(group, &verdict.host));
                    verdict.switch = leader.try_move(view, group, whither);
                }
            }
            if let Some((reports, owner)) = reports.zip(record.owner) {
                let without = BTreeSet::from([owner]);
                let lost = has_quorum(view, &without).then(|| rehearse(view, reports, &without));
                explained.next = self.next_host(group, record, &explained.hosts, lost.as_ref());
            }
        });
        self.explanation(now, Subject::Group(explained))
    }

    fn why_it_is_there(&self, group: &Group, record: &GroupRecord) -> Vec<String> {
        let mut why = Vec::new();
        why.push(match (record.intent, record.frozen) {
            (Intent::Online, false) => "it is wanted online".to_owned(),
            (Intent::Online, true) => "it is wanted online, and frozen: watched, and not touched".to_owned(),
            (Intent::Offline, _) => "an operator wants it offline, until `roost online`".to_owned(),
        });
        if let Some(app) = &group.app {
            why.extend(self.why_on_target(group, app, record));
        } else if let Some(owner) = record.owner {
            let owner = self.name(owner);
            let first = group.on.first().filter(|_| group.ranked);
            if let Some(moving) = self.moving_status(&group.name) {
                why.push(format!("it moves to '{}' ({})", moving.to, moving.method.word()));
            }
            why.push(match first {
                _ if self.is_evicted(HostId::of(&owner)) => format!("it was on '{owner}', and may still run there"),
                Some(first) if *first == owner => format!("'{owner}' is the first of its hosts in 'on'"),
                Some(first) => format!(
                    "'{first}' comes first in 'on'; but a group stays where it runs, here on '{owner}', until it fails, is moved, or \
                     loses its host"
                ),
                None => format!(
                    "it stays where it runs, on '{owner}', until it fails, is moved, or loses its host; 'on' prefers no host, so the \
                     one with the most memory left gets it"
                ),
            });
        }
        let relations = [
            ("it must be where these are: ", &group.together),
            ("it must not be where these are: ", &group.apart),
            ("it is started only when these are well: ", &group.needs),
        ];
        why.extend(
            relations
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(words, names)| format!("{words}{}", names.join(", "))),
        );
        why
    }

    /// What keeps a group from running, or from being protected, as the ledger and the leader know it.
    fn problems_of(&self, group: &Group, record: &GroupRecord) -> Vec<String> {
        let mut problems = Vec::new();
        if self.ledger.is_disarmed() {
            problems.push("the cluster is disarmed: nothing is done about it until `roost arm`".to_owned());
        }
        if let Some(host) = record.kept {
            problems.push(format!("kept for '{}', which was shut down", self.name(host)));
        }
        if let Some(reason) = &record.given_up {
            problems.push(format!("given up: {reason}; `roost online {}` tries afresh", group.name));
        }
        let owner = record.owner.and_then(|owner| Some((owner, self.ledger.host(owner)?)));
        match owner.map(|(id, host)| (id, host.standing)) {
            Some((owner, Standing::Evicted(_))) => {
                let name = self.name(owner);
                let told = self.leader.as_ref().and_then(|leader| leader.told_of(owner)).unwrap_or_default();
                problems.push(format!(
                    "blocked: '{name}' was evicted, and is not known to run nothing, so it is started nowhere else; if it is off, \
                     `roost fence {name} --confirm`"
                ));
                problems.extend(Some(told.to_owned()).filter(|told| !told.is_empty()));
            }
            Some((owner, Standing::In(member))) => {
                let host = self.config.hosts.iter().find(|host| HostId::of(&host.name) == owner);
                let unguarded = host.is_some_and(|host| fencing(host, member.proof) == FencingBy::None);
                if unguarded && self.config.hosts.len() > 1 {
                    let name = self.name(owner);
                    problems.push(format!(
                        "not protected from the loss of '{name}', which has neither a fence agent nor a watchdog: it would be blocked \
                         until an operator confirms"
                    ));
                }
            }
            Some((_, Standing::Out)) | None => {}
        }
        if record.frozen {
            problems.push(format!(
                "frozen: it is neither recovered nor started elsewhere until `roost thaw {}`",
                group.name
            ));
        }
        if let Some(recall) = &record.recalled {
            let why = match recall.why {
                RecallReason::Failed => "it could not be kept up there",
                RecallReason::Emptied => "its host is to be emptied",
                RecallReason::Moved => "an operator wants it elsewhere",
                RecallReason::Displaced => "others need its place",
                RecallReason::Kept => "its host is shut down, and it is kept for it",
                RecallReason::Home => "it goes home",
                RecallReason::Unneeded => "no application needs it",
            };
            let to = recall.to.map(|to| format!(" to '{}'", self.target_name(group, to)));
            let to = to.unwrap_or_default();
            problems.push(format!("it is stopped where it is, and goes{to}: {why}"));
        }
        let (places, what) = match &group.app {
            Some(app) => (app.targets.len(), "target"),
            None => (group.on.len(), "host"),
        };
        if places < 2 && self.config.hosts.len() > 1 {
            problems.push(format!("'on' names one {what} only: it cannot go elsewhere"));
        }
        problems
    }

    /// What is to be said of each host that may run it.
    fn verdicts(
        &self,
        group: &Group,
        record: &GroupRecord,
        plan: &Plan<'_>,
        leads: bool,
    ) -> Vec<HostVerdict> {
        let judged = plan.judge(group, record.owner);
        let best = judged.iter().filter_map(|(_, judged)| judged.as_ref().ok()).min().map(|fit| fit.3);
        let verdict = |(name, judged): (&str, Result<Fit, Obstacle>)| {
            let id = HostId::of(name);
            let (verdict, reason) = match judged {
                _ if record.owner == Some(id) && self.is_evicted(id) => {
                    (Verdict::Owner, "it may still run there".to_owned())
                }
                _ if record.owner == Some(id) => (Verdict::Owner, "it is there".to_owned()),
                Ok(fit) => {
                    let left = fit.left_mib();
                    let word = if best == Some(id) { Verdict::Next } else { Verdict::Could };
                    (word, format!("it has room: {left} MiB are left"))
                }
                Err(Obstacle::LibvirtSilent) if !leads => {
                    (Verdict::Unknown, "only a leader knows its room".to_owned())
                }
                Err(Obstacle::Host(Unusable::Silent)) if !leads => {
                    (Verdict::Unknown, "it is not heard here".to_owned())
                }
                Err(obstacle) => (Verdict::Cannot, obstacle.words(name)),
            };
            HostVerdict { host: name.to_owned(), verdict, reason, switch: None }
        };
        judged.into_iter().map(verdict).collect()
    }

    /// What happens when its host cannot keep it, or is lost; `lost` is how the loss was rehearsed, if a majority would be left.
    fn next_host(
        &self,
        group: &Group,
        record: &GroupRecord,
        hosts: &[HostVerdict],
        lost: Option<&Rehearsed>,
    ) -> Vec<String> {
        let Some(id) = record.owner else { return Vec::new() };
        let owner = self.name(id);
        let then = match lost {
            None => "nothing is started anywhere, for no majority would be left".to_owned(),
            Some(lost) => {
                let moved = lost.moved.iter().find(|one| one.group == group.name);
                let left = lost.left.iter().find(|one| one.group == group.name);
                match (moved, left) {
                    (Some(moved), _) => {
                        let on =
                            moved.to.inside.as_ref().map(|_| format!(", on '{}'", self.name(moved.to.host)));
                        format!("it goes to '{}'{}", self.place(&moved.to), on.unwrap_or_default())
                    }
                    (None, Some(left)) => format!("it stays down: {}", left.reason),
                    (None, None) => "nothing is done".to_owned(),
                }
            }
        };
        if self.is_evicted(id) {
            return vec![format!("when '{owner}' is known to run nothing: {then}")];
        }
        let what = if group.app.is_some() { "targets" } else { "hosts" };
        let mut next = Vec::new();
        let tries = record.failed_on.len();
        let limit = group.recovery.hosts;
        let to = hosts.iter().find(|host| host.verdict == Verdict::Next).map(|host| host.host.as_str());
        let cannot = || {
            let others = hosts.iter().filter(|host| host.verdict == Verdict::Cannot);
            let words: Vec<&str> = others.map(|host| host.reason.as_str()).collect();
            if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) }
        };
        if record.frozen {
            next.push("while it is frozen, nothing is done when it fails".to_owned());
        }
        let spent = match to {
            _ if tries >= limit as usize => {
                format!(
                    "when those are spent: it is given up, for {tries} other {what} were tried, and {limit} may be"
                )
            }
            Some(to) => format!(
                "when those are spent: it goes to '{to}' ({tries} of {limit} other {what} tried within {})",
                Span(group.recovery.window)
            ),
            None => format!("when those are spent: no other of its {what} can have it{}", cannot()),
        };
        if !record.frozen && record.intent == Intent::Online {
            next.push(spent);
        }
        let host = self.config.hosts.iter().find(|host| host.name == owner);
        if let Some((host, Standing::In(member))) = host.map(|host| (host, self.ledger.standing(id)))
            && self.config.hosts.len() > 1
        {
            let fenced = match fencing(host, member.proof) {
                FencingBy::Agent => "once its fence agents say that it is off",
                FencingBy::Time => "once its lease and its watchdog have run out",
                FencingBy::None => "but only when an operator has confirmed that it is off",
            };
            let goes = lost.is_some_and(|lost| lost.moved.iter().any(|one| one.group == group.name));
            let fenced = if goes { format!(", {fenced}") } else { String::new() };
            next.push(format!("if '{owner}' is lost: {then}{fenced}"));
        }
        next
    }

    /// Adds what the owner itself tells of a group.
    pub(in crate::engine) fn detail_group(
        &self,
        group: &mut GroupExplained,
        told: &GroupStatus,
        now_ms: u64,
    ) {
        group.condition = told.condition;
        let seconds = now_ms.saturating_sub(told.since_ms) / 1000;
        let owner = group.target.as_deref().or(group.owner.as_deref()).unwrap_or_default();
        let words = condition_words(told.condition);
        let unwell = health(told) != Health::Healthy && !told.reason.is_empty();
        let reason =
            if told.reason.is_empty() || unwell { String::new() } else { format!(": {}", told.reason) };
        if unwell {
            group.problems.insert(0, format!("{words}: {}", told.reason));
        }
        group.why.insert(
            0,
            format!("it is {words} on '{owner}', for {}{reason}", Span(Duration::from_secs(seconds))),
        );
        let controller = match told.controller {
            ControllerStatus::Never if group.app.is_none() => {
                Some("not protected inside: its guest never had a controller, so only the VM is watched")
            }
            ControllerStatus::Silent => Some("its guest's controller is silent"),
            ControllerStatus::Never
            | ControllerStatus::Awaited
            | ControllerStatus::Connected
            | ControllerStatus::Off
            | ControllerStatus::Unknown => None,
        };
        group.problems.extend(controller.map(str::to_owned));
        group.problems.extend(told.dangers.iter().cloned());
        for app in &told.apps {
            if let GroupState::Faulted(fault) = &app.state {
                let place = if group.app.is_some() { owner } else { "the guest" };
                group
                    .problems
                    .push(format!("'{}' in {place}: {}: {}", app.name, fault.resource, fault.reason));
            }
        }
        let config = self.config.groups.iter().find(|known| known.name == group.name);
        if let Some(config) = config.filter(|_| group.intent == Intent::Online && !told.frozen) {
            let rungs = rungs(config, told, owner);
            group.next.splice(0..0, rungs);
        }
    }
}

/// The rungs that the next failures take on the group's own host.
fn rungs(group: &Group, told: &GroupStatus, owner: &str) -> Vec<String> {
    let (limits, made) = (&group.recovery, told.recoveries);
    let used = |rung| match rung {
        Rung::Reboot => (made.reboot, limits.reboot),
        Rung::Reset => (made.reset, limits.reset),
        Rung::Restart => (made.restart, limits.restart),
    };
    let window = Span(limits.window);
    let step = |from| match ladder::gentlest_left(limits, made, from) {
        Some(rung) => {
            let (made, limit) = used(rung);
            let words = if group.app.is_some() { "bring it online afresh" } else { rung.words() };
            format!("{words} on '{owner}' ({made} of {limit} within {window} made)")
        }
        None => "every rung here is spent".to_owned(),
    };
    if group.app.is_some() {
        return vec![format!("if its roost-guest gives up on it: {}", step(Rung::Restart))];
    }
    let mut next = vec![format!("if its VM stops or crashes: {}", step(Rung::Restart))];
    if told.controller != ControllerStatus::Never {
        next.push(format!("if its guest gives up on an application that counts: {}", step(Rung::Reboot)));
    }
    next
}

/// A condition in a sentence.
const fn condition_words(condition: Condition) -> &'static str {
    match condition {
        Condition::Offline => "offline",
        Condition::Stopping => "stopping",
        Condition::Starting => "starting",
        Condition::Online => "online",
        Condition::Degraded => "degraded",
        Condition::Recovering => "recovering",
        Condition::Unknown => "not known",
        Condition::LeftAlone => "left alone",
        Condition::GivenUp => "given up on",
        Condition::Elsewhere => "elsewhere",
        Condition::Waiting => "waiting",
        Condition::Suspended => "suspended",
    }
}
