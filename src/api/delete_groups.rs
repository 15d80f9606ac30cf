//! DeleteGroups (42): deletes groups with their offsets. Versions 0–2.
//!
//! - 1 adds nothing; 2 is flexible.
//! - A group with members is NON_EMPTY_GROUP (68), an unknown one GROUP_ID_NOT_FOUND (69).
//! - The answer waits until that is on flash. A failing disk is NOT_COORDINATOR (16), as in Kafka.

use crate::api::change::{Change, Pass};
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::topics::SHARED_RING;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Groups to delete.
    request DeleteGroupsRequest<'a>, key 42, flexible 2+ {
        groups_names: Array<'a, &'a str>, 0+;
    }

    /// What became of them.
    response DeleteGroupsResponse<'a>, key 42, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, DeletableGroupResult<'static>>, 0+;
    }

    /// What became of one group.
    response DeletableGroupResult<'a> {
        group_id: &'a str, 0+;
        error_code: ErrorCode, 0+;
    }
}

/// Deletes groups.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = DeleteGroupsRequest::decode(&mut request.reader(), request.version)?;
    let names = ask.groups_names;
    let settled = broker.groups_settled(|group| names.iter().any(|name| name == group));
    let change = Change { request, items: names.len(), validate_only: false };
    Ok(change.carry_out(broker, out, now, settled, |pass, broker, w| {
        DeleteGroupsResponse {
            throttle_time_ms: 0,
            results: &mut |list| {
                for (place, group_id) in names.iter().enumerate() {
                    let before = || names.iter().take(place);
                    if pass.compares() && before().any(|name| name == group_id) {
                        continue;
                    }
                    let error_code = delete(pass, broker, group_id).err().unwrap_or_default();
                    list.push(DeletableGroupResult { group_id, error_code });
                }
            },
        }
        .encode(w, request.version);
    }))
}

fn delete(pass: &mut Pass, broker: &mut Broker, group: &str) -> Result<(), ErrorCode> {
    let not_here = |code| match code {
        ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        code => code,
    };
    pass.open().map_err(|refusal| not_here(refusal.code))?;
    broker.group_delete_check(group)?;
    if broker.log.state().group_named(group).is_none() {
        if pass.is_final() {
            broker.groups.forget(group);
        }
        return Ok(());
    }
    let bytes = Broker::group_delete_bytes(group);
    let delete = |broker: &mut Broker, now| broker.group_delete(group, now);
    let done = pass.change(broker, SHARED_RING, bytes, delete);
    done.map_err(|refusal| not_here(refusal.code))
}
