//! DeleteRecords (21): moves the log start of partitions. Versions 0–2.
//!
//! - 2 is flexible.
//! - A topic whose `cleanup.policy` lacks `delete` is POLICY_VIOLATION (44).
//! - Offset −1 is the high watermark; beyond it is OFFSET_OUT_OF_RANGE (1). Space is not freed before the ring comes round.
//! - `timeout_ms` is ignored: the answer waits for one sync.

use super::change::{Change, Items, Made, Outcome, Said, Wanted};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::Growth;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, Writer, message};
use crate::log::StageError;
use crate::log::record::MetaRecord;
use crate::log_limit::Names;
use crate::types::{Offset, PartitionHandle, RingIndex, Ticket};

message! {
    /// Where logs shall start.
    request DeleteRecordsRequest<'a>, key 21, flexible 2+ {
        topics: Array<'a, DeleteRecordsTopic<'a>>, 0+;
        timeout_ms: i32, 0+;
    }

    /// The partitions of one topic.
    request DeleteRecordsTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, DeleteRecordsPartition>, 0+;
    }

    /// One partition, and the offset to delete before; −1 is the high watermark.
    request DeleteRecordsPartition {
        partition_index: i32, 0+;
        offset: i64, 0+;
    }

    /// Where they start now.
    response DeleteRecordsResponse<'a>, key 21, flexible 2+ {
        throttle_time_ms: i32, 0+;
        topics: List<'a, DeleteRecordsTopicResult<'static>>, 0+;
    }

    /// The partitions of one topic.
    response DeleteRecordsTopicResult<'a> {
        name: &'a str, 0+;
        partitions: List<'a, DeleteRecordsPartitionResult>, 0+;
    }

    /// One partition.
    response DeleteRecordsPartitionResult {
        partition_index: i32, 0+;
        low_watermark: i64, 0+;
        error_code: ErrorCode, 0+;
    }
}

/// Moves log starts.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = DeleteRecordsRequest::decode(&mut request.reader(), request.version)?;
    let change = Change { request, items: ask.topics.len(), validate_only: false };
    // A log start only ever grows, and one of a deleted topic is ignored: nothing collides.
    Ok(change.carry_out(broker, &ask, out, now, Ok(())))
}

/// A log start that is to move.
pub(super) struct NewStart {
    ring: RingIndex,
    handle: PartitionHandle,
    offset: Offset,
}

impl<'a> Items for DeleteRecordsRequest<'a> {
    /// A partition, and its topic's name.
    type Item = (&'a str, DeleteRecordsPartition);
    type New = NewStart;

    fn items(&self) -> impl Iterator<Item = (&'a str, DeleteRecordsPartition)> {
        let topics = self.topics.iter();
        topics.flat_map(|topic| topic.partitions.iter().map(move |asked| (topic.name, asked)))
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        _: &mut Growth,
        _: bool,
        (name, asked): &(&'a str, DeleteRecordsPartition),
    ) -> Result<Option<Wanted<NewStart>>, Refusal> {
        let (start, new) = new_start(broker, name, asked)?;
        let wanted = Wanted { ring: new.ring, bytes: LOG_START_BYTES, new };
        Ok((wanted.new.offset > start).then_some(wanted))
    }

    fn name(
        &self,
        _: &Broker,
        (topic, asked): &(&'a str, DeleteRecordsPartition),
        new: &NewStart,
        names: &mut Names,
    ) {
        names.add(format_args!("{topic}-{} before {}", asked.partition_index, new.offset.0));
    }

    fn stage(
        &self,
        broker: &mut Broker,
        NewStart { ring, handle, offset }: NewStart,
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        let record = MetaRecord::LogStart { handle, offset };
        let ticket = broker.log.stage(ring, &record, true, now)?;
        broker.held_records_deleted(handle, offset);
        Ok((Made::default(), ticket))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        let mut outcomes = said.outcomes(self, broker);
        DeleteRecordsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |list| {
                for topic in self.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
                    list.push(DeleteRecordsTopicResult {
                        name: topic.name,
                        partitions: &mut |list: &mut ListWriter<'_, '_, _>| {
                            let own = outcomes.by_ref().take(topic.partitions.len());
                            for ((name, asked), outcome) in own {
                                list.push(result_of(broker, name, &asked, &outcome));
                            }
                        },
                    });
                }
            },
        }
        .encode(w, version);
    }
}

fn result_of(
    broker: &Broker,
    name: &str,
    asked: &DeleteRecordsPartition,
    outcome: &Outcome<NewStart>,
) -> DeleteRecordsPartitionResult {
    let partition = broker.partition_asked(name, asked.partition_index);
    let (low_watermark, error_code) = match outcome {
        Ok((_, Some(new))) => (new.offset.0, ErrorCode::NONE),
        Ok((_, None)) => (partition.map_or(-1, |is| is.log_start.0), ErrorCode::NONE),
        Err(refusal) => (-1, refusal.code),
    };
    DeleteRecordsPartitionResult {
        partition_index: asked.partition_index,
        low_watermark,
        error_code,
    }
}

/// Where the log of a partition starts, and where it shall.
fn new_start(
    broker: &Broker,
    name: &str,
    asked: &DeleteRecordsPartition,
) -> Result<(Offset, NewStart), Refusal> {
    let Some(partition) = broker.partition_asked(name, asked.partition_index) else {
        let why = format_args!("There is no such partition.");
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
    };
    let offset = match asked.offset {
        HIGH_WATERMARK => partition.high_watermark,
        offset => Offset(offset),
    };
    let topic = broker.log.state().topic(partition.topic);
    if topic.is_some_and(|topic| !topic.cleanup().delete) {
        let why = format_args!("The topic's cleanup.policy does not include delete.");
        return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, why));
    }
    if !(Offset(0)..=partition.high_watermark).contains(&offset) {
        let why = format_args!("The offset is not in the log.");
        return Err(Refusal::new(ErrorCode::OFFSET_OUT_OF_RANGE, why));
    }
    let new = NewStart { ring: partition.ring, handle: partition.handle, offset };
    Ok((partition.log_start, new))
}

const HIGH_WATERMARK: i64 = -1;

/// The most that a record of a log start takes: its kind, and two numbers of 32 and 64 bits.
const LOG_START_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::delete_records_request::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
    };
    use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
    use kafka_protocol::protocol::StrBytes;

    use crate::broker::testing::Bench;
    use crate::log::Append;
    use crate::types::Offset;

    fn delete(bench: &mut Bench, topic: &'static str, index: i32, offset: i64) -> (i16, i64) {
        let partition = DeleteRecordsPartition::default();
        let partition = partition.with_partition_index(index).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(vec![partition]);
        let answer = bench.ask(2, &DeleteRecordsRequest::default().with_topics(vec![topic]));
        let result = &answer.topics[0].partitions[0];
        (result.error_code, result.low_watermark)
    }

    /// A broker whose topic `t` has ten records.
    fn bench() -> Bench {
        let mut bench = Bench::new();
        let name = TopicName(StrBytes::from_static_str("t"));
        let topic = MetadataRequestTopic::default().with_name(Some(name));
        bench.ask(9, &MetadataRequest::default().with_topics(Some(vec![topic])));
        let state = bench.broker.log.state();
        let slot = state.partition_of(state.topic_named("t").unwrap().0, 0).unwrap();
        let mut batch = [0; 61];
        batch[11] = 49;
        batch[16] = 2;
        batch[26] = 9;
        batch[60] = 10;
        let append = Append {
            slot,
            batches: &batch,
            newest_ms: None,
            append_time_ms: None,
            relaxed_ms: None,
        };
        bench.broker.log.append(&append, bench.now).unwrap();
        bench.drive();
        bench
    }

    #[test]
    fn a_log_start_moves_forward_up_to_the_high_watermark() {
        let mut bench = bench();
        assert_eq!(delete(&mut bench, "t", 0, 4), (0, 4));
        let found = bench.broker.partition_asked("t", 0).unwrap();
        assert_eq!((found.log_start, found.high_watermark), (Offset(4), Offset(10)));
        assert_eq!(delete(&mut bench, "t", 0, 2), (0, 4));
        assert_eq!(delete(&mut bench, "t", 0, 11), (1, -1));
        assert_eq!(delete(&mut bench, "t", 0, -2), (1, -1));
        assert_eq!(delete(&mut bench, "t", 0, -1), (0, 10));
        assert_eq!(bench.broker.partition_asked("t", 0).unwrap().log_start, Offset(10));
    }

    #[test]
    fn what_is_unknown_is_said_to_be() {
        let mut bench = bench();
        assert_eq!(delete(&mut bench, "x", 0, 0), (3, -1));
        assert_eq!(delete(&mut bench, "t", 1, 0), (3, -1));
        assert_eq!(delete(&mut bench, "t", -1, 0), (3, -1));
    }
}
