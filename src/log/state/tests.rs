//! What a record costs, counted in the entries that are looked at; and what the tables say of themselves.

use super::*;
use crate::log::record::{Appender, MetaRecord, Records};
use crate::types::{Offset, RingIndex, Ticket, TopicId};
use crate::visits::visits;

const SHARED: RingIndex = RingIndex(limits::DATA_RINGS_MAX as u8);

fn state(each_max: usize) -> State {
    State::new(StateLimits {
        topics_max: each_max,
        partitions_max: 8 * each_max,
        groups_max: each_max,
        offsets_max: 4 * each_max,
        offset_metadata_bytes: 16 * each_max,
        producers_max: 4,
    })
}

/// In another order than names and places.
fn id(number: usize) -> TopicId {
    let mut id = TopicId::default();
    id.0[..4].copy_from_slice(&(number as u32).wrapping_mul(0x9e37_79b1).to_be_bytes());
    id
}

fn topic(number: usize, name: &str, handle: usize, partitions: u32) -> MetaRecord<'_> {
    let (id, handle_first) = (id(number), PartitionHandle(handle as u32));
    MetaRecord::TopicCreate { id, name, ring: 0, handle_first, partitions, configs: &[] }
}

fn partitions(number: usize, handle: usize, partitions: u32) -> MetaRecord<'static> {
    let (id, handle_first) = (id(number), PartitionHandle(handle as u32));
    MetaRecord::PartitionsAdd { id, handle_first, partitions }
}

fn commit<'a>(group: &'a str, handle: usize, metadata: &'a str) -> MetaRecord<'a> {
    MetaRecord::OffsetCommit {
        group,
        handle: PartitionHandle(handle as u32),
        offset: Offset(7),
        leader_epoch: -1,
        metadata,
        timestamp_ms: 0,
    }
}

fn apply(state: &mut State, record: &MetaRecord<'_>) {
    state.apply(SHARED, record, &mut |_| {}).unwrap();
}

/// So many topics of one partition, and as many groups with one commit each.
fn filled(count: usize) -> State {
    let mut state = state(count + 2);
    for number in 0..count {
        apply(&mut state, &topic(number, &format!("t{number}"), number + 1, 1));
        apply(&mut state, &commit(&format!("g{number}"), number + 1, "text"));
    }
    state
}

#[test]
fn what_a_record_takes_does_not_grow_with_what_is_stored() {
    // A search in each of the tables goes ten steps deep.
    const SEARCHES: usize = 10 * 10;
    for count in [16, 1024] {
        let mut state = filled(count);
        let (handle, configs) = (PartitionHandle(3), &[1, 1, b'x'][..]);
        for record in [
            commit("g3", 4, "else"),
            commit("g3", 5, ""),
            commit("new", 5, ""),
            MetaRecord::OffsetDelete { group: "g3", handle: PartitionHandle(5) },
            MetaRecord::GroupDelete { group: "new" },
            MetaRecord::LogStart { handle, offset: Offset(1) },
            MetaRecord::TopicConfigs { id: id(3), configs },
            partitions(3, 9000, 1),
            topic(count, "u", 9001, 1),
            MetaRecord::Mirrored { mirror: "m", handle, offset: Offset(1) },
        ] {
            let looks = visits(&mut || apply(&mut state, &record));
            assert!(looks <= SEARCHES, "{looks} of {count}: {record:?}");
        }
        let found = visits(&mut || {
            let group = state.group_named("g7").unwrap();
            let offset = state.offset_of(group, PartitionHandle(8)).unwrap();
            assert_eq!(state.metadata_of(offset), "text");
            assert!(state.topic_with_id(id(9)).is_some() && state.topic_named("t9").is_some());
        });
        assert!(found <= SEARCHES, "{found} of {count}");
    }
}

#[test]
fn what_a_start_takes_for_each_topic_does_not_grow_with_their_number() {
    for count in [128, 1024] {
        let each = visits(&mut || drop(filled(count))) / count;
        assert!(each <= 50, "{each} for each of {count}");
    }
}

#[test]
fn partitions_are_added_with_one_look_at_each() {
    let mut state = state(1024);
    apply(&mut state, &topic(0, "a", 1, 1));
    apply(&mut state, &topic(1, "b", 2, 4000));
    // In front of those of the other topic, which have handles below and above.
    apply(&mut state, &partitions(1, 9000, 100));
    let more = partitions(0, 5000, 4000);
    let looks = visits(&mut || apply(&mut state, &more));
    assert!(looks <= 2 * 4000, "{looks}");
    let slot = state.topic_named("a").unwrap().0;
    let all = state.partitions_of(slot).map(|(_, p)| (p.index, p.handle.0));
    assert!(all.eq([(0, 1)].into_iter().chain((1..=4000).map(|i| (i, 4999 + i)))));
    assert!(state.partitions().map(|(_, p)| p.handle).is_sorted());
}

#[test]
fn handles_that_are_known_are_left_out_and_those_beyond_the_table_refused() {
    let mut state = state(2);
    apply(&mut state, &topic(0, "a", 3, 2));
    apply(&mut state, &partitions(0, 6, 1));
    apply(&mut state, &partitions(0, 1, 7));
    let handles = |state: &State| {
        let all = state.partitions_of(TopicSlot(0)).map(|(_, p)| p.handle.0);
        all.collect::<Vec<_>>()
    };
    assert_eq!(handles(&state), [3, 4, 6, 1, 2, 5, 7]);
    assert_eq!(state.topic(TopicSlot(0)).unwrap().partitions, 7);
    assert_eq!(state.handle_next, PartitionHandle(8));
    assert_eq!(
        state.partition_of(TopicSlot(0), 3),
        state.partition_with_handle(PartitionHandle(1))
    );
    // Of the table's 16 places 9 are left.
    let beyond = state.apply(SHARED, &partitions(0, 20, 10), &mut |_| {});
    assert_eq!(beyond, Err(TableFull { key: "partitions_max", max: 16 }));
    assert_eq!((state.partitions_len(), state.handle_next), (16, PartitionHandle(29)));
}

/// The bound of a snapshot of the metadata ring, counted anew.
fn shared_bytes_counted(state: &State) -> usize {
    let empty = self::state(1).snapshot_bytes_bound(SHARED);
    let one = |record: &[MetaRecord<'_>]| {
        let mut state = self::state(4);
        record.iter().for_each(|record| apply(&mut state, record));
        state.snapshot_bytes_bound(SHARED) - empty
    };
    let partition = one(&[topic(0, "a", 1, 2)]) - one(&[topic(0, "a", 1, 1)]);
    let topic_bytes = one(&[topic(0, "a", 1, 1)]) - partition - 1;
    let offset = one(&[commit("g", 1, ""), commit("g", 2, "")]) - one(&[commit("g", 1, "")]);
    let group = one(&[commit("g", 1, "")]) - offset - 1;
    let topics = state.topics().map(|(_, t)| topic_bytes + t.name.len() + t.configs.len());
    let groups = state.groups().map(|(slot, found)| {
        let offsets = state.offsets_of(slot).iter();
        let offsets = offsets.map(|entry| offset + state.metadata_of(entry).len());
        group + found.name.len() + offsets.sum::<usize>()
    });
    empty + topics.sum::<usize>() + groups.sum::<usize>() + state.partitions_len() * partition
}

#[test]
fn sums_and_orders_are_right_after_any_records() {
    let mut seed = 9_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as usize % below
    };
    let mut state = state(12);
    let text = "x".repeat(9);
    for step in 0..4000 {
        let (number, handle) = (random(15), 1 + random(100));
        let (name, group) = (format!("t{number}"), format!("g{}", random(15)));
        let configs = &text.as_bytes()[..random(9)];
        let record = match random(9) {
            0 => topic(number, &name, handle, random(3) as u32),
            1 => partitions(number, handle, random(3) as u32),
            2 => MetaRecord::TopicDelete { id: id(number) },
            3 => MetaRecord::TopicConfigs { id: id(number), configs },
            4 => MetaRecord::GroupDelete { group: &group },
            5 => MetaRecord::OffsetDelete { group: &group, handle: PartitionHandle(handle as u32) },
            _ => commit(&group, handle, &text[..random(9)]),
        };
        let _ = state.apply(SHARED, &record, &mut |_| {});
        let bound = state.snapshot_bytes_bound(SHARED);
        assert_eq!(bound, shared_bytes_counted(&state), "step {step}: {record:?}");
        assert!(state.topics().map(|(_, topic)| topic.name.as_str()).is_sorted());
        for (slot, topic) in state.topics() {
            assert_eq!(state.topic_with_id(topic.id).map(|(slot, _)| slot), Some(slot));
            assert_eq!(state.topic_named(&topic.name).map(|(slot, _)| slot), Some(slot));
            assert_eq!(state.partitions_of(slot).count(), topic.partitions as usize);
        }
        for (slot, group) in state.groups() {
            assert_eq!(state.group_named(&group.name), Some(slot));
        }
        let topics = (0..15).filter(|number| state.topic_with_id(id(*number)).is_some()).count();
        assert_eq!(topics, state.topics_len());
    }
}

/// A partition's records up to an offset, of as many leader epochs as there may be.
fn bounds(handle: usize, next: i64, boot: u32) -> MetaRecord<'static> {
    let epochs =
        (0..limits::EPOCHS_PER_PARTITION_MAX as u32).map(|i| (Boot(boot + i), Offset(next - 1)));
    MetaRecord::Partition {
        handle: PartitionHandle(handle as u32),
        log_start: Offset(next - 1),
        next: Offset(next),
        epochs: epochs.collect(),
    }
}

fn gap(handle: usize, next: i64) -> MetaRecord<'static> {
    MetaRecord::Partition {
        handle: PartitionHandle(handle as u32),
        log_start: Offset(0),
        next: Offset(next),
        epochs: heapless::Vec::new(),
    }
}

#[test]
fn a_snapshot_says_where_records_end_as_far_as_that_takes_no_more_room() {
    let ring = RingIndex(0);
    let mut state = state(128);
    apply(&mut state, &topic(0, "a", 1, 1024));
    // The last ones' numbers leave no room.
    let (usual, longest) = (1 << 40, 1 << 61);
    let ends = |at: usize| if at <= 900 { (usual, 70_000) } else { (longest, 1 << 30) };
    let first = (1..=1023).map(|at| bounds(at, ends(at).0, ends(at).1));
    state.restore(ring, first).unwrap();
    for at in 1..=1024 {
        apply(&mut state, &gap(at, if at == 1024 { 3 } else { ends(at).0 + 5 }));
    }
    let hole = |state: &State, at: usize| {
        let slot = state.partition_with_handle(PartitionHandle(at as u32)).unwrap();
        let partition = state.partition(slot).unwrap();
        partition.high_watermark.0 - partition.records_end().0
    };
    assert!((1..1024).all(|at| hole(&state, at) == 5) && hole(&state, 1024) == 3);
    let (mut buf, mut records) = (vec![0; 128 << 10], Appender::default());
    assert!(
        state.snapshot(ring, Ticket(0), &mut |record| records.push(record, &mut buf).is_some())
    );
    assert!(records.end() <= state.snapshot_bytes_bound(ring), "{}", records.end());
    let mut again = self::state(128);
    apply(&mut again, &topic(0, "a", 1, 1024));
    again.restore(ring, Records::new(&buf[..records.end()])).unwrap();
    let found =
        |of: std::ops::RangeInclusive<usize>, len| of.clone().all(|at| hole(&again, at) == len);
    assert!(found(1..=900, 5) && found(901..=1023, 0) && found(1024..=1024, 3));
    for at in 1..1024 {
        let of = |state: &State| {
            let slot = state.partition_with_handle(PartitionHandle(at)).unwrap();
            let partition = state.partition(slot).unwrap().clone();
            let Partition { log_start, high_watermark, written, next, epochs, .. } = partition;
            (log_start, high_watermark, written, next, epochs)
        };
        assert_eq!(of(&state), of(&again));
    }
}

#[test]
fn a_hole_that_is_too_long_is_not_remembered() {
    let mut state = state(1);
    apply(&mut state, &topic(0, "a", 1, 1));
    state.restore(RingIndex(0), [bounds(1, 7, 1)].into_iter()).unwrap();
    let end = |state: &State| {
        let slot = state.partition_with_handle(PartitionHandle(1)).unwrap();
        state.partition(slot).unwrap().records_end().0
    };
    let longest = i64::from(u32::MAX);
    apply(&mut state, &gap(1, 7 + longest));
    assert_eq!(end(&state), 7);
    apply(&mut state, &gap(1, 8 + longest));
    assert_eq!(end(&state), 8 + longest);
    assert!(size_of::<Partition>() <= 152, "{}", size_of::<Partition>());
}
