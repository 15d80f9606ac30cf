//! LeaveGroup (13): members leave a group. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 lets several members leave, named by id or instance id (before
//!   it, one: `member_id`); 4 is flexible; 5 adds a reason, which is ignored.
//! - An administrator names a static member by its instance id alone.

use crate::api::outcomes::Outcomes;
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::group::{Groups, Who};

message! {
    /// Who leaves.
    request LeaveGroupRequest<'a>, key 13, flexible 4+ {
        group_id: &'a str, 0+;
        member_id: &'a str, 0-2;
        members: Array<'a, MemberIdentity<'a>>, 3+;
    }

    /// One member that leaves.
    request MemberIdentity<'a> {
        member_id: &'a str, 3+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
        reason: Option<&'a str>, 5+, nullable 5+;
    }

    /// What became of them.
    response LeaveGroupResponse<'a>, key 13, flexible 4+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
        members: List<'a, MemberResponse<'static>>, 3+;
    }

    /// What became of one member.
    response MemberResponse<'a> {
        member_id: &'a str, 3+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
        error_code: ErrorCode, 3+;
    }
}

/// Takes members from their group.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = LeaveGroupRequest::decode(&mut request.reader(), request.version)?;
    let answer_bytes = request.answer_bytes(|w| encode(&ask, request.version, None, &|_| NONE, w));
    let (mut outcomes, out) = match Outcomes::split(out, ask.members.len(), answer_bytes) {
        Ok(split) => split,
        Err(out) => {
            let code = ErrorCode::INVALID_REQUEST;
            return Ok(request.reply(out, |w| refuse(code, w, request.version)));
        }
    };

    let groups = &mut broker.groups;
    let mut leave = |member_id, instance_id| {
        groups.leave(ask.group_id, Who { member_id, instance_id }, now).err()
    };
    let mut error = Groups::id_check(ask.group_id).err();
    if error.is_none() && request.version < MANY_SINCE {
        error = leave(ask.member_id, None);
    }
    for (place, member) in ask.members.iter().enumerate().filter(|_| error.is_none()) {
        let left = leave(member.member_id, member.group_instance_id);
        outcomes.set(place, left.unwrap_or_default());
    }

    let code = |place| outcomes.get(place);
    Ok(request.reply(out, |w| encode(&ask, request.version, error, &code, w)))
}

/// Writes the answer: about all of it, or with a code for each member by its place.
fn encode(
    ask: &LeaveGroupRequest<'_>,
    version: i16,
    error: Option<ErrorCode>,
    code: &dyn Fn(usize) -> ErrorCode,
    w: &mut Writer<'_>,
) {
    LeaveGroupResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code: error.unwrap_or_default(),
        members: &mut |list| {
            for (place, member) in ask.members.iter().enumerate().filter(|_| error.is_none()) {
                list.push(MemberResponse {
                    member_id: member.member_id,
                    group_instance_id: member.group_instance_id,
                    error_code: code(place),
                });
            }
        },
    }
    .encode(w, version);
}

/// Writes an answer that says no to all of it.
pub(super) fn refuse(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    LeaveGroupResponse { throttle_time_ms: w.throttle_time_ms(), error_code, members: &mut |_| {} }
        .encode(w, version);
}

const NONE: ErrorCode = ErrorCode::NONE;

/// Several members may leave at once since this version.
const MANY_SINCE: i16 = 3;
