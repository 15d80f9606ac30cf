//! Which ring on flash is which of the configuration, and topics of those that are no longer wanted.

use super::{PartitionHandle, State, TopicName};
use crate::limits::{RING_NUMBERS_MAX, RINGS_MAX};
use crate::types::{RingIndex, RingNumber, TopicId};

/// The rings on flash by number: what a topic's creation says of its ring.
#[derive(Debug, Clone, Default)]
pub struct RingNumbers {
    /// Of each ring of the configuration, in its order, and of the metadata ring.
    pub live: heapless::Vec<RingNumber, RINGS_MAX>,
    /// Of those whose topics are dropped.
    pub retiring: heapless::Vec<RingNumber, { RING_NUMBERS_MAX as usize }>,
}

impl RingNumbers {
    /// As many rings of records, with numbers in their order, and the metadata ring.
    pub fn in_order(rings: usize) -> RingNumbers {
        let records = (0..rings as u8).map(RingNumber);
        let live = records.chain([RingNumber::METADATA]).collect();
        RingNumbers { live, ..RingNumbers::default() }
    }

    /// A ring's number.
    pub fn of(&self, ring: RingIndex) -> RingNumber {
        self.live[usize::from(ring.0)]
    }

    /// The metadata ring: the last.
    pub fn shared(&self) -> RingIndex {
        RingIndex(self.live.len().saturating_sub(1) as u8)
    }

    /// The ring with this number.
    pub fn ring(&self, number: RingNumber) -> Option<RingIndex> {
        let place = self.live.iter().position(|live| *live == number)?;
        Some(RingIndex(place as u8))
    }
}

/// A stretch of a topic's partitions whose ring is not there.
#[derive(Debug, Clone)]
pub(super) struct Stray {
    id: TopicId,
    name: TopicName,
    ring: RingNumber,
    first: PartitionHandle,
    count: u32,
}

impl State {
    /// The rings' numbers.
    pub fn numbers(&self) -> &RingNumbers {
        &self.numbers
    }

    /// The ring of a topic that is created; none: it is not there, and the topic is noted as a stray.
    pub(super) fn ring_numbered(
        &mut self,
        (id, name): (TopicId, &str),
        ring: RingNumber,
        first: PartitionHandle,
        count: u32,
    ) -> Option<RingIndex> {
        let found = self.numbers.ring(ring);
        if found.is_none() {
            let name = super::topics::string_from(name);
            self.strays.push(Stray { id, name, ring, first, count });
            self.handles_pass(first, count);
        }
        found
    }

    /// Partitions are added to a topic that is not in the table: if it is a stray, they are noted as well.
    pub(super) fn stray_grows(&mut self, id: TopicId, first: PartitionHandle, count: u32) {
        if let Some(stray) = self.strays.iter().find(|stray| stray.id == id).cloned() {
            self.strays.push(Stray { first, count, ..stray });
            self.handles_pass(first, count);
        }
    }

    /// A stray topic is deleted on flash, and with it the offsets that were committed of it.
    pub(super) fn strays_delete(&mut self, id: TopicId) {
        let (deleted, others) =
            std::mem::take(&mut self.strays).into_iter().partition(|s| s.id == id);
        self.strays = others;
        self.strays_forget(&deleted);
    }

    fn strays_forget(&mut self, strays: &Vec<Stray>) {
        for stray in strays {
            let handles = stray.first.0..stray.first.0.saturating_add(stray.count);
            self.offsets.forget(&|offset| handles.contains(&offset.handle.0));
        }
    }

    /// Whether topics are in the ring of this number, which is not there.
    pub(in crate::log) fn has_strays_in(&self, number: RingNumber) -> bool {
        self.strays.iter().any(|stray| stray.ring == number)
    }

    /// Sets the numbers, once new rings have theirs.
    pub(in crate::log) fn numbers_set(&mut self, numbers: &RingNumbers) {
        self.numbers = numbers.clone();
    }

    fn handles_pass(&mut self, first: PartitionHandle, count: u32) {
        let next = PartitionHandle(first.0.saturating_add(count));
        self.handle_next = self.handle_next.max(next);
    }

    /// A topic whose ring is neither there nor dropped, with that ring.
    pub(in crate::log) fn stray_unexpected(&self) -> Option<(&str, RingNumber)> {
        let unexpected = |stray: &&Stray| !self.numbers.retiring.contains(&stray.ring);
        self.strays.iter().find(unexpected).map(|stray| (stray.name.as_str(), stray.ring))
    }

    /// The topics of dropped rings, which are to be deleted on flash; what was committed of them is
    /// forgotten.
    pub(in crate::log) fn strays_take(&mut self) -> Vec<TopicId> {
        let strays = std::mem::take(&mut self.strays);
        self.strays_forget(&strays);
        let mut ids: Vec<TopicId> = strays.iter().map(|stray| stray.id).collect();
        ids.dedup();
        ids
    }
}
