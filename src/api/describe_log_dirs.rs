//! DescribeLogDirs (35): what partitions take on flash. Versions 1–4.
//!
//! - 2 is flexible; 3 adds an error for the whole; 4 the size of the volume and what is free.
//! - Null topics are all topics; unknown ones are left out, as in Kafka.
//! - There is one directory per ring. Its whole size can be used: the ring overwrites itself.

use super::{Malformed, Request, Step, Window, dedup::OnceTopic};
use crate::broker::Broker;
use crate::broker::refusal::Note;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::config::Config;
use crate::log::state::State;
use crate::log::{Log, sizes::Sizes};
use crate::types::{RingIndex, TopicSlot};

message! {
    /// Which partitions; null is all.
    request DescribeLogDirsRequest<'a>, key 35, flexible 2+ {
        topics: Option<Array<'a, DescribableLogDirTopic<'a>>>, 0+, nullable 0+;
    }

    /// The partitions of one topic.
    request DescribableLogDirTopic<'a> {
        topic: &'a str, 0+;
        partitions: Array<'a, i32>, 0+;
    }

    /// The directories.
    response DescribeLogDirsResponse<'a>, key 35, flexible 2+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 3+;
        results: List<'a, DescribeLogDirsResult<'static>>, 0+;
    }

    /// One directory.
    response DescribeLogDirsResult<'a> {
        error_code: ErrorCode, 0+;
        log_dir: &'a str, 0+;
        topics: List<'a, DescribeLogDirsTopic<'static>>, 0+;
        total_bytes: i64, 4+;
        usable_bytes: i64, 4+;
    }

    /// What one topic has in it.
    response DescribeLogDirsTopic<'a> {
        name: &'a str, 0+;
        partitions: List<'a, DescribeLogDirsPartition>, 0+;
    }

    /// What one partition has in it.
    response DescribeLogDirsPartition {
        partition_index: i32, 0+;
        partition_size: i64, 0+;
        offset_lag: i64, 0+;
        is_future_key: bool, 0+;
    }
}

/// Shows what partitions take.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = DescribeLogDirsRequest::decode(&mut request.reader(), request.version)?;
    let log = &broker.log;
    Ok(request.reply(out, |w| {
        DescribeLogDirsResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: ErrorCode::NONE,
            results: &mut |list| {
                for (ring, config) in (0..).map(RingIndex).zip(&broker.config.rings) {
                    let dir = log_dir(&broker.config, ring);
                    let total_bytes = config.flash_bytes() as i64;
                    list.push(DescribeLogDirsResult {
                        error_code: ErrorCode::NONE,
                        log_dir: dir.as_str(),
                        topics: &mut |list| topics(log, ring, ask.topics, list),
                        total_bytes,
                        usable_bytes: total_bytes,
                    });
                }
            },
        }
        .encode(w, request.version);
    }))
}

/// What a ring is called where Kafka has a directory.
pub(super) fn log_dir(config: &Config, ring: RingIndex) -> Note {
    let name = config.rings.get(usize::from(ring.0)).map_or("", |ring| &ring.name);
    Note::new(format_args!("{}/{name}", config.data_dir.display()))
}

type TopicList<'w, 'b> = ListWriter<'w, 'b, DescribeLogDirsTopic<'static>>;

fn topics(
    log: &Log,
    ring: RingIndex,
    asked: Option<Array<'_, DescribableLogDirTopic<'_>>>,
    list: &mut TopicList<'_, '_>,
) {
    let (state, sizes) = (log.state(), log.sizes(ring));
    let Some(asked) = asked else {
        for (slot, topic) in state.topics().filter(|(_, topic)| topic.ring == ring) {
            let all = 0..topic.partitions;
            push(state, &sizes, (slot, &topic.name), all, list);
        }
        return;
    };
    let mut once = OnceTopic::default();
    for topic in asked {
        let found = state.topic_named(topic.topic);
        if let Some((slot, found)) = found.filter(|(_, found)| found.ring == ring)
            && once.first(slot.0)
        {
            let some = topic.partitions.iter().filter_map(|index| u32::try_from(index).ok());
            push(state, &sizes, (slot, &found.name), some, list);
        }
    }
}

fn push(
    state: &State,
    sizes: &Sizes<'_>,
    (slot, name): (TopicSlot, &str),
    indexes: impl Iterator<Item = u32> + Clone,
    list: &mut TopicList<'_, '_>,
) {
    list.push(DescribeLogDirsTopic {
        name,
        partitions: &mut |list| {
            for index in indexes.clone() {
                if let Some(place) = state.partition_of(slot, index) {
                    list.push(DescribeLogDirsPartition {
                        partition_index: index as i32,
                        partition_size: sizes.of(place) as i64,
                        offset_lag: 0,
                        is_future_key: false,
                    });
                }
            }
        },
    });
}
