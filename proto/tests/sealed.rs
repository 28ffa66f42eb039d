//! Sealed links: their frozen bytes, and that nothing but what the other side sealed is ever opened, in its order, once.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;
use roost_proto::key::Secret;
use roost_proto::name::MAX_NAME;
use roost_proto::sealed::{Broken, Call, Called, Caller, MAX_CONTENTS, Random, Session};

const KEY: Secret = Secret([0x11; 32]);
const MACHINE: Random = [0xa1; 16];
const HOST: Random = [0xb2; 16];

fn called(greeting: &[u8]) -> Call {
    Called::default().hear(greeting).expect("a greeting").expect("the whole of it")
}

/// Both sides, when both have greeted.
fn greeted(machine: &Secret, host: &[Secret], random: (Random, Random)) -> (Session, Session) {
    let mut caller = Caller::new(machine.clone(), "db3", random.0);
    let call = called(caller.greeting());
    assert_eq!(call.machine(), "db3");
    let (answer, host) = call.answer(host, random.1);
    (caller.hear(&answer).expect("a greeting").expect("the whole of it"), host)
}

fn sealed(session: &mut Session, contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.seal(contents, &mut bytes);
    bytes
}

fn opened(session: &mut Session, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut contents = Vec::new();
    session.open(bytes, &mut contents).map(|()| contents)
}

/// Both sides, each of which has proven itself.
fn proven() -> (Session, Session) {
    let (mut machine, mut host) = greeted(&KEY, &[KEY], (MACHINE, HOST));
    assert_eq!(opened(&mut host, &sealed(&mut machine, b"hello")), Ok(b"hello".to_vec()));
    assert_eq!(opened(&mut machine, &sealed(&mut host, b"welcome")), Ok(b"welcome".to_vec()));
    assert!(machine.is_proven() && host.is_proven());
    (machine, host)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As a program of a few lines computed them from what roost-protocol(7) says.
#[test]
fn the_bytes_of_version_1() {
    let (random, own) = ("a1".repeat(16), "b2".repeat(16));
    let caller = Caller::new(KEY, "db3", MACHINE);
    assert_eq!(hex(caller.greeting()), format!("5253545301{random}03646233"));
    let (answer, _) = called(caller.greeting()).answer(&[KEY], HOST);
    assert_eq!(hex(&answer), format!("5253545301{own}"));
    let (mut machine, mut host) = greeted(&KEY, &[KEY], (MACHINE, HOST));
    let first = sealed(&mut machine, b"hello");
    assert_eq!(hex(&first), "1500f157890791a79131240bfbac69302c325e12ca31a2");
    opened(&mut host, &first).expect("genuine");
    assert_eq!(hex(&sealed(&mut machine, b"hello")), "15003f53c90a47298a5c0be6c30da4b50ff36b31dc1181");
    assert_eq!(hex(&sealed(&mut host, b"hello")), "1500db501047fb286e5bddaab614f5bdbadc4c723c38d3");
}

/// The vector of draft-irtf-cfrg-xchacha-03, section 2.2.1, by which keys are made.
#[test]
fn keys_are_made_as_the_draft_has_it() {
    let key: [u8; 32] = core::array::from_fn(|at| u8::try_from(at).expect("32"));
    let input = [0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0, 0x31, 0x41, 0x59, 0x27];
    let made: [u8; 32] = chacha20::hchacha::<chacha20::R20>(&key.into(), &input.into()).into();
    assert_eq!(hex(&made), "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc");
}

#[test]
fn garbage_is_no_greeting() {
    let refused = |bytes: &[u8]| Called::default().hear(bytes).expect_err("refused");
    assert_eq!(refused(b"GET / HTTP/1.0\r\n"), Broken::Greeting);
    assert_eq!(refused(b"RSTX"), Broken::Greeting);
    assert_eq!(refused(b"RSTS\x02"), Broken::Version(2));
    let good = Caller::new(KEY, "db3", MACHINE).greeting().to_vec();
    assert_eq!(
        refused(&[&good[..], b"x"].concat()),
        Broken::Greeting,
        "nobody says more before he is answered"
    );
    for name in ["", "a b", "-a", "\u{e4}", &"x".repeat(MAX_NAME + 1)] {
        let length = u8::try_from(name.len()).expect("short");
        assert_eq!(refused(&[&good[..21], &[length], name.as_bytes()].concat()), Broken::Greeting, "{name}");
    }
    let mut caller = Caller::new(KEY, "db3", MACHINE);
    let (answer, _) = called(caller.greeting()).answer(&[KEY], HOST);
    assert_eq!(caller.hear(&[&answer[..], b"x"].concat()).expect_err("refused"), Broken::Greeting);
    assert_eq!(Caller::new(KEY, "db3", MACHINE).hear(&[0; 21]).expect_err("refused"), Broken::Greeting);
}

#[test]
fn greetings_may_come_in_pieces() {
    let mut caller = Caller::new(KEY, &"x".repeat(MAX_NAME), MACHINE);
    let (mut host, greeting) = (Called::default(), caller.greeting().to_vec());
    let mut call = None;
    for byte in &greeting {
        assert!(call.is_none());
        call = host.hear(&[*byte]).expect("a good one");
    }
    let (answer, _) = call.expect("the whole of it").answer(&[KEY], HOST);
    let heard: Vec<bool> = answer.iter().map(|byte| caller.hear(&[*byte]).expect("good").is_some()).collect();
    assert_eq!(heard.iter().position(|is| *is), Some(answer.len() - 1));
}

#[test]
fn who_has_another_key_proves_nothing_to_either_side() {
    let other = Secret([0x12; 32]);
    let (mut machine, mut host) = greeted(&other, &[KEY], (MACHINE, HOST));
    assert_eq!(opened(&mut host, &sealed(&mut machine, b"hello")), Err(Broken::Stranger));
    assert!(!host.is_proven());
    // And a host that takes any record of the machine's for a good one has none to answer with.
    let (mut liar, mut accomplice) = greeted(&other, core::slice::from_ref(&other), (MACHINE, HOST));
    opened(&mut accomplice, &sealed(&mut liar, b"hello")).expect("their own");
    let (mut machine, _) = greeted(&KEY, &[KEY], (MACHINE, HOST));
    assert_eq!(opened(&mut machine, &sealed(&mut accomplice, b"welcome")), Err(Broken::Stranger));
}

#[test]
fn a_host_may_know_a_machine_by_its_old_and_its_new_key() {
    let keys = [Secret([0x12; 32]), KEY];
    let (mut machine, mut host) = greeted(&KEY, &keys, (MACHINE, HOST));
    opened(&mut host, &sealed(&mut machine, b"hello")).expect("the second key is the one");
    opened(&mut machine, &sealed(&mut host, b"welcome")).expect("and answers");
    opened(&mut host, &sealed(&mut machine, b"beat")).expect("and goes on");
}

#[test]
fn a_recorded_conversation_gets_nowhere() {
    let (mut machine, mut host) = greeted(&KEY, &[KEY], (MACHINE, HOST));
    let hello = sealed(&mut machine, b"hello");
    opened(&mut host, &hello).expect("genuine");
    let welcome = sealed(&mut host, b"welcome");
    // To a host, which draws anew; and to a machine, which does so too.
    let (_, mut host) = greeted(&KEY, &[KEY], (MACHINE, [0xb3; 16]));
    assert_eq!(opened(&mut host, &hello), Err(Broken::Stranger));
    let (mut machine, _) = greeted(&KEY, &[KEY], ([0xa2; 16], HOST));
    assert_eq!(opened(&mut machine, &welcome), Err(Broken::Stranger));
}

#[test]
fn who_somebody_says_he_is_is_proven_too() {
    let caller = Caller::new(KEY, "db3", MACHINE);
    let mut changed = caller.greeting().to_vec();
    *changed.last_mut().expect("a name") = b'4';
    let (answer, mut host) = called(&changed).answer(&[KEY], HOST);
    let mut caller = caller;
    let mut machine = caller.hear(&answer).expect("a greeting").expect("the whole of it");
    assert_eq!(opened(&mut host, &sealed(&mut machine, b"hello")), Err(Broken::Stranger));
}

#[test]
fn what_one_side_said_is_not_taken_for_the_others() {
    let (mut machine, mut host) = proven();
    let said = sealed(&mut machine, b"beat");
    assert_eq!(opened(&mut machine, &said), Err(Broken::Forged));
    let said = sealed(&mut host, b"beat");
    assert_eq!(opened(&mut host, &said), Err(Broken::Forged));
}

#[test]
#[should_panic(expected = "nothing is said to a stranger")]
fn a_host_says_nothing_before_the_machine_is_proven() {
    let (_, mut host) = greeted(&KEY, &[KEY], (MACHINE, HOST));
    sealed(&mut host, b"welcome");
}

#[test]
fn records_have_their_limits() {
    let (mut machine, mut host) = proven();
    let long = vec![7; 2 * MAX_CONTENTS + 1];
    let bytes = sealed(&mut machine, &long);
    assert_eq!(bytes.len(), long.len() + 3 * 18, "three records");
    assert_eq!(opened(&mut host, &bytes), Ok(long));
    for length in [0, 16, MAX_CONTENTS + 17] {
        let (_, mut host) = proven();
        let header = u16::try_from(length).expect("16 bits").to_le_bytes();
        assert_eq!(opened(&mut host, &header), Err(Broken::Length(length)));
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_however_it_is_cut(all: Vec<Vec<u8>>, step in 1_usize..64) {
        let (mut machine, mut host) = proven();
        let mut bytes = Vec::new();
        all.iter().for_each(|contents| machine.seal(contents, &mut bytes));
        let mut contents = Vec::new();
        for piece in bytes.chunks(step) {
            host.open(piece, &mut contents).expect("genuine");
        }
        prop_assert_eq!(contents, all.concat());
        prop_assert!(!host.is_partial());
    }

    #[test]
    fn any_change_on_the_way_is_refused(contents: Vec<u8>, at: Index, bit in 0_u8..8) {
        let (mut machine, mut host) = proven();
        let mut bytes = sealed(&mut machine, &[&contents[..], b"x"].concat());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // A greater length makes it wait for what does not come.
        prop_assert!(opened(&mut host, &bytes).map_or(true, |contents| contents.is_empty()));
    }

    #[test]
    fn records_are_opened_in_their_order_and_once(first: u8, second: u8, which in 0..4_u8) {
        let (mut machine, mut host) = proven();
        let (one, two) = (sealed(&mut machine, &[first]), sealed(&mut machine, &[second, 0]));
        let wrong = match which {
            0 => [&two[..], &one].concat(), // swapped
            1 => [&one[..], &one].concat(), // repeated
            2 => two.clone(),               // left out
            _ => [&one[..one.len() - 1], &two].concat(), // cut
        };
        prop_assert_eq!(opened(&mut host, &wrong), Err(Broken::Forged));
    }

    #[test]
    fn any_bytes_are_refused_or_waited_for(bytes: Vec<u8>, greets: bool) {
        let mut greeting = if greets { b"RSTS\x01".to_vec() } else { Vec::new() };
        greeting.extend_from_slice(&bytes);
        let _ = Called::default().hear(&greeting);
        let _ = Caller::new(KEY, "db3", MACHINE).hear(&greeting);
        let (_, mut host) = greeted(&KEY, &[KEY], (MACHINE, HOST));
        prop_assert!(opened(&mut host, &bytes).is_ok_and(|contents| contents.is_empty()) || !host.is_proven());
    }

    #[test]
    fn every_connection_has_keys_of_its_own(machine in any::<Random>(), host in any::<Random>()) {
        let (mut one, _) = greeted(&KEY, &[KEY], (MACHINE, HOST));
        let (mut other, _) = greeted(&KEY, &[KEY], (machine, host));
        prop_assert_eq!(sealed(&mut one, b"hello") == sealed(&mut other, b"hello"), (machine, host) == (MACHINE, HOST));
    }
}
