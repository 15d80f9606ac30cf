//! IncrementalAlterConfigs (44): changes single configs of resources. Versions 0–1.
//!
//! - 1 is flexible.
//! - Operations: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.

use super::alter_configs::{NewConfigs, alter, named_twice, no_value, too_many};
use super::change::{Change, Items, Made, Said, Wanted, identity_of};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit};
use crate::broker::topics::Growth;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::log::StageError;
use crate::log::state::TopicConfigs;
use crate::log_limit::Names;
use crate::types::Ticket;

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
    let change = Change { request, items: ask.resources.len(), validate_only: ask.validate_only };
    let settled = broker.topics_settled(|name| {
        let mut resources = ask.resources.iter();
        resources.any(|resource| resource.resource_name == name)
    });
    Ok(change.carry_out(broker, &ask, out, now, settled))
}

impl<'a> Items for IncrementalAlterConfigsRequest<'a> {
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
        let edit = |before: &TopicConfigs| edited(before, resource.configs);
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
        IncrementalAlterConfigsResponse {
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

fn edited(
    before: &TopicConfigs,
    configs: Array<'_, AlterableConfig<'_>>,
) -> Result<TopicConfigs, Refusal> {
    let mut edit = Edit::of(before);
    if configs.len() > topic_config::KEYS.len() {
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::alter_configs_request::{
        AlterConfigsRequest, AlterConfigsResource as WholeResource, AlterableConfig as Whole,
    };
    use kafka_protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    };
    use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
    use kafka_protocol::protocol::StrBytes;

    use crate::api::Step;
    use crate::broker::testing::Bench;
    use crate::broker::topic_config::{key_named, own_value};

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn bench() -> Bench {
        let mut bench = Bench::new();
        let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text("t"))));
        bench.ask(9, &MetadataRequest::default().with_topics(Some(vec![topic])));
        bench
    }

    type Operation = (&'static str, i8, Option<&'static str>);

    fn request(
        kind: i8,
        name: &'static str,
        configs: &[Operation],
    ) -> IncrementalAlterConfigsRequest {
        let configs = configs.iter().map(|(name, operation, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(*operation)
                .with_value(value.map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    }

    fn alter(bench: &mut Bench, configs: &[Operation]) -> i16 {
        bench.ask(1, &request(2, "t", configs)).responses[0].error_code
    }

    fn own(bench: &Bench, name: &str) -> Option<String> {
        let (_, topic) = bench.broker.log.state().topic_named("t").unwrap();
        own_value(&topic.configs, key_named(name).unwrap()).map(str::to_string)
    }

    const THROTTLED: &str = "leader.replication.throttled.replicas";

    #[test]
    fn settings_are_set_deleted_appended_and_subtracted() {
        let mut bench = bench();
        let set = [("retention.ms", 0, Some("5")), (THROTTLED, 2, Some("0:1,1:1"))];
        assert_eq!(alter(&mut bench, &set), 0);
        assert_eq!(own(&bench, "retention.ms").as_deref(), Some("5"));
        let change = [("retention.ms", 1, None), (THROTTLED, 3, Some("0:1"))];
        assert_eq!(alter(&mut bench, &change), 0);
        assert_eq!(own(&bench, "retention.ms"), None);
        assert_eq!(own(&bench, THROTTLED).as_deref(), Some("1:1"));
        // Nothing changes, so nothing is written.
        let same = request(2, "t", &[(THROTTLED, 0, Some("1:1"))]);
        assert!(matches!(bench.step(1, &same), Step::Reply { .. }));
    }

    #[test]
    fn bad_arguments_get_kafkas_codes() {
        let mut bench = bench();
        for (configs, expected) in [
            (&[("retention.ms", 0, None)][..], 42),
            (&[("retention.ms", 2, Some("5"))], 40),
            (&[("bogus", 0, Some("5"))], 40),
            (&[("bogus", 1, None)], 0),
            (&[("retention.ms", 9, Some("5"))], 42),
            (&[("retention.ms", 0, Some("x"))], 40),
            (&[("retention.ms", 0, Some("5")), ("retention.ms", 1, None)], 42),
        ] {
            assert_eq!(alter(&mut bench, configs), expected, "{configs:?}");
        }
        for (kind, name, expected) in
            [(2, "x", 3), (2, "a b", 17), (2, "", 42), (4, "1", 42), (0, "t", 42)]
        {
            let request = request(kind, name, &[("retention.ms", 0, Some("5"))]);
            let code = bench.ask(1, &request).responses[0].error_code;
            assert_eq!(code, expected, "{kind} {name}");
        }
        assert_eq!(own(&bench, "retention.ms"), None);
    }

    #[test]
    fn alter_configs_replaces_them_all() {
        let mut bench = bench();
        alter(&mut bench, &[("retention.ms", 0, Some("5"))]);
        let config = Whole::default().with_name(text("flush.ms")).with_value(Some(text("9")));
        let resource = WholeResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource.clone()]);
        let only_look = request.clone().with_validate_only(true);
        assert_eq!(bench.ask(2, &only_look).responses[0].error_code, 0);
        assert_eq!(own(&bench, "flush.ms"), None);
        assert_eq!(bench.ask(2, &request).responses[0].error_code, 0);
        assert_eq!(own(&bench, "retention.ms"), None);
        assert_eq!(own(&bench, "flush.ms").as_deref(), Some("9"));
        let twice = AlterConfigsRequest::default().with_resources(vec![resource.clone(), resource]);
        let codes = bench.ask(2, &twice).responses;
        assert_eq!((codes.len(), codes[0].error_code, codes[1].error_code), (2, 42, 42));
    }
}
