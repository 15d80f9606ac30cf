//! Produce requests for a ring that is full of what its holders have not consumed.
//!
//! They wait for room until shortly before their clients give up. Once a ring is full, requests for
//! it are left unread in their sockets, so that they hold no buffer: only the beginning of each is
//! peeked at. Those that had been read already, or were stored in part, wait with their buffers, but all
//! of them together with half of the buffers of a kind at the most, and not for long when others need
//! one: other rings, and a mirror's report, by which the ring gets room again, must not wait for them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::Net;
use super::connection::{Connection, SIZE_BYTES};
use super::core::Core;
use super::slots::Phase;
use super::wire::End;
use crate::clock::Mono;
use crate::metrics::PoolKind;
use crate::types::{HeldBack, RingIndex};

impl<C: Core> Connection<C> {
    /// Waits while the request whose head is there, of `frame_bytes`, is for a full ring. It is not read
    /// meanwhile; `waited_out` is set when it has waited long enough.
    pub(super) async fn wait_unread(&mut self, frame_bytes: usize) -> Result<(), End> {
        let mut held = None;
        while let Some(held_back) = self.held_back(frame_bytes) {
            self.settle_replies().await?;
            held.get_or_insert_with(|| Held::new(&self.wire.net, Some(held_back.ring)));
            if !self.wait_for_room(held_back).await? {
                self.peer.waited_out = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for room with the request in a buffer; `waited_out` is set when it has waited enough.
    pub(super) async fn wait_read(&mut self, held_back: HeldBack) -> Result<(), End> {
        self.settle_replies().await?;
        let _held = Held::new(&self.wire.net, Some(held_back.ring));
        self.peer.waited_out = !self.wait_for_room(held_back).await?;
        Ok(())
    }

    /// Whether the request in the socket should be left there. Checked again after each wait: there may
    /// be room for shorter requests only.
    fn held_back(&self, frame_bytes: usize) -> Option<HeldBack> {
        let net = &self.wire.net;
        let mut core = net.core.borrow_mut();
        let mut window = net.window.borrow_mut();
        let begun = self.front().get(SIZE_BYTES..)?;
        let begun = &begun[..begun.len().min(BEGINNING_BYTES)];
        let begin = begun.len();
        let (head, rest) = window.get_mut(..BEGINNING_BYTES)?.split_at_mut(begin);
        head.copy_from_slice(begun);
        let peeked = self.wire.socket.get_ref().peek(rest).unwrap_or(0);
        let held = core.held_back(&window[..begin + peeked], frame_bytes, net.look_at_clock());
        net.look_at_due(&core);
        held
    }

    /// Waits until there is room again; false: not in time. The time counts from when the first of the
    /// requests that came together had to wait, as their clients count it.
    async fn wait_for_room(&mut self, held_back: HeldBack) -> Result<bool, End> {
        let now = self.wire.net.hub.clock.mono();
        let since = *self.held_since.get_or_insert(now);
        let deadline = held_back.wait_ms.map(|wait_ms| since.plus_ms(wait_ms));
        self.delay_begins();
        let room = self.wire.room(now, deadline).await;
        self.delay_ends(|delays| &mut delays.held_ms);
        room
    }
}

impl<C: Core> super::wire::Wire<C> {
    /// Waits until there is room in a ring again; false: not before `deadline`, or before others need the
    /// buffer that this connection holds.
    async fn room(&self, began: Mono, deadline: Option<Mono>) -> Result<bool, End> {
        let hub = &self.net.hub;
        let mut timer = deadline.map(|deadline| smol::Timer::at(hub.clock.instant(deadline)));
        self.slot(|slot| {
            (slot.phase, slot.woken, slot.waited_out) = (Phase::Held, false, false);
        });
        self.net.held_leave_half();
        let room = poll_fn(|context| {
            if self.slot(|slot| std::mem::take(&mut slot.woken)) {
                return Poll::Ready(Ok(true));
            }
            if self.slot(|slot| slot.waited_out) {
                return Poll::Ready(Ok(false));
            }
            self.poll_end(context, true)?;
            if let Some(timer) = &mut timer
                && Pin::new(timer).poll(context).is_ready()
            {
                return Poll::Ready(Ok(false));
            }
            let waited_ms = hub.clock.mono().since_us(began) / 1000;
            if waited_ms >= LEASE_MS_MIN && self.holds_what_is_wanted() {
                return Poll::Ready(Ok(false));
            }
            Poll::Pending
        });
        let room = room.await;
        self.slot(|slot| slot.phase = Phase::Busy);
        room
    }

    fn holds_what_is_wanted(&self) -> bool {
        let pools = self.net.hub.pools.borrow();
        let holds = self.slot(|slot| slot.holds);
        PoolKind::ALL.into_iter().any(|kind| holds[kind as usize] > 0 && pools.is_wanted(kind))
    }
}

impl<C: Core> Net<C> {
    /// Has connections that wait for room leave half of the buffers of each kind to others.
    fn held_leave_half(&self) {
        let mut slots = self.hub.slots.borrow_mut();
        for (kind, (count, _)) in PoolKind::ALL.into_iter().zip(self.setup.pools) {
            while let Some(slot) = slots.held_beyond(kind, count / 2) {
                slot.waited_out = true;
                slot.wake();
            }
        }
    }

    /// Wakes the connections that wait for room in a ring, if there is some.
    pub(super) fn wake_held(&self, core: &mut C) {
        if !core.is_holding() || !core.hold_ends(self.hub.now()) {
            return;
        }
        self.look_at_due(core);
        for slot in self.hub.slots.borrow_mut().iter_mut() {
            if slot.phase == Phase::Held {
                slot.woken = true;
                slot.wake();
            }
        }
    }
}

/// Counts a produce request that is held back, while it is.
pub(super) struct Held<C: Core> {
    net: Rc<Net<C>>,
    ring: Option<RingIndex>,
}

impl<C: Core> Held<C> {
    /// `ring`: the one that is full; none: it waits for a sync only.
    pub(super) fn new(net: &Rc<Net<C>>, ring: Option<RingIndex>) -> Held<C> {
        let mut core = net.core.borrow_mut();
        let metrics = core.metrics();
        metrics.producers_held += 1;
        metrics.producers_held_total += 1;
        if let Some(ring) = ring {
            metrics.producers_held_by_ring[usize::from(ring.0)] += 1;
        }
        drop(core);
        Held { net: Rc::clone(net), ring }
    }
}

impl<C: Core> Drop for Held<C> {
    fn drop(&mut self) {
        let mut core = self.net.core.borrow_mut();
        let metrics = core.metrics();
        metrics.producers_held -= 1;
        if let Some(ring) = self.ring {
            metrics.producers_held_by_ring[usize::from(ring.0)] -= 1;
        }
    }
}

/// How much of a request is peeked at: its header, the first topic's name, and the length of its first
/// partition's records.
const BEGINNING_BYTES: usize = 1024;

/// How long a request keeps its buffer though others need it: an error at once would use up its client's
/// retries.
const LEASE_MS_MIN: u64 = 1000;
