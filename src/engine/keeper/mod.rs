//! Every decision of the host, as pure machines: no I/O, no clock, no thread.
//!
//! [`Keeper::handle`] takes in what happened, [`Keeper::poll_output`] says what to do, and
//! [`Keeper::poll_timeout`] when to call [`Keeper::handle_timeout`]. An operator's order holds once it is on disk, and
//! is answered only then.

pub mod app;
pub mod group;
pub mod ladder;
pub mod own;
pub mod remote_agent;
pub mod right;
#[cfg(test)]
mod tests;
pub mod vm;
pub mod vm_agent;

use crate::config::{self, Config, Role};
use app::seat::Around;
use app::{App, Force};
use core::cell::Cell;
use core::time::Duration;
use group::Group;
use own::Own;
use remote_agent::GuestInput;
use right::{Hold, Right};
use roost_proto::cluster::{GroupOrder, GroupReport, HostId, Room};
use roost_proto::control::{
    CONTROL_VERSION, Condition, EventKind, GroupStatus, Health, Level, LibvirtStatus, Status,
};
use roost_proto::link::HostMessage;
use roost_proto::retry::Jitter;
use roost_proto::state::{STATE_VERSION, Saved, SavedGroup};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use vm::{LibvirtInput, Order, Ticket};

/// The wait before a write that failed is tried again: a full disk is not full for milliseconds.
const STORE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// From the libvirt driver.
    Libvirt(LibvirtInput),
    /// From the guest link of a group.
    Guest {
        /// The group.
        group: String,
        /// What.
        input: GuestInput,
    },
    /// From the machine's own controller.
    Machine(GuestInput),
    /// [`Output::Store`] ended.
    Stored(Result<(), String>),
}

/// A `roost-guest` that this host speaks with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// The machine's own.
    Machine,
    /// That in the VM of this group.
    Guest(String),
}

/// What tells one operator's request from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask libvirt.
    Order(Order),
    /// Write this to disk and answer with [`Input::Stored`]; one at a time.
    Store(Saved),
    /// Ask the ledger for this: somebody did something about the VM that is respected.
    Wish {
        /// The group.
        group: String,
        /// What.
        order: GroupOrder,
        /// What was done.
        why: String,
    },
    /// Record an event.
    Event(EventDraft),
    /// End the connection of a controller.
    Drop(Controller),
    /// Say this to a controller that is connected; it is lost if it is not.
    Say {
        /// To which.
        to: Controller,
        /// What.
        message: HostMessage,
    },
    /// Send a group's guest nothing while its VM stands still: nobody there reads, and some vsock devices never recover from
    /// what was sent to a stopped machine.
    Hush {
        /// The group.
        group: String,
        /// Whether to be quiet.
        hush: Hush,
    },
    /// The CID by which a group's guest is known over AF_VSOCK from now on.
    Cid {
        /// The group.
        group: String,
        /// The CID, while the VM lives and has one.
        cid: Option<u32>,
    },
}

/// Whether a guest can hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hush {
    /// Its VM stands still.
    Quiet,
    /// It runs.
    Speak,
}

/// An event to which the shell adds number and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDraft {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub kind: EventKind,
    /// The group that it is about.
    pub group: Option<String>,
    /// What happened.
    pub text: String,
    /// The last lines of output that belong to it.
    pub output: String,
}

/// How well a group is.
pub fn health(group: &GroupStatus) -> Health {
    match group.condition {
        Condition::GivenUp => Health::Broken,
        Condition::Offline | Condition::Online | Condition::Elsewhere
            if group.dangers.is_empty() && !group.frozen =>
        {
            Health::Healthy
        }
        _ => Health::Degraded,
    }
}

/// An event without output.
pub const fn draft(level: Level, kind: EventKind, group: Option<String>, text: String) -> EventDraft {
    EventDraft { level, kind, group, text, output: String::new() }
}

/// Where groups put what they want done.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Output>,
    next_ticket: u64,
    /// Where screenshots go.
    pub screenshots: PathBuf,
    /// Where saved memory goes.
    pub save_dir: Option<PathBuf>,
    /// How the libvirts of the configuration's hosts are reached from each other.
    pub remotes: BTreeMap<HostId, String>,
    /// Something that is saved changed.
    pub dirty: bool,
    /// What was done to recover, since the start; for monitoring alone.
    pub made: Made,
}

/// What was done to recover groups, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Reboots asked of guests.
    pub reboots: u64,
    /// Resets.
    pub resets: u64,
    /// Starts.
    pub restarts: u64,
    /// Groups that were given up on.
    pub given_up: u64,
}

impl Outbox {
    /// An empty one.
    pub const fn new(screenshots: PathBuf) -> Self {
        Self {
            queue: VecDeque::new(),
            next_ticket: 1,
            screenshots,
            save_dir: None,
            remotes: BTreeMap::new(),
            dirty: false,
            made: Made { reboots: 0, resets: 0, restarts: 0, given_up: 0 },
        }
    }

    /// Adds an output.
    pub fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    /// A ticket that was never given.
    pub const fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }
}

/// Whether something is being written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storing {
    Nothing,
    Changes,
}

/// What this host does with its groups.
#[derive(Debug)]
pub struct Keeper {
    cluster: String,
    host: String,
    /// The groups of VMs.
    groups: BTreeMap<String, Group>,
    /// The groups of applications.
    apps: BTreeMap<String, App>,
    own: Own,
    /// What is saved of groups that the configuration does not name.
    others: BTreeMap<String, SavedGroup>,
    boot_id: String,
    libvirt: LibvirtStatus,
    storing: Storing,
    room: Option<Room>,
    storage_failed: Option<String>,
    /// The index at which the cluster was disarmed, while this host lives by it.
    disarmed: Option<u64>,
    /// Whether such a word may be on disk still.
    disarmed_on_disk: bool,
    /// What the write under way has of it.
    storing_disarmed: Option<u64>,
    /// When what could not be stored is tried again.
    store_again: Option<Instant>,
    /// The first of the groups' deadlines, once it was looked for, or a moment before it; it is asked for far more often than it
    /// changes.
    deadline: Cell<Option<Option<Instant>>>,
    out: Outbox,
    jitter: Jitter,
}

impl Keeper {
    /// The machine of `host`, which is one of the configuration's, with what was saved. `boot_id` is this boot's;
    /// `seed` a random number; screenshots go to the folder `screenshots`.
    pub fn new(
        config: &Config,
        host: &str,
        mut saved: Saved,
        boot_id: &str,
        seed: u64,
        screenshots: PathBuf,
        now: Instant,
    ) -> Self {
        if saved.boot_id != boot_id {
            saved.after_reboot(boot_id);
        }
        let mut engine = Self {
            cluster: String::new(),
            host: host.to_owned(),
            groups: BTreeMap::new(),
            apps: BTreeMap::new(),
            own: Own::new(now),
            others: saved.groups,
            boot_id: boot_id.to_owned(),
            libvirt: LibvirtStatus::Unused,
            storing: Storing::Nothing,
            room: None,
            storage_failed: None,
            disarmed: saved.disarmed,
            disarmed_on_disk: saved.disarmed.is_some(),
            storing_disarmed: None,
            store_again: None,
            deadline: Cell::new(None),
            out: Outbox::new(screenshots),
            jitter: Jitter::new(seed),
        };
        engine.reload(config, now);
        let hypervisor = config.hosts.iter().any(|own| own.name == host && own.role == Role::Hypervisor);
        if hypervisor || !engine.groups.is_empty() {
            engine.libvirt = LibvirtStatus::Lost { reason: "not asked yet".to_owned() };
        }
        engine
    }

    /// Takes a new configuration. Groups that stay keep all that is known of them; VMs of groups that are gone
    /// from it, or have another VM now, are left as they are.
    pub fn reload(&mut self, config: &Config, now: Instant) {
        config.cluster.name.clone_into(&mut self.cluster);
        self.out.save_dir.clone_from(&config.cluster.save_dir);
        let remote = |host: &config::Host| (HostId::of(&host.name), host.libvirt_remote.clone());
        self.out.remotes = config.hosts.iter().map(remote).collect();
        self.reload_vms(config, now);
        self.reload_apps(config, now);
        self.guard_what_was_left_out(config, now);
        while self.others.len() + self.groups.len() > roost_proto::state::MAX_SAVED_GROUPS {
            if self.others.pop_first().is_none() {
                break;
            }
        }
        self.out.dirty = true;
        self.settle(now);
    }

    fn reload_vms(&mut self, config: &Config, now: Instant) {
        let mut before = core::mem::take(&mut self.groups);
        let here = |group: &&config::Group| group.app.is_none() && group.on.contains(&self.host);
        for wanted in config.groups.iter().filter(here) {
            let known = before.remove(&wanted.name);
            let group = match known {
                Some(mut group) if group.config().vm == wanted.vm => {
                    group.reload(wanted.clone(), &config.cluster);
                    group
                }
                other => {
                    let saved = other.map(|g| g.saved().clone()).or_else(|| self.others.remove(&wanted.name));
                    Group::new(
                        wanted.clone(),
                        &config.cluster,
                        saved.unwrap_or_default(),
                        Jitter::new(self.jitter.draw()),
                        now,
                    )
                }
            };
            self.groups.insert(wanted.name.clone(), group);
        }
        let apps: BTreeSet<&str> =
            named_apps(config, &self.host).map(|(group, _)| group.name.as_str()).collect();
        for (name, group) in before {
            let replaced = self.groups.contains_key(&name) || apps.contains(name.as_str());
            if group.saved().epoch == 0 || replaced {
                self.others.insert(name, group.saved().clone());
            } else {
                self.groups.insert(name, group);
            }
        }
    }

    fn reload_apps(&mut self, config: &Config, now: Instant) {
        let mut before = core::mem::take(&mut self.apps);
        let vms: Vec<&str> = self.groups.keys().map(String::as_str).collect();
        for (wanted, app) in named_apps(config, &self.host) {
            let new = match before.remove(&wanted.name) {
                Some(mut known) => {
                    known.reload(wanted.clone(), app.clone(), &self.host, &vms);
                    known
                }
                None => {
                    // What was saved of a VM says nothing of an application.
                    let saved = self.others.remove(&wanted.name).filter(|saved| saved.vm.is_empty());
                    let jitter = Jitter::new(self.jitter.draw());
                    let named = (wanted.clone(), app.clone());
                    App::new(named, &self.host, &vms, saved.unwrap_or_default(), jitter, now)
                }
            };
            self.apps.insert(wanted.name.clone(), new);
        }
        for (name, app) in before {
            if app.saved().app.is_some() && !self.groups.contains_key(&name) {
                self.apps.insert(name, app);
            } else {
                self.others.insert(name, SavedGroup { epoch: 0, ..app.saved().clone() });
            }
        }
    }

    /// Groups that were this host's in this boot, and that the configuration does not have on it any more.
    fn guard_what_was_left_out(&mut self, config: &Config, now: Instant) {
        let was_here = |(name, saved): (&String, &SavedGroup)| {
            let known = self.groups.contains_key(name) || self.apps.contains_key(name);
            let may_run = !saved.vm.is_empty() || saved.app.is_some();
            (saved.epoch > 0 && may_run && !known).then(|| name.clone())
        };
        let names: Vec<String> = self.others.iter().filter_map(was_here).collect();
        for name in names {
            let Some(saved) = self.others.remove(&name) else { continue };
            let jitter = Jitter::new(self.jitter.draw());
            if let Some(app) = &saved.app {
                let bare = App::bare(&name, app.clone(), &self.host);
                self.apps.insert(name, App::new(bare, &self.host, &[], saved, jitter, now));
                continue;
            }
            let bare = config::Group::bare(name.clone(), saved.vm.clone());
            let group = Group::new(bare, &config.cluster, saved, jitter, now);
            self.groups.insert(name, group);
        }
        let here = config.groups.iter().filter(|group| group.on.contains(&self.host));
        let named: BTreeSet<&str> = here.map(|group| group.name.as_str()).collect();
        let left_out = self.groups.iter_mut().filter(|(name, _)| !named.contains(name.as_str()));
        left_out.for_each(|(_, group)| group.leave_out(&config.cluster, &mut self.out));
        let left_out = self.apps.iter_mut().filter(|(name, _)| !named.contains(name.as_str()));
        left_out.for_each(|(_, app)| app.leave_out(&mut self.out));
    }

    /// Forgets groups that were left out and are not this host's any more.
    fn forget_what_is_done_with(&mut self) {
        let done: Vec<String> = self
            .groups
            .iter()
            .filter(|(_, group)| group.is_done_with())
            .map(|(name, _)| name.clone())
            .collect();
        for name in done {
            if let Some(group) = self.groups.remove(&name) {
                self.others.insert(name, SavedGroup { epoch: 0, ..group.saved().clone() });
                self.out.dirty = true;
            }
        }
        let done = self.apps.iter().filter(|(_, app)| app.is_done_with());
        let done: Vec<String> = done.map(|(name, _)| name.clone()).collect();
        for name in done {
            if let Some(app) = self.apps.remove(&name) {
                self.others.insert(name, SavedGroup { epoch: 0, ..app.saved().clone() });
                self.out.dirty = true;
            }
        }
    }

    /// This life was thrown out, and nothing of what it held is left or on its way: the next one has nothing to wait for, and can
    /// say so at once. If it did not, a watchdog would go hungry meanwhile.
    pub fn forget_what_was_lost(&mut self) {
        for group in self.groups.values_mut().filter(|group| group.right().hold == Hold::Lost) {
            self.out.dirty |= group.forget_epoch();
        }
        for app in self.apps.values_mut().filter(|app| app.right().hold == Hold::Lost) {
            self.out.dirty |= app.forget_epoch();
        }
        self.store_next();
    }

    /// Whether this host has VMs to keep, or may have: an application server or a witness has no libvirt.
    pub fn uses_libvirt(&self) -> bool {
        self.libvirt != LibvirtStatus::Unused
    }

    /// The domains to watch.
    pub fn domains(&self) -> Vec<String> {
        self.groups.values().map(|g| g.config().vm.clone()).collect()
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Libvirt(input) => self.libvirt(now, input),
            Input::Guest { group: name, input } => {
                if let Some(group) = self.groups.get_mut(&name) {
                    group.guest(now, input, &mut self.out);
                    group.step(now, &mut self.out);
                    // A guest that beats is well for longer: for that the others are not asked, and the old deadline may be early.
                    let next = group.deadline();
                    self.deadline.set(self.deadline.get().map(|first| first.into_iter().chain(next).min()));
                    let who = Controller::Guest(name);
                    if self.apps.values().any(|app| app.is_for(&who)) {
                        self.step_apps(now, |app| app.is_for(&who));
                        self.deadline.set(None);
                    }
                }
                self.store_next();
                return; // guests speak often, and what one says concerns no other VM
            }
            Input::Machine(input) => {
                let of = |service: &str| {
                    let app = self.apps.iter().find(|(_, app)| app.name() == service);
                    app.map(|(name, _)| name.clone())
                };
                self.own.handle(now, input, of, &mut self.out);
                self.own.step(now, &mut self.out);
                self.step_apps(now, |app| app.is_for(&Controller::Machine));
                self.deadline.set(None);
                self.store_next();
                return; // nor does that, of any VM
            }
            Input::Stored(result) => self.stored(now, result),
        }
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.store_again.take_if(|at| now >= *at).is_some() {
            self.out.dirty = true;
        }
        self.settle(now);
    }

    /// When to call [`Keeper::handle_timeout`], if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadline.get().unwrap_or_else(|| self.first_deadline());
        self.deadline.set(Some(deadline));
        deadline.into_iter().chain(self.store_again).min()
    }

    fn first_deadline(&self) -> Option<Instant> {
        let groups = self.groups.values().filter_map(Group::deadline);
        let apps = self.apps.values().filter_map(App::deadline);
        groups.chain(apps).chain(self.own.deadline()).min()
    }

    /// What applications look at.
    const fn around(&self) -> Around<'_> {
        Around { own: &self.own, vms: &self.groups }
    }

    /// Has those applications decide, and ends VMs in which one does not stop.
    fn step_apps(&mut self, now: Instant, of: impl Fn(&App) -> bool) {
        let around = Around { own: &self.own, vms: &self.groups };
        let apps = self.apps.values_mut().filter(|app| of(app));
        let forces: Vec<Force> = apps.filter_map(|app| app.step(now, &around, &mut self.out)).collect();
        for Force { vm, why } in forces {
            if let Some(group) = self.groups.get_mut(&vm)
                && !group.end_by_force(now, why, &mut self.out)
            {
                let text = "its VM cannot be reset now, or not any more: shut it down, or wait".to_owned();
                self.out.push(Output::Event(draft(Level::Error, EventKind::RecoveryFailed, Some(vm), text)));
            }
        }
    }

    /// This host stood still until now.
    pub fn awoke(&mut self, now: Instant) {
        self.own.awoke(now);
        self.groups.values_mut().for_each(|group| group.awoke(now));
        self.deadline.set(None);
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.queue.pop_front()
    }

    fn settle(&mut self, now: Instant) {
        self.deadline.set(None);
        for group in self.groups.values_mut() {
            group.step(now, &mut self.out);
        }
        self.own.step(now, &mut self.out);
        self.step_apps(now, |_| true);
        self.forget_what_is_done_with();
        self.store_next();
    }

    fn libvirt(&mut self, now: Instant, input: LibvirtInput) {
        match input {
            LibvirtInput::Connected => {
                self.libvirt = LibvirtStatus::Connected;
                self.record(Level::Info, EventKind::LibvirtConnected, "libvirt answers".to_owned());
            }
            LibvirtInput::Lost { reason } => {
                self.room = None;
                self.groups.values_mut().for_each(Group::libvirt_lost);
                if matches!(self.libvirt, LibvirtStatus::Connected) {
                    let text = format!("libvirt does not answer: {reason}; VMs run on, and are not touched");
                    self.record(Level::Error, EventKind::LibvirtLost, text);
                }
                self.libvirt = LibvirtStatus::Lost { reason };
            }
            LibvirtInput::Domain { name, view, happened } => {
                // Two, when the file gives the VM of a group that was this host's to one of another name.
                for group in self.groups.values_mut().filter(|g| g.config().vm == name) {
                    group.observe(now, view.clone(), happened, &mut self.out);
                }
            }
            LibvirtInput::Room(room) => self.room = Some(room),
            LibvirtInput::Ended { ticket } => {
                self.groups.values_mut().for_each(|group| group.ended(now, ticket));
            }
            LibvirtInput::Progress { ticket, percent } => {
                self.groups.values_mut().for_each(|group| group.progressed(ticket, percent));
            }
            LibvirtInput::Downtime { ticket, time } => {
                self.groups.values_mut().for_each(|group| group.stood_still(ticket, time));
            }
            LibvirtInput::Done { ticket, result } => {
                if let Some(group) = self.groups.values_mut().find(|g| g.awaits(ticket)) {
                    group.done(now, ticket, result, &mut self.out);
                }
            }
        }
    }

    fn record(&mut self, level: Level, kind: EventKind, text: String) {
        self.out.push(Output::Event(draft(level, kind, None, text)));
    }

    /// Writes what changed, unless something is being written.
    fn store_next(&mut self) {
        if self.storing == Storing::Nothing
            && self.store_again.is_none()
            && core::mem::take(&mut self.out.dirty)
        {
            self.storing = Storing::Changes;
            let saved = self.saved();
            self.disarmed_on_disk |= saved.disarmed.is_some();
            self.storing_disarmed = saved.disarmed;
            self.out.push(Output::Store(saved));
        }
    }

    fn saved(&self) -> Saved {
        let mut groups = self.others.clone();
        groups.extend(self.groups.iter().map(|(name, group)| (name.clone(), group.saved().clone())));
        groups.extend(self.apps.iter().map(|(name, app)| (name.clone(), app.saved().clone())));
        Saved { version: STATE_VERSION, boot_id: self.boot_id.clone(), groups, disarmed: self.disarmed }
    }

    fn stored(&mut self, now: Instant, result: Result<(), String>) {
        self.storing = Storing::Nothing;
        if let Err(error) = &result {
            if self.storage_failed.as_ref() != Some(error) {
                let text = format!(
                    "the state of this host's groups could not be stored: {error}; it is tried again"
                );
                self.record(Level::Error, EventKind::Storage, text);
            }
            self.store_again = Some(now + STORE_AGAIN_AFTER);
            self.out.dirty = true;
        } else {
            if self.storage_failed.is_some() {
                let text = "the state of this host's groups is stored again".to_owned();
                self.record(Level::Info, EventKind::Storage, text);
            }
            if self.storing_disarmed.is_none() {
                self.disarmed_on_disk = false;
            }
        }
        if result.is_err() || !self.out.dirty {
            self.groups.values_mut().for_each(Group::noted);
        }
        self.storage_failed = result.err();
    }

    /// The index at which the cluster was disarmed, while this host lives by it.
    pub const fn disarmed(&self) -> Option<u64> {
        self.disarmed
    }

    /// This host lives by it, or does no more; it is remembered across a restart.
    pub fn set_disarmed(&mut self, disarmed: Option<u64>) {
        if self.disarmed != disarmed {
            self.disarmed = disarmed;
            self.out.dirty = true;
            self.store_next();
        }
    }

    /// Whether this host, restarted, might take the cluster for disarmed.
    pub const fn is_disarmed_on_disk(&self) -> bool {
        self.disarmed.is_some() || self.disarmed_on_disk
    }

    /// Whether a group may run here.
    pub fn keeps(&self, group: &str) -> bool {
        self.groups.contains_key(group) || self.apps.contains_key(group)
    }

    /// Whether a group is an application.
    pub fn is_app(&self, group: &str) -> bool {
        self.apps.contains_key(group)
    }

    /// The applications that this controller has, or may, by the names of their groups.
    pub fn apps_of<'a>(&'a self, who: &'a Controller) -> impl Iterator<Item = &'a str> {
        self.apps.iter().filter(|(_, app)| app.is_for(who)).map(|(name, _)| name.as_str())
    }

    /// Whether a group was this host's since this machine booted.
    pub fn was_here(&self, group: &str) -> bool {
        self.groups.get(group).is_some_and(Group::was_here) || self.apps.get(group).is_some_and(App::was_here)
    }

    /// How much of a group's memory has gone to another host, in per cent.
    pub fn percent(&self, group: &str) -> Option<u8> {
        self.groups.get(group).and_then(Group::percent)
    }

    /// The names of the groups that may run here: those of VMs first, for what applications may do depends on them.
    pub fn group_names(&self) -> Vec<String> {
        self.groups.keys().chain(self.apps.keys()).cloned().collect()
    }

    /// Whether this group was this host's in this boot, and the configuration does not name it here any more.
    pub fn forgot(&self, group: &str) -> bool {
        self.others.get(group).is_some_and(|saved| saved.epoch > 0)
    }

    /// The ledger's word about a group, or the lease, changed. It is to be told of all groups after it changed, in the order of
    /// [`Keeper::group_names`].
    pub fn set_right(&mut self, now: Instant, group: &str, right: Right) {
        if let Some(group) = self.groups.get_mut(group) {
            group.set_right(now, right, &mut self.out);
            group.step(now, &mut self.out);
        }
        if let Some(app) = self.apps.get_mut(group) {
            app.set_right(right, &mut self.out);
            self.step_apps(now, |app| app.config().name == group);
        }
        self.deadline.set(None);
        self.store_next();
    }

    /// What the leader is told of one group.
    pub fn report(&self, now: Instant, group: &str) -> Option<GroupReport> {
        let app = || self.apps.get(group).map(|app| app.report(&self.around()));
        self.groups.get(group).map(|group| group.report(now)).or_else(app)
    }

    /// What the leader is told of each group, by name.
    pub fn reports(&self, now: Instant) -> Vec<GroupReport> {
        let around = self.around();
        let vms = self.groups.values().map(|group| group.report(now));
        let mut reports: Vec<_> = vms.chain(self.apps.values().map(|app| app.report(&around))).collect();
        reports.sort_by(|a, b| a.group.cmp(&b.group));
        reports
    }

    /// What was done to recover, since the start.
    pub const fn made(&self) -> Made {
        self.out.made
    }

    /// What the host has room for, while libvirt answers.
    pub const fn room(&self) -> Option<Room> {
        self.room
    }

    /// Whether something that is, or was in this boot, this host's may run: then the watchdog is fed only under a lease.
    pub fn may_run(&self) -> bool {
        let around = self.around();
        self.groups.values().any(Group::may_run) || self.apps.values().any(|app| app.may_run(&around))
    }

    /// Whether the machine's own controller runs no application, by its own word.
    pub fn is_idle(&self) -> bool {
        let around = self.around();
        self.apps.values().all(|app| app.is_idle(&around))
    }

    /// Whether libvirt has shown every group's VM, and the machine's own controller its applications.
    pub fn is_seen(&self) -> bool {
        let around = self.around();
        self.sees_vms() && self.apps.values().all(|app| app.is_seen(&around))
    }

    /// Whether libvirt has shown every group's VM.
    pub fn sees_vms(&self) -> bool {
        self.groups.values().all(|group| group.run().is_some())
    }

    /// Whether something is left here of groups that were taken from this host.
    pub fn is_left(&self) -> bool {
        let around = self.around();
        let left = |app: &App| app.right().hold == Hold::Lost && app.may_run(&around);
        self.groups.values().any(|group| group.right().hold == Hold::Lost && group.is_left())
            || self.apps.values().any(left)
    }

    /// The state of everything, at `now`, which is `now_ms` of Unix time.
    pub fn status(&self, now: Instant, now_ms: u64) -> Status {
        let around = self.around();
        let vms = self.groups.values().map(|group| group.status(now, now_ms));
        let mut groups: Vec<_> =
            vms.chain(self.apps.values().map(|app| app.status(now, &around, now_ms))).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        let mut warnings = Vec::new();
        if let Some(error) = &self.storage_failed {
            warnings.push(format!("the state cannot be stored: {error}"));
        }
        let own = match self.libvirt {
            LibvirtStatus::Connected | LibvirtStatus::Unused if warnings.is_empty() => Health::Healthy,
            _ => Health::Degraded,
        };
        Status {
            version: CONTROL_VERSION,
            software: concat!("roost ", env!("CARGO_PKG_VERSION")).to_owned(),
            cluster: self.cluster.clone(),
            host: self.host.clone(),
            health: groups.iter().map(health).chain([own]).max().unwrap_or(own),
            libvirt: self.libvirt.clone(),
            hosts: Vec::new(),
            groups,
            warnings,
            leader: None,
            quorum: None,
            disarmed: None,
            unaware: Vec::new(),
        }
    }
}

/// The applications for which a host may act, with their groups.
fn named_apps<'a>(
    config: &'a Config,
    host: &str,
) -> impl Iterator<Item = (&'a config::Group, &'a config::App)> {
    let here = config.groups.iter().filter(move |group| group.on.iter().any(|name| name == host));
    here.filter_map(|group| group.app.as_ref().map(|app| (group, app)))
}
