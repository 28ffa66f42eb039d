//! Metrics: what is counted here, what is asked of others when they are wanted, and the file that they are written to.

use super::Daemon;
use crate::driver::clock;
use crate::driver::libvirt::Libvirt;
use crate::driver::metrics_file::{METRICS_EVERY, MetricsFile, Told};
use crate::driver::udp::{Stats, Udp};
use crate::engine::Contact;
use crate::engine::keeper::{RequestId, draft};
use crate::engine::watchdog::WatchdogInput;
use crate::metrics::meter::{Histogram, Meter};
use crate::metrics::text::Dialect;
use crate::metrics::{self, Consensus, Facts};
use core::time::Duration;
use roost_proto::control::{EventKind, Level, Reply};
use roost_proto::time::Instant;
use std::io;
use std::os::fd::BorrowedFd;

/// Bytes of one reply with metrics, at most; a line of the control socket takes more, and what is in quotes takes two.
const MAX_PART: usize = 64 * 1024;

/// What the daemon counts, and where it goes.
pub(super) struct Measure {
    pub(super) meter: Meter,
    file: MetricsFile,
    /// When the file is written next.
    next: Instant,
    started_ms: u64,
}

impl Measure {
    /// The thread that writes is started, whether there is a file or not: a reload may bring one.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self {
            meter: Meter::default(),
            file: MetricsFile::start()?,
            next: clock::now(),
            started_ms: clock::wall_ms(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    /// The file may be another one now, and is written at once.
    pub(super) fn reload(&mut self) {
        self.next = clock::now();
    }

    /// When the file is written next, if there is one.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }
}

impl Daemon {
    /// Has the file written, when it is time.
    pub(super) fn write_metrics(&mut self, now: Instant) {
        let Some(file) = self.config.cluster.metrics_file.clone() else { return };
        if now >= self.measure.next {
            self.measure.next = now + METRICS_EVERY;
            let text = metrics::render(&self.facts(now), Dialect::Prometheus);
            self.measure.file.write(&file, text);
        }
    }

    /// Answers who asked for metrics.
    pub(super) fn tell_metrics(&mut self, request: RequestId, now: Instant) {
        let text = metrics::render(&self.facts(now), Dialect::OpenMetrics);
        for text in parts(&text) {
            self.control.reply(request, &Reply::Metrics { text: text.to_owned() });
        }
        self.control.answer(request, &Reply::End);
    }

    /// Tells what is wrong with the file.
    pub(super) fn metrics_say(&mut self) {
        while let Some(told) = self.measure.file.poll() {
            let (level, text) = match told {
                Told::Fails(why) => (
                    Level::Warning,
                    format!(
                        "the metrics file {why}; roostd's sandbox must let it write there: see METRICS in roost(8)"
                    ),
                ),
                Told::Works(file) => {
                    (Level::Info, format!("the metrics file '{}' is written again", file.display()))
                }
            };
            self.record(draft(level, EventKind::Storage, None, text));
        }
    }

    fn facts(&self, now: Instant) -> Facts {
        let raft = self.engine.raft();
        let lease = self.engine.lease_until().map_or(Duration::ZERO, |until| until.since(now));
        let consensus = Consensus {
            leader: raft.leader().is_some(),
            quorum: self.engine.contact() == Contact::Majority,
            voters: raft.voters().len() as u64,
            term: raft.term(),
            applied: self.engine.applied(),
            last: raft.last_index(),
            lease,
            watchdog: matches!(
                self.engine.watchdog(),
                Some(WatchdogInput::Working { .. } | WatchdogInput::Virtual { .. })
            ),
        };
        Facts {
            status: self.with_own_warnings(self.engine.status(now, clock::wall_ms())),
            started_ms: self.measure.started_ms,
            consensus,
            tally: self.engine.tally().clone(),
            made: self.engine.keeper().made(),
            meter: self.measure.meter.clone(),
            network: self
                .network
                .as_ref()
                .map_or_else(Stats::default, |network: &Udp| network.stats().clone()),
            libvirt: self.libvirt.as_ref().map_or_else(Histogram::default, Libvirt::answers),
            hooks: self.hooks.counts(),
            hooks_waiting: self.hooks.waiting() as u64,
            not_stored: self.disk.not_taken(),
        }
    }
}

/// `text` in parts of whole lines.
fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > MAX_PART {
        let end = text[..text.floor_char_boundary(MAX_PART)].rfind('\n').map_or(text.len(), |end| end + 1);
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_lines_and_make_the_whole() {
        let line = "roost_group_frozen{group=\"ä\"} 0\n";
        let text = line.repeat(3 * MAX_PART / line.len());
        let parts = parts(&text);
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= MAX_PART && part.ends_with('\n')));
        assert_eq!(parts.concat(), text);
        assert_eq!(super::parts("a 1\n"), ["a 1\n"]);
    }
}
