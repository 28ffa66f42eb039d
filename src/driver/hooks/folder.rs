//! The folder of the hooks: which of its files are run, in which order, and why others are not.
//!
//! Names are those of run-parts(8): letters, digits, `_` and `-`; so what editors and packages leave behind is not run. What
//! runs as root must be root's: a hook or folder that somebody else may write is refused.

use nix::unistd::geteuid;
use roost_proto::control::Level;
use roost_proto::text::{clip, printable};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Hooks, at most: each is run for each event, and those behind it wait.
pub const MAX_HOOKS: usize = 32;
/// Bytes of a file's name in a message, at most.
const MAX_QUOTED: usize = 80;

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The hooks by name, in their order.
    pub hooks: Vec<(String, PathBuf)>,
    /// What is not run, by name: how bad that is, and why.
    pub refused: BTreeMap<String, (Level, String)>,
}

/// Looks into the folder. One that is not there holds nothing.
pub fn read(folder: &Path) -> Found {
    let mut found = Found::default();
    let place = folder.display();
    let mut whole = |why: String| {
        _ = found.refused.insert(String::new(), (Level::Error, format!("no hook is run: '{place}' {why}")));
    };
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return found,
        Err(error) => whole(format!("cannot be looked at: {error}")),
        Ok(meta) => match trusted(&meta) {
            Err(why) => whole(why),
            Ok(()) => match std::fs::read_dir(folder) {
                Err(error) => whole(format!("cannot be read: {error}")),
                Ok(entries) => entries.flatten().for_each(|entry| look(&entry.path(), &mut found)),
            },
        },
    }
    found.hooks.sort();
    if found.hooks.len() > MAX_HOOKS {
        let more: Vec<(String, PathBuf)> = found.hooks.split_off(MAX_HOOKS);
        let text = format!(
            "'{place}' holds more than {MAX_HOOKS} hooks: '{}' and those behind it are not run; call some of them from one",
            more[0].0
        );
        found.refused.insert(String::new(), (Level::Warning, text));
    }
    found
}

/// Sorts one entry in. What is no program, such as a README, is nobody's mistake.
fn look(path: &Path, found: &mut Found) {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let Ok(meta) = std::fs::metadata(path) else { return }; // a dangling link, or it is gone
    if !meta.is_file() || meta.mode() & 0o111 == 0 {
        return;
    }
    let shown = printable(clip(&name, MAX_QUOTED)).replace(['\n', '\t'], " ");
    let refusal = if !is_plain(&name) {
        let text = format!(
            "'{shown}' is not run as a hook: rename it to letters, digits, '_' and '-', without a dot"
        );
        Some((Level::Info, text))
    } else {
        trusted(&meta).err().map(|why| (Level::Error, format!("hook '{shown}' is not run: it {why}")))
    };
    match refusal {
        None => found.hooks.push((name, path.to_owned())),
        Some(refusal) if found.refused.len() < MAX_HOOKS => _ = found.refused.insert(name, refusal),
        Some(_) => {}
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Whether nobody but root, or whoever `roostd` runs as, can have written it.
fn trusted(meta: &Metadata) -> Result<(), String> {
    let own = geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != own {
        return Err(format!("belongs to user {}: chown it to root", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("may be written by others (mode {:04o}): chmod go-w", meta.mode() & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("roost-hooks-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a fresh folder");
        mode(&dir, 0o755);
        dir
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    }

    fn file(dir: &Path, name: &str, bits: u32) {
        std::fs::write(dir.join(name), "#!/bin/sh\n").expect("writable");
        mode(&dir.join(name), bits);
    }

    fn names(found: &Found) -> Vec<&str> {
        found.hooks.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn hooks_are_programs_with_plain_names_in_order() {
        let dir = folder("plain");
        for name in ["20-mail", "10_page", "Zabbix", "notify.sh", "old~"] {
            file(&dir, name, 0o755);
        }
        file(&dir, "README", 0o644);
        std::fs::create_dir(dir.join("more")).expect("a folder");
        std::os::unix::fs::symlink(dir.join("20-mail"), dir.join("link")).expect("a link");
        std::os::unix::fs::symlink(dir.join("nothing"), dir.join("dangling")).expect("a link");
        let found = read(&dir);
        assert_eq!(names(&found), ["10_page", "20-mail", "Zabbix", "link"]);
        let told: Vec<&str> = found.refused.keys().map(String::as_str).collect();
        assert_eq!(
            told,
            ["notify.sh", "old~"],
            "an executable with another name is told of, a README is not"
        );
        assert!(found.refused["notify.sh"].1.contains("without a dot"));
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let dir = folder("written");
        file(&dir, "good", 0o700);
        file(&dir, "shared", 0o775);
        file(&dir, "open", 0o757);
        let found = read(&dir);
        assert_eq!(names(&found), ["good"]);
        for name in ["shared", "open"] {
            assert!(found.refused[name].1.contains("may be written by others"), "{found:?}");
        }
        mode(&dir, 0o777);
        let found = read(&dir);
        assert!(names(&found).is_empty() && found.refused[""].1.contains("no hook is run"), "{found:?}");
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let dir = folder("owned");
        file(&dir, "theirs", 0o755);
        let path = dir.join("theirs");
        // Only root can give a file away; for anybody else a file of root's that is not its own does as well.
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).expect("we are root");
            let found = read(&dir);
            assert!(found.hooks.is_empty() && found.refused["theirs"].1.contains("user 65534"), "{found:?}");
        } else {
            assert!(trusted(&std::fs::metadata("/bin/sh").expect("a shell")).is_ok(), "root's is trusted");
        }
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing_and_too_many_hooks_are_told() {
        assert_eq!(read(Path::new("/nowhere/hooks.d")), Found::default());
        let dir = folder("many");
        for nth in 0..=MAX_HOOKS {
            file(&dir, &format!("{nth:03}"), 0o755);
        }
        let found = read(&dir);
        assert_eq!(found.hooks.len(), MAX_HOOKS);
        assert!(found.refused[""].1.contains("'032'"), "{found:?}");
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
