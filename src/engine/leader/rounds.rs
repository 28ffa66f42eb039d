//! What has to be looked at again. About most groups nothing is decided for hours: a leader of many hosts that looked at all of
//! them whenever one host says something would do little else.

use super::groups::is_leaving;
use super::reports::Reports;
use super::{Leader, View};
use crate::config;
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::Index;
use std::collections::{BTreeMap, BTreeSet};

/// How things were with a host when there was nothing to be decided about any of its groups. While they are so there is nothing
/// still: time alone changes nothing for groups that neither travel nor have a failure to be forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stillness {
    /// The newest decision about it and what it owns.
    changed: Index,
    /// The newest change of what it tells.
    told: Option<u64>,
    leaving: bool,
}

impl Stillness {
    fn of(view: &View<'_>, reports: &Reports, host: HostId, groups: Index) -> Self {
        let changed = view.ledger.host(host).map_or(groups, |record| record.changed.max(groups));
        Self { changed, told: reports.changed(host), leaving: is_leaving(view, host) }
    }
}

/// What the leader knows of its rounds, as long as the configuration is the same.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Where each group stands in the file, once it was looked for.
    places: Option<BTreeMap<String, usize>>,
    /// The groups of the file that the ledger did not know when they were looked for last.
    unknown: BTreeSet<String>,
    /// Where the applications stand in the file.
    apps: Vec<usize>,
    still: BTreeMap<HostId, Stillness>,
}

/// What is to be looked at this time.
pub(super) struct Round<'a> {
    hosts: Vec<(HostId, Stillness)>,
    /// Owned groups, in the order of the file.
    pub(super) groups: Vec<&'a config::Group>,
    /// Owned groups that the file does not name.
    pub(super) left_out: Vec<&'a str>,
}

impl Rounds {
    /// The hosts that are not still, and their groups.
    pub(super) fn begin<'a>(&mut self, view: &View<'a>, reports: &Reports) -> Round<'a> {
        let places = self.places.get_or_insert_with(|| {
            self.unknown = view.config.groups.iter().map(|group| group.name.clone()).collect();
            let numbered = view.config.groups.iter().enumerate();
            self.apps = numbered.filter(|(_, group)| group.app.is_some()).map(|(at, _)| at).collect();
            view.config.groups.iter().enumerate().map(|(at, group)| (group.name.clone(), at)).collect()
        });
        self.unknown.retain(|name| !view.ledger.knows(name));
        let (mut hosts, mut found, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for (host, row) in view.ledger.owners() {
            let stillness = Stillness::of(view, reports, host, row.changed);
            if self.still.get(&host) == Some(&stillness) {
                continue;
            }
            hosts.push((host, stillness));
            for name in &row.groups {
                match places.get(name) {
                    Some(at) => found.push(*at),
                    None => left_out.push(name.as_str()),
                }
            }
        }
        found.sort_unstable();
        let groups = found.into_iter().filter_map(|at| view.config.groups.get(at)).collect();
        Round { hosts, groups, left_out }
    }

    /// All of that was looked at; about groups of these hosts something is to be decided, or will be when time has passed.
    pub(super) fn end(&mut self, round: Round<'_>, busy: &BTreeSet<HostId>) {
        for (host, stillness) in round.hosts {
            if busy.contains(&host) {
                self.still.remove(&host);
            } else {
                self.still.insert(host, stillness);
            }
        }
    }

    /// The applications of the file.
    pub(super) fn apps<'a>(&self, view: &View<'a>) -> impl Iterator<Item = &'a config::Group> {
        self.apps.iter().filter_map(|at| view.config.groups.get(*at))
    }

    /// The groups of the file that nobody owns, in no order.
    pub(super) fn free<'a>(&self, view: &View<'a>) -> Vec<&'a config::Group> {
        let names = view.ledger.free_groups().iter().chain(&self.unknown);
        names.filter_map(|name| view.config.groups.get(*self.places.as_ref()?.get(name)?)).collect()
    }
}

impl Leader {
    /// The configuration is another one.
    pub fn reloaded(&mut self) {
        self.rounds = Rounds::default();
    }

    /// A group about which something is to be decided, and that this leader would not look at, by looking at all of them. There
    /// is none: that is for tests.
    pub fn overlooked(&self, view: &View<'_>) -> Option<String> {
        let mut other = Self::new(view.now, 0);
        let still = |host: HostId, changed: Index| {
            self.rounds.still.get(&host) == Some(&Stillness::of(view, &self.reports, host, changed))
        };
        let rows = view.ledger.owners().filter(|(host, row)| still(*host, row.changed));
        let names = rows.flat_map(|(host, row)| row.groups.iter().map(move |name| (host, name)));
        let mut groups = names.filter_map(|(host, name)| Some((host, view.config.group(name)?)));
        groups
            .find(|(host, group)| !other.is_still(view, &self.reports, group, *host))
            .map(|(_, group)| group.name.clone())
    }
}
