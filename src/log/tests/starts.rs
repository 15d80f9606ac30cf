//! Starts over disks that fail, files that are lost, and numbers that nobody wrote.

use super::super::format::{GroupHeader, VERSION};
use super::*;
use crate::types::{FileIndex, GroupSeq, RingNumber, SegmentSeq};

/// A ring of several segments, closed in good order, and what is in it.
fn used(disk: &Arc<SimStorage>, config: &LogConfig, batches: u64) -> BTreeMap<i64, u32> {
    let mut log = open_with_topic(config, disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    for i in 0..batches {
        append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
        drive(&mut log, 2);
    }
    log.close();
    drive(&mut log, 3);
    contents(&log, slot0)
}

/// The same, as a start does that may be tried again.
fn open_strict(config: &LogConfig, disk: &Arc<SimStorage>) -> Result<Log, OpenError> {
    open_with(config, disk, false)
}

fn all_of(log: &Log, topic: &str) -> BTreeMap<i64, u32> {
    contents(log, slot(log, topic, 0).unwrap())
}

fn file_ref(file: u16) -> FileRef {
    FileRef { ring: RING, file: FileIndex(file) }
}

/// All of a file, as it is on the medium.
fn durable(disk: &SimStorage, file: FileRef) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT_BYTES];
    disk.read_durable(file, 0, &mut bytes);
    bytes
}

const SEGMENT_BYTES: usize = 256 * 1024;

#[test]
fn a_start_without_a_readable_anchor_ends_and_the_ring_is_whole_when_the_disk_reads_again() {
    for writes_too in [false, true] {
        let disk = Arc::new(SimStorage::new(5));
        let config = config(4);
        let before = used(&disk, &config, 20);
        disk.fail(Op::Read, Failing::From(0));
        if writes_too {
            disk.fail(Op::Write, Failing::From(0));
        }
        let writes = disk.counts().writes;
        for opened in [open_strict(&config, &disk), open(&config, &disk)] {
            assert!(matches!(opened, Err(OpenError::Unreadable(_))));
        }
        assert_eq!(disk.counts().writes, writes, "nothing is written to what cannot be read");
        disk.process_kill();
        let log = open(&config, &disk).unwrap();
        assert_eq!(all_of(&log, "t"), before);
        assert_eq!(log.damage(), Damage::default());
    }
}

#[test]
fn a_newest_segment_that_cannot_be_read_is_said_and_not_written_to_and_its_offsets_not_given() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let before = used(&disk, &config, 25);
    let newest = {
        let mut log = open(&config, &disk).unwrap();
        log.close();
        drive(&mut log, 1);
        log.segments(RING).next_back().unwrap()
    };
    let bytes = durable(&disk, newest.file);
    disk.fail_reads_at(newest.file, 0, SEGMENT_BYTES as u64);
    assert!(matches!(open_strict(&config, &disk), Err(OpenError::Unreadable(_))));
    // The first start could not read it for a while only.
    let healed = Arc::new(disk.fork(1));
    healed.reads_work();
    assert_eq!(all_of(&open_strict(&config, &healed).unwrap(), "t"), before);
    // It is broken for good: the rest is served.
    let mut log = open(&config, &disk).unwrap();
    assert_eq!(log.damage().segments, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    let newest_before = *before.keys().next_back().unwrap();
    for i in 0..60 {
        let appended = append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
        drive(&mut log, 2);
        assert_eq!(log.settled(&Until::synced(RING, appended.ticket)), Settle::Done);
        assert!(appended.offset.0 > newest_before, "no offset has two contents");
    }
    assert!(durable(&disk, newest.file) == bytes, "what cannot be read is not written to");
    let after = contents(&log, slot0);
    drop(log);
    let log = open(&config, &disk).unwrap();
    assert_eq!(all_of(&log, "t"), after);
}

#[test]
fn a_newest_head_that_cannot_be_read_for_a_moment_is_read_again_and_log_starts_stay() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let before = used(&disk, &config, 80);
    let log = open(&config, &disk).unwrap();
    assert!(log.stats(RING).written_bytes > 0 && log.segments(RING).count() == 4);
    let newest = log.segments(RING).next_back().unwrap();
    drop(log);
    // Head and foot of each file are read before anything else.
    let reads = 2 * u64::from(newest.file.file.0);
    disk.fail(Op::Read, Failing::Once(reads));
    assert!(matches!(open_strict(&config, &disk), Err(OpenError::Unreadable(_))));
    assert_eq!(all_of(&open_strict(&config, &disk).unwrap(), "t"), before);
}

#[test]
fn a_boot_group_that_fails_takes_nothing_from_what_the_start_found() {
    for op in [Op::Write, Op::Sync] {
        for how in [Failing::Once, Failing::From] {
            for after in 0..6 {
                let disk = Arc::new(SimStorage::new(5));
                let config = config(4);
                let mut log = open_with_topic(&config, &disk, 1);
                let slot0 = slot(&log, "t", 0).unwrap();
                append(&mut log, slot0, &batch(1, 500, 1)).unwrap();
                drive(&mut log, 2);
                let acknowledged = contents(&log, slot0);
                drop(log);
                disk.process_kill();
                disk.fail(op, how(after));
                disk.record_forks(true);
                let _ = open(&config, &disk);
                for (i, (_, fork)) in disk.forks_take().into_iter().enumerate() {
                    for cut in Cut::ALL {
                        let fork = Arc::new(fork.fork(i as u64));
                        fork.power_cut(cut);
                        let log = open(&config, &fork).unwrap();
                        let found = all_of(&log, "t");
                        assert_eq!(found, acknowledged, "{op:?} {after}, instant {i} {cut:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_smaller_group_size_after_an_unclean_stop_loses_nothing() {
    let disk = Arc::new(SimStorage::new(5));
    let mut config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    append(&mut log, slot0, &batch(1, 40_000, 1)).unwrap();
    drive(&mut log, 2);
    let acknowledged = contents(&log, slot0);
    assert_eq!(acknowledged.len(), 1);
    drop(log);
    disk.process_kill();
    for group_bytes_max in [16 * 1024, 64 * 1024] {
        config.groups_bytes = [group_bytes_max; 2];
        let log = open(&config, &disk).unwrap();
        assert_eq!(all_of(&log, "t"), acknowledged);
    }
}

#[test]
fn a_whole_group_before_one_that_was_cut_short_stays_over_all_later_starts() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    append_relaxed(&mut log, slot0, &batch(1, 500, 1), 700, 2);
    drive(&mut log, 2);
    append_relaxed(&mut log, slot0, &batch(3, 9_000, 2), 700, 3);
    drive(&mut log, 3);
    let end = log.segments(RING).next_back().unwrap();
    drop(log);
    disk.power_cut(Cut::All);
    disk.garble(end.file, end.end - 5000, 100);
    for start in 0..3 {
        let log = open(&config, &disk).unwrap();
        let partition = log.state().partition(slot(&log, "t", 0).unwrap()).unwrap().clone();
        assert_eq!(all_of(&log, "t").keys().collect::<Vec<_>>(), [&0], "start {start}");
        assert_eq!(partition.log_start, Offset(0), "start {start}");
        assert_eq!(partition.next, Offset(4), "what was cut short had these");
        drop(log);
        if start == 0 { disk.process_kill() } else { disk.power_cut(Cut::All) }
    }
}

#[test]
fn records_that_follow_a_gap_which_is_not_on_flash_yet_stay() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    // Behind a seal a start has nothing to sync before it serves.
    let shared = log.shared();
    drive_ring(&mut log, shared, 5000);
    let slot0 = slot(&log, "t", 0).unwrap();
    append(&mut log, slot0, &batch(1, 500, 1)).unwrap();
    drive(&mut log, 2);
    append(&mut log, slot0, &batch(5, 9_000, 2)).unwrap();
    drive(&mut log, 3);
    let end = log.segments(RING).next_back().unwrap();
    drop(log);
    disk.power_cut(Cut::All);
    disk.garble(end.file, end.end - 5000, 100);
    disk.fail(Op::Sync, Failing::From(0));
    let mut log = open(&config, &disk).unwrap();
    let slot0 = slot(&log, "t", 0).unwrap();
    assert!(log.is_failing(RING));
    disk.fail(Op::Sync, Failing::Never);
    // A producer comes first while the next try is on its way.
    let mut job = log.next_io(RING, now(1000)).unwrap();
    let appended = append(&mut log, slot0, &batch(1, 300, 3));
    let result = job.run(&**log.storage());
    log.io_done(RING, job, result, now(1000));
    drive(&mut log, 1001);
    let appended = match appended {
        Ok(appended) => appended,
        Err(_) => append(&mut log, slot0, &batch(1, 300, 3)).unwrap(),
    };
    drive(&mut log, 1002);
    assert_eq!(log.settled(&Until::synced(RING, appended.ticket)), Settle::Done);
    assert_eq!(appended.offset, Offset(6), "behind the gap");
    log.close();
    drive(&mut log, 1003);
    drop(log);
    let log = open(&config, &disk).unwrap();
    assert_eq!(all_of(&log, "t").keys().collect::<Vec<_>>(), [&0, &6]);
}

#[test]
fn an_alien_file_is_not_believed_by_a_young_ring_and_not_written_to() {
    let (disk, other) = (Arc::new(SimStorage::new(5)), Arc::new(SimStorage::new(6)));
    let config = config(4);
    let before = used(&disk, &config, 3);
    let writes = other.write(file_ref(0), 0, &[]);
    assert!(writes.is_err(), "it is another disk");
    // The other ring has another id: it depends on what was written before.
    other.create(file_ref(9), 1 << 20, &mut |_| {}).unwrap();
    for _ in 0..7 {
        other.write(file_ref(9), 0, &[std::io::IoSlice::new(&[1; 512])]).unwrap();
    }
    other.remove(file_ref(9)).unwrap();
    let mut log = open(&config, &other).unwrap();
    create(&mut log, "alien", 1).unwrap();
    drive(&mut log, 1);
    let slot0 = slot(&log, "alien", 0).unwrap();
    for i in 0..40 {
        append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
        drive(&mut log, 2);
    }
    for (from, to) in [(0, 3), (3, 3)] {
        let disk = Arc::new(disk.fork(1));
        let bytes = durable(&other, file_ref(from));
        disk.write(file_ref(to), 0, &[std::io::IoSlice::new(&bytes)]).unwrap();
        disk.sync(file_ref(to)).unwrap();
        let mut log = open(&config, &disk).unwrap();
        assert_eq!(all_of(&log, "t"), before);
        let slot0 = slot(&log, "t", 0).unwrap();
        for i in 0..60 {
            append(&mut log, slot0, &batch(1, 20_000, i)).unwrap();
            drive(&mut log, 2);
        }
        assert!(log.stats(RING).evicted > 0, "the ring came round");
        assert!(durable(&disk, file_ref(to)) == bytes);
    }
}

#[test]
fn numbers_that_nobody_can_have_written_are_not_believed() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let before = used(&disk, &config, 2);
    let log = open(&config, &disk).unwrap();
    let current = log.segments(RING).next_back().unwrap();
    let ring_id = log.ring_id(RING);
    let (boot, next) = (log.state().boot, log.rings[0].group_next());
    drop(log);
    for (forged_boot, seq) in
        [(Boot(u32::MAX), next.0), (Boot(i32::MAX as u32), next.0), (boot, u64::MAX)]
    {
        let mut page = vec![0; 4096];
        let header = GroupHeader {
            ring_id,
            segment: current.seq,
            seq: GroupSeq(seq),
            position: current.end,
            boot: forged_boot,
            flags: 0,
            synced_through: GroupSeq(seq - 1),
            supersedes: GroupSeq(0),
            wall_ms: 0,
            bytes: 4096,
            runs: 0,
            payload_bytes: 0,
            meta_bytes: 0,
            directory_crc: 0,
            meta_crc: 0,
            prev_crc: 0,
        };
        header.encode(&mut page);
        let disk = Arc::new(disk.fork(1));
        disk.write(current.file, current.end, &[std::io::IoSlice::new(&page)]).unwrap();
        disk.sync(current.file).unwrap();
        let log = open(&config, &disk).unwrap();
        assert_eq!(all_of(&log, "t"), before);
        assert_eq!(log.state().boot, Boot(boot.0 + 1));
    }
    assert_eq!(SegmentSeq(1), current.seq, "of format {VERSION}");
}

#[test]
fn the_newest_stamp_is_one_on_flash_and_stays_while_the_clock_is_behind_it() {
    let (disk, config) = (Arc::new(SimStorage::new(7)), config(4));
    let mut log = open_with_topic(&config, &disk, 1);
    let slot = slot(&log, "t", 0).unwrap();
    let newest_ms = now(5000).wall_ms;
    let behind = |ms| Now { wall_ms: 1000, wall_synchronised: false, ..now(ms) };
    let mut put = |begun: Now, done: Now| {
        append(&mut log, slot, &batch(1, 30_000, begun.mono.0)).unwrap();
        while let Some(mut job) = log.next_io(RING, begun) {
            let result = job.run(&*disk);
            log.io_done(RING, job, result, done);
        }
        assert_eq!(log.stamp_newest_ms(), newest_ms);
    };
    put(now(5000), now(5003));
    // More than a lap.
    for ms in 6000..6060 {
        put(behind(ms), behind(ms));
    }
    disk.process_kill();
    assert_eq!(open(&config, &disk).unwrap().stamp_newest_ms(), newest_ms);
}

#[test]
fn a_first_start_reads_pages_and_no_files_and_a_later_one_about_a_segment() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(12);
    let log = open(&config, &disk).unwrap();
    assert!(disk.counts().read_bytes < 14 * 4 * 4096, "{:?}", disk.counts());
    drop(log);
    used(&disk, &config, 100);
    let before = disk.counts();
    let log = open(&config, &disk).unwrap();
    assert!(log.segments(RING).count() >= 8);
    let read = disk.counts().read_bytes - before.read_bytes;
    // Two anchors of each file, an index of each segment, the base's body, and one segment.
    assert!(read < 14 * 4 * 4096 + 2 * SEGMENT_BYTES as u64, "{read} bytes");
}

fn drive_all(log: &mut Log, ms: u64) {
    let storage = Arc::clone(log.storage());
    for ring in log.rings() {
        while let Some(mut job) = log.next_io(ring, now(ms)) {
            let result = job.run(&*storage);
            log.io_done(ring, job, result, now(ms));
        }
    }
}

#[test]
fn a_topic_whose_creation_was_lost_keeps_the_name_that_it_was_found_by() {
    let disk = Arc::new(SimStorage::new(5));
    let mut config = config(4);
    let mut second = config.rings[0].clone();
    second.name = "second".into();
    config.rings.insert(1, second);
    let mut log = open(&config, &disk).unwrap();
    create(&mut log, "a", 1).unwrap();
    drive_all(&mut log, 1);
    let place = log.segments(log.shared()).next_back().unwrap();
    let record = MetaRecord::TopicCreate {
        id: TopicId([1; 16]),
        name: "t",
        ring: 1,
        handle_first: log.handles_take(1),
        partitions: 1,
        configs: &[],
    };
    log.stage(log.shared(), &record, false, now(1)).unwrap();
    drive_all(&mut log, 1);
    let t = slot(&log, "t", 0).unwrap();
    append(&mut log, t, &batch(3, 500, 1)).unwrap();
    drive_all(&mut log, 2);
    let a = slot(&log, "a", 0).unwrap();
    append(&mut log, a, &batch(1, 100, 1)).unwrap();
    create(&mut log, "b", 1).unwrap();
    drive_all(&mut log, 3);
    log.close();
    drive_all(&mut log, 4);
    drop(log);
    // One bad sector: the group that created the topic. Those of later ones hold.
    let metadata = FileRef { ring: RingIndex(RingNumber::METADATA.0), ..place.file };
    disk.flip(metadata, place.end + 10, 1);
    let names = |log: &Log| -> Vec<String> {
        log.state().topics().map(|(_, topic)| topic.name.to_string()).collect()
    };
    let mut log = open(&config, &disk).unwrap();
    assert_eq!(names(&log), ["a", "b", "lost-2"]);
    let found = slot(&log, "lost-2", 0).unwrap();
    assert_eq!(
        log.index(RingIndex(1)).first_offset(found),
        Some(Offset(0)),
        "its records are found"
    );
    create(&mut log, "x", 1).unwrap();
    drive_all(&mut log, 5);
    log.close();
    drive_all(&mut log, 6);
    drop(log);
    let log = open(&config, &disk).unwrap();
    assert_eq!(names(&log), ["a", "b", "lost-2", "x"]);
    let found = slot(&log, "lost-2", 0).unwrap();
    assert_eq!(log.state().partition(found).unwrap().high_watermark, Offset(3));
}

#[test]
fn offsets_that_a_lost_group_had_are_not_given_again() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 2);
    let (one, two) = (slot(&log, "t", 0).unwrap(), slot(&log, "t", 1).unwrap());
    let place = log.segments(RING).next_back().unwrap();
    append(&mut log, one, &batch(3, 500, 1)).unwrap();
    drive(&mut log, 2);
    append(&mut log, two, &batch(1, 100, 1)).unwrap();
    drive(&mut log, 3);
    log.close();
    drive(&mut log, 4);
    drop(log);
    disk.flip(place.file, place.end + 10, 1);
    let nexts = |log: &Log| {
        [0, 1].map(|index| {
            let slot = slot(log, "t", index).unwrap();
            log.state().partition(slot).unwrap().next
        })
    };
    let log = open(&config, &disk).unwrap();
    assert_eq!(log.damage().groups, 1);
    let [one, two] = nexts(&log);
    assert!(one >= Offset(3), "{one:?}: acknowledged records had 0 to 2");
    assert_eq!(two, Offset(1), "what follows the damage says where it goes on");
    drop(log);
    disk.power_cut(Cut::None);
    let mut log = open(&config, &disk).unwrap();
    assert_eq!(nexts(&log), [one, two], "also at the next start");
    let slot0 = slot(&log, "t", 0).unwrap();
    assert_eq!(append(&mut log, slot0, &batch(3, 500, 2)).unwrap().offset, one);
}

#[test]
fn batches_beside_damaged_metadata_survive_and_so_do_records_beside_damaged_batches() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    let place = log.segments(RING).next_back().unwrap();
    append(&mut log, slot0, &batch(1, 500, 1)).unwrap();
    let handle = log.state().partition(slot0).unwrap().handle;
    let deleted = MetaRecord::LogStart { handle, offset: Offset(1) };
    log.stage(RING, &deleted, false, now(2)).unwrap();
    drive(&mut log, 2);
    append(&mut log, slot0, &batch(1, 500, 2)).unwrap();
    drive(&mut log, 3);
    drop(log);
    let meta_at = place.end + 128 + 32;
    for (at, batches, log_start) in [(meta_at + 1, 2, 0), (meta_at + 300, 1, 1)] {
        let disk = Arc::new(disk.fork(1));
        disk.flip(place.file, at, 1);
        let log = open(&config, &disk).unwrap();
        let start = log.state().partition(slot(&log, "t", 0).unwrap()).unwrap().log_start.0;
        let found = (all_of(&log, "t").len(), start, log.damage().groups);
        assert_eq!(found, (batches, log_start, 1));
    }
}

/// A new ring takes a record, and has it after the next start.
fn takes_a_record(config: &LogConfig, disk: &Arc<SimStorage>) {
    let mut log = open(config, disk).unwrap();
    assert_eq!((log.damage().groups, log.damage().segments), (0, 0));
    create(&mut log, "t", 1).unwrap();
    drive(&mut log, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    append(&mut log, slot0, &batch(1, 500, 1)).unwrap();
    drive(&mut log, 2);
    let found = contents(&log, slot0);
    drop(log);
    disk.power_cut(Cut::None);
    assert_eq!(all_of(&open(config, disk).unwrap(), "t"), found);
    assert_eq!(found.len(), 1);
}

#[test]
fn a_ring_whose_making_is_cut_or_fails_at_any_step_is_made_by_the_next_start() {
    let config = config(4);
    let disk = Arc::new(SimStorage::new(5));
    disk.record_forks(true);
    open(&config, &disk).unwrap();
    let forks = disk.forks_take();
    assert!(forks.len() > 6, "files, head, boot group, twin");
    for (i, (_, fork)) in forks.iter().enumerate() {
        for cut in Cut::ALL {
            let fork = Arc::new(fork.fork(i as u64));
            fork.power_cut(cut);
            takes_a_record(&config, &fork);
        }
    }
    for op in [Op::Read, Op::Write, Op::Sync] {
        for how in [Failing::Once, Failing::From] {
            for after in 0..30 {
                let disk = Arc::new(SimStorage::new(after));
                disk.fail(op, how(after));
                let opened = open_strict(&config, &disk);
                let unreadable = matches!(opened, Err(OpenError::Unreadable(_)));
                assert!(opened.is_ok() || (op == Op::Read && unreadable));
                drop(opened);
                disk.power_cut(Cut::ALL[after as usize % 5]);
                takes_a_record(&config, &disk);
            }
        }
    }
}

#[test]
fn what_is_written_after_a_page_could_not_be_read_is_there_when_it_can() {
    let disk = Arc::new(SimStorage::new(5));
    let config = config(4);
    let mut log = open_with_topic(&config, &disk, 1);
    let slot0 = slot(&log, "t", 0).unwrap();
    disk.record_forks(true);
    // The group that does not fit leaves room for smaller ones.
    for i in 0..6 {
        append(&mut log, slot0, &batch(1, 45_000, i)).unwrap();
        drive(&mut log, 2);
    }
    let forks = disk.forks_take();
    assert_eq!(log.segments(RING).count(), 2, "it rolled once");
    for (i, (_, fork)) in forks.into_iter().enumerate() {
        fork.power_cut(Cut::None);
        for after in 0..40 {
            let disk = Arc::new(fork.fork(1));
            disk.fail(Op::Read, Failing::Once(after));
            // One that needs what it could not read ends.
            let Ok(mut log) = open_strict(&config, &disk) else { continue };
            let Some(slot0) = slot(&log, "t", 0) else { continue };
            let appended = append(&mut log, slot0, &batch(1, 500, 99)).unwrap();
            drive(&mut log, 3);
            assert_eq!(log.settled(&Until::synced(RING, appended.ticket)), Settle::Done);
            assert!(appended.offset < Offset(20), "a page that hides nothing costs no offsets");
            let shown = contents(&log, slot0);
            drop(log);
            disk.power_cut(Cut::None);
            let found = all_of(&open(&config, &disk).unwrap(), "t");
            let there = |(offset, crc): (&i64, &u32)| found.get(offset) == Some(crc);
            assert!(shown.iter().all(there), "instant {i}, read {after}");
        }
    }
}
