//! A managed group: its host orders it online and offline, and it runs nowhere without that.
//!
//! An order is kept at once; [`Group::pursue`] leads where it points, a step at a time: what goes down goes down whole, with
//! `after_offline` behind it, before anything comes up, with `before_online` ahead of it.

use super::desk::{Hold, Turn};
use super::group::{Care, Course, Goal, Group};
use super::resource::Phase;
use super::{Cause, OpId, Output};
use crate::config::{self, Hook, OnLostHost};
use core::time::Duration;
use roost_proto::link::{self, Circumstances, Fault, MAX_OUTPUT, MAX_REASON, Order, Readiness, Wanted};
use roost_proto::local::{ManagedRuntime, Progress};
use roost_proto::retry::Backoff;
use roost_proto::text::{clip, tail};
use roost_proto::time::{Instant, Span};

/// How often the way down is tried again by itself; then the host has been told for a minute, and orders it again if it
/// thinks that this helps.
const DESCENTS: u32 = 3;
/// The wait before that.
const DESCENT_PAUSE: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(60) };

/// What its host wants of a managed group, and the commands that are under way for that.
#[derive(Debug)]
pub(super) struct Managed {
    pub(super) wanted: Wanted,
    /// The greatest of an order; 0 before the first.
    pub(super) epoch: u64,
    /// The newest order on this connection.
    pub(super) obeys: Option<u32>,
    /// How long it may go on without its host; nothing before the first order.
    lease_ms: Option<u32>,
    circumstances: Circumstances,
    /// The epoch of an order that was refused, so that it is said once.
    refused: Option<u64>,
    /// Ways down that failed since the last order.
    failed: u32,
    /// `before_online` or `after_offline`, if one is under way.
    hook: Option<(OpId, Hook)>,
    /// The question that `ready` is being run for.
    asked: Option<(OpId, u32)>,
    /// The one after it.
    next: Option<Question>,
}

/// Whether the group could be brought online.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    number: u32,
    circumstances: Circumstances,
}

impl Managed {
    /// One that nobody has ordered about yet.
    pub(super) const fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            epoch: 0,
            obeys: None,
            lease_ms: None,
            circumstances: Circumstances {
                target: String::new(),
                previous: String::new(),
                reason: link::Cause::Lease,
            },
            refused: None,
            failed: 0,
            hook: None,
            asked: None,
            next: None,
        }
    }

    /// As a controller before this one kept it.
    pub(super) fn restored(saved: &ManagedRuntime) -> Self {
        Self {
            epoch: saved.epoch,
            lease_ms: saved.lease_ms,
            circumstances: saved.circumstances.clone(),
            ..Self::new(saved.wanted)
        }
    }

    pub(super) fn runtime(&self, progress: Progress) -> ManagedRuntime {
        ManagedRuntime {
            wanted: self.wanted,
            epoch: self.epoch,
            lease_ms: self.lease_ms,
            circumstances: self.circumstances.clone(),
            progress,
        }
    }

    /// Whether something is under way that a change of the configuration has to wait for.
    pub(super) const fn is_busy(&self) -> bool {
        self.hook.is_some()
    }

    /// When it goes offline by itself, if its host, heard last at `heard`, is silent until then.
    pub(super) fn lease_end(&self, plan: &config::Managed, heard: Instant) -> Option<Instant> {
        let may_end = self.wanted == Wanted::Online && plan.on_lost_host == OnLostHost::Stop;
        self.lease_ms.filter(|_| may_end).map(|ms| heard + Duration::from_millis(ms.into()))
    }
}

/// How far the way down is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descent {
    UnderWay,
    /// It failed, and is tried again then.
    Paused(Instant),
    /// It failed for good: only an order, or a person, helps.
    Stuck,
}

impl Group {
    /// The host orders it online or offline.
    pub(super) fn order(&mut self, turn: &mut Turn<'_>, order: Order) {
        let Some(managed) = &mut self.managed else { return };
        self.stale = true;
        let name = &turn.plan.name;
        if order.epoch < managed.epoch {
            self.told = None; // whoever gave it is told how it is, changed or not
            if managed.refused.replace(order.epoch) != Some(order.epoch) {
                turn.desk.log(format!(
                    "an order about group '{name}' in epoch {} is refused: it was ordered about in epoch {}",
                    order.epoch, managed.epoch
                ));
            }
            return;
        }
        if (managed.wanted, managed.epoch) != (order.wanted, order.epoch) {
            let (word, reason) = (word(order.wanted), order.circumstances.reason.word());
            turn.desk.log(format!("group '{name}' is ordered {word} in epoch {} ({reason})", order.epoch));
        }
        let before = managed.runtime(Progress::Offline);
        let again = managed.obeys == Some(order.number);
        managed.refused = None;
        managed.wanted = order.wanted;
        managed.epoch = order.epoch;
        managed.obeys = Some(order.number);
        managed.lease_ms = Some(order.lease_ms);
        managed.circumstances = order.circumstances;
        if managed.runtime(Progress::Offline) != before {
            turn.desk.save();
        }
        if !again {
            self.start_over(turn);
        }
    }

    /// What failed is tried again, for there is an order anew.
    fn start_over(&mut self, turn: &mut Turn<'_>) {
        let is_up = self.managed.as_ref().is_some_and(|managed| managed.wanted == Wanted::Online);
        match self.goal {
            Goal::Up | Goal::Preparing if is_up && self.fault.is_some() => self.goal = Goal::Preparing,
            Goal::Leaving(Descent::Paused(_) | Descent::Stuck) if is_up => self.goal = Goal::Preparing,
            _ => {
                self.try_descent_again(); // the fault stays until it is down
                return;
            }
        }
        self.fault = None;
        self.course = Course::Calm;
        turn.desk.save();
    }

    /// A way down that failed is taken again, as if it had not.
    pub(super) fn try_descent_again(&mut self) {
        if let (Goal::Leaving(descent), Some(managed)) = (&mut self.goal, &mut self.managed) {
            *descent = Descent::UnderWay;
            managed.failed = 0;
        }
    }

    /// The connection to the host is a new one: what was ordered and asked on the one before is not to be answered on it.
    pub(super) fn meet(&mut self, turn: &mut Turn<'_>) {
        self.drop_question(turn);
        if let Some(managed) = &mut self.managed {
            managed.obeys = None;
            managed.next = None;
            self.told = Some(self.report(turn.plan, turn.now)); // by the snapshot that follows
        }
    }

    /// Its host was last heard at `heard`: it goes offline by itself, if that is too long ago.
    pub(super) fn expire(&mut self, turn: &mut Turn<'_>, heard: Instant) {
        let (Some(managed), Some(plan)) = (&mut self.managed, &turn.plan.managed) else { return };
        if managed.lease_end(plan, heard).is_none_or(|end| end > turn.now) {
            return;
        }
        let lease = Duration::from_millis(managed.lease_ms.unwrap_or_default().into());
        managed.wanted = Wanted::Offline;
        managed.obeys = None; // the order was to be online
        managed.circumstances.reason = link::Cause::Lease;
        self.stale = true;
        turn.desk.save();
        turn.desk.log(format!(
            "group '{}' goes offline by itself: its host was not heard for {}",
            turn.plan.name,
            Span(lease)
        ));
    }

    /// Goes where it is wanted, as far as is possible now.
    pub(super) fn pursue(&mut self, turn: &mut Turn<'_>) {
        let Some(managed) = &self.managed else { return };
        if self.care == Care::Frozen {
            return;
        }
        match (self.goal, managed.wanted) {
            (Goal::Down, _) | (Goal::Up, Wanted::Online) => {}
            (Goal::Up | Goal::Preparing, Wanted::Offline) => self.leave(turn),
            (Goal::Preparing, Wanted::Online) => self.prepare(turn),
            (Goal::Offline, _) if !self.is_unseen() && !self.is_all_down() => self.leave(turn), // somebody started it
            (Goal::Offline, Wanted::Offline) => {}
            (Goal::Offline, Wanted::Online) => {
                self.set_goal(turn, Goal::Preparing);
                self.prepare(turn);
            }
            (Goal::Leaving(descent), _) => self.descend(turn, descent),
        }
    }

    fn set_goal(&mut self, turn: &mut Turn<'_>, goal: Goal) {
        self.goal = goal;
        self.stale = true;
        turn.desk.save();
    }

    /// On the way up: `before_online`, then the resources.
    fn prepare(&mut self, turn: &mut Turn<'_>) {
        let is_under_way = self.managed.as_ref().is_some_and(Managed::is_busy);
        if self.fault.is_some() || is_under_way || turn.hold != Hold::Nothing {
            return;
        }
        if !self.run_hook(turn, Hook::BeforeOnline) {
            self.go_up(turn);
        }
    }

    fn go_up(&mut self, turn: &mut Turn<'_>) {
        self.set_goal(turn, Goal::Up);
        self.start_afresh(turn);
    }

    /// Begins the way down.
    fn leave(&mut self, turn: &mut Turn<'_>) {
        if let Some(managed) = &mut self.managed {
            managed.failed = 0;
            if let Some((op, _)) = managed.hook.take() {
                turn.desk.put(Output::Cancel { op });
            }
        }
        self.fault = None;
        self.course = Course::Calm;
        if self.goal == Goal::Preparing {
            self.look_again(turn); // its command may have started some of it
        }
        self.set_goal(turn, Goal::Leaving(Descent::UnderWay));
        self.descend(turn, Descent::UnderWay);
    }

    /// On the way down: the resources, then `after_offline`.
    fn descend(&mut self, turn: &mut Turn<'_>, descent: Descent) {
        if self.is_unseen() {
            return;
        }
        match descent {
            Descent::Stuck => return,
            Descent::Paused(until) if until > turn.now => return,
            Descent::Paused(_) => self.goal = Goal::Leaving(Descent::UnderWay),
            Descent::UnderWay => {}
        }
        if !self.is_all_down() {
            self.take_down_all();
        } else if self.managed.as_ref().is_some_and(Managed::is_busy) {
            // its end is waited for
        } else if !self.run_hook(turn, Hook::AfterOffline) {
            self.be_offline(turn);
        }
    }

    fn be_offline(&mut self, turn: &mut Turn<'_>) {
        self.fault = None;
        for r in 0..self.resources.len() {
            self.plan_check(turn, r); // it was just seen to be down
        }
        self.set_goal(turn, Goal::Offline);
        turn.desk.log(format!("group '{}' is offline", turn.plan.name));
        self.pursue(turn); // it may be wanted again by now
    }

    /// The way down failed, at `what`.
    pub(super) fn stumble(&mut self, turn: &mut Turn<'_>, what: &str, cause: Cause) {
        let Some(managed) = &mut self.managed else { return };
        managed.failed += 1;
        let next = if managed.failed > DESCENTS {
            Descent::Stuck
        } else {
            Descent::Paused(turn.now + DESCENT_PAUSE.wait(managed.failed, turn.desk.jitter.draw()))
        };
        let then = match next {
            Descent::Stuck => "it is not tried again before the next order",
            _ => "it is tried again soon",
        };
        turn.desk
            .log(format!("group '{}' does not go offline: {what}: {}; {then}", turn.plan.name, cause.reason));
        self.fault = Some(fault(what, cause));
        self.set_goal(turn, Goal::Leaving(next));
        self.let_be();
    }

    /// Nothing of it runs that could be stopped.
    pub(super) fn is_all_down(&self) -> bool {
        self.resources.iter().all(|resource| resource.phase == Phase::Down)
    }

    /// Begins the command of `hook`; says whether there is one.
    fn run_hook(&mut self, turn: &mut Turn<'_>, hook: Hook) -> bool {
        let Some(managed) = &mut self.managed else { return false };
        let circumstances = managed.circumstances.clone();
        let op = begin_hook(turn, hook, circumstances, managed.epoch);
        managed.hook = op.map(|op| (op, hook));
        op.is_some()
    }

    /// Whether `op` is one of its commands.
    pub(super) fn has_hook(&self, op: OpId) -> bool {
        let is_its = |managed: &Managed| {
            let is = |other: OpId| other == op;
            managed.hook.is_some_and(|(op, _)| is(op)) || managed.asked.is_some_and(|(op, _)| is(op))
        };
        self.managed.as_ref().is_some_and(is_its)
    }

    /// Command `op` ended.
    pub(super) fn hook_done(&mut self, turn: &mut Turn<'_>, op: OpId, result: Result<(), Cause>) {
        let Some(managed) = &mut self.managed else { return };
        let Some((_, hook)) = managed.hook.take_if(|(hook, _)| *hook == op) else {
            self.answer(turn, result);
            return;
        };
        match (hook, self.goal, result) {
            (Hook::BeforeOnline, Goal::Preparing, Ok(())) => self.go_up(turn),
            (Hook::AfterOffline, Goal::Leaving(_), Ok(())) if self.is_all_down() => self.be_offline(turn),
            (_, _, Err(_)) if self.care == Care::Frozen => {} // it is run again when the group is thawed
            (Hook::BeforeOnline, Goal::Preparing, Err(cause)) => {
                let what = hook.key();
                turn.desk.log(format!(
                    "group '{}' does not go online: {what}: {}; it is faulted",
                    turn.plan.name, cause.reason
                ));
                self.fault = Some(fault(what, cause));
                self.stale = true;
                turn.desk.save();
            }
            (Hook::AfterOffline, Goal::Leaving(_), Err(cause)) => self.stumble(turn, hook.key(), cause),
            // The group goes another way by now, or somebody started something of it: it is run again when its time comes.
            _ => {}
        }
    }

    /// All that is under way of its commands is not wanted any more.
    pub(super) fn drop_hooks(&mut self, turn: &mut Turn<'_>) {
        self.drop_question(turn);
        if let Some((op, _)) = self.managed.as_mut().and_then(|managed| managed.hook.take()) {
            turn.desk.put(Output::Cancel { op });
        }
    }

    fn drop_question(&mut self, turn: &mut Turn<'_>) {
        if let Some((op, _)) = self.managed.as_mut().and_then(|managed| managed.asked.take()) {
            turn.desk.put(Output::Cancel { op });
        }
    }

    /// The host asks whether it could be brought online.
    pub(super) fn ask_ready(&mut self, turn: &mut Turn<'_>, number: u32, circumstances: Circumstances) {
        let Some(managed) = &mut self.managed else {
            put_ready(turn, number, not_ready("it is not managed"));
            return;
        };
        // Each question is answered, and the newest last.
        if let Some(before) = managed.next.replace(Question { number, circumstances }) {
            put_ready(turn, before.number, not_ready("it was asked again meanwhile"));
        }
        self.take_question(turn);
    }

    /// Begins with the next question, if none is under way.
    fn take_question(&mut self, turn: &mut Turn<'_>) {
        let Some(managed) = self.managed.as_mut().filter(|managed| managed.asked.is_none()) else { return };
        let Some(Question { number, circumstances }) = managed.next.take() else { return };
        let readiness = match (self.care, self.goal) {
            (Care::Frozen, _) => not_ready("it is frozen"),
            (_, Goal::Down) => not_ready("the machine is being shut down"),
            _ => match begin_hook(turn, Hook::Ready, circumstances, managed.epoch) {
                Some(op) => {
                    managed.asked = Some((op, number));
                    return;
                }
                None => Readiness::Ready,
            },
        };
        put_ready(turn, number, readiness);
    }

    /// The configuration changes under the questions that wait, so they are answered before.
    pub(super) fn put_off_questions(&mut self, turn: &mut Turn<'_>) {
        let Some(managed) = &mut self.managed else { return };
        let asked = managed.asked.take();
        if let Some((op, _)) = asked {
            turn.desk.put(Output::Cancel { op });
        }
        let next = managed.next.take().map(|question| question.number);
        for number in asked.map(|(_, number)| number).into_iter().chain(next) {
            put_ready(turn, number, not_ready("its configuration is being changed"));
        }
    }

    fn answer(&mut self, turn: &mut Turn<'_>, result: Result<(), Cause>) {
        let asked = self.managed.as_mut().and_then(|managed| managed.asked.take());
        let Some((_, number)) = asked else { return };
        let readiness = result.map_or_else(
            |cause| {
                let said = crate::kinds::last_line(&cause.output);
                not_ready(said.unwrap_or(&cause.reason))
            },
            |()| Readiness::Ready,
        );
        put_ready(turn, number, readiness);
        self.take_question(turn);
    }

    pub(super) const fn progress(&self) -> Progress {
        match self.goal {
            Goal::Up => Progress::Online,
            Goal::Preparing => Progress::Preparing,
            Goal::Leaving(_) | Goal::Down => Progress::Leaving,
            Goal::Offline => Progress::Offline,
        }
    }
}

/// The goal of a group that went so far under a controller before this one.
pub(super) const fn goal(progress: Progress) -> Goal {
    match progress {
        Progress::Online => Goal::Up,
        Progress::Preparing => Goal::Preparing,
        Progress::Leaving => Goal::Leaving(Descent::UnderWay),
        Progress::Offline => Goal::Offline,
    }
}

fn begin_hook(turn: &mut Turn<'_>, hook: Hook, circumstances: Circumstances, epoch: u64) -> Option<OpId> {
    let plan = turn.plan.managed.as_ref().filter(|plan| !plan.command(hook).is_empty())?;
    let op = turn.desk.new_op();
    turn.desk.put(Output::Hook {
        op,
        group: turn.group,
        hook,
        circumstances,
        epoch,
        limit: plan.hook_timeout,
    });
    Some(op)
}

fn put_ready(turn: &mut Turn<'_>, number: u32, readiness: Readiness) {
    let group = turn.plan.name.clone();
    turn.desk.put(Output::Ready { group, number, readiness });
}

pub(super) fn not_ready(reason: &str) -> Readiness {
    Readiness::NotReady { reason: clip(reason, MAX_REASON).to_owned() }
}

fn fault(what: &str, cause: Cause) -> Fault {
    Fault {
        resource: what.to_owned(),
        reason: clip(&cause.reason, MAX_REASON).to_owned(),
        exit: cause.exit,
        output: tail(&cause.output, MAX_OUTPUT).to_owned(),
    }
}

/// As a word for people.
const fn word(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Online => "online",
        Wanted::Offline => "offline",
    }
}
