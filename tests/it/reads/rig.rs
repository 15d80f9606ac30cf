//! A broker over a disk in memory, and a client that fetches from it.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use brooklet::api::{self, Step, Window};
use brooklet::broker::{Broker, ConnId, JobNext, Peer};
use brooklet::clock::{Mono, Now};
use brooklet::codec::crc::crc32c;
use brooklet::config::{Config, RingConfig};
use brooklet::error::DiskError;
use brooklet::log::record::MetaRecord;
use brooklet::log::recovery::Opening;
use brooklet::log::{Append, Log, LogConfig};
use brooklet::storage::Storage;
use brooklet::types::{FileIndex, FileRef, Offset, PartitionSlot, RingIndex, SegmentSeq, TopicId};

/// A disk in memory that counts reads. What fails does so in the first ring.
#[derive(Default)]
pub struct Memory {
    files: Mutex<BTreeMap<FileRef, Vec<u8>>>,
    pub bad: Mutex<Vec<(u16, u64)>>,
    pub reads: AtomicU64,
    /// So many syncs fail, the next ones.
    pub syncs_fail: AtomicU64,
}

pub struct Rig {
    pub broker: Broker,
    pub disk: Arc<Memory>,
    pub now: Now,
    /// By partition: the batches as they are stored.
    pub model: Vec<Vec<Stored>>,
    pub buf: Vec<u8>,
    /// Bytes that were sent for the request under way.
    sent: Vec<u8>,
    /// Called once, after the next read but so many.
    pub after_read: Option<fn(&mut Rig)>,
    pub after_reads: u32,
    /// How often others had a turn.
    pub turns: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub first: i64,
    pub records: i64,
    pub bytes: Vec<u8>,
}

/// What a request came to.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Answer(Vec<Answered>),
    Sleep(Mono),
    Close(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub topic: String,
    pub index: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub log_start: i64,
    pub records: Vec<u8>,
}

#[derive(Clone, Copy)]
pub struct Ask {
    pub bytes_max: i32,
    pub partition_max: i32,
    pub bytes_min: i32,
    pub wait_ms: i32,
}

pub const ALL: Ask = Ask { bytes_max: i32::MAX, partition_max: i32::MAX, bytes_min: 1, wait_ms: 0 };

impl Rig {
    /// One topic `t` with so many partitions, in a ring of so many segments of 4 MiB.
    pub fn new(partitions: u32, segments: u16) -> Rig {
        let config = Config {
            rings: vec![RingConfig {
                segments,
                spares: 1,
                segment_bytes: 4 << 20,
                ..Config::default().rings[0].clone()
            }],
            partitions_max: 16,
            fetch_waits_max: 64,
            max_connections: 8,
            ..Config::default()
        };
        let disk = Arc::new(Memory::default());
        let now = Now { mono: Mono(1), wall_ms: 1_000_000, wall_synchronised: true };
        let log = open(&config, &disk, now);
        let mut rig = Rig {
            broker: Broker::new(config, log),
            disk,
            now,
            model: vec![Vec::new(); partitions as usize],
            buf: vec![0; 64 * 1024],
            sent: Vec::new(),
            after_read: None,
            after_reads: 0,
            turns: 0,
        };
        let record = MetaRecord::TopicCreate {
            id: TopicId([1; 16]),
            name: "t",
            ring: 0,
            handle_first: rig.broker.log.handles_take(partitions),
            partitions,
            configs: &[],
        };
        let shared = rig.broker.log.shared();
        rig.broker.log.stage(shared, &record, false, now).unwrap();
        rig.commit();
        rig
    }

    /// Starts again from what is on the disk.
    pub fn restart(&mut self) {
        let log = open(&self.broker.config, &self.disk, self.now);
        self.broker = Broker::new(self.broker.config.clone(), log);
    }

    pub fn slot(&self, index: u32) -> PartitionSlot {
        let (topic, _) = self.broker.log.state().topic_named("t").unwrap();
        self.broker.log.state().partition_of(topic, index).unwrap()
    }

    pub fn log_start(&self, index: u32) -> i64 {
        let slot = self.slot(index);
        self.broker.log.state().partition(slot).unwrap().log_start.0
    }

    /// Stages a batch; commits first if there is no room.
    pub fn append(&mut self, index: u32, batch: &[u8]) {
        self.append_relaxed(index, batch, None);
    }

    /// The same, to be synced only some time after it was written.
    pub fn append_relaxed(&mut self, index: u32, batch: &[u8], relaxed_ms: Option<u64>) {
        let append = Append {
            slot: self.slot(index),
            batches: batch,
            newest_ms: None,
            append_time_ms: None,
            relaxed_ms,
        };
        let now = self.now;
        let appended = self.broker.log.append(&append, now).or_else(|_| {
            self.commit();
            self.broker.log.append(&append, now)
        });
        let first = appended.unwrap().offset.0;
        let mut bytes = batch.to_vec();
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        let boot = self.broker.log.state().boot.0;
        bytes[12..16].copy_from_slice(&boot.to_be_bytes());
        let delta = i32::from_be_bytes(bytes[23..27].try_into().unwrap());
        let records = i64::from(delta) + 1;
        self.model[index as usize].push(Stored { first, records, bytes });
    }

    /// Carries out all that the log wants.
    pub fn commit(&mut self) {
        for ring in self.broker.log.rings() {
            while let Some(mut job) = self.broker.log.next_io(ring, self.now) {
                let result = job.run(&**self.broker.log.storage());
                self.broker.log.io_done(ring, job, result, self.now);
            }
        }
    }

    /// A fetch of these (partition, offset) of `t` by connection 0, to its end or until it sleeps.
    pub fn fetch(&mut self, from: &[(i32, i64)], ask: Ask) -> Outcome {
        self.fetch_by(0, from, ask)
    }

    pub fn fetch_by(&mut self, conn: u16, from: &[(i32, i64)], ask: Ask) -> Outcome {
        let frame = fetch_request(&[("t", from)], ask);
        self.request(conn, &frame)
    }

    pub fn request(&mut self, conn: u16, frame: &[u8]) -> Outcome {
        self.sent.clear();
        let peer = peer(conn);
        let mut out = vec![0; 64 * 1024];
        let window = Window { buf: &mut out, from: 0 };
        match api::dispatch(&mut self.broker, &peer, frame, window, self.now) {
            Step::Job => self.drive(conn),
            Step::Reply { bytes, .. } => {
                self.sent = out[..bytes].to_vec();
                self.answer()
            }
            Step::Close(why) => Outcome::Close(why),
            step => panic!("{step:?}"),
        }
    }

    /// Goes on with a job that slept, after others were answered.
    pub fn wake(&mut self, conn: u16) -> Outcome {
        self.sent.clear();
        self.drive(conn)
    }

    /// Goes on with a job.
    pub fn drive(&mut self, conn: u16) -> Outcome {
        let mut buf = std::mem::take(&mut self.buf);
        let mut read = None;
        let mut steps = 0;
        let outcome = loop {
            steps += 1;
            assert!(steps < 100_000, "a job without an end");
            let step = self.broker.job_step(ConnId(conn), &mut buf, read.take(), self.now);
            match step {
                JobNext::Read { file, at, from, to } => {
                    read = Some(self.disk.read(file, at, &mut buf[from..to]));
                    if self.after_reads > 0 {
                        self.after_reads -= 1;
                    } else if let Some(after) = self.after_read.take() {
                        after(self);
                    }
                }
                JobNext::Send { from, to } => self.sent.extend_from_slice(&buf[from..to]),
                JobNext::Turn => self.turns += 1,
                JobNext::Buffer { large } => {
                    let long = self.broker.config.message_max_bytes;
                    buf.resize(if large { long } else { 64 << 10 }, 0);
                    buf.fill(0xee);
                }
                JobNext::Sleep(until) => {
                    buf.fill(0xee);
                    break Outcome::Sleep(until);
                }
                JobNext::Done => break self.answer(),
                JobNext::Close(why) => break Outcome::Close(why),
            }
        };
        self.buf = buf;
        outcome
    }

    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    fn answer(&mut self) -> Outcome {
        let length = u32::from_be_bytes(self.sent[..4].try_into().unwrap());
        assert_eq!(length as usize + 4, self.sent.len(), "the size prefix");
        match self.sent[..].get(4..8) {
            Some([0, 0, 0, 1]) => Outcome::Answer(fetch_answer(&self.sent[8..])),
            _ => Outcome::Answer(Vec::new()),
        }
    }

    /// The batches of a partition from `offset` on.
    pub fn expected(&self, index: u32, offset: i64) -> Vec<u8> {
        let batches = self.model[index as usize].iter();
        let batches = batches.filter(|stored| stored.first + stored.records > offset);
        batches.flat_map(|stored| stored.bytes.clone()).collect()
    }

    pub fn reads(&self) -> u64 {
        self.disk.reads.load(Ordering::Relaxed)
    }

    /// Fetches a whole partition from `offset` on, answer by answer, and gives the bytes.
    pub fn consume(&mut self, index: u32, offset: i64, ask: Ask) -> Vec<u8> {
        let mut all = Vec::new();
        let mut offset = offset;
        loop {
            let outcome = self.fetch(&[(index as i32, offset)], ask);
            let Outcome::Answer(answered) = outcome else { panic!("{outcome:?}") };
            assert_eq!(answered[0].error, 0);
            let Some(next) = end_of(&answered[0].records) else {
                return all;
            };
            all.extend(&answered[0].records);
            offset = next;
        }
    }
}

fn open(config: &Config, disk: &Arc<Memory>, now: Now) -> Log {
    let mut entropy = |bytes: &mut [u8]| bytes.fill(7);
    let mut progress = |_: u64, _: u64| {};
    let mut opening = Opening {
        now,
        entropy: &mut entropy,
        progress: &mut progress,
        unreadable_is_damaged: true,
    };
    let storage: Arc<dyn Storage> = disk.clone();
    Log::open(&LogConfig::of(config), storage, &mut opening).unwrap()
}

pub fn peer(conn: u16) -> Peer {
    let address = "127.0.0.1:9092".parse().unwrap();
    Peer::new(ConnId(conn), address, address)
}

/// The offset behind the last of whole batches; none without any.
pub fn end_of(records: &[u8]) -> Option<i64> {
    let mut rest = records;
    let mut end = None;
    while !rest.is_empty() {
        let first = i64::from_be_bytes(rest[..8].try_into().unwrap());
        let length = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize + 12;
        let crc = u32::from_be_bytes(rest[17..21].try_into().unwrap());
        assert_eq!(crc, crc32c(&rest[21..length]));
        let delta = i32::from_be_bytes(rest[23..27].try_into().unwrap());
        end = Some(first + i64::from(delta) + 1);
        rest = &rest[length..];
    }
    end
}

/// A batch of uncompressed records with these timestamps; `value` bytes of value in each.
pub fn batch(timestamps: &[i64], value: usize, attributes: i16) -> Vec<u8> {
    let mut body = Vec::new();
    for (delta, timestamp) in timestamps.iter().enumerate() {
        let mut record = vec![0];
        varint(&mut record, timestamp - timestamps[0]);
        varint(&mut record, delta as i64);
        varint(&mut record, -1);
        varint(&mut record, value as i64);
        record.resize(record.len() + value, delta as u8);
        varint(&mut record, 0);
        varint(&mut body, record.len() as i64);
        body.extend(record);
    }
    let count = timestamps.len() as i32;
    let newest = timestamps.iter().max().unwrap();
    let mut batch = vec![0u8; 61];
    batch[8..12].copy_from_slice(&(49 + body.len() as i32).to_be_bytes());
    batch[16] = 2;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&timestamps[0].to_be_bytes());
    batch[35..43].copy_from_slice(&newest.to_be_bytes());
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch.extend(body);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// A Fetch request, version 11, correlation id 1.
pub fn fetch_request(topics: &[(&str, &[(i32, i64)])], ask: Ask) -> Vec<u8> {
    let mut frame = vec![0, 1, 0, 11, 0, 0, 0, 1, 0xff, 0xff];
    frame.extend((-1i32).to_be_bytes());
    for number in [ask.wait_ms, ask.bytes_min, ask.bytes_max] {
        frame.extend(number.to_be_bytes());
    }
    frame.push(0);
    frame.extend(0i32.to_be_bytes());
    frame.extend((-1i32).to_be_bytes());
    frame.extend((topics.len() as i32).to_be_bytes());
    for (name, partitions) in topics {
        frame.extend((name.len() as i16).to_be_bytes());
        frame.extend(name.as_bytes());
        frame.extend((partitions.len() as i32).to_be_bytes());
        for (index, offset) in *partitions {
            frame.extend(index.to_be_bytes());
            frame.extend((-1i32).to_be_bytes());
            frame.extend(offset.to_be_bytes());
            frame.extend((-1i64).to_be_bytes());
            frame.extend(ask.partition_max.to_be_bytes());
        }
    }
    frame.extend(0i32.to_be_bytes());
    frame.extend(0i16.to_be_bytes());
    frame
}

fn fetch_answer(bytes: &[u8]) -> Vec<Answered> {
    let mut at = 0;
    let mut take = |count: usize| {
        at += count;
        bytes[at - count..at].to_vec()
    };
    let int = |bytes: Vec<u8>| bytes.iter().fold(0i64, |sum, b| sum << 8 | i64::from(*b)) as i32;
    let long = |bytes: Vec<u8>| i64::from_be_bytes(bytes.try_into().unwrap());
    take(10);
    let mut answered = Vec::new();
    for _ in 0..int(take(4)) {
        let length = int(take(2)) as usize;
        let topic = String::from_utf8(take(length)).unwrap();
        for _ in 0..int(take(4)) {
            let (index, error) = (int(take(4)), int(take(2)) as i16);
            let (high_watermark, stable) = (long(take(8)), long(take(8)));
            assert_eq!(high_watermark, stable);
            let log_start = long(take(8));
            assert_eq!((int(take(4)), int(take(4))), (-1, -1));
            let length = int(take(4)) as usize;
            answered.push(Answered {
                topic: topic.clone(),
                index,
                error,
                high_watermark,
                log_start,
                records: take(length),
            });
        }
    }
    assert_eq!(at, bytes.len());
    answered
}

impl Memory {
    /// Flips a byte.
    pub fn flip(&self, file: u16, at: u64) {
        let file = FileRef { ring: RingIndex(0), file: FileIndex(file) };
        self.files.lock().unwrap().get_mut(&file).unwrap()[at as usize] ^= 0xff;
    }

    /// Where these bytes stand, in any file of the first ring.
    pub fn find(&self, bytes: &[u8]) -> Vec<(u16, u64)> {
        let files = self.files.lock().unwrap();
        let mut found = Vec::new();
        for (file, contents) in files.iter().filter(|(file, _)| file.ring == RingIndex(0)) {
            let mut at = 0;
            while at + bytes.len() <= contents.len() {
                if contents[at] == bytes[0] && contents[at..].starts_with(bytes) {
                    found.push((file.file.0, at as u64));
                }
                at += 1;
            }
        }
        found
    }
}

impl Storage for Memory {
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        let files = self.files.lock().unwrap();
        let files = files.iter().filter(|(file, _)| file.ring == ring);
        Ok(files.map(|(file, bytes)| (file.file, bytes.len() as u64)).collect())
    }

    fn create(&self, file: FileRef, bytes: u64, _: &mut dyn FnMut(u64)) -> Result<(), DiskError> {
        let zeroes = vec![0; bytes as usize];
        self.files.lock().unwrap().insert(file, zeroes);
        Ok(())
    }

    fn remove(&self, file: FileRef) -> Result<(), DiskError> {
        self.files.lock().unwrap().remove(&file);
        Ok(())
    }

    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let to = at + buf.len() as u64;
        let bad = self.bad.lock().unwrap();
        let is_bad = |(i, place): &(u16, u64)| *i == file.file.0 && (at..to).contains(place);
        if file.ring == RingIndex(0) && bad.iter().any(is_bad) {
            return Err(DiskError { doing: "read", os: 5 });
        }
        let files = self.files.lock().unwrap();
        let bytes = files[&file].get(at as usize..to as usize);
        buf.copy_from_slice(bytes.ok_or(DiskError { doing: "read", os: 0 })?);
        Ok(())
    }

    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError> {
        self.read(file, at, buf).map(|()| true)
    }

    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read(file, at, buf)
    }

    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let mut files = self.files.lock().unwrap();
        let contents = files.get_mut(&file).unwrap();
        let mut at = at as usize;
        for part in parts {
            contents[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn sync(&self, file: FileRef) -> Result<(), DiskError> {
        if file.ring != RingIndex(0) {
            return Ok(());
        }
        let fails = self
            .syncs_fail
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        fails.map_or(Ok(()), |_| Err(DiskError { doing: "sync", os: 5 }))
    }
}

/// A generator of numbers that anyone can repeat.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

pub fn live(rig: &Rig) -> Vec<SegmentSeq> {
    let segments = rig.broker.log.segments(RingIndex(0));
    segments.map(|view| view.seq).collect()
}

pub fn offset(rig: &Rig, index: u32) -> Offset {
    let slot = rig.slot(index);
    rig.broker.log.state().partition(slot).unwrap().high_watermark
}
