//! Placement: on which host a free group goes.

use super::super::ledger::Standing;
use super::View;
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

/// Why a host does not take a group.
enum Unfit {
    /// There is no such host.
    Unknown,
    /// It has no room.
    Full,
    /// The group failed there, or one that must be with it.
    Failed(String),
    /// It is not to be used, or a rule keeps the group out.
    Other(String),
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
    /// With whom a group must and must not be, from both sides.
    partners: BTreeMap<&'a str, Vec<(&'a str, Company)>>,
    /// What is promised to each host: memory of all that it owns, and of what of that does not run yet.
    promised: BTreeMap<HostId, Promised>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Together,
    Apart,
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
    fn left(&self, host: &config::Host) -> Option<u64> {
        let id = HostId::of(&host.name);
        let room = self.reports.room(id)?;
        let promised = self.promised.get(&id).copied().unwrap_or_default();
        let reserve = u64::from(host.reserve_mib);
        let by_sum = u64::from(room.memory_total_mib).saturating_sub(promised.owned_mib + reserve);
        let by_sight = u64::from(room.memory_mib).saturating_sub(promised.coming_mib + reserve);
        Some(by_sum.min(by_sight))
    }

    /// Whether a host may get groups at all, and is there.
    /// Why a host gets no groups, if so.
    fn unusable(&self, host: &config::Host) -> Option<String> {
        let id = HostId::of(&host.name);
        let name = &host.name;
        let record = self.view.ledger.host(id);
        match record.map_or((Standing::Out, HostMode::Active), |record| (record.standing, record.mode)) {
            _ if host.role == Role::Witness => Some(format!("'{name}' is a witness")),
            (Standing::Out, _) => Some(format!("'{name}' is not in the cluster")),
            (Standing::Evicted(_), _) => Some(format!("'{name}' was evicted")),
            (Standing::In(_), HostMode::Maintenance) => Some(format!("'{name}' is in maintenance")),
            (Standing::In(_), HostMode::Quarantined) => {
                Some(format!("'{name}' is quarantined, since starts kept failing there"))
            }
            (Standing::In(_), HostMode::Active) if self.view.is_here(id) => None,
            (Standing::In(_), HostMode::Active) => Some(format!("'{name}' is silent, or about to leave")),
        }
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
        let mates = self.coming_mates(group, but);
        let mut why = Vec::new();
        let (mut failed, mut full, mut fit) = (0, Vec::new(), Vec::new());
        for (rank, name) in group.on.iter().enumerate() {
            let id = HostId::of(name);
            if but == Some(id) {
                failed += 1;
                why.push(format!("it failed on '{name}'"));
                continue;
            }
            match self.fits(group, name, &mates, but) {
                Ok((crowded, left)) => {
                    let most = core::cmp::Reverse(left);
                    fit.push((self.preference(group, id, rank), crowded, most, id));
                }
                Err(Unfit::Unknown) => {}
                Err(Unfit::Full) => full.push(id),
                Err(Unfit::Failed(reason)) => {
                    failed += 1;
                    why.push(reason);
                }
                Err(Unfit::Other(reason)) => why.push(reason),
            }
        }
        match fit.iter().min() {
            Some((.., id)) => Ok(*id),
            None if !full.is_empty() => Err(Nowhere::NoRoom(full)),
            None if failed > 0 && failed == group.on.len() => Err(Nowhere::FailedEverywhere),
            None => Err(Nowhere::NoHost(why.join("; "))),
        }
    }

    /// Whether a host can take a group that goes there from where it is, with its mates; if not, why.
    pub fn fits_beside(&self, group: &config::Group, name: &str) -> Result<(), String> {
        let but = self.view.ledger.group(&group.name).owner;
        let mates = self.coming_mates(group, but);
        self.fits(group, name, &mates, but).map(|_| ()).map_err(|unfit| match unfit {
            Unfit::Unknown => format!("the configuration has no host '{name}'"),
            Unfit::Full => format!("'{name}' has no room for it"),
            Unfit::Failed(reason) => {
                format!("{reason} lately: `roost online {}` forgets that", group.name)
            }
            Unfit::Other(reason) => reason,
        })
    }

    /// Whether a host can take a group and its mates: if so, whether its CPUs are promised already, and the memory that it has
    /// left.
    fn fits(
        &self,
        group: &config::Group,
        name: &str,
        mates: &[&config::Group],
        but: Option<HostId>,
    ) -> Result<(bool, u64), Unfit> {
        let failed_on = |name: &str, id| self.view.ledger.group(name).failed_on.contains(&id);
        let id = HostId::of(name);
        let Some(host) = self.hosts.get(name) else { return Err(Unfit::Unknown) };
        if failed_on(&group.name, id) {
            return Err(Unfit::Failed(format!("it failed on '{name}'")));
        }
        if let Some(mate) = mates.iter().find(|mate| failed_on(&mate.name, id)) {
            return Err(Unfit::Failed(format!("'{}', which must be with it, failed on '{name}'", mate.name)));
        }
        if let Some(reason) = self.unusable(host) {
            return Err(Unfit::Other(reason));
        }
        let circle = self.circle(&group.name);
        if let Some(mate) = circle.into_iter().find(|mate| !mate.on.iter().any(|on| on == name)) {
            let text = format!("'{}', which must be with it, may not run on '{name}'", mate.name);
            return Err(Unfit::Other(text));
        }
        if self.reports.is_whole(id) && *self.reports.state(id, &group.name) == GroupState::Undefined {
            return Err(Unfit::Other(format!("libvirt on '{name}' does not know its VM")));
        }
        if let Some(reason) = self.company(group, id, but) {
            return Err(Unfit::Other(reason));
        }
        // What must be with it has to find its place there too, or the two would wait for each other for ever.
        let kept_out = mates.iter().find_map(|mate| Some((&mate.name, self.company(mate, id, but)?)));
        if let Some((mate, reason)) = kept_out {
            let text = format!("'{mate}', which must be with it, cannot be on '{name}': {reason}");
            return Err(Unfit::Other(text));
        }
        let need = self.need(group);
        let Some(left) = self.left(host) else {
            return Err(Unfit::Other(format!("libvirt on '{name}' does not answer")));
        };
        let cpus = self.reports.room(id).map_or(0, |room| room.cpus);
        if self.memory_with(group, mates) > left || need.cpus > cpus {
            return Err(Unfit::Full);
        }
        let promised = self.promised.get(&id).map_or(0, |promised| promised.cpus);
        Ok((promised + u64::from(need.cpus) > u64::from(cpus), left))
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
    fn company(&self, group: &config::Group, host: HostId, leaves: Option<HostId>) -> Option<String> {
        for (other, company) in self.partners.get(group.name.as_str()).into_iter().flatten() {
            let expected = self.expected.get(other);
            match (company, expected) {
                (Company::Together, Some(at)) if *at != host => {
                    return Some(format!("it must be with '{other}'"));
                }
                (Company::Apart, Some(at)) if *at == host => {
                    return Some(format!("it must not be with '{other}'"));
                }
                _ => {}
            }
            let Some(owner) = self.owners.get(other) else { continue };
            match company {
                Company::Together if expected.is_some() => {}
                Company::Together if *owner != host && Some(*owner) != leaves => {
                    return Some(format!("it must be with '{other}'"));
                }
                Company::Apart if *owner == host => return Some(format!("it must not be with '{other}'")),
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
        let owned = self.view.ledger.groups().filter(|(_, record)| record.owner == Some(host));
        owned
            .filter(|(_, record)| record.recalled.is_some() || record.intent == Intent::Offline)
            .map(|(_, record)| u64::from(record.need.memory_mib))
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
                    other.priority < group.priority && self.owners.get(other.name.as_str()) == Some(id)
                })
                .filter(|other| {
                    let record = self.view.ledger.group(&other.name);
                    record.recalled.is_none() && !record.frozen
                })
                .collect();
            lesser.sort_by_key(|other| (other.priority, &other.name));
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
