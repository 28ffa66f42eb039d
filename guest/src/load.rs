//! Reading the configuration's file.

use crate::config::{Config, ConfigError, parse};
use crate::spawn::reason;
use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read: every group and resource that may be has room for pages of comments.
const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It was refused.
    Refused(PathBuf, ConfigError),
}

/// One line for each mistake, `FILE:LINE: message`.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "cannot read '{}': {}", path.display(), reason(error)),
            Self::Refused(path, error) => {
                for (nth, mistake) in error.mistakes().iter().enumerate() {
                    let end = if nth == 0 { "" } else { "\n" };
                    write!(f, "{end}{}:{}: {}", path.display(), mistake.line, mistake.message)?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for LoadError {}

/// Reads and checks the configuration at `path`.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let unreadable = |error| LoadError::Unreadable(path.to_owned(), error);
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_SIZE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(unreadable(io::Error::other(format!("it has more than {MAX_SIZE} bytes"))));
    }
    parse(&text).map_err(|error| LoadError::Refused(path.to_owned(), error))
}
