//! The fencer, with agents that do and do not behave. Each is a small script; `state` in its folder is the machine's power.

use core::time::Duration;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use roost::config::{FenceAgent, FenceLevel};
use roost::driver::fencer::Fencer;
use roost::engine::fence::{FenceAction, FenceOrder, FenceResult, FenceTicket};
use roost_proto::cluster::HostId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Reads its options, and does what is asked with the file that `state` names.
const GOOD: &str = r#"
while IFS='=' read -r key value; do
    case $key in action) action=$value ;; state) state=$value ;; esac
done
[ $# = 0 ] || { echo "arguments: $*"; exit 1; }
echo "$action" >>"$state.log"
case $action in
    off) echo off >"$state"; echo "Success: Powered OFF" ;;
    on) echo on >"$state"; echo "Success: Powered ON" ;;
    status)
        if [ "$(cat "$state")" = off ]; then echo "Status: OFF"; exit 2; fi
        echo "Status: ON" ;;
esac
"#;

/// Says that it switched off, and did not.
const LIAR: &str = r#"
while IFS='=' read -r key value; do [ "$key" = action ] && action=$value; done
[ "$action" = status ] && echo "Status: ON"
exit 0
"#;

/// Ends as if the machine were off, and says nothing.
const MUTE: &str = "cat >/dev/null\nexit 2\n";
/// Fails with words on several lines, one of them only if Python would warn.
const WORDY: &str = r#"
cat >/dev/null
[ "$PYTHONWARNINGS" = ignore ] || echo "fence_wordy:5: DeprecationWarning: 'pipes' is deprecated"
printf 'ERROR: connection timed out\n\n  Please use "-h" for usage\n' >&2
exit 1
"#;
/// Hangs with a child that holds its output open, and reads nothing.
const HANGING: &str = "sleep 1000 &\nsleep 1000\n";
/// Says far too much, then fails.
const CHATTY: &str = "cat >/dev/null\nhead -c 5000000 /dev/zero | tr '\\0' 'x'\nexit 1\n";
/// Tells on a FIFO, which it and its child hold open, that it has begun; then hangs.
const SLOW: &str = r#"
while IFS='=' read -r key value; do [ "$key" = state ] && state=$value; done
exec 3>"$state.pipe"
echo begun >&3
sleep 1000 &
sleep 1000
"#;
/// Leaves a child behind that holds its output open, and ends well.
const LEAVING: &str = r#"
while IFS='=' read -r key value; do [ "$key" = action ] && action=$value; done
sleep 1000 &
[ "$action" = status ] && { echo "Status: OFF"; exit 2; }
exit 0
"#;

const TICKET: FenceTicket = FenceTicket(7);

struct Bed {
    dir: PathBuf,
    fencer: Fencer,
}

impl Bed {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("roost-fencer-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a fresh folder");
        let bed = Self { fencer: Fencer::new(&dir).expect("a fencer"), dir };
        for (name, script) in [
            ("fence_good", GOOD),
            ("fence_liar", LIAR),
            ("fence_mute", MUTE),
            ("fence_wordy", WORDY),
            ("fence_hanging", HANGING),
            ("fence_chatty", CHATTY),
            ("fence_leaving", LEAVING),
            ("fence_slow", SLOW),
        ] {
            let file = bed.dir.join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{script}")).expect("ours");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("ours");
        }
        bed
    }

    /// A machine that is on, and an agent for it.
    fn agent(&self, agent: &str, machine: &str) -> FenceAgent {
        let state = self.dir.join(machine);
        if !state.exists() {
            std::fs::write(&state, "on\n").expect("ours");
        }
        let options = BTreeMap::from([("state".to_owned(), state.display().to_string())]);
        let (delay, timeout) = (Duration::ZERO, Duration::from_secs(2));
        FenceAgent { agent: agent.to_owned(), options, delay, timeout, retries: 1 }
    }

    fn ask(&mut self, action: FenceAction, levels: &[&[FenceAgent]]) -> FenceResult {
        self.order(action, levels);
        self.answer()
    }

    fn order(&mut self, action: FenceAction, levels: &[&[FenceAgent]]) {
        let levels = levels.iter().map(|agents| FenceLevel { agents: agents.to_vec() }).collect();
        self.fencer.order(FenceOrder {
            ticket: TICKET,
            host: HostId(1),
            name: "h1".to_owned(),
            levels,
            action,
        });
    }

    fn answer(&mut self) -> FenceResult {
        loop {
            if let Some((of, result)) = self.fencer.poll() {
                assert_eq!(of, TICKET);
                return result;
            }
            let ready =
                poll(&mut [PollFd::new(self.fencer.fd(), PollFlags::POLLIN)], PollTimeout::from(60_000_u16));
            assert_eq!(ready, Ok(1), "the fencer says nothing");
        }
    }

    fn power(&self, machine: &str) -> String {
        std::fs::read_to_string(self.dir.join(machine)).expect("a machine").trim().to_owned()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Why it failed.
fn reason(result: FenceResult) -> String {
    match result {
        FenceResult::Failed { reason } => reason,
        other => panic!("it did not fail: {other:?}"),
    }
}

#[test]
fn a_machine_is_asked_for_switched_off_seen_off_and_switched_on() {
    let mut bed = Bed::new();
    let agent = [bed.agent("fence_good", "m")];
    assert_eq!(bed.ask(FenceAction::Status, &[&agent]), FenceResult::On);
    assert_eq!(bed.ask(FenceAction::Off, &[&agent]), FenceResult::Off);
    assert_eq!(bed.power("m"), "off");
    assert_eq!(bed.ask(FenceAction::Status, &[&agent]), FenceResult::Off);
    assert_eq!(bed.ask(FenceAction::On, &[&agent]), FenceResult::On);
    assert_eq!(bed.power("m"), "on");
    let log = std::fs::read_to_string(bed.dir.join("m.log")).expect("kept");
    assert_eq!(log.split_whitespace().collect::<Vec<_>>(), ["status", "off", "status", "status", "on"]);
}

#[test]
fn what_ends_well_and_is_still_on_is_not_off() {
    let mut bed = Bed::new();
    let why = reason(bed.ask(FenceAction::Off, &[&[bed.agent("fence_liar", "m")]]));
    assert!(why.contains("still on"), "{why}");
}

#[test]
fn what_an_agent_complains_of_is_told_on_one_line() {
    let mut bed = Bed::new();
    let why = reason(bed.ask(FenceAction::Off, &[&[bed.agent("fence_wordy", "m")]]));
    assert!(why.ends_with(r#"said "ERROR: connection timed out; Please use "-h" for usage""#), "{why}");
}

#[test]
fn an_exit_status_alone_proves_nothing() {
    let mut bed = Bed::new();
    let why = reason(bed.ask(FenceAction::Status, &[&[bed.agent("fence_mute", "m")]]));
    assert!(why.contains("fence_mute") && why.contains("said nothing"), "{why}");
}

#[test]
fn an_agent_that_hangs_is_killed_with_its_children_and_the_next_level_tried() {
    let mut bed = Bed::new();
    let hanging = [bed.agent("fence_hanging", "m")];
    let why = reason(bed.ask(FenceAction::Status, &[&hanging]));
    assert!(why.contains("did not end within 2 s"), "{why}");
    let good = [bed.agent("fence_good", "m")];
    assert_eq!(bed.ask(FenceAction::Off, &[&hanging, &good]), FenceResult::Off);
    assert_eq!(bed.power("m"), "off");
}

#[test]
fn an_order_that_is_withdrawn_ends_its_agent_and_asks_no_other() {
    let mut bed = Bed::new();
    let mut slow = bed.agent("fence_slow", "m");
    slow.timeout = Duration::from_secs(1000);
    let pipe = bed.dir.join("m.pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a FIFO");
    let good = bed.agent("fence_good", "m");
    bed.order(FenceAction::Off, &[&[slow], &[good]]);
    let mut pipe = BufReader::new(File::open(&pipe).expect("it is opened"));
    let mut begun = String::new();
    pipe.read_line(&mut begun).expect("it is read");
    bed.fencer.withdraw(TICKET);
    assert_eq!(pipe.read_line(&mut begun).expect("it is read"), 0, "it and its child have ended");
    assert_eq!(bed.answer(), FenceResult::Withdrawn);
    assert_eq!((begun.as_str(), bed.power("m").as_str()), ("begun\n", "on"));
    bed.fencer.withdraw(TICKET); // too late is nothing
    let mut late = bed.agent("fence_good", "m");
    late.delay = Duration::from_secs(1000);
    bed.order(FenceAction::Off, &[&[late]]);
    bed.fencer.withdraw(TICKET);
    assert_eq!((bed.answer(), bed.power("m").as_str()), (FenceResult::Withdrawn, "on"));
    let good = bed.agent("fence_good", "m");
    assert_eq!(bed.ask(FenceAction::Off, &[&[good]]), FenceResult::Off, "what is ordered next is done");
}

#[test]
fn all_agents_of_a_level_must_see_it_off() {
    let mut bed = Bed::new();
    let (one, two) = (bed.agent("fence_good", "one"), bed.agent("fence_good", "two"));
    let both = [one.clone(), two];
    assert_eq!(bed.ask(FenceAction::Off, &[&[one]]), FenceResult::Off);
    assert_eq!(bed.ask(FenceAction::Status, &[&both]), FenceResult::On, "one supply still gives power");
    assert_eq!(bed.ask(FenceAction::Off, &[&both]), FenceResult::Off);
    assert_eq!((bed.power("one"), bed.power("two")), ("off".to_owned(), "off".to_owned()));
    let half = [bed.agent("fence_good", "three"), bed.agent("fence_liar", "three")];
    assert!(reason(bed.ask(FenceAction::Off, &[&half])).contains("still on"));
}

#[test]
fn what_an_agent_says_is_bounded_and_what_it_leaves_behind_is_ended() {
    let mut bed = Bed::new();
    let why = reason(bed.ask(FenceAction::Off, &[&[bed.agent("fence_chatty", "m")]]));
    assert!(why.len() < 1000 && why.contains("xxx"), "{} bytes", why.len());
    assert_eq!(bed.ask(FenceAction::Off, &[&[bed.agent("fence_leaving", "m")]]), FenceResult::Off);
}

#[test]
fn what_is_no_agent_is_not_run() {
    let mut bed = Bed::new();
    for name in ["fence_../../bin/sh", "sh", "fence_"] {
        let why = reason(bed.ask(FenceAction::Status, &[&[bed.agent(name, "m")]]));
        assert!(why.contains("no fence agent's name"), "{why}");
    }
    let why = reason(bed.ask(FenceAction::Status, &[&[bed.agent("fence_missing", "m")]]));
    assert!(why.contains("install it"), "{why}");
}

/// An agent of the distribution, as it is.
#[test]
fn a_packaged_agent_is_driven_unmodified() {
    let folder = Path::new("/usr/sbin");
    assert!(folder.join("fence_dummy").exists(), "install fence-agents, as tests/run does");
    let mut bed = Bed::new();
    bed.fencer = Fencer::new(folder).expect("a fencer");
    let mut agent = bed.agent("fence_dummy", "unused");
    let file = bed.dir.join("status");
    let options = [("type", "file".to_owned()), ("status_file", file.display().to_string())];
    agent.options = options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    agent.timeout = Duration::from_secs(30);
    let level = [agent];
    assert_eq!(bed.ask(FenceAction::On, &[&level]), FenceResult::On);
    assert_eq!(bed.ask(FenceAction::Status, &[&level]), FenceResult::On);
    assert_eq!(bed.ask(FenceAction::Off, &[&level]), FenceResult::Off);
    assert_eq!(bed.ask(FenceAction::Status, &[&level]), FenceResult::Off);
}
