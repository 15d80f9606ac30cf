//! What a ring is made from: its shape, and what a start found of it.

use super::Segment;
use crate::config::RingConfig;
use crate::log::format::RingId;
use crate::log::staging::Capacity;
use crate::types::{Boot, FileIndex, GroupSeq, RingIndex, SegmentSeq};

/// What a ring is made of, and how large: fixed when it is opened.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Which ring it is.
    pub index: RingIndex,
    /// Its configuration.
    pub config: RingConfig,
    /// What its two commit groups take, the larger one first.
    pub groups: [Capacity; 2],
    /// Groups start at multiples of this.
    pub alignment: u32,
    /// A seal is written after this long without writes.
    pub seal_after_ms: u64,
    /// Bytes of the buffer in which anchors are made.
    pub anchor_bytes_max: usize,
}

/// A ring as a start found it.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its name in anchors and groups; zero: it is a new one.
    pub id: RingId,
    /// The highest boot that anything in it bears.
    pub boot: Boot,
    /// The newest timestamp in a group or anchor.
    pub stamp_newest_ms: Option<i64>,
    /// Live segments, oldest first.
    pub live: Vec<Segment>,
    /// Files that may be written to.
    pub free: Vec<FileIndex>,
    /// A sequence above all that were seen.
    pub segment_next: SegmentSeq,
    /// A sequence above all that were seen.
    pub group_next: GroupSeq,
    /// All groups up to this one are on flash.
    pub group_synced: GroupSeq,
    /// The CRC of the last group's header.
    pub prev_crc: u32,
    /// What becomes of the newest segment.
    pub newest: Newest,
}

/// What becomes of the newest segment that a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newest {
    /// It is appended to.
    #[default]
    Open,
    /// It has its foot.
    Closed,
    /// Something behind its end cannot be read, so nothing is written there.
    GivenUp,
}
