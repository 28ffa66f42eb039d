//! The file that node_exporter's textfile collector reads, written by a thread of its own, since a disk may take its time:
//! whole to a temporary name beside it, and renamed. A disk that hangs costs the newest metrics, and nothing else.

use super::mailbox::{Mailbox, Teller, mailbox};
use core::time::Duration;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How often it is written: as often as most monitoring systems look.
pub const METRICS_EVERY: Duration = Duration::from_secs(15);
/// Who collects it is as a rule a user of its own.
const MODE: u32 = 0o644;
/// The thread writes.
const STACK: usize = 128 * 1024;

/// What people are told about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It cannot be written, as of now.
    Fails(String),
    /// It is written again.
    Works(PathBuf),
}

/// The thread, from outside.
pub struct MetricsFile {
    /// One text waits at most: of two the newer would do.
    texts: SyncSender<(PathBuf, String)>,
    told: Mailbox<Told>,
}

impl MetricsFile {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (texts, todo) = sync_channel(1);
        let (tell, told) = mailbox()?;
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .stack_size(STACK)
            .spawn(move || run(&todo, &tell))?;
        Ok(Self { texts, told })
    }

    /// Has a text written. While the one before is not, it is dropped.
    pub fn write(&self, file: &Path, text: String) {
        let _ = self.texts.try_send((file.to_owned(), text)); // the next is 15 s away
    }

    /// Readable when [`MetricsFile::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.fd()
    }

    /// Something that people are to be told, if there is anything.
    pub fn poll(&self) -> Option<Told> {
        self.told.take()
    }
}

fn run(todo: &Receiver<(PathBuf, String)>, tell: &Teller<Told>) {
    let mut failing = None;
    for (file, text) in todo {
        let fails =
            store(&file, &text).err().map(|error| format!("'{}' cannot be written: {error}", file.display()));
        if fails != failing {
            tell.tell(fails.clone().map_or(Told::Works(file), Told::Fails));
            failing = fails;
        }
    }
}

/// Not synced: after a power loss it is written anew before anybody reads it.
fn store(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new"); // the collector reads names that end with .prom
    let new = file.with_file_name(name);
    let mut out = File::create(&new)?;
    out.set_permissions(Permissions::from_mode(MODE))?; // whatever the umask is
    out.write_all(text.as_bytes())?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, poll};

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("roost-metrics-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a fresh folder");
        dir
    }

    #[test]
    fn the_file_is_whole_and_everybody_may_read_it() {
        let dir = folder("whole");
        let file = dir.join("roost.prom");
        std::fs::write(&file, "of old\n").expect("writable");
        let before = File::open(&file).expect("there");
        store(&file, "a 1\n").expect("writable");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "a 1\n");
        assert_eq!(io::read_to_string(before).expect("there"), "of old\n", "who reads it sees no half of it");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o7777, MODE);
        let names: Vec<_> =
            std::fs::read_dir(&dir).expect("there").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["roost.prom"]);
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn a_write_that_fails_is_told_once_for_each_reason_and_so_is_one_that_works_again() {
        let dir = folder("fails");
        let file = dir.join("later/roost.prom");
        let (texts, todo) = sync_channel(1);
        let (tell, told) = mailbox().expect("a descriptor");
        let thread = std::thread::spawn(move || run(&todo, &tell));
        let write = |text: &str| texts.send((file.clone(), text.to_owned())).expect("the thread lives");
        let next = || loop {
            if let Some(told) = told.take() {
                return told;
            }
            let mut fds = [PollFd::new(told.fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, 30_000u16), Ok(1), "nothing is told");
        };
        write("a 1\n");
        let Told::Fails(why) = next() else { panic!("it cannot be written") };
        assert!(why.contains("later/roost.prom") && why.contains("No such file"), "{why}");
        write("a 2\n");
        write("a 3\n");
        write("a 4\n"); // waits until the third was begun: so the second was tried, and nothing told
        assert_eq!(told.take(), None);
        std::fs::write(dir.join("later"), "").expect("ours");
        write("a 5\n");
        let Told::Fails(why) = next() else { panic!("it cannot be written still") };
        assert!(why.contains("Not a directory"), "{why}");
        std::fs::remove_file(dir.join("later")).expect("ours");
        std::fs::create_dir(dir.join("later")).expect("ours");
        write("a 6\n");
        assert_eq!(next(), Told::Works(file.clone()));
        drop(texts);
        thread.join().expect("it ends");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "a 6\n");
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
