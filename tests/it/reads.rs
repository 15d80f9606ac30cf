//! Fetches and look-ups against a log in memory.

mod lookups;
pub mod rig;

use rig::{ALL, Ask, Dice, Outcome, Rig, Stored, batch, end_of, fetch_request, live};

use std::sync::atomic::Ordering;

use brooklet::api::{self, Step, Window};
use brooklet::broker::ConnId;
use brooklet::clock::Mono;
use brooklet::error::DiskError;
use brooklet::types::RingIndex;

fn stamps(count: usize) -> Vec<i64> {
    (0..count as i64).map(|i| 5000 + i).collect()
}

fn answered(outcome: Outcome) -> Vec<rig::Answered> {
    match outcome {
        Outcome::Answer(answered) => answered,
        other => panic!("{other:?}"),
    }
}

/// Random batches over `partitions`, in random groups.
fn fill(rig: &mut Rig, dice: &mut Dice, batches: usize, bytes_max: u64) {
    let partitions = rig.model.len() as u64;
    for _ in 0..batches {
        let index = dice.below(partitions) as u32;
        let records = 1 + dice.below(5) as usize;
        let value = dice.below(bytes_max) as usize / records;
        rig.append(index, &batch(&stamps(records), value, 0));
        if dice.below(4) == 0 {
            rig.commit();
        }
    }
    rig.commit();
}

#[test]
fn each_partition_from_each_offset_gives_exactly_what_was_appended() {
    for seed in [0x1234_5678_9abc_def1, 0x0f0f_1234_8765_4321] {
        let mut dice = Dice(seed);
        let mut rig = Rig::new(8, 4);
        fill(&mut rig, &mut dice, 300, 6000);
        for index in 0..8 {
            let end = rig::offset(&rig, index).0;
            for offset in 0..=end {
                let answer = answered(rig.fetch(&[(index as i32, offset)], ALL));
                let expected = rig.expected(index, offset);
                assert_eq!(answer[0].high_watermark, end);
                assert!(answer[0].records == expected, "SEED={seed} {index} {offset}");
            }
        }
    }
}

#[test]
fn small_limits_give_whole_batches_that_add_up() {
    let mut dice = Dice(77);
    let mut rig = Rig::new(3, 4);
    fill(&mut rig, &mut dice, 200, 20_000);
    for partition_max in [1, 1000, 5000, 30_000, 200_000] {
        for index in 0..3 {
            let ask = Ask { partition_max, ..ALL };
            let all = rig.consume(index, 0, ask);
            assert!(all == rig.expected(index, 0), "{partition_max} {index}");
        }
    }
}

#[test]
fn all_partitions_at_once_within_the_requests_limit() {
    let mut dice = Dice(99);
    let mut rig = Rig::new(8, 4);
    fill(&mut rig, &mut dice, 400, 9000);
    for bytes_max in [1, 10_000, 100_000, i32::MAX] {
        let mut next = [0i64; 8];
        let mut all = vec![Vec::<u8>::new(); 8];
        loop {
            let mut from: Vec<_> = (0..8).map(|i| (i as i32, next[i])).collect();
            from.rotate_left(all.iter().map(Vec::len).sum::<usize>() % 8);
            let answer = answered(rig.fetch(&from, Ask { bytes_max, ..ALL }));
            assert_eq!(answer.len(), 8);
            let total: usize = answer.iter().map(|a| a.records.len()).sum();
            let batches = answer.iter().filter(|a| !a.records.is_empty()).count();
            assert!(total <= bytes_max as usize || batches == 1);
            for part in &answer {
                if let Some(end) = end_of(&part.records) {
                    next[part.index as usize] = end;
                    all[part.index as usize].extend(&part.records);
                }
            }
            if total == 0 {
                break;
            }
        }
        for (index, all) in all.iter().enumerate() {
            assert!(*all == rig.expected(index as u32, 0), "{bytes_max} {index}");
        }
    }
}

#[test]
fn batches_larger_than_the_buffer_are_streamed() {
    let mut rig = Rig::new(1, 4);
    for value in [1_000_000, 100, 700_000] {
        rig.append(0, &batch(&stamps(1), value, 0));
    }
    rig.commit();
    let one = Ask { partition_max: 1, ..ALL };
    let answer = answered(rig.fetch(&[(0, 0)], one));
    assert_eq!(end_of(&answer[0].records), Some(1));
    assert!(rig.consume(0, 0, ALL) == rig.expected(0, 0));
}

#[test]
fn after_a_wrap_what_is_left_is_read_and_what_is_gone_is_out_of_range() {
    let mut dice = Dice(5);
    let mut rig = Rig::new(4, 3);
    let mut batches = 0;
    while live(&rig)[0].0 < 4 {
        fill(&mut rig, &mut dice, 50, 60_000);
        batches += 50;
        assert!(batches < 5000);
    }
    for index in 0..4 {
        let start = rig.log_start(index);
        assert!(start > 0);
        assert!(rig.consume(index, start, ALL) == rig.expected(index, start));
        let answer = answered(rig.fetch(&[(index as i32, start - 1)], ALL));
        assert_eq!((answer[0].error, answer[0].high_watermark), (1, -1));
        let end = rig::offset(&rig, index).0;
        let answer = answered(rig.fetch(&[(index as i32, end + 1)], ALL));
        assert_eq!(answer[0].error, 1);
    }
    rig.restart();
    for index in 0..4 {
        let start = rig.log_start(index);
        for ask in [ALL, Ask { partition_max: 1, ..ALL }] {
            assert!(rig.consume(index, start, ask) == rig.expected(index, start), "{index}");
        }
    }
}

/// Anything in any order: appends of all sizes, commits, starts anew, fetches of some partitions from
/// live offsets within random limits. Each answer is what was appended from there on, in whole batches.
#[test]
fn whatever_happens_an_answer_is_what_was_appended_from_there_on() {
    for seed in 1..=3u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut rig = Rig::new(5, 3);
        for step in 0..600 {
            match dice.below(20) {
                0..12 => {
                    let sizes = [20, 300, 3000, 70_000, 400_000];
                    let most = sizes[dice.below(5) as usize];
                    let records = 1 + dice.below(3) as usize;
                    let value = dice.below(most) as usize / records;
                    let index = dice.below(5) as u32;
                    rig.append(index, &batch(&stamps(records), value, 0));
                }
                12..17 => rig.commit(),
                17 if dice.below(30) == 0 => {
                    rig.commit();
                    rig.restart();
                }
                _ => random_fetch(&mut rig, &mut dice, &format!("SEED={seed} STEP={step}")),
            }
        }
        assert!(live(&rig)[0].0 > 1, "the ring came round");
    }
}

fn random_fetch(rig: &mut Rig, dice: &mut Dice, place: &str) {
    let limits = [1, 100, 5000, 60_000, 1 << 20, i32::MAX];
    let ask = Ask {
        bytes_max: limits[dice.below(6) as usize],
        partition_max: limits[dice.below(6) as usize],
        ..ALL
    };
    let mut from: Vec<(i32, i64)> = Vec::new();
    for _ in 0..=dice.below(5) {
        let index = dice.below(5) as u32;
        let (start, end) = (rig.log_start(index), rig::offset(rig, index).0);
        let offset = start + dice.below((end - start + 1) as u64) as i64;
        // One that is named twice is answered once.
        if from.iter().all(|(other, _)| *other != index as i32) {
            from.push((index as i32, offset));
        }
    }
    let conn = dice.below(8) as u16;
    let answer = answered(rig.fetch_by(conn, &from, ask));
    let total: usize = answer.iter().map(|part| part.records.len()).sum();
    let first = answer.iter().find(|part| !part.records.is_empty());
    let mut readable = false;
    for (part, (index, offset)) in answer.iter().zip(&from) {
        assert_eq!((part.error, part.index), (0, *index), "{place}");
        let expected = rig.expected(*index as u32, *offset);
        assert!(expected.starts_with(&part.records), "{place} {index} {offset}");
        end_of(&part.records);
        readable |= part.high_watermark > *offset;
        let within = part.records.len() <= ask.partition_max as usize;
        let is_first = first.is_some_and(|first| std::ptr::eq(first, part));
        assert!(within || is_first, "{place}");
    }
    assert_eq!(readable, total > 0, "{place} {from:?}");
}

#[test]
fn a_small_answer_at_the_tail_is_one_read() {
    let mut rig = Rig::new(4, 4);
    for round in 0..50 {
        let offset = rig::offset(&rig, 1).0;
        for index in 0..4 {
            rig.append(index, &batch(&stamps(2), 200, 0));
        }
        rig.commit();
        let before = rig.reads();
        let from: Vec<_> = (0..4).map(|index| (index, offset)).collect();
        let answer = answered(rig.fetch(&from, ALL));
        assert!(answer.iter().all(|a| end_of(&a.records) == Some(offset + 2)));
        assert_eq!(rig.reads() - before, 1, "round {round}");
    }
}

#[test]
fn a_consumer_that_goes_on_uses_its_cursor_and_a_cold_one_skips_blocks() {
    let mut rig = Rig::new(2, 4);
    rig.append(1, &batch(&stamps(1), 100, 0));
    rig.commit();
    for _ in 0..150 {
        rig.append(0, &batch(&stamps(1), 20_000, 0));
        rig.commit();
    }
    rig.append(1, &batch(&stamps(1), 100, 0));
    rig.commit();
    rig.append(1, &batch(&stamps(1), 100, 0));
    rig.commit();
    let before = rig.reads();
    let answer = answered(rig.fetch(&[(1, 0)], ALL));
    assert!(answer[0].records == rig.expected(1, 0));
    assert!(rig.reads() - before <= 6, "{} reads over 3 MB", rig.reads() - before);
    let (hits, _) = rig.broker.reads.cursor_hits();
    let ask = Ask { partition_max: 100_000, ..ALL };
    assert!(rig.consume(0, 0, ask) == rig.expected(0, 0));
    let (hits_after, _) = rig.broker.reads.cursor_hits();
    assert!(hits_after - hits >= 28, "{}", hits_after - hits);
}

#[test]
fn a_damaged_batch_is_gone_round_and_the_rest_is_read() {
    for large in [false, true] {
        let mut rig = Rig::new(1, 4);
        let value = if large { 200_000 } else { 500 };
        for _ in 0..9 {
            rig.append(0, &batch(&stamps(3), value / 3, 0));
        }
        rig.commit();
        let victim = rig.model[0][4].bytes.clone();
        let places = rig.disk.find(&victim);
        assert_eq!(places.len(), 1);
        rig.disk.flip(places[0].0, places[0].1 + victim.len() as u64 - 5);
        let kept: Vec<Stored> = rig.model[0].iter().filter(|s| s.first != 12).cloned().collect();
        let expected: Vec<u8> = kept.iter().flat_map(|s| s.bytes.clone()).collect();
        let mut outcome = rig.fetch(&[(0, 0)], ALL);
        if large {
            assert!(matches!(outcome, Outcome::Close(_)), "it was being sent");
            outcome = rig.fetch(&[(0, 0)], ALL);
        }
        assert!(answered(outcome)[0].records == expected);
        assert_eq!(rig.broker.reads.damaged(), 1);
    }
}

#[test]
fn a_batch_whose_header_is_damaged_costs_no_other_whichever_byte_it_is() {
    // The leader epoch is believed, and the highest bit of a delta makes it negative.
    for flipped in (0..61).filter(|byte| !(12..16).contains(byte)) {
        let mut rig = Rig::new(1, 4);
        for _ in 0..9 {
            rig.append(0, &batch(&stamps(3), 100, 0));
        }
        rig.commit();
        let victim = rig.model[0][4].bytes.clone();
        let (file, at) = rig.disk.find(&victim)[0];
        rig.disk.flip(file, at + flipped);
        let kept = rig.model[0].iter().filter(|stored| stored.first != 12);
        let expected: Vec<u8> = kept.flat_map(|stored| stored.bytes.clone()).collect();
        for fetch in 0..2 {
            let answer = answered(rig.fetch(&[(0, 0)], ALL));
            assert!(answer[0].records == expected, "byte {flipped}, fetch {fetch}");
        }
    }
}

/// The marker that a fetch is answered with: its first and last offset.
fn hole(answer: &rig::Answered) -> (i64, i64) {
    let batches: Vec<_> = brooklet::codec::batch::batches(&answer.records).collect();
    assert_eq!(batches.len(), 1);
    assert!(batches[0].crc_holds());
    assert!(batches[0].header.is_control() && answer.records.len() == 78);
    (batches[0].header.base_offset, batches[0].header.last_offset())
}

#[test]
fn offsets_without_records_at_the_end_are_answered_with_a_marker() {
    let mut rig = Rig::new(2, 4);
    for index in [0, 0, 0, 1] {
        rig.append(index, &batch(&stamps(3), 100, 0));
        rig.commit();
    }
    // The last batch of partition 0 is damaged: an older one's, and then its own group's header.
    let victim = rig.model[0][2].bytes.clone();
    let (file, at) = rig.disk.find(&victim)[0];
    rig.disk.flip(file, at + 100);
    let mut few = ALL;
    few.wait_ms = 0;
    for from in [6, 7, 8] {
        let answer = answered(rig.fetch(&[(0, from)], few));
        assert_eq!(hole(&answer[0]), (from, 8));
    }
    assert!(answered(rig.fetch(&[(0, 9)], few))[0].records.is_empty(), "there is nothing yet");
    // Beside records, a hole is not sent before a reader is in it.
    let answer = answered(rig.fetch(&[(0, 3), (1, 0)], few));
    assert!(answer[0].records == rig.model[0][1].bytes && answer[1].records == rig.expected(1, 0));
    // Who would wait gets it a moment later, and records at once.
    let waits = Ask { wait_ms: 5000, ..ALL };
    assert_eq!(rig.fetch(&[(0, 6)], waits), Outcome::Sleep(rig.now.mono.plus_ms(100)));
    rig.now.mono = rig.now.mono.plus_ms(100);
    assert_eq!(hole(&answered(rig.drive(0))[0]), (6, 8));
    let answer = answered(rig.fetch(&[(0, 6), (1, 0)], waits));
    assert_eq!(hole(&answer[0]), (6, 8));
    assert!(answer[1].records == rig.expected(1, 0));
    // What follows is read as ever.
    rig.append(0, &batch(&stamps(3), 100, 0));
    rig.commit();
    let newest = rig.model[0][3].bytes.clone();
    for from in [6, 8, 9] {
        assert!(answered(rig.fetch(&[(0, from)], few))[0].records == newest, "from {from}");
    }
}

#[test]
fn a_place_that_cannot_be_read_now_is_not_answered_as_if_nothing_were_there() {
    let mut rig = Rig::new(1, 4);
    for _ in 0..3 {
        rig.append(0, &batch(&stamps(1), 3000, 0));
        rig.commit();
    }
    let victim = rig.model[0][2].bytes.clone();
    let (file, at) = rig.disk.find(&victim)[0];
    rig.disk.bad.lock().unwrap().push((file, at + 1500));
    let mut few = ALL;
    few.wait_ms = 0;
    for _ in 0..5 {
        match rig.fetch(&[(0, 2)], few) {
            Outcome::Answer(answer) => assert!(answer[0].records.is_empty()),
            Outcome::Close(_) => {}
            Outcome::Sleep(_) => panic!("it is to wait for nothing"),
        }
    }
}

#[test]
fn a_place_that_cannot_be_read_costs_only_what_is_on_it() {
    let mut rig = Rig::new(1, 4);
    for _ in 0..40 {
        rig.append(0, &batch(&stamps(1), 3000, 0));
        if rig.model[0].len().is_multiple_of(8) {
            rig.commit();
        }
    }
    let victim = rig.model[0][13].bytes.clone();
    let (file, at) = rig.disk.find(&victim)[0];
    rig.disk.bad.lock().unwrap().push((file, at + 1500));
    let mut all = Vec::new();
    for _ in 0..20 {
        if let Outcome::Answer(answer) = rig.fetch(&[(0, 0)], ALL) {
            all = answer[0].records.clone();
            break;
        }
    }
    let lost = |first: i64| !(11..=15).contains(&first);
    for stored in rig.model[0].iter().filter(|stored| lost(stored.first)) {
        let found = all.windows(8).any(|w| *w == stored.first.to_be_bytes());
        assert!(found, "{}", stored.first);
    }
    assert!(end_of(&all).is_some());
}

#[test]
fn a_broken_header_costs_its_group_and_no_other() {
    let mut rig = Rig::new(1, 4);
    for _ in 0..200 {
        rig.append(0, &batch(&stamps(1), 1000, 0));
        rig.commit();
    }
    let victim = rig.model[0][50].bytes.clone();
    let (file, at) = rig.disk.find(&victim)[0];
    rig.disk.flip(file, at / 4096 * 4096 + 30);
    rig.model[0].remove(50);
    assert!(rig.consume(0, 0, ALL) == rig.expected(0, 0));
    assert!(rig.consume(0, 49, ALL) == rig.expected(0, 49));
    assert!(rig.consume(0, 51, ALL) == rig.expected(0, 51));
}

#[test]
fn what_is_written_but_not_synced_is_not_seen_and_not_passed_over() {
    let mut rig = Rig::new(1, 4);
    for _ in 0..2 {
        rig.append(0, &batch(&stamps(1), 1000, 0));
        rig.commit();
    }
    let victim = rig.model[0][1].bytes.clone();
    let (file, at) = rig.disk.find(&victim)[0];
    rig.disk.flip(file, at / 4096 * 4096 + 30);
    rig.append_relaxed(0, &batch(&stamps(1), 1000, 0), Some(1000));
    rig.commit();
    assert_eq!(rig::offset(&rig, 0).0, 2);
    let first = rig.model[0][0].bytes.clone();
    assert!(answered(rig.fetch(&[(0, 0)], ALL))[0].records == first);
    assert_eq!(hole(&answered(rig.fetch(&[(0, 1)], ALL))[0]), (1, 1), "and not 2");
    let ask = Ask { bytes_min: 500, wait_ms: 5000, ..ALL };
    assert!(matches!(rig.fetch(&[(0, 1)], ask), Outcome::Sleep(_)));
    while rig.broker.woken().is_some() {
        assert!(matches!(rig.drive(0), Outcome::Sleep(_)));
    }
    rig.now.mono = Mono(2_000_000);
    rig.commit();
    assert_eq!(rig::offset(&rig, 0).0, 3);
    assert_eq!(rig.broker.woken(), Some(ConnId(0)));
    assert!(answered(rig.drive(0))[0].records == rig.expected(0, 2));
}

#[test]
fn a_long_poll_is_woken_by_its_own_partition_and_by_enough_bytes() {
    let mut rig = Rig::new(2, 4);
    let ask = Ask { bytes_min: 500, wait_ms: 100, ..ALL };
    let slept = rig.fetch(&[(0, 0)], ask);
    assert_eq!(slept, Outcome::Sleep(Mono(100_001)));
    assert_eq!(rig.broker.metrics.fetches_waiting, 1);
    rig.append(1, &batch(&stamps(1), 1000, 0));
    rig.commit();
    assert_eq!(rig.broker.woken(), None, "another partition");
    rig.append(0, &batch(&stamps(1), 300, 0));
    rig.commit();
    assert_eq!(rig.broker.woken(), None, "too little");
    rig.append(0, &batch(&stamps(1), 300, 0));
    rig.commit();
    assert_eq!(rig.broker.woken(), Some(ConnId(0)));
    assert_eq!(rig.broker.woken(), None);
    let answer = answered(rig.drive(0));
    assert!(answer[0].records == rig.expected(0, 0));
    assert_eq!(rig.broker.metrics.fetches_waiting, 0);
}

#[test]
fn a_long_poll_ends_at_its_time_with_what_there_is() {
    let mut rig = Rig::new(2, 4);
    rig.append(0, &batch(&stamps(1), 10, 0));
    rig.commit();
    let ask = Ask { bytes_min: 100_000, wait_ms: 100, ..ALL };
    assert!(matches!(rig.fetch(&[(0, 0), (1, 0)], ask), Outcome::Sleep(_)));
    rig.now.mono = Mono(100_001);
    let answer = answered(rig.drive(0));
    assert!(answer[0].records == rig.expected(0, 0));
    assert_eq!((answer[1].error, answer[1].records.len()), (0, 0));
}

#[test]
fn however_many_fetches_wait_one_whose_records_are_there_gets_them() {
    let mut rig = Rig::new(16, 4);
    let from: Vec<_> = (1..16).map(|index| (index, 0)).collect();
    let ask = Ask { wait_ms: i32::MAX, bytes_min: i32::MAX, ..ALL };
    for round in 0..3 {
        for conn in 0..7 {
            assert!(matches!(rig.fetch_by(conn, &from, ask), Outcome::Sleep(_)), "{conn}");
            rig.now.mono = Mono(rig.now.mono.0 + 1);
            // Whoever has to make way is answered, empty: the others sleep on.
            while let Some(woken) = rig.broker.woken() {
                let answer = answered(rig.wake(woken.0));
                assert_eq!(answer.len(), 15);
                assert!(answer.iter().all(|a| a.error == 0 && a.records.is_empty()));
                assert_eq!(woken.0, (conn + 4) % 7, "the longest sleeper");
            }
        }
        assert_eq!(rig.broker.metrics.fetches_waiting, 3);
        rig.append(0, &batch(&stamps(1), 10, 0));
        rig.commit();
        let answer = answered(rig.fetch_by(7, &[(0, round)], ALL));
        assert!(answer[0].records == rig.expected(0, round));
    }
}

#[test]
fn a_partition_that_is_named_again_and_again_takes_one_place_and_is_answered_once() {
    let mut rig = Rig::new(2, 4);
    let ask = Ask { wait_ms: i32::MAX, bytes_min: i32::MAX, ..ALL };
    let again = vec![(1, 0); 3000];
    let Outcome::Sleep(until) = rig.fetch_by(0, &again, ask) else {
        panic!("there is nothing yet");
    };
    assert!(until <= Mono(rig.now.mono.0 + 300_000_000), "nobody waits for weeks");
    rig.append(1, &batch(&stamps(1), 10, 0));
    rig.commit();
    let answer = answered(rig.fetch_by(1, &again, ALL));
    assert_eq!(answer.len(), 1);
    assert!(answer[0].records == rig.expected(1, 0));
}

#[test]
fn more_partitions_than_may_wait_are_answered_at_once_with_what_there_is() {
    let mut rig = Rig::new(16, 4);
    rig.append(3, &batch(&stamps(1), 10, 0));
    rig.commit();
    let ask = Ask { wait_ms: 1000, bytes_min: 10_000, ..ALL };
    let mut from: Vec<_> = (0..16).map(|index| (index, 0)).collect();
    from.extend((100..140).map(|index| (index, 0)));
    let answer = answered(rig.fetch(&from, ask));
    assert_eq!(answer.len(), 56);
    assert!(answer[3].records == rig.expected(3, 0));
    assert!(answer[16..].iter().all(|a| a.error == 3));
}

#[test]
fn a_fetch_that_has_as_much_as_it_may_carry_waits_for_no_more() {
    let mut rig = Rig::new(2, 4);
    let one = batch(&stamps(1), 100, 0);
    let bytes = one.len() as i32;
    for _ in 0..3 {
        rig.append(0, &one);
    }
    rig.append(1, &one);
    rig.commit();
    let wait = Ask { wait_ms: 3000, bytes_min: 10_000, ..ALL };
    for (bytes_max, batches) in [(50, 1), (bytes, 1), (bytes + 50, 1), (2 * bytes + 70, 2)] {
        let answer = answered(rig.fetch(&[(0, 0), (1, 0)], Ask { bytes_max, ..wait }));
        let sent: usize = answer.iter().map(|a| a.records.len()).sum();
        assert_eq!(sent as i32, batches * bytes, "{bytes_max}");
    }
    // What a partition may carry at the most is no reason not to wait for the others, as in Kafka.
    let waits = Ask { partition_max: 50, ..wait };
    assert!(matches!(rig.fetch(&[(0, 0)], waits), Outcome::Sleep(_)));
}

#[test]
fn unknown_partitions_are_answered_beside_those_that_are_read() {
    let mut rig = Rig::new(1, 4);
    rig.append(0, &batch(&stamps(1), 10, 0));
    rig.commit();
    let topics: &[(&str, &[(i32, i64)])] =
        &[("no", &[(0, 0), (3, 0)]), ("t", &[(7, 0), (0, 0)]), ("nope", &[(0, 0)])];
    let answer = answered(rig.request(0, &fetch_request(topics, ALL)));
    let seen: Vec<_> = answer.iter().map(|a| (&*a.topic, a.index, a.error)).collect();
    let expected = [("no", 0, 3), ("no", 3, 3), ("t", 7, 3), ("t", 0, 0), ("nope", 0, 3)];
    assert_eq!(seen, expected);
    assert!(answer[3].records == rig.expected(0, 0));
    let waits = Ask { wait_ms: 50, ..ALL };
    let only = rig.request(0, &fetch_request(&[("no", &[(0, 0)])], waits));
    assert_eq!(answered(only)[0].error, 3, "nothing to wait for");
    let mixed: &[(&str, &[(i32, i64)])] = &[("no", &[(0, 0)]), ("t", &[(0, 1)])];
    let mixed = rig.request(0, &fetch_request(mixed, waits));
    assert!(matches!(mixed, Outcome::Sleep(_)));
    // Many topics that are not there keep nobody from those that are.
    let names: Vec<String> = (0..50).map(|at| format!("missing-{at}")).collect();
    let missing = names.iter().map(|name| (name.as_str(), &[(0, 0)][..]));
    let topics: Vec<(&str, &[(i32, i64)])> = missing.chain([("t", &[(0, 0)][..])]).collect();
    for _ in 0..3 {
        let answer = answered(rig.request(1, &fetch_request(&topics, ALL)));
        assert_eq!(answer.len(), 51);
        assert!(answer[..50].iter().zip(&names).all(|(a, name)| a.topic == *name && a.error == 3));
        assert!(answer[50].records == rig.expected(0, 0));
    }
}

#[test]
fn a_partition_that_is_named_again_is_answered_once() {
    let mut rig = Rig::new(2, 4);
    rig.append(0, &batch(&stamps(1), 10, 0));
    rig.commit();
    let twice: &[(&str, &[(i32, i64)])] = &[("t", &[(0, 0), (1, 0), (0, 0)]), ("t", &[(0, 5)])];
    let answer = answered(rig.request(0, &fetch_request(twice, ALL)));
    let seen: Vec<_> = answer.iter().map(|a| (a.index, a.error)).collect();
    assert_eq!(seen, [(0, 0), (1, 0)]);
    assert!(answer[0].records == rig.expected(0, 0));
}

#[test]
fn an_incremental_fetch_is_told_that_there_are_no_sessions() {
    let mut rig = Rig::new(1, 4);
    let mut frame = fetch_request(&[], ALL);
    frame[27..35].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 1]);
    let _ = rig.request(0, &frame);
    assert_eq!(rig.sent()[12..14], [0, 70]);
}

#[test]
fn what_is_being_overwritten_is_waited_for_and_never_silently_passed_over() {
    let mut rig = Rig::new(1, 3);
    let mut waits = 0;
    let mut look = |rig: &mut Rig| {
        let start = rig.log_start(0);
        let one = Ask { partition_max: 1, ..ALL };
        if start < rig::offset(rig, 0).0 {
            let answer = answered(rig.fetch(&[(0, start)], one));
            assert_eq!(answer[0].error, 0, "it is at the log start");
            match end_of(&answer[0].records) {
                None => waits += 1,
                end => assert_eq!(end, Some(start + 1)),
            }
        }
    };
    for _ in 0..40 {
        rig.append(0, &batch(&stamps(1), 500_000, 0));
        while let Some(mut job) = rig.broker.log.next_io(RingIndex(0), rig.now) {
            look(&mut rig);
            let result = job.run(&**rig.broker.log.storage());
            rig.broker.log.io_done(RingIndex(0), job, result, rig.now);
            look(&mut rig);
        }
    }
    assert!(live(&rig)[0].0 > 1 && waits > 0);
}

#[test]
fn a_disk_that_fails_while_a_segment_is_overwritten_keeps_nobody_from_what_is_behind_it() {
    let mut rig = Rig::new(1, 3);
    let failed = (0..40).find_map(|_| {
        rig.append(0, &batch(&stamps(1), 500_000, 0));
        while let Some(mut job) = rig.broker.log.next_io(RingIndex(0), rig.now) {
            // A head stands at the beginning of its file.
            let fails = job.at == 0 && rig.log_start(0) > 0;
            let error = DiskError { doing: "write", os: 5 };
            let result = if fails { Err(error) } else { job.run(&**rig.broker.log.storage()) };
            rig.broker.log.io_done(RingIndex(0), job, result, rig.now);
            if fails {
                return Some(rig.log_start(0));
            }
        }
        None
    });
    let start = failed.expect("a head fails");
    let answer = answered(rig.fetch(&[(0, start)], ALL));
    let records = &answer[0].records;
    let first = i64::from_be_bytes(records[..8].try_into().unwrap());
    assert!(first > start && end_of(records) == Some(rig::offset(&rig, 0).0), "{first}");
}

#[test]
fn a_start_on_a_failing_disk_takes_the_oldest_segment_only_and_says_of_nothing_that_it_is_gone() {
    let mut rig = Rig::new(4, 3);
    // Partition 1 is only in segment 1, partition 2 only in segment 2, partition 3 in both.
    for segment in 1..=2 {
        for index in [segment, 3] {
            rig.append(index, &batch(&stamps(1), 10, 0));
        }
        while live(&rig).len() == segment as usize {
            rig.append(0, &batch(&stamps(1), 500_000, 0));
            rig.commit();
        }
    }
    // A failure takes the spare: all files are in use.
    rig.append(0, &batch(&stamps(1), 10, 0));
    rig.disk.syncs_fail.store(1, Ordering::Relaxed);
    rig.commit();
    assert_eq!(live(&rig).len(), 4);
    // Behind a seal a start has nothing to sync before it serves.
    rig.now.mono = Mono(rig.now.mono.0 + 2_000_000);
    rig.commit();
    // The start's group fails, and so does the head of the segment that is to take it.
    rig.disk.syncs_fail.store(2, Ordering::Relaxed);
    rig.restart();
    assert!(rig.broker.log.is_failing(RingIndex(0)) && rig.log_start(0) == 0);
    let asked = [(0, 0), (1, 0), (2, 0), (3, 0)];
    let answer = answered(rig.fetch(&asked, ALL));
    let first = i64::from_be_bytes(answer[0].records[..8].try_into().unwrap());
    assert!(first > 0 && answer[0].records == rig.expected(0, first), "{first}");
    assert!(answer[2].records == rig.expected(2, 0), "its segment is not touched");
    assert!(answer[3].records == rig.expected(3, 1));
    assert!(answer[1].records.is_empty(), "whether it is gone is not known");
    // Once the head is on flash, it is gone.
    rig.now.mono = Mono(rig.now.mono.0 + 1_000_000);
    rig.commit();
    assert_eq!((0..4).map(|index| rig.log_start(index)).collect::<Vec<_>>(), [first, 1, 0, 1]);
}

#[test]
fn a_segment_that_is_overwritten_while_it_is_read_is_never_answered() {
    let mut rig = Rig::new(1, 3);
    for _ in 0..6 {
        rig.append(0, &batch(&stamps(1), 500_000, 0));
        rig.commit();
    }
    rig.after_read = Some(|rig| {
        while live(rig)[0].0 < 3 {
            rig.append(0, &batch(&stamps(1), 500_000, 0));
            rig.commit();
        }
    });
    let outcome = rig.fetch(&[(0, 0)], ALL);
    let answer = answered(outcome);
    assert_eq!(answer[0].error, 1, "its offset is out of range now");
}

/// Has `t` deleted, as a client would.
fn delete(rig: &mut Rig) {
    // DeleteTopics 1: one name, and a time-out.
    let frame = b"\0\x14\0\x01\0\0\0\x01\xff\xff\0\0\0\x01\0\x01t\0\0\x03\xe8";
    let mut buf = vec![0; 1024];
    let window = Window { buf: &mut buf, from: 0 };
    let step = api::dispatch(&mut rig.broker, &rig::peer(7), frame, window, rig.now);
    assert!(matches!(step, Step::ReplyAfter { .. }), "{step:?}");
    rig.now.mono = Mono(rig.now.mono.0 + 1_000_000);
    rig.commit();
}

#[test]
fn a_topic_that_is_deleted_while_it_is_waited_for_is_unknown_at_once() {
    let mut rig = Rig::new(3, 4);
    let ask = Ask { wait_ms: 60_000, ..ALL };
    let topics: &[(&str, &[(i32, i64)])] = &[("no", &[(0, 0)]), ("t", &[(2, 0), (0, 0)])];
    assert!(matches!(rig.request(0, &fetch_request(topics, ask)), Outcome::Sleep(_)));
    assert!(matches!(rig.fetch_by(1, &[(1, 0)], ask), Outcome::Sleep(_)));
    assert_eq!(rig.broker.woken(), None);
    delete(&mut rig);
    let mut woken: Vec<_> = std::iter::from_fn(|| rig.broker.woken()).collect();
    woken.sort_unstable_by_key(|conn| conn.0);
    assert_eq!(woken, [ConnId(0), ConnId(1)]);
    for (conn, expected) in
        [(0, vec![("no", 0, 3), ("t", 2, 3), ("t", 0, 3)]), (1, vec![("t", 1, 3)])]
    {
        let answer = answered(rig.wake(conn));
        let seen: Vec<_> = answer.iter().map(|a| (&*a.topic, a.index, a.error)).collect();
        assert_eq!(seen, expected);
    }
    assert_eq!(rig.broker.metrics.fetches_waiting, 0);
    assert_eq!(rig.broker.woken(), None);
    assert_eq!(answered(rig.fetch(&[(0, 0)], ask))[0].error, 3);
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_is_unknown_or_was_read_before() {
    // After which of its reads: first it plans, then it sends.
    let mut outcomes = Vec::new();
    for reads in 0..70 {
        let mut rig = Rig::new(1, 4);
        for _ in 0..30 {
            rig.append(0, &batch(&stamps(10), 3000, 0));
            rig.commit();
        }
        rig.after_reads = reads;
        rig.after_read = Some(delete);
        let answer = answered(rig.fetch(&[(0, 0)], ALL));
        assert!(rig.expected(0, 0).starts_with(&answer[0].records));
        outcomes.push((answer[0].error, answer[0].records.is_empty()));
    }
    assert!(outcomes.contains(&(3, true)) && outcomes.contains(&(0, false)), "{outcomes:?}");
}

#[test]
fn a_leader_epoch_that_is_not_ours_is_refused_at_once() {
    let mut rig = Rig::new(1, 4);
    rig.restart();
    let ask = Ask { wait_ms: 50, ..ALL };
    let mut frame = fetch_request(&[("t", &[(0, 0)])], ask);
    let at = 50;
    let boot = rig.broker.log.state().boot.0;
    for (epoch, code) in [(boot - 1, 74), (boot + 1, 75)] {
        frame[at..at + 4].copy_from_slice(&epoch.to_be_bytes());
        assert_eq!(answered(rig.request(0, &frame))[0].error, code);
    }
    frame[at..at + 4].copy_from_slice(&boot.to_be_bytes());
    assert!(matches!(rig.request(0, &frame), Outcome::Sleep(_)));
}
