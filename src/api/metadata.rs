//! Metadata (3): the broker, its topics and their partitions. Versions 0–12.
//!
//! - 1 adds the controller, racks and internal topics; 2 the cluster id; 3 the throttle time; 4
//!   whether unknown topics may be created; 5 offline replicas; 7 the leader epoch; 8 authorized
//!   operations (8–10 of the cluster too); 9 is flexible; 10 adds topic ids; 12 asks by topic id.
//! - All topics: an empty array in version 0, null since version 1 (where empty means none).
//! - Authorized operations are not kept: `i32::MIN`, as from a broker without an authorizer.
//! - A topic's name may be null since 10 in a request and since 12 in a response; in versions 10
//!   and 11 Kafka answers neither a null name nor a topic id.

use crate::codec::{Array, ErrorCode, List, message};
use crate::types::TopicId;

message! {
    /// Asks for topics.
    request MetadataRequest<'a>, key 3, flexible 9+ {
        topics: Option<Array<'a, MetadataRequestTopic<'a>>>, 0+, nullable 1+;
        allow_auto_topic_creation: bool, 4+, default true;
        include_cluster_authorized_operations: bool, 8-10;
        include_topic_authorized_operations: bool, 8+;
    }

    /// One topic, by name or (since version 12) by id.
    request MetadataRequestTopic<'a> {
        topic_id: TopicId, 10+;
        name: Option<&'a str>, 0+, nullable 10+;
    }

    /// The cluster.
    response MetadataResponse<'a>, key 3, flexible 9+ {
        throttle_time_ms: i32, 3+;
        brokers: List<'a, MetadataResponseBroker<'static>>, 0+;
        cluster_id: Option<&'a str>, 2+, nullable 2+;
        controller_id: i32, 1+;
        topics: List<'a, MetadataResponseTopic<'static>>, 0+;
        cluster_authorized_operations: i32, 8-10;
    }

    /// One broker.
    response MetadataResponseBroker<'a> {
        node_id: i32, 0+;
        host: &'a str, 0+;
        port: i32, 0+;
        rack: Option<&'a str>, 1+, nullable 1+;
    }

    /// One topic.
    response MetadataResponseTopic<'a> {
        error_code: ErrorCode, 0+;
        name: Option<&'a str>, 0+, nullable 12+;
        topic_id: TopicId, 10+;
        is_internal: bool, 1+;
        partitions: List<'a, MetadataResponsePartition<'static>>, 0+;
        topic_authorized_operations: i32, 8+;
    }

    /// One partition.
    response MetadataResponsePartition<'a> {
        error_code: ErrorCode, 0+;
        partition_index: i32, 0+;
        leader_id: i32, 0+;
        leader_epoch: i32, 7+;
        replica_nodes: &'a [i32], 0+;
        isr_nodes: &'a [i32], 0+;
        offline_replicas: &'a [i32], 5+;
    }
}
