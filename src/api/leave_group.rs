//! LeaveGroup (13): members leave a group. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 lets several members leave, named by id or instance id (before
//!   it, one: `member_id`); 4 is flexible; 5 adds a reason, which is ignored.
//! - An administrator names a static member by its instance id alone.

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
    let many = request.version >= MANY_SINCE;
    let checked = Groups::id_check(ask.group_id);
    let leave = |member_id, instance_id, groups: Option<&mut Groups>| match groups {
        Some(groups) => groups.leave(ask.group_id, Who { member_id, instance_id }, now).err(),
        None => None,
    };
    let encode = |mut groups: Option<&mut Groups>, w: &mut Writer<'_>| {
        let mut error_code = checked.err();
        if error_code.is_none() && !many {
            error_code = leave(ask.member_id, None, groups.as_deref_mut());
        }
        LeaveGroupResponse {
            throttle_time_ms: 0,
            error_code: error_code.unwrap_or_default(),
            members: &mut |list| {
                for member in ask.members.iter().filter(|_| error_code.is_none()) {
                    let (id, instance_id) = (member.member_id, member.group_instance_id);
                    let left = leave(id, instance_id, groups.as_deref_mut());
                    list.push(MemberResponse {
                        member_id: id,
                        group_instance_id: instance_id,
                        error_code: left.unwrap_or_default(),
                    });
                }
            },
        }
        .encode(w, request.version);
    };
    if request.answer_bytes(|w| encode(None, w)) > out.buf.len() {
        return Err(Malformed("more members than an answer has room for"));
    }
    let bytes = request.answer(out, |w| encode(Some(&mut broker.groups), w));
    Ok(Step::Reply { bytes })
}

/// Several members may leave at once since this version.
const MANY_SINCE: i16 = 3;
