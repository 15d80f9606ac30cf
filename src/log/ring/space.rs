//! Room in a ring: which segments are evicted when another is begun, and what may be staged in one that
//! is held.
//!
//! Held records, called *kept* in the code, are admitted to a held ring only when there is room for them
//! without evicting unconsumed ones. Everything else (metadata, and records that nobody holds, such as a
//! mirror's reports) is always admitted. When the ring has as many segments as it may, the oldest is
//! evicted if it is consumed; else the oldest without held records is free as soon as the next head is on
//! flash. So while the ring is full of unconsumed records, two further segments alternate.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;

use super::writer::Mode;
use super::{Ring, Segment};
use crate::clock::{Mono, Now};
use crate::log::hold::{Hold, Look};
use crate::log::index::Index;
use crate::log::state::State;
use crate::log_limit::Names;
use crate::types::{FileIndex, SegmentSeq};

/// What was logged of overwritten segments, and what was left out since.
#[derive(Debug, Default)]
pub(super) struct Told {
    at: Option<Mono>,
    /// When the rest was last logged early, by [`Told::rest_at_last`].
    rest_at: Option<Mono>,
    missed_at: Option<Mono>,
    segments: u64,
    records: u64,
}

impl Told {
    /// Logs what was left out, if there is anything, and it may be logged by now.
    pub(super) fn rest(&mut self, ring: &str, now: Mono) {
        if self.segments > 0 && self.at.is_none_or(|at| now.since_us(at) >= TELL_US) {
            let (segments, records) = (self.segments, self.records);
            log::info!(
                "ring {ring}: {segments} more segments of {records} records are overwritten"
            );
            (self.at, self.segments, self.records) = (Some(now), 0, 0);
        }
    }

    /// The same, sooner, because nothing is being written; but not at each such pause.
    pub(super) fn rest_at_last(&mut self, ring: &str, now: Mono) {
        if self.segments > 0 && self.rest_at.is_none_or(|at| now.since_us(at) >= TELL_US) {
            (self.at, self.rest_at) = (None, Some(now));
            self.rest(ring, now);
        }
    }
}

/// What was left out before a line, if anything was.
struct Before(u64, u64);

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Before(0, _) => Ok(()),
            Before(segments, records) => {
                write!(f, "; before it {segments} more segments of {records} records")
            }
        }
    }
}

/// What is known of a held ring's room.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Segments up to this one were consumed by all holders.
    had_through: SegmentSeq,
    /// Whether the current segment holds kept records.
    pub(super) current_kept: bool,
    /// The [`State::changes`] at which there was no room for kept records; none: that is not known.
    full_at: Option<u64>,
    /// How many segments before the current one hold kept records, and at which `changes`.
    behind: Option<(usize, u64)>,
    /// What the segments hold, and at which `changes`.
    look: Cell<Option<(Look, u64)>>,
}

/// Whether kept records may join the open group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// They may.
    Now,
    /// Once the group on its way is written.
    Soon,
    /// Not before a holder makes progress.
    None,
}

impl Held {
    /// A new segment is the current one.
    pub(super) fn begun(&mut self) {
        self.current_kept = false;
        self.full_at = None;
        self.behind = None;
        self.look_again();
    }

    /// A group with records was written to the current segment, which is in this file. `kept`: some are.
    pub(super) fn written(&mut self, file: FileIndex, kept: bool) {
        self.current_kept |= kept;
        let is_new = |look: Look| !look.any.has(file) || kept && !look.kept.has(file);
        if self.look.get().is_some_and(|(look, _)| is_new(look)) {
            self.look_again();
        }
    }

    /// Segments have come or gone.
    pub(super) fn look_again(&mut self) {
        self.look.set(None);
    }
}

impl Ring {
    /// Whether the ring has holders.
    pub fn is_held(&self) -> bool {
        !self.config.hold_for.is_empty()
    }

    /// What the segments of a held ring hold. Computed anew when holders have made progress, when topics or
    /// records were deleted, and when segments have come or gone.
    #[inline(never)]
    fn look(&self, state: &State, index: &Index) -> Look {
        let changes = state.changes();
        if let Some((look, at)) = self.held.look.get()
            && at == changes
        {
            return look;
        }
        let look = Hold::held(&self.config, self.index, state, index).look();
        self.held.look.set(Some((look, changes)));
        look
    }

    /// Whether kept records of this many bytes in this many runs may join the open group.
    pub fn room_kept(&mut self, bytes: usize, runs: usize, state: &State, index: &Index) -> Room {
        if !self.is_held() {
            return Room::Now;
        }
        let on_its_way = self.closed.as_ref().is_some_and(|closed| closed.kept);
        let begun = self.held.current_kept || self.open.kept || on_its_way;
        let mut soon = false;
        if begun && self.fits_all(bytes, runs, 0) {
            // A failure moves the group that is on its way to another segment. In the last segment
            // that may have kept records, two such groups could each move one: so one at a time.
            match self.spread(state, index).cmp(&self.config.data_segments().into()) {
                Ordering::Less => return Room::Now,
                Ordering::Equal if !on_its_way => return Room::Now,
                Ordering::Equal => soon = true,
                Ordering::Greater => {}
            }
        }
        if self.held.full_at == Some(state.changes()) {
            return Room::None;
        }
        let (count, enough) = self.evictable(state, index);
        self.held.full_at = (!enough && !soon).then_some(state.changes());
        if enough && let Some(last) = count.checked_sub(1) {
            // Room was promised by their eviction, so it stands even if a holder commits an older
            // offset meanwhile.
            let last = self.roster.live()[last].seq;
            self.held.had_through = self.held.had_through.max(last);
        }
        match (enough, soon) {
            (true, _) => Room::Now,
            (false, true) => Room::Soon,
            (false, false) => Room::None,
        }
    }

    /// How many segments hold kept records and may not be evicted, the current one always counted. Failures
    /// spread them over more than there should be; the last two files are for metadata then, so that
    /// holders can always commit and report.
    fn spread(&mut self, state: &State, index: &Index) -> usize {
        let changes = state.changes();
        let enough = usize::from(self.config.data_segments());
        let behind = match self.held.behind {
            // There are no more of them until another segment is begun.
            Some((behind, at)) if behind + 1 < enough || at == changes => behind,
            _ => {
                let look = self.look(state, index);
                let before = self.roster.live().split_last().map_or(&[][..], |(_, before)| before);
                let stay = before.iter().skip_while(|s| self.may_go(s, &look));
                stay.filter(|s| look.kept.has(s.file)).count()
            }
        };
        self.held.behind = Some((behind, changes));
        behind + 1
    }

    /// Whether something that nobody holds may join the open group. Where kept records wait in it, it may
    /// not take their room; it is staged after them then.
    pub fn room_beside(
        &self,
        bytes: usize,
        runs: usize,
        meta_bytes: usize,
        state: &State,
        index: &Index,
    ) -> bool {
        !self.is_held()
            || !self.open.kept
            || self.fits_all(bytes, runs, meta_bytes)
            || self.evictable(state, index).1
    }

    /// Whether all that is staged and this much more fits the current segment, however long its foot is.
    fn fits_all(&self, bytes: usize, runs: usize, meta_bytes: usize) -> bool {
        let Some(current) = self.current() else {
            return false;
        };
        let closed = self.closed.as_ref().map_or(0, |c| self.group_bytes(c.contents_bytes()));
        let open = self.group_bytes(self.open.contents_bytes_bound(bytes, runs, meta_bytes));
        let staged = closed + open + self.carry_ahead() + 2 * self.alignment;
        let end = current.end + staged + self.evict_bytes() + self.anchor_bytes_max;
        self.writer.mode() == Mode::Append && end <= self.config.segment_bytes
    }

    /// Whether what is staged still fits the current segment behind this many bytes, or was promised no
    /// room there.
    pub(super) fn promise_holds(&self, ahead: u64, state: &State) -> bool {
        let open = self.group_bytes(self.open.contents_bytes_bound(0, 0, 0));
        !self.is_held() || self.fits(ahead + open + 2 * self.alignment, state)
    }

    /// How many of the oldest segments are to be evicted so that one more may be begun, and whether those are
    /// enough for it to hold kept records.
    #[inline(never)]
    fn evictable(&self, state: &State, index: &Index) -> (usize, bool) {
        let look = self.look_if_held(state, index);
        let (mut excess, mut over) = (self.excess(&look), self.over(&look, state, index));
        let live = self.roster.live();
        let last = live.len().saturating_sub(1);
        let mut count = 0;
        while (excess > 0 || over > 0) && count < last && self.may_go(&live[count], &look) {
            excess = excess.saturating_sub(usize::from(self.is_kept(&live[count], &look)));
            over = over.saturating_sub(1);
            count += 1;
        }
        (count, excess == 0)
    }

    /// The newest segment that has to be evicted, and may, before another one is begun.
    pub(super) fn evict_due(&self, state: &State, index: &Index) -> Option<SegmentSeq> {
        let (evict, _) = self.evictable(state, index);
        evict.checked_sub(1).map(|at| self.roster.live()[at].seq)
    }

    /// Whether more than one segment has to be evicted, and the oldest may.
    pub(super) fn evict_overdue(&self, state: &State, index: &Index) -> bool {
        let look = self.look_if_held(state, index);
        let due = self.excess(&look).max(self.over(&look, state, index));
        due > 1 && self.roster.live().first().is_some_and(|oldest| self.may_go(oldest, &look))
    }

    #[inline(never)]
    fn look_if_held(&self, state: &State, index: &Index) -> Look {
        if self.is_held() { self.look(state, index) } else { Look::default() }
    }

    /// Whether a segment may be evicted: its records are consumed.
    fn may_go(&self, segment: &Segment, look: &Look) -> bool {
        segment.seq <= self.held.had_through || !look.owed.has(segment.file)
    }

    /// Whether a segment is one of those of which there may be `data_segments` only.
    fn is_kept(&self, segment: &Segment, look: &Look) -> bool {
        !self.is_held() || look.kept.has(segment.file)
    }

    /// How many segments would hold kept records beyond those that may, with one more.
    #[inline(never)]
    fn excess(&self, look: &Look) -> usize {
        let kept = self.roster.live().iter().filter(|segment| self.is_kept(segment, look)).count();
        // What is staged will be in the current segment, or the next.
        let staged = self.open.kept || self.closed.as_ref().is_some_and(|closed| closed.kept);
        let current_free = self.current().is_none_or(|segment| !self.is_kept(segment, look));
        let more = 1 + usize::from(staged && current_free);
        (kept + more).saturating_sub(usize::from(self.config.data_segments()))
    }

    /// How many segments of a held ring there would be beyond those that may, with one more. Beside those
    /// with kept records one may stay, so that two files are left: for the next head, and for a failure.
    #[inline(never)]
    fn over(&self, look: &Look, state: &State, index: &Index) -> usize {
        let live = self.roster.live();
        let over = live.len().saturating_sub(usize::from(self.config.data_segments()));
        if over == 0 || !self.is_held() {
            return 0;
        }
        let empty = live.iter().filter(|segment| self.is_empty(segment, look, state, index));
        over.saturating_sub(empty.count())
    }

    /// Whether a segment has no records at all: it is evicted with the next roll, and nobody loses anything.
    fn is_empty(&self, segment: &Segment, look: &Look, state: &State, index: &Index) -> bool {
        !look.any.has(segment.file) && !self.carries(segment, state, index)
    }

    /// What the segments hold, if some without kept records are to be evicted with the next roll though they
    /// are not the oldest.
    pub(super) fn frees(&self, state: &State, index: &Index) -> Option<Look> {
        let look = self.look_if_held(state, index);
        (self.over(&look, state, index) > 0).then_some(look)
    }

    /// Finds the segments that the next head need not list.
    pub(super) fn freeing_find(&mut self, state: &State, index: &Index) {
        if !self.is_held() {
            return;
        }
        self.held.look_again();
        let look = self.look(state, index);
        let mut over = self.over(&look, state, index);
        let mut roster = std::mem::take(&mut self.roster);
        roster.freeing_set(&mut |segment| {
            // The live records of its compacted topics are carried first.
            if look.kept.has(segment.file) || self.carries(segment, state, index) {
                return false;
            }
            let some = look.any.has(segment.file);
            let goes = over > 0 || !some;
            over -= usize::from(some && goes);
            goes
        });
        self.roster = roster;
    }

    /// Once that head is on flash: their files are free.
    pub fn freeing_done(&mut self, state: &mut State, index: &mut Index, now: Now) {
        while let Some(segment) = self.roster.freeing_take() {
            self.tell_evicted(segment, state, index, now);
            self.missed_count(segment, state, index, now);
            index.segment_evicted(segment.file);
            self.stats.freed += 1;
        }
    }

    /// Counts what is overwritten, and logs it, at most every [`TELL_US`].
    pub(super) fn tell_evicted(
        &mut self,
        segment: Segment,
        state: &State,
        index: &Index,
        now: Now,
    ) {
        let mut records = 0;
        let mut named = Names::default();
        for (slot, partition) in state.partitions().filter(|(_, found)| !found.compacted) {
            let records_end = partition.records_end_written();
            let Some((there, end)) = index.span_in(segment.file, slot, records_end) else {
                continue;
            };
            let first = there.first.max(partition.log_start);
            if first >= end {
                continue;
            }
            records += end.0.abs_diff(first.0);
            let topic = state.topic(partition.topic).map_or("", |topic| &topic.name);
            let (partition, last) = (partition.index, end.0 - 1);
            named.add(format_args!("{topic}-{partition} from {} to {last}", first.0));
        }
        self.stats.records_overwritten += records;
        if records == 0 {
            return;
        }
        let told = &mut self.told;
        if told.at.is_some_and(|at| now.mono.since_us(at) < TELL_US) {
            told.segments += 1;
            told.records += records;
            return;
        }
        log::info!(
            "ring {}: segment {} is overwritten: {records} records, {named}{}",
            self.config.name,
            segment.seq.0,
            Before(told.segments, told.records)
        );
        (told.at, told.segments, told.records) = (Some(now.mono), 0, 0);
    }

    /// Counts the records of an evicted segment that were not consumed by those it is watched for.
    pub(super) fn missed_count(
        &mut self,
        segment: Segment,
        state: &mut State,
        index: &Index,
        now: Now,
    ) {
        for (at, holder) in self.config.watch_for.iter().enumerate() {
            let watch = Hold::watched(&self.config, self.index, state, index);
            let records = watch.not_had(at, segment.file);
            state.missed.add(self.index, holder, records);
            let told = self.told.missed_at;
            if records > 0 && told.is_none_or(|at| now.mono.since_us(at) >= TELL_US) {
                self.told.missed_at = Some(now.mono);
                log::warn!(
                    "ring {}: segment {} is overwritten, and {holder} had not consumed {records} of \
                    its records; {} in all so far",
                    self.config.name,
                    segment.seq.0,
                    state.missed.records(self.index, holder)
                );
            }
        }
    }

    /// Finds whether the current segment holds kept records, at the end of a start.
    pub fn current_look(&mut self, state: &State, index: &Index) {
        self.held.begun();
        let current = self.current().map(|current| current.file);
        let kept = current.map(|file| self.look_if_held(state, index).kept.has(file));
        self.held.current_kept = kept.unwrap_or(false);
    }
}

const TELL_US: u64 = 10_000_000;
