//! What kind of machine this is.

use std::fs;
use std::path::Path;

/// Whether this machine is itself a VM, by what its processor says (on x86 the flag `hypervisor`, CPUID leaf 1, ECX bit 31) or its
/// device tree. The dom0 of Xen looks like one, too.
pub fn is_virtual() -> bool {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    has_hypervisor(&cpuinfo) || Path::new("/proc/device-tree/hypervisor").exists()
}

fn has_hypervisor(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_known_by_its_processors_flags() {
        assert!(has_hypervisor("processor\t: 0\nflags\t\t: fpu hypervisor lahf_lm\n"));
        assert!(!has_hypervisor("processor\t: 0\nmodel name\t: hypervisor\nflags\t\t: fpu lahf_lm\n"));
        assert!(!has_hypervisor(""));
    }
}
