//! OffsetDelete (47): deletes committed offsets. Version 0, which is not flexible.
//!
//! - A topic that the group's members are subscribed to is GROUP_SUBSCRIBED_TO_TOPIC (86); members
//!   that are no consumers may use any: NON_EMPTY_GROUP (68).
//! - What was never committed is deleted without an error. The answer waits until the rest is on
//!   flash; a failing disk is NOT_COORDINATOR (16).

use crate::api::change::{Change, Items, Made, Said, Wanted};
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::Growth;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, Writer, message};
use crate::log::StageError;
use crate::log_limit::Names;
use crate::types::{PartitionHandle, Ticket};

message! {
    /// Offsets to delete.
    request OffsetDeleteRequest<'a>, key 47, flexible none {
        group_id: &'a str, 0+;
        topics: Array<'a, OffsetDeleteRequestTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request OffsetDeleteRequestTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, OffsetDeleteRequestPartition>, 0+;
    }

    /// One partition.
    request OffsetDeleteRequestPartition {
        partition_index: i32, 0+;
    }

    /// What became of them.
    response OffsetDeleteResponse<'a>, key 47, flexible none {
        error_code: ErrorCode, 0+;
        throttle_time_ms: i32, 0+;
        topics: List<'a, OffsetDeleteResponseTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    response OffsetDeleteResponseTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, OffsetDeleteResponsePartition>, 0+;
    }

    /// One partition.
    response OffsetDeleteResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}

/// Deletes committed offsets.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = OffsetDeleteRequest::decode(&mut request.reader(), request.version)?;
    let settled = broker.groups_settled(&|group| group == ask.group_id);
    let partitions = ask.topics.iter().map(|topic| topic.partitions.len()).sum();
    let change = Change { request, items: partitions, validate_only: false };
    let refused = broker.offsets_delete_check(ask.group_id).err();
    Ok(change.carry_out(broker, &Deletion { ask, refused }, out, now, settled))
}

/// The request, and why nothing of it is done.
struct Deletion<'a> {
    ask: OffsetDeleteRequest<'a>,
    refused: Option<ErrorCode>,
}

impl<'a> Items for Deletion<'a> {
    /// A topic's name, and a partition's number.
    type Item = (&'a str, i32);
    type New = PartitionHandle;

    fn items(&self) -> impl Iterator<Item = (&'a str, i32)> {
        let topics = self.ask.topics.iter().filter(|_| self.refused.is_none());
        topics.flat_map(|topic| {
            topic.partitions.iter().map(move |asked| (topic.name, asked.partition_index))
        })
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        _: &mut Growth,
        _: bool,
        (topic, index): &(&'a str, i32),
    ) -> Result<Option<Wanted<PartitionHandle>>, Refusal> {
        let refused = |code| Err(Refusal::new(code, format_args!("")));
        let (group, state) = (self.ask.group_id, broker.log.state());
        if state.topic_named(topic).is_none() {
            return refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        if broker.groups.show(group).is_some_and(|g| g.is_subscribed(topic)) {
            return refused(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
        }
        let handle = broker.partition_asked(topic, *index).map(|partition| partition.handle);
        let stored = handle.filter(|handle| {
            let group = state.group_named(group);
            group.is_some_and(|group| state.offset_of(group, *handle).is_some())
        });
        let bytes = Broker::group_delete_bytes(group);
        Ok(stored.map(|new| Wanted { ring: broker.log.shared(), bytes, new }))
    }

    fn name(
        &self,
        _: &Broker,
        (topic, index): &(&'a str, i32),
        _: &PartitionHandle,
        names: &mut Names,
    ) {
        names.add(format_args!("{topic}-{index} of group {:?}", self.ask.group_id));
    }

    fn stage(
        &self,
        broker: &mut Broker,
        handle: PartitionHandle,
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        Ok((Made::default(), broker.offset_delete(self.ask.group_id, handle, now)?))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        let refused = said.refusal.as_ref().map(|refusal| known_code(refusal.code));
        let refused = refused.or(self.refused);
        let mut outcomes = said.outcomes(self, broker);
        OffsetDeleteResponse {
            error_code: refused.unwrap_or_default(),
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |list| {
                for topic in self.ask.topics.iter().filter(|_| refused.is_none()) {
                    list.push(OffsetDeleteResponseTopic {
                        name: topic.name,
                        partitions: &mut |list: &mut ListWriter<'_, '_, _>| {
                            let own = outcomes.by_ref().take(topic.partitions.len());
                            for ((_, partition_index), outcome) in own {
                                let code = outcome.err().map(|refusal| known_code(refusal.code));
                                list.push(OffsetDeleteResponsePartition {
                                    partition_index,
                                    error_code: code.unwrap_or_default(),
                                });
                            }
                        },
                    });
                }
            },
        }
        .encode(w, version);
    }
}

/// What clients of coordinators know for it.
fn known_code(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        code => code,
    }
}

/// Writes an answer that says no to all of it.
pub(super) fn refuse(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    OffsetDeleteResponse {
        error_code,
        throttle_time_ms: w.throttle_time_ms(),
        topics: &mut |_| {},
    }
    .encode(w, version);
}
