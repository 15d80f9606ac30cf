//! CreatePartitions (37): adds partitions to topics. Versions 0–3.
//!
//! - 2 is flexible; 3 may be throttled.
//! - `count` is the new total; it must grow. `validate_only` checks and changes nothing.
//! - `timeout_ms` is ignored: the answer waits for one sync.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Topics to grow.
    request CreatePartitionsRequest<'a>, key 37, flexible 2+ {
        topics: Array<'a, CreatePartitionsTopic<'a>>, 0+;
        timeout_ms: i32, 0+;
        validate_only: bool, 0+;
    }

    /// One topic, and how many partitions it shall have.
    request CreatePartitionsTopic<'a> {
        name: &'a str, 0+;
        count: i32, 0+;
        assignments: Option<Array<'a, CreatePartitionsAssignment<'a>>>, 0+, nullable 0+;
    }

    /// Where a new partition's replicas should be.
    request CreatePartitionsAssignment<'a> {
        broker_ids: Array<'a, i32>, 0+;
    }

    /// What became of them.
    response CreatePartitionsResponse<'a>, key 37, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, CreatePartitionsTopicResult<'static>>, 0+;
    }

    /// What became of one topic.
    response CreatePartitionsTopicResult<'a> {
        name: &'a str, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
    }
}
