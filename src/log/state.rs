//! The synced metadata: topics, partitions, committed offsets, producers.
//!
//! Everything here is on flash, except what says otherwise: a partition's `next` and the newest
//! batches of producers run ahead of the sync. What is staged and not yet synced is found with
//! [`crate::log::Log::staged`]. Tables are allocated once, with the configuration's bounds.

use crate::codec::batch::BatchHeader;
use crate::limits;
use crate::log::format::Run;
use crate::log::producers::Producers;
use crate::log::record::MetaRecord;
use crate::types::{
    Boot, GroupSlot, Offset, PartitionHandle, PartitionSlot, RingIndex, Ticket, TopicId, TopicSlot,
};

/// A topic's own settings: entries of {key number, value length, value}, see
/// `broker::topic_config` for the keys.
pub type TopicConfigs = heapless::Vec<u8, { limits::TOPIC_CONFIG_BYTES_MAX }>;

/// A topic's name.
pub type TopicName = heapless::String<{ limits::TOPIC_NAME_BYTES_MAX }>;

/// The sizes of the tables.
#[derive(Debug, Clone, Copy)]
pub struct StateLimits {
    /// Topics.
    pub topics_max: usize,
    /// Partitions of all topics.
    pub partitions_max: usize,
    /// Consumer groups with committed offsets.
    pub groups_max: usize,
    /// Committed offsets of all groups.
    pub offsets_max: usize,
    /// Producer and partition pairs.
    pub producers_max: usize,
    /// Bytes of a ring's snapshot: what bounds names, settings and committed offsets together.
    pub snapshot_bytes_max: usize,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// The ring that holds its partitions.
    pub ring: RingIndex,
    /// How many partitions it has; their indexes are 0 to this − 1.
    pub partitions: u32,
    /// Its own settings.
    pub configs: TopicConfigs,
}

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
    /// The ticket of the last group that holds records of it, synced or not; 0: none since start.
    pub ticket_last: Ticket,
    /// Leader epochs, each with its first offset, oldest first; synced.
    pub epochs: heapless::Vec<(Boot, Offset), { limits::EPOCHS_PER_PARTITION_MAX }>,
    /// Payload bytes in live segments, for DescribeLogDirs and `status`; an estimate after eviction.
    pub bytes: u64,
}

/// A consumer group that has committed something.
#[derive(Debug, Clone)]
pub struct CommitGroup {
    /// Its name.
    pub name: heapless::String<{ limits::GROUP_ID_BYTES_MAX }>,
}

/// A committed offset.
#[derive(Debug, Clone)]
pub struct CommittedOffset {
    /// By whom.
    pub group: GroupSlot,
    /// Of which partition.
    pub handle: PartitionHandle,
    /// The offset that the group wants next.
    pub offset: Offset,
    /// The leader epoch that came with it, −1 for none.
    pub leader_epoch: i32,
    /// The string that came with it.
    pub metadata: heapless::String<{ limits::OFFSET_METADATA_BYTES_MAX }>,
    /// When, by the wall clock.
    pub timestamp_ms: i64,
}

/// A table of the configuration's size is too small for what the ring holds or is asked to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull {
    /// The configuration key of the table's bound.
    pub key: &'static str,
    /// The bound.
    pub max: usize,
}

/// The metadata.
pub struct State {
    limits: StateLimits,
    /// This opening's number, the leader epoch of everything staged now.
    pub boot: Boot,
    /// The next partition handle to give.
    pub handle_next: PartitionHandle,
    topics: Vec<Option<Topic>>,
    topics_by_name: Vec<TopicSlot>,
    partitions: Vec<Option<Partition>>,
    by_handle: Vec<(PartitionHandle, PartitionSlot)>,
    by_topic: Vec<(TopicSlot, u32, PartitionSlot)>,
    groups: Vec<Option<CommitGroup>>,
    offsets: Vec<CommittedOffset>,
    /// Idempotent producers.
    pub producers: Producers,
    shared_bytes: usize,
}

impl State {
    /// An empty state; allocates all that it will ever need.
    pub fn new(limits: StateLimits) -> State {
        State {
            limits,
            boot: Boot(0),
            handle_next: PartitionHandle(1),
            topics: vec![None; limits.topics_max],
            topics_by_name: Vec::with_capacity(limits.topics_max),
            partitions: vec![None; limits.partitions_max],
            by_handle: Vec::with_capacity(limits.partitions_max),
            by_topic: Vec::with_capacity(limits.partitions_max),
            groups: vec![None; limits.groups_max],
            offsets: Vec::with_capacity(limits.offsets_max),
            producers: Producers::new(limits.producers_max),
            shared_bytes: 0,
        }
    }

    /// The tables' sizes.
    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }

    /// All topics, in order of name.
    pub fn topics(&self) -> impl Iterator<Item = (TopicSlot, &Topic)> + Clone {
        self.topics_by_name
            .iter()
            .filter_map(|slot| Some((*slot, self.topic(*slot)?)))
    }

    /// How many topics there are.
    pub fn topics_len(&self) -> usize {
        self.topics_by_name.len()
    }

    /// How many partitions there are.
    pub fn partitions_len(&self) -> usize {
        self.by_handle.len()
    }

    /// How many committed offsets there are.
    pub fn offsets_len(&self) -> usize {
        self.offsets.len()
    }

    /// A topic by its place.
    pub fn topic(&self, slot: TopicSlot) -> Option<&Topic> {
        self.topics.get(usize::from(slot.0))?.as_ref()
    }

    /// A topic by name.
    pub fn topic_named(&self, name: &str) -> Option<(TopicSlot, &Topic)> {
        let place = self
            .topics_by_name
            .binary_search_by(|slot| self.name_of(*slot).cmp(name));
        let slot = *self.topics_by_name.get(place.ok()?)?;
        Some((slot, self.topic(slot)?))
    }

    /// A topic by id.
    pub fn topic_with_id(&self, id: TopicId) -> Option<(TopicSlot, &Topic)> {
        self.topics().find(|(_, topic)| topic.id == id)
    }

    /// A partition by its topic and number.
    pub fn partition_of(&self, topic: TopicSlot, index: u32) -> Option<PartitionSlot> {
        let place = self
            .by_topic
            .binary_search_by_key(&(topic, index), |e| (e.0, e.1))
            .ok()?;
        Some(self.by_topic.get(place)?.2)
    }

    /// The partitions of a topic, in order of number.
    pub fn partitions_of(
        &self,
        topic: TopicSlot,
    ) -> impl Iterator<Item = (PartitionSlot, &Partition)> + Clone {
        let from = self.by_topic.partition_point(|entry| entry.0 < topic);
        let to = self.by_topic.partition_point(|entry| entry.0 <= topic);
        self.by_topic[from..to]
            .iter()
            .filter_map(|e| Some((e.2, self.partition(e.2)?)))
    }

    /// All partitions, in order of handle.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionSlot, &Partition)> {
        self.by_handle
            .iter()
            .filter_map(|(_, slot)| Some((*slot, self.partition(*slot)?)))
    }

    /// A partition by its place.
    pub fn partition(&self, slot: PartitionSlot) -> Option<&Partition> {
        self.partitions.get(usize::from(slot.0))?.as_ref()
    }

    /// A partition by its place, to change it: the log's business only.
    pub(super) fn partition_mut(&mut self, slot: PartitionSlot) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// A partition by handle.
    pub fn partition_with_handle(&self, handle: PartitionHandle) -> Option<PartitionSlot> {
        let place = self
            .by_handle
            .binary_search_by_key(&handle, |entry| entry.0)
            .ok()?;
        Some(self.by_handle.get(place)?.1)
    }

    /// All groups with committed offsets.
    pub fn groups(&self) -> impl Iterator<Item = (GroupSlot, &CommitGroup)> {
        let slots = self.groups.iter().enumerate();
        slots.filter_map(|(i, group)| Some((GroupSlot(i as u16), group.as_ref()?)))
    }

    /// A group with committed offsets, by name.
    pub fn group_named(&self, name: &str) -> Option<GroupSlot> {
        self.groups()
            .find(|(_, group)| group.name == name)
            .map(|(slot, _)| slot)
    }

    /// What a group committed, in order of handle.
    pub fn offsets_of(&self, group: GroupSlot) -> &[CommittedOffset] {
        let from = self.offsets.partition_point(|entry| entry.group < group);
        let to = self.offsets.partition_point(|entry| entry.group <= group);
        &self.offsets[from..to]
    }

    /// What a group committed for a partition.
    pub fn offset_of(&self, group: GroupSlot, handle: PartitionHandle) -> Option<&CommittedOffset> {
        let offsets = self.offsets_of(group);
        offsets.get(
            offsets
                .binary_search_by_key(&handle, |entry| entry.handle)
                .ok()?,
        )
    }

    /// Whether a topic with so many partitions still fits, `staged_*` being those on their way.
    pub fn room_for_topic(
        &self,
        partitions: usize,
        staged_topics: usize,
        staged_partitions: usize,
    ) -> Result<(), TableFull> {
        let limits = &self.limits;
        if self.topics_len() + staged_topics >= limits.topics_max {
            return Err(TableFull {
                key: "topics_max",
                max: limits.topics_max,
            });
        }
        self.room_for_partitions(partitions, staged_partitions)
    }

    /// Whether so many more partitions still fit, `staged` being those on their way.
    pub fn room_for_partitions(&self, partitions: usize, staged: usize) -> Result<(), TableFull> {
        let max = self.limits.partitions_max;
        if self.partitions_len() + staged + partitions <= max {
            Ok(())
        } else {
            Err(TableFull {
                key: "partitions_max",
                max,
            })
        }
    }

    /// Makes one synced change. `ring` is where the record stood. `removed` is called with each
    /// partition that is gone with its topic.
    pub fn apply(
        &mut self,
        ring: RingIndex,
        record: &MetaRecord<'_>,
        removed: &mut dyn FnMut(PartitionSlot),
    ) -> Result<(), TableFull> {
        let done = self.apply_one(ring, record, removed);
        self.shared_bytes = self.shared_bytes_count();
        done
    }

    fn apply_one(
        &mut self,
        ring: RingIndex,
        record: &MetaRecord<'_>,
        removed: &mut dyn FnMut(PartitionSlot),
    ) -> Result<(), TableFull> {
        match record {
            MetaRecord::Boot { boot } => self.boot = self.boot.max(*boot),
            MetaRecord::HandleNext { handle } => self.handle_next = self.handle_next.max(*handle),
            MetaRecord::TopicCreate {
                id,
                name,
                ring,
                handle_first,
                partitions,
                configs,
            } => {
                let slot = self.topic_create(*id, name, RingIndex(*ring), configs)?;
                self.partitions_add(slot, *handle_first, *partitions)?;
            }
            MetaRecord::TopicDelete { id } => self.topic_delete(*id, removed),
            MetaRecord::PartitionsAdd {
                id,
                handle_first,
                partitions,
            } => {
                if let Some((slot, _)) = self.topic_with_id(*id) {
                    self.partitions_add(slot, *handle_first, *partitions)?;
                }
            }
            MetaRecord::TopicConfigs { id, configs } => {
                if let Some((slot, _)) = self.topic_with_id(*id)
                    && let Some(Some(topic)) = self.topics.get_mut(usize::from(slot.0))
                {
                    topic.configs = configs_from(configs);
                }
            }
            MetaRecord::LogStart { handle, offset } => {
                if let Some(partition) = self.with_handle(*handle) {
                    partition.log_start = partition.log_start.max(*offset);
                }
            }
            MetaRecord::OffsetCommit {
                group,
                handle,
                offset,
                leader_epoch,
                metadata,
                timestamp_ms,
            } => {
                let entry = CommittedOffset {
                    group: self.group_slot(group)?,
                    handle: *handle,
                    offset: *offset,
                    leader_epoch: *leader_epoch,
                    metadata: string_from(metadata),
                    timestamp_ms: *timestamp_ms,
                };
                self.offset_commit(entry)?;
            }
            MetaRecord::OffsetDelete { group, handle } => {
                if let Some(group) = self.group_named(group) {
                    self.offsets
                        .retain(|e| e.group != group || e.handle != *handle);
                }
            }
            MetaRecord::GroupDelete { group } => {
                if let Some(group) = self.group_named(group) {
                    self.offsets.retain(|entry| entry.group != group);
                    self.groups[usize::from(group.0)] = None;
                }
            }
            MetaRecord::Partition {
                handle,
                log_start,
                next,
                epochs,
            } => {
                self.partition_restore(ring, *handle)?;
                if let Some(partition) = self.with_handle(*handle) {
                    partition.log_start = partition.log_start.max(*log_start);
                    partition.high_watermark = partition.high_watermark.max(*next);
                    partition.written = partition.written.max(*next);
                    partition.next = partition.next.max(*next);
                    for (boot, offset) in epochs {
                        partition.epoch_note(*boot, *offset);
                    }
                }
            }
            MetaRecord::Producer {
                id,
                epoch,
                handle,
                timestamp_ms,
                batches,
            } => {
                if let Some(slot) = self.partition_with_handle(*handle) {
                    self.producers
                        .restore(*id, *epoch, slot, *timestamp_ms, batches);
                }
            }
            MetaRecord::Evict { .. } => {}
        }
        Ok(())
    }

    /// The most bytes that a snapshot for `ring` takes now.
    pub fn snapshot_bytes_bound(&self, ring: RingIndex) -> usize {
        let tables = self.partitions_len() * PARTITION_BYTES_MAX
            + self.limits.producers_max * PRODUCER_BYTES_MAX;
        let shared = if ring == RingIndex(0) {
            self.shared_bytes
        } else {
            0
        };
        BOOT_BYTES_MAX + tables + shared
    }

    /// Whether so many more bytes of metadata records fit the first ring's snapshots.
    pub fn room_for_shared(&self, bytes: usize) -> bool {
        let tables = self.limits.tables_bytes_max();
        self.shared_bytes + bytes <= self.limits.snapshot_bytes_max.saturating_sub(tables)
    }

    /// Everything written in `ring` is synced now. `moved` is called for each partition that has more
    /// to see.
    pub(super) fn written_is_visible(
        &mut self,
        ring: RingIndex,
        moved: &mut dyn FnMut(PartitionSlot),
    ) {
        for (place, partition) in self.partitions.iter_mut().enumerate() {
            if let Some(partition) = partition
                && partition.ring == ring
                && partition.written > partition.high_watermark
            {
                partition.high_watermark = partition.written;
                moved(PartitionSlot(place as u16));
            }
        }
    }

    /// Everything staged in `ring` up to `ticket` is synced now.
    pub(super) fn producers_synced(&mut self, ring: RingIndex, ticket: Ticket) {
        self.producers.synced(ring, ticket);
    }

    /// Takes a run of the log while it is replayed.
    pub(super) fn run_replay(&mut self, slot: PartitionSlot, epoch: Boot, run: &Run) {
        if let Some(partition) = self.partition_mut(slot) {
            partition.epoch_note(epoch, run.offset);
            partition.high_watermark = run.end();
            partition.written = run.end();
            partition.next = run.end();
            partition.bytes += u64::from(run.bytes);
        }
    }

    /// How many records are missing before `offset`, after damage that nothing else can name.
    pub(super) fn gap_before(&self, slot: PartitionSlot, offset: Offset) -> u64 {
        let Some(partition) = self.partition(slot) else {
            return 0;
        };
        // What comes first in the log after an eviction does not begin at 0.
        if partition.next.0 == 0 || offset <= partition.next {
            return 0;
        }
        let topic = self.topic(partition.topic).map_or("", |topic| &topic.name);
        log::error!(
            "{topic}-{}: offsets {} to {} are lost",
            partition.index,
            partition.next.0,
            offset.0 - 1
        );
        offset.0.abs_diff(partition.next.0)
    }

    /// Notes a replayed batch for its producer.
    pub(super) fn producer_replay(&mut self, slot: PartitionSlot, header: &BatchHeader) {
        if header.has_producer_id() {
            self.producers.replay(slot, header);
        }
    }

    /// Something of `ring` was lost: from here on its producers may send any sequence.
    pub(super) fn producers_forget_sequences(&mut self, ring: RingIndex) {
        for (place, partition) in self.partitions.iter().enumerate() {
            if partition
                .as_ref()
                .is_some_and(|partition| partition.ring == ring)
            {
                self.producers.forget_sequences(PartitionSlot(place as u16));
            }
        }
    }

    /// Log starts follow the oldest record that is left; never back. `first` gives its offset, or
    /// what it is given where there is none.
    pub(super) fn log_starts_move(
        &mut self,
        ring: RingIndex,
        first: &dyn Fn(PartitionSlot, Offset) -> Offset,
    ) {
        for (place, partition) in self.partitions.iter_mut().enumerate() {
            if let Some(partition) = partition
                && partition.ring == ring
            {
                let first = first(PartitionSlot(place as u16), partition.high_watermark);
                partition.log_start = partition.log_start.max(first);
            }
        }
    }

    /// The bytes of a snapshot's part that only the first ring holds.
    fn shared_bytes_count(&self) -> usize {
        let topics = self
            .topics()
            .map(|(_, t)| TOPIC_BYTES_MAX + t.name.len() + t.configs.len());
        let offsets = self.offsets.iter().map(|entry| {
            let group = self
                .groups
                .get(usize::from(entry.group.0))
                .and_then(Option::as_ref);
            OFFSET_BYTES_MAX + group.map_or(0, |group| group.name.len()) + entry.metadata.len()
        });
        // A topic whose partitions came in several steps has a record for each: one per partition
        // at the most.
        let steps = self.partitions_len() * PARTITIONS_ADD_BYTES_MAX;
        topics.sum::<usize>() + offsets.sum::<usize>() + steps
    }

    /// The partition of a run on flash. One whose topic's creation was lost with a damaged group
    /// gets a topic of its own, `lost-HANDLE`, unless the handle is one of a deleted topic.
    pub(super) fn partition_restore(
        &mut self,
        ring: RingIndex,
        handle: PartitionHandle,
    ) -> Result<(), TableFull> {
        if self.partition_with_handle(handle).is_some() || handle < self.handle_next {
            return Ok(());
        }
        let mut name = TopicName::new();
        let _ = std::fmt::Write::write_fmt(&mut name, format_args!("lost-{}", handle.0));
        let mut id = [0xfe; 16];
        id[12..].copy_from_slice(&handle.0.to_be_bytes());
        let slot = self.topic_create(TopicId(id), &name, ring, &[])?;
        self.partitions_add(slot, handle, 1)
    }

    /// Writes the state as the records that lead to it: all of it for the first ring, and the
    /// partitions and producers of `ring`. False when `put` said that there is no room.
    pub fn snapshot(
        &self,
        ring: RingIndex,
        synced: Ticket,
        put: &mut dyn FnMut(&MetaRecord<'_>) -> bool,
    ) -> bool {
        let mut ok = put(&MetaRecord::Boot { boot: self.boot });
        if ring == RingIndex(0) {
            ok = ok
                && put(&MetaRecord::HandleNext {
                    handle: self.handle_next,
                });
            for (slot, topic) in self.topics() {
                ok = ok && self.snapshot_topic(slot, topic, put);
            }
        }
        for (_, partition) in self.partitions().filter(|(_, p)| p.ring == ring) {
            ok = ok
                && put(&MetaRecord::Partition {
                    handle: partition.handle,
                    log_start: partition.log_start,
                    next: partition.high_watermark,
                    epochs: partition.epochs.clone(),
                });
        }
        self.producers
            .snapshot(synced, &mut |slot, id, epoch, timestamp_ms, batches| {
                let partition = self
                    .partition(slot)
                    .filter(|partition| partition.ring == ring);
                if let Some(Partition { handle, .. }) = partition {
                    let (handle, batches) = (*handle, batches.clone());
                    ok = ok
                        && put(&MetaRecord::Producer {
                            id,
                            epoch,
                            handle,
                            timestamp_ms,
                            batches,
                        });
                }
            });
        if ring == RingIndex(0) {
            for entry in &self.offsets {
                let group = self
                    .groups
                    .get(usize::from(entry.group.0))
                    .and_then(Option::as_ref);
                ok = ok
                    && put(&MetaRecord::OffsetCommit {
                        group: group.map_or("", |group| &group.name),
                        handle: entry.handle,
                        offset: entry.offset,
                        leader_epoch: entry.leader_epoch,
                        metadata: &entry.metadata,
                        timestamp_ms: entry.timestamp_ms,
                    });
            }
        }
        ok
    }

    /// A topic's partitions may lie in several stretches of handles: one record for each.
    fn snapshot_topic(
        &self,
        slot: TopicSlot,
        topic: &Topic,
        put: &mut dyn FnMut(&MetaRecord<'_>) -> bool,
    ) -> bool {
        let mut handles = self
            .partitions_of(slot)
            .map(|(_, partition)| partition.handle);
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
                    ring: topic.ring.0,
                    handle_first,
                    partitions,
                    configs: &topic.configs,
                })
            } else {
                put(&MetaRecord::PartitionsAdd {
                    id: topic.id,
                    handle_first,
                    partitions,
                })
            };
            first = false;
            if !done {
                return false;
            }
        }
        true
    }

    fn topic_create(
        &mut self,
        id: TopicId,
        name: &str,
        ring: RingIndex,
        configs: &[u8],
    ) -> Result<TopicSlot, TableFull> {
        if let Some((slot, _)) = self.topic_named(name) {
            return Ok(slot);
        }
        let full = TableFull {
            key: "topics_max",
            max: self.limits.topics_max,
        };
        let place = self.topics.iter().position(Option::is_none).ok_or(full)?;
        let slot = TopicSlot(place as u16);
        let configs = configs_from(configs);
        let name = string_from(name);
        let by_name = self
            .topics_by_name
            .partition_point(|other| self.name_of(*other) < &*name);
        self.topics[place] = Some(Topic {
            id,
            name,
            ring,
            partitions: 0,
            configs,
        });
        self.topics_by_name.insert(by_name, slot);
        Ok(slot)
    }

    fn partitions_add(
        &mut self,
        topic: TopicSlot,
        handle_first: PartitionHandle,
        count: u32,
    ) -> Result<(), TableFull> {
        let full = TableFull {
            key: "partitions_max",
            max: self.limits.partitions_max,
        };
        for i in 0..count {
            let handle = PartitionHandle(handle_first.0.saturating_add(i));
            if self.partition_with_handle(handle).is_some() {
                continue;
            }
            let place = self
                .partitions
                .iter()
                .position(Option::is_none)
                .ok_or(full)?;
            let slot = PartitionSlot(place as u16);
            let Some(Some(entry)) = self.topics.get_mut(usize::from(topic.0)) else {
                return Ok(());
            };
            let index = entry.partitions;
            entry.partitions += 1;
            let ring = entry.ring;
            self.partitions[place] = Some(Partition::new(handle, topic, index, ring));
            let at = self.by_handle.partition_point(|entry| entry.0 < handle);
            self.by_handle.insert(at, (handle, slot));
            let at = self
                .by_topic
                .partition_point(|e| (e.0, e.1) < (topic, index));
            self.by_topic.insert(at, (topic, index, slot));
            self.handle_next = self
                .handle_next
                .max(PartitionHandle(handle.0.saturating_add(1)));
        }
        Ok(())
    }

    fn topic_delete(&mut self, id: TopicId, removed: &mut dyn FnMut(PartitionSlot)) {
        let Some((topic, _)) = self.topic_with_id(id) else {
            return;
        };
        for entry in &self.by_topic {
            if entry.0 == topic {
                let handle = self.partition(entry.2).map(|partition| partition.handle);
                self.offsets.retain(|offset| Some(offset.handle) != handle);
                self.producers.forget_partition(entry.2);
                self.partitions[usize::from(entry.2.0)] = None;
                removed(entry.2);
            }
        }
        self.by_topic.retain(|entry| entry.0 != topic);
        let partitions = &self.partitions;
        self.by_handle
            .retain(|entry| partitions[usize::from(entry.1.0)].is_some());
        self.topics_by_name.retain(|slot| *slot != topic);
        self.topics[usize::from(topic.0)] = None;
    }

    fn group_slot(&mut self, name: &str) -> Result<GroupSlot, TableFull> {
        if let Some(slot) = self.group_named(name) {
            return Ok(slot);
        }
        let full = TableFull {
            key: "groups_max",
            max: self.limits.groups_max,
        };
        let place = self.groups.iter().position(Option::is_none).ok_or(full)?;
        self.groups[place] = Some(CommitGroup {
            name: string_from(name),
        });
        Ok(GroupSlot(place as u16))
    }

    fn offset_commit(&mut self, entry: CommittedOffset) -> Result<(), TableFull> {
        let key = (entry.group, entry.handle);
        match self
            .offsets
            .binary_search_by_key(&key, |e| (e.group, e.handle))
        {
            Ok(at) => self.offsets[at] = entry,
            Err(at) if self.offsets.len() < self.limits.offsets_max => {
                self.offsets.insert(at, entry);
            }
            Err(_) => {
                return Err(TableFull {
                    key: "offsets_max",
                    max: self.limits.offsets_max,
                });
            }
        }
        Ok(())
    }

    fn with_handle(&mut self, handle: PartitionHandle) -> Option<&mut Partition> {
        let slot = self.partition_with_handle(handle)?;
        self.partition_mut(slot)
    }

    fn name_of(&self, slot: TopicSlot) -> &str {
        self.topic(slot).map_or("", |topic| &topic.name)
    }
}

impl StateLimits {
    /// What the tables take in a snapshot at the most, without names, settings and offsets.
    fn tables_bytes_max(&self) -> usize {
        BOOT_BYTES_MAX
            + self.partitions_max * PARTITION_BYTES_MAX
            + self.producers_max * PRODUCER_BYTES_MAX
    }

    /// Room for full tables with names and settings of usual lengths.
    pub fn snapshot_bytes_max_default(&self) -> usize {
        let shared = self.topics_max * TOPIC_BYTES_USUAL
            + self.partitions_max * PARTITIONS_ADD_BYTES_MAX
            + self.offsets_max * OFFSET_BYTES_USUAL;
        (self.tables_bytes_max() + shared).next_multiple_of(limits::PAGE_BYTES)
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
            ticket_last: Ticket(0),
            epochs: heapless::Vec::new(),
            bytes: 0,
        }
    }

    /// Notes that records from `offset` on are of leader epoch `boot`.
    pub(super) fn epoch_note(&mut self, boot: Boot, offset: Offset) {
        if self
            .epochs
            .last()
            .is_some_and(|(newest, _)| *newest >= boot)
        {
            return;
        }
        if self.epochs.is_full() {
            self.epochs.remove(0);
        }
        let _ = self.epochs.push((boot, offset));
    }
}

/// What is longer than its bound was refused before it was stored; a longer one can only come
/// from a build with larger bounds, and is cut.
fn string_from<const N: usize>(text: &str) -> heapless::String<N> {
    let mut string = heapless::String::new();
    for letter in text.chars() {
        if string.push(letter).is_err() {
            break;
        }
    }
    string
}

fn configs_from(bytes: &[u8]) -> TopicConfigs {
    let kept = bytes.len().min(limits::TOPIC_CONFIG_BYTES_MAX);
    let mut configs = TopicConfigs::new();
    let _ = configs.extend_from_slice(&bytes[..kept]);
    configs
}

// The longest encodings of the records of a snapshot, without their strings: a tag, and five bytes
// for each 32-bit number, ten for each 64-bit one, at the most.
const BOOT_BYTES_MAX: usize = 2 * 6;
const TOPIC_BYTES_MAX: usize = 1 + 16 + 2 + 1 + 5 + 5 + 2;
const PARTITIONS_ADD_BYTES_MAX: usize = 1 + 16 + 5 + 5;
const PARTITION_BYTES_MAX: usize = 1 + 5 + 10 + 10 + 1 + limits::EPOCHS_PER_PARTITION_MAX * 15;
const PRODUCER_BYTES_MAX: usize = 1 + 10 + 3 + 5 + 10 + 1 + limits::PRODUCER_BATCHES_MAX * 20;
const OFFSET_BYTES_MAX: usize = 1 + 2 + 5 + 10 + 5 + 2 + 10;

const TOPIC_BYTES_USUAL: usize = TOPIC_BYTES_MAX + 96;
const OFFSET_BYTES_USUAL: usize = OFFSET_BYTES_MAX + 48;
