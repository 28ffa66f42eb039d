//! One table of the file, field by field: each value is of the right type and within its limits, or the mistake is noted
//! and the default stands in, so that the rest can be read and told about too.

use super::{ConfigError, MAX_MISTAKES, MAX_PATH, Mistake, Section};
use core::ops::Range;
use core::time::Duration;
use roost_proto::name::{NAME_RULE, is_name};
use roost_proto::text::{clip, line_of, nearest, printable};
use roost_proto::time::{MAX_SPAN, Span};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Bytes of a person's own text in a message, at most.
const MAX_QUOTED: usize = 80;
/// Names that one message lists, at most; more than a person reads.
const MAX_NAMES: usize = 8;

/// The mistakes found so far.
pub(super) struct Mistakes<'a> {
    text: &'a str,
    found: Vec<Placed<String>>,
}

impl<'a> Mistakes<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    /// Notes a mistake at byte `at`.
    pub(super) fn note(&mut self, at: usize, message: String) {
        self.found.push(Placed { at, value: message });
    }

    pub(super) const fn count(&self) -> usize {
        self.found.len()
    }

    /// An error when anything was found since the last call.
    pub(super) fn settle(&mut self) -> Result<(), ConfigError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = core::mem::take(&mut self.found);
        found.sort_by_key(|mistake| mistake.at);
        let place = |mistake: Placed<String>| Mistake {
            line: line_of(self.text, mistake.at),
            message: mistake.value,
        };
        let mut mistakes: Vec<Mistake> = found.into_iter().take(MAX_MISTAKES).map(place).collect();
        mistakes.dedup();
        Err(ConfigError { mistakes })
    }
}

/// A text of the file, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// One table.
pub(super) struct Fields<'t, 'm, 'a> {
    table: &'t DeTable<'t>,
    /// Where the table begins, for what is missing in it.
    pub(super) at: usize,
    section: &'static Section,
    pub(super) mistakes: &'m mut Mistakes<'a>,
}

impl<'t, 'm, 'a> Fields<'t, 'm, 'a> {
    /// Opens `table`, and notes the keys in it that `section` does not have.
    pub(super) fn open(
        table: &'t DeTable<'t>,
        at: usize,
        section: &'static Section,
        mistakes: &'m mut Mistakes<'a>,
    ) -> Self {
        for key in table.keys().filter(|key| !section.keys.contains(&key.get_ref().as_ref())) {
            mistakes.note(key.span().start, unknown_key(key.get_ref(), section));
        }
        Self { table, at, section, mistakes }
    }

    /// The value of `key`, and where it stands.
    pub(super) fn value(&self, key: &str) -> Option<(&'t DeValue<'t>, Range<usize>)> {
        self.table.get(key).map(|value| (value.get_ref(), value.span()))
    }

    /// Where the value of `key` stands, or else the table.
    pub(super) fn place(&self, key: &str) -> usize {
        self.value(key).map_or(self.at, |(_, span)| span.start)
    }

    fn wrong_type(&mut self, key: &str, wanted: &str, found: &DeValue<'_>, at: usize) {
        self.mistakes.note(at, format!("'{key}' is {}: write {wanted}", a(found)));
    }

    /// Notes that `key` is missing.
    pub(super) fn missing(&mut self, key: &str, example: &str) {
        let table = if self.section.header.is_empty() { "the file" } else { self.section.header };
        self.mistakes.note(self.at, format!("{table} has no '{key}': write {example}"));
    }

    /// A text.
    pub(super) fn text(&mut self, key: &str, example: &str) -> Option<Placed<&'t str>> {
        let (value, span) = self.value(key)?;
        let Some(value) = value.as_str() else {
            self.wrong_type(key, &format!("a text, as in {example}"), value, span.start);
            return None;
        };
        Some(Placed { at: span.start, value })
    }

    /// A name that must be there.
    pub(super) fn name(&mut self, example: &str) -> Option<Placed<String>> {
        if self.value("name").is_none() {
            self.missing("name", example);
        }
        let text = self.text("name", example)?;
        self.checked_name(text)
    }

    fn checked_name(&mut self, text: Placed<&str>) -> Option<Placed<String>> {
        if is_name(text.value) {
            return Some(Placed { at: text.at, value: text.value.to_owned() });
        }
        self.mistakes.note(text.at, format!("{} is no name: {NAME_RULE}", quote(text.value)));
        None
    }

    /// A list of at most `max` names, each once.
    pub(super) fn names(&mut self, key: &str, max: usize, example: &str) -> Option<Vec<Placed<String>>> {
        let (value, span) = self.value(key)?;
        let Some(values) = value.as_array() else {
            self.wrong_type(key, &format!("a list of names, as in {example}"), value, span.start);
            return None;
        };
        if values.len() > max {
            self.mistakes
                .note(span.start, format!("'{key}' holds {} names, and may hold {max}", values.len()));
            return None;
        }
        let mut names: Vec<Placed<String>> = Vec::new();
        let mut seen = BTreeSet::new();
        for value in values.iter() {
            let (value, at) = (value.get_ref(), value.span().start);
            let Some(text) = value.as_str() else {
                self.wrong_type(key, &format!("names in quotes, as in {example}"), value, at);
                continue;
            };
            let Some(name) = self.checked_name(Placed { at, value: text }) else { continue };
            if !seen.insert(text) {
                self.mistakes.note(at, format!("'{key}' names '{text}' twice: leave one out"));
            } else {
                names.push(name);
            }
        }
        Some(names)
    }

    /// A whole number from `least` to `max`.
    pub(super) fn number(&mut self, key: &str, least: u32, max: u32, default: u32) -> u32 {
        let Some((value, span)) = self.value(key) else { return default };
        let Some(integer) = value.as_integer() else {
            self.wrong_type(key, &format!("a whole number, as in {key} = {default}"), value, span.start);
            return default;
        };
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=max).contains(&number) => number,
            _ => {
                let given = clip(integer.as_str(), MAX_QUOTED);
                self.mistakes.note(
                    span.start,
                    format!("'{key}' is {given}: write a whole number from {least} to {max}"),
                );
                default
            }
        }
    }

    /// Whether or not; none when the file does not say.
    pub(super) fn flag(&mut self, key: &str) -> Option<Placed<bool>> {
        let (value, span) = self.value(key)?;
        let Some(value) = value.as_bool() else {
            self.wrong_type(key, "true or false, without quotes", value, span.start);
            return None;
        };
        Some(Placed { at: span.start, value })
    }

    /// One text, or a list of one to `max`.
    pub(super) fn texts(&mut self, key: &str, max: usize, example: &str) -> Option<Vec<Placed<&'t str>>> {
        let (value, span) = self.value(key)?;
        if let Some(value) = value.as_str() {
            return Some(vec![Placed { at: span.start, value }]);
        }
        let Some(values) = value.as_array() else {
            self.wrong_type(key, &format!("a text, or a list of texts, as in {example}"), value, span.start);
            return None;
        };
        if values.is_empty() || values.len() > max {
            self.mistakes.note(
                span.start,
                format!("'{key}' holds {}, and must hold 1 to {max}, as in {example}", values.len()),
            );
            return None;
        }
        let mut texts = Vec::new();
        for value in values.iter() {
            let (value, at) = (value.get_ref(), value.span().start);
            match value.as_str() {
                Some(value) => texts.push(Placed { at, value }),
                None => self.wrong_type(key, &format!("texts in quotes, as in {example}"), value, at),
            }
        }
        Some(texts)
    }

    /// A duration of at least `least`.
    pub(super) fn span(&mut self, key: &str, least: Duration, default: Duration) -> Duration {
        self.span_to(key, least, MAX_SPAN, default)
    }

    /// A duration from `least` to `most`.
    pub(super) fn span_to(
        &mut self,
        key: &str,
        least: Duration,
        most: Duration,
        default: Duration,
    ) -> Duration {
        let example = format!("{key} = \"{}\"", Span(default));
        if let Some((value, span)) = self.value(key)
            && value.is_integer()
        {
            self.mistakes.note(
                span.start,
                format!("'{key}' has no unit: write a whole number and ms, s, m, h or d in quotes, as in {example}"),
            );
            return default;
        }
        let Some(text) = self.text(key, &example) else { return default };
        match text.value.parse::<Span>() {
            Ok(Span(span)) if (least..=most).contains(&span) => span,
            Ok(span) if span.0 > most => {
                self.mistakes.note(
                    text.at,
                    format!(
                        "'{key}' is {span}: write at most \"{}\"; the default is \"{}\"",
                        Span(most),
                        Span(default)
                    ),
                );
                default
            }
            Ok(span) => {
                self.mistakes.note(
                    text.at,
                    format!(
                        "'{key}' is {span}: write at least \"{}\"; the default is \"{}\"",
                        Span(least),
                        Span(default)
                    ),
                );
                default
            }
            Err(error) => {
                self.mistakes.note(text.at, format!("'{key}': {error}"));
                default
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let written: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let written = written.join(" or ");
        let Some(text) = self.text(key, &format!("{key} = {written}")) else { return default };
        match choices.iter().find(|(word, _)| *word == text.value) {
            Some(&(_, choice)) => choice,
            None => {
                self.mistakes.note(text.at, format!("'{key}' is {}: write {written}", quote(text.value)));
                default
            }
        }
    }

    /// The path `given` of `key`, which must be absolute.
    pub(super) fn path(&mut self, key: &str, given: Placed<&str>) -> Option<PathBuf> {
        if let Some(wrong) = wrong_path(given.value) {
            self.mistakes.note(given.at, format!("'{key}' names {}, {wrong}", quote(given.value)));
            return None;
        }
        Some(PathBuf::from(given.value))
    }

    /// The directory `given` of `key`, which must be absolute.
    pub(super) fn directory(&mut self, key: &str, given: Placed<&str>) -> Option<PathBuf> {
        let path = given.value.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(given.value);
        if path == "/" {
            let message = format!("'{key}' is '/', which is no directory for this: name one below it");
            self.mistakes.note(given.at, message);
            return None;
        }
        self.path(key, Placed { at: given.at, value: path })
    }

    /// Some of a few words, each once; none when the file does not say.
    pub(super) fn choices<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        choices: &[(&str, T)],
        example: &str,
    ) -> Option<Vec<(usize, T)>> {
        let texts = self.texts(key, choices.len(), example)?;
        let mut chosen: Vec<(usize, T)> = Vec::new();
        for text in texts {
            let Some((word, choice)) = choices.iter().find(|(word, _)| *word == text.value) else {
                let words = quoted(&choices.iter().map(|(word, _)| *word).collect::<Vec<_>>());
                let message =
                    format!("'{key}' names {}: write some of {words}, as in {example}", quote(text.value));
                self.mistakes.note(text.at, message);
                continue;
            };
            if chosen.iter().any(|(_, known)| known == choice) {
                self.mistakes.note(text.at, format!("'{key}' names '{word}' twice: leave one out"));
                continue;
            }
            chosen.push((text.at, *choice));
        }
        Some(chosen)
    }

    /// The tables `header`, as in `[[host]]`, with the place of each; at most `max`, and `remedy` when there are more.
    pub(super) fn tables(
        &mut self,
        key: &str,
        header: &str,
        max: usize,
        remedy: &str,
    ) -> Vec<(&'t DeTable<'t>, usize)> {
        let Some((value, span)) = self.value(key) else { return Vec::new() };
        let Some(values) = value.as_array() else {
            self.mistakes
                .note(span.start, format!("'{key}' is {}: write {header}, with two brackets", a(value)));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in values.iter() {
            match value.get_ref().as_table() {
                Some(table) => tables.push((table, value.span().start)),
                None => self.mistakes.note(
                    value.span().start,
                    format!("'{key}' holds {}: write each as {header}", a(value.get_ref())),
                ),
            }
        }
        if let Some((_, at)) = tables.get(max) {
            self.mistakes.note(*at, format!("there are more than {max} {header}: {remedy}"));
            tables.truncate(max);
        }
        tables
    }

    /// The table `[key]`, and its place.
    pub(super) fn table(&mut self, key: &str, header: &str) -> Option<(&'t DeTable<'t>, usize)> {
        let (value, span) = self.value(key)?;
        let Some(table) = value.as_table() else {
            self.mistakes.note(span.start, format!("'{key}' is {}: write {header}, a table", a(value)));
            return None;
        };
        Some((table, span.start))
    }
}

fn unknown_key(key: &str, section: &Section) -> String {
    let place = if section.header.is_empty() { "the file".to_owned() } else { section.header.to_owned() };
    match nearest(key, section.keys.iter().copied()) {
        Some(near) => format!("unknown key {} (did you mean '{near}'?)", quote(key)),
        None => format!("unknown key {}; {place} may hold {}", quote(key), quoted(section.keys)),
    }
}

/// Why `path` will not do, with the remedy.
fn wrong_path(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        Some("which is not absolute: write the whole path, from '/'")
    } else if path.len() > MAX_PATH {
        Some("which is too long: a path has at most 4095 bytes")
    } else if path.contains(char::is_control) {
        Some("which holds a control character: choose a path without")
    } else if path.ends_with('/') || Path::new(path).file_name().is_none() {
        Some("which is a directory: write a file's path")
    } else {
        None
    }
}

/// `text` as it may stand in a message.
pub(super) fn quote(text: &str) -> String {
    let clipped = clip(text, MAX_QUOTED);
    format!(
        "'{}{}'",
        printable(clipped).replace(['\n', '\t'], " "),
        if clipped.len() < text.len() { "..." } else { "" }
    )
}

/// `names`, each in quotes.
pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| quote(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The first few of `names`, each in quotes, and how many more there are: a thousand hosts fit no message.
pub(super) fn some_quoted<T: AsRef<str>>(names: &[T]) -> String {
    let some = quoted(&names[..names.len().min(MAX_NAMES)]);
    match names.len().saturating_sub(MAX_NAMES) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// What a person would call the type of `value`.
pub(super) const fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
