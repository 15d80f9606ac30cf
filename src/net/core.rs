//! What `net` needs of the broker, as a trait, so that its tests can replace the broker.

use std::rc::Rc;
use std::sync::Arc;

use crate::api::produce::{Front, Long, Next, Staged};
use crate::api::{self, Asked, Pool, Step, Window};
use crate::broker::{Broker, ConnId, JobNext, Peer};
use crate::clock::{Mono, Now};
use crate::codec::ErrorCode;
use crate::error::DiskError;
use crate::log_limit::LogLimit;
use crate::metrics::Metrics;
use crate::metrics::render::Form;
use crate::report::{self, Report, Sent};
use crate::storage::{Storage, WriteJob};
use crate::types::{HeldBack, RingIndex, Settle, Until};

/// The synchronous broker behind the sockets. The methods are those of [`Broker`], [`api`] and
/// [`crate::log::Log`], where they are explained.
pub trait Core: 'static {
    /// See [`Long`].
    type Long: Default;
    /// See [`api::dispatch`].
    fn dispatch(&mut self, peer: &Peer, frame: &[u8], out: Window<'_>, now: Now) -> Step;
    /// See [`api::fail`].
    fn fail(&self, key: i16, version: i16, answer: &mut [u8]);
    /// See [`Long::next`]; an error closes the connection.
    fn long_next(
        &mut self,
        long: &mut Self::Long,
        peer: &Peer,
        front: Front<'_>,
        list: &mut [u8],
        now: Now,
    ) -> Result<(usize, Next), &'static str>;
    /// See [`Long::stage`].
    fn long_stage(
        &mut self,
        long: &mut Self::Long,
        peer: &Peer,
        records: &[u8],
        list: &mut [u8],
        now: Now,
    ) -> Staged;
    /// See [`Long::widen`].
    fn long_widen(&self, long: &Self::Long, from: &[u8], to: &mut [u8]);
    /// See [`Long::until`]; with the request's version.
    fn long_until(&self, long: &Self::Long) -> Option<(Until, i16)>;
    /// See [`Long::settle`].
    fn long_settle(&self, long: &Self::Long, list: &mut [u8]) -> Option<Until>;
    /// See [`Long::answer`].
    fn long_answer(&self, long: &Self::Long, list: &[u8], out: Window<'_>) -> usize;
    /// See [`api::refuse`].
    fn refuse(&self, begun: &[u8; 8], out: Window<'_>) -> Option<(usize, ErrorCode)>;
    /// See [`api::pool_of`].
    fn pool_of(&self, key: i16) -> Pool;
    /// See [`crate::log::Log::settled`].
    fn settled(&self, until: &Until) -> Settle;
    /// See [`crate::log::Log::next_io`].
    fn next_io(&mut self, ring: RingIndex, now: Now) -> Option<WriteJob>;
    /// See [`crate::log::Log::io_done`].
    fn io_done(&mut self, ring: RingIndex, job: WriteJob, result: Result<(), DiskError>, now: Now);
    /// See [`crate::log::Log::deadline`].
    fn deadline(&self, ring: RingIndex) -> Option<Mono>;
    /// See [`crate::log::Log::close`].
    fn close(&mut self);
    /// See [`crate::log::Log::is_closed`].
    fn is_closed(&self) -> bool;
    /// See [`crate::log::Log::storage`].
    fn storage(&self) -> &Arc<dyn Storage>;
    /// See [`Broker::job_step`].
    fn job_step(
        &mut self,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext;
    /// See [`api::wait_step`].
    fn wait_step(&mut self, conn: ConnId, asked: Asked, buf: &mut [u8]) -> JobNext;
    /// See [`Broker::job_cancel`].
    fn job_cancel(&mut self, conn: ConnId);
    /// Decompression work since this was last asked, in bytes of output.
    fn unpacked(&mut self) -> u32;
    /// See [`Broker::woken`].
    fn woken(&mut self) -> Option<ConnId>;
    /// See [`Broker::tick`].
    fn tick(&mut self, now: Now);
    /// See [`Broker::due`].
    fn due(&self) -> Mono;
    /// See [`Broker::is_holding`].
    fn is_holding(&self) -> bool;
    /// See [`api::produce::held_back`].
    fn held_back(&mut self, frame: &[u8], frame_bytes: usize, now: Now) -> Option<HeldBack>;
    /// See [`Broker::hold_ends`].
    fn hold_ends(&mut self, now: Now) -> bool;
    /// See [`Broker::lines`].
    fn lines(&self) -> Rc<LogLimit>;
    /// See [`Broker::metrics`].
    fn metrics(&mut self) -> &mut Metrics;
    /// Writes what `status` shows; none where `buf` is too small.
    fn status(&self, now: Now, json: bool, buf: &mut [u8]) -> Option<usize>;
    /// See [`report::piece`].
    fn report(&self, now: Now, what: Report, sent: &mut Sent, buf: &mut [u8]) -> Option<usize>;
    /// An error while it cannot store records.
    fn health(&self) -> Result<(), &'static str>;
}

impl Core for Broker {
    type Long = Long;

    fn long_next(
        &mut self,
        long: &mut Long,
        peer: &Peer,
        front: Front<'_>,
        list: &mut [u8],
        now: Now,
    ) -> Result<(usize, Next), &'static str> {
        long.next(self, peer, front, list, now).map_err(|malformed| malformed.0)
    }

    fn long_stage(
        &mut self,
        long: &mut Long,
        peer: &Peer,
        records: &[u8],
        list: &mut [u8],
        now: Now,
    ) -> Staged {
        long.stage(self, peer, records, list, now)
    }

    fn long_widen(&self, long: &Long, from: &[u8], to: &mut [u8]) {
        long.widen(from, to);
    }

    fn long_until(&self, long: &Long) -> Option<(Until, i16)> {
        Some((long.until()?, long.version()))
    }

    fn long_settle(&self, long: &Long, list: &mut [u8]) -> Option<Until> {
        long.settle(self, list)
    }

    fn long_answer(&self, long: &Long, list: &[u8], out: Window<'_>) -> usize {
        long.answer(list, out)
    }

    fn dispatch(&mut self, peer: &Peer, frame: &[u8], out: Window<'_>, now: Now) -> Step {
        api::dispatch(self, peer, frame, out, now)
    }

    fn fail(&self, key: i16, version: i16, answer: &mut [u8]) {
        api::fail(key, version, answer);
    }

    fn refuse(&self, begun: &[u8; 8], out: Window<'_>) -> Option<(usize, ErrorCode)> {
        api::refuse(begun, out)
    }

    fn pool_of(&self, key: i16) -> Pool {
        api::pool_of(key)
    }

    fn settled(&self, until: &Until) -> Settle {
        self.log.settled(until)
    }

    fn next_io(&mut self, ring: RingIndex, now: Now) -> Option<WriteJob> {
        self.log.next_io(ring, now)
    }

    fn io_done(&mut self, ring: RingIndex, job: WriteJob, result: Result<(), DiskError>, now: Now) {
        self.log.io_done(ring, job, result, now);
        self.hold_warn_as_it_fills(ring);
    }

    fn deadline(&self, ring: RingIndex) -> Option<Mono> {
        self.log.deadline(ring)
    }

    fn close(&mut self) {
        self.log.close();
    }

    fn is_closed(&self) -> bool {
        self.log.is_closed()
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        self.log.storage()
    }

    fn job_step(
        &mut self,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext {
        Broker::job_step(self, conn, buf, read, now)
    }

    fn wait_step(&mut self, conn: ConnId, asked: Asked, buf: &mut [u8]) -> JobNext {
        api::wait_step(self, conn, asked, buf)
    }

    fn job_cancel(&mut self, conn: ConnId) {
        Broker::job_cancel(self, conn);
    }

    fn unpacked(&mut self) -> u32 {
        self.unpacker.work()
    }

    fn woken(&mut self) -> Option<ConnId> {
        Broker::woken(self)
    }

    fn tick(&mut self, now: Now) {
        Broker::tick(self, now);
    }

    fn due(&self) -> Mono {
        Broker::due(self)
    }

    fn is_holding(&self) -> bool {
        Broker::is_holding(self)
    }

    fn held_back(&mut self, frame: &[u8], frame_bytes: usize, now: Now) -> Option<HeldBack> {
        api::produce::held_back(self, frame, frame_bytes, now)
    }

    fn hold_ends(&mut self, now: Now) -> bool {
        Broker::hold_ends(self, now)
    }

    fn lines(&self) -> Rc<LogLimit> {
        Rc::clone(&self.lines)
    }

    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    fn status(&self, now: Now, json: bool, buf: &mut [u8]) -> Option<usize> {
        report::status(self, now, if json { Form::Json } else { Form::Text }, buf)
    }

    fn report(&self, now: Now, what: Report, sent: &mut Sent, buf: &mut [u8]) -> Option<usize> {
        report::piece(self, now, what, sent, buf)
    }

    fn health(&self) -> Result<(), &'static str> {
        let failing = self.log.rings().any(|ring| self.log.is_failing(ring));
        if failing {
            Err("the disk is failing: producers get KAFKA_STORAGE_ERROR (56)")
        } else {
            Ok(())
        }
    }
}
