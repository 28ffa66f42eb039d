//! The runtime file: what a restarted controller must know to adopt what runs. It lives in the run directory, and so as long
//! as the boot.

use crate::config::Config;
use crate::log::{Level, Log};
use crate::procfs;
use crate::spawn::reason;
use crate::subcluster::ResourceId;
use roost_proto::local::{ProcessId, RUNTIME_VERSION, Runtime};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest file that is read: every resource of every group, with all attempts, is smaller.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// The file, and what is in it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    runtime: Runtime,
    stage: Stage,
    /// Told once, until it works again.
    trouble: Trouble,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Stored,
    Changed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Told,
}

impl StateFile {
    /// Reads the file in `run_dir`. What was written in another boot, by another version or by nobody knows how is as
    /// good as none.
    pub fn open(run_dir: &Path, boot_id: [u8; 16], log: Log) -> Self {
        let path = run_dir.join("state");
        let mut runtime = match read(&path) {
            Ok(runtime) if runtime.version == RUNTIME_VERSION && runtime.boot_id == boot_id => runtime,
            Ok(_) => Runtime::default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Runtime::default(),
            Err(error) => {
                log.line(
                    Level::Warning,
                    format_args!(
                        "'{}' is of no use: {}; what runs is found by looking",
                        path.display(),
                        reason(&error)
                    ),
                );
                Runtime::default()
            }
        };
        runtime.version = RUNTIME_VERSION;
        runtime.boot_id = boot_id;
        runtime.starts = runtime.starts.saturating_add(1);
        Self { path, runtime, stage: Stage::Changed, trouble: Trouble::None }
    }

    /// What was kept, and is kept.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The process that was kept for a resource, if it still lives.
    pub fn process(&self, group: &str, resource: &str) -> Option<ProcessId> {
        let group = self.runtime.groups.iter().find(|kept| kept.name == group)?;
        let resource = group.resources.iter().find(|kept| kept.name == resource)?;
        resource.process.filter(|&process| procfs::is_alive(process))
    }

    /// What the machine wants kept.
    pub fn keep(&mut self, runtime: Runtime) {
        self.runtime.groups = runtime.groups;
        self.stage = Stage::Changed;
    }

    /// A process came or went.
    pub const fn touch(&mut self) {
        self.stage = Stage::Changed;
    }

    /// Writes the file if something changed, with the processes of `processes` in it.
    pub fn store(&mut self, config: &Config, processes: &BTreeMap<ResourceId, ProcessId>, log: Log) {
        if self.stage == Stage::Stored {
            return;
        }
        self.stage = Stage::Stored;
        self.fill_in(config, processes);
        match write(&self.path, &self.runtime) {
            Ok(()) => self.trouble = Trouble::None,
            Err(error) => {
                if self.trouble == Trouble::None {
                    log.line(
                        Level::Error,
                        format_args!(
                            "cannot write '{}': {}; all goes on, but a restarted controller will know less",
                            self.path.display(),
                            reason(&error)
                        ),
                    );
                }
                // Who orders managed groups was told what the file does not say: none at all is better, for then they are offline.
                if self.runtime.groups.iter().any(|group| group.managed.is_some()) {
                    let _ = fs::remove_file(&self.path); // a full file system does not prevent that
                }
                self.trouble = Trouble::Told;
                self.stage = Stage::Changed; // tried again with the next change or turn
            }
        }
    }

    fn fill_in(&mut self, config: &Config, processes: &BTreeMap<ResourceId, ProcessId>) {
        for kept in &mut self.runtime.groups {
            let group = config.groups.iter().position(|group| group.name == kept.name);
            for resource in &mut kept.resources {
                let id = group.and_then(|group| {
                    let resources = &config.groups[group].resources;
                    let resource = resources.iter().position(|other| other.name == resource.name)?;
                    Some(ResourceId { group, resource })
                });
                resource.process = id.and_then(|id| processes.get(&id).copied());
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Runtime> {
    if fs::metadata(path)?.len() > MAX_SIZE {
        return Err(io::Error::other("it is too large"));
    }
    postcard::from_bytes(&fs::read(path)?).map_err(|_| io::Error::other("it is damaged"))
}

fn write(path: &Path, runtime: &Runtime) -> io::Result<()> {
    let bytes = postcard::to_allocvec(runtime).map_err(|_| io::Error::other("it cannot be encoded"))?;
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use roost_proto::link::{Cause, Circumstances, Wanted};
    use roost_proto::local::{GroupRuntime, ManagedRuntime, Progress, ResourceRuntime};

    const LOG_BOOT: [u8; 16] = [7; 16];

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("roost-state-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    fn config() -> Config {
        parse(
            "[controller]\nlink = \"none\"\n[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\n\
             kind = \"process\"\ncommand = [\"/bin/x\"]\n",
        )
        .expect("good")
    }

    fn runtime() -> Runtime {
        let resources = vec![ResourceRuntime { name: "r".to_owned(), ..ResourceRuntime::default() }];
        let groups = vec![GroupRuntime { name: "g".to_owned(), resources, ..GroupRuntime::default() }];
        Runtime { groups, ..Runtime::default() }
    }

    #[test]
    fn what_was_kept_comes_back_in_the_same_boot_only() {
        let dir = directory("kept");
        let me = procfs::identify(i32::try_from(std::process::id()).expect("a pid")).expect("it lives");
        let processes = BTreeMap::from([(ResourceId { group: 0, resource: 0 }, me)]);
        let mut file = StateFile::open(&dir, LOG_BOOT, Log::new());
        assert_eq!(file.runtime().starts, 1);
        file.keep(runtime());
        file.store(&config(), &processes, Log::new());
        let file = StateFile::open(&dir, LOG_BOOT, Log::new());
        assert_eq!(file.runtime().starts, 2);
        assert_eq!(file.process("g", "r"), Some(me));
        assert_eq!(file.process("g", "other"), None);
        assert_eq!(StateFile::open(&dir, [8; 16], Log::new()).runtime().groups, []);
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_damaged_or_foreign_file_is_as_good_as_none() {
        let dir = directory("damaged");
        for bytes in [&b""[..], b"not ours", &[0xff; 300]] {
            fs::write(dir.join("state"), bytes).expect("written");
            assert_eq!(StateFile::open(&dir, LOG_BOOT, Log::new()).runtime().groups, []);
        }
        let foreign = Runtime { version: RUNTIME_VERSION + 1, boot_id: LOG_BOOT, ..runtime() };
        fs::write(dir.join("state"), postcard::to_allocvec(&foreign).expect("encoded")).expect("written");
        assert_eq!(StateFile::open(&dir, LOG_BOOT, Log::new()).runtime().groups, []);
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn what_cannot_be_replaced_is_not_left_to_mislead_about_managed_groups() {
        let dir = directory("stale");
        let mut managed = runtime();
        managed.groups[0].managed = Some(ManagedRuntime {
            wanted: Wanted::Online,
            epoch: 7,
            lease_ms: None,
            circumstances: Circumstances {
                target: String::new(),
                previous: String::new(),
                reason: Cause::Start,
            },
            progress: Progress::Online,
        });
        for (runtime, left) in [(runtime(), true), (managed, false)] {
            let mut file = StateFile::open(&dir, LOG_BOOT, Log::new());
            file.store(&config(), &BTreeMap::new(), Log::new());
            fs::create_dir(dir.join("state.new")).expect("nothing can be written over it");
            file.keep(runtime);
            file.store(&config(), &BTreeMap::new(), Log::new());
            assert_eq!(dir.join("state").exists(), left);
            fs::remove_dir(dir.join("state.new")).expect("removed");
        }
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_full_directory_ends_nothing() {
        let dir = directory("full");
        let mut file = StateFile::open(&dir.join("is-not-there"), LOG_BOOT, Log::new());
        file.keep(runtime());
        file.store(&config(), &BTreeMap::new(), Log::new());
        file.store(&config(), &BTreeMap::new(), Log::new());
        assert_eq!((file.trouble, file.stage), (Trouble::Told, Stage::Changed));
        fs::remove_dir_all(&dir).expect("removed");
    }
}
