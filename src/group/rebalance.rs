//! From one generation to the next.

use super::*;

impl Groups {
    /// Does what the table says, as far as it is about the whole group.
    pub(super) fn carry_out(&mut self, at: GroupAt, act: Act, now: Now) {
        match act {
            Act::Rebalance => self.rebalance(at, now),
            Act::Gather => self.gather(at, now),
            Act::Complete => self.join_timeout(at, now),
            Act::RemoveUnsynced => self.remove_unsynced(at, now),
            #[cfg(feature = "consumer-protocol")]
            Act::Reassign => self.consumer_gone(at, now),
            _ => {}
        }
    }

    /// Takes a member from its group, with what follows from it.
    pub(super) fn member_leave(&mut self, at: MemberAt, now: Now) {
        let member = self.members.get(at);
        let (group, pending) = (member.group, member.pending);
        self.member_drop(at);
        let event = if pending { Event::PendingGone } else { Event::MemberGone };
        self.carry_out(group, states::act(self.group(group).state, event), now);
    }

    /// Calls all members to join.
    fn rebalance(&mut self, at: GroupAt, now: Now) {
        if self.group(at).state == State::CompletingRebalance {
            self.assignments_drop(at, ErrorCode::REBALANCE_IN_PROGRESS, now);
        }
        for (_, member) in self.members.of_mut(at) {
            member.sync_pending = false;
        }
        let timeout_ms = self.rebalance_ms(at);
        let mut delay_ms = self.terms.initial_delay_ms;
        let group = self.group_mut(at);
        group.initial = group.state == State::Empty;
        group.initial_more = 0;
        if group.former && group.generation > 0 {
            // Others that have not found the broker again yet are about to.
            delay_ms = delay_ms.max(FORMER_DELAY_MS);
            group.initial_more = 1;
        }
        group.state = State::PreparingRebalance;
        let wait_ms = if group.initial {
            group.initial_ms = delay_ms as u32;
            group.initial_left_ms = timeout_ms.saturating_sub(delay_ms) as u32;
            delay_ms
        } else {
            timeout_ms
        };
        let due = now.mono.plus_ms(wait_ms);
        group.due = due;
        self.revise(at);
        self.due_by(due);
        if delay_ms == 0 || !self.group(at).initial {
            self.group_mut(at).initial = false;
            self.gather(at, now);
        }
    }

    /// Goes on if all have joined. A first rebalance waits for its time to be over.
    fn gather(&mut self, at: GroupAt, now: Now) {
        let joined = self.members.of(at).all(|(_, member)| member.waits_for == Awaits::Join);
        if joined && !self.group(at).initial && !self.is_expecting(at) {
            self.complete(at, now);
        }
    }

    /// The time to join is over. The first rebalance of a group takes as long again, each time that
    /// members came meanwhile or former ones are alive, up to their rebalance timeout.
    fn join_timeout(&mut self, at: GroupAt, now: Now) {
        let group = self.group_mut(at);
        if group.initial && group.initial_more > 0 && group.initial_left_ms > 0 {
            group.initial_more -= 1;
            let wait_ms = group.initial_ms.min(group.initial_left_ms);
            group.initial_left_ms = group.initial_left_ms.saturating_sub(group.initial_ms);
            group.initial_ms = wait_ms;
            let due = now.mono.plus_ms(wait_ms.into());
            group.due = due;
            self.due_by(due);
        } else {
            self.complete(at, now);
        }
    }

    /// Ends the joining: who is missing is gone, unless it is static.
    fn complete(&mut self, at: GroupAt, now: Now) {
        self.group_mut(at).due = NEVER;
        while let Some(missing) = self.missing(at) {
            self.member_drop(missing);
        }
        if !self.leader_elect(at) {
            // All who are left are static and away: their sessions will end, or they come. Nothing
            // else ends this, so members that want no time at all are given some.
            let due = now.mono.plus_ms(self.rebalance_ms(at).max(AWAY_MS_MIN));
            self.group_mut(at).due = due;
            self.due_by(due);
            return;
        }
        let protocol = self.vote(at);
        let group = self.group_mut(at);
        if !group.former || group.leader.is_some() {
            group.generation = group.generation.checked_add(1).unwrap_or(0);
        }
        group.initial = false;
        group.protocol = protocol;
        if group.leader.is_none() {
            group.state = State::Empty;
            group.due = now.mono.plus_ms(limits::GROUP_EMPTY_MS);
            self.due_by(now.mono.plus_ms(limits::GROUP_EMPTY_MS));
            self.revise(at);
            return;
        }
        assert!(group.protocol.is_some(), "nobody joins without a protocol that all know");
        (group.state, group.former) = (State::CompletingRebalance, false);
        self.revise(at);
        self.complete_answer(at, now);
    }

    /// Answers all who joined; they are to ask for their assignments within the rebalance timeout.
    fn complete_answer(&mut self, at: GroupAt, now: Now) {
        let due = now.mono.plus_ms(self.rebalance_ms(at));
        self.group_mut(at).due = due;
        self.due_by(due);
        for place in 0..self.members.capacity() {
            let place = MemberAt(place as u16);
            if !self.is_member(place, at) {
                continue;
            }
            self.answer(place, ErrorCode::NONE);
            let member = self.members.get_mut(place);
            (member.waits_for, member.is_new, member.sync_pending) = (Awaits::Nothing, false, true);
            self.session_renew(place, now);
        }
    }

    /// Removes those who did not ask for their assignments in time.
    fn remove_unsynced(&mut self, at: GroupAt, now: Now) {
        self.group_mut(at).due = NEVER;
        let unsynced = |groups: &Groups| {
            let mut members = groups.members.of(at);
            members.find(|(_, member)| member.sync_pending).map(|(member, _)| member)
        };
        let mut any = false;
        while let Some(member) = unsynced(self) {
            any = true;
            self.expired(member, now);
            self.member_drop(member);
        }
        if any {
            self.rebalance(at, now);
        }
    }

    /// The assignments of this generation are void: who waits for one is told why.
    pub(super) fn assignments_drop(&mut self, at: GroupAt, code: ErrorCode, now: Now) {
        for place in 0..self.members.capacity() {
            let place = MemberAt(place as u16);
            if self.is_member(place, at) {
                self.assignment_free(place);
                self.sync_answer(place, code, now);
            }
        }
    }

    /// A member has no assignment any more.
    pub(super) fn assignment_free(&mut self, at: MemberAt) {
        self.arena.free(at.assignment_block());
        #[cfg(feature = "consumer-protocol")]
        {
            self.members.get_mut(at).progress.is_classic = false;
        }
    }

    /// Answers a member that waits for its assignment.
    pub(super) fn sync_answer(&mut self, at: MemberAt, code: ErrorCode, now: Now) {
        if self.members.get(at).waits_for == Awaits::Assignment {
            self.answer(at, code);
            self.members.get_mut(at).waits_for = Awaits::Nothing;
            self.session_renew(at, now);
        }
    }

    /// Whether a place is that of a member of this group, and not only of someone who is expected.
    pub(super) fn is_member(&self, place: MemberAt, at: GroupAt) -> bool {
        self.members.find(place).is_some_and(|member| member.group == at && !member.pending)
    }

    /// A dynamic member that did not join again.
    fn missing(&self, at: GroupAt) -> Option<MemberAt> {
        let mut members = self.members.of(at);
        let missing = |member: &Member| member.waits_for != Awaits::Join && !member.is_static;
        members.find(|(_, member)| missing(member)).map(|(member, _)| member)
    }

    /// The leader is someone who joined; false: there are members and none of them did.
    fn leader_elect(&mut self, at: GroupAt) -> bool {
        let joined = |member: &Member| member.waits_for == Awaits::Join;
        let leader = self.group(at).leader;
        if leader.is_none_or(|leader| joined(self.members.get(leader))) {
            return true;
        }
        let elected = self.members.of(at).find(|(_, member)| joined(member));
        let elected = elected.map(|(member, _)| member);
        if elected.is_some() {
            self.group_mut(at).leader = elected;
        }
        elected.is_some()
    }

    /// The protocol that most members like best, of those that all of them know.
    pub(super) fn vote(&self, at: GroupAt) -> Option<ProtocolName> {
        let (first, _) = self.members.of(at).next()?;
        let mut common = heapless::Vec::<&str, { limits::GROUP_PROTOCOLS_MAX }>::new();
        for (name, _) in first.texts(&self.arena).protocols() {
            if self.is_common(at, name) {
                common.push(name).expect("a member has no more protocols");
            }
        }
        let mut votes = [0_u32; limits::GROUP_PROTOCOLS_MAX];
        for (member, _) in self.members.of(at) {
            let likes = member.texts(&self.arena).protocols();
            let best = likes.filter_map(|(name, _)| common.iter().position(|c| *c == name)).next();
            votes[best.expect("all of these are known to all")] += 1;
        }
        let elected = common.iter().zip(votes).rev().max_by_key(|(_, votes)| *votes);
        elected.map(|(name, _)| (*name).try_into().expect("its length was checked"))
    }

    /// The longest time that a member may take to join again.
    fn rebalance_ms(&self, at: GroupAt) -> u64 {
        self.members.of(at).map(|(_, member)| u64::from(member.rebalance_ms)).max().unwrap_or(0)
    }
}

/// How often it is looked whether one of a group's static members, which are all away, came back; at the most.
const AWAY_MS_MIN: u64 = 1000;

/// Half of the time that a group's first rebalance waits for former members: how often clients are heard of, by
/// their defaults.
const FORMER_DELAY_MS: u64 = 3000;
