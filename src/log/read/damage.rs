//! The damage that readers found: a bounded list of ranges that later readers skip.

use crate::clock::Mono;
use crate::types::{RingIndex, SegmentSeq};

/// The list.
pub struct Damage {
    ranges: heapless::Vec<Range, RANGES_MAX>,
    /// Where the next range goes when the list is full.
    turn: usize,
    said_at: Option<Mono>,
    unsaid: u64,
    /// Ranges found since the start.
    pub found: u64,
}

/// A part of a segment that cannot be read, or whose CRC does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The ring.
    pub ring: RingIndex,
    /// The segment.
    pub seq: SegmentSeq,
    /// Its first byte.
    pub from: u64,
    /// The byte behind its last.
    pub to: u64,
    /// The disk could not read it, and may at another time.
    pub unreadable: bool,
}

impl Damage {
    /// An empty list.
    pub fn new() -> Damage {
        Damage { ranges: heapless::Vec::new(), turn: 0, said_at: None, unsaid: 0, found: 0 }
    }

    /// Notes a range; true: it was not known. When the list is full the oldest is forgotten, and
    /// will be found again.
    pub fn note(&mut self, range: Range) -> bool {
        let known = |other: &Range| {
            other.ring == range.ring
                && other.seq == range.seq
                && other.from <= range.from
                && range.to <= other.to
        };
        if self.ranges.iter().any(known) {
            return false;
        }
        self.found += 1;
        if self.ranges.push(range).is_err() {
            let turn = self.turn % RANGES_MAX;
            self.ranges[turn] = range;
            self.turn = turn + 1;
        }
        true
    }

    /// What is known to be broken of these bytes.
    pub fn of(&self, ring: RingIndex, seq: SegmentSeq, from: u64, to: u64) -> Option<&Range> {
        self.ranges.iter().find(|range| {
            range.ring == ring && range.seq == seq && range.from < to && from < range.to
        })
    }

    /// Whether to log a range now, and how many were not logged before: at most one line a second.
    pub fn say(&mut self, now: Mono) -> Option<u64> {
        let recently = self.said_at.is_some_and(|at| now.since_us(at) < SAY_US);
        if recently {
            self.unsaid += 1;
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Default for Damage {
    fn default() -> Damage {
        Damage::new()
    }
}

/// Ranges that are remembered, at 40 bytes each. Beyond them a reader meets a forgotten one again, and
/// its connection may be closed once more.
const RANGES_MAX: usize = 64;

const SAY_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> Range {
        Range { ring: RingIndex(0), seq: SegmentSeq(1), from, to, unreadable: false }
    }

    #[test]
    fn a_known_range_is_not_new_and_the_list_is_bounded() {
        let mut damage = Damage::new();
        assert!(damage.note(range(10, 20)));
        assert!(!damage.note(range(12, 20)));
        assert_eq!(damage.of(RingIndex(0), SegmentSeq(1), 19, 30), Some(&range(10, 20)));
        assert_eq!(damage.of(RingIndex(0), SegmentSeq(1), 20, 30), None);
        assert_eq!(damage.of(RingIndex(0), SegmentSeq(2), 10, 20), None);
        for i in 0..RANGES_MAX as u64 {
            assert!(damage.note(range(1000 + i * 10, 1005 + i * 10)));
        }
        assert_eq!(damage.of(RingIndex(0), SegmentSeq(1), 10, 20), None);
        assert_eq!(damage.found, 65);
    }

    #[test]
    fn one_line_a_second_counts_those_that_were_not_said() {
        let mut damage = Damage::new();
        assert_eq!(damage.say(Mono(5)), Some(0));
        assert_eq!(damage.say(Mono(6)), None);
        assert_eq!(damage.say(Mono(7)), None);
        assert_eq!(damage.say(Mono(1_000_005)), Some(2));
    }
}
