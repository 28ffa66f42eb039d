//! The agent in each host (qemu-guest-agent), by which commands are run there. It needs no network, so it is there when all
//! cables are cut.

use data_encoding::BASE64;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is asked whether a command has ended; the agent has no event for that.
const ASK_AGAIN: Duration = Duration::from_millis(25);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i64>,
    /// What it printed, and then its errors.
    pub text: String,
}

/// Runs a line of shell, for at most `bound`.
pub fn run(socket: &Path, line: &str, bound: Duration) -> io::Result<Done> {
    let end = Instant::now() + bound;
    let mut agent = Agent::reach(socket, bound.min(ANSWER))?;
    let wanted = json!({ "path": "/bin/sh", "arg": ["-c", line], "capture-output": true });
    let pid = agent.ask("guest-exec", &wanted)?["pid"].clone();
    loop {
        let state = agent.ask("guest-exec-status", &json!({ "pid": pid }))?;
        if state["exited"] == true {
            return Ok(Done {
                status: state["exitcode"].as_i64(),
                text: said(&state["out-data"]) + &said(&state["err-data"]),
            });
        }
        if Instant::now() > end {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("'{line}' has not ended after {bound:?}"),
            ));
        }
        thread::sleep(ASK_AGAIN);
    }
}

fn said(data: &Value) -> String {
    let bytes = data.as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A conversation with an agent.
struct Agent(BufReader<UnixStream>);

impl Agent {
    fn reach(socket: &Path, bound: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(bound))?;
        stream.set_write_timeout(Some(bound))?;
        let mut agent = Self(BufReader::new(stream));
        // What an earlier conversation left unread ends with the byte 0xff, before the answer to this.
        let number = std::process::id();
        let ask = json!({ "execute": "guest-sync-delimited", "arguments": { "id": number } });
        writeln!(agent.0.get_mut(), "{ask}")?;
        loop {
            let mut left = Vec::new();
            if agent.0.read_until(0xff, &mut left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut line = String::new();
            agent.0.read_line(&mut line)?;
            if serde_json::from_str::<Value>(&line).is_ok_and(|answer| answer["return"] == number) {
                return Ok(agent);
            }
        }
    }

    fn ask(&mut self, execute: &str, arguments: &Value) -> io::Result<Value> {
        let ask = json!({ "execute": execute, "arguments": arguments });
        writeln!(self.0.get_mut(), "{ask}")?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => {
                Err(io::Error::other(format!("the agent refuses '{execute}': {}", answer["error"]["desc"])))
            }
        }
    }
}
