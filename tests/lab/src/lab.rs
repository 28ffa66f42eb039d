//! The lab as a scenario sees it: hosts to do things to, and what is seen of them.

use crate::judge::Judge;
use crate::machine::Machine;
use crate::record::{Fact, Moment, Record};
use crate::watch::{self, Service};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The hypervisors.
pub const HYPERVISORS: [&str; 3] = ["h1", "h2", "h3"];
/// The hypervisors and the witness.
pub const HOSTS: [&str; 4] = ["h1", "h2", "h3", "w"];
/// The groups that are VMs, in the order of their partitions on the shared disk, and the host where each is at home.
pub const VMS: [(&str, &str); 4] = [("alpha", "h1"), ("beta", "h2"), ("gamma", "h3"), ("shop", "h1")];
/// The application, where it is at home, and its standby VM.
pub const APP: (&str, &str, &str) = ("orders", "h3", "vm:shop");

/// How long the whole lab may take to be well again: hosts boot, and VMs in them.
pub const SETTLING: Duration = Duration::from_secs(480);
/// How long hosts may take to boot: all of them at once, on few processors.
const BOOT: Duration = Duration::from_secs(240);
/// How long packages may take to be installed.
const INSTALLING: Duration = Duration::from_secs(600);
/// How long it may take until a host is known to be off: a fence agent is asked again after a while.
const FENCING: Duration = Duration::from_secs(60);
/// How often something is asked that has no event.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a question to a host may take.
const QUESTION: Duration = Duration::from_secs(10);

/// What is not as it should be.
pub type Outcome = Result<(), String>;

/// The lab.
pub struct Lab {
    /// What was seen and done.
    pub record: Arc<Record>,
    machines: Vec<Arc<Machine>>,
    /// Is there once all hosts are provisioned.
    provisioned: PathBuf,
}

/// The boots of all guests, as of a moment.
#[derive(Clone, Debug)]
pub struct Lives {
    at: Moment,
    boots: BTreeMap<&'static str, String>,
}

impl Lab {
    /// The lab in that folder, whose scripts are in `scripts`. From now on all is looked at.
    pub fn open(dir: &Path, scripts: &Path) -> Result<Self, String> {
        let record = Arc::new(Record::new());
        let machines =
            HOSTS.map(|name| Arc::new(Machine::new(name, dir, scripts, Arc::clone(&record)))).into();
        let lab = Self { record, machines, provisioned: dir.join("provisioned") };
        lab.look(dir)?;
        Ok(lab)
    }

    fn look(&self, dir: &Path) -> Outcome {
        let judge = Arc::new(Mutex::new(Judge::new(watch::LATE)));
        for machine in &self.machines {
            let (name, record) = (&machine.name, &self.record);
            watch::power(name.clone(), machine.file("qemu.pid"), Arc::clone(record));
            watch::events(name.clone(), machine.file("events.sock"), Arc::clone(record));
            watch::processes(Arc::clone(machine), Arc::clone(record), Arc::clone(&judge));
        }
        let shared: PathBuf = dir.join("shared.img");
        let shared = File::open(&shared).map_err(|error| format!("'{}': {error}", shared.display()))?;
        watch::disk(shared, VMS.map(|(group, _)| group).into(), Arc::clone(&self.record));
        let at = |last, port| SocketAddr::from((Ipv4Addr::new(10, 77, 0, last), port));
        for (nth, (name, _)) in (51..).zip(VMS) {
            watch::client(Service { name, at: vec![("its VM", at(nth, 8080))] }, &self.record);
        }
        let orders = vec![("h3", at(3, 8090)), ("vm:shop", at(54, 8090))];
        watch::client(Service { name: APP.0, at: orders }, &self.record);
        Ok(())
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> &Machine {
        self.machines
            .iter()
            .find(|machine| machine.name == name)
            .map(Arc::as_ref)
            .unwrap_or_else(|| panic!("the lab has no host '{name}'"))
    }

    /// The hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().map(Arc::as_ref)
    }

    /// Writes down what is about to be done, and says when that was.
    pub fn deed(&self, what: impl Into<String>) -> Moment {
        self.record.note(Fact::Deed(what.into()))
    }

    /// Writes down how long something took, which must not be longer than `most`.
    pub fn figure(&self, what: &str, is: Duration, most: Option<Duration>) -> Outcome {
        self.record.note(Fact::Figure { what: what.to_owned(), is, most });
        match most {
            Some(most) if is > most => Err(format!(
                "{what} took {:.2} s, and may take {:.1} s",
                is.as_secs_f64(),
                most.as_secs_f64()
            )),
            _ => Ok(()),
        }
    }

    /// Waits until `so` holds, asking again and again.
    pub fn until(&self, what: &str, bound: Duration, mut so: impl FnMut() -> bool) -> Result<Moment, String> {
        let end = Instant::now() + bound;
        while !so() {
            if Instant::now() > end {
                return Err(format!("{what}: not so after {} s", bound.as_secs()));
            }
            thread::sleep(ASK_AGAIN);
        }
        Ok(self.record.now())
    }

    /// Waits for the first event since `from`, on any of `hosts`, whose text has `words`.
    pub fn told(
        &self,
        from: Moment,
        bound: Duration,
        hosts: &[&str],
        words: &str,
    ) -> Result<(Moment, String), String> {
        let found = |fact: &Fact| match fact {
            Fact::Event { host, text, group, .. } if hosts.contains(&host.as_str()) => {
                let text = format!("{}: {text}", group.as_deref().unwrap_or_default());
                text.contains(words).then(|| host.clone())
            }
            _ => None,
        };
        let who = hosts.join(", ");
        self.record
            .wait(from, bound, found)
            .ok_or_else(|| format!("none of {who} said '{words}' within {} s", bound.as_secs()))
    }

    /// Waits until a host has no power. It may be switched on again at once.
    pub fn without_power(&self, name: &str, from: Moment, bound: Duration) -> Result<(Moment, ()), String> {
        let found =
            |fact: &Fact| matches!(fact, Fact::Power { host, on: false } if host == name).then_some(());
        self.record
            .wait(from, bound, found)
            .ok_or_else(|| format!("{name} still has power after {} s", bound.as_secs()))
    }

    /// Waits until a service answers.
    pub fn answered(&self, service: &str, from: Moment, bound: Duration) -> Result<(Moment, ()), String> {
        self.answered_where(service, from, bound, |_| true)
            .ok_or_else(|| format!("'{service}' did not answer again within {} s", bound.as_secs()))
    }

    /// Waits until a service answers from that place; one whose answer was late may have answered from another before.
    pub fn answered_from(
        &self,
        service: &str,
        place: &str,
        from: Moment,
        bound: Duration,
    ) -> Result<(Moment, ()), String> {
        self.answered_where(service, from, bound, |answering| answering == place)
            .ok_or_else(|| format!("'{service}' did not answer from {place} within {} s", bound.as_secs()))
    }

    fn answered_where(
        &self,
        service: &str,
        from: Moment,
        bound: Duration,
        so: impl Fn(&str) -> bool,
    ) -> Option<(Moment, ())> {
        self.record.wait(from, bound, |fact| match fact {
            Fact::Answers { service: name, from: Some(place) } if name == service && so(place) => Some(()),
            _ => None,
        })
    }

    /// Waits until a service does not answer any more.
    pub fn silenced(&self, service: &str, from: Moment, bound: Duration) -> Result<(Moment, ()), String> {
        let found = |fact: &Fact| match fact {
            Fact::Answers { service: name, from: None } if name == service => Some(()),
            _ => None,
        };
        self.record
            .wait(from, bound, found)
            .ok_or_else(|| format!("'{service}' still answers after {} s", bound.as_secs()))
    }

    /// Waits until a service answers, if it does not.
    pub fn answers_now(&self, service: &str, bound: Duration) -> Result<Moment, String> {
        self.until(&format!("'{service}' answers"), bound, || self.answers(service).is_some())
    }

    /// The longest time since `from` that a service did not answer its client.
    pub fn longest_silence(&self, service: &str, from: Moment) -> Duration {
        let (mut longest, mut silent) = (Duration::ZERO, None);
        for (at, fact) in self.record.since(from) {
            match fact {
                Fact::Answers { service: name, from: None } if name == service => {
                    silent = silent.or(Some(at));
                }
                Fact::Answers { service: name, from: Some(_) } if name == service => {
                    longest = longest.max(silent.take().map_or(Duration::ZERO, |since| at - since));
                }
                _ => {}
            }
        }
        longest.max(silent.map_or(Duration::ZERO, |since| self.record.now() - since))
    }

    /// What a host's `roost status` says.
    pub fn status_of(&self, host: &str) -> Option<Value> {
        let machine = self.host(host);
        let done = machine.is_on().then(|| machine.try_run("roost status --json", QUESTION).ok())??;
        serde_json::from_str(&done.text).ok()
    }

    /// What the first host says that answers and knows a leader.
    pub fn status(&self) -> Option<Value> {
        HOSTS
            .iter()
            .filter_map(|host| self.status_of(host))
            .find(|status| status["quorum"]["state"] != "lost" && status["leader"].is_string())
    }

    /// What is told of a group.
    pub fn group(&self, name: &str) -> Option<Value> {
        self.listed("groups", name)
    }

    fn listed(&self, list: &str, name: &str) -> Option<Value> {
        self.status()?[list].as_array()?.iter().find(|one| one["name"] == name).cloned()
    }

    /// Whose a group is.
    pub fn owner(&self, group: &str) -> Result<&'static str, String> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let owner = self.group(group).and_then(|group| group["owner"].as_str().map(str::to_owned));
            if let Some(owner) = HYPERVISORS.into_iter().find(|host| owner.as_deref() == Some(*host)) {
                return Ok(owner);
            }
            if Instant::now() > end {
                return Err(format!("nobody owns '{group}'"));
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Who leads.
    pub fn leader(&self) -> Result<&'static str, String> {
        let status = self.status().ok_or("no host knows a leader")?;
        HOSTS
            .into_iter()
            .find(|host| status["leader"] == *host)
            .ok_or_else(|| format!("{} leads?", status["leader"]))
    }

    /// Hypervisors but this one.
    pub fn others(host: &str) -> Vec<&'static str> {
        HYPERVISORS.into_iter().filter(|other| *other != host).collect()
    }

    /// Runs a line of shell in a guest, by the host where it runs, and says when it was given. Its output is not waited for.
    pub fn in_guest(&self, group: &str, line: &str) -> Result<Moment, String> {
        let owner = self.owner(group)?;
        let given = self.deed(format!("in {group} on {owner}: {line}"));
        self.host(owner).run(&format!("printf '%s\\n' '{line}' | lab-guest {group}"))?;
        Ok(given)
    }

    /// Which boot of each VM's guest writes to its disk now.
    pub fn lives(&self) -> Lives {
        let boot = |wanted: &str| {
            self.record.newest(|fact| match fact {
                Fact::Beats { group, boot: Some(boot) } if group == wanted => Some(boot.clone()),
                _ => None,
            })
        };
        let boots = VMS.iter().filter_map(|(group, _)| Some((*group, boot(group)?))).collect();
        Lives { at: self.record.now(), boots }
    }

    /// How often a guest booted again by itself since then, by Roost's word. The emulated processor now and then resets one in the
    /// middle of its work.
    pub fn rebooted(&self, group: &str, from: Moment) -> usize {
        let so = |(_, fact): &(Moment, Fact)| matches!(fact, Fact::Event { group: Some(name), text, .. } if name == group && text == "the guest rebooted");
        self.record.since(from).iter().filter(|fact| so(fact)).count()
    }

    /// None of these VMs was started or booted again since `lives`, but by itself.
    pub fn unchanged(&self, lives: &Lives, groups: &[&str]) -> Outcome {
        let now = self.lives();
        for group in groups.iter().filter(|group| lives.boots.get(**group) != now.boots.get(**group)) {
            let told = self.record.since(lives.at);
            let recovers = |(_, fact): &(Moment, Fact)| matches!(fact, Fact::Event { kind, group: Some(name), .. } if name == group && kind == "recovery");
            if self.rebooted(group, lives.at) == 0 || told.iter().any(recovers) {
                return Err(format!("'{group}' was restarted, and should not have been"));
            }
            self.deed(format!("nothing: the emulated processor reset the guest of {group}"));
        }
        Ok(())
    }

    /// Nothing at all was restarted.
    pub fn nothing_restarted(&self, lives: &Lives) -> Outcome {
        self.unchanged(lives, &VMS.map(|(group, _)| group))
    }

    /// Switches all hosts on, and installs in each what was built, unless that was done before.
    pub fn provision(&self) -> Outcome {
        if self.provisioned.exists() {
            return Ok(());
        }
        self.all_on()?;
        for machine in &self.machines {
            self.until(&format!("{} has booted", machine.name), BOOT, || {
                machine.try_run("true", QUESTION).is_ok()
            })?;
        }
        self.deed("the packages are installed on all hosts");
        thread::scope(|scope| {
            let each = self.machines.iter().map(|machine| scope.spawn(|| install(machine)));
            let all: Vec<_> = each.collect(); // all have begun before one is waited for
            all.into_iter().try_for_each(|one| one.join().expect("it does not panic"))
        })?;
        File::create(&self.provisioned)
            .map(drop)
            .map_err(|error| format!("'{}': {error}", self.provisioned.display()))
    }

    /// Switches on what has no power, once it is known to have none: a fence agent that found it on again would switch it off again.
    /// The witness has no such agent.
    fn all_on(&self) -> Outcome {
        for machine in self.hosts().filter(|machine| !machine.is_on()) {
            let known = || !matches!(self.state_of(&machine.name).as_deref(), Some("silent" | "blocked"));
            if HYPERVISORS.contains(&machine.name.as_str()) {
                let _ = self.until("it is known to be off", FENCING, known); // or nobody is there who could find out
            }
            machine.power(true)?;
        }
        Ok(())
    }

    /// The state of a host, by the word of one that knows a leader.
    fn state_of(&self, name: &str) -> Option<String> {
        self.listed("hosts", name)?["state"].as_str().map(str::to_owned)
    }

    /// Undoes what was done to hosts from outside, whether or not a scenario ended well.
    pub fn mend(&self) -> Outcome {
        self.hosts().try_for_each(Machine::mend)
    }

    /// The lab is as it was in the beginning: everything has power and cables and is up, every VM is online at home, the
    /// application on its metal.
    pub fn settle(&self) -> Outcome {
        self.all_on()?;
        let mut settled = None;
        self.until("all hosts are up and every group is online", SETTLING, || {
            settled = self.settled();
            settled.is_some()
        })
        .map_err(|why| self.explain(why))?;
        if !settled.as_ref().is_some_and(is_home) {
            self.go_home()?;
            self.until("all is at home", SETTLING, || self.settled().is_some_and(|status| is_home(&status)))
                .map_err(|why| self.explain(why))?;
        }
        let right = self.record.wrongs(Duration::ZERO);
        right.first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    fn go_home(&self) -> Outcome {
        for (group, home) in VMS {
            if self.owner(group)? != home {
                self.order(&format!("roost switch {group} --to {home} --wait"))?;
            }
        }
        if self.group(APP.0).is_some_and(|group| group["target"] != APP.1) {
            self.order(&format!("roost failback {} --wait", APP.0))?;
        }
        Ok(())
    }

    /// Gives an order at the leader, as an operator would, and waits for its end.
    pub fn order(&self, line: &str) -> Outcome {
        self.order_on(self.leader()?, line)
    }

    /// Gives an order on a host.
    pub fn order_on(&self, host: &str, line: &str) -> Outcome {
        self.deed(format!("an operator on {host}: {line}"));
        match self.host(host).try_run(line, Duration::from_secs(120)) {
            Ok(done) if done.status == Some(0) => Ok(()),
            Ok(done) => Err(format!("'{line}' ended with {:?}: {}", done.status, done.text.trim())),
            Err(error) => Err(format!("'{line}': {error}")),
        }
    }

    fn explain(&self, why: String) -> String {
        let said = HOSTS.iter().find_map(|host| self.host(host).try_run("roost status", QUESTION).ok());
        format!("{why}; roost status says:\n{}", said.map(|done| done.text).unwrap_or_default())
    }

    /// What a host says, if every client is answered, and all is well by the word of each host. The hosts are asked last: each
    /// question is work for them.
    fn settled(&self) -> Option<Value> {
        let answered =
            VMS.iter().map(|(group, _)| *group).chain([APP.0]).all(|service| self.answers(service).is_some());
        if !answered {
            return None;
        }
        let said: Vec<_> = thread::scope(|scope| {
            let asked = HOSTS.map(|host| scope.spawn(move || self.status_of(host)));
            asked.map(|one| one.join().expect("it does not panic")).into()
        });
        said.iter()
            .all(|status| status.as_ref().is_some_and(is_well))
            .then(|| said.into_iter().flatten().next())?
    }

    /// Every host is up, by the word of one.
    pub fn all_up(&self) -> bool {
        self.status().is_some_and(|status| {
            status["hosts"].as_array().is_some_and(|hosts| hosts.iter().all(|host| host["state"] == "up"))
        })
    }

    /// How many groups a host has.
    pub fn groups_of(&self, host: &str) -> Option<u64> {
        self.listed("hosts", host)?["groups"].as_u64()
    }

    /// The guest's controller is connected.
    pub fn connected(&self, group: &str) -> Outcome {
        let so = || self.group(group).is_some_and(|group| group["controller"] == "connected");
        self.until(&format!("the controller in '{group}' is connected"), Duration::from_secs(30), so)
            .map(drop)
    }

    /// How many boots of a guest wrote to its disk since then.
    pub fn boots(&self, group: &str, from: Moment) -> usize {
        let boot = |(_, fact)| match fact {
            Fact::Beats { group: name, boot: Some(boot) } if name == group => Some(boot),
            _ => None,
        };
        self.record.since(from).into_iter().filter_map(boot).collect::<BTreeSet<_>>().len()
    }

    /// From where a service answers now.
    pub fn answers(&self, service: &str) -> Option<String> {
        self.record
            .newest(|fact| match fact {
                Fact::Answers { service: name, from } if name == service => Some(from.clone()),
                _ => None,
            })
            .flatten()
    }
}

fn install(machine: &Machine) -> Outcome {
    match machine.try_run("/srv/shared/provision/provision 2>&1", INSTALLING) {
        Ok(done) if done.status == Some(0) => Ok(()),
        Ok(done) => Err(format!("{} is not provisioned:\n{}", machine.name, done.text)),
        Err(error) => Err(format!("{} is not provisioned: {error}", machine.name)),
    }
}

/// Every host is up, and every group online; libvirt answers where it is used. (After a boot `roostd` is there before libvirt
/// answers it: nothing can be moved there so soon.)
fn is_well(status: &Value) -> bool {
    let all =
        |list: &str, so: fn(&Value) -> bool| status[list].as_array().is_some_and(|list| list.iter().all(so));
    let online = |group: &Value| {
        matches!(group["condition"].as_str(), Some("online" | "elsewhere"))
            && group["owner"].is_string()
            && group["moving"].is_null()
    };
    status["leader"].is_string()
        && status["libvirt"]["state"] != "lost"
        && all("hosts", |host| host["state"] == "up")
        && all("groups", online)
}

/// Every VM and the application is at home.
fn is_home(status: &Value) -> bool {
    let at = |name: &str, key: &str, home: &str| {
        status["groups"]
            .as_array()
            .is_some_and(|groups| groups.iter().any(|group| group["name"] == name && group[key] == home))
    };
    VMS.iter().all(|(group, home)| at(group, "owner", home)) && at(APP.0, "target", APP.1)
}
