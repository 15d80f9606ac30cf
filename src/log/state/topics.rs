//! Topics: by place, by name and by id; how they come and go.

use super::{State, TableFull, vacant};
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
}

impl State {
    /// All topics, in order of name.
    pub fn topics(&self) -> impl Iterator<Item = (TopicSlot, &Topic)> + Clone {
        self.topics_by_name.iter().filter_map(|slot| Some((*slot, self.topic(*slot)?)))
    }

    /// How many topics there are.
    pub fn topics_len(&self) -> usize {
        self.topics_by_name.len()
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

    /// Records of a ring are lost. Creations among them would have given handles from the next one on.
    pub(in crate::log) fn records_lost(&mut self, ring: RingIndex) {
        if ring == self.numbers.shared() {
            self.lost_from.get_or_insert(self.handle_next);
        }
    }

    /// The start is over: whoever is not known by now is deleted.
    pub(in crate::log) fn records_found(&mut self) {
        self.lost_from = None;
    }

    /// The topics that a start found and that are to be stored as such.
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

    pub(super) fn topic_delete(&mut self, id: TopicId, removed: &mut dyn FnMut(PartitionSlot)) {
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

    /// A topic has these settings from now on.
    pub(super) fn topic_configure(&mut self, id: TopicId, configs: &[u8]) {
        if let Some((slot, _)) = self.topic_with_id(id)
            && let Some(Some(topic)) = self.topics.get_mut(usize::from(slot.0))
        {
            topic.configs = configs_from(configs);
            self.cleanup_changed(slot);
        }
    }

    fn name_of(&self, slot: TopicSlot) -> &str {
        self.topic(slot).map_or("", |topic| &topic.name)
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
