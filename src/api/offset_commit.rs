//! OffsetCommit (8): stores where a consumer group is. Versions 2–9.
//!
//! - 3 adds the throttle time; 5 drops the retention time; 6 adds the leader epoch; 7 static
//!   members; 8 is flexible; 9 is for the new group protocol and may answer GROUP_ID_NOT_FOUND
//!   (69).
//! - The answer waits until the offsets are on flash, unless nothing changed and the group was stamped
//!   within a day.
//! - Committed offsets never expire: `retention_time_ms` is ignored. Where there is no place for another one,
//!   a group that was unused for long gives way first.
//! - Members commit in their generation, and that is a sign of life; others while the group has no
//!   members. A generation of a group that is not there is ILLEGAL_GENERATION (22), from 9 on
//!   GROUP_ID_NOT_FOUND, but UNKNOWN_MEMBER_ID (25) for who names a member: clients join again on it,
//!   where they would give up on the other.
//! - After a restart of the broker, members of before commit as before until their group has a generation.
//!   Where it cannot be said whether they were fenced, it is COORDINATOR_LOAD_IN_PROGRESS (14), which is
//!   retried.
//! - Members of a group that the broker assigns to commit with their present epoch, else it is
//!   STALE_MEMBER_EPOCH (113), and with version 9 or above, else UNSUPPORTED_VERSION (35). It is no
//!   sign of life, as in Kafka.
//! - Kafka's codes are those that consumers know: a failing disk is NOT_COORDINATOR (16), which is
//!   retried; so is COORDINATOR_NOT_AVAILABLE (15), for groups and offsets that the tables have no
//!   room for. Metadata that is too long, or has no room beside that of others, is
//!   OFFSET_METADATA_TOO_LARGE (12).
//! - More partitions than one window has answers for, some 8,000, are INVALID_COMMIT_OFFSET_SIZE (28),
//!   and none is stored.
//! - More than one commit group holds is stored group by group, and answered when all of it is.

use crate::api::dedup::OncePartition;
use crate::api::outcomes::Outcomes;
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::offsets::{Commit, CommitCheck, OffsetGrowth, Together};
use crate::broker::topics::Busy;
use crate::broker::{Broker, Partly};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, Writer, message};
use crate::group::Who;
use crate::limits;
use crate::log::StageError;
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
    let partitions = ask.topics.iter().map(|topic| topic.partitions.len()).sum();
    let answer_bytes = request.answer_bytes(|w| encode(&ask, request.version, w, &mut no_error));
    let (outcomes, out) = match Outcomes::split(out, partitions, answer_bytes) {
        Ok(split) => split,
        Err(out) => {
            let mut code = || ErrorCode::INVALID_COMMIT_OFFSET_SIZE;
            return Ok(request.reply(out, |w| encode(&ask, request.version, w, &mut code)));
        }
    };
    let mut commits =
        Commits { ask: &ask, partly: request.peer.partly, outcomes, until: Until::default() };
    let refusal = commits.partly_check(broker).err();
    let refusal = refusal.or_else(|| member_check(broker, &ask, request.version, now));
    if let Some(code) = refusal {
        commits.refuse_all(code);
    } else {
        let wanted = match commits.look(broker, now) {
            Ok(wanted) => wanted,
            Err(until) => return Ok(Step::Again(until)),
        };
        if let Err(until) = commits.check_room(broker, &wanted, request.client(), now) {
            return Ok(Step::Again(until));
        }
        let partly = commits.store(broker, now);
        broker.held_tell(&request.caller(), now);
        if let Some(partly) = partly {
            return Ok(Step::Partly(partly));
        }
    }

    let (outcomes, until) = (commits.outcomes, commits.until);
    let mut places = 0..;
    let mut code = || places.next().map_or(ErrorCode::NONE, |place| outcomes.get(place));
    Ok(request.reply_after(out, until, |w| encode(&ask, request.version, w, &mut code)))
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
    let knows_epochs = version >= NEW_PROTOCOL_SINCE;
    match broker.groups.commit(ask.group_id, who, generation, knows_epochs, has_offsets, now) {
        Some(allowed) => allowed.err(),
        None if version >= NEW_PROTOCOL_SINCE && !ask.member_id.is_empty() => {
            Some(ErrorCode::UNKNOWN_MEMBER_ID)
        }
        None if version >= NEW_PROTOCOL_SINCE => Some(ErrorCode::GROUP_ID_NOT_FOUND),
        None => Some(ErrorCode::ILLEGAL_GENERATION),
    }
}

/// Writes the answer; `code` gives the partitions' codes, in their order.
fn encode(
    ask: &OffsetCommitRequest<'_>,
    version: i16,
    w: &mut Writer<'_>,
    code: &mut dyn FnMut() -> ErrorCode,
) {
    OffsetCommitResponse {
        throttle_time_ms: w.throttle_time_ms(),
        topics: &mut |list| {
            for topic in ask.topics {
                list.push(OffsetCommitResponseTopic {
                    name: topic.name,
                    partitions: &mut |list: &mut ListWriter<'_, '_, _>| {
                        for OffsetCommitRequestPartition { partition_index, .. } in topic.partitions
                        {
                            let error_code = code();
                            list.push(OffsetCommitResponsePartition {
                                partition_index,
                                error_code,
                            });
                        }
                    },
                });
            }
        },
    }
    .encode(w, version);
}

fn no_error() -> ErrorCode {
    ErrorCode::NONE
}

/// The request, and what becomes of it.
struct Commits<'a> {
    ask: &'a OffsetCommitRequest<'a>,
    /// What was stored of it before.
    partly: Partly,
    outcomes: Outcomes<'a>,
    /// What the answer waits for.
    until: Until,
}

/// What the commits take that say something new.
#[derive(Default)]
struct Wanted {
    changes: usize,
    growth: OffsetGrowth,
    meta_bytes: usize,
}

/// What is found while it is looked at what is asked.
#[derive(Default)]
struct Looking {
    wanted: Wanted,
    /// What has to be settled first.
    wait: Until,
    /// Nothing of the group is on its way.
    none_staged: bool,
    /// Whether the group was not stamped for long, once that was asked.
    is_old: Option<bool>,
}

impl<'a> Commits<'a> {
    /// The partitions with their places in the request.
    fn each(
        &self,
    ) -> impl Iterator<Item = (usize, &'a str, OffsetCommitRequestPartition<'a>)> + use<'a> {
        let topics = self.ask.topics.iter();
        let each = topics.flat_map(|topic| topic.partitions.iter().map(move |p| (topic.name, p)));
        each.enumerate().map(|(place, (topic, partition))| (place, topic, partition))
    }

    /// Whether all that was stored before is on flash.
    fn partly_check(&self, broker: &Broker) -> Result<(), ErrorCode> {
        match broker.log.settled(&self.partly.until) {
            Settle::Failed => Err(ErrorCode::NOT_COORDINATOR),
            _ => Ok(()),
        }
    }

    fn refuse_all(&mut self, code: ErrorCode) {
        for (place, _, _) in self.each() {
            self.outcomes.set(place, code);
        }
    }

    /// Finds the codes of those that are not to be stored, and notes which are: by [`CHANGED`]. Or
    /// what has to be settled before that can be said.
    fn look(&mut self, broker: &Broker, now: Now) -> Result<Wanted, Until> {
        let mut looking = Looking::default();
        let mut together = Together::default();
        let mut once = OncePartition::default();
        for (place, topic, asked) in self.each() {
            let commit = match commit_of(broker, self.ask.group_id, topic, &asked) {
                Ok(commit) => commit,
                Err(code) => {
                    self.outcomes.set(place, code);
                    continue;
                }
            };
            if place < self.partly.items {
                continue;
            }
            // What is said twice depends on what was said first, which is not staged yet.
            let slot = broker.log.state().partition_with_handle(commit.handle);
            if !slot.is_some_and(|slot| once.first(slot.0)) {
                self.want(broker, place, &commit, &mut looking.wanted);
                continue;
            }
            together.add(place, commit);
            if together.is_full() {
                self.look_together(broker, &mut together, &mut looking, now);
                together = Together::default();
            }
        }
        self.look_together(broker, &mut together, &mut looking, now);
        let Looking { wanted, wait, .. } = looking;
        if wait == Until::default() { Ok(wanted) } else { Err(wait) }
    }

    /// The same for some of them.
    fn look_together(
        &mut self,
        broker: &Broker,
        together: &mut Together<'a>,
        looking: &mut Looking,
        now: Now,
    ) {
        let group = self.ask.group_id;
        looking.none_staged = looking.none_staged || !broker.commits_find(group, together);
        for asked in together.asked() {
            let is_old = &mut looking.is_old;
            let mut is_old =
                || *is_old.get_or_insert_with(|| broker.group_stamp_is_old(group, now));
            let check = broker.commit_check(asked);
            let until = match check {
                CommitCheck::Unchanged if looking.wanted.changes > 0 || !is_old() => continue,
                CommitCheck::OnItsWay(until) | CommitCheck::Wait(until) => until,
                CommitCheck::Changed | CommitCheck::Unchanged => {
                    self.want(broker, asked.place, &asked.commit, &mut looking.wanted);
                    continue;
                }
            };
            match check {
                _ if broker.log.settled(&until) == Settle::Failed => {
                    self.outcomes.set(asked.place, ErrorCode::NOT_COORDINATOR);
                }
                CommitCheck::Wait(_) => looking.wait.merge(&until),
                _ => self.until.merge(&until),
            }
        }
    }

    /// One is to be stored.
    #[inline(never)]
    fn want(&mut self, broker: &Broker, place: usize, commit: &Commit<'_>, wanted: &mut Wanted) {
        self.outcomes.set(place, CHANGED);
        wanted.changes += 1;
        wanted.growth.add(broker.log.state(), commit);
        wanted.meta_bytes += commit.meta_bytes();
    }

    /// Whether the tables have room for it, and an open group for all of it or else for some; refuses
    /// what they have no room for.
    fn check_room(
        &mut self,
        broker: &mut Broker,
        wanted: &Wanted,
        client: &str,
        now: Now,
    ) -> Result<(), Until> {
        if wanted.changes == 0 {
            return Ok(());
        }
        if let Err(code) = broker.commit_room(self.ask.group_id, &wanted.growth)? {
            if code == ErrorCode::COORDINATOR_NOT_AVAILABLE
                && let Busy::Wait(until) =
                    broker.displace(self.ask.group_id, &wanted.growth, client, now)
            {
                return Err(until);
            }
            self.refuse_changes(broker, code);
            return Ok(());
        }
        let at_once = self.ask.group_id.len() + wanted.meta_bytes;
        let at_once = at_once.min(limits::GROUP_META_BYTES_MAX);
        match broker.meta_room(broker.log.shared(), at_once) {
            Ok(()) => Ok(()),
            Err(Busy::Wait(until)) => Err(until),
            Err(Busy::Storage | Busy::TooMuch) => {
                self.refuse_changes(broker, ErrorCode::NOT_COORDINATOR);
                Ok(())
            }
        }
    }

    /// Refuses what would be stored. Where only metadata has no room, what has none can be.
    fn refuse_changes(&mut self, broker: &Broker, code: ErrorCode) {
        for (place, topic, asked) in self.each() {
            if self.outcomes.get(place) != CHANGED {
                continue;
            }
            let mut growth = OffsetGrowth::default();
            if code == ErrorCode::OFFSET_METADATA_TOO_LARGE
                && let Ok(commit) = commit_of(broker, self.ask.group_id, topic, &asked)
            {
                growth.add(broker.log.state(), &commit);
                if growth.metadata_bytes == 0 {
                    continue;
                }
            }
            self.outcomes.set(place, code);
        }
    }

    /// Stages what is to be stored. When the open group is full, the rest has to wait.
    fn store(&mut self, broker: &mut Broker, now: Now) -> Option<Partly> {
        for (place, topic, asked) in self.each() {
            if self.outcomes.get(place) != CHANGED {
                continue;
            }
            let commit = commit_of(broker, self.ask.group_id, topic, &asked);
            let handle = commit.as_ref().ok().map(|commit| commit.handle);
            let staged = commit.map(|commit| broker.commit(&commit, now));
            let code = match staged {
                Ok(Ok(ticket)) => {
                    if let Some(handle) = handle {
                        let offset = Offset(asked.committed_offset);
                        let by_member = !self.ask.member_id.is_empty();
                        broker.held_committed(self.ask.group_id, handle, offset, by_member);
                    }
                    self.until.add(broker.log.shared(), ticket);
                    ErrorCode::NONE
                }
                Ok(Err(StageError::Full(_))) if self.until != Until::default() => {
                    return Some(Partly { items: place, until: self.until });
                }
                Ok(Err(_)) => ErrorCode::NOT_COORDINATOR,
                Err(code) => code,
            };
            self.outcomes.set(place, code);
        }
        None
    }
}

/// What is asked for one partition, if it can be stored at all.
fn commit_of<'a>(
    broker: &Broker,
    group: &'a str,
    topic: &str,
    asked: &OffsetCommitRequestPartition<'a>,
) -> Result<Commit<'a>, ErrorCode> {
    let metadata = asked.committed_metadata.unwrap_or_default();
    // Kafka counts what Java calls the length of a string.
    let max = broker.config.offset_metadata_max_bytes;
    if metadata.len() > max && metadata.encode_utf16().count() > max {
        return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
    }
    let partition = broker.partition_asked(topic, asked.partition_index);
    let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok(Commit {
        group,
        handle: partition.handle,
        offset: Offset(asked.committed_offset),
        leader_epoch: asked.committed_leader_epoch,
        metadata,
    })
}

/// In place of a code: it is to be stored. Kafka has no such code.
const CHANGED: ErrorCode = ErrorCode(i16::MIN);

/// KIP-848's groups answer differently.
const NEW_PROTOCOL_SINCE: i16 = 9;
