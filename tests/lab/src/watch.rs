//! What is looked at all the time, from outside and from inside of every host: which processes run, what guests write to the shared
//! disk, what a client is answered, what `roostd` says. One thread for each; what they see goes to the record, and what must
//! never be to the record as wrong.

use crate::judge::Judge;
use crate::machine::{Machine, is_on};
use crate::record::{Fact, Moment, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Before a host's port is opened again: a machine without power has none.
const REOPEN: Duration = Duration::from_millis(100);
/// How often is looked whether a host has power.
const LOOK: Duration = Duration::from_millis(50);
/// How often the shared disk is read. Guests write to it five times as rarely.
const READ: Duration = Duration::from_millis(40);
/// A host that has told nothing for so long stands still, or boots.
const MUTE: Duration = Duration::from_secs(3);
/// A guest that has not written for so long stands still.
const SILENT: Duration = Duration::from_millis(1500);
/// How late a look at a host's processes may come in, for these hosts are slow.
pub const LATE: Duration = Duration::from_millis(700);
/// How often a client asks, and how long it waits.
const ASK: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest answer, in bytes.
const ANSWER: usize = 256;
/// Bytes of the shared disk that are one guest's.
const PARTITION: u64 = 1 << 20;

/// A service and all places where it may be.
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Where it may answer: a name for the place, and the address.
    pub at: Vec<(&'static str, SocketAddr)>,
}

/// How the lines of a host's port end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The port has gone, as it does with the power.
    Closed,
    /// It is there, and nothing comes.
    Mute,
}

/// Follows the lines of a host's port, for ever; `ended` is told when none come any more.
fn follow(socket: PathBuf, mut line: impl FnMut(&str), mut ended: impl FnMut(End)) {
    loop {
        if let Ok(stream) = UnixStream::connect(&socket) {
            stream.set_read_timeout(Some(MUTE)).expect("it is no zero");
            let mut lines = BufReader::new(stream);
            let mut text = Vec::new();
            loop {
                match lines.read_until(b'\n', &mut text) {
                    Ok(1..) if text.ends_with(b"\n") => {
                        line(String::from_utf8_lossy(&text).trim());
                        text.clear();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ended(End::Mute),
                    Ok(_) | Err(_) => break,
                }
            }
            ended(End::Closed);
        }
        thread::sleep(REOPEN);
    }
}

/// Whether a host has power, whoever switched it, by the file with its process.
pub fn power(host: String, pid: PathBuf, record: Arc<Record>) {
    thread::spawn(move || {
        let mut known = None;
        loop {
            let on = is_on(&pid);
            if known.replace(on) != Some(on) {
                record.note(Fact::Power { host: host.clone(), on });
            }
            thread::sleep(LOOK);
        }
    });
}

/// What `roostd` on a host says, as `roost events --follow --json` has it. After a connection that ended some events come again.
pub fn events(host: String, socket: PathBuf, record: Arc<Record>) {
    thread::spawn(move || {
        let mut newest = 0;
        let say = |line: &str| {
            let Ok(event) = serde_json::from_str::<Value>(line) else { return };
            let word = |key: &str| event[key].as_str().map(str::to_owned);
            let seq = event["seq"].as_u64().unwrap_or(0);
            if seq <= newest {
                return;
            }
            newest = seq;
            record.note(Fact::Event {
                host: host.clone(),
                level: word("level").unwrap_or_default(),
                kind: word("kind").unwrap_or_default(),
                group: word("group"),
                text: word("text").unwrap_or_default(),
            });
        };
        follow(socket, say, |_| {});
    });
}

/// A VM or service on a host, as the last looks saw it.
struct Process {
    pid: u32,
    ticks: u64,
    /// When it was last seen to have run.
    last: Moment,
    runs: bool,
}

/// Which VMs run on a host, by the time that their vCPUs ran.
pub fn processes(machine: Arc<Machine>, record: Arc<Record>, judge: Arc<Mutex<Judge>>) {
    thread::spawn(move || {
        let host = machine.name.clone();
        let known: Mutex<(BTreeMap<String, Process>, Moment)> = Mutex::new((BTreeMap::new(), Duration::ZERO));
        let stop = |group: &str, process: &mut Process| {
            if process.runs {
                process.runs = false;
                record.note(Fact::Runs { group: group.to_owned(), host: host.clone(), runs: false });
            }
        };
        let look = |line: &str| {
            let mut known = known.lock().expect("one thread alone has it");
            let (known, before) = &mut *known;
            let mut words = line.split(' ');
            let (Some(boot), Some(_uptime)) = (words.next(), words.next()) else { return };
            let now = record.now();
            let mut seen = Vec::new();
            for (group, pid, ticks) in words.filter_map(vm) {
                seen.push(group);
                let new = || Process { pid, ticks, last: now, runs: false };
                let process = known.entry(group.to_owned()).or_insert_with(new);
                if process.pid != pid {
                    stop(group, process);
                    *process = new();
                }
                if ticks > process.ticks {
                    process.ticks = ticks;
                    process.last = now;
                    let runner = format!("{host}, boot {}, pid {pid}", boot.get(..8).unwrap_or(boot));
                    if let Some(wrong) =
                        judge.lock().expect("it does not panic").ran(group, &runner, *before, now)
                    {
                        record.note(Fact::Wrong(format!("by its processes, {wrong}")));
                    }
                    if !process.runs {
                        process.runs = true;
                        record.note(Fact::Runs { group: group.to_owned(), host: host.clone(), runs: true });
                    }
                } else if now.saturating_sub(process.last) > SILENT {
                    stop(group, process);
                }
            }
            for (group, process) in known.iter_mut().filter(|(group, _)| !seen.contains(&group.as_str())) {
                stop(group, process);
            }
            *before = now;
        };
        let ended = |end| {
            let mut known = known.lock().expect("one thread alone has it");
            known.0.iter_mut().for_each(|(group, process)| stop(group, process));
            // Once for each time.
            if end == End::Mute && !known.0.is_empty() {
                record.note(Fact::Deed(format!(
                    "nothing: {host} has power, and tells nothing; see its mute.log"
                )));
                let _ = machine.look_inside(); // it may lose its power in this moment
            }
            known.0.clear();
        };
        follow(machine.file("checker.sock"), look, ended);
    });
}

/// `NAME:PID:TICKS`.
fn vm(word: &str) -> Option<(&str, u32, u64)> {
    let mut parts = word.split(':');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Which guests write to the shared disk, whose partitions are `groups` in their order. What one reads is what was written last, so
/// the order of boots is certain here.
pub fn disk(file: File, groups: Vec<&'static str>, record: Arc<Record>) {
    thread::spawn(move || {
        let mut judge = Judge::new(Duration::ZERO);
        let mut known: Vec<Option<(String, u64, Moment)>> = vec![None; groups.len()];
        loop {
            for (nth, (group, known)) in groups.iter().zip(&mut known).enumerate() {
                let mut sector = [0; 512];
                let now = record.now();
                if file.read_exact_at(&mut sector, (nth as u64 + 1) * PARTITION).is_err() {
                    continue;
                }
                let beat =
                    core::str::from_utf8(&sector).ok().and_then(|text| text.trim_end().split_once(' '));
                let Some((boot, Ok(number))) =
                    beat.map(|(boot, number)| (boot.to_owned(), number.trim().parse()))
                else {
                    continue;
                };
                match known {
                    Some((same, last, at)) if *same == boot && *last == number => {
                        if *at != Duration::ZERO && now - *at > SILENT {
                            *at = Duration::ZERO;
                            record.note(Fact::Beats { group: (*group).to_owned(), boot: None });
                        }
                        continue;
                    }
                    Some((same, _, at)) if *same == boot && *at != Duration::ZERO => {}
                    Some(_) => {
                        record.note(Fact::Beats { group: (*group).to_owned(), boot: Some(boot.clone()) });
                    }
                    // What was written before the lab looked may be of a run before.
                    None => {
                        *known = Some((boot, number, Duration::ZERO));
                        continue;
                    }
                }
                *known = Some((boot.clone(), number, now));
                if let Some(wrong) = judge.ran(group, &boot, now, now) {
                    record.note(Fact::Wrong(format!("by what is on its disk, {wrong}")));
                }
            }
            thread::sleep(READ);
        }
    });
}

/// Asks a service wherever it may be, as its clients do. One that answers after another did, of which it is older, runs twice.
pub fn client(service: Service, record: &Arc<Record>) {
    let seen = Arc::new(Mutex::new((Judge::new(Duration::ZERO), BTreeMap::<&'static str, String>::new())));
    for (place, address) in service.at {
        let (record, seen, name) = (Arc::clone(record), Arc::clone(&seen), service.name);
        thread::spawn(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
                socket.connect(address)?;
                socket.set_read_timeout(Some(PATIENCE)).map(|()| socket)
            });
            let socket = socket.expect("this machine has ports, and a way to its own bridge");
            for number in 0_u64.. {
                let asked = record.now();
                let answer = ask(&socket, number).ok();
                let mut seen = seen.lock().expect("it does not panic");
                let (judge, answering) = &mut *seen;
                if let Some(answer) = &answer {
                    let wrong =
                        judge.ran(name, &format!("{place}, boot and process {answer}"), asked, record.now());
                    if let Some(wrong) = wrong {
                        record.note(Fact::Wrong(format!("by its answers, {wrong}")));
                    }
                }
                if answer.as_ref() != answering.get(place) {
                    match answer {
                        Some(answer) => answering.insert(place, answer),
                        None => answering.remove(place),
                    };
                    let here = answering.contains_key(place).then_some(&place);
                    let from = here.or_else(|| answering.keys().next()).map(|place| (*place).to_owned());
                    record.note(Fact::Answers { service: name.to_owned(), from });
                }
                drop(seen);
                thread::sleep(ASK);
            }
        });
    }
}

/// What a service answers to a question, which has a number of its own: its boot and process.
fn ask(socket: &UdpSocket, number: u64) -> io::Result<String> {
    let question = format!("{number} ");
    socket.send(question.as_bytes())?;
    let mut answer = [0; ANSWER];
    loop {
        let length = socket.recv(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        // One to a question before has come too late.
        if let Some(answer) = answer.strip_prefix(&question) {
            return Ok(answer.trim().to_owned());
        }
    }
}
