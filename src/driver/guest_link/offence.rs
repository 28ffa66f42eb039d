//! What peers are cut off for, counted, and told once for each cause.

use super::Peer;
use core::time::Duration;
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// The same cause of the same controller is told again after this long, with its count.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Why a peer was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// It sent what is no frame, or no message.
    Garbage,
    /// It sent part of a frame, and not the rest.
    Half,
    /// It sent more, or faster, than an honest controller does.
    TooFast,
    /// It connected and said nothing.
    Mute,
    /// Its first message was no greeting.
    NoHello,
    /// It speaks none of our versions.
    Version,
    /// It does not read what it is sent.
    Deaf,
    /// It connected again and again without a greeting.
    TooMany,
    /// It belongs to no group, or is not root.
    Stranger,
    /// It says that it is a machine of which nothing is known.
    Unknown,
    /// It has no key of the machine that it says it is.
    Key,
    /// What it sent was changed on its way.
    Forged,
    /// Its connection failed.
    Broken,
}

impl Offence {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Garbage => "it sent what is no message of this protocol",
            Self::Half => "it sent part of a message and not the rest",
            Self::TooFast => "it sent more than a controller has to say",
            Self::Mute => "it connected and said nothing",
            Self::NoHello => "its first message was no greeting",
            Self::Version => "it speaks another version of the protocol; update roost-guest or roostd",
            Self::Deaf => "it does not read what it is sent",
            Self::TooMany => "it opens connections without a greeting",
            Self::Stranger => "it belongs to no group",
            Self::Unknown => "it is no machine that this cluster watches",
            Self::Key => "it has not this machine's key; copy the same to both",
            Self::Forged => "what it sent was changed on its way",
            Self::Broken => "its connection failed",
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub struct Offences(BTreeMap<(Option<Peer>, Offence), (u64, Instant)>);

impl Offences {
    /// Counts one of a controller, or of nobody's; returns the count when it is to be told.
    pub fn note(&mut self, who: Option<&Peer>, offence: Offence, now: Instant) -> Option<u64> {
        match self.0.get_mut(&(who.cloned(), offence)) {
            None => {
                self.0.insert((who.cloned(), offence), (1, now));
                Some(1)
            }
            Some((count, told)) => {
                *count += 1;
                if now.since(*told) < TELL_AGAIN_AFTER {
                    return None;
                }
                *told = now;
                Some(*count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_an_hour() {
        let mut offences = Offences::default();
        let start = Instant::from_nanos(0);
        let peer = |name: &str| Some(Peer::Watched(name.to_owned()));
        let (a, b) = (peer("a"), peer("b"));
        assert_eq!(offences.note(a.as_ref(), Offence::Garbage, start), Some(1));
        assert_eq!(offences.note(a.as_ref(), Offence::Garbage, start), None);
        assert_eq!(offences.note(b.as_ref(), Offence::Garbage, start), Some(1));
        assert_eq!(offences.note(a.as_ref(), Offence::Mute, start), Some(1));
        assert_eq!(offences.note(a.as_ref(), Offence::Garbage, start + TELL_AGAIN_AFTER), Some(3));
    }
}
