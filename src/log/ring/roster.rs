//! The live segments, and the files that may be written to.

use crate::types::{FileIndex, GroupSeq, SegmentSeq};

/// A live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its sequence.
    pub seq: SegmentSeq,
    /// Its file.
    pub file: FileIndex,
    /// Where its groups start.
    pub groups_at: u64,
    /// Where its written groups end; they are synced, but for topics with `flush.messages` or `flush.ms`.
    pub end: u64,
    /// The last of those groups.
    pub group_last: GroupSeq,
    /// Whether it was given up: not appended to, but read.
    pub given_up: bool,
}

impl Segment {
    /// Whether nothing was ever stored in it.
    pub fn is_empty(&self) -> bool {
        self.end == self.groups_at
    }
}

/// A ring's segments and files.
#[derive(Debug, Default)]
pub struct Roster {
    /// Live segments, oldest first; the last is the current one.
    live: Vec<Segment>,
    /// Files without a live segment, the next one first.
    free: Vec<FileIndex>,
    /// Segments that the head on its way leaves out.
    freeing: Vec<SegmentSeq>,
    /// Files from this one on are surplus: they are used last.
    configured: u16,
    segment_next: SegmentSeq,
}

impl Roster {
    /// As a start found them. Files that are in neither list are not used.
    pub fn new(
        live: &[Segment],
        free: &[FileIndex],
        segment_next: SegmentSeq,
        configured: u16,
        files: usize,
    ) -> Roster {
        assert!(live.is_sorted_by(|a, b| a.seq < b.seq), "segments are in order");
        assert!(live.iter().all(|segment| segment.seq < segment_next), "sequences grow");
        let twice = |file: &FileIndex| live.iter().any(|segment| segment.file == *file);
        assert!(!free.iter().any(twice), "a file that holds what lives is not free");
        let mut roster = Roster {
            live: Vec::with_capacity(files + 1),
            free: Vec::with_capacity(files + 1),
            freeing: Vec::with_capacity(files + 1),
            configured,
            segment_next,
        };
        roster.live.extend_from_slice(live);
        roster.free.extend_from_slice(free);
        roster
    }

    /// Live segments, oldest first.
    pub fn live(&self) -> &[Segment] {
        &self.live
    }

    /// The live segment with this sequence.
    pub fn segment(&self, seq: SegmentSeq) -> Option<&Segment> {
        self.live.get(self.place(seq)?)
    }

    fn place(&self, seq: SegmentSeq) -> Option<usize> {
        let place = self.live.binary_search_by_key(&seq, |segment| {
            #[cfg(test)]
            crate::visits::visit();
            segment.seq
        });
        place.ok()
    }

    /// The segment that groups go to.
    pub fn current(&self) -> Option<&Segment> {
        self.live.last()
    }

    /// The same, to let it grow.
    pub fn current_mut(&mut self) -> &mut Segment {
        self.live.last_mut().expect("a group goes to a segment")
    }

    /// The file for the next segment. One beyond the configured number comes last: a start that finds it
    /// free deletes it.
    pub fn file_next(&self) -> Option<FileIndex> {
        let configured = self.free.iter().find(|file| file.0 < self.configured);
        configured.or(self.free.first()).copied()
    }

    /// A sequence for a try to begin a segment. A try that fails may have left a head on flash that
    /// bears it: none is used twice.
    pub fn seq_take(&mut self) -> SegmentSeq {
        let seq = self.segment_next;
        self.segment_next = SegmentSeq(seq.0 + 1);
        seq
    }

    /// A segment's head is on flash: it is the current one now.
    pub fn begun(&mut self, segment: Segment) {
        self.free.retain(|file| *file != segment.file);
        self.live.push(segment);
    }

    /// A head could not be written: its file is tried again, but after the other free ones.
    pub fn not_begun(&mut self, file: FileIndex) {
        self.free.retain(|other| *other != file);
        self.free.push(file);
    }

    /// Takes out the oldest segment, if it is not above `through`. Its file is written to next, after
    /// those of the `before` segments that were evicted with it: if the head does not reach the flash,
    /// the oldest is what was overwritten.
    pub fn evict(&mut self, through: SegmentSeq, before: usize) -> Option<Segment> {
        let oldest = self.live.first().copied().filter(|oldest| oldest.seq <= through)?;
        self.live.remove(0);
        self.free.insert(before, oldest.file);
        Some(oldest)
    }

    /// Takes out one that nobody needs; its file is written to after the other free ones.
    pub fn free(&mut self, seq: SegmentSeq) -> Option<Segment> {
        let place = self.place(seq)?;
        let segment = self.live.remove(place);
        self.free.push(segment.file);
        Some(segment)
    }

    /// Segments that the head on its way leaves out: they are free once it is on flash.
    pub fn freeing_set(&mut self, freeing: &mut dyn FnMut(&Segment) -> bool) {
        self.freeing.clear();
        let leaves = self.live.iter().filter(|segment| freeing(segment));
        self.freeing.extend(leaves.map(|segment| segment.seq));
    }

    /// One of those, until none is left.
    pub fn freeing_take(&mut self) -> Option<Segment> {
        let seq = self.freeing.pop()?;
        self.free(seq)
    }

    /// Whether the head on its way leaves it out.
    pub fn is_freeing(&self, segment: &Segment) -> bool {
        self.freeing.contains(&segment.seq)
    }

    /// How many files are free.
    #[cfg(test)]
    pub fn free_len(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visits::visits;

    fn segment(seq: u64, file: u16) -> Segment {
        let group_last = GroupSeq(seq);
        let (seq, file) = (SegmentSeq(seq), FileIndex(file));
        Segment { seq, file, groups_at: 4096, end: 8192, group_last, given_up: false }
    }

    #[test]
    fn the_file_of_what_was_evicted_comes_next_and_that_of_what_failed_last() {
        let live = [segment(1, 0), segment(2, 1)];
        let free = [FileIndex(2), FileIndex(3)];
        let mut roster = Roster::new(&live, &free, SegmentSeq(3), 4, 5);
        assert_eq!(roster.file_next(), Some(FileIndex(2)));
        roster.not_begun(FileIndex(2));
        assert_eq!(roster.file_next(), Some(FileIndex(3)));
        assert_eq!(roster.evict(SegmentSeq(1), 0).map(|s| s.file), Some(FileIndex(0)));
        assert_eq!(roster.evict(SegmentSeq(1), 1), None);
        assert_eq!(roster.file_next(), Some(FileIndex(0)));
        let seq = roster.seq_take();
        roster.begun(segment(seq.0, 0));
        assert_eq!((seq, roster.seq_take()), (SegmentSeq(3), SegmentSeq(4)));
        assert_eq!(roster.current(), Some(&segment(3, 0)));
        roster.freeing_set(&mut |segment| segment.seq == SegmentSeq(2));
        assert_eq!(roster.freeing_take().map(|s| s.file), Some(FileIndex(1)));
        assert_eq!((roster.freeing_take(), roster.free_len()), (None, 3));
    }

    #[test]
    fn of_several_that_are_evicted_at_once_the_file_of_the_oldest_comes_next() {
        let live = [segment(1, 3), segment(2, 1), segment(3, 0)];
        let mut roster = Roster::new(&live, &[FileIndex(2)], SegmentSeq(4), 4, 4);
        for before in 0..2 {
            roster.evict(SegmentSeq(2), before).unwrap();
        }
        let mut order = Vec::new();
        while let Some(file) = roster.file_next() {
            order.push(file.0);
            let seq = roster.seq_take();
            roster.begun(segment(seq.0, file.0));
        }
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn a_segment_is_found_without_a_walk() {
        let live: Vec<Segment> = (0..1000).map(|at| segment(2 * at + 1, at as u16)).collect();
        let roster = Roster::new(&live, &[], SegmentSeq(3000), 1000, 1000);
        for seq in [1, 2, 1001, 1998, 1999] {
            let mut found = None;
            let looks = visits(&mut || found = roster.segment(SegmentSeq(seq)));
            assert_eq!(found.map(|found| found.seq.0), (seq % 2 == 1).then_some(seq));
            assert!(looks <= 12, "{looks}");
        }
    }

    #[test]
    fn surplus_files_are_used_last() {
        let mut roster = Roster::new(&[], &[FileIndex(7), FileIndex(1)], SegmentSeq(1), 4, 8);
        assert_eq!(roster.file_next(), Some(FileIndex(1)));
        roster.begun(segment(0, 1));
        assert_eq!(roster.file_next(), Some(FileIndex(7)));
    }
}
