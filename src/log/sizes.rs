//! How many bytes partitions take: for people, so an estimate will do. What is written is counted, and what a
//! start replays, which is the newest segment; the older ones' records are taken to be as long. A partition
//! that has none there is taken to have records as long as those of the whole ring.

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
    /// The bytes of a partition's records that can be read; of a compacted one those that stand where they
    /// were first written.
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
