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
        let members = self.members.iter().map(|(_, member)| member.due());
        let groups = self.groups.iter().flatten().map(|group| group.due);
        let next = members.chain(groups).min();
        self.due = next.unwrap_or(NEVER);
    }

    /// A member's session goes on from now.
    pub(super) fn session_renew(&mut self, at: MemberAt, now: Now) {
        let member = self.members.get_mut(at);
        member.deadline = now.mono.plus_ms(u64::from(member.session_ms));
        let deadline = member.deadline;
        self.due_by(deadline);
    }

    fn tick_member(&mut self, at: MemberAt, now: Now) {
        let Some(member) = self.members.find_mut(at).filter(|m| m.due() <= now.mono) else {
            return;
        };
        if member.waits_for != Awaits::Nothing && !member.is_new {
            // It cannot do more than wait: its session goes on when it is answered.
            member.deadline = NEVER;
            return;
        }
        if !member.pending {
            self.expired(at, now);
        }
        self.member_leave(at, now);
    }

    /// Counts and says that a member is removed because it was not heard of.
    pub(super) fn expired(&mut self, at: MemberAt, now: Now) {
        self.counts.expired += 1;
        let member = self.members.get(at);
        let (group, remote) = (self.name(member.group), member.remote);
        let Texts { id, client_id, .. } = at.texts(&self.arena);
        let about = About::kind("expired").of(group);
        let text = format_args!(
            "consumer group {group:?}: member {id:?} of client {client_id:?} at {remote} is removed: it \
             was not heard of for its session timeout, {} ms, or did not come to a rebalance in time",
            member.session_ms
        );
        self.lines.say(log::Level::Info, about, now.mono, text);
    }

    fn tick_group(&mut self, at: GroupAt, now: Now) {
        let Some(group) = self.groups[usize::from(at.0)].as_ref().filter(|g| g.due <= now.mono)
        else {
            return;
        };
        match group.state {
            State::Empty if self.is_expecting(at) => {
                self.group_mut(at).due = now.mono.plus_ms(limits::GROUP_EMPTY_MS);
            }
            State::Empty => self.group_remove(at),
            state @ State::PreparingRebalance => {
                self.carry_out(at, states::act(state, Event::JoinTimeout), now);
            }
            state => self.carry_out(at, states::act(state, Event::SyncTimeout), now),
        }
    }
}
