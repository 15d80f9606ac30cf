//! The keys of one portion of a segment, and which of their records are still the newest.
//!
//! Keys are kept whole and compared byte for byte: a hash only tells where to look, so that two keys
//! with the same hash cost a comparison and never a record.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::types::Offset;

/// The table. All memory is taken when it is made.
pub struct Keys {
    candidates: Vec<Candidate>,
    max: usize,
    /// Open addressing: places in `candidates`, or [`NONE`]. A power of two, at most half full.
    slots: Vec<u16>,
    arena: Vec<u8>,
    hasher: RandomState,
    alive: usize,
}

/// A key, and its newest record in the portion.
struct Candidate {
    offset: Offset,
    hash: u32,
    key_at: u32,
    key_bytes: u16,
    part: u16,
    flags: u8,
}

impl Keys {
    /// A table for `max` keys.
    pub fn new(max: usize) -> Keys {
        assert!(max < usize::from(NONE));
        Keys {
            candidates: Vec::with_capacity(max),
            max,
            slots: vec![NONE; slots_of(max)],
            arena: Vec::with_capacity(arena_bytes(max)),
            hasher: RandomState::new(),
            alive: 0,
        }
    }

    /// The memory that such a table takes.
    pub fn memory_bytes(max: usize) -> usize {
        max * size_of::<Candidate>() + slots_of(max) * size_of::<u16>() + arena_bytes(max)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.candidates.clear();
        self.slots.fill(NONE);
        self.arena.clear();
        self.alive = 0;
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// How many of their records may have to be carried.
    pub fn alive(&self) -> usize {
        self.alive
    }

    /// Takes a record of the portion; of those with one key, the newest. `expired`: it is a tombstone
    /// whose delete horizon has passed. False: there is no room for another key.
    pub fn offer(&mut self, part: u16, key: &[u8], offset: Offset, expired: bool) -> bool {
        let (place, hash, slot) = self.find(part, key);
        if let Some(candidate) = self.candidates.get_mut(place) {
            if offset >= candidate.offset {
                candidate.offset = offset;
                self.alive += usize::from(candidate.flags & ALIVE == 0);
                candidate.flags = ALIVE | if expired { EXPIRED } else { 0 };
            }
            return true;
        }
        let fits = self.arena.len() + key.len() <= arena_bytes(self.max);
        let Ok(key_bytes) = u16::try_from(key.len()) else {
            return false;
        };
        if !fits || self.candidates.len() == self.max {
            return false;
        }
        self.slots[slot] = self.candidates.len() as u16;
        self.candidates.push(Candidate {
            offset,
            hash,
            key_at: self.arena.len() as u32,
            key_bytes,
            part,
            flags: ALIVE | if expired { EXPIRED } else { 0 },
        });
        self.arena.extend_from_slice(key);
        self.alive += 1;
        true
    }

    /// There is a record of this key elsewhere. A newer one makes that of the portion superfluous; an
    /// older one makes it necessary, even if it is an expired tombstone.
    pub fn seen(&mut self, part: u16, key: &[u8], offset: Offset) {
        let (place, ..) = self.find(part, key);
        let Some(candidate) = self.candidates.get_mut(place) else {
            return;
        };
        if offset > candidate.offset {
            self.alive -= usize::from(candidate.flags & ALIVE != 0);
            candidate.flags &= !ALIVE;
        } else if offset < candidate.offset {
            candidate.flags |= OLDER;
        }
    }

    /// There may be records of any key of a partition elsewhere: its tombstones stay.
    pub fn seen_unknown(&mut self, part: u16) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.part == part) {
            candidate.flags |= OLDER;
        }
    }

    /// Whether a record of the portion has to be carried, once all others were seen.
    pub fn lives(&self, part: u16, key: &[u8], offset: Offset) -> bool {
        let (place, ..) = self.find(part, key);
        self.candidates.get(place).is_some_and(|candidate| {
            let goes = candidate.flags & (EXPIRED | OLDER) == EXPIRED;
            candidate.offset == offset && candidate.flags & ALIVE != 0 && !goes
        })
    }

    /// The key's place, its hash, and where in `slots` it is or would be.
    fn find(&self, part: u16, key: &[u8]) -> (usize, u32, usize) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u16(part);
        hasher.write(key);
        let hash = hasher.finish();
        let mask = self.slots.len() - 1;
        let mut slot = (hash >> 32) as usize & mask;
        loop {
            let place = self.slots[slot];
            let found = self.candidates.get(usize::from(place));
            if found.is_none_or(|found| {
                found.hash == hash as u32 && found.part == part && self.key_of(found) == key
            }) {
                return (usize::from(place), hash as u32, slot);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn key_of(&self, candidate: &Candidate) -> &[u8] {
        let from = candidate.key_at as usize;
        &self.arena[from..from + usize::from(candidate.key_bytes)]
    }
}

fn slots_of(max: usize) -> usize {
    (max * 2).next_power_of_two()
}

/// One long key always fits.
fn arena_bytes(max: usize) -> usize {
    (max * KEY_BYTES_USUAL).max(crate::limits::COMPACTED_KEY_BYTES_MAX)
}

/// Longer keys on average: fewer of them fit.
const KEY_BYTES_USUAL: usize = 24;

const NONE: u16 = u16::MAX;
const ALIVE: u8 = 1;
const EXPIRED: u8 = 2;
const OLDER: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_of_a_key_lives_until_a_newer_one_is_seen() {
        let mut keys = Keys::new(4);
        assert!(keys.offer(0, b"a", Offset(1), false));
        assert!(keys.offer(0, b"a", Offset(5), false));
        assert!(keys.offer(1, b"a", Offset(2), false));
        assert_eq!((keys.len(), keys.alive()), (2, 2));
        assert!(!keys.lives(0, b"a", Offset(1)) && keys.lives(0, b"a", Offset(5)));
        keys.seen(0, b"a", Offset(5));
        keys.seen(0, b"a", Offset(4));
        keys.seen(0, b"b", Offset(9));
        assert!(keys.lives(0, b"a", Offset(5)));
        keys.seen(0, b"a", Offset(6));
        keys.seen(0, b"a", Offset(7));
        assert!(!keys.lives(0, b"a", Offset(5)) && keys.lives(1, b"a", Offset(2)));
        assert_eq!(keys.alive(), 1);
        keys.clear();
        assert!(!keys.lives(1, b"a", Offset(2)));
    }

    #[test]
    fn an_expired_tombstone_goes_once_nothing_older_is_left() {
        let mut keys = Keys::new(4);
        assert!(keys.offer(0, b"a", Offset(5), true));
        assert!(keys.offer(0, b"b", Offset(6), true));
        assert!(keys.offer(0, b"c", Offset(7), false));
        keys.seen(0, b"a", Offset(1));
        let lives = |key, offset| keys.lives(0, key, Offset(offset));
        assert!(lives(b"a", 5) && !lives(b"b", 6) && lives(b"c", 7));
    }

    #[test]
    fn room_is_bounded_in_keys_and_in_their_bytes() {
        let mut keys = Keys::new(2);
        assert!(keys.offer(0, b"a", Offset(1), false) && keys.offer(0, b"b", Offset(2), false));
        assert!(!keys.offer(0, b"c", Offset(3), false));
        assert!(keys.offer(0, b"b", Offset(4), false));
        keys.clear();
        let long = vec![7; crate::limits::COMPACTED_KEY_BYTES_MAX];
        assert!(keys.offer(0, &long, Offset(1), false));
        assert!(!keys.offer(0, b"c", Offset(3), false));
        assert!(keys.lives(0, &long, Offset(1)));
    }

    #[test]
    fn keys_are_told_apart_however_full_the_table_is() {
        let mut keys = Keys::new(1000);
        let key = |i: i64| i.to_be_bytes();
        for i in 0..1000 {
            assert!(keys.offer((i % 3) as u16, &key(i / 3), Offset(i), false));
        }
        for i in 0..1000 {
            assert!(keys.lives((i % 3) as u16, &key(i / 3), Offset(i)), "{i}");
        }
    }
}
