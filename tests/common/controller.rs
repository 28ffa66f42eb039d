//! `roost-guest` as a whole, beside a daemon: a test program starts itself as that.

#![allow(dead_code)] // each test program uses its part

use crate::common::Bed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set for the very test program, when it is to be `roost-guest`: the folder of its files.
pub const AS_GUEST: &str = "ROOST_TEST_GUEST";

/// What the test called `controller` of such a program does: it is `roost-guest`, if it was started as that.
pub fn main() {
    let Ok(dir) = std::env::var(AS_GUEST) else { return };
    let args = ["--config", &format!("{dir}/guest.toml"), "--run-dir", &format!("{dir}/guest"), "run"];
    let exit = roost_guest::main(args.map(Into::into));
    std::process::exit(i32::from(exit.code()));
}

/// A controller, and what it started: gone when it is dropped.
pub struct Controller {
    dir: PathBuf,
    child: Option<Child>,
}

impl Controller {
    /// Runs with this configuration, in which `DIR` stands for the bed's folder.
    pub fn start(bed: &Bed, config: &str) -> Self {
        let text = config.replace("DIR", bed.dir.to_str().expect("a plain path"));
        std::fs::write(bed.dir.join("guest.toml"), text).expect("writable");
        let mut controller = Self { dir: bed.dir.clone(), child: None };
        controller.run();
        controller
    }

    pub fn run(&mut self) {
        let program = std::env::current_exe().expect("this program");
        let log = std::fs::File::create(self.dir.join("guest.log")).expect("a log");
        let mut command = Command::new(program);
        command.args(["--exact", "controller", "--nocapture"]).env(AS_GUEST, &self.dir);
        let copy = log.try_clone().expect("a copy");
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(copy).spawn().expect("it runs"));
    }

    pub fn crash(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().and_then(|()| child.wait()).expect("it ends");
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(pid) = process(&self.dir) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!(
                "--- log of roost-guest\n{}",
                std::fs::read_to_string(self.dir.join("guest.log")).unwrap_or_default()
            );
        }
    }
}

/// The application's process, if it runs: it is a `sleep` whose number is in the file `pid`.
pub fn process(dir: &Path) -> Option<i32> {
    let pid = std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()?;
    let runs =
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("sleep"));
    runs.then_some(pid)
}
