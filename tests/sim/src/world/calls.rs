//! Machines without `roostd`: the TCP connections between their controllers and the hosts. The link machine of the real
//! `roost-guest` looks for the host that leads; what carries its connections is played as the kernels at both ends would do it: in
//! order, late while the network loses something, and with one end that may go on when the other is gone.

use super::World;
use super::clock::Time;
use super::controller::Seat;
use super::event::Event;
use core::time::Duration;
use roost::engine::Input;
use roost::engine::keeper;
use roost::engine::keeper::remote_agent::GuestInput;
use roost_guest::link::machine::{Command, Event as Line, Machine, Search};
use roost_proto::link::{BEAT, GuestMessage, HostMessage, LINK_VERSIONS};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// What was lost, or finds nobody there who reads, is sent again after so long.
const AGAIN: Duration = Duration::from_millis(200);
/// A controller that stands still is looked at again after so long.
const STILL: Duration = Duration::from_millis(500);
/// A host's end is given up when what it sent was not acknowledged for so long; the driver has it so.
const UNHEARD_FOR: Duration = Duration::from_secs(10);
/// What a machine's end has sent goes on for so long after that was closed.
const LINGERS: Duration = Duration::from_secs(60);

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Machine,
    Host,
}

/// What is on its way.
#[derive(Clone, Debug)]
enum Piece {
    Hello,
    ToHost(GuestMessage),
    ToMachine(HostMessage),
    /// The other end was closed.
    End,
}

/// One end, as its kernel has it.
#[derive(Debug, Default)]
struct End {
    open: bool,
    /// What is on its way to it, and since when.
    coming: VecDeque<(Time, Piece)>,
}

/// A connection.
#[derive(Debug)]
struct Call {
    /// The controller that called.
    seat: Seat,
    machine: usize,
    host: usize,
    /// The life of the daemon that it was made to.
    life: u64,
    /// The daemon has taken it for the machine's.
    welcomed: bool,
    near: End,
    far: End,
}

impl Call {
    const fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Machine => &mut self.near,
            Side::Host => &mut self.far,
        }
    }
}

/// A controller's side.
#[derive(Debug)]
struct Caller {
    link: Machine,
    call: Option<u64>,
    /// When its timer fires.
    timer: Option<Time>,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Calls {
    callers: BTreeMap<Seat, Caller>,
    calls: BTreeMap<u64, Call>,
    next: u64,
}

impl World {
    /// Whether a controller finds its host over TCP.
    pub(super) fn calls(&self, seat: &Seat) -> bool {
        matches!(seat, Seat::Machine { host, .. } if self.hosts[*host].is_watched)
    }

    /// Whether any connection is there.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.calls.is_empty()
    }

    /// The host that watches a machine: both know it.
    pub fn watcher_of(&self, machine: usize) -> Option<usize> {
        let stands =
            |call: &&Call| call.machine == machine && call.welcomed && call.near.open && call.far.open;
        self.calls.calls.values().find(stands).map(|call| call.host)
    }

    /// A controller that is up begins to look for its host, if it does not yet.
    pub(super) fn begins_to_call(&mut self, seat: &Seat) {
        if self.calls.callers.contains_key(seat) {
            return;
        }
        let hosts: Vec<SocketAddr> =
            self.config.hosts.iter().filter(|host| host.votes).map(|host| host.addresses[0]).collect();
        let seed = self.random.draw();
        let Some(host) = self.host_of(seat) else { return };
        let now = self.hosts[host].clock.show(self.now);
        let link = Machine::new(Search::Among { hosts, at: 0, round: Vec::new() }, seed, now);
        self.calls.callers.insert(seat.clone(), Caller { link, call: None, timer: None });
        self.line(seat, None);
    }

    /// The timer of a controller's link.
    pub(super) fn line_timer(&mut self, seat: &Seat) {
        let Some(caller) = self.calls.callers.get_mut(seat) else { return };
        caller.timer = None;
        if self.can_take(seat) {
            self.line(seat, None);
        } else if let Some(caller) = self.calls.callers.get_mut(seat) {
            let at = self.now.after(STILL);
            caller.timer = Some(at);
            self.queue.push(at, Event::Line { seat: seat.clone() });
        }
    }

    fn can_take(&self, seat: &Seat) -> bool {
        self.calls.callers.contains_key(seat) && self.is_up(seat)
    }

    /// Something happens to a controller's link, or its time has come; what it wants done is done.
    fn line(&mut self, seat: &Seat, event: Option<Line>) {
        let Seat::Machine { host, .. } = *seat else { return };
        let now = self.hosts[host].clock.show(self.now);
        let Some(caller) = self.calls.callers.get_mut(seat) else { return };
        match event {
            Some(event) => caller.link.handle(now, event),
            None => caller.link.handle_timeout(now),
        }
        while let Some(command) = self.calls.callers.get_mut(seat).and_then(|it| it.link.poll_output()) {
            self.commanded(seat, command);
        }
        let Some(caller) = self.calls.callers.get_mut(seat) else { return };
        let at = self.hosts[host].clock.when(caller.link.poll_timeout()).max(self.now);
        if caller.timer.is_none_or(|timer| at < timer) {
            caller.timer = Some(at);
            self.queue.push(at, Event::Line { seat: seat.clone() });
        }
    }

    fn commanded(&mut self, seat: &Seat, command: Command) {
        let Some(caller) = self.calls.callers.get_mut(seat) else { return };
        match command {
            Command::Connect => {
                let at = caller.link.host();
                let host = self
                    .config
                    .hosts
                    .iter()
                    .position(|host| at.is_some_and(|at| host.addresses.contains(&at)));
                let (Some(host), Some(machine)) = (host, self.host_of(seat)) else { return };
                self.calls.next += 1;
                let number = self.calls.next;
                let (near, far) = (End::default(), End::default());
                let call = Call { seat: seat.clone(), machine, host, life: 0, welcomed: false, near, far };
                self.calls.calls.insert(number, call);
                if let Some(caller) = self.calls.callers.get_mut(seat) {
                    caller.call = Some(number);
                }
                let after = self.net.send(machine, host, &mut self.random).unwrap_or(AGAIN);
                self.push(after, Event::Dialled { call: number });
            }
            Command::Disconnect => {
                let call = caller.call.take();
                if let Some(it) = self.seats.get_mut(seat) {
                    it.link = None;
                }
                call.into_iter().for_each(|call| self.near_closes(call));
            }
            Command::Hello => self.send_out(seat, Piece::Hello),
            Command::Snapshot { .. } => {
                let call = caller.call.and_then(|call| self.calls.calls.get(&call));
                let Some(to) = call.map(|call| (call.host, call.life)) else { return };
                let Some(it) = self.seats.get_mut(seat) else { return };
                it.connected(to);
                let groups = u16::try_from(it.groups.len()).unwrap_or(u16::MAX);
                self.send_out(seat, Piece::ToHost(GuestMessage::Snapshot { groups }));
                self.tell_all(seat);
            }
            Command::Order(order) => self.obeys(seat, HostMessage::Order(order)),
            Command::AskReady { group, number, circumstances } => {
                self.obeys(seat, HostMessage::AskReady { group, number, circumstances });
            }
            Command::Beat => self.send_out(seat, Piece::ToHost(GuestMessage::Beat)),
            Command::Log(text) => self.say(|w| format!("controller of {}: {text}", w.target_of(seat))),
        }
    }

    fn send_out(&mut self, seat: &Seat, piece: Piece) {
        let Seat::Machine { host, .. } = *seat else { return };
        let now = self.hosts[host].clock.show(self.now);
        let Some(caller) = self.calls.callers.get_mut(seat) else { return };
        caller.link.handle(now, Line::Sent);
        let call = caller.call;
        call.into_iter().for_each(|call| self.send_piece(call, Side::Host, piece.clone()));
    }

    /// A controller says something to the host that watches its machine, if one does.
    pub(super) fn calls_out(&mut self, seat: &Seat, input: GuestInput) {
        let GuestInput::Message(message) = input else { return };
        if self.seats.get(seat).is_some_and(|it| it.link.is_some()) {
            self.send_out(seat, Piece::ToHost(message));
        }
    }

    /// Whether anything gets from one end to the other, and back.
    fn passes(&self, call: &Call) -> bool {
        let open = self.net.is_open(call.machine, call.host) && self.net.is_open(call.host, call.machine);
        open && self.hosts[call.machine].is_awake() && self.hosts[call.host].is_awake()
    }

    /// A connection is to be made.
    pub(super) fn dialled(&mut self, number: u64) {
        let Some(call) = self.calls.calls.get(&number) else { return };
        let (seat, host) = (call.seat.clone(), call.host);
        if self.calls.callers.get(&seat).is_none_or(|caller| caller.call != Some(number)) {
            self.calls.calls.remove(&number); // it was given up
            return;
        }
        if !self.passes(call) || !self.can_take(&seat) {
            self.push(AGAIN, Event::Dialled { call: number });
            return;
        }
        let life = self.hosts[host].daemon.as_ref().map(|_| self.hosts[host].life);
        let Some(life) = life else {
            self.calls.calls.remove(&number);
            self.line(&seat, Some(Line::Lost { reason: "connection refused".to_owned() }));
            return;
        };
        if let Some(call) = self.calls.calls.get_mut(&number) {
            (call.life, call.near.open, call.far.open) = (life, true, true);
        }
        self.line(&seat, Some(Line::Connected));
    }

    fn send_piece(&mut self, number: u64, to: Side, piece: Piece) {
        let Some(call) = self.calls.calls.get_mut(&number) else { return };
        let (from, at) = match to {
            Side::Host => (call.machine, call.host),
            Side::Machine => (call.host, call.machine),
        };
        call.end(to).coming.push_back((self.now, piece));
        let after = self.net.send(from, at, &mut self.random).unwrap_or(AGAIN);
        self.push(after, Event::Carried { call: number, to });
    }

    /// The first of what is on its way to an end arrives, if it can.
    pub(super) fn carried(&mut self, number: u64, to: Side) {
        let Some(call) = self.calls.calls.get_mut(&number) else { return };
        let Some(since) = call.end(to).coming.front().map(|(since, _)| *since) else { return };
        let (open, seat, host) = (call.end(to).open, call.seat.clone(), call.host);
        let waited = self.now.since(since);
        if !self.passes(&self.calls.calls[&number]) {
            match to {
                Side::Machine if waited >= UNHEARD_FOR => {
                    self.is_lost(number, to);
                    self.far_closes(number, "nothing is acknowledged");
                }
                Side::Host if waited >= LINGERS || self.host_of(&seat).is_none() => self.is_lost(number, to),
                Side::Machine | Side::Host => self.push(AGAIN, Event::Carried { call: number, to }),
            }
            return;
        }
        if !open {
            // Nobody has this connection any more, and the other end hears so.
            self.is_lost(number, to);
            let other = if to == Side::Host { Side::Machine } else { Side::Host };
            if self.calls.calls.get_mut(&number).is_some_and(|call| call.end(other).open) {
                self.send_piece(number, other, Piece::End);
            }
            return;
        }
        let takes = match to {
            Side::Machine => self.can_take(&seat),
            Side::Host => !self.hosts[host].stopped,
        };
        if !takes {
            self.push(AGAIN, Event::Carried { call: number, to });
            return;
        }
        let piece = self.calls.calls.get_mut(&number).and_then(|call| call.end(to).coming.pop_front());
        match (piece, to) {
            (Some((_, piece)), Side::Machine) => self.machine_reads(&seat, piece),
            (Some((_, piece)), Side::Host) => self.host_reads(number, piece),
            (None, _) => {}
        }
    }

    fn machine_reads(&mut self, seat: &Seat, piece: Piece) {
        let event = match piece {
            Piece::ToMachine(message) => Line::Heard(message),
            Piece::Hello | Piece::ToHost(_) | Piece::End => {
                Line::Lost { reason: "the host closed it".to_owned() }
            }
        };
        self.line(seat, Some(event));
        let up = self.calls.callers.get(seat).is_some_and(|caller| caller.link.heard().is_some());
        if let Some(it) = self.seats.get_mut(seat).filter(|_| up) {
            it.heard = self.now;
        }
    }

    fn host_reads(&mut self, number: u64, piece: Piece) {
        let Some(call) = self.calls.calls.get(&number) else { return };
        let (machine, host, welcomed) = (call.machine, call.host, call.welcomed);
        match piece {
            Piece::Hello => self.greeted(number),
            Piece::ToHost(message) if welcomed => {
                self.tell(host, self.watched(machine, GuestInput::Message(message)));
            }
            Piece::ToHost(_) => {}
            Piece::End | Piece::ToMachine(_) => self.far_closes(number, "the controller closed it"),
        }
    }

    fn watched(&self, machine: usize, input: GuestInput) -> Input {
        Input::Watched { host: self.hosts[machine].name.clone(), input }
    }

    /// A controller says who it is: the daemon takes it, in place of an earlier connection, or hangs up.
    fn greeted(&mut self, number: u64) {
        let Some(call) = self.calls.calls.get(&number) else { return };
        let (machine, host, life) = (call.machine, call.host, call.life);
        let Seat::Machine { boot, .. } = call.seat else { return };
        if !self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.engine.watches()) {
            self.far_closes(number, "it does not lead");
            return;
        }
        if let Some(old) = self.call_of(host, life, machine) {
            if let Some(old) = self.calls.calls.get_mut(&old) {
                old.welcomed = false; // its successor speaks
            }
            self.far_closes(old, "");
        }
        if let Some(call) = self.calls.calls.get_mut(&number) {
            call.welcomed = true;
        }
        self.check.unordered[machine] = None; // whoever speaks with it now has time of its own
        let (version, name) = (LINK_VERSIONS.newest, self.hosts[host].name.clone());
        let welcome = HostMessage::Welcome { version, host: name, group: String::new() };
        self.send_piece(number, Side::Machine, Piece::ToMachine(welcome));
        self.push(BEAT, Event::Beats { call: number });
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&boot.to_le_bytes());
        let software = "roost-guest simulated".to_owned();
        self.tell(host, self.watched(machine, GuestInput::Connected { boot_id, software, version }));
    }

    /// The connection by which a daemon speaks with a machine.
    fn call_of(&self, host: usize, life: u64, machine: usize) -> Option<u64> {
        let is = |call: &Call| {
            (call.host, call.life, call.machine, call.welcomed) == (host, life, machine, true)
                && call.far.open
        };
        self.calls.calls.iter().find(|(_, call)| is(call)).map(|(number, _)| *number)
    }

    /// A daemon's beat on a connection.
    pub(super) fn beats(&mut self, number: u64) {
        let Some(call) = self.calls.calls.get(&number).filter(|call| call.far.open) else { return };
        let host = &self.hosts[call.host];
        if host.is_awake() && !host.stopped {
            self.send_piece(number, Side::Machine, Piece::ToMachine(HostMessage::Beat));
        }
        self.push(BEAT, Event::Beats { call: number });
    }

    /// A daemon has something for a machine that it watches.
    pub(super) fn keep_watched(&mut self, host: usize, name: &str, output: keeper::Output) {
        let Some(machine) = self.hosts.iter().position(|it| it.name == name) else { return };
        let call = self.call_of(host, self.hosts[host].life, machine);
        match output {
            keeper::Output::Drop(_) => {
                call.into_iter().for_each(|call| self.far_closes(call, "roostd ended it"));
            }
            keeper::Output::Say { to, message } => {
                self.check_say(host, machine, &to, &message);
                self.say(|w| format!("{}: to {name}: {message:?}", w.hosts[host].name));
                let piece = Piece::ToMachine(message);
                call.into_iter().for_each(|call| self.send_piece(call, Side::Machine, piece.clone()));
            }
            output => self.violated(format!(
                "{} wants {output:?} of {name}, which has no roostd",
                self.hosts[host].name
            )),
        }
    }

    /// A daemon that does not lead any more hangs up on the machines that it watched.
    pub(super) fn hang_up(&mut self, host: usize) {
        if !self.has_calls() {
            return;
        }
        if self.hosts[host].daemon.as_ref().is_some_and(|daemon| !daemon.engine.watches()) {
            let mine = |call: &&Call| call.host == host && call.welcomed && call.far.open;
            let those: Vec<u64> =
                self.calls.calls.iter().filter(|(_, call)| mine(call)).map(|(number, _)| *number).collect();
            those.into_iter().for_each(|call| self.far_closes(call, "this host does not lead any more"));
        }
    }

    fn near_closes(&mut self, number: u64) {
        let Some(call) = self.calls.calls.get_mut(&number) else { return };
        call.near = End::default();
        if call.far.open {
            self.send_piece(number, Side::Host, Piece::End);
        }
        self.tidy(number);
    }

    /// The host's end is closed; its daemon hears why, if it had taken the connection.
    fn far_closes(&mut self, number: u64, why: &str) {
        let Some(call) = self.calls.calls.get_mut(&number) else { return };
        let open = call.far.open;
        call.far = End::default();
        let (welcomed, machine, host, life) = (call.welcomed, call.machine, call.host, call.life);
        if open && welcomed {
            let input = Box::new(self.watched(machine, GuestInput::Lost { reason: why.to_owned() }));
            self.push(Duration::ZERO, Event::Tell { host, life, input });
        }
        if open && self.calls.calls[&number].near.open {
            self.send_piece(number, Side::Machine, Piece::End);
        } else {
            self.is_lost(number, Side::Machine);
        }
        self.tidy(number);
    }

    /// What is on its way to an end never gets there.
    fn is_lost(&mut self, number: u64, to: Side) {
        if let Some(call) = self.calls.calls.get_mut(&number) {
            call.end(to).coming.clear();
        }
    }

    fn tidy(&mut self, number: u64) {
        if self.calls.calls.get(&number).is_some_and(|call| !call.near.open && !call.far.open) {
            self.calls.calls.remove(&number);
        }
    }

    /// Something between them ends the connection of a machine, for both ends.
    pub fn connection_breaks(&mut self, machine: usize) {
        let seat = Seat::Machine { host: machine, boot: self.hosts[machine].boot };
        let Some(number) = self.calls.callers.get(&seat).and_then(|caller| caller.call) else { return };
        if self.calls.calls.get(&number).is_some_and(|call| call.near.open) {
            self.far_closes(number, "connection reset by peer");
            self.line(&seat, Some(Line::Lost { reason: "connection reset by peer".to_owned() }));
        }
    }

    /// A machine's controller is no more; its kernel closes what it had.
    pub(super) fn caller_dies(&mut self, seat: &Seat) {
        let call = self.calls.callers.remove(seat).and_then(|caller| caller.call);
        call.into_iter().for_each(|call| self.near_closes(call));
    }

    /// A machine has no power any more: nobody hears of it.
    pub(super) fn caller_ends(&mut self, machine: usize) {
        self.calls.callers.retain(|seat, _| !matches!(seat, Seat::Machine { host, .. } if *host == machine));
        for call in self.calls.calls.values_mut().filter(|call| call.machine == machine) {
            call.near = End::default();
            call.far.coming.clear();
        }
        self.calls.calls.retain(|_, call| call.near.open || call.far.open);
    }

    /// A daemon is no more; its kernel closes what it had, as soon as it has power.
    pub(super) fn called_ends(&mut self, host: usize) {
        let of = |call: &&Call| call.host == host && call.far.open;
        let those: Vec<u64> =
            self.calls.calls.iter().filter(|(_, call)| of(call)).map(|(number, _)| *number).collect();
        for number in those {
            if let Some(call) = self.calls.calls.get_mut(&number) {
                call.welcomed = false; // nobody is left to be told
            }
            self.far_closes(number, "");
        }
    }
}
