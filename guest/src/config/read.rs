//! From text to [`Config`]: TOML, then tables, keys and values, then what holds between them.

use super::fields::{Fields, Mistakes, Placed, Read, absolute, quote};
use super::{
    CONTROLLER, Config, ConfigError, FILE, GROUP, Group, Hook, Link, MAX_FILE, MAX_HOSTS, MAX_SOCKET_PATH,
    Managed, OnLostHost, RESOURCE, Resource, Tcp, kind, order, timing,
};
use core::time::Duration;
use roost_proto::link::{MAX_GROUPS, MAX_RESOURCES, WATCHED_PORT};
use roost_proto::retry::Backoff;
use roost_proto::text::nearest;
use std::net::SocketAddr;
use toml::de::DeTable;

/// A resource before the names of its `needs` are known to mean something.
struct Draft {
    name_at: usize,
    needs: Vec<Placed<String>>,
    resource: Resource,
}

pub(super) fn read(text: &str) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::new(text);
    if text.len() > MAX_FILE {
        mistakes.note(0, format!("the file has {} bytes, and may have {MAX_FILE}", text.len()));
        mistakes.settle()?;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        mistakes.note(at, error.message().replace('\n', ": "));
    }
    mistakes.settle()?;

    let file = Fields::new(document.get_ref(), 0, "the file");
    file.refuse_others(FILE.keys, &mut mistakes, &|_| None);
    let link = controller(&file, &mut mistakes);
    let tables = mistakes.take(file.tables("group", GROUP.header, MAX_GROUPS));
    let mut groups: Vec<Group> = Vec::new();
    for table in tables.unwrap_or_default() {
        let fields = Fields::new(table.value, table.at, GROUP.header);
        let Some((name_at, group)) = self::group(&fields, &mut mistakes) else { continue };
        if groups.iter().any(|earlier| earlier.name == group.name) {
            mistakes.note(name_at, format!("two groups are called '{}': give each its own name", group.name));
        }
        if group.managed.is_some() && link == Some(Link::None) {
            let message = format!(
                "group '{}' is managed, and nobody could order it online: the link is \"none\"; write link = \
                 \"unix:/run/roost/guest.sock\", or leave 'managed' out",
                group.name
            );
            mistakes.note(fields.place(&["managed"]), message);
        }
        groups.push(group);
    }
    mistakes.settle()?;
    Ok(Config { link: link.expect("a file without mistakes has a link"), groups })
}

fn controller(file: &Fields<'_>, mistakes: &mut Mistakes<'_>) -> Option<Link> {
    let Some(value) = file.value("controller") else { return Some(Link::Vsock) };
    let Some(table) = value.value.as_table() else {
        mistakes
            .note(value.at, format!("'controller' is no table: write {}, and below it", CONTROLLER.header));
        return None;
    };
    let fields = Fields::new(table, value.at, CONTROLLER.header);
    fields.refuse_others(CONTROLLER.keys, mistakes, &|_| None);
    mistakes.take(link(&fields))
}

fn link(fields: &Fields<'_>) -> Read<Link> {
    const EXAMPLE: &str = "\"vsock\", \"unix:/run/roost/guest.sock\", \"tcp\" or \"none\"";
    let text = fields.text("link", EXAMPLE)?;
    if text.as_ref().is_some_and(|text| text.value == "tcp") {
        return tcp(fields).map(Link::Tcp);
    }
    if let Some((key, value)) = TCP_KEYS.iter().find_map(|key| Some((key, fields.value(key)?))) {
        return value.wrong(format!(
            "'{key}' belongs to a link over TCP: write link = \"tcp\" beside it, or leave it out"
        ));
    }
    let Some(text) = text else { return Ok(Link::Vsock) };
    match text.value {
        "vsock" => return Ok(Link::Vsock),
        "none" => return Ok(Link::None),
        _ => {}
    }
    let Some(path) = text.value.strip_prefix("unix:") else {
        return text.wrong(format!("'link' is {}: write link = {EXAMPLE}", quote(text.value)));
    };
    if path.len() > MAX_SOCKET_PATH {
        return text.wrong(format!(
            "'link' names a socket of {} bytes: choose a path of at most {MAX_SOCKET_PATH}",
            path.len()
        ));
    }
    absolute("link", &Placed { at: text.at, value: path }).map(Link::Unix)
}

/// What a link over TCP needs, and no other.
const TCP_KEYS: [&str; 3] = ["hosts", "key", "machine"];

fn tcp(fields: &Fields<'_>) -> Read<Tcp> {
    const HOSTS: &str = "[\"10.0.0.1\", \"10.0.0.2\"]";
    let texts = fields.texts("hosts", HOSTS)?;
    let Placed { at, value: texts } = texts;
    if texts.len() > MAX_HOSTS {
        return texts[MAX_HOSTS]
            .wrong(format!("'hosts' has {} addresses, and may have {MAX_HOSTS}", texts.len()));
    }
    let mut hosts = Vec::new();
    for text in &texts {
        let address =
            text.value.parse().or_else(|_| text.value.parse().map(|ip| SocketAddr::new(ip, WATCHED_PORT)));
        let Ok(address) = address else {
            return text.wrong(format!(
                "'hosts' names {}, which is no address: write each as \"10.0.0.1\" or \"10.0.0.1:{WATCHED_PORT}\"",
                quote(text.value)
            ));
        };
        if hosts.contains(&address) {
            return text.wrong(format!("'hosts' names {} twice: leave it out once", quote(text.value)));
        }
        hosts.push(address);
    }
    if hosts.is_empty() {
        return Err(Placed { at, value: format!("'hosts' names none: write hosts = {HOSTS}") });
    }
    let key = fields.required_path("key", "\"/etc/roost/guest.key\"")?.value;
    Ok(Tcp { hosts, key, machine: fields.optional_name("machine", "\"db3\"")? })
}

/// Reads a group with all its resources; with the place of its name. Nothing when there is a mistake in it.
fn group(fields: &Fields<'_>, mistakes: &mut Mistakes<'_>) -> Option<(usize, Group)> {
    fields.refuse_others(GROUP.keys, mistakes, &|key| {
        // A key under the wrong header is the mistake to expect.
        RESOURCE.keys.contains(&key).then(|| {
            format!("'{key}' belongs to {}, not to {}: put it below that", RESOURCE.header, GROUP.header)
        })
    });
    let head = mistakes.take(group_head(fields));
    let tables = mistakes.take(resource_tables(fields))?;
    let wanted = tables.len();
    let mut drafts: Vec<Draft> = Vec::new();
    for table in tables {
        let fields = Fields::new(table.value, table.at, RESOURCE.header);
        drafts.extend(resource(&fields, mistakes));
    }
    let (name_at, head) = head?;
    if drafts.len() < wanted {
        return None; // what needs a resource with a mistake is not itself mistaken
    }
    let resources = mistakes.take(in_order(&head.name, drafts))?;
    let group = Group { resources, ..head };
    mistakes.take(timing::group(&group, fields))?;
    Some((name_at, group))
}

/// A group without its resources, and the place of its name.
fn group_head(fields: &Fields<'_>) -> Read<(usize, Group)> {
    let name = fields.name("\"site\"")?;
    let group = Group {
        name: name.value,
        restarts: fields.tries("restarts", 1)?,
        window: fields.span("window", Duration::from_secs(3600))?,
        managed: managed(fields)?,
        resources: Vec::new(),
    };
    Ok((name.at, group))
}

/// What belongs to a managed group, if it is one.
fn managed(fields: &Fields<'_>) -> Read<Option<Managed>> {
    if !fields.flag("managed")? {
        let keys = ["on_lost_host", "hook_timeout"].into_iter().chain(Hook::ALL.map(Hook::key));
        for key in keys {
            if let Some(value) = fields.value(key) {
                return value.wrong(format!(
                    "'{key}' belongs to a group that its host orders online and offline: write managed = true beside it, \
                     or leave it out"
                ));
            }
        }
        return Ok(None);
    }
    let command = |hook: Hook| match fields.value(hook.key()) {
        None => Ok(Vec::new()),
        Some(_) => kind::command(hook.key(), fields),
    };
    Ok(Some(Managed {
        on_lost_host: on_lost_host(fields)?,
        before_online: command(Hook::BeforeOnline)?,
        after_offline: command(Hook::AfterOffline)?,
        ready: command(Hook::Ready)?,
        hook_timeout: fields.span("hook_timeout", Duration::from_secs(60))?,
    }))
}

fn on_lost_host(fields: &Fields<'_>) -> Read<OnLostHost> {
    const EXAMPLE: &str = "\"stop\" or \"keep\"";
    let Some(text) = fields.text("on_lost_host", EXAMPLE)? else { return Ok(OnLostHost::Stop) };
    match text.value {
        "stop" => Ok(OnLostHost::Stop),
        "keep" => Ok(OnLostHost::Keep),
        other => text.wrong(format!("'on_lost_host' is {}: write on_lost_host = {EXAMPLE}", quote(other))),
    }
}

fn resource_tables<'t>(fields: &Fields<'t>) -> Read<Vec<Placed<&'t DeTable<'t>>>> {
    let tables = fields.tables("resource", RESOURCE.header, MAX_RESOURCES)?;
    if tables.is_empty() {
        let message = format!(
            "a group without resources keeps nothing running: write {} below it, or leave it out",
            RESOURCE.header
        );
        return Err(Placed { at: fields.at, value: message });
    }
    Ok(tables)
}

fn resource(fields: &Fields<'_>, mistakes: &mut Mistakes<'_>) -> Option<Draft> {
    let (section, rest) = mistakes.take(kind::kind_of(fields))?;
    let known: Vec<&str> = RESOURCE.keys.iter().chain(section.keys).copied().collect();
    fields.refuse_others(&known, mistakes, &|key| kind::belongs_elsewhere(key, section));
    mistakes.take(kind::read(section, &rest, fields).and_then(|kind| draft(kind, fields)))
}

fn draft(kind: super::Kind, fields: &Fields<'_>) -> Read<Draft> {
    let name = fields.name("\"web\"")?;
    let interval = interval(fields)?;
    let resource = Resource {
        name: name.value,
        kind,
        needs: Vec::new(), // filled in when every resource of the group is known
        interval,
        timeout: fields.span("timeout", Duration::from_secs(20))?,
        start_timeout: fields.span("start_timeout", Duration::from_secs(60))?,
        stop_timeout: fields.span("stop_timeout", Duration::from_secs(60))?,
        attempts: fields.tries("attempts", 3)?,
        window: fields.span("window", Duration::from_secs(600))?,
        backoff: Backoff {
            first: fields.span("backoff", Duration::from_secs(1))?,
            max: fields.span("backoff_max", Duration::from_secs(60))?,
        },
    };
    timing::resource(&resource, fields)?;
    Ok(Draft { name_at: name.at, needs: fields.names("needs", "[\"data\"]")?, resource })
}

/// The time between monitors, which alone may be zero.
fn interval(fields: &Fields<'_>) -> Read<Duration> {
    const DEFAULT: Duration = Duration::from_secs(10);
    match fields.any_span("interval", "\"10s\"")? {
        Some(span) if span.value.is_zero() => Ok(Duration::ZERO),
        _ => fields.span("interval", DEFAULT),
    }
}

/// Resolves the names in `needs`, and sorts the resources so that each stands after all that it needs.
fn in_order(group: &str, drafts: Vec<Draft>) -> Read<Vec<Resource>> {
    let names: Vec<String> = drafts.iter().map(|draft| draft.resource.name.clone()).collect();
    let mut needs: Vec<Vec<usize>> = Vec::new();
    for (nth, draft) in drafts.iter().enumerate() {
        if names[..nth].contains(&names[nth]) {
            let message = format!(
                "two resources of group '{group}' are called '{}': give each its own name",
                names[nth]
            );
            return Err(Placed { at: draft.name_at, value: message });
        }
        needs.push(draft.needs.iter().map(|need| index_of(need, &names, group)).collect::<Read<_>>()?);
    }
    let order = order::order(&needs).map_err(|cycle| {
        let mut circle: Vec<&str> = cycle.iter().map(|&r| names[r].as_str()).collect();
        circle.push(circle[0]);
        let first = &drafts[cycle[0]];
        Placed {
            at: first.needs.first().map_or(first.name_at, |need| need.at),
            value: format!("'needs' goes in a circle: {}: take one of them out", circle.join(" -> ")),
        }
    })?;

    let mut place = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        place[from] = to;
    }
    let mut resources: Vec<(usize, Resource)> = drafts
        .into_iter()
        .zip(needs)
        .enumerate()
        .map(|(nth, (draft, needs))| {
            let mut needs: Vec<usize> = needs.into_iter().map(|need| place[need]).collect();
            needs.sort_unstable();
            (place[nth], Resource { needs, ..draft.resource })
        })
        .collect();
    resources.sort_by_key(|&(place, _)| place);
    Ok(resources.into_iter().map(|(_, resource)| resource).collect())
}

fn index_of(need: &Placed<String>, names: &[String], group: &str) -> Read<usize> {
    if let Some(index) = names.iter().position(|name| *name == need.value) {
        return Ok(index);
    }
    let hint = nearest(&need.value, names.iter().map(String::as_str));
    let hint = hint.map_or_else(
        || format!("; there are {}", names.join(", ")),
        |near| format!(" (did you mean '{near}'?)"),
    );
    need.wrong(format!("'needs' names '{}', and group '{group}' has no such resource{hint}", need.value))
}
