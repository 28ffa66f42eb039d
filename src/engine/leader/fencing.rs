//! Fencing one host: its agents are asked whether it has power, and to take it; and how time proves that it runs nothing.

use super::super::fence::{FenceAction, FenceOrder, FenceResult, FenceTicket};
use crate::config;
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::control::Level;
use roost_proto::time::Instant;

/// How long after one status of a silent host the next is asked for.
const STATUS_AGAIN: Duration = Duration::from_secs(2);
/// The wait before agents that failed are tried again: first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// What is added to a time that is a proof: for scheduling, and for a watchdog that is read in whole ticks.
pub const MARGIN: Duration = Duration::from_millis(500);

/// Two clocks, each off by at most half a percent, differ by at most one in a hundred: what lasted so long on another clock
/// lasted at least this long here.
pub const fn at_least(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_nanos((time.as_nanos() / 99) as u64))
}

/// What lasts so long on another clock lasts at most this long here.
pub const fn at_most(time: Duration) -> Duration {
    time.saturating_add(Duration::from_nanos((time.as_nanos() / 99) as u64))
}

/// How far one host's fencing is.
#[derive(Debug)]
pub struct Fencing {
    name: String,
    order: Option<(FenceTicket, FenceAction, Instant)>,
    /// When its power was last asked for, and found off.
    off_since: Option<Instant>,
    status_after: Option<Instant>,
    off_after: Option<Instant>,
    failures: u32,
}

impl Fencing {
    /// Nothing is known of that host's power.
    pub const fn new(name: String) -> Self {
        Self { name, order: None, off_since: None, status_after: None, off_after: None, failures: 0 }
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether an order to take its power is under way, and may still do it.
    pub const fn is_switching(&self) -> bool {
        matches!(self.order, Some((_, FenceAction::Off, _)))
    }

    /// Takes back an order to switch it off, if one is under way; its answer says nothing any more.
    pub fn withdraw(&mut self) -> Option<FenceTicket> {
        self.order.take_if(|(_, action, _)| *action == FenceAction::Off).map(|(ticket, _, _)| ticket)
    }

    /// Whether the host was off at some moment after `heard`: what lived then is dead.
    pub fn was_off_after(&self, heard: Instant) -> bool {
        self.off_since.is_some_and(|at| at > heard)
    }

    /// What its agents are to be asked now, if anything; and when to look again.
    pub fn next(
        &mut self,
        now: Instant,
        host: &config::Host,
        action: FenceAction,
        ticket: &mut u64,
    ) -> (Option<FenceOrder>, Option<Instant>) {
        // A status that hangs does not keep the power from being taken; its answer is not waited for any more.
        let busy = match self.order {
            None => false,
            Some((_, FenceAction::Status, _)) => action == FenceAction::Status,
            Some((_, FenceAction::Off | FenceAction::On, _)) => true,
        };
        if host.fence.is_empty() || busy {
            return (None, None);
        }
        let after = if action == FenceAction::Off { self.off_after } else { self.status_after };
        if let Some(at) = after.filter(|at| now < *at) {
            return (None, Some(at));
        }
        let order = FenceOrder {
            ticket: FenceTicket(*ticket),
            host: HostId::of(&host.name),
            name: host.name.clone(),
            levels: host.fence.clone(),
            action,
        };
        *ticket += 1;
        self.order = Some((order.ticket, action, now));
        (Some(order), None)
    }

    /// The agents answered; `None` when it was not this host's order, else what is to be told.
    pub fn answered(
        &mut self,
        now: Instant,
        ticket: FenceTicket,
        result: &FenceResult,
    ) -> Option<Option<(Level, String)>> {
        let (_, action, asked) = self.order.take_if(|(order, _, _)| *order == ticket)?;
        let words = match (action, result) {
            (_, FenceResult::Withdrawn) => None,
            (FenceAction::Status | FenceAction::Off, FenceResult::Off) => {
                self.off_since = Some(asked); // it was off at some moment since
                self.failures = 0;
                Some((Level::Warning, "the fence agents of '{host}' say that it is off".to_owned()))
            }
            (FenceAction::Status, _) => {
                self.status_after = Some(now + STATUS_AGAIN);
                match result {
                    FenceResult::Failed { reason } => Some((
                        Level::Warning,
                        format!("the fence agents of '{{host}}' do not say whether it has power: {reason}"),
                    )),
                    FenceResult::Off | FenceResult::On | FenceResult::Withdrawn => None,
                }
            }
            (FenceAction::Off, _) => {
                let wait =
                    AGAIN.0.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(AGAIN.1);
                self.failures += 1;
                self.off_after = Some(now + wait);
                let said = match result {
                    FenceResult::Failed { reason } => reason.clone(),
                    FenceResult::Off | FenceResult::On | FenceResult::Withdrawn => {
                        "it is still on".to_owned()
                    }
                };
                let text = format!(
                    "'{{host}}' could not be fenced: {said}; its groups stay blocked, and it is tried again in {} s; if you make \
                     certain that it runs nothing: `roost fence {{host}} --confirm`",
                    wait.as_secs()
                );
                Some((Level::Error, text))
            }
            (FenceAction::On, _) => None,
        };
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clocks_may_differ_is_counted_for_safety() {
        let time = Duration::from_secs(100);
        assert!(at_least(time) < Duration::from_secs(99) && at_least(time) > Duration::from_millis(98_980));
        assert!(at_most(time) > Duration::from_secs(101) && at_most(time) < Duration::from_millis(101_020));
        assert_eq!(at_least(Duration::ZERO), Duration::ZERO);
    }
}
