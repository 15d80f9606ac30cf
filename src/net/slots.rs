//! The table of connections: one slot each, allocated at start.
//!
//! A slot is where others leave word for a connection's task: a buffer it waited for, that it is
//! to end, that its records came. They set the slot and wake the task, which looks.

use std::net::IpAddr;
use std::task::Waker;

use super::pools::Buffer;
use crate::broker::ConnId;
use crate::clock::Mono;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::Until;

/// What a connection is doing, as far as others care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests; it holds nothing.
    Idle,
    /// It waits for the rest of a frame.
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
    /// Whether it ever completed a request.
    pub completed: bool,
    /// Set by others: it is to end.
    pub end: Option<CloseReason>,
    /// Set by others: a buffer that it waited for.
    pub granted: Option<(PoolKind, Buffer)>,
    /// Set by others: its job is to be stepped.
    pub woken: bool,
    /// What it waits for while it stands on the list of those who wait for a sync.
    pub until: Until,
    /// Whether it stands on that list.
    pub settling: bool,
    /// Buffers that it holds, by [`PoolKind`].
    pub holds: [bool; PoolKind::COUNT],
    /// Bytes that came or went since the connection began.
    pub moved: u64,
    /// What `moved` was when the stall check last found it quick enough, and how many checks are
    /// due since; none: not looked at since it began to hold a buffer.
    pub moved_seen: Option<(u64, u8)>,
}

/// All of them.
pub struct Slots {
    /// As far as any were ever open.
    slots: Vec<Option<Slot>>,
    open: usize,
    free: Vec<ConnId>,
    /// Who waits for a sync, in the order in which they began to.
    pub settling: Vec<ConnId>,
}

impl Slots {
    /// Room for so many connections.
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
            completed: false,
            end: None,
            granted: None,
            woken: false,
            until: Until::default(),
            settling: false,
            holds: [false; PoolKind::COUNT],
            moved: 0,
            moved_seen: None,
        });
        Some(id)
    }

    /// Gives a slot back. Its buffers must be back by then.
    pub fn close(&mut self, id: ConnId) {
        let slot = self.slots[usize::from(id.0)].take();
        let slot = slot.expect("a slot is closed once");
        assert!(!slot.holds.contains(&true) && slot.granted.is_none());
        self.settling.retain(|other| *other != id);
        self.free.push(id);
        self.open -= 1;
    }

    /// Puts a connection on the list of those who wait for a sync.
    pub fn settle(&mut self, id: ConnId, until: &Until) {
        let slot = self.get(id);
        slot.until = *until;
        if !std::mem::replace(&mut slot.settling, true) {
            self.settling.push(id);
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

    /// Who has to go when a new connection finds all slots taken: the longest idle one that never
    /// completed a request, else the longest idle one.
    pub fn victim(&self) -> Option<ConnId> {
        self.iter()
            .filter(|(_, slot)| slot.end.is_none() && slot.is_displaceable())
            .min_by_key(|(_, slot)| (slot.completed, slot.since))
            .map(|(id, _)| id)
    }
}

impl Slot {
    /// Tells the connection to end; the first reason stands.
    pub fn end(&mut self, why: CloseReason) {
        self.end.get_or_insert(why);
        self.wake();
    }

    /// Lets its task look at the slot.
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

    /// A client that never completed a request and lingers in the middle of one is idle too.
    fn is_displaceable(&self) -> bool {
        match self.phase {
            Phase::Idle => true,
            Phase::Reading => !self.completed,
            Phase::Writing | Phase::Busy | Phase::Waiting | Phase::Held => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn local(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
    }

    #[test]
    fn the_longest_idle_one_without_a_request_goes_first_then_the_longest_idle() {
        let mut slots = Slots::new(4);
        let ids: Vec<_> =
            (0..4).map(|i| slots.open(local(i), Mono(10 + u64::from(i))).unwrap()).collect();
        assert_eq!(slots.open(local(9), Mono(50)), None);
        slots.get(ids[0]).completed = true;
        slots.get(ids[1]).completed = true;
        slots.get(ids[2]).phase = Phase::Reading;
        assert_eq!(slots.victim(), Some(ids[2]));
        slots.get(ids[2]).end(CloseReason::Displaced);
        assert_eq!(slots.victim(), Some(ids[3]));
        slots.close(ids[3]);
        assert_eq!(slots.victim(), Some(ids[0]));
        slots.get(ids[0]).phase = Phase::Busy;
        assert_eq!(slots.victim(), Some(ids[1]));
        slots.get(ids[1]).phase = Phase::Reading;
        assert_eq!(slots.victim(), None);
        assert_eq!(slots.open_len(), 3);
        assert_eq!(slots.open_of(local(1)), 1);
    }
}
