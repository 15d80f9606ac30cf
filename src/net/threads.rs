//! The two threads beside the executor: one writes, syncs, and does compaction's errands; one reads what is
//! not cached.
//!
//! Each sleeps parked until there is something to do; a result wakes the task that waits for it.
//! Queues are bounded by construction: a ring has one write on its way, a buffer one read.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::pools::Buffer;
use crate::broker::ConnId;
use crate::clock::Clock;
use crate::error::DiskError;
use crate::storage::{Storage, WriteJob};
use crate::types::{FileRef, RingIndex};

/// The thread that writes and syncs.
pub struct Flusher(Desk<FlushTask, FlushOutcome>);

/// The thread that reads.
pub struct Reader(Desk<ReadTask, ReadOutcome>);

/// The outcome of a write.
pub struct FlushOutcome {
    ring: RingIndex,
    /// The job, for the log.
    pub job: WriteJob,
    /// Whether it worked.
    pub result: Result<(), DiskError>,
    /// How long the disk took.
    pub took: Duration,
}

struct FlushTask {
    ring: RingIndex,
    job: WriteJob,
    waker: Waker,
}

struct ReadTask {
    conn: ConnId,
    file: FileRef,
    at: u64,
    range: Range<usize>,
    buf: Buffer,
    waker: Waker,
}

/// The outcome of a read.
pub struct ReadOutcome {
    conn: ConnId,
    /// The buffer that was lent for it.
    pub buf: Buffer,
    /// Whether it worked.
    pub result: Result<(), DiskError>,
}

impl Flusher {
    /// Starts the thread.
    pub fn start(
        storage: Arc<dyn Storage>,
        clock: Clock,
        rings: usize,
    ) -> std::io::Result<Flusher> {
        Desk::start("flush", rings, move |mut task: FlushTask| {
            let before = clock.mono();
            let result = task.job.run(&*storage);
            let outcome = FlushOutcome {
                ring: task.ring,
                job: task.job,
                result,
                took: Duration::from_micros(clock.mono().since_us(before)),
            };
            (outcome, task.waker)
        })
        .map(Flusher)
    }

    /// Has a job carried out.
    pub fn run(&self, ring: RingIndex, job: WriteJob) -> impl Future<Output = FlushOutcome> {
        let task = move |waker, job| FlushTask { ring, job, waker };
        self.0.carry_out(job, task, move |outcome| outcome.ring == ring)
    }
}

impl Reader {
    /// Starts the thread, for this many reads at a time.
    pub fn start(storage: Arc<dyn Storage>, reads: usize) -> std::io::Result<Reader> {
        Desk::start("read", reads, move |task: ReadTask| {
            let part = &mut task.buf[task.range];
            let result = storage.read(task.file, task.at, part);
            let outcome = ReadOutcome { conn: task.conn, buf: task.buf, result };
            (outcome, task.waker)
        })
        .map(Reader)
    }

    /// Fills a range of the buffer, and gives it back.
    pub fn read(
        &self,
        conn: ConnId,
        file: FileRef,
        at: u64,
        range: Range<usize>,
        buf: Buffer,
    ) -> impl Future<Output = ReadOutcome> {
        let task = move |waker, buf| ReadTask { conn, file, at, range: range.clone(), buf, waker };
        self.0.carry_out(buf, task, move |outcome| outcome.conn == conn)
    }
}

/// Tasks to a thread, outcomes back.
struct Desk<T, R> {
    shared: Arc<Shared<T, R>>,
    worker: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Shared<T, R> {
    tasks: Mutex<VecDeque<T>>,
    outcomes: Mutex<VecDeque<R>>,
    stop: AtomicBool,
}

impl<T: Send + 'static, R: Send + 'static> Desk<T, R> {
    fn start(
        name: &str,
        capacity: usize,
        mut work: impl FnMut(T) -> (R, Waker) + Send + 'static,
    ) -> std::io::Result<Desk<T, R>> {
        let shared = Arc::new(Shared {
            tasks: Mutex::new(VecDeque::with_capacity(capacity)),
            outcomes: Mutex::new(VecDeque::with_capacity(capacity)),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let builder = thread::Builder::new().name(name.into());
        let handle = builder.stack_size(STACK_BYTES).spawn(move || {
            loop {
                let task = lock(&theirs.tasks).pop_front();
                match task {
                    Some(task) => {
                        let (outcome, waker) = work(task);
                        lock(&theirs.outcomes).push_back(outcome);
                        waker.wake();
                    }
                    None if theirs.stop.load(Ordering::Acquire) => return,
                    None => thread::park(),
                }
            }
        })?;
        Ok(Desk { shared, worker: handle.thread().clone(), handle: Some(handle) })
    }

    fn carry_out<P>(
        &self,
        part: P,
        task: impl Fn(Waker, P) -> T,
        mine: impl Fn(&R) -> bool,
    ) -> impl Future<Output = R> {
        let mut part = Some(part);
        poll_fn(move |context| {
            if let Some(part) = part.take() {
                let task = task(context.waker().clone(), part);
                lock(&self.shared.tasks).push_back(task);
                self.worker.unpark();
                return Poll::Pending;
            }
            let mut outcomes = lock(&self.shared.outcomes);
            match outcomes.iter().position(&mine) {
                Some(at) => Poll::Ready(outcomes.remove(at).expect("it was found there")),
                None => Poll::Pending,
            }
        })
    }
}

impl<T, R> Drop for Desk<T, R> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.worker.unpark();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Locks are held for moves only, so that a panic cannot leave anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write job puts 4 KiB on the stack.
const STACK_BYTES: usize = 128 << 10;
