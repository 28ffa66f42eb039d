//! One service group: what is begun next, given what is believed and wanted of each resource.
//!
//! Events change what is believed and wanted; [`Group::step`] looks at the whole and begins whatever may begin. So
//! the order of events does not matter, and nothing is forgotten.

use super::desk::{Hold, Turn};
use super::managed::{self, Descent, Managed};
use super::order::{Order, Set};
use super::resource::{Arrival, Phase, Purpose, Remains, Resource, Trial, Wish};
use super::watch::FIRST_PAUSE;
use super::{Action, Output, Report, ResourceId, resource::Flight};
use crate::config::{self, Kind};
use roost_proto::link::{Fault, Wanted};
use roost_proto::local::GroupRuntime;
use roost_proto::retry::Attempts;
use roost_proto::time::Instant;

/// Whether a person lets the group be kept running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    Kept,
    /// Watched, and not touched.
    Frozen,
}

/// Where the group as a whole goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Up,
    /// Up, when its `before_online` command has succeeded; nothing is touched until then.
    Preparing,
    /// Down, with its `after_offline` command behind it.
    Leaving(Descent),
    /// It is down, and not wanted here. What somebody starts of it is stopped.
    Offline,
    /// The machine is shut down.
    Down,
}

/// What the group is going through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing failed since all of it ran.
    Calm,
    /// Something failed and is being restarted.
    Recovering,
    /// The whole group is being stopped; nothing is started before that is done.
    Sweeping,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) care: Care,
    pub(super) goal: Goal,
    pub(super) course: Course,
    pub(super) fault: Option<Fault>,
    pub(super) restarts: Attempts,
    /// What its host ordered, if it is managed.
    pub(super) managed: Option<Managed>,
    pub(super) resources: Vec<Resource>,
    pub(super) order: Order,
    /// What a waiting reload takes away, or changes.
    pub(super) retired: Set,
    /// What was looked at and found not running.
    pub(super) lacking: Set,
    /// What the host was told last.
    pub(super) told: Option<Report>,
    /// Something changed that the report may show.
    pub(super) stale: bool,
}

impl Group {
    /// A group of which nothing is known but what a controller before this one kept.
    pub(super) fn new(
        plan: &config::Group,
        saved: Option<&GroupRuntime>,
        arrival: Arrival,
        now: Instant,
    ) -> Self {
        let resource = |plan: &config::Resource| {
            let saved = saved.and_then(|group| group.resources.iter().find(|saved| saved.name == plan.name));
            Resource::new(plan, saved, arrival, now)
        };
        let (managed, goal) = match (&plan.managed, saved) {
            (None, _) => (None, Goal::Up),
            (Some(_), None) => (Some(Managed::new(Wanted::Offline)), Goal::Offline),
            (Some(_), Some(saved)) => match &saved.managed {
                Some(saved) => (Some(Managed::restored(saved)), managed::goal(saved.progress)),
                None => (Some(Managed::new(Wanted::Online)), Goal::Up), // it was kept running before it was managed
            },
        };
        Self {
            care: if saved.is_some_and(|group| group.frozen) { Care::Frozen } else { Care::Kept },
            goal,
            course: Course::Calm,
            // A fault of what is configured no more binds nobody.
            fault: saved.and_then(|group| group.fault.clone()).filter(|fault| plan.has(&fault.resource)),
            restarts: saved.map_or_else(Attempts::default, |group| group.restarts.clone()),
            managed,
            resources: plan.resources.iter().map(resource).collect(),
            order: Order::new(plan),
            retired: Set::default(),
            lacking: Set::default(),
            told: None,
            stale: true,
        }
    }

    /// Whether nothing is started or stopped: it is frozen, or it is faulted, or a command of it comes first.
    pub(super) const fn is_left_alone(&self) -> bool {
        match (self.care, self.goal) {
            (Care::Frozen, _) | (_, Goal::Preparing | Goal::Leaving(Descent::Paused(_) | Descent::Stuck)) => {
                true
            }
            (Care::Kept, Goal::Up) => self.fault.is_some(),
            (Care::Kept, Goal::Leaving(Descent::UnderWay) | Goal::Offline | Goal::Down) => false,
        }
    }

    /// Whether some resource was not looked at yet.
    pub(super) fn is_unseen(&self) -> bool {
        self.resources.iter().any(|resource| matches!(resource.phase, Phase::Unseen(_)))
    }

    /// Begins whatever may begin.
    pub(super) fn step(&mut self, turn: &mut Turn<'_>) {
        if self.course == Course::Recovering && self.resources.iter().all(Resource::is_up) {
            self.course = Course::Calm;
        }
        self.pursue(turn);
        if self.is_unseen() {
            self.look(turn); // what to do shows when all is seen
            return;
        }
        if self.is_left_alone() {
            return;
        }
        for r in self.retired.iter() {
            if self.resources[r].phase != Phase::Down && self.resources[r].wish == Wish::Up {
                self.take_down(self.order.dependents(r).with(r));
            }
        }
        for r in (0..self.resources.len()).rev() {
            if self.resources[r].wish == Wish::Down {
                self.sink(turn, r);
            }
        }
        if self.goal == Goal::Leaving(Descent::UnderWay) && self.is_all_down() {
            self.pursue(turn); // some of it had nothing to be stopped
            if self.is_unseen() {
                self.look(turn);
                return;
            }
        }
        if self.course == Course::Sweeping {
            if self.resources.iter().any(|resource| resource.wish == Wish::Down) {
                return;
            }
            self.course = Course::Recovering;
        }
        for r in 0..self.resources.len() {
            if self.may_start(turn, r) {
                self.start(turn, r);
            }
        }
    }

    fn look(&mut self, turn: &mut Turn<'_>) {
        for r in 0..self.resources.len() {
            let resource = &self.resources[r];
            if matches!(resource.phase, Phase::Unseen(_)) && resource.flight.is_none() {
                self.begin(turn, r, Purpose::Look);
            }
        }
    }

    /// Takes `r`, which is to be down, there; or as far as is possible now.
    fn sink(&mut self, turn: &mut Turn<'_>, r: usize) {
        let is_probe = turn.plan.resources[r].kind.is_probe();
        match self.resources[r].phase {
            Phase::Stopping => {}
            Phase::Down | Phase::Failed(Remains::Nothing) => self.rest(r),
            _ if is_probe => {
                self.cancel(turn, r);
                self.rest(r);
            }
            Phase::Starting | Phase::Up(_) | Phase::Failed(Remains::Perhaps) => {
                // One that came by a reload and was found broken may have dependents that run without it, and go on.
                let is_in_the_way = |dependent: usize| {
                    let dependent = &self.resources[dependent];
                    dependent.wish == Wish::Down && !dependent.is_at_rest()
                };
                if !self.order.dependents(r).iter().any(is_in_the_way) {
                    self.cancel(turn, r);
                    self.resources[r].phase = Phase::Stopping;
                    self.stale = true;
                    self.begin(turn, r, Purpose::Stop);
                }
            }
            Phase::Unseen(_) | Phase::Trying(_) => {
                unreachable!("all is seen when something is stopped, and only probes are tried")
            }
        }
    }

    pub(super) fn rest(&mut self, r: usize) {
        self.resources[r].phase = Phase::Down;
        self.resources[r].wish = Wish::Up;
        self.stale = true;
    }

    fn may_start(&self, turn: &Turn<'_>, r: usize) -> bool {
        let resource = &self.resources[r];
        let is_held = match turn.hold {
            Hold::Nothing => false,
            Hold::Slow => !matches!(turn.plan.resources[r].kind, Kind::Process(_)),
            Hold::Everything => true,
        };
        self.goal == Goal::Up
            && resource.phase == Phase::Down
            && resource.wish == Wish::Up
            && resource.not_before <= turn.now
            && !is_held
            && self.order.needs(r).iter().all(|need| self.resources[need].stays_up())
            && self.order.dependents(r).iter().all(|other| self.resources[other].wish == Wish::Up)
    }

    fn start(&mut self, turn: &mut Turn<'_>, r: usize) {
        let plan = &turn.plan.resources[r];
        self.cancel(turn, r); // a check, from when the group was left alone
        self.stale = true;
        if plan.kind.is_probe() {
            self.attempt(turn, r);
            return;
        }
        let fingerprint = plan.fingerprint();
        if self.resources[r].started_with != fingerprint {
            self.resources[r].started_with = fingerprint;
            turn.desk.save();
        }
        self.resources[r].phase = Phase::Starting;
        self.begin(turn, r, Purpose::Start);
    }

    /// A probe is tried until it succeeds, or its time is over.
    pub(super) fn attempt(&mut self, turn: &mut Turn<'_>, r: usize) {
        let until = turn.now + turn.plan.resources[r].start_timeout;
        self.resources[r].phase = Phase::Trying(Trial { until, next: turn.now, pause: FIRST_PAUSE });
        self.stale = true;
        self.try_now(turn, r);
    }

    /// Begins an operation.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>, r: usize, purpose: Purpose) {
        let plan = &turn.plan.resources[r];
        assert!(self.resources[r].flight.is_none(), "a resource has at most one operation under way");
        let (action, limit) = match purpose {
            Purpose::Start => (Action::Start, plan.start_timeout),
            Purpose::Stop => (Action::Stop, plan.stop_timeout),
            Purpose::Try => (Action::Monitor, self.try_limit(turn, r)),
            Purpose::Look | Purpose::Confirm | Purpose::Check => (Action::Monitor, plan.timeout),
        };
        let op = turn.desk.new_op();
        self.resources[r].flight = Some(Flight { op, purpose, begun: turn.now, limit });
        let id = ResourceId { group: turn.group, resource: r };
        turn.desk.put(Output::Run { op, id, action, limit });
    }

    /// Ends whatever is under way for `r`, and wants no answer.
    pub(super) fn cancel(&mut self, turn: &mut Turn<'_>, r: usize) {
        if let Some(flight) = self.resources[r].flight.take() {
            turn.desk.put(Output::Cancel { op: flight.op });
        }
    }

    /// A person wants it left alone. What is under way is let end.
    pub(super) fn freeze(&mut self, turn: &mut Turn<'_>) {
        if self.care == Care::Kept {
            self.care = Care::Frozen;
            self.let_be();
            turn.desk.save();
            turn.desk.log(format!("group '{}' is frozen: it is watched and not touched", turn.plan.name));
        }
    }

    /// A person wants it kept running, whatever was before.
    pub(super) fn thaw(&mut self, turn: &mut Turn<'_>) {
        self.care = Care::Kept;
        if self.goal == Goal::Down {
            turn.desk.save();
            self.take_down_all();
            return;
        }
        let now =
            if self.managed.is_some() { "taken care of again" } else { "kept running, and starts afresh" };
        turn.desk.log(format!("group '{}' is {now}", turn.plan.name));
        self.start_afresh(turn);
    }

    /// Forgets fault and counts, and looks at all that is not known to run: a person may have been at work.
    pub(super) fn start_afresh(&mut self, turn: &mut Turn<'_>) {
        self.fault = None;
        self.course = Course::Calm;
        self.try_descent_again();
        self.restarts.clear();
        self.let_be();
        for r in 0..self.resources.len() {
            let resource = &mut self.resources[r];
            resource.attempts.clear();
            resource.not_before = turn.now;
            resource.next_check = turn.now;
            if matches!(resource.phase, Phase::Down | Phase::Failed(_)) {
                resource.last = super::resource::Last::Nothing;
            }
        }
        self.look_again(turn);
        turn.desk.save();
        if !self.is_unseen() {
            self.all_seen(turn);
        }
    }

    /// What is not known to run is to be looked at: it may have been started by somebody else.
    pub(super) fn look_again(&mut self, turn: &mut Turn<'_>) {
        for r in 0..self.resources.len() {
            let resource = &mut self.resources[r];
            if matches!(resource.phase, Phase::Down | Phase::Failed(_)) {
                resource.phase = if turn.plan.resources[r].kind.is_probe() {
                    Phase::Down
                } else {
                    Phase::Unseen(Arrival::WithOthers)
                };
                self.cancel(turn, r);
            }
        }
    }

    /// All of it is stopped, and stays so.
    pub(super) fn shut_down(&mut self, turn: &mut Turn<'_>) {
        self.drop_hooks(turn);
        self.goal = Goal::Down;
        self.retired = Set::default();
        self.take_down_all();
    }

    pub(super) fn take_down_all(&mut self) {
        self.take_down((0..self.resources.len()).collect());
    }

    /// Whether a shutdown has no more to do here. A frozen group is none of its business.
    pub(super) fn is_down(&self) -> bool {
        let is_done = |resource: &Resource| {
            resource.flight.is_none() && resource.is_at_rest() && resource.wish == Wish::Up
        };
        self.care == Care::Frozen || self.resources.iter().all(is_done)
    }
}
