//! SyncGroup (14): the leader hands out assignments, and members wait for theirs. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 static members; 4 is flexible; 5 names the protocol's type and
//!   name, and answers them. Without them it is INCONSISTENT_GROUP_PROTOCOL (23), whoever asks.
//! - Members that the leader does not name are assigned nothing. Assignments that do not fit beside what
//!   other groups say are COORDINATOR_NOT_AVAILABLE (15) for all: they join again, and find room or not.
//!   Those that never can are GROUP_MAX_SIZE_REACHED (81), which clients show.
//! - Of a group that the broker assigns to, a member gets its target at once; its own assignments are ignored.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
#[cfg(feature = "consumer-protocol")]
use crate::codec::Encode;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::group::{Answer, Groups, Sync, Who};
#[cfg(feature = "consumer-protocol")]
use crate::group::{consumer::Partitions, states::State};
#[cfg(feature = "consumer-protocol")]
use crate::log;

message! {
    /// Who asks, and (from the leader) all assignments.
    request SyncGroupRequest<'a>, key 14, flexible 4+ {
        group_id: &'a str, 0+;
        generation_id: i32, 0+;
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
        protocol_type: Option<&'a str>, 5+, nullable 5+;
        protocol_name: Option<&'a str>, 5+, nullable 5+;
        assignments: Array<'a, SyncGroupRequestAssignment<'a>>, 0+;
    }

    /// What the leader gives to one member.
    request SyncGroupRequestAssignment<'a> {
        member_id: &'a str, 0+;
        assignment: &'a [u8], 0+;
    }

    /// The member's assignment.
    response SyncGroupResponse<'a>, key 14, flexible 4+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
        protocol_type: Option<&'a str>, 5+, nullable 5+;
        protocol_name: Option<&'a str>, 5+, nullable 5+;
        assignment: &'a [u8], 0+;
    }

    /// What the broker writes into an assignment: the partitions of one topic.
    response AssignedTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, i32>, 0+;
    }
}

/// Has a member ask for its assignment.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = SyncGroupRequest::decode(&mut request.reader(), request.version)?;
    let sync = Sync {
        group: ask.group_id,
        who: Who { member_id: ask.member_id, instance_id: ask.group_instance_id },
        generation: ask.generation_id,
        protocol_type: ask.protocol_type,
        protocol: ask.protocol_name,
        assignments: &|each| ask.assignments.iter().for_each(|a| each(a.member_id, a.assignment)),
    };
    let named = ask.protocol_type.is_some() && ask.protocol_name.is_some();
    let named = named || request.version < PROTOCOL_SINCE;
    #[cfg(feature = "consumer-protocol")]
    if named && broker.groups.state(ask.group_id) == State::Consumer {
        return Ok(sync_consumers(broker, request, out, &sync, now));
    }
    let synced = if named {
        broker.groups.sync(&sync, request.peer.conn, now)
    } else {
        Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
    };
    let Err(code) = synced else {
        return Ok(Step::Wait(request.asked()));
    };
    Ok(request.reply(out, |w| refuse(code, w, request.version)))
}

/// Tells a member of a group that the broker assigns to what it has. The assignment is written to the end of
/// the window first, since the answer has its length in front of it; one that does not fit there, some
/// 8,000 partitions, is GROUP_MAX_SIZE_REACHED (81).
#[cfg(feature = "consumer-protocol")]
fn sync_consumers(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    sync: &Sync<'_>,
    now: Now,
) -> Step {
    let Broker { log, groups, .. } = broker;
    let synced = groups.sync_consumers(sync, log.state(), now).and_then(|partitions| {
        let mut w = Writer::counting();
        assignment(log.state(), partitions, &mut w);
        let bytes = w.len();
        let at = out.buf.len().checked_sub(bytes).filter(|at| *at >= bytes + ANSWER_BYTES_MAX);
        Ok((partitions, at.ok_or(ErrorCode::GROUP_MAX_SIZE_REACHED)?))
    });
    let (partitions, at) = match synced {
        Ok(synced) => synced,
        Err(code) => return request.reply(out, |w| refuse(code, w, request.version)),
    };
    let (buf, tail) = out.buf.split_at_mut(at);
    assignment(log.state(), partitions, &mut Writer::new(tail));
    request.reply(Window { buf, from: out.from }, |w| {
        SyncGroupResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: ErrorCode::NONE,
            protocol_type: Some("consumer"),
            protocol_name: sync.protocol,
            assignment: tail,
        }
        .encode(w, request.version);
    })
}

/// Writes Kafka's `ConsumerProtocolAssignment`, of which all versions have the same form.
#[cfg(feature = "consumer-protocol")]
fn assignment(state: &log::state::State, partitions: Partitions<'_>, w: &mut Writer<'_>) {
    0_i16.encode_to(w);
    let list: List<'_, AssignedTopic<'static>> = &mut |list| {
        for (slot, topic) in state.topics() {
            let own = || state.partitions_of(slot).filter(|(slot, _)| partitions.has(*slot));
            if own().next().is_some() {
                list.push(AssignedTopic {
                    name: &topic.name,
                    partitions: &mut |list| {
                        own().for_each(|(_, p)| list.push(p.index.cast_signed()));
                    },
                });
            }
        }
    };
    list.encode_to(w);
    // No data of the user.
    (-1_i32).encode_to(w);
}

/// Writes the answer for one who asked and is a member, or waited in vain.
pub(super) fn write(groups: &Groups, answer: &Answer, w: &mut Writer<'_>, version: i16) {
    if !answer.code.is_none() {
        return refuse(answer.code, w, version);
    }
    let group = groups.answered(answer);
    SyncGroupResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code: ErrorCode::NONE,
        protocol_type: Some(group.protocol_type()),
        protocol_name: group.protocol(),
        assignment: groups.assignment(answer),
    }
    .encode(w, version);
}

/// Writes an answer that says no.
pub(super) fn refuse(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    SyncGroupResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code,
        protocol_type: None,
        protocol_name: None,
        assignment: &[],
    }
    .encode(w, version);
}

/// The most that such an answer has beside the assignment.
#[cfg(feature = "consumer-protocol")]
const ANSWER_BYTES_MAX: usize = 256;

/// Members say which protocol they take the group to have since this version.
const PROTOCOL_SINCE: i16 = 5;
