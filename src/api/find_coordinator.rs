//! FindCoordinator (10): who coordinates a group or a transaction. Versions 0–6.
//!
//! - 1 adds the kind of key, the throttle time and a message; 3 is flexible; 4 asks for many keys
//!   at once; 5 and 6 add errors and kinds of keys.
//! - This broker coordinates all groups (kind 0). Transactions (1) and share groups (2) have
//!   none.
//! - librdkafka takes its presence as the sign that lz4 is understood.

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
