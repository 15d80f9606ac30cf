//! Deleted topics that fetches under way may still have to name: nothing else remembers the names of their
//! partitions.

use super::answer::TopicRef;
use crate::limits;
use crate::log::state::{State, Topic, TopicName};
use crate::types::{PartitionHandle, PartitionSlot, RingIndex, TopicId};

/// The last topics whose deletion was asked for.
#[derive(Default)]
pub(super) struct Gone {
    topics: heapless::Deque<Leaving, { limits::TOPICS_LEAVING_MAX }>,
    /// How many of them still exist.
    leaving: usize,
}

struct Leaving {
    name: TopicName,
    id: TopicId,
    ring: RingIndex,
    slot: PartitionSlot,
    stretches: heapless::Vec<Stretch, { limits::TOPIC_STRETCHES_MAX }>,
    there: bool,
}

/// Partitions whose handles and numbers follow each other.
struct Stretch {
    first: PartitionHandle,
    index: u32,
    count: u32,
}

/// A partition of a deleted topic.
pub(super) struct Was<'a> {
    pub(super) topic: TopicRef<'a>,
    pub(super) index: u32,
    pub(super) ring: RingIndex,
}

impl Gone {
    /// A topic is about to be deleted.
    pub(super) fn leaves(
        &mut self,
        topic: &Topic,
        partitions: impl Iterator<Item = (PartitionSlot, PartitionHandle, u32)>,
    ) {
        let mut topic = Leaving {
            name: topic.name.clone(),
            id: topic.id,
            ring: topic.ring,
            slot: PartitionSlot::default(),
            stretches: heapless::Vec::new(),
            there: true,
        };
        for (slot, handle, index) in partitions {
            if topic.stretches.is_empty() {
                topic.slot = slot;
            }
            let last = topic.stretches.last_mut();
            if !last.is_some_and(|last| last.grows(handle, index)) {
                // What does not fit is not remembered: a fetch of it closes its connection.
                let _ = topic.stretches.push(Stretch { first: handle, index, count: 1 });
            }
        }
        if self.topics.is_full() {
            let oldest = self.topics.pop_front();
            self.leaving -= usize::from(oldest.is_some_and(|oldest| oldest.there));
        }
        self.leaving += 1;
        let _ = self.topics.push_back(topic);
    }

    /// Whether any topic has gone since this was last asked.
    pub(super) fn any_left(&mut self, state: &State) -> bool {
        if self.leaving == 0 {
            return false;
        }
        let mut any = false;
        for topic in self.topics.iter_mut().filter(|topic| topic.there) {
            let first = topic.stretches.first().map(|stretch| stretch.first);
            let now = state.partition(topic.slot).map(|partition| partition.handle);
            topic.there = first.is_some() && now == first;
            any |= !topic.there;
            self.leaving -= usize::from(!topic.there);
        }
        any
    }

    /// This partition's topic and number, if the topic's deletion was asked for lately.
    pub(super) fn find(&self, handle: PartitionHandle) -> Option<Was<'_>> {
        self.topics.iter().find_map(|topic| {
            let index = topic.stretches.iter().find_map(|stretch| stretch.at(handle))?;
            let was = TopicRef { name: &topic.name, id: topic.id };
            Some(Was { topic: was, index, ring: topic.ring })
        })
    }
}

impl Stretch {
    fn at(&self, handle: PartitionHandle) -> Option<u32> {
        let offset = handle.0.checked_sub(self.first.0)?;
        (offset < self.count).then(|| self.index + offset)
    }

    /// Adds a partition, if it is the next.
    fn grows(&mut self, handle: PartitionHandle, index: u32) -> bool {
        let next = handle.0 == self.first.0 + self.count && index == self.index + self.count;
        self.count += u32::from(next);
        next
    }
}
