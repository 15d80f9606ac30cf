//! Metadata records: what a ring stores beside record batches, one after the other, in `postcard`.
//!
//! The same records are in commit groups (a change) and in snapshots (the whole state, as the
//! changes that lead to it). Their order is the format: variants are only ever added at the end, and
//! fields never, since a record does not say how long it is.
//!
//! A consumer commits many partitions at once, so that all commits behind the first leave out what is
//! the same there: [`Appender`] writes them short, and [`Records`] gives them back whole.

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
    /// A topic was created, with partitions 0 to `partitions` − 1. Metadata ring only.
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
    /// A topic was deleted with its partitions. Metadata ring only.
    TopicDelete {
        /// Its id.
        id: TopicId,
    },
    /// Partitions were added to a topic, behind those that it has. Metadata ring only.
    PartitionsAdd {
        /// The topic.
        id: TopicId,
        /// The handle of the first new one; the others follow one by one.
        handle_first: PartitionHandle,
        /// How many are new.
        partitions: u32,
    },
    /// All of a topic's own settings were replaced. Metadata ring only.
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
    /// A group committed an offset. Metadata ring only.
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
    /// A group's committed offset of a partition was deleted. Metadata ring only.
    OffsetDelete {
        /// The group's name.
        group: &'a str,
        /// The partition.
        handle: PartitionHandle,
    },
    /// A group was deleted with all its committed offsets. Metadata ring only.
    GroupDelete {
        /// The group's name.
        group: &'a str,
    },
    /// This segment's file is about to be used again; all segments up to it are gone.
    Evict {
        /// The highest segment that is gone.
        segment: SegmentSeq,
    },
    /// A partition's bounds, in the partition's ring: in snapshots, and in groups for a gap.
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
    /// All handles below this were given out. In snapshots of the metadata ring.
    HandleNext {
        /// The next handle to give.
        handle: PartitionHandle,
    },
    /// A mirror has replicated a partition's records below this offset. Metadata ring only.
    Mirrored {
        /// What the mirror calls the cluster that it writes to.
        mirror: &'a str,
        /// The partition.
        handle: PartitionHandle,
        /// The first offset that it may not have.
        offset: Offset,
    },
    /// How many records of the ring were overwritten unconsumed. In snapshots.
    Overwritten {
        /// For whom it is counted, as the configuration names it.
        holder: &'a str,
        /// How many, since the ring was made.
        records: u64,
    },
    /// The cluster's id, where the configuration sets none. In snapshots of the metadata ring.
    ClusterId {
        /// The id.
        id: [u8; 16],
    },
}

impl MetaRecord<'_> {
    /// Whether it belongs in the metadata ring; before format 5, in the first ring.
    pub fn is_shared(&self) -> bool {
        !matches!(
            self,
            MetaRecord::Boot { .. }
                | MetaRecord::Partition { .. }
                | MetaRecord::Producer { .. }
                | MetaRecord::LogStart { .. }
                | MetaRecord::Evict { .. }
                | MetaRecord::Overwritten { .. }
        )
    }

    /// Whether it only reports progress: if it is lost, some records are consumed again.
    pub fn is_progress(&self) -> bool {
        matches!(self, MetaRecord::OffsetCommit { .. } | MetaRecord::Mirrored { .. })
    }
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

/// A commit behind another of the same group: what differs.
#[derive(Debug, Serialize, Deserialize)]
struct CommitNext<'a> {
    handle: PartitionHandle,
    offset: Offset,
    leader_epoch: i32,
    /// None: that of the commit before.
    #[serde(borrow)]
    metadata: Option<&'a str>,
    /// The time after that of the commit before.
    after_ms: i64,
}

/// Its tag, beyond those of [`MetaRecord`].
const COMMIT_NEXT_TAG: u8 = 64;

/// What the commit before said: a commit behind it may leave that out.
#[derive(Debug, Clone, Copy)]
struct Before<Text> {
    group: Text,
    metadata: Text,
    timestamp_ms: i64,
}

/// Walks over records one behind the other, from the first on. Ends at one that cannot be
/// read; [`Records::rest`] is then not empty.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    before: Option<Before<&'a str>>,
}

impl<'a> Records<'a> {
    /// Over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Records<'a> {
        Records { bytes, before: None }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    fn take(&mut self) -> Option<MetaRecord<'a>> {
        let Some(short) = self.bytes.strip_prefix(&[COMMIT_NEXT_TAG]) else {
            let (record, rest) = postcard::take_from_bytes(self.bytes).ok()?;
            self.bytes = rest;
            return Some(record);
        };
        let (next, rest) = postcard::take_from_bytes::<CommitNext<'a>>(short).ok()?;
        let before = self.before?;
        self.bytes = rest;
        Some(MetaRecord::OffsetCommit {
            group: before.group,
            handle: next.handle,
            offset: next.offset,
            leader_epoch: next.leader_epoch,
            metadata: next.metadata.unwrap_or(before.metadata),
            timestamp_ms: before.timestamp_ms.wrapping_add(next.after_ms),
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = MetaRecord<'a>;

    fn next(&mut self) -> Option<MetaRecord<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let record = self.take()?;
        if let MetaRecord::OffsetCommit { group, metadata, timestamp_ms, .. } = record {
            self.before = Some(Before { group, metadata, timestamp_ms });
        }
        Some(record)
    }
}

/// Writes records one behind the other, from the first on.
#[derive(Debug, Clone, Default)]
pub struct Appender {
    end: usize,
    /// Where its strings are in the buffer.
    before: Option<Before<(usize, usize)>>,
}

impl Appender {
    /// For records that begin at `at` of a buffer.
    pub fn at(at: usize) -> Appender {
        Appender { end: at, before: None }
    }

    /// The position behind the last record.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Appends `record` to `buf`, which holds those before; none if it does not fit.
    pub fn push(&mut self, record: &MetaRecord<'_>, buf: &mut [u8]) -> Option<()> {
        let from = self.end;
        let MetaRecord::OffsetCommit {
            group,
            handle,
            offset,
            leader_epoch,
            metadata,
            timestamp_ms,
        } = *record
        else {
            self.end += postcard::to_slice(record, buf.get_mut(from..)?).ok()?.len();
            return Some(());
        };
        let text = |buf: &[u8], (at, len)| buf.get(at..at + len) == Some(group.as_bytes());
        let before = self.before.filter(|before| text(buf, before.group));
        let Some(before) = before else {
            self.end += postcard::to_slice(record, buf.get_mut(from..)?).ok()?.len();
            self.before = Some(Before {
                group: (from + 1 + varint_bytes(group.len()), group.len()),
                metadata: (self.end - signed_bytes(timestamp_ms) - metadata.len(), metadata.len()),
                timestamp_ms,
            });
            return Some(());
        };
        let (at, len) = before.metadata;
        let is_same = buf.get(at..at + len) == Some(metadata.as_bytes());
        let next = CommitNext {
            handle,
            offset,
            leader_epoch,
            metadata: (!is_same).then_some(metadata),
            after_ms: timestamp_ms.wrapping_sub(before.timestamp_ms),
        };
        let window = buf.get_mut(from..)?;
        let (tag, window) = window.split_first_mut()?;
        let bytes = postcard::to_slice(&next, window).ok()?.len();
        *tag = COMMIT_NEXT_TAG;
        self.end += 1 + bytes;
        let metadata_at = self.end - signed_bytes(next.after_ms) - metadata.len();
        let metadata = if is_same { before.metadata } else { (metadata_at, metadata.len()) };
        self.before = Some(Before { group: before.group, metadata, timestamp_ms });
        Some(())
    }
}

/// The bytes of a number as a varint.
fn varint_bytes(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// The bytes of a signed number: zigzag, then a varint.
fn signed_bytes(number: i64) -> usize {
    let zigzag = (number << 1 ^ number >> 63).cast_unsigned();
    (u64::BITS - (zigzag | 1).leading_zeros()).div_ceil(7) as usize
}

/// The bytes that `record` takes when it is not written short.
pub fn bytes_of(record: &MetaRecord<'_>) -> usize {
    postcard::experimental::serialized_size(record).expect("a record has a size")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(
        group: &'static str,
        handle: u32,
        metadata: &'static str,
        ms: i64,
    ) -> MetaRecord<'static> {
        MetaRecord::OffsetCommit {
            group,
            handle: PartitionHandle(handle),
            offset: Offset(9),
            leader_epoch: -1,
            metadata,
            timestamp_ms: ms,
        }
    }

    fn written(records: &[MetaRecord<'_>]) -> Vec<u8> {
        let mut buf = vec![0; 64 * 1024];
        let mut appender = Appender::default();
        for record in records {
            appender.push(record, &mut buf).expect("it fits");
        }
        buf.truncate(appender.end());
        buf
    }

    #[test]
    fn records_come_back_in_their_order_and_a_broken_one_ends_the_walk() {
        let records = [MetaRecord::Boot { boot: Boot(7) }, commit("g", 3, "m", 5)];
        let bytes = written(&records);
        assert!(Records::new(&bytes).eq(records.iter().cloned()));
        let mut cut = Records::new(&bytes[..bytes.len() - 1]);
        assert_eq!(cut.by_ref().count(), 1);
        assert!(!cut.rest().is_empty());
    }

    #[test]
    fn commits_of_one_group_come_back_whole_whatever_stands_between_them() {
        let boot = MetaRecord::Boot { boot: Boot(7) };
        let records = [
            commit("a", 1, "member-1", 1_700_000_000_000),
            commit("a", 2, "member-1", 1_700_000_000_000),
            boot.clone(),
            commit("a", 3, "", 1_700_000_000_001),
            commit("a", 4, "", i64::MIN),
            commit("a", 5, "other", i64::MAX),
            commit("b", 1, "other", 0),
            commit("a", 6, "other", 0),
            commit("", 6, "", 0),
            boot,
            commit("", 7, "", -1),
        ];
        assert!(Records::new(&written(&records)).eq(records.iter().cloned()));
    }

    #[test]
    fn a_commit_behind_another_of_its_group_takes_what_differs() {
        let group: &str = "g".repeat(limits::GROUP_ID_BYTES_MAX).leak();
        let metadata: &str = "m".repeat(limits::OFFSET_METADATA_LENGTH_MAX).leak();
        let first = commit(group, 1, metadata, 1_700_000_000_000);
        let second = commit(group, u32::MAX, metadata, 1_700_000_000_000);
        let (one, two) = (written(std::slice::from_ref(&first)), written(&[first, second]));
        assert_eq!(two.len() - one.len(), 1 + 5 + 1 + 1 + 1 + 1);
    }

    #[test]
    fn a_short_commit_with_nothing_before_it_ends_the_walk() {
        let bytes = written(&[commit("g", 1, "", 0), commit("g", 2, "", 0)]);
        let first = written(&[commit("g", 1, "", 0)]).len();
        let mut alone = Records::new(&bytes[first..]);
        assert_eq!(alone.next(), None);
        assert!(!alone.rest().is_empty());
    }

    #[test]
    fn lengths_of_numbers_are_those_that_are_written() {
        for number in [0, 1, 63, 64, 127, 128, 16_383, 16_384, i64::MAX, -1, -64, -65, i64::MIN] {
            let bytes = postcard::experimental::serialized_size(&number).unwrap();
            assert_eq!(signed_bytes(number), bytes, "{number}");
            let bytes = postcard::experimental::serialized_size(&number.unsigned_abs()).unwrap();
            assert_eq!(varint_bytes(number.unsigned_abs() as usize), bytes, "{number}");
        }
    }
}
