//! IncrementalAlterConfigs (44): changes single configs of resources. Versions 0–1.
//!
//! - 1 is flexible.
//! - Operations: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.

use super::alter_configs::{alter, named_twice, no_value, too_many};
use super::change::{Change, Pass};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::limits;
use crate::log::state::TopicConfigs;

message! {
    /// Resources and changes.
    request IncrementalAlterConfigsRequest<'a>, key 44, flexible 1+ {
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
        config_operation: i8, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of them.
    response IncrementalAlterConfigsResponse<'a>, key 44, flexible 1+ {
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

/// Changes single settings of topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = IncrementalAlterConfigsRequest::decode(&mut request.reader(), request.version)?;
    let change = Change {
        request,
        items: ask.resources.len(),
        validate_only: ask.validate_only,
    };
    let settled = broker.topics_settled(|name| {
        let mut resources = ask.resources.iter();
        resources.any(|resource| resource.resource_name == name)
    });
    let step = change.carry_out(broker, out, now, settled, |pass, broker, w| {
        IncrementalAlterConfigsResponse {
            throttle_time_ms: 0,
            responses: &mut |list| alter_all(broker, pass, ask.resources, list),
        }
        .encode(w, request.version);
    });
    Ok(step)
}

fn alter_all(
    broker: &mut Broker,
    pass: &mut Pass,
    resources: Array<'_, AlterConfigsResource<'_>>,
    list: &mut ListWriter<'_, '_, AlterConfigsResourceResponse<'static>>,
) {
    for resource in resources {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let same = |other: AlterConfigsResource<'_>| {
            other.resource_type == kind && other.resource_name == name
        };
        let twice = || resources.iter().filter(|other| same(*other)).count() > 1;
        let edit = |before: &TopicConfigs| edited(before, resource.configs);
        let refusal = alter(broker, pass, (kind, name), twice, edit).err();
        let message = refusal.as_ref().map(|refusal| refusal.message.as_str());
        list.push(AlterConfigsResourceResponse {
            error_code: refusal
                .as_ref()
                .map_or(ErrorCode::NONE, |refusal| refusal.code),
            error_message: message.filter(|_| !pass.brief),
            resource_type: kind,
            resource_name: name,
        });
    }
}

fn edited(
    before: &TopicConfigs,
    configs: Array<'_, AlterableConfig<'_>>,
) -> Result<TopicConfigs, Refusal> {
    let mut edit = Edit::of(before);
    if configs.len() > limits::ADMIN_ITEMS_MAX {
        return Err(too_many());
    }
    for (at, config) in configs.iter().enumerate() {
        let name = config.name;
        if configs.iter().take(at).any(|other| other.name == name) {
            return Err(named_twice(name));
        }
        if config.config_operation == DELETE {
            // What is not known is not set, either: as in Kafka, that is no error.
            if let Some(key) = topic_config::key_named(name) {
                edit.remove(key);
            }
            continue;
        }
        let Some(value) = config.value else {
            return Err(no_value(name));
        };
        let (key, value) = topic_config::key_asked(name, Some(value))?;
        match config.config_operation {
            SET => edit.set(key, value)?,
            APPEND if key.is_list() => edit.append(key, value)?,
            SUBTRACT if key.is_list() => edit.subtract(key, value)?,
            APPEND | SUBTRACT => {
                let why = format_args!("Cannot append to or subtract from {name}: it is no list.");
                return Err(Refusal::new(ErrorCode::INVALID_CONFIG, why));
            }
            other => {
                let why = format_args!("Unknown operation {other} on {name}.");
                return Err(Refusal::new(ErrorCode::INVALID_REQUEST, why));
            }
        }
    }
    edit.finish()
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
