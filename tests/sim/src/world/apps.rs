//! Controllers in the world: where each lives, what its host says to it, and what it does, also while its machine stands still
//! or its VM goes elsewhere.

use super::World;

use super::controller::{Controller, Managed, Nature, Phase, Seat};
use super::event::Event;
use super::host::{Domain, Guest};
use core::time::Duration;
use roost::config::{App, Target};
use roost::engine::Input;
use roost::engine::keeper;
use roost::engine::keeper::remote_agent::GuestInput;
use roost::engine::keeper::vm::{Off, Run};
use roost_proto::link::{BEAT, GroupState, GuestMessage, HostMessage, LINK_VERSIONS, Readiness, Wanted};
use std::collections::BTreeMap;

/// What is said arrives after so long, over the machine's own socket or the VM's.
const SAID: Duration = Duration::from_micros(200);
/// How long a controller that died is away.
const AWAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));
/// A machine's controller is there so long after its power.
const BOOT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// What stands still is looked at again after so long.
const AGAIN: Duration = Duration::from_millis(500);
/// A `ready` command takes so long.
const ANSWERS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Who has a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Machine(usize),
    Vm(String),
}

impl World {
    /// The applications, with their groups' names.
    pub fn applications(&self) -> impl Iterator<Item = (&str, &App)> {
        self.config.groups.iter().filter_map(|group| Some((group.name.as_str(), group.app.as_ref()?)))
    }

    /// The managed groups of a target: their names there, by the applications that they are.
    fn managed(&self, target: &Target) -> Vec<(String, String)> {
        let here = self.applications().filter(|(_, app)| app.targets.contains(target));
        here.map(|(group, app)| (app.name.clone(), group.to_owned())).collect()
    }

    /// The target that a seat is.
    pub fn target_of(&self, seat: &Seat) -> Target {
        match seat {
            Seat::Machine { host, .. } => Target::Host(self.hosts[*host].name.clone()),
            Seat::Guest { vm, .. } => Target::Vm(self.check.group_of(vm).unwrap_or_default()),
        }
    }

    /// The application that a managed group is there.
    pub fn application(&self, seat: &Seat, managed: &str) -> Option<String> {
        Some(self.seats.get(seat)?.groups.get(managed)?.app.clone())
    }

    /// How many managed groups a VM's guest has.
    pub fn managed_in(&self, vm: &str) -> usize {
        let Some(group) = self.check.group_of(vm) else { return 0 };
        self.managed(&Target::Vm(group)).len()
    }

    fn nature(&self, seat: &Seat, managed: &str) -> Nature {
        let Some(it) = self.seats.get(seat).filter(|_| !self.natures.is_empty()) else {
            return Nature::default();
        };
        let key = it.groups.get(managed).map(|group| (it.target.to_string(), group.app.clone()));
        key.and_then(|key| self.natures.get(&key).copied()).unwrap_or_default()
    }

    /// The host where a seat is at the moment; none if its boot is over.
    pub fn host_of(&self, seat: &Seat) -> Option<usize> {
        match seat {
            Seat::Machine { host, boot } => {
                let it = &self.hosts[*host];
                (it.powered && it.boot == *boot).then_some(*host)
            }
            Seat::Guest { vm, kernel } => {
                let is = |domain: &Domain| {
                    domain.kernel == *kernel && !matches!(domain.run, Run::Off(_) | Run::Undefined)
                };
                let there = |host: &usize| {
                    self.hosts[*host].powered && self.hosts[*host].domains.get(vm).is_some_and(is)
                };
                let hosts = || (0..self.hosts.len()).filter(there);
                hosts().find(|host| self.hosts[*host].runs(vm)).or_else(|| hosts().next())
            }
        }
    }

    /// Whether anything there moves.
    pub fn is_moving(&self, seat: &Seat) -> bool {
        self.host_of(seat).is_some_and(|host| match seat {
            Seat::Machine { .. } => self.hosts[host].is_awake(),
            Seat::Guest { vm, .. } => self.hosts[host].runs(vm),
        })
    }

    /// Whether its controller does what it has to do.
    pub(super) fn is_up(&self, seat: &Seat) -> bool {
        let hung = match seat {
            Seat::Machine { .. } => false,
            Seat::Guest { vm, .. } => self
                .host_of(seat)
                .and_then(|host| self.hosts[host].domains.get(vm))
                .is_none_or(|domain| domain.guest == Guest::Hung),
        };
        let alive = self.seats.get(seat).is_some_and(|it| it.dead_until.is_none());
        alive && !hung && self.is_moving(seat)
    }

    /// The seat of a host's own controller, or of that in a VM there.
    fn seat_at(&self, host: usize, to: &keeper::Controller) -> Option<Seat> {
        let it = &self.hosts[host];
        match to {
            keeper::Controller::Machine => Some(Seat::Machine { host, boot: it.boot }),
            keeper::Controller::Guest(group) => {
                let vm = self.check.vm_of(group)?;
                let kernel = it.domains.get(&vm)?.kernel;
                Some(Seat::Guest { vm, kernel })
            }
        }
    }

    /// The seat of a machine or VM, wherever that is at the moment.
    pub fn seat_of(&self, place: &Place) -> Option<Seat> {
        let is = |seat: &&Seat| match (seat, place) {
            (Seat::Machine { host, .. }, Place::Machine(at)) => host == at,
            (Seat::Guest { vm, .. }, Place::Vm(of)) => vm == of,
            _ => false,
        };
        self.seats.keys().filter(is).find(|seat| self.host_of(seat).is_some()).cloned()
    }

    /// The places where something of an application executes: not what stands still, and not what liars run.
    pub fn executing(&self, group: &str) -> Vec<Seat> {
        let runs = |(seat, it): &(&Seat, &Controller)| {
            let mine = |managed: &Managed| managed.executes() && managed.app == group;
            !it.lies && it.groups.values().any(mine) && self.is_moving(seat)
        };
        self.seats.iter().filter(runs).map(|(seat, _)| seat.clone()).collect()
    }

    /// The phase of an application at one of its targets.
    pub fn phase_at(&self, seat: &Seat, group: &str) -> Option<Phase> {
        self.seats.get(seat)?.groups.values().find(|managed| managed.app == group).map(|it| it.phase)
    }

    /// Applications that run on a machine itself, whether it stands still or not.
    pub fn on_metal(&self, host: usize) -> Vec<String> {
        let seat = Seat::Machine { host, boot: self.hosts[host].boot };
        let Some(it) = self.seats.get(&seat).filter(|it| !it.lies) else { return Vec::new() };
        it.groups.values().filter(|managed| managed.executes()).map(|it| it.app.clone()).collect()
    }

    /// A machine has power, or a guest is up: its controller begins, if anything is managed there.
    pub(super) fn seat_begins(&mut self, seat: Seat) {
        if self.seats.contains_key(&seat) {
            return;
        }
        let gone = |other: &Seat| match (other, &seat) {
            (Seat::Machine { host, .. }, Seat::Machine { host: same, .. }) => host == same,
            (Seat::Guest { vm, .. }, Seat::Guest { vm: same, .. }) => vm == same,
            _ => false,
        };
        self.seats.retain(|other, _| !gone(other));
        let target = self.target_of(&seat);
        let managed = self.managed(&target);
        if managed.is_empty() {
            return;
        }
        let group = |(name, group): (String, String)| {
            let keeps = self.keepers.contains(&group);
            (name, Managed::new(group, keeps))
        };
        let groups = managed.into_iter().map(group).collect();
        let mut controller = Controller::new(target, groups, self.now);
        let after = if matches!(seat, Seat::Machine { .. }) {
            let after = self.random.time(BOOT.0, BOOT.1);
            controller.dead_until = Some(self.now.after(after));
            after
        } else {
            BEAT
        };
        self.seats.insert(seat.clone(), controller);
        self.push(after, Event::Seat { seat });
    }

    /// The machine's power is gone.
    pub(super) fn machine_ends(&mut self, host: usize) {
        self.seats.retain(|seat, _| !matches!(seat, Seat::Machine { host: of, .. } if *of == host));
        self.caller_ends(host);
    }

    /// A guest's controller has connected to the daemon of its host.
    pub(super) fn guest_connected(&mut self, host: usize, vm: &str, life: u64) {
        let Some(kernel) = self.hosts[host].domains.get(vm).map(|domain| domain.kernel) else { return };
        let seat = Seat::Guest { vm: vm.to_owned(), kernel };
        self.seat_begins(seat.clone());
        if let Some(it) = self.seats.get_mut(&seat) {
            (it.dead_until, it.heard) = (None, self.now);
            it.connected((host, life));
            self.tell_all(&seat);
        }
    }

    /// A controller says something to the daemon that it is connected to.
    fn tells(&mut self, seat: &Seat, input: GuestInput) {
        if self.calls(seat) {
            return self.calls_out(seat, input);
        }
        let Some((host, life)) = self.seats.get(seat).and_then(|it| it.link) else { return };
        let input = match seat {
            Seat::Machine { .. } => Input::Machine(input),
            Seat::Guest { vm, .. } => {
                let Some(group) = self.check.group_of(vm) else { return };
                Input::Guest { group, input }
            }
        };
        self.push(SAID, Event::Tell { host, life, input: Box::new(input) });
    }

    fn report_of(&mut self, seat: &Seat, name: &str) {
        let Some(it) = self.seats.get(seat) else { return };
        let Some(managed) = it.groups.get(name).filter(|_| !it.lies) else { return };
        let report = managed.report(name);
        self.tells(seat, GuestInput::Message(GuestMessage::Managed(report)));
    }

    pub(super) fn tell_all(&mut self, seat: &Seat) {
        let Some(it) = self.seats.get(seat) else { return };
        let names: Vec<String> = it.groups.keys().cloned().collect();
        for name in names {
            self.report_of(seat, &name);
        }
    }

    /// The second of a controller: it looks whether its host is there, and says that it is there itself.
    pub(super) fn seat_beats(&mut self, seat: Seat) {
        if self.host_of(&seat).is_none() {
            // In a file, perhaps; what comes back from there is looked at again.
            if matches!(seat, Seat::Guest { .. }) && self.seats.contains_key(&seat) {
                self.push(BEAT, Event::Seat { seat });
            }
            return;
        }
        let now = self.now;
        let Some(it) = self.seats.get_mut(&seat) else { return };
        if it.dead_until.is_some_and(|until| until <= now) {
            it.dead_until = None;
        }
        if self.is_up(&seat) {
            if self.calls(&seat) {
                self.begins_to_call(&seat);
            }
            // After it stood still, it hears first what time it is, or what its host says.
            let first = self.random.once_in(2);
            if first {
                self.hears(&seat);
            }
            self.lease_of(&seat);
            if !first {
                self.hears(&seat);
            }
            self.lies_of(&seat);
        } else if matches!(seat, Seat::Guest { .. })
            && !self.is_moving(&seat)
            && let Some(it) = self.seats.get_mut(&seat)
        {
            it.heard = now; // the guest's clock stands still with it
        }
        self.push(BEAT, Event::Seat { seat });
    }

    /// What its host said meanwhile; and whether that is there.
    fn hears(&mut self, seat: &Seat) {
        if self.calls(seat) {
            return; // each word when it arrives
        }
        let Some(host) = self.host_of(seat) else { return };
        let now = self.now;
        let there = &self.hosts[host];
        let life = there.daemon.as_ref().map(|_| (host, there.life));
        let speaks = there.is_awake() && !there.stopped;
        let Some(it) = self.seats.get_mut(seat) else { return };
        if it.link.is_some() && it.link != life {
            it.link = None;
        }
        if it.link.is_some() && speaks {
            it.heard = now;
        }
        let said: Vec<HostMessage> = it.inbox.drain(..).collect();
        for message in said {
            self.obeys(seat, message);
        }
        if let (Seat::Machine { host, boot }, Some(life), true) = (seat, life, speaks) {
            self.machine_speaks((*host, *boot), life.1);
        }
    }

    /// The machine's own controller connects, or beats.
    fn machine_speaks(&mut self, (host, boot): (usize, u64), life: u64) {
        let seat = Seat::Machine { host, boot };
        let Some(it) = self.seats.get_mut(&seat) else { return };
        if it.link.is_some() {
            self.tells(&seat, GuestInput::Message(GuestMessage::Beat));
            return;
        }
        it.connected((host, life));
        let groups = u16::try_from(it.groups.len()).unwrap_or(u16::MAX);
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&boot.to_le_bytes());
        let software = "roost-guest simulated".to_owned();
        self.tells(&seat, GuestInput::Connected { boot_id, software, version: LINK_VERSIONS.newest });
        self.tells(&seat, GuestInput::Message(GuestMessage::Snapshot { groups }));
        self.tell_all(&seat);
    }

    /// A group whose host was not heard for too long is stopped.
    fn lease_of(&mut self, seat: &Seat) {
        let Some(host) = self.host_of(seat) else { return };
        let drift = i128::from(self.hosts[host].drift);
        let Some(it) = self.seats.get_mut(seat) else { return };
        let silent = i128::try_from(self.now.since(it.heard).as_nanos()).unwrap_or(0);
        let shown = silent + silent * drift / 1_000_000;
        let silent = Duration::from_nanos(u64::try_from(shown).unwrap_or(0));
        for name in it.overdue(silent) {
            self.say(|w| format!("controller of {}: {name} has no host any more", w.target_of(seat)));
            if let Some(group) = self.application(seat, &name) {
                self.check.forgiven.insert(group);
            }
            self.change(seat, &name, |managed| managed.want(Wanted::Offline));
        }
    }

    /// Something becomes of a managed group: what follows from it is due after a while, and it is told.
    fn change(&mut self, seat: &Seat, name: &str, change: impl FnOnce(&mut Managed)) {
        let Some(managed) = self.seats.get_mut(seat).and_then(|it| it.groups.get_mut(name)) else { return };
        let (turn, was) = (managed.turn, managed.executes());
        change(managed);
        let (phase, new, is) = (managed.phase, managed.turn, managed.executes());
        if turn != new {
            self.say(|w| format!("controller of {}: {name} is {phase:?}", w.target_of(seat)));
            if phase.passes() {
                let nature = self.nature(seat, name);
                let (from, to) = match phase {
                    Phase::Starting => (200, 4000),
                    Phase::Stopping => (50, 3000),
                    _ => (20, 1500),
                };
                let after = self.random.time(Duration::from_millis(from), Duration::from_millis(to));
                let after = match phase {
                    Phase::Starting => nature.starts_in.unwrap_or(after),
                    Phase::Stopping => nature.stops_in.unwrap_or(after),
                    _ => after,
                };
                self.push(after, Event::Turn { seat: seat.clone(), group: name.to_owned(), turn: new });
            }
        }
        if was != is {
            self.check_application(seat, name, is);
        }
        self.report_of(seat, name);
    }

    /// A phase of a managed group is over, unless another came between.
    pub(super) fn turn(&mut self, seat: Seat, group: String, turn: u64) {
        let Some(managed) = self.seats.get(&seat).and_then(|it| it.groups.get(&group)) else { return };
        if managed.turn != turn {
            return;
        }
        if !self.is_up(&seat) {
            self.push(AGAIN, Event::Turn { seat, group, turn });
            return;
        }
        let (nature, runs) = (self.nature(&seat, &group), self.random.once_in(2));
        self.change(&seat, &group, |managed| managed.goes_on(nature, runs));
    }

    /// A daemon says something to a controller.
    pub(super) fn says(&mut self, host: usize, to: &keeper::Controller, message: HostMessage) {
        self.check_say(host, host, to, &message);
        self.say(|w| format!("{}: to {to:?}: {message:?}", w.hosts[host].name));
        let life = self.hosts[host].life;
        let Some(seat) = self.seat_at(host, to) else { return };
        let Some(it) = self.seats.get(&seat).filter(|it| it.link == Some((host, life))) else { return };
        let connection = it.connection;
        self.push(SAID, Event::Said { seat, connection, message: Box::new(message) });
    }

    /// What was said arrives.
    pub(super) fn said(&mut self, seat: &Seat, connection: u64, message: HostMessage) {
        let up = self.is_up(seat);
        let Some(it) = self.seats.get_mut(seat) else { return };
        if it.link.is_none() || it.connection != connection {
            return;
        }
        if !up || !it.inbox.is_empty() {
            it.inbox.push_back(message);
            return;
        }
        it.heard = self.now;
        self.obeys(seat, message);
    }

    pub(super) fn obeys(&mut self, seat: &Seat, message: HostMessage) {
        match message {
            HostMessage::Order(order) => {
                let group = order.group.clone();
                self.change(seat, &group, |managed| managed.order(&order));
            }
            HostMessage::AskReady { group, number, .. } => {
                let Some(connection) = self.seats.get(seat).map(|it| it.connection) else { return };
                let after = self.random.time(ANSWERS.0, ANSWERS.1);
                self.push(after, Event::Ready { seat: seat.clone(), connection, group, number });
            }
            _ => {}
        }
    }

    /// A `ready` command has ended.
    pub(super) fn ready(&mut self, seat: &Seat, connection: u64, group: String, number: u32) {
        let asked =
            |it: &Controller| it.connection == connection && !it.lies && it.groups.contains_key(&group);
        if !self.seats.get(seat).is_some_and(asked) || !self.is_up(seat) {
            return; // it is asked again if that matters
        }
        let readiness = if self.nature(seat, &group).unready {
            Readiness::NotReady { reason: "it is not ready".to_owned() }
        } else {
            self.said_ready(seat, &group);
            Readiness::Ready
        };
        self.tells(seat, GuestInput::Message(GuestMessage::Ready { group, number, readiness }));
    }

    /// A daemon hangs up on its machine's own controller; it comes again.
    pub(super) fn drop_machine(&mut self, host: usize) {
        if self.hosts[host].is_watched {
            return self.connection_breaks(host);
        }
        let seat = Seat::Machine { host, boot: self.hosts[host].boot };
        self.tells(&seat, GuestInput::Lost { reason: "the connection ended".to_owned() });
        if let Some(it) = self.seats.get_mut(&seat) {
            it.link = None;
        }
    }

    /// A guest's connection to its host is gone.
    pub(super) fn guest_lost(&mut self, host: usize, vm: &str, kernel: u64) {
        if let Some(it) = self.seats.get_mut(&Seat::Guest { vm: vm.to_owned(), kernel }) {
            it.link = it.link.filter(|(of, _)| *of != host);
        }
    }

    /// A controller dies, and is started again by its machine; what it had started runs on, and is adopted.
    pub fn controller_dies(&mut self, place: &Place) {
        let Some(seat) = self.seat_of(place).filter(|seat| self.is_up(seat)) else { return };
        let away = self.random.time(AWAY.0, AWAY.1);
        let until = self.now.after(away);
        match &seat {
            Seat::Machine { .. } if self.calls(&seat) => self.caller_dies(&seat),
            Seat::Machine { host, .. } => self.drop_machine(*host),
            Seat::Guest { vm, .. } => {
                let Some(host) = self.host_of(&seat) else { return };
                self.lose_guest(host, vm);
                let Some(boot) = self.hosts[host].domains.get(vm).map(|domain| domain.boot) else { return };
                self.push(away, Event::GuestUp { host, vm: vm.clone(), boot });
            }
        }
        if let Some(it) = self.seats.get_mut(&seat) {
            it.dead_until = Some(until);
        }
    }

    /// An application fails where it is online.
    pub fn application_fails(&mut self, group: &str) -> bool {
        let runs = self.random.once_in(2);
        for seat in self.executing(group) {
            let names = self.seats[&seat].groups.iter().filter(|(_, managed)| managed.app == group);
            let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
            for name in names {
                let mut failed = false;
                self.change(&seat, &name, |managed| failed = managed.fault(runs));
                if failed {
                    return true;
                }
            }
        }
        false
    }

    /// A controller says what it likes from now on, or is set right: then nothing runs there, and it begins again.
    pub fn controller_lies(&mut self, place: &Place, lies: bool) {
        let Some(seat) = self.seat_of(place) else { return };
        let Some(it) = self.seats.get_mut(&seat) else { return };
        if core::mem::replace(&mut it.lies, lies) && !lies {
            it.groups.values_mut().for_each(Managed::forget);
            match &seat {
                Seat::Machine { host, .. } => self.drop_machine(*host),
                Seat::Guest { vm, .. } => {
                    if let Some(host) = self.host_of(&seat) {
                        self.stops(host, vm, Off::Crashed);
                    }
                }
            }
        }
    }

    /// What a liar says in a second.
    fn lies_of(&mut self, seat: &Seat) {
        let Some(it) = self.seats.get(seat).filter(|it| it.lies) else { return };
        let own: Vec<(String, Managed)> = it.groups.clone().into_iter().collect();
        let others: Vec<String> = self.applications().map(|(_, app)| app.name.clone()).collect();
        let flood = if self.random.once_in(10) { 100 } else { 3 };
        for _ in 0..=self.random.index(flood) {
            let (name, managed) = self.random.pick(&own).clone();
            let number = u32::try_from(self.random.below(1 << 32)).unwrap_or(0);
            let named = if self.random.once_in(4) { self.random.pick(&others) } else { &name };
            let mut report = managed.report(named);
            report.report.state = self
                .random
                .pick(&[
                    GroupState::Offline,
                    GroupState::Online,
                    GroupState::Starting,
                    GroupState::Stopping,
                    GroupState::Degraded,
                ])
                .clone();
            report.wanted = *self.random.pick(&[Wanted::Online, Wanted::Offline]);
            report.epoch = *self.random.pick(&[managed.epoch, 0, managed.epoch + 1, u64::MAX]);
            report.obeys = *self.random.pick(&[managed.obeys, None, Some(0), Some(1), Some(number)]);
            let message = match self.random.below(8) {
                0 => GuestMessage::Snapshot { groups: u16::try_from(number % 70).unwrap_or(0) },
                1 => {
                    self.said_ready(seat, &name);
                    GuestMessage::Ready { group: name, number, readiness: Readiness::Ready }
                }
                2 => GuestMessage::Group(report.report),
                _ => GuestMessage::Managed(report),
            };
            self.tells(seat, GuestInput::Message(message));
        }
    }

    /// Every controller is as it should be again.
    pub(super) fn heal_controllers(&mut self) {
        self.natures.clear();
        let liars: Vec<Seat> =
            self.seats.iter().filter(|(_, it)| it.lies).map(|(seat, _)| seat.clone()).collect();
        for seat in liars {
            let place = match seat {
                Seat::Machine { host, .. } => Place::Machine(host),
                Seat::Guest { vm, .. } => Place::Vm(vm),
            };
            self.controller_lies(&place, false);
        }
    }

    /// An application becomes another on one of its targets, or on all.
    pub fn natures_of(&mut self, group: &str, only: Option<&Target>, change: impl Fn(&mut Nature)) {
        let targets: Vec<Target> = self
            .applications()
            .filter(|(name, _)| *name == group)
            .flat_map(|(_, app)| app.targets.clone())
            .filter(|target| only.is_none_or(|only| only == target))
            .collect();
        for target in targets {
            change(self.natures.entry((target.to_string(), group.to_owned())).or_default());
        }
    }
}

/// By target and application.
pub type Natures = BTreeMap<(String, String), Nature>;
