//! What the end of an operation, or of a resource, says about the resource.

use super::desk::Turn;
use super::group::{Goal, Group};
use super::resource::{Arrival, Flight, Health, Last, Phase, Purpose, Remains, Wish};
use super::{Cause, Outcome};
use crate::config::Kind;
use roost_proto::time::Span;

impl Group {
    /// Operation `flight`, of resource `r`, ended.
    pub(super) fn done(&mut self, turn: &mut Turn<'_>, r: usize, flight: Flight, outcome: Outcome) {
        match flight.purpose {
            Purpose::Look => self.looked(turn, r, flight, outcome),
            Purpose::Start => self.started(turn, r, outcome),
            Purpose::Confirm => self.confirmed(turn, r, flight, outcome),
            Purpose::Try => self.tried(turn, r, flight, outcome),
            Purpose::Check => self.checked(turn, r, flight, outcome),
            Purpose::Stop => self.stopped(turn, r, outcome),
        }
    }

    fn looked(&mut self, turn: &mut Turn<'_>, r: usize, flight: Flight, outcome: Outcome) {
        let Phase::Unseen(arrival) = self.resources[r].phase else {
            unreachable!("only what is unseen is looked at")
        };
        if is_void(&outcome, flight, turn) {
            return; // step looks again
        }
        match outcome {
            Outcome::Running => self.up(turn, r, Health::Good, Last::Nothing),
            Outcome::Degraded(cause) => self.up(turn, r, Health::Degraded, Last::Degraded(cause.reason)),
            // What is set up wrongly cannot be looked at; its start will say so.
            Outcome::Stopped | Outcome::Misconfigured(_) => self.resources[r].phase = Phase::Down,
            Outcome::Failed(cause) | Outcome::TimedOut(cause) => {
                self.resources[r].last = Last::Failed(cause.reason);
                self.resources[r].phase = Phase::Failed(Remains::Perhaps);
            }
        }
        self.stale = true;
        if !self.resources[r].is_up() {
            self.plan_check(turn, r);
            if arrival == Arrival::WithOthers {
                self.lacking = self.lacking.with(r);
            }
        }
        if !self.is_unseen() {
            self.all_seen(turn);
        }
    }

    /// Everything was looked at: decides what has to be stopped before anything is started.
    pub(super) fn all_seen(&mut self, turn: &mut Turn<'_>) {
        let lacking = core::mem::take(&mut self.lacking);
        if self.is_left_alone() {
            return;
        }
        for r in 0..self.resources.len() {
            let resource = &self.resources[r];
            let plan = &turn.plan.resources[r];
            let is_changed = !plan.kind.is_probe() && resource.started_with != plan.fingerprint();
            if matches!(resource.phase, Phase::Failed(_)) {
                self.resources[r].wish = Wish::Down;
            } else if resource.is_up() && is_changed {
                turn.log(r, "runs with another configuration than it should, and is restarted");
                self.take_down(self.order.dependents(r).with(r));
            }
            if lacking.contains(r) {
                self.take_down(self.order.dependents(r));
            }
        }
        if self.goal == Goal::Down {
            self.take_down_all();
        }
    }

    fn started(&mut self, turn: &mut Turn<'_>, r: usize, outcome: Outcome) {
        let kind = &turn.plan.resources[r].kind;
        match outcome {
            Outcome::Running if matches!(kind, Kind::Process(_)) => self.run(turn, r, Health::Good, None),
            Outcome::Running | Outcome::Degraded(_) => self.begin(turn, r, Purpose::Confirm),
            other => self.not_started(turn, r, other, "its start ended, and it does not run"),
        }
    }

    fn confirmed(&mut self, turn: &mut Turn<'_>, r: usize, flight: Flight, outcome: Outcome) {
        if is_void(&outcome, flight, turn) {
            self.begin(turn, r, Purpose::Confirm);
            return;
        }
        match outcome {
            Outcome::Running => self.run(turn, r, Health::Good, None),
            Outcome::Degraded(cause) => self.run(turn, r, Health::Degraded, Some(cause)),
            other => self.not_started(turn, r, other, "it does not run right after its start"),
        }
    }

    fn tried(&mut self, turn: &mut Turn<'_>, r: usize, flight: Flight, outcome: Outcome) {
        let Phase::Trying(trial) = &mut self.resources[r].phase else {
            unreachable!("only what is tried ends a try")
        };
        trial.until = trial.until + flight.stood_still(turn.now);
        let until = trial.until;
        let cause = match outcome {
            Outcome::Running => return self.run(turn, r, Health::Good, None),
            Outcome::Degraded(cause) => return self.run(turn, r, Health::Degraded, Some(cause)),
            Outcome::Misconfigured(cause) => return self.misconfigured(turn, r, cause),
            Outcome::Stopped => Cause::of("it does not answer"),
            Outcome::Failed(cause) | Outcome::TimedOut(cause) => cause,
        };
        if turn.now < until {
            self.try_again(turn.now, r);
            return;
        }
        let limit = Span(turn.plan.resources[r].start_timeout);
        let reason = format!("no success within {limit}; last: {}", cause.reason);
        self.fail(turn, r, cause.told_as(reason), Remains::Nothing);
    }

    fn checked(&mut self, turn: &mut Turn<'_>, r: usize, flight: Flight, outcome: Outcome) {
        if is_void(&outcome, flight, turn) {
            self.begin(turn, r, Purpose::Check);
            return;
        }
        self.plan_check(turn, r);
        let was = self.resources[r].phase;
        let is_process = matches!(turn.plan.resources[r].kind, Kind::Process(_));
        let (cause, remains) = match outcome {
            Outcome::Running if was == Phase::Up(Health::Good) => return,
            Outcome::Running => return self.seen_up(turn, r, Health::Good, None),
            Outcome::Degraded(cause) => return self.seen_up(turn, r, Health::Degraded, Some(cause)),
            Outcome::Stopped if is_process => (Cause::of("it does not run any more"), Remains::Nothing),
            Outcome::Stopped => (Cause::of("it does not run any more"), Remains::Perhaps),
            Outcome::Failed(cause) | Outcome::TimedOut(cause) | Outcome::Misconfigured(cause) => {
                (cause, Remains::Perhaps)
            }
        };
        match was {
            Phase::Up(_) => self.fail(turn, r, cause, remains),
            Phase::Failed(_) => self.resources[r].phase = Phase::Failed(remains),
            _ => {} // it was down, and still is not up
        }
    }

    fn stopped(&mut self, turn: &mut Turn<'_>, r: usize, outcome: Outcome) {
        self.stale = true;
        let cause = match outcome {
            Outcome::Stopped => {
                self.rest(r);
                return;
            }
            Outcome::Running => Cause::of("it still runs"),
            Outcome::Degraded(cause)
            | Outcome::Failed(cause)
            | Outcome::TimedOut(cause)
            | Outcome::Misconfigured(cause) => cause,
        };
        let reason = format!("it could not be stopped: {}", cause.reason);
        self.resources[r].phase = Phase::Failed(Remains::Perhaps);
        self.resources[r].last = Last::Failed(reason.clone());
        self.plan_check(turn, r);
        if self.goal == Goal::Down {
            self.resources[r].wish = Wish::Up; // nothing more can be done
            turn.log(r, &reason);
        } else if self.is_left_alone() {
            // it stays as it is
        } else if matches!(self.goal, Goal::Leaving(_)) {
            let what = turn.plan.resources[r].name.clone();
            self.stumble(turn, &what, cause.told_as(reason));
        } else {
            // A second copy beside one that could not be stopped might do harm.
            self.give_up(turn, r, cause.told_as(reason));
        }
    }

    /// The kernel showed that `r` ended.
    pub(super) fn gone(&mut self, turn: &mut Turn<'_>, r: usize, cause: Cause) {
        let resource = &self.resources[r];
        let is_confirming = resource.flight.is_some_and(|flight| flight.purpose == Purpose::Confirm);
        match resource.phase {
            Phase::Up(_) => {}
            Phase::Starting if is_confirming => {}
            _ => return, // it was not thought to run, or what is under way will show
        }
        self.cancel(turn, r);
        let is_process = matches!(turn.plan.resources[r].kind, Kind::Process(_));
        let remains = if is_process { Remains::Nothing } else { Remains::Perhaps };
        self.fail(turn, r, cause, remains);
    }

    /// A start came to nothing.
    fn not_started(&mut self, turn: &mut Turn<'_>, r: usize, outcome: Outcome, otherwise: &str) {
        let is_process = matches!(turn.plan.resources[r].kind, Kind::Process(_));
        let remains = if is_process { Remains::Nothing } else { Remains::Perhaps };
        match outcome {
            Outcome::Misconfigured(cause) => self.misconfigured(turn, r, cause),
            Outcome::Failed(cause) | Outcome::TimedOut(cause) => self.fail(turn, r, cause, remains),
            Outcome::Stopped | Outcome::Running | Outcome::Degraded(_) => {
                self.fail(turn, r, Cause::of(otherwise), remains);
            }
        }
    }

    /// No restart mends this, so none is made.
    fn misconfigured(&mut self, turn: &mut Turn<'_>, r: usize, cause: Cause) {
        if self.is_lost(turn, r, &cause, Remains::Perhaps) {
            self.give_up(turn, r, cause);
        }
    }

    /// `r` failed.
    fn fail(&mut self, turn: &mut Turn<'_>, r: usize, cause: Cause, remains: Remains) {
        if self.is_lost(turn, r, &cause, remains) {
            self.recover(turn, r, cause);
        }
    }

    /// Takes note that `r` failed, and says whether something is to be done about it: not if it was to be stopped
    /// anyway, or is left alone.
    fn is_lost(&mut self, turn: &Turn<'_>, r: usize, cause: &Cause, remains: Remains) -> bool {
        let resource = &mut self.resources[r];
        resource.phase = Phase::Failed(remains);
        resource.last = Last::Failed(cause.reason.clone());
        let is_wanted = resource.wish == Wish::Up && self.goal == Goal::Up;
        self.stale = true;
        self.plan_check(turn, r);
        is_wanted && !self.is_left_alone()
    }

    /// `r` was started, and runs.
    fn run(&mut self, turn: &mut Turn<'_>, r: usize, health: Health, cause: Option<Cause>) {
        let last = match cause {
            Some(cause) => Last::Degraded(cause.reason),
            None => core::mem::take(&mut self.resources[r].last),
        };
        self.up(turn, r, health, last);
    }

    /// A check found `r` up, and it was not, or not as well or badly.
    fn seen_up(&mut self, turn: &mut Turn<'_>, r: usize, health: Health, cause: Option<Cause>) {
        let last = cause.map_or(Last::Nothing, |cause| Last::Degraded(cause.reason));
        let resource = &mut self.resources[r];
        if resource.is_up() {
            self.stale |= resource.phase != Phase::Up(health) || resource.last != last;
            resource.phase = Phase::Up(health);
            resource.last = last;
            return;
        }
        if resource.phase != Phase::Failed(Remains::Perhaps) {
            resource.started_with = 0; // nothing was left of it, so somebody else has started it
        }
        self.up(turn, r, health, last);
    }

    fn up(&mut self, turn: &mut Turn<'_>, r: usize, health: Health, last: Last) {
        let resource = &mut self.resources[r];
        resource.phase = Phase::Up(health);
        resource.last = last;
        if resource.started_with == 0 && !turn.plan.resources[r].kind.is_probe() {
            resource.started_with = turn.plan.resources[r].fingerprint();
            turn.desk.save();
        }
        self.stale = true;
        self.plan_first_check(turn, r);
    }
}

/// Whether a monitor says nothing, because the machine stood still while it ran.
fn is_void(outcome: &Outcome, flight: Flight, turn: &Turn<'_>) -> bool {
    matches!(outcome, Outcome::TimedOut(_)) && !flight.stood_still(turn.now).is_zero()
}
