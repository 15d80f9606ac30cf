//! AlterPartitionReassignments (45): moves partitions between brokers. Versions 0–1.
//!
//! - Flexible from the start; 1 says whether the replication factor may change, which it cannot.
//! - There is one broker: it is what a partition may be moved to. Others are
//!   INVALID_REPLICA_ASSIGNMENT (39); there is nothing to cancel: NO_REASSIGNMENT_IN_PROGRESS (85).

use super::{Malformed, Request, Step, Window, replicas_check};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};

message! {
    /// Where to.
    request AlterPartitionReassignmentsRequest<'a>, key 45, flexible 0+ {
        timeout_ms: i32, 0+, default 60000;
        allow_replication_factor_change: bool, 1+, default true;
        topics: Array<'a, ReassignableTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request ReassignableTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, ReassignablePartition<'a>>, 0+;
    }

    /// One partition; null: what was begun is cancelled.
    request ReassignablePartition<'a> {
        partition_index: i32, 0+;
        replicas: Option<Array<'a, i32>>, 0+, nullable 0+;
    }

    /// What became of it.
    response AlterPartitionReassignmentsResponse<'a>, key 45, flexible 0+ {
        throttle_time_ms: i32, 0+;
        allow_replication_factor_change: bool, 1+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        responses: List<'a, ReassignableTopicResponse<'static>>, 0+;
    }

    /// The partitions of one topic.
    response ReassignableTopicResponse<'a> {
        name: &'a str, 0+;
        partitions: List<'a, ReassignablePartitionResponse<'static>>, 0+;
    }

    /// One partition.
    response ReassignablePartitionResponse<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
    }
}

/// Accepts what is so already, and refuses the rest.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = AlterPartitionReassignmentsRequest::decode(&mut request.reader(), request.version)?;
    Ok(request.reply(out, |w| {
        AlterPartitionReassignmentsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            allow_replication_factor_change: ask.allow_replication_factor_change,
            error_code: ErrorCode::NONE,
            error_message: None,
            responses: &mut |list| {
                for topic in ask.topics {
                    list.push(ReassignableTopicResponse {
                        name: topic.name,
                        partitions: &mut |list| {
                            for asked in topic.partitions {
                                let moved = check(broker, topic.name, &asked);
                                let refusal = moved.err();
                                list.push(ReassignablePartitionResponse {
                                    partition_index: asked.partition_index,
                                    error_code: refusal
                                        .as_ref()
                                        .map_or(ErrorCode::NONE, |r| r.code),
                                    error_message: refusal.as_ref().map(|r| r.message.as_str()),
                                });
                            }
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
    AlterPartitionReassignmentsResponse {
        throttle_time_ms: w.throttle_time_ms(),
        allow_replication_factor_change: true,
        error_code,
        error_message: None,
        responses: &mut |_| {},
    }
    .encode(w, version);
}

fn check(broker: &Broker, topic: &str, asked: &ReassignablePartition<'_>) -> Result<(), Refusal> {
    if broker.partition_asked(topic, asked.partition_index).is_none() {
        let why = format_args!("There is no such partition.");
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
    }
    match asked.replicas {
        Some(replicas) => replicas_check(replicas, &broker.config),
        None => {
            let why = format_args!("No partition is on its way to another broker.");
            Err(Refusal::new(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, why))
        }
    }
}
