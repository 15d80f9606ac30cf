//! Fetch (1): reads record batches. Versions 4–12; topic ids (13) have their fields here already.
//!
//! - 5 adds the log start offset; 7 fetch sessions; 9 the leader epoch that the client knows; 10
//!   allows zstd; 11 adds the client's rack; 12 is flexible and adds the epoch of the last record
//!   fetched; 13 names topics by id.
//! - Sessions are not kept: the answer's session id is 0, with which every client fetches in
//!   full.
//! - At least one whole batch is answered, even beyond `max_bytes` and `partition_max_bytes`.
//! - `isolation_level` changes nothing: there are no transactions, so the last stable offset is
//!   the high watermark, and no transaction was aborted (null).
//! - `replica_id` is ignored: nobody replicates from here as a broker. Ignored too are the
//!   client's log start offset, its rack, and the cluster id (tag 0).
//! - The tagged fields of an answer (diverging epoch, leader, snapshot, endpoints) are never
//!   sent.
//! - `records` is never null: nothing to read is an empty one.

use crate::codec::{Array, ErrorCode, List, Records, message};
use crate::types::TopicId;

message! {
    /// Partitions to read, and how long to wait.
    request FetchRequest<'a>, key 1, flexible 12+ {
        replica_id: i32, 0-14, default -1;
        max_wait_ms: i32, 0+;
        min_bytes: i32, 0+;
        max_bytes: i32, 3+, default i32::MAX;
        isolation_level: i8, 4+;
        session_id: i32, 7+;
        session_epoch: i32, 7+, default -1;
        topics: Array<'a, FetchTopic<'a>>, 0+;
        forgotten_topics_data: Array<'a, ForgottenTopic<'a>>, 7+;
        rack_id: &'a str, 11+;
    }

    /// One topic, by name or (since version 13) by id.
    request FetchTopic<'a> {
        topic: &'a str, 0-12;
        topic_id: TopicId, 13+;
        partitions: Array<'a, FetchPartition>, 0+;
    }

    /// One partition, and from where.
    request FetchPartition {
        partition: i32, 0+;
        current_leader_epoch: i32, 9+, default -1;
        fetch_offset: i64, 0+;
        last_fetched_epoch: i32, 12+, default -1;
        log_start_offset: i64, 5+, default -1;
        partition_max_bytes: i32, 0+;
    }

    /// Partitions that leave a fetch session.
    request ForgottenTopic<'a> {
        topic: &'a str, 7-12;
        topic_id: TopicId, 13+;
        partitions: Array<'a, i32>, 7+;
    }

    /// What was read.
    response FetchResponse<'a>, key 1, flexible 12+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 7+;
        session_id: i32, 7+;
        responses: List<'a, FetchableTopicResponse<'static>>, 0+;
    }

    /// One topic.
    response FetchableTopicResponse<'a> {
        topic: &'a str, 0-12;
        topic_id: TopicId, 13+;
        partitions: List<'a, PartitionData<'static>>, 0+;
    }

    /// One partition, and what was read of it.
    response PartitionData<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        high_watermark: i64, 0+;
        last_stable_offset: i64, 4+;
        log_start_offset: i64, 5+;
        aborted_transactions: Option<List<'a, AbortedTransaction>>, 4+, nullable 4+;
        preferred_read_replica: i32, 11+;
        records: Records<'a>, 0+;
    }

    /// A transaction that was aborted.
    response AbortedTransaction {
        producer_id: i64, 4+;
        first_offset: i64, 4+;
    }
}
