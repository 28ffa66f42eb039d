//! Talking to other hosts: beats and what rides in them, and what is heard.

use super::ledger::Standing;
use super::rights::{Lease, Stand};
use super::{Contact, Engine, Flag, Output, Stay, WatchdogInput};
use crate::config::OnQuorumLoss;
use core::time::Duration;
use roost_proto::cluster::codec::pack;
use roost_proto::cluster::decision::{Entry, Proof};
use roost_proto::cluster::{
    Beat, Datagram, Hello, HostId, Incarnation, LedgerId, Life, Message, MoveAsk, Running, Silent,
};
use roost_proto::control::{EventKind, Level};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// A host that was not heard for so many beats is answered at once when it is heard again, and not with the next beat: its
/// lease may have no time to lose. One or two datagrams that are lost are no such silence.
const AWAY_BEATS: u32 = 3;
/// A host that is in the cluster says who it is to a leader that has not heard it yet, and to every voter again after so
/// many beats.
const HELLO_BEATS: u64 = 60;
/// A voter tells the leader of a silent host from so many beats before it becomes suspect, so that the leader has it in
/// time.
const EARLY_BEATS: u32 = 2;
/// Silent hosts in one message: with its head it fits a datagram.
const SILENT_AT_ONCE: usize = 32;

impl Engine {
    /// Who this host is.
    pub(super) fn hello(&self) -> Hello {
        let lease_ms = u32::try_from(self.config.cluster.timing.lease.as_millis()).unwrap_or(u32::MAX);
        let stands_still = self.on_quorum_loss != OnQuorumLoss::Keep && self.keeps_to_its_lease();
        let proof = match &self.watchdog {
            Some(WatchdogInput::Working { timeout }) if stands_still => Proof::Watchdog {
                timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
                lease_ms,
            },
            _ => Proof::None,
        };
        Hello {
            machine: self.machine,
            proof,
            storage: self.raft.storage(),
            config: self.config.number,
            running: self.running(),
            armed: self.ledger.arming().changed,
        }
    }

    fn running(&self) -> Running {
        if !self.keeper.is_seen() {
            Running::Unknown
        } else if self.keeper.may_run() {
            Running::Something
        } else if self.unknown_groups().next().is_some() {
            Running::Unknown
        } else {
            Running::Nothing
        }
    }

    fn life(&self) -> Life {
        match (self.stay, self.lease) {
            (Stay::Leaving { .. } | Stay::Gone, _) => Life::Leaving,
            (Stay::Staying, Lease::Held) if self.stand == Stand::Admitted => Life::Leased,
            (Stay::Staying, Lease::Held | Lease::Out) => Life::Unleased,
        }
    }

    /// The voters: as the ledger has them, or else the configuration.
    fn known_voters(&self) -> BTreeSet<HostId> {
        self.voters.keys().chain(&self.named_voters).copied().collect()
    }

    /// The hosts that get a beat: the voters, and from a voter everybody.
    fn listeners(&self) -> BTreeSet<HostId> {
        let mut to = self.known_voters();
        if to.contains(&self.me) {
            to.extend(self.names.keys());
            to.extend(
                self.ledger.hosts().filter(|(_, host)| host.standing != Standing::Out).map(|(id, _)| id),
            );
        }
        to.remove(&self.me);
        to.retain(|id| !self.watched.contains(id));
        to
    }

    /// The moment of the beat: what waited for it goes with it.
    pub(super) fn beat(&mut self, now: Instant) {
        let beat = self.config.cluster.timing.beat;
        self.next_beat = self.next_beat + beat;
        if self.next_beat <= now {
            self.next_beat = now + beat;
        }
        self.beats += 1;
        if core::mem::take(&mut self.rests) {
            self.changed.leader = Flag::Unseen;
        }
        self.feed();
        self.hand_over(now);
        self.raft.beat(now);
        while self.take_from_raft(now) {}
        self.say_hello();
        self.say_what_is_silent(now);
        self.say_what_was_answered(now);
        self.tell_leader(now);
        self.ask_leader();
        for to in self.listeners() {
            self.beat_to(now, to);
        }
        self.mail.later.clear(); // to hosts that get no beat, and so would wait for ever
    }

    fn beat_to(&mut self, now: Instant, to: HostId) {
        let life = self.member.peer(to).and_then(|peer| peer.life);
        let admits = self.may_answer() && life.is_some_and(|life| self.ledger.admits(to, life));
        let beat = self.member.beat_for(now, to, admits, self.applied, self.life());
        // What was true in an earlier term may not be any more, and nobody would believe it.
        let term = self.raft.term();
        let holds = |message: &Message| !matches!(message, Message::Raft(said) if said.term() < term);
        let later = self.mail.later.remove(&to).unwrap_or_default().into_iter().filter(holds);
        let messages = self.mail.now.remove(&to).unwrap_or_default().into_iter().chain(later).collect();
        self.post(to, Some(beat), messages);
    }

    /// Whether a host was heard before, but not lately.
    fn was_away(&self, now: Instant, host: HostId) -> bool {
        let heard = self.member.peer(host).and_then(|peer| peer.heard);
        heard.is_some_and(|at| now.since(at) >= self.config.cluster.timing.beat * AWAY_BEATS)
    }

    /// A leader that leaves lets another voter lead, which then sees it go.
    fn hand_over(&mut self, now: Instant) {
        if !matches!(self.stay, Stay::Leaving { .. }) || !self.raft.is_leader() {
            return;
        }
        let heard = |voter: &HostId| {
            self.member.silence(now, *voter).age < self.config.cluster.timing.suspect_after
                && self.member.peer(*voter).is_some_and(|peer| peer.state != Life::Leaving)
        };
        let next = self
            .voters
            .keys()
            .copied()
            .find(|voter| *voter != self.me && heard(voter) && self.raft.caught_up(*voter));
        if let Some(next) = next {
            self.raft.transfer(next);
        }
    }

    fn say_hello(&mut self) {
        let to = match self.stand {
            Stand::Waiting | Stand::Stranded if self.stay == Stay::Staying => self.known_voters(),
            Stand::Admitted
                if self.beats.is_multiple_of(HELLO_BEATS) || self.told_file != self.config.number =>
            {
                self.told_file = self.config.number;
                self.known_voters()
            }
            Stand::Admitted if !self.reporter.is_heard_in(self.raft.term()) || self.is_to_renew() => {
                self.raft.leader().into_iter().collect()
            }
            Stand::Waiting | Stand::Stranded | Stand::Admitted | Stand::Over => return,
        };
        let hello = self.hello();
        for voter in to {
            if voter != self.me {
                self.mail.later.entry(voter).or_default().push(Message::Hello(hello.clone()));
            }
        }
    }

    /// As a voter: whom it does not hear. One that is cut off, or has only begun to hear the others again, says nothing.
    fn say_what_is_silent(&mut self, now: Instant) {
        let Some(leader) = self.raft.leader().filter(|leader| *leader != self.me) else { return };
        if !self.voters.contains_key(&self.me) || self.contact == Contact::Few {
            return;
        }
        let early = self.told_as_silent_after();
        let silent: Vec<Silent> = self
            .ledger
            .hosts()
            .filter(|(id, host)| matches!(host.standing, Standing::In(_)) && *id != self.me)
            .filter(|(id, _)| !self.watched.contains(id)) // the leader alone hears them
            .filter_map(|(host, _)| {
                let silence = self.member.silence(now, host);
                let told = Silent { host, incarnation: silence.life, ago_ms: millis(silence.age) };
                (silence.age >= early).then_some(told)
            })
            .collect();
        let later = self.mail.later.entry(leader).or_default();
        later.extend(silent.chunks(SILENT_AT_ONCE).map(|some| Message::Silent(some.to_vec())));
    }

    /// A voter tells the leader of hosts that are silent for so long.
    fn told_as_silent_after(&self) -> Duration {
        let timing = &self.config.cluster.timing;
        timing.suspect_after.saturating_sub(timing.beat * EARLY_BEATS).max(timing.beat * EARLY_BEATS)
    }

    /// As a voter: a host that the leader was told to be silent is heard again. It is told at once, for the leader counts on
    /// from what it was told last, and would evict a host that is back.
    fn say_that_it_is_heard(&mut self, now: Instant, host: HostId) {
        let Some(leader) = self.raft.leader().filter(|leader| *leader != self.me) else { return };
        if self.voters.contains_key(&self.me) {
            let silence = self.member.silence(now, host);
            let heard = Silent { host, incarnation: silence.life, ago_ms: millis(silence.age) };
            self.mail.now.entry(leader).or_default().push(Message::Silent(vec![heard]));
        }
    }

    /// As a voter: when it last answered those who were evicted.
    fn say_what_was_answered(&mut self, now: Instant) {
        let Some(leader) = self.raft.leader().filter(|leader| *leader != self.me) else { return };
        if !self.may_answer() {
            return;
        }
        for (host, record) in self.ledger.hosts() {
            let Standing::Evicted(evicted) = record.standing else { continue };
            let at = self.member.last_answered(host);
            self.mail.later.entry(leader).or_default().push(Message::LastAnswered {
                host,
                incarnation: evicted.incarnation,
                ago_ms: millis(now.since(at)),
            });
        }
    }

    pub(super) fn ask_leader(&mut self) {
        if let Some(leader) = self.raft.leader().filter(|leader| *leader != self.me)
            && let Some(named) = self.desk.current()
        {
            self.mail.later.entry(leader).or_default().push(named.message());
        }
    }

    /// Sends what does not wait for a beat.
    pub(super) fn send(&mut self) {
        for (to, messages) in core::mem::take(&mut self.mail.now) {
            self.post(to, None, messages);
        }
    }

    fn post(&mut self, to: HostId, beat: Option<Beat>, messages: Vec<Message>) {
        let ledger = self.raft.ledger();
        self.out
            .extend(pack(ledger, beat, messages).into_iter().map(|datagram| Output::Send { to, datagram }));
    }

    /// Another host said something.
    pub(super) fn hear(&mut self, now: Instant, from: HostId, life: Incarnation, datagram: Datagram) {
        if from == self.me {
            self.complain(
                from,
                "namesake",
                "another machine calls itself as this one: give each its own name",
            );
            return;
        }
        if !self.names.contains_key(&from) && self.ledger.host(from).is_none() {
            return;
        }
        let own = self.raft.ledger();
        if own != LedgerId::NONE && datagram.ledger != LedgerId::NONE && own != datagram.ledger {
            let text = "it keeps the ledger of another founding: stop roostd there, and move its ledger away, so that it can join";
            self.complain(from, "ledger", text);
            return;
        }
        let before = self.member.peer(from).and_then(|peer| peer.life);
        if !self.member.listens(now, from, life, datagram.ledger) {
            return;
        }
        if before.is_some_and(|before| before != life) {
            self.raft.begins_anew(now, from);
        }
        if let Some(beat) = &datagram.beat {
            let silent = self.member.silence(now, from).age;
            let was_away = self.was_away(now, from);
            let before = self.member.peer(from).map(|peer| peer.state);
            self.member.beat(now, from, beat);
            if was_away && self.listeners().contains(&from) {
                self.beat_to(now, from);
            }
            let changed = before != Some(beat.life) || beat.life == Life::Leaving;
            if silent >= self.config.cluster.timing.suspect_after || changed {
                self.changed.leader = Flag::Unseen;
            }
            let told = self.told_as_silent_after();
            if silent >= told && self.member.silence(now, from).age < told {
                self.say_that_it_is_heard(now, from);
            }
        }
        for message in datagram.messages {
            self.hear_message(now, from, life, message);
        }
    }

    fn hear_message(&mut self, now: Instant, from: HostId, life: Incarnation, message: Message) {
        match message {
            Message::Raft(message) => self.raft.handle(now, from, message),
            Message::Hello(hello) => {
                if hello.config != self.config.number {
                    self.complain(
                        from,
                        "file",
                        "its configuration file is another than this host's: make them the same",
                    );
                }
                let news = self.member.peer(from).and_then(|peer| peer.hello.as_ref()) != Some(&hello);
                self.member.hello(from, hello);
                if news {
                    self.changed.leader = Flag::Unseen;
                }
            }
            Message::Silent(silent) => {
                let known: Vec<Silent> =
                    silent.into_iter().filter(|one| self.ledger.host(one.host).is_some()).collect();
                if let Some(leader) = &mut self.leader {
                    leader.silent(now, from, &known);
                    self.changed.leader = Flag::Unseen;
                }
            }
            Message::LastAnswered { host, incarnation, ago_ms } => {
                let evicted = matches!(self.ledger.standing(host), Standing::Evicted(it) if it.incarnation == incarnation);
                if let Some(leader) = self.leader.as_mut().filter(|_| evicted) {
                    leader.last_answered(now, from, host, incarnation, ago_ms);
                    self.changed.leader = Flag::Unseen;
                }
            }
            Message::Report(report) => {
                if let Some(leader) = &mut self.leader {
                    let number = leader.report(now, from, life, report);
                    self.changed.leader = Flag::Unseen;
                    let heard = Message::ReportHeard { term: self.raft.term(), start: life.start, number };
                    let later = self.mail.later.entry(from).or_default();
                    later.retain(|message| !matches!(message, Message::ReportHeard { .. }));
                    later.push(heard);
                }
            }
            Message::ReportHeard { term, start, number } => {
                if start == self.incarnation.start {
                    self.reporter.heard(term, number);
                }
            }
            Message::Ask(entry) => self.asked(now, from, entry),
            Message::AskMove(ask) => self.asked_to_move(now, from, ask),
            Message::Refused { asked, reason } => {
                if self.raft.leader() == Some(from) {
                    self.refused(asked, reason);
                }
            }
            Message::Question { start, number, first, lacks, question } => {
                self.hear_question(now, from, life, (start, number), (first, lacks), &question);
            }
            Message::Answer { start, number, edition, page, pages, bytes } => {
                self.consult.answered(now, from, (start, number), edition, (page, pages), bytes);
            }
        }
    }

    /// Another host wants something decided.
    fn asked(&mut self, now: Instant, from: HostId, entry: Entry) {
        let Some(asked) = entry.asked.filter(|asked| asked.host == from) else { return };
        if !self.raft.is_leader()
            || self.asked.get(&from).is_some_and(|(term, known)| *term == self.raft.term() && *known >= asked)
        {
            return;
        }
        if self.propose(now, &entry) {
            self.asked.insert(from, (self.raft.term(), asked));
        }
    }

    /// An operator at another host wants a group moved.
    fn asked_to_move(&mut self, now: Instant, from: HostId, ask: MoveAsk) {
        let asked = ask.asked;
        if asked.host != from || !self.raft.is_leader() {
            return;
        }
        // It is asked again until the answer is there, and is answered the same.
        if let Some((_, reason)) = self.declined.get(&from).filter(|(known, _)| *known == asked) {
            let reason = reason.clone();
            self.mail.later.entry(from).or_default().push(Message::Refused { asked, reason });
            return;
        }
        if self.asked.get(&from).is_some_and(|(term, known)| *term == self.raft.term() && *known >= asked) {
            return;
        }
        match self.plan_move(now, &ask) {
            Some(Ok(())) => {
                self.asked.insert(from, (self.raft.term(), asked));
            }
            Some(Err(reason)) => {
                self.declined.insert(from, (asked, reason.clone()));
                self.mail.now.entry(from).or_default().push(Message::Refused { asked, reason });
            }
            None => {} // it is asked again
        }
    }

    /// Tells something wrong about another host, once in this life.
    pub(super) fn complain(&mut self, host: HostId, what: &'static str, text: &str) {
        if self.complaints.insert((host, what)) {
            let text = format!("'{}': {text}", self.name(host));
            self.record(Level::Error, EventKind::HostRefused, None, text);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Nobody.
pub(super) static NOBODY: roost_proto::cluster::raft::Voters = BTreeMap::new();
