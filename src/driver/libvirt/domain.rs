//! One domain: what was seen of it, put together from answers that come apart.

use super::view::Cue;
use crate::engine::keeper::vm::{DomainView, Happened, Job, LibvirtInput, Off, Paused, Progress, Run};
use roost_proto::cluster::Need;
use std::collections::VecDeque;

/// Causes kept until the domain could be looked at; a guest that reboots in a loop leaves its newest.
const MAX_CAUSES: usize = 16;

/// Polls between two questions about a domain's job, unless something asks for one at once. That it is busy with a job is
/// an excuse for a guest that is silent, and silence lasts for longer than these before it counts; each question costs
/// as much as all else that a poll asks about a domain.
const POLLS_PER_PROBE: u32 = 3;

/// Polls in a row for which a domain's vCPUs stand still before its disks are asked about as well: an idle guest can be
/// still for one. The engine calls a VM stuck after three.
const STILL_POLLS: u32 = 2;

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
    /// What it needs of its host.
    pub need: Option<Need>,
}

/// libvirt starts a guest's vCPUs as its last step, and calls that a resumption.
const fn is_starting(run: Run) -> bool {
    matches!(run, Run::Off(_) | Run::Undefined | Run::Paused(Paused::Starting))
}

/// How QEMU ended, as far as events told; they know more than the state that libvirt keeps, by which a QEMU that was
/// killed is a guest that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It did not, or it was not said.
    Unsaid,
    /// It is about to, told so by a signal from the host.
    FromHost,
    /// So.
    Told(Off),
}

/// One domain.
#[derive(Debug)]
pub struct Domain {
    seen: Option<Basics>,
    progress: Progress,
    disks: Disks,
    job: Job,
    cid: Option<u32>,
    need: Option<Need>,
    /// What happened and was not told, oldest first.
    causes: VecDeque<Happened>,
    /// How many of them had happened when the look that is under way began; it shows nothing of later ones.
    covered: usize,
    /// Polls since it was last probed.
    unprobed: u32,
    /// Polls in a row for which its vCPUs stood still.
    still: u32,
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
            need: None,
            causes: VecDeque::new(),
            covered: 0,
            unprobed: 0,
            still: 0,
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

    /// A closer look begins.
    pub fn begin_look(&mut self) {
        self.covered = self.causes.len();
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
            Cue::Happened(Happened::Resumed) if self.seen.is_some_and(|seen| is_starting(seen.run)) => {}
            Cue::Happened(happened) => {
                if self.causes.len() == MAX_CAUSES {
                    self.causes.pop_front();
                    self.covered = self.covered.saturating_sub(1);
                }
                let mut happened = happened;
                if let Happened::Stopped(why) = &mut happened {
                    *why = self.corrected(*why);
                    self.end = End::Told(*why);
                }
                self.causes.push_back(happened);
            }
        }
    }

    /// Takes in what it is.
    pub fn see(&mut self, basics: Basics) {
        if self.seen.is_none_or(|seen| seen.life != basics.life) {
            self.progress = Progress::default();
            self.disks = Disks::Due;
            self.still = 0;
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
        self.need = look.need.or(self.need);
    }

    /// Takes in its vCPUs' time; whether it is to be probed next.
    pub fn count(&mut self, cpu_ns: u64) -> bool {
        self.still = if self.progress.cpu_ns == cpu_ns { self.still + 1 } else { 0 };
        if self.still >= STILL_POLLS {
            self.disks = Disks::Due;
        }
        self.progress.cpu_ns = cpu_ns;
        self.unprobed += 1;
        self.disks == Disks::Due || self.job != Job::None || self.unprobed >= POLLS_PER_PROBE
    }

    /// Takes in its job and, if libvirt told, its disks' requests. They belong to `life`; whether that made a difference.
    pub fn probe(&mut self, life: Option<u32>, job: Job, requests: Option<u64>) -> bool {
        if self.seen.is_none_or(|seen| seen.life != life) {
            return false;
        }
        self.unprobed = 0;
        let before = (self.job, self.progress.disk_requests);
        self.job = job;
        self.disks = Disks::Known; // libvirt tells nothing while another call holds the domain; there is a next time
        self.progress.disk_requests = requests.unwrap_or(self.progress.disk_requests);
        before != (self.job, self.progress.disk_requests)
    }

    /// What libvirt calls the guest's shutdown, when it was a signal that ended QEMU.
    fn corrected(&self, why: Off) -> Off {
        if why == Off::Shutdown && self.end == End::FromHost { Off::Destroyed } else { why }
    }

    fn view(&self, basics: Basics) -> DomainView {
        let run = match basics.run {
            Run::Off(why) => {
                Run::Off(if let End::Told(told) = self.end { told } else { self.corrected(why) })
            }
            run => run,
        };
        let Basics { life, autostart, .. } = basics;
        let (progress, job, cid, need) = (self.progress, self.job, self.cid, self.need);
        DomainView { run, life, autostart, progress, job, cid, need }
    }

    /// What is known of it, if it was seen.
    pub fn tell(&self, name: &str) -> Option<LibvirtInput> {
        let view = self.view(self.seen?);
        Some(LibvirtInput::Domain { name: name.to_owned(), view, happened: None })
    }

    /// What a closer look showed, once for each thing that had happened when it began, and at least once.
    pub fn tell_look(&mut self, name: &str) -> Vec<LibvirtInput> {
        let Some(basics) = self.seen else { return Vec::new() };
        let view = self.view(basics);
        let covered = self.covered.min(self.causes.len());
        self.covered = 0;
        let happened: Vec<_> =
            if covered == 0 { vec![None] } else { self.causes.drain(..covered).map(Some).collect() };
        let input = |happened| LibvirtInput::Domain { name: name.to_owned(), view: view.clone(), happened };
        happened.into_iter().map(input).collect()
    }
}
