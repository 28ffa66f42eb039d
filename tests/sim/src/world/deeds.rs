//! What is done to the world from outside.

use super::World;
use super::event::{Deed, Event};
use super::host::{Agent, Domain, Guest, Host, Libvirt};
use core::time::Duration;
use roost::engine::keeper::RequestId;
use roost::engine::keeper::vm::{Off, Run};
use roost::engine::{Command, Input};
use roost_proto::cluster::decision::{Arms, HostMode};
use roost_proto::state::Saved;
use std::sync::Arc;

impl World {
    /// Does something.
    pub fn deed(&mut self, deed: Deed) {
        match &deed {
            Deed::Heal => {}
            Deed::Reload(host, file) => {
                let (host, names) = (*host, |names: Vec<&str>| names.join(" "));
                let hosts = names(file.hosts.iter().map(|host| host.name.as_str()).collect());
                let groups = names(file.groups.iter().map(|group| group.name.as_str()).collect());
                self.say(|w| format!("--- the file of {} names {hosts}, {groups}", w.hosts[host].name));
            }
            deed => self.say(|_| format!("--- {deed:?}")),
        }
        match deed {
            Deed::PowerOff(host) => self.power_off(host),
            Deed::PowerOn(host) => self.power_on(host),
            Deed::Freeze(host) => {
                if self.hosts[host].powered && !self.hosts[host].frozen {
                    self.hosts[host].frozen = true;
                    self.hosts[host].forgive_questions();
                    self.check_runs();
                }
            }
            Deed::Thaw(host) => {
                if core::mem::take(&mut self.hosts[host].frozen) {
                    self.check_runs();
                    self.wake_up(host);
                    self.watchdog_goes_on(host);
                }
            }
            Deed::Kill(host, again) => {
                if self.hosts[host].daemon.is_some() {
                    self.end_daemon(host);
                    if let Some(after) = again {
                        let life = self.hosts[host].life;
                        self.push(after, Event::Start { host, life });
                    }
                }
            }
            Deed::Run(host) => {
                let it = &mut self.hosts[host];
                it.kept_down = false;
                let life = it.life;
                if it.powered && it.daemon.is_none() {
                    self.push(Duration::from_millis(50), Event::Start { host, life });
                }
            }
            Deed::Stop(host) => {
                self.hosts[host].stopped = self.hosts[host].daemon.is_some();
                self.hosts[host].forgive_questions();
            }
            Deed::Continue(host) => {
                if core::mem::take(&mut self.hosts[host].stopped) {
                    self.wake_up(host);
                }
            }
            Deed::Leave(host) => {
                if self.hosts[host].daemon.is_some() {
                    let life = self.hosts[host].life;
                    self.push(Duration::ZERO, Event::Tell { host, life, input: Box::new(Input::Leave) });
                }
            }
            Deed::Cut(from, to) => self.net.cut(from, to),
            Deed::Mend(from, to) => self.net.mend(from, to),
            Deed::Worsen(from, to, loss, delay) => self.net.worsen(from, to, loss, delay),
            Deed::Libvirt(host, libvirt) => self.set_libvirt(host, libvirt),
            Deed::DiskFails(host, fails) => self.hosts[host].disk.fail(fails),
            Deed::DiskLost(host) => {
                self.power_off(host);
                let it = &mut self.hosts[host];
                it.disk.replace();
                it.saved = Saved::default();
                self.check.disk_lost(host);
                self.power_on(host);
            }
            Deed::VmCrash(vm) => {
                if let Some(host) = self.runs_on(&vm).or_else(|| self.sends(&vm)) {
                    self.stops(host, &vm, Off::Crashed);
                }
            }
            Deed::GuestHang(vm) => self.with_guest(&vm, |guest| *guest = Guest::Hung),
            Deed::AppFault(vm) => {
                self.with_guest(&vm, |guest| *guest = Guest::Faulted);
                if let Some(host) = self.runs_on(&vm) {
                    self.report(host, &vm, Guest::Faulted);
                }
            }
            Deed::GuestLies(vm) => {
                if let Some(host) = self.runs_on(&vm) {
                    self.lie(host, &vm);
                }
            }
            Deed::Breaks(machine) => self.connection_breaks(machine),
            Deed::ControllerDies(place) => self.controller_dies(&place),
            Deed::ControllerLies(place, lies) => self.controller_lies(&place, lies),
            Deed::ApplicationFails(group) => _ = self.application_fails(&group),
            Deed::Nature(group, target, nature) => {
                self.natures_of(&group, target.as_ref(), |it| *it = nature);
            }
            Deed::KeepsFiles(keeps) => self.travels.keeps = keeps,
            Deed::Unmovable(vm, unmovable) => {
                for domain in self.hosts.iter_mut().filter_map(|host| host.domains.get_mut(&vm)) {
                    domain.nature.unmovable = unmovable;
                }
            }
            Deed::BadStarts { host, vm, count } => {
                for (nth, it) in self.hosts.iter_mut().enumerate() {
                    if host.is_none_or(|host| host == nth)
                        && let Some(domain) = it.domains.get_mut(&vm)
                    {
                        domain.bad_starts = count;
                    }
                }
            }
            Deed::Stuck(vm, stuck) => {
                for domain in self.hosts.iter_mut().filter_map(|host| host.domains.get_mut(&vm)) {
                    domain.stuck = stuck && domain.lives();
                }
            }
            Deed::Agent(host, agent) => self.hosts[host].agent = agent,
            Deed::Order(host, command) => self.operate(host, command),
            Deed::Ask(host, ask) => self.question(host, ask),
            Deed::Confirm { at, host } => {
                if !self.hosts[host].powered {
                    self.operate(at, Command::ConfirmFenced { host: self.hosts[host].name.clone() });
                }
            }
            Deed::Reload(host, file) => {
                let it = &mut self.hosts[host];
                it.file = Arc::clone(&file);
                self.check.file_changed = Some(self.now);
                let life = it.life;
                self.push(Duration::ZERO, Event::Reload { host, life, file });
            }
            Deed::Heal => self.heal(),
        }
    }

    fn operate(&mut self, host: usize, command: Command) {
        let life = self.hosts[host].life;
        if self.hosts[host].daemon.is_some() {
            let input =
                Input::Operator { request: RequestId(self.steps), who: "operator".to_owned(), command };
            self.push(Duration::ZERO, Event::Tell { host, life, input: Box::new(input) });
        }
    }

    /// The host where a VM runs.
    pub fn runs_on(&self, vm: &str) -> Option<usize> {
        (0..self.hosts.len()).find(|host| self.hosts[*host].runs(vm))
    }

    fn with_guest(&mut self, vm: &str, change: impl FnOnce(&mut Guest)) {
        if let Some(host) = self.runs_on(vm)
            && let Some(domain) = self.hosts[host].domains.get_mut(vm)
            && domain.guest != Guest::Booting
        {
            change(&mut domain.guest);
        }
    }

    /// The watchdog of a VM stood still with it.
    fn watchdog_goes_on(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        if it.is_virtual && it.fed.is_some() {
            it.fed = Some(self.now);
            let boot = it.boot;
            self.push(self.config.cluster.timing.watchdog, Event::Watchdog { host, boot });
        }
    }

    /// What came while a daemon stood still comes now, in some moments.
    fn wake_up(&mut self, host: usize) {
        self.check.unleased[host] = None; // while it stood still it could obey nothing
        let pause = self.random.time(Duration::ZERO, Duration::from_millis(20));
        for event in core::mem::take(&mut self.hosts[host].held) {
            self.push(pause, event);
        }
        let life = self.hosts[host].life;
        self.push(pause, Event::Timer { host, life });
    }

    /// All faults end. What has no power gets it, and what ended is started.
    fn heal(&mut self) {
        self.say(|_| "--- all faults are over".to_owned());
        self.net.heal();
        self.travels.keeps = false;
        self.heal_controllers();
        for host in 0..self.hosts.len() {
            self.deed(Deed::Thaw(host));
            self.deed(Deed::Continue(host));
            self.deed(Deed::DiskFails(host, false));
            self.deed(Deed::Agent(host, Agent::Works));
            self.deed(Deed::PowerOn(host));
            self.set_libvirt(host, Libvirt::Up);
            self.deed(Deed::Run(host));
            if self.hosts[host].file.number != self.config.number {
                self.deed(Deed::Reload(host, Arc::clone(&self.config)));
            }
            let domains = self.hosts[host].domains.values_mut();
            domains.for_each(|domain: &mut Domain| {
                domain.bad_starts = 0;
                domain.stuck = false;
            });
        }
    }

    /// Operators take every host out of maintenance.
    pub fn end_maintenance(&mut self) {
        let newest = self.hosts.iter().filter_map(|h| h.daemon.as_ref()).max_by_key(|d| d.engine.applied());
        let Some(newest) = newest else { return };
        let ledger = newest.engine.ledger();
        let of = |host: &&Host| ledger.host(host.id).is_some_and(|r| r.mode == HostMode::Maintenance);
        let names: Vec<String> = self.hosts.iter().filter(of).map(|host| host.name.clone()).collect();
        for name in names {
            let at = self.random.index(self.hosts.len());
            self.operate(at, Command::Mode { host: name, mode: HostMode::Active });
        }
    }

    /// An operator arms the cluster, if it is not.
    pub fn end_disarming(&mut self) {
        let newest = self.hosts.iter().filter_map(|h| h.daemon.as_ref()).max_by_key(|d| d.engine.applied());
        if newest.is_some_and(|newest| newest.engine.ledger().is_disarmed()) {
            let at = self.random.index(self.hosts.len());
            self.operate(at, Command::Arm(Arms::Armed));
        }
    }

    /// The hosts where something of a VM is, running or standing still.
    pub fn copies(&self, vm: &str) -> Vec<usize> {
        let there = |host: &usize| {
            let it = &self.hosts[*host];
            it.powered && it.domains.get(vm).is_some_and(|d| !matches!(d.run, Run::Off(_) | Run::Undefined))
        };
        (0..self.hosts.len()).filter(there).collect()
    }
}
