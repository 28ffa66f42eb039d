//! The log: what it decided is applied here, and what is to be decided is proposed to it.

use super::leader::Leader;
use super::ledger::{Effect, Ledger};
use super::rights::Stand;
use super::{Engine, Flag, MAX_LOG, Output, Stay, raft, rights, tally, tell};
use roost_proto::cluster::decision::{Decision, Entry};
use roost_proto::cluster::raft::{Index, Payload};
use roost_proto::cluster::{HostId, LedgerId, Message};
use roost_proto::control::{EventKind, Level, Refusal};
use roost_proto::time::Instant;

impl Engine {
    /// Takes what consensus wants said, written and applied; whether there was anything.
    pub(super) fn take_from_raft(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(output) = self.raft.poll_output() {
            any = true;
            match output {
                raft::Output::Send { to, message, when } => {
                    let mail = match when {
                        raft::When::Now => &mut self.mail.now,
                        raft::When::Beat => &mut self.mail.later,
                    };
                    mail.entry(to).or_default().push(Message::Raft(message));
                }
                raft::Output::Write(write) => self.out.push_back(Output::Write(write)),
                raft::Output::Apply { index, payload, .. } => self.apply(index, payload),
                raft::Output::Restore(snapshot) => self.restore(snapshot),
                raft::Output::Unreadable { from } => self.complain(
                    from,
                    "entry",
                    "it keeps in the ledger what this roostd cannot read, and so this host stays behind: install the version \
                     that runs there",
                ),
            }
        }
        self.look_at_role(now);
        any
    }

    pub(super) fn apply(&mut self, index: Index, payload: Payload) {
        self.applied = index;
        self.changed.leader = Flag::Unseen;
        match payload {
            Payload::Blank => {}
            Payload::Voters(voters) => {
                self.changed.ledger = Flag::Unseen;
                if self.stand == Stand::Admitted {
                    self.member.voters_change(&self.voters);
                }
                self.voters = voters;
                self.voters_since = index;
            }
            Payload::Data(bytes) => {
                let entry: Entry = match postcard::from_bytes(&bytes) {
                    Ok(entry) => entry,
                    // To pass over it would be to keep another ledger than the others do.
                    Err(error) => panic!(
                        "entry {index} of the ledger cannot be read ({error}): install the roostd that the others run"
                    ),
                };
                let had = tally::owned(&self.ledger, &entry.decision);
                let before = match &entry.decision {
                    Decision::MoveBegin { group, .. }
                    | Decision::MoveEnd { group, .. }
                    | Decision::Prepare { group, to: Some(_), .. } => Some(self.ledger.group(group).clone()),
                    _ => None,
                };
                // What runs inside a VM goes, and becomes free, with it.
                let only = rights::only_group(&entry.decision)
                    .filter(|group| self.ledger.apps_in(group).next().is_none());
                let effect = self.ledger.apply(index, &entry);
                if let (Decision::Fenced { host, incarnation, by }, Effect::Done, Some(leader)) =
                    (&entry.decision, effect, &mut self.leader)
                {
                    let withdrawn = leader.runs_nothing(*host, *incarnation, *by);
                    self.carry_out(self.awake, withdrawn.into_iter().collect());
                }
                if matches!((&entry.decision, effect), (Decision::Arm { .. }, Effect::Done)) {
                    self.armed = Some(self.awake);
                    if let Some(leader) = self.leader.as_mut().filter(|_| self.ledger.is_disarmed()) {
                        let withdrawn = leader.spares_all();
                        self.carry_out(self.awake, withdrawn);
                    }
                }
                if only.is_none_or(|group| self.keeper.keeps(group) || self.is_watched_for(group)) {
                    self.changed.ledger = Flag::Unseen;
                }
                self.rests |= entry.asked.is_none() && effect != Effect::Done;
                // What was on disk at the start was told in the life before.
                let news = index > self.answers_from;
                if news {
                    self.tally.applied(self.me, &self.ledger, &entry.decision, effect, had);
                }
                if let Some((level, kind, group, text)) =
                    tell::tell(&self.ledger, self.me, &entry.decision, effect).filter(|_| news)
                {
                    self.record(level, kind, group, text);
                }
                if let Some(before) = before.filter(|_| news && effect == Effect::Done) {
                    self.tell_travel(self.awake, index, &before, &entry.decision);
                }
                if let Some(ask) = self.desk.applied(entry.asked) {
                    let answer = match effect {
                        Effect::Done => Ok(self.done_words(&entry.decision).unwrap_or(ask.done)),
                        Effect::Passed(why) => Err((Refusal::NotDone, format!("nothing was done: {why}"))),
                    };
                    self.answer(ask.request, answer);
                }
            }
        }
    }

    pub(super) fn restore(&mut self, snapshot: raft::Snapshot) {
        let armed = self.ledger.arming().changed;
        self.ledger = Ledger::from_snapshot(&snapshot.data)
            .expect("the ledger's snapshot cannot be read: install the roostd that the others run");
        if self.ledger.arming().changed != armed {
            self.armed = Some(self.awake);
        }
        self.applied = snapshot.index;
        self.voters = snapshot.voters;
        self.voters_since = snapshot.index;
        self.changed.ledger = Flag::Unseen;
        self.changed.leader = Flag::Unseen;
    }

    pub(super) fn look_at_role(&mut self, now: Instant) {
        match (self.raft.is_leader(), self.leader.is_some()) {
            (true, false) => {
                self.tally.elections_won += 1;
                self.leader = Some(Leader::new(now, self.next_ticket));
                self.proposed = self.raft.last_index(); // its first entry: with it, all that was decided before is applied
                self.changed.leader = Flag::Unseen;
            }
            (false, true) => {
                self.changed.ledger = Flag::Unseen; // whom it watched it lets go
                if let Some(mut leader) = self.leader.take() {
                    self.next_ticket = leader.next_ticket();
                    self.carry_out(now, leader.spares_all());
                }
            }
            (true, true) | (false, false) => {}
        }
        let leader = self.raft.leader();
        if leader != self.told_leader {
            self.told_leader = leader;
            self.tally.leader_changes += u64::from(leader.is_some());
            let text = match leader {
                Some(host) if host == self.me => format!("this host leads (term {})", self.raft.term()),
                Some(host) => format!("'{}' leads (term {})", self.name(host), self.raft.term()),
                None => "no host leads".to_owned(),
            };
            let level = if leader.is_some() { Level::Info } else { Level::Warning };
            self.record(level, EventKind::Leader, None, text);
        }
    }

    pub(super) fn propose(&mut self, now: Instant, entry: &Entry) -> bool {
        if self.lacking(entry.decision.since()).is_some() {
            return false; // when all are upgraded
        }
        let Ok(bytes) = postcard::to_allocvec(entry) else { return false };
        match self.raft.propose(now, bytes) {
            Ok(index) => {
                self.proposed = self.proposed.max(index);
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn compact(&mut self, now: Instant) {
        if self.raft.log_len() > MAX_LOG {
            let data = postcard::to_allocvec(&self.ledger).expect("the ledger's types can all be encoded");
            self.raft.compact(now, self.applied, data.into());
        }
    }

    /// Founds the cluster, once all its voters are up and none of them knows of one.
    pub(super) fn found(&mut self, now: Instant) {
        if self.raft.ledger() != LedgerId::NONE || self.stay != Stay::Staying {
            return;
        }
        let mut voters =
            self.config.hosts.iter().filter(|host| host.votes).map(|host| HostId::of(&host.name));
        if voters.next() != Some(self.me) {
            return;
        }
        let number = self.config.number;
        let timing = &self.config.cluster.timing;
        let ready = voters.all(|voter| {
            self.member.silence(now, voter).age < timing.suspect_after
                && self.member.peer(voter).is_some_and(|peer| {
                    peer.ledger == LedgerId::NONE
                        && peer.hello.as_ref().is_some_and(|hello| hello.config == number)
                })
        });
        if ready {
            let id = LedgerId(u32::try_from(self.jitter.draw() >> 33).unwrap_or(1).max(1));
            let data = postcard::to_allocvec(&self.ledger).expect("an empty ledger can be encoded");
            self.raft.found(now, id, data.into());
            while self.take_from_raft(now) {}
        }
    }
}
