//! One row per API: its versions, its structures, and how a decoded answer of the oracle becomes
//! one of ours. `name: [Structure { … }]` is an array, `name? [ … ]` one that may be null, `name @
//! [T]` one of scalars; `name = Structure { … }` is a structure, `name ?= …` one that may be null, `name =? [ … ]`
//! one that may be null and has arrays in it.

use super::row::{Row, row};

/// Every API.
pub fn all() -> Vec<Row> {
    vec![
        produce::row(),
        fetch::row(),
        list_offsets::row(),
        metadata::row(),
        offset_commit::row(),
        offset_fetch::row(),
        find_coordinator::row(),
        join_group::row(),
        heartbeat::row(),
        leave_group::row(),
        sync_group::row(),
        describe_groups::row(),
        list_groups::row(),
        api_versions::row(),
        create_topics::row(),
        delete_topics::row(),
        delete_records::row(),
        init_producer_id::row(),
        offset_for_leader_epoch::row(),
        describe_acls::row(),
        create_acls::row(),
        delete_acls::row(),
        describe_configs::row(),
        alter_configs::row(),
        alter_replica_log_dirs::row(),
        describe_log_dirs::row(),
        create_partitions::row(),
        delete_groups::row(),
        elect_leaders::row(),
        incremental_alter_configs::row(),
        alter_partition_reassignments::row(),
        list_partition_reassignments::row(),
        offset_delete::row(),
        describe_client_quotas::row(),
        describe_quorum::row(),
        describe_cluster::row(),
        describe_producers::row(),
        #[cfg(feature = "consumer-protocol")]
        consumer_group_heartbeat::row(),
        #[cfg(feature = "consumer-protocol")]
        consumer_group_describe::row(),
        list_config_resources::row(),
        describe_topic_partitions::row(),
    ]
}

row! { produce, "Produce", 3..=12,
    [ProduceRequest, TopicProduceData, PartitionProduceData],
    [ProduceResponse, TopicProduceResponse, PartitionProduceResponse, BatchIndexAndErrorMessage],
    ProduceResponse {
        responses: [TopicProduceResponse {
            name,
            partition_responses: [PartitionProduceResponse {
                index, error_code, base_offset, log_append_time_ms, log_start_offset,
                record_errors: [BatchIndexAndErrorMessage {
                    batch_index, batch_index_error_message,
                }],
                error_message,
            }],
        }],
        throttle_time_ms,
    }
}

row! { fetch, "Fetch", 4..=18,
    [FetchRequest, FetchTopic, FetchPartition, ForgottenTopic],
    [FetchResponse, FetchableTopicResponse, PartitionData, AbortedTransaction],
    FetchResponse {
        throttle_time_ms, error_code, session_id,
        responses: [FetchableTopicResponse {
            topic, topic_id,
            partitions: [PartitionData {
                partition_index, error_code, high_watermark, last_stable_offset, log_start_offset,
                aborted_transactions? [AbortedTransaction {
                    producer_id, first_offset,
                }],
                preferred_read_replica, records,
            }],
        }],
    }
}

row! { list_offsets, "ListOffsets", 1..=10,
    [ListOffsetsRequest, ListOffsetsTopic, ListOffsetsPartition],
    [ListOffsetsResponse, ListOffsetsTopicResponse, ListOffsetsPartitionResponse],
    ListOffsetsResponse {
        throttle_time_ms,
        topics: [ListOffsetsTopicResponse {
            name,
            partitions: [ListOffsetsPartitionResponse {
                partition_index, error_code, timestamp, offset, leader_epoch,
            }],
        }],
    }
}

row! { metadata, "Metadata", 0..=13,
    [MetadataRequest, MetadataRequestTopic],
    [MetadataResponse, MetadataResponseBroker, MetadataResponseTopic, MetadataResponsePartition],
    MetadataResponse {
        throttle_time_ms,
        brokers: [MetadataResponseBroker {
            node_id, host, port, rack,
        }],
        cluster_id, controller_id,
        topics: [MetadataResponseTopic {
            error_code, name, topic_id, is_internal,
            partitions: [MetadataResponsePartition {
                error_code, partition_index, leader_id, leader_epoch, replica_nodes, isr_nodes,
                offline_replicas,
            }],
            topic_authorized_operations,
        }],
        cluster_authorized_operations, error_code,
    }
}

row! { offset_commit, "OffsetCommit", 2..=9,
    [OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitRequestPartition],
    [OffsetCommitResponse, OffsetCommitResponseTopic, OffsetCommitResponsePartition],
    OffsetCommitResponse {
        throttle_time_ms,
        topics: [OffsetCommitResponseTopic {
            name,
            partitions: [OffsetCommitResponsePartition {
                partition_index, error_code,
            }],
        }],
    }
}

row! { offset_fetch, "OffsetFetch", 1..=9,
    [OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchRequestGroup,
     OffsetFetchRequestTopics],
    [OffsetFetchResponse, OffsetFetchResponseTopic, OffsetFetchResponsePartition,
     OffsetFetchResponseGroup, OffsetFetchResponseTopics, OffsetFetchResponsePartitions],
    OffsetFetchResponse {
        throttle_time_ms,
        topics: [OffsetFetchResponseTopic {
            name,
            partitions: [OffsetFetchResponsePartition {
                partition_index, committed_offset, committed_leader_epoch, metadata, error_code,
            }],
        }],
        error_code,
        groups: [OffsetFetchResponseGroup {
            group_id,
            topics: [OffsetFetchResponseTopics {
                name,
                partitions: [OffsetFetchResponsePartitions {
                    partition_index, committed_offset, committed_leader_epoch, metadata,
                    error_code,
                }],
            }],
            error_code,
        }],
    }
}

row! { find_coordinator, "FindCoordinator", 0..=6,
    [FindCoordinatorRequest],
    [FindCoordinatorResponse, Coordinator],
    FindCoordinatorResponse {
        throttle_time_ms, error_code, error_message, node_id, host, port,
        coordinators: [Coordinator {
            key, node_id, host, port, error_code, error_message,
        }],
    }
}

row! { join_group, "JoinGroup", 0..=9,
    [JoinGroupRequest, JoinGroupRequestProtocol],
    [JoinGroupResponse, JoinGroupResponseMember],
    JoinGroupResponse {
        throttle_time_ms, error_code, generation_id, protocol_type, protocol_name, leader,
        skip_assignment, member_id,
        members: [JoinGroupResponseMember {
            member_id, group_instance_id, metadata,
        }],
    }
}

row! { heartbeat, "Heartbeat", 0..=4,
    [HeartbeatRequest],
    [HeartbeatResponse],
    HeartbeatResponse {
        throttle_time_ms, error_code,
    }
}

row! { leave_group, "LeaveGroup", 0..=5,
    [LeaveGroupRequest, MemberIdentity],
    [LeaveGroupResponse, MemberResponse],
    LeaveGroupResponse {
        throttle_time_ms, error_code,
        members: [MemberResponse {
            member_id, group_instance_id, error_code,
        }],
    }
}

row! { sync_group, "SyncGroup", 0..=5,
    [SyncGroupRequest, SyncGroupRequestAssignment],
    [SyncGroupResponse],
    SyncGroupResponse {
        throttle_time_ms, error_code, protocol_type, protocol_name, assignment,
    }
}

row! { describe_groups, "DescribeGroups", 0..=6,
    [DescribeGroupsRequest],
    [DescribeGroupsResponse, DescribedGroup, DescribedGroupMember],
    DescribeGroupsResponse {
        throttle_time_ms,
        groups: [DescribedGroup {
            error_code, error_message, group_id, group_state, protocol_type, protocol_data,
            members: [DescribedGroupMember {
                member_id, group_instance_id, client_id, client_host, member_metadata,
                member_assignment,
            }],
            authorized_operations,
        }],
    }
}

row! { list_groups, "ListGroups", 0..=5,
    [ListGroupsRequest],
    [ListGroupsResponse, ListedGroup],
    ListGroupsResponse {
        throttle_time_ms, error_code,
        groups: [ListedGroup {
            group_id, protocol_type, group_state, group_type,
        }],
    }
}

row! { api_versions, "ApiVersions", 0..=4,
    [ApiVersionsRequest],
    [ApiVersionsResponse, ApiVersion],
    ApiVersionsResponse {
        error_code,
        api_keys: [ApiVersion {
            api_key, min_version, max_version,
        }],
        throttle_time_ms,
    }
}

row! { create_topics, "CreateTopics", 2..=7,
    [CreateTopicsRequest, CreatableTopic, CreatableReplicaAssignment, CreatableTopicConfig],
    [CreateTopicsResponse, CreatableTopicResult, CreatableTopicConfigs],
    CreateTopicsResponse {
        throttle_time_ms,
        topics: [CreatableTopicResult {
            name, topic_id, error_code, error_message, num_partitions, replication_factor,
            configs? [CreatableTopicConfigs {
                name, value, read_only, config_source, is_sensitive,
            }],
        }],
    }
}

row! { delete_topics, "DeleteTopics", 1..=6,
    [DeleteTopicsRequest, DeleteTopicState],
    [DeleteTopicsResponse, DeletableTopicResult],
    DeleteTopicsResponse {
        throttle_time_ms,
        responses: [DeletableTopicResult {
            name, topic_id, error_code, error_message,
        }],
    }
}

row! { delete_records, "DeleteRecords", 0..=2,
    [DeleteRecordsRequest, DeleteRecordsTopic, DeleteRecordsPartition],
    [DeleteRecordsResponse, DeleteRecordsTopicResult, DeleteRecordsPartitionResult],
    DeleteRecordsResponse {
        throttle_time_ms,
        topics: [DeleteRecordsTopicResult {
            name,
            partitions: [DeleteRecordsPartitionResult {
                partition_index, low_watermark, error_code,
            }],
        }],
    }
}

row! { init_producer_id, "InitProducerId", 0..=5,
    [InitProducerIdRequest],
    [InitProducerIdResponse],
    InitProducerIdResponse {
        throttle_time_ms, error_code, producer_id, producer_epoch,
    }
}

row! { offset_for_leader_epoch, "OffsetForLeaderEpoch", 2..=4,
    [OffsetForLeaderEpochRequest, OffsetForLeaderTopic, OffsetForLeaderPartition],
    [OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult, EpochEndOffset],
    OffsetForLeaderEpochResponse {
        throttle_time_ms,
        topics: [OffsetForLeaderTopicResult {
            topic,
            partitions: [EpochEndOffset {
                error_code, partition, leader_epoch, end_offset,
            }],
        }],
    }
}

row! { describe_acls, "DescribeAcls", 1..=3,
    [DescribeAclsRequest],
    [DescribeAclsResponse, DescribeAclsResource, AclDescription],
    DescribeAclsResponse {
        throttle_time_ms, error_code, error_message,
        resources: [DescribeAclsResource {
            resource_type, resource_name, pattern_type,
            acls: [AclDescription {
                principal, host, operation, permission_type,
            }],
        }],
    }
}

row! { create_acls, "CreateAcls", 1..=3,
    [CreateAclsRequest, AclCreation],
    [CreateAclsResponse, AclCreationResult],
    CreateAclsResponse {
        throttle_time_ms,
        results: [AclCreationResult {
            error_code, error_message,
        }],
    }
}

row! { delete_acls, "DeleteAcls", 1..=3,
    [DeleteAclsRequest, DeleteAclsFilter],
    [DeleteAclsResponse, DeleteAclsFilterResult, DeleteAclsMatchingAcl],
    DeleteAclsResponse {
        throttle_time_ms,
        filter_results: [DeleteAclsFilterResult {
            error_code, error_message,
            matching_acls: [DeleteAclsMatchingAcl {
                error_code, error_message, resource_type, resource_name, pattern_type, principal,
                host, operation, permission_type,
            }],
        }],
    }
}

row! { describe_configs, "DescribeConfigs", 1..=4,
    [DescribeConfigsRequest, DescribeConfigsResource],
    [DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsResourceResult,
     DescribeConfigsSynonym],
    DescribeConfigsResponse {
        throttle_time_ms,
        results: [DescribeConfigsResult {
            error_code, error_message, resource_type, resource_name,
            configs: [DescribeConfigsResourceResult {
                name, value, read_only, config_source, is_sensitive,
                synonyms: [DescribeConfigsSynonym {
                    name, value, source,
                }],
                config_type, documentation,
            }],
        }],
    }
}

row! { alter_configs, "AlterConfigs", 0..=2,
    [AlterConfigsRequest, AlterConfigsResource, AlterableConfig],
    [AlterConfigsResponse, AlterConfigsResourceResponse],
    AlterConfigsResponse {
        throttle_time_ms,
        responses: [AlterConfigsResourceResponse {
            error_code, error_message, resource_type, resource_name,
        }],
    }
}

row! { describe_log_dirs, "DescribeLogDirs", 1..=4,
    [DescribeLogDirsRequest, DescribableLogDirTopic],
    [DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
     DescribeLogDirsPartition],
    DescribeLogDirsResponse {
        throttle_time_ms, error_code,
        results: [DescribeLogDirsResult {
            error_code, log_dir,
            topics: [DescribeLogDirsTopic {
                name,
                partitions: [DescribeLogDirsPartition {
                    partition_index, partition_size, offset_lag, is_future_key,
                }],
            }],
            total_bytes, usable_bytes,
        }],
    }
}

row! { create_partitions, "CreatePartitions", 0..=3,
    [CreatePartitionsRequest, CreatePartitionsTopic, CreatePartitionsAssignment],
    [CreatePartitionsResponse, CreatePartitionsTopicResult],
    CreatePartitionsResponse {
        throttle_time_ms,
        results: [CreatePartitionsTopicResult {
            name, error_code, error_message,
        }],
    }
}

row! { delete_groups, "DeleteGroups", 0..=2,
    [DeleteGroupsRequest],
    [DeleteGroupsResponse, DeletableGroupResult],
    DeleteGroupsResponse {
        throttle_time_ms,
        results: [DeletableGroupResult {
            group_id, error_code,
        }],
    }
}

row! { incremental_alter_configs, "IncrementalAlterConfigs", 0..=1,
    [IncrementalAlterConfigsRequest, AlterConfigsResource, AlterableConfig],
    [IncrementalAlterConfigsResponse, AlterConfigsResourceResponse],
    IncrementalAlterConfigsResponse {
        throttle_time_ms,
        responses: [AlterConfigsResourceResponse {
            error_code, error_message, resource_type, resource_name,
        }],
    }
}

row! { alter_replica_log_dirs, "AlterReplicaLogDirs", 1..=2,
    [AlterReplicaLogDirsRequest, AlterReplicaLogDir, AlterReplicaLogDirTopic],
    [AlterReplicaLogDirsResponse, AlterReplicaLogDirTopicResult, AlterReplicaLogDirPartitionResult],
    AlterReplicaLogDirsResponse {
        throttle_time_ms,
        results: [AlterReplicaLogDirTopicResult {
            topic_name,
            partitions: [AlterReplicaLogDirPartitionResult {
                partition_index, error_code,
            }],
        }],
    }
}

row! { elect_leaders, "ElectLeaders", 0..=2,
    [ElectLeadersRequest, TopicPartitions],
    [ElectLeadersResponse, ReplicaElectionResult, PartitionResult],
    ElectLeadersResponse {
        throttle_time_ms, error_code,
        replica_election_results: [ReplicaElectionResult {
            topic,
            partition_result: [PartitionResult {
                partition_id, error_code, error_message,
            }],
        }],
    }
}

row! { alter_partition_reassignments, "AlterPartitionReassignments", 0..=1,
    [AlterPartitionReassignmentsRequest, ReassignableTopic, ReassignablePartition],
    [AlterPartitionReassignmentsResponse, ReassignableTopicResponse, ReassignablePartitionResponse],
    AlterPartitionReassignmentsResponse {
        throttle_time_ms, allow_replication_factor_change, error_code, error_message,
        responses: [ReassignableTopicResponse {
            name,
            partitions: [ReassignablePartitionResponse {
                partition_index, error_code, error_message,
            }],
        }],
    }
}

row! { describe_client_quotas, "DescribeClientQuotas", 0..=1,
    [DescribeClientQuotasRequest, ComponentData],
    [DescribeClientQuotasResponse, EntryData, EntityData, ValueData],
    DescribeClientQuotasResponse {
        throttle_time_ms, error_code, error_message,
        entries ? [EntryData {
            entity: [EntityData {
                entity_type, entity_name,
            }],
            values: [ValueData {
                key, value,
            }],
        }],
    }
}

row! { describe_quorum, "DescribeQuorum", 0..=2,
    [DescribeQuorumRequest, QuorumTopic, QuorumPartition],
    [DescribeQuorumResponse, TopicData, PartitionData, ReplicaState, Node, Listener],
    DescribeQuorumResponse {
        error_code, error_message,
        topics: [TopicData {
            topic_name,
            partitions: [PartitionData {
                partition_index, error_code, error_message, leader_id, leader_epoch,
                high_watermark,
                current_voters: [ReplicaState {
                    replica_id, replica_directory_id, log_end_offset, last_fetch_timestamp,
                    last_caught_up_timestamp,
                }],
                observers: [ReplicaState {
                    replica_id, replica_directory_id, log_end_offset, last_fetch_timestamp,
                    last_caught_up_timestamp,
                }],
            }],
        }],
        nodes: [Node {
            node_id,
            listeners: [Listener {
                name, host, port,
            }],
        }],
    }
}

row! { describe_topic_partitions, "DescribeTopicPartitions", 0..=0,
    [DescribeTopicPartitionsRequest, TopicRequest, Cursor],
    [DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseTopic,
     DescribeTopicPartitionsResponsePartition, NextCursor],
    DescribeTopicPartitionsResponse {
        throttle_time_ms,
        topics: [DescribeTopicPartitionsResponseTopic {
            error_code, name, topic_id, is_internal,
            partitions: [DescribeTopicPartitionsResponsePartition {
                error_code, partition_index, leader_id, leader_epoch, replica_nodes, isr_nodes,
                eligible_leader_replicas, last_known_elr, offline_replicas,
            }],
            topic_authorized_operations,
        }],
        next_cursor ?= NextCursor {
            topic_name, partition_index,
        },
    }
}

#[cfg(feature = "consumer-protocol")]
row! { consumer_group_heartbeat, "ConsumerGroupHeartbeat", 0..=1,
    [ConsumerGroupHeartbeatRequest, OwnedTopicPartitions],
    [ConsumerGroupHeartbeatResponse, Assignment, TopicPartitions],
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms, error_code, error_message, member_id, member_epoch, heartbeat_interval_ms,
        assignment =? [Assignment {
            topic_partitions: [TopicPartitions { topic_id, partitions @ [i32] }],
        }],
    }
}

#[cfg(feature = "consumer-protocol")]
row! { consumer_group_describe, "ConsumerGroupDescribe", 0..=1,
    [ConsumerGroupDescribeRequest],
    [ConsumerGroupDescribeResponse, DescribedGroup, Member, Assignment, TopicPartitions],
    ConsumerGroupDescribeResponse {
        throttle_time_ms,
        groups: [DescribedGroup {
            error_code, error_message, group_id, group_state, group_epoch, assignment_epoch,
            assignor_name,
            members: [Member {
                member_id, instance_id, rack_id, member_epoch, client_id, client_host,
                subscribed_topic_names @ [&str],
                subscribed_topic_regex,
                assignment = Assignment {
                    topic_partitions: [TopicPartitions { topic_id, topic_name, partitions @ [i32] }],
                },
                target_assignment = Assignment {
                    topic_partitions: [TopicPartitions { topic_id, topic_name, partitions @ [i32] }],
                },
                member_type,
            }],
            authorized_operations,
        }],
    }
}

row! { list_config_resources, "ListConfigResources", 0..=1,
    [ListConfigResourcesRequest],
    [ListConfigResourcesResponse, ConfigResource],
    ListConfigResourcesResponse {
        throttle_time_ms, error_code,
        config_resources: [ConfigResource {
            resource_name, resource_type,
        }],
    }
}

row! { list_partition_reassignments, "ListPartitionReassignments", 0..=0,
    [ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics],
    [ListPartitionReassignmentsResponse, OngoingTopicReassignment, OngoingPartitionReassignment],
    ListPartitionReassignmentsResponse {
        throttle_time_ms, error_code, error_message,
        topics: [OngoingTopicReassignment {
            name,
            partitions: [OngoingPartitionReassignment {
                partition_index, replicas, adding_replicas, removing_replicas,
            }],
        }],
    }
}

row! { offset_delete, "OffsetDelete", 0..=0,
    [OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteRequestPartition],
    [OffsetDeleteResponse, OffsetDeleteResponseTopic, OffsetDeleteResponsePartition],
    OffsetDeleteResponse {
        error_code, throttle_time_ms,
        topics: [OffsetDeleteResponseTopic {
            name,
            partitions: [OffsetDeleteResponsePartition {
                partition_index, error_code,
            }],
        }],
    }
}

row! { describe_cluster, "DescribeCluster", 0..=2,
    [DescribeClusterRequest],
    [DescribeClusterResponse, DescribeClusterBroker],
    DescribeClusterResponse {
        throttle_time_ms, error_code, error_message, endpoint_type, cluster_id, controller_id,
        brokers: [DescribeClusterBroker {
            broker_id, host, port, rack, is_fenced,
        }],
        cluster_authorized_operations,
    }
}

row! { describe_producers, "DescribeProducers", 0..=0,
    [DescribeProducersRequest, TopicRequest],
    [DescribeProducersResponse, TopicResponse, PartitionResponse, ProducerState],
    DescribeProducersResponse {
        throttle_time_ms,
        topics: [TopicResponse {
            name,
            partitions: [PartitionResponse {
                partition_index, error_code, error_message,
                active_producers: [ProducerState {
                    producer_id, producer_epoch, last_sequence, last_timestamp, coordinator_epoch,
                    current_txn_start_offset,
                }],
            }],
        }],
    }
}
