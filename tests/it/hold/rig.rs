//! A broker with a small ring that is held, and those who use it.

use std::sync::Arc;

use brooklet::api::Step;
use brooklet::codec::batch;
use brooklet::config::{Config, Holder};
use brooklet::log::ring::RingStats;
use brooklet::storage::sim::SimStorage;
use brooklet::types::{Offset, RingIndex};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ApiKey, GroupId, OffsetCommitRequest, OffsetCommitResponse, ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::host::{Host, NOON_MS, PLAIN, batch, config_small, frame};
use crate::model::first_readable;
use crate::produce::{create_topic, produce, topic_name};

pub const RING: RingIndex = RingIndex(0);
pub const SEGMENT_BYTES: u64 = 256 << 10;
/// Eight such batches and a few commits fill a segment.
pub const RECORD_BYTES: usize = 28 << 10;
pub const SYNCS: &str = "mm2-offset-syncs.up.internal";

pub struct Rig {
    pub host: Host,
    pub config: Config,
}

/// Six files, of which three hold records.
pub fn config(holders: &[&str]) -> Config {
    let mut config = config_small(4, SEGMENT_BYTES);
    config.rings[0].spares = 2;
    config.rings[0].hold_for = holders.iter().map(|h| Holder::from_text(h).unwrap()).collect();
    config
}

impl Rig {
    /// With topic `t` of two partitions.
    pub fn new(holders: &[&str]) -> Rig {
        Rig::with(config(holders))
    }

    pub fn with(config: Config) -> Rig {
        let mut rig = Rig { host: Host::new(config.clone()), config };
        create_topic(&mut rig.host, "t", 2, &[]);
        rig
    }

    /// One record, its number in it; gives its offset, or none: it has to wait.
    pub fn try_send(&mut self, topic: &str, index: i32, bytes: usize) -> Option<i64> {
        let next = self.bounds(topic, index).1;
        let mut value = next.to_be_bytes().to_vec();
        value.resize(bytes, next as u8);
        let request = produce(-1, topic, &[(index, Some(batch(PLAIN, NOON_MS, &[&value])))]);
        let (code, offset) = self.produce(&request)?;
        assert_eq!((code, offset), (0, next));
        Some(offset)
    }

    pub fn send(&mut self, topic: &str, index: i32) -> i64 {
        self.try_send(topic, index, RECORD_BYTES).expect("there is room")
    }

    /// Sends records until there is no room for the smallest; gives how many.
    pub fn fill(&mut self, topic: &str, index: i32) -> i64 {
        self.fill_with(topic, index, RECORD_BYTES) + self.fill_with(topic, index, 8)
    }

    /// Sends records of this size until there is no room for one.
    pub fn fill_with(&mut self, topic: &str, index: i32, bytes: usize) -> i64 {
        (0..200).find(|_| self.try_send(topic, index, bytes).is_none()).expect("it fills")
    }

    /// Error code and offset of the first partition; none: it has to wait.
    pub fn produce(&mut self, request: &ProduceRequest) -> Option<(i16, i64)> {
        let request = frame(ApiKey::Produce, 9, request);
        match self.host.exchange(&request) {
            Err("held") => None,
            answer => {
                let answer = answer.unwrap().unwrap();
                let answer: ProduceResponse = crate::host::read_answer(ApiKey::Produce, 9, &answer);
                let partition = &answer.responses[0].partition_responses[0];
                Some((partition.error_code, partition.base_offset))
            }
        }
    }

    /// One record of a topic that nobody holds, whatever is said to it.
    pub fn try_produce(&mut self, topic: &str) -> Result<(), i16> {
        let records = Some(batch(PLAIN, NOON_MS, &[&[7; RECORD_BYTES]]));
        match self.produce(&produce(-1, topic, &[(0, records)])) {
            Some((0, _)) => Ok(()),
            Some((code, _)) => Err(code),
            None => panic!("nobody holds it"),
        }
    }

    /// What a request leads to, once.
    pub fn step(&mut self, request: &ProduceRequest) -> Step {
        self.host.dispatch(&frame(ApiKey::Produce, 9, request)).0
    }

    pub fn commit(&mut self, group: &str, topic: &str, index: i32, offset: i64) -> i16 {
        let request = commit(group, topic, index, offset);
        let answer: OffsetCommitResponse = self.host.ask(ApiKey::OffsetCommit, 8, &request);
        answer.topics[0].partitions[0].error_code
    }

    /// The mirror `up` says that it has the record at this offset.
    pub fn report(&mut self, topic: &str, index: i32, offset: i64) -> Option<(i16, i64)> {
        if self.host.broker.log.state().topic_named(SYNCS).is_none() {
            create_topic(&mut self.host, SYNCS, 1, &[]);
        }
        let records = offset_syncs(&[(topic, index, offset)]);
        self.produce(&produce(-1, SYNCS, &[(0, Some(records))]))
    }

    /// A partition's first offset, and the one behind its last.
    pub fn bounds(&self, topic: &str, index: i32) -> (i64, i64) {
        let partition = self.host.broker.partition_asked(topic, index).unwrap();
        (partition.log_start.0, partition.high_watermark.0)
    }

    /// All records of a partition are there, from its log start on.
    pub fn check(&mut self, topic: &str, index: i32) {
        let (_, end) = self.bounds(topic, index);
        let mut next = first_readable(&mut self.host, topic, index);
        while next < end {
            let bytes = self.host.fetch(topic, index, next);
            let before = next;
            for found in batch::batches(&bytes) {
                assert!(found.crc_holds());
                for record in found.records().unwrap().map(Result::unwrap) {
                    let value = record.value.unwrap();
                    assert_eq!((record.offset, &value[..8]), (next, &next.to_be_bytes()[..]));
                    next += 1;
                }
            }
            assert!(next > before, "{topic}-{index}: nothing at {next} of {end}");
        }
    }

    pub fn stats(&self) -> RingStats {
        self.host.broker.log.stats(RING)
    }

    pub fn segments(&self) -> usize {
        self.host.broker.log.segments(RING).count()
    }

    pub fn position(&self, topic: &str, index: i32) -> Option<Offset> {
        let state = self.host.broker.log.state();
        let handle = self.host.broker.partition_asked(topic, index)?.handle;
        state.mirrors.position("up", state.partition_with_handle(handle)?)
    }

    /// A new process over the same disk.
    pub fn reopen(&mut self) {
        let disk = Arc::clone(&self.host.storage);
        self.reopen_over(disk);
    }

    pub fn reopen_over(&mut self, disk: Arc<SimStorage>) {
        self.host = self.host_over(disk);
    }

    /// A process over another disk.
    pub fn host_over(&self, disk: Arc<SimStorage>) -> Host {
        Host::open(disk, self.config.clone(), self.host.now).unwrap()
    }

    /// Time passes, and the disk does what it has to do.
    pub fn pass_ms(&mut self, ms: u64) {
        self.host.pass_us(ms * 1000);
        while self.host.work() {}
    }
}

pub fn commit(group: &str, topic: &str, index: i32, offset: i64) -> OffsetCommitRequest {
    let mut partition = OffsetCommitRequestPartition::default();
    partition.partition_index = index;
    partition.committed_offset = offset;
    let mut asked = OffsetCommitRequestTopic::default();
    asked.name = topic_name(topic);
    asked.partitions.push(partition);
    let mut request = OffsetCommitRequest::default();
    request.group_id = GroupId(StrBytes::from_string(group.to_owned()));
    request.generation_id_or_member_epoch = -1;
    request.topics.push(asked);
    request
}

/// A batch of MirrorMaker's reports, as it encodes them.
pub fn offset_syncs(reports: &[(&str, i32, i64)]) -> Vec<u8> {
    let mut bytes = batch(PLAIN, NOON_MS, &[]);
    for (i, (topic, index, upstream)) in reports.iter().enumerate() {
        let mut key = (topic.len() as u16).to_be_bytes().to_vec();
        key.extend_from_slice(topic.as_bytes());
        key.extend(index.to_be_bytes());
        let value = [upstream.to_be_bytes(), (upstream + 1000).to_be_bytes()].concat();
        let zigzag = |n: usize| (n << 1) as u8;
        let mut record = vec![0, 0, zigzag(i), zigzag(key.len())];
        record.extend(&key);
        record.push(zigzag(value.len()));
        record.extend(&value);
        record.push(0);
        assert!(record.len() < 64);
        bytes.push(zigzag(record.len()));
        bytes.extend(record);
    }
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[23..27].copy_from_slice(&(reports.len() as i32 - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&(reports.len() as i32).to_be_bytes());
    batch::set_timestamps(&mut bytes, false, NOON_MS);
    bytes
}
