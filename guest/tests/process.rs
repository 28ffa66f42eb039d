//! `process` resources, and how the controller comes and goes around them.

mod common;

use common::{Bed, is_alive, kill, service};
use roost_proto::link::{Exit, GroupState, ResourceState};
use roost_proto::local::{Reply, Request};
use std::fs;

const GROUP: &str = "[[group]]\nname = \"site\"\n";

fn config(resources: &[String]) -> String {
    format!("{GROUP}{}", resources.concat())
}

#[test]
fn a_killed_process_is_restarted_with_what_depends_on_it() {
    let mut bed = Bed::new();
    bed.run(&config(&[service("db", ""), service("web", "needs = [\"db\"]"), service("other", "")]));
    bed.await_online();
    let (db, web, other) = (bed.await_pid("db.pid"), bed.await_pid("web.pid"), bed.await_pid("other.pid"));
    kill(db, libc::SIGKILL);
    bed.await_other_pid("db.pid", db);
    let new_web = bed.await_other_pid("web.pid", web);
    bed.await_online();
    assert!(!is_alive(web) && is_alive(new_web));
    assert_eq!(bed.await_pid("other.pid"), other, "what does not depend on it is left alone");
    assert!(is_alive(other));
}

#[test]
fn children_get_nothing_of_the_controllers() {
    let bed = Bed::new();
    bed.configure(&config(&[service("web", "")]));
    // A descriptor that is inherited without close-on-exec, blocked and ignored signals, and what systemd says to it alone.
    let line = format!(
        "exec 9</etc/passwd; trap '' HUP USR1; export NOTIFY_SOCKET=/nowhere JOURNAL_STREAM=1:2; exec {} --config {} --run-dir {}",
        env!("CARGO_BIN_EXE_roost-guest"),
        bed.path("guest.toml").display(),
        bed.path("run").display()
    );
    let mut controller = std::process::Command::new("/bin/sh").args(["-c", &line]).spawn().expect("it runs");
    let pid = bed.await_pid("web.pid");
    bed.await_online();
    // A shell blocks signals itself while it starts a child.
    bed.await_true("the shell became the service", |_| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
    });
    let fds: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it lives")
        .flatten()
        .map(|entry| {
            format!(
                "{} {}",
                entry.file_name().display(),
                fs::read_link(entry.path()).expect("a link").display()
            )
        })
        .collect();
    let mut numbers: Vec<&str> = fds.iter().filter_map(|fd| fd.split(' ').next()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1", "2"], "{fds:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    for mask in ["SigBlk:", "SigIgn:"] {
        let bits = status.lines().find_map(|line| line.strip_prefix(mask)).expect("the mask");
        let bits = u64::from_str_radix(bits.trim(), 16).expect("hexadecimal");
        let own = 0b11 << 31; // signals 32 and 33 belong to the C library, which lets nobody change them
        assert_eq!(bits & !own, 0, "{mask}\n{status}");
    }
    let environment =
        String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).expect("it lives")).into_owned();
    assert!(
        !environment.contains("NOTIFY_SOCKET") && !environment.contains("JOURNAL_STREAM"),
        "{environment}"
    );
    let group = roost_guest::procfs::stat(pid).expect("it lives").group;
    assert_eq!(group, pid, "it leads a process group of its own");
    controller.kill().expect("killed");
    controller.wait().expect("reaped");
}

#[test]
fn a_killed_controller_adopts_what_runs_and_reads_on() {
    let mut bed = Bed::new();
    let text = config(&["[[group.resource]]\nname = \"web\"\nkind = \"process\"\nattempts = 0\n\
        command = [\"/bin/sh\", \"-c\", \"echo $$ > DIR/web.pid; while :; do read line < DIR/say && echo $line; done\"]\n"
        .to_owned()]);
    let text = text.replace("name = \"site\"", "name = \"site\"\nrestarts = 0");
    nix::unistd::mkfifo(&bed.path("say"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    bed.run(&text);
    bed.await_online();
    let pid = bed.await_pid("web.pid");
    bed.end(libc::SIGKILL);
    fs::write(bed.path("say"), "while nobody listens\n").expect("said");
    bed.start();
    bed.await_online();
    assert!(is_alive(pid) && bed.await_pid("web.pid") == pid);
    assert!(bed.log().contains("is adopted"), "{}", bed.log());
    fs::write(bed.path("say"), "and after\n").expect("said");
    kill(pid, libc::SIGKILL);
    let fault = bed.await_fault();
    assert_eq!(fault.resource, "web");
    assert!(fault.output.contains("while nobody listens"), "{fault:?}");
}

#[test]
fn a_controller_that_is_ended_leaves_all_running_and_their_output_read() {
    let mut bed = Bed::new();
    nix::unistd::mkfifo(&bed.path("go"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    bed.run(&config(&["[[group.resource]]\nname = \"web\"\nkind = \"process\"\n\
        command = [\"/bin/sh\", \"-c\", \"echo $$ > DIR/web.pid; read line < DIR/go; yes | head -c 1000000; echo > DIR/wrote; sleep 1000\"]\n"
        .to_owned()]));
    bed.await_online();
    let pid = bed.await_pid("web.pid");
    assert_eq!(bed.end(libc::SIGTERM).code(), Some(0));
    assert!(is_alive(pid));
    fs::write(bed.path("go"), "go\n").expect("said");
    bed.await_true("it writes more than a pipe holds", |bed| bed.path("wrote").exists());
    bed.start();
    bed.await_online();
    assert_eq!(bed.await_pid("web.pid"), pid);
}

#[test]
fn a_stop_that_is_ignored_ends_the_whole_process_group() {
    let mut bed = Bed::new();
    let stubborn = "[[group.resource]]\nname = \"web\"\nkind = \"process\"\nstop_timeout = \"300ms\"\n\
        command = [\"/bin/sh\", \"-c\", \"trap '' TERM; (trap '' TERM; sh -c 'echo $$ > DIR/child.pid; sleep 1000; :') & echo $$ > DIR/web.pid; while :; do wait; done\"]\n";
    bed.run(&config(&[stubborn.to_owned(), service("other", "")]));
    bed.await_online();
    let (web, child) = (bed.await_pid("web.pid"), bed.await_pid("child.pid"));
    let other = bed.await_pid("other.pid");
    bed.configure(&config(&[service("other", "")]));
    bed.signal(libc::SIGHUP);
    bed.await_true("the group is gone", |_| !is_alive(web) && !is_alive(child));
    bed.await_online();
    assert!(is_alive(other));
}

#[test]
fn what_a_dead_process_leaves_is_killed_before_the_next_starts() {
    let mut bed = Bed::new();
    let text = "[[group.resource]]\nname = \"web\"\nkind = \"process\"\n\
        command = [\"/bin/sh\", \"-c\", \"test -e DIR/child.pid && grep -q ') [RSD] ' /proc/$(cat DIR/child.pid)/stat && touch DIR/overlap; sh -c 'echo $$ > DIR/child.new; mv DIR/child.new DIR/child.pid; exec sleep 1000' & echo $$ > DIR/web.new; mv DIR/web.new DIR/web.pid; wait\"]\n";
    bed.run(&config(&[text.to_owned()]));
    bed.await_online();
    let (web, child) = (bed.await_pid("web.pid"), bed.await_pid("child.pid"));
    kill(web, libc::SIGKILL);
    bed.await_other_pid("child.pid", child);
    assert!(!is_alive(child) && !bed.path("overlap").exists());
}

#[test]
fn dead_at_once_is_a_failed_attempt_and_no_tight_loop() {
    let mut bed = Bed::new();
    let text = "[[group.resource]]\nname = \"web\"\nkind = \"process\"\nattempts = 2\nbackoff = \"200ms\"\nbackoff_max = \"1s\"\n\
        command = [\"/bin/sh\", \"-c\", \"echo x >> DIR/starts; echo no licence >&2; exit 3\"]\n";
    bed.run(&config(&[text.to_owned()]).replace("name = \"site\"", "name = \"site\"\nrestarts = 1"));
    let fault = bed.await_fault();
    assert_eq!((fault.resource.as_str(), fault.exit), ("web", Exit::Code(3)));
    assert!(fault.reason.starts_with("it ended with exit status 3"), "{}", fault.reason);
    assert_eq!(fault.output, "no licence");
    // Once, and two attempts, before and after the restart of the group.
    assert_eq!(fs::read_to_string(bed.path("starts")).expect("it started").lines().count(), 6);
    let output = bed.command(&["status"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("FAULTED: web") && text.contains("| no licence"), "{text}");
}

#[test]
fn what_cannot_start_is_a_fault_at_once() {
    for (resource, reason) in [
        ("command = [\"/no/such/program\"]", "no such file or directory"),
        ("command = [\"/etc/passwd\"]", "permission denied"),
        ("command = [\"/bin/sleep\", \"9\"]\nuser = \"no-such-user\"", "there is no user 'no-such-user'"),
        ("command = [\"/bin/sleep\", \"9\"]\ndirectory = \"/no/such\"", "there is no directory '/no/such'"),
        ("command = [\"/bin/sleep\", \"9\"]\noutput = \"/no/such/log\"", "cannot open '/no/such/log'"),
    ] {
        let mut bed = Bed::new();
        bed.run(&config(&[format!("[[group.resource]]\nname = \"web\"\nkind = \"process\"\n{resource}\n")]));
        let fault = bed.await_fault();
        assert!(fault.reason.contains(reason), "{fault:?}");
        assert_eq!(
            bed.command(&["check"]).output().expect("it runs").status.code() == Some(0),
            resource.contains("log")
        );
    }
}

#[test]
fn it_runs_as_its_user_with_its_environment_and_directory() {
    let mut bed = Bed::new();
    let text = "[[group.resource]]\nname = \"web\"\nkind = \"process\"\nuser = \"nobody\"\ndirectory = \"/usr\"\n\
        environment = { COLOUR = \"blue\" }\noutput = \"DIR/out\"\n\
        command = [\"/bin/sh\", \"-c\", \"echo $(id -un) $(id -G) $PWD $COLOUR $LOGNAME; echo done; exec sleep 1000\"]\n";
    bed.run(&config(&[text.to_owned()]));
    bed.await_online();
    let line = bed.await_some("its output", |bed| {
        fs::read_to_string(bed.path("out")).ok().filter(|text| text.contains("done"))
    });
    let groups = std::process::Command::new("id").args(["-G", "nobody"]).output().expect("id(1)").stdout;
    let groups = String::from_utf8_lossy(&groups).trim().to_owned();
    assert_eq!(line.lines().next(), Some(format!("nobody {groups} /usr blue nobody").as_str()));
}

#[test]
fn a_reload_restarts_only_what_changed_and_a_bad_one_nothing() {
    let mut bed = Bed::new();
    bed.run(&config(&[service("db", ""), service("web", "interval = \"10s\"")]));
    bed.await_online();
    let (db, web) = (bed.await_pid("db.pid"), bed.await_pid("web.pid"));
    bed.configure("[[group]]\nnam = \"site\"\n");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is refused", |bed| bed.log().contains("guest.toml:4: "));
    assert!(is_alive(db) && is_alive(web));
    bed.configure(&config(&[
        service("db", "environment = { A = \"1\" }"),
        service("web", "interval = \"20s\""),
    ]));
    bed.signal(libc::SIGHUP);
    let new_db = bed.await_other_pid("db.pid", db);
    bed.await_online();
    assert!(is_alive(new_db) && !is_alive(db));
    assert_eq!(bed.await_pid("web.pid"), web);
    assert!(is_alive(web), "only its timing changed");
}

#[test]
fn a_frozen_group_is_left_alone_until_it_is_thawed_also_by_the_next_controller() {
    let mut bed = Bed::new();
    bed.run(&config(&[service("web", "interval = \"100ms\"")]));
    bed.await_online();
    let web = bed.await_pid("web.pid");
    assert_eq!(bed.command(&["freeze", "site"]).status().expect("it runs").code(), Some(0));
    bed.end(libc::SIGKILL);
    kill(web, libc::SIGKILL);
    bed.start();
    bed.await_true("it is seen dead, and frozen", |bed| {
        let dead = [ResourceState::Stopped, ResourceState::Failed];
        bed.groups().first().is_some_and(|group| group.frozen && dead.contains(&group.resources[0].state))
    });
    assert_eq!(bed.await_pid("web.pid"), web, "nothing was started");
    assert_eq!(bed.command(&["thaw", "site"]).status().expect("it runs").code(), Some(0));
    bed.await_other_pid("web.pid", web);
    bed.await_online();
    assert_eq!(bed.command(&["thaw", "sit"]).output().expect("it runs").status.code(), Some(65));
    let refused = bed.ask(&Request::Freeze { group: "sit".to_owned() }).expect("answered");
    assert!(
        matches!(&refused[..], [Reply::Refused { reason }] if reason.contains("did you mean 'site'")),
        "{refused:?}"
    );
}

#[test]
fn a_remnant_of_a_frozen_process_is_not_killed() {
    let mut bed = Bed::new();
    let text = "[[group.resource]]\nname = \"web\"\nkind = \"process\"\n\
        command = [\"/bin/sh\", \"-c\", \"sh -c 'echo $$ > DIR/child.pid; exec sleep 1000' & echo $$ > DIR/web.pid; wait\"]\n";
    bed.run(&config(&[text.to_owned()]));
    bed.await_online();
    let (web, child) = (bed.await_pid("web.pid"), bed.await_pid("child.pid"));
    bed.ask(&Request::Freeze { group: "site".to_owned() }).expect("answered");
    kill(web, libc::SIGKILL);
    bed.await_true("it is gone", |bed| bed.groups()[0].state != GroupState::Online);
    assert!(is_alive(child), "a person may be replacing the program");
}

#[test]
fn a_second_controller_is_refused_and_the_first_not_disturbed() {
    let mut bed = Bed::new();
    bed.run(&config(&[service("web", "")]));
    bed.await_online();
    let web = bed.await_pid("web.pid");
    let output = bed.command(&["run"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another controller uses"));
    bed.await_online();
    assert!(is_alive(web));
}

#[test]
fn a_flood_of_output_starves_nobody_and_keeps_its_end() {
    let mut bed = Bed::new();
    let flood = "[[group.resource]]\nname = \"flood\"\nkind = \"process\"\nattempts = 0\n\
        command = [\"/bin/sh\", \"-c\", \"echo $$ > DIR/flood.pid; exec yes flooding\"]\n";
    let text = format!("{GROUP}restarts = 0\n{flood}[[group]]\nname = \"b\"\n{}", service("web", ""));
    bed.run(&text);
    bed.await_true("both are online", |bed| {
        let groups = bed.groups();
        groups.len() == 2 && groups.iter().all(|group| group.state == GroupState::Online)
    });
    let web = bed.await_pid("web.pid");
    kill(web, libc::SIGKILL);
    bed.await_other_pid("web.pid", web);
    let size = fs::read_to_string(format!("/proc/{}/status", bed.pid())).expect("it lives");
    let kib: u64 = size
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok())
        .expect("its memory");
    assert!(kib < 4096, "{kib} KiB of memory of its own");
    let flood = bed.await_pid("flood.pid");
    bed.await_true("more was read than a pipe holds", |_| {
        let io = fs::read_to_string(format!("/proc/{flood}/io")).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok());
        written.is_some_and(|bytes| bytes > 1_000_000)
    });
    kill(flood, libc::SIGTERM);
    let fault = bed.await_fault();
    assert_eq!(fault.exit, Exit::Signal(libc::SIGTERM));
    let end = fault.output.rfind("flooding\nflooding\n").map(|at| fault.output.len() - at);
    assert!(end.is_some_and(|end| end < 30) && fault.output.len() > 1900, "{fault:?}"); // it was killed in a word
}

#[test]
fn a_damaged_state_is_done_without_and_a_running_process_still_found() {
    let mut bed = Bed::new();
    bed.run(&config(&[service("web", "")]));
    bed.await_online();
    let web = bed.await_pid("web.pid");
    bed.end(libc::SIGKILL);
    fs::write(bed.path("run/state"), [0xff; 100]).expect("written");
    bed.start();
    bed.await_online();
    assert!(bed.log().contains("is of no use"), "{}", bed.log());
    assert!(is_alive(web) && bed.await_pid("web.pid") == web);
}
