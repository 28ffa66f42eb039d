//! When to connect, what to say when, and when to give a connection up. A pure machine.

use core::time::Duration;
use roost_proto::link::{BEAT, Circumstances, HostMessage, LINK_VERSIONS, MAX_TARGET, ORDERS_SINCE, Order};
use roost_proto::local::LinkStatus;
use roost_proto::name::is_name;
use roost_proto::retry::{Backoff, Jitter};
use roost_proto::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The wait before a second try to connect, doubled up to the longest: a host that comes back is found within seconds, and one
/// that stays away costs next to nothing.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };

/// The wait before the next of several hosts is tried: only one of them leads and takes this machine, so it is looked for at once,
/// and what is looked for by many machines after the same event is looked for one after the other.
const NEXT: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_millis(250) };
/// The wait after none of them took it: some of them have to agree first who leads, which takes them a second or two.
const ROUND: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(1) };
/// One of several hosts that has not answered for this long is passed over: those that are there answer within milliseconds, and
/// the one that leads has to be found long before it takes this machine for lost.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// The wait after a host that speaks no common version; one of the two has to be upgraded first.
const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// A host that says nothing for this long, or reads nothing, is not there: it beats each second.
const SILENCE: Duration = Duration::from_secs(10);

/// One of several hosts that says nothing for this long is looked for elsewhere: if it lost its power another leads within two
/// seconds, and that has to be found before it takes this machine for lost, five seconds later at the earliest. Three of its beats.
const SILENCE_AMONG: Duration = Duration::from_secs(3);

/// How long the guest is quiet at most. A host beats each [`BEAT`] and is answered, so this is only for a host that does not: it
/// is longer than a beat, or the guest would wake for its own beat just before the host's comes.
const QUIET: Duration = Duration::from_millis(1250);

/// A link that has stood this long is taken for good: what failed before it is forgotten, and tries come quickly again. A host that
/// welcomes and hangs up at once, as one that waits for this guest's reboot does, is tried ever more slowly instead.
const STEADY: Duration = RETRY.max;

/// What happened to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It stands.
    Connected,
    /// It could not be made, or it ended.
    Lost {
        /// Why.
        reason: String,
    },
    /// The host said something.
    Heard(HostMessage),
    /// Something was sent whole.
    Sent,
    /// Something could not be sent whole: the host does not read.
    Blocked,
}

/// What is to be done with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make one.
    Connect,
    /// End it.
    Disconnect,
    /// Send the greeting.
    Hello,
    /// Send a snapshot of all groups; from now on changes are wanted too.
    Snapshot {
        /// The version of the link that both sides speak.
        version: u16,
    },
    /// See to an order of the host.
    Order(Order),
    /// See to a question of the host: whether `group` could be brought online.
    AskReady {
        /// The group.
        group: String,
        /// What the answer names.
        number: u32,
        /// For the command's environment.
        circumstances: Circumstances,
    },
    /// Send a beat.
    Beat,
    /// Something that a person would want to read in the log.
    Log(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing to do before then.
    Waiting {
        until: Instant,
    },
    Connecting {
        since: Instant,
    },
    /// Connected and greeted; the host owes an answer.
    Greeting {
        since: Instant,
    },
    Up {
        version: u16,
        host: String,
        group: String,
        since: Instant,
        heard: Instant,
        sent: Instant,
    },
}

/// Where hosts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// There is one, and it takes whoever it runs.
    One,
    /// There are several, of which one leads, and takes this machine; the others hang up.
    Among {
        /// Where they are. At least one.
        hosts: Vec<SocketAddr>,
        /// Which of them is the next, or has the connection.
        at: usize,
        /// Why those before it in this round did not take the machine.
        round: Vec<(usize, String)>,
    },
}

/// Whether the log has said that the link is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    /// It will be when the link is steady: one that comes and goes would fill the log.
    Later,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    search: Search,
    state: State,
    /// Since when something waits to be sent.
    blocked: Option<Instant>,
    /// Links that failed in a row, or did not last.
    failures: u32,
    told: Told,
    jitter: Jitter,
    reason: String,
    commands: VecDeque<Command>,
}

impl Machine {
    /// A link that connects at once.
    pub fn new(search: Search, seed: u64, now: Instant) -> Self {
        Self {
            search,
            state: State::Waiting { until: now },
            blocked: None,
            failures: 0,
            told: Told::Yes,
            jitter: Jitter::new(seed),
            reason: "not tried yet".to_owned(),
            commands: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether something is to be done.
    pub fn has_output(&self) -> bool {
        !self.commands.is_empty()
    }

    /// The host whose turn it is, if there are several.
    pub fn host(&self) -> Option<SocketAddr> {
        match &self.search {
            Search::One => None,
            Search::Among { hosts, at, .. } => Some(hosts[*at]),
        }
    }

    /// How long a host may take to answer.
    const fn patience(&self) -> Duration {
        match self.search {
            Search::One => SILENCE,
            Search::Among { .. } => PASSED_OVER,
        }
    }

    /// How long a host may say nothing.
    const fn silence(&self) -> Duration {
        match self.search {
            Search::One => SILENCE,
            Search::Among { .. } => SILENCE_AMONG,
        }
    }

    /// How it is, for people.
    pub fn status(&self) -> LinkStatus {
        match &self.state {
            State::Up { host, group, .. } => LinkStatus::Up { host: host.clone(), group: group.clone() },
            _ => LinkStatus::Down { reason: self.reason.clone() },
        }
    }

    /// When the host said something last, while the link is up.
    pub const fn heard(&self) -> Option<Instant> {
        match self.state {
            State::Up { heard, .. } => Some(heard),
            _ => None,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                self.state = State::Greeting { since: now };
                self.commands.push_back(Command::Hello);
            }
            Event::Lost { reason } => self.lose(now, reason, None),
            Event::Blocked => self.blocked = self.blocked.or(Some(now)),
            Event::Sent => {
                self.blocked = None;
                if let State::Up { sent, .. } = &mut self.state {
                    *sent = now;
                }
            }
            Event::Heard(message) => self.hear(now, message),
        }
    }

    fn hear(&mut self, now: Instant, message: HostMessage) {
        match (&mut self.state, message) {
            (State::Greeting { .. }, HostMessage::Welcome { version, host, group })
                if (LINK_VERSIONS.oldest..=LINK_VERSIONS.newest).contains(&version) =>
            {
                self.commands.push_back(Command::Snapshot { version });
                if let Search::Among { round, .. } = &mut self.search {
                    round.clear();
                }
                self.state = State::Up { version, host, group, since: now, heard: now, sent: now };
                self.told = Told::Later;
                if self.failures <= 1 {
                    self.tell_up();
                }
            }
            (State::Greeting { .. }, HostMessage::Refused { versions }) => {
                let reason = format!(
                    "the host speaks versions {} to {} of the link, and none that this controller does: upgrade one of them",
                    versions.oldest, versions.newest
                );
                self.lose(now, reason, Some(REFUSED_RETRY));
            }
            (State::Up { heard, sent, .. }, HostMessage::Beat) => {
                *heard = now;
                // A beat is due soon: sent now, one wakeup serves for both.
                if now.since(*sent) >= BEAT / 2 && self.blocked.is_none() {
                    self.commands.push_back(Command::Beat);
                }
            }
            (State::Up { version: ORDERS_SINCE.., heard, .. }, HostMessage::Order(order))
                if is_name(&order.group) && is_sane(&order.circumstances) =>
            {
                *heard = now;
                self.commands.push_back(Command::Order(order));
            }
            (
                State::Up { version: ORDERS_SINCE.., heard, .. },
                HostMessage::AskReady { group, number, circumstances },
            ) if is_name(&group) && is_sane(&circumstances) => {
                *heard = now;
                self.commands.push_back(Command::AskReady { group, number, circumstances });
            }
            (State::Greeting { .. }, HostMessage::Beat) => {}
            _ => {
                self.lose(now, "the host broke the protocol".to_owned(), None);
            }
        }
    }

    fn lose(&mut self, now: Instant, reason: String, retry: Option<Duration>) {
        if matches!(self.state, State::Waiting { .. }) {
            return; // it is lost already
        }
        self.settle(now);
        let wait = match &mut self.search {
            Search::One => {
                self.fail(reason);
                retry.unwrap_or_else(|| RETRY.wait(self.failures, self.jitter.draw()))
            }
            Search::Among { hosts, at, round } => {
                round.push((*at, format!("{}: {reason}", hosts[*at])));
                *at = (*at + 1) % hosts.len();
                let was_up = matches!(self.state, State::Up { .. });
                let is_over = round.len() == hosts.len();
                if was_up || is_over {
                    let mut round = core::mem::take(round);
                    round.sort_unstable(); // in the order of the file, wherever this round began
                    let reasons: Vec<String> = round.into_iter().map(|(_, reason)| reason).collect();
                    self.fail(reasons.join("; "));
                }
                if is_over { ROUND } else { NEXT }.wait(1, self.jitter.draw())
            }
        };
        self.blocked = None;
        self.state = State::Waiting { until: now + wait };
        self.commands.push_back(Command::Disconnect);
    }

    fn fail(&mut self, reason: String) {
        self.failures = self.failures.saturating_add(1);
        if reason != self.reason {
            self.commands.push_back(Command::Log(format!("no link to the host: {reason}")));
        }
        self.reason = reason;
    }

    /// Forgets what failed before, if the link has lasted.
    fn settle(&mut self, now: Instant) {
        if matches!(self.state, State::Up { since, .. } if now.since(since) >= STEADY) {
            self.failures = 0;
            self.reason.clear();
            self.tell_up();
        }
    }

    fn tell_up(&mut self) {
        if let (State::Up { host, group, .. }, Told::Later) = (&self.state, self.told) {
            self.told = Told::Yes;
            // A machine's own controller is in no group.
            let group = if group.is_empty() { String::new() } else { format!(" as group '{group}'") };
            self.commands.push_back(Command::Log(format!("connected to host '{host}'{group}")));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
        if self.blocked.is_some_and(|since| now.since(since) >= SILENCE) {
            self.lose(now, format!("the host has read nothing for {} s", SILENCE.as_secs()), None);
            return;
        }
        match &self.state {
            State::Waiting { until } if *until <= now => {
                self.state = State::Connecting { since: now };
                self.commands.push_back(Command::Connect);
            }
            State::Connecting { since } if now.since(*since) >= self.patience() => {
                self.lose(now, format!("no connection within {} s", self.patience().as_secs()), None);
            }
            State::Greeting { since } if now.since(*since) >= self.patience() => {
                let patience = self.patience().as_secs();
                self.lose(now, format!("the host has not answered within {patience} s"), None);
            }
            State::Up { heard, .. } if now.since(*heard) >= self.silence() => {
                self.lose(now, format!("the host has said nothing for {} s", self.silence().as_secs()), None);
            }
            State::Up { sent, .. } if now.since(*sent) >= QUIET && self.blocked.is_none() => {
                self.commands.push_back(Command::Beat);
            }
            _ => {}
        }
    }

    /// When [`Machine::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        let due = match &self.state {
            State::Waiting { until } => *until,
            State::Connecting { since } | State::Greeting { since } => *since + self.patience(),
            State::Up { heard, sent, .. } if self.blocked.is_none() => {
                (*heard + self.silence()).min(*sent + QUIET)
            }
            State::Up { heard, .. } => *heard + self.silence(),
        };
        let due = match (&self.state, self.told) {
            (State::Up { since, .. }, Told::Later) => due.min(*since + STEADY),
            _ => due,
        };
        self.blocked.map_or(due, |since| due.min(since + SILENCE))
    }
}

/// Whether they can stand in a command's environment.
fn is_sane(circumstances: &Circumstances) -> bool {
    let is_good = |name: &str| name.len() <= MAX_TARGET && !name.contains(char::is_control);
    is_good(&circumstances.target) && is_good(&circumstances.previous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_proto::link::{Cause, Versions, Wanted};

    fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn drain(machine: &mut Machine) -> Vec<Command> {
        let commands = core::iter::from_fn(|| machine.poll_output());
        commands.filter(|command| !matches!(command, Command::Log(_))).collect()
    }

    fn welcome() -> Event {
        welcome_in(1)
    }

    fn welcome_in(version: u16) -> Event {
        Event::Heard(HostMessage::Welcome { version, host: "hv1".to_owned(), group: "web".to_owned() })
    }

    /// Greeted, and welcomed in `version`; what is done next.
    fn met_in(version: u16) -> (Machine, Vec<Command>) {
        let mut machine = Machine::new(Search::One, 1, ms(0));
        machine.handle_timeout(ms(0));
        machine.handle(ms(0), Event::Connected);
        drain(&mut machine);
        machine.handle(ms(0), welcome_in(version));
        let commands = drain(&mut machine);
        (machine, commands)
    }

    fn order(group: &str, target: &str) -> Order {
        Order {
            group: group.to_owned(),
            number: 1,
            epoch: 7,
            wanted: Wanted::Online,
            lease_ms: 30_000,
            circumstances: Circumstances {
                target: target.to_owned(),
                previous: String::new(),
                reason: Cause::Start,
            },
        }
    }

    #[test]
    fn orders_and_questions_are_taken_in_the_version_that_has_them() {
        let (mut machine, commands) = met_in(2);
        assert_eq!(commands, [Command::Snapshot { version: 2 }]);
        assert_eq!(machine.heard(), Some(ms(0)));
        let good = order("db", "vm:db1-standby");
        machine.handle(ms(5), Event::Heard(HostMessage::Order(good.clone())));
        assert_eq!(drain(&mut machine), [Command::Order(good.clone())]);
        assert_eq!(machine.heard(), Some(ms(5)));
        let Order { group, number, circumstances, .. } = good.clone();
        let (group, circumstances) = (group.clone(), circumstances.clone());
        let ask =
            HostMessage::AskReady { group: group.clone(), number, circumstances: circumstances.clone() };
        machine.handle(ms(9), Event::Heard(ask.clone()));
        assert_eq!(drain(&mut machine), [Command::AskReady { group, number, circumstances }]);
        assert_eq!(machine.heard(), Some(ms(9)));

        for message in [HostMessage::Order(good), ask] {
            let (mut machine, _) = met_in(1);
            machine.handle(ms(1), Event::Heard(message));
            assert_eq!(drain(&mut machine), [Command::Disconnect]);
            assert_eq!(machine.heard(), None);
        }
    }

    #[test]
    fn what_could_not_stand_in_an_environment_or_an_answer_is_refused() {
        let long = "x".repeat(MAX_TARGET + 1);
        for bad in [order("no name", "a"), order("", "a"), order("db", &long), order("db", "a\0b")] {
            let (mut machine, _) = met_in(2);
            let (group, circumstances) = (bad.group.clone(), bad.circumstances.clone());
            machine.handle(ms(1), Event::Heard(HostMessage::Order(bad)));
            assert_eq!(drain(&mut machine), [Command::Disconnect]);
            let (mut machine, _) = met_in(2);
            machine.handle(ms(1), Event::Heard(HostMessage::AskReady { group, number: 1, circumstances }));
            assert_eq!(drain(&mut machine), [Command::Disconnect]);
        }
        assert_eq!(met_in(LINK_VERSIONS.newest + 1).1, [Command::Disconnect], "nobody offered that version");
    }

    fn up(now: Instant) -> Machine {
        let mut machine = Machine::new(Search::One, 1, now);
        machine.handle_timeout(now);
        assert_eq!(drain(&mut machine), [Command::Connect]);
        machine.handle(now, Event::Connected);
        assert_eq!(drain(&mut machine), [Command::Hello]);
        machine.handle(now, welcome());
        assert_eq!(drain(&mut machine), [Command::Snapshot { version: 1 }]);
        machine
    }

    #[test]
    fn it_greets_and_tells_all_when_welcome() {
        let machine = up(ms(5));
        assert_eq!(machine.status(), LinkStatus::Up { host: "hv1".to_owned(), group: "web".to_owned() });
    }

    #[test]
    fn tries_come_ever_later_up_to_five_seconds() {
        let mut machine = Machine::new(Search::One, 1, ms(0));
        let mut now = ms(0);
        let mut waits = Vec::new();
        for _ in 0..10 {
            machine.handle_timeout(now);
            assert_eq!(drain(&mut machine), [Command::Connect]);
            machine.handle(now, Event::Lost { reason: "refused".to_owned() });
            assert_eq!(drain(&mut machine), [Command::Disconnect]);
            let due = machine.poll_timeout();
            machine.handle_timeout(now);
            assert_eq!(drain(&mut machine), [], "not before it is due");
            waits.push(due.since(now).as_millis());
            now = due;
        }
        assert!(waits[0] >= 80 && waits[0] <= 100, "{waits:?}");
        assert!(waits[9] >= 4000 && waits[9] <= 5000, "{waits:?}");
    }

    #[test]
    fn one_cause_is_logged_once() {
        let mut machine = Machine::new(Search::One, 1, ms(0));
        let mut logs = 0;
        let mut now = ms(0);
        for _ in 0..5 {
            machine.handle_timeout(now);
            machine.handle(now, Event::Lost { reason: "refused".to_owned() });
            let commands = core::iter::from_fn(|| machine.poll_output());
            logs += commands.filter(|command| matches!(command, Command::Log(_))).count();
            now = machine.poll_timeout();
        }
        assert_eq!(logs, 1);
    }

    #[test]
    fn a_host_that_welcomes_and_hangs_up_is_tried_ever_more_slowly_and_quietly() {
        let mut machine = Machine::new(Search::One, 1, ms(0));
        let (mut now, mut connects, mut logs) = (ms(0), 0, 0);
        while now < ms(60_000) {
            machine.handle_timeout(now);
            machine.handle(now, Event::Connected);
            machine.handle(now, welcome());
            machine.handle(now, Event::Lost { reason: "the host closed the connection".to_owned() });
            for command in core::iter::from_fn(|| machine.poll_output()) {
                connects += usize::from(command == Command::Connect);
                logs += usize::from(matches!(command, Command::Log(_)));
            }
            now = machine.poll_timeout();
        }
        assert!(connects <= 25, "{connects} in a minute");
        assert!(logs <= 3, "{logs} messages in a minute");
        // Once it lasts, that is said, and a later loss is tried again at once.
        machine.handle_timeout(now);
        machine.handle(now, Event::Connected);
        machine.handle(now, welcome());
        drain(&mut machine);
        let later = now + STEADY;
        for second in 1..5 {
            machine.handle(now + Duration::from_secs(second), Event::Heard(HostMessage::Beat));
            machine.handle(now + Duration::from_secs(second), Event::Sent);
        }
        drain(&mut machine);
        assert_eq!(machine.poll_timeout(), later, "whatever else is said");
        machine.handle_timeout(later);
        assert!(matches!(machine.poll_output(), Some(Command::Log(text)) if text.starts_with("connected")));
        machine.handle(later, Event::Lost { reason: "x".to_owned() });
        assert!(machine.poll_timeout() <= later + RETRY.first);
    }

    #[test]
    fn a_hosts_beat_is_answered_so_that_one_wakeup_serves_both() {
        let mut machine = up(ms(0));
        for second in 1..20 {
            let now = ms(second * 1000 + second % 3); // it is never quite on time
            machine.handle_timeout(now);
            assert_eq!(drain(&mut machine), [], "nothing is due of itself");
            machine.handle(now, Event::Heard(HostMessage::Beat));
            assert_eq!(drain(&mut machine), [Command::Beat]);
            machine.handle(now, Event::Sent);
        }
        // One that comes at once again is not answered, and without any the guest beats by itself.
        machine.handle(ms(19_100), Event::Heard(HostMessage::Beat));
        assert_eq!(drain(&mut machine), []);
        let due = machine.poll_timeout();
        machine.handle_timeout(due);
        assert_eq!(drain(&mut machine), [Command::Beat]);
    }

    #[test]
    fn a_silent_host_is_left_and_tried_again() {
        let mut machine = up(ms(0));
        let mut now = ms(0);
        while !drain(&mut machine).contains(&Command::Disconnect) {
            now = machine.poll_timeout();
            assert!(now <= ms(10_000));
            machine.handle_timeout(now);
            machine.handle(now, Event::Sent);
        }
        assert_eq!(now, ms(10_000));
        now = machine.poll_timeout();
        machine.handle_timeout(now);
        assert_eq!(drain(&mut machine), [Command::Connect]);
    }

    #[test]
    fn a_host_that_does_not_read_is_left() {
        let mut machine = up(ms(0));
        machine.handle(ms(100), Event::Blocked);
        for second in 1..10 {
            machine.handle(ms(second * 1000), Event::Heard(HostMessage::Beat));
            machine.handle(ms(second * 1000), Event::Blocked);
            machine.handle_timeout(ms(second * 1000));
            assert_eq!(drain(&mut machine), [], "nothing is piled upon what waits");
        }
        assert_eq!(machine.poll_timeout(), ms(10_100));
        machine.handle_timeout(ms(10_100));
        assert_eq!(drain(&mut machine), [Command::Disconnect]);
    }

    #[test]
    fn a_refusal_is_tried_again_in_a_minute() {
        let mut machine = Machine::new(Search::One, 1, ms(0));
        machine.handle_timeout(ms(0));
        machine.handle(ms(0), Event::Connected);
        drain(&mut machine);
        let versions = Versions { oldest: 7, newest: 9 };
        machine.handle(ms(1), Event::Heard(HostMessage::Refused { versions }));
        assert_eq!(drain(&mut machine), [Command::Disconnect]);
        assert_eq!(machine.poll_timeout(), ms(60_001));
        assert!(matches!(machine.status(), LinkStatus::Down { reason } if reason.contains("7 to 9")));
    }

    #[test]
    fn a_host_that_breaks_the_protocol_is_left() {
        let mut machine = up(ms(0));
        machine.handle(ms(1), welcome());
        assert_eq!(drain(&mut machine), [Command::Disconnect]);
    }

    #[test]
    fn a_host_that_accepts_and_says_nothing_is_left() {
        let mut machine = Machine::new(Search::One, 1, ms(0));
        machine.handle_timeout(ms(0));
        machine.handle(ms(0), Event::Connected);
        drain(&mut machine);
        machine.handle_timeout(ms(9_999));
        assert_eq!(drain(&mut machine), []);
        machine.handle_timeout(ms(10_000));
        assert_eq!(drain(&mut machine), [Command::Disconnect]);
    }

    fn among(hosts: usize) -> Machine {
        let hosts =
            (1..=hosts).map(|nth| SocketAddr::from(([10, 0, 0, u8::try_from(nth).expect("few")], 962)));
        Machine::new(Search::Among { hosts: hosts.collect(), at: 0, round: Vec::new() }, 1, ms(0))
    }

    fn port(machine: &Machine) -> u8 {
        match machine.host() {
            Some(SocketAddr::V4(host)) => host.ip().octets()[3],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_that_leads_is_found_among_those_that_do_not_and_those_that_are_dead() {
        let mut machine = among(3);
        let mut now = ms(0);
        // The first hangs up at once, the second does not answer at all.
        machine.handle_timeout(now);
        assert_eq!((drain(&mut machine), port(&machine)), (vec![Command::Connect], 1));
        machine.handle(now, Event::Lost { reason: "it does not lead".to_owned() });
        now = machine.poll_timeout();
        assert!(now <= ms(300), "{now:?}");
        machine.handle_timeout(now);
        assert_eq!((drain(&mut machine), port(&machine)), (vec![Command::Disconnect, Command::Connect], 2));
        now = machine.poll_timeout();
        machine.handle_timeout(now);
        now = machine.poll_timeout();
        machine.handle_timeout(now);
        assert_eq!((drain(&mut machine), port(&machine)), (vec![Command::Disconnect, Command::Connect], 3));
        machine.handle(now, Event::Connected);
        machine.handle(now, welcome());
        assert!(now <= ms(1_500), "{now:?}");
        let logs: Vec<Command> = core::iter::from_fn(|| machine.poll_output()).collect();
        assert!(matches!(&logs[2], Command::Log(text) if text.starts_with("connected")), "{logs:?}");
        assert_eq!(logs.len(), 3, "those that did not take it are not worth a word");
        // When it is lost, the next one is tried.
        machine.handle(now, Event::Lost { reason: "it closed the connection".to_owned() });
        assert!(machine.poll_timeout() <= now + Duration::from_millis(300));
        assert_eq!(port(&machine), 1);
        assert!(
            matches!(machine.poll_output(), Some(Command::Log(text)) if text.contains("10.0.0.3:962: it closed"))
        );
    }

    #[test]
    fn one_of_several_hosts_that_falls_silent_is_left_in_time_for_the_next_to_be_found() {
        let mut machine = among(3);
        machine.handle_timeout(ms(0));
        machine.handle(ms(0), Event::Connected);
        machine.handle(ms(0), welcome());
        drain(&mut machine);
        machine.handle(ms(1_000), Event::Heard(HostMessage::Beat));
        let mut now = ms(1_000);
        while !drain(&mut machine).contains(&Command::Disconnect) {
            now = machine.poll_timeout();
            assert!(now <= ms(4_000), "{now:?}");
            machine.handle_timeout(now);
            machine.handle(now, Event::Sent);
        }
        assert_eq!((now, port(&machine)), (ms(4_000), 2));
        assert!(machine.poll_timeout() <= ms(4_300));
    }

    #[test]
    fn rounds_among_hosts_of_which_none_leads_are_slow_and_told_once() {
        let mut machine = among(2);
        let (mut now, mut connects, mut logs) = (ms(0), 0, Vec::new());
        while now < ms(60_000) {
            machine.handle_timeout(now);
            machine.handle(now, Event::Lost { reason: "it does not lead".to_owned() });
            for command in core::iter::from_fn(|| machine.poll_output()) {
                connects += usize::from(command == Command::Connect);
                logs.extend(matches!(command, Command::Log(_)).then_some(command));
            }
            now = machine.poll_timeout();
        }
        assert!((100..=150).contains(&connects), "{connects} in a minute");
        let text = "no link to the host: 10.0.0.1:962: it does not lead; 10.0.0.2:962: it does not lead";
        assert_eq!(logs, [Command::Log(text.to_owned())]);
    }
}
