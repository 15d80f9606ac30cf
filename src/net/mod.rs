//! Sockets, signals and threads: the only asynchronous code, around the synchronous broker.
//!
//! One executor on the main thread runs everything: the listener, a task per connection, a
//! committer per ring, timers, and the status socket. They share the hub. Two threads of their own
//! wait for the disk. All buffers come from pools allocated at start.

mod bind;
mod committer;
mod connection;
pub mod core;
mod displaced;
mod exchange;
mod http;
mod hub;
mod large;
mod listener;
mod long;
mod notify;
mod pools;
mod replies;
mod room;
mod setup;
mod slots;
mod start;
mod status;
mod threads;
mod timers;
mod turn;
mod wire;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use self::core::Core;
use crate::api::{Step, Window};
use crate::broker::Peer;
use crate::clock::{Clock, Mono, Now};
use crate::limits;
use crate::log_limit::{About, LogLimit};
use crate::metrics::PoolKind;
use crate::storage::Storage;
use crate::types::Settle;
use committer::SyncMean;
use hub::Hub;
pub use setup::Setup;
pub use start::{StartError, run, serve};
use threads::{Flusher, Reader};
use wire::End;

/// Everything that the tasks share.
pub struct Net<C> {
    hub: Rc<Hub>,
    core: RefCell<C>,
    setup: Setup,
    storage: Arc<dyn Storage>,
    flusher: Flusher,
    reader: Reader,
    sync_mean: SyncMean,
    /// Where every answer is encoded; nothing stays in it across an `.await`.
    window: RefCell<Box<[u8]>>,
    /// Where reports and status are written, by one task at a time.
    shown: smol::lock::Mutex<Box<[u8]>>,
    /// The time of the last look at the clock: all requests that came in one piece have one time.
    now: Cell<Now>,
    /// When [`timers::tick`] runs next.
    tick_at: Cell<Mono>,
    reads_cached: Cell<u64>,
    reads_cold: Cell<u64>,
    /// The broker's own.
    lines: Rc<LogLimit>,
    displaced: displaced::Displaced,
}

impl<C: Core> Net<C> {
    /// Allocates everything and starts the threads.
    pub fn new(core: C, setup: Setup, clock: Clock) -> std::io::Result<Net<C>> {
        let storage = Arc::clone(core.storage());
        // Each read has a buffer of one of these kinds.
        let buffers = [PoolKind::Fetch, PoolKind::Control, PoolKind::Large];
        let reads = buffers.map(|kind| setup.pools[kind as usize].0).iter().sum();
        Ok(Net {
            lines: core.lines(),
            hub: Rc::new(Hub::new(clock, &setup)),
            core: RefCell::new(core),
            flusher: Flusher::start(Arc::clone(&storage), clock, setup.rings.len())?,
            reader: Reader::start(Arc::clone(&storage), reads)?,
            setup,
            storage,
            sync_mean: SyncMean::default(),
            window: RefCell::new(vec![0; limits::ANSWER_WINDOW_BYTES].into()),
            shown: smol::lock::Mutex::new(vec![0; limits::STATUS_BYTES_MAX].into()),
            now: Cell::new(clock.now()),
            tick_at: Cell::new(Mono(u64::MAX)),
            reads_cached: Cell::new(0),
            reads_cold: Cell::new(0),
            displaced: displaced::Displaced::default(),
        })
    }

    /// This moment.
    fn look_at_clock(&self) -> Now {
        let now = self.hub.now();
        self.now.set(now);
        now
    }

    /// Has a request dispatched, its answer's bytes from `from` on into the window.
    fn dispatch(&self, peer: &Peer, frame: &[u8], from: usize) -> Step {
        let mut core = self.core.borrow_mut();
        let buf = &mut self.window.borrow_mut();
        let step = core.dispatch(peer, frame, Window { buf, from }, self.now.get());
        if let Step::Again(until) = &step {
            // What is not pending does not change: the request would be dispatched again for ever.
            assert_eq!(core.settled(until), Settle::Pending, "only what is pending is waited for");
        }
        self.wake_due(&mut core);
        step
    }

    /// After a request changed something: wakes the tasks that wait for it.
    #[inline(always)]
    fn wake_due(&self, core: &mut C) {
        self.wake_jobs(core);
        self.look_at_due(core);
    }

    /// Wakes [`timers::tick`] if something is due sooner than before.
    fn look_at_due(&self, core: &C) {
        if core.due() < self.tick_at.get() {
            self.hub.due_sooner.ring();
        }
    }

    /// Wakes the connections whose sleeping jobs the broker wants stepped.
    fn wake_jobs(&self, core: &mut C) {
        while let Some(conn) = core.woken() {
            if let Some(slot) = self.hub.slots.borrow_mut().find(conn) {
                slot.woken = true;
                slot.wake();
            }
        }
    }

    /// Wakes the connections that wait for something that is settled now.
    fn wake_settled(&self, core: &C) {
        let mut slots = self.hub.slots.borrow_mut();
        let mut settling = std::mem::take(&mut slots.settling);
        settling.retain(|(conn, until)| {
            let slot = slots.get(*conn);
            let pending = core.settled(until) == Settle::Pending;
            if !pending {
                slot.settling = false;
                slot.wake();
            }
            pending
        });
        slots.settling = settling;
    }

    /// Copies what is counted here to where it is shown.
    fn metrics_gather(&self) {
        let mut core = self.core.borrow_mut();
        let metrics = core.metrics();
        self.hub.metrics_into(metrics);
        metrics.reads_cached = self.reads_cached.get();
        metrics.reads_cold = self.reads_cold.get();
    }

    /// Logs why a connection ended, if it is worth a line.
    fn log_end(&self, peer: &Peer, end: End) {
        let (remote, now) = (peer.remote, self.hub.clock.mono());
        if end.text.is_empty() {
            log::debug!("connection from {remote} ended: {}", end.why.name());
            return;
        }
        let about = About::kind(end.text).from(remote.ip()).hourly();
        let text = format_args!("closed the connection from {remote}: {}", end.text);
        self.lines.say(log::Level::Warn, about, now, text);
    }

    /// Logs what clients or a disk can cause often, within [`LogLimit`]'s bounds.
    fn complain(&self, level: log::Level, about: About, text: fmt::Arguments<'_>) {
        self.lines.say(level, about, self.hub.clock.mono(), text);
    }
}
