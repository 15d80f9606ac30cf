//! Sending an answer: its parts and the planned ranges, through the buffer.

use super::answer::{Head, PIECE_BYTES_MAX, PartitionPiece, TopicRef};
use super::entries::{List, NIL, Target};
use super::job::Phase;
use super::job::{CAUTIOUS_BYTES, Context, Job, Reading, spans_from, window_from};
use super::plan::{Span, span_get};
use crate::broker::JobNext;
use crate::codec::crc::Crc32c;
use crate::codec::{ErrorCode, Writer, batch, error_note};
use crate::log::read::batch::{BatchHead, BatchStart};
use crate::log::read::{Got, Window};
use crate::types::{FileRef, Offset, RingIndex};

/// How far an answer is.
#[derive(Default)]
pub(super) struct Sending {
    part: Part,
    /// Bytes that are ready at the buffer's start.
    filled: usize,
    /// Bytes that the client has.
    sent: u64,
    /// The answer's length, size prefix included.
    total: u64,
    /// The range that is being sent, and how much of it was.
    span: u16,
    span_done: u32,
    /// Bytes of the entry's records that are still to come.
    left: u32,
    check: Check,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Begin,
    Topic,
    Partition,
    Records,
    PartitionEnd,
    TopicEnd,
    End,
    Sent,
}

/// Checks the CRC of batches that come piece by piece.
#[derive(Default)]
struct Check {
    /// The batch's position.
    at: u64,
    /// Its bytes that are still to come; 0: a header comes next.
    left: u32,
    crc: Crc32c,
    expected: u32,
    /// The next batch's first offset, which no CRC covers.
    next: Offset,
    /// It may be higher.
    gaps: bool,
}

/// At this position is no batch, or one whose CRC does not hold.
struct Broken(u64);

impl Sending {
    /// Whether the client has a part of the answer.
    pub(super) fn started(&self) -> bool {
        self.sent > 0
    }
}

impl Job {
    pub(super) fn send(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        loop {
            let room = spans_from(buf.len()) - self.work.sending.filled;
            let needed = match self.work.sending.part {
                Part::Sent => usize::MAX,
                Part::Records => RECORDS_BYTES_MIN,
                _ => PIECE_BYTES_MAX,
            };
            if room < needed {
                if self.work.sending.filled == 0 {
                    assert_eq!(self.work.sending.sent, self.work.sending.total, "a length is kept");
                    return Some(JobNext::Done);
                }
                let to = std::mem::take(&mut self.work.sending.filled);
                self.work.sending.sent += to as u64;
                return Some(JobNext::Send { from: 0, to });
            }
            if self.work.sending.part == Part::Records {
                if let Some(step) = self.send_records(context, buf) {
                    return Some(step);
                }
                if !self.is_sending() {
                    return None;
                }
            } else if self.work.sending.part == Part::Begin && self.lost_any(context) {
                self.restart(context);
                return None;
            } else if let Err(step) = self.send_part(context, buf) {
                return Some(step);
            }
        }
    }

    /// Whether a topic was deleted after its records were planned.
    fn lost_any(&self, context: &Context<'_>) -> bool {
        let lost = |at| {
            let entry = context.arena.entry(at);
            let planned = !entry.is_found() && entry.error().is_none();
            planned && context.partition(at).is_none()
        };
        context.arena.iter(self.list).any(lost)
    }

    fn is_sending(&self) -> bool {
        self.phase == Phase::Send
    }

    /// Writes one part, and goes to the next.
    fn send_part(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Result<(), JobNext> {
        if self.work.sending.part == Part::Begin {
            self.at = self.list.head;
            self.work.sending.total = self.total(context)?;
            for at in context.arena.iter(self.list) {
                error_note(context.errors, context.arena.entry(at).error());
            }
        }
        let from = self.work.sending.filled;
        let end = spans_from(buf.len());
        let mut w = Writer::new(&mut buf[from..end]);
        self.write_part(context, &mut w)?;
        self.work.sending.filled += w.len();
        assert!(self.work.sending.filled <= end, "a part fits");
        if self.work.sending.filled > window_from(buf.len()) {
            self.work.window = None;
        }
        self.part_next(context);
        Ok(())
    }

    /// The answer's length: encodes all parts once, and adds up the records' bytes.
    fn total(&mut self, context: &mut Context<'_>) -> Result<u64, JobNext> {
        let mut w = Writer::counting();
        let mut records = 0;
        while self.work.sending.part != Part::Sent {
            if self.work.sending.part == Part::Records {
                records += u64::from(context.arena.entry(self.at).bytes_to_send());
            } else {
                self.write_part(context, &mut w)?;
            }
            self.part_next(context);
        }
        self.work.sending.part = Part::Begin;
        self.at = self.list.head;
        Ok(w.len() as u64 + records)
    }

    fn write_part(&self, context: &Context<'_>, w: &mut Writer<'_>) -> Result<(), JobNext> {
        let Some(terms) = self.terms else {
            return Err(JobNext::Close("a job without terms"));
        };
        let (pieces, version) = (terms.pieces, terms.version);
        match self.work.sending.part {
            Part::Begin => {
                let first = |at: &u16| context.arena.entry(*at).topic_first();
                let head = Head {
                    version,
                    correlation_id: terms.correlation_id,
                    length: self.work.sending.total.saturating_sub(4) as u32,
                    topics: context.arena.iter(self.list).filter(first).count() as u32,
                };
                pieces.begin(w, &head);
            }
            Part::Topic => {
                let rest = List::rest(self.at);
                let mut more = context.arena.iter(rest).skip(1);
                let next = more.position(|at| context.arena.entry(at).topic_first());
                let all = || context.arena.iter(rest).count();
                let partitions = next.map_or_else(all, |next| next + 1) as u32;
                pieces.topic(w, version, &self.topic_of(context)?, partitions);
            }
            Part::Partition => pieces.partition(w, version, &self.partition_piece(context)?),
            Part::PartitionEnd | Part::TopicEnd | Part::End => pieces.end(w, version),
            Part::Records | Part::Sent => {}
        }
        Ok(())
    }

    fn part_next(&mut self, context: &Context<'_>) {
        let has_entry = self.at != NIL;
        self.work.sending.part = match self.work.sending.part {
            Part::Begin if has_entry => Part::Topic,
            Part::Begin => Part::End,
            Part::Topic => Part::Partition,
            Part::Partition => {
                self.work.sending.left = context.arena.entry(self.at).bytes_to_send();
                Part::Records
            }
            Part::Records => Part::PartitionEnd,
            Part::PartitionEnd => match context.arena.next(self.at) {
                Some(next) if !context.arena.entry(next).topic_first() => {
                    self.at = next;
                    Part::Partition
                }
                _ => Part::TopicEnd,
            },
            Part::TopicEnd => match context.arena.next(self.at) {
                Some(next) => {
                    self.at = next;
                    Part::Topic
                }
                None => Part::End,
            },
            Part::End | Part::Sent => Part::Sent,
        };
    }

    fn topic_of<'a>(&self, context: &'a Context<'_>) -> Result<TopicRef<'a>, JobNext> {
        let state = context.source.state();
        match context.arena.entry(self.at).target() {
            Target::Unknown { name, .. } => Ok(context.arena.name(name)),
            Target::Known(..) => context
                .partition(self.at)
                .and_then(|partition| state.topic(partition.topic))
                .map(|topic| TopicRef { name: &topic.name, id: topic.id })
                .or_else(|| context.was(self.at).map(|was| was.topic))
                .ok_or(GONE),
        }
    }

    fn partition_piece(&self, context: &Context<'_>) -> Result<PartitionPiece, JobNext> {
        let entry = context.arena.entry(self.at);
        let (offset, timestamp_ms) = entry.found();
        let gone = self.terms.map_or_else(ErrorCode::default, |t| t.pieces.gone(t.version));
        let mut piece = PartitionPiece {
            index: 0,
            error: entry.error(),
            high_watermark: Offset::NONE,
            log_start: Offset::NONE,
            records_bytes: entry.bytes_to_send(),
            read_committed: self.terms.is_some_and(|terms| terms.read_committed),
            offset: Offset::NONE,
            timestamp_ms: -1,
            leader_epoch: -1,
        };
        match entry.target() {
            Target::Unknown { index, .. } => piece.index = index,
            Target::Known(..) => {
                let Some(partition) = context.partition(self.at) else {
                    piece.index = context.was(self.at).ok_or(GONE)?.index as i32;
                    piece.error = gone;
                    return Ok(piece);
                };
                piece.index = partition.index as i32;
                if piece.error == ErrorCode::NONE {
                    piece.high_watermark = partition.high_watermark;
                    piece.log_start = partition.log_start;
                    if entry.is_found() && offset != Offset::NONE {
                        piece.offset = offset;
                        piece.timestamp_ms = timestamp_ms;
                        let boot = context.source.state().boot;
                        piece.leader_epoch = super::epoch_of(partition, offset, boot).0 as i32;
                    }
                }
            }
        }
        Ok(piece)
    }

    /// Brings more of an entry's records into the buffer, from the window or with a read.
    fn send_records(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Option<JobNext> {
        if self.work.sending.left == 0 {
            self.part_next(context);
            return None;
        }
        let filled = self.work.sending.filled;
        let span = span_get(buf, self.work.sending.span);
        let span = span.expect("as many bytes were planned as are sent");
        let ring = context.partition(self.at).map(|partition| partition.ring);
        let ring = ring.or_else(|| context.was(self.at).map(|was| was.ring));
        let Some(ring) = ring else { return Some(GONE) };
        if let Some(end) = span.hole_end() {
            return self.send_hole(context, buf, span.first, end);
        }
        let at = span.at + u64::from(self.work.sending.span_done);
        let count = (span.bytes - self.work.sending.span_done) as usize;
        let window_at = window_from(buf.len());
        if filled + count <= window_at
            && let Got::Bytes(_) = self.view(buf).get(ring, span.seq, at, count)
            && let Some(window) = self.work.window
        {
            let from = window_at + (at - window.at) as usize;
            buf.copy_within(from..from + count, filled);
            return self.records_here(context, buf, ring, &span, count);
        }
        let room = spans_from(buf.len()) - filled;
        let most = if self.work.cautious { CAUTIOUS_BYTES } else { room };
        let bytes = self.stretch(buf, &span, most.min(room));
        let Some(file) = context.source.index(ring).file_of(span.seq) else {
            return self.again(context, OVERWRITTEN).err();
        };
        let file = FileRef { ring, file };
        if filled + bytes > window_at {
            self.work.window = None;
        }
        let window = Window { ring, seq: span.seq, at, bytes, broken: false };
        self.work.reading = Some(Reading { window, records: true });
        Some(JobNext::Read { file, at, from: filled, to: filled + bytes })
    }

    /// A marker for offsets that have no records.
    fn send_hole(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        first: Offset,
        end: Offset,
    ) -> Option<JobNext> {
        let boot = context.source.state().boot;
        let partition = context.partition(self.at);
        let epoch = partition.map_or(boot, |partition| super::epoch_of(partition, first, boot));
        let batch = batch::marker(first.0, end.0 - 1, epoch.0.cast_signed());
        let filled = self.work.sending.filled;
        buf[filled..filled + batch.len()].copy_from_slice(&batch);
        self.work.sending.filled += batch.len();
        self.work.sending.left -= batch.len() as u32;
        self.work.sending.span += 1;
        if self.work.sending.filled > window_from(buf.len()) {
            self.work.window = None;
        }
        None
    }

    /// How much to read at once: this range, and those of the same partition that follow so closely that
    /// reading what is between costs less than another read.
    fn stretch(&self, buf: &[u8], span: &Span, most: usize) -> usize {
        let from = span.at + u64::from(self.work.sending.span_done);
        let mut end = span.at + u64::from(span.bytes);
        let mut left = self.work.sending.left - (span.bytes - self.work.sending.span_done);
        let mut index = self.work.sending.span;
        while left > 0 && ((end - from) as usize) < most {
            index += 1;
            let Some(next) = span_get(buf, index) else {
                break;
            };
            if next.seq != span.seq || next.at < end || next.at - end > GAP_BYTES_MAX {
                break;
            }
            if (next.at - from) as usize + BatchHead::BYTES > most {
                break;
            }
            end = next.at + u64::from(next.bytes);
            left -= next.bytes;
        }
        ((end - from) as usize).min(most)
    }

    /// A read of records is done: takes out what is between the ranges, and checks the rest.
    pub(super) fn records_read(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        read: &Window,
    ) -> Result<(), JobNext> {
        let from = self.work.sending.filled;
        let end = read.at + read.bytes as u64;
        // A carried range may be in front of one that it follows, and is overwritten by then.
        let mut taken_to = read.at;
        while self.work.sending.left > 0 {
            let Some(span) = span_get(buf, self.work.sending.span) else {
                break;
            };
            let at = span.at + u64::from(self.work.sending.span_done);
            if span.seq != read.seq || at < taken_to || at >= end {
                break;
            }
            let count =
                (end - at).min(u64::from(span.bytes - self.work.sending.span_done)) as usize;
            taken_to = at + count as u64;
            let here = from + (at - read.at) as usize;
            let filled = self.work.sending.filled;
            if here != filled {
                buf.copy_within(here..here + count, filled);
            }
            if let Some(step) = self.records_here(context, buf, read.ring, &span, count) {
                return Err(step);
            }
            // After damage the answer is planned anew: nothing of this read counts.
            if !self.is_sending() || self.work.sending.filled - filled < count {
                break;
            }
        }
        Ok(())
    }

    /// `count` bytes of a range are where the answer continues: checks them, and takes all but a batch's
    /// header that is not whole.
    fn records_here(
        &mut self,
        context: &mut Context<'_>,
        buf: &[u8],
        ring: RingIndex,
        span: &Span,
        count: usize,
    ) -> Option<JobNext> {
        let sending = &mut self.work.sending;
        let at = span.at + u64::from(sending.span_done);
        let end = span.at + u64::from(span.bytes);
        let bytes = &buf[sending.filled..sending.filled + count];
        if sending.span_done == 0 {
            (sending.check.next, sending.check.gaps) = (span.first, span.gaps);
        }
        match sending.check.feed(bytes, at, end) {
            Ok(taken) => {
                sending.filled += taken;
                sending.span_done += taken as u32;
                sending.left -= taken as u32;
                if sending.span_done == span.bytes {
                    sending.span += 1;
                    sending.span_done = 0;
                }
                if sending.filled > window_from(buf.len()) {
                    self.work.window = None;
                }
                None
            }
            Err(Broken(from)) => {
                self.damaged(context, ring, span.seq, from);
                self.again(context, "what was being sent is damaged").err()
            }
        }
    }
}

impl Check {
    /// Feeds the bytes from position `at` on of a range that ends at `end`; gives how many were taken:
    /// all but the beginning of a header.
    fn feed(&mut self, bytes: &[u8], at: u64, end: u64) -> Result<usize, Broken> {
        let mut rest = bytes;
        loop {
            let position = at + (bytes.len() - rest.len()) as u64;
            if self.left == 0 {
                let Some(head) = rest.get(..BatchHead::START_BYTES) else {
                    let taken = bytes.len() - rest.len();
                    // Ranges hold whole batches, so that the rest of this header can be read.
                    let stuck = !rest.is_empty() && position + rest.len() as u64 >= end;
                    return if stuck { Err(Broken(position)) } else { Ok(taken) };
                };
                let fits = |start: &BatchStart| u64::from(start.bytes) <= end - position;
                let start = BatchHead::start(head).filter(fits);
                let start = start.ok_or(Broken(position))?;
                let follows = start.first == self.next || (self.gaps && start.first > self.next);
                if !follows {
                    return Err(Broken(position));
                }
                self.at = position;
                self.left = start.bytes - BatchHead::CRC_FROM as u32;
                self.crc = Crc32c::new();
                self.expected = start.crc;
                self.next = start.next;
                rest = &rest[BatchHead::CRC_FROM..];
            }
            let count = rest.len().min(self.left as usize);
            let (piece, more) = rest.split_at(count);
            self.crc.update(piece);
            self.left -= count as u32;
            rest = more;
            if self.left > 0 {
                return Ok(bytes.len());
            }
            if std::mem::take(&mut self.crc).finish() != self.expected {
                return Err(Broken(self.at));
            }
        }
    }
}

pub(super) const GONE: JobNext = JobNext::Close("a topic was deleted while it was fetched");
const OVERWRITTEN: &str = "what was being sent was overwritten";

/// Less room than this for records: what there is is sent first.
const RECORDS_BYTES_MIN: usize = 512;

/// Reading this many bytes in vain costs less than another system call.
const GAP_BYTES_MAX: u64 = 8 * 1024;
