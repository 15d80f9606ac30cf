//! ApiVersions (18): which keys and versions this broker serves. Versions 0–4.
//!
//! - 1 adds the throttle time; 3 is flexible and carries the client's name and version; 4 is the
//!   same (it allows features whose lowest version is 0).
//! - The response header is version 0 at every version, so that a client can read it before it
//!   knows the broker.
//! - A version above 4 is answered with the body of version 0: UNSUPPORTED_VERSION (35) and the
//!   list, with which clients try again. Its request is not read.
//! - A client's name or version that is not one (version 3 and above) is INVALID_REQUEST (42).
//! - Features (tags 0–3) are not sent: none is supported, and clients take absence for that.

use crate::codec::{ErrorCode, List, message};

message! {
    /// Asks what is served.
    request ApiVersionsRequest<'a>, key 18, flexible 3+ {
        client_software_name: &'a str, 3+;
        client_software_version: &'a str, 3+;
    }

    /// What is served.
    response ApiVersionsResponse<'a>, key 18, flexible 3+ {
        error_code: ErrorCode, 0+;
        api_keys: List<'a, ApiVersion>, 0+;
        throttle_time_ms: i32, 1+;
    }

    /// The versions of one key.
    response ApiVersion {
        api_key: i16, 0+;
        min_version: i16, 0+;
        max_version: i16, 0+;
    }
}
