//! Finding offsets by timestamp.
//!
//! The segments' newest timestamps tell where to start, the groups' directories and the batches'
//! headers tell what to skip, and in a batch the records themselves are exact. A compressed batch is
//! read whole; for one that is longer than the buffer a large one is taken, and given back when its
//! partition is done. Of a batch that cannot be read here the first record is given: it is at or before
//! the one that is looked for.

use super::entries::NIL;
use super::job::{Context, Job, Phase};
use super::plan::Cut;
use super::send::Sending;
use crate::broker::JobNext;
use crate::codec::Reader;
use crate::codec::batch::{BatchHeader, Unread, Walked};
use crate::codec::compression::Compression;
use crate::limits;
use crate::log::index::Index;
use crate::log::read::batch::{self, BatchHead, Batches};
use crate::log::read::walk::{self, Walk};
use crate::log::read::{Got, Wanted};
use crate::log::state::Partition;
use crate::types::{Offset, PartitionSlot, SegmentSeq};

/// Stands for the newest timestamp, whatever it is. No timestamp that is looked for is negative.
pub(super) const NEWEST: i64 = -3;

/// How far a look-up is.
#[derive(Default)]
pub(super) struct Lookup {
    started: bool,
    /// It has walked a partition since it began.
    walked: bool,
    scan: Option<Scan>,
    /// The timestamp that is looked for in this partition.
    target_ms: i64,
    /// The newest timestamp that was passed on the way.
    best_ms: i64,
    /// How often it began anew with an older timestamp.
    restarts: u32,
}

/// A walk over the records of one batch.
#[derive(Clone, Copy)]
struct Scan {
    head: BatchHead,
    /// The next record; of a compressed batch its beginning.
    at: u64,
    end: u64,
    compression: Option<Compression>,
}

enum Scanned {
    Read(Wanted),
    Found(Offset, i64),
    Nothing,
    Turn,
    Large,
}

impl Job {
    pub(super) fn lookup(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        loop {
            if self.work.walk.is_none() {
                if self.work.lookup.walked && buf.len() > limits::LEASE_BYTES {
                    return Some(JobNext::Buffer { large: false });
                }
                if !self.lookup_next(context) {
                    self.phase = Phase::Send;
                    self.work.sending = Sending::default();
                    self.work.window = None;
                    return None;
                }
                self.lookup_partition(context);
                continue;
            }
            let step = if self.work.lookup.scan.is_some() {
                self.lookup_record(context, buf)
            } else if self.work.cut.is_some() {
                self.lookup_batch(context, buf)
            } else {
                self.lookup_run(context, buf)
            };
            if step.is_some() {
                return step;
            }
        }
    }

    fn lookup_next(&mut self, context: &Context<'_>) -> bool {
        self.at = if self.work.lookup.started {
            context.arena.next(self.at).unwrap_or(NIL)
        } else {
            self.list.head
        };
        self.work.lookup.started = true;
        self.at != NIL
    }

    fn lookup_partition(&mut self, context: &mut Context<'_>) {
        let entry = *context.arena.entry(self.at);
        if entry.is_found() || !entry.error().is_none() {
            return;
        }
        let wanted = entry.lookup_wanted();
        let target = match (wanted, context.partition(self.at)) {
            (_, None) => None,
            (NEWEST, Some(partition)) => newest(context, partition, &entry.target()),
            (timestamp_ms, Some(_)) => Some(timestamp_ms),
        };
        self.work.lookup.restarts = 0;
        match target {
            Some(target_ms) => self.lookup_start(context, target_ms),
            None => self.lookup_found(context, Offset::NONE, -1),
        }
    }

    /// Starts in the first segment that has something as new as that.
    fn lookup_start(&mut self, context: &mut Context<'_>, target_ms: i64) {
        self.work.lookup.target_ms = target_ms;
        self.work.lookup.best_ms = i64::MIN;
        let is_newest = context.arena.entry(self.at).lookup_wanted() == NEWEST;
        let is_first = is_newest && self.work.lookup.restarts == 0;
        let started = context.partition(self.at).and_then(|partition| {
            let super::entries::Target::Known(slot, handle) = context.arena.entry(self.at).target()
            else {
                return None;
            };
            let (from, mut limit) = (partition.log_start, partition.high_watermark);
            if is_first {
                limit = newest_limit(context, partition, slot, target_ms);
            }
            let walk = |from| Walk::new(partition.ring, slot, handle, from, limit);
            let index = context.source.index(partition.ring);
            let new = |newest_ms: i64| Index::rounded_up(newest_ms) >= target_ms;
            let mut segments = segments(context, partition, slot);
            let stretches = index.carried().of(slot);
            if stretches.is_empty() {
                let (seq, _) = segments.find(|(_, newest_ms)| new(*newest_ms))?;
                return Some(walk(from).from_segment(context.source, seq));
            }
            // In order of offset, carried and ordinary records may alternate.
            let carried = stretches.iter().filter(|stretch| stretch.to() > from);
            let carried = carried.filter(|stretch| new(stretch.newest_ms)).map(|s| s.from);
            let files = index.segments().iter().filter_map(|(_, f)| index.in_segment(*f, slot));
            let originals = files.filter(|there| new(there.newest_ms)).map(|there| there.first);
            carried.chain(originals).min().map(|first| walk(first.max(from)))
        });
        self.work.lookup.walked = true;
        match started {
            Some(walk) => self.work.walk = Some(walk),
            None => self.lookup_found(context, Offset::NONE, -1),
        }
    }

    fn lookup_run(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        let view = self.view(buf);
        let target_ms = self.work.lookup.target_ms;
        let walk = self.work.walk.as_mut()?;
        match walk.next(context.source, context.cursors, &view) {
            walk::Passed::Read(wanted) => return Some(self.read(&wanted, buf)),
            walk::Passed::Broken(_) => {}
            walk::Passed::End => self.lookup_nothing(context),
            walk::Passed::Run(found) => {
                if found.run.timestamp_max_ms < target_ms {
                    walk.wanted(found.limit);
                    let newest_ms = found.run.timestamp_max_ms;
                    self.work.lookup.best_ms = self.work.lookup.best_ms.max(newest_ms);
                } else {
                    let end = found.at + u64::from(found.run.bytes);
                    let (file, seq) = (found.segment.file, found.segment.seq);
                    let offsets = (found.run.offset, found.run.end());
                    let gaps = found.run.is_carried();
                    let batches = Batches::new(file, seq, (found.at, end), offsets, gaps);
                    self.work.cut = Some(Cut { found, batches });
                }
            }
        }
        None
    }

    fn lookup_batch(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        let view = self.view(buf);
        let work = &mut *self.work;
        let (walk, cut) = (work.walk.as_mut()?, work.cut.as_mut()?);
        match cut.batches.next(&view) {
            batch::Scanned::Read(wanted) => return Some(self.read(&wanted, buf)),
            batch::Scanned::Broken(_) => {}
            batch::Scanned::End => {
                walk.wanted(cut.found.limit);
                self.work.cut = None;
            }
            batch::Scanned::Batch(head, _) if head.first >= cut.found.limit => {
                walk.wanted(cut.found.limit);
                self.work.cut = None;
            }
            batch::Scanned::Batch(head, _) if head.last < walk.want() => {}
            batch::Scanned::Batch(head, at) => {
                let from = head.first.max(walk.want());
                if head.newest_ms < self.work.lookup.target_ms {
                    self.work.lookup.best_ms = self.work.lookup.best_ms.max(head.newest_ms);
                } else if head.is_append_time() {
                    self.lookup_found(context, from, head.newest_ms);
                } else {
                    let compression = head.compression();
                    let skip = if compression.is_some() { 0 } else { BatchHead::BYTES as u64 };
                    let end = at + u64::from(head.bytes);
                    self.work.lookup.scan = Some(Scan { head, at: at + skip, end, compression });
                }
            }
        }
        None
    }

    fn lookup_record(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        let scanned = match self.work.lookup.scan?.compression {
            None => self.lookup_scan(buf),
            Some(compression) => self.lookup_packed(context, buf, compression),
        }?;
        if !matches!(scanned, Scanned::Turn) {
            context.unpacker.release(context.conn);
        }
        match scanned {
            Scanned::Turn => return Some(JobNext::Turn),
            // It starts anew in the large buffer, with the partitions that are not found yet.
            Scanned::Large => return Some(JobNext::Buffer { large: true }),
            Scanned::Read(wanted) => return Some(self.read(&wanted, buf)),
            Scanned::Found(offset, timestamp_ms) => {
                self.lookup_found(context, offset, timestamp_ms);
            }
            Scanned::Nothing => self.work.lookup.scan = None,
        }
        None
    }

    /// Goes over the batch's records as far as they are in the window.
    fn lookup_scan(&mut self, buf: &[u8]) -> Option<Scanned> {
        let view = self.view(buf);
        let (from, cut) = (self.work.walk.as_ref()?.want(), self.work.cut.as_ref()?);
        let segment = cut.found.segment;
        let target_ms = self.work.lookup.target_ms;
        let scan = self.work.lookup.scan.as_mut()?;
        while scan.at < scan.end {
            let left = (scan.end - scan.at) as usize;
            let count = left.min(RECORD_HEAD_BYTES_MAX);
            let bytes = match view.get(segment.file.ring, segment.seq, scan.at, count) {
                Got::Missing => {
                    return Some(Scanned::Read(Wanted {
                        file: segment.file,
                        seq: segment.seq,
                        at: scan.at,
                        bytes_min: count,
                        bytes_max: left,
                    }));
                }
                Got::Broken => return Some(Scanned::Nothing),
                Got::Bytes(bytes) => bytes,
            };
            let Some((bytes, timestamp_delta, offset_delta)) = record_head(bytes) else {
                return Some(Scanned::Nothing);
            };
            let timestamp_ms = scan.head.first_ms.saturating_add(timestamp_delta);
            let offset = Offset(scan.head.first.0.saturating_add(i64::from(offset_delta)));
            let inside = offset >= from && offset <= scan.head.last;
            if timestamp_ms >= target_ms && inside {
                return Some(Scanned::Found(offset, timestamp_ms));
            }
            scan.at += bytes;
        }
        Some(Scanned::Nothing)
    }

    /// Goes over the records of a compressed batch.
    fn lookup_packed(
        &mut self,
        context: &mut Context<'_>,
        buf: &[u8],
        compression: Compression,
    ) -> Option<Scanned> {
        let view = self.view(buf);
        let (from, segment) =
            (self.work.walk.as_ref()?.want(), self.work.cut.as_ref()?.found.segment);
        let Scan { head, at, end, .. } = self.work.lookup.scan?;
        let from = head.first.max(from);
        let by_header = || {
            let newest = context.arena.entry(self.at).lookup_wanted() == NEWEST;
            let timestamp_ms = if newest { head.newest_ms } else { head.first_ms };
            Some(Scanned::Found(from, timestamp_ms))
        };
        let count = (end - at) as usize;
        if count > buf.len() {
            let fits = count <= context.large_bytes;
            return if fits { Some(Scanned::Large) } else { by_header() };
        }
        let bytes = match view.get(segment.file.ring, segment.seq, at, count) {
            Got::Missing => {
                let (file, seq) = (segment.file, segment.seq);
                let (bytes_min, bytes_max) = (count, count);
                return Some(Scanned::Read(Wanted { file, seq, at, bytes_min, bytes_max }));
            }
            Got::Broken => return Some(Scanned::Nothing),
            Got::Bytes(bytes) => &bytes[..count],
        };
        let header = BatchHeader::read(bytes)?;
        loop {
            match context.unpacker.record(context.conn, compression, header, bytes) {
                Ok(Walked::Record(record)) => {
                    let offset = Offset(record.offset);
                    if record.timestamp >= self.work.lookup.target_ms && offset >= from {
                        return Some(Scanned::Found(offset, record.timestamp));
                    }
                }
                Ok(Walked::End) | Err(Unread::Trailing) => return Some(Scanned::Nothing),
                Ok(Walked::Turn) => return Some(Scanned::Turn),
                Err(_) => return by_header(),
            }
        }
    }

    /// The walk came to its end. A newest timestamp is known to the second only, at first, and may belong
    /// to a record that was deleted: then the newest that was passed is looked for.
    fn lookup_nothing(&mut self, context: &mut Context<'_>) {
        let newest = context.arena.entry(self.at).lookup_wanted() == NEWEST;
        let best_ms = self.work.lookup.best_ms;
        self.work.lookup.restarts += 1;
        if newest && best_ms > i64::MIN && self.work.lookup.restarts <= 1 + RESTARTS_MAX {
            self.lookup_start(context, best_ms);
        } else {
            self.lookup_found(context, Offset::NONE, -1);
        }
    }

    fn lookup_found(&mut self, context: &mut Context<'_>, offset: Offset, timestamp_ms: i64) {
        let entry = context.arena.entry_mut(self.at);
        entry.found_set(offset, timestamp_ms);
        self.work.walk = None;
        self.work.cut = None;
        self.work.lookup.scan = None;
    }
}

/// The segments that may hold something of a partition that was not deleted, oldest first, each
/// with its newest timestamp.
fn segments<'a>(
    context: &'a Context<'_>,
    partition: &Partition,
    slot: PartitionSlot,
) -> impl Iterator<Item = (SegmentSeq, i64)> + 'a {
    let index = context.source.index(partition.ring);
    let first = index.segment_for(slot, partition.log_start);
    let live = index.segments().iter();
    live.filter(move |(seq, _)| Some(*seq) >= first)
        .filter_map(move |(seq, file)| Some((*seq, index.in_segment(*file, slot)?.newest_ms)))
}

/// The offset behind the last record that may have the newest timestamp of a partition, which to the second
/// is `newest_ms`.
fn newest_limit(
    context: &Context<'_>,
    partition: &Partition,
    slot: PartitionSlot,
    newest_ms: i64,
) -> Offset {
    let index = context.source.index(partition.ring);
    let mut limit = None;
    for (_, file) in index.segments() {
        let Some(there) =
            index.in_segment(*file, slot).filter(|there| there.newest_ms == newest_ms)
        else {
            continue;
        };
        limit = index.end_in(*file, slot, there.first);
        if there.first < partition.log_start {
            // The record itself may be deleted, and another one the newest that is left.
            limit = None;
            break;
        }
    }
    let limit = limit.filter(|_| !partition.compacted);
    limit.map_or(partition.high_watermark, |limit| limit.min(partition.high_watermark))
}

/// The newest timestamp of a partition, rounded up to a second.
fn newest(
    context: &Context<'_>,
    partition: &Partition,
    target: &super::entries::Target,
) -> Option<i64> {
    let super::entries::Target::Known(slot, _) = target else {
        return None;
    };
    let empty = partition.log_start >= partition.high_watermark;
    let stretches = context.source.index(partition.ring).carried().of(*slot).iter();
    let carried = stretches.map(|stretch| Index::rounded_up(stretch.newest_ms));
    let newest = segments(context, partition, *slot).map(|(_, newest_ms)| newest_ms);
    newest.chain(carried).max().filter(|_| !empty)
}

/// A record's bytes, and how far its timestamp and offset are from its batch's.
fn record_head(bytes: &[u8]) -> Option<(u64, i64, i32)> {
    let mut r = Reader::new(bytes);
    let length = u64::try_from(r.varint().ok()?).ok()?;
    let before = bytes.len() - r.rest().len();
    r.take(1).ok()?;
    let timestamp_delta = r.varlong().ok()?;
    let offset_delta = r.varint().ok()?;
    Some((before as u64 + length, timestamp_delta, offset_delta))
}

/// Length, attributes, timestamp and offset of a record at their longest.
const RECORD_HEAD_BYTES_MAX: usize = 21;

/// How often a look-up of the newest timestamp begins anew with an older one.
const RESTARTS_MAX: u32 = 3;
