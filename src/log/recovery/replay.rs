//! Replaying the groups behind the base, by the decision table.

use super::anchors::FoundFile;
use super::anchors::Page;
use super::groups::{self, Contents, Expect, Reader};
use super::verdict::{Finding, Proof, Verdict, verdict};
use super::walk::{self, End, Slot, Start, Walked};
use super::{Base, OpenError, RingRecovery};
use crate::codec::batch::BatchHeader;
use crate::log::format::{AnchorKind, FLAG_SEAL, Run};
use crate::log::index;
use crate::log::record::{MetaRecord, Records};
use crate::log::ring::{Newest, Segment};
use crate::log::state::State;
use crate::types::{Boot, FileIndex, GroupSeq, Offset, PartitionHandle, PartitionSlot};

/// Groups that were lost with their directories, so that nothing tells which offsets they took.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// How many bytes that was.
    bytes: u64,
    /// Partitions of which something behind them says where their offsets continue.
    seen: Vec<PartitionHandle>,
}

impl RingRecovery<'_> {
    /// Replays the groups behind the base. Then those that nothing proves are synced, or dropped.
    pub(super) fn replay(
        &mut self,
        base: Option<&Base>,
        live: &mut [Segment],
        found: &[FoundFile],
        state: &mut State,
    ) -> Result<(), OpenError> {
        let mut next = base.map_or(GroupSeq(1), |base| base.anchor.group_next);
        let mut crc = base.map_or(0, |base| base.anchor.prev_crc);
        let boot = base.map_or(Boot(0), |base| base.anchor.boot);
        self.found.group_synced = GroupSeq(next.0.saturating_sub(1));
        let before = |segment: &Segment| base.is_none_or(|base| base.is_before(segment));
        let from = live.iter().position(before).unwrap_or(live.len());
        for place in from..live.len() {
            let segment = live[place];
            self.segment_seen(segment.seq);
            self.index.segment_opened(segment.file, segment.seq);
            if self.headless.contains(&segment.seq) && segment.group_last >= next {
                let hole = Slot { at: 0, seq: next, bytes: segment.groups_at, group: None };
                self.group_lost(&hole, segment.file, state);
            }
            let start = Start {
                at: segment.groups_at,
                limit: self.files.segment_bytes,
                end: live.get(place + 1).map_or(End::Open, |later| {
                    End::Before(GroupSeq(later.group_last.0.saturating_add(1)))
                }),
                crc,
            };
            let expect = Expect::behind(self.found.id, segment.seq, next, boot);
            let mut reader = self.files.reader(segment.file);
            let walked = walk::walk(&mut reader, start, expect, &mut |reader, slot, proof| {
                self.replay_group(reader, slot, proof, segment.file, state);
            });
            self.found.boot = self.found.boot.max(walked.boot);
            self.found.group_synced = walked.proven;
            live[place].end = self.replay_tail(&mut reader, &walked, segment.file, state)?;
            live[place].group_last = walked.seq_last;
            next = GroupSeq(walked.seq_last.0.saturating_add(1));
            crc = walked.crc;
            self.unreadable = self.unreadable.or(reader.unreadable());
            // What could not be read is not written over either.
            let hidden = reader.unreadable().is_some();
            self.found.newest = if hidden { Newest::GivenUp } else { Newest::Open };
        }
        self.found.group_next = next;
        self.found.prev_crc = crc;
        self.newest(base.filter(|_| from == live.len()), live.last_mut(), found);
        self.lost_gaps(state);
        Ok(())
    }

    /// Whether the newest segment takes more. `base`: nothing was replayed behind it.
    fn newest(&mut self, base: Option<&Base>, last: Option<&mut Segment>, found: &[FoundFile]) {
        let Some(last) = last else { return };
        let file = found.iter().find(|found| found.file == last.file);
        let foot = file.map(|found| &found.foot);
        if let Some(base) = base.filter(|base| base.anchor.kind == AnchorKind::Foot) {
            self.found.newest = Newest::Closed;
            if last.seq == base.anchor.seq {
                last.end = base.anchor.end;
            }
        } else if foot.is_some_and(|foot| foot.may_close(last.seq)) {
            // A start that can read it would take nothing behind it for written.
            self.unreadable = self.unreadable.or(foot.and_then(Page::unreadable));
            self.found.newest = Newest::GivenUp;
        }
    }

    /// Takes the groups that nothing proves, in order: up to the first that is not whole they are synced,
    /// and are part of the log then. Gives where the next group goes.
    fn replay_tail(
        &mut self,
        reader: &mut Reader<'_>,
        walked: &Walked,
        file: FileIndex,
        state: &mut State,
    ) -> Result<u64, OpenError> {
        let mut whole = 0;
        let mut holds = false;
        for slot in &walked.tail {
            let (finding, _) = found(reader, slot, Proof::None);
            if verdict(&finding) != Verdict::SyncAndAccept {
                break;
            }
            whole += 1;
            holds |= slot.group.is_some_and(|group| group.header.flags & FLAG_SEAL == 0);
        }
        let (whole, torn) = walked.tail.split_at(whole);
        if holds {
            // Before this nobody may see it: it may be in the medium's own cache only.
            self.files.storage.sync(self.files.file(file))?;
        }
        for slot in whole {
            let seal = slot.group.is_some_and(|group| group.header.flags & FLAG_SEAL != 0);
            self.replay_group(reader, slot, Proof::Acknowledged, file, state);
            self.found.group_synced = self.found.group_synced.max(slot.seq);
            self.damage.unproven += u64::from(!seal);
        }
        for slot in torn {
            let (_, contents) = found(reader, slot, Proof::None);
            self.damage.torn += u64::from(slot.group.is_some());
            let runs = contents.runs.into_iter().flatten().filter(|run| !run.is_carried());
            self.gaps.extend(runs.map(|run| (run.handle, run.end())));
        }
        let end = whole.last().map_or(walked.end, |slot| slot.at + slot.bytes);
        Ok(torn.first().map_or(end, |slot| slot.at))
    }

    /// A group of which it is known whether it was durable.
    fn replay_group(
        &mut self,
        reader: &mut Reader<'_>,
        slot: &Slot,
        proof: Proof,
        file: FileIndex,
        state: &mut State,
    ) {
        let stamp = slot.group.map(|group| group.header.wall_ms);
        self.found.stamp_newest_ms = self.found.stamp_newest_ms.max(stamp);
        let (finding, contents) = found(reader, slot, proof);
        match (verdict(&finding), slot.group) {
            (Verdict::Accept | Verdict::KeepGood, Some(group)) => {
                let runs = contents.runs.as_deref().unwrap_or_default();
                // What a copy holds may have been replayed already, if it was damaged after it was proven.
                let new = runs.iter().copied();
                let new: Vec<Run> =
                    new.filter(|run| run.is_carried() || is_new(run, state)).collect();
                let at = slot.at + group.header.payload_at();
                let bad = self.replay_runs(reader, runs, at, group.header.boot, state);
                self.index_group(file, slot.at, &new, state);
                self.dirty_found(file, &new, state);
                self.damage.batches += bad.batches;
                self.damage.records += bad.records;
                self.damage.groups += u64::from(bad.batches > 0 || contents.meta.is_none());
                self.replay_meta(contents.meta.as_deref(), slot, file, state);
            }
            (Verdict::Lost, header) => {
                self.group_lost(slot, file, state);
                if header.is_some() {
                    self.replay_meta(contents.meta.as_deref(), slot, file, state);
                }
            }
            _ => {}
        }
    }

    /// A proven group whose batches cannot be told.
    fn group_lost(&mut self, slot: &Slot, file: FileIndex, state: &mut State) {
        self.damage.groups += 1;
        log::error!(
            "ring {}: group {} at {} of segment file {} is damaged; what it held is lost",
            self.name(),
            slot.seq.0,
            slot.at,
            file.0
        );
        self.lose(slot.bytes);
        state.records_lost(self.files.ring);
        state.producers_forget_sequences(self.files.ring);
    }

    /// So many bytes of groups are lost.
    pub(super) fn lose(&mut self, bytes: u64) {
        let lost = self.lost.get_or_insert_default();
        lost.bytes = lost.bytes.saturating_add(bytes);
        lost.seen.clear();
    }

    /// Offsets that lost groups may have taken are not given again: a gap for each partition of which
    /// nothing behind them says where it continues.
    fn lost_gaps(&mut self, state: &mut State) {
        let Some(lost) = self.lost.take() else { return };
        if lost.seen.is_empty() {
            state.producers_forget_sequences(self.files.ring);
        }
        let records = lost.bytes.saturating_mul(RECORDS_PER_BYTE_MAX).cast_signed();
        for (_, partition) in state.partitions() {
            if partition.ring == self.files.ring && !lost.seen.contains(&partition.handle) {
                let next = Offset(partition.next.0.saturating_add(records));
                self.gaps.push((partition.handle, next));
            }
        }
    }

    fn replay_runs(
        &mut self,
        reader: &mut Reader<'_>,
        runs: &[Run],
        mut at: u64,
        boot: Boot,
        state: &mut State,
    ) -> Bad {
        let mut bad = Bad::default();
        for run in runs {
            if let Err(full) = state.partition_restore(self.files.ring, run.handle) {
                self.full = Some(full);
            }
            let slot = state.partition_with_handle(run.handle);
            // A carried run says nothing about where its partition continues.
            let original = slot.filter(|_| !run.is_carried());
            if let Some((lost, slot)) = self.lost.as_mut().zip(original) {
                lost.seen.push(run.handle);
                self.damage.records += state.gap_before(slot, run.offset);
            }
            let fresh = original.filter(|_| is_new(run, state));
            self.replay_run(reader, run, at, boot, fresh, &mut bad, state);
            if let Some(slot) = slot.filter(|_| run.is_carried()) {
                state.carried_replay(slot, run.end());
            }
            at += u64::from(run.bytes);
        }
        bad
    }

    /// One run; `fresh`: the partition that it moves.
    #[expect(clippy::too_many_arguments, reason = "what a run needs, and where it is counted")]
    fn replay_run(
        &mut self,
        reader: &mut Reader<'_>,
        run: &Run,
        at: u64,
        boot: Boot,
        fresh: Option<PartitionSlot>,
        bad: &mut Bad,
        state: &mut State,
    ) {
        let mut epoch = boot;
        let bad_before = bad.batches;
        let mut records_end = None;
        groups::batches(reader, at, run, &mut |batch| {
            let Some(header) = &batch.header else {
                bad.batches += 1;
                bad.records += batch.last.abs_diff(batch.first) + 1;
                log::error!(
                    "ring {}: offsets {} to {} of partition handle {} are damaged",
                    self.name(),
                    batch.first,
                    batch.last,
                    run.handle.0
                );
                return;
            };
            epoch = epoch.min(epoch_of(header, boot));
            records_end = Some(Offset(batch.last + 1));
            if let Some(slot) = fresh {
                state.producer_replay(slot, header);
            }
        });
        if let Some(slot) = fresh {
            // What cannot be read now may be readable at the next start, and holders have to
            // consume it then: it is no hole.
            if reader.unreadable().is_some() || bad.batches == bad_before {
                records_end = Some(run.end());
            }
            state.run_replay(slot, epoch, run, records_end);
            if bad.batches > bad_before {
                state.producers.forget_sequences(&|of| of == slot);
            }
        }
    }

    /// Notes what compaction has to read before the file's segment is evicted.
    fn dirty_found(&mut self, file: FileIndex, runs: &[Run], state: &State) {
        for run in runs.iter().filter(|run| !run.is_carried()) {
            let slot = state.partition_with_handle(run.handle);
            let partition = slot.and_then(|slot| state.partition(slot));
            if partition.is_some_and(|partition| partition.compacted) {
                self.index.dirty_note(file, run.bytes);
            }
        }
    }

    pub(super) fn index_group(&mut self, file: FileIndex, at: u64, runs: &[Run], state: &State) {
        let carried = runs.first().is_some_and(Run::is_carried);
        let runs = runs.iter().filter_map(|run| {
            Some(index::Run {
                slot: state.partition_with_handle(run.handle)?,
                handle: run.handle,
                base_offset: run.offset,
                records: run.records,
                bytes: run.bytes,
                newest_ms: run.timestamp_max_ms,
                kept: run.kept,
            })
        });
        if carried {
            return self.index.group_found_carried(file, at, runs);
        }
        self.index.group_synced(file, at, runs);
    }

    /// A group's metadata records; none: their CRC does not hold.
    fn replay_meta(
        &mut self,
        meta: Option<&[u8]>,
        slot: &Slot,
        file: FileIndex,
        state: &mut State,
    ) {
        let Some(meta) = meta else {
            log::error!(
                "ring {}: the metadata records of group {} at {} of segment file {} are lost",
                self.name(),
                slot.seq.0,
                slot.at,
                file.0
            );
            state.records_lost(self.files.ring);
            return;
        };
        for record in Records::new(meta) {
            if !self.counts(&record) {
                continue;
            }
            match record {
                MetaRecord::Evict { segment } => self.evicted = self.evicted.max(Some(segment)),
                // An earlier start had seen the same loss, or was before it.
                MetaRecord::Partition { handle, .. } => {
                    self.lost.iter_mut().for_each(|lost| lost.seen.push(handle));
                }
                _ => {}
            }
            let index = &mut self.index;
            let mut removed = |slot| index.partition_removed(slot);
            if let Err(full) = state.apply(self.files.ring, &record, &mut removed) {
                self.full = Some(full);
            }
        }
    }
}

/// Which parts of a group are whole, and its directory and metadata. The batches of a proven one are
/// checked one by one when it is replayed, so that a damaged one costs no other.
fn found(reader: &mut Reader<'_>, slot: &Slot, proof: Proof) -> (Finding, Contents) {
    let contents = slot.group.map(|group| groups::contents(reader, &group.header));
    let contents = contents.unwrap_or_default();
    let payload = slot.group.zip(contents.runs.as_deref()).is_some_and(|(group, runs)| {
        let at = slot.at + group.header.payload_at();
        proof == Proof::Acknowledged || groups::payload_holds(reader, at, runs)
    });
    let finding = Finding {
        header: slot.group.is_some(),
        directory: contents.runs.is_some(),
        metadata: contents.meta.is_some(),
        payload,
        proof,
    };
    (finding, contents)
}

/// Whether a run goes beyond what is known of its partition.
fn is_new(run: &Run, state: &State) -> bool {
    let slot = state.partition_with_handle(run.handle);
    let partition = slot.and_then(|slot| state.partition(slot));
    partition.is_none_or(|partition| run.end() > partition.next)
}

/// The epoch in which a batch was first appended; a copy's is older than its group's.
fn epoch_of(header: &BatchHeader, written: Boot) -> Boot {
    u32::try_from(header.partition_leader_epoch).map_or(written, |epoch| Boot(epoch).min(written))
}

/// The damage in a group's batches.
#[derive(Default)]
struct Bad {
    batches: u64,
    records: u64,
}

/// The smallest record takes 7 bytes, and gzip turns at most 1,032 bytes into one.
const RECORDS_PER_BYTE_MAX: u64 = 1_032 / 7 + 1;
