//! Where the carried records of compacted partitions are: those that were written once more before
//! their segment was overwritten.
//!
//! A stretch of offsets is in one segment, from one group on; the stretches of a partition do not
//! overlap. For the offsets in a stretch only the carried records count: whatever else the ring
//! holds of them is superseded. Before, between and after stretches the ordinary records count.

use crate::log::format::UNIT_BYTES;
use crate::log::index::Run;
use crate::types::{FileIndex, Offset, PartitionSlot};

/// A stretch of offsets whose records were carried to one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The partition.
    pub slot: PartitionSlot,
    /// The file that holds the segment.
    pub file: FileIndex,
    unit: u32,
    span: u32,
    /// Bytes of the batches, at most.
    pub bytes: u32,
    /// Records in them, at most.
    pub keys: u32,
    /// The first offset that it covers.
    pub from: Offset,
    /// The newest timestamp in it.
    pub newest_ms: i64,
}

impl Entry {
    /// A stretch that begins with a carried run of the group at `at`.
    pub fn new(file: FileIndex, at: u64, run: &Run) -> Entry {
        Entry {
            slot: run.slot,
            file,
            unit: (at / UNIT_BYTES) as u32,
            span: run.records,
            bytes: run.bytes,
            keys: run.kept,
            from: run.base_offset,
            newest_ms: run.newest_ms,
        }
    }

    /// The offset after the last that it covers.
    pub fn to(&self) -> Offset {
        self.from.plus(self.span)
    }

    /// How many offsets it covers.
    pub fn records(&self) -> u32 {
        self.span
    }

    /// The position of the first group that holds a part of it. The others follow in the same segment.
    pub fn at(&self) -> u64 {
        u64::from(self.unit) * UNIT_BYTES
    }

    fn begin_at(&mut self, from: Offset) {
        self.span = (self.to().0 - from.0) as u32;
        self.from = from;
    }

    fn end_at(&mut self, to: Offset) {
        self.span = (to.0 - self.from.0) as u32;
    }
}

/// The stretches of all partitions of a ring, in order of partition and offset.
pub struct Carried {
    entries: Vec<Entry>,
    max: usize,
    /// While a start looks for them: each, and whether a foot lists it.
    found: Vec<(Entry, bool)>,
}

impl Carried {
    /// An empty list for `max` stretches. What a ring holds may exceed it once, after its
    /// configuration was made smaller.
    pub fn new(max: usize) -> Carried {
        Carried { entries: Vec::with_capacity(max), max, found: Vec::new() }
    }

    /// All of them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether nothing may be written that would add stretches: seven eighths are used.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.max - self.max / 8
    }

    /// Those of one partition, in order of offset.
    pub fn of(&self, slot: PartitionSlot) -> &[Entry] {
        let from = self.entries.partition_point(|entry| entry.slot < slot);
        let to = self.entries.partition_point(|entry| entry.slot <= slot);
        &self.entries[from..to]
    }

    /// The first stretch of a partition that does not end at or before an offset.
    pub fn find(&self, slot: PartitionSlot, offset: Offset) -> Option<&Entry> {
        let entries = self.of(slot);
        entries.get(entries.partition_point(|entry| entry.to() <= offset))
    }

    /// The offset after a partition's last stretch.
    pub fn end(&self, slot: PartitionSlot) -> Option<Offset> {
        self.of(slot).last().map(Entry::to)
    }

    /// Whether consumers get a batch that begins at `first`, from the group at that position of a file:
    /// in a stretch only the stretch's own batches, elsewhere only those that were not carried.
    pub fn shows(
        &self,
        slot: PartitionSlot,
        first: Offset,
        (file, group_at, carried): (FileIndex, u64, bool),
    ) -> bool {
        match self.find(slot, first).filter(|stretch| stretch.from <= first) {
            Some(stretch) => carried && stretch.file == file && stretch.at() <= group_at,
            None => !carried,
        }
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.bytes)).sum()
    }

    /// Records in all of them.
    pub fn keys(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.keys)).sum()
    }

    /// Bytes of those in a file.
    pub fn bytes_in(&self, file: FileIndex) -> u64 {
        let here = self.entries.iter().filter(|entry| entry.file == file);
        here.map(|entry| u64::from(entry.bytes)).sum()
    }

    /// Adds a stretch that was just written; it replaces the others over its offsets.
    pub fn note(&mut self, new: Entry) {
        self.note_or_join(new, true);
    }

    /// `joins`: it may be merged with the stretch before it in the same segment. A reader takes every
    /// run of a merged stretch, so no run that was replaced may be between the two.
    fn note_or_join(&mut self, new: Entry, mut joins: bool) {
        let of_slot = |entry: &Entry| entry.slot == new.slot;
        let before = |entry: &Entry| (entry.slot, entry.to()) <= (new.slot, new.from);
        let mut at = self.entries.partition_point(before);
        if let Some(entry) = self.entries.get_mut(at)
            && of_slot(entry)
            && entry.from < new.from
        {
            let old = *entry;
            joins &= old.file != new.file;
            entry.end_at(new.from);
            at += 1;
            if old.to() > new.to() {
                let mut behind = old;
                behind.begin_at(new.to());
                self.entries.insert(at, behind);
            }
        }
        let mut end = at;
        while let Some(entry) = self.entries.get_mut(end)
            && of_slot(entry)
            && entry.from < new.to()
        {
            joins &= entry.file != new.file;
            if entry.to() > new.to() {
                entry.begin_at(new.to());
                break;
            }
            end += 1;
        }
        self.entries.drain(at..end);
        let last = at.checked_sub(1).and_then(|last| self.entries.get_mut(last));
        if let Some(last) = last
            && joins
            && of_slot(last)
            && last.file == new.file
            && last.to() == new.from
            && last.unit <= new.unit
            && let Some(span) = last.span.checked_add(new.span)
            && let Some(bytes) = last.bytes.checked_add(new.bytes)
        {
            (last.span, last.bytes) = (span, bytes);
            last.keys = last.keys.saturating_add(new.keys);
            last.newest_ms = last.newest_ms.max(new.newest_ms);
            return;
        }
        if self.entries.len() == self.entries.capacity() {
            log::warn!("more stretches of carried records than planned: {}", self.entries.len());
        }
        self.entries.insert(at, new);
    }

    /// Adds the stretches that a start found, in the order of writing, which `place` tells.
    pub(super) fn settle(&mut self, place: &dyn Fn(&Entry) -> (u64, u64)) {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(entry, _)| place(entry));
        for (entry, listed) in found {
            self.note_or_join(entry, !listed);
        }
    }

    /// Keeps one for [`Carried::settle`]. `listed`: it is from a foot, where it was merged already.
    pub(super) fn found(&mut self, entry: Entry, listed: bool) {
        self.found.push((entry, listed));
    }

    /// Removes the stretches in this file.
    pub fn file_removed(&mut self, file: FileIndex) {
        self.entries.retain(|entry| entry.file != file);
        self.found.retain(|(entry, _)| entry.file != file);
    }

    /// Removes the stretches in this file of the partitions for which `cleared` is true: nothing in them
    /// is live any more.
    pub(super) fn file_cleared(
        &mut self,
        file: FileIndex,
        cleared: &dyn Fn(PartitionSlot) -> bool,
    ) {
        self.entries.retain(|entry| entry.file != file || !cleared(entry.slot));
    }

    /// Removes the stretches of this partition.
    pub fn partition_removed(&mut self, slot: PartitionSlot) {
        self.entries.retain(|entry| entry.slot != slot);
        self.found.retain(|(entry, _)| entry.slot != slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PartitionHandle;

    fn entry(file: u16, at: u64, from: i64, to: i64) -> Entry {
        let run = Run {
            slot: PartitionSlot(1),
            handle: PartitionHandle(1),
            base_offset: Offset(from),
            records: (to - from) as u32,
            bytes: 10,
            newest_ms: from,
            kept: 1,
        };
        Entry::new(FileIndex(file), at * UNIT_BYTES, &run)
    }

    fn list(entries: &[Entry]) -> Vec<(i64, i64, u16)> {
        let mut carried = Carried::new(16);
        for other in [0, 2] {
            let slot = PartitionSlot(other);
            carried.note(Entry { slot, ..entry(9, 1, 0, 100) });
        }
        entries.iter().for_each(|entry| carried.note(*entry));
        assert_eq!(carried.entries().len(), carried.of(PartitionSlot(1)).len() + 2);
        let found = carried.of(PartitionSlot(1)).iter();
        found.map(|entry| (entry.from.0, entry.to().0, entry.file.0)).collect()
    }

    #[test]
    fn what_was_written_last_replaces_what_others_say_of_its_offsets() {
        let old = entry(1, 5, 0, 30);
        assert_eq!(list(&[old, entry(2, 1, 0, 30)]), [(0, 30, 2)]);
        assert_eq!(list(&[old, entry(2, 1, 0, 10)]), [(0, 10, 2), (10, 30, 1)]);
        assert_eq!(list(&[old, entry(2, 1, 20, 40)]), [(0, 20, 1), (20, 40, 2)]);
        let middle = [(0, 10, 1), (10, 20, 2), (20, 30, 1)];
        assert_eq!(list(&[old, entry(2, 1, 10, 20)]), middle);
        let all = [old, entry(3, 1, 30, 40), entry(4, 1, 50, 60), entry(2, 1, 5, 55)];
        assert_eq!(list(&all), [(0, 5, 1), (5, 55, 2), (55, 60, 4)]);
    }

    #[test]
    fn stretches_that_follow_each_other_in_one_segment_are_one() {
        assert_eq!(list(&[entry(1, 5, 0, 10), entry(1, 6, 10, 20)]), [(0, 20, 1)]);
        assert_eq!(list(&[entry(1, 5, 0, 10), entry(1, 6, 11, 20)]), [(0, 10, 1), (11, 20, 1)]);
        assert_eq!(list(&[entry(1, 5, 0, 10), entry(1, 4, 10, 20)]), [(0, 10, 1), (10, 20, 1)]);
        assert_eq!(list(&[entry(1, 5, 0, 10), entry(2, 6, 10, 20)]), [(0, 10, 1), (10, 20, 2)]);
    }

    #[test]
    fn nothing_that_was_replaced_lies_within_a_stretch() {
        let replaced = [entry(1, 5, 0, 10), entry(1, 6, 12, 18), entry(1, 7, 10, 20)];
        let apart = [(0, 10, 1), (10, 20, 1)];
        assert_eq!(list(&replaced), apart);
        let mut carried = Carried::new(4);
        for at in [0, 2] {
            carried.found(replaced[at], true);
        }
        carried.settle(&|entry| (0, entry.at()));
        let found = carried.entries().iter();
        assert!(found.map(|e| (e.from.0, e.to().0, e.file.0)).eq(apart));
    }

    #[test]
    fn a_start_finds_the_same_in_whatever_order_it_reads() {
        let entries = [entry(1, 5, 0, 30), entry(2, 1, 5, 10), entry(3, 8, 8, 20)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut carried = Carried::new(4);
            order.iter().for_each(|at| carried.found(entries[*at], false));
            carried.settle(&|entry| (u64::from(entry.file.0), entry.at()));
            let found = carried.entries().iter();
            let found: Vec<_> = found.map(|e| (e.from.0, e.to().0, e.at() / UNIT_BYTES)).collect();
            assert_eq!(found, [(0, 5, 5), (5, 8, 1), (8, 20, 8), (20, 30, 5)]);
            let find = |offset| carried.find(PartitionSlot(1), Offset(offset)).map(|e| e.from.0);
            assert_eq!((find(-1), find(7), find(8), find(30)), (Some(0), Some(5), Some(8), None));
        }
    }
}
