//! The controller as process 1, in a PID namespace of its own.

mod common;

use common::{Bed, is_alive, service};
use std::fs;

fn config(bed: &Bed) {
    bed.configure(&format!(
        "[[group]]\nname = \"site\"\n{}{}",
        service("db", ""),
        "[[group.resource]]\nname = \"web\"\nkind = \"process\"\nneeds = [\"db\"]\nstop_timeout = \"3s\"\n\
         command = [\"/bin/sh\", \"-c\", \"trap 'echo web >> DIR/order; exit 0' TERM; echo $$ > DIR/web.pid; while :; do sleep 1000 & wait $!; done\"]\n"
    ));
}

fn init() -> Bed {
    Bed::new().inside(&["unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"])
}

/// The processes of the namespace: children of the `unshare` that was started.
fn init_pid(bed: &Bed) -> i32 {
    let path = format!("/proc/{0}/task/{0}/children", bed.pid());
    bed.await_some("process 1", |_| fs::read_to_string(&path).ok()?.split_whitespace().next()?.parse().ok())
}

#[test]
fn it_reaps_every_orphan() {
    let mut bed = init();
    config(&bed);
    bed.start();
    bed.await_online();
    let init = init_pid(&bed);
    let status = std::process::Command::new("nsenter")
        .args([
            "-p",
            "-m",
            "-t",
            &init.to_string(),
            "sh",
            "-c",
            "for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'exit 3' & sh -c 'sleep 0.1' &) ; done",
        ])
        .env("ROOST_BED", &bed.dir)
        .status()
        .expect("nsenter(1)");
    assert!(status.success());
    let path = format!("/proc/{init}/task/{init}/children");
    bed.await_true("only its own two are left, and no zombie", |_| {
        let children = fs::read_to_string(&path).unwrap_or_default();
        let pids: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        pids.len() == 2 && pids.iter().all(|&pid| is_alive(pid))
    });
    bed.await_online();
}

#[test]
fn a_process_that_dies_is_restarted_with_its_exit_status_known() {
    let mut bed = init();
    bed.configure(
        "[[group]]\nname = \"site\"\nrestarts = 0\n[[group.resource]]\nname = \"web\"\nkind = \"process\"\nattempts = 0\n\
         command = [\"/bin/sh\", \"-c\", \"exit 42\"]\n",
    );
    bed.start();
    assert_eq!(bed.await_fault().exit, roost_proto::link::Exit::Code(42));
}

#[test]
fn when_told_to_end_it_stops_the_groups_in_reverse_and_the_machine() {
    use std::os::unix::process::ExitStatusExt;
    // In a PID namespace the kernel ends process 1 in place of the machine: by SIGHUP for a restart, by SIGINT for power off.
    for (signal, ended_by) in [(libc::SIGTERM, libc::SIGHUP), (libc::SIGUSR2, libc::SIGINT)] {
        let mut bed = init();
        config(&bed);
        bed.start();
        bed.await_online();
        bed.await_pid("web.pid"); // its trap is set by then
        common::kill(init_pid(&bed), signal);
        let status = bed.wait(); // unshare ends as its child did
        assert_eq!(
            status.signal().or(status.code().map(|code| code - 128)),
            Some(ended_by),
            "{status:?}\n{}",
            bed.log()
        );
        assert_eq!(fs::read_to_string(bed.path("order")).expect("web was asked to end"), "web\n");
        assert!(bed.log().contains("all groups are stopped"), "{}", bed.log());
    }
}

#[test]
fn without_a_good_configuration_it_stays_and_waits_for_one() {
    let mut bed = init();
    bed.configure("nonsense\n");
    bed.start();
    bed.await_true("it says so", |bed| bed.log().contains("nothing is kept running until SIGHUP"));
    let init = init_pid(&bed);
    config(&bed);
    common::kill(init, libc::SIGHUP);
    bed.await_online();
}
