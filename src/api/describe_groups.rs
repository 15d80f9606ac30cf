//! DescribeGroups (15): groups and their members. Versions 0–6.
//!
//! - 1 adds the throttle time; 3 authorized operations; 4 static members; 5 is flexible; 6 adds a
//!   message and answers GROUP_ID_NOT_FOUND (69) for a group that is not there (before it: state
//!   Dead).
//! - What members say is shown of a stable group only, as in Kafka. A group that the broker assigns
//!   to is not there for this API.
//! - Without ACLs, everyone is authorized to all operations.

use std::fmt::Write;

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Note;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::group::GroupShown;
use crate::group::states::State;

message! {
    /// Which groups.
    request DescribeGroupsRequest<'a>, key 15, flexible 5+ {
        groups: Array<'a, &'a str>, 0+;
        include_authorized_operations: bool, 3+;
    }

    /// The groups.
    response DescribeGroupsResponse<'a>, key 15, flexible 5+ {
        throttle_time_ms: i32, 1+;
        groups: List<'a, DescribedGroup<'static>>, 0+;
    }

    /// One group.
    response DescribedGroup<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 6+, nullable 6+;
        group_id: &'a str, 0+;
        group_state: &'a str, 0+;
        protocol_type: &'a str, 0+;
        protocol_data: &'a str, 0+;
        members: List<'a, DescribedGroupMember<'static>>, 0+;
        authorized_operations: i32, 3+;
    }

    /// One member.
    response DescribedGroupMember<'a> {
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 4+, nullable 4+;
        client_id: &'a str, 0+;
        client_host: &'a str, 0+;
        member_metadata: &'a [u8], 0+;
        member_assignment: &'a [u8], 0+;
    }
}

/// Shows groups with their members.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeGroupsRequest::decode(&mut request.reader(), request.version)?;
    let operations =
        if ask.include_authorized_operations { GROUP_OPERATIONS_ALL } else { i32::MIN };
    Ok(request.reply(out, |w| {
        DescribeGroupsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            groups: &mut |list| {
                for name in ask.groups {
                    group(broker, name, operations, list);
                }
            },
        }
        .encode(w, request.version);
    }))
}

fn group(
    broker: &Broker,
    name: &str,
    authorized_operations: i32,
    list: &mut ListWriter<'_, '_, DescribedGroup<'static>>,
) {
    let found = broker.groups.show(name);
    let shown = found.filter(|shown| !shown.is_consumer());
    let has_offsets = broker.log.state().group_named(name).is_some();
    let state = match shown {
        Some(shown) => shown.state(),
        None if has_offsets && found.is_none() => State::Empty,
        None => State::Dead,
    };
    let missing = state == State::Dead && list.version() >= NOT_FOUND_SINCE;
    let note = missing.then(|| match found {
        Some(_) => Note::new(format_args!("Group {name} is not a classic group.")),
        None => Note::new(format_args!("Group {name} not found.")),
    });
    let is_stable = state == State::Stable;
    list.push(DescribedGroup {
        error_code: if missing { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::NONE },
        error_message: note.as_ref().map(Note::as_str),
        group_id: name,
        group_state: state.name(),
        protocol_type: shown.map_or("", |shown| shown.protocol_type()),
        protocol_data: shown
            .filter(|_| is_stable)
            .and_then(|shown| shown.protocol())
            .unwrap_or_default(),
        members: &mut |list| {
            if let Some(shown) = shown {
                members(shown, is_stable, list);
            }
        },
        authorized_operations: if missing { i32::MIN } else { authorized_operations },
    });
}

fn members(
    group: GroupShown<'_>,
    is_stable: bool,
    list: &mut ListWriter<'_, '_, DescribedGroupMember<'static>>,
) {
    for member in group.members() {
        let mut host = heapless::String::<48>::new();
        write!(host, "/{}", member.remote).expect("an address has at most 45 characters");
        list.push(DescribedGroupMember {
            member_id: member.id,
            group_instance_id: member.instance_id,
            client_id: member.client_id,
            client_host: &host,
            member_metadata: if is_stable { member.metadata } else { &[] },
            member_assignment: member.assignment,
        });
    }
}

/// A group that is not there is an error since this version.
const NOT_FOUND_SINCE: i16 = 6;

/// Read, delete, describe, and describe and alter configs.
pub(super) const GROUP_OPERATIONS_ALL: i32 = 3400;
