//! The blocking calls to libvirt. Each runs on a worker, which it may hold up for as long as libvirt pleases.

use super::domain::{Basics, Disks, Look};
use super::error::CallError;
use super::view;
use super::watch::{Answer, Ask};
use super::xml;
use crate::driver::clock;
use crate::engine::vm::{Order, VmAction};
use crate::sys::libvirt::{Numbers, Sink, Subscription, all_stats, domain_stats, job, vcpu_time};
use roost_proto::text::clip;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::stream::Stream;
use virt_sys as ffi;

/// libvirt's keepalive: after so many seconds without a word the other end is asked for one, so many times. A libvirtd
/// that hangs is given up after 2 s × (2 + 1) = 6 s: its calls fail, and another connection is tried.
const KEEPALIVE_INTERVAL_S: i32 = 2;
const KEEPALIVE_COUNT: u32 = 2;
/// The largest definition file, in bytes; a domain with hundreds of devices takes a tenth of it.
const MAX_DEFINITION: u64 = 1024 * 1024;
/// The largest screenshot, in bytes: a 4K screen, uncompressed as QEMU gives it, is 25 MB.
const MAX_SCREENSHOT: usize = 32 * 1024 * 1024;
/// What is read of a screenshot at once, in bytes.
const SCREENSHOT_PIECE: usize = 64 * 1024;

/// A connection to libvirt: in truth two, because libvirtd limits the calls of each, and orders that hang must not blind
/// the watch. To drop it talks to libvirt, and may take as long as the keepalive does.
pub struct Link {
    watch: Connect,
    orders: Connect,
    /// Domains as last listed: it spares a call for each question about one.
    domains: Mutex<BTreeMap<String, Domain>>,
    _subscriptions: Vec<Subscription>,
}

impl Link {
    /// Connects. `sink` is told of every domain's events, and of the end of either connection.
    pub fn open(uri: &str, sink: &Sink) -> Result<Self, CallError> {
        let refused = |error: Error| CallError::from_open(&error);
        let watch = Connect::open(Some(uri)).map_err(refused)?;
        // A libvirt within this process has no keepalive, and needs none; it limits no calls either, and its objects
        // may be a connection's own.
        let remote = watch.set_keep_alive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT).is_ok();
        let mut subscriptions = vec![Subscription::new(&watch, sink).map_err(refused)?];
        let mut orders = watch.clone();
        if remote {
            orders = Connect::open(Some(uri)).map_err(refused)?;
            orders.set_keep_alive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT).map_err(refused)?;
            subscriptions.push(Subscription::closed(&orders, sink).map_err(refused)?);
        }
        Ok(Self { watch, orders, domains: Mutex::default(), _subscriptions: subscriptions })
    }

    /// Answers a question.
    pub fn ask(&self, ask: &Ask) -> Result<Answer, CallError> {
        let answer = match ask {
            Ask::All(names) => self.all(names).map(Answer::All),
            Ask::One(name) => self.one(name).map(Answer::One),
            Ask::Count(name) => return self.known(name)?.count(&self.watch),
            Ask::Ping => self.watch.lib_version().map(|_| Answer::Ping),
            Ask::Probe(name, _, disks) => return self.known(name)?.probe(&self.watch, *disks),
        };
        answer.map_err(|error| failed(&self.watch, &error))
    }

    fn all(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Basics>, Error> {
        let (mut all, mut domains) = (BTreeMap::new(), BTreeMap::new());
        all_stats(&self.watch, ffi::VIR_DOMAIN_STATS_STATE, 0, |domain, numbers| {
            if let Some(name) = domain.name().ok().filter(|name| names.contains(name)) {
                all.insert(name.clone(), basics(domain.id(), numbers));
                domains.insert(name, domain);
            }
        })?;
        for domain in self.watch.list_all_domains(ffi::VIR_CONNECT_LIST_DOMAINS_AUTOSTART)? {
            if let Some(basics) = domain.name().ok().and_then(|name| all.get_mut(&name)) {
                basics.autostart = true;
            }
        }
        *self.domains.lock().expect("no thread panics while it holds this") = domains;
        Ok(all)
    }

    fn one(&self, name: &str) -> Result<Option<Look>, Error> {
        let domain = match self.watch.lookup_domain_by_name(name) {
            Ok(domain) => domain,
            Err(error) if CallError::from_libvirt(&error, true) == CallError::NoDomain => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut seen = None;
        domain_stats(&domain, ffi::VIR_DOMAIN_STATS_STATE, 0, |numbers| {
            seen = Some(basics(domain.id(), numbers));
        })?;
        let Some(mut basics) = seen else { return Ok(None) };
        basics.autostart = domain.autostart()?;
        let mut look = Look { basics, cpu_ns: 0, cid: None };
        if basics.life.is_some() {
            // It may stop at any moment; then it has neither, and another event tells.
            look.cpu_ns = vcpu_time(&domain).unwrap_or_default();
            look.cid = domain.xml_desc(0).ok().and_then(|xml| xml::vsock_cid(&xml));
        }
        self.domains.lock().expect("no thread panics while it holds this").insert(name.to_owned(), domain);
        Ok(Some(look))
    }

    fn known(&self, name: &str) -> Result<Known, CallError> {
        let domains = self.domains.lock().expect("no thread panics while it holds this");
        domains.get(name).cloned().map(Known).ok_or(CallError::NoDomain)
    }

    /// Carries an order out. `deadline` ends what goes on in steps; libvirt's calls know none.
    pub fn act(&self, order: &Order, deadline: Instant) -> Result<(), CallError> {
        if let VmAction::Define { xml } = &order.action {
            return self.define(&order.domain, xml);
        }
        let domain =
            self.orders.lookup_domain_by_name(&order.domain).map_err(|error| failed(&self.orders, &error))?;
        let (done, wanted) = match &order.action {
            VmAction::Define { .. } => return Ok(()),
            VmAction::Start => (domain.create(), Some(true)),
            VmAction::Reboot => (domain.reboot(ffi::VIR_DOMAIN_REBOOT_DEFAULT), None),
            VmAction::Reset => (domain.reset(), None),
            VmAction::Shutdown => (domain.shutdown(), Some(false)),
            VmAction::Destroy => (domain.destroy(), Some(false)),
            VmAction::Screenshot { file } => return self.screenshot(&domain, file, deadline),
        };
        let Err(error) = done else { return Ok(()) };
        match failed(&self.orders, &error) {
            CallError::State(_) if wanted.is_some() && domain.is_active().ok() == wanted => {
                Err(CallError::AlreadySo)
            }
            other => Err(other),
        }
    }

    fn define(&self, name: &str, file: &Path) -> Result<(), CallError> {
        if self.orders.lookup_domain_by_name(name).is_ok() {
            return Err(CallError::AlreadySo);
        }
        let xml = read_definition(name, file)?;
        self.orders.define_domain_xml(&xml).map(drop).map_err(|error| match failed(&self.orders, &error) {
            CallError::Failed(words) => CallError::Failed(format!("'{}': {words}", file.display())),
            other => other,
        })
    }

    fn screenshot(&self, domain: &Domain, file: &Path, deadline: Instant) -> Result<(), CallError> {
        let stream = Stream::new(&self.orders, 0).map_err(|error| failed(&self.orders, &error))?;
        domain.screenshot(&stream, 0, 0).map_err(|error| failed(&self.orders, &error))?;
        let part = with_suffix(file, ".part");
        let saved = save(&part, deadline, |buffer| {
            let count = stream.recv(buffer).map_err(|error| failed(&self.orders, &error))?;
            usize::try_from(count).map_err(|_| CallError::Failed("libvirt sent less than nothing".to_owned()))
        });
        // Whatever the end of the stream says, the picture is whole or it is not kept.
        let ended = if saved.is_ok() { stream.finish() } else { stream.abort() };
        let kept = saved.and_then(|()| {
            ended.map_err(|error| failed(&self.orders, &error))?;
            fs::rename(&part, file).map_err(|error| of_file("cannot keep", file, &error))
        });
        if kept.is_err() {
            let _ = fs::remove_file(&part); // there may be none
        }
        kept
    }
}

/// A domain that was listed.
struct Known(Domain);

impl Known {
    fn count(&self, connect: &Connect) -> Result<Answer, CallError> {
        vcpu_time(&self.0).map(Answer::Count).map_err(|error| failed(connect, &error))
    }

    fn probe(&self, connect: &Connect, disks: Disks) -> Result<Answer, CallError> {
        let operation = job(&self.0).map_err(|error| failed(connect, &error))?;
        let mut requests = None;
        if disks == Disks::Due {
            let flags = ffi::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
            domain_stats(&self.0, ffi::VIR_DOMAIN_STATS_BLOCK, flags, |numbers| {
                requests = disk_requests(numbers);
            })
            .map_err(|error| failed(connect, &error))?;
        }
        Ok(Answer::Probe(view::job(operation), requests))
    }
}

fn failed(connect: &Connect, error: &Error) -> CallError {
    CallError::from_libvirt(error, connect.is_alive().unwrap_or(false))
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

fn of_file(what: &str, path: &Path, error: &io::Error) -> CallError {
    CallError::Failed(format!("{what} '{}': {error}", path.display()))
}
