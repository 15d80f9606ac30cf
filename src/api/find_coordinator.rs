//! FindCoordinator (10): who coordinates a group or a transaction. Versions 0–6.
//!
//! - 1 adds the kind of key, the throttle time and a message; 3 is flexible; 4 asks for many keys
//!   at once; 5 and 6 add errors and kinds of keys.
//! - This broker coordinates all groups (kind 0). Transactions (1) are refused with
//!   TRANSACTIONAL_ID_AUTHORIZATION_FAILED (53), as InitProducerId does: clients give up at once.
//!   Share groups (2) and other kinds are INVALID_REQUEST (42), as in a Kafka without them.
//! - librdkafka takes its presence as the sign that lz4 is understood.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Whose coordinator.
    request FindCoordinatorRequest<'a>, key 10, flexible 3+ {
        key: &'a str, 0-3;
        key_type: i8, 1+;
        coordinator_keys: Array<'a, &'a str>, 4+;
    }

    /// Where it is.
    response FindCoordinatorResponse<'a>, key 10, flexible 3+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0-3;
        error_message: Option<&'a str>, 1-3, nullable 1+;
        node_id: i32, 0-3;
        host: &'a str, 0-3;
        port: i32, 0-3;
        coordinators: List<'a, Coordinator<'static>>, 4+;
    }

    /// The coordinator of one key.
    response Coordinator<'a> {
        key: &'a str, 4+;
        node_id: i32, 4+;
        host: &'a str, 4+;
        port: i32, 4+;
        error_code: ErrorCode, 4+;
        error_message: Option<&'a str>, 4+, nullable 4+;
    }
}

/// Says where the coordinator is: here.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = FindCoordinatorRequest::decode(&mut request.reader(), request.version)?;
    let refusal = match ask.key_type {
        KIND_GROUP => None,
        KIND_TRANSACTION => {
            Some((ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "There are no transactions."))
        }
        _ => Some((ErrorCode::INVALID_REQUEST, "There is no coordinator of this kind.")),
    };
    let address = broker.advertised(request.peer);
    let good = refusal.is_none();
    let error_code = refusal.map_or(ErrorCode::NONE, |(code, _)| code);
    let error_message = refusal.map(|(_, message)| message);
    let node_id = if good { broker.config.node_id } else { -1 };
    let host = if good { address.host.as_str() } else { "" };
    let port = if good { address.port.into() } else { -1 };
    Ok(request.reply(out, |w| {
        FindCoordinatorResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code,
            error_message,
            node_id,
            host,
            port,
            coordinators: &mut |list| {
                for key in ask.coordinator_keys {
                    list.push(Coordinator { key, node_id, host, port, error_code, error_message });
                }
            },
        }
        .encode(w, request.version);
    }))
}

const KIND_GROUP: i8 = 0;
const KIND_TRANSACTION: i8 = 1;
