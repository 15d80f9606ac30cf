//! Committed offsets: whether one may be stored or deleted, and what there is of a group.

use super::Broker;
use super::refusal::Refusal;
use super::topics::Busy;
use crate::clock::Now;
use crate::codec::ErrorCode;
use crate::group::states::{self, Act, Event, State};
use crate::limits;
use crate::log::record::MetaRecord;
use crate::log::{self, StageError};
use crate::types::{Offset, PartitionHandle, Settle, Ticket, Until};

/// A group's commit of one partition.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The group.
    pub group: &'a str,
    /// The partition.
    pub handle: PartitionHandle,
    /// The offset that it wants next.
    pub offset: Offset,
    /// The leader epoch that came with it, −1 for none.
    pub leader_epoch: i32,
    /// The string that came with it.
    pub metadata: &'a str,
}

/// Commits of one group, of different partitions, that are checked together.
#[derive(Debug, Default)]
pub struct Together<'a> {
    /// In order of handle.
    asked: heapless::Vec<Asked<'a>, COMMITS_TOGETHER>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its place in the request.
    pub place: usize,
    /// The commit.
    pub commit: Commit<'a>,
    staged: Staged,
}

/// What is on its way for a commit's partition, and can be read.
#[derive(Debug, Clone, Copy)]
enum Staged {
    Nothing,
    /// The same, under this ticket.
    Same(Ticket),
    /// Another one, or a deletion.
    Other,
}

/// What commits add to the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OffsetGrowth {
    /// Offsets of partitions that their group had none of.
    pub offsets: usize,
    /// Bytes of metadata beyond what was stored for the same partitions.
    pub metadata_bytes: usize,
}

/// What is to be done with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitCheck {
    /// It is stored.
    Unchanged,
    /// It is on its way, and stored once this is settled.
    OnItsWay(Until),
    /// It is new.
    Changed,
    /// That depends on what is being written, which cannot be read: check again once this is settled.
    Wait(Until),
}

impl Commit<'_> {
    /// The most that it takes in the ring behind another of its group.
    pub fn meta_bytes(&self) -> usize {
        self.metadata.len() + RECORD_BYTES
    }

    fn is(&self, offset: Offset, leader_epoch: i32, metadata: &str) -> bool {
        (self.offset, self.leader_epoch, self.metadata) == (offset, leader_epoch, metadata)
    }
}

impl<'a> Together<'a> {
    /// Adds one; there is room for it, and none of its partition yet.
    pub fn add(&mut self, place: usize, commit: Commit<'a>) {
        let at = self.asked.partition_point(|other| other.commit.handle < commit.handle);
        let added = self.asked.insert(at, Asked { place, commit, staged: Staged::Nothing });
        assert!(added.is_ok(), "there is room for it");
    }

    /// Whether there is no more room.
    pub fn is_full(&self) -> bool {
        self.asked.is_full()
    }

    /// All of them.
    pub fn asked(&self) -> &[Asked<'a>] {
        &self.asked
    }

    fn of(&mut self, handle: PartitionHandle) -> Option<&mut Asked<'a>> {
        let at = self.asked.binary_search_by_key(&handle, |asked| asked.commit.handle).ok()?;
        self.asked.get_mut(at)
    }
}

impl OffsetGrowth {
    /// Adds what a commit adds.
    pub fn add(&mut self, state: &log::state::State, commit: &Commit<'_>) {
        self.count(state, commit.group, commit.handle, commit.metadata);
    }

    fn count(
        &mut self,
        state: &log::state::State,
        group: &str,
        handle: PartitionHandle,
        metadata: &str,
    ) {
        let group = state.group_named(group);
        let stored = group.and_then(|group| state.offset_of(group, handle));
        self.offsets += usize::from(stored.is_none());
        let stored_bytes = stored.map_or(0, |stored| state.metadata_of(stored).len());
        self.metadata_bytes += metadata.len().saturating_sub(stored_bytes);
    }
}

impl Broker {
    /// Finds what is on its way for these commits of a group, with one walk for all of them. False:
    /// nothing of the group is.
    pub fn commits_find(&self, group: &str, together: &mut Together<'_>) -> bool {
        let mut found = false;
        for (ticket, record) in self.log.staged(self.log.shared()) {
            match record {
                MetaRecord::OffsetCommit {
                    group: of,
                    handle,
                    offset,
                    leader_epoch,
                    metadata,
                    ..
                } if of == group => {
                    found = true;
                    if let Some(asked) = together.of(handle) {
                        let is_same = asked.commit.is(offset, leader_epoch, metadata);
                        asked.staged = if is_same { Staged::Same(ticket) } else { Staged::Other };
                    }
                }
                MetaRecord::OffsetDelete { group: of, handle } if of == group => {
                    found = true;
                    if let Some(asked) = together.of(handle) {
                        asked.staged = Staged::Other;
                    }
                }
                MetaRecord::GroupDelete { group: of } if of == group => {
                    found = true;
                    together.asked.iter_mut().for_each(|asked| asked.staged = Staged::Other);
                }
                _ => {}
            }
        }
        found
    }

    /// Whether this is what the group committed last, synced or on its way. [`Broker::commits_find`] was
    /// called before.
    pub fn commit_check(&self, Asked { commit, staged, .. }: &Asked<'_>) -> CommitCheck {
        match staged {
            Staged::Same(ticket) => {
                return CommitCheck::OnItsWay(Until::synced(self.log.shared(), *ticket));
            }
            Staged::Other => return CommitCheck::Changed,
            Staged::Nothing => {}
        }
        let state = self.log.state();
        let group = state.group_named(commit.group);
        let stored = group.and_then(|group| state.offset_of(group, commit.handle));
        let is_same = stored.is_some_and(|stored| {
            commit.is(stored.offset, stored.leader_epoch, state.metadata_of(stored))
        });
        match self.log.staged_out(self.log.shared()) {
            _ if !is_same => CommitCheck::Changed,
            Some(ticket) => CommitCheck::Wait(Until::synced(self.log.shared(), ticket)),
            None => CommitCheck::Unchanged,
        }
    }

    /// Stages a commit.
    pub fn commit(&mut self, commit: &Commit<'_>, now: Now) -> Result<Ticket, StageError> {
        let record = MetaRecord::OffsetCommit {
            group: commit.group,
            handle: commit.handle,
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
            timestamp_ms: now.wall_ms,
        };
        self.log.stage(self.log.shared(), &record, true, now)
    }

    /// Whether the tables have room for what commits of this group add. What is stored is counted, and
    /// what is on its way, at its most: where that decides, or cannot be read, it is waited for.
    pub fn commit_room(
        &self,
        group: &str,
        growth: &OffsetGrowth,
    ) -> Result<Result<(), ErrorCode>, Until> {
        if *growth == OffsetGrowth::default() {
            return Ok(Ok(()));
        }
        let state = self.log.state();
        let mut until = Until::default();
        if let Some(ticket) = self.log.staged_out(self.log.shared()) {
            until.add(self.log.shared(), ticket);
            if self.log.settled(&until) == Settle::Pending {
                return Err(until);
            }
        }
        let (mut groups, mut staged) = (0, OffsetGrowth::default());
        for (ticket, record) in self.log.staged(self.log.shared()) {
            if let MetaRecord::OffsetCommit { group: other, handle, metadata, .. } = record {
                until.add(self.log.shared(), ticket);
                groups += usize::from(other != group && state.group_named(other).is_none());
                staged.count(state, other, handle, metadata);
            }
        }
        match self.commit_fits(group, growth, groups, &staged) {
            Err(_)
                if self.log.settled(&until) == Settle::Pending
                    && self.commit_fits(group, growth, 0, &OffsetGrowth::default()).is_ok() =>
            {
                Err(until)
            }
            fits => Ok(fits),
        }
    }

    /// The same, with this much on its way.
    fn commit_fits(
        &self,
        group: &str,
        growth: &OffsetGrowth,
        groups_staged: usize,
        staged: &OffsetGrowth,
    ) -> Result<(), ErrorCode> {
        let state = self.log.state();
        let limits = state.limits();
        let is_new = usize::from(state.group_named(group).is_none());
        let groups = self.groups_len(group) + groups_staged + is_new;
        let offsets = state.offsets_len() + staged.offsets + growth.offsets;
        let metadata_bytes =
            state.offset_metadata_bytes() + staged.metadata_bytes + growth.metadata_bytes;
        if groups > limits.groups_max || offsets > limits.offsets_max {
            Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)
        } else if metadata_bytes > limits.offset_metadata_bytes {
            Err(ErrorCode::OFFSET_METADATA_TOO_LARGE)
        } else {
            Ok(())
        }
    }

    /// How many groups there are: those with offsets, and those with members or that expect some,
    /// unless only `except` has those.
    #[inline(never)]
    pub fn groups_len(&self, except: &str) -> usize {
        let state = self.log.state();
        let live = self.groups.shown().filter(|group| {
            group.is_used() && group.name() != except && state.group_named(group.name()).is_none()
        });
        state.groups().count() + live.count()
    }

    /// Whether nothing is on its way of a group for which `concerns` is true. What is being written
    /// cannot be read, so it is waited for whatever it is about.
    #[inline(never)]
    pub fn groups_settled(&self, concerns: &dyn Fn(&str) -> bool) -> Result<(), Busy> {
        let out = self.log.staged_out(self.log.shared());
        let mut until = out.map(|ticket| Until::synced(self.log.shared(), ticket));
        for (ticket, record) in self.log.staged(self.log.shared()) {
            if let MetaRecord::OffsetCommit { group, .. }
            | MetaRecord::OffsetDelete { group, .. }
            | MetaRecord::GroupDelete { group } = record
                && concerns(group)
            {
                until.get_or_insert_default().add(self.log.shared(), ticket);
            }
        }
        self.busy_until(until)
    }

    /// Whether a group may be deleted.
    pub fn group_delete_check(&self, group: &str) -> Result<(), ErrorCode> {
        match states::act(self.group_state(group), Event::Delete) {
            Act::Refuse(code) => Err(code),
            _ => Ok(()),
        }
    }

    /// Whether offsets of a group may be deleted, of topics that its members do not use.
    pub fn offsets_delete_check(&self, group: &str) -> Result<(), ErrorCode> {
        match states::act(self.group_state(group), Event::DeleteOffsets) {
            Act::Refuse(code) => Err(code),
            // Only members whose protocol is "consumer" say which topics they use.
            Act::AcceptUnsubscribed
                if !self.groups.show(group).is_some_and(|g| g.has_consumers()) =>
            {
                Err(ErrorCode::NON_EMPTY_GROUP)
            }
            _ => Ok(()),
        }
    }

    /// A group's state, by its members, or by its offsets alone.
    pub fn group_state(&self, group: &str) -> State {
        match self.groups.state(group) {
            State::Dead if self.log.state().group_named(group).is_some() => State::Empty,
            state => state,
        }
    }

    /// Stages the deletion of a group that has offsets; it is without members.
    pub fn group_delete(&mut self, group: &str, now: Now) -> Result<Ticket, StageError> {
        let record = MetaRecord::GroupDelete { group };
        let ticket = self.log.stage(self.log.shared(), &record, true, now)?;
        self.groups.forget(group);
        self.held_forgotten(group, None);
        Ok(ticket)
    }

    /// Stages the deletion of one committed offset.
    pub fn offset_delete(
        &mut self,
        group: &str,
        handle: PartitionHandle,
        now: Now,
    ) -> Result<Ticket, StageError> {
        let record = MetaRecord::OffsetDelete { group, handle };
        let ticket = self.log.stage(self.log.shared(), &record, true, now)?;
        self.held_forgotten(group, Some(handle));
        Ok(ticket)
    }

    /// The most that such a deletion takes in the ring.
    pub fn group_delete_bytes(group: &str) -> usize {
        group.len() + RECORD_BYTES
    }

    /// Whether a group of this name may have offsets at all.
    pub fn group_id_check(group: &str) -> Result<(), Refusal> {
        if group.len() <= limits::GROUP_ID_BYTES_MAX {
            Ok(())
        } else {
            let max = limits::GROUP_ID_BYTES_MAX;
            let why = format_args!("A group's name has at most {max} bytes.");
            Err(Refusal::new(ErrorCode::INVALID_GROUP_ID, why))
        }
    }
}

/// How many commits are checked together. Each costs 72 bytes of stack.
const COMMITS_TOGETHER: usize = 64;

/// The record's kind, lengths and numbers, at the most.
const RECORD_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_commit_request::{
        OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::api::Step;
    use crate::broker::testing::Bench;
    use crate::broker::topics::NewTopic;
    use crate::log::record::Appender;
    use crate::visits::visits;

    /// A broker with a topic of so many partitions.
    fn bench(partitions: u32) -> Bench {
        let mut bench = Bench::new();
        let name = "t".try_into().unwrap();
        let new = NewTopic { name, partitions, configs: Default::default() };
        bench.broker.topic_create(&new, bench.now).unwrap();
        bench.drive();
        bench
    }

    fn commit_of(indexes: impl Iterator<Item = i32>, offset: i64) -> OffsetCommitRequest {
        let partition = |index| {
            let partition = OffsetCommitRequestPartition::default().with_partition_index(index);
            partition.with_committed_offset(offset)
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(indexes.map(partition).collect());
        let request = OffsetCommitRequest::default().with_topics(vec![topic]);
        request.with_group_id(GroupId(StrBytes::from_static_str("g")))
    }

    #[test]
    fn what_is_on_its_way_is_not_looked_at_for_each_partition_of_a_commit() {
        for partitions in [64, 512] {
            let mut bench = bench(partitions as u32);
            for offset in [1, 2, 2] {
                let commit = commit_of((0..partitions).rev(), offset);
                let mut step = None;
                let looks = visits(&mut || step = Some(bench.step(7, &commit)));
                assert!(matches!(step, Some(Step::ReplyAfter { .. })), "{step:?}");
                let each = looks / partitions as usize;
                assert!(each <= 40, "{each} for each of {partitions}");
            }
        }
    }

    #[test]
    fn the_age_of_a_groups_offsets_is_not_looked_at_where_it_decides_nothing() {
        let mut bench = bench(512);
        bench.ask(7, &commit_of(0..512, 1));
        let looks = |bench: &mut Bench, offset| {
            let mut step = None;
            let looks = visits(&mut || step = Some(bench.step(7, &commit_of(3..5, offset))));
            (looks, step.unwrap())
        };
        let (same, step) = looks(&mut bench, 1);
        assert!(matches!(step, Step::Reply { .. }), "{step:?}");
        assert!((512..600).contains(&same), "{same}: once for both of them");
        let (other, step) = looks(&mut bench, 2);
        assert!(matches!(step, Step::ReplyAfter { .. }), "{step:?}");
        assert!(other <= 100, "{other}");
    }

    #[test]
    fn a_commit_takes_no_more_than_was_counted() {
        let group = "g".repeat(limits::GROUP_ID_BYTES_MAX);
        let metadata = "€".repeat(limits::OFFSET_METADATA_LENGTH_MAX);
        let record = |offset, metadata, timestamp_ms| MetaRecord::OffsetCommit {
            group: &group,
            handle: PartitionHandle(u32::MAX),
            offset: Offset(offset),
            leader_epoch: i32::MIN,
            metadata,
            timestamp_ms,
        };
        let mut buf = [0; 32 * 1024];
        let mut appender = Appender::default();
        appender.push(&record(0, "", 0), &mut buf).unwrap();
        assert!(appender.end() <= group.len() + RECORD_BYTES);
        let before = appender.end();
        appender.push(&record(i64::MIN, &metadata, i64::MIN), &mut buf).unwrap();
        let commit = Commit {
            group: &group,
            handle: PartitionHandle(u32::MAX),
            offset: Offset(i64::MIN),
            leader_epoch: i32::MIN,
            metadata: &metadata,
        };
        assert!(appender.end() - before <= commit.meta_bytes());
    }
}
