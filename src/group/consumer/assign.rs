//! Who shall have what: the assignors `uniform` and `range`.
//!
//! Both work on tables that were allocated at the start: for each partition the place of the member
//! that shall have it, and for each topic a list of those who are subscribed to it. What members are
//! subscribed to is looked up once, before the first topic.

use super::*;

impl Groups {
    /// Makes the targets of all members anew, for the group's present epoch.
    pub(super) fn targets_make(&mut self, group: GroupAt, topics: &impl Topics) {
        let by_range = self.assignor(group) == RANGE;
        self.consumers.owners.fill(NOBODY);
        for (_, member) in self.members.of_mut(group) {
            member.progress.load = 0;
        }
        self.subscriptions_note(group, topics);
        if by_range {
            for topic in topics.topics() {
                self.subscribers_list(topic);
                self.assign_ranges(topics.partitions(topic));
            }
        } else {
            self.assign_uniform(topics);
        }
        for place in 0..self.members.capacity() {
            let at = MemberAt(place as u16);
            if self.is_member(at, group) {
                self.target_set(at);
            }
        }
        let group = self.group_mut(group);
        group.target_epoch = group.generation;
        self.counts.rebalances += 1;
    }

    /// What most of those members want that want anything; `uniform` where nobody does.
    pub(super) fn assignor(&self, group: GroupAt) -> &'static str {
        let mut range_more = 0_i32;
        for (member, _) in self.members.of(group) {
            match self.said(member).assignor {
                RANGE => range_more += 1,
                UNIFORM => range_more -= 1,
                _ => {}
            }
        }
        if range_more > 0 { RANGE } else { UNIFORM }
    }

    /// Notes what the members are subscribed to, and in which order they come: once for all topics.
    fn subscriptions_note(&mut self, group: GroupAt, topics: &impl Topics) {
        let mut list = std::mem::take(&mut self.consumers.by_name);
        list.clear();
        list.extend(self.members.of(group).map(|(at, _)| at));
        let name = |at: &MemberAt| {
            let texts = at.texts(&self.arena);
            if texts.instance_id.is_empty() { texts.id } else { texts.instance_id }
        };
        list.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        for at in &list {
            self.subscription_note(*at, topics);
        }
        self.consumers.by_name = list;
    }

    /// Lists the members that are subscribed to a topic, by instance id or member id.
    fn subscribers_list(&mut self, topic: TopicSlot) {
        let mut list = std::mem::take(&mut self.consumers.subscribers);
        list.clear();
        let members = self.consumers.by_name.iter();
        list.extend(members.filter(|at| self.consumers.has_noted(**at, topic)));
        self.consumers.subscribers = list;
    }

    /// Each subscriber gets as many neighbours as the others, the first ones one more.
    fn assign_ranges(&mut self, partitions: impl Iterator<Item = PartitionSlot> + Clone) {
        let Consumers { owners, subscribers, .. } = &mut self.consumers;
        let count = partitions.clone().count();
        let Some(each) = count.checked_div(subscribers.len()) else {
            return;
        };
        let more = count % subscribers.len();
        let shares = subscribers.iter().enumerate().flat_map(|(place, member)| {
            std::iter::repeat_n(member.0, each + usize::from(place < more))
        });
        for (slot, owner) in partitions.zip(shares) {
            owners[usize::from(slot.0)] = owner;
        }
    }

    /// Everyone keeps what it has; what nobody has goes to those with least; then those with most
    /// give to those with least, until nobody has two more than another that could have one of them.
    fn assign_uniform(&mut self, topics: &impl Topics) {
        for topic in topics.topics() {
            self.subscribers_list(topic);
            for slot in topics.partitions(topic) {
                let mut subscribers = self.consumers.subscribers.iter();
                let keeps = subscribers.find(|at| bits::has(self.target(**at), slot.0)).copied();
                if let Some(at) = keeps {
                    self.give(slot, at);
                }
            }
        }
        for topic in topics.topics() {
            self.subscribers_list(topic);
            for slot in topics.partitions(topic) {
                if self.consumers.owners[usize::from(slot.0)] == NOBODY
                    && let Some(at) = self.least_loaded()
                {
                    self.give(slot, at);
                }
            }
        }
        // Each move makes the sum of the squares of all loads smaller, so there is an end.
        loop {
            let mut moved = false;
            for topic in topics.topics() {
                self.subscribers_list(topic);
                while self.level(topics.partitions(topic)) {
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Moves partitions of a topic, if someone has two more than another of its subscribers: as many
    /// as bring neither beyond what all have on average, and at least one.
    fn level(&mut self, partitions: impl Iterator<Item = PartitionSlot> + Clone) -> bool {
        let Some(to) = self.least_loaded() else {
            return false;
        };
        let load = |groups: &Groups, at: MemberAt| groups.members.get(at).progress.load;
        // What a member does not hold yet costs it nothing.
        let given = partitions.clone().map(|slot| {
            let at = MemberAt(self.consumers.owners[usize::from(slot.0)]);
            (load(self, at), !bits::has(self.held(at), slot.0), at)
        });
        let Some((most, _, from)) = given.max_by_key(|(load, is_new, _)| (*load, *is_new)) else {
            return false;
        };
        let least = load(self, to);
        if most < least + 2 {
            return false;
        }
        let subscribers = &self.consumers.subscribers;
        let all: usize = subscribers.iter().map(|at| usize::from(load(self, *at))).sum();
        let (low, high) = (all / subscribers.len(), all.div_ceil(subscribers.len()));
        let spare = usize::from(most).saturating_sub(high);
        let mut count = spare.min(low.saturating_sub(usize::from(least))).max(1);
        for wants_held in [false, true] {
            for slot in partitions.clone() {
                let is_its = self.consumers.owners[usize::from(slot.0)] == from.0;
                if count > 0 && is_its && bits::has(self.held(from), slot.0) == wants_held {
                    self.members.get_mut(from).progress.load -= 1;
                    self.give(slot, to);
                    count -= 1;
                }
            }
        }
        true
    }

    fn give(&mut self, slot: PartitionSlot, at: MemberAt) {
        self.consumers.owners[usize::from(slot.0)] = at.0;
        self.members.get_mut(at).progress.load += 1;
    }

    /// The subscriber with the fewest partitions.
    fn least_loaded(&self) -> Option<MemberAt> {
        let subscribers = self.consumers.subscribers.iter().copied();
        subscribers.min_by_key(|at| self.members.get(*at).progress.load)
    }

    /// Takes a member's target from the owners.
    fn target_set(&mut self, at: MemberAt) {
        let bytes = self.consumers.set_bytes();
        let (target, behind) = self.arena.bytes_mut(at.assignment_block()).split_at_mut(bytes);
        let mut told_changes = false;
        let sets = target.iter_mut().zip(behind);
        for ((target, held), owners) in sets.zip(self.consumers.owners.chunks(8)) {
            let mut new = 0;
            for (bit, owner) in owners.iter().enumerate() {
                new |= u8::from(*owner == at.0) << bit;
            }
            told_changes |= (*target ^ new) & *held != 0;
            *target = new;
        }
        self.members.get_mut(at).progress.untold |= told_changes;
    }
}

/// No member's place.
pub const NOBODY: u16 = u16::MAX;

/// The assignors, by the names that clients ask for.
pub const UNIFORM: &str = "uniform";
/// Neighbouring partitions of each topic.
pub const RANGE: &str = "range";
