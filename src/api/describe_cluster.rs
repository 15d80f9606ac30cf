//! DescribeCluster (60): the broker and the cluster id. Versions 0–1.
//!
//! - Flexible from the start; 1 adds the kind of endpoint: 1 brokers, 2 controllers (here
//!   UNSUPPORTED_ENDPOINT_TYPE, 115, or MISMATCHED_ENDPOINT_TYPE, 114).
//! - Authorized operations are not kept: `i32::MIN`.

use crate::codec::{ErrorCode, List, message};

message! {
    /// Asks for the cluster.
    request DescribeClusterRequest, key 60, flexible 0+ {
        include_cluster_authorized_operations: bool, 0+;
        endpoint_type: i8, 1+, default 1;
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
    }
}
