//! The few things that the store does with files: so few that the simulator can stand in for them, and lose and tear them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder with files that are small enough to be read whole.
pub trait Folder {
    /// What the file holds, if there is one; one that is longer than `limit` bytes is an error.
    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// Makes the file end at `at` and adds `bytes`, durably. After an error anything may stand behind `at`.
    fn append(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes `bytes` the whole file, durably. After an error, or a crash in the midst, the file is as it was, or is this one.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A real folder.
#[derive(Debug)]
pub struct OsFolder {
    dir: PathBuf,
    /// The file that was appended to last, open.
    open: Option<(String, File)>,
}

impl OsFolder {
    /// The folder `dir`, made if need be, for root alone.
    pub fn new(dir: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?; // else a power loss may take the folder, and all that was synced in it
        }
        Ok(Self { dir: dir.to_owned(), open: None })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn opened(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let file = OpenOptions::new().write(true).open(self.dir.join(name))?;
            self.open = Some((name.to_owned(), file));
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        Ok(file)
    }
}

impl Folder for OsFolder {
    fn read(&mut self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("'{name}' is longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    fn append(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.opened(name)?;
        if file.metadata()?.len() != at {
            file.set_len(at)?;
        }
        file.write_all_at(bytes, at)?;
        file.sync_data()
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.dir.join(format!("{name}.new"));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.open = None;
        std::fs::rename(&new, self.dir.join(name))?;
        self.sync()
    }
}
