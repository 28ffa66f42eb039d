//! What a thread tells the deciding thread: a queue, and a descriptor that is readable while it holds something.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The end that tells.
pub struct Teller<T> {
    queue: Sender<T>,
    bell: Arc<EventFd>,
}

/// The end that is told.
pub struct Mailbox<T> {
    queue: Receiver<T>,
    bell: Arc<EventFd>,
}

/// Both ends.
pub fn mailbox<T>() -> io::Result<(Teller<T>, Mailbox<T>)> {
    let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
    let (tell, told) = channel();
    Ok((Teller { queue: tell, bell: Arc::clone(&bell) }, Mailbox { queue: told, bell }))
}

impl<T> Clone for Teller<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Teller<T> {
    /// Tells something; nobody may listen any more.
    pub fn tell(&self, word: T) {
        if self.queue.send(word).is_ok() {
            let _ = self.bell.write(1); // full means that it rings already
        }
    }
}

impl<T> Mailbox<T> {
    /// Readable when [`Mailbox::take`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The next word, if any.
    pub fn take(&self) -> Option<T> {
        let word = self.queue.try_recv().ok();
        if word.is_none() {
            let _ = self.bell.read(); // nothing is left: the bell may be silent
            return self.queue.try_recv().ok();
        }
        word
    }
}
