//! Snapshots in pages: cut to the size of a message, a window of them on their way, sent on from where the receiver is
//! (section 5.1; go-back-N, as every page that is lost is asked for by its offset).

use super::{Content, Output, Raft, Snapshot, When};
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::{Index, Position, RaftMessage};
use std::sync::Arc;

/// The largest snapshot, in bytes: a ledger of a thousand hosts and twenty thousand groups takes a tenth of it.
const MAX_SNAPSHOT: u32 = 64 * 1024 * 1024;
/// Encoded bytes that a page takes besides its part of the snapshot, at most.
const HEAD: usize = 48;
/// Pages that may be on their way to one host.
const WINDOW: u32 = 16;

/// A snapshot on its way to a host.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) index: Index,
    heard: u32,
    sent: u32,
    /// `heard` at the beat before.
    at_beat: u32,
}

/// A snapshot on its way here.
#[derive(Debug)]
pub(super) struct Incoming {
    position: Position,
    total: u32,
    bytes: Vec<u8>,
}

impl Raft {
    fn page_size(&self) -> usize {
        self.settings.max_message.saturating_sub(HEAD).max(1)
    }

    /// The snapshot as it is sent, encoded once.
    fn encoded_snapshot(&mut self) -> Option<(Position, Arc<[u8]>)> {
        let position = self.log.base();
        if self.outgoing.as_ref().is_none_or(|(index, _)| *index != position.index) {
            let snapshot = self.log.snapshot.as_ref()?;
            let bytes = encode(snapshot);
            self.outgoing = Some((position.index, bytes));
        }
        let (_, bytes) = self.outgoing.as_ref()?;
        Some((position, Arc::clone(bytes)))
    }

    /// Sends a host the snapshot, as far as the window allows.
    pub(super) fn send_pages(&mut self, to: HostId) {
        let Some((position, bytes)) = self.encoded_snapshot() else { return };
        let (term, size) = (self.term, self.page_size());
        let Some(progress) = self.progress.get_mut(&to) else { return };
        let fresh = Sending { index: position.index, heard: 0, sent: 0, at_beat: 0 };
        let sending = match &mut progress.sending {
            Some(sending) if sending.index == position.index => sending,
            other => other.insert(fresh),
        };
        let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let window = WINDOW.saturating_mul(u32::try_from(size).unwrap_or(u32::MAX));
        let mut pages = Vec::new();
        while sending.sent < total && sending.sent - sending.heard < window {
            let offset = sending.sent;
            let end = (offset as usize + size).min(bytes.len());
            let bytes = bytes[offset as usize..end].to_vec();
            sending.sent = u32::try_from(end).unwrap_or(u32::MAX);
            pages.push(RaftMessage::Page { term, position, total, offset, bytes });
        }
        pages.into_iter().for_each(|page| self.send(to, page, When::Now));
    }

    /// Once a beat: begins again from where the host is, if it did not get on since the beat before.
    pub(super) fn resend_pages(&mut self, to: HostId) {
        if let Some(sending) = self.progress.get_mut(&to).and_then(|progress| progress.sending.as_mut()) {
            if sending.heard == sending.at_beat {
                sending.sent = sending.heard;
            }
            sending.at_beat = sending.heard;
        }
        self.send_pages(to);
    }

    pub(super) fn page_heard(&mut self, from: HostId, index: Index, next: u32) {
        let Some(sending) = self.progress.get_mut(&from).and_then(|progress| progress.sending.as_mut())
        else {
            return;
        };
        if sending.index != index || next > sending.sent {
            return;
        }
        if next < sending.heard {
            sending.sent = next; // it has begun anew; or this is an old answer, and some pages are sent twice
        }
        sending.heard = next;
        self.send_pages(from);
    }

    pub(super) fn got_page(
        &mut self,
        from: HostId,
        position: Position,
        (total, offset): (u32, u32),
        bytes: &[u8],
    ) {
        let (term, storage) = (self.term, self.storage);
        if position.index <= self.commit || total > MAX_SNAPSHOT {
            let index = self.commit.min(self.log.durable);
            self.send_when_written(from, RaftMessage::Matched { term, index, storage }, When::Now);
            return;
        }
        let same = self.incoming.as_ref().is_some_and(|at| at.position == position && at.total == total);
        if !same {
            self.incoming = Some(Incoming { position, total, bytes: Vec::new() });
        }
        let Some(incoming) = &mut self.incoming else { return };
        let room = total as usize - incoming.bytes.len();
        if offset as usize == incoming.bytes.len() && bytes.len() <= room {
            incoming.bytes.extend_from_slice(bytes);
        }
        let next = u32::try_from(incoming.bytes.len()).unwrap_or(u32::MAX);
        if next < total {
            self.send(from, RaftMessage::PageHeard { term, index: position.index, next, storage }, When::Now);
            return;
        }
        let snapshot =
            decode(&incoming.bytes).filter(|s| s.index == position.index && s.term == position.term);
        self.incoming = None;
        let Some(snapshot) = snapshot else { return }; // it is sent again
        if !(self.settings.reads)(Content::Snapshot(&snapshot.data)) {
            self.out.push_back(Output::Unreadable { from });
            return;
        }
        self.install(snapshot);
        let index = position.index;
        self.send_when_written(from, RaftMessage::Matched { term, index, storage }, When::Now);
    }
}

fn encode(snapshot: &Snapshot) -> Arc<[u8]> {
    let head = (snapshot.ledger, snapshot.index, snapshot.term, &snapshot.voters, &*snapshot.data);
    postcard::to_allocvec(&head).expect("its types can all be encoded").into()
}

fn decode(bytes: &[u8]) -> Option<Snapshot> {
    let (ledger, index, term, voters, data): (_, _, _, _, Vec<u8>) = postcard::from_bytes(bytes).ok()?;
    Some(Snapshot { ledger, index, term, voters, data: data.into() })
}
