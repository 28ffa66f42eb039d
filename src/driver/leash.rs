//! What a program that this one started is held by, so that another thread can end it: a hook that hangs when `roostd` ends, a
//! fence agent that is not wanted any more.

use core::time::Duration;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Holds one program at a time, with its process group.
#[derive(Debug, Default)]
pub struct Leash {
    held: Mutex<Held>,
    cut: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
enum Held {
    #[default]
    Nobody,
    /// The process group of this leader, which nobody has waited for yet: its number means no other.
    Group(Pid),
    /// Whoever runs is killed.
    Cut,
}

impl Leash {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no thread panics while it holds this")
    }

    /// Holds a process group whose leader has just been started.
    pub fn hold(&self, group: Pid) {
        let mut held = self.lock();
        match *held {
            Held::Cut => kill_group(group),
            Held::Nobody | Held::Group(_) => *held = Held::Group(group),
        }
    }

    /// Kills what is left of the group; its leader is about to be waited for.
    pub fn let_go(&self) {
        let mut held = self.lock();
        if let Held::Group(group) = *held {
            kill_group(group);
            *held = Held::Nobody;
        }
    }

    /// Kills what runs, and whatever else is run from now on.
    pub fn cut(&self) {
        let mut held = self.lock();
        if let Held::Group(group) = *held {
            kill_group(group);
        }
        *held = Held::Cut;
        self.cut.notify_all();
    }

    /// Waits for so long, or until it is cut.
    pub fn wait(&self, time: Duration) {
        let on = |held: &mut Held| !matches!(held, Held::Cut);
        let _ = self.cut.wait_timeout_while(self.lock(), time, on); // either is well
    }

    /// Whether it was cut.
    pub fn is_cut(&self) -> bool {
        matches!(*self.lock(), Held::Cut)
    }
}

fn kill_group(group: Pid) {
    let _ = killpg(group, Signal::SIGKILL); // there may be nobody left
}
