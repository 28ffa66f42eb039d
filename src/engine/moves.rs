//! Moving on purpose, seen from the whole host: what the leader makes of an operator's wish, and what is told of moves.

use super::leader::moves::method;
use super::ledger::GroupRecord;
use super::{Engine, leader};
use core::time::Duration;
use roost_proto::cluster::decision::{Asked, Decision, Entry, MoveOutcome, RecallReason};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{HostId, MoveAsk};
use roost_proto::control::{EventKind, Level, MovingStatus, Refusal};
use roost_proto::time::{Instant, Span};

/// When this host saw a move begin, and its memory leave the host before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Travel {
    begun: Index,
    since: Instant,
    over: Option<Instant>,
}

impl Engine {
    /// As the leader: proposes what comes of an operator's wish. Nothing if that cannot be told yet.
    pub(super) fn plan_move(&mut self, now: Instant, ask: &MoveAsk) -> Option<Result<(), String>> {
        if self.applied < self.proposed {
            return None; // what is about to be decided may be about the same group
        }
        let decision = self
            .with_leader(now, |leader: &mut leader::Leader, view| leader.plan_move(view, ask))
            .flatten()?;
        let decision = match decision {
            Ok(decision) => decision,
            Err(reason) => return Some(Err(reason)),
        };
        self.propose(now, &Entry { asked: Some(ask.asked), decision }).then_some(Ok(()))
    }

    /// The leader says that it does not do what was asked for.
    pub(super) fn refused(&mut self, asked: Asked, reason: String) {
        if let Some(ask) = self.desk.applied(Some(asked)) {
            self.answer(ask.request, Err((Refusal::NotDone, reason)));
        }
    }

    /// What an operator is told whose wish led to this decision.
    pub(super) fn done_words(&self, decision: &Decision) -> Option<String> {
        match decision {
            Decision::MoveBegin { to, carry, .. } => {
                let how = method(*carry).word();
                Some(format!(
                    "it moves to '{}' ({how}); until it is there it is where it was",
                    self.name(*to)
                ))
            }
            Decision::Recall { to: Some(to), why: RecallReason::Moved, .. } => {
                Some(format!("it is stopped where it is, and started on '{}' (cold)", self.name(*to)))
            }
            Decision::Prepare { group, to: Some(to), .. } => {
                let to = self.place_name(group, *to);
                Some(format!(
                    "'{to}' is made ready for it; then it is taken offline where it is, and brought online there"
                ))
            }
            Decision::Recall { why: RecallReason::Failed, .. } => {
                Some("it counts as failed where it is: it is stopped there, and started elsewhere".to_owned())
            }
            _ => None,
        }
    }

    /// Tells of a move that began or went on, once it is decided; `before` is the group's record before that.
    pub(super) fn tell_travel(
        &mut self,
        now: Instant,
        index: Index,
        before: &GroupRecord,
        decision: &Decision,
    ) {
        let (group, told) = match decision {
            Decision::MoveBegin { group, to, carry, why, .. } => {
                let travel = Travel { begun: index, since: now, over: None };
                self.travels.insert(group.clone(), travel);
                let from = before.owner.map(|owner| self.name(owner)).unwrap_or_default();
                let why = match why {
                    RecallReason::Moved => "as an operator wants it",
                    RecallReason::Home => "as it goes home",
                    RecallReason::Unneeded => "since no application needs it",
                    RecallReason::Emptied | RecallReason::Kept => "since its host is to be emptied",
                    RecallReason::Displaced => "with a group that it must be with",
                    RecallReason::Failed => "since it could not be kept up",
                };
                let how = method(*carry).word();
                let text = format!("it moves from '{from}' to '{}', {why} ({how})", self.name(*to));
                (group, (Level::Info, EventKind::MoveBegun, text))
            }
            Decision::MoveEnd { group, begun, outcome, .. } => {
                let travel = self.travels.get(group).copied().filter(|travel| travel.begun == *begun);
                let Some(told) = self.travel_words(now, group, travel, before, outcome) else { return };
                (group, told)
            }
            Decision::Prepare { group, to: Some(to), why, by, .. } => {
                let to = self.place_name(group, *to);
                let why = match why {
                    RecallReason::Home => "it is to go home",
                    RecallReason::Emptied => "its host is to be emptied, and it is to go",
                    _ => "it is to go",
                };
                let text = format!("{why} to '{to}', which is made ready while it runs on ({by})");
                (group, (Level::Info, EventKind::MoveBegun, text))
            }
            _ => return,
        };
        let (level, kind, text) = told;
        self.record(level, kind, Some(group.clone()), text);
    }

    fn travel_words(
        &mut self,
        now: Instant,
        group: &str,
        travel: Option<Travel>,
        before: &GroupRecord,
        outcome: &MoveOutcome,
    ) -> Option<(Level, EventKind, String)> {
        let owner = before.owner.map(|owner| self.name(owner)).unwrap_or_default();
        let to = before.moving.map(|moving| self.name(moving.to)).unwrap_or_default();
        match outcome {
            MoveOutcome::Over { .. } => {
                if let Some(travel) = self.travels.get_mut(group) {
                    travel.over = Some(now);
                }
                None
            }
            MoveOutcome::Back { .. } => {
                if let Some(travel) = self.travels.get_mut(group) {
                    travel.over = Some(now);
                }
                let text = format!("'{to}' cannot take it: it goes on with its memory on '{owner}'");
                Some((Level::Warning, EventKind::MoveFailed, text))
            }
            MoveOutcome::Failed { reason } => {
                self.travels.remove(group);
                let moving = before.moving?;
                let mut text = format!("it was not moved to '{to}', and stays on '{owner}': {reason}");
                let ways = self.config.group(group).map(|group| group.moves.as_slice()).unwrap_or_default();
                let used = method(moving.carry);
                let next = ways.iter().copied().skip_while(|way| *way != used).nth(1);
                if moving.why == RecallReason::Moved {
                    let next = next.unwrap_or(roost_proto::control::MoveMethod::Cold).word();
                    text += &format!("; `roost switch {group} --to {to} --{next}` moves it in another way");
                }
                Some((Level::Error, EventKind::MoveFailed, text))
            }
            MoveOutcome::Taken => {
                self.travels.remove(group);
                let still_ms = before.handover.map_or(0, |handover| u64::from(handover.still_ms));
                let took = travel.map(|travel| now.since(travel.since));
                let taken = travel.and_then(|travel| travel.over).map(|over| now.since(over));
                let text = match (took, taken) {
                    (Some(took), Some(taken)) => {
                        let still = Duration::from_millis(still_ms) + taken;
                        format!(
                            "it was moved to '{owner}' in {}; it stood still for {}",
                            short(took),
                            short(still)
                        )
                    }
                    _ => format!("it was moved to '{owner}'"),
                };
                Some((Level::Info, EventKind::Moved, text))
            }
            MoveOutcome::Lost { reason } => {
                self.travels.remove(group);
                let text =
                    format!("its memory was lost on the way, and it starts anew on '{owner}': {reason}");
                Some((Level::Error, EventKind::MoveFailed, text))
            }
        }
    }

    /// The name of where a group goes, for people.
    fn place_name(&self, group: &str, place: HostId) -> String {
        let config = self.config.group(group);
        config.map_or_else(|| self.name(place), |config| self.target_name(config, place))
    }

    /// The move of a group that is under way, for people.
    pub(super) fn moving_status(&self, group: &str) -> Option<MovingStatus> {
        let record = self.ledger.group(group);
        let status = |to, carry, percent| MovingStatus { to: self.name(to), method: method(carry), percent };
        match (record.moving, record.handover, record.recalled) {
            (Some(moving), ..) => Some(status(moving.to, moving.carry, self.keeper.percent(group))),
            (_, Some(handover), _) => Some(status(record.owner?, handover.carry, Some(100))),
            (.., Some(recall)) if recall.why != RecallReason::Kept => {
                let method = roost_proto::control::MoveMethod::Cold;
                Some(MovingStatus { to: self.place_name(group, recall.to?), method, percent: None })
            }
            _ => None,
        }
    }
}

/// A time for people: of long ones milliseconds mean nothing.
fn short(time: Duration) -> Span {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Span(Duration::from_millis(if ms < 10_000 { ms } else { ms / 1000 * 1000 }))
}
