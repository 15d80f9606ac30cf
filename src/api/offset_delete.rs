//! OffsetDelete (47): deletes committed offsets. Version 0, which is not flexible.
//!
//! - A topic that the group's members are subscribed to is GROUP_SUBSCRIBED_TO_TOPIC (86).

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Offsets to delete.
    request OffsetDeleteRequest<'a>, key 47, flexible none {
        group_id: &'a str, 0+;
        topics: Array<'a, OffsetDeleteRequestTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request OffsetDeleteRequestTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, OffsetDeleteRequestPartition>, 0+;
    }

    /// One partition.
    request OffsetDeleteRequestPartition {
        partition_index: i32, 0+;
    }

    /// What became of them.
    response OffsetDeleteResponse<'a>, key 47, flexible none {
        error_code: ErrorCode, 0+;
        throttle_time_ms: i32, 0+;
        topics: List<'a, OffsetDeleteResponseTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    response OffsetDeleteResponseTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, OffsetDeleteResponsePartition>, 0+;
    }

    /// One partition.
    response OffsetDeleteResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}
