//! Requests that are answered one at a time, which are all but produce; and jobs.

use std::ops::Range;

use super::connection::Connection;
use super::core::Core;
use super::hub::Lease;
use super::turn::Work;
use super::wire::End;
use crate::api::{Asked, Step};
use crate::broker::{JobNext, Partly};
use crate::error::DiskError;
use crate::metrics::{CloseReason, PoolKind};
use crate::types::{FileRef, Settle};

impl<C: Core> Connection<C> {
    /// Answers one request, to the last byte. No answers are pending before or after it.
    pub(super) async fn exchange(&mut self, frame: &Range<usize>) -> Result<(), End> {
        self.peer.partly = Partly::default();
        loop {
            match self.dispatch(frame, 0) {
                Step::Reply { bytes, digest } => return self.reply(frame, bytes, digest).await,
                Step::ReplyAfter { bytes, until } => {
                    let place = self.keep_answer(frame, 0..bytes)?;
                    self.wire.net.hub.staged(&until);
                    if self.wire.settle(&until).await != Settle::Failed {
                        return self.send_kept(place).await;
                    }
                    if place.start < frame.end {
                        return Err(End::protocol("a request too long to be tried again"));
                    }
                }
                Step::Again(until) => self.again(&until).await?,
                Step::Partly(partly) => {
                    self.peer.partly = partly;
                    self.again(&partly.until).await?;
                }
                Step::Held(_) | Step::Long => {
                    return Err(End::protocol("only producers are held back"));
                }
                Step::NoReply => {
                    self.wire.net.hub.staged_somewhere();
                    return Ok(());
                }
                Step::Job => return self.job(frame, None).await,
                Step::Wait(asked) => return self.job(frame, Some(asked)).await,
                Step::Close(text) => return Err(End::protocol(text)),
            }
        }
    }

    /// Sends the answer that is in the shared window, or whose beginning is.
    async fn reply(&mut self, frame: &Range<usize>, bytes: usize, digest: u64) -> Result<(), End> {
        let window_bytes = self.wire.net.window.borrow().len();
        let mut sent = self.send_window(0..bytes.min(window_bytes))?;
        if sent < bytes && bytes <= window_bytes {
            let place = self.keep_answer(frame, sent..bytes)?;
            return self.send_kept(place).await;
        }
        while sent < bytes {
            self.wire.writable().await?;
            self.wire.turn(Work::Window).await?;
            // Dispatched again for the next window: such a request changes nothing. But what it
            // shows may have changed, and then the two parts do not belong together.
            if self.dispatch(frame, sent) != (Step::Reply { bytes, digest }) {
                return Err(End {
                    why: CloseReason::Overtaken,
                    text: "what a long answer shows changed while it was sent",
                });
            }
            let part = (bytes - sent).min(window_bytes);
            sent += self.send_window(0..part)?;
        }
        Ok(())
    }

    pub(super) fn send_window(&self, part: Range<usize>) -> Result<usize, End> {
        let window = self.wire.net.window.borrow();
        self.wire.send_some(&window[part])
    }

    async fn send_kept(&self, place: Range<usize>) -> Result<(), End> {
        let lease = self.input.lease.as_ref().expect("it holds the answer");
        self.wire.send(&lease.buf[place]).await
    }

    /// Drives the job that a request started, or waits for other members of a group. The request itself
    /// is no longer needed.
    async fn job(&mut self, frame: &Range<usize>, asked: Option<Asked>) -> Result<(), End> {
        // A wait for other members of a group has a short answer, and reads nothing.
        let mut kind = if asked.is_some() { PoolKind::Control } else { PoolKind::Fetch };
        let mut lease = self.job_lease(frame, kind);
        loop {
            if lease.is_none() {
                lease = Some(self.wire.take(kind, 0).await?);
            }
            match self.job_awake(lease.as_mut().expect("taken above"), asked).await? {
                JobNext::Sleep(deadline) => {
                    lease = None;
                    self.wire.sleep(deadline).await?;
                }
                JobNext::Buffer { large } => {
                    lease = None;
                    kind = if large { PoolKind::Large } else { PoolKind::Fetch };
                }
                _ => return Ok(()),
            }
        }
    }

    /// The buffer that the request came in, if it is of the right kind and holds nothing else.
    fn job_lease(&mut self, frame: &Range<usize>, kind: PoolKind) -> Option<Lease> {
        let alone = frame.end == self.input.end;
        if !alone {
            return None;
        }
        let lease = std::mem::take(&mut self.input).lease?;
        (lease.kind == kind).then_some(lease)
    }

    /// Steps the job until it is done, has to sleep, or wants another buffer.
    async fn job_awake(&mut self, lease: &mut Lease, asked: Option<Asked>) -> Result<JobNext, End> {
        let mut read = None;
        loop {
            self.wire.turn(Work::Step).await?;
            let now = self.wire.net.look_at_clock();
            let step = {
                let mut core = self.wire.net.core.borrow_mut();
                let step = match asked {
                    Some(asked) => core.wait_step(self.wire.id, asked, lease.buf),
                    None => core.job_step(self.wire.id, lease.buf, read.take(), now),
                };
                if let JobNext::Sleep(_) = step {
                    // Others may have been woken, to be answered early.
                    self.wire.net.wake_jobs(&mut *core);
                }
                step
            };
            match step {
                JobNext::Read { file, at, from, to } => {
                    read = self.job_read_cached(lease, (file, at), from..to);
                    if read.is_none() {
                        let buf = std::mem::take(&mut lease.buf);
                        let id = self.wire.id;
                        let done = self.wire.net.reader.read(id, file, at, from..to, buf).await;
                        lease.buf = done.buf;
                        read = Some(done.result);
                    }
                }
                JobNext::Send { from, to } => self.wire.send(&lease.buf[from..to]).await?,
                JobNext::Turn => self.wire.turn(Work::Again).await?,
                JobNext::Sleep(_) | JobNext::Buffer { .. } | JobNext::Done => return Ok(step),
                JobNext::Close(text) => {
                    return Err(End { why: CloseReason::Overtaken, text });
                }
            }
        }
    }

    /// Reads into the lease what is in the page cache; none: the read thread has to.
    fn job_read_cached(
        &self,
        lease: &mut Lease,
        (file, at): (FileRef, u64),
        part: Range<usize>,
    ) -> Option<Result<(), DiskError>> {
        let net = &self.wire.net;
        let cached = net.storage.read_cached(file, at, &mut lease.buf[part]);
        let count = if cached == Ok(false) { &net.reads_cold } else { &net.reads_cached };
        count.set(count.get() + u64::from(cached.is_ok()));
        match cached {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
