//! Committed offsets: whether one may be stored, and what there is of a group.

use super::Broker;
use super::refusal::Refusal;
use super::topics::SHARED_RING;
use crate::clock::Now;
use crate::codec::ErrorCode;
use crate::limits;
use crate::log::StageError;
use crate::log::record::MetaRecord;
use crate::types::{Offset, PartitionHandle, Settle, Ticket, Until};

/// What a group says of one partition.
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

/// What is to be done about a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitCheck {
    /// It is stored.
    Unchanged,
    /// It is on its way, and settled with this ticket.
    OnItsWay(Ticket),
    /// It is new.
    Changed,
}

impl Commit<'_> {
    /// The most that it takes in the ring: two strings with their lengths, and numbers.
    pub fn meta_bytes(&self) -> usize {
        self.group.len() + self.metadata.len() + RECORD_BYTES
    }

    fn is(&self, offset: Offset, leader_epoch: i32, metadata: &str) -> bool {
        (self.offset, self.leader_epoch, self.metadata) == (offset, leader_epoch, metadata)
    }
}

impl Broker {
    /// Whether this is what the group committed last, be it synced or on its way.
    pub fn commit_check(&self, commit: &Commit<'_>) -> CommitCheck {
        let newest = self
            .commits_staged()
            .filter(|(_, group, handle, ..)| (*group, *handle) == (commit.group, commit.handle));
        if let Some((ticket, _, _, offset, leader_epoch, metadata)) = newest.last() {
            return if commit.is(offset, leader_epoch, metadata) {
                CommitCheck::OnItsWay(ticket)
            } else {
                CommitCheck::Changed
            };
        }
        let state = self.log.state();
        let group = state.group_named(commit.group);
        let stored = group.and_then(|group| state.offset_of(group, commit.handle));
        match stored {
            Some(stored) if commit.is(stored.offset, stored.leader_epoch, &stored.metadata) => {
                CommitCheck::Unchanged
            }
            _ => CommitCheck::Changed,
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
        self.log.stage(SHARED_RING, &record, true, now)
    }

    /// Whether the tables have room for so many more offsets of this group. Counted is what is
    /// stored and, too high rather than too low, what is on its way: when that decides, it is
    /// waited for.
    pub fn commit_room(&self, group: &str, new: usize) -> Result<Result<(), Refusal>, Until> {
        let state = self.log.state();
        let (mut groups, mut offsets) = (0, 0);
        let mut until = Until::default();
        for (ticket, other, handle, ..) in self.commits_staged() {
            until.add(SHARED_RING, ticket);
            let slot = state.group_named(other);
            groups += usize::from(slot.is_none() && other != group);
            offsets += usize::from(slot.is_none_or(|s| state.offset_of(s, handle).is_none()));
        }
        let limits = state.limits();
        let is_new = usize::from(new > 0 && state.group_named(group).is_none());
        let fits = |groups, offsets| {
            state.groups().count() + groups + is_new <= limits.groups_max
                && state.offsets_len() + offsets + new <= limits.offsets_max
        };
        if new == 0 || fits(groups, offsets) {
            return Ok(Ok(()));
        }
        if fits(0, 0) && self.log.settled(&until) == Settle::Pending {
            return Err(until);
        }
        let (groups, offsets) = (limits.groups_max, limits.offsets_max);
        let why = format_args!(
            "There is no room: the broker's configuration has groups_max {groups} and \
             offsets_max {offsets}."
        );
        Ok(Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, why)))
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

    #[allow(clippy::type_complexity)] // The record's fields, one by one.
    fn commits_staged(
        &self,
    ) -> impl Iterator<Item = (Ticket, &str, PartitionHandle, Offset, i32, &str)> {
        self.log.staged(SHARED_RING).filter_map(|(ticket, record)| match record {
            MetaRecord::OffsetCommit { group, handle, offset, leader_epoch, metadata, .. } => {
                Some((ticket, group, handle, offset, leader_epoch, metadata))
            }
            _ => None,
        })
    }
}

/// The record's kind, lengths and numbers, at the most.
const RECORD_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_takes_no_more_than_was_counted() {
        let group = "g".repeat(limits::GROUP_ID_BYTES_MAX);
        let metadata = "m".repeat(limits::OFFSET_METADATA_BYTES_MAX);
        let commit = Commit {
            group: &group,
            handle: PartitionHandle(u32::MAX),
            offset: Offset(i64::MIN),
            leader_epoch: i32::MIN,
            metadata: &metadata,
        };
        let record = MetaRecord::OffsetCommit {
            group: commit.group,
            handle: commit.handle,
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
            timestamp_ms: i64::MIN,
        };
        let mut buf = [0; 512];
        let bytes = crate::log::record::put(&record, &mut buf, 0).unwrap();
        assert!(bytes <= commit.meta_bytes());
    }
}
