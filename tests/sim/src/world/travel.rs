//! Memory on its way: migrations and savings take time, come half as far as they should, end unheard, and leave copies and files.

use super::World;
use super::event::Event;
use super::host::{Domain, Guest};
use core::time::Duration;
use roost::engine::Input;
use roost::engine::keeper::vm::{ActionError, Happened, LibvirtInput, Off, Order, Paused, Run, Ticket};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How long memory takes.
const TAKES: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(20));
/// How long libvirt waits for another that does not answer.
const KEEPALIVE: Duration = Duration::from_secs(27);
/// Between two looks of libvirt at a job.
const TICK: Duration = Duration::from_millis(500);

/// Memory that is going to another host, or to a file.
#[derive(Clone, Debug)]
pub struct Job {
    vm: String,
    from: usize,
    /// The boot of the host that it comes from, and of the one that it goes to.
    boots: (u64, u64),
    to: Target,
    ticket: Ticket,
    /// The life of the daemon that ordered it.
    life: u64,
    began: u64,
    takes: Duration,
    aborted: bool,
    /// Since when it gets no answer from the other host.
    hangs: Option<u64>,
}

#[derive(Clone, Debug)]
enum Target {
    Host(usize),
    File(PathBuf),
}

/// Saved memory, on storage that all hosts see.
#[derive(Clone, Debug)]
pub struct Saved {
    number: u64,
    /// How old the memory is, and what its guest did; nothing if it was not written to its end.
    memory: Option<(u64, Guest, u64)>,
}

/// Everything that is on its way, and what is on the shared storage.
#[derive(Debug, Default)]
pub struct Travels {
    jobs: BTreeMap<u64, Job>,
    files: BTreeMap<PathBuf, Saved>,
    next: u64,
    /// The next migration or saving of a VM ends so.
    pub fails: BTreeMap<String, End>,
    /// Each migration or saving of a VM takes so long.
    pub takes: BTreeMap<String, Duration>,
    /// Nothing can be removed from the storage that all hosts see.
    pub keeps: bool,
}

/// How memory that goes somewhere ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is there.
    Well,
    /// In the middle: it runs on where it was.
    Fails,
    /// It is there, and the source does not know: it runs on there.
    Unheard,
    /// The same, and it stands still where it was.
    Still,
    /// It is there, and is off where it was; but what is told is an error.
    WellButError,
}

impl World {
    /// libvirt is to move a running VM to another libvirt.
    pub(super) fn migrate(&mut self, host: usize, life: u64, order: &Order, to: &str) -> Option<ActionError> {
        let refused = |text: String| Some(ActionError::Failed(text));
        let vm = &order.domain;
        let target = self.hosts.iter().position(|it| to.contains(&format!("//{}/", it.name)));
        let Some(target) = target else { return refused(format!("no host is behind '{to}'")) };
        let domain = &self.hosts[host].domains[vm];
        if domain.nature.unmovable {
            return refused("a device of the VM cannot be migrated".to_owned());
        }
        if domain.job.is_some() {
            return refused("another job is under way".to_owned());
        }
        if !self.reaches(host, target) {
            return refused(format!("unable to connect to server at '{to}'"));
        }
        let boots = (self.hosts[host].boot, self.hosts[target].boot);
        let from = self.hosts[host].domains[vm].clone();
        let Some(copy) = self.hosts[target].domains.get_mut(vm) else {
            return refused("the target knows no such network".to_owned());
        };
        if !matches!(copy.run, Run::Off(_) | Run::Undefined) {
            return refused("the domain is already active there".to_owned());
        }
        let id = self.travels.next;
        self.travels.next += 1;
        copy.life += 1;
        copy.boot += 1;
        copy.by_hand = false;
        copy.guest = from.guest;
        copy.kernel = from.kernel;
        copy.age = from.age;
        copy.file = None;
        copy.link = None;
        copy.job = Some(id);
        if let Some(domain) = self.hosts[host].domains.get_mut(vm) {
            domain.job = Some(id);
        }
        self.set_run(target, vm, Run::Paused(Paused::Busy), Some(Happened::Started));
        self.begin_job(id, vm, host, boots, Target::Host(target), (order.ticket, life));
        None
    }

    /// libvirt is to write a VM's memory to a file, and to stop it.
    pub(super) fn save(&mut self, host: usize, life: u64, order: &Order, file: &Path) -> Option<ActionError> {
        let vm = &order.domain;
        let boot = self.hosts[host].boot;
        let domain = self.hosts[host].domains.get_mut(vm)?;
        if domain.nature.unmovable {
            return Some(ActionError::Failed("a device of the VM cannot be saved".to_owned()));
        }
        if domain.job.is_some() {
            return Some(ActionError::Failed("another job is under way".to_owned()));
        }
        let id = self.travels.next;
        self.travels.next += 1;
        domain.job = Some(id);
        self.set_run(host, vm, Run::Paused(Paused::Busy), Some(Happened::Paused(Paused::Busy)));
        self.travels.files.insert(file.to_owned(), Saved { number: id, memory: None });
        let target = Target::File(file.to_owned());
        self.begin_job(id, vm, host, (boot, 0), target, (order.ticket, life));
        None
    }

    fn begin_job(
        &mut self,
        id: u64,
        vm: &str,
        from: usize,
        boots: (u64, u64),
        to: Target,
        (ticket, life): (Ticket, u64),
    ) {
        let most = if self.random.once_in(3) { TAKES.1 } else { Duration::from_secs(3) };
        let takes = self.random.time(TAKES.0, most);
        let takes = self.travels.takes.get(vm).copied().unwrap_or(takes);
        let (vm, began) = (vm.to_owned(), self.now.0);
        let job = Job { vm, from, boots, to, ticket, life, began, takes, aborted: false, hangs: None };
        self.travels.jobs.insert(id, job);
        self.push(takes.min(TICK), Event::Job { id });
    }

    /// Whether one host's libvirt gets through to another's.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let it = &self.hosts[to];
        let up = it.is_awake() && it.libvirt == super::host::Libvirt::Up;
        up && self.net.is_open(from, to) && self.net.is_open(to, from)
    }

    /// The job of a VM is to end.
    pub(super) fn abort(&mut self, host: usize, vm: &str) -> Result<(), ActionError> {
        let id = self.hosts[host].domains.get(vm).and_then(|domain| domain.job);
        let Some(job) = id.and_then(|id| self.travels.jobs.get_mut(&id)).filter(|job| job.from == host)
        else {
            return Err(ActionError::Failed("no job is active on the domain".to_owned()));
        };
        job.aborted = true;
        Ok(())
    }

    /// A job goes on, or ends.
    pub(super) fn job(&mut self, id: u64) {
        let Some(job) = self.travels.jobs.get(&id).cloned() else { return };
        let source = &self.hosts[job.from];
        let there = source.powered
            && source.boot == job.boots.0
            && source.domains.get(&job.vm).is_some_and(|domain| domain.job == Some(id));
        if !there {
            let ended = source.powered && source.boot == job.boots.0;
            self.travels.jobs.remove(&id);
            self.drop_copy(id, &job);
            if ended {
                let gone = ActionError::Failed("operation failed: the domain is gone".to_owned());
                self.end_order(&job, Err(gone));
            }
            return;
        }
        if source.frozen || source.libvirt == super::host::Libvirt::Hung {
            self.push(TICK, Event::Job { id });
            return;
        }
        let down = source.libvirt == super::host::Libvirt::Down;
        let reached = match &job.to {
            Target::File(_) => true,
            Target::Host(to) => {
                let it = &self.hosts[*to];
                let silent = !down && (!it.powered || !self.net.is_open(job.from, *to));
                let since = if silent { job.hangs.or(Some(self.now.0)) } else { None };
                if let Some(job) = self.travels.jobs.get_mut(&id) {
                    job.hangs = since;
                }
                if since.is_some_and(|since| self.now.0 - since < KEEPALIVE.as_nanos() as u64) {
                    self.push(TICK, Event::Job { id });
                    return;
                }
                let here = it.powered
                    && it.boot == job.boots.1
                    && it.domains.get(&job.vm).is_some_and(|domain| domain.job == Some(id));
                if here && it.frozen {
                    self.push(TICK, Event::Job { id });
                    return;
                }
                here && !silent
            }
        };
        let reached = reached && !down; // it is cancelled when libvirt comes back
        let went = Duration::from_nanos(self.now.0 - job.began);
        if reached && !job.aborted && went < job.takes {
            let percent = u8::try_from(went.as_millis() * 100 / job.takes.as_millis().max(1)).unwrap_or(99);
            let input = LibvirtInput::Progress { ticket: job.ticket, percent };
            self.tell_job(&job, input);
            self.push(TICK.min(job.takes.saturating_sub(went)), Event::Job { id });
            return;
        }
        self.travels.jobs.remove(&id);
        let end = self.end_of(&job, reached);
        self.end_job(id, &job, end);
    }

    fn end_of(&mut self, job: &Job, reached: bool) -> End {
        if !reached || job.aborted {
            return End::Fails;
        }
        if let Some(end) = self.travels.fails.remove(&job.vm) {
            return end;
        }
        match self.random.below(30) {
            0 | 1 => End::Fails,
            2 => End::Unheard,
            3 => End::Still,
            4 => End::WellButError,
            _ => End::Well,
        }
    }

    fn end_job(&mut self, id: u64, job: &Job, end: End) {
        let (from, vm) = (job.from, job.vm.as_str());
        let Some(domain) = self.hosts[from].domains.get_mut(vm) else { return };
        domain.job = None;
        let (age, guest, kernel) = (domain.age, domain.guest, domain.kernel);
        let arrives = end != End::Fails;
        let failed = || Err(ActionError::Failed("operation failed: it was not moved".to_owned()));
        match &job.to {
            Target::Host(to) if arrives => {
                if let Some(copy) = self.hosts[*to].domains.get_mut(vm) {
                    (copy.age, copy.guest, copy.kernel, copy.job) = (age, guest, kernel, None);
                }
                self.set_run(*to, vm, Run::Paused(Paused::User), Some(Happened::Paused(Paused::User)));
            }
            Target::Host(_) => self.drop_copy(id, job),
            Target::File(file) if arrives => {
                let saved = Saved { number: id, memory: Some((age, guest, kernel)) };
                self.travels.files.insert(file.clone(), saved);
            }
            Target::File(_) => {}
        }
        let (off, live) = match job.to {
            Target::Host(_) => (Off::Migrated, true),
            Target::File(_) => (Off::Saved, false),
        };
        let result = match end {
            End::Well | End::WellButError => {
                if live {
                    let time = self.random.time(Duration::from_millis(20), Duration::from_millis(400));
                    self.tell_job(job, LibvirtInput::Downtime { ticket: job.ticket, time });
                }
                self.stops(from, vm, off);
                if end == End::Well { Ok(()) } else { failed() }
            }
            End::Still => {
                // As what it was stopped for before libvirt 9.2, and for an error since; or as libvirtd has it when it was restarted.
                let why = *self.random.pick(&[Paused::Busy, Paused::Unknown, Paused::User]);
                self.set_run(from, vm, Run::Paused(why), Some(Happened::Paused(why)));
                failed()
            }
            End::Fails | End::Unheard => {
                // It runs on, newer than what has arrived. libvirt sees to that even if somebody stopped its vCPUs meanwhile.
                let age = self.check.runs_on(vm);
                if let Some(domain) = self.hosts[from].domains.get_mut(vm) {
                    domain.age = age;
                }
                self.set_run(from, vm, Run::Running, Some(Happened::Resumed));
                failed()
            }
        };
        self.end_order(job, result);
    }

    fn end_order(&mut self, job: &Job, result: Result<(), ActionError>) {
        let after = self.random.time(Duration::ZERO, Duration::from_millis(20));
        self.done(job.from, job.life, job.ticket, result, after); // if it was not answered yet
        let input = LibvirtInput::Ended { ticket: job.ticket };
        let (host, life, input) = (job.from, job.life, Box::new(Input::Libvirt(input)));
        self.push(after + Duration::from_millis(1), Event::Tell { host, life, input });
    }

    /// Whether an order is one that is under way.
    pub(super) fn is_under_way(&self, host: usize, ticket: Ticket) -> bool {
        self.travels.jobs.values().any(|job| job.from == host && job.ticket == ticket)
    }

    /// From where a VM's memory is on its way, though its vCPUs may stand still there.
    pub fn sends(&self, vm: &str) -> Option<usize> {
        let job = self.travels.jobs.values().find(|job| job.vm == vm)?;
        self.hosts[job.from].is_awake().then_some(job.from)
    }

    /// What had come to the other host ends there with what sent it.
    fn drop_copy(&mut self, id: u64, job: &Job) {
        let Target::Host(to) = job.to else { return };
        if self.hosts[to].powered
            && self.hosts[to].domains.get(&job.vm).is_some_and(|copy| copy.job == Some(id))
        {
            self.stops(to, &job.vm, Off::Failed);
        }
    }

    fn tell_job(&mut self, job: &Job, input: LibvirtInput) {
        let input = Box::new(Input::Libvirt(input));
        self.push(Duration::ZERO, Event::Tell { host: job.from, life: job.life, input });
    }

    /// A VM's memory comes from a file; it is left paused.
    pub(super) fn restore(&mut self, host: usize, vm: &str, file: &Path) -> Result<(), ActionError> {
        let Some(saved) = self.travels.files.get(file) else {
            return Err(ActionError::Failed("cannot open its file: No such file or directory".to_owned()));
        };
        let (number, Some((age, guest, kernel))) = (saved.number, saved.memory) else {
            return Err(ActionError::Failed("its file is incomplete".to_owned()));
        };
        let Some(domain) = self.hosts[host].domains.get_mut(vm) else { return Err(ActionError::NoDomain) };
        *domain = Domain {
            life: domain.life + 1,
            boot: domain.boot + 1,
            guest,
            kernel,
            age,
            file: Some((number, file.to_owned())),
            by_hand: false,
            link: None,
            job: None,
            ..domain.clone()
        };
        self.set_run(host, vm, Run::Paused(Paused::Busy), Some(Happened::Started)); // as libvirt shows it until it runs
        Ok(())
    }

    /// A file of memory is taken away.
    pub(super) fn forget(&mut self, file: &Path) -> Result<(), ActionError> {
        if self.travels.keeps {
            return Err(ActionError::Failed("it cannot be removed: Read-only file system".to_owned()));
        }
        self.travels.files.remove(file).map(|_| ()).ok_or(ActionError::AlreadySo)
    }

    /// Whether a file of memory is there.
    pub(super) fn is_kept(&self, file: &Path) -> bool {
        self.travels.files.contains_key(file)
    }
}
