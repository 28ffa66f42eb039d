//! Where events begin, as a person says it: a while ago, at a time, or after an event's number.

use super::show::Clock;
use core::fmt;
use core::time::Duration;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use roost_proto::text::clip;
use roost_proto::time::{MAX_SPAN, Span};

/// Bytes of what somebody wrote that an error repeats, at most.
const MAX_QUOTED: usize = 40;
/// Units in the words of people, longest first, for what begins like another.
const UNITS: [(&str, u64); 15] = [
    ("ms", 1),
    ("seconds", 1000),
    ("second", 1000),
    ("sec", 1000),
    ("s", 1000),
    ("minutes", 60_000),
    ("minute", 60_000),
    ("min", 60_000),
    ("m", 60_000),
    ("hours", 3_600_000),
    ("hour", 3_600_000),
    ("h", 3_600_000),
    ("days", 86_400_000),
    ("day", 86_400_000),
    ("d", 86_400_000),
];

/// Where events begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// After the event of this number.
    Seq(u64),
    /// At this time.
    Time(Moment),
}

/// A moment, which follows from what time it is now, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Ago(Duration),
    /// The last time that a clock on the wall showed this.
    Wall(Time),
    /// On that day at that time, by a clock on the wall.
    Day(DateTime),
    /// Exactly then.
    Exact(Timestamp),
}

impl Moment {
    /// In milliseconds of Unix time; or what is wrong with it.
    pub fn at_ms(self, clock: &Clock) -> Result<u64, Never> {
        let at = match self {
            Self::Ago(ago) => {
                return Ok(clock.now_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
            }
            Self::Wall(time) => clock.last(time),
            Self::Day(day) => clock.local(day),
            Self::Exact(at) => Some(at),
        };
        let at = at.ok_or(Never(self))?;
        let at_ms = u64::try_from(at.as_millisecond()).unwrap_or(0); // before 1970 nothing happened
        if at_ms > clock.now_ms() { Err(Never(self)) } else { Ok(at_ms) }
    }
}

/// A moment that has not come, or never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Never(Moment);

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.0 {
            Moment::Ago(ago) => Span(ago).to_string(),
            Moment::Wall(time) => time.to_string(),
            Moment::Day(day) => day.to_string(),
            Moment::Exact(at) => at.to_string(),
        };
        write!(
            f,
            "'--since' is {when}, which has not come yet: write a time that is over, as in 10m or 14:30"
        )
    }
}

impl core::error::Error for Never {}

impl core::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        let moment = ago(text).map(Moment::Ago).or_else(|| wall(text)).or_else(|| day(text));
        moment.map(Self::Time).ok_or_else(|| {
            format!(
                "'{}' is neither a while ago (\"10m\", \"2 hours\", at most 366d), nor a time (\"14:30\", \"2026-11-26\", \
                 \"2026-11-26T10:00\", with \"Z\" or \"+01:00\" after it for another zone), nor the number of an event",
                clip(text, MAX_QUOTED)
            )
        })
    }
}

/// A whole number and a unit, with or without a blank between, and perhaps `ago` behind.
fn ago(text: &str) -> Option<Duration> {
    let text = text.strip_suffix("ago").unwrap_or(text).trim_end();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    let span = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?);
    (span <= MAX_SPAN).then_some(span)
}

/// `HH:MM` or `HH:MM:SS`.
fn wall(text: &str) -> Option<Moment> {
    let digits = text.split(':').all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()));
    if !digits || !(2..=3).contains(&text.split(':').count()) {
        return None;
    }
    text.parse().ok().map(Moment::Wall)
}

/// `YYYY-MM-DD`, alone or with a time behind a `T` or a blank, perhaps in a zone.
fn day(text: &str) -> Option<Moment> {
    let zoned = text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    if zoned {
        return text.parse().ok().map(Moment::Exact);
    }
    text.parse::<Date>().ok()?; // other forms, which jiff reads as well, are in no manual
    text.parse().ok().map(Moment::Day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-09-21 14:13:20 UTC.
    const NOW_MS: u64 = 1_790_000_000_000;

    fn at(text: &str) -> u64 {
        match text.parse() {
            Ok(Since::Time(moment)) => {
                moment.at_ms(&Clock::utc(NOW_MS)).unwrap_or_else(|e| panic!("{text}: {e}"))
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_number_alone_is_an_event() {
        assert_eq!("17".parse(), Ok(Since::Seq(17)));
    }

    #[test]
    fn a_while_ago_is_read_in_peoples_words() {
        for (text, seconds) in [
            ("10m", 600),
            ("10 min", 600),
            ("10 minutes ago", 600),
            ("1h", 3600),
            ("2 hours", 7200),
            ("90s", 90),
            ("1 second ago", 1),
            ("3 days", 259_200),
            ("366d", 366 * 86_400),
        ] {
            assert_eq!(NOW_MS - at(text), seconds * 1000, "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_last_one() {
        assert_eq!(NOW_MS - at("14:13:20"), 0);
        assert_eq!(NOW_MS - at("14:00"), 800_000);
        assert_eq!(NOW_MS - at("14:14"), 86_400_000 - 40_000, "yesterday's: today's has not come");
        assert_eq!(NOW_MS - at("00:00"), 51_200_000);
    }

    #[test]
    fn a_day_and_a_time_are_local_unless_a_zone_is_named() {
        assert_eq!(NOW_MS - at("2026-09-21T14:00"), 800_000);
        assert_eq!(NOW_MS - at("2026-09-21 14:00"), 800_000);
        assert_eq!(NOW_MS - at("2026-09-21T14:00:20"), 780_000);
        assert_eq!(NOW_MS - at("2026-09-21"), 51_200_000);
        assert_eq!(NOW_MS - at("2026-09-21T14:00+02:00"), 8_000_000);
        assert_eq!(NOW_MS - at("2026-09-21T14:00Z"), 800_000);
        assert_eq!(at("1969-01-01"), 0);
    }

    #[test]
    fn what_has_not_come_yet_is_told() {
        for text in ["2026-09-22", "2026-09-21T14:13:21", "2027-01-01T00:00Z"] {
            let Ok(Since::Time(moment)) = text.parse() else { panic!("{text} is a time") };
            let error = moment.at_ms(&Clock::utc(NOW_MS)).expect_err(text).to_string();
            assert!(error.contains("has not come yet") && error.contains("14:30"), "{error}");
        }
    }

    #[test]
    fn what_is_none_of_these_is_refused_with_examples() {
        for text in [
            "",
            "soon",
            "10x",
            "-5m",
            "1.5h",
            "367d",
            "25:00",
            "14:60",
            "1:30",
            "2026-13-01",
            "2026-11-26T",
            "m",
            "ago",
        ] {
            let error = text.parse::<Since>().expect_err(text);
            assert!(
                error.contains("\"10m\"") && error.contains("\"14:30\"") && error.contains("number"),
                "{error}"
            );
        }
    }
}
