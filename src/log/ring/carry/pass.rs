//! A pass over one segment: what is read next, and what is written.

use super::{Rest, growth_max};
use crate::clock::Now;
use crate::log::carry::{Carry, Task};
use crate::log::format::FLAG_CARRIED;
use crate::log::index::{Index, Place};
use crate::log::ring::{Done, Out, Ring};
use crate::log::staging::Staging;
use crate::log::state::State;
use crate::storage::WriteJob;
use crate::types::{Offset, PartitionHandle, SegmentSeq, Ticket};

/// The pass over a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    /// The segment.
    pub(super) seq: SegmentSeq,
    /// Everything before this is done.
    at: (PartitionHandle, Offset),
    /// How far the portion goes so far.
    pub(super) collected: (PartitionHandle, Offset),
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A portion begins.
    Begin,
    /// Its keys are collected; the next block of the last source to be read.
    Collect(Option<Place>),
    /// Newer records are looked for, from here on; none: up to the end.
    Walk(Option<Place>),
    /// Live records are staged; the next block of that source to be read.
    Stage(usize, Option<Place>),
    /// The staged group is written; staging goes on there.
    Write(usize, Option<Place>),
}

/// What a pass does next.
enum Next {
    /// It is in another phase.
    Again,
    /// It reads.
    Read(Task),
    /// It writes what is staged.
    Write,
    /// All is done.
    Done,
}

impl Ring {
    pub(super) fn pass_begin(&mut self, seq: SegmentSeq, index: &Index) {
        let at = (PartitionHandle(0), Offset(0));
        self.plan.pass = Some(Pass { seq, at, collected: at, phase: Phase::Begin });
        let file = self.segment(seq).map(|segment| segment.file);
        let bytes = file.map_or(0, |f| index.dirty_bytes(f) + index.carried().bytes_in(f));
        if let Some(carry) = &mut self.carry {
            carry.cover = None;
            carry.growth_left = growth_max(bytes);
        }
    }

    /// Ends a pass where it is; the segment has another one later.
    pub(super) fn pass_end(&mut self) {
        self.plan.pass = None;
        self.plan.large = false;
        self.staging_return();
    }

    /// The next job of the pass; none: it came to its end, or another segment has to be begun first.
    pub(super) fn pass_step(
        &mut self,
        state: &State,
        index: &mut Index,
        now: Now,
    ) -> Option<WriteJob> {
        loop {
            let mut pass = self.plan.pass?;
            let Some(segment) = self.segment(pass.seq).copied() else {
                // A failure needed its file.
                self.pass_end();
                return None;
            };
            let next = self.pass_next(&mut pass, state, index);
            self.plan.pass = Some(pass);
            match next {
                Next::Again => {}
                Next::Write => return self.carried_job(state, index, now),
                Next::Read(Task::Stage(_)) if !self.staging_may(state) => {
                    // Records that were promised the room of the current segment go first.
                    self.plan.turn = true;
                    return None;
                }
                Next::Read(_) if !self.buffer_get() => {
                    self.open_first(state, index);
                    return None;
                }
                Next::Read(task) => return self.errand(task, now),
                Next::Done => {
                    self.pass_end();
                    self.plan.examined = Some(pass.seq);
                    index.examined(segment.file, state);
                    return None;
                }
            }
        }
    }

    fn pass_next(&mut self, pass: &mut Pass, state: &State, index: &Index) -> Next {
        let Some(carry) = &self.carry else { return Next::Done };
        let reads = !carry.ranges.is_empty();
        match pass.phase {
            Phase::Begin => return self.portion_begin(pass, state, index),
            Phase::Collect(_) if reads => return Next::Read(Task::Collect),
            Phase::Collect(Some(from)) => {
                let last = carry.sources.len() - 1;
                pass.phase = Phase::Collect(self.source_ranges(index, last, from));
            }
            Phase::Collect(None) => {
                if let Some(again) = self.collect_again() {
                    pass.phase = Phase::Collect(Some(again));
                } else if !self.source_add(pass, state, index) {
                    pass.phase = Phase::Walk(Some(Place { seq: SegmentSeq(0), at: 0 }));
                }
            }
            Phase::Walk(_) if reads => return Next::Read(Task::Walk),
            Phase::Walk(Some(from)) if carry.is_undecided() => {
                pass.phase = Phase::Walk(self.walk_ranges(index, from));
            }
            Phase::Walk(_) => pass.phase = Phase::Stage(0, self.stage_begin(0)),
            Phase::Stage(place, from) => return self.stage_next(pass, place, from, index),
            Phase::Write(..) => return Next::Write,
        }
        Next::Again
    }

    fn portion_begin(&mut self, pass: &mut Pass, state: &State, index: &Index) -> Next {
        if let Some(carry) = &mut self.carry {
            carry.portion_begin();
        }
        pass.collected = pass.at;
        pass.phase = Phase::Collect(None);
        if self.source_add(pass, state, index) { Next::Again } else { Next::Done }
    }

    fn stage_next(
        &mut self,
        pass: &mut Pass,
        place: usize,
        from: Option<Place>,
        index: &Index,
    ) -> Next {
        let Some(carry) = &self.carry else { return Next::Done };
        let over = place >= carry.sources.len();
        let staged = carry.staging.as_ref().is_some_and(|staging| !staging.is_empty());
        if carry.staged_full || (over && staged) {
            pass.phase = Phase::Write(place, from);
        } else if over {
            if let Some(last) = carry.sources.last()
                && let Some(part) = carry.parts.get(usize::from(last.part))
            {
                pass.at = (part.handle, last.to);
            }
            pass.phase = Phase::Begin;
            self.staging_return();
        } else if !carry.ranges.is_empty() {
            return Next::Read(Task::Stage(place));
        } else if let Some(from) = from {
            pass.phase = Phase::Stage(place, self.source_ranges(index, place, from));
        } else {
            let again = self.source_again(place);
            let next = place + usize::from(again.is_none());
            pass.phase = Phase::Stage(next, again.or_else(|| self.stage_begin(next)));
        }
        Next::Again
    }

    /// A source is staged next; gives where its groups begin.
    fn stage_begin(&mut self, place: usize) -> Option<Place> {
        let carry = self.carry.as_mut()?;
        let source = carry.sources.get_mut(place)?;
        if !std::mem::replace(&mut source.joined, true) {
            carry.cover = None;
        }
        source.seen_to = source.from;
        source.loose = false;
        Some(Place { seq: source.seq, at: source.at })
    }

    /// The last source once more from its start, if a part of it is damaged.
    fn collect_again(&mut self) -> Option<Place> {
        let carry = self.carry.as_ref().filter(|carry| !carry.full)?;
        let last = carry.sources.len().checked_sub(1)?;
        if carry.sources[last].whole { None } else { self.source_again(last) }
    }

    fn source_again(&mut self, place: usize) -> Option<Place> {
        let source = self.carry.as_mut()?.sources.get_mut(place)?;
        source.again().then_some(Place { seq: source.seq, at: source.at })
    }

    /// Whether carried records are staged.
    pub(super) fn is_staging(&self) -> bool {
        let staging = self.carry.as_ref().and_then(|carry| carry.staging.as_ref());
        staging.is_some_and(|staging| !staging.is_empty())
    }

    /// Bytes of a carried group that will go to the current segment before the open group can.
    pub(in crate::log::ring) fn carry_ahead(&self) -> u64 {
        if self.is_staging() { self.group_bytes(self.group_bytes_max) } else { 0 }
    }

    /// Whether staging may begin: records of a held ring that wait for their group were promised the room
    /// of the current segment.
    fn staging_may(&self, state: &State) -> bool {
        let group = self.group_bytes(self.group_bytes_max);
        self.is_staging() || !self.open.kept || self.promise_holds(group, state)
    }

    /// Sees that the free buffer is as large as an errand needs; false: more is staged in the larger one
    /// than the smaller one can take over.
    fn buffer_get(&mut self) -> bool {
        let needs = self.carry.as_ref().map_or(0, |carry| carry.needs);
        let (open, Some(spare)) = (&mut self.open, &mut self.spare) else {
            return self.is_staging();
        };
        let larger = open.payload_bytes_max() > spare.payload_bytes_max();
        if spare.payload_bytes_max() < needs && larger {
            spare.reset(open.ticket);
            if open.is_empty() || spare.take_over(open) {
                std::mem::swap(open, spare);
            }
        }
        self.plan.large = spare.payload_bytes_max() < needs.min(self.group_bytes_max);
        !self.plan.large
    }

    /// Gives the buffer back to producers.
    fn staging_return(&mut self) {
        if let Some(carry) = &mut self.carry
            && let Some(mut staging) = carry.staging.take()
        {
            staging.reset(Ticket(0));
            carry.staged_full = false;
            if staging.payload_bytes_max() > self.open.payload_bytes_max() && self.open.is_empty() {
                // Nothing is in the smaller one, but requests that found no room in it wait for its ticket.
                self.tickets.written = self.open.ticket;
                staging.reset(Ticket(self.open.ticket.0 + 1));
                std::mem::swap(&mut staging, &mut self.open);
                self.plan.nudge = true;
            }
            self.spare = Some(staging);
        }
    }

    fn errand(&mut self, task: Task, now: Now) -> Option<WriteJob> {
        let file = self.file(self.current()?.file);
        let right = now.wall_synchronised || now.wall_ms >= self.stamp_newest_ms;
        let mut carry = self.carry.take()?;
        carry.task = task;
        carry.ring_id = self.id;
        carry.now_ms = right.then_some(now.wall_ms);
        if carry.staging.is_none() {
            let mut staging = self.spare.take().expect("no group is closed");
            staging.reset(Ticket(0));
            carry.staging = Some(staging);
        }
        let (window, parts) = self.anchor.lend_all();
        carry.window = window;
        self.out = Some(Out::Errand);
        let buf = Box::default();
        Some(WriteJob { file, at: 0, buf, parts, padding: 0, sync: false, errand: Some(carry) })
    }

    /// An errand came back.
    pub(in crate::log::ring) fn errand_back(&mut self, job: WriteJob) {
        let carry = job.errand.map(|errand| errand.into_any().downcast::<Carry>());
        let Some(Ok(mut carry)) = carry else {
            panic!("an errand comes back as it was sent");
        };
        self.anchor.take_back(std::mem::take(&mut carry.window), job.parts);
        self.stats.carry_damaged += std::mem::take(&mut carry.damaged);
        self.carry = Some(carry);
        if !self.is_staging() {
            // Between errands producers may use it.
            self.staging_return();
        }
    }

    /// The group of what was staged; none: it does not fit, and another segment is begun first.
    fn carried_job(&mut self, state: &State, index: &Index, now: Now) -> Option<WriteJob> {
        let staging = self.carry.as_mut()?.staging.as_mut()?;
        staging.close();
        let contents = staging.contents_bytes();
        let bytes = self.group_bytes(contents);
        if !self.fits(bytes + self.alignment, state) {
            self.carried_full(state, index, now);
            return None;
        }
        let current = *self.current()?;
        let header = self.header(current, bytes, FLAG_CARRIED, now);
        let staging = self.carry.as_mut()?.staging.as_mut()?;
        let crc = staging.put_header(header);
        let (buf, parts) = staging.lend();
        let padding = (bytes - contents as u64) as u32;
        self.deadlines.sealed();
        self.out = Some(Out::Carried { bytes, crc });
        let (file, at) = (self.file(current.file), current.end);
        Some(WriteJob { file, at, buf, parts, padding, sync: true, errand: None })
    }

    /// The current segment has no room for a carried group: another one is begun, if there is a file.
    fn carried_full(&mut self, state: &State, index: &Index, now: Now) {
        let seq = self.plan.pass.map_or(SegmentSeq(0), |pass| pass.seq);
        let ready = self.evict_ready(state, index);
        if self.roster.file_next().is_some() || ready.is_some_and(|ready| ready < seq) {
            return self.full(state, index);
        }
        // Where no segment may be evicted, compaction waits until one may.
        self.pass_end();
        if ready.is_some() {
            self.plan.examined = Some(seq);
            self.carry_lost(seq);
        } else {
            self.carry_rest(Some(self.stands(state)), now);
        }
    }

    /// A carried group's buffer came back.
    pub(in crate::log::ring) fn carried_back(&mut self, job: WriteJob) {
        let staging = self.carry.as_mut().and_then(|carry| carry.staging.as_mut());
        if let Some(staging) = staging {
            staging.take_back(job.buf, job.parts);
        }
    }

    /// A carried group is on flash.
    pub(in crate::log::ring) fn carried_done(&mut self, bytes: u64, crc: u32, now: Now) -> Done {
        let (file, at) = self.advance(bytes, crc);
        let earlier = self.synced();
        self.deadlines.seal_by(now.mono.plus_ms(self.seal_after_ms));
        Done::Carried { file, at, earlier }
    }

    /// A carried group could not be written. Compaction begins anew after a while, so that it does not use up
    /// one segment after another on a disk that takes small groups only.
    pub(in crate::log::ring) fn carried_failed(&mut self, now: Now) {
        self.pass_end();
        self.carry_rest(None, now);
    }

    fn carry_rest(&mut self, full: Option<(u64, SegmentSeq)>, now: Now) {
        let until = now.mono.plus_ms(CARRY_REST_MS);
        self.plan.rest = Some(Rest { until, full, changed: false });
    }

    /// What was carried with the last group; to be given back with [`Ring::carried_return`].
    pub(in crate::log) fn carried_take(&mut self) -> Option<Staging> {
        self.carry.as_mut()?.staging.take()
    }

    /// The group was noted: staging goes on.
    pub(in crate::log) fn carried_return(&mut self, staging: Staging) {
        let Some(carry) = &mut self.carry else { return };
        carry.staging = Some(staging);
        self.staging_return();
        if let Some(pass) = &mut self.plan.pass
            && let Phase::Write(place, next) = pass.phase
        {
            pass.phase = Phase::Stage(place, next);
        }
    }
}

/// How long nothing is carried after a carried group could not be written, or found no room.
const CARRY_REST_MS: u64 = 30_000;
