//! Idempotent producers: which sequence comes next from each, in each partition.

use crate::limits;
use crate::log::record::ProducerBatch;
use crate::types::{Offset, PartitionSlot, Ticket};

/// A producer's newest batches, oldest first.
pub type ProducerBatches = heapless::Vec<ProducerBatch, { limits::PRODUCER_BATCHES_MAX }>;

/// What a batch is to its producer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The next one, or the first from a producer not known here: append it.
    Append,
    /// Stored before (or on its way under `ticket`): answer with the same offset, once settled.
    Duplicate {
        /// The offset of its first record.
        offset: Offset,
        /// The ticket under which it was staged; 0: synced long ago.
        ticket: Ticket,
    },
    /// Older than what is remembered: DUPLICATE_SEQUENCE_NUMBER (46).
    DuplicateOld,
    /// There is a gap before it: OUT_OF_ORDER_SEQUENCE_NUMBER (45).
    OutOfOrder,
    /// From an older epoch: INVALID_PRODUCER_EPOCH (47).
    EpochOld,
}

/// The table.
pub struct Producers {
    max: usize,
}

impl Producers {
    /// An empty table for `max` producer and partition pairs.
    pub fn new(max: usize) -> Producers {
        Producers { max }
    }

    /// What the batch with these sequences is.
    pub fn check(
        &self,
        _id: i64,
        _epoch: i16,
        _slot: PartitionSlot,
        _sequence_first: i32,
        _sequence_last: i32,
    ) -> Check {
        let _ = self.max;
        Check::Append
    }

    /// Notes a batch that was staged under `ticket`.
    pub fn staged(
        &mut self,
        _id: i64,
        _epoch: i16,
        _slot: PartitionSlot,
        _batch: ProducerBatch,
        _timestamp_ms: i64,
        _ticket: Ticket,
    ) {
    }

    /// Everything staged in the ring of `slots` up to `ticket` is synced now.
    pub fn synced(&mut self, _ring_has: &dyn Fn(PartitionSlot) -> bool, _ticket: Ticket) {}

    /// Everything that is synced, for a snapshot: never a batch whose ticket is above `synced`.
    pub fn snapshot(
        &self,
        _synced: Ticket,
        _put: &mut dyn FnMut(PartitionSlot, i64, i16, i64, &ProducerBatches),
    ) {
    }

    /// Takes one entry of a snapshot.
    pub fn restore(
        &mut self,
        _id: i64,
        _epoch: i16,
        _slot: PartitionSlot,
        _timestamp_ms: i64,
        _batches: &ProducerBatches,
    ) {
    }

    /// Notes a batch that recovery found in the log. One that is known already is passed over.
    pub fn replay(&mut self, _slot: PartitionSlot, _header: &crate::codec::batch::BatchHeader) {}

    /// Part of the partition's log was damaged: from here on any sequence is accepted in it.
    pub fn forget_sequences(&mut self, _slot: PartitionSlot) {}

    /// The partition is gone.
    pub fn forget_partition(&mut self, _slot: PartitionSlot) {}
}
