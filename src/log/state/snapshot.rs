//! What a snapshot holds, and how large it can get.

use super::{Partition, State, StateLimits, TableFull, Topic};
use crate::limits;
use crate::log::record::{self, MetaRecord};
use crate::types::{Offset, PartitionHandle, RingIndex, Ticket, TopicSlot};

impl State {
    /// The most bytes that a snapshot for `ring` takes now.
    pub fn snapshot_bytes_bound(&self, ring: RingIndex) -> usize {
        if ring == self.numbers.shared() {
            let mirrored = self.mirrors.snapshot_bytes_bound(self.partitions_len());
            return BOOT_BYTES_MAX + self.shared_bytes() + mirrored;
        }
        let tables = self.partitions_len() * PARTITION_BYTES_MAX
            + self.limits.producers_max * PRODUCER_BYTES_MAX;
        BOOT_BYTES_MAX + tables + self.missed.snapshot_bytes_bound(ring)
    }

    /// The most bytes of the records that the metadata ring's snapshot holds. The tables keep the sums
    /// of their strings: nothing is walked over.
    fn shared_bytes(&self) -> usize {
        let topics = self.topics.len() * TOPIC_BYTES_MAX + self.topics.text_bytes();
        // The first commit of a group has its name, those behind it have not.
        let groups = self.groups.len() * GROUP_BYTES_MAX + self.groups.text_bytes();
        let offsets = self.offsets_len() * OFFSET_BYTES_MAX + self.offsets.text_bytes();
        // A topic whose partitions came in several steps has a record for each: one per partition
        // at the most.
        let steps = self.partitions_len() * PARTITIONS_ADD_BYTES_MAX;
        topics + groups + offsets + steps
    }

    /// Writes the state as the records that lead to it: the shared metadata for the metadata ring, else the
    /// partitions and producers of `ring`. False when `put` said that there is no room.
    pub fn snapshot(
        &self,
        ring: RingIndex,
        synced: Ticket,
        put: &mut dyn FnMut(&MetaRecord<'_>) -> bool,
    ) -> bool {
        let mut ok = put(&MetaRecord::Boot { boot: self.boot });
        if ring == self.numbers.shared() {
            return ok && self.snapshot_shared(put);
        }
        for (_, partition) in self.partitions().filter(|(_, p)| p.ring == ring) {
            let (bounds, behind) = partition_records(partition);
            ok = ok && put(&bounds) && behind.is_none_or(|behind| put(&behind));
        }
        let handle_of = |slot| {
            let partition = self.partition(slot).filter(|partition| partition.ring == ring);
            partition.map(|partition| partition.handle)
        };
        ok = ok && self.producers.snapshot(synced, &handle_of, put);
        ok && self.missed.snapshot(ring, put)
    }

    /// Restores the records of a snapshot. Where a partition has two, its records end at the first one's
    /// `next`, and there is a hole up to the second one's.
    pub(in crate::log) fn restore<'a>(
        &mut self,
        ring: RingIndex,
        records: impl Iterator<Item = MetaRecord<'a>>,
    ) -> Result<(), TableFull> {
        let mut last = None;
        for record in records {
            self.apply(ring, &record, &mut |_| {})?;
            if let MetaRecord::Partition { handle, .. } = record
                && last.replace(handle) != Some(handle)
                && let Some(partition) = self.with_handle(handle)
            {
                partition.hole_from(partition.high_watermark);
            }
        }
        Ok(())
    }

    fn snapshot_shared(&self, put: &mut dyn FnMut(&MetaRecord<'_>) -> bool) -> bool {
        let mut ok = put(&MetaRecord::ClusterId { id: self.cluster_id });
        ok = ok && put(&MetaRecord::HandleNext { handle: self.handle_next });
        for (slot, topic) in self.topics() {
            ok = ok && self.snapshot_topic(slot, topic, put);
        }
        for entry in self.offsets.entries() {
            ok = ok && put(&self.commit_record(entry, entry.timestamp_ms));
        }
        for (slot, partition) in self.partitions() {
            let handle = partition.handle;
            for (mirror, offset) in self.mirrors.positions(slot) {
                ok = ok && put(&MetaRecord::Mirrored { mirror, handle, offset });
            }
        }
        ok
    }

    /// A topic's partitions may have several ranges of handles: one record for each.
    fn snapshot_topic(
        &self,
        slot: TopicSlot,
        topic: &Topic,
        put: &mut dyn FnMut(&MetaRecord<'_>) -> bool,
    ) -> bool {
        let mut handles = self.partitions_of(slot).map(|(_, partition)| partition.handle);
        let mut first = true;
        let mut next = handles.next();
        while let Some(handle_first) = next {
            let mut partitions = 1;
            next = handles.next();
            while next == Some(PartitionHandle(handle_first.0 + partitions)) {
                partitions += 1;
                next = handles.next();
            }
            let done = if first {
                put(&MetaRecord::TopicCreate {
                    id: topic.id,
                    name: &topic.name,
                    ring: self.numbers.of(topic.ring).0,
                    handle_first,
                    partitions,
                    configs: &topic.configs,
                })
            } else {
                put(&MetaRecord::PartitionsAdd { id: topic.id, handle_first, partitions })
            };
            first = false;
            if !done {
                return false;
            }
        }
        true
    }
}

/// A partition's records in a snapshot: its bounds; where there is a hole at its end, its bounds up to the
/// hole and a second record with the hole's end. Both take no more room than the longest single one: where
/// they would, the hole is not remembered.
fn partition_records(partition: &Partition) -> (MetaRecord<'static>, Option<MetaRecord<'static>>) {
    let bounds = |next| MetaRecord::Partition {
        handle: partition.handle,
        log_start: partition.log_start,
        next,
        epochs: partition.epochs.clone(),
    };
    let (handle, next) = (partition.handle, partition.high_watermark);
    if partition.hole() > 0 && partition.log_start < next {
        let (log_start, epochs) = (Offset(0), heapless::Vec::new());
        let hole = MetaRecord::Partition { handle, log_start, next, epochs };
        let bounds = bounds(partition.records_end());
        if record::bytes_of(&bounds) + record::bytes_of(&hole) <= PARTITION_BYTES_MAX {
            return (bounds, Some(hole));
        }
    }
    (bounds(next), None)
}

impl StateLimits {
    /// The most that a snapshot of a ring of records takes, whatever is in the tables. So what they have
    /// room for always fits.
    pub fn snapshot_bytes_max(&self) -> usize {
        let bytes = BOOT_BYTES_MAX
            + self.partitions_max * PARTITION_BYTES_MAX
            + self.producers_max * PRODUCER_BYTES_MAX;
        bytes.next_multiple_of(limits::PAGE_BYTES)
    }

    /// The same of the metadata ring, without the positions of mirrors.
    pub fn shared_snapshot_bytes_max(&self) -> usize {
        let topic = TOPIC_BYTES_MAX + limits::TOPIC_NAME_BYTES_MAX + limits::TOPIC_CONFIG_BYTES_MAX;
        let bytes = BOOT_BYTES_MAX
            + self.partitions_max * PARTITIONS_ADD_BYTES_MAX
            + self.topics_max * topic
            + self.groups_max * (GROUP_BYTES_MAX + limits::GROUP_ID_BYTES_MAX)
            + self.offsets_max * OFFSET_BYTES_MAX
            + self.offset_metadata_bytes;
        bytes.next_multiple_of(limits::PAGE_BYTES)
    }
}

// The longest encodings of the records of a snapshot, without their strings: a tag, and five bytes
// for each 32-bit number, ten for each 64-bit one, at the most.
/// With the next handle, and the cluster id.
const BOOT_BYTES_MAX: usize = 2 * 6 + 17;
const TOPIC_BYTES_MAX: usize = 1 + 16 + 2 + 1 + 5 + 5 + 2;
const PARTITIONS_ADD_BYTES_MAX: usize = 1 + 16 + 5 + 5;
const PARTITION_BYTES_MAX: usize = 1 + 5 + 10 + 10 + 1 + limits::EPOCHS_PER_PARTITION_MAX * 15;
const PRODUCER_BYTES_MAX: usize = 1 + 10 + 3 + 5 + 10 + 1 + limits::PRODUCER_BATCHES_MAX * 20;
const GROUP_BYTES_MAX: usize = 2;
const OFFSET_BYTES_MAX: usize = 1 + 5 + 10 + 5 + 1 + 2 + 10;
