//! What is told of groups: to their members, and to those who look.

use std::net::IpAddr;

use super::*;
use crate::codec::{self, Array, Decode, Reader};

/// What a member is told of the generation that it joined.
pub struct Joined<'a> {
    /// The generation.
    pub generation: i32,
    /// "consumer", or what else the group is.
    pub protocol_type: &'a str,
    /// What was agreed on.
    pub protocol: &'a str,
    /// The leader's id; empty for a leader that came back and is to follow.
    pub leader: &'a str,
    /// The member's own id.
    pub member_id: &'a str,
    /// Whether the leader is to leave the assignment as it is.
    pub skip_assignment: bool,
    /// Whether it is told who the members are.
    pub leads: bool,
}

/// A group, for those who look.
#[derive(Clone, Copy)]
pub struct GroupShown<'a> {
    pub(super) groups: &'a Groups,
    pub(super) at: GroupAt,
}

/// A member, for those who look.
pub struct MemberShown<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its instance id, if it is static.
    pub instance_id: Option<&'a str>,
    /// What its client calls itself.
    pub client_id: &'a str,
    /// Where it connects from.
    pub remote: IpAddr,
    /// What it says to the protocol of this generation.
    pub metadata: &'a [u8],
    /// What it was assigned.
    pub assignment: &'a [u8],
}

impl Groups {
    /// All groups that are here, in no order.
    pub fn shown(&self) -> impl Iterator<Item = GroupShown<'_>> {
        let all = (0..).map(GroupAt).zip(&self.groups);
        let there = all.filter(|(_, group)| group.is_some());
        there.map(|(at, _)| GroupShown { groups: self, at })
    }

    /// A group that is here.
    pub fn show(&self, group: &str) -> Option<GroupShown<'_>> {
        self.find(group).map(|at| GroupShown { groups: self, at })
    }

    /// What a member is told that has joined.
    pub fn joined(&self, answer: &Answer) -> Joined<'_> {
        let group = self.group(answer.group);
        let leads = group.leader == Some(answer.member);
        let leader = match (answer.role, group.leader) {
            (Role::LeaderAsFollower, _) | (_, None) => "",
            (_, Some(leader)) => leader.texts(&self.arena).id,
        };
        Joined {
            generation: group.generation,
            protocol_type: &group.protocol_type,
            protocol: group.protocol.as_deref().unwrap_or_default(),
            leader,
            member_id: answer.member.texts(&self.arena).id,
            skip_assignment: answer.role == Role::LeaderThatSkips,
            leads: leads && answer.role != Role::LeaderAsFollower,
        }
    }

    /// The group that an answer is about.
    pub fn answered(&self, answer: &Answer) -> GroupShown<'_> {
        GroupShown { groups: self, at: answer.group }
    }

    /// What a member was assigned.
    pub fn assignment(&self, answer: &Answer) -> &[u8] {
        self.arena.bytes(answer.member.assignment_block())
    }
}

impl<'a> GroupShown<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.groups.name(self.at)
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.groups.group(self.at).state
    }

    /// Whether the broker assigns to its members, or did so to the last of them.
    pub fn is_consumer(&self) -> bool {
        self.groups.group(self.at).is_consumer
    }

    /// "consumer", or what else its members are.
    pub fn protocol_type(&self) -> &'a str {
        &self.groups.group(self.at).protocol_type
    }

    /// What the members of this generation agreed on; none: nothing yet.
    pub fn protocol(&self) -> Option<&'a str> {
        self.groups.group(self.at).protocol.as_deref()
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = MemberShown<'a>> + use<'a> {
        let GroupShown { groups, at } = *self;
        let protocol = self.protocol();
        groups.members.of(at).map(move |(place, member)| {
            let texts = place.texts(&groups.arena);
            MemberShown {
                id: texts.id,
                instance_id: member.is_static.then_some(texts.instance_id),
                client_id: texts.client_id,
                remote: member.remote,
                metadata: protocol.map_or(&[], |protocol| texts.metadata(protocol)),
                assignment: groups.arena.bytes(place.assignment_block()),
            }
        })
    }

    /// Whether it expects someone who was given an id.
    pub fn is_expecting(&self) -> bool {
        self.groups.is_expecting(self.at)
    }

    /// Whether it has members, or expects some.
    pub fn is_used(&self) -> bool {
        self.state() != State::Empty || self.is_expecting()
    }

    /// Whether its members are consumers, whose subscriptions can be read.
    pub fn has_consumers(&self) -> bool {
        self.protocol_type() == CONSUMER
    }

    /// Whether any member is subscribed to a topic. Consumers whose subscription cannot be read, or
    /// that have not agreed on anything yet, may be subscribed to all.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        #[cfg(feature = "consumer-protocol")]
        if self.state() == State::Consumer {
            return self.is_subscribed_by_consumer(topic);
        }
        let names = |metadata| subscription(metadata).map(|mut topics| topics.any(|t| t == topic));
        self.state() != State::Empty
            && self.has_consumers()
            && (self.protocol().is_none()
                || self.members().any(|member| names(member.metadata) != Ok(false)))
    }
}

/// The topics of a consumer's subscription: what all its versions begin with.
fn subscription(metadata: &[u8]) -> Result<impl Iterator<Item = &str>, codec::Error> {
    let mut reader = Reader::new(metadata);
    i16::decode_from(&mut reader)?;
    Ok(Array::<&str>::decode_from(&mut reader)?.iter())
}

/// The type of protocols that consumers speak.
const CONSUMER: &str = "consumer";
