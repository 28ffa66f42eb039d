//! The ledger's disk: a thread of its own that makes one write after the other durable, since a disk may take its time. A
//! write that fails is told of once for each reason, and tried again until it works; no write behind it overtakes it.

use super::mailbox::{Mailbox, Teller, mailbox};
use crate::engine::raft::Write;
use crate::store::{Folder, Store};
use core::time::Duration;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

/// A failed write is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// The thread encodes records; a snapshot is on the heap.
const STACK: usize = 256 * 1024;

/// What the disk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Everything up to this write is durable.
    Written(u64),
    /// It does not work, as of now, or works again.
    Works(Result<(), String>),
}

/// The thread, from outside.
pub struct LedgerDisk {
    /// Writes; those that wait are bounded by consensus, which proposes nothing while its own disk does not answer.
    todo: Sender<Write>,
    done: Mailbox<Done>,
    /// Dropped with this: the thread ends, even when its disk fails.
    _stop: Sender<()>,
}

impl LedgerDisk {
    /// Starts the thread.
    pub fn start<F: Folder + Send + 'static>(store: Store<F>) -> io::Result<Self> {
        let (todo, writes) = channel();
        let (stop, stopped) = channel();
        let (tell, done) = mailbox()?;
        let work = move || run(store, &writes, &stopped, &tell);
        std::thread::Builder::new().name("ledger".to_owned()).stack_size(STACK).spawn(work)?;
        Ok(Self { todo, done, _stop: stop })
    }

    /// Readable when [`LedgerDisk::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.done.fd()
    }

    /// Hands a write over.
    pub fn write(&self, write: Write) {
        let _ = self.todo.send(write); // the thread ends with this, not before
    }

    /// What the disk says, if anything.
    pub fn poll(&self) -> Option<Done> {
        self.done.take()
    }
}

fn run<F: Folder>(mut store: Store<F>, todo: &Receiver<Write>, stopped: &Receiver<()>, tell: &Teller<Done>) {
    while let Ok(write) = todo.recv() {
        let mut failed = None;
        while let Err(error) = store.write(&write) {
            let why = error.to_string();
            if failed.as_ref() != Some(&why) {
                tell.tell(Done::Works(Err(why.clone())));
                failed = Some(why);
            }
            if stopped.recv_timeout(RETRY) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
        if failed.is_some() {
            tell.tell(Done::Works(Ok(())));
        }
        tell.tell(Done::Written(write.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::raft::Record;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use roost_proto::cluster::raft::StorageId;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder whose writes fail so many times, the last time for another reason.
    struct Failing(Arc<AtomicU32>);

    impl Folder for Failing {
        fn read(&mut self, _name: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
            Ok(None)
        }

        fn append(&mut self, _name: &str, _at: u64, _bytes: &[u8]) -> io::Result<()> {
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            match left {
                Err(_) => Ok(()),
                Ok(1) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
                Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn replace(&mut self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    fn next(disk: &LedgerDisk) -> Done {
        loop {
            if let Some(done) = disk.poll() {
                return done;
            }
            let ready = poll(&mut [PollFd::new(disk.fd(), PollFlags::POLLIN)], PollTimeout::from(30_000_u16));
            assert_eq!(ready, Ok(1), "the disk says nothing");
        }
    }

    #[test]
    fn a_failing_write_is_told_of_once_for_each_reason_and_tried_until_it_works() {
        let fails = Arc::new(AtomicU32::new(3));
        let (store, _) = Store::open(Failing(Arc::clone(&fails)), StorageId(1)).expect("new");
        let disk = LedgerDisk::start(store).expect("a thread");
        for number in 1..=2 {
            disk.write(Write { number, records: vec![Record::Vote { term: number, voted_for: None }] });
        }
        let why = |kind: io::ErrorKind| Done::Works(Err(io::Error::from(kind).to_string()));
        assert_eq!(next(&disk), why(io::ErrorKind::StorageFull));
        assert_eq!(next(&disk), why(io::ErrorKind::ReadOnlyFilesystem));
        assert_eq!(next(&disk), Done::Works(Ok(())));
        assert_eq!(next(&disk), Done::Written(1));
        assert_eq!(next(&disk), Done::Written(2));
    }
}
