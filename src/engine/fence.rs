//! Fencing: the words between the engine and the driver that runs fence agents.

use crate::config::FenceLevel;
use core::fmt;
use roost_proto::cluster::HostId;

/// What is asked of the fence agents of one host. Each order is answered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceOrder {
    /// Names the order in the answer.
    pub ticket: FenceTicket,
    /// The host that it is about.
    pub host: HostId,
    /// Its name, for agents that want one, and for messages.
    pub name: String,
    /// The agents.
    pub levels: Vec<FenceLevel>,
    /// What.
    pub action: FenceAction,
}

/// What tells one order from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FenceTicket(pub u64);

/// What fence agents are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceAction {
    /// Whether the host has power. The first level whose agents all answer counts; off is what all of them call off.
    Status,
    /// Switch it off, and see by its status that it is off.
    Off,
    /// Switch it on again.
    On,
}

/// The answer to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceResult {
    /// The agents' own status says that it is off.
    Off,
    /// It is on.
    On,
    /// It was withdrawn before it was done: nothing is known.
    Withdrawn,
    /// No level could do it, or say it.
    Failed {
        /// What each agent said, for people.
        reason: String,
    },
}

impl fmt::Display for FenceResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => write!(f, "off"),
            Self::On => write!(f, "on"),
            Self::Withdrawn => write!(f, "unknown: it was withdrawn"),
            Self::Failed { reason } => write!(f, "unknown: {reason}"),
        }
    }
}
