//! The offline commands over rings that the log itself made, whole and damaged.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::check_ring;
use super::export;
use super::offline::{self, Found};
use crate::clock::{Clock, Now};
use crate::codec::crc::crc32c;
use crate::config::{Config, RingConfig};
use crate::log::record::MetaRecord;
use crate::log::recovery::Opening;
use crate::log::{Append, Log, LogConfig};
use crate::storage::FileStorage;
use crate::types::{RingIndex, TopicId};

const RING: RingIndex = RingIndex(0);

/// A data directory with one ring, removed in the end.
struct Data {
    config: Config,
    path: PathBuf,
}

impl Data {
    fn new(name: &str) -> Data {
        let path = std::env::temp_dir().join(format!("brooklet-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        let ring = RingConfig { segments: 3, segment_bytes: 4 << 20, ..ring() };
        let config = Config { data_dir: path.clone(), rings: vec![ring], ..Config::default() };
        Data { config, path }
    }

    /// A broker's life: topic `t` with two partitions, and these batches in its first.
    fn live(&self, batches: &[Vec<u8>]) {
        let now = Clock::start().now();
        let mut log = open(&self.config, now);
        if log.state().topic_named("t").is_none() {
            let handle_first = log.handles_take(2);
            let create = MetaRecord::TopicCreate {
                id: TopicId([7; 16]),
                name: "t",
                ring: 0,
                handle_first,
                partitions: 2,
                configs: &[],
            };
            log.stage(log.shared(), &create, false, now).unwrap();
            drive(&mut log, now);
        }
        let (topic, _) = log.state().topic_named("t").unwrap();
        let slot = log.state().partition_of(topic, 0).unwrap();
        for batch in batches {
            let append = Append {
                slot,
                batches: batch,
                newest_ms: None,
                append_time_ms: None,
                relaxed_ms: None,
            };
            log.append(&append, now).unwrap();
            drive(&mut log, now);
        }
        log.close();
        drive(&mut log, now);
        assert!(log.is_closed());
    }

    /// Breaks the place where this stands first.
    fn damage(&self, bytes: &[u8]) {
        for file in std::fs::read_dir(self.path.join("ring-0")).unwrap() {
            let path = file.unwrap().path();
            let contents = std::fs::read(&path).unwrap();
            if let Some(at) = contents.windows(bytes.len()).position(|window| window == bytes) {
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(&[!contents[at]], at as u64).unwrap();
                return;
            }
        }
        panic!("nothing to damage");
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn ring() -> RingConfig {
    Config::default().rings.remove(0)
}

fn open(config: &Config, now: Now) -> Log {
    let storage = FileStorage::open(&config.data_dir).unwrap();
    let mut opening = Opening {
        now,
        entropy: &mut |bytes| bytes.fill(9),
        progress: &mut |_, _| {},
        unreadable_is_damaged: true,
    };
    Log::open(&LogConfig::of(config), Arc::new(storage), &mut opening).unwrap()
}

fn drive(log: &mut Log, now: Now) {
    for ring in log.rings() {
        while let Some(mut job) = log.next_io(ring, now) {
            let result = job.run(&**log.storage());
            log.io_done(ring, job, result, now);
        }
    }
}

/// A batch of so many records, each with this value of five bytes.
fn batch(count: u8, value: &[u8; 5]) -> Vec<u8> {
    let mut records = Vec::new();
    for delta in 0..count {
        records.extend([22, 0, 0, 2 * delta, 1, 10]);
        records.extend(value);
        records.push(0);
    }
    let mut body = Vec::new();
    body.extend(0_i16.to_be_bytes());
    body.extend(i32::from(count - 1).to_be_bytes());
    body.extend(1_700_000_000_000_i64.to_be_bytes());
    body.extend(1_700_000_000_000_i64.to_be_bytes());
    body.extend((-1_i64).to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    body.extend((-1_i32).to_be_bytes());
    body.extend(i32::from(count).to_be_bytes());
    body.extend(&records);
    let mut batch = vec![0; 8];
    batch.extend((body.len() as i32 + 9).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&body).to_be_bytes());
    batch.extend(&body);
    batch
}

fn exported(data: &Data, to: &str) -> Vec<(String, Vec<u8>)> {
    let out = data.path.join(to);
    let offline = offline::open(&data.config).unwrap();
    export::run(&offline, "t", &out).unwrap();
    assert!(export::run(&offline, "t", &out).is_err(), "an export is never overwritten");
    assert!(export::run(&offline, "u", &out).is_err(), "there is no such topic");
    let mut found = Vec::new();
    for folder in ["t-0", "t-1"] {
        for file in std::fs::read_dir(out.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&out).unwrap().to_str().unwrap().to_string();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn base_offsets(mut log: &[u8]) -> Vec<i64> {
    let mut found = Vec::new();
    while let Some(header) = crate::codec::batch::BatchHeader::read(log) {
        found.push(header.base_offset);
        log = &log[header.batch_bytes().unwrap()..];
    }
    found
}

#[test]
fn a_whole_ring_is_found_whole_and_exported_byte_for_byte() {
    let data = Data::new("whole");
    data.live(&[batch(2, b"first"), batch(1, b"secon")]);
    data.live(&[batch(3, b"third")]);
    let before = tree(&data.path.join("ring-0"));
    let checked = check_ring(&offline::open(&data.config).unwrap(), RING);
    assert_eq!(checked.damaged, 0, "{}", checked.text);
    assert!(checked.text.contains("3 batches, 6 records; 0 damaged"), "{}", checked.text);
    let files = exported(&data, "out");
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].0, "t-0/00000000000000000000.log");
    assert_eq!(base_offsets(&files[0].1), [0, 2, 3]);
    assert_eq!(files[1], ("t-1/00000000000000000000.log".to_string(), Vec::new()));
    assert!(before == tree(&data.path.join("ring-0")), "the offline commands changed the ring");
}

#[test]
fn a_damaged_batch_is_named_with_its_offsets_and_left_out_of_an_export() {
    let data = Data::new("batch");
    data.live(&[batch(2, b"first"), batch(3, b"secon"), batch(1, b"third")]);
    data.damage(b"secon");
    let checked = check_ring(&offline::open(&data.config).unwrap(), RING);
    assert_eq!(checked.damaged, 1, "{}", checked.text);
    assert!(checked.text.contains("t-0 has lost offsets 2 to 4"), "{}", checked.text);
    assert_eq!(base_offsets(&exported(&data, "out")[0].1), [0, 5]);
}

#[test]
fn a_lost_group_is_named_with_the_offsets_that_it_costs() {
    let data = Data::new("group");
    data.live(&[batch(2, b"first"), batch(3, b"secon"), batch(1, b"third")]);
    let mut second = None;
    let offline = offline::open(&data.config).unwrap();
    offline.walk(RING, &mut |found| {
        if let Found::Group(group) = found
            && group.header.payload_bytes as usize == batch(3, b"secon").len()
        {
            second = Some(group.crc);
        }
    });
    drop(offline);
    let crc = second.unwrap();
    // The header's CRC stands behind its magic.
    let mut header = b"bkGr".to_vec();
    header.extend(crc.to_le_bytes());
    data.damage(&header);
    let checked = check_ring(&offline::open(&data.config).unwrap(), RING);
    assert_eq!(checked.damaged, 2, "{}", checked.text);
    assert!(checked.text.contains(" is unreadable"), "{}", checked.text);
    assert!(checked.text.contains("t-0 has lost offsets 2 to 4"), "{}", checked.text);
}

#[test]
fn sizes_of_rings_are_taken_from_flash_and_not_from_the_configuration() {
    let data = Data::new("sizes");
    data.live(&[batch(2, b"first")]);
    let config = Config { data_dir: data.path.clone(), ..Config::default() };
    let offline = offline::open(&config).unwrap();
    assert_eq!((offline.rings[0].segments, offline.rings[0].segment_bytes), (3, 4 << 20));
    assert_eq!(check_ring(&offline, RING).damaged, 0);
}

fn tree(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}
