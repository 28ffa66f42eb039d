//! What is ordered of applications must be right, and what becomes of them: judged by the world, and by the ledger of the host
//! that orders it.

use super::World;
use super::apps::Place;
use super::controller::{Phase, Seat};
use super::host::Domain;
use core::time::Duration;
use roost::config::{App, Target};
use roost::engine::keeper::Controller;
use roost::engine::ledger::{Ledger, Preparing, Standing};
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::HostMode;
use roost_proto::control::Intent;
use roost_proto::link::{HostMessage, Wanted};
use std::collections::BTreeMap;

/// What a lease that ran out stops is started again within so long.
const FORGIVEN: Duration = Duration::from_secs(120);
/// An order to go offline follows a lease's end within so long.
const OBEYS: Duration = Duration::from_secs(5);

/// Where an application was, as the newest ledger had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Was {
    owner: HostId,
    epoch: u64,
    inside: Option<String>,
    /// Where that truly was.
    seat: Option<Seat>,
}

impl World {
    /// A host orders a controller about, its own, that of a guest, or that of a machine which it watches: `machine` is that, or
    /// the host itself. It must have the right to.
    pub(super) fn check_say(&mut self, host: usize, machine: usize, to: &Controller, message: &HostMessage) {
        let HostMessage::Order(order) = message else { return };
        let (it, of) = (&self.hosts[host], &self.hosts[machine]);
        let Some(daemon) = &it.daemon else { return };
        let target = match to {
            Controller::Machine => Target::Host(of.name.clone()),
            Controller::Guest(group) => Target::Vm(group.clone()),
        };
        let mine = |(_, app): &(&str, &App)| app.name == order.group && app.targets.contains(&target);
        let Some(group) = self.applications().find(mine).map(|(group, _)| group.to_owned()) else {
            let text = format!(
                "{} orders '{}' about on {target}, where no application is called so",
                it.name, order.group
            );
            self.violated(text);
            return;
        };
        let ledger = daemon.engine.ledger();
        let record = ledger.group(&group);
        let now = it.clock.show(self.now);
        let leased = daemon.engine.lease_until().is_some_and(|until| now < until) || self.may_run_on(host);
        let leased = leased && (!of.is_watched || matches!(ledger.standing(of.id), Standing::In(_)));
        let hands_off = self.check.hands_off[host] && self.is_hands_off(host);
        let online = order.wanted == Wanted::Online;
        // Elsewhere, and without a lease, also what is frozen may not run.
        let at_home = leased
            && record.owner == Some(of.id)
            && ledger.target(&group) == Some(target.id())
            && record.recalled.is_none();
        let what = if hands_off {
            "hands off: the cluster is disarmed"
        } else if record.frozen && (online || at_home) {
            "no surprise: it is frozen"
        } else if !online && order.epoch <= record.epoch {
            return;
        } else if order.epoch > record.epoch {
            "no start without right: nobody has decided such an epoch"
        } else if record.owner != Some(of.id) || order.epoch != record.epoch {
            "no start without right: it is not this host's in that epoch"
        } else if ledger.target(&group) != Some(target.id()) {
            "no start without right: it is on another target"
        } else if !leased {
            "no start without right: the lease is over"
        } else if record.intent == Intent::Offline {
            "no surprise: it is wanted offline"
        } else if record.recalled.is_some() {
            "no surprise: it is to be given back"
        } else {
            return;
        };
        let wanted = if online { "online" } else { "offline" };
        let text = format!("{what} ({} orders {group} {wanted} on {target}, epoch {})", it.name, order.epoch);
        self.violated(text);
    }

    /// No application may execute in two places.
    pub(super) fn check_applications(&mut self) {
        if self.check.off || self.seats.is_empty() {
            return;
        }
        let mut seen: BTreeMap<&str, &Seat> = BTreeMap::new();
        let mut two = None;
        for (seat, it) in self.seats.iter().filter(|(_, it)| !it.lies) {
            for managed in it.groups.values().filter(|managed| managed.executes()) {
                if self.is_moving(seat)
                    && let Some(other) = seen.insert(&managed.app, seat)
                {
                    let (one, other) = (self.target_of(other), self.target_of(seat));
                    two = Some(format!("one runner: {} runs on {one} and on {other}", managed.app));
                }
            }
        }
        if let Some(two) = two {
            self.violated(two);
        }
    }

    /// Something of an application begins or ends to run.
    pub(super) fn check_application(&mut self, seat: &Seat, managed: &str, runs: bool) {
        self.check_applications();
        let Some(group) = self.application(seat, managed) else { return };
        let calm = self.check.apps_calm && self.check.calm_from.is_some_and(|from| self.now > from);
        let unleased = self.host_of(seat).and_then(|host| self.check.leaseless[host]);
        let excused = unleased.is_some_and(|at| self.now.since(at) < FORGIVEN);
        if calm && !excused && !self.check.forgiven.contains(&group) {
            let what = if runs { "started" } else { "stopped" };
            self.violated(format!("no needless restart: {group} was {what}, and nothing had failed"));
        }
    }

    /// An application is recalled for another target only after that has said that it is ready.
    pub(super) fn check_recalled(&mut self, host: usize) {
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let ledger = daemon.engine.ledger();
        let mut now = BTreeMap::new();
        let mut early = None;
        for (group, app) in self.applications() {
            let before = self.check.preparing.get(group).copied();
            if let Some(new) = ledger.preparing(group) {
                let since = before.filter(|(old, _)| *old == new).map_or(self.now, |(_, since)| since);
                now.insert(group.to_owned(), (new, since));
            } else if let Some((Preparing { to, .. }, since)) = before
                && let Some(target) = app.targets.iter().find(|target| target.id() == to)
                && ledger.group(group).recalled.is_some_and(|recall| recall.to == Some(to))
            {
                let by = match target {
                    Target::Host(_) => Some(to),
                    Target::Vm(vm) => ledger.group(vm).owner,
                };
                // A host that has it already speaks of where it is.
                let same = by == ledger.group(group).owner;
                let said = self.check.readied.get(&(group.to_owned(), to)).is_some_and(|at| *at >= since);
                if !same && !said {
                    early = Some(format!(
                        "ready: {group} is recalled for {target}, which has not said that it is ready"
                    ));
                }
            }
        }
        self.check.preparing = now;
        if let Some(early) = early {
            self.violated(early);
        }
    }

    /// A target says that it is ready for an application.
    pub(super) fn said_ready(&mut self, seat: &Seat, managed: &str) {
        if let Some(group) = self.application(seat, managed) {
            let target = self.target_of(seat).id();
            self.check.readied.insert((group, target), self.now);
        }
    }

    /// What runs on a machine that is watched, and is not its own, is ordered offline soon after the leader hears of it.
    pub(super) fn check_strays(&mut self, host: usize) {
        let Some(daemon) = self.hosts[host].daemon.as_ref().filter(|_| self.has_calls()) else { return };
        let ledger = daemon.engine.ledger();
        let same = self.hosts.iter().all(|host| host.file.number == self.config.number);
        let exempt = !same || self.hosts[host].stopped || self.is_hands_off(host);
        let watched = |nth: &usize| self.watcher_of(*nth) == Some(host);
        let mut now = Vec::new();
        for machine in (0..self.hosts.len()).filter(watched) {
            let of = &self.hosts[machine];
            let seat = Seat::Machine { host: machine, boot: of.boot };
            let is_in = matches!(ledger.standing(of.id), Standing::In(_));
            let own = |group: &String| is_in && ledger.target(group) == Some(of.id);
            let strays = |group: &String| !own(group) && !ledger.group(group).frozen;
            let stray = self.seats.get(&seat).filter(|it| !it.lies && self.is_up(&seat)).and_then(|it| {
                let online = it.groups.values().filter(|managed| managed.wanted == Wanted::Online);
                online.map(|managed| managed.app.clone()).find(strays)
            });
            now.push((machine, stray.filter(|_| !exempt)));
        }
        for (machine, stray) in now {
            let Some(group) = stray else {
                self.check.unordered[machine] = None;
                continue;
            };
            let since = *self.check.unordered[machine].get_or_insert(self.now);
            if self.now.since(since) > OBEYS {
                let (name, by) = (&self.hosts[machine].name, &self.hosts[host].name);
                let text = format!(
                    "strays: {group} runs on {name} without right, and {by} does not order it offline"
                );
                self.violated(text);
            }
        }
    }

    /// An application that was given back, or whose host is known to run nothing, does not run there.
    pub(super) fn check_released(&mut self, host: usize) {
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let ledger = daemon.engine.ledger();
        let mut now = BTreeMap::new();
        let mut left = None;
        for (group, _) in self.applications() {
            let record = ledger.group(group);
            let before = self.check.was.get(group);
            let is = record.owner.map(|owner| self.was(ledger, group, owner, record.epoch));
            let over = |was: &&Was| match &is {
                None => true,
                // A VM that goes elsewhere takes along what is inside.
                Some(is) => is.epoch != was.epoch && (is.inside.is_none() || is.inside != was.inside),
            };
            if let Some(Was { seat: Some(seat), .. }) = before.filter(over)
                && self.seats.get(seat).is_some_and(|it| !it.lies)
                && self.host_of(seat).is_some()
                && self.runs_at(seat, group)
            {
                left = Some(format!("release: {group} was given back, and runs on {}", self.target_of(seat)));
            }
            now.extend(is.map(|is| (group.to_owned(), is)));
        }
        self.check.was = now;
        if let Some(left) = left {
            self.violated(left);
        }
    }

    fn was(&self, ledger: &Ledger, group: &str, owner: HostId, epoch: u64) -> Was {
        let inside = ledger.inside(group).map(str::to_owned);
        let place = match &inside {
            Some(vm) => self.check.vm_of(vm).map(Place::Vm),
            None => self.ids.get(&owner).copied().map(Place::Machine),
        };
        // What is known of it when it is decided: a boot that comes later is none of this.
        let seat = match self.check.was.get(group).filter(|was| was.epoch == epoch && was.seat.is_some()) {
            Some(was) => was.seat.clone(),
            None => place.and_then(|place| self.seat_of(&place)),
        };
        Was { owner, epoch, inside, seat }
    }

    /// Whether something of an application runs there, or will when its machine goes on. In a VM that is paused it does not: that
    /// is destroyed, or belongs to nobody any more.
    fn runs_at(&self, seat: &Seat, group: &str) -> bool {
        let phase = self.phase_at(seat, group);
        let paused = match seat {
            Seat::Machine { .. } => false,
            Seat::Guest { vm, .. } => !self
                .host_of(seat)
                .and_then(|host| self.hosts[host].domains.get(vm))
                .is_some_and(Domain::lives),
        };
        !paused && !matches!(phase, None | Some(Phase::Offline | Phase::Faulted { runs: false, .. }))
    }

    /// An application that runs on a machine itself and is its own, by its own ledger.
    pub(super) fn metal_of_its_own(&self, host: usize) -> Option<String> {
        let it = &self.hosts[host];
        let ledger = it.daemon.as_ref()?.engine.ledger();
        let own = |group: &String| ledger.target(group) == Some(it.id);
        self.on_metal(host).into_iter().find(own)
    }

    /// An application on the machine itself is ordered offline soon after the lease ended. Returns one that is not, if the
    /// daemon could have spoken.
    pub(super) fn check_ordered_off(&mut self, host: usize) {
        let it = &self.hosts[host];
        let Some(daemon) = &it.daemon else { return };
        let now = it.clock.show(self.now);
        if daemon.engine.lease_until().is_some_and(|until| now < until) {
            self.check.unordered[host] = None;
            return;
        }
        self.check.leaseless[host] = Some(self.now);
        let exempt = it.frozen || it.stopped || self.may_run_on(host) || self.is_hands_off(host);
        let seat = Seat::Machine { host, boot: it.boot };
        let ledger = daemon.engine.ledger();
        let wanted = self.seats.get(&seat).filter(|it| !it.lies && it.link.is_some()).and_then(|it| {
            let online = it.groups.values().filter(|managed| managed.wanted == Wanted::Online);
            let mut groups = online.map(|managed| managed.app.clone());
            groups.find(|group| {
                ledger.target(group) == Some(self.hosts[host].id) && !ledger.group(group).frozen
            })
        });
        let Some(group) = wanted.filter(|_| !exempt) else {
            self.check.unordered[host] = None;
            return;
        };
        let since = *self.check.unordered[host].get_or_insert(self.now);
        if self.now.since(since) > OBEYS {
            let name = &self.hosts[host].name;
            let text =
                format!("lease: {group} is not ordered offline on {name}, which has had no lease for 5 s");
            self.violated(text);
        }
    }

    /// Whether an application has a target that could run it.
    fn has_a_target(&self, app: &App, group: &str, ledger: &Ledger) -> bool {
        app.targets.iter().any(|target| {
            let failed = ledger.group(group).failed_on.contains(&target.id());
            let able = match target {
                Target::Host(name) => self.hosts.iter().any(|host| {
                    let active = ledger.host(host.id).is_some_and(|record| record.mode == HostMode::Active);
                    host.name == *name && !host.broken && (active || ledger.target(group) == Some(host.id))
                }),
                Target::Vm(vm) => {
                    let record = ledger.group(vm);
                    let on = record.given_up.is_none() && record.intent == Intent::Online;
                    on && (!record.frozen || record.owner.is_some()) && self.has_a_host(vm, ledger)
                }
            };
            able && !failed
        })
    }

    /// After the faults: whether an application is online where it belongs and nowhere else, or is given up on, or waits because
    /// nothing could run it.
    pub(super) fn application_recovered(
        &self,
        group: &str,
        app: &App,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let record = ledger.group(group);
        let at = self.executing(group);
        let on: Vec<String> = at.iter().map(|seat| self.target_of(seat).to_string()).collect();
        let on = if on.is_empty() { "nowhere".to_owned() } else { on.join(" and on ") };
        if record.frozen {
            return Ok(());
        }
        let belongs = ledger.target(group);
        let target = app.targets.iter().find(|target| Some(target.id()) == belongs);
        let whose = target.map_or("nobody".to_owned(), ToString::to_string);
        match record.intent {
            Intent::Offline if at.is_empty() => Ok(()),
            Intent::Offline => Err(format!("{group} is wanted offline, and runs on {on}")),
            Intent::Online if record.given_up.is_some() => Ok(()),
            // What an operator froze is not started for what belongs into it.
            Intent::Online
                if at.is_empty() && matches!(target, Some(Target::Vm(vm)) if ledger.group(vm).frozen) =>
            {
                Ok(())
            }
            Intent::Online
                if record.owner.is_none() && at.is_empty() && !self.has_a_target(app, group, ledger) =>
            {
                Ok(())
            }
            Intent::Online => {
                let there = |seat: &Seat| Some(self.target_of(seat).id()) == belongs;
                let well = |seat: &Seat| self.phase_at(seat, group) == Some(Phase::Online);
                match at.as_slice() {
                    [seat] if there(seat) && well(seat) => Ok(()),
                    [seat] if there(seat) => Err(format!(
                        "{group} is wanted online, and is {:?} on {on}",
                        self.phase_at(seat, group)
                    )),
                    _ => Err(format!("{group} is wanted online, belongs to {whose}, and runs on {on}")),
                }
            }
        }
    }

    /// Whether some application may need a VM: it is not online somewhere else, at rest.
    pub fn is_needed(&self, vm_group: &str, ledger: &Ledger) -> bool {
        let target = Target::Vm(vm_group.to_owned());
        self.applications().filter(|(_, app)| app.targets.contains(&target)).any(|(group, app)| {
            let record = ledger.group(group);
            let rests = record.owner.is_some()
                && record.recalled.is_none()
                && ledger.preparing(group).is_none()
                && ledger.target(group) != Some(target.id());
            let wanted = record.intent == Intent::Online && record.given_up.is_none() && !record.frozen;
            !(rests || !wanted && record.owner.is_none())
                || self.application_recovered(group, app, ledger).is_err()
        })
    }
}
