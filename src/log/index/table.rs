//! What a segment has of each partition: ten bytes for each pair.

use super::InSegment;
use crate::types::{FileIndex, Offset, PartitionSlot};

/// By slot and file: as far as slots were ever in use.
pub(super) struct Table {
    files: usize,
    entries: Vec<Entry>,
}

/// The first offset, and the newest timestamp in seconds since 1970, rounded up; what lies beyond either
/// counts as the largest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    first: [u8; FIRST_BYTES],
    newest_s: [u8; 4],
}

impl Table {
    /// Of nothing, with room for this many.
    pub fn new(files: usize, partitions_max: usize) -> Table {
        Table { files, entries: Vec::with_capacity(files * partitions_max) }
    }

    /// The memory that it takes.
    pub fn memory_bytes(files: usize, partitions_max: usize) -> usize {
        files * partitions_max * size_of::<Entry>()
    }

    /// The slot is in use.
    pub fn slot_opened(&mut self, slot: PartitionSlot) {
        let entries = (usize::from(slot.0) + 1) * self.files;
        if entries > self.entries.len() {
            self.entries.resize(entries, ABSENT);
        }
    }

    /// Nothing is left of the slot's partition.
    pub fn slot_cleared(&mut self, slot: PartitionSlot) {
        let row = usize::from(slot.0) * self.files;
        if let Some(row) = self.entries.get_mut(row..row + self.files) {
            row.fill(ABSENT);
        }
    }

    /// Nothing is left in the file.
    pub fn file_cleared(&mut self, file: FileIndex) {
        for row in self.entries.chunks_exact_mut(self.files) {
            row[usize::from(file.0)] = ABSENT;
        }
    }

    /// The file has records from this offset on, with this newest timestamp; its slot is in use.
    pub fn note(&mut self, file: FileIndex, slot: PartitionSlot, first: Offset, newest_ms: i64) {
        let at = usize::from(slot.0) * self.files + usize::from(file.0);
        let entry = &mut self.entries[at];
        let first = first.0.clamp(0, FIRST_MAX);
        let newest_s = seconds(newest_ms);
        let (first, newest_s) = match *entry {
            ABSENT => (first, newest_s),
            there => (first.min(there.first().0), newest_s.max(u32::from_le_bytes(there.newest_s))),
        };
        entry.first.copy_from_slice(&first.to_le_bytes()[..FIRST_BYTES]);
        entry.newest_s = newest_s.to_le_bytes();
    }

    /// What the file has of the slot's partition; none: nothing.
    pub fn get(&self, file: FileIndex, slot: PartitionSlot) -> Option<InSegment> {
        let at = usize::from(slot.0) * self.files + usize::from(file.0);
        let entry = *self.entries.get(at)?;
        if entry == ABSENT {
            return None;
        }
        let newest_ms = millis(u32::from_le_bytes(entry.newest_s));
        Some(InSegment { first: entry.first(), newest_ms })
    }
}

impl Entry {
    fn first(self) -> Offset {
        let mut bytes = [0; 8];
        bytes[..FIRST_BYTES].copy_from_slice(&self.first);
        Offset(i64::from_le_bytes(bytes))
    }
}

/// A timestamp as one that is read back from a [`Table`]: rounded up.
pub(super) fn rounded_up(newest_ms: i64) -> i64 {
    millis(seconds(newest_ms))
}

fn seconds(newest_ms: i64) -> u32 {
    let newest_s = newest_ms.div_euclid(1000) + i64::from(newest_ms.rem_euclid(1000) > 0);
    newest_s.clamp(0, i64::from(u32::MAX)) as u32
}

fn millis(newest_s: u32) -> i64 {
    if newest_s == u32::MAX { i64::MAX } else { i64::from(newest_s) * 1000 }
}

const FIRST_BYTES: usize = 6;

/// A partition gets there after nine years of a million records a second.
const FIRST_MAX: i64 = (1 << (FIRST_BYTES as u32 * u8::BITS)) - 2;

const ABSENT: Entry = Entry { first: [u8::MAX; FIRST_BYTES], newest_s: [u8::MAX; 4] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_exact_and_timestamps_to_the_second_and_never_older() {
        for (first, newest_ms, got_first, got_newest_ms) in [
            (0, 0, 0, 0),
            (1, 1, 1, 1000),
            (281_474_976_710_654, 1000, 281_474_976_710_654, 1000),
            (281_474_976_710_655, 1001, 281_474_976_710_654, 2000),
            (i64::MAX, -1, 281_474_976_710_654, 0),
            (7, i64::MIN, 7, 0),
            (8, 4_294_967_294_000, 8, 4_294_967_294_000),
            (9, 4_294_967_294_001, 9, i64::MAX),
            (10, i64::MAX, 10, i64::MAX),
        ] {
            let mut table = Table::new(2, 2);
            table.slot_opened(PartitionSlot(1));
            table.note(FileIndex(1), PartitionSlot(1), Offset(first), newest_ms);
            let expected = InSegment { first: Offset(got_first), newest_ms: got_newest_ms };
            assert_eq!(table.get(FileIndex(1), PartitionSlot(1)), Some(expected));
            assert_eq!(rounded_up(newest_ms), got_newest_ms);
            assert_eq!(table.get(FileIndex(0), PartitionSlot(1)), None);
            assert_eq!(table.get(FileIndex(1), PartitionSlot(0)), None);
        }
    }

    #[test]
    fn the_lowest_offset_and_the_newest_timestamp_stay() {
        let (file, slot) = (FileIndex(0), PartitionSlot(0));
        let mut table = Table::new(1, 1);
        table.slot_opened(slot);
        for (first, newest_ms) in [(500, 7000), (300, 9000), (400, 8000)] {
            table.note(file, slot, Offset(first), newest_ms);
        }
        let expected = InSegment { first: Offset(300), newest_ms: 9000 };
        assert_eq!(table.get(file, slot), Some(expected));
        table.file_cleared(file);
        assert_eq!(table.get(file, slot), None);
        table.note(file, slot, Offset(900), 1000);
        table.slot_cleared(slot);
        assert_eq!(table.get(file, slot), None);
        table.slot_cleared(PartitionSlot(1));
    }
}
