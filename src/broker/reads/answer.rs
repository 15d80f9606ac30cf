//! How the answers of read jobs are written: the parts between the records, which each API's file
//! writes.

use crate::codec::{ErrorCode, Writer};
use crate::types::{Offset, TopicId};

/// Writes the parts of an answer one by one, in this order: [`Pieces::begin`]; for each topic
/// [`Pieces::topic`], for each of its partitions [`Pieces::partition`], the records, and
/// [`Pieces::end`], then [`Pieces::end`] for the topic; then [`Pieces::end`] for all. Each is at most
/// [`PIECE_BYTES_MAX`] long.
pub trait Pieces: Sync {
    /// What precedes the topics, from the size prefix on.
    fn begin(&self, w: &mut Writer<'_>, head: &Head);

    /// What precedes a topic's partitions.
    fn topic(&self, w: &mut Writer<'_>, version: i16, topic: &TopicRef<'_>, partitions: u32);

    /// What precedes a partition's records.
    fn partition(&self, w: &mut Writer<'_>, version: i16, partition: &PartitionPiece);

    /// What ends a partition, a topic, or the answer.
    fn end(&self, w: &mut Writer<'_>, version: i16);

    /// The code for a topic that was deleted.
    fn gone(&self, _version: i16) -> ErrorCode {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    }
}

/// A topic in a request and its answer. An unknown one has its name or its id, as in the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id.
    pub id: TopicId,
}

/// What is known of an answer as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The message's version.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// The size prefix: the answer's length without these four bytes.
    pub length: u32,
    /// How many topics follow.
    pub topics: u32,
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionPiece {
    /// Its number.
    pub index: i32,
    /// Its error, if any.
    pub error: ErrorCode,
    /// Fetch: the offset behind the last record that can be read.
    pub high_watermark: Offset,
    /// Fetch: the first offset.
    pub log_start: Offset,
    /// Fetch: bytes of the records that follow.
    pub records_bytes: u32,
    /// Fetch: the client wants committed records only.
    pub read_committed: bool,
    /// Look-up: the offset that was found, −1 for none.
    pub offset: Offset,
    /// Look-up: its timestamp.
    pub timestamp_ms: i64,
    /// Look-up: its leader epoch.
    pub leader_epoch: i32,
}

/// The longest is a topic with its name.
pub const PIECE_BYTES_MAX: usize = 320;
