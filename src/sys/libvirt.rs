//! libvirt, where the `virt` crate has no call or no sound one: domain events, statistics, vCPU times and jobs.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr;
use std::ffi::CStr;
use std::sync::Arc;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as ffi;

/// vCPUs of a domain whose time is added up, at most, to keep the buffer at 12 KiB; that more of them stand still
/// while all of these do is as good as certain.
const MAX_VCPUS: usize = 512;

/// What libvirt tells by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something happened to a domain.
    Domain {
        /// Its name.
        name: String,
        /// What.
        what: What,
    },
    /// The connection ended; a `virConnectCloseReason`.
    Closed {
        /// Why.
        reason: u32,
    },
}

/// What happened to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A `virDomainEventType` and its detail.
    Lifecycle {
        /// The type.
        event: u32,
        /// The detail.
        detail: u32,
    },
    /// The guest rebooted, or was reset.
    Reboot,
    /// Its watchdog fired.
    Watchdog,
    /// A disk failed.
    IoError,
    /// Something else about it changed.
    Changed,
}

/// Takes what libvirt tells, on the thread that runs libvirt's event loop, which it must not hold up.
pub type Sink = Arc<dyn Fn(Notice) + Send + Sync>;

/// What a callback is given to work with.
struct Context {
    sink: Sink,
    what: What,
}

/// The callbacks of one connection; they end when it is dropped.
pub struct Subscription {
    connect: Connect,
    callbacks: Vec<c_int>,
}

impl Subscription {
    /// Tells `sink` of all domains' events, and of the end of the connection. libvirt's event loop must be registered
    /// before the connection is opened. Events that this libvirt does not know are left out, but not the lifecycle's.
    pub fn new(connect: &Connect, sink: &Sink) -> Result<Self, Error> {
        let mut this = Self { connect: connect.clone(), callbacks: Vec::new() };
        // SAFETY: the two differ in their arguments only, and libvirt calls a callback with those of its event's
        // identity; so does libvirt's own macro VIR_DOMAIN_EVENT_CALLBACK.
        let lifecycle = unsafe { core::mem::transmute::<Lifecycle, Plain>(on_lifecycle) };
        // SAFETY: as above.
        let watchdog = unsafe { core::mem::transmute::<Number, Plain>(on_number) };
        // SAFETY: as above.
        let io_error = unsafe { core::mem::transmute::<IoError, Plain>(on_io_error) };
        // SAFETY: as above.
        let device = unsafe { core::mem::transmute::<Text, Plain>(on_text) };
        // SAFETY: as above.
        let job = unsafe { core::mem::transmute::<Params, Plain>(on_params) };
        this.add(ffi::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, sink, What::Changed)?;
        let optional = [
            (ffi::VIR_DOMAIN_EVENT_ID_REBOOT, on_plain as Plain, What::Reboot),
            (ffi::VIR_DOMAIN_EVENT_ID_WATCHDOG, watchdog, What::Watchdog),
            (ffi::VIR_DOMAIN_EVENT_ID_IO_ERROR, io_error, What::IoError),
            (ffi::VIR_DOMAIN_EVENT_ID_CONTROL_ERROR, on_plain, What::Changed),
            (ffi::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device, What::Changed),
            (ffi::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device, What::Changed),
            (ffi::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, job, What::Changed),
        ];
        for (event, callback, what) in optional {
            if let Err(error) = this.add(event, callback, sink, what) {
                log::debug!("libvirt does not tell of event {event}: {error}");
            }
        }
        this.add_close(sink)?;
        Ok(this)
    }

    /// Tells `sink` of the end of the connection alone.
    pub fn closed(connect: &Connect, sink: &Sink) -> Result<Self, Error> {
        let this = Self { connect: connect.clone(), callbacks: Vec::new() };
        this.add_close(sink)?;
        Ok(this)
    }

    fn add(&mut self, event: u32, callback: Plain, sink: &Sink, what: What) -> Result<(), Error> {
        let context = Box::into_raw(Box::new(Context { sink: Arc::clone(sink), what })).cast();
        // SAFETY: the pointer is used while `self.connect` holds the connection.
        let connect = unsafe { self.connect.as_ptr() };
        let event = event.cast_signed();
        // SAFETY: the connection is open, a null domain means all of them, the callback has the arguments of this event,
        // and `context` stays until libvirt hands it to `free`.
        let id = unsafe {
            ffi::virConnectDomainEventRegisterAny(
                connect,
                ptr::null_mut(),
                event,
                Some(callback),
                context,
                Some(free),
            )
        };
        if id < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt refused the callback, so it neither keeps nor frees `context`.
            unsafe { free(context) };
            return Err(error);
        }
        self.callbacks.push(id);
        Ok(())
    }

    fn add_close(&self, sink: &Sink) -> Result<(), Error> {
        let context = Box::into_raw(Box::new(Context { sink: Arc::clone(sink), what: What::Changed })).cast();
        // SAFETY: the pointer is used while `self.connect` holds the connection.
        let connect = unsafe { self.connect.as_ptr() };
        // SAFETY: as for events.
        let result =
            unsafe { ffi::virConnectRegisterCloseCallback(connect, Some(on_close), context, Some(free)) };
        if result < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt refused the callback, so it neither keeps nor frees `context`.
            unsafe { free(context) };
            return Err(error);
        }
        Ok(())
    }
}

impl Drop for Subscription {
    /// Talks to libvirt, so it may take as long as libvirt's keepalive does. Errors mean that the connection is gone, and
    /// the callbacks with it.
    fn drop(&mut self) {
        // SAFETY: the pointer is used while `self.connect` holds the connection.
        let connect = unsafe { self.connect.as_ptr() };
        for &id in &self.callbacks {
            // SAFETY: the connection is ours still, and `id` was registered on it.
            unsafe { ffi::virConnectDomainEventDeregisterAny(connect, id) };
        }
        // SAFETY: as above; libvirt compares the address of the callback.
        unsafe { ffi::virConnectUnregisterCloseCallback(connect, Some(on_close)) };
    }
}

type Plain = unsafe extern "C" fn(ffi::virConnectPtr, ffi::virDomainPtr, *mut c_void);
type Lifecycle =
    unsafe extern "C" fn(ffi::virConnectPtr, ffi::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type Number = unsafe extern "C" fn(ffi::virConnectPtr, ffi::virDomainPtr, c_int, *mut c_void);
type Text = unsafe extern "C" fn(ffi::virConnectPtr, ffi::virDomainPtr, *const c_char, *mut c_void);
type IoError = unsafe extern "C" fn(
    ffi::virConnectPtr,
    ffi::virDomainPtr,
    *const c_char,
    *const c_char,
    c_int,
    *mut c_void,
);
type Params = unsafe extern "C" fn(
    ffi::virConnectPtr,
    ffi::virDomainPtr,
    ffi::virTypedParameterPtr,
    c_int,
    *mut c_void,
);

unsafe extern "C" fn on_lifecycle(
    _: ffi::virConnectPtr,
    domain: ffi::virDomainPtr,
    event: c_int,
    detail: c_int,
    context: *mut c_void,
) -> c_int {
    let what = What::Lifecycle { event: event.cast_unsigned(), detail: detail.cast_unsigned() };
    tell(domain, context, Some(what));
    0
}

unsafe extern "C" fn on_plain(_: ffi::virConnectPtr, domain: ffi::virDomainPtr, context: *mut c_void) {
    tell(domain, context, None);
}

unsafe extern "C" fn on_number(
    _: ffi::virConnectPtr,
    domain: ffi::virDomainPtr,
    _: c_int,
    context: *mut c_void,
) {
    tell(domain, context, None);
}

unsafe extern "C" fn on_text(
    _: ffi::virConnectPtr,
    domain: ffi::virDomainPtr,
    _: *const c_char,
    context: *mut c_void,
) {
    tell(domain, context, None);
}

unsafe extern "C" fn on_io_error(
    _: ffi::virConnectPtr,
    domain: ffi::virDomainPtr,
    _: *const c_char,
    _: *const c_char,
    _: c_int,
    context: *mut c_void,
) {
    tell(domain, context, None);
}

unsafe extern "C" fn on_params(
    _: ffi::virConnectPtr,
    domain: ffi::virDomainPtr,
    _: ffi::virTypedParameterPtr,
    _: c_int,
    context: *mut c_void,
) {
    tell(domain, context, None);
}

unsafe extern "C" fn on_close(_: ffi::virConnectPtr, reason: c_int, context: *mut c_void) {
    let context: *const Context = context.cast();
    // SAFETY: libvirt hands back the context that was registered, before it frees it.
    let context = unsafe { &*context };
    (context.sink)(Notice::Closed { reason: reason.cast_unsigned() });
}

/// Tells the sink in `context`. For the callbacks alone, which get both pointers from libvirt.
fn tell(domain: ffi::virDomainPtr, context: *mut c_void, what: Option<What>) {
    let context: *const Context = context.cast();
    // SAFETY: libvirt hands back the context that was registered, before it frees it.
    let context = unsafe { &*context };
    // SAFETY: the domain is valid for the time of the callback.
    let name = unsafe { ffi::virDomainGetName(domain) };
    if name.is_null() {
        return;
    }
    // SAFETY: a domain's name is a C string that lives as long as the domain.
    let name = unsafe { CStr::from_ptr(name) };
    let what = what.unwrap_or(context.what);
    (context.sink)(Notice::Domain { name: name.to_string_lossy().into_owned(), what });
}

unsafe extern "C" fn free(context: *mut c_void) {
    // SAFETY: every context comes from a box, and is given up once.
    drop(unsafe { Box::from_raw(context.cast::<Context>()) });
}

/// The numbers that libvirt tells of something, by name.
#[derive(Clone, Copy)]
pub struct Numbers<'a>(&'a [ffi::virTypedParameter]);

impl Numbers<'_> {
    /// The number of this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|p| name_of(p, |n| n == name)).and_then(value)
    }

    /// The sum of the numbers whose name `counts`; none if there is no such number.
    pub fn sum(&self, counts: impl Fn(&str) -> bool) -> Option<u64> {
        self.0.iter().filter(|p| name_of(p, &counts)).filter_map(value).reduce(u64::saturating_add)
    }
}

fn name_of(param: &ffi::virTypedParameter, is: impl FnOnce(&str) -> bool) -> bool {
    let bytes = param.field.map(|c| c.to_ne_bytes()[0]);
    let length = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..length]).is_ok_and(is)
}

fn value(param: &ffi::virTypedParameter) -> Option<u64> {
    let value = &param.value;
    match param.type_.cast_unsigned() {
        // SAFETY: the type says that this member was written, here and below.
        ffi::VIR_TYPED_PARAM_INT => u64::try_from(unsafe { value.i }).ok(),
        // SAFETY: as above.
        ffi::VIR_TYPED_PARAM_UINT => Some(u64::from(unsafe { value.ui })),
        // SAFETY: as above.
        ffi::VIR_TYPED_PARAM_LLONG => u64::try_from(unsafe { value.l }).ok(),
        // SAFETY: as above.
        ffi::VIR_TYPED_PARAM_ULLONG => Some(unsafe { value.ul }),
        _ => None,
    }
}

/// What libvirt returned, to be freed.
struct Records {
    list: *mut ffi::virDomainStatsRecordPtr,
    length: usize,
}

impl Records {
    fn visit(&self, mut visit: impl FnMut(Domain, Numbers<'_>)) {
        for index in 0..self.length {
            // SAFETY: libvirt said that the list has `length` entries.
            let entry = unsafe { self.list.add(index) };
            // SAFETY: the entry lies in the list.
            let record = unsafe { *entry };
            // SAFETY: the entry points at a record until the list is freed.
            let record = unsafe { &*record };
            // SAFETY: the record holds a domain.
            let referenced = unsafe { ffi::virDomainRef(record.dom) };
            if referenced < 0 {
                continue;
            }
            // SAFETY: the reference that was just taken is given to the `Domain`, which drops it.
            let domain = unsafe { Domain::from_ptr(record.dom) };
            // SAFETY: the record holds `nparams` parameters, and lives as long as the list.
            let params = unsafe { slice(record.params, record.nparams) };
            visit(domain, Numbers(params));
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: libvirt made the list and gave it to us; a null one is allowed.
        unsafe { ffi::virDomainStatsRecordListFree(self.list) };
    }
}

/// # Safety
/// `params` points at `count` parameters, or `count` is not positive.
unsafe fn slice<'a>(params: ffi::virTypedParameterPtr, count: c_int) -> &'a [ffi::virTypedParameter] {
    match usize::try_from(count) {
        // SAFETY: the caller's promise.
        Ok(count) if count > 0 && !params.is_null() => unsafe { core::slice::from_raw_parts(params, count) },
        _ => &[],
    }
}

/// Visits the statistics `groups` (`virDomainStatsTypes`) of every domain, running or not.
pub fn all_stats(
    connect: &Connect,
    groups: u32,
    flags: u32,
    visit: impl FnMut(Domain, Numbers<'_>),
) -> Result<(), Error> {
    let mut list = ptr::null_mut();
    // SAFETY: the pointer is used while `connect` is borrowed.
    let connect = unsafe { connect.as_ptr() };
    // SAFETY: the connection is open, and `list` takes what libvirt returns.
    let length = unsafe { ffi::virConnectGetAllDomainStats(connect, groups, &raw mut list, flags) };
    let length = usize::try_from(length).map_err(|_| Error::last_error())?;
    Records { list, length }.visit(visit);
    Ok(())
}

/// Visits the statistics `groups` (`virDomainStatsTypes`) of one domain, which comes with them as it was when libvirt
/// gathered them.
pub fn domain_stats(
    domain: &Domain,
    groups: u32,
    flags: u32,
    visit: impl FnMut(Domain, Numbers<'_>),
) -> Result<(), Error> {
    let mut list = ptr::null_mut();
    // SAFETY: the pointer is used while `domain` is borrowed.
    let domain = unsafe { domain.as_ptr() };
    let mut domains = [domain, ptr::null_mut()];
    // SAFETY: the domain is valid, the array ends with a null, and `list` takes what libvirt returns.
    let length = unsafe { ffi::virDomainListGetStats(domains.as_mut_ptr(), groups, &raw mut list, flags) };
    let length = usize::try_from(length).map_err(|_| Error::last_error())?;
    Records { list, length }.visit(visit);
    Ok(())
}

/// The time that a domain's vCPUs have run since its start, in nanoseconds. It never waits for QEMU.
pub fn vcpu_time(domain: &Domain) -> Result<u64, Error> {
    let none = ffi::virVcpuInfo { number: 0, state: 0, cpuTime: 0, cpu: 0 };
    let mut vcpus = vec![none; MAX_VCPUS];
    let room = c_int::try_from(vcpus.len()).expect("MAX_VCPUS is small");
    // SAFETY: the pointer is used while `domain` is borrowed.
    let domain = unsafe { domain.as_ptr() };
    // SAFETY: the domain is valid, `vcpus` has `room` entries, and no CPU maps are asked for.
    let count = unsafe { ffi::virDomainGetVcpus(domain, vcpus.as_mut_ptr(), room, ptr::null_mut(), 0) };
    let count = usize::try_from(count).map_err(|_| Error::last_error())?;
    Ok(vcpus.iter().take(count).map(|vcpu| vcpu.cpuTime).fold(0, u64::saturating_add))
}

/// A job of a domain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobStats {
    /// Its `virDomainJobOperation`.
    pub operation: u32,
    /// The memory that it is to move, in bytes; none before it has begun to.
    pub total: u64,
    /// What of that is still to be moved.
    pub remaining: u64,
    /// How long the domain stood still for it, in milliseconds, if libvirt tells.
    pub downtime_ms: Option<u64>,
}

/// Which job of a domain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one under way.
    UnderWay,
    /// The newest that was completed; libvirt tells of it once.
    Completed,
}

/// A job of a domain's, if there is such a one.
pub fn job(domain: &Domain, which: Which) -> Result<Option<JobStats>, Error> {
    let mut kind: c_int = 0;
    let mut params: ffi::virTypedParameterPtr = ptr::null_mut();
    let mut count: c_int = 0;
    let flags = match which {
        Which::UnderWay => 0,
        Which::Completed => ffi::VIR_DOMAIN_JOB_STATS_COMPLETED,
    };
    // SAFETY: the pointer is used while `domain` is borrowed.
    let domain = unsafe { domain.as_ptr() };
    // SAFETY: the domain is valid, and the other three take what libvirt returns.
    let result =
        unsafe { ffi::virDomainGetJobStats(domain, &raw mut kind, &raw mut params, &raw mut count, flags) };
    if result < 0 {
        return Err(Error::last_error());
    }
    // SAFETY: libvirt said that there are `count` parameters.
    let numbers = Numbers(unsafe { slice(params, count) });
    let operation = numbers.get("operation").and_then(|n| c_uint::try_from(n).ok());
    let stats = JobStats {
        operation: operation.unwrap_or(ffi::VIR_DOMAIN_JOB_OPERATION_UNKNOWN),
        total: numbers.get("data_total").unwrap_or_default(),
        remaining: numbers.get("data_remaining").unwrap_or_default(),
        downtime_ms: numbers.get("downtime"),
    };
    // SAFETY: libvirt made the parameters and gave them to us; null is allowed.
    unsafe { ffi::virTypedParamsFree(params, count) };
    let is_it = match (which, kind.cast_unsigned()) {
        (Which::UnderWay, ffi::VIR_DOMAIN_JOB_BOUNDED | ffi::VIR_DOMAIN_JOB_UNBOUNDED)
        | (Which::Completed, ffi::VIR_DOMAIN_JOB_COMPLETED) => true,
        (Which::UnderWay | Which::Completed, _) => false,
    };
    Ok(is_it.then_some(stats))
}

/// Ends the job that libvirt has under way for a domain.
pub fn abort(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the pointer is used while `domain` is borrowed.
    let domain = unsafe { domain.as_ptr() };
    // SAFETY: the domain is valid.
    let result = unsafe { ffi::virDomainAbortJob(domain) };
    if result < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// Writes a domain's memory to a new file, and stops it.
pub fn save(domain: &Domain, file: &CStr) -> Result<(), Error> {
    // SAFETY: the pointer is used while `domain` is borrowed.
    let domain = unsafe { domain.as_ptr() };
    // SAFETY: the domain is valid, `file` is a C string, and a null description leaves the domain's as it is.
    let result = unsafe { ffi::virDomainSaveFlags(domain, file.as_ptr(), ptr::null(), 0) };
    if result < 0 { Err(Error::last_error()) } else { Ok(()) }
}
