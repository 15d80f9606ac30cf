//! OffsetFetch (9): where a consumer group is. Versions 1–9.
//!
//! - 2 allows null for all topics and adds an error for the whole; 3 the throttle time; 5 the
//!   leader epoch; 6 is flexible; 7 asks for stable offsets; 8 asks for many groups at once; 9
//!   names a member.
//! - What was never committed is offset −1, leader epoch −1, metadata "", without an error.
//! - `require_stable` changes nothing: there are no transactions.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::log::state::{CommittedOffset, State, Topic};
use crate::types::{GroupSlot, TopicSlot};

message! {
    /// Which groups and partitions.
    request OffsetFetchRequest<'a>, key 9, flexible 6+ {
        group_id: &'a str, 0-7;
        topics: Option<Array<'a, OffsetFetchRequestTopic<'a>>>, 0-7, nullable 2+,
            default Some(Array::default());
        groups: Array<'a, OffsetFetchRequestGroup<'a>>, 8+;
        require_stable: bool, 7+;
    }

    /// The partitions of one topic.
    request OffsetFetchRequestTopic<'a> {
        name: &'a str, 0-7;
        partition_indexes: Array<'a, i32>, 0-7;
    }

    /// One group.
    request OffsetFetchRequestGroup<'a> {
        group_id: &'a str, 8+;
        member_id: Option<&'a str>, 9+, nullable 9+;
        member_epoch: i32, 9+, default -1;
        topics: Option<Array<'a, OffsetFetchRequestTopics<'a>>>, 8+, nullable 8+;
    }

    /// The partitions of one topic.
    request OffsetFetchRequestTopics<'a> {
        name: &'a str, 8+;
        partition_indexes: Array<'a, i32>, 8+;
    }

    /// What was committed.
    response OffsetFetchResponse<'a>, key 9, flexible 6+ {
        throttle_time_ms: i32, 3+;
        topics: List<'a, OffsetFetchResponseTopic<'static>>, 0-7;
        error_code: ErrorCode, 2-7;
        groups: List<'a, OffsetFetchResponseGroup<'static>>, 8+;
    }

    /// The partitions of one topic.
    response OffsetFetchResponseTopic<'a> {
        name: &'a str, 0-7;
        partitions: List<'a, OffsetFetchResponsePartition<'static>>, 0-7;
    }

    /// One partition.
    response OffsetFetchResponsePartition<'a> {
        partition_index: i32, 0-7;
        committed_offset: i64, 0-7;
        committed_leader_epoch: i32, 5-7;
        metadata: Option<&'a str>, 0-7, nullable 0+;
        error_code: ErrorCode, 0-7;
    }

    /// One group.
    response OffsetFetchResponseGroup<'a> {
        group_id: &'a str, 8+;
        topics: List<'a, OffsetFetchResponseTopics<'static>>, 8+;
        error_code: ErrorCode, 8+;
    }

    /// The partitions of one topic.
    response OffsetFetchResponseTopics<'a> {
        name: &'a str, 8+;
        partitions: List<'a, OffsetFetchResponsePartitions<'static>>, 8+;
    }

    /// One partition.
    response OffsetFetchResponsePartitions<'a> {
        partition_index: i32, 8+;
        committed_offset: i64, 8+;
        committed_leader_epoch: i32, 8+;
        metadata: Option<&'a str>, 8+, nullable 8+;
        error_code: ErrorCode, 8+;
    }
}

/// Shows committed offsets.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = OffsetFetchRequest::decode(&mut request.reader(), request.version)?;
    let state = broker.log.state();
    let group = state.group_named(ask.group_id);
    let bytes = request.answer(out, |w| {
        OffsetFetchResponse {
            throttle_time_ms: 0,
            topics: &mut |list| single(state, group, ask.topics, list),
            error_code: ErrorCode::NONE,
            groups: &mut |list| {
                for asked in ask.groups {
                    let group = state.group_named(asked.group_id);
                    list.push(OffsetFetchResponseGroup {
                        group_id: asked.group_id,
                        topics: &mut |list| many(state, group, asked.topics, list),
                        error_code: ErrorCode::NONE,
                    });
                }
            },
        }
        .encode(w, request.version);
    });
    Ok(Step::Reply { bytes })
}

/// The topics of the only group, before version 8.
fn single(
    state: &State,
    group: Option<GroupSlot>,
    topics: Option<Array<'_, OffsetFetchRequestTopic<'_>>>,
    list: &mut ListWriter<'_, '_, OffsetFetchResponseTopic<'static>>,
) {
    match topics {
        Some(topics) => {
            for asked in topics {
                list.push(OffsetFetchResponseTopic {
                    name: asked.name,
                    partitions: &mut |list| {
                        for index in asked.partition_indexes {
                            let found = committed(state, group, asked.name, index);
                            list.push(single_partition(index, found));
                        }
                    },
                });
            }
        }
        None => {
            for (slot, topic) in topics_of(state, group) {
                list.push(OffsetFetchResponseTopic {
                    name: &topic.name,
                    partitions: &mut |list| {
                        for (index, found) in partitions_of(state, group, slot) {
                            list.push(single_partition(index, Some(found)));
                        }
                    },
                });
            }
        }
    }
}

/// The topics of one group, since version 8.
fn many(
    state: &State,
    group: Option<GroupSlot>,
    topics: Option<Array<'_, OffsetFetchRequestTopics<'_>>>,
    list: &mut ListWriter<'_, '_, OffsetFetchResponseTopics<'static>>,
) {
    match topics {
        Some(topics) => {
            for asked in topics {
                list.push(OffsetFetchResponseTopics {
                    name: asked.name,
                    partitions: &mut |list| {
                        for index in asked.partition_indexes {
                            let found = committed(state, group, asked.name, index);
                            list.push(many_partition(index, found));
                        }
                    },
                });
            }
        }
        None => {
            for (slot, topic) in topics_of(state, group) {
                list.push(OffsetFetchResponseTopics {
                    name: &topic.name,
                    partitions: &mut |list| {
                        for (index, found) in partitions_of(state, group, slot) {
                            list.push(many_partition(index, Some(found)));
                        }
                    },
                });
            }
        }
    }
}

fn single_partition(
    partition_index: i32,
    found: Option<&CommittedOffset>,
) -> OffsetFetchResponsePartition<'_> {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: found.map_or(-1, |found| found.offset.0),
        committed_leader_epoch: found.map_or(-1, |found| found.leader_epoch),
        metadata: Some(found.map_or("", |found| &found.metadata)),
        error_code: ErrorCode::NONE,
    }
}

fn many_partition(
    partition_index: i32,
    found: Option<&CommittedOffset>,
) -> OffsetFetchResponsePartitions<'_> {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: found.map_or(-1, |found| found.offset.0),
        committed_leader_epoch: found.map_or(-1, |found| found.leader_epoch),
        metadata: Some(found.map_or("", |found| &found.metadata)),
        error_code: ErrorCode::NONE,
    }
}

fn committed<'s>(
    state: &'s State,
    group: Option<GroupSlot>,
    topic: &str,
    index: i32,
) -> Option<&'s CommittedOffset> {
    let (topic, _) = state.topic_named(topic)?;
    let slot = state.partition_of(topic, u32::try_from(index).ok()?)?;
    state.offset_of(group?, state.partition(slot)?.handle)
}

/// The topics of which the group has committed anything.
fn topics_of(state: &State, group: Option<GroupSlot>) -> impl Iterator<Item = (TopicSlot, &Topic)> {
    let has_any = move |slot| partitions_of(state, group, slot).next().is_some();
    state.topics().filter(move |(slot, _)| has_any(*slot))
}

/// What the group has committed of a topic.
fn partitions_of(
    state: &State,
    group: Option<GroupSlot>,
    topic: TopicSlot,
) -> impl Iterator<Item = (i32, &CommittedOffset)> {
    state.partitions_of(topic).filter_map(move |(_, partition)| {
        let found = state.offset_of(group?, partition.handle)?;
        Some((partition.index.cast_signed(), found))
    })
}
