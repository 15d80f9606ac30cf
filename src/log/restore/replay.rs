//! Replaying the groups behind a snapshot, by the decision table.

use super::{Base, RingRecovery};
use crate::log::anchor;
use crate::log::format::{AnchorKind, FLAG_SEAL, Run};
use crate::log::index;
use crate::log::open::epoch_of;
use crate::log::record::{MetaRecord, Records};
use crate::log::recovery::{self, End, Finding, Proof, Slot, Start, Verdict, Walked};
use crate::log::ring::Segment;
use crate::log::scan::{self, Expect, Reader};
use crate::log::state::State;
use crate::types::{Boot, FileIndex, GroupSeq, SegmentSeq};

impl RingRecovery<'_> {
    /// Replays the groups behind the base; leaves in `self.tail` what nothing proves.
    pub(super) fn replay(&mut self, base: Option<&Base>, live: &mut [Segment], state: &mut State) {
        let mut next = base.map_or(GroupSeq(1), |base| base.anchor.group_next);
        let mut crc = base.map_or(0, |base| base.anchor.prev_crc);
        let boot = base.map_or(Boot(0), |base| base.anchor.boot);
        self.ring.group_synced = GroupSeq(next.0.saturating_sub(1));
        let replayed = |segment: &Segment| {
            base.is_none_or(|base| match base.anchor.kind {
                AnchorKind::Foot => segment.seq > base.anchor.seq,
                _ => segment.seq >= base.anchor.seq,
            })
        };
        let from = live.iter().position(replayed).unwrap_or(live.len());
        for place in from..live.len() {
            let segment = live[place];
            self.ring.segment_next = self.ring.segment_next.max(SegmentSeq(segment.seq.0 + 1));
            self.index.segment_opened(segment.file, segment.seq);
            let start = Start {
                at: segment.groups_at,
                limit: self.ring.config.segment_bytes,
                end: live.get(place + 1).map_or(End::Open, |later| {
                    End::Before(GroupSeq(later.group_last.0.saturating_add(1)))
                }),
                crc,
            };
            let expect = Expect {
                ring_id: self.ring.id,
                segment: segment.seq,
                alignment: self.ring.alignment.min(512),
                seq_min: next,
                boot_min: boot,
            };
            let walked = self.replay_segment(&segment, start, expect, state);
            live[place].end = self.tail_of(&walked, segment.file, state);
            live[place].group_last = walked.seq_last;
            next = GroupSeq(walked.seq_last.0 + 1);
            crc = walked.crc;
            self.ring.boot = self.ring.boot.max(walked.boot);
            self.ring.group_synced = walked.proven;
            self.tail_accept(&live[place].clone(), state);
        }
        self.ring.group_next = next;
        self.ring.prev_crc = crc;
        self.ring.closed_by_foot =
            base.is_some_and(|base| base.anchor.kind == AnchorKind::Foot) && from == live.len();
        if self.ring.closed_by_foot
            && let Some((base, last)) = base.zip(live.last_mut())
            && last.seq == base.anchor.seq
        {
            last.end = base.anchor.end;
        }
    }

    fn replay_segment(
        &mut self,
        segment: &Segment,
        start: Start,
        expect: Expect,
        state: &mut State,
    ) -> Walked {
        let mut reader = self.reader(segment.file);
        recovery::walk(&mut reader, start, expect, &mut |reader, slot, proof| {
            self.replay_group(reader, slot, proof, segment.file, state);
        })
    }

    /// One group whose fate is known.
    fn replay_group(
        &mut self,
        reader: &mut Reader<'_>,
        slot: &Slot,
        proof: Proof,
        file: FileIndex,
        state: &mut State,
    ) {
        let contents = slot.group.map(|group| scan::contents(reader, &group.header));
        let directory = contents.as_ref().is_some_and(|c| c.runs.is_some() && c.meta.is_some());
        let stamp = slot.group.map_or(i64::MIN, |group| group.header.wall_ms);
        self.ring.stamp_newest_ms = self.ring.stamp_newest_ms.max(stamp);
        let mut replayed = Replayed::default();
        if proof == Proof::Acknowledged
            && let (Some(group), Some(contents)) = (slot.group, &contents)
            && let (Some(runs), Some(meta)) = (&contents.runs, &contents.meta)
        {
            let payload_at = slot.at + group.header.payload_at();
            // What a copy holds may be there already, if the copy was damaged after it was proven.
            let is_new = |run: &Run| {
                let slot = state.partition_with_handle(run.handle);
                slot.and_then(|slot| state.partition(slot))
                    .is_none_or(|partition| run.end() > partition.next)
            };
            let new: Vec<Run> = runs.iter().copied().filter(is_new).collect();
            replayed = self.replay_runs(reader, runs, payload_at, group.header.boot, state);
            self.index_group(file, slot.at, &new, state);
            self.replay_meta(meta, state);
        }
        let finding = Finding {
            header: slot.group.is_some(),
            directory,
            payload: replayed.bad_batches == 0,
            proof,
        };
        match recovery::verdict(&finding) {
            Verdict::KeepGood => {
                self.damage.groups += 1;
                self.damage.batches += replayed.bad_batches;
                self.damage.records += replayed.bad_records;
            }
            Verdict::Lost => {
                self.damage.groups += 1;
                self.lost = true;
                log::error!(
                    "ring {}: group {} at {} of segment file {} is damaged; what it held is lost",
                    self.ring.config.name,
                    slot.seq.0,
                    slot.at,
                    file.0
                );
                state.producers_forget_sequences(self.ring.index);
            }
            _ => {}
        }
    }

    fn replay_runs(
        &mut self,
        reader: &mut Reader<'_>,
        runs: &[Run],
        mut at: u64,
        boot: Boot,
        state: &mut State,
    ) -> Replayed {
        let mut replayed = Replayed::default();
        for run in runs {
            if let Err(full) = state.partition_restore(self.ring.index, run.handle) {
                self.full = Some(full);
            }
            let slot = state.partition_with_handle(run.handle);
            if let Some(slot) = slot.filter(|_| self.lost) {
                self.damage.records += state.gap_before(slot, run.offset);
            }
            let fresh = slot
                .and_then(|slot| state.partition(slot))
                .is_some_and(|partition| run.end() > partition.next);
            let mut good_bytes = 0;
            let mut epoch = boot;
            let whole = scan::batches(reader, at, run, &mut |batch| {
                good_bytes += if batch.good { batch.bytes } else { 0 };
                epoch = epoch.min(epoch_of(&batch.header, boot));
                if !batch.good {
                    replayed.bad_batches += 1;
                    let records = i64::from(batch.header.last_offset_delta) + 1;
                    replayed.bad_records += records.unsigned_abs();
                    log::error!(
                        "ring {}: offsets {} to {} of partition handle {} are damaged",
                        self.ring.config.name,
                        batch.header.base_offset,
                        batch.header.last_offset(),
                        run.handle.0
                    );
                } else if let Some(slot) = slot.filter(|_| fresh) {
                    state.producer_replay(slot, &batch.header);
                }
            });
            if !whole {
                replayed.bad_batches += 1;
            }
            if let Some(slot) = slot.filter(|_| fresh) {
                state.run_replay(slot, epoch, run);
                if !whole || good_bytes != u64::from(run.bytes) {
                    state.producers.forget_sequences(slot);
                }
            }
            at += u64::from(run.bytes);
        }
        replayed
    }

    pub(super) fn index_group(&mut self, file: FileIndex, at: u64, runs: &[Run], state: &State) {
        let runs = runs.iter().filter_map(|run| {
            Some(index::Run {
                slot: state.partition_with_handle(run.handle)?,
                handle: run.handle,
                base_offset: run.offset,
                records: run.records,
                bytes: run.bytes,
                newest_ms: run.timestamp_max_ms,
            })
        });
        self.index.group_synced(file, at, runs);
    }

    fn replay_meta(&mut self, meta: &[u8], state: &mut State) {
        let mut records = Records::new(meta);
        for record in records.by_ref() {
            if let MetaRecord::Evict { segment } = record {
                self.evicted = self.evicted.max(Some(segment));
            }
            let index = &mut self.index;
            let mut removed = |slot| index.partition_removed(slot);
            if let Err(full) = state.apply(self.ring.index, &record, &mut removed) {
                self.full = Some(full);
            }
        }
    }

    /// Looks at what nothing proves, on the medium: gives where the next group goes, behind what is
    /// whole, and leaves that in `self.tail`. What was cut short leaves a gap in the offsets that it
    /// would have taken, if they can be told.
    fn tail_of(&mut self, walked: &Walked, file: FileIndex, state: &mut State) -> u64 {
        let segment_bytes = self.ring.config.segment_bytes;
        let mut reader = Reader::new(self.storage, self.file(file), segment_bytes, true);
        let mut end = walked.tail.first().map_or(walked.end, |slot| slot.at);
        let mut cut = false;
        for slot in &walked.tail {
            let contents = slot.group.map(|group| scan::contents(&mut reader, &group.header));
            let runs = contents.as_ref().and_then(|contents| contents.runs.as_ref());
            let meta = contents.as_ref().and_then(|contents| contents.meta.as_ref());
            let finding = Finding {
                header: slot.group.is_some(),
                directory: runs.is_some() && meta.is_some(),
                payload: slot.group.zip(runs).is_some_and(|(group, runs)| {
                    scan::payload_holds(&mut reader, slot.at + group.header.payload_at(), runs)
                }),
                proof: Proof::None,
            };
            match (recovery::verdict(&finding), slot.group) {
                (Verdict::CopyForward, Some(group)) if !cut => {
                    end = slot.at + u64::from(group.header.bytes);
                    // Another ring may hold records of a topic that this group made. Once more with
                    // the copy, it changes nothing.
                    if let Some(meta) = meta {
                        self.replay_meta(meta, state);
                    }
                    // A seal holds nothing to copy.
                    if group.header.flags & FLAG_SEAL == 0 {
                        self.tail.push(*slot);
                    }
                }
                _ => {
                    cut = true;
                    self.damage.torn += u64::from(slot.group.is_some());
                    let runs = runs.into_iter().flatten();
                    self.gaps.extend(runs.map(|run| (run.handle, run.end())));
                }
            }
        }
        end
    }

    /// Several unproven groups, or one whose copy does not fit its segment, are not copied: they were
    /// read from the medium, and once their file is synced they are as durable as copies. A snapshot
    /// written between two copies, or before one, would leave the others behind.
    fn tail_accept(&mut self, segment: &Segment, state: &mut State) {
        let bytes: u64 = self
            .tail
            .iter()
            .filter_map(|slot| slot.group)
            .map(|group| u64::from(group.header.bytes))
            .sum();
        let gaps = (self.gaps.len() * GAP_BYTES_MAX) as u64;
        let room = 3 * self.ring.alignment + gaps + anchor::foot_bytes_max(&self.ring, state);
        let fits = segment.end + bytes + room <= self.ring.config.segment_bytes;
        if self.tail.is_empty() || (self.tail.len() == 1 && fits) {
            return;
        }
        if let Err(error) = self.storage.sync(self.file(segment.file)) {
            log::error!("ring {}: {error}", self.ring.config.name);
            self.ring.current_bad = true;
        }
        let mut reader = self.reader(segment.file);
        for slot in std::mem::take(&mut self.tail) {
            self.replay_group(&mut reader, &slot, Proof::Acknowledged, segment.file, state);
            self.ring.group_synced = self.ring.group_synced.max(slot.seq);
        }
    }
}

#[derive(Default)]
struct Replayed {
    bad_batches: u64,
    bad_records: u64,
}

/// The longest record of a gap.
const GAP_BYTES_MAX: usize = 1 + 5 + 10 + 10 + 1;
