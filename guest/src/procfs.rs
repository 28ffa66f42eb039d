//! What `/proc` knows of processes, and of this boot.

use roost_proto::local::ProcessId;
use std::fs;

/// What is read of `/proc/PID/stat`, see proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `Z`, …
    pub state: u8,
    /// The process group.
    pub group: i32,
    /// When it was started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Whether it has ended, and only its number is still taken.
    pub const fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// The process `pid` as it is now; `None` when there is none.
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name of the program stands in parentheses and may hold anything, so the fields are counted from the last one.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, start_ticks })
}

/// The process that has this number now.
pub fn identify(pid: i32) -> Option<ProcessId> {
    stat(pid).map(|stat| ProcessId { pid, start_ticks: stat.start_ticks })
}

/// Whether that very process lives.
pub fn is_alive(process: ProcessId) -> bool {
    stat(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks && !now.is_dead())
}

/// A process of the group `group` that has not ended, if there is one.
pub fn member_of(group: i32) -> Option<i32> {
    let numbers =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.into_iter().find(|&pid| stat(pid).is_some_and(|stat| stat.group == group && !stat.is_dead()))
}

/// This boot's id: another after each boot, and the same for all of this one. Zeros when the kernel does not tell.
pub fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte =
            core::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    id
}

/// What the machine calls itself, up to the first dot; empty when the kernel does not tell.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_confuses_nobody() {
        let line = "77 (a) R (b) S 1 70 70 0 -1 4194560 92 0 0 0 1 0 0 0 20 0 1 0 123456 2428928 220 18446744073709551615";
        assert_eq!(parse_stat(line), Some(Stat { state: b'S', group: 70, start_ticks: 123_456 }));
        assert_eq!(parse_stat("77 (a"), None);
        assert_eq!(parse_stat("77 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_found_and_another_of_its_number_is_not() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let me = identify(pid).expect("it lives");
        assert!(is_alive(me));
        assert!(!is_alive(ProcessId { start_ticks: me.start_ticks + 1, ..me }));
        let group = stat(pid).expect("it lives").group;
        assert!(member_of(group).is_some());
        assert_eq!(member_of(i32::MAX), None);
    }

    #[test]
    fn a_boot_has_an_id() {
        assert_ne!(boot_id(), [0; 16]);
        assert_eq!(boot_id(), boot_id());
    }
}
