//! CreatePartitions (37): adds partitions to topics. Versions 0–3.
//!
//! - 2 is flexible; 3 may be throttled.
//! - `count` is the new total; it must grow. `validate_only` checks and changes nothing.
//! - `timeout_ms` is ignored: the answer waits for one sync.

use super::change::{Change, Items, Made, Said, Wanted, identity_of};
use super::{Malformed, Request, Step, Window, replicas_check};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::{Growth, RECORD_BYTES};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::log::StageError;
use crate::log_limit::Names;
use crate::types::{Ticket, TopicId};

message! {
    /// Topics to grow.
    request CreatePartitionsRequest<'a>, key 37, flexible 2+ {
        topics: Array<'a, CreatePartitionsTopic<'a>>, 0+;
        timeout_ms: i32, 0+;
        validate_only: bool, 0+;
    }

    /// One topic, and how many partitions it shall have.
    request CreatePartitionsTopic<'a> {
        name: &'a str, 0+;
        count: i32, 0+;
        assignments: Option<Array<'a, CreatePartitionsAssignment<'a>>>, 0+, nullable 0+;
    }

    /// Where a new partition's replicas should be.
    request CreatePartitionsAssignment<'a> {
        broker_ids: Array<'a, i32>, 0+;
    }

    /// What became of them.
    response CreatePartitionsResponse<'a>, key 37, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, CreatePartitionsTopicResult<'static>>, 0+;
    }

    /// What became of one topic.
    response CreatePartitionsTopicResult<'a> {
        name: &'a str, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
    }
}

/// Adds partitions to topics.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = CreatePartitionsRequest::decode(&mut request.reader(), request.version)?;
    let change = Change { request, items: ask.topics.len(), validate_only: ask.validate_only };
    let settled = broker.topics_settled(|name| ask.topics.iter().any(|topic| topic.name == name));
    Ok(change.carry_out(broker, &ask, out, now, settled))
}

impl<'a> Items for CreatePartitionsRequest<'a> {
    type Item = CreatePartitionsTopic<'a>;
    /// A topic, and how many partitions are added to it.
    type New = (TopicId, u32);

    fn items(&self) -> impl Iterator<Item = CreatePartitionsTopic<'a>> {
        self.topics.iter()
    }

    fn identity(&self, _: &Broker, topic: &CreatePartitionsTopic<'a>) -> Option<u64> {
        identity_of(&[topic.name.as_bytes()])
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        growth: &mut Growth,
        twice: bool,
        topic: &CreatePartitionsTopic<'a>,
    ) -> Result<Option<Wanted<(TopicId, u32)>>, Refusal> {
        if twice {
            let why = format_args!("Duplicate topic name.");
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, why));
        }
        let Some((_, found)) = broker.log.state().topic_named(topic.name) else {
            let why = format_args!("There is no topic of this name.");
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
        };
        let (id, before) = (found.id, found.partitions);
        let Some(more @ 1..) = u32::try_from(topic.count).ok().and_then(|n| n.checked_sub(before))
        else {
            let (name, count) = (topic.name, topic.count);
            let why = format_args!("Topic {name} has {before} partition(s); {count} are not more.");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, why));
        };
        if let Some(assignments) = topic.assignments {
            if assignments.len() != more as usize {
                let why = format_args!(
                    "{more} partition(s) shall be added, but {} are assigned.",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
            }
            for assignment in assignments {
                replicas_check(assignment.broker_ids, &broker.config)?;
            }
        }
        broker.partitions_grow(more, growth)?;
        Ok(Some(Wanted { ring: broker.log.shared(), bytes: RECORD_BYTES, new: (id, more) }))
    }

    fn name(
        &self,
        _: &Broker,
        topic: &CreatePartitionsTopic<'a>,
        (_, more): &(TopicId, u32),
        names: &mut Names,
    ) {
        names.add(format_args!("{more} more partitions of topic {:?}", topic.name));
    }

    fn stage(
        &self,
        broker: &mut Broker,
        (id, more): (TopicId, u32),
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        Ok((Made::default(), broker.partitions_add(id, more, now)?))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        CreatePartitionsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            results: &mut |list| {
                for (topic, outcome) in said.outcomes(self, broker) {
                    let refusal = outcome.err();
                    list.push(CreatePartitionsTopicResult {
                        name: topic.name,
                        error_code: refusal.as_ref().map_or(ErrorCode::NONE, |r| r.code),
                        error_message: refusal.as_ref().and_then(|r| said.message(r)),
                    });
                }
            },
        }
        .encode(w, version);
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::create_partitions_request::{
        CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
    };
    use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
    use kafka_protocol::protocol::StrBytes;

    use crate::broker::testing::Bench;

    fn name(name: &'static str) -> TopicName {
        TopicName(StrBytes::from_static_str(name))
    }

    fn bench() -> Bench {
        let mut bench = Bench::new();
        let topic = MetadataRequestTopic::default().with_name(Some(name("t")));
        bench.ask(9, &MetadataRequest::default().with_topics(Some(vec![topic])));
        bench
    }

    fn grow(bench: &mut Bench, topic: CreatePartitionsTopic) -> i16 {
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        bench.ask(3, &request).results[0].error_code
    }

    fn to(topic: &'static str, count: i32) -> CreatePartitionsTopic {
        let topic = CreatePartitionsTopic::default().with_name(name(topic));
        topic.with_count(count).with_assignments(None)
    }

    #[test]
    fn a_topic_grows_and_never_shrinks() {
        let mut bench = bench();
        assert_eq!(grow(&mut bench, to("t", 4)), 0);
        let (slot, topic) = bench.broker.log.state().topic_named("t").unwrap();
        assert_eq!(topic.partitions, 4);
        assert_eq!(bench.broker.log.state().partitions_of(slot).count(), 4);
        for (topic, expected) in [
            (to("t", 4), 37),
            (to("t", 3), 37),
            (to("t", 0), 37),
            (to("t", -1), 37),
            (to("x", 9), 3),
            (to("t", i32::MAX), 44),
        ] {
            assert_eq!(grow(&mut bench, topic.clone()), expected, "{topic:?}");
        }
    }

    #[test]
    fn assignments_must_be_as_many_as_partitions_and_here() {
        let mut bench = bench();
        let here =
            |broker| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(broker)]);
        let assigned = |brokers: &[i32]| {
            let brokers = brokers.iter().map(|broker| here(*broker)).collect();
            to("t", 3).with_assignments(Some(brokers))
        };
        assert_eq!(grow(&mut bench, assigned(&[1])), 39);
        assert_eq!(grow(&mut bench, assigned(&[1, 2])), 39);
        assert_eq!(grow(&mut bench, assigned(&[1, 1])), 0);
    }

    #[test]
    fn validation_alone_and_duplicates_change_nothing() {
        let mut bench = bench();
        let request = CreatePartitionsRequest::default().with_topics(vec![to("t", 2), to("t", 3)]);
        let results = bench.ask(3, &request).results;
        assert_eq!((results.len(), results[0].error_code), (1, 42));
        let request = CreatePartitionsRequest::default().with_topics(vec![to("t", 2)]);
        let request = request.with_validate_only(true);
        assert_eq!(bench.ask(3, &request).results[0].error_code, 0);
        assert_eq!(bench.broker.log.state().partitions_len(), 1);
    }
}
