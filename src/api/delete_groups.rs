//! DeleteGroups (42): deletes groups with their offsets. Versions 0–2.
//!
//! - 1 adds nothing; 2 is flexible.
//! - A group with members is NON_EMPTY_GROUP (68).

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Groups to delete.
    request DeleteGroupsRequest<'a>, key 42, flexible 2+ {
        groups_names: Array<'a, &'a str>, 0+;
    }

    /// What became of them.
    response DeleteGroupsResponse<'a>, key 42, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, DeletableGroupResult<'static>>, 0+;
    }

    /// What became of one group.
    response DeletableGroupResult<'a> {
        group_id: &'a str, 0+;
        error_code: ErrorCode, 0+;
    }
}
