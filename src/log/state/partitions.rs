//! Partitions: by place, by handle and by topic; how they come.

use super::{State, TableFull, vacant};
use crate::limits;
use crate::types::{Boot, Offset, PartitionHandle, PartitionSlot, RingIndex, Ticket, TopicSlot};

/// A partition.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Its name on flash.
    pub handle: PartitionHandle,
    /// Its topic.
    pub topic: TopicSlot,
    /// Its number in the topic.
    pub index: u32,
    /// Its ring.
    pub ring: RingIndex,
    /// Its first offset; synced.
    pub log_start: Offset,
    /// The high watermark: the offset behind the last synced record.
    pub high_watermark: Offset,
    /// The offset behind the last written record: above the high watermark only while a relaxed topic
    /// waits for its sync.
    pub written: Offset,
    /// The offset that the next staged record gets.
    pub next: Offset,
    /// Offsets below this one were lost, and that is not staged yet; 0: none.
    pub(in crate::log) gap: Offset,
    /// The ticket of the last group that holds records of it, synced or not; 0: none since start.
    pub ticket_last: Ticket,
    /// Leader epochs, each with its first offset, oldest first; synced.
    pub epochs: heapless::Vec<(Boot, Offset), { limits::EPOCHS_PER_PARTITION_MAX }>,
    /// Whether the newest record of each key is kept when the ring overwrites.
    pub compacted: bool,
    /// Payload bytes in live segments, for DescribeLogDirs and `status`; an estimate after eviction.
    pub bytes: u64,
}

impl State {
    /// How many partitions there are.
    pub fn partitions_len(&self) -> usize {
        self.by_handle.len()
    }

    /// A partition by its topic and number.
    pub fn partition_of(&self, topic: TopicSlot, index: u32) -> Option<PartitionSlot> {
        let place = self.by_topic.binary_search_by_key(&(topic, index), |e| (e.0, e.1)).ok()?;
        Some(self.by_topic.get(place)?.2)
    }

    /// The partitions of a topic, in order of number.
    pub fn partitions_of(
        &self,
        topic: TopicSlot,
    ) -> impl Iterator<Item = (PartitionSlot, &Partition)> + Clone {
        let from = self.by_topic.partition_point(|entry| entry.0 < topic);
        let to = self.by_topic.partition_point(|entry| entry.0 <= topic);
        self.by_topic[from..to].iter().filter_map(|e| Some((e.2, self.partition(e.2)?)))
    }

    /// All partitions, in order of handle.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionSlot, &Partition)> {
        self.by_handle.iter().filter_map(|(_, slot)| Some((*slot, self.partition(*slot)?)))
    }

    /// A partition by its place.
    pub fn partition(&self, slot: PartitionSlot) -> Option<&Partition> {
        self.partitions.get(usize::from(slot.0))?.as_ref()
    }

    /// A partition by its place, to change it: the log's business only.
    pub(in crate::log) fn partition_mut(&mut self, slot: PartitionSlot) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// A partition by handle.
    pub fn partition_with_handle(&self, handle: PartitionHandle) -> Option<PartitionSlot> {
        let place = self.by_handle.binary_search_by_key(&handle, |entry| entry.0).ok()?;
        Some(self.by_handle.get(place)?.1)
    }

    /// Whether so many more partitions still fit, `staged` being those on their way.
    pub fn room_for_partitions(&self, partitions: usize, staged: usize) -> Result<(), TableFull> {
        let max = self.limits.partitions_max;
        if self.partitions_len() + staged + partitions <= max {
            Ok(())
        } else {
            Err(TableFull { key: "partitions_max", max })
        }
    }

    pub(super) fn partitions_add(
        &mut self,
        topic: TopicSlot,
        handle_first: PartitionHandle,
        count: u32,
    ) -> Result<(), TableFull> {
        let full = TableFull { key: "partitions_max", max: self.limits.partitions_max };
        for i in 0..count {
            let handle = PartitionHandle(handle_first.0.saturating_add(i));
            if self.partition_with_handle(handle).is_some() {
                continue;
            }
            let place = vacant(&mut self.partitions, full.max).ok_or(full)?;
            let slot = PartitionSlot(place as u16);
            let Some(Some(entry)) = self.topics.get_mut(usize::from(topic.0)) else {
                return Ok(());
            };
            let index = entry.partitions;
            entry.partitions += 1;
            let (ring, compacted) = (entry.ring, entry.cleanup().compact);
            let partition = Partition { compacted, ..Partition::new(handle, topic, index, ring) };
            self.partitions[place] = Some(partition);
            let at = self.by_handle.partition_point(|entry| entry.0 < handle);
            self.by_handle.insert(at, (handle, slot));
            let at = self.by_topic.partition_point(|e| (e.0, e.1) < (topic, index));
            self.by_topic.insert(at, (topic, index, slot));
            self.handle_next = self.handle_next.max(PartitionHandle(handle.0.saturating_add(1)));
        }
        Ok(())
    }

    pub(super) fn with_handle(&mut self, handle: PartitionHandle) -> Option<&mut Partition> {
        let slot = self.partition_with_handle(handle)?;
        self.partition_mut(slot)
    }
}

impl Partition {
    fn new(handle: PartitionHandle, topic: TopicSlot, index: u32, ring: RingIndex) -> Partition {
        Partition {
            handle,
            topic,
            index,
            ring,
            log_start: Offset(0),
            high_watermark: Offset(0),
            written: Offset(0),
            next: Offset(0),
            gap: Offset(0),
            ticket_last: Ticket(0),
            epochs: heapless::Vec::new(),
            compacted: false,
            bytes: 0,
        }
    }

    /// Notes that records from `offset` on are of leader epoch `boot`.
    pub(in crate::log) fn epoch_note(&mut self, boot: Boot, offset: Offset) {
        if self.epochs.last().is_some_and(|(newest, _)| *newest >= boot) {
            return;
        }
        if self.epochs.is_full() {
            self.epochs.remove(0);
        }
        let _ = self.epochs.push((boot, offset));
    }

    /// What a snapshot says of it; never back.
    pub(super) fn bounds_restore(
        &mut self,
        log_start: Offset,
        next: Offset,
        epochs: &[(Boot, Offset)],
    ) {
        self.log_start = self.log_start.max(log_start);
        self.high_watermark = self.high_watermark.max(next);
        self.written = self.written.max(next);
        self.next = self.next.max(next);
        for (boot, offset) in epochs {
            self.epoch_note(*boot, *offset);
        }
    }
}
