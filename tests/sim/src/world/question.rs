//! Operators' questions: each is answered within the bound, once, with what was asked; and nothing of it is sent while nobody asks.

use super::World;
use super::clock::Time;
use super::event::Event;
use super::host::Host;
use core::time::Duration;
use roost::engine::Input;
use roost::engine::consult::{MAX_OPEN, WITHIN};
use roost::engine::keeper::RequestId;
use roost_proto::cluster::{Datagram, Message};
use roost_proto::control::{Ask, Condition, Refusal, Reply, Status};

/// An answer may be so much later than its bound: a clock that runs slow, and a timer.
const SLACK: Duration = Duration::from_millis(50);

/// A question that was not answered yet.
#[derive(Clone, Debug)]
pub struct Open {
    ask: Ask,
    /// When it was asked; nothing if its host stood still since, and so may be late.
    at: Option<Time>,
}

impl Host {
    /// The host stands still: what it was asked may be answered late.
    pub fn forgive_questions(&mut self) {
        self.open.values_mut().for_each(|open| open.at = None);
    }
}

impl World {
    /// An operator asks.
    pub(super) fn question(&mut self, host: usize, ask: Ask) {
        let it = &mut self.hosts[host];
        if it.daemon.is_none() || it.frozen || it.stopped {
            return; // nobody takes it
        }
        let request = RequestId(self.steps);
        it.open.insert(request.0, Open { ask: ask.clone(), at: Some(self.now) });
        self.tell(host, Input::Ask { request, ask, now_ms: 1_000_000_000_000 });
    }

    /// An operator is answered.
    pub(super) fn replied(&mut self, host: usize, request: RequestId, reply: &Reply) {
        let name = self.hosts[host].name.clone();
        let Some(open) = self.hosts[host].open.remove(&request.0) else {
            self.violated(format!("questions: {name} answers what nobody asks: {reply:?}"));
            return;
        };
        self.say(|_| format!("{name}: asked {:?}, says {}", open.ask, words(reply)));
        if open.at.is_some_and(|at| self.now.since(at) > WITHIN + WITHIN / 100 + SLACK) {
            self.violated(format!("questions: {name} answers {:?} late: {reply:?}", open.ask));
        }
        let wrong = match (&open.ask, reply) {
            (_, Reply::Refused { code: Refusal::Busy, .. }) => self.hosts[host].open.len() < MAX_OPEN,
            (Ask::Cluster, Reply::Status(status)) => !self.is_true(host, status),
            (Ask::Explain { .. }, Reply::Explanation(_)) => false,
            (Ask::Explain { .. }, Reply::Refused { code, .. }) => *code != Refusal::UnknownGroup,
            (Ask::Plan { .. }, Reply::Plan(plan)) => {
                plan.fits != plan.cases.iter().all(|case| case.quorum && case.stuck.is_empty())
            }
            (Ask::Plan { .. }, Reply::Refused { code, .. }) => {
                !matches!(code, Refusal::NoQuorum | Refusal::UnknownHost)
            }
            _ => true,
        };
        if wrong {
            self.violated(format!("questions: {name} is asked {:?}, and answers {reply:?}", open.ask));
        }
    }

    /// Each group is told of once, and none as online that nobody owns.
    fn is_true(&self, host: usize, status: &Status) -> bool {
        let mut names: Vec<&str> = status.groups.iter().map(|group| group.name.as_str()).collect();
        let it = &self.hosts[host];
        let file = &it.file;
        let refused = file.host(&it.name).is_err(); // it goes on with the one before
        let all = refused
            || status.leader.is_some()
            || file.groups.iter().all(|group| names.contains(&group.name.as_str()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        let owned = |group: &roost_proto::control::GroupStatus| {
            group.owner.is_some() || group.condition != Condition::Online
        };
        all && names.len() == count && status.groups.iter().all(owned)
    }

    /// Questions are sent for operators who wait only.
    pub(super) fn check_asked(&mut self, from: usize, datagram: &Datagram) {
        let asks = datagram.messages.iter().any(|message| matches!(message, Message::Question { .. }));
        if asks && self.hosts[from].open.is_empty() {
            let name = &self.hosts[from].name;
            self.violated(format!("questions: {name} asks others, and nobody asks it"));
        }
    }

    /// Nobody waits for ever.
    pub(super) fn check_answered(&mut self, host: usize) {
        let it = &self.hosts[host];
        let late = |open: &&Open| open.at.is_some_and(|at| self.now.since(at) > WITHIN * 2);
        if let Some(open) = it.open.values().find(late) {
            let text = format!("questions: {} does not answer {:?}", it.name, open.ask);
            self.violated(text);
        }
    }

    /// Operators who wonder: at any host, about anything.
    pub fn be_curious(&mut self, random: &mut crate::random::Random, from: Time, until: Time) {
        let span = until.since(from);
        let hosts: Vec<String> = self.config.hosts.iter().map(|host| host.name.clone()).collect();
        let groups: Vec<String> = self.config.groups.iter().map(|group| group.name.clone()).collect();
        for _ in 0..QUESTIONS {
            let at = from.after(random.time(Duration::ZERO, span));
            let ask = match random.below(6) {
                0 | 1 => Ask::Cluster,
                2 if !groups.is_empty() => Ask::Explain { subject: random.pick(&groups).clone() },
                3 => Ask::Plan { without: Vec::new(), any: true },
                4 => Ask::Plan { without: vec![random.pick(&hosts).clone()], any: false },
                _ => Ask::Explain { subject: random.pick(&hosts).clone() },
            };
            let host = random.index(self.hosts.len());
            self.queue.push(at, Event::Deed(super::event::Deed::Ask(host, ask)));
        }
    }
}

/// Questions in one world.
const QUESTIONS: usize = 60;

fn words(reply: &Reply) -> String {
    match reply {
        Reply::Status(status) => format!("{:?}, as {:?} leads", status.health, status.leader),
        Reply::Explanation(explained) => format!("an explanation, as {:?} leads", explained.leader),
        Reply::Plan(plan) => format!("{:?}, as '{}' leads", plan.cases, plan.leader),
        other => format!("{other:?}"),
    }
}
