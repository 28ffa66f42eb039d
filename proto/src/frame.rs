//! Frames: how messages stand in a byte stream. A frame is its payload's length, two bytes, little endian, and the
//! payload: one message in postcard (<https://postcard.jamesmunns.com/wire-format>).
//!
//! A stream that breaks the format once is never trusted again: every error here is the end of its link.

use core::fmt;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest payload, in bytes. It holds a full report of a group at every limit of `link`.
pub const MAX_PAYLOAD: usize = 16 * 1024;

const HEADER: usize = 2;

/// Why a stream of frames is of no further use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame announced no payload, or one larger than [`MAX_PAYLOAD`].
    Length(usize),
    /// The payload is no message of the expected kind, or something follows the message in its frame.
    Malformed,
    /// A message that was to be sent would exceed [`MAX_PAYLOAD`].
    TooLarge,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a frame of {length} bytes (1 to {MAX_PAYLOAD} are allowed)"),
            Self::Malformed => write!(f, "a frame that holds no message of this protocol"),
            Self::TooLarge => write!(f, "a message of more than {MAX_PAYLOAD} bytes"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Appends `message` to `out` as one frame; `out` is unchanged on error.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let payload = postcard::to_allocvec(message).map_err(|_| FrameError::TooLarge)?;
    if payload.is_empty() || payload.len() > MAX_PAYLOAD {
        return Err(FrameError::TooLarge);
    }
    let length = u16::try_from(payload.len()).expect("MAX_PAYLOAD fits in 16 bits");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(())
}

/// Collects bytes as they arrive and hands out whole messages. It holds at most one frame and what was pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes that were read. Take every message with [`Decoder::next`] before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` when more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "the caller says which kind of message it expects")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some(header) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*header));
        if length == 0 || length > MAX_PAYLOAD {
            return Err(FrameError::Length(length));
        }
        let Some(payload) = rest.get(HEADER..HEADER + length) else { return Ok(None) };
        let (message, left) = postcard::take_from_bytes(payload).map_err(|_| FrameError::Malformed)?;
        if !left.is_empty() {
            return Err(FrameError::Malformed);
        }
        self.start += HEADER + length;
        Ok(Some(message))
    }

    /// Whether part of a frame is waiting for the rest.
    pub fn is_partial(&self) -> bool {
        self.start < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cutting_of_the_stream() {
        let mut stream = Vec::new();
        for message in ["one", "two", ""] {
            encode(&message.to_owned(), &mut stream).expect("small");
        }
        for step in 1..=stream.len() {
            let mut decoder = Decoder::default();
            let mut seen: Vec<String> = Vec::new();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some(message) = decoder.next().expect("a good stream") {
                    seen.push(message);
                }
            }
            assert_eq!(seen, ["one", "two", ""]);
            assert!(!decoder.is_partial());
        }
    }

    #[test]
    fn bad_lengths_and_rests_end_the_stream() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0]);
        assert_eq!(decoder.next::<String>(), Err(FrameError::Length(0)));
        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0xff]);
        assert_eq!(decoder.next::<String>(), Err(FrameError::Length(65535)));
        let mut decoder = Decoder::default();
        decoder.push(&[3, 0, 1, b'a', b'b']); // one byte more than the string needs
        assert_eq!(decoder.next::<String>(), Err(FrameError::Malformed));
        let mut decoder = Decoder::default();
        decoder.push(&[2, 0, 9, b'a']); // a string longer than its frame
        assert_eq!(decoder.next::<String>(), Err(FrameError::Malformed));
    }

    #[test]
    fn the_limit_is_exact() {
        let mut out = Vec::new();
        let fits = vec![0_u8; MAX_PAYLOAD - 2]; // two bytes of postcard's own length
        encode(&fits, &mut out).expect("exactly at the limit");
        let mut decoder = Decoder::default();
        decoder.push(&out);
        assert_eq!(decoder.next::<Vec<u8>>(), Ok(Some(fits)));
        assert_eq!(encode(&vec![0_u8; MAX_PAYLOAD - 1], &mut out), Err(FrameError::TooLarge));
    }
}
