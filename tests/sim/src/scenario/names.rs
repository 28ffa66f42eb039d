//! Names in a script: hosts, groups, VMs, and what a script itself gave a name.

use roost::config::{Apps, Config, Role, Target};
use roost_proto::text::nearest;
use std::collections::BTreeSet;

/// Words that have a meaning of their own where a name could stand.
const RESERVED: [&str; 12] =
    ["all", "leader", "the", "from", "to", "on", "and", "or", "every", "nothing", "nobody", "somebody"];

/// A group and its VM; or an application and its targets.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// Empty for an application.
    pub vm: String,
    /// Of an application: where it may run.
    pub targets: Vec<Target>,
    /// Whether its guest has a controller in this world.
    pub controlled: bool,
    /// Whether a host may run it, by the host's number.
    pub on: Vec<bool>,
}

/// All names.
#[derive(Debug)]
pub struct Names {
    pub hosts: Vec<String>,
    pub groups: Vec<Group>,
    /// Hosts with a fence agent.
    pub fenced: Vec<bool>,
    /// Hosts that run VMs.
    pub hypervisors: Vec<bool>,
    pub aliases: BTreeSet<String>,
    /// Other configuration files in the folder.
    pub files: Vec<String>,
}

/// A host, as a script names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Host(usize),
    /// Who leads at that moment.
    Leader,
    /// The first host, in the order of the file, that runs VMs and does not lead at that moment.
    Follower,
    /// The host to which a group belongs at that moment.
    HostOf(usize),
    /// What was given a name before.
    Alias(String),
}

impl Names {
    /// The names of a configuration, in which all machines and groups are that any file of the folder names.
    pub fn new(config: &Config, files: Vec<String>) -> Result<Self, String> {
        let hosts: Vec<String> = config.hosts.iter().map(|host| host.name.clone()).collect();
        let all = hosts.iter().chain(config.groups.iter().flat_map(|group| [&group.name, &group.vm]));
        if let Some(name) = all.into_iter().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(format!(
                "'{name}' is a word of the script's own: give that host, group or VM another name"
            ));
        }
        let mut vms = BTreeSet::new();
        let of_vms = config.groups.iter().filter(|group| group.app.is_none());
        if let Some(group) = of_vms.clone().find(|group| !vms.insert(&group.vm)) {
            return Err(format!(
                "two groups of the folder's files have the VM '{}': in a scenario each VM is one group's",
                group.vm
            ));
        }
        let managed: Vec<&Target> = config
            .groups
            .iter()
            .filter_map(|group| group.app.as_ref())
            .flat_map(|app| &app.targets)
            .collect();
        let groups = config.groups.iter().map(|group| Group {
            name: group.name.clone(),
            vm: group.vm.clone(),
            targets: group.app.as_ref().map_or_else(Vec::new, |app| app.targets.clone()),
            controlled: matches!(&group.apps, Apps::Named(names) if !names.is_empty())
                || managed.contains(&&Target::Vm(group.name.clone())),
            on: hosts.iter().map(|host| group.on.contains(host)).collect(),
        });
        Ok(Self {
            groups: groups.collect(),
            fenced: config.hosts.iter().map(|host| !host.fence.is_empty()).collect(),
            hypervisors: config.hosts.iter().map(|host| host.role == Role::Hypervisor).collect(),
            aliases: BTreeSet::new(),
            files,
            hosts,
        })
    }

    /// The host of that name.
    pub fn host(&self, word: &str) -> Result<usize, String> {
        self.hosts.iter().position(|name| name == word).ok_or_else(|| self.unknown("host", word, &self.hosts))
    }

    /// The group of that name.
    pub fn group(&self, word: &str) -> Result<usize, String> {
        self.groups.iter().position(|group| group.name == word).ok_or_else(|| {
            let known: Vec<String> = self.groups.iter().map(|group| group.name.clone()).collect();
            self.unknown("group", word, &known)
        })
    }

    /// The group whose VM has that name, or which has that name itself and is no application.
    pub fn vm(&self, word: &str) -> Result<usize, String> {
        let vm = |group: &&Group| group.targets.is_empty();
        let by_vm = self.groups.iter().position(|group| vm(&group) && group.vm == word);
        by_vm.or_else(|| self.groups.iter().position(|group| vm(&group) && group.name == word)).ok_or_else(
            || {
                let known: Vec<String> =
                    self.groups.iter().filter(vm).map(|group| group.vm.clone()).collect();
                self.unknown("VM", word, &known)
            },
        )
    }

    /// The application of that name.
    pub fn application(&self, word: &str) -> Result<usize, String> {
        let app = |group: &&Group| !group.targets.is_empty();
        self.groups.iter().position(|group| app(&group) && group.name == word).ok_or_else(|| {
            let known: Vec<String> = self.groups.iter().filter(app).map(|group| group.name.clone()).collect();
            self.unknown("application", word, &known)
        })
    }

    /// A target of an application, as its `on` names it.
    pub fn target(&self, group: usize, word: &str) -> Result<Target, String> {
        let targets = &self.groups[group].targets;
        targets.iter().find(|target| target.to_string() == word).cloned().ok_or_else(|| {
            let known: Vec<String> = targets.iter().map(ToString::to_string).collect();
            self.unknown(&format!("target of '{}'", self.groups[group].name), word, &known)
        })
    }

    /// The configuration file of that name.
    pub fn file(&self, word: &str) -> Result<usize, String> {
        self.files
            .iter()
            .position(|name| name == word)
            .ok_or_else(|| self.unknown("configuration file", word, &self.files))
    }

    fn unknown(&self, what: &str, word: &str, known: &[String]) -> String {
        let hint = match nearest(word, known.iter().map(String::as_str)) {
            Some(name) => format!("did you mean '{name}'?"),
            None if known.is_empty() => format!("there is no {what} at all"),
            None => format!("there are {}", known.join(", ")),
        };
        format!("there is no {what} '{word}': {hint}")
    }

    /// One host, in words.
    pub fn who(&self, words: &[&str]) -> Result<Who, String> {
        match words {
            ["the", rest @ ..] if !rest.is_empty() => self.who(rest),
            ["leader"] => Ok(Who::Leader),
            ["a", "follower"] | ["follower"] => Ok(Who::Follower),
            ["host", "of", group] => Ok(Who::HostOf(self.group(group)?)),
            ["host", name] => self.who(&[name]),
            [name] if self.aliases.contains(*name) => Ok(Who::Alias((*name).to_owned())),
            [name] => Ok(Who::Host(self.host(name)?)),
            [] => Err("the name of a host is missing".to_owned()),
            words => {
                Err(format!("'{}' is no host: write its name, 'leader', or 'host of GROUP'", words.join(" ")))
            }
        }
    }

    /// Hosts: names with blanks, commas, `and` or `or` between them; or `all`.
    pub fn whom(&self, words: &[&str]) -> Result<Vec<Who>, String> {
        if words == ["all"] {
            return Ok((0..self.hosts.len()).map(Who::Host).collect());
        }
        let mut found = Vec::new();
        let mut rest = words;
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            let word = first.trim_end_matches(',');
            match (word, more) {
                ("and" | "or" | "the" | "", _) => {}
                ("host", ["of", group, more @ ..]) => {
                    found.push(Who::HostOf(self.group(group.trim_end_matches(','))?));
                    rest = more;
                }
                (word, _) => found.push(self.who(&[word])?),
            }
        }
        if found.is_empty() {
            return Err("the name of a host is missing".to_owned());
        }
        Ok(found)
    }

    /// Gives a name to whoever it will be.
    pub fn add_alias(&mut self, word: &str) -> Result<(), String> {
        if RESERVED.contains(&word) || self.hosts.iter().any(|name| name == word) || self.group(word).is_ok()
        {
            return Err(format!("'{word}' has a meaning already: choose another name"));
        }
        self.aliases.insert(word.to_owned());
        Ok(())
    }
}
