//! Every topic setting of Kafka 4: one row each.

use super::{Default, Key, Kind, LOG_APPEND_TIME, number, text};
use crate::config::TimestampType;

/// All settings, in order of name. Numbers are the format on flash: never given twice.
pub static KEYS: &[Key] = &[
    key(
        1,
        "cleanup.policy",
        Kind::CleanupPolicy,
        Default::Fixed("delete"),
        "What happens to old records: `delete`, the ring overwrites them; `compact`, but the newest of each key.",
    )
    .effective()
    .broker("log.cleanup.policy"),
    key(
        2,
        "compression.gzip.level",
        Kind::GzipLevel,
        Default::Fixed("-1"),
        "No effect: batches are stored as their producer compressed them.",
    )
    .broker("compression.gzip.level"),
    key(
        3,
        "compression.lz4.level",
        Kind::Int(1, 17),
        Default::Fixed("9"),
        "No effect: batches are stored as their producer compressed them.",
    )
    .broker("compression.lz4.level"),
    key(
        4,
        "compression.type",
        Kind::Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Default::Fixed("producer"),
        "Only `producer` has an effect: batches are stored as they were sent.",
    )
    .broker("compression.type"),
    key(
        5,
        "compression.zstd.level",
        Kind::Int(-131_072, 22),
        Default::Fixed("3"),
        "No effect: batches are stored as their producer compressed them.",
    )
    .broker("compression.zstd.level"),
    key(
        6,
        "delete.retention.ms",
        Kind::Long(0),
        Default::Fixed("86400000"),
        "How long compaction keeps a record that deletes a key, while the broker's clock is right.",
    )
    .effective()
    .broker("log.cleaner.delete.retention.ms"),
    key(
        7,
        "file.delete.delay.ms",
        Kind::Long(0),
        Default::Fixed("60000"),
        "No effect: topics have no files of their own.",
    )
    .broker("log.segment.delete.delay.ms"),
    key(
        8,
        "flush.messages",
        Kind::Long(1),
        Default::Fixed("1"),
        "Above 1, records are acknowledged when written and synced at most flush.ms later.",
    )
    .effective()
    .broker("log.flush.interval.messages"),
    key(
        9,
        "flush.ms",
        Kind::Long(0),
        Default::Fixed("0"),
        "Above 0, records are acknowledged when written and synced at most so much later.",
    )
    .effective(),
    key(
        10,
        "follower.replication.throttled.replicas",
        Kind::Replicas,
        Default::Fixed(""),
        "No effect: there is one replica.",
    ),
    key(
        11,
        "index.interval.bytes",
        Kind::Int(0, INT_MAX),
        Default::Fixed("4096"),
        "No effect: the ring has its own index.",
    )
    .broker("log.index.interval.bytes"),
    key(
        12,
        "leader.replication.throttled.replicas",
        Kind::Replicas,
        Default::Fixed(""),
        "No effect: there is one replica.",
    ),
    key(
        13,
        "local.retention.bytes",
        Kind::Long(-2),
        Default::Fixed("-2"),
        "No effect: there is no tiered storage.",
    )
    .broker("log.local.retention.bytes"),
    key(
        14,
        "local.retention.ms",
        Kind::Long(-2),
        Default::Fixed("-2"),
        "No effect: there is no tiered storage.",
    )
    .broker("log.local.retention.ms"),
    key(
        15,
        "max.compaction.lag.ms",
        Kind::Long(1),
        Default::Fixed(LONG_MAX),
        "No effect: segments are compacted when the ring comes round.",
    )
    .broker("log.cleaner.max.compaction.lag.ms"),
    key(
        16,
        "max.message.bytes",
        Kind::Int(0, INT_MAX),
        Default::Config("1048588", |config| number(config.message_max_bytes as i64)),
        "The largest record batch; the broker's message.max.bytes bounds it.",
    )
    .effective()
    .broker("message.max.bytes"),
    key(
        17,
        "message.timestamp.after.max.ms",
        Kind::Long(0),
        Default::Config("3600000", |config| {
            number(config.log_message_timestamp_after_max_ms)
        }),
        "How far a producer's time may lie ahead, while the broker's clock is known to be right.",
    )
    .effective()
    .broker("log.message.timestamp.after.max.ms"),
    key(
        18,
        "message.timestamp.before.max.ms",
        Kind::Long(0),
        Default::Config(LONG_MAX, |config| {
            number(config.log_message_timestamp_before_max_ms)
        }),
        "How far a producer's time may lie behind, while the broker's clock is known to be right.",
    )
    .effective()
    .broker("log.message.timestamp.before.max.ms"),
    key(
        19,
        "message.timestamp.type",
        Kind::Choice(&[CREATE_TIME, LOG_APPEND_TIME]),
        Default::Config(CREATE_TIME, |config| {
            text(match config.log_message_timestamp_type {
                TimestampType::CreateTime => CREATE_TIME,
                TimestampType::LogAppendTime => LOG_APPEND_TIME,
            })
        }),
        "Which time a record keeps: its producer's, or that of its arrival.",
    )
    .effective()
    .broker("log.message.timestamp.type"),
    key(
        20,
        "min.cleanable.dirty.ratio",
        Kind::Ratio,
        Default::Fixed("0.5"),
        "No effect: segments are compacted when the ring comes round.",
    )
    .broker("log.cleaner.min.cleanable.ratio"),
    key(
        21,
        "min.compaction.lag.ms",
        Kind::Long(0),
        Default::Fixed("0"),
        "How long compaction keeps a record though a newer one has its key.",
    )
    .effective()
    .broker("log.cleaner.min.compaction.lag.ms"),
    key(
        22,
        "min.insync.replicas",
        Kind::Int(1, INT_MAX),
        Default::Fixed("1"),
        "Above 1, produce requests with acks=all are refused: there is one replica.",
    )
    .effective()
    .broker("min.insync.replicas"),
    key(
        23,
        "preallocate",
        Kind::Bool,
        Default::Fixed("false"),
        "No effect: the ring is always allocated ahead.",
    )
    .broker("log.preallocate"),
    key(
        24,
        "remote.log.copy.disable",
        Kind::Bool,
        Default::Fixed("false"),
        "No effect: there is no tiered storage.",
    ),
    key(
        25,
        "remote.log.delete.on.disable",
        Kind::Bool,
        Default::Fixed("false"),
        "No effect: there is no tiered storage.",
    ),
    key(
        26,
        "remote.storage.enable",
        Kind::NotTiered,
        Default::Fixed("false"),
        "Only `false`: there is no tiered storage.",
    ),
    key(
        27,
        "retention.bytes",
        Kind::Long(i64::MIN),
        Default::Fixed("-1"),
        "No effect: the ring's size bounds all partitions together.",
    )
    .broker("log.retention.bytes"),
    key(
        28,
        "retention.ms",
        Kind::Long(-1),
        Default::Config("-1", |config| number(config.log_retention_ms)),
        "How old records may get before they are hidden; -1: any age, until the ring overwrites them.",
    )
    .effective()
    .broker("log.retention.ms"),
    key(
        29,
        "segment.bytes",
        Kind::Int(1 << 20, INT_MAX),
        Default::Fixed("1073741824"),
        "No effect: all topics share the ring's segments.",
    )
    .broker("log.segment.bytes"),
    key(
        30,
        "segment.index.bytes",
        Kind::Int(4, INT_MAX),
        Default::Fixed("10485760"),
        "No effect: the ring has its own index.",
    )
    .broker("log.index.size.max.bytes"),
    key(
        31,
        "segment.jitter.ms",
        Kind::Long(0),
        Default::Fixed("0"),
        "No effect: all topics share the ring's segments.",
    ),
    key(
        32,
        "segment.ms",
        Kind::Long(1),
        Default::Fixed("604800000"),
        "No effect: all topics share the ring's segments.",
    ),
    key(
        33,
        "unclean.leader.election.enable",
        Kind::Bool,
        Default::Fixed("false"),
        "No effect: there is one replica.",
    )
    .broker("unclean.leader.election.enable"),
];

const fn key(
    number: u8,
    name: &'static str,
    kind: Kind,
    default: Default,
    documentation: &'static str,
) -> Key {
    Key { number, name, kind, default, documentation, effective: false, broker: None }
}

impl Key {
    const fn effective(self) -> Key {
        Key { effective: true, ..self }
    }

    const fn broker(self, name: &'static str) -> Key {
        Key { broker: Some(name), ..self }
    }
}

const CREATE_TIME: &str = "CreateTime";
const INT_MAX: i32 = i32::MAX;
const LONG_MAX: &str = "9223372036854775807";
