//! The synced metadata: topics, partitions, committed offsets, producers.
//!
//! Everything here is on flash, with two exceptions: a partition's `next` and the newest batches of
//! producers run ahead of the sync. What is staged and not yet synced is found with
//! [`crate::log::Log::staged`]. Tables are allocated once, with the configuration's bounds.

mod apply;
mod cleanup;
mod follow;
pub mod mirror_positions;
pub mod missed;
mod numbers;
mod offsets;
mod partitions;
mod slots;
mod snapshot;
#[cfg(test)]
mod tests;
mod topics;

pub use cleanup::Cleanup;
pub use numbers::RingNumbers;
pub use offsets::{CommitGroup, CommittedOffset, GroupName};
pub use partitions::Partition;
pub use topics::{Topic, TopicConfigs, TopicName};

use crate::config::{self, RingConfig};
use crate::limits;
use crate::log::producers::Producers;
use crate::types::{Boot, PartitionHandle, PartitionSlot, TopicSlot};
use mirror_positions::Mirrors;
use missed::Missed;
use numbers::Stray;
use offsets::{CommitGroups, Offsets};
use partitions::Partitions;
use topics::Topics;

/// The sizes of the tables.
#[derive(Debug, Clone, Copy)]
pub struct StateLimits {
    /// Topics.
    pub topics_max: usize,
    /// Partitions of all topics.
    pub partitions_max: usize,
    /// Consumer groups with committed offsets.
    pub groups_max: usize,
    /// Committed offsets of all groups.
    pub offsets_max: usize,
    /// Bytes of the metadata that goes with them.
    pub offset_metadata_bytes: usize,
    /// Producer and partition pairs.
    pub producers_max: usize,
}

/// A table of the configuration's size is too small for what the ring holds or is asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull {
    /// The configuration key of the table's bound.
    pub key: &'static str,
    /// The bound.
    pub max: usize,
}

/// The metadata.
pub struct State {
    limits: StateLimits,
    /// This opening's number, the leader epoch of everything staged now.
    pub boot: Boot,
    /// The next partition handle to give.
    pub handle_next: PartitionHandle,
    topics: Topics,
    partitions: Partitions,
    numbers: RingNumbers,
    /// Their `hold_for` and `watch_for` decide which topics are kept for whom.
    rings: Vec<RingConfig>,
    /// The cluster's id, where the configuration sets none; zero before the first start.
    pub cluster_id: [u8; 16],
    /// Topics whose creation was lost, and which a start found.
    found: Vec<TopicSlot>,
    /// Topics whose ring is not there.
    strays: Vec<Stray>,
    /// From this handle on a topic's creation may be among what was lost of the metadata ring.
    lost_from: Option<PartitionHandle>,
    /// Partitions that became compacted, for [`State::compacted_take`].
    recompacted: Vec<PartitionSlot>,
    groups: CommitGroups,
    offsets: Offsets,
    /// Idempotent producers.
    pub producers: Producers,
    /// How far mirrors have come.
    pub mirrors: Mirrors,
    /// Records that were overwritten before those that rings are watched for had consumed them.
    pub missed: Missed,
    /// Partitions with a gap that is not staged yet.
    gaps: usize,
    changes: u64,
}

impl State {
    /// An empty state; allocates all that it will ever need.
    pub fn new(limits: StateLimits) -> State {
        State::of(limits, &[], RingNumbers::in_order(limits::DATA_RINGS_MAX))
    }

    /// The same, with room for the positions and losses of those that these rings are held and watched for.
    pub fn of(limits: StateLimits, rings: &[RingConfig], numbers: RingNumbers) -> State {
        State {
            limits,
            boot: Boot(0),
            handle_next: PartitionHandle(1),
            topics: Topics::new(limits.topics_max),
            partitions: Partitions::new(limits.partitions_max),
            numbers,
            rings: rings.to_vec(),
            cluster_id: [0; 16],
            found: Vec::new(),
            strays: Vec::new(),
            lost_from: None,
            recompacted: Vec::with_capacity(limits.partitions_max),
            groups: CommitGroups::new(limits.groups_max),
            offsets: Offsets::new(limits.offsets_max, limits.offset_metadata_bytes),
            producers: Producers::new(limits.producers_max),
            mirrors: Mirrors::new(config::mirrors(rings), limits.partitions_max),
            missed: Missed::new(rings),
            gaps: 0,
            changes: 0,
        }
    }

    /// Grows with each change of committed offsets, log start offsets or topics: what was computed from
    /// these holds while it stays the same.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The tables' sizes.
    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }
}
