//! What compaction means for the log: where carried records are found, how much of them there may be.

use super::staging::Staging;
use super::{Log, index};
use crate::types::{FileIndex, RingIndex};

/// What compaction holds in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Carried records, at most; each was the newest of its key when it was carried.
    pub keys: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// From this many bytes on compacted topics accept tombstones only.
    pub bytes_max: u64,
    /// Bytes of compacted topics that no pass has read yet.
    pub dirty_bytes: u64,
    /// There may be no more stretches of carried records.
    pub is_full: bool,
}

impl Log {
    /// Carried runs are found in their new group only.
    pub(super) fn group_carried(
        &mut self,
        place: usize,
        staging: &Staging,
        file: FileIndex,
        at: u64,
    ) {
        let (state, stats) = (&self.state, &mut self.rings[place].stats);
        let runs = staging.runs().filter_map(|entry| {
            stats.carried_records += u64::from(entry.run.kept);
            stats.carried_bytes += u64::from(entry.run.bytes);
            let partition = state.partition(entry.slot)?;
            (partition.handle == entry.run.handle).then_some(index::Run {
                slot: entry.slot,
                handle: entry.run.handle,
                base_offset: entry.run.offset,
                records: entry.run.records,
                bytes: entry.run.bytes,
                newest_ms: entry.run.timestamp_max_ms,
                kept: entry.run.kept,
            })
        });
        self.indexes[place].group_carried(file, at, runs);
    }

    /// What compaction holds in a ring.
    pub fn carried(&self, ring: RingIndex) -> Carried {
        let carried = self.index(ring).carried();
        Carried {
            keys: carried.keys(),
            bytes: carried.bytes(),
            bytes_max: self.ring(ring).carried_bytes_max(),
            dirty_bytes: self.index(ring).dirty_bytes_all(),
            is_full: carried.is_full(),
        }
    }

    /// Too much is carried in a ring: has all of it compacted anew.
    pub fn carried_sweep(&mut self, ring: RingIndex) {
        self.rings[usize::from(ring.0)].sweep_want();
    }

    /// Counts the records of partitions that became compacted as not read by any pass.
    pub(super) fn recompacted(&mut self) {
        while let Some(slot) = self.state.compacted_take() {
            let Some(partition) = self.state.partition(slot) else { continue };
            let place = usize::from(partition.ring.0);
            let Some(ring) = self.rings.get(place) else { continue };
            self.indexes[place].dirty_guess(slot, ring.config.segment_bytes);
        }
    }
}
