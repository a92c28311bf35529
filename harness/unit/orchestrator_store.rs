//! The store: nothing that was stored is lost, wherever the file is cut; damage is named; history makes room.

use std::path::Path;
use std::sync::mpsc::channel;

use llorch::orchestrator::store::framing::{Next, checksum, decode, encode};
use llorch::orchestrator::store::log::LogStore;
use llorch::orchestrator::store::{Event, Record, StoreError, TaskStore};
use uuid::Uuid;

pub const TESTS: &[(&str, fn())] = &[
    ("orchestrator_store/checksums_are_crc_32", checksums_are_crc_32),
    ("orchestrator_store/what_is_stored_comes_back_in_order", what_is_stored_comes_back_in_order),
    ("orchestrator_store/cut_at_every_byte", cut_at_every_byte),
    ("orchestrator_store/every_damaged_byte_is_named", every_damaged_byte_is_named),
    ("orchestrator_store/space_that_nobody_wrote_is_an_end", space_that_nobody_wrote_is_an_end),
    ("orchestrator_store/compacted_and_the_same", compacted_and_the_same),
    ("orchestrator_store/one_daemon_a_folder", one_daemon_a_folder),
    ("orchestrator_store/private", private),
    ("orchestrator_store/many_at_once_in_one_order", many_at_once_in_one_order),
    ("orchestrator_store/an_answer_may_append", an_answer_may_append),
];

const NEVER: u64 = u64::MAX;

fn event(task: u128, id: u64) -> Record {
    let plain = Some(format!("{{\"t\":\"wört \\\"{id}\\\"\",\"i\":{id}}}"));
    Record::Event(Event { task_id: Uuid::from_u128(task), id, name: "token".into(), plain, verbose: None })
}

fn gone(task: u128) -> Record {
    Record::TaskForgotten { task_id: Uuid::from_u128(task) }
}

fn open(folder: &Path) -> (LogStore, Vec<Record>) {
    LogStore::open(folder, NEVER).unwrap()
}

fn append(store: &LogStore, records: &[Record]) {
    let (done, stored) = channel();
    for record in records {
        let done = done.clone();
        store.append(record, Box::new(move |outcome| done.send(outcome).unwrap()));
    }
    for _ in records {
        assert_eq!(stored.recv().unwrap(), Ok(()));
    }
}

fn checksums_are_crc_32() {
    assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    assert_eq!(checksum(b""), 0);
}

fn what_is_stored_comes_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<Record> = (1..200).map(|id| event(u128::from(id % 3), id)).collect();
    let (store, found) = open(folder.path());
    assert!(found.is_empty());
    append(&store, &records[..100]);
    drop(store);
    let (store, found) = open(folder.path());
    assert_eq!(found, records[..100]);
    append(&store, &records[100..]);
    store.flush();
    drop(store);
    assert_eq!(open(folder.path()).1, records);
}

/// A log of a few records, and its bytes.
fn written() -> (Vec<Record>, Vec<u8>) {
    let records = vec![event(1, 1), event(2, 1), event(1, 2), gone(2)];
    let bytes = records.iter().flat_map(encode).collect();
    (records, bytes)
}

fn cut_at_every_byte() {
    let (records, bytes) = written();
    let ends: Vec<usize> = records
        .iter()
        .scan(0, |end, record| {
            *end += encode(record).len();
            Some(*end)
        })
        .collect();
    for cut in 0..=bytes.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.log");
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let (store, found) = open(folder.path());
        assert_eq!(found, records[..whole], "cut at {cut}");
        append(&store, &[event(9, 9)]);
        drop(store);
        let mut expected = records[..whole].to_vec();
        expected.push(event(9, 9));
        assert_eq!(open(folder.path()).1, expected, "written on after a cut at {cut}");
    }
}

fn every_damaged_byte_is_named() {
    let (records, bytes) = written();
    let last = bytes.len() - encode(&records[3]).len();
    for at in 0..bytes.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.log");
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        match LogStore::open(folder.path(), NEVER) {
            Err(error @ StoreError::Damaged { .. }) => {
                let text = error.to_string();
                assert!(text.contains("tasks.log") && text.contains(&format!("of {}", bytes.len())), "{text}");
            }
            other => panic!(
                "a flipped bit at {at} (the last record begins at {last}) passes: {:?}",
                other.map(|(_, found)| found)
            ),
        }
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "the file is left as it was");
    }
}

fn space_that_nobody_wrote_is_an_end() {
    let (_, mut bytes) = written();
    let end = bytes.len();
    bytes.extend([0; 64]);
    assert_eq!(decode(&bytes, end), Next::End);
}

fn compacted_and_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.log");
    let (store, _) = LogStore::open(folder.path(), 20_000).unwrap();
    let mut most = 0;
    for round in 0..60_u128 {
        let records: Vec<Record> = (1..=20).map(|id| event(round, id)).collect();
        append(&store, &records);
        if round >= 2 {
            append(&store, &[gone(round - 2)]);
        }
        store.flush();
        most = most.max(std::fs::metadata(&path).unwrap().len());
    }
    drop(store);
    assert!(most < 30_000, "the log grew to {most} bytes");
    let (_, found) = open(folder.path());
    let live: Vec<Record> = found
        .into_iter()
        .filter(|record| matches!(record, Record::Event(event) if event.task_id.as_u128() >= 58))
        .collect();
    let expected: Vec<Record> = (58..60).flat_map(|task| (1..=20).map(move |id| event(task, id))).collect();
    assert_eq!(live, expected);
}

fn one_daemon_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let Err(error) = LogStore::open(folder.path(), NEVER) else { panic!("two daemons in one folder") };
    assert!(matches!(error, StoreError::InUse { .. }) && error.to_string().contains("ORCHD_STATE_DIR"), "{error}");
    drop(first);
    open(folder.path());
}

fn private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    let mode = std::fs::metadata(folder.path().join("tasks.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "prompts are in it");
}

/// Whoever appends writes for others too: what is told, in which order, must not depend on who that is.
fn many_at_once_in_one_order() {
    const THREADS: u128 = 8;
    const EVENTS: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = LogStore::open(folder.path(), 40_000).unwrap(); // compacted again and again meanwhile
    let told = std::sync::Mutex::new(Vec::new());
    let told = std::sync::Arc::new(told);
    std::thread::scope(|scope| {
        for task in 0..THREADS {
            let (store, told) = (&store, &told);
            scope.spawn(move || {
                for id in 1..=EVENTS {
                    let told = told.clone();
                    store.append(
                        &event(task, id),
                        Box::new(move |outcome| {
                            outcome.unwrap();
                            told.lock().unwrap().push((task, id));
                        }),
                    );
                    store.append(&gone(1000 + task), Box::new(|outcome| outcome.unwrap()));
                }
            });
        }
    });
    store.flush();
    drop(store);
    let told = std::mem::take(&mut *told.lock().unwrap());
    let of = |task: u128| told.iter().filter(move |(of, _)| *of == task).map(|(_, id)| *id);
    for task in 0..THREADS {
        assert!(of(task).eq(1..=EVENTS), "task {task} was told of its events in another order, or not of all");
    }
    let stored = open(folder.path()).1.into_iter().filter_map(|record| match record {
        Record::Event(event) => Some((event.task_id.as_u128(), event.id)),
        _ => None,
    });
    assert_eq!(stored.collect::<Vec<_>>(), told, "what is stored is what was told, in the same order");
}

fn an_answer_may_append() {
    let folder = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(folder.path()).0);
    let (done, stored) = channel();
    let again = store.clone();
    store.append(
        &event(1, 1),
        Box::new(move |_| again.append(&event(1, 2), Box::new(move |outcome| done.send(outcome).unwrap()))),
    );
    assert_eq!(stored.recv().unwrap(), Ok(()));
    drop(store);
    assert_eq!(open(folder.path()).1, [event(1, 1), event(1, 2)]);
}
