//! The ledger: who is in the cluster, who owns which group, and what operators want. Every host keeps a copy and applies the
//! same decisions in the same order.
//!
//! [`Ledger::apply`] checks each decision against what it was decided on, and passes over those that no longer hold. So two
//! leaders at once can waste effort but do no harm, and a decision that arrives twice counts once.

mod arms;
mod groups;
#[cfg(test)]
mod tests;

pub use arms::Arming;
use groups::Groups;
pub use groups::Row;
use roost_proto::cluster::decision::{
    Asked, Carry, Decision, Entry, FencedBy, HostMode, MoveOutcome, Proof, RecallReason,
};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{GroupOrder, HostId, Incarnation, Need};
use roost_proto::control::Intent;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts on which one group has failed, at most: those that are tried for it are far fewer.
pub const MAX_FAILED_ON: usize = 16;

/// The replicated state. What a later version adds to it comes at its end: so a snapshot can be read by a host that is upgraded
/// later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    hosts: BTreeMap<HostId, HostRecord>,
    groups: Groups,
    /// The newest request of each host: an older one that arrives again, or late, is passed over.
    asked: BTreeMap<HostId, Asked>,
    /// Whether the cluster acts.
    arming: Arming,
    /// What came with version 2.
    apps: Apps,
}

/// What the ledger holds of applications beside their groups. Whose version is older wrote none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Apps {
    /// The VM's group in which an application runs. It has that group's owner, and is nobody's when that is.
    inside: BTreeMap<String, String>,
    /// New targets that are made ready.
    preparing: BTreeMap<String, Preparing>,
}

/// A new target that is made ready while the application runs where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparing {
    /// The target, by its number.
    pub to: HostId,
    /// Why it goes there.
    pub why: RecallReason,
    /// The index of the decision.
    pub begun: Index,
}

/// What the ledger holds of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name.
    pub name: String,
    /// Whether it is in the cluster.
    pub standing: Standing,
    /// What it may be used for.
    pub mode: HostMode,
    /// The start number of the newest life that was ever admitted: neither that one nor any before it comes in again.
    pub newest: u32,
    /// The index of the last decision about it.
    pub changed: Index,
}

/// Whether a host is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It is not, and it runs nothing of the cluster's.
    Out,
    /// It is.
    In(Member),
    /// It was thrown out, and may still run what it owned: nothing of that is started elsewhere.
    Evicted(Member),
}

/// One life of a host, as it was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The life.
    pub incarnation: Incarnation,
    /// The machine.
    pub machine: u64,
    /// What follows from its silence.
    pub proof: Proof,
}

/// What the ledger holds of a group. One that is not in it yet is wanted, and nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// What is wanted.
    pub intent: Intent,
    /// Watched, not touched.
    pub frozen: bool,
    /// Grows by one with each owner.
    pub epoch: u64,
    /// The index of the last decision about it.
    pub changed: Index,
    /// The index of the last order of an operator about it.
    pub ordered: Index,
    /// Who may run it.
    pub owner: Option<HostId>,
    /// Its owner is to stop it and give it back.
    pub recalled: Option<Recall>,
    /// The target that it shall go to next, if any in particular.
    pub wish: Option<HostId>,
    /// The target before, but for one on which it failed; of a VM that is its owner.
    pub last: Option<HostId>,
    /// The targets on which it could not be kept up lately.
    pub failed_on: Vec<HostId>,
    /// Why nothing more is tried, if so.
    pub given_up: Option<String>,
    /// What it needs of a host, as was known when it was last given to one.
    pub need: Need,
    /// Its memory is going to another host.
    pub moving: Option<Moving>,
    /// Its memory has come to its owner, who takes it over. Only the end of a move sets it: whatever else gives a group to a host
    /// gives it none of its memory.
    pub handover: Option<Handover>,
    /// A file of saved memory that may be left, by the index of the beginning of its move. It counts no more, unless `moving` or
    /// `handover` is that move.
    pub left: Option<Index>,
    /// The host that stopped it because it was shut down, and for which it is kept.
    pub kept: Option<HostId>,
}

/// A move with memory that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The index of its beginning, which names it.
    pub begun: Index,
    /// How the memory goes.
    pub carry: Carry,
    /// Where to.
    pub to: HostId,
    /// The life of that host when it began.
    pub incarnation: Incarnation,
    /// Why.
    pub why: RecallReason,
}

/// Memory that has left one host and is to be taken over by the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The index of the beginning of the move that brought it.
    pub begun: Index,
    /// How it came.
    pub carry: Carry,
    /// How long the VM had stood still when it was handed over, in milliseconds.
    pub still_ms: u32,
}

/// Why and where to a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Why.
    pub why: RecallReason,
    /// Where to, if anywhere in particular.
    pub to: Option<HostId>,
}

/// A group that nothing was decided about: wanted, and nobody's.
static FREE: GroupRecord = GroupRecord {
    intent: Intent::Online,
    frozen: false,
    epoch: 0,
    changed: 0,
    ordered: 0,
    owner: None,
    recalled: None,
    wish: None,
    last: None,
    failed_on: Vec::new(),
    given_up: None,
    need: Need { memory_mib: 0, cpus: 0 },
    moving: None,
    handover: None,
    left: None,
    kept: None,
};

impl Default for GroupRecord {
    fn default() -> Self {
        FREE.clone()
    }
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It holds.
    Done,
    /// It no longer held, for this reason, and changed nothing.
    Passed(&'static str),
}

impl Ledger {
    /// What is known of a group.
    pub fn group(&self, name: &str) -> &GroupRecord {
        self.groups.get(name).unwrap_or(&FREE)
    }

    /// Every group that something was decided about, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&String, &GroupRecord)> {
        self.groups.iter()
    }

    /// What is known of a host.
    pub fn host(&self, host: HostId) -> Option<&HostRecord> {
        self.hosts.get(&host)
    }

    /// Every host that something was decided about.
    pub fn hosts(&self) -> impl Iterator<Item = (HostId, &HostRecord)> {
        self.hosts.iter().map(|(id, record)| (*id, record))
    }

    /// A host's standing; a host that was never seen is out.
    pub fn standing(&self, host: HostId) -> Standing {
        self.hosts.get(&host).map_or(Standing::Out, |record| record.standing)
    }

    /// Whether this life of this host is in the cluster.
    pub fn admits(&self, host: HostId, incarnation: Incarnation) -> bool {
        matches!(self.standing(host), Standing::In(member) if member.incarnation == incarnation)
    }

    /// The ledger of a snapshot; none if it cannot be read. One of version 1 ends before what came with version 2.
    pub fn from_snapshot(bytes: &[u8]) -> Option<Self> {
        let read = postcard::take_from_bytes(bytes);
        let ((hosts, groups, asked, arming), rest) = read.ok()?;
        let apps = if rest.is_empty() { Apps::default() } else { postcard::from_bytes(rest).ok()? };
        Some(Self { hosts, groups, asked, arming, apps })
    }

    /// The VM's group in which an application runs, if it runs in one.
    pub fn inside(&self, group: &str) -> Option<&str> {
        self.apps.inside.get(group).map(String::as_str)
    }

    /// The applications that run in the VM of a group.
    pub fn apps_in<'a>(&'a self, vm: &'a str) -> impl Iterator<Item = &'a str> {
        self.apps.inside.iter().filter(move |(_, inside)| *inside == vm).map(|(app, _)| app.as_str())
    }

    /// Where a group is that somebody owns: inside a VM, or on its owner.
    pub fn target(&self, group: &str) -> Option<HostId> {
        let owner = self.group(group).owner?;
        Some(self.inside(group).map_or(owner, HostId::of_vm))
    }

    /// The new target of a group that is made ready.
    pub fn preparing(&self, group: &str) -> Option<Preparing> {
        self.apps.preparing.get(group).copied()
    }

    /// The groups that a host owns, by name.
    pub fn owned(&self, host: HostId) -> &BTreeSet<String> {
        self.groups.owned(host)
    }

    /// The hosts that own groups, and which.
    pub fn owners(&self) -> impl Iterator<Item = (HostId, &Row)> {
        self.groups.owners()
    }

    /// The groups that something was decided about and that nobody owns, by name.
    pub const fn free_groups(&self) -> &BTreeSet<String> {
        self.groups.free()
    }

    /// Whether something was decided about a group.
    pub fn knows(&self, group: &str) -> bool {
        self.groups.get(group).is_some()
    }

    /// Takes in the entry at `index`. The same on every host.
    pub fn apply(&mut self, index: Index, entry: &Entry) -> Effect {
        if let Some(asked) = entry.asked {
            if self.asked.get(&asked.host).is_some_and(|newest| *newest >= asked) {
                return Effect::Passed("it was asked for before");
            }
            self.asked.insert(asked.host, asked);
        }
        if self.is_disarmed() && arms::waits_for_arming(&entry.decision) {
            return Effect::Passed("the cluster is disarmed, until `roost arm`");
        }
        match &entry.decision {
            Decision::Admit { host, name, incarnation, machine, proof } => {
                let member = Member { incarnation: *incarnation, machine: *machine, proof: *proof };
                self.admit(index, *host, name, member)
            }
            Decision::Evict { host, incarnation } => self.evict(index, *host, *incarnation),
            Decision::Fenced { host, incarnation, by } => self.fenced(index, *host, *incarnation, *by),
            Decision::Leave { host, incarnation } => self.leave(index, *host, *incarnation),
            Decision::Mode { host, mode, .. } => self.mode(index, *host, *mode),
            Decision::Assign { group, epoch, to, incarnation, need } => {
                self.assign(index, group, *epoch, (*to, *incarnation), *need)
            }
            Decision::AssignInside { group, epoch, to, incarnation, inside, inside_epoch } => {
                self.assign_inside(index, group, *epoch, (*to, *incarnation), (inside, *inside_epoch))
            }
            Decision::Prepare { group, epoch, to, why, .. } => self.prepare(index, group, *epoch, *to, *why),
            Decision::Recall { group, epoch, to, why } => {
                self.recall(index, group, *epoch, Recall { why: *why, to: *to })
            }
            Decision::Release { group, epoch, changed } => self.release(index, group, *epoch, *changed),
            Decision::Order { group, order, .. } => self.order(index, group, *order),
            Decision::GiveUp { group, epoch, reason } => self.give_up(index, group, *epoch, reason),
            Decision::Forgive { group, epoch } => self.forgive(index, group, *epoch),
            Decision::MoveBegin { group, epoch, to, incarnation, carry, why } => {
                let moving =
                    Moving { begun: index, carry: *carry, to: *to, incarnation: *incarnation, why: *why };
                self.move_begin(index, group, *epoch, moving)
            }
            Decision::MoveEnd { group, epoch, begun, outcome } => {
                self.move_end(index, group, *epoch, *begun, outcome)
            }
            Decision::Arm { arms, by } => self.arm(index, *arms, by),
            Decision::Renew { host, incarnation, proof, armed } => {
                self.renew(index, *host, *incarnation, *proof, *armed)
            }
        }
    }

    fn admit(&mut self, index: Index, host: HostId, name: &str, mut member: Member) -> Effect {
        if self.is_disarmed() {
            member.proof = Proof::None; // it lives without lease and watchdog from here on
        }
        let before = self.hosts.get(&host);
        let mode = before.map_or(HostMode::Active, |record| record.mode);
        if before.is_some_and(|record| record.newest >= member.incarnation.start) {
            return Effect::Passed("that life, or a later one, was in the cluster");
        }
        match before.map_or(Standing::Out, |record| record.standing) {
            Standing::Out => {}
            Standing::Evicted(_) => return Effect::Passed("it was evicted, and may still run something"),
            Standing::In(before) if before.machine != member.machine => {
                return Effect::Passed("another machine of that name is in the cluster");
            }
            Standing::In(before) if before.incarnation.boot != member.incarnation.boot => {
                self.free_all(index, host); // the machine was booted since, so nothing of it runs
            }
            Standing::In(_) => {}
        }
        let (name, newest) = (name.to_owned(), member.incarnation.start);
        let record = HostRecord { name, standing: Standing::In(member), mode, newest, changed: index };
        self.hosts.insert(host, record);
        Effect::Done
    }

    fn evict(&mut self, index: Index, host: HostId, incarnation: Incarnation) -> Effect {
        let Some(record) = self.hosts.get_mut(&host) else {
            return Effect::Passed("it never was in the cluster");
        };
        match record.standing {
            Standing::In(member) if member.incarnation == incarnation => {
                record.standing = Standing::Evicted(member);
                record.changed = index;
                Effect::Done
            }
            _ => Effect::Passed("that life of it is not in the cluster"),
        }
    }

    fn fenced(&mut self, index: Index, host: HostId, incarnation: Incarnation, by: FencedBy) -> Effect {
        let Some(record) = self.hosts.get_mut(&host) else {
            if by == FencedBy::Operator {
                let record = HostRecord {
                    name: String::new(),
                    standing: Standing::Out,
                    mode: HostMode::Active,
                    newest: 0,
                    changed: index,
                };
                self.hosts.insert(host, record); // a host that was never seen: an operator says that it runs nothing
                return Effect::Done;
            }
            return Effect::Passed("it never was in the cluster");
        };
        match record.standing {
            Standing::Evicted(member) if by == FencedBy::Time && member.proof == Proof::None => {
                Effect::Passed("no time that passes proves anything of it")
            }
            Standing::Evicted(member) if member.incarnation == incarnation => {
                record.standing = Standing::Out;
                record.changed = index;
                self.free_all(index, host);
                Effect::Done
            }
            _ => Effect::Passed("that life of it is not evicted"),
        }
    }

    fn leave(&mut self, index: Index, host: HostId, incarnation: Incarnation) -> Effect {
        if !self.admits(host, incarnation) {
            return Effect::Passed("that life of it is not in the cluster");
        }
        if !self.owned(host).is_empty() {
            return Effect::Passed("it still owns groups");
        }
        let record = self.hosts.get_mut(&host).expect("it is admitted");
        record.standing = Standing::Out;
        record.changed = index;
        Effect::Done
    }

    fn mode(&mut self, index: Index, host: HostId, mode: HostMode) -> Effect {
        let Some(record) = self.hosts.get_mut(&host) else {
            return Effect::Passed("it never was in the cluster");
        };
        if record.mode == mode {
            return Effect::Passed("it is so already");
        }
        record.mode = mode;
        record.changed = index;
        Effect::Done
    }

    /// Everything that a host owned is nobody's.
    fn free_all(&mut self, index: Index, host: HostId) {
        for name in self.owned(host).clone() {
            self.free(index, &name);
        }
    }

    /// A group is nobody's from here on, and what ran inside it neither: it is off.
    fn free(&mut self, index: Index, name: &str) {
        let Some(target) = self.target(name) else { return };
        let Some(mut record) = self.groups.get_mut(name) else { return };
        record.owner = None;
        let recalled = record.recalled.take();
        if recalled.is_none_or(|recall| recall.why != RecallReason::Failed) {
            record.last = Some(target);
        }
        record.wish = recalled.and_then(|recall| recall.to);
        record.moving = None;
        record.handover = None;
        record.changed = index;
        drop(record);
        self.apps.inside.remove(name);
        self.apps.preparing.remove(name);
        let inside: Vec<String> = self.apps_in(name).map(str::to_owned).collect();
        inside.iter().for_each(|app| self.free(index, app));
    }

    fn assign(
        &mut self,
        index: Index,
        group: &str,
        epoch: u64,
        (to, life): (HostId, Incarnation),
        need: Need,
    ) -> Effect {
        if self.host(to).is_none_or(|host| host.mode != HostMode::Active) {
            return Effect::Passed("that host takes nothing new");
        }
        self.give(index, group, epoch, (to, life), need)
    }

    /// A group that is free becomes a host's.
    fn give(
        &mut self,
        index: Index,
        group: &str,
        epoch: u64,
        (to, life): (HostId, Incarnation),
        need: Need,
    ) -> Effect {
        if !self.admits(to, life) {
            return Effect::Passed("that host cannot take it");
        }
        let mut record = self.groups.entry(group);
        if record.owner.is_some() || record.epoch != epoch {
            return Effect::Passed("it is not free in that epoch");
        }
        // What was never owned may run since before there was a cluster: its owner shuts it down, if that is wanted.
        let wanted = record.intent == Intent::Online || record.epoch == 0;
        if !wanted || record.frozen || record.given_up.is_some() {
            return Effect::Passed("it is not to be started");
        }
        let Some(next) = record.epoch.checked_add(1) else { return Effect::Passed("there is no next epoch") };
        record.owner = Some(to);
        record.epoch = next;
        record.need = need;
        record.wish = None;
        record.moving = None;
        record.handover = None;
        record.kept = None;
        record.changed = index;
        Effect::Done
    }

    fn assign_inside(
        &mut self,
        index: Index,
        group: &str,
        epoch: u64,
        (to, life): (HostId, Incarnation),
        (inside, inside_epoch): (&str, u64),
    ) -> Effect {
        let vm = self.group(inside);
        let stays = vm.owner == Some(to)
            && vm.epoch == inside_epoch
            && vm.recalled.is_none()
            && vm.moving.is_none()
            && vm.handover.is_none();
        if !stays || group == inside || self.inside(inside).is_some() {
            return Effect::Passed("the VM is not that host's, or is about to go");
        }
        // The VM is on that host already, whatever else is to be there.
        let effect = self.give(index, group, epoch, (to, life), Need::default());
        if effect == Effect::Done {
            self.apps.inside.insert(group.to_owned(), inside.to_owned());
        }
        effect
    }

    fn prepare(
        &mut self,
        index: Index,
        group: &str,
        epoch: u64,
        to: Option<HostId>,
        why: RecallReason,
    ) -> Effect {
        let target = self.target(group);
        let Some(mut record) = self.groups.get_mut(group) else { return Effect::Passed("it is nobody's") };
        if record.owner.is_none() || record.epoch != epoch {
            return Effect::Passed("it is not owned in that epoch");
        }
        match to {
            Some(_) if record.recalled.is_some() => return Effect::Passed("it is recalled already"),
            Some(_) if record.frozen || record.intent == Intent::Offline => {
                return Effect::Passed("it is frozen, or wanted offline");
            }
            Some(to) if target == Some(to) => return Effect::Passed("it is there already"),
            Some(_) if self.apps.preparing.contains_key(group) => {
                return Effect::Passed("it is being moved already");
            }
            Some(to) => {
                let preparing = Preparing { to, why, begun: index };
                self.apps.preparing.insert(group.to_owned(), preparing);
            }
            None if self.apps.preparing.remove(group).is_none() => {
                return Effect::Passed("it is not about to be moved");
            }
            None => {}
        }
        record.changed = index;
        Effect::Done
    }

    fn recall(&mut self, index: Index, group: &str, epoch: u64, recall: Recall) -> Effect {
        let target = self.target(group);
        let Some(mut record) = self.groups.get_mut(group) else { return Effect::Passed("it is nobody's") };
        let Some(target) = target.filter(|_| record.epoch == epoch) else {
            return Effect::Passed("it is not owned in that epoch");
        };
        if record.recalled.is_some() {
            return Effect::Passed("it is recalled already");
        }
        if record.frozen {
            return Effect::Passed("it is frozen");
        }
        if record.moving.is_some() || record.handover.is_some() {
            return Effect::Passed("it is being moved");
        }
        if recall.why == RecallReason::Failed && !record.failed_on.contains(&target) {
            if record.failed_on.len() == MAX_FAILED_ON {
                record.failed_on.remove(0);
            }
            record.failed_on.push(target);
        }
        record.recalled = Some(recall);
        record.changed = index;
        self.apps.preparing.remove(group);
        Effect::Done
    }

    fn release(&mut self, index: Index, group: &str, epoch: u64, changed: Index) -> Effect {
        let Some(mut record) = self.groups.get_mut(group) else { return Effect::Passed("it is nobody's") };
        if record.owner.is_none() || record.epoch != epoch || record.changed != changed {
            return Effect::Passed("something was decided about it since");
        }
        if record.moving.is_some() || record.handover.is_some() {
            return Effect::Passed("it is being moved");
        }
        let kept = record.recalled.is_some_and(|recall| recall.why == RecallReason::Kept);
        record.kept = record.owner.filter(|_| kept);
        drop(record);
        self.free(index, group);
        Effect::Done
    }

    fn move_begin(&mut self, index: Index, group: &str, epoch: u64, moving: Moving) -> Effect {
        let active = self.host(moving.to).is_some_and(|host| host.mode == HostMode::Active);
        if !self.admits(moving.to, moving.incarnation) || !active {
            return Effect::Passed("that host cannot take it");
        }
        let Some(record) = self.groups.get(group) else { return Effect::Passed("it is nobody's") };
        let Some(owner) = record.owner.filter(|_| record.epoch == epoch) else {
            return Effect::Passed("it is not owned in that epoch");
        };
        if owner == moving.to {
            return Effect::Passed("it is there already");
        }
        if !matches!(self.standing(owner), Standing::In(_)) {
            return Effect::Passed("its host is not in the cluster");
        }
        if record.recalled.is_some() {
            return Effect::Passed("it is recalled already");
        }
        if record.moving.is_some() || record.handover.is_some() {
            return Effect::Passed("it is being moved already");
        }
        if record.frozen || record.intent == Intent::Offline {
            return Effect::Passed("it is frozen, or wanted offline");
        }
        let mut record = self.groups.entry(group);
        record.moving = Some(moving);
        if moving.carry == Carry::Suspend {
            record.left = Some(index);
        }
        record.changed = index;
        Effect::Done
    }

    fn move_end(
        &mut self,
        index: Index,
        group: &str,
        epoch: u64,
        begun: Index,
        outcome: &MoveOutcome,
    ) -> Effect {
        let record = self.groups.get(group);
        let Some((record, owner)) = record.and_then(|record| Some((record, record.owner?))) else {
            return Effect::Passed("it is nobody's");
        };
        if record.epoch != epoch {
            return Effect::Passed("it is not owned in that epoch");
        }
        let moving = record.moving.filter(|moving| moving.begun == begun);
        let handover = record.handover.filter(|handover| handover.begun == begun);
        let takes = match (outcome, moving) {
            (MoveOutcome::Over { still_ms }, Some(moving)) => {
                Some((moving.to, Handover { begun, carry: moving.carry, still_ms: *still_ms }))
            }
            (MoveOutcome::Back { still_ms }, Some(moving)) if moving.carry == Carry::Suspend => {
                Some((owner, Handover { begun, carry: moving.carry, still_ms: *still_ms }))
            }
            (MoveOutcome::Failed { .. }, Some(_)) => None,
            (MoveOutcome::Taken | MoveOutcome::Lost { .. }, _) if handover.is_some() => None,
            _ => return Effect::Passed("that move is over already"),
        };
        // Whose machine was booted since has none of the memory that came.
        let boot = moving.map(|moving| moving.incarnation.boot);
        if let Some((to, _)) = takes {
            let both = [Some(owner), Some(to)].into_iter().flatten();
            if both.into_iter().any(|host| !matches!(self.standing(host), Standing::In(_))) {
                return Effect::Passed("one of its hosts is not in the cluster");
            }
            let booted = to != owner
                && matches!(self.standing(to), Standing::In(member) if Some(member.incarnation.boot) != boot);
            if booted {
                return Effect::Passed("the host that it goes to was booted since");
            }
        }
        let mut record = self.groups.entry(group);
        if let Some((to, handover)) = takes {
            let Some(next) = record.epoch.checked_add(1) else {
                return Effect::Passed("there is no next epoch");
            };
            if to != owner {
                record.last = Some(owner);
            }
            record.owner = Some(to);
            record.epoch = next;
            record.handover = Some(handover);
        } else {
            record.handover = None;
        }
        if *outcome == MoveOutcome::Taken {
            record.left = None; // it is taken away before what it holds may run
        }
        record.moving = None;
        record.changed = index;
        drop(record);
        if let Some((to, _)) = takes.filter(|(to, _)| *to != owner) {
            self.take_along(index, group, to);
        }
        Effect::Done
    }

    /// What runs inside a VM goes with it.
    fn take_along(&mut self, index: Index, vm: &str, to: HostId) {
        let inside: Vec<String> = self.apps_in(vm).map(str::to_owned).collect();
        for app in inside {
            let mut record = self.groups.entry(&app);
            record.owner = Some(to);
            record.epoch = record.epoch.saturating_add(1); // a number that no cluster lives to see
            record.changed = index;
        }
    }

    fn order(&mut self, index: Index, group: &str, order: GroupOrder) -> Effect {
        let mut record = self.groups.entry(group);
        match order {
            GroupOrder::Intent(intent) => record.intent = intent,
            GroupOrder::Freeze => record.frozen = true,
            GroupOrder::Thaw => record.frozen = false,
        }
        if order != GroupOrder::Freeze {
            record.given_up = None;
            record.failed_on.clear();
            record.kept = None;
        }
        self.apps.preparing.remove(group);
        record.ordered = index;
        record.changed = index;
        Effect::Done
    }

    fn give_up(&mut self, index: Index, group: &str, epoch: u64, reason: &str) -> Effect {
        let mut record = self.groups.entry(group);
        if record.epoch != epoch || record.intent == Intent::Offline || record.given_up.is_some() {
            return Effect::Passed("it is not as it was");
        }
        record.given_up = Some(reason.to_owned());
        record.changed = index;
        Effect::Done
    }

    fn forgive(&mut self, index: Index, group: &str, epoch: u64) -> Effect {
        let Some(mut record) = self.groups.get_mut(group) else {
            return Effect::Passed("there is nothing to forgive");
        };
        if record.epoch != epoch || record.failed_on.is_empty() {
            return Effect::Passed("there is nothing to forgive");
        }
        record.failed_on.clear();
        record.changed = index;
        Effect::Done
    }
}
