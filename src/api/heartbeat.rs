//! Heartbeat (12): a member is alive. Versions 0–4.
//!
//! - 1 adds the throttle time; 3 static members; 4 is flexible.

use crate::codec::{ErrorCode, message};

message! {
    /// Who is alive.
    request HeartbeatRequest<'a>, key 12, flexible 4+ {
        group_id: &'a str, 0+;
        generation_id: i32, 0+;
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
    }

    /// Whether the group rebalances.
    response HeartbeatResponse, key 12, flexible 4+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
    }
}
