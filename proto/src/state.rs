//! What `roostd` keeps of its own host across its restarts, as one JSON document: how often recovery was tried, and what
//! it paused itself. What operators decided is in the ledger.

use crate::retry::Attempts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of [`Saved`] that this build writes, and the newest that it reads.
pub const STATE_VERSION: u16 = 2;

/// Groups that are remembered, at most: those of the configuration, and those that were once in it, so that a group
/// which is left out by mistake is still offline when it is put back.
pub const MAX_SAVED_GROUPS: usize = 4096;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// [`STATE_VERSION`].
    pub version: u16,
    /// The boot that the moments in it belong to, in hexadecimal; after another boot they are forgotten.
    pub boot_id: String,
    /// The groups, by name.
    pub groups: BTreeMap<String, SavedGroup>,
    /// The index of the ledger at which the cluster was disarmed, while this host lives by that, in this boot. A daemon that
    /// starts cut off from all others knows by it that it is to leave alone what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disarmed: Option<u64>,
}

/// One group's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedGroup {
    /// The epoch in which it was last this host's, in this boot; 0 if it was not.
    pub epoch: u64,
    /// Its VM in that epoch, for when the configuration does not name the group any more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vm: String,
    /// The service group of this machine's own `roost-guest` that was ordered online here in this boot, and is not known to be
    /// offline since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The operator's order that was last acted upon: an index of the ledger.
    pub ordered: u64,
    /// The epoch in which this host paused its VM, for want of a lease.
    pub suspended: Option<u64>,
    /// The move by which its memory was to come here, by the index of its beginning in the ledger: what stands still here is
    /// that memory, and goes unless the ledger says that this host takes it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incoming: Option<u64>,
    /// The epoch in which its memory was last sent from here, until what became of it is seen: what libvirt leaves standing still
    /// then is no person's doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// It is to be started whatever libvirt says of why it is off; set with the intent, cleared when it runs.
    pub start_pending: bool,
    /// Its guest once had a controller, so one is waited for.
    pub had_controller: bool,
    /// Why it was given up on, if it was.
    pub given_up: Option<String>,
    /// Recoveries so far; numbers the screenshots.
    pub recoveries: u64,
    /// Reboots asked of the guest.
    pub reboots: Attempts,
    /// Resets.
    pub resets: Attempts,
    /// Starts after a failure.
    pub restarts: Attempts,
}

impl Default for SavedGroup {
    /// A group that was never seen before: to be online, and to be started if it is off.
    fn default() -> Self {
        Self {
            epoch: 0,
            vm: String::new(),
            app: None,
            ordered: 0,
            suspended: None,
            incoming: None,
            sent: None,
            start_pending: true,
            had_controller: false,
            given_up: None,
            recoveries: 0,
            reboots: Attempts::default(),
            resets: Attempts::default(),
            restarts: Attempts::default(),
        }
    }
}

impl Saved {
    /// Forgets the moments, which mean nothing after another boot, and what followed from them.
    pub fn after_reboot(&mut self, boot_id: &str) {
        boot_id.clone_into(&mut self.boot_id);
        self.disarmed = None;
        for group in self.groups.values_mut() {
            group.reboots.clear();
            group.resets.clear();
            group.restarts.clear();
            group.given_up = None;
            group.start_pending = true;
            group.suspended = None;
            group.incoming = None;
            group.sent = None;
            group.epoch = 0;
            group.app = None;
        }
    }
}
