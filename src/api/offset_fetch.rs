//! OffsetFetch (9): where a consumer group is. Versions 1–9.
//!
//! - 2 allows null for all topics and adds an error for the whole; 3 the throttle time; 5 the
//!   leader epoch; 6 is flexible; 7 asks for stable offsets; 8 asks for many groups at once; 9
//!   names a member.
//! - What was never committed is offset −1, leader epoch −1, metadata "", without an error.
//! - `require_stable` changes nothing: there are no transactions.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which groups and partitions.
    request OffsetFetchRequest<'a>, key 9, flexible 6+ {
        group_id: &'a str, 0-7;
        topics: Option<Array<'a, OffsetFetchRequestTopic<'a>>>, 0-7, nullable 2+,
            default Some(Array::default());
        groups: Array<'a, OffsetFetchRequestGroup<'a>>, 8+;
        require_stable: bool, 7+;
    }

    /// The partitions of one topic.
    request OffsetFetchRequestTopic<'a> {
        name: &'a str, 0-7;
        partition_indexes: Array<'a, i32>, 0-7;
    }

    /// One group.
    request OffsetFetchRequestGroup<'a> {
        group_id: &'a str, 8+;
        member_id: Option<&'a str>, 9+, nullable 9+;
        member_epoch: i32, 9+, default -1;
        topics: Option<Array<'a, OffsetFetchRequestTopics<'a>>>, 8+, nullable 8+;
    }

    /// The partitions of one topic.
    request OffsetFetchRequestTopics<'a> {
        name: &'a str, 8+;
        partition_indexes: Array<'a, i32>, 8+;
    }

    /// What was committed.
    response OffsetFetchResponse<'a>, key 9, flexible 6+ {
        throttle_time_ms: i32, 3+;
        topics: List<'a, OffsetFetchResponseTopic<'static>>, 0-7;
        error_code: ErrorCode, 2-7;
        groups: List<'a, OffsetFetchResponseGroup<'static>>, 8+;
    }

    /// The partitions of one topic.
    response OffsetFetchResponseTopic<'a> {
        name: &'a str, 0-7;
        partitions: List<'a, OffsetFetchResponsePartition<'static>>, 0-7;
    }

    /// One partition.
    response OffsetFetchResponsePartition<'a> {
        partition_index: i32, 0-7;
        committed_offset: i64, 0-7;
        committed_leader_epoch: i32, 5-7;
        metadata: Option<&'a str>, 0-7, nullable 0+;
        error_code: ErrorCode, 0-7;
    }

    /// One group.
    response OffsetFetchResponseGroup<'a> {
        group_id: &'a str, 8+;
        topics: List<'a, OffsetFetchResponseTopics<'static>>, 8+;
        error_code: ErrorCode, 8+;
    }

    /// The partitions of one topic.
    response OffsetFetchResponseTopics<'a> {
        name: &'a str, 8+;
        partitions: List<'a, OffsetFetchResponsePartitions<'static>>, 8+;
    }

    /// One partition.
    response OffsetFetchResponsePartitions<'a> {
        partition_index: i32, 8+;
        committed_offset: i64, 8+;
        committed_leader_epoch: i32, 8+;
        metadata: Option<&'a str>, 8+, nullable 8+;
        error_code: ErrorCode, 8+;
    }
}
