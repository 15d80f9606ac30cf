//! DeleteRecords (21): moves the log start of partitions. Versions 0–2.
//!
//! - 2 is flexible.
//! - Offset −1 is the high watermark. Space is not freed before the ring comes round.
//! - `timeout_ms` is ignored: the answer waits for one sync.

use crate::codec::{Array, ErrorCode, List, message};

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
