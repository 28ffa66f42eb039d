//! Whether this host acts, or keeps its hands off because the cluster is disarmed.
//!
//! What makes it safe to live without lease and watchdog is that the applied ledger, from the disarming on, has this life's
//! silence prove nothing, and that this host says otherwise only once it lives under its lease again and would do so after a
//! restart, too. A life that was not admitted yet when it sees the disarming, and that follows no life that lived by it, keeps
//! to its lease: it has promised that in its hello.

use super::ledger::Standing;
use super::rights::{Hands, Lease, Stand};
use super::watchdog::{WatchdogInput, WatchdogOrder};
use super::{Engine, Flag, Output};
use roost_proto::control::{EventKind, Level};
use roost_proto::time::Instant;

impl Engine {
    /// Whether this host keeps its hands off everything.
    pub fn is_hands_off(&self) -> bool {
        self.hands != Hands::On
    }

    pub(super) fn look_at_hands(&mut self, now: Instant) {
        let arming = self.ledger.arming();
        let (disarmed, changed) = (self.ledger.is_disarmed(), arming.changed);
        let evicted = matches!(
            self.ledger.standing(self.me), Standing::Evicted(member) if member.incarnation == self.incarnation
        );
        let is_in = self.stand == Stand::Admitted || evicted;
        let next = match self.hands {
            Hands::On | Hands::Returning { .. } if disarmed && is_in => Hands::Off { at: changed },
            Hands::On => Hands::On,
            // It was thrown out, and is known to run nothing, or is to be: what it held is to go.
            Hands::Off { .. } | Hands::Returning { .. }
                if self.stand == Stand::Over && !(disarmed && evicted) =>
            {
                Hands::On
            }
            Hands::Off { at } if !disarmed && (changed > at || self.stand == Stand::Admitted) => {
                Hands::Returning { until: now + self.config.cluster.timing.lease }
            }
            Hands::Returning { until } => {
                let opened = self.watchdog.is_some() || !self.opens_watchdog;
                let ready = opened && self.stand == Stand::Admitted && self.lease == Lease::Held;
                if ready || now >= until { Hands::On } else { self.hands }
            }
            Hands::Off { .. } => self.hands,
        };
        let before = core::mem::replace(&mut self.hands, next);
        if before == next {
            return;
        }
        self.changed.ledger = Flag::Unseen;
        self.changed.leader = Flag::Unseen;
        match next {
            Hands::Off { at } => {
                self.keeper.set_disarmed(Some(at));
                self.put_watchdog_away();
                let text = "this host keeps its hands off: what runs, runs on, without lease and watchdog";
                self.record(Level::Warning, EventKind::Operator, None, text.to_owned());
            }
            Hands::Returning { .. } => self.open_watchdog(),
            Hands::On => {
                if matches!(before, Hands::Off { .. }) {
                    self.open_watchdog();
                }
                self.keeper.set_disarmed(None);
                let text = "this host acts again, under its lease".to_owned();
                self.record(Level::Info, EventKind::Operator, None, text);
            }
        }
    }

    pub(super) fn put_watchdog_away(&mut self) {
        if self.has_watchdog() {
            self.out.push_back(Output::Watchdog(WatchdogOrder::Disarm));
        }
    }

    /// Whether there is a device that resets this machine.
    pub(super) const fn has_watchdog(&self) -> bool {
        matches!(self.watchdog, Some(WatchdogInput::Working { .. } | WatchdogInput::Virtual { .. }))
    }

    fn open_watchdog(&mut self) {
        if self.watchdog.take().is_some() {
            self.opens_watchdog = true;
            self.out.push_back(Output::Watchdog(WatchdogOrder::Open));
        }
    }

    /// When this host acts again, whether it has a lease by then or not.
    pub(super) const fn hands_deadline(&self) -> Option<Instant> {
        match self.hands {
            Hands::Returning { until } => Some(until),
            Hands::On | Hands::Off { .. } => None,
        }
    }

    /// Whether this host may say that its silence proves something: it lives under its lease, and would after a restart.
    pub(super) fn keeps_to_its_lease(&self) -> bool {
        self.hands == Hands::On && !self.keeper.is_disarmed_on_disk()
    }

    /// Whether the ledger does not have it yet what this host's silence proves.
    pub(super) fn is_to_renew(&self) -> bool {
        let Standing::In(member) = self.ledger.standing(self.me) else { return false };
        self.stand == Stand::Admitted
            && member.proof == roost_proto::cluster::decision::Proof::None
            && self.hello().proof != member.proof
    }
}
