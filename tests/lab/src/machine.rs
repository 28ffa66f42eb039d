//! One host of the lab: a VM with power, cables, a screen, and an agent inside.

use crate::agent::{Agent, Done};
use crate::record::{Fact, Record};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a command in a host may take, unless more is said. These hosts are slow.
const COMMAND: Duration = Duration::from_secs(60);

/// A host.
pub struct Machine {
    /// Its name.
    pub name: String,
    lab: PathBuf,
    scripts: PathBuf,
    record: Arc<Record>,
    agent: Mutex<Agent>,
}

impl Machine {
    /// The host of that name in the lab's folder; `scripts` holds `power` and `bmc`.
    pub fn new(name: &str, lab: &Path, scripts: &Path, record: Arc<Record>) -> Self {
        let agent = Mutex::new(Agent::new(lab.join("hosts").join(name).join("qga.sock")));
        Self { name: name.to_owned(), lab: lab.to_owned(), scripts: scripts.to_owned(), record, agent }
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.lab.join("hosts").join(&self.name).join(name)
    }

    fn script(&self, script: &str, word: &str) -> Result<String, String> {
        let done = Command::new(self.scripts.join(script))
            .arg(&self.lab)
            .args([&self.name, word])
            .output()
            .map_err(|error| format!("'{script}' cannot be run: {error}"))?;
        if !done.status.success() {
            return Err(format!(
                "'{script} {} {word}' failed: {}",
                self.name,
                String::from_utf8_lossy(&done.stderr)
            ));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// Gives it power, or takes it away: nothing in it notices the end.
    pub fn power(&self, on: bool) -> Result<(), String> {
        let word = if on { "on" } else { "off" };
        self.record.note(Fact::Deed(format!("{} is switched {word}", self.name)));
        self.script("power", word).map(drop)
    }

    /// Whether it has power.
    pub fn is_on(&self) -> bool {
        is_on(&self.file("qemu.pid"))
    }

    /// Switches its management processor on, or makes it unreachable.
    pub fn bmc(&self, on: bool) -> Result<(), String> {
        self.record.note(Fact::Deed(format!(
            "the BMC of {} is {}",
            self.name,
            if on { "reachable" } else { "unreachable" }
        )));
        self.script("bmc", if on { "on" } else { "off" }).map(drop)
    }

    /// Runs a line of shell in it, whatever its exit status. An error is: no answer.
    pub fn try_run(&self, line: &str, bound: Duration) -> io::Result<Done> {
        self.agent.lock().expect("it does not panic").run(line, bound)
    }

    /// Runs a line of shell in it, which must succeed, and says what it printed.
    pub fn run(&self, line: &str) -> Result<String, String> {
        match self.try_run(line, COMMAND) {
            Ok(Done { status: Some(0), text }) => Ok(text),
            Ok(Done { status, text }) => {
                Err(format!("on {}: '{line}' ended with {status:?}: {}", self.name, text.trim()))
            }
            Err(error) => Err(format!("on {}: '{line}': {error}", self.name)),
        }
    }

    /// Asks QEMU's monitor.
    pub fn monitor(&self, execute: &str, arguments: &Value) -> Result<Value, String> {
        self.ask_monitor(execute, arguments)
            .map_err(|error| format!("the monitor of {}, asked for '{execute}': {error}", self.name))
    }

    fn ask_monitor(&self, execute: &str, arguments: &Value) -> io::Result<Value> {
        let stream = UnixStream::connect(self.file("qmp.sock"))?;
        stream.set_read_timeout(Some(COMMAND))?;
        let mut monitor = BufReader::new(stream);
        let mut line = String::new();
        monitor.read_line(&mut line)?; // its greeting
        for ask in
            [json!({ "execute": "qmp_capabilities" }), json!({ "execute": execute, "arguments": arguments })]
        {
            writeln!(monitor.get_mut(), "{ask}")?;
            loop {
                line.clear();
                if monitor.read_line(&mut line)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let answer: Value = serde_json::from_str(&line)?;
                if let Some(error) = answer.get("error") {
                    return Err(io::Error::other(error["desc"].to_string()));
                }
                if let Some(value) = answer.get("return") {
                    if ask["execute"] == execute {
                        return Ok(value.clone());
                    }
                    break;
                }
            }
        }
        unreachable!("the second question was answered above")
    }

    /// Appends what its processors do to its file `mute.log`, twice, a second apart: it has power and tells nothing.
    pub fn look_inside(&self) -> Result<(), String> {
        let failed = |error: io::Error| format!("mute.log of {}: {error}", self.name);
        let mut log =
            OpenOptions::new().create(true).append(true).open(self.file("mute.log")).map_err(failed)?;
        for pause in [Duration::ZERO, Duration::from_secs(1)] {
            thread::sleep(pause);
            let said =
                self.monitor("human-monitor-command", &json!({ "command-line": "info registers -a" }))?;
            let (at, said) = (self.record.now().as_secs_f64(), said.as_str().unwrap_or_default());
            writeln!(log, "{at:.2} s\n{said}").map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the whole machine stand still, its clock and watchdog with it, or go on.
    pub fn frozen(&self, frozen: bool) -> Result<(), String> {
        self.record.note(Fact::Deed(format!(
            "{} {}",
            self.name,
            if frozen { "stands still" } else { "goes on" }
        )));
        self.monitor(if frozen { "stop" } else { "cont" }, &json!({})).map(drop)
    }

    /// Undoes what was done to it from outside.
    pub fn mend(&self) -> Result<(), String> {
        self.script("bmc", "on")?;
        let up = |link| self.monitor("set_link", &json!({ "name": link, "up": true })).map(drop);
        let mended =
            self.monitor("cont", &json!({})).map(drop).and_then(|()| up("link0")).and_then(|()| up("link1"));
        // One without power has nothing of that, and may lose it in this moment.
        if self.is_on() { mended } else { Ok(()) }
    }

    /// Cuts or mends one of its two cables.
    pub fn cable(&self, link: usize, up: bool) -> Result<(), String> {
        self.record.note(Fact::Deed(format!(
            "cable {link} of {} is {}",
            self.name,
            if up { "mended" } else { "cut" }
        )));
        self.monitor("set_link", &json!({ "name": format!("link{link}"), "up": up })).map(drop)
    }
}

/// Whether the process runs whose number is in that file. The script that switches it is not asked, for it waits for its turn.
pub fn is_on(pid: &Path) -> bool {
    fs::read_to_string(pid).is_ok_and(|pid| fs::metadata(format!("/proc/{}/exe", pid.trim())).is_ok())
}
