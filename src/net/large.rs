//! Requests other than produce that are longer than a small buffer: read whole into a large one, or,
//! where that is too short for them, received and dropped.
//!
//! The large buffers are those for the records of one partition of a long produce request
//! (`limits::LEASE_BYTES`). Neither use can block the other: a connection that has one waits only for
//! its socket, where a slow client is cut off while others wait for a buffer, for a sync, or, at most a
//! second while others wait, for room in a held ring. Look-ups that read a long batch in one wait only
//! for the disk, and members that wait for their group have none.

use super::connection::{Connection, Input, SIZE_BYTES};
use super::core::Core;
use super::slots::Phase;
use super::turn::Work;
use super::wire::End;
use crate::api::{Pool, Window};
use crate::codec::ErrorCode;
use crate::limits;
use crate::log_limit::About;
use crate::metrics::{CloseReason, PoolKind};

impl<C: Core> Connection<C> {
    /// Takes on a request that is longer than a small buffer. Produce requests, and those that no buffer
    /// takes, are dealt with whole; others get a large buffer. False: the rest of the frame is received
    /// like any other's.
    pub(super) async fn large(&mut self, frame_bytes: usize, pool: Pool) -> Result<bool, End> {
        if pool == Pool::Produce {
            if self.wire.net.core.borrow().is_holding() {
                if self.input.lease.is_some() {
                    self.park();
                }
                self.wait_unread(frame_bytes).await?;
            }
            self.long_begin(frame_bytes).await?;
            self.produced();
            return Ok(true);
        }
        let lease = self.input.lease.as_ref();
        if lease.is_some_and(|lease| lease.buf.len() >= frame_bytes) {
            return Ok(false);
        }
        if frame_bytes > self.large_bytes() {
            self.pass_over(frame_bytes).await?;
            return Ok(true);
        }
        self.settle_replies().await?;
        let missing = frame_bytes - self.front().len();
        self.wire.arrival(PoolKind::Large, missing, None).await?;
        let lease = self.wire.take(PoolKind::Large, missing).await?;
        let here = self.front().len();
        lease.buf[..here].copy_from_slice(self.front());
        self.input = Input { limit: frame_bytes, ..Input::begun(lease, here) };
        self.head.take_all();
        Ok(false)
    }

    /// Carries out a produce request whose beginning is at the front piece by piece.
    pub(super) async fn long_begin(&mut self, frame_bytes: usize) -> Result<(), End> {
        let outcomes = self.take(PoolKind::Reply, 0).await?;
        // Boxed, so that connections without one are no larger for it. There are no more of these
        // than buffers for their outcomes.
        Box::pin(self.long(frame_bytes, outcomes)).await
    }

    /// The longest frame that a buffer takes.
    fn large_bytes(&self) -> usize {
        let (_, bytes) = self.wire.net.setup.pools[PoolKind::Large as usize];
        bytes.max(limits::LEASE_BYTES)
    }

    /// Receives and drops a request, and answers it if its API has a code for all of it; else the
    /// connection ends.
    async fn pass_over(&mut self, frame_bytes: usize) -> Result<(), End> {
        if self.front().len() < SIZE_BYTES + BEGINNING_BYTES {
            if self.input.lease.is_some() {
                self.park();
            }
            if !self.fill_head(SIZE_BYTES + BEGINNING_BYTES)? {
                return Ok(());
            }
        }
        let begun = self.front().get(SIZE_BYTES..).and_then(|begun| begun.first_chunk());
        let begun: [u8; BEGINNING_BYTES] = *begun.expect("it is there");
        self.complain_too_large(&begun, frame_bytes - SIZE_BYTES);
        let refused = self.refuse(&begun, 0);
        let (answer_bytes, code) = refused.ok_or(End::quiet(CloseReason::TooLarge))?;
        self.settle_replies().await?;
        let mut left = frame_bytes;
        while left > 0 {
            let here = self.front().len().min(left);
            if here > 0 {
                self.front_take(here);
                left -= here;
                continue;
            }
            let received = {
                let mut window = self.wire.net.window.borrow_mut();
                let part = left.min(window.len());
                self.wire.receive(&mut window[..part])?
            };
            match received {
                Some(bytes) => {
                    left -= bytes;
                    self.wire.turn(Work::Step).await?;
                }
                None => self.wire.readable(Phase::Reading).await?,
            }
        }
        let mut sent = 0;
        while sent < answer_bytes {
            self.refuse(&begun, sent);
            sent += self.send_window(0..answer_bytes - sent)?;
            if sent < answer_bytes {
                self.wire.writable().await?;
            }
        }
        let mut core = self.wire.net.core.borrow_mut();
        core.metrics().request(key_of(&begun));
        core.metrics().error(code.0);
        drop(core);
        self.answered();
        Ok(())
    }

    /// Writes the answer to a request that was not read to the window, from `from` on; gives its length,
    /// and the code in it.
    fn refuse(&self, begun: &[u8; BEGINNING_BYTES], from: usize) -> Option<(usize, ErrorCode)> {
        let net = &self.wire.net;
        let buf = &mut net.window.borrow_mut();
        net.core.borrow().refuse(begun, Window { buf, from })
    }

    fn complain_too_large(&self, begun: &[u8; BEGINNING_BYTES], bytes: usize) {
        let key = key_of(begun);
        let (remote, max) = (self.peer.remote, self.large_bytes() - SIZE_BYTES);
        let text = format_args!(
            "a request of API key {key} from {remote} is too long: it has {bytes} bytes, and only \
             Produce (0) may have more than {max} (see message_max_bytes)"
        );
        let about = About::kind("too long").from(remote.ip());
        self.wire.net.complain(log::Level::Warn, about, text);
    }
}

fn key_of(begun: &[u8; BEGINNING_BYTES]) -> i16 {
    let [k0, k1, ..] = *begun;
    i16::from_be_bytes([k0, k1])
}

/// What is kept of a request that is dropped: its key, its version, and its correlation id.
const BEGINNING_BYTES: usize = 8;
