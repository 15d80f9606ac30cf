//! Topics: by place, by name and by id; how they are created and deleted.

use super::slots::Slots;
use super::{State, TableFull};
use crate::limits;
use crate::log::hold;
use crate::types::{PartitionHandle, PartitionSlot, RingIndex, TopicId, TopicSlot};

/// A topic's own settings: entries of {key number, value length, value}, see
/// `broker::topic_config` for the keys.
pub type TopicConfigs = heapless::Vec<u8, { limits::TOPIC_CONFIG_BYTES_MAX }>;

/// A topic's name.
pub type TopicName = heapless::String<{ limits::TOPIC_NAME_BYTES_MAX }>;

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

impl Topic {
    /// Whether its records are kept for one of its ring's holders.
    pub fn is_kept(&self) -> bool {
        self.kept_for & hold::HELD_BITS != 0
    }

    fn text_bytes(&self) -> usize {
        self.name.len() + self.configs.len()
    }
}

/// The table of topics.
pub(super) struct Topics {
    slots: Slots<Topic>,
    /// In order of name.
    by_name: Vec<TopicSlot>,
    /// In order of id.
    by_id: Vec<TopicSlot>,
    /// Bytes of their names and settings.
    text_bytes: usize,
}

impl Topics {
    /// An empty table for this many; allocates all it will ever need.
    pub fn new(max: usize) -> Topics {
        let (by_name, by_id) = (Vec::with_capacity(max), Vec::with_capacity(max));
        Topics { slots: Slots::new(max), by_name, by_id, text_bytes: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Bytes of their names and settings.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// A topic by its place.
    pub fn get(&self, slot: TopicSlot) -> Option<&Topic> {
        self.slots.get(slot.0)
    }

    fn named(&self, name: &str) -> Option<TopicSlot> {
        let place = self.by_name.binary_search_by(|slot| self.name_of(*slot).cmp(name)).ok()?;
        Some(self.by_name[place])
    }

    fn with_id(&self, id: TopicId) -> Option<TopicSlot> {
        let place = self.by_id.binary_search_by(|slot| self.id_of(*slot).cmp(&id)).ok()?;
        Some(self.by_id[place])
    }

    /// Adds one; none: the table is full.
    fn add(&mut self, topic: Topic) -> Option<TopicSlot> {
        let text_bytes = topic.text_bytes();
        let by_name = self.by_name.partition_point(|slot| *self.name_of(*slot) < *topic.name);
        let by_id = self.by_id.partition_point(|slot| self.id_of(*slot) < topic.id);
        let slot = TopicSlot(self.slots.add(topic)?);
        self.by_name.insert(by_name, slot);
        self.by_id.insert(by_id, slot);
        self.text_bytes += text_bytes;
        Some(slot)
    }

    fn remove(&mut self, slot: TopicSlot) {
        if let Some(topic) = self.slots.remove(slot.0) {
            self.by_name.retain(|other| *other != slot);
            self.by_id.retain(|other| *other != slot);
            self.text_bytes -= topic.text_bytes();
        }
    }

    fn configs_set(&mut self, slot: TopicSlot, configs: TopicConfigs) {
        if let Some(topic) = self.slots.get_mut(slot.0) {
            self.text_bytes += configs.len();
            self.text_bytes -= topic.configs.len();
            topic.configs = configs;
        }
    }

    /// A topic has this many more partitions.
    pub fn partitions_added(&mut self, slot: TopicSlot, more: u32) {
        if let Some(topic) = self.slots.get_mut(slot.0) {
            topic.partitions += more;
        }
    }

    fn name_of(&self, slot: TopicSlot) -> &str {
        self.get(slot).map_or("", |topic| &topic.name)
    }

    fn id_of(&self, slot: TopicSlot) -> TopicId {
        self.get(slot).map_or(TopicId::default(), |topic| topic.id)
    }
}

impl State {
    /// All topics, in order of name.
    pub fn topics(&self) -> impl Iterator<Item = (TopicSlot, &Topic)> + Clone {
        self.topics.by_name.iter().filter_map(|slot| Some((*slot, self.topic(*slot)?)))
    }

    /// How many topics there are.
    pub fn topics_len(&self) -> usize {
        self.topics.len()
    }

    /// A topic by its place.
    pub fn topic(&self, slot: TopicSlot) -> Option<&Topic> {
        self.topics.get(slot)
    }

    /// A topic by name.
    pub fn topic_named(&self, name: &str) -> Option<(TopicSlot, &Topic)> {
        let slot = self.topics.named(name)?;
        Some((slot, self.topic(slot)?))
    }

    /// A topic by id.
    pub fn topic_with_id(&self, id: TopicId) -> Option<(TopicSlot, &Topic)> {
        let slot = self.topics.with_id(id)?;
        Some((slot, self.topic(slot)?))
    }

    /// Whether a topic with this many partitions still fits, `staged_*` being those on their way.
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

    /// The partition of a run on flash. One whose topic's creation was lost with a damaged group
    /// gets a topic of its own, `lost-HANDLE`, unless the handle is one of a deleted topic.
    pub(in crate::log) fn partition_restore(
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

    /// Records of a ring are lost. In the metadata ring there may be creations of topics among them, with
    /// handles from the next one on.
    pub(in crate::log) fn records_lost(&mut self, ring: RingIndex) {
        if ring == self.numbers.shared() {
            self.lost_from.get_or_insert(self.handle_next);
        }
    }

    /// The start is over: partitions that are not known by now were deleted.
    pub(in crate::log) fn records_found(&mut self) {
        self.lost_from = None;
    }

    /// The `lost-` topics that a start made, to be stored.
    pub(in crate::log) fn found_take(&mut self) -> Vec<TopicSlot> {
        std::mem::take(&mut self.found)
    }

    pub(super) fn topic_create(
        &mut self,
        id: TopicId,
        name: &str,
        ring: RingIndex,
        configs: &[u8],
    ) -> Result<TopicSlot, TableFull> {
        if let Some((slot, _)) = self.topic_named(name) {
            return Ok(slot);
        }
        let name = string_from(name);
        let held = self.rings.get(usize::from(ring.0));
        let kept_for = held.map_or(0, |held| hold::kept_for(held, &name));
        let configs = configs_from(configs);
        let topic = Topic { id, name, ring, kept_for, partitions: 0, configs };
        let full = TableFull { key: "topics_max", max: self.limits.topics_max };
        self.topics.add(topic).ok_or(full)
    }

    pub(super) fn topic_delete(&mut self, id: TopicId, removed: &mut dyn FnMut(PartitionSlot)) {
        let Some((topic, _)) = self.topic_with_id(id) else {
            return;
        };
        let partitions = &self.partitions;
        let is_of = |slot| partitions.get(slot).is_some_and(|found| found.topic == topic);
        self.offsets.forget(&|offset| partitions.with_handle(offset.handle).is_some_and(is_of));
        self.producers.forget_partitions(&is_of);
        for (_, _, slot) in self.partitions.of(topic) {
            self.mirrors.forget_partition(*slot);
            removed(*slot);
        }
        self.partitions.remove_of(topic);
        self.topics.remove(topic);
    }

    /// Replaces a topic's settings.
    pub(super) fn topic_configure(&mut self, id: TopicId, configs: &[u8]) {
        if let Some(slot) = self.topics.with_id(id) {
            self.topics.configs_set(slot, configs_from(configs));
            self.cleanup_changed(slot);
        }
    }
}

/// What is longer than its bound was refused before it was stored; a longer one can only come
/// from a build with larger bounds, and is cut.
pub(super) fn string_from<const N: usize>(text: &str) -> heapless::String<N> {
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
