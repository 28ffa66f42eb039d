//! Memory that is resident and not needed.

use core::ffi::c_void;
use std::fs;
use std::io;

/// A mapping of this process, as proc_pid_smaps(5) shows it.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
}

/// Lets go of the machine code that is resident, and returns how much was mapped, in bytes. libvirt's client comes with
/// some seventy libraries, and most of what they do, they do when they are loaded: their code would stay resident until
/// the machine is short of memory. What is needed again is mapped again from the page cache, at the cost of a page fault.
pub fn release_code() -> io::Result<usize> {
    let code = code(&fs::read_to_string("/proc/self/smaps")?);
    for mapping in &code {
        let address = core::ptr::with_exposed_provenance_mut::<c_void>(mapping.start);
        // SAFETY: this is a private mapping of a file, of which no page was ever written: dropped pages are read from
        // the file again when they are next used, with the same content. Other threads may run in it meanwhile.
        let result = unsafe { libc::madvise(address, mapping.end - mapping.start, libc::MADV_DONTNEED) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(code.iter().map(|mapping| mapping.end - mapping.start).sum())
}

/// The mappings of code from files in which no page is the process's own.
fn code(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(mapping) = header(line) {
            candidate = mapping;
        } else if line.strip_prefix("Anonymous:").map(str::trim) == Some("0 kB") {
            found.extend(candidate.take());
        }
    }
    found
}

/// Reads the line that begins a mapping: none if it is another line, and in it none if the mapping is no file's code.
fn header(line: &str) -> Option<Option<Mapping>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let is_code = fields.next()? == "r-xp" && fields.nth(3).is_some_and(|path| path.starts_with('/'));
    Some((is_code && start < end).then_some(Mapping { start, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_that_was_never_written_is_let_go() {
        let smaps = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 12 /usr/lib/libx.so
Anonymous:             0 kB
7f0000001000-7f0000003000 r-xp 00001000 fe:00 12 /usr/lib/libx.so
Rss:                   8 kB
Anonymous:             0 kB
7f0000004000-7f0000005000 r-xp 00001000 fe:00 13 /usr/lib/patched.so
Anonymous:             4 kB
7f0000006000-7f0000007000 rw-p 00001000 fe:00 12 /usr/lib/libx.so
Anonymous:             0 kB
7f0000008000-7f0000009000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f000000a000-7f000000b000 r-xp 00000000 00:00 0
Anonymous:             0 kB
VmFlags: rd ex mr mw me
";
        assert_eq!(code(smaps), [Mapping { start: 0x7f00_0000_1000, end: 0x7f00_0000_3000 }]);
    }

    #[test]
    fn a_process_runs_on_without_its_resident_code() {
        let resident = || -> usize {
            let status = fs::read_to_string("/proc/self/statm").expect("it is mounted");
            status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages")
        };
        let before = resident();
        let mapped = release_code().expect("it is our own");
        assert!(mapped > 1_000_000 && resident() < before, "{mapped} bytes, {before} pages before");
    }
}
