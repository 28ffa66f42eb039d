//! Showing: a group in an operator's words.

use super::super::vm::{Paused, Run};
use super::{
    Condition, EventKind, Group, Hold, Instant, Intent, Journey, Level, Outbox, Phase, Rise, Rung, Span,
    Voice, ladder,
};
use roost_proto::control::{ControllerStatus, GroupStatus};

impl Group {
    /// The group's state for `roost status`, at `now`, which is `now_ms` of Unix time.
    pub fn status(&self, now: Instant, now_ms: u64) -> GroupStatus {
        let (condition, reason) = self.condition(now);
        let ago = u64::try_from(now.since(self.shown.1).as_millis()).unwrap_or(u64::MAX);
        GroupStatus {
            name: self.config.name.clone(),
            vm: self.config.vm.clone(),
            owner: None,
            intent: self.right.intent,
            frozen: self.right.frozen,
            condition,
            reason,
            since_ms: now_ms.saturating_sub(ago),
            controller: self.controller(now),
            apps: self.remote.apps(|app| self.counts(app)),
            recoveries: ladder::count(&self.config.recovery, &self.saved, now),
            dangers: self.dangers.clone(),
            moving: None,
            target: None,
            home: None,
            targets: Vec::new(),
            preparing: None,
            standby: false,
        }
    }

    fn controller(&self, now: Instant) -> ControllerStatus {
        match (self.vm.run(), self.remote.voice()) {
            (Some(Run::Off(_) | Run::Undefined), _) => ControllerStatus::Off,
            _ if self.is_silent(now) => ControllerStatus::Silent,
            (_, Voice::Connected) => ControllerStatus::Connected,
            (_, Voice::Gone) => ControllerStatus::Silent,
            (_, Voice::Awaited) if self.saved.had_controller => ControllerStatus::Awaited,
            (_, Voice::Awaited) => ControllerStatus::Never,
        }
    }

    /// What the group is doing, and why.
    pub(super) fn condition(&self, now: Instant) -> (Condition, String) {
        let Some(run) = self.vm.run() else {
            return (Condition::Unknown, "libvirt does not answer; nothing is done until it does".to_owned());
        };
        let off = matches!(run, Run::Off(_) | Run::Undefined);
        match self.right.hold {
            Hold::Elsewhere if off => return (Condition::Elsewhere, String::new()),
            Hold::Elsewhere if self.saved.incoming.is_some() && matches!(run, Run::Paused(_)) => {
                return (Condition::Elsewhere, "its memory comes here".to_owned());
            }
            Hold::Elsewhere => {
                return (
                    Condition::Degraded,
                    "its VM runs here, and the group is not this host's".to_owned(),
                );
            }
            Hold::Unknown => {
                return (Condition::Unknown, "it is not known yet whose it is; nothing is done".to_owned());
            }
            Hold::Suspended => {
                return (
                    Condition::Suspended,
                    "this host has no lease: no majority of voters answers".to_owned(),
                );
            }
            Hold::Lost if off => return (Condition::Elsewhere, String::new()),
            Hold::Lost => return (Condition::Stopping, "this host was evicted: it is destroyed".to_owned()),
            Hold::Recalled if !off => return (Condition::Stopping, "it is to go elsewhere".to_owned()),
            Hold::Owned if matches!(self.right.journey, Journey::Taken { .. }) => {
                return (Condition::Starting, "its memory has come, and is being taken over".to_owned());
            }
            Hold::Owned if off && matches!(self.right.journey, Journey::Goes { .. }) => {
                return (Condition::Starting, "its memory is on its way to another host".to_owned());
            }
            Hold::Disarmed if off => return left_alone("off, and the cluster is disarmed"),
            Hold::Disarmed => return self.seen(now, run),
            Hold::Recalled | Hold::Owned => {}
        }
        if self.place == super::Place::LeftOut {
            return left_alone("the configuration does not have it on this host any more");
        }
        if let Some((why, _)) = &self.wish {
            return left_alone(why);
        }
        match (self.right.intent, &self.phase) {
            (Intent::Offline, _) if off => (Condition::Offline, String::new()),
            (Intent::Offline, _) if self.right.frozen => left_alone("frozen while running"),
            (Intent::Offline, _) => (Condition::Stopping, "the guest is asked to shut down".to_owned()),
            (Intent::Online, _) if self.right.frozen && off => left_alone("off, and frozen"),
            (Intent::Online, Phase::Stopping { .. }) => {
                (Condition::Stopping, "it goes down first, and is started then".to_owned())
            }
            (Intent::Online, Phase::GivenUp) => (
                Condition::GivenUp,
                self.saved.given_up.clone().unwrap_or_else(|| "nothing is left to try".to_owned()),
            ),
            (Intent::Online, Phase::Waiting { rung, until, failure, .. }) => {
                let wait = Span(core::time::Duration::from_secs(until.since(now).as_secs()));
                (Condition::Recovering, format!("{}; will {} in {wait}", failure.text, self.words(*rung)))
            }
            (Intent::Online, Phase::Rebooting { .. }) => {
                (Condition::Recovering, "the guest reboots".to_owned())
            }
            (Intent::Online, Phase::Starting { .. }) => {
                (Condition::Starting, "the VM is being started".to_owned())
            }
            (Intent::Online, Phase::Settling { rise })
                if run == Run::Running && !self.lacks_controller(now) =>
            {
                match (self.is_well(now, run), rise) {
                    (true, _) => self.inside(now),
                    (false, Rise::First) => (Condition::Starting, self.inside(now).1),
                    (false, Rise::Again) => (Condition::Recovering, self.inside(now).1),
                }
            }
            (Intent::Online, Phase::Idle | Phase::Settling { .. }) => self.seen(now, run),
        }
    }

    fn seen(&self, now: Instant, run: Run) -> (Condition, String) {
        match run {
            Run::Undefined if self.config.xml.is_some() && !self.undefinable => {
                (Condition::Starting, "about to be defined".to_owned())
            }
            Run::Undefined => {
                let vm = &self.config.vm;
                let text = match &self.config.xml {
                    Some(xml) => {
                        format!("libvirt could not define '{vm}' from '{}'; see the events", xml.display())
                    }
                    None => format!("libvirt knows no domain '{vm}'; define it, or name its file with 'xml'"),
                };
                (Condition::GivenUp, text)
            }
            Run::Off(_) => (Condition::Starting, "about to be started".to_owned()),
            Run::ShuttingDown => (Condition::Degraded, "the VM is on its way down".to_owned()),
            Run::Paused(Paused::IoError) => {
                let text = "a disk failed and paused the VM: mend the disk, then `virsh resume`".to_owned();
                (Condition::Degraded, text)
            }
            Run::Paused(Paused::User | Paused::Unknown) => {
                left_alone("somebody paused the VM; `virsh resume` ends it")
            }
            Run::Paused(_) => left_alone("libvirt paused the VM for its own work"),
            Run::Asleep => left_alone("the guest put itself to sleep"),
            Run::Crashed => (Condition::Recovering, "the guest's kernel crashed".to_owned()),
            Run::Running => self.inside(now),
        }
    }

    /// A running VM, by what its controller says.
    fn inside(&self, now: Instant) -> (Condition, String) {
        if self.is_silent(now) {
            return (
                Condition::Degraded,
                "the guest's controller is silent; the VM makes progress".to_owned(),
            );
        }
        match self.remote.voice() {
            Voice::Awaited if self.lacks_controller(now) => {
                (Condition::Degraded, "the guest has no controller; what is inside is not watched".to_owned())
            }
            Voice::Awaited if self.expects_controller() => {
                (Condition::Starting, "waiting for the guest's controller".to_owned())
            }
            Voice::Awaited => (Condition::Online, String::new()),
            Voice::Gone => (Condition::Online, "waiting for the guest's controller to come back".to_owned()),
            Voice::Connected if !self.remote.is_told() => {
                (Condition::Starting, "waiting for the guest's groups".to_owned())
            }
            Voice::Connected => match (self.missing_app(), self.remote.unwell(|app| self.counts(app))) {
                (Some(app), _) => (Condition::Degraded, format!("the guest has no group '{app}'")),
                (None, Some((app, words))) => (Condition::Degraded, format!("{app} is {words}")),
                (None, None) => (Condition::Online, String::new()),
            },
        }
    }

    /// What taking a rung is called.
    pub(super) const fn words(&self, rung: Rung) -> &'static str {
        rung.words()
    }

    /// Notes what endangers the group, and tells of what is new.
    pub(super) fn look_for_dangers(&mut self, now: Instant, out: &mut Outbox) {
        let mut dangers = Vec::new();
        if self.vm.autostart() {
            let vm = &self.config.vm;
            dangers.push(format!(
                "libvirt starts '{vm}' by itself when the host boots, whatever is wanted: `virsh autostart --disable {vm}`"
            ));
        }
        if self.lacks_controller(now) {
            dangers.push(
                "'apps' are named, but its guest never had a controller: install roost-guest in it"
                    .to_owned(),
            );
        }
        for danger in dangers.iter().filter(|danger| !self.dangers.contains(danger)) {
            self.event(out, Level::Warning, EventKind::Danger, danger.clone());
        }
        self.dangers = dangers;
    }
}

fn left_alone(why: &str) -> (Condition, String) {
    (Condition::LeftAlone, why.to_owned())
}
