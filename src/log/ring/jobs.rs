//! The jobs of a ring: what is written where.

use super::{Mode, Out, Ring, Segment, Why};
use crate::clock::Now;
use crate::limits::PAGE_BYTES;
use crate::log::anchor;
use crate::log::format::{AnchorKind, FLAG_SEAL, GroupHeader, ListEntry, RingName};
use crate::log::index::Index;
use crate::log::record::MetaRecord;
use crate::log::staging::Staging;
use crate::log::state::State;
use crate::storage::WriteJob;
use crate::types::{FileIndex, GroupSeq};

/// What is to be done while no group waits.
pub(super) enum Quiet {
    Job(WriteJob),
    Nothing,
    /// A seal is due that does not fit.
    NoRoom,
}

impl Ring {
    /// The closed group's bytes on flash, if it fits the current segment.
    pub(super) fn closed_fits(&self, state: &State) -> Option<u64> {
        let contents = self.closed.as_ref().map_or(0, Staging::contents_bytes);
        let bytes = self.group_bytes(contents);
        // Behind it there must be room for a seal.
        self.fits(bytes + self.alignment, state).then_some(bytes)
    }

    /// Whether this many bytes fit the current segment, with the note of the eviction and the foot.
    pub(super) fn fits(&self, bytes: u64, state: &State) -> bool {
        bytes <= self.room_left(state)
    }

    /// Bytes that groups may still take in the current segment.
    pub(super) fn room_left(&self, state: &State) -> u64 {
        let foot = anchor::foot_bytes_max(self, state) + self.evict_bytes();
        let end = self.current().map_or(u64::MAX, |current| current.end.saturating_add(foot));
        self.config.segment_bytes.saturating_sub(end)
    }

    /// What the note of an eviction takes at the most.
    pub(super) fn evict_bytes(&self) -> u64 {
        self.alignment.max(PAGE_BYTES as u64)
    }

    pub(super) fn group_job(&mut self, bytes: u64, now: Now) -> WriteJob {
        let current = *self.roster.current_mut();
        let header = self.header(current, bytes, 0, now);
        // An episode of failures ends with a group that is on flash.
        let due = self.deadlines.sync().is_some_and(|due| due <= now.mono);
        let urgent = due || self.writer.in_episode();
        let closed = self.closed.as_mut().expect("there is a closed group");
        let due = closed.sync_by.is_some_and(|by| by <= now.mono);
        let sync = closed.strict || urgent || due;
        let padding = (bytes - closed.contents_bytes() as u64) as u32;
        let crc = closed.put_header(header);
        let (buf, parts) = closed.lend();
        self.deadlines.sealed();
        self.out = Some(Out::Group { bytes, crc });
        let file = self.file(current.file);
        WriteJob { file, at: current.end, buf, parts, padding, sync, errand: None }
    }

    /// A header for a group at the end of the current segment; lengths and CRCs are not in it yet.
    pub(super) fn header(
        &mut self,
        current: Segment,
        bytes: u64,
        flags: u16,
        now: Now,
    ) -> GroupHeader {
        let wall_ms = self.stamp(now);
        GroupHeader {
            ring_id: self.id,
            segment: current.seq,
            seq: self.group_next,
            position: current.end,
            boot: self.boot,
            flags,
            synced_through: self.group_synced,
            supersedes: GroupSeq(0),
            wall_ms,
            bytes: bytes as u32,
            runs: 0,
            payload_bytes: 0,
            meta_bytes: 0,
            directory_crc: 0,
            meta_crc: 0,
            prev_crc: self.prev_crc,
        }
    }

    pub(super) fn sync_or_seal(&mut self, state: &State, now: Now) -> Quiet {
        if self.deadlines.sync().is_some_and(|due| due <= now.mono) {
            return Quiet::Job(self.sync_job());
        }
        if self.deadlines.seal().is_none_or(|due| now.mono < due) {
            return Quiet::Nothing;
        }
        self.deadlines.sealed();
        // A group leaves room for its seal, but its own metadata may have made the foot longer.
        if !self.fits(self.alignment, state) {
            return Quiet::NoRoom;
        }
        let current = *self.roster.current_mut();
        let header = self.header(current, self.alignment, FLAG_SEAL, now);
        Quiet::Job(self.small_group(header, None, |bytes, crc| Out::Seal { bytes, crc }))
    }

    pub(super) fn sync_job(&mut self) -> WriteJob {
        let file = self.roster.current_mut().file;
        self.out = Some(Out::Sync);
        let (buf, parts, file) = (Box::default(), Vec::new(), self.file(file));
        WriteJob { file, at: 0, buf, parts, padding: 0, sync: true, errand: None }
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
        let current = *self.roster.current_mut();
        let padding = (bytes - contents as u64) as u32;
        let (file, at) = (self.file(current.file), current.end);
        WriteJob { file, at, buf, parts, padding, sync: true, errand: None }
    }

    pub(super) fn evict_job(&mut self, now: Now) -> WriteJob {
        let segment = self.evict_through.expect("what is to be noted");
        let current = *self.roster.current_mut();
        let header = self.header(current, self.alignment, 0, now);
        let record = Some(MetaRecord::Evict { segment });
        self.small_group(header, record, |bytes, crc| Out::Evict { bytes, crc })
    }

    /// The foot, or before it a sync; none: it does not fit. Without a foot the next start walks the
    /// segment.
    pub(super) fn foot_job(&mut self, state: &State, index: &Index, now: Now) -> Option<WriteJob> {
        if self.has_unsynced() {
            // Foot and head say that all before them is on flash, and their snapshot has it.
            return Some(self.sync_job());
        }
        let current = *self.roster.current_mut();
        let mut buffer = std::mem::take(&mut self.anchor);
        let fields = self.anchor_fields(AnchorKind::Foot, current, now);
        let bytes = buffer.put_foot(fields, self.list_all(index), self.index, state, self, index);
        self.anchor = buffer;
        let bytes = bytes?;
        let at = self.config.segment_bytes.checked_sub(bytes as u64)?;
        if at < current.end {
            return None;
        }
        let (buf, parts) = self.anchor.lend(bytes);
        self.out = Some(Out::Foot);
        let file = self.file(current.file);
        Some(WriteJob { file, at, buf, parts, padding: 0, sync: true, errand: None })
    }

    /// The head of the next segment; none: there is no file for it.
    pub(super) fn head_job(
        &mut self,
        why: Why,
        state: &mut State,
        index: &mut Index,
        now: Now,
    ) -> Option<WriteJob> {
        debug_assert_eq!(self.writer.mode(), Mode::Begin(why));
        self.forget_evicted(state, index, now);
        let file = self.file_for_head(state, index, now)?;
        let mut segment = Segment {
            seq: self.roster.seq_take(),
            file,
            groups_at: 0,
            end: 0,
            group_last: self.group_synced,
            given_up: false,
        };
        self.freeing_find(state, index);
        let mut buffer = std::mem::take(&mut self.anchor);
        let fields = self.anchor_fields(AnchorKind::Head, segment, now);
        let list = self.list_behind(why, index);
        let bytes = buffer.put_head(fields, list, self.index, state, self);
        self.anchor = buffer;
        let bytes = bytes.expect("the state's bound keeps a snapshot within its buffer");
        segment.groups_at = bytes as u64;
        segment.end = bytes as u64;
        let (buf, parts) = self.anchor.lend(bytes);
        self.out = Some(Out::Head { segment });
        let file = self.file(file);
        Some(WriteJob { file, at: 0, buf, parts, padding: 0, sync: true, errand: None })
    }

    /// Takes out the segments that were noted as evicted, before their files are written to.
    pub(super) fn forget_evicted(&mut self, state: &mut State, index: &mut Index, now: Now) {
        let Some(through) = self.evict_through.take() else {
            return;
        };
        let mut before = 0;
        while let Some(oldest) = self.roster.live().first().copied()
            && oldest.seq <= through
        {
            if self.carries(&oldest, state, index) {
                self.carry_lost(oldest.seq);
            }
            self.tell_evicted(oldest, state, index, now);
            self.missed_count(oldest, state, index, now);
            self.roster.evict(through, before);
            self.held.look_again();
            before += 1;
            index.segment_evicted(oldest.file);
            self.stats.evicted += 1;
        }
    }

    /// The next free file. When failures have used up all spares, the oldest segment is evicted, if it is
    /// due. Nothing on flash says that others are evicted as well, so they stay, unless the head in its
    /// place fails for so long that the file may be at fault.
    fn file_for_head(
        &mut self,
        state: &mut State,
        index: &mut Index,
        now: Now,
    ) -> Option<FileIndex> {
        let next = self.roster.file_next();
        if next.is_none() || next == self.taken && self.writer.pauses_are_longest() {
            let oldest = self.roster.live().first().map(|oldest| oldest.seq);
            self.evict_through = self.evict_due(state, index).and(oldest);
            self.forget_evicted(state, index, now);
            self.taken = self.roster.file_next();
        }
        self.roster.file_next()
    }

    /// All live segments, as a foot lists them.
    fn list_all<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = ListEntry> + 'a {
        self.roster.live().iter().map(|segment| entry_of(segment, segment.given_up, index))
    }

    /// The live segments as the next head lists them: without those that are free, and without one in
    /// which nothing was ever stored.
    fn list_behind<'a>(
        &'a self,
        why: Why,
        index: &'a Index,
    ) -> impl Iterator<Item = ListEntry> + 'a {
        let last = self.current().map(|current| current.seq);
        let live = self.roster.live().iter().filter(|segment| !self.roster.is_freeing(segment));
        live.filter_map(move |segment| {
            let given_up = why == Why::GivenUp && Some(segment.seq) == last;
            let listed = !(given_up && segment.is_empty());
            listed.then(|| entry_of(segment, segment.given_up || given_up, index))
        })
    }

    /// The timestamp of a group or an anchor that is made now. While the clock is not known to be right it is
    /// not older than any other: a clock that is behind the newest one is taken for wrong.
    fn stamp(&mut self, now: Now) -> i64 {
        let least_ms = if now.wall_synchronised { i64::MIN } else { self.stamp_newest_ms };
        self.stamp_out_ms = now.wall_ms.max(least_ms);
        self.stamp_out_ms
    }

    fn anchor_fields(&mut self, kind: AnchorKind, segment: Segment, now: Now) -> anchor::Fields {
        let wall_ms = self.stamp(now);
        anchor::Fields {
            ring_id: self.id,
            kind,
            boot: self.boot,
            seq: segment.seq,
            file: segment.file,
            alignment: self.alignment as u32,
            segment_bytes: self.config.segment_bytes,
            name: RingName::of(&self.config.name),
            segments: self.config.segments,
            groups_at: segment.groups_at,
            end: segment.end,
            group_next: self.group_next,
            prev_crc: self.prev_crc,
            wall_ms,
        }
    }
}

fn entry_of(segment: &Segment, given_up: bool, index: &Index) -> ListEntry {
    ListEntry {
        seq: segment.seq,
        end: segment.end,
        group_last: segment.group_last,
        file: segment.file,
        given_up,
        dirty: index.dirty_bytes(segment.file) as u32,
    }
}
