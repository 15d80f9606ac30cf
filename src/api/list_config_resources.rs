//! ListConfigResources (74): what has configs. Versions 0–1.
//!
//! - Flexible from the start. 0 lists the subscriptions of clients' metrics, of which there are none; 1
//!   lists what it is asked for, or all: the topics and the broker.
//! - Broker loggers, clients' metrics and groups have no configs here. Any other type is
//!   UNSUPPORTED_VERSION (35).

use super::alteration::{BROKER, TOPIC};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Note;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Which types; none are all.
    request ListConfigResourcesRequest<'a>, key 74, flexible 0+ {
        resource_types: Array<'a, i8>, 1+;
    }

    /// What there is.
    response ListConfigResourcesResponse<'a>, key 74, flexible 0+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        config_resources: List<'a, ConfigResource<'static>>, 0+;
    }

    /// One resource.
    response ConfigResource<'a> {
        resource_name: &'a str, 0+;
        resource_type: i8, 1+;
    }
}

/// Lists what has configs.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = ListConfigResourcesRequest::decode(&mut request.reader(), request.version)?;
    let types = ask.resource_types;
    let good = types.iter().all(|kind| TYPES.contains(&kind));
    let wants = |kind| {
        let all = request.version > 0 && types.is_empty();
        good && (all || types.iter().any(|wanted| wanted == kind))
    };
    Ok(request.reply(out, |w| {
        ListConfigResourcesResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: if good { ErrorCode::NONE } else { ErrorCode::UNSUPPORTED_VERSION },
            config_resources: &mut |list| {
                for (_, topic) in broker.log.state().topics().filter(|_| wants(TOPIC)) {
                    list.push(ConfigResource { resource_name: &topic.name, resource_type: TOPIC });
                }
                if wants(BROKER) {
                    let id = Note::new(format_args!("{}", broker.config.node_id));
                    let resource_name = id.as_str();
                    list.push(ConfigResource { resource_name, resource_type: BROKER });
                }
            },
        }
        .encode(w, request.version);
    }))
}

const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const TYPES: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
