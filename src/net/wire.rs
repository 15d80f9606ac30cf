//! One connection's socket: what its task waits for, and bytes in and out.
//!
//! Whatever the task waits for, others may tell it to end meanwhile; every wait checks for that.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use smol::Async;

use super::Net;
use super::core::Core;
use super::hub::Lease;
use super::slots::{Phase, Slot};
use super::turn::{Turn, Work};
use crate::broker::ConnId;
use crate::clock::Mono;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::{Settle, Until};

/// Why a connection ends, and what the log says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// For the counters.
    pub why: CloseReason,
    /// For the log; empty: the reason says it all.
    pub text: &'static str,
}

/// A socket with its slot.
pub struct Wire<C: Core> {
    /// Everything shared.
    pub net: Rc<Net<C>>,
    /// The slot.
    pub id: ConnId,
    /// The socket.
    pub socket: Async<TcpStream>,
    /// The work that was done since other tasks had a turn.
    pub turn: Turn,
}

impl End {
    /// For the counters only.
    pub fn quiet(why: CloseReason) -> End {
        End { why, text: "" }
    }

    /// The client broke the protocol.
    pub fn protocol(text: &'static str) -> End {
        End { why: CloseReason::Protocol, text }
    }
}

impl<C: Core> Wire<C> {
    /// Gives access to the slot.
    pub fn slot<T>(&self, look: impl FnOnce(&mut Slot) -> T) -> T {
        look(self.net.hub.slots.borrow_mut().get(self.id))
    }

    /// Counts work that is about to be done, and yields if it is much. An error: others told this
    /// connection to end.
    pub async fn turn(&self, work: Work) -> Result<(), End> {
        self.unpacked();
        self.turn.take(work).await;
        self.slot(|slot| slot.end.map_or(Ok(()), |why| Err(End::quiet(why))))
    }

    #[inline(never)]
    fn unpacked(&self) {
        self.turn.unpacked(self.net.core.borrow_mut().unpacked());
    }

    /// Receives what is there into `buf`, which is not empty. None: nothing is there.
    pub fn receive(&self, buf: &mut [u8]) -> Result<Option<usize>, End> {
        loop {
            match self.socket.get_ref().read(buf) {
                Ok(0) => return Err(End::quiet(CloseReason::Client)),
                Ok(bytes) => {
                    let hub = &self.net.hub;
                    hub.bytes_in.set(hub.bytes_in.get() + bytes as u64);
                    let now = self.net.look_at_clock();
                    self.slot(|slot| slot.moved(bytes, now.mono));
                    return Ok(Some(bytes));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(network(&e)),
            }
        }
    }

    /// Sends as much of `bytes` as the socket takes now.
    pub fn send_some(&self, bytes: &[u8]) -> Result<usize, End> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.socket.get_ref().write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(network(&e)),
            }
        }
        if sent > 0 {
            let hub = &self.net.hub;
            hub.bytes_out.set(hub.bytes_out.get() + sent as u64);
            let now = hub.clock.mono();
            self.slot(|slot| slot.moved(sent, now));
        }
        Ok(sent)
    }

    /// Sends all of `bytes`, at the client's pace.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), End> {
        let mut sent = self.send_some(bytes)?;
        while sent < bytes.len() {
            self.writable().await?;
            sent += self.send_some(&bytes[sent..])?;
        }
        Ok(())
    }

    /// Waits until there is something to receive.
    pub async fn readable(&self, phase: Phase) -> Result<(), End> {
        self.slot(|slot| {
            assert!(phase != Phase::Idle || slot.holds_nothing(), "who is idle holds nothing");
            slot.phase = phase;
        });
        let ready = poll_fn(|context| {
            self.poll_end(context, true)?;
            self.socket.poll_readable(context).map_err(|e| network(&e))
        });
        let ready = ready.await;
        self.turn.begin();
        self.slot(|slot| slot.phase = Phase::Busy);
        ready
    }

    /// Waits until something may be sent.
    pub async fn writable(&self) -> Result<(), End> {
        self.slot(|slot| slot.phase = Phase::Writing);
        let ready = poll_fn(|context| {
            self.poll_end(context, false)?;
            self.socket.poll_writable(context).map_err(|e| network(&e))
        });
        let ready = ready.await;
        self.slot(|slot| slot.phase = Phase::Busy);
        ready
    }

    /// A buffer, at once if one is free.
    pub fn try_take(&self, kind: PoolKind) -> Option<Lease> {
        Lease::try_take(&self.net.hub, kind, self.id)
    }

    /// A buffer, for `missing` bytes that are to be received. To be awaited only without pending answers.
    /// Connections whose bytes have all arrived go first.
    pub async fn take(&self, kind: PoolKind, missing: usize) -> Result<Lease, End> {
        let hub = &self.net.hub;
        if let Some(lease) = self.try_take(kind) {
            return Ok(lease);
        }
        let quick = missing == 0 || self.is_arriving(missing);
        hub.pools.borrow_mut().wait(kind, self.id, quick);
        hub.wanted.ring();
        let granted = poll_fn(|context| {
            if let Some((_, buf)) = self.slot(|slot| slot.granted.take()) {
                return Poll::Ready(Ok(buf));
            }
            self.poll_end(context, true)?;
            Poll::Pending
        });
        let buf = granted.await?;
        Ok(Lease::granted(hub, kind, self.id, buf))
    }

    /// Waits until `missing` bytes can be received at once, or as many as the kernel is sure to hold. The
    /// poller does not tell of more bytes where there are some already, so this polls, ever more rarely: it
    /// is for long requests that come in pieces, which are few. It ends after `ms_max`; and early if no more
    /// bytes come, once there is a spare buffer of this `kind`, or at last without one: bytes that were read
    /// may still take the kernel's buffer until their whole segment is read, so that no more can come.
    pub async fn arrival(
        &self,
        kind: PoolKind,
        missing: usize,
        ms_max: Option<u64>,
    ) -> Result<(), End> {
        let mut pause_ms = ARRIVAL_MS_MIN;
        let mut left_ms = ms_max.unwrap_or(u64::MAX);
        let (mut before, mut still_ms) = (0, 0);
        self.slot(|slot| slot.phase = Phase::Reading);
        while !self.is_arriving(missing) && left_ms > 0 {
            let here = self.arrived();
            still_ms = if here == before && here > 0 { still_ms } else { 0 };
            let spare = || self.net.hub.pools.borrow().has_spare(kind);
            if still_ms >= STILL_MS_MAX || still_ms >= STILL_MS && spare() {
                break;
            }
            before = here;
            pause_ms = pause_ms.min(left_ms);
            left_ms -= pause_ms;
            still_ms += pause_ms;
            let mut timer = smol::Timer::after(Duration::from_millis(pause_ms));
            let looked = poll_fn(|context| {
                self.poll_end(context, true)?;
                std::pin::Pin::new(&mut timer).poll(context).map(|_| Ok(()))
            });
            looked.await?;
            pause_ms = (pause_ms * 2).min(ARRIVAL_MS_MAX);
        }
        self.slot(|slot| slot.phase = Phase::Busy);
        Ok(())
    }

    /// Whether `missing` bytes can be received at once, or as many as the kernel is sure to hold.
    pub fn is_arriving(&self, missing: usize) -> bool {
        self.arrived() >= missing.min(QUICK_BYTES)
    }

    /// Bytes that can be received at once.
    fn arrived(&self) -> usize {
        let bytes = rustix::io::ioctl_fionread(self.socket.get_ref());
        bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Waits until `until` is settled, one way or the other.
    pub fn settle(&self, until: &Until) -> impl Future<Output = Settle> {
        poll_fn(move |context| {
            if until.tickets.iter().all(|ticket| ticket.0 == 0) {
                return Poll::Ready(Settle::Done);
            }
            let settle = self.net.core.borrow().settled(until);
            if settle != Settle::Pending {
                return Poll::Ready(settle);
            }
            self.turn.begin();
            let mut slots = self.net.hub.slots.borrow_mut();
            super::hub::keep(&mut slots.get(self.id).waker, context);
            slots.settle(self.id, until);
            Poll::Pending
        })
    }

    /// Waits for more requests that can join those that wait for `until`; false once it is too late.
    pub fn more_until(&self, until: &Until) -> impl Future<Output = Result<bool, End>> {
        poll_fn(move |context| {
            let hub = &self.net.hub;
            let pending = self.net.core.borrow().settled(until) == Settle::Pending;
            if !pending || !hub.is_gathering(until) {
                return Poll::Ready(Ok(false));
            }
            let mut slots = hub.slots.borrow_mut();
            super::hub::keep(&mut slots.get(self.id).waker, context);
            slots.settle(self.id, until);
            let ready = self.socket.poll_readable(context);
            ready.map(|ready| ready.map(|()| true).map_err(|e| network(&e)))
        })
    }

    /// Waits until the job of this connection is woken, or until `deadline`; ends when the client
    /// goes away meanwhile.
    pub async fn sleep(&self, deadline: Mono) -> Result<(), End> {
        let mut timer = smol::Timer::at(self.net.hub.clock.instant(deadline));
        let mut watching = true;
        self.slot(|slot| slot.phase = Phase::Waiting);
        let woken = poll_fn(|context| {
            if self.slot(|slot| std::mem::take(&mut slot.woken)) {
                return Poll::Ready(Ok(()));
            }
            self.poll_end(context, true)?;
            while watching && self.socket.poll_readable(context).is_ready() {
                // A request that came already is left for later, and hides what comes after it.
                watching = match self.socket.get_ref().peek(&mut [0; 1]) {
                    Ok(0) => return Poll::Ready(Err(End::quiet(CloseReason::Client))),
                    Ok(_) => false,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => true,
                    Err(e) => return Poll::Ready(Err(network(&e))),
                };
            }
            let timer = std::pin::Pin::new(&mut timer);
            timer.poll(context).map(|_| Ok(()))
        });
        let woken = woken.await;
        self.slot(|slot| slot.phase = Phase::Busy);
        woken
    }

    /// Whether others told it to end; stores the waker for them. `stoppable`: no answers are pending, so
    /// a stop of the broker ends it too.
    pub(super) fn poll_end(&self, context: &Context<'_>, stoppable: bool) -> Result<(), End> {
        let stopping = self.net.hub.stopping.get();
        self.slot(|slot| {
            super::hub::keep(&mut slot.waker, context);
            match slot.end {
                Some(why) => Err(End::quiet(why)),
                None if stopping && stoppable => Err(End::quiet(CloseReason::Stopping)),
                None => Ok(()),
            }
        })
    }
}

/// Pauses between two checks whether a request has arrived.
const ARRIVAL_MS_MIN: u64 = 1;
const ARRIVAL_MS_MAX: u64 = 64;
/// After this long without more bytes a spare buffer is taken; and after this long any.
const STILL_MS: u64 = 8;
const STILL_MS_MAX: u64 = 4000;

/// A sender with this much of its frame in the socket does not stall: the kernel holds no more than
/// about twice that.
const QUICK_BYTES: usize = 32 << 10;

fn network(error: &std::io::Error) -> End {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::quiet(CloseReason::Client),
        _ => End::quiet(CloseReason::Network),
    }
}
