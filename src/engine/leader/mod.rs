//! The leader's policy: who is admitted, evicted and fenced, and which group goes where.
//!
//! It decides on what the ledger says and on what hosts report, and keeps only what a new leader can learn anew. Its
//! decisions are proposals: they hold when the ledger has applied them. It decides anew only when all that it proposed was
//! applied.

pub mod apps;
mod fencing;
mod groups;
mod hosts;
mod kept;
pub mod moves;
pub mod placement;
pub mod rehearse;
pub mod reports;
mod rounds;
#[cfg(test)]
mod tests;
mod trial;

use super::Contact;
use super::fence::{FenceOrder, FenceResult, FenceTicket};
use super::ledger::{Ledger, Standing};
use super::member::Member;
use super::rights::Lease;
use crate::config::Config;
use core::time::Duration;
use fencing::Fencing;
use reports::Reports;
use roost_proto::cluster::decision::{Decision, FencedBy};
use roost_proto::cluster::raft::{Index, Voters};
use roost_proto::cluster::{Hello, HostId, Incarnation, Report, Silent};
use roost_proto::control::{EventKind, Level, MoveMethod};
use roost_proto::time::Instant;
use rounds::Rounds;
use std::collections::{BTreeMap, BTreeSet};

/// What a voter says of whom it does not hear counts for so many beats: after that it would have said it again.
const EVIDENCE_BEATS: u32 = 2;

/// What the leader looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Now.
    pub now: Instant,
    /// This host.
    pub me: HostId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it says of itself; nothing while it leaves.
    pub own: Option<&'a Hello>,
    /// The configuration here.
    pub config: &'a Config,
    /// The applied ledger.
    pub ledger: &'a Ledger,
    /// Whom this host hears.
    pub member: &'a Member,
    /// Whether this host itself has a lease.
    pub lease: Lease,
    /// When this host applied the newest arming, if it did in this life: who was silent before that is judged from then on.
    pub armed: Option<Instant>,
    /// Whether it hears a majority: if not, it judges nobody by silence.
    pub contact: Contact,
    /// The voters, as of the applied ledger.
    pub voters: &'a Voters,
    /// The index of that word about the voters.
    pub voters_since: Index,
    /// Voters-to-be that have all of the log.
    pub caught_up: &'a BTreeSet<HostId>,
    /// Machines that run no roostd, and that this host alone hears, while it leads.
    pub watched: &'a BTreeSet<HostId>,
    /// The minute of the week here, by local time, from Monday, 00:00; none when nobody has told it.
    pub minute: Option<u16>,
}

impl View<'_> {
    /// Whether a host is in the cluster and heard, in the life that was admitted.
    pub fn is_here(&self, host: HostId) -> bool {
        let Standing::In(member) = self.ledger.standing(host) else { return false };
        if host == self.me {
            return member.incarnation == self.incarnation && self.own.is_some();
        }
        let silence = self.member.silence(self.now, host);
        silence.life == Some(member.incarnation)
            && silence.age < self.suspect_after(host)
            && self.member.peer(host).is_some_and(|peer| peer.state != roost_proto::cluster::Life::Leaving)
    }

    /// How long a host may be silent before it is suspect.
    pub fn suspect_after(&self, host: HostId) -> Duration {
        match self.silence_of(host) {
            Some(silence) => silence / 2,
            None => self.config.cluster.timing.suspect_after,
        }
    }

    /// How long a host may be silent before it is evicted, whatever is known of its power.
    pub fn evict_after(&self, host: HostId) -> Duration {
        self.silence_of(host).unwrap_or(self.config.cluster.timing.evict_after)
    }

    /// How long a machine that is watched may be silent.
    fn silence_of(&self, host: HostId) -> Option<Duration> {
        let watched = self.watched.contains(&host).then(|| self.config.host_by_id(host));
        watched.flatten().map(|host| host.silence)
    }

    /// Whether a host that is here may start anything yet.
    pub fn has_lease(&self, host: HostId) -> bool {
        let told =
            || self.member.peer(host).is_some_and(|peer| peer.state == roost_proto::cluster::Life::Leased);
        if host == self.me { self.lease == Lease::Held } else { told() }
    }

    /// A host's name, for people.
    pub fn name(&self, host: HostId) -> String {
        let config = self.config.hosts.iter().find(|known| HostId::of(&known.name) == host);
        config.map_or_else(
            || self.ledger.host(host).map_or_else(|| format!("{host:?}"), |record| record.name.clone()),
            |known| known.name.clone(),
        )
    }
}

/// What the leader wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Propose this.
    Decide(Decision),
    /// Propose these voters.
    Voters(Voters),
    /// Ask fence agents.
    Fence(FenceOrder),
    /// They are not to do it any more.
    WithdrawFence(FenceTicket),
    /// Record this.
    Tell(Level, EventKind, Option<String>, String),
}

/// What a voter said of a host that it does not hear.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    arrived: Instant,
    age: Duration,
    life: Option<Incarnation>,
}

/// Why a group is not given to anybody.
#[derive(Debug)]
struct Waiting {
    reason: String,
    since: Instant,
    told: bool,
}

/// One leader's time in office.
#[derive(Debug)]
pub struct Leader {
    since: Instant,
    reports: Reports,
    rounds: Rounds,
    evidence: BTreeMap<HostId, BTreeMap<HostId, Evidence>>,
    /// When voters last answered lives that were evicted, in this leader's time.
    last_answers: BTreeMap<(HostId, Incarnation), BTreeMap<HostId, Instant>>,
    fencing: BTreeMap<HostId, Fencing>,
    next_ticket: u64,
    /// The index of the last change of the voters, and when this leader first saw it.
    voters_since: (Index, Instant),
    /// When groups were assigned, to spread starts.
    assigned: BTreeMap<String, (HostId, Instant)>,
    /// Groups that are kept for hosts that were shut down.
    kept: BTreeMap<String, kept::Keeping>,
    /// Since when groups are well, of those with failures to forgive.
    well: BTreeMap<String, Instant>,
    /// When groups were taken from hosts because they failed there.
    failures: BTreeMap<HostId, BTreeMap<String, Instant>>,
    /// Since when hosts are quarantined.
    quarantined: BTreeMap<HostId, Instant>,
    /// Methods by which groups could not be moved, in which epoch.
    refused: BTreeMap<String, (u64, Vec<MoveMethod>)>,
    /// Groups that none of their methods moved from a host that is to be emptied, so that it is told once.
    stuck: BTreeMap<String, u64>,
    /// New targets of applications that are made ready.
    readying: BTreeMap<String, apps::Readying>,
    /// Since when applications could go home by themselves.
    homing: BTreeMap<String, apps::Homing>,
    /// When hosts that leave were first seen to.
    leaving: BTreeMap<HostId, Instant>,
    /// Since when groups make room for others, and when the last was seen to go.
    making_room: Option<(Instant, Instant)>,
    /// Why groups that are wanted are not given to anybody.
    waiting: BTreeMap<String, Waiting>,
    /// What was told of hosts, so that it is told once.
    told: BTreeMap<HostId, String>,
    /// When time alone may change what is decided.
    next: Option<Instant>,
}

impl Leader {
    /// A leader who begins. Tickets begin at `first_ticket`, so that answers to orders of an earlier time in office are not
    /// taken for answers to this one's.
    pub fn new(now: Instant, first_ticket: u64) -> Self {
        Self {
            since: now,
            reports: Reports::default(),
            rounds: Rounds::default(),
            evidence: BTreeMap::new(),
            last_answers: BTreeMap::new(),
            fencing: BTreeMap::new(),
            next_ticket: first_ticket,
            voters_since: (0, now),
            assigned: BTreeMap::new(),
            kept: BTreeMap::new(),
            well: BTreeMap::new(),
            failures: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            refused: BTreeMap::new(),
            stuck: BTreeMap::new(),
            readying: BTreeMap::new(),
            homing: BTreeMap::new(),
            leaving: BTreeMap::new(),
            making_room: None,
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            next: None,
        }
    }

    /// The ticket that the next leader's orders may begin with.
    pub const fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// A voter does not hear these hosts.
    pub fn silent(&mut self, now: Instant, voter: HostId, silent: &[Silent]) {
        for one in silent {
            let age = Duration::from_millis(one.ago_ms);
            let evidence = Evidence { arrived: now, age, life: one.incarnation };
            self.evidence.entry(one.host).or_default().insert(voter, evidence);
        }
    }

    /// A voter has applied an eviction, and answered that life last `ago_ms` of its own milliseconds before it said so.
    pub fn last_answered(
        &mut self,
        now: Instant,
        voter: HostId,
        host: HostId,
        life: Incarnation,
        ago_ms: u64,
    ) {
        let ago = fencing::at_least(Duration::from_millis(ago_ms));
        let answers = self.last_answers.entry((host, life)).or_default();
        let at = answers.entry(voter).or_insert(now - ago);
        *at = (*at).min(now - ago); // the one that was least delayed on its way
    }

    /// A host reports; the answer is the number up to which all is heard.
    pub fn report(&mut self, now: Instant, from: HostId, life: Incarnation, report: Report) -> u64 {
        self.reports.take(now, from, life, report)
    }

    /// A host was fenced. What it said before is past, unless only its lease and its watchdog are known to have run out: they
    /// stop what it owned, and not what it ran without right. An order to take its power is to be withdrawn: late, it would take
    /// that of the machine's next life.
    pub fn runs_nothing(&mut self, host: HostId, life: Incarnation, by: FencedBy) -> Option<Act> {
        if by != FencedBy::Time {
            self.reports.forget(host, life);
        }
        self.spares(host)
    }

    /// Withdraws an order to take a host's power.
    fn spares(&mut self, host: HostId) -> Option<Act> {
        self.fencing.get_mut(&host)?.withdraw().map(Act::WithdrawFence)
    }

    /// Withdraws all orders to take a host's power: the cluster is disarmed, or this host leads no more, and the next leader, which
    /// does not know of them, gives its own.
    pub fn spares_all(&mut self) -> Vec<Act> {
        self.fencing.values_mut().filter_map(Fencing::withdraw).map(Act::WithdrawFence).collect()
    }

    /// Fence agents answered.
    pub fn fenced(&mut self, now: Instant, ticket: FenceTicket, result: &FenceResult) -> Vec<Act> {
        let answered = self
            .fencing
            .values_mut()
            .find_map(|fencing| Some((fencing.answered(now, ticket, result)?, fencing.name().to_owned())));
        let Some((Some((level, text)), name)) = answered else { return Vec::new() };
        vec![Act::Tell(level, EventKind::Fencing, None, text.replace("{host}", &name))]
    }

    /// What is to be decided now. Nothing that this proposes may be under way still.
    pub fn step(&mut self, view: &View<'_>) -> Vec<Act> {
        self.next = None;
        let mut acts = Vec::new();
        self.watch_hosts(view, &mut acts);
        if !view.ledger.is_disarmed() {
            self.settle_groups(view, &mut acts);
        }
        acts
    }

    /// When to call [`Leader::step`] again, if nothing happens before.
    pub const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Why a group that is wanted is not given to anybody.
    pub fn waiting(&self, group: &str) -> Option<&str> {
        self.waiting.get(group).map(|waiting| waiting.reason.as_str())
    }

    /// What hosts reported.
    pub const fn reports(&self) -> &Reports {
        &self.reports
    }

    /// What was told of a host last, if it still stands.
    pub fn told_of(&self, host: HostId) -> Option<&str> {
        self.told.get(&host).map(String::as_str)
    }

    /// Looks again at that moment.
    fn wake(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Tells something about a host, once.
    fn tell_host(&mut self, host: HostId, level: Level, kind: EventKind, text: String, acts: &mut Vec<Act>) {
        if self.told.get(&host) != Some(&text) {
            self.told.insert(host, text.clone());
            acts.push(Act::Tell(level, kind, None, text));
        }
    }
}
