//! Committed offsets, and the groups that committed them.

use super::slots::Slots;
use super::topics::string_from;
use super::{State, TableFull};
use crate::bytes::{ByteArena, Span};
use crate::limits;
use crate::log::record::MetaRecord;
use crate::types::{GroupSlot, Offset, PartitionHandle};

/// A group's name.
pub type GroupName = heapless::String<{ limits::GROUP_ID_BYTES_MAX }>;

/// A consumer group that has committed something.
#[derive(Debug, Clone)]
pub struct CommitGroup {
    /// Its name.
    pub name: GroupName,
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
    /// Without the group, and without the string that comes with it.
    pub(super) fn new(
        handle: PartitionHandle,
        offset: Offset,
        leader_epoch: i32,
        timestamp_ms: i64,
    ) -> CommittedOffset {
        CommittedOffset {
            group: GroupSlot(0),
            handle,
            offset,
            leader_epoch,
            metadata: Span::default(),
            timestamp_ms,
        }
    }
}

/// The table of groups.
pub(super) struct CommitGroups {
    slots: Slots<CommitGroup>,
    /// In order of name.
    by_name: Vec<GroupSlot>,
    /// Bytes of their names.
    text_bytes: usize,
}

impl CommitGroups {
    /// An empty table for this many; allocates all it will ever need.
    pub fn new(max: usize) -> CommitGroups {
        CommitGroups { slots: Slots::new(max), by_name: Vec::with_capacity(max), text_bytes: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Bytes of their names.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Where in the order of names this one is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        let name_of = |slot: &GroupSlot| self.slots.get(slot.0).map_or("", |group| &*group.name);
        self.by_name.binary_search_by(|slot| name_of(slot).cmp(name))
    }

    /// The group of this name, found or made; none: the table is full.
    fn take(&mut self, name: &str) -> Option<GroupSlot> {
        let at = match self.place(name) {
            Ok(at) => return Some(self.by_name[at]),
            Err(at) => at,
        };
        let group = CommitGroup { name: string_from(name) };
        let text_bytes = group.name.len();
        let slot = GroupSlot(self.slots.add(group)?);
        self.by_name.insert(at, slot);
        self.text_bytes += text_bytes;
        Some(slot)
    }

    fn remove(&mut self, slot: GroupSlot) {
        if let Some(group) = self.slots.remove(slot.0) {
            self.by_name.retain(|other| *other != slot);
            self.text_bytes -= group.name.len();
        }
    }
}

/// The table of committed offsets.
pub(super) struct Offsets {
    /// In order of group, then of handle.
    entries: Vec<CommittedOffset>,
    max: usize,
    /// The strings that came with them.
    texts: ByteArena,
}

impl Offsets {
    /// An empty table for this many with this many bytes of strings; allocates all it will ever need.
    pub fn new(max: usize, text_bytes: usize) -> Offsets {
        Offsets { entries: Vec::with_capacity(max), max, texts: ByteArena::new(text_bytes) }
    }

    /// All, in order of group, then of handle.
    pub fn entries(&self) -> &[CommittedOffset] {
        &self.entries
    }

    /// Bytes of the strings that came with them.
    pub fn text_bytes(&self) -> usize {
        self.texts.used()
    }

    fn place(&self, group: GroupSlot, handle: PartitionHandle) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&(group, handle), |e| (e.group, e.handle))
    }

    fn of(&self, group: GroupSlot) -> std::ops::Range<usize> {
        let from = self.entries.partition_point(|entry| entry.group < group);
        from..self.entries.partition_point(|entry| entry.group <= group)
    }

    fn commit(&mut self, entry: CommittedOffset, text: &str) -> Result<(), TableFull> {
        let at = match self.place(entry.group, entry.handle) {
            // Most programs commit strings of one length: then none of the others moves.
            Ok(at) if self.entries[at].metadata.len() == text.len() => {
                let span = self.entries[at].metadata;
                self.texts.bytes_mut(span).copy_from_slice(text.as_bytes());
                self.entries[at] = CommittedOffset { metadata: span, ..entry };
                return Ok(());
            }
            Ok(at) => {
                self.text_free(at);
                self.entries[at] = entry;
                at
            }
            Err(at) if self.entries.len() < self.max => {
                self.entries.insert(at, entry);
                at
            }
            Err(_) => return Err(TableFull { key: "offsets_max", max: self.max }),
        };
        let max = self.texts.capacity();
        let full = TableFull { key: "offset_metadata_bytes", max };
        let (span, window) = self.texts.take(text.len()).ok_or(full)?;
        window.copy_from_slice(text.as_bytes());
        self.entries[at].metadata = span;
        Ok(())
    }

    /// Removes those at these places.
    fn remove(&mut self, places: std::ops::Range<usize>) {
        places.clone().for_each(|at| self.text_free(at));
        self.entries.drain(places);
    }

    /// Removes those for which `is_gone` is true.
    pub fn forget(&mut self, is_gone: &dyn Fn(&CommittedOffset) -> bool) {
        for at in 0..self.entries.len() {
            if is_gone(&self.entries[at]) {
                self.text_free(at);
            }
        }
        self.entries.retain(|offset| !is_gone(offset));
    }

    fn text_free(&mut self, at: usize) {
        let span = std::mem::take(&mut self.entries[at].metadata);
        let others = self.entries.iter_mut().map(|offset| {
            #[cfg(test)]
            crate::visits::visit();
            &mut offset.metadata
        });
        self.texts.free(span, others);
    }
}

impl State {
    /// How many committed offsets there are.
    pub fn offsets_len(&self) -> usize {
        self.offsets.entries.len()
    }

    /// All groups with committed offsets.
    pub fn groups(&self) -> impl Iterator<Item = (GroupSlot, &CommitGroup)> {
        self.groups.slots.iter().map(|(place, group)| (GroupSlot(place), group))
    }

    /// A group with committed offsets, by its place.
    pub fn group(&self, slot: GroupSlot) -> Option<&CommitGroup> {
        self.groups.slots.get(slot.0)
    }

    /// A group with committed offsets, by name.
    pub fn group_named(&self, name: &str) -> Option<GroupSlot> {
        self.groups.place(name).ok().map(|at| self.groups.by_name[at])
    }

    /// The bytes of metadata that go with all committed offsets.
    pub fn offset_metadata_bytes(&self) -> usize {
        self.offsets.text_bytes()
    }

    /// The string that came with a committed offset.
    pub fn metadata_of(&self, offset: &CommittedOffset) -> &str {
        let text = std::str::from_utf8(self.offsets.texts.bytes(offset.metadata));
        text.expect("it was a string when it was stored")
    }

    /// What a group committed, in order of handle.
    pub fn offsets_of(&self, group: GroupSlot) -> &[CommittedOffset] {
        &self.offsets.entries[self.offsets.of(group)]
    }

    /// The newest offset that a group committed.
    pub fn offset_newest(&self, group: GroupSlot) -> Option<&CommittedOffset> {
        self.offsets_of(group).iter().max_by_key(|entry| {
            #[cfg(test)]
            crate::visits::visit();
            entry.timestamp_ms
        })
    }

    /// The record of a committed offset, with this timestamp.
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
        self.offsets.entries.get(self.offsets.place(group, handle).ok()?)
    }

    pub(super) fn offset_commit(
        &mut self,
        group: &str,
        entry: CommittedOffset,
        metadata: &str,
    ) -> Result<(), TableFull> {
        let full = TableFull { key: "groups_max", max: self.limits.groups_max };
        let group = self.groups.take(group).ok_or(full)?;
        self.offsets.commit(CommittedOffset { group, ..entry }, metadata)
    }

    pub(super) fn offset_delete(&mut self, group: &str, handle: PartitionHandle) {
        let group = self.group_named(group);
        if let Some(Ok(at)) = group.map(|group| self.offsets.place(group, handle)) {
            self.offsets.remove(at..at + 1);
        }
    }

    pub(super) fn group_delete(&mut self, group: &str) {
        if let Some(group) = self.group_named(group) {
            self.offsets.remove(self.offsets.of(group));
            self.groups.remove(group);
        }
    }
}
