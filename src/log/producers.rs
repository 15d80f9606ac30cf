//! Idempotent producers: which sequence comes next from each, in each partition.
//!
//! Kafka's rules, in a table of fixed size. What a producer staged last runs ahead of the sync, so
//! that the next batch can be judged at once; beside it is what is synced, which alone goes
//! into snapshots: after a power cut, the retry of a batch that was lost must not be taken for a
//! duplicate. When the table is full, the producer that wrote longest ago is forgotten, and is
//! later accepted again with any sequence.

mod check;
mod snapshot;
#[cfg(test)]
mod tests;

pub use check::{Check, batch_of, sequence_plus};

use crate::limits;
use crate::log::record::ProducerBatch;
use crate::types::{PartitionSlot, RingIndex, Ticket};
use check::{Entry, Remembered};

/// A producer's newest batches, oldest first.
pub type ProducerBatches = heapless::Vec<ProducerBatch, { limits::PRODUCER_BATCHES_MAX }>;

/// What is known of a producer in a partition, for DescribeProducers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerView {
    /// The producer.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its last record; −1: unknown.
    pub sequence_last: i32,
    /// The newest timestamp of its last batch.
    pub timestamp_ms: i64,
}

/// The table.
pub struct Producers {
    /// As far as places were ever in use.
    entries: Vec<Entry>,
    max: usize,
    /// Open addressing: places in `entries`, or [`NONE`]. A power of two, at most half full.
    index: Vec<u32>,
    /// The entry used longest ago, and the one used last; [`NONE`] when there is none.
    oldest: u32,
    newest: u32,
    /// Entries that are not in use, linked by `newer`.
    free: u32,
    len: usize,
    /// Up to which ticket each ring is synced.
    synced: [Ticket; limits::RINGS_MAX],
}

impl Producers {
    /// An empty table for `max` producer and partition pairs; allocates all that it will ever need.
    pub fn new(max: usize) -> Producers {
        Producers {
            entries: Vec::with_capacity(max),
            max,
            index: vec![NONE; (max * 2).next_power_of_two().max(2)],
            oldest: NONE,
            newest: NONE,
            free: NONE,
            len: 0,
            synced: [Ticket(0); limits::RINGS_MAX],
        }
    }

    /// How many producer and partition pairs are known.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the batch with these sequences is.
    pub fn check(
        &self,
        id: i64,
        epoch: i16,
        slot: PartitionSlot,
        sequence_first: i32,
        sequence_last: i32,
    ) -> Check {
        match self.find(id, slot) {
            Some((_, place)) => self.entries[place].check(epoch, sequence_first, sequence_last),
            None => Check::Append,
        }
    }

    /// Notes a batch that was staged in `ring`, which holds the partition, under `ticket`.
    #[allow(clippy::too_many_arguments)] // All of them are of one batch.
    pub fn staged(
        &mut self,
        id: i64,
        epoch: i16,
        slot: PartitionSlot,
        ring: RingIndex,
        batch: ProducerBatch,
        timestamp_ms: i64,
        ticket: Ticket,
    ) {
        let synced = self.synced_of(ring);
        if let Some(entry) = self.take(id, slot, epoch) {
            entry.promote(synced);
            entry.timestamp_ms = timestamp_ms;
            entry.push(epoch, Remembered { batch, ticket });
        }
    }

    /// Everything staged in `ring` up to `ticket` is synced now.
    pub fn synced(&mut self, ring: RingIndex, ticket: Ticket) {
        if let Some(synced) = self.synced.get_mut(usize::from(ring.0)) {
            *synced = (*synced).max(ticket);
        }
    }

    /// Part of these partitions' log was damaged: from here on any sequence is accepted in them.
    pub fn forget_sequences(&mut self, is_of: &dyn Fn(PartitionSlot) -> bool) {
        let mut place = self.oldest;
        while place != NONE {
            let entry = &mut self.entries[place as usize];
            if is_of(entry.slot) {
                entry.forget();
                entry.synced_epoch = entry.epoch;
            }
            place = entry.newer;
        }
    }

    /// These partitions are gone.
    pub fn forget_partitions(&mut self, is_of: &dyn Fn(PartitionSlot) -> bool) {
        let mut place = self.oldest;
        while place != NONE {
            let entry = &self.entries[place as usize];
            let (newer, ours) = (entry.newer, is_of(entry.slot));
            if ours {
                self.remove(place as usize);
            }
            place = newer;
        }
    }

    /// The producers of a partition, those that wrote longest ago first.
    pub fn of_partition(&self, slot: PartitionSlot) -> impl Iterator<Item = ProducerView> + '_ {
        let mut place = self.oldest;
        let walk = std::iter::from_fn(move || {
            let entry = self.entries.get(place as usize)?;
            place = entry.newer;
            Some(entry)
        });
        walk.filter(move |entry| entry.slot == slot).map(|entry| ProducerView {
            id: entry.id,
            epoch: entry.epoch,
            sequence_last: entry.newest.last().map_or(-1, |last| last.batch.sequence_last),
            timestamp_ms: entry.timestamp_ms,
        })
    }

    fn synced_of(&self, ring: RingIndex) -> Ticket {
        self.synced.get(usize::from(ring.0)).copied().unwrap_or_default()
    }

    /// The entry of a producer, found or made; it is the one used last then. None in a table of
    /// size 0.
    fn take(&mut self, id: i64, slot: PartitionSlot, epoch: i16) -> Option<&mut Entry> {
        let place = match self.find(id, slot) {
            Some((_, place)) => {
                self.unlink(place);
                place
            }
            None => {
                if self.free == NONE && self.entries.len() < self.max {
                    self.free = self.entries.len() as u32;
                    self.entries.push(Entry::default());
                } else if self.free == NONE {
                    if self.oldest == NONE {
                        return None;
                    }
                    self.remove(self.oldest as usize);
                }
                let place = self.free as usize;
                self.free = self.entries[place].newer;
                self.entries[place] = Entry { id, slot, epoch, ..Entry::default() };
                let at = self.probe(id, slot).0;
                self.index[at] = place as u32;
                self.len += 1;
                place
            }
        };
        self.link(place);
        self.entries.get_mut(place)
    }

    /// Where a producer is in the index, and in the entries.
    fn find(&self, id: i64, slot: PartitionSlot) -> Option<(usize, usize)> {
        let (at, place) = self.probe(id, slot);
        (place != NONE).then_some((at, place as usize))
    }

    /// Where a producer is in the index, or would be; and its place or [`NONE`].
    fn probe(&self, id: i64, slot: PartitionSlot) -> (usize, u32) {
        let mask = self.index.len() - 1;
        let mut at = home(id, slot, mask);
        loop {
            let place = self.index[at];
            let found = self.entries.get(place as usize);
            if found.is_none_or(|entry| entry.id == id && entry.slot == slot) {
                return (at, place);
            }
            at = (at + 1) & mask;
        }
    }

    fn remove(&mut self, place: usize) {
        let Entry { id, slot, .. } = self.entries[place];
        let (mut hole, found) = self.find(id, slot).expect("entries in use are in the index");
        assert_eq!(found, place);
        self.unlink(place);
        self.entries[place] = Entry { newer: self.free, ..Entry::default() };
        self.free = place as u32;
        self.len -= 1;
        // Whatever follows without a gap moves up, unless it would come before its home.
        let mask = self.index.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let other = self.index[at];
            let Some(entry) = self.entries.get(other as usize) else {
                break;
            };
            let home = home(entry.id, entry.slot, mask);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = other;
                hole = at;
            }
        }
        self.index[hole] = NONE;
    }

    fn link(&mut self, place: usize) {
        let before = self.newest;
        let entry = &mut self.entries[place];
        (entry.older, entry.newer) = (before, NONE);
        match self.entries.get_mut(before as usize) {
            Some(before) => before.newer = place as u32,
            None => self.oldest = place as u32,
        }
        self.newest = place as u32;
    }

    fn unlink(&mut self, place: usize) {
        let Entry { older, newer, .. } = self.entries[place];
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }
}

/// Where the search for a producer begins. Ids are random already, unless a client makes them up.
fn home(id: i64, slot: PartitionSlot, mask: usize) -> usize {
    let mixed = (id.cast_unsigned() ^ u64::from(slot.0).rotate_left(40))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & mask
}

/// No place.
const NONE: u32 = u32::MAX;
