//! Being process 1 of a small guest: what the kernel has not made ready is made ready, and no more.
//!
//! `/proc` is mounted if it is not there: processes are known by it. `/dev` is, if it has no `null`: programs start with it as
//! their input. All else (`/sys`, `/run`, networks, modules) is the business of whoever made the image.

use crate::log::{Level, Log};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::set_cad_enabled;
use std::path::Path;

/// Makes ready what is missing.
pub fn prepare(log: Log) {
    for (sign, target, kind) in [("/proc/self/stat", "/proc", "proc"), ("/dev/null", "/dev", "devtmpfs")] {
        if !Path::new(sign).exists() {
            let _ = std::fs::create_dir(target); // as a rule it is there; if not, mounting says so
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
            if let Err(error) = mount(Some(kind), target, Some(kind), flags, None::<&str>) {
                log.line(Level::Error, format_args!("cannot mount '{target}': {error}"));
            }
        }
    }
    // Ctrl-Alt-Del then asks this process, which stops the groups first. In a container the kernel does not grant that.
    let _ = set_cad_enabled(false);
}
