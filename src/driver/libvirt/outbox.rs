//! What waits for the reactor, and the descriptor that says so.
//!
//! The reactor may be slow, and domains change on. So a newer view of a domain takes the place of one that waits, and
//! what happened is kept beside it, up to a limit. When libvirt is lost, what waits about domains holds no more.

use crate::engine::keeper::vm::{Happened, LibvirtInput};
use crate::metrics::meter::Histogram;
use core::time::Duration;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

/// Inputs that wait about one domain, at most; what happened beyond them is told by the newest view alone.
const MAX_OF_DOMAIN: usize = 32;

/// A queue with a descriptor that is readable while something waits in it.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<VecDeque<LibvirtInput>>,
    ready: EventFd,
    answers: Mutex<Histogram>,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let ready = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { queue: Mutex::default(), ready, answers: Mutex::default() })
    }

    /// Readable while something waits.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Adds an input.
    pub fn push(&self, input: LibvirtInput) {
        let mut queue = self.queue.lock().expect("no thread panics while it holds this");
        let was_empty = queue.is_empty();
        add(&mut queue, input);
        if was_empty {
            // It can only fail when the counter is full, and then the descriptor is readable as it should be.
            let _ = self.ready.write(1);
        }
    }

    /// A question was answered, or failed, after so long.
    pub fn answered(&self, after: Duration) {
        self.answers.lock().expect("no thread panics while it holds this").count(after);
    }

    /// How long questions took.
    pub fn answers(&self) -> Histogram {
        self.answers.lock().expect("no thread panics while it holds this").clone()
    }

    /// Takes the oldest input.
    pub fn pop(&self) -> Option<LibvirtInput> {
        let mut queue = self.queue.lock().expect("no thread panics while it holds this");
        let input = queue.pop_front();
        if queue.is_empty() {
            let _ = self.ready.read(); // fails when it was read before, which is as good
        }
        input
    }
}

fn add(queue: &mut VecDeque<LibvirtInput>, input: LibvirtInput) {
    match &input {
        LibvirtInput::Domain { name, happened, .. } => {
            let name = name.clone();
            let waits =
                |other: &LibvirtInput| matches!(other, LibvirtInput::Domain { name: n, .. } if *n == name);
            let count = queue.iter().filter(|other| waits(other)).count();
            let full = count >= MAX_OF_DOMAIN;
            match queue.iter_mut().rev().find(|other| waits(other)) {
                Some(newest) if full || happened.is_none() || has_no_cause(newest) => renew(newest, input),
                _ => queue.push_back(input),
            }
        }
        LibvirtInput::Lost { .. } => {
            queue.retain(is_about_an_order);
            queue.push_back(input);
        }
        LibvirtInput::Room(_) => {
            queue.retain(|other| !matches!(other, LibvirtInput::Room(_)));
            queue.push_back(input);
        }
        LibvirtInput::Progress { ticket, .. } => {
            let ticket = *ticket;
            let older = |other: &LibvirtInput| matches!(other, LibvirtInput::Progress { ticket: its, .. } if *its == ticket);
            queue.retain(|other| !older(other));
            queue.push_back(input);
        }
        LibvirtInput::Connected
        | LibvirtInput::Done { .. }
        | LibvirtInput::Ended { .. }
        | LibvirtInput::Downtime { .. } => queue.push_back(input),
    }
}

const fn is_about_an_order(input: &LibvirtInput) -> bool {
    matches!(input, LibvirtInput::Done { .. } | LibvirtInput::Ended { .. } | LibvirtInput::Downtime { .. })
}

const fn has_no_cause(input: &LibvirtInput) -> bool {
    matches!(input, LibvirtInput::Domain { happened: None, .. })
}

/// Puts the newer view in the place of the older; a cause gives way to a newer one alone.
fn renew(older: &mut LibvirtInput, mut newer: LibvirtInput) {
    let kept: Option<Happened> = match older {
        LibvirtInput::Domain { happened, .. } => *happened,
        _ => None,
    };
    if let LibvirtInput::Domain { happened, .. } = &mut newer {
        *happened = happened.or(kept);
    }
    *older = newer;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::keeper::vm::{DomainView, Job, Off, Progress, Run, Ticket};
    use core::time::Duration;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn domain(name: &str, life: u32, happened: Option<Happened>) -> LibvirtInput {
        let view = DomainView {
            run: Run::Running,
            life: Some(life),
            autostart: false,
            progress: Progress::default(),
            job: Job::None,
            cid: None,
            need: None,
        };
        LibvirtInput::Domain { name: name.to_owned(), view, happened }
    }

    fn queued(inputs: &[LibvirtInput]) -> Vec<LibvirtInput> {
        let mut queue = VecDeque::new();
        inputs.iter().for_each(|input| add(&mut queue, input.clone()));
        queue.into()
    }

    fn lost() -> LibvirtInput {
        LibvirtInput::Lost { reason: String::new() }
    }

    #[test]
    fn a_newer_view_takes_the_place_of_an_older_and_keeps_its_cause() {
        let stopped = Some(Happened::Stopped(Off::Failed));
        let started = Some(Happened::Started);
        let queue = queued(&[
            domain("a", 1, None),
            domain("b", 9, None),
            domain("a", 1, stopped),
            domain("a", 2, None),
        ]);
        assert_eq!(queue, [domain("a", 2, stopped), domain("b", 9, None)]);
        let queue = queued(&[domain("a", 1, stopped), domain("a", 2, started), domain("a", 3, None)]);
        assert_eq!(queue, [domain("a", 1, stopped), domain("a", 3, started)]);
    }

    #[test]
    fn what_happened_is_kept_up_to_the_limit() {
        let inputs: Vec<_> = (0..100).map(|life| domain("a", life, Some(Happened::Rebooted))).collect();
        let queue = queued(&inputs);
        assert_eq!(queue.len(), MAX_OF_DOMAIN);
        assert_eq!(queue.last(), inputs.last());
    }

    #[test]
    fn a_lost_libvirt_voids_what_it_said_but_no_answer() {
        let done = LibvirtInput::Done { ticket: Ticket(1), result: Ok(()) };
        let queue = queued(&[lost(), LibvirtInput::Connected, domain("a", 1, None), done.clone(), lost()]);
        assert_eq!(queue, [done, lost()]);
    }

    #[test]
    fn how_far_a_migration_came_is_told_by_its_newest_word() {
        let progress = |ticket, percent| LibvirtInput::Progress { ticket: Ticket(ticket), percent };
        let downtime = LibvirtInput::Downtime { ticket: Ticket(1), time: Duration::from_millis(40) };
        let queue = queued(&[progress(1, 10), progress(2, 20), progress(1, 30), downtime.clone()]);
        assert_eq!(queue, [progress(2, 20), progress(1, 30), downtime.clone()]);
        assert_eq!(queued(&[progress(1, 10), downtime.clone(), lost()]), [downtime, lost()]);
    }

    #[test]
    fn the_descriptor_is_readable_while_something_waits() {
        let outbox = Outbox::new().expect("an eventfd");
        let readable = || {
            let mut fds = [PollFd::new(outbox.fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).expect("a poll") == 1
        };
        assert!(!readable());
        outbox.push(lost());
        outbox.push(LibvirtInput::Connected);
        assert!(readable());
        outbox.pop();
        assert!(readable());
        outbox.pop();
        assert!(!readable());
        assert_eq!(outbox.pop(), None);
    }
}
