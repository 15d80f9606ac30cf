//! JoinGroup (11): enters a group, and waits until all its members have. Versions 0–9.
//!
//! - 1 adds the rebalance timeout (before it, the session timeout is meant); 2 the throttle time;
//!   4 makes a new member ask twice, the second time with the id it was given; 5 adds static
//!   members; 6 is flexible; 7 answers the protocol type; 8 adds a reason; 9 may tell the leader
//!   not to assign.
//! - The answer comes when all members have joined, or their time is over; meanwhile nothing is
//!   held but the connection. The table of what happens when is in [`crate::group::states`].
//! - A group of its first members waits `group.initial.rebalance.delay.ms` for more.
//! - A protocol has a name: one without is INCONSISTENT_GROUP_PROTOCOL (23), as no protocol is.
//! - Full: too many members in one group, or more to say than there is memory for, are
//!   GROUP_MAX_SIZE_REACHED (81), which clients show; no room for one more group or member beside the
//!   others is COORDINATOR_NOT_AVAILABLE (15), which they retry. A group that was unused for long gives way
//!   to another one first.
//! - After a restart of the broker, members of before join under the ids that they had.
//! - A static leader that comes back to a stable group follows from then on, unless it knows
//!   version 9: it is told of no leader, where Kafka names its old self.
//! - A member that asks again on a new connection has the old one closed.
//! - Reasons are ignored.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::topics::Busy;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
#[cfg(feature = "consumer-protocol")]
use crate::group::states::State;
use crate::group::{Answer, Groups, Join, Who};

message! {
    /// Who enters, and what it can do.
    request JoinGroupRequest<'a>, key 11, flexible 6+ {
        group_id: &'a str, 0+;
        session_timeout_ms: i32, 0+;
        rebalance_timeout_ms: i32, 1+, default -1;
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 5+, nullable 5+;
        protocol_type: &'a str, 0+;
        protocols: Array<'a, JoinGroupRequestProtocol<'a>>, 0+;
        reason: Option<&'a str>, 8+, nullable 8+;
    }

    /// One assignment strategy, with what the member says to it.
    request JoinGroupRequestProtocol<'a> {
        name: &'a str, 0+;
        metadata: &'a [u8], 0+;
    }

    /// The new generation.
    response JoinGroupResponse<'a>, key 11, flexible 6+ {
        throttle_time_ms: i32, 2+;
        error_code: ErrorCode, 0+;
        generation_id: i32, 0+;
        protocol_type: Option<&'a str>, 7+, nullable 7+;
        protocol_name: Option<&'a str>, 0+, nullable 7+;
        leader: &'a str, 0+;
        skip_assignment: bool, 9+;
        member_id: &'a str, 0+;
        members: List<'a, JoinGroupResponseMember<'static>>, 0+;
    }

    /// One member, told to the leader only.
    response JoinGroupResponseMember<'a> {
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 5+, nullable 5+;
        metadata: &'a [u8], 0+;
    }
}

/// Has a member join.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = JoinGroupRequest::decode(&mut request.reader(), request.version)?;
    let random = broker.random();
    let join = Join {
        group: ask.group_id,
        who: Who { member_id: ask.member_id, instance_id: ask.group_instance_id },
        client_id: request.client_id.unwrap_or_default(),
        remote: request.peer.remote.ip().to_canonical(),
        session_ms: ask.session_timeout_ms,
        rebalance_ms: match request.version {
            0 => ask.session_timeout_ms,
            _ => ask.rebalance_timeout_ms,
        },
        protocol_type: ask.protocol_type,
        protocols: &|each| ask.protocols.iter().for_each(|p| each(p.name, p.metadata)),
        id_first: request.version >= ID_FIRST_SINCE,
        may_skip: request.version >= SKIP_SINCE,
        random,
    };
    // Who names a member of a group that is not there is refused, unless it is a former one.
    let makes_group = ask.member_id.is_empty() || broker.groups.may_be_former(None, now);
    let room = match makes_group && broker.groups.join_check(&join).is_ok() {
        true => broker.group_room(ask.group_id, request.client(), now),
        false => Ok(()),
    };
    if let Err(Busy::Wait(until)) = room {
        return Ok(Step::Again(until));
    }
    #[cfg(feature = "consumer-protocol")]
    if broker.groups.state(ask.group_id) == State::Consumer {
        return Ok(join_consumers(broker, request, out, &join, now));
    }
    let joined = match room {
        Ok(()) => broker.groups.join(&join, request.peer.conn, now),
        Err(_) => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE.into()),
    };
    let Err(refused) = joined else {
        return Ok(Step::Wait(request.asked()));
    };
    broker.member_refused(ask.group_id, &request.caller(), refused.code, now);
    let member_id = refused.member_id.as_deref().unwrap_or(ask.member_id);
    Ok(request.reply(out, |w| refuse(refused.code, member_id, w, request.version)))
}

/// Joins a group that the broker assigns to, where nobody is waited for and nobody leads.
#[cfg(feature = "consumer-protocol")]
fn join_consumers(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    join: &Join<'_>,
    now: Now,
) -> Step {
    let Broker { log, groups, .. } = broker;
    match groups.join_consumers(join, log.state(), now) {
        Err(refused) => {
            broker.member_refused(join.group, &request.caller(), refused.code, now);
            let member_id = refused.member_id.as_deref().unwrap_or(join.who.member_id);
            request.reply(out, |w| refuse(refused.code, member_id, w, request.version))
        }
        Ok(joined) => {
            let (member_id, protocol) = groups.classic_joined(&joined);
            request.reply(out, |w| {
                JoinGroupResponse {
                    throttle_time_ms: w.throttle_time_ms(),
                    error_code: ErrorCode::NONE,
                    generation_id: joined.generation,
                    protocol_type: Some(join.protocol_type),
                    protocol_name: Some(protocol),
                    leader: "",
                    skip_assignment: false,
                    member_id,
                    members: &mut |_| {},
                }
                .encode(w, request.version);
            })
        }
    }
}

/// Writes the answer for one who joined, or waited in vain.
pub(super) fn write(groups: &Groups, answer: &Answer, w: &mut Writer<'_>, version: i16) {
    if !answer.code.is_none() {
        return refuse(answer.code, "", w, version);
    }
    let joined = groups.joined(answer);
    JoinGroupResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code: ErrorCode::NONE,
        generation_id: joined.generation,
        protocol_type: Some(joined.protocol_type),
        protocol_name: Some(joined.protocol),
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: &mut |list| {
            let members = groups.answered(answer).members();
            for member in members.filter(|_| joined.leads) {
                list.push(JoinGroupResponseMember {
                    member_id: member.id,
                    group_instance_id: member.instance_id,
                    metadata: member.metadata,
                });
            }
        },
    }
    .encode(w, version);
}

/// Writes an answer that says no.
fn refuse(code: ErrorCode, member_id: &str, w: &mut Writer<'_>, version: i16) {
    JoinGroupResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code: code,
        generation_id: -1,
        protocol_type: None,
        protocol_name: None,
        leader: "",
        skip_assignment: false,
        member_id,
        members: &mut |_| {},
    }
    .encode(w, version);
}

/// The answer to a request that was not read.
pub(super) fn refuse_unread(code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    refuse(code, "", w, version);
}

/// New members are told their id first since this version.
const ID_FIRST_SINCE: i16 = 4;

/// Leaders may be told not to assign since this version.
const SKIP_SINCE: i16 = 9;
