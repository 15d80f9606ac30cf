//! Answers stay in proportion: a topic is shown once, however often a request names it.

use crate::limits;
use crate::types::TopicSlot;

/// The topics that were shown.
pub(super) struct Once([u64; limits::TOPICS_MAX.div_ceil(64)]);

impl Default for Once {
    fn default() -> Once {
        Once([0; limits::TOPICS_MAX.div_ceil(64)])
    }
}

impl Once {
    /// Whether this topic was not shown yet; from now on it was.
    pub fn first(&mut self, slot: TopicSlot) -> bool {
        let (word, bit) = (usize::from(slot.0) / 64, slot.0 % 64);
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
    fn each_topic_is_first_once() {
        let mut once = Once::default();
        for slot in [0, 1, 63, 64, limits::TOPICS_MAX as u16 - 1].map(TopicSlot) {
            assert!(once.first(slot));
            assert!(!once.first(slot));
        }
    }
}
