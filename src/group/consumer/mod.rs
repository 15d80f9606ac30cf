//! The consumer protocol (KIP-848): members say what they are subscribed to and what they have, and
//! the broker says what each shall have.
//!
//! A group's epoch (its generation) grows with every change of its members, of what they are
//! subscribed to, and of those topics' partitions. The first heartbeat after that makes the targets
//! anew (`assign.rs`); from then on each member comes to its target by its own heartbeats
//! (`reconcile.rs`): it gives back what it shall not have any more, and only when it says that it has
//! done so is that given to others.
//!
//! None of it is on flash. After a restart all members are unknown and join again from epoch 0, as
//! clients do that were fenced, holding nothing; so nobody is told of an epoch behind its own. A
//! commit that a client made before the restart and sends again after it must not pass for one of
//! the new epoch: the epochs of each boot begin further on than those of the boots before it.
//!
//! A member takes a place in the table that the classic protocol has, and bytes of the same arena: in
//! the block of its texts what it says of itself, and in the block that a leader's assignment would
//! have its target, what it holds, and the names of its topics.

mod assign;
mod beat;
pub mod bits;
mod classic;
mod describe;
mod reconcile;
#[cfg(test)]
mod tests;

use super::*;
use crate::types::{Boot, PartitionHandle, PartitionSlot, TopicSlot};
use arena::{FIELD_BYTES, Fields, Filler};
use assign::{NOBODY, RANGE, UNIFORM};
pub use beat::{Beat, Beaten, NO_ROOM, Owned, Refusal};
pub use classic::ClassicJoined;
use classic::Subscription;
pub use describe::{ConsumerMemberShown, Partitions};
use members::{Phase, Progress};

/// The topics and their partitions, as far as groups care.
pub trait Topics {
    /// What grows with every change of them.
    fn changes(&self) -> u64;
    /// All topics, in an order that stays.
    fn topics(&self) -> impl Iterator<Item = TopicSlot>;
    /// The topic with this name, if there is one.
    fn topic_named(&self, name: &str) -> Option<TopicSlot>;
    /// A topic's partitions, in order of number.
    fn partitions(&self, topic: TopicSlot) -> impl Iterator<Item = PartitionSlot> + Clone;
    /// The partition in a place, with its topic.
    fn partition(&self, slot: PartitionSlot) -> Option<(PartitionHandle, TopicSlot)>;
    /// The partition of a topic with this name, if there is one.
    fn partition_named(&self, topic: &str, index: i32) -> Option<PartitionSlot>;
}

/// What the broker needs to assign partitions to members, beside the tables of both protocols.
pub struct Consumers {
    /// What the client that asks says it has.
    owned: Box<[u8]>,
    /// What others hold than the member that is looked at.
    taken: Box<[u8]>,
    /// By partition: which one was there when the groups last looked. Places are given again.
    seen: Box<[PartitionHandle]>,
    /// What [`Topics::changes`] said then.
    changes: u64,
    /// By partition, while targets are made: the place of the member that shall have it.
    owners: Box<[u16]>,
    /// By member, a set of the topics that it is subscribed to. It is noted anew whenever it is wanted:
    /// to look for a topic among the names that each member says would be done for each topic again.
    subscriptions: Box<[u8]>,
    /// The bytes of such a set.
    subscription_bytes: usize,
    /// While targets are made: the group's members, by instance id or member id.
    by_name: Vec<MemberAt>,
    /// While targets are made: those of them that are subscribed to a topic.
    subscribers: Vec<MemberAt>,
    /// The epoch before a new group's first one.
    epoch_base: i32,
    session_ms: u32,
    heartbeat_ms: i32,
}

impl Consumers {
    /// Allocates all that will ever be needed.
    pub(super) fn new(config: &Config) -> Consumers {
        let (members, partitions) = (config.group_members_max, config.partitions_max);
        let subscription_bytes = bits::bytes(config.topics_max);
        Consumers {
            owned: vec![0; bits::bytes(partitions)].into(),
            taken: vec![0; bits::bytes(partitions)].into(),
            seen: vec![PartitionHandle(0); partitions].into(),
            changes: u64::MAX,
            owners: vec![NOBODY; partitions].into(),
            subscriptions: vec![0; members * subscription_bytes].into(),
            subscription_bytes,
            by_name: Vec::with_capacity(members),
            subscribers: Vec::with_capacity(members),
            epoch_base: 0,
            session_ms: config.group_consumer_session_timeout_ms,
            heartbeat_ms: config.group_consumer_heartbeat_interval_ms.cast_signed(),
        }
    }

    /// The memory that this takes, but for the structure itself.
    pub(super) fn memory_bytes(config: &Config) -> usize {
        let (members, partitions) = (config.group_members_max, config.partitions_max);
        2 * bits::bytes(partitions)
            + partitions * (size_of::<PartitionHandle>() + size_of::<u16>())
            + members * (bits::bytes(config.topics_max) + 2 * size_of::<MemberAt>())
    }

    /// Whether a member was subscribed to a topic when that was noted.
    fn has_noted(&self, at: MemberAt, topic: TopicSlot) -> bool {
        let start = usize::from(at.0) * self.subscription_bytes;
        bits::has(self.subscriptions.split_at(start).1.split_at(self.subscription_bytes).0, topic.0)
    }

    /// The bytes of a set of partitions.
    fn set_bytes(&self) -> usize {
        self.owned.len()
    }
}

/// What a member of such a group says beside its names; a classic member says none of it.
#[derive(Clone, Copy, Default)]
struct Said<'a> {
    assignor: &'a str,
    rack: &'a str,
}

/// The topics in the end of a member's block.
fn topics_in(fields: &[u8]) -> impl Iterator<Item = &str> + Clone {
    Fields(fields).map(|name| std::str::from_utf8(name).expect("it was text when it came"))
}

impl Groups {
    /// Sets where the epochs of this boot begin: 65,536 further on than those of the boot before.
    pub fn epochs_begin(&mut self, boot: Boot) {
        self.consumers.epoch_base = ((boot.0 % EPOCH_BOOTS) << EPOCH_BITS).cast_signed();
    }

    /// How often members are to be heard of, in ms.
    pub fn heartbeat_ms(&self) -> i32 {
        self.consumers.heartbeat_ms
    }

    /// Looks at what became of topics and partitions since it last looked. Whose partitions are gone
    /// holds them no more; whose topics have others than before gets a new epoch.
    pub fn topics_look(&mut self, topics: &impl Topics) {
        if self.consumers.changes == topics.changes() {
            return;
        }
        self.consumers.changes = topics.changes();
        let mut noted = false;
        for slot in 0..self.consumers.seen.len() {
            let slot = PartitionSlot(slot as u16);
            let found = topics.partition(slot);
            let handle = found.map_or(PartitionHandle(0), |(handle, _)| handle);
            let seen = &mut self.consumers.seen[usize::from(slot.0)];
            if std::mem::replace(seen, handle) == handle {
                continue;
            }
            let notes = !std::mem::replace(&mut noted, true);
            for place in 0..self.members.capacity() {
                let at = MemberAt(place as u16);
                match self.consumer_group_of(at) {
                    Some(group) => {
                        if notes {
                            self.subscription_note(at, topics);
                        }
                        self.partition_changed(group, at, slot, found.map(|(_, topic)| topic));
                    }
                    None if self.members.find(at).is_some_and(|m| m.progress.is_classic) => {
                        bits::remove(self.sets_mut(at).0, slot.0);
                    }
                    None => {}
                }
            }
        }
    }

    /// Another partition is in a place, or none.
    fn partition_changed(
        &mut self,
        group: GroupAt,
        at: MemberAt,
        slot: PartitionSlot,
        topic: Option<TopicSlot>,
    ) {
        let (target, held) = self.sets_mut(at);
        let was_target = bits::remove(target, slot.0);
        let was_held = bits::remove(held, slot.0);
        self.members.get_mut(at).progress.untold |= was_target && was_held;
        let is_new = topic.is_some_and(|topic| self.consumers.has_noted(at, topic));
        // Whatever else changes until the targets are made is of the same epoch.
        let known = self.group(group);
        if (was_target || is_new) && known.generation == known.target_epoch {
            self.epoch_next(group);
        }
    }

    /// What a member shall have.
    fn target(&self, at: MemberAt) -> &[u8] {
        self.arena.bytes(at.assignment_block()).split_at(self.consumers.set_bytes()).0
    }

    /// What a member holds: what it was given and did not give back.
    fn held(&self, at: MemberAt) -> &[u8] {
        let behind = self.arena.bytes(at.assignment_block()).split_at(self.consumers.set_bytes()).1;
        behind.split_at(self.consumers.set_bytes()).0
    }

    /// Both, to change them.
    fn sets_mut(&mut self, at: MemberAt) -> (&mut [u8], &mut [u8]) {
        let bytes = self.consumers.set_bytes();
        let (target, behind) = self.arena.bytes_mut(at.assignment_block()).split_at_mut(bytes);
        (target, behind.split_at_mut(bytes).0)
    }

    /// The topics that a member named, as fields.
    fn topics_said(&self, at: MemberAt) -> &[u8] {
        self.arena.bytes(at.assignment_block()).split_at(2 * self.consumers.set_bytes()).1
    }

    /// What a member says beside its names.
    fn said(&self, at: MemberAt) -> Said<'_> {
        if self.is_classic(at) {
            return Said::default();
        }
        let mut fields = Fields(self.arena.bytes(at.texts_block())).skip(TEXT_ASSIGNOR);
        let mut text = || {
            let field = fields.next().expect("each such member has two texts more");
            std::str::from_utf8(field).expect("it was text when it came")
        };
        Said { assignor: text(), rack: text() }
    }

    /// The topics that a member is subscribed to.
    fn subscribed(&self, at: MemberAt) -> impl Iterator<Item = &str> + Clone + use<'_> {
        let classic = self.is_classic(at).then(|| Subscription::of(self.metadata_first(at)));
        let classic = classic.map(|read| read.expect("it was read when it came").topics);
        classic.into_iter().flatten().chain(topics_in(self.topics_said(at)))
    }

    /// Notes what a member is subscribed to, of the topics that there are: each name is looked up once.
    fn subscription_note(&mut self, at: MemberAt, topics: &impl Topics) {
        let mut sets = std::mem::take(&mut self.consumers.subscriptions);
        let bytes = self.consumers.subscription_bytes;
        let set = sets.split_at_mut(usize::from(at.0) * bytes).1.split_at_mut(bytes).0;
        set.fill(0);
        for topic in self.subscribed(at).filter_map(|name| topics.topic_named(name)) {
            bits::insert(set, topic.0);
        }
        self.consumers.subscriptions = sets;
    }

    /// Whether a member is subscribed to a topic.
    fn subscribes(&self, at: MemberAt, topic: &str) -> bool {
        self.subscribed(at).any(|said| said == topic)
    }

    /// The group that a member is of, if the broker assigns to it.
    fn consumer_group_of(&self, at: MemberAt) -> Option<GroupAt> {
        let group = self.members.find(at)?.group;
        Some(group).filter(|group| self.group(*group).state == State::Consumer)
    }

    /// Something about the group changed.
    fn epoch_next(&mut self, group: GroupAt) {
        let group = self.group_mut(group);
        group.generation = group.generation.checked_add(1).unwrap_or(1);
    }

    /// A member is gone: the others share what it had, or the group is empty.
    pub(super) fn consumer_gone(&mut self, at: GroupAt, now: Now) {
        if self.downgrade(at, now) {
            return;
        }
        self.epoch_next(at);
        if self.members.of(at).next().is_none() {
            let group = self.group_mut(at);
            group.state = State::Empty;
            group.target_epoch = group.generation;
            group.due = now.mono.plus_ms(limits::GROUP_EMPTY_MS);
            self.due_by(now.mono.plus_ms(limits::GROUP_EMPTY_MS));
        }
    }
}

/// The fields of a member's texts, beside what its client calls itself.
const TEXT_ID: usize = 0;
const TEXT_INSTANCE: usize = 1;
const TEXT_ASSIGNOR: usize = 3;
const TEXT_RACK: usize = 4;

/// How many epochs a boot has before it comes to those of the next one, and how many boots there are
/// before they begin anew.
const EPOCH_BITS: u32 = 16;
const EPOCH_BOOTS: u32 = 1 << 14;
