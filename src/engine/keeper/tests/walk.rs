//! A walk at random: libvirt, guest and operators do anything, and what must always hold is checked at each step.

use super::*;
use crate::engine::keeper::vm::Paused;
use roost_proto::retry::Jitter;

/// A libvirt and a guest behind the engine, in which anything may happen.
struct Chaos {
    world: World,
    random: Jitter,
    run: Run,
    connected: bool,
    intent: Intent,
    frozen: bool,
    recoveries: u32,
    boot: u8,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut world = World::new("xml = \"/x.xml\"\nstop_timeout = \"30s\"\nsilence_patience = \"20s\"");
        world.see(Run::Off(Off::Unknown));
        Self {
            world,
            random: Jitter::new(seed),
            run: Run::Off(Off::Unknown),
            connected: true,
            intent: Intent::Online,
            frozen: false,
            recoveries: 0,
            boot: 0,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.random.draw() >> 16) % limit
    }

    fn show(&mut self, happened: Option<Happened>) {
        if self.connected {
            let view = self.world.view(self.run);
            self.world.see_view(view, happened);
        }
    }

    fn stop(&mut self, why: Off) {
        if !matches!(self.run, Run::Off(_) | Run::Undefined) {
            self.run = Run::Off(why);
            self.show(Some(Happened::Stopped(why)));
        }
    }

    fn start(&mut self) {
        if matches!(self.run, Run::Off(_)) {
            self.run = Run::Running;
            self.world.life += 1;
            self.boot = self.boot.wrapping_add(1);
            self.show(Some(Happened::Started));
        }
    }

    /// Something happens that nobody asked for.
    fn accident(&mut self) {
        match self.below(14) {
            0 => self.stop(Off::Failed),
            1 => self.stop(Off::Crashed),
            2 => self.stop(Off::Destroyed),
            3 if self.run == Run::Running => {
                self.run = Run::Paused(Paused::User);
                self.show(Some(Happened::Paused(Paused::User)));
            }
            4 if matches!(self.run, Run::Paused(_)) => {
                self.run = Run::Running;
                self.show(Some(Happened::Resumed));
            }
            5 if self.connected => {
                self.connected = false;
                self.world.handle(Input::Libvirt(LibvirtInput::Lost { reason: "accident".to_owned() }));
            }
            6 | 7 if !self.connected => {
                self.connected = true;
                self.world.handle(Input::Libvirt(LibvirtInput::Connected));
                self.show(None);
            }
            8 => self.world.fault(),
            9 => self.world.guest(GuestInput::Lost { reason: "accident".to_owned() }),
            10 if self.run == Run::Running => {
                self.world.guest_boots(self.boot);
                self.world.report("site", GroupState::Online);
            }
            11 => self.operate(),
            12 if self.run == Run::Running => {
                self.run = Run::Crashed;
                self.show(Some(Happened::Panicked));
            }
            _ => {
                let time = Duration::from_millis(self.below(20_000));
                self.world.now = self.world.now + time;
                self.show(None);
                self.world.engine.handle_timeout(self.world.now);
                self.world.drain();
            }
        }
    }

    fn operate(&mut self) {
        let order = match self.below(4) {
            0 => GroupOrder::Intent(Intent::Online),
            1 => GroupOrder::Intent(Intent::Offline),
            2 => GroupOrder::Freeze,
            _ => GroupOrder::Thaw,
        };
        match order {
            GroupOrder::Intent(intent) => self.intent = intent,
            GroupOrder::Freeze => self.frozen = true,
            GroupOrder::Thaw => self.frozen = false,
        }
        if order != GroupOrder::Intent(Intent::Offline) && order != GroupOrder::Freeze {
            self.recoveries = 0;
        }
        self.world.operator(order);
    }

    /// libvirt carries out an order, or does not.
    fn carry_out(&mut self, works: bool) {
        let Some(order) = self.world.orders.pop() else { return };
        let result = match (&order.action, works, self.connected) {
            (_, _, false) => Err(ActionError::NotConnected),
            (_, false, _) => Err(ActionError::Failed("accident".to_owned())),
            (VmAction::Start, ..) => {
                self.start();
                Ok(())
            }
            (VmAction::Destroy, ..) => {
                self.stop(Off::Destroyed);
                Ok(())
            }
            (VmAction::Shutdown, ..) => {
                if self.run == Run::Running && self.below(2) == 0 {
                    self.stop(Off::Shutdown);
                }
                Ok(())
            }
            (VmAction::Reset | VmAction::Reboot, ..) => {
                self.boot = self.boot.wrapping_add(1);
                Ok(())
            }
            (VmAction::Define { .. } | VmAction::Screenshot { .. }, ..) => Ok(()),
            (VmAction::Suspend | VmAction::Resume | VmAction::Kill, ..) => {
                panic!("{:?} while the lease holds", order.action)
            }
            (
                VmAction::Migrate { .. }
                | VmAction::Save { .. }
                | VmAction::Restore { .. }
                | VmAction::Abort
                | VmAction::Forget { .. },
                ..,
            ) => panic!("{:?} and nobody moves it", order.action),
        };
        self.world.handle(Input::Libvirt(LibvirtInput::Done { ticket: order.ticket, result }));
    }

    /// What must hold after each step.
    fn check(&mut self, known: usize) {
        assert!(self.world.orders.len() <= 1, "one order at a time: {:?}", self.world.orders);
        let Some(order) = self.world.orders.first().filter(|_| known == 0) else { return };
        let action = order.action.clone();
        assert!(self.connected, "an order while libvirt is away: {action:?}");
        assert!(!self.frozen, "an order while frozen: {action:?}");
        let starts =
            matches!(action, VmAction::Start | VmAction::Define { .. } | VmAction::Reboot | VmAction::Reset);
        assert!(!starts || self.intent == Intent::Online, "{action:?} while it shall be offline");
        assert!(
            !matches!(action, VmAction::Start) || matches!(self.run, Run::Off(_)),
            "a start of a VM that is {:?}",
            self.run
        );
        let paused = matches!(self.run, Run::Paused(_));
        assert!(!paused || self.intent == Intent::Offline, "{action:?} for a VM that somebody paused");
    }

    fn step(&mut self) {
        let known = self.world.orders.len();
        if known == 1 && self.below(3) > 0 {
            let works = self.below(4) > 0;
            self.carry_out(works);
        } else {
            self.accident();
        }
        self.check(known);
        let made = self.world.group().recoveries;
        assert!(
            made.reboot <= 1 && made.reset <= 1 && made.restart <= 2,
            "more than the ladder allows: {made:?}"
        );
    }

    /// All accidents end: the VM must end as it is wanted.
    fn heal(&mut self) {
        if !self.connected {
            self.connected = true;
            self.world.handle(Input::Libvirt(LibvirtInput::Connected));
        }
        if matches!(self.run, Run::Paused(_)) {
            self.run = Run::Running;
        }
        self.show(None);
        self.world.operator(GroupOrder::Thaw);
        for _ in 0..400 {
            self.carry_out(true);
            if self.run == Run::Running {
                self.world.guest_boots(self.boot);
                self.world.report("site", GroupState::Online);
            }
            self.world.now = self.world.now + Duration::from_secs(1);
            self.show(None);
            self.world.engine.handle_timeout(self.world.now);
            self.world.drain();
        }
    }
}

#[test]
fn whatever_happens_the_rules_hold_and_the_end_is_as_wanted() {
    for seed in 1..=2000 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..200 {
            chaos.step();
        }
        chaos.heal();
        let group = chaos.world.group();
        let wanted = match chaos.intent {
            Intent::Online => Condition::Online,
            Intent::Offline => Condition::Offline,
        };
        assert_eq!(group.condition, wanted, "seed {seed}: {} ({:?})", group.reason, chaos.run);
        assert_eq!(group.intent, chaos.intent, "seed {seed}: nobody changed the intent");
    }
}
