//! DescribeConfigs (32): shows configs. Versions 1–4.
//!
//! - 1 adds where a value comes from, and synonyms; 3 types and documentation; 4 is flexible.
//! - `is_default` was version 0's, which is not served.
//! - A topic's settings, and the broker's: its configuration by Kafka's names (`num.partitions` for
//!   `num_partitions`), what topics have when they say nothing, and what tools look for besides. The
//!   broker's cannot be changed while it runs.
//! - A resource that is named twice is INVALID_REQUEST (42): answers stay in proportion.

use std::fmt::Write;

use super::alteration::{BROKER, TOPIC};
use super::{Malformed, Request, Step, Window, dedup::OnceTopic};
use crate::broker::refusal::{Note, Refusal};
use crate::broker::topic_config::{self, Source};
use crate::broker::topics;
use crate::broker::{Address, Broker, Peer};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::config::value::Value;
use crate::config::{self, Config};
use crate::log::state::Topic;

message! {
    /// Whose configs.
    request DescribeConfigsRequest<'a>, key 32, flexible 4+ {
        resources: Array<'a, DescribeConfigsResource<'a>>, 0+;
        include_synonyms: bool, 1+;
        include_documentation: bool, 3+;
    }

    /// One resource, and which of its configs; null is all.
    request DescribeConfigsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configuration_keys: Option<Array<'a, &'a str>>, 0+, nullable 0+;
    }

    /// The configs.
    response DescribeConfigsResponse<'a>, key 32, flexible 4+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, DescribeConfigsResult<'static>>, 0+;
    }

    /// One resource.
    response DescribeConfigsResult<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configs: List<'a, DescribeConfigsResourceResult<'static>>, 0+;
    }

    /// One config.
    response DescribeConfigsResourceResult<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
        read_only: bool, 0+;
        config_source: i8, 1+;
        is_sensitive: bool, 0+;
        synonyms: List<'a, DescribeConfigsSynonym<'static>>, 1+;
        config_type: i8, 3+;
        documentation: Option<&'a str>, 3+, nullable 0+;
    }

    /// Where else its value could come from, nearest first.
    response DescribeConfigsSynonym<'a> {
        name: &'a str, 1+;
        value: Option<&'a str>, 1+, nullable 0+;
        source: i8, 1+;
    }
}

/// Shows settings.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeConfigsRequest::decode(&mut request.reader(), request.version)?;
    let mut shown = Shown::default();
    Ok(request.reply(out, |w| {
        DescribeConfigsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            results: &mut |list| {
                for resource in ask.resources {
                    describe(broker, request.peer, &ask, &resource, &mut shown, list);
                }
            },
        }
        .encode(w, request.version);
    }))
}

/// What the answer has already.
#[derive(Default)]
struct Shown {
    topics: OnceTopic,
    broker: bool,
}

/// A resource that is there.
#[derive(Clone, Copy)]
enum Found<'b> {
    Topic(&'b Topic),
    Broker,
}

type Configs<'w, 'b> = ListWriter<'w, 'b, DescribeConfigsResourceResult<'static>>;

fn describe(
    broker: &Broker,
    peer: &Peer,
    ask: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    shown: &mut Shown,
    list: &mut ListWriter<'_, '_, DescribeConfigsResult<'static>>,
) {
    let found = find(broker, resource, shown);
    let config = &broker.config;
    list.push(DescribeConfigsResult {
        error_code: found.as_ref().err().map_or(ErrorCode::NONE, |refusal| refusal.code),
        error_message: Some(found.as_ref().err().map_or("", |refusal| refusal.message.as_str())),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: &mut |list| match &found {
            Ok(Found::Topic(topic)) => topic_configs(config, topic, ask, resource, list),
            Ok(Found::Broker) => broker_configs(broker, peer, ask, resource, list),
            Err(_) => {}
        },
    });
}

fn find<'b>(
    broker: &'b Broker,
    resource: &DescribeConfigsResource<'_>,
    shown: &mut Shown,
) -> Result<Found<'b>, Refusal> {
    let invalid = |why| Err(Refusal::new(ErrorCode::INVALID_REQUEST, why));
    let name = resource.resource_name;
    match resource.resource_type {
        TOPIC => {
            topics::name_check(name)?;
            match broker.log.state().topic_named(name) {
                Some((slot, topic)) if shown.topics.first(slot.0) => Ok(Found::Topic(topic)),
                Some(_) => invalid(format_args!("Each resource must appear at most once.")),
                None => {
                    let why = format_args!("The topic '{name}' does not exist.");
                    Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why))
                }
            }
        }
        BROKER => match name.parse::<i32>() {
            _ if std::mem::replace(&mut shown.broker, true) => {
                invalid(format_args!("Each resource must appear at most once."))
            }
            Ok(id) if id == broker.config.node_id => Ok(Found::Broker),
            // The cluster's defaults for all brokers: there is nothing to show.
            Err(_) if name.is_empty() => Ok(Found::Broker),
            Ok(id) => invalid(format_args!("There is no broker {id}.")),
            Err(_) => invalid(format_args!("A broker's id must be a number; it is: {name}")),
        },
        other => invalid(format_args!("Unknown resource type {other}")),
    }
}

/// Whether the client wants to see this: no names at all stand for all of them.
fn wanted(resource: &DescribeConfigsResource<'_>, name: &str) -> bool {
    let names = resource.configuration_keys.unwrap_or_default();
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

fn topic_configs(
    config: &Config,
    topic: &Topic,
    ask: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    list: &mut Configs<'_, '_>,
) {
    for key in topic_config::KEYS.iter().filter(|key| wanted(resource, key.name)) {
        let own = topic_config::own_value(&topic.configs, key);
        let (default, source) = key.default_value(config);
        list.push(DescribeConfigsResourceResult {
            name: key.name,
            value: Some(own.unwrap_or(&default)),
            read_only: false,
            config_source: own.map_or(source, |_| Source::Topic) as i8,
            is_sensitive: false,
            synonyms: &mut |list| {
                if !ask.include_synonyms {
                    return;
                }
                let mut push = |name, value, source: Source| {
                    list.push(DescribeConfigsSynonym {
                        name,
                        value: Some(value),
                        source: source as i8,
                    });
                };
                if let Some(own) = own {
                    push(key.name, own, Source::Topic);
                }
                if let Some(name) = key.broker {
                    if source == Source::StaticBroker {
                        push(name, &default, source);
                    }
                    push(name, key.usual_value(), Source::Default);
                }
            },
            config_type: key.kind.number(),
            documentation: Some(key.documentation).filter(|_| ask.include_documentation),
        });
    }
}

fn broker_configs(
    broker: &Broker,
    peer: &Peer,
    ask: &DescribeConfigsRequest<'_>,
    resource: &DescribeConfigsResource<'_>,
    list: &mut Configs<'_, '_>,
) {
    if resource.resource_name.is_empty() {
        return;
    }
    let config = &broker.config;
    let mut show = |name: &str, shown: &BrokerConfig<'_>| {
        if wanted(resource, name) {
            shown.push(name, ask, list);
        }
    };
    for key in config::KEYS {
        let value = (key.get)(config);
        let takes = Note::new(format_args!("Takes {}; read at the broker's start.", key.kind));
        let shown = BrokerConfig {
            value: &plain(&value),
            usual: &plain(&key.kind.default()),
            kind: match value {
                Value::Bool(_) => topic_config::BOOLEAN,
                Value::Text(_) => topic_config::STRING,
                Value::Int(_) => topic_config::LONG,
                Value::List(_) => topic_config::LIST,
            },
            documentation: takes.as_str(),
        };
        match key.name {
            "advertised_listeners" if config.advertised_listeners.0.is_none() => {
                let reached = listener(&broker.advertised(peer));
                show(
                    ADVERTISED,
                    &BrokerConfig::always(&reached, topic_config::STRING, takes.as_str()),
                );
            }
            name => show(&kafkas_name(name), &shown),
        }
    }
    let is_key = |name: &str| config::KEYS.iter().any(|key| kafkas_name(key.name) == name);
    for key in topic_config::KEYS {
        if let Some(name) = key.broker.filter(|name| !is_key(name)) {
            let shown = BrokerConfig {
                value: &Note::new(format_args!("{}", key.default_value(config).0)),
                usual: &Note::new(format_args!("{}", key.usual_value())),
                kind: key.kind.number(),
                documentation: key.documentation,
            };
            show(name, &shown);
        }
    }
    let node_id = Note::new(format_args!("{}", config.node_id));
    show("broker.id", &BrokerConfig::always(&node_id, topic_config::INT, "Set by node_id."));
    let listens = Note::new(format_args!("PLAINTEXT://{}", config.listen));
    show("listeners", &BrokerConfig::always(&listens, topic_config::LIST, "Set by listen."));
    let data_dir = Note::new(format_args!("{}", config.data_dir.display()));
    show("log.dirs", &BrokerConfig::always(&data_dir, topic_config::LIST, "Set by data_dir."));
    for (name, value, kind, documentation) in FIXED {
        let value = Note::new(format_args!("{value}"));
        show(name, &BrokerConfig::always(&value, *kind, documentation));
    }
}

/// An address as Kafka's files have it.
fn listener(address: &Address) -> Note {
    let Address { host, port } = address;
    if host.contains(':') {
        Note::new(format_args!("PLAINTEXT://[{host}]:{port}"))
    } else {
        Note::new(format_args!("PLAINTEXT://{host}:{port}"))
    }
}

/// A key of the configuration by Kafka's name.
fn kafkas_name(key: &str) -> heapless::String<64> {
    let mut name = heapless::String::new();
    for letter in key.chars() {
        let letter = if letter == '_' { '.' } else { letter };
        name.push(letter).expect("keys have short names");
    }
    name
}

/// What the broker shows of one of its settings.
struct BrokerConfig<'a> {
    value: &'a Note,
    /// What it is when the configuration does not say.
    usual: &'a Note,
    kind: i8,
    documentation: &'a str,
}

impl<'a> BrokerConfig<'a> {
    /// One that the configuration has no key for.
    fn always(value: &'a Note, kind: i8, documentation: &'a str) -> BrokerConfig<'a> {
        BrokerConfig { value, usual: value, kind, documentation }
    }

    fn push(&self, name: &str, ask: &DescribeConfigsRequest<'_>, list: &mut Configs<'_, '_>) {
        let is_set = self.value.as_str() != self.usual.as_str();
        let own = is_set.then_some((self.value.as_str(), Source::StaticBroker));
        let synonyms = own.into_iter().chain([(self.usual.as_str(), Source::Default)]);
        list.push(DescribeConfigsResourceResult {
            name,
            value: Some(self.value.as_str()),
            read_only: true,
            config_source: if is_set { Source::StaticBroker } else { Source::Default } as i8,
            is_sensitive: false,
            synonyms: &mut |list| {
                for (value, source) in synonyms.clone().filter(|_| ask.include_synonyms) {
                    let (value, source) = (Some(value), source as i8);
                    list.push(DescribeConfigsSynonym { name, value, source });
                }
            },
            config_type: self.kind,
            documentation: Some(self.documentation).filter(|_| ask.include_documentation),
        });
    }
}

const ADVERTISED: &str = "advertised.listeners";

/// Settings of Kafka's that are one thing only here, and that tools look for: name, value, type, why.
const FIXED: &[(&str, &str, i8, &str)] = &[
    ("default.replication.factor", "1", topic_config::INT, "There is one broker."),
    (
        "offsets.retention.minutes",
        "2147483647",
        topic_config::INT,
        "Committed offsets give way only where a table is full.",
    ),
    ("offsets.topic.replication.factor", "1", topic_config::INT, "There is one broker."),
    ("process.roles", "broker,controller", topic_config::LIST, "It is both."),
    ("transaction.state.log.replication.factor", "1", topic_config::INT, "There is one broker."),
];

/// As Kafka's files have it: without quotes.
fn plain(value: &Value) -> Note {
    match value {
        Value::Int(n) => Note::new(format_args!("{n}")),
        Value::Bool(b) => Note::new(format_args!("{b}")),
        Value::Text(text) => Note::new(format_args!("{text}")),
        Value::List(items) => {
            let mut note = Note::default();
            for (at, item) in items.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                // A list that is too long to be shown is cut.
                let _ = write!(note, "{comma}{item}");
            }
            note
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::create_topics_request::{
        CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    };
    use kafka_protocol::messages::describe_configs_request::{
        DescribeConfigsRequest, DescribeConfigsResource,
    };
    use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
    use kafka_protocol::protocol::StrBytes;

    use crate::broker::testing::Bench;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn bench() -> Bench {
        let mut bench = Bench::with(|config| config.num_partitions = 7);
        let config = CreatableTopicConfig::default().with_name(text("retention.ms"));
        let topic = CreatableTopic::default()
            .with_name(TopicName(text("t")))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![config.with_value(Some(text("5")))]);
        bench.ask(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        bench
    }

    fn describe(
        bench: &mut Bench,
        kind: i8,
        name: &'static str,
        keys: Option<&[&'static str]>,
    ) -> DescribeConfigsResult {
        let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(keys);
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true)
            .with_include_documentation(true);
        bench.ask(4, &request).results.remove(0)
    }

    #[test]
    fn a_topic_shows_all_settings_with_their_sources() {
        let mut bench = bench();
        let all = describe(&mut bench, 2, "t", None);
        assert_eq!((all.error_code, all.configs.len()), (0, 33));
        assert!(all.configs.iter().all(|config| config.documentation.is_some()));
        let some = describe(&mut bench, 2, "t", Some(&["retention.ms", "bogus"]));
        let config = &some.configs[0];
        assert_eq!(some.configs.len(), 1);
        assert_eq!((config.value.as_deref(), config.config_source), (Some("5"), 1));
        let synonyms: Vec<(&str, Option<&str>, i8)> = config
            .synonyms
            .iter()
            .map(|other| (other.name.as_str(), other.value.as_deref(), other.source))
            .collect();
        assert_eq!(synonyms, [("retention.ms", Some("5"), 1), ("log.retention.ms", Some("-1"), 5)]);
    }

    #[test]
    fn the_brokers_configuration_has_kafkas_names() {
        let mut bench = bench();
        let keys = ["num.partitions", "auto.create.topics.enable", "data.dir"];
        let shown = describe(&mut bench, 4, "1", Some(&keys)).configs;
        let shown: Vec<(&str, &str, i8, bool)> = shown
            .iter()
            .map(|config| {
                let value = config.value.as_ref().unwrap();
                (config.name.as_str(), value.as_str(), config.config_source, config.read_only)
            })
            .collect();
        assert!(shown.contains(&("num.partitions", "7", 4, true)), "{shown:?}");
        assert!(shown.contains(&("auto.create.topics.enable", "true", 5, true)), "{shown:?}");
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn what_tools_look_for_is_there_once() {
        let mut bench = bench();
        let all = describe(&mut bench, 4, "1", None).configs;
        let value = |name: &str| {
            let mut found = all.iter().filter(|config| config.name.as_str() == name);
            let first = found.next().and_then(|config| config.value.as_ref());
            assert!(found.next().is_none(), "{name} is there twice");
            first.map(|value| value.to_string())
        };
        for (name, expected) in [
            ("advertised.listeners", "PLAINTEXT://10.0.0.7:9092"),
            ("broker.id", "1"),
            ("node.id", "1"),
            ("compression.type", "producer"),
            ("default.replication.factor", "1"),
            ("delete.topic.enable", "true"),
            ("log.cleanup.policy", "delete"),
            ("log.message.timestamp.type", "CreateTime"),
            ("log.retention.ms", "-1"),
            ("message.max.bytes", "1048588"),
            ("min.insync.replicas", "1"),
            ("num.partitions", "7"),
            ("offsets.retention.minutes", "2147483647"),
            ("unclean.leader.election.enable", "false"),
        ] {
            assert_eq!(value(name).as_deref(), Some(expected), "{name}");
        }
        for name in ["listeners", "log.dirs", "log.segment.bytes", "socket.request.max.bytes"] {
            assert!(value(name).is_some_and(|value| !value.is_empty()), "{name}");
        }
    }

    #[test]
    fn bad_arguments_get_kafkas_codes() {
        let mut bench = bench();
        for (kind, name, expected) in [
            (2, "x", 3),
            (2, "a b", 17),
            (2, "", 17),
            (4, "2", 42),
            (4, "x", 42),
            (4, "", 0),
            (3, "t", 42),
        ] {
            let result = describe(&mut bench, kind, name, None);
            assert_eq!(result.error_code, expected, "{kind} {name}");
            assert!(result.configs.is_empty());
        }
    }
}
