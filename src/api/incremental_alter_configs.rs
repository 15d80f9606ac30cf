//! IncrementalAlterConfigs (44): changes single configs of resources. Versions 0–1.
//!
//! - 1 is flexible.
//! - Operations: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.

pub use super::alter_configs::AlterConfigsResourceResponse;
use super::alteration::Alteration;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, List, message};

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
}

/// Changes single settings of topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = IncrementalAlterConfigsRequest::decode(&mut request.reader(), request.version)?;
    let alteration = Alteration::Incremental(ask.resources);
    Ok(alteration.carry_out(broker, request, ask.validate_only, out, now))
}

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
