//! The ring on flash: what is staged, committed, indexed and found again after a power cut.
//!
//! The log never waits. Whoever may wait for the disk asks it for [`Log::next_io`], carries the
//! job out, and hands it back with [`Log::io_done`]; and reads where the index says.

pub mod anchor;
mod append;
pub mod carried;
pub mod carry;
mod compaction;
pub mod format;
pub mod hold;
pub mod index;
pub mod producers;
pub mod read;
pub mod record;
pub mod recovery;
pub mod ring;
pub mod sizes;
pub mod staging;
pub mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::clock::{Mono, Now};
use crate::codec::compression::Shared;
use crate::config::{Config, RingConfig};
use crate::error::DiskError;
use crate::limits;
use crate::storage::{Storage, WriteJob};
use crate::types::{
    FileRef, GroupSlot, Offset, PartitionHandle, PartitionSlot, RingIndex, RingNumber, SegmentSeq,
    Settle, Ticket, Until,
};
use append::{place_batches, stretch_of};
pub use compaction::Carried;
use hold::Hold;
use index::Index;
use record::{MetaRecord, ProducerBatch, Records};
use ring::{Done, Ring, RingStats, Room, Segment};
use staging::{Capacity, Staging, run_of};
use state::mirror_positions::Mirrors;
use state::missed;
use state::{State, StateLimits, Topic};

/// The log's part of the configuration.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The rings that hold records, and behind them the metadata ring.
    pub rings: Vec<RingConfig>,
    /// The names of rings whose topics are dropped, if they are on flash.
    pub retired: Vec<String>,
    /// The tables' sizes.
    pub state: StateLimits,
    /// Largest payloads of the two commit groups of a ring: the first one's at least the largest
    /// request, the second one's at most that.
    pub groups_bytes: [usize; 2],
    /// Groups start at multiples of this: 4,096 or 512.
    pub commit_alignment: u32,
    /// How long a group with metadata alone waits for more.
    pub metadata_linger_ms: u64,
    /// A seal is written after this long without writes.
    pub seal_after_ms: u64,
    /// Keys of compacted topics that are compared together, and stretches of carried records, in
    /// each ring.
    pub compaction_keys_max: usize,
}

impl LogConfig {
    /// What the configuration says of the log.
    pub fn of(config: &Config) -> LogConfig {
        let state = StateLimits {
            topics_max: config.topics_max,
            partitions_max: config.partitions_max,
            groups_max: config.groups_max,
            offsets_max: config.offsets_max,
            offset_metadata_bytes: config.offset_metadata_bytes,
            producers_max: config.producers_max,
        };
        let mut log = LogConfig {
            rings: config.rings.clone(),
            retired: config.retired.clone(),
            state,
            groups_bytes: config.commit_groups(),
            commit_alignment: config.commit_alignment as u32,
            metadata_linger_ms: config.metadata_linger_ms,
            seal_after_ms: config.seal_after_ms,
            compaction_keys_max: config.compaction_keys_max,
        };
        let anchor = log.metadata_anchor_bytes_max(SEGMENT_BYTES_LEAST);
        let segment_bytes = (4 * anchor as u64).next_multiple_of(SEGMENT_BYTES_LEAST);
        log.rings.push(RingConfig::metadata(segment_bytes));
        log
    }

    /// The size of the buffer in which a ring's anchors are made.
    pub fn anchor_bytes_max(&self, ring: RingIndex) -> usize {
        let config = &self.rings[usize::from(ring.0)];
        self.anchor_bytes_max_with(ring, usize::from(config.segments) + usize::from(config.spares))
    }

    /// The same for this many files.
    pub fn anchor_bytes_max_with(&self, ring: RingIndex, files: usize) -> usize {
        let config = &self.rings[usize::from(ring.0)];
        if self.is_metadata(ring) {
            return self.metadata_anchor_bytes_max(config.segment_bytes);
        }
        anchor::anchor_bytes_max(
            files,
            config.segment_bytes,
            self.state.partitions_max,
            self.state.snapshot_bytes_max() + missed::snapshot_bytes(config),
        )
    }

    fn metadata_anchor_bytes_max(&self, segment_bytes: u64) -> usize {
        let mirrors = crate::config::mirrors(&self.rings);
        let mirrored = Mirrors::snapshot_bytes(&mirrors, self.state.partitions_max);
        let files = usize::from(limits::METADATA_SEGMENTS) + 1;
        let snapshot = self.state.shared_snapshot_bytes_max() + mirrored;
        anchor::anchor_bytes_max(files, segment_bytes, 0, snapshot)
    }

    /// The shortest segment that holds a ring's head, its foot, and then at least two groups of any size.
    pub fn segment_bytes_least(&self, ring: RingIndex) -> u64 {
        let [group, _] = self.groups_of(ring).map(Staging::memory_bytes);
        2 * (self.anchor_bytes_max(ring) + group) as u64
    }

    /// Whether it is the metadata ring.
    pub fn is_metadata(&self, ring: RingIndex) -> bool {
        usize::from(ring.0) + 1 == self.rings.len()
    }

    /// What the two commit groups of a ring take.
    pub fn groups_of(&self, ring: RingIndex) -> [Capacity; 2] {
        if self.is_metadata(ring) {
            return [Capacity::of_metadata(); 2];
        }
        Capacity::of_records(self.groups_bytes)
    }

    /// Partitions, and keys of compacted topics, that a ring's tables have room for.
    pub fn tables_of(&self, ring: RingIndex) -> (usize, usize) {
        if self.is_metadata(ring) {
            return (0, 0);
        }
        (self.state.partitions_max, self.compaction_keys_max)
    }
}

/// What a produce handler wants to append to one partition: whole checked batches, in order.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// Where to.
    pub slot: PartitionSlot,
    /// The batches, one behind the other, as the client sent them.
    pub batches: &'a [u8],
    /// Set where the newest timestamp in the header of the (only) batch is wrong: what it becomes.
    pub newest_ms: Option<i64>,
    /// Set for LogAppendTime: the batches' timestamps become this.
    pub append_time_ms: Option<i64>,
    /// Acknowledged when written (`flush.messages`, `flush.ms`), and synced at most this much later.
    pub relaxed_ms: Option<u64>,
}

/// What an append gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first record.
    pub offset: Offset,
    /// What the answer waits for.
    pub ticket: Ticket,
}

/// Why something cannot be staged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageError {
    /// The open group is full: try again when the group with this ticket is written.
    Full(Ticket),
    /// The disk fails: KAFKA_STORAGE_ERROR (56).
    Storage,
    /// It can never fit a group, or not the snapshots: MESSAGE_TOO_LARGE (10), POLICY_VIOLATION (44).
    TooLarge,
    /// Only for held records: the ring is full of what its holders have not consumed. Try again when
    /// one makes progress.
    Held,
}

/// A live segment, as readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentView {
    /// Its sequence.
    pub seq: SegmentSeq,
    /// Its file.
    pub file: FileRef,
    /// Where its groups start.
    pub groups_at: u64,
    /// Where its written groups end.
    pub end: u64,
}

impl SegmentView {
    fn of(ring: RingIndex, segment: &Segment) -> SegmentView {
        SegmentView {
            seq: segment.seq,
            file: FileRef { ring, file: segment.file },
            groups_at: segment.groups_at,
            end: segment.end,
        }
    }
}

/// The log of all rings.
pub struct Log {
    pub(crate) state: State,
    pub(crate) rings: Vec<Ring>,
    pub(crate) indexes: Vec<Index>,
    storage: Arc<dyn Storage>,
    metadata_linger_ms: u64,
    damage: recovery::Damage,
    decompressor: Arc<Shared>,
}

impl Log {
    /// The synced metadata.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The disk, to read from.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The decompressor, which compaction uses as well.
    pub fn decompressor(&self) -> &Arc<Shared> {
        &self.decompressor
    }

    /// The metadata ring.
    pub fn shared(&self) -> RingIndex {
        self.state.numbers().shared()
    }

    /// A ring's number on flash.
    pub fn number_of(&self, ring: RingIndex) -> RingNumber {
        self.state.numbers().of(ring)
    }

    /// All rings, the metadata ring last.
    pub fn rings(&self) -> impl Iterator<Item = RingIndex> + use<> {
        (0..self.rings.len()).map(|place| RingIndex(place as u8))
    }

    /// A ring's configuration.
    pub fn ring_config(&self, ring: RingIndex) -> &RingConfig {
        &self.ring(ring).config
    }

    /// What was counted of a ring since the start.
    pub fn stats(&self, ring: RingIndex) -> RingStats {
        self.ring(ring).stats
    }

    /// Whether nothing can be stored in the ring at present.
    pub fn is_failing(&self, ring: RingIndex) -> bool {
        self.ring(ring).is_failing()
    }

    /// Whether a request with `payload_bytes` in `runs` batches fits the open group of `ring`.
    /// A handler asks this before it stages anything, so that a request is staged whole or not.
    /// `kept`: some of it is of topics that the ring is held for (see [`Topic::is_kept`]).
    pub fn room(
        &mut self,
        ring: RingIndex,
        payload_bytes: usize,
        runs: usize,
        kept: bool,
    ) -> Result<(), StageError> {
        self.room_in_group(ring, payload_bytes, runs)?;
        let place = usize::from(ring.0);
        let (ring, state, index) = (&mut self.rings[place], &self.state, &self.indexes[place]);
        if kept {
            return match ring.room_kept(payload_bytes, runs, state, index) {
                Room::Now => Ok(()),
                Room::Soon => Err(full(ring)),
                Room::None => Err(StageError::Held),
            };
        }
        if !ring.room_beside(payload_bytes, runs, 0, state, index) {
            return Err(full(ring));
        }
        Ok(())
    }

    /// Whether a held ring would take this many bytes of held records, now or soon.
    pub fn takes_kept(&mut self, ring: RingIndex, payload_bytes: usize) -> bool {
        let place = usize::from(ring.0);
        let (state, index) = (&self.state, &self.indexes[place]);
        self.rings[place].room_kept(payload_bytes, 1, state, index) != Room::None
    }

    /// The ring's holders, and their positions.
    pub fn hold(&self, ring: RingIndex) -> Hold<'_> {
        Hold::held(self.ring_config(ring), ring, &self.state, self.index(ring))
    }

    /// Those that it is watched for, and their positions.
    pub fn watch(&self, ring: RingIndex) -> Hold<'_> {
        Hold::watched(self.ring_config(ring), ring, &self.state, self.index(ring))
    }

    fn room_in_group(
        &mut self,
        ring: RingIndex,
        payload_bytes: usize,
        runs: usize,
    ) -> Result<(), StageError> {
        let place = usize::from(ring.0);
        let (ring, state, index) = (&mut self.rings[place], &self.state, &self.indexes[place]);
        if ring.is_failing() {
            Err(StageError::Storage)
        } else if payload_bytes > ring.group_bytes_max() || runs > limits::RUNS_PER_GROUP_MAX {
            Err(StageError::TooLarge)
        } else if ring.make_room(payload_bytes, runs, state, index) {
            Ok(())
        } else {
            Err(full(ring))
        }
    }

    /// Whether this many bytes of metadata records fit the open group of `ring`. The snapshots have room
    /// for all that the tables have room for.
    pub fn room_meta(&self, ring: RingIndex, bytes: usize) -> Result<(), StageError> {
        let index = self.index(ring);
        let ring = self.ring(ring);
        if ring.is_failing() {
            Err(StageError::Storage)
        } else if bytes > ring.open().meta_bytes_max() {
            Err(StageError::TooLarge)
        } else if ring.open().has_room_meta(bytes)
            && ring.room_beside(0, 0, bytes, &self.state, index)
        {
            Ok(())
        } else {
            Err(full(ring))
        }
    }

    /// Copies batches into the open group of the partition's ring: gives them offsets, the leader
    /// epoch, and their append time. After [`Log::room`] it cannot fail for lack of room.
    pub fn append(&mut self, append: &Append<'_>, now: Now) -> Result<Appended, StageError> {
        let boot = self.state.boot;
        let kept = self.is_kept(append.slot);
        let ring = self.state.partition(append.slot).map(|partition| partition.ring);
        self.room_in_group(ring.ok_or(StageError::TooLarge)?, append.batches.len(), 1)?;
        let Some(partition) = self.state.partition_mut(append.slot) else {
            return Err(StageError::TooLarge);
        };
        let ring = &mut self.rings[usize::from(partition.ring.0)];
        let staging = ring.stage(append.relaxed_ms.is_none(), None);
        let sync_by = append.relaxed_ms.map(|relaxed_ms| now.mono.plus_ms(relaxed_ms));
        staging.sync_by = staging.sync_by.into_iter().chain(sync_by).min();
        staging.kept |= kept;
        let offset = partition.next;
        let (records, newest_ms) = stretch_of(append);
        let run = run_of(partition.handle, offset, records, newest_ms);
        let copy = staging.push(append.slot, boot, run, append.batches);
        place_batches(copy, offset, boot, append);
        partition.next = offset.plus(records);
        partition.ticket_last = staging.ticket;
        Ok(Appended { offset, ticket: staging.ticket })
    }

    /// Notes that the batch just appended came from an idempotent producer.
    pub fn producer_staged(
        &mut self,
        slot: PartitionSlot,
        id: i64,
        epoch: i16,
        batch: ProducerBatch,
        timestamp_ms: i64,
        ticket: Ticket,
    ) {
        if let Some(ring) = self.state.partition(slot).map(|partition| partition.ring) {
            let producers = &mut self.state.producers;
            producers.staged(id, epoch, slot, ring, batch, timestamp_ms, ticket);
        }
    }

    /// Puts a metadata record into the open group of `ring`. It takes effect in [`Log::state`] once
    /// it is synced; until then it is in [`Log::staged`]. `linger`: it may wait for more.
    pub fn stage(
        &mut self,
        ring: RingIndex,
        record: &MetaRecord<'_>,
        linger: bool,
        now: Now,
    ) -> Result<Ticket, StageError> {
        self.room_meta(ring, record::bytes_of(record))?;
        let linger = linger.then(|| now.mono.plus_ms(self.metadata_linger_ms));
        stage_meta(&mut self.rings[usize::from(ring.0)], record, linger)
    }

    /// Stages a group's newest offset once more with the time of now, so that the group does not count as
    /// unused. Nothing of the group may be on its way.
    pub fn stage_again(&mut self, group: GroupSlot, now: Now) -> Result<Ticket, StageError> {
        let ring = self.shared();
        let entry = self.state.offset_newest(group).ok_or(StageError::TooLarge)?;
        let record = self.state.commit_record(entry, now.wall_ms);
        self.room_meta(ring, record::bytes_of(&record))?;
        let linger = Some(now.mono.plus_ms(self.metadata_linger_ms));
        stage_meta(&mut self.rings[usize::from(ring.0)], &record, linger)
    }

    /// The ticket of the metadata records of `ring` that are on their way to the disk just now, and
    /// cannot be read: [`Log::staged`] leaves them out.
    pub fn staged_out(&self, ring: RingIndex) -> Option<Ticket> {
        let closed = self.ring(ring).closed()?;
        (closed.is_out() && closed.meta_bytes() > 0).then_some(closed.ticket)
    }

    /// Metadata records of `ring` that are staged and not yet synced, oldest first; without those that
    /// are on their way to the disk (see [`Log::staged_out`]).
    pub fn staged(&self, ring: RingIndex) -> impl Iterator<Item = (Ticket, MetaRecord<'_>)> {
        let ring = self.ring(ring);
        let groups = ring.closed().into_iter().chain([ring.open()]);
        groups.flat_map(|staging| {
            Records::new(staging.meta()).map(|record| {
                #[cfg(test)]
                crate::visits::visit();
                (staging.ticket, record)
            })
        })
    }

    /// The newest timestamp in a group or anchor of any ring, as far as is known.
    pub fn stamp_newest_ms(&self) -> i64 {
        self.rings.iter().map(|ring| ring.stamp_newest_ms()).max().unwrap_or(i64::MIN)
    }

    /// Takes this many partition handles; gives the first.
    pub fn handles_take(&mut self, count: u32) -> PartitionHandle {
        let first = self.state.handle_next;
        self.state.handle_next = PartitionHandle(first.0.saturating_add(count));
        first
    }

    /// Whether what an answer waits for is on flash, or has failed.
    pub fn settled(&self, until: &Until) -> Settle {
        let mut settle = Settle::Done;
        for (ring, ticket) in self.rings.iter().zip(until.tickets) {
            let done = if until.written { ring.ticket_written() } else { ring.ticket_synced() };
            if ticket > done && ticket <= ring.ticket_failed() {
                return Settle::Failed;
            }
            if ticket > done {
                settle = Settle::Pending;
            }
        }
        settle
    }

    /// How much is in the open group: bytes of batches.
    pub fn staged_bytes(&self, ring: RingIndex) -> usize {
        self.ring(ring).open().payload_bytes()
    }

    /// The next step for the disk in `ring`, if there is one and none is on its way.
    pub fn next_io(&mut self, ring: RingIndex, now: Now) -> Option<WriteJob> {
        let place = usize::from(ring.0);
        self.rings[place].next_io(&mut self.state, &mut self.indexes[place], now)
    }

    /// Takes a job back with its outcome. Answers may be due then (see [`Log::settled`]), records
    /// may have become visible ([`Log::fresh_take`]), and there may be a next step.
    pub fn io_done(
        &mut self,
        ring: RingIndex,
        job: WriteJob,
        result: Result<(), DiskError>,
        now: Now,
    ) {
        let place = usize::from(ring.0);
        let index = &mut self.indexes[place];
        match self.rings[place].io_done(job, result, index, now) {
            Done::Group { file, at, synced, earlier } => {
                let Some(mut staging) = self.rings[place].closed_take() else {
                    return;
                };
                self.group_written(place, &staging, file, at, synced);
                if synced {
                    self.group_apply(place, &staging);
                    self.all_visible(place, earlier);
                }
                staging.reset(Ticket(0));
                self.rings[place].closed_return(staging);
                self.gaps_stage(place);
            }
            Done::Synced { earlier } => self.all_visible(place, earlier),
            Done::UnsyncedLost => self.written_is_lost(place),
            Done::Head => {
                self.rings[place].freeing_done(&mut self.state, &mut self.indexes[place], now);
                if let Some(current) = self.rings[place].current() {
                    self.indexes[place].segment_opened(current.file, current.seq);
                }
                self.log_starts_move(ring);
            }
            Done::Carried { file, at, earlier } => {
                if let Some(staging) = self.rings[place].carried_take() {
                    self.group_carried(place, &staging, file, at);
                    self.rings[place].carried_return(staging);
                }
                self.all_visible(place, earlier);
            }
            Done::Cleared { earlier } => {
                self.rings[place].cleared(&mut self.state, &mut self.indexes[place], now);
                self.all_visible(place, earlier);
                self.log_starts_move(ring);
            }
            Done::Quiet => {}
        }
    }

    /// When [`Log::next_io`] should be asked again though nothing was staged since: a seal, a
    /// lingering commit, a relaxed sync, a retry after a failure.
    pub fn deadline(&self, ring: RingIndex) -> Option<Mono> {
        self.ring(ring).deadline()
    }

    /// From now on nothing lingers: what is staged goes out, then a seal. For a clean stop.
    pub fn close(&mut self) {
        self.rings.iter_mut().for_each(Ring::close);
    }

    /// Whether everything is on flash and sealed after [`Log::close`], or cannot be.
    pub fn is_closed(&self) -> bool {
        self.rings.iter().all(Ring::is_closed)
    }

    /// The live segments of a ring, oldest first.
    pub fn segments(&self, ring: RingIndex) -> impl DoubleEndedIterator<Item = SegmentView> + '_ {
        let view = move |segment: &Segment| SegmentView::of(ring, segment);
        self.ring(ring).segments().iter().map(view)
    }

    /// The live segment of a ring with this sequence.
    pub fn segment(&self, ring: RingIndex, seq: SegmentSeq) -> Option<SegmentView> {
        self.ring(ring).segment(seq).map(|segment| SegmentView::of(ring, segment))
    }

    /// Where the batches of a ring are.
    #[expect(clippy::should_implement_trait, reason = "it takes a ring, not a subscript")]
    pub fn index(&self, ring: RingIndex) -> &Index {
        &self.indexes[usize::from(ring.0)]
    }

    /// The ring's id, which all of its groups bear.
    pub fn ring_id(&self, ring: RingIndex) -> format::RingId {
        self.ring(ring).id
    }

    /// A partition that has more synced bytes than when it was last given here, and how many more:
    /// [`index::Index::fresh_take`] of each ring.
    pub fn fresh_take(&mut self) -> Option<(PartitionSlot, u32)> {
        self.indexes.iter_mut().find_map(Index::fresh_take)
    }

    /// Whether this segment is still there: to be asked after reading from its file.
    pub fn is_live(&self, ring: RingIndex, seq: SegmentSeq) -> bool {
        self.ring(ring).segment(seq).is_some()
    }

    /// Whether the ring is held for a partition's records.
    fn is_kept(&self, slot: PartitionSlot) -> bool {
        let Some(partition) = self.state.partition(slot) else {
            return false;
        };
        self.state.topic(partition.topic).is_some_and(Topic::is_kept)
    }

    fn ring(&self, ring: RingIndex) -> &Ring {
        &self.rings[usize::from(ring.0)]
    }

    /// Adds the group's batches to the index. Consumers see them once they are synced.
    fn group_written(
        &mut self,
        place: usize,
        staging: &Staging,
        file: crate::types::FileIndex,
        at: u64,
        synced: bool,
    ) {
        let state = &mut self.state;
        let mut dirty = 0;
        let runs = staging.runs().filter_map(|entry| {
            state.hole_passed(entry.slot);
            let partition = state.partition_mut(entry.slot)?;
            // A topic may have been deleted, and its slot given away, since this was staged.
            (partition.handle == entry.run.handle).then(|| {
                partition.epoch_note(entry.epoch, entry.run.offset);
                partition.written = partition.written.max(entry.run.end());
                if synced {
                    partition.high_watermark_move(partition.written, partition.written);
                }
                partition.bytes_note(entry.run.offset, entry.run.bytes);
                dirty += if partition.compacted { entry.run.bytes } else { 0 };
                index::Run {
                    slot: entry.slot,
                    handle: entry.run.handle,
                    base_offset: entry.run.offset,
                    records: entry.run.records,
                    bytes: entry.run.bytes,
                    newest_ms: entry.run.timestamp_max_ms,
                    kept: 0,
                }
            })
        });
        self.indexes[place].group_synced(file, at, runs);
        self.indexes[place].dirty_note(file, dirty);
        self.rings[place].compacted_note(dirty.into(), &self.indexes[place]);
    }

    /// The group's metadata takes effect.
    fn group_apply(&mut self, place: usize, staging: &Staging) {
        let ring = self.rings[place].index;
        let indexes = &mut self.indexes;
        let mut removed = |slot| indexes.iter_mut().for_each(|index| index.partition_removed(slot));
        for record in Records::new(staging.meta()) {
            debug_assert!(!record.is_shared() || ring == self.state.numbers().shared());
            if let Err(full) = self.state.apply(ring, &record, &mut removed) {
                log::error!("{} = {} is too small for what was stored", full.key, full.max);
            }
        }
        self.recompacted();
    }

    /// What was written in the ring and not synced is lost. Its offsets become gaps.
    fn written_is_lost(&mut self, place: usize) {
        self.state.written_is_lost(self.rings[place].index);
        self.gaps_stage(place);
    }

    /// Notes gaps in the open group, as far as there is room; the others follow in later ones.
    fn gaps_stage(&mut self, place: usize) {
        let ring = &mut self.rings[place];
        let index = ring.index;
        self.state.gaps_take(index, &mut |handle, next| {
            let (log_start, epochs) = (Offset(0), heapless::Vec::new());
            let gap = MetaRecord::Partition { handle, log_start, next, epochs };
            ring.open().has_room_meta(record::bytes_of(&gap))
                && ring.stage(true, None).push_meta(&gap).is_ok()
        });
    }

    /// Everything written in the ring is on flash, and becomes visible. `earlier`: so do records that
    /// were written without a sync.
    fn all_visible(&mut self, place: usize, earlier: bool) {
        let ring = &mut self.rings[place];
        if earlier {
            let index = &mut self.indexes[place];
            // How many bytes is not known here, so all that wait for some are woken.
            self.state.written_is_visible(ring.index, &mut |slot| index.fresh_note(slot, u32::MAX));
        }
        self.state.producers_synced(ring.index, ring.ticket_synced());
    }

    /// Moves log start offsets past what was overwritten; they never move back.
    fn log_starts_move(&mut self, ring: RingIndex) {
        let index = &mut self.indexes[usize::from(ring.0)];
        index.log_starts_moved();
        let first = |slot, visible| index.first_offset(slot).unwrap_or(visible);
        self.state.log_starts_move(ring, &first);
    }
}

/// Segments of the metadata ring are as long as this, or several times that.
const SEGMENT_BYTES_LEAST: u64 = 4 << 20;

/// Puts a metadata record into the open group; the room was asked for.
fn stage_meta(
    ring: &mut Ring,
    record: &MetaRecord<'_>,
    linger: Option<Mono>,
) -> Result<Ticket, StageError> {
    let staging = ring.stage(true, linger);
    staging.push_meta(record).map_err(|_| StageError::TooLarge)?;
    Ok(staging.ticket)
}

/// The group that must be settled before there is room again. One that was failed already is tried
/// again, but nobody can wait for it.
fn full(ring: &Ring) -> StageError {
    let ticket = ring.closed().map_or(ring.open().ticket, |closed| closed.ticket);
    if ticket <= ring.ticket_failed() { StageError::Storage } else { StageError::Full(ticket) }
}
