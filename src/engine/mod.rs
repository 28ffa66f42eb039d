//! Every decision of a host, as pure machines: no I/O, no clock, no thread.
//!
//! The rooms: [`raft`] keeps one log on all voters, [`ledger`] is what that log says; [`member`] is this host among the
//! others, with its lease; [`leader`] is what the leader decides; [`keeper`] is what this host does with the groups that
//! are its own. [`Engine`] joins them. After every input, outputs are drained to empty.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod answers;
pub mod consult;
mod decided;
mod desk;
mod explain;
pub mod fence;
mod hands;
mod interface;
pub mod keeper;
pub mod leader;
mod lease;
mod leave;
pub mod ledger;
pub mod member;
mod moves;
mod operator;
mod quorum;
pub mod raft;
mod report;
mod rights;
mod show;
mod talk;
pub mod tally;
mod tell;
#[cfg(test)]
mod tests;
mod versions;
pub mod watchdog;
mod watched;

use crate::config::{Config, OnQuorumLoss};
use answers::Purpose;
use consult::Consult;
use core::time::Duration;
use desk::{Desk, Named, Wish};
pub use interface::{Command, Destination, Input, Output, Start};
use keeper::{Controller, Keeper, RequestId};
use leader::{Act, Leader};
use ledger::{Ledger, Standing};
use member::Member;
use moves::Travel;
use raft::Raft;
use report::Reporter;
use rights::{Hands, Lease, Stand};
use roost_proto::cluster::decision::{Asked, Decision, Entry};
use roost_proto::cluster::raft::{Index, Term, Voters};
use roost_proto::cluster::{GroupReport, GroupState, Hello, HostId, Incarnation, Message};
use roost_proto::control::{EventKind, Level, Refusal};
use roost_proto::retry::Jitter;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use talk::NOBODY;
use tally::Tally;
use watchdog::WatchdogInput;

/// An election begins when a leader was not heard for so many beats, or up to twice as long: long enough for some lost
/// datagrams, short enough that there is a new leader before the old one is evicted.
const ELECTION_BEATS: u32 = 4;
/// Encoded bytes of one message of consensus, at most: with a beat and its head it fits a datagram.
const MAX_RAFT_MESSAGE: usize = 1000;
/// A host that did nothing for so many beats was not awake.
const ASLEEP_BEATS: u32 = 3;
/// Rounds of consensus and decisions after one input, at most; more would be a loop.
const MAX_ROUNDS: usize = 64;
/// A host that leaves waits so long for its groups to be stopped and for the others to know it: as long as guests may take.
/// systemd must let it (`TimeoutStopSec` in `roostd.service`).
pub const LEAVE_WITHIN: Duration = Duration::from_secs(180);
/// Entries of the log that are kept before it is made into a snapshot: they take less memory than the ledger itself.
const MAX_LOG: usize = 1000;

/// Whom this host hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A majority of the voters, itself counted.
    Majority,
    /// Fewer.
    Few,
}

/// Whether this host stays in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Staying,
    /// It gives everything back, and goes: at the latest then.
    Leaving {
        /// When.
        until: Instant,
    },
    /// It went.
    Gone,
}

/// Messages that wait to be sent, by host. After most inputs there are few, however many hosts wait for the beat.
#[derive(Debug, Default)]
struct Mail {
    /// At the end of this input.
    now: BTreeMap<HostId, Vec<Message>>,
    /// With the next beat.
    later: BTreeMap<HostId, Vec<Message>>,
}

/// The host's decisions.
#[derive(Debug)]
pub struct Engine {
    me: HostId,
    incarnation: Incarnation,
    machine: u64,
    config: Arc<Config>,
    /// The hosts that the configuration names.
    names: BTreeMap<HostId, String>,
    /// Those of them that are to vote.
    named_voters: BTreeSet<HostId>,
    jitter: Jitter,
    keeper: Keeper,
    raft: Raft,
    ledger: Ledger,
    applied: Index,
    /// The voters as of the applied ledger, and since when.
    voters: Voters,
    voters_since: Index,
    /// Until this index is applied, the ledger here may be older than what this voter once told others.
    answers_from: Index,
    member: Member,
    leader: Option<Leader>,
    /// The leader decides anew when this is applied.
    proposed: Index,
    /// What it decided was passed over: it decides anew with the next beat, not at once and for ever.
    rests: bool,
    next_ticket: u64,
    watchdog: Option<WatchdogInput>,
    reporter: Reporter,
    /// What the keeper said of its groups the last time, by name.
    reports: Vec<GroupReport>,
    desk: Desk,
    consult: Consult<Purpose>,
    stand: Stand,
    lease: Lease,
    hands: Hands,
    /// When this host applied the newest arming, if it did in this life.
    armed: Option<Instant>,
    /// The number of the configuration file that the others were told of last.
    told_file: u32,
    /// The watchdog was ordered to be opened again, and its driver has not answered.
    opens_watchdog: bool,
    /// What to do without a majority, as of this life's beginning: what it says of its silence holds for all of it.
    on_quorum_loss: OnQuorumLoss,
    /// What this life held when it was thrown out.
    held: BTreeSet<String>,
    stay: Stay,
    /// Something changed that rights, reports or the leader depend on.
    changed: Changed,
    contact: Contact,
    mail: Mail,
    next_beat: Instant,
    awake: Instant,
    told_leader: Option<HostId>,
    disk: Result<(), String>,
    complaints: BTreeSet<(HostId, &'static str)>,
    /// What other hosts asked for and was proposed, and in which term.
    asked: BTreeMap<HostId, (Term, Asked)>,
    /// What other hosts asked for last and is not done, and why.
    declined: BTreeMap<HostId, (Asked, String)>,
    /// The machines of the configuration that run no roostd.
    watched: BTreeSet<HostId>,
    /// Those that this leader speaks with.
    watches: BTreeMap<HostId, watched::Watch>,
    /// The minute of the week, if anybody told it.
    minute: Option<u16>,
    /// Moves that are under way, by group.
    travels: BTreeMap<String, Travel>,
    known: versions::Known,
    beats: u64,
    tally: Tally,
    out: VecDeque<Output>,
}

/// What has to be looked at again.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    ledger: Flag,
    keeper: Flag,
    leader: Flag,
}

/// Whether something is to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flag {
    #[default]
    Seen,
    Unseen,
}

impl Flag {
    /// Whether it was unseen; it is seen now.
    const fn take(&mut self) -> bool {
        matches!(core::mem::replace(self, Self::Seen), Self::Unseen)
    }
}

impl Engine {
    /// The machine of one host, which `config` names.
    pub fn new(config: impl Into<Arc<Config>>, start: Start, now: Instant) -> Self {
        let config = config.into();
        let Start { host, incarnation, machine, boot_id, saved, stored, lease_until, seed, screenshots } =
            start;
        let me = HostId::of(&host);
        let timing = config.cluster.timing;
        let mut jitter = Jitter::new(seed);
        let settings = raft::Settings {
            me,
            beat: timing.beat,
            election: timing.beat * ELECTION_BEATS,
            max_message: MAX_RAFT_MESSAGE,
            reads: |content| match content {
                raft::Content::Entry(bytes) => postcard::from_bytes::<Entry>(bytes).is_ok(),
                raft::Content::Snapshot(bytes) => Ledger::from_snapshot(bytes).is_some(),
            },
        };
        let keeper = Keeper::new(&config, &host, saved, &boot_id, jitter.draw(), screenshots, now);
        let hands = keeper.disarmed().map_or(Hands::On, |at| Hands::Off { at });
        let raft = Raft::new(settings, stored, jitter.draw(), now);
        let first_beat =
            Duration::from_nanos(jitter.draw() % u64::try_from(timing.beat.as_nanos()).unwrap_or(1));
        let mut engine = Self {
            me,
            incarnation,
            machine,
            names: names(&config),
            named_voters: named_voters(&config),
            on_quorum_loss: config.cluster.on_quorum_loss,
            told_file: config.number,
            config,
            keeper,
            ledger: Ledger::default(),
            applied: 0,
            voters: Voters::new(),
            voters_since: 0,
            answers_from: raft.last_index(),
            raft,
            member: Member::new(me, incarnation, timing.beat, timing.lease, lease_until, now),
            leader: None,
            proposed: 0,
            rests: false,
            next_ticket: jitter.draw() >> 16,
            watchdog: None,
            reporter: Reporter::default(),
            reports: Vec::new(),
            desk: Desk::new(me, incarnation),
            consult: Consult::new(incarnation.start),
            stand: Stand::Waiting,
            lease: Lease::Out,
            hands,
            armed: None,
            opens_watchdog: false,
            held: BTreeSet::new(),
            stay: Stay::Staying,
            changed: Changed { ledger: Flag::Unseen, keeper: Flag::Unseen, leader: Flag::Unseen },
            contact: Contact::Few,
            mail: Mail::default(),
            next_beat: now + first_beat,
            awake: now,
            told_leader: None,
            disk: Ok(()),
            complaints: BTreeSet::new(),
            asked: BTreeMap::new(),
            declined: BTreeMap::new(),
            watched: BTreeSet::new(),
            watches: BTreeMap::new(),
            minute: None,
            travels: BTreeMap::new(),
            known: versions::Known::default(),
            beats: 0,
            tally: Tally::default(),
            out: VecDeque::new(),
            jitter,
        };
        engine.reload_watches(now);
        engine.settle(now);
        engine
    }

    /// Takes a new configuration; nothing is restarted for it. Times of the cluster hold from the next start on.
    pub fn reload(&mut self, config: &Config, now: Instant) {
        let mut taken = config.clone();
        taken.cluster.timing = self.config.cluster.timing;
        self.config = Arc::new(taken);
        self.names = names(config);
        self.named_voters = named_voters(config);
        self.keeper.reload(config, now);
        self.reload_watches(now);
        if let Some(leader) = &mut self.leader {
            leader.reloaded();
        }
        self.changed = Changed { ledger: Flag::Unseen, keeper: Flag::Unseen, leader: Flag::Unseen };
        self.settle(now);
    }

    /// The domains to watch.
    pub fn domains(&self) -> Vec<String> {
        self.keeper.domains()
    }

    /// The ledger, as far as it is applied here.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Up to which index the ledger is applied here.
    pub const fn applied(&self) -> Index {
        self.applied
    }

    /// The groups that the ledger, as far as it is applied here, gives to this host, by name.
    pub fn owned(&self) -> &BTreeSet<String> {
        self.ledger.owned(self.me)
    }

    /// Consensus, to look at.
    pub const fn raft(&self) -> &Raft {
        &self.raft
    }

    /// What this host does with its own groups, to look at.
    pub const fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Whom this host hears, to look at.
    pub const fn member(&self) -> &Member {
        &self.member
    }

    /// The leader's policy, if this host leads.
    pub const fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    /// What was counted, to look at.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whom this host hears of the voters, to look at.
    pub const fn contact(&self) -> Contact {
        self.contact
    }

    /// What is known of the watchdog device, to look at.
    pub const fn watchdog(&self) -> Option<&WatchdogInput> {
        self.watchdog.as_ref()
    }

    /// Until when this host may run what it owns.
    pub fn lease_until(&self) -> Option<Instant> {
        self.member.lease_until(if self.stand == Stand::Admitted { &self.voters } else { &NOBODY })
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.wake(now);
        match input {
            Input::Libvirt(input) => {
                self.keeper.handle(now, keeper::Input::Libvirt(input));
                self.changed.keeper = Flag::Unseen;
            }
            Input::Guest { group, input } => {
                self.keeper.handle(now, keeper::Input::Guest { group: group.clone(), input });
                let who = Controller::Guest(group.clone());
                let mut about = core::iter::once(group.as_str()).chain(self.keeper.apps_of(&who));
                if about.any(|group| self.is_unreported(now, group)) {
                    self.changed.keeper = Flag::Unseen; // mostly it only beats
                }
            }
            Input::Machine(input) => {
                self.keeper.handle(now, keeper::Input::Machine(input));
                let mut about = self.keeper.apps_of(&Controller::Machine);
                if about.any(|group| self.is_unreported(now, group)) {
                    self.changed.keeper = Flag::Unseen;
                }
            }
            Input::Operator { request, who, command } => self.operator(now, request, &who, command),
            Input::Ask { request, ask, now_ms } => self.ask(now, request, ask, now_ms),
            Input::Stored(result) => {
                let bound = self.keeps_to_its_lease();
                self.keeper.handle(now, keeper::Input::Stored(result));
                if bound != self.keeps_to_its_lease() {
                    self.changed.leader = Flag::Unseen;
                }
            }
            Input::Datagram { from, incarnation, datagram } => self.hear(now, from, incarnation, datagram),
            Input::Knows { host, newest } => self.known.shows(host, newest),
            Input::Written { number } => self.raft.written(now, number),
            Input::LedgerDisk(result) => self.disk_says(result),
            Input::Fence { ticket, result } => {
                let acts = self.leader.as_mut().map(|leader| leader.fenced(now, ticket, &result));
                self.carry_out(now, acts.unwrap_or_default());
                self.changed.leader = Flag::Unseen;
            }
            Input::Watchdog(state) => self.watchdog_says(state),
            Input::Watched { host, input } => self.watched_says(now, &host, input),
            Input::Minute(minute) => {
                self.minute = Some(minute);
                self.changed.leader = Flag::Unseen;
            }
            Input::Leave => {
                if self.stay == Stay::Staying {
                    self.stay = Stay::Leaving { until: now + LEAVE_WITHIN };
                }
            }
        }
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.wake(now);
        self.raft.handle_timeout(now);
        if self.keeper.poll_timeout().is_some_and(|at| now >= at) {
            self.keeper.handle_timeout(now);
            self.changed.keeper = Flag::Unseen;
        }
        self.time_for_watches(now);
        if now >= self.next_beat {
            self.beat(now);
        }
        if self.leader.as_ref().and_then(Leader::deadline).is_some_and(|at| now >= at) {
            self.changed.leader = Flag::Unseen;
        }
        self.settle(now);
    }

    /// When to call [`Engine::handle_timeout`], if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // A host that runs on without one has it long behind.
        let lease = self.lease_until().filter(|until| self.lease == Lease::Held && *until > self.awake);
        let leader = self
            .leader
            .as_ref()
            .and_then(Leader::deadline)
            .filter(|_| self.applied >= self.proposed && !self.rests);
        [
            Some(self.next_beat),
            self.raft.poll_timeout(),
            self.keeper.poll_timeout(),
            self.desk.deadline(self.awake),
            self.consult.deadline(),
            self.hands_deadline(),
            self.watch_deadline(),
            lease,
            leader,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Before anything else: this host may have stood still, and what it may do may have ended meanwhile.
    fn wake(&mut self, now: Instant) {
        if now.since(self.awake) > self.config.cluster.timing.beat * ASLEEP_BEATS {
            self.member.awoke(now);
            self.keeper.awoke(now);
        }
        self.awake = now;
        self.look_at_lease(now);
    }

    /// A host that was cut off does not judge by what it did not hear meanwhile: its judgement begins anew.
    fn look_at_contact(&mut self, now: Instant) {
        let limit = self.config.cluster.timing.suspect_after;
        let heard = |voter: &&HostId| {
            **voter == self.me
                || self
                    .member
                    .peer(**voter)
                    .and_then(|peer| peer.heard)
                    .is_some_and(|at| now.since(at) < limit)
        };
        let majority = self.voters.keys().filter(heard).count() > self.voters.len() / 2;
        let contact = if majority { Contact::Majority } else { Contact::Few };
        if core::mem::replace(&mut self.contact, contact) == Contact::Few && majority {
            self.member.awoke(now);
            self.changed.leader = Flag::Unseen;
        }
    }

    fn settle(&mut self, now: Instant) {
        self.look_at_contact(now);
        for _ in 0..MAX_ROUNDS {
            let mut again = self.take_from_raft(now);
            again |= self.lead(now);
            if !again {
                break;
            }
        }
        self.found(now);
        self.look_at_lease(now);
        self.take_from_keeper(now);
        self.report(now);
        self.serve_desk(now);
        self.serve_consult(now);
        while self.take_from_raft(now) {}
        self.compact(now);
        self.look_at_end(now);
        self.send();
    }

    /// Lets the leader decide; whether it did.
    fn lead(&mut self, now: Instant) -> bool {
        if self.applied < self.proposed || self.rests || self.leader.is_none() || !self.changed.leader.take()
        {
            return false;
        }
        let acts = self.with_leader(now, leader::Leader::step).unwrap_or_default();
        self.carry_out(now, acts)
    }

    /// Has the leader look at things as they are, if this host leads.
    fn with_leader<T>(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut Leader, &leader::View<'_>) -> T,
    ) -> Option<T> {
        let here = self.ledger.hosts().filter(|(_, host)| host.standing != Standing::Out);
        let learners = self.names.keys().copied().chain(here.map(|(id, _)| id));
        let learners: BTreeSet<HostId> = learners.filter(|id| !self.watched.contains(id)).collect();
        let caught_up = learners.iter().copied().filter(|host| self.raft.caught_up(*host)).collect();
        self.raft.set_learners(learners);
        let mut leader = self.leader.take()?;
        let own = self.hello();
        let result = call(&mut leader, &self.view(now, &own, &caught_up));
        self.leader = Some(leader);
        Some(result)
    }

    /// What a leader looks at, as this host sees it; `own` is what the host says of itself.
    fn view<'a>(&'a self, now: Instant, own: &'a Hello, caught_up: &'a BTreeSet<HostId>) -> leader::View<'a> {
        leader::View {
            now,
            me: self.me,
            incarnation: self.incarnation,
            own: Some(own).filter(|_| self.stay == Stay::Staying && self.stand != Stand::Over),
            config: &self.config,
            ledger: &self.ledger,
            member: &self.member,
            contact: self.contact,
            lease: self.lease,
            armed: self.armed,
            voters: &self.voters,
            voters_since: self.voters_since,
            caught_up,
            watched: &self.watched,
            minute: self.minute,
        }
    }

    /// Does what the leader wants; whether something was proposed.
    fn carry_out(&mut self, now: Instant, acts: Vec<Act>) -> bool {
        let mut proposed = false;
        for act in acts {
            match act {
                Act::Decide(decision) => proposed |= self.propose(now, &Entry { asked: None, decision }),
                Act::Voters(voters) => {
                    if let Ok(index) = self.raft.change_voters(now, voters) {
                        self.proposed = self.proposed.max(index);
                        proposed = true;
                    }
                }
                Act::Fence(order) => self.out.push_back(Output::Fence(order)),
                Act::WithdrawFence(ticket) => self.out.push_back(Output::WithdrawFence(ticket)),
                Act::Tell(level, kind, group, text) => self.record(level, kind, group, text),
            }
        }
        proposed
    }

    fn take_from_keeper(&mut self, now: Instant) {
        while let Some(output) = self.keeper.poll_output() {
            match output {
                keeper::Output::Wish { group, order, why } => {
                    let decision = Decision::Order { group, order, by: why };
                    let wish = Wish::Decision(decision);
                    let _ = self.desk.ask(now, None, wish, String::new()); // it is wished again
                }
                output => self.out.push_back(Output::Keeper(output)),
            }
        }
    }

    /// Tells the leader what changed here.
    fn report(&mut self, now: Instant) {
        if self.changed.keeper.take() {
            self.reporter.room(self.keeper.room());
            let reports = self.keeper.reports(now);
            for report in &reports {
                if self.reported(&report.group) == Some(report) {
                    continue;
                }
                let record = self.ledger.group(&report.group);
                let matters = record.owner == Some(self.me)
                    || record.epoch == 0
                    || self.keeper.is_app(&report.group) // whether it could be here
                    || !matches!(report.state, GroupState::Down | GroupState::Unknown)
                    || self.reporter.tells_of(&report.group);
                if matters {
                    self.reporter.group(report.clone());
                }
            }
            self.reports = reports;
            self.tell_leader(now);
        }
    }

    /// Whether a group is otherwise than the keeper said the last time.
    fn is_unreported(&self, now: Instant, group: &str) -> bool {
        self.keeper.report(now, group).as_ref() != self.reported(group)
    }

    /// What the keeper said of a group the last time.
    fn reported(&self, group: &str) -> Option<&GroupReport> {
        let at = self.reports.binary_search_by(|known| known.group.as_str().cmp(group)).ok()?;
        self.reports.get(at)
    }

    fn tell_leader(&mut self, now: Instant) {
        let term = self.raft.term();
        match self.raft.leader() {
            Some(leader) if leader == self.me => {
                let reports = self.reporter.unheard(term);
                let Some(leader) = &mut self.leader else { return };
                for report in reports {
                    let heard = leader.report(now, self.me, self.incarnation, report);
                    self.reporter.heard(term, heard);
                    self.changed.leader = Flag::Unseen;
                }
                if self.changed.leader == Flag::Unseen && self.applied >= self.proposed {
                    self.lead(now);
                }
            }
            Some(leader) => {
                let messages = self.reporter.messages(term);
                self.mail.now.entry(leader).or_default().extend(messages);
            }
            None => {}
        }
    }

    fn serve_desk(&mut self, now: Instant) {
        while let Some(ask) = self.desk.expired(now) {
            let reason =
                "no majority of voters has decided it within 10 s; it may still be, see `roost status`"
                    .to_owned();
            self.answer(ask.request, Err((Refusal::NotStored, reason)));
        }
        while self.contact == Contact::Few
            && let Some(ask) = self.desk.hopeless(now)
        {
            let reason = format!(
                "{}. The order is not kept here; if a leader had it before, it may still be carried out: see `roost status` then",
                self.no_quorum(now)
            );
            self.answer(ask.request, Err((Refusal::NoQuorum, reason)));
        }
        if self.raft.is_leader()
            && let Some(named) = self.desk.propose_in(self.raft.term())
        {
            match named {
                Named::Entry(entry) => {
                    self.propose(now, &entry);
                }
                Named::Move(ask) => match self.plan_move(now, &ask) {
                    Some(Ok(())) => {}
                    Some(Err(reason)) => self.refused(ask.asked, reason),
                    None => self.desk.again(),
                },
            }
        }
    }

    fn disk_says(&mut self, result: Result<(), String>) {
        match &result {
            Err(error) => {
                let text =
                    format!("the ledger cannot be written: {error}; this host does not vote until it can");
                self.record(Level::Error, EventKind::Storage, None, text);
            }
            Ok(()) => {
                let text = "the ledger can be written again".to_owned();
                self.record(Level::Info, EventKind::Storage, None, text);
            }
        }
        self.disk = result;
    }

    fn record(&mut self, level: Level, kind: EventKind, group: Option<String>, text: String) {
        self.out.push_back(Output::Keeper(keeper::Output::Event(keeper::draft(level, kind, group, text))));
    }

    fn answer(&mut self, request: Option<RequestId>, answer: Result<String, (Refusal, String)>) {
        if let Some(request) = request {
            self.out.push_back(Output::Answer { request, answer });
        }
    }

    fn name(&self, host: HostId) -> String {
        self.names.get(&host).map_or_else(|| format!("{host:?}"), Clone::clone)
    }
}

fn names(config: &Config) -> BTreeMap<HostId, String> {
    config.hosts.iter().map(|host| (HostId::of(&host.name), host.name.clone())).collect()
}

fn named_voters(config: &Config) -> BTreeSet<HostId> {
    config.voters().map(|host| HostId::of(&host.name)).collect()
}
