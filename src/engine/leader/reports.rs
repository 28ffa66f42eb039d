//! What hosts report to the leader: how their groups are, and what they have room for.

use core::time::Duration;
use roost_proto::cluster::{GroupReport, GroupState, HostId, Incarnation, Report, Room};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// What one life of a host has told this leader.
#[derive(Clone, Debug)]
pub struct Account {
    life: Incarnation,
    since: Instant,
    /// The newest report that follows upon all before it.
    heard: u64,
    newest: u64,
    room: Option<Room>,
    groups: BTreeMap<String, GroupReport>,
    /// Those that run there without right.
    strays: BTreeSet<String>,
    /// The number of the last change of it.
    changed: u64,
}

/// What all hosts have told this leader.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    hosts: BTreeMap<HostId, Account>,
    /// Changes of what any host told, until now.
    changes: u64,
}

impl Reports {
    /// Takes in a report, and returns the number up to which all is heard: the host is told it.
    pub fn take(&mut self, now: Instant, from: HostId, life: Incarnation, report: Report) -> u64 {
        let account = self.hosts.entry(from).or_insert_with(|| Account::new(life, now));
        if account.life != life {
            *account = Account::new(life, now);
        }
        if report.after.is_none() && report.number > account.heard {
            account.groups.clear(); // the host begins from the first
            account.heard = 0;
        }
        if report.after.unwrap_or(0) == account.heard && report.number > account.heard {
            account.heard = report.number;
            account.newest = report.newest;
            account.room = report.room;
            account.groups.extend(report.groups.into_iter().map(|group| (group.group.clone(), group)));
        }
        self.changes += 1;
        account.changed = self.changes;
        account.look_for_strays();
        account.heard
    }

    /// Forgets what another life of the host told.
    pub fn begin(&mut self, now: Instant, host: HostId, life: Incarnation) {
        if self.hosts.get(&host).is_none_or(|account| account.life != life) {
            self.changes += 1;
            let changed = self.changes;
            self.hosts.insert(host, Account { changed, ..Account::new(life, now) });
        }
    }

    /// That life of a host is over, whatever it told. What the next one told counts.
    pub fn forget(&mut self, host: HostId, life: Incarnation) {
        if self.hosts.get(&host).is_some_and(|account| account.life.start <= life.start) {
            self.hosts.remove(&host);
        }
    }

    /// As if a host had never told anything.
    pub fn remove(&mut self, host: HostId) {
        self.hosts.remove(&host);
    }

    /// As if a host had told this of a group, and had so much memory less, or more, with it.
    pub fn suppose(&mut self, host: HostId, report: GroupReport, taken_mib: i64) {
        let Some(account) = self.hosts.get_mut(&host) else { return };
        if let Some(room) = &mut account.room {
            let left = i64::from(room.memory_mib) - taken_mib;
            let least = left.clamp(0, i64::from(room.memory_total_mib));
            room.memory_mib = u32::try_from(least).unwrap_or(0);
        }
        account.groups.insert(report.group.clone(), report);
        self.changes += 1;
        account.changed = self.changes;
        account.look_for_strays();
    }

    /// The number of the last change of what a host told. It was never used before: not of what another life told either.
    pub fn changed(&self, host: HostId) -> Option<u64> {
        self.hosts.get(&host).map(|account| account.changed)
    }

    /// Whether a host has told all, or has had `wait` for it.
    pub fn is_told(&self, now: Instant, host: HostId, wait: Duration) -> bool {
        self.hosts.get(&host).is_some_and(|account| account.is_whole() || now.since(account.since) >= wait)
    }

    /// Whether a host has told all.
    pub fn is_whole(&self, host: HostId) -> bool {
        self.hosts.get(&host).is_some_and(Account::is_whole)
    }

    /// What a host has room for, while its libvirt answers.
    pub fn room(&self, host: HostId) -> Option<Room> {
        self.hosts.get(&host)?.room
    }

    /// What a host told of a group.
    pub fn group(&self, host: HostId, group: &str) -> Option<&GroupReport> {
        self.hosts.get(&host)?.groups.get(group)
    }

    /// The groups that run on a host without right, as it told.
    pub fn strays(&self, host: HostId) -> impl Iterator<Item = &String> {
        self.hosts.get(&host).into_iter().flat_map(|account| &account.strays)
    }

    /// How a group is on a host; of what was not told of nothing runs.
    pub fn state(&self, host: HostId, group: &str) -> &GroupState {
        self.group(host, group).map_or(&GroupState::Down, |report| &report.state)
    }
}

impl Account {
    const fn new(life: Incarnation, since: Instant) -> Self {
        Self {
            life,
            since,
            heard: 0,
            newest: 0,
            room: None,
            groups: BTreeMap::new(),
            strays: BTreeSet::new(),
            changed: 0,
        }
    }

    fn look_for_strays(&mut self) {
        let strays = self.groups.values().filter(|told| told.state == GroupState::Stray);
        self.strays = strays.map(|told| told.group.clone()).collect();
    }

    const fn is_whole(&self) -> bool {
        self.heard > 0 && self.heard == self.newest
    }
}
