//! What is asked of libvirt about the domains, in which order, and what follows from the answers. Pure: calls and
//! threads are the shell's.
//!
//! Two kinds of calls are told apart. A *safe* one needs nothing of QEMU: it can hang with libvirtd, or behind one
//! domain that libvirtd holds locked. A *probe* goes through a domain's job lock, and hangs when its QEMU does. So one
//! safe call is under way at a time, which keeps views in their order, and probes run beside it, one per domain. What
//! takes too long keeps its slot until it ends, its answer is thrown away, and others go on in the slots that are left.
//! Every call is timed, so that a mute libvirtd is told from a stuck domain by a call that is about no domain at all.

use super::domain::{Basics, Disks, Domain, Look, UNDEFINED};
use super::error::CallError;
use super::view::Cue;
use crate::engine::keeper::vm::{Job, LibvirtInput, Run};
use core::time::Duration;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Calls under way at once, each on a connection of its own that is made when it is first needed: one safe call, one
/// probe, and two that may hang. With those of the orders they are less than half of the workers of a libvirtd as
/// shipped (`max_workers = 20` in libvirtd.conf), and while as many VMs are moved as can be, two thirds of them.
pub const SLOTS: usize = 4;
/// Probes under way at once: half of the slots, so that stuck domains leave room for safe calls.
const MAX_PROBES: usize = 2;
/// The time that a safe call may take; it takes 0.2 ms on an idle machine.
pub const SAFE_LIMIT: Duration = Duration::from_secs(1);
/// The time that the call which is about no domain may take, after a safe one took too long. Together with the poll's
/// 2 s, a libvirtd that hangs is told of within 5 s of its last answer: sooner than the engine calls a VM stuck whose
/// counters did not move.
pub const PING_LIMIT: Duration = Duration::from_secs(2);
/// Domains whose vCPU times are asked for at once. Each takes a call, and an event waits for no more than these: 1 ms.
const COUNTED_AT_ONCE: usize = 8;
/// The time that a probe may take; QEMU answers within milliseconds, or seconds while it writes to a slow disk.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What all domains are, of these.
    All(Arc<BTreeSet<String>>),
    /// All that can be had safely about one domain.
    One(String),
    /// The vCPU times of these domains.
    Count(Vec<String>),
    /// Nothing; only whether libvirt answers.
    Ping,
    /// The job of a domain in this life, and its disks' counters if they are due.
    Probe(String, Option<u32>, Disks),
}

impl Ask {
    /// The domain that it is about.
    const fn domain(&self) -> Option<&String> {
        match self {
            Self::One(name) | Self::Probe(name, ..) => Some(name),
            Self::All(_) | Self::Count(_) | Self::Ping => None,
        }
    }

    const fn is_probe(&self) -> bool {
        matches!(self, Self::Probe(..))
    }

    const fn limit(&self) -> Duration {
        match self {
            Self::All(_) | Self::One(_) | Self::Count(_) => SAFE_LIMIT,
            Self::Ping => PING_LIMIT,
            Self::Probe(..) => PROBE_LIMIT,
        }
    }
}

/// An answer to an [`Ask`] of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The domains that exist, of those asked for.
    All(BTreeMap<String, Basics>),
    /// The domain, if it exists.
    One(Option<Look>),
    /// Nanoseconds, of those that run.
    Count(Vec<(String, u64)>),
    /// libvirt answers.
    Ping,
    /// The job, and the disks' requests if they were asked for and libvirt told.
    Probe(Job, Option<u64>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell the engine about a domain.
    Domain(LibvirtInput),
    /// libvirt answers.
    Answers,
    /// It does not; here is why.
    Mute(String),
    /// The connection is gone, as a call on it found.
    Gone(String),
    /// Something that a person may want to know.
    Note(String),
}

/// A call under way.
#[derive(Debug)]
struct Call {
    ask: Ask,
    since: Instant,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Within its limit.
    Timely,
    /// Past its limit; what it will answer is too old.
    Late,
    /// Of a connection that is gone.
    Orphan,
}

/// Questions about no domain in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    Ping,
    All,
}

/// Whether libvirt answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// There is no connection.
    Down,
    /// There is one, and nothing was answered yet.
    New,
    /// It answers.
    Answering,
    /// It did, and does not now.
    Mute,
}

/// The watch over the domains of one libvirt.
#[derive(Debug)]
pub struct Watch {
    period: Duration,
    link: Link,
    domains: BTreeMap<String, Domain>,
    names: Arc<BTreeSet<String>>,
    slots: [Option<Call>; SLOTS],
    next_poll: Instant,
    /// What is to be asked as soon as there is a slot.
    whole: BTreeSet<Whole>,
    looks: BTreeSet<String>,
    counts: BTreeSet<String>,
    probes: BTreeSet<String>,
    out: VecDeque<Output>,
}

impl Watch {
    /// Watches nothing yet, without a connection; asks for everything each `period`.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            link: Link::Down,
            domains: BTreeMap::new(),
            names: Arc::default(),
            slots: [const { None }; SLOTS],
            next_poll: Instant::default(),
            whole: BTreeSet::new(),
            looks: BTreeSet::new(),
            counts: BTreeSet::new(),
            probes: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Watches these domains from now on, and no others.
    pub fn watch(&mut self, names: BTreeSet<String>) {
        self.domains.retain(|name, _| names.contains(name));
        for due in [&mut self.looks, &mut self.counts, &mut self.probes] {
            due.retain(|name| names.contains(name));
        }
        for name in &names {
            if !self.domains.contains_key(name) {
                self.domains.insert(name.clone(), Domain::default());
                self.looks.insert(name.clone());
            }
        }
        self.names = Arc::new(names);
    }

    /// There is a connection.
    pub fn link_up(&mut self, now: Instant) {
        self.begin(now, Link::New);
    }

    /// The connection is gone, and with it all that was known.
    pub fn link_down(&mut self, now: Instant) {
        self.begin(now, Link::Down);
        self.slots.iter_mut().flatten().for_each(|call| call.pace = Pace::Orphan);
    }

    fn begin(&mut self, now: Instant, link: Link) {
        self.link = link;
        self.next_poll = now + self.period;
        self.forget();
        self.whole.insert(Whole::All);
    }

    fn forget(&mut self) {
        self.whole.clear();
        for due in [&mut self.looks, &mut self.counts, &mut self.probes] {
            due.clear();
        }
        self.domains.values_mut().for_each(|domain| *domain = Domain::default());
    }

    /// libvirt told of something by itself.
    pub fn event(&mut self, name: &str, cue: Cue) {
        let Some(domain) =
            self.domains.get_mut(name).filter(|_| matches!(self.link, Link::New | Link::Answering))
        else {
            return;
        };
        domain.take(cue);
        self.looks.insert(name.to_owned());
    }

    /// Events were missed: everything is asked for.
    pub fn missed(&mut self) {
        self.looks.extend(self.names.iter().cloned());
    }

    /// The next question and the slot that it is asked in, if one is due and there is room.
    pub fn poll_ask(&mut self, now: Instant) -> Option<(usize, Ask)> {
        if matches!(self.link, Link::Down | Link::Mute) {
            return None;
        }
        let free: Vec<usize> = (0..SLOTS).filter(|&slot| self.slots[slot].is_none()).collect();
        let slot = *free.first()?;
        let ask = match self.next_safe() {
            Some(ask) => ask,
            None if free.len() > 1 => self.next_probe()?,
            None => return None,
        };
        self.slots[slot] = Some(Call { ask: ask.clone(), since: now, pace: Pace::Timely });
        Some((slot, ask))
    }

    fn calls(&self) -> impl Iterator<Item = &Call> {
        self.slots.iter().flatten()
    }

    /// Whether the same is being asked already, perhaps in vain.
    fn is_engaged(&self, ask: &Ask) -> bool {
        self.calls().filter(|call| call.pace != Pace::Orphan).any(|call| {
            core::mem::discriminant(&call.ask) == core::mem::discriminant(ask)
                && call.ask.domain() == ask.domain()
        })
    }

    fn next_safe(&mut self) -> Option<Ask> {
        if self.calls().any(|call| call.pace == Pace::Timely && !call.ask.is_probe()) {
            return None;
        }
        if self.whole.remove(&Whole::Ping) && !self.is_engaged(&Ask::Ping) {
            return Some(Ask::Ping);
        }
        if self.link == Link::Answering {
            while let Some(name) = self.looks.pop_first() {
                let ask = Ask::One(name);
                if !self.is_engaged(&ask) {
                    ask.domain().and_then(|name| self.domains.get_mut(name)).map(Domain::begin_look);
                    return Some(ask);
                }
            }
        }
        if !self.is_engaged(&Ask::All(Arc::default())) && self.whole.remove(&Whole::All) {
            return Some(Ask::All(Arc::clone(&self.names)));
        }
        let mut names = Vec::new();
        while names.len() < COUNTED_AT_ONCE
            && let Some(name) = self.counts.pop_first()
        {
            let ask = Ask::One(name);
            if let (false, Ask::One(name)) = (self.is_engaged(&ask), ask) {
                names.push(name);
            }
        }
        (!names.is_empty()).then_some(Ask::Count(names))
    }

    fn next_probe(&mut self) -> Option<Ask> {
        if self.calls().filter(|call| call.ask.is_probe()).count() >= MAX_PROBES {
            return None;
        }
        while let Some(name) = self.probes.pop_first() {
            let Some(domain) = self.domains.get(&name) else { continue };
            let ask = Ask::Probe(name, domain.seen().and_then(|seen| seen.life), domain.disks());
            if !self.is_engaged(&ask) {
                return Some(ask);
            }
        }
        None
    }

    /// A call ended.
    pub fn answered(&mut self, slot: usize, answer: Result<Answer, CallError>) {
        let call = self.slots[slot].take().expect("a call ends once, in the slot that it was given");
        if call.pace == Pace::Orphan {
            return;
        }
        if let Err(CallError::Gone(words)) = answer {
            self.out.push_back(Output::Gone(words));
            return;
        }
        if self.link == Link::Mute && !call.ask.is_probe() {
            self.link = Link::New;
            self.whole.extend([Whole::Ping, Whole::All]);
        }
        if call.pace == Pace::Late {
            self.ask_again(call.ask);
            return;
        }
        match (call.ask, answer) {
            (Ask::All(_), Ok(Answer::All(domains))) => self.all_seen(domains),
            (Ask::All(_), Err(error)) => self.all_failed(&error),
            (Ask::Ping, _) if self.link == Link::New => {
                // It answers, but not what all domains are, which can be one domain's fault.
                self.answers();
                self.missed();
            }
            (Ask::One(name), Ok(Answer::One(look))) => self.looked(&name, look),
            (Ask::One(name), Err(_)) => {
                // It is looked at again with the next poll.
                self.domains.entry(name).and_modify(Domain::unsee);
            }
            (Ask::Count(_), Ok(Answer::Count(times))) => {
                times.iter().for_each(|(name, cpu_ns)| self.counted(name, *cpu_ns));
            }
            (Ask::Probe(name, life, _), Ok(Answer::Probe(job, requests))) => {
                self.probed(&name, life, job, requests);
            }
            // A domain that stopped meanwhile has no counters; an event or the next poll tells.
            _ => {}
        }
    }

    /// What was late is over; what it said is too old.
    fn ask_again(&mut self, late: Ask) {
        match late {
            Ask::All(_) => {
                self.whole.insert(Whole::All);
            }
            Ask::Ping => {
                self.whole.insert(Whole::Ping);
            }
            Ask::One(name) if self.domains.contains_key(&name) => {
                self.looks.insert(name);
            }
            _ => {}
        }
    }

    fn answers(&mut self) {
        if self.link == Link::New {
            self.link = Link::Answering;
            self.out.push_back(Output::Answers);
        }
    }

    fn all_seen(&mut self, mut all: BTreeMap<String, Basics>) {
        self.answers();
        let one_by_one = self.is_engaged(&Ask::Count(Vec::new()));
        for name in Arc::clone(&self.names).iter() {
            let now = all.remove(name).unwrap_or(UNDEFINED);
            let Some(domain) = self.domains.get_mut(name) else { continue };
            let news = match domain.seen() {
                Some(before) => before.run != now.run || before.life != now.life,
                None => now.run != Run::Undefined, // what it needs of its host is told by a closer look
            };
            if news || domain.awaits_look() || self.looks.contains(name) {
                // A closer look lets the event that tells the cause arrive before.
                self.looks.insert(name.clone());
                continue;
            }
            domain.see(now);
            if now.life.is_some() && one_by_one {
                self.looks.insert(name.clone());
            } else if now.life.is_some() {
                self.counts.insert(name.clone());
            } else {
                self.tell(name);
            }
        }
    }

    fn all_failed(&mut self, error: &CallError) {
        if self.link == Link::New {
            self.out.push_back(Output::Mute(error.to_string()));
        } else {
            self.missed();
        }
    }

    fn looked(&mut self, name: &str, look: Option<Look>) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        let look = look.unwrap_or(Look { basics: UNDEFINED, cpu_ns: 0, cid: None, need: None });
        domain.look(&look);
        if look.basics.life.is_some() {
            self.probes.insert(name.to_owned());
        }
        self.out.extend(domain.tell_look(name).into_iter().map(Output::Domain));
    }

    fn counted(&mut self, name: &str, cpu_ns: u64) {
        let Some(domain) = self.domains.get_mut(name) else { return };
        if domain.count(cpu_ns) {
            self.probes.insert(name.to_owned());
        }
        self.tell(name);
    }

    fn probed(&mut self, name: &str, life: Option<u32>, job: Job, requests: Option<u64>) {
        if self.domains.get_mut(name).is_some_and(|domain| domain.probe(life, job, requests)) {
            self.tell(name);
        }
    }

    fn tell(&mut self, name: &str) {
        let told = self.domains.get(name).and_then(|domain| domain.tell(name));
        self.out.extend(told.map(Output::Domain));
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for slot in 0..SLOTS {
            let Some(call) = &mut self.slots[slot] else { continue };
            if call.pace == Pace::Timely && now >= call.since + call.ask.limit() {
                call.pace = Pace::Late;
                let ask = call.ask.clone();
                self.late(&ask);
            }
        }
        if matches!(self.link, Link::New | Link::Answering) && now >= self.next_poll {
            self.next_poll = now + self.period;
            self.whole.insert(Whole::All);
            if self.is_engaged(&Ask::All(Arc::default())) {
                self.missed();
            }
        }
    }

    fn late(&mut self, ask: &Ask) {
        match ask {
            Ask::Ping => self.mute(),
            // An earlier ping is still not answered, and another would tell no more.
            Ask::All(_) | Ask::Count(_) | Ask::One(_) if self.is_engaged(&Ask::Ping) => self.mute(),
            Ask::All(_) | Ask::Count(_) => {
                self.whole.insert(Whole::Ping); // the next poll goes from domain to domain
            }
            Ask::One(name) => {
                self.whole.insert(Whole::Ping);
                let text =
                    format!("libvirt does not say how domain '{name}' is; what is known of it grows old");
                self.out.push_back(Output::Note(text));
            }
            Ask::Probe(name, ..) => {
                let text = format!(
                    "the QEMU of domain '{name}' does not answer libvirt; its disks' counters and jobs are not known"
                );
                self.out.push_back(Output::Note(text));
            }
        }
    }

    fn mute(&mut self) {
        self.link = Link::Mute;
        self.out.push_back(Output::Mute("libvirtd holds the connection and answers nothing".to_owned()));
    }

    /// When to call [`Watch::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let polls = matches!(self.link, Link::New | Link::Answering).then_some(self.next_poll);
        let calls =
            self.calls().filter(|call| call.pace == Pace::Timely).map(|call| call.since + call.ask.limit());
        calls.chain(polls).min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests;
