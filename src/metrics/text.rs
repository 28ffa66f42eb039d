//! The text formats of metrics, written family by family: OpenMetrics 1.0, and the older text format of Prometheus, which is
//! the one that node_exporter's textfile collector reads. They differ in what is said of a family, and not in its samples.

use core::fmt::{self, Display, Write};

/// Which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Prometheus,
}

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What goes up and down.
    Gauge,
    /// What only grows, from zero at the start.
    Counter,
    /// How many were at most so large.
    Histogram,
    /// Words that do not change; the value is 1.
    Info,
    /// One of several states is the case.
    StateSet,
}

/// A value, as both formats write it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any other.
    Real(f64),
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
        }
    }
}

/// A label's name and value.
pub type Label<'a> = (&'a str, &'a str);

/// The text so far.
#[derive(Debug)]
pub struct Page {
    dialect: Dialect,
    text: String,
}

impl Page {
    /// An empty one.
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect, text: String::new() }
    }

    /// Begins a family. `name` ends with its unit, if it has one, and has no suffix of its kind.
    pub fn family(&mut self, name: &'static str, kind: Kind, unit: Unit, help: &str) -> Family<'_> {
        let (shown, word) = match (self.dialect, kind) {
            (_, Kind::Gauge) => (name.to_owned(), "gauge"),
            (_, Kind::Histogram) => (name.to_owned(), "histogram"),
            (Dialect::OpenMetrics, Kind::Counter) => (name.to_owned(), "counter"),
            (Dialect::OpenMetrics, Kind::Info) => (name.to_owned(), "info"),
            (Dialect::OpenMetrics, Kind::StateSet) => (name.to_owned(), "stateset"),
            (Dialect::Prometheus, Kind::Counter) => (format!("{name}_total"), "counter"),
            (Dialect::Prometheus, Kind::Info) => (format!("{name}_info"), "gauge"),
            (Dialect::Prometheus, Kind::StateSet) => (name.to_owned(), "gauge"),
        };
        self.line(format_args!("# HELP {shown} {}", escaped(help)));
        self.line(format_args!("# TYPE {shown} {word}"));
        if let (Dialect::OpenMetrics, Some(unit)) = (self.dialect, unit.word()) {
            self.line(format_args!("# UNIT {shown} {unit}"));
        }
        let suffix = match kind {
            Kind::Gauge | Kind::StateSet => "",
            Kind::Histogram => "_bucket",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        Family { page: self, name, suffix }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a text takes every line");
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.dialect == Dialect::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// What the samples of a family are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing: they are counted.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
        }
    }
}

/// A family, to which samples are added.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
    suffix: &'static str,
}

impl Family<'_> {
    /// A sample.
    pub fn sample(&mut self, labels: &[Label<'_>], value: Value) -> &mut Self {
        self.write(self.suffix, labels, value);
        self
    }

    /// A sample that is a whole number.
    pub fn whole(&mut self, labels: &[Label<'_>], value: u64) -> &mut Self {
        self.sample(labels, Value::Whole(value))
    }

    /// How the samples of a histogram add up.
    pub fn sum(&mut self, count: u64, sum: f64) {
        self.write("_count", &[], Value::Whole(count));
        self.write("_sum", &[], Value::Real(sum));
    }

    fn write(&mut self, suffix: &str, labels: &[Label<'_>], value: Value) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.page.line(format_args!("{}{suffix}{labels} {value}", self.name));
    }
}

/// As it stands between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_written_as_they_are_defined() {
        let page = |dialect| {
            let mut page = Page::new(dialect);
            page.family("a_seconds", Kind::Gauge, Unit::Seconds, "How \"long\".")
                .sample(&[], Value::Real(0.25));
            page.family("b", Kind::Counter, Unit::None, "How many.")
                .whole(&[("of", "a\\b\"c\nd"), ("in", "")], 3);
            page.family("c", Kind::Info, Unit::None, "What.").whole(&[("version", "1")], 1);
            page.finish()
        };
        assert_eq!(
            page(Dialect::OpenMetrics),
            "# HELP a_seconds How \\\"long\\\".\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 0.25\n\
             # HELP b How many.\n# TYPE b counter\nb_total{of=\"a\\\\b\\\"c\\nd\",in=\"\"} 3\n\
             # HELP c What.\n# TYPE c info\nc_info{version=\"1\"} 1\n# EOF\n"
        );
        assert_eq!(
            page(Dialect::Prometheus),
            "# HELP a_seconds How \\\"long\\\".\n# TYPE a_seconds gauge\na_seconds 0.25\n\
             # HELP b_total How many.\n# TYPE b_total counter\nb_total{of=\"a\\\\b\\\"c\\nd\",in=\"\"} 3\n\
             # HELP c_info What.\n# TYPE c_info gauge\nc_info{version=\"1\"} 1\n"
        );
    }
}
