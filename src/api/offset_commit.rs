//! OffsetCommit (8): stores where a consumer group is. Versions 2–9.
//!
//! - 3 adds the throttle time; 5 drops the retention time; 6 adds the leader epoch; 7 static
//!   members; 8 is flexible; 9 is for the new group protocol and may answer GROUP_ID_NOT_FOUND
//!   (69).
//! - The answer waits until the offsets are on flash, unless nothing changed.
//! - Committed offsets never expire: `retention_time_ms` is ignored.
//! - Members commit in their generation, and that is a sign of life; others while the group has no
//!   members. A generation of a group that is not there is ILLEGAL_GENERATION (22), from 9 on
//!   GROUP_ID_NOT_FOUND.
//! - Kafka's codes are those that consumers know: a failing disk is NOT_COORDINATOR (16), which is
//!   retried; more than fits a commit group is INVALID_COMMIT_OFFSET_SIZE (28). Full tables are
//!   GROUP_MAX_SIZE_REACHED (81), which is not retried.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::offsets::{Commit, CommitCheck};
use crate::broker::topics::{Busy, SHARED_RING};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::group::Who;
use crate::types::{Offset, Settle, Until};

message! {
    /// What to store.
    request OffsetCommitRequest<'a>, key 8, flexible 8+ {
        group_id: &'a str, 0+;
        generation_id_or_member_epoch: i32, 1+, default -1;
        member_id: &'a str, 1+;
        group_instance_id: Option<&'a str>, 7+, nullable 7+;
        retention_time_ms: i64, 2-4, default -1;
        topics: Array<'a, OffsetCommitRequestTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request OffsetCommitRequestTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, OffsetCommitRequestPartition<'a>>, 0+;
    }

    /// One partition.
    request OffsetCommitRequestPartition<'a> {
        partition_index: i32, 0+;
        committed_offset: i64, 0+;
        committed_leader_epoch: i32, 6+, default -1;
        committed_metadata: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of it.
    response OffsetCommitResponse<'a>, key 8, flexible 8+ {
        throttle_time_ms: i32, 3+;
        topics: List<'a, OffsetCommitResponseTopic<'static>>, 0+;
    }

    /// The partitions of one topic.
    response OffsetCommitResponseTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, OffsetCommitResponsePartition>, 0+;
    }

    /// One partition.
    response OffsetCommitResponsePartition {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}

/// Stores offsets.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = OffsetCommitRequest::decode(&mut request.reader(), request.version)?;
    let refusal = member_check(broker, &ask, request.version, now);
    let mut look = Pass { refusal, ..Pass::default() };
    let answer_bytes = request.answer_bytes(|w| look.encode(broker, &ask, request.version, w));
    if look.changes > 0 && answer_bytes > out.buf.len() {
        return Err(Malformed("more partitions than an answer has room for"));
    }
    if look.wait != Until::default() {
        return Ok(Step::Again(look.wait));
    }
    let mut pass = Pass { refusal: look.refusal, ..Pass::default() };
    if look.changes > 0 {
        match broker.meta_room(SHARED_RING, look.meta_bytes) {
            Ok(()) => {}
            Err(Busy::Wait(until)) => return Ok(Step::Again(until)),
            Err(Busy::Storage) => pass.refusal = Some(ErrorCode::NOT_COORDINATOR),
            Err(Busy::TooMuch) => pass.refusal = Some(ErrorCode::INVALID_COMMIT_OFFSET_SIZE),
        }
        match broker.commit_room(ask.group_id, look.new) {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => pass.refusal = Some(refusal.code),
            Err(until) => return Ok(Step::Again(until)),
        }
    }

    pass.now = Some(now);
    let bytes = request.answer(out, |w| pass.encode(broker, &ask, request.version, w));
    let until = pass.until;
    Ok(if until == Until::default() {
        Step::Reply { bytes }
    } else {
        Step::ReplyAfter { bytes, until }
    })
}

/// Whether this may come from whom it says it comes from.
fn member_check(
    broker: &mut Broker,
    ask: &OffsetCommitRequest<'_>,
    version: i16,
    now: Now,
) -> Option<ErrorCode> {
    if let Err(refusal) = Broker::group_id_check(ask.group_id) {
        return Some(refusal.code);
    }
    let has_offsets = broker.log.state().group_named(ask.group_id).is_some();
    let who = Who { member_id: ask.member_id, instance_id: ask.group_instance_id };
    let generation = ask.generation_id_or_member_epoch;
    match broker.groups.commit(ask.group_id, who, generation, has_offsets, now) {
        Some(allowed) => allowed.err(),
        None if version >= NEW_PROTOCOL_SINCE => Some(ErrorCode::GROUP_ID_NOT_FOUND),
        None => Some(ErrorCode::ILLEGAL_GENERATION),
    }
}

/// One walk over the request: without `now` it only looks.
#[derive(Default)]
struct Pass {
    now: Option<Now>,
    /// Nothing can be stored: the answer for all that would change something.
    refusal: Option<ErrorCode>,
    /// Commits that say something new, how many of them of a partition not committed before, and
    /// what they take.
    changes: usize,
    new: usize,
    meta_bytes: usize,
    /// What has to be settled before it can be said what changes.
    wait: Until,
    until: Until,
}

impl Pass {
    fn encode(
        &mut self,
        broker: &mut Broker,
        ask: &OffsetCommitRequest<'_>,
        version: i16,
        w: &mut crate::codec::Writer<'_>,
    ) {
        OffsetCommitResponse {
            throttle_time_ms: 0,
            topics: &mut |list| {
                for topic in ask.topics {
                    list.push(OffsetCommitResponseTopic {
                        name: topic.name,
                        partitions: &mut |list| self.topic(broker, ask.group_id, &topic, list),
                    });
                }
            },
        }
        .encode(w, version);
    }

    fn topic(
        &mut self,
        broker: &mut Broker,
        group: &str,
        topic: &OffsetCommitRequestTopic<'_>,
        list: &mut ListWriter<'_, '_, OffsetCommitResponsePartition>,
    ) {
        for asked in topic.partitions {
            let done = self.partition(broker, group, topic.name, &asked);
            list.push(OffsetCommitResponsePartition {
                partition_index: asked.partition_index,
                error_code: done.err().unwrap_or_default(),
            });
        }
    }

    fn partition(
        &mut self,
        broker: &mut Broker,
        group: &str,
        topic: &str,
        asked: &OffsetCommitRequestPartition<'_>,
    ) -> Result<(), ErrorCode> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let metadata = asked.committed_metadata.unwrap_or_default();
        if metadata.len() > broker.config.offset_metadata_max_bytes {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        let partition = broker.partition_asked(topic, asked.partition_index);
        let handle = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?.handle;
        let commit = Commit {
            group,
            handle,
            offset: Offset(asked.committed_offset),
            leader_epoch: asked.committed_leader_epoch,
            metadata,
        };
        match broker.commit_check(&commit) {
            CommitCheck::Unchanged => return Ok(()),
            CommitCheck::OnItsWay(ticket) => {
                let until = Until::synced(SHARED_RING, ticket);
                if broker.log.settled(&until) == Settle::Failed {
                    return Err(ErrorCode::NOT_COORDINATOR);
                }
                self.until.merge(&until);
                return Ok(());
            }
            CommitCheck::Wait(until) => {
                if broker.log.settled(&until) == Settle::Failed {
                    return Err(ErrorCode::NOT_COORDINATOR);
                }
                self.wait.merge(&until);
                return Ok(());
            }
            CommitCheck::Changed => {}
        }
        let Some(now) = self.now else {
            let state = broker.log.state();
            let stored = state.group_named(group).and_then(|g| state.offset_of(g, handle));
            self.changes += 1;
            self.new += usize::from(stored.is_none());
            self.meta_bytes += commit.meta_bytes();
            return Ok(());
        };
        // There was room, so it is the disk that fails.
        let ticket = broker.commit(&commit, now).map_err(|_| ErrorCode::NOT_COORDINATOR)?;
        self.until.add(SHARED_RING, ticket);
        Ok(())
    }
}

/// KIP-848's groups answer differently.
const NEW_PROTOCOL_SINCE: i16 = 9;
