//! Requests to the ledger: operators' orders, and what this host itself wants decided. Each is asked of the leader, one
//! after the other, until it is seen in the applied ledger or its time is over.

use super::keeper::RequestId;
use core::time::Duration;
use roost_proto::cluster::decision::{Asked, Decision, Entry};
use roost_proto::cluster::{HostId, Incarnation, Message, MoveAsk, Whither};
use roost_proto::control::MoveMethod;
use roost_proto::time::Instant;
use std::collections::VecDeque;

/// How long an operator waits for an answer: longer than an election and a commit take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A host that hears no majority says so to an operator after so long: less than the two seconds after which a person wonders,
/// and as long as it takes to notice.
const HOPELESS_AFTER: Duration = Duration::from_millis(1500);
/// Requests that wait, at most.
pub const MAX_WAITING: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This decision.
    Decision(Decision),
    /// That a group be moved: the leader says how, for it alone knows who has room.
    Move {
        /// The group.
        group: String,
        /// Where it shall go.
        whither: Whither,
        /// How.
        method: Option<MoveMethod>,
    },
}

/// The same, under the name by which the ledger will have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A decision.
    Entry(Entry),
    /// A move.
    Move(MoveAsk),
}

impl Named {
    /// As it is sent to the leader.
    pub fn message(self) -> Message {
        match self {
            Self::Entry(entry) => Message::Ask(entry),
            Self::Move(ask) => Message::AskMove(ask),
        }
    }
}

/// A request that is asked or waits.
#[derive(Debug)]
pub struct Ask {
    /// Whose order it is; nobody's when the host itself wants it.
    pub request: Option<RequestId>,
    /// What is asked for.
    pub wish: Wish,
    /// What the asker is told when it is decided; of a move the decision tells.
    pub done: String,
    asked: Instant,
    number: u64,
}

impl Ask {
    fn until(&self) -> Instant {
        self.asked + PATIENCE
    }

    fn is_hopeless_from(&self) -> Option<Instant> {
        self.request.map(|_| self.asked + HOPELESS_AFTER)
    }
}

/// The requests of one life of this host.
#[derive(Debug)]
pub struct Desk {
    me: HostId,
    start: u32,
    next: u64,
    asks: VecDeque<Ask>,
    /// The term in which the first was last proposed here, so that one leader proposes it once.
    proposed_in: Option<u64>,
}

impl Desk {
    /// Nothing is asked yet.
    pub const fn new(me: HostId, incarnation: Incarnation) -> Self {
        Self { me, start: incarnation.start, next: 1, asks: VecDeque::new(), proposed_in: None }
    }

    /// Takes a request in, unless too many wait.
    pub fn ask(
        &mut self,
        now: Instant,
        request: Option<RequestId>,
        wish: Wish,
        done: String,
    ) -> Result<(), String> {
        if self.asks.len() >= MAX_WAITING {
            return Err(format!(
                "{MAX_WAITING} orders wait for a decision; try again when there is a leader"
            ));
        }
        if request.is_none() && self.asks.iter().any(|ask| ask.wish == wish) {
            return Ok(());
        }
        self.asks.push_back(Ask { request, wish, done, asked: now, number: self.next });
        self.next += 1;
        Ok(())
    }

    /// What is asked of the leader now.
    pub fn current(&self) -> Option<Named> {
        let ask = self.asks.front()?;
        let asked = Asked { host: self.me, start: self.start, number: ask.number };
        Some(match ask.wish.clone() {
            Wish::Decision(decision) => Named::Entry(Entry { asked: Some(asked), decision }),
            Wish::Move { group, whither, method } => Named::Move(MoveAsk { asked, group, whither, method }),
        })
    }

    /// The same, for a leader of that term to propose itself, once.
    pub fn propose_in(&mut self, term: u64) -> Option<Named> {
        if self.proposed_in == Some(term) {
            return None;
        }
        let entry = self.current()?;
        self.proposed_in = Some(term);
        Some(entry)
    }

    /// What was to be proposed could not be yet.
    pub const fn again(&mut self) {
        self.proposed_in = None;
    }

    /// An entry was applied, or refused by the leader: the request that it answers, if it is one of ours.
    pub fn applied(&mut self, asked: Option<Asked>) -> Option<Ask> {
        let asked = asked.filter(|asked| asked.host == self.me && asked.start == self.start)?;
        let ask = self.asks.pop_front_if(|ask| ask.number == asked.number)?;
        self.proposed_in = None;
        Some(ask)
    }

    /// Requests whose time is over.
    pub fn expired(&mut self, now: Instant) -> Option<Ask> {
        let ask = self.asks.pop_front_if(|ask| now >= ask.until())?;
        self.proposed_in = None;
        Some(ask)
    }

    /// An operator's request that waited long enough, while no majority is heard.
    pub fn hopeless(&mut self, now: Instant) -> Option<Ask> {
        let place = self.asks.iter().position(|ask| ask.is_hopeless_from().is_some_and(|at| now >= at))?;
        if place == 0 {
            self.proposed_in = None;
        }
        self.asks.remove(place)
    }

    /// When to look again after `now`: the first request's time is over, or a majority must be heard by then.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let hopeless = self.asks.iter().filter_map(Ask::is_hopeless_from).filter(|at| *at > now);
        hopeless.chain(self.asks.front().map(Ask::until)).min()
    }
}
