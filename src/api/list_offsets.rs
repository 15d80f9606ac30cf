//! ListOffsets (2): offsets by time. Versions 1–10.
//!
//! - 2 adds the isolation level; 4 leader epochs; 6 is flexible; 7 asks for the offset of the
//!   newest timestamp (−3); 8 for the local log start (−4); 9 for the last tiered offset (−5); 10
//!   adds a timeout for reading tiers.
//! - Version 0, which answered several offsets, is not served; its fields are not here.
//! - Earliest (−2), latest (−1) and their like are answered at once, what needs a look at the records
//!   by a read job. Of a compressed batch that cannot be read here its first record is given: at or before
//!   the one that is looked for, never after it.
//! - A negative time without a meaning in the request's version is UNSUPPORTED_VERSION (35), a
//!   partition that is named twice INVALID_REQUEST (42), as in Kafka.
//! - More look-ups at a time than there is room for are LEADER_NOT_AVAILABLE (5): clients try again.
//! - `isolation_level` changes nothing, and `replica_id` and `timeout_ms` are ignored.

use super::fetch::{count, epoch_check, find, string};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::reads::answer::{Head, PartitionPiece, Pieces, TopicRef};
use crate::broker::reads::{ArenaFull, Terms, Wanted, epoch_of};
use crate::clock::{Mono, Now};
use crate::codec::frame::{response_begin, response_header_flexible};
use crate::codec::{Array, ErrorCode, List, Writer, message};
use crate::limits;
use crate::log::state::{Partition, State};
use crate::types::{Offset, PartitionSlot};

message! {
    /// Partitions, and the time in each.
    request ListOffsetsRequest<'a>, key 2, flexible 6+ {
        replica_id: i32, 0+;
        isolation_level: i8, 2+;
        topics: Array<'a, ListOffsetsTopic<'a>>, 0+;
        timeout_ms: i32, 10+;
    }

    /// The partitions of one topic.
    request ListOffsetsTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, ListOffsetsPartition>, 0+;
    }

    /// One partition.
    request ListOffsetsPartition {
        partition_index: i32, 0+;
        current_leader_epoch: i32, 4+, default -1;
        timestamp: i64, 0+;
    }

    /// The offsets.
    response ListOffsetsResponse<'a>, key 2, flexible 6+ {
        throttle_time_ms: i32, 2+;
        topics: List<'a, ListOffsetsTopicResponse<'static>>, 0+;
    }

    /// The partitions of one topic.
    response ListOffsetsTopicResponse<'a> {
        name: &'a str, 0+;
        partitions: List<'a, ListOffsetsPartitionResponse>, 0+;
    }

    /// One partition.
    response ListOffsetsPartitionResponse {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
        timestamp: i64, 1+;
        offset: i64, 1+;
        leader_epoch: i32, 4+;
    }
}

/// Answers at once, or starts a read job.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = ListOffsetsRequest::decode(&mut request.reader(), request.version)?;
    let state = broker.log.state();
    let twice = Twice::of(state, &ask);
    let mut partitions = 0;
    let mut looked_up = false;
    for topic in ask.topics {
        for asked in topic.partitions {
            partitions += 1;
            let result = result_of(state, &twice, topic.name, &asked, request.version);
            looked_up |= result.is_ok_and(|(.., wanted)| !matches!(wanted, Wanted::Known(..)));
        }
    }
    if !looked_up {
        return Ok(reply(state, &twice, request, &ask, out, ErrorCode::NONE));
    }
    if broker.reads.room(partitions) && start(broker, request, &ask, &twice).is_ok() {
        return Ok(Step::Job);
    }
    broker.reads.cancel(request.peer.conn);
    let error = ErrorCode::LEADER_NOT_AVAILABLE;
    let state = broker.log.state();
    Ok(reply(state, &twice, request, &ask, out, error))
}

fn start(
    broker: &mut Broker,
    request: &Request<'_>,
    ask: &ListOffsetsRequest<'_>,
    twice: &Twice,
) -> Result<(), ArenaFull> {
    let terms = Terms {
        pieces: &ListOffsetsPieces,
        version: request.version,
        correlation_id: request.correlation_id,
        read_committed: false,
        bytes_min: 0,
        bytes_max: 0,
        deadline: Mono(0),
        holes_at: Mono(0),
    };
    let conn = request.peer.conn;
    let (reads, state) = (&mut broker.reads, broker.log.state());
    reads.lookup(conn, &terms);
    for topic in ask.topics {
        let mut first = true;
        for asked in topic.partitions {
            match result_of(state, twice, topic.name, &asked, request.version) {
                Ok((slot, partition, wanted)) => {
                    let known = (slot, partition.handle);
                    reads.lookup_partition(conn, first, known, wanted, ErrorCode::NONE)?;
                }
                Err(error) => {
                    let topic = TopicRef { name: topic.name, ..TopicRef::default() };
                    let topic = first.then_some(&topic);
                    reads.unknown_partition(conn, topic, asked.partition_index, error)?;
                }
            }
            first = false;
        }
    }
    Ok(())
}

/// What is to be answered for a partition.
fn result_of<'a>(
    state: &'a State,
    twice: &Twice,
    topic: &str,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<(PartitionSlot, &'a Partition, Wanted), ErrorCode> {
    let found = find(state, topic, asked.partition_index);
    let (slot, partition) = found.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if twice.has(slot) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    let epoch = epoch_check(state, asked.current_leader_epoch);
    if !epoch.is_none() {
        return Err(epoch);
    }
    let wanted = match asked.timestamp {
        LATEST => Wanted::Known(partition.high_watermark, -1),
        EARLIEST => Wanted::Known(partition.log_start, -1),
        EARLIEST_LOCAL if version >= 8 => Wanted::Known(partition.log_start, -1),
        LATEST_TIERED if version >= 9 => Wanted::Known(Offset::NONE, -1),
        NEWEST if version >= 7 => Wanted::Newest,
        timestamp_ms if timestamp_ms >= 0 => Wanted::Timestamp(timestamp_ms),
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    };
    Ok((slot, partition, wanted))
}

/// An answer without a look at any record; those that need one get `error`.
fn reply(
    state: &State,
    twice: &Twice,
    request: &Request<'_>,
    ask: &ListOffsetsRequest<'_>,
    out: Window<'_>,
    error: ErrorCode,
) -> Step {
    let version = request.version;
    request.reply(out, |w| {
        ListOffsetsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |topics| {
                for topic in ask.topics {
                    topics.push(ListOffsetsTopicResponse {
                        name: topic.name,
                        partitions: &mut |partitions| {
                            for asked in topic.partitions {
                                let result = result_of(state, twice, topic.name, &asked, version);
                                let (error_code, offset, leader_epoch) = match result {
                                    Ok((_, partition, Wanted::Known(offset, _))) => {
                                        let epoch = epoch_at(partition, offset, state);
                                        (ErrorCode::NONE, offset, epoch)
                                    }
                                    Ok(_) => (error, Offset::NONE, -1),
                                    Err(error) => (error, Offset::NONE, -1),
                                };
                                partitions.push(ListOffsetsPartitionResponse {
                                    partition_index: asked.partition_index,
                                    error_code,
                                    timestamp: -1,
                                    offset: offset.0,
                                    leader_epoch,
                                });
                            }
                        },
                    });
                }
            },
        }
        .encode(w, version);
    })
}

fn epoch_at(partition: &Partition, offset: Offset, state: &State) -> i32 {
    match offset {
        Offset::NONE => -1,
        _ => epoch_of(partition, offset, state.boot).0.cast_signed(),
    }
}

/// The partitions that a request names more than once.
struct Twice([u64; limits::PARTITIONS_MAX.div_ceil(64)]);

impl Twice {
    fn of(state: &State, ask: &ListOffsetsRequest<'_>) -> Twice {
        let mut once = [0u64; limits::PARTITIONS_MAX.div_ceil(64)];
        let mut twice = Twice(once);
        for topic in ask.topics {
            for asked in topic.partitions {
                if let Some((slot, _)) = find(state, topic.name, asked.partition_index) {
                    let (word, bit) = (usize::from(slot.0) / 64, 1 << (slot.0 % 64));
                    if let (Some(once), Some(twice)) = (once.get_mut(word), twice.0.get_mut(word)) {
                        *twice |= *once & bit;
                        *once |= bit;
                    }
                }
            }
        }
        twice
    }

    fn has(&self, slot: PartitionSlot) -> bool {
        let word = self.0.get(usize::from(slot.0) / 64);
        word.is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }
}

/// The answer piece by piece, as the job that looks offsets up writes it. A test proves that together
/// they are what the table says.
struct ListOffsetsPieces;

impl Pieces for ListOffsetsPieces {
    fn begin(&self, w: &mut Writer<'_>, head: &Head) {
        let (key, version) = (ListOffsetsRequest::KEY, head.version);
        let header = response_header_flexible(key, version, FLEXIBLE_SINCE);
        let start = w.len();
        response_begin(w, head.correlation_id, header);
        w.patch(start, &head.length.to_be_bytes());
        if version >= 2 {
            w.raw(&w.throttle_time_ms().to_be_bytes());
        }
        count(w, is_flexible(version), head.topics);
    }

    fn topic(&self, w: &mut Writer<'_>, version: i16, topic: &TopicRef<'_>, partitions: u32) {
        string(w, is_flexible(version), topic.name);
        count(w, is_flexible(version), partitions);
    }

    fn partition(&self, w: &mut Writer<'_>, version: i16, partition: &PartitionPiece) {
        w.raw(&partition.index.to_be_bytes());
        w.raw(&partition.error.0.to_be_bytes());
        w.raw(&partition.timestamp_ms.to_be_bytes());
        w.raw(&partition.offset.0.to_be_bytes());
        if version >= 4 {
            w.raw(&partition.leader_epoch.to_be_bytes());
        }
    }

    fn end(&self, w: &mut Writer<'_>, version: i16) {
        if is_flexible(version) {
            w.raw(&[0]);
        }
    }
}

fn is_flexible(version: i16) -> bool {
    version >= FLEXIBLE_SINCE
}

const FLEXIBLE_SINCE: i16 = ListOffsetsRequest::FLEXIBLE_SINCE;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_what_the_table_says_at_every_version() {
        for version in 1..=10 {
            let mut pieces = vec![0; 1024];
            let mut w = Writer::new(&mut pieces);
            let head = Head { version, correlation_id: 9, length: 0x0102_0304, topics: 1 };
            ListOffsetsPieces.begin(&mut w, &head);
            let topic = TopicRef { name: "topic", ..TopicRef::default() };
            ListOffsetsPieces.topic(&mut w, version, &topic, 1);
            let partition = PartitionPiece {
                index: 3,
                error: ErrorCode::INVALID_REQUEST,
                high_watermark: Offset::NONE,
                log_start: Offset::NONE,
                records_bytes: 0,
                read_committed: false,
                offset: Offset(7),
                timestamp_ms: 1234,
                leader_epoch: 5,
            };
            ListOffsetsPieces.partition(&mut w, version, &partition);
            for _ in 0..3 {
                ListOffsetsPieces.end(&mut w, version);
            }
            let length = w.finish().unwrap();
            pieces.truncate(length);

            let mut table = vec![0; 1024];
            let mut w = Writer::new(&mut table);
            response_begin(&mut w, 9, response_header_flexible(2, version, 6));
            w.patch(0, &0x0102_0304u32.to_be_bytes());
            ListOffsetsResponse {
                throttle_time_ms: 0,
                topics: &mut |topics| {
                    topics.push(ListOffsetsTopicResponse {
                        name: "topic",
                        partitions: &mut |partitions| {
                            partitions.push(ListOffsetsPartitionResponse {
                                partition_index: 3,
                                error_code: ErrorCode::INVALID_REQUEST,
                                timestamp: 1234,
                                offset: 7,
                                leader_epoch: 5,
                            });
                        },
                    });
                },
            }
            .encode(&mut w, version);
            let length = w.finish().unwrap();
            table.truncate(length);
            assert_eq!(pieces, table, "version {version}");
        }
    }
}
