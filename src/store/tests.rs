use super::*;
use crate::engine::raft::Snapshot;
use roost_proto::cluster::raft::{LogEntry, Payload, Voters};
use roost_proto::cluster::{HostId, LedgerId};
use roost_proto::retry::Jitter;
use std::cell::RefCell;
use std::rc::Rc;

/// A disk in memory that fails when it is told to, half of the work done.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Disk>>);

#[derive(Default)]
struct Disk {
    file: Option<Vec<u8>>,
    /// Operations until one fails, and how many bytes of it are done all the same.
    fails_in: Option<(u32, usize)>,
}

impl Disk {
    fn fails(&mut self) -> Option<usize> {
        let (left, done) = self.fails_in.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let done = *done;
        self.fails_in = None;
        Some(done)
    }
}

impl Folder for Memory {
    fn read(&mut self, _name: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().file.clone())
    }

    fn append(&mut self, _name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let fails = disk.fails();
        let file = disk.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.truncate(usize::try_from(at).expect("small"));
        file.extend(&bytes[..fails.unwrap_or(usize::MAX).min(bytes.len())]);
        fails.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull.into()))
    }

    fn replace(&mut self, _name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        match disk.fails() {
            None => disk.file = Some(bytes.to_vec()),
            Some(done) => {
                if done > bytes.len() {
                    disk.file = Some(bytes.to_vec()); // renamed, and the folder's sync failed
                }
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }
}

const NEW: StorageId = StorageId(77);

/// A write that fits what is stored.
fn draw(jitter: &mut Jitter, state: &Stored, number: u64) -> Write {
    let base = state.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let last = base + state.entries.len() as u64;
    let term = state.term + jitter.draw() % 2;
    let mut records =
        vec![Record::Vote { term, voted_for: Some(HostId(3)).filter(|_| term.is_multiple_of(2)) }];
    match jitter.draw() % 8 {
        0 => {}
        1 => {
            let keep = jitter.draw().is_multiple_of(2);
            let index = if keep { base + jitter.draw() % (last - base + 1) } else { last + 2 };
            let (ledger, voters) = (LedgerId(9), Voters::from([(HostId(1), NEW)]));
            let data = vec![0; usize::try_from(jitter.draw() % 300).expect("small")].into();
            records.push(Record::Snapshot { snapshot: Snapshot { ledger, index, term, voters, data }, keep });
        }
        _ => {
            let first = last + 1 - jitter.draw() % (last - base + 1).min(3);
            let bytes = vec![0xf5; usize::try_from(jitter.draw() % 40).expect("small")];
            let entries = vec![LogEntry { term, payload: Payload::Data(bytes) }; 2];
            records.push(Record::Append { first, entries });
        }
    }
    Write { number, records }
}

fn after(state: &Stored, write: &Write) -> Stored {
    let mut state = state.clone();
    for record in write.records.clone() {
        take(&mut state, record).expect("it was drawn to fit");
    }
    state
}

fn opened(disk: &Memory) -> Result<Stored, OpenError> {
    Store::open(disk.clone(), StorageId(1)).map(|(_, stored)| stored)
}

#[test]
fn what_was_written_comes_back() {
    for seed in 0..50 {
        let mut jitter = Jitter::new(seed);
        let disk = Memory::default();
        let (mut store, mut state) = Store::open(disk.clone(), NEW).expect("new");
        assert_eq!(state, Stored { storage: NEW, ..Stored::default() });
        for number in 1..60 {
            let write = draw(&mut jitter, &state, number);
            store.write(&write).expect("it works");
            state = after(&state, &write);
            assert_eq!(opened(&disk).expect("good"), state, "seed {seed}, write {number}");
        }
    }
}

#[test]
fn a_failed_write_leaves_what_was_and_can_be_tried_again() {
    for seed in 0..300 {
        let mut jitter = Jitter::new(seed);
        let disk = Memory::default();
        let (mut store, mut state) = Store::open(disk.clone(), NEW).expect("new");
        for number in 1..30 {
            let write = draw(&mut jitter, &state, number);
            let next = after(&state, &write);
            let done = usize::try_from(jitter.draw() % 400).expect("small");
            disk.0.borrow_mut().fails_in = Some((0, done));
            store.write(&write).expect_err("the disk is full");
            let found = opened(&disk).expect("a torn tail is cut");
            assert!(found == state || found == next, "seed {seed}, write {number}: neither before nor after");
            store.write(&write).expect("there is room again");
            state = next;
            assert_eq!(opened(&disk).expect("good"), state, "seed {seed}, write {number}");
        }
    }
}

/// A file of some appended writes, with the state after each and where it ends.
fn grown() -> (Memory, Vec<(usize, Stored)>) {
    let mut jitter = Jitter::new(5);
    let disk = Memory::default();
    let (mut store, mut state) = Store::open(disk.clone(), NEW).expect("new");
    let length = || disk.0.borrow().file.as_ref().map_or(0, Vec::len);
    let mut states = vec![(length(), state.clone())];
    while states.len() < 8 {
        let write = draw(&mut jitter, &state, states.len() as u64);
        if write.records.iter().any(|record| matches!(record, Record::Snapshot { .. })) {
            continue;
        }
        store.write(&write).expect("it works");
        state = after(&state, &write);
        states.push((length(), state.clone()));
    }
    (disk, states)
}

#[test]
fn a_torn_tail_is_cut_wherever_it_was_torn() {
    let (disk, states) = grown();
    let whole = disk.0.borrow().file.clone().expect("written");
    for cut in states[0].0..=whole.len() {
        disk.0.borrow_mut().file = Some(whole[..cut].to_vec());
        let (_, expected) = states.iter().rev().find(|(end, _)| *end <= cut).expect("the first is the least");
        assert_eq!(&opened(&disk).expect("cut"), expected, "cut at {cut}");
        let rest = disk.0.borrow().file.as_ref().map(Vec::len);
        assert!(states.iter().any(|(end, _)| Some(*end) == rest), "the bad tail is gone from the file");
    }
}

#[test]
fn every_changed_bit_is_seen() {
    let (disk, states) = grown();
    let whole = disk.0.borrow().file.clone().expect("written");
    let last = states[states.len() - 2].0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        disk.0.borrow_mut().file = Some(bytes);
        match opened(&disk) {
            Err(OpenError::Damaged { offset, .. }) => assert!(offset <= at as u64, "byte {at}"),
            Err(other) => panic!("byte {at}: {other}"),
            // The last write cannot be told from one that was torn.
            Ok(found) => {
                assert!(at >= last, "byte {at} was not seen");
                assert_eq!(found, states[states.len() - 2].1);
            }
        }
    }
    let error = OpenError::Damaged { offset: 9, what: "x".to_owned() }.to_string();
    assert!(error.contains("move the file away"), "{error}");
}

#[test]
fn what_is_no_ledger_or_another_version_is_refused() {
    let disk = Memory::default();
    for bytes in [Vec::new(), b"hello".to_vec(), vec![0; 100]] {
        disk.0.borrow_mut().file = Some(bytes);
        assert!(matches!(opened(&disk), Err(OpenError::Damaged { offset: 0, .. })));
    }
    let mut head = Vec::from(MAGIC);
    head.extend(2_u32.to_le_bytes());
    head.extend(77_u32.to_le_bytes());
    head.extend(crc32fast::hash(&head).to_le_bytes());
    disk.0.borrow_mut().file = Some(head);
    assert!(matches!(opened(&disk), Err(OpenError::Version(2))));
}

#[test]
fn the_bytes_of_the_file_stay_what_they_are() {
    let disk = Memory::default();
    let (mut store, _) = Store::open(disk.clone(), NEW).expect("new");
    let entries = vec![LogEntry { term: 2, payload: Payload::Data(vec![1, 2]) }];
    let records = vec![Record::Vote { term: 2, voted_for: None }, Record::Append { first: 1, entries }];
    store.write(&Write { number: 1, records }).expect("it works");
    let file = disk.0.borrow().file.clone().expect("written");
    let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

/// Head; a frame with the vote of term 0; a frame with the vote of term 2 and one entry.
const GOLDEN: &str = "524f4f53544c4f47010000004d000000cc5ee50df572656304000000f6b6d45901000000f57265630c00000058118e26020002000101010202020102";

#[test]
fn a_real_folder_keeps_it_too() {
    let dir = std::env::temp_dir().join(format!("roost-store-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut jitter = Jitter::new(1);
    let open = || Store::open(OsFolder::new(&dir).expect("a folder"), NEW).expect("good");
    let (mut store, mut state) = open();
    for number in 1..40 {
        let write = draw(&mut jitter, &state, number);
        store.write(&write).expect("it works");
        state = after(&state, &write);
        assert_eq!(open().1, state);
    }
    std::fs::write(dir.join(FILE), b"no ledger").expect("ours");
    assert!(Store::open(OsFolder::new(&dir).expect("a folder"), NEW).is_err());
    std::fs::remove_dir_all(&dir).expect("ours");
}
