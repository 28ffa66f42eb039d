//! libvirt: what it says about the VMs, and what is asked of it.
//!
//! Calls to libvirt can hang for as long as libvirtd, a QEMU or a disk does. None is made on the caller's thread: the
//! `manager` decides which are made, `shell` makes them on a bounded number of workers, and what comes of them waits
//! behind a descriptor. A libvirt that is absent, hangs or went away is told as [`LibvirtInput::Lost`], and nothing is
//! said of any VM until it answers again: it is not known, which is not dead.
//!
//! Events bring what happens within milliseconds; a poll behind them finds what they did not tell.

mod calls;
mod domain;
mod error;
mod gauge;
mod kill;
mod manager;
mod moves;
mod orders;
mod outbox;
mod shell;
mod view;
mod watch;
mod xml;

use crate::engine::keeper::vm::{LibvirtInput, Order};
use crate::metrics::meter::Histogram;
use core::time::Duration;
use manager::Fact;
use outbox::Outbox;
use shell::{Inbox, Message};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The domains of one libvirt.
pub struct Libvirt {
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
}

impl Libvirt {
    /// Starts to connect to `uri`, and goes on until it is dropped. Everything is asked for each `period`, besides when
    /// libvirt tells of it; a libvirt that hangs is told of within `period` + 3 s of its last answer. Signals that the
    /// caller has blocked are blocked in the driver's threads. Fails when no thread or descriptor is to be had.
    pub fn start(uri: &str, period: Duration) -> io::Result<Self> {
        let (inbox, outbox) = (Arc::new(Inbox::default()), Arc::new(Outbox::new()?));
        shell::start(uri, period, Arc::clone(&inbox), Arc::clone(&outbox))?;
        Ok(Self { inbox, outbox })
    }

    /// Readable while [`Libvirt::poll`] has something to give.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.outbox.fd()
    }

    /// What libvirt said, oldest first.
    pub fn poll(&mut self) -> Option<LibvirtInput> {
        self.outbox.pop()
    }

    /// How long libvirt took to answer questions since the start.
    pub fn answers(&self) -> Histogram {
        self.outbox.answers()
    }

    /// Watches these domains from now on, whether they exist or not, and no others.
    pub fn watch(&self, domains: impl IntoIterator<Item = String>) {
        self.inbox.push(Message::Fact(Fact::Watch(domains.into_iter().collect())));
    }

    /// Has an order carried out. It is answered once, by [`LibvirtInput::Done`], within its limit.
    pub fn order(&self, order: Order) {
        self.inbox.push(Message::Fact(Fact::Order(order)));
    }
}

impl Drop for Libvirt {
    /// The threads end by themselves; one that hangs in libvirt is not waited for.
    fn drop(&mut self) {
        self.inbox.end();
    }
}
