//! Random numbers: one seed decides all of them.

use core::time::Duration;
use roost_proto::retry::Jitter;

/// A sequence of random numbers.
#[derive(Debug)]
pub struct Random(Jitter);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        let mut jitter = Jitter::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        for _ in 0..4 {
            jitter.draw(); // seeds that are near each other begin alike
        }
        Self(jitter)
    }

    /// Any number.
    pub const fn draw(&mut self) -> u64 {
        self.0.draw()
    }

    /// A number below `limit`, which is at least 1.
    pub const fn below(&mut self, limit: u64) -> u64 {
        (self.0.draw() >> 16) % limit
    }

    /// The same, for an index.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }

    /// A time between two.
    pub fn time(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX).max(1);
        from + Duration::from_micros(self.below(span))
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}
