//! ListPartitionReassignments (46): partitions that move between brokers. Version 0.
//!
//! - Flexible from the start. None ever moves: the list is empty.

use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};

message! {
    /// Which partitions; null is all.
    request ListPartitionReassignmentsRequest<'a>, key 46, flexible 0+ {
        timeout_ms: i32, 0+;
        topics: Option<Array<'a, ListPartitionReassignmentsTopics<'a>>>, 0+, nullable 0+;
    }

    /// The partitions of one topic.
    request ListPartitionReassignmentsTopics<'a> {
        name: &'a str, 0+;
        partition_indexes: Array<'a, i32>, 0+;
    }

    /// Those that move.
    response ListPartitionReassignmentsResponse<'a>, key 46, flexible 0+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        topics: List<'a, OngoingTopicReassignment<'static>>, 0+;
    }

    /// One topic.
    response OngoingTopicReassignment<'a> {
        name: &'a str, 0+;
        partitions: List<'a, OngoingPartitionReassignment<'static>>, 0+;
    }

    /// One partition.
    response OngoingPartitionReassignment<'a> {
        partition_index: i32, 0+;
        replicas: &'a [i32], 0+;
        adding_replicas: &'a [i32], 0+;
        removing_replicas: &'a [i32], 0+;
    }
}

/// Says that none moves.
pub fn handle(
    _broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    ListPartitionReassignmentsRequest::decode(&mut request.reader(), request.version)?;
    Ok(request.reply(out, |w| refuse(ErrorCode::NONE, w, request.version)))
}

/// Writes an answer without partitions.
pub(super) fn refuse(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    ListPartitionReassignmentsResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code,
        error_message: None,
        topics: &mut |_| {},
    }
    .encode(w, version);
}
