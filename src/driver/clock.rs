//! The clocks: `CLOCK_BOOTTIME` for every decision, the wall clock for people only, and what names this boot.

use core::time::Duration;
use nix::time::{ClockId, clock_gettime};
use roost_proto::time::Instant;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, since boot.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    let (seconds, nanos) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Now, in milliseconds of Unix time.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The minute of the week by local time, from Monday, 00:00, and how long it still lasts.
pub fn minute_of_week() -> (u16, Duration) {
    let now = jiff::Zoned::now();
    let day = u16::from(now.weekday().to_monday_zero_offset().unsigned_abs());
    let of = |part: i8| u16::from(part.unsigned_abs());
    let left = 60_u64.saturating_sub(u64::from(now.second().unsigned_abs()));
    ((day * 24 + of(now.hour())) * 60 + of(now.minute()), Duration::from_secs(left.max(1)))
}

/// This boot's id, as the kernel names it.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A random number, from the kernel.
pub fn seed() -> io::Result<u64> {
    use std::io::Read;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
