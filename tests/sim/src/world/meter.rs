//! What the engines cost: the processor time that is spent in each, and what each sends, as a wire would carry it.

use core::time::Duration;
use nix::time::{ClockId, clock_gettime};
use roost_proto::cluster::codec::OVERHEAD;

/// Bytes of the heads of Ethernet, IPv4 and UDP.
const HEADS: usize = 14 + 20 + 8;
/// Pairs of looks at the clock by which it is found out what they cost.
const LOOKS: u32 = 100_000;

/// What one host cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub engine: Duration,
    /// Calls of the engine.
    pub calls: u32,
    pub datagrams: u64,
    pub bytes: u64,
}

/// What each host cost since it was made.
#[derive(Debug)]
pub struct Meter {
    hosts: Vec<Cost>,
    /// What the two looks at the clock themselves take.
    looks: Duration,
}

/// This thread's processor time: what others do on the machine does not count.
fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

impl Meter {
    pub fn new(hosts: usize) -> Self {
        let begun = spent();
        for _ in 0..LOOKS {
            std::hint::black_box((spent(), spent()));
        }
        // Of the time between two looks the half of each is outside.
        let looks = (spent() - begun) / LOOKS / 2;
        Self { hosts: vec![Cost::default(); hosts], looks }
    }

    /// What each host cost, without what it cost to find out.
    pub fn costs(&self) -> Vec<Cost> {
        let net = |cost: &Cost| Cost { engine: cost.engine.saturating_sub(self.looks * cost.calls), ..*cost };
        self.hosts.iter().map(net).collect()
    }

    /// Counts what `call` takes as the engine's of a host.
    pub fn engine<T>(&mut self, host: usize, call: impl FnOnce() -> T) -> T {
        let begun = spent();
        let result = call();
        let cost = &mut self.hosts[host];
        cost.engine += spent() - begun;
        cost.calls += 1;
        result
    }

    /// Counts a datagram of a host, by the bytes of its plaintext.
    pub fn sent(&mut self, host: usize, plaintext: usize) {
        let cost = &mut self.hosts[host];
        cost.datagrams += 1;
        cost.bytes += (plaintext + OVERHEAD + HEADS) as u64;
    }
}
