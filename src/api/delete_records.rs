//! DeleteRecords (21): moves the log start of partitions. Versions 0–2.
//!
//! - 2 is flexible.
//! - Offset −1 is the high watermark; beyond it is OFFSET_OUT_OF_RANGE (1). Space is not freed before the ring comes round.
//! - `timeout_ms` is ignored: the answer waits for one sync.

use super::change::{Change, Pass};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::log::record::MetaRecord;
use crate::types::Offset;

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
    let change = Change {
        request,
        items: ask.topics.len(),
        validate_only: false,
    };
    // A log start only ever grows, and one of a deleted topic is ignored: nothing collides.
    let step = change.carry_out(broker, out, now, Ok(()), |pass, broker, w| {
        DeleteRecordsResponse {
            throttle_time_ms: 0,
            topics: &mut |list| {
                for topic in ask
                    .topics
                    .iter()
                    .filter(|topic| !topic.partitions.is_empty())
                {
                    list.push(DeleteRecordsTopicResult {
                        name: topic.name,
                        partitions: &mut |list| delete_all(broker, pass, &topic, list),
                    });
                }
            },
        }
        .encode(w, request.version);
    });
    Ok(step)
}

fn delete_all(
    broker: &mut Broker,
    pass: &mut Pass,
    topic: &DeleteRecordsTopic<'_>,
    list: &mut ListWriter<'_, '_, DeleteRecordsPartitionResult>,
) {
    for partition in topic.partitions {
        let deleted = delete(broker, pass, topic.name, &partition);
        list.push(DeleteRecordsPartitionResult {
            partition_index: partition.partition_index,
            low_watermark: deleted.as_ref().map_or(-1, |start| start.0),
            error_code: deleted.map_or_else(|refusal| refusal.code, |_| ErrorCode::NONE),
        });
    }
}

fn delete(
    broker: &mut Broker,
    pass: &mut Pass,
    name: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, Refusal> {
    pass.open()?;
    let Some(partition) = broker.partition_asked(name, asked.partition_index) else {
        let why = format_args!("There is no such partition.");
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
    };
    let start = partition.log_start;
    let offset = match asked.offset {
        HIGH_WATERMARK => partition.high_watermark,
        offset => Offset(offset),
    };
    if !(Offset(0)..=partition.high_watermark).contains(&offset) {
        let why = format_args!("The offset is not in the log.");
        return Err(Refusal::new(ErrorCode::OFFSET_OUT_OF_RANGE, why));
    }
    if offset <= start {
        return Ok(start);
    }
    let ring = partition.ring;
    let handle = partition.handle;
    pass.change(broker, ring, LOG_START_BYTES, |broker, now| {
        let record = MetaRecord::LogStart { handle, offset };
        let ticket = broker.log.stage(ring, &record, true, now)?;
        Ok(((), ticket))
    })?;
    Ok(offset)
}

const HIGH_WATERMARK: i64 = -1;

/// The most that a record of a log start takes: its kind, and two numbers of 32 and 64 bits.
const LOG_START_BYTES: usize = 16;
