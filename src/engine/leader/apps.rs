//! Applications: on which of their targets they run, and which standby VMs are on for them.
//!
//! An application is placed as a VM is, but on targets: a host, or a VM that another group keeps up. A VM that is only a cold
//! standby is on while an application needs it. Before an application is moved on purpose, its new target is made ready while it
//! still runs where it is; only then it is recalled.

use super::super::ledger::{GroupRecord, Preparing, Standing};
use super::groups::{Lazy, Owned, Why, is_leaving};
use super::kept::{on_shutdown, stays};
use super::placement::{Nowhere, Plan};
use super::reports::Reports;
use super::{Act, Leader, View};
use crate::config::{self, App, Failback, OnShutdown, Standby, Target};
use core::time::Duration;
use roost_proto::cluster::decision::{Decision, HostMode, RecallReason};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{GroupReport, GroupState, HostId, MoveAsk, Whither};
use roost_proto::control::{EventKind, Intent, Level, MoveMethod};
use roost_proto::time::{Instant, Span};
use std::collections::BTreeMap;

/// How long a target of more preference is waited for whose host is there, and whose controller has not been heard yet: both boot
/// at the same time.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);
/// How long a new target may take to be made ready: a VM boots within it, and a `ready` command ends.
pub const READY_WITHIN: Duration = Duration::from_secs(300);

/// Where an application can be given its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// By which host.
    pub host: HostId,
    /// Inside the VM of which group, in which epoch of that.
    pub inside: Option<(String, u64)>,
}

/// What a target could do for an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Able {
    /// Run it, now.
    Now(Seat),
    /// Its host is there, and its controller has not said anything yet.
    Settling(String),
    /// Run it, once its VM is up.
    Starting(String),
    /// Run it, once there is room for its VM.
    NoRoom(String),
    /// Nothing: it failed there lately.
    Failed(String),
    /// Nothing.
    No(String),
}

impl Able {
    /// Whether it could run it, sooner or later.
    pub const fn is_possible(&self) -> bool {
        match self {
            Self::Now(_) | Self::Settling(_) | Self::Starting(_) | Self::NoRoom(_) => true,
            Self::Failed(_) | Self::No(_) => false,
        }
    }

    /// Why it cannot run it now, if so.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::Now(_) => None,
            Self::Settling(why)
            | Self::Starting(why)
            | Self::NoRoom(why)
            | Self::Failed(why)
            | Self::No(why) => Some(why),
        }
    }
}

/// Cold standby VMs that applications need, with the greatest priority of those.
pub(super) type Demand = BTreeMap<String, u32>;

/// A target that is made ready, as this leader has seen it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readying {
    begun: Index,
    since: Instant,
}

/// Since when an application could go home by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Homing {
    to: HostId,
    since: Instant,
}

/// What an application's targets could do, the better before the worse.
type Judged<'a> = Vec<(&'a Target, Able)>;

/// A target's name for people.
pub fn target_name(view: &View<'_>, group: &config::Group, target: HostId) -> String {
    let known = group.app.iter().flat_map(|app| &app.targets).find(|known| known.id() == target);
    known.map_or_else(|| view.name(target), Target::to_string)
}

/// What each target could do for an application, in the order of the file.
pub fn judge_targets<'a>(
    view: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    group: &'a config::Group,
    app: &'a App,
) -> Judged<'a> {
    let judge = |target: &'a Target| (target, judge(view, reports, plan, group, target));
    app.targets.iter().map(judge).collect()
}

fn judge(
    view: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    group: &config::Group,
    target: &Target,
) -> Able {
    if view.ledger.group(&group.name).failed_on.contains(&target.id()) {
        return Able::Failed(format!("it failed on '{target}'"));
    }
    match target {
        Target::Host(name) => {
            let id = target.id();
            if let Some(obstacle) = plan.keeps_out(group, name) {
                return Able::No(obstacle.words(name));
            }
            take(view, reports, group, Seat { host: id, inside: None }, target)
        }
        Target::Vm(name) => judge_vm(view, reports, plan, group, target, name),
    }
}

fn judge_vm(
    view: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    group: &config::Group,
    target: &Target,
    vm: &str,
) -> Able {
    let record = view.ledger.group(vm);
    let Some(config) = view.config.group(vm) else { return Able::No(format!("there is no group '{vm}'")) };
    if record.intent == Intent::Offline {
        return Able::No(format!("'{vm}' is wanted offline"));
    }
    if let Some(reason) = &record.given_up {
        return Able::No(format!("'{vm}' was given up on: {reason}"));
    }
    let Some(owner) = record.owner else {
        return match plan.place(config) {
            _ if record.frozen => Able::No(format!("'{vm}' is frozen, and off")),
            Ok(_) => Able::Starting(format!("'{vm}' has to be started first")),
            Err(Nowhere::NoRoom(_)) => Able::NoRoom(format!("no host has room for '{vm}'")),
            Err(Nowhere::FailedEverywhere) => Able::No(format!("'{vm}' failed on every host")),
            Err(Nowhere::NoHost(why)) => Able::No(format!("'{vm}' can be on no host: {why}")),
        };
    };
    if !view.is_here(owner) {
        return Able::No(format!(
            "'{}', where '{vm}' is, is silent, or not in the cluster",
            view.name(owner)
        ));
    }
    if record.recalled.is_some() || record.moving.is_some() || record.handover.is_some() {
        return Able::Starting(format!("'{vm}' is about to be elsewhere"));
    }
    match reports.state(owner, vm) {
        GroupState::Well => {
            let seat = Seat { host: owner, inside: Some((vm.to_owned(), record.epoch)) };
            take(view, reports, group, seat, target)
        }
        GroupState::GivenUp { reason } => Able::No(format!("'{vm}' was given up on: {reason}")),
        _ => Able::Starting(format!("'{vm}' is not well yet")),
    }
}

/// Whether a target that is up, and that nothing keeps it from, can be given an application.
fn take(view: &View<'_>, reports: &Reports, group: &config::Group, seat: Seat, target: &Target) -> Able {
    // One that is there for long has none that boots with it.
    let since = reports.since(seat.host).unwrap_or(view.now);
    let settles = seat.inside.is_some() || view.now < since + SETTLES_WITHIN;
    let silent = || {
        let why = format!("the roost-guest of '{target}' is not connected");
        if settles { Able::Settling(why) } else { Able::No(why) }
    };
    let Some(told) = reports.group(seat.host, &group.name) else { return silent() };
    match &told.state {
        GroupState::Unknown => silent(),
        GroupState::Undefined => {
            let app = group.app.as_ref().map_or("", |app| app.name.as_str());
            Able::No(format!("the roost-guest of '{target}' has no group '{app}' with 'managed = true'"))
        }
        GroupState::Stray => Able::No(format!("it runs on '{target}' without right")),
        // Its orders there come from the same host: what that says is of where it is now.
        _ if view.ledger.group(&group.name).owner == Some(seat.host) => Able::Now(seat),
        GroupState::Down | GroupState::Ready | GroupState::NotReady { .. } => Able::Now(seat),
        _ => Able::Settling(format!("it is not known to be down on '{target}'")),
    }
}

/// The smaller, the better: where it is wished, where it was last, in the order of the file.
fn preference(record: &GroupRecord, target: &Target, rank: usize) -> usize {
    let id = target.id();
    if record.wish == Some(id) {
        0
    } else if record.last == Some(id) {
        1
    } else {
        2 + rank
    }
}

/// Whether the cluster is to keep a group online.
fn is_wanted(record: &GroupRecord) -> bool {
    record.intent == Intent::Online && !record.frozen && record.given_up.is_none()
}

/// The VM's group of one of the application's targets, by that target's number.
fn vm_of(app: &App, target: Option<HostId>) -> Option<&str> {
    app.targets.iter().find_map(|known| match known {
        Target::Vm(name) if Some(known.id()) == target => Some(name.as_str()),
        Target::Vm(_) | Target::Host(_) => None,
    })
}

/// The targets of a free application, the better before the worse.
pub fn by_preference<'a>(
    view: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    group: &'a config::Group,
    app: &'a App,
) -> Judged<'a> {
    let record = view.ledger.group(&group.name);
    let judged = judge_targets(view, reports, plan, group, app);
    let mut ranked: Vec<_> = judged.into_iter().enumerate().collect();
    ranked.sort_by_key(|(rank, (target, _))| preference(record, target, *rank));
    ranked.into_iter().map(|(_, judged)| judged).collect()
}

/// The cold standby VMs that are to be on.
pub(super) fn demand<'a>(
    view: &View<'_>,
    reports: &Reports,
    plan: &Lazy<'_>,
    groups: impl Iterator<Item = &'a config::Group>,
) -> Demand {
    let mut demand = Demand::new();
    for group in groups {
        let Some(app) = &group.app else { continue };
        for vm in demanded(view, reports, plan, group, app) {
            let priority = demand.entry(vm).or_insert(0);
            *priority = group.priority.max(*priority);
        }
    }
    demand
}

/// The cold standby VMs that are to be on, with the applications that need them.
pub fn needed(view: &View<'_>, reports: &Reports) -> BTreeMap<String, Vec<String>> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if view.config.groups.iter().all(|group| group.standby == Standby::Warm) {
        return needed;
    }
    let plan = Lazy::new(view, reports);
    for group in &view.config.groups {
        let Some(app) = &group.app else { continue };
        for vm in demanded(view, reports, &plan, group, app) {
            let apps = needed.entry(vm).or_default();
            if !apps.contains(&group.name) {
                apps.push(group.name.clone());
            }
        }
    }
    needed
}

/// Those that one application needs.
fn demanded(
    view: &View<'_>,
    reports: &Reports,
    plan: &Lazy<'_>,
    group: &config::Group,
    app: &App,
) -> Vec<String> {
    let record = view.ledger.group(&group.name);
    let preparing = view.ledger.preparing(&group.name).map(|preparing| preparing.to);
    let goes = record.recalled.and_then(|recall| recall.to);
    let mut vms: Vec<&str> = view.ledger.inside(&group.name).into_iter().collect();
    vms.extend(vm_of(app, preparing));
    vms.extend(vm_of(app, goes));
    let well = record.owner.is_some_and(|owner| *reports.state(owner, &group.name) == GroupState::Well);
    let mut judged = Vec::new();
    if is_wanted(record) && !well {
        // It may have to go back to where it came from: that stays on, if it is.
        vms.extend(vm_of(app, record.last).filter(|vm| view.ledger.group(vm).owner.is_some()));
    }
    // While its host is being fenced its standby boots already.
    let lost = record.owner.is_none_or(|owner| !matches!(view.ledger.standing(owner), Standing::In(_)));
    if is_wanted(record) && lost {
        judged = by_preference(view, reports, plan.get(), group, app);
    }
    if let Some((Target::Host(_), Able::Settling(_))) = judged.iter().find(|(_, able)| able.is_possible()) {
        return vms.into_iter().map(str::to_owned).collect(); // it will most likely be able in a moment
    }
    let now = judged.iter().find(|(_, able)| matches!(able, Able::Now(_)));
    // A VM that is up may have a guest that boots still.
    let settles = |(target, able): &(&Target, Able)| {
        matches!((target, able), (_, Able::Starting(_)) | (Target::Vm(_), Able::Settling(_)))
    };
    let starting = || judged.iter().find(|judged| settles(judged));
    let full = || judged.iter().find(|(_, able)| matches!(able, Able::NoRoom(_)));
    if let Some((Target::Vm(vm), _)) = now.or_else(starting).or_else(full) {
        vms.push(vm);
    }
    vms.into_iter().map(str::to_owned).collect()
}

impl Leader {
    /// What a free application waits for, or its place.
    pub(super) fn place_app<'a>(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Plan<'_>,
        group: &'a config::Group,
        app: &'a App,
    ) -> Result<(&'a Target, Seat), Why> {
        let judged = by_preference(view, reports, plan, group, app);
        let since = self.waiting.get(&group.name).map_or(view.now, |waiting| waiting.since);
        let patient = view.now < since + SETTLES_WITHIN;
        for (target, able) in &judged {
            match able {
                Able::Now(seat) => return Ok((target, seat.clone())),
                Able::Settling(why) if patient => {
                    self.wake(since + SETTLES_WITHIN);
                    return Err(Why::Other(why.clone()));
                }
                _ => {}
            }
        }
        if judged.iter().all(|(_, able)| matches!(able, Able::Failed(_))) {
            return Err(Why::Everywhere);
        }
        let first = judged.iter().find(|(_, able)| able.is_possible());
        let why: Vec<&str> = match first {
            Some((_, able)) => able.words().into_iter().collect(),
            None => judged.iter().filter_map(|(_, able)| able.words()).collect(),
        };
        Err(Why::Other(why.join("; ")))
    }

    /// No controller is waited for any more that may connect soon.
    pub(super) fn waits_no_more(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.since = waiting.since - SETTLES_WITHIN;
        }
    }

    /// What is decided of an application that somebody owns and that is wanted, by what its owner says.
    pub(super) fn owned_app(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Lazy<'_>,
        (group, app): (&config::Group, &App),
        owner: HostId,
        told: &GroupReport,
    ) -> Owned {
        let record = view.ledger.group(&group.name);
        let failed = match &told.state {
            GroupState::GivenUp { reason } => Some(reason.clone()),
            GroupState::Undefined => {
                let target = view.ledger.target(&group.name).unwrap_or(owner);
                let target = target_name(view, group, target);
                Some(format!(
                    "the roost-guest of '{target}' has no group '{}' with 'managed = true'",
                    app.name
                ))
            }
            _ => None,
        };
        if let Some(reason) = failed {
            return self.failed_app(view, reports, plan.get(), (group, app), reason);
        }
        // Its VM is off, and nobody tries to start that any more.
        let lost = view.ledger.inside(&group.name).is_some_and(|vm| view.ledger.group(vm).given_up.is_some())
            && matches!(told.state, GroupState::Coming | GroupState::Unknown);
        if lost && has_done_here(view, reports, plan.get(), (group, app)) {
            return Owned::Recall(RecallReason::Failed);
        }
        let leaves = view.ledger.inside(&group.name).is_none() && is_leaving(view, owner);
        if leaves && stays(view, owner) {
            return Owned::Recall(RecallReason::Kept);
        }
        if leaves
            && (on_shutdown(view, owner) == Some(OnShutdown::Stop) || self.has_no_time(view, group, owner))
        {
            return Owned::Recall(RecallReason::Emptied);
        }
        if let Some(preparing) = view.ledger.preparing(&group.name) {
            return match self.is_ready(view, reports, plan.get(), (group, app), preparing) {
                None => Owned::Nothing,
                Some(Ok(())) => Owned::Go(preparing.to, preparing.why),
                Some(Err(_)) if leaves => Owned::Recall(RecallReason::Emptied),
                Some(Err(reason)) => {
                    self.homing.remove(&group.name);
                    Owned::Stay(preparing, reason)
                }
            };
        }
        self.readying.remove(&group.name);
        let maintained = view.ledger.inside(&group.name).is_none()
            && view.ledger.host(owner).is_some_and(|host| host.mode == HostMode::Maintenance);
        if leaves || maintained {
            return self.empty_app(view, reports, plan.get(), (group, app), leaves);
        }
        let well = told.state == GroupState::Well;
        match self.goes_home(view, reports, plan, (group, app), well) {
            Some(to) => Owned::Prepare(to, RecallReason::Home),
            None => self.is_forgiven(view, group, record, well),
        }
    }

    /// An application cannot be kept up where it is.
    fn failed_app(
        &self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Plan<'_>,
        (group, app): (&config::Group, &App),
        reason: String,
    ) -> Owned {
        let record = view.ledger.group(&group.name);
        if record.given_up.is_some() {
            return Owned::Nothing;
        }
        let tries = record.failed_on.len();
        if tries >= group.recovery.hosts as usize {
            return Owned::GiveUp(format!("{tries} other targets were tried; here: {reason}"));
        }
        match other_targets(view, reports, plan, (group, app)).next() {
            Some(_) => Owned::Recall(RecallReason::Failed),
            None => Owned::GiveUp(reason),
        }
    }

    /// An application is to leave its host.
    fn empty_app(
        &self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Plan<'_>,
        (group, app): (&config::Group, &App),
        leaves: bool,
    ) -> Owned {
        let refused = self.stuck.get(&group.name) == Some(&view.ledger.group(&group.name).epoch);
        match best(other_targets(view, reports, plan, (group, app))) {
            Some(to) if !refused => Owned::Prepare(to.id(), RecallReason::Emptied),
            _ if leaves => Owned::Recall(RecallReason::Emptied),
            Some(_) | None => Owned::Nothing,
        }
    }

    /// Whether the new target of an application is ready, or why it will not be; nothing while that is not known.
    fn is_ready(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Plan<'_>,
        (group, app): (&config::Group, &App),
        preparing: Preparing,
    ) -> Option<Result<(), String>> {
        let Some(target) = app.targets.iter().find(|target| target.id() == preparing.to) else {
            return Some(Err("the configuration does not name its new target any more".to_owned()));
        };
        let new = Readying { begun: preparing.begun, since: view.now };
        let readying = self.readying.entry(group.name.clone()).or_insert(new);
        if readying.begun != preparing.begun {
            *readying = new;
        }
        let until = readying.since + READY_WITHIN;
        let record = view.ledger.group(&group.name);
        let why = match judge(view, reports, plan, group, target) {
            // That host speaks of where it is now, and so cannot say that another target of its own is ready.
            Able::Now(seat) if record.owner == Some(seat.host) => return Some(Ok(())),
            Able::Now(seat) => {
                let told = reports.group(seat.host, &group.name);
                match told.filter(|told| told.changed == record.changed).map(|told| &told.state) {
                    Some(GroupState::Ready) => return Some(Ok(())),
                    Some(GroupState::NotReady { reason }) => return Some(Err(reason.clone())),
                    _ => format!("'{target}' does not say whether it is ready"),
                }
            }
            Able::Failed(why) | Able::No(why) => return Some(Err(why)),
            Able::Settling(why) | Able::Starting(why) | Able::NoRoom(why) => why,
        };
        if view.now >= until {
            return Some(Err(format!("not within {}: {why}", Span(READY_WITHIN))));
        }
        self.wake(until);
        None
    }

    /// The better target that an application goes to by itself now.
    fn goes_home(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Lazy<'_>,
        (group, app): (&config::Group, &App),
        well: bool,
    ) -> Option<HostId> {
        let Failback::Auto { after, window } = app.failback else { return None };
        let at = view.ledger.target(&group.name);
        let better = app.targets.iter().take_while(|target| Some(target.id()) != at);
        let able = |target: &&Target| matches!(judge(view, reports, plan.get(), group, target), Able::Now(_));
        let Some(home) = better.into_iter().find(able).filter(|_| well) else {
            self.homing.remove(&group.name);
            return None;
        };
        let new = Homing { to: home.id(), since: view.now };
        let homing = self.homing.entry(group.name.clone()).or_insert(new);
        if homing.to != new.to {
            *homing = new;
        }
        let due = homing.since + after;
        if view.now < due {
            self.wake(due);
            return None;
        }
        let open = window.is_none_or(|window| view.minute.is_some_and(|minute| window.holds(minute)));
        open.then_some(home.id())
    }

    /// What is decided of an operator's wish about an application, or why nothing is.
    pub(super) fn plan_app(
        &self,
        view: &View<'_>,
        (group, app): (&config::Group, &App),
        ask: &MoveAsk,
    ) -> Result<Decision, String> {
        let record = view.ledger.group(&group.name);
        if matches!(ask.method, Some(MoveMethod::Live | MoveMethod::Suspend)) {
            return Err("an application has no memory that could be moved: it is stopped where it is, and brought online there"
                .to_owned());
        }
        if let Some(preparing) = view.ledger.preparing(&group.name) {
            let to = target_name(view, group, preparing.to);
            return Err(format!("it is about to go to '{to}' already, which is made ready"));
        }
        let plan = Plan::new(view, &self.reports);
        let at = view.ledger.target(&group.name);
        let mut others = other_targets(view, &self.reports, &plan, (group, app));
        let (name, epoch) = (group.name.clone(), record.epoch);
        let prepare = |to: HostId, why| {
            let by = "an operator".to_owned();
            Ok(Decision::Prepare { group: name.clone(), epoch, to: Some(to), why, by })
        };
        let nowhere = || {
            let judged = judge_targets(view, &self.reports, &plan, group, app);
            let rest = judged.iter().filter(|(target, _)| Some(target.id()) != at);
            let why: Vec<&str> = rest.filter_map(|(_, able)| able.words()).collect();
            Err(format!("no other target can take it: {}", why.join("; ")))
        };
        match ask.whither {
            Whither::Failover if others.next().is_some() => {
                let (group, why) = (name.clone(), RecallReason::Failed);
                Ok(Decision::Recall { group, epoch, to: None, why })
            }
            Whither::Elsewhere => match best(others) {
                Some(to) => prepare(to.id(), RecallReason::Moved),
                None => nowhere(),
            },
            Whither::Failover => nowhere(),
            Whither::Host(to) => {
                let Some(target) = app.targets.iter().find(|target| target.id() == to) else {
                    return Err(format!("its 'on' does not name '{}'", view.name(to)));
                };
                if at == Some(to) {
                    return Err(format!("it is on '{target}' already"));
                }
                match judge(view, &self.reports, &plan, group, target) {
                    able if able.is_possible() => prepare(to, RecallReason::Moved),
                    Able::Failed(why) => Err(format!("{why} lately: `roost online {name}` forgets that")),
                    able => Err(able.words().unwrap_or_default().to_owned()),
                }
            }
            Whither::Home => {
                let mut why = Vec::new();
                for target in app.targets.iter().take_while(|target| Some(target.id()) != at) {
                    match judge(view, &self.reports, &plan, group, target) {
                        able if able.is_possible() => return prepare(target.id(), RecallReason::Home),
                        able => why.extend(able.words().map(str::to_owned)),
                    }
                }
                let at = at.map(|at| target_name(view, group, at)).unwrap_or_default();
                let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
                Err(format!("it is as near to its home as it can be, on '{at}'{why}"))
            }
        }
    }

    /// What is done with an application that is to go to a target, in order.
    pub(super) fn steps(
        &self,
        view: &View<'_>,
        (group, app): (&config::Group, &App),
        to: HostId,
    ) -> Vec<String> {
        let plan = Plan::new(view, &self.reports);
        let Some(target) = app.targets.iter().find(|target| target.id() == to) else { return Vec::new() };
        let record = view.ledger.group(&group.name);
        let at = view.ledger.target(&group.name).map(|at| target_name(view, group, at)).unwrap_or_default();
        let able = judge(view, &self.reports, &plan, group, target);
        let mut steps = Vec::new();
        match (target, &able) {
            (Target::Vm(vm), Able::Starting(_)) if view.ledger.group(vm).owner.is_none() => {
                steps.push(format!("the VM of '{vm}' is started"));
            }
            (_, Able::Starting(why) | Able::NoRoom(why) | Able::Settling(why)) => {
                steps.push(format!("'{target}' is waited for: {why}"));
            }
            _ => {}
        }
        let asked = !matches!(&able, Able::Now(seat) if record.owner == Some(seat.host));
        if asked {
            steps.push(format!(
                "'{target}' is asked whether it is ready, while '{}' runs on: if it is not within {}, nothing else is done",
                group.name,
                Span(READY_WITHIN)
            ));
        }
        steps.push(format!("it is taken offline on '{at}', at most {}", Span(group.stop_timeout)));
        steps.push(format!("it is brought online on '{target}'; if that fails, it goes on where it can"));
        let vm = view.ledger.inside(&group.name).and_then(|vm| view.config.group(vm));
        if let Some(vm) = vm.filter(|vm| vm.standby == Standby::Cold) {
            let needed = needed(view, &self.reports);
            let others = needed.get(&vm.name).into_iter().flatten().filter(|app| **app != group.name);
            let others: Vec<String> = others.map(|app| format!("'{app}'")).collect();
            steps.push(match others.as_slice() {
                [] => format!("the VM of '{}' is stopped, once '{}' is well", vm.name, group.name),
                others => format!("the VM of '{}' stays on, for {}", vm.name, others.join(", ")),
            });
        }
        steps
    }

    /// What it means that an application's new target did not get ready.
    pub(super) fn tell_not_ready(
        &mut self,
        view: &View<'_>,
        group: &config::Group,
        (preparing, reason): (Preparing, &str),
        acts: &mut Vec<Act>,
    ) {
        if preparing.why == RecallReason::Emptied {
            self.stuck.insert(group.name.clone(), view.ledger.group(&group.name).epoch); // not again and again
        }
        let at = view.ledger.target(&group.name).map(|at| target_name(view, group, at)).unwrap_or_default();
        let to = target_name(view, group, preparing.to);
        let text = format!("it stays on '{at}', for '{to}' is not ready: {reason}");
        acts.push(Act::Tell(Level::Warning, EventKind::MoveFailed, Some(group.name.clone()), text));
    }
}

/// What the targets where an application is not could do for it, in the order of the file.
fn elsewhere<'a>(
    view: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    (group, app): (&'a config::Group, &'a App),
) -> impl Iterator<Item = (&'a Target, Able)> {
    let at = view.ledger.target(&group.name);
    let judged = judge_targets(view, reports, plan, group, app);
    judged.into_iter().filter(move |(target, _)| Some(target.id()) != at)
}

/// The targets where an application is not, and could be, in the order of the file.
fn other_targets<'a>(
    view: &View<'_>,
    reports: &Reports,
    plan: &Plan<'_>,
    app: (&'a config::Group, &'a App),
) -> impl Iterator<Item = (&'a Target, Able)> {
    elsewhere(view, reports, plan, app).filter(|(_, able)| able.is_possible())
}

/// Whether an application has nothing to wait for where it is: another target could have it, or it failed there before. Then, if that
/// is so of all, it is given up on, and that is told.
fn has_done_here(view: &View<'_>, reports: &Reports, plan: &Plan<'_>, app: (&config::Group, &App)) -> bool {
    elsewhere(view, reports, plan, app).any(|(_, able)| able.is_possible() || matches!(able, Able::Failed(_)))
}

/// The first that can run it now, or else the first.
fn best<'a>(targets: impl Iterator<Item = (&'a Target, Able)>) -> Option<&'a Target> {
    let targets: Vec<_> = targets.collect();
    let now = targets.iter().find(|(_, able)| matches!(able, Able::Now(_)));
    now.or_else(|| targets.first()).map(|(target, _)| *target)
}

/// What a group counts when room is short: as much as the applications that need it, if that is more.
pub(super) fn priority(demand: &Demand, group: &config::Group) -> u32 {
    demand.get(&group.name).map_or(group.priority, |raised| group.priority.max(*raised))
}

/// Whether a VM is on only while an application needs it, and none does.
pub(super) fn is_unneeded(demand: &Demand, group: &config::Group) -> bool {
    group.standby == Standby::Cold && !demand.contains_key(&group.name)
}
