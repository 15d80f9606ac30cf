//! Members of before the start of the broker, of whom nothing is stored.
//!
//! Kafka would know them. Here, who names a generation of a group that had none since the start is taken
//! for one of them: it commits, and is called to join, so that it keeps what it has until then. The
//! newest generation that was named is remembered: those of older ones were fenced before the start. All
//! of it is over with the group's first generation and when others set its offsets, for all groups when one is
//! deleted, and [`limits::GROUP_FORMER_MS`] after the start.

use super::*;

impl Groups {
    /// The broker was stopped and is started again: there may be former members.
    pub fn former_begin(&mut self) {
        self.former_until = Mono(0).plus_ms(limits::GROUP_FORMER_MS);
    }

    /// Nobody is a former member any more, of any group.
    pub fn former_over(&mut self) {
        self.former_until = Mono(0);
    }

    /// Others than members set a group's offsets: those of before must not undo that.
    pub(super) fn former_end(&mut self, group: &str, now: Now) {
        if self.may_be_former(None, now) {
            match self.find(group).or_else(|| self.group_add(group, now).ok()) {
                Some(at) => self.group_mut(at).former = false,
                None => self.former_over(),
            }
        }
    }

    /// Whether a group, known or not, may have former members.
    pub fn may_be_former(&self, at: Option<GroupAt>, now: Now) -> bool {
        now.mono < self.former_until && at.is_none_or(|at| self.group(at).former)
    }

    /// What is answered to a former member; none: it is not one.
    pub(super) fn former(
        &mut self,
        group: &str,
        who: Who<'_>,
        generation: i32,
        event: Event,
        now: Now,
    ) -> Option<Result<(), ErrorCode>> {
        let is_any = !who.member_id.is_empty() && (0..i32::MAX).contains(&generation);
        if !is_any || !self.may_be_former(None, now) {
            return None;
        }
        let found = self.find(group);
        if !self.may_be_former(found, now) {
            return None;
        }
        let state = found.map_or(State::Dead, |at| self.group(at).state);
        let answer = match states::act(state, event) {
            Act::Refuse(_) => return None,
            Act::AcceptWith(code) => Err(code),
            _ => Ok(()),
        };
        if let Some(at) = found.or_else(|| self.group_add(group, now).ok()) {
            let is_fenced = self.member_check(at, who) == Err(ErrorCode::FENCED_INSTANCE_ID);
            let known = self.group_mut(at);
            if is_fenced {
                return Some(Err(ErrorCode::FENCED_INSTANCE_ID));
            }
            if generation < known.generation {
                return Some(Err(ErrorCode::ILLEGAL_GENERATION));
            }
            (known.generation, known.initial_more) = (generation, 2);
        } else if answer.is_ok() {
            // Nothing tells whether it was fenced.
            return Some(Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        }
        Some(answer)
    }

    /// Whether someone who is no member joins as the one that it was.
    pub(super) fn is_adopted(&self, at: GroupAt, id: &str, now: Now) -> bool {
        self.may_be_former(Some(at), now)
            && id.len() <= limits::GROUP_MEMBER_ID_BYTES_MAX
            && states::act(self.group(at).state, Event::FormerJoin) == Act::Adopt
    }
}
