//! ElectLeaders (43): has leaders elected. Versions 0–2.
//!
//! - 0 elects preferred leaders; 1 adds the kind of election and an error for the whole; 2 is flexible.
//! - The only replica leads already: ELECTION_NOT_NEEDED (84) for each partition that is named. Asked
//!   for all (null), Kafka answers with those that had an election, and so with none.

use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};

message! {
    /// Which partitions; null is all.
    request ElectLeadersRequest<'a>, key 43, flexible 2+ {
        election_type: i8, 1+;
        topic_partitions: Option<Array<'a, TopicPartitions<'a>>>, 0+, nullable 0+;
        timeout_ms: i32, 0+, default 60000;
    }

    /// The partitions of one topic.
    request TopicPartitions<'a> {
        topic: &'a str, 0+;
        partitions: Array<'a, i32>, 0+;
    }

    /// What became of them.
    response ElectLeadersResponse<'a>, key 43, flexible 2+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 1+;
        replica_election_results: List<'a, ReplicaElectionResult<'static>>, 0+;
    }

    /// The partitions of one topic.
    response ReplicaElectionResult<'a> {
        topic: &'a str, 0+;
        partition_result: List<'a, PartitionResult<'static>>, 0+;
    }

    /// One partition.
    response PartitionResult<'a> {
        partition_id: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
    }
}

/// Says that no election is needed.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = ElectLeadersRequest::decode(&mut request.reader(), request.version)?;
    let known = matches!(ask.election_type, PREFERRED | UNCLEAN);
    let topics = ask.topic_partitions.unwrap_or_default();
    Ok(request.reply(out, |w| {
        ElectLeadersResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: if known { ErrorCode::NONE } else { ErrorCode::INVALID_REQUEST },
            replica_election_results: &mut |list| {
                for asked in topics.iter().filter(|_| known) {
                    list.push(ReplicaElectionResult {
                        topic: asked.topic,
                        partition_result: &mut |list| {
                            for partition_id in asked.partitions {
                                let found = broker.partition_asked(asked.topic, partition_id);
                                let (error_code, message) = match found {
                                    Some(_) => NOT_NEEDED,
                                    None => UNKNOWN,
                                };
                                list.push(PartitionResult {
                                    partition_id,
                                    error_code,
                                    error_message: Some(message),
                                });
                            }
                        },
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}

/// Writes an answer that says no to all of it.
pub(super) fn refuse(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    let replica_election_results: List<'_, ReplicaElectionResult<'static>> = &mut |_| {};
    ElectLeadersResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code,
        replica_election_results,
    }
    .encode(w, version);
}

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
const NOT_NEEDED: (ErrorCode, &str) =
    (ErrorCode::ELECTION_NOT_NEEDED, "The only replica is the leader already.");
const UNKNOWN: (ErrorCode, &str) =
    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "There is no such partition.");

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
    use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
    use kafka_protocol::messages::{
        AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
        DescribeClientQuotasRequest, ListConfigResourcesRequest, TopicName,
    };
    use kafka_protocol::messages::{
        alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
        alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic},
    };
    use kafka_protocol::protocol::StrBytes;

    use crate::broker::testing::Bench;

    fn name(name: &'static str) -> TopicName {
        TopicName(StrBytes::from_static_str(name))
    }

    fn bench() -> Bench {
        let mut bench = Bench::new();
        let topic = MetadataRequestTopic::default().with_name(Some(name("t")));
        bench.ask(9, &MetadataRequest::default().with_topics(Some(vec![topic])));
        bench
    }

    #[test]
    fn the_only_replica_leads_already() {
        let mut bench = bench();
        let topic = TopicPartitions::default().with_topic(name("t")).with_partitions(vec![0, 1]);
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic]));
        for version in 0..=2 {
            let answer = bench.ask(version, &request);
            let partitions = &answer.replica_election_results[0].partition_result;
            let codes: Vec<i16> = partitions.iter().map(|of| of.error_code).collect();
            assert_eq!((answer.error_code, codes), (0, vec![84, 3]));
        }
        let all = ElectLeadersRequest::default().with_topic_partitions(None);
        assert!(bench.ask(2, &all).replica_election_results.is_empty());
        assert_eq!(bench.ask(2, &all.with_election_type(7)).error_code, 42);
    }

    #[test]
    fn a_partition_stays_where_it_is() {
        let mut bench = bench();
        let to = |index, replicas: Option<Vec<i32>>| {
            let replicas = replicas.map(|ids| ids.into_iter().map(Into::into).collect());
            ReassignablePartition::default().with_partition_index(index).with_replicas(replicas)
        };
        let partitions = vec![
            to(0, Some(vec![1])),
            to(0, Some(vec![2])),
            to(0, Some(vec![1, 2])),
            to(0, None),
            to(5, Some(vec![1])),
        ];
        let topic = ReassignableTopic::default().with_name(name("t")).with_partitions(partitions);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
        let answer = bench.ask(1, &request);
        let codes: Vec<i16> =
            answer.responses[0].partitions.iter().map(|of| of.error_code).collect();
        assert_eq!((answer.error_code, codes), (0, vec![0, 39, 39, 85, 3]));
    }

    #[test]
    fn a_partition_can_be_moved_to_the_directory_where_it_is() {
        let mut bench = bench();
        let dir = bench.broker.config.data_dir.join("main");
        let dir = StrBytes::from_string(dir.to_str().unwrap().to_string());
        for (path, expected) in [(dir, [0, 3]), (StrBytes::from_static_str("/other"), [57, 57])] {
            let topic =
                AlterReplicaLogDirTopic::default().with_name(name("t")).with_partitions(vec![0, 1]);
            let dir = AlterReplicaLogDir::default().with_path(path).with_topics(vec![topic]);
            let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
            let answer = bench.ask(2, &request);
            let codes: Vec<i16> =
                answer.results[0].partitions.iter().map(|of| of.error_code).collect();
            assert_eq!(codes, expected);
        }
    }

    #[test]
    fn there_are_no_quotas() {
        let answer = bench().ask(1, &DescribeClientQuotasRequest::default());
        assert_eq!((answer.error_code, answer.entries), (0, Some(vec![])));
    }

    #[test]
    fn topics_and_the_broker_have_configs() {
        let mut bench = bench();
        let mut listed = |version, types: Vec<i8>| {
            let request = ListConfigResourcesRequest::default().with_resource_types(types);
            let answer = bench.ask(version, &request);
            let all = answer.config_resources.iter();
            let all = all.map(|of| (of.resource_type, of.resource_name.to_string()));
            (answer.error_code, all.collect::<Vec<_>>())
        };
        let (topic, broker) = ((2, "t".to_string()), (4, "1".to_string()));
        assert_eq!(listed(1, vec![]), (0, vec![topic.clone(), broker.clone()]));
        assert_eq!(listed(1, vec![4]), (0, vec![broker]));
        assert_eq!(listed(1, vec![2, 16]), (0, vec![topic]));
        assert_eq!(listed(1, vec![16, 32]), (0, vec![]));
        assert_eq!(listed(1, vec![3]), (35, vec![]));
        assert_eq!(listed(0, vec![]), (0, vec![]), "clients' metrics alone");
    }
}
