//! Where in a ring a partition's batches are.
//!
//! Kept per segment and partition: the first offset and the newest timestamp. Kept per block of
//! [`limits::BLOCK_BYTES`]: where the first group that starts in it stands, and a small bitmap of the
//! partitions in the groups that start in it. Kept per partition: its newest run. A reader learns the
//! rest from the groups' directories. All memory is taken at the start, but touched only as slots and
//! files come into use; the first two kinds are written into the segment's foot, so that a start reads
//! feet and one open segment.

use crate::limits;
use crate::types::{FileIndex, Offset, PartitionHandle, PartitionSlot, SegmentSeq};

/// One partition's batches in one commit group: contiguous, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The partition's place in the table.
    pub slot: PartitionSlot,
    /// The partition's name on flash.
    pub handle: PartitionHandle,
    /// The first record's offset.
    pub base_offset: Offset,
    /// How many records.
    pub records: u32,
    /// Bytes of the batches.
    pub bytes: u32,
    /// The newest timestamp in them.
    pub newest_ms: i64,
}

/// What is known of a partition in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InSegment {
    /// The first offset in it.
    pub first: Offset,
    /// The newest timestamp in it.
    pub newest_ms: i64,
}

/// A place in a ring where a group starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment.
    pub seq: SegmentSeq,
    /// The position in it.
    pub at: u64,
}

/// A foot's index that cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBroken;

/// The index of one ring.
pub struct Index {
    files: usize,
    partitions: usize,
    blocks: usize,
    /// The live segments, oldest first.
    segments: Vec<(SegmentSeq, FileIndex)>,
    /// By slot and file: as far as slots were ever in use.
    in_segments: Vec<InSegment>,
    /// By file and block.
    bitmaps: Vec<u64>,
    /// By file and block, as far as files were ever in use: in units, or [`NO_GROUP`].
    starts: Vec<u32>,
    /// By slot, as far as slots were ever in use; 0: no run of it was seen.
    handles: Vec<PartitionHandle>,
    /// By slot, as `handles`.
    newest: Vec<Newest>,
    /// By slot: bytes synced that nobody took note of yet.
    fresh_bytes: Vec<u32>,
    /// The slots with such bytes.
    fresh: Vec<PartitionSlot>,
    overwriting: Overwriting,
}

/// How it stands with what was evicted, whose log starts move with the head that is written over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overwriting {
    Nothing,
    /// That head is on its way.
    Begun,
    /// A head did not reach the flash.
    Fails,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    base: Offset,
    place: Place,
}

impl Index {
    /// An empty index for `files` segment files of `segment_bytes`; allocates all it will ever need.
    pub fn new(files: usize, segment_bytes: u64, partitions_max: usize) -> Index {
        assert!(files <= limits::SEGMENTS_MAX);
        let blocks = blocks_of(segment_bytes);
        Index {
            files,
            partitions: partitions_max,
            blocks,
            segments: Vec::with_capacity(files),
            in_segments: Vec::with_capacity(files * partitions_max),
            bitmaps: vec![0; files * blocks],
            starts: Vec::with_capacity(files * blocks),
            handles: Vec::with_capacity(partitions_max),
            newest: Vec::with_capacity(partitions_max),
            fresh_bytes: vec![0; partitions_max],
            fresh: Vec::with_capacity(partitions_max),
            overwriting: Overwriting::Nothing,
        }
    }

    /// The memory that such an index takes.
    pub fn memory_bytes(files: usize, segment_bytes: u64, partitions_max: usize) -> usize {
        let per_file = size_of::<(SegmentSeq, FileIndex)>()
            + partitions_max * size_of::<InSegment>()
            + blocks_of(segment_bytes) * 12;
        files * per_file + partitions_max * (4 + size_of::<Newest>() + 4 + 2)
    }

    /// The file holds this segment from now on, and nothing is known of it yet.
    pub fn segment_opened(&mut self, file: FileIndex, seq: SegmentSeq) {
        self.segment_evicted(file);
        let at = self.segments.partition_point(|(other, _)| *other < seq);
        self.segments.insert(at, (seq, file));
        let starts = (usize::from(file.0) + 1) * self.blocks;
        self.starts.resize(self.starts.len().max(starts), NO_GROUP);
    }

    /// A group that starts at `at` of the file is on flash, and holds these runs. Groups of a file
    /// come in ascending order.
    pub fn group_synced(&mut self, file: FileIndex, at: u64, runs: impl Iterator<Item = Run>) {
        let Some(seq) = self.seq_of(file) else {
            debug_assert!(false, "a group in a segment that was not opened");
            return;
        };
        let block = self.block(file, at);
        if self.starts[block] == NO_GROUP {
            self.starts[block] = (at / UNIT_BYTES) as u32;
        }
        for run in runs {
            self.bitmaps[block] |= bit_of(run.handle);
            self.run_note(file, &run);
            let newest = &mut self.newest[usize::from(run.slot.0)];
            if run.base_offset >= newest.base {
                newest.base = run.base_offset;
                newest.place = Place { seq, at };
            }
            self.fresh_note(run.slot, run.bytes);
        }
    }

    /// A partition has so many more bytes to see.
    pub fn fresh_note(&mut self, slot: PartitionSlot, more: u32) {
        let bytes = &mut self.fresh_bytes[usize::from(slot.0)];
        if *bytes == 0 && more > 0 {
            self.fresh.push(slot);
        }
        *bytes = bytes.saturating_add(more);
    }

    /// A partition with bytes that were synced since it was last given here, and how many: those
    /// who wait for it may go on. None: no more.
    pub fn fresh_take(&mut self) -> Option<(PartitionSlot, u32)> {
        let slot = self.fresh.pop()?;
        let bytes = std::mem::take(&mut self.fresh_bytes[usize::from(slot.0)]);
        Some((slot, bytes))
    }

    /// The file's segment is gone.
    pub fn segment_evicted(&mut self, file: FileIndex) {
        self.overwriting = Overwriting::Begun;
        self.segments.retain(|(_, other)| *other != file);
        let file = usize::from(file.0);
        for row in self.in_segments.chunks_exact_mut(self.files) {
            row[file] = ABSENT;
        }
        // A file that was never in use has no rows yet.
        if let Some(starts) = self.starts.get_mut(file * self.blocks..(file + 1) * self.blocks) {
            starts.fill(NO_GROUP);
            self.bitmaps[file * self.blocks..][..self.blocks].fill(0);
        }
    }

    /// Log starts are behind what was evicted.
    pub fn log_starts_moved(&mut self) {
        self.overwriting = Overwriting::Nothing;
    }

    /// A head did not reach the flash: when log starts move is open.
    pub fn overwriting_fails(&mut self) {
        if self.overwriting == Overwriting::Begun {
            self.overwriting = Overwriting::Fails;
        }
    }

    /// Whether an offset, at or above its partition's log start, is being overwritten: that moves a
    /// moment later, or stays where the disk fails.
    pub fn is_overwritten(&self, slot: PartitionSlot, offset: Offset) -> bool {
        let overwriting = self.overwriting != Overwriting::Nothing;
        overwriting && self.first_offset(slot).is_none_or(|first| offset < first)
    }

    /// Whether the log start behind such an offset moves in a moment: where the disk fails, nobody should
    /// wait for it.
    pub fn is_moving(&self, slot: PartitionSlot, offset: Offset) -> bool {
        self.overwriting == Overwriting::Begun && self.is_overwritten(slot, offset)
    }

    /// The partition is gone; its slot may be given to another one.
    pub fn partition_removed(&mut self, slot: PartitionSlot) {
        let slot = usize::from(slot.0);
        if slot < self.handles.len() {
            self.handles[slot] = PartitionHandle(0);
            self.newest[slot] = NO_RUN;
            self.in_segments[slot * self.files..][..self.files].fill(ABSENT);
        }
    }

    /// The live segments, oldest first.
    pub fn segments(&self) -> &[(SegmentSeq, FileIndex)] {
        &self.segments
    }

    /// The file that holds a segment.
    pub fn file_of(&self, seq: SegmentSeq) -> Option<FileIndex> {
        let at = self.segments.binary_search_by_key(&seq, |(seq, _)| *seq);
        Some(self.segments.get(at.ok()?)?.1)
    }

    /// The segment that a file holds.
    pub fn seq_of(&self, file: FileIndex) -> Option<SegmentSeq> {
        let entry = self.segments.iter().rev().find(|entry| entry.1 == file);
        entry.map(|(seq, _)| *seq)
    }

    /// What is known of a partition in a file's segment; none: it is not in it.
    pub fn in_segment(&self, file: FileIndex, slot: PartitionSlot) -> Option<InSegment> {
        let at = usize::from(slot.0) * self.files + usize::from(file.0);
        let entry = *self.in_segments.get(at)?;
        (entry != ABSENT).then_some(entry)
    }

    /// The segment where a search for `offset` starts: the newest that begins at or below it, else
    /// the oldest that has anything of the partition.
    pub fn segment_for(&self, slot: PartitionSlot, offset: Offset) -> Option<SegmentSeq> {
        let mut oldest = None;
        for (seq, file) in self.segments.iter().rev() {
            if let Some(entry) = self.in_segment(*file, slot) {
                if entry.first <= offset {
                    return Some(*seq);
                }
                oldest = Some(*seq);
            }
        }
        oldest
    }

    /// The offset behind a partition's last record in a file's segment, which begins with `first`,
    /// as far as later segments tell; none: they have nothing of it.
    pub fn end_in(&self, file: FileIndex, slot: PartitionSlot, first: Offset) -> Option<Offset> {
        let seq = self.seq_of(file)?;
        let from = self.segments.partition_point(|(other, _)| *other <= seq);
        let later =
            self.segments[from..].iter().filter_map(|(_, file)| self.in_segment(*file, slot));
        // A copy of what is older says nothing.
        later.map(|there| there.first).find(|other| *other > first)
    }

    /// The next segment after `seq` that has anything of the partition.
    pub fn segment_after(&self, slot: PartitionSlot, seq: SegmentSeq) -> Option<SegmentSeq> {
        let from = self.segments.partition_point(|(other, _)| *other <= seq);
        let mut later = self.segments[from..].iter();
        later.find(|(_, file)| self.in_segment(*file, slot).is_some()).map(|(seq, _)| *seq)
    }

    /// The partition's newest run, if its segment is live: its first offset and its group.
    pub fn newest_run(&self, slot: PartitionSlot) -> Option<(Offset, Place)> {
        let newest = self.newest.get(usize::from(slot.0))?;
        self.file_of(newest.place.seq)?;
        Some((newest.base, newest.place))
    }

    /// The first offset of a partition that is left.
    pub fn first_offset(&self, slot: PartitionSlot) -> Option<Offset> {
        let mut oldest = self.segments.iter();
        oldest.find_map(|(_, file)| self.in_segment(*file, slot)).map(|entry| entry.first)
    }

    /// How many blocks a segment has.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The block that a position lies in.
    pub fn block_at(at: u64) -> usize {
        (at / limits::BLOCK_BYTES as u64) as usize
    }

    /// Where the first group in a block stands, if one starts there and a partition with this handle
    /// may be in the groups that do.
    pub fn block_start(
        &self,
        file: FileIndex,
        block: usize,
        handle: PartitionHandle,
    ) -> Option<u64> {
        if block >= self.blocks {
            return None;
        }
        let at = usize::from(file.0) * self.blocks + block;
        let start = *self.starts.get(at)?;
        (start != NO_GROUP && self.bitmaps[at] & bit_of(handle) != 0)
            .then_some(u64::from(start) * UNIT_BYTES)
    }

    /// Where the first group stands that starts in a block from `block` on, whatever is in it.
    pub fn group_from(&self, file: FileIndex, block: usize) -> Option<u64> {
        let from = block.min(self.blocks);
        let row = usize::from(file.0) * self.blocks;
        let starts = self.starts.get(row + from..row + self.blocks)?;
        let start = starts.iter().find(|start| **start != NO_GROUP)?;
        Some(u64::from(*start) * UNIT_BYTES)
    }

    /// The most bytes that [`Index::index_write`] takes.
    pub fn index_bytes_max(segment_bytes: u64, partitions_max: usize) -> usize {
        HEAD_BYTES + partitions_max * ENTRY_BYTES + blocks_of(segment_bytes) * BLOCK_ENTRY_BYTES
    }

    /// Writes what is known of the file's segment, for its foot; gives the length. `out` holds at
    /// least [`Index::index_bytes_max`].
    pub fn index_write(&self, file: FileIndex, out: &mut [u8]) -> usize {
        let mut at = HEAD_BYTES;
        let mut count = 0u32;
        for (slot, handle) in self.handles.iter().enumerate() {
            if let Some(entry) = self.in_segment(file, PartitionSlot(slot as u16)) {
                let bytes = &mut out[at..at + ENTRY_BYTES];
                bytes[..4].copy_from_slice(&handle.0.to_le_bytes());
                bytes[4..8].fill(0);
                bytes[8..16].copy_from_slice(&entry.first.0.to_le_bytes());
                bytes[16..].copy_from_slice(&entry.newest_ms.to_le_bytes());
                at += ENTRY_BYTES;
                count += 1;
            }
        }
        let from = usize::from(file.0) * self.blocks;
        for block in from..from + self.blocks {
            let bytes = &mut out[at..at + BLOCK_ENTRY_BYTES];
            bytes[..8].copy_from_slice(&self.bitmaps[block].to_le_bytes());
            bytes[8..12].copy_from_slice(&self.starts[block].to_le_bytes());
            bytes[12..].fill(0);
            at += BLOCK_ENTRY_BYTES;
        }
        out[..4].copy_from_slice(&count.to_le_bytes());
        out[4..8].copy_from_slice(&(self.blocks as u32).to_le_bytes());
        at
    }

    /// Takes back what [`Index::index_write`] wrote, for a segment that was opened and has nothing
    /// yet. Handles that `slot_of` does not know are of deleted topics. On an error nothing was taken,
    /// and the segment's groups have to be walked instead.
    pub fn index_read(
        &mut self,
        file: FileIndex,
        bytes: &[u8],
        slot_of: &dyn Fn(PartitionHandle) -> Option<PartitionSlot>,
    ) -> Result<(), IndexBroken> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(IndexBroken)?;
        let (entries, blocks) = (le_u32(head, 0), le_u32(head, 4));
        let entries = (entries as usize).checked_mul(ENTRY_BYTES);
        let (entries, rest) =
            rest.split_at_checked(entries.ok_or(IndexBroken)?).ok_or(IndexBroken)?;
        if blocks as usize != self.blocks || rest.len() < self.blocks * BLOCK_ENTRY_BYTES {
            return Err(IndexBroken);
        }
        let last = (self.blocks * limits::BLOCK_BYTES) as u64 / UNIT_BYTES;
        for (block, entry) in rest.chunks_exact(BLOCK_ENTRY_BYTES).enumerate() {
            let start = le_u32(entry, 8);
            let inside = Index::block_at(u64::from(start) * UNIT_BYTES) == block;
            if block < self.blocks && start != NO_GROUP && (u64::from(start) >= last || !inside) {
                return Err(IndexBroken);
            }
        }
        let row = usize::from(file.0) * self.blocks;
        let blocks = rest.chunks_exact(BLOCK_ENTRY_BYTES).take(self.blocks);
        for (block, entry) in blocks.enumerate() {
            self.bitmaps[row + block] = le_u64(entry, 0);
            self.starts[row + block] = le_u32(entry, 8);
        }
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let handle = PartitionHandle(le_u32(entry, 0));
            if let Some(slot) = slot_of(handle) {
                let run = Run {
                    slot,
                    handle,
                    base_offset: Offset(le_u64(entry, 8) as i64),
                    records: 0,
                    bytes: 0,
                    newest_ms: le_u64(entry, 16) as i64,
                };
                self.run_note(file, &run);
            }
        }
        Ok(())
    }

    fn run_note(&mut self, file: FileIndex, run: &Run) {
        let slot = usize::from(run.slot.0);
        if slot >= self.handles.len() {
            assert!(slot < self.partitions, "a slot beyond the table of partitions");
            self.handles.resize(slot + 1, PartitionHandle(0));
            self.newest.resize(slot + 1, NO_RUN);
            self.in_segments.resize((slot + 1) * self.files, ABSENT);
        }
        self.handles[slot] = run.handle;
        let entry = &mut self.in_segments[slot * self.files + usize::from(file.0)];
        entry.first = entry.first.min(run.base_offset);
        entry.newest_ms = entry.newest_ms.max(run.newest_ms);
    }

    fn block(&self, file: FileIndex, at: u64) -> usize {
        let block = Index::block_at(at);
        assert!(block < self.blocks, "a group outside its segment");
        usize::from(file.0) * self.blocks + block
    }
}

fn blocks_of(segment_bytes: u64) -> usize {
    segment_bytes.div_ceil(limits::BLOCK_BYTES as u64) as usize
}

/// Handles are given one after the other, so their low bits spread best.
fn bit_of(handle: PartitionHandle) -> u64 {
    1 << (handle.0 % u64::BITS)
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| u32::from_le_bytes(*piece))
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    let piece = bytes.get(at..).and_then(<[u8]>::first_chunk);
    piece.map_or(0, |piece| u64::from_le_bytes(*piece))
}

/// Group starts are multiples of this, with every alignment.
const UNIT_BYTES: u64 = 512;

/// No group starts in the block.
const NO_GROUP: u32 = u32::MAX;

const ABSENT: InSegment = InSegment { first: Offset(i64::MAX), newest_ms: i64::MIN };

const NO_RUN: Newest =
    Newest { base: Offset::NONE, place: Place { seq: SegmentSeq(u64::MAX), at: 0 } };

const HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 24;
const BLOCK_ENTRY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 4 << 20;
    const BLOCK: u64 = limits::BLOCK_BYTES as u64;

    fn run(slot: u16, base: i64, records: u32) -> Run {
        Run {
            slot: PartitionSlot(slot),
            handle: PartitionHandle(u32::from(slot) + 10),
            base_offset: Offset(base),
            records,
            bytes: 100,
            newest_ms: base * 10,
        }
    }

    fn filled() -> Index {
        let mut index = Index::new(4, SEGMENT, 8);
        index.segment_opened(FileIndex(2), SegmentSeq(5));
        index.group_synced(FileIndex(2), 4096, [run(0, 0, 5), run(1, 7, 1)].into_iter());
        index.group_synced(FileIndex(2), BLOCK * 3, [run(0, 5, 5)].into_iter());
        index.segment_opened(FileIndex(0), SegmentSeq(6));
        index.group_synced(FileIndex(0), 8192, [run(0, 10, 5)].into_iter());
        index
    }

    #[test]
    fn a_search_starts_in_the_newest_segment_that_begins_at_or_below_the_offset() {
        let index = filled();
        let segment = |slot, offset| index.segment_for(PartitionSlot(slot), Offset(offset));
        assert_eq!(segment(0, 0), Some(SegmentSeq(5)));
        assert_eq!(segment(0, 9), Some(SegmentSeq(5)));
        assert_eq!(segment(0, 10), Some(SegmentSeq(6)));
        assert_eq!(segment(0, 99), Some(SegmentSeq(6)));
        assert_eq!(segment(1, 3), Some(SegmentSeq(5)), "behind a gap");
        assert_eq!(segment(2, 0), None);
        let after = index.segment_after(PartitionSlot(0), SegmentSeq(5));
        assert_eq!(after, Some(SegmentSeq(6)));
        assert_eq!(index.segment_after(PartitionSlot(1), SegmentSeq(5)), None);
    }

    #[test]
    fn blocks_say_which_partitions_are_not_in_them() {
        let index = filled();
        let start =
            |block, slot: u32| index.block_start(FileIndex(2), block, PartitionHandle(slot + 10));
        assert_eq!(start(0, 0), Some(4096));
        assert_eq!(start(0, 1), Some(4096));
        assert_eq!(start(0, 2), None);
        assert_eq!(start(1, 0), None);
        assert_eq!(start(3, 0), Some(BLOCK * 3));
        assert_eq!(start(3, 1), None);
        assert_eq!(start(4096, 0), None);
        assert_eq!(index.group_from(FileIndex(2), 1), Some(BLOCK * 3));
        assert_eq!(index.group_from(FileIndex(2), 4), None);
    }

    #[test]
    fn the_newest_run_is_forgotten_with_its_segment_and_with_its_partition() {
        let mut index = filled();
        let place = Place { seq: SegmentSeq(6), at: 8192 };
        assert_eq!(index.newest_run(PartitionSlot(0)), Some((Offset(10), place)));
        index.segment_evicted(FileIndex(0));
        assert_eq!(index.newest_run(PartitionSlot(0)), None);
        assert_eq!(index.segment_for(PartitionSlot(0), Offset(99)), Some(SegmentSeq(5)));
        assert!(index.newest_run(PartitionSlot(1)).is_some());
        index.partition_removed(PartitionSlot(1));
        assert_eq!(index.newest_run(PartitionSlot(1)), None);
        assert_eq!(index.segment_for(PartitionSlot(1), Offset(7)), None);
    }

    #[test]
    fn fresh_bytes_of_a_partition_are_added_up_and_given_once() {
        let mut index = filled();
        let mut taken = [index.fresh_take(), index.fresh_take()];
        taken.sort();
        let expected = [(PartitionSlot(0), 300), (PartitionSlot(1), 100)];
        assert_eq!(taken, expected.map(Some));
        assert_eq!(index.fresh_take(), None);
        index.group_synced(FileIndex(0), BLOCK, [run(0, 15, 1)].into_iter());
        assert_eq!(index.fresh_take(), Some((PartitionSlot(0), 100)));
    }

    #[test]
    fn a_foot_brings_back_what_was_written() {
        let index = filled();
        let mut bytes = vec![0xaa; Index::index_bytes_max(SEGMENT, 8)];
        let length = index.index_write(FileIndex(2), &mut bytes);
        assert_eq!(length, 8 + 2 * 24 + 64 * 16);
        let mut again = Index::new(4, SEGMENT, 8);
        again.segment_opened(FileIndex(1), SegmentSeq(5));
        // Another start: the handles may stand in other slots, and one topic is gone.
        let slot_of = |handle| (handle == PartitionHandle(11)).then_some(PartitionSlot(6));
        assert_eq!(again.index_read(FileIndex(1), &bytes[..length], &slot_of), Ok(()));
        let entry = again.in_segment(FileIndex(1), PartitionSlot(6)).unwrap();
        assert_eq!((entry.first, entry.newest_ms), (Offset(7), 70));
        assert_eq!(again.block_start(FileIndex(1), 0, PartitionHandle(11)), Some(4096));
        assert_eq!(again.block_start(FileIndex(1), 3, PartitionHandle(11)), None);
        assert_eq!(again.segment_for(PartitionSlot(0), Offset(0)), None);
    }

    #[test]
    fn a_broken_foot_is_refused_whole() {
        let index = filled();
        let mut bytes = vec![0; Index::index_bytes_max(SEGMENT, 8)];
        let length = index.index_write(FileIndex(2), &mut bytes);
        let mut again = Index::new(4, SEGMENT, 8);
        again.segment_opened(FileIndex(1), SegmentSeq(5));
        let slot_of = |_| Some(PartitionSlot(0));
        for cut in 0..length {
            let result = again.index_read(FileIndex(1), &bytes[..cut], &slot_of);
            assert_eq!(result, Err(IndexBroken), "{cut}");
        }
        let start = 8 + 2 * 24 + 3 * 16 + 8;
        bytes[start] ^= 0xff;
        bytes[start + 1] ^= 0xff;
        let result = again.index_read(FileIndex(1), &bytes[..length], &slot_of);
        assert_eq!(result, Err(IndexBroken));
        assert_eq!(again.in_segment(FileIndex(1), PartitionSlot(0)), None);
        bytes[..4].fill(0xff);
        let result = again.index_read(FileIndex(1), &bytes[..length], &slot_of);
        assert_eq!(result, Err(IndexBroken));
    }
}
