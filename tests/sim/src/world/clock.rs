//! Time: the world's own, and each host's, which runs a little fast or slow.

use core::time::Duration;
use roost_proto::time::Instant;

/// The world's time, in nanoseconds since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Later by so much.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4))
    }

    /// How long ago `earlier` was.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl core::fmt::Display for Time {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:>4}.{:06}", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

/// A host's clock since its boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: Time,
    /// What it showed then, in nanoseconds.
    base: u64,
    /// Parts in a million that it is too fast.
    drift: i64,
}

impl Clock {
    /// A clock that shows `base` at `boot`.
    pub const fn new(boot: Time, base: u64, drift: i64) -> Self {
        Self { boot, base, drift }
    }

    /// What it shows at `time`.
    pub fn show(&self, time: Time) -> Instant {
        let since = i128::from(time.0.saturating_sub(self.boot.0));
        let shown = since + since * i128::from(self.drift) / 1_000_000;
        Instant::from_nanos(self.base + u64::try_from(shown).unwrap_or(0))
    }

    /// The first moment at which it shows `instant` or later.
    pub fn when(&self, instant: Instant) -> Time {
        let since = i128::from(instant.as_nanos().saturating_sub(self.base));
        let truly = since * 1_000_000 / (1_000_000 + i128::from(self.drift));
        let mut time = Time(self.boot.0 + u64::try_from(truly).unwrap_or(0));
        while self.show(time) < instant {
            time.0 += 1;
        }
        time
    }
}
