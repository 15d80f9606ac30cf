//! ListGroups (16): all groups. Versions 0–5.
//!
//! - 1 adds the throttle time; 3 is flexible; 4 adds states, 5 types, as filters and in the answer.
//! - An empty filter lets all through; upper and lower case are the same.
//! - Groups that have only offsets are Empty, and of no protocol type after a restart.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};
use crate::group::GroupShown;

message! {
    /// Which groups.
    request ListGroupsRequest<'a>, key 16, flexible 3+ {
        states_filter: Array<'a, &'a str>, 4+;
        types_filter: Array<'a, &'a str>, 5+;
    }

    /// The groups.
    response ListGroupsResponse<'a>, key 16, flexible 3+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
        groups: List<'a, ListedGroup<'static>>, 0+;
    }

    /// One group.
    response ListedGroup<'a> {
        group_id: &'a str, 0+;
        protocol_type: &'a str, 0+;
        group_state: &'a str, 4+;
        group_type: &'a str, 5+;
    }
}

/// Shows the groups.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = ListGroupsRequest::decode(&mut request.reader(), request.version)?;
    let passes = |filter: Array<'_, &str>, name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
    };
    let broker = &*broker;
    Ok(request.reply(out, |w| {
        ListGroupsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: ErrorCode::NONE,
            groups: &mut |list| {
                let mut list_one =
                    |group_id: &str, protocol_type: &str, state: &str, kind: &str| {
                        if passes(ask.states_filter, state) && passes(ask.types_filter, kind) {
                            list.push(ListedGroup {
                                group_id,
                                protocol_type,
                                group_state: state,
                                group_type: kind,
                            });
                        }
                    };
                for group in broker.groups.shown() {
                    let kind = if group.is_consumer() { CONSUMER } else { CLASSIC };
                    list_one(group.name(), group.protocol_type(), state(&group), kind);
                }
                for (_, group) in broker.log.state().groups() {
                    if broker.groups.show(&group.name).is_none() {
                        list_one(&group.name, "", "Empty", CLASSIC);
                    }
                }
            },
        }
        .encode(w, request.version);
    }))
}

/// What a group is doing.
fn state(group: &GroupShown<'_>) -> &'static str {
    #[cfg(feature = "consumer-protocol")]
    if group.is_consumer() {
        return group.consumer_state();
    }
    group.state().name()
}

/// The type of groups that the broker assigns partitions in.
const CONSUMER: &str = "consumer";

/// The type of groups whose members assign partitions to each other.
const CLASSIC: &str = "classic";
