//! What a host does with its groups, against a libvirt and a guest that the test plays.

mod app;
mod guest;
mod ladder;
mod operator;
mod right;
mod travel;
mod vm;
mod walk;

use super::remote_agent::GuestInput;
use super::right::{Hold, Journey, Right};
use super::vm::{ActionError, DomainView, Happened, Job, LibvirtInput, Off, Order, Progress, Run, VmAction};
use super::{EventDraft, Hush, Input, Keeper, Output};
use crate::config;
use core::time::Duration;
use roost_proto::cluster::GroupOrder;
use roost_proto::control::{Condition, EventKind, GroupStatus, Intent};
use roost_proto::link::{
    Exit, Fault, GroupReport, GroupState, GuestMessage, LINK_VERSIONS, ResourceReport, ResourceState,
};
use roost_proto::state::Saved;
use roost_proto::time::Instant;
use std::path::PathBuf;

const CONFIG: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "hv1"
[[group]]
name = "web"
vm = "web1"
[group.recovery]
reboot = 1
reset = 1
restart = 2
window = "1h"
backoff = "10s"
backoff_max = "1m"
"#;

const BOOT: &str = "boot-1";

fn config(more: &str) -> config::Config {
    config::parse(&CONFIG.replace("vm = \"web1\"", &format!("vm = \"web1\"\n{more}")))
        .expect("a good configuration")
}

/// The engine and what it said, with the test as its world.
struct World {
    engine: Keeper,
    now: Instant,
    orders: Vec<Order>,
    events: Vec<EventDraft>,
    /// What the ledger says.
    right: Right,
    stored: Option<Saved>,
    /// The disk works.
    disk: Result<(), String>,
    life: u32,
    progress: u64,
    hush: Hush,
}

impl World {
    fn new(more: &str) -> Self {
        Self::with(more, Saved::default())
    }

    fn with(more: &str, saved: Saved) -> Self {
        let (hold, intent) = (Hold::Owned, Intent::Online);
        Self::of(more, saved, Right { hold, epoch: 1, changed: 1, intent, ..Right::UNKNOWN })
    }

    /// The world after a restart of the daemon.
    fn again(self, more: &str) -> Self {
        Self::of(more, self.stored.expect("stored"), self.right)
    }

    fn of(more: &str, saved: Saved, right: Right) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let engine = Keeper::new(&config(more), "hv1", saved, BOOT, 7, PathBuf::from("/screens"), now);
        let mut world = Self {
            engine,
            now,
            orders: Vec::new(),
            events: Vec::new(),
            right,
            stored: None,
            disk: Ok(()),
            life: 1,
            progress: 0,
            hush: Hush::Speak,
        };
        world.set_right();
        world.handle(Input::Libvirt(LibvirtInput::Connected));
        world
    }

    fn set_right(&mut self) {
        self.engine.set_right(self.now, "web", self.right);
        self.drain();
    }

    /// A world in which the VM runs, as the daemon finds it.
    fn running(more: &str) -> Self {
        let mut world = Self::new(more);
        world.see(Run::Running);
        assert_eq!(world.orders, []);
        world
    }

    /// A world in which the VM runs and its guest's group `site` is online.
    fn well(more: &str) -> Self {
        let mut world = Self::running(more);
        world.guest_boots(1);
        world.report("site", GroupState::Online);
        assert_eq!(world.group().condition, Condition::Online, "{}", world.group().reason);
        world
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Order(order) => self.orders.push(order),
                Output::Event(event) => self.events.push(event),
                Output::Wish { order, .. } => self.decide(order),
                Output::Store(saved) => {
                    if self.disk.is_ok() {
                        self.stored = Some(saved);
                    }
                    self.engine.handle(self.now, Input::Stored(self.disk.clone()));
                }
                Output::Hush { hush, .. } => self.hush = hush,
                Output::Drop(_) | Output::Say { .. } | Output::Cid { .. } => {}
            }
        }
    }

    /// Lets time pass; the VM makes progress and is polled each second.
    fn pass(&mut self, time: Duration) {
        self.pass_with(time, 1);
    }

    /// Lets time pass while the VM stands still.
    fn hang(&mut self, time: Duration) {
        self.pass_with(time, 0);
    }

    fn pass_with(&mut self, time: Duration, progress: u64) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + Duration::from_secs(1)).min(end);
            self.progress += progress;
            if let Some(run) = self.seen() {
                self.see(run);
            }
            self.engine.handle_timeout(self.now);
            self.drain();
        }
    }

    fn seen(&self) -> Option<Run> {
        self.engine.groups.get("web").and_then(super::group::Group::run)
    }

    fn view(&self, run: Run) -> DomainView {
        let alive = !matches!(run, Run::Off(_) | Run::Undefined);
        DomainView {
            run,
            life: alive.then_some(self.life),
            autostart: false,
            progress: Progress { cpu_ns: self.progress, disk_requests: 0 },
            job: Job::None,
            cid: None,
            need: None,
        }
    }

    fn see(&mut self, run: Run) {
        let view = self.view(run);
        self.see_view(view, None);
    }

    fn see_view(&mut self, view: DomainView, happened: Option<Happened>) {
        self.handle(Input::Libvirt(LibvirtInput::Domain { name: "web1".to_owned(), view, happened }));
    }

    /// The VM stops.
    fn stops(&mut self, why: Off) {
        let view = self.view(Run::Off(why));
        self.see_view(view, Some(Happened::Stopped(why)));
    }

    /// The VM starts a new life.
    fn starts(&mut self) {
        self.life += 1;
        let view = self.view(Run::Running);
        self.see_view(view, Some(Happened::Started));
    }

    /// The order under way, which must be this one, ends.
    fn done(&mut self, action: &VmAction, result: Result<(), ActionError>) {
        let order = self.orders.pop().expect("an order is under way");
        assert_eq!((&order.action, self.orders.len()), (action, 0), "one order at a time");
        self.handle(Input::Libvirt(LibvirtInput::Done { ticket: order.ticket, result }));
    }

    /// The start that is under way works.
    fn start_works(&mut self) {
        self.starts();
        self.done(&VmAction::Start, Ok(()));
    }

    fn guest(&mut self, input: GuestInput) {
        self.handle(Input::Guest { group: "web".to_owned(), input });
    }

    /// A controller of boot `boot` connects, and tells of its group `site`, which is starting.
    fn guest_boots(&mut self, boot: u8) {
        self.guest(GuestInput::Connected {
            boot_id: [boot; 16],
            software: "roost-guest test".to_owned(),
            version: LINK_VERSIONS.newest,
        });
        self.guest(GuestInput::Message(GuestMessage::Snapshot { groups: 1 }));
        self.report("site", GroupState::Starting);
    }

    fn report(&mut self, name: &str, state: GroupState) {
        let resource = ResourceReport {
            name: "httpd".to_owned(),
            state: if state == GroupState::Online { ResourceState::Running } else { ResourceState::Starting },
            restarts: 0,
            detail: String::new(),
        };
        let report = GroupReport { name: name.to_owned(), state, frozen: false, resources: vec![resource] };
        self.guest(GuestInput::Message(GuestMessage::Group(report)));
    }

    fn fault(&mut self) {
        self.report(
            "site",
            GroupState::Faulted(Fault {
                resource: "httpd".to_owned(),
                reason: "it ended 3 times".to_owned(),
                exit: Exit::Code(1),
                output: "no such file".to_owned(),
            }),
        );
    }

    fn beat(&mut self) {
        self.guest(GuestInput::Message(GuestMessage::Beat));
    }

    /// An operator orders something, and the ledger takes it.
    fn operator(&mut self, order: GroupOrder) {
        self.decide(order);
        self.drain();
    }

    fn decide(&mut self, order: GroupOrder) {
        match order {
            GroupOrder::Intent(intent) => self.right.intent = intent,
            GroupOrder::Freeze => self.right.frozen = true,
            GroupOrder::Thaw => self.right.frozen = false,
        }
        self.right.changed += 1;
        self.right.ordered = self.right.changed;
        self.engine.set_right(self.now, "web", self.right);
    }

    fn group(&self) -> GroupStatus {
        let status = self.engine.status(self.now, 5_000_000);
        status.groups.into_iter().next().expect("one group is configured")
    }

    /// How many events of a kind there were.
    fn count(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|event| event.kind == kind).count()
    }

    fn actions(&self) -> Vec<&VmAction> {
        self.orders.iter().map(|order| &order.action).collect()
    }
}
