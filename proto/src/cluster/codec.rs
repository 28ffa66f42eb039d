//! Datagrams as bytes: the ledger's id, the beat, and the messages, each with its own length before it.
//!
//! A beat may be longer than is known here, and a message of a kind that is not known is passed over; so is one of a known
//! kind that cannot be read, when its sender is of a later version. So a host understands what the next version says, as far
//! as it concerns it, and hears its beats in any case.

use super::{Beat, Datagram, LedgerId, Message};
use core::fmt;
use serde::Serialize;

/// Bytes of a sealed datagram that are not its plaintext: a clear header of 26 and a tag of 16.
pub const OVERHEAD: usize = 26 + 16;
/// The largest plaintext, in bytes.
pub const MAX_PLAINTEXT: usize = super::MAX_DATAGRAM - OVERHEAD;
/// Messages in one datagram, at most: none is shorter than two bytes, and a beat's worth is a handful.
pub const MAX_MESSAGES: usize = 256;

/// Bytes before the messages, at most.
const HEAD: usize = 4 + 1 + MAX_BEAT;
/// Encoded bytes of a beat, at most.
const MAX_BEAT: usize = 48;

/// Why bytes are no datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramError {
    /// They end too early, or are longer than any datagram.
    Length,
    /// The beat is none.
    Beat,
    /// A message of a known kind is malformed, or there are too many.
    Message,
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Length => "it ends too early, or is too long",
            Self::Beat => "its beat is malformed",
            Self::Message => "one of its messages is malformed",
        };
        write!(f, "no datagram of this protocol: {what}")
    }
}

impl core::error::Error for DatagramError {}

/// Which version the sender of a datagram is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// None that is later than this one.
    Known,
    /// A later one.
    Later,
}

/// Kinds of messages that this version knows.
const KINDS: u8 = 11;

fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let bytes = postcard::to_allocvec(value).expect("these types can all be encoded");
    put_length(bytes.len(), out);
    out.extend_from_slice(&bytes);
}

/// A length as a varint of one or two bytes.
fn put_length(length: usize, out: &mut Vec<u8>) {
    let length = u16::try_from(length).expect("what is sent fits a datagram");
    out.extend(postcard::to_allocvec(&length).expect("a number can be encoded"));
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest): (u16, &[u8]) = postcard::take_from_bytes(bytes).ok()?;
    let (part, rest) = rest.split_at_checked(usize::from(length))?;
    *bytes = rest;
    Some(part)
}

impl Message {
    /// Bytes that it takes in a datagram.
    pub fn encoded_len(&self) -> usize {
        let mut out = Vec::new();
        put(self, &mut out);
        out.len()
    }
}

impl Datagram {
    /// As bytes, at most [`MAX_PLAINTEXT`] when it comes from [`pack`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.ledger.0.to_le_bytes().to_vec();
        match &self.beat {
            None => out.push(0),
            Some(beat) => put(beat, &mut out),
        }
        self.messages.iter().for_each(|message| put(message, &mut out));
        out
    }

    /// From bytes that another host sealed, which knows no more than is known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, DatagramError> {
        Self::decode_from(bytes, Sender::Known)
    }

    /// From bytes that another host sealed.
    pub fn decode_from(bytes: &[u8], sender: Sender) -> Result<Self, DatagramError> {
        if bytes.len() > MAX_PLAINTEXT {
            return Err(DatagramError::Length);
        }
        let (ledger, mut rest) = bytes.split_first_chunk::<4>().ok_or(DatagramError::Length)?;
        let beat = take(&mut rest).ok_or(DatagramError::Length)?;
        let beat: Option<Beat> = match beat {
            [] => None,
            beat => Some(postcard::take_from_bytes(beat).map_err(|_| DatagramError::Beat)?.0),
        };
        let mut messages = Vec::new();
        for _ in 0..MAX_MESSAGES {
            if rest.is_empty() {
                return Ok(Self { ledger: LedgerId(u32::from_le_bytes(*ledger)), beat, messages });
            }
            let message = take(&mut rest).ok_or(DatagramError::Length)?;
            match message.first() {
                None => return Err(DatagramError::Message),
                Some(kind) if *kind >= KINDS => {} // a later version's
                Some(_) => match (postcard::from_bytes(message), sender) {
                    (Ok(message), _) => messages.push(message),
                    (Err(_), Sender::Later) => {} // it says what only its own version knows
                    (Err(_), Sender::Known) => return Err(DatagramError::Message),
                },
            }
        }
        if rest.is_empty() {
            return Ok(Self { ledger: LedgerId(u32::from_le_bytes(*ledger)), beat, messages });
        }
        Err(DatagramError::Message)
    }
}

/// Puts messages into as few datagrams as hold them, in order; the beat is in the first. Without anything to say there is
/// none. No message may be longer than a datagram holds: who makes them sees to that.
pub fn pack(ledger: LedgerId, beat: Option<Beat>, messages: Vec<Message>) -> Vec<Datagram> {
    let mut packed = Vec::new();
    let mut current = Datagram { ledger, beat, messages: Vec::new() };
    let mut size = HEAD;
    for message in messages {
        let length = message.encoded_len();
        assert!(HEAD + length <= MAX_PLAINTEXT, "a message of {length} bytes fits no datagram");
        if size + length > MAX_PLAINTEXT || current.messages.len() == MAX_MESSAGES {
            let next = Datagram { ledger, beat: None, messages: Vec::new() };
            packed.push(core::mem::replace(&mut current, next));
            size = HEAD;
        }
        size += length;
        current.messages.push(message);
    }
    if current.beat.is_some() || !current.messages.is_empty() {
        packed.push(current);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::super::raft::{RaftMessage, StorageId};
    use super::super::{Echo, HostId, Life, Silent, Stamp};
    use super::*;

    fn beat() -> Beat {
        let echo = Echo { start: u16::MAX, stamp: Stamp(u64::MAX), admitted: true };
        Beat { stamp: Stamp(u64::MAX), echo: Some(echo), applied: u64::MAX, life: Life::Leaving }
    }

    fn heard() -> Message {
        Message::ReportHeard { term: 3, start: 5, number: 9 }
    }

    #[test]
    fn what_is_encoded_is_decoded_and_the_longest_beat_fits() {
        let bare = Datagram { ledger: LedgerId(9), beat: Some(beat()), messages: vec![] };
        assert!(bare.encode().len() <= HEAD, "{}", bare.encode().len());
        let full = Datagram { messages: vec![heard(), heard()], ..bare };
        assert_eq!(Datagram::decode(&full.encode()), Ok(full.clone()));
        let quiet = Datagram { beat: None, ..full };
        assert_eq!(Datagram::decode(&quiet.encode()), Ok(quiet));
    }

    #[test]
    fn a_later_version_is_understood_as_far_as_it_is_known() {
        let known = Datagram { ledger: LedgerId(9), beat: Some(beat()), messages: vec![heard()] };
        let mut bytes = 9_u32.to_le_bytes().to_vec();
        let mut longer = postcard::to_allocvec(&beat()).expect("it can");
        longer.extend_from_slice(b"what a later version adds");
        put_length(longer.len(), &mut bytes);
        bytes.extend(longer);
        bytes.extend([3, KINDS, 1, 2]);
        put(&heard(), &mut bytes);
        assert_eq!(Datagram::decode(&bytes), Ok(known.clone()));
        // A known kind with what is not known in it: the beat is heard, and what follows.
        let mut bytes = known.encode();
        bytes.extend([3, 0, 99, 1]);
        put(&heard(), &mut bytes);
        let messages = vec![heard(), heard()];
        assert_eq!(Datagram::decode(&bytes), Err(DatagramError::Message));
        assert_eq!(Datagram::decode_from(&bytes, Sender::Later), Ok(Datagram { messages, ..known }));
    }

    #[test]
    fn every_kind_is_known() {
        let last = Message::Answer { start: 1, number: 1, edition: 1, page: 0, pages: 1, bytes: Vec::new() };
        assert_eq!(postcard::to_allocvec(&last).expect("it can")[0], KINDS - 1);
    }

    #[test]
    fn bytes_that_are_cut_off_are_refused_at_every_length() {
        let whole = Datagram { ledger: LedgerId(9), beat: Some(beat()), messages: vec![heard()] };
        let bytes = whole.encode();
        let beat_ends = Datagram { messages: vec![], ..whole }.encode().len();
        for length in 0..bytes.len() {
            assert_eq!(Datagram::decode(&bytes[..length]).is_ok(), length == beat_ends, "{length}");
        }
        assert_eq!(Datagram::decode(&vec![0; MAX_PLAINTEXT + 1]), Err(DatagramError::Length));
    }

    #[test]
    fn much_is_packed_into_datagrams_that_are_never_too_long() {
        let silent = Silent { host: HostId(u32::MAX), incarnation: None, ago_ms: u64::MAX };
        let message = Message::Silent(vec![silent; 32]);
        let packed = pack(LedgerId(1), Some(beat()), vec![message; 20]);
        assert!(packed.len() > 3);
        assert!(packed.iter().all(|datagram| datagram.encode().len() <= MAX_PLAINTEXT));
        assert!(packed[0].beat.is_some() && packed[1..].iter().all(|datagram| datagram.beat.is_none()));
        assert_eq!(pack(LedgerId(1), None, vec![]), []);
    }

    /// A steady host of three sends 8 datagrams a second; each may take 83 bytes of UDP payload for 1,000 bytes/s.
    #[test]
    fn a_steady_beat_is_short() {
        let echo = Echo { start: 60_000, stamp: Stamp(30_000_000_000), admitted: true };
        let beat =
            Beat { stamp: Stamp(30_000_000_000), echo: Some(echo), applied: 20_000, life: Life::Leased };
        let matched = RaftMessage::Matched { term: 40, index: 20_000, storage: StorageId(u32::MAX) };
        let datagram =
            Datagram { ledger: LedgerId(1), beat: Some(beat), messages: vec![Message::Raft(matched)] };
        let length = datagram.encode().len() + OVERHEAD;
        assert!(length <= 78, "{length}");
    }
}
