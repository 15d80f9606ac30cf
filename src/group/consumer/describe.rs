//! What is told of groups that the broker assigns to.

use std::net::IpAddr;

use super::*;

/// A member, for those who look.
pub struct ConsumerMemberShown<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its instance id, if it is static.
    pub instance_id: Option<&'a str>,
    /// Where it is, if it says so.
    pub rack: Option<&'a str>,
    /// Its epoch.
    pub epoch: i32,
    /// What its client calls itself.
    pub client_id: &'a str,
    /// Where it connects from.
    pub remote: IpAddr,
    /// What it has.
    pub assigned: Partitions<'a>,
    /// What it shall have.
    pub target: Partitions<'a>,
    /// Whether it speaks the classic protocol.
    pub is_classic: bool,
    groups: &'a Groups,
    place: MemberAt,
}

/// Some of all partitions.
#[derive(Clone, Copy)]
pub struct Partitions<'a> {
    set: &'a [u8],
    also_in: &'a [u8],
}

impl Partitions<'_> {
    /// How many they are.
    pub fn count(&self) -> u32 {
        self.set.iter().zip(self.also_in).map(|(set, also_in)| (set & also_in).count_ones()).sum()
    }

    /// Whether this one is among them.
    pub fn has(&self, slot: PartitionSlot) -> bool {
        bits::has(self.set, slot.0) && bits::has(self.also_in, slot.0)
    }
}

impl<'a> ConsumerMemberShown<'a> {
    /// The topics that it is subscribed to.
    pub fn topics(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.groups.subscribed(self.place)
    }
}

impl Groups {
    /// What a member is told that it has.
    pub fn beaten_partitions(&self, beaten: &Beaten) -> Option<Partitions<'_>> {
        let at = beaten.member.filter(|_| beaten.tells)?;
        Some(self.told(at))
    }

    /// The id of a member that did not leave.
    pub fn beaten_id(&self, beaten: &Beaten) -> Option<&str> {
        Some(beaten.member?.texts(&self.arena).id)
    }

    /// What a member may use: what it holds and shall have.
    pub(super) fn told(&self, at: MemberAt) -> Partitions<'_> {
        Partitions { set: self.held(at), also_in: self.target(at) }
    }
}

impl<'a> GroupShown<'a> {
    /// Kafka's name of what a group is doing that the broker assigns to.
    pub fn consumer_state(&self) -> &'static str {
        let group = self.groups.group(self.at);
        let has_come = |member: &Member| {
            let progress = &member.progress;
            progress.phase == Phase::Stable && progress.epoch == group.target_epoch
        };
        match group.state {
            State::Consumer if group.generation != group.target_epoch => "Assigning",
            State::Consumer if !self.groups.members.of(self.at).all(|(_, m)| has_come(m)) => {
                "Reconciling"
            }
            state => state.name(),
        }
    }

    /// Its epoch.
    pub fn epoch(&self) -> i32 {
        self.groups.group(self.at).generation
    }

    /// The epoch for which its targets were made.
    pub fn target_epoch(&self) -> i32 {
        self.groups.group(self.at).target_epoch
    }

    /// How partitions are assigned in it.
    pub fn assignor(&self) -> &'static str {
        self.groups.assignor(self.at)
    }

    /// Its members.
    pub fn consumer_members(&self) -> impl Iterator<Item = ConsumerMemberShown<'a>> + use<'a> {
        let GroupShown { groups, at } = *self;
        let some = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        groups.members.of(at).map(move |(place, member)| {
            let (texts, said) = (place.texts(&groups.arena), groups.said(place));
            let whole = |set| Partitions { set, also_in: set };
            ConsumerMemberShown {
                id: texts.id,
                instance_id: member.is_static.then_some(texts.instance_id),
                rack: some(said.rack),
                epoch: member.progress.epoch,
                client_id: texts.client_id,
                remote: member.remote,
                assigned: match member.progress.phase {
                    Phase::Revoking => groups.told(place),
                    Phase::Stable | Phase::Awaiting => whole(groups.held(place)),
                },
                target: whole(groups.target(place)),
                is_classic: member.progress.is_classic,
                groups,
                place,
            }
        })
    }

    /// Whether any member is subscribed to a topic.
    pub(in crate::group) fn is_subscribed_by_consumer(&self, topic: &str) -> bool {
        let mut members = self.groups.members.of(self.at);
        members.any(|(at, _)| self.groups.subscribes(at, topic))
    }
}
