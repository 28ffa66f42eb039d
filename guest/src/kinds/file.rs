//! Files that have to change. When a change was seen counts, by a clock that nobody sets; what time the file bears does not.

use super::words;
use crate::spawn::reason;
use crate::subcluster::Outcome;
use core::time::Duration;
use roost_proto::time::{Instant, Span};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

/// What was seen of a file.
#[derive(Debug, Default)]
pub struct Freshness {
    last: Option<(Look, Instant)>,
}

impl Freshness {
    /// Looks at `path` now. A file that was never seen before counts as just changed.
    pub fn look(&mut self, now: Instant, path: &Path, max_age: Duration) -> Outcome {
        let look = match fs::metadata(path) {
            Ok(data) => Look {
                inode: (data.dev(), data.ino()),
                size: data.size(),
                modified: (data.mtime(), data.mtime_nsec()),
            },
            Err(error) => {
                self.last = None;
                return Outcome::Failed(words(format!(
                    "cannot look at '{}': {}",
                    path.display(),
                    reason(&error)
                )));
            }
        };
        let since = match self.last {
            Some((last, since)) if last == look => since,
            _ => now,
        };
        self.last = Some((look, since));
        if now.since(since) > max_age {
            let age = Span(Duration::from_secs(now.since(since).as_secs()));
            return Outcome::Failed(words(format!("'{}' has not changed for {age}", path.display())));
        }
        Outcome::Running
    }

    /// Starts afresh: what should change it is being restarted.
    pub const fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn only_the_time_since_a_change_was_seen_counts() {
        let path = std::env::temp_dir().join(format!("roost-file-{}", std::process::id()));
        let file = File::create(&path).expect("a file");
        let set = |time: SystemTime| file.set_times(FileTimes::new().set_modified(time)).expect("set");
        let hour = Duration::from_secs(3600);
        let mut fresh = Freshness::default();
        let mut look = |seconds| fresh.look(at(seconds), &path, MINUTE);

        assert_eq!(look(0), Outcome::Running, "seen for the first time");
        assert_eq!(look(60), Outcome::Running);
        assert!(
            matches!(look(61), Outcome::Failed(cause) if cause.reason.ends_with("has not changed for 61s"))
        );
        // The clock was set an hour ahead, or back: the file changed all the same.
        set(SystemTime::now() + hour);
        assert_eq!(look(70), Outcome::Running);
        set(SystemTime::now() - hour);
        assert_eq!(look(120), Outcome::Running);
        assert_eq!(look(180), Outcome::Running);
        assert!(
            matches!(look(181), Outcome::Failed(_)),
            "an hour ahead or back does not make it fresh for ever"
        );
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(look(182), Outcome::Failed(_)));
    }
}
