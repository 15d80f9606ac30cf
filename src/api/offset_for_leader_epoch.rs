//! OffsetForLeaderEpoch (23): where a leader epoch ends. Versions 2–4.
//!
//! - 3 adds the replica id, which is ignored; 4 is flexible.
//! - The leader epoch is the count of this ring's openings. An epoch that is not remembered any
//!   more is answered from the oldest that is, and never with −1: clients would start over.

use super::fetch::{epoch_check, find};
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};
use crate::log::state::{Partition, State};
use crate::types::{Boot, Offset};

message! {
    /// Partitions and epochs.
    request OffsetForLeaderEpochRequest<'a>, key 23, flexible 4+ {
        replica_id: i32, 3+, default -2;
        topics: Array<'a, OffsetForLeaderTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request OffsetForLeaderTopic<'a> {
        topic: &'a str, 0+;
        partitions: Array<'a, OffsetForLeaderPartition>, 0+;
    }

    /// One partition.
    request OffsetForLeaderPartition {
        partition: i32, 0+;
        current_leader_epoch: i32, 2+, default -1;
        leader_epoch: i32, 0+;
    }

    /// Where the epochs end.
    response OffsetForLeaderEpochResponse<'a>, key 23, flexible 4+ {
        throttle_time_ms: i32, 2+;
        topics: List<'a, OffsetForLeaderTopicResult<'static>>, 0+;
    }

    /// The partitions of one topic.
    response OffsetForLeaderTopicResult<'a> {
        topic: &'a str, 0+;
        partitions: List<'a, EpochEndOffset>, 0+;
    }

    /// Where an epoch ends in one partition.
    response EpochEndOffset {
        error_code: ErrorCode, 0+;
        partition: i32, 0+;
        leader_epoch: i32, 1+;
        end_offset: i64, 0+;
    }
}

/// Answers from the epochs that are remembered of each partition.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = OffsetForLeaderEpochRequest::decode(&mut request.reader(), request.version)?;
    let state = broker.log.state();
    Ok(request.reply(out, |w| {
        OffsetForLeaderEpochResponse {
            throttle_time_ms: w.throttle_time_ms(),
            topics: &mut |topics| {
                for topic in ask.topics {
                    topics.push(OffsetForLeaderTopicResult {
                        topic: topic.topic,
                        partitions: &mut |partitions| {
                            for asked in topic.partitions {
                                partitions.push(answer(state, topic.topic, &asked));
                            }
                        },
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}

fn answer(state: &State, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = find(state, topic, asked.partition);
    let error_code = match found {
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Some(_) => epoch_check(state, asked.current_leader_epoch),
    };
    let end = found.filter(|_| error_code.is_none());
    let end = end.map(|(_, partition)| epoch_end(partition, asked.leader_epoch, state.boot));
    EpochEndOffset {
        error_code,
        partition: asked.partition,
        leader_epoch: end.map_or(-1, |(epoch, _)| epoch),
        end_offset: end.map_or(-1, |(_, offset)| offset.0),
    }
}

/// The newest remembered epoch that is not above this one, and where it ends.
fn epoch_end(partition: &Partition, epoch: i32, boot: Boot) -> (i32, Offset) {
    let wanted = Boot(u32::try_from(epoch).unwrap_or(0)).min(boot);
    let epochs = &partition.epochs;
    let above = epochs.partition_point(|(epoch, _)| *epoch <= wanted);
    let end = epochs.get(above).map(|(_, first)| *first);
    let end = end.unwrap_or(partition.high_watermark);
    let below = above.checked_sub(1).and_then(|below| epochs.get(below));
    let epoch = below.map_or(wanted, |(epoch, _)| *epoch);
    (epoch.0.cast_signed(), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::MetaRecord;
    use crate::log::state::StateLimits;
    use crate::types::{PartitionHandle, PartitionSlot, RingIndex, TopicId};

    fn state() -> State {
        let mut state = State::new(StateLimits {
            topics_max: 1,
            partitions_max: 1,
            groups_max: 1,
            offsets_max: 1,
            offset_metadata_bytes: 1024,
            producers_max: 1,
        });
        let epochs = [(Boot(3), Offset(10)), (Boot(5), Offset(30))];
        let records = [
            MetaRecord::TopicCreate {
                id: TopicId::default(),
                name: "t",
                ring: 0,
                handle_first: PartitionHandle(1),
                partitions: 1,
                configs: &[],
            },
            MetaRecord::Partition {
                handle: PartitionHandle(1),
                log_start: Offset(12),
                next: Offset(40),
                epochs: epochs.into_iter().collect(),
            },
            MetaRecord::Boot { boot: Boot(7) },
        ];
        for record in &records {
            let applied = state.apply(RingIndex(0), record, &mut |_| {});
            assert_eq!(applied, Ok(()));
        }
        state
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins_and_is_never_undefined() {
        let state = state();
        let partition = state.partition(PartitionSlot(0)).unwrap();
        let end = |epoch| {
            let (epoch, offset) = epoch_end(partition, epoch, state.boot);
            (epoch, offset.0)
        };
        assert_eq!(end(0), (0, 10), "not remembered any more");
        assert_eq!(end(3), (3, 30));
        assert_eq!(end(4), (3, 30));
        assert_eq!(end(5), (5, 40));
        assert_eq!(end(7), (5, 40), "nothing was written in the newest epoch");
        assert_eq!(end(99), (5, 40));
        assert_eq!(end(-1), (0, 10));
    }

    #[test]
    fn the_clients_own_epoch_is_checked_first() {
        let state = state();
        assert_eq!(epoch_check(&state, -1), ErrorCode::NONE);
        assert_eq!(epoch_check(&state, 7), ErrorCode::NONE);
        assert_eq!(epoch_check(&state, 6), ErrorCode::FENCED_LEADER_EPOCH);
        assert_eq!(epoch_check(&state, 8), ErrorCode::UNKNOWN_LEADER_EPOCH);
    }
}
