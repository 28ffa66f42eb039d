//! One domain: what was seen of it, put together from answers that come apart.

use super::view::Cue;
use crate::engine::vm::{DomainView, Happened, Job, LibvirtInput, Off, Progress, Run};
use std::collections::VecDeque;

/// Causes kept until the domain could be looked at; a guest that reboots in a loop leaves its newest.
const MAX_CAUSES: usize = 16;

/// Whether a domain's disks' counters are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// Yes: they were not read in this life, or its vCPUs stood still and the disks may tell more.
    Due,
    /// No: that its vCPUs moved says enough.
    Known,
}

/// What is known of any domain without looking closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basics {
    /// What it does.
    pub run: Run,
    /// Its life.
    pub life: Option<u32>,
    /// libvirt starts it by itself.
    pub autostart: bool,
}

/// A domain that libvirt does not know.
pub const UNDEFINED: Basics = Basics { run: Run::Undefined, life: None, autostart: false };

/// A closer look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it is.
    pub basics: Basics,
    /// The vCPUs' time, while it lives.
    pub cpu_ns: u64,
    /// The vsock CID, while it lives.
    pub cid: Option<u32>,
}

/// Who ended QEMU, as far as an event told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nobody, or it was not said.
    Unsaid,
    /// A signal from the host.
    FromHost,
}

/// One domain.
#[derive(Debug)]
pub struct Domain {
    seen: Option<Basics>,
    progress: Progress,
    disks: Disks,
    job: Job,
    cid: Option<u32>,
    causes: VecDeque<Happened>,
    end: End,
}

impl Default for Domain {
    /// One that was never seen.
    fn default() -> Self {
        Self {
            seen: None,
            progress: Progress::default(),
            disks: Disks::Due,
            job: Job::None,
            cid: None,
            causes: VecDeque::new(),
            end: End::Unsaid,
        }
    }
}

impl Domain {
    /// What it was when last seen.
    pub const fn seen(&self) -> Option<Basics> {
        self.seen
    }

    /// Whether its disks are to be asked about.
    pub const fn disks(&self) -> Disks {
        self.disks
    }

    /// Whether something happened to it that a closer look is to tell with.
    pub fn awaits_look(&self) -> bool {
        !self.causes.is_empty()
    }

    /// What was seen does not hold any more.
    pub const fn unsee(&mut self) {
        self.seen = None;
    }

    /// Takes in what an event told.
    pub fn take(&mut self, cue: Cue) {
        match cue {
            Cue::Changed => {}
            Cue::EndedFromHost => self.end = End::FromHost,
            Cue::Happened(happened) => {
                if self.causes.len() == MAX_CAUSES {
                    self.causes.pop_front();
                }
                self.causes.push_back(match happened {
                    Happened::Stopped(why) => Happened::Stopped(self.corrected(why)),
                    other => other,
                });
            }
        }
    }

    /// Takes in what it is.
    pub fn see(&mut self, basics: Basics) {
        if self.seen.is_none_or(|seen| seen.life != basics.life) {
            self.progress = Progress::default();
            self.disks = Disks::Due;
            self.job = Job::None;
            self.cid = None;
            if self.seen.is_some() && basics.life.is_some() {
                self.end = End::Unsaid;
            }
        }
        self.seen = Some(basics);
    }

    /// Takes in a closer look.
    pub fn look(&mut self, look: &Look) {
        self.see(look.basics);
        self.progress.cpu_ns = look.cpu_ns;
        self.cid = look.cid;
    }

    /// Takes in its vCPUs' time.
    pub fn count(&mut self, cpu_ns: u64) {
        if self.progress.cpu_ns == cpu_ns {
            self.disks = Disks::Due;
        }
        self.progress.cpu_ns = cpu_ns;
    }

    /// Takes in its job and, if libvirt told, its disks' requests. They belong to `life`; whether that made a difference.
    pub fn probe(&mut self, life: Option<u32>, job: Job, requests: Option<u64>) -> bool {
        if self.seen.is_none_or(|seen| seen.life != life) {
            return false;
        }
        let before = (self.job, self.progress.disk_requests);
        self.job = job;
        if let Some(requests) = requests {
            self.progress.disk_requests = requests;
            self.disks = Disks::Known;
        }
        before != (self.job, self.progress.disk_requests)
    }

    /// What libvirt calls the guest's shutdown, when it was a signal that ended QEMU.
    fn corrected(&self, why: Off) -> Off {
        if why == Off::Shutdown && self.end == End::FromHost { Off::Destroyed } else { why }
    }

    fn view(&self, basics: Basics) -> DomainView {
        let run = match basics.run {
            Run::Off(why) => Run::Off(self.corrected(why)),
            run => run,
        };
        let Basics { life, autostart, .. } = basics;
        DomainView { run, life, autostart, progress: self.progress, job: self.job, cid: self.cid }
    }

    /// What is known of it, once for each thing that happened to it, and at least once if it was seen.
    pub fn tell(&mut self, name: &str) -> Vec<LibvirtInput> {
        let Some(basics) = self.seen else { return Vec::new() };
        let view = self.view(basics);
        let happened =
            if self.causes.is_empty() { vec![None] } else { self.causes.drain(..).map(Some).collect() };
        let input = |happened| LibvirtInput::Domain { name: name.to_owned(), view: view.clone(), happened };
        happened.into_iter().map(input).collect()
    }
}
