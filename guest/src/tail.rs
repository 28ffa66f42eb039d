//! The last of what a program wrote: as much as a fault may carry, and no more, however much it writes.

use roost_proto::link::MAX_OUTPUT;
use roost_proto::text::{printable, tail};
use std::io::{self, ErrorKind, Read};

/// Bytes that are read from one program before others have their turn. A pipe holds 64 KiB, so what a program wrote before it
/// died is read to its end in one go.
pub const TURN: usize = 64 * 1024;

/// Read at once: on the stack, which the controller keeps small.
const PIECE: usize = 4096;

/// The last bytes of an output.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
    cut: Cut,
}

/// Whether something was written before what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cut {
    #[default]
    Nothing,
    Before,
}

impl Tail {
    /// Adds what came last.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = if piece.len() > MAX_OUTPUT {
            self.cut = Cut::Before;
            &piece[piece.len() - MAX_OUTPUT..]
        } else {
            piece
        };
        let excess = (self.bytes.len() + piece.len()).saturating_sub(MAX_OUTPUT);
        if excess > 0 {
            self.cut = Cut::Before;
            self.bytes.drain(..excess);
        }
        self.bytes.reserve_exact(piece.len());
        self.bytes.extend_from_slice(piece);
    }

    /// Reads what is there without waiting, up to a [`TURN`]. `from` must not block.
    pub fn fill(&mut self, mut from: impl Read) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let mut total = 0;
        while total < TURN {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    total += count;
                    self.push(&piece[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As text: whole lines where there are any, nothing in it that could move a terminal's cursor, at most
    /// [`MAX_OUTPUT`] bytes.
    pub fn text(&self) -> String {
        let from = match self.cut {
            Cut::Nothing => 0,
            Cut::Before => self.bytes.iter().position(|&b| b == b'\n').map_or(0, |at| at + 1),
        };
        let text = printable(&String::from_utf8_lossy(&self.bytes[from..]));
        tail(text.trim_end(), MAX_OUTPUT).to_owned()
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_its_last_whole_lines() {
        let mut tail = Tail::default();
        for line in 0..100_000 {
            tail.push(format!("line {line}\n").as_bytes());
            assert!(tail.bytes.capacity() <= 2 * MAX_OUTPUT);
        }
        let text = tail.text();
        assert!(text.len() <= MAX_OUTPUT && text.len() > MAX_OUTPUT - 20);
        assert!(text.starts_with("line 99") && text.ends_with("\nline 99999"), "{text}");
    }

    #[test]
    fn one_piece_larger_than_all_is_cut() {
        let mut tail = Tail::default();
        tail.push(&[b'x'; 3 * MAX_OUTPUT]);
        assert_eq!(tail.text(), "x".repeat(MAX_OUTPUT));
    }

    #[test]
    fn what_is_no_text_stays_within_the_limit() {
        let mut tail = Tail::default();
        tail.push(&[0xff; MAX_OUTPUT]);
        assert!(tail.text().len() <= MAX_OUTPUT);
        tail.clear();
        tail.push(b"\x1b[31mred\n");
        assert_eq!(tail.text(), "\u{fffd}[31mred");
    }

    #[test]
    fn a_turn_ends_although_there_is_more() {
        let mut tail = Tail::default();
        tail.fill(std::io::repeat(b'y')).expect("it never fails");
        assert_eq!(tail.text().len(), MAX_OUTPUT);
    }
}
