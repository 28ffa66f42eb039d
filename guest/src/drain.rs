//! Reading, and forgetting, what applications write while no controller runs: a program that writes into a full pipe stands still.
//!
//! The next controller ends it; without one it ends with the last application.

use crate::procfs;
use crate::sys;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::read;
use roost_proto::exit::Exit;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Reads all captured outputs of `run_dir` until the processes that were started from there have ended.
pub fn drain(run_dir: &Path) -> Exit {
    let paths: Vec<_> =
        fs::read_dir(run_dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let with = |suffix: &str| {
        let suffix = suffix.to_owned();
        paths.iter().filter(move |path| path.extension().is_some_and(|end| end == suffix.as_str()))
    };
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let pipes: Vec<OwnedFd> = with("out").filter_map(|path| open(path, flags, Mode::empty()).ok()).collect();
    let boot_id = procfs::boot_id();
    let notes = with("pid").filter_map(|path| crate::spawn::read_note(path, boot_id));
    let mut lives: Vec<OwnedFd> = notes.filter_map(|process| sys::pidfd_open(process.pid).ok()).collect();
    let mut piece = [0; 4096];
    while !lives.is_empty() {
        let mut fds: Vec<PollFd<'_>> =
            pipes.iter().chain(&lives).map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        if !matches!(poll(&mut fds, PollTimeout::NONE), Ok(_) | Err(nix::errno::Errno::EINTR)) {
            return Exit::System;
        }
        let ended: Vec<bool> = fds[pipes.len()..].iter().map(|fd| fd.any() == Some(true)).collect();
        for pipe in &pipes {
            let _ = read(pipe, &mut piece); // nothing to read is no trouble
        }
        let mut ended = ended.into_iter();
        lives.retain(|_| ended.next() != Some(true));
    }
    Exit::Ok
}
