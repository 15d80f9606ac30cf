//! Why a partition's records are not stored: Kafka's code, and a message.

use crate::codec::ErrorCode;

/// Why a partition's records are refused. The first are found in the records themselves, see
/// [`super::check()`]; the others depend on the topic, the producer or the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // `message` has the words.
pub enum Refusal {
    OldFormat,
    NotWhole,
    Compression,
    BaseOffset,
    TooLarge,
    Crc,
    Control,
    Transactional,
    RecordsCount,
    NoSequence,
    AppendTime,
    RecordUnreadable,
    RecordOffsets,
    RecordsTrailing,
    Decompression,
    NoRecords,
    ManyBatches,
    Timestamp,
    Acks,
    InternalTopic,
    UnknownPartition,
    ReplicasMissing,
    Storage,
    GroupTooLarge,
    Held,
    OutOfOrder,
    DuplicateOld,
    EpochOld,
    NoKey,
    KeyTooLong,
    KeysBeyond,
    KeysFull,
}

impl Refusal {
    /// Kafka's code.
    pub fn code(self) -> ErrorCode {
        match self {
            Refusal::OldFormat
            | Refusal::NotWhole
            | Refusal::BaseOffset
            | Refusal::Control
            | Refusal::RecordsCount
            | Refusal::NoSequence
            | Refusal::RecordUnreadable
            | Refusal::RecordOffsets
            | Refusal::RecordsTrailing
            | Refusal::Decompression
            | Refusal::NoRecords
            | Refusal::ManyBatches
            | Refusal::NoKey
            | Refusal::KeyTooLong
            | Refusal::KeysBeyond => ErrorCode::INVALID_RECORD,
            Refusal::Compression => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            Refusal::TooLarge | Refusal::GroupTooLarge => ErrorCode::MESSAGE_TOO_LARGE,
            Refusal::Crc => ErrorCode::CORRUPT_MESSAGE,
            Refusal::Transactional => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Refusal::AppendTime | Refusal::Timestamp => ErrorCode::INVALID_TIMESTAMP,
            Refusal::Acks => ErrorCode::INVALID_REQUIRED_ACKS,
            Refusal::InternalTopic => ErrorCode::INVALID_TOPIC_EXCEPTION,
            Refusal::UnknownPartition => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Refusal::ReplicasMissing | Refusal::Held => ErrorCode::NOT_ENOUGH_REPLICAS,
            Refusal::Storage => ErrorCode::KAFKA_STORAGE_ERROR,
            Refusal::OutOfOrder => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Refusal::DuplicateOld => ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
            Refusal::EpochOld => ErrorCode::INVALID_PRODUCER_EPOCH,
            Refusal::KeysFull => ErrorCode::POLICY_VIOLATION,
        }
    }

    /// The message: at most [`Refusal::MESSAGE_BYTES_MAX`] bytes.
    pub fn message(self) -> &'static str {
        match self {
            Refusal::OldFormat => "only record batches of magic 2 are accepted",
            Refusal::NotWhole => "the records are not whole record batches",
            Refusal::Compression => "the compression type is not supported in this version",
            Refusal::BaseOffset => "the base offset of a batch must be 0",
            Refusal::TooLarge => "the batch exceeds max.message.bytes",
            Refusal::Crc => "the CRC of the batch does not hold",
            Refusal::Control => "clients cannot write control records",
            Refusal::Transactional => "there are no transactions",
            Refusal::RecordsCount => "the record count of the batch is wrong",
            Refusal::NoSequence => "a producer id without a sequence number",
            Refusal::AppendTime => "clients cannot set the timestamp type to LogAppendTime",
            Refusal::RecordUnreadable => "a record of the batch cannot be read",
            Refusal::RecordOffsets => "the records' offsets are not 0, 1, 2 …",
            Refusal::RecordsTrailing => "bytes follow the batch's last record",
            Refusal::Decompression => "the records cannot be decompressed",
            Refusal::NoRecords => "there are no records",
            Refusal::ManyBatches => "one record batch per partition",
            Refusal::Timestamp => "a timestamp is too far from the broker's clock",
            Refusal::Acks => "acks is not -1, 0 or 1",
            Refusal::InternalTopic => "clients cannot write to an internal topic",
            Refusal::UnknownPartition => "there is no such partition",
            Refusal::ReplicasMissing => "min.insync.replicas is above 1, and there is one replica",
            Refusal::Storage => "the broker's storage is failing",
            Refusal::GroupTooLarge => "the request exceeds commit_group_max_bytes",
            Refusal::Held => "the ring is full of records that a holder has not consumed",
            Refusal::OutOfOrder => "sequence numbers are missing before this batch",
            Refusal::DuplicateOld => "stored before; its offset is no longer remembered",
            Refusal::EpochOld => "the producer has a newer epoch",
            Refusal::NoKey => "records of a compacted topic must have a key",
            Refusal::KeyTooLong => "a key in a compacted topic may take 2 KiB",
            Refusal::KeysBeyond => "compacted topic: use smaller batches, or another codec",
            Refusal::KeysFull => "compacted topics fill their share, a quarter of the ring",
        }
    }

    /// The refusal with this number, as `refusal as u8` gives it.
    pub fn of(number: u8) -> Option<Refusal> {
        ALL.get(usize::from(number)).copied()
    }

    /// The longest message.
    pub const MESSAGE_BYTES_MAX: usize = 64;
}

const ALL: [Refusal; 32] = [
    Refusal::OldFormat,
    Refusal::NotWhole,
    Refusal::Compression,
    Refusal::BaseOffset,
    Refusal::TooLarge,
    Refusal::Crc,
    Refusal::Control,
    Refusal::Transactional,
    Refusal::RecordsCount,
    Refusal::NoSequence,
    Refusal::AppendTime,
    Refusal::RecordUnreadable,
    Refusal::RecordOffsets,
    Refusal::RecordsTrailing,
    Refusal::Decompression,
    Refusal::NoRecords,
    Refusal::ManyBatches,
    Refusal::Timestamp,
    Refusal::Acks,
    Refusal::InternalTopic,
    Refusal::UnknownPartition,
    Refusal::ReplicasMissing,
    Refusal::Storage,
    Refusal::GroupTooLarge,
    Refusal::Held,
    Refusal::OutOfOrder,
    Refusal::DuplicateOld,
    Refusal::EpochOld,
    Refusal::NoKey,
    Refusal::KeyTooLong,
    Refusal::KeysBeyond,
    Refusal::KeysFull,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_number() {
        for (number, refusal) in (0..).zip(ALL) {
            assert_eq!((refusal as u8, Refusal::of(number)), (number, Some(refusal)));
            assert!(refusal.message().len() <= Refusal::MESSAGE_BYTES_MAX);
        }
        assert_eq!(Refusal::of(ALL.len() as u8), None);
    }
}
