//! A host's disk: what is synced stays, what is not may be lost or torn with the power.

use roost::store::Folder;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// What the disk holds, and how it behaves.
#[derive(Debug, Default)]
struct Held {
    file: Option<Vec<u8>>,
    failing: bool,
    /// The next write gets so far and no further.
    tears_at: Option<usize>,
}

/// A disk, shared between its host and the store that is open on it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Rc<RefCell<Held>>);

impl Disk {
    /// Writes fail from now on, or work again.
    pub fn fail(&self, failing: bool) {
        self.0.borrow_mut().failing = failing;
    }

    /// Whether writes fail.
    pub fn fails(&self) -> bool {
        self.0.borrow().failing
    }

    /// The next write is cut off after so many bytes.
    pub fn tear_at(&self, bytes: usize) {
        self.0.borrow_mut().tears_at = Some(bytes);
    }

    /// The disk is another one, with nothing on it.
    pub fn replace(&self) {
        *self.0.borrow_mut() = Held::default();
    }
}

impl Held {
    fn error(&self) -> io::Result<()> {
        if self.failing { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Folder for Disk {
    fn read(&mut self, _name: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().file.clone())
    }

    fn append(&mut self, _name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.0.borrow_mut();
        held.error()?;
        let tears_at = held.tears_at.take();
        let file = held.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.truncate(usize::try_from(at).unwrap_or(usize::MAX));
        file.extend(&bytes[..tears_at.unwrap_or(usize::MAX).min(bytes.len())]);
        tears_at.map_or(Ok(()), |_| Err(io::ErrorKind::Interrupted.into()))
    }

    fn replace(&mut self, _name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.0.borrow_mut();
        held.error()?;
        if held.tears_at.take().is_some() {
            return Err(io::ErrorKind::Interrupted.into()); // it was not renamed yet
        }
        held.file = Some(bytes.to_vec());
        Ok(())
    }
}
