//! The report: each scenario with a picture of what ran where and when, its figures, and all that was said.

use crate::lab::{APP, HOSTS, VMS};
use crate::record::{Fact, Moment};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Width of a picture, of the names before it, and height of a line, in pixels.
const WIDTH: f64 = 1000.0;
const NAMES: f64 = 110.0;
const LINE: f64 = 16.0;

/// The colour of each host, of a client that is answered, and of what never should be.
const COLOURS: [(&str, &str); 4] =
    [("h1", "#4477aa"), ("h2", "#228833"), ("h3", "#ccbb44"), ("w", "#aa3377")];
const ANSWERED: &str = "#66ccee";
const WRONG: &str = "#ee6677";

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1120px;margin:2em auto;padding:0 1em;color:#222}\
h2{margin-top:2em;border-top:1px solid #ccc;padding-top:.6em;font-size:1.1em}.bad{color:#b00}.good{color:#170}\
table{border-collapse:collapse}td,th{text-align:left;padding:.1em 1em .1em 0}td.n{text-align:right}\
pre{font-size:12px;white-space:pre-wrap}svg text{font:11px sans-serif}summary{cursor:pointer;color:#555}";

/// A scenario's facts.
struct Part<'a> {
    title: &'a str,
    facts: &'a [(Moment, Fact)],
    end: &'a Result<(), String>,
}

/// The whole page.
pub fn html(facts: &[(Moment, Fact)]) -> String {
    let parts = parts(facts);
    let failed = parts.iter().filter(|part| part.end.is_err()).count();
    let mut page = format!(
        "<!doctype html><meta charset=utf-8><title>Roost in the lab</title><style>{STYLE}</style><h1>Roost in the lab</h1>"
    );
    let wrongs = facts.iter().filter(|(_, fact)| matches!(fact, Fact::Wrong(_))).count();
    let _ = write!(
        page,
        "<p>{} scenarios, {failed} of them not as they should be; the checker saw {wrongs} wrongs.</p>",
        parts.len()
    );
    page += &figures(facts);
    for part in &parts {
        page += &section(part, facts);
    }
    page
}

fn parts(facts: &[(Moment, Fact)]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut begun = None;
    for (nth, (_, fact)) in facts.iter().enumerate() {
        match fact {
            Fact::Scenario(title) => begun = Some((nth, title)),
            Fact::Ended(end) => {
                if let Some((from, title)) = begun.take() {
                    parts.push(Part { title, facts: &facts[from..=nth], end });
                }
            }
            _ => {}
        }
    }
    parts
}

/// All that was measured: how often, and the least, the median and the most.
fn figures(facts: &[(Moment, Fact)]) -> String {
    let mut all: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for (_, fact) in facts {
        if let Fact::Figure { what, is, .. } = fact {
            all.entry(what).or_default().push(*is);
        }
    }
    let mut table = "<h2>Figures</h2><table><tr><th>what<th>times<th>least<th>median<th>most".to_owned();
    for (what, mut times) in all {
        times.sort_unstable();
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let _ = write!(
            table,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}",
            escaped(what),
            times.len(),
            seconds(times[0]),
            seconds(times[times.len() / 2]),
            seconds(times[times.len() - 1])
        );
    }
    table + "</table>"
}

fn section(part: &Part<'_>, all: &[(Moment, Fact)]) -> String {
    let begun = part.facts[0].0;
    let mut text = format!("<h2>{}</h2>", escaped(part.title));
    match part.end {
        Ok(()) => text += "<p class=good>as it should be</p>",
        Err(why) => {
            let _ = write!(text, "<pre class=bad>{}</pre>", escaped(why));
        }
    }
    text += &picture(part, all);
    text += "<table>";
    for (_, fact) in part.facts {
        if let Fact::Figure { what, is, most } = fact {
            let most = most.map(|most| format!("at most {:.1} s", most.as_secs_f64())).unwrap_or_default();
            let _ = write!(text, "<tr><td>{}<td class=n>{:.2} s<td>{most}", escaped(what), is.as_secs_f64());
        }
    }
    text += "</table><details><summary>all that was done, seen and said</summary><pre>";
    for (at, fact) in part.facts {
        let _ = writeln!(text, "{:8.2}  {}", (*at - begun).as_secs_f64(), escaped(&fact.to_string()));
    }
    text + "</pre></details>"
}

/// A line of the picture: from when to when something was so, and its colour.
type Stretches = Vec<(Moment, Moment, &'static str)>;

/// Hosts with power, groups that run, by host, and clients that are answered.
fn picture(part: &Part<'_>, all: &[(Moment, Fact)]) -> String {
    let (begun, ended) = (part.facts[0].0, part.facts[part.facts.len() - 1].0);
    let span = (ended - begun).as_secs_f64().max(1.0);
    let x = |at: Moment| NAMES + at.saturating_sub(begun).as_secs_f64() / span * (WIDTH - NAMES);
    let mut lines: Vec<(String, Stretches)> = Vec::new();
    for host in HOSTS {
        let power = |fact: &Fact| {
            matches!(fact, Fact::Power { host: name, on } if name == host)
                .then(|| matches!(fact, Fact::Power { on: true, .. }))
        };
        lines.push((format!("{host} has power"), stretches(all, begun, ended, colour(host), power)));
    }
    for (group, _) in VMS {
        let mut line = Stretches::new();
        for host in HOSTS {
            let runs = |fact: &Fact| match fact {
                Fact::Runs { group: name, host: on, runs } if name == group && on == host => Some(*runs),
                _ => None,
            };
            line.extend(stretches(all, begun, ended, colour(host), runs));
        }
        lines.push((format!("{group} runs"), line));
    }
    for service in VMS.map(|(group, _)| group).into_iter().chain([APP.0]) {
        let answers = |fact: &Fact| match fact {
            Fact::Answers { service: name, from } if name == service => Some(from.is_some()),
            _ => None,
        };
        lines.push((format!("{service} answers"), stretches(all, begun, ended, ANSWERED, answers)));
    }
    let height = LINE * (lines.len() as f64 + 2.0);
    let mut svg = format!("<svg viewBox='0 0 {WIDTH} {height}' width='100%'>");
    for (nth, (name, line)) in lines.iter().enumerate() {
        let y = LINE * nth as f64;
        let _ = write!(svg, "<text x='0' y='{}'>{name}</text>", y + LINE - 4.0);
        for (from, to, colour) in line {
            let _ = write!(
                svg,
                "<rect x='{:.1}' y='{}' width='{:.1}' height='{}' fill='{colour}'/>",
                x(*from),
                y + 2.0,
                (x(*to) - x(*from)).max(0.5),
                LINE - 4.0
            );
        }
    }
    let bottom = LINE * lines.len() as f64;
    for (at, fact) in part.facts {
        let (colour, words) = match fact {
            Fact::Deed(what) => ("#222", what.clone()),
            Fact::Wrong(what) => (WRONG, what.clone()),
            Fact::Event { level, text, host, .. } if level == "error" => ("#999", format!("{host}: {text}")),
            _ => continue,
        };
        let _ = write!(
            svg,
            "<line x1='{0:.1}' x2='{0:.1}' y1='0' y2='{bottom}' stroke='{colour}'><title>{1}</title></line>",
            x(*at),
            escaped(&words)
        );
    }
    let step =
        [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0].into_iter().find(|step| span / step <= 16.0).unwrap_or(120.0);
    let mut tick = 0.0;
    while tick <= span {
        let at = NAMES + tick / span * (WIDTH - NAMES);
        let _ =
            write!(svg, "<text x='{at:.1}' y='{}' text-anchor='middle'>{tick:.0} s</text>", bottom + LINE);
        tick += step;
    }
    svg + "</svg>"
}

/// When something was so, within a span.
fn stretches(
    all: &[(Moment, Fact)],
    begun: Moment,
    ended: Moment,
    colour: &'static str,
    so: impl Fn(&Fact) -> Option<bool>,
) -> Stretches {
    let mut stretches = Stretches::new();
    let mut since = None;
    for (at, fact) in all.iter().take_while(|(at, _)| *at <= ended) {
        match so(fact) {
            Some(true) => since = since.or(Some(*at)),
            Some(false) => {
                if let Some(from) = since.take().filter(|_| *at > begun) {
                    stretches.push((from.max(begun), *at, colour));
                }
            }
            None => {}
        }
    }
    if let Some(from) = since {
        stretches.push((from.max(begun), ended, colour));
    }
    stretches
}

fn colour(host: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == host).map_or("#bbb", |(_, colour)| *colour)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_cut_at_the_ends_of_the_picture() {
        let second = Duration::from_secs;
        let power = |on| Fact::Power { host: "h1".to_owned(), on };
        let facts = [(second(1), power(true)), (second(5), power(false)), (second(8), power(true))];
        let so = |fact: &Fact| if let Fact::Power { on, .. } = fact { Some(*on) } else { None };
        let found = stretches(&facts, second(3), second(10), "x", so);
        assert_eq!(found, [(second(3), second(5), "x"), (second(8), second(10), "x")]);
        assert_eq!(
            stretches(&facts, second(6), second(7), "x", so),
            [],
            "what ended before it does not show"
        );
    }

    #[test]
    fn figures_are_told_with_their_median() {
        let figure = |seconds| {
            let is = Duration::from_secs(seconds);
            (is, Fact::Figure { what: "a & b".to_owned(), is, most: None })
        };
        let page = html(&[figure(3), figure(1), figure(2)]);
        let row = "<td>a &amp; b<td class=n>3<td class=n>1.00 s<td class=n>2.00 s<td class=n>3.00 s";
        assert!(page.contains(row), "{page}");
    }
}
