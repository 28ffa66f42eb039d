//! Fencing: agents under /usr/sbin, run as they are, each order in a thread of its own.
//!
//! The first level whose agents all succeed counts; all agents of a level must succeed, as for a machine with two power
//! supplies. That a machine is off is believed when the agents' own `status` says so after it was switched off, and never
//! because `off` ended well.

mod agent;

use super::mailbox::{Mailbox, Teller, mailbox};
use crate::config::{FenceAgent, FenceLevel};
use crate::engine::fence::{FenceAction, FenceOrder, FenceResult, FenceTicket};
use agent::Power;
use core::time::Duration;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Orders under way at the same time, at most: more hosts than that do not fail at once in a cluster that has a majority.
const MAX_AT_ONCE: usize = 256;
/// The thread formats some text and waits.
const STACK: usize = 128 * 1024;
/// Between two looks whether a machine is off.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// The fencer.
pub struct Fencer {
    /// Where agents are.
    folder: PathBuf,
    tell: Teller<(FenceTicket, FenceResult)>,
    told: Mailbox<(FenceTicket, FenceResult)>,
    running: Arc<AtomicUsize>,
}

impl Fencer {
    /// A fencer with the agents in `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let (tell, told) = mailbox()?;
        Ok(Self { folder: folder.to_owned(), tell, told, running: Arc::default() })
    }

    /// Readable when [`Fencer::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.fd()
    }

    /// An answer, if there is one.
    pub fn poll(&self) -> Option<(FenceTicket, FenceResult)> {
        self.told.take()
    }

    /// Carries an order out; it is answered once.
    pub fn order(&self, order: FenceOrder) {
        let ticket = order.ticket;
        let failed = |reason: String| self.tell.tell((ticket, FenceResult::Failed { reason }));
        if self.running.fetch_add(1, Ordering::SeqCst) >= MAX_AT_ONCE {
            self.running.fetch_sub(1, Ordering::SeqCst);
            failed(format!("{MAX_AT_ONCE} fence orders are under way already"));
            return;
        }
        let (folder, tell, running) = (self.folder.clone(), self.tell.clone(), Arc::clone(&self.running));
        let work = move || {
            let result = carry_out(&folder, &order);
            running.fetch_sub(1, Ordering::SeqCst);
            tell.tell((ticket, result));
        };
        let spawned = std::thread::Builder::new().name("fence".to_owned()).stack_size(STACK).spawn(work);
        if let Err(error) = spawned {
            self.running.fetch_sub(1, Ordering::SeqCst);
            failed(format!("no thread could be started: {error}"));
        }
    }
}

fn carry_out(folder: &Path, order: &FenceOrder) -> FenceResult {
    let mut reasons = Vec::new();
    for (nth, level) in order.levels.iter().enumerate() {
        let done = match order.action {
            FenceAction::Status => status(folder, level),
            FenceAction::Off => off(folder, level),
            FenceAction::On => on(folder, level),
        };
        match done {
            Ok(Power::Off) => return FenceResult::Off,
            Ok(Power::On) => return FenceResult::On,
            Err(reason) => reasons.push(format!("level {}: {reason}", nth + 1)),
        }
    }
    FenceResult::Failed { reason: reasons.join("; ") }
}

/// Off only if all of them call it off.
fn status(folder: &Path, level: &FenceLevel) -> Result<Power, String> {
    let mut power = Power::Off;
    for agent in &level.agents {
        if agent::status(folder, agent)? == Power::On {
            power = Power::On;
        }
    }
    Ok(power)
}

fn off(folder: &Path, level: &FenceLevel) -> Result<Power, String> {
    for agent in &level.agents {
        std::thread::sleep(agent.delay); // two hosts that fence each other do not do it in the same moment
        tries(agent, || agent::run(folder, agent, "off").map(|_| ()))?;
    }
    let limit = level.agents.iter().map(|agent| agent.timeout).max().unwrap_or_default();
    let until = Instant::now() + limit;
    loop {
        match status(folder, level) {
            Ok(Power::Off) => return Ok(Power::Off),
            Ok(Power::On) if Instant::now() >= until => {
                return Err(format!("it is still on {} s after it was switched off", limit.as_secs()));
            }
            Err(reason) if Instant::now() >= until => return Err(reason),
            Ok(Power::On) | Err(_) => std::thread::sleep(LOOK_AGAIN), // an agent can only be asked again
        }
    }
}

fn on(folder: &Path, level: &FenceLevel) -> Result<Power, String> {
    for agent in &level.agents {
        tries(agent, || agent::run(folder, agent, "on").map(|_| ()))?;
    }
    Ok(Power::On)
}

/// Tries again as often as is configured.
fn tries(agent: &FenceAgent, mut what: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let mut left = agent.retries;
    loop {
        match what() {
            Err(_) if left > 0 => left -= 1,
            done => return done,
        }
    }
}
