//! Checks a batch against what is known of its producer: the next one, a duplicate, or out of order.

use super::{NONE, ProducerBatches};
use crate::codec::batch::BatchHeader;
use crate::limits;
use crate::log::record::ProducerBatch;
use crate::types::{Offset, PartitionSlot, Ticket};

/// How a batch fits its producer's state.
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
    /// Stored before, but its offset is not remembered: DUPLICATE_SEQUENCE_NUMBER (46), which
    /// clients take for success. Kafka itself says 45 here.
    DuplicateOld,
    /// There is a gap before it: OUT_OF_ORDER_SEQUENCE_NUMBER (45).
    OutOfOrder,
    /// From an older epoch: INVALID_PRODUCER_EPOCH (47).
    EpochOld,
}

/// What is to be remembered of a batch that is stored at `offset`; none if it has no sequences.
pub fn batch_of(header: &BatchHeader, offset: Offset) -> Option<ProducerBatch> {
    let sequence_first = header.base_sequence;
    (header.has_producer_id() && sequence_first >= 0).then_some(ProducerBatch {
        sequence_first,
        sequence_last: sequence_plus(sequence_first, header.last_offset_delta.max(0)),
        offset_first: offset,
    })
}

/// The sequence `delta` records on: after the largest comes 0.
pub fn sequence_plus(sequence: i32, delta: i32) -> i32 {
    sequence.wrapping_add(delta) & i32::MAX
}

pub(super) fn sequence_next(sequence: i32) -> i32 {
    sequence_plus(sequence, 1)
}

/// How many sequences on from `from` is `to`.
fn sequence_distance(from: i32, to: i32) -> u32 {
    (to.wrapping_sub(from) & i32::MAX).cast_unsigned()
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Remembered {
    pub(super) batch: ProducerBatch,
    /// 0: it is in `synced`, unless newer ones pushed it out there.
    pub(super) ticket: Ticket,
}

/// A producer in a partition.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) timestamp_ms: i64,
    /// The newest batches, synced or not, oldest first; empty: any sequence is accepted.
    pub(super) newest: heapless::Vec<Remembered, { limits::PRODUCER_BATCHES_MAX }, u8>,
    /// The newest synced batches, as far as `promote` has looked.
    pub(super) synced: ProducerBatches,
    /// The lowest ticket of a batch that was pushed out of `newest` before it was known to be
    /// synced; 0: none. Once that is synced, what `synced` holds is out of date.
    pub(super) lost: Ticket,
    /// So many sequences before `newest` are known to be stored.
    pub(super) sequences_before: u32,
    pub(super) older: u32,
    pub(super) newer: u32,
    pub(super) slot: PartitionSlot,
    pub(super) epoch: i16,
    pub(super) synced_epoch: i16,
    pub(super) lost_epoch: i16,
}

impl Entry {
    pub(super) fn check(&self, epoch: i16, first: i32, last: i32) -> Check {
        if epoch < self.epoch {
            return Check::EpochOld;
        }
        let (Some(oldest), Some(newest)) = (self.newest.first(), self.newest.last()) else {
            return Check::Append;
        };
        if epoch > self.epoch {
            return if first == 0 { Check::Append } else { Check::OutOfOrder };
        }
        if first == sequence_next(newest.batch.sequence_last) {
            return Check::Append;
        }
        let same = |known: &&Remembered| {
            known.batch.sequence_first == first && known.batch.sequence_last == last
        };
        if let Some(known) = self.newest.iter().find(same) {
            return Check::Duplicate { offset: known.batch.offset_first, ticket: known.ticket };
        }
        let before = |sequence| {
            let distance = sequence_distance(sequence, oldest.batch.sequence_first);
            (1..=self.sequences_before).contains(&distance)
        };
        if before(first) && before(last) { Check::DuplicateOld } else { Check::OutOfOrder }
    }

    /// Takes a batch that may be appended: [`Entry::promote`] was called before.
    pub(super) fn push(&mut self, epoch: i16, batch: Remembered) {
        if epoch != self.epoch {
            while !self.newest.is_empty() {
                self.push_out();
            }
            self.epoch = epoch;
            self.sequences_before = 0;
        } else if self.newest.is_full() {
            self.push_out();
        }
        let _ = self.newest.push(batch);
    }

    fn push_out(&mut self) {
        let Remembered { batch, ticket } = self.newest.remove(0);
        let records = sequence_distance(batch.sequence_first, batch.sequence_last) + 1;
        self.sequences_before = (self.sequences_before + records).min(SEQUENCES_BEFORE_MAX);
        if ticket != Ticket(0) && self.lost == Ticket(0) {
            self.lost = ticket;
            self.lost_epoch = self.epoch;
        }
    }

    /// Brings `synced` up to date with what is synced up to this ticket.
    pub(super) fn promote(&mut self, synced: Ticket) {
        (self.synced_epoch, self.synced) = self.synced_at(synced);
        if self.lost <= synced {
            self.lost = Ticket(0);
        }
        for known in self.newest.iter_mut().filter(|known| known.ticket <= synced) {
            known.ticket = Ticket(0);
        }
    }

    /// What `synced` would be then, and the epoch of that.
    pub(super) fn synced_at(&self, synced: Ticket) -> (i16, ProducerBatches) {
        #[cfg(test)]
        crate::visits::visit();
        let is_due = |ticket| ticket != Ticket(0) && ticket <= synced;
        let (mut epoch, mut batches) = if is_due(self.lost) {
            (self.lost_epoch, ProducerBatches::new())
        } else {
            (self.synced_epoch, self.synced.clone())
        };
        for known in self.newest.iter().filter(|known| is_due(known.ticket)) {
            if epoch != self.epoch {
                batches.clear();
                epoch = self.epoch;
            }
            if batches.is_full() {
                batches.remove(0);
            }
            let _ = batches.push(known.batch);
        }
        (epoch, batches)
    }

    /// Forgets all sequences, not the epoch.
    pub(super) fn forget(&mut self) {
        self.newest.clear();
        self.synced.clear();
        self.lost = Ticket(0);
        self.sequences_before = 0;
    }
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            id: -1,
            timestamp_ms: -1,
            newest: heapless::Vec::new(),
            synced: ProducerBatches::new(),
            lost: Ticket(0),
            sequences_before: 0,
            older: NONE,
            newer: NONE,
            slot: PartitionSlot(0),
            epoch: NO_EPOCH,
            synced_epoch: NO_EPOCH,
            lost_epoch: NO_EPOCH,
        }
    }
}

pub(super) const NO_EPOCH: i16 = -1;
/// Beyond it, older sequences cannot be told from newer ones: they wrap around.
const SEQUENCES_BEFORE_MAX: u32 = 1 << 30;

/// An entry, and its share of the index: two to four places.
const _: () = assert!(size_of::<Entry>() + 4 * size_of::<u32>() <= limits::PRODUCER_BYTES);
