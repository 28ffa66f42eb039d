//! A walk at random: a shell in which anything may happen, and what must always hold, checked after each step.
//!
//! The shell keeps its own truth about what is alive and believes nothing of the machine's. A failure prints the seed;
//! `ROOST_WALK_SEED=N` walks that one alone, and `ROOST_WALKS=N` sets how many are walked.

use super::host::{Host, LEASE, draw_managed};
use core::time::Duration;
use roost_guest::config::{self, Config, Hook, Kind};
use roost_guest::subcluster::{Action, Cause, Input, OpId, Outcome, Output, Report, ResourceId, SubCluster};
use roost_proto::link::{Exit, GroupReport, GroupState};
use roost_proto::local::Runtime;
use roost_proto::retry::Jitter;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Walks, unless the environment says otherwise.
const WALKS: u64 = 1500;
/// Steps of one walk in which anything may happen.
const STEPS: u64 = 400;
/// Starts of one resource within a second, at most: the shortest backoff is 80 ms.
const STARTS_PER_SECOND: usize = 14;
/// Wakeups that the machine asks for within a second, at most, for up to fifteen resources: each may be tried ten times,
/// and be checked each second.
const WAKES_PER_SECOND: usize = 200;
/// However bad it was before, when nothing fails any more all is well after this time.
const RECOVERY: Duration = Duration::from_secs(1800);
/// And stays so; at least this long.
const PEACE: Duration = Duration::from_secs(60);

/// Lines of the story that a failure tells.
const TRACE: usize = 120;

/// A resource, by the names of its group and its own.
pub type Key = (String, String);

#[derive(Debug)]
struct Flight {
    id: ResourceId,
    key: Key,
    action: Action,
    begun: Instant,
    limit: Duration,
    ends: Instant,
}

/// A command of a managed group under way.
#[derive(Debug)]
struct HookFlight {
    group: String,
    hook: Hook,
    ends: Instant,
}

struct Shell {
    random: Jitter,
    machine: SubCluster,
    config: Arc<Config>,
    /// A reload that waits for its switch.
    next: Option<Arc<Config>>,
    now: Instant,
    flights: BTreeMap<OpId, Flight>,
    hooks: BTreeMap<OpId, HookFlight>,
    /// What orders managed groups about.
    host: Host,
    /// What is alive, whatever anybody believes, and the fingerprint that it was started with; 0 if nobody can know.
    alive: BTreeMap<Key, u64>,
    /// What the machine was told last to run, and has not touched since.
    told_up: BTreeSet<Key>,
    /// One that dies as soon as it is started.
    cursed: Option<Key>,
    /// What came by a reload and never ran; what depends on it goes on without it.
    newcomers: BTreeSet<Key>,
    /// Groups that a person froze.
    frozen: BTreeSet<String>,
    /// Groups that gave up, and were not thawed or changed since.
    faulted: BTreeSet<String>,
    /// Groups of which something was told since they were well that may end in a start or a stop.
    excused: BTreeSet<String>,
    reports: BTreeMap<String, GroupReport>,
    kept: Runtime,
    starts: BTreeMap<Key, VecDeque<Instant>>,
    wakes: VecDeque<Instant>,
    /// Whether anything may happen still.
    wild: bool,
    /// Starts and stops.
    touched: usize,
    trace: VecDeque<String>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in &self.trace {
                eprintln!("{line}");
            }
        }
    }
}

fn cause(reason: &str) -> Cause {
    Cause { reason: reason.to_owned(), exit: Exit::Unknown, output: String::new() }
}

/// A configuration drawn at random from a small stock of names, so that two of them have much in common.
fn draw(random: &mut Jitter) -> Arc<Config> {
    let mut below = |limit: u64| (random.draw() >> 16) % limit;
    let mut text = String::new();
    let groups = 1 + below(3);
    for group in 0..groups {
        text += &format!("[[group]]\nname = \"g{group}\"\nrestarts = {}\nwindow = \"300d\"\n", below(3));
        text += &draw_managed(&mut below);
        let count = 1 + below(5);
        for resource in 0..count {
            let kind = match below(12) {
                0..=4 => "kind = \"process\"\ncommand = [\"/V\"]\n",
                5 => "kind = \"systemd:a.service\"\n",
                6 | 7 => "kind = \"exec\"\nstart = [\"/V\"]\nstop = [\"/p\"]\nmonitor = [\"/m\"]\n",
                8 => "kind = \"mount\"\nsource = \"/V\"\ntarget = \"/t\"\n",
                9 => "kind = \"ocf:heartbeat:Dummy\"\n",
                10 => "kind = \"tcp\"\naddress = \"127.0.0.1:80\"\n",
                _ => "kind = \"http\"\nurl = \"http://localhost/\"\n",
            };
            let kind = kind.replace("/V", if below(4) == 0 { "/other" } else { "/one" });
            let needs: Vec<String> =
                (0..resource).filter(|_| below(3) == 0).map(|need| format!("\"r{need}\"")).collect();
            let interval = if kind.contains("process") && below(4) == 0 {
                "0s"
            } else {
                ["1s", "5s", "10s"][below(3) as usize]
            };
            text += &format!(
                "[[group.resource]]\nname = \"r{resource}\"\n{kind}needs = [{}]\ninterval = \"{interval}\"\n\
                 timeout = \"5s\"\nstart_timeout = \"10s\"\nstop_timeout = \"5s\"\nattempts = {}\nwindow = \"10d\"\n\
                 backoff = \"{}\"\nbackoff_max = \"10s\"\n",
                needs.join(", "),
                [0, 1, 2, 3, 20][below(5) as usize],
                ["100ms", "1s"][below(2) as usize],
            );
        }
    }
    Arc::new(config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

impl Shell {
    fn new(seed: u64) -> Self {
        let mut random = Jitter::new(seed);
        for _ in 0..8 {
            random.draw(); // small seeds begin alike
        }
        let config = draw(&mut random);
        let now = Instant::from_nanos(1_000_000_000_000);
        let machine = SubCluster::new(Arc::clone(&config), &Runtime::default(), seed, now);
        let mut shell = Self {
            random,
            machine,
            config,
            next: None,
            now,
            flights: BTreeMap::new(),
            hooks: BTreeMap::new(),
            host: Host::new(now),
            alive: BTreeMap::new(),
            told_up: BTreeSet::new(),
            newcomers: BTreeSet::new(),
            cursed: None,
            frozen: BTreeSet::new(),
            faulted: BTreeSet::new(),
            excused: BTreeSet::new(),
            reports: BTreeMap::new(),
            kept: Runtime::default(),
            starts: BTreeMap::new(),
            wakes: VecDeque::new(),
            wild: true,
            touched: 0,
            trace: VecDeque::new(),
        };
        shell.excuse_all();
        shell.host.boot(&shell.config);
        for key in shell.keys() {
            if shell.below(4) == 0 {
                shell.alive.insert(key.clone(), 0); // enabled in the guest's own init
            }
            if shell.below(20) == 0 {
                shell.cursed = Some(key);
            }
        }
        shell.drain();
        shell
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.random.draw() >> 16) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.wild && self.below(100) < percent
    }

    fn note(&mut self, text: String) {
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>12.3} {text}", self.now.as_nanos() as f64 / 1e9 - 1000.0));
    }

    fn keys(&self) -> Vec<Key> {
        let groups = self.config.groups.iter();
        groups.flat_map(|g| g.resources.iter().map(|r| (g.name.clone(), r.name.clone()))).collect()
    }

    fn plan(&self, id: ResourceId) -> &config::Resource {
        &self.config.groups[id.group].resources[id.resource]
    }

    fn key(&self, id: ResourceId) -> Key {
        (self.config.groups[id.group].name.clone(), self.plan(id).name.clone())
    }

    fn id(&self, key: &Key) -> Option<ResourceId> {
        let group = self.config.groups.iter().position(|group| group.name == key.0)?;
        let resource = self.config.groups[group].resources.iter().position(|r| r.name == key.1)?;
        Some(ResourceId { group, resource })
    }

    fn excuse_all(&mut self) {
        self.excused = self.config.groups.iter().map(|group| group.name.clone()).collect();
    }

    fn fingerprints(&self) -> BTreeMap<Key, u64> {
        let fingerprint = |key: Key| {
            let id = self.id(&key).expect("it is configured");
            (key, self.plan(id).fingerprint())
        };
        self.keys().into_iter().map(fingerprint).collect()
    }

    /// Everything that needs `id`, however far away.
    fn dependents(&self, id: ResourceId) -> Vec<ResourceId> {
        let resources = &self.config.groups[id.group].resources;
        let mut found = BTreeSet::from([id.resource]);
        for (index, resource) in resources.iter().enumerate() {
            if resource.needs.iter().any(|need| found.contains(need)) {
                found.insert(index);
            }
        }
        found.remove(&id.resource);
        found.into_iter().map(|resource| ResourceId { group: id.group, resource }).collect()
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Run { op, id, action, limit } => self.run(op, id, action, limit),
                Output::Cancel { op } => self.cancel(op),
                Output::Report(report) => self.report(report),
                Output::Persist(kept) => {
                    assert_eq!(kept.groups.len(), self.config.groups.len());
                    self.kept = kept;
                }
                Output::Hook { op, group, hook, limit, .. } => self.run_hook(op, group, hook, limit),
                Output::Ready { group, number, .. } => {
                    self.note(format!("{group} answers {number}"));
                    self.host.answered(&group, number);
                }
                Output::Switch => self.switch(),
                Output::Log(text) => {
                    self.note(format!("log: {text}"));
                    assert!(!text.is_empty());
                }
            }
        }
        for (report, group) in self.machine.reports().into_iter().zip(&self.config.groups) {
            let report = report.group();
            assert_eq!(report.name, group.name);
            assert_eq!(Some(&report.state), self.reports.get(&report.name).map(|told| &told.state), "untold");
            let is_well = match report.state {
                GroupState::Online | GroupState::Degraded => self.host.wants_up(&report.name),
                GroupState::Offline => !self.host.wants_up(&report.name),
                _ => false,
            };
            let is_quiet =
                self.flights.values().all(|f| f.key.0 != report.name || f.action == Action::Monitor);
            if is_well && is_quiet {
                self.excused.remove(&report.name);
            }
        }
    }

    fn run(&mut self, op: OpId, id: ResourceId, action: Action, limit: Duration) {
        let key = self.key(id);
        self.note(format!("{action:?} {key:?} {op:?}"));
        assert!(self.flights.values().all(|flight| flight.key != key), "two operations for {key:?}");
        let plan = self.plan(id);
        let wanted = match action {
            Action::Start => plan.start_timeout,
            Action::Stop => plan.stop_timeout,
            Action::Monitor => plan.timeout,
        };
        assert!(limit <= wanted, "{limit:?}");
        match action {
            Action::Start => self.check_start(id, &key),
            Action::Stop => self.check_stop(id, &key),
            Action::Monitor => {}
        }
        let time = match self.below(4) {
            0 => Duration::ZERO,
            1 => limit,
            _ => limit * u32::try_from(self.below(100)).expect("small") / 100,
        };
        let time = match self.wild {
            true if self.cursed.as_ref() == Some(&key) => Duration::ZERO,
            true => time,
            false => time / 50,
        };
        let flight = Flight { id, key, action, begun: self.now, limit, ends: self.now + time };
        self.flights.insert(op, flight);
    }

    /// What must hold when something is started or stopped.
    fn check_touch(&mut self, id: ResourceId, key: &Key) {
        self.touched += 1;
        assert!(!self.plan(id).kind.is_probe(), "{key:?} is a probe");
        assert!(!self.frozen.contains(&key.0), "{key:?} is frozen");
        let is_faulted = self.faulted.contains(&key.0) && !self.host.manages(&key.0);
        assert!(!is_faulted, "{key:?} is faulted");
        assert!(self.excused.contains(&key.0), "{key:?} is touched, and nothing failed");
    }

    fn check_start(&mut self, id: ResourceId, key: &Key) {
        self.check_touch(id, key);
        self.host.check_start(&self.config.groups[id.group]);
        assert!(!self.alive.contains_key(key), "a second copy of {key:?}");
        for &need in &self.plan(id).needs {
            let need = (key.0.clone(), self.config.groups[id.group].resources[need].name.clone());
            assert!(self.told_up.contains(&need), "{key:?} is started without {need:?}");
        }
        self.told_up.remove(key);
        let starts = self.starts.entry(key.clone()).or_default();
        starts.push_back(self.now);
        while starts.front().is_some_and(|&first| self.now.since(first) >= Duration::from_secs(1)) {
            starts.pop_front();
        }
        assert!(starts.len() <= STARTS_PER_SECOND, "{key:?} is started in a tight loop");
    }

    fn check_stop(&mut self, id: ResourceId, key: &Key) {
        self.check_touch(id, key);
        for dependent in self.dependents(id) {
            let dependent = self.key(dependent);
            let is_probe = self.id(&dependent).is_some_and(|id| self.plan(id).kind.is_probe());
            let is_fine = is_probe || self.newcomers.contains(key) || !self.told_up.contains(&dependent);
            assert!(is_fine, "{key:?} is stopped below {dependent:?}");
        }
        self.told_up.remove(key);
    }

    fn cancel(&mut self, op: OpId) {
        self.note(format!("cancel {op:?}"));
        if let Some(flight) = self.hooks.remove(&op) {
            self.host.hook_ended(&flight.group, flight.hook, false);
            self.start_by_hook(&flight);
            return;
        }
        let flight = self.flights.remove(&op).expect("what is cancelled is under way");
        if flight.action == Action::Start && self.below(2) == 0 {
            self.live(flight.key);
        }
    }

    /// It is alive from here on, started with the present configuration.
    fn live(&mut self, key: Key) {
        let id = self.id(&key).expect("only what is configured is started");
        let fingerprint = self.plan(id).fingerprint();
        self.alive.insert(key, fingerprint);
    }

    fn report(&mut self, report: Report) {
        let report = match report {
            Report::Group(report) => {
                assert!(!self.host.manages(&report.name));
                report
            }
            Report::Managed(managed) => {
                self.note(format!(
                    "{}: {:?}, obeys {:?}",
                    managed.report.name, managed.wanted, managed.obeys
                ));
                let name = managed.report.name.clone();
                if self.host.told(self.now, &self.config, &managed) {
                    self.excused.insert(name.clone());
                }
                if managed.report.state == GroupState::Offline {
                    assert_eq!(
                        self.strangers(&name),
                        Vec::<Key>::new(),
                        "it runs, and is said to be offline"
                    );
                }
                if self.reports.get(&name) == Some(&managed.report) {
                    return; // an order changed, or was refused
                }
                managed.report
            }
        };
        self.note(format!("{}: {:?}", report.name, report.state));
        assert_eq!(report.check(), Ok(()));
        assert_ne!(self.reports.get(&report.name), Some(&report), "told twice");
        assert_eq!(report.frozen, self.frozen.contains(&report.name));
        if self.host.manages(&report.name) {
            // Its faults end by orders, and on the way down they are no reason to leave it alone.
        } else if matches!(report.state, GroupState::Faulted(_)) {
            self.faulted.insert(report.name.clone());
        } else {
            assert!(!self.faulted.contains(&report.name), "a fault stays");
        }
        self.reports.insert(report.name.clone(), report);
    }

    fn switch(&mut self) {
        self.note("switch".to_owned());
        assert!(self.flights.is_empty(), "a switch with something under way: {:?}", self.flights);
        assert!(self.hooks.is_empty(), "a switch with a command under way: {:?}", self.hooks);
        let before = self.fingerprints();
        let next = self.next.take().expect("a reload waits");
        let managed = self.host.groups();
        self.host.switch(&self.config, &next);
        self.config = next;
        self.reports.retain(|name, _| managed.contains(name) == self.host.manages(name)); // told in another way
        let names: BTreeSet<String> = self.config.groups.iter().map(|group| group.name.clone()).collect();
        self.frozen.retain(|name| names.contains(name));
        self.faulted.retain(|name| names.contains(name));
        self.reports.retain(|name, _| names.contains(name));
        let keys: BTreeSet<Key> = self.keys().into_iter().collect();
        self.told_up.retain(|key| keys.contains(key));
        self.forget_strangers();
        self.newcomers.retain(|key| keys.contains(key));
        let after = self.fingerprints().into_iter();
        let is_new = |(key, fingerprint): &(Key, u64)| before.get(key) != Some(fingerprint);
        self.newcomers.extend(after.filter(is_new).map(|(key, _)| key));
        self.excuse_all();
        self.forget_lost_faults();
    }

    /// Of what runs on though it is configured no more, nobody remembers how it was started.
    fn forget_strangers(&mut self) {
        let is_kept = |key: &Key| self.id(key).is_some_and(|id| !self.plan(id).kind.is_probe());
        let strangers: Vec<Key> = self.alive.keys().filter(|key| !is_kept(key)).cloned().collect();
        for key in strangers {
            self.alive.insert(key, 0);
        }
    }

    /// The fault of a resource that is configured no more goes with it.
    fn forget_lost_faults(&mut self) {
        for report in self.machine.reports() {
            if !matches!(report.group().state, GroupState::Faulted(_)) {
                self.faulted.remove(&report.group().name);
            }
        }
    }

    /// Something is alive that the kernel tells the death of, and the machine was told that it runs.
    fn is_watched(&self, id: ResourceId, key: &Key) -> bool {
        let kind = &self.plan(id).kind;
        self.told_up.contains(key)
            && matches!(kind, Kind::Process(_) | Kind::Systemd { .. } | Kind::Mount { .. })
    }

    fn die(&mut self, key: &Key) {
        self.alive.remove(key);
        let Some(id) = self.id(key) else { return };
        if self.is_watched(id, key) {
            self.note(format!("dies: {key:?}"));
            self.told_up.remove(key);
            self.excused.insert(key.0.clone());
            self.machine.handle(self.now, Input::Gone { id, cause: cause("died") });
            self.drain();
        } else {
            self.note(format!("dies unseen: {key:?}"));
        }
    }

    /// Whether it runs, in truth. A probe sees what it needs; one that needs nothing sees the weather.
    fn truth(&mut self, id: ResourceId) -> bool {
        let plan = self.plan(id);
        if !plan.kind.is_probe() {
            return self.alive.contains_key(&self.key(id));
        }
        let needs = plan.needs.clone();
        if needs.is_empty() {
            return !self.chance(5);
        }
        needs.into_iter().all(|resource| self.truth(ResourceId { group: id.group, resource }))
    }

    fn finish(&mut self, op: OpId) {
        let flight = self.flights.remove(&op).expect("under way");
        let outcome = match flight.action {
            Action::Start => self.end_start(&flight),
            Action::Stop => self.end_stop(&flight),
            Action::Monitor => self.end_monitor(&flight),
        };
        self.note(format!("ended {op:?}: {outcome:?}"));
        let is_process = matches!(self.plan(flight.id).kind, Kind::Process(_));
        let is_good = matches!(outcome, Outcome::Running | Outcome::Degraded(_));
        let is_void = flight.action == Action::Monitor
            && matches!(outcome, Outcome::TimedOut(_))
            && self.now.since(flight.begun) > flight.limit + Duration::from_secs(5);
        if flight.action == Action::Monitor && is_good
            || flight.action == Action::Start && is_good && is_process
        {
            self.told_up.insert(flight.key.clone());
            self.newcomers.remove(&flight.key);
            if !self.host.wants_up(&flight.key.0) {
                self.excused.insert(flight.key.0.clone()); // it is stopped
            }
        } else if !is_good && !is_void {
            self.told_up.remove(&flight.key);
            self.excused.insert(flight.key.0.clone());
        }
        self.machine.handle(self.now, Input::Done { op, outcome });
        self.drain();
        if self.cursed.as_ref() == Some(&flight.key) && flight.action == Action::Start && self.wild {
            self.die(&flight.key);
        }
    }

    fn end_start(&mut self, flight: &Flight) -> Outcome {
        let outcome = match self.below(100) {
            _ if !self.wild => Outcome::Running,
            0..=69 => Outcome::Running,
            70..=74 => Outcome::Degraded(cause("slow")),
            75..=84 => Outcome::Failed(cause("failed")),
            85..=91 => Outcome::TimedOut(cause("too slow")),
            92..=96 => Outcome::Stopped,
            _ => Outcome::Misconfigured(cause("wrong")),
        };
        let is_process = matches!(self.plan(flight.id).kind, Kind::Process(_));
        let lives = match outcome {
            Outcome::Running if is_process => true, // dead at once is an event of its own
            Outcome::Running | Outcome::Degraded(_) => !self.chance(15),
            _ if is_process => false, // the shell has killed what was started
            _ => self.below(3) == 0,
        };
        if lives {
            self.live(flight.key.clone());
        }
        if is_process && matches!(outcome, Outcome::Degraded(_)) {
            self.live(flight.key.clone());
            return Outcome::Running;
        }
        outcome
    }

    fn end_stop(&mut self, flight: &Flight) -> Outcome {
        if self.chance(4) {
            return Outcome::Failed(cause("will not stop"));
        }
        self.alive.remove(&flight.key);
        Outcome::Stopped
    }

    fn end_monitor(&mut self, flight: &Flight) -> Outcome {
        let is_late = self.now.since(flight.begun) > flight.limit + Duration::from_secs(5);
        if is_late && self.below(2) == 0 {
            return Outcome::TimedOut(cause("the shell's clock ran on"));
        }
        let is_process = matches!(self.plan(flight.id).kind, Kind::Process(_));
        match self.truth(flight.id) {
            _ if self.chance(2) => Outcome::Failed(cause("says that it failed")),
            _ if self.chance(1) => Outcome::TimedOut(cause("hangs")),
            true if !is_process && self.chance(3) => Outcome::Degraded(cause("limps")),
            true => Outcome::Running,
            false => Outcome::Stopped,
        }
    }

    /// Time passes until the next thing happens.
    fn advance(&mut self, longest: Duration) {
        let flights = self.flights.iter().map(|(&op, flight)| (flight.ends, op));
        let first = flights.chain(self.hooks.iter().map(|(&op, hook)| (hook.ends, op))).min();
        let longest = if self.host.speaks() { longest.min(LEASE / 2) } else { longest };
        let wake = self.machine.poll_timeout();
        let end = self.now + longest;
        match (first, wake) {
            (Some((ends, op)), wake) if ends <= end && wake.is_none_or(|wake| ends <= wake) => {
                self.now = self.now.max(ends);
                self.hear();
                match self.hooks.contains_key(&op) {
                    true => self.finish_hook(op),
                    false => self.finish(op),
                }
            }
            (_, Some(wake)) if wake <= end => {
                self.now = self.now.max(wake);
                self.hear();
                self.wake();
            }
            _ => {
                self.now = end;
                self.hear();
            }
        }
    }

    /// The host says something, unless it is silent.
    fn hear(&mut self) {
        if self.host.speaks() {
            self.host.heard = self.now;
            self.machine.heard(self.now);
        }
    }

    /// What of a managed group is alive and could be known to be.
    fn strangers(&self, group: &str) -> Vec<Key> {
        let is_known = |key: &&Key| {
            let is_its = |id: ResourceId| !self.plan(id).kind.is_probe();
            key.0 == group && self.id(key).is_some_and(is_its) && !self.host.strays.contains(*key)
        };
        self.alive.keys().filter(is_known).cloned().collect()
    }

    fn run_hook(&mut self, op: OpId, group: usize, hook: Hook, limit: Duration) {
        let plan = &self.config.groups[group];
        let name = plan.name.clone();
        assert_eq!(Some(limit), plan.managed.as_ref().map(|managed| managed.hook_timeout));
        assert!(!self.frozen.contains(&name), "{name} is frozen, and {hook:?} is run");
        self.host.hook_begun(&name, hook);
        if hook == Hook::AfterOffline {
            assert_eq!(self.strangers(&name), Vec::<Key>::new(), "it is not down");
        }
        let is_again =
            |other: &HookFlight| other.group == name && (other.hook == Hook::Ready) == (hook == Hook::Ready);
        assert!(!self.hooks.values().any(is_again), "two commands of {name}");
        self.note(format!("{name} runs {hook:?} {op:?}"));
        let part = u32::try_from(self.below(100)).expect("small");
        let time = if self.wild { limit * part / 100 } else { limit / 50 };
        self.hooks.insert(op, HookFlight { group: name, hook, ends: self.now + time });
    }

    /// A command on the way up may start something of the group itself.
    fn start_by_hook(&mut self, flight: &HookFlight) {
        if flight.hook != Hook::BeforeOnline || !self.chance(50) {
            return;
        }
        let key = (flight.group.clone(), format!("r{}", self.below(5)));
        let Some(id) = self.id(&key) else { return };
        let by_hand = !self.plan(id).kind.is_probe() && !matches!(self.plan(id).kind, Kind::Process(_));
        if by_hand && self.flights.values().all(|flight| flight.key != key) {
            self.alive.entry(key).or_insert(0);
        }
    }

    fn finish_hook(&mut self, op: OpId) {
        let flight = self.hooks.remove(&op).expect("it is under way");
        self.start_by_hook(&flight);
        let result = if self.chance(25) { Err(cause("it failed")) } else { Ok(()) };
        self.note(format!("ended {op:?}: {result:?}"));
        self.host.hook_ended(&flight.group, flight.hook, result.is_ok());
        if flight.hook != Hook::Ready {
            self.excused.insert(flight.group);
        }
        self.machine.handle(self.now, Input::HookDone { op, result });
        self.drain();
    }

    /// The host orders, asks, falls silent or speaks again, or connects anew.
    fn host(&mut self) {
        let draw = self.below(8);
        let Some(name) = self.host.pick(draw) else { return };
        let draw = self.below(1 << 20);
        match draw % 8 {
            0..=3 => self.order(&name, draw / 8),
            4 => {
                let input = self.host.ask(&name);
                self.note(format!("{input:?}"));
                self.machine.handle(self.now, input);
            }
            5 => {
                self.note("the host connects anew".to_owned());
                self.host.meet();
                self.machine.handle(self.now, Input::Met);
            }
            _ => {
                self.host.silent = !self.host.silent;
                self.note(format!("silent: {}", self.host.silent));
                self.hear();
            }
        }
        self.drain();
    }

    fn order(&mut self, name: &str, draw: u64) {
        let input = self.host.order(name, draw);
        self.note(format!("{input:?}"));
        self.excused.insert(name.to_owned());
        self.starts.retain(|key, _| key.0 != name); // an order starts afresh
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn wake(&mut self) {
        // The end of a lease may be what a reload waited for, and then all is looked at that is new.
        for _ in 0..2 {
            self.excused.extend(self.host.expired(self.now));
            self.machine.handle_timeout(self.now);
            self.drain();
            self.host.check_leases(self.now, &self.config);
            if self.machine.poll_timeout().is_none_or(|next| next > self.now) {
                break;
            }
        }
        let next = self.machine.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "the machine would never sleep again");
        self.wakes.push_back(self.now);
        while self.wakes.front().is_some_and(|&first| self.now.since(first) >= Duration::from_secs(1)) {
            self.wakes.pop_front();
        }
        assert!(self.wakes.len() <= WAKES_PER_SECOND, "the machine hardly sleeps");
    }

    fn accident(&mut self) {
        match self.below(20) {
            0..=6 => {
                let alive: Vec<Key> = self.alive.keys().cloned().collect();
                if !alive.is_empty() {
                    let victim = alive[self.below(alive.len() as u64) as usize].clone();
                    self.die(&victim);
                }
            }
            7..=8 => self.person(),
            9 => self.reload(),
            10 => self.crash(),
            11 => {
                self.note("stands still".to_owned());
                self.now = self.now + Duration::from_secs(1 + self.below(7200));
            }
            12..=15 => self.host(),
            _ => {}
        }
    }

    /// Somebody freezes, thaws, or starts and stops by hand what is frozen.
    fn person(&mut self) {
        let group = self.below(self.config.groups.len() as u64) as usize;
        let name = self.config.groups[group].name.clone();
        match self.below(3) {
            0 => {
                self.note(format!("freeze {name}"));
                self.frozen.insert(name);
                self.machine.handle(self.now, Input::Freeze { group });
            }
            1 => self.thaw(group),
            _ if self.frozen.contains(&name) => {
                let count = self.config.groups[group].resources.len() as u64;
                let id = ResourceId { group, resource: self.below(count) as usize };
                let key = self.key(id);
                let kind = &self.plan(id).kind;
                let by_hand = !kind.is_probe() && !matches!(kind, Kind::Process(_));
                if by_hand && self.flights.values().all(|flight| flight.key != key) {
                    self.note(format!("by hand: {key:?}"));
                    if self.alive.remove(&key).is_none() {
                        self.alive.insert(key.clone(), 0);
                        self.host.strays.insert(key);
                    }
                }
            }
            _ => {}
        }
        self.drain();
    }

    fn thaw(&mut self, group: usize) {
        let name = self.config.groups[group].name.clone();
        self.note(format!("thaw {name}"));
        self.frozen.remove(&name);
        self.faulted.remove(&name);
        self.host.strays.retain(|key| key.0 != name); // it is looked at anew
        self.starts.retain(|key, _| key.0 != name); // its counts begin anew, so no less do these
        self.excused.insert(name);
        self.machine.handle(self.now, Input::Thaw { group });
        self.drain();
    }

    fn reload(&mut self) {
        let config = if self.below(3) == 0 { Arc::clone(&self.config) } else { draw(&mut self.random) };
        self.note("reload".to_owned());
        self.starts.clear(); // a fault may be forgiven, and counts begin anew
        for group in &self.config.groups {
            if config.groups.iter().find(|new| new.name == group.name) != Some(group) {
                self.faulted.remove(&group.name);
                self.excused.insert(group.name.clone());
            }
        }
        self.next = Some(Arc::clone(&config));
        self.machine.reload(self.now, config);
        self.drain();
    }

    /// The controller is killed and started again; applications live on, agents under way do not.
    fn crash(&mut self) {
        self.note("crash".to_owned());
        for flight in core::mem::take(&mut self.flights).into_values() {
            if flight.action == Action::Start && self.below(2) == 0 {
                self.live(flight.key);
            }
        }
        let old = Arc::clone(&self.config);
        if let Some(next) = self.next.take() {
            self.config = next;
        }
        self.forget_strangers();
        self.told_up.clear();
        self.newcomers.clear();
        self.reports.clear();
        self.starts.clear(); // how often a controller is restarted is not its own doing
        self.excuse_all();
        self.hooks.clear();
        if self.below(10) == 0 {
            self.kept = Runtime::default(); // the disk was full
            self.alive.values_mut().for_each(|fingerprint| *fingerprint = 0);
            self.frozen.clear();
            self.faulted.clear();
        }
        let names: BTreeSet<&str> = self.config.groups.iter().map(|group| group.name.as_str()).collect();
        self.frozen.retain(|name| names.contains(name.as_str()));
        self.faulted.retain(|name| names.contains(name.as_str()));
        self.kept.groups.retain(|group| names.contains(group.name.as_str()));
        self.host.crash(self.now, &old, &self.config, &self.kept);
        let seed = self.random.draw();
        self.machine = SubCluster::new(Arc::clone(&self.config), &self.kept, seed, self.now);
        self.forget_lost_faults();
        self.drain();
    }

    /// Nothing fails any more, and in time everything is well or given up on; what was given up on is well once a
    /// person says so; and then nothing is touched.
    fn calm_down(&mut self) {
        self.note("from here on nothing fails".to_owned());
        self.wild = false;
        self.cursed = None;
        self.host.silent = false;
        self.hear();
        for group in 0..self.config.groups.len() {
            if self.frozen.contains(&self.config.groups[group].name) {
                self.thaw(group);
            }
        }
        let is_settled = |shell: &Self| shell.all(|state| matches!(state, GroupState::Faulted(_)));
        self.wait_for("settled", |shell| shell.next.is_none() && is_settled(shell));
        self.pass(PEACE); // what died unseen is noticed
        self.wait_for("settled again", is_settled);
        for name in self.host.groups() {
            let draw = self.below(1 << 20) | 7; // a new order, that is not refused
            self.order(&name, draw);
        }
        for group in 0..self.config.groups.len() {
            if self.faulted.contains(&self.config.groups[group].name) {
                self.thaw(group);
            }
        }
        self.wait_for("where they are wanted", |shell| shell.all(|_| false));
        self.pass(PEACE); // what somebody started is noticed
        self.wait_for("where they are wanted", |shell| shell.all(|_| false));
        self.host.check_answers();
        for key in self.keys() {
            let id = self.id(&key).expect("it is configured");
            if !self.host.wants_up(&key.0) {
                assert!(self.plan(id).kind.is_probe() || !self.alive.contains_key(&key), "{key:?} runs");
                continue;
            }
            assert!(self.truth(id), "{key:?} is said to run");
            let started = self.alive.get(&key).copied().unwrap_or_default();
            let is_right = started == 0 || started == self.plan(id).fingerprint();
            assert!(is_right, "{key:?} runs with a configuration of the past");
        }
        let touched = self.touched;
        self.pass(PEACE);
        assert_eq!(self.touched, touched, "nothing fails, and something is touched");
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.advance(end.since(self.now));
        }
    }

    /// Whether every group is where it is wanted, or else as is fine too.
    fn all(&self, is_fine: impl Fn(&GroupState) -> bool) -> bool {
        self.machine.reports().iter().all(|report| {
            let report = report.group();
            let up = self.host.wants_up(&report.name);
            let wanted = if up { GroupState::Online } else { GroupState::Offline };
            report.state == wanted || is_fine(&report.state)
        })
    }

    fn wait_for(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = self.now + RECOVERY;
        while !is_so(self) {
            assert!(self.now < end, "not {what}: {:?}", self.machine.reports());
            self.advance(end.since(self.now));
        }
    }
}

fn walk(seed: u64) {
    let mut shell = Shell::new(seed);
    for _ in 0..STEPS {
        if shell.below(5) == 0 {
            shell.accident();
        } else {
            shell.advance(Duration::from_secs(20));
        }
    }
    shell.calm_down();
}

#[test]
fn what_must_always_hold_holds_on_every_walk() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("ROOST_WALK_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("ROOST_WALKS").unwrap_or(WALKS),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| walk(seed)) {
            eprintln!("the walk of seed {seed} fails: ROOST_WALK_SEED={seed} repeats it");
            std::panic::resume_unwind(panic);
        }
    }
}
