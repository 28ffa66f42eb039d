//! One life of a daemon: its start number, which no life before it had; the machine and the boot it lives in; and, for the
//! next life in the same boot, until when its lease ran.

use super::clock;
use crate::store::{Folder, OsFolder};
use core::fmt;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use roost_proto::cluster::Incarnation;
use roost_proto::time::Instant;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file with the newest start number.
const START: &str = "start";
/// The longest such file, in bytes.
const MAX_FILE: u64 = 64;

/// Why a life cannot begin.
#[derive(Debug)]
pub enum LifeError {
    /// Another daemon has the folder.
    Taken(PathBuf),
    /// The system refused something.
    System {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
    /// The start number is damaged.
    Damaged(PathBuf),
}

impl fmt::Display for LifeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(dir) => write!(
                f,
                "another roostd keeps its state in '{}': end it, or give this one a folder of its own",
                dir.display()
            ),
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::Damaged(file) => write!(
                f,
                "'{}' holds no start number: move it away, and see that the clock is right before roostd starts again",
                file.display()
            ),
        }
    }
}

impl core::error::Error for LifeError {}

/// One life.
#[derive(Debug)]
pub struct Life {
    /// Which.
    pub incarnation: Incarnation,
    /// The machine's id.
    pub machine: u64,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Until when the lease of the life before ran, in this boot.
    pub lease_before: Option<Instant>,
    /// Held while this lives.
    _lock: Flock<File>,
    lease: File,
    written: Option<Instant>,
}

impl Life {
    /// Begins a life, with `state_dir` for what outlasts a boot and `run_dir` for what does not.
    pub fn begin(state_dir: &Path, run_dir: &Path) -> Result<Self, LifeError> {
        let system = |what: String| move |error: io::Error| LifeError::System { what, error };
        let lock = lock(state_dir)?;
        let boot_id = clock::boot_id().map_err(system("cannot read the boot id".to_owned()))?;
        let machine = std::fs::read_to_string("/etc/machine-id")
            .map_err(system("cannot read '/etc/machine-id'".to_owned()))?;
        let start = next_start(state_dir, clock::wall_ms() / 1000)?;
        let boot = number_of(&boot_id);
        let path = run_dir.join("lease");
        let lease_before = std::fs::read_to_string(&path).ok().and_then(|text| lease_in(&text, boot));
        let lease = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(system(format!("cannot write '{}'", path.display())))?;
        Ok(Self {
            incarnation: Incarnation { start, boot },
            machine: number_of(&machine),
            boot_id,
            lease_before,
            _lock: lock,
            lease,
            written: None,
        })
    }

    /// Keeps until when the lease runs. It is lost with the machine, and need not outlast it.
    pub fn keep_lease(&mut self, until: Option<Instant>) {
        if let Some(until) = until.filter(|until| Some(*until) != self.written) {
            let text = format!("{:016x} {:016x}\n", self.incarnation.boot, until.as_nanos());
            if self.lease.write_all_at(text.as_bytes(), 0).is_ok() {
                self.written = Some(until);
            }
        }
    }
}

/// What [`Life::keep_lease`] wrote, if it was in this boot.
fn lease_in(text: &str, boot: u64) -> Option<Instant> {
    let (of, until) = text.trim_end().split_once(' ')?;
    let of = u64::from_str_radix(of, 16).ok()?;
    let until = u64::from_str_radix(until, 16).ok()?;
    (of == boot).then(|| Instant::from_nanos(until))
}

fn lock(dir: &Path) -> Result<Flock<File>, LifeError> {
    let path = dir.join("lock");
    let system =
        |error: io::Error| LifeError::System { what: format!("cannot lock '{}'", path.display()), error };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(system)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => LifeError::Taken(dir.to_owned()),
        errno => system(errno.into()),
    })
}

/// A number that is greater than every one before it, durable before it is used. It is not less than the Unix time in
/// seconds either, so that it grows even when the folder was lost.
fn next_start(dir: &Path, unix: u64) -> Result<u32, LifeError> {
    let path = dir.join(START);
    let system = |error| LifeError::System { what: format!("cannot keep '{}'", path.display()), error };
    let mut folder = OsFolder::new(dir).map_err(system)?;
    let before = match folder.read(START, MAX_FILE).map_err(system)? {
        None => 0,
        Some(bytes) => core::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok())
            .filter(|before| *before < u32::MAX)
            .ok_or_else(|| LifeError::Damaged(path.clone()))?,
    };
    let start = (before + 1).max(u32::try_from(unix).unwrap_or(0));
    folder.replace(START, format!("{start}\n").as_bytes()).map_err(system)?;
    Ok(start)
}

/// The first 64 bits of an id in hexadecimal, with or without dashes.
fn number_of(id: &str) -> u64 {
    id.chars().filter_map(|c| c.to_digit(16)).take(16).fold(0, |number, digit| number << 4 | u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("roost-life-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a fresh folder");
        dir
    }

    #[test]
    fn start_numbers_only_grow() {
        let dir = folder("start");
        assert_eq!(next_start(&dir, 1000).expect("kept"), 1000);
        assert_eq!(next_start(&dir, 1000).expect("kept"), 1001);
        assert_eq!(next_start(&dir, 5).expect("the clock went back"), 1002);
        assert_eq!(next_start(&dir, 9000).expect("kept"), 9000);
        std::fs::write(dir.join(START), "garbage").expect("ours");
        assert!(next_start(&dir, 1).expect_err("damaged").to_string().contains("move it away"));
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn two_daemons_never_share_a_folder() {
        let dir = folder("lock");
        let mut first = Life::begin(&dir, &dir).expect("alone");
        assert!(Life::begin(&dir, &dir).expect_err("taken").to_string().contains("another roostd"));
        let until = Instant::from_nanos(77);
        first.keep_lease(Some(until));
        let incarnation = first.incarnation;
        drop(first);
        let next = Life::begin(&dir, &dir).expect("free again");
        assert!(next.incarnation.start > incarnation.start && next.incarnation.boot == incarnation.boot);
        assert_eq!(next.lease_before, Some(until));
        assert_eq!(lease_in("0000000000000001 0000000000000002\n", 3), None, "of another boot");
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
