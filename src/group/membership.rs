//! What clients ask: to join, to leave, to be known as alive, to commit.

use std::net::IpAddr;

use super::members::{self, member_id};
use super::*;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The id that the group gave; empty: none yet.
    pub member_id: &'a str,
    /// The instance id of a static member.
    pub instance_id: Option<&'a str>,
}

/// A wish to join.
#[derive(Clone, Copy)]
pub struct Join<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub who: Who<'a>,
    /// What its client calls itself.
    pub client_id: &'a str,
    /// Where it connects from.
    pub remote: IpAddr,
    /// How long it may be silent, in ms.
    pub session_ms: i32,
    /// How long it may take to join again, in ms.
    pub rebalance_ms: i32,
    /// "consumer", or what else it is.
    pub protocol_type: &'a str,
    /// What it can do, the best first.
    pub protocols: Protocols<'a>,
    /// Whether a new member is told its id first, and has to come again with it.
    pub id_first: bool,
    /// Whether a leader knows that it may be told not to assign.
    pub may_skip: bool,
    /// 16 random bytes, for an id.
    pub random: [u8; 16],
}

/// A wish for one's assignment.
#[derive(Clone, Copy)]
pub struct Sync<'a> {
    /// The group.
    pub group: &'a str,
    /// The member.
    pub who: Who<'a>,
    /// The generation that it knows.
    pub generation: i32,
    /// The type that it takes the group to have, if it says so.
    pub protocol_type: Option<&'a str>,
    /// The protocol that it takes the group to have, if it says so.
    pub protocol: Option<&'a str>,
    /// What the leader assigns.
    pub assignments: Assignments<'a>,
}

/// Why someone cannot join, and which id the answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub code: ErrorCode,
    /// The id to come again with; none: the one that was asked with.
    pub member_id: Option<MemberId>,
}

impl Groups {
    /// Whether a group of members may have this name.
    pub fn id_check(group: &str) -> Result<(), ErrorCode> {
        if (1..=limits::GROUP_ID_BYTES_MAX).contains(&group.len()) {
            Ok(())
        } else {
            Err(ErrorCode::INVALID_GROUP_ID)
        }
    }

    /// Has someone join: answered through `conn`, now or when all others have joined.
    pub fn join(&mut self, ask: &Join<'_>, conn: ConnId, now: Now) -> Result<(), Refused> {
        self.join_check(ask)?;
        let at = match self.find(ask.group) {
            Some(at) => at,
            None if ask.who.member_id.is_empty() || self.may_be_former(None, now) => {
                self.group_add(ask.group, now)?
            }
            None => return Err(UNKNOWN.into()),
        };
        assert_ne!(self.group(at).state, State::Consumer, "who joins those is answered at once");
        let known = match ask.who.member_id {
            "" => None,
            id => self.member_named(at, id),
        };
        if !self.join_has_place(at, known) {
            if let Some(member) = known {
                self.member_leave(member, now);
            }
            return Err(Refused::new(ErrorCode::GROUP_MAX_SIZE_REACHED));
        }
        if !self.supports(at, ask) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL.into());
        }
        match known {
            Some(member) if self.members.get(member).pending => {
                self.join_pending(member, ask, conn, now)
            }
            _ if !ask.who.member_id.is_empty() => match self.member_check(at, ask.who) {
                Ok(member) => self.rejoin(member, ask, conn, now),
                Err(UNKNOWN) if self.is_adopted(at, ask.who.member_id, now) => {
                    // It was in a generation, whichever.
                    self.group_mut(at).generation = self.group(at).generation.max(1);
                    self.join_as(at, ask.who.member_id, ask, conn, now)
                }
                Err(code) => Err(code.into()),
            },
            _ => self.join_new(at, ask, conn, now),
        }
    }

    /// What can be said without looking at the group.
    pub fn join_check(&self, ask: &Join<'_>) -> Result<(), Refused> {
        Groups::id_check(ask.group)?;
        let sessions = self.terms.session_ms_min..=self.terms.session_ms_max;
        if !u32::try_from(ask.session_ms).is_ok_and(|ms| sessions.contains(&ms)) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT.into());
        }
        let mut count = 0;
        let lengths = 1..=limits::GROUP_PROTOCOL_BYTES_MAX;
        let mut fits = lengths.contains(&ask.protocol_type.len());
        (ask.protocols)(&mut |name, _| {
            count += 1;
            fits &= lengths.contains(&name.len());
        });
        if fits && (1..=limits::GROUP_PROTOCOLS_MAX).contains(&count) {
            Ok(())
        } else {
            Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL.into())
        }
    }

    /// Whether the group's size allows for one who joins. Of those who join again while it is too
    /// large, the last ones go.
    fn join_has_place(&self, at: GroupAt, known: Option<MemberAt>) -> bool {
        let known = known.map(|known| self.members.get(known)).filter(|known| !known.pending);
        let members = self.members.of(at);
        match self.group(at).state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                known.is_some_and(|known| known.waits_for == Awaits::Join)
                    || members.filter(|(_, m)| m.waits_for == Awaits::Join).count()
                        < self.terms.size_max
            }
            State::CompletingRebalance | State::Stable | State::Consumer => {
                known.is_some() || members.count() < self.terms.size_max
            }
        }
    }

    /// Whether the others know one of its protocols, all of them the same one.
    fn supports(&self, at: GroupAt, ask: &Join<'_>) -> bool {
        let group = self.group(at);
        if group.state == State::Empty {
            return true;
        }
        let mut any = false;
        (ask.protocols)(&mut |name, _| any |= self.is_common(at, name));
        group.protocol_type == ask.protocol_type && any
    }

    /// Whether all members know a protocol.
    pub(super) fn is_common(&self, at: GroupAt, protocol: &str) -> bool {
        self.members.of(at).all(|(member, _)| member.texts(&self.arena).supports(protocol))
    }

    fn join_new(
        &mut self,
        at: GroupAt,
        ask: &Join<'_>,
        conn: ConnId,
        now: Now,
    ) -> Result<(), Refused> {
        let Some(instance_id) = ask.who.instance_id else {
            let id = member_id(ask.client_id, ask.random);
            if !ask.id_first {
                return self.join_as(at, &id, ask, conn, now);
            }
            self.member_add(at, &id, ask, true, now)?;
            return Err(Refused { code: ErrorCode::MEMBER_ID_REQUIRED, member_id: Some(id) });
        };
        let id = member_id(instance_id, ask.random);
        match self.member_static(at, instance_id) {
            Some(member) => self.replace(member, &id, ask, conn, now),
            None => self.join_as(at, &id, ask, conn, now),
        }
    }

    /// A new member joins, under this id.
    fn join_as(
        &mut self,
        at: GroupAt,
        id: &str,
        ask: &Join<'_>,
        conn: ConnId,
        now: Now,
    ) -> Result<(), Refused> {
        let member = self.member_add(at, id, ask, false, now)?;
        self.enter(member, conn, now);
        Ok(())
    }

    /// Someone comes with the id that it was given.
    fn join_pending(
        &mut self,
        at: MemberAt,
        ask: &Join<'_>,
        conn: ConnId,
        now: Now,
    ) -> Result<(), Refused> {
        if ask.who.instance_id.is_some() {
            return Err(UNKNOWN.into());
        }
        self.texts_set(at, ask.who.member_id, ask, now)?;
        let member = self.members.get_mut(at);
        member.pending = false;
        member.session_ms = ask.session_ms as u32;
        member.rebalance_ms = ask.rebalance_ms.max(0) as u32;
        member.remote = ask.remote;
        member.deadline = now.mono.plus_ms(limits::GROUP_JOIN_MS_MAX);
        let group = member.group;
        self.due_by(now.mono.plus_ms(limits::GROUP_JOIN_MS_MAX));
        self.entered(group, at, ask.protocol_type);
        self.enter(at, conn, now);
        Ok(())
    }

    /// A member joins again.
    fn rejoin(
        &mut self,
        at: MemberAt,
        ask: &Join<'_>,
        conn: ConnId,
        now: Now,
    ) -> Result<(), Refused> {
        let group = self.members.get(at).group;
        let event = if !at.texts(&self.arena).says(ask.protocols) {
            Event::RejoinChanged
        } else if self.group(group).leader == Some(at) {
            Event::RejoinLeader
        } else {
            Event::Rejoin
        };
        let act = states::act(self.group(group).state, event);
        match act {
            Act::AnswerGeneration => {
                self.answer_now(at, conn, Role::AsElected);
                Ok(())
            }
            Act::Refuse(code) => Err(code.into()),
            _ => {
                self.texts_set(at, ask.who.member_id, ask, now)?;
                self.timeouts_set(at, ask);
                self.join_act(at, act, conn, now);
                Ok(())
            }
        }
    }

    /// A static member came back without its id: whoever has that id is fenced from now on.
    fn replace(
        &mut self,
        at: MemberAt,
        id: &str,
        ask: &Join<'_>,
        conn: ConnId,
        now: Now,
    ) -> Result<(), Refused> {
        let group = self.members.get(at).group;
        let bytes = members::texts_bytes(id, ask.who.instance_id.unwrap_or(""), "", ask.protocols);
        if !self.arena.has_room(at.texts_block(), bytes + limits::GROUP_CLIENT_ID_BYTES_MAX) {
            return Err(self.full(at, bytes, now).into());
        }
        self.answer(at, ErrorCode::FENCED_INSTANCE_ID);
        self.members.get_mut(at).waits_for = Awaits::Nothing;
        self.texts_set(at, id, ask, now)?;
        self.timeouts_set(at, ask);
        self.session_renew(at, now);
        self.revise(group);
        let is_leader = self.group(group).leader == Some(at);
        let changed = self.vote(group) != self.group(group).protocol;
        let event = if changed { Event::ReplaceChanged } else { Event::Replace };
        match states::act(self.group(group).state, event) {
            Act::Refuse(code) => return Err(code.into()),
            Act::AnswerGeneration => {
                let role = match (is_leader, ask.may_skip) {
                    (false, _) => Role::AsElected,
                    (true, true) => Role::LeaderThatSkips,
                    (true, false) => Role::LeaderAsFollower,
                };
                self.answer_now(at, conn, role);
            }
            act => self.join_act(at, act, conn, now),
        }
        Ok(())
    }

    /// A member enters, and waits.
    fn enter(&mut self, at: MemberAt, conn: ConnId, now: Now) {
        let group = self.members.get(at).group;
        self.members.get_mut(at).is_new = true;
        let group = self.group_mut(group);
        if group.state == State::PreparingRebalance && group.initial {
            group.initial_more = 1;
        }
        let act = states::act(group.state, Event::Enter);
        self.join_act(at, act, conn, now);
    }

    /// Who joins, waits; then what follows from it is done.
    fn join_act(&mut self, at: MemberAt, act: Act, conn: ConnId, now: Now) {
        self.wait(at, conn);
        let member = self.members.get_mut(at);
        member.waits_for = Awaits::Join;
        let group = member.group;
        self.carry_out(group, act, now);
    }

    /// Takes a place for a member.
    fn member_add(
        &mut self,
        group: GroupAt,
        id: &str,
        ask: &Join<'_>,
        pending: bool,
        now: Now,
    ) -> Result<MemberAt, ErrorCode> {
        if self.members.len() == self.members.capacity() {
            self.pending_evict()?;
        }
        // The session begins with the first generation; until then it is about the connection.
        let wait_ms = if pending { ask.session_ms as u64 } else { limits::GROUP_JOIN_MS_MAX };
        let at = self.members.add(Member {
            group,
            pending,
            is_static: ask.who.instance_id.is_some(),
            is_new: true,
            sync_pending: false,
            waits_for: Awaits::Nothing,
            conn: None,
            deadline: now.mono.plus_ms(wait_ms),
            session_ms: ask.session_ms as u32,
            rebalance_ms: ask.rebalance_ms.max(0) as u32,
            remote: ask.remote,
            #[cfg(feature = "consumer-protocol")]
            progress: members::Progress::default(),
        });
        let at = at.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        if let Err(code) = self.texts_set(at, id, ask, now) {
            self.members.remove(at);
            return Err(code);
        }
        self.due_by(now.mono.plus_ms(wait_ms));
        if !pending {
            self.entered(group, at, ask.protocol_type);
        }
        Ok(at)
    }

    /// The first member decides what kind of group it is, and leads it.
    fn entered(&mut self, group: GroupAt, at: MemberAt, protocol_type: &str) {
        let group = self.group_mut(group);
        if group.is_consumer {
            // Its last members were of the other protocol: it begins again.
            (group.is_consumer, group.generation) = (false, 0);
        }
        if group.leader.is_none() {
            group.leader = Some(at);
            group.protocol_type = protocol_type.try_into().expect("its length was checked");
        }
    }

    /// Makes room among the members: of those who were given an id and did not come with it, the one
    /// that would be gone first goes now.
    pub(super) fn pending_evict(&mut self) -> Result<(), ErrorCode> {
        let pending = self.members.iter().filter(|(_, member)| member.pending);
        let first = pending.min_by_key(|(_, member)| member.deadline).map(|(at, _)| at);
        let first = first.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        self.member_drop(first);
        Ok(())
    }

    pub(super) fn timeouts_set(&mut self, at: MemberAt, ask: &Join<'_>) {
        let member = self.members.get_mut(at);
        member.session_ms = ask.session_ms as u32;
        member.rebalance_ms = ask.rebalance_ms.max(0) as u32;
        member.remote = ask.remote;
    }

    /// Takes over what a member says now. One that is pending has said nothing yet: of it, only the
    /// names are kept.
    pub(super) fn texts_set(
        &mut self,
        at: MemberAt,
        id: &str,
        ask: &Join<'_>,
        now: Now,
    ) -> Result<(), ErrorCode> {
        let nothing: Protocols<'_> = &|_| {};
        let protocols = if self.members.get(at).pending && ask.who.member_id.is_empty() {
            nothing
        } else {
            ask.protocols
        };
        let instance_id = ask.who.instance_id.unwrap_or("");
        let client_id = members::cut(ask.client_id, limits::GROUP_CLIENT_ID_BYTES_MAX);
        let bytes = members::texts_bytes(id, instance_id, client_id, protocols);
        let Some(block) = self.arena.put(at.texts_block(), bytes) else {
            return Err(self.full(at, bytes, now));
        };
        members::texts_fill(block, id, instance_id, client_id, protocols);
        Ok(())
    }

    /// A member says that it is alive.
    pub fn heartbeat(
        &mut self,
        group: &str,
        who: Who<'_>,
        generation: i32,
        now: Now,
    ) -> Result<(), ErrorCode> {
        Groups::id_check(group)?;
        if let Some(answer) = self.former(group, who, generation, Event::FormerHeartbeat, now) {
            return answer;
        }
        let group = self.find(group).ok_or(UNKNOWN)?;
        #[cfg(feature = "consumer-protocol")]
        if self.group(group).state == State::Consumer {
            return self.heartbeat_consumers(group, who, generation, now);
        }
        let member = self.member_check(group, who)?;
        if generation != self.group(group).generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let answer = match states::act(self.group(group).state, Event::Heartbeat) {
            Act::Refuse(code) => return Err(code),
            Act::AcceptWith(code) => Err(code),
            _ => Ok(()),
        };
        self.session_renew(member, now);
        answer
    }

    /// A member leaves; one that has an instance id may be named by that alone.
    pub fn leave(&mut self, group: &str, who: Who<'_>, now: Now) -> Result<(), ErrorCode> {
        let group = self.find(group).ok_or(UNKNOWN)?;
        #[cfg(feature = "consumer-protocol")]
        if self.group(group).state == State::Consumer {
            let member = self.leave_consumers(group, who)?;
            self.member_leave(member, now);
            return Ok(());
        }
        let member = match (who.member_id, who.instance_id) {
            ("", instance_id) => {
                let named = instance_id.and_then(|id| self.member_static(group, id));
                named.ok_or(UNKNOWN)?
            }
            (id, _) => {
                let named = self.member_named(group, id);
                match named.filter(|member| self.members.get(*member).pending) {
                    Some(pending) => pending,
                    None => self.member_check(group, who)?,
                }
            }
        };
        self.member_leave(member, now);
        Ok(())
    }

    /// Whether offsets may be committed for a group that `has_offsets` or not. The session of a member
    /// of the classic protocol is prolonged; one of the consumer protocol, whose generation is its
    /// epoch, must commit with a version that knows epochs. None: there is no such group.
    pub fn commit(
        &mut self,
        group: &str,
        who: Who<'_>,
        generation: i32,
        knows_epochs: bool,
        has_offsets: bool,
        now: Now,
    ) -> Option<Result<(), ErrorCode>> {
        let at = self.find(group);
        #[cfg(feature = "consumer-protocol")]
        if self.state(group) == State::Consumer {
            return Some(self.commit_consumers(group, who.member_id, generation, knows_epochs));
        }
        let _ = knows_epochs;
        let former = self.former(group, who, generation, Event::FormerCommit, now);
        if former.is_some() {
            return former;
        }
        let answer = match at {
            None if !has_offsets => (generation < 0).then_some(Ok(())),
            _ => Some(self.commit_known(at, who, generation, now)),
        };
        if generation < 0 && answer == Some(Ok(())) {
            self.former_end(group, now);
        }
        answer
    }

    fn commit_known(
        &mut self,
        at: Option<GroupAt>,
        who: Who<'_>,
        generation: i32,
        now: Now,
    ) -> Result<(), ErrorCode> {
        let state = at.map_or(State::Empty, |at| self.group(at).state);
        let names_member =
            generation >= 0 || !who.member_id.is_empty() || who.instance_id.is_some();
        let member = match at {
            _ if generation < 0 && state == State::Empty => None,
            Some(at) if names_member => {
                let member = self.member_check(at, who)?;
                if generation != self.group(at).generation {
                    return Err(ErrorCode::ILLEGAL_GENERATION);
                }
                Some(member)
            }
            None if names_member => return Err(UNKNOWN),
            _ => None,
        };
        let event = if member.is_some() { Event::Commit } else { Event::CommitSimple };
        match states::act(state, event) {
            Act::Refuse(code) => Err(code),
            _ => {
                if let Some(member) = member {
                    self.session_renew(member, now);
                }
                Ok(())
            }
        }
    }
}

impl Refused {
    /// Without an id in the answer.
    fn new(code: ErrorCode) -> Refused {
        Refused { code, member_id: Some(MemberId::new()) }
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Refused {
        Refused { code, member_id: None }
    }
}
