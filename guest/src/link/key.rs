//! The key by which this machine and the hosts that watch it over TCP know each other.

use crate::spawn::reason;
use nix::unistd::geteuid;
use roost_proto::key::{MAX_FILE, Secret, parse};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Reads the first key of a file that nobody but root, and whoever runs this controller, can read; or tells what is wrong.
pub fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let system = |error: std::io::Error| format!("cannot read the key '{shown}': {}", reason(&error));
    let file = File::open(path).map_err(system)?;
    let about = file.metadata().map_err(system)?; // of what was opened, not of what has the name by now
    if ![0, geteuid().as_raw()].contains(&about.uid()) || about.mode() & 0o077 != 0 {
        return Err(format!(
            "the key '{shown}' is of user {} with mode {:04o}, so others than root may know it: make a new one if they may \
             have read it, else say 'chown root {shown}; chmod 0600 {shown}'",
            about.uid(),
            about.mode() & 0o7777
        ));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut text).map_err(system)?;
    let keys = parse(&text).map_err(|error| format!("the key '{shown}': {error}"))?;
    Ok(keys.into_iter().next().expect("at least one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_others_may_know_is_refused() {
        let path = std::env::temp_dir().join(format!("roost-guest-key-{}", std::process::id()));
        write(&path, format!("# ours\nroost-key-1 {}\n", "07".repeat(32))).expect("ours");
        set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
        assert_eq!(read(&path), Ok(Secret([7; 32])));
        for mode in [0o640, 0o604, 0o610] {
            set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
            let error = read(&path).expect_err("open to others");
            assert!(error.contains("chmod 0600") && error.contains(&format!("{mode:04o}")), "{error}");
        }
        write(&path, "nothing\n").expect("ours");
        set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
        assert!(read(&path).expect_err("no key").contains("line 1"));
        std::fs::remove_file(&path).expect("ours");
        assert!(read(&path).expect_err("no file").contains("no such file"));
    }
}
