//! JoinGroup (11): enters a group, and waits until all its members have. Versions 0–9.
//!
//! - 1 adds the rebalance timeout (before it, the session timeout is meant); 2 the throttle time;
//!   4 makes a new member ask twice, the second time with the id it was given; 5 adds static
//!   members; 6 is flexible; 7 answers the protocol type; 8 adds a reason; 9 may tell the leader
//!   not to assign.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Who enters, and what it can do.
    request JoinGroupRequest<'a>, key 11, flexible 6+ {
        group_id: &'a str, 0+;
        session_timeout_ms: i32, 0+;
        rebalance_timeout_ms: i32, 1+, default -1;
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 5+, nullable 5+;
        protocol_type: &'a str, 0+;
        protocols: Array<'a, JoinGroupRequestProtocol<'a>>, 0+;
        reason: Option<&'a str>, 8+, nullable 8+;
    }

    /// One assignment strategy, with what the member says to it.
    request JoinGroupRequestProtocol<'a> {
        name: &'a str, 0+;
        metadata: &'a [u8], 0+;
    }

    /// The new generation.
    response JoinGroupResponse<'a>, key 11, flexible 6+ {
        throttle_time_ms: i32, 2+;
        error_code: ErrorCode, 0+;
        generation_id: i32, 0+;
        protocol_type: Option<&'a str>, 7+, nullable 7+;
        protocol_name: Option<&'a str>, 0+, nullable 7+;
        leader: &'a str, 0+;
        skip_assignment: bool, 9+;
        member_id: &'a str, 0+;
        members: List<'a, JoinGroupResponseMember<'static>>, 0+;
    }

    /// One member, told to the leader only.
    response JoinGroupResponseMember<'a> {
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 5+, nullable 5+;
        metadata: &'a [u8], 0+;
    }
}
