//! DeleteAcls (31): removes access control lists. Versions 1–3.
//!
//! - 1 adds pattern types; 2 is flexible; 3 adds users as resources.
//! - There are none: SECURITY_DISABLED (54) for each, as in a Kafka without an authorizer.

use super::describe_acls::NO_ACLS;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which ACLs to remove.
    request DeleteAclsRequest<'a>, key 31, flexible 2+ {
        filters: Array<'a, DeleteAclsFilter<'a>>, 0+;
    }

    /// Which ACLs.
    request DeleteAclsFilter<'a> {
        resource_type_filter: i8, 0+;
        resource_name_filter: Option<&'a str>, 0+, nullable 0+;
        pattern_type_filter: i8, 1+, default 3;
        principal_filter: Option<&'a str>, 0+, nullable 0+;
        host_filter: Option<&'a str>, 0+, nullable 0+;
        operation: i8, 0+;
        permission_type: i8, 0+;
    }

    /// What was removed, filter by filter.
    response DeleteAclsResponse<'a>, key 31, flexible 2+ {
        throttle_time_ms: i32, 0+;
        filter_results: List<'a, DeleteAclsFilterResult<'static>>, 0+;
    }

    /// What matched one filter.
    response DeleteAclsFilterResult<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        matching_acls: List<'a, DeleteAclsMatchingAcl<'static>>, 0+;
    }

    /// One ACL that was deleted.
    response DeleteAclsMatchingAcl<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        pattern_type: i8, 1+;
        principal: &'a str, 0+;
        host: &'a str, 0+;
        operation: i8, 0+;
        permission_type: i8, 0+;
    }
}

/// Refuses each.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DeleteAclsRequest::decode(&mut request.reader(), request.version)?;
    Ok(request.reply(out, |w| {
        DeleteAclsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            filter_results: &mut |list| {
                for _ in ask.filters {
                    list.push(DeleteAclsFilterResult {
                        error_code: ErrorCode::SECURITY_DISABLED,
                        error_message: Some(NO_ACLS),
                        matching_acls: &mut |_| {},
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}
