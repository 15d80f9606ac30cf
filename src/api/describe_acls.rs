//! DescribeAcls (29): shows access control lists. Versions 1–3.
//!
//! - 1 adds pattern types; 2 is flexible; 3 adds users as resources.
//! - There are none: SECURITY_DISABLED (54), as in a Kafka without an authorizer.

use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{ErrorCode, List, message};

message! {
    /// Which ACLs.
    request DescribeAclsRequest<'a>, key 29, flexible 2+ {
        resource_type_filter: i8, 0+;
        resource_name_filter: Option<&'a str>, 0+, nullable 0+;
        pattern_type_filter: i8, 1+, default 3;
        principal_filter: Option<&'a str>, 0+, nullable 0+;
        host_filter: Option<&'a str>, 0+, nullable 0+;
        operation: i8, 0+;
        permission_type: i8, 0+;
    }

    /// The ACLs.
    response DescribeAclsResponse<'a>, key 29, flexible 2+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resources: List<'a, DescribeAclsResource<'static>>, 0+;
    }

    /// The ACLs of one resource.
    response DescribeAclsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        pattern_type: i8, 1+;
        acls: List<'a, AclDescription<'static>>, 0+;
    }

    /// One ACL.
    response AclDescription<'a> {
        principal: &'a str, 0+;
        host: &'a str, 0+;
        operation: i8, 0+;
        permission_type: i8, 0+;
    }
}

/// Says that there are none.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    DescribeAclsRequest::decode(&mut request.reader(), request.version)?;
    Ok(request.reply(out, |w| {
        DescribeAclsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: ErrorCode::SECURITY_DISABLED,
            error_message: Some(NO_ACLS),
            resources: &mut |_| {},
        }
        .encode(w, request.version);
    }))
}

/// What people are told.
pub(super) const NO_ACLS: &str = "There are no access control lists: anyone may do anything.";
