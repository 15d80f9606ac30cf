//! What snapshots hold of producers, and what a start makes of that and of the batches behind it.

use super::check::{NO_EPOCH, Remembered, batch_of, sequence_next};
use super::{NONE, ProducerBatches, Producers};
use crate::codec::batch::BatchHeader;
use crate::types::{Offset, PartitionSlot, Ticket};

impl Producers {
    /// Everything that is synced, for a snapshot, those used longest ago first: never a batch whose
    /// ticket is above `synced`. Producers of other rings are given too, and are not to be used.
    pub fn snapshot(
        &self,
        synced: Ticket,
        put: &mut dyn FnMut(PartitionSlot, i64, i16, i64, &ProducerBatches),
    ) {
        let mut place = self.oldest;
        while place != NONE {
            let mut entry = self.entries[place as usize].clone();
            entry.promote(synced);
            if entry.synced_epoch != NO_EPOCH {
                let (epoch, batches) = (entry.synced_epoch, &entry.synced);
                put(entry.slot, entry.id, epoch, entry.timestamp_ms, batches);
            }
            place = entry.newer;
        }
    }

    /// Takes one entry of a snapshot.
    pub fn restore(
        &mut self,
        id: i64,
        epoch: i16,
        slot: PartitionSlot,
        timestamp_ms: i64,
        batches: &ProducerBatches,
    ) {
        if let Some(entry) = self.take(id, slot, epoch) {
            entry.forget();
            entry.epoch = epoch;
            entry.timestamp_ms = timestamp_ms;
            entry.synced = batches.clone();
            entry.synced_epoch = epoch;
            for batch in batches {
                let ticket = Ticket(0);
                let _ = entry.newest.push(Remembered { batch: *batch, ticket });
            }
        }
    }

    /// Takes a batch that recovery found on flash, in the order of offsets. Nothing is refused: a
    /// batch that does not follow the one before shows that something between was lost.
    pub fn replay(&mut self, slot: PartitionSlot, header: &BatchHeader) {
        let Some(batch) = batch_of(header, Offset(header.base_offset)) else {
            return;
        };
        let epoch = header.producer_epoch;
        let Some(entry) = self.take(header.producer_id, slot, epoch) else {
            return;
        };
        if entry.newest.iter().any(|known| known.batch == batch) && entry.epoch == epoch {
            return;
        }
        let follows = entry
            .newest
            .last()
            .is_none_or(|last| batch.sequence_first == sequence_next(last.batch.sequence_last));
        if !follows || entry.epoch != epoch {
            entry.forget();
        }
        entry.epoch = epoch;
        entry.timestamp_ms = header.max_timestamp;
        entry.push(epoch, Remembered { batch, ticket: REPLAYED });
        entry.promote(REPLAYED);
    }
}

/// What was replayed is synced; any ticket but 0 does.
const REPLAYED: Ticket = Ticket(1);
