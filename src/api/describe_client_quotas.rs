//! DescribeClientQuotas (48): what clients are limited to. Versions 0–1.
//!
//! - 1 is flexible. There are no quotas: nothing matches.

use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Whose quotas.
    request DescribeClientQuotasRequest<'a>, key 48, flexible 1+ {
        components: Array<'a, ComponentData<'a>>, 0+;
        strict: bool, 0+;
    }

    /// One part of the filter.
    request ComponentData<'a> {
        entity_type: &'a str, 0+;
        match_type: i8, 0+;
        r#match: Option<&'a str>, 0+, nullable 0+;
    }

    /// The quotas.
    response DescribeClientQuotasResponse<'a>, key 48, flexible 1+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        entries: Option<List<'a, EntryData<'static>>>, 0+, nullable 0+;
    }

    /// One who has some.
    response EntryData<'a> {
        entity: List<'a, EntityData<'static>>, 0+;
        values: List<'a, ValueData<'static>>, 0+;
    }

    /// One part of who it is.
    response EntityData<'a> {
        entity_type: &'a str, 0+;
        entity_name: Option<&'a str>, 0+, nullable 0+;
    }

    /// One quota.
    response ValueData<'a> {
        key: &'a str, 0+;
        value: f64, 0+;
    }
}

/// Says that there are none.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    DescribeClientQuotasRequest::decode(&mut request.reader(), request.version)?;
    Ok(request.reply(out, |w| {
        DescribeClientQuotasResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: ErrorCode::NONE,
            error_message: None,
            entries: Some(&mut |_| {}),
        }
        .encode(w, request.version);
    }))
}
