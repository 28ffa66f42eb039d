//! What operators order: what it asks of the ledger, and what they are told.

use super::ledger::Standing;
use super::{Command, Engine};
use crate::engine::keeper::RequestId;
use roost_proto::cluster::decision::{Decision, FencedBy, RecallReason};
use roost_proto::cluster::{GroupOrder, HostId, Incarnation};
use roost_proto::control::{Intent, Refusal};
use roost_proto::text::nearest;
use roost_proto::time::Instant;

impl Engine {
    pub(super) fn operator(&mut self, now: Instant, request: RequestId, who: &str, command: Command) {
        let decided = self.decision(who, command).and_then(|(decision, done)| {
            if let Some(host) = self.lacking(decision.since()) {
                let host = self.name(host);
                let reason = format!("the roostd of '{host}' does not know this order yet: upgrade it first");
                return Err((Refusal::NotDone, reason));
            }
            self.desk.ask(now, Some(request), decision, done).map_err(|reason| (Refusal::Busy, reason))
        });
        match decided {
            Ok(()) => self.ask_leader(),
            Err(refusal) => self.answer(Some(request), Err(refusal)),
        }
    }

    /// What an operator's command asks of the ledger, and what the operator is told once it is decided.
    pub(super) fn decision(
        &self,
        who: &str,
        command: Command,
    ) -> Result<(Decision, String), (Refusal, String)> {
        let by = who.to_owned();
        match command {
            Command::Group { group, order } => {
                self.known_group(&group)?;
                let done = match order {
                    GroupOrder::Intent(Intent::Online) => "it is kept online from now on",
                    GroupOrder::Intent(Intent::Offline) => {
                        "it is taken offline, and stays so until `roost online`"
                    }
                    GroupOrder::Freeze => "it is watched and not touched, until `roost thaw`",
                    GroupOrder::Thaw => "it is taken care of again",
                };
                Ok((Decision::Order { group, order, by }, done.to_owned()))
            }
            Command::Move { group, to } => {
                self.known_group(&group)?;
                let to = to.map(|host| self.known_host(&host)).transpose()?;
                let epoch = self.ledger.group(&group).epoch;
                let done = "it is stopped where it is, and goes".to_owned();
                Ok((Decision::Recall { group, epoch, to, why: RecallReason::Moved }, done))
            }
            Command::Mode { host, mode } => {
                let id = self.known_host(&host)?;
                Ok((Decision::Mode { host: id, mode, by }, "it is so from now on".to_owned()))
            }
            Command::ConfirmFenced { host } => {
                // One that the file does not name any more may still have to be confirmed.
                let gone = self.ledger.hosts().find(|(_, record)| record.name == host).map(|(id, _)| id);
                let id = gone.map_or_else(|| self.known_host(&host), Ok)?;
                let incarnation = match self.ledger.host(id).map(|record| record.standing) {
                    None => Incarnation::default(),
                    Some(Standing::Evicted(evicted)) => evicted.incarnation,
                    Some(Standing::In(_)) => {
                        let reason =
                            format!("'{host}' is in the cluster: only what was evicted can be confirmed");
                        return Err((Refusal::NotDone, reason));
                    }
                    Some(Standing::Out) => {
                        return Err((Refusal::NotDone, format!("'{host}' is known to run nothing already")));
                    }
                };
                let done = "its groups are free, and start elsewhere".to_owned();
                Ok((Decision::Fenced { host: id, incarnation, by: FencedBy::Operator }, done))
            }
        }
    }

    fn known_group(&self, group: &str) -> Result<(), (Refusal, String)> {
        let mut names = self.config.groups.iter().map(|known| known.name.as_str());
        if names.clone().any(|name| name == group) {
            return Ok(());
        }
        let hint =
            nearest(group, &mut names).map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
        Err((Refusal::UnknownGroup, format!("there is no group '{group}'{hint}")))
    }

    fn known_host(&self, host: &str) -> Result<HostId, (Refusal, String)> {
        let mut names = self.config.hosts.iter().map(|known| known.name.as_str());
        if names.clone().any(|name| name == host) {
            return Ok(HostId::of(host));
        }
        let hint =
            nearest(host, &mut names).map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
        Err((Refusal::UnknownHost, format!("there is no host '{host}'{hint}")))
    }
}
