//! Heartbeat (12): a member is alive. Versions 0–4.
//!
//! - 1 adds the throttle time; 3 static members; 4 is flexible.
//! - REBALANCE_IN_PROGRESS (27) calls the member to join again; it prolongs its session all the same.
//! - It is the answer to members of before a restart of the broker, too, until their group has a generation.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{ErrorCode, message};
use crate::group::Who;
#[cfg(feature = "consumer-protocol")]
use crate::group::states::State;

message! {
    /// Who is alive.
    request HeartbeatRequest<'a>, key 12, flexible 4+ {
        group_id: &'a str, 0+;
        generation_id: i32, 0+;
        member_id: &'a str, 0+;
        group_instance_id: Option<&'a str>, 3+, nullable 3+;
    }

    /// Whether the group rebalances.
    response HeartbeatResponse, key 12, flexible 4+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 0+;
    }
}

/// Prolongs a member's session.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = HeartbeatRequest::decode(&mut request.reader(), request.version)?;
    let who = Who { member_id: ask.member_id, instance_id: ask.group_instance_id };
    #[cfg(feature = "consumer-protocol")]
    if broker.groups.state(ask.group_id) == State::Consumer {
        broker.groups_look();
    }
    let alive = broker.groups.heartbeat(ask.group_id, who, ask.generation_id, now);
    let error_code = alive.err().unwrap_or_default();
    Ok(request.reply(out, |w| {
        HeartbeatResponse { throttle_time_ms: w.throttle_time_ms(), error_code }
            .encode(w, request.version);
    }))
}
