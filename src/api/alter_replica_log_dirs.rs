//! AlterReplicaLogDirs (34): moves partitions between directories. Versions 1–2.
//!
//! - 2 is flexible.
//! - A topic's ring is fixed when it is created, and with it the directory that DescribeLogDirs shows:
//!   that is the one that a partition may be moved to. All others are LOG_DIR_NOT_FOUND (57).

use super::describe_log_dirs::log_dir;
use super::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, message};
use crate::types::RingIndex;

message! {
    /// Where to.
    request AlterReplicaLogDirsRequest<'a>, key 34, flexible 2+ {
        dirs: Array<'a, AlterReplicaLogDir<'a>>, 0+;
    }

    /// One directory, and what shall be in it.
    request AlterReplicaLogDir<'a> {
        path: &'a str, 0+;
        topics: Array<'a, AlterReplicaLogDirTopic<'a>>, 0+;
    }

    /// The partitions of one topic.
    request AlterReplicaLogDirTopic<'a> {
        name: &'a str, 0+;
        partitions: Array<'a, i32>, 0+;
    }

    /// What became of them.
    response AlterReplicaLogDirsResponse<'a>, key 34, flexible 2+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, AlterReplicaLogDirTopicResult<'static>>, 0+;
    }

    /// The partitions of one topic.
    response AlterReplicaLogDirTopicResult<'a> {
        topic_name: &'a str, 0+;
        partitions: List<'a, AlterReplicaLogDirPartitionResult>, 0+;
    }

    /// One partition.
    response AlterReplicaLogDirPartitionResult {
        partition_index: i32, 0+;
        error_code: ErrorCode, 0+;
    }
}

/// Accepts what is so already, and refuses the rest.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = AlterReplicaLogDirsRequest::decode(&mut request.reader(), request.version)?;
    let config = &broker.config;
    Ok(request.reply(out, |w| {
        AlterReplicaLogDirsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            results: &mut |list| {
                for dir in ask.dirs {
                    let is_dir = |ring| log_dir(config, ring).as_str() == dir.path;
                    let ring = (0..config.rings.len() as u8).map(RingIndex).find(|r| is_dir(*r));
                    for topic in dir.topics {
                        list.push(AlterReplicaLogDirTopicResult {
                            topic_name: topic.name,
                            partitions: &mut |list| {
                                for partition_index in topic.partitions {
                                    let error_code = match ring {
                                        Some(ring) => {
                                            check(broker, ring, topic.name, partition_index)
                                        }
                                        None => ErrorCode::LOG_DIR_NOT_FOUND,
                                    };
                                    list.push(AlterReplicaLogDirPartitionResult {
                                        partition_index,
                                        error_code,
                                    });
                                }
                            },
                        });
                    }
                }
            },
        }
        .encode(w, request.version);
    }))
}

fn check(broker: &Broker, ring: RingIndex, topic: &str, index: i32) -> ErrorCode {
    match broker.partition_asked(topic, index) {
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Some(partition) if partition.ring == ring => ErrorCode::NONE,
        Some(_) => ErrorCode::LOG_DIR_NOT_FOUND,
    }
}
