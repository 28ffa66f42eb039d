//! Hosts that speak over real sockets on loopback: what is wrong on the wire is refused, told of in a sentence that helps, and
//! harms nothing.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roost::driver::clock;
use roost::driver::udp::complaints::{Complaint, Kind, MAX_REMEMBERED};
use roost::driver::udp::keys::{Key, Keys};
use roost::driver::udp::replay::{TWIN_AFTER, WINDOW};
use roost::driver::udp::seal::{Opened, Seal};
use roost::driver::udp::{Peer, Setup, Udp};
use roost_proto::cluster::codec::{MAX_PLAINTEXT, OVERHEAD};
use roost_proto::cluster::{
    Beat, DATAGRAM_VERSIONS, Datagram, Echo, HostId, Incarnation, LedgerId, Life, MAX_DATAGRAM, Stamp,
};
use roost_proto::link::Versions;
use roost_proto::time::Instant;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long anything is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn keys(bytes: &[u8]) -> Keys {
    Keys::new(bytes.iter().map(|byte| Key::new([*byte; 32])).collect()).expect("some")
}

fn life(start: u32) -> Incarnation {
    Incarnation { start, boot: 7 }
}

fn host(name: &str, start: u32, addresses: &[&str]) -> Udp {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    let (name, cluster) = (name.to_owned(), "lab".to_owned());
    let setup = Setup { name, cluster, incarnation: life(start), keys: keys(&[1]), addresses, peers: vec![] };
    Udp::new(setup).expect("loopback")
}

fn peer(name: &str, addresses: Vec<SocketAddr>) -> Peer {
    Peer { id: HostId::of(name), name: name.to_owned(), addresses }
}

/// The hosts `a` and `b`, which know each other.
fn pair(addresses: &[&str]) -> (Udp, Udp) {
    let (mut a, mut b) = (host("a", 5, addresses), host("b", 6, addresses));
    a.set_peers(vec![peer("b", b.addresses())]);
    b.set_peers(vec![peer("a", a.addresses())]);
    (a, b)
}

fn said(stamp: u64) -> Datagram {
    let beat = Beat { stamp: Stamp(stamp), echo: None, applied: 3, life: Life::Leased };
    Datagram { ledger: LedgerId(9), beat: Some(beat), messages: vec![] }
}

fn stamp(datagram: &Datagram) -> u64 {
    datagram.beat.expect("all have one").stamp.0
}

/// Waits until the descriptor is readable; false when nothing came for so long.
fn readable(udp: &Udp, patience: Duration) -> bool {
    let patience = PollTimeout::try_from(patience).expect("short");
    poll(&mut [PollFd::new(udp.fd(), PollFlags::POLLIN)], patience).expect("poll(2)") > 0
}

fn hear(udp: &mut Udp) -> Opened {
    let end = clock::now() + PATIENCE;
    loop {
        if let Some(opened) = udp.poll() {
            return opened;
        }
        assert!(readable(udp, PATIENCE) && clock::now() < end, "nothing came: {:?}", udp.stats());
    }
}

/// Reads until so many datagrams came in; returns what was handed on.
fn until_received(udp: &mut Udp, datagrams: u64) -> Vec<Opened> {
    let (mut heard, end) = (Vec::new(), clock::now() + PATIENCE);
    while udp.stats().received.datagrams < datagrams {
        assert!(readable(udp, PATIENCE) && clock::now() < end, "{:?}", udp.stats());
        while let Some(opened) = udp.poll() {
            heard.push(opened);
        }
    }
    heard
}

/// Sends `bytes` to `udp` from an address of nobody, and returns what it complains of.
fn complaint_about(udp: &mut Udp, from: &UdpSocket, datagrams: &[Vec<u8>]) -> Vec<Complaint> {
    for bytes in datagrams {
        let before = udp.stats().received.datagrams;
        from.send_to(bytes, udp.addresses()[0]).expect("loopback");
        assert_eq!(until_received(udp, before + 1), [], "nothing of it is handed on");
    }
    udp.take_complaints(clock::now())
}

/// One complaint of that kind, with these words in it.
#[track_caller]
fn one(told: &[Complaint], kind: Kind, words: &[&str]) {
    let [complaint] = told else { panic!("not one complaint: {told:?}") };
    let text = complaint.to_string();
    assert_eq!(complaint.kind, kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn the_first_copy_counts_whichever_network_brings_it() {
    let (mut a, mut b) = pair(&["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]);
    a.send(HostId::of("b"), &said(1));
    let heard = until_received(&mut b, 3);
    assert_eq!(heard, [Opened { from: HostId::of("a"), incarnation: life(5), datagram: said(1) }]);
    assert_eq!((b.stats().accepted, b.stats().copies), (1, 2));
    assert_eq!(b.take_complaints(clock::now()), []);
    let length = (said(1).encode().len() + OVERHEAD) as u64;
    assert_eq!((a.stats().sent.datagrams, b.stats().received.datagrams), (3, 3));
    assert_eq!(a.stats().sent.bytes, 3 * (length + 14 + 8) + 20 + 20 + 40, "with all headers");
    assert_eq!(b.stats().received.bytes, a.stats().sent.bytes);

    // Two networks are gone: one socket listens elsewhere, and an address is of no network at all.
    b.set_addresses(&[b.addresses()[1]]).expect("as before");
    a.send(HostId::of("b"), &said(2));
    assert_eq!(stamp(&hear(&mut b).datagram), 2);
}

#[test]
fn the_longest_datagram_goes_through_and_a_longer_one_is_garbage() {
    let (mut a, mut b) = pair(&["127.0.0.1:0"]);
    let entry = |bytes: usize| {
        let reason = "x".repeat(bytes);
        let decision =
            roost_proto::cluster::decision::Decision::GiveUp { group: "web".into(), epoch: 1, reason };
        roost_proto::cluster::Message::Ask(roost_proto::cluster::decision::Entry { asked: None, decision })
    };
    let of = |bytes: usize| Datagram { messages: vec![entry(bytes)], ..said(1) };
    let longest =
        (1000..).take_while(|bytes| of(*bytes).encode().len() <= MAX_PLAINTEXT).last().expect("some");
    a.send(HostId::of("b"), &of(longest));
    assert_eq!(hear(&mut b).datagram, of(longest));
    assert_eq!(b.stats().received.bytes, MAX_DATAGRAM as u64 + 14 + 20 + 8, "not a byte is unused");
    let nobody = UdpSocket::bind("127.0.0.9:0").expect("loopback");
    one(&complaint_about(&mut b, &nobody, &[vec![0x11; 4000]]), Kind::Garbage, &["127.0.0.9"]);
}

#[test]
fn each_thing_that_is_wrong_is_told_with_what_to_do() {
    let nobody = UdpSocket::bind("127.0.0.9:0").expect("loopback");
    let b_id = HostId::of("b");
    let seal = |name: &str, cluster: &str, listed: &[u8], versions: Versions| {
        Seal::new(HostId::of(name), life(5), cluster, versions, keys(listed)).seal(b_id, &said(1))
    };
    let now = DATAGRAM_VERSIONS;
    let next = Versions { oldest: now.newest + 1, newest: now.newest + 2 };
    let genuine = seal("a", "lab", &[1], now);
    let mut changed = genuine.clone();
    *changed.last_mut().expect("long") ^= 1;
    let truncated = genuine[..genuine.len() - 1].to_vec();
    let to_another =
        Seal::new(HostId::of("a"), life(5), "lab", now, keys(&[1])).seal(HostId::of("c"), &said(1));
    let cases = [
        (seal("a", "lab", &[2], now), Kind::NoKey, ["'a'", "key file"]),
        (seal("a", "other", &[1], now), Kind::OtherCluster, ["another cluster", "'name'"]),
        (seal("a", "lab", &[1], next), Kind::OtherVersion, ["version", "upgrade"]),
        (seal("stranger", "lab", &[1], now), Kind::UnknownHost, ["does not name", "roost.toml"]),
        (seal("b", "lab", &[1], now), Kind::OwnName, ["'b'", "another name"]),
        (
            b"GET / HTTP/1.1\r\nHost: hv1\r\nAccept: everything\r\n\r\n".to_vec(),
            Kind::Garbage,
            ["no datagram", "port"],
        ),
        (vec![], Kind::Garbage, ["no datagram", "port"]),
        (changed, Kind::Forged, ["'a'", "not genuine"]),
        (truncated, Kind::Forged, ["'a'", "not genuine"]),
        (to_another, Kind::Forged, ["another host", "addresses"]),
    ];
    for (bytes, kind, words) in cases {
        let (_a, mut b) = pair(&["127.0.0.1:0"]);
        let told = complaint_about(&mut b, &nobody, &[bytes.clone(), bytes]);
        one(&told, kind, &[&words[..], &["127.0.0.9", "(2 times)"]].concat());
        assert_eq!(b.stats().refused.get(&kind), Some(&2));
    }
}

#[test]
fn what_is_repeated_is_refused_and_told() {
    let nobody = UdpSocket::bind("127.0.0.9:0").expect("loopback");
    let (_a, mut b) = pair(&["127.0.0.1:0"]);
    let to = HostId::of("b");
    let mut a = Seal::new(HostId::of("a"), life(5), "lab", DATAGRAM_VERSIONS, keys(&[1]));
    let first = a.seal(to, &said(1));
    nobody.send_to(&first, b.addresses()[0]).expect("loopback");
    assert_eq!(stamp(&hear(&mut b).datagram), 1);
    one(&b.take_complaints(clock::now()), Kind::Elsewhere, &["'a'", "127.0.0.9", "none of its addresses"]);
    one(&complaint_about(&mut b, &nobody, std::slice::from_ref(&first)), Kind::Doubled, &["'a'", "twice"]);

    let newer = (0..WINDOW).map(|_| a.seal(to, &said(2))).last().expect("many");
    nobody.send_to(&newer, b.addresses()[0]).expect("loopback");
    assert_eq!(stamp(&hear(&mut b).datagram), 2);
    one(
        &complaint_about(&mut b, &nobody, std::slice::from_ref(&first)),
        Kind::Replayed,
        &["'a'", "somebody repeats"],
    );

    let restarted =
        Seal::new(HostId::of("a"), life(9), "lab", DATAGRAM_VERSIONS, keys(&[1])).seal(to, &said(3));
    nobody.send_to(&restarted, b.addresses()[0]).expect("loopback");
    assert_eq!(hear(&mut b).incarnation, life(9));
    one(&complaint_about(&mut b, &nobody, &[first, newer]), Kind::OldLife, &["'a'", "before the last start"]);
}

#[test]
fn two_hosts_with_one_name_are_told_of_and_one_is_heard() {
    let mut b = host("b", 6, &["127.0.0.1:0"]);
    let (mut one_a, mut other_a) = (host("a", 5, &["127.0.0.3:0"]), host("a", 8, &["127.0.0.4:0"]));
    b.set_peers(vec![peer("a", [one_a.addresses(), other_a.addresses()].concat())]);
    one_a.set_peers(vec![peer("b", b.addresses())]);
    other_a.set_peers(vec![peer("b", b.addresses())]);
    let mut heard = Vec::new();
    for round in 0..2 * u64::from(TWIN_AFTER) {
        one_a.send(HostId::of("b"), &said(round));
        heard.extend(until_received(&mut b, 2 * round + 1));
        other_a.send(HostId::of("b"), &said(round));
        heard.extend(until_received(&mut b, 2 * round + 2));
    }
    let (said, rival): (Vec<_>, Vec<_>) =
        heard.into_iter().partition(|opened| opened.datagram.beat.is_some());
    let older = said.iter().filter(|opened| opened.incarnation == life(5)).count();
    assert_eq!((older, said.len()), (1, 1 + 2 * TWIN_AFTER as usize), "only until the newer one spoke");
    // That the older one goes on is handed on, and nothing that it says.
    assert!(rival.len() > TWIN_AFTER as usize);
    assert!(
        rival.iter().all(|opened| opened.incarnation == life(5) && opened.datagram == Datagram::default())
    );
    let told = b.take_complaints(clock::now());
    let twin: Vec<&Complaint> = told.iter().filter(|complaint| complaint.kind == Kind::Twin).collect();
    let [twin] = twin[..] else { panic!("{told:?}") };
    let text = twin.to_string();
    assert!(text.starts_with("127.0.0.3: two hosts go by the name 'a'"), "{text}");
}

#[test]
fn keys_are_replaced_while_hosts_talk() {
    let (mut a, mut b) = pair(&["127.0.0.1:0"]);
    let mut stamps = 0;
    let mut talk = |one: &mut Udp, other: &mut Udp, names: [&str; 2]| {
        stamps += 1;
        one.send(HostId::of(names[1]), &said(stamps));
        assert_eq!(stamp(&hear(other).datagram), stamps);
        other.send(HostId::of(names[0]), &said(stamps));
        assert_eq!(stamp(&hear(one).datagram), stamps);
    };
    for (round, step) in [&[1_u8, 2][..], &[2, 1], &[2]].into_iter().enumerate() {
        let (first, second) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        first.set_keys(keys(step));
        talk(&mut *first, &mut *second, if round % 2 == 0 { ["a", "b"] } else { ["b", "a"] });
        second.set_keys(keys(step));
        talk(&mut *first, &mut *second, if round % 2 == 0 { ["a", "b"] } else { ["b", "a"] });
    }
    assert_eq!((a.take_complaints(clock::now()), b.take_complaints(clock::now())), (vec![], vec![]));
}

#[test]
fn an_address_that_comes_later_is_waited_for_and_what_cannot_be_sent_is_told() {
    let mut a = host("a", 5, &["192.0.2.77:0", "[2001:db8::77]:0"]); // for documentation: of no machine
    assert_eq!(a.addresses().len(), 2);
    a.set_peers(vec![peer("b", vec!["127.0.0.1:9".parse().expect("good")])]);
    drop(a);
    let mut a = host("a", 5, &["127.0.0.1:0"]);
    a.set_peers(vec![peer("b", vec!["[::1]:9".parse().expect("good")])]);
    a.send(HostId::of("b"), &said(1));
    one(&a.take_complaints(clock::now()), Kind::NotSent, &["::1", "'b'", "no address of its kind"]);
    assert_eq!(a.stats().not_sent, 1);
    let taken = a.addresses()[0];
    let error = host("b", 5, &[]).set_addresses(&[taken]).expect_err("taken").to_string();
    assert!(error.contains(&format!("cannot listen on '{taken}'")), "{error}");
}

/// However much waits, the daemon has its turn; the descriptor says that there is more.
#[test]
fn a_full_socket_is_read_in_parts() {
    let (mut a, mut b) = pair(&["127.0.0.1:0", "127.0.0.2:0"]);
    let nobody = UdpSocket::bind("127.0.0.9:0").expect("loopback");
    for _ in 0..1000 {
        nobody.send_to(&[0x47; 60], b.addresses()[0]).expect("loopback");
    }
    a.send(HostId::of("b"), &said(1));
    assert_eq!(b.poll().map(|opened| stamp(&opened.datagram)), Some(1), "the other network has its turn");
    assert_eq!(b.poll(), None);
    let read = b.stats().received.datagrams;
    assert!((10..=256).contains(&read), "{read}");
    assert!(readable(&b, Duration::ZERO), "and there is more");
    until_received(&mut b, 1002);
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
}

/// 50,000 datagrams a second, of every kind that a stranger can send, for three seconds; two hosts exchange beats through it. No
/// answer may be missed for as long as would make a host suspect.
#[test]
fn beats_are_answered_through_a_flood() {
    const RATE: u64 = 50_000;
    const FLOOD: Duration = Duration::from_secs(3);
    let (mut a, mut b) = pair(&["127.0.0.1:0"]);
    let target = b.addresses()[0];
    let to = HostId::of("b");
    let sealed = |name: &str, cluster: &str, listed: &[u8]| {
        Seal::new(HostId::of(name), life(5), cluster, DATAGRAM_VERSIONS, keys(listed)).seal(to, &said(1))
    };
    let genuine = sealed("a", "lab", &[1]);
    let mut forged = sealed("a", "lab", &[1]);
    *forged.last_mut().expect("long") ^= 1;
    let kinds = [
        vec![0x47; 60],
        vec![0; MAX_DATAGRAM],
        sealed("a", "other", &[1]),
        sealed("stranger", "lab", &[1]),
        sealed("a", "lab", &[2]),
        genuine, // once it is new; then it is a replay
        forged,
    ];

    let (over, flooded) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flood = {
        let (over, flooded) = (Arc::clone(&over), Arc::clone(&flooded));
        std::thread::spawn(move || {
            let sources: Vec<UdpSocket> =
                (10..14).map(|n| UdpSocket::bind(format!("127.0.0.{n}:0")).expect("loopback")).collect();
            let begin = clock::now();
            let mut sent = 0_usize;
            while clock::now().since(begin) < FLOOD {
                let due =
                    u64::try_from(clock::now().since(begin).as_micros()).expect("short") * RATE / 1_000_000;
                if sent as u64 >= due {
                    std::thread::yield_now();
                    continue;
                }
                if sources[sent % sources.len()].send_to(&kinds[sent % kinds.len()], target).is_ok() {
                    sent += 1;
                }
            }
            flooded.store(sent as u64, Ordering::SeqCst);
            over.store(true, Ordering::SeqCst);
        })
    };
    // The host under attack answers each beat.
    let under_attack = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let (before, mut most, mut told) = (resident(), 0, 0);
            while !over.load(Ordering::SeqCst) {
                readable(&b, Duration::from_millis(20));
                while let Some(opened) = b.poll() {
                    let stamp = opened.datagram.beat.expect("all have one").stamp;
                    let echo = Echo { start: 5, stamp, admitted: true };
                    let beat = Beat { stamp: Stamp(0), echo: Some(echo), applied: 3, life: Life::Leased };
                    b.send(
                        opened.from,
                        &Datagram { ledger: LedgerId(9), beat: Some(beat), messages: vec![] },
                    );
                }
                told += b.take_complaints(clock::now()).len();
                most = most.max(resident());
            }
            (b, most.saturating_sub(before), told)
        })
    };
    // The other one beats ten times faster than by default, and measures.
    let (mut beats, mut answered, mut longest) = (0, 0, Duration::ZERO);
    let mut last: Instant = clock::now();
    while !over.load(Ordering::SeqCst) {
        beats += 1;
        a.send(to, &said(beats));
        let next = clock::now() + Duration::from_millis(25);
        while clock::now() < next {
            readable(&a, next.since(clock::now()).max(Duration::from_millis(1)));
            while let Some(opened) = a.poll() {
                let echo = opened.datagram.beat.and_then(|beat| beat.echo).expect("an answer");
                if echo.stamp.0 > 1 {
                    answered += 1;
                    longest = longest.max(clock::now().since(last));
                    last = clock::now();
                }
            }
        }
    }
    longest = longest.max(clock::now().since(last));
    flood.join().expect("the flood ends");
    let (b, grown, told) = under_attack.join().expect("the host lives");
    let rate = flooded.load(Ordering::SeqCst) / FLOOD.as_secs();
    let received = b.stats().received.datagrams;
    println!(
        "flood of {rate}/s: {answered} of {beats} beats answered, longest gap {longest:?}; {received} datagrams looked at; \
         {} KiB more memory; {told} complaints",
        grown / 1024
    );
    assert!(rate > RATE * 8 / 10, "the flood was none: {rate}/s");
    assert!(longest < Duration::from_millis(1500), "a host would be suspected: {longest:?}");
    assert!(answered * 2 > beats, "{answered} of {beats}");
    assert!(grown < 16 << 20, "{grown} bytes");
    assert!((5..=MAX_REMEMBERED + 15).contains(&told), "{told}");
}

#[test]
fn keygen_makes_a_key_that_the_daemon_takes() {
    let dir = std::env::temp_dir().join(format!("roost-keygen-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a fresh folder");
    let file = dir.join("key");
    let keygen = || {
        let output =
            Command::new(env!("CARGO_BIN_EXE_roost")).arg("keygen").arg(&file).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (exit, out, err) = keygen();
    assert_eq!((exit, err.as_str()), (Some(0), ""));
    assert!(
        out.contains(&format!("'{}' holds a new key", file.display())) && out.contains("/etc/roost/key"),
        "{out}"
    );
    assert_eq!(std::fs::metadata(&file).expect("made").mode() & 0o7777, 0o600);
    let mut text = String::new();
    std::fs::File::open(&file).and_then(|mut file| file.read_to_string(&mut text)).expect("ours");
    let digits = text.split_whitespace().last().expect("a key");
    assert!(!out.contains(digits), "a key is not shown");
    if nix::unistd::geteuid().is_root() {
        Keys::read(&file).expect("what roostd reads");
    }
    let (exit, out, err) = keygen();
    assert_eq!((exit, out.as_str()), (Some(75), ""));
    assert!(err.contains("exists") && err.contains("roost(8)"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).expect("ours"), text);
    std::fs::remove_dir_all(&dir).expect("ours");
}
