//! DescribeCluster (60): the broker and the cluster id. Versions 0–2.
//!
//! - Flexible from the start; 1 adds the kind of endpoint: 1 brokers, 2 controllers (here
//!   MISMATCHED_ENDPOINT_TYPE, 114), others UNSUPPORTED_ENDPOINT_TYPE (115); 2 shows fenced brokers
//!   too, which there are none of.
//! - Authorized operations: all, where they are asked for; there is no authorizer.

use super::metadata::CLUSTER_OPERATIONS_ALL;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{ErrorCode, List, message};

message! {
    /// Asks for the cluster.
    request DescribeClusterRequest, key 60, flexible 0+ {
        include_cluster_authorized_operations: bool, 0+;
        endpoint_type: i8, 1+, default 1;
        include_fenced_brokers: bool, 2+;
    }

    /// The cluster.
    response DescribeClusterResponse<'a>, key 60, flexible 0+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        endpoint_type: i8, 1+;
        cluster_id: &'a str, 0+;
        controller_id: i32, 0+;
        brokers: List<'a, DescribeClusterBroker<'static>>, 0+;
        cluster_authorized_operations: i32, 0+;
    }

    /// One broker.
    response DescribeClusterBroker<'a> {
        broker_id: i32, 0+;
        host: &'a str, 0+;
        port: i32, 0+;
        rack: Option<&'a str>, 0+, nullable 0+;
        is_fenced: bool, 2+;
    }
}

/// Shows the broker.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeClusterRequest::decode(&mut request.reader(), request.version)?;
    let (error_code, error_message) = match ask.endpoint_type {
        BROKERS => (ErrorCode::NONE, None),
        CONTROLLERS => {
            (ErrorCode::MISMATCHED_ENDPOINT_TYPE, Some("This is a broker, not a controller."))
        }
        _ => (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, Some("There are endpoints of type 1 and 2.")),
    };
    let good = error_code.is_none();
    let address = broker.advertised(request.peer);
    let node_id = broker.config.node_id;
    Ok(request.reply(out, |w| {
        DescribeClusterResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code,
            error_message,
            endpoint_type: BROKERS,
            cluster_id: if good { broker.cluster_id() } else { "" },
            controller_id: if good { node_id } else { -1 },
            brokers: &mut |list| {
                if good {
                    list.push(DescribeClusterBroker {
                        broker_id: node_id,
                        host: &address.host,
                        port: address.port.into(),
                        rack: None,
                        is_fenced: false,
                    });
                }
            },
            cluster_authorized_operations: if good && ask.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS_ALL
            } else {
                i32::MIN
            },
        }
        .encode(w, request.version);
    }))
}

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClusterRequest,
        DescribeLogDirsRequest, DescribeProducersRequest, ListPartitionReassignmentsRequest,
        MetadataRequest, TopicName, create_acls_request::AclCreation,
        delete_acls_request::DeleteAclsFilter, describe_log_dirs_request::DescribableLogDirTopic,
        describe_producers_request::TopicRequest, metadata_request::MetadataRequestTopic,
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
    fn the_broker_is_the_cluster_and_no_controller_is_to_be_had() {
        let mut bench = Bench::new();
        let answer = bench.ask(1, &DescribeClusterRequest::default());
        assert_eq!((answer.error_code, answer.controller_id.0), (0, 1));
        assert_eq!(answer.brokers[0].host.as_str(), "10.0.0.7");
        assert_eq!(answer.cluster_id.len(), 22);
        for (kind, expected) in [(2, 114), (3, 115)] {
            let request = DescribeClusterRequest::default().with_endpoint_type(kind);
            let answer = bench.ask(1, &request);
            assert_eq!((answer.error_code, answer.brokers.len()), (expected, 0));
        }
    }

    #[test]
    fn security_is_disabled() {
        let mut bench = Bench::new();
        let request = DescribeAclsRequest::default().with_resource_type_filter(1);
        assert_eq!(bench.ask(3, &request).error_code, 54);
        let request = CreateAclsRequest::default().with_creations(vec![AclCreation::default(); 2]);
        let results = bench.ask(3, &request).results;
        assert_eq!(results.iter().map(|r| r.error_code).collect::<Vec<_>>(), [54, 54]);
        let request = DeleteAclsRequest::default().with_filters(vec![DeleteAclsFilter::default()]);
        assert_eq!(bench.ask(3, &request).filter_results[0].error_code, 54);
    }

    #[test]
    fn nothing_moves_between_brokers() {
        let request = ListPartitionReassignmentsRequest::default();
        let answer = Bench::new().ask(0, &request);
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    }

    #[test]
    fn rings_are_shown_as_directories() {
        let mut bench = bench();
        let all = bench.ask(4, &DescribeLogDirsRequest::default().with_topics(None));
        assert_eq!((all.error_code, all.results.len()), (0, 1));
        assert_eq!(all.results[0].total_bytes, 4 * (4 << 20));
        assert_eq!(all.results[0].topics[0].partitions.len(), 1);
        let asked = |topic| DescribableLogDirTopic::default().with_topic(name(topic));
        let topics = vec![asked("x"), asked("t").with_partitions(vec![0, 5, -1]), asked("t")];
        let request = DescribeLogDirsRequest::default().with_topics(Some(topics));
        let some = bench.ask(4, &request);
        assert_eq!(some.results[0].topics.len(), 1);
        assert_eq!(some.results[0].topics[0].partitions.len(), 1);
        let none = DescribeLogDirsRequest::default().with_topics(Some(vec![]));
        assert!(bench.ask(4, &none).results[0].topics.is_empty());
    }

    #[test]
    fn producers_are_asked_for_partition_by_partition() {
        let mut bench = bench();
        let topics = [("t", 0), ("t", 9), ("x", 0), ("a b", 0)].map(|(topic, index)| {
            let topic = TopicRequest::default().with_name(name(topic));
            topic.with_partition_indexes(vec![index])
        });
        let request = DescribeProducersRequest::default().with_topics(topics.to_vec());
        let answer = bench.ask(0, &request);
        let codes = answer.topics.iter().map(|topic| topic.partitions[0].error_code);
        assert_eq!(codes.collect::<Vec<_>>(), [0, 3, 3, 17]);
    }
}
