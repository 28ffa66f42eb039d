//! Whether something is so in the world, and what is so instead.

use super::condition::{By, Condition, GroupIs, HostIs, HostWhat, What};
use super::names::{Names, Who};
use super::watch::{Mark, Watch, leader, newest};
use crate::world::World;
use crate::world::clock::Time;
use crate::world::controller::Seat;
use crate::world::host::{Domain, Guest};
use core::time::Duration;
use roost::config::Standby;
use roost::engine::ledger::Standing;
use roost_proto::cluster::decision::HostMode;
use roost_proto::control::{Condition as Shown, GroupStatus, Intent};
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// What is judged by.
pub struct Judge<'a> {
    pub world: &'a World,
    pub watch: &'a Watch,
    pub names: &'a Names,
    pub aliases: &'a BTreeMap<String, usize>,
    /// When the script's time began.
    pub origin: Time,
    /// The last order of an operator.
    pub last_order: Option<u64>,
}

impl Judge<'_> {
    /// The host that is meant, now.
    pub fn who(&self, who: &Who) -> Result<usize, String> {
        match who {
            Who::Host(nth) => Ok(*nth),
            Who::Leader => leader(self.world).ok_or_else(|| "nobody leads at that moment".to_owned()),
            Who::Follower => {
                let leads = leader(self.world);
                (0..self.world.hosts.len())
                    .find(|nth| Some(*nth) != leads && self.names.hypervisors[*nth])
                    .ok_or_else(|| "there is no other host".to_owned())
            }
            Who::HostOf(group) => {
                let name = &self.names.groups[*group].name;
                self.owner(*group).ok_or_else(|| format!("'{name}' belongs to nobody at that moment"))
            }
            Who::Alias(name) => {
                self.aliases.get(name).copied().ok_or_else(|| format!("'{name}' was given to nobody yet"))
            }
        }
    }

    /// Several hosts that are meant, now.
    pub fn whom(&self, whom: &[Who]) -> Result<Vec<usize>, String> {
        whom.iter().map(|who| self.who(who)).collect()
    }

    /// Whether it is so; an error when it cannot be said of whom.
    pub fn holds(&self, condition: &Condition) -> Result<bool, String> {
        Ok(match condition {
            Condition::RunsOn(group, hosts) => {
                let on = self.runs_on(*group);
                let hosts = self.whom(hosts)?;
                !on.is_empty() && on.iter().all(|host| hosts.contains(host))
            }
            Condition::RunsIn(group, vm) => {
                let (name, vm) = (&self.names.groups[*group].name, &self.names.groups[*vm].vm);
                let at = self.world.executing(name);
                !at.is_empty() && at.iter().all(|seat| matches!(seat, Seat::Guest { vm: of, .. } if of == vm))
            }
            Condition::RunsSomewhere(group) => !self.runs_on(*group).is_empty(),
            Condition::RunsNowhere(group) => self.runs_on(*group).is_empty(),
            Condition::Group(group, is) => self.group_is(*group, *is),
            Condition::Belongs(group, None) => self.owner(*group).is_none(),
            Condition::Belongs(group, Some(who)) => self.owner(*group) == Some(self.who(who)?),
            Condition::Counted(group, what, count, since) => count.holds(self.count(*group, *what, *since)),
            Condition::RanOnlyOn(group, hosts, since) => {
                let hosts = self.whom(hosts)?;
                self.ran_on(*group, *since).iter().all(|host| hosts.contains(host))
            }
            Condition::NeverRanOn(group, hosts, since) => {
                let hosts = self.whom(hosts)?;
                !self.ran_on(*group, *since).iter().any(|host| hosts.contains(host))
            }
            Condition::Host(who, is) => {
                let host = match (self.who(who), is) {
                    (Err(_), HostIs::Leading) if *who == Who::Leader => return Ok(false),
                    (host, _) => host?,
                };
                self.host_is(host, *is)
            }
            Condition::Watched(who, by) => {
                let watcher = self.world.watcher_of(self.who(who)?);
                match by {
                    Some(by) => watcher == Some(self.who(by)?),
                    None => watcher.is_some(),
                }
            }
            Condition::HostCounted(who, what, count, since) => {
                count.holds(self.count_host(self.who(who)?, *what, *since))
            }
            Condition::SomebodyLeads => leader(self.world).is_some(),
            Condition::AllWell => self.all_well().is_ok(),
            Condition::LastOrder(done) => {
                self.last_order.and_then(|id| self.watch.answers.get(&id)).is_some_and(|a| a.is_ok() == *done)
            }
            Condition::Always => true,
            Condition::Not(condition) => !self.holds(condition)?,
            Condition::All(all) => {
                for one in all {
                    if !self.holds(one)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }

    /// What is so, of that which was asked for.
    pub fn found(&self, condition: &Condition) -> String {
        match condition {
            Condition::RunsOn(group, _)
            | Condition::RunsIn(group, _)
            | Condition::RunsSomewhere(group)
            | Condition::RunsNowhere(group)
            | Condition::Group(group, _)
            | Condition::Belongs(group, _) => self.show_group(*group),
            Condition::Counted(group, what, _, since) => {
                let whose = group.map_or("everything together", |nth| self.names.groups[nth].name.as_str());
                format!("{whose}: {} times", self.count(*group, *what, *since))
            }
            Condition::RanOnlyOn(group, _, since) | Condition::NeverRanOn(group, _, since) => {
                let hosts = self.ran_on(*group, *since);
                format!("{} ran on {}", self.names.groups[*group].name, self.list(&hosts))
            }
            Condition::Host(who, _) => self.who(who).map_or_else(|why| why, |host| self.show_host(host)),
            Condition::Watched(who, _) => self.who(who).map_or_else(
                |why| why,
                |host| {
                    let by = self.world.watcher_of(host);
                    let by = by.map_or("nobody".to_owned(), |by| self.names.hosts[by].clone());
                    format!("{} is watched by {by}", self.names.hosts[host])
                },
            ),
            Condition::HostCounted(who, what, _, since) => self.who(who).map_or_else(
                |why| why,
                |host| format!("{}: {} times", self.names.hosts[host], self.count_host(host, *what, *since)),
            ),
            Condition::SomebodyLeads => leader(self.world)
                .map_or("nobody leads".to_owned(), |nth| format!("{} leads", self.names.hosts[nth])),
            Condition::AllWell => self.all_well().err().unwrap_or("everything is well".to_owned()),
            Condition::LastOrder(_) => match self.last_order.map(|id| self.watch.answers.get(&id)) {
                None => "nothing was ordered".to_owned(),
                Some(None) => "it was not answered".to_owned(),
                Some(Some(Ok(text))) => format!("it was done: {text}"),
                Some(Some(Err(text))) => format!("it was refused: {text}"),
            },
            Condition::Always => String::new(),
            Condition::Not(condition) => self.found(condition),
            Condition::All(all) => {
                let not = all.iter().find(|one| self.holds(one) != Ok(true));
                not.map_or_else(|| "all of it".to_owned(), |one| self.found(one))
            }
        }
    }

    /// Hosts in words.
    pub fn list(&self, hosts: &[usize]) -> String {
        let names: Vec<&str> = hosts.iter().map(|nth| self.names.hosts[*nth].as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" and ") }
    }

    /// Where a group's vCPUs run; or where an application does, itself or in a VM.
    pub fn runs_on(&self, group: usize) -> Vec<usize> {
        let it = &self.names.groups[group];
        if !it.targets.is_empty() {
            let at = self.world.executing(&it.name);
            return at.iter().filter_map(|seat| self.world.host_of(seat)).collect();
        }
        let vm = &it.vm;
        (0..self.world.hosts.len()).filter(|host| self.world.hosts[*host].runs(vm)).collect()
    }

    fn copy(&self, host: usize, group: usize) -> Option<&Domain> {
        self.world.hosts[host].domains.get(&self.names.groups[group].vm)
    }

    /// To whom a group belongs, by the newest ledger.
    pub fn owner(&self, group: usize) -> Option<usize> {
        let id = newest(self.world)?.group(&self.names.groups[group].name).owner?;
        self.world.ids.get(&id).copied()
    }

    /// What is shown of a group: by its owner, or else by who leads; that speaks for machines without `roostd`.
    pub fn status(&self, group: usize) -> Option<GroupStatus> {
        let name = &self.names.groups[group].name;
        let of = |host: usize| {
            let it = &self.world.hosts[host];
            let daemon = it.daemon.as_ref().filter(|_| it.is_awake() && !it.stopped)?;
            let now: Instant = it.clock.show(self.world.now);
            daemon.engine.status(now, 0).groups.into_iter().find(|group| group.name == *name)
        };
        let owner = self.owner(group);
        if owner.is_some_and(|owner| self.world.hosts[owner].is_watched) {
            let it = &self.world.hosts[leader(self.world)?];
            let status = it.daemon.as_ref()?.engine.cluster_status(it.clock.show(self.world.now), 0);
            return status.groups.into_iter().find(|group| group.name == *name);
        }
        owner
            .and_then(of)
            .or_else(|| leader(self.world).and_then(of))
            .or_else(|| (0..self.world.hosts.len()).find_map(of))
    }

    /// A group's state in one word, and why.
    pub fn state(&self, group: usize) -> (&'static str, String) {
        let Some(ledger) = newest(self.world) else { return ("unknown", "no daemon runs".to_owned()) };
        let record = ledger.group(&self.names.groups[group].name);
        if let Some(owner) = record.owner
            && matches!(ledger.standing(owner), Standing::Evicted(_))
        {
            return ("blocked", "its host was evicted, and is not known to run nothing".to_owned());
        }
        if record.frozen {
            return ("left alone", "frozen".to_owned());
        }
        if let Some(reason) = &record.given_up {
            return ("given up", reason.clone());
        }
        if record.owner.is_none() && !self.in_file(group) {
            return ("removed", "no configuration names it".to_owned());
        }
        let Some(status) = self.status(group) else {
            return match (record.intent, record.owner) {
                (Intent::Offline, None) => ("offline", String::new()),
                (_, None) => ("waiting", "no host that shows it".to_owned()),
                (_, Some(_)) => ("unknown", "its host shows nothing".to_owned()),
            };
        };
        let word = match status.condition {
            Shown::Offline => "offline",
            Shown::Stopping => "stopping",
            Shown::Starting => "starting",
            Shown::Online => "online",
            Shown::Degraded => "degraded",
            Shown::Recovering => "recovering",
            Shown::Unknown => "unknown",
            Shown::LeftAlone => "left alone",
            Shown::GivenUp => "given up",
            Shown::Elsewhere => "unknown",
            Shown::Waiting => "waiting",
            Shown::Suspended => "suspended",
        };
        (word, status.reason)
    }

    fn group_is(&self, group: usize, is: GroupIs) -> bool {
        match is {
            GroupIs::Still => {
                let there = |host: usize| {
                    let paused = |d: &Domain| matches!(d.run, roost::engine::keeper::vm::Run::Paused(_));
                    self.world.hosts[host].powered && self.copy(host, group).is_some_and(paused)
                };
                self.runs_on(group).is_empty() && (0..self.world.hosts.len()).any(there)
            }
            GroupIs::Offline => self.state(group).0 == "offline" && self.runs_on(group).is_empty(),
            GroupIs::Online => self.state(group).0 == "online",
            GroupIs::GivenUp => self.state(group).0 == "given up",
            GroupIs::Blocked => self.state(group).0 == "blocked",
            GroupIs::Waiting => {
                self.owner(group).is_none()
                    && !matches!(self.state(group).0, "offline" | "given up" | "left alone" | "removed")
            }
            GroupIs::LeftAlone => self.state(group).0 == "left alone",
            GroupIs::Preparing => newest(self.world)
                .is_some_and(|ledger| ledger.preparing(&self.names.groups[group].name).is_some()),
            GroupIs::Recalled => newest(self.world)
                .is_some_and(|ledger| ledger.group(&self.names.groups[group].name).recalled.is_some()),
            GroupIs::Frozen => {
                newest(self.world).is_some_and(|ledger| ledger.group(&self.names.groups[group].name).frozen)
            }
        }
    }

    fn host_is(&self, host: usize, is: HostIs) -> bool {
        let it = &self.world.hosts[host];
        let record = newest(self.world).and_then(|ledger| ledger.host(it.id));
        let standing = record.map_or(Standing::Out, |record| record.standing);
        match is {
            HostIs::In => matches!(standing, Standing::In(_)),
            HostIs::Out => standing == Standing::Out,
            HostIs::Evicted => matches!(standing, Standing::Evicted(_)),
            HostIs::Maintenance => record.is_some_and(|record| record.mode == HostMode::Maintenance),
            HostIs::Quarantined => record.is_some_and(|record| record.mode == HostMode::Quarantined),
            HostIs::Leading => leader(self.world) == Some(host),
            HostIs::Powered => it.powered,
            HostIs::Idle => {
                !it.is_awake()
                    || !it.domains.values().any(Domain::lives) && self.world.on_metal(host).is_empty()
            }
            HostIs::Leased => {
                let until = it.daemon.as_ref().and_then(|daemon| daemon.engine.lease_until());
                it.is_awake() && until.is_some_and(|until| it.clock.show(self.world.now) < until)
            }
        }
    }

    fn from(&self, since: Duration) -> Time {
        self.origin.after(since)
    }

    fn count(&self, group: Option<usize>, what: What, since: Duration) -> usize {
        let from = self.from(since);
        let counts = |mark: Mark| match what {
            What::Started => mark == Mark::Started,
            What::Restarted => matches!(mark, Mark::Started | Mark::Rebooted),
            What::Rebooted => mark == Mark::Rebooted,
            What::Paused => mark == Mark::Paused,
            What::Resumed => mark == Mark::Resumed,
        };
        let marks = self.watch.marks.iter();
        marks
            .filter(|(at, of, mark)| *at >= from && group.is_none_or(|nth| nth == *of) && counts(*mark))
            .count()
    }

    fn ran_on(&self, group: usize, since: Duration) -> Vec<usize> {
        let from = self.from(since);
        let ran = self.watch.ran.iter();
        let mut hosts: Vec<usize> = ran
            .filter(|ran| ran.group == group && ran.to.is_none_or(|(to, _)| to > from))
            .map(|ran| ran.host)
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    fn count_host(&self, host: usize, what: HostWhat, since: Duration) -> usize {
        let from = self.from(since);
        let evictions = self.watch.evictions.iter().filter(|eviction| eviction.host == host);
        match what {
            HostWhat::Evicted => evictions.filter(|eviction| eviction.at >= from).count(),
            HostWhat::Fenced(by) => {
                let so = |(at, how): (Time, Option<By>)| at >= from && (by.is_none() || how == by);
                evictions.filter(|eviction| eviction.fenced.is_some_and(so)).count()
            }
            HostWhat::Booted => {
                self.watch.boots.iter().filter(|(at, nth)| *nth == host && *at >= from).count()
            }
        }
    }

    /// Every host is in the cluster, and every wanted group is online where it belongs; or what is not so.
    pub fn all_well(&self) -> Result<(), String> {
        for host in 0..self.names.hosts.len() {
            if !self.host_is(host, HostIs::In) && self.named(host) {
                return Err(self.show_host(host));
            }
        }
        for group in 0..self.names.groups.len() {
            let in_file = self.in_file(group);
            let (state, _) = self.state(group);
            let fine = match state {
                "offline" | "left alone" => true,
                "waiting" => self.is_spare(group),
                "online" => self.runs_on(group).len() == 1,
                _ => false,
            };
            let booting = self.runs_on(group).iter().any(|host| {
                self.names.groups[group].controlled
                    && self.copy(*host, group).is_some_and(|copy| copy.guest == Guest::Booting)
            });
            if in_file && (!fine || booting) {
                return Err(self.show_group(group));
            }
        }
        Ok(())
    }

    /// Whether a group is a cold standby that nothing needs.
    fn is_spare(&self, group: usize) -> bool {
        let name = &self.names.groups[group].name;
        let cold = self.world.config.group(name).is_some_and(|it| it.standby == Standby::Cold);
        cold && self.owner(group).is_none()
            && newest(self.world).is_some_and(|ledger| !self.world.is_needed(name, ledger))
    }

    /// Whether the configuration of any host names this one.
    fn named(&self, host: usize) -> bool {
        let name = &self.names.hosts[host];
        self.world.hosts.iter().any(|it| it.file.hosts.iter().any(|known| known.name == *name))
    }

    fn in_file(&self, group: usize) -> bool {
        let name = &self.names.groups[group].name;
        self.world.hosts.iter().any(|it| it.file.group(name).is_some())
    }

    /// A group in one line.
    pub fn show_group(&self, group: usize) -> String {
        let on = self.runs_on(group);
        let runs =
            if on.is_empty() { "runs nowhere".to_owned() } else { format!("runs on {}", self.list(&on)) };
        let whose =
            self.owner(group).map_or("nobody's".to_owned(), |host| format!("{}'s", self.names.hosts[host]));
        let inside = newest(self.world).and_then(|ledger| ledger.inside(&self.names.groups[group].name));
        let whose = inside.map_or(whose.clone(), |vm| format!("{whose} in {vm}"));
        let (state, reason) = self.state(group);
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        format!("{} {runs}, is {whose}, {state}{reason}", self.names.groups[group].name)
    }

    /// A host in one line.
    pub fn show_host(&self, host: usize) -> String {
        let it = &self.world.hosts[host];
        let machine = match (it.powered, it.frozen, it.daemon.is_some(), it.stopped) {
            (false, ..) => "no power",
            (_, true, ..) => "frozen",
            (_, _, false, _) if it.is_watched => "watched",
            (_, _, false, _) => "no daemon",
            (_, _, _, true) => "its daemon stands still",
            _ if leader(self.world) == Some(host) => "leads",
            _ => "up",
        };
        format!("{} {}, {machine}", self.names.hosts[host], super::watch::standing(self.world, host))
    }
}
