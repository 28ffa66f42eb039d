//! What happened in the world, as far as a scenario asks: who ran what when, and who was evicted and fenced.

use super::condition::By;
use super::names::Names;
use crate::world::clock::Time;
use crate::world::controller::{Managed, Phase, Seat};
use crate::world::host::{Domain, Host};
use crate::world::{Told, Word, World};
use roost::engine::keeper::vm::{Off, Run};
use roost::engine::ledger::{Ledger, Standing};
use roost_proto::cluster::decision::HostMode;
use roost_proto::control::EventKind;
use std::collections::BTreeMap;

/// Why a VM's vCPUs stopped to run on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Paused,
    Frozen,
    Power,
    Shutdown,
    Destroyed,
    Crashed,
    Killed,
    Moved,
    /// Of an application: its controller stopped it.
    Stopped,
    /// Of an application: its controller gave up on it.
    Faulted,
    Other,
}

impl End {
    /// In words, and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Frozen => "frozen",
            Self::Power => "power",
            Self::Shutdown => "shutdown",
            Self::Destroyed => "destroyed",
            Self::Crashed => "crashed",
            Self::Killed => "killed",
            Self::Moved => "moved",
            Self::Stopped => "stopped",
            Self::Faulted => "faulted",
            Self::Other => "other",
        }
    }
}

/// A time during which a VM's vCPUs, or an application, ran on a host.
#[derive(Clone, Debug)]
pub struct Ran {
    pub group: usize,
    pub host: usize,
    /// Of an application: in which VM.
    pub inside: Option<String>,
    pub from: Time,
    pub to: Option<(Time, End)>,
}

/// What befell a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Started,
    /// Or reset.
    Rebooted,
    Paused,
    Resumed,
}

/// An eviction, and what came of it.
#[derive(Clone, Debug)]
pub struct Eviction {
    pub host: usize,
    pub at: Time,
    pub fenced: Option<(Time, Option<By>)>,
}

/// One VM on one host, as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    group: usize,
    runs: bool,
    /// Its process is there.
    there: bool,
    life: u32,
    boot: u32,
}

/// Everything that is kept.
#[derive(Debug)]
pub struct Watch {
    pub ran: Vec<Ran>,
    pub marks: Vec<(Time, usize, Mark)>,
    pub evictions: Vec<Eviction>,
    /// When each host was booted.
    pub boots: Vec<(Time, usize)>,
    /// Answers to operators, in their order.
    pub answers: BTreeMap<u64, Result<String, String>>,
    seen: Vec<Vec<Seen>>,
    /// The numbers of applications.
    apps: BTreeMap<String, usize>,
    /// What of them is there: on which host, and whether that moves.
    app_seen: BTreeMap<(usize, Seat), (usize, bool)>,
    host_boots: Vec<u64>,
    /// What daemons told of how hosts were fenced.
    how: BTreeMap<usize, (Time, By)>,
    applied: u64,
}

impl Watch {
    /// Nothing was seen yet.
    pub fn new(world: &World, names: &Names) -> Self {
        let of = |vm: &String| names.groups.iter().position(|group| group.vm == *vm).unwrap_or(usize::MAX);
        let seen = |host: &Host| {
            let new = |vm| Seen { group: of(vm), runs: false, there: false, life: 0, boot: 0 };
            host.domains.keys().map(new).collect()
        };
        Self {
            ran: Vec::new(),
            marks: Vec::new(),
            evictions: Vec::new(),
            boots: Vec::new(),
            answers: BTreeMap::new(),
            seen: world.hosts.iter().map(seen).collect(),
            apps: names
                .groups
                .iter()
                .enumerate()
                .filter(|(_, group)| !group.targets.is_empty())
                .map(|(nth, group)| (group.name.clone(), nth))
                .collect(),
            app_seen: BTreeMap::new(),
            host_boots: vec![0; world.hosts.len()],
            how: BTreeMap::new(),
            applied: 0,
        }
    }

    /// Looks at the world.
    pub fn look(&mut self, world: &mut World) {
        let told: Vec<Told> = world.told.as_mut().map(core::mem::take).unwrap_or_default();
        for told in told {
            self.hear(&told, world);
        }
        for (nth, host) in world.hosts.iter().enumerate() {
            if core::mem::replace(&mut self.host_boots[nth], host.boot) != host.boot {
                self.boots.push((world.now, nth));
            }
            for (domain, seen) in host.domains.values().zip(&mut self.seen[nth]) {
                compare(world.now, (nth, host), domain, seen, (&mut self.ran, &mut self.marks));
            }
        }
        self.look_at_apps(world);
        self.look_at_ledger(world);
    }

    /// Which applications run where, and what ended of them.
    fn look_at_apps(&mut self, world: &World) {
        let mut now = BTreeMap::new();
        for (seat, it) in world.seats.iter().filter(|(_, it)| !it.lies) {
            for managed in it.groups.values().filter(|managed| managed.executes()) {
                let group = self.apps.get(&managed.app).copied();
                if let (Some(group), Some(host)) = (group, world.host_of(seat)) {
                    now.insert((group, seat.clone()), (host, world.is_moving(seat)));
                }
            }
        }
        if now == self.app_seen {
            return;
        }
        let before = core::mem::replace(&mut self.app_seen, now.clone());
        for ((group, seat), (host, ran)) in &before {
            let is = now.get(&(*group, seat.clone()));
            if *ran && is.is_none_or(|(at, runs)| at != host || !runs) {
                let end = ended(world, *host, seat, is.map(|(at, _)| *at));
                let open = self.ran.iter_mut().rev().find(|ran| ran.group == *group && ran.to.is_none());
                open.into_iter().for_each(|open| open.to = Some((world.now, end)));
            }
        }
        for ((group, seat), (host, runs)) in &now {
            let was = before.get(&(*group, seat.clone()));
            if was.is_none() {
                self.marks.push((world.now, *group, Mark::Started));
            }
            if *runs && was.is_none_or(|(at, ran)| at != host || !ran) {
                let inside = match seat {
                    Seat::Guest { vm, .. } => world.check.group_of(vm),
                    Seat::Machine { .. } => None,
                };
                self.ran.push(Ran { group: *group, host: *host, inside, from: world.now, to: None });
            }
        }
    }

    fn hear(&mut self, told: &Told, world: &World) {
        match &told.what {
            Word::Answer(request, answer) => {
                self.answers.insert(request.0, answer.clone());
            }
            Word::Event(event) if event.kind == EventKind::HostFenced => {
                let host =
                    world.hosts.iter().position(|host| event.text.starts_with(&format!("'{}' ", host.name)));
                let ways = [
                    ("fence agents", By::Agent),
                    ("lease and watchdog", By::Time),
                    ("it says so itself", By::Itself),
                    ("operator", By::Operator),
                ];
                let by = ways.into_iter().find(|(words, _)| event.text.contains(words)).map(|(_, by)| by);
                if let (Some(host), Some(by)) = (host, by) {
                    self.how.insert(host, (told.at, by));
                    self.explain(host);
                }
            }
            Word::Event(_) => {}
        }
    }

    /// Puts together that a host was fenced, and how.
    fn explain(&mut self, host: usize) {
        let Some((at, by)) = self.how.get(&host).copied() else { return };
        let open = self.evictions.iter_mut().rev().find(|eviction| eviction.host == host);
        if let Some(Eviction { fenced: Some((when, how @ None)), at: evicted, .. }) = open
            && at >= *evicted
        {
            let _ = when;
            *how = Some(by);
        }
    }

    fn look_at_ledger(&mut self, world: &World) {
        let Some(ledger) = newest(world) else { return };
        let applied = world.hosts.iter().filter_map(|h| Some(h.daemon.as_ref()?.engine.applied())).max();
        if applied.unwrap_or(0) <= self.applied {
            return;
        }
        self.applied = applied.unwrap_or(0);
        for nth in 0..world.hosts.len() {
            let standing = ledger.standing(world.hosts[nth].id);
            let last = self.evictions.iter_mut().rev().find(|eviction| eviction.host == nth);
            match (standing, last) {
                (Standing::Evicted(_), Some(Eviction { fenced: None, .. })) => {}
                (Standing::Evicted(_), _) => {
                    self.how.remove(&nth);
                    self.evictions.push(Eviction { host: nth, at: world.now, fenced: None });
                }
                (Standing::Out | Standing::In(_), Some(Eviction { fenced: fenced @ None, .. })) => {
                    *fenced = Some((world.now, None));
                    self.explain(nth);
                }
                (Standing::Out | Standing::In(_), _) => {}
            }
        }
    }
}

/// Why an application does not run any more where it did.
fn ended(world: &World, host: usize, seat: &Seat, at: Option<usize>) -> End {
    let it = &world.hosts[host];
    let copy = match seat {
        Seat::Guest { vm, .. } => it.domains.get(vm).map(|copy| copy.run),
        Seat::Machine { .. } => None,
    };
    match copy {
        _ if !it.powered => End::Power,
        _ if at.is_some_and(|at| at != host) => End::Moved,
        _ if it.frozen => End::Frozen,
        Some(run @ (Run::Paused(_) | Run::Off(_))) => why(run),
        _ => {
            let faulted = |it: &Managed| matches!(it.phase, Phase::Faulted { .. });
            let any = world.seats.get(seat).is_some_and(|it| it.groups.values().any(faulted));
            if any { End::Faulted } else { End::Stopped }
        }
    }
}

/// Why vCPUs do not run.
const fn why(run: Run) -> End {
    match run {
        Run::Paused(_) => End::Paused,
        Run::Off(Off::Shutdown) => End::Shutdown,
        Run::Off(Off::Destroyed) => End::Destroyed,
        Run::Off(Off::Crashed) => End::Crashed,
        Run::Off(Off::Failed) => End::Killed,
        Run::Off(Off::Migrated) => End::Moved,
        _ => End::Other,
    }
}

fn compare(
    now: Time,
    (nth, host): (usize, &Host),
    domain: &Domain,
    seen: &mut Seen,
    (ran, marks): (&mut Vec<Ran>, &mut Vec<(Time, usize, Mark)>),
) {
    let runs = host.is_awake() && domain.lives();
    let there = host.powered && !matches!(domain.run, Run::Off(_) | Run::Undefined);
    let group = seen.group;
    // What came from elsewhere stands still at first.
    if domain.life != seen.life && domain.lives() {
        marks.push((now, group, Mark::Started));
    } else if seen.there && there && domain.boot != seen.boot {
        marks.push((now, group, Mark::Rebooted));
    }
    let same = domain.life == seen.life;
    if seen.runs && (!runs || !same) {
        let end = match domain.run {
            _ if !host.powered => End::Power,
            _ if host.frozen => End::Frozen,
            run => why(run),
        };
        if end == End::Paused {
            marks.push((now, group, Mark::Paused));
        }
        let open = ran.iter_mut().rev().find(|ran| ran.group == group && ran.host == nth);
        if let Some(open) = open {
            open.to = Some((now, end));
        }
    }
    if runs && (!seen.runs || !same) {
        let paused =
            ran.iter().rev().find(|ran| ran.group == group && ran.host == nth).and_then(|ran| ran.to);
        if same && paused.is_some_and(|(_, end)| end == End::Paused) {
            marks.push((now, group, Mark::Resumed));
        }
        ran.push(Ran { group, host: nth, inside: None, from: now, to: None });
    }
    *seen = Seen { group, runs, there, life: domain.life, boot: domain.boot };
}

/// The newest ledger there is.
pub fn newest(world: &World) -> Option<&Ledger> {
    let daemons = world.hosts.iter().filter_map(|host| host.daemon.as_ref());
    daemons.max_by_key(|daemon| daemon.engine.applied()).map(|daemon| daemon.engine.ledger())
}

/// The host that leads: of several who believe it, the one of the newest term.
pub fn leader(world: &World) -> Option<usize> {
    let leads = |nth: &usize| {
        let host = &world.hosts[*nth];
        host.is_awake() && !host.stopped && host.daemon.as_ref().is_some_and(|d| d.engine.raft().is_leader())
    };
    let term =
        |nth: &usize| world.hosts[*nth].daemon.as_ref().map_or(0, |daemon| daemon.engine.raft().term());
    (0..world.hosts.len()).filter(leads).max_by_key(term)
}

/// How a host stands, in a word.
pub fn standing(world: &World, host: usize) -> &'static str {
    let Some(ledger) = newest(world) else { return "unknown" };
    let id = world.hosts[host].id;
    match (ledger.standing(id), ledger.host(id).map(|record| record.mode)) {
        (Standing::Out, _) => "out",
        (Standing::Evicted(_), _) => "evicted",
        (Standing::In(_), Some(HostMode::Maintenance)) => "maintenance",
        (Standing::In(_), Some(HostMode::Quarantined)) => "quarantined",
        (Standing::In(_), _) => "in",
    }
}
