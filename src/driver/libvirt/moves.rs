//! Migrating, saving and restoring: the calls that move a VM's memory, and the files of saved memory.
//!
//! What libvirt 9.0 with QEMU 7.2 does in each was tried, and is relied on:
//! - While memory is on its way the domain is paused on the target, as migrating; no job of it is told of there. When all
//!   has arrived it is paused as by a person. One that was restored from a file is paused as migrating until it goes on.
//! - The source's domain is off as migrated once the call has succeeded. When the target, its libvirtd, or the way to it
//!   is lost before that, the call fails and the domain runs on here; over there libvirt ends what had come in, at once or,
//!   after the way was cut, with its keepalive 30 s later. Without anybody who aborts it, a migration whose way was cut goes
//!   on until TCP gives up.
//! - A domain that is suspended meanwhile does stand still, and the migration goes on to its end. **But if it fails, or is
//!   aborted, or libvirtd is restarted, libvirt itself lets the domain go on here**, as it ran when the migration began.
//!   A saving that fails does the same. So a VM that may not run any more is destroyed, not suspended, while one is under way.
//! - What libvirt cannot let go on then, as another has its disk open, stays paused as being saved or migrated, with no job; since
//!   libvirt 9.2 as for an error. When its QEMU dies in the middle of a saving it is off as failed.
//! - Destroying either side's domain ends a migration at once, and the other side is as if it had failed.
//! - The end of `roostd` ends no migration: libvirtd carries it on.

use super::calls::{Line, of_file};
use super::error::CallError;
use crate::engine::keeper::vm::{Off, Run};
use crate::sys::libvirt::{Which, job, save as save_memory};
use core::time::Duration;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use virt::domain::{Domain, MigrateParameters};
use virt_sys as ffi;

/// libvirtd talks to the other libvirtd; the guest runs meanwhile; and it does not run there before it is told to.
const MIGRATE: u32 = ffi::VIR_MIGRATE_PEER2PEER | ffi::VIR_MIGRATE_LIVE | ffi::VIR_MIGRATE_PAUSED;

/// Moves the domain to the libvirt at `to`, where it is left paused; how long it stood still is left in `stood_still`.
pub fn migrate(
    line: &Line,
    domain: &Domain,
    to: &str,
    stood_still: &mut Option<Duration>,
) -> Result<(), CallError> {
    domain
        .migrate_to_uri3(Some(to), MigrateParameters::default(), MIGRATE)
        .map_err(|error| advise(line.failed(&error)))?;
    // Whatever this says, the domain has moved.
    let completed = job(domain, Which::Completed).ok().flatten();
    *stood_still = completed.and_then(|stats| stats.downtime_ms).map(Duration::from_millis);
    is_off(line, domain, Off::Migrated)
}

/// Writes the domain's memory to `file`, and stops it.
pub fn save(line: &Line, domain: &Domain, file: &Path) -> Result<(), CallError> {
    // Before the domain stands still: that the storage can be written to, and that the file can be taken away again.
    let mut open = OpenOptions::new();
    open.write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| of_file("cannot write", file, &error))?;
    if let Err(error) = save_memory(domain, &c_string(file)?) {
        let error = line.failed(&error);
        // When the connection is gone it may have been written whole.
        if !matches!(error, CallError::Gone(_)) && !matches!(line.run(domain), Ok(Run::Off(Off::Saved))) {
            let _ = fs::remove_file(file); // what is in it is of no use, and names are not used again
        }
        return Err(error);
    }
    is_off(line, domain, Off::Saved)?;
    // The other host reads it, perhaps after this one has lost its power.
    let kept = File::open(file).and_then(|file| file.sync_all()).and_then(|()| sync_folder(file));
    kept.map_err(|error| of_file("the memory was saved, and is not safe in", file, &error))
}

/// Takes the domain's memory from `file`; it is left paused.
pub fn restore(line: &Line, domain: &Domain, file: &Path) -> Result<(), CallError> {
    let name = domain.name().map_err(|error| line.failed(&error))?;
    let text = file.to_str().ok_or_else(|| no_name(file))?;
    let xml = line.connect().save_image_xml_desc(text, 0).map_err(|error| line.failed(&error))?;
    let found = super::xml::domain_name(&xml);
    if found.as_deref() != Some(&name) {
        let found = found.unwrap_or_else(|| "no domain".to_owned());
        let words =
            format!("'{}' holds the memory of '{found}', not of '{name}'; nothing was done", file.display());
        return Err(CallError::Failed(words));
    }
    line.connect()
        .restore_domain_flags(text, None, ffi::VIR_DOMAIN_SAVE_PAUSED)
        .map_err(|error| advise(line.failed(&error)))
}

/// Takes `file` away for good. Once this is done no loss of power brings it back.
pub fn forget(file: &Path) -> Result<(), CallError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(of_file("cannot take away", file, &error));
        }
        // Who took it away may have lost power before that was on the disk.
        Ok(()) | Err(_) => {}
    }
    match sync_folder(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(of_file("cannot be certain that it is gone:", file, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// libvirt says that it is done; then this is how the domain is off. One that was never defined here is gone altogether.
fn is_off(line: &Line, domain: &Domain, why: Off) -> Result<(), CallError> {
    match line.run(domain) {
        Ok(Run::Off(off)) if off == why => Ok(()),
        Ok(Run::Undefined) | Err(CallError::NoDomain) => Ok(()),
        Ok(run) => {
            Err(CallError::Failed(format!("libvirt says that it is done, and shows the domain as {run:?}")))
        }
        Err(error) => Err(error),
    }
}

/// What to do about refusals whose words do not tell.
fn advise(error: CallError) -> CallError {
    let advice = |words: &str| {
        if words.contains("already exists with uuid") {
            Some("give its definition the same <uuid> on every host")
        } else if words.contains("Unable to resolve address") || words.contains("address resolution failed") {
            Some(
                "hosts must know each other's names, or set migration_host in the other host's /etc/libvirt/qemu.conf",
            )
        } else if words.contains("Unsafe migration") {
            Some("its disks must be on storage that both hosts share, with cache='none'")
        } else {
            None
        }
    };
    match error {
        CallError::Failed(words) => {
            let advice = advice(&words);
            CallError::Failed(advice.map(|advice| format!("{words}; {advice}")).unwrap_or(words))
        }
        other => other,
    }
}

fn c_string(file: &Path) -> Result<CString, CallError> {
    CString::new(file.as_os_str().as_bytes()).map_err(|_| no_name(file))
}

fn no_name(file: &Path) -> CallError {
    CallError::Failed(format!("'{}' is no name of a file that libvirt can take", file.display()))
}
