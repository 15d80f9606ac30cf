//! What is accepted of producers, what a snapshot says of them, and who is forgotten.

use super::*;
use crate::codec::batch::BatchHeader;
use crate::log::record::MetaRecord;
use crate::types::{Offset, PartitionHandle};
use crate::visits::visits;

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
    let handle_of = |_| Some(PartitionHandle(1));
    assert!(table.snapshot(Ticket(synced), &handle_of, &mut |record| {
        let MetaRecord::Producer { id, epoch, batches, .. } = record else {
            panic!("{record:?}");
        };
        entries.push((*id, *epoch, batches.iter().map(|b| b.sequence_first).collect()));
        true
    }));
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
fn a_snapshot_copies_nothing_of_other_rings_and_nothing_that_has_no_room() {
    let mut table = Producers::new(64);
    for id in 0..64 {
        let batch = ProducerBatch { sequence_first: 0, sequence_last: 0, offset_first: Offset(0) };
        table.staged(id, 0, PartitionSlot(id as u16 % 8), RING, batch, 0, Ticket(1));
    }
    let handle_of = |slot: PartitionSlot| (slot.0 == 3).then_some(PartitionHandle(1));
    for (room, expected) in [(8, (true, 8)), (2, (false, 3))] {
        let (mut left, mut whole) = (room, false);
        let copies = visits(&mut || {
            whole = table.snapshot(Ticket(1), &handle_of, &mut |_| {
                left -= 1;
                left >= 0
            });
        });
        assert_eq!((whole, copies), expected);
    }
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
    table.snapshot(Ticket(1), &|_| Some(PartitionHandle(1)), &mut |record| {
        let MetaRecord::Producer { id, epoch, timestamp_ms, batches, .. } = record else {
            panic!("{record:?}");
        };
        other.restore(*id, *epoch, P, *timestamp_ms, batches);
        true
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
    table.forget_sequences(&|slot| slot == P);
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
    table.forget_partitions(&|slot| slot == P);
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
            table.forget_partitions(&|of| of.0 == slot);
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
