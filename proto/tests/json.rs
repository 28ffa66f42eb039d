//! What operators' scripts and files on disk rely on: these JSON texts never change within their version; fields are only
//! added, and a reader passes over those that it does not know.

use roost_proto::control::{
    AppStatus, Ask, CONTROL_VERSION, Condition, ControllerStatus, Event, EventKind, GroupStatus, Health,
    HostState, HostStatus, Intent, Level, LibvirtStatus, MoveMethod, MovingStatus, Recoveries, Refusal,
    Reply, Request, ResourceStatus, Status,
};
use roost_proto::insight::{
    Explanation, FencingBy, GroupExplained, HostExplained, HostVerdict, PlanCase, PlanReport, PlannedMove,
    Quorum, QuorumState, Stuck, Subject, Trial, Verdict,
};
use roost_proto::link::{Exit, Fault, GroupState, ResourceState};
use roost_proto::retry::Attempts;
use roost_proto::state::{STATE_VERSION, Saved, SavedGroup};
use roost_proto::time::Instant;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

fn frozen<T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug>(value: &T, text: &str) {
    assert_eq!(serde_json::to_string(value).expect("plain data"), text);
    assert_eq!(&serde_json::from_str::<T>(text).expect("its own text"), value);
}

#[test]
fn requests() {
    let request = |ask| Request { version: CONTROL_VERSION, ask };
    let group = || "web".to_owned();
    frozen(&request(Ask::Status), r#"{"version":1,"ask":"status"}"#);
    frozen(
        &request(Ask::Events { after: 7, group: Some(group()), follow: true }),
        r#"{"version":1,"ask":"events","after":7,"group":"web","follow":true}"#,
    );
    frozen(
        &request(Ask::Intent { group: group(), intent: Intent::Offline }),
        r#"{"version":1,"ask":"intent","group":"web","intent":"offline"}"#,
    );
    frozen(&request(Ask::Freeze { group: group() }), r#"{"version":1,"ask":"freeze","group":"web"}"#);
    frozen(&request(Ask::Thaw { group: group() }), r#"{"version":1,"ask":"thaw","group":"web"}"#);
    let host = "hv2".to_owned();
    frozen(&request(Ask::Fenced { host }), r#"{"version":1,"ask":"fenced","host":"hv2"}"#);
    frozen(&request(Ask::Reload), r#"{"version":1,"ask":"reload"}"#);
    frozen(&request(Ask::Metrics), r#"{"version":1,"ask":"metrics"}"#);
    frozen(&request(Ask::Cluster), r#"{"version":1,"ask":"cluster"}"#);
    frozen(&request(Ask::Explain { subject: group() }), r#"{"version":1,"ask":"explain","subject":"web"}"#);
    frozen(
        &request(Ask::Plan { without: vec!["hv2".to_owned()], any: false }),
        r#"{"version":1,"ask":"plan","without":["hv2"],"any":false}"#,
    );
    frozen(&request(Ask::Disarm), r#"{"version":1,"ask":"disarm"}"#);
    frozen(&request(Ask::Arm), r#"{"version":1,"ask":"arm"}"#);
    frozen(&request(Ask::WouldReload), r#"{"version":1,"ask":"would-reload"}"#);
    frozen(
        &request(Ask::Switch {
            group: group(),
            to: Some("hv2".to_owned()),
            method: Some(MoveMethod::Suspend),
        }),
        r#"{"version":1,"ask":"switch","group":"web","to":"hv2","method":"suspend"}"#,
    );
    frozen(
        &request(Ask::Failback { group: group(), method: None }),
        r#"{"version":1,"ask":"failback","group":"web","method":null}"#,
    );
    frozen(&request(Ask::Fail { group: group() }), r#"{"version":1,"ask":"fail","group":"web"}"#);
    frozen(
        &request(Ask::Maintenance { host: "hv2".to_owned(), on: true }),
        r#"{"version":1,"ask":"maintenance","host":"hv2","on":true}"#,
    );
}

#[test]
fn replies() {
    frozen(&Reply::End, r#"{"reply":"end"}"#);
    frozen(&Reply::Metrics { text: "a 1\n".to_owned() }, r#"{"reply":"metrics","text":"a 1\n"}"#);
    frozen(&Reply::Done { text: "so be it".to_owned() }, r#"{"reply":"done","text":"so be it"}"#);
    frozen(
        &Reply::Refused { code: Refusal::UnknownGroup, reason: "no".to_owned() },
        r#"{"reply":"refused","code":"unknown-group","reason":"no"}"#,
    );
    let event = Event {
        seq: 3,
        at_ms: 1_700_000_000_000,
        level: Level::Warning,
        kind: EventKind::VmLeftAlone,
        group: Some("web".to_owned()),
        text: "paused".to_owned(),
        output: String::new(),
    };
    frozen(
        &Reply::Event(event),
        r#"{"reply":"event","seq":3,"at_ms":1700000000000,"level":"warning","kind":"vm-left-alone","group":"web","text":"paused"}"#,
    );
}

fn quorum() -> Quorum {
    Quorum {
        state: QuorumState::Lost,
        voters: 3,
        heard: 1,
        needed: 2,
        silent: vec!["hv2".into(), "hv3".into()],
        means: vec!["m".into()],
        remedy: vec!["r".into()],
    }
}

fn case() -> PlanCase {
    PlanCase {
        without: vec!["hv1".into()],
        quorum: true,
        moves: vec![PlannedMove {
            group: "web".into(),
            from: Some("hv1".into()),
            to: "hv2".into(),
            step: 1,
            memory_mib: 512,
            host: None,
            needed_by: vec![],
        }],
        stuck: vec![Stuck { group: "db".into(), from: None, reason: "no room".into() }],
        unfenced: vec!["hv1".into()],
    }
}

#[test]
fn explanations() {
    let quorum =
        || Quorum { state: QuorumState::Held, silent: vec![], means: vec![], remedy: vec![], ..quorum() };
    let held =
        r#""quorum":{"state":"held","voters":3,"heard":1,"needed":2,"silent":[],"means":[],"remedy":[]}"#;
    let verdict =
        |host: &str, verdict| HostVerdict { host: host.into(), verdict, reason: "r".into(), switch: None };
    let group = GroupExplained {
        name: "web".into(),
        vm: "web1".into(),
        intent: Intent::Online,
        condition: Condition::Online,
        owner: Some("hv1".into()),
        why: vec!["w".into()],
        problems: vec![],
        hosts: vec![verdict("hv1", Verdict::Owner), verdict("hv2", Verdict::Next)],
        next: vec!["n".into()],
        app: None,
        target: None,
        switch: None,
        failback: None,
    };
    let explanation = |subject| Explanation {
        version: CONTROL_VERSION,
        host: "hv3".into(),
        leader: Some("hv2".into()),
        quorum: quorum(),
        subject,
    };
    let text = concat!(
        r#"{"reply":"explanation","version":1,"host":"hv3","leader":"hv2",QUORUM,"subject":{"subject":"group","name":"web","vm":"web1","#,
        r#""intent":"online","condition":"online","owner":"hv1","why":["w"],"problems":[],"hosts":["#,
        r#"{"host":"hv1","verdict":"owner","reason":"r"},{"host":"hv2","verdict":"next","reason":"r"}],"next":["n"]}}"#
    );
    frozen(&Reply::Explanation(explanation(Subject::Group(group))), &text.replace("QUORUM", held));
    let host = HostExplained {
        name: "hv1".into(),
        state: HostState::Up,
        why: vec!["w".into()],
        problems: vec!["p".into()],
        fencing: FencingBy::Time,
        fencing_words: "f".into(),
        lost: Some(case()),
    };
    let text = concat!(
        r#"{"reply":"explanation","version":1,"host":"hv3","leader":"hv2",QUORUM,"subject":{"subject":"host","name":"hv1","state":"up","#,
        r#""why":["w"],"problems":["p"],"fencing":"time","fencing_words":"f","lost":CASE}}"#
    );
    let text = text.replace("QUORUM", held).replace("CASE", CASE);
    frozen(&Reply::Explanation(explanation(Subject::Host(host))), &text);
}

/// What is said of applications alone.
#[test]
fn applications() {
    let trial = Trial::Done { to: "db1".into(), steps: vec!["s".into()] };
    frozen(&trial, r#"{"trial":"done","to":"db1","steps":["s"]}"#);
    frozen(&Trial::Refused { reason: "r".into() }, r#"{"trial":"refused","reason":"r"}"#);
    let verdict =
        HostVerdict { host: "db1".into(), verdict: Verdict::Next, reason: "r".into(), switch: Some(trial) };
    let switch = r#""switch":{"trial":"done","to":"db1","steps":["s"]}"#;
    frozen(&verdict, &format!(r#"{{"host":"db1","verdict":"next","reason":"r",{switch}}}"#));
    let moved = PlannedMove {
        group: "orders".into(),
        from: Some("db1".into()),
        to: "vm:s".into(),
        step: 2,
        memory_mib: 0,
        host: Some("hv1".into()),
        needed_by: vec!["a".into()],
    };
    let text = r#"{"group":"orders","from":"db1","to":"vm:s","step":2,"memory_mib":0,"host":"hv1","needed_by":["a"]}"#;
    frozen(&moved, text);
    let group = GroupStatus {
        name: "orders".into(),
        vm: String::new(),
        owner: Some("hv1".into()),
        intent: Intent::Online,
        frozen: false,
        condition: Condition::Offline,
        reason: String::new(),
        since_ms: 5,
        controller: ControllerStatus::Connected,
        apps: vec![],
        recoveries: Recoveries::default(),
        dangers: vec![],
        moving: None,
        target: Some("vm:s".into()),
        home: Some("db1".into()),
        targets: vec!["db1".into(), "vm:s".into()],
        preparing: Some("db1".into()),
        standby: true,
    };
    frozen(
        &group,
        concat!(
            r#"{"name":"orders","vm":"","owner":"hv1","intent":"online","frozen":false,"condition":"offline","reason":"","#,
            r#""since_ms":5,"controller":"connected","apps":[],"recoveries":{"reboot":0,"reset":0,"restart":0},"dangers":[],"#,
            r#""target":"vm:s","home":"db1","targets":["db1","vm:s"],"preparing":"db1","standby":true}"#
        ),
    );
}

const CASE: &str = concat!(
    r#"{"without":["hv1"],"quorum":true,"moves":[{"group":"web","from":"hv1","to":"hv2","step":1,"memory_mib":512}],"#,
    r#""stuck":[{"group":"db","reason":"no room"}],"unfenced":["hv1"]}"#
);

#[test]
fn plans() {
    let plan =
        PlanReport { version: CONTROL_VERSION, leader: "hv2".into(), fits: false, cases: vec![case()] };
    let text = r#"{"reply":"plan","version":1,"leader":"hv2","fits":false,"cases":[CASE]}"#;
    frozen(&Reply::Plan(plan), &text.replace("CASE", CASE));
}

#[test]
fn status() {
    let fault =
        Fault { resource: "db".into(), reason: "ended".into(), exit: Exit::Code(1), output: "x".into() };
    let app = AppStatus {
        name: "site".into(),
        counts: true,
        frozen: false,
        state: GroupState::Faulted(fault),
        not_running: vec![ResourceStatus {
            name: "db".into(),
            state: ResourceState::Failed,
            detail: "ended".into(),
        }],
    };
    let group = GroupStatus {
        name: "web".into(),
        vm: "web1".into(),
        owner: Some("hv2".into()),
        intent: Intent::Online,
        frozen: false,
        condition: Condition::Recovering,
        reason: "will reset".into(),
        since_ms: 5,
        controller: ControllerStatus::Connected,
        apps: vec![app],
        recoveries: Recoveries { reboot: 1, reset: 0, restart: 0 },
        dangers: vec![],
        moving: Some(MovingStatus { to: "hv3".into(), method: MoveMethod::Live, percent: Some(40) }),
        target: None,
        home: None,
        targets: vec![],
        preparing: None,
        standby: false,
    };
    let status = Status {
        version: CONTROL_VERSION,
        software: "roost 0.1.0".into(),
        cluster: "lab".into(),
        host: "hv1".into(),
        health: Health::Degraded,
        libvirt: LibvirtStatus::Lost { reason: "gone".into() },
        hosts: vec![HostStatus {
            name: "hv1".into(),
            state: HostState::Blocked,
            leads: false,
            votes: true,
            reason: "evicted".into(),
            groups: 3,
        }],
        groups: vec![group],
        warnings: vec![],
        leader: Some("hv2".into()),
        quorum: Some(quorum()),
        disarmed: None,
        unaware: vec![],
    };
    frozen(
        &status,
        concat!(
            r#"{"version":1,"software":"roost 0.1.0","cluster":"lab","host":"hv1","health":"degraded","#,
            r#""libvirt":{"state":"lost","reason":"gone"},"hosts":[{"name":"hv1","state":"blocked","leads":false,"#,
            r#""votes":true,"reason":"evicted","groups":3}],"groups":[{"name":"web","vm":"web1","owner":"hv2","#,
            r#""intent":"online","frozen":false,"condition":"recovering","reason":"will reset","since_ms":5,"controller":"connected","#,
            r#""apps":[{"name":"site","counts":true,"frozen":false,"state":{"faulted":{"resource":"db","reason":"ended","#,
            r#""exit":{"code":1},"output":"x"}},"not_running":[{"name":"db","state":"failed","detail":"ended"}]}],"#,
            r#""recoveries":{"reboot":1,"reset":0,"restart":0},"dangers":[],"#,
            r#""moving":{"to":"hv3","method":"live","percent":40}}],"warnings":[],"leader":"hv2","#,
            r#""quorum":{"state":"lost","voters":3,"heard":1,"needed":2,"silent":["hv2","hv3"],"means":["m"],"remedy":["r"]}}"#
        ),
    );
}

#[test]
fn unknown_fields_are_passed_over() {
    let text = r#"{"version":1,"ask":"status","colour":"red"}"#;
    assert_eq!(serde_json::from_str::<Request>(text).expect("a newer asker").ask, Ask::Status);
    let text = r#"{"version":1,"ask":"events"}"#;
    let events = Ask::Events { after: 0, group: None, follow: false };
    assert_eq!(serde_json::from_str::<Request>(text).expect("an older asker").ask, events);
}

#[test]
fn the_state_on_disk() {
    let mut restarts = Attempts::default();
    restarts.count(Instant::from_nanos(9), Duration::from_secs(1));
    let group = SavedGroup { epoch: 4, had_controller: true, restarts, ..SavedGroup::default() };
    let mut saved = Saved { version: STATE_VERSION, boot_id: "b".into(), ..Saved::default() };
    saved.groups.insert("web".into(), group);
    frozen(
        &saved,
        concat!(
            r#"{"version":2,"boot_id":"b","groups":{"web":{"epoch":4,"ordered":0,"suspended":null,"start_pending":true,"#,
            r#""had_controller":true,"given_up":null,"recoveries":0,"reboots":[],"resets":[],"restarts":[9]}}}"#
        ),
    );
    let shorter = r#"{"version":2,"boot_id":"b","groups":{"web":{"epoch":4}}}"#;
    let group = &serde_json::from_str::<Saved>(shorter).expect("fields may be missing").groups["web"];
    assert_eq!(group.epoch, 4);
}
