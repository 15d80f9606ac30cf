//! Producers in snapshots, and how a start restores them from there and from the batches behind.

use super::check::{NO_EPOCH, Remembered, batch_of, sequence_next};
use super::{ProducerBatches, Producers};
use crate::codec::batch::BatchHeader;
use crate::log::record::MetaRecord;
use crate::types::{Offset, PartitionHandle, PartitionSlot, Ticket};

impl Producers {
    /// Writes everything that is synced of the partitions that have a handle here, those used longest ago
    /// first: never a batch whose ticket is above `synced`. False when `put` said that there is no room.
    pub fn snapshot(
        &self,
        synced: Ticket,
        handle_of: &dyn Fn(PartitionSlot) -> Option<PartitionHandle>,
        put: &mut dyn FnMut(&MetaRecord<'_>) -> bool,
    ) -> bool {
        let mut next = self.oldest;
        while let Some(entry) = self.entries.get(next as usize) {
            next = entry.newer;
            let Some(handle) = handle_of(entry.slot) else { continue };
            let (epoch, batches) = entry.synced_at(synced);
            let (id, timestamp_ms) = (entry.id, entry.timestamp_ms);
            let record = MetaRecord::Producer { id, epoch, handle, timestamp_ms, batches };
            if epoch != NO_EPOCH && !put(&record) {
                return false;
            }
        }
        true
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
