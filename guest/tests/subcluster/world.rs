//! A machine, and a shell whose every answer the test gives.

use core::time::Duration;
use roost_guest::config::{self, Config};
use roost_guest::subcluster::{Action, Cause, Input, OpId, Outcome, Output, Report, ResourceId, SubCluster};
use roost_proto::link::{
    Circumstances, Exit, Fault, GroupReport, GroupState, ManagedReport, Readiness, ResourceReport,
    ResourceState,
};
use roost_proto::local::Runtime;
use roost_proto::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const SECOND: Duration = Duration::from_secs(1);

pub struct World {
    pub machine: SubCluster,
    pub config: Arc<Config>,
    pub now: Instant,
    /// What is under way: "start web", and its limit.
    pub flights: BTreeMap<OpId, (String, Duration)>,
    /// What was begun, cancelled and switched since the last look, in order.
    begun: Vec<String>,
    pub reports: Vec<GroupReport>,
    /// Those of managed groups are here, too.
    pub managed: Vec<ManagedReport>,
    /// Commands that are under way: "ready", with what they were given.
    pub hooks: BTreeMap<OpId, (String, Circumstances, u64)>,
    pub answers: Vec<(u32, Readiness)>,
    pub kept: Vec<Runtime>,
    pub logs: Vec<String>,
    /// A configuration that waits for its switch.
    next: Option<Arc<Config>>,
    /// How often the machine asked to be woken.
    pub wakes: usize,
}

/// A configuration of one group, "site".
pub fn site(resources: &str) -> String {
    format!("[[group]]\nname = \"site\"\n{resources}")
}

/// A resource with the lines `more`.
pub fn resource(name: &str, kind: &str, more: &str) -> String {
    let keys = match kind {
        "process" => "command = [\"/bin/daemon\"]",
        "exec" => "start = [\"/s\"]\nstop = [\"/p\"]\nmonitor = [\"/m\"]",
        "tcp" => "address = \"127.0.0.1:80\"",
        "mount" => "source = \"/dev/vdb\"\ntarget = \"/srv\"",
        _ => "",
    };
    format!("[[group.resource]]\nname = \"{name}\"\nkind = \"{kind}\"\n{keys}\n{more}\n")
}

pub fn process(name: &str, more: &str) -> String {
    resource(name, "process", more)
}

pub fn exec(name: &str, more: &str) -> String {
    resource(name, "exec", more)
}

pub fn tcp(name: &str, more: &str) -> String {
    resource(name, "tcp", more)
}

pub fn cause(reason: &str) -> Cause {
    Cause { reason: reason.to_owned(), exit: Exit::Code(1), output: "its last line".to_owned() }
}

pub fn failed() -> Outcome {
    Outcome::Failed(cause("it broke"))
}

pub fn parse(text: &str) -> Arc<Config> {
    Arc::new(config::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

impl World {
    /// A machine on a fresh boot; what it wants at first is waiting.
    pub fn new(text: &str) -> Self {
        Self::restored(text, &Runtime::default())
    }

    pub fn restored(text: &str, saved: &Runtime) -> Self {
        let config = parse(text);
        let now = Instant::from_nanos(1_000_000_000_000);
        let machine = SubCluster::new(Arc::clone(&config), saved, 7, now);
        let mut world = Self {
            machine,
            config,
            now,
            flights: BTreeMap::new(),
            begun: Vec::new(),
            reports: Vec::new(),
            managed: Vec::new(),
            hooks: BTreeMap::new(),
            answers: Vec::new(),
            kept: Vec::new(),
            logs: Vec::new(),
            next: None,
            wakes: 0,
        };
        world.drain();
        world
    }

    /// A machine whose resources were all found stopped, then started without trouble.
    pub fn online(text: &str) -> Self {
        let mut world = Self::new(text);
        world.settle();
        for report in world.machine.reports() {
            let group = report.group();
            assert_eq!(group.state, GroupState::Online, "{}", group.name);
        }
        world.take();
        world.reports.clear();
        world.kept.clear();
        world
    }

    /// Answers every operation well until nothing is under way: looks find nothing, starts and stops work.
    pub fn settle(&mut self) {
        let mut up: Vec<String> = Vec::new();
        for report in self.machine.reports() {
            let is_up = |resource: &&ResourceReport| {
                matches!(resource.state, ResourceState::Running | ResourceState::Degraded)
            };
            up.extend(report.group().resources.iter().filter(is_up).map(|resource| resource.name.clone()));
        }
        while let Some((&op, (label, _))) = self.flights.iter().next() {
            let (action, name) = label.split_once(' ').expect("two words");
            let (action, name) = (action.to_owned(), name.to_owned());
            let is_probe = self
                .config
                .groups
                .iter()
                .flat_map(|g| &g.resources)
                .any(|r| r.name == name && r.kind.is_probe());
            let outcome = match action.as_str() {
                "start" => {
                    up.push(name);
                    Outcome::Running
                }
                "monitor" if is_probe || up.contains(&name) => Outcome::Running,
                "stop" => {
                    up.retain(|other| *other != name);
                    Outcome::Stopped
                }
                _ => Outcome::Stopped,
            };
            self.answer(op, outcome);
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Run { op, id, action, limit } => {
                    let word = match action {
                        Action::Start => "start",
                        Action::Stop => "stop",
                        Action::Monitor => "monitor",
                    };
                    let label = format!("{word} {}", self.name(id));
                    let same =
                        |(other, _): &(String, Duration)| other.ends_with(&format!(" {}", self.name(id)));
                    assert!(!self.flights.values().any(same), "two operations for {}", self.name(id));
                    self.begun.push(label.clone());
                    self.flights.insert(op, (label, limit));
                }
                Output::Cancel { op } => {
                    let hook = self.hooks.remove(&op).map(|(hook, ..)| hook);
                    let flight = self.flights.remove(&op).map(|(label, _)| label);
                    let label = hook.or(flight).expect("only what is under way is cancelled");
                    self.begun.push(format!("cancel {label}"));
                }
                Output::Report(report) => {
                    assert_eq!(report.group().check(), Ok(()));
                    self.reports.push(report.group().clone());
                    if let Report::Managed(report) = report {
                        self.managed.push(report);
                    }
                }
                Output::Hook { op, hook, circumstances, epoch, .. } => {
                    assert!(self.hooks.values().all(|(other, ..)| other != hook.key()), "two of {hook:?}");
                    self.begun.push(hook.key().to_owned());
                    self.hooks.insert(op, (hook.key().to_owned(), circumstances, epoch));
                }
                Output::Ready { number, readiness, .. } => self.answers.push((number, readiness)),
                Output::Persist(runtime) => self.kept.push(runtime),
                Output::Switch => {
                    self.begun.push("switch".to_owned());
                    self.config = self.next.take().expect("a reload");
                }
                Output::Log(text) => self.logs.push(text),
            }
        }
    }

    pub fn name(&self, id: ResourceId) -> String {
        self.config.groups[id.group].resources[id.resource].name.clone()
    }

    pub fn id(&self, name: &str) -> ResourceId {
        for (group, plan) in self.config.groups.iter().enumerate() {
            if let Some(resource) = plan.resources.iter().position(|resource| resource.name == name) {
                return ResourceId { group, resource };
            }
        }
        panic!("no resource {name}")
    }

    /// What was begun since the last look.
    pub fn take(&mut self) -> Vec<String> {
        core::mem::take(&mut self.begun)
    }

    /// Asserts what was begun since the last look.
    #[track_caller]
    pub fn began(&mut self, expected: &[&str]) {
        assert_eq!(self.take(), expected);
    }

    fn answer(&mut self, op: OpId, outcome: Outcome) {
        self.flights.remove(&op).expect("it is under way");
        self.machine.handle(self.now, Input::Done { op, outcome });
        self.drain();
    }

    /// Ends the operation that is called `label`.
    #[track_caller]
    pub fn end(&mut self, label: &str, outcome: Outcome) {
        let op = self.flights.iter().find(|(_, (other, _))| other == label).map(|(&op, _)| op);
        self.answer(op.unwrap_or_else(|| panic!("'{label}' is not under way: {:?}", self.flights)), outcome);
    }

    /// Ends each of `labels` well.
    #[track_caller]
    pub fn end_well(&mut self, labels: &[&str]) {
        for label in labels {
            self.end(label, if label.starts_with("stop") { Outcome::Stopped } else { Outcome::Running });
        }
    }

    pub fn limit(&self, label: &str) -> Duration {
        self.flights.values().find(|(other, _)| other == label).expect("under way").1
    }

    pub fn gone(&mut self, name: &str) {
        let id = self.id(name);
        self.machine.handle(self.now, Input::Gone { id, cause: cause("killed by signal 9") });
        self.drain();
    }

    pub fn freeze(&mut self) {
        self.machine.handle(self.now, Input::Freeze { group: 0 });
        self.drain();
    }

    pub fn thaw(&mut self) {
        self.machine.handle(self.now, Input::Thaw { group: 0 });
        self.drain();
    }

    pub fn reload(&mut self, text: &str) {
        let config = parse(text);
        self.next = Some(Arc::clone(&config));
        self.machine.reload(self.now, config);
        self.drain();
    }

    pub fn shut_down(&mut self) {
        self.machine.shut_down(self.now);
        self.drain();
    }

    /// Lets time pass; the machine is woken whenever it asked to be.
    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.machine.poll_timeout().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.wakes += 1;
            self.machine.handle_timeout(self.now);
            self.drain();
            let after = self.machine.poll_timeout();
            assert!(after.is_none_or(|after| after > self.now), "the machine would never sleep again");
        }
        self.now = end;
    }

    /// The machine stands still for `time`, as when it is suspended.
    pub fn stand_still(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub fn group(&self, name: &str) -> GroupReport {
        let reports = self.machine.reports();
        let mut groups = reports.into_iter().map(|report| report.group().clone());
        groups.find(|group| group.name == name).expect("the group")
    }

    pub fn state(&self) -> GroupState {
        self.group(&self.config.groups[0].name).state
    }

    pub fn resource(&self, name: &str) -> ResourceReport {
        let reports = self.machine.reports();
        reports
            .into_iter()
            .flat_map(|report| report.group().resources.clone())
            .find(|r| r.name == name)
            .expect("the resource")
    }

    pub fn fault(&self) -> Fault {
        match self.state() {
            GroupState::Faulted(fault) => fault,
            other => panic!("no fault: {other:?}"),
        }
    }

    /// A new controller takes over from this one after a crash, which has killed no application.
    pub fn crash(self, text: &str) -> Self {
        let saved = self.kept.last().cloned().unwrap_or_default();
        Self::restored(text, &saved)
    }
}
