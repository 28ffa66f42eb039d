//! What the engines cost: the time that is spent in each, and what each sends, as a wire would carry it.

use core::time::Duration;
use roost_proto::cluster::codec::OVERHEAD;
use std::time::Instant;

/// Bytes of the heads of Ethernet, IPv4 and UDP.
const HEADS: usize = 14 + 20 + 8;

/// What one host cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub engine: Duration,
    pub datagrams: u64,
    pub bytes: u64,
}

/// What each host cost since it was made. The two looks at the clock that each call takes are in it: some 50 ns.
#[derive(Debug)]
pub struct Meter(Vec<Cost>);

impl Meter {
    pub fn new(hosts: usize) -> Self {
        Self(vec![Cost::default(); hosts])
    }

    pub fn costs(&self) -> &[Cost] {
        &self.0
    }

    /// Counts what `call` takes as the engine's of a host.
    pub fn engine<T>(&mut self, host: usize, call: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = call();
        self.0[host].engine += begun.elapsed();
        result
    }

    /// Counts a datagram of a host, by the bytes of its plaintext.
    pub fn sent(&mut self, host: usize, plaintext: usize) {
        let cost = &mut self.0[host];
        cost.datagrams += 1;
        cost.bytes += (plaintext + OVERHEAD + HEADS) as u64;
    }
}
