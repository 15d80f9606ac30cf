//! How often names are looked up: once for each that a member says, whatever topics there are.

use std::cell::Cell;

use super::*;
use crate::broker::Broker;
use crate::group::consumer::Topics;
use crate::log::state::State;
use crate::types::{PartitionHandle, PartitionSlot, TopicSlot};

/// The topics, by slots alone but for what is counted.
struct Counted<'a> {
    state: &'a State,
    lookups: Cell<usize>,
}

impl Topics for Counted<'_> {
    fn changes(&self) -> u64 {
        Topics::changes(self.state)
    }

    fn topics(&self) -> impl Iterator<Item = TopicSlot> {
        Topics::topics(self.state)
    }

    fn topic_named(&self, name: &str) -> Option<TopicSlot> {
        self.lookups.set(self.lookups.get() + 1);
        Topics::topic_named(self.state, name)
    }

    fn partitions(&self, topic: TopicSlot) -> impl Iterator<Item = PartitionSlot> + Clone {
        Topics::partitions(self.state, topic)
    }

    fn partition(&self, slot: PartitionSlot) -> Option<(PartitionHandle, TopicSlot)> {
        Topics::partition(self.state, slot)
    }

    fn partition_named(&self, topic: &str, index: i32) -> Option<PartitionSlot> {
        self.lookups.set(self.lookups.get() + 1);
        Topics::partition_named(self.state, topic, index)
    }
}

const MEMBERS: usize = 6;
const NAMES: usize = 40;

/// Members that say more names than there are topics.
fn world_of(assignor: &'static str) -> World {
    let mut world = World::new(4);
    (1..=20).for_each(|number| world.create(&name(number), 2));
    for member in 0..MEMBERS {
        let client = Client { assignor: Some(assignor), ..client(&format!("member-{member}")) };
        let names = (1..=NAMES).map(|number| topic(&name(number))).collect();
        let request = world.request(&client, 0, true).with_subscribed_topic_names(Some(names));
        assert_eq!(world.send(&request).error_code, 0);
    }
    world
}

fn name(number: usize) -> String {
    format!("topic-{number}")
}

#[test]
fn targets_are_made_with_one_lookup_for_each_name_that_a_member_says() {
    for assignor in ["uniform", "range"] {
        let mut world = world_of(assignor);
        let Broker { log, groups, .. } = &mut world.bench.broker;
        let counted = Counted { state: log.state(), lookups: Cell::new(0) };
        let group = groups.find(GROUP).unwrap();
        assert_eq!(groups.assignor(group), assignor);
        groups.targets_make(group, &counted);
        assert_eq!(counted.lookups.get(), MEMBERS * NAMES, "{assignor}");
        let shown = groups.show(GROUP).unwrap();
        let counts: Vec<u32> = shown.consumer_members().map(|m| m.target.count()).collect();
        assert_eq!(counts.iter().sum::<u32>(), 40, "{assignor}: {counts:?}");
    }
}

#[test]
fn topics_that_change_cost_one_lookup_for_each_name_that_a_member_says() {
    let mut world = world_of("uniform");
    world.bench.broker.groups_look();
    let (epoch, _) = world.epochs();
    (21..=23).for_each(|number| world.create(&name(number), 5));
    world.grow("t", 9);
    let Broker { log, groups, .. } = &mut world.bench.broker;
    let counted = Counted { state: log.state(), lookups: Cell::new(0) };
    groups.topics_look(&counted);
    assert_eq!(counted.lookups.get(), MEMBERS * NAMES);
    groups.topics_look(&counted);
    assert_eq!(counted.lookups.get(), MEMBERS * NAMES, "nothing changed since");
    assert_eq!(world.epochs().0, epoch + 1);
}
