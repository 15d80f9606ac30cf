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
//! - A request that is longer than a small buffer is read and carried out partition by partition
//!   (`long`), with the same answers. A batch for which there is no memory is skipped and refused
//!   with MESSAGE_TOO_LARGE (10). So is one of several partitions with something compressed, and one
//!   that takes longer than a turn to decompress: others have their turns meanwhile.
//! - One batch per partition, as in Kafka since version 3. Null records are INVALID_RECORD (87);
//!   Kafka does not answer them at all.
//! - Idempotent producers: a duplicate is answered with the offset of the first, once that is
//!   synced; gaps are 45, what is older than is remembered 46, old epochs 47.
//! - Timestamps too far ahead are INVALID_TIMESTAMP (32) only while our clock is right.
//! - A sync is waited for as long as it takes. But where a ring is full of what its holders have not
//!   had, a request for it waits for `timeout_ms`, and is answered with NOT_ENOUGH_REPLICAS (19)
//!   shortly before that is over; without acknowledgement it waits for ever.

mod failed;
mod long;
mod outcomes;
mod peek;
mod stage;

pub use failed::produce_response_fail;
pub use long::{Front, Long, Next, Staged};
pub use peek::held_back;

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::batch::{self, Refusal};
use crate::codec::{Array, Decode, ErrorCode, List, Writer, message};
use crate::limits;
use crate::types::{RingIndex, TopicSlot};
use outcomes::{OUTCOME_BYTES, Outcome, Outcomes, Packed};
use stage::{Ask, Stage};

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
    let decoded = ProduceRequest::decode(&mut request.reader(), request.version)?;
    let ask = Ask { acks: decoded.acks, timeout_ms: decoded.timeout_ms, version: request.version };
    let demand = Demand::of(broker, &decoded);
    if demand.packed && demand.only.is_none() {
        return Ok(Step::Long);
    }
    // The outcomes stand behind the answer.
    let outcomes_bytes = if ask.acks == 0 { 0 } else { demand.partitions * OUTCOME_BYTES };
    let Some(answer_bytes_max) = out.buf.len().checked_sub(outcomes_bytes) else {
        return Err(TOO_MANY);
    };
    if ask.acks != 0 && demand.answer_bytes > answer_bytes_max {
        return Err(TOO_MANY);
    }
    broker.unpacker.turn();
    let mut stage = Stage::new(ask, now);
    if ask.acks_valid()
        && let Err(step) = stage.check_room(broker, &demand.room, request.peer.waited_out)
    {
        return Ok(step);
    }

    let (buf, list) = out.buf.split_at_mut(answer_bytes_max);
    let mut outcomes = Outcomes::new(list);
    let mut failed = false;
    for topic in walk(decoded.topic_data, demand.only.map(|only| only.0)) {
        let slot = match demand.only {
            Some((.., slot)) => slot,
            None => slot_of(broker, topic.name),
        };
        let rules = stage.rules(broker, topic.name, slot);
        for partition in walk(topic.partition_data, demand.only.map(|only| only.1)) {
            let checked = match &rules {
                Ok(rules) => stage.check(broker, request.peer.conn, rules, &partition),
                Err(refusal) => Err(*refusal),
            };
            let Some(checked) = checked.transpose() else {
                broker.unpacker.release(request.peer.conn);
                return Ok(Step::Long);
            };
            let done = rules.as_ref().map_err(|refusal| *refusal).and_then(|rules| {
                checked.and_then(|checked| stage.partition(broker, rules, &partition, &checked))
            });
            if let Err(why) = done {
                failed = true;
                let place = (topic.name, partition.index);
                let bytes = partition.records.map_or(0, <[u8]>::len);
                broker.records_refused(place, bytes, &request.caller(), why, now);
            }
            if ask.acks != 0 {
                outcomes.push(Outcome { index: partition.index, done });
            }
        }
    }
    if ask.acks == 0 {
        return Ok(if failed { Step::Close(FAILED_UNSAID) } else { Step::NoReply });
    }
    // Errors are explained where the answer has room for it.
    let explains_bytes = demand.partitions * Refusal::MESSAGE_BYTES_MAX;
    let explains = demand.answer_bytes + explains_bytes <= buf.len();
    let mut topics = decoded.topic_data.iter();
    let mut only = demand.only.map(|(topic, ..)| (topic.name, 1));
    let mut topics = std::iter::from_fn(|| match demand.only {
        Some(_) => only.take(),
        None => topics.next().map(|topic| (topic.name, topic.partition_data.len())),
    });
    Ok(request.reply_after(Window { buf, from: out.from }, stage.until, |w| {
        answer(w, request.version, &mut topics, outcomes.packed(), explains);
    }))
}

/// Writes the answer: topics with how many partitions each has, and what came of these.
fn answer(
    w: &mut Writer<'_>,
    version: i16,
    topics: &mut dyn Iterator<Item = (&str, usize)>,
    outcomes: &[Packed],
    explains: bool,
) {
    let mut outcomes = outcomes.iter();
    ProduceResponse {
        responses: &mut |list| {
            for (name, partitions) in &mut *topics {
                list.push(TopicProduceResponse {
                    name,
                    partition_responses: &mut |list| {
                        for packed in outcomes.by_ref().take(partitions) {
                            let outcome = Outcome::unpack(packed);
                            list.push(PartitionProduceResponse::of(
                                &outcome,
                                explains,
                                &mut |_| {},
                            ));
                        }
                    },
                });
            }
        },
        throttle_time_ms: w.throttle_time_ms(),
    }
    .encode(w, version);
}

impl<'a> PartitionProduceResponse<'a> {
    /// `record_errors`: none, where they are carried.
    #[inline(always)]
    fn of(
        outcome: &Outcome,
        explains: bool,
        record_errors: List<'a, BatchIndexAndErrorMessage<'static>>,
    ) -> PartitionProduceResponse<'a> {
        let (placed, refusal) = (outcome.done.as_ref().ok(), outcome.done.as_ref().err());
        PartitionProduceResponse {
            index: outcome.index,
            error_code: refusal.map_or(ErrorCode::NONE, |refusal| refusal.code()),
            base_offset: placed.map_or(-1, |placed| placed.offset.0),
            log_append_time_ms: placed.map_or(-1, |placed| placed.append_time_ms),
            log_start_offset: placed.map_or(-1, |placed| placed.log_start.0),
            record_errors,
            error_message: refusal.filter(|_| explains).map(|refusal| refusal.message()),
        }
    }
}

/// What a request needs at the most.
#[derive(Default)]
struct Demand<'a> {
    /// All that there is, if that is one partition: as most requests are, it is not decoded again, nor
    /// its topic looked up.
    only: Option<(TopicProduceData<'a>, PartitionProduceData<'a>, Option<TopicSlot>)>,
    answer_bytes: usize,
    partitions: usize,
    room: Room,
    /// Whether some of it is compressed.
    packed: bool,
}

/// What is to be staged at the most.
#[derive(Default)]
struct Room {
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
        if let Some((topic, partition)) = only_of(ask) {
            let slot = demand.add_topic(broker, topic.name, 1);
            demand.add(broker, topic.name, slot, &partition);
            demand.only = Some((topic, partition, slot));
            return demand;
        }
        for topic in ask.topic_data {
            let slot = demand.add_topic(broker, topic.name, topic.partition_data.len());
            for partition in topic.partition_data {
                demand.add(broker, topic.name, slot, &partition);
            }
        }
        demand
    }

    #[inline(always)]
    fn add_topic(&mut self, broker: &Broker, name: &str, partitions: usize) -> Option<TopicSlot> {
        self.answer_bytes += ANSWER_TOPIC_BYTES + name.len() + ANSWER_PARTITION_BYTES * partitions;
        self.partitions += partitions;
        slot_of(broker, name)
    }

    #[inline(always)]
    fn add(
        &mut self,
        broker: &Broker,
        name: &str,
        slot: Option<TopicSlot>,
        asked: &PartitionProduceData<'_>,
    ) {
        let topic = slot.and_then(|slot| broker.log.state().topic(slot));
        if let (Some(topic), Some(records)) = (topic, asked.records) {
            self.packed |= batch::is_packed(records);
            self.room.add(topic.ring, topic.is_kept(), records.len());
            self.room.meta_bytes += broker.mirror_meta_bytes(name, records);
        }
    }
}

/// The one partition of the request, if that is all; its topic has no array then.
fn only_of<'a>(
    ask: &ProduceRequest<'a>,
) -> Option<(TopicProduceData<'a>, PartitionProduceData<'a>)> {
    let mut r = ask.topic_data.reader();
    if ask.topic_data.len() != 1 {
        return None;
    }
    let name = <&str>::decode_from(&mut r).ok()?;
    if r.array_count().ok()? != 1 {
        return None;
    }
    let partition = PartitionProduceData::decode_from(&mut r).ok()?;
    Some((TopicProduceData { name, partition_data: Array::default() }, partition))
}

impl Room {
    #[inline(always)]
    fn add(&mut self, ring: RingIndex, kept: bool, records_bytes: usize) {
        let place = usize::from(ring.0);
        self.payload_bytes[place] += records_bytes;
        self.runs[place] += 1;
        self.kept[place] |= kept;
    }
}

fn slot_of(broker: &Broker, topic: &str) -> Option<TopicSlot> {
    broker.log.state().topic_named(topic).map(|(slot, _)| slot)
}

/// Walks an array; `only` is its one element, if it was decoded before.
fn walk<'a, T: Decode<'a>>(array: Array<'a, T>, only: Option<T>) -> impl Iterator<Item = T> {
    let rest = if only.is_some() { Array::default() } else { array };
    only.into_iter().chain(rest)
}

const TOO_MANY: Malformed = Malformed("more partitions than an answer has room for");

/// Why a request that wants no answer ends its connection.
const FAILED_UNSAID: &str = "a produce request without acknowledgement failed";

/// The answer's size prefix, header, count, throttle time and tags, at the most.
const ANSWER_AROUND_BYTES: usize = 32;
/// A topic's lengths and tags beside its name, at the most.
const ANSWER_TOPIC_BYTES: usize = 16;
/// A partition without a message, at the most: numbers of 4, 2 and 3 times 8 bytes, lengths, tags.
const ANSWER_PARTITION_BYTES: usize = 40;
