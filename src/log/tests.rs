//! The log over the simulated disk: laps, restarts, cuts and failures.

mod starts;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::recovery::groups::{self, Expect, Reader};
use super::recovery::{Damage, OpenError, Opening};
use super::state::StateLimits;
use super::*;
use crate::clock::Mono;
use crate::codec::crc::crc32c;
use crate::storage::sim::{Cut, Failing, Op, Rng, SimStorage};
use crate::types::{Boot, TopicId};

fn config(segments: u16) -> LogConfig {
    let state = StateLimits {
        topics_max: 8,
        partitions_max: 16,
        groups_max: 4,
        offsets_max: 16,
        offset_metadata_bytes: 1024,
        producers_max: 16,
    };
    let mut ring = crate::config::Config::default().rings.remove(0);
    ring.segments = segments;
    ring.spares = 2;
    ring.segment_bytes = 256 * 1024;
    LogConfig {
        rings: vec![ring, crate::config::RingConfig::metadata(256 * 1024)],
        retired: Vec::new(),
        state,
        groups_bytes: [64 * 1024; 2],
        commit_alignment: 4096,
        metadata_linger_ms: 10,
        seal_after_ms: 1000,
        compaction_keys_max: 64,
    }
}

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1000), wall_ms: 1_700_000_000_000 + ms as i64, wall_synchronised: true }
}

fn open(config: &LogConfig, disk: &Arc<SimStorage>) -> Result<Log, OpenError> {
    open_with(config, disk, true)
}

fn open_with(
    config: &LogConfig,
    disk: &Arc<SimStorage>,
    unreadable_is_damaged: bool,
) -> Result<Log, OpenError> {
    let mut rng = Rng::new(disk.counts().writes + 1);
    let mut entropy = move |bytes: &mut [u8]| rng.fill(bytes);
    let mut opening = Opening {
        now: now(0),
        entropy: &mut entropy,
        progress: &mut |_, _| {},
        unreadable_is_damaged,
    };
    let storage: Arc<dyn Storage> = Arc::<SimStorage>::clone(disk);
    Log::open(config, storage, &mut opening)
}

/// A batch of `records` records that are `bytes` long together and differ by `mark`.
fn batch(records: i32, bytes: usize, mark: u64) -> Vec<u8> {
    let mut batch = vec![0u8; 61 + bytes];
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    batch[35..43].copy_from_slice(&(mark as i64).to_be_bytes());
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    for (i, byte) in batch[61..].iter_mut().enumerate() {
        *byte = (mark as usize).wrapping_mul(31).wrapping_add(i) as u8;
    }
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn drive(log: &mut Log, ms: u64) {
    for ring in log.rings() {
        drive_ring(log, ring, ms);
    }
}

fn drive_ring(log: &mut Log, ring: RingIndex, ms: u64) {
    let storage = Arc::clone(log.storage());
    while let Some(mut job) = log.next_io(ring, now(ms)) {
        let result = job.run(&*storage);
        log.io_done(ring, job, result, now(ms));
    }
}

fn create(log: &mut Log, name: &str, partitions: u32) -> Result<Ticket, StageError> {
    let handle_first = log.handles_take(partitions);
    let mut id = TopicId::default();
    id.0[..name.len()].copy_from_slice(name.as_bytes());
    let record =
        MetaRecord::TopicCreate { id, name, ring: 0, handle_first, partitions, configs: &[] };
    log.stage(log.shared(), &record, false, now(0))
}

/// An open ring with the topic `t`.
fn open_with_topic(config: &LogConfig, disk: &Arc<SimStorage>, partitions: u32) -> Log {
    let mut log = open(config, disk).unwrap();
    create(&mut log, "t", partitions).unwrap();
    drive(&mut log, 1);
    log
}

fn slot(log: &Log, topic: &str, index: u32) -> Option<PartitionSlot> {
    let (topic, _) = log.state().topic_named(topic)?;
    log.state().partition_of(topic, index)
}

fn append(log: &mut Log, slot: PartitionSlot, batches: &[u8]) -> Result<Appended, StageError> {
    let append = Append { slot, batches, newest_ms: None, append_time_ms: None, relaxed_ms: None };
    log.append(&append, now(0))
}

fn append_relaxed(
    log: &mut Log,
    slot: PartitionSlot,
    batches: &[u8],
    relaxed_ms: u64,
    ms: u64,
) -> Appended {
    let relaxed_ms = Some(relaxed_ms);
    let append = Append { slot, batches, newest_ms: None, append_time_ms: None, relaxed_ms };
    log.append(&append, now(ms)).unwrap()
}

/// Everything of a partition that a reader could find, by offset: the CRC of its batch.
fn contents(log: &Log, slot: PartitionSlot) -> BTreeMap<i64, u32> {
    let partition = log.state().partition(slot).unwrap();
    let mut found = BTreeMap::new();
    for segment in log.segments(RING) {
        let storage = Arc::clone(log.storage());
        let mut reader = Reader::new(&*storage, segment.file, 256 * 1024, false);
        let expect = Expect::any(log.ring_id(RING), segment.seq);
        let mut at = segment.groups_at;
        while let Some(group) = groups::group_from(&mut reader, at, segment.end, &expect) {
            let header = group.header;
            at = header.position + u64::from(header.bytes);
            let mut run_at = header.position + header.payload_at();
            for run in groups::contents(&mut reader, &header).runs.unwrap_or_default() {
                if run.handle == partition.handle {
                    groups::batches(&mut reader, run_at, &run, &mut |batch| {
                        let Some(header) = batch.header else { return };
                        if batch.first < partition.high_watermark.0 {
                            let before = found.insert(batch.first, header.crc);
                            assert!(before.is_none_or(|crc| crc == header.crc));
                        }
                    });
                }
                run_at += u64::from(run.bytes);
            }
        }
    }
    found.split_off(&partition.log_start.0)
}

fn crc_of(batch: &[u8]) -> u32 {
    u32::from_be_bytes(batch[17..21].try_into().unwrap())
}

const RING: RingIndex = RingIndex(0);

#[test]
fn what_was_synced_is_there_after_a_restart_and_the_boot_grows() {
    let disk = Arc::new(SimStorage::new(1));
    let config = config(4);
    let mut log = open(&config, &disk).unwrap();
    assert_eq!(log.state().boot, Boot(1));
    create(&mut log, "t", 2).unwrap();
    assert_eq!(slot(&log, "t", 0), None, "it exists once it is synced");
    drive(&mut log, 1);
    let slot1 = slot(&log, "t", 1).unwrap();
    let appended = append(&mut log, slot1, &batch(3, 100, 7)).unwrap();
    assert_eq!(appended.offset, Offset(0));
    let until = Until::synced(RING, appended.ticket);
    assert_eq!(log.settled(&until), Settle::Pending);
    drive(&mut log, 2);
    assert_eq!(log.settled(&until), Settle::Done);
    disk.power_cut(Cut::None);
    let log = open(&config, &disk).unwrap();
    assert_eq!(log.state().boot, Boot(2));
    let slot1 = slot(&log, "t", 1).unwrap();
    assert_eq!(contents(&log, slot1), BTreeMap::from([(0, crc_of(&batch(3, 100, 7)))]));
    let partition = log.state().partition(slot1).unwrap();
    assert_eq!((partition.high_watermark, partition.next), (Offset(3), Offset(3)));
    assert_eq!(partition.epochs.as_slice(), &[(Boot(1), Offset(0))]);
}

#[test]
fn a_clean_stop_ends_with_a_seal_and_leaves_nothing_to_copy() {
    let disk = Arc::new(SimStorage::new(6));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    log.close();
    drive(&mut log, 1);
    assert!(log.is_closed());
    assert_eq!(log.stats(RING).seals, 1);
    let log = open(&config, &disk).unwrap();
    assert_eq!(log.damage().unproven, 0);
    assert!(slot(&log, "t", 0).is_some());
}

#[test]
fn a_full_ring_overwrites_its_oldest_segment_and_log_starts_follow() {
    let disk = Arc::new(SimStorage::new(2));
    let config = config(3);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    for i in 0..60 {
        append(&mut log, slot0, &batch(10, 20_000, i)).unwrap();
        drive(&mut log, 2);
        let starts = log.state().partition(slot0).unwrap().log_start;
        let oldest = contents(&log, slot0).keys().next().copied();
        assert_eq!(oldest, Some(starts.0));
    }
    assert_eq!(log.segments(RING).count(), 3);
    assert!(log.stats(RING).evicted >= 3);
    let before = contents(&log, slot0);
    for keep in Cut::ALL {
        disk.power_cut(keep);
        let log = open(&config, &disk).unwrap();
        let slot0 = slot(&log, "t", 0).unwrap();
        assert_eq!(contents(&log, slot0), before);
        assert_eq!(log.damage().groups, 0);
        assert_eq!(log.state().partition(slot0).unwrap().high_watermark, Offset(600));
    }
}

#[test]
fn a_failed_sync_moves_the_group_to_a_spare_and_nothing_is_evicted_for_it() {
    let disk = Arc::new(SimStorage::new(3));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    let mut wanted = BTreeMap::new();
    for i in 0..20 {
        if i % 5 == 2 && i < 10 {
            disk.fail(Op::Sync, Failing::Once(0));
        }
        let batch = batch(1, 500, i);
        let appended = append(&mut log, slot0, &batch).unwrap();
        wanted.insert(appended.offset.0, crc_of(&batch));
        drive(&mut log, 2);
        assert_eq!(log.settled(&Until::synced(RING, appended.ticket)), Settle::Done);
    }
    assert_eq!(log.stats(RING).given_up, 2);
    assert_eq!(log.stats(RING).evicted, 0);
    assert_eq!(contents(&log, slot0), wanted);
    disk.process_kill();
    let log = open(&config, &disk).unwrap();
    assert_eq!(contents(&log, slot0), wanted);
    disk.power_cut(Cut::Subset);
    let log = open(&config, &disk).unwrap();
    assert_eq!(contents(&log, slot0), wanted);
    assert_eq!(log.damage().groups, 0);
}

#[test]
fn a_disk_that_fails_for_long_fails_answers_and_stores_everything_later() {
    let disk = Arc::new(SimStorage::new(4));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    disk.fail(Op::Sync, Failing::From(0));
    let batch0 = batch(1, 500, 0);
    let appended = append(&mut log, slot0, &batch0).unwrap();
    let until = Until::synced(RING, appended.ticket);
    drive(&mut log, 2);
    assert_eq!(log.settled(&until), Settle::Failed);
    assert_eq!(append(&mut log, slot0, &batch0), Err(StageError::Storage));
    assert!(log.deadline(RING).unwrap() > Mono(2000));
    drive(&mut log, 300);
    assert_eq!(log.settled(&until), Settle::Failed, "the second try fails as well");
    disk.fail(Op::Sync, Failing::Never);
    drive(&mut log, 3000);
    assert_eq!(log.settled(&until), Settle::Done);
    assert_eq!(contents(&log, slot0), BTreeMap::from([(0, crc_of(&batch0))]));
    let later = append(&mut log, slot0, &batch0).unwrap();
    let until = Until::synced(RING, later.ticket);
    assert_eq!(log.settled(&until), Settle::Pending, "it is not failed with those before");
    drive(&mut log, 3001);
    assert_eq!(log.settled(&until), Settle::Done);
}

#[test]
fn a_damaged_group_costs_only_the_batches_on_it_and_never_the_start() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    let mut places = Vec::new();
    for i in 0..5 {
        let segment = log.segments(RING).next_back().unwrap();
        places.push((segment.file, segment.end));
        append(&mut log, slot0, &[batch(2, 500, i), batch(1, 500, 90 + i)].concat()).unwrap();
        drive(&mut log, 2);
    }
    let mut wanted = contents(&log, slot0);
    // The second batch of group 1, and the header of group 3.
    disk.flip(places[1].0, places[1].1 + 128 + 32 + 561 + 100, 3);
    disk.flip(places[3].0, places[3].1 + 60, 3);
    wanted.remove(&5);
    wanted.remove(&9);
    wanted.remove(&11);
    disk.process_kill();
    let log = open(&config, &disk).unwrap();
    assert_eq!(contents(&log, slot0), wanted);
    assert_eq!(log.damage().groups, 2);
    assert_eq!(log.damage().batches, 1);
    assert_eq!(log.damage().records, 4);
    assert_eq!(log.state().partition(slot0).unwrap().next, Offset(15));
}

#[test]
fn a_broken_head_in_a_file_that_was_used_before_hides_nothing() {
    let disk = Arc::new(SimStorage::new(6));
    let config = config(3);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    for i in 0..40 {
        append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
        drive(&mut log, 2);
    }
    assert!(log.stats(RING).evicted > 0, "the newest file was used before");
    let wanted = contents(&log, slot0);
    let newest = log.segments(RING).next_back().unwrap();
    assert!(newest.end > newest.groups_at);
    disk.garble(newest.file, 0, 4096);
    disk.process_kill();
    let log = open(&config, &disk).unwrap();
    assert_eq!(contents(&log, slot0), wanted);
    assert_eq!(log.damage().groups, 0);
}

#[test]
fn a_cut_at_any_step_loses_nothing_acknowledged_and_gives_no_offset_twice() {
    for keep in Cut::ALL {
        let mut crash = std::env::var("CRASH").map_or(1, |crash| crash.parse().unwrap());
        while cut_at(crash, keep) {
            crash += 1;
        }
        assert!(crash > 50, "the workload is long enough: {crash}");
    }
}

/// One run that is cut at step `crash` and again shortly after the restart. False: it survived.
fn cut_at(crash: u64, keep: Cut) -> bool {
    let disk = Arc::new(SimStorage::new(crash * 7919 + 17));
    let config = config(3);
    let mut seen: BTreeMap<i64, u32> = BTreeMap::new();
    let mut acknowledged: BTreeMap<i64, u32> = BTreeMap::new();
    let mut boot = Boot(0);
    let mut cut = false;
    for round in 0..4u64 {
        let limit = if round == 0 { crash } else { 3 + (crash + round) % 9 };
        if round < 3 {
            disk.crash_at_write(disk.counts().writes + limit);
        }
        let Ok(mut log) = open(&config, &disk) else {
            assert!(disk.is_dead(), "CRASH={crash} {keep:?}: only a cut stops the start");
            disk.power_cut(keep);
            cut |= round == 0;
            continue;
        };
        if std::env::var("CRASH").is_ok() {
            eprintln!(
                "round {round} limit {limit} boot {:?} down {} {:?} {:?} live {:?}",
                log.state().boot,
                disk.is_dead(),
                log.damage(),
                slot(&log, "t", 0).map(|s| log.state().partition(s).unwrap().clone()),
                log.rings[0].segments(),
            );
        }
        if !disk.is_dead() {
            assert!(log.state().boot > boot, "CRASH={crash} {keep:?}: epochs never go back");
            boot = log.state().boot;
            check(&log, &acknowledged, &seen, crash, keep);
        }
        workload(&mut log, round, &mut acknowledged, &mut seen);
        cut |= round == 0 && disk.is_dead();
        disk.power_cut(keep);
    }
    cut
}

fn workload(
    log: &mut Log,
    round: u64,
    acknowledged: &mut BTreeMap<i64, u32>,
    seen: &mut BTreeMap<i64, u32>,
) {
    if slot(log, "t", 0).is_none() {
        let _ = create(log, "t", 1);
        drive(log, 1);
    }
    for i in 0..40 {
        let Some(slot0) = slot(log, "t", 0) else {
            return;
        };
        let mut staged = Vec::new();
        for part in 0..2 {
            let batch = batch(3, 9_000, round * 1000 + i * 2 + part);
            if let Ok(appended) = append(log, slot0, &batch) {
                staged.push((appended, crc_of(&batch)));
            }
        }
        drive(log, 2 + i * 20_000);
        for (appended, crc) in staged {
            let offset = appended.offset.0;
            if log.settled(&Until::synced(RING, appended.ticket)) == Settle::Done {
                assert!(seen.get(&offset).is_none_or(|other| *other == crc), "offset {offset}");
                acknowledged.insert(offset, crc);
                seen.insert(offset, crc);
            }
        }
    }
}

fn check(
    log: &Log,
    acknowledged: &BTreeMap<i64, u32>,
    seen: &BTreeMap<i64, u32>,
    crash: u64,
    keep: Cut,
) {
    let Some(slot0) = slot(log, "t", 0) else {
        assert!(acknowledged.is_empty(), "CRASH={crash} {keep:?}: the topic is gone");
        return;
    };
    let found = contents(log, slot0);
    let start = log.state().partition(slot0).unwrap().log_start.0;
    for (offset, crc) in acknowledged.range(start..) {
        assert_eq!(found.get(offset), Some(crc), "CRASH={crash} {keep:?} offset {offset}");
    }
    for (offset, crc) in &found {
        assert!(seen.get(offset).is_none_or(|other| other == crc), "CRASH={crash} {keep:?}");
    }
    let kept = acknowledged.range(start..).count() * 9_000;
    let all = acknowledged.len() * 9_000;
    assert!(
        kept >= all.min(256 * 1024),
        "CRASH={crash} {keep:?}: evicted too much: {kept} of {all}"
    );
    assert_eq!(log.damage().groups, 0, "CRASH={crash} {keep:?}: a cut is not damage");
}
