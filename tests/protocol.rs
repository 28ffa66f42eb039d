//! roost-protocol(7), held against the sources: its types are those of `proto/`, its numbers are the constants.

use roost::driver::guest_link::{BURST, FRAME_WITHIN, HELLO_WITHIN, PACE};
use roost::driver::udp::keys::MAX_KEYS;
use roost::driver::udp::replay::WINDOW;
use roost_proto::cluster::codec::{MAX_MESSAGES, MAX_PLAINTEXT, OVERHEAD};
use roost_proto::cluster::{CLUSTER_PORT, DATAGRAM_VERSIONS, MAX_DATAGRAM};
use roost_proto::control::{CONTROL_VERSION, MAX_LINE};
use roost_proto::frame::MAX_PAYLOAD;
use roost_proto::link::{BEAT, LINK_PORT, LINK_VERSIONS, MAGIC, PRIVILEGED_PORTS};
use roost_proto::name::MAX_NAME;
use roost_proto::{cluster, link, sealed};
use std::collections::BTreeMap;
use std::path::Path;

/// Columns of a line of types, at most: with its indent it fits 80.
const WIDTH: usize = 70;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn page() -> String {
    file("man/roost-protocol.7")
}

/// The source without its tests, comments and attributes; what is not sent is marked.
fn bare(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let uncommented = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut text = String::new();
    let mut rest = uncommented.collect::<Vec<_>>().join(" ");
    while let Some(at) = rest.find("#[") {
        let mut depth = 0;
        let end = rest[at..].find(|c| {
            depth += match c {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            c == ']' && depth == 0
        });
        let end = at + end.expect("an attribute ends") + 1;
        text += &rest[..at];
        if rest[at..end].contains("Serialize") {
            text += " SENT ";
        }
        rest = rest.split_off(end);
    }
    (text + &rest).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between the bracket that `text` begins with and its partner.
fn inside(text: &str) -> &str {
    let mut depth = 0;
    let end = text.find(|c| {
        depth += match c {
            '{' | '(' | '[' | '<' => 1,
            '}' | ')' | ']' | '>' => -1,
            _ => 0,
        };
        depth == 0
    });
    &text[1..end.expect("brackets are closed")]
}

/// The parts between commas that stand in no brackets.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' | '(' | '[' | '<' => depth += 1,
            '}' | ')' | ']' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// A type as the page has it: without the modules that it is in.
fn plain(kind: &str) -> String {
    ["raft::", "decision::", "super::"]
        .iter()
        .fold(kind.trim().to_owned(), |kind, module| kind.replace(module, ""))
}

fn field(text: &str) -> String {
    let (name, kind) = text.split_once(':').expect("a field has a type");
    format!("{} {}", name.trim().trim_start_matches("pub "), plain(kind))
}

/// `fields` behind `start`, in lines that are not too long.
fn lines(start: &str, fields: &[String]) -> String {
    let mut text = String::new();
    let mut line = start.to_owned();
    for (nth, field) in fields.iter().enumerate() {
        let more = format!("{}{field}", if nth == 0 { " " } else { ", " });
        if line.len() + more.len() >= WIDTH {
            text += &format!("{}{}\n", line, if nth == 0 { "" } else { "," });
            line = format!("      {field}");
        } else {
            line += &more;
        }
    }
    text + &line + "\n"
}

/// The types that a source sends, in its order.
fn types(source: &str) -> String {
    let bare = bare(source);
    let mut text = String::new();
    let mut rest = bare.as_str();
    while let Some(at) = rest.find("pub ") {
        let sent = rest[..at].trim_end().ends_with("SENT");
        rest = &rest[at + 4..];
        let word = rest.split(' ').next().unwrap_or_default();
        let name: String = rest[word.len()..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let body = rest[rest.find(&name).expect("it was just read") + name.len()..].trim_start();
        match word {
            "type" => {
                let kind = body.trim_start_matches('=').split(';').next().unwrap_or_default();
                text += &format!("{name} is {}\n", plain(kind));
            }
            "struct" if sent && body.starts_with('(') => {
                text += &format!("{name} is {}\n", plain(inside(body).trim_start_matches("pub ")));
            }
            "struct" if sent => {
                let fields: Vec<String> = parts(inside(body)).into_iter().map(field).collect();
                text += &lines(&format!("{name}:"), &fields);
            }
            "enum" if sent => {
                text += &format!("{name} is one of\n");
                for (nth, variant) in parts(inside(body)).into_iter().enumerate() {
                    let end = variant.find([' ', '(', '{']).unwrap_or(variant.len());
                    let (name, body) = (&variant[..end], variant[end..].trim_start());
                    let fields: Vec<String> = match body.chars().next() {
                        Some('{') => parts(inside(body)).into_iter().map(field).collect(),
                        Some('(') => parts(inside(body)).into_iter().map(plain).collect(),
                        _ => Vec::new(),
                    };
                    let colon = if fields.is_empty() { "" } else { ":" };
                    text += &lines(&format!("  {nth:>2} {name}{colon}"), &fields);
                }
            }
            _ => {}
        }
    }
    text
}

/// One type of the control socket is in the ledger too.
fn intent() -> String {
    let types = types(&file("proto/src/control.rs"));
    let (_, intent) = types.split_once("Intent is one of\n").expect("what is wanted of a group");
    let variants = intent.lines().take_while(|line| line.starts_with(' ')).map(|line| format!("{line}\n"));
    "Intent is one of\n".to_owned() + &variants.collect::<String>()
}

/// The literal block under a heading of the page.
fn block(heading: &str) -> String {
    let page = page();
    let (_, section) =
        page.split_once(&format!(".Ss {heading}\n")).unwrap_or_else(|| panic!("no '{heading}'"));
    let (_, block) = section.split_once(".Bd -literal\n").expect("a block");
    block.split(".Ed\n").next().unwrap_or_default().replace("\\&", "")
}

fn is_the_same(heading: &str, sources: &[&str]) {
    let wanted: String = sources.iter().map(|source| types(&file(source))).collect();
    let wanted = if wanted.contains(" Intent\n") { wanted + &intent() } else { wanted };
    assert!(wanted.lines().all(|line| line.len() < 80), "too long:\n{wanted}");
    assert!(
        block(heading) == wanted,
        "the block under '{heading}' in man/roost-protocol.7 should be:\n{wanted}"
    );
}

#[test]
fn the_types_of_the_guest_link_are_those_of_the_source() {
    is_the_same("Types of the guest link", &["proto/src/link.rs"]);
}

#[test]
fn the_types_of_datagrams_are_those_of_the_source() {
    let sources = ["proto/src/cluster/mod.rs", "proto/src/cluster/raft.rs", "proto/src/cluster/decision.rs"];
    is_the_same("Types of datagrams", &sources);
}

/// What the reader of sources reads, it reads right.
#[test]
fn types_are_read_as_they_stand() {
    let source = "
        /// A number, { not } what it seems.
        #[derive(Clone, Serialize)]
        pub struct Id(pub u32);
        pub type Term = u64;
        #[derive(Clone)]
        pub struct Inner { pub hidden: u8 }
        #[derive(Serialize)]
        #[serde(rename_all = \"kebab-case\")] // in JSON
        pub struct Beat { pub stamp: Id, pub echo: Option<[u8; 4]>, }
        #[derive(Serialize)]
        pub enum Message { Raft(raft::RaftMessage), Bye, Ask { host: Id, by: Vec<String> }, }
        impl Message { pub fn enum_like(&self) {} }
        #[cfg(test)]
        mod tests { #[derive(Serialize)] pub struct Not { } }";
    let wanted = "Id is u32\nTerm is u64\nBeat: stamp Id, echo Option<[u8; 4]>\nMessage is one of\n   0 Raft: RaftMessage\n   \
                  1 Bye\n   2 Ask: host Id, by Vec<String>\n";
    assert_eq!(types(source), wanted);
}

/// `.It Li NAME No = VALUE` in the page.
#[test]
fn the_numbers_are_the_constants() {
    let versions = |versions: link::Versions| format!("{} to {}", versions.oldest, versions.newest);
    let wanted = BTreeMap::from([
        ("DATAGRAM_VERSIONS", versions(DATAGRAM_VERSIONS)),
        ("CLUSTER_PORT", CLUSTER_PORT.to_string()),
        ("MAX_DATAGRAM", MAX_DATAGRAM.to_string()),
        ("OVERHEAD", OVERHEAD.to_string()),
        ("MAX_PLAINTEXT", MAX_PLAINTEXT.to_string()),
        ("MAX_MESSAGES", MAX_MESSAGES.to_string()),
        ("MAX_KEYS", MAX_KEYS.to_string()),
        ("WINDOW", WINDOW.to_string()),
        ("MAX_REASON", cluster::MAX_REASON.to_string()),
        ("LINK_VERSIONS", versions(LINK_VERSIONS)),
        ("LINK_PORT", LINK_PORT.to_string()),
        ("WATCHED_PORT", link::WATCHED_PORT.to_string()),
        ("SEALED_MAGIC", String::from_utf8_lossy(&sealed::SEALED_MAGIC).into_owned()),
        ("SEALED_VERSION", sealed::SEALED_VERSION.to_string()),
        ("MAX_CONTENTS", sealed::MAX_CONTENTS.to_string()),
        ("PRIVILEGED_PORTS", PRIVILEGED_PORTS.to_string()),
        ("MAGIC", String::from_utf8_lossy(&MAGIC).into_owned()),
        ("MAX_PAYLOAD", MAX_PAYLOAD.to_string()),
        ("BEAT", format!("{} s", BEAT.as_secs())),
        ("HELLO_WITHIN", format!("{} s", HELLO_WITHIN.as_secs())),
        ("FRAME_WITHIN", format!("{} s", FRAME_WITHIN.as_secs())),
        ("BURST", BURST.to_string()),
        ("PACE", PACE.to_string()),
        ("MAX_GROUPS", link::MAX_GROUPS.to_string()),
        ("MAX_RESOURCES", link::MAX_RESOURCES.to_string()),
        ("MAX_NAME", MAX_NAME.to_string()),
        ("MAX_TARGET", link::MAX_TARGET.to_string()),
        ("MAX_SOFTWARE", link::MAX_SOFTWARE.to_string()),
        ("MAX_DETAIL", link::MAX_DETAIL.to_string()),
        ("MAX_FAULT_REASON", link::MAX_REASON.to_string()),
        ("MAX_OUTPUT", link::MAX_OUTPUT.to_string()),
        ("CONTROL_VERSION", CONTROL_VERSION.to_string()),
        ("MAX_LINE", MAX_LINE.to_string()),
    ]);
    let page = page();
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Li ")?.split_once(" No = "));
    let documented: BTreeMap<&str, String> =
        items.map(|(name, value)| (name, value.replace("\\&", ""))).collect();
    assert_eq!(documented, wanted);
}

/// The header of a datagram in the page has as many bytes as are sent before the plaintext.
#[test]
fn the_header_is_as_long_as_it_is() {
    let page = page();
    let (_, table) = page.split_once(".It Em bytes Ta Em what\n").expect("the table of the header");
    let rows = table.lines().take_while(|line| *line != ".El").filter_map(|line| line.strip_prefix(".It "));
    let number = |row: &str| row.split(' ').next().and_then(|number| number.parse::<usize>().ok());
    let bytes: usize = rows.map(|row| number(row).expect("each row begins with its bytes")).sum();
    assert_eq!(bytes + 16, OVERHEAD);
}
