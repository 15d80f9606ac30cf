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

use super::{APIS, Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
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

/// Answers with the table of keys.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = ApiVersionsRequest::decode(&mut request.reader(), request.version)?;
    let named = is_software(ask.client_software_name) && is_software(ask.client_software_version);
    let error_code = if request.version < NAMED_SINCE || named {
        ErrorCode::NONE
    } else {
        ErrorCode::INVALID_REQUEST
    };
    Ok(answer(request, out, request.version, error_code))
}

/// Answers a version that is not served: clients look through the list and try again.
pub fn handle_unsupported(request: &Request<'_>, out: Window<'_>) -> Step {
    answer(request, out, 0, ErrorCode::UNSUPPORTED_VERSION)
}

fn answer(request: &Request<'_>, out: Window<'_>, version: i16, error_code: ErrorCode) -> Step {
    let apis = if error_code == ErrorCode::INVALID_REQUEST { &[] } else { APIS };
    request.reply(out, |w| {
        ApiVersionsResponse {
            error_code,
            api_keys: &mut |list| {
                for api in apis {
                    list.push(ApiVersion {
                        api_key: api.key,
                        min_version: api.min_advertised,
                        max_version: api.max,
                    });
                }
            },
            throttle_time_ms: w.throttle_time_ms(),
        }
        .encode(w, version);
    })
}

/// Whether this can name a client or its version: letters and digits, with dashes and dots between
/// them, as Kafka has it.
fn is_software(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte))
}

const NAMED_SINCE: i16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_begin_and_end_with_a_letter_or_digit() {
        for good in ["librdkafka", "apache-kafka-java", "2.11.0", "x"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-x", "x-", "a b", "x_y", "\u{e9}"] {
            assert!(!is_software(bad), "{bad}");
        }
    }
}
