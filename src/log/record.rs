//! Metadata records: what a ring stores beside record batches, one after the other, in `postcard`.
//!
//! The same records stand in commit groups (a change) and in snapshots (the whole state, as the
//! changes that lead to it). Their order is the format: variants are only ever added at the end, and
//! fields never, since a record does not say how long it is.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::types::{Boot, Offset, PartitionHandle, SegmentSeq, TopicId};

/// One change of metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MetaRecord<'a> {
    /// The ring was opened for writing.
    Boot {
        /// Which opening this is.
        boot: Boot,
    },
    /// A topic came to be, with partitions 0 to `partitions` − 1. First ring only.
    TopicCreate {
        /// Its id.
        id: TopicId,
        /// Its name.
        name: &'a str,
        /// The ring that holds its partitions.
        ring: u8,
        /// The handle of partition 0; the others follow one by one.
        handle_first: PartitionHandle,
        /// How many.
        partitions: u32,
        /// Its own settings, encoded as in [`crate::log::state::TopicConfigs`].
        configs: &'a [u8],
    },
    /// A topic is gone, and its partitions with it. First ring only.
    TopicDelete {
        /// Its id.
        id: TopicId,
    },
    /// A topic has more partitions; they follow those that it had. First ring only.
    PartitionsAdd {
        /// The topic.
        id: TopicId,
        /// The handle of the first new one; the others follow one by one.
        handle_first: PartitionHandle,
        /// How many are new.
        partitions: u32,
    },
    /// A topic's own settings are these now, all of them. First ring only.
    TopicConfigs {
        /// The topic.
        id: TopicId,
        /// As in `TopicCreate`.
        configs: &'a [u8],
    },
    /// Records below this offset are deleted (DeleteRecords, retention). In the partition's ring.
    LogStart {
        /// The partition.
        handle: PartitionHandle,
        /// Its first offset from now on.
        offset: Offset,
    },
    /// A group committed an offset. First ring only.
    OffsetCommit {
        /// The group's name.
        group: &'a str,
        /// The partition.
        handle: PartitionHandle,
        /// The offset that the group wants next.
        offset: Offset,
        /// The leader epoch that came with it, −1 for none.
        leader_epoch: i32,
        /// The string that came with it.
        metadata: &'a str,
        /// When, by the wall clock.
        timestamp_ms: i64,
    },
    /// A group's committed offset of a partition is gone. First ring only.
    OffsetDelete {
        /// The group's name.
        group: &'a str,
        /// The partition.
        handle: PartitionHandle,
    },
    /// A group and all that it committed is gone. First ring only.
    GroupDelete {
        /// The group's name.
        group: &'a str,
    },
    /// This segment's file is about to be used again; all segments up to it are gone.
    Evict {
        /// The highest segment that is gone.
        segment: SegmentSeq,
    },
    /// A partition's bounds. In snapshots, in the partition's ring.
    Partition {
        /// The partition.
        handle: PartitionHandle,
        /// Its first offset.
        log_start: Offset,
        /// The offset that the next record gets.
        next: Offset,
        /// Leader epochs, each with its first offset, oldest first.
        epochs: heapless::Vec<(Boot, Offset), { limits::EPOCHS_PER_PARTITION_MAX }>,
    },
    /// An idempotent producer's state in a partition. In snapshots, in the partition's ring.
    Producer {
        /// The producer.
        id: i64,
        /// Its epoch.
        epoch: i16,
        /// The partition.
        handle: PartitionHandle,
        /// When it last produced, by its batches' newest timestamp.
        timestamp_ms: i64,
        /// Its newest batches, oldest first; empty: unknown, accept any sequence.
        batches: heapless::Vec<ProducerBatch, { limits::PRODUCER_BATCHES_MAX }>,
    },
    /// No handle below this was left ungiven. In snapshots of the first ring.
    HandleNext {
        /// The next handle to give.
        handle: PartitionHandle,
    },
    /// A mirror has a partition's records below this offset. First ring only.
    Mirrored {
        /// What the mirror calls the cluster that it writes to.
        mirror: &'a str,
        /// The partition.
        handle: PartitionHandle,
        /// The first offset that it may not have.
        offset: Offset,
    },
}

/// What is remembered of a batch of an idempotent producer, to tell duplicates and gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerBatch {
    /// Sequence of its first record.
    pub sequence_first: i32,
    /// Sequence of its last record.
    pub sequence_last: i32,
    /// Offset of its first record.
    pub offset_first: Offset,
}

/// Walks over records that stand one behind the other. Ends at the first that cannot be read;
/// [`Records::rest`] is then not empty.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// Over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Records<'a> {
        Records { bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = MetaRecord<'a>;

    fn next(&mut self) -> Option<MetaRecord<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let (record, rest) = postcard::take_from_bytes(self.bytes).ok()?;
        self.bytes = rest;
        Some(record)
    }
}

/// Appends `record` to `buf` at `at`; gives the position behind it, or none if it does not fit.
pub fn put(record: &MetaRecord<'_>, buf: &mut [u8], at: usize) -> Option<usize> {
    let window = buf.get_mut(at..)?;
    let written = postcard::to_slice(record, window).ok()?.len();
    Some(at + written)
}

/// The bytes that `record` takes.
pub fn bytes_of(record: &MetaRecord<'_>) -> usize {
    postcard::experimental::serialized_size(record).expect("a record has a size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_their_order_and_a_broken_one_ends_the_walk() {
        let mut buf = [0u8; 128];
        let boot = MetaRecord::Boot { boot: Boot(7) };
        let commit = MetaRecord::OffsetCommit {
            group: "g",
            handle: PartitionHandle(3),
            offset: Offset(9),
            leader_epoch: -1,
            metadata: "m",
            timestamp_ms: 5,
        };
        let at = put(&boot, &mut buf, 0).unwrap();
        let at = put(&commit, &mut buf, at).unwrap();
        let mut records = Records::new(&buf[..at]);
        assert_eq!(records.next(), Some(boot));
        assert_eq!(records.next(), Some(commit));
        assert_eq!(records.next(), None);
        let mut cut = Records::new(&buf[..at - 1]);
        assert_eq!(cut.by_ref().count(), 1);
        assert!(!cut.rest().is_empty());
    }
}
