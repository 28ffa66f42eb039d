use super::super::keys::Key;
use super::*;
use proptest::prelude::{any, proptest};
use roost_proto::cluster::{Beat, LedgerId, Life, Message, Stamp};

const A: HostId = HostId(0xa);
const B: HostId = HostId(0xb);
const C: HostId = HostId(0xc);
/// Hosts that know format 1 alone, whatever is the newest today.
const FIRST: Versions = Versions { oldest: 1, newest: 1 };

fn keys(bytes: &[u8]) -> Keys {
    Keys::new(bytes.iter().map(|byte| Key::new([*byte; 32])).collect()).expect("some")
}

/// The host `me` in the life `start`, which knows A, B and C, and format 1.
fn host(me: HostId, start: u32, listed: &[u8]) -> Seal {
    versioned(me, start, listed, FIRST)
}

fn versioned(me: HostId, start: u32, listed: &[u8], versions: Versions) -> Seal {
    let boot = 0x0102_0304_0506_0708;
    let mut seal = Seal::new(me, Incarnation { start, boot }, "lab", versions, keys(listed));
    seal.set_peers([A, B, C].into_iter().filter(|host| *host != me));
    seal
}

fn said(stamp: u64) -> Datagram {
    let beat = Beat { stamp: Stamp(stamp), echo: None, applied: 3, life: Life::Leased };
    let answered =
        Message::LastAnswered { host: C, incarnation: Incarnation { start: 5, boot: 7 }, ago_ms: 900 };
    Datagram { ledger: LedgerId(9), beat: Some(beat), messages: vec![answered] }
}

#[test]
fn what_is_sealed_is_opened_by_its_receiver_alone() {
    let (mut a, mut b, mut c) = (host(A, 5, &[1]), host(B, 6, &[1]), host(C, 7, &[1]));
    let bytes = a.seal(B, &said(1));
    assert_eq!(c.open(&bytes), Err(Refused::Forged(A)));
    let opened = Opened { from: A, incarnation: a.incarnation, datagram: said(1) };
    assert_eq!(b.open(&bytes), Ok(opened));
    assert_eq!(b.open(&bytes), Err(Refused::Copy(A)));
}

/// The bytes of format 1, made by another implementation: a script that knows RFC 8439, the draft of XChaCha and the tables of these modules.
#[test]
fn golden_bytes() {
    let bytes = host(A, 0x11, &[1]).seal(B, &said(1000));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    let back = Seal::open(&mut host(B, 6, &[1]), &bytes).expect("its own bytes");
    assert_eq!(back.datagram, said(1000));
}

#[test]
fn cut_off_at_every_length_and_changed_in_every_bit_it_is_refused_and_changes_nothing() {
    let (mut a, mut b) = (host(A, 5, &[1]), host(B, 6, &[1]));
    let bytes = a.seal(B, &said(1));
    for length in 0..bytes.len() {
        let refused = b.open(&bytes[..length]).expect_err("cut off");
        assert_eq!(refused == Refused::Garbage, length < OVERHEAD, "{length}");
    }
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        b.open(&changed).expect_err("changed");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(b.open(&longer), Err(Refused::Forged(A)));
    assert_eq!(b.open(&vec![0; MAX_DATAGRAM + 1]), Err(Refused::Garbage));
    b.open(&bytes)
        .expect("whatever came before: the genuine one counts, and its life is the first that was heard");
}

#[test]
fn what_is_not_the_clusters_is_told_apart() {
    let mut b = host(B, 6, &[1]);
    let bytes = host(A, 5, &[2]).seal(B, &said(1));
    assert_eq!(b.open(&bytes), Err(Refused::NoKey(A)));
    let mut other = Seal::new(A, Incarnation { start: 5, boot: 1 }, "other", FIRST, keys(&[1]));
    assert_eq!(b.open(&other.seal(B, &said(1))), Err(Refused::OtherCluster));
    assert_eq!(
        b.open(&host(HostId(0xd), 5, &[1]).seal(B, &said(1))),
        Err(Refused::UnknownSender(HostId(0xd)))
    );
    let later = Versions { oldest: 2, newest: 3 };
    assert_eq!(b.open(&versioned(A, 5, &[1], later).seal(B, &said(1))), Err(Refused::OtherVersion(2)));
    assert_eq!(b.open(&[0x47; 100]), Err(Refused::Garbage));
}

/// Two names whose marks are the same: the key, copied from one cluster to the other, does not let their hosts talk.
#[test]
fn clusters_with_one_key_and_one_mark_stay_apart() {
    let twin = (0..).map(|n| format!("lab{n}")).find(|name| mark_of(name) == mark_of("lab")).expect("soon");
    let mut other = Seal::new(A, Incarnation { start: 5, boot: 1 }, &twin, FIRST, keys(&[1]));
    assert_eq!(host(B, 6, &[1]).open(&other.seal(B, &said(1))), Err(Refused::Forged(A)));
}

#[test]
fn keys_are_replaced_host_by_host_in_either_order() {
    // What the two hosts list while 1 is replaced by 2, in the steps of the manual; A goes first, then B does.
    let steps: [&[u8]; 4] = [&[1], &[1, 2], &[2, 1], &[2]];
    let (mut a, mut b) = (host(A, 5, steps[0]), host(B, 6, steps[0]));
    let talk = |a: &mut Seal, b: &mut Seal, when: &str| {
        let (to_b, to_a) = (a.seal(B, &said(1)), b.seal(A, &said(2)));
        b.open(&to_b).unwrap_or_else(|why| panic!("{when}: to B: {why:?}"));
        a.open(&to_a).unwrap_or_else(|why| panic!("{when}: to A: {why:?}"));
    };
    for step in &steps[1..] {
        a.set_keys(keys(step));
        talk(&mut a, &mut b, "A is ahead");
        b.set_keys(keys(step));
        talk(&mut a, &mut b, "both");
    }
    b.set_keys(keys(&[1]));
    assert_eq!(b.open(&a.seal(B, &said(3))), Err(Refused::NoKey(A)), "too early a step is seen");
}

#[test]
fn adjacent_versions_understand_each_other_whoever_speaks_first() {
    let range = |oldest, newest| Versions { oldest, newest };
    for (mine, theirs, first_is_read) in [
        (range(1, 1), range(1, 2), true),
        (range(1, 2), range(1, 1), true),
        (range(1, 2), range(2, 3), false),
    ] {
        let (mut a, mut b) = (versioned(A, 5, &[1], mine), versioned(B, 6, &[1], theirs));
        assert_eq!(b.open(&a.seal(B, &said(1))).is_ok(), first_is_read, "{mine:?} {theirs:?}");
        a.open(&b.seal(A, &said(1))).expect("understood");
        let bytes = a.seal(B, &said(2));
        assert_eq!(u16::from(bytes[0] & 0xf), mine.common(theirs).expect("adjacent"));
        b.open(&bytes).expect("understood by now");
        let bytes = b.seal(A, &said(2));
        assert_eq!(u16::from(bytes[0] & 0xf), mine.common(theirs).expect("adjacent"));
        a.open(&bytes).expect("understood");
    }
    let (mut old, mut new) = (versioned(A, 5, &[1], range(1, 1)), versioned(B, 6, &[1], range(2, 3)));
    assert_eq!(new.open(&old.seal(B, &said(1))), Err(Refused::OtherVersion(1)));
    assert_eq!(old.open(&new.seal(A, &said(1))), Err(Refused::OtherVersion(2)));
}

#[test]
fn after_a_downgrade_the_older_format_is_used_again_and_no_latecomer_undoes_that() {
    let both = Versions { oldest: 1, newest: 2 };
    let mut b = versioned(B, 6, &[1], both);
    let mut upgraded = versioned(A, 5, &[1], both);
    let late = upgraded.seal(B, &said(1));
    b.open(&upgraded.seal(B, &said(2))).expect("new");
    assert_eq!(b.seal(A, &said(1))[0], 0x22);
    b.open(&host(A, 6, &[1]).seal(B, &said(1))).expect("a new life, of the version before");
    assert_eq!(b.open(&late), Err(Refused::OldLife(A)));
    assert_eq!(b.seal(A, &said(1))[0], 0x21);
}

#[test]
fn a_life_that_is_over_is_refused_and_what_is_remembered_survives_a_reload() {
    let (mut before, mut after, mut b) = (host(A, 5, &[1]), host(A, 6, &[1]), host(B, 6, &[1]));
    let (old, new) = (before.seal(B, &said(1)), after.seal(B, &said(1)));
    b.open(&new).expect("new");
    assert_eq!(b.open(&old), Err(Refused::OldLife(A)));
    b.set_peers([A]);
    assert_eq!(b.open(&new), Err(Refused::Copy(A)));
    b.set_peers([C]);
    assert_eq!(b.open(&new), Err(Refused::UnknownSender(A)));
}

#[test]
fn no_two_datagrams_share_a_nonce() {
    let mut nonces = std::collections::BTreeSet::new();
    let mut sealed = 0;
    for (me, to) in [(A, B), (B, A), (C, A)] {
        for start in 5..8 {
            let mut seal = host(me, start, &[1]);
            for _ in 0..50 {
                let bytes = seal.seal(to, &said(1));
                nonces.insert(Header::decode(bytes.first_chunk().expect("long enough")).nonce());
                sealed += 1;
            }
        }
    }
    assert_eq!(nonces.len(), sealed);
}

#[test]
#[should_panic(expected = "the counter would come again")]
fn a_counter_that_is_spent_ends_the_daemon() {
    let mut a = host(A, 5, &[1]);
    a.counter = MAX_COUNTER - 1;
    assert_eq!(a.seal(B, &said(1))[20..26], [0xff; 6]);
    a.seal(B, &said(1));
}

/// What host A sends to B with these bytes inside.
fn sealed(version: u8, mut plain: Vec<u8>) -> Vec<u8> {
    let a = host(A, 5, &[1]);
    let key = a.keys.first();
    let header = Header { version, key: key.mark(), sender: A, incarnation: a.incarnation, counter: 1 };
    let clear = header.encode(a.mark);
    let tag = key.seal(header.nonce(), &proven(clear, B, "lab"), &mut plain);
    [&clear[..], &plain, &tag].concat()
}

#[test]
fn what_is_genuine_and_makes_no_sense_is_malformed() {
    let mut b = host(B, 6, &[1]);
    assert_eq!(b.open(&sealed(0x11, vec![0xff; 20])), Err(Refused::Malformed(A)));
}

#[test]
fn a_later_versions_beat_is_heard_whatever_else_it_says() {
    let unknown = [said(1).encode(), vec![3, 0, 99, 1]].concat(); // a kind of Raft message that is to come
    let mut b = host(B, 6, &[1]);
    assert_eq!(b.open(&sealed(0x11, unknown.clone())), Err(Refused::Malformed(A)));
    let mut b = host(B, 6, &[1]);
    let opened =
        b.open(&sealed(0x21, unknown)).expect("it can do more, and says it in a format that is known");
    assert_eq!((opened.datagram, b.newest(A)), (said(1), Some(2)));
}

proptest! {
    #[test]
    fn whatever_comes_in_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
        assert!(host(B, 6, &[1]).open(&bytes).is_err());
    }

    #[test]
    fn a_header_is_read_as_it_was_written(start: u32, boot: u64, counter in 0..=MAX_COUNTER, sender: u32) {
        let incarnation = Incarnation { start, boot };
        let header = Header { version: 0x21, key: 7, sender: HostId(sender), incarnation, counter };
        let back = Header::decode(&header.encode([1, 2]));
        assert_eq!((back.version, back.key, back.sender), (0x21, 7, HostId(sender)));
        assert_eq!((back.incarnation, back.counter), (incarnation, counter));
    }
}

const GOLDEN: &str = "1194f0d00a00000011000000080706050403020101000000000002f5ac599bf713354141eb1846d32ed33161e1791aed8e48fe848039775951355d";
