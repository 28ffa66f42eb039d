//! The tables `[[host]]`, and the fence agents below them.

use super::fields::{Fields, Mistakes, Placed, a, quote};
use super::{
    FENCE, FenceAgent, FenceLevel, HOST, Host, MAX_ADDRESSES, MAX_FENCE_AGENTS, MAX_FENCE_LEVEL,
    MAX_FENCE_OPTIONS, MAX_FENCE_RETRIES, MAX_FENCE_TEXT, MAX_FENCE_TIME, MAX_RESERVE_MIB, MAX_URI,
    MIN_WATCHED_SILENCE, OnShutdown, Role, address, cluster,
};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

/// The least `timeout` of a fence agent: they log in to a power switch, which takes seconds.
const MIN_FENCE_TIMEOUT: Duration = Duration::from_secs(1);
/// What tells an agent what to do, by its new and its old name: Roost says that itself.
const ACTION_OPTIONS: [&str; 2] = ["action", "option"];

/// What is read of a host, with the places that messages need.
pub(super) struct ReadHost {
    pub(super) at: usize,
    pub(super) address_at: usize,
    /// One for each address.
    pub(super) addresses_at: Vec<usize>,
    pub(super) votes: Option<Placed<bool>>,
    /// What its own table says of its shutdown.
    pub(super) on_shutdown: Option<OnShutdown>,
    pub(super) host: Host,
}

pub(super) fn read(table: &DeTable<'_>, at: usize, mistakes: &mut Mistakes<'_>) -> Option<ReadHost> {
    let mut host = Fields::open(table, at, &HOST, mistakes);
    let name = host.name("name = \"the machine's host name\"");
    let libvirt = read_libvirt(&mut host);
    let role = host.choice(
        "role",
        &[
            ("hypervisor", Role::Hypervisor),
            ("application", Role::Application),
            ("witness", Role::Witness),
            ("watched", Role::Watched),
        ],
        Role::Hypervisor,
    );
    let addresses = read_addresses(&mut host);
    let votes = host.flag("votes");
    let watchdog = read_watchdog(&mut host);
    let trust_watchdog = host.flag("trust_watchdog");
    if let (Some(Placed { at, value: true }), None) = (&trust_watchdog, &watchdog)
        && role != Role::Witness
    {
        let message = "'trust_watchdog' is about the host's watchdog, and it has none: name it in 'watchdog', or leave it out";
        host.mistakes.note(*at, message.to_owned());
    }
    let reserve_mib = host.number("reserve_mib", 0, MAX_RESERVE_MIB, 0);
    let libvirt_remote = read_libvirt_remote(&mut host);
    let on_shutdown = host.value("on_shutdown").is_some();
    let on_shutdown =
        on_shutdown.then(|| host.choice("on_shutdown", &cluster::ON_SHUTDOWN, OnShutdown::Move));
    let fence = read_fence(&mut host);
    if role == Role::Witness {
        for key in
            ["libvirt", "watchdog", "trust_watchdog", "reserve_mib", "libvirt_remote", "on_shutdown", "fence"]
        {
            if let Some((_, span)) = host.value(key) {
                host.mistakes.note(
                    span.start,
                    format!("'{key}' means nothing for a witness, which runs no VM: leave it out, or leave 'role' out"),
                );
            }
        }
        if let Some(Placed { at, value: false }) = votes {
            let message = "a witness that does not vote does nothing: leave 'votes' out, or the host";
            host.mistakes.note(at, message.to_owned());
        }
    }
    if role == Role::Application {
        for key in ["libvirt", "reserve_mib", "libvirt_remote"] {
            if let Some((_, span)) = host.value(key) {
                let message = format!(
                    "'{key}' means nothing for a host that runs no VM: leave it out, or leave 'role' out"
                );
                host.mistakes.note(span.start, message);
            }
        }
    }
    let key = host.text("key", "key = \"/etc/roost/db3.key\"").and_then(|given| host.path("key", given));
    let silence = host.span("silence", MIN_WATCHED_SILENCE, Duration::from_secs(10));
    if role == Role::Watched {
        watched(&mut host, key.is_some(), &fence);
    } else {
        for key in ["key", "silence"] {
            if let Some((_, span)) = host.value(key) {
                let message = format!(
                    "'{key}' is about a host without roostd: leave it out, or write role = \"watched\""
                );
                host.mistakes.note(span.start, message);
            }
        }
    }
    let address_at = host.place("address");
    let name = name?;
    Some(ReadHost {
        at: name.at,
        address_at,
        addresses_at: addresses.iter().map(|address| address.at).collect(),
        votes,
        on_shutdown,
        host: Host {
            libvirt_remote: libvirt_remote.unwrap_or_else(|| format!("qemu+ssh://{}/system", name.value)),
            name: name.value,
            libvirt,
            addresses: addresses.into_iter().map(|address| address.value).collect(),
            role,
            votes: false, // said when all hosts are known
            watchdog,
            trust_watchdog: trust_watchdog.is_some_and(|trust| trust.value),
            fence,
            reserve_mib,
            on_shutdown: OnShutdown::Move, // said when the cluster is known
            key,
            silence,
        },
    })
}

/// A machine without roostd: nothing but its roost-guest and its fence agents is known of it.
fn watched(host: &mut Fields<'_, '_, '_>, has_key: bool, fence: &[FenceLevel]) {
    let about = [
        "libvirt",
        "address",
        "votes",
        "watchdog",
        "trust_watchdog",
        "reserve_mib",
        "libvirt_remote",
        "on_shutdown",
    ];
    for key in about {
        if let Some((_, span)) = host.value(key) {
            let message = format!(
                "'{key}' is about a host with roostd, and a watched one has none: leave it out, or leave 'role' out"
            );
            host.mistakes.note(span.start, message);
        }
    }
    if !has_key && host.value("key").is_none() {
        host.missing("key", "a file with a key of its own, by which its roost-guest and the cluster know each other, as in key = \"/etc/roost/db3.key\"");
    }
    if fence.is_empty() && host.value("fence").is_none() {
        host.missing(
            "fence",
            "[[host.fence]], for nothing else can tell that a machine without roostd runs nothing",
        );
    }
}

fn read_libvirt(host: &mut Fields<'_, '_, '_>) -> String {
    const EXAMPLE: &str = "libvirt = \"qemu:///system\"";
    let Some(uri) = host.text("libvirt", EXAMPLE) else { return "qemu:///system".to_owned() };
    if !is_uri(uri.value) {
        let given = quote(uri.value);
        host.mistakes
            .note(uri.at, format!("'libvirt' is {given}, no connection URI: write one, as in {EXAMPLE}"));
    }
    uri.value.to_owned()
}

/// By default over SSH, as root of the one host on the other, to the system's QEMU.
fn read_libvirt_remote(host: &mut Fields<'_, '_, '_>) -> Option<String> {
    const EXAMPLE: &str = "libvirt_remote = \"qemu+tls://10.0.0.1/system\"";
    let uri = host.text("libvirt_remote", EXAMPLE)?;
    let local = uri.value.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/') || rest.is_empty());
    if !is_uri(uri.value) || local {
        let given = quote(uri.value);
        let message = format!(
            "'libvirt_remote' is {given}, no connection URI that another host could use: write one with this host's name or \
             address in it, as in {EXAMPLE}"
        );
        host.mistakes.note(uri.at, message);
    }
    Some(uri.value.to_owned())
}

/// Whether libvirt could take `uri` for one: `DRIVER://...`. libvirt itself says the rest.
fn is_uri(uri: &str) -> bool {
    uri.len() <= MAX_URI
        && uri.split_once("://").is_some_and(|(driver, _)| {
            driver.starts_with(|c: char| c.is_ascii_alphabetic())
                && driver.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        })
        && !uri.contains(|c: char| c.is_control() || c == ' ')
}

fn read_addresses(host: &mut Fields<'_, '_, '_>) -> Vec<Placed<SocketAddr>> {
    let mut addresses = Vec::new();
    let texts = host.texts("address", MAX_ADDRESSES, "address = [\"10.0.0.1\", \"10.1.0.1\"]");
    for Placed { at, value } in texts.unwrap_or_default() {
        match address::parse(value) {
            Ok(value) => addresses.push(Placed { at, value }),
            Err(wrong) => host.mistakes.note(at, format!("'address' names {}, {wrong}", quote(value))),
        }
    }
    addresses
}

fn read_watchdog(host: &mut Fields<'_, '_, '_>) -> Option<PathBuf> {
    let text = host.text("watchdog", "watchdog = \"/dev/watchdog0\"")?;
    if !text.value.starts_with("/dev/") {
        let given = quote(text.value);
        host.mistakes.note(
            text.at,
            format!("'watchdog' is {given}, no device: write one, as in watchdog = \"/dev/watchdog0\""),
        );
        return None;
    }
    host.path("watchdog", text)
}

/// The levels, the lowest first; agents of one level in the order of the file.
fn read_fence(host: &mut Fields<'_, '_, '_>) -> Vec<FenceLevel> {
    let mut levels: BTreeMap<u32, FenceLevel> = BTreeMap::new();
    let tables = host.tables("fence", FENCE.header, MAX_FENCE_AGENTS, "leave some out");
    for (table, at) in tables {
        let mut fence = Fields::open(table, at, &FENCE, host.mistakes);
        let level = fence.number("level", 1, MAX_FENCE_LEVEL, 1);
        let agent = read_agent(&mut fence);
        let agent = FenceAgent {
            options: read_options(&mut fence),
            delay: fence.span_to("delay", Duration::ZERO, MAX_FENCE_TIME, Duration::ZERO),
            timeout: fence.span_to("timeout", MIN_FENCE_TIMEOUT, MAX_FENCE_TIME, Duration::from_secs(60)),
            retries: fence.number("retries", 0, MAX_FENCE_RETRIES, 1),
            agent,
        };
        levels.entry(level).or_insert(FenceLevel { agents: Vec::new() }).agents.push(agent);
    }
    levels.into_values().collect()
}

/// The agent's name, which becomes a path below `/usr/sbin`: so no slash, no dot.
fn read_agent(fence: &mut Fields<'_, '_, '_>) -> String {
    const EXAMPLE: &str = "agent = \"fence_ipmilan\"";
    if fence.value("agent").is_none() {
        fence.missing("agent", EXAMPLE);
    }
    let Some(text) = fence.text("agent", EXAMPLE) else { return String::new() };
    let is_agent = text.value.len() <= MAX_FENCE_TEXT
        && text.value.strip_prefix("fence_").is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        });
    if !is_agent {
        fence.mistakes.note(
            text.at,
            format!(
                "'agent' is {}, no fence agent: write the name of one in /usr/sbin, 'fence_' and small letters, digits or \
                 '_', as in {EXAMPLE}",
                quote(text.value)
            ),
        );
    }
    text.value.to_owned()
}

fn read_options(fence: &mut Fields<'_, '_, '_>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let Some((table, at)) = fence.table("options", "options = { ip = \"10.9.0.1\" }") else { return options };
    if table.len() > MAX_FENCE_OPTIONS {
        fence.mistakes.note(at, format!("'options' holds {}, and may hold {MAX_FENCE_OPTIONS}", table.len()));
        return options;
    }
    for (key, value) in table.iter() {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        match option(name, value.get_ref()) {
            Ok(value) => _ = options.insert(name.to_owned(), value),
            Err(wrong) => fence.mistakes.note(at, format!("the option {} {wrong}", quote(name))),
        }
    }
    options
}

/// An option's value as the agent gets it, in a line `NAME=VALUE`; or what is wrong. The value itself, which may be a
/// secret, is in no message.
fn option(name: &str, value: &DeValue<'_>) -> Result<String, String> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > MAX_FENCE_TEXT || !name.bytes().all(is_word) {
        return Err("has no name that an agent reads: write letters, digits, '_' and '-'".to_owned());
    }
    if ACTION_OPTIONS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err("is Roost's own, which says what the agent does: leave it out".to_owned());
    }
    let text = match value {
        DeValue::String(text) => text.as_ref().to_owned(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| "is too great a number: write it in quotes".to_owned())?
            .to_string(),
        // All agents know these two words for yes and no.
        DeValue::Boolean(true) => "1".to_owned(),
        DeValue::Boolean(false) => "0".to_owned(),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            return Err(format!("is {}: write a text in quotes, a whole number, true or false", a(value)));
        }
    };
    if text.len() > MAX_FENCE_TEXT {
        return Err(format!("has {} bytes, and may have {MAX_FENCE_TEXT}", text.len()));
    }
    if text.contains(char::is_control) {
        return Err(
            "holds a line feed or another control character, and agents read lines: leave it out".to_owned()
        );
    }
    if text.trim() != text {
        return Err("begins or ends with a blank, which agents take away: leave it out".to_owned());
    }
    Ok(text)
}
