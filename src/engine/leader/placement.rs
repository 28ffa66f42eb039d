//! Placement: on which host a free group goes.

use super::super::ledger::Standing;
use super::View;
use super::apps::{self, Demand};
use super::reports::Reports;
use crate::config::{self, Role};
use roost_proto::cluster::decision::HostMode;
use roost_proto::cluster::{GroupState, HostId, Need};
use roost_proto::control::Intent;
use std::collections::BTreeMap;

/// Why no host takes a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nowhere {
    /// Hosts are missing, not to be used, or kept out by a rule; in words.
    NoHost(String),
    /// These could, if they had room.
    NoRoom(Vec<HostId>),
    /// It failed on every host that may run it.
    FailedEverywhere,
}

/// How far groups are that make room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// There are none.
    None,
    /// They are on their way, or their room may not be told of yet.
    InTime,
    /// They should be gone, and are not.
    Overdue,
}

/// Who owns what, with what is about to be decided.
#[derive(Debug)]
pub struct Plan<'a> {
    view: &'a View<'a>,
    reports: &'a Reports,
    owners: BTreeMap<&'a str, HostId>,
    /// Where groups are about to be whose memory is on its way.
    expected: BTreeMap<&'a str, HostId>,
    hosts: BTreeMap<&'a str, &'a config::Host>,
    groups: BTreeMap<&'a str, &'a config::Group>,
    /// Groups that others of greater priority need, with that.
    raised: Option<&'a Demand>,
    /// With whom a group must and must not be, from both sides.
    partners: BTreeMap<&'a str, Vec<(&'a str, Company)>>,
    /// What is promised to each host: memory of all that it owns, and of what of that does not run yet.
    promised: BTreeMap<HostId, Promised>,
}

/// What a rule about company says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Both are on one host.
    Together,
    /// They never are.
    Apart,
}

/// A rule about company that keeps a group from a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it says.
    pub company: Company,
    /// Of which group.
    pub with: String,
}

impl Rule {
    /// In words, of the host called `name`.
    fn words(&self, name: &str) -> String {
        match self.company {
            Company::Together => format!("it must be with '{}', which is not on '{name}'", self.with),
            Company::Apart => format!("it must not be with '{}', which is on '{name}'", self.with),
        }
    }
}

/// Why a host gets no groups at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It only votes.
    Witness,
    /// It is not in the cluster.
    Out,
    /// It was evicted.
    Evicted,
    /// It is to run nothing.
    Maintenance,
    /// Starts kept failing there.
    Quarantined,
    /// It is not heard, or about to leave.
    Silent,
}

/// Why a host does not get a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It failed there, or is to go from there.
    Failed,
    /// What must be with it failed there.
    MateFailed {
        /// Which group.
        mate: String,
    },
    /// The host gets none at all.
    Host(Unusable),
    /// What must be with it may not run there.
    MateMayNot {
        /// Which group.
        mate: String,
    },
    /// libvirt there does not know its VM.
    Undefined,
    /// A rule about company.
    Company(Rule),
    /// Such a rule about what must be with it.
    MateKeptOut {
        /// Which group.
        mate: String,
        /// The rule.
        rule: Rule,
    },
    /// libvirt there does not say what room there is.
    LibvirtSilent,
    /// Too little memory.
    Memory {
        /// What it needs, with what comes along, in MiB.
        needs_mib: u64,
        /// What there is, in MiB.
        left_mib: u64,
    },
    /// Too few CPUs.
    Cpus {
        /// What it needs.
        needs: u16,
        /// What there are.
        has: u16,
    },
}

impl Obstacle {
    /// In words, of the host called `name`.
    pub fn words(&self, name: &str) -> String {
        match self {
            Self::Failed => format!("it failed on '{name}'"),
            Self::MateFailed { mate } => format!("'{mate}', which must be with it, failed on '{name}'"),
            Self::Host(Unusable::Witness) => format!("'{name}' is a witness"),
            Self::Host(Unusable::Out) => format!("'{name}' is not in the cluster"),
            Self::Host(Unusable::Evicted) => format!("'{name}' was evicted"),
            Self::Host(Unusable::Maintenance) => format!("'{name}' is in maintenance"),
            Self::Host(Unusable::Quarantined) => {
                format!("'{name}' is quarantined, since starts kept failing there")
            }
            Self::Host(Unusable::Silent) => format!("'{name}' is silent, or about to leave"),
            Self::MateMayNot { mate } => {
                format!("'{mate}', which must be with it, may not run on '{name}'")
            }
            Self::Undefined => format!("libvirt on '{name}' does not know its VM"),
            Self::Company(rule) => rule.words(name),
            Self::MateKeptOut { mate, rule } => {
                format!("'{mate}', which must be with it, cannot be there: {}", rule.words(name))
            }
            Self::LibvirtSilent => format!("libvirt on '{name}' does not answer"),
            Self::Memory { needs_mib, left_mib } => {
                format!("no room on '{name}': it needs {needs_mib} MiB, and {left_mib} MiB are left")
            }
            Self::Cpus { needs, has } => {
                format!("no room on '{name}': it needs {needs} CPUs, and there are {has}")
            }
        }
    }
}

/// How well a host would do for a group: the smaller, the better. Preference; whether its CPUs are promised already; memory
/// left; the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit(usize, bool, core::cmp::Reverse<u64>, pub HostId);

impl Fit {
    /// Memory that the host has left, in MiB.
    pub const fn left_mib(&self) -> u64 {
        self.2.0
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    owned_mib: u64,
    coming_mib: u64,
    cpus: u64,
}

impl<'a> Plan<'a> {
    /// The state of things.
    pub fn new(view: &'a View<'a>, reports: &'a Reports) -> Self {
        let hosts = view.config.hosts.iter().map(|host| (host.name.as_str(), host)).collect();
        let groups = view.config.groups.iter().map(|group| (group.name.as_str(), group)).collect();
        let mut partners: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for group in &view.config.groups {
            let together = group.together.iter().map(|other| (other.as_str(), Company::Together));
            let apart = group.apart.iter().map(|other| (other.as_str(), Company::Apart));
            for (other, company) in together.chain(apart) {
                partners.entry(&group.name).or_default().push((other, company));
                partners.entry(other).or_default().push((&group.name, company));
            }
        }
        let mut plan = Self {
            view,
            reports,
            owners: BTreeMap::new(),
            expected: BTreeMap::new(),
            hosts,
            groups,
            raised: None,
            partners,
            promised: BTreeMap::new(),
        };
        for (name, record) in view.ledger.groups() {
            if let Some(owner) = record.owner {
                plan.give(name, owner, record.need, runs(reports.state(owner, name)));
            }
            if let Some(moving) = record.moving {
                plan.expect(name, moving.to, record.need);
            }
        }
        plan
    }

    /// These groups count as much as those that need them.
    pub(super) const fn raise(&mut self, demand: &'a Demand) {
        self.raised = Some(demand);
    }

    /// What a group counts when room is short.
    pub fn priority(&self, group: &config::Group) -> u32 {
        self.raised.map_or(group.priority, |demand| apps::priority(demand, group))
    }

    /// Counts a group as a host's.
    pub fn give(&mut self, group: &'a str, host: HostId, need: Need, runs: bool) {
        self.owners.insert(group, host);
        let promised = self.promised.entry(host).or_default();
        promised.owned_mib += u64::from(need.memory_mib);
        promised.cpus += u64::from(need.cpus);
        if !runs {
            promised.coming_mib += u64::from(need.memory_mib);
        }
    }

    /// Counts a group as one that comes to a host, and is another one's still.
    pub fn expect(&mut self, group: &'a str, host: HostId, need: Need) {
        self.expected.insert(group, host);
        let promised = self.promised.entry(host).or_default();
        promised.owned_mib += u64::from(need.memory_mib);
        promised.coming_mib += u64::from(need.memory_mib);
        promised.cpus += u64::from(need.cpus);
    }

    /// What a group needs: as its hosts tell, or as the ledger remembers.
    pub fn need(&self, group: &config::Group) -> Need {
        let told = group.on.iter().find_map(|host| self.reports.group(HostId::of(host), &group.name)?.need);
        told.unwrap_or(self.view.ledger.group(&group.name).need)
    }

    /// Memory that a host has left, in MiB; none when it does not say.
    pub fn left(&self, host: &config::Host) -> Option<u64> {
        let id = HostId::of(&host.name);
        let room = self.reports.room(id)?;
        let promised = self.promised.get(&id).copied().unwrap_or_default();
        let reserve = u64::from(host.reserve_mib);
        let by_sum = u64::from(room.memory_total_mib).saturating_sub(promised.owned_mib + reserve);
        let by_sight = u64::from(room.memory_mib).saturating_sub(promised.coming_mib + reserve);
        Some(by_sum.min(by_sight))
    }

    /// Why a host gets no groups, if so.
    fn unusable(&self, host: &config::Host) -> Option<Unusable> {
        let id = HostId::of(&host.name);
        let record = self.view.ledger.host(id);
        match record.map_or((Standing::Out, HostMode::Active), |record| (record.standing, record.mode)) {
            _ if host.role == Role::Witness => Some(Unusable::Witness),
            (Standing::Out, _) => Some(Unusable::Out),
            (Standing::Evicted(_), _) => Some(Unusable::Evicted),
            (Standing::In(_), HostMode::Maintenance) => Some(Unusable::Maintenance),
            (Standing::In(_), HostMode::Quarantined) => Some(Unusable::Quarantined),
            (Standing::In(_), HostMode::Active) if self.view.is_here(id) => None,
            (Standing::In(_), HostMode::Active) => Some(Unusable::Silent),
        }
    }

    /// Why an application must not be on a host, whatever its controller says.
    pub fn keeps_out(&self, group: &config::Group, name: &str) -> Option<Obstacle> {
        let host = self.hosts.get(name)?;
        let rule = || self.company(group, HostId::of(name), None).map(Obstacle::Company);
        self.unusable(host).map(Obstacle::Host).or_else(rule)
    }

    /// The host for a group, or why there is none.
    pub fn place(&self, group: &config::Group) -> Result<HostId, Nowhere> {
        self.place_but(group, None)
    }

    /// The host for a group that cannot stay where it is, once its mates have gone from there with it.
    pub fn place_beside(&self, group: &config::Group) -> Result<HostId, Nowhere> {
        self.place_but(group, self.view.ledger.group(&group.name).owner)
    }

    fn place_but(&self, group: &config::Group, but: Option<HostId>) -> Result<HostId, Nowhere> {
        let mut why = Vec::new();
        let (mut failed, mut full, mut fit) = (0, Vec::new(), Vec::new());
        for (name, judged) in self.judge(group, but) {
            match judged {
                Ok(able) => fit.push(able),
                Err(Obstacle::Memory { .. } | Obstacle::Cpus { .. }) => full.push(HostId::of(name)),
                Err(obstacle) => {
                    if matches!(obstacle, Obstacle::Failed | Obstacle::MateFailed { .. }) {
                        failed += 1;
                    }
                    why.push(obstacle.words(name));
                }
            }
        }
        match fit.iter().min() {
            Some(Fit(.., id)) => Ok(*id),
            None if !full.is_empty() => Err(Nowhere::NoRoom(full)),
            None if failed > 0 && failed == group.on.len() => Err(Nowhere::FailedEverywhere),
            None => Err(Nowhere::NoHost(why.join("; "))),
        }
    }

    /// Whether a host can take a group that goes there from where it is, with its mates; if not, why.
    pub fn fits_beside(&self, group: &config::Group, name: &str) -> Result<(), String> {
        let but = self.view.ledger.group(&group.name).owner;
        let mates = self.coming_mates(group, but);
        let Some(host) = self.hosts.get(name) else {
            return Err(format!("the configuration has no host '{name}'"));
        };
        let judged = self.judge_on(group, host, 0, but, &mates);
        judged.map(|_| ()).map_err(|obstacle| match obstacle {
            Obstacle::Memory { .. } | Obstacle::Cpus { .. } => format!("'{name}' has no room for it"),
            Obstacle::Failed | Obstacle::MateFailed { .. } => {
                format!("{} lately: `roost online {}` forgets that", obstacle.words(name), group.name)
            }
            _ => obstacle.words(name),
        })
    }

    /// What is to be said of a group on each host that may run it, in the order of the file: of one that is to leave the host
    /// `but` and its mates with it. The least of those that fit is where it goes.
    pub fn judge<'b>(
        &self,
        group: &'b config::Group,
        but: Option<HostId>,
    ) -> Vec<(&'b str, Result<Fit, Obstacle>)> {
        let mates = self.coming_mates(group, but);
        let hosts = group.on.iter().enumerate();
        let known = hosts.filter_map(|(rank, name)| Some((rank, *self.hosts.get(name.as_str())?, name)));
        known
            .map(|(rank, host, name)| {
                let leaves = but == Some(HostId::of(name));
                let judged = self.judge_on(group, host, rank, but, &mates);
                (name.as_str(), if leaves { Err(Obstacle::Failed) } else { judged })
            })
            .collect()
    }

    fn judge_on(
        &self,
        group: &config::Group,
        host: &config::Host,
        rank: usize,
        but: Option<HostId>,
        mates: &[&config::Group],
    ) -> Result<Fit, Obstacle> {
        let record = self.view.ledger.group(&group.name);
        let (id, name) = (HostId::of(&host.name), &host.name);
        if record.failed_on.contains(&id) {
            return Err(Obstacle::Failed);
        }
        if let Some(mate) =
            mates.iter().find(|mate| self.view.ledger.group(&mate.name).failed_on.contains(&id))
        {
            return Err(Obstacle::MateFailed { mate: mate.name.clone() });
        }
        if let Some(reason) = self.unusable(host) {
            return Err(Obstacle::Host(reason));
        }
        if let Some(mate) = self.circle(&group.name).into_iter().find(|mate| !mate.on.contains(name)) {
            return Err(Obstacle::MateMayNot { mate: mate.name.clone() });
        }
        if self.reports.is_whole(id) && *self.reports.state(id, &group.name) == GroupState::Undefined {
            return Err(Obstacle::Undefined);
        }
        if let Some(rule) = self.company(group, id, but) {
            return Err(Obstacle::Company(rule));
        }
        // What must be with it has to find its place there too, or the two would wait for each other for ever.
        let kept_out = mates.iter().find_map(|mate| Some((mate.name.clone(), self.company(mate, id, but)?)));
        if let Some((mate, rule)) = kept_out {
            return Err(Obstacle::MateKeptOut { mate, rule });
        }
        let need = self.need(group);
        let Some(left) = self.left(host) else { return Err(Obstacle::LibvirtSilent) };
        let cpus = self.reports.room(id).map_or(0, |room| room.cpus);
        let needs_mib = self.memory_with(group, mates);
        if needs_mib > left {
            return Err(Obstacle::Memory { needs_mib, left_mib: left });
        }
        if need.cpus > cpus {
            return Err(Obstacle::Cpus { needs: need.cpus, has: cpus });
        }
        let promised = self.promised.get(&id).map_or(0, |promised| promised.cpus);
        let crowded = promised + u64::from(need.cpus) > u64::from(cpus);
        Ok(Fit(self.preference(group, id, rank), crowded, core::cmp::Reverse(left), id))
    }

    /// Every group that must be where this one is, at any remove.
    fn circle(&self, group: &'a str) -> Vec<&'a config::Group> {
        let mut found = vec![group];
        let mut next = 0;
        while let Some(name) = found.get(next).copied() {
            next += 1;
            for (other, company) in self.partners.get(name).into_iter().flatten() {
                if *company == Company::Together && !found.contains(other) {
                    found.push(other);
                }
            }
        }
        found.into_iter().skip(1).filter_map(|name| self.groups.get(name).copied()).collect()
    }

    /// Those of them that are wanted and will come with it, since they are nobody's, or go from `leaves` as it does.
    fn coming_mates(&self, group: &config::Group, leaves: Option<HostId>) -> Vec<&'a config::Group> {
        let Some((name, _)) = self.partners.get_key_value(group.name.as_str()) else { return Vec::new() };
        let comes = |mate: &&config::Group| {
            let record = self.view.ledger.group(&mate.name);
            let owner = self.owners.get(mate.name.as_str()).copied();
            let wanted = record.intent == Intent::Online && !record.frozen && record.given_up.is_none();
            wanted && (owner.is_none() || owner == leaves)
        };
        self.circle(name).into_iter().filter(comes).collect()
    }

    /// Memory that a group and these others need, in MiB.
    fn memory_with(&self, group: &config::Group, mates: &[&config::Group]) -> u64 {
        let all = mates.iter().copied().chain([group]);
        all.map(|one| u64::from(self.need(one).memory_mib)).sum()
    }

    /// The smaller, the better: where it is wished, where it was last, in the order of `on`. Of equals, a host whose CPUs are not
    /// promised already comes first, and then the one with the most memory left.
    fn preference(&self, group: &config::Group, host: HostId, rank: usize) -> usize {
        let record = self.view.ledger.group(&group.name);
        if record.wish == Some(host) {
            0
        } else if record.last == Some(host) {
            1
        } else {
            2 + if group.ranked { rank } else { 0 }
        }
    }

    /// Why a group must not be on a host, by the rules about company.
    fn company(&self, group: &config::Group, host: HostId, leaves: Option<HostId>) -> Option<Rule> {
        for (other, company) in self.partners.get(group.name.as_str()).into_iter().flatten() {
            let expected = self.expected.get(other);
            match (company, expected) {
                (Company::Together, Some(at)) if *at != host => {
                    return Some(Rule { company: *company, with: (*other).to_owned() });
                }
                (Company::Apart, Some(at)) if *at == host => {
                    return Some(Rule { company: *company, with: (*other).to_owned() });
                }
                _ => {}
            }
            let Some(owner) = self.owners.get(other) else { continue };
            match company {
                Company::Together if expected.is_some() => {}
                Company::Together if *owner != host && Some(*owner) != leaves => {
                    return Some(Rule { company: *company, with: (*other).to_owned() });
                }
                Company::Apart if *owner == host => {
                    return Some(Rule { company: *company, with: (*other).to_owned() });
                }
                Company::Together | Company::Apart => {}
            }
        }
        None
    }

    /// The groups that must be where this one is, at any remove, and are on `host` now.
    pub fn mates(&self, group: &'a str, host: HostId) -> Vec<&'a str> {
        let mut found = vec![group];
        let mut next = 0;
        while let Some(name) = found.get(next).copied() {
            next += 1;
            for (other, company) in self.partners.get(name).into_iter().flatten() {
                let here = self.owners.get(other) == Some(&host);
                if *company == Company::Together && here && !found.contains(other) {
                    found.push(other);
                }
            }
        }
        found.split_off(1)
    }

    /// Memory that is about to be left by groups that go from a host already, in MiB.
    fn going(&self, host: HostId) -> u64 {
        let ledger = self.view.ledger;
        let owned = ledger.owned(host).iter().map(|name| ledger.group(name));
        owned
            .filter(|record| record.recalled.is_some() || record.intent == Intent::Offline)
            .map(|record| u64::from(record.need.memory_mib))
            .sum()
    }

    /// Groups of less priority on one of `hosts` whose going would make room for `group`: the fewest, the least
    /// important first. What goes from a host already counts as gone, unless it takes too long for that.
    pub fn displace(&self, group: &config::Group, hosts: &[HostId], going: Going) -> Option<Vec<String>> {
        let need = self.memory_with(group, &self.coming_mates(group, None));
        let mut best: Option<Vec<String>> = None;
        for id in hosts {
            let Some(host) = self.view.config.hosts.iter().find(|host| HostId::of(&host.name) == *id) else {
                continue;
            };
            let mut lesser: Vec<&config::Group> = self
                .view
                .config
                .groups
                .iter()
                .filter(|other| {
                    self.priority(other) < self.priority(group)
                        && self.owners.get(other.name.as_str()) == Some(id)
                })
                .filter(|other| {
                    let record = self.view.ledger.group(&other.name);
                    record.recalled.is_none() && !record.frozen
                })
                .collect();
            lesser.sort_by_key(|other| (self.priority(other), &other.name));
            let going = if going == Going::Overdue { 0 } else { self.going(*id) };
            let mut left = self.left(host).unwrap_or(0) + going;
            let mut go = Vec::new();
            for other in lesser {
                if left >= need {
                    break;
                }
                left += u64::from(self.need(other).memory_mib);
                go.push(other.name.clone());
            }
            if left >= need && best.as_ref().is_none_or(|best| go.len() < best.len()) {
                best = Some(go);
            }
        }
        best.filter(|go| !go.is_empty())
    }
}

/// Whether the VM of a group in this state has its memory already.
const fn runs(state: &GroupState) -> bool {
    matches!(state, GroupState::Well | GroupState::Unwell | GroupState::Suspended)
}
