//! DeleteGroups (42): deletes groups with their offsets. Versions 0–2.
//!
//! - 1 adds nothing; 2 is flexible.
//! - A group with members is NON_EMPTY_GROUP (68), an unknown one GROUP_ID_NOT_FOUND (69).
//! - The answer waits until that is on flash. A failing disk is NOT_COORDINATOR (16), as in Kafka.

use crate::api::change::{Change, Items, Made, Said, Wanted, identity_of};
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Refusal;
use crate::broker::topics::Growth;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::log::StageError;
use crate::log_limit::Names;
use crate::types::Ticket;

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
    let settled = broker.groups_settled(&|group| names.iter().any(|name| name == group));
    let change = Change { request, items: names.len(), validate_only: false };
    Ok(change.carry_out(broker, &ask, out, now, settled))
}

impl<'a> Items for DeleteGroupsRequest<'a> {
    type Item = &'a str;
    /// A group's name.
    type New = &'a str;

    fn items(&self) -> impl Iterator<Item = &'a str> {
        self.groups_names.iter()
    }

    fn identity(&self, _: &Broker, group: &&'a str) -> Option<u64> {
        identity_of(&[group.as_bytes()])
    }

    #[inline(never)]
    fn check(
        &self,
        broker: &Broker,
        _: &mut Growth,
        _: bool,
        group: &&'a str,
    ) -> Result<Option<Wanted<&'a str>>, Refusal> {
        let refused = |code| Refusal::new(code, format_args!(""));
        broker.group_delete_check(group).map_err(refused)?;
        let stored = broker.log.state().group_named(group).is_some();
        let bytes = if stored { Broker::group_delete_bytes(group) } else { 0 };
        Ok(Some(Wanted { ring: broker.log.shared(), bytes, new: *group }))
    }

    fn name(&self, _: &Broker, group: &&'a str, _: &&'a str, names: &mut Names) {
        names.add(format_args!("group {group:?}"));
    }

    /// A group that committed nothing is only forgotten.
    fn stage(
        &self,
        broker: &mut Broker,
        group: &'a str,
        now: Now,
    ) -> Result<(Made, Ticket), StageError> {
        // Members of before the start must not bring it back.
        broker.groups.former_over();
        if broker.log.state().group_named(group).is_none() {
            broker.groups.forget(group);
            return Ok((Made::default(), Ticket(0)));
        }
        Ok((Made::default(), broker.group_delete(group, now)?))
    }

    fn answer(&self, broker: &Broker, said: &Said<'_>, w: &mut Writer<'_>, version: i16) {
        DeleteGroupsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            results: &mut |list| {
                for (group_id, outcome) in said.outcomes(self, broker) {
                    let error_code = match outcome.map_err(|refusal| refusal.code) {
                        Ok(_) => ErrorCode::NONE,
                        Err(ErrorCode::KAFKA_STORAGE_ERROR) => ErrorCode::NOT_COORDINATOR,
                        Err(code) => code,
                    };
                    list.push(DeletableGroupResult { group_id, error_code });
                }
            },
        }
        .encode(w, version);
    }
}
