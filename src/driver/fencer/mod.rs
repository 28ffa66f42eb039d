//! Fencing: agents under /usr/sbin, run as they are, each order in a thread of its own.
//!
//! The first level whose agents all succeed counts; all agents of a level must succeed, as for a machine with two power
//! supplies. That a machine is off is believed when the agents' own `status` says so after it was switched off, and never
//! because `off` ended well.
//!
//! An order can be withdrawn: its agent is killed, and no other is asked. What it has sent already may still be done; and an
//! agent outlives its `roostd`.

mod agent;

use super::leash::Leash;
use super::mailbox::{Mailbox, Teller, mailbox};
use crate::config::{FenceAgent, FenceLevel};
use crate::engine::fence::{FenceAction, FenceOrder, FenceResult, FenceTicket};
use agent::Power;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    /// What is under way, and what its agents are held by.
    orders: BTreeMap<FenceTicket, Arc<Leash>>,
}

impl Fencer {
    /// A fencer with the agents in `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let (tell, told) = mailbox()?;
        Ok(Self { folder: folder.to_owned(), tell, told, orders: BTreeMap::new() })
    }

    /// Readable when [`Fencer::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.fd()
    }

    /// An answer, if there is one.
    pub fn poll(&mut self) -> Option<(FenceTicket, FenceResult)> {
        let (ticket, result) = self.told.take()?;
        self.orders.remove(&ticket);
        Some((ticket, result))
    }

    /// Carries an order out; it is answered once.
    pub fn order(&mut self, order: FenceOrder) {
        let ticket = order.ticket;
        let failed = |reason: String| self.tell.tell((ticket, FenceResult::Failed { reason }));
        if self.orders.len() >= MAX_AT_ONCE {
            failed(format!("{MAX_AT_ONCE} fence orders are under way already"));
            return;
        }
        let leash = Arc::<Leash>::default();
        let (folder, tell, held) = (self.folder.clone(), self.tell.clone(), Arc::clone(&leash));
        let work = move || tell.tell((ticket, carry_out(&held, &folder, &order)));
        match std::thread::Builder::new().name("fence".to_owned()).stack_size(STACK).spawn(work) {
            Ok(_) => drop(self.orders.insert(ticket, leash)),
            Err(error) => failed(format!("no thread could be started: {error}")),
        }
    }

    /// An order is not wanted any more: what of it is not done yet is not done. It is answered all the same.
    pub fn withdraw(&self, ticket: FenceTicket) {
        if let Some(leash) = self.orders.get(&ticket) {
            leash.cut();
        }
    }
}

fn carry_out(leash: &Leash, folder: &Path, order: &FenceOrder) -> FenceResult {
    let mut reasons = Vec::new();
    for (nth, level) in order.levels.iter().enumerate() {
        let done = match order.action {
            FenceAction::Status => status(leash, folder, level),
            FenceAction::Off => off(leash, folder, level),
            FenceAction::On => on(leash, folder, level),
        };
        match done {
            Ok(Power::Off) => return FenceResult::Off,
            Ok(Power::On) => return FenceResult::On,
            Err(reason) => reasons.push(format!("level {}: {reason}", nth + 1)),
        }
    }
    if leash.is_cut() { FenceResult::Withdrawn } else { FenceResult::Failed { reason: reasons.join("; ") } }
}

/// Off only if all of them call it off.
fn status(leash: &Leash, folder: &Path, level: &FenceLevel) -> Result<Power, String> {
    let mut power = Power::Off;
    for agent in &level.agents {
        if agent::status(leash, folder, agent)? == Power::On {
            power = Power::On;
        }
    }
    Ok(power)
}

fn off(leash: &Leash, folder: &Path, level: &FenceLevel) -> Result<Power, String> {
    for agent in &level.agents {
        leash.wait(agent.delay); // two hosts that fence each other do not do it in the same moment
        tries(leash, agent, || agent::run(leash, folder, agent, "off").map(|_| ()))?;
    }
    let limit = level.agents.iter().map(|agent| agent.timeout).max().unwrap_or_default();
    let until = Instant::now() + limit;
    loop {
        match status(leash, folder, level) {
            Ok(Power::Off) => return Ok(Power::Off),
            Ok(Power::On) if Instant::now() >= until => {
                return Err(format!("it is still on {} s after it was switched off", limit.as_secs()));
            }
            Err(reason) if leash.is_cut() || Instant::now() >= until => return Err(reason),
            Ok(Power::On) | Err(_) => leash.wait(LOOK_AGAIN), // an agent can only be asked again
        }
    }
}

fn on(leash: &Leash, folder: &Path, level: &FenceLevel) -> Result<Power, String> {
    for agent in &level.agents {
        tries(leash, agent, || agent::run(leash, folder, agent, "on").map(|_| ()))?;
    }
    Ok(Power::On)
}

/// Tries again as often as is configured.
fn tries(
    leash: &Leash,
    agent: &FenceAgent,
    mut what: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let mut left = agent.retries;
    loop {
        match what() {
            Err(_) if left > 0 && !leash.is_cut() => left -= 1,
            done => return done,
        }
    }
}
