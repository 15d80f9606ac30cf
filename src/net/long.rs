//! Produce requests that are longer than a small buffer: read and carried out piece by piece.
//!
//! Their structure is read into the task itself, a few bytes at a time; a buffer is taken only for
//! the records of one partition, once there is room for them in their ring and they have begun to
//! arrive, and it is given back before the next partition is read. Records that are refused anyway,
//! such as those that are too long, are received and dropped. The partitions' outcomes are in a reply
//! buffer, or in a larger one if they are many, until the answer is made of them.
//!
//! Buffers are taken in one order, so that there is no circle of waiting: for outcomes, a larger one
//! for outcomes, for records. While a request waits for room in a held ring, it has no buffer for
//! records, and none at all before something of it was stored (`room`).

use super::Net;
use super::connection::{Connection, HEAD_BYTES_MAX, Input, SIZE_BYTES};
use super::core::Core;
use super::hub::Lease;
use super::room::Held;
use super::slots::Phase;
use super::turn::Work;
use super::wire::End;
use crate::api::Window;
use crate::api::produce::{Front, Next, Staged};
use crate::limits;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::{HeldBack, Settle, Until};

/// One such request, while it is read.
struct Reading<C: Core> {
    core: C::Long,
    outcomes: Lease,
    doing: Doing,
    /// Bytes of the request that were not consumed yet.
    left: usize,
}

/// What is being done with it.
enum Doing {
    /// Its structure is read.
    Structure,
    /// This many bytes are received and dropped.
    Skip(usize),
    /// This many bytes of records are received and staged. No buffer is taken for them before they
    /// have begun to arrive, or were waited for.
    Records(usize, Patience),
}

/// How long records were waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Patience {
    None,
    UntilSome,
    Enough,
}

/// What comes before the next step.
enum Wait {
    /// Other tasks' turn, if it is due.
    Turn(Work),
    Readable,
    Arrival(usize),
    Lease(PoolKind, usize),
    Again(Until),
    Held(HeldBack),
    Close(End),
    /// There is no next step; whether there is an answer.
    End(bool),
}

impl<C: Core> Connection<C> {
    /// Reads, carries out and answers the request of this many bytes, size prefix included, whose first
    /// bytes are at the front. Whenever it waits, no other answers are pending.
    pub(super) async fn long(&mut self, frame_bytes: usize, outcomes: Lease) -> Result<(), End> {
        let began = self.wire.net.now.get().mono;
        self.front_take(SIZE_BYTES);
        let left = frame_bytes - SIZE_BYTES;
        let doing = Doing::Structure;
        let mut reading = Reading { core: C::Long::default(), outcomes, doing, left };
        let answered = loop {
            let wait = self.long_step(&mut reading)?;
            if !matches!(wait, Wait::Turn(_) | Wait::End(_)) {
                self.settle_replies().await?;
            }
            match wait {
                Wait::Turn(work) => self.wire.turn(work).await?,
                Wait::Readable => self.wire.readable(Phase::Reading).await?,
                Wait::Arrival(missing) => {
                    self.wire.arrival(PoolKind::Large, missing, Some(ARRIVAL_MS_MAX)).await?;
                }
                Wait::Lease(kind, missing) => {
                    let lease = self.wire.take(kind, missing).await?;
                    self.long_lease(&mut reading, lease);
                    if kind == PoolKind::Large {
                        // There may be no room in the ring any more.
                        reading.doing = Doing::Structure;
                    }
                }
                Wait::Again(until) => {
                    let _held = Held::new(&self.wire.net, None);
                    self.again(&until).await?;
                }
                Wait::Held(held_back) => {
                    self.held_since.get_or_insert(began);
                    if self.input.lease.is_some() {
                        self.park();
                    }
                    self.wait_read(held_back).await?;
                }
                Wait::Close(end) => return Err(end),
                Wait::End(answered) => break answered,
            }
        };
        if answered {
            self.long_answer(&mut reading).await?;
        } else {
            self.wire.net.hub.staged_somewhere();
        }
        self.answered();
        Ok(())
    }

    /// Does a little of it.
    fn long_step(&mut self, reading: &mut Reading<C>) -> Result<Wait, End> {
        match reading.doing {
            Doing::Structure => self.long_structure(reading),
            Doing::Skip(0) => {
                reading.doing = Doing::Structure;
                Ok(Wait::Turn(Work::Stage))
            }
            Doing::Skip(bytes) => {
                let here = self.front().len().min(bytes);
                let skipped = if here > 0 {
                    self.front_take(here);
                    Some(here)
                } else {
                    let mut window = self.wire.net.window.borrow_mut();
                    let part = bytes.min(window.len());
                    self.wire.receive(&mut window[..part])?
                };
                let skipped_bytes = skipped.unwrap_or(0);
                reading.left -= skipped_bytes;
                reading.doing = Doing::Skip(bytes - skipped_bytes);
                Ok(if skipped.is_some() { Wait::Turn(Work::Step) } else { Wait::Readable })
            }
            Doing::Records(bytes, _) if self.front().len() >= bytes => {
                Ok(self.long_stage(reading, bytes))
            }
            Doing::Records(bytes, patience) => self.long_records(reading, bytes, patience),
        }
    }

    /// Reads more of the structure, as far as the bytes at the front go.
    fn long_structure(&mut self, reading: &mut Reading<C>) -> Result<Wait, End> {
        let next = match self.long_next(reading) {
            Ok(next) => next,
            Err(text) => return Ok(Wait::Close(End::protocol(text))),
        };
        self.long_go(reading, next)
    }

    /// Does what comes next.
    fn long_go(&mut self, reading: &mut Reading<C>, next: Next) -> Result<Wait, End> {
        match next {
            Next::More => {
                if self.input.lease.is_some() {
                    self.park();
                }
                let end = HEAD_BYTES_MAX.min(reading.left);
                let received = self.wire.receive(self.head.room(end))?;
                self.head.add(received.unwrap_or(0));
                return Ok(if received.is_some() {
                    Wait::Turn(Work::Stage)
                } else {
                    Wait::Readable
                });
            }
            Next::Skip(bytes) => reading.doing = Doing::Skip(bytes),
            Next::Records(bytes) => reading.doing = Doing::Records(bytes, Patience::None),
            Next::Wider => return Ok(self.long_wider(reading)),
            Next::Again(until) => return Ok(Wait::Again(until)),
            Next::Held(held_back) => return Ok(Wait::Held(held_back)),
            Next::End { answered } => return Ok(Wait::End(answered)),
        }
        Ok(Wait::Turn(Work::Stage))
    }

    /// What to do next, as far as the bytes at the front tell.
    fn long_next(&mut self, reading: &mut Reading<C>) -> Result<Next, &'static str> {
        let net = &self.wire.net;
        let bytes = self.front();
        let bytes = &bytes[..bytes.len().min(reading.left)];
        let front = Front { bytes, left: reading.left };
        let mut core = net.core.borrow_mut();
        let list = &mut *reading.outcomes.buf;
        let peer = &self.peer;
        let (taken, next) = core.long_next(&mut reading.core, peer, front, list, net.now.get())?;
        if let Next::Again(until) = &next {
            assert_pending(&*core, until);
        }
        drop(core);
        self.front_take(taken);
        reading.left -= taken;
        Ok(next)
    }

    /// Hands the records of a partition over, which are at the front.
    fn long_stage(&mut self, reading: &mut Reading<C>, bytes: usize) -> Wait {
        let net = &self.wire.net;
        let mut core = net.core.borrow_mut();
        let (records, list) = (&self.front()[..bytes], &mut *reading.outcomes.buf);
        let (peer, now) = (&self.peer, net.now.get());
        let staged = core.long_stage(&mut reading.core, peer, records, list, now);
        if let Staged::Again(until) = &staged {
            assert_pending(&*core, until);
        }
        net.wake_due(&mut core);
        drop(core);
        match staged {
            Staged::Done(until) => {
                net.hub.staged(&until);
                self.front_take(bytes);
                reading.left -= bytes;
                reading.doing = Doing::Structure;
                let large = bytes > limits::LEASE_BYTES;
                Wait::Turn(if large { Work::Window } else { Work::Stage })
            }
            Staged::Turn => Wait::Turn(Work::Again),
            Staged::Again(until) => Wait::Again(until),
            Staged::Held(held_back) => Wait::Held(held_back),
        }
    }

    /// Receives more of a partition's records, into a buffer that holds all of them.
    fn long_records(
        &mut self,
        reading: &mut Reading<C>,
        bytes: usize,
        patience: Patience,
    ) -> Result<Wait, End> {
        let missing = bytes - self.front().len();
        let Input { lease, .. } = &self.input;
        if lease.as_ref().is_none_or(|lease| lease.buf.len() < bytes) {
            if !self.wire.is_arriving(missing) && patience < Patience::Enough {
                let some = self.wire.is_arriving(1);
                let wait = some || patience == Patience::UntilSome;
                let patience = if wait { Patience::Enough } else { Patience::UntilSome };
                reading.doing = Doing::Records(bytes, patience);
                return Ok(if wait { Wait::Arrival(missing) } else { Wait::Readable });
            }
            if self.wire.net.core.borrow().is_holding() {
                // There may be no room in the ring any more.
                match self.long_next(reading) {
                    Ok(Next::Records(_)) => {}
                    Ok(next) => return self.long_go(reading, next),
                    Err(text) => return Ok(Wait::Close(End::protocol(text))),
                }
            }
            let small = (bytes <= limits::LEASE_BYTES).then_some(PoolKind::ProduceSmall);
            let lease = small.and_then(|kind| self.wire.try_take(kind));
            match lease.or_else(|| self.wire.try_take(PoolKind::Large)) {
                Some(lease) => self.long_lease(reading, lease),
                None => return Ok(Wait::Lease(PoolKind::Large, missing)),
            }
        }
        if self.input.start > 0 {
            self.input.compact();
        }
        self.input.limit = bytes;
        let Input { lease, end, .. } = &mut self.input;
        let lease = lease.as_mut().expect("taken above");
        let received = self.wire.receive(&mut lease.buf[*end..bytes])?;
        *end += received.unwrap_or(0);
        Ok(if received.is_some() { Wait::Turn(Work::Step) } else { Wait::Readable })
    }

    /// Takes a larger buffer for outcomes, of which there are few.
    fn long_wider(&mut self, reading: &mut Reading<C>) -> Wait {
        let kind = PoolKind::ProduceLong;
        let (_, bytes) = self.wire.net.setup.pools[kind as usize];
        if bytes <= reading.outcomes.buf.len() {
            return Wait::Close(TOO_MANY);
        }
        match self.wire.try_take(kind) {
            Some(lease) => self.long_lease(reading, lease),
            None => return Wait::Lease(kind, 0),
        }
        Wait::Turn(Work::Stage)
    }

    /// Continues in this buffer: for outcomes, or for the records whose beginning is at the front.
    fn long_lease(&mut self, reading: &mut Reading<C>, lease: Lease) {
        if lease.kind == PoolKind::ProduceLong {
            let core = self.wire.net.core.borrow();
            core.long_widen(&reading.core, reading.outcomes.buf, lease.buf);
            reading.outcomes = lease;
        } else {
            let here = self.front().len();
            lease.buf[..here].copy_from_slice(self.front());
            self.input = Input::begun(lease, here);
            self.head.take_all();
        }
    }

    /// Answers: in one send with others if all of it waits for one sync, else once each partition is
    /// settled by itself.
    async fn long_answer(&mut self, reading: &mut Reading<C>) -> Result<(), End> {
        let waits = self.wire.net.core.borrow().long_until(&reading.core);
        if !self.replies.is_full(self.wire.net.setup.in_flight_max)
            && let Some((until, version)) = waits
        {
            let bytes = self.wire.net.long_encode(reading, 0);
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
            self.wire.settle(&until).await;
            self.wire.turn(Work::Again).await?;
        }
        let mut sent = 0;
        loop {
            let bytes = self.wire.net.long_encode(reading, sent);
            let window_bytes = self.wire.net.window.borrow().len();
            sent += self.send_window(0..(bytes - sent).min(window_bytes))?;
            if sent == bytes {
                break;
            }
            self.wire.writable().await?;
            self.wire.turn(Work::Window).await?;
        }
        let waited_us = self.wire.net.hub.clock.mono().since_us(read);
        self.wire.net.core.borrow_mut().metrics().produce_us.add(waited_us);
        self.tell_slow(waited_us);
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

/// What is not pending does not change: the request would be tried again for ever.
fn assert_pending<C: Core>(core: &C, until: &Until) {
    assert_eq!(core.settled(until), Settle::Pending, "only what is pending is waited for");
}

const TOO_MANY: End = End {
    why: CloseReason::TooLarge,
    text: "a produce request for more partitions than partitions_max, or with more topics' names than \
           there is memory for",
};

/// How long records may take to begin to arrive before a buffer is taken for them all the same: their
/// client may be gone, which only receiving tells.
const ARRIVAL_MS_MAX: u64 = 1000;
