//! DescribeTopicPartitions (75): topics and their partitions, page by page. Version 0.
//!
//! - Flexible from the start.
//! - Topics come in order of name; no topics at all are all of them. A page ends after
//!   `response_partition_limit` partitions, at most 2,000, and says where the next begins.
//! - An unknown topic is UNKNOWN_TOPIC_OR_PARTITION (3); none is created.
//! - There are no eligible leader replicas: none, and not null, which Java's client does not expect.
//! - Authorized operations are all; there is no authorizer.

use std::ops::Range;

use super::metadata::TOPIC_OPERATIONS_ALL;
use super::{Malformed, Request, Step, Window, dedup::OnceTopic};
use crate::broker::{Broker, topics};
use crate::clock::Now;
use crate::codec::{Array, Decode, Encode, Error, ErrorCode, List, Reader, Writer, message};
use crate::log::state::{State, Topic};
use crate::types::{TopicId, TopicSlot};

message! {
    /// Which topics, and where to begin.
    request DescribeTopicPartitionsRequest<'a>, key 75, flexible 0+ {
        topics: Array<'a, TopicRequest<'a>>, 0+;
        response_partition_limit: i32, 0+, default 2000;
        cursor: Option<Cursor<'a>>, 0+, nullable 0+;
    }

    /// One topic.
    request TopicRequest<'a> {
        name: &'a str, 0+;
    }

    /// Where a page begins.
    request Cursor<'a> {
        topic_name: &'a str, 0+;
        partition_index: i32, 0+;
    }

    /// A page.
    response DescribeTopicPartitionsResponse<'a>, key 75, flexible 0+ {
        throttle_time_ms: i32, 0+;
        topics: List<'a, DescribeTopicPartitionsResponseTopic<'static>>, 0+;
        next_cursor: Option<NextCursor<'a>>, 0+, nullable 0+;
    }

    /// One topic.
    response DescribeTopicPartitionsResponseTopic<'a> {
        error_code: ErrorCode, 0+;
        name: Option<&'a str>, 0+, nullable 0+;
        topic_id: TopicId, 0+;
        is_internal: bool, 0+;
        partitions: List<'a, DescribeTopicPartitionsResponsePartition<'static>>, 0+;
        topic_authorized_operations: i32, 0+;
    }

    /// One partition.
    response DescribeTopicPartitionsResponsePartition<'a> {
        error_code: ErrorCode, 0+;
        partition_index: i32, 0+;
        leader_id: i32, 0+;
        leader_epoch: i32, 0+;
        replica_nodes: &'a [i32], 0+;
        isr_nodes: &'a [i32], 0+;
        eligible_leader_replicas: Option<&'a [i32]>, 0+, nullable 0+;
        last_known_elr: Option<&'a [i32]>, 0+, nullable 0+;
        offline_replicas: &'a [i32], 0+;
    }

    /// Where the next page begins.
    response NextCursor<'a> {
        topic_name: &'a str, 0+;
        partition_index: i32, 0+;
    }
}

impl<'a> Decode<'a> for Option<Cursor<'a>> {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        match i8::decode_from(r)? {
            ..0 => Ok(None),
            _ => Cursor::decode_from(r).map(Some),
        }
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl Encode for Option<NextCursor<'_>> {
    type Kind = Option<NextCursor<'static>>;

    fn encode_to(self, w: &mut Writer<'_>) {
        match self {
            Some(cursor) => {
                1i8.encode_to(w);
                cursor.encode_to(w);
            }
            None => (-1i8).encode_to(w),
        }
    }
}

/// Shows a page.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeTopicPartitionsRequest::decode(&mut request.reader(), request.version)?;
    let state = broker.log.state();
    let mut wanted = OnceTopic::default();
    for (slot, _) in ask.topics.iter().filter_map(|topic| state.topic_named(topic.name)) {
        wanted.first(slot.0);
    }
    let all = ask.topics.is_empty();
    let limit = u32::try_from(ask.response_partition_limit).unwrap_or(0);
    let page = Page {
        state,
        is_wanted: &|slot| all || wanted.has(slot.0),
        cursor: ask.cursor.map_or(("", 0), |cursor| {
            (cursor.topic_name, u32::try_from(cursor.partition_index).unwrap_or(0))
        }),
        partitions_max: limit.clamp(1, PARTITIONS_MAX),
    };
    let next = page.walk(&mut |_, _| {});
    let nodes = [broker.config.node_id];
    Ok(request.reply(out, |w| {
        DescribeTopicPartitionsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |list| {
                page.walk(&mut |topic, partitions| {
                    list.push(DescribeTopicPartitionsResponseTopic {
                        error_code: ErrorCode::NONE,
                        name: Some(&topic.name),
                        topic_id: topic.id,
                        is_internal: topics::is_internal(&topic.name),
                        partitions: &mut |list| {
                            for index in partitions.clone() {
                                list.push(DescribeTopicPartitionsResponsePartition {
                                    error_code: ErrorCode::NONE,
                                    partition_index: index.cast_signed(),
                                    leader_id: nodes[0],
                                    leader_epoch: state.boot.0.cast_signed(),
                                    replica_nodes: &nodes,
                                    isr_nodes: &nodes,
                                    eligible_leader_replicas: Some(&[]),
                                    last_known_elr: Some(&[]),
                                    offline_replicas: &[],
                                });
                            }
                        },
                        topic_authorized_operations: TOPIC_OPERATIONS_ALL,
                    });
                });
                // Those that are not there come last.
                let missing = ask.topics.iter().filter(|_| next.is_none());
                for topic in missing.filter(|topic| state.topic_named(topic.name).is_none()) {
                    list.push(DescribeTopicPartitionsResponseTopic {
                        error_code: unknown(topic.name),
                        name: Some(topic.name),
                        topic_id: TopicId::default(),
                        is_internal: false,
                        partitions: &mut |_| {},
                        topic_authorized_operations: i32::MIN,
                    });
                }
            },
            next_cursor: next.map(|(topic_name, index)| NextCursor {
                topic_name,
                partition_index: index.cast_signed(),
            }),
        }
        .encode(w, request.version);
    }))
}

/// What is shown at once.
struct Page<'a> {
    state: &'a State,
    is_wanted: &'a dyn Fn(TopicSlot) -> bool,
    /// The topic and partition with which it begins.
    cursor: (&'a str, u32),
    partitions_max: u32,
}

impl<'a> Page<'a> {
    /// Gives each topic with those of its partitions that are on the page to `show`, and where the
    /// next page begins.
    fn walk(&self, show: &mut dyn FnMut(&'a Topic, Range<u32>)) -> Option<(&'a str, u32)> {
        let (from, index) = self.cursor;
        let mut left = self.partitions_max;
        let wanted = self.state.topics().filter(|(slot, _)| (self.is_wanted)(*slot));
        for (_, topic) in wanted.filter(|(_, topic)| &*topic.name >= from) {
            let first = if topic.name == from { index.min(topic.partitions) } else { 0 };
            let count = left.min(topic.partitions - first);
            if count > 0 {
                show(topic, first..first + count);
            }
            left -= count;
            if first + count < topic.partitions {
                return Some((&topic.name, first + count));
            }
        }
        None
    }
}

fn unknown(name: &str) -> ErrorCode {
    match topics::name_check(name) {
        Ok(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(refusal) => refusal.code,
    }
}

/// As Kafka's `max.request.partition.size.limit`.
const PARTITIONS_MAX: u32 = 2000;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
    use kafka_protocol::messages::describe_topic_partitions_request::{
        Cursor, DescribeTopicPartitionsRequest, TopicRequest,
    };
    use kafka_protocol::protocol::StrBytes;

    use crate::broker::testing::Bench;

    fn name(name: &str) -> TopicName {
        TopicName(StrBytes::from_string(name.to_string()))
    }

    fn bench() -> Bench {
        let mut bench = Bench::new();
        for (topic, partitions) in [("b", 2), ("a", 1), ("c", 3)] {
            let topic = CreatableTopic::default()
                .with_name(name(topic))
                .with_num_partitions(partitions)
                .with_replication_factor(1);
            bench.ask(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        }
        bench
    }

    /// All pages: topic, code, partitions.
    fn pages(bench: &mut Bench, names: &[&str], limit: i32) -> Vec<Vec<(String, i16, Vec<i32>)>> {
        let topics = names.iter().map(|topic| TopicRequest::default().with_name(name(topic)));
        let mut request = DescribeTopicPartitionsRequest::default()
            .with_topics(topics.collect())
            .with_response_partition_limit(limit);
        let mut pages = Vec::new();
        loop {
            let answer = bench.ask(0, &request);
            let topics = answer.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|of| of.partition_index).collect();
                (topic.name.as_ref().unwrap().to_string(), topic.error_code, partitions)
            });
            pages.push(topics.collect());
            let Some(next) = answer.next_cursor else { return pages };
            let next = Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index);
            request = request.with_cursor(Some(next));
        }
    }

    #[test]
    fn all_topics_come_in_order_of_name_page_by_page() {
        let mut bench = bench();
        let all = [("a", 0, vec![0]), ("b", 0, vec![0, 1]), ("c", 0, vec![0, 1, 2])];
        let all = all.map(|(name, code, partitions)| (name.to_string(), code, partitions));
        assert_eq!(pages(&mut bench, &[], 2000), [all.to_vec()]);
        for limit in 1..7 {
            let pages = pages(&mut bench, &[], limit);
            assert_eq!(pages.len(), 6_usize.div_ceil(limit as usize));
            let mut whole: Vec<(String, i16, Vec<i32>)> = Vec::new();
            for (name, code, partitions) in pages.into_iter().flatten() {
                match whole.last_mut().filter(|last| last.0 == name) {
                    Some(last) => last.2.extend(partitions),
                    None => whole.push((name, code, partitions)),
                }
            }
            assert_eq!(whole, all);
        }
    }

    #[test]
    fn named_topics_come_once_and_unknown_ones_last() {
        let mut bench = bench();
        let pages = pages(&mut bench, &["x", "c", "a", "c", "a b"], 2);
        let first = [("a".to_string(), 0, vec![0]), ("c".to_string(), 0, vec![0])];
        let second = [("c".to_string(), 0, vec![1, 2])];
        let missing = [("x".to_string(), 3, vec![]), ("a b".to_string(), 17, vec![])];
        assert_eq!(pages, [first.to_vec(), [&second[..], &missing[..]].concat()]);
    }
}
