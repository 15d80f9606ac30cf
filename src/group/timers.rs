//! What happens when nothing comes: sessions end, and waiting does.

use super::*;

impl Groups {
    /// When [`Groups::tick`] is wanted next; it may then have nothing to do yet.
    pub fn due(&self) -> Mono {
        self.due
    }

    /// Does all that is due.
    pub fn tick(&mut self, now: Now) {
        if now.mono < self.due {
            return;
        }
        for place in 0..self.members.capacity() {
            self.tick_member(MemberAt(place as u16), now);
        }
        for place in 0..self.groups.len() {
            self.tick_group(GroupAt(place as u16), now);
        }
        let members = self.members.iter().map(|(_, member)| member.deadline);
        let groups = self.groups.iter().flatten().flat_map(|group| {
            let forget = (group.state == State::Empty).then_some(group.forget_due);
            [group.join_due, group.sync_due, forget]
        });
        let next = members.chain(groups.flatten()).min();
        self.due = next.unwrap_or(Mono(u64::MAX));
    }

    /// A member's session goes on from now.
    pub(super) fn session_renew(&mut self, at: MemberAt, now: Now) {
        let member = self.members.get_mut(at);
        member.deadline = now.mono.plus_ms(u64::from(member.session_ms));
        let deadline = member.deadline;
        self.due_by(deadline);
    }

    fn tick_member(&mut self, at: MemberAt, now: Now) {
        let Some(member) = self.members.find_mut(at).filter(|m| m.deadline <= now.mono) else {
            return;
        };
        if member.waits_for != Awaits::Nothing && !member.is_new {
            // It cannot do more than wait: its session goes on when it is answered.
            member.deadline = Mono(u64::MAX);
            return;
        }
        self.counts.expired += u64::from(!member.pending);
        self.member_leave(at, now);
    }

    fn tick_group(&mut self, at: GroupAt, now: Now) {
        let due = |due: Option<Mono>| due.is_some_and(|due| due <= now.mono);
        let Some(group) = &self.groups[usize::from(at.0)] else {
            return;
        };
        let (join, sync) = (due(group.join_due), due(group.sync_due));
        if join {
            self.carry_out(at, states::act(self.group(at).state, Event::JoinTimeout), now);
        }
        if sync && due(self.group(at).sync_due) {
            self.carry_out(at, states::act(self.group(at).state, Event::SyncTimeout), now);
        }
        let group = self.group(at);
        if group.state == State::Empty && group.forget_due <= now.mono {
            if self.is_expecting(at) {
                self.group_mut(at).forget_due = now.mono.plus_ms(limits::GROUP_EMPTY_MS);
            } else {
                self.group_remove(at);
            }
        }
    }
}
