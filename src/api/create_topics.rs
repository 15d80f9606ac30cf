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

use super::change::{Change, Items, Made, Outcome, Said, Wanted, identity_of};
use super::dedup::Once;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topic_config::{self, Edit, KEYS, Source};
use crate::broker::topics::{Growth, NewTopic};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, Writer, message};
use crate::config::Config;
use crate::limits;
use crate::log::StageError;
use crate::log::state::TopicConfigs;
use crate::log_limit::Names;
use crate::types::{Ticket, TopicId};

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
    let change = Change { request, items: ask.topics.len(), validate_only: ask.validate_only };
    let settled = broker.topics_settled(|name| ask.topics.iter().any(|topic| topic.name == name));
    Ok(change.carry_out(broker, &ask, out, now, settled))
}

impl<'a> Items for CreateTopicsRequest<'a> {
    type Item = CreatableTopic<'a>;
    type New = NewTopic;
    const MADE_BYTES: usize = size_of::<TopicId>();

    fn items(&self) -> impl Iterator<Item = CreatableTopic<'a>> {
        self.topics.iter()
    }

    fn identity(&self, _: &Broker, topic: &CreatableTopic<'a>) -> Option<u64> {
        identity_of(&[topic.name.as_bytes()])
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        growth: &mut Growth,
        twice: bool,
        topic: &CreatableTopic<'a>,
    ) -> Result<Option<Wanted<NewTopic>>, Refusal> {
        if twice {
            return Err(invalid_request("Duplicate topic name."));
        }
        let new = NewTopic {
            name: broker.topic_name_free(topic.name)?,
            configs: configs_of(topic)?,
            partitions: partitions_of(topic, &broker.config)?,
        };
        broker.topic_ring_begun(&new.name)?;
        broker.topic_grow(&new, growth)?;
        Ok(Some(Wanted { ring: broker.log.shared(), bytes: new.meta_bytes(), new }))
    }

    fn name(&self, _: &Broker, _: &CreatableTopic<'a>, new: &NewTopic, names: &mut Names) {
        names.add(format_args!("topic {:?} with {} partitions", new.name, new.partitions));
    }

    fn stage(
        &self,
        broker: &mut Broker,
        new: NewTopic,
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        let (id, ticket) = broker.topic_create(&new, now)?;
        Ok((id.0, ticket))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        CreateTopicsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |list| {
                for (topic, outcome) in said.outcomes(self, broker) {
                    push_topic(list, broker, said, topic.name, &outcome);
                }
            },
        }
        .encode(w, version);
    }
}

#[inline(never)]
fn push_topic(
    list: &mut ListWriter<'_, '_, CreatableTopicResult<'static>>,
    broker: &Broker,
    said: &Said<'_>,
    name: &str,
    outcome: &Outcome<NewTopic>,
) {
    match outcome {
        Ok((id, new)) => {
            let new = new.as_ref().expect("a good topic is a change");
            let configs: List<'_, CreatableTopicConfigs<'static>> =
                &mut |list| push_configs(list, &broker.config, &new.configs);
            list.push(CreatableTopicResult {
                name,
                topic_id: TopicId(*id),
                error_code: ErrorCode::NONE,
                error_message: None,
                num_partitions: new.partitions as i32,
                replication_factor: 1,
                configs: (!said.brief).then_some(configs),
            });
        }
        Err(refusal) => list.push(CreatableTopicResult {
            name,
            topic_id: TopicId::default(),
            error_code: refusal.code,
            error_message: said.message(refusal),
            num_partitions: -1,
            replication_factor: -1,
            configs: Some(&mut |_| {}),
        }),
    }
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
    let mut once = Once::<{ limits::ADMIN_ITEMS_MAX.div_ceil(64) }>::default();
    for assignment in topic.assignments {
        let index = assignment.partition_index;
        let inside = u16::try_from(index).ok().filter(|index| usize::from(*index) < count);
        if inside.is_some_and(|index| !once.first(index)) {
            let why = format_args!("Partition {index} is assigned twice.");
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        if inside.is_some() {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use kafka_protocol::messages::create_topics_request::{
        CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    };
    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::Step;
    use crate::broker::testing::Bench;

    fn topic(name: &str) -> CreatableTopic {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_num_partitions(1)
            .with_replication_factor(1)
    }

    fn config(name: &'static str, value: Option<&'static str>) -> CreatableTopicConfig {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(value.map(StrBytes::from_static_str))
    }

    fn create(bench: &mut Bench, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
        let request = CreateTopicsRequest::default().with_topics(topics);
        bench.ask(7, &request).topics
    }

    fn code(bench: &mut Bench, topic: CreatableTopic) -> i16 {
        create(bench, vec![topic])[0].error_code
    }

    #[test]
    fn a_created_topic_is_there_when_the_answer_is() {
        let mut bench = Bench::new();
        let asked =
            topic("t").with_num_partitions(3).with_configs(vec![config("retention.ms", Some("5"))]);
        let made = create(&mut bench, vec![asked, topic("u").with_num_partitions(-1)]);
        assert_eq!((made[0].error_code, made[0].num_partitions), (0, 3));
        assert_eq!((made[1].error_code, made[1].num_partitions), (0, 1));
        let state = bench.broker.log.state();
        let (slot, found) = state.topic_named("t").unwrap();
        assert_eq!(found.id.0, *made[0].topic_id.as_bytes());
        assert_eq!(state.partitions_of(slot).count(), 3);
        let configs = made[0].configs.as_ref().unwrap();
        let own = configs.iter().find(|config| config.config_source == 1).unwrap();
        assert_eq!((own.name.as_str(), own.value.as_deref()), ("retention.ms", Some("5")));
    }

    #[test]
    fn validation_alone_creates_nothing() {
        let mut bench = Bench::new();
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic("t"), topic("..")])
            .with_validate_only(true);
        let looked = bench.ask(7, &request).topics;
        assert_eq!((looked[0].error_code, looked[1].error_code), (0, 17));
        assert_eq!(bench.broker.log.state().topics_len(), 0);
    }

    #[test]
    fn bad_arguments_get_kafkas_codes() {
        let mut bench = Bench::new();
        assert_eq!(code(&mut bench, topic("a.b")), 0);
        let replicas = |brokers: &[i32]| {
            let brokers = brokers.iter().map(|broker| BrokerId(*broker)).collect();
            let assignment = CreatableReplicaAssignment::default().with_broker_ids(brokers);
            topic("t")
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments(vec![assignment])
        };
        let with = |name, value| topic("t").with_configs(vec![config(name, value)]);
        for (asked, expected) in [
            (topic("a.b"), 36),
            (topic("a_b"), 17),
            (topic(""), 17),
            (topic("a b"), 17),
            (topic("t").with_num_partitions(0), 37),
            (topic("t").with_num_partitions(100_000), 44),
            (topic("t").with_replication_factor(2), 38),
            (topic("t").with_replication_factor(0), 38),
            (replicas(&[2]), 39),
            (replicas(&[]), 39),
            (replicas(&[1, 1]), 39),
            (replicas(&[1]).with_num_partitions(1), 42),
            (replicas(&[1]).with_replication_factor(1), 42),
            (with("bogus", Some("1")), 40),
            (with("retention.ms", Some("x")), 40),
            (with("retention.ms", None), 40),
            (with("cleanup.policy", Some("compacted")), 40),
        ] {
            assert_eq!(code(&mut bench, asked.clone()), expected, "{asked:?}");
        }
        assert_eq!(code(&mut bench, replicas(&[1])), 0);
    }

    #[test]
    fn any_replication_factor_is_one_where_the_configuration_says_so() {
        let mut bench = Bench::with(|config| config.allow_replication_factor_any = true);
        let made = create(&mut bench, vec![topic("t").with_replication_factor(3)]);
        assert_eq!((made[0].error_code, made[0].replication_factor), (0, 1));
        assert_eq!(code(&mut bench, topic("u").with_replication_factor(0)), 38);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_once_and_others_are_made() {
        let mut bench = Bench::new();
        let made = create(&mut bench, vec![topic("t"), topic("u"), topic("t")]);
        let codes: Vec<(&str, i16)> =
            made.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
        assert_eq!(codes, [("t", 42), ("u", 0)]);
    }

    #[test]
    fn a_topic_on_its_way_is_waited_for() {
        let mut bench = Bench::new();
        let request = CreateTopicsRequest::default().with_topics(vec![topic("t")]);
        assert!(matches!(bench.step(7, &request), Step::ReplyAfter { .. }));
        assert!(matches!(bench.step(7, &request), Step::Again(_)));
        let other = CreateTopicsRequest::default().with_topics(vec![topic("u")]);
        assert!(matches!(bench.step(7, &other), Step::ReplyAfter { .. }));
        bench.drive();
        assert_eq!(create(&mut bench, vec![topic("t")])[0].error_code, 36);
    }

    #[test]
    fn full_tables_count_what_is_on_its_way() {
        let mut bench = Bench::with(|config| config.topics_max = 3);
        let request = CreateTopicsRequest::default().with_topics(vec![topic("a")]);
        assert!(matches!(bench.step(7, &request), Step::ReplyAfter { .. }));
        let made = create(&mut bench, vec![topic("b"), topic("c"), topic("d")]);
        let codes: Vec<i16> = made.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, 0, 44]);
        assert!(made[2].error_message.as_ref().unwrap().contains("topics_max"));
    }

    #[test]
    fn too_many_topics_for_one_request_create_none() {
        let mut bench = Bench::new();
        let many = (0..1025).map(|n| topic(&format!("t{n}"))).collect();
        let made = create(&mut bench, many);
        assert_eq!(made.len(), 1025);
        assert!(made.iter().all(|topic| topic.error_code == 44));
        assert_eq!(bench.broker.log.state().topics_len(), 0);
    }

    #[test]
    fn an_answer_that_would_not_fit_leaves_configs_out() {
        let mut bench = Bench::new();
        let some = create(&mut bench, (0..10).map(|n| topic(&format!("s{n}"))).collect());
        assert!(some.iter().all(|topic| topic.configs.is_some()));
        let many = create(&mut bench, (0..100).map(|n| topic(&format!("m{n}"))).collect());
        assert!(many.iter().all(|topic| topic.error_code == 0 && topic.configs.is_none()));
        assert_eq!(bench.broker.log.state().topics_len(), 110);
    }

    #[test]
    fn a_failing_disk_is_a_storage_error() {
        let mut bench = Bench::new();
        bench.disk.fails.store(true, Ordering::Relaxed);
        assert_eq!(code(&mut bench, topic("t")), 56);
    }
}
