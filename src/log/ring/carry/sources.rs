//! What a pass reads: the stretches of partitions that a segment has, and the blocks that may have
//! something of them.

use super::pass::{Pass, Phase};
use crate::log::carry::groups::Range;
use crate::log::carry::{Part, Source};
use crate::log::index::{Index, Place};
use crate::log::ring::Ring;
use crate::log::state::{Partition, State};
use crate::types::{FileIndex, FileRef, Offset, PartitionSlot, SegmentSeq};

impl Ring {
    /// Adds the next stretch to the portion; false: there is none, or no room.
    pub(super) fn source_add(&mut self, pass: &mut Pass, state: &State, index: &Index) -> bool {
        self.source_find(pass, state, index).is_some()
    }

    fn source_find(&mut self, pass: &mut Pass, state: &State, index: &Index) -> Option<()> {
        let carry = self.carry.as_ref()?;
        if carry.full || carry.sources.is_full() || carry.parts.is_full() {
            return None;
        }
        let segment = (pass.seq, self.segment(pass.seq)?.file);
        let (first, from) = pass.collected;
        let mut partitions = state.partitions().filter(|(_, partition)| {
            partition.ring == self.index && partition.compacted && partition.handle >= first
        });
        let found = partitions.find_map(|(slot, partition)| {
            let from = if partition.handle == first { from } else { Offset(0) };
            let search = Search { ring: self, index, slot, partition, segment, from };
            Some((slot, partition, search.next()?))
        });
        let (slot, partition, found) = found?;
        let since = pass.collected.1;
        let between = |from: Offset| since <= from && from < found.from;
        let mut stretches = index.carried().of(slot).iter();
        let joined = partition.handle == first
            && !stretches.any(|stretch| between(stretch.from))
            && !index.has_originals(slot, since, found.from, Some(segment.1));
        let cleanup = state.topic(partition.topic)?.cleanup();
        let handle = partition.handle;
        let bounds = (partition.log_start, partition.high_watermark);
        let at = self.roster.live().iter().find(|segment| segment.file == found.file)?;
        let (seq, file) = (at.seq, self.file(at.file));
        let carry = self.carry.as_mut()?;
        if carry.parts.last().is_none_or(|part| part.handle != handle) {
            let part = Part::new((handle, slot), bounds, cleanup);
            let _ = carry.parts.push(part);
        }
        let source = Source {
            part: (carry.parts.len() - 1) as u16,
            file,
            seq,
            at: found.at,
            carried: found.carried,
            whole: found.whole,
            joined,
            from: found.from,
            to: found.to,
            looked_to: found.to,
            seen_to: found.from,
            loose: false,
        };
        let _ = carry.sources.push(source);
        pass.collected = (handle, found.to);
        let blocks = (!found.whole).then_some(Place { seq, at: found.at });
        pass.phase = Phase::Collect(blocks);
        Some(())
    }

    /// Adds the blocks of a source from a place on; gives where it left off.
    pub(super) fn source_ranges(
        &mut self,
        index: &Index,
        place: usize,
        from: Place,
    ) -> Option<Place> {
        let source = *self.carry.as_ref()?.sources.get(place)?;
        let handle = self.carry.as_ref()?.parts.get(usize::from(source.part))?.handle;
        self.ranges_add(index, from, source.seq, index.mask_of(handle))
    }

    /// Adds the blocks of all live segments that may have newer records of the portion's partitions.
    pub(super) fn walk_ranges(&mut self, index: &Index, from: Place) -> Option<Place> {
        let parts = &self.carry.as_ref()?.parts;
        let mask = parts.iter().fold(0, |mask, part| mask | index.mask_of(part.handle));
        self.ranges_add(index, from, SegmentSeq(u64::MAX), mask)
    }

    fn ranges_add(
        &mut self,
        index: &Index,
        from: Place,
        through: SegmentSeq,
        mask: u64,
    ) -> Option<Place> {
        let (ring, carry) = (self.index, self.carry.as_mut()?);
        let mut at = from.at;
        let live = self.roster.live().iter();
        for segment in live.filter(|live| live.seq >= from.seq && live.seq <= through) {
            if segment.seq > from.seq {
                at = segment.groups_at;
            }
            let file = FileRef { ring, file: segment.file };
            for block in index.block_at(at)..index.blocks() {
                let to = index.block_end(block);
                let Some((_, start)) =
                    index.block_of(segment.file, block).filter(|(bits, _)| bits & mask != 0)
                else {
                    continue;
                };
                let start = start.max(at);
                match carry.ranges.last_mut() {
                    Some(last) if last.file == file && index.block_at(last.to) == block => {
                        last.to = to
                    }
                    _ => {
                        let (seq, end) = (segment.seq, segment.end);
                        let range = Range { file, seq, from: start, to, end };
                        if carry.ranges.push(range).is_err() {
                            return Some(Place { seq: segment.seq, at: start });
                        }
                    }
                }
            }
        }
        None
    }
}

/// A stretch that the next source is made of.
struct Next {
    file: FileIndex,
    at: u64,
    carried: bool,
    whole: bool,
    from: Offset,
    to: Offset,
}

/// A search for what a segment has of a partition, from an offset on.
struct Search<'a> {
    ring: &'a Ring,
    index: &'a Index,
    slot: PartitionSlot,
    partition: &'a Partition,
    segment: (SegmentSeq, FileIndex),
    from: Offset,
}

impl Search<'_> {
    /// What comes first in order of offset, carried or not.
    fn next(&self) -> Option<Next> {
        let carried = self.carried();
        let originals = self.originals();
        carried.into_iter().chain(originals).min_by_key(|next| next.from)
    }

    fn carried(&self) -> Option<Next> {
        let entries = self.index.carried().of(self.slot).iter().enumerate();
        let mut wanted = entries.filter(|(place, entry)| {
            let dying = entry.file == self.segment.1;
            entry.to() > self.from && (dying || self.joins(*place))
        });
        wanted.next().map(|(_, entry)| Next {
            file: entry.file,
            at: entry.at(),
            carried: true,
            whole: entry.file != self.segment.1,
            from: entry.from.max(self.from),
            to: entry.to(),
        })
    }

    /// Whether a small stretch beside one that is carried now is written with it, so that there are few.
    fn joins(&self, place: usize) -> bool {
        let entries = self.index.carried().of(self.slot);
        let dying =
            |place: usize| entries.get(place).is_some_and(|entry| entry.file == self.segment.1);
        let last = place + 1 == entries.len();
        let small = entries.get(place).is_some_and(|entry| {
            u64::from(entry.bytes) < self.ring.carried_bytes_max() / JOINED_PART
        });
        let fresh = || last && self.originals().is_some();
        small && (dying(place + 1) || place.checked_sub(1).is_some_and(dying) || fresh())
    }

    /// What was not carried yet: as passes carry in order of offset, all behind the last stretch that begins
    /// below the segment's end.
    fn originals(&self) -> Option<Next> {
        let (seq, file) = self.segment;
        let there = self.index.in_segment(file, self.slot)?;
        if self.index.dirty_bytes(file) == 0 {
            return None;
        }
        let end = self.index.end_in(file, self.slot, there.first);
        let to = end.unwrap_or(self.partition.written);
        let stretches = self.index.carried().of(self.slot).iter();
        let dealt = stretches.filter(|stretch| stretch.from < to).map(|stretch| stretch.to()).max();
        let from = there.first.max(dealt.unwrap_or_default()).max(self.from);
        let at = self.ring.segment(seq)?.groups_at;
        (from < to).then_some(Next { file, at, carried: false, whole: false, from, to })
    }
}

/// A stretch is small if this many like it would not reach the bound. So there are at most twice as many
/// stretches, beside those of small partitions.
const JOINED_PART: u64 = 64;
