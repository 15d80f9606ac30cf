//! What AlterConfigs (33) and IncrementalAlterConfigs (44) have in common: resources whose settings are to
//! become others, either all of them at once or some of them one by one.

use super::alter_configs::AlterConfigsResourceResponse;
use super::change::{Change, Items, Made, Said, Wanted, identity_of};
use super::{Request, Step, Window, alter_configs, incremental_alter_configs};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit};
use crate::broker::topics::{self, Growth, RECORD_BYTES};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer};
use crate::log::StageError;
use crate::log::state::TopicConfigs;
use crate::log_limit::Names;
use crate::types::{Ticket, TopicId};

/// The resources of a request.
pub(super) enum Alteration<'a> {
    /// What is not named goes back to its default.
    Whole(Array<'a, alter_configs::AlterConfigsResource<'a>>),
    /// What is not named stays.
    Incremental(Array<'a, incremental_alter_configs::AlterConfigsResource<'a>>),
}

/// One of them.
pub(super) struct Resource<'a> {
    kind: i8,
    name: &'a str,
    configs: Configs<'a>,
}

#[derive(Clone, Copy)]
enum Configs<'a> {
    Whole(Array<'a, alter_configs::AlterableConfig<'a>>),
    Incremental(Array<'a, incremental_alter_configs::AlterableConfig<'a>>),
}

struct Config<'a> {
    name: &'a str,
    operation: i8,
    value: Option<&'a str>,
}

/// What the settings of a topic become.
pub(super) struct NewConfigs {
    id: TopicId,
    configs: TopicConfigs,
}

impl Alteration<'_> {
    /// Carries it out.
    pub fn carry_out(
        &self,
        broker: &mut Broker,
        request: &Request<'_>,
        validate_only: bool,
        out: Window<'_>,
        now: Now,
    ) -> Step {
        let change = Change { request, items: self.items().count(), validate_only };
        let settled =
            broker.topics_settled(|name| self.items().any(|resource| resource.name == name));
        change.carry_out(broker, self, out, now, settled)
    }
}

impl<'a> Items for Alteration<'a> {
    type Item = Resource<'a>;
    type New = NewConfigs;
    const ANSWERS_ALL: bool = true;

    fn items(&self) -> impl Iterator<Item = Resource<'a>> {
        let (whole, incremental) = match self {
            Alteration::Whole(resources) => (Some(resources.iter()), None),
            Alteration::Incremental(resources) => (None, Some(resources.iter())),
        };
        let whole = whole.into_iter().flatten().map(|resource| Resource {
            kind: resource.resource_type,
            name: resource.resource_name,
            configs: Configs::Whole(resource.configs),
        });
        whole.chain(incremental.into_iter().flatten().map(|resource| Resource {
            kind: resource.resource_type,
            name: resource.resource_name,
            configs: Configs::Incremental(resource.configs),
        }))
    }

    fn identity(&self, _: &Broker, resource: &Resource<'a>) -> Option<u64> {
        identity_of(&[&resource.kind.to_be_bytes(), resource.name.as_bytes()])
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        _: &mut Growth,
        twice: bool,
        resource: &Resource<'a>,
    ) -> Result<Option<Wanted<NewConfigs>>, Refusal> {
        resource.check(broker, twice)
    }

    fn name(&self, _: &Broker, resource: &Resource<'a>, _: &NewConfigs, names: &mut Names) {
        names.add(format_args!("topic {:?}", resource.name));
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
        Ok((Made::default(), broker.topic_configs_set(new.id, &new.configs, now)?))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        let throttle_time_ms = w.throttle_time_ms();
        let responses: List<'_, AlterConfigsResourceResponse<'static>> = &mut |list| {
            for (resource, outcome) in said.outcomes(self, broker) {
                let refusal = outcome.err();
                list.push(AlterConfigsResourceResponse {
                    error_code: refusal.as_ref().map_or(ErrorCode::NONE, |r| r.code),
                    error_message: refusal.as_ref().and_then(|r| said.message(r)),
                    resource_type: resource.kind,
                    resource_name: resource.name,
                });
            }
        };
        match self {
            Alteration::Whole(_) => {
                alter_configs::AlterConfigsResponse { throttle_time_ms, responses }
                    .encode(w, version);
            }
            Alteration::Incremental(_) => {
                incremental_alter_configs::IncrementalAlterConfigsResponse {
                    throttle_time_ms,
                    responses,
                }
                .encode(w, version);
            }
        }
    }
}

impl Resource<'_> {
    /// What is to change, if anything.
    fn check(&self, broker: &Broker, twice: bool) -> Result<Option<Wanted<NewConfigs>>, Refusal> {
        let invalid = |why| Refusal::new(ErrorCode::INVALID_REQUEST, why);
        if twice {
            return Err(invalid(format_args!("Each resource must appear at most once.")));
        }
        if self.kind == BROKER {
            // Nothing is set, so that whoever clears something has what it wants: Kafka's tools do.
            let configs = self.configs.edited(&TopicConfigs::new());
            return configs.ok().filter(|configs| configs.is_empty()).map(|_| None).ok_or_else(
                || {
                    invalid(format_args!(
                        "The broker's configuration is read at its start; it cannot be changed \
                     dynamically."
                    ))
                },
            );
        }
        if self.kind != TOPIC {
            return Err(invalid(format_args!("Unknown resource type {}", self.kind)));
        }
        if self.name.is_empty() {
            return Err(invalid(format_args!("Default topic resources are not allowed.")));
        }
        topics::name_check(self.name)?;
        let Some((_, topic)) = broker.log.state().topic_named(self.name) else {
            let why = format_args!("The topic '{}' does not exist.", self.name);
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
        };
        let id = topic.id;
        let configs = self.configs.edited(&topic.configs)?;
        if configs == topic.configs {
            return Ok(None);
        }
        let bytes = RECORD_BYTES + configs.len();
        Ok(Some(Wanted { ring: broker.log.shared(), bytes, new: NewConfigs { id, configs } }))
    }
}

impl<'a> Configs<'a> {
    fn iter(self) -> impl Iterator<Item = Config<'a>> {
        let (whole, incremental) = match self {
            Configs::Whole(configs) => (Some(configs.iter()), None),
            Configs::Incremental(configs) => (None, Some(configs.iter())),
        };
        let whole = whole.into_iter().flatten().map(|config| Config {
            name: config.name,
            operation: SET,
            value: config.value,
        });
        whole.chain(incremental.into_iter().flatten().map(|config| Config {
            name: config.name,
            operation: config.config_operation,
            value: config.value,
        }))
    }

    /// What they make of the settings of before.
    fn edited(self, before: &TopicConfigs) -> Result<TopicConfigs, Refusal> {
        let mut edit = match self {
            Configs::Whole(_) => Edit::default(),
            Configs::Incremental(_) => Edit::of(before),
        };
        let refused = |code, why| Err(Refusal::new(code, why));
        if self.iter().count() > topic_config::KEYS.len() {
            let why = format_args!("There are not so many configs.");
            return refused(ErrorCode::INVALID_REQUEST, why);
        }
        for (at, Config { name, operation, value }) in self.iter().enumerate() {
            if self.iter().take(at).any(|other| other.name == name) {
                let why = format_args!("The config {name} is named twice.");
                return refused(ErrorCode::INVALID_REQUEST, why);
            }
            if operation == DELETE {
                // What is not known is not set, either: as in Kafka, that is no error.
                if let Some(key) = topic_config::key_named(name) {
                    edit.remove(key);
                }
                continue;
            }
            let Some(value) = value else {
                let why = format_args!("Null value not supported for: {name}");
                return refused(ErrorCode::INVALID_REQUEST, why);
            };
            let (key, value) = topic_config::key_asked(name, Some(value))?;
            match operation {
                SET => edit.set(key, value)?,
                APPEND if key.is_list() => edit.append(key, value)?,
                SUBTRACT if key.is_list() => edit.subtract(key, value)?,
                APPEND | SUBTRACT => {
                    let why =
                        format_args!("Cannot append to or subtract from {name}: it is no list.");
                    return refused(ErrorCode::INVALID_CONFIG, why);
                }
                other => {
                    let why = format_args!("Unknown operation {other} on {name}.");
                    return refused(ErrorCode::INVALID_REQUEST, why);
                }
            }
        }
        edit.finish()
    }
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Kafka's number of topics among resources.
pub(super) const TOPIC: i8 = 2;

/// Kafka's number of brokers among resources.
pub(super) const BROKER: i8 = 4;
