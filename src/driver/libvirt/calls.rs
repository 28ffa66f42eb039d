//! The blocking calls to libvirt. Each runs on a worker, which it may hold up for as long as libvirt pleases.
//!
//! Every worker has a connection of its own. libvirt allows threads to share one, but its client library before 10.4
//! crashes when they do (CVE-2024-4418: the thread that waits on the socket for all of them leaves a pointer into its
//! stack behind when another one wakes it). libvirt's own keepalive wakes it just so, and is not used: whether libvirt
//! answers is found out by asking it.

use super::domain::{Basics, Disks, Look};
use super::error::CallError;
use super::gauge;
use super::moves;
use super::view;
use super::watch::{Answer, Ask};
use super::xml;
use crate::driver::clock;
use crate::engine::keeper::vm::{Order, Run, VmAction};
use crate::sys::libvirt::{
    Numbers, Sink, Subscription, Which, abort, all_stats, domain_stats, job, vcpu_time,
};
use core::time::Duration;
use roost_proto::cluster::{Need, Room};
use roost_proto::text::clip;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::stream::Stream;
use virt_sys as ffi;

/// The largest definition file, in bytes; a domain with hundreds of devices takes a tenth of it.
const MAX_DEFINITION: u64 = 1024 * 1024;
/// The largest screenshot, in bytes: a 4K screen, uncompressed as QEMU gives it, is 25 MB.
const MAX_SCREENSHOT: usize = 32 * 1024 * 1024;
/// What is read of a screenshot at once, in bytes.
const SCREENSHOT_PIECE: usize = 64 * 1024;

/// What brings libvirt's events, and tells when libvirt goes away. To drop it talks to libvirt.
pub struct Link {
    connect: Connect,
    kind: Kind,
    _subscription: Subscription,
}

/// Where libvirt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In a daemon.
    Remote,
    /// In this process (`test:`, `qemu:///embed`), where threads may share a connection, and have to: another one
    /// could have domains of its own.
    Embedded,
}

impl Link {
    /// Connects. `sink` is told of every domain's events, and of the connection's end.
    pub fn open(uri: &str, sink: &Sink) -> Result<Self, CallError> {
        let refused = |error: Error| CallError::from_open(&error);
        let connect = Connect::open(Some(uri)).map_err(refused)?;
        // To turn the keepalive off is something that only a remote libvirt understands.
        let kind = if connect.set_keep_alive(0, 0).is_ok() { Kind::Remote } else { Kind::Embedded };
        let subscription = Subscription::new(&connect, sink).map_err(refused)?;
        Ok(Self { connect, kind, _subscription: subscription })
    }
}

/// A worker's own connection, and the domains that it knows there.
pub struct Line {
    connect: Connect,
    domains: BTreeMap<String, Domain>,
}

impl Line {
    /// Connects to where `link` leads.
    pub fn open(uri: &str, link: &Link) -> Result<Self, CallError> {
        let connect = match link.kind {
            Kind::Remote => Connect::open(Some(uri)).map_err(|error| CallError::from_open(&error))?,
            Kind::Embedded => link.connect.clone(),
        };
        Ok(Self { connect, domains: BTreeMap::new() })
    }

    /// What an error of a call on this connection means.
    pub fn failed(&self, error: &Error) -> CallError {
        CallError::from_libvirt(error, self.connect.is_alive().unwrap_or(false))
    }

    /// Answers a question.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, CallError> {
        let answer = match ask {
            Ask::All(names) => self.all(names).map(Answer::All),
            Ask::One(name) => self.one(name).map(Answer::One),
            Ask::Count(names) => return self.count(names),
            Ask::Ping => self.connect.lib_version().map(|_| Answer::Ping),
            Ask::Probe(name, _, disks) => {
                let answer = self.known(name).and_then(|domain| probe(&domain, *disks));
                self.forget_if_failed(name, answer)
            }
        };
        answer.map_err(|error| self.failed(&error))
    }

    /// The UUIDs of the domains that it knows.
    pub fn uuids(&self) -> impl Iterator<Item = (String, String)> {
        let uuid = |domain: &Domain| domain.uuid_string().ok(); // known since it was looked up: libvirt is not asked
        self.domains.iter().filter_map(move |(name, domain)| Some((name.clone(), uuid(domain)?)))
    }

    fn all(&mut self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Basics>, Error> {
        let mut all = BTreeMap::new();
        self.domains.clear();
        all_stats(&self.connect, ffi::VIR_DOMAIN_STATS_STATE, 0, |domain, numbers| {
            if let Some(name) = domain.name().ok().filter(|name| names.contains(name)) {
                all.insert(name.clone(), basics(domain.id(), numbers));
                self.domains.insert(name, domain);
            }
        })?;
        for domain in self.connect.list_all_domains(ffi::VIR_CONNECT_LIST_DOMAINS_AUTOSTART)? {
            if let Some(basics) = domain.name().ok().and_then(|name| all.get_mut(&name)) {
                basics.autostart = true;
            }
        }
        Ok(all)
    }

    fn one(&mut self, name: &str) -> Result<Option<Look>, Error> {
        let domain = match self.connect.lookup_domain_by_name(name) {
            Ok(domain) => domain,
            Err(error) if CallError::from_libvirt(&error, true) == CallError::NoDomain => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut seen = None;
        domain_stats(&domain, ffi::VIR_DOMAIN_STATS_STATE, 0, |now, numbers| {
            seen = Some(basics(now.id(), numbers));
        })?;
        let Some(mut basics) = seen else { return Ok(None) };
        basics.autostart = domain.autostart()?;
        let need = domain.info().ok().map(|info| need(&info));
        let mut look = Look { basics, cpu_ns: 0, cid: None, need };
        if basics.life.is_some() {
            // It may stop at any moment; then it has neither, and another event tells.
            look.cpu_ns = vcpu_time(&domain).unwrap_or_default();
            look.cid = domain.xml_desc(0).ok().and_then(|xml| xml::vsock_cid(&xml));
        }
        self.domains.insert(name.to_owned(), domain);
        Ok(Some(look))
    }

    fn count(&mut self, names: &[String]) -> Result<Answer, CallError> {
        let mut times = Vec::new();
        for name in names {
            let time = self.known(name).and_then(|domain| vcpu_time(&domain));
            match self.forget_if_failed(name, time) {
                Ok(time) => times.push((name.clone(), time)),
                // It may have stopped; only a connection that is gone fails them all.
                Err(error) => {
                    if let CallError::Gone(words) = self.failed(&error) {
                        return Err(CallError::Gone(words));
                    }
                }
            }
        }
        Ok(Answer::Count(times))
    }

    /// A domain that a call failed for may have been defined anew, with another UUID.
    fn forget_if_failed<T>(&mut self, name: &str, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.domains.remove(name);
        }
        result
    }

    /// A domain as this connection last saw it; calls about it go by its UUID.
    fn known(&mut self, name: &str) -> Result<Domain, Error> {
        if let Some(domain) = self.domains.get(name) {
            return Ok(domain.clone());
        }
        let domain = self.connect.lookup_domain_by_name(name)?;
        self.domains.insert(name.to_owned(), domain.clone());
        Ok(domain)
    }

    /// Carries an order out, unless its time is over before libvirt has begun to: then somebody has decided anew. A call
    /// of libvirt's itself knows no end. How long a migration kept the domain from running is left in `stood_still`.
    pub fn act(
        &self,
        order: &Order,
        deadline: Instant,
        stood_still: &mut Option<Duration>,
    ) -> Result<(), CallError> {
        if let VmAction::Define { xml } = &order.action {
            return self.define(&order.domain, xml);
        }
        let domain =
            self.connect.lookup_domain_by_name(&order.domain).map_err(|error| self.failed(&error))?;
        if clock::now() >= deadline {
            return Err(CallError::Failed("libvirt answered too late; nothing was done".to_owned()));
        }
        let is_on = || domain.is_active() == Ok(true);
        let is_off = || domain.is_active() == Ok(false);
        let runs = || self.run(&domain).is_ok_and(|run| run == Run::Running);
        let (done, so): (_, Option<&dyn Fn() -> bool>) = match &order.action {
            VmAction::Start => (domain.create(), Some(&is_on)),
            VmAction::Reboot => (domain.reboot(ffi::VIR_DOMAIN_REBOOT_DEFAULT), None),
            VmAction::Reset => (domain.reset(), None),
            VmAction::Shutdown => (domain.shutdown(), Some(&is_off)),
            VmAction::Destroy => (domain.destroy(), Some(&is_off)),
            VmAction::Suspend => (domain.suspend(), None),
            // At the end of a migration libvirt resumes it itself.
            VmAction::Resume => (domain.resume(), Some(&runs)),
            VmAction::Abort => (abort(&domain), None),
            VmAction::Migrate { to } => return moves::migrate(self, &domain, to, stood_still),
            VmAction::Save { file } => return moves::save(self, &domain, file),
            VmAction::Restore { file } => return moves::restore(self, &domain, file),
            VmAction::Define { .. } => unreachable!("it was done above"),
            VmAction::Kill | VmAction::Forget { .. } => unreachable!("these need no libvirt: see `shell`"),
            VmAction::Screenshot { file } => return self.screenshot(&domain, file, deadline),
        };
        let Err(error) = done else { return Ok(()) };
        match self.failed(&error) {
            CallError::State(_) | CallError::Failed(_) if so.is_some_and(|so| so()) => {
                Err(CallError::AlreadySo)
            }
            other => Err(other),
        }
    }

    /// How far the domain's migration or saving came, in per cent.
    pub fn gauge(&mut self, name: &str) -> Result<Option<u8>, CallError> {
        let stats = self.known(name).and_then(|domain| job(&domain, Which::UnderWay));
        let stats = self.forget_if_failed(name, stats).map_err(|error| self.failed(&error))?;
        Ok(stats.and_then(|stats| gauge::percent(stats.total, stats.remaining)))
    }

    /// What a domain does.
    pub fn run(&self, domain: &Domain) -> Result<Run, CallError> {
        let mut run = Run::Undefined;
        domain_stats(domain, ffi::VIR_DOMAIN_STATS_STATE, 0, |now, numbers| {
            run = basics(now.id(), numbers).run;
        })
        .map_err(|error| self.failed(&error))?;
        Ok(run)
    }

    /// The connection.
    pub const fn connect(&self) -> &Connect {
        &self.connect
    }

    /// What the host has room for.
    pub fn room(&self) -> Option<Room> {
        let node = self.connect.node_info().ok()?;
        // In bytes; not every driver tells. What groups were promised is counted in any case.
        let free = self.connect.free_memory().map_or(node.memory, |bytes| bytes / 1024);
        Some(Room {
            memory_mib: mib(free),
            memory_total_mib: mib(node.memory),
            cpus: u16::try_from(node.cpus).unwrap_or(u16::MAX),
        })
    }

    fn define(&self, name: &str, file: &Path) -> Result<(), CallError> {
        if self.connect.lookup_domain_by_name(name).is_ok() {
            return Err(CallError::AlreadySo);
        }
        let xml = read_definition(name, file)?;
        self.connect.define_domain_xml(&xml).map(drop).map_err(|error| match self.failed(&error) {
            CallError::Failed(words) => CallError::Failed(format!("'{}': {words}", file.display())),
            other => other,
        })
    }

    fn screenshot(&self, domain: &Domain, file: &Path, deadline: Instant) -> Result<(), CallError> {
        let stream = Stream::new(&self.connect, 0).map_err(|error| self.failed(&error))?;
        domain.screenshot(&stream, 0, 0).map_err(|error| self.failed(&error))?;
        let part = with_suffix(file, ".part");
        let saved = save(&part, deadline, |buffer| {
            let count = stream.recv(buffer).map_err(|error| self.failed(&error))?;
            usize::try_from(count).map_err(|_| CallError::Failed("libvirt sent less than nothing".to_owned()))
        });
        // Whatever the end of the stream says, the picture is whole or it is not kept.
        let ended = if saved.is_ok() { stream.finish() } else { stream.abort() };
        let kept = saved.and_then(|()| {
            ended.map_err(|error| self.failed(&error))?;
            fs::rename(&part, file).map_err(|error| of_file("cannot keep", file, &error))
        });
        if kept.is_err() {
            let _ = fs::remove_file(&part); // there may be none
        }
        kept
    }
}

/// What a domain needs: all the memory that it may take, and its vCPUs.
fn need(info: &virt::domain::DomainInfo) -> Need {
    Need { memory_mib: mib(info.max_mem), cpus: u16::try_from(info.nr_virt_cpu).unwrap_or(u16::MAX) }
}

fn mib(kib: u64) -> u32 {
    u32::try_from(kib / 1024).unwrap_or(u32::MAX)
}

fn probe(domain: &Domain, disks: Disks) -> Result<Answer, Error> {
    let operation = match job(domain, Which::UnderWay) {
        Ok(stats) => stats.map(|stats| stats.operation),
        // libvirt does not tell how far a migration came that is coming in, and so it tells that one is.
        Err(error) if error.code().known() == Some(ErrorNumber::OperationUnsupported) => {
            Some(ffi::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
        }
        Err(error) => return Err(error),
    };
    let mut requests = None;
    if disks == Disks::Due {
        let flags = ffi::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        domain_stats(domain, ffi::VIR_DOMAIN_STATS_BLOCK, flags, |_, numbers| {
            requests = disk_requests(numbers);
        })?;
    }
    Ok(Answer::Probe(view::job(operation), requests))
}

fn basics(life: Option<u32>, numbers: Numbers<'_>) -> Basics {
    let number = |name| numbers.get(name).and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let run = view::run(number("state.state"), number("state.reason"), life.is_some());
    Basics { run, life, autostart: false }
}

/// Reads, writes and flushes of all disks (`virConnectGetAllDomainStats`, "block.<num>.rd.reqs" and so on).
fn disk_requests(numbers: Numbers<'_>) -> Option<u64> {
    numbers.sum(|name| {
        name.starts_with("block.")
            && [".rd.reqs", ".wr.reqs", ".fl.reqs"].iter().any(|end| name.ends_with(end))
    })
}

fn read_definition(name: &str, file: &Path) -> Result<String, CallError> {
    let unreadable = |error: io::Error| of_file("cannot read", file, &error);
    let mut xml = String::new();
    File::open(file)
        .map_err(unreadable)?
        .take(MAX_DEFINITION + 1)
        .read_to_string(&mut xml)
        .map_err(unreadable)?;
    if xml.len() as u64 > MAX_DEFINITION {
        return Err(CallError::Failed(format!("'{}' is larger than {MAX_DEFINITION} bytes", file.display())));
    }
    match xml::domain_name(&xml) {
        Some(found) if found == name => Ok(xml),
        Some(found) => Err(CallError::Failed(format!(
            "'{}' defines domain '{}', not '{name}'; nothing was done",
            file.display(),
            clip(&found, 80)
        ))),
        None => Err(CallError::Failed(format!("'{}' is no domain's XML: it has no <name>", file.display()))),
    }
}

/// Writes what `read` gives to a new file, which only its owner may read: a console can show secrets.
fn save(
    path: &Path,
    deadline: Instant,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, CallError>,
) -> Result<(), CallError> {
    let unwritable = |error: io::Error| of_file("cannot write", path, &error);
    let mut open = OpenOptions::new();
    let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(unwritable)?;
    let mut buffer = vec![0; SCREENSHOT_PIECE];
    let mut total = 0;
    loop {
        let count = read(&mut buffer)?;
        if count == 0 && total == 0 {
            return Err(CallError::Failed("libvirt sent an empty picture".to_owned()));
        }
        if count == 0 {
            return Ok(());
        }
        total += count;
        if total > MAX_SCREENSHOT {
            return Err(CallError::Failed(format!("the picture is larger than {MAX_SCREENSHOT} bytes")));
        }
        if clock::now() >= deadline {
            return Err(CallError::Failed("the picture came too slowly".to_owned()));
        }
        file.write_all(&buffer[..count]).map_err(unwritable)?;
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An error of the system's about a file.
pub fn of_file(what: &str, path: &Path, error: &io::Error) -> CallError {
    // The packages' unit makes most places so, for roostd alone.
    let sandboxed = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
    let advice = if sandboxed {
        "; under systemd, `systemctl edit roostd` allows it with ReadWritePaths="
    } else {
        ""
    };
    CallError::Failed(format!("{what} '{}': {error}{advice}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_the_sandbox_keeps_is_told_with_what_opens_it() {
        let told = |error: i32| {
            format!(
                "{:?}",
                of_file("cannot write", Path::new("/srv/g"), &io::Error::from_raw_os_error(error))
            )
        };
        assert!(told(libc::EROFS).contains("ReadWritePaths="));
        assert!(!told(libc::ENOSPC).contains("ReadWritePaths="));
    }
}
