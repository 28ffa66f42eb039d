//! Each kind of resource, with the real agents and tools. Only systemd is played, by a `systemctl` that behaves like it.

mod common;

use common::{Bed, LONG, is_alive, kill, read_pid, service};
use roost_proto::link::{Exit, Fault, GroupState};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

fn one(resource: &str) -> String {
    format!("[[group]]\nname = \"site\"\nrestarts = 0\n[[group.resource]]\nname = \"x\"\n{resource}\n")
}

fn fault(resource: &str, prepare: impl FnOnce(&Bed)) -> Fault {
    let mut bed = Bed::new();
    prepare(&bed);
    bed.run(&one(resource));
    bed.await_fault()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port()
}

// --- OCF

#[test]
fn ocf_dummy_is_started_found_stopped_and_started_again() {
    let mut bed = Bed::new();
    bed.run(&one(
        "kind = \"ocf:heartbeat:Dummy\"\nparameters = { state = \"DIR/dummy\" }\ninterval = \"200ms\"",
    ));
    bed.await_online();
    assert!(bed.path("dummy").exists());
    fs::remove_file(bed.path("dummy")).expect("it was there");
    bed.await_true("it is started again", |bed| {
        bed.path("dummy").exists() && bed.groups()[0].state == GroupState::Online
    });
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is stopped", |bed| !bed.path("dummy").exists());
}

#[test]
fn ocf_anything_is_killed_and_back() {
    let mut bed = Bed::new();
    bed.run(&one("kind = \"ocf:heartbeat:anything\"\ninterval = \"200ms\"\n\
         parameters = { binfile = \"/bin/sleep\", cmdline_options = \"1000\", pidfile = \"DIR/any.pid\" }"));
    bed.await_online();
    let pid = bed.await_pid("any.pid");
    kill(pid, libc::SIGKILL);
    bed.await_other_pid("any.pid", pid);
    bed.await_online();
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is stopped", |bed| !bed.path("any.pid").exists());
}

#[test]
fn ocf_filesystem_is_mounted_and_unmounted() {
    let mut bed = Bed::new().inside(&["unshare", "--mount"]);
    fs::create_dir(bed.path("mnt")).expect("made");
    bed.run(&one("kind = \"ocf:heartbeat:Filesystem\"\n\
         parameters = { device = \"tmpfs\", directory = \"DIR/mnt\", fstype = \"tmpfs\" }"));
    bed.await_online();
    let mounts = format!("/proc/{}/mounts", bed.pid());
    let mark = bed.path("mnt").display().to_string();
    assert!(fs::read_to_string(&mounts).expect("it lives").contains(&mark));
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is unmounted", |_| !fs::read_to_string(&mounts).expect("it lives").contains(&mark));
}

#[test]
fn ocf_nginx_serves_and_is_probed() {
    let mut bed = Bed::new();
    let port = free_port();
    let dir = bed.dir.display().to_string();
    fs::write(
        bed.path("nginx.conf"),
        format!(
            "pid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nevents {{}}\nhttp {{ access_log off;\n\
             client_body_temp_path {dir}/t; proxy_temp_path {dir}/t; fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }} }}\n"
        ),
    )
    .expect("written");
    let probe = format!(
        "[[group.resource]]\nname = \"page\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\nneeds = [\"x\"]\ninterval = \"200ms\"\nstatus = 204\n"
    );
    bed.run(
        &(one("kind = \"ocf:heartbeat:nginx\"\nparameters = { configfile = \"DIR/nginx.conf\" }") + &probe),
    );
    bed.await_online();
    let pid = bed.await_pid("nginx.pid");
    let group = nix::unistd::Pid::from_raw(pid); // its workers too, or they would keep the port
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).expect("killed");
    bed.await_true("another serves", |bed| {
        read_pid(&bed.path("nginx.pid")).is_some_and(|new| new != pid && is_alive(new))
            && bed.groups()[0].state == GroupState::Online
    });
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is stopped", |bed| !bed.path("nginx.pid").exists());
}

#[test]
fn ocf_says_why_it_is_set_up_wrongly() {
    let fault = fault(
        "kind = \"ocf:heartbeat:nginx\"\nparameters = { httpd = \"/no/such\", configfile = \"/no/such\" }",
        |_| {},
    );
    assert!(matches!(fault.exit, Exit::Code(2 | 5 | 6)), "{fault:?}");
    assert!(!fault.reason.contains("did not help"), "no restart was tried: {fault:?}");
}

#[test]
fn ocf_agents_that_are_not_there_or_cannot_be_run_are_faults_at_once() {
    let missing = fault("kind = \"ocf:heartbeat:NoSuchAgent\"", |_| {});
    assert!(missing.reason.contains("'/usr/lib/ocf/resource.d/heartbeat/NoSuchAgent'"), "{missing:?}");
    // One that nobody may read or run, in a place that only this controller sees.
    let mut bed = Bed::new().inside(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mkdir -p \"$5.agents\" && echo x > \"$5.agents/Sealed\" && chmod 0 \"$5.agents/Sealed\" \
         && mount --bind \"$5.agents\" /usr/lib/ocf/resource.d/heartbeat && exec \"$@\"",
        "sh",
    ]);
    bed.run(&one("kind = \"ocf:heartbeat:Sealed\""));
    let sealed = bed.await_fault();
    assert!(sealed.reason.contains("permission denied"), "{sealed:?}");
    assert!(!fs::exists("/usr/lib/ocf/resource.d/heartbeat/Sealed").expect("looked"));
}

// --- LSB, exec

#[test]
fn lsb_scripts_are_run_as_the_standard_says() {
    let mut bed = Bed::new().inside(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$(dirname \"$3\")/init.d\" /etc/init.d && exec \"$@\"",
        "sh",
    ]);
    fs::create_dir(bed.path("init.d")).expect("made");
    bed.script(
        "init.d/thing",
        "echo $1 >> DIR/calls\ncase $1 in\n\
         start) setsid sleep 1000 >/dev/null 2>&1 & echo $! > DIR/thing.pid;;\n\
         stop) kill $(cat DIR/thing.pid); rm DIR/thing.pid;;\n\
         status) test -e DIR/thing.pid || exit 3; grep -q ') [RS] ' /proc/$(cat DIR/thing.pid)/stat || exit 1;;\n\
         esac\n",
    );
    bed.run(&one("kind = \"lsb:thing\"\ninterval = \"200ms\""));
    bed.await_online();
    let pid = bed.await_pid("thing.pid");
    kill(pid, libc::SIGKILL);
    let new = bed.await_other_pid("thing.pid", pid);
    bed.await_online();
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is stopped", |bed| !bed.path("thing.pid").exists() && !is_alive(new));
    let calls = fs::read_to_string(bed.path("calls")).expect("it was called");
    assert!(calls.starts_with("status\nstart\nstatus\n"), "{calls}");
}

const EXEC: &str =
    "kind = \"exec\"\nstart = [\"DIR/start\"]\nstop = [\"DIR/stop\"]\nmonitor = [\"DIR/monitor\"]\n";

fn exec_scripts(bed: &Bed) {
    bed.script("start", "touch DIR/up");
    bed.script("stop", "rm -f DIR/up");
    bed.script("monitor", "test -e DIR/up || exit 7");
}

#[test]
fn exec_commands_keep_something_up() {
    let mut bed = Bed::new();
    exec_scripts(&bed);
    bed.run(&one(&format!("{EXEC}interval = \"100ms\"")));
    bed.await_online();
    fs::remove_file(bed.path("up")).expect("it was up");
    bed.await_true("it is up again", |bed| bed.path("up").exists());
    bed.await_online();
}

#[test]
fn an_agent_that_never_ends_is_killed_with_all_of_its_group() {
    let mut bed = Bed::new();
    exec_scripts(&bed);
    bed.script("start", "sh -c 'echo $$ > DIR/child.pid; exec sleep 1000' & echo $$ > DIR/agent.pid; wait");
    bed.run(&one(&format!("{EXEC}start_timeout = \"500ms\"\nattempts = 0")));
    let fault = bed.await_fault();
    assert!(fault.reason.contains("start took longer than 0.500 s"), "{fault:?}");
    let (agent, child) = (bed.await_pid("agent.pid"), bed.await_pid("child.pid"));
    bed.await_true("both are gone", |_| !is_alive(agent) && !is_alive(child));
}

#[test]
fn an_agent_that_floods_keeps_nobody_from_anything_and_its_end_counts() {
    let mut bed = Bed::new();
    exec_scripts(&bed);
    bed.script("start", "yes flooding | head -c 20000000; echo the end; exit 1");
    let text = one(&format!("{EXEC}attempts = 0")) + "[[group]]\nname = \"b\"\n" + &service("web", "");
    bed.run(&text);
    let fault = bed.await_fault();
    assert_eq!(fault.exit, Exit::Code(1));
    assert!(fault.output.ends_with("the end") && fault.output.contains("flooding\nflooding"), "{fault:?}");
    bed.await_true("the other group is online", |bed| bed.groups()[1].state == GroupState::Online);
}

#[test]
fn a_daemon_that_holds_its_agents_output_open_does_not_hold_up_the_agent() {
    let mut bed = Bed::new();
    exec_scripts(&bed);
    bed.script("start", "touch DIR/up; setsid sleep 1000 &");
    bed.run(&one(&format!("{EXEC}start_timeout = \"20s\"")));
    bed.await_online();
}

#[test]
fn a_stop_that_fails_is_a_fault_and_starts_no_second_copy() {
    let mut bed = Bed::new();
    exec_scripts(&bed);
    bed.script("start", "touch DIR/up; echo x >> DIR/starts");
    bed.script("stop", "echo it is stuck; exit 1");
    bed.run(&one(&format!("{EXEC}interval = \"100ms\"")));
    bed.await_online();
    fs::remove_file(bed.path("up")).expect("it was up");
    let fault = bed.await_fault();
    assert!(fault.reason.contains("stop failed") && fault.output == "it is stuck", "{fault:?}");
    assert_eq!(fs::read_to_string(bed.path("starts")).expect("started").lines().count(), 1);
}

#[test]
fn an_agent_of_the_controllers_last_life_is_waited_for() {
    let mut bed = Bed::new();
    exec_scripts(&bed);
    nix::unistd::mkfifo(&bed.path("go"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    bed.script("start", "echo $$ > DIR/agent.pid; echo x >> DIR/starts; read line < DIR/go; touch DIR/up");
    bed.run(&one(EXEC));
    let agent = bed.await_pid("agent.pid");
    bed.end(libc::SIGKILL);
    bed.start();
    bed.await_true("it waits", |bed| bed.log().contains("waiting for an agent"));
    assert!(is_alive(agent));
    fs::write(bed.path("go"), "go\n").expect("said");
    bed.await_online();
    assert_eq!(fs::read_to_string(bed.path("starts")).expect("started").lines().count(), 1);
}

// --- probes

/// A server of the test's own that answers as it is told, until it is dropped.
struct Server {
    port: u16,
    status: Arc<AtomicU16>,
    ended: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (status, ended) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicBool::new(false)));
        let (of, end) = (status.clone(), ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut client) = client else { continue };
                client.set_read_timeout(Some(LONG)).expect("set");
                let mut request = [0; 1024];
                let _ = client.read(&mut request); // a client may only look
                let head = format!("HTTP/1.1 {} x\r\nContent-Length: 0\r\n\r\n", of.load(Ordering::SeqCst));
                let _ = client.write_all(head.as_bytes());
            }
        });
        Self { port, status, ended }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port)); // so that it looks
    }
}

#[test]
fn an_http_probe_that_fails_restarts_what_it_needs() {
    let server = Server::start();
    let mut bed = Bed::new();
    let probe = format!(
        "[[group.resource]]\nname = \"page\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{}/health\"\nneeds = [\"web\"]\ninterval = \"100ms\"\n",
        server.port
    );
    bed.run(&format!("[[group]]\nname = \"site\"\n{}{probe}", service("web", "")));
    bed.await_online();
    let web = bed.await_pid("web.pid");
    server.status.store(503, Ordering::SeqCst);
    bed.await_other_pid("web.pid", web);
    server.status.store(200, Ordering::SeqCst);
    bed.await_online();
    assert!(bed.log().contains("status 503"), "{}", bed.log());
}

#[test]
fn a_tcp_probe_sees_a_port_that_nobody_serves_and_one_that_is() {
    let port = free_port();
    let probe = format!("kind = \"tcp\"\naddress = \"127.0.0.1:{port}\"\nstart_timeout = \"500ms\"");
    let refused = fault(&probe, |_| {});
    assert!(refused.reason.contains("refused"), "{refused:?}");
    let server = Server::start();
    let mut bed = Bed::new();
    bed.run(&one(&format!("kind = \"tcp\"\naddress = \"127.0.0.1:{}\"", server.port)));
    bed.await_online();
}

#[test]
fn a_server_that_accepts_and_never_answers_is_timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let probe = format!(
        "kind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\ntimeout = \"300ms\"\nstart_timeout = \"600ms\""
    );
    let fault = fault(&probe, |_| {});
    assert!(fault.reason.contains("no answer within"), "{fault:?}");
}

#[test]
fn a_file_must_change_and_what_time_it_bears_does_not_matter() {
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};
    let mut bed = Bed::new();
    let file = fs::File::create(bed.path("beat")).expect("made");
    bed.run(&one(
        "kind = \"file\"\npath = \"DIR/beat\"\nmax_age = \"1s\"\ninterval = \"100ms\"\nattempts = 0",
    ));
    bed.await_online();
    // For three times its age it is touched with a clock that is an hour ahead, then an hour behind: nothing fails.
    let hour = Duration::from_secs(3600);
    let begin = std::time::Instant::now();
    let mut turn = 0_u32;
    while begin.elapsed() < Duration::from_secs(3) {
        turn += 1;
        let now = SystemTime::now() + Duration::from_millis(turn.into());
        let time = if turn % 20 < 10 { now + hour } else { now - hour };
        file.set_times(FileTimes::new().set_modified(time)).expect("set");
        std::thread::sleep(Duration::from_millis(50)); // the passing of time is what is tested
        assert_eq!(bed.groups()[0].state, GroupState::Online);
    }
    let fault = bed.await_fault();
    assert!(fault.reason.contains("has not changed for"), "{fault:?}");
}

// --- mount

#[test]
fn a_mount_is_mounted_and_unmounting_it_is_an_event() {
    let mut bed = Bed::new().inside(&["unshare", "--mount"]);
    fs::create_dir(bed.path("mnt")).expect("made");
    bed.run(&one("kind = \"mount\"\nsource = \"none\"\ntarget = \"DIR/mnt\"\nfstype = \"tmpfs\"\noptions = \"size=64k\"\ninterval = \"0s\""));
    bed.await_online();
    let pid = bed.pid();
    let mark = bed.path("mnt").display().to_string();
    let is_mounted =
        |_: &Bed| fs::read_to_string(format!("/proc/{pid}/mounts")).expect("it lives").contains(&mark);
    assert!(is_mounted(&bed));
    let status = std::process::Command::new("nsenter")
        .args(["-m", "-t", &pid.to_string(), "umount", &mark])
        .status()
        .expect("nsenter(1)");
    assert!(status.success());
    bed.await_true("the event is seen", |bed| bed.log().contains("was unmounted"));
    bed.await_true("it is mounted again", is_mounted);
    bed.await_online();
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is unmounted", |bed| !is_mounted(bed));
}

#[test]
fn a_mount_that_fails_says_why() {
    let fault = fault(
        "kind = \"mount\"\nsource = \"/dev/no-such-disk\"\ntarget = \"DIR/mnt\"\nattempts = 0",
        |bed| {
            fs::create_dir(bed.path("mnt")).expect("made");
        },
    );
    assert!(fault.reason.starts_with("mount failed") && fault.reason.contains("no-such-disk"), "{fault:?}");
}

// --- systemd

/// A `systemctl` that keeps one unit: what it prints, and its exit statuses, are those of systemd 252.
fn play_systemd(bed: &Bed) {
    bed.script(
        "bin/systemctl",
        "cd DIR; verb=$1; for unit; do :; done; echo \"$*\" >> calls\n\
         alive() { test -e main.pid && grep -q ') [RSDT] ' /proc/$(cat main.pid)/stat 2>/dev/null; }\n\
         begin() { setsid sleep 1000 >/dev/null 2>&1 & echo $! > main.new; mv main.new main.pid; rm -f down; }\n\
         test $unit = x.service || { case $verb in show) echo LoadState=not-found; echo ActiveState=inactive; echo MainPID=0;;\n\
         *) echo \"Failed to $verb $unit: Unit $unit not found.\" >&2; exit 5;; esac; exit 0; }\n\
         case $verb in\n\
         start) test -e broken && { touch failed; echo 'Job for x.service failed.' >&2; exit 1; }; alive || begin;;\n\
         stop) test -e stuck && sleep 1000; alive && kill -9 $(cat main.pid); rm -f main.pid failed; touch down;;\n\
         kill) kill -9 $(cat main.pid); rm -f main.pid stuck; touch down;;\n\
         show) echo LoadState=loaded; echo Result=exit-code; echo ExecMainCode=1; echo ExecMainStatus=3\n\
         if alive; then echo ActiveState=active; echo MainPID=$(cat main.pid)\n\
         elif test -e failed; then echo ActiveState=failed; echo MainPID=0\n\
         elif test -e own-restart && test -e main.pid; then\n\
         if test -e resting; then rm resting; begin; else touch resting; fi; echo ActiveState=activating; echo MainPID=0\n\
         elif test -e main.pid; then echo ActiveState=failed; echo MainPID=0\n\
         else echo ActiveState=inactive; echo MainPID=0; fi;;\n\
         esac\n",
    );
    bed.script("bin/journalctl", "echo out of memory");
}

#[test]
fn the_end_of_a_units_main_process_is_an_event() {
    let mut bed = Bed::new();
    play_systemd(&bed);
    bed.run(&one("kind = \"systemd:x.service\"\ninterval = \"0s\""));
    bed.await_online();
    let pid = bed.await_pid("main.pid");
    kill(pid, libc::SIGKILL);
    bed.await_other_pid("main.pid", pid);
    bed.await_online();
    assert!(bed.log().contains("systemd says that it failed: exit-code"), "{}", bed.log());
}

#[test]
fn a_unit_that_systemd_restarts_by_itself_is_left_to_it() {
    let mut bed = Bed::new();
    play_systemd(&bed);
    fs::write(bed.path("own-restart"), "").expect("written");
    bed.run(&one("kind = \"systemd:x.service\"\ninterval = \"0s\"\nattempts = 0"));
    bed.await_online();
    let pid = bed.await_pid("main.pid");
    kill(pid, libc::SIGKILL);
    let second = bed.await_other_pid("main.pid", pid);
    bed.await_true("that is seen", |bed| bed.log().contains("systemd has restarted it by itself"));
    // The new one is watched as well.
    kill(second, libc::SIGKILL);
    bed.await_other_pid("main.pid", second);
    bed.await_online();
}

#[test]
fn a_unit_that_does_not_stop_is_killed() {
    let mut bed = Bed::new();
    play_systemd(&bed);
    fs::write(bed.path("stuck"), "").expect("written");
    bed.run(&one("kind = \"systemd:x.service\"\nstop_timeout = \"500ms\""));
    bed.await_online();
    let pid = bed.await_pid("main.pid");
    bed.configure("");
    bed.signal(libc::SIGHUP);
    bed.await_true("it is killed", |_| !is_alive(pid));
    bed.await_true("and gone", |bed| bed.groups().is_empty());
}

#[test]
fn a_unit_that_fails_to_start_comes_with_its_journal_and_one_that_is_not_there_at_once() {
    let broken = fault("kind = \"systemd:x.service\"\nattempts = 1\nbackoff = \"100ms\"", |bed| {
        play_systemd(bed);
        fs::write(bed.path("broken"), "").expect("written");
    });
    assert!(broken.reason.starts_with("start failed: Job for x.service failed"), "{broken:?}");
    assert_eq!((broken.exit, broken.output.as_str()), (Exit::Code(3), "out of memory"));
    let missing = fault("kind = \"systemd:y.service\"", play_systemd);
    assert!(missing.reason.contains("systemd knows no unit 'y.service'"), "{missing:?}");
}
