//! What all output shares: whether it is coloured, how wide it may be, how time is told, how long lines are broken.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

/// The width of a terminal that does not tell its own.
const USUAL_WIDTH: usize = 80;
/// Narrower than this no table stands; it is then broken by the terminal.
const LEAST_WIDTH: usize = 60;

/// How output looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are used.
    pub colour: bool,
    /// Columns; lines are broken to fit. `None`: they are not broken, for what reads them is no person.
    pub width: Option<usize>,
}

impl Look {
    /// Colours and breaks lines on a terminal only; colours neither for `NO_COLOR` (<https://no-color.org>) nor for a
    /// dumb terminal.
    pub fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self { colour: false, width: None };
        }
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let width = terminal_size::terminal_size().map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0));
        Self { colour: !unwanted && !dumb, width: Some(width.max(LEAST_WIDTH)) }
    }

    /// `text` in `ink`.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Good => 32,
            Ink::Doubtful => 33,
            Ink::Bad => 31,
            Ink::Faint => 2,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Nothing.
    Plain,
    /// As wanted.
    Good,
    /// Worth a look.
    Doubtful,
    /// Failed.
    Bad,
    /// Beside the point.
    Faint,
}

/// The time of day, where the operator is. Local, for it is compared with the clock on the wall and with the system's log;
/// the zone is named, for not everybody who reads along is there. `jiff` reads it: `env_logger` brings it already, and
/// libc's own localtime(3) is neither safe nor quiet about the environment.
#[derive(Debug)]
pub struct Clock {
    now_ms: u64,
    zone: TimeZone,
}

impl Clock {
    /// It is now, here.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { now_ms, zone: TimeZone::try_system().unwrap_or(TimeZone::UTC) }
    }

    /// It is `now_ms` of Unix time in Greenwich.
    #[cfg(test)]
    pub const fn utc(now_ms: u64) -> Self {
        Self { now_ms, zone: TimeZone::UTC }
    }

    /// Now, in milliseconds of Unix time.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How long ago `at_ms` was, in at most six characters: two units, of which the second is left out when it tells
    /// nothing.
    pub fn ago(&self, at_ms: u64) -> String {
        let seconds = self.now_ms.saturating_sub(at_ms) / 1000;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => format!("{seconds}s"),
            (0, 0, minutes) if minutes < 10 => format!("{minutes}m{:02}s", seconds % 60),
            (0, 0, minutes) => format!("{minutes}m"),
            (0, hours, _) => format!("{hours}h{:02}m", minutes % 60),
            (days, _, _) if days < 10 => format!("{days}d{:02}h", hours % 24),
            (days, _, _) => format!("{days}d"),
        }
    }

    /// `at_ms` as a local date and time, with milliseconds.
    pub fn exact(&self, at_ms: u64) -> String {
        self.format(at_ms, "%Y-%m-%d %H:%M:%S%.3f")
    }

    /// Now as a local date and time, with the zone.
    pub fn here(&self) -> String {
        self.format(self.now_ms, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// The last time that the clock on the wall showed this.
    pub fn last(&self, time: Time) -> Option<Timestamp> {
        let now = Timestamp::from_millisecond(i64::try_from(self.now_ms).ok()?).ok()?;
        let today = now.to_zoned(self.zone.clone()).date();
        let at = self.local(today.to_datetime(time))?;
        if at <= now { Some(at) } else { self.local(today.yesterday().ok()?.to_datetime(time)) }
    }

    /// When the clock on the wall showed this.
    pub fn local(&self, at: DateTime) -> Option<Timestamp> {
        self.zone.to_timestamp(at).ok()
    }

    fn format(&self, at_ms: u64, how: &str) -> String {
        let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        at.map_or_else(|| "?".to_owned(), |at| at.to_zoned(self.zone.clone()).strftime(how).to_string())
    }
}

/// `text` in lines of at most `width` columns, broken between words, each behind `indent` spaces; a word that is longer
/// stands alone. Line feeds in it are kept.
pub fn wrap(text: &str, indent: usize, width: Option<usize>) -> String {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(1));
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > room {
                lines.push(core::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines.iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_exact_enough() {
        let clock = Clock::utc(100 * 86_400_000);
        for (seconds, told) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (599, "9m59s"),
            (600, "10m"),
            (3599, "59m"),
            (3600, "1h00m"),
            (86_399, "23h59m"),
            (86_400, "1d00h"),
            (863_999, "9d23h"),
            (864_000, "10d"),
        ] {
            assert_eq!(clock.ago(clock.now_ms() - seconds * 1000), told);
            assert!(told.len() <= 6);
        }
        assert_eq!(clock.ago(clock.now_ms() + 5000), "0s", "a clock that was stepped back");
    }

    #[test]
    fn times_are_told_with_milliseconds() {
        let clock = Clock::utc(1_790_000_000_123);
        assert_eq!(clock.exact(1_790_000_000_123), "2026-09-21 14:13:20.123");
        assert_eq!(clock.here(), "2026-09-21 14:13:20 UTC");
        assert_eq!(clock.exact(u64::MAX), "?");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 2, Some(9)), "  one two\n  three\n");
        assert_eq!(wrap("incomprehensible a", 0, Some(5)), "incomprehensible\na\n");
        assert_eq!(wrap("one two\nthree", 0, None), "one two\nthree\n");
        assert_eq!(wrap("", 2, Some(5)), "");
    }
}
