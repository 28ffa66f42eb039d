//! The watchdog device: opened once, fed at the engine's word, and disarmed only when the host leaves with nothing owned, or the
//! whole cluster is disarmed.
//!
//! A device is armed by being opened. It stays armed when this process dies, which is what it is for; a device whose driver
//! disarms it then is refused, since a dead daemon would leave the machine running for ever.

use crate::engine::watchdog::{WatchdogInput, WatchdogOrder};
use crate::sys::watchdog as ioctl;
use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// What can be done with a device.
pub trait Device {
    /// Whether it stays armed when it is closed without being disarmed.
    fn stays_armed(&self) -> io::Result<bool>;
    /// Wishes for a timeout in seconds.
    fn set_timeout(&self, seconds: i32) -> io::Result<()>;
    /// The timeout that it has, in seconds.
    fn timeout(&self) -> io::Result<i32>;
    /// Stops it, if its driver lets it be stopped.
    fn stop(&self) -> io::Result<()>;
    /// Writes to it: the letter V announces that the next close disarms it, everything else feeds it.
    fn write(&mut self, byte: u8) -> io::Result<()>;
}

impl Device for File {
    fn stays_armed(&self) -> io::Result<bool> {
        Ok(ioctl::has_magic_close(self.as_fd())?)
    }

    fn set_timeout(&self, seconds: i32) -> io::Result<()> {
        Ok(ioctl::set_timeout(self.as_fd(), seconds)?)
    }

    fn timeout(&self) -> io::Result<i32> {
        Ok(ioctl::timeout(self.as_fd())?)
    }

    fn stop(&self) -> io::Result<()> {
        Ok(ioctl::stop(self.as_fd())?)
    }

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.write_all(&[byte])
    }
}

/// The watchdog of this host.
#[derive(Debug)]
pub struct Watchdog<D = File> {
    path: PathBuf,
    /// Gone after it was disarmed.
    device: Option<D>,
    /// A write failed, and was told of.
    failing: bool,
}

impl Watchdog {
    /// Opens the device at `path`, and with that arms it. `wished` is the timeout, which is rounded up to whole seconds.
    pub fn open(path: &Path, wished: Duration) -> (Option<Self>, WatchdogInput) {
        match OpenOptions::new().write(true).open(path) {
            Ok(device) => Self::arm(path, device, wished),
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => "load its driver, or name the right device in 'watchdog'",
                    io::ErrorKind::ResourceBusy => {
                        "another program has it: systemd's RuntimeWatchdogSec, or a watchdog daemon; end that one's use"
                    }
                    _ => "see that roostd may write to it",
                };
                let reason = format!("the watchdog '{}' cannot be opened: {error}; {hint}", path.display());
                (None, WatchdogInput::Missing { reason })
            }
        }
    }
}

impl<D: Device> Watchdog<D> {
    fn arm(path: &Path, mut device: D, wished: Duration) -> (Option<Self>, WatchdogInput) {
        let seconds = i32::try_from(wished.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let asked = device.stays_armed().and_then(|stays| {
            device.set_timeout(seconds)?;
            Ok((stays, device.timeout()?))
        });
        let name = path.display();
        let reason = match asked {
            Ok((true, real)) if real > 0 => {
                let timeout = Duration::from_secs(u64::from(real.unsigned_abs()));
                let watchdog = Self { path: path.to_owned(), device: Some(device), failing: false };
                return (Some(watchdog), WatchdogInput::Working { timeout });
            }
            Ok((false, _)) => format!(
                "the watchdog '{name}' is disarmed when roostd dies (its driver has no magic close), so it proves nothing: use another"
            ),
            Ok((true, real)) => {
                format!("the watchdog '{name}' says that it waits for {real} s: it proves nothing")
            }
            Err(error) => format!("the watchdog '{name}' does not answer as one: {error}"),
        };
        let _ = device.write(b'V'); // it is let go as it was found
        (None, WatchdogInput::Missing { reason })
    }

    /// What there is to say of the device, while it is open.
    pub fn state(&self) -> Option<WatchdogInput> {
        let seconds = self.device.as_ref()?.timeout().ok()?;
        Some(WatchdogInput::Working { timeout: Duration::from_secs(u64::from(seconds.unsigned_abs())) })
    }

    /// Does what the engine wants. An error is told once, until it works again.
    pub fn order(&mut self, order: WatchdogOrder) -> Result<(), String> {
        let Some(device) = &mut self.device else { return Ok(()) };
        let done = match order {
            WatchdogOrder::Feed | WatchdogOrder::Open => device.write(0),
            // Closed, it would reset the machine all the same.
            WatchdogOrder::Disarm
                if device.stop().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) =>
            {
                let _ = device.write(0); // an error is told with the next
                return Err(format!(
                    "the watchdog '{}' cannot be stopped (its driver was loaded with nowayout): it is fed as long as roostd runs",
                    self.path.display()
                ));
            }
            WatchdogOrder::Disarm => {
                let done = device.write(b'V');
                self.device = None;
                done
            }
        };
        let told = core::mem::replace(&mut self.failing, done.is_err());
        match done {
            Err(error) if !told => {
                Err(format!("the watchdog '{}' cannot be written: {error}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A device that notes what is written; `real` is the timeout that it chooses.
    struct Fake {
        written: Rc<RefCell<Vec<u8>>>,
        stays: bool,
        real: i32,
        fails: bool,
        nowayout: bool,
    }

    impl Device for Fake {
        fn stop(&self) -> io::Result<()> {
            if self.nowayout { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(()) }
        }

        fn stays_armed(&self) -> io::Result<bool> {
            Ok(self.stays)
        }

        fn set_timeout(&self, seconds: i32) -> io::Result<()> {
            assert_eq!(seconds, 5, "4.2 s are rounded up");
            Ok(())
        }

        fn timeout(&self) -> io::Result<i32> {
            Ok(self.real)
        }

        fn write(&mut self, byte: u8) -> io::Result<()> {
            self.written.borrow_mut().push(byte);
            if self.fails { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
        }
    }

    type Armed = (Option<Watchdog<Fake>>, WatchdogInput, Rc<RefCell<Vec<u8>>>);

    fn arm(stays: bool, real: i32, fails: bool) -> Armed {
        let written = Rc::default();
        let fake = Fake { written: Rc::clone(&written), stays, real, fails, nowayout: false };
        let (watchdog, said) = Watchdog::arm(Path::new("/dev/fake"), fake, Duration::from_millis(4200));
        (watchdog, said, written)
    }

    #[test]
    fn the_real_timeout_counts_and_only_leaving_disarms() {
        let (watchdog, said, written) = arm(true, 16, false);
        assert_eq!(said, WatchdogInput::Working { timeout: Duration::from_secs(16) });
        let mut watchdog = watchdog.expect("it works");
        watchdog.order(WatchdogOrder::Feed).expect("it works");
        drop(watchdog);
        assert_eq!(*written.borrow(), [0], "what is dropped stays armed");
        let (watchdog, _, written) = arm(true, 5, false);
        let mut watchdog = watchdog.expect("it works");
        watchdog.order(WatchdogOrder::Disarm).expect("it works");
        watchdog.order(WatchdogOrder::Feed).expect("nothing is left to feed");
        assert_eq!(*written.borrow(), [b'V']);
    }

    #[test]
    fn what_cannot_be_stopped_stays_open_and_is_fed() {
        let written: Rc<RefCell<Vec<u8>>> = Rc::default();
        let fake = Fake { written: Rc::clone(&written), stays: true, real: 5, fails: false, nowayout: true };
        let (watchdog, _) = Watchdog::arm(Path::new("/dev/fake"), fake, Duration::from_millis(4200));
        let mut watchdog = watchdog.expect("it works");
        let told = watchdog.order(WatchdogOrder::Disarm).expect_err("it cannot be");
        assert!(told.contains("nowayout"), "{told}");
        assert_eq!(watchdog.state(), Some(WatchdogInput::Working { timeout: Duration::from_secs(5) }));
        watchdog.order(WatchdogOrder::Feed).expect("it works");
        assert_eq!(*written.borrow(), [0, 0], "closed, it would reset the machine");
    }

    #[test]
    fn a_device_that_proves_nothing_is_let_go() {
        for (stays, real) in [(false, 5), (true, 0)] {
            let (watchdog, said, written) = arm(stays, real, false);
            assert!(watchdog.is_none() && matches!(said, WatchdogInput::Missing { .. }), "{said:?}");
            assert_eq!(*written.borrow(), [b'V']);
        }
    }

    #[test]
    fn a_device_that_fails_is_told_of_once() {
        let (watchdog, _, _) = arm(true, 5, true);
        let mut watchdog = watchdog.expect("it was opened");
        assert!(watchdog.order(WatchdogOrder::Feed).expect_err("it fails").contains("/dev/fake"));
        assert_eq!(watchdog.order(WatchdogOrder::Feed), Ok(()));
    }

    #[test]
    fn what_is_no_watchdog_is_told_and_what_to_do() {
        let (watchdog, said) = Watchdog::open(Path::new("/dev/no-watchdog"), Duration::from_secs(5));
        assert!(watchdog.is_none());
        assert!(matches!(said, WatchdogInput::Missing { reason } if reason.contains("load its driver")));
        let (watchdog, said) = Watchdog::open(Path::new("/dev/null"), Duration::from_secs(5));
        assert!(watchdog.is_none());
        assert!(
            matches!(said, WatchdogInput::Missing { reason } if reason.contains("does not answer as one"))
        );
    }
}
