//! From text to [`Config`]: TOML, then tables, keys and values.

use super::fields::{Fields, Mistakes, Placed, quote};
use super::{
    Apps, Config, ConfigError, FILE, GROUP, Group, GuestLink, MAX_DOMAIN, MAX_FILE, MAX_GROUPS, MAX_HOSTS,
    MAX_MOVE_TIME, MAX_PRIORITY, MAX_RELATIONS, MAX_SOCKET_PATH, MIN_SILENCE, MIN_WAIT, OnGuestShutdown,
    OnSilence, RECOVERY, Recovery, app, canon, check, cluster, company, host,
};
use core::time::Duration;
use roost_proto::control::MoveMethod;
use roost_proto::link::{LINK_PORT, MAX_GROUPS as MAX_APPS};
use roost_proto::retry::{Backoff, MAX_ATTEMPTS};
use std::sync::Arc;
use toml::de::DeTable;

/// What is read of a group, with the places that messages need.
pub(super) struct ReadGroup {
    pub(super) at: usize,
    pub(super) vm_at: usize,
    pub(super) link_at: usize,
    pub(super) on_at: usize,
    pub(super) on: Option<Vec<Placed<String>>>,
    pub(super) together: Vec<Placed<String>>,
    pub(super) apart: Vec<Placed<String>>,
    pub(super) needs: Vec<Placed<String>>,
    /// How it may be moved, if the file says.
    pub(super) moves: Option<Vec<(usize, MoveMethod)>>,
    pub(super) app: Option<app::ReadApp>,
    pub(super) group: Group,
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

    let mut file = Fields::open(document.get_ref(), 0, &FILE, &mut mistakes);
    let cluster = cluster::read(&mut file);
    let hosts = file.tables("host", "[[host]]", MAX_HOSTS, "split the cluster");
    let mut hosts: Vec<host::ReadHost> =
        hosts.into_iter().filter_map(|(table, at)| host::read(table, at, file.mistakes)).collect();
    if file.value("host").is_none() {
        file.missing("host", "[[host]], and below it name = \"the machine's host name\"");
    }
    let groups = file.tables("group", "[[group]]", MAX_GROUPS, "split the cluster");
    let mut groups: Vec<ReadGroup> =
        groups.into_iter().filter_map(|(table, at)| read_group(table, at, file.mistakes)).collect();
    mistakes.settle()?;

    let mut cluster = cluster.expect("a file without mistakes has a cluster");
    check::hosts(&mut cluster, &mut hosts, &mut mistakes);
    check::groups(&cluster, &hosts, &mut groups, &mut mistakes);
    app::check(&hosts, &mut groups, &mut mistakes);
    company::check(&groups, &mut mistakes);
    mistakes.settle()?;
    Ok(Config {
        cluster: cluster.cluster,
        hosts: hosts.into_iter().map(|read| read.host).collect(),
        groups: groups.into_iter().map(|read| read.group).collect(),
        number: canon::number(document.get_ref()),
    })
}

fn read_group(table: &DeTable<'_>, at: usize, mistakes: &mut Mistakes<'_>) -> Option<ReadGroup> {
    let before = mistakes.count();
    let mut group = Fields::open(table, at, &GROUP, mistakes);
    let name = group.name("name = \"web\"");
    let app = app::read(&mut group);
    let (vm, on) = match app {
        Some(_) => (Some(Placed { at, value: String::new() }), None),
        None => (read_vm(&mut group), read_on(&mut group)),
    };
    let [together, apart, needs] = [("together", "db"), ("apart", "web2"), ("needs", "db")]
        .map(|(key, other)| group.names(key, MAX_RELATIONS, &format!("{key} = [\"{other}\"]")))
        .map(Option::unwrap_or_default);
    let moves = read_moves(&mut group);
    let settings = read_settings(&mut group);
    let values = |names: &[Placed<String>]| names.iter().map(|name| name.value.clone()).collect();
    let company =
        Group { together: values(&together), apart: values(&apart), needs: values(&needs), ..settings };
    let (name, vm) = (name?, vm?);
    let read = ReadGroup {
        at: name.at,
        vm_at: vm.at,
        link_at: group.place("link"),
        on_at: group.place("on"),
        on,
        together,
        apart,
        needs,
        moves,
        app,
        group: Group { name: name.value, vm: vm.value, ..company },
    };
    // Relations between settings mean something only when each of them was read well.
    if group.mistakes.count() == before {
        check::timing(&read.group, &mut group);
    }
    Some(read)
}

/// All of a group but its name and VM, and its hosts, which are filled in when every host is known.
fn read_settings(group: &mut Fields<'_, '_, '_>) -> Group {
    let xml = group.text("xml", "xml = \"/etc/roost/vms/web1.xml\"");
    let apps = group.names("apps", MAX_APPS, "apps = [\"site\"]");
    Group {
        name: String::new(),
        app: None, // said when every host is known
        vm: String::new(),
        standby: app::read_standby(group),
        xml: xml.and_then(|given| group.path("xml", given)),
        on: Arc::default(),
        ranked: false,
        apps: apps.map_or(Apps::All, |names| Apps::Named(names.into_iter().map(|name| name.value).collect())),
        link: read_link(group),
        on_guest_shutdown: group.choice(
            "on_guest_shutdown",
            &[("restart", OnGuestShutdown::Restart), ("offline", OnGuestShutdown::Offline)],
            OnGuestShutdown::Restart,
        ),
        silence: group.span("silence", MIN_SILENCE, Duration::from_secs(10)),
        boot_grace: group.span("boot_grace", MIN_WAIT, Duration::from_secs(120)),
        on_silence: group.choice(
            "on_silence",
            &[("recover", OnSilence::Recover), ("report", OnSilence::Report)],
            OnSilence::Recover,
        ),
        silence_patience: group.span("silence_patience", Duration::ZERO, Duration::from_secs(60)),
        stop_timeout: group.span("stop_timeout", MIN_WAIT, Duration::from_secs(120)),
        recovery: read_recovery(
            group,
            if group.value("app").is_some() { 1 } else { Recovery::default().restart },
        ),
        priority: group.number("priority", 0, MAX_PRIORITY, 0),
        together: Vec::new(),
        apart: Vec::new(),
        needs: Vec::new(),
        moves: Vec::new(),
        move_timeout: group.span_to("move_timeout", MIN_WAIT, MAX_MOVE_TIME, Duration::from_secs(600)),
    }
}

fn read_moves(group: &mut Fields<'_, '_, '_>) -> Option<Vec<(usize, MoveMethod)>> {
    let words =
        [MoveMethod::Live, MoveMethod::Suspend, MoveMethod::Cold].map(|method| (method.word(), method));
    group.choices("moves", &words, "moves = [\"live\", \"cold\"]")
}

fn read_vm(group: &mut Fields<'_, '_, '_>) -> Option<Placed<String>> {
    const EXAMPLE: &str = "the libvirt domain's name, as in vm = \"web1\"";
    if group.value("vm").is_none() {
        group.missing("vm", &format!("{EXAMPLE}; or, of an application, app = \"postgres\""));
    }
    let vm = group.text("vm", EXAMPLE)?;
    // libvirt refuses '/' and line feeds, and XML holds no other control character.
    if vm.value.trim().is_empty()
        || vm.value.len() > MAX_DOMAIN
        || vm.value.contains(|c: char| c == '/' || c.is_control())
    {
        group.mistakes.note(
            vm.at,
            format!(
                "'vm' is {}, no libvirt domain's name: write one of 1 to {MAX_DOMAIN} bytes without '/' and control \
                 characters",
                quote(vm.value)
            ),
        );
        return None;
    }
    Some(Placed { at: vm.at, value: vm.value.to_owned() })
}

fn read_on(group: &mut Fields<'_, '_, '_>) -> Option<Vec<Placed<String>>> {
    let before = group.mistakes.count();
    let on = group.names("on", MAX_HOSTS, "on = [\"hv1\"]")?;
    if on.is_empty() && group.mistakes.count() == before {
        let at = group.place("on");
        group.mistakes.note(at, "'on' names no host: name one, or leave 'on' out for every host".to_owned());
    }
    Some(on)
}

fn read_link(group: &mut Fields<'_, '_, '_>) -> GuestLink {
    const EXAMPLE: &str = "link = \"vsock\" or link = \"hybrid:/run/web1.vsock\"";
    let Some(text) = group.text("link", EXAMPLE) else { return GuestLink::Vsock };
    if text.value == "vsock" {
        return GuestLink::Vsock;
    }
    let Some(path) = text.value.strip_prefix("hybrid:") else {
        group.mistakes.note(text.at, format!("'link' is {}: write {EXAMPLE}", quote(text.value)));
        return GuestLink::Vsock;
    };
    let listens_on = format!("{path}_{LINK_PORT}");
    if listens_on.len() > MAX_SOCKET_PATH {
        group.mistakes.note(
            text.at,
            format!(
                "'link' needs a socket of {} bytes, {}: choose a path of at most {} bytes",
                listens_on.len(),
                quote(&listens_on),
                MAX_SOCKET_PATH + path.len() - listens_on.len()
            ),
        );
        return GuestLink::Vsock;
    }
    group.path("link", Placed { at: text.at, value: path }).map_or(GuestLink::Vsock, GuestLink::Hybrid)
}

fn read_recovery(group: &mut Fields<'_, '_, '_>, restart: u32) -> Recovery {
    let default = Recovery { restart, ..Recovery::default() };
    let Some((table, at)) = group.table("recovery", RECOVERY.header) else { return default };
    let mut fields = Fields::open(table, at, &RECOVERY, group.mistakes);
    Recovery {
        reboot: fields.number("reboot", 0, MAX_ATTEMPTS, default.reboot),
        reset: fields.number("reset", 0, MAX_ATTEMPTS, default.reset),
        restart: fields.number("restart", 0, MAX_ATTEMPTS, default.restart),
        window: fields.span("window", MIN_WAIT, default.window),
        backoff: Backoff {
            first: fields.span("backoff", MIN_WAIT, default.backoff.first),
            max: fields.span("backoff_max", MIN_WAIT, default.backoff.max),
        },
        reboot_timeout: fields.span("reboot_timeout", MIN_WAIT, default.reboot_timeout),
        hosts: fields.number("hosts", 0, MAX_ATTEMPTS, default.hosts),
    }
}
