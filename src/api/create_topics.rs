//! CreateTopics (19): creates topics. Versions 2–7.
//!
//! - −1 partitions or replicas are the broker's default (since 4 by Kafka's schema; Kafka and this
//!   broker take them before it, too); 5 is flexible and answers the topic's size and configs; 6 may be throttled; 7 answers the topic's id.
//! - `validate_only` checks and creates nothing.
//! - TopicConfigErrorCode (tag 0) is never sent: who may create a topic may see its configs.
//! - `timeout_ms` is not looked at: the answer waits for one sync.
//! - Topics are created by themselves: one that is refused does not stop the others. A name that
//!   stands twice is refused once.
//! - Configs and messages are left out of an answer that would not fit one window with them, as with
//!   some forty topics.

use super::change::{Change, Pass};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit, KEYS, Source};
use crate::broker::topics::{NewTopic, SHARED_RING};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::config::Config;
use crate::limits;
use crate::log::state::TopicConfigs;
use crate::types::TopicId;

message! {
    /// Topics to create.
    request CreateTopicsRequest<'a>, key 19, flexible 5+ {
        topics: Array<'a, CreatableTopic<'a>>, 0+;
        timeout_ms: i32, 0+, default 60_000;
        validate_only: bool, 1+;
    }

    /// One topic.
    request CreatableTopic<'a> {
        name: &'a str, 0+;
        num_partitions: i32, 0+;
        replication_factor: i16, 0+;
        assignments: Array<'a, CreatableReplicaAssignment<'a>>, 0+;
        configs: Array<'a, CreatableTopicConfig<'a>>, 0+;
    }

    /// Where a partition's replicas should be.
    request CreatableReplicaAssignment<'a> {
        partition_index: i32, 0+;
        broker_ids: Array<'a, i32>, 0+;
    }

    /// One config.
    request CreatableTopicConfig<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of them.
    response CreateTopicsResponse<'a>, key 19, flexible 5+ {
        throttle_time_ms: i32, 2+;
        topics: List<'a, CreatableTopicResult<'static>>, 0+;
    }

    /// One topic.
    response CreatableTopicResult<'a> {
        name: &'a str, 0+;
        topic_id: TopicId, 7+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 1+, nullable 0+;
        num_partitions: i32, 5+;
        replication_factor: i16, 5+;
        configs: Option<List<'a, CreatableTopicConfigs<'static>>>, 5+, nullable 5+;
    }

    /// One config.
    response CreatableTopicConfigs<'a> {
        name: &'a str, 5+;
        value: Option<&'a str>, 5+, nullable 5+;
        read_only: bool, 5+;
        config_source: i8, 5+;
        is_sensitive: bool, 5+;
    }
}

/// Creates topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = CreateTopicsRequest::decode(&mut request.reader(), request.version)?;
    let change = Change {
        request,
        items: ask.topics.len(),
        validate_only: ask.validate_only,
    };
    let settled = broker.topics_settled(|name| ask.topics.iter().any(|topic| topic.name == name));
    let step = change.carry_out(broker, out, now, settled, |pass, broker, w| {
        CreateTopicsResponse {
            throttle_time_ms: 0,
            topics: &mut |list| topics(broker, pass, ask.topics, list),
        }
        .encode(w, request.version);
    });
    Ok(step)
}

type Results<'w, 'b> = ListWriter<'w, 'b, CreatableTopicResult<'static>>;

fn topics(
    broker: &mut Broker,
    pass: &mut Pass,
    topics: Array<'_, CreatableTopic<'_>>,
    list: &mut Results<'_, '_>,
) {
    for (at, topic) in topics.iter().enumerate() {
        let same = |other: CreatableTopic<'_>| other.name == topic.name;
        if pass.compares() && topics.iter().take(at).any(same) {
            continue;
        }
        let twice = || topics.iter().skip(at + 1).any(same);
        match create(broker, pass, &topic, twice) {
            Ok((topic_id, new)) => {
                let configs: List<'_, CreatableTopicConfigs<'static>> =
                    &mut |list| push_configs(list, &broker.config, &new.configs);
                list.push(CreatableTopicResult {
                    name: topic.name,
                    topic_id,
                    error_code: ErrorCode::NONE,
                    error_message: None,
                    num_partitions: new.partitions as i32,
                    replication_factor: 1,
                    configs: (!pass.brief).then_some(configs),
                });
            }
            Err(refusal) => list.push(CreatableTopicResult {
                name: topic.name,
                topic_id: TopicId::default(),
                error_code: refusal.code,
                error_message: (!pass.brief).then_some(refusal.message.as_str()),
                num_partitions: -1,
                replication_factor: -1,
                configs: Some(&mut |_| {}),
            }),
        }
    }
}

fn create(
    broker: &mut Broker,
    pass: &mut Pass,
    topic: &CreatableTopic<'_>,
    twice: impl FnOnce() -> bool,
) -> Result<(TopicId, NewTopic), Refusal> {
    pass.open()?;
    if twice() {
        return Err(invalid_request("Duplicate topic name."));
    }
    let new = NewTopic {
        name: broker.topic_name_free(topic.name)?,
        configs: configs_of(topic)?,
        partitions: partitions_of(topic, &broker.config)?,
    };
    broker.topic_grow(&new, &mut pass.growth)?;
    let bytes = new.meta_bytes();
    let id = pass.change(broker, SHARED_RING, bytes, |broker, now| {
        broker.topic_create(&new, now)
    })?;
    Ok((id, new))
}

fn push_configs(
    list: &mut ListWriter<'_, '_, CreatableTopicConfigs<'static>>,
    config: &Config,
    own: &TopicConfigs,
) {
    for key in KEYS {
        let (default, default_source) = key.default_value(config);
        let own = topic_config::own_value(own, key);
        list.push(CreatableTopicConfigs {
            name: key.name,
            value: Some(own.unwrap_or(&default)),
            read_only: false,
            config_source: own.map_or(default_source, |_| Source::Topic) as i8,
            is_sensitive: false,
        });
    }
}

/// The topic's own settings; a later one of the same name counts, as in Kafka.
fn configs_of(topic: &CreatableTopic<'_>) -> Result<TopicConfigs, Refusal> {
    for config in topic.configs {
        topic_config::key_asked(config.name, config.value)?;
    }
    let mut edit = Edit::default();
    for config in topic.configs {
        let (key, value) = topic_config::key_asked(config.name, config.value)?;
        edit.set(key, value)?;
    }
    edit.finish()
}

/// How many partitions the topic shall have, if every replica can be here.
fn partitions_of(topic: &CreatableTopic<'_>, config: &Config) -> Result<u32, Refusal> {
    if !topic.assignments.is_empty() {
        return partitions_assigned(topic, config);
    }
    let replicas = topic.replication_factor;
    if !matches!(replicas, -1 | 1) && (replicas < 1 || !config.allow_replication_factor_any) {
        let why = format_args!("Replication factor must be 1 or -1: there is one broker.");
        return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, why));
    }
    match topic.num_partitions {
        -1 => Ok(config.num_partitions),
        partitions => u32::try_from(partitions).ok().filter(|n| *n > 0).ok_or({
            let why = format_args!("Number of partitions must be above 0, or -1 for the default.");
            Refusal::new(ErrorCode::INVALID_PARTITIONS, why)
        }),
    }
}

/// The same, for a client that says itself where each replica shall be.
fn partitions_assigned(topic: &CreatableTopic<'_>, config: &Config) -> Result<u32, Refusal> {
    if topic.replication_factor != -1 {
        return Err(invalid_request(
            "With an assignment of replicas, the replication factor must be -1.",
        ));
    }
    if topic.num_partitions != -1 {
        return Err(invalid_request(
            "With an assignment of replicas, the number of partitions must be -1.",
        ));
    }
    // As many different indexes as there are, none at or above their number: they are 0, 1, 2, ….
    let count = topic.assignments.len();
    if count > limits::ADMIN_ITEMS_MAX {
        let why = format_args!("Too many partitions are assigned in one request.");
        return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, why));
    }
    for (at, assignment) in topic.assignments.iter().enumerate() {
        let index = assignment.partition_index;
        let mut earlier = topic.assignments.iter().take(at);
        if earlier.any(|other| other.partition_index == index) {
            let why = format_args!("Partition {index} is assigned twice.");
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        if usize::try_from(index).is_ok_and(|index| index < count) {
            super::replicas_check(assignment.broker_ids, config)?;
        } else {
            let why = format_args!("Partitions must be assigned from 0 on, without a gap.");
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
    }
    Ok(count as u32)
}

fn invalid_request(why: &str) -> Refusal {
    Refusal::new(ErrorCode::INVALID_REQUEST, format_args!("{why}"))
}
