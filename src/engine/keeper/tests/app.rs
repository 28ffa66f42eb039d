//! What a host does with an application, against controllers that the test plays.

use super::super::Controller;
use super::super::right::{Hold, Right};
use super::*;
use roost_proto::cluster::decision::RecallReason;
use roost_proto::cluster::{self, HostId};
use roost_proto::link::{Cause, HostMessage, ManagedReport, Order as AppOrder, Readiness, Wanted};
use std::collections::BTreeMap;

const APPS: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "db1"
role = "application"
address = "192.0.2.1"
[[host]]
name = "hv1"
address = "192.0.2.2"
[[group]]
name = "standby"
vm = "db1-standby"
on = ["hv1"]
[[group]]
name = "orders"
app = "postgres"
on = ["db1", "vm:standby"]
stop_timeout = "1m"
[group.recovery]
restart = 2
backoff = "10s"
backoff_max = "1m"
"#;

/// A service group as a controller that the test plays has it.
#[derive(Clone, Debug)]
struct Service {
    state: GroupState,
    wanted: Wanted,
    epoch: u64,
    obeys: Option<u32>,
    frozen: bool,
}

impl Service {
    const fn rests() -> Self {
        Self { state: GroupState::Offline, wanted: Wanted::Offline, epoch: 0, obeys: None, frozen: false }
    }
}

/// A host with its applications.
struct Place {
    keeper: Keeper,
    now: Instant,
    right: Right,
    vm: Right,
    said: Vec<(Controller, HostMessage)>,
    dropped: Vec<Controller>,
    orders: Vec<Order>,
    events: Vec<EventDraft>,
    saved: Saved,
    services: BTreeMap<Controller, Service>,
    boot: u8,
    life: u32,
}

impl Place {
    fn with(host: &str, saved: Saved, right: Right) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let config = config::parse(APPS).expect("a good configuration");
        let keeper = Keeper::new(&config, host, saved, BOOT, 7, PathBuf::from("/screens"), now);
        let mut place = Self {
            keeper,
            now,
            right,
            vm: Right::UNKNOWN,
            said: Vec::new(),
            dropped: Vec::new(),
            orders: Vec::new(),
            events: Vec::new(),
            saved: Saved::default(),
            services: BTreeMap::new(),
            boot: 1,
            life: 1,
        };
        place.decided();
        place
    }

    /// The application server, whose controller is connected, and where nothing runs.
    fn metal() -> Self {
        let mut place = Self::with("db1", Saved::default(), elsewhere(0));
        place.connects(Controller::Machine);
        place
    }

    /// The same, with the application online in epoch 1.
    fn online() -> Self {
        let mut place = Self::metal();
        place.owned(1, "db1");
        place.obeys(&Controller::Machine, GroupState::Online);
        assert_eq!(place.state(), cluster::GroupState::Well);
        place
    }

    /// The hypervisor with the standby, which is up.
    fn hypervisor() -> Self {
        let mut place = Self::with("hv1", Saved::default(), elsewhere(0));
        place.handle(Input::Libvirt(LibvirtInput::Connected));
        place.vm = Right { hold: Hold::Owned, epoch: 1, changed: 1, ..Right::UNKNOWN };
        place.decided();
        place.see(Run::Running, None);
        place.connects(Controller::Guest("standby".to_owned()));
        place
    }

    fn handle(&mut self, input: Input) {
        self.keeper.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.keeper.poll_output() {
            match output {
                Output::Say { to, message } => self.said.push((to, message)),
                Output::Drop(who) => self.dropped.push(who),
                Output::Order(order) => self.orders.push(order),
                Output::Event(event) => self.events.push(event),
                Output::Store(saved) => {
                    self.saved = saved;
                    self.keeper.handle(self.now, Input::Stored(Ok(())));
                }
                Output::Wish { .. } | Output::Hush { .. } | Output::Cid { .. } => {}
            }
        }
    }

    /// The ledger is as the test has it.
    fn decided(&mut self) {
        for group in self.keeper.group_names() {
            let right = if group == "orders" { self.right } else { self.vm };
            self.keeper.set_right(self.now, &group, right);
        }
        self.drain();
    }

    /// The application is this host's, at a target.
    fn owned(&mut self, epoch: u64, target: &str) {
        self.right = Right {
            hold: Hold::Owned,
            epoch,
            changed: self.right.changed + 1,
            target: Some(HostId::of(target)),
            recalled: None,
            ..self.right
        };
        self.decided();
    }

    fn change(&mut self, change: impl FnOnce(&mut Right)) {
        change(&mut self.right);
        self.right.changed += 1;
        self.decided();
    }

    fn see(&mut self, run: Run, happened: Option<Happened>) {
        let alive = !matches!(run, Run::Off(_) | Run::Undefined);
        let view = DomainView {
            run,
            life: alive.then_some(self.life),
            autostart: false,
            progress: Progress { cpu_ns: self.now.as_nanos(), disk_requests: 0 },
            job: Job::None,
            cid: None,
            need: None,
        };
        let name = "db1-standby".to_owned();
        self.handle(Input::Libvirt(LibvirtInput::Domain { name, view, happened }));
    }

    fn link(&mut self, who: &Controller, input: GuestInput) {
        match who {
            Controller::Machine => self.handle(Input::Machine(input)),
            Controller::Guest(group) => self.handle(Input::Guest { group: group.clone(), input }),
        }
    }

    fn says(&mut self, who: &Controller, message: GuestMessage) {
        self.link(who, GuestInput::Message(message));
    }

    /// A controller connects, or does so anew.
    fn connects(&mut self, who: Controller) {
        self.connects_as(who, LINK_VERSIONS.newest);
    }

    fn connects_as(&mut self, who: Controller, version: u16) {
        let (boot_id, software) = ([self.boot; 16], "roost-guest test".to_owned());
        self.link(&who, GuestInput::Connected { boot_id, software, version });
        self.services.entry(who.clone()).or_insert_with(Service::rests).obeys = None;
        self.says(&who, GuestMessage::Snapshot { groups: 1 });
        self.tells(&who);
    }

    fn tells(&mut self, who: &Controller) {
        let Service { state, wanted, epoch, obeys, frozen } = self.services[who].clone();
        let report = GroupReport { name: "postgres".to_owned(), state, frozen, resources: vec![] };
        self.says(who, GuestMessage::Managed(ManagedReport { report, wanted, epoch, obeys }));
    }

    fn is(&mut self, who: &Controller, state: GroupState) {
        self.services.get_mut(who).expect("connected").state = state;
        self.tells(who);
    }

    /// The newest order to a controller, if there is a new one.
    fn order(&mut self, who: &Controller) -> Option<AppOrder> {
        let said = core::mem::take(&mut self.said);
        let (ours, others) = said.into_iter().partition(|(to, _)| to == who);
        self.said = others;
        let ours: Vec<(Controller, HostMessage)> = ours;
        assert!(ours.len() <= 1, "one order at a time: {ours:?}");
        ours.into_iter().find_map(|(_, message)| match message {
            HostMessage::Order(order) => Some(order),
            _ => None,
        })
    }

    /// The controller obeys the order that it got, and its group comes to be so.
    fn obeys(&mut self, who: &Controller, state: GroupState) -> AppOrder {
        let order = self.order(who).expect("an order");
        assert_eq!(order.group, "postgres");
        let service = self.services.get_mut(who).expect("connected");
        assert!(order.epoch >= service.epoch, "a good order");
        (service.wanted, service.epoch, service.obeys) = (order.wanted, order.epoch, Some(order.number));
        service.state = state;
        self.tells(who);
        order
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + Duration::from_secs(1)).min(end);
            let whos: Vec<Controller> = self.services.keys().cloned().collect();
            for who in whos {
                self.says(&who, GuestMessage::Beat);
            }
            if self.services.keys().any(|who| *who != Controller::Machine) {
                self.see(Run::Running, None);
            }
            self.keeper.handle_timeout(self.now);
            self.drain();
        }
    }

    fn state(&self) -> cluster::GroupState {
        self.keeper.report(self.now, "orders").expect("it is acted for here").state
    }

    fn status(&self) -> GroupStatus {
        let status = self.keeper.status(self.now, 5_000_000);
        status.groups.into_iter().find(|group| group.name == "orders").expect("it is acted for here")
    }

    fn told(&self, text: &str) -> bool {
        self.events.iter().any(|event| event.text.contains(text))
    }
}

fn elsewhere(epoch: u64) -> Right {
    Right { hold: Hold::Elsewhere, epoch, changed: 1, ..Right::UNKNOWN }
}

fn fault() -> GroupState {
    GroupState::Faulted(Fault {
        resource: "db".to_owned(),
        reason: "it ended 3 times".to_owned(),
        exit: Exit::Code(1),
        output: String::new(),
    })
}

const METAL: Controller = Controller::Machine;

#[test]
fn it_is_brought_online_where_it_belongs_and_its_rest_is_believed_only_when_it_is_confirmed() {
    let mut place = Place::with("db1", Saved::default(), elsewhere(0));
    assert_eq!(place.state(), cluster::GroupState::Unknown);
    assert!(!place.keeper.may_run() && !place.keeper.is_seen(), "its controller may come any moment");
    place.connects(METAL);
    assert_eq!(place.state(), cluster::GroupState::Down);
    assert!(place.keeper.is_seen() && !place.keeper.may_run());
    place.owned(1, "db1");
    assert!(place.keeper.may_run(), "from the first order on");
    assert_eq!(place.saved.groups["orders"].app.as_deref(), Some("postgres"));
    let order = place.obeys(&METAL, GroupState::Starting);
    assert_eq!((order.wanted, order.epoch, order.lease_ms), (Wanted::Online, 1, 30_000));
    let circumstances = order.circumstances;
    assert_eq!((circumstances.target.as_str(), circumstances.previous.as_str()), ("db1", ""));
    assert_eq!(circumstances.reason, Cause::Start);
    assert_eq!(place.state(), cluster::GroupState::Coming);
    place.is(&METAL, GroupState::Online);
    assert_eq!(place.state(), cluster::GroupState::Well);
    let status = place.status();
    assert_eq!(status.condition, Condition::Online, "{}", status.reason);
    assert_eq!((status.target.as_deref(), status.home.as_deref()), (Some("db1"), Some("db1")));
    assert_eq!(status.targets, ["db1", "vm:standby"]);

    place.change(|right| right.intent = Intent::Offline);
    let order = place.order(&METAL).expect("an order");
    assert_eq!((order.wanted, order.circumstances.reason), (Wanted::Offline, Cause::Stop));
    // What it says before it obeys is no answer to that.
    place.is(&METAL, GroupState::Offline);
    assert_eq!(place.state(), cluster::GroupState::Unwell);
    assert!(place.keeper.may_run());
    place.services.get_mut(&METAL).expect("connected").obeys = Some(order.number);
    place.is(&METAL, GroupState::Offline);
    assert_eq!(place.state(), cluster::GroupState::Down);
    assert!(!place.keeper.may_run());
    assert_eq!(place.saved.groups["orders"].app, None);
    assert_eq!(place.status().condition, Condition::Offline);
    assert_eq!(place.order(&METAL), None);
}

#[test]
fn after_a_restart_of_roostd_it_goes_on() {
    let before = Place::online();
    let (saved, services) = (before.saved.clone(), before.services.clone());
    let mut place = Place::with("db1", saved, Right { hold: Hold::Unknown, ..before.right });
    assert!(place.keeper.may_run() && !place.keeper.is_seen());
    place.services = services;
    place.connects(METAL);
    assert!(place.keeper.may_run() && place.keeper.is_seen());
    assert_eq!(place.order(&METAL), None, "it is not known yet whose it is");
    place.right.hold = Hold::Owned;
    place.decided();
    assert_eq!(place.state(), cluster::GroupState::Well);
    let order = place.obeys(&METAL, GroupState::Online);
    assert_eq!((order.wanted, order.epoch, order.number), (Wanted::Online, 1, 1), "repeated, and no more");
    assert_eq!(place.state(), cluster::GroupState::Well);
    place.pass(Duration::from_secs(60));
    assert_eq!(place.order(&METAL), None);
}

#[test]
fn orders_are_repeated_on_each_connection() {
    let mut place = Place::online();
    place.link(&METAL, GuestInput::Lost { reason: "it ended".to_owned() });
    assert_eq!(place.state(), cluster::GroupState::Unknown);
    assert!(place.keeper.may_run());
    place.change(|right| right.intent = Intent::Offline);
    assert_eq!(place.said, []);
    place.connects(METAL);
    let order = place.obeys(&METAL, GroupState::Stopping);
    assert_eq!((order.wanted, order.number), (Wanted::Offline, 1));
    assert_eq!(place.state(), cluster::GroupState::Unwell);
    place.is(&METAL, GroupState::Offline);
    assert_eq!(place.state(), cluster::GroupState::Down);
}

#[test]
fn without_a_lease_it_is_taken_offline_and_brought_back() {
    let mut place = Place::online();
    place.change(|right| right.hold = Hold::Suspended);
    let order = place.order(&METAL).expect("an order");
    assert_eq!((order.wanted, order.circumstances.reason), (Wanted::Offline, Cause::Lease));
    assert_eq!(place.state(), cluster::GroupState::Suspended);
    assert!(place.keeper.may_run());
    // The lease is back before that was obeyed.
    place.change(|right| right.hold = Hold::Owned);
    assert_eq!(place.state(), cluster::GroupState::Coming, "it may be stopping");
    let order = place.obeys(&METAL, GroupState::Online);
    assert_eq!((order.wanted, order.epoch, order.number), (Wanted::Online, 1, 3));
    assert_eq!(place.state(), cluster::GroupState::Well);
}

#[test]
fn a_controller_that_stopped_it_by_itself_is_ordered_again() {
    let mut place = Place::online();
    place.pass(Duration::from_secs(5));
    place.services.get_mut(&METAL).expect("connected").wanted = Wanted::Offline;
    place.is(&METAL, GroupState::Stopping);
    assert_eq!(place.state(), cluster::GroupState::Coming);
    let order = place.order(&METAL).expect("an order");
    assert_eq!((order.wanted, order.number), (Wanted::Online, 2));
    // One that forgets at once is not ordered at once again and again.
    place.services.get_mut(&METAL).expect("connected").obeys = Some(2);
    place.tells(&METAL);
    assert_eq!(place.order(&METAL), None);
    place.pass(Duration::from_secs(1));
    assert!(place.order(&METAL).is_some());
}

#[test]
fn what_runs_where_it_does_not_belong_is_taken_offline() {
    let mut place = Place::online();
    place.change(|right| {
        *right = Right { target: Some(HostId::of_vm("standby")), epoch: 2, ..elsewhere(2) };
    });
    assert_eq!(place.state(), cluster::GroupState::Stray);
    let order = place.obeys(&METAL, GroupState::Offline);
    assert_eq!((order.wanted, order.epoch), (Wanted::Offline, 2));
    assert_eq!(place.state(), cluster::GroupState::Down);
    // A life that was thrown out has something left until that is confirmed.
    let mut place = Place::online();
    place.change(|right| right.hold = Hold::Lost);
    assert!(place.keeper.is_left() && place.keeper.may_run());
    place.obeys(&METAL, GroupState::Offline);
    assert!(!place.keeper.is_left() && !place.keeper.may_run());
    place.keeper.forget_what_was_lost();
    assert!(!place.keeper.was_here("orders"));
}

#[test]
fn what_is_not_known_disarmed_or_frozen_is_not_ordered_about() {
    for hold in [Hold::Unknown, Hold::Disarmed] {
        let mut place = Place::online();
        place.change(|right| (right.hold, right.intent) = (hold, Intent::Offline));
        place.pass(Duration::from_secs(200));
        assert_eq!(place.said, [], "{hold:?}");
    }
    let mut place = Place::online();
    place.change(|right| (right.frozen, right.intent) = (true, Intent::Offline));
    assert_eq!(place.said, []);
    assert_eq!(place.state(), cluster::GroupState::Well);
    place.change(|right| right.hold = Hold::Suspended);
    assert!(place.order(&METAL).is_some(), "no lease, no right to run, frozen or not");
}

#[test]
fn a_fault_is_tried_again_and_then_given_up_on() {
    let mut place = Place::online();
    place.is(&METAL, fault());
    let order = place.obeys(&METAL, GroupState::Starting);
    assert_eq!((order.wanted, order.circumstances.reason), (Wanted::Online, Cause::Recovery));
    assert_eq!(place.state(), cluster::GroupState::Coming);
    place.is(&METAL, fault());
    assert_eq!(place.order(&METAL), None, "with growing patience");
    assert_eq!(place.status().condition, Condition::Recovering);
    assert_eq!(place.status().recoveries.restart, 1);
    place.pass(Duration::from_secs(10));
    place.obeys(&METAL, GroupState::Starting);
    place.is(&METAL, fault());
    let cluster::GroupState::GivenUp { reason } = place.state() else {
        panic!("it was tried twice: {:?}", place.state());
    };
    assert_eq!(reason, "db: it ended 3 times (exit status 1)");
    // Neither a new connection nor a restart of roostd begins it afresh; an operator does.
    place.connects(METAL);
    assert_eq!(place.order(&METAL), None);
    let (saved, services) = (place.saved.clone(), place.services.clone());
    let mut place = Place::with("db1", saved, place.right);
    place.services = services;
    place.connects(METAL);
    assert_eq!(place.order(&METAL), None);
    assert!(matches!(place.state(), cluster::GroupState::GivenUp { .. }));
    place.change(|right| right.ordered = 9);
    place.obeys(&METAL, GroupState::Online);
    assert_eq!(place.state(), cluster::GroupState::Well);
    assert_eq!(place.status().recoveries.restart, 0);
}

#[test]
fn one_that_does_not_stop_on_metal_stays_and_that_is_told() {
    let mut place = Place::online();
    place.change(|right| {
        (right.hold, right.recalled) = (Hold::Recalled, Some(RecallReason::Moved));
    });
    let order = place.obeys(&METAL, GroupState::Stopping);
    assert_eq!(order.circumstances.reason, Cause::Switchover);
    place.pass(Duration::from_secs(59));
    assert!(!place.told("does not stop"));
    place.pass(Duration::from_secs(1));
    assert!(place.told("`roost fence db1 --confirm`"));
    assert_eq!(place.state(), cluster::GroupState::Unwell);
    assert_eq!(place.status().reason, "it does not stop: it is stopping");
    place.pass(Duration::from_secs(300));
    let told = place.events.iter().filter(|event| event.text.contains("does not stop")).count();
    assert_eq!(told, 1);
    // A stop that failed is tried again.
    place.is(&METAL, fault());
    assert_eq!(place.order(&METAL).map(|order| order.wanted), Some(Wanted::Offline));
}

#[test]
fn one_that_does_not_stop_in_a_vm_ends_the_life_of_that() {
    let guest = Controller::Guest("standby".to_owned());
    let mut place = Place::hypervisor();
    place.owned(3, "vm:standby");
    place.obeys(&guest, GroupState::Online);
    assert_eq!(place.state(), cluster::GroupState::Well);
    assert!(
        !place
            .keeper
            .report(place.now, "standby")
            .is_some_and(|told| told.state != cluster::GroupState::Well)
    );
    place.change(|right| right.intent = Intent::Offline);
    place.obeys(&guest, GroupState::Stopping);
    place.pass(Duration::from_secs(60));
    assert!(place.orders.iter().any(|order| order.action == VmAction::Reset), "{:?}", place.events);
    assert_eq!(place.dropped, std::slice::from_ref(&guest));
    assert_eq!(place.state(), cluster::GroupState::Unknown);
    let ticket = place.orders.last().expect("ordered").ticket;
    place.handle(Input::Libvirt(LibvirtInput::Done { ticket, result: Ok(()) }));
    (place.boot, place.life) = (2, 2);
    place.services.insert(guest.clone(), Service::rests());
    place.connects(guest);
    assert_eq!(place.state(), cluster::GroupState::Down);
}

#[test]
fn inside_a_vm_its_fault_is_not_the_vms_and_a_reboot_brings_it_back() {
    let guest = Controller::Guest("standby".to_owned());
    let mut place = Place::hypervisor();
    assert_eq!(place.state(), cluster::GroupState::Down);
    place.owned(3, "vm:standby");
    let order = place.obeys(&guest, GroupState::Online);
    assert_eq!(order.circumstances.target, "vm:standby");
    assert!(!place.keeper.was_here("orders"), "the VM gives account of it");
    place.is(&guest, fault());
    assert_eq!(place.orders, []);
    assert_eq!(
        place.keeper.report(place.now, "standby").map(|told| told.state),
        Some(cluster::GroupState::Well)
    );
    place.obeys(&guest, GroupState::Online);
    // The guest reboots by itself.
    (place.boot, place.life) = (2, 2);
    place.see(Run::Running, Some(Happened::Rebooted));
    place.services.insert(guest.clone(), Service::rests());
    place.connects(guest.clone());
    assert_eq!(place.state(), cluster::GroupState::Coming);
    let order = place.obeys(&guest, GroupState::Online);
    assert_eq!((order.wanted, order.epoch, order.number), (Wanted::Online, 3, 1));
    // The VM stands still for want of a lease, and nobody there is told anything.
    place.vm.hold = Hold::Suspended;
    place.change(|right| right.hold = Hold::Suspended);
    assert_eq!(place.said, []);
    place.vm.hold = Hold::Owned;
    place.change(|right| right.hold = Hold::Owned);
    assert_eq!(place.said, [], "it goes on");
    assert_eq!(place.state(), cluster::GroupState::Well);
    // With its VM off nothing of it runs.
    place.see(Run::Off(Off::Failed), Some(Happened::Stopped(Off::Failed)));
    assert_eq!(place.state(), cluster::GroupState::Coming);
    place.change(|right| right.hold = Hold::Recalled);
    assert_eq!(place.state(), cluster::GroupState::Down);
}

#[test]
fn what_comes_with_its_vm_goes_on() {
    let guest = Controller::Guest("standby".to_owned());
    let mut place = Place::with("hv1", Saved::default(), elsewhere(3));
    place.handle(Input::Libvirt(LibvirtInput::Connected));
    place.vm = elsewhere(1);
    place.right.target = Some(HostId::of_vm("standby"));
    place.decided();
    place.see(Run::Paused(super::super::vm::Paused::Busy), None);
    let online =
        Service { state: GroupState::Online, wanted: Wanted::Online, epoch: 3, obeys: None, frozen: false };
    place.services.insert(guest.clone(), online);
    place.see(Run::Running, None);
    place.connects(guest.clone());
    assert_eq!(place.said, [], "neither is this host's yet");
    // The move ends: both are this host's at once.
    place.vm = Right { hold: Hold::Owned, epoch: 2, changed: 2, ..Right::UNKNOWN };
    place.owned(4, "vm:standby");
    let order = place.obeys(&guest, GroupState::Online);
    assert_eq!((order.wanted, order.epoch), (Wanted::Online, 4));
    assert_eq!(place.state(), cluster::GroupState::Well);
    assert!(place.said.is_empty());
}

#[test]
fn a_new_target_is_asked_whether_it_is_ready() {
    let mut place = Place::metal();
    let preparing =
        super::super::super::ledger::Preparing { to: HostId::of("db1"), why: RecallReason::Home, begun: 7 };
    place.change(|right| {
        (right.epoch, right.target, right.preparing) = (4, Some(HostId::of_vm("standby")), Some(preparing));
    });
    assert_eq!(place.state(), cluster::GroupState::Down);
    let Some((METAL, HostMessage::AskReady { group, number, circumstances })) = place.said.pop() else {
        panic!("{:?}", place.said);
    };
    assert_eq!((circumstances.target.as_str(), circumstances.previous.as_str()), ("db1", "vm:standby"));
    assert_eq!(circumstances.reason, Cause::Failback);
    let ready = |number, readiness| GuestMessage::Ready { group: group.clone(), number, readiness };
    place.says(&METAL, ready(number + 1, Readiness::Ready));
    assert_eq!(place.state(), cluster::GroupState::Down, "an answer to nothing");
    place.says(&METAL, ready(number, Readiness::NotReady { reason: "it lags".to_owned() }));
    assert_eq!(place.state(), cluster::GroupState::NotReady { reason: "it lags".to_owned() });
    place.says(&METAL, ready(number, Readiness::Ready));
    assert_eq!(place.state(), cluster::GroupState::Ready);
    // It comes home.
    place.change(|right| (right.preparing, right.last) = (None, Some(HostId::of_vm("standby"))));
    place.owned(5, "db1");
    let order = place.obeys(&METAL, GroupState::Online);
    assert_eq!(order.circumstances.reason, Cause::Failback);
    assert_eq!(order.circumstances.previous, "vm:standby");
}

#[test]
fn a_controller_that_does_not_know_of_it_is_told_from_one_that_is_silent() {
    let mut place = Place::with("db1", Saved::default(), elsewhere(0));
    place.link(&METAL, GuestInput::Connected { boot_id: [1; 16], software: "old".to_owned(), version: 1 });
    place.says(&METAL, GuestMessage::Snapshot { groups: 1 });
    let report = GroupReport {
        name: "postgres".to_owned(),
        state: GroupState::Offline,
        frozen: false,
        resources: vec![],
    };
    place.says(&METAL, GuestMessage::Group(report));
    assert_eq!(place.state(), cluster::GroupState::Undefined);
    place.owned(1, "db1");
    assert_eq!(place.said, [], "an old controller is ordered nothing");
    assert_eq!(place.state(), cluster::GroupState::Undefined);
    // One that hangs tells nothing.
    let mut place = Place::online();
    place.now = place.now + Duration::from_secs(11);
    place.keeper.handle_timeout(place.now);
    place.drain();
    assert_eq!(place.state(), cluster::GroupState::Unknown);
    assert!(place.told("says nothing for 10 s"));
    place.says(&METAL, GuestMessage::Beat);
    assert_eq!(place.state(), cluster::GroupState::Well);
}

#[test]
fn a_controller_that_breaks_the_protocol_is_cut_off() {
    let long = "x".repeat(roost_proto::link::MAX_REASON + 1);
    let bad = [
        GuestMessage::Ready { group: "a b".to_owned(), number: 1, readiness: Readiness::Ready },
        GuestMessage::Ready {
            group: "postgres".to_owned(),
            number: 1,
            readiness: Readiness::NotReady { reason: long },
        },
    ];
    for message in bad {
        let mut place = Place::metal();
        place.says(&METAL, message);
        assert_eq!(place.dropped, [METAL]);
    }
    let mut place = Place::metal();
    place.connects_as(METAL, 1);
    assert_eq!(place.dropped, [METAL], "a message of a version that was not agreed upon");
}

#[test]
fn what_the_file_does_not_name_any_more_never_runs_without_right() {
    let mut place = Place::online();
    let without = APPS.split("[[group]]\nname = \"orders\"").next().expect("the beginning");
    let config = config::parse(without).expect("a good configuration");
    place.keeper.reload(&config, place.now);
    place.drain();
    assert!(place.told("is left as it is"));
    assert_eq!(place.said, []);
    assert!(place.keeper.may_run() && !place.keeper.forgot("orders"));
    // So it is after a restart.
    let (saved, services) = (place.saved.clone(), place.services.clone());
    let now = place.now;
    let keeper = Keeper::new(&config, "db1", saved, BOOT, 7, PathBuf::from("/screens"), now);
    let mut place = Place { keeper, services, ..place };
    place.connects(METAL);
    place.decided();
    assert!(place.keeper.may_run());
    assert_eq!(place.said, []);
    place.change(|right| right.hold = Hold::Suspended);
    place.obeys(&METAL, GroupState::Offline);
    assert!(!place.keeper.may_run());
    place.change(|right| *right = elsewhere(2));
    place.keeper.handle_timeout(place.now);
    assert!(!place.keeper.keeps("orders"));
}
