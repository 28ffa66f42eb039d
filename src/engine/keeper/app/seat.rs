//! One target of an application, as far as this host gives the orders there: what was ordered, and what is known.
//!
//! Orders are numbered anew on each connection. That a group is offline is believed only of a controller that obeys the newest
//! order, or that was never ordered anything on this connection and knows of none before.

use super::super::group::Group;
use super::super::own::Own;
use super::super::remote_agent::{Obedience, RemoteAgent};
use super::super::right::Hold;
use super::super::{Controller, Outbox, Output};
use crate::config::Target;
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::Index;
use roost_proto::link::{self, Circumstances, GroupReport, GroupState, HostMessage, Readiness, Wanted};
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// What a host's applications look at.
pub struct Around<'a> {
    /// The machine's own controller.
    pub own: &'a Own,
    /// The groups of VMs.
    pub vms: &'a BTreeMap<String, Group>,
}

/// What is known of the service group at a target.
#[derive(Debug)]
pub enum Account<'a> {
    /// The VM is off, and nothing runs in it.
    Off,
    /// Its controller is not connected, or has not told of all its groups, or says nothing any more.
    Silent,
    /// Its controller has no managed group of that name.
    Undefined,
    /// This.
    Told(&'a GroupReport, Obedience),
}

/// The newest order on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ordered {
    number: u32,
    wanted: Wanted,
    epoch: u64,
    at: Instant,
}

/// What its controller makes of the newest order on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compliance {
    /// There is none, of these words.
    NotOrdered,
    /// It has not said that it obeys.
    Unheard,
    /// It obeys.
    Obeyed,
}

/// The question whether the group could be brought online there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    number: u32,
    begun: Index,
}

/// A target.
#[derive(Debug)]
pub struct Seat {
    target: Target,
    controller: Controller,
    /// The connection that all that follows is about.
    connection: u64,
    numbers: u32,
    ordered: Option<Ordered>,
    asked: Option<Asked>,
}

impl Seat {
    /// A target for which this host may act.
    pub fn new(target: Target) -> Self {
        let controller = match &target {
            Target::Host(_) => Controller::Machine,
            Target::Vm(group) => Controller::Guest(group.clone()),
        };
        Self { target, controller, connection: 0, numbers: 0, ordered: None, asked: None }
    }

    /// The target.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Its number in the ledger.
    pub fn id(&self) -> HostId {
        self.target.id()
    }

    /// Whether it is this machine itself.
    pub fn is_metal(&self) -> bool {
        self.controller == Controller::Machine
    }

    /// Who is told there.
    pub const fn controller(&self) -> &Controller {
        &self.controller
    }

    /// The group of its VM.
    pub const fn vm(&self) -> Option<&str> {
        match &self.controller {
            Controller::Machine => None,
            Controller::Guest(group) => Some(group.as_str()),
        }
    }

    /// Whether it is this host's to speak of: the machine itself, or a VM that is its own.
    pub fn is_here(&self, around: &Around<'_>) -> bool {
        self.vm().is_none_or(|vm| {
            let hold = around.vms.get(vm).map(|group| group.right().hold);
            matches!(hold, Some(Hold::Owned | Hold::Recalled | Hold::Suspended | Hold::Disarmed))
        })
    }

    fn remote<'a>(&self, around: &Around<'a>) -> Option<&'a RemoteAgent> {
        match &self.controller {
            Controller::Machine => Some(around.own.remote()).filter(|_| !around.own.is_silent()),
            Controller::Guest(vm) => around.vms.get(vm).map(Group::remote),
        }
    }

    /// What is known of the service group `app` there.
    pub fn account<'a>(&self, around: &Around<'a>, app: &str) -> Account<'a> {
        if self.vm().and_then(|vm| around.vms.get(vm)).is_some_and(Group::is_off) {
            return Account::Off;
        }
        match self.remote(around).filter(|remote| remote.is_told()) {
            None => Account::Silent,
            Some(remote) => remote
                .managed(app)
                .map_or(Account::Undefined, |(report, obedience)| Account::Told(report, obedience)),
        }
    }

    /// Notes whether the controller is on another connection than the last time: what was said on that is past.
    pub fn meet(&mut self, around: &Around<'_>) {
        let connection = self.remote(around).map(RemoteAgent::connection);
        if let Some(connection) = connection.filter(|connection| *connection != self.connection) {
            self.connection = connection;
            (self.numbers, self.ordered, self.asked) = (0, None, None);
        }
    }

    /// Whether the controller can be told something about `app` now.
    pub fn listens(&self, around: &Around<'_>, app: &str) -> bool {
        let hears = self.vm().is_none_or(|vm| around.vms.get(vm).is_some_and(Group::is_heard_inside));
        hears && self.remote(around).is_some_and(|remote| remote.managed(app).is_some())
    }

    /// Whether nothing of the group runs there, for certain.
    pub fn is_down(&self, account: &Account<'_>) -> bool {
        match account {
            Account::Off => true,
            Account::Silent | Account::Undefined => false,
            Account::Told(report, obedience) => {
                let obeys = match self.ordered {
                    None => obedience.wanted == Wanted::Offline,
                    Some(order) => order.wanted == Wanted::Offline && obedience.obeys == Some(order.number),
                };
                obeys && report.state == GroupState::Offline
            }
        }
    }

    /// What became of an order of these words, if it is the newest on this connection.
    pub fn complies(&self, wanted: Wanted, epoch: u64, obedience: &Obedience) -> Compliance {
        match self.ordered {
            Some(order) if order.wanted == wanted && order.epoch == epoch => {
                if obedience.obeys == Some(order.number) { Compliance::Obeyed } else { Compliance::Unheard }
            }
            Some(_) | None => Compliance::NotOrdered,
        }
    }

    /// When an order that has to be repeated may be.
    pub fn repeats_at(&self, wait: Duration) -> Option<Instant> {
        self.ordered.map(|order| order.at + wait)
    }

    /// Orders.
    pub fn order(
        &mut self,
        now: Instant,
        group: &str,
        (wanted, epoch): (Wanted, u64),
        lease: Duration,
        circumstances: Circumstances,
        out: &mut Outbox,
    ) {
        let number = self.next_number();
        self.ordered = Some(Ordered { number, wanted, epoch, at: now });
        let lease_ms = u32::try_from(lease.as_millis()).unwrap_or(u32::MAX);
        let order = link::Order { group: group.to_owned(), number, epoch, wanted, lease_ms, circumstances };
        out.push(Output::Say { to: self.controller.clone(), message: HostMessage::Order(order) });
    }

    /// Asks whether the group could be brought online there, once for each decision that it is to be made ready.
    pub fn ask(&mut self, group: &str, begun: Index, circumstances: Circumstances, out: &mut Outbox) {
        if self.asked.is_some_and(|asked| asked.begun == begun) {
            return;
        }
        let number = self.next_number();
        self.asked = Some(Asked { number, begun });
        let message = HostMessage::AskReady { group: group.to_owned(), number, circumstances };
        out.push(Output::Say { to: self.controller.clone(), message });
    }

    /// The answer to that.
    pub fn readiness<'a>(&self, around: &Around<'a>, app: &str, begun: Index) -> Option<&'a Readiness> {
        let asked = self.asked.filter(|asked| asked.begun == begun)?;
        let remote = self.remote(around).filter(|remote| remote.connection() == self.connection)?;
        remote.answer(app, asked.number)
    }

    const fn next_number(&mut self) -> u32 {
        self.numbers += 1; // as many as a connection lives to see
        self.numbers
    }
}
