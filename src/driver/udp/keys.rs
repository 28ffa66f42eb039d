//! The cluster's keys: a text file that root alone may read, with one key on a line. The first seals, each opens; so that a key
//! is replaced without an interruption.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use core::fmt;
pub use roost_proto::key::MAX_KEYS;
use roost_proto::key::{KEY_LEN, MAX_FILE, Malformed, Secret, WORD, parse};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the keys are unless told otherwise.
pub const KEY_FILE: &str = "/etc/roost/key";
/// The only users that may own the file.
const ROOT: u32 = 0;

/// A key of the cluster, ready for use.
#[derive(Clone)]
pub struct Key {
    cipher: XChaCha20Poly1305,
    mark: u8,
}

/// Not the key itself: this may come into a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x})", self.mark)
    }
}

impl Key {
    /// From its bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        let cipher = XChaCha20Poly1305::new(&bytes.into());
        // The mark is a byte of the tag of nothing. Its nonce seals nothing else: a counter has 48 bits, and this one all 64.
        let tag = cipher
            .encrypt_inout_detached(&XNonce::from([0xff; 24]), b"mark", InOutBuf::from(&mut [][..]))
            .expect("nothing is short enough");
        Self { cipher, mark: tag[0] }
    }

    /// Which key it is, in one byte: so that a datagram is opened with the right one, and that of a stranger not at all.
    pub const fn mark(&self) -> u8 {
        self.mark
    }

    /// Encrypts `bytes` where they are, and returns what proves them and `with` genuine. A nonce must never come again.
    pub(super) fn seal(&self, nonce: [u8; 24], with: &[u8], bytes: &mut [u8]) -> [u8; 16] {
        self.cipher
            .encrypt_inout_detached(&XNonce::from(nonce), with, InOutBuf::from(bytes))
            .expect("a datagram is shorter than 256 GiB")
            .into()
    }

    /// Decrypts `bytes` where they are, if they and `with` are genuine; otherwise they are left as they are.
    pub(super) fn open(&self, nonce: [u8; 24], with: &[u8], bytes: &mut [u8], tag: [u8; 16]) -> bool {
        self.cipher
            .decrypt_inout_detached(&XNonce::from(nonce), with, InOutBuf::from(bytes), &Tag::from(tag))
            .is_ok()
    }
}

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// There is no such file.
    Missing(PathBuf),
    /// There is one already, and a key is never overwritten.
    Exists(PathBuf),
    /// Others than root may read or change it.
    Open {
        /// The file.
        file: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// It is not as `roost keygen` writes it.
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line; 0 stands for the whole.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The system refused something.
    System {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(file) => write!(
                f,
                "there is no key '{}': make it with 'roost keygen' on one host, and copy it to all others",
                file.display()
            ),
            Self::Exists(file) => write!(
                f,
                "'{}' exists, and is left as it is: a cluster loses its hosts with its key; to replace it, give 'roost \
                 keygen' another file and see KEYS in roost(8)",
                file.display()
            ),
            Self::Open { file, owner, mode } => write!(
                f,
                "'{0}' is of user {owner} with mode {mode:04o}, so others than root may know the key: make a new one if \
                 they may have read it, else say 'chown root {0}; chmod 0600 {0}'",
                file.display()
            ),
            Self::Malformed { file, line: 0, what } => write!(f, "'{}': {what}", file.display()),
            Self::Malformed { file, line, what } => write!(f, "'{}' line {line}: {what}", file.display()),
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl core::error::Error for KeyError {}

/// At least one key. The first seals.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// These; `None` without any, and when there are more than [`MAX_KEYS`].
    pub fn new(keys: Vec<Key>) -> Option<Self> {
        (1..=MAX_KEYS).contains(&keys.len()).then_some(Self(keys))
    }

    /// From a file that root alone may read.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        secrets(file).map(Self::of)
    }

    /// At least one, and at most [`MAX_KEYS`].
    fn of(secrets: Vec<Secret>) -> Self {
        Self(secrets.into_iter().map(|secret| Key::new(secret.0)).collect())
    }

    /// The keys of all these files, in their order.
    pub fn read_all(files: &[PathBuf]) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for file in files {
            keys.extend(Self::read(file)?.0);
        }
        let first = files.first().cloned().unwrap_or_default();
        Self::new(keys).ok_or(KeyError::Malformed {
            file: first,
            line: 0,
            what: "there are more than 4 keys in all: take out those that no host uses any more",
        })
    }

    /// What seals.
    pub(super) fn first(&self) -> &Key {
        &self.0[0]
    }

    /// Which keys they are, the one that seals first; to compare with others.
    pub fn marks(&self) -> Vec<u8> {
        self.0.iter().map(Key::mark).collect()
    }

    /// What may open a datagram with that mark.
    pub(super) fn marked(&self, mark: u8) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| key.mark == mark)
    }
}

/// The keys of a file that root alone may read, as they are.
pub fn secrets(file: &Path) -> Result<Vec<Secret>, KeyError> {
    read_of(file, ROOT)
}

fn read_of(path: &Path, root: u32) -> Result<Vec<Secret>, KeyError> {
    let system = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.to_owned()),
        _ => KeyError::System { what: format!("cannot read the key '{}'", path.display()), error },
    };
    let file = File::open(path).map_err(system)?;
    let about = file.metadata().map_err(system)?; // of what was opened, not of what has the name by now
    if about.uid() != root || about.mode() & 0o077 != 0 {
        let (owner, mode) = (about.uid(), about.mode() & 0o7777);
        return Err(KeyError::Open { file: path.to_owned(), owner, mode });
    }
    let mut text = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut text).map_err(system)?;
    parse(&text).map_err(|Malformed { line, what }| KeyError::Malformed { file: path.to_owned(), line, what })
}

/// Makes a new key in a new file that its maker alone may read, durable when this returns. What exists is never overwritten.
pub fn generate(path: &Path) -> Result<(), KeyError> {
    let system = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => KeyError::System { what: format!("cannot write the key '{}'", path.display()), error },
    };
    let mut bytes = [0; KEY_LEN];
    // Unlike urandom it waits, right after the first boot of a machine, until there is chance enough.
    File::open("/dev/random")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| KeyError::System { what: "cannot read '/dev/random'".to_owned(), error })?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "# A key of a Roost cluster, or of a machine that it watches; see KEYS in roost(8).\n{WORD} {hex}\n"
    );
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(system)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        let _ = std::fs::remove_file(path); // it is ours, and half a key is worse than none
        system(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("roost-keys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a fresh folder");
        dir
    }

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn a_key_is_made_once_for_its_maker_alone_and_is_read_again() {
        let dir = folder("made");
        let file = dir.join("key");
        assert!(matches!(read_of(&file, me()), Err(KeyError::Missing(_))));
        generate(&file).expect("made");
        let about = std::fs::metadata(&file).expect("it is there");
        assert_eq!(about.mode() & 0o7777, 0o600);
        let before = std::fs::read(&file).expect("ours");
        let error = generate(&file).expect_err("never overwritten");
        assert!(
            matches!(error, KeyError::Exists(_)) && error.to_string().contains("left as it is"),
            "{error}"
        );
        assert_eq!(std::fs::read(&file).expect("ours"), before);
        assert_eq!(read_of(&file, me()).expect("good").len(), 1);
        let other = dir.join("other");
        generate(&other).expect("made");
        assert_ne!(std::fs::read(&other).expect("ours"), before, "two keys are never the same");
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn a_key_that_others_may_know_is_refused_with_what_to_do() {
        let dir = folder("open");
        let file = dir.join("key");
        generate(&file).expect("made");
        for mode in [0o640, 0o604, 0o610, 0o666] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
            let error = read_of(&file, me()).expect_err("open to others").to_string();
            assert!(error.contains("chmod 0600") && error.contains(&format!("mode {mode:04o}")), "{error}");
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).expect("ours");
        read_of(&file, me()).expect("less is well");
        assert!(matches!(read_of(&file, me() + 1), Err(KeyError::Open { .. })), "of somebody else");
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn a_key_does_not_come_into_a_log() {
        let key = Key::new([0x5a; 32]);
        let shown = format!("{:?}", Keys::new(vec![key]));
        assert!(!shown.contains("5a5a") && !shown.contains("90, 90"), "{shown}");
    }
}
