//! One job: its state, and what its phases share.

use std::ops::{Deref, DerefMut};

use super::Terms;
use super::entries::{Arena, At, List, NIL, Target};
use super::gone::{Gone, Was};
use super::lookup::Lookup;
use super::plan::{Cut, Plan};
use super::send::Sending;
use crate::broker::unpacker::Unpacker;
use crate::broker::{ConnId, JobNext};
use crate::clock::{Mono, Now};
use crate::codec::ErrorsSeen;
use crate::error::DiskError;
use crate::limits;
use crate::log::read::cursors::Cursors;
use crate::log::read::damage::{Damage, Range};
use crate::log::read::walk::Walk;
use crate::log::read::{Source, View, Wanted, Window};
use crate::log::state::Partition;
use crate::types::{RingIndex, SegmentSeq};

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// There is none.
    #[default]
    Idle,
    /// Finds what to send.
    Plan,
    /// Waits for more.
    Sleep,
    /// Finds offsets by timestamp.
    Lookup,
    /// Sends.
    Send,
}

/// A job.
#[derive(Default)]
pub(super) struct Job {
    pub(super) phase: Phase,
    pub(super) terms: Option<Terms>,
    pub(super) list: List,
    /// How many entries that has.
    pub(super) count: usize,
    /// Since when it sleeps.
    pub(super) slept_at: Mono,
    /// The entry in work.
    pub(super) at: At,
    /// While it sleeps: bytes that there are to send.
    pub(super) ready: u64,
    /// It is in the list of those to be stepped.
    pub(super) woken: bool,
    /// How often it was begun anew.
    attempts: u32,
    pub(super) work: Awake,
}

/// What a job needs while it has a buffer, and only then: there is as much of it as there are buffers.
#[derive(Default)]
pub(super) struct Awake(Option<Box<Work>>);

impl Awake {
    /// For any job.
    pub(super) fn made() -> Awake {
        Awake(Some(Box::default()))
    }

    /// Takes a spare one, if the job has none yet.
    pub(super) fn begin(&mut self, spare: &mut Vec<Awake>) {
        if self.0.is_none() {
            *self = spare.pop().unwrap_or_else(Awake::made);
        }
    }

    /// Gives it back.
    pub(super) fn end(&mut self, spare: &mut Vec<Awake>) {
        let mut awake = std::mem::take(self);
        if let Some(work) = &mut awake.0
            && spare.len() < spare.capacity()
        {
            **work = Work::default();
            spare.push(awake);
        }
    }
}

/// See [`Awake`].
#[derive(Default)]
pub(super) struct Work {
    /// The walk over the entry's partition, and the run of it whose batches are walked.
    pub(super) walk: Option<Walk>,
    pub(super) cut: Option<Cut>,
    pub(super) plan: Plan,
    pub(super) lookup: Lookup,
    pub(super) sending: Sending,
    /// What is in the buffer, or in its second half.
    pub(super) window: Option<Window>,
    /// The read that is under way.
    pub(super) reading: Option<Reading>,
    /// A read failed: from now on reads are small, to lose little.
    pub(super) cautious: bool,
}

/// A read that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// What is read.
    pub(super) window: Window,
    /// It is of records to send, not of a window for planning.
    pub(super) records: bool,
}

/// What a job works with.
pub(super) struct Context<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) arena: &'a mut Arena,
    pub(super) cursors: &'a mut Cursors,
    pub(super) damage: &'a mut Damage,
    pub(super) gone: &'a Gone,
    /// Counts the errors in the answers that are begun in this step.
    pub(super) errors: &'a mut ErrorsSeen,
    pub(super) unpacker: &'a mut Unpacker,
    pub(super) conn: ConnId,
    pub(super) large_bytes: usize,
    pub(super) now: Now,
}

impl Default for List {
    fn default() -> List {
        List::EMPTY
    }
}

impl Deref for Awake {
    type Target = Work;

    fn deref(&self) -> &Work {
        self.0.as_deref().expect("a job that is stepped is awake")
    }
}

impl DerefMut for Awake {
    fn deref_mut(&mut self) -> &mut Work {
        self.0.as_deref_mut().expect("a job that is stepped is awake")
    }
}

impl Job {
    pub(super) fn begin(&mut self, phase: Phase, terms: Terms) {
        self.phase = phase;
        self.terms = Some(terms);
        self.at = NIL;
    }

    pub(super) fn bytes_min(&self) -> u32 {
        self.terms.map_or(0, |terms| terms.bytes_min)
    }

    /// It is to be answered with what there is.
    pub(super) fn hurry(&mut self) {
        if let Some(terms) = &mut self.terms {
            terms.deadline = Mono(0);
        }
    }

    /// When it is answered with nothing but holes.
    pub(super) fn holes_at(&self) -> Mono {
        self.terms.map_or(Mono(0), |terms| terms.holes_at.min(terms.deadline))
    }

    pub(super) fn deadline(&self) -> Mono {
        self.terms.map_or(Mono(0), |terms| terms.deadline)
    }

    /// Works on until something is to be done outside.
    pub(super) fn step(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
    ) -> JobNext {
        assert!(buf.len() >= BUFFER_BYTES_MIN, "a lease is larger");
        if let Some(reading) = self.work.reading.take()
            && let Err(step) = self.read_done(context, buf, &reading, read)
        {
            return step;
        }
        if self.phase == Phase::Plan
            && self.work.walk.is_some()
            && context.partition(self.at).is_none()
        {
            // The partition was deleted while it was read.
            self.restart(context);
        }
        loop {
            let step = match self.phase {
                Phase::Idle => Some(JobNext::Close("no read job")),
                Phase::Sleep => {
                    context.arena.unwait(self.list);
                    self.restart(context);
                    self.attempts = 0;
                    None
                }
                Phase::Plan => self.plan(context, buf),
                Phase::Lookup => self.lookup(context, buf),
                Phase::Send => self.send(context, buf),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Takes a read's outcome. An error of this is the step to take instead of going on.
    fn read_done(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        reading: &Reading,
        outcome: Option<Result<(), DiskError>>,
    ) -> Result<(), JobNext> {
        let window = reading.window;
        if context.source.segment(window.ring, window.seq).is_none() {
            return self.again(context, "what was being read was overwritten");
        }
        match outcome {
            Some(Ok(())) if reading.records => self.records_read(context, buf, &window),
            Some(Ok(())) => {
                self.work.window = Some(window);
                Ok(())
            }
            // Read again in small pieces, so that only what is damaged is lost. What is wanted whole is
            // read as a whole again.
            _ if window.bytes > CAUTIOUS_BYTES && (reading.records || !self.work.cautious) => {
                self.work.cautious = true;
                Ok(())
            }
            _ if reading.records => {
                let to = window.at + window.bytes as u64;
                self.unreadable(context, window.ring, window.seq, (window.at, to));
                self.again(context, "what was being read is damaged")
            }
            _ => {
                let broken = true;
                self.work.plan.unreadable = true;
                self.work.window = Some(Window { broken, ..window });
                Ok(())
            }
        }
    }

    /// Begins anew if the client has nothing of the answer yet.
    pub(super) fn again(
        &mut self,
        context: &mut Context<'_>,
        why: &'static str,
    ) -> Result<(), JobNext> {
        self.attempts += 1;
        if self.work.sending.started() || self.attempts > ATTEMPTS_MAX {
            return Err(JobNext::Close(why));
        }
        self.restart(context);
        Ok(())
    }

    pub(super) fn restart(&mut self, context: &mut Context<'_>) {
        if self.phase != Phase::Lookup {
            self.phase = Phase::Plan;
            let mut at = self.list.head;
            while at != NIL {
                let entry = context.arena.entry_mut(at);
                entry.plan_reset();
                at = context.arena.next(at).unwrap_or(NIL);
            }
        }
        self.at = NIL;
        self.ready = 0;
        self.work.window = None;
        self.work.walk = None;
        self.work.cut = None;
        self.work.plan = Plan::default();
        self.work.lookup = Lookup::default();
        self.work.sending = Sending::default();
    }

    /// Asks for a window of a segment.
    pub(super) fn read(&mut self, wanted: &Wanted, buf: &[u8]) -> JobNext {
        let (from, to) = self.window_place(buf.len());
        let few = if self.work.cautious { CAUTIOUS_BYTES } else { READ_BYTES_MAX };
        let bytes = wanted.bytes_max.min(few).max(wanted.bytes_min).min(to - from);
        let window =
            Window { ring: wanted.file.ring, seq: wanted.seq, at: wanted.at, bytes, broken: false };
        self.work.window = None;
        self.work.reading = Some(Reading { window, records: false });
        JobNext::Read { file: wanted.file, at: wanted.at, from, to: from + bytes }
    }

    pub(super) fn view<'a>(&self, buf: &'a [u8]) -> View<'a> {
        let (from, _) = self.window_place(buf.len());
        View { window: self.work.window, bytes: buf.get(from..).unwrap_or_default() }
    }

    /// Where in the buffer windows are. In a look-up there is nothing else in it.
    fn window_place(&self, buf_bytes: usize) -> (usize, usize) {
        match self.phase {
            Phase::Lookup => (0, buf_bytes),
            _ => (window_from(buf_bytes), spans_from(buf_bytes)),
        }
    }

    /// Notes that what is at this position is damaged, and logs it.
    pub(super) fn damaged(
        &self,
        context: &mut Context<'_>,
        ring: RingIndex,
        seq: SegmentSeq,
        at: u64,
    ) {
        // Its length cannot be trusted.
        self.note(context, Range { ring, seq, from: at, to: at + 1, unreadable: false });
    }

    /// The same of bytes that cannot be read.
    fn unreadable(
        &self,
        context: &mut Context<'_>,
        ring: RingIndex,
        seq: SegmentSeq,
        (from, to): (u64, u64),
    ) {
        self.note(context, Range { ring, seq, from, to, unreadable: true });
    }

    fn note(&self, context: &mut Context<'_>, range: Range) {
        let Range { ring, seq, from, to, unreadable } = range;
        if !context.damage.note(range) {
            return;
        }
        let Some(unsaid) = context.damage.say(context.now.mono) else {
            return;
        };
        let (topic, index, offset) = self.reads_now(context);
        log::warn!(
            "{}: bytes {from} to {to} of segment {} of ring {}, read for topic {topic:?} \
             partition {index} from offset {offset} on; readers skip them ({unsaid} others since \
             the last such line)",
            if unreadable { "unreadable" } else { "damaged" },
            seq.0,
            context.source.ring_name(ring),
        );
    }

    fn reads_now<'a>(&self, context: &'a Context<'_>) -> (&'a str, u32, i64) {
        let offset = self.want(context.arena).0;
        if self.at != NIL
            && let Target::Known(slot, _) = context.arena.entry(self.at).target()
            && let Some(partition) = context.source.state().partition(slot)
            && let Some(topic) = context.source.state().topic(partition.topic)
        {
            return (&topic.name, partition.index, offset);
        }
        ("", 0, offset)
    }
}

impl Context<'_> {
    /// The partition of an entry; none: it was deleted, or never there.
    pub(super) fn partition(&self, at: At) -> Option<&Partition> {
        let Target::Known(slot, handle) = self.arena.entry(at).target() else {
            return None;
        };
        let partition = self.source.state().partition(slot)?;
        (partition.handle == handle).then_some(partition)
    }

    /// The deleted partition of an entry, if its topic was deleted lately.
    pub(super) fn was(&self, at: At) -> Option<Was<'_>> {
        match self.arena.entry(at).target() {
            Target::Known(_, handle) => self.gone.find(handle),
            Target::Unknown { .. } => None,
        }
    }
}

/// Where the window starts.
pub(super) fn window_from(buf_bytes: usize) -> usize {
    buf_bytes / 2
}

/// Where the planned ranges start.
pub(super) fn spans_from(buf_bytes: usize) -> usize {
    buf_bytes - buf_bytes / 16 * 3
}

/// The most that is read at once, unless more is needed: what a window has room for beside the plan.
const READ_BYTES_MAX: usize = limits::LEASE_BYTES / 16 * 5;

/// The same after a failed read.
pub(super) const CAUTIOUS_BYTES: usize = 4096;

/// A window must hold a group's header, a run, and a batch's header.
const BUFFER_BYTES_MIN: usize = 8 * 1024;

/// Each attempt found new damage or a new eviction, so this is never reached by chance.
const ATTEMPTS_MAX: u32 = 100;
