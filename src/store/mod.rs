//! The ledger's log on disk: one file, made of a base and of what was written since.
//!
//! The file `ledger` begins with a head (magic, version, the storage's id), and goes on in frames, one for each
//! [`Write`]: a mark, the length, a CRC-32 and the records in postcard. A frame is appended and synced as a whole, so a write
//! is there wholly or not at all. A snapshot writes the file anew under another name, syncs it, and renames it.
//!
//! What is found at the start: a bad frame after which nothing good follows is the tail of a write that was never
//! acknowledged, and is cut. A bad frame with good ones after it is damage: what was acknowledged may be missing, so the host must
//! not vote with it, and [`Store::open`] refuses.

mod folder;
#[cfg(test)]
mod tests;

pub use folder::{Folder, OsFolder};

use crate::engine::raft::{Record, Stored, Write};
use core::fmt;
use roost_proto::cluster::raft::StorageId;
use std::io;

/// The file's name.
pub const FILE: &str = "ledger";
/// The version of the file that this build writes, and the only one that it reads.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"ROOSTLOG";
/// Magic, version, storage id, CRC-32 of those.
const HEAD: usize = 20;
/// Begins each frame, so that good frames are found behind a bad one.
const MARK: [u8; 4] = [0xf5, b'r', b'e', b'c'];
/// Mark, length, CRC-32 of the length and the records.
const FRAME_HEAD: usize = 12;
/// Bytes of one frame, at most: far above the snapshot of a thousand hosts with twenty groups each.
const MAX_FRAME: usize = 64 * 1024 * 1024;
/// Bytes of the file, at most.
const MAX_FILE: u64 = 2 * MAX_FRAME as u64;
/// The file is written anew when it grew by so many bytes since it was: votes alone make it grow without a snapshot.
const REWRITE_AFTER: u64 = 4 * 1024 * 1024;

/// Why a stored ledger cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// The disk does not give it.
    Io(io::Error),
    /// What was acknowledged may be missing from here on.
    Damaged {
        /// Where, in bytes from the beginning.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Another version of `roostd` wrote it.
    Version(u32),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Damaged { offset, what } => write!(
                f,
                "it is damaged at byte {offset} ({what}), and this host must not vote with it: move the file away, then this \
                 host comes back as a new one and gets the ledger from the others (a host that is alone begins anew, with \
                 every group wanted online)"
            ),
            Self::Version(version) => {
                write!(
                    f,
                    "it is of version {version}, and this roostd reads version {VERSION}: install the one that wrote it"
                )
            }
        }
    }
}

impl core::error::Error for OpenError {}

/// The log on disk, open.
#[derive(Debug)]
pub struct Store<F> {
    folder: F,
    /// What the disk holds, for the next base.
    state: Stored,
    /// Bytes of the file that are good; a failed write may have left others behind them.
    length: u64,
    /// Bytes of its base.
    base: u64,
}

impl<F: Folder> Store<F> {
    /// Opens what is in `folder`, or begins a new storage with the id `new`, a random number.
    pub fn open(mut folder: F, new: StorageId) -> Result<(Self, Stored), OpenError> {
        let Some(bytes) = folder.read(FILE, MAX_FILE).map_err(OpenError::Io)? else {
            let state = Stored { storage: new, ..Stored::default() };
            let base = base_of(&state);
            folder.replace(FILE, &base).map_err(OpenError::Io)?;
            let length = base.len() as u64;
            return Ok((Self { folder, state: state.clone(), length, base: length }, state));
        };
        let mut state = Stored { storage: read_head(&bytes)?, ..Stored::default() };
        let mut at = HEAD;
        let mut base = HEAD as u64;
        while let Some((records, next)) = frame_at(&bytes, at) {
            for record in records {
                take(&mut state, record).map_err(|what| OpenError::Damaged { offset: at as u64, what })?;
            }
            if at == HEAD {
                base = next as u64;
            }
            at = next;
        }
        let rest = &bytes[at..];
        if (1..rest.len()).any(|skip| rest[skip..].starts_with(&MARK) && frame_at(rest, skip).is_some()) {
            let what = "a record is bad, and good ones follow it".to_owned();
            return Err(OpenError::Damaged { offset: at as u64, what });
        }
        if at == HEAD && !rest.is_empty() {
            let what = "its first record is bad".to_owned(); // it was renamed into place whole
            return Err(OpenError::Damaged { offset: at as u64, what });
        }
        let length = at as u64;
        if !rest.is_empty() {
            folder.append(FILE, length, &[]).map_err(OpenError::Io)?; // cut it now: later it would stand in the middle
        }
        Ok((Self { folder, state: state.clone(), length, base }, state))
    }

    /// Makes a write durable. After an error nothing of it counts, and the same write can be tried again.
    pub fn write(&mut self, write: &Write) -> io::Result<()> {
        let mut state = None;
        let whole = self.length > self.base + REWRITE_AFTER
            || write.records.iter().any(|record| matches!(record, Record::Snapshot { .. }));
        if whole {
            let next = state.insert(self.state.clone());
            write
                .records
                .iter()
                .try_for_each(|record| take(next, record.clone()))
                .map_err(io::Error::other)?;
            let bytes = base_of(next);
            self.folder.replace(FILE, &bytes)?;
            self.base = bytes.len() as u64;
            self.length = self.base;
        } else {
            let bytes = frame_of(&write.records);
            self.folder.append(FILE, self.length, &bytes)?;
            self.length += bytes.len() as u64;
        }
        match state {
            Some(state) => self.state = state,
            None => {
                for record in &write.records {
                    take(&mut self.state, record.clone()).map_err(io::Error::other)?;
                }
            }
        }
        Ok(())
    }
}

/// Applies one record to what the disk holds.
fn take(state: &mut Stored, record: Record) -> Result<(), String> {
    let base = state.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    match record {
        Record::Vote { term, voted_for } => {
            if term < state.term {
                return Err(format!("term {term} follows term {}", state.term));
            }
            (state.term, state.voted_for) = (term, voted_for);
        }
        Record::Append { first, entries } => {
            let keep = first.checked_sub(base + 1).and_then(|keep| usize::try_from(keep).ok());
            match keep.filter(|keep| *keep <= state.entries.len()) {
                Some(keep) => state.entries.truncate(keep),
                None => return Err(format!("entry {first} has no place")),
            }
            state.entries.extend(entries);
        }
        Record::Snapshot { snapshot, keep } => {
            let drop = snapshot.index.checked_sub(base).and_then(|drop| usize::try_from(drop).ok());
            match drop.filter(|drop| !keep || *drop <= state.entries.len()) {
                Some(drop) if keep => drop_first(state, drop),
                Some(_) => state.entries.clear(),
                None => return Err(format!("the snapshot of entry {} has no place", snapshot.index)),
            }
            state.snapshot = Some(snapshot);
        }
    }
    Ok(())
}

fn drop_first(state: &mut Stored, count: usize) {
    state.entries.drain(..count);
}

/// A file that says what `state` is.
fn base_of(state: &Stored) -> Vec<u8> {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(state.storage.0.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    let mut records = vec![Record::Vote { term: state.term, voted_for: state.voted_for }];
    let base = state.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    if let Some(snapshot) = state.snapshot.clone() {
        records.push(Record::Snapshot { snapshot, keep: false });
    }
    if !state.entries.is_empty() {
        records.push(Record::Append { first: base + 1, entries: state.entries.clone() });
    }
    bytes.extend(frame_of(&records));
    bytes
}

fn read_head(bytes: &[u8]) -> Result<StorageId, OpenError> {
    let damaged = |what: &str| OpenError::Damaged { offset: 0, what: what.to_owned() };
    let head = bytes.get(..HEAD).ok_or_else(|| damaged("its head is missing"))?;
    if !head.starts_with(MAGIC) {
        return Err(damaged("it is no ledger of roostd"));
    }
    if crc32fast::hash(&head[..HEAD - 4]) != number_at(head, HEAD - 4) {
        return Err(damaged("its head is bad"));
    }
    match number_at(head, MAGIC.len()) {
        VERSION => Ok(StorageId(number_at(head, MAGIC.len() + 4))),
        other => Err(OpenError::Version(other)),
    }
}

fn frame_of(records: &[Record]) -> Vec<u8> {
    let body = postcard::to_allocvec(records).expect("records can all be encoded");
    let length = u32::try_from(body.len()).expect("a snapshot is far shorter than 4 GiB").to_le_bytes();
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length);
    sum.update(&body);
    let mut bytes = Vec::with_capacity(FRAME_HEAD + body.len());
    bytes.extend(MARK);
    bytes.extend(length);
    bytes.extend(sum.finalize().to_le_bytes());
    bytes.extend(body);
    bytes
}

/// The good frame at `at`, and where the next would begin.
fn frame_at(bytes: &[u8], at: usize) -> Option<(Vec<Record>, usize)> {
    let head = bytes.get(at..at + FRAME_HEAD)?;
    if !head.starts_with(&MARK) {
        return None;
    }
    let length = usize::try_from(number_at(head, 4)).ok().filter(|length| *length <= MAX_FRAME)?;
    let start = at + FRAME_HEAD;
    let body = bytes.get(start..start + length)?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head[4..8]);
    sum.update(body);
    if sum.finalize() != number_at(head, 8) {
        return None;
    }
    Some((postcard::from_bytes(body).ok()?, start + length))
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
