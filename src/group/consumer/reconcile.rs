//! How a member comes from what it holds to what it shall have.

use super::*;

impl Groups {
    /// Brings a member nearer to its target; `says_owned`: its client says what it has, which was
    /// noted.
    ///
    /// Three rules keep a partition from having two owners: what a member shall give back stays with
    /// it until its client says that it is without it; a member gets nothing new before it has given
    /// back all that it shall; and it gets only what no other member holds.
    pub(super) fn reconcile(&mut self, group: GroupAt, at: MemberAt, says_owned: bool, now: Now) {
        if says_owned {
            self.release(at);
        }
        let (revokes, _) = self.wants(at);
        if !revokes {
            self.take(group, at);
        }
        let (revokes, awaits) = self.wants(at);
        let epoch = self.group(group).target_epoch;
        let progress = &mut self.members.get_mut(at).progress;
        let phase = next(revokes, awaits);
        if phase != Phase::Revoking {
            if progress.epoch != epoch {
                (progress.epoch_before, progress.epoch) = (progress.epoch, epoch);
            }
            progress.revoke_due = NEVER;
        } else if progress.phase != Phase::Revoking || progress.untold {
            self.revoke_by(at, now);
        }
        self.members.get_mut(at).progress.phase = phase;
    }

    /// Takes note of what a client says that it has, for the two functions below.
    pub(super) fn owned_note(&mut self, owned: Owned<'_>) {
        let set = &mut self.consumers.owned;
        set.fill(0);
        owned(&mut |slot| bits::insert(set, slot.0));
    }

    /// Whether a member holds all that its client says it has.
    pub(super) fn holds_owned(&self, at: MemberAt) -> bool {
        let mut bytes = self.consumers.owned.iter().zip(self.held(at));
        bytes.all(|(owned, held)| owned & !held == 0)
    }

    /// What a member shall not have, and its client says it has not, is not its any more.
    fn release(&mut self, at: MemberAt) {
        let bytes = self.consumers.set_bytes();
        let (target, behind) = self.arena.bytes_mut(at.assignment_block()).split_at_mut(bytes);
        for ((held, target), owned) in behind.iter_mut().zip(target).zip(&self.consumers.owned) {
            *held &= *target | owned;
        }
    }

    /// What a member shall not have is not its any more.
    pub(super) fn release_all(&mut self, at: MemberAt) {
        let (target, held) = self.sets_mut(at);
        held.iter_mut().zip(target).for_each(|(held, target)| *held &= *target);
    }

    /// A member takes what it shall have, as far as nobody else holds it.
    fn take(&mut self, group: GroupAt, at: MemberAt) {
        self.taken_note(group, at);
        let taken = std::mem::take(&mut self.consumers.taken);
        let mut any = false;
        let (target, held) = self.sets_mut(at);
        for ((held, target), taken) in held.iter_mut().zip(target).zip(&taken) {
            let gets = *target & !*held & !taken;
            *held |= gets;
            any |= gets != 0;
        }
        self.consumers.taken = taken;
        self.members.get_mut(at).progress.untold |= any;
    }

    /// Whether nobody holds something that a member shall have and does not hold.
    pub(super) fn may_take(&mut self, group: GroupAt, at: MemberAt) -> bool {
        self.taken_note(group, at);
        let wanted = self.target(at).iter().zip(self.held(at)).map(|(target, held)| target & !held);
        wanted.zip(&self.consumers.taken).any(|(wanted, taken)| wanted & !taken != 0)
    }

    /// Takes note of what others hold than this member, for the two functions above.
    fn taken_note(&mut self, group: GroupAt, at: MemberAt) {
        let taken = &mut self.consumers.taken;
        taken.fill(0);
        for (other, _) in self.members.of(group).filter(|(other, _)| *other != at) {
            let behind = self.arena.bytes(other.assignment_block()).split_at(taken.len()).1;
            taken.iter_mut().zip(behind).for_each(|(taken, held)| *taken |= held);
        }
    }

    /// Whether a member holds what it shall not have, and whether it shall have what it does not hold.
    fn wants(&self, at: MemberAt) -> (bool, bool) {
        let bytes = self.target(at).iter().zip(self.held(at));
        bytes.fold((false, false), |(revokes, awaits), (target, held)| {
            (revokes || held & !target != 0, awaits || target & !held != 0)
        })
    }

    /// A member has its rebalance timeout, from now on, to give back what it shall.
    pub(super) fn revoke_by(&mut self, at: MemberAt, now: Now) {
        let member = self.members.get_mut(at);
        let due = now.mono.plus_ms(u64::from(member.rebalance_ms));
        member.progress.revoke_due = due;
        self.due_by(due);
    }
}

/// What a member waits for that has partitions to give back, or does not have all that it shall.
pub(super) fn next(revokes: bool, awaits: bool) -> Phase {
    match (revokes, awaits) {
        (true, _) => Phase::Revoking,
        (false, true) => Phase::Awaiting,
        (false, false) => Phase::Stable,
    }
}
