//! CreateTopics (19): creates topics. Versions 2–7.
//!
//! - 4 allows −1 partitions and replicas (the broker's default) without assignments; 5 is flexible
//!   and answers the topic's size and configs; 6 may be throttled; 7 answers the topic's id.
//! - `validate_only` checks and creates nothing.
//! - TopicConfigErrorCode (tag 0) is never sent: who may create a topic may see its configs.
//! - `timeout_ms` is not looked at: the answer waits for one sync.

use crate::codec::{Array, ErrorCode, List, message};
use crate::types::TopicId;

message! {
    /// Topics to create.
    request CreateTopicsRequest<'a>, key 19, flexible 5+ {
        topics: Array<'a, CreatableTopic<'a>>, 0+;
        timeout_ms: i32, 0+, default 60_000;
        validate_only: bool, 1+;
    }

    /// One topic.
    request CreatableTopic<'a> {
        name: &'a str, 0+;
        num_partitions: i32, 0+;
        replication_factor: i16, 0+;
        assignments: Array<'a, CreatableReplicaAssignment<'a>>, 0+;
        configs: Array<'a, CreatableTopicConfig<'a>>, 0+;
    }

    /// Where a partition's replicas should be.
    request CreatableReplicaAssignment<'a> {
        partition_index: i32, 0+;
        broker_ids: Array<'a, i32>, 0+;
    }

    /// One config.
    request CreatableTopicConfig<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of them.
    response CreateTopicsResponse<'a>, key 19, flexible 5+ {
        throttle_time_ms: i32, 2+;
        topics: List<'a, CreatableTopicResult<'static>>, 0+;
    }

    /// One topic.
    response CreatableTopicResult<'a> {
        name: &'a str, 0+;
        topic_id: TopicId, 7+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 1+, nullable 0+;
        num_partitions: i32, 5+;
        replication_factor: i16, 5+;
        configs: Option<List<'a, CreatableTopicConfigs<'static>>>, 5+, nullable 5+;
    }

    /// One config.
    response CreatableTopicConfigs<'a> {
        name: &'a str, 5+;
        value: Option<&'a str>, 5+, nullable 5+;
        read_only: bool, 5+;
        config_source: i8, 5+;
        is_sensitive: bool, 5+;
    }
}
