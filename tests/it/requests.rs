//! Random requests of all keys, from many clients at once, against small tables and a disk that fails
//! now and then: nothing panics, every request is answered or its connection closed, and what is
//! kept for clients stays within its bounds. `SEED=… REQUESTS=…` repeat a run, or make it longer.

mod generate;

use std::collections::BTreeMap;
use std::sync::Arc;

use brooklet::api::{self, APIS, Asked, Step, Window};
use brooklet::broker::{Broker, ConnId, JobNext, Partly, Peer};
use brooklet::clock::{Mono, Now};
use brooklet::config::{Config, RingConfig};
use brooklet::limits;
use brooklet::log::recovery::Opening;
use brooklet::log::{Log, LogConfig};
use brooklet::storage::sim::{Failing, Op, SimStorage};
use brooklet::storage::{Storage, WriteJob};
use brooklet::types::{Settle, Until};
use kafka_protocol::messages::{ConsumerGroupHeartbeatResponse, JoinGroupResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};

use crate::long::stream::{Event, Stream};
use crate::oracle::schema::{self, Schema, Side};
use crate::reads::rig;
use generate::{Dice, Known};

#[test]
fn every_request_of_every_key_is_answered_or_closes_its_connection() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let requests = number("REQUESTS").unwrap_or(40_000);
    println!("SEED={seed} REQUESTS={requests}");
    let mut world = World::new(seed);
    while world.asked < requests {
        world.step();
    }
    world.end();
    assert!(world.long_ones > 100 || requests < 40_000, "{} long requests", world.long_ones);
    for api in APIS {
        let seen = world.answered.get(&api.key).copied().unwrap_or(0);
        assert!(seen > 0 || requests < 40_000, "{} was never answered", api.name);
    }
}

/// A broker and its clients.
struct World {
    broker: Broker,
    disk: Arc<SimStorage>,
    dice: Dice,
    known: Known,
    schemas: Vec<Schema>,
    clients: Vec<Client>,
    /// What was done of their requests that are to be asked again.
    partly: [Partly; CLIENTS as usize],
    /// A write that the disk has in hand.
    out: Option<WriteJob>,
    now: Now,
    asked: u64,
    /// Those that are longer than a small buffer.
    long_ones: u64,
    answered: BTreeMap<i16, u64>,
    window: Vec<u8>,
}

/// What a client waits for.
#[derive(Debug, Clone)]
enum Client {
    Idle,
    /// The answer, which waits for a sync.
    Owed {
        frame: Vec<u8>,
        answer: Vec<u8>,
        until: Until,
    },
    /// To be asked again.
    Again {
        frame: Vec<u8>,
        until: Until,
        tries: u32,
    },
    /// Its job, asleep.
    Asleep {
        frame: Vec<u8>,
        until: Mono,
    },
}

const CLIENTS: u16 = 12;
const PRODUCE_BYTES_MAX: usize = 40 << 10;
const FRAME_BYTES_MAX: usize = 1 << 20;
const TICKS_MAX: u32 = 16;

impl World {
    fn new(seed: u64) -> World {
        let small = RingConfig {
            segments: 3,
            spares: 2,
            segment_bytes: 4 << 20,
            ..Config::default().rings[0].clone()
        };
        let config = Config {
            rings: vec![small],
            topics_max: 4,
            partitions_max: 12,
            groups_max: 3,
            group_members_max: 6,
            group_members_bytes: 4096,
            offsets_max: 8,
            offset_metadata_bytes: 12 << 10,
            producers_max: 4,
            fetch_waits_max: 32,
            max_connections: CLIENTS.into(),
            message_max_bytes: 16 << 10,
            socket_request_max_bytes: FRAME_BYTES_MAX,
            commit_group_max_bytes: 40 << 10,
            ..Config::default()
        };
        let disk = Arc::new(SimStorage::new(seed));
        let now = Now { mono: Mono(1), wall_ms: 1_000_000, wall_synchronised: true };
        let storage: Arc<dyn Storage> = Arc::<SimStorage>::clone(&disk);
        let mut opening = Opening {
            now,
            entropy: &mut |buf| buf.fill(7),
            progress: &mut |_, _| {},
            unreadable_is_damaged: true,
        };
        let log = Log::open(&LogConfig::of(&config), storage, &mut opening).unwrap();
        World {
            broker: Broker::new(config, log),
            disk,
            dice: Dice(seed.max(1)),
            known: Known::default(),
            schemas: APIS.iter().map(|api| schema::load(api.name, Side::Request)).collect(),
            clients: vec![Client::Idle; CLIENTS.into()],
            partly: [Partly::default(); CLIENTS as usize],
            out: None,
            now,
            asked: 0,
            long_ones: 0,
            answered: BTreeMap::new(),
            window: vec![0; brooklet::limits::ANSWER_WINDOW_BYTES],
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..70 => {
                let conn = self.dice.below(CLIENTS.into()) as u16;
                if matches!(self.clients[usize::from(conn)], Client::Idle) {
                    self.ask(conn);
                }
            }
            70..80 => self.disk_step(),
            80..84 => {
                let ms = self.dice.pick(&[1, 10, 300, 300, 5000, 60_000, 400_000]);
                self.pass(ms);
            }
            84..86 => {
                let fails = self.dice.once_in(2);
                self.disk_fails(fails);
            }
            86..88 => {
                // A client goes away.
                let conn = self.dice.below(CLIENTS.into()) as u16;
                self.gone(conn);
            }
            _ => {}
        }
        self.look();
        self.check_bounds();
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall_ms += ms as i64;
        // A member with no time for rebalances makes the next step due at once.
        for _ in 0..TICKS_MAX {
            self.broker.tick(self.now);
            if self.broker.due() > self.now.mono {
                return;
            }
        }
        panic!("what is due is done");
    }

    fn gone(&mut self, conn: u16) {
        self.broker.job_cancel(ConnId(conn));
        self.clients[usize::from(conn)] = Client::Idle;
    }

    fn disk_fails(&self, fails: bool) {
        let failing = if fails { Failing::From(0) } else { Failing::Never };
        self.disk.fail(Op::Write, failing);
        self.disk.fail(Op::Sync, failing);
    }

    fn disk_step(&mut self) {
        match self.out.take() {
            Some(mut job) => {
                let result = job.run(&**self.broker.log.storage());
                self.broker.log.io_done(job.file.ring, job, result, self.now);
            }
            None => {
                let (log, now) = (&mut self.broker.log, self.now);
                self.out = log.rings().find_map(|ring| log.next_io(ring, now));
            }
        }
    }

    fn ask(&mut self, conn: u16) {
        self.asked += 1;
        // Every third writes records, so that groups are full now and then.
        let at = self.dice.below(APIS.len() as u64 * 3 / 2) as usize;
        let at = if at < APIS.len() { at } else { 0 };
        let api = &APIS[at];
        let mut version = api.min + self.dice.below((api.max - api.min + 1) as u64) as i16;
        if self.dice.once_in(100) {
            version = self.dice.pick(&[-1, 0, api.max + 1, i16::MAX]);
        }
        let id = self.asked as i32;
        let schema = &self.schemas[at];
        let frame = generate::request(api, schema, version, id, &mut self.dice, &self.known);
        self.long_ones += u64::from(frame.len() > limits::LEASE_BYTES);
        // Longer ones are not read into any buffer.
        let bytes_max = if api.key == 0 { PRODUCE_BYTES_MAX } else { FRAME_BYTES_MAX };
        if frame.len() <= bytes_max {
            self.partly[usize::from(conn)] = Partly::default();
            match frame[..2] {
                [0, 0] if self.dice.once_in(2) => self.long(conn, &frame),
                _ => self.dispatch(conn, frame, 0),
            }
        }
    }

    /// Has a produce request carried out as one that is too long to be here whole.
    fn long(&mut self, conn: u16, frame: &[u8]) {
        let mut stream = Stream::new(frame);
        let size = self.dice.pick(&[1, 10, 1000, 100_000]);
        loop {
            match stream.go(&mut self.broker, &rig::peer(conn), self.now, &mut || size) {
                Ok(Event::Staged(_) | Event::Turn) => {}
                Ok(Event::Again(until)) => self.settle(&until, frame),
                Ok(Event::End(false)) => return,
                Ok(Event::End(true)) => break,
                Ok(event) => panic!("{event:?}: {}", shown(frame)),
                Err(_) => return self.gone(conn),
            }
        }
        while let Some(until) = stream.pending(&self.broker) {
            self.settle(&until, frame);
        }
        let answer = stream.answer();
        self.answer(frame, &answer);
    }

    fn settle(&mut self, until: &Until, frame: &[u8]) {
        for _ in 0..1000 {
            if self.broker.log.settled(until) != Settle::Pending {
                return;
            }
            self.disk_step();
            self.pass(1);
        }
        panic!("waits for ever: {}", shown(frame));
    }

    fn dispatch(&mut self, conn: u16, frame: Vec<u8>, tries: u32) {
        let peer = Peer { partly: self.partly[usize::from(conn)], ..rig::peer(conn) };
        let window = Window { buf: &mut self.window, from: 0 };
        let step = api::dispatch(&mut self.broker, &peer, &frame, window, self.now);
        let client = match step {
            Step::Reply { bytes, digest } => {
                let answer = self.reply(conn, &frame, bytes, digest);
                if let Some(answer) = answer {
                    self.answer(&frame, &answer);
                }
                Client::Idle
            }
            Step::ReplyAfter { bytes, until } => {
                Client::Owed { frame, answer: self.window[..bytes].to_vec(), until }
            }
            Step::Again(until) => {
                assert_eq!(self.broker.log.settled(&until), Settle::Pending, "{}", shown(&frame));
                assert!(tries < 1000, "asked again for ever: {}", shown(&frame));
                Client::Again { frame, until, tries: tries + 1 }
            }
            Step::Partly(partly) => {
                assert!(partly.items > self.partly[usize::from(conn)].items, "{}", shown(&frame));
                assert_eq!(self.broker.log.settled(&partly.until), Settle::Pending);
                self.partly[usize::from(conn)] = partly;
                Client::Again { frame, until: partly.until, tries: tries + 1 }
            }
            Step::Job | Step::Wait(_) => return self.drive(conn, frame),
            Step::Long => {
                self.long(conn, &frame);
                Client::Idle
            }
            Step::NoReply => {
                assert_eq!(frame[..2], [0, 0], "only who wants no answer gets none");
                Client::Idle
            }
            Step::Close(_) => return self.gone(conn),
            Step::Held(_) => panic!("nobody holds this ring"),
        };
        self.clients[usize::from(conn)] = client;
    }

    /// The whole of an answer, window by window; none: it changed meanwhile.
    fn reply(&mut self, conn: u16, frame: &[u8], bytes: usize, digest: u64) -> Option<Vec<u8>> {
        let mut whole = self.window[..bytes.min(self.window.len())].to_vec();
        while whole.len() < bytes {
            let window = Window { buf: &mut self.window, from: whole.len() };
            let step = api::dispatch(&mut self.broker, &rig::peer(conn), frame, window, self.now);
            if step != (Step::Reply { bytes, digest }) {
                return None;
            }
            let more = (bytes - whole.len()).min(self.window.len());
            whole.extend_from_slice(&self.window[..more]);
        }
        Some(whole)
    }

    /// An answer begins with its length and repeats the request's number.
    fn answer(&mut self, frame: &[u8], answer: &[u8]) {
        let length = u32::from_be_bytes(answer[..4].try_into().unwrap());
        assert_eq!(length as usize + 4, answer.len(), "{}", shown(frame));
        assert_eq!(answer[4..8], frame[4..8], "{}", shown(frame));
        let key = i16::from_be_bytes([frame[0], frame[1]]);
        *self.answered.entry(key).or_default() += 1;
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        if key == 11 {
            let joined: JoinGroupResponse = decoded(version, &answer[4..]);
            self.learn(joined.generation_id, joined.member_id.to_string());
        }
        if key == 68 {
            let told: ConsumerGroupHeartbeatResponse = decoded(version, &answer[4..]);
            let id = told.member_id.filter(|_| told.error_code == 0).unwrap_or_default();
            self.learn(told.member_epoch, id.to_string());
        }
    }

    /// What a member is told when it joins: its generation or epoch, and its id.
    fn learn(&mut self, generation: i32, id: String) {
        if generation >= 0 {
            self.known.generation = generation;
        }
        if !id.is_empty() && !self.known.members.contains(&id) {
            self.known.members.push(id);
            if self.known.members.len() > 8 {
                self.known.members.remove(0);
            }
        }
    }

    /// Goes on with a job until it is done or sleeps.
    fn drive(&mut self, conn: u16, frame: Vec<u8>) {
        let mut buf = vec![0xee; 64 << 10];
        let (mut read, mut sent) = (None, Vec::new());
        let asked = asked(&frame);
        for _ in 0..100_000 {
            let next = match asked {
                Some(asked) => api::wait_step(&mut self.broker, ConnId(conn), asked, &mut buf),
                None => self.broker.job_step(ConnId(conn), &mut buf, read.take(), self.now),
            };
            match next {
                JobNext::Read { file, at, from, to } => {
                    read = Some(self.disk.read(file, at, &mut buf[from..to]));
                }
                JobNext::Send { from, to } => sent.extend_from_slice(&buf[from..to]),
                JobNext::Turn => {}
                JobNext::Buffer { large } => {
                    let long = self.broker.config.message_max_bytes;
                    buf.resize(if large { long } else { 64 << 10 }, 0);
                    buf.fill(0xee);
                }
                JobNext::Sleep(until) => {
                    assert!(until > self.now.mono, "{}", shown(&frame));
                    self.clients[usize::from(conn)] = Client::Asleep { frame, until };
                    return;
                }
                JobNext::Done => {
                    self.answer(&frame, &sent);
                    self.clients[usize::from(conn)] = Client::Idle;
                    return;
                }
                JobNext::Close(_) => return self.gone(conn),
            }
        }
        panic!("a job without an end: {}", shown(&frame));
    }

    /// Wakes whoever has something to do.
    fn look(&mut self) {
        while let Some(conn) = self.broker.woken() {
            if let Client::Asleep { frame, .. } = self.clients[usize::from(conn.0)].clone() {
                self.drive(conn.0, frame);
            }
        }
        for conn in 0..CLIENTS {
            match self.clients[usize::from(conn)].clone() {
                Client::Asleep { frame, until } if until <= self.now.mono => {
                    self.drive(conn, frame);
                }
                Client::Owed { frame, mut answer, until } => {
                    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
                    match self.broker.log.settled(&until) {
                        Settle::Pending => continue,
                        Settle::Done => self.answer(&frame, &answer),
                        Settle::Failed if number(0) == 0 => {
                            api::fail(number(0), number(2), &mut answer);
                            self.answer(&frame, &answer);
                        }
                        Settle::Failed => return self.dispatch(conn, frame, 0),
                    }
                    self.clients[usize::from(conn)] = Client::Idle;
                }
                Client::Again { frame, until, tries }
                    if self.broker.log.settled(&until) != Settle::Pending =>
                {
                    self.dispatch(conn, frame, tries);
                }
                _ => {}
            }
        }
    }

    /// What is kept for clients is what the tables have room for.
    fn check_bounds(&self) {
        let (broker, config) = (&self.broker, &self.broker.config);
        let state = broker.log.state();
        assert!(state.topics_len() <= config.topics_max);
        assert!(state.partitions_len() <= config.partitions_max);
        assert!(state.offsets_len() <= config.offsets_max);
        assert!(state.offset_metadata_bytes() <= config.offset_metadata_bytes);
        assert!(broker.groups.members_len() <= config.group_members_max);
        assert!(broker.groups.bytes_used() <= config.group_members_bytes);
        let asleep = self.clients.iter().filter(|client| matches!(client, Client::Asleep { .. }));
        assert!(broker.reads.waiting() <= asleep.count() as u64);
    }

    /// Everybody who waits is answered once the disk works and time passes; then nothing is left.
    fn end(&mut self) {
        self.disk_fails(false);
        for _ in 0..200 {
            self.pass(60_000);
            for _ in 0..8 {
                self.disk_step();
                self.look();
            }
        }
        for client in &self.clients {
            let frame = match client {
                Client::Idle => continue,
                Client::Owed { frame, .. }
                | Client::Again { frame, .. }
                | Client::Asleep { frame, .. } => frame,
            };
            panic!("never answered: {}", shown(frame));
        }
        assert_eq!((self.broker.reads.waiting(), self.broker.groups.members_len()), (0, 0));
        (0..CLIENTS).for_each(|conn| self.gone(conn));
        assert!(self.broker.reads.room(self.broker.config.fetch_waits_max), "all of it is back");
    }
}

/// An answer without its length, read by the oracle.
fn decoded<T: Decodable + HeaderVersion>(version: i16, answer: &[u8]) -> T {
    let mut rest = bytes::Bytes::copy_from_slice(answer);
    ResponseHeader::decode(&mut rest, T::header_version(version)).unwrap();
    let decoded = T::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty());
    decoded
}

/// What is kept of a request that waits for others of its group.
fn asked(frame: &[u8]) -> Option<Asked> {
    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let correlation_id = i32::from_be_bytes(frame[4..8].try_into().unwrap());
    let asked = Asked { key: number(0), version: number(2), correlation_id };
    Some(asked).filter(|asked| [11, 14].contains(&asked.key))
}

/// A request, as far as it helps.
fn shown(frame: &[u8]) -> String {
    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let begin = &frame[..frame.len().min(200)];
    format!("key {} version {}, {} bytes: {begin:?}", number(0), number(2), frame.len())
}
