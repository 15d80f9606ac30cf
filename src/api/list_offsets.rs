//! ListOffsets (2): offsets by time. Versions 1–10.
//!
//! - 2 adds the isolation level; 4 leader epochs; 6 is flexible; 7 asks for the offset of the
//!   newest timestamp (−3); 8 for the local log start (−4); 9 for the last tiered offset (−5); 10
//!   adds a timeout for reading tiers.
//! - Version 0, which answered several offsets, is not served; its fields are not here.
//! - `isolation_level` changes nothing, and `replica_id` and `timeout_ms` are ignored.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Partitions, and the time in each.
    request ListOffsetsRequest<'a>, key 2, flexible 6+ {
        replica_id: i32, 0+;
        isolation_level: i8, 2+;
        topics: Array<'a, ListOffsetsTopic<'a>>, 0+;
        timeout_ms: i32, 10+;
    }

    /// The partitions of one topic.
    request ListOffsetsTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, ListOffsetsPartition>, 0+;
    }

    /// One partition.
    request ListOffsetsPartition {
        partition_index: i32, 0+;
        current_leader_epoch: i32, 4+, default -1;
        timestamp: i64, 0+;
    }

    /// The offsets.
    response ListOffsetsResponse<'a>, key 2, flexible 6+ {
        throttle_time_ms: i32, 2+;
        topics: List<'a, ListOffsetsTopicResponse<'static>>, 0+;
    }

    /// The partitions of one topic.
    response ListOffsetsTopicResponse<'a> {
        name: &'a str, 0+;
        partitions: List<'a, ListOffsetsPartitionResponse>, 0+;
    }

    /// One partition.
    response ListOffsetsPartitionResponse {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        timestamp: i64, 1+;
        offset: i64, 1+;
        leader_epoch: i32, 4+;
    }
}
