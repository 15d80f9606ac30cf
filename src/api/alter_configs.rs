//! AlterConfigs (33): replaces the configs of resources. Versions 0–2.
//!
//! - 2 is flexible.
//! - Configs that are not named go back to their defaults. `validate_only` checks and changes
//!   nothing.
//! - Topics alone can be changed: the broker's settings stand in its configuration file.

use super::change::{Change, Items, Made, Said, Wanted, identity_of};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit};
use crate::broker::topics::{self, Growth, RECORD_BYTES};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::log::StageError;
use crate::log::state::TopicConfigs;
use crate::log_limit::Names;
use crate::types::{Ticket, TopicId};

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
    Ok(change.carry_out(broker, &ask, out, now, settled))
}

impl<'a> Items for AlterConfigsRequest<'a> {
    type Item = AlterConfigsResource<'a>;
    type New = NewConfigs;
    const ANSWERS_ALL: bool = true;

    fn items(&self) -> impl Iterator<Item = AlterConfigsResource<'a>> {
        self.resources.iter()
    }

    fn identity(&self, _: &Broker, resource: &AlterConfigsResource<'a>) -> Option<u64> {
        let kind = resource.resource_type.to_be_bytes();
        identity_of(&[&kind, resource.resource_name.as_bytes()])
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        _: &mut Growth,
        twice: bool,
        resource: &AlterConfigsResource<'a>,
    ) -> Result<Option<Wanted<NewConfigs>>, Refusal> {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let edit = |_: &TopicConfigs| configs_of(resource.configs);
        alter(broker, (kind, name), twice, edit)
    }

    fn name(
        &self,
        _: &Broker,
        resource: &AlterConfigsResource<'a>,
        _: &NewConfigs,
        names: &mut Names,
    ) {
        names.add(format_args!("topic {:?}", resource.resource_name));
        for config in resource.configs.iter() {
            let value = config.value.unwrap_or("(default)");
            names.add(format_args!("{:?} = {value:?}", config.name));
        }
    }

    fn stage(
        &self,
        broker: &mut Broker,
        new: NewConfigs,
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        new.stage(broker, now)
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        AlterConfigsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            responses: &mut |list| {
                for (resource, outcome) in said.outcomes(self, broker) {
                    let refusal = outcome.err();
                    list.push(AlterConfigsResourceResponse {
                        error_code: refusal.as_ref().map_or(ErrorCode::NONE, |r| r.code),
                        error_message: refusal.as_ref().and_then(|r| said.message(r)),
                        resource_type: resource.resource_type,
                        resource_name: resource.resource_name,
                    });
                }
            },
        }
        .encode(w, version);
    }
}

fn configs_of(configs: Array<'_, AlterableConfig<'_>>) -> Result<TopicConfigs, Refusal> {
    let mut edit = Edit::default();
    if configs.len() > topic_config::KEYS.len() {
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

/// What is to change if the settings of one resource become what `edit` makes of them.
pub(super) fn alter(
    broker: &Broker,
    (kind, name): (i8, &str),
    twice: bool,
    edit: impl FnOnce(&TopicConfigs) -> Result<TopicConfigs, Refusal>,
) -> Result<Option<Wanted<NewConfigs>>, Refusal> {
    let invalid = |why| Refusal::new(ErrorCode::INVALID_REQUEST, why);
    if twice {
        return Err(invalid(format_args!("Each resource must appear at most once.")));
    }
    if kind == BROKER {
        // Nothing is set, so that whoever clears something has what it wants: Kafka's tools do.
        let configs = edit(&TopicConfigs::new());
        return configs.ok().filter(|configs| configs.is_empty()).map(|_| None).ok_or_else(|| {
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
        return Ok(None);
    }
    let bytes = RECORD_BYTES + configs.len();
    Ok(Some(Wanted { ring: broker.log.shared(), bytes, new: NewConfigs { id, configs } }))
}

/// What the settings of a topic become.
pub(super) struct NewConfigs {
    id: TopicId,
    configs: TopicConfigs,
}

impl NewConfigs {
    /// Stages it.
    pub fn stage(&self, broker: &mut Broker, now: Now) -> Result<(Made, Ticket), StageError> {
        Ok((Made::default(), broker.topic_configs_set(self.id, &self.configs, now)?))
    }
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
