//! OffsetDelete (47): deletes committed offsets. Version 0, which is not flexible.
//!
//! - A topic that the group's members are subscribed to is GROUP_SUBSCRIBED_TO_TOPIC (86); members
//!   that are no consumers may use any: NON_EMPTY_GROUP (68).
//! - What was never committed is deleted without an error. The answer waits until the rest is on
//!   flash; a failing disk is NOT_COORDINATOR (16).

use crate::api::change::{Change, Pass};
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::topics::SHARED_RING;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, Writer, message};

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
    let settled = broker.groups_settled(|group| group == ask.group_id);
    let partitions = ask.topics.iter().map(|topic| topic.partitions.len()).sum();
    let change = Change { request, items: partitions, validate_only: false };
    Ok(change.carry_out(broker, out, now, settled, |pass, broker, w| {
        let refused = pass.open().map_err(|refusal| match refusal.code {
            ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
            code => code,
        });
        let refused = refused.and_then(|()| broker.offsets_delete_check(ask.group_id)).err();
        OffsetDeleteResponse {
            error_code: refused.unwrap_or_default(),
            throttle_time_ms: 0,
            topics: &mut |list| {
                for topic in ask.topics.iter().filter(|_| refused.is_none()) {
                    list.push(OffsetDeleteResponseTopic {
                        name: topic.name,
                        partitions: &mut |list| {
                            partitions_of(pass, broker, ask.group_id, &topic, list);
                        },
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}

/// Writes an answer that says no to all of it.
pub(super) fn refuse(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    OffsetDeleteResponse { error_code, throttle_time_ms: 0, topics: &mut |_| {} }
        .encode(w, version);
}

fn partitions_of(
    pass: &mut Pass,
    broker: &mut Broker,
    group: &str,
    topic: &OffsetDeleteRequestTopic<'_>,
    list: &mut ListWriter<'_, '_, OffsetDeleteResponsePartition>,
) {
    let is_subscribed = broker.groups.show(group).is_some_and(|g| g.is_subscribed(topic.name));
    for OffsetDeleteRequestPartition { partition_index } in topic.partitions {
        let deleted = if broker.log.state().topic_named(topic.name).is_none() {
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        } else if is_subscribed {
            Err(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC)
        } else {
            delete(pass, broker, group, topic.name, partition_index)
        };
        list.push(OffsetDeleteResponsePartition {
            partition_index,
            error_code: deleted.err().unwrap_or_default(),
        });
    }
}

fn delete(
    pass: &mut Pass,
    broker: &mut Broker,
    group: &str,
    topic: &str,
    index: i32,
) -> Result<(), ErrorCode> {
    let Some(handle) = broker.partition_asked(topic, index).map(|partition| partition.handle)
    else {
        return Ok(());
    };
    let state = broker.log.state();
    let stored = state.group_named(group).and_then(|group| state.offset_of(group, handle));
    if stored.is_none() {
        return Ok(());
    }
    let bytes = Broker::group_delete_bytes(group);
    let delete = |broker: &mut Broker, now| broker.offset_delete(group, handle, now);
    let done = pass.change(broker, SHARED_RING, bytes, delete);
    done.map_err(|_| ErrorCode::NOT_COORDINATOR)
}
