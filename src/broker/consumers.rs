//! Topics as the consumer protocol's groups see them.

use super::Broker;
use crate::group::consumer::Topics;
use crate::log::state::State;
use crate::types::{PartitionHandle, PartitionSlot, TopicSlot};

impl Broker {
    /// Brings the groups up to date with the topics, before they are shown.
    pub fn groups_look(&mut self) {
        self.groups.topics_look(self.log.state());
    }
}

impl Topics for State {
    fn changes(&self) -> u64 {
        self.changes()
    }

    fn topics(&self) -> impl Iterator<Item = TopicSlot> {
        self.topics().map(|(slot, _)| slot)
    }

    fn topic_named(&self, name: &str) -> Option<TopicSlot> {
        self.topic_named(name).map(|(slot, _)| slot)
    }

    fn partitions(&self, topic: TopicSlot) -> impl Iterator<Item = PartitionSlot> + Clone {
        self.partitions_of(topic).map(|(slot, _)| slot)
    }

    fn partition(&self, slot: PartitionSlot) -> Option<(PartitionHandle, TopicSlot)> {
        self.partition(slot).map(|partition| (partition.handle, partition.topic))
    }

    fn partition_named(&self, topic: &str, index: i32) -> Option<PartitionSlot> {
        let (topic, _) = self.topic_named(topic)?;
        self.partition_of(topic, index.try_into().ok()?)
    }
}
