//! What comes in from the network: without the key nothing is opened, whatever it is; and whatever a host with the key says is
//! decoded or refused, and what is decoded is encoded to the same meaning, sealed or not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roost::driver::udp::keys::{Key, Keys};
use roost::driver::udp::seal::Seal;
use roost_proto::cluster::codec::MAX_PLAINTEXT;
use roost_proto::cluster::{DATAGRAM_VERSIONS, Datagram, HostId, Incarnation};

const A: HostId = HostId(0xa);
const B: HostId = HostId(0xb);

fn host(me: HostId) -> Seal {
    let keys = Keys::new(vec![Key::new([1; 32])]).expect("one");
    let mut seal = Seal::new(me, Incarnation { start: 5, boot: 7 }, "lab", DATAGRAM_VERSIONS, keys);
    seal.set_peers([A, B]);
    seal
}

fuzz_target!(|bytes: &[u8]| {
    // A genuine one, changed by the input: each byte of it at its place. It is compared with nothing that the input may become,
    // because the fuzzer watches comparisons, and would learn what is genuine.
    let mut changed = host(A).seal(B, &Datagram::default());
    changed.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
    let is_genuine = bytes.iter().take(changed.len()).all(|change| *change == 0);
    assert_eq!(host(B).open(&changed).is_ok(), is_genuine);
    // Life 5 has sealed nothing for this host, so whatever the input is, it is made up.
    let mut stranger = host(HostId(0xc));
    stranger.set_peers([A, B]);
    assert!(stranger.open(bytes).is_err());

    if let Ok(datagram) = Datagram::decode(bytes) {
        let again = datagram.encode();
        assert_eq!(Datagram::decode(&again).as_ref(), Ok(&datagram));
        if again.len() <= MAX_PLAINTEXT {
            let opened = host(B).open(&host(A).seal(B, &datagram)).expect("its own bytes");
            assert_eq!(opened.datagram, datagram);
        }
    }
});
