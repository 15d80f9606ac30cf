//! AlterConfigs (33): replaces the configs of resources. Versions 0–2.
//!
//! - 2 is flexible.
//! - Configs that are not named go back to their defaults. `validate_only` checks and changes
//!   nothing.
//! - Topics alone can be changed: the broker's settings stand in its configuration file.

use super::change::{Change, Pass};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit};
use crate::broker::topics::{self, RECORD_BYTES, SHARED_RING};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::limits;
use crate::log::state::TopicConfigs;

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
    let change = Change { request, items: ask.resources.len(), validate_only: ask.validate_only };
    let settled = broker.topics_settled(|name| {
        let mut resources = ask.resources.iter();
        resources.any(|resource| resource.resource_name == name)
    });
    let step = change.carry_out(broker, out, now, settled, |pass, broker, w| {
        AlterConfigsResponse {
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
        let edit = |_: &TopicConfigs| configs_of(resource.configs);
        let refusal = alter(broker, pass, (kind, name), twice, edit).err();
        let message = refusal.as_ref().map(|refusal| refusal.message.as_str());
        list.push(AlterConfigsResourceResponse {
            error_code: refusal.as_ref().map_or(ErrorCode::NONE, |refusal| refusal.code),
            error_message: message.filter(|_| !pass.brief),
            resource_type: kind,
            resource_name: name,
        });
    }
}

fn configs_of(configs: Array<'_, AlterableConfig<'_>>) -> Result<TopicConfigs, Refusal> {
    let mut edit = Edit::default();
    if configs.len() > limits::ADMIN_ITEMS_MAX {
        return Err(too_many());
    }
    for (at, config) in configs.iter().enumerate() {
        if configs.iter().take(at).any(|other| other.name == config.name) {
            return Err(named_twice(config.name));
        }
        let Some(value) = config.value else {
            return Err(no_value(config.name));
        };
        let (key, value) = topic_config::key_asked(config.name, Some(value))?;
        edit.set(key, value)?;
    }
    edit.finish()
}

/// Changes the settings of one resource to what `edit` makes of them.
pub(super) fn alter(
    broker: &mut Broker,
    pass: &mut Pass,
    (kind, name): (i8, &str),
    twice: impl FnOnce() -> bool,
    edit: impl FnOnce(&TopicConfigs) -> Result<TopicConfigs, Refusal>,
) -> Result<(), Refusal> {
    pass.open()?;
    let invalid = |why| Refusal::new(ErrorCode::INVALID_REQUEST, why);
    if twice() {
        return Err(invalid(format_args!("Each resource must appear at most once.")));
    }
    if kind == BROKER {
        // Nothing is set, so that whoever clears something has what it wants: Kafka's tools do.
        let configs = edit(&TopicConfigs::new());
        return configs.ok().filter(|configs| configs.is_empty()).map(|_| ()).ok_or_else(|| {
            invalid(format_args!(
                "The broker's configuration is read at its start; it cannot be changed dynamically."
            ))
        });
    }
    if kind != TOPIC {
        return Err(invalid(format_args!("Unknown resource type {kind}")));
    }
    if name.is_empty() {
        return Err(invalid(format_args!("Default topic resources are not allowed.")));
    }
    topics::name_check(name)?;
    let Some((_, topic)) = broker.log.state().topic_named(name) else {
        let why = format_args!("The topic '{name}' does not exist.");
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
    };
    let id = topic.id;
    let configs = edit(&topic.configs)?;
    if configs == topic.configs {
        return Ok(());
    }
    let bytes = RECORD_BYTES + configs.len();
    pass.change(broker, SHARED_RING, bytes, |broker, now| {
        let ticket = broker.topic_configs_set(id, &configs, now)?;
        Ok(((), ticket))
    })
}

pub(super) fn named_twice(name: &str) -> Refusal {
    let why = format_args!("The config {name} is named twice.");
    Refusal::new(ErrorCode::INVALID_REQUEST, why)
}

pub(super) fn too_many() -> Refusal {
    let why = format_args!("There are not so many configs.");
    Refusal::new(ErrorCode::INVALID_REQUEST, why)
}

pub(super) fn no_value(name: &str) -> Refusal {
    let why = format_args!("Null value not supported for: {name}");
    Refusal::new(ErrorCode::INVALID_REQUEST, why)
}

/// Kafka's number of topics among resources.
pub(super) const TOPIC: i8 = 2;

/// Kafka's number of brokers among resources.
pub(super) const BROKER: i8 = 4;
