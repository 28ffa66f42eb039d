//! Sealed links: how a controller and a host speak with each other over a network, where anybody may listen and interfere.
//!
//! Both know a key that is this machine's alone. The machine says who it is and draws 16 random bytes, the host draws 16 more;
//! from the key and both follow the keys of this one connection, another for each direction. Everything after is in records
//! that nobody else can read, make, change, repeat, reorder, leave out or turn around. Nobody is believed for his greeting: each
//! side proves that it has the key by its first record, which it could not have made without, nor before both had drawn. So
//! a recorded conversation is worth nothing later.
//!
//! ```text
//! the machine's greeting: magic (4), version (1), random bytes (16), length of its name (1), its name
//! the host's greeting:    magic (4), version (1), random bytes (16)
//! a record:               length of what follows (2, little-endian), encrypted bytes, tag (16)
//! ```
//!
//! `HChaCha20` (draft-irtf-cfrg-xchacha-03, section 2.2, which shows that it is a pseudo-random function) takes a key of 32 bytes
//! and 16 bytes more to 32 bytes. The connection's key is `H(H(key, machine's random bytes), host's random bytes)`, the keys of the
//! two directions are `H(connection's key, "roost to host   ")` and `H(connection's key, "roost to machine")`. A record is sealed
//! with ChaCha20-Poly1305 (RFC 8439) under the key of its direction; its nonce is four zero bytes and the number of records sent
//! before in this direction, eight bytes, little-endian; what it proves besides its contents is both greetings, whole. The
//! contents of all records, one after the other, are the stream of frames.
//!
//! That a stream ends early is not told from its end: a link that ends means nothing but silence. A key that becomes known opens
//! what was recorded before, too; what is said here is no secret a day later.

use crate::frame::MAX_PAYLOAD;
use crate::key::Secret;
use crate::name::{MAX_NAME, is_name};
use chacha20::{R20, hchacha};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag};
use core::fmt;

/// What both greetings begin with.
pub const SEALED_MAGIC: [u8; 4] = *b"RSTS";
/// The only version.
pub const SEALED_VERSION: u8 = 1;
/// Bytes that each side draws at random for each connection: two of 2^48 have the same with a chance of 2^-33.
pub const RANDOM: usize = 16;
/// The most that one record holds: a frame of the link.
pub const MAX_CONTENTS: usize = HEADER + MAX_PAYLOAD;

/// Bytes of a record's, and of a frame's, length.
const HEADER: usize = 2;
/// Bytes of a record's tag.
const TAG: usize = 16;
/// Bytes of a greeting, without a name.
const GREETING: usize = SEALED_MAGIC.len() + 1 + RANDOM;
/// What the two directions' keys are made with.
const TO_HOST: &[u8; 16] = b"roost to host   ";
const TO_MACHINE: &[u8; 16] = b"roost to machine";

/// What one side draws for a connection.
pub type Random = [u8; RANDOM];

/// Why a connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It began with something else than a greeting.
    Greeting,
    /// The other side speaks this version.
    Version(u8),
    /// A record announced contents that no record has.
    Length(usize),
    /// The other side has not proven that it has the key.
    Stranger,
    /// A record was changed on its way, or repeated, or is not the next one.
    Forged,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greeting => write!(f, "what is no greeting of a sealed link"),
            Self::Version(version) => write!(f, "a greeting of version {version}, of which nothing is known"),
            Self::Length(length) => write!(f, "a record of {length} bytes, which none has"),
            Self::Stranger => write!(f, "a record that is not sealed with the key"),
            Self::Forged => write!(f, "a record that was changed on its way"),
        }
    }
}

impl core::error::Error for Broken {}

/// A machine that greets a host and waits for its greeting.
#[derive(Debug)]
pub struct Caller {
    key: Secret,
    greeting: Vec<u8>,
    heard: Vec<u8>,
}

impl Caller {
    /// `machine` must be a name; `random` must never have been drawn before.
    pub fn new(key: Secret, machine: &str, random: Random) -> Self {
        assert!(is_name(machine), "the configuration takes names alone");
        let mut greeting = greeting(random);
        greeting.push(u8::try_from(machine.len()).expect("a name is short"));
        greeting.extend_from_slice(machine.as_bytes());
        Self { key, greeting, heard: Vec::new() }
    }

    /// What is to be sent first.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Takes in what the host sent. When its greeting is whole, a session begins. The host says no more before it has heard a
    /// record.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Option<Session>, Broken> {
        self.heard.extend_from_slice(bytes);
        match check(&self.heard)? {
            Some([]) => Ok(Some(Session::new(
                Side::Machine,
                core::slice::from_ref(&self.key),
                &self.greeting,
                &self.heard,
            ))),
            Some(_) => Err(Broken::Greeting),
            None => Ok(None),
        }
    }
}

/// A host to which somebody has connected who has not greeted yet.
#[derive(Debug, Default)]
pub struct Called {
    heard: Vec<u8>,
}

/// Somebody's greeting. Who he is he has to prove.
#[derive(Debug)]
pub struct Call {
    machine: String,
    greeting: Vec<u8>,
}

impl Called {
    /// Takes in what was sent, up to a whole greeting. Nobody says more before it is answered.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Option<Call>, Broken> {
        self.heard.extend_from_slice(bytes);
        let Some([length, name @ ..]) = check(&self.heard)? else { return Ok(None) };
        let length = usize::from(*length);
        if !(1..=MAX_NAME).contains(&length) || name.len() > length {
            return Err(Broken::Greeting);
        }
        if name.len() < length {
            return Ok(None);
        }
        let machine = core::str::from_utf8(name).ok().filter(|name| is_name(name)).ok_or(Broken::Greeting)?;
        Ok(Some(Call { machine: machine.to_owned(), greeting: self.heard.clone() }))
    }

    /// Whether anything was sent.
    pub const fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }
}

impl Call {
    /// Whom he says he is.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// The answer to send, and the session that begins. Any of the machine's `keys` may be proven by its first record, so
    /// that a key is replaced without an interruption; `random` must never have been drawn before.
    pub fn answer(&self, keys: &[Secret], random: Random) -> (Vec<u8>, Session) {
        let answer = greeting(random);
        let session = Session::new(Side::Host, keys, &self.greeting, &answer);
        (answer, session)
    }
}

fn greeting(random: Random) -> Vec<u8> {
    [&SEALED_MAGIC[..], &[SEALED_VERSION], &random].concat()
}

/// What follows a greeting's random bytes; none when these are not there yet.
fn check(heard: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let known = heard.len().min(SEALED_MAGIC.len());
    if heard[..known] != SEALED_MAGIC[..known] {
        return Err(Broken::Greeting);
    }
    match heard.get(SEALED_MAGIC.len()) {
        Some(&SEALED_VERSION) | None => Ok(heard.get(GREETING..)),
        Some(&version) => Err(Broken::Version(version)),
    }
}

/// Which side of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Machine,
    Host,
}

/// What follows from one key.
struct Ciphers {
    seals: ChaCha20Poly1305,
    opens: ChaCha20Poly1305,
}

/// A connection on which both have greeted.
pub struct Session {
    side: Side,
    /// One for each key that the other side may have; after its first record the one that it has.
    ciphers: Vec<Ciphers>,
    greetings: Vec<u8>,
    sealed: u64,
    opened: u64,
    heard: Vec<u8>,
}

/// Without anything that is secret: this may come into a log.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?}, {} sealed, {} opened)", self.side, self.sealed, self.opened)
    }
}

impl Session {
    fn new(side: Side, keys: &[Secret], machine: &[u8], host: &[u8]) -> Self {
        let random = |greeting: &[u8]| {
            *greeting[GREETING - RANDOM..].first_chunk::<RANDOM>().expect("a greeting that was checked")
        };
        let ciphers = |key: &Secret| {
            let connection = derive(&derive(&key.0, &random(machine)), &random(host));
            let cipher = |way| ChaCha20Poly1305::new(&derive(&connection, way).into());
            match side {
                Side::Machine => Ciphers { seals: cipher(TO_HOST), opens: cipher(TO_MACHINE) },
                Side::Host => Ciphers { seals: cipher(TO_MACHINE), opens: cipher(TO_HOST) },
            }
        };
        Self {
            side,
            ciphers: keys.iter().map(ciphers).collect(),
            greetings: [machine, host].concat(),
            sealed: 0,
            opened: 0,
            heard: Vec::new(),
        }
    }

    /// Whether the other side has proven that it has the key.
    pub const fn is_proven(&self) -> bool {
        self.opened > 0
    }

    /// Whether part of a record waits for the rest.
    pub const fn is_partial(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Appends `contents` to `out` in as many records as it takes. A host seals nothing for a machine that is not proven.
    pub fn seal(&mut self, contents: &[u8], out: &mut Vec<u8>) {
        assert!(self.side == Side::Machine || self.is_proven(), "nothing is said to a stranger");
        let cipher = &self.ciphers[0].seals;
        for piece in contents.chunks(MAX_CONTENTS) {
            let length =
                u16::try_from(piece.len() + TAG).expect("a frame's length is one of 16 bits, with room");
            out.extend_from_slice(&length.to_le_bytes());
            let at = out.len();
            out.extend_from_slice(piece);
            let tag = cipher
                .encrypt_inout_detached(&nonce(self.sealed), &self.greetings, InOutBuf::from(&mut out[at..]))
                .expect("a record is shorter than 256 GiB");
            out.extend_from_slice(&tag);
            self.sealed += 1;
        }
    }

    /// Takes in what was received, and appends the contents of all whole records to `contents`. After an error nothing of the
    /// connection may be used any more.
    pub fn open(&mut self, bytes: &[u8], contents: &mut Vec<u8>) -> Result<(), Broken> {
        self.heard.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.heard[at..].first_chunk::<HEADER>() {
            let length = usize::from(u16::from_le_bytes(*header));
            if !(TAG + 1..=MAX_CONTENTS + TAG).contains(&length) {
                return Err(Broken::Length(length));
            }
            let Some(record) = self.heard[at + HEADER..].get(..length) else { break };
            let (sealed, tag) = record.split_last_chunk::<TAG>().expect("it is longer than a tag");
            let (nonce, tag, from) = (nonce(self.opened), Tag::from(*tag), contents.len());
            contents.extend_from_slice(sealed);
            let opens = |ciphers: &Ciphers| {
                let piece = InOutBuf::from(&mut contents[from..]); // left as it is unless it is genuine
                ciphers.opens.decrypt_inout_detached(&nonce, &self.greetings, piece, &tag).is_ok()
            };
            let Some(which) = self.ciphers.iter().position(opens) else {
                contents.truncate(from);
                return Err(if self.is_proven() { Broken::Forged } else { Broken::Stranger });
            };
            self.ciphers.swap(0, which);
            self.ciphers.truncate(1);
            self.opened += 1;
            at += HEADER + length;
        }
        self.heard.drain(..at);
        Ok(())
    }
}

/// `HChaCha20`.
fn derive(key: &[u8; 32], input: &[u8; 16]) -> [u8; 32] {
    hchacha::<R20>(&(*key).into(), &(*input).into()).into()
}

fn nonce(number: u64) -> chacha20poly1305::Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce.into()
}
