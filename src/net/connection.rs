//! One connection: reads frames, has them dispatched, sends the answers in order.
//!
//! A silent client's connection has no buffer. The first 8 bytes of a frame are read into the task
//! itself; they tell its length and kind, and so which pool the buffer for the rest is from. A frame
//! that comes in pieces waits without a buffer, in the task or in the socket, so that a slow sender
//! takes none from the others. Produce requests are pipelined: what is behind the first in the
//! socket is read and staged too, their answers wait one behind the other in a reply lease, and all
//! that a sync released go out in one send. While answers are pending and the socket is empty, it is
//! not polled (unless their group waits for more requests): each request would wake the task, at
//! twice the cost.
//!
//! Two rules keep pools from blocking each other: a connection with pending answers never waits for a
//! buffer (it settles them first), and one that holds a reply lease waits only for a sync or its
//! socket.

use std::convert::Infallible;
use std::net::TcpStream;
use std::ops::Range;
use std::rc::Rc;

use smol::Async;

use super::Net;
use super::core::Core;
use super::hub::Lease;
use super::replies::Replies;
use super::room::Held;
use super::slots::{Delays, Phase};
use super::turn::{Turn, Work};
use super::wire::{End, Wire};
use crate::api::{Pool, Step};
use crate::broker::{ConnId, Peer};
use crate::clock::Mono;
use crate::limits;
use crate::log_limit::About;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::{Settle, Until};

/// A connection's task owns one.
pub struct Connection<C: Core> {
    pub(super) wire: Wire<C>,
    pub(super) peer: Peer,
    /// The beginning of a frame that has no buffer yet.
    pub(super) head: Head,
    pub(super) input: Input,
    pub(super) replies: Replies,
    /// Since when requests that came together have waited for room in a ring, if they do.
    pub(super) held_since: Option<Mono>,
    /// The last receive emptied the socket.
    drained: bool,
}

/// The beginning of a frame, or all of a short one.
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

/// Bytes received and not yet consumed.
#[derive(Default)]
pub(super) struct Input {
    pub lease: Option<Lease>,
    pub start: usize,
    pub end: usize,
    /// Receiving stops here: at the end of the frame if it has the buffer alone, else of the buffer.
    pub limit: usize,
}

/// The buffers that requests of a pool are read into, if they are not long.
fn kind_of(pool: Pool) -> PoolKind {
    match pool {
        Pool::Produce => PoolKind::ProduceSmall,
        Pool::Fetch => PoolKind::Fetch,
        Pool::Control | Pool::Group => PoolKind::Control,
    }
}

impl<C: Core> Connection<C> {
    /// A connection that was just accepted and has a slot.
    pub fn new(net: Rc<Net<C>>, id: ConnId, socket: Async<TcpStream>, peer: Peer) -> Connection<C> {
        Connection {
            wire: Wire { net, id, socket, turn: Turn::default() },
            peer,
            head: Head { bytes: [0; HEAD_BYTES_MAX], len: 0 },
            input: Input::default(),
            replies: Replies::default(),
            held_since: None,
            drained: false,
        }
    }

    /// Serves the client until either side ends it.
    #[expect(clippy::manual_async_fn, reason = "its task would have the connection twice")]
    pub fn serve(mut self) -> impl Future<Output = ()> {
        async move {
            let Err(end) = self.run().await;
            let net = Rc::clone(&self.wire.net);
            net.hub.connections.borrow_mut().closed(end.why);
            net.log_end(&self.peer, end);
        }
    }

    async fn run(&mut self) -> Result<Infallible, End> {
        loop {
            while let Some(frame) = self.next_frame()? {
                if self.pool_at(&frame) == Pool::Produce {
                    self.wire.turn(Work::Stage).await?;
                    let consumed = self.produce(&frame).await?;
                    self.produced();
                    if consumed {
                        continue;
                    }
                } else {
                    self.settle_replies().await?;
                    self.wire.turn(Work::Step).await?;
                    self.exchange(&frame).await?;
                }
                self.consume(frame.end);
            }
            if !self.drained {
                self.fill().await?;
            } else if self.replies.owes() {
                if self.more_replies().await? {
                    self.drained = false;
                } else {
                    self.settle_replies().await?;
                }
            } else {
                let idle = self.input.lease.is_none() && self.head.len < HEAD_BYTES;
                let phase = if idle { Phase::Idle } else { Phase::Reading };
                self.wire.readable(phase).await?;
                self.drained = false;
                if idle && self.head.len == 0 {
                    self.held_since = None;
                }
            }
        }
    }

    /// The next produce request may wait for room for its full time, unless this one has waited too
    /// long.
    pub(super) fn produced(&mut self) {
        if !std::mem::take(&mut self.peer.waited_out) {
            self.held_since = None;
        }
    }

    /// The next whole frame in the input, without its size prefix.
    fn next_frame(&self) -> Result<Option<Range<usize>>, End> {
        let Some(head) = self.input.unread().first_chunk::<HEAD_BYTES>() else {
            self.frame_size(self.input.unread())?;
            return Ok(None);
        };
        let bytes = self.frame_bytes(head)?;
        let whole = self.input.end - self.input.start >= bytes;
        Ok(whole.then(|| self.input.start + SIZE_BYTES..self.input.start + bytes))
    }

    /// A frame's length with its size prefix.
    fn frame_bytes(&self, head: &[u8; HEAD_BYTES]) -> Result<usize, End> {
        Ok(self.frame_size(head)? + SIZE_BYTES)
    }

    /// The size that a frame's first bytes announce, 0 while they are too few. A size that no
    /// request has is refused at once: the rest of its head may never come.
    fn frame_size(&self, head: &[u8]) -> Result<usize, End> {
        let Some(prefix) = head.first_chunk::<SIZE_BYTES>() else {
            return Ok(0);
        };
        let size = i32::from_be_bytes(*prefix);
        let size = usize::try_from(size).map_err(|_| End::protocol("a frame of negative size"))?;
        if size < HEAD_BYTES - SIZE_BYTES {
            return Err(End::protocol("a frame that is shorter than any request"));
        }
        if size <= self.wire.net.setup.request_bytes_max {
            return Ok(size);
        }
        let text = other_protocol(*prefix).unwrap_or(TOO_LARGE.text);
        Err(End { text, ..TOO_LARGE })
    }

    fn pool_of(&self, key: i16) -> Pool {
        self.wire.net.core.borrow().pool_of(key)
    }

    pub(super) fn pool_at(&self, frame: &Range<usize>) -> Pool {
        let (key, _) = self.input.key_and_version(frame);
        self.pool_of(key)
    }

    /// Receives once, into a buffer of the right kind; or all of a long request.
    async fn fill(&mut self) -> Result<(), End> {
        if self.input.lease.is_none() && !self.fill_head(HEAD_BYTES)? {
            return Ok(());
        }
        let (frame_bytes, pool) = match self.front().first_chunk() {
            Some(head) => (self.frame_bytes(head)?, self.pool_of(head_key(head))),
            None => (0, Pool::Control),
        };
        if frame_bytes > limits::LEASE_BYTES && self.large(frame_bytes, pool).await? {
            return Ok(());
        }
        if self.input.lease.is_some() {
            self.fill_room(frame_bytes);
        } else if !self.fill_begin(frame_bytes, pool).await? {
            return Ok(());
        }
        let Input { lease, end, limit, .. } = &mut self.input;
        let lease = lease.as_mut().expect("taken above");
        if *end == *limit {
            return Ok(());
        }
        let received = self.wire.receive(&mut lease.buf[*end..*limit])?;
        self.drained = received.is_none_or(|bytes| bytes < *limit - *end);
        *end += received.unwrap_or(0);
        if self.drained && self.next_frame()?.is_none() {
            self.park();
        }
        Ok(())
    }

    /// Gives the buffer back if the little that is left in it can wait for the rest without.
    pub(super) fn park(&mut self) {
        let unread = self.input.unread();
        if let Some(place) = self.head.bytes.get_mut(..unread.len()) {
            place.copy_from_slice(unread);
            self.head.len = unread.len();
            self.input = Input::default();
        }
    }

    /// Receives the frame's first bytes, this many; whether they are there.
    pub(super) fn fill_head(&mut self, bytes: usize) -> Result<bool, End> {
        while self.head.len < bytes {
            match self.wire.receive(&mut self.head.bytes[self.head.len..bytes])? {
                Some(bytes) => self.head.len += bytes,
                None => {
                    self.drained = true;
                    self.frame_size(self.head.so_far())?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Takes a buffer for the frame whose head is there; false: it is too early for that. Requests
    /// other than produce get one of their few buffers only once they can be received whole: short ones
    /// from the head, others from the socket.
    async fn fill_begin(&mut self, bytes: usize, pool: Pool) -> Result<bool, End> {
        if pool != Pool::Produce && bytes <= HEAD_BYTES_MAX {
            if !self.fill_head(bytes)? {
                return Ok(false);
            }
        } else if pool != Pool::Produce {
            self.settle_replies().await?;
            let kind = kind_of(pool);
            self.wire.arrival(kind, bytes - self.head.len, None).await?;
        }
        self.fill_lease(bytes, pool).await?;
        Ok(true)
    }

    async fn fill_lease(&mut self, bytes: usize, pool: Pool) -> Result<(), End> {
        let kind = kind_of(pool);
        let holding = pool == Pool::Produce && self.wire.net.core.borrow().is_holding();
        if holding {
            self.wait_unread(bytes).await?;
        }
        let missing = bytes.saturating_sub(self.head.len);
        let lease = self.take(kind, missing).await?;
        let end = std::mem::take(&mut self.head.len);
        lease.buf[..end].copy_from_slice(&self.head.bytes[..end]);
        // Produce requests are read together with what follows them; all others alone, so that the
        // buffer can be given back while one waits for records, for other members or for room.
        let together = pool == Pool::Produce && !holding;
        let limit = if together { lease.buf.len() } else { bytes };
        self.input = Input { limit, ..Input::begun(lease, end) };
        Ok(())
    }

    /// Makes room behind what is left of the input, which is not a whole frame; 0: not even its head.
    fn fill_room(&mut self, frame_bytes: usize) {
        if self.input.end == self.input.limit {
            self.input.compact();
            // The limit may have been the end of another frame, which was received alone.
            self.input.limit = self.input.limit.max(frame_bytes).max(HEAD_BYTES);
        }
    }

    /// A buffer for `missing` bytes. Pending answers are settled before it is waited for.
    pub(super) async fn take(&mut self, kind: PoolKind, missing: usize) -> Result<Lease, End> {
        match self.wire.try_take(kind) {
            Some(lease) => Ok(lease),
            None => {
                self.settle_replies().await?;
                self.delay_begins();
                let lease = self.wire.take(kind, missing).await?;
                self.delay_ends(|delays| &mut delays.buffer_ms);
                Ok(lease)
            }
        }
    }

    /// Drops a frame that was answered, and gives the buffer back when nothing is left in it.
    fn consume(&mut self, end: usize) {
        self.answered();
        let Some(lease) = &self.input.lease else {
            return;
        };
        self.input.start = end;
        if self.input.start == self.input.end {
            // A small produce buffer may be needed again at once; other requests rarely follow each
            // other.
            if lease.kind == PoolKind::ProduceSmall && !self.drained {
                (self.input.start, self.input.end) = (0, 0);
            } else {
                self.drained |= lease.kind != PoolKind::ProduceSmall;
                self.input = Input::default();
            }
        }
    }

    /// A request is done.
    pub(super) fn answered(&self) {
        let now = self.wire.net.now.get().mono;
        self.wire.slot(|slot| slot.completed(now));
    }

    /// The next bytes of what was received and not yet consumed.
    pub(super) fn front(&self) -> &[u8] {
        if self.input.lease.is_some() { self.input.unread() } else { self.head.so_far() }
    }

    /// Consumes this many of them.
    pub(super) fn front_take(&mut self, bytes: usize) {
        if self.input.lease.is_none() {
            return self.head.take(bytes);
        }
        self.input.start += bytes;
        if self.input.start == self.input.end {
            self.input = Input::default();
        }
    }

    /// Has a produce request staged; its answer is pending from then on. Whether it was consumed already.
    async fn produce(&mut self, frame: &Range<usize>) -> Result<bool, End> {
        loop {
            if self.replies.is_full(self.wire.net.setup.in_flight_max) {
                self.settle_replies().await?;
            }
            match self.dispatch(frame, 0) {
                Step::Reply { bytes, .. } => {
                    self.owe(frame, bytes, &Until::default()).await?;
                    return Ok(false);
                }
                Step::ReplyAfter { bytes, until } => {
                    self.wire.net.hub.staged(&until);
                    self.owe(frame, bytes, &until).await?;
                    return Ok(false);
                }
                Step::Long => {
                    self.long_begin(SIZE_BYTES + frame.len()).await?;
                    return Ok(true);
                }
                Step::Again(until) => {
                    self.settle_replies().await?;
                    let held = Held::new(&self.wire.net, None);
                    self.again(&until).await?;
                    drop(held);
                }
                Step::Held(held_back) => self.wait_read(held_back).await?,
                Step::NoReply => {
                    self.wire.net.hub.staged_somewhere();
                    return Ok(false);
                }
                Step::Job | Step::Wait(_) | Step::Partly(_) => {
                    return Err(End::protocol("a produce request neither reads nor does half"));
                }
                Step::Close(text) => {
                    self.settle_replies().await?;
                    return Err(End::protocol(text));
                }
            }
        }
    }

    /// Notes an answer that is in the shared window. A buffer is taken for it only now, if one is free:
    /// a client that asks for no acknowledgements needs none.
    async fn owe(&mut self, frame: &Range<usize>, bytes: usize, until: &Until) -> Result<(), End> {
        let (_, version) = self.input.key_and_version(frame);
        if self.owe_in_replies(bytes, version, *until) {
            return Ok(());
        }
        // An answer for which there is no room takes the place of its request.
        let place = self.keep_answer(frame, 0..bytes)?;
        self.settle_replies().await?;
        let settle = self.wire.settle(until).await;
        let lease = self.input.lease.as_mut().expect("it holds the request");
        let answer = &mut lease.buf[place];
        if settle == Settle::Failed {
            self.wire.net.core.borrow().fail(PRODUCE_KEY, version, answer);
        }
        self.wire.send(answer).await
    }

    #[inline(never)]
    pub(super) fn owe_in_replies(&mut self, bytes: usize, version: i16, until: Until) -> bool {
        let (_, bytes_max) = self.wire.net.setup.pools[PoolKind::Reply as usize];
        if bytes <= bytes_max
            && self.replies.wants_lease(bytes)
            && let Some(lease) = self.wire.try_take(PoolKind::Reply)
        {
            self.replies.add(lease);
        }
        let window = self.wire.net.window.borrow();
        let answer = window.get(..bytes);
        if !self.replies.owes() {
            self.replies.since = self.wire.net.now.get().mono;
        }
        answer.is_some_and(|answer| self.replies.owe(answer, version, until))
    }

    /// Waits until a request can be dispatched again.
    pub(super) async fn again(&mut self, until: &Until) -> Result<(), End> {
        if self.wire.net.hub.stopping.get() {
            return Err(End::quiet(CloseReason::Stopping));
        }
        self.wire.net.hub.staged_somewhere();
        self.wire.settle(until).await;
        self.wire.turn(Work::Again).await
    }

    /// Waits until there is more to read that can join the group of the pending answers; false: not
    /// before that is written. While syncs are quick this does not wait.
    async fn more_replies(&self) -> Result<bool, End> {
        match self.replies.first_from(0) {
            Some(owed) if !self.replies.is_full(self.wire.net.setup.in_flight_max) => {
                self.wire.more_until(&owed.until).await
            }
            _ => Ok(false),
        }
    }

    /// Sends each pending answer once it is settled; gives the reply leases back.
    pub(super) async fn settle_replies(&mut self) -> Result<(), End> {
        let mut sent = 0;
        while let Some(owed) = self.replies.first_from(sent) {
            let (end, version) = (owed.end(), owed.version);
            let settle = self.wire.settle(&owed.until).await;
            self.synced();
            if settle == Settle::Failed {
                let core = self.wire.net.core.borrow();
                self.replies.each_answer(sent..end, |answer| {
                    core.fail(PRODUCE_KEY, version, answer);
                });
            }
            // What was released together goes out together.
            let core = &self.wire.net.core;
            let due = self.replies.due(end, |until| core.borrow().settled(until));
            while sent < due {
                let (bytes, next) = self.replies.bytes(sent..due);
                self.wire.send(bytes).await?;
                sent = next.min(due);
            }
            let waited_us = self.wire.net.hub.clock.mono().since_us(self.replies.since);
            let mut core = self.wire.net.core.borrow_mut();
            core.metrics().produce_us.add(waited_us);
            drop(core);
            self.tell_slow(waited_us);
        }
        self.replies = Replies::default();
        Ok(())
    }

    /// A request begins to wait before it is staged.
    pub(super) fn delay_begins(&self) {
        let now = self.wire.net.hub.clock.mono();
        self.wire.slot(|slot| slot.delays.since_ms = ms(now));
    }

    /// It does not wait any more; adds the time to `which` of the delays.
    pub(super) fn delay_ends(&self, which: impl FnOnce(&mut Delays) -> &mut u32) {
        let now = self.wire.net.hub.clock.mono();
        self.wire.slot(|slot| {
            let waited_ms = ms(now).wrapping_sub(slot.delays.since_ms);
            *which(&mut slot.delays) += waited_ms;
        });
    }

    /// What the first answers wait for is settled.
    fn synced(&self) {
        let ms = self.wire.net.hub.clock.mono().since_us(self.replies.since) / 1000;
        self.wire.slot(|slot| slot.delays.sync_ms = ms as u32);
    }

    /// Logs in which stages a slow request spent its time. Waits for a held ring are logged elsewhere.
    pub(super) fn tell_slow(&self, waited_us: u64) {
        let delays = self.wire.slot(|slot| std::mem::take(&mut slot.delays));
        let Delays { buffer_ms, held_ms, sync_ms, .. } = delays;
        let waited_ms = (waited_us / 1000) as u32;
        if waited_ms + buffer_ms < SLOW_MS {
            return;
        }
        let remote = self.peer.remote;
        let text = format_args!(
            "a produce request from {remote} took {} ms: {} to get a buffer, {} for room in a held ring, \
             {} until it was on flash, {} to send the answer",
            waited_ms + buffer_ms + held_ms,
            buffer_ms,
            held_ms,
            sync_ms,
            waited_ms.saturating_sub(sync_ms)
        );
        let about = About::kind("slow produce").from(remote.ip());
        self.wire.net.complain(log::Level::Warn, about, text);
    }

    /// Has a request dispatched; the answer's bytes from `from` on are in the shared window then.
    pub(super) fn dispatch(&self, frame: &Range<usize>, from: usize) -> Step {
        let lease = self.input.lease.as_ref().expect("it holds the request");
        self.wire.net.dispatch(&self.peer, &lease.buf[frame.clone()], from)
    }

    /// Moves a part of the shared window to the request's buffer: behind the input if there is room,
    /// else over the request and what was consumed before it. Gives its place. A produce request with
    /// valid batches is longer than its answer, so that there is room for it.
    pub(super) fn keep_answer(
        &mut self,
        frame: &Range<usize>,
        part: Range<usize>,
    ) -> Result<Range<usize>, End> {
        let window = self.wire.net.window.borrow();
        let answer = window.get(part).ok_or(TOO_LONG)?;
        let Input { lease, end, .. } = &mut self.input;
        let buf = &mut lease.as_mut().expect("it holds the request").buf;
        let at = if buf.len() - *end >= answer.len() {
            *end
        } else if frame.end >= answer.len() {
            frame.end - answer.len()
        } else if frame.end == *end && buf.len() >= answer.len() {
            0
        } else {
            return Err(TOO_LONG);
        };
        let place = at..at + answer.len();
        buf[place.clone()].copy_from_slice(answer);
        Ok(place)
    }
}

impl<C: Core> Drop for Connection<C> {
    fn drop(&mut self) {
        self.input = Input::default();
        self.replies = Replies::default();
        let Wire { net, id, .. } = &self.wire;
        net.core.borrow_mut().job_cancel(*id);
        net.hub.leave(*id);
    }
}

impl Head {
    /// What there is of it.
    pub(super) fn so_far(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Room for more of it, up to `end`.
    pub(super) fn room(&mut self, end: usize) -> &mut [u8] {
        &mut self.bytes[self.len..end]
    }

    /// This much more of it came.
    pub(super) fn add(&mut self, bytes: usize) {
        self.len += bytes;
    }

    /// Consumes all of it.
    pub(super) fn take_all(&mut self) {
        self.len = 0;
    }

    /// Consumes this many bytes of it.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes.copy_within(bytes..self.len, 0);
        self.len -= bytes;
    }
}

impl Input {
    /// A buffer whose first bytes were copied there; nothing more is received into it yet.
    pub fn begun(lease: Lease, end: usize) -> Input {
        Input { lease: Some(lease), start: 0, end, limit: end }
    }

    fn unread(&self) -> &[u8] {
        let lease = self.lease.as_ref();
        lease.map_or(&[], |lease| &lease.buf[self.start..self.end])
    }

    /// The first fields of every request, which [`Connection::frame_bytes`] saw to be there.
    pub fn key_and_version(&self, frame: &Range<usize>) -> (i16, i16) {
        let lease = self.lease.as_ref().expect("it holds the request");
        match lease.buf[frame.clone()] {
            [k0, k1, v0, v1, ..] => (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1])),
            _ => unreachable!("a frame has its first fields"),
        }
    }

    /// Moves what is unread to the front.
    pub fn compact(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        lease.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

/// The API key of a request.
fn head_key(head: &[u8; HEAD_BYTES]) -> i16 {
    let [_, _, _, _, k0, k1, ..] = *head;
    i16::from_be_bytes([k0, k1])
}

/// The other protocol that begins with these bytes, which as a size would be more than 200 MB.
fn other_protocol(prefix: [u8; SIZE_BYTES]) -> Option<&'static str> {
    match &prefix {
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" | b"PRI " => {
            Some("HTTP on the Kafka port: http_listen is for that")
        }
        [0x16, 3, 0..=4, _] => Some("TLS on the Kafka port"),
        b"PROX" | [0x0d, 0x0a, 0x0d, 0x0a] => Some("the PROXY protocol on the Kafka port"),
        _ => None,
    }
}

/// Whole milliseconds, which wrap after 49 days.
fn ms(at: Mono) -> u32 {
    (at.0 / 1000) as u32
}

/// How a frame that is longer than any request is refused.
const TOO_LARGE: End =
    End { why: CloseReason::TooLarge, text: "a frame of more than socket_request_max_bytes" };

/// The size prefix of a frame.
pub(super) const SIZE_BYTES: usize = 4;

/// The size prefix, the API key and the version.
const HEAD_BYTES: usize = 8;

/// This much of a frame waits for the rest in the task itself: most requests without records are no
/// longer, nor are the parts of a long produce request that have to be read together.
pub(super) const HEAD_BYTES_MAX: usize = 256;

const _: () = assert!(crate::api::produce::Long::FRONT_BYTES_MAX <= HEAD_BYTES_MAX);

/// The only requests that are pipelined.
const PRODUCE_KEY: i16 = 0;

/// A produce request that takes this long is logged.
const SLOW_MS: u32 = 5_000;

const TOO_LONG: End = End {
    why: CloseReason::TooLarge,
    text: "a request with a longer answer than there is room for",
};
