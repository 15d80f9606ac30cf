//! OffsetForLeaderEpoch (23): where a leader epoch ends. Versions 2–4.
//!
//! - 3 adds the replica id, which is ignored; 4 is flexible.
//! - The leader epoch is the count of this ring's openings. An epoch that is not remembered any
//!   more is answered from the oldest that is, and never with −1: clients would start over.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Partitions and epochs.
    request OffsetForLeaderEpochRequest<'a>, key 23, flexible 4+ {
        replica_id: i32, 3+, default -2;
        topics: Array<'a, OffsetForLeaderTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request OffsetForLeaderTopic<'a> {
        topic: &'a str, 0+;
        partitions: Array<'a, OffsetForLeaderPartition>, 0+;
    }

    /// One partition.
    request OffsetForLeaderPartition {
        partition: i32, 0+;
        current_leader_epoch: i32, 2+, default -1;
        leader_epoch: i32, 0+;
    }

    /// Where the epochs end.
    response OffsetForLeaderEpochResponse<'a>, key 23, flexible 4+ {
        throttle_time_ms: i32, 2+;
        topics: List<'a, OffsetForLeaderTopicResult<'static>>, 0+;
    }

    /// The partitions of one topic.
    response OffsetForLeaderTopicResult<'a> {
        topic: &'a str, 0+;
        partitions: List<'a, EpochEndOffset>, 0+;
    }

    /// Where an epoch ends in one partition.
    response EpochEndOffset {
        error_code: ErrorCode, 0+;
        partition: i32, 0+;
        leader_epoch: i32, 1+;
        end_offset: i64, 0+;
    }
}
