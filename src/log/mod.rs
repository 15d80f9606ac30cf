//! The ring on flash: what is staged, committed, indexed and found again after a power cut.
//!
//! The log never waits. Whoever may wait for the disk asks it for [`Log::next_io`], carries the
//! job out, and hands it back with [`Log::io_done`]; and reads where the index says.

pub mod format;
pub mod index;
pub mod producers;
pub mod record;
pub mod state;

use std::sync::Arc;

use crate::clock::{Mono, Now};
use crate::error::DiskError;
use crate::storage::{Storage, WriteJob};
use crate::types::{
    FileRef, Offset, PartitionHandle, PartitionSlot, RingIndex, SegmentSeq, Settle, Ticket, Until,
};
use record::{MetaRecord, ProducerBatch};
use state::{State, StateLimits};

/// One ring's part of the configuration.
#[derive(Debug, Clone)]
pub struct RingConfig {
    /// Its name, for messages.
    pub name: String,
    /// Segments that hold data.
    pub segments: u16,
    /// Segment files beside them, for failures.
    pub spares: u16,
    /// Bytes of each segment file; a multiple of 4 MiB.
    pub segment_bytes: u64,
}

/// The log's part of the configuration.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The rings, the first of which holds what is shared.
    pub rings: Vec<RingConfig>,
    /// The tables' sizes.
    pub state: StateLimits,
    /// Largest payload of one commit group: at least the largest request.
    pub group_bytes_max: usize,
    /// Groups start at multiples of this: 4,096 or 512.
    pub commit_alignment: u32,
    /// How long metadata alone waits for company.
    pub metadata_linger_ms: u64,
    /// After so long a silence a seal is written.
    pub seal_after_ms: u64,
}

/// What a produce handler wants to append to one partition: whole checked batches, in order.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// Where to.
    pub slot: PartitionSlot,
    /// The batches, one behind the other, as the client sent them.
    pub batches: &'a [u8],
    /// Set for LogAppendTime: the batches' timestamps become this.
    pub append_time_ms: Option<i64>,
    /// Acknowledged when written (`flush.messages`, `flush.ms`); synced so much later at the most.
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
    /// The open group is full: try again when this ticket of the ring is settled.
    Full(Ticket),
    /// The disk fails: KAFKA_STORAGE_ERROR (56).
    Storage,
    /// It can never fit a group: MESSAGE_TOO_LARGE (10) or the like.
    TooLarge,
}

/// A live segment, as readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentView {
    /// Its place in history.
    pub seq: SegmentSeq,
    /// Its file.
    pub file: FileRef,
    /// Where its groups start.
    pub groups_at: u64,
    /// Where its synced groups end.
    pub end: u64,
}

/// The log of all rings.
pub struct Log {
    state: State,
    storage: Arc<dyn Storage>,
}

impl Log {
    /// The synced metadata.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The disk, for those who read.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Whether a request with `payload_bytes` in `runs` batches fits the open group of `ring`.
    /// A handler asks this before it stages anything, so that a request is staged whole or not.
    pub fn room(
        &self,
        _ring: RingIndex,
        _payload_bytes: usize,
        _runs: usize,
    ) -> Result<(), StageError> {
        todo!()
    }

    /// Copies batches into the open group of the partition's ring: gives them offsets, the leader
    /// epoch, and their append time. After [`Log::room`] it cannot fail for lack of room.
    pub fn append(&mut self, _append: &Append<'_>, _now: Now) -> Result<Appended, StageError> {
        todo!()
    }

    /// Notes that the batch just appended came from an idempotent producer.
    pub fn producer_staged(
        &mut self,
        _slot: PartitionSlot,
        _id: i64,
        _epoch: i16,
        _batch: ProducerBatch,
        _timestamp_ms: i64,
        _ticket: Ticket,
    ) {
        todo!()
    }

    /// Puts a metadata record into the open group of `ring`. It takes effect in [`Log::state`] once
    /// it is synced; until then it is in [`Log::staged`]. `linger`: it may wait for company.
    pub fn stage(
        &mut self,
        _ring: RingIndex,
        _record: &MetaRecord<'_>,
        _linger: bool,
        _now: Now,
    ) -> Result<Ticket, StageError> {
        todo!()
    }

    /// Whether so many bytes of metadata records fit the open group of `ring`.
    pub fn room_meta(&self, _ring: RingIndex, _bytes: usize) -> Result<(), StageError> {
        todo!()
    }

    /// Metadata records of `ring` that are staged and not yet synced, oldest first.
    pub fn staged(&self, _ring: RingIndex) -> impl Iterator<Item = (Ticket, MetaRecord<'_>)> {
        std::iter::empty()
    }

    /// Takes so many partition handles; gives the first.
    pub fn handles_take(&mut self, _count: u32) -> PartitionHandle {
        todo!()
    }

    /// Whether what an answer waits for has come.
    pub fn settled(&self, _until: &Until) -> Settle {
        todo!()
    }

    /// The next step for the disk in `ring`, if there is one and none is on its way.
    pub fn next_io(&mut self, _ring: RingIndex, _now: Now) -> Option<WriteJob> {
        todo!()
    }

    /// Takes a job back with its outcome. Answers may be due then (see [`Log::settled`]), records
    /// may have become visible, and there may be a next step.
    pub fn io_done(
        &mut self,
        _ring: RingIndex,
        _job: WriteJob,
        _result: Result<(), DiskError>,
        _now: Now,
    ) {
        todo!()
    }

    /// When [`Log::next_io`] should be asked again though nothing was staged since: a seal, a
    /// lingering commit, a relaxed sync, a retry after a failure.
    pub fn deadline(&self, _ring: RingIndex) -> Option<Mono> {
        todo!()
    }

    /// From now on nothing lingers: what is staged goes out, then a seal. For a clean stop.
    pub fn close(&mut self) {
        todo!()
    }

    /// Whether everything is on flash and sealed after [`Log::close`], or cannot be.
    pub fn is_closed(&self) -> bool {
        todo!()
    }

    /// The live segments of a ring, oldest first.
    pub fn segments(&self, _ring: RingIndex) -> impl DoubleEndedIterator<Item = SegmentView> + '_ {
        std::iter::empty()
    }

    /// Where the batches of a ring are.
    pub fn index(&self, _ring: RingIndex) -> &index::Index {
        todo!()
    }

    /// The ring's name in its groups: readers believe no others.
    pub fn ring_id(&self, _ring: RingIndex) -> format::RingId {
        todo!()
    }

    /// A partition that has more synced bytes than when it was last given here, and how many more:
    /// [`index::Index::fresh_take`] of each ring.
    pub fn fresh_take(&mut self) -> Option<(PartitionSlot, u32)> {
        None
    }

    /// Whether this segment is still there: to be asked after reading from its file.
    pub fn is_live(&self, _ring: RingIndex, _seq: SegmentSeq) -> bool {
        todo!()
    }
}
