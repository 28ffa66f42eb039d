//! What must hold, always: looked at after every step, from the world's truth and not from the engine's words.

use super::World;
use super::clock::Time;
use super::host::{Domain, Host};
use super::rights::Was;
use super::said;
use roost::config::{Apps, Config, Standby, Target};
use roost::engine::keeper::vm::{Order, Run, VmAction};
use roost::engine::ledger::{Ledger, Preparing, Standing};
use roost::engine::raft::{Record, Stored};
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::HostMode;
use roost_proto::cluster::raft::{Index, Term};
use roost_proto::control::Intent;
use std::collections::{BTreeMap, BTreeSet};

/// How many of the newest indexes are compared: hosts that are further apart are compared when they meet.
const COMPARED: usize = 4096;

/// What is remembered to check it.
#[derive(Debug)]
pub struct Check {
    /// What was violated, first.
    pub violation: Option<String>,
    /// Group by VM.
    groups: BTreeMap<String, String>,
    /// VM by group.
    vms: BTreeMap<String, String>,
    /// By VM, the guest's groups that count.
    apps: BTreeMap<String, Vec<String>>,
    /// Groups whose guests have managed groups.
    managed: BTreeSet<String>,
    /// Groups that are on only while an application needs them.
    cold: BTreeSet<String>,
    /// The ledger at each index, hashed.
    ledgers: BTreeMap<Index, u64>,
    /// The newest index that each host applied.
    applied: Vec<Index>,
    /// How hosts stood at the newest index.
    standing: BTreeMap<HostId, Standing>,
    newest: Index,
    /// The newest term that each host's disk was seen to have.
    pub terms: Vec<(Term, Option<HostId>)>,
    /// Where the log on each host's disk ends, with what was acknowledged.
    pub ends: Vec<Index>,
    /// Since when something of each host's own runs there without a lease, and could be stopped.
    pub unleased: Vec<Option<Time>>,
    /// How new each VM's disk is: it grows whenever some copy begins to run. Memory that is older must never run.
    disks: BTreeMap<String, u64>,
    /// Files whose memory ran, by their numbers.
    spent: BTreeSet<u64>,
    /// Groups that are kept for a host that was shut down, since when, and as of which order.
    kept: BTreeMap<String, (HostId, Time, Index)>,
    /// Hosts that keep their hands off since their last step: the cluster is disarmed.
    pub hands_off: Vec<bool>,
    /// When a host's file was changed last.
    pub file_changed: Option<Time>,
    /// From then on nothing may be started or stopped.
    pub calm_from: Option<Time>,
    /// When each VM ran where, for whoever asks: begun or ended.
    pub history: Vec<(Time, String, usize, bool)>,
    pub starts: u64,
    /// That counts for applications too.
    pub apps_calm: bool,
    /// Applications that their controllers stopped themselves, for their hosts were not heard.
    pub forgiven: BTreeSet<String>,
    /// When each host was seen without a lease last.
    pub leaseless: Vec<Option<Time>>,
    /// Since when each host has no lease, and has an application on the machine itself that it has not ordered offline.
    pub unordered: Vec<Option<Time>>,
    /// When each target said last that it is ready for an application.
    pub readied: BTreeMap<(String, HostId), Time>,
    /// New targets of applications that are made ready, as of which entry, and since when.
    pub preparing: BTreeMap<String, (Preparing, Time)>,
    /// Where each application was, by the newest ledger.
    pub was: BTreeMap<String, Was>,
    /// The world is played to be measured, and not to be checked: of many hosts each check costs more than what is measured.
    pub off: bool,
}

impl Check {
    pub fn new(config: &Config) -> Self {
        let groups = config.groups.iter().filter(|group| group.app.is_none());
        let managed =
            config.groups.iter().filter_map(|group| group.app.as_ref()).flat_map(|app| &app.targets);
        let cold = groups.clone().filter(|group| group.standby == Standby::Cold);
        Self {
            violation: None,
            groups: groups.clone().map(|g| (g.vm.clone(), g.name.clone())).collect(),
            vms: groups.clone().map(|g| (g.name.clone(), g.vm.clone())).collect(),
            apps: groups
                .filter_map(|g| match &g.apps {
                    Apps::Named(names) => Some((g.vm.clone(), names.clone())),
                    Apps::All => None,
                })
                .collect(),
            managed: managed
                .filter_map(|target| match target {
                    Target::Vm(name) => Some(name.clone()),
                    Target::Host(_) => None,
                })
                .collect(),
            cold: cold.map(|group| group.name.clone()).collect(),
            ledgers: BTreeMap::new(),
            applied: vec![0; config.hosts.len()],
            standing: BTreeMap::new(),
            newest: 0,
            terms: vec![(0, None); config.hosts.len()],
            ends: vec![0; config.hosts.len()],
            unleased: vec![None; config.hosts.len()],
            disks: BTreeMap::new(),
            spent: BTreeSet::new(),
            kept: BTreeMap::new(),
            hands_off: vec![false; config.hosts.len()],
            file_changed: None,
            calm_from: None,
            history: Vec::new(),
            starts: 0,
            apps_calm: false,
            forgiven: BTreeSet::new(),
            leaseless: vec![None; config.hosts.len()],
            unordered: vec![None; config.hosts.len()],
            readied: BTreeMap::new(),
            preparing: BTreeMap::new(),
            was: BTreeMap::new(),
            off: false,
        }
    }

    pub fn group_of(&self, vm: &str) -> Option<String> {
        self.groups.get(vm).cloned()
    }

    pub fn vm_of(&self, group: &str) -> Option<String> {
        self.vms.get(group).cloned()
    }

    /// Whether a VM's guest has a controller.
    pub fn has_controller(&self, vm: &str) -> bool {
        self.apps.contains_key(vm) || self.groups.get(vm).is_some_and(|group| self.managed.contains(group))
    }

    /// The groups of a VM's guest.
    pub fn apps_of(&self, vm: &str) -> Vec<String> {
        self.apps.get(vm).cloned().unwrap_or_default()
    }

    /// A daemon begins with what its disk holds.
    pub fn restarted(&mut self, host: usize, stored: &Stored) {
        let (term, voted_for) = self.terms[host];
        let forgot = stored.term < term
            || (stored.term == term && voted_for.is_some() && stored.voted_for != voted_for);
        if forgot {
            self.violation = Some(format!(
                "agreement: a voter forgot that it voted for {voted_for:?} in term {term}, and has {:?} in term {}",
                stored.voted_for, stored.term
            ));
        }
        self.applied[host] = 0;
        self.hands_off[host] = false;
        self.ends[host] = said::end_of(stored);
        self.unleased[host] = None;
    }

    /// A record is on a host's disk, acknowledged.
    pub fn wrote(&mut self, host: usize, record: &Record) {
        self.ends[host] = said::end_after(self.ends[host], record);
    }

    /// A host's disk is another one: it remembers nothing, and says so.
    pub fn disk_lost(&mut self, host: usize) {
        self.terms[host] = (0, None);
        self.ends[host] = 0;
    }

    /// A host's disk has this term and vote, acknowledged.
    pub fn voted(&mut self, host: usize, term: Term, voted_for: Option<HostId>) {
        self.terms[host] = (term, voted_for);
    }

    /// Whether a VM may neither be started nor stopped now. A cold standby may, while everything boots and its application's
    /// home was not heard yet.
    fn is_calm_for(&self, vm: &str, now: Time) -> bool {
        let cold = self.groups.get(vm).is_some_and(|group| self.cold.contains(group));
        self.calm_from.is_some_and(|from| now > from) && (self.apps_calm || !cold)
    }

    /// A VM was started; how new its disk is from now on.
    pub fn started(&mut self, vm: &str, now: Time) -> u64 {
        self.starts += 1;
        if self.is_calm_for(vm, now) {
            self.violation = Some(format!("no needless restart: {vm} was started, and nothing had failed"));
        }
        self.runs_on(vm)
    }

    /// A copy of a VM begins to run, or goes on while another stands still; how new its disk is from now on.
    pub fn runs_on(&mut self, vm: &str) -> u64 {
        let disk = self.disks.entry(vm.to_owned()).or_default();
        *disk += 1;
        *disk
    }
}

impl Check {
    /// A copy of a VM that stood still runs on: it must be the one that ran last, or its disks are newer than its memory.
    pub fn resumed(&mut self, host: usize, vm: &str, age: u64, file: Option<(u64, bool)>) -> u64 {
        let mut violated = |what: String| {
            self.violation.get_or_insert(what);
        };
        if self.disks.get(vm).is_some_and(|disk| *disk != age) {
            violated(format!("old memory: {vm} is resumed on host {}, and ran elsewhere since", host + 1));
        }
        if let Some((number, kept)) = file {
            if kept {
                violated(format!(
                    "old memory: {vm} runs on host {}, and the file of it is still there",
                    host + 1
                ));
            }
            if !self.spent.insert(number) {
                violated(format!(
                    "old memory: {vm} runs on host {} from a file for the second time",
                    host + 1
                ));
            }
        }
        self.runs_on(vm)
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl World {
    /// A daemon did something: what it applied must be what others applied.
    pub(super) fn check_host(&mut self, host: usize) {
        if self.check.off {
            return;
        }
        self.check.hands_off[host] = self.is_hands_off(host);
        self.check_stands_still(host);
        self.check_ordered_off(host);
        self.check_strays(host);
        let Some(daemon) = &self.hosts[host].daemon else { return };
        if let Some(group) = daemon.engine.overlooked(self.hosts[host].clock.show(self.now)) {
            let text = format!("overlooked: {} leads, and does not look at {group}", self.hosts[host].name);
            self.violated(text);
            return;
        }
        let applied = daemon.engine.applied();
        if applied == self.check.applied[host] {
            return;
        }
        if applied < self.check.applied[host] {
            let text = format!("agreement: {} went back in its ledger", self.hosts[host].name);
            self.violated(text);
            return;
        }
        self.check.applied[host] = applied;
        let ledger = daemon.engine.ledger();
        let (id, owned) = (self.hosts[host].id, daemon.engine.owned());
        if !ledger.groups().filter(|(_, group)| group.owner == Some(id)).map(|(name, _)| name).eq(owned) {
            let name = &self.hosts[host].name;
            let text = format!("owners: {name} takes {owned:?} for what its ledger gives to it");
            self.violated(text);
            return;
        }
        let hash = fnv(&postcard::to_allocvec(ledger).unwrap_or_default());
        let known = *self.check.ledgers.entry(applied).or_insert(hash);
        if known != hash {
            let text =
                format!("agreement: the ledger of {} differs at entry {applied}", self.hosts[host].name);
            self.violated(text);
            return;
        }
        if self.check.ledgers.len() > COMPARED {
            self.check.ledgers.pop_first();
        }
        if applied > self.check.newest {
            self.check.newest = applied;
            self.check_decided(host);
            self.check_fenced(host);
            self.check_kept(host);
            self.check_recalled(host);
            self.check_released(host);
        }
    }

    /// What is kept for a host that was shut down is given to no other before its time, unless that host is back, or somebody
    /// orders it.
    fn check_kept(&mut self, host: usize) {
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let ledger = daemon.engine.ledger();
        // What is decided here and now may have been proposed under another file.
        let same_now = self.hosts.iter().all(|host| host.file.number == self.config.number);
        let same_files = |since| same_now && self.check.file_changed.is_none_or(|at| at < since);
        let mut kept = BTreeMap::new();
        for (name, record) in ledger.groups() {
            let known = self.check.kept.get(name).copied();
            if let Some(by) = record.kept {
                let since = known.filter(|(of, ..)| *of == by).map_or(self.now, |(_, since, _)| since);
                kept.insert(name.clone(), (by, since, record.ordered));
            } else if let (Some(owner), Some((of, since, ordered))) = (record.owner, known)
                && owner != of
                && record.ordered == ordered
                && ledger.standing(of) == Standing::Out
                && same_files(since)
                && self.now.since(since) < self.config.cluster.stay_for.mul_f64(0.98)
            {
                let text = format!(
                    "kept: {name} is given away, and the host that was shut down has time to be back"
                );
                self.check.violation.get_or_insert(text);
            }
        }
        self.check.kept = kept;
    }

    /// A host's power is taken: whoever ordered it still leads, is not to keep hands off, and does not know yet that the host runs
    /// nothing. What it runs by then is its next life's.
    pub(super) fn check_switching(&mut self, by: usize, life: u64, target: usize) {
        let Some(daemon) = self.hosts[by].daemon.as_ref().filter(|_| self.hosts[by].life == life) else {
            return;
        };
        let (ledger, leads) = (daemon.engine.ledger(), daemon.engine.raft().is_leader());
        let (standing, disarmed) = (ledger.standing(self.hosts[target].id), ledger.is_disarmed());
        if !leads || disarmed || !matches!(standing, Standing::Evicted(_)) {
            self.violated(format!(
                "fencing: {} has taken the power of {}, which stands as {standing:?} (leads: {leads}, disarmed: {disarmed})",
                self.hosts[by].name, self.hosts[target].name,
            ));
        }
    }

    /// A host of which the ledger says that it runs nothing must run nothing.
    fn check_fenced(&mut self, host: usize) {
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let now: BTreeMap<HostId, Standing> =
            daemon.engine.ledger().hosts().map(|(id, record)| (id, record.standing)).collect();
        for (id, standing) in &now {
            let before = self.check.standing.get(id);
            let freed =
                matches!((before, standing), (Some(Standing::Evicted(_) | Standing::In(_)), Standing::Out));
            let Some(at) = self.ids.get(id).copied().filter(|_| freed) else { continue };
            let it = &self.hosts[at];
            if it.powered
                && let Some((vm, _)) = it.domains.iter().find(|(_, domain)| domain.lives())
            {
                let text =
                    format!("fencing: the ledger says that {} runs nothing, and {vm} runs there", it.name);
                self.violated(text);
                return;
            }
            if let Some(group) = self.on_metal(at).first().filter(|_| it.powered) {
                let text =
                    format!("fencing: the ledger says that {} runs nothing, and {group} runs there", it.name);
                self.violated(text);
                return;
            }
        }
        self.check.standing = now;
    }

    /// Whether a host keeps its hands off, by its own word. That it has the right to is seen from the world: nothing may run
    /// twice.
    pub fn is_hands_off(&self, host: usize) -> bool {
        self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.engine.is_hands_off())
    }

    /// An engine orders something: it must have the right to.
    pub(super) fn check_order(&mut self, host: usize, order: &Order) {
        let changes =
            !matches!(order.action, VmAction::Resume | VmAction::Abort | VmAction::Screenshot { .. });
        if changes && self.check.hands_off[host] && self.is_hands_off(host) {
            let text = format!(
                "hands off: the cluster is disarmed, and {} orders {:?} of {}",
                self.hosts[host].name, order.action, order.domain
            );
            self.violated(text);
            return;
        }
        let begins = matches!(
            order.action,
            VmAction::Start
                | VmAction::Resume
                | VmAction::Reset
                | VmAction::Reboot
                | VmAction::Restore { .. }
        );
        if !begins {
            return;
        }
        let it = &self.hosts[host];
        let Some(daemon) = &it.daemon else { return };
        let Some(group) = self.check.group_of(&order.domain) else { return };
        let record = daemon.engine.ledger().group(&group);
        let now = it.clock.show(self.now);
        let leased = daemon.engine.lease_until().is_some_and(|until| now < until)
            || self.may_run_on(host)
            || (self.is_hands_off(host) && order.action == VmAction::Resume);
        let wanted = record.intent == Intent::Online && !record.frozen;
        let what = if record.owner != Some(it.id) {
            "no start without right: it is not this host's"
        } else if !leased {
            "no start without right: the lease is over"
        } else if !wanted && !matches!(order.action, VmAction::Resume | VmAction::Restore { .. }) {
            "no surprise: it is wanted offline, or frozen"
        } else {
            return;
        };
        let text = format!("{what} ({} orders {:?} of {})", it.name, order.action, order.domain);
        self.violated(text);
    }

    /// No VM may run on two hosts.
    pub(super) fn check_runs(&mut self) {
        let vms: Vec<String> = self.check.groups.keys().cloned().collect();
        for vm in vms {
            self.check_runs_of(&vm);
        }
        self.check_applications();
    }

    pub(super) fn check_runs_of(&mut self, vm: &str) {
        if self.check.off {
            return;
        }
        let on: Vec<usize> = (0..self.hosts.len()).filter(|host| self.hosts[*host].runs(vm)).collect();
        let by_hand = |host: &usize| self.hosts[*host].domains.get(vm).is_some_and(|d| d.by_hand);
        if on.iter().filter(|host| !by_hand(host)).count() > 1 {
            let names: Vec<&str> = on.iter().map(|host| self.hosts[*host].name.as_str()).collect();
            let text = format!("one runner: {vm} runs on {}", names.join(" and "));
            self.violated(text);
        }
        self.check_applications();
        for host in 0..self.hosts.len() {
            let runs = on.contains(&host);
            let last = self.check.history.iter().rev().find(|(_, v, h, _)| v == vm && *h == host);
            if last.is_some_and(|(.., ran)| *ran) != runs {
                self.check.history.push((self.now, vm.to_owned(), host, runs));
                if !runs && self.check.is_calm_for(vm, self.now) {
                    let gone = |d: &Domain| !matches!(d.run, Run::Paused(_));
                    if self.hosts[host].domains.get(vm).is_some_and(gone) {
                        let text = format!("no needless restart: {vm} was stopped, and nothing had failed");
                        self.violated(text);
                    }
                }
            }
        }
    }

    /// Whether every host that a group may run on has failed it, or is quarantined, which lasts longer than a run does.
    fn waits_for_quarantine(&self, ledger: &Ledger, group: &str) -> bool {
        let failed = |id: &HostId| ledger.group(group).failed_on.contains(id);
        let quarantined = |id| ledger.host(id).is_some_and(|host| host.mode == HostMode::Quarantined);
        let on = self.config.group(group).map(|group| &group.on);
        on.is_some_and(|on| on.iter().map(|name| HostId::of(name)).all(|id| failed(&id) || quarantined(id)))
    }

    /// Whether a group has a host that may run it, and can.
    pub(super) fn has_a_host(&self, group: &str, ledger: &Ledger) -> bool {
        let Some(group) = self.config.group(group) else { return false };
        let takes = |host: &&Host| {
            let active = ledger.host(host.id).is_some_and(|record| record.mode == HostMode::Active);
            !host.broken && (active || ledger.group(&group.name).owner == Some(host.id))
        };
        self.hosts.iter().filter(takes).any(|host| group.on.contains(&host.name))
    }

    /// After the faults: whether everything that is to be online is, or is given up on; if not, what is wrong.
    pub fn recovered(&self) -> Result<(), String> {
        let newest =
            self.hosts.iter().filter_map(|host| host.daemon.as_ref()).max_by_key(|d| d.engine.applied());
        let Some(newest) = newest else { return Err("no daemon runs".to_owned()) };
        let ledger = newest.engine.ledger();
        for host in self.hosts.iter().filter(|host| !host.broken) {
            if !matches!(ledger.standing(host.id), Standing::In(_)) {
                return Err(format!("{} is not in the cluster: {:?}", host.name, ledger.standing(host.id)));
            }
        }
        for (vm, group) in &self.check.groups {
            let record = ledger.group(group);
            let on = self.runs_on(vm);
            let name = |host: Option<usize>| host.map_or("nowhere", |host| self.hosts[host].name.as_str());
            let owner = record.owner.and_then(|id| self.ids.get(&id).copied());
            if record.frozen || !self.has_a_host(group, ledger) {
                continue;
            }
            match record.intent {
                Intent::Offline if on.is_some() => {
                    return Err(format!("{group} is wanted offline, and runs on {}", name(on)));
                }
                Intent::Online if record.given_up.is_some() => {}
                Intent::Online if self.check.cold.contains(group) && on.is_none() && owner.is_none() => {} // the application says why
                Intent::Online if self.check.cold.contains(group) && !self.is_needed(group, ledger) => {
                    return Err(format!("{group} is a cold standby that nothing needs, and is on"));
                }
                Intent::Online if owner.is_none() && self.waits_for_quarantine(ledger, group) => {}
                Intent::Online if on.is_none() || on != owner => {
                    return Err(format!(
                        "{group} is wanted online, is {}'s, and runs on {}",
                        name(owner),
                        name(on)
                    ));
                }
                Intent::Online if self.copies(vm).len() > 1 => {
                    return Err(format!("{group} runs, and another copy of it is left"));
                }
                _ => {}
            }
        }
        for (group, app) in self.applications() {
            self.application_recovered(group, app, ledger)?;
        }
        Ok(())
    }
}
