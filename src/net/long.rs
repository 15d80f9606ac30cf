//! Produce requests that are longer than a small buffer: read and carried out piece by piece.
//!
//! Their structure is read into the task itself, a few bytes at a time; a buffer is taken only for
//! the records of one partition, once there is room for them in their ring and they have begun to
//! arrive, and it is given back before the next partition is looked at. Records that are refused
//! whatever they are, such as those that are too long, are received and dropped. What came of the
//! partitions stands in a reply buffer, or in a larger one if they are many, until the answer is
//! made of it.
//!
//! Who waits for a buffer here holds none that the others before it in this order wait for: a buffer
//! for outcomes, a larger one, one for records.

use super::Net;
use super::connection::{Connection, HEAD_BYTES_MAX, Input, SIZE_BYTES};
use super::core::Core;
use super::held::Held;
use super::hub::Lease;
use super::slots::Phase;
use super::turn::Work;
use super::wire::End;
use crate::api::Window;
use crate::api::produce::{Front, Next, Staged};
use crate::clock::Mono;
use crate::limits;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::{Settle, Until};

/// One such request, while it is read.
struct Reading<C: Core> {
    core: C::Long,
    outcomes: Lease,
    /// Bytes of the request that were not consumed yet.
    left: usize,
    began: Mono,
}

impl<C: Core> Connection<C> {
    /// Reads, carries out and answers the request of so many bytes, size prefix included, whose first
    /// bytes are at the front.
    pub(super) async fn long(&mut self, frame_bytes: usize) -> Result<(), End> {
        let began = self.wire.net.now.get().mono;
        if self.input.lease.is_none() && self.wire.net.core.borrow().is_holding() {
            // A ring that has room for a little is looked at again for each partition.
            self.wait_unread(limits::LEASE_BYTES).await?;
        }
        let outcomes = self.take(PoolKind::Reply, 0).await?;
        self.front_take(SIZE_BYTES);
        let left = frame_bytes - SIZE_BYTES;
        let mut reading = Reading { core: C::Long::default(), outcomes, left, began };
        loop {
            self.wire.turn(Work::Stage).await?;
            let next = match self.long_next(&mut reading) {
                Ok(next) => next,
                Err(text) => {
                    self.settle_replies().await?;
                    return Err(End::protocol(text));
                }
            };
            match next {
                Next::More => self.front_more(reading.left).await?,
                Next::Skip(bytes) => {
                    self.skip(bytes).await?;
                    reading.left -= bytes;
                }
                Next::Wider => self.long_widen(&mut reading).await?,
                Next::Records(bytes) => {
                    self.records(bytes).await?;
                    self.long_stage(&mut reading, bytes).await?;
                }
                Next::Again(until) => self.long_again(until).await?,
                Next::Held(held_back) => {
                    self.held_since.get_or_insert(began);
                    self.wait_read(held_back).await?;
                }
                Next::End { answered } => {
                    if answered {
                        self.long_answer(reading).await?;
                    } else {
                        self.wire.net.hub.staged_somewhere();
                    }
                    self.answered();
                    return Ok(());
                }
            }
        }
    }

    /// What to do next, as far as the bytes at the front tell.
    fn long_next(&mut self, reading: &mut Reading<C>) -> Result<Next, &'static str> {
        let net = &self.wire.net;
        let bytes = self.front();
        let bytes = &bytes[..bytes.len().min(reading.left)];
        let front = Front { bytes, left: reading.left };
        let mut core = net.core.borrow_mut();
        let list = &mut *reading.outcomes.buf;
        let waited_out = self.peer.waited_out;
        let (taken, next) =
            core.long_next(&mut reading.core, waited_out, front, list, net.now.get())?;
        if let Next::Again(until) = &next {
            assert_pending(&*core, until);
        }
        drop(core);
        self.front_take(taken);
        reading.left -= taken;
        Ok(next)
    }

    /// Hands the records of a partition over, which are at the front.
    async fn long_stage(&mut self, reading: &mut Reading<C>, bytes: usize) -> Result<(), End> {
        let work = if bytes > limits::LEASE_BYTES { Work::Window } else { Work::Stage };
        self.wire.turn(work).await?;
        loop {
            let staged = {
                let net = &self.wire.net;
                let mut core = net.core.borrow_mut();
                let (records, list) = (&self.front()[..bytes], &mut *reading.outcomes.buf);
                let waited_out = self.peer.waited_out;
                let now = net.now.get();
                let staged = core.long_stage(&mut reading.core, waited_out, records, list, now);
                if let Staged::Again(until) = &staged {
                    assert_pending(&*core, until);
                }
                net.wake_due(&mut core);
                staged
            };
            match staged {
                Staged::Done(until) => {
                    self.wire.net.hub.staged(&until);
                    self.front_take(bytes);
                    reading.left -= bytes;
                    return Ok(());
                }
                Staged::Again(until) => self.long_again(until).await?,
                Staged::Held(held_back) => {
                    self.held_since.get_or_insert(reading.began);
                    self.wait_read(held_back).await?;
                }
            }
        }
    }

    async fn long_again(&mut self, until: Until) -> Result<(), End> {
        self.settle_replies().await?;
        let _held = Held::new(&self.wire.net, None);
        self.again(until).await
    }

    /// Takes a larger buffer for outcomes, of which there are few.
    async fn long_widen(&mut self, reading: &mut Reading<C>) -> Result<(), End> {
        let (_, bytes) = self.wire.net.setup.pools[PoolKind::ProduceLong as usize];
        if bytes <= reading.outcomes.buf.len() {
            self.settle_replies().await?;
            return Err(TOO_MANY);
        }
        let wider = self.take(PoolKind::ProduceLong, 0).await?;
        let core = self.wire.net.core.borrow();
        core.long_widen(&reading.core, reading.outcomes.buf, wider.buf);
        reading.outcomes = wider;
        Ok(())
    }

    /// Brings the records of a partition to the front, all of them.
    async fn records(&mut self, bytes: usize) -> Result<(), End> {
        let here = self.front().len();
        if here >= bytes {
            return Ok(());
        }
        let small = self.input.lease.as_ref();
        if small.is_some_and(|lease| lease.buf.len() >= bytes) {
            self.input.compact();
        } else {
            let missing = bytes - here;
            if !self.wire.is_arriving(missing) {
                self.settle_replies().await?;
                self.wire.arrival_begin().await?;
                self.wire.arrival(missing, Some(ARRIVAL_MS_MAX)).await?;
            }
            let small = (bytes <= limits::LEASE_BYTES).then_some(PoolKind::ProduceSmall);
            let lease = match small.and_then(|kind| self.wire.try_take(kind)) {
                Some(lease) => lease,
                None => self.take(PoolKind::ProduceLarge, missing).await?,
            };
            lease.buf[..here].copy_from_slice(self.front());
            let head_bytes = self.head.so_far().len();
            self.head.take(head_bytes);
            self.input = Input::begun(lease, here);
        }
        self.input.limit = bytes;
        while self.input.end < bytes {
            self.wire.turn(Work::Step).await?;
            let Input { lease, end, .. } = &mut self.input;
            let lease = lease.as_mut().expect("taken above");
            match self.wire.receive(&mut lease.buf[*end..bytes])? {
                Some(received) => *end += received,
                None => self.long_readable().await?,
            }
        }
        Ok(())
    }

    /// Receives so many bytes and drops them.
    async fn skip(&mut self, bytes: usize) -> Result<(), End> {
        let here = self.front().len().min(bytes);
        self.front_take(here);
        let mut left = bytes - here;
        while left > 0 {
            self.wire.turn(Work::Step).await?;
            let received = {
                let mut window = self.wire.net.window.borrow_mut();
                let part = left.min(window.len());
                self.wire.receive(&mut window[..part])?
            };
            match received {
                Some(received) => left -= received,
                None => self.long_readable().await?,
            }
        }
        Ok(())
    }

    /// Receives more of the structure, of a request of which so many bytes are left.
    async fn front_more(&mut self, left: usize) -> Result<(), End> {
        if self.input.lease.is_some() {
            self.park();
        }
        let end = HEAD_BYTES_MAX.min(left);
        loop {
            match self.wire.receive(self.head.room(end))? {
                Some(received) => {
                    self.head.add(received);
                    return Ok(());
                }
                None => self.long_readable().await?,
            }
        }
    }

    /// Waits for more to receive, and owes nothing meanwhile.
    async fn long_readable(&mut self) -> Result<(), End> {
        self.settle_replies().await?;
        self.wire.readable(Phase::Reading).await
    }

    /// Answers: with others in one send if all of it waits for one sync, else once each partition's
    /// own is settled.
    async fn long_answer(&mut self, reading: Reading<C>) -> Result<(), End> {
        if self.replies.is_full(self.wire.net.setup.in_flight_max) {
            self.settle_replies().await?;
        }
        let waits = self.wire.net.core.borrow().long_until(&reading.core);
        if let Some((until, version)) = waits {
            let bytes = self.wire.net.long_encode(&reading, 0);
            if self.owe_in_replies(bytes, version, until) {
                return Ok(());
            }
        }
        self.settle_replies().await?;
        let read = self.wire.net.hub.clock.mono();
        loop {
            let list = &mut *reading.outcomes.buf;
            let pending = self.wire.net.core.borrow().long_settle(&reading.core, list);
            let Some(until) = pending else { break };
            let _: Settle = self.wire.settle(until).await;
            self.wire.turn(Work::Again).await?;
        }
        let mut sent = 0;
        loop {
            self.wire.turn(Work::Window).await?;
            let bytes = self.wire.net.long_encode(&reading, sent);
            let window_bytes = self.wire.net.window.borrow().len();
            sent += self.send_window(0..(bytes - sent).min(window_bytes))?;
            if sent == bytes {
                break;
            }
            self.wire.writable().await?;
        }
        let waited_us = self.wire.net.hub.clock.mono().since_us(read);
        self.wire.net.core.borrow_mut().metrics().produce_us.add(waited_us);
        Ok(())
    }
}

impl<C: Core> Net<C> {
    /// Puts the answer's bytes from `from` on into the shared window; gives the whole length.
    fn long_encode(&self, reading: &Reading<C>, from: usize) -> usize {
        let buf = &mut self.window.borrow_mut();
        self.core.borrow().long_answer(&reading.core, reading.outcomes.buf, Window { buf, from })
    }
}

/// Else it would be tried again and again, while nothing can change.
fn assert_pending<C: Core>(core: &C, until: &Until) {
    assert_eq!(core.settled(until), Settle::Pending, "only what is pending is waited for");
}

const TOO_MANY: End = End {
    why: CloseReason::TooLarge,
    text: "a produce request for more partitions than partitions_max, or with more topics' names than \
           there is memory for",
};

/// So long records may take to begin to arrive before a buffer is taken for them all the same: their
/// client may be gone, which only receiving tells.
const ARRIVAL_MS_MAX: u64 = 1000;
