//! How far migrations and savings came: when that is asked, and what is told of it. Pure: the calls are the shell's.
//!
//! Nothing depends on it but what a person sees. So it has workers of its own, an answer that comes late is thrown away,
//! and a QEMU that does not answer keeps nobody waiting but those who would like to know.

use crate::engine::keeper::vm::{LibvirtInput, Ticket};
use core::time::Duration;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, VecDeque};

/// Questions under way at once, each on a connection of its own: one that may hang, and one for the others.
pub const SLOTS: usize = 2;
/// The time between two questions about the same migration: often enough for a person who watches it.
const PERIOD: Duration = Duration::from_secs(1);
/// The time after which an answer is too old to be told. QEMU answers within milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Moving {
    domain: String,
    next: Instant,
    told: Option<u8>,
}

#[derive(Debug)]
struct Call {
    ticket: Ticket,
    since: Instant,
}

/// The migrations and savings under way.
#[derive(Debug, Default)]
pub struct Gauges {
    moving: BTreeMap<Ticket, Moving>,
    slots: [Option<Call>; SLOTS],
    out: VecDeque<LibvirtInput>,
}

impl Gauges {
    /// These are under way now, and no others; of one that has just begun there is nothing to tell yet.
    pub fn follow<'a>(&mut self, now: Instant, moving: impl Iterator<Item = (Ticket, &'a str)>) {
        let mut before = core::mem::take(&mut self.moving);
        for (ticket, domain) in moving {
            let begun = || Moving { domain: domain.to_owned(), next: now + PERIOD, told: None };
            self.moving.insert(ticket, before.remove(&ticket).unwrap_or_else(begun));
        }
    }

    /// The next question, which is about this domain, and its slot.
    pub fn poll_ask(&mut self, now: Instant) -> Option<(usize, String)> {
        let slot = self.slots.iter().position(Option::is_none)?;
        let (ticket, domain) = self.due(now).map(|(ticket, moving)| (ticket, moving.domain.clone()))?;
        self.slots[slot] = Some(Call { ticket, since: now });
        Some((slot, domain))
    }

    /// The one that waits longest.
    fn due(&self, now: Instant) -> Option<(Ticket, &Moving)> {
        self.idle().filter(|(_, moving)| now >= moving.next).min_by_key(|(_, moving)| moving.next)
    }

    /// Those that nobody asks about.
    fn idle(&self) -> impl Iterator<Item = (Ticket, &Moving)> {
        let asked = |ticket| self.slots.iter().flatten().any(|call| call.ticket == ticket);
        self.moving
            .iter()
            .map(|(ticket, moving)| (*ticket, moving))
            .filter(move |(ticket, _)| !asked(*ticket))
    }

    /// A question was answered, if libvirt knew.
    pub fn answered(&mut self, now: Instant, slot: usize, percent: Option<u8>) {
        let call = self.slots[slot].take().expect("a call ends once, in the slot that it was given");
        let Some(moving) = self.moving.get_mut(&call.ticket) else { return };
        moving.next = now + PERIOD;
        if let Some(percent) = percent.filter(|_| now < call.since + LIMIT)
            && moving.told != Some(percent)
        {
            moving.told = Some(percent);
            self.out.push_back(LibvirtInput::Progress { ticket: call.ticket, percent });
        }
    }

    /// When to call [`Gauges::poll_ask`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let room = self.slots.iter().any(Option::is_none);
        self.idle().map(|(_, moving)| moving.next).min().filter(|_| room)
    }

    /// What to tell the engine.
    pub fn poll_output(&mut self) -> Option<LibvirtInput> {
        self.out.pop_front()
    }
}

/// How much of `total` bytes is moved when so many remain, in per cent. The last of it is moved while the VM stands still,
/// so it is never all while it runs.
pub fn percent(total: u64, remaining: u64) -> Option<u8> {
    let moved = u128::from(total.saturating_sub(remaining)) * 100;
    let percent = moved.checked_div(u128::from(total))?;
    Some(u8::try_from(percent).unwrap_or(u8::MAX).min(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn following(moving: &[(u64, &str)]) -> Gauges {
        let mut gauges = Gauges::default();
        follow(&mut gauges, 0, moving);
        gauges
    }

    fn follow(gauges: &mut Gauges, now: u64, moving: &[(u64, &str)]) {
        gauges.follow(at(now), moving.iter().map(|(ticket, domain)| (Ticket(*ticket), *domain)));
    }

    fn asks(gauges: &mut Gauges, now: u64) -> Vec<(usize, String)> {
        core::iter::from_fn(|| gauges.poll_ask(at(now))).collect()
    }

    fn told(gauges: &mut Gauges) -> Vec<(u64, u8)> {
        core::iter::from_fn(|| gauges.poll_output())
            .map(|input| match input {
                LibvirtInput::Progress { ticket, percent } => (ticket.0, percent),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_migration_is_asked_about_each_second_and_what_is_new_is_told() {
        let mut gauges = following(&[(7, "a")]);
        assert_eq!(gauges.poll_timeout(), Some(at(1000)));
        assert_eq!(asks(&mut gauges, 999), []);
        let mut heard = Vec::new();
        for (now, percent) in [(1000, Some(10)), (2000, None), (3000, Some(10)), (4000, Some(9))] {
            assert_eq!(asks(&mut gauges, now), [(0, "a".to_owned())]);
            assert_eq!(gauges.poll_timeout(), None);
            gauges.answered(at(now), 0, percent);
            follow(&mut gauges, now, &[(7, "a")]);
            assert_eq!(gauges.poll_timeout(), Some(at(now + 1000)));
            heard.push(told(&mut gauges));
        }
        assert_eq!(heard, [vec![(7, 10)], vec![], vec![], vec![(7, 9)]]);
    }

    #[test]
    fn one_that_does_not_answer_keeps_no_other_waiting() {
        let mut gauges = following(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(asks(&mut gauges, 1000), [(0, "a".to_owned()), (1, "b".to_owned())]);
        for now in [1000, 1500, 2500, 3500] {
            gauges.answered(at(now), 1, Some(50));
            let asked = asks(&mut gauges, now + 500);
            assert!(
                asked.len() <= 1 && asked.iter().all(|(slot, domain)| *slot == 1 && domain != "a"),
                "{asked:?}"
            );
            if asked.is_empty() {
                assert_eq!(asks(&mut gauges, now + 1000).len(), 1);
            }
        }
        assert_eq!(told(&mut gauges), [(2, 50), (3, 50)]);
        // What it says in the end is too old.
        gauges.answered(at(5000), 0, Some(90));
        assert_eq!(told(&mut gauges), []);
    }

    #[test]
    fn nothing_is_told_of_one_that_is_over() {
        let mut gauges = following(&[(1, "a")]);
        asks(&mut gauges, 1000);
        follow(&mut gauges, 1001, &[]);
        gauges.answered(at(1002), 0, Some(5));
        assert_eq!(told(&mut gauges), []);
        assert_eq!(gauges.poll_timeout(), None);
    }

    #[test]
    fn nothing_is_all_while_it_runs() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(200, 200), Some(0));
        assert_eq!(percent(200, 100), Some(50));
        assert_eq!(percent(200, 0), Some(99));
        assert_eq!(percent(200, 900), Some(0), "a guest can write faster than it is moved");
        assert_eq!(percent(u64::MAX, 1), Some(99));
    }
}
