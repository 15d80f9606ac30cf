//! ListGroups (16): all groups. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 is flexible; 4 adds states, 5 types, as filters and in the answer.
//! - An empty filter lets all through.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which groups.
    request ListGroupsRequest<'a>, key 16, flexible 3+ {
        states_filter: Array<'a, &'a str>, 4+;
        types_filter: Array<'a, &'a str>, 5+;
    }

    /// The groups.
    response ListGroupsResponse<'a>, key 16, flexible 3+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
        groups: List<'a, ListedGroup<'static>>, 0+;
    }

    /// One group.
    response ListedGroup<'a> {
        group_id: &'a str, 0+;
        protocol_type: &'a str, 0+;
        group_state: &'a str, 4+;
        group_type: &'a str, 5+;
    }
}
