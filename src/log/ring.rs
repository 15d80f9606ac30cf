//! One ring: its segments, the group that fills, the group that is on its way, and what comes next
//! for the disk.
//!
//! [`Ring::next_io`] and [`Ring::io_done`] are a state machine with at most one job out: [`writer`] has
//! its modes and their table, [`roster`] the segments and files, [`deadlines`] what is due when, and
//! [`space`] which segments go. A job that failed is never tried again on the same pages: the segment
//! is given up, and its group goes to a spare.

mod carry;
mod deadlines;
mod done;
mod failures;
mod found;
mod jobs;
mod roster;
mod space;
mod writer;

use crate::clock::{Mono, Now};
use crate::config::RingConfig;
use crate::error::DiskError;
use crate::limits::PAGE_BYTES;
use crate::log::anchor::AnchorBuffer;
use crate::log::carry::Carry;
use crate::log::format::{RingId, whole_pages};
use crate::log::index::Index;
use crate::log::staging::Staging;
use crate::log::state::State;
use crate::storage::WriteJob;
use crate::types::{Boot, FileIndex, FileRef, GroupSeq, RingIndex, SegmentSeq, Ticket};
use deadlines::Deadlines;
use done::Out;
pub use done::{Done, RingStats};
use failures::Failures;
pub use found::{Found, Newest, Shape};
use jobs::Quiet;
use roster::Roster;
pub use roster::Segment;
pub use space::Room;
use writer::{Event, Mode, Why, Writer};

/// A ring.
pub struct Ring {
    /// Which one it is.
    pub index: RingIndex,
    pub(super) id: RingId,
    pub(super) config: RingConfig,
    pub(super) boot: Boot,
    alignment: u64,
    anchor_bytes_max: u64,
    seal_after_ms: u64,
    stamp_newest_ms: i64,
    /// The timestamp in the job that is out.
    stamp_out_ms: i64,
    roster: Roster,
    writer: Writer,
    deadlines: Deadlines,
    out: Option<Out>,
    group_bytes_max: usize,
    /// What the smaller buffer takes.
    group_bytes_min: usize,
    /// The group that fills. The other buffer is in `closed` while its group is on its way, else in `spare`.
    open: Staging,
    closed: Option<Staging>,
    spare: Option<Staging>,
    anchor: AnchorBuffer,
    group_next: GroupSeq,
    group_synced: GroupSeq,
    prev_crc: u32,
    /// Where in the current segment the groups begin that are written and not synced, and the first of
    /// them.
    unsynced: Option<(u64, GroupSeq)>,
    /// Segments up to this one are evicted when the next is begun.
    evict_through: Option<SegmentSeq>,
    /// The file of the segment that made room for the next head when there was no spare.
    taken: Option<FileIndex>,
    held: space::Held,
    told: space::Told,
    failures: Failures,
    plan: carry::Plan,
    /// `None` while its errand is out.
    carry: Option<Box<Carry>>,
    tickets: Tickets,
    /// Counters.
    pub stats: RingStats,
}

/// How far groups have come, by the tickets that their waiters hold.
#[derive(Debug, Clone, Copy, Default)]
struct Tickets {
    written: Ticket,
    synced: Ticket,
    failed: Ticket,
}

impl Ring {
    /// A ring as it was found; allocates all it will ever need.
    pub fn new(shape: Shape, found: &Found) -> Ring {
        let config = shape.config;
        let files = usize::from(config.segments) + usize::from(config.spares);
        let files = files.max(found.live.len() + found.free.len());
        let [large, small] = shape.groups.map(Staging::new);
        let mut open = large;
        open.reset(Ticket(1));
        let last = found.live.iter().map(|segment| segment.group_last).max();
        assert!(last.is_none_or(|last| last < found.group_next), "sequences grow");
        assert!(found.group_synced < found.group_next, "what is synced was written");
        let configured = config.segments + config.spares;
        let next = found.segment_next;
        let mode = match found.newest {
            _ if found.live.is_empty() => Mode::Between(Why::Closed),
            Newest::Open => Mode::Append,
            Newest::Closed => Mode::Between(Why::Closed),
            Newest::GivenUp => Mode::Between(Why::GivenUp),
        };
        Ring {
            index: shape.index,
            id: found.id,
            boot: found.boot,
            alignment: u64::from(shape.alignment),
            anchor_bytes_max: shape.anchor_bytes_max as u64,
            seal_after_ms: shape.seal_after_ms,
            stamp_newest_ms: found.stamp_newest_ms.unwrap_or(i64::MIN),
            stamp_out_ms: i64::MIN,
            roster: Roster::new(&found.live, &found.free, next, configured, files),
            writer: Writer::new(mode),
            deadlines: Deadlines::default(),
            out: None,
            group_bytes_max: open.payload_bytes_max(),
            group_bytes_min: small.payload_bytes_max(),
            open,
            closed: None,
            spare: Some(small),
            anchor: AnchorBuffer::new(shape.anchor_bytes_max),
            group_next: found.group_next,
            group_synced: found.group_synced,
            prev_crc: found.prev_crc,
            unsynced: None,
            evict_through: None,
            taken: None,
            held: space::Held::default(),
            told: space::Told::default(),
            failures: Failures::default(),
            plan: carry::Plan::default(),
            carry: None,
            tickets: Tickets::default(),
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
        self.roster.live()
    }

    /// The live segment with this sequence.
    pub fn segment(&self, seq: SegmentSeq) -> Option<&Segment> {
        self.roster.segment(seq)
    }

    /// The newest timestamp in a group or anchor.
    pub fn stamp_newest_ms(&self) -> i64 {
        self.stamp_newest_ms
    }

    /// The sequence of the next group.
    #[cfg(test)]
    pub fn group_next(&self) -> GroupSeq {
        self.group_next
    }

    /// Everything up to this ticket is synced.
    pub fn ticket_synced(&self) -> Ticket {
        self.tickets.synced
    }

    /// Everything up to this ticket is written.
    pub fn ticket_written(&self) -> Ticket {
        self.tickets.written
    }

    /// Whoever waits for a ticket up to this one that is not synced got an error.
    pub fn ticket_failed(&self) -> Ticket {
        self.tickets.failed
    }

    /// Whether nothing can be stored: from when answers were failed until a group is on flash.
    pub fn is_failing(&self) -> bool {
        self.writer.refuses()
    }

    /// Whether something is written that is not synced, and so not to be seen.
    pub fn has_unsynced(&self) -> bool {
        self.unsynced.is_some()
    }

    /// The group that fills, to put something in. `strict`: its answer waits for the sync. `linger`: until
    /// then the group may wait for more.
    pub fn stage(&mut self, strict: bool, linger: Option<Mono>) -> &mut Staging {
        self.deadlines.joined(self.open.is_empty(), linger);
        self.open.strict |= strict;
        &mut self.open
    }

    /// From now on nothing lingers, and a seal follows.
    pub fn close(&mut self) {
        self.deadlines.close();
    }

    /// Whether there is nothing left to do after [`Ring::close`].
    pub fn is_closed(&self) -> bool {
        let idle = self.out.is_none() && self.closed.is_none() && self.open.is_empty();
        let settled = self.deadlines.seal().is_none() && self.deadlines.sync().is_none();
        self.writer.retry().is_some() || (idle && settled && !self.is_between_jobs())
    }

    /// When [`Ring::next_io`] has something to do without anything new.
    pub fn deadline(&self) -> Option<Mono> {
        if self.out.is_some() {
            return None;
        }
        if let Some(retry) = self.writer.retry() {
            return Some(retry);
        }
        if self.closed.is_some() || self.is_between_jobs() {
            return Some(Mono(0));
        }
        let open = (!self.open.is_empty()).then(|| self.deadlines.open());
        let due = [open, self.deadlines.sync(), self.deadlines.seal(), self.carry_deadline()];
        due.into_iter().flatten().min()
    }

    /// Whether a step of a roll comes next, whether or not a group waits for it.
    fn is_between_jobs(&self) -> bool {
        matches!(self.writer.mode(), Mode::Evict | Mode::Clear | Mode::Foot | Mode::Begin(_))
    }

    /// The next job, if there is one and none is out.
    pub fn next_io(&mut self, state: &mut State, index: &mut Index, now: Now) -> Option<WriteJob> {
        if self.out.is_some() {
            return None;
        }
        self.told.rest(&self.config.name, now.mono);
        if let Some(job) = self.carry_io(state, index, now) {
            return Some(job);
        }
        if self.may_close(state, index) {
            self.close_open(now);
        }
        // A step that has nothing for the disk leads to another mode, and never back to its own.
        for _ in 0..STEPS_MAX {
            match self.writer.mode() {
                Mode::Append if self.closed.is_some() => {
                    if let Some(bytes) = self.closed_fits(state) {
                        return Some(self.group_job(bytes, now));
                    }
                    self.full(state, index);
                }
                Mode::Append => match self.sync_or_seal(state, now) {
                    Quiet::Job(job) => return Some(job),
                    Quiet::Nothing => return None,
                    // The foot proves what the seal would. But it must not close the last segment while the
                    // oldest one is not carried.
                    Quiet::NoRoom if self.carry_is_last(state, index) => return None,
                    Quiet::NoRoom => self.full(state, index),
                },
                Mode::Between(why) => {
                    self.deadlines.sealed();
                    self.closed.as_ref()?;
                    if why == Why::Closed {
                        // The start read the foot, not the note of the eviction before it.
                        self.evict_through = self.evict_ready(state, index);
                    }
                    self.writer.on(Event::Wanted);
                }
                Mode::Evict | Mode::Clear => return Some(self.evict_job(now)),
                Mode::Foot => {
                    if let Some(job) = self.foot_job(state, index, now) {
                        return Some(job);
                    }
                    self.writer.on(Event::Foot);
                }
                Mode::Begin(why) => {
                    if let Some(job) = self.head_job(why, state, index, now) {
                        return Some(job);
                    }
                    self.writer.on(Event::NoFile);
                    self.fail(now);
                    return None;
                }
                Mode::Failing(_) => {
                    if self.writer.retry().is_some_and(|retry| now.mono < retry) {
                        return None;
                    }
                    self.writer.on(Event::Retry);
                }
            }
        }
        unreachable!("a ring goes from mode to mode without a job")
    }

    /// The current segment is full.
    pub(in crate::log::ring) fn full(&mut self, state: &State, index: &Index) {
        self.evict_through = self.evict_ready(state, index);
        let evicts = self.evict_through.is_some();
        self.writer.on(if evicts { Event::FullEvict } else { Event::Full });
    }

    /// Takes a finished job back.
    pub fn io_done(
        &mut self,
        job: WriteJob,
        result: Result<(), DiskError>,
        index: &mut Index,
        now: Now,
    ) -> Done {
        let sync = job.sync;
        let bytes: u64 = job.parts.iter().map(|part| u64::from(part.bytes)).sum();
        if result.is_ok() {
            self.stats.written_bytes += bytes + u64::from(job.padding);
            self.stats.rate.add(bytes + u64::from(job.padding), now.mono);
            self.stats.syncs += u64::from(job.sync);
        }
        let out = self.out.take().expect("a job comes back once");
        match out {
            Out::Group { .. } => {
                if let Some(closed) = &mut self.closed {
                    closed.take_back(job.buf, job.parts);
                }
            }
            Out::Sync => {}
            Out::Errand => self.errand_back(job),
            Out::Carried { .. } => self.carried_back(job),
            _ => self.anchor.take_back(job.buf, job.parts),
        }
        match result {
            Ok(()) => self.succeeded(out, sync, index, now),
            Err(error) => self.failed(out, error, index, now),
        }
    }

    /// The closed group's contents, once [`Ring::io_done`] said that it is on flash. Empties it.
    pub fn closed_take(&mut self) -> Option<Staging> {
        self.closed.take()
    }

    /// Gives the emptied group back. If nothing is staged, the larger one becomes the open one, so that
    /// requests that come together once all are answered are in one group.
    pub fn closed_return(&mut self, mut staging: Staging) {
        assert!(self.spare.is_none(), "there are two");
        let larger = staging.payload_bytes_max() > self.open.payload_bytes_max();
        if larger && self.open.is_empty() {
            staging.reset(self.open.ticket);
            std::mem::swap(&mut staging, &mut self.open);
        }
        self.spare = Some(staging);
    }

    /// Bytes that one more group of `contents` bytes would take.
    fn group_bytes(&self, contents: usize) -> u64 {
        (contents as u64).next_multiple_of(self.alignment)
    }

    pub(super) fn current(&self) -> Option<&Segment> {
        self.roster.current()
    }

    fn file(&self, file: FileIndex) -> FileRef {
        FileRef { ring: self.index, file }
    }

    /// Whether this many bytes of batches in this many runs fit the open group. If they do not, and the
    /// other buffer is free, that becomes the open one: what is staged goes out at once.
    pub fn make_room(&mut self, bytes: usize, runs: usize, state: &State, index: &Index) -> bool {
        let full = !self.open.has_room(bytes, runs) && !self.open.is_empty();
        if full && self.may_close(state, index) {
            self.close_open_now();
        }
        self.open.has_room(bytes, runs)
    }

    /// The most bytes of batches that one group may have.
    pub fn group_bytes_max(&self) -> usize {
        self.group_bytes_max
    }

    /// Closes the open group if it is due and nothing else is on its way.
    fn close_open(&mut self, now: Now) {
        if !self.open.is_empty() && self.deadlines.open() <= now.mono {
            self.close_open_now();
        }
    }

    /// Closes the open group if nothing else is on its way.
    fn close_open_now(&mut self) {
        if let Some(mut next) = self.spare.take() {
            next.reset(Ticket(self.open.ticket.0 + 1));
            let mut closed = std::mem::replace(&mut self.open, next);
            closed.close();
            self.closed = Some(closed);
            self.deadlines.open_closed();
        }
    }

    fn succeeded(&mut self, out: Out, sync: bool, index: &mut Index, now: Now) -> Done {
        self.stamp_newest_ms = self.stamp_newest_ms.max(self.stamp_out_ms);
        match out {
            Out::Group { bytes, crc } => {
                self.writer.on(Event::Group);
                self.group_done(bytes, crc, sync, now)
            }
            Out::Seal { bytes, crc } => {
                self.writer.on(Event::Seal);
                self.advance(bytes, crc);
                self.stats.seals += 1;
                self.told.rest_at_last(&self.config.name, now.mono);
                Done::Synced { earlier: self.synced() }
            }
            Out::Evict { bytes, crc } => {
                let clears = self.writer.mode() == Mode::Clear;
                self.writer.on(Event::Evicted);
                self.advance(bytes, crc);
                let earlier = self.synced();
                if clears { Done::Cleared { earlier } } else { Done::Synced { earlier } }
            }
            Out::Errand => Done::Quiet,
            Out::Carried { bytes, crc } => {
                self.writer.on(Event::Carried);
                self.carried_done(bytes, crc, now)
            }
            Out::Sync => {
                self.writer.on(Event::Sync);
                Done::Synced { earlier: self.synced() }
            }
            Out::Foot => {
                self.writer.on(Event::Foot);
                Done::Quiet
            }
            Out::Head { segment } => self.head_done(segment, index, now),
        }
    }

    fn group_done(&mut self, bytes: u64, crc: u32, sync: bool, now: Now) -> Done {
        let closed = self.closed.as_ref().expect("the group that was written");
        let (ticket, sync_by, wants_seal) = (closed.ticket, closed.sync_by, closed.wants_seal);
        self.stats.payload_bytes += closed.payload_bytes() as u64;
        if closed.payload_bytes() > 0 {
            self.held.written(self.roster.current_mut().file, closed.kept);
        }
        self.stats.groups += 1;
        let first = self.group_next;
        let (file, at) = self.advance(bytes, crc);
        self.tickets.written = ticket;
        let mut earlier = false;
        if sync {
            earlier = self.synced();
            self.recovered(now);
        } else {
            self.unsynced.get_or_insert((at, first));
            self.deadlines.written(sync_by);
        }
        if wants_seal {
            self.deadlines.seal_by(now.mono.plus_ms(self.seal_after_ms));
        } else {
            self.deadlines.seal_at_the_end();
        }
        Done::Group { file, at, synced: sync, earlier }
    }

    /// The group that was written at the end of the current segment belongs to it now.
    fn advance(&mut self, bytes: u64, crc: u32) -> (FileIndex, u64) {
        let seq = self.group_next;
        let current = self.roster.current_mut();
        let at = current.end;
        current.end += bytes;
        current.group_last = seq;
        self.group_next = GroupSeq(seq.0 + 1);
        self.prev_crc = crc;
        (current.file, at)
    }

    /// Everything written is on flash; gives whether there was something that was not.
    fn synced(&mut self) -> bool {
        self.group_synced = GroupSeq(self.group_next.0 - 1);
        self.tickets.synced = self.tickets.written;
        self.deadlines.synced();
        self.unsynced.take().is_some()
    }

    /// After a failed sync the kernel takes what it covered for clean, whether it is on flash or not.
    /// So the segment ends before it, and the sequences are given again.
    fn unsynced_drop(&mut self) -> Done {
        self.deadlines.synced();
        let Some((at, first)) = self.unsynced.take() else {
            return Done::Quiet;
        };
        let current = self.roster.current_mut();
        current.end = at;
        current.group_last = GroupSeq(first.0 - 1);
        self.group_next = first;
        Done::UnsyncedLost
    }

    fn head_done(&mut self, segment: Segment, index: &mut Index, now: Now) -> Done {
        let given_up = self.writer.mode() == Mode::Begin(Why::GivenUp);
        self.writer.on(Event::Head);
        if given_up && let Some(last) = self.current().copied() {
            self.roster.current_mut().given_up = true;
            self.stats.given_up += 1;
            if last.is_empty() {
                // The head that follows does not list it: nothing was ever stored there.
                self.roster.free(last.seq);
                index.segment_evicted(last.file);
            }
        }
        self.roster.begun(segment);
        self.taken = None;
        self.stats.segments += 1;
        self.held.begun();
        if self.closed.is_none() && self.open.is_empty() {
            self.recovered(now);
        }
        Done::Head
    }

    /// An episode of failures is over, if there was one.
    fn recovered(&mut self, now: Now) {
        self.writer.recovered();
        self.failures.ended(&self.config.name, now.mono);
    }

    fn failed(&mut self, out: Out, error: DiskError, index: &mut Index, now: Now) -> Done {
        self.stats.failures += 1;
        self.stamp_out_ms = i64::MIN;
        let again = self.writer.in_episode();
        self.writer.failed();
        self.failures.failed(&self.config.name, out, error, now.mono);
        match out {
            Out::Foot => self.writer.on(Event::Foot),
            Out::Head { segment } => {
                self.roster.not_begun(segment.file);
                index.overwriting_fails();
                self.writer.on(Event::HeadFailed);
                self.fail(now);
            }
            Out::Sync => self.writer.on(Event::SyncFailed),
            Out::Seal { .. } => self.writer.on(Event::SealFailed),
            Out::Evict { .. } => {
                self.evict_through = None;
                self.writer.on(Event::EvictFailed);
            }
            Out::Errand => {}
            Out::Carried { .. } => {
                self.writer.on(Event::CarryFailed);
                self.carried_failed(now);
            }
            Out::Group { .. } if again => {
                self.writer.on(Event::GroupFailedAgain);
                self.fail(now);
            }
            Out::Group { .. } => self.writer.on(Event::GroupFailed),
        }
        self.unsynced_drop()
    }

    /// All that wait get an error. What is staged is written all the same once the disk works again, and
    /// whoever joins it then has a later ticket, which has not failed.
    fn fail(&mut self, now: Now) {
        self.writer.pause(now.mono);
        self.tickets.failed = self.open.ticket;
        self.open.ticket = Ticket(self.open.ticket.0 + 1);
    }
}

/// `bytes` of a snapshot and a list, as a head takes them on flash.
pub fn head_bytes(body: u64) -> u64 {
    PAGE_BYTES as u64 + whole_pages(body)
}

/// More than the modes that a ring goes through from one job to the next.
const STEPS_MAX: usize = 8;
