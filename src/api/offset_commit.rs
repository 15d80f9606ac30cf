//! OffsetCommit (8): stores where a consumer group is. Versions 2–9.
//!
//! - 3 adds the throttle time; 5 drops the retention time; 6 adds the leader epoch; 7 static
//!   members; 8 is flexible; 9 is for the new group protocol and may answer GROUP_ID_NOT_FOUND
//!   (69).
//! - The answer waits until the offsets are on flash, unless nothing changed.
//! - Committed offsets never expire: `retention_time_ms` is ignored.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// What to store.
    request OffsetCommitRequest<'a>, key 8, flexible 8+ {
        group_id: &'a str, 0+;
        generation_id_or_member_epoch: i32, 1+, default -1;
        member_id: &'a str, 1+;
        group_instance_id: Option<&'a str>, 7+, nullable 7+;
        retention_time_ms: i64, 2-4, default -1;
        topics: Array<'a, OffsetCommitRequestTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request OffsetCommitRequestTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, OffsetCommitRequestPartition<'a>>, 0+;
    }

    /// One partition.
    request OffsetCommitRequestPartition<'a> {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        committed_leader_epoch: i32, 6+, default -1;
        committed_metadata: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of it.
    response OffsetCommitResponse<'a>, key 8, flexible 8+ {
        throttle_time_ms: i32, 3+;
        topics: List<'a, OffsetCommitResponseTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    response OffsetCommitResponseTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, OffsetCommitResponsePartition>, 0+;
    }

    /// One partition.
    response OffsetCommitResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
