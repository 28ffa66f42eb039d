//! The ladder: what is tried next for a VM that failed, how soon, and when to give up.

use crate::config::Recovery;
use core::time::Duration;
use roost_proto::control::Recoveries;
use roost_proto::retry::{Attempts, Jitter};
use roost_proto::state::SavedGroup;
use roost_proto::time::Instant;

/// A rung, from the gentlest to the hardest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Ask the guest to reboot.
    Reboot,
    /// Push the reset button.
    Reset,
    /// Start the VM, pulling its plug first if it runs.
    Restart,
}

impl Rung {
    /// What taking it is called.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Reboot => "ask the guest to reboot",
            Self::Reset => "reset the VM",
            Self::Restart => "restart the VM",
        }
    }
}

/// What the ladder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take this rung, after this wait.
    Take(Rung, Duration),
    /// Every rung is spent.
    GiveUp,
}

/// The gentlest rung from `gentlest` up that the window still has room for, and the wait before it. The wait grows with
/// all that was tried within the window: a VM that fails again after its reset has failed twice.
pub fn next(
    limits: &Recovery,
    saved: &SavedGroup,
    gentlest: Rung,
    now: Instant,
    jitter: &mut Jitter,
) -> Step {
    let made = count(limits, saved, now);
    let total = made.reboot.saturating_add(made.reset).saturating_add(made.restart);
    gentlest_left(limits, made, gentlest)
        .map_or(Step::GiveUp, |rung| Step::Take(rung, limits.backoff.wait(total, jitter.draw())))
}

/// The gentlest rung from `gentlest` up that is not spent, when so much was made of each.
pub fn gentlest_left(limits: &Recovery, made: Recoveries, gentlest: Rung) -> Option<Rung> {
    let room = |rung| match rung {
        Rung::Reboot => made.reboot < limits.reboot,
        Rung::Reset => made.reset < limits.reset,
        Rung::Restart => made.restart < limits.restart,
    };
    [Rung::Reboot, Rung::Reset, Rung::Restart].into_iter().find(|&rung| rung >= gentlest && room(rung))
}

/// Counts one use of `rung`.
pub fn take(limits: &Recovery, saved: &mut SavedGroup, rung: Rung, now: Instant) {
    saved.recoveries += 1;
    attempts(saved, rung).count(now, limits.window);
}

/// Forgets every use: an operator starts afresh.
pub fn clear(saved: &mut SavedGroup) {
    for rung in [Rung::Reboot, Rung::Reset, Rung::Restart] {
        attempts(saved, rung).clear();
    }
    saved.given_up = None;
}

/// The uses within the window.
pub fn count(limits: &Recovery, saved: &SavedGroup, now: Instant) -> Recoveries {
    Recoveries {
        reboot: saved.reboots.within(now, limits.window),
        reset: saved.resets.within(now, limits.window),
        restart: saved.restarts.within(now, limits.window),
    }
}

const fn attempts(saved: &mut SavedGroup, rung: Rung) -> &mut Attempts {
    match rung {
        Rung::Reboot => &mut saved.reboots,
        Rung::Reset => &mut saved.resets,
        Rung::Restart => &mut saved.restarts,
    }
}
