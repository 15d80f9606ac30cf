//! DescribeGroups (15): groups and their members. Versions 0–6.
//!
//! - 1 adds the throttle time; 3 authorized operations; 4 static members; 5 is flexible; 6 adds a
//!   message and answers GROUP_ID_NOT_FOUND (69) for a group that is not there (before it: state
//!   Dead).
//! - Authorized operations are not kept: `i32::MIN`.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which groups.
    request DescribeGroupsRequest<'a>, key 15, flexible 5+ {
        groups: Array<'a, &'a str>, 0+;
        include_authorized_operations: bool, 3+;
    }

    /// The groups.
    response DescribeGroupsResponse<'a>, key 15, flexible 5+ {
        throttle_time_ms: i32, 1+;
        groups: List<'a, DescribedGroup<'static>>, 0+;
    }

    /// One group.
    response DescribedGroup<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 6+, nullable 6+;
        group_id: &'a str, 0+;
        group_state: &'a str, 0+;
        protocol_type: &'a str, 0+;
        protocol_data: &'a str, 0+;
        members: List<'a, DescribedGroupMember<'static>>, 0+;
        authorized_operations: i32, 3+;
    }

    /// One member.
    response DescribedGroupMember<'a> {
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 4+, nullable 4+;
        client_id: &'a str, 0+;
        client_host: &'a str, 0+;
        member_metadata: &'a [u8], 0+;
        member_assignment: &'a [u8], 0+;
    }
}
