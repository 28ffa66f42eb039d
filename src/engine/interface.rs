//! What goes into the engine, and what comes out of it.

use super::fence::{FenceOrder, FenceResult, FenceTicket};
use super::keeper::remote_agent::GuestInput;
use super::keeper::vm::LibvirtInput;
use super::keeper::{self, RequestId};
use super::raft;
use super::watchdog::{WatchdogInput, WatchdogOrder};
use roost_proto::cluster::decision::{Arms, HostMode};
use roost_proto::cluster::{Datagram, GroupOrder, HostId, Incarnation};
use roost_proto::control::{Ask, MoveMethod, Refusal, Reply};
use roost_proto::state::Saved;
use roost_proto::time::Instant;
use std::path::PathBuf;

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
    /// From the link of the machine's own controller.
    Machine(GuestInput),
    /// An operator gave an order.
    Operator {
        /// Names the order in the answer.
        request: RequestId,
        /// Of whom, for the record.
        who: String,
        /// What is ordered.
        command: Command,
    },
    /// An operator asks something that others may have to be asked; answered with [`Output::Reply`] within
    /// [`consult::WITHIN`].
    Ask {
        /// Names the question in the answer.
        request: RequestId,
        /// What.
        ask: Ask,
        /// The time, in milliseconds of Unix time: what is answered is told against it.
        now_ms: u64,
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
    /// Another host shows the newest of the [`roost_proto::cluster::DATAGRAM_VERSIONS`] that it knows; comes before its
    /// datagrams.
    Knows {
        /// Which.
        host: HostId,
        /// The version.
        newest: u16,
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
    /// From the link of the controller of a machine that is watched. It is authentic.
    Watched {
        /// The machine's name.
        host: String,
        /// What.
        input: GuestInput,
    },
    /// The minute of the week by local time, from Monday, 00:00, has begun. Of use where the configuration has hours for
    /// failbacks, and needed there with each minute.
    Minute(u16),
}

/// What an operator can order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// About a group's intent.
    Group {
        /// The group.
        group: String,
        /// What.
        order: GroupOrder,
    },
    /// Move a group.
    Move {
        /// The group.
        group: String,
        /// Where to.
        to: Destination,
        /// How; the first of the group's own ways if not said.
        method: Option<MoveMethod>,
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
    /// Keep hands off everything, or act again.
    Arm(Arms),
}

/// Where an operator wants a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// On this host.
    Host(String),
    /// On the best host but its own.
    Elsewhere,
    /// On the first of its hosts that can take it.
    Home,
    /// Wherever it would go if it failed where it is.
    Failover,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// About this host's own groups.
    Keeper(keeper::Output),
    /// For the controller of a machine that is watched: [`keeper::Output::Say`] or [`keeper::Output::Drop`].
    Watched {
        /// The machine's name.
        host: String,
        /// What.
        output: keeper::Output,
    },
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
    /// What fence agents were asked is not wanted any more: what they have not done yet they are not to do.
    WithdrawFence(FenceTicket),
    /// Feed the watchdog, or put it away.
    Watchdog(WatchdogOrder),
    /// Answer an operator.
    Answer {
        /// Whose order.
        request: RequestId,
        /// What will happen, or why nothing will.
        answer: Result<String, (Refusal, String)>,
    },
    /// Answer an operator's question.
    Reply {
        /// Whose question.
        request: RequestId,
        /// The answer.
        reply: Box<Reply>,
    },
    /// This life is over, and nothing of it is left here: the daemon begins anew, with the next start number.
    BeginAnew,
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
