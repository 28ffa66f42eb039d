//! One file for each thing outside: what turns it into events, and carries actions out.

pub mod clock;
pub mod control;
pub mod disk;
pub mod fencer;
pub mod guest_link;
pub mod hooks;
pub mod ledger_disk;
pub mod libvirt;
pub mod life;
pub mod machine;
pub mod mailbox;
pub mod metrics_file;
pub mod shutdown;
pub mod systemd;
pub mod udp;
pub mod watchdog;

mod leash;
