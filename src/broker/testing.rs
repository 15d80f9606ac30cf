//! A broker over a disk in memory, for the tests of handlers: requests go in as an independent codec
//! writes them, and answers come out as it reads them.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::{Broker, ConnId, JobNext, Peer};
use crate::api::{Asked, Step, Window, dispatch, wait_step};
use crate::clock::{Mono, Now};
use crate::config::Config;
use crate::error::DiskError;
use crate::log::recovery::Opening;
use crate::log::{Log, LogConfig};
use crate::storage::Storage;
use crate::types::{FileIndex, FileRef, RingIndex, Settle};

/// The broker, and what is around it.
pub struct Bench {
    /// The broker.
    pub broker: Broker,
    /// Its disk.
    pub disk: Arc<Memory>,
    /// Who asks.
    pub peer: Peer,
    /// What time it is.
    pub now: Now,
}

/// Segment files in memory.
#[derive(Default)]
pub struct Memory {
    files: Mutex<BTreeMap<(u8, u16), Vec<u8>>>,
    /// Set: writes and syncs fail.
    pub fails: AtomicBool,
    /// Writes so far.
    pub writes: AtomicUsize,
    /// Which write from now on a power cut halves: nothing after it gets there; 0: none, and at the end of
    /// the numbers when that has happened.
    pub cut: AtomicUsize,
}

impl Bench {
    /// With the default configuration, and a small ring.
    pub fn new() -> Bench {
        Bench::with(|_| {})
    }

    /// With another configuration.
    pub fn with(change: impl FnOnce(&mut Config)) -> Bench {
        let mut config = Config::default();
        let ring = config.rings.first_mut().unwrap();
        (ring.segments, ring.spares, ring.segment_bytes) = (3, 1, 4 << 20);
        change(&mut config);
        let disk = Arc::new(Memory::default());
        let now = Now { mono: Mono(1), wall_ms: 1_800_000_000_000, wall_synchronised: true };
        let address = SocketAddr::from(([10, 0, 0, 7], 9092));
        let peer = Peer::new(ConnId(0), address, SocketAddr::from(([10, 0, 0, 8], 50_000)));
        let broker = opened(config, &disk, now);
        Bench { broker, disk, peer, now }
    }

    /// The broker is started again, without having been stopped.
    pub fn restart(&mut self) {
        self.now.mono = Mono(1);
        self.disk.cut.store(0, Ordering::Relaxed);
        self.broker = opened(self.broker.config.clone(), &self.disk, self.now);
    }

    /// Asks, and waits for the answer.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let frame = frame_of(version, request);
        let mut buf = vec![0; 64 * 1024];
        for _ in 0..8 {
            let window = Window { buf: &mut buf, from: 0 };
            match dispatch(&mut self.broker, &self.peer, &frame, window, self.now) {
                Step::Reply { bytes, digest } => {
                    return self.answer::<R>(version, &frame, buf, (bytes, digest));
                }
                Step::ReplyAfter { bytes, until } => {
                    self.drive();
                    match self.broker.log.settled(&until) {
                        Settle::Done => {
                            return self.answer::<R>(version, &frame, buf, (bytes, 0));
                        }
                        Settle::Pending => panic!("there is nothing left to wait for"),
                        Settle::Failed => {}
                    }
                }
                Step::Again(_) => self.drive(),
                step => panic!("{step:?}"),
            }
        }
        panic!("the request is dispatched again and again");
    }

    /// What a request leads to, once.
    pub fn step<R: Request>(&mut self, version: i16, request: &R) -> Step {
        let mut buf = vec![0; 64 * 1024];
        self.step_raw(&frame_of(version, request), &mut buf)
    }

    /// What these bytes lead to.
    pub fn step_raw(&mut self, frame: &[u8], buf: &mut [u8]) -> Step {
        let window = Window { buf, from: 0 };
        dispatch(&mut self.broker, &self.peer, frame, window, self.now)
    }

    /// Asks on a connection of its own; none: it waits there, see [`Bench::receive`].
    pub fn send<R: Request>(&mut self, conn: u16, version: i16, ask: &R) -> Option<R::Response> {
        self.peer.conn = ConnId(conn);
        let mut buf = vec![0; 64 * 1024];
        for _ in 0..8 {
            match self.step_raw(&frame_of(version, ask), &mut buf) {
                Step::Wait(_) => return self.receive::<R>(conn, version),
                Step::Reply { bytes, .. } => {
                    buf.truncate(bytes);
                    return Some(decoded::<R>(version, buf));
                }
                Step::Again(_) => self.drive(),
                step => panic!("{step:?}"),
            }
        }
        panic!("the request is dispatched again and again");
    }

    /// The answer that a connection waits for, if it is there.
    pub fn receive<R: Request>(&mut self, conn: u16, version: i16) -> Option<R::Response> {
        let mut buf = vec![0; 64 * 1024];
        let mut whole = Vec::new();
        let asked = Asked { key: R::KEY, version, correlation_id: CORRELATION_ID };
        loop {
            match wait_step(&mut self.broker, ConnId(conn), asked, &mut buf) {
                JobNext::Sleep(_) => return None,
                JobNext::Send { from, to } => whole.extend_from_slice(&buf[from..to]),
                JobNext::Done => return Some(decoded::<R>(version, whole)),
                step => panic!("{step:?}"),
            }
        }
    }

    /// Time passes.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.broker.tick(self.now);
        assert!(self.broker.due() > self.now.mono, "nothing that is due is left undone");
    }

    /// Carries out what there is to do for the disk.
    pub fn drive(&mut self) {
        self.now.mono = self.now.mono.plus_ms(100);
        for ring in self.broker.log.rings() {
            for _ in 0..64 {
                let Some(mut job) = self.broker.log.next_io(ring, self.now) else {
                    break;
                };
                let result = job.run(&**self.broker.log.storage());
                self.broker.log.io_done(ring, job, result, self.now);
            }
        }
    }

    /// The rest of the answer, window by window, decoded whole.
    fn answer<R: Request>(
        &mut self,
        version: i16,
        frame: &[u8],
        mut buf: Vec<u8>,
        (bytes, digest): (usize, u64),
    ) -> R::Response {
        let mut whole = buf.clone();
        while whole.len() < bytes {
            let window = Window { buf: &mut buf, from: whole.len() };
            let step = dispatch(&mut self.broker, &self.peer, frame, window, self.now);
            assert_eq!(step, Step::Reply { bytes, digest });
            whole.extend_from_slice(&buf);
        }
        whole.truncate(bytes);
        decoded::<R>(version, whole)
    }
}

/// The correlation id of all requests.
const CORRELATION_ID: i32 = 77;

fn opened(config: Config, disk: &Arc<Memory>, now: Now) -> Broker {
    let mut opening = Opening {
        now,
        entropy: &mut |buf| buf.fill(7),
        progress: &mut |_, _| {},
        unreadable_is_damaged: true,
    };
    let storage: Arc<dyn Storage> = Arc::<Memory>::clone(disk);
    let log = Log::open(&LogConfig::of(&config), storage, &mut opening).unwrap();
    Broker::new(config, log)
}

fn decoded<R: Request>(version: i16, whole: Vec<u8>) -> R::Response {
    let mut rest = bytes::Bytes::from(whole);
    let length = bytes::Buf::get_u32(&mut rest);
    assert_eq!(length as usize, rest.len());
    let header = ResponseHeader::decode(&mut rest, R::Response::header_version(version));
    assert_eq!(header.unwrap().correlation_id, CORRELATION_ID);
    let message = R::Response::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty());
    message
}

/// A request with its header.
pub fn frame_of<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(CORRELATION_ID)
        .with_client_id(Some(StrBytes::from_static_str("test")))
        .encode(&mut frame, R::header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    frame.put_slice(&[]);
    frame.to_vec()
}

impl Memory {
    fn failing(&self, doing: &'static str) -> Result<(), DiskError> {
        if self.fails.load(Ordering::Relaxed) { Err(DiskError { doing, os: 5 }) } else { Ok(()) }
    }
}

impl Storage for Memory {
    fn files(&self, ring: RingIndex) -> Result<Vec<(FileIndex, u64)>, DiskError> {
        let files = self.files.lock().unwrap();
        let of_ring = files.iter().filter(|((of, _), _)| *of == ring.0);
        let listed = of_ring.map(|((_, file), data)| (FileIndex(*file), data.len() as u64));
        Ok(listed.collect())
    }

    fn create(
        &self,
        file: FileRef,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DiskError> {
        let mut files = self.files.lock().unwrap();
        files.insert((file.ring.0, file.file.0), vec![0; bytes as usize]);
        progress(bytes);
        Ok(())
    }

    fn remove(&self, file: FileRef) -> Result<(), DiskError> {
        self.files.lock().unwrap().remove(&(file.ring.0, file.file.0));
        Ok(())
    }

    fn read(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let files = self.files.lock().unwrap();
        let data = &files[&(file.ring.0, file.file.0)];
        buf.copy_from_slice(&data[at as usize..at as usize + buf.len()]);
        Ok(())
    }

    fn read_cached(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<bool, DiskError> {
        self.read(file, at, buf).map(|()| true)
    }

    fn read_medium(&self, file: FileRef, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read(file, at, buf)
    }

    fn write(&self, file: FileRef, at: u64, parts: &[IoSlice<'_>]) -> Result<(), DiskError> {
        self.failing("write")?;
        let mut files = self.files.lock().unwrap();
        let data = files.get_mut(&(file.ring.0, file.file.0)).unwrap();
        let mut at = at as usize;
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut bytes_left = match self.cut.load(Ordering::Relaxed) {
            0 => usize::MAX,
            usize::MAX => 0,
            writes => {
                let is_cut = writes == 1;
                let next = if is_cut { usize::MAX } else { writes - 1 };
                self.cut.store(next, Ordering::Relaxed);
                let bytes: usize = parts.iter().map(|part| part.len()).sum();
                if is_cut { bytes / 2 } else { bytes }
            }
        };
        for part in parts {
            let part = &part[..part.len().min(bytes_left)];
            bytes_left -= part.len();
            data[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn sync(&self, _file: FileRef) -> Result<(), DiskError> {
        self.failing("sync")
    }
}
