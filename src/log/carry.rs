//! Compaction, the part that reads: which records of a segment are the newest of their keys.
//!
//! A pass goes through a segment in portions. Of each, the keys are *collected* into a bounded table,
//! with their newest record in the portion; then a *walk* over all live records of their partitions
//! finds those that have a newer one; what is left is *staged*: its batches are read once more, without
//! the superseded records, into a commit group. `ring::carry` decides what is read, and writes; this
//! reads, on the thread that syncs.

pub mod groups;
mod keys;
mod stage;

use std::sync::Arc;

use groups::{Found, Range, Seen, Visitor, Window};
use keys::Keys;
use stage::Stage;

use crate::codec::batch::carry::{self as batches, KeyedRecord};
use crate::codec::compression::Shared;
use crate::limits;
use crate::log::format::{RingId, Run};
use crate::log::staging::Staging;
use crate::log::state::Cleanup;
use crate::storage::{Errand, Storage};
use crate::types::{FileRef, Offset, PartitionHandle, PartitionSlot, SegmentSeq};

/// A partition of a portion.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The partition.
    pub handle: PartitionHandle,
    /// Its place in the table.
    pub slot: PartitionSlot,
    /// Records below this are deleted.
    pub log_start: Offset,
    /// Records from here on may not be on flash.
    pub limit: Offset,
    /// What its topic says of old records.
    pub cleanup: Cleanup,
    /// The lowest offset of its records in the portion.
    lowest: Offset,
    /// One of them is a tombstone whose delete horizon has passed.
    expired: bool,
}

impl Part {
    /// A partition.
    pub fn new(
        (handle, slot): (PartitionHandle, PartitionSlot),
        (log_start, limit): (Offset, Offset),
        cleanup: Cleanup,
    ) -> Part {
        let lowest = Offset(i64::MAX);
        Part { handle, slot, log_start, limit, cleanup, lowest, expired: false }
    }
}

/// A stretch of a partition in a portion, all of it in one segment.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its partition's place among the portion's.
    pub part: u16,
    /// The segment's file.
    pub file: FileRef,
    /// The segment.
    pub seq: SegmentSeq,
    /// Where its groups begin.
    pub at: u64,
    /// Its batches were carried before.
    pub carried: bool,
    /// It is written once more unchanged, only to merge it with its neighbours.
    pub whole: bool,
    /// Nothing live is between what was carried before it and this.
    pub joined: bool,
    /// The first offset.
    pub from: Offset,
    /// The offset behind the last that the portion takes.
    pub to: Offset,
    /// Keys from here on did not fit the table: their records are kept.
    pub looked_to: Offset,
    /// Where the runs that were seen end: carried runs follow each other without gaps.
    pub seen_to: Offset,
    /// One of the runs is damaged: every run in the stretch is taken.
    pub loose: bool,
}

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The last source, for its keys.
    Collect,
    /// Everything, for newer records.
    Walk,
    /// This source, for what is carried.
    Stage(usize),
}

/// One ring's compaction.
pub struct Carry {
    /// What is read next.
    pub task: Task,
    /// What is left to read for it.
    pub ranges: heapless::Vec<Range, RANGES_MAX>,
    /// The portion's partitions.
    pub parts: heapless::Vec<Part, { limits::CARRY_PARTITIONS_MAX }>,
    /// The portion's stretches, in order of handle and offset.
    pub sources: heapless::Vec<Source, SOURCES_MAX>,
    /// The portion takes no more.
    pub full: bool,
    /// The ring.
    pub ring_id: RingId,
    /// Now, where the clock is right.
    pub now_ms: Option<i64>,
    /// Lent while it reads.
    pub window: Box<[u8]>,
    /// Lent while it reads; what is staged stays in it until it is written.
    pub staging: Option<Staging>,
    /// The group is full: it is written before staging goes on.
    pub staged_full: bool,
    /// Up to where the last carried partition is dealt with.
    pub cover: Option<(PartitionHandle, Offset)>,
    /// How many bytes more compressed batches may still take in all when they are carried uncompressed.
    pub growth_left: u64,
    /// Batches that could not be read, and are lost.
    pub damaged: u64,
    /// Bytes of a batch for which the buffer was too small: a larger one is needed.
    pub needs: usize,
    decompressor: Arc<Shared>,
    key: Box<[u8]>,
    keys: Keys,
}

/// What compressed batches are read with.
pub struct Packed<'a> {
    /// Room for a batch; empty: there is none now.
    pub buf: &'a mut [u8],
    /// Room for a key.
    pub key: &'a mut [u8],
    /// The decompressor, which requests use as well: it is taken for one batch at a time.
    pub decompressor: &'a Shared,
    /// Of a batch whose CRC holds, not all records could be read.
    pub beyond: bool,
}

impl Packed<'_> {
    /// Whether a batch is compressed, and longer than there is room for.
    fn is_short(&self, found: &Found) -> bool {
        found.head.compression().is_some() && found.head.bytes as usize > self.buf.len()
    }
}

/// Room for one key, if compaction is on.
fn key_bytes(keys_max: usize) -> usize {
    if keys_max == 0 { 0 } else { limits::COMPACTED_KEY_BYTES_MAX }
}

impl Carry {
    /// For `keys_max` keys in a portion; allocates all that it will ever need.
    pub fn new(keys_max: usize, decompressor: Arc<Shared>) -> Carry {
        Carry {
            task: Task::Collect,
            ranges: heapless::Vec::new(),
            parts: heapless::Vec::new(),
            sources: heapless::Vec::new(),
            full: false,
            ring_id: [0; 16],
            now_ms: None,
            window: Box::default(),
            staging: None,
            staged_full: false,
            cover: None,
            growth_left: 0,
            damaged: 0,
            needs: 0,
            decompressor,
            key: vec![0; key_bytes(keys_max)].into_boxed_slice(),
            keys: Keys::new(keys_max),
        }
    }

    /// The memory that one takes, without the shared decompressor.
    pub fn memory_bytes(keys_max: usize) -> usize {
        size_of::<Carry>() + key_bytes(keys_max) + Keys::memory_bytes(keys_max)
    }

    /// Begins a new portion.
    pub fn portion_begin(&mut self) {
        self.ranges.clear();
        self.parts.clear();
        self.sources.clear();
        self.full = false;
        self.needs = 0;
        self.keys.clear();
    }

    /// Whether the walk has anything left to find.
    pub fn is_undecided(&self) -> bool {
        self.keys.alive() > 0
    }

    fn step(&mut self, storage: &dyn Storage) {
        let mut ranges = std::mem::take(&mut self.ranges);
        let mut buf = std::mem::take(&mut self.window);
        let mut key = std::mem::take(&mut self.key);
        let mut staging = self.staging.take();
        let decompressor = Arc::clone(&self.decompressor);
        let mut window = Window::new(storage, &mut buf);
        while let Some(range) = ranges.first_mut() {
            let staged = staging.as_mut().filter(|staging| staging.is_empty());
            let packed = Packed {
                buf: staged.map_or(&mut [], Staging::window),
                key: &mut key,
                decompressor: &decompressor,
                beyond: false,
            };
            let ring_id = self.ring_id;
            let mut walk = |visitor: &mut dyn Visitor| {
                groups::walk(&mut window, &ring_id, range, limits::CARRY_STEP_BYTES, visitor)
            };
            let done = match self.task {
                Task::Collect => walk(&mut Collect { carry: self, packed }),
                Task::Walk => walk(&mut Walk { carry: self, packed, part: 0 }),
                Task::Stage(place) => match &mut staging {
                    Some(staging) => {
                        let decompressor = &*decompressor;
                        walk(&mut Stage { carry: self, place, staging, decompressor })
                    }
                    None => true,
                },
            };
            if !done {
                break;
            }
            ranges.remove(0);
        }
        (self.window, self.key, self.staging, self.ranges) = (buf, key, staging, ranges);
        let ended = match self.task {
            Task::Collect => self.full,
            Task::Walk => !self.is_undecided(),
            Task::Stage(_) => false,
        };
        if ended {
            self.ranges.clear();
        }
    }
}

impl Errand for Carry {
    fn run(&mut self, storage: &dyn Storage) {
        self.step(storage);
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

impl std::fmt::Debug for Carry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Carry({:?}, {} ranges)", self.task, self.ranges.len())
    }
}

impl Source {
    fn wants(&self, handle: PartitionHandle, run: &Run) -> bool {
        run.handle == handle
            && run.is_carried() == self.carried
            && run.offset < self.to
            && run.end() > self.from
            && (!self.carried || self.loose || self.follows(run))
    }

    /// The segment may have older versions of a stretch's runs: only the next one is looked for.
    fn follows(&self, run: &Run) -> bool {
        run.offset <= self.seen_to && run.end() > self.seen_to
    }

    /// Called at the end of a stretch. Whether it has to be read again, as one of its runs was missing: then
    /// every run in it is taken.
    pub fn again(&mut self) -> bool {
        let again = self.carried && !self.loose && self.seen_to < self.to;
        self.loose |= again;
        again
    }
}

/// The offset of a record of a batch.
fn offset_of(found: &Found, record: &KeyedRecord<'_>) -> Offset {
    Offset(found.head.first.0.saturating_add(i64::from(record.offset_delta)))
}

/// Collects the keys of the last source.
struct Collect<'a> {
    carry: &'a mut Carry,
    packed: Packed<'a>,
}

impl Visitor for Collect<'_> {
    fn wants(&mut self, run: &Run) -> bool {
        let source = self.carry.sources.last();
        let part = source.and_then(|source| self.carry.parts.get(usize::from(source.part)));
        source.zip(part).is_some_and(|(source, part)| source.wants(part.handle, run))
    }

    fn batch(&mut self, window: &mut Window<'_>, found: &Found) -> Seen {
        if self.packed.is_short(found) {
            self.carry.needs = found.head.bytes as usize;
            return Seen::Enough;
        }
        let Carry { sources, parts, keys, full, now_ms, .. } = &mut *self.carry;
        let (Some(source), head) = (sources.last_mut(), &found.head) else {
            return Seen::Enough;
        };
        let Some(part) = parts.get_mut(usize::from(source.part)) else {
            return Seen::Enough;
        };
        if head.last < source.from || head.first >= source.to {
            return Seen::More;
        }
        let horizon = batches::delete_horizon_ms(head.attributes, head.first_ms);
        let horizon = horizon.filter(|_| source.carried);
        let kept_long = horizon.zip(*now_ms).is_some_and(|(horizon, now)| now >= horizon);
        let before = keys.len();
        let mut filled_at = None;
        let holds = window.records(found, &mut self.packed, &mut |record| {
            let offset = offset_of(found, record);
            let Some(key) = record.key.filter(|_| offset >= part.log_start) else {
                return true;
            };
            // The partition's newest record stays, so that consumers can reach the end.
            let expired = record.tombstone && kept_long && offset.plus(1) < part.limit;
            if keys.offer(source.part, key, offset, expired) {
                part.lowest = part.lowest.min(offset);
                part.expired |= expired;
                return true;
            }
            filled_at = Some(offset);
            false
        });
        if let Some(offset) = filled_at {
            *full = true;
            // The next portion begins with this batch; unless this one would be empty without it.
            let alone = before == 0;
            source.to = if alone { head.next() } else { head.first };
            source.looked_to = if alone { offset } else { head.first };
            return Seen::Enough;
        }
        if holds { Seen::More } else { Seen::Broken }
    }

    fn run_ends(&mut self, run: &Run) {
        if let Some(source) = self.carry.sources.last_mut() {
            source.seen_to = source.seen_to.max(run.end());
        }
    }
}

/// Looks for newer records of the keys.
struct Walk<'a> {
    carry: &'a mut Carry,
    packed: Packed<'a>,
    part: usize,
}

impl Visitor for Walk<'_> {
    fn wants(&mut self, run: &Run) -> bool {
        let found = self.carry.parts.iter().position(|part| part.handle == run.handle);
        self.part = found.unwrap_or(0);
        found.and_then(|part| self.carry.parts.get(part)).is_some_and(|part| {
            (part.expired || run.end() > part.lowest) && run.offset < part.limit
        })
    }

    fn batch(&mut self, window: &mut Window<'_>, found: &Found) -> Seen {
        let Some(part) = self.carry.parts.get(self.part).copied() else {
            return Seen::More;
        };
        let newer = found.head.last > part.lowest && found.head.first < part.limit;
        if !(newer || part.expired) {
            return Seen::More;
        }
        if self.packed.is_short(found) {
            self.carry.needs = found.head.bytes as usize;
            return Seen::Enough;
        }
        let Carry { keys, .. } = &mut *self.carry;
        let holds = window.records(found, &mut self.packed, &mut |record| {
            let offset = offset_of(found, record);
            if let Some(key) = record.key.filter(|_| offset < part.limit) {
                keys.seen(self.part as u16, key, offset);
            }
            true
        });
        if std::mem::take(&mut self.packed.beyond) {
            keys.seen_unknown(self.part as u16);
        }
        match holds {
            _ if keys.alive() == 0 => Seen::Enough,
            true => Seen::More,
            false => Seen::Broken,
        }
    }

    fn run_ends(&mut self, _run: &Run) {}
}

/// Ranges of blocks that one errand reads; the next errand reads the others.
const RANGES_MAX: usize = 16;

/// Stretches of partitions in one portion.
const SOURCES_MAX: usize = 32;
