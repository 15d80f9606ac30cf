//! Stages what is carried in a commit group.

use super::groups::{Found, Seen, Visitor, Window, read_batch};
use super::{Carry, Source, offset_of};
use crate::codec::batch::carry::{self as batches, Keep, KeyedRecord};
use crate::codec::compression::{Compression, Decompressor, Shared};
use crate::log::carry::Part;
use crate::log::format::Run;
use crate::log::staging::Staging;
use crate::storage::Storage;
use crate::types::Offset;

/// Stages a source.
pub(super) struct Stage<'a> {
    pub(super) carry: &'a mut Carry,
    pub(super) place: usize,
    pub(super) staging: &'a mut Staging,
    pub(super) decompressor: &'a Shared,
}

impl Visitor for Stage<'_> {
    fn wants(&mut self, run: &Run) -> bool {
        let source = self.carry.sources.get(self.place);
        let part = source.and_then(|source| self.carry.parts.get(usize::from(source.part)));
        source.zip(part).is_some_and(|(source, part)| source.wants(part.handle, run))
    }

    fn batch(&mut self, window: &mut Window<'_>, found: &Found) -> Seen {
        let head = &found.head;
        let Some(source) = self.carry.sources.get(self.place).copied() else {
            return Seen::Enough;
        };
        let Some(part) = self.carry.parts.get(usize::from(source.part)).copied() else {
            return Seen::Enough;
        };
        if head.last < source.from || head.first >= source.to {
            return Seen::More;
        }
        let before = self.carry.cover;
        let before = before.filter(|(handle, _)| source.joined && *handle == part.handle);
        let from = before.map_or(source.from, |(_, end)| end).min(head.first);
        // Nothing live is before it. A run has 32 bits for how many offsets it takes.
        let from = if run_fits(from, head.next()) { from } else { head.first };
        if self.is_full(found, &part, from) {
            if self.staging.is_empty() {
                self.carry.needs = head.bytes as usize;
            }
            self.carry.staged_full = !self.staging.is_empty();
            return Seen::Enough;
        }
        match self.carry_batch(window.storage, found, &source, &part) {
            None => {
                log::error!(
                    "offsets {} to {} of partition handle {} are damaged, and not carried",
                    head.first.0,
                    head.last.0,
                    part.handle.0
                );
                self.carry.damaged += 1;
                return Seen::Broken;
            }
            Some(Outcome::Full) => {
                self.carry.staged_full = true;
                return Seen::Enough;
            }
            Some(Outcome::Carried(carried)) if carried.bytes > 0 => {
                let run = Run {
                    handle: part.handle,
                    records: (head.next().0 - from.0) as u32,
                    offset: from,
                    bytes: carried.bytes as u32,
                    timestamp_max_ms: carried.newest_ms,
                    kept: carried.records,
                };
                self.staging.push_tail(part.slot, run);
                self.carry.cover = Some((part.handle, head.next()));
            }
            Some(Outcome::Carried(_)) => {}
        }
        if let Some(source) = self.carry.sources.get_mut(self.place) {
            source.from = head.next();
        }
        Seen::More
    }

    fn run_ends(&mut self, run: &Run) {
        if let Some(source) = self.carry.sources.get_mut(self.place) {
            source.seen_to = source.seen_to.max(run.end());
        }
    }
}

/// Whether a run may go from one offset to another.
fn run_fits(from: Offset, end: Offset) -> bool {
    end.0 - from.0 <= i64::from(i32::MAX)
}

enum Outcome {
    /// This is left of it, at the start of the free room.
    Carried(batches::Carried),
    /// There is more room for it in the next group.
    Full,
}

impl Stage<'_> {
    /// Whether a batch has to go to the next group.
    fn is_full(&self, found: &Found, part: &Part, from: Offset) -> bool {
        let first = self.staging.entries().last().map(|entry| entry.run);
        let first = first.filter(|run| run.handle == part.handle);
        let jumps =
            first.is_some_and(|run| run.end() != from || !run_fits(run.offset, found.head.next()));
        jumps || !self.staging.has_room(found.head.bytes as usize, 1)
    }

    /// Reads a batch, and leaves its live records at the start of the free room. None: it is damaged.
    fn carry_batch(
        &mut self,
        storage: &dyn Storage,
        found: &Found,
        source: &Source,
        part: &Part,
    ) -> Option<Outcome> {
        let (keys, now_ms) = (&self.carry.keys, self.carry.now_ms);
        let mut lives = |record: &KeyedRecord<'_>| {
            let offset = offset_of(found, record);
            let newest = |key| offset >= source.looked_to || keys.lives(source.part, key, offset);
            let last = offset.plus(1) >= part.limit;
            let stays = last || is_young(found, record, part, now_ms);
            offset >= part.log_start && (stays || record.key.is_some_and(newest))
        };
        let horizon_ms = now_ms.map(|now| now.saturating_add(part.cleanup.tombstones_ms));
        let known = batches::delete_horizon_ms(found.head.attributes, found.head.first_ms);
        let batch = Batch {
            storage,
            found,
            horizon_ms: horizon_ms.filter(|_| known.is_none() || !source.carried),
        };
        let empty = self.staging.is_empty();
        let tail = self.staging.tail();
        match found.head.compression() {
            _ if source.whole => batch.whole(tail).map(Outcome::Carried),
            None => batch.plain(tail, &mut lives).map(Outcome::Carried),
            Some(compression) => {
                let at = tail.len().checked_sub(found.head.bytes as usize)?;
                batch.read(&mut tail[at..])?;
                let growth_left = &mut self.carry.growth_left;
                let packed = self.decompressor.with(|decompressor| {
                    let packed = (compression, decompressor);
                    batch.packed((tail, at), packed, growth_left, empty, &mut lives)
                });
                packed.or_else(|| batch.whole(tail).map(Outcome::Carried))
            }
        }
    }
}

/// Whether a record stays because it is younger than `min.compaction.lag.ms`, or may be.
fn is_young(found: &Found, record: &KeyedRecord<'_>, part: &Part, now_ms: Option<i64>) -> bool {
    let lag_ms = part.cleanup.lag_ms;
    let head = &found.head;
    let timestamp_ms = match head.is_append_time() {
        true => head.newest_ms,
        false => head.first_ms.saturating_add(record.timestamp_delta),
    };
    lag_ms > 0 && now_ms.is_none_or(|now| timestamp_ms > now.saturating_sub(lag_ms))
}

/// A batch that is read to be carried.
struct Batch<'a> {
    storage: &'a dyn Storage,
    found: &'a Found,
    /// What becomes its delete horizon, if it keeps a tombstone.
    horizon_ms: Option<i64>,
}

impl Batch<'_> {
    /// As it is.
    fn whole(&self, tail: &mut [u8]) -> Option<batches::Carried> {
        let head = &self.found.head;
        let bytes = head.bytes as usize;
        self.read(tail.get_mut(..bytes)?)?;
        let records = head.records.unsigned_abs();
        Some(batches::Carried { bytes, records, newest_ms: head.newest_ms })
    }

    /// The live records of an uncompressed one.
    fn plain(&self, tail: &mut [u8], lives: &mut Keep<'_>) -> Option<batches::Carried> {
        let at = tail.len().checked_sub(self.found.head.bytes as usize)?;
        self.read(&mut tail[at..])?;
        if let Some(horizon_ms) = self.horizon_ms
            && batches::keeps_tombstone(&tail[at..], lives)
        {
            if let Ok(carried) = batches::carry(tail, at, Some(horizon_ms), lives) {
                return Some(carried);
            }
            // A large batch: its tombstones stay until it is smaller.
            self.read(&mut tail[at..])?;
        }
        batches::carry(tail, at, None, lives).ok()
    }

    /// The live records of a compressed one, which is at `at`, uncompressed. None: they would take too much
    /// room, or cannot be read here, and the batch stays as it is. `empty`: the group is empty, so another
    /// one has no more room.
    fn packed(
        &self,
        (tail, at): (&mut [u8], usize),
        (compression, decompressor): (Compression, &mut Decompressor),
        growth_left: &mut u64,
        empty: bool,
        lives: &mut Keep<'_>,
    ) -> Option<Outcome> {
        let bytes = self.found.head.bytes as usize;
        let mut carry = |horizon_ms, keep: &mut Keep<'_>| {
            batches::carry_packed(tail, at, (compression, &mut *decompressor), horizon_ms, keep)
        };
        let mut tombstone = false;
        let mut carried = carry(None, &mut |record| {
            let stays = lives(record);
            tombstone |= stays && record.tombstone;
            stays
        });
        if tombstone && carried.is_ok() && self.horizon_ms.is_some() {
            carried = carry(self.horizon_ms, lives).or_else(|_| carry(None, lives));
        }
        let growth = |carried: &batches::Carried| carried.bytes.saturating_sub(bytes) as u64;
        match carried {
            Ok(carried) if growth(&carried) <= *growth_left => {
                *growth_left -= growth(&carried);
                Some(Outcome::Carried(carried))
            }
            Err(batches::NoRoom) if !empty => Some(Outcome::Full),
            _ => None,
        }
    }

    fn read(&self, buf: &mut [u8]) -> Option<()> {
        read_batch(self.storage, self.found, buf).then_some(())
    }
}
