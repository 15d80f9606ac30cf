//! A long produce request as a connection reads it: a few bytes of its structure at a time, and the
//! records of one partition. And requests to read in that way.

use brooklet::api::Window;
use brooklet::api::produce::{Front, Long, Next, Staged};
use brooklet::broker::{Broker, Peer};
use brooklet::clock::Now;
use brooklet::types::{HeldBack, Until};
use kafka_protocol::messages::ProduceRequest;

use crate::host::{Host, NOON_MS, PLAIN, Sequenced, batch};
use crate::produce::produce;

/// One request, of which more and more has arrived.
pub struct Stream<'f> {
    long: Long,
    list: Vec<u8>,
    front: Vec<u8>,
    /// What has not arrived.
    coming: &'f [u8],
    /// What was not consumed, arrived or not.
    left: usize,
    records: Option<usize>,
    skip: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Staged(Until),
    /// Everybody else has a turn.
    Turn,
    Held(HeldBack),
    Again(Until),
    /// Nothing more comes.
    Cut,
    /// An answer is due, or none.
    End(bool),
}

impl<'f> Stream<'f> {
    pub fn new(frame: &'f [u8]) -> Stream<'f> {
        Stream {
            long: Long::default(),
            list: vec![0; 400],
            front: Vec::new(),
            coming: frame,
            left: frame.len(),
            records: None,
            skip: 0,
        }
    }

    /// Of which only the beginning ever arrives.
    pub fn cut(self, at: usize) -> Stream<'f> {
        Stream { coming: &self.coming[..at], ..self }
    }

    /// Whether records are kept for a partition that is not staged.
    pub fn has_records(&self) -> bool {
        self.front.len() > 256
    }

    /// Goes on until something happens. `piece` says how many bytes arrive together.
    pub fn step(
        &mut self,
        host: &mut Host,
        piece: &mut dyn FnMut() -> usize,
    ) -> Result<Event, &'static str> {
        let peer = host.peer();
        self.go(&mut host.broker, &peer, host.now, piece)
    }

    /// The same, without a host.
    pub fn go(
        &mut self,
        broker: &mut Broker,
        peer: &Peer,
        now: Now,
        piece: &mut dyn FnMut() -> usize,
    ) -> Result<Event, &'static str> {
        loop {
            if self.skip > 0 {
                if self.front.is_empty() && !self.receive(piece(), usize::MAX) {
                    return Ok(Event::Cut);
                }
                let bytes = self.skip.min(self.front.len());
                self.consume(bytes);
                self.skip -= bytes;
                continue;
            }
            if let Some(bytes) = self.records {
                while self.front.len() < bytes {
                    if !self.receive(piece(), bytes) {
                        return Ok(Event::Cut);
                    }
                }
                let records = &self.front[..bytes];
                match self.long.stage(broker, peer, records, &mut self.list, now) {
                    Staged::Turn => return Ok(Event::Turn),
                    Staged::Done(until) => {
                        self.records = None;
                        self.consume(bytes);
                        return Ok(Event::Staged(until));
                    }
                    Staged::Again(until) => return Ok(Event::Again(until)),
                    Staged::Held(held_back) => return Ok(Event::Held(held_back)),
                }
            }
            let seen = self.front.len().min(self.left);
            let front = Front { bytes: &self.front[..seen], left: self.left };
            let next = self.long.next(broker, peer, front, &mut self.list, now);
            let (taken, next) = next.map_err(|malformed| malformed.0)?;
            self.consume(taken);
            match next {
                Next::More => {
                    assert!(self.front.len() < Long::FRONT_BYTES_MAX, "more than it may ask for");
                    if !self.receive(piece(), Long::FRONT_BYTES_MAX) {
                        return Ok(Event::Cut);
                    }
                }
                Next::Skip(bytes) => self.skip = bytes,
                Next::Wider => {
                    let mut wider = vec![0; self.list.len() * 2];
                    self.long.widen(&self.list, &mut wider);
                    self.list = wider;
                }
                Next::Records(bytes) => self.records = Some(bytes),
                Next::Again(until) => return Ok(Event::Again(until)),
                Next::Held(held_back) => return Ok(Event::Held(held_back)),
                Next::End { answered } => return Ok(Event::End(answered)),
            }
        }
    }

    /// Goes on to the end, whatever has to be waited for; gives the answer, if there is one.
    pub fn finish(
        &mut self,
        host: &mut Host,
        piece: &mut dyn FnMut() -> usize,
    ) -> Result<Option<Vec<u8>>, &'static str> {
        let answered = loop {
            match self.step(host, piece)? {
                Event::Staged(_) | Event::Turn => {}
                Event::Again(until) => {
                    host.settle(&until);
                }
                Event::Held(_) => return Err("held"),
                Event::Cut => return Err("cut"),
                Event::End(answered) => break answered,
            }
        };
        if !answered {
            return Ok(None);
        }
        while let Some(until) = self.pending(&host.broker) {
            host.settle(&until);
        }
        Ok(Some(self.answer()))
    }

    /// What the answer waits for; none: it can be made.
    pub fn pending(&mut self, broker: &Broker) -> Option<Until> {
        self.long.settle(broker, &mut self.list)
    }

    /// The answer, made a few bytes at a time, as for a client that reads slowly.
    pub fn answer(&self) -> Vec<u8> {
        let mut answer = Vec::new();
        loop {
            let mut buf = [0; 1000];
            let out = Window { buf: &mut buf, from: answer.len() };
            let bytes = self.long.answer(&self.list, out);
            let part = (bytes - answer.len()).min(buf.len());
            answer.extend_from_slice(&buf[..part]);
            if answer.len() == bytes {
                return answer;
            }
        }
    }

    /// Lets bytes arrive, as long as no more than `max` are kept; false: there are none.
    fn receive(&mut self, bytes: usize, max: usize) -> bool {
        let room = max.saturating_sub(self.front.len());
        let bytes = bytes.min(room).min(self.coming.len());
        let (arrived, coming) = self.coming.split_at(bytes);
        self.front.extend_from_slice(arrived);
        self.coming = coming;
        bytes > 0
    }

    fn consume(&mut self, bytes: usize) {
        self.front.drain(..bytes);
        self.left -= bytes;
    }
}

/// Reads and answers a whole request.
pub fn long(
    host: &mut Host,
    frame: &[u8],
    piece: &mut dyn FnMut() -> usize,
) -> Result<Option<Vec<u8>>, &'static str> {
    Stream::new(frame).finish(host, piece)
}

/// Numbers that a seed repeats.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

/// A request of a few partitions, some of them wrong.
pub fn request(dice: &mut Dice) -> ProduceRequest {
    let acks = [-1, -1, 1, 1, 0, 7][dice.below(6)];
    let mut request = produce(acks, "t", &[]);
    request.topic_data.clear();
    if dice.below(3) == 0 {
        request.transactional_id = Some(kafka_protocol::messages::TransactionalId(
            kafka_protocol::protocol::StrBytes::from_string("x".repeat(dice.below(400))),
        ));
    }
    for _ in 0..dice.below(4) {
        let names = ["t", "t", "arrival", "relaxed", "low", "unknown", "__consumer_offsets"];
        let name = names[dice.below(names.len())];
        let partitions: Vec<_> = (0..dice.below(4)).map(|_| partition(dice)).collect();
        request.topic_data.extend(produce(acks, name, &partitions).topic_data);
    }
    request
}

fn partition(dice: &mut Dice) -> (i32, Option<Vec<u8>>) {
    let index = [0, 0, 1, 1, 9, -1][dice.below(6)];
    let first = dice.below(4) as i32;
    let from = [PLAIN, PLAIN, Sequenced { id: 5, epoch: 0, first }][dice.below(3)];
    let value = vec![dice.below(256) as u8; [0, 20, 200, 2000][dice.below(4)]];
    let ms = [NOON_MS, NOON_MS, NOON_MS + 7_200_000, -1][dice.below(4)];
    let mut records = batch(from, ms, &vec![&value[..]; 1 + dice.below(3)]);
    match dice.below(12) {
        0 => return (index, None),
        1 => records.clear(),
        2 => records.extend(batch(PLAIN, NOON_MS, &[b"v"])),
        3 => records.truncate(dice.below(records.len())),
        4 | 5 => {
            let at = dice.below(records.len());
            records[at] ^= 1 << dice.below(8);
        }
        _ => {}
    }
    (index, Some(records))
}
