//! Showing: the cluster in an operator's words.

use super::answers::overall;
use super::leader::Leader;
use super::ledger::{HostRecord, Standing};
use super::{Engine, Stand};
use crate::config::{Group, OnQuorumLoss, Role, Standby};
use roost_proto::cluster::decision::{Arms, HostMode, Proof, RecallReason};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{GroupState, HostId, LedgerId};
use roost_proto::control::{
    Condition, ControllerStatus, GroupStatus, HostState, HostStatus, Intent, Recoveries, Status,
};
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// Groups that the file does not name are shown up to so many: of more, the first tell enough.
const UNKNOWN_SHOWN: usize = 5;

impl Engine {
    /// The state of everything as this host sees it, at `now`, which is `now_ms` of Unix time.
    pub fn status(&self, now: Instant, now_ms: u64) -> Status {
        let mut status = self.keeper.status(now, now_ms);
        let known = self.config.groups.iter();
        let special: BTreeMap<&str, &Group> = known
            .filter(|group| group.app.is_some() || group.standby == Standby::Cold)
            .map(|group| (group.name.as_str(), group))
            .collect();
        for group in &mut status.groups {
            group.owner = self.ledger.group(&group.name).owner.map(|host| self.name(host));
            group.moving = self.moving_status(&group.name);
            let owner = self.ledger.group(&group.name).owner;
            match owner.map(|owner| self.ledger.standing(owner)) {
                None if group.condition == Condition::Elsewhere => {
                    let cold = special.get(group.name.as_str()).is_some_and(|config| config.app.is_none());
                    (group.condition, group.reason) = self.free(&group.name, cold);
                }
                Some(Standing::Evicted(_)) if group.condition == Condition::Elsewhere => {
                    group.condition = Condition::Waiting;
                    group.reason =
                        "blocked: its host was evicted, and is not known to run nothing".to_owned();
                }
                _ => {}
            }
            if let Some(config) = special.get(group.name.as_str()) {
                self.show_target(config, group);
            }
        }
        let hosts = self.config.hosts.iter();
        status.hosts = hosts.map(|host| self.host_status(now, &host.name)).collect();
        if let Err(error) = &self.disk {
            status.warnings.push(format!("the ledger cannot be written: {error}; this host does not vote"));
        }
        status.warnings.extend(self.quorum_warning());
        self.show_arming(&mut status);
        status.warnings.extend(self.unknown_groups().take(UNKNOWN_SHOWN).map(|group| {
            format!(
                "group '{group}' is this host's, and its configuration file does not name it here any more: its VM is not watched, and \
                 without a lease the watchdog resets this host; put the group back, or the file in order on every host"
            )
        }));
        status.health = overall(&status);
        status
    }

    /// Where an application is and is going, and whether a cold standby is needed.
    fn show_target(&self, config: &Group, group: &mut GroupStatus) {
        let Some(app) = &config.app else {
            let off = group.condition == Condition::Offline && group.intent == Intent::Online;
            group.standby = off && config.standby == Standby::Cold;
            return;
        };
        let name = |target| self.target_name(config, target);
        group.target = self.ledger.target(&config.name).map(name);
        group.preparing = self.ledger.preparing(&config.name).map(|preparing| name(preparing.to));
        group.targets = app.targets.iter().map(ToString::to_string).collect();
        group.home = group.targets.first().cloned();
    }

    /// A target's name for people: a host's, or of an application `vm:` and the group of the VM.
    pub(super) fn target_name(&self, group: &Group, target: HostId) -> String {
        let mut targets = group.app.iter().flat_map(|app| &app.targets);
        let known = targets.find(|known| known.id() == target);
        known.map_or_else(|| self.name(target), ToString::to_string)
    }

    /// The state of every group of the configuration, as far as this host knows: its own, and if it leads what the others
    /// reported.
    pub fn cluster_status(&self, now: Instant, now_ms: u64) -> Status {
        let mut status = self.status(now, now_ms);
        let said = self.quorum_warning(); // it is told at length here
        status.warnings.retain(|warning| Some(warning) != said.as_ref());
        let mut shown: BTreeMap<String, GroupStatus> = core::mem::take(&mut status.groups)
            .into_iter()
            .map(|group| (group.name.clone(), group))
            .collect();
        for group in &self.config.groups {
            let record = self.ledger.group(&group.name);
            let own = record.owner == Some(self.me);
            if own && shown.contains_key(&group.name) {
                continue;
            }
            let (condition, reason) = self.condition_of(now, group);
            let known = shown.remove(&group.name);
            // A VM that runs here without right is a danger that only this host sees.
            if let Some(known) = known.filter(|known| known.condition == Condition::Degraded) {
                shown.insert(group.name.clone(), known);
                continue;
            }
            shown.insert(group.name.clone(), self.seen_from_afar(group, condition, reason));
        }
        status.groups = shown.into_values().collect();
        if self.whom_to_ask() == Some(self.me) {
            status.leader = Some(self.name(self.me));
        }
        if self.config.hosts.len() > 1 {
            status.quorum = Some(self.quorum(now));
        }
        status.health = overall(&status);
        status
    }

    /// A group of which only the leader's view, or the ledger's, is known.
    fn seen_from_afar(&self, group: &Group, condition: Condition, reason: String) -> GroupStatus {
        let record = self.ledger.group(&group.name);
        let mut status = GroupStatus {
            name: group.name.clone(),
            vm: group.vm.clone(),
            owner: record.owner.map(|host| self.name(host)),
            intent: record.intent,
            frozen: record.frozen,
            condition,
            reason,
            since_ms: 0,
            moving: self.moving_status(&group.name),
            target: None,
            home: None,
            targets: Vec::new(),
            preparing: None,
            standby: false,
            controller: ControllerStatus::Unknown,
            apps: Vec::new(),
            recoveries: Recoveries::default(),
            dangers: Vec::new(),
        };
        self.show_target(group, &mut status);
        status
    }

    /// The condition of a group, by what its owner reported, if this host leads, and by the ledger.
    pub(super) fn condition_of(&self, now: Instant, config: &Group) -> (Condition, String) {
        let group = config.name.as_str();
        let record = self.ledger.group(group);
        let Some(owner) = record.owner else {
            return self.free(group, config.standby == Standby::Cold);
        };
        let name = self.name(owner);
        if matches!(self.ledger.standing(owner), Standing::Evicted(_)) {
            let reason = "blocked: its host was evicted, and is not known to run nothing".to_owned();
            return (Condition::Waiting, reason);
        }
        if owner != self.me && self.is_silent_here(now, owner) {
            return (Condition::Unknown, format!("'{name}' is not heard"));
        }
        let reports =
            self.leader.as_ref().filter(|_| self.whom_to_ask() == Some(self.me)).map(Leader::reports);
        let Some(reports) = reports else { return (Condition::Elsewhere, String::new()) };
        let Some(told) = reports.group(owner, group) else {
            return (Condition::Unknown, format!("'{name}' has not reported yet"));
        };
        let wanted = record.intent == Intent::Online && record.recalled.is_none();
        let going = match record.recalled.map(|recall| recall.why) {
            Some(RecallReason::Unneeded) => "no application needs it",
            Some(_) => "it is to go elsewhere",
            None => "",
        };
        if let Some(told) = self.app_condition(config, &told.state) {
            return told;
        }
        match &told.state {
            GroupState::Unknown => (Condition::Unknown, format!("libvirt on '{name}' does not tell")),
            GroupState::Down if record.frozen => (Condition::LeftAlone, "off, and frozen".to_owned()),
            GroupState::Down if wanted => (Condition::Starting, String::new()),
            GroupState::Down if record.recalled.is_some() => (Condition::Stopping, going.to_owned()),
            GroupState::Down => (Condition::Offline, String::new()),
            GroupState::Coming if wanted => {
                (Condition::Starting, "on its way up, or being recovered".to_owned())
            }
            GroupState::Well if wanted => (Condition::Online, String::new()),
            GroupState::Unwell if wanted => (Condition::Degraded, String::new()),
            GroupState::Coming | GroupState::Well | GroupState::Unwell if record.frozen => {
                (Condition::LeftAlone, "frozen while running".to_owned())
            }
            GroupState::Coming | GroupState::Well | GroupState::Unwell => {
                (Condition::Stopping, going.to_owned())
            }
            GroupState::Suspended => (Condition::Suspended, "its host has no lease".to_owned()),
            GroupState::GivenUp { reason } => (Condition::GivenUp, reason.clone()),
            GroupState::Undefined => {
                (Condition::GivenUp, format!("libvirt on '{name}' does not know its VM"))
            }
            GroupState::Stray => (Condition::Degraded, "its VM runs without right".to_owned()),
            GroupState::Gone { .. } => {
                (Condition::Starting, "its memory is on its way to another host".to_owned())
            }
            GroupState::Taken | GroupState::Stayed { .. } => (Condition::Online, String::new()),
            GroupState::NotTaken { reason } => (Condition::Recovering, reason.clone()),
            GroupState::Ready | GroupState::NotReady { .. } => (Condition::Offline, String::new()),
        }
    }

    /// What is said of applications in other words than of VMs.
    fn app_condition(&self, group: &Group, state: &GroupState) -> Option<(Condition, String)> {
        let app = group.app.as_ref()?;
        let target = self.ledger.target(&group.name).map(|target| self.target_name(group, target))?;
        match state {
            GroupState::Unknown => {
                Some((Condition::Unknown, format!("the roost-guest of '{target}' does not tell")))
            }
            GroupState::Undefined => {
                let text = format!(
                    "the roost-guest of '{target}' has no group '{}' with 'managed = true'",
                    app.name
                );
                Some((Condition::GivenUp, text))
            }
            GroupState::Stray => Some((Condition::Degraded, format!("it runs on '{target}' without right"))),
            _ => None,
        }
    }

    /// Whether the cluster acts, and who does not know.
    fn show_arming(&self, status: &mut Status) {
        let arming = self.ledger.arming();
        status.unaware = self.unaware(arming.changed);
        if self.ledger.is_disarmed() {
            status.warnings.push(format!(
                "the cluster is disarmed ({}): nothing is started, stopped, moved or fenced, whatever happens, until `roost arm`",
                arming.by
            ));
            status.disarmed = Some(arming.by.clone());
        } else if self.is_hands_off() {
            let text = "this host lives as if the cluster were disarmed, until it hears what was decided since it was: what runs \
                        here runs on, and nothing is done about it";
            status.warnings.push(text.to_owned());
        }
    }

    /// Hosts in the cluster that this one hears, or should, and that have not applied what was decided at `index`.
    fn unaware(&self, index: Index) -> Vec<String> {
        let hears = |id: HostId| self.voters.contains_key(&self.me) || self.voters.contains_key(&id);
        let members = self.ledger.hosts().filter(|(id, record)| {
            let other = *id != self.me && hears(*id) && matches!(record.standing, Standing::In(_));
            other && self.member.peer(*id).is_none_or(|peer| peer.applied < index)
        });
        members.map(|(id, _)| self.name(id)).collect()
    }

    /// The condition of a group that nobody owns, and why it is so. A cold standby that waits for nothing is not needed.
    fn free(&self, group: &str, cold: bool) -> (Condition, String) {
        let record = self.ledger.group(group);
        let waits = self.leader.as_ref().and_then(|leader| leader.waiting(group));
        match (record.intent, &record.given_up) {
            (Intent::Offline, _) => (Condition::Offline, String::new()),
            (Intent::Online, Some(reason)) => (Condition::GivenUp, reason.clone()),
            (Intent::Online, None) if record.frozen => (Condition::LeftAlone, "off, and frozen".to_owned()),
            (Intent::Online, None) if self.ledger.is_disarmed() => {
                (Condition::Waiting, "the cluster is disarmed".to_owned())
            }
            (Intent::Online, None) if waits.is_none() && cold => (Condition::Offline, String::new()),
            (Intent::Online, None) if waits.is_none() && record.kept.is_some() => {
                let host = record.kept.map(|host| self.name(host)).unwrap_or_default();
                (Condition::Waiting, format!("kept for '{host}', which was shut down"))
            }
            (Intent::Online, None) => (Condition::Waiting, waits.unwrap_or_default().to_owned()),
        }
    }

    pub(super) fn quorum_warning(&self) -> Option<String> {
        if self.raft.leader().is_some() {
            return None;
        }
        let text = match (self.raft.ledger(), self.stand) {
            (LedgerId::NONE, _) => {
                "the cluster is not founded yet: all voters must be up, with the same file, once".to_owned()
            }
            (_, Stand::Waiting | Stand::Stranded | Stand::Admitted | Stand::Over) => {
                "no host leads: no majority of the voters hears each other, and nothing is decided".to_owned()
            }
        };
        Some(text)
    }

    /// Hosts whose configuration file is another than this host's, as far as they are heard.
    pub fn other_files(&self) -> Vec<String> {
        let differs = |name: &&String| {
            let hello = self.member.peer(HostId::of(name)).and_then(|peer| peer.hello.as_ref());
            hello.is_some_and(|hello| hello.config != self.config.number)
        };
        self.config.hosts.iter().map(|host| &host.name).filter(differs).cloned().collect()
    }

    pub(super) fn host_status(&self, now: Instant, name: &str) -> HostStatus {
        let id = HostId::of(name);
        let record = self.ledger.host(id);
        let state = self.host_state(now, id, record);
        let silence = self.member.silence(now, id);
        let mut reasons = Vec::new();
        match state {
            HostState::Silent => reasons.push(format!("not heard for {} s", silence.age.as_secs())),
            HostState::Blocked => reasons.push(
                "evicted, and not known to be off: its groups are blocked; if it is off, `roost fence HOST --confirm`"
                    .replace("HOST", name),
            ),
            HostState::Up | HostState::Out | HostState::Maintenance | HostState::Quarantined => {}
        }
        let hello = self.member.peer(id).and_then(|peer| peer.hello.as_ref());
        if hello.is_some_and(|hello| hello.config != self.config.number) {
            reasons.push("its configuration file differs".to_owned());
        }
        if self.is_unproven(record, name) {
            reasons.push("not seen under its watchdog since the cluster was armed".to_owned());
        }
        if self.config.hosts.iter().any(|host| host.name == name && host.role == Role::Witness) {
            reasons.push("witness".to_owned());
        }
        HostStatus {
            name: name.to_owned(),
            state,
            leads: self.raft.leader() == Some(id),
            votes: self.is_voter(id),
            reason: reasons.join("; "),
            groups: u32::try_from(self.ledger.owned(id).len()).unwrap_or(u32::MAX),
        }
    }

    fn host_state(&self, now: Instant, id: HostId, record: Option<&HostRecord>) -> HostState {
        let Some(record) = record else { return HostState::Out };
        match record.standing {
            Standing::Out => HostState::Out,
            Standing::Evicted(_) => HostState::Blocked,
            Standing::In(_) if id != self.me && self.is_silent_here(now, id) => HostState::Silent,
            Standing::In(_) => match record.mode {
                HostMode::Active => HostState::Up,
                HostMode::Maintenance => HostState::Maintenance,
                HostMode::Quarantined => HostState::Quarantined,
            },
        }
    }

    /// Whether a host has a watchdog, and its silence proves nothing since the cluster was disarmed under it.
    fn is_unproven(&self, record: Option<&HostRecord>, name: &str) -> bool {
        let arming = self.ledger.arming();
        let has = self.config.hosts.iter().any(|host| host.name == name && host.watchdog.is_some());
        let was_in = record.is_some_and(|record| match record.standing {
            Standing::In(member) | Standing::Evicted(member) => {
                member.proof == Proof::None && record.changed < arming.changed
            }
            Standing::Out => false,
        });
        arming.arms == Arms::Armed && has && was_in && self.on_quorum_loss != OnQuorumLoss::Keep
    }

    /// Whether a host votes: one that lost its disk, or a new machine of its name, does not before it was taken in anew.
    fn is_voter(&self, id: HostId) -> bool {
        let hello = self.member.peer(id).and_then(|peer| peer.hello.as_ref());
        let storage =
            if id == self.me { Some(self.raft.storage()) } else { hello.map(|hello| hello.storage) };
        self.voters.get(&id).is_some_and(|voter| storage.is_none_or(|storage| storage == *voter))
    }

    /// Whether this host should hear that one, and does not: who does not vote hears voters only, and who does not lead no machine
    /// that is watched, which speaks each second at most.
    pub(super) fn is_silent_here(&self, now: Instant, id: HostId) -> bool {
        if self.watched.contains(&id) {
            let age = self.member.silence(now, id).age;
            let machine = self.config.host_by_id(id).filter(|_| self.watches());
            return machine.is_some_and(|machine| age >= machine.silence / 2);
        }
        let hears = self.voters.contains_key(&self.me) || self.voters.contains_key(&id);
        hears && self.member.silence(now, id).age >= self.config.cluster.timing.suspect_after
    }
}
