//! When there is no room for what members say.

use super::*;

impl Groups {
    /// What a member is told that has no room for its names and what it says, so many bytes.
    pub(super) fn full(&mut self, at: MemberAt, bytes: usize, now: Now) -> ErrorCode {
        let group = self.members.get(at).group;
        let others = self.bytes_of(group) - self.arena.len_of(at.texts_block());
        self.full_of(group, others + bytes, now)
    }

    /// What the members of a group are told that together take so many bytes. Others may make room, so
    /// that it is worth trying again; a group that is too much by itself is told for good.
    pub(super) fn full_of(&mut self, at: GroupAt, bytes: usize, now: Now) -> ErrorCode {
        let max = self.arena.capacity();
        let (name, used) = (self.name(at), self.arena.used());
        let text = format_args!(
            "consumer group {name:?} wants {bytes} bytes for its members' subscriptions and \
             assignments, and {used} of {max} are taken: raise group_members_bytes"
        );
        self.lines.say(log::Level::Warn, About::kind("members' bytes"), now.mono, text);
        if bytes <= max {
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        } else {
            ErrorCode::GROUP_MAX_SIZE_REACHED
        }
    }

    /// The bytes that a group and its members take.
    pub(super) fn bytes_of(&self, at: GroupAt) -> usize {
        let members = self.members.iter().filter(|(_, member)| member.group == at);
        let of = |at: MemberAt| {
            self.arena.len_of(at.texts_block()) + self.arena.len_of(at.assignment_block())
        };
        let members: usize = members.map(|(at, _)| of(at)).sum();
        members + self.arena.len_of(self.name_block(at))
    }
}
