//! AlterConfigs (33): replaces the configs of resources. Versions 0–2.
//!
//! - 2 is flexible.
//! - Configs that are not named go back to their defaults. `validate_only` checks and changes
//!   nothing.
//! - Topics alone can be changed: the broker's settings stand in its configuration file.

use super::alteration::Alteration;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Resources and all their configs.
    request AlterConfigsRequest<'a>, key 33, flexible 2+ {
        resources: Array<'a, AlterConfigsResource<'a>>, 0+;
        validate_only: bool, 0+;
    }

    /// All configs that a resource shall have.
    request AlterConfigsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configs: Array<'a, AlterableConfig<'a>>, 0+;
    }

    /// One config.
    request AlterableConfig<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of them.
    response AlterConfigsResponse<'a>, key 33, flexible 2+ {
        throttle_time_ms: i32, 0+;
        responses: List<'a, AlterConfigsResourceResponse<'static>>, 0+;
    }

    /// What became of one resource.
    response AlterConfigsResourceResponse<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
    }
}

/// Replaces the settings of topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = AlterConfigsRequest::decode(&mut request.reader(), request.version)?;
    let alteration = Alteration::Whole(ask.resources);
    Ok(alteration.carry_out(broker, request, ask.validate_only, out, now))
}
