//! DescribeLogDirs (35): what partitions take on flash. Versions 1–4.
//!
//! - 2 is flexible; 3 adds an error for the whole; 4 the size of the volume and what is free.
//! - Null topics are all topics. There is one directory per ring.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which partitions; null is all.
    request DescribeLogDirsRequest<'a>, key 35, flexible 2+ {
        topics: Option<Array<'a, DescribableLogDirTopic<'a>>>, 0+, nullable 0+;
    }

    /// The partitions of one topic.
    request DescribableLogDirTopic<'a> {
        topic: &'a str, 0+;
        partitions: Array<'a, i32>, 0+;
    }

    /// The directories.
    response DescribeLogDirsResponse<'a>, key 35, flexible 2+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 3+;
        results: List<'a, DescribeLogDirsResult<'static>>, 0+;
    }

    /// One directory.
    response DescribeLogDirsResult<'a> {
        error_code: ErrorCode, 0+;
        log_dir: &'a str, 0+;
        topics: List<'a, DescribeLogDirsTopic<'static>>, 0+;
        total_bytes: i64, 4+;
        usable_bytes: i64, 4+;
    }

    /// What one topic has in it.
    response DescribeLogDirsTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, DescribeLogDirsPartition>, 0+;
    }

    /// What one partition has in it.
    response DescribeLogDirsPartition {
        partition_index: i32, 0+;
        partition_size: i64, 0+;
        offset_lag: i64, 0+;
        is_future_key: bool, 0+;
    }
}
