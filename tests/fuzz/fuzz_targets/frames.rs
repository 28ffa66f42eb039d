//! A stream from a guest: whatever it holds, and however it is cut, it is decoded or refused; what is decoded is
//! encoded to the same meaning, and cutting changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roost_proto::frame::{Decoder, FrameError, encode};
use roost_proto::link::GuestMessage;

/// All messages of `pieces`, and the error that ended them, if one did.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<GuestMessage>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = decode(core::iter::once(bytes));
    assert_eq!(whole, decode(bytes.chunks(usize::from(step) + 1)));
    for message in whole.0 {
        if let GuestMessage::Group(report) = &message {
            let _ = report.check();
        }
        let mut again = Vec::new();
        encode(&message, &mut again).expect("what fitted a frame fits one");
        assert_eq!(decode(core::iter::once(again.as_slice())), (vec![message], None));
    }
});
