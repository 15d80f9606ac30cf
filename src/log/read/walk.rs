//! Walks over one partition's runs, oldest first, from the one that holds an offset.
//!
//! Where it starts: at the partition's newest run, if that begins at or below the offset; else at
//! the cursor that an earlier reader left; else in the segment that the first offsets tell, at a
//! block found by binary search. From there on it follows the groups, skips the blocks whose bitmap
//! does not have the partition, and passes runs below the offset (copies) and gaps. A group is valid
//! only if its CRCs hold and it names this ring, this segment, and its own position.
//!
//! Carried records of a compacted partition are elsewhere. A walk goes by the list of carried
//! stretches: within one it takes carried runs, from the group on that the list tells; before, between
//! and after them the others.

use super::cursors::Cursors;
use super::{Got, Source, View, Wanted};
use crate::codec::crc::Crc32c;
use crate::log::SegmentView;
use crate::log::carried::Entry;
use crate::log::format::{
    GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, RUN_BYTES, Run, UNIT_BYTES,
};
use crate::log::index::{Index, Place};
use crate::types::{Offset, PartitionHandle, PartitionSlot, RingIndex, SegmentSeq};

/// One partition's runs from an offset on.
pub struct Walk {
    ring: RingIndex,
    slot: PartitionSlot,
    handle: PartitionHandle,
    want: Offset,
    limit: Offset,
    segment: SegmentView,
    /// The position of the next group to read.
    at: u64,
    skip: u32,
    /// The last group was: the next header is read alone.
    large: bool,
    /// Set in a stretch of carried records.
    carried: Option<Stretch>,
    /// Where that ends, or where the next one begins.
    until: Offset,
    probe: Option<Probe>,
    phase: Phase,
}

/// A run with records that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundRun {
    /// Its group.
    pub place: Place,
    /// The segment.
    pub segment: SegmentView,
    /// What the directory says of it.
    pub run: Run,
    /// Where its batches start.
    pub at: u64,
    /// Bytes of it that a cursor says are not wanted.
    pub skip: u32,
    /// Records from here on are not to be taken from it.
    pub limit: Offset,
}

/// A step of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// These bytes must be read first.
    Read(Wanted),
    /// A run. [`Walk::wanted`] is to be called with the offset behind what was taken of it.
    Run(FoundRun),
    /// The group that should be here is broken; the walk goes on behind it.
    Broken(Place),
    /// There is nothing more below the limit.
    End,
}

#[derive(Clone)]
enum Phase {
    Start,
    Group,
    Directory(Directory),
    Lost { until: u64 },
    End,
}

/// A stretch of carried records.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// The position of its first group.
    at: u64,
    /// One of its groups is damaged: every run of the others is taken.
    loose: bool,
}

/// A directory that was read in part.
#[derive(Clone)]
struct Directory {
    at: u64,
    left: u32,
    crc: Crc32c,
    crc_expected: u32,
    payload_at: u64,
    found: Option<(Run, u64)>,
    next: u64,
}

/// Binary search: the group that is wanted starts in block `low` or later, and not in `high` or later
/// (unless nothing of the partition is between them).
#[derive(Debug, Clone, Copy)]
struct Probe {
    low: usize,
    middle: usize,
    high: usize,
}

impl Walk {
    /// From `want` up to, not including, `limit`.
    pub fn new(
        ring: RingIndex,
        slot: PartitionSlot,
        handle: PartitionHandle,
        want: Offset,
        limit: Offset,
    ) -> Walk {
        Walk {
            ring,
            slot,
            handle,
            want,
            limit,
            segment: NOWHERE,
            at: 0,
            skip: 0,
            large: false,
            carried: None,
            until: Offset(i64::MAX),
            probe: None,
            phase: Phase::Start,
        }
    }

    /// From the start of a segment on, whatever the offsets in it.
    pub fn from_segment(mut self, source: &dyn Source, seq: SegmentSeq) -> Walk {
        self.segment_enter(source, Some(seq));
        self
    }

    /// Records below this offset are not wanted any more.
    pub fn wanted(&mut self, want: Offset) {
        self.want = self.want.max(want);
    }

    /// The offset that is wanted next.
    pub fn want(&self) -> Offset {
        self.want
    }

    /// The offset behind the last that may be seen.
    pub fn limit(&self) -> Offset {
        self.limit
    }

    /// Where the next group is.
    pub fn place(&self) -> Place {
        Place { seq: self.segment.seq, at: self.at }
    }

    /// Whether it is in a stretch of carried records.
    pub fn is_carried(&self) -> bool {
        self.carried.is_some()
    }

    /// The next run. Between a `Read` and the next call the segment may be gone: then the walk is
    /// made anew.
    pub fn next(&mut self, source: &dyn Source, cursors: &mut Cursors, view: &View<'_>) -> Passed {
        loop {
            // Checked here so that the end is known without reading on; the place stays.
            if self.want >= self.limit {
                return Passed::End;
            }
            if self.want >= self.until {
                self.phase = Phase::Start;
            }
            let step = match &mut self.phase {
                Phase::Start => {
                    self.start(source, cursors);
                    None
                }
                Phase::Group => self.group(source, view),
                Phase::Directory(_) => self.directory(source, view),
                Phase::Lost { until } => {
                    let until = *until;
                    self.lost(source, view, until)
                }
                Phase::End if self.until < self.limit => {
                    self.want = self.until;
                    None
                }
                Phase::End => Some(Passed::End),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn start(&mut self, source: &dyn Source, cursors: &mut Cursors) {
        self.phase = Phase::End;
        self.carried = None;
        self.until = Offset(i64::MAX);
        let index = source.index(self.ring);
        if let Some(next) = index.carried().find(self.slot, self.want).copied() {
            if next.from <= self.want || !index.has_originals(self.slot, self.want, next.from, None)
            {
                return self.start_carried(source, cursors, &next);
            }
            self.until = next.from;
        }
        let newest = index.newest_run(self.slot);
        if let Some((base, place)) = newest
            && base <= self.want
            && let Some(segment) = source.segment(self.ring, place.seq)
        {
            // A reader of the newest run may have stopped inside of it.
            let cursor = cursors.get(self.handle, self.want);
            self.skip = match cursor {
                Some(cursor) if cursor.place == place && !cursor.carried => cursor.skip,
                _ => 0,
            };
            self.segment = segment;
            self.group_at(place.at);
        } else if let Some(cursor) = cursors.get(self.handle, self.want)
            && !cursor.carried
            && let Some(segment) = source.segment(self.ring, cursor.place.seq)
        {
            self.segment = segment;
            self.skip = cursor.skip;
            if cursor.skip > 0 {
                self.group_at(cursor.place.at);
            } else {
                self.group_next(source, cursor.place.at);
            }
        } else if let Some(seq) = index.segment_for(self.slot, self.want)
            && let Some(segment) = source.segment(self.ring, seq)
        {
            self.segment = segment;
            self.search(source);
        }
    }

    /// Starts in a stretch of carried records, at or behind its first offset.
    fn start_carried(&mut self, source: &dyn Source, cursors: &mut Cursors, next: &Entry) {
        self.want = self.want.max(next.from);
        self.until = next.to();
        let seq = source.index(self.ring).seq_of(next.file);
        let Some(segment) = seq.and_then(|seq| source.segment(self.ring, seq)) else {
            // It is being overwritten.
            self.want = self.until;
            return;
        };
        self.carried = Some(Stretch { at: next.at(), loose: false });
        self.segment = segment;
        let cursor = cursors.get(self.handle, self.want).filter(|cursor| {
            cursor.carried && cursor.place.seq == segment.seq && cursor.place.at >= next.at()
        });
        match cursor {
            Some(cursor) if cursor.skip > 0 => {
                self.skip = cursor.skip;
                self.group_at(cursor.place.at);
            }
            Some(cursor) => self.group_next(source, cursor.place.at),
            None => self.group_at(next.at()),
        }
    }

    /// Looks for the last block whose first run of the partition begins at or below `want`.
    fn search(&mut self, source: &dyn Source) {
        let index = source.index(self.ring);
        let high = index.block_at(self.segment.end.saturating_sub(1)) + 1;
        let Some(low) = self.block_from(index, 0, high) else {
            return self.segment_next(source);
        };
        let middle = low;
        if high - low > SEARCH_BLOCKS_MIN {
            self.probe = Some(Probe { low, middle, high });
            self.probe_next(source);
        } else {
            self.block_enter(index, low);
        }
    }

    fn probe_next(&mut self, source: &dyn Source) {
        let index = source.index(self.ring);
        let Some(mut probe) = self.probe else { return };
        while probe.high - probe.low > 1 {
            probe.middle = probe.low.midpoint(probe.high);
            if let Some(block) = self.block_from(index, probe.middle, probe.high) {
                // The range is halved by blocks, whichever of them have the partition.
                self.probe = Some(probe);
                return self.block_enter(index, block);
            }
            probe.high = probe.middle;
        }
        self.probe = None;
        self.block_enter(index, probe.low);
    }

    /// The first offset of the partition in the probed block, if it has any.
    fn probed(&mut self, source: &dyn Source, first: Option<Offset>) {
        if let Some(probe) = &mut self.probe {
            match first {
                Some(first) if first <= self.want => {
                    probe.low = source.index(self.ring).block_at(self.at)
                }
                _ => probe.high = probe.middle,
            }
        }
        self.probe_next(source);
    }

    fn group(&mut self, source: &dyn Source, view: &View<'_>) -> Option<Passed> {
        if self.at >= self.segment.end {
            self.segment_next(source);
            return None;
        }
        let bytes = match self.get(view, self.at, GROUP_HEADER_BYTES) {
            Got::Missing => return Some(self.read(self.at, GROUP_HEADER_BYTES)),
            Got::Broken => return self.group_broken(source),
            Got::Bytes(bytes) => bytes,
        };
        let Some(header) = self.believed(source, bytes, self.at) else {
            return self.group_broken(source);
        };
        self.large = header.bytes >= LARGE_BYTES;
        self.phase = Phase::Directory(Directory {
            at: self.at + header.directory_at(),
            left: header.runs,
            crc: Crc32c::new(),
            crc_expected: header.directory_crc,
            payload_at: self.at + header.payload_at(),
            found: None,
            next: self.at + u64::from(header.bytes),
        });
        None
    }

    fn believed(&self, source: &dyn Source, bytes: &[u8], at: u64) -> Option<GroupHeader> {
        let (header, _) = GroupHeader::decode(bytes)?;
        let ours = header.ring_id == source.ring_id(self.ring)
            && header.segment == self.segment.seq
            && header.position == at;
        let end = at.checked_add(u64::from(header.bytes))?;
        (ours && header.bytes > 0 && end <= self.segment.end).then_some(header)
    }

    fn directory(&mut self, source: &dyn Source, view: &View<'_>) -> Option<Passed> {
        let Phase::Directory(directory) = &mut self.phase else {
            return None;
        };
        let (ring, seq) = (self.ring, self.segment.seq);
        while directory.left > 0 {
            let bytes = match view.get(ring, seq, directory.at, RUN_BYTES) {
                Got::Missing => {
                    let at = directory.at;
                    return Some(self.read(at, RUN_BYTES));
                }
                Got::Broken => return self.group_broken(source),
                Got::Bytes(bytes) => bytes,
            };
            directory.feed(bytes, self.handle);
        }
        if directory.crc.clone().finish() != directory.crc_expected {
            return self.group_broken(source);
        }
        let next = directory.next;
        let found = directory.found.filter(|(run, _)| run.is_carried() == self.carried.is_some());
        if self.probe.is_some() {
            let index = source.index(self.ring);
            let same_block = index.block_at(next) == index.block_at(self.at);
            if found.is_none() && next < self.segment.end && same_block {
                self.group_at(next);
            } else {
                self.probed(source, found.map(|(run, _)| run.offset));
            }
            return None;
        }
        let place = self.place();
        let segment = self.segment;
        let found = found.filter(|(run, _)| run.end() > self.want && self.follows(run));
        if self.carried.is_none() && found.is_some_and(|(run, _)| run.offset >= self.until) {
            self.want = self.until;
            return None;
        }
        if found.is_some_and(|(run, _)| run.offset >= self.limit) {
            // Not to be seen yet, so the walk ends in front of it: a cursor made here finds it.
            self.phase = Phase::End;
            return None;
        }
        let skip = std::mem::take(&mut self.skip);
        self.group_next(source, next);
        let (run, at) = found?;
        Some(Passed::Run(FoundRun {
            place,
            segment,
            run,
            at,
            skip: if skip < run.bytes { skip } else { 0 },
            limit: self.until.min(run.end()),
        }))
    }

    /// Whether a carried run is the next of its stretch, of which the segment may have older versions,
    /// too.
    fn follows(&self, run: &Run) -> bool {
        self.carried.is_none_or(|stretch| {
            run.offset <= self.want || (stretch.loose && run.offset < self.until)
        })
    }

    /// The group at `at` is not valid: goes on at the next valid header.
    fn group_broken(&mut self, source: &dyn Source) -> Option<Passed> {
        if self.probe.is_some() {
            self.probed(source, None);
            return None;
        }
        let place = self.place();
        let index = source.index(self.ring);
        let block = index.block_at(self.at) + 1;
        let known = index.group_from(self.segment.file.file, block);
        let until = known.unwrap_or(u64::MAX).min(self.segment.end);
        self.skip = 0;
        self.at += UNIT_BYTES;
        self.phase = Phase::Lost { until };
        Some(Passed::Broken(place))
    }

    fn lost(&mut self, source: &dyn Source, view: &View<'_>, until: u64) -> Option<Passed> {
        while self.at < until {
            match self.get(view, self.at, GROUP_HEADER_BYTES) {
                Got::Missing => return Some(self.read(self.at, GROUP_HEADER_BYTES)),
                Got::Broken => {}
                Got::Bytes(bytes) => {
                    if bytes.starts_with(&GROUP_MAGIC.to_le_bytes())
                        && self.believed(source, bytes, self.at).is_some()
                    {
                        break;
                    }
                }
            }
            self.at += UNIT_BYTES;
        }
        let at = self.at.min(until);
        self.group_next(source, at);
        None
    }

    /// Goes on with the group at `at`, or behind it where the blocks say that there is nothing.
    fn group_next(&mut self, source: &dyn Source, at: u64) {
        let index = source.index(self.ring);
        let file = self.segment.file.file;
        self.at = at;
        if at >= self.segment.end {
            return self.segment_next(source);
        }
        let block = index.block_at(at);
        if index.block_start(file, block, self.handle).is_some() {
            return self.group_at(at);
        }
        match self.block_from(index, block + 1, index.blocks()) {
            Some(block) => self.block_enter(index, block),
            None => self.segment_next(source),
        }
    }

    /// Stays at the end of the last segment, so that a cursor made there goes on when it grows.
    fn segment_next(&mut self, source: &dyn Source) {
        if let Some(stretch) = &mut self.carried {
            if std::mem::replace(&mut stretch.loose, true) {
                // The rest of it is damaged.
                self.want = self.until;
            } else {
                let at = stretch.at;
                self.group_at(at);
            }
            return;
        }
        let index = source.index(self.ring);
        let next = index.segment_after(self.slot, self.segment.seq);
        if next.is_none() {
            self.at = self.segment.end;
        }
        self.segment_enter(source, next);
    }

    fn segment_enter(&mut self, source: &dyn Source, seq: Option<SegmentSeq>) {
        self.phase = Phase::End;
        let index = source.index(self.ring);
        let segment = seq.and_then(|seq| source.segment(self.ring, seq));
        if let Some(segment) = segment {
            self.segment = segment;
            match self.block_from(index, 0, index.blocks()) {
                Some(block) => self.block_enter(index, block),
                None => self.at = segment.end,
            }
        }
    }

    fn group_at(&mut self, at: u64) {
        self.at = at;
        self.phase = Phase::Group;
    }

    fn block_enter(&mut self, index: &Index, block: usize) {
        let file = self.segment.file.file;
        match index.block_start(file, block, self.handle) {
            Some(at) => self.group_at(at),
            None => self.phase = Phase::End,
        }
    }

    fn block_from(&self, index: &Index, from: usize, to: usize) -> Option<usize> {
        let file = self.segment.file.file;
        (from..to).find(|block| index.block_start(file, *block, self.handle).is_some())
    }

    fn get<'a>(&self, view: &View<'a>, at: u64, count: usize) -> Got<'a> {
        view.get(self.ring, self.segment.seq, at, count)
    }

    fn read(&self, at: u64, bytes_min: usize) -> Passed {
        let useful = self.segment.end.saturating_sub(at) as usize;
        let few = if self.probe.is_some() || self.large { HEADER_READ_BYTES } else { useful };
        Passed::Read(Wanted {
            file: self.segment.file,
            seq: self.segment.seq,
            at,
            bytes_min,
            bytes_max: useful.min(few).max(bytes_min),
        })
    }
}

impl Directory {
    fn feed(&mut self, bytes: &[u8], handle: PartitionHandle) {
        let count = (bytes.len() / RUN_BYTES).min(self.left as usize);
        let (bytes, _) = bytes.split_at(count * RUN_BYTES);
        self.crc.update(bytes);
        for run in Run::decode_all(bytes) {
            if run.handle == handle && self.found.is_none() {
                self.found = Some((run, self.payload_at));
            }
            self.payload_at = self.payload_at.saturating_add(u64::from(run.bytes));
        }
        self.left -= count as u32;
        self.at += bytes.len() as u64;
    }
}

/// Among this few blocks, following the groups is as fast as a binary search.
const SEARCH_BLOCKS_MIN: usize = 4;

/// Enough for a header and most directories.
const HEADER_READ_BYTES: usize = 4096;

/// Behind a group of this size, what follows its successor's header is not read with it.
const LARGE_BYTES: u32 = 32 * 1024;

const NOWHERE: SegmentView = SegmentView {
    seq: SegmentSeq(0),
    file: crate::types::FileRef { ring: RingIndex(0), file: crate::types::FileIndex(0) },
    groups_at: 0,
    end: 0,
};
