//! How long after a process is killed its restart has begun: 50 times. `cargo bench -p roost-guest --bench restart`
//!
//! Measured from just before the kill to the first line of the new process, so it holds the kernel's part as well.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Bed, kill};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

const ROUNDS: usize = 50;
const BUDGET: Duration = Duration::from_millis(10);

fn main() {
    let mut bed = Bed::new();
    nix::unistd::mkfifo(&bed.path("born"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    // A group with attempts for all rounds; what is measured is the first restart of a window each time.
    bed.configure(
        "[[group]]\nname = \"site\"\n[[group.resource]]\nname = \"web\"\nkind = \"process\"\n\
         attempts = 1\nwindow = \"100ms\"\nbackoff = \"100ms\"\nbackoff_max = \"100ms\"\nstart_timeout = \"1s\"\nstop_timeout = \"1s\"\n\
         command = [\"/bin/sh\", \"-c\", \"echo $$ > DIR/born; exec sleep 1000\"]\n",
    );
    bed.start();
    let born = File::options().read(true).write(true).open(bed.path("born")).expect("opened");
    let mut born = BufReader::new(born);
    let mut next = || {
        let mut line = String::new();
        born.read_line(&mut line).expect("a line");
        (line.trim().parse::<i32>().expect("a pid"), Instant::now())
    };
    let mut pid = next().0;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(150)); // until the restart before has left the window
        let killed = Instant::now();
        kill(pid, libc::SIGKILL);
        let (new, at) = next();
        pid = new;
        times.push(at - killed);
    }
    times.sort_unstable();
    let (median, maximum) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    println!(
        "killed -> restarted, {ROUNDS} times: median {median:.1?}, maximum {maximum:.1?} (budget: median under {BUDGET:?})"
    );
    assert!(median < BUDGET, "over the budget");
}
