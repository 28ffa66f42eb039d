//! By what right this host runs what it owns: its lease, how it stands in the ledger, and the watchdog that ends what runs
//! without either.

use super::keeper::right::Hold;
use super::ledger::Standing;
use super::rights::{self, Hands, Lease, Stand};
use super::watchdog::{WatchdogInput, WatchdogOrder};
use super::{Engine, Flag, Output, Stay};
use crate::config::OnQuorumLoss;
use roost_proto::cluster::decision::Proof;
use roost_proto::control::{EventKind, Level};
use roost_proto::time::Instant;

impl Engine {
    /// Whether this host, as a voter, may answer for the lease of others: it votes, and its ledger is as new as whatever it
    /// told before it was restarted.
    pub(super) fn may_answer(&self) -> bool {
        // What a newer leader has cut off the log since was never committed, and so never applied here.
        let told = self.answers_from.min(self.raft.last_index());
        self.applied >= told && self.voters.get(&self.me) == Some(&self.raft.storage())
    }

    pub(super) fn look_at_lease(&mut self, now: Instant) {
        let before = self.stand;
        self.stand = rights::stand(&self.ledger, self.me, self.incarnation, self.waits(now));
        if before == Stand::Admitted && self.is_thrown_out() {
            let text = "this host was thrown out of the cluster: what it held is destroyed".to_owned();
            self.record(Level::Error, EventKind::Lease, None, text);
        }
        if self.stand == Stand::Admitted && self.may_answer() {
            self.member.answer_self(now);
        }
        let lease =
            if self.lease_until().is_some_and(|until| now < until) { Lease::Held } else { Lease::Out };
        let lease = if self.runs_on() { Lease::Held } else { lease };
        if lease != self.lease {
            let (level, text) = match lease {
                Lease::Held => (Level::Info, "this host has its lease"),
                Lease::Out if self.is_hands_off() => (
                    Level::Warning,
                    "this host's lease ran out: no majority of voters answers; the cluster is disarmed, and what runs, runs on",
                ),
                Lease::Out => (
                    Level::Error,
                    "this host's lease ran out: no majority of voters answers; what it runs stands still",
                ),
            };
            self.tally.leases_lost += u64::from(lease == Lease::Out);
            if self.stand == Stand::Admitted {
                self.record(level, EventKind::Lease, None, text.to_owned());
            }
        }
        let lease_before = core::mem::replace(&mut self.lease, lease);
        self.look_at_hands(now);
        if lease_before != lease || before != self.stand || self.changed.ledger.take() {
            self.set_rights(now);
            self.look_at_watches(now);
            self.changed.leader = Flag::Unseen;
        }
    }

    /// How this life stands while it is not admitted. On a host alone nobody else could run anything.
    fn waits(&self, now: Instant) -> Stand {
        let alone = self.config.hosts.len() == 1;
        let patience = self.config.cluster.timing.lease;
        if alone || now.since(self.member.born()) < patience { Stand::Waiting } else { Stand::Stranded }
    }

    /// Whether this host runs on without a majority. Not if time was, or is to be, taken for a proof: that a reload allows it holds
    /// from the next start on.
    fn runs_on(&self) -> bool {
        let unproven =
            matches!(self.ledger.standing(self.me), Standing::In(member) if member.proof == Proof::None);
        let both = [self.config.cluster.on_quorum_loss, self.on_quorum_loss];
        both == [OnQuorumLoss::Keep; 2] && self.stand != Stand::Over && unproven
    }

    pub(super) fn set_rights(&mut self, now: Instant) {
        for group in self.keeper.group_names() {
            let standing = (self.stand, self.lease, self.hands);
            let was_here = self.keeper.was_here(&group);
            let right = rights::right(&self.ledger, self.me, &group, standing, &self.held, was_here);
            match right.hold {
                Hold::Owned | Hold::Recalled | Hold::Suspended | Hold::Disarmed => {
                    self.held.insert(group.clone());
                }
                Hold::Elsewhere => {
                    self.held.remove(&group);
                }
                Hold::Lost | Hold::Unknown => {}
            }
            self.keeper.set_right(now, &group, right);
        }
        self.changed.keeper = Flag::Unseen;
    }

    pub(super) fn watchdog_says(&mut self, state: WatchdogInput) {
        match &state {
            WatchdogInput::Working { timeout } => {
                let text = format!(
                    "the watchdog resets this machine when it is not fed for {} s",
                    timeout.as_secs()
                );
                self.record(Level::Info, EventKind::Watchdog, None, text);
            }
            WatchdogInput::Virtual { timeout } => {
                let fenced = self.config.host_by_id(self.me).is_some_and(|host| !host.fence.is_empty());
                let (level, then) = if fenced {
                    (Level::Info, "so only its fence agents can prove that it is off")
                } else {
                    (
                        Level::Warning,
                        "so that proves nothing: give it a fence agent, or say `trust_watchdog = true`",
                    )
                };
                let text = format!(
                    "the watchdog resets this machine when it is not fed for {} s; the machine is itself a VM, and may stand still \
                     together with its watchdog, {then}",
                    timeout.as_secs()
                );
                self.record(level, EventKind::Watchdog, None, text);
            }
            WatchdogInput::Missing { reason } => {
                self.record(Level::Warning, EventKind::Watchdog, None, reason.clone());
            }
        }
        self.watchdog = Some(state);
        self.opens_watchdog = false;
        if matches!(self.hands, Hands::Off { .. }) {
            self.put_watchdog_away(); // a daemon opens it when it starts
        }
        self.feed();
    }

    /// Feeds the watchdog, while the lease holds or nothing that this host owned may run; and while the cluster is disarmed, since
    /// there are devices that cannot be put away.
    pub(super) fn feed(&mut self) {
        let safe = self.is_hands_off()
            || self.lease == Lease::Held
            || (!self.keeper.may_run() && self.unknown_groups().next().is_none());
        if self.has_watchdog() && safe && self.stay != Stay::Gone {
            self.out.push_back(Output::Watchdog(WatchdogOrder::Feed));
        }
    }

    /// Groups that the ledger gives to this host and its file does not name any more: their VMs are not watched, and may run.
    pub(super) fn unknown_groups(&self) -> impl Iterator<Item = &String> {
        self.owned().iter().filter(|name| self.keeper.forgot(name))
    }
}
