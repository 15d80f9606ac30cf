//! CreateAcls (30): adds access control lists. Versions 1–3.
//!
//! - 1 adds pattern types; 2 is flexible; 3 adds users as resources.
//! - There are none: SECURITY_DISABLED (54) for each, as in a Kafka without an authorizer.

use super::describe_acls::NO_ACLS;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// ACLs to add.
    request CreateAclsRequest<'a>, key 30, flexible 2+ {
        creations: Array<'a, AclCreation<'a>>, 0+;
    }

    /// One ACL.
    request AclCreation<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        resource_pattern_type: i8, 1+, default 3;
        principal: &'a str, 0+;
        host: &'a str, 0+;
        operation: i8, 0+;
        permission_type: i8, 0+;
    }

    /// What became of them, in order.
    response CreateAclsResponse<'a>, key 30, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, AclCreationResult<'static>>, 0+;
    }

    /// What became of one ACL.
    response AclCreationResult<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
    }
}

/// Refuses each.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = CreateAclsRequest::decode(&mut request.reader(), request.version)?;
    Ok(request.reply(out, |w| {
        CreateAclsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            results: &mut |list| {
                for _ in ask.creations {
                    list.push(AclCreationResult {
                        error_code: ErrorCode::SECURITY_DISABLED,
                        error_message: Some(NO_ACLS),
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}
