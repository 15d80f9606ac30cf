//! Answers stay in proportion: a topic or partition is shown once, however often a request names it.

use crate::limits;

/// The topics that were shown.
pub(super) type OnceTopic = Once<{ limits::TOPICS_MAX.div_ceil(64) }>;

/// The partitions that were shown.
pub(super) type OncePartition = Once<{ limits::PARTITIONS_MAX.div_ceil(64) }>;

/// The slots that were shown, 64 for each of so many words.
pub(super) struct Once<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Default for Once<WORDS> {
    fn default() -> Once<WORDS> {
        Once([0; WORDS])
    }
}

impl<const WORDS: usize> Once<WORDS> {
    /// Whether what has this slot was shown.
    pub fn has(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot) / 64).is_some_and(|word| word & 1 << (slot % 64) != 0)
    }

    /// Whether what has this slot was not shown yet; from now on it was.
    pub fn first(&mut self, slot: u16) -> bool {
        let (word, bit) = (usize::from(slot) / 64, slot % 64);
        let word = self.0.get_mut(word).expect("slots are below the bound");
        let first = *word & 1 << bit == 0;
        *word |= 1 << bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_is_first_once() {
        let mut once = Once::<2>::default();
        for slot in [0, 1, 63, 64, 127] {
            assert!(!once.has(slot) && once.first(slot) && once.has(slot));
            assert!(!once.first(slot));
        }
    }
}
