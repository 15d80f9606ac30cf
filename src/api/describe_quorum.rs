//! DescribeQuorum (55): who keeps the cluster's metadata. Versions 0–2.
//!
//! - Flexible from the start; 1 adds when a replica was last heard of; 2 adds messages, directories'
//!   ids and the nodes' listeners.
//! - The broker keeps them by itself, in its ring: it is the leader and the only voter of partition 0 of
//!   `__cluster_metadata`. Its offsets there are −1: there is no such log to read. Others are
//!   UNKNOWN_TOPIC_OR_PARTITION (3).

use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};
use crate::types::TopicId;

message! {
    /// Which partitions.
    request DescribeQuorumRequest<'a>, key 55, flexible 0+ {
        topics: Array<'a, QuorumTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request QuorumTopic<'a> {
        topic_name: &'a str, 0+;
        partitions: Array<'a, QuorumPartition>, 0+;
    }

    /// One partition.
    request QuorumPartition {
        partition_index: i32, 0+;
    }

    /// Who keeps them.
    response DescribeQuorumResponse<'a>, key 55, flexible 0+ {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 2+, nullable 2+;
        topics: List<'a, TopicData<'static>>, 0+;
        nodes: List<'a, Node<'static>>, 2+;
    }

    /// The partitions of one topic.
    response TopicData<'a> {
        topic_name: &'a str, 0+;
        partitions: List<'a, PartitionData<'static>>, 0+;
    }

    /// One partition.
    response PartitionData<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 2+, nullable 2+;
        leader_id: i32, 0+;
        leader_epoch: i32, 0+;
        high_watermark: i64, 0+;
        current_voters: List<'a, ReplicaState>, 0+;
        observers: List<'a, ReplicaState>, 0+;
    }

    /// One replica.
    response ReplicaState {
        replica_id: i32, 0+;
        replica_directory_id: TopicId, 2+;
        log_end_offset: i64, 0+;
        last_fetch_timestamp: i64, 1+;
        last_caught_up_timestamp: i64, 1+;
    }

    /// Where a replica is reached.
    response Node<'a> {
        node_id: i32, 2+;
        listeners: List<'a, Listener<'static>>, 2+;
    }

    /// One of its listeners.
    response Listener<'a> {
        name: &'a str, 2+;
        host: &'a str, 2+;
        port: u16, 2+;
    }
}

/// Shows the broker as the only voter.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeQuorumRequest::decode(&mut request.reader(), request.version)?;
    let node_id = broker.config.node_id;
    let epoch = broker.log.state().boot.0.cast_signed();
    let address = broker.advertised(request.peer);
    Ok(request.reply(out, |w| {
        DescribeQuorumResponse {
            error_code: ErrorCode::NONE,
            error_message: None,
            topics: &mut |list| {
                for topic in ask.topics {
                    list.push(TopicData {
                        topic_name: topic.topic_name,
                        partitions: &mut |list| {
                            for QuorumPartition { partition_index } in topic.partitions {
                                let known = (topic.topic_name, partition_index) == METADATA;
                                list.push(PartitionData {
                                    partition_index,
                                    error_code: if known {
                                        ErrorCode::NONE
                                    } else {
                                        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                                    },
                                    error_message: None,
                                    leader_id: if known { node_id } else { -1 },
                                    leader_epoch: if known { epoch } else { -1 },
                                    high_watermark: -1,
                                    current_voters: &mut |list| {
                                        if known {
                                            list.push(ReplicaState {
                                                replica_id: node_id,
                                                replica_directory_id: TopicId::default(),
                                                log_end_offset: -1,
                                                last_fetch_timestamp: -1,
                                                last_caught_up_timestamp: -1,
                                            });
                                        }
                                    },
                                    observers: &mut |_| {},
                                });
                            }
                        },
                    });
                }
            },
            nodes: &mut |list| {
                list.push(Node {
                    node_id,
                    listeners: &mut |list| {
                        list.push(Listener {
                            name: "PLAINTEXT",
                            host: &address.host,
                            port: address.port,
                        });
                    },
                });
            },
        }
        .encode(w, request.version);
    }))
}

/// Kafka's topic of the cluster's metadata.
const METADATA: (&str, i32) = ("__cluster_metadata", 0);

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::describe_quorum_request::{
        DescribeQuorumRequest, PartitionData, TopicData,
    };
    use kafka_protocol::protocol::StrBytes;

    use crate::broker::testing::Bench;

    #[test]
    fn the_broker_is_the_only_voter() {
        let mut bench = Bench::new();
        for (topic, expected) in [("__cluster_metadata", (0, 1, 1)), ("t", (3, -1, 0))] {
            let topic = TopicData::default()
                .with_topic_name(TopicName(StrBytes::from_static_str(topic)))
                .with_partitions(vec![PartitionData::default()]);
            let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
            let answer = bench.ask(2, &request);
            let partition = &answer.topics[0].partitions[0];
            let voters = partition.current_voters.len();
            assert_eq!((partition.error_code, partition.leader_id.0, voters), expected);
            assert_eq!(answer.nodes[0].listeners[0].port, 9092);
        }
    }
}
