//! Consumer groups: who is in them, what they agreed on or were assigned, and who waits.
//!
//! All of it is in memory alone. After a restart, members are called to join again, until the group
//! has a generation (`former.rs`); what groups committed is in the log. Everything is allocated at the start: groups and
//! members are tables, what they say is in one arena. Nothing here knows the wire, the log or a
//! clock: [`Groups::tick`] is called when [`Groups::due`] has come.

mod arena;
#[cfg(feature = "consumer-protocol")]
pub mod consumer;
mod describe;
mod former;
mod full;
mod members;
mod membership;
mod rebalance;
pub mod states;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod waits;

use std::rc::Rc;

use crate::clock::{Mono, Now};
use crate::codec::ErrorCode;
use crate::config::Config;
use crate::limits;
use crate::log_limit::{About, LogLimit};
use crate::metrics::GroupMetrics;
use crate::types::ConnId;
use arena::{Arena, BlockId};
pub use describe::{GroupShown, Joined, MemberShown};
pub use members::{Assignments, Protocols};
use members::{Awaits, Member, MemberAt, Members, Texts};
pub use membership::{Join, Refused, Sync, Who};
use states::{Act, Event, State};
use waits::Wait;
pub use waits::{Answer, Role, WaitNext};

/// A member's id.
pub type MemberId = heapless::String<{ limits::GROUP_MEMBER_ID_BYTES_MAX }>;

/// The name of a protocol, or of a type of protocols.
type ProtocolName = heapless::String<{ limits::GROUP_PROTOCOL_BYTES_MAX }, u8>;

/// A group's place in the table; given again after it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupAt(u16);

/// All groups that have, or recently had, members.
pub struct Groups {
    terms: Terms,
    groups: Vec<Option<Group>>,
    members: Members,
    arena: Arena,
    /// What the broker needs to assign partitions.
    #[cfg(feature = "consumer-protocol")]
    consumers: consumer::Consumers,
    /// By connection.
    waits: Vec<Option<Wait>>,
    woken: Vec<ConnId>,
    /// Nothing is due before this.
    due: Mono,
    changes: u32,
    /// Until then there may be members of before the start of the broker.
    former_until: Mono,
    /// What is logged of what members do.
    lines: Rc<LogLimit>,
    /// What is counted.
    pub counts: GroupMetrics,
}

/// What the configuration says.
#[derive(Debug, Clone, Copy)]
struct Terms {
    initial_delay_ms: u64,
    session_ms_min: u32,
    session_ms_max: u32,
    size_max: usize,
}

/// A group.
#[derive(Debug, Clone)]
struct Group {
    state: State,
    /// Whether the broker assigns to its members, or did so to the last of them.
    is_consumer: bool,
    /// Of a consumer group, its epoch.
    generation: i32,
    /// Of a consumer group, the epoch for which its targets were made.
    #[cfg(feature = "consumer-protocol")]
    target_epoch: i32,
    /// "consumer", or what else its members are; kept when they are gone.
    protocol_type: ProtocolName,
    /// What the members of this generation agreed on; none: nothing yet.
    protocol: Option<ProtocolName>,
    leader: Option<MemberAt>,
    /// It had no members before this rebalance, which waits for more of them.
    initial: bool,
    /// How many more parts that wait has: one since a member came, two since a former one was heard of.
    initial_more: u8,
    /// How long the present part of that wait is, and how much may follow.
    initial_ms: u32,
    initial_left_ms: u32,
    /// What its state waits for is over then: an empty group is forgotten, a rebalance goes on without
    /// those who are missing, those who did not ask for their assignment are removed.
    due: Mono,
    /// It had no generation since the start of the broker: its members of before may be there.
    former: bool,
    /// Grows with all that makes answers on their way untrue; never the same for two groups.
    revision: u32,
}

impl Groups {
    /// No groups; allocates all that they will ever need.
    pub fn new(config: &Config, lines: Rc<LogLimit>) -> Groups {
        let (groups, members) = (config.groups_max, config.group_members_max);
        let blocks = Members::blocks(members) + groups;
        Groups {
            terms: Terms {
                initial_delay_ms: config.group_initial_rebalance_delay_ms,
                session_ms_min: config.group_min_session_timeout_ms,
                session_ms_max: config.group_max_session_timeout_ms,
                size_max: config.group_max_size as usize,
            },
            groups: vec![None; groups],
            members: Members::new(members),
            arena: Arena::new(config.group_members_bytes, blocks),
            #[cfg(feature = "consumer-protocol")]
            consumers: consumer::Consumers::new(config),
            waits: vec![None; config.max_connections],
            woken: Vec::with_capacity(config.max_connections),
            due: NEVER,
            changes: 0,
            former_until: Mono(0),
            lines,
            counts: GroupMetrics::default(),
        }
    }

    /// The memory that this takes with such a configuration, without the arena's bytes.
    pub fn memory_bytes(config: &Config) -> usize {
        let (groups, members) = (config.groups_max, config.group_members_max);
        #[cfg(feature = "consumer-protocol")]
        let consumers = consumer::Consumers::memory_bytes(config);
        #[cfg(not(feature = "consumer-protocol"))]
        let consumers = 0;
        consumers
            + groups * size_of::<Option<Group>>()
            + Members::memory_bytes(members)
            + Arena::memory_bytes(0, Members::blocks(members) + groups)
            + config.max_connections * (size_of::<Option<Wait>>() + size_of::<ConnId>())
    }

    /// How many members there are, with those that were only given an id.
    pub fn members_len(&self) -> usize {
        self.members.len()
    }

    /// Bytes that names, subscriptions and assignments take.
    pub fn bytes_used(&self) -> usize {
        self.arena.used()
    }

    /// The state of a group; [`State::Dead`]: it is not here. One with offsets is empty then.
    pub fn state(&self, group: &str) -> State {
        self.find(group).map_or(State::Dead, |at| self.group(at).state)
    }

    /// Forgets a group without members, with the ids that it gave.
    pub fn forget(&mut self, group: &str) {
        if let Some(at) = self.find(group) {
            assert_eq!(self.group(at).state, State::Empty, "nobody is thrown out");
            self.group_remove(at);
        }
    }

    fn find(&self, name: &str) -> Option<GroupAt> {
        let mut all = (0..).map(GroupAt).zip(&self.groups);
        let is = |at| self.arena.bytes(self.name_block(at)) == name.as_bytes();
        all.find(|(at, group)| group.is_some() && is(*at)).map(|(at, _)| at)
    }

    fn name(&self, at: GroupAt) -> &str {
        std::str::from_utf8(self.arena.bytes(self.name_block(at)))
            .expect("it was text when it came")
    }

    fn name_block(&self, at: GroupAt) -> BlockId {
        BlockId((Members::blocks(self.members.capacity())) as u16 + at.0)
    }

    fn group(&self, at: GroupAt) -> &Group {
        self.groups[usize::from(at.0)].as_ref().expect("only groups have a place")
    }

    fn group_mut(&mut self, at: GroupAt) -> &mut Group {
        self.groups[usize::from(at.0)].as_mut().expect("only groups have a place")
    }

    /// The group's revision; 0 for one that is not there any more.
    fn revision(&self, at: GroupAt) -> u32 {
        self.groups.get(usize::from(at.0)).and_then(Option::as_ref).map_or(0, |g| g.revision)
    }

    /// What was to be answered of this group is not true any more.
    fn revise(&mut self, at: GroupAt) {
        self.changes = self.changes.wrapping_add(1).max(1);
        self.group_mut(at).revision = self.changes;
    }

    /// The place of a new group: a free one, or that of the one that has been empty for longest.
    fn group_add(&mut self, name: &str, now: Now) -> Result<GroupAt, ErrorCode> {
        let free = self.groups.iter().position(Option::is_none).map(|at| GroupAt(at as u16));
        let at = match free.or_else(|| self.group_idle()) {
            Some(at) => at,
            None => return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        };
        if self.groups[usize::from(at.0)].is_some() {
            self.group_remove(at);
        }
        let block = self.name_block(at);
        let place = self.arena.put(block, name.len());
        place.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?.copy_from_slice(name.as_bytes());
        self.groups[usize::from(at.0)] = Some(Group {
            state: State::Empty,
            is_consumer: false,
            generation: 0,
            #[cfg(feature = "consumer-protocol")]
            target_epoch: 0,
            protocol_type: ProtocolName::new(),
            protocol: None,
            leader: None,
            initial: false,
            initial_more: 0,
            initial_ms: 0,
            initial_left_ms: 0,
            due: now.mono.plus_ms(limits::GROUP_EMPTY_MS),
            former: true,
            revision: 0,
        });
        self.revise(at);
        self.due_by(now.mono.plus_ms(limits::GROUP_EMPTY_MS));
        Ok(at)
    }

    /// The group that has been empty for longest and expects nobody.
    fn group_idle(&self) -> Option<GroupAt> {
        let all = (0..).map(GroupAt).zip(&self.groups);
        let idle = all.filter_map(|(at, group)| {
            let group = group.as_ref().filter(|group| group.state == State::Empty)?;
            Some((group.due, at)).filter(|_| !self.is_expecting(at))
        });
        idle.min_by_key(|(due, _)| *due).map(|(_, at)| at)
    }

    /// Removes a group without members.
    fn group_remove(&mut self, at: GroupAt) {
        let pending = |groups: &Groups| {
            let mut members = groups.members.iter();
            members.find(|(_, member)| member.group == at).map(|(member, _)| member)
        };
        while let Some(member) = pending(self) {
            self.member_drop(member);
        }
        self.arena.free(self.name_block(at));
        if !self.group(at).former || self.group(at).generation > 0 {
            // Nothing would tell it from one that had no generation since the start, or which was named.
            self.former_over();
        }
        self.groups[usize::from(at.0)] = None;
    }

    /// Whether someone was given an id and did not come with it yet.
    fn is_expecting(&self, at: GroupAt) -> bool {
        self.members.iter().any(|(_, member)| member.group == at && member.pending)
    }

    /// A member by id, be it pending or not; no id is nobody's.
    fn member_named(&self, at: GroupAt, id: &str) -> Option<MemberAt> {
        if id.is_empty() {
            return None;
        }
        let mut members = self.members.iter().filter(|(_, member)| member.group == at);
        let is = |member: MemberAt| member.id_bytes(&self.arena) == id.as_bytes();
        members.find(|(member, _)| is(*member)).map(|(member, _)| member)
    }

    /// A static member by instance id.
    fn member_static(&self, at: GroupAt, instance_id: &str) -> Option<MemberAt> {
        let mut members = self.members.of(at).filter(|(_, member)| member.is_static);
        let found = members.find(|(at, _)| at.texts(&self.arena).instance_id == instance_id);
        found.map(|(member, _)| member)
    }

    /// The member that a request names, as Kafka checks it.
    fn member_check(&self, at: GroupAt, who: Who<'_>) -> Result<MemberAt, ErrorCode> {
        let named = self.member_named(at, who.member_id);
        let named = named.filter(|member| !self.members.get(*member).pending);
        if let Some(instance_id) = who.instance_id {
            let current = self.member_static(at, instance_id).ok_or(UNKNOWN)?;
            return if named == Some(current) {
                Ok(current)
            } else {
                Err(ErrorCode::FENCED_INSTANCE_ID)
            };
        }
        named.ok_or(UNKNOWN)
    }

    /// Nobody is expected any more.
    #[cfg(feature = "consumer-protocol")]
    fn pending_drop(&mut self, at: GroupAt) {
        let expected = |groups: &Groups| {
            let mut members = groups.members.iter();
            members.find(|(_, member)| member.group == at && member.pending).map(|(at, _)| at)
        };
        while let Some(pending) = expected(self) {
            self.member_drop(pending);
        }
    }

    /// Takes a member from its group, and answers whoever waits for it.
    fn member_drop(&mut self, at: MemberAt) {
        self.answer(at, UNKNOWN);
        let member = self.members.remove(at);
        self.arena.free(at.texts_block());
        self.arena.free(at.assignment_block());
        let next = self.members.of(member.group).next().map(|(next, _)| next);
        let group = self.group_mut(member.group);
        if group.leader == Some(at) {
            group.leader = next;
        }
        if !member.pending {
            self.revise(member.group);
        }
    }

    /// Something is due at this moment.
    fn due_by(&mut self, moment: Mono) {
        self.due = self.due.min(moment);
    }
}

/// Nothing is due.
const NEVER: Mono = Mono(u64::MAX);

const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_MEMBER_ID;
