//! Produce (0): appends record batches. Versions 3–12; 0–2 are advertised but not served.
//!
//! - 5 adds the log start offset to the answer; 7 allows zstd; 8 adds errors per record; 9 is
//!   flexible; 10–12 change what is tagged or what brokers do in transactions.
//! - Versions 0–2 are in the advertised range only because librdkafka before 2.11 does not
//!   compress otherwise; their message formats are gone, and using them closes the connection.
//! - `acks` 1 and −1 are the same: both wait for the sync. `acks` 0 gets no answer at all; an
//!   error then closes the connection.
//! - The tagged leader and node endpoints (10+) are never sent: there is one broker.
//! - Errors per record are never sent: a batch is refused whole.
//! - One batch per partition, as in Kafka since version 3. Null records are INVALID_RECORD (87);
//!   Kafka does not answer them at all.
//! - Idempotent producers: a duplicate is answered with the offset of the first, once that is
//!   synced; gaps are 45, what is older than is remembered 46, old epochs 47.
//! - Timestamps too far ahead are INVALID_TIMESTAMP (32) only while our clock is right.
//! - A sync is waited for as long as it takes. But where a ring is full of what its holders have not
//!   had, a request for it waits for `timeout_ms`, and is answered with NOT_ENOUGH_REPLICAS (19)
//!   shortly before that is over; without acknowledgement it waits for ever.

mod held;

pub use held::held_back;

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::{Broker, topic_config, topics};
use crate::clock::Now;
use crate::codec::batch;
use crate::codec::{Array, Decode, Error, ErrorCode, List, ListWriter, Reader, frame, message};
use crate::limits;
use crate::log::producers::{Check, batch_of};
use crate::log::state::Topic;
use crate::log::{Append, StageError};
use crate::types::{HeldBack, Offset, RingIndex, Ticket, TopicSlot, Until};

message! {
    /// Batches per partition.
    request ProduceRequest<'a>, key 0, flexible 9+ {
        transactional_id: Option<&'a str>, 3+, nullable 3+;
        acks: i16, 0+;
        timeout_ms: i32, 0+;
        topic_data: Array<'a, TopicProduceData<'a>>, 0+;
    }

    /// The partitions of one topic.
    request TopicProduceData<'a> {
        name: &'a str, 0+;
        partition_data: Array<'a, PartitionProduceData<'a>>, 0+;
    }

    /// The batches of one partition.
    request PartitionProduceData<'a> {
        index: i32, 0+;
        records: Option<&'a [u8]>, 0+, nullable 0+;
    }

    /// Where the batches went.
    response ProduceResponse<'a>, key 0, flexible 9+ {
        responses: List<'a, TopicProduceResponse<'static>>, 0+;
        throttle_time_ms: i32, 1+;
    }

    /// The partitions of one topic.
    response TopicProduceResponse<'a> {
        name: &'a str, 0+;
        partition_responses: List<'a, PartitionProduceResponse<'static>>, 0+;
    }

    /// One partition.
    response PartitionProduceResponse<'a> {
        index: i32, 0+;
        error_code: ErrorCode, 0+;
        base_offset: i64, 0+;
        log_append_time_ms: i64, 2+;
        log_start_offset: i64, 5+;
        record_errors: List<'a, BatchIndexAndErrorMessage<'static>>, 8+;
        error_message: Option<&'a str>, 8+, nullable 8+;
    }

    /// A record that was refused.
    response BatchIndexAndErrorMessage<'a> {
        batch_index: i32, 8+;
        batch_index_error_message: Option<&'a str>, 8+, nullable 8+;
    }
}

/// Appends batches.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = ProduceRequest::decode(&mut request.reader(), request.version)?;
    let demand = Demand::of(broker, &ask);
    if ask.acks != 0 && demand.answer_bytes > out.buf.len() {
        return Err(Malformed("more partitions than an answer has room for"));
    }
    let mut produce = Produce::new(&ask, request.version, now);
    // Errors are explained where the answer has room for it.
    produce.explains = demand.answer_bytes + demand.partitions * WHY_BYTES_MAX <= out.buf.len();
    if !(-1..=1).contains(&ask.acks) {
        produce.refusal = Some(refusal(ErrorCode::INVALID_REQUIRED_ACKS, "acks is not -1, 0 or 1"));
    } else if let Err(step) = produce.check_room(broker, &demand, request.peer.waited_out) {
        return Ok(step);
    }

    let encode = |w: &mut crate::codec::Writer<'_>| {
        ProduceResponse {
            responses: &mut |list| {
                for topic in walk(ask.topic_data, demand.only.map(|only| only.0)) {
                    let rules = produce.rules(broker, topic.name);
                    list.push(TopicProduceResponse {
                        name: topic.name,
                        partition_responses: &mut |list| {
                            let only = demand.only.map(|only| only.1);
                            let partitions = walk(topic.partition_data, only);
                            produce.topic(broker, &rules, partitions, list);
                        },
                    });
                }
            },
            throttle_time_ms: 0,
        }
        .encode(w, request.version);
    };
    if ask.acks == 0 {
        request.answer_bytes(encode);
        let failed = Step::Close("a produce request without acknowledgement failed");
        return Ok(if produce.failed { failed } else { Step::NoReply });
    }
    let bytes = request.answer(out, encode);
    let until = produce.until;
    Ok(if until.tickets == Until::default().tickets {
        Step::Reply { bytes }
    } else {
        Step::ReplyAfter { bytes, until }
    })
}

/// What a request needs at the most.
#[derive(Default)]
struct Demand<'a> {
    /// All that there is, if that is one partition: as most requests are, it is not decoded again.
    only: Option<(TopicProduceData<'a>, PartitionProduceData<'a>)>,
    answer_bytes: usize,
    partitions: usize,
    payload_bytes: [usize; limits::RINGS_MAX],
    runs: [usize; limits::RINGS_MAX],
    /// Whether some of that is kept for the ring's holders.
    kept: [bool; limits::RINGS_MAX],
    /// What the reports of mirrors take in the shared ring.
    meta_bytes: usize,
}

impl<'a> Demand<'a> {
    fn of(broker: &Broker, ask: &ProduceRequest<'a>) -> Demand<'a> {
        let mut demand = Demand { answer_bytes: ANSWER_AROUND_BYTES, ..Demand::default() };
        for topic in ask.topic_data {
            let found = broker.log.state().topic_named(topic.name);
            let ring = found.map(|(_, topic)| usize::from(topic.ring.0));
            demand.answer_bytes += ANSWER_TOPIC_BYTES + topic.name.len();
            demand.answer_bytes += ANSWER_PARTITION_BYTES * topic.partition_data.len();
            demand.partitions += topic.partition_data.len();
            for partition in topic.partition_data {
                if let (Some(ring), Some(records)) = (ring, partition.records) {
                    demand.payload_bytes[ring] += records.len();
                    demand.runs[ring] += 1;
                    demand.kept[ring] |= broker.log.keeps(RingIndex(ring as u8), topic.name);
                    demand.meta_bytes += broker.mirror_meta_bytes(topic.name, records);
                }
                demand.only = (ask.topic_data.len() == 1).then_some((topic, partition));
            }
        }
        demand.only.take_if(|_| demand.partitions != 1);
        demand
    }
}

/// Walks an array; `only` is its one element, if it was decoded before.
fn walk<'a, T: Decode<'a>>(array: Array<'a, T>, only: Option<T>) -> impl Iterator<Item = T> {
    let rest = if only.is_some() { Array::default() } else { array };
    only.into_iter().chain(rest)
}

/// What one topic's settings say of what may be produced to it.
struct Rules {
    slot: TopicSlot,
    ring: RingIndex,
    batch: batch::Rules,
    /// Set for LogAppendTime.
    append_time_ms: Option<i64>,
    /// Otherwise timestamps must lie between these.
    timestamp_ms_min: i64,
    timestamp_ms_max: i64,
    relaxed_ms: Option<u64>,
    replicas_missing: bool,
    /// Whether a mirror reports there what it has.
    reports: bool,
}

/// Where one batch is.
struct Placed {
    offset: Offset,
    append_time_ms: Option<i64>,
    log_start: Offset,
}

/// A request while it is carried out.
struct Produce {
    acks: i16,
    timeout_ms: i32,
    version: i16,
    now: Now,
    explains: bool,
    /// Nothing can be done at all: the answer to everything.
    refusal: Option<batch::Refusal>,
    /// Rings that can take nothing, and why.
    closed: [Option<batch::Refusal>; limits::RINGS_MAX],
    /// Why reports of mirrors cannot be taken, if so.
    reports_closed: Option<batch::Refusal>,
    until: Until,
    failed: bool,
}

impl Produce {
    fn new(ask: &ProduceRequest<'_>, version: i16, now: Now) -> Produce {
        Produce {
            acks: ask.acks,
            timeout_ms: ask.timeout_ms,
            version,
            now,
            explains: false,
            refusal: None,
            closed: [None; limits::RINGS_MAX],
            reports_closed: None,
            until: Until { written: true, ..Until::default() },
            failed: false,
        }
    }

    /// Whether all that is good of the request can be staged now; else what to wait for.
    /// `waited_out`: it has waited for room in a held ring as long as it may.
    fn check_room(
        &mut self,
        broker: &mut Broker,
        demand: &Demand<'_>,
        waited_out: bool,
    ) -> Result<(), Step> {
        for (place, runs) in demand.runs.iter().enumerate().filter(|(_, runs)| **runs > 0) {
            let ring = RingIndex(place as u8);
            match broker.log.room(ring, demand.payload_bytes[place], *runs, demand.kept[place]) {
                Ok(()) => {}
                Err(StageError::Full(ticket)) => {
                    return Err(Step::Again(Until::written(ring, ticket)));
                }
                Err(StageError::Storage) => self.closed[place] = Some(STORAGE),
                Err(StageError::TooLarge) => self.closed[place] = Some(TOO_LARGE),
                Err(StageError::Held) if waited_out => self.closed[place] = Some(HELD),
                Err(StageError::Held) => {
                    broker.hold_begins(ring, self.now);
                    let wait_ms = held::wait_ms(self.acks, self.timeout_ms);
                    return Err(Step::Held(HeldBack { ring, wait_ms }));
                }
            }
        }
        if demand.meta_bytes > 0 {
            match broker.log.room_meta(topics::SHARED_RING, demand.meta_bytes) {
                Err(StageError::Full(ticket)) => {
                    return Err(Step::Again(Until::written(topics::SHARED_RING, ticket)));
                }
                // What cannot be stored is sent again, and its reports with it.
                Err(_) => self.reports_closed = Some(STORAGE),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn rules(&self, broker: &mut Broker, name: &str) -> Result<Rules, batch::Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        if topics::is_internal(name) {
            let why = "this topic is not for clients to write to";
            return Err(refusal(ErrorCode::INVALID_TOPIC_EXCEPTION, why));
        }
        let config = &broker.config;
        let (slot, topic) = broker.log.state().topic_named(name).ok_or(UNKNOWN)?;
        let appends = topic_config::append_time(topic, config);
        let (before_ms, after_ms) = topic_config::timestamp_ms_max(topic, config);
        let right = broker.clock_right(self.now);
        let bound = |ms: i64, usual| if right && !appends { ms } else { usual };
        let rules = Rules {
            slot,
            ring: topic.ring,
            batch: self.batch_rules(broker, topic),
            append_time_ms: None,
            timestamp_ms_min: bound(self.now.wall_ms.saturating_sub(before_ms), i64::MIN),
            timestamp_ms_max: bound(self.now.wall_ms.saturating_add(after_ms), i64::MAX),
            relaxed_ms: topic_config::relaxed_ms(topic),
            reports: broker.is_mirror_topic(name),
            replicas_missing: self.acks == ACKS_ALL && topic_config::insync_replicas_min(topic) > 1,
        };
        let append_time_ms = appends.then(|| broker.append_time_ms(self.now));
        Ok(Rules { append_time_ms, ..rules })
    }

    fn batch_rules(&self, broker: &Broker, topic: &Topic) -> batch::Rules {
        batch::Rules {
            batch_bytes_max: topic_config::message_bytes_max(topic, &broker.config),
            zstd_allowed: self.version >= ZSTD_SINCE,
        }
    }

    /// Appends to the partitions of a topic, and answers.
    fn topic<'a>(
        &mut self,
        broker: &mut Broker,
        rules: &Result<Rules, batch::Refusal>,
        partitions: impl Iterator<Item = PartitionProduceData<'a>>,
        list: &mut ListWriter<'_, '_, PartitionProduceResponse<'static>>,
    ) {
        for partition in partitions {
            let done = match rules {
                Ok(rules) => self.partition(broker, rules, &partition),
                Err(refusal) => Err(*refusal),
            };
            self.failed |= done.is_err();
            let placed = done.as_ref().ok();
            let refusal = done.as_ref().err();
            let explained = refusal.filter(|_| self.explains);
            list.push(PartitionProduceResponse {
                index: partition.index,
                error_code: refusal.map_or(ErrorCode::NONE, |refusal| refusal.code),
                base_offset: placed.map_or(-1, |placed| placed.offset.0),
                log_append_time_ms: placed.and_then(|p| p.append_time_ms).unwrap_or(-1),
                log_start_offset: placed.map_or(-1, |placed| placed.log_start.0),
                record_errors: &mut |_| {},
                error_message: explained.map(|refusal| refusal.message),
            });
        }
    }

    fn partition(
        &mut self,
        broker: &mut Broker,
        rules: &Rules,
        asked: &PartitionProduceData<'_>,
    ) -> Result<Placed, batch::Refusal> {
        let state = broker.log.state();
        let index = u32::try_from(asked.index).map_err(|_| UNKNOWN)?;
        let slot = state.partition_of(rules.slot, index).ok_or(UNKNOWN)?;
        let log_start = state.partition(slot).ok_or(UNKNOWN)?.log_start;
        let batches = asked.records.ok_or(NO_RECORDS)?;
        let checked = batch::check(batches, &rules.batch)?;
        let batch = batch::batches(batches).next().ok_or(NO_RECORDS)?;
        let header = batch.header;
        if checked.batches != 1 {
            let why = "one record batch per partition";
            return Err(refusal(ErrorCode::INVALID_RECORD, why));
        }
        let corrected_ms =
            if checked.max_timestamps_hold { None } else { batch.newest_timestamp() };
        let newest_ms = corrected_ms.unwrap_or(header.max_timestamp);
        rules.check_timestamps(header.base_timestamp, newest_ms)?;
        if rules.replicas_missing {
            let why = "min.insync.replicas is above 1, and there is one replica";
            return Err(refusal(ErrorCode::NOT_ENOUGH_REPLICAS, why));
        }
        // Judged here and not before: the request may have another batch of the same producer.
        let sequenced = batch_of(&header, Offset::NONE);
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        if let Some(batch) = sequenced {
            let (first, last) = (batch.sequence_first, batch.sequence_last);
            match state.producers.check(id, epoch, slot, first, last) {
                Check::Append => {}
                Check::Duplicate { offset, ticket } => {
                    self.wait(rules, ticket);
                    self.reports(broker, rules, batches);
                    return Ok(Placed { offset, append_time_ms: None, log_start });
                }
                Check::DuplicateOld => return Err(DUPLICATE_OLD),
                Check::OutOfOrder => return Err(OUT_OF_ORDER),
                Check::EpochOld => return Err(EPOCH_OLD),
            }
        }
        let closed = self.closed[usize::from(rules.ring.0)];
        if let Some(closed) = closed.or(self.reports_closed.filter(|_| rules.reports)) {
            return Err(closed);
        }
        let append = Append {
            slot,
            batches,
            newest_ms: corrected_ms,
            append_time_ms: rules.append_time_ms,
            relaxed_ms: rules.relaxed_ms,
        };
        // There was room, so it is the disk that fails.
        let appended = broker.log.append(&append, self.now).map_err(|_| STORAGE)?;
        if let Some(batch) = batch_of(&header, appended.offset) {
            let newest_ms = rules.append_time_ms.unwrap_or(newest_ms);
            broker.log.producer_staged(slot, id, epoch, batch, newest_ms, appended.ticket);
        }
        self.wait(rules, appended.ticket);
        self.reports(broker, rules, batches);
        let append_time_ms = rules.append_time_ms;
        Ok(Placed { offset: appended.offset, append_time_ms, log_start })
    }

    /// A mirror's reports are on flash before it is told that they are.
    fn reports(&mut self, broker: &mut Broker, rules: &Rules, batches: &[u8]) {
        if !rules.reports {
            return;
        }
        let topic = broker.log.state().topic(rules.slot).map(|topic| topic.name.clone());
        let ticket = topic.and_then(|topic| broker.mirror_reports(&topic, batches, self.now));
        if let Some(ticket) = ticket {
            self.until.add(topics::SHARED_RING, ticket);
            self.until.written = false;
        }
    }

    fn wait(&mut self, rules: &Rules, ticket: Ticket) {
        self.until.add(rules.ring, ticket);
        self.until.written &= rules.relaxed_ms.is_some();
    }
}

impl Rules {
    fn check_timestamps(&self, first_ms: i64, newest_ms: i64) -> Result<(), batch::Refusal> {
        let good = |ms| {
            ms == NO_TIMESTAMP || (self.timestamp_ms_min..=self.timestamp_ms_max).contains(&ms)
        };
        if good(first_ms) && good(newest_ms) {
            Ok(())
        } else {
            let why = "a timestamp is too far from the broker's clock";
            Err(refusal(ErrorCode::INVALID_TIMESTAMP, why))
        }
    }
}

const fn refusal(code: ErrorCode, message: &'static str) -> batch::Refusal {
    batch::Refusal { code, message }
}

const ACKS_ALL: i16 = -1;
const NO_TIMESTAMP: i64 = -1;
const ZSTD_SINCE: i16 = 7;

/// The answer's size prefix, header, count, throttle time and tags, at the most.
const ANSWER_AROUND_BYTES: usize = 32;
/// A topic's lengths and tags beside its name, at the most.
const ANSWER_TOPIC_BYTES: usize = 16;
/// A partition without a message, at the most: numbers of 4, 2 and 3 times 8 bytes, lengths, tags.
const ANSWER_PARTITION_BYTES: usize = 40;
/// The longest explanation of an error.
const WHY_BYTES_MAX: usize = 64;

const UNKNOWN: batch::Refusal =
    refusal(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
const NO_RECORDS: batch::Refusal = refusal(ErrorCode::INVALID_RECORD, "there are no records");
const STORAGE: batch::Refusal =
    refusal(ErrorCode::KAFKA_STORAGE_ERROR, "the broker's storage is failing");
const TOO_LARGE: batch::Refusal =
    refusal(ErrorCode::MESSAGE_TOO_LARGE, "the request exceeds commit_group_max_bytes");
const HELD: batch::Refusal = refusal(
    ErrorCode::NOT_ENOUGH_REPLICAS,
    "the ring is full, and held for who has not had its records",
);
const OUT_OF_ORDER: batch::Refusal = refusal(
    ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
    "sequence numbers are missing before this batch",
);
const DUPLICATE_OLD: batch::Refusal = refusal(
    ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
    "stored before; its offset is no longer remembered",
);
const EPOCH_OLD: batch::Refusal =
    refusal(ErrorCode::INVALID_PRODUCER_EPOCH, "the producer has a newer epoch");

/// Makes an encoded answer say `code` for every partition that it did not refuse before: what was
/// appended could not be stored. `answer` is the whole frame, its length included.
pub fn produce_response_fail(
    version: i16,
    answer: &mut [u8],
    code: ErrorCode,
) -> Result<(), Error> {
    let flexible = version >= ProduceResponse::FLEXIBLE_SINCE;
    let correlation_id_bytes = 4;
    let mut walk = ResponseWalk { answer, at: 0, version, flexible };
    walk.skip(|r| r.take(frame::LENGTH_BYTES + correlation_id_bytes))?;
    walk.skip(Reader::skip_tags)?;
    for _ in 0..walk.count()? {
        walk.skip(<&str>::decode_from)?;
        for _ in 0..walk.count()? {
            walk.partition_fail(code)?;
        }
        walk.skip(Reader::skip_tags)?;
    }
    Ok(())
}

/// Where [`produce_response_fail`] is in the answer.
struct ResponseWalk<'a> {
    answer: &'a mut [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

impl ResponseWalk<'_> {
    fn skip<'s, T>(
        &'s mut self,
        read: impl FnOnce(&mut Reader<'s>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut r = Reader::new(self.answer.get(self.at..).unwrap_or_default());
        r.set_version(self.version, self.flexible);
        let value = read(&mut r)?;
        self.at = self.answer.len() - r.rest().len();
        Ok(value)
    }

    /// The count of an array whose elements follow.
    fn count(&mut self) -> Result<u32, Error> {
        let flexible = self.flexible;
        self.skip(|r| match flexible {
            true => r.uvarint()?.checked_sub(1).ok_or(Error::Null),
            false => u32::try_from(i32::decode_from(r)?).map_err(|_| Error::Length),
        })
    }

    fn partition_fail(&mut self, code: ErrorCode) -> Result<(), Error> {
        self.skip(i32::decode_from)?;
        let failed = self.skip(ErrorCode::decode_from)?.is_none();
        if failed {
            let at = self.at - size_of::<ErrorCode>();
            self.put(at, &code.0.to_be_bytes());
        }
        let append_time_since = 2;
        let log_start_since = 5;
        // Base offset, append time, log start: Kafka answers −1 with an error.
        for since in [0, append_time_since, log_start_since] {
            if self.version >= since {
                self.skip(i64::decode_from)?;
                if failed {
                    self.put(self.at - size_of::<i64>(), &(-1_i64).to_be_bytes());
                }
            }
        }
        let messages_since = 8;
        if self.version >= messages_since {
            for _ in 0..self.count()? {
                self.skip(i32::decode_from)?;
                self.skip(Option::<&str>::decode_from)?;
                self.skip(Reader::skip_tags)?;
            }
            self.skip(Option::<&str>::decode_from)?;
        }
        self.skip(Reader::skip_tags)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(target) = self.answer.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Writer;

    /// Two topics; every third partition was refused, with a message and a record's error.
    fn answer(version: i16, code_of_others: i16) -> Vec<u8> {
        let mut buffer = vec![0; 16 << 10];
        let mut w = Writer::new(&mut buffer);
        frame::response_begin(&mut w, 7, version >= ProduceResponse::FLEXIBLE_SINCE);
        let failed = code_of_others != 0;
        ProduceResponse {
            responses: &mut |list| {
                for (name, partitions) in [("telemetry", 3), ("alarms", 200)] {
                    list.push(TopicProduceResponse {
                        name,
                        partition_responses: &mut |list| {
                            for index in 0..partitions {
                                let refused = index % 3 == 2;
                                let offset = if failed && !refused { -1 } else { 40 };
                                list.push(PartitionProduceResponse {
                                    index,
                                    error_code: ErrorCode(if refused { 3 } else { code_of_others }),
                                    base_offset: offset,
                                    log_append_time_ms: offset,
                                    log_start_offset: offset,
                                    record_errors: &mut |list| {
                                        if refused {
                                            list.push(BatchIndexAndErrorMessage {
                                                batch_index: 0,
                                                batch_index_error_message: None,
                                            });
                                        }
                                    },
                                    error_message: refused.then_some("no such topic"),
                                });
                            }
                        },
                    });
                }
            },
            throttle_time_ms: 0,
        }
        .encode(&mut w, version);
        let bytes = frame::response_end(&mut w).unwrap();
        buffer.truncate(bytes);
        buffer
    }

    #[test]
    fn a_failed_sync_turns_what_was_appended_into_errors_and_nothing_else() {
        for version in 3..=12 {
            let mut patched = answer(version, 0);
            let code = ErrorCode::KAFKA_STORAGE_ERROR;
            assert_eq!(produce_response_fail(version, &mut patched, code), Ok(()));
            assert_eq!(patched, answer(version, code.0), "version {version}");
        }
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let whole = answer(9, 0);
        for end in 0..whole.len() - 8 {
            let mut cut = whole[..end].to_vec();
            assert!(produce_response_fail(9, &mut cut, ErrorCode(56)).is_err(), "{end}");
        }
    }
}
