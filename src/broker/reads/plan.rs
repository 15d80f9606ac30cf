//! Planning a fetch: which ranges of which segments make up the answer.

use super::entries::{Arena, NIL, Target};
use super::job::{Context, Job, Phase, spans_from};
use super::send::{GONE, Sending};
use crate::broker::JobNext;
use crate::codec::ErrorCode;
use crate::codec::batch::marker_bytes;
use crate::log::read::batch::{self, BatchHead, Batches};
use crate::log::read::cursors::Cursor;
use crate::log::read::walk::{self, FoundRun, Walk};
use crate::types::{Offset, SegmentSeq};

/// How far a plan is.
#[derive(Default)]
pub(super) struct Plan {
    started: bool,
    /// Ranges that were planned; they are at the buffer's end.
    pub(super) spans: u16,
    /// Bytes of this entry.
    bytes: u64,
    /// The most bytes of this entry.
    bytes_max: u64,
    /// Bytes of all entries, and those of the markers for holes.
    bytes_all: u64,
    bytes_holes: u64,
    /// A partition has an error that a client should learn of at once.
    urgent: bool,
    /// A partition can be read.
    readable: bool,
    /// Something of this entry could not be read.
    pub(super) unreadable: bool,
    /// There is no room for more ranges.
    full: bool,
    /// There is more than the request allows.
    short: bool,
}

/// A run of which not all is sent.
pub(super) struct Cut {
    pub(super) found: FoundRun,
    pub(super) batches: Batches,
}

/// A range of a segment that holds whole batches of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) seq: SegmentSeq,
    pub(super) at: u64,
    pub(super) bytes: u32,
    /// The first offset.
    pub(super) first: Offset,
    /// Its batches were carried, and leave offsets out.
    pub(super) gaps: bool,
}

impl Job {
    pub(super) fn plan(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        loop {
            if self.work.walk.is_none() {
                if !self.plan_next(context) {
                    return self.plan_done(context);
                }
                if let Err(step) = self.plan_partition(context) {
                    return Some(step);
                }
                continue;
            }
            let step = if self.work.cut.is_some() {
                self.plan_batch(context, buf)
            } else {
                self.plan_run(context, buf)
            };
            if step.is_some() {
                return step;
            }
        }
    }

    /// Goes to the next entry; false: there is none.
    fn plan_next(&mut self, context: &Context<'_>) -> bool {
        self.at = if self.work.plan.started {
            context.arena.next(self.at).unwrap_or(NIL)
        } else {
            self.list.head
        };
        self.work.plan.started = true;
        self.work.plan.bytes = 0;
        self.work.plan.unreadable = false;
        self.at != NIL
    }

    /// Checks an entry's offset, and starts the walk if there may be something to send.
    fn plan_partition(&mut self, context: &mut Context<'_>) -> Result<(), JobNext> {
        let entry = *context.arena.entry(self.at);
        if !entry.error().is_none() {
            let was_there = matches!(entry.target(), Target::Known(..));
            let unknown = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::UNKNOWN_TOPIC_ID];
            self.work.plan.urgent |= was_there || !unknown.contains(&entry.error());
            return Ok(());
        }
        let (Some(partition), Target::Known(slot, _)) =
            (context.partition(self.at), entry.target())
        else {
            if context.was(self.at).is_none() {
                return Err(GONE);
            }
            let entry = context.arena.entry_mut(self.at);
            entry.error_set(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            self.work.plan.urgent = true;
            return Ok(());
        };
        let (from, limit) = (partition.log_start, partition.high_watermark);
        let walk = Walk::new(partition.ring, slot, partition.handle, entry.offset(), limit);
        let index = context.source.index(partition.ring);
        let offset = entry.offset();
        if offset < from || offset > limit {
            let entry = context.arena.entry_mut(self.at);
            entry.error_set(ErrorCode::OFFSET_OUT_OF_RANGE);
            self.work.plan.urgent = true;
            return Ok(());
        }
        self.work.plan.readable = true;
        if offset < limit && !partition.compacted && index.is_moving(slot, offset) {
            // Whether it is gone is known once the head that overwrites it is on flash. If that fails, the
            // reader is led past it and need not wait.
            return Ok(());
        }
        self.work.plan.bytes_max = u64::from(entry.bytes_max());
        if entry.offset() < limit
            && !self.work.plan.full
            && (self.work.plan.bytes_all == 0 || self.room() > 0)
        {
            self.work.walk = Some(walk);
        }
        Ok(())
    }

    fn plan_run(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        let view = self.view(buf);
        let walk = self.work.walk.as_mut()?;
        match walk.next(context.source, context.cursors, &view) {
            walk::Passed::Read(wanted) => return Some(self.read(&wanted, buf)),
            walk::Passed::Broken(place) => {
                let ring = context.partition(self.at)?.ring;
                self.damaged(context, ring, place.seq, place.at);
            }
            walk::Passed::End => {
                let (want, limit, cursor) = (walk.want(), walk.limit(), cursor_of(walk));
                let first = context.arena.entry(self.at).offset();
                let nothing = self.work.plan.bytes == 0 && !self.work.plan.unreadable;
                if nothing && first < limit && self.is_gone(context, first) {
                    let hole = Span::hole(first, limit);
                    if self.take(context, buf, &hole) {
                        self.work.plan.bytes_holes += u64::from(hole.bytes);
                    }
                }
                self.plan_stop(context, want, cursor);
            }
            walk::Passed::Run(found) => {
                let end = found.at + u64::from(found.run.bytes);
                let (seq, ring) = (found.segment.seq, found.segment.file.ring);
                let want = walk.want();
                let whole = found.skip == 0
                    && found.run.offset >= want
                    && found.run.end() <= found.limit
                    && u64::from(found.run.bytes) <= self.room()
                    && context.damage.of(ring, seq, found.at, end).is_none();
                let gaps = found.run.is_carried();
                let (bytes, first) = (found.run.bytes, found.run.offset);
                let span = Span { seq, at: found.at, bytes, first, gaps };
                if !whole {
                    let from = found.at + u64::from(found.skip);
                    let first = match found.skip {
                        0 => found.run.offset,
                        _ => want,
                    };
                    let offsets = (first, found.run.end());
                    let batches = Batches::new(found.segment.file, seq, (from, end), offsets, gaps);
                    self.work.cut = Some(Cut { found, batches });
                } else if !self.take(context, buf, &span) {
                    self.plan_stop(context, want, cursor_in(&found, 0));
                } else {
                    self.plan_wanted(found.run.end());
                    if self.room() < BatchHead::BYTES as u64 {
                        let walk = self.work.walk.as_ref();
                        let (want, cursor) = walk.map(|walk| (walk.want(), cursor_of(walk)))?;
                        let limit = context.partition(self.at).map(|at| at.high_watermark);
                        let more = limit.is_some_and(|limit| want < limit);
                        self.work.plan.short |=
                            more && self.room_of_request() < BatchHead::BYTES as u64;
                        self.plan_stop(context, want, cursor);
                    }
                }
            }
        }
        None
    }

    /// Whether nothing can be found again at an offset where nothing was found. What is being overwritten may
    /// be found by another start, until the head in its place is on flash.
    fn is_gone(&self, context: &Context<'_>, offset: Offset) -> bool {
        let target = context.arena.entry(self.at).target();
        let (Some(partition), Target::Known(slot, _)) = (context.partition(self.at), target) else {
            return false;
        };
        !context.source.index(partition.ring).is_overwritten(slot, offset)
    }

    fn plan_batch(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        let view = self.view(buf);
        let cut = self.work.cut.as_mut()?;
        let found = cut.found;
        let (seq, ring) = (found.segment.seq, found.segment.file.ring);
        match cut.batches.next(&view) {
            batch::Scanned::Read(wanted) => return Some(self.read(&wanted, buf)),
            batch::Scanned::Broken(at) => self.damaged(context, ring, seq, at),
            batch::Scanned::End => {
                self.work.cut = None;
                self.plan_wanted(found.limit);
            }
            batch::Scanned::Batch(head, _) if head.first >= found.limit => {
                self.work.cut = None;
                self.plan_wanted(found.limit);
            }
            batch::Scanned::Batch(head, at) => {
                let end = at + u64::from(head.bytes);
                let known = context.damage.of(ring, seq, at, end).copied();
                if known.is_some_and(|range| !range.unreadable && range.from == at) {
                    cut.batches.damaged(at, head.first);
                    return None;
                }
                self.work.plan.unreadable |= known.is_some();
                let useless = self.want(context.arena) > head.last || known.is_some();
                let fits = u64::from(head.bytes) <= self.room() || self.work.plan.bytes_all == 0;
                let (bytes, first, gaps) = (head.bytes, head.first, found.run.is_carried());
                let span = Span { seq, at, bytes, first, gaps };
                if useless || (fits && self.take(context, buf, &span)) {
                    self.plan_wanted(head.next());
                } else {
                    self.work.plan.short |= self.room_of_request() < u64::from(head.bytes);
                    let want = self.want(context.arena);
                    self.plan_stop(context, want, cursor_in(&found, (at - found.at) as u32));
                }
            }
        }
        None
    }

    fn plan_wanted(&mut self, want: Offset) {
        if let Some(walk) = &mut self.work.walk {
            walk.wanted(want);
        }
    }

    /// Ends with the partition, and leaves a cursor for the fetch that continues there.
    fn plan_stop(&mut self, context: &mut Context<'_>, want: Offset, cursor: Cursor) {
        if self.work.plan.bytes > 0
            && let Some(partition) = context.partition(self.at)
        {
            let handle = partition.handle;
            context.cursors.put(handle, want, cursor);
        }
        self.work.walk = None;
        self.work.cut = None;
    }

    /// The offset that the job has reached.
    pub(super) fn want(&self, arena: &Arena) -> Offset {
        match &self.work.walk {
            Some(walk) => walk.want(),
            None if self.at != NIL => arena.entry(self.at).offset(),
            None => Offset::NONE,
        }
    }

    /// All entries are planned: answers, or waits for more.
    fn plan_done(&mut self, context: &mut Context<'_>) -> Option<JobNext> {
        let enough = self.work.plan.bytes_all >= u64::from(self.bytes_min())
            || self.work.plan.urgent
            || self.work.plan.full
            || self.work.plan.short
            || !self.work.plan.readable;
        // A client that does not continue behind a hole asks again at once, for ever.
        let holes = self.work.plan.bytes_holes > 0
            && self.work.plan.bytes_holes == self.work.plan.bytes_all;
        let until = if enough && holes { self.holes_at() } else { self.deadline() };
        if enough && !holes || until <= context.now.mono {
            self.phase = Phase::Send;
            self.work.sending = Sending::default();
            return None;
        }
        self.phase = Phase::Sleep;
        self.ready = self.work.plan.bytes_all;
        self.slept_at = context.now.mono;
        self.work.window = None;
        context.arena.wait(self.list);
        Some(JobNext::Sleep(until))
    }

    /// Bytes that the partition and the request still allow.
    fn room(&self) -> u64 {
        self.room_of_request().min(self.work.plan.bytes_max.saturating_sub(self.work.plan.bytes))
    }

    fn room_of_request(&self) -> u64 {
        let request = self.terms.map_or(0, |terms| u64::from(terms.bytes_max));
        request.saturating_sub(self.work.plan.bytes_all)
    }

    /// Adds a range; false: there is no room for it.
    fn take(&mut self, context: &mut Context<'_>, buf: &mut [u8], span: &Span) -> bool {
        let before = match self.work.plan.spans {
            0 => None,
            _ if self.work.plan.bytes == 0 => None,
            count => span_get(buf, count - 1),
        };
        let joined = before.filter(|before| before.touches(span));
        if let Some(before) = joined {
            let bytes = before.bytes + span.bytes;
            span_put(buf, self.work.plan.spans - 1, &Span { bytes, ..before });
        } else if usize::from(self.work.plan.spans) < spans_max(buf.len()) {
            span_put(buf, self.work.plan.spans, span);
            self.work.plan.spans += 1;
        } else {
            self.work.plan.full = true;
            return false;
        }
        self.work.plan.bytes += u64::from(span.bytes);
        self.work.plan.bytes_all += u64::from(span.bytes);
        let planned = self.work.plan.bytes as u32;
        context.arena.entry_mut(self.at).bytes_set(planned);
        true
    }
}

impl Span {
    /// A hole at the end of a partition. A marker is sent for it, so that consumers reach the end.
    fn hole(first: Offset, end: Offset) -> Span {
        let end = end.min(first.plus(i32::MAX as u32));
        let bytes = marker_bytes((end.0 - first.0 - 1) as i32) as u32;
        let seq = SegmentSeq(end.0.cast_unsigned());
        Span { seq, at: HOLE_AT, bytes, first, gaps: false }
    }

    /// The offset behind the hole.
    pub(super) fn hole_end(&self) -> Option<Offset> {
        (self.at == HOLE_AT).then_some(Offset(self.seq.0.cast_signed()))
    }

    fn touches(&self, next: &Span) -> bool {
        self.seq == next.seq
            && self.gaps == next.gaps
            && self.at + u64::from(self.bytes) == next.at
            && self.bytes.checked_add(next.bytes).is_some()
    }
}

/// A cursor for continuing where a walk is.
fn cursor_of(walk: &Walk) -> Cursor {
    Cursor { place: walk.place(), skip: 0, carried: walk.is_carried() }
}

/// A cursor for continuing in a run, behind this many bytes of it.
fn cursor_in(found: &FoundRun, skip: u32) -> Cursor {
    Cursor { place: found.place, skip, carried: found.run.is_carried() }
}

/// Ranges that one answer may have.
fn spans_max(buf_bytes: usize) -> usize {
    (buf_bytes - spans_from(buf_bytes)) / SPAN_BYTES
}

pub(super) fn span_get(buf: &[u8], index: u16) -> Option<Span> {
    let end = buf.len() - usize::from(index) * SPAN_BYTES;
    let bytes: &[u8; SPAN_BYTES] = buf.get(..end)?.last_chunk()?;
    let (seq, rest) = bytes.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let at = u64::from(u32::from_le_bytes(*at));
    let gaps = at != HOLE_AT && at & GAPS != 0;
    Some(Span {
        seq: SegmentSeq(u64::from_le_bytes(*seq)),
        first: Offset(i64::from_le_bytes(*first)),
        at: if gaps { at & !GAPS } else { at },
        gaps,
        bytes: u32::from_le_bytes(*rest.first_chunk()?),
    })
}

/// Positions fit 31 bits: a segment file is at most 1 GiB.
fn span_put(buf: &mut [u8], index: u16, span: &Span) {
    let end = buf.len() - usize::from(index) * SPAN_BYTES;
    let bytes = &mut buf[end - SPAN_BYTES..end];
    bytes[..8].copy_from_slice(&span.seq.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&span.first.0.to_le_bytes());
    let at = span.at | if span.gaps { GAPS } else { 0 };
    bytes[16..20].copy_from_slice(&(at as u32).to_le_bytes());
    bytes[20..].copy_from_slice(&span.bytes.to_le_bytes());
}

pub(super) const SPAN_BYTES: usize = 24;

/// A bit of a range's position.
const GAPS: u64 = 1 << 31;

/// The position of a hole: no segment is so long.
const HOLE_AT: u64 = u32::MAX as u64;
