//! Finding a partition's batches on flash, without ever waiting for it.
//!
//! A [`walk::Walk`] goes from an offset to the runs that hold it and what follows, and
//! [`batch::Batches`] over the batches of one run. Neither reads: each works on a [`Window`] of a
//! segment that was read, and says which bytes it needs next. Nothing is used before its CRC, its
//! ring, its segment and its position were checked.

pub mod batch;
pub mod cursors;
pub mod damage;
pub mod walk;

use crate::log::format::RingId;
use crate::log::index::Index;
use crate::log::state::State;
use crate::log::{Log, SegmentView};
use crate::types::{FileRef, RingIndex, SegmentSeq};

/// What readers need to know of the log.
pub trait Source {
    /// The synced metadata.
    fn state(&self) -> &State;

    /// Where the batches of a ring are.
    fn index(&self, ring: RingIndex) -> &Index;

    /// The ring's id, which all of its groups bear.
    fn ring_id(&self, ring: RingIndex) -> RingId;

    /// The ring's name in the configuration.
    fn ring_name(&self, ring: RingIndex) -> &str;

    /// A segment, if it is live. Asked again after each read: if the segment was evicted meanwhile, what
    /// was read may be of the one that overwrites it.
    fn segment(&self, ring: RingIndex, seq: SegmentSeq) -> Option<SegmentView>;
}

impl Source for Log {
    fn state(&self) -> &State {
        Log::state(self)
    }

    fn index(&self, ring: RingIndex) -> &Index {
        Log::index(self, ring)
    }

    fn ring_id(&self, ring: RingIndex) -> RingId {
        Log::ring_id(self, ring)
    }

    fn ring_name(&self, ring: RingIndex) -> &str {
        &self.ring_config(ring).name
    }

    fn segment(&self, ring: RingIndex, seq: SegmentSeq) -> Option<SegmentView> {
        Log::segment(self, ring, seq)
    }
}

/// Bytes of a segment that are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The file.
    pub file: FileRef,
    /// The segment that it must still hold afterwards.
    pub seq: SegmentSeq,
    /// From here.
    pub at: u64,
    /// At least this many.
    pub bytes_min: usize,
    /// More than this many are not needed.
    pub bytes_max: usize,
}

/// Which bytes of a segment are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The ring.
    pub ring: RingIndex,
    /// The segment.
    pub seq: SegmentSeq,
    /// The first byte's position.
    pub at: u64,
    /// How many.
    pub bytes: usize,
    /// They could not be read.
    pub broken: bool,
}

/// A window with its bytes.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Which bytes; none: no bytes yet.
    pub window: Option<Window>,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What a view has of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got<'a> {
    /// At least as much as was asked for, and all that the window has behind it.
    Bytes(&'a [u8]),
    /// It cannot be read.
    Broken,
    /// It must be read first.
    Missing,
}

impl<'a> View<'a> {
    /// The bytes of a segment from `at` to the window's end, if they are at least `count`.
    pub fn get(&self, ring: RingIndex, seq: SegmentSeq, at: u64, count: usize) -> Got<'a> {
        let Some(window) = &self.window else {
            return Got::Missing;
        };
        let inside = window.ring == ring && window.seq == seq && window.at <= at;
        let skip = at.wrapping_sub(window.at) as usize;
        if !inside || skip >= window.bytes {
            return Got::Missing;
        }
        if window.broken {
            return Got::Broken;
        }
        match self.bytes.get(skip..window.bytes) {
            Some(bytes) if bytes.len() >= count => Got::Bytes(bytes),
            _ => Got::Missing,
        }
    }
}
