//! The one request of the protocol: a heartbeat that joins, says, reports and leaves.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::*;
use crate::group::members::member_id;

/// Calls what it is given with each partition that a client says it has.
pub type Owned<'a> = &'a dyn Fn(&mut dyn FnMut(PartitionSlot));

/// Calls what it is given with each topic that a client names.
pub type Names<'a> = &'a dyn Fn(&mut dyn FnMut(&'a str));

/// A heartbeat. What it does not say is as it was.
#[derive(Clone, Copy)]
pub struct Beat<'a> {
    /// The group.
    pub group: &'a str,
    /// The member's id; empty: it wants one.
    pub member_id: &'a str,
    /// The epoch that it knows; 0: it joins; −1: it leaves; −2: it will be back.
    pub epoch: i32,
    /// The instance id of a static member.
    pub instance_id: Option<&'a str>,
    /// Where it is.
    pub rack: Option<&'a str>,
    /// How long it may take to give partitions back, in ms.
    pub rebalance_ms: Option<u32>,
    /// The topics that it is subscribed to by name.
    pub topics: Option<Names<'a>>,
    /// An expression for the names of more of them; empty: none.
    pub regex: Option<&'a str>,
    /// How it wants partitions to be assigned.
    pub assignor: Option<&'a str>,
    /// What it has.
    pub owned: Option<Owned<'a>>,
    /// What its client calls itself.
    pub client_id: &'a str,
    /// Where it connects from.
    pub remote: IpAddr,
    /// 16 random bytes, for an id.
    pub random: [u8; 16],
    /// Whether there may be another group.
    pub has_room: bool,
}

/// What a member is told.
#[derive(Debug, Clone, Copy)]
pub struct Beaten {
    /// The member; none: it left.
    pub member: Option<MemberAt>,
    /// Its epoch now.
    pub epoch: i32,
    /// Whether it is told what it has.
    pub tells: bool,
}

/// Why a heartbeat is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// What people are told.
    pub why: &'static str,
}

impl Groups {
    /// Takes a heartbeat.
    pub fn beat(
        &mut self,
        ask: &Beat<'_>,
        topics: &impl Topics,
        now: Now,
    ) -> Result<Beaten, Refusal> {
        beat_check(ask)?;
        self.topics_look(topics);
        let found = self.find(ask.group);
        let state = found.map_or(State::Dead, |at| self.group(at).state);
        let event = if ask.epoch == 0 { Event::ConsumerJoin } else { Event::ConsumerBeat };
        let act = states::act(state, event);
        let group = match (act, found) {
            (Act::Refuse(ErrorCode::GROUP_ID_NOT_FOUND), _) => return Err(NOT_CONSUMER),
            (Act::Refuse(_), _) => return Err(UNKNOWN_MEMBER),
            (Act::Found, _) if !ask.has_room => return Err(NO_ROOM),
            (Act::Upgrade, Some(at)) => {
                let more = self.join_room(at, ask).map_err(full)?;
                self.upgrade(at, more, topics, now)?;
                at
            }
            (_, Some(at)) => at,
            (_, None) => self.group_add(ask.group, now).map_err(full)?,
        };
        if ask.epoch < 0 {
            return self.depart(group, ask, now);
        }
        if let Some(owned) = ask.owned {
            self.owned_note(owned);
        }
        let member = match self.beat_member(group, ask, now) {
            Err(refusal) if act == Act::Upgrade => {
                self.downgrade(group, now);
                return Err(refusal);
            }
            member => member?,
        };
        self.beat_done(group, member, ask.owned.is_some(), topics, now);
        let progress = &mut self.members.get_mut(member).progress;
        let says_topics = ask.topics.is_some() || ask.regex.is_some();
        let says_all = ask.rebalance_ms.is_some() && ask.owned.is_some() && says_topics;
        let untold = std::mem::take(&mut progress.untold);
        let (epoch, mut tells) = (progress.epoch, ask.epoch == 0 || says_all || untold);
        if ask.member_id.is_empty() && self.told(member).count() > limits::GROUP_TOLD_WITH_ID_MAX {
            self.members.get_mut(member).progress.untold = true;
            tells = false;
        }
        Ok(Beaten { member: Some(member), epoch, tells })
    }

    /// What a member was told that is in the middle of being told it.
    pub fn beat_again(&self, group: &str, member_id: &str) -> Option<Beaten> {
        let member = self.member_named(self.find(group)?, member_id)?;
        let epoch = self.members.get(member).progress.epoch;
        Some(Beaten { member: Some(member), epoch, tells: true })
    }

    /// Whether a member of a group that the broker assigns to, if it is one, may commit offsets or
    /// look at them.
    pub fn epoch_check(&self, group: &str, member_id: &str, epoch: i32) -> Result<(), ErrorCode> {
        let group = self.find(group).filter(|at| self.group(*at).state == State::Consumer);
        let Some(group) = group else {
            return Ok(());
        };
        let member = self.member_named(group, member_id);
        let member = member.filter(|at| self.is_member(*at, group)).ok_or(UNKNOWN)?;
        let progress = &self.members.get(member).progress;
        match progress.is_classic {
            // One that is away has an epoch that is none.
            _ if progress.epoch == epoch && epoch >= 0 => Ok(()),
            true => Err(ErrorCode::ILLEGAL_GENERATION),
            false => Err(ErrorCode::STALE_MEMBER_EPOCH),
        }
    }

    /// Whether a member of such a group may commit offsets, by a version that knows epochs or not.
    pub(in crate::group) fn commit_consumers(
        &self,
        group: &str,
        member_id: &str,
        epoch: i32,
        knows_epochs: bool,
    ) -> Result<(), ErrorCode> {
        let found = self.find(group).ok_or(UNKNOWN)?;
        let at = self.member_named(found, member_id).filter(|at| self.is_member(*at, found));
        let at = at.ok_or(UNKNOWN)?;
        if !knows_epochs && !self.is_classic(at) {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        self.epoch_check(group, member_id, epoch)
    }

    /// The member that a heartbeat is from, with all that it says noted; a new one where it joins.
    fn beat_member(
        &mut self,
        group: GroupAt,
        ask: &Beat<'_>,
        now: Now,
    ) -> Result<MemberAt, Refusal> {
        let joins = ask.epoch == 0;
        let named = self.member_named(group, ask.member_id);
        let named = named.filter(|at| !self.members.get(*at).pending);
        let of_instance = ask.instance_id.map(|id| self.member_static(group, id));
        let known = match (of_instance, named) {
            (_, Some(at)) if !joins && self.is_classic(at) => return Err(UNKNOWN_MEMBER),
            (None | Some(None), Some(at)) if joins || of_instance.is_none() => Some(at),
            (None | Some(None), None) if joins => None,
            (None | Some(None), _) => return Err(UNKNOWN_MEMBER),
            (Some(Some(at)), named) if named == Some(at) => Some(at),
            (Some(Some(at)), _) if joins && (self.is_away(at) || self.is_classic(at)) => Some(at),
            (Some(Some(_)), _) if joins => return Err(UNRELEASED),
            (Some(Some(_)), _) => return Err(FENCED_INSTANCE),
        };
        let given;
        let id = match ask.member_id {
            "" => {
                given = member_id(ask.client_id, ask.random);
                given.as_str()
            }
            own => own,
        };
        let Some(at) = known else {
            return self.beat_member_add(group, id, ask, now);
        };
        if !joins {
            self.beat_epoch_check(at, ask)?;
        }
        let was_classic = self.is_classic(at);
        let is_back = named != Some(at) || was_classic;
        if was_classic {
            self.classic_replace(at, id, ask, now).map_err(full)?;
        }
        if self.say(at, id, ask, now).map_err(full)? || was_classic {
            self.epoch_next(group);
        }
        if is_back {
            let progress = &mut self.members.get_mut(at).progress;
            (progress.epoch, progress.epoch_before) = (0, 0);
        }
        Ok(at)
    }

    /// One of this protocol takes the place of a classic member, and what it had. There must be room for
    /// all that it says before the other's texts are gone.
    fn classic_replace(
        &mut self,
        at: MemberAt,
        id: &str,
        ask: &Beat<'_>,
        now: Now,
    ) -> Result<(), ErrorCode> {
        let (old, new) = (self.arena.len_of(at.texts_block()), beat_bytes(ask, id.len()));
        if !self.arena.has_room(at.texts_block(), new) {
            let group = self.members.get(at).group;
            return Err(self.full_of(group, self.bytes_of(group) - old + new, now));
        }
        self.names_set(at, id, ask, now)?;
        let session_ms = self.consumers.session_ms;
        let member = self.members.get_mut(at);
        (member.progress.is_classic, member.session_ms) = (false, session_ms);
        Ok(())
    }

    /// Whether a static member said that it will be back.
    fn is_away(&self, at: MemberAt) -> bool {
        self.members.get(at).progress.epoch == EPOCH_AWAY
    }

    fn beat_epoch_check(&self, at: MemberAt, ask: &Beat<'_>) -> Result<(), Refusal> {
        let progress = &self.members.get(at).progress;
        let is_before = ask.epoch == progress.epoch_before;
        let has_no_more = ask.owned.is_some() && self.holds_owned(at);
        epoch_accepted(ask.epoch.cmp(&progress.epoch), is_before, has_no_more)
    }

    fn beat_member_add(
        &mut self,
        group: GroupAt,
        id: &str,
        ask: &Beat<'_>,
        now: Now,
    ) -> Result<MemberAt, Refusal> {
        if self.members.of(group).count() >= self.terms.size_max {
            return Err(full(ErrorCode::GROUP_MAX_SIZE_REACHED));
        }
        let at = self.member_take(group, ask.instance_id.is_some(), ask.remote, now);
        let at = at.map_err(full)?;
        if let Err(code) = self.beat_texts(at, id, ask, now) {
            self.members.remove(at);
            self.arena.free(at.texts_block());
            self.arena.free(at.assignment_block());
            return Err(full(code));
        }
        self.consumer_entered(group);
        Ok(at)
    }

    /// Whether the tables have a place for one who joins, so that a classic group is not changed in vain;
    /// with the bytes that the arena needs for it.
    fn join_room(&self, group: GroupAt, ask: &Beat<'_>) -> Result<usize, ErrorCode> {
        let takes_over = ask.instance_id.is_some_and(|id| self.member_static(group, id).is_some());
        let mut members = self.members.iter();
        if !takes_over && self.members.of(group).count() >= self.terms.size_max {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        let is_full = self.members.len() == self.members.capacity();
        if !takes_over && is_full && !members.any(|(_, member)| member.pending) {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let said = beat_bytes(ask, limits::GROUP_MEMBER_ID_BYTES_MAX);
        Ok(said + 2 * self.consumers.set_bytes())
    }

    /// Takes a place in the table for a new member of such a group.
    pub(super) fn member_take(
        &mut self,
        group: GroupAt,
        is_static: bool,
        remote: IpAddr,
        now: Now,
    ) -> Result<MemberAt, ErrorCode> {
        if self.members.len() == self.members.capacity() {
            self.pending_evict()?;
        }
        let at = self.members.add(Member {
            group,
            pending: false,
            is_static,
            is_new: false,
            sync_pending: false,
            waits_for: Awaits::Nothing,
            conn: None,
            deadline: now.mono,
            session_ms: self.consumers.session_ms,
            rebalance_ms: 0,
            remote,
            progress: Progress::default(),
        });
        Ok(at.expect("there is a place"))
    }

    /// The first member decides what kind of group it is; whoever came with an id of the other kind
    /// is not expected any more.
    fn consumer_entered(&mut self, at: GroupAt) {
        self.pending_drop(at);
        let epoch_base = self.consumers.epoch_base;
        let group = self.group_mut(at);
        if !group.is_consumer {
            group.is_consumer = true;
            (group.generation, group.target_epoch) = (epoch_base, epoch_base);
            group.protocol_type = "consumer".try_into().expect("it is short");
            group.protocol = None;
            group.leader = None;
        }
        (group.state, group.former) = (State::Consumer, false);
        group.due = NEVER;
        self.epoch_next(at);
        self.revise(at);
    }

    /// Takes room for a new member's names, and for what it will have, which is nothing so far; notes
    /// what it says.
    fn beat_texts(
        &mut self,
        at: MemberAt,
        id: &str,
        ask: &Beat<'_>,
        now: Now,
    ) -> Result<(), ErrorCode> {
        self.names_set(at, id, ask, now)?;
        let sets_bytes = 2 * self.consumers.set_bytes();
        let Some(sets) = self.arena.put(at.assignment_block(), sets_bytes) else {
            let texts_bytes = self.arena.len_of(at.texts_block());
            return Err(self.full(at, texts_bytes + sets_bytes, now));
        };
        sets.fill(0);
        self.say(at, id, ask, now)?;
        Ok(())
    }

    /// Puts a member's names in the place of all that it said.
    fn names_set(
        &mut self,
        at: MemberAt,
        id: &str,
        ask: &Beat<'_>,
        now: Now,
    ) -> Result<(), ErrorCode> {
        let client_id = members::cut(ask.client_id, limits::GROUP_CLIENT_ID_BYTES_MAX);
        let texts = [id, ask.instance_id.unwrap_or(""), client_id, "", ""];
        let bytes = texts.iter().map(|text| FIELD_BYTES + text.len()).sum();
        let Some(block) = self.arena.put(at.texts_block(), bytes) else {
            return Err(self.full(at, bytes, now));
        };
        let mut filler = Filler(block);
        texts.iter().for_each(|text| filler.push(text.as_bytes()));
        Ok(())
    }

    /// Notes what a member says now; whether it is subscribed to something else than before. There
    /// must be room for all of it before any of it is noted.
    fn say(&mut self, at: MemberAt, id: &str, ask: &Beat<'_>, now: Now) -> Result<bool, ErrorCode> {
        let texts = at.texts(&self.arena);
        let said = self.said(at);
        let new = [
            (TEXT_ID, Some(id), texts.id),
            (TEXT_INSTANCE, ask.instance_id, texts.instance_id),
            (TEXT_ASSIGNOR, ask.assignor, said.assignor),
            (TEXT_RACK, ask.rack, said.rack),
        ];
        let new = new.map(|(nth, new, old)| (nth, new.filter(|new| *new != old), old.len()));
        let topics = ask.topics.filter(|names| !self.names_same(at, *names));
        let sets_bytes = 2 * self.consumers.set_bytes();
        let (mut more, mut less) = (0, 0);
        for (_, text, old) in new.iter().filter(|(_, text, _)| text.is_some()) {
            (more, less) = (more + text.map_or(0, str::len), less + old);
        }
        if let Some(names) = topics {
            (more, less) = (more + names_bytes(names), less + self.topics_said(at).len());
        }
        if self.arena.used() + more > self.arena.capacity() + less {
            let group = self.members.get(at).group;
            return Err(self.full_of(group, self.bytes_of(group) + more - less, now));
        }
        // What gets shorter makes room for what gets longer.
        let mut new = new;
        new.sort_unstable_by_key(|(_, text, old)| {
            text.map_or(0, |t| t.len() as isize - *old as isize)
        });
        if topics.is_some() {
            self.arena.resize(at.assignment_block(), sets_bytes).expect("it is not longer");
        }
        for (nth, text, _) in new {
            if let Some(text) = text {
                self.arena.field_set(at.texts_block(), nth, text.as_bytes());
            }
        }
        if let Some(names) = topics {
            let bytes = sets_bytes + names_bytes(names);
            let block = self.arena.resize(at.assignment_block(), bytes).expect("there is room");
            let mut filler = Filler(block.split_at_mut(sets_bytes).1);
            names(&mut |name| filler.push(name.as_bytes()));
        }
        let member = self.members.get_mut(at);
        member.is_static |= ask.instance_id.is_some();
        member.rebalance_ms = ask.rebalance_ms.unwrap_or(member.rebalance_ms);
        member.remote = ask.remote;
        Ok(topics.is_some())
    }

    /// Whether these are the topics that a member named, in the order that it named them: to look for
    /// each in any place takes too long with many of them, and who takes another order gets an epoch.
    fn names_same(&self, at: MemberAt, names: Names<'_>) -> bool {
        let (mut said, mut same) = (topics_in(self.topics_said(at)), true);
        names(&mut |name| same &= said.next() == Some(name));
        same && said.next().is_none()
    }

    /// What follows from a heartbeat, for the group and for the member.
    pub(super) fn beat_done(
        &mut self,
        group: GroupAt,
        at: MemberAt,
        says_owned: bool,
        topics: &impl Topics,
        now: Now,
    ) {
        let known = self.group(group);
        if known.generation != known.target_epoch {
            self.targets_make(group, topics);
        }
        self.reconcile(group, at, says_owned, now);
        self.session_renew(at, now);
    }

    /// A member leaves for good, or says that it will be back.
    fn depart(&mut self, group: GroupAt, ask: &Beat<'_>, now: Now) -> Result<Beaten, Refusal> {
        let named = self.member_named(group, ask.member_id);
        let at = match ask.instance_id.map(|id| self.member_static(group, id)) {
            None => named.ok_or(UNKNOWN_MEMBER)?,
            Some(None) => return Err(UNKNOWN_MEMBER),
            Some(Some(at)) if named == Some(at) => at,
            Some(Some(_)) => return Err(FENCED_INSTANCE),
        };
        if self.is_classic(at) {
            // It leaves by a request of its own protocol.
            return Err(UNKNOWN_MEMBER);
        }
        if ask.epoch == EPOCH_AWAY {
            self.release_all(at);
            let progress = &mut self.members.get_mut(at).progress;
            progress.epoch = EPOCH_AWAY;
            progress.revoke_due = NEVER;
        } else {
            self.member_leave(at, now);
        }
        Ok(Beaten { member: None, epoch: ask.epoch, tells: false })
    }
}

/// What can be said without looking at the group.
fn beat_check(ask: &Beat<'_>) -> Result<(), Refusal> {
    let bad = |why| Err(Refusal { code: ErrorCode::INVALID_REQUEST, why });
    let joins = ask.epoch == 0;
    let mut owns = false;
    if let Some(owned) = ask.owned {
        owned(&mut |_| owns = true);
    }
    match ask {
        _ if ask.group.is_empty() => bad("GroupId can't be empty."),
        _ if ask.instance_id == Some("") => bad("InstanceId can't be empty."),
        _ if ask.rack == Some("") => bad("RackId can't be empty."),
        _ if ask.epoch < EPOCH_AWAY => bad("MemberEpoch is invalid."),
        _ if ask.epoch == EPOCH_AWAY && ask.instance_id.is_none() => {
            bad("InstanceId can't be null.")
        }
        _ if !joins && ask.member_id.is_empty() => bad("MemberId can't be empty."),
        _ if ask.member_id.len() > limits::GROUP_MEMBER_ID_BYTES_MAX => {
            bad("MemberId is too long.")
        }
        _ if joins && ask.rebalance_ms.is_none() => {
            bad("RebalanceTimeoutMs must be provided in first request.")
        }
        _ if joins && (ask.owned.is_none() || owns) => {
            bad("TopicPartitions must be empty when (re-)joining.")
        }
        _ if joins && ask.topics.is_none() && ask.regex.is_none() => {
            bad("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.")
        }
        _ if ask.regex.is_some_and(|regex| !regex.is_empty()) => Err(Refusal {
            code: ErrorCode::INVALID_REGULAR_EXPRESSION,
            why: "SubscribedTopicRegex must be empty: brooklet does not evaluate regular expressions. \
                  Subscribe to topics by name, or have the client match their names.",
        }),
        _ if Groups::id_check(ask.group).is_err() => {
            Err(Refusal { code: ErrorCode::INVALID_GROUP_ID, why: "GroupId is too long." })
        }
        _ => match ask.assignor {
            None | Some("" | UNIFORM | RANGE) => Ok(()),
            Some(_) => Err(Refusal {
                code: ErrorCode::UNSUPPORTED_ASSIGNOR,
                why: "ServerAssignor is not supported. Supported assignors: uniform, range.",
            }),
        },
    }
}

/// Whether a member may come with an epoch that compares like this to the one that is known of it.
/// One that comes with the epoch before, and has no more than it holds, did not get the answer that
/// told it of the present one.
fn epoch_accepted(order: Ordering, is_before: bool, has_no_more: bool) -> Result<(), Refusal> {
    match (order, is_before, has_no_more) {
        (Ordering::Equal, _, _) | (Ordering::Less, true, true) => Ok(()),
        (Ordering::Less, _, _) => Err(Refusal {
            code: ErrorCode::FENCED_MEMBER_EPOCH,
            why: "The member's epoch is behind. It must abandon all its partitions and rejoin.",
        }),
        (Ordering::Greater, _, _) => Err(Refusal {
            code: ErrorCode::FENCED_MEMBER_EPOCH,
            why: "The member's epoch is ahead. It must abandon all its partitions and rejoin.",
        }),
    }
}

/// The bytes of all that a heartbeat says, with an id of so many.
fn beat_bytes(ask: &Beat<'_>, id_bytes: usize) -> usize {
    let client_id = members::cut(ask.client_id, limits::GROUP_CLIENT_ID_BYTES_MAX);
    let texts = [ask.instance_id, ask.assignor, ask.rack].map(|text| text.map_or(0, str::len));
    let texts = id_bytes + client_id.len() + texts.iter().sum::<usize>();
    5 * FIELD_BYTES + texts + ask.topics.map_or(0, names_bytes)
}

fn names_bytes(names: Names<'_>) -> usize {
    let mut bytes = 0;
    names(&mut |name| bytes += FIELD_BYTES + name.len());
    bytes
}

/// A table is full.
pub(super) fn full(code: ErrorCode) -> Refusal {
    let why = match code {
        ErrorCode::GROUP_MAX_SIZE_REACHED => {
            "The group, or the broker, has all the members it may."
        }
        _ => "There is no room for more members now.",
    };
    Refusal { code, why }
}

/// There may be no other group.
pub const NO_ROOM: Refusal = Refusal {
    code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
    why: "The broker has all the groups it may.",
};
const UNKNOWN_MEMBER: Refusal =
    Refusal { code: UNKNOWN, why: "The group has no such member. It must rejoin." };
pub(super) const NOT_CONSUMER: Refusal = Refusal {
    code: ErrorCode::GROUP_ID_NOT_FOUND,
    why: "The group has members that are no consumers.",
};
const UNRELEASED: Refusal = Refusal {
    code: ErrorCode::UNRELEASED_INSTANCE_ID,
    why: "The instance id is in use by another member.",
};
const FENCED_INSTANCE: Refusal = Refusal {
    code: ErrorCode::FENCED_INSTANCE_ID,
    why: "The instance id is that of another member now.",
};

/// The epoch of a static member that left and will be back.
const EPOCH_AWAY: i32 = -2;
