//! The watchdog device: the words between the engine and its driver.

use core::time::Duration;

/// What the engine wants of the watchdog. The driver does it at once, in the deciding thread: a daemon that hangs feeds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogOrder {
    /// Arm it if it is not armed, and feed it.
    Feed,
    /// Disarm it (magic close): the host leaves the cluster cleanly and owns nothing, or the cluster is disarmed. One that cannot
    /// be disarmed stays open, and is fed.
    Disarm,
    /// Open it again after it was disarmed, and answer with [`WatchdogInput`].
    Open,
}

/// What is known of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchdogInput {
    /// It is open, and resets the machine when it is not fed for so long; read back from the device.
    Working {
        /// Its own timeout.
        timeout: Duration,
    },
    /// The same, and the machine is itself a VM: it and its watchdog may stand still and go on later, so that no time that
    /// passes elsewhere proves anything of it.
    Virtual {
        /// Its own timeout.
        timeout: Duration,
    },
    /// There is none, or it cannot be used.
    Missing {
        /// Why, and what to do.
        reason: String,
    },
}
