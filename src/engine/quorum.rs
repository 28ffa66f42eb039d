//! Whether the cluster can decide, what it means when it cannot, and what can be done then.

use super::rights::Lease;
use super::{Contact, Engine, Stand};
use crate::config::OnQuorumLoss;
use roost_proto::cluster::{HostId, LedgerId};
use roost_proto::insight::{Quorum, QuorumState};
use roost_proto::time::Instant;

/// Voters that are named in a sentence, at most: there are no more.
const NAMED: usize = crate::config::MAX_VOTERS;

impl Engine {
    /// Who leads, as far as this host can rely on it: a leader that does not hear a majority decides nothing.
    pub(super) fn whom_to_ask(&self) -> Option<HostId> {
        let leader = self.raft.leader()?;
        (leader != self.me || self.contact == Contact::Majority).then_some(leader)
    }

    /// Whether the cluster can decide, as this host sees it.
    pub fn quorum(&self, now: Instant) -> Quorum {
        let founded = self.raft.ledger() != LedgerId::NONE && !self.voters.is_empty();
        let voters: Vec<HostId> = if founded {
            self.voters.keys().copied().collect()
        } else {
            let named = self.config.hosts.iter().filter(|host| host.votes);
            named.map(|host| HostId::of(&host.name)).collect()
        };
        let limit = self.config.cluster.timing.suspect_after;
        let is_heard = |voter: &HostId| {
            let heard = self.member.peer(*voter).and_then(|peer| peer.heard);
            *voter == self.me || heard.is_some_and(|at| now.since(at) < limit)
        };
        let mut silent: Vec<String> =
            voters.iter().filter(|voter| !is_heard(voter)).map(|voter| self.name(*voter)).collect();
        silent.sort();
        let heard = voters.len() - silent.len();
        let needed = voters.len() / 2 + 1;
        let state = match self.whom_to_ask() {
            _ if !founded => QuorumState::Unfounded,
            Some(_) if heard >= needed => QuorumState::Held,
            None if heard >= needed => QuorumState::Electing,
            Some(_) | None => QuorumState::Lost,
        };
        let mut quorum = Quorum {
            state,
            voters: count(voters.len()),
            heard: count(heard),
            needed: count(needed),
            silent,
            means: Vec::new(),
            remedy: Vec::new(),
        };
        self.tell_what_it_means(now, &mut quorum);
        quorum
    }

    fn tell_what_it_means(&self, now: Instant, quorum: &mut Quorum) {
        let silent = || {
            let names: Vec<String> =
                quorum.silent.iter().take(NAMED).map(|name| format!("'{name}'")).collect();
            names.join(", ")
        };
        match quorum.state {
            QuorumState::Held => {}
            QuorumState::Unfounded => {
                quorum.means =
                    vec!["the cluster is not founded yet: nothing is started, stopped or decided".to_owned()];
                let remedy = "all voters must be up once, with the same file".to_owned();
                quorum.remedy = vec![match quorum.silent.is_empty() {
                    true => remedy,
                    false => format!("{remedy}: start roostd on {}", silent()),
                }];
            }
            QuorumState::Electing => {
                quorum.means = vec![
                    "a majority is heard, and no host leads yet: it takes seconds, in which nothing is decided"
                        .to_owned(),
                ];
                quorum.remedy = vec![
                    "try again in some seconds; if it stays so, see `roost events`: voters whose disk or file is bad cannot vote"
                        .to_owned(),
                ];
            }
            QuorumState::Lost => {
                quorum.means = vec![self.what_runs_on(now), "nothing is decided: no group is started elsewhere, no order is carried out, and `roost fence HOST --confirm` needs a majority, too".to_owned()];
                let lacking = quorum.needed.saturating_sub(quorum.heard).max(1);
                let hosts = if lacking == 1 { "one more voter" } else { "more voters" };
                quorum.remedy = vec![format!(
                    "{hosts} must be heard: start roostd on, or mend the network to, {lacking} of {}",
                    silent()
                )];
            }
        }
    }

    /// What becomes of the groups of this host, and of those of others, meanwhile.
    fn what_runs_on(&self, now: Instant) -> String {
        let wish = self.config.cluster.on_quorum_loss;
        let paused = match wish {
            OnQuorumLoss::Pause => "pause",
            OnQuorumLoss::Stop => "are stopped",
            OnQuorumLoss::Keep => "run on",
        };
        let owns = !self.owned().is_empty();
        match (owns, self.lease, wish) {
            (true, _, OnQuorumLoss::Keep) => {
                "the groups of this host run on without a lease, as on_quorum_loss = \"keep\" says".to_owned()
            }
            (true, Lease::Held, _) => {
                let left = self.lease_until().map_or(0, |until| until.since(now).as_millis());
                format!(
                    "the groups of this host run on while its lease lasts, {}.{} s more; then they {paused}",
                    left / 1000,
                    left % 1000 / 100
                )
            }
            (true, Lease::Out, OnQuorumLoss::Pause) => {
                "this host's lease ran out: its groups are paused, and go on where they were when a majority is heard in time"
                    .to_owned()
            }
            (true, Lease::Out, OnQuorumLoss::Stop) => {
                "this host's lease ran out: its groups are stopped".to_owned()
            }
            (false, ..) => {
                let stand = if self.stand == Stand::Admitted { "" } else { ", and is not in the cluster" };
                format!("this host has no groups{stand}; those of other hosts {paused} when their leases run out")
            }
        }
    }

    /// The same in one sentence, for an order that is refused.
    pub(super) fn no_quorum(&self, now: Instant) -> String {
        let quorum = self.quorum(now);
        let (means, remedy) = (quorum.means.join("; "), quorum.remedy.join("; "));
        match quorum.state {
            QuorumState::Held => "the leader did not answer in time".to_owned(),
            QuorumState::Unfounded | QuorumState::Electing => format!("{means}. To do: {remedy}"),
            QuorumState::Lost => format!(
                "no majority: {} of {} voters are heard, and it takes {}. {means}. To do: {remedy}",
                quorum.heard, quorum.voters, quorum.needed
            ),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
