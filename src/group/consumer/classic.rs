//! Members of the classic protocol in a group of the consumer protocol, and the way from one kind of group
//! to the other, as in a Kafka whose `group.consumer.migration.policy` is `bidirectional`, its default.
//!
//! A classic group becomes one of the consumer protocol when the first member of that protocol joins it, and
//! a classic one again when the last such member is gone, or a classic one took its place. In between its classic members join, sync and
//! beat as before: nobody leads, what each is assigned is its target, and REBALANCE_IN_PROGRESS (27) calls
//! one to join again when its target changed. Which partitions it has, it says when it joins: all but
//! cooperative assignors have given back everything by then.
//!
//! Such a member keeps the texts that it has in a classic group: what it is subscribed to is read from
//! there, and nothing is lost on the way back.

use super::*;
use crate::codec::{self, Array, Decode, Reader};
use crate::group::members::member_id;

/// What a classic member is told that joined.
#[derive(Debug, Clone, Copy)]
pub struct ClassicJoined {
    member: MemberAt,
    /// Its epoch, which is its generation.
    pub generation: i32,
}

impl Groups {
    /// Has a member of the classic protocol join a group that the broker assigns to; it is answered at once.
    ///
    /// # Errors
    ///
    /// Those of [`Groups::join`]; nothing has changed then. REBALANCE_IN_PROGRESS: it is a classic group
    /// from now on, and who asks is to join that.
    pub fn join_consumers(
        &mut self,
        ask: &Join<'_>,
        topics: &impl Topics,
        now: Now,
    ) -> Result<ClassicJoined, Refused> {
        self.join_check(ask)?;
        self.topics_look(topics);
        let group = self.find(ask.group).ok_or(UNKNOWN)?;
        let metadata = first_metadata(ask.protocols);
        let said = metadata.and_then(|metadata| Subscription::of(metadata).ok());
        let Some(said) = said.filter(|_| self.supports_classic(group, ask)) else {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL.into());
        };
        let known = self.classic_known(group, ask)?;
        let mut owns = false;
        said.owned(topics, &mut |_| owns = true);
        if known.is_none() && owns {
            // It was silent for too long; what it has may be somebody else's.
            return Err(UNKNOWN.into());
        }
        let given;
        let id = match ask.who.member_id {
            "" => {
                given = member_id(ask.who.instance_id.unwrap_or(ask.client_id), ask.random);
                if ask.id_first && ask.who.instance_id.is_none() {
                    let code = ErrorCode::MEMBER_ID_REQUIRED;
                    return Err(Refused { code, member_id: Some(given) });
                }
                given.as_str()
            }
            own if own.len() > limits::GROUP_MEMBER_ID_BYTES_MAX => return Err(UNKNOWN.into()),
            own => own,
        };
        let is_same = known.is_some_and(|at| self.subscribed_same(at, &said));
        let at = match known {
            Some(at) => {
                let was_classic = self.is_classic(at);
                self.classic_set(at, id, ask, now)?;
                self.session_renew(at, now);
                if !was_classic && self.downgrade(group, now) {
                    // It took the place of the last one of the other protocol.
                    return Err(ErrorCode::REBALANCE_IN_PROGRESS.into());
                }
                at
            }
            None => self.classic_add(group, id, ask, now)?,
        };
        if !is_same {
            self.epoch_next(group);
        }
        if ask.who.member_id.is_empty() {
            // Who comes without an id begins anew, and has nothing yet.
            let progress = &mut self.members.get_mut(at).progress;
            (progress.epoch, progress.epoch_before) = (0, 0);
            self.owned_note(&|_| {});
        } else {
            self.owned_note(&|each| said.owned(topics, each));
        }
        self.beat_done(group, at, true, topics, now);
        let progress = &mut self.members.get_mut(at).progress;
        progress.untold = false;
        Ok(ClassicJoined { member: at, generation: progress.epoch })
    }

    /// The id of one who joined, and the protocol that it likes best.
    pub fn classic_joined(&self, joined: &ClassicJoined) -> (&str, &str) {
        let texts = joined.member.texts(&self.arena);
        (texts.id, texts.protocols().next().map_or("", |(name, _)| name))
    }

    /// What a classic member of such a group is assigned.
    ///
    /// # Errors
    ///
    /// Those of [`Groups::sync`].
    pub fn sync_consumers(
        &mut self,
        ask: &Sync<'_>,
        topics: &impl Topics,
        now: Now,
    ) -> Result<Partitions<'_>, ErrorCode> {
        self.topics_look(topics);
        let group = self.find(ask.group).ok_or(UNKNOWN)?;
        let at = self.classic_check(group, ask.who, ask.generation)?;
        let texts = at.texts(&self.arena);
        if ask.protocol_type.is_some_and(|asked| asked != CONSUMER_TYPE)
            || ask.protocol.is_some_and(|asked| !texts.supports(asked))
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let progress = &self.members.get(at).progress;
        if progress.phase != Phase::Revoking && progress.epoch != self.group(group).generation {
            return Err(self.classic_call(at, now));
        }
        self.session_renew(at, now);
        Ok(self.told(at))
    }

    /// A classic member of such a group is alive.
    pub(in crate::group) fn heartbeat_consumers(
        &mut self,
        group: GroupAt,
        who: Who<'_>,
        generation: i32,
        now: Now,
    ) -> Result<(), ErrorCode> {
        let at = self.classic_check(group, who, generation)?;
        self.session_renew(at, now);
        let progress = &self.members.get(at).progress;
        let is_called = progress.epoch != self.group(group).generation
            || match progress.phase {
                Phase::Stable => false,
                Phase::Revoking => true,
                Phase::Awaiting => self.may_take(group, at),
            };
        if is_called { Err(self.classic_call(at, now)) } else { Ok(()) }
    }

    /// A member that a LeaveGroup request names in such a group: by its instance id alone any, else one of
    /// the classic protocol.
    pub(in crate::group) fn leave_consumers(
        &self,
        group: GroupAt,
        who: Who<'_>,
    ) -> Result<MemberAt, ErrorCode> {
        match (who.member_id, who.instance_id) {
            ("", instance_id) => {
                instance_id.and_then(|id| self.member_static(group, id)).ok_or(UNKNOWN)
            }
            _ => {
                let at = self.member_check(group, who)?;
                Some(at).filter(|at| self.is_classic(*at)).ok_or(UNKNOWN)
            }
        }
    }

    /// Makes a classic group one of the consumer protocol, unless its members are no consumers. `more`:
    /// the bytes that who joins takes.
    pub(super) fn upgrade(
        &mut self,
        group: GroupAt,
        more: usize,
        topics: &impl Topics,
        now: Now,
    ) -> Result<(), Refusal> {
        let sets_bytes = 2 * self.consumers.set_bytes();
        let (mut count, mut bytes_before) = (0, 0);
        for (at, member) in self.members.of(group) {
            let assignment = self.arena.bytes(at.assignment_block());
            let assigned = member.progress.is_classic || Assigned::of(assignment).is_ok();
            if !assigned || Subscription::of(self.metadata_first(at)).is_err() {
                return Err(beat::NOT_CONSUMER);
            }
            (count, bytes_before) = (count + 1, bytes_before + assignment.len());
        }
        if self.group(group).protocol_type != CONSUMER_TYPE {
            return Err(beat::NOT_CONSUMER);
        }
        let bytes = count * sets_bytes + more;
        if self.arena.used() - bytes_before + bytes > self.arena.capacity() {
            let all = self.bytes_of(group) - bytes_before + bytes;
            return Err(beat::full(self.full_of(group, all, now)));
        }
        self.pending_drop(group);
        // Those of an earlier change come first, and what takes more room than before comes last.
        self.consumers.taken.fill(0);
        for (was_changed, grows) in [(true, true), (false, false), (false, true)] {
            for place in 0..self.members.capacity() {
                let at = MemberAt(place as u16);
                if self.is_member(at, group)
                    && self.is_classic(at) == was_changed
                    && self.members.get(at).progress.epoch != UPGRADED
                    && (grows || self.arena.len_of(at.assignment_block()) >= sets_bytes)
                {
                    self.upgrade_member(at, topics, now);
                }
            }
        }
        for place in 0..self.members.capacity() {
            let at = MemberAt(place as u16);
            if self.is_member(at, group) {
                self.upgrade_owned(at, topics);
            }
        }
        let generation = self.group(group).generation;
        for (_, member) in self.members.of_mut(group) {
            (member.progress.epoch, member.progress.epoch_before) = (generation, generation);
        }
        let epoch_base = self.consumers.epoch_base;
        let known = self.group_mut(group);
        (known.state, known.is_consumer, known.due) = (State::Consumer, true, NEVER);
        (known.protocol, known.leader, known.former) = (None, None, false);
        known.target_epoch = known.generation;
        known.generation = known.generation.max(epoch_base);
        self.revise(group);
        Ok(())
    }

    /// Its member has what it was assigned, unless another member has it.
    fn upgrade_member(&mut self, at: MemberAt, topics: &impl Topics, now: Now) {
        self.answer(at, ErrorCode::REBALANCE_IN_PROGRESS);
        let set_bytes = self.consumers.set_bytes();
        let assignment = self.arena.bytes(at.assignment_block());
        let Consumers { owned, taken, .. } = &mut self.consumers;
        owned.fill(0);
        if self.members.get(at).progress.is_classic {
            owned.copy_from_slice(assignment.split_at(set_bytes).0);
        } else {
            let assigned = Assigned::of(assignment).expect("it was looked at");
            assigned.each(&mut |topic, index| {
                let slot = topics.partition_named(topic, index);
                slot.into_iter().for_each(|slot| bits::insert(owned, slot.0));
            });
        }
        for (owned, taken) in owned.iter_mut().zip(taken.iter_mut()) {
            *owned &= !*taken;
            *taken |= *owned;
        }
        let sets = self.arena.put(at.assignment_block(), 2 * set_bytes).expect("there is room");
        let (target, held) = sets.split_at_mut(set_bytes);
        target.copy_from_slice(owned);
        held.copy_from_slice(owned);
        let member = self.members.get_mut(at);
        (member.waits_for, member.sync_pending, member.is_new) = (Awaits::Nothing, false, false);
        member.progress = Progress { epoch: UPGRADED, is_classic: true, ..Progress::default() };
        self.session_renew(at, now);
    }

    /// A member also has what it said that it had when it joined, unless another one was assigned it: a
    /// cooperative one goes on with that through a rebalance, in which assignments are void.
    fn upgrade_owned(&mut self, at: MemberAt, topics: &impl Topics) {
        let mut owned = std::mem::take(&mut self.consumers.owned);
        owned.fill(0);
        let said = Subscription::of(self.metadata_first(at)).expect("it was looked at");
        said.owned(topics, &mut |slot| bits::insert(&mut owned, slot.0));
        self.consumers.owned = owned;
        let bytes = self.consumers.set_bytes();
        let (target, behind) = self.arena.bytes_mut(at.assignment_block()).split_at_mut(bytes);
        let Consumers { owned, taken, .. } = &mut self.consumers;
        let sets = target.iter_mut().zip(behind).zip(owned.iter().zip(taken));
        for ((target, held), (owned, taken)) in sets {
            let also = owned & !*taken;
            *target |= also;
            *held |= also;
            *taken |= also;
        }
    }

    /// Makes it a classic group again if it has none but classic members: they are called to join.
    pub(super) fn downgrade(&mut self, group: GroupAt, now: Now) -> bool {
        let first = self.members.of(group).next().map(|(at, _)| at);
        let all_classic = self.members.of(group).all(|(_, member)| member.progress.is_classic);
        if first.is_none() || !all_classic {
            return false;
        }
        // Nobody who is left has come further, and who is not there yet is told so. What they have is
        // remembered, in place of an assignment, until the leader says what they get.
        let epochs = self.members.of(group).map(|(_, member)| member.progress.epoch);
        let generation = epochs.max().unwrap_or(0).max(0);
        for place in 0..self.members.capacity() {
            let at = MemberAt(place as u16);
            if self.is_member(at, group) {
                let (target, held) = self.sets_mut(at);
                target.copy_from_slice(held);
                let kept = Progress { is_classic: true, ..Progress::default() };
                self.members.get_mut(at).progress = kept;
            }
        }
        let known = self.group_mut(group);
        known.generation = generation;
        (known.is_consumer, known.state, known.leader) = (false, State::Stable, first);
        self.carry_out(group, Act::Rebalance, now);
        true
    }

    /// Whether a member speaks the classic protocol.
    pub(super) fn is_classic(&self, at: MemberAt) -> bool {
        self.members.get(at).progress.is_classic
    }

    /// What a classic member says to the protocol that it likes best.
    pub(super) fn metadata_first(&self, at: MemberAt) -> &[u8] {
        at.texts(&self.arena).protocols().next().map_or(&[], |(_, metadata)| metadata)
    }

    /// The member that a classic request names, if it is one of the classic protocol and of this epoch.
    fn classic_check(
        &self,
        group: GroupAt,
        who: Who<'_>,
        generation: i32,
    ) -> Result<MemberAt, ErrorCode> {
        let at = self.member_check(group, who)?;
        if !self.is_classic(at) {
            return Err(UNKNOWN);
        }
        if self.members.get(at).progress.epoch != generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok(at)
    }

    /// Calls a classic member to join again, which it has its rebalance timeout for.
    fn classic_call(&mut self, at: MemberAt, now: Now) -> ErrorCode {
        if self.members.get(at).progress.revoke_due == NEVER {
            self.revoke_by(at, now);
        }
        ErrorCode::REBALANCE_IN_PROGRESS
    }

    /// Whether all classic members know one of its protocols, all of them the same one.
    fn supports_classic(&self, group: GroupAt, ask: &Join<'_>) -> bool {
        let mut any = false;
        (ask.protocols)(&mut |name, _| {
            let mut classic = self.members.of(group).filter(|(_, m)| m.progress.is_classic);
            any |= classic.all(|(at, _)| at.texts(&self.arena).supports(name));
        });
        any && ask.protocol_type == CONSUMER_TYPE
    }

    /// The member that joins again; none: it is a new one.
    fn classic_known(&self, group: GroupAt, ask: &Join<'_>) -> Result<Option<MemberAt>, ErrorCode> {
        let named = self.member_named(group, ask.who.member_id);
        let Some(instance_id) = ask.who.instance_id else {
            return match named {
                Some(at) if !self.is_classic(at) => Err(UNKNOWN),
                named => Ok(named),
            };
        };
        match (self.member_static(group, instance_id), ask.who.member_id) {
            (known, "") => Ok(known),
            (None, _) => Err(UNKNOWN),
            (Some(at), _) if named == Some(at) && self.is_classic(at) => Ok(Some(at)),
            (Some(_), _) => Err(ErrorCode::FENCED_INSTANCE_ID),
        }
    }

    /// Whether a member is subscribed to these topics already, and named them in this order.
    fn subscribed_same(&self, at: MemberAt, said: &Subscription<'_>) -> bool {
        let before = Subscription::of(self.metadata_first(at));
        self.is_classic(at)
            && before.is_ok_and(|before| said.topics.iter().eq(before.topics.iter()))
    }

    /// Takes a place for a new classic member.
    fn classic_add(
        &mut self,
        group: GroupAt,
        id: &str,
        ask: &Join<'_>,
        now: Now,
    ) -> Result<MemberAt, ErrorCode> {
        if self.members.of(group).count() >= self.terms.size_max {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        let at = self.member_take(group, ask.who.instance_id.is_some(), ask.remote, now)?;
        let sets_bytes = 2 * self.consumers.set_bytes();
        let code = match self.arena.put(at.assignment_block(), sets_bytes) {
            Some(sets) => {
                sets.fill(0);
                self.classic_set(at, id, ask, now).err()
            }
            None => Some(self.full(at, sets_bytes, now)),
        };
        if let Some(code) = code {
            self.members.remove(at);
            self.arena.free(at.assignment_block());
            return Err(code);
        }
        Ok(at)
    }

    /// Takes over what a classic member says now; one of the consumer protocol is one of the classic
    /// protocol from now on.
    fn classic_set(
        &mut self,
        at: MemberAt,
        id: &str,
        ask: &Join<'_>,
        now: Now,
    ) -> Result<(), ErrorCode> {
        self.texts_set(at, id, ask, now)?;
        let sets_bytes = 2 * self.consumers.set_bytes();
        self.arena.resize(at.assignment_block(), sets_bytes).expect("it is not longer");
        self.timeouts_set(at, ask);
        self.members.get_mut(at).progress.is_classic = true;
        Ok(())
    }
}

/// What a consumer says when it joins: `ConsumerProtocolSubscription`, versions 0 to 3, as far as it is
/// wanted.
pub(super) struct Subscription<'a> {
    /// The topics.
    pub topics: Array<'a, &'a str>,
    /// What is behind the topics and the user's data; nothing, in version 0.
    rest: Reader<'a>,
}

impl<'a> Subscription<'a> {
    pub fn of(metadata: &'a [u8]) -> Result<Subscription<'a>, codec::Error> {
        let mut reader = Reader::new(metadata);
        let version = i16::decode_from(&mut reader)?;
        let topics = Array::decode_from(&mut reader)?;
        Option::<&[u8]>::decode_from(&mut reader)?;
        let rest = if version < OWNED_SINCE { Reader::new(&[]) } else { reader };
        each_partition(rest, &mut |_, _| {})?;
        Ok(Subscription { topics, rest })
    }

    /// The partitions that it says it has and that there are.
    fn owned(&self, topics: &impl Topics, each: &mut dyn FnMut(PartitionSlot)) {
        let read = each_partition(self.rest, &mut |topic, index| {
            topics.partition_named(topic, index).into_iter().for_each(&mut *each);
        });
        read.expect("it was read before");
    }
}

/// What a leader assigned to a consumer: `ConsumerProtocolAssignment`, of which all versions begin alike.
struct Assigned<'a>(Reader<'a>);

impl<'a> Assigned<'a> {
    /// One who was assigned nothing yet has no bytes.
    fn of(assignment: &'a [u8]) -> Result<Assigned<'a>, codec::Error> {
        let mut reader = Reader::new(assignment);
        if !assignment.is_empty() {
            i16::decode_from(&mut reader)?;
        }
        each_partition(reader, &mut |_, _| {})?;
        Ok(Assigned(reader))
    }

    fn each(&self, each: &mut dyn FnMut(&str, i32)) {
        each_partition(self.0, each).expect("it was read before");
    }
}

/// Reads topics with their partitions; no bytes are none.
fn each_partition(
    mut reader: Reader<'_>,
    each: &mut dyn FnMut(&str, i32),
) -> Result<(), codec::Error> {
    if reader.rest().is_empty() {
        return Ok(());
    }
    for _ in 0..i32::decode_from(&mut reader)?.max(0) {
        let topic = <&str>::decode_from(&mut reader)?;
        Array::<i32>::decode_from(&mut reader)?.iter().for_each(|index| each(topic, index));
    }
    Ok(())
}

fn first_metadata<'a>(protocols: members::Protocols<'a>) -> Option<&'a [u8]> {
    let mut first = None;
    protocols(&mut |_, metadata| first = first.or(Some(metadata)));
    first
}

/// The epoch of a member while its group is being changed.
const UPGRADED: i32 = i32::MIN;

/// The type of protocols that consumers speak.
const CONSUMER_TYPE: &str = "consumer";

/// Consumers say which partitions they have since this version of their subscription.
const OWNED_SINCE: i16 = 1;
