//! The messages of the protocol as a client has them, each in the one version that is used.
//!
//! Kafka since 2.4, Redpanda and this broker all serve these versions, and none of them is flexible.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Asks for topics; null asks for all.
    sent MetadataRequest<'a>, key 3, flexible 9+ {
        topics: Option<List<'a, &'static str>>, 0+, nullable 0+;
        allow_auto_topic_creation: bool, 0+;
    }

    /// The cluster.
    received MetadataResponse<'a>, key 3, flexible 9+ {
        throttle_time_ms: i32, 0+;
        brokers: Array<'a, MetadataBroker<'a>>, 0+;
        cluster_id: Option<&'a str>, 0+, nullable 0+;
        controller_id: i32, 0+;
        topics: Array<'a, MetadataTopic<'a>>, 0+;
    }

    /// One broker.
    received MetadataBroker<'a> {
        node_id: i32, 0+;
        host: &'a str, 0+;
        port: i32, 0+;
        rack: Option<&'a str>, 0+, nullable 0+;
    }

    /// One topic.
    received MetadataTopic<'a> {
        error_code: ErrorCode, 0+;
        name: &'a str, 0+;
        is_internal: bool, 0+;
        partitions: Array<'a, MetadataPartition<'a>>, 0+;
    }

    /// One partition.
    received MetadataPartition<'a> {
        error_code: ErrorCode, 0+;
        partition_index: i32, 0+;
        leader_id: i32, 0+;
        replica_nodes: Array<'a, i32>, 0+;
        isr_nodes: Array<'a, i32>, 0+;
    }
}

message! {
    /// Partitions, and the time in each.
    sent ListOffsetsRequest<'a>, key 2, flexible 6+ {
        replica_id: i32, 0+;
        topics: List<'a, ListOffsetsTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    sent ListOffsetsTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, ListOffsetsPartition>, 0+;
    }

    /// One partition.
    sent ListOffsetsPartition {
        partition_index: i32, 0+;
        timestamp: i64, 0+;
    }

    /// The offsets.
    received ListOffsetsResponse<'a>, key 2, flexible 6+ {
        topics: Array<'a, ListedTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    received ListedTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, ListedPartition>, 0+;
    }

    /// One partition.
    received ListedPartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        timestamp: i64, 0+;
        offset: i64, 0+;
    }
}

message! {
    /// Topics to create.
    sent CreateTopicsRequest<'a>, key 19, flexible 5+ {
        topics: List<'a, CreatableTopic<'static>>, 0+;
        timeout_ms: i32, 0+;
        validate_only: bool, 0+;
    }

    /// One topic.
    sent CreatableTopic<'a> {
        name: &'a str, 0+;
        num_partitions: i32, 0+;
        replication_factor: i16, 0+;
        assignments: List<'a, i32>, 0+;
        configs: List<'a, CreatableConfig<'static>>, 0+;
    }

    /// One config.
    sent CreatableConfig<'a> {
        name: &'a str, 0+;
        value: &'a str, 0+;
    }

    /// What became of them.
    received CreateTopicsResponse<'a>, key 19, flexible 5+ {
        throttle_time_ms: i32, 0+;
        topics: Array<'a, TopicResult<'a>>, 0+;
    }

    /// What became of one topic.
    received TopicResult<'a> {
        name: &'a str, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
    }
}

message! {
    /// Topics to delete.
    sent DeleteTopicsRequest<'a>, key 20, flexible 4+ {
        topic_names: List<'a, &'static str>, 0+;
        timeout_ms: i32, 0+;
    }

    /// What became of them.
    received DeleteTopicsResponse<'a>, key 20, flexible 4+ {
        throttle_time_ms: i32, 0+;
        responses: Array<'a, NamedResult<'a>>, 0+;
    }

    /// What became of one topic or group.
    received NamedResult<'a> {
        name: &'a str, 0+;
        error_code: ErrorCode, 0+;
    }
}

message! {
    /// Topics to grow.
    sent CreatePartitionsRequest<'a>, key 37, flexible 2+ {
        topics: List<'a, CreatePartitionsTopic<'static>>, 0+;
        timeout_ms: i32, 0+;
        validate_only: bool, 0+;
    }

    /// One topic, and how many partitions it shall have.
    sent CreatePartitionsTopic<'a> {
        name: &'a str, 0+;
        count: i32, 0+;
        assignments: Option<List<'a, i32>>, 0+, nullable 0+;
    }

    /// What became of them.
    received CreatePartitionsResponse<'a>, key 37, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: Array<'a, TopicResult<'a>>, 0+;
    }
}

message! {
    /// Resources and changes.
    sent IncrementalAlterConfigsRequest<'a>, key 44, flexible 1+ {
        resources: List<'a, AlterConfigsResource<'static>>, 0+;
        validate_only: bool, 0+;
    }

    /// The changes of one resource.
    sent AlterConfigsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configs: List<'a, AlterableConfig<'static>>, 0+;
    }

    /// One config.
    sent AlterableConfig<'a> {
        name: &'a str, 0+;
        config_operation: i8, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of them.
    received IncrementalAlterConfigsResponse<'a>, key 44, flexible 1+ {
        throttle_time_ms: i32, 0+;
        responses: Array<'a, AlterConfigsResult<'a>>, 0+;
    }

    /// What became of one resource.
    received AlterConfigsResult<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
    }
}

message! {
    /// Whose configs.
    sent DescribeConfigsRequest<'a>, key 32, flexible 4+ {
        resources: List<'a, DescribeConfigsResource<'static>>, 0+;
        include_synonyms: bool, 0+;
    }

    /// One resource, and which of its configs; null is all.
    sent DescribeConfigsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configuration_keys: Option<List<'a, &'static str>>, 0+, nullable 0+;
    }

    /// The configs.
    received DescribeConfigsResponse<'a>, key 32, flexible 4+ {
        throttle_time_ms: i32, 0+;
        results: Array<'a, DescribedResource<'a>>, 0+;
    }

    /// One resource.
    received DescribedResource<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configs: Array<'a, DescribedConfig<'a>>, 0+;
    }

    /// One config.
    received DescribedConfig<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
        read_only: bool, 0+;
        config_source: i8, 0+;
        is_sensitive: bool, 0+;
        synonyms: Array<'a, DescribedSynonym<'a>>, 0+;
    }

    /// Where else its value could come from.
    received DescribedSynonym<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
        source: i8, 0+;
    }
}

message! {
    /// Asks for all groups of a broker.
    sent ListGroupsRequest, key 16, flexible 3+ {}

    /// The groups.
    received ListGroupsResponse<'a>, key 16, flexible 3+ {
        error_code: ErrorCode, 0+;
        groups: Array<'a, ListedGroup<'a>>, 0+;
    }

    /// One group.
    received ListedGroup<'a> {
        group_id: &'a str, 0+;
        protocol_type: &'a str, 0+;
    }
}

message! {
    /// Which groups.
    sent DescribeGroupsRequest<'a>, key 15, flexible 5+ {
        groups: List<'a, &'static str>, 0+;
    }

    /// The groups.
    received DescribeGroupsResponse<'a>, key 15, flexible 5+ {
        groups: Array<'a, DescribedGroup<'a>>, 0+;
    }

    /// One group.
    received DescribedGroup<'a> {
        error_code: ErrorCode, 0+;
        group_id: &'a str, 0+;
        group_state: &'a str, 0+;
        protocol_type: &'a str, 0+;
        protocol_data: &'a str, 0+;
        members: Array<'a, DescribedMember<'a>>, 0+;
    }

    /// One member.
    received DescribedMember<'a> {
        member_id: &'a str, 0+;
        client_id: &'a str, 0+;
        client_host: &'a str, 0+;
        member_metadata: &'a [u8], 0+;
        member_assignment: &'a [u8], 0+;
    }

    /// What a consumer was assigned: a message of the clients', inside of others.
    received Assignment<'a>, key -1, flexible none {
        version: i16, 0+;
        topics: Array<'a, AssignedTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    received AssignedTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, i32>, 0+;
    }
}

message! {
    /// Asks for all that a group has committed.
    sent OffsetFetchRequest<'a>, key 9, flexible 6+ {
        group_id: &'a str, 0+;
        topics: Option<List<'a, i32>>, 0+, nullable 0+;
    }

    /// What was committed.
    received OffsetFetchResponse<'a>, key 9, flexible 6+ {
        topics: Array<'a, CommittedTopic<'a>>, 0+;
        error_code: ErrorCode, 0+;
    }

    /// The partitions of one topic.
    received CommittedTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, CommittedPartition<'a>>, 0+;
    }

    /// One partition.
    received CommittedPartition<'a> {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        metadata: Option<&'a str>, 0+, nullable 0+;
        error_code: ErrorCode, 0+;
    }
}

message! {
    /// What to store.
    sent OffsetCommitRequest<'a>, key 8, flexible 8+ {
        group_id: &'a str, 0+;
        generation_id_or_member_epoch: i32, 0+;
        member_id: &'a str, 0+;
        retention_time_ms: i64, 0+;
        topics: List<'a, OffsetCommitTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    sent OffsetCommitTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, OffsetCommitPartition<'static>>, 0+;
    }

    /// One partition.
    sent OffsetCommitPartition<'a> {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        committed_metadata: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of it.
    received OffsetCommitResponse<'a>, key 8, flexible 8+ {
        topics: Array<'a, OffsetCommitResult<'a>>, 0+;
    }

    /// The partitions of one topic.
    received OffsetCommitResult<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, OffsetCommitPartitionResult>, 0+;
    }

    /// One partition.
    received OffsetCommitPartitionResult {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}

message! {
    /// Whose coordinator.
    sent FindCoordinatorRequest<'a>, key 10, flexible 3+ {
        key: &'a str, 0+;
    }

    /// Where it is.
    received FindCoordinatorResponse<'a>, key 10, flexible 3+ {
        error_code: ErrorCode, 0+;
        node_id: i32, 0+;
        host: &'a str, 0+;
        port: i32, 0+;
    }
}

message! {
    /// Groups to delete.
    sent DeleteGroupsRequest<'a>, key 42, flexible 2+ {
        groups_names: List<'a, &'static str>, 0+;
    }

    /// What became of them.
    received DeleteGroupsResponse<'a>, key 42, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: Array<'a, NamedResult<'a>>, 0+;
    }
}

message! {
    /// Partitions to read, and how long to wait.
    sent FetchRequest<'a>, key 1, flexible 12+ {
        replica_id: i32, 0+;
        max_wait_ms: i32, 0+;
        min_bytes: i32, 0+;
        max_bytes: i32, 0+;
        isolation_level: i8, 0+;
        session_id: i32, 0+;
        session_epoch: i32, 0+;
        topics: List<'a, FetchTopic<'static>>, 0+;
        forgotten_topics_data: List<'a, i32>, 0+;
    }

    /// One topic.
    sent FetchTopic<'a> {
        topic: &'a str, 0+;
        partitions: List<'a, FetchPartition>, 0+;
    }

    /// One partition, and from where.
    sent FetchPartition {
        partition: i32, 0+;
        current_leader_epoch: i32, 0+;
        fetch_offset: i64, 0+;
        log_start_offset: i64, 0+;
        partition_max_bytes: i32, 0+;
    }

    /// What was read.
    received FetchResponse<'a>, key 1, flexible 12+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        session_id: i32, 0+;
        responses: Array<'a, FetchedTopic<'a>>, 0+;
    }

    /// One topic.
    received FetchedTopic<'a> {
        topic: &'a str, 0+;
        partitions: Array<'a, FetchedPartition<'a>>, 0+;
    }

    /// One partition, and what was read of it.
    received FetchedPartition<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        high_watermark: i64, 0+;
        last_stable_offset: i64, 0+;
        log_start_offset: i64, 0+;
        aborted_transactions: Option<Array<'a, AbortedTransaction>>, 0+, nullable 0+;
        records: Option<&'a [u8]>, 0+, nullable 0+;
    }

    /// A transaction that was aborted.
    received AbortedTransaction {
        producer_id: i64, 0+;
        first_offset: i64, 0+;
    }
}

message! {
    /// A batch for a partition.
    sent ProduceRequest<'a>, key 0, flexible 9+ {
        transactional_id: Option<&'a str>, 0+, nullable 0+;
        acks: i16, 0+;
        timeout_ms: i32, 0+;
        topic_data: List<'a, ProduceTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    sent ProduceTopic<'a> {
        name: &'a str, 0+;
        partition_data: List<'a, ProducePartition<'static>>, 0+;
    }

    /// The batches of one partition.
    sent ProducePartition<'a> {
        index: i32, 0+;
        records: &'a [u8], 0+;
    }

    /// Where they went.
    received ProduceResponse<'a>, key 0, flexible 9+ {
        responses: Array<'a, ProducedTopic<'a>>, 0+;
        throttle_time_ms: i32, 0+;
    }

    /// The partitions of one topic.
    received ProducedTopic<'a> {
        name: &'a str, 0+;
        partition_responses: Array<'a, ProducedPartition>, 0+;
    }

    /// One partition.
    received ProducedPartition {
        index: i32, 0+;
        error_code: ErrorCode, 0+;
        base_offset: i64, 0+;
        log_append_time_ms: i64, 0+;
    }
}

message! {
    /// Asks which APIs there are.
    sent ApiVersionsRequest, key 18, flexible 3+ {}

    /// The APIs.
    received ApiVersionsResponse<'a>, key 18, flexible 3+ {
        error_code: ErrorCode, 0+;
        api_keys: Array<'a, ApiVersion>, 0+;
    }

    /// One API, from which to which version.
    received ApiVersion {
        api_key: i16, 0+;
        min_version: i16, 0+;
        max_version: i16, 0+;
    }
}

/// The version of each that is sent.
pub mod version {
    #![allow(missing_docs)] // Named after the messages.
    pub const PRODUCE: i16 = 3;
    pub const FETCH: i16 = 10;
    pub const LIST_OFFSETS: i16 = 1;
    pub const METADATA: i16 = 4;
    pub const OFFSET_COMMIT: i16 = 2;
    pub const OFFSET_FETCH: i16 = 2;
    pub const FIND_COORDINATOR: i16 = 0;
    pub const DESCRIBE_GROUPS: i16 = 0;
    pub const LIST_GROUPS: i16 = 0;
    pub const API_VERSIONS: i16 = 0;
    pub const CREATE_TOPICS: i16 = 4;
    pub const DELETE_TOPICS: i16 = 1;
    pub const DESCRIBE_CONFIGS: i16 = 1;
    pub const CREATE_PARTITIONS: i16 = 0;
    pub const DELETE_GROUPS: i16 = 0;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 0;
}
