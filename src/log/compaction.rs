//! What compaction means for the log: where carried records are found, how much of them there may be.

use super::staging::Staging;
use super::{Log, index};
use crate::types::{FileIndex, RingIndex};

/// What compaction holds in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Carried records, each the newest of its key when it was carried; too many rather than too few.
    pub keys: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// From so many on compacted topics take deletions only.
    pub bytes_max: u64,
    /// Bytes of compacted topics that were not looked at yet.
    pub dirty_bytes: u64,
    /// There are as many stretches of carried records as there may be.
    pub is_full: bool,
}

impl Log {
    /// Carried runs can be found where they are now, and nowhere else.
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

    /// More is carried in a ring than there may be: what no longer lives is to be dropped soon.
    pub fn carried_sweep(&mut self, ring: RingIndex) {
        self.rings[usize::from(ring.0)].sweep_want();
    }

    /// What there is of partitions that are compacted from now on was not looked at.
    pub(super) fn recompacted(&mut self) {
        while let Some(slot) = self.state.compacted_take() {
            let Some(partition) = self.state.partition(slot) else { continue };
            let place = usize::from(partition.ring.0);
            let Some(ring) = self.rings.get(place) else { continue };
            self.indexes[place].dirty_guess(slot, ring.config.segment_bytes);
        }
    }
}
