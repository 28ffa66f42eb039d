//! Every decision of a host, as pure machines: no I/O, no clock, no thread.
//!
//! The rooms: [`raft`] keeps one log on all voters; [`keeper`] is what this host does with the groups that are its own.
//! [`Engine`] joins them. After every input, outputs are drained to empty.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod fence;
pub mod keeper;
pub mod leader;
pub mod ledger;
pub mod member;
pub mod raft;
pub mod watchdog;

use crate::config::Config;
use fence::{FenceOrder, FenceResult, FenceTicket};
use keeper::remote_agent::GuestInput;
use keeper::vm::LibvirtInput;
use keeper::{Keeper, OperatorOrder, RequestId};
use roost_proto::cluster::decision::HostMode;
use roost_proto::cluster::{Datagram, HostId, Incarnation};
use roost_proto::control::{Refusal, Status};
use roost_proto::state::Saved;
use roost_proto::time::Instant;
use std::collections::VecDeque;
use std::path::PathBuf;
use watchdog::{WatchdogInput, WatchdogOrder};

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// From the libvirt driver.
    Libvirt(LibvirtInput),
    /// From the guest link of a group.
    Guest {
        /// The group.
        group: String,
        /// What.
        input: GuestInput,
    },
    /// An operator gave an order.
    Operator {
        /// Names the order in the answer.
        request: RequestId,
        /// Of whom, for the record.
        who: String,
        /// What is ordered.
        command: Command,
    },
    /// [`keeper::Output::Store`] ended.
    Stored(Result<(), String>),
    /// Another host said something. It is authentic, and was not seen before.
    Datagram {
        /// Who.
        from: HostId,
        /// In which life.
        incarnation: Incarnation,
        /// What.
        datagram: Datagram,
    },
    /// Everything up to this write ([`raft::Write::number`]) is durable. A write that fails is tried again by its driver, and
    /// is not acknowledged meanwhile.
    Written {
        /// Its number.
        number: u64,
    },
    /// The ledger's disk does not work, or works again.
    LedgerDisk(Result<(), String>),
    /// Fence agents answered.
    Fence {
        /// Which order.
        ticket: FenceTicket,
        /// What.
        result: FenceResult,
    },
    /// What is known of the watchdog device; comes before anything else.
    Watchdog(WatchdogInput),
    /// The host is about to be shut down: its groups are to go elsewhere.
    Leave,
}

/// What an operator can order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// About a group's intent.
    Group {
        /// The group.
        group: String,
        /// What.
        order: OperatorOrder,
    },
    /// Move a group.
    Move {
        /// The group.
        group: String,
        /// Where to; by the usual rules if nowhere in particular.
        to: Option<String>,
    },
    /// What a host may be used for.
    Mode {
        /// The host.
        host: String,
        /// What for.
        mode: HostMode,
    },
    /// The operator has made certain that an evicted host runs nothing.
    ConfirmFenced {
        /// The host.
        host: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// About this host's own groups.
    Keeper(keeper::Output),
    /// Send this; what is lost is sent again by whoever needs it.
    Send {
        /// To whom.
        to: HostId,
        /// What.
        datagram: Datagram,
    },
    /// Write this to the ledger's disk, in order, and answer with [`Input::Written`].
    Write(raft::Write),
    /// Ask fence agents.
    Fence(FenceOrder),
    /// Feed the watchdog, or put it away.
    Watchdog(WatchdogOrder),
    /// After [`Input::Leave`]: everything was given back, or the time for it is over; the daemon may end.
    Left,
}

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which of the configuration's hosts this is.
    pub host: String,
    /// This life.
    pub incarnation: Incarnation,
    /// The machine, from its machine id.
    pub machine: u64,
    /// The kernel's boot id, as text.
    pub boot_id: String,
    /// What was saved of this host's groups.
    pub saved: Saved,
    /// What was found on the ledger's disk.
    pub stored: raft::Stored,
    /// When the lease of the life before ends, if that was in the same boot.
    pub lease_until: Option<Instant>,
    /// A random number.
    pub seed: u64,
    /// Where screenshots go.
    pub screenshots: PathBuf,
}

/// The host's decisions.
#[derive(Debug)]
pub struct Engine {
    keeper: Keeper,
    out: VecDeque<Output>,
}

impl Engine {
    /// The machine of one host. `config` names it.
    pub fn new(config: &Config, start: Start, now: Instant) -> Self {
        let Start { host, boot_id, saved, seed, screenshots, .. } = start;
        let keeper = Keeper::new(config, &host, saved, &boot_id, seed, screenshots, now);
        Self { keeper, out: VecDeque::new() }
    }

    /// Takes a new configuration; nothing is restarted for it.
    pub fn reload(&mut self, config: &Config, now: Instant) {
        self.keeper.reload(config, now);
    }

    /// The domains to watch.
    pub fn domains(&self) -> Vec<String> {
        self.keeper.domains()
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Libvirt(input) => self.keeper.handle(now, keeper::Input::Libvirt(input)),
            Input::Guest { group, input } => self.keeper.handle(now, keeper::Input::Guest { group, input }),
            Input::Operator { request, who, command: Command::Group { group, order } } => {
                self.keeper.handle(now, keeper::Input::Operator { request, who, group, order });
            }
            Input::Operator { request, .. } => {
                let answer = Err((Refusal::BadRequest, "there is one host only".to_owned()));
                self.out.push_back(Output::Keeper(keeper::Output::Answer { request, answer }));
            }
            Input::Stored(result) => self.keeper.handle(now, keeper::Input::Stored(result)),
            Input::Datagram { .. }
            | Input::Written { .. }
            | Input::LedgerDisk(_)
            | Input::Fence { .. }
            | Input::Watchdog(_) => {}
            Input::Leave => self.out.push_back(Output::Left),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.keeper.handle_timeout(now);
    }

    /// When to call [`Engine::handle_timeout`], if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.keeper.poll_timeout()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front().or_else(|| self.keeper.poll_output().map(Output::Keeper))
    }

    /// The state of everything, at `now`, which is `now_ms` of Unix time.
    pub fn status(&self, now: Instant, now_ms: u64) -> Status {
        self.keeper.status(now, now_ms)
    }
}
