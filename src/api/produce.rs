//! Produce (0): appends record batches. Versions 3–12; 0–2 are advertised but not served.
//!
//! - 5 adds the log start offset to the answer; 7 allows zstd; 8 adds errors per record; 9 is
//!   flexible; 10–12 change what is tagged or what brokers do in transactions.
//! - Versions 0–2 are in the advertised range only because librdkafka before 2.11 does not
//!   compress otherwise; their message formats are gone, and using them closes the connection.
//! - `acks` 1 and −1 are the same: both wait for the sync. `acks` 0 gets no answer at all; an
//!   error then closes the connection.
//! - The tagged leader and node endpoints (10+) are never sent: there is one broker.
//! - Errors per record are never sent: a batch is refused whole.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Batches per partition.
    request ProduceRequest<'a>, key 0, flexible 9+ {
        transactional_id: Option<&'a str>, 3+, nullable 3+;
        acks: i16, 0+;
        timeout_ms: i32, 0+;
        topic_data: Array<'a, TopicProduceData<'a>>, 0+;
    }

    /// The partitions of one topic.
    request TopicProduceData<'a> {
        name: &'a str, 0+;
        partition_data: Array<'a, PartitionProduceData<'a>>, 0+;
    }

    /// The batches of one partition.
    request PartitionProduceData<'a> {
        index: i32, 0+;
        records: Option<&'a [u8]>, 0+, nullable 0+;
    }

    /// Where the batches went.
    response ProduceResponse<'a>, key 0, flexible 9+ {
        responses: List<'a, TopicProduceResponse<'static>>, 0+;
        throttle_time_ms: i32, 1+;
    }

    /// The partitions of one topic.
    response TopicProduceResponse<'a> {
        name: &'a str, 0+;
        partition_responses: List<'a, PartitionProduceResponse<'static>>, 0+;
    }

    /// One partition.
    response PartitionProduceResponse<'a> {
        index: i32, 0+;
        error_code: ErrorCode, 0+;
        base_offset: i64, 0+;
        log_append_time_ms: i64, 2+;
        log_start_offset: i64, 5+;
        record_errors: List<'a, BatchIndexAndErrorMessage<'static>>, 8+;
        error_message: Option<&'a str>, 8+, nullable 8+;
    }

    /// A record that was refused.
    response BatchIndexAndErrorMessage<'a> {
        batch_index: i32, 8+;
        batch_index_error_message: Option<&'a str>, 8+, nullable 8+;
    }
}
