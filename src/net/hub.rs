//! What the tasks share: slots, pools, timers' and committers' wakers. All on one thread; every
//! borrow ends before the next `.await`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::pools::{Buffer, Pools};
use super::setup::Setup;
use super::slots::Slots;
use crate::broker::ConnId;
use crate::clock::{Clock, Now, Synchronised};
use crate::limits;
use crate::metrics::{Connections, Metrics, PoolKind};
use crate::types::{RingIndex, Ticket, Until};

/// The shared state without the broker.
pub struct Hub {
    /// The one clock.
    pub clock: Clock,
    /// Whether the system says that it is right.
    synchronised: Synchronised,
    /// The connections.
    pub slots: RefCell<Slots>,
    /// The buffers.
    pub pools: RefCell<Pools>,
    /// Counters of connections.
    pub connections: RefCell<Connections>,
    /// Bytes received.
    pub bytes_in: Cell<u64>,
    /// Bytes sent.
    pub bytes_out: Cell<u64>,
    /// No more requests: pending answers are sent, then connections end.
    pub stopping: Cell<bool>,
    /// By ring: wakes its committer when something was staged.
    rings: [RingBell; limits::RINGS_MAX],
    /// Rung when a slot became free.
    pub slot_free: Bell,
    /// Rung when a connection has to wait for a buffer.
    pub wanted: Bell,
    /// Rung when something is due sooner than was known.
    pub due_sooner: Bell,
    /// Rung when a connection opened.
    pub opened: Bell,
    /// Rung when the log may be closed, and when the last connection ended.
    pub ended: Bell,
}

/// Wakes one task, which finds out what happened by itself; remembers being rung.
#[derive(Default)]
pub struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct RingBell {
    bell: Bell,
    /// Requests staged since the last group was taken.
    staged: Cell<u32>,
    /// The committer delays the open group to batch more requests.
    gathering: Cell<bool>,
}

/// A leased buffer; it goes back when dropped.
pub struct Lease {
    /// The buffer.
    pub buf: Buffer,
    /// Its pool.
    pub kind: PoolKind,
    conn: ConnId,
    hub: Rc<Hub>,
}

impl Hub {
    /// Allocates slots and buffers.
    pub fn new(clock: Clock, setup: &Setup) -> Hub {
        let connections = setup.max_connections;
        Hub {
            clock,
            synchronised: Synchronised::by(setup.clock_synchronised_file.clone()),
            slots: RefCell::new(Slots::new(connections)),
            pools: RefCell::new(Pools::new(&setup.pools, connections)),
            connections: RefCell::new(Connections::of(connections)),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            stopping: Cell::new(false),
            rings: Default::default(),
            slot_free: Bell::default(),
            wanted: Bell::default(),
            due_sooner: Bell::default(),
            opened: Bell::default(),
            ended: Bell::default(),
        }
    }

    /// This moment.
    pub fn now(&self) -> Now {
        let now = self.clock.now();
        Now { wall_synchronised: self.synchronised.at(now.mono), ..now }
    }

    /// Tells the committers that something was staged that `until` waits for.
    pub fn staged(&self, until: &Until) {
        for (ring, ticket) in self.rings.iter().zip(until.tickets) {
            if ticket > Ticket(0) {
                ring.staged.set(ring.staged.get().saturating_add(1));
                ring.bell.ring();
            }
        }
    }

    /// Tells all committers that something may have been staged.
    pub fn staged_somewhere(&self) {
        for ring in &self.rings {
            ring.bell.ring();
        }
    }

    /// Requests staged in this ring since its last group was taken.
    pub fn staged_count(&self, ring: RingIndex) -> u32 {
        self.rings[usize::from(ring.0)].staged.get()
    }

    /// The same, and counts from 0 again.
    pub fn staged_take(&self, ring: RingIndex) -> u32 {
        self.rings[usize::from(ring.0)].staged.take()
    }

    /// Sets whether the committer delays this ring's open group to batch more requests.
    pub fn set_gathering(&self, ring: RingIndex, gathering: bool) {
        self.rings[usize::from(ring.0)].gathering.set(gathering);
    }

    /// Whether requests that come now could join those that wait for `until`.
    pub fn is_gathering(&self, until: &Until) -> bool {
        let rings = self.rings.iter().zip(until.tickets);
        rings.into_iter().any(|(ring, ticket)| ticket > Ticket(0) && ring.gathering.get())
    }

    /// Rung when something was staged in this ring.
    pub fn ring_bell(&self, ring: RingIndex) -> &Bell {
        &self.rings[usize::from(ring.0)].bell
    }

    /// Wakes everyone, to look at `stopping`.
    pub fn stop(&self) {
        self.stopping.set(true);
        for slot in self.slots.borrow_mut().iter_mut() {
            slot.wake();
        }
        self.staged_somewhere();
    }

    /// Takes everything back from a connection that ended, its slot last.
    pub fn leave(&self, id: ConnId) {
        let granted = self.slots.borrow_mut().get(id).granted.take();
        if let Some((kind, buf)) = granted {
            self.give_back(kind, buf);
        }
        for kind in PoolKind::ALL {
            self.pools.borrow_mut().wait_end(kind, id);
        }
        self.slots.borrow_mut().close(id);
        self.slot_free.ring();
        self.ended.ring();
    }

    fn give_back(&self, kind: PoolKind, buf: Buffer) {
        let next = self.pools.borrow_mut().give_back(kind, buf);
        if let Some((conn, buf)) = next {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.get(conn);
            slot.granted = Some((kind, buf));
            slot.wake();
        }
    }

    /// Copies what is counted here to where it is shown.
    pub fn metrics_into(&self, metrics: &mut Metrics) {
        metrics.connections = self.connections.borrow().clone();
        metrics.bytes_in = self.bytes_in.get();
        metrics.bytes_out = self.bytes_out.get();
        metrics.pools = self.pools.borrow().metrics();
    }
}

impl Bell {
    /// Wakes the listener, now or when it comes.
    pub fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Ready if it was rung since it last was ready.
    pub fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.rung.replace(false) {
            return Poll::Ready(());
        }
        keep(&mut self.waker.borrow_mut(), context);
        Poll::Pending
    }

    /// Forgets that it was rung: only what happens from now on counts.
    pub fn reset(&self) {
        self.rung.set(false);
    }

    /// Waits until it is rung.
    pub async fn rung(&self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

/// Keeps the task's waker, unless it is kept already.
pub fn keep(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(context.waker()) => {}
        _ => *place = Some(context.waker().clone()),
    }
}

impl Lease {
    /// A free buffer for this connection.
    pub fn try_take(hub: &Rc<Hub>, kind: PoolKind, conn: ConnId) -> Option<Lease> {
        let buf = hub.pools.borrow_mut().take(kind)?;
        Some(Lease::granted(hub, kind, conn, buf))
    }

    /// A buffer that this connection waited for.
    pub fn granted(hub: &Rc<Hub>, kind: PoolKind, conn: ConnId, buf: Buffer) -> Lease {
        let mut slots = hub.slots.borrow_mut();
        let slot = slots.get(conn);
        slot.holds[kind as usize] += 1;
        slot.looks = 0;
        Lease { buf, kind, conn, hub: Rc::clone(hub) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let buf = std::mem::take(&mut self.buf);
        let mut slots = self.hub.slots.borrow_mut();
        slots.get(self.conn).holds[self.kind as usize] -= 1;
        drop(slots);
        self.hub.give_back(self.kind, buf);
    }
}
