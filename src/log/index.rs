//! Where in a ring a partition's batches are.
//!
//! Kept per segment and partition: the first offset and, to the second, the newest timestamp. Kept per
//! [block](blocks): where the first group in it starts, and a small bitmap of the
//! partitions in the groups that start in it. Kept per partition: its newest run. A reader learns the
//! rest from the groups' directories. Carried records are apart, in [`Carried`]. All memory is taken
//! at the start, but touched only as slots and files come into use; what is known of a segment is written
//! into its foot ([`foot`]), so that a start reads feet and one open segment.

mod blocks;
mod foot;
mod table;

use crate::limits;
use crate::log::carried::{Carried, Entry};
use crate::log::state::State;
use crate::types::{FileIndex, Offset, PartitionHandle, PartitionSlot, SegmentSeq};
use blocks::{Blocks, bit_of};
use table::Table;

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
    /// Of a carried run: how many records its batches hold; else 0.
    pub kept: u32,
}

/// What is known of a partition in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InSegment {
    /// The first offset in it.
    pub first: Offset,
    /// The newest timestamp in it, rounded up to a second, and not before 1970.
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

/// A foot's index is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexBroken;

/// The index of one ring.
pub struct Index {
    partitions: usize,
    /// The live segments, oldest first.
    segments: Vec<(SegmentSeq, FileIndex)>,
    /// By file: the live segment that it holds, or [`NO_SEGMENT`].
    seqs: Vec<SegmentSeq>,
    in_segments: Table,
    blocks: Blocks,
    /// By slot, as far as slots were ever in use; 0: no run of it was seen.
    handles: Vec<PartitionHandle>,
    /// By slot, as `handles`.
    newest: Vec<Newest>,
    /// By slot: synced bytes that [`Index::fresh_take`] has not given yet.
    fresh_bytes: Vec<u32>,
    /// The slots with such bytes.
    fresh: Vec<PartitionSlot>,
    overwriting: Overwriting,
    /// Carried records.
    carried: Carried,
    /// By file: bytes of compacted partitions that no pass has read yet.
    dirty_bytes: Vec<u32>,
}

/// Whether evicted records are still above their log start offsets, which move once the head that
/// overwrites them is on flash.
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
    pub fn new(
        files: usize,
        segment_bytes: u64,
        partitions_max: usize,
        stretches_max: usize,
    ) -> Index {
        assert!(files <= limits::SEGMENTS_MAX);
        Index {
            partitions: partitions_max,
            segments: Vec::with_capacity(files),
            seqs: vec![NO_SEGMENT; files],
            in_segments: Table::new(files, partitions_max),
            blocks: Blocks::new(files, segment_bytes),
            handles: Vec::with_capacity(partitions_max),
            newest: Vec::with_capacity(partitions_max),
            fresh_bytes: vec![0; partitions_max],
            fresh: Vec::with_capacity(partitions_max),
            overwriting: Overwriting::Nothing,
            carried: Carried::new(stretches_max),
            dirty_bytes: vec![0; files],
        }
    }

    /// The memory that such an index takes.
    pub fn memory_bytes(
        files: usize,
        segment_bytes: u64,
        partitions_max: usize,
        stretches_max: usize,
    ) -> usize {
        files * (size_of::<(SegmentSeq, FileIndex)>() + size_of::<SegmentSeq>() + size_of::<u32>())
            + Table::memory_bytes(files, partitions_max)
            + Blocks::memory_bytes(files, segment_bytes)
            + partitions_max * (4 + size_of::<Newest>() + 4 + 2)
            + stretches_max * size_of::<Entry>()
    }

    /// The file holds this segment from now on, and nothing is known of it yet.
    pub fn segment_opened(&mut self, file: FileIndex, seq: SegmentSeq) {
        self.segment_evicted(file);
        let at = self.segments.partition_point(|(other, _)| *other < seq);
        self.segments.insert(at, (seq, file));
        self.seqs[usize::from(file.0)] = seq;
        self.blocks.file_opened(file);
    }

    /// A group that starts at `at` of the file is on flash, and holds these runs. Groups of a file
    /// come in ascending order.
    pub fn group_synced(&mut self, file: FileIndex, at: u64, runs: impl Iterator<Item = Run>) {
        let Some(seq) = self.seq_of(file) else {
            debug_assert!(false, "a group in a segment that was not opened");
            return;
        };
        let mut bits = 0;
        for run in runs {
            bits |= bit_of(run.handle);
            self.run_note(file, &run);
            let newest = &mut self.newest[usize::from(run.slot.0)];
            if run.base_offset >= newest.base {
                newest.base = run.base_offset;
                newest.place = Place { seq, at };
            }
            self.fresh_note(run.slot, run.bytes);
        }
        *self.blocks.note(file, at) |= bits;
    }

    /// A group of carried runs that starts at `at` of the file is on flash.
    pub fn group_carried(&mut self, file: FileIndex, at: u64, runs: impl Iterator<Item = Run>) {
        let mut bits = 0;
        for run in runs {
            bits |= bit_of(run.handle);
            self.slot_open(run.slot, run.handle);
            self.carried.note(Entry::new(file, at, &run));
        }
        *self.blocks.note(file, at) |= bits;
    }

    /// The same for a group that a start finds: it knows the order only when all are found.
    pub(super) fn group_found_carried(
        &mut self,
        file: FileIndex,
        at: u64,
        runs: impl Iterator<Item = Run>,
    ) {
        let mut bits = 0;
        for run in runs {
            bits |= bit_of(run.handle);
            self.slot_open(run.slot, run.handle);
            self.carried.found(Entry::new(file, at, &run), false);
        }
        *self.blocks.note(file, at) |= bits;
    }

    /// The carried records.
    pub fn carried(&self) -> &Carried {
        &self.carried
    }

    /// Puts the carried stretches in order, once a start has found all of them.
    pub(super) fn carried_settle(&mut self) {
        let seqs = &self.seqs;
        let seq_of = |file: FileIndex| seqs.get(usize::from(file.0)).filter(|s| **s != NO_SEGMENT);
        self.carried.settle(&|entry| (seq_of(entry.file).map_or(0, |seq| seq.0), entry.at()));
    }

    /// Bytes of compacted partitions in a file that no pass has read.
    pub fn dirty_bytes(&self, file: FileIndex) -> u64 {
        self.dirty_bytes.get(usize::from(file.0)).map_or(0, |bytes| u64::from(*bytes))
    }

    /// Such bytes in all files.
    pub fn dirty_bytes_all(&self) -> u64 {
        self.dirty_bytes.iter().map(|bytes| u64::from(*bytes)).sum()
    }

    /// So many bytes of compacted partitions were written to the file, or found there.
    pub(super) fn dirty_note(&mut self, file: FileIndex, more: u32) {
        let bytes = &mut self.dirty_bytes[usize::from(file.0)];
        *bytes = bytes.saturating_add(more);
    }

    /// Compaction has read all of the file's segment, and carried its live records.
    pub(super) fn examined(&mut self, file: FileIndex, state: &State) {
        self.dirty_bytes[usize::from(file.0)] = 0;
        let compacted = |slot| state.partition(slot).is_some_and(|found| found.compacted);
        self.carried.file_cleared(file, &compacted);
    }

    /// A partition is compacted from now on: counts its records as not read by any pass. How many bytes
    /// that is is not known; an equal share of each segment is assumed.
    pub(super) fn dirty_guess(&mut self, slot: PartitionSlot, segment_bytes: u64) {
        for at in 0..self.segments.len() {
            let file = self.segments[at].1;
            if self.in_segment(file, slot).is_some() {
                let slots = (0..self.handles.len()).map(|slot| PartitionSlot(slot as u16));
                let here = slots.filter(|slot| self.in_segment(file, *slot).is_some()).count();
                self.dirty_note(file, (segment_bytes / here.max(1) as u64) as u32);
            }
        }
    }

    /// Which partitions may be in the groups that start in a block, and where the first of them
    /// is; none: no group starts there.
    pub fn block_of(&self, file: FileIndex, block: usize) -> Option<(u64, u64)> {
        self.blocks.get(file, block)
    }

    /// The bit of a partition in the blocks' bitmaps; others may share it.
    pub fn mask_of(&self, handle: PartitionHandle) -> u64 {
        bit_of(handle)
    }

    /// A partition has this many more visible bytes.
    pub fn fresh_note(&mut self, slot: PartitionSlot, more: u32) {
        let bytes = &mut self.fresh_bytes[usize::from(slot.0)];
        if *bytes == 0 && more > 0 {
            self.fresh.push(slot);
        }
        *bytes = bytes.saturating_add(more);
    }

    /// A partition with bytes that were synced since it was last given here, and how many: the jobs
    /// that wait for it may continue. None: no more.
    pub fn fresh_take(&mut self) -> Option<(PartitionSlot, u32)> {
        let slot = self.fresh.pop()?;
        let bytes = std::mem::take(&mut self.fresh_bytes[usize::from(slot.0)]);
        Some((slot, bytes))
    }

    /// The file's segment is gone.
    pub fn segment_evicted(&mut self, file: FileIndex) {
        self.overwriting = Overwriting::Begun;
        self.segments.retain(|(_, other)| *other != file);
        self.seqs[usize::from(file.0)] = NO_SEGMENT;
        self.in_segments.file_cleared(file);
        self.blocks.file_cleared(file);
        self.carried.file_removed(file);
        self.dirty_bytes[usize::from(file.0)] = 0;
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

    /// Whether an offset at or above its partition's log start is being overwritten. The log start moves a
    /// moment later, or stays while the disk fails.
    pub fn is_overwritten(&self, slot: PartitionSlot, offset: Offset) -> bool {
        let overwriting = self.overwriting != Overwriting::Nothing;
        overwriting && self.first_offset(slot).is_none_or(|first| offset < first)
    }

    /// Whether the log start is about to move past such an offset. While the disk fails nobody should wait
    /// for that.
    pub fn is_moving(&self, slot: PartitionSlot, offset: Offset) -> bool {
        self.overwriting == Overwriting::Begun && self.is_overwritten(slot, offset)
    }

    /// The partition is gone; its slot may be given to another one.
    pub fn partition_removed(&mut self, slot: PartitionSlot) {
        self.carried.partition_removed(slot);
        self.in_segments.slot_cleared(slot);
        let slot = usize::from(slot.0);
        if slot < self.handles.len() {
            self.handles[slot] = PartitionHandle(0);
            self.newest[slot] = NO_RUN;
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
        self.seqs.get(usize::from(file.0)).copied().filter(|seq| *seq != NO_SEGMENT)
    }

    /// What is known of a partition in a file's segment; none: it is not in it.
    pub fn in_segment(&self, file: FileIndex, slot: PartitionSlot) -> Option<InSegment> {
        self.in_segments.get(file, slot)
    }

    /// A timestamp as [`InSegment::newest_ms`] has it.
    pub fn rounded_up(newest_ms: i64) -> i64 {
        table::rounded_up(newest_ms)
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
        // A copy of an older group, as older releases wrote them, says nothing.
        later.map(|there| there.first).find(|other| *other > first)
    }

    /// What is known of a partition in a file's segment, and the offset behind its last record there; it
    /// has none from `records_end` on.
    pub fn span_in(
        &self,
        file: FileIndex,
        slot: PartitionSlot,
        records_end: Offset,
    ) -> Option<(InSegment, Offset)> {
        let there = self.in_segment(file, slot)?;
        let end = self.end_in(file, slot, there.first);
        Some((there, end.map_or(records_end, |end| end.min(records_end))))
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
        let carried = self.carried.of(slot).first().map(|stretch| stretch.from);
        carried.into_iter().chain(self.first_original(slot)).min()
    }

    /// The first offset of a partition that is left where it was first written, if any is.
    pub fn first_original(&self, slot: PartitionSlot) -> Option<Offset> {
        let mut oldest = self.segments.iter();
        oldest.find_map(|(_, file)| self.in_segment(*file, slot)).map(|entry| entry.first)
    }

    /// Whether records of a partition in `from..to` may be left where they were first written, in another
    /// file than `but`.
    pub fn has_originals(
        &self,
        slot: PartitionSlot,
        from: Offset,
        to: Offset,
        but: Option<FileIndex>,
    ) -> bool {
        let mut segments = self.segments.iter().filter(|(_, file)| Some(*file) != but);
        segments.any(|(_, file)| {
            self.in_segment(*file, slot).is_some_and(|there| {
                let end = self.end_in(*file, slot, there.first);
                there.first < to && end.is_none_or(|end| end > from)
            })
        })
    }

    /// How many blocks a segment has.
    pub fn blocks(&self) -> usize {
        self.blocks.per_file()
    }

    /// The block that a position lies in.
    pub fn block_at(&self, at: u64) -> usize {
        self.blocks.at(at)
    }

    /// Where a block ends.
    pub fn block_end(&self, block: usize) -> u64 {
        self.blocks.end(block)
    }

    /// Where the first group in a block is, if one starts there and a partition with this handle
    /// may be in the groups that do.
    pub fn block_start(
        &self,
        file: FileIndex,
        block: usize,
        handle: PartitionHandle,
    ) -> Option<u64> {
        let (bits, start) = self.blocks.get(file, block)?;
        (bits & bit_of(handle) != 0).then_some(start)
    }

    /// The position of the first group that starts in a block from `block` on, whatever is in it.
    pub fn group_from(&self, file: FileIndex, block: usize) -> Option<u64> {
        self.blocks.group_from(file, block)
    }

    fn run_note(&mut self, file: FileIndex, run: &Run) {
        self.slot_open(run.slot, run.handle);
        self.in_segments.note(file, run.slot, run.base_offset, run.newest_ms);
    }

    /// The slot is in use, by the partition with this handle.
    fn slot_open(&mut self, slot: PartitionSlot, handle: PartitionHandle) {
        self.in_segments.slot_opened(slot);
        let slot = usize::from(slot.0);
        if slot >= self.handles.len() {
            assert!(slot < self.partitions, "a slot beyond the table of partitions");
            self.handles.resize(slot + 1, PartitionHandle(0));
            self.newest.resize(slot + 1, NO_RUN);
        }
        self.handles[slot] = handle;
    }
}

/// In place of a segment: none.
const NO_SEGMENT: SegmentSeq = SegmentSeq(u64::MAX);

const NO_RUN: Newest = Newest { base: Offset::NONE, place: Place { seq: NO_SEGMENT, at: 0 } };

#[cfg(test)]
pub(in crate::log) mod tests {
    use super::*;

    pub(super) const SEGMENT: u64 = 4 << 20;
    pub(super) const BLOCK: u64 = limits::BLOCK_BYTES_MIN as u64;

    pub(super) fn run(slot: u16, base: i64, records: u32) -> Run {
        Run {
            slot: PartitionSlot(slot),
            handle: PartitionHandle(u32::from(slot) + 10),
            base_offset: Offset(base),
            records,
            bytes: 100,
            newest_ms: base * 10,
            kept: 0,
        }
    }

    pub(super) fn filled() -> Index {
        let mut index = Index::new(4, SEGMENT, 8, 8);
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
    fn a_file_holds_the_segment_that_was_last_opened_in_it() {
        let mut index = filled();
        let seqs = |index: &Index| [0, 1, 2, 9].map(|file| index.seq_of(FileIndex(file)));
        assert_eq!(seqs(&index), [Some(SegmentSeq(6)), None, Some(SegmentSeq(5)), None]);
        index.segment_opened(FileIndex(2), SegmentSeq(7));
        index.segment_evicted(FileIndex(0));
        assert_eq!(seqs(&index), [None, None, Some(SegmentSeq(7)), None]);
        assert_eq!(index.segments(), [(SegmentSeq(7), FileIndex(2))]);
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
}
