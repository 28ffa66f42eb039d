//! How a host stands, what is wrong with it, and what would happen if it were lost.

use super::fencing;
use crate::config::{Host, Role};
use crate::engine::Engine;
use crate::engine::leader::placement::Plan;
use crate::engine::ledger::Standing;
use crate::engine::rights::Lease;
use core::time::Duration;
use roost_proto::cluster::decision::{HostMode, Proof};
use roost_proto::cluster::{HostId, Life};
use roost_proto::control::{HostState, LibvirtStatus, Status};
use roost_proto::insight::{Explanation, FencingBy, HostExplained, Subject};
use roost_proto::time::{Instant, Span};
use std::collections::BTreeSet;

/// Groups that are named in one sentence, at most.
const NAMED: usize = 10;

impl Engine {
    /// Why a host of the configuration is as it is, as far as this host knows.
    pub(in crate::engine) fn explain_host(&self, now: Instant, host: &Host) -> Explanation {
        let id = HostId::of(&host.name);
        let status = self.host_status(now, &host.name);
        let proof = match self.ledger.standing(id) {
            Standing::In(member) | Standing::Evicted(member) => member.proof,
            Standing::Out => Proof::None,
        };
        let by = fencing(host, proof);
        let mut explained = HostExplained {
            name: host.name.clone(),
            state: status.state,
            why: self.how_it_stands(now, id, host, status.votes),
            problems: Vec::new(),
            fencing: by,
            fencing_words: self.fencing_words(host, proof),
            lost: None,
        };
        if self.ledger.is_disarmed() {
            let text = "the cluster is disarmed: nothing is done if it is lost, until `roost arm`";
            explained.problems.push(text.to_owned());
        }
        let mode = self.ledger.host(id).map_or(HostMode::Active, |record| record.mode);
        match (status.state, mode) {
            (HostState::Up, _) => {}
            (_, HostMode::Maintenance) => {
                explained.problems.push("in maintenance: it is to run nothing".to_owned());
            }
            (_, HostMode::Quarantined) => explained.problems.push(format!(
                "quarantined for {}: starts kept failing there, and it gets no new groups",
                Span(self.config.cluster.quarantine)
            )),
            (_, HostMode::Active) => {}
        }
        let reason = status.reason.trim_end_matches("witness").trim_end_matches("; ");
        if !reason.is_empty() {
            explained.problems.push(reason.to_owned());
        }
        let told = self.leader.as_ref().and_then(|leader| leader.told_of(id));
        if let Some(told) = told.filter(|_| status.state != HostState::Up) {
            explained.problems.push(told.to_owned());
        }
        if by == FencingBy::None && self.config.hosts.len() > 1 && host.role != Role::Witness {
            explained.problems.push(
                "unguarded: it has neither a fence agent nor a watchdog that proves anything".to_owned(),
            );
        }
        let alone = self.config.hosts.len() == 1;
        if self.reports_here().is_some() && !alone && status.state != HostState::Out {
            explained.lost = Some(self.plan_case(now, &BTreeSet::from([id])));
        }
        self.explanation(now, Subject::Host(explained))
    }

    fn how_it_stands(&self, now: Instant, id: HostId, host: &Host, votes: bool) -> Vec<String> {
        let mut why = Vec::new();
        let role = match (host.role, votes, self.whom_to_ask() == Some(id)) {
            (Role::Witness, ..) => "it votes, and runs nothing (a witness)",
            (Role::Application, true, leads) => {
                if leads {
                    "it leads, votes, and runs applications"
                } else {
                    "it votes, and runs applications"
                }
            }
            (Role::Watched, ..) => "it runs applications and no roostd: the leader watches its roost-guest",
            (Role::Application, false, _) => "it runs applications, and does not vote",
            (_, true, true) => "it leads, and votes",
            (_, true, false) => "it votes",
            (_, false, _) => "it does not vote",
        };
        why.push(match self.ledger.standing(id) {
            Standing::In(member) => {
                format!("it is in the cluster (start {}); {role}", member.incarnation.start)
            }
            Standing::Evicted(_) => {
                "it was evicted, and is not known to run nothing: its groups are blocked".to_owned()
            }
            Standing::Out => format!("it is not in the cluster, and runs nothing of it; {role}"),
        });
        let known = self.voters.contains_key(&self.me) || self.voters.contains_key(&id);
        if id == self.me {
            let left = self.lease_until().map_or(0, |until| until.since(now).as_millis());
            why.push(match self.lease {
                Lease::Held if left > 0 => {
                    format!(
                        "it holds its lease: {}.{} s are left, and each beat renews it",
                        left / 1000,
                        left % 1000 / 100
                    )
                }
                Lease::Held => "it runs on without a lease, as on_quorum_loss says".to_owned(),
                Lease::Out => "it has no lease: it may run nothing".to_owned(),
            });
        } else if known {
            let silence = self.member.silence(now, id);
            let said = match self.member.peer(id).map(|peer| peer.state) {
                Some(Life::Leased) => "that it held its lease",
                Some(Life::Unleased) => "that it had no lease",
                Some(Life::Leaving) => "that it was about to leave",
                None => "nothing",
            };
            why.push(if silence.age < self.config.cluster.timing.suspect_after {
                format!("heard {} ms ago, and said {said}", silence.age.as_millis())
            } else {
                format!("not heard for {} s; before that it said {said}", silence.age.as_secs())
            });
        }
        let inside = |group: &String| match self.ledger.inside(group) {
            Some(vm) => format!("{group} (in '{vm}')"),
            None => group.clone(),
        };
        let owned: Vec<String> = self.ledger.owned(id).iter().map(inside).collect();
        let more = owned.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        why.push(match owned.len() {
            0 => "no group is its own".to_owned(),
            1 => format!("its own is 1 group: {}", owned[0]),
            count => format!("its own are {count} groups: {}{more}", owned[..count.min(NAMED)].join(", ")),
        });
        let is_in = matches!(self.ledger.standing(id), Standing::In(_));
        let reports = self.reports_here().filter(|_| is_in && host.role == Role::Hypervisor);
        if let Some(reports) = reports {
            let left = self.looks(now, |view| Plan::new(view, reports).left(host));
            why.push(match (reports.room(id), left) {
                (Some(room), Some(left)) => format!(
                    "room for groups: {left} of {} MiB are left, {} MiB are kept back; {} CPUs",
                    room.memory_total_mib, host.reserve_mib, room.cpus
                ),
                _ => "its libvirt does not tell what room there is: it gets no new groups".to_owned(),
            });
        }
        why
    }

    fn fencing_words(&self, host: &Host, proof: Proof) -> String {
        let agents: Vec<&str> =
            host.fence.iter().flat_map(|level| &level.agents).map(|agent| agent.agent.as_str()).collect();
        let time = match proof {
            Proof::Watchdog { timeout_ms, lease_ms } => Some(format!(
                "its lease of {} and its watchdog of {} run out",
                Span(Duration::from_millis(lease_ms.into())),
                Span(Duration::from_millis(timeout_ms.into()))
            )),
            Proof::None => None,
        };
        match (agents.is_empty(), time) {
            (false, Some(time)) => {
                format!("fence agents ({}) switch it off; or else {time}", agents.join(", "))
            }
            (false, None) => {
                format!("fence agents ({}) switch it off; time alone proves nothing", agents.join(", "))
            }
            (true, Some(time)) => format!("no fence agent; {time}, which proves that it runs nothing"),
            (true, None) => format!(
                "neither a fence agent nor a watchdog: its groups would be blocked until `roost fence {} --confirm`",
                host.name
            ),
        }
    }

    /// Adds what the host tells of itself.
    pub(in crate::engine) fn detail_host(host: &mut HostExplained, told: &Status) {
        if let LibvirtStatus::Lost { reason } = &told.libvirt {
            host.problems.push(format!("libvirt there does not answer: {reason}"));
        }
        host.problems.extend(told.warnings.iter().cloned());
        host.why.push(format!("it runs {}", told.software));
    }
}
