//! The table of connections: one slot each, allocated at start.
//!
//! Through its slot other tasks tell a connection's task something: that it was granted a buffer, that
//! it is to end, that its records came. They set a field and wake the task.

use std::net::IpAddr;
use std::task::Waker;

use super::pools::Buffer;
use crate::broker::ConnId;
use crate::clock::Mono;
use crate::limits;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::Until;

/// What a connection is doing, as far as it matters to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests, or in the first bytes of one; it holds nothing.
    Idle,
    /// It waits for the rest of a frame, with a buffer or without.
    Reading,
    /// It waits for the client to read its answer.
    Writing,
    /// It waits for a sync, a buffer, or for its turn.
    Busy,
    /// It waits for records, or for other members of a group. It holds a buffer only if requests
    /// behind that one came with it.
    Waiting,
    /// It waits for room in a ring that is held.
    Held,
}

/// One connection.
pub struct Slot {
    /// Wakes its task.
    pub waker: Option<Waker>,
    /// The client's address.
    pub remote: IpAddr,
    /// What it is doing.
    pub phase: Phase,
    /// When bytes last came or went.
    pub since: Mono,
    /// When it last completed a request; before the first, when it connected.
    pub idle_since: Mono,
    /// Whether it ever completed a request.
    pub completed: bool,
    /// Set by others: it is to end.
    pub end: Option<CloseReason>,
    /// Set by others: a buffer that it waited for.
    pub granted: Option<(PoolKind, Buffer)>,
    /// Set by others: its job is to be stepped.
    pub woken: bool,
    /// Set by others: it has waited for room with a buffer as long as it may.
    pub waited_out: bool,
    /// Whether it is on the list of those that wait for a sync.
    pub settling: bool,
    /// How many buffers it holds, by [`PoolKind`].
    pub holds: [u8; PoolKind::COUNT],
    /// Bytes that came or went since the connection began.
    pub moved: u64,
    /// What `moved` was when the stall check last found it quick enough.
    pub moved_seen: u64,
    /// The checks since then, this one included; 0: none since it got a buffer.
    pub looks: u8,
    /// What delayed the requests whose answers are pending.
    pub delays: Delays,
}

/// How long requests waited, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delays {
    /// Since when one has waited, before it is staged, in milliseconds; it may wrap.
    pub since_ms: u32,
    /// For a buffer.
    pub buffer_ms: u32,
    /// For room in a ring that is held.
    pub held_ms: u32,
    /// For their group to be on flash.
    pub sync_ms: u32,
}

/// All of them.
pub struct Slots {
    /// As far as any were ever open.
    slots: Vec<Option<Slot>>,
    open: usize,
    free: Vec<ConnId>,
    /// The connections that wait for a sync, and for which, in the order in which they began to.
    pub settling: Vec<(ConnId, Until)>,
}

impl Slots {
    /// Room for this many connections.
    pub fn new(connections: usize) -> Slots {
        let ids = (0..connections).rev();
        Slots {
            slots: Vec::with_capacity(connections),
            open: 0,
            free: ids.map(|id| ConnId(id as u16)).collect(),
            settling: Vec::with_capacity(connections),
        }
    }

    /// Takes a free slot for a connection from this address.
    pub fn open(&mut self, remote: IpAddr, now: Mono) -> Option<ConnId> {
        let id = self.free.pop()?;
        let place = usize::from(id.0);
        if place >= self.slots.len() {
            self.slots.resize_with(place + 1, || None);
        }
        self.open += 1;
        self.slots[place] = Some(Slot {
            waker: None,
            remote,
            phase: Phase::Idle,
            since: now,
            idle_since: now,
            completed: false,
            end: None,
            granted: None,
            woken: false,
            waited_out: false,
            settling: false,
            holds: [0; PoolKind::COUNT],
            moved: 0,
            moved_seen: 0,
            looks: 0,
            delays: Delays::default(),
        });
        Some(id)
    }

    /// Gives a slot back. Its buffers must be back by then.
    pub fn close(&mut self, id: ConnId) {
        let slot = self.slots[usize::from(id.0)].take();
        let slot = slot.expect("a slot is closed once");
        assert!(slot.holds_nothing() && slot.granted.is_none());
        self.settling.retain(|(other, _)| *other != id);
        self.free.push(id);
        self.open -= 1;
    }

    /// Puts a connection on the list of those that wait for a sync.
    pub fn settle(&mut self, id: ConnId, until: &Until) {
        if !std::mem::replace(&mut self.get(id).settling, true) {
            self.settling.push((id, *until));
        } else if let Some((_, place)) = self.settling.iter_mut().find(|(other, _)| *other == id) {
            *place = *until;
        }
    }

    /// Open connections.
    pub fn open_len(&self) -> usize {
        self.open
    }

    /// Open connections of this address.
    pub fn open_of(&self, remote: IpAddr) -> usize {
        self.iter().filter(|(_, slot)| slot.remote == remote).count()
    }

    /// An open connection's slot.
    pub fn get(&mut self, id: ConnId) -> &mut Slot {
        let slot = self.slots[usize::from(id.0)].as_mut();
        slot.expect("only open connections have an id")
    }

    /// A connection's slot, if it is open.
    pub fn find(&mut self, id: ConnId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    /// All open connections.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Slot)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(id, slot)| Some((ConnId(id as u16), slot.as_ref()?)))
    }

    /// All open connections, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter_map(Option::as_mut)
    }

    /// The connection to displace for a new one, of all or of those from one address, and why. First,
    /// where those that wait for room would leave less than an eighth of `places` to others: of them the
    /// one that has waited longest, if nothing of its request was read. Then those that connected
    /// `newcomer_ms` ago or longer and never completed a request, else the longest idle, else the one
    /// that has waited longest. New connections are no more idle than others: else they would displace
    /// each other while idle clients stay.
    pub fn victim(
        &self,
        (of, places): (Option<IpAddr>, usize),
        now: Mono,
        newcomer_ms: u64,
    ) -> Option<(ConnId, CloseReason)> {
        let asked = |slot: &Slot| slot.end.is_none() && of.is_none_or(|of| of == slot.remote);
        let all = || self.iter().filter(|(_, slot)| asked(slot));
        let held = || all().filter(|(_, slot)| slot.phase == Phase::Held);
        let others = (places / limits::OTHERS_SHARE).max(limits::OTHERS_MIN);
        let unread = held().filter(|(_, slot)| slot.holds_nothing());
        let longest = unread.min_by_key(|(_, slot)| slot.since);
        if let Some((id, _)) = longest
            && held().count() >= places.saturating_sub(others)
        {
            return Some((id, CloseReason::Held));
        }
        let standing = all().filter_map(|(id, slot)| {
            let standing = slot.standing(now, newcomer_ms)?;
            Some(((standing, slot.idle_since), id))
        });
        let first = standing.min_by_key(|(standing, _)| *standing);
        first.map(|(_, id)| (id, CloseReason::Displaced))
    }

    /// Of the connections that wait for room, the one with a buffer of this kind that has waited longest,
    /// if they have more than `buffers_max` of them.
    pub fn held_beyond(&mut self, kind: PoolKind, buffers_max: usize) -> Option<&mut Slot> {
        let holds = |slot: &Slot| usize::from(slot.holds[kind as usize]);
        let waits = |slot: &&mut Slot| slot.phase == Phase::Held && !slot.waited_out;
        let buffers: usize = self.iter_mut().filter(waits).map(|slot| holds(slot)).sum();
        let beyond = self.iter_mut().filter(waits).filter(|slot| holds(slot) > 0);
        beyond.min_by_key(|slot| slot.since).filter(|_| buffers > buffers_max)
    }

    /// Whether a connection, of all or of those from one address, was told to end and has not yet.
    pub fn is_ending(&self, of: Option<IpAddr>) -> bool {
        self.iter().any(|(_, slot)| slot.end.is_some() && of.is_none_or(|of| of == slot.remote))
    }
}

impl Slot {
    /// Tells the connection to end; the first reason counts.
    pub fn end(&mut self, why: CloseReason) {
        self.end.get_or_insert(why);
        self.wake();
    }

    /// Wakes its task, to look at the slot.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Notes bytes that came or went.
    pub fn moved(&mut self, bytes: usize, now: Mono) {
        self.moved += bytes as u64;
        self.since = now;
    }

    /// Notes that a request was completed.
    pub fn completed(&mut self, now: Mono) {
        self.completed = true;
        self.idle_since = now;
    }

    /// Whether it has no buffer.
    pub fn holds_nothing(&self) -> bool {
        self.holds == [0; PoolKind::COUNT]
    }

    /// How dispensable it is; none: it is not. One in the middle of a request without a buffer counts as
    /// idle; one with a buffer is closed by [`super::timers::check_stalls`] if it stalls.
    fn standing(&self, now: Mono, newcomer_ms: u64) -> Option<Standing> {
        let lingers = !self.completed && now >= self.idle_since.plus_ms(newcomer_ms);
        match self.phase {
            Phase::Idle | Phase::Reading if lingers => Some(Standing::Lingers),
            Phase::Idle => Some(Standing::Idle),
            Phase::Reading if self.holds_nothing() => Some(Standing::Idle),
            Phase::Waiting => Some(Standing::Waits),
            Phase::Reading | Phase::Writing | Phase::Busy | Phase::Held => None,
        }
    }
}

/// How dispensable a connection is, the most dispensable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It has been open for a while, and never completed a request.
    Lingers,
    /// It does nothing.
    Idle,
    /// It waits for records, or for other members of its group.
    Waits,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn local(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
    }

    #[test]
    fn who_never_asked_goes_first_then_the_longest_idle_then_who_waits() {
        let mut slots = Slots::new(6);
        let ids: Vec<_> =
            (0..6).map(|i| slots.open(local(i), Mono(10 + u64::from(i))).unwrap()).collect();
        assert_eq!(slots.open(local(9), Mono(50)), None);
        for (id, completed) in ids[..4].iter().zip([100, 90, 80, 70]) {
            slots.get(*id).completed(Mono(completed));
        }
        let phases = [Phase::Idle, Phase::Idle, Phase::Reading, Phase::Waiting, Phase::Reading];
        for (id, phase) in ids.iter().zip(phases) {
            slots.get(*id).phase = phase;
        }
        let mut order = Vec::new();
        while let Some((id, why)) = slots.victim((None, 6), Mono(3_000_000), 1000) {
            assert_eq!(why, CloseReason::Displaced);
            order.push(usize::from(id.0));
            slots.get(id).end(CloseReason::Displaced);
        }
        assert_eq!(order, [4, 5, 2, 1, 0, 3]);
        assert_eq!(slots.open_len(), 6);
        assert_eq!(slots.open_of(local(1)), 1);
    }

    #[test]
    fn newcomers_are_no_more_idle_than_those_who_were_there_before() {
        let mut slots = Slots::new(3);
        let ids: Vec<_> = (0..3).map(|i| slots.open(local(0), Mono(i)).unwrap()).collect();
        slots.get(ids[0]).completed(Mono(5000));
        let victim = |slots: &Slots, newcomer_ms| {
            slots.victim((None, 3), Mono(1002), newcomer_ms).map(|(id, _)| id)
        };
        assert_eq!(victim(&slots, 1), Some(ids[1]));
        assert_eq!(victim(&slots, 2), Some(ids[1]));
        slots.get(ids[0]).completed(Mono(0));
        assert_eq!(victim(&slots, 2), Some(ids[0]));
    }

    #[test]
    fn who_is_at_work_or_holds_a_buffer_does_not_go() {
        let mut slots = Slots::new(1);
        let id = slots.open(local(0), Mono(0)).unwrap();
        let displaced = Some((id, CloseReason::Displaced));
        let victim = |slots: &Slots| slots.victim((None, 9), Mono(10), 1000);
        for phase in [Phase::Writing, Phase::Busy, Phase::Held] {
            slots.get(id).phase = phase;
            assert_eq!(victim(&slots), None);
        }
        slots.get(id).phase = Phase::Reading;
        assert_eq!(victim(&slots), displaced);
        slots.get(id).holds[PoolKind::Control as usize] = 1;
        assert_eq!(victim(&slots), None);
        // Who only came to hold it goes.
        assert_eq!(slots.victim((None, 9), Mono(1_000_000), 1000), displaced);
    }

    #[test]
    fn who_waits_for_room_goes_where_others_have_less_than_an_eighth() {
        for (places, others) in [(8, 2), (16, 2), (32, 4), (512, 64)] {
            let mut slots = Slots::new(places);
            let open = |slots: &mut Slots, i| {
                let id = slots.open(local(1), Mono(i as u64)).unwrap();
                slots.get(id).phase = if i < places - others { Phase::Held } else { Phase::Idle };
                id
            };
            let ids: Vec<_> = (0..places).map(|i| open(&mut slots, i)).collect();
            // Something of the first one's request was taken.
            slots.get(ids[0]).holds[PoolKind::Reply as usize] = 1;
            let victim = |slots: &Slots, of| slots.victim((of, places), Mono(10), 1000);
            for of in [None, Some(local(1))] {
                assert_eq!(victim(&slots, of), Some((ids[1], CloseReason::Held)), "{places}");
            }
            slots.get(ids[1]).end(CloseReason::Held);
            let idle = ids[places - others];
            assert_eq!(victim(&slots, None), Some((idle, CloseReason::Displaced)), "{places}");
        }
    }

    #[test]
    fn of_the_buffers_of_those_who_wait_for_room_the_oldest_beyond_a_bound_is_told() {
        let mut slots = Slots::new(4);
        let ids = [0, 1, 2, 3].map(|i| slots.open(local(1), Mono(9 - i)).unwrap());
        for id in ids {
            slots.get(id).phase = Phase::Held;
            slots.get(id).holds[PoolKind::Reply as usize] = 1;
        }
        slots.get(ids[3]).phase = Phase::Busy;
        assert!(slots.held_beyond(PoolKind::Reply, 3).is_none());
        assert!(slots.held_beyond(PoolKind::ProduceSmall, 0).is_none());
        slots.held_beyond(PoolKind::Reply, 2).unwrap().waited_out = true;
        assert!(slots.get(ids[2]).waited_out);
        assert!(slots.held_beyond(PoolKind::Reply, 2).is_none());
    }

    #[test]
    fn of_one_address_only_its_own_go() {
        let mut slots = Slots::new(2);
        let ids = [1, 2].map(|i| slots.open(local(i), Mono(u64::from(i))).unwrap());
        let victim = |slots: &Slots, of| {
            slots.victim((Some(local(of)), 2), Mono(10), 1000).map(|(id, _)| id)
        };
        assert_eq!(victim(&slots, 2), Some(ids[1]));
        assert_eq!(victim(&slots, 3), None);
        slots.get(ids[1]).end(CloseReason::Displaced);
        assert_eq!(victim(&slots, 2), None);
        assert!(slots.is_ending(Some(local(2))) && slots.is_ending(None));
        assert!(!slots.is_ending(Some(local(1))));
    }
}
