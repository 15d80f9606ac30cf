//! Newtypes for what can be mixed up. All are plain values; none owns memory.

use serde::{Deserialize, Serialize};

/// A connection's slot: 0 to `max_connections` − 1. Reused after it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u16);

/// A record's place in its partition, counted from 0; −1 where Kafka says "none".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Offset(pub i64);

impl Offset {
    /// Kafka's "no offset".
    pub const NONE: Offset = Offset(-1);

    /// The offset `records` further on; the last one there is, if it would be beyond: what a disk says may be.
    pub fn plus(self, records: u32) -> Offset {
        Offset(self.0.saturating_add(i64::from(records)))
    }
}

/// A partition's name on flash: given once, in ascending order, never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct PartitionHandle(pub u32);

/// A partition's place in the table in memory; reused after its topic was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionSlot(pub u16);

/// A topic's place in the table in memory; reused after its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicSlot(pub u16);

/// A consumer group's place in the table of committed offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupSlot(pub u16);

/// A topic's id (KIP-516), random, fixed at creation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct TopicId(pub [u8; 16]);

/// A segment's place in the ring's history; grows by one with each new segment of a ring.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SegmentSeq(pub u64);

/// A commit group's place in its ring's history; grows by one with each group. 0: none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupSeq(pub u64);

/// How many times this ring was opened for writing: the leader epoch that clients see.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Boot(pub u32);

impl Boot {
    /// The last that a leader epoch on the wire can say, with room for one more.
    pub const MAX: Boot = Boot(i32::MAX as u32 - 1);
}

/// Which of the rings: those of the configuration in its order, then the metadata ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RingIndex(pub u8);

/// Which of the rings on flash: N of the folder `ring-N`. It stays, wherever the configuration has
/// the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RingNumber(pub u8);

impl RingNumber {
    /// The ring that holds what is of no one partition: topics, groups and what they committed.
    pub const METADATA: RingNumber = RingNumber(crate::limits::RING_NUMBERS_MAX);

    /// Of a ring that has none yet.
    pub const NEW: RingNumber = RingNumber(u8::MAX);
}

/// The name of its folder.
impl std::fmt::Display for RingNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            RingNumber::METADATA => f.write_str("metadata"),
            RingNumber(number) => write!(f, "ring-{number}"),
        }
    }
}

/// Which of a ring's segment files; says nothing about age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileIndex(pub u16);

/// One segment file of one ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileRef {
    /// The ring.
    pub ring: RingIndex,
    /// The file in it.
    pub file: FileIndex,
}

/// Counts what was staged in one ring: everything staged together shares a ticket, and is settled
/// (written, synced or failed) together. Tickets say nothing about group sequences. 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// What an answer waits for: a ticket in each ring (0: nothing there).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Until {
    /// By ring index.
    pub tickets: [Ticket; crate::limits::RINGS_MAX],
    /// True: written is enough (a topic relaxed by `flush.messages` / `flush.ms`). False: synced.
    pub written: bool,
}

impl Until {
    /// Waits for `ticket` of `ring` to be synced.
    pub fn synced(ring: RingIndex, ticket: Ticket) -> Until {
        let mut until = Until::default();
        until.add(ring, ticket);
        until
    }

    /// Waits for the group to be written, and so for its place in memory, whether or not it is synced.
    pub fn written(ring: RingIndex, ticket: Ticket) -> Until {
        Until { written: true, ..Until::synced(ring, ticket) }
    }

    /// Waits for this too.
    pub fn add(&mut self, ring: RingIndex, ticket: Ticket) {
        if let Some(slot) = self.tickets.get_mut(usize::from(ring.0)) {
            *slot = (*slot).max(ticket);
        }
    }

    /// Waits for everything that `other` waits for, too; the stricter of the two levels holds.
    pub fn merge(&mut self, other: &Until) {
        for (mine, theirs) in self.tickets.iter_mut().zip(other.tickets) {
            *mine = (*mine).max(theirs);
        }
        self.written &= other.written;
    }
}

/// A produce request that is held back, for a ring is full of what its holders have not had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack {
    /// The ring.
    pub ring: RingIndex,
    /// How long it may be held back: a little less than its client waits. None: its client waits for
    /// nothing, and it for as long as it takes.
    pub wait_ms: Option<u64>,
}

/// Whether what an answer waits for has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Not yet.
    Pending,
    /// All of it is on flash (or written, where that is enough).
    Done,
    /// A ring could not store it; it is kept and tried again, but the answer is
    /// KAFKA_STORAGE_ERROR (56) now.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_metadata_has_a_name_and_no_number() {
        let folders = [RingNumber(0), RingNumber(12), RingNumber::METADATA].map(|n| n.to_string());
        assert_eq!(folders, ["ring-0", "ring-12", "metadata"]);
    }
}
