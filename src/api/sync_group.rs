//! SyncGroup (14): the leader hands out assignments, and members wait for theirs. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 static members; 4 is flexible; 5 names the protocol's type and
//!   name, and answers them.

use crate::codec::{Array, ErrorCode, message};

message! {
    /// Who asks, and (from the leader) all assignments.
    request SyncGroupRequest<'a>, key 14, flexible 4+ {
        group_id: &'a str, 0+;
        generation_id: i32, 0+;
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
        protocol_type: Option<&'a str>, 5+, nullable 5+;
        protocol_name: Option<&'a str>, 5+, nullable 5+;
        assignments: Array<'a, SyncGroupRequestAssignment<'a>>, 0+;
    }

    /// What the leader gives to one member.
    request SyncGroupRequestAssignment<'a> {
        member_id: &'a str, 0+;
        assignment: &'a [u8], 0+;
    }

    /// The member's assignment.
    response SyncGroupResponse<'a>, key 14, flexible 4+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
        protocol_type: Option<&'a str>, 5+, nullable 5+;
        protocol_name: Option<&'a str>, 5+, nullable 5+;
        assignment: &'a [u8], 0+;
    }
}
