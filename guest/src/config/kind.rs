//! What a resource is: the word `kind`, and the keys that belong to it.

use super::fields::{Fields, Placed, Read, absolute, quote};
use super::{Http, KINDS, Kind, MAX_ARGUMENTS, Output, Process, Section};
use roost_proto::name::is_name;
use roost_proto::text::nearest;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

/// Every way to write `kind`, for messages.
const WRITTEN: &str = "\"process\", \"systemd:UNIT\", \"ocf:PROVIDER:TYPE\", \"lsb:NAME\", \"exec\", \"tcp\", \"http\", \
                       \"file\" or \"mount\"";

/// What a unit's name ends in, of those that can be started and stopped.
const UNIT_SUFFIXES: [&str; 9] =
    [".service", ".socket", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice"];
/// Bytes of a unit's name, at most; systemd's own limit.
const MAX_UNIT: usize = 255;

/// Signals that ask a process to end.
const SIGNALS: [(&str, i32); 9] = [
    ("TERM", libc::SIGTERM),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("HUP", libc::SIGHUP),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("WINCH", libc::SIGWINCH),
    ("PWR", libc::SIGPWR),
    ("KILL", libc::SIGKILL),
];

/// Which kind the word names, and what stands behind its colon.
pub(super) fn kind_of<'t>(resource: &Fields<'t>) -> Read<(&'static Section, Placed<Option<&'t str>>)> {
    let text = resource.required("kind", "\"process\"")?;
    let (word, rest) = match text.value.split_once(':') {
        Some((word, rest)) => (word, Some(rest)),
        None => (text.value, None),
    };
    let Some(section) = KINDS.iter().find(|section| section.header == word) else {
        let hint = nearest(word, KINDS.iter().map(|section| section.header));
        let hint = hint.map_or_else(String::new, |near| format!(" (did you mean '{near}'?)"));
        return text.wrong(format!("'kind' is {}{hint}: write {WRITTEN}", quote(text.value)));
    };
    let takes_more = matches!(section.header, "systemd" | "ocf" | "lsb");
    if takes_more != rest.is_some() {
        return text.wrong(format!("'kind' is {}: write {WRITTEN}", quote(text.value)));
    }
    Ok((section, Placed { at: text.at, value: rest }))
}

/// Why `key`, which `section` does not have, does not belong to it, if another kind has it.
pub(super) fn belongs_elsewhere(key: &str, section: &Section) -> Option<String> {
    let others: Vec<&str> =
        KINDS.iter().filter(|other| other.keys.contains(&key)).map(|other| other.header).collect();
    if others.is_empty() {
        return None;
    }
    let has = if section.keys.is_empty() { "no keys of its own".to_owned() } else { section.keys.join(", ") };
    let (kind, others) = (section.header, others.join(" and "));
    Some(format!("'{key}' belongs to kind {others} and not to {kind}, which has {has}: leave it out"))
}

/// Reads the keys of a kind.
pub(super) fn read(section: &Section, rest: &Placed<Option<&str>>, fields: &Fields<'_>) -> Read<Kind> {
    let name = Placed { at: rest.at, value: rest.value.unwrap_or_default() };
    match section.header {
        "process" => process(fields),
        "systemd" => systemd(&name),
        "ocf" => ocf(&name, fields),
        "lsb" => lsb(&name),
        "exec" => exec(fields),
        "tcp" => tcp(fields),
        "http" => http(fields),
        "file" => file(fields),
        "mount" => mount(fields),
        other => unreachable!("kind_of knows no kind '{other}'"),
    }
}

fn process(fields: &Fields<'_>) -> Read<Kind> {
    const USER: &str = "\"www-data\"";
    let user = fields.text("user", USER)?;
    if let Some(user) = &user
        && (user.value.is_empty() || user.value.contains(|c: char| c == ':' || c.is_control()))
    {
        return user.wrong(format!(
            "'user' is {}, no user's name: write one, as in user = {USER}",
            quote(user.value)
        ));
    }
    Ok(Kind::Process(Process {
        command: command("command", fields)?,
        directory: fields.path("directory", "\"/srv\"")?.unwrap_or_else(|| PathBuf::from("/")),
        user: user.map(|user| user.value.to_owned()),
        environment: fields.variables(
            "environment",
            "{ PORT = \"80\" }",
            "a variable: write letters, digits and '_', the first no digit",
        )?,
        output: output(fields)?,
        stop_signal: stop_signal(fields)?,
    }))
}

fn output(fields: &Fields<'_>) -> Read<Output> {
    const EXAMPLE: &str = "\"capture\" or \"/var/log/web.log\"";
    match fields.text("output", EXAMPLE)? {
        None => Ok(Output::Capture),
        Some(text) if text.value == "capture" => Ok(Output::Capture),
        Some(text) if !text.value.starts_with('/') || text.value.ends_with('/') => {
            text.wrong(format!("'output' is {}: write output = {EXAMPLE}", quote(text.value)))
        }
        Some(text) => absolute("output", &text).map(Output::File),
    }
}

fn stop_signal(fields: &Fields<'_>) -> Read<i32> {
    let Some(text) = fields.text("stop_signal", "\"TERM\"")? else { return Ok(libc::SIGTERM) };
    let name = text.value.strip_prefix("SIG").unwrap_or(text.value);
    match SIGNALS.iter().find(|(known, _)| *known == name) {
        Some(&(_, signal)) => Ok(signal),
        None => {
            let known = SIGNALS.map(|(known, _)| known).join(", ");
            text.wrong(format!("'stop_signal' is {}: write one of {known}", quote(text.value)))
        }
    }
}

/// A command: the absolute path of a program, and its arguments.
pub(super) fn command(key: &str, fields: &Fields<'_>) -> Read<Vec<String>> {
    let words = fields.texts(key, "[\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]")?;
    if words.value.len() > MAX_ARGUMENTS {
        return words.wrong(format!("'{key}' has {} words, and may have {MAX_ARGUMENTS}", words.value.len()));
    }
    let Some(program) = words.value.first() else {
        return words.wrong(format!("'{key}' is empty: write the program's path and its arguments"));
    };
    absolute(key, program)?;
    Ok(words.value.iter().map(|word| word.value.to_owned()).collect())
}

fn systemd(unit: &Placed<&str>) -> Read<Kind> {
    let name = unit.value;
    let is_good = name.len() <= MAX_UNIT
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    if !is_good {
        return unit.wrong(format!(
            "{} is no unit's name: write it as systemctl shows it, as in kind = \"systemd:nginx.service\"",
            quote(name)
        ));
    }
    if !UNIT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        return unit.wrong(format!(
            "{} does not say what kind of unit it is: write kind = \"systemd:{name}.service\"",
            quote(name)
        ));
    }
    Ok(Kind::Systemd { unit: name.to_owned() })
}

fn ocf(name: &Placed<&str>, fields: &Fields<'_>) -> Read<Kind> {
    let (provider, agent) = match name.value.split_once(':') {
        Some((provider, agent)) if is_name(provider) && is_name(agent) => (provider, agent),
        _ => {
            return name.wrong(format!(
                "'ocf:{}' names no agent: write kind = \"ocf:PROVIDER:TYPE\", as in \"ocf:heartbeat:Filesystem\"",
                quote(name.value).trim_matches('\'')
            ));
        }
    };
    let parameters = fields.variables(
        "parameters",
        "{ ip = \"192.0.2.10\" }",
        "a parameter: write letters, digits and '_', the first no digit",
    )?;
    if let Some(name) = parameters.keys().find(|name| name.starts_with("CRM_meta_")) {
        let message = format!("'parameters' holds '{name}', which the controller sets itself: leave it out");
        return Err(Placed { at: fields.place(&["parameters"]), value: message });
    }
    Ok(Kind::Ocf { provider: provider.to_owned(), agent: agent.to_owned(), parameters })
}

fn lsb(script: &Placed<&str>) -> Read<Kind> {
    if !is_name(script.value) {
        return script.wrong(format!(
            "{} is no init script's name: write that of a file in /etc/init.d, as in kind = \"lsb:nginx\"",
            quote(script.value)
        ));
    }
    Ok(Kind::Lsb { script: script.value.to_owned() })
}

fn exec(fields: &Fields<'_>) -> Read<Kind> {
    Ok(Kind::Exec {
        start: command("start", fields)?,
        stop: command("stop", fields)?,
        monitor: command("monitor", fields)?,
    })
}

fn tcp(fields: &Fields<'_>) -> Read<Kind> {
    const EXAMPLE: &str = "\"127.0.0.1:80\"";
    let text = fields.required("address", EXAMPLE)?;
    match text.value.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(Kind::Tcp { address }),
        _ => text.wrong(format!(
            "'address' is {}: write an IP address and a port, as in address = {EXAMPLE} or \"[::1]:80\"",
            quote(text.value)
        )),
    }
}

fn http(fields: &Fields<'_>) -> Read<Kind> {
    let text = fields.required("url", "\"http://127.0.0.1:80/health\"")?;
    let status = fields.number("status", 200..=599)?;
    let status = status.map(|status| u16::try_from(status).expect("at most 599"));
    let wrong = |why: &str| {
        text.wrong(format!("'url' is {}{why}, as in url = \"http://127.0.0.1:80/health\"", quote(text.value)))
    };
    if text.value.starts_with("https:") {
        return wrong(", and TLS is not spoken: write a URL with http, or a check of kind exec");
    }
    let Some(rest) = text.value.strip_prefix("http://") else { return wrong(": write a URL with http") };
    if !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.contains(['#', '@']) {
        return wrong(": write a URL without spaces, '#', '@' and letters that are not ASCII");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let Some(address) = authority(host) else {
        return wrong(": write an IP address or localhost as its host, for names are not looked up");
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Kind::Http(Http { address, host: host.to_owned(), path, status }))
}

/// The address that the host part of a URL means.
fn authority(text: &str) -> Option<SocketAddr> {
    const HTTP: u16 = 80;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|&port| port != 0)?),
        _ => (text, HTTP),
    };
    let host: IpAddr = if host == "localhost" {
        Ipv4Addr::LOCALHOST.into()
    } else if let Some(host) = host.strip_prefix('[') {
        host.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()
    } else {
        host.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(SocketAddr::new(host, port))
}

fn file(fields: &Fields<'_>) -> Read<Kind> {
    let path = fields.required_path("path", "\"/run/app/heartbeat\"")?;
    let max_age = fields.required_span("max_age", "\"5m\"")?;
    Ok(Kind::File { path: path.value, max_age })
}

fn mount(fields: &Fields<'_>) -> Read<Kind> {
    let source = fields.required("source", "\"/dev/vdb\"")?;
    let source = argument("source", source)?;
    if source.is_empty() {
        return Err(Placed {
            at: fields.place(&["source"]),
            value: "'source' is empty: write what is mounted, as in source = \"/dev/vdb\"".to_owned(),
        });
    }
    let target = fields.required_path("target", "\"/srv\"")?;
    if !is_plain(&target.value) {
        return target.wrong(format!(
            "'target' is {}, and is compared with what the kernel shows: write it without '.', '..', '//' and a '/' at \
             its end, as in target = \"/srv\"",
            quote(&target.value.to_string_lossy())
        ));
    }
    let optional = |key: &str, example: &str| -> Read<String> {
        fields.text(key, example)?.map_or_else(|| Ok(String::new()), |text| argument(key, text))
    };
    Ok(Kind::Mount {
        source,
        target: target.value,
        fstype: optional("fstype", "\"ext4\"")?,
        options: optional("options", "\"ro,noatime\"")?,
    })
}

/// A text that mount(8) takes for no flag.
fn argument(key: &str, text: Placed<&str>) -> Read<String> {
    if text.value.starts_with('-') || text.value.contains(char::is_control) {
        return text.wrong(format!(
            "'{key}' is {}: write it without a '-' in front and without control characters",
            quote(text.value)
        ));
    }
    Ok(text.value.to_owned())
}

/// Whether a path is written in the one way in which the kernel shows it.
fn is_plain(path: &Path) -> bool {
    let plain: PathBuf =
        path.components().filter(|part| matches!(part, Component::RootDir | Component::Normal(_))).collect();
    plain.as_os_str() == path.as_os_str() && plain.file_name().is_some()
}
