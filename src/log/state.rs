//! The synced metadata: topics, partitions, committed offsets, producers.
//!
//! Everything here is on flash, except what says otherwise: a partition's `next` and the newest
//! batches of producers run ahead of the sync. What is staged and not yet synced is found with
//! [`crate::log::Log::staged`]. Tables are allocated once, with the configuration's bounds.

mod cleanup;
mod follow;
pub mod mirrors;
pub mod missed;
mod numbers;
mod snapshot;

pub use cleanup::Cleanup;
pub use numbers::RingNumbers;

use crate::bytes::{ByteArena, Span};
use crate::config::{self, RingConfig};
use crate::limits;
use crate::log::hold;
use crate::log::producers::Producers;
use crate::log::record::MetaRecord;
use crate::types::{
    Boot, GroupSlot, Offset, PartitionHandle, PartitionSlot, RingIndex, RingNumber, Ticket,
    TopicId, TopicSlot,
};
use mirrors::Mirrors;
use missed::Missed;
use numbers::Stray;

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
    /// Bytes of the metadata that goes with them.
    pub offset_metadata_bytes: usize,
    /// Producer and partition pairs.
    pub producers_max: usize,
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
    /// For whom its records are kept or counted: see [`hold::kept_for`].
    pub kept_for: u8,
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
    /// Offsets below this one were lost, and that is not staged yet; 0: none.
    pub(super) gap: Offset,
    /// The ticket of the last group that holds records of it, synced or not; 0: none since start.
    pub ticket_last: Ticket,
    /// Leader epochs, each with its first offset, oldest first; synced.
    pub epochs: heapless::Vec<(Boot, Offset), { limits::EPOCHS_PER_PARTITION_MAX }>,
    /// Whether the newest record of each key is kept when the ring overwrites.
    pub compacted: bool,
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
#[derive(Debug, Clone, Copy)]
pub struct CommittedOffset {
    /// By whom.
    pub group: GroupSlot,
    /// Of which partition.
    pub handle: PartitionHandle,
    /// The offset that the group wants next.
    pub offset: Offset,
    /// The leader epoch that came with it, −1 for none.
    pub leader_epoch: i32,
    /// The string that came with it: see [`State::metadata_of`].
    metadata: Span,
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
    /// As far as places were ever in use, as are the other tables: what never was is not touched.
    topics: Vec<Option<Topic>>,
    topics_by_name: Vec<TopicSlot>,
    partitions: Vec<Option<Partition>>,
    by_handle: Vec<(PartitionHandle, PartitionSlot)>,
    by_topic: Vec<(TopicSlot, u32, PartitionSlot)>,
    numbers: RingNumbers,
    /// For whom these are held and watched decides which topics are kept for whom.
    rings: Vec<RingConfig>,
    /// The cluster's id, where the configuration sets none; zero: none was given yet.
    pub cluster_id: [u8; 16],
    /// Topics whose creation was lost, and which a start found.
    found: Vec<TopicSlot>,
    /// Topics whose ring is not there.
    strays: Vec<Stray>,
    /// From this handle on a topic's creation may be among what was lost of the metadata ring.
    lost_from: Option<PartitionHandle>,
    /// Partitions that are compacted since something was asked of [`State::compacted_take`].
    recompacted: Vec<PartitionSlot>,
    groups: Vec<Option<CommitGroup>>,
    offsets: Vec<CommittedOffset>,
    /// The strings that came with them.
    offset_metadata: ByteArena,
    /// Idempotent producers.
    pub producers: Producers,
    /// How far mirrors have come.
    pub mirrors: Mirrors,
    /// What was overwritten before those had it who are watched for.
    pub missed: Missed,
    /// Partitions with a gap that is not staged yet.
    gaps: usize,
    shared_bytes: usize,
    changes: u64,
}

impl State {
    /// An empty state; allocates all that it will ever need.
    pub fn new(limits: StateLimits) -> State {
        State::of(limits, &[], RingNumbers::in_order(limits::DATA_RINGS_MAX))
    }

    /// The same, with room for what those report and miss whom these rings are held and watched for.
    pub fn of(limits: StateLimits, rings: &[RingConfig], numbers: RingNumbers) -> State {
        State {
            limits,
            boot: Boot(0),
            handle_next: PartitionHandle(1),
            topics: Vec::with_capacity(limits.topics_max),
            topics_by_name: Vec::with_capacity(limits.topics_max),
            partitions: Vec::with_capacity(limits.partitions_max),
            by_handle: Vec::with_capacity(limits.partitions_max),
            by_topic: Vec::with_capacity(limits.partitions_max),
            numbers,
            rings: rings.to_vec(),
            cluster_id: [0; 16],
            found: Vec::new(),
            strays: Vec::new(),
            lost_from: None,
            recompacted: Vec::with_capacity(limits.partitions_max),
            groups: Vec::with_capacity(limits.groups_max),
            offsets: Vec::with_capacity(limits.offsets_max),
            offset_metadata: ByteArena::new(limits.offset_metadata_bytes),
            producers: Producers::new(limits.producers_max),
            mirrors: Mirrors::new(config::mirrors(rings), limits.partitions_max),
            missed: Missed::new(rings),
            gaps: 0,
            shared_bytes: 0,
            changes: 0,
        }
    }

    /// Counts changes: while it stays, what hangs on offsets that were committed, on log starts and
    /// on which topics there are stays as well.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The tables' sizes.
    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }

    /// All topics, in order of name.
    pub fn topics(&self) -> impl Iterator<Item = (TopicSlot, &Topic)> + Clone {
        self.topics_by_name.iter().filter_map(|slot| Some((*slot, self.topic(*slot)?)))
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
        let place = self.topics_by_name.binary_search_by(|slot| self.name_of(*slot).cmp(name));
        let slot = *self.topics_by_name.get(place.ok()?)?;
        Some((slot, self.topic(slot)?))
    }

    /// A topic by id.
    pub fn topic_with_id(&self, id: TopicId) -> Option<(TopicSlot, &Topic)> {
        self.topics().find(|(_, topic)| topic.id == id)
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
    pub(super) fn partition_mut(&mut self, slot: PartitionSlot) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// A partition by handle.
    pub fn partition_with_handle(&self, handle: PartitionHandle) -> Option<PartitionSlot> {
        let place = self.by_handle.binary_search_by_key(&handle, |entry| entry.0).ok()?;
        Some(self.by_handle.get(place)?.1)
    }

    /// All groups with committed offsets.
    pub fn groups(&self) -> impl Iterator<Item = (GroupSlot, &CommitGroup)> {
        let slots = self.groups.iter().enumerate();
        slots.filter_map(|(i, group)| Some((GroupSlot(i as u16), group.as_ref()?)))
    }

    /// A group with committed offsets, by its place.
    pub fn group(&self, slot: GroupSlot) -> Option<&CommitGroup> {
        self.groups.get(usize::from(slot.0))?.as_ref()
    }

    /// A group with committed offsets, by name.
    pub fn group_named(&self, name: &str) -> Option<GroupSlot> {
        self.groups().find(|(_, group)| group.name == name).map(|(slot, _)| slot)
    }

    /// The bytes of metadata that go with all committed offsets.
    pub fn offset_metadata_bytes(&self) -> usize {
        self.offset_metadata.used()
    }

    /// The string that came with a committed offset.
    pub fn metadata_of(&self, offset: &CommittedOffset) -> &str {
        let text = std::str::from_utf8(self.offset_metadata.bytes(offset.metadata));
        text.expect("it was a string when it was stored")
    }

    /// What a group committed, in order of handle.
    pub fn offsets_of(&self, group: GroupSlot) -> &[CommittedOffset] {
        let from = self.offsets.partition_point(|entry| entry.group < group);
        let to = self.offsets.partition_point(|entry| entry.group <= group);
        &self.offsets[from..to]
    }

    /// The newest of what a group committed.
    pub fn offset_newest(&self, group: GroupSlot) -> Option<&CommittedOffset> {
        self.offsets_of(group).iter().max_by_key(|entry| entry.timestamp_ms)
    }

    /// The record of a committed offset, with such a stamp.
    pub(super) fn commit_record<'a>(
        &'a self,
        entry: &CommittedOffset,
        timestamp_ms: i64,
    ) -> MetaRecord<'a> {
        MetaRecord::OffsetCommit {
            group: self.group(entry.group).map_or("", |group| &group.name),
            handle: entry.handle,
            offset: entry.offset,
            leader_epoch: entry.leader_epoch,
            metadata: self.metadata_of(entry),
            timestamp_ms,
        }
    }

    /// What a group committed for a partition.
    pub fn offset_of(&self, group: GroupSlot, handle: PartitionHandle) -> Option<&CommittedOffset> {
        let offsets = self.offsets_of(group);
        offsets.get(offsets.binary_search_by_key(&handle, |entry| entry.handle).ok()?)
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
            return Err(TableFull { key: "topics_max", max: limits.topics_max });
        }
        self.room_for_partitions(partitions, staged_partitions)
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

    /// Makes one synced change. `ring` is where the record stood. `removed` is called with each
    /// partition that is gone with its topic.
    pub fn apply(
        &mut self,
        ring: RingIndex,
        record: &MetaRecord<'_>,
        removed: &mut dyn FnMut(PartitionSlot),
    ) -> Result<(), TableFull> {
        let done = self.apply_one(ring, record, removed);
        self.changes += 1;
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
            MetaRecord::TopicCreate { id, name, ring, handle_first, partitions, configs } => {
                let (topic, number) = ((*id, *name), RingNumber(*ring));
                if let Some(ring) = self.ring_numbered(topic, number, *handle_first, *partitions) {
                    let slot = self.topic_create(*id, name, ring, configs)?;
                    self.partitions_add(slot, *handle_first, *partitions)?;
                }
            }
            MetaRecord::TopicDelete { id } => {
                self.strays_delete(*id);
                self.topic_delete(*id, removed);
            }
            MetaRecord::PartitionsAdd { id, handle_first, partitions } => {
                match self.topic_with_id(*id) {
                    Some((slot, _)) => self.partitions_add(slot, *handle_first, *partitions)?,
                    None => self.stray_grows(*id, *handle_first, *partitions),
                }
            }
            MetaRecord::TopicConfigs { id, configs } => {
                if let Some((slot, _)) = self.topic_with_id(*id)
                    && let Some(Some(topic)) = self.topics.get_mut(usize::from(slot.0))
                {
                    topic.configs = configs_from(configs);
                    self.cleanup_changed(slot);
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
                    metadata: Span::default(),
                    timestamp_ms: *timestamp_ms,
                };
                self.offset_commit(entry, metadata)?;
            }
            MetaRecord::OffsetDelete { group, handle } => {
                if let Some(group) = self.group_named(group) {
                    self.offsets_forget(|e| e.group == group && e.handle == *handle);
                }
            }
            MetaRecord::GroupDelete { group } => {
                if let Some(group) = self.group_named(group) {
                    self.offsets_forget(|entry| entry.group == group);
                    self.groups[usize::from(group.0)] = None;
                }
            }
            MetaRecord::Partition { handle, log_start, next, epochs } => {
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
            MetaRecord::Producer { id, epoch, handle, timestamp_ms, batches } => {
                if let Some(slot) = self.partition_with_handle(*handle) {
                    self.producers.restore(*id, *epoch, slot, *timestamp_ms, batches);
                }
            }
            MetaRecord::Mirrored { mirror, handle, offset } => {
                if let Some(slot) = self.partition_with_handle(*handle) {
                    self.mirrors.report(mirror, slot, *offset);
                }
            }
            MetaRecord::Overwritten { holder, records } => {
                self.missed.restore(ring, holder, *records);
            }
            MetaRecord::ClusterId { id } => self.cluster_id = *id,
            MetaRecord::Evict { .. } => {}
        }
        Ok(())
    }

    /// The partition of a run on flash. One whose topic's creation was lost with a damaged group
    /// gets a topic of its own, `lost-HANDLE`, unless the handle is one of a deleted topic.
    pub(super) fn partition_restore(
        &mut self,
        ring: RingIndex,
        handle: PartitionHandle,
    ) -> Result<(), TableFull> {
        let may_be_lost = self.lost_from.is_some_and(|from| handle >= from);
        let is_known = self.partition_with_handle(handle).is_some();
        if is_known || (handle < self.handle_next && !may_be_lost) {
            return Ok(());
        }
        let mut name = TopicName::new();
        let _ = std::fmt::Write::write_fmt(&mut name, format_args!("lost-{}", handle.0));
        let mut id = [0xfe; 16];
        id[12..].copy_from_slice(&handle.0.to_be_bytes());
        let slot = self.topic_create(TopicId(id), &name, ring, &[])?;
        self.found.push(slot);
        self.partitions_add(slot, handle, 1)
    }

    /// Records of a ring are lost. Creations among them would have given handles from the next one on.
    pub(super) fn records_lost(&mut self, ring: RingIndex) {
        if ring == self.numbers.shared() {
            self.lost_from.get_or_insert(self.handle_next);
        }
    }

    /// The start is over: whoever is not known by now is deleted.
    pub(super) fn records_found(&mut self) {
        self.lost_from = None;
    }

    /// The topics that a start found and that are to be stored as such.
    pub(super) fn found_take(&mut self) -> Vec<TopicSlot> {
        std::mem::take(&mut self.found)
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
        let full = TableFull { key: "topics_max", max: self.limits.topics_max };
        let place = vacant(&mut self.topics, full.max).ok_or(full)?;
        let slot = TopicSlot(place as u16);
        let configs = configs_from(configs);
        let name = string_from(name);
        let by_name = self.topics_by_name.partition_point(|other| self.name_of(*other) < &*name);
        let held = self.rings.get(usize::from(ring.0));
        let kept_for = held.map_or(0, |held| hold::kept_for(held, &name));
        self.topics[place] = Some(Topic { id, name, ring, kept_for, partitions: 0, configs });
        self.topics_by_name.insert(by_name, slot);
        Ok(slot)
    }

    fn partitions_add(
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

    fn topic_delete(&mut self, id: TopicId, removed: &mut dyn FnMut(PartitionSlot)) {
        let Some((topic, _)) = self.topic_with_id(id) else {
            return;
        };
        for place in 0..self.by_topic.len() {
            let (of, _, slot) = self.by_topic[place];
            if of == topic {
                let handle = self.partition(slot).map(|partition| partition.handle);
                self.offsets_forget(|offset| Some(offset.handle) == handle);
                self.producers.forget_partition(slot);
                self.mirrors.forget_partition(slot);
                self.partitions[usize::from(slot.0)] = None;
                removed(slot);
            }
        }
        self.by_topic.retain(|entry| entry.0 != topic);
        let partitions = &self.partitions;
        self.by_handle.retain(|entry| partitions[usize::from(entry.1.0)].is_some());
        self.topics_by_name.retain(|slot| *slot != topic);
        self.topics[usize::from(topic.0)] = None;
    }

    fn group_slot(&mut self, name: &str) -> Result<GroupSlot, TableFull> {
        if let Some(slot) = self.group_named(name) {
            return Ok(slot);
        }
        let full = TableFull { key: "groups_max", max: self.limits.groups_max };
        let place = vacant(&mut self.groups, full.max).ok_or(full)?;
        self.groups[place] = Some(CommitGroup { name: string_from(name) });
        Ok(GroupSlot(place as u16))
    }

    fn offset_commit(&mut self, entry: CommittedOffset, metadata: &str) -> Result<(), TableFull> {
        let key = (entry.group, entry.handle);
        let at = match self.offsets.binary_search_by_key(&key, |e| (e.group, e.handle)) {
            Ok(at) => {
                self.offset_metadata_free(at);
                self.offsets[at] = entry;
                at
            }
            Err(at) if self.offsets.len() < self.limits.offsets_max => {
                self.offsets.insert(at, entry);
                at
            }
            Err(_) => {
                return Err(TableFull { key: "offsets_max", max: self.limits.offsets_max });
            }
        };
        let max = self.offset_metadata.capacity();
        let full = TableFull { key: "offset_metadata_bytes", max };
        let (span, window) = self.offset_metadata.take(metadata.len()).ok_or(full)?;
        window.copy_from_slice(metadata.as_bytes());
        self.offsets[at].metadata = span;
        Ok(())
    }

    /// Committed offsets for which `is_gone` is true are gone.
    fn offsets_forget(&mut self, is_gone: impl Fn(&CommittedOffset) -> bool) {
        for at in 0..self.offsets.len() {
            if is_gone(&self.offsets[at]) {
                self.offset_metadata_free(at);
            }
        }
        self.offsets.retain(|offset| !is_gone(offset));
    }

    fn offset_metadata_free(&mut self, at: usize) {
        let span = std::mem::take(&mut self.offsets[at].metadata);
        self.offset_metadata.free(span, self.offsets.iter_mut().map(|offset| &mut offset.metadata));
    }

    fn with_handle(&mut self, handle: PartitionHandle) -> Option<&mut Partition> {
        let slot = self.partition_with_handle(handle)?;
        self.partition_mut(slot)
    }

    fn name_of(&self, slot: TopicSlot) -> &str {
        self.topic(slot).map_or("", |topic| &topic.name)
    }
}

/// The first free place of a table with at most `max`.
fn vacant<T>(table: &mut Vec<Option<T>>, max: usize) -> Option<usize> {
    let free = table.iter().position(Option::is_none);
    if free.is_none() && table.len() < max {
        table.push(None);
        return Some(table.len() - 1);
    }
    free
}

impl Topic {
    /// Whether its records are kept for one of its ring's holders.
    pub fn is_kept(&self) -> bool {
        self.kept_for & hold::HELD_BITS != 0
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
    pub(super) fn epoch_note(&mut self, boot: Boot, offset: Offset) {
        if self.epochs.last().is_some_and(|(newest, _)| *newest >= boot) {
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
