//! One run of one fence agent: options as `key=value` lines on its standard input, no arguments, after the fence agent API
//! (ClusterLabs, fence-agents, doc/FenceAgentAPI.md).

use crate::config::FenceAgent;
use crate::driver::leash::Leash;
use crate::sys::process::{ends_within, pidfd_open};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// What is kept of an agent's output, in bytes; the rest is read and thrown away.
const OUTPUT: usize = 4096;
/// What is told of it, in bytes.
const TOLD: usize = 300;

/// Whether a machine has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    On,
    Off,
}

/// What a run ended with.
pub struct Ran {
    status: ExitStatus,
    /// Both outputs.
    output: String,
}

/// Asks for the power. It is off when the agent's words say so and its exit status does not say otherwise.
pub fn status(leash: &Leash, folder: &Path, agent: &FenceAgent) -> Result<Power, String> {
    let ran = spawn(leash, folder, agent, "status")?;
    let said = ran.output.lines().find_map(|line| {
        let (key, value) = line.trim().split_once(':')?;
        key.trim().eq_ignore_ascii_case("status").then(|| value.trim().to_ascii_lowercase())
    });
    match (said.as_deref(), ran.status.code()) {
        (Some("off"), Some(0 | 2)) => Ok(Power::Off),
        (Some("on"), Some(0)) | (None, Some(0)) => Ok(Power::On),
        _ => Err(ran.complaint(agent, "status")),
    }
}

/// Runs an action that must end well.
pub fn run(leash: &Leash, folder: &Path, agent: &FenceAgent, action: &str) -> Result<Ran, String> {
    let ran = spawn(leash, folder, agent, action)?;
    if ran.status.success() { Ok(ran) } else { Err(ran.complaint(agent, action)) }
}

impl Ran {
    fn complaint(&self, agent: &FenceAgent, action: &str) -> String {
        let lines: Vec<&str> = self.output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words: String = roost_proto::text::printable(&lines.join("; ")).chars().take(TOLD).collect();
        let words = if words.is_empty() { "nothing".to_owned() } else { format!("\"{words}\"") };
        format!("'{}', asked for {action}, ended with {} and said {words}", agent.agent, self.status)
    }
}

fn spawn(leash: &Leash, folder: &Path, agent: &FenceAgent, action: &str) -> Result<Ran, String> {
    let name = &agent.agent;
    let plain = name.strip_prefix("fence_").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    });
    if !plain {
        return Err(format!("'{name}' is no fence agent's name"));
    }
    if leash.is_cut() {
        return Err(format!("'{name}' was not asked for {action}: it is not wanted any more"));
    }
    let mut child = Command::new(folder.join(name))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        // What Python thinks of an agent's source is no news of the machine; Debian 12's fence_ipmilan has it say so each time.
        .env("PYTHONWARNINGS", "ignore")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            format!(
                "'{}' cannot be run: {error}; install it (Debian: fence-agents)",
                folder.join(name).display()
            )
        })?;
    leash.hold(Pid::from_raw(child.id().cast_signed()));
    let mut input = String::new();
    for (key, value) in &agent.options {
        input += &format!("{key}={value}\n");
    }
    input += &format!("action={action}\n");
    let stdin = child.stdin.take();
    let outputs = [child.stdout.take().map(collect), child.stderr.take().map(collect)];
    // What it does not read it does not want; when its time is over it is killed with its group, and nobody holds the pipe.
    std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
    let lost = |error| format!("'{name}' was lost: {error}");
    let ended =
        match pidfd_open(child.id().cast_signed()).and_then(|it| ends_within(it.as_fd(), agent.timeout)) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(format!("'{name}', asked for {action}, did not end within {} s", agent.timeout.as_secs()))
            }
            Err(error) => Err(lost(error)),
        };
    leash.let_go(); // what it left behind holds its output open
    if let Err(why) = ended {
        std::thread::spawn(move || child.wait()); // the kernel may take its time to end it
        return Err(why);
    }
    let status = child.wait().map_err(lost)?;
    let output = outputs.into_iter().flatten().filter_map(|output| output.recv().ok()).collect();
    Ok(Ran { status, output })
}

/// Reads a pipe to its end, and keeps the beginning.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
        while let Ok(count) = pipe.read(&mut buffer) {
            if count == 0 {
                break;
            }
            let room = OUTPUT - kept.len();
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
        let _ = tell.send(String::from_utf8_lossy(&kept).into_owned());
    });
    told
}
