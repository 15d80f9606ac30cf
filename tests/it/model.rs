//! What must be there after a crash: kept beside the broker by those who drive it.

use std::collections::BTreeMap;

use brooklet::codec::batch::batches;
use brooklet::types::{Boot, PartitionHandle, RingIndex, SegmentSeq};

use crate::host::{Host, NOON_MS, PLAIN, Sequenced, keyed_batch};

/// Topic and index of each partition.
pub const PARTITIONS: [(&str, i32); 6] =
    [("a", 0), ("a", 1), ("b", 0), (RELAXED_MS, 0), (RELAXED_MESSAGES, 0), (COMPACTED, 0)];

/// The topics that are acknowledged when written, with `flush.ms` and with `flush.messages`: a crash
/// may take what nobody saw yet.
pub const RELAXED_MS: &str = "relaxed-ms";
pub const RELAXED_MESSAGES: &str = "relaxed-messages";

fn is_relaxed(topic: &str) -> bool {
    [RELAXED_MS, RELAXED_MESSAGES].contains(&topic)
}

/// The topic that is compacted: of its records older ones of a key may be gone, and no others.
pub const COMPACTED: &str = "compacted";

/// The key of a record of that topic: one of a few, or of some that are seldom written.
fn key_of(number: u64) -> u64 {
    if number.is_multiple_of(5) { 4 + number / 5 % 16 } else { number % 4 }
}

/// The partition of each idempotent producer.
pub const PRODUCERS: [usize; 4] = [0, 0, 2, 5];

/// A batch that some client sent, at least once.
#[derive(Debug, Clone)]
pub struct Batch {
    pub partition: usize,
    pub producer: Option<usize>,
    pub sequence_first: i32,
    /// Its records: their numbers in the partition, in the order of their sending, and lengths.
    pub numbers: Vec<u64>,
    pub lengths: Vec<usize>,
    /// Its first offset, once the broker gave it one, and whether that was acknowledged.
    pub offset: Option<i64>,
    pub acknowledged: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub batches: Vec<Batch>,
    numbers_next: [u64; PARTITIONS.len()],
    sequences_next: [i32; PRODUCERS.len()],
    /// Where records were put since the start, by partition and offset: their numbers.
    placed: BTreeMap<(usize, i64), u64>,
    /// Those that were acknowledged, or that a consumer could see.
    seen: BTreeMap<(usize, i64), u64>,
    seen_to: [i64; PARTITIONS.len()],
    /// What is below had to make room, or may have to.
    starts_max: [i64; PARTITIONS.len()],
    /// Log starts never move back.
    starts_shown: [i64; PARTITIONS.len()],
    commit_next: i64,
    pub commit_acknowledged: i64,
    boot: Boot,
    /// How many older records of a key were found to be gone.
    pub dropped: usize,
    /// Failures left no file to carry into: keys may be lost, and the log says so.
    carry_lost: bool,
    /// The oldest segment before a start: one that has no other file overwrites it, and carries nothing.
    pub oldest: Option<SegmentSeq>,
}

impl Model {
    /// A batch that is about to be sent for the first time.
    pub fn batch_new(
        &mut self,
        partition: usize,
        producer: Option<usize>,
        lengths: &[usize],
    ) -> usize {
        let next = &mut self.numbers_next[partition];
        let numbers: Vec<u64> = (*next..).take(lengths.len()).collect();
        *next += lengths.len() as u64;
        let mut sequence_first = -1;
        if let Some(producer) = producer {
            sequence_first = self.sequences_next[producer];
            self.sequences_next[producer] += lengths.len() as i32;
        }
        self.batches.push(Batch {
            partition,
            producer,
            sequence_first,
            numbers,
            lengths: lengths.to_vec(),
            offset: None,
            acknowledged: false,
        });
        self.batches.len() - 1
    }

    /// The broker gave a batch its place, though that is not acknowledged yet.
    pub fn placed(&mut self, place: usize, offset: i64) {
        let batch = &mut self.batches[place];
        batch.offset = Some(offset);
        for (offset, number) in (offset..).zip(&batch.numbers) {
            self.placed.insert((batch.partition, offset), *number);
        }
    }

    /// The acknowledgement of a batch reached its client.
    pub fn answered(&mut self, place: usize) {
        let batch = &mut self.batches[place];
        batch.acknowledged = true;
        if is_relaxed(PARTITIONS[batch.partition].0) {
            return;
        }
        let first = batch.offset.expect("it has its place");
        for (offset, number) in (first..).zip(&batch.numbers) {
            let before = self.seen.insert((batch.partition, offset), *number);
            assert!(before.is_none_or(|before| before == *number), "two records at {offset}");
        }
    }

    /// The batches of a producer that were not acknowledged, in order.
    pub fn unanswered(&self, producer: usize) -> impl Iterator<Item = usize> + '_ {
        let waits = move |batch: &Batch| batch.producer == Some(producer) && !batch.acknowledged;
        (0..self.batches.len()).filter(move |place| waits(&self.batches[*place]))
    }

    /// An offset that is about to be committed.
    pub fn commit_new(&mut self) -> i64 {
        self.commit_next += 1;
        self.commit_next
    }

    /// The last offset of those.
    pub fn commit_last(&self) -> i64 {
        self.commit_next
    }

    /// A commit was acknowledged.
    pub fn committed(&mut self, offset: i64) {
        self.commit_acknowledged = self.commit_acknowledged.max(offset);
    }

    /// A boot began; it must be a new one.
    pub fn boot(&mut self, boot: Boot) {
        assert!(boot > self.boot, "{boot:?} follows {:?}", self.boot);
        self.boot = boot;
    }

    /// Notes what consumers may have seen by now: all below the high watermarks.
    pub fn look(&mut self, host: &mut Host) {
        self.note_lost(host);
        for (partition, (topic, _)) in PARTITIONS.iter().enumerate() {
            let Some((_, log_start, visible)) = bounds(host, partition) else {
                continue;
            };
            let from = self.seen_to[partition].max(log_start);
            if is_relaxed(topic) && from < visible {
                // What could not be synced is a gap, whatever its client was told.
                self.placed.retain(|(of, offset), _| *of != partition || *offset < from);
                let found = read(host, partition, from);
                let found = found.iter().map(|(offset, number)| ((partition, *offset), *number));
                self.placed.extend(found);
            }
            for offset in self.seen_to[partition]..visible {
                if let Some(number) = self.placed.get(&(partition, offset)) {
                    self.seen.insert((partition, offset), *number);
                }
            }
            self.seen_to[partition] = self.seen_to[partition].max(visible);
            self.check_start(host, partition, log_start);
        }
    }

    /// Notes whether failures had what compacted topics have overwritten.
    pub fn note_lost(&mut self, host: &Host) {
        let log = &host.broker.log;
        let oldest = log.segments(RingIndex(0)).next().map(|segment| segment.seq);
        let evicted = self.oldest.is_some_and(|before| oldest > Some(before));
        let lost = log.rings().any(|ring| log.stats(ring).carry_lost > 0);
        self.carry_lost |= lost || evicted;
    }

    /// A log start moves only over what is in the oldest segment of a full ring.
    fn check_start(&mut self, host: &Host, partition: usize, log_start: i64) {
        let max = self.starts_max[partition];
        let gone = self.seen.range((partition, max)..(partition, log_start.max(max)));
        let gone: Vec<i64> = gone.map(|((_, offset), _)| *offset).collect();
        assert!(
            gone.is_empty(),
            "{:?} begins at {log_start}: {gone:?}, not below {max}, did not have to go",
            PARTITIONS[partition]
        );
        let shown = &mut self.starts_shown[partition];
        assert!(log_start >= *shown, "{:?} began at {shown}", PARTITIONS[partition]);
        *shown = log_start;
        let (topic, index) = PARTITIONS[partition];
        if topic != COMPACTED || self.carry_lost {
            self.starts_max[partition] = max.max(first_behind_oldest(host, topic, index));
        }
    }

    /// After the broker was opened again: compares all that can be read, the bounds, the boot and
    /// the commit with what must be; and takes over what is there.
    pub fn check(&mut self, host: &mut Host) {
        let rings = host.broker.log.rings();
        if !rings.into_iter().any(|ring| host.broker.log.is_failing(ring)) {
            // A boot of which nothing is on flash, and in which nothing was stored, is none.
            self.boot(host.broker.log.state().boot);
        }
        self.placed.clear();
        self.note_lost(host);
        for partition in 0..PARTITIONS.len() {
            self.check_partition(host, partition);
        }
        let committed = committed(host);
        let possible = self.commit_acknowledged..=self.commit_next;
        assert!(possible.contains(&committed), "committed {committed}, not in {possible:?}");
        self.commit_acknowledged = committed;
    }

    fn check_partition(&mut self, host: &mut Host, partition: usize) {
        let (log_start, visible) = match bounds(host, partition) {
            Some((_, log_start, visible)) => (log_start, visible),
            None => panic!("{:?} is gone", PARTITIONS[partition]),
        };
        self.check_start(host, partition, log_start);
        let found = read(host, partition, log_start);
        let bounds = format!("{:?} from {log_start} to {visible}", PARTITIONS[partition]);
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{bounds}: offsets out of order");
        assert!(
            visible >= self.seen_to[partition],
            "{bounds}: {} was seen",
            self.seen_to[partition]
        );
        // Acknowledged and seen is there, unless it is overwritten.
        let there: BTreeMap<i64, u64> = found.iter().copied().collect();
        let (topic, index) = PARTITIONS[partition];
        if topic == COMPACTED {
            self.check_keys(partition, &bounds, &there);
        } else {
            let from = first_readable(host, topic, index);
            for ((_, offset), number) in self.seen.range((partition, from)..(partition, i64::MAX)) {
                assert_eq!(there.get(offset), Some(number), "{bounds}: offset {offset} was seen");
            }
        }
        // What is there was sent, once, and stands in the order of sending: retries follow later.
        let sent = 0..self.numbers_next[partition];
        let mut once = std::collections::BTreeSet::new();
        for (offset, number) in &found {
            assert!((log_start..visible).contains(offset), "{bounds}: {offset}");
            assert!(sent.contains(number), "{bounds}: {offset} has {number}, never sent");
            assert!(once.insert(*number), "{bounds}: record {number} is there twice");
            self.placed.insert((partition, *offset), *number);
            self.seen.insert((partition, *offset), *number);
        }
        let numbers: Vec<u64> = found.iter().map(|(_, number)| *number).collect();
        self.check_order(partition, &numbers);
        self.seen_to[partition] = visible;
    }

    /// Of a compacted partition: what was seen is there, or a newer record of its key.
    fn check_keys(&mut self, partition: usize, bounds: &str, there: &BTreeMap<i64, u64>) {
        let newest: BTreeMap<u64, i64> = there.iter().map(|(at, n)| (key_of(*n), *at)).collect();
        let mut gone = Vec::new();
        for ((_, offset), number) in self.seen.range((partition, 0)..(partition, i64::MAX)) {
            let newer = newest.get(&key_of(*number)).is_some_and(|newest| newest > offset);
            match there.get(offset) {
                Some(found) => assert_eq!(found, number, "{bounds}: offset {offset} was seen"),
                None if newer => gone.push((partition, *offset)),
                None => assert!(
                    self.carry_lost,
                    "{bounds}: offset {offset} was seen, the newest of key {}",
                    key_of(*number)
                ),
            }
        }
        self.dropped += gone.len();
        gone.iter().for_each(|place| _ = self.seen.remove(place));
    }

    /// Each producer's records follow each other without a gap; the others keep their order.
    fn check_order(&self, partition: usize, numbers: &[u64]) {
        let there = |sent: &[u64]| -> Vec<u64> {
            numbers.iter().copied().filter(|number| sent.contains(number)).collect()
        };
        let sent_by = |producer| -> Vec<u64> {
            let batches = self.batches.iter();
            let its = batches.filter(|b| b.partition == partition && b.producer == producer);
            its.flat_map(|batch| batch.numbers.iter().copied()).collect()
        };
        assert!(there(&sent_by(None)).is_sorted(), "{:?} is out of order", PARTITIONS[partition]);
        for producer in (0..PRODUCERS.len()).filter(|p| PRODUCERS[*p] == partition) {
            let sent = sent_by(Some(producer));
            let found = there(&sent);
            let from = found.first().and_then(|first| sent.iter().position(|n| n == first));
            let expected = sent.iter().skip(from.unwrap_or(0)).take(found.len());
            let holds = match PARTITIONS[partition].0 {
                COMPACTED => found.is_sorted(),
                _ => expected.eq(&found),
            };
            assert!(holds, "producer {producer}: {found:?} of {sent:?}");
        }
    }
}

impl Batch {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let from = match self.producer {
            Some(producer) => {
                Sequenced { id: 100 + producer as i64, epoch: 0, first: self.sequence_first }
            }
            None => PLAIN,
        };
        let values: Vec<Vec<u8>> =
            self.numbers.iter().zip(&self.lengths).map(|(n, length)| value(*n, *length)).collect();
        let keyed = PARTITIONS[self.partition].0 == COMPACTED;
        let keys = self.numbers.iter().map(|number| key_of(*number).to_be_bytes());
        let keys: Vec<_> = keys.map(|key| keyed.then_some(key)).collect();
        let keys = keys.iter().map(|key| key.as_ref().map(|key| &key[..]));
        let records: Vec<_> = keys.zip(values.iter().map(|value| Some(&value[..]))).collect();
        keyed_batch(from, NOON_MS, &records)
    }
}

/// A record's value: its number, and bytes that follow from it.
fn value(number: u64, length: usize) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(length.max(8), number as u8);
    value
}

/// A partition's handle, log start and high watermark.
fn bounds(host: &Host, partition: usize) -> Option<(PartitionHandle, i64, i64)> {
    let (topic, index) = PARTITIONS[partition];
    let partition = host.broker.partition_asked(topic, index)?;
    Some((partition.handle, partition.log_start.0, partition.high_watermark.0))
}

/// Where a partition would begin without the segments that must go when its ring begins another.
pub fn first_behind_oldest(host: &Host, topic: &str, index: i32) -> i64 {
    let log = &host.broker.log;
    let Some(partition) = host.broker.partition_asked(topic, index) else {
        return 0;
    };
    let count = log.segments(partition.ring).count();
    let configured = usize::from(host.broker.config.rings[usize::from(partition.ring.0)].segments);
    // Failures have more live than are configured: all beyond go when another is begun.
    let gone = (count + 1).saturating_sub(configured);
    if gone == 0 || gone > count { 0 } else { first_behind(host, topic, index, gone) }
}

/// Where a partition would begin without so many of the oldest segments.
pub fn first_behind(host: &Host, topic: &str, index: i32, gone: usize) -> i64 {
    let log = &host.broker.log;
    let partition = host.broker.partition_asked(topic, index).unwrap();
    let slot = log.state().partition_with_handle(partition.handle).unwrap();
    let kept = log.segments(partition.ring).skip(gone);
    let mut firsts = kept.filter_map(|s| log.index(partition.ring).in_segment(s.file.file, slot));
    firsts.next().map_or(partition.high_watermark.0, |found| found.first.0)
}

/// Where a reader from the log start finds the first record: behind what is being overwritten, where the disk
/// fails meanwhile. The end, if it has to wait: whether that segment is gone is known only when the head in its
/// place is on flash, so nobody is told that it is.
pub fn first_readable(host: &mut Host, topic: &str, index: i32) -> i64 {
    let partition = host.broker.partition_asked(topic, index).unwrap();
    let (ring, handle) = (partition.ring, partition.handle);
    let (start, end) = (partition.log_start, partition.high_watermark);
    let slot = host.broker.log.state().partition_with_handle(handle).unwrap();
    if start == end || !host.broker.log.index(ring).is_overwritten(slot, start) {
        return start.0;
    }
    let bytes = host.fetch(topic, index, start.0);
    let Some(first) = batches(&bytes).next() else {
        let segments = host.broker.log.index(ring);
        let waits = segments.is_moving(slot, start) || segments.first_offset(slot).is_none();
        assert!(waits, "a reader of {topic}-{index} does not come behind what is overwritten");
        return end.0;
    };
    assert!(!first.header.is_control(), "{topic}-{index} is said to be gone, and may be there");
    first.header.base_offset
}

/// Offsets and numbers of a partition's records from `next` on.
fn read(host: &mut Host, partition: usize, mut next: i64) -> Vec<(i64, u64)> {
    let (topic, index) = PARTITIONS[partition];
    let mut found: Vec<(i64, u64)> = Vec::new();
    let (_, _, end) = bounds(host, partition).unwrap();
    if topic != COMPACTED {
        next = next.max(first_readable(host, topic, index));
    }
    while next < end {
        let bytes = host.fetch(topic, index, next);
        let before = next;
        for batch in batches(&bytes) {
            assert!(batch.crc_holds(), "a fetched batch is damaged");
            if batch.header.is_control() {
                // It stands for offsets without records.
                next = next.max(batch.header.last_offset() + 1);
                continue;
            }
            for record in batch.records().expect("it is not compressed") {
                let record = record.unwrap();
                let value = record.value.expect("it has a value");
                let number = u64::from_be_bytes(value[..8].try_into().unwrap());
                assert!(value[8..].iter().all(|byte| *byte == number as u8), "mixed contents");
                if record.offset >= before {
                    found.push((record.offset, number));
                }
            }
            next = next.max(batch.header.last_offset() + 1);
        }
        // Where a cut took records, a marker stands for them.
        assert!(
            next > before,
            "a reader of {topic}-{index} comes no further than {before} of {end}"
        );
    }
    found
}

/// What group `g` has committed for the first partition; 0: nothing.
fn committed(host: &Host) -> i64 {
    let state = host.broker.log.state();
    let handle = bounds(host, 0).map(|(handle, ..)| handle);
    let group = state.group_named("g");
    let found = group.zip(handle).and_then(|(group, handle)| state.offset_of(group, handle));
    found.map_or(0, |found| found.offset.0)
}
