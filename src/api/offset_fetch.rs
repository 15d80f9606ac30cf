//! OffsetFetch (9): where a consumer group is. Versions 1–9.
//!
//! - 2 allows null for all topics and adds an error for the whole; 3 the throttle time; 5 the
//!   leader epoch; 6 is flexible; 7 asks for stable offsets; 8 asks for many groups at once; 9
//!   names a member, whose epoch must be its present one if the broker assigns to its group:
//!   UNKNOWN_MEMBER_ID (25) or STALE_MEMBER_EPOCH (113) else.
//! - What was never committed is offset −1, leader epoch −1, metadata "", without an error.
//! - `require_stable` changes nothing: there are no transactions.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::log::state::{CommittedOffset, State};
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
        name: &'a str, 0+;
        partition_indexes: Array<'a, i32>, 0+;
    }

    /// One group.
    request OffsetFetchRequestGroup<'a> {
        group_id: &'a str, 8+;
        member_id: Option<&'a str>, 9+, nullable 9+;
        member_epoch: i32, 9+, default -1;
        topics: Option<Array<'a, OffsetFetchRequestTopics<'a>>>, 8+, nullable 8+;
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
        name: &'a str, 0+;
        partitions: List<'a, OffsetFetchResponsePartition<'static>>, 0+;
    }

    /// One partition.
    response OffsetFetchResponsePartition<'a> {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        committed_leader_epoch: i32, 5+;
        metadata: Option<&'a str>, 0+, nullable 0+;
        error_code: ErrorCode, 0+;
    }

    /// One group.
    response OffsetFetchResponseGroup<'a> {
        group_id: &'a str, 8+;
        topics: List<'a, OffsetFetchResponseTopics<'static>>, 8+;
        error_code: ErrorCode, 8+;
    }
}

// Kafka has two names for what is the same on the wire.

/// The partitions of one topic, of one of several groups.
pub type OffsetFetchRequestTopics<'a> = OffsetFetchRequestTopic<'a>;

/// The partitions of one topic, of one of several groups.
pub type OffsetFetchResponseTopics<'a> = OffsetFetchResponseTopic<'a>;

/// One partition, of one of several groups.
pub type OffsetFetchResponsePartitions<'a> = OffsetFetchResponsePartition<'a>;

/// Shows committed offsets.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = OffsetFetchRequest::decode(&mut request.reader(), request.version)?;
    let shown = |group_id, topics| {
        let state = broker.log.state();
        Shown { state, group: state.group_named(group_id), topics }
    };
    Ok(request.reply(out, |w| {
        OffsetFetchResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |list| shown(ask.group_id, ask.topics).encode(list),
            error_code: ErrorCode::NONE,
            groups: &mut |list| {
                for asked in ask.groups {
                    let error_code = member_check(broker, &asked);
                    list.push(OffsetFetchResponseGroup {
                        group_id: asked.group_id,
                        topics: &mut |list| {
                            if error_code.is_none() {
                                shown(asked.group_id, asked.topics).encode(list);
                            }
                        },
                        error_code,
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}

/// Whether the member, if one is named, may look.
#[cfg(feature = "consumer-protocol")]
fn member_check(broker: &Broker, asked: &OffsetFetchRequestGroup<'_>) -> ErrorCode {
    match (asked.member_id, asked.member_epoch) {
        (None, ..0) => ErrorCode::NONE,
        (id, epoch) => {
            let checked = broker.groups.epoch_check(asked.group_id, id.unwrap_or_default(), epoch);
            checked.err().unwrap_or_default()
        }
    }
}

#[cfg(not(feature = "consumer-protocol"))]
fn member_check(_: &Broker, _: &OffsetFetchRequestGroup<'_>) -> ErrorCode {
    ErrorCode::NONE
}

/// What is shown of a group: of the topics asked for, or all.
struct Shown<'a> {
    state: &'a State,
    group: Option<GroupSlot>,
    topics: Option<Array<'a, OffsetFetchRequestTopic<'a>>>,
}

impl Shown<'_> {
    fn encode(&self, list: &mut ListWriter<'_, '_, OffsetFetchResponseTopic<'static>>) {
        let Some(topics) = self.topics else {
            return self.encode_all(list);
        };
        for asked in topics {
            list.push(OffsetFetchResponseTopic {
                name: asked.name,
                partitions: &mut |list| {
                    for index in asked.partition_indexes {
                        list.push(self.partition(index, self.committed(asked.name, index)));
                    }
                },
            });
        }
    }

    /// All topics of which the group has committed anything.
    fn encode_all(&self, list: &mut ListWriter<'_, '_, OffsetFetchResponseTopic<'static>>) {
        for (slot, topic) in self.state.topics() {
            if self.committed_of(slot).next().is_none() {
                continue;
            }
            list.push(OffsetFetchResponseTopic {
                name: &topic.name,
                partitions: &mut |list| {
                    for (index, found) in self.committed_of(slot) {
                        list.push(self.partition(index, Some(found)));
                    }
                },
            });
        }
    }

    fn partition(
        &self,
        partition_index: i32,
        found: Option<&CommittedOffset>,
    ) -> OffsetFetchResponsePartition<'_> {
        OffsetFetchResponsePartition {
            partition_index,
            committed_offset: found.map_or(-1, |found| found.offset.0),
            committed_leader_epoch: found.map_or(-1, |found| found.leader_epoch),
            metadata: Some(found.map_or("", |found| self.state.metadata_of(found))),
            error_code: ErrorCode::NONE,
        }
    }

    fn committed(&self, topic: &str, index: i32) -> Option<&CommittedOffset> {
        let (topic, _) = self.state.topic_named(topic)?;
        let slot = self.state.partition_of(topic, u32::try_from(index).ok()?)?;
        self.state.offset_of(self.group?, self.state.partition(slot)?.handle)
    }

    fn committed_of(&self, topic: TopicSlot) -> impl Iterator<Item = (i32, &CommittedOffset)> {
        self.state.partitions_of(topic).filter_map(|(_, partition)| {
            let found = self.state.offset_of(self.group?, partition.handle)?;
            Some((partition.index.cast_signed(), found))
        })
    }
}
