//! Images of rings that earlier builds made still open, and newer ones are left alone. How an image
//! is made is said in CONTRIBUTING.md, what its bytes mean in FORMAT.md.

mod configurations;

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brooklet::broker::topic_config::{KEYS, own_value};
use brooklet::clock::{Mono, Now};
use brooklet::config::{Config, RingConfig};
use brooklet::log::format::VERSION;
use brooklet::log::record::MetaRecord;
use brooklet::log::recovery::groups::{self, Expect, Reader};
use brooklet::log::recovery::verdict::Proof;
use brooklet::log::recovery::walk::{self, End, Start};
use brooklet::log::recovery::{OpenError, Opening};
use brooklet::log::{Log, LogConfig};
use brooklet::storage::sim::{Cut, Failing, Op, SimStorage};
use brooklet::storage::{FileStorage, Storage};
use brooklet::types::{Boot, FileIndex, FileRef, Offset, RingIndex, RingNumber};

/// Each format's image, and the list of what is in it.
const IMAGES: [(&str, &str); 5] = [
    (include_str!("../format/golden/v1.ring"), include_str!("../format/golden/v1.expected")),
    (include_str!("../format/golden/v2.ring"), include_str!("../format/golden/v2.expected")),
    (include_str!("../format/golden/v3.ring"), include_str!("../format/golden/v3.expected")),
    (include_str!("../format/golden/v4.ring"), include_str!("../format/golden/v4.expected")),
    (include_str!("../format/golden/v5.ring"), include_str!("../format/golden/v5.expected")),
];
/// So many of them have what is shared in the first ring.
const IMAGES_BEFORE_METADATA: usize = 4;
const SEGMENT_BYTES: u64 = 4 << 20;

/// An image as files, removed at the end.
struct Unpacked(PathBuf);

impl Unpacked {
    /// Each line is `file PATH LENGTH`, `AT BYTES`, or `AT BYTE TIMES`; bytes are hexadecimal, and
    /// all others are zero.
    fn new(name: &str, image: &str) -> Unpacked {
        let folder = format!("brooklet-golden-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(folder);
        let _ = std::fs::remove_dir_all(&directory);
        let mut file = None;
        for line in image.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] == "file" {
                let path = directory.join(words[1]);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let new = std::fs::File::create(path).unwrap();
                new.set_len(words[2].parse().unwrap()).unwrap();
                file = Some(new);
                continue;
            }
            let times = words.get(2).map_or(1, |times| times.parse().unwrap());
            let file = file.as_mut().unwrap();
            file.seek(SeekFrom::Start(words[0].parse().unwrap())).unwrap();
            file.write_all(&bytes_of(words[1]).repeat(times)).unwrap();
        }
        Unpacked(directory)
    }

    fn open(&self) -> Result<Log, OpenError> {
        let rings: &[&str] =
            if self.0.join("ring-1").is_dir() { &["alarms", "main"] } else { &["main"] };
        open(Arc::new(FileStorage::open(&self.0).unwrap()), rings)
    }

    /// The same, on a disk that can fail.
    fn on_a_disk(&self) -> SimStorage {
        let disk = SimStorage::new(1);
        for path in self.segments() {
            let name = path.file_name().unwrap().to_str().unwrap();
            let file = FileIndex(name.strip_prefix("segment-").unwrap().parse().unwrap());
            let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let number = folder.strip_prefix("ring-").map(|number| number.parse().unwrap());
            let ring = number.map_or(RingIndex(RingNumber::METADATA.0), RingIndex);
            let file = FileRef { ring, file };
            let bytes = std::fs::read(path).unwrap();
            disk.create(file, bytes.len() as u64, &mut |_| {}).unwrap();
            disk.write(file, 0, &[std::io::IoSlice::new(&bytes)]).unwrap();
            disk.sync(file).unwrap();
        }
        disk
    }

    fn segments(&self) -> Vec<PathBuf> {
        let of =
            |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = of(&self.0).flat_map(|folder| of(&folder)).collect();
        paths.sort();
        paths
    }
}

fn open(storage: Arc<dyn Storage>, rings: &[&str]) -> Result<Log, OpenError> {
    let ring = |name: &&str| RingConfig {
        name: (*name).to_string(),
        segments: 3,
        spares: 2,
        segment_bytes: SEGMENT_BYTES,
        ..Config::default().rings[0].clone()
    };
    let config = Config { rings: rings.iter().map(ring).collect(), ..Config::default() };
    let mut opening = Opening {
        now: now(),
        entropy: &mut |bytes| bytes.fill(7),
        progress: &mut |_, _| {},
        unreadable_is_damaged: true,
    };
    Log::open(&LogConfig::of(&config), storage, &mut opening)
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now() -> Now {
    Now { mono: Mono(1), wall_ms: 2_000_000_000_000, wall_synchronised: true }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Everything in a log, in the lines of the image's list.
fn found(log: &Log) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let state = log.state();
    for (_, topic) in state.topics() {
        let mut line = format!("topic {} {}", topic.name, topic.partitions);
        for key in KEYS {
            if let Some(value) = own_value(&topic.configs, key) {
                line += &format!(" {}={value}", key.name);
            }
        }
        lines.insert(line);
    }
    for (slot, group) in state.groups() {
        for entry in state.offsets_of(slot) {
            let partition = state.partition_with_handle(entry.handle).unwrap();
            let partition = state.partition(partition).unwrap();
            let topic = &state.topic(partition.topic).unwrap().name;
            let (index, offset) = (partition.index, entry.offset.0);
            let name = &group.name;
            let metadata = state.metadata_of(entry);
            lines.insert(format!("offset {name} {topic} {index} {offset} {metadata}"));
        }
    }
    for ring in log.rings() {
        walk(log, ring, &mut lines);
    }
    lines
}

/// The batches between each partition's log start and high watermark.
fn walk(log: &Log, ring: RingIndex, lines: &mut BTreeSet<String>) {
    let state = log.state();
    for segment in log.segments(ring) {
        let start = Start { at: segment.groups_at, limit: segment.end, end: End::Limit, crc: 0 };
        let expect = Expect::any(log.ring_id(ring), segment.seq);
        let mut reader = Reader::new(&**log.storage(), segment.file, SEGMENT_BYTES, false);
        walk::walk(&mut reader, start, expect, &mut |reader, slot, proof| {
            let group = slot.group.expect("a group follows the other");
            let contents = groups::contents(reader, &group.header);
            let mut at = group.header.position + group.header.payload_at();
            for run in contents.runs.expect("the directory holds") {
                let place = state.partition_with_handle(run.handle);
                groups::batches(reader, at, &run, &mut |batch| {
                    let header = batch.header.expect("its CRC holds");
                    let Some(partition) = place.and_then(|place| state.partition(place)) else {
                        return;
                    };
                    let (base, last) = (batch.first, batch.last);
                    let at = (segment.file.file, group.header.position, run.is_carried());
                    let carried = log.index(ring).carried();
                    if !place.is_some_and(|place| carried.shows(place, Offset(base), at)) {
                        return;
                    }
                    if last >= partition.log_start.0 && proof == Proof::Acknowledged {
                        assert!(last < partition.high_watermark.0);
                        let topic = &state.topic(partition.topic).unwrap().name;
                        let (index, records) = (partition.index, last - base + 1);
                        let crc = header.crc;
                        lines.insert(format!("batch {topic} {index} {base} {records} {crc:08x}"));
                    }
                });
                at += u64::from(run.bytes);
            }
        });
    }
}

#[test]
fn an_image_of_each_format_opens_with_all_that_was_in_it() {
    for (image, expected) in IMAGES {
        opens_with_all(&Unpacked::new("opens", image), expected);
    }
}

fn opens_with_all(image: &Unpacked, expected: &str) {
    let expected: BTreeSet<String> = expected.lines().map(str::to_string).collect();
    let log = image.open().unwrap();
    assert_eq!(found(&log), expected);
    let damage = log.damage();
    let seen = (damage.groups, damage.batches, damage.torn, damage.unproven);
    let rings = if expected.contains("topic alarm 1") { 2 } else { 1 };
    assert_eq!(seen, (0, 0, 0, rings), "each last group is whole and unproven");
    assert_eq!(log.state().boot, Boot(3));
    let (_, topic) = log.state().topic_named("three").unwrap();
    let producers = log.state().partitions().filter(|(_, partition)| {
        let topic = log.state().topic(partition.topic).unwrap();
        topic.name == "three"
    });
    assert_eq!(topic.partitions, 3);
    for (slot, partition) in producers {
        let mut known = log.state().producers.of_partition(slot);
        let newest = known.any(|producer| producer.sequence_last >= 2);
        assert!(newest, "partition {} has producers", partition.index);
    }
}

#[test]
fn an_image_of_each_format_can_be_written_to_and_opened_again() {
    for (image, expected) in IMAGES {
        is_written_to(&Unpacked::new("written", image), expected);
    }
}

fn is_written_to(image: &Unpacked, expected: &str) {
    let mut log = image.open().unwrap();
    let handle_first = log.handles_take(1);
    let record = MetaRecord::TopicCreate {
        id: brooklet::types::TopicId([3; 16]),
        name: "new",
        ring: 0,
        handle_first,
        partitions: 1,
        configs: &[],
    };
    let shared = log.shared();
    log.stage(shared, &record, false, now()).unwrap();
    while let Some(mut job) = log.next_io(shared, now()) {
        let result = job.run(&**log.storage());
        log.io_done(shared, job, result, now());
    }
    drop(log);
    let mut expected: BTreeSet<String> = expected.lines().map(str::to_string).collect();
    expected.insert("topic new 1".to_string());
    let log = image.open().unwrap();
    assert_eq!(found(&log), expected);
    assert_eq!(log.state().boot, Boot(4));
}

fn drive(log: &mut Log) {
    for ring in log.rings() {
        while let Some(mut job) = log.next_io(ring, now()) {
            let result = job.run(&**log.storage());
            log.io_done(ring, job, result, now());
        }
    }
}

#[test]
fn what_the_first_ring_held_for_all_moves_whole_wherever_the_power_is_cut() {
    for (image, expected) in &IMAGES[..IMAGES_BEFORE_METADATA] {
        let expected: BTreeSet<String> = expected.lines().map(str::to_string).collect();
        let disk = Arc::new(Unpacked::new("moves", image).on_a_disk());
        disk.record_forks(true);
        open(Arc::clone(&disk) as _, &["main"]).unwrap();
        let forks = disk.forks_take();
        assert!(forks.len() > 10, "{} instants", forks.len());
        for (write, fork) in forks {
            for cut in Cut::ALL {
                let fork = Arc::new(fork.fork(write));
                fork.power_cut(cut);
                // What the next start shows, the one behind it shows as well.
                for _ in 0..2 {
                    let mut log = open(Arc::clone(&fork) as _, &["main"]).unwrap();
                    assert_eq!(found(&log), expected, "{cut:?} behind write {write}");
                    log.close();
                    drive(&mut log);
                }
            }
        }
    }
}

#[test]
fn a_disk_that_fails_while_it_moves_leaves_it_where_it_was() {
    for (image, expected) in &IMAGES[..IMAGES_BEFORE_METADATA] {
        let expected: BTreeSet<String> = expected.lines().map(str::to_string).collect();
        let offset = |line: &&String| line.split(' ').nth(3).and_then(|at| at.parse::<i64>().ok());
        let late = expected.iter().filter(|line| line.starts_with("batch late"));
        let newest = late.max_by_key(offset);
        let newest = newest.expect("the topic that was written last");
        let disk = Arc::new(Unpacked::new("fails", image).on_a_disk());
        let mut refused = 0;
        for op in [Op::Write, Op::Sync] {
            for after in 0..12 {
                let disk = Arc::new(disk.fork(after));
                disk.fail(op, Failing::From(after));
                refused += u64::from(open(Arc::clone(&disk) as _, &["main"]).is_err());
                disk.process_kill();
                let log = open(Arc::clone(&disk) as _, &["main"]).unwrap();
                // A ring that failures have left without a spare gives up the oldest segment it has.
                let found = found(&log);
                let beyond: Vec<_> = found.difference(&expected).collect();
                assert!(beyond.is_empty(), "{op:?} from {after} on: {beyond:?}");
                let missing = expected.difference(&found);
                assert!(
                    missing.into_iter().all(|line| line.starts_with("batch")),
                    "{op:?} {after}"
                );
                assert!(found.contains(newest), "{op:?} from {after} on");
            }
        }
        assert!(refused > 2, "no start without a place for what moves");
    }
}

#[test]
fn a_ring_without_a_name_is_not_taken_for_another_one() {
    let (image, expected) = IMAGES[0];
    let expected: BTreeSet<String> = expected.lines().map(str::to_string).collect();
    let disk = Arc::new(Unpacked::new("unnamed", image).on_a_disk());
    let writes = disk.counts().writes;
    let error = open(Arc::clone(&disk) as _, &["alarms", "main"]).err().unwrap().to_string();
    assert!(error.starts_with("ring-0 bear no name yet"), "{error}");
    assert_eq!(disk.counts().writes, writes, "it is left as it is");
    assert_eq!(found(&open(disk, &["any"]).unwrap()), expected);
}

#[test]
fn an_image_of_a_newer_format_is_refused_and_left_untouched() {
    for at in [8, SEGMENT_BYTES - 4096 + 8] {
        let image = Unpacked::new(&format!("newer-{at}"), IMAGES[0].0);
        let segment = with_anchor(&image, at);
        let mut file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        let version = VERSION + 1;
        file.write_all(&version.to_le_bytes()).unwrap();
        let before: Vec<_> = image.segments().iter().map(std::fs::read).collect();
        let refused = image.open().map(|_| ());
        assert_eq!(refused, Err(OpenError::Newer { version }));
        for (path, bytes) in image.segments().iter().zip(before) {
            assert!(std::fs::read(path).unwrap() == bytes.unwrap());
        }
    }
}

/// A segment file with an anchor whose version stands there.
fn with_anchor(image: &Unpacked, at: u64) -> PathBuf {
    let from = at as usize - 8;
    let has = |path: &Path| std::fs::read(path).unwrap()[from..].starts_with(b"brooklet");
    let mut paths = image.segments().into_iter();
    paths.find(|path| has(path)).unwrap()
}
