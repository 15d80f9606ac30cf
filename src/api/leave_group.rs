//! LeaveGroup (13): members leave a group. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 lets several members leave, named by id or instance id (before
//!   it, one: `member_id`); 4 is flexible; 5 adds a reason.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Who leaves.
    request LeaveGroupRequest<'a>, key 13, flexible 4+ {
        group_id: &'a str, 0+;
        member_id: &'a str, 0-2;
        members: Array<'a, MemberIdentity<'a>>, 3+;
    }

    /// One member that leaves.
    request MemberIdentity<'a> {
        member_id: &'a str, 3+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
        reason: Option<&'a str>, 5+, nullable 5+;
    }

    /// What became of them.
    response LeaveGroupResponse<'a>, key 13, flexible 4+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
        members: List<'a, MemberResponse<'static>>, 3+;
    }

    /// What became of one member.
    response MemberResponse<'a> {
        member_id: &'a str, 3+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
        error_code: ErrorCode, 3+;
    }
}
