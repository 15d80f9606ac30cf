//! Idempotent producers: which sequence comes next from each, in each partition.
//!
//! Kafka's rules, in a table of fixed size. What a producer staged last runs ahead of the sync, so
//! that the next batch can be judged at once; beside it stands what is synced, which alone goes
//! into snapshots: after a power cut, the retry of a batch that was lost must not be taken for a
//! duplicate. When the table is full, the producer that wrote longest ago is forgotten, and is
//! later accepted again with any sequence.

use crate::codec::batch::BatchHeader;
use crate::limits;
use crate::log::record::ProducerBatch;
use crate::types::{Offset, PartitionSlot, RingIndex, Ticket};

/// A producer's newest batches, oldest first.
pub type ProducerBatches = heapless::Vec<ProducerBatch, { limits::PRODUCER_BATCHES_MAX }>;

/// What a batch is to its producer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The next one, or the first from a producer not known here: append it.
    Append,
    /// Stored before (or on its way under `ticket`): answer with the same offset, once settled.
    Duplicate {
        /// The offset of its first record.
        offset: Offset,
        /// The ticket under which it was staged; 0: synced long ago.
        ticket: Ticket,
    },
    /// Stored before, but its offset is not remembered: DUPLICATE_SEQUENCE_NUMBER (46), which
    /// clients take for success. Kafka itself says 45 here.
    DuplicateOld,
    /// There is a gap before it: OUT_OF_ORDER_SEQUENCE_NUMBER (45).
    OutOfOrder,
    /// From an older epoch: INVALID_PRODUCER_EPOCH (47).
    EpochOld,
}

/// What is known of a producer in a partition, for DescribeProducers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerView {
    /// The producer.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its last record; −1: unknown.
    pub sequence_last: i32,
    /// The newest timestamp of its last batch.
    pub timestamp_ms: i64,
}

/// The table.
pub struct Producers {
    /// As far as places were ever in use.
    entries: Vec<Entry>,
    max: usize,
    /// Open addressing: places in `entries`, or [`NONE`]. A power of two, at most half full.
    index: Vec<u32>,
    /// The entry used longest ago, and the one used last; [`NONE`] when there is none.
    oldest: u32,
    newest: u32,
    /// Entries that are not in use, linked by `newer`.
    free: u32,
    len: usize,
    /// Up to which ticket each ring is synced.
    synced: [Ticket; limits::RINGS_MAX],
}

impl Producers {
    /// An empty table for `max` producer and partition pairs; allocates all that it will ever need.
    pub fn new(max: usize) -> Producers {
        Producers {
            entries: Vec::with_capacity(max),
            max,
            index: vec![NONE; (max * 2).next_power_of_two().max(2)],
            oldest: NONE,
            newest: NONE,
            free: NONE,
            len: 0,
            synced: [Ticket(0); limits::RINGS_MAX],
        }
    }

    /// How many producer and partition pairs are known.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the batch with these sequences is.
    pub fn check(
        &self,
        id: i64,
        epoch: i16,
        slot: PartitionSlot,
        sequence_first: i32,
        sequence_last: i32,
    ) -> Check {
        match self.find(id, slot) {
            Some((_, place)) => self.entries[place].check(epoch, sequence_first, sequence_last),
            None => Check::Append,
        }
    }

    /// Notes a batch that was staged in `ring`, which holds the partition, under `ticket`.
    #[allow(clippy::too_many_arguments)] // All of them are of one batch.
    pub fn staged(
        &mut self,
        id: i64,
        epoch: i16,
        slot: PartitionSlot,
        ring: RingIndex,
        batch: ProducerBatch,
        timestamp_ms: i64,
        ticket: Ticket,
    ) {
        let synced = self.synced_of(ring);
        if let Some(entry) = self.take(id, slot, epoch) {
            entry.promote(synced);
            entry.timestamp_ms = timestamp_ms;
            entry.push(epoch, Remembered { batch, ticket });
        }
    }

    /// Everything staged in `ring` up to `ticket` is synced now.
    pub fn synced(&mut self, ring: RingIndex, ticket: Ticket) {
        if let Some(synced) = self.synced.get_mut(usize::from(ring.0)) {
            *synced = (*synced).max(ticket);
        }
    }

    /// Everything that is synced, for a snapshot, those used longest ago first: never a batch whose
    /// ticket is above `synced`. Producers of other rings are given too, and are not to be used.
    pub fn snapshot(
        &self,
        synced: Ticket,
        put: &mut dyn FnMut(PartitionSlot, i64, i16, i64, &ProducerBatches),
    ) {
        let mut place = self.oldest;
        while place != NONE {
            let mut entry = self.entries[place as usize].clone();
            entry.promote(synced);
            if entry.synced_epoch != NO_EPOCH {
                let (epoch, batches) = (entry.synced_epoch, &entry.synced);
                put(entry.slot, entry.id, epoch, entry.timestamp_ms, batches);
            }
            place = entry.newer;
        }
    }

    /// Takes one entry of a snapshot.
    pub fn restore(
        &mut self,
        id: i64,
        epoch: i16,
        slot: PartitionSlot,
        timestamp_ms: i64,
        batches: &ProducerBatches,
    ) {
        if let Some(entry) = self.take(id, slot, epoch) {
            entry.forget();
            entry.epoch = epoch;
            entry.timestamp_ms = timestamp_ms;
            entry.synced = batches.clone();
            entry.synced_epoch = epoch;
            for batch in batches {
                let ticket = Ticket(0);
                let _ = entry.newest.push(Remembered { batch: *batch, ticket });
            }
        }
    }

    /// Takes a batch that recovery found on flash, in the order of offsets. Nothing is refused: a
    /// batch that does not follow the one before shows that something between was lost.
    pub fn replay(&mut self, slot: PartitionSlot, header: &BatchHeader) {
        let Some(batch) = batch_of(header, Offset(header.base_offset)) else {
            return;
        };
        let epoch = header.producer_epoch;
        let Some(entry) = self.take(header.producer_id, slot, epoch) else {
            return;
        };
        if entry.newest.iter().any(|known| known.batch == batch) && entry.epoch == epoch {
            return;
        }
        let follows = entry
            .newest
            .last()
            .is_none_or(|last| batch.sequence_first == sequence_next(last.batch.sequence_last));
        if !follows || entry.epoch != epoch {
            entry.forget();
        }
        entry.epoch = epoch;
        entry.timestamp_ms = header.max_timestamp;
        entry.push(epoch, Remembered { batch, ticket: REPLAYED });
        entry.promote(REPLAYED);
    }

    /// Part of the partition's log was damaged: from here on any sequence is accepted in it.
    pub fn forget_sequences(&mut self, slot: PartitionSlot) {
        let mut place = self.oldest;
        while place != NONE {
            let entry = &mut self.entries[place as usize];
            if entry.slot == slot {
                entry.forget();
                entry.synced_epoch = entry.epoch;
            }
            place = entry.newer;
        }
    }

    /// The partition is gone.
    pub fn forget_partition(&mut self, slot: PartitionSlot) {
        let mut place = self.oldest;
        while place != NONE {
            let entry = &self.entries[place as usize];
            let (newer, ours) = (entry.newer, entry.slot == slot);
            if ours {
                self.remove(place as usize);
            }
            place = newer;
        }
    }

    /// The producers of a partition, those that wrote longest ago first.
    pub fn of_partition(&self, slot: PartitionSlot) -> impl Iterator<Item = ProducerView> + '_ {
        let mut place = self.oldest;
        let walk = std::iter::from_fn(move || {
            let entry = self.entries.get(place as usize)?;
            place = entry.newer;
            Some(entry)
        });
        walk.filter(move |entry| entry.slot == slot).map(|entry| ProducerView {
            id: entry.id,
            epoch: entry.epoch,
            sequence_last: entry.newest.last().map_or(-1, |last| last.batch.sequence_last),
            timestamp_ms: entry.timestamp_ms,
        })
    }

    fn synced_of(&self, ring: RingIndex) -> Ticket {
        self.synced.get(usize::from(ring.0)).copied().unwrap_or_default()
    }

    /// The entry of a producer, found or made; it is the one used last then. None in a table of
    /// size 0.
    fn take(&mut self, id: i64, slot: PartitionSlot, epoch: i16) -> Option<&mut Entry> {
        let place = match self.find(id, slot) {
            Some((_, place)) => {
                self.unlink(place);
                place
            }
            None => {
                if self.free == NONE && self.entries.len() < self.max {
                    self.free = self.entries.len() as u32;
                    self.entries.push(Entry::default());
                } else if self.free == NONE {
                    if self.oldest == NONE {
                        return None;
                    }
                    self.remove(self.oldest as usize);
                }
                let place = self.free as usize;
                self.free = self.entries[place].newer;
                self.entries[place] = Entry { id, slot, epoch, ..Entry::default() };
                let at = self.probe(id, slot).0;
                self.index[at] = place as u32;
                self.len += 1;
                place
            }
        };
        self.link(place);
        self.entries.get_mut(place)
    }

    /// Where a producer is in the index, and in the entries.
    fn find(&self, id: i64, slot: PartitionSlot) -> Option<(usize, usize)> {
        let (at, place) = self.probe(id, slot);
        (place != NONE).then_some((at, place as usize))
    }

    /// Where a producer is in the index, or would be; and its place or [`NONE`].
    fn probe(&self, id: i64, slot: PartitionSlot) -> (usize, u32) {
        let mask = self.index.len() - 1;
        let mut at = home(id, slot, mask);
        loop {
            let place = self.index[at];
            let found = self.entries.get(place as usize);
            if found.is_none_or(|entry| entry.id == id && entry.slot == slot) {
                return (at, place);
            }
            at = (at + 1) & mask;
        }
    }

    fn remove(&mut self, place: usize) {
        let Entry { id, slot, .. } = self.entries[place];
        let (mut hole, found) = self.find(id, slot).expect("entries in use are in the index");
        assert_eq!(found, place);
        self.unlink(place);
        self.entries[place] = Entry { newer: self.free, ..Entry::default() };
        self.free = place as u32;
        self.len -= 1;
        // Whatever follows without a gap moves up, unless it would come before its home.
        let mask = self.index.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let other = self.index[at];
            let Some(entry) = self.entries.get(other as usize) else {
                break;
            };
            let home = home(entry.id, entry.slot, mask);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = other;
                hole = at;
            }
        }
        self.index[hole] = NONE;
    }

    fn link(&mut self, place: usize) {
        let before = self.newest;
        let entry = &mut self.entries[place];
        (entry.older, entry.newer) = (before, NONE);
        match self.entries.get_mut(before as usize) {
            Some(before) => before.newer = place as u32,
            None => self.oldest = place as u32,
        }
        self.newest = place as u32;
    }

    fn unlink(&mut self, place: usize) {
        let Entry { older, newer, .. } = self.entries[place];
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }
}

/// What is to be remembered of a batch that is stored at `offset`; none if it has no sequences.
pub fn batch_of(header: &BatchHeader, offset: Offset) -> Option<ProducerBatch> {
    let sequence_first = header.base_sequence;
    (header.has_producer_id() && sequence_first >= 0).then_some(ProducerBatch {
        sequence_first,
        sequence_last: sequence_plus(sequence_first, header.last_offset_delta.max(0)),
        offset_first: offset,
    })
}

/// The sequence `delta` records on: after the largest comes 0.
pub fn sequence_plus(sequence: i32, delta: i32) -> i32 {
    sequence.wrapping_add(delta) & i32::MAX
}

fn sequence_next(sequence: i32) -> i32 {
    sequence_plus(sequence, 1)
}

/// How many sequences on from `from` is `to`.
fn sequence_distance(from: i32, to: i32) -> u32 {
    (to.wrapping_sub(from) & i32::MAX).cast_unsigned()
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    batch: ProducerBatch,
    /// 0: it is in `synced`, unless newer ones pushed it out there.
    ticket: Ticket,
}

/// A producer in a partition.
#[derive(Debug, Clone)]
struct Entry {
    id: i64,
    timestamp_ms: i64,
    /// The newest batches, synced or not, oldest first; empty: any sequence is accepted.
    newest: heapless::Vec<Remembered, { limits::PRODUCER_BATCHES_MAX }, u8>,
    /// The newest synced batches, as far as `promote` has looked.
    synced: ProducerBatches,
    /// The lowest ticket of a batch that was pushed out of `newest` before it was known to be
    /// synced; 0: none. Once that is synced, what `synced` holds is out of date.
    lost: Ticket,
    /// So many sequences before `newest` are known to be stored.
    sequences_before: u32,
    older: u32,
    newer: u32,
    slot: PartitionSlot,
    epoch: i16,
    synced_epoch: i16,
    lost_epoch: i16,
}

impl Entry {
    fn check(&self, epoch: i16, first: i32, last: i32) -> Check {
        if epoch < self.epoch {
            return Check::EpochOld;
        }
        let (Some(oldest), Some(newest)) = (self.newest.first(), self.newest.last()) else {
            return Check::Append;
        };
        if epoch > self.epoch {
            return if first == 0 { Check::Append } else { Check::OutOfOrder };
        }
        if first == sequence_next(newest.batch.sequence_last) {
            return Check::Append;
        }
        let same = |known: &&Remembered| {
            known.batch.sequence_first == first && known.batch.sequence_last == last
        };
        if let Some(known) = self.newest.iter().find(same) {
            return Check::Duplicate { offset: known.batch.offset_first, ticket: known.ticket };
        }
        let before = |sequence| {
            let distance = sequence_distance(sequence, oldest.batch.sequence_first);
            (1..=self.sequences_before).contains(&distance)
        };
        if before(first) && before(last) { Check::DuplicateOld } else { Check::OutOfOrder }
    }

    /// Takes a batch that may be appended: [`Entry::promote`] was called before.
    fn push(&mut self, epoch: i16, batch: Remembered) {
        if epoch != self.epoch {
            while !self.newest.is_empty() {
                self.push_out();
            }
            self.epoch = epoch;
            self.sequences_before = 0;
        } else if self.newest.is_full() {
            self.push_out();
        }
        let _ = self.newest.push(batch);
    }

    fn push_out(&mut self) {
        let Remembered { batch, ticket } = self.newest.remove(0);
        let records = sequence_distance(batch.sequence_first, batch.sequence_last) + 1;
        self.sequences_before = (self.sequences_before + records).min(SEQUENCES_BEFORE_MAX);
        if ticket != Ticket(0) && self.lost == Ticket(0) {
            self.lost = ticket;
            self.lost_epoch = self.epoch;
        }
    }

    /// Brings `synced` up to date with what is synced up to this ticket.
    fn promote(&mut self, synced: Ticket) {
        if self.lost != Ticket(0) && self.lost <= synced {
            self.synced.clear();
            self.synced_epoch = self.lost_epoch;
            self.lost = Ticket(0);
        }
        for known in &mut self.newest {
            if known.ticket == Ticket(0) || known.ticket > synced {
                continue;
            }
            if self.synced_epoch != self.epoch {
                self.synced.clear();
                self.synced_epoch = self.epoch;
            }
            if self.synced.is_full() {
                self.synced.remove(0);
            }
            let _ = self.synced.push(known.batch);
            known.ticket = Ticket(0);
        }
    }

    /// Forgets all sequences, not the epoch.
    fn forget(&mut self) {
        self.newest.clear();
        self.synced.clear();
        self.lost = Ticket(0);
        self.sequences_before = 0;
    }
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            id: -1,
            timestamp_ms: -1,
            newest: heapless::Vec::new(),
            synced: ProducerBatches::new(),
            lost: Ticket(0),
            sequences_before: 0,
            older: NONE,
            newer: NONE,
            slot: PartitionSlot(0),
            epoch: NO_EPOCH,
            synced_epoch: NO_EPOCH,
            lost_epoch: NO_EPOCH,
        }
    }
}

/// Where the search for a producer begins. Ids are random already, unless a client makes them up.
fn home(id: i64, slot: PartitionSlot, mask: usize) -> usize {
    let mixed = (id.cast_unsigned() ^ u64::from(slot.0).rotate_left(40))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & mask
}

const NONE: u32 = u32::MAX;
const NO_EPOCH: i16 = -1;
/// What was replayed is synced; any ticket but 0 does.
const REPLAYED: Ticket = Ticket(1);
/// Beyond it, older sequences could be newer ones that came round.
const SEQUENCES_BEFORE_MAX: u32 = 1 << 30;

/// An entry, and its share of the index: two to four places.
const _: () = assert!(size_of::<Entry>() + 4 * size_of::<u32>() <= limits::PRODUCER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionSlot = PartitionSlot(3);
    const RING: RingIndex = RingIndex(0);

    /// Stages a batch, as a handler would: only if it may be.
    fn produce(
        table: &mut Producers,
        id: i64,
        epoch: i16,
        first: i32,
        records: i32,
        ticket: u64,
    ) -> Check {
        let last = sequence_plus(first, records - 1);
        let check = table.check(id, epoch, P, first, last);
        if check == Check::Append {
            let offset_first = Offset(i64::from(first) + 1000);
            let batch = ProducerBatch { sequence_first: first, sequence_last: last, offset_first };
            table.staged(id, epoch, P, RING, batch, 5, Ticket(ticket));
        }
        check
    }

    fn duplicate(first: i32, ticket: u64) -> Check {
        Check::Duplicate { offset: Offset(i64::from(first) + 1000), ticket: Ticket(ticket) }
    }

    fn snapshot(table: &Producers, synced: u64) -> Vec<(i64, i16, Vec<i32>)> {
        let mut entries = Vec::new();
        table.snapshot(Ticket(synced), &mut |_, id, epoch, _, batches| {
            entries.push((id, epoch, batches.iter().map(|b| b.sequence_first).collect()));
        });
        entries
    }

    fn header(id: i64, epoch: i16, first: i32, records: i32) -> BatchHeader {
        let mut header = BatchHeader::read(&[0; 61]).unwrap();
        header.producer_id = id;
        header.producer_epoch = epoch;
        header.base_sequence = first;
        header.last_offset_delta = records - 1;
        header.base_offset = i64::from(first) + 1000;
        header
    }

    #[test]
    fn any_of_the_last_five_batches_is_a_duplicate_and_older_ones_are_old() {
        let mut table = Producers::new(4);
        for batch in 0..7 {
            assert_eq!(produce(&mut table, 9, 0, batch * 10, 10, 1), Check::Append);
        }
        for batch in 2..7 {
            assert_eq!(produce(&mut table, 9, 0, batch * 10, 10, 2), duplicate(batch * 10, 1));
        }
        assert_eq!(produce(&mut table, 9, 0, 10, 10, 2), Check::DuplicateOld);
        assert_eq!(produce(&mut table, 9, 0, 0, 10, 2), Check::DuplicateOld);
        // Not as it was stored.
        assert_eq!(produce(&mut table, 9, 0, 60, 9, 2), Check::OutOfOrder);
        assert_eq!(produce(&mut table, 9, 0, 15, 10, 2), Check::OutOfOrder);
        assert_eq!(produce(&mut table, 9, 0, 80, 10, 2), Check::OutOfOrder);
        assert_eq!(produce(&mut table, 9, 0, 70, 1, 2), Check::Append);
    }

    #[test]
    fn what_may_never_have_been_stored_is_not_called_an_old_duplicate() {
        let mut table = Producers::new(4);
        for batch in 10..17 {
            assert_eq!(produce(&mut table, 9, 0, batch, 1, 1), Check::Append);
        }
        assert_eq!(produce(&mut table, 9, 0, 10, 1, 1), Check::DuplicateOld);
        assert_eq!(produce(&mut table, 9, 0, 9, 1, 1), Check::OutOfOrder);
    }

    #[test]
    fn sequences_go_from_the_largest_to_0() {
        let mut table = Producers::new(4);
        assert_eq!(produce(&mut table, 9, 0, i32::MAX - 1, 2, 1), Check::Append);
        assert_eq!(produce(&mut table, 9, 0, 0, 2, 1), Check::Append);
        assert_eq!(produce(&mut table, 9, 0, 2, 1, 1), Check::Append);
        let mut table = Producers::new(4);
        assert_eq!(produce(&mut table, 9, 0, i32::MAX, 3, 1), Check::Append);
        assert_eq!(produce(&mut table, 9, 0, i32::MAX, 3, 1), duplicate(i32::MAX, 1));
        assert_eq!(produce(&mut table, 9, 0, 2, 1, 1), Check::Append);
    }

    #[test]
    fn a_new_epoch_starts_at_0_and_an_old_one_is_refused() {
        let mut table = Producers::new(4);
        assert_eq!(produce(&mut table, 9, 3, 7, 1, 1), Check::Append);
        assert_eq!(produce(&mut table, 9, 2, 8, 1, 1), Check::EpochOld);
        assert_eq!(produce(&mut table, 9, 4, 8, 1, 1), Check::OutOfOrder);
        assert_eq!(produce(&mut table, 9, 4, 0, 1, 1), Check::Append);
        assert_eq!(produce(&mut table, 9, 4, 1, 1, 1), Check::Append);
        assert_eq!(produce(&mut table, 9, 3, 7, 1, 1), Check::EpochOld);
    }

    #[test]
    fn a_snapshot_never_has_a_batch_that_is_not_synced() {
        let mut table = Producers::new(4);
        assert_eq!(snapshot(&table, 9), []);
        for batch in 0..4 {
            produce(&mut table, 9, 0, batch, 1, 1);
        }
        assert_eq!(snapshot(&table, 0), []);
        assert_eq!(snapshot(&table, 1), [(9, 0, vec![0, 1, 2, 3])]);
        table.synced(RING, Ticket(1));
        // Five more push out all that is synced.
        for batch in 4..9 {
            produce(&mut table, 9, 0, batch, 1, 2);
        }
        assert_eq!(snapshot(&table, 1), [(9, 0, vec![0, 1, 2, 3])]);
        assert_eq!(snapshot(&table, 2), [(9, 0, vec![4, 5, 6, 7, 8])]);
        produce(&mut table, 9, 1, 0, 1, 3);
        assert_eq!(snapshot(&table, 1), [(9, 0, vec![0, 1, 2, 3])]);
        assert_eq!(snapshot(&table, 3), [(9, 1, vec![0])]);
    }

    #[test]
    fn a_synced_batch_that_was_forgotten_makes_the_snapshot_say_unknown() {
        let mut table = Producers::new(4);
        produce(&mut table, 9, 0, 0, 1, 1);
        table.synced(RING, Ticket(1));
        // More than a client may have in flight: the first of ticket 2 is pushed out unsynced.
        produce(&mut table, 9, 0, 1, 1, 2);
        for batch in 2..7 {
            produce(&mut table, 9, 0, batch, 1, 3);
        }
        assert_eq!(snapshot(&table, 1), [(9, 0, vec![0])]);
        assert_eq!(snapshot(&table, 2), [(9, 0, vec![])]);
        assert_eq!(snapshot(&table, 3), [(9, 0, vec![2, 3, 4, 5, 6])]);
    }

    #[test]
    fn a_restored_producer_goes_on_where_it_was() {
        let mut table = Producers::new(4);
        for batch in 0..6 {
            produce(&mut table, 9, 2, batch, 1, 1);
        }
        let mut other = Producers::new(4);
        table.snapshot(Ticket(1), &mut |slot, id, epoch, timestamp_ms, batches| {
            other.restore(id, epoch, slot, timestamp_ms, batches);
        });
        assert_eq!(snapshot(&other, 0), [(9, 2, vec![1, 2, 3, 4, 5])]);
        assert_eq!(produce(&mut other, 9, 2, 5, 1, 1), duplicate(5, 0));
        assert_eq!(produce(&mut other, 9, 2, 7, 1, 1), Check::OutOfOrder);
        other.replay(P, &header(9, 2, 6, 2));
        assert_eq!(produce(&mut other, 9, 2, 6, 2, 1), duplicate(6, 0));
        assert_eq!(produce(&mut other, 9, 2, 8, 1, 1), Check::Append);
        assert_eq!(snapshot(&other, 0), [(9, 2, vec![2, 3, 4, 5, 6])]);
    }

    #[test]
    fn a_replayed_gap_leaves_what_follows_it() {
        let mut table = Producers::new(4);
        table.replay(P, &header(9, 0, 0, 1));
        table.replay(P, &header(9, 0, 5, 1));
        assert_eq!(snapshot(&table, 0), [(9, 0, vec![5])]);
        assert_eq!(produce(&mut table, 9, 0, 6, 1, 1), Check::Append);
        table.replay(P, &header(9, 1, 0, 1));
        assert_eq!(produce(&mut table, 9, 0, 7, 1, 1), Check::EpochOld);
        // Not idempotent: nothing to remember.
        table.replay(P, &header(-1, -1, -1, 1));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn after_damage_any_sequence_is_accepted_but_no_older_epoch() {
        let mut table = Producers::new(4);
        produce(&mut table, 9, 2, 0, 1, 1);
        table.forget_sequences(P);
        assert_eq!(snapshot(&table, 1), [(9, 2, vec![])]);
        assert_eq!(produce(&mut table, 9, 1, 4, 1, 2), Check::EpochOld);
        assert_eq!(produce(&mut table, 9, 2, 4, 1, 2), Check::Append);
    }

    #[test]
    fn the_producer_that_wrote_longest_ago_is_forgotten_and_accepted_again() {
        let mut table = Producers::new(3);
        for id in 1..=3 {
            produce(&mut table, id, 0, 0, 1, 1);
        }
        produce(&mut table, 1, 0, 1, 1, 1);
        produce(&mut table, 4, 0, 0, 1, 1);
        assert_eq!(table.len(), 3);
        assert_eq!(produce(&mut table, 1, 0, 9, 1, 1), Check::OutOfOrder);
        assert_eq!(produce(&mut table, 2, 0, 9, 1, 1), Check::Append);
        assert_eq!(produce(&mut table, 3, 0, 5, 1, 1), Check::Append);
        assert_eq!(table.of_partition(P).map(|view| view.id).collect::<Vec<_>>(), [4, 2, 3]);
        table.forget_partition(P);
        assert!(table.is_empty());
        assert_eq!(produce(&mut table, 4, 0, 3, 1, 1), Check::Append);
    }

    #[test]
    fn a_table_of_no_entries_remembers_nothing() {
        let mut table = Producers::new(0);
        assert_eq!(produce(&mut table, 1, 0, 5, 1, 1), Check::Append);
        assert_eq!(produce(&mut table, 1, 0, 5, 1, 1), Check::Append);
    }

    /// The index, against a list, with ids that fall together.
    #[test]
    fn the_index_finds_what_is_there_and_nothing_else() {
        let mut table = Producers::new(24);
        let mut known: Vec<(i64, u16)> = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let (id, slot) = ((seed % 20) as i64, (seed >> 8) as u16 % 3);
            if seed >> 20 & 63 == 0 {
                table.forget_partition(PartitionSlot(slot));
                known.retain(|key| key.1 != slot);
            } else {
                let batch =
                    ProducerBatch { sequence_first: 0, sequence_last: 0, offset_first: Offset(0) };
                table.staged(id, 0, PartitionSlot(slot), RING, batch, 0, Ticket(1));
                known.retain(|key| *key != (id, slot));
                if known.len() == 24 {
                    known.remove(0);
                }
                known.push((id, slot));
            }
            assert_eq!(table.len(), known.len());
            for id in 0..20 {
                for slot in 0..3 {
                    let there = table.find(id, PartitionSlot(slot)).is_some();
                    assert_eq!(there, known.contains(&(id, slot)));
                }
            }
        }
    }
}
