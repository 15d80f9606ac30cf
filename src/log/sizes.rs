//! Estimates of how many bytes partitions take. What is written is counted, and what a start replays, which
//! is the newest segment; older records are assumed to be as long on average. Where none of a partition
//! were counted, the average of the whole ring is taken.

use super::Log;
use crate::types::{PartitionSlot, RingIndex};

/// Those of a ring.
pub struct Sizes<'a> {
    log: &'a Log,
    /// The bytes that were counted in the whole ring, and of how many offsets.
    counted: (u64, u64),
}

impl Log {
    /// The sizes of the partitions in a ring.
    pub fn sizes(&self, ring: RingIndex) -> Sizes<'_> {
        let partitions = self.state.partitions().filter(|(_, partition)| partition.ring == ring);
        let counted = partitions.fold((0, 0), |sum: (u64, u64), (_, partition)| {
            let (bytes, offsets) = partition.counted();
            (sum.0 + bytes, sum.1 + offsets)
        });
        Sizes { log: self, counted }
    }
}

impl Sizes<'_> {
    /// The bytes of a partition's readable records; carried ones of a compacted partition are left out.
    pub fn of(&self, slot: PartitionSlot) -> u64 {
        let Some(partition) = self.log.state.partition(slot) else {
            return 0;
        };
        let from = match partition.compacted {
            true => self.log.index(partition.ring).first_original(slot),
            false => Some(partition.log_start),
        };
        from.map_or(0, |from| partition.bytes_from(from, self.counted))
    }
}
