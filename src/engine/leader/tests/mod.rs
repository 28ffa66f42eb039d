//! The leader's policy against a cluster that the test plays: host `a` leads, and hears `b` and `c`.

mod apps;
mod groups;
mod hosts;
mod moves;
mod rehearse;

use super::*;
use crate::config;
use crate::engine::fence::FenceAction;
use crate::engine::ledger::Effect;
use roost_proto::cluster::decision::{Arms, Entry, FencedBy, HostMode, Proof, RecallReason};
use roost_proto::cluster::raft::StorageId;
use roost_proto::cluster::{
    Beat, Echo, GroupOrder, GroupReport, GroupState, LedgerId, Life, Need, Room, Running, Stamp,
};
use roost_proto::control::Intent;

const BEAT: Duration = Duration::from_millis(250);
const A: &str = "a";
const B: &str = "b";
const C: &str = "c";
const WATCHDOG: Proof = Proof::Watchdog { timeout_ms: 5000, lease_ms: 3000 };

fn id(host: &str) -> HostId {
    HostId::of(host)
}

/// A configuration of three hosts with `more` in `c`'s table, and then these groups.
fn config(more: &str, groups: &str) -> Config {
    let mut text = "[cluster]\nname = \"lab\"\n".to_owned();
    for (nth, host) in [A, B, C].into_iter().enumerate() {
        text += &format!("[[host]]\nname = \"{host}\"\naddress = \"192.0.2.{nth}\"\n");
    }
    config::parse(&format!("{text}{more}\n{groups}")).expect("a good configuration")
}

/// A group's table.
fn group(name: &str, more: &str) -> String {
    format!("[[group]]\nname = \"{name}\"\nvm = \"{name}\"\n{more}\n")
}

struct Office {
    config: Config,
    ledger: Ledger,
    index: Index,
    member: Member,
    leader: Leader,
    now: Instant,
    voters: Voters,
    voters_since: Index,
    caught_up: BTreeSet<HostId>,
    lives: BTreeMap<HostId, Incarnation>,
    reports: BTreeMap<HostId, u64>,
    armed: Option<Instant>,
    watched: BTreeSet<HostId>,
    /// Every act since the test last looked, but for decisions.
    acts: Vec<Act>,
    decided: Vec<Decision>,
}

impl Office {
    /// All three hosts are admitted, heard, and have room for 10,000 MiB and 8 CPUs.
    fn new(config: Config) -> Self {
        let now = Instant::from_nanos(100_000_000_000);
        let me = Incarnation { start: 1, boot: 1 };
        let born = now - Duration::from_secs(60);
        let mut office = Self {
            ledger: Ledger::default(),
            index: 1,
            member: Member::new(id(A), me, BEAT, config.cluster.timing.lease, None, born),
            leader: Leader::new(now, 1),
            now,
            voters: [A, B, C].map(|host| (id(host), StorageId(id(host).0))).into(),
            voters_since: 1,
            caught_up: BTreeSet::new(),
            lives: BTreeMap::new(),
            reports: BTreeMap::new(),
            armed: None,
            watched: BTreeSet::new(),
            acts: Vec::new(),
            decided: Vec::new(),
            config,
        };
        for host in [A, B, C] {
            office.lives.insert(id(host), me);
            office.admit(host, WATCHDOG);
            office.beat(host);
            office.member.hello(id(host), office.hello(host, Running::Nothing));
            office.room(host, 10_000);
        }
        office.decided.clear();
        office
    }

    fn of(groups: &[String]) -> Self {
        Self::new(config("", &groups.concat()))
    }

    fn apply(&mut self, decision: Decision) -> Effect {
        self.index += 1;
        let effect = self.ledger.apply(self.index, &Entry { asked: None, decision: decision.clone() });
        if let (Decision::Fenced { host, incarnation, by }, Effect::Done) = (&decision, effect) {
            self.acts.extend(self.leader.runs_nothing(*host, *incarnation, *by));
        }
        self.decided.push(decision);
        effect
    }

    fn admit(&mut self, host: &str, proof: Proof) {
        let incarnation = self.lives[&id(host)];
        let (host, name) = (id(host), host.to_owned());
        let done = self.apply(Decision::Admit { host, name, incarnation, machine: 1, proof });
        assert_eq!(done, Effect::Done);
    }

    fn hello(&self, host: &str, running: Running) -> Hello {
        Hello { machine: 1, proof: WATCHDOG, storage: StorageId(id(host).0), config: 1, running, armed: 0 }
    }

    /// A beat of a host's present life arrives.
    fn beat(&mut self, host: &str) {
        self.beat_as(host, Life::Leased);
    }

    fn beat_as(&mut self, host: &str, state: Life) {
        if host == A {
            return;
        }
        let (now, life) = (self.now, self.lives[&id(host)]);
        assert!(self.member.listens(now, id(host), life, LedgerId(7)));
        let stamp = Stamp(now.as_nanos() / 1_000_000);
        let echo = Some(Echo { start: 1, stamp, admitted: true });
        self.member.beat(now, id(host), &Beat { stamp, echo, applied: self.index, life: state });
    }

    /// A host comes in another life.
    fn comes_again(&mut self, host: &str, life: Incarnation, running: Running) {
        self.lives.insert(id(host), life);
        self.beat(host);
        self.member.hello(id(host), self.hello(host, running));
    }

    fn report(&mut self, host: &str, room: Option<Room>, groups: Vec<GroupReport>) {
        let number = self.reports.entry(id(host)).or_insert(0);
        let after = Some(*number).filter(|before| *before > 0);
        *number += 1;
        let report = Report { number: *number, after, newest: *number, room, groups };
        self.leader.report(self.now, id(host), self.lives[&id(host)], report);
    }

    fn room(&mut self, host: &str, memory_mib: u32) {
        let room = Room { memory_mib, memory_total_mib: 10_000, cpus: 8 };
        self.report(host, Some(room), Vec::new());
    }

    /// A host tells how a group is there, and that the group needs so much.
    fn tell(&mut self, host: &str, group: &str, state: GroupState, memory_mib: u32, cpus: u16) {
        let changed = self.ledger.group(group).changed;
        let need = Some(Need { memory_mib, cpus });
        let room = Room { memory_mib: 10_000, memory_total_mib: 10_000, cpus: 8 };
        let told = GroupReport { group: group.to_owned(), changed, state, need };
        self.report(host, Some(room), vec![told]);
    }

    fn well(&mut self, group: &str) {
        let owner = self.owner(group);
        self.tell(owner, group, GroupState::Well, 1000, 1);
    }

    /// Has the leader look at things as they are.
    fn with_leader<T>(&mut self, call: impl FnOnce(&mut Leader, &View<'_>) -> T) -> T {
        let own = self.hello(A, Running::Nothing);
        let view = View {
            minute: None,
            watched: &self.watched,
            now: self.now,
            me: id(A),
            incarnation: self.lives[&id(A)],
            own: Some(&own),
            config: &self.config,
            ledger: &self.ledger,
            member: &self.member,
            contact: Contact::Majority,
            lease: Lease::Held,
            armed: self.armed,
            voters: &self.voters,
            voters_since: self.voters_since,
            caught_up: &self.caught_up,
        };
        call(&mut self.leader, &view)
    }

    /// One decision of the leader, and what it decides is applied.
    fn step(&mut self) -> usize {
        let acts = self.with_leader(|leader, view| {
            let acts = leader.step(view);
            assert_eq!(leader.overlooked(view), None, "it is to be looked at");
            acts
        });
        let mut decided = 0;
        for act in acts {
            match act {
                Act::Decide(decision) => {
                    decided += 1;
                    self.apply(decision);
                }
                other => self.acts.push(other),
            }
        }
        decided
    }

    /// Until nothing more is to be decided now.
    fn settle(&mut self) {
        for _ in 0..20 {
            if self.step() == 0 {
                return;
            }
        }
        panic!("it never ends: {:?}", self.decided);
    }

    /// Time passes, in which these hosts beat, and nothing else is heard.
    fn pass(&mut self, time: Duration, beating: &[&str]) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + BEAT).min(end);
            beating.iter().for_each(|host| self.beat(host));
            self.settle();
        }
    }

    /// The voter `b` does not hear `c` either, as of now.
    fn agrees(&mut self, age: Duration) {
        let ago_ms = u64::try_from(age.as_millis()).expect("short");
        let incarnation = Some(self.lives[&id(C)]);
        let silent = [Silent { host: id(C), incarnation, ago_ms }];
        self.leader.silent(self.now, id(B), &silent);
    }

    /// `c` is silent, and `b` says the same, for so long. The fence agents of `c` say that it has power, if they are asked.
    fn lose_c(&mut self, time: Duration) {
        let since = self.now;
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + BEAT).min(end);
            self.beat(B);
            self.agrees(self.now.since(since));
            self.settle();
            if time > Duration::from_secs(2)
                && let Some(Act::Fence(order)) = self.acts.last().cloned()
                && order.action == FenceAction::Status
            {
                self.acts.pop();
                self.leader.fenced(self.now, order.ticket, &FenceResult::On);
            }
        }
    }

    fn owner(&self, group: &str) -> &'static str {
        match self.ledger.group(group).owner {
            Some(owner) => [A, B, C].into_iter().find(|host| id(host) == owner).unwrap_or("unknown"),
            None => "nobody",
        }
    }

    fn standing(&self, host: &str) -> &'static str {
        match self.ledger.standing(id(host)) {
            Standing::Out => "out",
            Standing::In(_) => "in",
            Standing::Evicted(_) => "evicted",
        }
    }

    fn fences(&mut self) -> Vec<FenceOrder> {
        let orders = self.acts.iter();
        let orders =
            orders.filter_map(|act| if let Act::Fence(order) = act { Some(order.clone()) } else { None });
        let orders = orders.collect();
        self.acts.retain(|act| !matches!(act, Act::Fence(_)));
        orders
    }

    /// Orders to fence agents that were withdrawn.
    fn withdrawn(&self) -> Vec<FenceTicket> {
        let ticket = |act: &Act| if let Act::WithdrawFence(ticket) = act { Some(*ticket) } else { None };
        self.acts.iter().filter_map(ticket).collect()
    }

    fn told(&self, words: &str) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Tell(_, _, _, text) if text.contains(words)))
    }

    fn mode(&self, host: &str) -> HostMode {
        self.ledger.host(id(host)).expect("it was admitted").mode
    }

    fn set_mode(&mut self, host: &str, mode: HostMode) {
        self.apply(Decision::Mode { host: id(host), mode, by: "somebody".to_owned() });
    }

    fn order(&mut self, group: &str, order: GroupOrder) {
        self.apply(Decision::Order { group: group.to_owned(), order, by: "somebody".to_owned() });
    }
}
