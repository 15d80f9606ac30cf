//! DescribeCluster (60): the broker and the cluster id. Versions 0–1.
//!
//! - Flexible from the start; 1 adds the kind of endpoint: 1 brokers, 2 controllers (here
//!   MISMATCHED_ENDPOINT_TYPE, 114), others UNSUPPORTED_ENDPOINT_TYPE (115).
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
        CONTROLLERS => (
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            Some("This is a broker, not a controller."),
        ),
        _ => (
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            Some("There are endpoints of type 1 and 2."),
        ),
    };
    let good = error_code.is_none();
    let address = broker.advertised(request.peer);
    let node_id = broker.config.node_id;
    let bytes = request.answer(out, |w| {
        DescribeClusterResponse {
            throttle_time_ms: 0,
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
    });
    Ok(Step::Reply { bytes })
}

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
