//! Partitions: by place, by handle and by topic; how they are added and removed.

use super::slots::Slots;
use super::{State, TableFull};
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
    /// The offset behind the last written record: above the high watermark only while records of a topic
    /// with `flush.messages` or `flush.ms` are not synced.
    pub written: Offset,
    /// The offset that the next staged record gets.
    pub next: Offset,
    /// How many offsets below the high watermark have no records: the hole at the end of the partition. One
    /// that is too long for this is not remembered.
    hole: u32,
    /// Offsets below this one were lost, and that is not staged yet; 0: none.
    pub(in crate::log) gap: Offset,
    /// The ticket of the last group that holds records of it, synced or not; 0: none since start.
    pub ticket_last: Ticket,
    /// Leader epochs, each with its first offset, oldest first; synced.
    pub epochs: heapless::Vec<(Boot, Offset), { limits::EPOCHS_PER_PARTITION_MAX }>,
    /// Whether the newest record of each key is kept when the ring overwrites.
    pub compacted: bool,
    /// The bytes of its batches from an offset on, to estimate how long its records are.
    counted: (Offset, u64),
}

/// The table of partitions.
pub(super) struct Partitions {
    slots: Slots<Partition>,
    by_handle: Vec<(PartitionHandle, PartitionSlot)>,
    by_topic: Vec<(TopicSlot, u32, PartitionSlot)>,
}

impl Partitions {
    /// An empty table for this many; allocates all it will ever need.
    pub fn new(max: usize) -> Partitions {
        let (by_handle, by_topic) = (Vec::with_capacity(max), Vec::with_capacity(max));
        Partitions { slots: Slots::new(max), by_handle, by_topic }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_handle.len()
    }

    /// A partition by its place.
    pub fn get(&self, slot: PartitionSlot) -> Option<&Partition> {
        self.slots.get(slot.0)
    }

    /// All, in order of place, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PartitionSlot, &mut Partition)> {
        self.slots.iter_mut().map(|(place, partition)| (PartitionSlot(place), partition))
    }

    /// Those of a topic, to change them.
    pub fn each_of(
        &mut self,
        topic: TopicSlot,
        each: &mut dyn FnMut(PartitionSlot, &mut Partition),
    ) {
        let from = self.by_topic.partition_point(|entry| entry.0 < topic);
        for (_, _, slot) in self.by_topic[from..].iter().take_while(|entry| entry.0 == topic) {
            if let Some(partition) = self.slots.get_mut(slot.0) {
                each(*slot, partition);
            }
        }
    }

    /// A partition by handle.
    pub fn with_handle(&self, handle: PartitionHandle) -> Option<PartitionSlot> {
        let place = self.by_handle.binary_search_by_key(&handle, |entry| entry.0).ok()?;
        Some(self.by_handle[place].1)
    }

    /// The partitions of a topic with their numbers, in order of these.
    pub fn of(&self, topic: TopicSlot) -> &[(TopicSlot, u32, PartitionSlot)] {
        let from = self.by_topic.partition_point(|entry| entry.0 < topic);
        let to = self.by_topic.partition_point(|entry| entry.0 <= topic);
        &self.by_topic[from..to]
    }

    /// How many handles from this one on, below `end`, are not known.
    fn unknown(&self, from: PartitionHandle, end: PartitionHandle) -> u32 {
        let at = self.by_handle.partition_point(|entry| entry.0 < from);
        let known = self.by_handle.get(at).map_or(end, |entry| entry.0);
        known.min(end).0 - from.0
    }

    /// Adds `first`, and those that follow it in its topic, `count` in all. There must be room for them,
    /// and their handles must be unknown.
    fn add(&mut self, first: &Partition, count: u32) {
        let (topic, index) = (first.topic, first.index);
        let by_handle = self.by_handle.partition_point(|entry| entry.0 < first.handle);
        let by_topic = self.by_topic.partition_point(|e| (e.0, e.1) < (topic, index));
        widen(&mut self.by_handle, by_handle, count as usize, (first.handle, PartitionSlot(0)));
        widen(&mut self.by_topic, by_topic, count as usize, (topic, index, PartitionSlot(0)));
        for i in 0..count {
            let (handle, index) = (PartitionHandle(first.handle.0 + i), index + i);
            let slot = self.slots.add(Partition { handle, index, ..first.clone() });
            let slot = PartitionSlot(slot.expect("the room is asked for first"));
            self.by_handle[by_handle + i as usize] = (handle, slot);
            self.by_topic[by_topic + i as usize] = (topic, index, slot);
        }
    }

    /// Takes out those of a topic.
    pub fn remove_of(&mut self, topic: TopicSlot) {
        let slots = &mut self.slots;
        self.by_topic.retain(|(of, _, slot)| {
            if *of == topic {
                slots.remove(slot.0);
            }
            *of != topic
        });
        self.by_handle.retain(|(_, slot)| slots.get(slot.0).is_some());
    }
}

/// Makes room for `count` entries at `at`, with one move of those behind.
fn widen<T: Copy>(table: &mut Vec<T>, at: usize, count: usize, filler: T) {
    let end = table.len();
    #[cfg(test)]
    crate::visits::visit();
    table.resize(end + count, filler);
    table.copy_within(at..end, at + count);
}

impl State {
    /// How many partitions there are.
    pub fn partitions_len(&self) -> usize {
        self.partitions.len()
    }

    /// A partition by its topic and number.
    pub fn partition_of(&self, topic: TopicSlot, index: u32) -> Option<PartitionSlot> {
        let of = self.partitions.of(topic);
        Some(of[of.binary_search_by_key(&index, |entry| entry.1).ok()?].2)
    }

    /// The partitions of a topic, in order of number.
    pub fn partitions_of(
        &self,
        topic: TopicSlot,
    ) -> impl Iterator<Item = (PartitionSlot, &Partition)> + Clone {
        self.partitions.of(topic).iter().filter_map(|e| Some((e.2, self.partition(e.2)?)))
    }

    /// All partitions, in order of handle.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionSlot, &Partition)> {
        self.partitions
            .by_handle
            .iter()
            .filter_map(|(_, slot)| Some((*slot, self.partition(*slot)?)))
    }

    /// A partition by its place.
    pub fn partition(&self, slot: PartitionSlot) -> Option<&Partition> {
        self.partitions.get(slot)
    }

    /// A partition by its place, to change it.
    pub(in crate::log) fn partition_mut(&mut self, slot: PartitionSlot) -> Option<&mut Partition> {
        self.partitions.slots.get_mut(slot.0)
    }

    /// A partition by handle.
    pub fn partition_with_handle(&self, handle: PartitionHandle) -> Option<PartitionSlot> {
        self.partitions.with_handle(handle)
    }

    /// Whether this many more partitions still fit, `staged` being those on their way.
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
        let Some(entry) = self.topics.get(topic) else {
            return Ok(());
        };
        let (ring, compacted) = (entry.ring, entry.cleanup().compact);
        let mut index = entry.partitions;
        let end = PartitionHandle(handle_first.0.saturating_add(count));
        let mut handle = handle_first;
        while handle < end {
            let unknown = self.partitions.unknown(handle, end);
            if unknown == 0 {
                handle.0 += 1;
                continue;
            }
            let more = unknown.min((full.max - self.partitions.len()) as u32);
            let first = Partition { compacted, ..Partition::new(handle, topic, index, ring) };
            self.partitions.add(&first, more);
            self.topics.partitions_added(topic, more);
            index += more;
            handle.0 += more;
            self.handle_next = self.handle_next.max(handle);
            if more < unknown {
                return Err(full);
            }
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
            hole: 0,
            gap: Offset(0),
            ticket_last: Ticket(0),
            epochs: heapless::Vec::new(),
            compacted: false,
            counted: (Offset(0), 0),
        }
    }

    /// A run of this many bytes was written, or found by a start, from `offset` on.
    pub(in crate::log) fn bytes_note(&mut self, offset: Offset, bytes: u32) {
        let (from, counted) = self.counted;
        let from = if counted == 0 { offset } else { from };
        self.counted = (from, counted + u64::from(bytes));
    }

    /// How many bytes and offsets were counted.
    pub fn counted(&self) -> (u64, u64) {
        let (from, bytes) = self.counted;
        if bytes == 0 { (0, 0) } else { (bytes, self.written.0.abs_diff(from.0)) }
    }

    /// The bytes of the records from an offset on, where they are as long as those that were counted, or if
    /// none were, as long as those of `others`.
    pub fn bytes_from(&self, from: Offset, others: (u64, u64)) -> u64 {
        let own = self.counted();
        let (bytes, offsets) = if own.1 > 0 { own } else { others };
        let there = u128::from(self.written.0.saturating_sub(from.0).unsigned_abs());
        (there * u128::from(bytes)).checked_div(offsets.into()).unwrap_or(0) as u64
    }

    /// Records below this one cannot be read any more, and are no longer counted.
    pub(in crate::log) fn log_start_move(&mut self, to: Offset) {
        self.log_start = self.log_start.max(to);
        let (from, bytes) = self.counted;
        if bytes > 0 && self.log_start > from && self.log_start < self.written {
            self.counted = (self.log_start, self.bytes_from(self.log_start, (0, 0)));
        }
    }

    /// The offset behind the last synced record: below the high watermark where there is a hole at the end.
    pub fn records_end(&self) -> Offset {
        Offset(self.high_watermark.0 - i64::from(self.hole))
    }

    /// The offset behind the last written record that may still be read.
    pub fn records_end_written(&self) -> Offset {
        if self.written > self.high_watermark { self.written } else { self.records_end() }
    }

    /// How many offsets at the end have no records.
    pub(super) fn hole(&self) -> u32 {
        self.hole
    }

    /// Moves the high watermark, never back; from `records_end` on it passes no records.
    pub(in crate::log) fn high_watermark_move(&mut self, to: Offset, records_end: Offset) {
        if to > self.high_watermark {
            self.high_watermark = to;
            self.hole_from(records_end);
        }
    }

    /// From this offset on there are no records.
    pub(super) fn hole_from(&mut self, records_end: Offset) {
        let hole = self.high_watermark.0.saturating_sub(records_end.0);
        self.hole = u32::try_from(hole).unwrap_or(0);
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

    /// Takes the bounds of a record; nothing moves back. Offsets that `next` passes are a hole.
    pub(super) fn bounds_restore(
        &mut self,
        log_start: Offset,
        next: Offset,
        epochs: &[(Boot, Offset)],
    ) {
        self.log_start = self.log_start.max(log_start);
        self.high_watermark_move(next, self.records_end());
        self.written = self.written.max(next);
        self.next = self.next.max(next);
        for (boot, offset) in epochs {
            self.epoch_note(*boot, *offset);
        }
    }
}
