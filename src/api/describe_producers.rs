//! DescribeProducers (61): which producers write to partitions. Version 0.
//!
//! - Flexible from the start.
//! - A partition beyond the 1024th that a request names is INVALID_REQUEST (42): each costs a walk.
//! - There are no transactions: `coordinator_epoch` and `current_txn_start_offset` are −1.

use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::topics;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::limits;
use crate::log::state::State;
use crate::types::PartitionSlot;

message! {
    /// Which partitions.
    request DescribeProducersRequest<'a>, key 61, flexible 0+ {
        topics: Array<'a, TopicRequest<'a>>, 0+;
    }

    /// The partitions of one topic.
    request TopicRequest<'a> {
        name: &'a str, 0+;
        partition_indexes: Array<'a, i32>, 0+;
    }

    /// Their producers.
    response DescribeProducersResponse<'a>, key 61, flexible 0+ {
        throttle_time_ms: i32, 0+;
        topics: List<'a, TopicResponse<'static>>, 0+;
    }

    /// The partitions of one topic.
    response TopicResponse<'a> {
        name: &'a str, 0+;
        partitions: List<'a, PartitionResponse<'static>>, 0+;
    }

    /// One partition.
    response PartitionResponse<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        active_producers: List<'a, ProducerState>, 0+;
    }

    /// One producer that wrote to it.
    response ProducerState {
        producer_id: i64, 0+;
        producer_epoch: i32, 0+;
        last_sequence: i32, 0+;
        last_timestamp: i64, 0+;
        coordinator_epoch: i32, 0+;
        current_txn_start_offset: i64, 0+;
    }
}

/// Shows who writes to partitions.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeProducersRequest::decode(&mut request.reader(), request.version)?;
    let state = broker.log.state();
    let mut left = limits::ADMIN_ITEMS_MAX;
    Ok(request.reply(out, |w| {
        DescribeProducersResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |list| {
                for topic in ask.topics {
                    list.push(TopicResponse {
                        name: topic.name,
                        partitions: &mut |list| partitions(state, &topic, &mut left, list),
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}

fn partitions(
    state: &State,
    topic: &TopicRequest<'_>,
    left: &mut usize,
    list: &mut ListWriter<'_, '_, PartitionResponse<'static>>,
) {
    let named = topics::name_check(topic.name);
    for index in topic.partition_indexes {
        let found = find(state, topic.name, index).filter(|_| *left > 0);
        let (error_code, error_message) = match &named {
            Err(refusal) => (refusal.code, Some(refusal.message.as_str())),
            Ok(_) if found.is_some() => (ErrorCode::NONE, None),
            Ok(_) if *left == 0 => (ErrorCode::INVALID_REQUEST, Some("Too many partitions.")),
            Ok(_) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some("There is no such partition.")),
        };
        *left = left.saturating_sub(1);
        list.push(PartitionResponse {
            partition_index: index,
            error_code,
            error_message,
            active_producers: &mut |list| {
                if let Some(slot) = found {
                    producers(state, slot, list);
                }
            },
        });
    }
}

fn find(state: &State, topic: &str, index: i32) -> Option<PartitionSlot> {
    let (slot, _) = state.topic_named(topic)?;
    state.partition_of(slot, u32::try_from(index).ok()?)
}

fn producers(
    state: &State,
    partition: PartitionSlot,
    list: &mut ListWriter<'_, '_, ProducerState>,
) {
    for producer in state.producers.of_partition(partition) {
        list.push(ProducerState {
            producer_id: producer.id,
            producer_epoch: producer.epoch.into(),
            last_sequence: producer.sequence_last,
            last_timestamp: producer.timestamp_ms,
            coordinator_epoch: -1,
            current_txn_start_offset: -1,
        });
    }
}
