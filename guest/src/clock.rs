//! The time.

use nix::time::{ClockId, clock_gettime};
use roost_proto::time::Instant;

/// Now, by `CLOCK_BOOTTIME`. No system call: the kernel shares this clock's page.
pub fn now() -> Instant {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has this clock");
    let nanos = now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs();
    Instant::from_nanos(nanos)
}
