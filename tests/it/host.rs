//! A broker without sockets, threads or time of its own, over a simulated disk: requests go in as
//! frames, the disk's work is done step by step, and the clock is a number.

use std::io::Write;
use std::sync::Arc;

use brooklet::api::{self, Asked, Step, Window};
use brooklet::broker::{Broker, ConnId, JobNext, Partly, Peer};
use brooklet::clock::{Mono, Now};
use brooklet::codec::batch;
use brooklet::config::Config;
use brooklet::log::recovery::{OpenError, Opening};
use brooklet::log::{Log, LogConfig};
use brooklet::storage::Storage;
use brooklet::storage::sim::SimStorage;
use brooklet::types::{Settle, Until};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::long::stream::long;

/// The broker and its surroundings.
pub struct Host {
    pub storage: Arc<SimStorage>,
    pub broker: Broker,
    pub now: Now,
    /// The next produce requests have waited for room as long as they may.
    pub waited_out: bool,
    /// What was done of the request that is dispatched next.
    pub partly: Partly,
}

/// A configuration with small tables, and a ring of `segments` times `segment_bytes`.
pub fn config_small(segments: u16, segment_bytes: u64) -> Config {
    let mut config = Config {
        topics_max: 8,
        partitions_max: 8,
        producers_max: 8,
        groups_max: 3,
        offsets_max: 6,
        offset_metadata_bytes: 8 << 10,
        commit_group_max_bytes: 64 << 10,
        metadata_linger_ms: 0,
        ..Config::default()
    };
    config.rings[0].segments = segments;
    config.rings[0].segment_bytes = segment_bytes;
    config
}

impl Host {
    /// Opens the log; the boot group is on the disk then, if that works.
    pub fn open(storage: Arc<SimStorage>, config: Config, now: Now) -> Result<Host, OpenError> {
        Host::open_with(storage, config, now, false)
    }

    /// The same, where what cannot be read may be taken for damaged.
    pub fn open_with(
        storage: Arc<SimStorage>,
        config: Config,
        now: Now,
        unreadable_is_damaged: bool,
    ) -> Result<Host, OpenError> {
        let mut seed = storage.counts().writes as u8;
        let mut entropy = |buf: &mut [u8]| {
            buf.fill_with(|| {
                seed = seed.wrapping_mul(5).wrapping_add(77);
                seed
            });
        };
        let mut opening =
            Opening { now, entropy: &mut entropy, progress: &mut |_, _| {}, unreadable_is_damaged };
        let disk: Arc<dyn Storage> = Arc::clone(&storage) as _;
        let log = Log::open(&LogConfig::of(&config), disk, &mut opening)?;
        let broker = Broker::new(config, log);
        Ok(Host { storage, broker, now, waited_out: false, partly: Partly::default() })
    }

    /// Over a new disk.
    pub fn new(config: Config) -> Host {
        let now = Now { mono: Mono(0), wall_ms: NOON_MS, wall_synchronised: true };
        let host = Host::open(Arc::new(SimStorage::new(1)), config, now);
        host.unwrap_or_else(|error| panic!("a new ring opens: {error}"))
    }

    /// Who asks.
    pub fn peer(&self) -> Peer {
        let address = "127.0.0.1:9092".parse().unwrap();
        let peer = Peer::new(ConnId(0), address, address);
        Peer { waited_out: self.waited_out, partly: self.partly, ..peer }
    }

    /// Handles one frame; gives the step and, where there is one, the answer.
    pub fn dispatch(&mut self, frame: &[u8]) -> (Step, Vec<u8>) {
        self.dispatch_as(&self.peer(), frame)
    }

    /// The same of another connection.
    pub fn dispatch_as(&mut self, peer: &Peer, frame: &[u8]) -> (Step, Vec<u8>) {
        let mut buf = vec![0; 64 << 10];
        let out = Window { buf: &mut buf, from: 0 };
        let step = api::dispatch(&mut self.broker, peer, frame, out, self.now);
        let bytes = match step {
            Step::Reply { bytes, .. } | Step::ReplyAfter { bytes, .. } => bytes,
            _ => 0,
        };
        buf.truncate(bytes);
        (step, buf)
    }

    /// Does one step of the disk's work in any ring, waiting for deadlines; false: none is left.
    pub fn work(&mut self) -> bool {
        for ring in self.broker.log.rings() {
            if let Some(mut job) = self.broker.log.next_io(ring, self.now) {
                let result = job.run(&**self.broker.log.storage());
                self.broker.log.io_done(ring, job, result, self.now);
                return true;
            }
        }
        false
    }

    /// Lets time pass to the next deadline, if there is one.
    pub fn sleep(&mut self) -> bool {
        let rings = self.broker.log.rings();
        let deadline = rings.filter_map(|ring| self.broker.log.deadline(ring)).min();
        if let Some(deadline) = deadline {
            self.pass_us(deadline.since_us(self.now.mono));
        }
        deadline.is_some()
    }

    /// Lets time pass.
    pub fn pass_us(&mut self, us: u64) {
        self.now.mono.0 += us;
        self.now.wall_ms += (us / 1000) as i64;
    }

    /// Works until something is settled.
    pub fn settle(&mut self, until: &Until) -> Settle {
        for _ in 0..10_000 {
            let settle = self.broker.log.settled(until);
            if settle != Settle::Pending {
                return settle;
            }
            if !self.work() {
                assert!(self.sleep(), "nothing is left to do, and the answer still waits");
            }
        }
        panic!("the answer waits for ever");
    }

    /// Has a request answered as a connection would; none if it gets no answer.
    pub fn exchange(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        self.partly = Partly::default();
        for _ in 0..100 {
            let (step, mut answer) = self.dispatch(frame);
            match step {
                Step::Reply { .. } => return Ok(Some(answer)),
                Step::ReplyAfter { until, .. } => {
                    let failed = self.settle(&until) == Settle::Failed;
                    let key = i16::from_be_bytes([frame[0], frame[1]]);
                    if failed && key == 0 {
                        let version = i16::from_be_bytes([frame[2], frame[3]]);
                        api::fail(key, version, &mut answer);
                    }
                    if !failed || key == 0 {
                        return Ok(Some(answer));
                    }
                }
                Step::Again(until) => {
                    self.settle(&until);
                }
                Step::Partly(partly) => {
                    self.partly = partly;
                    self.settle(&partly.until);
                }
                Step::NoReply => return Ok(None),
                Step::Held(_) => return Err("held"),
                Step::Close(why) => return Err(why),
                Step::Job => return self.read(None).map(Some),
                Step::Wait(asked) => return self.read(Some(asked)).map(Some),
                Step::Long => return long(self, frame, &mut || usize::MAX),
            }
        }
        panic!("the request is tried again for ever");
    }

    /// Carries out the read job that a request started, or waits as it asked.
    fn read(&mut self, asked: Option<Asked>) -> Result<Vec<u8>, &'static str> {
        let mut answer = Vec::new();
        let mut buf = vec![0; 64 << 10];
        let mut outcome = None;
        loop {
            let next = match asked {
                Some(asked) => api::wait_step(&mut self.broker, ConnId(0), asked, &mut buf),
                None => self.broker.job_step(ConnId(0), &mut buf, outcome.take(), self.now),
            };
            match next {
                JobNext::Read { file, at, from, to } => {
                    let window = &mut buf[from..to];
                    outcome = Some(match self.broker.log.storage().read_cached(file, at, window) {
                        Ok(false) => self.broker.log.storage().read(file, at, window),
                        cached => cached.map(|_| ()),
                    });
                }
                JobNext::Send { from, to } => answer.extend_from_slice(&buf[from..to]),
                JobNext::Turn => {}
                JobNext::Buffer { large } => {
                    let long = self.broker.config.message_max_bytes;
                    buf.resize(if large { long } else { 64 << 10 }, 0);
                }
                JobNext::Sleep(deadline) => self.pass_us(deadline.since_us(self.now.mono)),
                JobNext::Done => return Ok(answer),
                JobNext::Close(why) => return Err(why),
            }
        }
    }

    /// Steps a read job until it sleeps; gives what it sent till then.
    pub fn read_until_sleep(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut buf = vec![0; 64 << 10];
        loop {
            match self.broker.job_step(ConnId(0), &mut buf, None, self.now) {
                JobNext::Send { from, to } => sent.extend_from_slice(&buf[from..to]),
                JobNext::Sleep(_) | JobNext::Done => return sent,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Fetches from one partition: whole batches.
    pub fn fetch(&mut self, topic: &str, index: i32, offset: i64) -> Bytes {
        let mut partition = FetchPartition::default();
        partition.partition = index;
        partition.fetch_offset = offset;
        partition.partition_max_bytes = 1 << 20;
        let mut asked = FetchTopic::default();
        asked.topic = TopicName(StrBytes::from_string(topic.to_owned()));
        asked.partitions.push(partition);
        let mut request = FetchRequest::default();
        request.max_bytes = 1 << 20;
        request.topics.push(asked);
        let answer: FetchResponse = self.ask(ApiKey::Fetch, 11, &request);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0, "a fetch from {offset} of {topic}-{index}");
        partition.records.clone().unwrap_or_default()
    }

    /// Stops as a signal would make it stop.
    pub fn close(&mut self) {
        self.broker.log.close();
        for _ in 0..10_000 {
            if self.broker.log.is_closed() {
                return;
            }
            if !self.work() && !self.broker.log.is_closed() {
                assert!(self.sleep(), "it is not closed, and nothing is left to do");
            }
        }
        panic!("it takes for ever to stop");
    }

    /// Sends one request and reads its answer.
    pub fn ask<Q: Encodable, A: Decodable>(&mut self, key: ApiKey, version: i16, request: &Q) -> A {
        let answer = self.exchange(&frame(key, version, request)).unwrap();
        read_answer(key, version, &answer.expect("an answer"))
    }
}

/// A frame without its size prefix.
pub fn frame<Q: Encodable>(key: ApiKey, version: i16, request: &Q) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let mut header = RequestHeader::default();
    header.request_api_key = key as i16;
    header.request_api_version = version;
    header.correlation_id = 7;
    header.client_id = Some(StrBytes::from_static_str("it"));
    header.encode(&mut bytes, key.request_header_version(version)).unwrap();
    request.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

/// The message of an answer, all of which must be read.
pub fn read_answer<A: Decodable>(key: ApiKey, version: i16, answer: &[u8]) -> A {
    let mut bytes = Bytes::copy_from_slice(&answer[4..]);
    assert_eq!(answer[..4], (bytes.len() as u32).to_be_bytes());
    let header = ResponseHeader::decode(&mut bytes, key.response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    let answer = A::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "{} bytes behind the answer", bytes.len());
    answer
}

/// Who produces, and which sequence comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    pub id: i64,
    pub epoch: i16,
    pub first: i32,
}

/// Not an idempotent producer.
pub const PLAIN: Sequenced = Sequenced { id: -1, epoch: -1, first: -1 };

/// A record batch with one record for each value.
pub fn batch(from: Sequenced, timestamp_ms: i64, values: &[&[u8]]) -> Vec<u8> {
    let records: Vec<_> = values.iter().map(|value| (None, Some(*value))).collect();
    keyed_batch(from, timestamp_ms, &records)
}

/// A record's key and value.
pub type Keyed<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// A record batch with one record for each key and value.
pub fn keyed_batch(from: Sequenced, timestamp_ms: i64, values: &[Keyed<'_>]) -> Vec<u8> {
    let mut records = Vec::new();
    for (offset, (key, value)) in values.iter().enumerate() {
        let mut record = vec![0, 0];
        varint(&mut record, offset as i64);
        for bytes in [key, value] {
            varint(&mut record, bytes.map_or(-1, |bytes| bytes.len() as i64));
            record.extend_from_slice(bytes.unwrap_or_default());
        }
        record.push(0);
        varint(&mut records, record.len() as i64);
        records.extend(record);
    }
    let mut bytes = Vec::new();
    bytes.extend(0_i64.to_be_bytes());
    bytes.extend((49 + records.len() as i32).to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    bytes.push(2);
    bytes.extend([0; 4]);
    bytes.extend(0_i16.to_be_bytes());
    bytes.extend((values.len() as i32 - 1).to_be_bytes());
    bytes.extend(timestamp_ms.to_be_bytes());
    bytes.extend(timestamp_ms.to_be_bytes());
    bytes.extend(from.id.to_be_bytes());
    bytes.extend(from.epoch.to_be_bytes());
    bytes.extend(from.first.to_be_bytes());
    bytes.extend((values.len() as i32).to_be_bytes());
    bytes.extend(records);
    batch::set_timestamps(&mut bytes, false, timestamp_ms);
    bytes
}

fn varint(bytes: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// 2026-01-01, noon.
pub const NOON_MS: i64 = 1_767_268_800_000;

/// The batch with its records compressed: 1 gzip, 2 snappy, 3 LZ4, 4 zstd.
pub fn packed(batch: &[u8], codec: u8) -> Vec<u8> {
    let (header, records) = batch.split_at(61);
    let payload = match codec {
        1 => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        2 => snap::raw::Encoder::new().compress_vec(records).unwrap(),
        3 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest)
        }
    };
    let mut batch = [header, &payload].concat();
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] |= codec;
    let crc = brooklet::codec::crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}
