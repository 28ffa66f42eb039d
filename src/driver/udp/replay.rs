//! Replay: what one sender has said already. Only what is proven genuine comes here.
//!
//! Of a sender the newest life counts, by its start number; in it each counter counts once. A window remembers the newest ones,
//! since datagrams overtake each other.
//!
//! A `roostd` that has just started remembers nothing. What an attacker recorded before can be played to it until it has heard
//! the sender itself; so nothing that hosts say may be worth anything in another life of the receiver: an answer to a beat names
//! the life that it answers, and consensus takes late and doubled messages as they come.

use roost_proto::cluster::Incarnation;

/// Counters that are remembered. A sender has one counter for all its receivers: a leader of 1,000 hosts counts 4,000 a second,
/// so two of its datagrams may overtake each other by a second.
pub const WINDOW: u64 = 4096;
const WORDS: usize = WINDOW as usize / 64;

/// New datagrams of an older life, after a newer one was heard, that are no latecomers any more: the older life goes on. More
/// than a host sends in a second, which is longer than any network keeps a datagram.
pub const TWIN_AFTER: u32 = 64;

/// So many of them show that the older life goes on, and are told of each: fewer may have been under way when it ended. A host
/// sends four a second at the least, so that this is known before anything is decided on the newer life's word.
pub const RIVAL_AFTER: u32 = 3;

/// What a datagram's place in its sender's life says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    New,
    /// It was here before.
    Again,
    /// It is older than what is remembered.
    Late,
    /// Its sender has had a newer life since.
    OldLife,
    /// So it has; and the older life goes on saying new things: two hosts have one name.
    Twin,
}

/// What one sender has said.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    life: Option<Life>,
    /// The older life that was heard last.
    older: Option<Older>,
    /// Whether the newest datagram showed that it goes on.
    goes_on: bool,
}

#[derive(Clone, Debug)]
struct Life {
    incarnation: Incarnation,
    /// The newest counter.
    highest: u64,
    /// Whether each of the newest counters came, by its remainder.
    seen: Box<[u64; WORDS]>,
}

#[derive(Clone, Debug)]
struct Older {
    incarnation: Incarnation,
    highest: u64,
    /// How often it said something new since it is the older one.
    new: u32,
}

impl Replay {
    /// The newest life of the sender.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.life.as_ref().map(|life| life.incarnation)
    }

    /// The older life of the sender, if the datagram that was admitted last shows that it goes on beside the newer one.
    pub fn rival(&self) -> Option<Incarnation> {
        self.older.as_ref().filter(|_| self.goes_on).map(|older| older.incarnation)
    }

    /// Whether a datagram, genuine or not, says nothing new: it has the place of one that was here, or one before all that are
    /// remembered. So copies and repetitions cost no decryption. Nothing is changed by it.
    pub fn repeats(&self, incarnation: Incarnation, counter: u64) -> Option<Verdict> {
        let life = self.life.as_ref().filter(|life| life.incarnation == incarnation)?;
        life.repeats(counter)
    }

    /// Takes note of a genuine datagram.
    pub fn admit(&mut self, incarnation: Incarnation, counter: u64) -> Verdict {
        self.goes_on = false;
        match &mut self.life {
            Some(life) if life.incarnation == incarnation => life.admit(counter),
            // Of two lives with one start number, on two machines, the one that was heard first counts.
            Some(life) if life.incarnation.start >= incarnation.start => self.older(incarnation, counter),
            _ => {
                let before = self.life.replace(Life::begin(incarnation, counter));
                self.older =
                    before.map(|life| Older { incarnation: life.incarnation, highest: life.highest, new: 0 });
                Verdict::New
            }
        }
    }

    fn older(&mut self, incarnation: Incarnation, counter: u64) -> Verdict {
        match &mut self.older {
            Some(older) if older.incarnation == incarnation => {
                if counter > older.highest {
                    older.highest = counter;
                    older.new = older.new.saturating_add(1);
                    self.goes_on = older.new >= RIVAL_AFTER;
                    if older.new >= TWIN_AFTER {
                        return Verdict::Twin;
                    }
                }
            }
            // A life that is older still tells nothing about the one that is watched.
            Some(older) if older.incarnation.start > incarnation.start => {}
            _ => self.older = Some(Older { incarnation, highest: counter, new: 0 }),
        }
        Verdict::OldLife
    }
}

impl Life {
    fn begin(incarnation: Incarnation, counter: u64) -> Self {
        let mut life = Self { incarnation, highest: counter, seen: Box::new([0; WORDS]) };
        life.mark(counter);
        life
    }

    fn place(counter: u64) -> (usize, u64) {
        let at = counter % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }

    fn mark(&mut self, counter: u64) {
        let (word, bit) = Self::place(counter);
        self.seen[word] |= bit;
    }

    fn repeats(&self, counter: u64) -> Option<Verdict> {
        if counter > self.highest {
            return None;
        }
        if self.highest - counter >= WINDOW {
            return Some(Verdict::Late);
        }
        let (word, bit) = Self::place(counter);
        (self.seen[word] & bit != 0).then_some(Verdict::Again)
    }

    fn admit(&mut self, counter: u64) -> Verdict {
        if let Some(verdict) = self.repeats(counter) {
            return verdict;
        }
        if counter > self.highest {
            if counter - self.highest >= WINDOW {
                self.seen.fill(0);
            } else {
                for between in self.highest + 1..=counter {
                    let (word, bit) = Self::place(between);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = counter;
        }
        self.mark(counter);
        Verdict::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    fn life(start: u32) -> Incarnation {
        Incarnation { start, boot: 7 }
    }

    const NEW: Verdict = Verdict::New;

    #[test]
    fn each_counter_counts_once_in_any_order() {
        let mut replay = Replay::default();
        assert_eq!(replay.admit(life(1), 5), NEW);
        assert_eq!(replay.admit(life(1), 5), Verdict::Again);
        assert_eq!(replay.admit(life(1), 3), Verdict::New);
        assert_eq!(replay.admit(life(1), 3), Verdict::Again);
        assert_eq!(replay.admit(life(1), 5 + WINDOW), NEW);
        assert_eq!(replay.admit(life(1), 5), Verdict::Late);
        assert_eq!(replay.admit(life(1), 6), Verdict::New, "the oldest that is remembered");
        assert_eq!(replay.admit(life(1), 100 * WINDOW), NEW);
        assert_eq!(replay.admit(life(1), 100 * WINDOW - 1), Verdict::New);
        assert_eq!(replay.admit(life(1), (1 << 48) - 1), NEW);
    }

    #[test]
    fn a_newer_life_ends_the_older_one() {
        let mut replay = Replay::default();
        assert_eq!(replay.admit(life(2), 900), NEW);
        assert_eq!(replay.admit(life(3), 1), NEW);
        assert_eq!(replay.incarnation(), Some(life(3)));
        assert_eq!(replay.admit(life(2), 901), Verdict::OldLife);
        assert_eq!(replay.admit(life(1), 5000), Verdict::OldLife);
        assert_eq!(replay.admit(life(3), 2), NEW);
        let same_start = Incarnation { start: 3, boot: 8 };
        assert_eq!(
            replay.admit(same_start, 1),
            Verdict::OldLife,
            "another machine started in the same second"
        );
    }

    #[test]
    fn a_replayed_old_life_is_no_twin_and_one_that_goes_on_is() {
        let mut replay = Replay::default();
        assert_eq!(replay.admit(life(2), 900), NEW);
        assert_eq!(replay.admit(life(3), 1), NEW);
        for _ in 0..3 {
            assert!((1..=900).all(|counter| replay.admit(life(2), counter) == Verdict::OldLife));
        }
        assert_eq!(replay.rival(), None);
        let mut rivals = Vec::new();
        let mut admit = |counter| {
            let verdict = replay.admit(life(2), counter);
            rivals.push(replay.rival());
            verdict
        };
        let verdicts: Vec<Verdict> = (901..901 + 2 * u64::from(TWIN_AFTER)).map(&mut admit).collect();
        let first = rivals.iter().position(|rival| *rival == Some(life(2)));
        assert_eq!(first, Some(RIVAL_AFTER as usize - 1));
        replay.admit(life(2), 950);
        assert_eq!(replay.rival(), None, "that was here before");
        let twin = verdicts.iter().position(|verdict| *verdict == Verdict::Twin);
        assert_eq!(twin, Some(TWIN_AFTER as usize - 1));
        assert_eq!(replay.admit(life(3), 2), NEW, "the newer one counts as before");
    }

    #[test]
    fn a_twin_that_was_never_heard_before_is_seen_too() {
        let mut replay = Replay::default();
        assert_eq!(replay.admit(life(9), 1), NEW);
        assert!((1..1000).any(|counter| replay.admit(life(4), counter) == Verdict::Twin));
    }

    proptest! {
        /// Against a set that forgets nothing: what the window holds is told apart exactly.
        #[test]
        fn the_window_is_exact(counters in proptest::collection::vec(1_u64..3 * WINDOW, 1..200)) {
            let (mut replay, mut seen) = (Replay::default(), BTreeSet::new());
            for counter in counters {
                let highest: u64 = seen.last().copied().unwrap_or(0);
                let expected = if !seen.is_empty() && highest.saturating_sub(counter) >= WINDOW {
                    Verdict::Late
                } else if seen.insert(counter) {
                    Verdict::New
                } else {
                    Verdict::Again
                };
                let (before, verdict) = (replay.repeats(life(1), counter), replay.admit(life(1), counter));
                prop_assert_eq!(verdict, expected);
                prop_assert_eq!(before, (!matches!(expected, Verdict::New)).then_some(expected));
            }
        }
    }
}
