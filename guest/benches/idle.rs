//! What an idle controller costs while it watches five resources over a link: size, memory, system calls in a minute.
//! `cargo bench -p roost-guest --bench idle` (needs strace(1) and the musl target; takes a little over a minute).

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Bed, LONG, service};
use roost_proto::frame::encode;
use roost_proto::link::HostMessage;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MAX_SIZE_KIB: u64 = 700;
const MAX_RSS_KIB: u64 = 1024;
const MAX_CALLS: u64 = 400;
const SECONDS: u64 = 60;

/// The program as it is shipped.
fn build() -> PathBuf {
    let target = "x86_64-unknown-linux-musl";
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args = ["build", "--quiet", "--release", "-p", "roost-guest", "--target", target];
    assert!(Command::new(cargo).args(args).status().expect("cargo").success(), "it does not build");
    let mut dir = std::env::current_exe().expect("this program");
    while dir.file_name().is_none_or(|name| name != "release") {
        assert!(dir.pop(), "this program is in no release directory");
    }
    dir.pop();
    dir.join(target).join("release/roost-guest")
}

/// A host that welcomes and beats each second, until the guest closes.
fn host(bed: &Bed, ended: Arc<AtomicBool>) {
    let listener = UnixListener::bind(bed.path("host.sock")).expect("a socket");
    std::thread::spawn(move || {
        let (mut guest, _) = listener.accept().expect("the guest");
        guest.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
        let mut message =
            HostMessage::Welcome { version: 1, host: "hv1".to_owned(), group: "web".to_owned() };
        while !ended.load(Ordering::SeqCst) {
            let mut out = Vec::new();
            encode(&message, &mut out).expect("small");
            if guest.write_all(&out).is_err() {
                return;
            }
            message = HostMessage::Beat;
            std::thread::sleep(Duration::from_secs(1)); // the beat
            let _ = guest.read(&mut [0; 65536]);
        }
    });
}

fn main() {
    let program = build();
    let size = fs::metadata(&program).expect("it was built").len();
    let bed = Bed::new();
    let ended = Arc::new(AtomicBool::new(false));
    host(&bed, ended.clone());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    fs::write(bed.path("beat"), "").expect("written");
    let services: String = ["a", "b", "c"].map(|name| service(name, "interval = \"10s\"")).concat();
    bed.configure(&format!(
        "[controller]\nlink = \"unix:DIR/host.sock\"\n[[group]]\nname = \"site\"\n{services}\
         [[group.resource]]\nname = \"port\"\nkind = \"tcp\"\naddress = \"127.0.0.1:{port}\"\ninterval = \"10s\"\n\
         [[group.resource]]\nname = \"beat\"\nkind = \"file\"\npath = \"DIR/beat\"\nmax_age = \"5m\"\ninterval = \"10s\"\n"
    ));
    let mut controller = Command::new(&program)
        .arg("--config")
        .arg(bed.path("guest.toml"))
        .arg("--run-dir")
        .arg(bed.path("run"))
        .stderr(fs::File::create(bed.path("log")).expect("a log"))
        .spawn()
        .expect("it runs");
    let pid = controller.id().to_string();
    bed.await_online();
    let strace = Command::new("timeout")
        .args(["--signal=INT", &SECONDS.to_string(), "strace", "-c", "-f", "-p", &pid, "-o"])
        .arg(bed.path("calls"))
        .output()
        .expect("strace(1)");
    assert_eq!(strace.status.code(), Some(124), "{strace:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let rss: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .expect("its memory");
    let table = fs::read_to_string(bed.path("calls")).expect("counted");
    let calls: u64 = table
        .lines()
        .find(|line| line.ends_with("total"))
        .and_then(|line| line.split_whitespace().rev().skip(1).filter_map(|word| word.parse().ok()).max())
        .expect("a total");
    controller.kill().expect("killed");
    controller.wait().expect("reaped");
    ended.store(true, Ordering::SeqCst);
    let _ = LONG; // shared with the tests
    println!("{table}");
    println!(
        "size {} KiB (budget {MAX_SIZE_KIB}), resident memory {rss} KiB (budget {MAX_RSS_KIB})",
        size / 1024
    );
    println!("system calls in {SECONDS} s idle: {calls} (budget: under {MAX_CALLS})");
    assert!(size <= MAX_SIZE_KIB * 1024 && rss <= MAX_RSS_KIB && calls < MAX_CALLS, "over the budget");
}
