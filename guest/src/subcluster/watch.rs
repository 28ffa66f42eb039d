//! When resources are looked at while nothing happens to them.

use super::desk::Turn;
use super::group::{Care, Goal, Group};
use super::managed::Descent;
use super::resource::{Phase, Purpose, Wish};
use crate::config;
use core::time::Duration;
use roost_proto::time::Instant;

/// The pause after the first try of a probe; it doubles up to [`LONGEST_PAUSE`]. A service that is up in a tenth of a
/// second is seen up in two.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The least limit of a try, so that the last one before the deadline has a chance.
const SHORTEST_TRY: Duration = Duration::from_millis(100);
/// A check may be made this part of its interval early, but no more than [`EARLIEST`], when the controller is awake for
/// another: an idle controller then wakes once for several.
const EARLY_PART: u32 = 10;
const EARLIEST: Duration = Duration::from_secs(1);
/// Checks that are made in one go, at most, unless more are overdue: sixty agents started at once would be felt.
pub(super) const TOGETHER: usize = 4;

impl Group {
    /// When there is something to do, if nothing happens before; the host was last heard at `heard`.
    pub(super) fn next_timeout(&self, plan: &config::Group, now: Instant, heard: Instant) -> Option<Instant> {
        let resources = plan.resources.iter().enumerate();
        let next = resources.filter_map(|(r, plan)| self.next_of(r, now, plan)).min();
        let lease = self.managed.as_ref().zip(plan.managed.as_ref());
        let lease = lease.and_then(|(managed, plan)| managed.lease_end(plan, heard));
        let descent = match self.goal {
            Goal::Leaving(Descent::Paused(until)) if self.care == Care::Kept && !self.is_unseen() => {
                Some(until)
            }
            _ => None,
        };
        [next, lease, descent].into_iter().flatten().min()
    }

    fn next_of(&self, r: usize, now: Instant, plan: &config::Resource) -> Option<Instant> {
        let resource = &self.resources[r];
        match resource.phase {
            Phase::Trying(trial) if resource.flight.is_none() => Some(trial.next),
            _ if self.is_checked(r, plan) => Some(resource.next_check),
            Phase::Down if !self.is_left_alone() && resource.not_before > now => Some(resource.not_before),
            _ => None,
        }
    }

    /// Whether `r` is looked at each interval. What is down is not, unless a person may start it: the group is left alone, or
    /// offline. (A probe would see another's there.)
    fn is_checked(&self, r: usize, plan: &config::Resource) -> bool {
        let resource = &self.resources[r];
        let is_free = resource.flight.is_none() && resource.wish == Wish::Up && self.goal != Goal::Down;
        !plan.interval.is_zero()
            && is_free
            && match (resource.phase, self.goal) {
                (Phase::Down | Phase::Failed(_), Goal::Offline) => !plan.kind.is_probe(),
                (Phase::Down | Phase::Failed(_), _) => self.is_left_alone(),
                (Phase::Up(_), _) => true,
                _ => false,
            }
    }

    /// Begins the tries and checks that are due; says how many checks.
    pub(super) fn begin_due(&mut self, turn: &mut Turn<'_>) -> usize {
        let mut begun = 0;
        for r in 0..self.resources.len() {
            let resource = &self.resources[r];
            match resource.phase {
                Phase::Trying(trial) if resource.flight.is_none() && trial.next <= turn.now => {
                    self.try_now(turn, r);
                }
                _ if resource.next_check <= turn.now && self.is_checked(r, &turn.plan.resources[r]) => {
                    self.begin(turn, r, Purpose::Check);
                    begun += 1;
                }
                _ => {}
            }
        }
        begun
    }

    /// Begins up to `room` checks that are nearly due; says how many.
    pub(super) fn begin_early(&mut self, turn: &mut Turn<'_>, room: usize) -> usize {
        let mut begun = 0;
        for r in 0..self.resources.len() {
            let interval = turn.plan.resources[r].interval;
            let early = (interval / EARLY_PART).min(EARLIEST);
            let is_nearly_due = self.resources[r].next_check <= turn.now + early;
            if begun < room && is_nearly_due && self.is_checked(r, &turn.plan.resources[r]) {
                self.begin(turn, r, Purpose::Check);
                begun += 1;
            }
        }
        begun
    }

    /// A probe's next try.
    pub(super) fn try_now(&mut self, turn: &mut Turn<'_>, r: usize) {
        let Phase::Trying(trial) = &mut self.resources[r].phase else {
            unreachable!("only what is tried is tried now")
        };
        trial.excuse_pause(turn.now);
        self.begin(turn, r, Purpose::Try);
    }

    /// The longest that a try may take.
    pub(super) fn try_limit(&self, turn: &Turn<'_>, r: usize) -> Duration {
        let timeout = turn.plan.resources[r].timeout;
        match self.resources[r].phase {
            Phase::Trying(trial) => timeout.min(trial.until.since(turn.now)).max(SHORTEST_TRY),
            _ => timeout,
        }
    }

    /// A try failed before its time was over: the next one comes after a pause.
    pub(super) fn try_again(&mut self, now: Instant, r: usize) {
        let Phase::Trying(trial) = &mut self.resources[r].phase else {
            unreachable!("only what is tried is tried again")
        };
        trial.next = (now + trial.pause).min(trial.until);
        trial.pause = (trial.pause * 2).min(LONGEST_PAUSE);
    }

    /// The first check after a start comes up to a quarter early, so that what was started together is not looked at
    /// together for ever.
    pub(super) fn plan_first_check(&mut self, turn: &mut Turn<'_>, r: usize) {
        let interval = turn.plan.resources[r].interval;
        let quarter = u64::try_from(interval.as_nanos() / 4).unwrap_or(u64::MAX).max(1);
        let early = Duration::from_nanos(turn.desk.jitter.draw() % quarter);
        self.resources[r].next_check = turn.now + interval.saturating_sub(early);
    }

    pub(super) fn plan_check(&mut self, turn: &Turn<'_>, r: usize) {
        self.resources[r].next_check = turn.now + turn.plan.resources[r].interval;
    }
}
