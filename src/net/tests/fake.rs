//! A broker that speaks a protocol of its own: just enough to drive every path of the sockets.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::api::produce::{Front, Next, Staged};
use crate::api::{Asked, Pool, Step, Window};
use crate::broker::{ConnId, JobNext, Peer};
use crate::clock::{Clock, Mono, Now};
use crate::codec::ErrorCode;
use crate::error::DiskError;
use crate::metrics::{Metrics, PoolKind};
use crate::net::core::Core;
use crate::net::{Setup, serve};
use crate::report::{Report, Sent};
use crate::storage::{Storage, WriteJob};
use crate::types::{FileIndex, FileRef, HeldBack, RingIndex, Settle, Ticket, Until};

/// Answered after a sync with its correlation id; version 1: never answered; 2: the first try is
/// put off; 3: with a body as long as the request's body says; 4: it waits while the ring is full; 5:
/// if it is long, its padding is skipped, and it is settled by itself.
pub const PRODUCE: i16 = 0;
/// A job: body = bytes to send; version 1: only once [`WAKE`] came; 2: with a cold read; 3: it reads
/// from the page cache, for ever.
pub const FETCH: i16 = 1;
/// Answered at once, with a body as long as the request's body says.
pub const ECHO: i16 = 3;
/// The same as a fetch, with the buffers of all other requests. One that no buffer takes is answered
/// with a body of 81 bytes.
pub const JOIN: i16 = 11;
/// Answered after a sync.
pub const COMMIT: i16 = 8;
/// Wakes all sleeping jobs, and changes what the others show.
pub const WAKE: i16 = 9;

/// What a test can do to the disk.
#[derive(Default)]
pub struct Disk {
    pub fails: AtomicBool,
    pub syncs: AtomicU64,
    pub sync_us: AtomicU64,
    /// Set: there is no room for [`PRODUCE`] in version 4.
    pub full: AtomicBool,
    /// So long such a request waits.
    pub hold_wait_ms: AtomicU64,
}

pub struct Fake {
    disk: Arc<dyn Storage>,
    knobs: Arc<Disk>,
    holding: bool,
    metrics: Metrics,
    open: Ticket,
    staged: bool,
    out: bool,
    settled: Ticket,
    failed: Option<Ticket>,
    put_off: bool,
    closing: bool,
    jobs: Vec<Option<Job>>,
    woken: VecDeque<ConnId>,
    changes: u64,
}

#[derive(Clone, Copy)]
struct Job {
    left: usize,
    sleeps: bool,
    cold: bool,
    endless: bool,
}

/// A produce request that does not fit a small buffer: its padding is taken in pieces.
#[derive(Default)]
pub struct Long {
    /// Version, correlation id and the length of the answer's body.
    head: Option<(u8, u32, usize)>,
    taken: usize,
    until: Until,
}

pub struct Server {
    pub address: SocketAddr,
    pub disk: Arc<Disk>,
    stop: smol::channel::Sender<()>,
    thread: Option<JoinHandle<bool>>,
}

impl Server {
    pub fn start(change: impl FnOnce(&mut Setup)) -> Server {
        let mut setup = Setup::from(&crate::config::Config::default());
        setup.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        (setup.status_socket, setup.http_listen) = (None, None);
        change(&mut setup);
        let disk = Arc::new(Disk::default());
        let (stop, stopped) = smol::channel::bounded(1);
        let (ready, address) = mpsc::channel();
        let theirs = Arc::clone(&disk);
        let thread = std::thread::spawn(move || {
            let core = Fake::new(theirs, setup.max_connections);
            let stop = async move {
                let _ = stopped.recv().await;
            };
            let ready = |address| ready.send(address).unwrap();
            serve(core, setup, Clock::start(), stop, ready).unwrap()
        });
        Server { address: address.recv().unwrap(), disk, stop, thread: Some(thread) }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(stream)
    }

    /// Stops it; whether it said that its end was clean.
    pub fn stop(mut self) -> bool {
        self.stop_begin();
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn stop_begin(&self) {
        let _ = self.stop.try_send(());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_begin();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub struct Client(pub TcpStream);

impl Client {
    pub fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).unwrap();
    }

    /// The correlation id and the length of the body, whose bytes are checked.
    pub fn answer(&mut self) -> (u32, usize) {
        self.try_answer().expect("an answer")
    }

    pub fn try_answer(&mut self) -> Option<(u32, usize)> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).ok()?;
        let size = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let mut body = vec![0; size - 4];
        self.0.read_exact(&mut body).ok()?;
        assert!(body.iter().enumerate().all(|(i, b)| *b == pattern(8 + i)));
        let id = u32::from_be_bytes(head[4..].try_into().unwrap());
        Some((id, body.len()))
    }

    pub fn is_closed(&mut self) -> bool {
        !matches!(self.0.read(&mut [0; 1]), Ok(1))
    }
}

/// A request: the body's first four bytes say how long an answer is wanted, then come `padding`.
pub fn request(key: i16, version: i16, id: u32, wanted: u32, padding: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&(12 + padding as u32).to_be_bytes());
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&wanted.to_be_bytes());
    frame.extend((0..padding).map(|i| i as u8));
    frame
}

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

impl Fake {
    pub fn new(disk: Arc<Disk>, connections: usize) -> Fake {
        Fake {
            knobs: Arc::clone(&disk),
            disk,
            holding: false,
            metrics: Metrics::default(),
            open: Ticket(1),
            staged: false,
            out: false,
            settled: Ticket(0),
            failed: None,
            put_off: false,
            closing: false,
            jobs: vec![None; connections],
            woken: VecDeque::new(),
            changes: 0,
        }
    }

    fn stage(&mut self) -> Until {
        self.staged = true;
        Until::synced(RingIndex(0), self.open)
    }

    fn hold_back(&self) -> HeldBack {
        let wait_ms = Some(self.knobs.hold_wait_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0);
        HeldBack { ring: RingIndex(0), wait_ms }
    }

    /// An answer that shows what was changed.
    fn reply(&self, id: u32, body: usize, out: Window<'_>) -> Step {
        Step::Reply { bytes: Fake::encode(id, body, out), digest: self.changes }
    }

    /// The window's part of an answer of 8 bytes of head and a body in [`pattern`].
    fn encode(id: u32, body: usize, out: Window<'_>) -> usize {
        let mut head = [0; 8];
        head[..4].copy_from_slice(&(4 + body as u32).to_be_bytes());
        head[4..].copy_from_slice(&id.to_be_bytes());
        let total = 8 + body;
        for (i, byte) in out.buf.iter_mut().enumerate() {
            let at = out.from + i;
            if at < total {
                *byte = head.get(at).copied().unwrap_or_else(|| pattern(at));
            }
        }
        total
    }
}

impl Core for Fake {
    type Long = Long;

    fn long_next(
        &mut self,
        long: &mut Long,
        peer: &Peer,
        front: Front<'_>,
        list: &mut [u8],
        _now: Now,
    ) -> Result<(usize, Next), &'static str> {
        assert_eq!(list.len() % 64, 0, "a buffer for outcomes");
        let Some((version, id, _)) = long.head else {
            let Some(head) = front.bytes.first_chunk::<12>() else {
                return Ok((0, Next::More));
            };
            let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            let body = if head[3] == 3 { number(8) as usize } else { 0 };
            long.head = Some((head[3], number(4), body));
            return Ok((12, Next::Skip(0)));
        };
        let next = match version {
            _ if front.left == 0 => Next::End { answered: version != 1 },
            2 if !std::mem::replace(&mut self.put_off, true) => Next::Again(self.stage()),
            4 if self.knobs.full.load(Ordering::Relaxed) && !peer.waited_out => {
                self.holding = true;
                Next::Held(self.hold_back())
            }
            4 if self.knobs.full.load(Ordering::Relaxed) => {
                long.head = Some((version, 19, 0));
                Next::Skip(front.left)
            }
            5 => Next::Skip(front.left),
            _ => Next::Records(front.left.min([100, 7000, 65_000, 100_000][id as usize % 4])),
        };
        Ok((0, next))
    }

    fn long_stage(
        &mut self,
        long: &mut Long,
        _peer: &Peer,
        records: &[u8],
        _list: &mut [u8],
        _now: Now,
    ) -> Staged {
        assert!((long.taken..).zip(records).all(|(i, byte)| *byte == i as u8));
        long.taken += records.len();
        long.until = self.stage();
        Staged::Done(long.until)
    }

    fn long_widen(&self, _long: &Long, _from: &[u8], _to: &mut [u8]) {}

    fn long_until(&self, long: &Long) -> Option<(Until, i16)> {
        let (version, ..) = long.head?;
        (version != 5).then_some((long.until, version.into()))
    }

    fn long_settle(&self, long: &Long, _list: &mut [u8]) -> Option<Until> {
        (self.settled(&long.until) == Settle::Pending).then_some(long.until)
    }

    fn long_answer(&self, long: &Long, _list: &[u8], out: Window<'_>) -> usize {
        let (_, id, body) = long.head.expect("it was read");
        Fake::encode(id, body, out)
    }

    fn dispatch(&mut self, peer: &Peer, frame: &[u8], out: Window<'_>, _now: Now) -> Step {
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let key = i16::from_be_bytes([frame[0], frame[1]]);
        let version = frame[3];
        let (id, wanted) = (number(4), number(8) as usize);
        assert!(frame[12..].iter().enumerate().all(|(i, b)| *b == i as u8));
        match (key, version) {
            (PRODUCE, 1) => {
                self.stage();
                Step::NoReply
            }
            (PRODUCE, 2) if !std::mem::replace(&mut self.put_off, true) => {
                Step::Again(self.stage())
            }
            (PRODUCE, 4) if self.knobs.full.load(Ordering::Relaxed) => {
                self.holding = true;
                match peer.waited_out {
                    true => self.reply(19, 0, out),
                    false => Step::Held(self.hold_back()),
                }
            }
            (PRODUCE | COMMIT, _) => {
                let failing = self.failed.is_some() && key == COMMIT;
                let body = if version == 3 { wanted } else { 0 };
                if failing {
                    return self.reply(56, body, out);
                }
                let bytes = Fake::encode(id, body, out);
                let until = self.stage();
                Step::ReplyAfter { bytes, until }
            }
            (FETCH | JOIN, _) => {
                self.jobs[usize::from(peer.conn.0)] = Some(Job {
                    left: wanted,
                    sleeps: version == 1,
                    cold: version == 2,
                    endless: version == 3,
                });
                match key {
                    JOIN => Step::Wait(Asked { key, version: version.into(), correlation_id: 0 }),
                    _ => Step::Job,
                }
            }
            (ECHO, _) => self.reply(id, wanted, out),
            (WAKE, _) => {
                let jobs = self.jobs.iter_mut().enumerate();
                for (conn, job) in jobs.filter_map(|(i, job)| Some((i, job.as_mut()?))) {
                    job.sleeps = false;
                    self.woken.push_back(ConnId(conn as u16));
                }
                self.changes += 1;
                self.reply(id, 0, out)
            }
            _ => Step::Close("an unknown key"),
        }
    }

    fn fail(&self, _key: i16, _version: i16, answer: &mut [u8]) {
        answer[4..8].copy_from_slice(&56u32.to_be_bytes());
    }

    fn refuse(&self, begun: &[u8; 8], out: Window<'_>) -> Option<(usize, ErrorCode)> {
        let [_, key, _, _, id @ ..] = *begun;
        (i16::from(key) == JOIN).then(|| {
            (Fake::encode(u32::from_be_bytes(id), 81, out), ErrorCode::GROUP_MAX_SIZE_REACHED)
        })
    }

    fn pool_of(&self, key: i16) -> Pool {
        match key {
            PRODUCE => Pool::Produce,
            FETCH => Pool::Fetch,
            JOIN => Pool::Group,
            _ => Pool::Control,
        }
    }

    fn settled(&self, until: &Until) -> Settle {
        let ticket = until.tickets[0];
        match self.failed {
            Some(failed) if ticket >= failed => Settle::Failed,
            _ if ticket <= self.settled => Settle::Done,
            _ => Settle::Pending,
        }
    }

    fn next_io(&mut self, _ring: RingIndex, _now: Now) -> Option<WriteJob> {
        if !self.staged || self.out {
            return None;
        }
        (self.staged, self.out) = (false, true);
        self.open.0 += 1;
        Some(WriteJob {
            file: FileRef::default(),
            at: 0,
            buf: Box::default(),
            parts: Vec::new(),
            padding: 0,
            sync: true,
            errand: None,
        })
    }

    fn io_done(&mut self, _: RingIndex, _job: WriteJob, result: Result<(), DiskError>, _: Now) {
        self.out = false;
        match result {
            Ok(()) => self.settled = Ticket(self.open.0 - 1),
            Err(_) => self.failed = Some(Ticket(self.settled.0 + 1)),
        }
    }

    fn deadline(&self, _ring: RingIndex) -> Option<Mono> {
        None
    }

    fn close(&mut self) {
        self.closing = true;
    }

    fn is_closed(&self) -> bool {
        self.closing && !self.staged && !self.out
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.disk
    }

    fn job_step(
        &mut self,
        conn: ConnId,
        buf: &mut [u8],
        read: Option<Result<(), DiskError>>,
        now: Now,
    ) -> JobNext {
        let place = &mut self.jobs[usize::from(conn.0)];
        let job = place.as_mut().expect("a job was started");
        if job.sleeps {
            return JobNext::Sleep(now.mono.plus_ms(60_000));
        }
        if job.endless {
            let at = CACHED_AT;
            return JobNext::Read { file: FileRef::default(), at, from: 0, to: 1 };
        }
        if job.cold && read.is_none() {
            let to = buf.len();
            return JobNext::Read { file: FileRef::default(), at: 7, from: 0, to };
        }
        let to = job.left.min(buf.len());
        if to == 0 {
            *place = None;
            return JobNext::Done;
        }
        if !job.cold {
            buf.fill(7);
        }
        job.left -= to;
        JobNext::Send { from: 0, to }
    }

    fn unpacked(&mut self) -> u32 {
        0
    }

    fn wait_step(&mut self, conn: ConnId, _asked: Asked, buf: &mut [u8]) -> JobNext {
        self.job_step(conn, buf, None, Clock::start().now())
    }

    fn job_cancel(&mut self, conn: ConnId) {
        self.jobs[usize::from(conn.0)] = None;
    }

    fn woken(&mut self) -> Option<ConnId> {
        self.woken.pop_front()
    }

    fn tick(&mut self, _now: Now) {}

    fn due(&self) -> Mono {
        Mono(u64::MAX)
    }

    fn is_holding(&self) -> bool {
        self.holding
    }

    fn held_back(&mut self, frame: &[u8], _bytes: usize, _now: Now) -> Option<HeldBack> {
        let full = self.knobs.full.load(Ordering::Relaxed);
        (full && frame[..4] == [0, 0, 0, 4]).then(|| self.hold_back())
    }

    fn hold_ends(&mut self, _now: Now) -> bool {
        let full = self.knobs.full.load(Ordering::Relaxed);
        std::mem::replace(&mut self.holding, full) && !full
    }

    fn lines(&self) -> std::rc::Rc<crate::log_limit::LogLimit> {
        std::rc::Rc::default()
    }

    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    fn status(&self, _now: Now, _json: bool, _buf: &mut [u8]) -> Option<usize> {
        Some(0)
    }

    fn report(&self, _: Now, _: Report, _: &mut Sent, _: &mut [u8]) -> Option<usize> {
        Some(0)
    }

    fn health(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Storage for Disk {
    fn files(&self, _ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        Ok(Vec::new())
    }

    fn create(&self, _: FileRef, _: u64, _: &mut dyn FnMut(u64)) -> Result<(), DiskError> {
        Ok(())
    }

    fn remove(&self, _file: FileRef) -> Result<(), DiskError> {
        Ok(())
    }

    fn read(&self, _file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        buf.fill(at as u8);
        Ok(())
    }

    fn read_cached(&self, _: FileRef, at: u64, _: &mut [u8]) -> Result<bool, DiskError> {
        Ok(at == CACHED_AT)
    }

    fn read_medium(&self, _: FileRef, _: u64, _: &mut [u8]) -> Result<(), DiskError> {
        Ok(())
    }

    fn write(&self, _: FileRef, _: u64, _: &[IoSlice<'_>]) -> Result<(), DiskError> {
        Ok(())
    }

    fn sync(&self, _file: FileRef) -> Result<(), DiskError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(self.sync_us.load(Ordering::Relaxed)));
        if self.fails.load(Ordering::Relaxed) {
            return Err(DiskError { doing: "sync", os: 5 });
        }
        Ok(())
    }
}

/// What is here is in the page cache.
const CACHED_AT: u64 = 9;

/// So many buffers in one pool.
pub fn pool(setup: &mut Setup, kind: PoolKind, count: usize) {
    setup.pools[kind as usize].0 = count;
}
