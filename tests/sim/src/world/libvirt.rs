//! libvirt and the guests: what is ordered happens after a while, or fails, or hangs; what is shown is shown late.

use super::World;
use super::event::Event;
use super::host::{Domain, Guest, Libvirt};
use core::time::Duration;
use roost::engine::Input;
use roost::engine::keeper::remote_agent::GuestInput;
use roost::engine::keeper::vm::{
    ActionError, DomainView, Happened, Job, LibvirtInput, Off, Order, Paused, Progress, Run, Ticket, VmAction,
};
use roost_proto::cluster::Room;
use roost_proto::link::{
    Exit, Fault, GroupReport, GroupState, GuestMessage, LINK_VERSIONS, ResourceReport, ResourceState,
};

/// The driver looks at everything so often.
const POLL: Duration = Duration::from_secs(2);
/// A guest boots, and its controller connects.
const GUEST_BOOT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(9));
/// A guest shuts down.
const GUEST_STOP: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));
/// A driver notices that libvirt does not answer.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// A libvirt that hung has much to do: what it took on before happens within so long.
const LATE: Duration = Duration::from_secs(3);
/// The soonest that a driver is answered by a libvirt that works again.
const ANSWERS_AFTER: Duration = Duration::from_millis(20);

/// What became of an order.
enum Effect {
    Ends(Result<(), ActionError>),
    GoesOn,
}

impl World {
    /// The driver got an order from the engine.
    pub(super) fn ordered(&mut self, host: usize, order: Order) {
        self.check_order(host, &order);
        self.say(|w| format!("{}: libvirt, {}: {:?}", w.hosts[host].name, order.domain, order.action));
        let it = &mut self.hosts[host];
        let (life, boot) = (it.life, it.boot);
        let connected = it.daemon.as_ref().is_some_and(|daemon| daemon.connected);
        let kill = order.action == VmAction::Kill;
        if !connected && !kill {
            self.done(host, life, order.ticket, Err(ActionError::NotConnected), Duration::from_millis(1));
            return;
        }
        if it.libvirt != Libvirt::Up && !kill {
            let ticket = order.ticket;
            let limit = order.limit;
            it.parked.push((life, order));
            self.push(limit, Event::Limit { host, life, ticket });
            return;
        }
        let (from, to) = match order.action {
            VmAction::Start => (30, 800),
            VmAction::Destroy | VmAction::Kill => (10, 400),
            VmAction::Restore { .. } => (100, 3000),
            _ => (1, 60),
        };
        if matches!(order.action, VmAction::Migrate { .. } | VmAction::Save { .. }) {
            self.push(order.limit, Event::Limit { host, life, ticket: order.ticket });
        }
        let after = self.random.time(Duration::from_millis(from), Duration::from_millis(to));
        self.push(after, Event::Effect { host, boot, life, order: Box::new(order) });
    }

    /// The driver knows that nothing more comes of an order that took too long.
    fn ended(&mut self, host: usize, life: u64, ticket: Ticket) {
        let input = Box::new(Input::Libvirt(LibvirtInput::Ended { ticket }));
        self.push(Duration::ZERO, Event::Tell { host, life, input });
    }

    pub(super) fn done(
        &mut self,
        host: usize,
        life: u64,
        ticket: Ticket,
        result: Result<(), ActionError>,
        after: Duration,
    ) {
        let input = Box::new(Input::Libvirt(LibvirtInput::Done { ticket, result }));
        self.push(after, Event::Tell { host, life, input });
    }

    pub(super) fn libvirt_event(&mut self, event: Event) {
        match event {
            Event::Effect { host, boot, life, order } => {
                if self.hosts[host].powered && self.hosts[host].boot == boot {
                    if self.hosts[host].frozen {
                        self.hosts[host].held.push_back(Event::Effect { host, boot, life, order });
                        return;
                    }
                    let result = match self.effect(host, life, &order) {
                        Effect::Ends(result) => result,
                        Effect::GoesOn => return,
                    };
                    let after = self.random.time(Duration::ZERO, Duration::from_millis(20));
                    self.done(host, life, order.ticket, result, after);
                }
            }
            Event::Late { host, boot, life, order } => {
                if self.hosts[host].powered && self.hosts[host].boot == boot {
                    if self.hosts[host].frozen {
                        self.hosts[host].held.push_back(Event::Late { host, boot, life, order });
                        return;
                    }
                    let result = match self.effect(host, life, &order) {
                        Effect::Ends(result) => result,
                        Effect::GoesOn => return,
                    };
                    self.done(host, life, order.ticket, result, Duration::ZERO); // if it was not answered yet
                    self.ended(host, life, order.ticket);
                }
            }
            Event::Limit { host, life, ticket } => {
                let waits = self.hosts[host].parked.iter().any(|(_, o)| o.ticket == ticket);
                if self.is_alive(host, life) && (waits || self.is_under_way(host, ticket)) {
                    self.done(host, life, ticket, Err(ActionError::TimedOut), Duration::ZERO);
                }
            }
            Event::View { host, life, vm, happened } => {
                if self.is_alive(host, life)
                    && self.hold(host, || Event::View { host, life, vm: vm.clone(), happened })
                {
                    match self.hosts[host].libvirt {
                        Libvirt::Up => self.show(host, &vm, happened),
                        // It says so when it answers again; or its connection is lost, and then a poll shows it.
                        Libvirt::Hung => self.push(POLL, Event::View { host, life, vm, happened }),
                        Libvirt::Down => self.push(POLL, Event::View { host, life, vm, happened: None }),
                    }
                }
            }
            Event::Poll { host, life } => {
                if self.is_alive(host, life) && self.hold(host, || Event::Poll { host, life }) {
                    self.poll(host);
                    self.push(POLL, Event::Poll { host, life });
                }
            }
            Event::Link { host, life } => {
                if self.is_alive(host, life) && self.hold(host, || Event::Link { host, life }) {
                    self.link(host);
                }
            }
            Event::GuestUp { host, vm, boot } => self.guest_up(host, &vm, boot),
            Event::GuestBeat { host, vm, boot, link } => self.guest_beat(host, &vm, boot, link),
            Event::GuestDown { host, vm, boot } => {
                let it = &self.hosts[host];
                let domain = it.domains.get(&vm).filter(|d| d.boot == boot && d.run == Run::Running);
                let why = domain.map(|d| if d.nature.fragile { Off::Crashed } else { Off::Shutdown });
                if it.frozen {
                    self.push(Duration::from_secs(1), Event::GuestDown { host, vm, boot });
                } else if let Some(why) = why.filter(|_| it.powered) {
                    self.stops(host, &vm, why);
                }
            }
            other => unreachable!("{other:?} is not libvirt's"),
        }
    }

    /// An order does what it does; what takes its time tells its end itself.
    fn effect(&mut self, host: usize, life: u64, order: &Order) -> Effect {
        let refused = match &order.action {
            VmAction::Migrate { .. } | VmAction::Save { .. } if !self.hosts[host].runs(&order.domain) => {
                Some(ActionError::Failed("it does not run".to_owned()))
            }
            VmAction::Migrate { to } => self.migrate(host, life, order, to),
            VmAction::Save { file } => self.save(host, life, order, file),
            _ => return Effect::Ends(self.at_once(host, order)),
        };
        refused.map_or(Effect::GoesOn, |refused| Effect::Ends(Err(refused)))
    }

    fn at_once(&mut self, host: usize, order: &Order) -> Result<(), ActionError> {
        let vm = &order.domain;
        let Some(domain) = self.hosts[host].domains.get_mut(vm) else { return Err(ActionError::NoDomain) };
        let off = matches!(domain.run, Run::Off(_) | Run::Undefined);
        match order.action {
            VmAction::Define { .. } | VmAction::Screenshot { .. } => Ok(()),
            VmAction::Forget { ref file } => self.forget(file),
            VmAction::Restore { .. } if !off => Err(ActionError::Failed("it is active already".to_owned())),
            VmAction::Restore { ref file } => self.restore(host, vm, file),
            VmAction::Migrate { .. } | VmAction::Save { .. } => unreachable!("they take their time"),
            VmAction::Abort => self.abort(host, vm),
            VmAction::Start if !off => Err(ActionError::AlreadySo),
            VmAction::Start if domain.bad_starts > 0 => {
                domain.bad_starts -= 1;
                self.changed(host, vm, Some(Happened::Stopped(Off::Failed)));
                Err(ActionError::Failed("it cannot be started".to_owned()))
            }
            VmAction::Start => {
                self.starts(host, vm, false);
                Ok(())
            }
            _ if off && matches!(order.action, VmAction::Destroy | VmAction::Kill) => {
                Err(ActionError::AlreadySo)
            }
            _ if off => Err(ActionError::Failed("it does not run".to_owned())),
            VmAction::Reboot | VmAction::Reset if domain.job.is_some() => {
                Err(ActionError::Failed("another job is under way".to_owned()))
            }
            VmAction::Reboot | VmAction::Reset => {
                if order.action == VmAction::Reset || domain.guest != Guest::Hung {
                    domain.guest = Guest::Booting;
                    domain.boot += 1;
                    domain.kernel += 1 << 32;
                    let boot = domain.boot;
                    self.lose_guest(host, vm);
                    self.boots(host, vm, boot);
                    self.changed(host, vm, Some(Happened::Rebooted));
                }
                Ok(())
            }
            VmAction::Shutdown => {
                if domain.guest != Guest::Hung && domain.run == Run::Running && !domain.nature.deaf {
                    let boot = domain.boot;
                    let after = self.random.time(GUEST_STOP.0, GUEST_STOP.1);
                    self.push(after, Event::GuestDown { host, vm: vm.clone(), boot });
                }
                Ok(())
            }
            VmAction::Destroy | VmAction::Kill if domain.stuck => {
                Err(ActionError::Failed("its process does not end".to_owned()))
            }
            VmAction::Destroy => {
                self.stops(host, vm, Off::Destroyed);
                Ok(())
            }
            VmAction::Kill => {
                self.stops(host, vm, Off::Failed);
                Ok(())
            }
            VmAction::Suspend => match domain.run {
                Run::Paused(Paused::Busy) => Err(ActionError::Failed("another job is under way".to_owned())),
                Run::Paused(_) => Err(ActionError::AlreadySo),
                _ => {
                    self.set_run(host, vm, Run::Paused(Paused::User), Some(Happened::Paused(Paused::User)));
                    Ok(())
                }
            },
            VmAction::Resume => match domain.run {
                _ if domain.job.is_some() => Err(ActionError::Busy),
                Run::Paused(_) => {
                    self.resumes(host, vm);
                    Ok(())
                }
                _ => Err(ActionError::AlreadySo),
            },
        }
    }

    /// A copy that stood still goes on.
    fn resumes(&mut self, host: usize, vm: &str) {
        let life = self.hosts[host].life;
        let Some(domain) = self.hosts[host].domains.get_mut(vm) else { return };
        let (age, file) = (domain.age, domain.file.take());
        let (boot, linked) = (domain.boot, domain.link == Some(life));
        let file = file.map(|(number, path)| (number, self.is_kept(&path)));
        let age = self.check.resumed(host, vm, age, file);
        if let Some(domain) = self.hosts[host].domains.get_mut(vm) {
            domain.age = age;
        }
        self.set_run(host, vm, Run::Running, Some(Happened::Resumed));
        if !linked {
            let after = self.random.time(Duration::from_millis(200), Duration::from_secs(3));
            self.push(after, Event::GuestUp { host, vm: vm.to_owned(), boot });
        }
    }

    /// Its process is there; by hand, or because it was ordered.
    pub fn starts(&mut self, host: usize, vm: &str, by_hand: bool) {
        let Some(domain) = self.hosts[host].domains.get_mut(vm) else { return };
        domain.life += 1;
        domain.boot += 1;
        domain.by_hand = by_hand;
        domain.guest = Guest::Booting;
        domain.link = None;
        domain.job = None;
        domain.file = None;
        let (boot, fragile) = (domain.boot, domain.nature.fragile);
        let age = self.check.started(vm, self.now);
        if let Some(domain) = self.hosts[host].domains.get_mut(vm) {
            (domain.age, domain.kernel) = (age, age);
        }
        self.set_run(host, vm, Run::Running, Some(Happened::Started));
        self.boots(host, vm, boot);
        if fragile {
            let after = self.random.time(GUEST_STOP.0, GUEST_STOP.1);
            self.push(after, Event::GuestDown { host, vm: vm.to_owned(), boot });
        }
    }

    fn boots(&mut self, host: usize, vm: &str, boot: u32) {
        let after = self.random.time(GUEST_BOOT.0, GUEST_BOOT.1);
        self.push(after, Event::GuestUp { host, vm: vm.to_owned(), boot });
    }

    /// A VM's process is gone.
    pub fn stops(&mut self, host: usize, vm: &str, why: Off) {
        if let Some(domain) = self.hosts[host].domains.get_mut(vm) {
            domain.boot += 1;
            domain.job = None;
            domain.file = None;
        }
        self.lose_guest(host, vm);
        self.set_run(host, vm, Run::Off(why), Some(Happened::Stopped(why)));
    }

    pub fn set_run(&mut self, host: usize, vm: &str, run: Run, happened: Option<Happened>) {
        let Some(domain) = self.hosts[host].domains.get_mut(vm) else { return };
        domain.run = run;
        self.say(|w| format!("{}: VM {vm} is {run:?}", w.hosts[host].name));
        self.check_runs_of(vm);
        self.changed(host, vm, happened);
    }

    /// libvirt says so soon; or, when its event is lost, the next poll does.
    fn changed(&mut self, host: usize, vm: &str, happened: Option<Happened>) {
        let life = self.hosts[host].life;
        let lost = self.random.once_in(20);
        let (from, to) = if lost { (500, 2000) } else { (1, 30) };
        let after = self.random.time(Duration::from_millis(from), Duration::from_millis(to));
        let happened = happened.filter(|_| !lost);
        self.push(after, Event::View { host, life, vm: vm.to_owned(), happened });
    }

    fn view(domain: &Domain) -> DomainView {
        let alive = !matches!(domain.run, Run::Off(_) | Run::Undefined);
        DomainView {
            run: domain.run,
            life: alive.then_some(domain.life),
            autostart: false,
            progress: Progress { cpu_ns: domain.progress, disk_requests: 0 },
            job: if domain.job.is_some() { Job::Migration } else { Job::None },
            cid: None,
            need: Some(domain.nature.need),
        }
    }

    fn show(&mut self, host: usize, vm: &str, happened: Option<Happened>) {
        let it = &mut self.hosts[host];
        if !it.daemon.as_ref().is_some_and(|daemon| daemon.connected) {
            return;
        }
        let Some(domain) = it.domains.get(vm) else { return };
        if let Some(daemon) = &mut it.daemon {
            daemon.shown.insert(vm.to_owned());
        }
        let input = LibvirtInput::Domain { name: vm.to_owned(), view: Self::view(domain), happened };
        self.tell(host, Input::Libvirt(input));
    }

    /// The driver looks whether libvirt answers, and at what may have changed unseen.
    fn link(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        let life = it.life;
        let up = it.libvirt == Libvirt::Up;
        let Some(daemon) = &mut it.daemon else { return };
        if up == daemon.connected {
            return;
        }
        daemon.connected = up;
        if !up {
            let reason = "it does not answer".to_owned();
            self.tell(host, Input::Libvirt(LibvirtInput::Lost { reason }));
            return;
        }
        daemon.room = None;
        daemon.shown.clear();
        self.tell(host, Input::Libvirt(LibvirtInput::Connected));
        let vms: Vec<String> = self.hosts[host].domains.keys().cloned().collect();
        for vm in vms {
            let after = self.random.time(Duration::from_millis(1), Duration::from_millis(10));
            self.push(after, Event::View { host, life, vm, happened: None });
        }
        // Guests find their way back to a daemon that was started again.
        let it = &self.hosts[host];
        let up: Vec<(String, u32)> = it
            .domains
            .iter()
            .filter(|(_, d)| d.lives() && d.guest != Guest::Booting && d.link != Some(life))
            .map(|(vm, d)| (vm.clone(), d.boot))
            .collect();
        for (vm, boot) in up {
            let after = self.random.time(Duration::from_millis(50), Duration::from_secs(2));
            self.push(after, Event::GuestUp { host, vm, boot });
        }
    }

    fn poll(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        if it.libvirt != Libvirt::Up || !it.daemon.as_ref().is_some_and(|daemon| daemon.connected) {
            return;
        }
        let mut used = 0;
        let mut shown = Vec::new();
        for (vm, domain) in &mut it.domains {
            used += if domain.lives() { domain.nature.need.memory_mib } else { 0 };
            if domain.lives() && self.check.has_controller(vm) {
                let moves = domain.guest != Guest::Hung;
                domain.progress += if moves { 1_000_000 } else { 0 };
                if domain.guest == Guest::Hung {
                    shown.push(vm.clone()); // of the others the progress is not looked at
                }
            }
        }
        let free = it.memory.saturating_sub(used);
        let Some(daemon) = &mut it.daemon else { return };
        shown.extend(it.domains.keys().filter(|vm| !daemon.shown.contains(*vm)).cloned());
        if daemon.room != Some(free) {
            daemon.room = Some(free);
            let room = Room { memory_mib: free, memory_total_mib: it.memory, cpus: it.cpus };
            self.tell(host, Input::Libvirt(LibvirtInput::Room(room)));
        }
        for vm in shown {
            self.show(host, &vm, None);
        }
    }

    /// libvirt is so from now on.
    pub fn set_libvirt(&mut self, host: usize, libvirt: Libvirt) {
        let it = &mut self.hosts[host];
        if !it.powered || it.libvirt == libvirt {
            return;
        }
        it.libvirt = libvirt;
        let (life, boot) = (it.life, it.boot);
        let parked = core::mem::take(&mut it.parked);
        match libvirt {
            Libvirt::Hung => it.parked = parked,
            Libvirt::Up | Libvirt::Down => {
                // What it had taken on happens now, or never.
                for (of, order) in parked {
                    if libvirt == Libvirt::Up && self.random.once_in(2) {
                        // What a daemon asked that is dead had its turn before the next one is answered.
                        let latest = if of == life { LATE } else { ANSWERS_AFTER };
                        let after = self.random.time(Duration::ZERO, latest);
                        self.push(after, Event::Late { host, boot, life: of, order: Box::new(order) });
                    } else if of == life {
                        let gone = ActionError::Failed("libvirtd ended".to_owned());
                        self.done(host, life, order.ticket, Err(gone), Duration::ZERO);
                        self.ended(host, life, order.ticket);
                    }
                }
            }
        }
        let after = match libvirt {
            Libvirt::Up => self.random.time(ANSWERS_AFTER, Duration::from_secs(1)),
            Libvirt::Hung => LOST_AFTER,
            Libvirt::Down => Duration::from_millis(20),
        };
        self.push(after, Event::Link { host, life });
    }

    fn guest(&mut self, host: usize, vm: &str, input: GuestInput) {
        let Some(group) = self.check.group_of(vm) else { return };
        let life = self.hosts[host].life;
        let input = Box::new(Input::Guest { group, input });
        self.push(Duration::from_micros(200), Event::Tell { host, life, input });
    }

    pub(super) fn lose_guest(&mut self, host: usize, vm: &str) {
        let life = self.hosts[host].life;
        let Some(domain) = self.hosts[host].domains.get_mut(vm) else { return };
        let (link, kernel) = (domain.link.take(), domain.kernel);
        self.guest_lost(host, vm, kernel);
        if link == Some(life) {
            self.guest(host, vm, GuestInput::Lost { reason: "the connection ended".to_owned() });
        }
    }

    /// The engine hangs up on a guest; it comes again.
    pub(super) fn drop_guest(&mut self, host: usize, group: &str) {
        let Some(vm) = self.check.vm_of(group) else { return };
        self.lose_guest(host, &vm);
        let Some(domain) = self.hosts[host].domains.get(&vm) else { return };
        if domain.lives() && domain.guest != Guest::Booting {
            let boot = domain.boot;
            let after = self.random.time(Duration::from_millis(200), Duration::from_secs(3));
            self.push(after, Event::GuestUp { host, vm, boot });
        }
    }

    fn guest_up(&mut self, host: usize, vm: &str, boot: u32) {
        if !self.check.has_controller(vm) || !self.hosts[host].powered {
            return;
        }
        let again = Duration::from_secs(1);
        let it = &mut self.hosts[host];
        let life = it.life;
        let awake = it.is_awake() && it.daemon.is_some();
        let Some(domain) = it.domains.get_mut(vm) else { return };
        if domain.boot != boot || domain.link == Some(life) || domain.guest == Guest::Hung {
            return;
        }
        if !awake || domain.run != Run::Running {
            if !matches!(domain.run, Run::Off(_)) {
                self.push(again, Event::GuestUp { host, vm: vm.to_owned(), boot });
            }
            return;
        }
        if domain.guest == Guest::Booting {
            domain.guest = if domain.nature.faulty { Guest::Faulted } else { Guest::Well };
        }
        domain.link = Some(life);
        let kernel = domain.kernel;
        let state = domain.guest;
        let software = "roost-guest simulated".to_owned();
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&kernel.to_le_bytes());
        self.guest(host, vm, GuestInput::Connected { boot_id, software, version: LINK_VERSIONS.newest });
        let groups = self.check.apps_of(vm).len() + self.managed_in(vm);
        let groups = u16::try_from(groups).unwrap_or(u16::MAX);
        self.guest(host, vm, GuestInput::Message(GuestMessage::Snapshot { groups }));
        self.report(host, vm, state);
        self.guest_connected(host, vm, life);
        self.push(again, Event::GuestBeat { host, vm: vm.to_owned(), boot, link: life });
    }

    fn guest_beat(&mut self, host: usize, vm: &str, boot: u32, link: u64) {
        let it = &self.hosts[host];
        let Some(domain) = it.domains.get(vm) else { return };
        if domain.boot != boot || domain.link != Some(link) || it.life != link {
            return;
        }
        if it.is_awake() && domain.run == Run::Running && domain.guest != Guest::Hung {
            self.guest(host, vm, GuestInput::Message(GuestMessage::Beat));
        }
        self.push(Duration::from_secs(1), Event::GuestBeat { host, vm: vm.to_owned(), boot, link });
    }

    /// A guest's controller tells how its group is.
    pub fn report(&mut self, host: usize, vm: &str, guest: Guest) {
        let (state, resource) = match guest {
            Guest::Well => (GroupState::Online, ResourceState::Running),
            Guest::Booting | Guest::Hung => (GroupState::Starting, ResourceState::Starting),
            Guest::Faulted => {
                let fault = Fault {
                    resource: "app".to_owned(),
                    reason: "it ends as soon as it is started".to_owned(),
                    exit: Exit::Code(1),
                    output: String::new(),
                };
                (GroupState::Faulted(fault), ResourceState::Failed)
            }
        };
        let resources = vec![ResourceReport {
            name: "app".to_owned(),
            state: resource,
            restarts: 0,
            detail: String::new(),
        }];
        for name in self.check.apps_of(vm) {
            let (state, resources) = (state.clone(), resources.clone());
            let report = GroupReport { name, state, frozen: false, resources };
            self.guest(host, vm, GuestInput::Message(GuestMessage::Group(report)));
        }
    }

    /// A guest says a great deal of nonsense.
    pub fn lie(&mut self, host: usize, vm: &str) {
        for _ in 0..20 {
            let message = match self.random.below(4) {
                0 => GuestMessage::Snapshot { groups: u16::MAX },
                1 => GuestMessage::Beat,
                _ => {
                    let name = format!("x{}", self.random.below(1000));
                    let report = GroupReport {
                        name,
                        state: GroupState::Starting,
                        frozen: true,
                        resources: Vec::new(),
                    };
                    GuestMessage::Group(report)
                }
            };
            self.guest(host, vm, GuestInput::Message(message));
        }
    }
}
