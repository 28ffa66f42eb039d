//! What happens next, and when; and what can be done to the world from outside.

use super::apps::Place;
use super::calls::Side;
use super::clock::Time;
use super::controller::{Nature, Seat};
use super::host::{Agent, Libvirt};
use core::time::Duration;
use roost::config::{Config, Target};
use roost::engine::fence::{FenceOrder, FenceResult};
use roost::engine::keeper::vm::{Happened, Order, Ticket};
use roost::engine::{Command, Input};
use roost_proto::cluster::{Datagram, Incarnation};
use roost_proto::control::Ask;
use roost_proto::link::HostMessage;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub enum Event {
    /// A daemon's timer fires.
    Timer { host: usize, life: u64 },
    /// A datagram arrives.
    Deliver { to: usize, from: usize, incarnation: Incarnation, datagram: Box<Datagram> },
    /// A daemon is told something.
    Tell { host: usize, life: u64, input: Box<Input> },
    /// The disk did, or could not do, the first of the writes that wait.
    Written { host: usize, life: u64 },
    /// libvirt does what it was ordered.
    Effect { host: usize, boot: u64, life: u64, order: Box<Order> },
    /// libvirt does what it took on before it hung, or was lost with it.
    Late { host: usize, boot: u64, life: u64, order: Box<Order> },
    /// The driver's limit for an order that libvirt does not finish.
    Limit { host: usize, life: u64, ticket: Ticket },
    /// The driver sees a domain.
    View { host: usize, life: u64, vm: String, happened: Option<Happened> },
    /// The driver looks at everything.
    Poll { host: usize, life: u64 },
    /// The driver knows that libvirt is back, or lost.
    Link { host: usize, life: u64 },
    /// A guest is up.
    GuestUp { host: usize, vm: String, boot: u32 },
    /// A guest's controller beats.
    GuestBeat { host: usize, vm: String, boot: u32, link: u64 },
    /// A guest shuts down as it was asked to.
    GuestDown { host: usize, vm: String, boot: u32 },
    /// Fence agents of a host act.
    Agent { order: Box<FenceOrder>, by: usize, life: u64 },
    /// Fence agents answer.
    Answer { order: Box<FenceOrder>, by: usize, life: u64, result: FenceResult },
    /// A controller looks at its host, and says that it is there.
    Seat { seat: Seat },
    /// A phase of a managed group is over.
    Turn { seat: Seat, group: String, turn: u64 },
    /// What a daemon said to a controller arrives.
    Said { seat: Seat, connection: u64, message: Box<HostMessage> },
    /// A `ready` command has ended.
    Ready { seat: Seat, connection: u64, group: String, number: u32 },
    /// The timer of a controller's link over TCP.
    Line { seat: Seat },
    /// A connection over TCP is to be made.
    Dialled { call: u64 },
    /// What was sent over TCP arrives at that end.
    Carried { call: u64, to: Side },
    /// A daemon beats on a connection over TCP.
    Beats { call: u64 },
    /// It is another minute.
    Minute { host: usize, life: u64 },
    /// A machine has booted, and its daemon starts.
    Boot { host: usize, boot: u64 },
    /// A daemon starts.
    Start { host: usize, life: u64 },
    /// A daemon reads its configuration again.
    Reload { host: usize, life: u64, file: Arc<Config> },
    /// The watchdog looks.
    Watchdog { host: usize, boot: u64 },
    /// A migration or a saving goes on.
    Job { id: u64 },
    /// Something is done from outside.
    Deed(Deed),
}

/// Something that is done to the world.
#[derive(Clone, Debug)]
pub enum Deed {
    PowerOff(usize),
    PowerOn(usize),
    Freeze(usize),
    Thaw(usize),
    /// SIGKILL; systemd starts the daemon again after so long.
    Kill(usize, Option<Duration>),
    /// The daemon starts, if it does not run.
    Run(usize),
    /// SIGSTOP and SIGCONT of the daemon.
    Stop(usize),
    Continue(usize),
    /// The machine is to be shut down: the daemon gives everything back, then it ends.
    Leave(usize),
    Cut(usize, usize),
    Mend(usize, usize),
    Worsen(usize, usize, u32, Duration),
    Libvirt(usize, Libvirt),
    DiskFails(usize, bool),
    /// The machine loses its power, and comes back with an empty disk.
    DiskLost(usize),
    VmCrash(String),
    GuestHang(String),
    AppFault(String),
    /// A guest says what is against the protocol.
    GuestLies(String),
    /// A controller is killed; its machine starts it again.
    ControllerDies(Place),
    /// A controller says what it likes, or is set right.
    ControllerLies(Place, bool),
    /// The connection of a machine that is watched is ended by something between it and its host.
    Breaks(usize),
    /// An application fails where it is online.
    ApplicationFails(String),
    /// What an application is like on a target, or on all of them.
    Nature(String, Option<Target>, Nature),
    /// Its memory cannot go anywhere, or can again.
    Unmovable(String, bool),
    /// Nothing can be removed from the storage that all hosts see, or it can again.
    KeepsFiles(bool),
    /// An operator asks something at a host.
    Ask(usize, Ask),
    BadStarts {
        host: Option<usize>,
        vm: String,
        count: u32,
    },
    Stuck(String, bool),
    Agent(usize, Agent),
    Order(usize, Command),
    /// An operator who has seen that the host has no power says so.
    Confirm {
        at: usize,
        host: usize,
    },
    /// A host's file is another from now on, and its daemon is told to read it.
    Reload(usize, Arc<Config>),
    /// All faults are over.
    Heal,
}

/// Events in the order of their times.
#[derive(Debug, Default)]
pub struct Queue {
    events: BTreeMap<(Time, u64), Event>,
    next: u64,
}

impl Queue {
    pub fn push(&mut self, at: Time, event: Event) {
        self.events.insert((at, self.next), event);
        self.next += 1;
    }

    pub fn pop(&mut self) -> Option<(Time, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Time> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }
}
