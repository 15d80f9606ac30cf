//! One ring: its segments, the group that fills, the group that is on its way, and what comes next
//! for the disk.
//!
//! [`Ring::next_io`] and [`Ring::io_done`] are a state machine with at most one job out. A job that
//! failed is never tried again on the same pages: the segment is given up, and its group goes to a
//! spare.

mod space;

use crate::clock::{Mono, Now};
use crate::config::RingConfig;
use crate::error::DiskError;
use crate::limits::PAGE_BYTES;
use crate::log::anchor::{self, AnchorBuffer};
use crate::log::format::{AnchorKind, FLAG_SEAL, GroupHeader, ListEntry, RingId, whole_pages};
use crate::log::index::Index;
use crate::log::record::MetaRecord;
use crate::log::staging::Staging;
use crate::log::state::State;
use crate::metrics::Rate;
use crate::storage::WriteJob;
use crate::types::{Boot, FileIndex, FileRef, GroupSeq, RingIndex, SegmentSeq, Ticket};

/// A live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its place in history.
    pub seq: SegmentSeq,
    /// Its file.
    pub file: FileIndex,
    /// Where its groups start.
    pub groups_at: u64,
    /// Where its groups end that are written; synced, but for topics that relax it.
    pub end: u64,
    /// The last of those groups.
    pub group_last: GroupSeq,
    /// Whether it was given up: not appended to, but read.
    pub given_up: bool,
}

/// What is counted of a ring since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Bytes of record batches that are on flash.
    pub payload_bytes: u64,
    /// Bytes written to the files.
    pub written_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Commit groups with contents.
    pub groups: u64,
    /// Seals.
    pub seals: u64,
    /// Segments begun.
    pub segments: u64,
    /// Segments overwritten.
    pub evicted: u64,
    /// Segments that were free before their turn, since nothing in them was kept.
    pub freed: u64,
    /// Segments given up after a failure.
    pub given_up: u64,
    /// Jobs that failed.
    pub failures: u64,
    /// How fast the files are written.
    pub rate: Rate,
}

/// What comes next, apart from groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Groups.
    Append,
    /// The current segment is full: note which segments will be gone.
    Evict,
    /// Then close it.
    Foot,
    /// Then begin the next one. `failover`: because the current one was given up.
    Head { failover: bool },
    /// Nothing could be written; try again then.
    Failing { retry: Mono, pause_ms: u64 },
}

/// The job that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    Group { bytes: u64, crc: u32 },
    Sync,
    Seal { bytes: u64, crc: u32 },
    Evict { bytes: u64, crc: u32 },
    Foot,
    Head { segment: Segment },
}

/// What a finished job means for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing that anyone outside sees.
    Quiet,
    /// The closed group is on flash (`synced`), or only written. It is at this place.
    Group {
        /// The segment's file.
        file: FileIndex,
        /// The position.
        at: u64,
        /// Whether it is synced; so is then everything written before.
        synced: bool,
    },
    /// Everything written is on flash now.
    Synced,
    /// What was written and not synced, of topics that relax it, may not be on flash, and counts as
    /// not written: it is not to be seen.
    UnsyncedLost,
    /// A new segment's head is on flash: log starts may move.
    Head,
    /// The group could be stored nowhere: those who wait get an error.
    Failing,
}

/// A ring.
pub struct Ring {
    /// Which one it is.
    pub index: RingIndex,
    pub(super) id: RingId,
    pub(super) config: RingConfig,
    pub(super) alignment: u64,
    /// Live segments, oldest first; the last is the current one.
    pub(super) live: Vec<Segment>,
    /// Files that hold nothing that lives.
    pub(super) free: Vec<FileIndex>,
    pub(super) boot: Boot,
    pub(super) segment_next: SegmentSeq,
    pub(super) group_next: GroupSeq,
    pub(super) group_synced: GroupSeq,
    pub(super) prev_crc: u32,
    /// The newest moment, by the wall clock, that a group or an anchor bears.
    pub(super) stamp_newest_ms: i64,
    open: Staging,
    closed: Option<Staging>,
    spare: Option<Staging>,
    anchor: AnchorBuffer,
    mode: Mode,
    /// How long the ring last waited before it tried a failing disk again; 0: it does not fail.
    pause_ms: u64,
    out: Option<Out>,
    /// The newest anchor is the foot of the last segment: a new one is begun first.
    pub(super) closed_by_foot: bool,
    /// The current segment failed; the next group needs another one.
    pub(super) current_bad: bool,
    /// Whether something is written that is not synced, and so not to be seen.
    pub(super) written_unseen: bool,
    /// Where in the current segment that begins, and its first group.
    unsynced: Option<(u64, GroupSeq)>,
    /// Segments up to this one go when the current one is full.
    evict_through: Option<SegmentSeq>,
    /// Segments that the head on its way leaves out.
    freeing: Vec<SegmentSeq>,
    /// In a held ring: segments up to this one have been had by all.
    had_through: SegmentSeq,
    /// Whether the current segment holds kept records.
    current_kept: bool,
    /// When there was no room for kept records, by [`State::changes`]; none: that is not known.
    full_at: Option<u64>,
    anchor_bytes_max: u64,
    told: space::Told,
    /// When the open group goes out though it is not urgent; none: it is, or it is empty.
    linger: Option<Mono>,
    sync_due: Option<Mono>,
    seal_due: Option<Mono>,
    seal_after_ms: u64,
    closing: bool,
    ticket_written: Ticket,
    ticket_synced: Ticket,
    ticket_failed: Ticket,
    /// Counters.
    pub stats: RingStats,
}

impl Ring {
    /// A ring without segments; allocates all it will ever need.
    pub fn new(
        index: RingIndex,
        config: RingConfig,
        group_bytes_max: usize,
        alignment: u32,
        seal_after_ms: u64,
        anchor_bytes_max: usize,
    ) -> Ring {
        let files = usize::from(config.segments) + usize::from(config.spares);
        let mut open = Staging::new(group_bytes_max);
        open.reset(Ticket(1));
        Ring {
            index,
            id: [0; 16],
            alignment: u64::from(alignment),
            live: Vec::with_capacity(files + 1),
            free: Vec::with_capacity(files + 1),
            boot: Boot(0),
            segment_next: SegmentSeq(1),
            group_next: GroupSeq(1),
            group_synced: GroupSeq(0),
            prev_crc: 0,
            stamp_newest_ms: i64::MIN,
            open,
            closed: None,
            spare: Some(Staging::new(group_bytes_max)),
            anchor: AnchorBuffer::new(anchor_bytes_max),
            mode: Mode::Append,
            pause_ms: 0,
            out: None,
            closed_by_foot: false,
            current_bad: false,
            written_unseen: false,
            unsynced: None,
            evict_through: None,
            freeing: Vec::with_capacity(files + 1),
            had_through: SegmentSeq(0),
            current_kept: false,
            full_at: None,
            anchor_bytes_max: anchor_bytes_max as u64,
            told: space::Told::default(),
            linger: None,
            sync_due: None,
            seal_due: None,
            seal_after_ms,
            closing: false,
            ticket_written: Ticket(0),
            ticket_synced: Ticket(0),
            ticket_failed: Ticket(0),
            stats: RingStats::default(),
            config,
        }
    }

    /// The group that fills.
    pub fn open(&self) -> &Staging {
        &self.open
    }

    /// The group that is on its way, or waits for its segment.
    pub fn closed(&self) -> Option<&Staging> {
        self.closed.as_ref()
    }

    /// Live segments, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.live
    }

    /// Everything up to this ticket is synced.
    pub fn ticket_synced(&self) -> Ticket {
        self.ticket_synced
    }

    /// Everything up to this ticket is written.
    pub fn ticket_written(&self) -> Ticket {
        self.ticket_written
    }

    /// Those who wait for tickets up to this one that are not synced were failed.
    pub fn ticket_failed(&self) -> Ticket {
        self.ticket_failed
    }

    /// Whether nothing can be stored at present.
    pub fn is_failing(&self) -> bool {
        matches!(self.mode, Mode::Failing { .. })
    }

    /// The group that fills, to put something in. `linger`: it may wait until then for company.
    pub fn stage(&mut self, strict: bool, linger: Option<Mono>) -> &mut Staging {
        let earliest = |a: Mono| linger.map(|b| a.min(b));
        self.linger = if self.open.is_empty() { linger } else { self.linger.and_then(earliest) };
        self.open.strict |= strict;
        &mut self.open
    }

    /// A relaxed topic wants what it wrote synced by then.
    pub fn sync_by(&mut self, due: Mono) {
        self.sync_due = Some(self.sync_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// From now on nothing waits for company, and a seal follows.
    pub fn close(&mut self) {
        self.closing = true;
        self.linger = None;
        if self.seal_due.is_some() {
            self.seal_due = Some(Mono(0));
        }
        if self.sync_due.is_some() {
            self.sync_due = Some(Mono(0));
        }
    }

    /// Whether there is nothing left to do after [`Ring::close`].
    pub fn is_closed(&self) -> bool {
        let idle = self.out.is_none() && self.closed.is_none() && self.open.is_empty();
        self.is_failing() || (idle && self.seal_due.is_none() && self.sync_due.is_none())
    }

    /// When [`Ring::next_io`] has something to do without anything new.
    pub fn deadline(&self) -> Option<Mono> {
        if self.out.is_some() {
            return None;
        }
        if let Mode::Failing { retry, .. } = self.mode {
            return Some(retry);
        }
        if self.closed.is_some() || self.mode != Mode::Append {
            return Some(Mono(0));
        }
        let open = (!self.open.is_empty()).then(|| self.linger.unwrap_or(Mono(0)));
        [open, self.sync_due, self.seal_due].into_iter().flatten().min()
    }

    /// The next job, if there is one and none is out.
    pub fn next_io(&mut self, state: &State, index: &mut Index, now: Now) -> Option<WriteJob> {
        if self.out.is_some() {
            return None;
        }
        if let Mode::Failing { retry, .. } = self.mode
            && now.mono < retry
        {
            return None;
        }
        self.close_open(now);
        match self.mode {
            Mode::Append if self.closed.is_some() => self.group_or_roll(state, index, now),
            Mode::Append => self.sync_or_seal(state, now),
            Mode::Evict => self.evict_job(now),
            Mode::Foot => self.foot_job(state, index, now),
            Mode::Head { .. } => self.head_job(state, index, now),
            Mode::Failing { .. } => {
                let failover = self.current_bad || self.live.is_empty();
                self.pause_note();
                self.mode = Mode::Head { failover };
                self.head_job(state, index, now)
            }
        }
    }

    /// Takes a finished job back.
    pub fn io_done(&mut self, job: WriteJob, result: Result<(), DiskError>, now: Now) -> Done {
        let bytes: u64 = job.parts.iter().map(|part| u64::from(part.bytes)).sum();
        if result.is_ok() {
            self.stats.written_bytes += bytes + u64::from(job.padding);
            self.stats.rate.add(bytes + u64::from(job.padding), now.mono);
            self.stats.syncs += u64::from(job.sync);
        }
        let out = self.out.take();
        assert!(out.is_some(), "a job comes back once");
        match out {
            Some(Out::Group { .. }) => {
                if let Some(closed) = &mut self.closed {
                    closed.take_back(job.buf, job.parts);
                }
            }
            Some(Out::Sync) | None => {}
            Some(_) => self.anchor.take_back(job.buf, job.parts),
        }
        match (result, out) {
            (Ok(()), Some(out)) => self.succeeded(out, job.sync, now),
            (Err(error), Some(out)) => self.failed(out, error, now),
            (_, None) => Done::Quiet,
        }
    }

    /// The closed group's contents, once [`Ring::io_done`] said that it is on flash. Empties it.
    pub fn closed_take(&mut self) -> Option<Staging> {
        self.closed.take()
    }

    /// Gives the emptied group back.
    pub fn closed_return(&mut self, staging: Staging) {
        assert!(self.spare.is_none(), "there are two");
        self.spare = Some(staging);
    }

    /// Bytes that one more group of `contents` bytes would take.
    fn group_bytes(&self, contents: usize) -> u64 {
        (contents as u64).next_multiple_of(self.alignment)
    }

    pub(super) fn current(&self) -> Option<&Segment> {
        self.live.last()
    }

    fn file(&self, file: FileIndex) -> FileRef {
        FileRef { ring: self.index, file }
    }

    /// Closes the open group if it is due and nothing else is on its way.
    fn close_open(&mut self, now: Now) {
        let due = self.closing || self.linger.is_none_or(|linger| linger <= now.mono);
        if self.closed.is_some() || self.open.is_empty() || !due {
            return;
        }
        if let Some(mut next) = self.spare.take() {
            next.reset(Ticket(self.open.ticket.0 + 1));
            let mut closed = std::mem::replace(&mut self.open, next);
            closed.close();
            self.closed = Some(closed);
            self.linger = None;
        }
    }

    fn group_or_roll(&mut self, state: &State, index: &mut Index, now: Now) -> Option<WriteJob> {
        let contents = self.closed.as_ref().map_or(0, Staging::contents_bytes);
        let bytes = self.group_bytes(contents);
        if self.current_bad || self.live.is_empty() || self.closed_by_foot {
            if self.closed_by_foot {
                // The start read the foot, not the note of the eviction that stands before it.
                self.evict_through = self.evict_due(state, index);
            }
            self.mode = Mode::Head { failover: !self.closed_by_foot };
            self.head_job(state, index, now)
        } else if self.fits(bytes, state) {
            Some(self.group_job(bytes, now))
        } else {
            self.roll(state, index, now)
        }
    }

    /// Whether a group fits the current segment, with the note of the eviction and the foot.
    fn fits(&self, bytes: u64, state: &State) -> bool {
        let foot = anchor::foot_bytes_max(self, state) + self.alignment.max(PAGE_BYTES as u64);
        self.current()
            .is_some_and(|current| current.end + bytes + foot <= self.config.segment_bytes)
    }

    fn roll(&mut self, state: &State, index: &mut Index, now: Now) -> Option<WriteJob> {
        self.evict_through = self.evict_due(state, index);
        if self.evict_through.is_some() {
            self.mode = Mode::Evict;
            self.evict_job(now)
        } else {
            self.mode = Mode::Foot;
            self.foot_job(state, index, now)
        }
    }

    /// The newest segment that has to go, and may, before another one is begun.
    fn evict_due(&self, state: &State, index: &Index) -> Option<SegmentSeq> {
        let (evict, _) = self.evictable(state, index);
        evict.checked_sub(1).map(|at| self.live[at].seq)
    }

    fn group_job(&mut self, bytes: u64, now: Now) -> WriteJob {
        let current = *self.live.last().expect("a group goes to a segment");
        let header = self.header(current, bytes, 0, now);
        let closed = self.closed.as_mut().expect("there is a closed group");
        let sync = closed.strict || self.sync_due.is_some_and(|due| due <= now.mono);
        let padding = (bytes - closed.contents_bytes() as u64) as u32;
        let crc = closed.put_header(header);
        let (buf, parts) = closed.lend();
        self.seal_due = None;
        self.out = Some(Out::Group { bytes, crc });
        WriteJob { file: self.file(current.file), at: current.end, buf, parts, padding, sync }
    }

    /// A header for a group at the end of the current segment; lengths and CRCs are not in it yet.
    fn header(&self, current: Segment, bytes: u64, flags: u16, now: Now) -> GroupHeader {
        GroupHeader {
            ring_id: self.id,
            segment: current.seq,
            seq: self.group_next,
            position: current.end,
            boot: self.boot,
            flags,
            synced_through: self.group_synced,
            supersedes: GroupSeq(0),
            wall_ms: now.wall_ms,
            bytes: bytes as u32,
            runs: 0,
            payload_bytes: 0,
            meta_bytes: 0,
            directory_crc: 0,
            meta_crc: 0,
            prev_crc: self.prev_crc,
        }
    }

    fn sync_or_seal(&mut self, state: &State, now: Now) -> Option<WriteJob> {
        let current = *self.current()?;
        if self.sync_due.is_some_and(|due| due <= now.mono) {
            return Some(self.sync_job(current));
        }
        if self.seal_due.is_some_and(|due| due <= now.mono) {
            self.seal_due = None;
            if !self.current_bad && self.fits(self.alignment, state) {
                let header = self.header(current, self.alignment, FLAG_SEAL, now);
                return Some(self.small_group(header, None, |bytes, crc| Out::Seal { bytes, crc }));
            }
        }
        None
    }

    fn sync_job(&mut self, current: Segment) -> WriteJob {
        self.out = Some(Out::Sync);
        let (buf, parts) = (Box::default(), Vec::new());
        WriteJob { file: self.file(current.file), at: 0, buf, parts, padding: 0, sync: true }
    }

    /// A group of one page at the most, without batches.
    fn small_group(
        &mut self,
        header: GroupHeader,
        record: Option<MetaRecord<'_>>,
        out: fn(u64, u32) -> Out,
    ) -> WriteJob {
        let bytes = u64::from(header.bytes);
        let (contents, crc) = self.anchor.put_group(header, record.as_ref());
        let (buf, parts) = self.anchor.lend(contents);
        self.out = Some(out(bytes, crc));
        let current = *self.live.last().expect("a group goes to a segment");
        let padding = (bytes - contents as u64) as u32;
        WriteJob { file: self.file(current.file), at: current.end, buf, parts, padding, sync: true }
    }

    fn evict_job(&mut self, now: Now) -> Option<WriteJob> {
        let segment = self.evict_through?;
        let current = *self.current()?;
        let header = self.header(current, self.alignment, 0, now);
        let record = Some(MetaRecord::Evict { segment });
        Some(self.small_group(header, record, |bytes, crc| Out::Evict { bytes, crc }))
    }

    fn foot_job(&mut self, state: &State, index: &mut Index, now: Now) -> Option<WriteJob> {
        let current = *self.current()?;
        if self.unsynced.is_some() {
            // Foot and head say that all before them is on flash, and their snapshot has it.
            return Some(self.sync_job(current));
        }
        let mut buffer = std::mem::take(&mut self.anchor);
        let fields = self.anchor_fields(AnchorKind::Foot, current, now);
        let bytes = buffer.put_foot(fields, self.list(None), self.index, state, self, index);
        self.anchor = buffer;
        let at = bytes.map(|bytes| self.config.segment_bytes - bytes as u64);
        match (bytes, at) {
            (Some(bytes), Some(at)) if at >= current.end => {
                let (buf, parts) = self.anchor.lend(bytes);
                self.out = Some(Out::Foot);
                let file = self.file(current.file);
                Some(WriteJob { file, at, buf, parts, padding: 0, sync: true })
            }
            // A foot is a convenience: without it the segment is walked at the next start.
            _ => {
                self.mode = Mode::Head { failover: false };
                self.head_job(state, index, now)
            }
        }
    }

    fn head_job(&mut self, state: &State, index: &mut Index, now: Now) -> Option<WriteJob> {
        self.forget_evicted(state, index, now);
        let failover = matches!(self.mode, Mode::Head { failover: true });
        let Some(file) = self.file_for_head(state, index, failover, now) else {
            self.mode = self.failing_from(now);
            self.fail_staged();
            return None;
        };
        // A failed try may have left a head with its sequence on flash: none is used twice.
        let seq = self.segment_next;
        self.segment_next = SegmentSeq(seq.0 + 1);
        let mut segment = Segment {
            seq,
            file,
            groups_at: 0,
            end: 0,
            group_last: self.group_synced,
            given_up: false,
        };
        self.freeing_find(state, index);
        let mut buffer = std::mem::take(&mut self.anchor);
        let fields = self.anchor_fields(AnchorKind::Head, segment, now);
        let bytes = buffer.put_head(fields, self.list(Some(failover)), self.index, state, self);
        self.anchor = buffer;
        let bytes = bytes.expect("the state's bound keeps a snapshot within its buffer");
        segment.groups_at = bytes as u64;
        segment.end = bytes as u64;
        let (buf, parts) = self.anchor.lend(bytes);
        self.out = Some(Out::Head { segment });
        Some(WriteJob { file: self.file(file), at: 0, buf, parts, padding: 0, sync: true })
    }

    /// What was noted as evicted stops being read before its file is written to.
    fn forget_evicted(&mut self, state: &State, index: &mut Index, now: Now) {
        let Some(through) = self.evict_through.take() else {
            return;
        };
        while let Some(oldest) = self.live.first().copied()
            && oldest.seq <= through
        {
            self.live.remove(0);
            self.tell_evicted(oldest, state, index, now);
            index.segment_evicted(oldest.file);
            self.free.insert(0, oldest.file);
            self.stats.evicted += 1;
        }
    }

    /// The next free file. When a failure used up all spares, and not before, the oldest segment
    /// makes room, unless it is kept for somebody.
    fn file_for_head(
        &mut self,
        state: &State,
        index: &mut Index,
        failover: bool,
        now: Now,
    ) -> Option<FileIndex> {
        if self.free.is_empty()
            && failover
            && self.live.len() > 1
            && let Some(oldest) = self.live.first().copied()
            && self.may_go(oldest, state, index)
        {
            self.evict_through = Some(oldest.seq);
            self.forget_evicted(state, index, now);
        }
        // One that the configuration no longer has goes at the next start that finds it free.
        let files = self.files_configured();
        self.free.iter().find(|file| file.0 < files).or(self.free.first()).copied()
    }

    /// How many files the ring has by its configuration; those from here on are surplus.
    pub(super) fn files_configured(&self) -> u16 {
        self.config.segments + self.config.spares
    }

    /// The live segments as an anchor lists them. `head`: whether the current one is given up; a head
    /// leaves out those that are free.
    fn list(&self, head: Option<bool>) -> impl Iterator<Item = ListEntry> + '_ {
        let last = self.live.len().saturating_sub(1);
        let listed =
            move |segment: &Segment| head.is_none() || !self.freeing.contains(&segment.seq);
        let live = self.live.iter().enumerate().filter(move |(_, segment)| listed(segment));
        live.map(move |(i, segment)| ListEntry {
            seq: segment.seq,
            end: segment.end,
            group_last: segment.group_last,
            file: segment.file,
            given_up: segment.given_up || (i == last && head == Some(true)),
        })
    }

    fn anchor_fields(&self, kind: AnchorKind, segment: Segment, now: Now) -> anchor::Fields {
        anchor::Fields {
            ring_id: self.id,
            kind,
            boot: self.boot,
            seq: segment.seq,
            file: segment.file,
            alignment: self.alignment as u32,
            segment_bytes: self.config.segment_bytes,
            groups_at: segment.groups_at,
            end: segment.end,
            group_next: self.group_next,
            prev_crc: self.prev_crc,
            wall_ms: now.wall_ms,
        }
    }

    fn succeeded(&mut self, out: Out, sync: bool, now: Now) -> Done {
        self.stamp_newest_ms = self.stamp_newest_ms.max(now.wall_ms);
        match out {
            Out::Group { bytes, crc } => {
                let closed = self.closed.as_ref();
                let ticket = closed.map_or(Ticket(0), |closed| closed.ticket);
                self.stats.payload_bytes += closed.map_or(0, |c| c.payload_bytes() as u64);
                self.current_kept |= closed.is_some_and(|closed| closed.kept);
                self.stats.groups += 1;
                let first = self.group_next;
                let (file, at) = self.advance(bytes, crc);
                self.ticket_written = ticket;
                if sync {
                    self.synced();
                } else {
                    self.unsynced.get_or_insert((at, first));
                }
                self.seal_due = Some(now.mono.plus_ms(self.seal_after_ms));
                if self.closing {
                    self.seal_due = Some(Mono(0));
                }
                Done::Group { file, at, synced: sync }
            }
            Out::Seal { bytes, crc } => {
                self.advance(bytes, crc);
                self.synced();
                self.stats.seals += 1;
                Done::Synced
            }
            Out::Evict { bytes, crc } => {
                self.advance(bytes, crc);
                self.synced();
                self.mode = Mode::Foot;
                Done::Synced
            }
            Out::Sync => {
                self.synced();
                Done::Synced
            }
            Out::Foot => {
                self.mode = Mode::Head { failover: false };
                Done::Quiet
            }
            Out::Head { segment } => self.head_done(segment),
        }
    }

    /// The group that was written at the end of the current segment belongs to it now.
    fn advance(&mut self, bytes: u64, crc: u32) -> (FileIndex, u64) {
        let seq = self.group_next;
        let current = self.live.last_mut().expect("a group goes to a segment");
        let at = current.end;
        current.end += bytes;
        current.group_last = seq;
        self.group_next = GroupSeq(seq.0 + 1);
        self.prev_crc = crc;
        (current.file, at)
    }

    fn synced(&mut self) {
        self.group_synced = GroupSeq(self.group_next.0 - 1);
        self.ticket_synced = self.ticket_written;
        self.sync_due = None;
        self.unsynced = None;
    }

    /// After a failed sync the kernel takes what it covered for clean, whether it is on flash or not.
    /// So the segment ends before it, and the sequences are given again.
    fn unsynced_drop(&mut self) -> Done {
        let Some((at, first)) = self.unsynced.take() else {
            return Done::Quiet;
        };
        let current = self.live.last_mut().expect("something was written to it");
        current.end = at;
        current.group_last = GroupSeq(first.0 - 1);
        self.group_next = first;
        self.written_unseen = false;
        Done::UnsyncedLost
    }

    fn head_done(&mut self, segment: Segment) -> Done {
        let given_up = self.mode == Mode::Head { failover: true };
        if let Some(last) = self.live.last_mut() {
            last.given_up |= given_up;
            self.stats.given_up += u64::from(given_up);
        }
        self.free.retain(|file| *file != segment.file);
        self.live.push(segment);
        self.stats.segments += 1;
        self.current_kept = false;
        self.full_at = None;
        self.mode = Mode::Append;
        self.pause_ms = 0;
        self.current_bad = false;
        self.closed_by_foot = false;
        Done::Head
    }

    fn failed(&mut self, out: Out, error: DiskError, now: Now) -> Done {
        self.stats.failures += 1;
        log::error!("ring {}: {error}; the segment is given up", self.config.name);
        match out {
            Out::Foot => {
                self.mode = Mode::Head { failover: false };
                self.unsynced_drop()
            }
            Out::Head { segment } => {
                // The file is tried again, but after the other free ones.
                self.free.retain(|file| *file != segment.file);
                self.free.push(segment.file);
                self.current_bad |= self.mode == Mode::Head { failover: true };
                self.mode = self.failing_from(now);
                self.fail_staged();
                Done::Failing
            }
            Out::Seal { .. } | Out::Sync => {
                self.current_bad = true;
                self.sync_due = None;
                self.unsynced_drop()
            }
            Out::Group { .. } | Out::Evict { .. } => {
                self.current_bad = true;
                self.evict_through = None;
                self.mode = Mode::Head { failover: true };
                self.unsynced_drop()
            }
        }
    }

    /// Those who wait are failed. What is staged goes out all the same once something can be stored
    /// again, and who joins it then is not failed with those who came before.
    fn fail_staged(&mut self) {
        self.ticket_failed = self.open.ticket;
        self.open.ticket = Ticket(self.open.ticket.0 + 1);
    }

    fn failing_from(&mut self, now: Now) -> Mode {
        let pause_ms = self.pause_ms.clamp(RETRY_MS_MIN, RETRY_MS_MAX);
        Mode::Failing { retry: now.mono.plus_ms(pause_ms), pause_ms }
    }

    /// Each failed try doubles the pause before the next; a success does not come back here.
    fn pause_note(&mut self) {
        if let Mode::Failing { pause_ms, .. } = self.mode {
            self.pause_ms = pause_ms * 2;
        }
    }
}

/// `bytes` of a snapshot and a list, as a head takes them on flash.
pub fn head_bytes(body: u64) -> u64 {
    PAGE_BYTES as u64 + whole_pages(body)
}

const RETRY_MS_MIN: u64 = 250;
const RETRY_MS_MAX: u64 = 30_000;
