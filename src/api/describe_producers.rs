//! DescribeProducers (61): which producers write to partitions. Version 0.
//!
//! - Flexible from the start.
//! - There are no transactions: `coordinator_epoch` and `current_txn_start_offset` are −1.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which partitions.
    request DescribeProducersRequest<'a>, key 61, flexible 0+ {
        topics: Array<'a, TopicRequest<'a>>, 0+;
    }

    /// The partitions of one topic.
    request TopicRequest<'a> {
        name: &'a str, 0+;
        partition_indexes: Array<'a, i32>, 0+;
    }

    /// Their producers.
    response DescribeProducersResponse<'a>, key 61, flexible 0+ {
        throttle_time_ms: i32, 0+;
        topics: List<'a, TopicResponse<'static>>, 0+;
    }

    /// The partitions of one topic.
    response TopicResponse<'a> {
        name: &'a str, 0+;
        partitions: List<'a, PartitionResponse<'static>>, 0+;
    }

    /// One partition.
    response PartitionResponse<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        active_producers: List<'a, ProducerState>, 0+;
    }

    /// One producer that wrote to it.
    response ProducerState {
        producer_id: i64, 0+;
        producer_epoch: i32, 0+;
        last_sequence: i32, 0+;
        last_timestamp: i64, 0+;
        coordinator_epoch: i32, 0+;
        current_txn_start_offset: i64, 0+;
    }
}
