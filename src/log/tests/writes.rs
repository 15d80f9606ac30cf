//! What is written when, and what failures cost while the log runs.

use super::*;

fn visible(log: &Log, slot: PartitionSlot) -> Offset {
    log.state().partition(slot).unwrap().high_watermark
}

#[test]
fn a_relaxed_record_that_is_staged_while_a_group_syncs_is_synced_in_its_time() {
    let disk = Arc::new(SimStorage::new(5));
    let mut config = config(4);
    config.seal_after_ms = 10_000;
    let mut log = open_with_topic(&config, &disk, 2);
    let (strict, relaxed) = (slot(&log, "t", 0).unwrap(), slot(&log, "t", 1).unwrap());
    append(&mut log, strict, &batch(1, 100, 1)).unwrap();
    let mut job = log.next_io(RING, now(2)).unwrap();
    append_relaxed(&mut log, relaxed, &batch(1, 100, 1), 50, 2);
    let result = job.run(&**log.storage());
    log.io_done(RING, job, result, now(3));
    drive(&mut log, 4);
    assert_eq!(log.deadline(RING), Some(Mono(52_000)));
    drive(&mut log, 51);
    assert_eq!(visible(&log, relaxed), Offset(0), "it is only written");
    drive(&mut log, 52);
    assert_eq!(visible(&log, relaxed), Offset(1));
}

#[test]
fn room_in_a_group_waits_for_the_write_of_the_one_before_and_not_for_its_sync() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    append_relaxed(&mut log, slot0, &batch(1, 30_000, 1), 60_000, 2);
    let mut job = log.next_io(RING, now(2)).unwrap();
    append_relaxed(&mut log, slot0, &batch(1, 30_000, 2), 60_000, 2);
    append_relaxed(&mut log, slot0, &batch(1, 30_000, 3), 60_000, 2);
    let Err(StageError::Full(ticket)) = log.room(RING, 30_061, 1, false) else {
        panic!("two of three fill a group")
    };
    assert_eq!(log.settled(&Until::written(RING, ticket)), Settle::Pending);
    let result = job.run(&**log.storage());
    log.io_done(RING, job, result, now(3));
    drive(&mut log, 3);
    assert_eq!(log.room(RING, 30_061, 1, false), Ok(()));
    assert_eq!(log.settled(&Until::written(RING, ticket)), Settle::Done);
    assert_eq!(log.settled(&Until::synced(RING, ticket)), Settle::Pending);
}

/// A log whose groups hold 64 and 16 KiB.
fn open_uneven(disk: &Arc<SimStorage>) -> Log {
    let mut config = config(4);
    config.groups_bytes = [64 * 1024, 16 * 1024];
    open_with_topic(&config, disk, 1)
}

/// Asks for room, and appends.
fn put(log: &mut Log, slot: PartitionSlot, batches: &[u8]) -> Result<Appended, StageError> {
    log.room(RING, batches.len(), 1, false)?;
    append(log, slot, batches)
}

#[test]
fn while_nothing_is_on_its_way_the_largest_batch_is_staged_at_once() {
    let disk = Arc::new(SimStorage::new(5));
    let mut log = open_uneven(&disk);
    let slot0 = slot(&log, "t", 0).unwrap();
    for (i, bytes) in [60_000, 3000, 60_000, 15_000, 60_000].into_iter().enumerate() {
        put(&mut log, slot0, &batch(1, bytes, i as u64)).unwrap();
        assert_eq!(log.room(RING, 70_000, 1, false), Err(StageError::TooLarge));
        drive(&mut log, 10 * i as u64 + 10);
    }
    assert_eq!(visible(&log, slot0), Offset(5));
}

#[test]
fn a_batch_that_only_the_large_group_holds_waits_for_it_and_for_nothing_else() {
    let disk = Arc::new(SimStorage::new(5));
    let mut log = open_uneven(&disk);
    let slot0 = slot(&log, "t", 0).unwrap();
    put(&mut log, slot0, &batch(1, 60_000, 1)).unwrap();
    let mut job = log.next_io(RING, now(2)).unwrap();
    put(&mut log, slot0, &batch(1, 3000, 2)).unwrap();
    let Err(StageError::Full(ticket)) = log.room(RING, 60_061, 1, false) else {
        panic!("the large group is on its way")
    };
    let result = job.run(&**log.storage());
    log.io_done(RING, job, result, now(3));
    assert_eq!(log.settled(&Until::written(RING, ticket)), Settle::Done);
    put(&mut log, slot0, &batch(1, 60_000, 3)).unwrap();
    drive(&mut log, 4);
    assert_eq!(visible(&log, slot0), Offset(3));
}

#[test]
fn batches_of_all_sizes_find_room_in_uneven_groups_over_failures() {
    for seed in 0..60 {
        let disk = Arc::new(SimStorage::new(seed));
        let mut log = open_uneven(&disk);
        let slot0 = slot(&log, "t", 0).unwrap();
        let (mut random, mut ms) = (Rng::new(seed), 10);
        for i in 0..60 {
            if random.below(8) == 0 {
                let op = [Op::Write, Op::Sync][random.below(2) as usize];
                disk.fail(op, Failing::Once(random.below(3)));
            }
            let bytes = [100, 5000, 15_000, 30_000, 60_000][random.below(5) as usize];
            let bytes = batch(1, bytes, i);
            // While the disk fails, and while the group before is on its way.
            let staged = (0..20).any(|_| {
                let staged = put(&mut log, slot0, &bytes).is_ok();
                if !staged || random.below(2) == 0 {
                    ms += 1000;
                    drive(&mut log, ms);
                }
                staged
            });
            assert!(staged, "seed {seed}: batch {i} finds no room");
        }
        for pause in 1..=4 {
            drive(&mut log, ms + pause * 40_000);
        }
        assert_eq!(visible(&log, slot0), Offset(60), "seed {seed}");
    }
}

#[test]
fn each_group_that_is_followed_by_silence_is_proven() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    for i in 0..200 {
        let ms = 10_000 + i * 5_000;
        append(&mut log, slot0, &batch(1, 3_000, i)).unwrap();
        drive(&mut log, ms);
        if i % 7 == 3 {
            // The seal fails: then the next head says it.
            disk.fail(Op::Sync, Failing::Once(0));
        }
        drive(&mut log, ms + 2_000);
        let crashed = Arc::new(disk.fork(i));
        crashed.power_cut(Cut::None);
        let found = open(&config, &crashed).unwrap();
        assert_eq!(found.damage().unproven, 0, "group {i}");
        assert_eq!(visible(&found, slot0).0, i as i64 + 1);
    }
    assert!(log.stats(RING).evicted > 0, "the ring came round");
}

#[test]
fn a_segment_whose_sync_before_the_foot_fails_gets_none_and_is_given_up() {
    for fails_after in 0..40 {
        let disk = Arc::new(SimStorage::new(fails_after));
        let mut config = config(4);
        config.seal_after_ms = 60_000;
        let mut log = open_with_topic(&config, &disk, 1);
        let slot0 = slot(&log, "t", 0).unwrap();
        let mut wanted = 0;
        for i in 0..20 {
            // What failed is tried again before that.
            drive(&mut log, 2 + i * 300);
            append_relaxed(&mut log, slot0, &batch(1, 30_000, i), 60_000, 2);
            if i == 10 {
                disk.fail(Op::Sync, Failing::Once(fails_after));
            }
            drive(&mut log, 2 + i * 300);
            wanted = visible(&log, slot0).0;
        }
        let seen = contents(&log, slot0);
        for segment in log.segments(RING).rev().skip(1) {
            let mut page = [0; 4096];
            disk.read_durable(segment.file, 256 * 1024 - 4096, &mut page);
            let given_up = log.rings[0].segments().iter().find(|s| s.seq == segment.seq).unwrap();
            let format::AnchorPage::Valid(foot) = format::Anchor::decode(&page) else { continue };
            assert!(!given_up.given_up || foot.seq != segment.seq, "a foot after a failure");
        }
        disk.process_kill();
        let log = open(&config, &disk).unwrap();
        assert!(visible(&log, slot0).0 >= wanted);
        let found = contents(&log, slot0);
        assert!(seen.iter().all(|(offset, crc)| found.get(offset) == Some(crc)));
    }
}

#[test]
fn a_disk_that_takes_heads_and_no_groups_costs_no_records_however_long_it_lasts() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(6);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    for i in 0..100 {
        append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
        drive(&mut log, 2);
    }
    let before = contents(&log, slot0);
    let evicted = log.stats(RING).evicted;
    assert!(evicted > 0, "the ring came round");
    disk.fail_behind_heads(true);
    let appended = append(&mut log, slot0, &batch(1, 20_000, 999)).unwrap();
    let mut tries = Vec::new();
    for second in 0..600 {
        let mut jobs = 0;
        while let Some(mut job) = log.next_io(RING, now(3_000 + second * 1000)) {
            let result = job.run(&*disk);
            log.io_done(RING, job, result, now(3_000 + second * 1000));
            jobs += 1;
        }
        tries.push(jobs);
    }
    assert!(tries.iter().all(|jobs| *jobs <= 4), "{tries:?}");
    assert!(tries.iter().sum::<u64>() < 80, "{tries:?}");
    assert_eq!(log.settled(&Until::synced(RING, appended.ticket)), Settle::Failed);
    assert!(log.is_failing(RING));
    assert_eq!((log.stats(RING).evicted, contents(&log, slot0)), (evicted, before.clone()));
    disk.fail_behind_heads(false);
    drive(&mut log, 700_000);
    assert!(!log.is_failing(RING));
    let mut wanted = before;
    wanted.insert(appended.offset.0, crc_of(&batch(1, 20_000, 999)));
    let found = contents(&log, slot0);
    assert!(wanted.iter().all(|(offset, crc)| found.get(offset) == Some(crc)));
    drop(log);
    disk.power_cut(Cut::None);
    let log = open(&config, &disk).unwrap();
    assert_eq!(contents(&log, slot0), found);
}

#[test]
fn without_spares_a_failure_takes_one_segment_and_another_only_if_no_head_can_be_put_there() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    for i in 0..60 {
        append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
        drive(&mut log, 2);
    }
    while log.segments(RING).count() < 6 {
        disk.fail(Op::Sync, Failing::Once(0));
        append(&mut log, slot0, &batch(1, 20_000, 100)).unwrap();
        drive(&mut log, 2);
    }
    let oldest = log.segments(RING).next().unwrap().file;
    let evicted = log.stats(RING).evicted;
    let at_second = |log: &mut Log, second: u64, bad: &dyn Fn(&WriteJob) -> bool| {
        let now = now(3000 + second * 1000);
        while let Some(mut job) = log.next_io(RING, now) {
            let error = DiskError { doing: "sync", os: 5 };
            let result = if bad(&job) { Err(error) } else { job.run(&*disk) };
            log.io_done(RING, job, result, now);
        }
        log.stats(RING).evicted - evicted
    };
    append(&mut log, slot0, &batch(1, 20_000, 101)).unwrap();
    let group_and_head = |job: &WriteJob| job.at > 0 || job.file == oldest;
    assert_eq!(at_second(&mut log, 0, &group_and_head), 1);
    for second in 1..30 {
        assert_eq!(at_second(&mut log, second, &|job| job.file == oldest), 1);
    }
    assert!(log.is_failing(RING));
    for second in 30..100 {
        assert!(at_second(&mut log, second, &|job| job.file == oldest) <= 2);
    }
    assert!(!log.is_failing(RING));
}

fn commit(log: &mut Log, group: &str, offset: i64, ms: u64) -> Result<Ticket, StageError> {
    let record = MetaRecord::OffsetCommit {
        group,
        handle: PartitionHandle(1),
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: "",
        timestamp_ms: 1,
    };
    log.stage(log.shared(), &record, false, now(ms))
}

#[test]
fn a_held_ring_takes_its_holders_commit_however_many_syncs_failed() {
    for failures in 0..6 {
        let disk = Arc::new(SimStorage::new(5));
        let mut config = config(4);
        config.rings[0].hold_for = vec![crate::config::Holder::from_text("group:g").unwrap()];
        let mut log = open_with_topic(&config, &disk, 1);
        let slot0 = slot(&log, "t", 0).unwrap();
        let (mut sent, mut failed, mut ms) = (0, 0, 2);
        loop {
            match log.room(RING, 20_061, 1, true) {
                Ok(()) => {}
                Err(StageError::Held) => break,
                Err(other) => panic!("{other:?}"),
            }
            if log.segments(RING).count() >= 3 && failed < failures {
                disk.fail(Op::Sync, Failing::Once(failed % 2));
                failed += 1;
            }
            append(&mut log, slot0, &batch(1, 20_000, sent)).unwrap();
            sent += 1;
            for _ in 0..3 {
                ms += 40_000;
                drive(&mut log, ms);
            }
        }
        let before = contents(&log, slot0);
        assert_eq!(before.len(), sent as usize, "nothing that is held goes");
        // Others fill the rest with their commits; it never ends.
        for round in 0..300 {
            commit(&mut log, "a", round, ms).unwrap();
            drive(&mut log, ms);
            assert!(!log.is_failing(RING), "{failures} failures, commit {round}");
        }
        assert_eq!(log.room(RING, 20_061, 1, true), Err(StageError::Held));
        commit(&mut log, "g", sent as i64, ms).unwrap();
        drive(&mut log, ms);
        assert_eq!(log.room(RING, 20_061, 1, true), Ok(()), "{failures} failures");
        for i in 0..40 {
            append(&mut log, slot0, &batch(1, 20_000, 1000 + i)).unwrap();
            drive(&mut log, ms);
            commit(&mut log, "g", (sent + i) as i64 + 1, ms).unwrap();
            drive(&mut log, ms);
        }
        assert!(log.stats(RING).evicted > 0);
    }
}
