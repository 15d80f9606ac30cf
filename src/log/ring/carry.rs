//! Compaction, the part that decides: which segment has a pass when, and what room its records need.
//!
//! A segment with records of compacted partitions has its pass before it is overwritten: as soon as the
//! segment is begun at whose end it is due. What is carried goes to the current segment, in which
//! ordinary groups leave room for it. If that was not enough, the next segment is begun in a free file,
//! and the old one is noted as evicted later, when all its live records are on flash once more.

mod pass;
mod sources;

use super::writer::{Event, Mode};
use super::{Ring, Segment};
use crate::clock::{Mono, Now};
use crate::log::carry::Carry;
use crate::log::index::Index;
use crate::log::state::State;
use crate::storage::WriteJob;
use crate::types::{FileIndex, SegmentSeq};
use pass::Pass;

/// The state of a ring's compaction.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pass: Option<Pass>,
    /// The segment of the last finished pass: it may be evicted.
    examined: Option<SegmentSeq>,
    /// Ordinary groups had their turn.
    turn: bool,
    /// A pass waits for the larger of the two buffers.
    large: bool,
    /// A pass gave it back: the next job wakes those that wait for it.
    nudge: bool,
    /// Nothing is carried for a while.
    rest: Option<Rest>,
    /// The first and the last segment that are to have a pass, because the bound was met.
    sweep: Option<(SegmentSeq, SegmentSeq)>,
    /// Bytes of compacted partitions that were appended since the last sweep began.
    swept_since: u64,
    /// How many are needed for the next one.
    sweep_after: u64,
}

/// A while in which nothing is carried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    pub(super) until: Mono,
    /// Set where there was no room, with what that depends on ([`Ring::stands`]): it lasts until that has
    /// changed. None: a carried group could not be written; it is tried again sooner where ordinary groups
    /// would take the room for it.
    pub(super) full: Option<(u64, SegmentSeq)>,
    /// That has changed.
    pub(super) changed: bool,
}

impl Ring {
    /// What compaction works with, set at the end of a start: without it nothing is carried.
    pub(in crate::log) fn carry_set(&mut self, carry: Carry) {
        self.carry = Some(Box::new(carry));
    }

    /// Bytes that may be carried at the most; what no pass has read may be as much again.
    pub(in crate::log) fn carried_bytes_max(&self) -> u64 {
        u64::from(self.config.segments) * self.config.segment_bytes / 4
    }

    /// The carried bytes are at their bound: all that is carried is compacted anew.
    pub(in crate::log) fn sweep_want(&mut self) {
        let live = self.roster.live();
        if let (Some(first), Some(last)) = (live.first(), live.iter().rev().nth(1))
            && self.plan.sweep.is_none()
            && self.plan.swept_since >= self.plan.sweep_after
        {
            self.plan.sweep = Some((first.seq, last.seq));
            self.plan.swept_since = 0;
            // It writes all live records once more, so it is tried ever less often while it is in vain.
            let most = self.carried_bytes_max() / SWEEP_PART_MAX;
            self.plan.sweep_after = (self.plan.sweep_after * 4).clamp(SWEEP_BYTES_MIN, most);
        }
    }

    /// This many bytes of compacted partitions were written.
    pub(in crate::log) fn compacted_note(&mut self, bytes: u64, index: &Index) {
        if bytes > 0 {
            self.plan.swept_since = self.plan.swept_since.saturating_add(bytes);
            if index.carried().bytes() >= self.carried_bytes_max() {
                self.sweep_want();
            } else {
                self.plan.sweep_after = SWEEP_BYTES_MIN;
            }
        }
    }

    /// When compaction has something to do without anything new.
    pub(super) fn carry_deadline(&self) -> Option<Mono> {
        self.plan.rest.filter(|rest| rest.changed || rest.full.is_none()).map(|rest| rest.until)
    }

    /// The next job of compaction, if it comes before the open group.
    pub(super) fn carry_io(
        &mut self,
        state: &State,
        index: &mut Index,
        now: Now,
    ) -> Option<WriteJob> {
        let known = self.stands(state);
        let rest = self.plan.rest.take();
        let rest = rest.map(|rest| {
            let changed = rest.changed || rest.full.is_none_or(|full| full != known);
            Rest { changed, ..rest }
        });
        self.plan.rest = rest.filter(|rest| {
            let waits = !rest.changed;
            let hurries =
                rest.full.is_none() && (self.is_last() || !self.leaves_room(state, index));
            waits || (now.mono < rest.until && !hurries)
        });
        let stops = self.carry_stops() || self.plan.rest.is_some();
        if stops {
            self.pass_end();
        }
        if self.closed.is_some() || self.writer.mode() != Mode::Append {
            return None;
        }
        if std::mem::take(&mut self.plan.nudge) && self.current().is_some() {
            return Some(self.sync_job());
        }
        if stops {
            return None;
        }
        loop {
            if self.plan.pass.is_none() {
                let Some(seq) = self.pass_due(state, index) else {
                    self.plan.turn = false;
                    return self.clear_job(state, index, now);
                };
                self.pass_begin(seq, index);
            }
            if self.group_first(state, index, now) {
                return None;
            }
            self.plan.turn = false;
            let job = self.pass_step(state, index, now);
            if job.is_some() || self.plan.turn || self.writer.mode() != Mode::Append {
                return job;
            }
        }
    }

    /// Whether nothing can be carried: at a start, while the disk fails, when all is written at a stop, and
    /// for a while where there was no room.
    fn carry_stops(&self) -> bool {
        let ends = self.deadlines.is_closing() && self.closed.is_none() && self.open.is_empty();
        ends || self.carry.is_none()
            || self.plan.rest.is_some_and(|rest| rest.full.is_some())
            || self.writer.in_episode()
    }

    /// What room depends on: what was consumed and deleted ([`State::changes`]), and the current segment.
    pub(super) fn stands(&self, state: &State) -> (u64, SegmentSeq) {
        (state.changes(), self.current().map_or(SegmentSeq(0), |current| current.seq))
    }

    /// Whether failures took all other files: what is not carried now is lost with the next roll.
    fn is_last(&self) -> bool {
        self.roster.file_next().is_none()
    }

    /// Whether a roll now would lose what compacted topics have in the oldest segment.
    pub(super) fn carry_is_last(&self, state: &State, index: &Index) -> bool {
        let oldest = self.roster.live().first();
        self.is_last() && oldest.is_some_and(|oldest| self.carries(oldest, state, index))
    }

    /// Whether the open group goes out before the next step of a pass. They take turns, unless no pass has
    /// read too much, or there is no file for another segment.
    fn group_first(&mut self, state: &State, index: &Index, now: Now) -> bool {
        let due = !self.open.is_empty() && self.deadlines.open() <= now.mono;
        let behind = self.is_last() || index.dirty_bytes_all() >= self.carried_bytes_max();
        let first =
            due && !self.plan.turn && !behind && !self.is_staging() && self.may_close(state, index);
        self.plan.turn |= first;
        first
    }

    /// Whether the open group would leave enough room for what is to be carried; or comes first, since
    /// a held ring promised it the room, or a pass needs its buffer.
    pub(super) fn may_close(&self, state: &State, index: &Index) -> bool {
        let promised = self.plan.large || (self.is_held() && self.open.kept);
        if promised || self.writer.mode() != Mode::Append || self.carry_stops() {
            return true;
        }
        self.leaves_room(state, index)
    }

    /// Whether the open group, written to the current segment, leaves the room for what is to be carried.
    fn leaves_room(&self, state: &State, index: &Index) -> bool {
        let room = self.carry_room(state, index);
        let contents = self.open.contents_bytes_bound(0, 0, 0);
        room == 0 || self.fits(self.group_bytes(contents) + self.alignment + room, state)
    }

    /// The open group goes out before a pass continues, since it needs its buffer: to another segment, if
    /// there is a file and the current one has no room for both.
    fn open_first(&mut self, state: &State, index: &Index) {
        let begun = self.current().is_some_and(|current| current.end > current.groups_at);
        if begun && self.roster.file_next().is_some() && !self.leaves_room(state, index) {
            self.full(state, index);
        }
        self.plan.turn = true;
    }

    /// Room that is left in the current segment for what has to be carried while it is the current one.
    fn carry_room(&self, state: &State, index: &Index) -> u64 {
        let seq = self.pass_pressing(state, index);
        let segment = seq.and_then(|seq| self.segment(seq).copied());
        segment.map_or(0, |segment| self.carried_of(index, segment.file))
    }

    /// How many bytes of a file may have to be carried, with the groups around them.
    fn carried_of(&self, index: &Index, file: FileIndex) -> u64 {
        let bytes = index.dirty_bytes(file) + index.carried().bytes_in(file);
        let groups = bytes / self.group_bytes_min.max(1) as u64;
        bytes + growth_max(bytes) + (groups + CARRY_MARGIN_PAGES) * self.alignment
    }

    /// Whether a live segment has anything that may have to be carried.
    pub(super) fn carries(&self, segment: &Segment, state: &State, index: &Index) -> bool {
        let file = segment.file;
        let compacted = |slot| state.partition(slot).is_some_and(|partition| partition.compacted);
        let entries = index.carried().entries();
        self.plan.examined != Some(segment.seq)
            && (index.dirty_bytes(file) > 0
                || entries.iter().any(|e| e.file == file && compacted(e.slot)))
    }

    /// A segment that must have its pass while the current one is filled: the oldest, if it is evicted with
    /// the next roll; in a held ring one that is given back early, since it has no held records.
    fn pass_pressing(&self, state: &State, index: &Index) -> Option<SegmentSeq> {
        if !compacts(index) {
            return None;
        }
        let (_, before) = self.roster.live().split_last()?;
        let oldest = before.first()?;
        if self.carries(oldest, state, index) && self.evict_due(state, index).is_some() {
            return Some(oldest.seq);
        }
        let look = self.frees(state, index)?;
        let mut freed = before.iter().filter(|segment| !look.kept.has(segment.file));
        freed.find(|segment| self.carries(segment, state, index)).map(|segment| segment.seq)
    }

    /// The segment that has its pass next, if one is due.
    fn pass_due(&mut self, state: &State, index: &Index) -> Option<SegmentSeq> {
        let pressing = self.pass_pressing(state, index);
        let (_, before) = self.roster.live().split_last()?;
        if pressing.is_some() {
            return pressing;
        }
        if index.dirty_bytes_all() >= self.carried_bytes_max() / 2 {
            let mut dirty = before.iter().filter(|segment| index.dirty_bytes(segment.file) > 0);
            return dirty.next().map(|segment| segment.seq);
        }
        let (from, through) = self.plan.sweep?;
        let mut left = before.iter().filter(|s| (from..=through).contains(&s.seq));
        let found = left.find(|segment| self.carries(segment, state, index));
        let found = found.map(|segment| segment.seq);
        self.plan.sweep = found.map(|seq| (SegmentSeq(seq.0 + 1), through));
        found
    }

    /// The note that the oldest segment is evicted, if the current one was begun without that; or if failures
    /// took all files, so that after the next roll there would be none to carry into.
    fn clear_job(&mut self, state: &State, index: &Index, now: Now) -> Option<WriteJob> {
        let oldest = *self.roster.live().first()?;
        let wanted = self.plan.examined == Some(oldest.seq) || self.roster.file_next().is_none();
        let due = compacts(index) && wanted && !self.carries(&oldest, state, index);
        let due = due && self.evict_overdue(state, index);
        if !due || !self.fits(self.evict_bytes(), state) {
            return None;
        }
        self.evict_through = Some(oldest.seq);
        self.writer.on(Event::Examined);
        Some(self.evict_job(now))
    }

    /// What may be evicted with a roll ends before the first segment that has something to be carried. If no
    /// file is free, the oldest is evicted all the same.
    pub(super) fn evict_ready(&self, state: &State, index: &Index) -> Option<SegmentSeq> {
        let through = self.evict_due(state, index)?;
        let due = self.roster.live().iter().take_while(|segment| segment.seq <= through);
        let ready = due.take_while(|segment| !self.carries(segment, state, index));
        let forced = || self.roster.live().first().filter(|_| self.roster.file_next().is_none());
        ready.last().or_else(forced).map(|segment| segment.seq)
    }

    /// After failures there is no room for what compacted topics have in a segment that is overwritten.
    pub(super) fn carry_lost(&mut self, seq: SegmentSeq) {
        self.stats.carry_lost += 1;
        log::error!(
            "ring {}: no file is free for compaction of segment {}: keys of compacted topics that \
            were not written since are lost",
            self.config.name,
            seq.0
        );
    }

    /// The oldest segment was noted as evicted in the middle of another one.
    pub(in crate::log) fn cleared(&mut self, state: &mut State, index: &mut Index, now: Now) {
        self.forget_evicted(state, index, now);
    }
}

/// Whether a ring has anything of compacted topics.
fn compacts(index: &Index) -> bool {
    !index.carried().entries().is_empty() || index.dirty_bytes_all() > 0
}

/// How much this many bytes may grow when compressed batches are written uncompressed.
fn growth_max(bytes: u64) -> u64 {
    bytes / 8
}

/// Pages around carried groups beside their contents.
const CARRY_MARGIN_PAGES: u64 = 4;

/// The next sweep comes after at least this many bytes, and at most after this part of the bound.
const SWEEP_BYTES_MIN: u64 = 1024;
const SWEEP_PART_MAX: u64 = 16;
