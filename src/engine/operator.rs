//! What operators order: what it asks of the ledger, and what they are told.

use super::desk::Wish;
use super::ledger::Standing;
use super::{Command, Destination, Engine};
use crate::engine::keeper::RequestId;
use roost_proto::cluster::decision::{Arms, Decision, FencedBy, HostMode};
use roost_proto::cluster::{GroupOrder, HostId, Incarnation, Whither};
use roost_proto::control::{Intent, Refusal};
use roost_proto::text::nearest;
use roost_proto::time::Instant;

impl Engine {
    pub(super) fn operator(&mut self, now: Instant, request: RequestId, who: &str, command: Command) {
        let decided = self.wish(who, command).and_then(|(wish, done)| {
            let since = match &wish {
                Wish::Decision(decision) => decision.since(),
                Wish::Move { .. } => roost_proto::cluster::DATAGRAM_VERSIONS.oldest,
            };
            if let Some(host) = self.lacking(since) {
                let host = self.name(host);
                let reason = format!("the roostd of '{host}' does not know this order yet: upgrade it first");
                return Err((Refusal::NotDone, reason));
            }
            self.desk.ask(now, Some(request), wish, done).map_err(|reason| (Refusal::Busy, reason))
        });
        match decided {
            Ok(()) => self.ask_leader(),
            Err(refusal) => self.answer(Some(request), Err(refusal)),
        }
    }

    /// What an operator's command asks for, and what the operator is told once it is decided.
    fn wish(&self, who: &str, command: Command) -> Result<(Wish, String), (Refusal, String)> {
        let Command::Move { group, to, method } = command else {
            return self.decision(who, command).map(|(decision, done)| (Wish::Decision(decision), done));
        };
        self.known_group(&group)?;
        let whither = match to {
            Destination::Host(name) => Whither::Host(self.known_target(&group, &name)?),
            Destination::Elsewhere => Whither::Elsewhere,
            Destination::Home => Whither::Home,
            Destination::Failover => Whither::Failover,
        };
        Ok((Wish::Move { group, whither, method }, String::new()))
    }

    /// What an operator's command asks of the ledger, and what the operator is told once it is decided.
    pub(super) fn decision(
        &self,
        who: &str,
        command: Command,
    ) -> Result<(Decision, String), (Refusal, String)> {
        let by = who.to_owned();
        match command {
            Command::Arm(arms) => Ok((Decision::Arm { arms, by }, self.armed_text(arms))),
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
            Command::Move { .. } => unreachable!("the leader decides how a group is moved"),
            Command::Mode { host, mode } => {
                let id = self.known_host(&host)?;
                let done = match mode {
                    HostMode::Maintenance => "it gets nothing new from now on, and its groups go elsewhere",
                    HostMode::Active => "it may be used again",
                    HostMode::Quarantined => "it gets nothing new for a while",
                };
                Ok((Decision::Mode { host: id, mode, by }, done.to_owned()))
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

    fn armed_text(&self, arms: Arms) -> String {
        match arms {
            Arms::Disarmed => {
                "the cluster is disarmed: Roost starts, stops, pauses, moves and fences nothing, until `roost arm`".to_owned()
            }
            Arms::Armed => {
                let limit = self.config.cluster.timing.evict_after;
                format!(
                    "the cluster is armed; a host that stays silent for {} ms from now on is evicted",
                    limit.as_millis()
                )
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

    /// The number of a target of a group: a host, or of an application also a VM.
    fn known_target(&self, group: &str, name: &str) -> Result<HostId, (Refusal, String)> {
        let Some(app) = self.config.group(group).and_then(|group| group.app.as_ref()) else {
            return self.known_host(name);
        };
        if let Some(target) = app.targets.iter().find(|target| target.to_string() == name) {
            return Ok(target.id());
        }
        let targets: Vec<String> = app.targets.iter().map(|target| format!("'{target}'")).collect();
        let reason = format!("'{name}' is no target of '{group}': its targets are {}", targets.join(", "));
        Err((Refusal::UnknownHost, reason))
    }

    pub(super) fn known_host(&self, host: &str) -> Result<HostId, (Refusal, String)> {
        let mut names = self.config.hosts.iter().map(|known| known.name.as_str());
        if names.clone().any(|name| name == host) {
            return Ok(HostId::of(host));
        }
        let hint =
            nearest(host, &mut names).map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
        Err((Refusal::UnknownHost, format!("there is no host '{host}'{hint}")))
    }
}
