//! The jobs of a ring, what comes of them, and what is counted.

use super::Segment;
use crate::metrics::Rate;
use crate::types::FileIndex;

/// What is counted of a ring since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// Bytes of record batches that are on flash.
    pub payload_bytes: u64,
    /// Bytes written to the files.
    pub written_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Commit groups with contents.
    pub groups: u64,
    /// Seals.
    pub seals: u64,
    /// Segments begun.
    pub segments: u64,
    /// Segments overwritten.
    pub evicted: u64,
    /// Segments that were evicted before their turn, as they had no held records.
    pub freed: u64,
    /// Records overwritten with both, as far as offsets tell, without those of compacted topics.
    pub records_overwritten: u64,
    /// Segments given up after a failure.
    pub given_up: u64,
    /// Jobs that failed.
    pub failures: u64,
    /// Records of compacted topics that were written once more.
    pub carried_records: u64,
    /// Bytes of their batches.
    pub carried_bytes: u64,
    /// Batches of compacted topics that could not be read when they were to be carried.
    pub carry_damaged: u64,
    /// Segments overwritten with live records that there was no room to carry.
    pub carry_lost: u64,
    /// How fast the files are written.
    pub rate: Rate,
}

/// The job that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    Group { bytes: u64, crc: u32 },
    Sync,
    Seal { bytes: u64, crc: u32 },
    Evict { bytes: u64, crc: u32 },
    Errand,
    Carried { bytes: u64, crc: u32 },
    Foot,
    Head { segment: Segment },
}

/// What a finished job means for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing that matters outside.
    Quiet,
    /// The closed group is on flash (`synced`), or only written. It is at this place.
    Group {
        /// The segment's file.
        file: FileIndex,
        /// The position.
        at: u64,
        /// Whether it is synced; so is then everything written before.
        synced: bool,
        /// Whether there was something written before and not synced.
        earlier: bool,
    },
    /// Everything written is on flash now.
    Synced {
        /// Whether there was something written before and not synced.
        earlier: bool,
    },
    /// What was written and not synced may not be on flash, and counts as not written. It is of topics
    /// with `flush.messages` or `flush.ms`.
    UnsyncedLost,
    /// A new segment's head is on flash: log starts may move.
    Head,
    /// A group of carried records is on flash, at this place; everything is that was written before.
    Carried {
        /// The segment's file.
        file: FileIndex,
        /// The position.
        at: u64,
        /// Whether there was something written before and not synced.
        earlier: bool,
    },
    /// The oldest segment is noted as evicted, in the middle of another one.
    Cleared {
        /// Whether there was something written before and not synced.
        earlier: bool,
    },
}
