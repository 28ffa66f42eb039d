//! What operators ask: on any host, it is asked of the leader and of the owners of groups, and answered within a bound with
//! what they said, or with what this host knows alone.

use super::consult::{Consultation, MAX_ANSWER, WITHIN};
use super::keeper::{RequestId, health};
use super::ledger::Standing;
use super::{Contact, Engine, Output, leader};
use roost_proto::cluster::{HostId, Incarnation, QUESTIONS_SINCE, Question};
use roost_proto::control::{
    Ask, CONTROL_VERSION, Condition, Health, HostState, LibvirtStatus, Refusal, Reply, Status,
};
use roost_proto::insight::{Explanation, PlanReport, QuorumState, Subject};
use roost_proto::text::nearest;
use roost_proto::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts that may be lost together in one question, at most: in a datagram there is room for more, in a cluster no reason.
const MAX_WITHOUT: usize = 16;

/// An answer on its way: what is said, and the answerer's own clock, against which the times in it are told.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    at_ms: u64,
    reply: Reply,
}

/// What an operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// How all is.
    Cluster,
    /// Why a group is as it is.
    Group(String),
    /// Why a host is as it is.
    Host(String),
    /// What would become of the groups.
    Plan(Question),
}

/// What an operator waits for.
#[derive(Clone, Debug)]
pub struct Purpose {
    want: Want,
    /// When it was asked, by this host's clock and by the calendar.
    asked: (Instant, u64),
}

impl Want {
    /// What the leader is asked.
    fn of_leader(&self) -> Question {
        match self {
            Self::Cluster => Question::Cluster,
            Self::Group(name) | Self::Host(name) => Question::Explain(name.clone()),
            Self::Plan(question) => question.clone(),
        }
    }
}

impl Engine {
    /// An operator asks something. It is `now_ms` of Unix time.
    pub(super) fn ask(&mut self, now: Instant, request: RequestId, ask: Ask, now_ms: u64) {
        let begun = self.want(ask).and_then(|want| {
            let purpose = Purpose { want, asked: (now, now_ms) };
            if self.consult.begin(now, request, purpose) {
                return Ok(());
            }
            Err((Refusal::Busy, "too many are asking already; try again in some seconds".to_owned()))
        });
        match begun {
            Ok(()) => self.serve_consult(now),
            Err((code, reason)) => self.reply(request, Reply::Refused { code, reason }),
        }
    }

    fn want(&self, ask: Ask) -> Result<Want, (Refusal, String)> {
        match ask {
            Ask::Cluster => Ok(Want::Cluster),
            Ask::Explain { subject } => self.subject(&subject),
            Ask::Plan { without, any: true } if without.is_empty() => {
                if leader::rehearse::is_too_much(&self.config) {
                    let reason = "the cluster is too large to go through every host while it is kept up: ask of one, as in \
                                  `roost plan --without HOST`";
                    return Err((Refusal::NotDone, reason.to_owned()));
                }
                Ok(Want::Plan(Question::WithoutAny))
            }
            Ask::Plan { without, any: false } if (1..=MAX_WITHOUT).contains(&without.len()) => {
                let hosts: Result<Vec<HostId>, _> =
                    without.iter().map(|host| self.known_host(host)).collect();
                hosts.map(|hosts| Want::Plan(Question::Without(hosts)))
            }
            Ask::Plan { .. } => {
                let reason = format!(
                    "name the hosts that are lost together, from one to {MAX_WITHOUT}, or ask of any one"
                );
                Err((Refusal::NotDone, reason))
            }
            Ask::Status
            | Ask::Events { .. }
            | Ask::Intent { .. }
            | Ask::Freeze { .. }
            | Ask::Thaw { .. }
            | Ask::Fenced { .. }
            | Ask::Switch { .. }
            | Ask::Failback { .. }
            | Ask::Fail { .. }
            | Ask::Maintenance { .. }
            | Ask::Disarm
            | Ask::Arm
            | Ask::Metrics
            | Ask::Reload
            | Ask::WouldReload => {
                Err((Refusal::BadRequest, "that is nothing to be asked of others".to_owned()))
            }
        }
    }

    /// The group or the host of that name; a group, if there are both.
    fn subject(&self, name: &str) -> Result<Want, (Refusal, String)> {
        if self.config.groups.iter().any(|group| group.name == name) {
            return Ok(Want::Group(name.to_owned()));
        }
        if self.config.hosts.iter().any(|host| host.name == name) {
            return Ok(Want::Host(name.to_owned()));
        }
        let groups = self.config.groups.iter().map(|group| group.name.as_str());
        let hosts = self.config.hosts.iter().map(|host| host.name.as_str());
        let hint = nearest(name, groups.chain(hosts))
            .map(|name| format!(" (did you mean '{name}'?)"))
            .unwrap_or_default();
        Err((Refusal::UnknownGroup, format!("there is no group and no host '{name}'{hint}")))
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.out.push_back(Output::Reply { request, reply: Box::new(reply) });
    }

    /// Asks whom there is to ask, and answers operators whose answers are there, or whose time is over.
    pub(super) fn serve_consult(&mut self, now: Instant) {
        self.consult.forget(now);
        if self.consult.open().is_empty() {
            return;
        }
        let leader = self.whom_to_ask();
        let elects = leader.is_none() && self.contact == Contact::Majority && self.config.hosts.len() > 1;
        for place in 0..self.consult.open().len() {
            let Some(want) = self.consult.open().get(place).map(|one| one.purpose.want.clone()) else {
                continue;
            };
            for (host, question) in self.whom(now, &want, leader) {
                self.consult.ask(now, place, host, question);
            }
        }
        self.consult.open_mut().iter_mut().for_each(|one| one.awaits_leader = elects);
        while let Some(over) = self.consult.over(now) {
            let reply = self.conclude(now, &over);
            self.reply(over.request, reply);
        }
        for (to, message) in self.consult.due(now) {
            self.mail.now.entry(to).or_default().push(message);
        }
    }

    /// Who is to be asked what.
    fn whom(&self, now: Instant, want: &Want, leader: Option<HostId>) -> Vec<(HostId, Question)> {
        let mut asked = Vec::new();
        let understands = |host: &HostId| *host != self.me && self.knows(*host, QUESTIONS_SINCE);
        if let Some(leader) = leader.filter(understands) {
            asked.push((leader, want.of_leader()));
        }
        let owners: BTreeSet<HostId> = match want {
            Want::Cluster => self.ledger.owners().map(|(host, _)| host).collect(),
            Want::Group(name) => self.ledger.group(name).owner.into_iter().collect(),
            Want::Host(name) => BTreeSet::from([HostId::of(name)]),
            Want::Plan(_) => BTreeSet::new(),
        };
        let heard = |host: &HostId| {
            matches!(self.ledger.standing(*host), Standing::In(_)) && !self.is_silent_here(now, *host)
        };
        // A leader is asked for the whole already, with what it knows of its own.
        let alone = |host: &HostId| Some(*host) != leader || *want != Want::Cluster;
        let owners = owners.into_iter().filter(|host| understands(host) && heard(host) && alone(host));
        asked.extend(owners.map(|host| (host, Question::Own)));
        asked
    }

    /// Another host asks.
    pub(super) fn hear_question(
        &mut self,
        now: Instant,
        from: HostId,
        life: Incarnation,
        (start, number): (u32, u32),
        (first, lacks): (u16, u32),
        question: &Question,
    ) {
        if start != life.start {
            return; // it asked in another life, and does not wait any more
        }
        if !self.consult.keeps(from, start, number) {
            let told = Told { at_ms: millis(now), reply: self.answer_question(now, question) };
            let mut bytes = serde_json::to_vec(&told).expect("replies hold nothing that JSON cannot");
            if bytes.len() > MAX_ANSWER {
                let reason =
                    format!("the answer is longer than the {MAX_ANSWER} bytes that hosts tell each other");
                let told = Told { reply: Reply::Refused { code: Refusal::NotDone, reason }, ..told };
                bytes = serde_json::to_vec(&told).expect("a sentence");
            }
            self.consult.keep(now, from, start, number, bytes);
        }
        let pages = self.consult.pages(from, (start, number), first, lacks);
        self.mail.now.entry(from).or_default().extend(pages);
    }

    fn answer_question(&self, now: Instant, question: &Question) -> Reply {
        if *question == Question::Own {
            return Reply::Status(self.status(now, millis(now)));
        }
        if self.whom_to_ask() != Some(self.me) {
            let reason = format!("'{}' does not lead", self.name(self.me));
            return Reply::Refused { code: Refusal::NoQuorum, reason };
        }
        match question {
            Question::Own | Question::Cluster => Reply::Status(self.cluster_status(now, millis(now))),
            Question::Explain(name) => self.explained(now, name),
            Question::Without(hosts) => self.plan(now, &[hosts.iter().copied().collect()]),
            Question::WithoutAny => {
                let known = self.config.hosts.iter().map(|host| HostId::of(&host.name));
                let cases: Vec<BTreeSet<HostId>> = known.map(|host| BTreeSet::from([host])).collect();
                self.plan(now, &cases)
            }
        }
    }

    fn explained(&self, now: Instant, name: &str) -> Reply {
        if let Some(group) = self.config.groups.iter().find(|group| group.name == name) {
            return Reply::Explanation(self.explain_group(now, group));
        }
        match self.config.hosts.iter().find(|host| host.name == name) {
            Some(host) => Reply::Explanation(self.explain_host(now, host)),
            None => {
                let reason = format!(
                    "the configuration of '{}' has no group and no host '{name}'",
                    self.name(self.me)
                );
                Reply::Refused { code: Refusal::UnknownGroup, reason }
            }
        }
    }

    fn plan(&self, now: Instant, cases: &[BTreeSet<HostId>]) -> Reply {
        let cases: Vec<_> = cases.iter().map(|without| self.plan_case(now, without)).collect();
        let fits = cases.iter().all(|case| case.quorum && case.stuck.is_empty());
        let leader = self.name(self.me);
        Reply::Plan(PlanReport { version: CONTROL_VERSION, leader, fits, cases })
    }

    /// What the operator is told.
    fn conclude(&self, now: Instant, over: &Consultation<Purpose>) -> Reply {
        let Purpose { want, asked } = &over.purpose;
        let now_ms = asked.1 + u64::try_from(now.since(asked.0).as_millis()).unwrap_or(0);
        let mut heard = Heard::new(over, now_ms);
        let leader = self.whom_to_ask();
        let reply = if leader == Some(self.me) {
            Some(match want {
                Want::Cluster => Reply::Status(self.cluster_status(now, now_ms)),
                _ => self.answer_question(now, &want.of_leader()),
            })
        } else {
            leader.and_then(|leader| heard.leader(leader, &want.of_leader()))
        };
        let lacking = leader.filter(|_| reply.is_none()).map(|leader| self.why_no_answer(leader));
        let mut reply = match (reply, want) {
            (Some(reply), _) => reply,
            (None, Want::Cluster) => Reply::Status(self.cluster_status(now, now_ms)),
            (None, Want::Group(name) | Want::Host(name)) => self.explained(now, name),
            (None, Want::Plan(_)) => {
                let reason = lacking.clone().unwrap_or_else(|| self.no_quorum(now));
                Reply::Refused {
                    code: Refusal::NoQuorum,
                    reason: format!("only a leader can plan: {reason}"),
                }
            }
        };
        match &mut reply {
            Reply::Status(status) => self.complete(now, now_ms, status, &heard, lacking),
            Reply::Explanation(explanation) => {
                self.complete_explanation(now, now_ms, explanation, &heard, lacking);
            }
            _ => {}
        }
        reply
    }

    fn why_no_answer(&self, leader: HostId) -> String {
        let name = self.name(leader);
        if self.knows(leader, QUESTIONS_SINCE) {
            format!("'{name}', the leader, did not answer within {} ms", WITHIN.as_millis())
        } else {
            format!(
                "the roostd of '{name}', the leader, is older and does not know this question: upgrade it"
            )
        }
    }

    /// Puts what owners told, and this host's own, in the place of what the leader knows of it.
    fn complete(
        &self,
        now: Instant,
        now_ms: u64,
        status: &mut Status,
        heard: &Heard,
        lacking: Option<String>,
    ) {
        let own = self.status(now, now_ms);
        let mut told: Vec<&Status> = heard.owners.values().collect();
        told.push(&own);
        let names: BTreeMap<HostId, String> =
            self.config.hosts.iter().map(|host| (HostId::of(&host.name), host.name.clone())).collect();
        for teller in told {
            let of = |name: &str| teller.groups.iter().find(|group| group.name == name);
            for group in &mut status.groups {
                if group.owner.as_ref() == Some(&teller.host)
                    && let Some(better) =
                        of(&group.name).filter(|told| told.condition != Condition::Elsewhere)
                {
                    *group = better.clone();
                    group.owner = Some(teller.host.clone());
                }
            }
            if let LibvirtStatus::Lost { reason } = &teller.libvirt
                && teller.host != own.host
                && let Some(host) = status.hosts.iter_mut().find(|host| host.name == teller.host)
            {
                let words = format!("libvirt does not answer: {reason}");
                host.reason =
                    if host.reason.is_empty() { words } else { format!("{}; {words}", host.reason) };
            }
        }
        let asker = own.host.clone();
        let of_others =
            heard.owners.values().chain(heard.leader.as_ref()).filter(|teller| teller.host != asker);
        let mut warnings: Vec<String> = own.warnings.clone();
        let said = self.quorum_warning(); // it is told at length beside them
        warnings.retain(|warning| Some(warning) != said.as_ref());
        warnings.extend(lacking.map(|lacking| format!("{lacking}: what is not this host's own may be old")));
        warnings.extend(
            of_others.flat_map(|teller| {
                teller.warnings.iter().map(move |words| format!("{}: {words}", teller.host))
            }),
        );
        let mut told = BTreeSet::new();
        warnings.retain(|words| told.insert(words.clone()));
        status.warnings = warnings;
        status.host = own.host;
        status.software = own.software;
        status.libvirt = own.libvirt;
        status.quorum = (names.len() > 1).then(|| self.quorum(now));
        status.health = overall(status);
    }

    fn complete_explanation(
        &self,
        now: Instant,
        now_ms: u64,
        explanation: &mut Explanation,
        heard: &Heard,
        lacking: Option<String>,
    ) {
        self.name(self.me).clone_into(&mut explanation.host);
        explanation.quorum = self.quorum(now);
        let own = self.status(now, now_ms);
        let tellers = || heard.owners.values().chain([&own]);
        let problems = match &mut explanation.subject {
            Subject::Group(group) => {
                let owner = group.owner.clone();
                let teller = tellers().find(|teller| Some(&teller.host) == owner.as_ref());
                let told =
                    teller.and_then(|teller| teller.groups.iter().find(|told| told.name == group.name));
                if let Some(told) = told.filter(|told| told.condition != Condition::Elsewhere) {
                    self.detail_group(group, told, now_ms);
                }
                &mut group.problems
            }
            Subject::Host(host) => {
                if let Some(teller) = tellers().find(|teller| teller.host == host.name) {
                    Self::detail_host(host, teller);
                }
                &mut host.problems
            }
        };
        problems.extend(lacking);
    }
}

/// What was answered.
struct Heard {
    /// By the owners of groups, of their own.
    owners: BTreeMap<HostId, Status>,
    /// By the leader, of all, when it is a status.
    leader: Option<Status>,
    replies: Vec<(HostId, Question, Reply)>,
}

impl Heard {
    fn new(over: &Consultation<Purpose>, now_ms: u64) -> Self {
        let mut this = Self { owners: BTreeMap::new(), leader: None, replies: Vec::new() };
        let whole = over.asked().filter(|(.., whole)| *whole);
        for (host, question, _) in whole {
            let bytes = over.answer(host, question).unwrap_or_default();
            // What cannot be read is of a later version, and as good as none.
            let Ok(Told { at_ms, mut reply }) = serde_json::from_slice(&bytes) else { continue };
            if let Reply::Status(status) = &mut reply {
                let here = |there: u64| now_ms.saturating_sub(at_ms.saturating_sub(there));
                for group in status.groups.iter_mut().filter(|group| group.since_ms > 0) {
                    group.since_ms = here(group.since_ms);
                }
                if *question == Question::Own {
                    this.owners.insert(host, status.clone());
                }
            }
            this.replies.push((host, question.clone(), reply));
        }
        this
    }

    /// What the leader answered to this; nothing if it does not lead any more.
    fn leader(&mut self, leader: HostId, question: &Question) -> Option<Reply> {
        let place = self.replies.iter().position(|(host, to, _)| *host == leader && to == question)?;
        let (_, _, reply) = self.replies.remove(place);
        if let Reply::Status(status) = &reply {
            self.leader = Some(status.clone());
        }
        (!matches!(reply, Reply::Refused { code: Refusal::NoQuorum, .. })).then_some(reply)
    }
}

/// All in one word.
pub(super) fn overall(status: &Status) -> Health {
    let hosts = status.hosts.iter().map(|host| match host.state {
        HostState::Up => Health::Healthy,
        HostState::Silent
        | HostState::Blocked
        | HostState::Out
        | HostState::Maintenance
        | HostState::Quarantined => Health::Degraded,
    });
    let own = if status.warnings.is_empty() { Health::Healthy } else { Health::Degraded };
    let libvirt = match status.libvirt {
        LibvirtStatus::Connected | LibvirtStatus::Unused => Health::Healthy,
        LibvirtStatus::Lost { .. } => Health::Degraded,
    };
    let quorum = match status.quorum.as_ref().map(|quorum| quorum.state) {
        None | Some(QuorumState::Held) => Health::Healthy,
        Some(QuorumState::Electing | QuorumState::Unfounded) => Health::Degraded,
        Some(QuorumState::Lost) => Health::Broken,
    };
    let groups = status.groups.iter().map(health);
    hosts.chain(groups).chain([own, libvirt, quorum]).max().unwrap_or(own)
}

fn millis(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000
}
