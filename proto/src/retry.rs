//! How often, and how soon, something that failed is tried again: attempts within a sliding window, and an
//! exponential backoff with a cap and jitter. The guest's restarts and the host's ladder use the same arithmetic.

use crate::time::Instant;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The most attempts that a window can count; a configuration that asks for more is refused.
pub const MAX_ATTEMPTS: u32 = 1000;

/// The moments of the attempts within a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts(Vec<Instant>);

impl Attempts {
    /// Counts one attempt at `now`.
    pub fn count(&mut self, now: Instant, window: Duration) {
        self.forget(now, window);
        if self.0.len() >= MAX_ATTEMPTS as usize {
            self.0.remove(0);
        }
        self.0.push(now);
    }

    /// How many attempts lie within the window that ends `now`.
    pub fn within(&self, now: Instant, window: Duration) -> u32 {
        let count = self.0.iter().filter(|&&at| now.since(at) < window).count();
        u32::try_from(count).expect("at most MAX_ATTEMPTS are kept")
    }

    /// When the oldest attempt within the window leaves it, if there is one.
    pub fn next_expiry(&self, now: Instant, window: Duration) -> Option<Instant> {
        self.0.iter().find(|&&at| now.since(at) < window).map(|&at| at + window)
    }

    /// Drops what the window has left behind.
    pub fn forget(&mut self, now: Instant, window: Duration) {
        self.0.retain(|&at| now.since(at) < window);
    }

    /// Forgets all, as when an operator starts afresh.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The wait before a further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the second attempt; the first is made at once.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait before the next attempt when `made` were already made within the window: none, then `first`,
    /// doubled each time up to `max`, less up to a fifth of it, taken from `random`, so that many that failed
    /// together do not start together.
    pub fn wait(&self, made: u32, random: u64) -> Duration {
        if made == 0 {
            return Duration::ZERO;
        }
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(made - 1).unwrap_or(u32::MAX)).min(self.max);
        let fifth = u64::try_from(doubled.as_nanos() / 5).unwrap_or(u64::MAX);
        doubled.saturating_sub(Duration::from_nanos(random % fifth.max(1)))
    }
}

/// Pseudo-random numbers from a seed that the caller drew: xorshift64*, after Vigna, "An experimental exploration of
/// Marsaglia's xorshift generators, scrambled" (2016). For jitter only.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// The sequence of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed })
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn attempts_leave_the_window() {
        let mut attempts = Attempts::default();
        attempts.count(at(0), MINUTE);
        attempts.count(at(30), MINUTE);
        assert_eq!(attempts.within(at(59), MINUTE), 2);
        assert_eq!(attempts.next_expiry(at(59), MINUTE), Some(at(60)));
        assert_eq!(attempts.within(at(60), MINUTE), 1);
        assert_eq!(attempts.next_expiry(at(60), MINUTE), Some(at(90)));
        assert_eq!(attempts.within(at(90), MINUTE), 0);
    }

    #[test]
    fn attempts_are_bounded() {
        let mut attempts = Attempts::default();
        for _ in 0..2 * MAX_ATTEMPTS {
            attempts.count(at(1), MINUTE);
        }
        assert_eq!(attempts.within(at(1), MINUTE), MAX_ATTEMPTS);
    }

    #[test]
    fn backoff_doubles_to_its_cap() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(10) };
        let waits: Vec<u64> = (0..7).map(|made| backoff.wait(made, 0).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.wait(u32::MAX, 0), backoff.max);
    }

    #[test]
    fn jitter_takes_at_most_a_fifth() {
        let backoff = Backoff { first: Duration::from_secs(10), max: Duration::from_secs(10) };
        let mut jitter = Jitter::new(7);
        for _ in 0..1000 {
            let wait = backoff.wait(1, jitter.draw());
            assert!(wait <= backoff.max && wait >= Duration::from_secs(8), "{wait:?}");
        }
        let none = Backoff { first: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(none.wait(5, u64::MAX), Duration::ZERO);
    }
}
