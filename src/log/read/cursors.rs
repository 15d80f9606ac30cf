//! Where consumers continue: a bounded table of (partition, next offset) → place.

use crate::log::index::Place;
use crate::types::{Offset, PartitionHandle, SegmentSeq};

/// Where the batch with an offset is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// A group; the batch is in it or behind it.
    pub place: Place,
    /// Bytes of the partition's run in that group that were read before.
    pub skip: u32,
    /// The group is one of carried runs.
    pub carried: bool,
}

/// The table. Entries need no clean-up: handles and segments are never used twice, so one that is
/// out of date is only forgotten when its place is needed.
pub struct Cursors {
    /// [`Entry`]s as numbers, which are allocated as zeroes without being touched.
    entries: Vec<[u64; 4]>,
    /// Searches that found their place here.
    pub hits: u64,
    /// Searches that did not.
    pub misses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    handle: PartitionHandle,
    skip: u32,
    offset: Offset,
    place: Place,
}

impl Cursors {
    /// A table for about `count` consumers' partitions.
    pub fn new(count: usize) -> Cursors {
        let sets = count.div_ceil(WAYS).max(1).next_power_of_two();
        Cursors { entries: vec![[0; 4]; sets * WAYS], hits: 0, misses: 0 }
    }

    /// The memory that such a table takes.
    pub fn memory_bytes(count: usize) -> usize {
        count.div_ceil(WAYS).max(1).next_power_of_two() * WAYS * size_of::<[u64; 4]>()
    }

    /// Where to look for `offset`.
    pub fn get(&mut self, handle: PartitionHandle, offset: Offset) -> Option<Cursor> {
        let set = self.set(handle, offset);
        let found = find(set, handle, offset);
        let Some(at) = found else {
            self.misses += 1;
            return None;
        };
        // The first of a set is the one used last; the last of it goes when a new one comes.
        set[..=at].rotate_right(1);
        let entry = Entry::of(&set[0]);
        self.hits += 1;
        let (skip, carried) = (entry.skip & !CARRIED, entry.skip & CARRIED != 0);
        Some(Cursor { place: entry.place, skip, carried })
    }

    /// Whoever reads `offset` next should look there.
    pub fn put(&mut self, handle: PartitionHandle, offset: Offset, cursor: Cursor) {
        let set = self.set(handle, offset);
        let found = find(set, handle, offset);
        let at = found.unwrap_or(WAYS - 1);
        set[..=at].rotate_right(1);
        let skip = cursor.skip | if cursor.carried { CARRIED } else { 0 };
        set[0] = Entry { handle, skip, offset, place: cursor.place }.numbers();
    }

    fn set(&mut self, handle: PartitionHandle, offset: Offset) -> &mut [[u64; 4]] {
        let mixed = (offset.0 as u64 ^ (u64::from(handle.0) << 40)).wrapping_mul(MIX);
        let sets = self.entries.len() / WAYS;
        let set = (mixed >> 32) as usize & (sets - 1);
        &mut self.entries[set * WAYS..][..WAYS]
    }
}

impl Entry {
    fn numbers(&self) -> [u64; 4] {
        let first = u64::from(self.handle.0) << 32 | u64::from(self.skip);
        [first, self.offset.0.cast_unsigned(), self.place.seq.0, self.place.at]
    }

    fn of(numbers: &[u64; 4]) -> Entry {
        let [first, offset, seq, at] = *numbers;
        Entry {
            handle: PartitionHandle((first >> 32) as u32),
            skip: first as u32,
            offset: Offset(offset.cast_signed()),
            place: Place { seq: SegmentSeq(seq), at },
        }
    }
}

/// No partition has handle 0, so that an empty entry is never found.
fn find(set: &[[u64; 4]], handle: PartitionHandle, offset: Offset) -> Option<usize> {
    let mut entries = set.iter().map(Entry::of);
    entries.position(|entry| entry.handle == handle && entry.offset == offset)
}

const WAYS: usize = 4;

/// A bit of an entry's `skip`: no run is so long.
const CARRIED: u32 = 1 << 31;

/// An odd number with bits all over, which spreads neighbouring offsets.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_finds_where_it_stopped_until_others_need_the_place() {
        let mut cursors = Cursors::new(16);
        let place = |at| Place { seq: SegmentSeq(1), at };
        let cursor = |at| Cursor { place: place(at), skip: 7, carried: at == 2 };
        cursors.put(PartitionHandle(1), Offset(5), cursor(1));
        cursors.put(PartitionHandle(1), Offset(5), cursor(2));
        assert_eq!(cursors.get(PartitionHandle(1), Offset(5)), Some(cursor(2)));
        assert_eq!(cursors.get(PartitionHandle(2), Offset(5)), None);
        assert_eq!(cursors.get(PartitionHandle(1), Offset(6)), None);
        for offset in 100..200 {
            cursors.put(PartitionHandle(3), Offset(offset), cursor(3));
        }
        assert_eq!(cursors.get(PartitionHandle(1), Offset(5)), None);
        assert_eq!((cursors.hits, cursors.misses), (1, 3));
    }
}
