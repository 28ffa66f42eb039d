//! Every decision of the host, as pure machines: no I/O, no clock, no thread.
//!
//! [`Keeper::handle`] takes in what happened, [`Keeper::poll_output`] says what to do, and
//! [`Keeper::poll_timeout`] when to call [`Keeper::handle_timeout`]. An operator's order holds once it is on disk, and
//! is answered only then.

pub mod group;
pub mod ladder;
pub mod remote_agent;
pub mod right;
#[cfg(test)]
mod tests;
pub mod vm;
pub mod vm_agent;

use crate::config::Config;
use core::time::Duration;
use group::Group;
use remote_agent::GuestInput;
use roost_proto::control::{
    CONTROL_VERSION, Condition, EventKind, Health, Intent, Level, LibvirtStatus, Refusal, Status,
};
use roost_proto::retry::Jitter;
use roost_proto::state::{STATE_VERSION, Saved, SavedGroup};
use roost_proto::text::nearest;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use vm::{LibvirtInput, Order, Ticket};

/// Operators' orders that wait for the disk, at most.
pub const MAX_WAITING: usize = 64;

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
    /// An operator gave an order.
    Operator {
        /// Names the order in the answer.
        request: RequestId,
        /// Of whom, for the record.
        who: String,
        /// The group.
        group: String,
        /// What is ordered.
        order: OperatorOrder,
    },
    /// [`Output::Store`] ended.
    Stored(Result<(), String>),
}

/// What tells one operator's request from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What an operator can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorOrder {
    /// To be online, or offline.
    Intent(Intent),
    /// To be watched and not touched.
    Freeze,
    /// To be taken care of again.
    Thaw,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask libvirt.
    Order(Order),
    /// Write this to disk and answer with [`Input::Stored`]; one at a time.
    Store(Saved),
    /// Answer an operator.
    Answer {
        /// Whose order.
        request: RequestId,
        /// What will happen, or why nothing will.
        answer: Result<String, (Refusal, String)>,
    },
    /// Record an event.
    Event(EventDraft),
    /// End the connection of a guest's controller.
    DropGuest {
        /// The group.
        group: String,
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
    /// Something that is saved changed.
    pub dirty: bool,
}

impl Outbox {
    /// An empty one.
    pub const fn new(screenshots: PathBuf) -> Self {
        Self { queue: VecDeque::new(), next_ticket: 1, screenshots, dirty: false }
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

#[derive(Debug)]
struct Pending {
    request: RequestId,
    who: String,
    group: String,
    order: OperatorOrder,
}

/// What is being written to disk.
#[derive(Debug)]
enum Storing {
    Nothing,
    /// What changed by itself.
    Changes,
    /// An operator's order.
    Order(Pending),
}

/// The host's decisions.
#[derive(Debug)]
pub struct Keeper {
    cluster: String,
    host: String,
    groups: BTreeMap<String, Group>,
    /// What is saved of groups that the configuration does not name.
    others: BTreeMap<String, SavedGroup>,
    boot_id: String,
    libvirt: LibvirtStatus,
    storing: Storing,
    waiting: VecDeque<Pending>,
    storage_failed: Option<String>,
    /// When what could not be stored is tried again.
    store_again: Option<Instant>,
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
            others: saved.groups,
            boot_id: boot_id.to_owned(),
            libvirt: LibvirtStatus::Lost { reason: "not asked yet".to_owned() },
            storing: Storing::Nothing,
            waiting: VecDeque::new(),
            storage_failed: None,
            store_again: None,
            out: Outbox::new(screenshots),
            jitter: Jitter::new(seed),
        };
        engine.reload(config, now);
        engine
    }

    /// Takes a new configuration. Groups that stay keep all that is known of them; VMs of groups that are gone
    /// from it, or have another VM now, are left as they are.
    pub fn reload(&mut self, config: &Config, now: Instant) {
        config.cluster.name.clone_into(&mut self.cluster);
        let mut before = core::mem::take(&mut self.groups);
        for wanted in config.groups.iter().filter(|g| g.on.contains(&self.host)) {
            let known = before.remove(&wanted.name);
            let group = match known {
                Some(mut group) if group.config().vm == wanted.vm => {
                    group.reload(wanted.clone());
                    group
                }
                other => {
                    let saved = other.map(|g| g.saved().clone()).or_else(|| self.others.remove(&wanted.name));
                    Group::new(
                        wanted.clone(),
                        saved.unwrap_or_default(),
                        Jitter::new(self.jitter.draw()),
                        now,
                    )
                }
            };
            self.groups.insert(wanted.name.clone(), group);
        }
        self.others.extend(before.into_iter().map(|(name, group)| (name, group.saved().clone())));
        while self.others.len() + self.groups.len() > roost_proto::state::MAX_SAVED_GROUPS {
            if self.others.pop_first().is_none() {
                break;
            }
        }
        self.out.dirty = true;
        self.settle(now);
    }

    /// The domains to watch.
    pub fn domains(&self) -> Vec<String> {
        self.groups.values().map(|g| g.config().vm.clone()).collect()
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Libvirt(input) => self.libvirt(now, input),
            Input::Guest { group, input } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.guest(now, input, &mut self.out);
                }
            }
            Input::Operator { request, who, group, order } => {
                self.ordered(Pending { request, who, group, order });
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
        self.groups.values().filter_map(Group::deadline).chain(self.store_again).min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.queue.pop_front()
    }

    fn settle(&mut self, now: Instant) {
        for group in self.groups.values_mut() {
            group.step(now, &mut self.out);
        }
        self.store_next();
    }

    fn libvirt(&mut self, now: Instant, input: LibvirtInput) {
        match input {
            LibvirtInput::Connected => {
                self.libvirt = LibvirtStatus::Connected;
                self.record(Level::Info, EventKind::LibvirtConnected, "libvirt answers".to_owned());
            }
            LibvirtInput::Lost { reason } => {
                self.groups.values_mut().for_each(Group::libvirt_lost);
                if matches!(self.libvirt, LibvirtStatus::Connected) {
                    let text = format!("libvirt does not answer: {reason}; VMs run on, and are not touched");
                    self.record(Level::Error, EventKind::LibvirtLost, text);
                }
                self.libvirt = LibvirtStatus::Lost { reason };
            }
            LibvirtInput::Domain { name, view, happened } => {
                if let Some(group) = self.groups.values_mut().find(|g| g.config().vm == name) {
                    group.observe(now, view, happened, &mut self.out);
                }
            }
            LibvirtInput::Done { ticket, result } => {
                if let Some(group) = self.groups.values_mut().find(|g| g.ticket() == Some(ticket)) {
                    group.done(now, ticket, result, &mut self.out);
                }
            }
        }
    }

    fn record(&mut self, level: Level, kind: EventKind, text: String) {
        self.out.push(Output::Event(draft(level, kind, None, text)));
    }

    fn answer(&mut self, request: RequestId, answer: Result<String, (Refusal, String)>) {
        self.out.push(Output::Answer { request, answer });
    }

    fn ordered(&mut self, order: Pending) {
        if !self.groups.contains_key(&order.group) {
            let guess = nearest(&order.group, self.groups.keys().map(String::as_str));
            let hint = guess.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
            let reason = format!("there is no group '{}' on this host{hint}", order.group);
            self.answer(order.request, Err((Refusal::UnknownGroup, reason)));
        } else if self.waiting.len() >= MAX_WAITING {
            let reason = format!("{MAX_WAITING} orders wait for the disk; try again when it answers");
            self.answer(order.request, Err((Refusal::Busy, reason)));
        } else {
            self.waiting.push_back(order);
        }
    }

    /// Writes the next order, or what changed, unless something is being written.
    fn store_next(&mut self) {
        if !matches!(self.storing, Storing::Nothing) {
            return;
        }
        while let Some(order) = self.waiting.pop_front() {
            let Some(group) = self.groups.get(&order.group) else {
                let reason = format!("group '{}' is gone from the configuration", order.group);
                self.answer(order.request, Err((Refusal::UnknownGroup, reason)));
                continue;
            };
            let ordered = after(group.saved(), order.order);
            let mut saved = self.saved();
            saved.groups.insert(order.group.clone(), ordered);
            self.storing = Storing::Order(order);
            self.out.dirty = false;
            self.out.push(Output::Store(saved));
            return;
        }
        if self.store_again.is_none() && core::mem::take(&mut self.out.dirty) {
            self.storing = Storing::Changes;
            let saved = self.saved();
            self.out.push(Output::Store(saved));
        }
    }

    fn saved(&self) -> Saved {
        let mut groups = self.others.clone();
        groups.extend(self.groups.iter().map(|(name, group)| (name.clone(), group.saved().clone())));
        Saved { version: STATE_VERSION, boot_id: self.boot_id.clone(), groups }
    }

    fn stored(&mut self, now: Instant, result: Result<(), String>) {
        let storing = core::mem::replace(&mut self.storing, Storing::Nothing);
        if let Err(error) = &result {
            if self.storage_failed.is_none() {
                let text = format!("the state could not be stored: {error}; orders are refused until it can");
                self.record(Level::Error, EventKind::Storage, text);
            }
            self.store_again = Some(now + STORE_AGAIN_AFTER);
        }
        self.storage_failed = result.as_ref().err().cloned();
        let Storing::Order(order) = storing else { return };
        if let Err(error) = result {
            let reason = format!("it could not be stored, and so does not hold: {error}");
            self.answer(order.request, Err((Refusal::NotStored, reason)));
            return;
        }
        let Some(group) = self.groups.get_mut(&order.group) else {
            let reason = format!("group '{}' is gone from the configuration", order.group);
            self.answer(order.request, Err((Refusal::UnknownGroup, reason)));
            return;
        };
        let (what, text) = words(order.order);
        group.obey(order.order, now);
        let event =
            draft(Level::Info, EventKind::Operator, Some(order.group), format!("{} {what}", order.who));
        self.out.push(Output::Event(event));
        self.answer(order.request, Ok(text.to_owned()));
    }

    /// The state of everything, at `now`, which is `now_ms` of Unix time.
    pub fn status(&self, now: Instant, now_ms: u64) -> Status {
        let groups: Vec<_> = self.groups.values().map(|g| g.status(now, now_ms)).collect();
        let mut warnings = Vec::new();
        if let Some(error) = &self.storage_failed {
            warnings.push(format!("the state cannot be stored: {error}"));
        }
        let health = |group: &roost_proto::control::GroupStatus| match group.condition {
            Condition::GivenUp => Health::Broken,
            Condition::Offline | Condition::Online if group.dangers.is_empty() && !group.frozen => {
                Health::Healthy
            }
            _ => Health::Degraded,
        };
        let own = match self.libvirt {
            LibvirtStatus::Connected if warnings.is_empty() => Health::Healthy,
            _ => Health::Degraded,
        };
        Status {
            version: CONTROL_VERSION,
            software: concat!("roost ", env!("CARGO_PKG_VERSION")).to_owned(),
            cluster: self.cluster.clone(),
            host: self.host.clone(),
            health: groups.iter().map(health).chain([own]).max().unwrap_or(own),
            libvirt: self.libvirt.clone(),
            groups,
            warnings,
        }
    }
}

/// What an order makes of a group's saved part.
fn after(saved: &SavedGroup, order: OperatorOrder) -> SavedGroup {
    let mut next = saved.clone();
    match order {
        OperatorOrder::Intent(intent) => {
            next.intent = intent;
            next.start_pending = intent == Intent::Online;
            ladder::clear(&mut next);
        }
        OperatorOrder::Freeze => next.frozen = true,
        OperatorOrder::Thaw => {
            next.frozen = false;
            ladder::clear(&mut next);
        }
    }
    next
}

/// An order for the record, and for the operator.
const fn words(order: OperatorOrder) -> (&'static str, &'static str) {
    match order {
        OperatorOrder::Intent(Intent::Online) => ("wants it online", "it is kept online from now on"),
        OperatorOrder::Intent(Intent::Offline) => {
            ("wants it offline", "it is taken offline, and stays so until `roost online`")
        }
        OperatorOrder::Freeze => ("froze it", "it is watched and not touched, until `roost thaw`"),
        OperatorOrder::Thaw => ("thawed it", "it is taken care of again"),
    }
}
