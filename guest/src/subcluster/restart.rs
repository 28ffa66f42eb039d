//! The ladder: restart the resource, restart the group, give up.

use super::Cause;
use super::desk::Turn;
use super::group::{Course, Group};
use super::order::Set;
use super::resource::{Phase, Wish};
use core::time::Duration;
use roost_proto::link::{Fault, MAX_OUTPUT, MAX_REASON};
use roost_proto::text::{clip, tail};
use roost_proto::time::Span;

impl Group {
    /// Resource `r` failed, and the group is to be kept running: takes the next rung.
    pub(super) fn recover(&mut self, turn: &mut Turn<'_>, r: usize, cause: Cause) {
        let plan = &turn.plan.resources[r];
        if self.course == Course::Calm {
            self.course = Course::Recovering;
        }
        let again = self.order.mended_by(r);
        let made = self.resources[r].attempts.within(turn.now, plan.window);
        if again.is_empty() || made >= plan.attempts {
            self.recover_all(turn, r, cause);
            return;
        }
        let wait = plan.backoff.wait(made, turn.desk.jitter.draw());
        self.resources[r].attempts.count(turn.now, plan.window);
        turn.desk.save();
        self.delay(again, turn, wait);
        for resource in again.iter() {
            self.take_down(self.order.dependents(resource).with(resource));
        }
        let what = if again == Set::only(r) { "it is" } else { "what it needs is" };
        turn.log(
            r,
            &format!(
                "failed: {}; {what} restarted {} ({} of {} within {})",
                cause.reason,
                when(wait),
                made + 1,
                plan.attempts,
                Span(plan.window)
            ),
        );
    }

    /// The second rung: everything is stopped, then started, with all attempts before it again.
    fn recover_all(&mut self, turn: &mut Turn<'_>, r: usize, cause: Cause) {
        let plan = turn.plan;
        let made = self.restarts.within(turn.now, plan.window);
        if made >= plan.restarts {
            let reason = self.spent(turn, r, &cause.reason);
            self.give_up(turn, r, cause.told_as(reason));
            return;
        }
        self.restarts.count(turn.now, plan.window);
        turn.desk.save();
        for resource in &mut self.resources {
            resource.attempts.clear();
        }
        // A group has no backoff of its own; that of what failed keeps its restarts apart.
        let wait = plan.resources[r].backoff.wait(made, turn.desk.jitter.draw());
        self.delay(self.order.mended_by(r).with(r), turn, wait);
        self.take_down((0..self.resources.len()).collect());
        self.course = Course::Sweeping;
        turn.log(
            r,
            &format!(
                "failed: {}; the whole group is restarted {} ({} of {} within {})",
                cause.reason,
                when(wait),
                made + 1,
                plan.restarts,
                Span(plan.window)
            ),
        );
    }

    /// `reason`, and what was tried in vain.
    fn spent(&self, turn: &Turn<'_>, r: usize, reason: &str) -> String {
        let plan = turn.plan;
        let resource = &plan.resources[r];
        let attempts = self.resources[r].attempts.within(turn.now, resource.window);
        let restarts = self.restarts.within(turn.now, plan.window);
        let mut tried = Vec::new();
        if attempts > 0 {
            tried.push(format!("{} within {}", times(attempts, "restart"), Span(resource.window)));
        }
        if restarts > 0 {
            tried.push(format!("{} of the group within {}", times(restarts, "restart"), Span(plan.window)));
        }
        if tried.is_empty() {
            return reason.to_owned();
        }
        let tried = format!("; {} did not help", tried.join(" and "));
        format!("{}{tried}", clip(reason, MAX_REASON.saturating_sub(tried.len())))
    }

    /// The last rung: the fault is told, and nothing is touched any more.
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_>, r: usize, cause: Cause) {
        turn.log(r, &format!("failed for good: {}; the group is faulted", cause.reason));
        self.fault = Some(Fault {
            resource: turn.plan.resources[r].name.clone(),
            reason: clip(&cause.reason, MAX_REASON).to_owned(),
            exit: cause.exit,
            output: tail(&cause.output, MAX_OUTPUT).to_owned(),
        });
        turn.desk.save();
        self.let_be();
    }

    /// Whatever was to be stopped is left as it is; what is under way is let end.
    pub(super) fn let_be(&mut self) {
        for resource in &mut self.resources {
            resource.wish = Wish::Up;
        }
        if self.course == Course::Sweeping {
            self.course = Course::Recovering;
        }
        self.stale = true;
    }

    /// All of `set` that may run or have left something is to be stopped.
    pub(super) fn take_down(&mut self, set: Set) {
        for r in set.iter() {
            if self.resources[r].phase != Phase::Down {
                self.resources[r].wish = Wish::Down;
            }
        }
        self.stale = true;
    }

    /// None of `set` is started before `wait` is over.
    fn delay(&mut self, set: Set, turn: &Turn<'_>, wait: Duration) {
        for r in set.iter() {
            let resource = &mut self.resources[r];
            resource.not_before = resource.not_before.max(turn.now + wait);
        }
    }
}

fn when(wait: Duration) -> String {
    if wait.is_zero() {
        "at once".to_owned()
    } else {
        format!("after {}", Span(Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))))
    }
}

fn times(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
