//! The agent in each host (qemu-guest-agent), by which commands are run there. It needs no network, so it is there when all
//! cables are cut.

use data_encoding::BASE64;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How soon it is asked whether a command has ended, and how rarely at last; the agent has no event for that, and puts each question
/// in the journal.
const ASK_AGAIN: Duration = Duration::from_millis(30);
const ASK_RARELY: Duration = Duration::from_millis(300);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i64>,
    /// What it printed, and then its errors.
    pub text: String,
}

/// A conversation with the agent of one host, which is kept up: an agent whose answer nobody reads spins.
pub struct Agent {
    socket: PathBuf,
    stream: Option<BufReader<UnixStream>>,
    /// Whether nothing is left unread.
    even: bool,
    /// Of the last synchronisation.
    number: u64,
}

impl Agent {
    /// The agent behind that socket, which need not be there yet.
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket, stream: None, even: false, number: 0 }
    }

    /// Runs a line of shell, for at most `bound`.
    pub fn run(&mut self, line: &str, bound: Duration) -> io::Result<Done> {
        let end = Instant::now() + bound;
        let wanted = json!({ "path": "/bin/sh", "arg": ["-c", line], "capture-output": true });
        self.reach(bound.min(ANSWER))?;
        let begun = match self.ask("guest-exec", &wanted) {
            // The machine lost its power since the last question, and heard nothing of this one.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reach(bound.min(ANSWER))?;
                self.ask("guest-exec", &wanted)?
            }
            begun => begun?,
        };
        let pid = begun["pid"].clone();
        let mut pause = ASK_AGAIN;
        loop {
            let state = self.ask("guest-exec-status", &json!({ "pid": pid }))?;
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
            thread::sleep(pause);
            pause = (pause * 2).min(ASK_RARELY);
        }
    }

    /// Connects if need be, and reads what an earlier question left unread: it ends with the byte 0xff, before the answer to this.
    fn reach(&mut self, bound: Duration) -> io::Result<()> {
        if self.stream.is_none() {
            self.stream = Some(BufReader::new(UnixStream::connect(&self.socket)?));
            self.even = false;
        }
        let stream = self.stream.as_mut().expect("it was made above").get_mut();
        stream.set_read_timeout(Some(bound))?;
        stream.set_write_timeout(Some(bound))?;
        if self.even {
            return Ok(());
        }
        self.number += 1;
        let number = self.number;
        self.say("guest-sync-delimited", &json!({ "id": number }))?;
        loop {
            let mut left = Vec::new();
            self.read(|stream| stream.read_until(0xff, &mut left))?;
            if self.hear()?["return"] == number {
                self.even = true;
                return Ok(());
            }
        }
    }

    fn ask(&mut self, execute: &str, arguments: &Value) -> io::Result<Value> {
        self.even = false;
        self.say(execute, arguments)?;
        let answer = self.hear()?;
        self.even = true;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => {
                Err(io::Error::other(format!("the agent refuses '{execute}': {}", answer["error"]["desc"])))
            }
        }
    }

    fn say(&mut self, execute: &str, arguments: &Value) -> io::Result<()> {
        let ask = json!({ "execute": execute, "arguments": arguments });
        self.read(|stream| writeln!(stream.get_mut(), "{ask}").map(|()| 1)).map(drop)
    }

    fn hear(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.read(|stream| stream.read_line(&mut line))?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Does something with the connection. One that ended is given up; one that is slow is not.
    fn read(
        &mut self,
        what: impl FnOnce(&mut BufReader<UnixStream>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let done = match what(stream) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            done => done,
        };
        if let Err(error) = &done
            && !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        {
            self.stream = None;
        }
        done
    }
}

fn said(data: &Value) -> String {
    let bytes = data.as_str().and_then(|text| BASE64.decode(text.as_bytes()).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
