//! The leader hands out assignments, and members are told theirs.

use super::*;

impl Groups {
    /// Has a member ask for its assignment: answered through `conn`, now or when the leader has
    /// said it.
    pub fn sync(&mut self, ask: &Sync<'_>, conn: ConnId, now: Now) -> Result<(), ErrorCode> {
        Groups::id_check(ask.group)?;
        if let Some(answer) =
            self.former(ask.group, ask.who, ask.generation, Event::FormerSync, now)
        {
            return answer;
        }
        let group = self.find(ask.group).ok_or(UNKNOWN)?;
        if self.group(group).state == State::Empty {
            return Err(UNKNOWN);
        }
        let member = self.member_check(group, ask.who)?;
        let known = self.group(group);
        if ask.generation != known.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |asked: Option<&str>, is: Option<&str>| {
            asked.zip(is).is_some_and(|(asked, is)| asked != is)
        };
        if differs(ask.protocol_type, Some(&known.protocol_type))
            || differs(ask.protocol, known.protocol.as_deref())
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let is_leader = known.leader == Some(member);
        let event = if is_leader { Event::SyncLeader } else { Event::Sync };
        match states::act(known.state, event) {
            Act::Refuse(code) => Err(code),
            Act::AnswerAssignment => {
                self.synced(group, member);
                self.answer_now(member, conn, Role::AsElected);
                Ok(())
            }
            act => {
                self.wait(member, conn);
                self.members.get_mut(member).waits_for = Awaits::Assignment;
                self.synced(group, member);
                if act == Act::Assign {
                    self.assign(group, ask.assignments, now);
                }
                Ok(())
            }
        }
    }

    /// A member asked for its assignment.
    fn synced(&mut self, group: GroupAt, at: MemberAt) {
        self.members.get_mut(at).sync_pending = false;
        if !self.members.of(group).any(|(_, member)| member.sync_pending) {
            self.group_mut(group).due = NEVER;
        }
    }

    fn assignments_free(&mut self, at: GroupAt) {
        for place in 0..self.members.capacity() {
            let place = MemberAt(place as u16);
            if self.is_member(place, at) {
                self.assignment_free(place);
            }
        }
    }

    /// Keeps what the leader assigns, and answers all who wait for it. Those that it does not name
    /// get nothing; names that are no members are ignored, as in Kafka.
    fn assign(&mut self, at: GroupAt, assignments: Assignments<'_>, now: Now) {
        self.assignments_free(at);
        let (mut fits, mut bytes) = (true, 0);
        assignments(&mut |id, assignment| {
            let Some(member) = self.member_named(at, id).filter(|m| self.is_member(*m, at)) else {
                return;
            };
            bytes += assignment.len();
            match self.arena.put(member.assignment_block(), assignment.len()) {
                Some(block) => block.copy_from_slice(assignment),
                None => fits = false,
            }
        });
        if !fits {
            // If others may make room, the members join again, and the leader tries again.
            self.assignments_free(at);
            let code = self.full_of(at, self.bytes_of(at) + bytes, now);
            self.assignments_drop(at, code, now);
            self.carry_out(at, Act::Rebalance, now);
            return;
        }
        self.group_mut(at).state = State::Stable;
        self.counts.rebalances += 1;
        for place in 0..self.members.capacity() {
            let place = MemberAt(place as u16);
            if self.is_member(place, at) {
                self.sync_answer(place, ErrorCode::NONE, now);
            }
        }
    }
}
