//! How a life ends: this host leaves, or was thrown out.

use super::ledger::Standing;
use super::rights::Stand;
use super::watchdog::WatchdogOrder;
use super::{Contact, Engine, LEAVE_WITHIN, Output, Stay, member};
use roost_proto::cluster::{HostId, Life};
use roost_proto::control::{EventKind, Level};
use roost_proto::time::Instant;

impl Engine {
    pub(super) fn look_at_end(&mut self, now: Instant) {
        match self.stay {
            Stay::Leaving { .. } if self.config.hosts.len() == 1 => self.go(),
            // The machine is shut down while the cluster is disarmed: its VMs are the system's to stop.
            Stay::Leaving { .. }
                if self.is_hands_off() && (!self.owned().is_empty() || self.keeper.may_run()) =>
            {
                self.go();
            }
            Stay::Leaving { .. } if self.has_left() && !self.keeper.is_left() && !self.keeper.may_run() => {
                self.out.push_back(Output::Watchdog(WatchdogOrder::Disarm));
                self.go();
            }
            Stay::Leaving { .. } if self.is_thrown_out() && !self.keeper.is_left() => self.go(),
            Stay::Leaving { until } if now >= until => {
                let text = format!(
                    "this host could not leave within {} s: what it still owns is blocked until it is fenced",
                    LEAVE_WITHIN.as_secs()
                );
                self.record(Level::Error, EventKind::Lease, None, text);
                self.go();
            }
            Stay::Staying if self.stand == Stand::Over && !self.is_hands_off() && !self.keeper.is_left() => {
                self.stay = Stay::Gone;
                self.keeper.forget_what_was_lost();
                self.take_from_keeper(now);
                self.out.push_back(Output::BeginAnew);
            }
            Stay::Staying | Stay::Leaving { .. } | Stay::Gone => {}
        }
    }

    /// Whether this life was admitted and is not any more, without having left in order.
    pub(super) fn is_thrown_out(&self) -> bool {
        let in_order = self.stay != Stay::Staying && self.ledger.standing(self.me) == Standing::Out;
        self.stand == Stand::Over && !in_order
    }

    /// Whether nothing is left for this host to wait for while it leaves, as far as the cluster goes. It may have been evicted
    /// and fenced meanwhile: what it held is to go before it does.
    fn has_left(&self) -> bool {
        match (self.ledger.standing(self.me), self.contact) {
            (Standing::Out, _) => self.stand != Stand::Admitted && !self.is_needed(),
            // When all hosts are shut down the last ones find nobody who could decide that they go.
            (Standing::In(_), Contact::Few) => self.owned().is_empty(),
            (Standing::In(_), Contact::Majority) | (Standing::Evicted(_), _) => false,
        }
    }

    /// Whether other hosts leave too, and this one's vote is needed until they have given everything back: without a
    /// majority their VMs would stand still, and not shut down.
    fn is_needed(&self) -> bool {
        let leaves = |(host, peer): (HostId, &member::Peer)| {
            let limit = self.config.cluster.timing.suspect_after;
            peer.state == Life::Leaving
                && peer.heard.is_some_and(|at| self.awake.since(at) < limit)
                && !self.ledger.owned(host).is_empty()
        };
        self.voters.contains_key(&self.me) && self.member.peers().any(leaves)
    }

    fn go(&mut self) {
        self.stay = Stay::Gone;
        self.out.push_back(Output::Left);
    }
}
