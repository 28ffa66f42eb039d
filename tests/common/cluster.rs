//! Three hosts on loopback addresses that form a cluster, and what tests ask of it.
//!
//! The VM `webN` runs on the host `hvN` from the start, and is there again when that daemon starts again, as a VM that ran on
//! would be. All keep the same configuration file; `/proc/self/cwd` in it is each daemon's own folder.

#![allow(dead_code)] // each test program uses its part

use crate::common::{Bed, SOON};
use roost_proto::control::{Condition, Event, EventKind, HostState};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Three hosts found the cluster; others may be added.
pub const HOSTS: [&str; 5] = ["hv1", "hv2", "hv3", "hv4", "hv5"];

/// A libvirt on which these VMs run, of the five that it knows.
pub fn node(running: &[usize]) -> String {
    let domain = |nth: usize| {
        let off = if running.contains(&nth) { "" } else { "<test:runstate>5</test:runstate>" };
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>web{nth}</name>
             <memory>8192</memory><vcpu>1</vcpu><os><type>hvm</type></os>{off}</domain>"
        )
    };
    format!("<node>{}</node>", (1..=5).map(domain).collect::<String>())
}

/// What the file says of a group.
pub fn group_table(nth: usize) -> String {
    format!(
        "[[group]]\nname = \"web{nth}\"\nvm = \"web{nth}\"\nlink = \"hybrid:/proc/self/cwd/web{nth}.vsock\"\n"
    )
}

pub struct Cluster {
    /// What all begin with: the key.
    pub folder: PathBuf,
    /// The first three bytes of the hosts' addresses.
    pub net: String,
    pub hosts: Vec<Bed>,
}

impl Cluster {
    /// Three hosts; none runs yet.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Each test of each run has addresses of its own.
        let net = format!("127.{}.{number}", 10 + std::process::id() % 240);
        let folder = std::env::temp_dir().join(format!("roost-cluster-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a fresh folder");
        new_key(&folder.join("key"));
        let mut this = Self { folder, net, hosts: Vec::new() };
        this.hosts = (1..=3).map(|nth| this.host(nth, &this.config())).collect();
        this
    }

    /// Three hosts that have founded their cluster, each with the VM that ran there.
    pub fn founded() -> Self {
        let mut this = Self::new();
        this.hosts.iter_mut().for_each(Bed::run);
        this.is_whole();
        this
    }

    /// The file of the three.
    pub fn config(&self) -> String {
        let mut text = "[cluster]\nname = \"lab\"\nkey = [\"/proc/self/cwd/key\"]\n".to_owned();
        (1..=3).for_each(|nth| text += &self.host_table(nth));
        (1..=3).for_each(|nth| text += &group_table(nth));
        text
    }

    /// What the file says of a host.
    pub fn host_table(&self, nth: usize) -> String {
        format!(
            "[[host]]\nname = \"{}\"\naddress = [\"{}.{nth}:7961\"]\nlibvirt = \"test:///proc/self/cwd/node.xml\"\n",
            HOSTS[nth - 1],
            self.net
        )
    }

    /// A machine with its VM, the file and the key; its daemon does not run yet.
    pub fn host(&self, nth: usize, config: &str) -> Bed {
        let bed = Bed::of_host(HOSTS[nth - 1], config);
        fs::write(bed.dir.join("node.xml"), node(&[nth])).expect("writable");
        fs::copy(self.folder.join("key"), bed.dir.join("key")).expect("writable"); // with its permissions
        bed
    }

    /// The hosts whose daemons run.
    pub fn running(&self) -> impl Iterator<Item = &Bed> {
        self.hosts.iter().filter(|bed| bed.runs())
    }

    /// Waits until all hosts that run see something.
    pub fn all(&self, what: &str, is: impl Fn(&Bed) -> bool) {
        for bed in self.running() {
            bed.until(&format!("{what}, as '{}' sees it", bed.host), |bed| is(bed).then_some(()));
        }
    }

    pub fn is_whole(&self) {
        self.all("all hosts are up and vote, one leads, and each has its VM", |bed| {
            let status = bed.status();
            status.hosts.iter().all(|host| host.state == HostState::Up && host.votes && host.groups == 1)
                && status.hosts.iter().filter(|host| host.leads).count() == 1
                && status.warnings.is_empty()
        });
        for (nth, bed) in (1..).zip(&self.hosts).filter(|(_, bed)| bed.runs()) {
            bed.until("its own VM is online", |bed| {
                (bed.group(&format!("web{nth}")).condition == Condition::Online).then_some(())
            });
        }
    }

    /// Who leads, as all agree: its place.
    pub fn leader(&self) -> usize {
        let seen_by = |bed: &Bed| bed.status().hosts.iter().position(|host| host.leads);
        let begun = Instant::now();
        loop {
            let leaders: Vec<_> = self.running().map(seen_by).collect();
            let same = leaders.iter().all(|other| *other == leaders[0]);
            if let Some(leader) = leaders[0].filter(|leader| same && self.hosts[*leader].runs()) {
                return leader;
            }
            assert!(begun.elapsed() < SOON, "no leader that all agree on: {leaders:?}");
            std::thread::sleep(Duration::from_millis(5)); // between two looks; the bound above judges
        }
    }

    pub fn events(&self) -> Vec<(String, Event)> {
        let of = |bed: &Bed| {
            let host = bed.host.clone();
            bed.events().into_iter().map(move |event| (host.clone(), event)).collect::<Vec<_>>()
        };
        self.running().flat_map(of).collect()
    }

    pub fn count(&self, words: &str) -> usize {
        self.events().iter().filter(|(_, event)| event.text.contains(words)).count()
    }

    /// Waits until any host tells these words.
    pub fn told(&self, words: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some((_, event)) = self.events().into_iter().find(|(_, event)| event.text.contains(words))
            {
                return event.text;
            }
            assert!(begun.elapsed() < SOON, "not told: {words}");
            std::thread::sleep(Duration::from_millis(20)); // between two looks; the bound above judges
        }
    }

    /// Nothing was started, stopped, paused or thrown out, on any host that runs.
    pub fn nothing_happened(&self) {
        let events = self.events();
        let bad = |event: &Event| {
            matches!(event.kind, EventKind::Recovery | EventKind::VmFailed | EventKind::HostLost)
                || event.text.contains("stands still")
                || event.text.contains("thrown out")
        };
        let bad: Vec<_> = events.iter().filter(|(_, event)| bad(event)).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn new_key(file: &Path) {
    let made = Command::new(env!("CARGO_BIN_EXE_roost")).arg("keygen").arg(file).output().expect("it runs");
    assert!(made.status.success(), "{made:?}");
}

/// Runs `roost` against a host.
pub fn roost(bed: &Bed, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command.arg("--socket").arg(bed.socket()).args(arguments).output().expect("roost runs")
}

pub fn host_state(bed: &Bed, host: usize) -> HostState {
    bed.status().hosts[host].state
}

pub fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
