//! Fetch (1): reads record batches. Versions 4–18.
//!
//! - 5 adds the log start offset; 7 fetch sessions; 9 the leader epoch that the client knows; 10
//!   allows zstd; 11 adds the client's rack; 12 is flexible and adds the epoch of the last record
//!   fetched; 13 names topics by id; 14–18 are for followers and tiered storage, and change nothing here.
//! - Sessions are not kept: the answer's session id is 0, with which every client fetches in
//!   full.
//! - At least one whole batch is answered, even beyond `max_bytes` and `partition_max_bytes`.
//! - `isolation_level` changes nothing: there are no transactions, so the last stable offset is
//!   the high watermark, and no transaction was aborted (null).
//! - `replica_id` is ignored: nobody replicates from here as a broker. Ignored too are the
//!   client's log start offset, its rack, and the cluster id (tag 0).
//! - There being no sessions, an incremental request is FETCH_SESSION_ID_NOT_FOUND (70).
//! - A partition that is not there does not keep the others from being waited for; one whose offset
//!   is out of range, or whose leader epoch is another, is answered at once. All as in Kafka.
//! - A topic that is deleted under a fetch is UNKNOWN_TOPIC_OR_PARTITION (3) in its answer, at once. By
//!   id, that and one that is not known is UNKNOWN_TOPIC_ID (100).
//! - A partition that is named twice is answered once. `min_bytes` is at most `max_bytes`, and
//!   `max_wait_ms` at most five minutes.
//! - Of the places in which waiting partitions are remembered a quarter is kept for those who come:
//!   to keep it, the fetch that has waited for longest is answered early. A request with more
//!   partitions than there is room to remember at all is answered at once and empty.
//! - The tagged fields of an answer (diverging epoch, leader, snapshot, endpoints) are never
//!   sent.
//! - `records` is never null: nothing to read is an empty one.

use super::dedup::OncePartition;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::reads::answer::{Head, PartitionPiece, Pieces, TopicRef};
use crate::broker::reads::{ArenaFull, Terms};
use crate::clock::Now;
use crate::codec::frame::{response_begin, response_header_flexible};
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::limits;
use crate::log::state::{Partition, State};
use crate::types::{Offset, PartitionSlot, TopicId, TopicSlot};

message! {
    /// Partitions to read, and how long to wait.
    request FetchRequest<'a>, key 1, flexible 12+ {
        replica_id: i32, 0-14, default -1;
        max_wait_ms: i32, 0+;
        min_bytes: i32, 0+;
        max_bytes: i32, 3+, default i32::MAX;
        isolation_level: i8, 4+;
        session_id: i32, 7+;
        session_epoch: i32, 7+, default -1;
        topics: Array<'a, FetchTopic<'a>>, 0+;
        forgotten_topics_data: Array<'a, ForgottenTopic<'a>>, 7+;
        rack_id: &'a str, 11+;
    }

    /// One topic, by name or (since version 13) by id.
    request FetchTopic<'a> {
        topic: &'a str, 0-12;
        topic_id: TopicId, 13+;
        partitions: Array<'a, FetchPartition>, 0+;
    }

    /// One partition, and from where.
    request FetchPartition {
        partition: i32, 0+;
        current_leader_epoch: i32, 9+, default -1;
        fetch_offset: i64, 0+;
        last_fetched_epoch: i32, 12+, default -1;
        log_start_offset: i64, 5+, default -1;
        partition_max_bytes: i32, 0+;
    }

    /// Partitions that leave a fetch session.
    request ForgottenTopic<'a> {
        topic: &'a str, 7-12;
        topic_id: TopicId, 13+;
        partitions: Array<'a, i32>, 7+;
    }

    /// What was read.
    response FetchResponse<'a>, key 1, flexible 12+ {
        throttle_time_ms: i32, 1+;
        error_code: ErrorCode, 7+;
        session_id: i32, 7+;
        responses: List<'a, FetchableTopicResponse<'static>>, 0+;
    }

    /// One topic.
    response FetchableTopicResponse<'a> {
        topic: &'a str, 0-12;
        topic_id: TopicId, 13+;
        partitions: List<'a, PartitionData<'static>>, 0+;
    }

    /// One partition, and what was read of it.
    response PartitionData<'a> {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        high_watermark: i64, 0+;
        last_stable_offset: i64, 4+;
        log_start_offset: i64, 5+;
        aborted_transactions: Option<List<'a, AbortedTransaction>>, 4+, nullable 4+;
        preferred_read_replica: i32, 11+;
        records: &'a [u8], 0+;
    }

    /// A transaction that was aborted.
    response AbortedTransaction {
        producer_id: i64, 4+;
        first_offset: i64, 4+;
    }
}

/// Starts a read job; answers at once only what needs none, or what there is no room for.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = FetchRequest::decode(&mut request.reader(), request.version)?;
    if ask.session_epoch > 0 {
        let error = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
        return Ok(reply(broker, request, &ask, out, error));
    }
    let partitions: usize = ask.topics.iter().map(|topic| topic.partitions.len()).sum();
    if partitions > 0 && start(broker, request, &ask, now).is_ok() {
        return Ok(Step::Job);
    }
    broker.reads.cancel(request.peer.conn);
    Ok(reply(broker, request, &ask, out, ErrorCode::NONE))
}

fn start(
    broker: &mut Broker,
    request: &Request<'_>,
    ask: &FetchRequest<'_>,
    now: Now,
) -> Result<(), ArenaFull> {
    let bytes_max = usize::try_from(ask.max_bytes).unwrap_or(0);
    let bytes_max = bytes_max.min(broker.config.fetch_max_bytes);
    let wait_ms = u64::try_from(ask.max_wait_ms).unwrap_or(0).min(limits::FETCH_WAIT_MS_MAX);
    let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
    let terms = Terms {
        pieces: &FetchPieces,
        version: request.version,
        correlation_id: request.correlation_id,
        read_committed: ask.isolation_level == READ_COMMITTED,
        bytes_min: u32::try_from(ask.min_bytes).unwrap_or(0).min(bytes_max),
        bytes_max,
        deadline: now.mono.plus_ms(wait_ms),
        holes_at: now.mono.plus_ms(limits::FETCH_HOLES_WAIT_MS),
    };
    let conn = request.peer.conn;
    let (reads, state) = (&mut broker.reads, broker.log.state());
    reads.fetch(conn, &terms);
    let mut once = OncePartition::default();
    for topic in ask.topics {
        let mut first = true;
        let (named, found) = topic_asked(state, &topic, request.version);
        for asked in topic.partitions {
            match found.and_then(|found| partition_of(state, found, asked.partition)) {
                Some((slot, _)) if !once.first(slot.0) => continue,
                Some((slot, partition)) => {
                    let offset = Offset(asked.fetch_offset);
                    if offset < partition.log_start || offset > partition.high_watermark {
                        let name = state.topic(partition.topic).map_or("", |topic| &topic.name);
                        let (lines, caller) = (&broker.lines, request.caller());
                        Broker::offset_refused(lines, (name, partition), offset, &caller, now);
                    }
                    reads.fetch_partition(
                        conn,
                        first,
                        (slot, partition.handle),
                        (offset, u32::try_from(asked.partition_max_bytes).unwrap_or(0)),
                        epoch_check(state, asked.current_leader_epoch),
                    )?;
                }
                None => reads.unknown_partition(
                    conn,
                    first.then_some(&named),
                    asked.partition,
                    if found.is_some() {
                        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                    } else {
                        unknown_topic(request.version)
                    },
                )?,
            }
            first = false;
        }
    }
    Ok(())
}

/// An answer without records.
fn reply(
    broker: &Broker,
    request: &Request<'_>,
    ask: &FetchRequest<'_>,
    out: Window<'_>,
    error_code: ErrorCode,
) -> Step {
    let state = broker.log.state();
    let mut once = OncePartition::default();
    request.reply(out, |w| {
        FetchResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code,
            session_id: 0,
            responses: &mut |topics| {
                for topic in ask.topics.iter().filter(|_| error_code.is_none()) {
                    topics.push(FetchableTopicResponse {
                        topic: topic.topic,
                        topic_id: topic.topic_id,
                        partitions: &mut |partitions| {
                            let (_, found) = topic_asked(state, &topic, request.version);
                            for asked in topic.partitions {
                                let slot =
                                    found.and_then(|f| partition_of(state, f, asked.partition));
                                if slot.is_none_or(|(slot, _)| once.first(slot.0)) {
                                    partitions.push(empty(state, &topic, &asked, request.version));
                                }
                            }
                        },
                    });
                }
            },
        }
        .encode(w, request.version);
    })
}

fn empty<'a>(
    state: &State,
    topic: &FetchTopic<'_>,
    asked: &FetchPartition,
    version: i16,
) -> PartitionData<'a> {
    let (_, topic) = topic_asked(state, topic, version);
    let found = topic.and_then(|topic| partition_of(state, topic, asked.partition));
    let error_code = match found {
        None if topic.is_none() => unknown_topic(version),
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Some((_, partition)) => {
            let range = partition.log_start.0..=partition.high_watermark.0;
            let inside = range.contains(&asked.fetch_offset);
            let epoch = epoch_check(state, asked.current_leader_epoch);
            match epoch {
                ErrorCode::NONE if !inside => ErrorCode::OFFSET_OUT_OF_RANGE,
                epoch => epoch,
            }
        }
    };
    let shown = found.filter(|_| error_code.is_none());
    let (log_start, high_watermark) = shown
        .map_or((-1, -1), |(_, partition)| (partition.log_start.0, partition.high_watermark.0));
    PartitionData {
        partition_index: asked.partition,
        error_code,
        high_watermark,
        last_stable_offset: high_watermark,
        log_start_offset: log_start,
        aborted_transactions: None,
        preferred_read_replica: -1,
        records: &[],
    }
}

/// What a request calls a topic, and the topic, if there is one.
fn topic_asked<'a>(
    state: &State,
    asked: &FetchTopic<'a>,
    version: i16,
) -> (TopicRef<'a>, Option<TopicSlot>) {
    let found = if version >= IDS_SINCE {
        state.topic_with_id(asked.topic_id)
    } else {
        state.topic_named(asked.topic)
    };
    (TopicRef { name: asked.topic, id: asked.topic_id }, found.map(|(slot, _)| slot))
}

fn unknown_topic(version: i16) -> ErrorCode {
    if version >= IDS_SINCE {
        ErrorCode::UNKNOWN_TOPIC_ID
    } else {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    }
}

/// A partition by its topic's name and its number.
pub(super) fn find<'a>(
    state: &'a State,
    topic: &str,
    index: i32,
) -> Option<(PartitionSlot, &'a Partition)> {
    let (topic, _) = state.topic_named(topic)?;
    partition_of(state, topic, index)
}

fn partition_of(
    state: &State,
    topic: TopicSlot,
    index: i32,
) -> Option<(PartitionSlot, &Partition)> {
    let slot = state.partition_of(topic, u32::try_from(index).ok()?)?;
    Some((slot, state.partition(slot)?))
}

/// What is wrong with the leader epoch that a client knows; −1: it does not say.
pub(super) fn epoch_check(state: &State, epoch: i32) -> ErrorCode {
    let current = state.boot.0.cast_signed();
    match epoch {
        ..0 => ErrorCode::NONE,
        _ if epoch < current => ErrorCode::FENCED_LEADER_EPOCH,
        _ if epoch > current => ErrorCode::UNKNOWN_LEADER_EPOCH,
        _ => ErrorCode::NONE,
    }
}

/// The answer piece by piece: the records between the pieces are never all in memory. A test proves
/// that together they are what the table says.
struct FetchPieces;

impl Pieces for FetchPieces {
    fn begin(&self, w: &mut Writer<'_>, head: &Head) {
        let (version, flexible) = (head.version, is_flexible(head.version));
        let header = response_header_flexible(FetchRequest::KEY, version, FLEXIBLE_SINCE);
        let start = w.len();
        response_begin(w, head.correlation_id, header);
        w.patch(start, &head.length.to_be_bytes());
        w.raw(&w.throttle_time_ms().to_be_bytes());
        if version >= 7 {
            w.raw(&ErrorCode::NONE.0.to_be_bytes());
            w.raw(&0i32.to_be_bytes());
        }
        count(w, flexible, head.topics);
    }

    fn topic(&self, w: &mut Writer<'_>, version: i16, topic: &TopicRef<'_>, partitions: u32) {
        let flexible = is_flexible(version);
        if version >= IDS_SINCE {
            w.raw(&topic.id.0);
        } else {
            string(w, flexible, topic.name);
        }
        count(w, flexible, partitions);
    }

    fn partition(&self, w: &mut Writer<'_>, version: i16, partition: &PartitionPiece) {
        let flexible = is_flexible(version);
        w.raw(&partition.index.to_be_bytes());
        w.raw(&partition.error.0.to_be_bytes());
        w.raw(&partition.high_watermark.0.to_be_bytes());
        w.raw(&partition.high_watermark.0.to_be_bytes());
        if version >= 5 {
            w.raw(&partition.log_start.0.to_be_bytes());
        }
        match (partition.read_committed, flexible) {
            (true, _) => count(w, flexible, 0),
            (false, true) => w.raw(&[0]),
            (false, false) => w.raw(&(-1i32).to_be_bytes()),
        }
        if version >= 11 {
            w.raw(&(-1i32).to_be_bytes());
        }
        count(w, flexible, partition.records_bytes);
    }

    fn end(&self, w: &mut Writer<'_>, version: i16) {
        if is_flexible(version) {
            w.raw(&[0]);
        }
    }

    fn gone(&self, version: i16) -> ErrorCode {
        unknown_topic(version)
    }
}

fn is_flexible(version: i16) -> bool {
    version >= FLEXIBLE_SINCE
}

/// The count of an array, or the length of bytes.
pub(super) fn count(w: &mut Writer<'_>, flexible: bool, count: u32) {
    if flexible {
        w.uvarint(count + 1);
    } else {
        w.raw(&count.to_be_bytes());
    }
}

/// A string that is not null; a topic's name is short.
pub(super) fn string(w: &mut Writer<'_>, flexible: bool, text: &str) {
    if flexible {
        w.uvarint(text.len() as u32 + 1);
    } else {
        w.raw(&(text.len() as u16).to_be_bytes());
    }
    w.raw(text.as_bytes());
}

const FLEXIBLE_SINCE: i16 = FetchRequest::FLEXIBLE_SINCE;
const READ_COMMITTED: i8 = 1;

/// Topics are named by id since this version.
const IDS_SINCE: i16 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(error: i16, read_committed: bool) -> PartitionPiece {
        PartitionPiece {
            index: 3,
            error: ErrorCode(error),
            high_watermark: Offset(77),
            log_start: Offset(5),
            records_bytes: 300,
            read_committed,
            offset: Offset::NONE,
            timestamp_ms: -1,
            leader_epoch: -1,
        }
    }

    fn by_pieces(version: i16, read_committed: bool, records: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; 4096];
        let mut w = Writer::new(&mut buf);
        let head = Head { version, correlation_id: 9, length: 0x0102_0304, topics: 2 };
        FetchPieces.begin(&mut w, &head);
        for (name, partitions) in [("a", 1), ("topic", 2)] {
            let topic = TopicRef { name, id: TopicId([name.len() as u8; 16]) };
            FetchPieces.topic(&mut w, version, &topic, partitions);
            for error in 0..partitions {
                let partition = partition(error as i16, read_committed);
                FetchPieces.partition(&mut w, version, &partition);
                w.raw(records);
                FetchPieces.end(&mut w, version);
            }
            FetchPieces.end(&mut w, version);
        }
        FetchPieces.end(&mut w, version);
        let length = w.finish().unwrap();
        buf.truncate(length);
        buf
    }

    fn by_table(version: i16, read_committed: bool, records: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; 4096];
        let mut w = Writer::new(&mut buf);
        let header = response_header_flexible(1, version, FLEXIBLE_SINCE);
        response_begin(&mut w, 9, header);
        w.patch(0, &0x0102_0304u32.to_be_bytes());
        FetchResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            session_id: 0,
            responses: &mut |topics| {
                for (name, count) in [("a", 1), ("topic", 2)] {
                    topics.push(FetchableTopicResponse {
                        topic: name,
                        topic_id: TopicId([name.len() as u8; 16]),
                        partitions: &mut |partitions| {
                            for error in 0..count {
                                let none: List<'_, AbortedTransaction> = &mut |_| {};
                                partitions.push(PartitionData {
                                    partition_index: 3,
                                    error_code: ErrorCode(error),
                                    high_watermark: 77,
                                    last_stable_offset: 77,
                                    log_start_offset: 5,
                                    aborted_transactions: read_committed.then_some(none),
                                    preferred_read_replica: -1,
                                    records,
                                });
                            }
                        },
                    });
                }
            },
        }
        .encode(&mut w, version);
        let length = w.finish().unwrap();
        buf.truncate(length);
        buf
    }

    #[test]
    fn the_pieces_are_what_the_table_says_at_every_version() {
        let records = [7u8; 300];
        for version in 4..=12 {
            for read_committed in [false, true] {
                let pieces = by_pieces(version, read_committed, &records);
                let table = by_table(version, read_committed, &records);
                assert_eq!(pieces, table, "version {version}");
            }
        }
    }
}
