//! Committed offsets, and the groups that committed them.

use super::topics::string_from;
use super::{State, TableFull, vacant};
use crate::bytes::Span;
use crate::limits;
use crate::log::record::MetaRecord;
use crate::types::{GroupSlot, Offset, PartitionHandle};

/// A consumer group that has committed something.
#[derive(Debug, Clone)]
pub struct CommitGroup {
    /// Its name.
    pub name: heapless::String<{ limits::GROUP_ID_BYTES_MAX }>,
}

/// A committed offset.
#[derive(Debug, Clone, Copy)]
pub struct CommittedOffset {
    /// By whom.
    pub group: GroupSlot,
    /// Of which partition.
    pub handle: PartitionHandle,
    /// The offset that the group wants next.
    pub offset: Offset,
    /// The leader epoch that came with it, −1 for none.
    pub leader_epoch: i32,
    /// The string that came with it: see [`State::metadata_of`].
    metadata: Span,
    /// When, by the wall clock.
    pub timestamp_ms: i64,
}

impl CommittedOffset {
    /// Without the string that comes with it.
    pub(super) fn new(
        group: GroupSlot,
        handle: PartitionHandle,
        offset: Offset,
        leader_epoch: i32,
        timestamp_ms: i64,
    ) -> CommittedOffset {
        CommittedOffset {
            group,
            handle,
            offset,
            leader_epoch,
            metadata: Span::default(),
            timestamp_ms,
        }
    }
}

impl State {
    /// How many committed offsets there are.
    pub fn offsets_len(&self) -> usize {
        self.offsets.len()
    }

    /// All groups with committed offsets.
    pub fn groups(&self) -> impl Iterator<Item = (GroupSlot, &CommitGroup)> {
        let slots = self.groups.iter().enumerate();
        slots.filter_map(|(i, group)| Some((GroupSlot(i as u16), group.as_ref()?)))
    }

    /// A group with committed offsets, by its place.
    pub fn group(&self, slot: GroupSlot) -> Option<&CommitGroup> {
        self.groups.get(usize::from(slot.0))?.as_ref()
    }

    /// A group with committed offsets, by name.
    pub fn group_named(&self, name: &str) -> Option<GroupSlot> {
        self.groups().find(|(_, group)| group.name == name).map(|(slot, _)| slot)
    }

    /// The bytes of metadata that go with all committed offsets.
    pub fn offset_metadata_bytes(&self) -> usize {
        self.offset_metadata.used()
    }

    /// The string that came with a committed offset.
    pub fn metadata_of(&self, offset: &CommittedOffset) -> &str {
        let text = std::str::from_utf8(self.offset_metadata.bytes(offset.metadata));
        text.expect("it was a string when it was stored")
    }

    /// What a group committed, in order of handle.
    pub fn offsets_of(&self, group: GroupSlot) -> &[CommittedOffset] {
        let from = self.offsets.partition_point(|entry| entry.group < group);
        let to = self.offsets.partition_point(|entry| entry.group <= group);
        &self.offsets[from..to]
    }

    /// The newest of what a group committed.
    pub fn offset_newest(&self, group: GroupSlot) -> Option<&CommittedOffset> {
        self.offsets_of(group).iter().max_by_key(|entry| entry.timestamp_ms)
    }

    /// The record of a committed offset, with such a stamp.
    pub(in crate::log) fn commit_record<'a>(
        &'a self,
        entry: &CommittedOffset,
        timestamp_ms: i64,
    ) -> MetaRecord<'a> {
        MetaRecord::OffsetCommit {
            group: self.group(entry.group).map_or("", |group| &group.name),
            handle: entry.handle,
            offset: entry.offset,
            leader_epoch: entry.leader_epoch,
            metadata: self.metadata_of(entry),
            timestamp_ms,
        }
    }

    /// What a group committed for a partition.
    pub fn offset_of(&self, group: GroupSlot, handle: PartitionHandle) -> Option<&CommittedOffset> {
        let offsets = self.offsets_of(group);
        offsets.get(offsets.binary_search_by_key(&handle, |entry| entry.handle).ok()?)
    }

    pub(super) fn group_slot(&mut self, name: &str) -> Result<GroupSlot, TableFull> {
        if let Some(slot) = self.group_named(name) {
            return Ok(slot);
        }
        let full = TableFull { key: "groups_max", max: self.limits.groups_max };
        let place = vacant(&mut self.groups, full.max).ok_or(full)?;
        self.groups[place] = Some(CommitGroup { name: string_from(name) });
        Ok(GroupSlot(place as u16))
    }

    pub(super) fn offset_commit(
        &mut self,
        entry: CommittedOffset,
        metadata: &str,
    ) -> Result<(), TableFull> {
        let key = (entry.group, entry.handle);
        let at = match self.offsets.binary_search_by_key(&key, |e| (e.group, e.handle)) {
            Ok(at) => {
                self.offset_metadata_free(at);
                self.offsets[at] = entry;
                at
            }
            Err(at) if self.offsets.len() < self.limits.offsets_max => {
                self.offsets.insert(at, entry);
                at
            }
            Err(_) => {
                return Err(TableFull { key: "offsets_max", max: self.limits.offsets_max });
            }
        };
        let max = self.offset_metadata.capacity();
        let full = TableFull { key: "offset_metadata_bytes", max };
        let (span, window) = self.offset_metadata.take(metadata.len()).ok_or(full)?;
        window.copy_from_slice(metadata.as_bytes());
        self.offsets[at].metadata = span;
        Ok(())
    }

    /// Committed offsets for which `is_gone` is true are gone.
    pub(super) fn offsets_forget(&mut self, is_gone: impl Fn(&CommittedOffset) -> bool) {
        for at in 0..self.offsets.len() {
            if is_gone(&self.offsets[at]) {
                self.offset_metadata_free(at);
            }
        }
        self.offsets.retain(|offset| !is_gone(offset));
    }

    fn offset_metadata_free(&mut self, at: usize) {
        let span = std::mem::take(&mut self.offsets[at].metadata);
        self.offset_metadata.free(span, self.offsets.iter_mut().map(|offset| &mut offset.metadata));
    }
}
