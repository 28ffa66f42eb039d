//! What the daemon counts by itself, and how long things took.

use crate::engine::fence::{FenceAction, FenceResult};
use crate::engine::keeper::vm::{ActionError, VmAction};
use core::time::Duration;
use roost_proto::control::Level;

/// Bounds of the histogram, in milliseconds: libvirt answers in one or some, is slow beyond 100, and is given up on beyond
/// some seconds.
pub const BOUNDS_MS: [u64; 8] = [1, 5, 20, 100, 500, 1000, 3000, 10_000];

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many took at most as long as the bound of the same place, and longer than the one before.
    counts: [u64; BOUNDS_MS.len()],
    /// Those that took longer.
    longer: u64,
    sum: Duration,
}

impl Histogram {
    /// One more.
    pub fn count(&mut self, took: Duration) {
        match BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound)) {
            Some(at) => self.counts[at] += 1,
            None => self.longer += 1,
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// For each bound, how many took at most so long.
    pub fn at_most(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        BOUNDS_MS.iter().zip(self.counts).map(move |(bound, count)| {
            sum += count;
            (Duration::from_millis(*bound), sum)
        })
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    /// How long all of them took.
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

/// Counts since the daemon's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Events, by level.
    events: [u64; LEVELS.len()],
    /// Orders to libvirt, by what was ordered.
    orders: [u64; ACTIONS.len()],
    /// Those that it did not carry out.
    pub orders_failed: u64,
    /// Orders to fence agents, by what was ordered.
    fence_orders: [u64; FENCE_ACTIONS.len()],
    /// What came of them.
    fence_results: [u64; FENCE_RESULTS.len()],
}

const LEVELS: [&str; 3] = ["info", "warning", "error"];
const ACTIONS: [&str; 15] = [
    "define",
    "start",
    "reboot",
    "reset",
    "shutdown",
    "destroy",
    "suspend",
    "resume",
    "kill",
    "screenshot",
    "migrate",
    "save",
    "restore",
    "abort",
    "forget",
];
const FENCE_ACTIONS: [&str; 3] = ["status", "off", "on"];
const FENCE_RESULTS: [&str; 4] = ["off", "on", "failed", "withdrawn"];

impl Meter {
    /// An event was recorded.
    pub const fn event(&mut self, level: Level) {
        let at = match level {
            Level::Info => 0,
            Level::Warning => 1,
            Level::Error => 2,
        };
        self.events[at] += 1;
    }

    /// libvirt was ordered to do something.
    pub const fn order(&mut self, action: &VmAction) {
        let at = match action {
            VmAction::Define { .. } => 0,
            VmAction::Start => 1,
            VmAction::Reboot => 2,
            VmAction::Reset => 3,
            VmAction::Shutdown => 4,
            VmAction::Destroy => 5,
            VmAction::Suspend => 6,
            VmAction::Resume => 7,
            VmAction::Kill => 8,
            VmAction::Screenshot { .. } => 9,
            VmAction::Migrate { .. } => 10,
            VmAction::Save { .. } => 11,
            VmAction::Restore { .. } => 12,
            VmAction::Abort => 13,
            VmAction::Forget { .. } => 14,
        };
        self.orders[at] += 1;
    }

    /// An order to libvirt ended.
    pub fn ordered(&mut self, result: &Result<(), ActionError>) {
        if !matches!(result, Ok(()) | Err(ActionError::AlreadySo)) {
            self.orders_failed += 1;
        }
    }

    /// Fence agents were ordered to do something.
    pub const fn fence(&mut self, action: FenceAction) {
        let at = match action {
            FenceAction::Status => 0,
            FenceAction::Off => 1,
            FenceAction::On => 2,
        };
        self.fence_orders[at] += 1;
    }

    /// Fence agents answered.
    pub const fn fenced(&mut self, result: &FenceResult) {
        let at = match result {
            FenceResult::Off => 0,
            FenceResult::On => 1,
            FenceResult::Failed { .. } => 2,
            FenceResult::Withdrawn => 3,
        };
        self.fence_results[at] += 1;
    }

    /// Events, by level.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LEVELS.into_iter().zip(self.events)
    }

    /// Orders to libvirt, by what was ordered.
    pub fn orders(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ACTIONS.into_iter().zip(self.orders)
    }

    /// Orders to fence agents, by what was ordered.
    pub fn fence_orders(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FENCE_ACTIONS.into_iter().zip(self.fence_orders)
    }

    /// What came of orders to fence agents.
    pub fn fence_results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FENCE_RESULTS.into_iter().zip(self.fence_results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_took_at_most_so_long() {
        let mut times = Histogram::default();
        for ms in [0, 1, 2, 5, 6, 10_000, 10_001] {
            times.count(Duration::from_millis(ms));
        }
        let at_most: Vec<u64> = times.at_most().map(|(_, count)| count).collect();
        assert_eq!(at_most, [2, 4, 5, 5, 5, 5, 5, 6]);
        assert_eq!((times.total(), times.sum()), (7, Duration::from_millis(20_015)));
    }
}
