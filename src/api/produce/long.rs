//! A produce request that is read as it comes: partition by partition, each carried out before the
//! next is looked at.
//!
//! Of its structure only the bytes at the front are needed, a few at a time; of the records, those of
//! one partition. What cannot be stored anyway is skipped without being kept: records for a partition
//! that is not there, or longer than there is memory for. Outcomes are gathered in a buffer of the
//! connection's, and the answer is made of them at the end, once each is settled: partitions of one
//! request may be in several groups, and of those one may fail.
//!
//! - It may name as many partitions as there may be (`limits::PRODUCE_OUTCOME_BYTES`). Beyond that,
//!   or with a topic's name that is longer than any topic's, the connection is closed.
//! - The client's name and the transactional id are passed over, whatever is in them.
//! - A partition that is named twice is carried out twice, in the order of the request.

use super::outcomes::{self, Outcome, Outcomes, Used};
use super::stage::{Ask, Rules, Stage};
use super::{FAILED_UNSAID, PartitionProduceData, ProduceRequest, Room, slot_of};
use crate::api::{self, Malformed, Step, Window};
use crate::broker::allowed::Caller;
use crate::broker::{Broker, ConnId, Peer};
use crate::clock::Now;
use crate::codec::batch::{self, Checked, Refusal};
use crate::codec::{Decode, Error, ErrorsSeen, Reader, error_note};
use crate::limits;
use crate::types::{HeldBack, RingIndex, Settle, Until};

/// Where such a request is, and what of it was done.
#[derive(Default)]
pub struct Long {
    at: At,
    ask: Ask,
    correlation_id: i32,
    topics_left: u32,
    partitions_left: u32,
    /// The topic that is being read.
    name: heapless::String<{ limits::TOPIC_NAME_BYTES_MAX }>,
    /// How many partitions it has, as long as it was not noted with the outcomes.
    unnoted: Option<u32>,
    /// The partition that is being read.
    index: i32,
    /// What its records are, if that was found out.
    checked: Option<(bool, Checked)>,
    used: Used,
    /// What all that was placed waits for, and whether each part of it waits for the same.
    until: Option<Until>,
    various: bool,
    failed: bool,
    errors: ErrorsSeen,
}

/// What is left of a long request.
#[derive(Clone, Copy)]
pub struct Front<'a> {
    /// As much of it as is here; at first, from the API key on.
    pub bytes: &'a [u8],
    /// The bytes of all that is left.
    pub left: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default)]
enum At {
    #[default]
    Header,
    TransactionalId,
    Settings,
    Topic,
    Partitions,
    Partition,
    /// Records of so many bytes; none: null.
    Records(Option<usize>),
    /// Tags, then this.
    Tags(Then),
    Tag(u32, Then),
    End,
}

/// What comes after tags.
#[derive(Debug, Clone, Copy)]
enum Then {
    TransactionalId,
    Partition,
    Topic,
    End,
}

/// What a connection does next with a long request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Receive more: at most [`Long::FRONT_BYTES_MAX`] bytes have to be there.
    More,
    /// Pass over so many bytes, whatever they are.
    Skip(usize),
    /// Go on with a larger buffer for outcomes: see [`Long::widen`].
    Wider,
    /// Have so many bytes, and hand them to [`Long::stage`]; there is room for them now.
    Records(usize),
    /// Go on once this is settled, in whatever way.
    Again(Until),
    /// Go on when there is room, or with [`crate::broker::Peer::waited_out`] set.
    Held(HeldBack),
    /// That was all of it. Answer, if an answer is wanted.
    End {
        /// False: there is no answer (acks=0).
        answered: bool,
    },
}

/// What came of a partition's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// It is to be asked again when everybody else had a turn.
    Turn,
    /// The partition is done; the answer waits for this.
    Done(Until),
    /// Nothing was done: hand the records over again once this is settled.
    Again(Until),
    /// Nothing was done: hand them over when there is room, or with
    /// [`crate::broker::Peer::waited_out`] set.
    Held(HeldBack),
}

impl Long {
    /// The most bytes at its front that have to be seen together: a topic's name with its length, or
    /// where a partition's records begin, with the header of the first batch.
    pub const FRONT_BYTES_MAX: usize = limits::TOPIC_NAME_BYTES_MAX + 3;

    /// Reads on. `list`: the buffer of outcomes, the same each time. Gives how many of the bytes at
    /// the front were consumed.
    pub fn next(
        &mut self,
        broker: &mut Broker,
        peer: &Peer,
        front: Front<'_>,
        list: &mut [u8],
        now: Now,
    ) -> Result<(usize, Next), Malformed> {
        let mut r = Reader::new(front.bytes);
        let consumed = |r: &Reader<'_>| front.bytes.len() - r.rest().len();
        loop {
            let here = Front { bytes: r.rest(), left: front.left - consumed(&r) };
            match self.at {
                At::Records(bytes) => match self.records(broker, peer, bytes, here, list, now)? {
                    Some(next) => return Ok((consumed(&r), next)),
                    None => continue,
                },
                At::End => return self.end(broker, here.left).map(|next| (consumed(&r), next)),
                At::Header => {
                    if let Some(hidden) = hidden(broker, here.bytes, now)? {
                        return Ok((consumed(&r), Next::Again(hidden)));
                    }
                }
                _ => {}
            }
            let before = consumed(&r);
            r.set_version(self.ask.version, self.is_flexible());
            match self.token(&mut r, list) {
                Ok(Token::Whole | Token::Skip(0)) => {}
                Ok(Token::Skip(bytes)) if bytes > front.left - consumed(&r) => {
                    return Err(Error::Truncated.into());
                }
                Ok(Token::Skip(bytes)) => return Ok((consumed(&r), Next::Skip(bytes))),
                Ok(Token::Wider) => return Ok((before, Next::Wider)),
                Err(Error::Truncated) if here.may_go_on() => return Ok((before, Next::More)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stages the records that [`Next::Records`] announced, all of which are here.
    pub fn stage(
        &mut self,
        broker: &mut Broker,
        peer: &Peer,
        records: &[u8],
        list: &mut [u8],
        now: Now,
    ) -> Staged {
        let mut stage = Stage::new(self.ask, now);
        let slot = slot_of(broker, &self.name);
        let asked = PartitionProduceData { index: self.index, records: Some(records) };
        let done = match stage.rules(broker, &self.name, slot) {
            Ok(rules) => match self.check(&stage, broker, peer.conn, &rules, &asked) {
                None => return Staged::Turn,
                Some(Err(refusal)) => Err(refusal),
                Some(Ok(_)) if broker.mirror_waits(&self.name, records) => return Staged::Turn,
                Some(Ok(checked)) => {
                    let meta_bytes = broker.mirror_meta_bytes(&self.name, records);
                    let room = (records.len(), meta_bytes);
                    let waited_out = peer.waited_out;
                    match self.check_room(&mut stage, broker, rules.ring, room, waited_out) {
                        Err(Step::Again(until)) => return Staged::Again(until),
                        Err(Step::Held(held_back)) => return Staged::Held(held_back),
                        Err(_) | Ok(()) => {}
                    }
                    stage.partition(broker, &rules, &asked, &checked)
                }
            },
            Err(refusal) => Err(refusal),
        };
        broker.unpacker.release(peer.conn);
        if let Err(why) = done {
            self.refused(broker, records.len(), peer, why, now);
        }
        let placed = done.is_ok();
        self.note(Outcome { index: self.index, done }, list);
        if placed {
            let until = stage.until;
            self.various |= self.until.is_some_and(|before| before != until);
            let all = self.until.get_or_insert(until);
            all.merge(&until);
        }
        Staged::Done(stage.until)
    }

    /// Moves the outcomes to a larger buffer.
    pub fn widen(&self, from: &[u8], to: &mut [u8]) {
        outcomes::copy(self.used, from, to);
    }

    /// The request's version.
    pub fn version(&self) -> i16 {
        self.ask.version
    }

    /// What the whole answer waits for, if that fails or succeeds as one: as if the request had been
    /// staged whole. None: it is settled by [`Long::settle`].
    pub fn until(&self) -> Option<Until> {
        let waits = self.until.unwrap_or_default();
        (!self.various).then_some(waits)
    }

    /// Takes back what could not be stored; gives what is to be waited for before this is asked again,
    /// if anything is. Afterwards the outcomes stay as they are.
    pub fn settle(&self, broker: &Broker, list: &mut [u8]) -> Option<Until> {
        let mut pending = None;
        let shared = broker.log.shared();
        let ticket_in = |until: Until| until.tickets[usize::from(shared.0)];
        let reports = self.until.map(|until| Until::synced(shared, ticket_in(until)));
        Outcomes::begun(list, self.used).update(|outcome| {
            let Ok(placed) = outcome.done else {
                return outcome;
            };
            let own =
                Until { written: placed.written, ..Until::synced(placed.ring, placed.ticket) };
            let reports = reports.filter(|_| placed.reports);
            for until in [Some(own), reports].into_iter().flatten() {
                match broker.log.settled(&until) {
                    Settle::Done => {}
                    Settle::Pending => pending = Some(until),
                    Settle::Failed => return Outcome { done: Err(Refusal::Storage), ..outcome },
                }
            }
            outcome
        });
        pending
    }

    /// Writes the window's part of the answer; gives the whole answer's length.
    pub fn answer(&self, list: &[u8], out: Window<'_>) -> usize {
        let api = api::api_of(ProduceRequest::KEY).expect("it is served");
        let mut w = crate::codec::Writer::window(out.buf, out.from);
        let mut topics = outcomes::topics(list, self.used);
        let outcomes = outcomes::packed(list, self.used);
        api::answer_write(&mut w, api, self.ask.version, self.correlation_id, |w| {
            super::answer(w, self.ask.version, &mut topics, outcomes, true);
        });
        w.len()
    }

    /// Decides about records before they are read; none: go on with what is behind them.
    fn records(
        &mut self,
        broker: &mut Broker,
        peer: &Peer,
        bytes: Option<usize>,
        front: Front<'_>,
        list: &mut [u8],
        now: Now,
    ) -> Result<Option<Next>, Malformed> {
        let records_bytes = bytes.unwrap_or(0);
        if records_bytes > front.left {
            return Err(Error::Truncated.into());
        }
        let topic = self.unnoted.map(|_| self.name.as_str());
        if self.ask.acks != 0 && !Outcomes::begun(list, self.used).has_room(topic) {
            return Ok(Some(Next::Wider));
        }
        let mut stage = Stage::new(self.ask, now);
        let slot = slot_of(broker, &self.name);
        let rules = stage.rules(broker, &self.name, slot);
        let rules = match rules.and_then(|rules| {
            let refusal = self.refusal(broker, &rules, bytes, front.bytes);
            refusal.map_or(Ok(rules), Err)
        }) {
            Ok(rules) => rules,
            Err(refusal) => {
                self.refused(broker, records_bytes, peer, refusal, now);
                self.note(Outcome { index: self.index, done: Err(refusal) }, list);
                return Ok((records_bytes > 0).then_some(Next::Skip(records_bytes)));
            }
        };
        let beginning_bytes = records_bytes.min(batch::HEADER_BYTES);
        if records_bytes > rules.batch.batch_bytes_max && front.bytes.len() < beginning_bytes {
            return Ok(Some(Next::More));
        }
        let room = (records_bytes, 0);
        let waited_out = peer.waited_out;
        Ok(Some(match self.check_room(&mut stage, broker, rules.ring, room, waited_out) {
            Err(Step::Again(until)) => Next::Again(until),
            Err(Step::Held(held_back)) => Next::Held(held_back),
            Err(_) | Ok(()) => Next::Records(records_bytes),
        }))
    }

    /// What a check of the records gives, which is kept for when there is room for them. None: it goes on
    /// in another turn.
    fn check(
        &mut self,
        stage: &Stage,
        broker: &mut Broker,
        conn: ConnId,
        rules: &Rules,
        asked: &PartitionProduceData<'_>,
    ) -> Option<Result<Checked, Refusal>> {
        let compacted = rules.batch.compacted;
        if let Some((as_compacted, checked)) = self.checked
            && as_compacted == compacted
        {
            return Some(Ok(checked));
        }
        broker.unpacker.turn();
        let checked = stage.check(broker, conn, rules, asked).transpose()?;
        self.checked = checked.ok().map(|checked| (compacted, checked));
        Some(checked)
    }

    /// Whether so many bytes of records, and of what they report, can be staged now.
    fn check_room(
        &self,
        stage: &mut Stage,
        broker: &mut Broker,
        ring: RingIndex,
        (bytes, meta_bytes): (usize, usize),
        waited_out: bool,
    ) -> Result<(), Step> {
        let mut room = Room { meta_bytes, ..Room::default() };
        let topic = broker.log.state().topic_named(&self.name);
        room.add(ring, topic.is_some_and(|(_, topic)| topic.is_kept()), bytes);
        stage.check_room(broker, &room, waited_out)
    }

    /// Why records are refused, as far as that is known before they are read.
    fn refusal(
        &self,
        broker: &Broker,
        rules: &Rules,
        bytes: Option<usize>,
        front: &[u8],
    ) -> Option<Refusal> {
        let Some(bytes) = bytes else {
            return Some(rules.partition(broker, self.index).err().unwrap_or(Refusal::NoRecords));
        };
        if let Err(refusal) = rules.partition(broker, self.index) {
            return Some(refusal);
        }
        if bytes <= rules.batch.batch_bytes_max || front.len() < bytes.min(batch::HEADER_BYTES) {
            return None;
        }
        let refusal = batch::check_beginning(front, bytes, &rules.batch);
        // Several batches, each of which is short enough; they are read where there is memory for all.
        refusal.or((bytes > broker.config.message_max_bytes).then_some(Refusal::ManyBatches))
    }

    /// Says that the records of the partition that was read are refused; what the client calls itself is
    /// not known any more.
    fn refused(&self, broker: &Broker, bytes: usize, peer: &Peer, why: Refusal, now: Now) {
        let caller = Caller { key: 0, request: "Produce", client: "", remote: peer.remote };
        broker.records_refused((&self.name, self.index), bytes, &caller, why, now);
    }

    /// Notes what came of the partition that was read; its tags come next.
    fn note(&mut self, outcome: Outcome, list: &mut [u8]) {
        self.at = At::Tags(Then::Partition);
        self.partitions_left -= 1;
        self.checked = None;
        if let Err(refusal) = outcome.done {
            self.failed = true;
            error_note(&mut self.errors, refusal.code());
        }
        if self.ask.acks == 0 {
            return;
        }
        let mut list = Outcomes::begun(list, self.used);
        if let Some(partitions) = self.unnoted.take() {
            list.push_topic(&self.name, partitions);
        }
        list.push(outcome);
        self.used = list.used();
    }

    /// All of it was read.
    fn end(&mut self, broker: &mut Broker, left: usize) -> Result<Next, Malformed> {
        if left > 0 {
            return Err(Error::Trailing.into());
        }
        let answered = self.ask.acks != 0;
        broker.metrics.request(ProduceRequest::KEY);
        for code in self.errors.iter().filter(|code| answered && !code.is_none()) {
            broker.metrics.error(code.0);
        }
        if !answered && self.failed {
            return Err(Malformed(FAILED_UNSAID));
        }
        Ok(Next::End { answered })
    }

    fn is_flexible(&self) -> bool {
        self.ask.version >= ProduceRequest::FLEXIBLE_SINCE
    }

    /// Reads one piece of the structure. After an error nothing has changed.
    fn token(&mut self, r: &mut Reader<'_>, list: &mut [u8]) -> Result<Token, Error> {
        match self.at {
            At::Header => return self.header(r),
            At::TransactionalId => {
                let bytes = r.string_length()?;
                self.at = At::Settings;
                return Ok(Token::Skip(bytes.unwrap_or(0)));
            }
            At::Settings => {
                let (acks, timeout_ms) = (i16::decode_from(r)?, i32::decode_from(r)?);
                self.topics_left = r.array_count()?;
                (self.ask.acks, self.ask.timeout_ms) = (acks, timeout_ms);
                self.at = At::Topic;
            }
            At::Topic if self.topics_left == 0 => self.at = At::Tags(Then::End),
            At::Topic => {
                let name = <&str>::decode_from(r)?;
                self.name = name.try_into().map_err(|_| Error::Length)?;
                self.topics_left -= 1;
                self.at = At::Partitions;
            }
            At::Partitions => {
                self.partitions_left = r.array_count()?;
                self.unnoted = Some(self.partitions_left);
                self.at = At::Partition;
            }
            At::Partition if self.partitions_left == 0 => {
                // One without partitions is answered, too.
                if let Some(partitions) = self.unnoted.filter(|_| self.ask.acks != 0) {
                    let mut list = Outcomes::begun(list, self.used);
                    if !list.has_room(Some(&self.name)) {
                        return Ok(Token::Wider);
                    }
                    list.push_topic(&self.name, partitions);
                    self.used = list.used();
                }
                self.unnoted = None;
                self.at = At::Tags(Then::Topic);
            }
            At::Partition => {
                let index = i32::decode_from(r)?;
                self.at = At::Records(r.bytes_length()?);
                self.index = index;
            }
            At::Tags(then) => {
                let left = if self.is_flexible() { r.uvarint()? } else { 0 };
                if left as usize > limits::WIRE_TAGS_MAX {
                    return Err(Error::Length);
                }
                self.at = At::Tag(left, then);
            }
            At::Tag(0, then) => {
                self.at = match then {
                    Then::TransactionalId => At::TransactionalId,
                    Then::Partition => At::Partition,
                    Then::Topic => At::Topic,
                    Then::End => At::End,
                }
            }
            At::Tag(left, then) => {
                r.uvarint()?;
                let bytes = r.uvarint()? as usize;
                self.at = At::Tag(left - 1, then);
                return Ok(Token::Skip(bytes));
            }
            At::Records(_) | At::End => unreachable!("they are no part of the structure"),
        }
        Ok(Token::Whole)
    }

    fn header(&mut self, r: &mut Reader<'_>) -> Result<Token, Error> {
        // The client's name is never compact.
        r.set_version(1, false);
        let _key = i16::decode_from(r)?;
        let version = i16::decode_from(r)?;
        let correlation_id = i32::decode_from(r)?;
        let client_id_bytes = r.string_length()?.unwrap_or(0);
        (self.ask.version, self.correlation_id) = (version, correlation_id);
        self.at = At::Tags(Then::TransactionalId);
        Ok(Token::Skip(client_id_bytes))
    }
}

impl Front<'_> {
    /// Whether what is cut short here may be whole when more has come.
    fn may_go_on(&self) -> bool {
        self.bytes.len() < self.left.min(Long::FRONT_BYTES_MAX)
    }
}

/// What must be waited for before a request is begun; the version is looked at first.
fn hidden(broker: &mut Broker, front: &[u8], now: Now) -> Result<Option<Until>, Malformed> {
    let api = api::api_of(ProduceRequest::KEY).expect("it is served");
    if let [_, _, v0, v1, ..] = *front
        && !(api.min..=api.max).contains(&i16::from_be_bytes([v0, v1]))
    {
        return Err(api::VERSION_NOT_SERVED);
    }
    let hidden = broker.retention_tick(now);
    Ok((hidden != Until::default()).then_some(hidden))
}

/// A piece of the structure.
enum Token {
    Whole,
    /// It was read, but for so many bytes that nobody needs.
    Skip(usize),
    /// There is no room to note it.
    Wider,
}
