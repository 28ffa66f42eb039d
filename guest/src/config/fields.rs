//! One table of the file, field by field: each value is of the right type and within its limits, or is refused with the
//! place and what to write instead.

use super::{ConfigError, MAX_MISTAKES, MAX_TEXT, MAX_VARIABLES, MIN_TIME, Mistake};
use core::time::Duration;
use roost_proto::name::{NAME_RULE, is_name};
use roost_proto::retry::MAX_ATTEMPTS;
use roost_proto::text::{clip, line_of, nearest, printable};
use roost_proto::time::Span;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

/// Bytes of a person's own text in a message, at most.
const MAX_QUOTED: usize = 80;

/// Something of the file, and the byte where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

impl<T> Placed<T> {
    pub(super) fn wrong<U>(&self, message: String) -> Read<U> {
        Err(Placed { at: self.at, value: message })
    }
}

/// What was read, or the mistake.
pub(super) type Read<T> = Result<T, Placed<String>>;

/// The mistakes found so far.
pub(super) struct Mistakes<'a> {
    text: &'a str,
    found: Vec<Placed<String>>,
}

impl<'a> Mistakes<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, found: Vec::new() }
    }

    pub(super) fn note(&mut self, at: usize, message: String) {
        self.found.push(Placed { at, value: message });
    }

    /// What was read, or nothing and a note of the mistake.
    pub(super) fn take<T>(&mut self, read: Read<T>) -> Option<T> {
        read.map_err(|mistake| self.found.push(mistake)).ok()
    }

    /// An error when anything was found.
    pub(super) fn settle(&mut self) -> Result<(), ConfigError> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|mistake| mistake.at);
        let found = self.found.drain(..).take(MAX_MISTAKES);
        let place = |mistake: Placed<String>| Mistake {
            line: line_of(self.text, mistake.at),
            message: mistake.value,
        };
        Err(ConfigError { mistakes: found.map(place).collect() })
    }
}

/// One table.
pub(super) struct Fields<'t> {
    table: &'t DeTable<'t>,
    /// Where it begins, for what is missing in it.
    pub(super) at: usize,
    /// What a message calls it.
    title: &'static str,
}

impl<'t> Fields<'t> {
    pub(super) const fn new(table: &'t DeTable<'t>, at: usize, title: &'static str) -> Self {
        Self { table, at, title }
    }

    /// Notes each key that `known` does not have; `explain` may know more about it.
    pub(super) fn refuse_others(
        &self,
        known: &[&str],
        mistakes: &mut Mistakes<'_>,
        explain: &dyn Fn(&str) -> Option<String>,
    ) {
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let message = explain(name).unwrap_or_else(|| match nearest(name, known.iter().copied()) {
                Some(near) => format!("unknown key {} (did you mean '{near}'?)", quote(name)),
                None => {
                    format!("unknown key {}; {} may hold {}", quote(name), self.title, known.join(", "))
                }
            });
            mistakes.note(key.span().start, message);
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<Placed<&'t DeValue<'t>>> {
        self.table.get(key).map(|value| Placed { at: value.span().start, value: value.get_ref() })
    }

    /// Where the first of `keys` that is there stands, or else the table.
    pub(super) fn place(&self, keys: &[&str]) -> usize {
        keys.iter().find_map(|key| self.value(key)).map_or(self.at, |value| value.at)
    }

    /// The text of `key`, which must be there.
    pub(super) fn required(&self, key: &str, example: &str) -> Read<Placed<&'t str>> {
        match self.text(key, example)? {
            Some(text) => Ok(text),
            None => self.missing(key, example),
        }
    }

    fn missing<T>(&self, key: &str, example: &str) -> Read<T> {
        let message = format!("{} has no '{key}': write {key} = {example}", self.title);
        Err(Placed { at: self.at, value: message })
    }

    pub(super) fn text(&self, key: &str, example: &str) -> Read<Option<Placed<&'t str>>> {
        self.value(key).map(|value| text(key, example, &value)).transpose()
    }

    /// A name that must be there.
    pub(super) fn name(&self, example: &str) -> Read<Placed<String>> {
        checked_name(&self.required("name", example)?)
    }

    /// A name, if it is there.
    pub(super) fn optional_name(&self, key: &str, example: &str) -> Read<Option<String>> {
        self.text(key, example)?.map(|text| Ok(checked_name(&text)?.value)).transpose()
    }

    /// A list of names, each once; none when the key is not there.
    pub(super) fn names(&self, key: &str, example: &str) -> Read<Vec<Placed<String>>> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let names = list(key, example, &value)?.iter().map(checked_name).collect::<Read<Vec<_>>>()?;
        for (nth, name) in names.iter().enumerate() {
            if names[..nth].iter().any(|earlier| earlier.value == name.value) {
                return name.wrong(format!("'{key}' names '{}' twice: leave one out", name.value));
            }
        }
        Ok(names)
    }

    /// A list of texts that must be there.
    pub(super) fn texts(&self, key: &str, example: &str) -> Read<Placed<Vec<Placed<&'t str>>>> {
        let Some(value) = self.value(key) else { return self.missing(key, example) };
        Ok(Placed { at: value.at, value: list(key, example, &value)? })
    }

    /// A table of texts by names that are those of variables, which is what `rule` says; empty when the key is not there.
    pub(super) fn variables(&self, key: &str, example: &str, rule: &str) -> Read<BTreeMap<String, String>> {
        let Some(value) = self.value(key) else { return Ok(BTreeMap::new()) };
        let Some(table) = value.value.as_table() else { return wrong_type(key, example, &value) };
        if table.len() > MAX_VARIABLES {
            return value
                .wrong(format!("'{key}' holds {} values, and may hold {MAX_VARIABLES}", table.len()));
        }
        let mut variables = BTreeMap::new();
        for (name, inner) in table {
            let word = name.get_ref().as_ref();
            if !is_variable(word) {
                let name = Placed { at: name.span().start, value: word };
                return name.wrong(format!("{} in '{key}' is no name of {rule}", quote(word)));
            }
            let inner = Placed { at: inner.span().start, value: inner.get_ref() };
            let text = text(word, "\"80\"", &inner)?;
            variables.insert(word.to_owned(), text.value.to_owned());
        }
        Ok(variables)
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, key: &str, range: core::ops::RangeInclusive<u32>) -> Read<Option<u32>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let Some(integer) = value.value.as_integer() else {
            return wrong_type(key, &range.start().to_string(), &value);
        };
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => value.wrong(format!(
                "'{key}' is {}: write a whole number from {} to {}",
                clip(integer.as_str(), MAX_QUOTED),
                range.start(),
                range.end()
            )),
        }
    }

    /// True or false; false when the key is not there.
    pub(super) fn flag(&self, key: &str) -> Read<bool> {
        let Some(value) = self.value(key) else { return Ok(false) };
        value.value.as_bool().map_or_else(|| wrong_type(key, "true", &value), Ok)
    }

    /// How often something may be tried.
    pub(super) fn tries(&self, key: &str, default: u32) -> Read<u32> {
        Ok(self.number(key, 0..=MAX_ATTEMPTS)?.unwrap_or(default))
    }

    /// A duration of at least [`MIN_TIME`].
    pub(super) fn span(&self, key: &str, default: Duration) -> Read<Duration> {
        let example = format!("\"{}\"", Span(default));
        Ok(self.optional_span(key, &example)?.unwrap_or(default))
    }

    /// A duration of at least [`MIN_TIME`] that must be there.
    pub(super) fn required_span(&self, key: &str, example: &str) -> Read<Duration> {
        match self.optional_span(key, example)? {
            Some(span) => Ok(span),
            None => self.missing(key, example),
        }
    }

    /// A duration of at least [`MIN_TIME`], if it is there.
    fn optional_span(&self, key: &str, example: &str) -> Read<Option<Duration>> {
        let Some(text) = self.any_span(key, example)? else { return Ok(None) };
        if text.value < MIN_TIME {
            let (given, least) = (Span(text.value), Span(MIN_TIME));
            return text
                .wrong(format!("'{key}' is {given}: write \"{least}\" or more, as in {key} = {example}"));
        }
        Ok(Some(text.value))
    }

    /// A duration, if it is there.
    pub(super) fn any_span(&self, key: &str, example: &str) -> Read<Option<Placed<Duration>>> {
        if let Some(value) = self.value(key)
            && value.value.is_integer()
        {
            return value.wrong(format!(
                "'{key}' has no unit: write a whole number and ms, s, m, h or d in quotes, as in {key} = {example}"
            ));
        }
        let Some(text) = self.text(key, example)? else { return Ok(None) };
        match text.value.parse::<Span>() {
            Ok(Span(span)) => Ok(Some(Placed { at: text.at, value: span })),
            Err(error) => text.wrong(format!("'{key}': {error}")),
        }
    }

    /// An absolute path, if it is there.
    pub(super) fn path(&self, key: &str, example: &str) -> Read<Option<PathBuf>> {
        self.text(key, example)?.map(|text| absolute(key, &text)).transpose()
    }

    /// An absolute path that must be there.
    pub(super) fn required_path(&self, key: &str, example: &str) -> Read<Placed<PathBuf>> {
        let text = self.required(key, example)?;
        Ok(Placed { at: text.at, value: absolute(key, &text)? })
    }

    /// The tables `[[key]]`, each with its place; at most `max`.
    pub(super) fn tables(&self, key: &str, header: &str, max: usize) -> Read<Vec<Placed<&'t DeTable<'t>>>> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let Some(values) = value.value.as_array() else {
            return value.wrong(format!("'{key}' is {}: write {header}, with two brackets", a(value.value)));
        };
        let mut tables = Vec::new();
        for value in values.iter() {
            let inner = Placed { at: value.span().start, value: value.get_ref() };
            let Some(table) = inner.value.as_table() else {
                return inner.wrong(format!("'{key}' holds {}: write each as {header}", a(inner.value)));
            };
            if tables.len() == max {
                return inner.wrong(format!("there are more than {max} {header} here: leave some out"));
            }
            tables.push(Placed { at: inner.at, value: table });
        }
        Ok(tables)
    }
}

fn text<'t>(key: &str, example: &str, value: &Placed<&'t DeValue<'t>>) -> Read<Placed<&'t str>> {
    let Some(text) = value.value.as_str() else { return wrong_type(key, example, value) };
    if text.len() > MAX_TEXT {
        return value.wrong(format!("'{key}' has {} bytes, and may have {MAX_TEXT}", text.len()));
    }
    if text.contains('\0') {
        return value
            .wrong(format!("'{key}' holds a zero byte, which no program could be given: leave it out"));
    }
    Ok(Placed { at: value.at, value: text })
}

fn list<'t>(key: &str, example: &str, value: &Placed<&'t DeValue<'t>>) -> Read<Vec<Placed<&'t str>>> {
    let Some(values) = value.value.as_array() else { return wrong_type(key, example, value) };
    values
        .iter()
        .map(|value| text(key, example, &Placed { at: value.span().start, value: value.get_ref() }))
        .collect()
}

fn wrong_type<T>(key: &str, example: &str, found: &Placed<&DeValue<'_>>) -> Read<T> {
    found.wrong(format!("'{key}' holds {}: write {key} = {example}", a(found.value)))
}

fn checked_name(text: &Placed<impl AsRef<str>>) -> Read<Placed<String>> {
    let name = text.value.as_ref();
    if !is_name(name) {
        return text.wrong(format!("{} is no name: {NAME_RULE}", quote(name)));
    }
    Ok(Placed { at: text.at, value: name.to_owned() })
}

/// The path that `text` is, if it is absolute.
pub(super) fn absolute(key: &str, text: &Placed<&str>) -> Read<PathBuf> {
    if !text.value.starts_with('/') {
        return text.wrong(format!(
            "'{key}' names {}, which is not absolute: write the whole path, from '/'",
            quote(text.value)
        ));
    }
    if text.value.contains(char::is_control) {
        return text.wrong(format!(
            "'{key}' names {}, with a control character in it: choose a path without",
            quote(text.value)
        ));
    }
    Ok(PathBuf::from(text.value))
}

/// Whether `name` can name a variable of the environment: letters, digits and '_', the first no digit.
fn is_variable(name: &str) -> bool {
    name.len() <= MAX_QUOTED
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `text` as it may stand in a message.
pub(super) fn quote(text: &str) -> String {
    let clipped = clip(text, MAX_QUOTED);
    let rest = if clipped.len() < text.len() { "..." } else { "" };
    format!("'{}{rest}'", printable(clipped).replace(['\n', '\t'], " "))
}

/// What a person would call the type of `value`.
const fn a(value: &DeValue<'_>) -> &'static str {
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
