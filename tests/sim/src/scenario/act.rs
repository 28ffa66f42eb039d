//! What a script says is done to the world.

use super::action::{Action, Application, Controlled, Link, Machine, Order, Vm, Ways, Whither, Whose};
use super::names::Who;
use super::play::Play;
use super::watch::leader;
use crate::world::apps::Place;
use crate::world::controller::Nature;
use crate::world::event::{Deed, Event};
use crate::world::host::{Domain, Guest};
use core::time::Duration;
use roost::engine::keeper::RequestId;
use roost::engine::keeper::vm::{Happened, Off, Paused, Run};
use roost::engine::{Command, Destination, Input};
use roost_proto::cluster::GroupOrder;
use roost_proto::cluster::decision::HostMode;
use roost_proto::control::Intent;
use std::collections::BTreeSet;

/// systemd starts a daemon that was killed again after so long, as the unit says.
const RESTARTED: Duration = Duration::from_secs(1);
/// A write that is torn ends after so many bytes.
const TORN_AT: usize = 20;

impl Play<'_> {
    /// Does it; or says why it cannot be done.
    pub fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Machine(what, whom) => {
                for host in self.judge().whom(whom)? {
                    self.machine(*what, host)?;
                }
                Ok(())
            }
            Action::Vm(what, group) => self.vm(what, *group),
            Action::Application(what, group) => self.application(what, *group),
            Action::Controller(what, whose) => self.controller(*what, whose),
            Action::Order(order, from) => self.order(order, from.as_ref()),
            Action::Link(link, ways) => self.link(*link, ways),
            Action::MendAll => {
                self.world.net.heal();
                self.cuts.clear();
                self.quality.clear();
                Ok(())
            }
            Action::Reload(file, whom) => {
                for host in self.judge().whom(whom)? {
                    let file = self.files[*file].clone();
                    self.world.hosts[host].file = file.clone();
                    self.world.check.file_changed = Some(self.world.now);
                    let life = self.world.hosts[host].life;
                    self.world.push(Duration::ZERO, Event::Reload { host, life, file });
                }
                Ok(())
            }
            Action::Let(name, who) => {
                let host = self.judge().who(who)?;
                self.aliases.insert(name.clone(), host);
                Ok(())
            }
            Action::Storage(keeps) => {
                self.world.deed(Deed::KeepsFiles(*keeps));
                Ok(())
            }
            Action::Takes(group, time) => {
                let vm = self.names.groups[*group].vm.clone();
                self.world.travels.takes.insert(vm, *time);
                Ok(())
            }
            Action::Migration(group, end) => {
                let vm = self.names.groups[*group].vm.clone();
                self.world.travels.fails.insert(vm, *end);
                Ok(())
            }
        }
    }

    fn machine(&mut self, what: Machine, host: usize) -> Result<(), String> {
        let it = &self.world.hosts[host];
        let name = &it.name;
        let needs_power =
            !matches!(what, Machine::PowerOn | Machine::Agent(_) | Machine::DiskFails | Machine::DiskWorks);
        if needs_power && !it.powered {
            return Err(format!("'{name}' has no power"));
        }
        let daemon = matches!(
            what,
            Machine::DaemonKill
                | Machine::DaemonDown
                | Machine::DaemonSigstop
                | Machine::DaemonSigcont
                | Machine::Leave
        );
        let of_roostd = daemon
            || matches!(
                what,
                Machine::DaemonStart
                    | Machine::DiskFails
                    | Machine::DiskWorks
                    | Machine::DiskLost
                    | Machine::DiskTorn
                    | Machine::Libvirt(_)
            );
        if it.is_watched && of_roostd {
            return Err(format!("'{name}' is watched, and runs no roostd"));
        }
        if daemon && it.daemon.is_none() {
            return Err(format!("no daemon runs on '{name}'"));
        }
        if what == Machine::ConnectionBreaks && self.world.watcher_of(host).is_none() {
            return Err(format!("nobody watches '{name}' at that moment"));
        }
        let deed = match what {
            Machine::PowerOff => Deed::PowerOff(host),
            Machine::PowerOn => Deed::PowerOn(host),
            Machine::Freeze => Deed::Freeze(host),
            Machine::Thaw => Deed::Thaw(host),
            Machine::DaemonKill => Deed::Kill(host, Some(RESTARTED)),
            Machine::DaemonDown => Deed::Kill(host, None),
            Machine::DaemonStart => Deed::Run(host),
            Machine::DaemonSigstop => Deed::Stop(host),
            Machine::DaemonSigcont => Deed::Continue(host),
            Machine::Leave => Deed::Leave(host),
            Machine::DiskFails => Deed::DiskFails(host, true),
            Machine::DiskWorks => Deed::DiskFails(host, false),
            Machine::DiskLost => Deed::DiskLost(host),
            Machine::DiskTorn => {
                self.world.hosts[host].disk.tear_at(TORN_AT);
                return Ok(());
            }
            Machine::Libvirt(how) => Deed::Libvirt(host, how),
            Machine::Agent(how) => Deed::Agent(host, how),
            Machine::ConnectionBreaks => Deed::Breaks(host),
        };
        self.world.deed(deed);
        Ok(())
    }

    /// The host where a VM runs, and its name.
    fn running(&self, group: usize) -> Result<(usize, String), String> {
        let vm = self.names.groups[group].vm.clone();
        self.world
            .runs_on(&vm)
            .map(|host| (host, vm.clone()))
            .ok_or_else(|| format!("'{vm}' runs nowhere at that moment"))
    }

    fn copies(&mut self, group: usize, only: Option<usize>, change: impl Fn(&mut Domain)) {
        let vm = &self.names.groups[group].vm;
        for (nth, host) in self.world.hosts.iter_mut().enumerate() {
            if only.is_none_or(|only| only == nth)
                && let Some(copy) = host.domains.get_mut(vm)
            {
                change(copy);
            }
        }
    }

    fn only(&self, who: Option<&Who>) -> Result<Option<usize>, String> {
        who.map(|who| self.judge().who(who)).transpose()
    }

    fn vm(&mut self, what: &Vm, group: usize) -> Result<(), String> {
        match what {
            Vm::AppFaults(who, faulty) => {
                let only = self.only(who.as_ref())?;
                self.copies(group, only, |copy| copy.nature.faulty = *faulty);
            }
            Vm::BadStarts(who, count) => {
                let only = self.only(who.as_ref())?;
                self.copies(group, only, |copy| copy.bad_starts = *count);
            }
            Vm::Stuck(stuck) => self.copies(group, None, |copy| copy.stuck = *stuck),
            Vm::Fragile(fragile) => {
                self.copies(group, None, |copy| copy.nature.fragile = *fragile);
                if *fragile && self.running(group).is_ok() {
                    self.running_vm(&Vm::Crash, group)?;
                }
            }
            Vm::DestroyedByHand(Some(who)) => {
                let host = self.judge().who(who)?;
                let vm = self.names.groups[group].vm.clone();
                let it = &self.world.hosts[host];
                let off =
                    it.domains.get(&vm).is_none_or(|copy| matches!(copy.run, Run::Off(_) | Run::Undefined));
                if !it.is_awake() || off {
                    return Err(format!("'{vm}' is not on '{}' at that moment", it.name));
                }
                self.world.stops(host, &vm, Off::Destroyed);
            }
            Vm::Unmovable(unmovable) => {
                self.copies(group, None, |copy| copy.nature.unmovable = *unmovable);
            }
            Vm::Deaf(deaf) => self.copies(group, None, |copy| copy.nature.deaf = *deaf),
            Vm::StartedByHand(who) => {
                let host = self.judge().who(who)?;
                let vm = self.names.groups[group].vm.clone();
                let it = &self.world.hosts[host];
                let off =
                    it.domains.get(&vm).is_some_and(|copy| matches!(copy.run, Run::Off(_) | Run::Undefined));
                if !it.is_awake() || !off {
                    return Err(format!("'{vm}' cannot be started on '{}' at that moment", it.name));
                }
                self.world.starts(host, &vm, true);
            }
            Vm::ResumedByHand => {
                let vm = self.names.groups[group].vm.clone();
                let paused = |host: &usize| {
                    let it = &self.world.hosts[*host];
                    it.is_awake()
                        && it.domains.get(&vm).is_some_and(|copy| matches!(copy.run, Run::Paused(_)))
                };
                let host = (0..self.world.hosts.len()).find(paused);
                let host = host.ok_or_else(|| format!("'{vm}' is paused nowhere at that moment"))?;
                self.world.set_run(host, &vm, Run::Running, Some(Happened::Resumed));
            }
            Vm::Crash if self.world.sends(&self.names.groups[group].vm).is_some() => {
                self.world.deed(Deed::VmCrash(self.names.groups[group].vm.clone()));
            }
            Vm::Crash
            | Vm::Hang
            | Vm::Lie
            | Vm::AppFault
            | Vm::ShutDownInside
            | Vm::DestroyedByHand(None)
            | Vm::PausedByHand => self.running_vm(what, group)?,
        }
        Ok(())
    }

    /// What needs the VM to run.
    fn running_vm(&mut self, what: &Vm, group: usize) -> Result<(), String> {
        let (host, vm) = self.running(group)?;
        let guest = self.world.hosts[host].domains.get(&vm).map(|copy| copy.guest);
        let needs_guest = matches!(what, Vm::Hang | Vm::AppFault) && self.names.groups[group].controlled;
        if needs_guest && guest == Some(Guest::Booting) {
            return Err(format!("the guest of '{vm}' is still booting at that moment"));
        }
        match what {
            Vm::Crash => self.world.deed(Deed::VmCrash(vm)),
            Vm::Hang => self.world.deed(Deed::GuestHang(vm)),
            Vm::Lie => self.world.deed(Deed::GuestLies(vm)),
            Vm::AppFault => self.world.deed(Deed::AppFault(vm)),
            Vm::ShutDownInside => self.world.stops(host, &vm, Off::Shutdown),
            Vm::DestroyedByHand(_) => self.world.stops(host, &vm, Off::Destroyed),
            _ => {
                self.world.set_run(
                    host,
                    &vm,
                    Run::Paused(Paused::User),
                    Some(Happened::Paused(Paused::User)),
                );
            }
        }
        Ok(())
    }

    fn application(&mut self, what: &Application, group: usize) -> Result<(), String> {
        let name = self.names.groups[group].name.clone();
        let world = &mut self.world;
        match what {
            Application::Fault if !world.application_fails(&name) => {
                return Err(format!("'{name}' is online nowhere at that moment"));
            }
            Application::Fault => {}
            Application::AlwaysFaults(on) => {
                world.natures_of(&name, on.as_ref(), |it| it.faulty = true);
                let at = world.executing(&name);
                if at.iter().any(|seat| on.as_ref().is_none_or(|on| world.target_of(seat) == *on)) {
                    world.application_fails(&name);
                }
            }
            Application::Refuses(on) => world.natures_of(&name, on.as_ref(), |it| it.refuses = true),
            Application::Unready(on) => world.natures_of(&name, on.as_ref(), |it| it.unready = true),
            Application::Stuck(on) => world.natures_of(&name, on.as_ref(), |it| it.stuck = true),
            Application::Unclean(on) => world.natures_of(&name, on.as_ref(), |it| it.unclean = true),
            Application::StartsIn(time) => world.natures_of(&name, None, |it| it.starts_in = Some(*time)),
            Application::StopsIn(time) => world.natures_of(&name, None, |it| it.stops_in = Some(*time)),
            Application::Works(on) => world.natures_of(&name, on.as_ref(), |it| *it = Nature::default()),
        }
        Ok(())
    }

    fn controller(&mut self, what: Controlled, whose: &Whose) -> Result<(), String> {
        let place = match whose {
            Whose::Host(who) => Place::Machine(self.judge().who(who)?),
            Whose::Vm(group) => Place::Vm(self.names.groups[*group].vm.clone()),
        };
        if self.world.seat_of(&place).is_none() {
            return Err("no controller with managed groups is there at that moment".to_owned());
        }
        self.world.deed(match what {
            Controlled::Dies => Deed::ControllerDies(place),
            Controlled::Lies(lies) => Deed::ControllerLies(place, lies),
        });
        Ok(())
    }

    fn order(&mut self, order: &Order, from: Option<&Who>) -> Result<(), String> {
        let group = |nth: usize| self.names.groups[nth].name.clone();
        let host = |who: &Who| self.judge().who(who).map(|nth| self.names.hosts[nth].clone());
        let intent = |nth, intent| Command::Group { group: group(nth), order: GroupOrder::Intent(intent) };
        let command = match order {
            Order::Online(nth) => intent(*nth, Intent::Online),
            Order::Offline(nth) => intent(*nth, Intent::Offline),
            Order::Freeze(nth) => Command::Group { group: group(*nth), order: GroupOrder::Freeze },
            Order::Thaw(nth) => Command::Group { group: group(*nth), order: GroupOrder::Thaw },
            Order::Move(nth, whither, method) => {
                let to = match whither {
                    Whither::Host(who) => Destination::Host(host(who)?),
                    Whither::Target(target) => Destination::Host(target.to_string()),
                    Whither::Elsewhere => Destination::Elsewhere,
                    Whither::Home => Destination::Home,
                    Whither::Failover => Destination::Failover,
                };
                Command::Move { group: group(*nth), to, method: *method }
            }
            Order::Maintenance(who, on) => {
                let mode = if *on { HostMode::Maintenance } else { HostMode::Active };
                Command::Mode { host: host(who)?, mode }
            }
            Order::Arm(arms) => Command::Arm(*arms),
            Order::Confirm(who) => Command::ConfirmFenced { host: host(who)? },
        };
        let able = |nth: &usize| {
            let it = &self.world.hosts[*nth];
            it.is_awake() && it.daemon.is_some() && !it.stopped
        };
        let at = match from {
            Some(who) => Some(self.judge().who(who)?),
            None => leader(&self.world).or_else(|| (0..self.world.hosts.len()).find(able)),
        };
        let at = at.filter(able).ok_or("no daemon is there to take the order")?;
        self.orders += 1;
        let request = RequestId(self.orders);
        self.last_order = Some(self.orders);
        let life = self.world.hosts[at].life;
        let input = Input::Operator { request, who: "operator".to_owned(), command };
        self.world.push(Duration::ZERO, Event::Tell { host: at, life, input: Box::new(input) });
        Ok(())
    }

    fn link(&mut self, link: Link, ways: &Ways) -> Result<(), String> {
        let from = self.judge().whom(&ways.from)?;
        let everybody: Vec<usize> = (0..self.world.hosts.len()).collect();
        let to = if ways.to.is_empty() { everybody } else { self.judge().whom(&ways.to)? };
        let mut pairs = BTreeSet::new();
        for (a, b) in from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b) {
            pairs.insert((a, b));
            if ways.both {
                pairs.insert((b, a));
            }
        }
        for (a, b) in pairs {
            let quality = self.quality.entry((a, b)).or_default();
            match link {
                Link::Cut if self.cuts.insert((a, b)) => self.world.net.cut(a, b),
                Link::Mend if self.cuts.remove(&(a, b)) => self.world.net.mend(a, b),
                Link::Cut | Link::Mend => {}
                Link::Loss(permille) => quality.0 = permille,
                Link::Delay(delay) => quality.1 = delay,
            }
            let (loss, delay) = *quality;
            self.world.net.worsen(a, b, loss, delay);
        }
        Ok(())
    }
}
