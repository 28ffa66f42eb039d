//! The configuration's file.

use super::{Config, ConfigError, MAX_FILE, parse};
use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a configuration could not be taken from its file. Shown, each line begins with the file; a mistake's also with its
/// line number, as editors understand it: `/etc/roost/roost.toml:12: unknown key ...`.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// It holds mistakes.
    Refused {
        /// The file.
        file: PathBuf,
        /// The mistakes.
        error: ConfigError,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => write!(f, "{}: cannot be read: {error}", file.display()),
            Self::Refused { file, error } => {
                for (nth, mistake) in error.mistakes().iter().enumerate() {
                    let start = if nth == 0 { "" } else { "\n" };
                    write!(f, "{start}{}:{}: {}", file.display(), mistake.line, mistake.message)?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for LoadError {}

/// Reads the configuration in `file`.
pub fn load(file: &Path) -> Result<Config, LoadError> {
    let unreadable = |error| LoadError::Unreadable { file: file.to_owned(), error };
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the parser can tell; and never the whole of something endless.
    File::open(file)
        .and_then(|open| open.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))?;
    parse(&text).map_err(|error| LoadError::Refused { file: file.to_owned(), error })
}
