//! Look-ups by timestamp.

use super::rig::{Dice, Outcome, Rig, batch};
use crate::host::packed;

use brooklet::log::record::MetaRecord;
use brooklet::types::{Offset, PartitionHandle, RingIndex};

/// The offset of the newest timestamp, by a request of version 7.
fn look_up_newest(rig: &mut Rig) -> (i64, i64) {
    let mut frame = vec![0, 2, 0, 7, 0, 0, 0, 2, 0xff, 0xff, 0];
    frame.extend((-1i32).to_be_bytes());
    frame.extend([0, 2, 2, b't', 2, 0, 0, 0, 0]);
    frame.extend((-1i32).to_be_bytes());
    frame.extend((-3i64).to_be_bytes());
    frame.extend([0, 0, 0]);
    assert!(matches!(rig.request(0, &frame), Outcome::Answer(_)));
    // Size, correlation id, tag, throttle time, counts and name, then index and error.
    let result = &rig.sent()[8 + 1 + 4 + 4 + 6..];
    (
        i64::from_be_bytes(result[..8].try_into().unwrap()),
        i64::from_be_bytes(result[8..16].try_into().unwrap()),
    )
}

/// A ListOffsets request, version 5; gives (error, timestamp, offset) of each.
fn look_up(rig: &mut Rig, asked: &[(i32, i64)]) -> Vec<(i16, i64, i64)> {
    let mut frame = vec![0, 2, 0, 5, 0, 0, 0, 2, 0xff, 0xff];
    frame.extend((-1i32).to_be_bytes());
    frame.push(0);
    frame.extend(1i32.to_be_bytes());
    frame.extend([0, 1, b't']);
    frame.extend((asked.len() as i32).to_be_bytes());
    for (index, timestamp) in asked {
        frame.extend(index.to_be_bytes());
        frame.extend((-1i32).to_be_bytes());
        frame.extend(timestamp.to_be_bytes());
    }
    assert!(matches!(rig.request(0, &frame), Outcome::Answer(_)));
    let body = &rig.sent()[12..];
    let results = &body[4 + 3 + 4..];
    assert_eq!(results.len(), asked.len() * 26);
    let result = |bytes: &[u8]| {
        (
            i16::from_be_bytes(bytes[4..6].try_into().unwrap()),
            i64::from_be_bytes(bytes[6..14].try_into().unwrap()),
            i64::from_be_bytes(bytes[14..22].try_into().unwrap()),
        )
    };
    results.chunks(26).map(result).collect()
}

#[test]
fn a_look_up_is_answered_beside_any_topics_that_are_not_there() {
    let mut rig = Rig::new(1, 4);
    rig.append(0, &batch(&[5, 6, 7], 10, 0));
    rig.commit();
    let mut frame = vec![0, 2, 0, 5, 0, 0, 0, 2, 0xff, 0xff];
    frame.extend((-1i32).to_be_bytes());
    frame.push(0);
    frame.extend(51i32.to_be_bytes());
    let names = (0..50).map(|at| format!("missing-{at:03}")).chain(["t".to_string()]);
    for name in names {
        frame.extend((name.len() as i16).to_be_bytes());
        frame.extend(name.bytes());
        frame.extend(1i32.to_be_bytes());
        frame.extend(0i32.to_be_bytes());
        frame.extend((-1i32).to_be_bytes());
        frame.extend(6i64.to_be_bytes());
    }
    for _ in 0..3 {
        assert!(matches!(rig.request(0, &frame), Outcome::Answer(_)));
        let topics = &rig.sent()[12 + 4..];
        // A name of 11 bytes, a count, and 26 bytes of one partition.
        let (missing, found) = topics.split_at(50 * (13 + 4 + 26));
        for topic in missing.chunks(13 + 4 + 26) {
            assert_eq!(topic[13 + 4 + 4..][..2], [0, 3]);
        }
        let found = &found[3 + 4 + 4..];
        assert_eq!((&found[..2], &found[10..18]), (&[0; 2][..], &1i64.to_be_bytes()[..]));
        assert_eq!(found[2..10], 6i64.to_be_bytes());
    }
}

#[test]
fn earliest_and_latest_need_no_look_at_the_disk() {
    let mut rig = Rig::new(2, 4);
    rig.append(0, &batch(&[5, 6, 7], 10, 0));
    rig.commit();
    let before = rig.reads();
    let found = look_up(&mut rig, &[(0, -1), (1, -2), (9, -1)]);
    assert_eq!(found, [(0, -1, 3), (0, -1, 0), (3, -1, -1)]);
    assert_eq!(rig.reads(), before);
    let found = look_up(&mut rig, &[(0, -1), (0, -2), (1, -9)]);
    assert_eq!(found, [(42, -1, -1), (42, -1, -1), (35, -1, -1)]);
}

#[test]
fn a_timestamp_finds_the_first_record_that_is_not_older() {
    let mut dice = Dice(3);
    let mut rig = Rig::new(2, 4);
    let mut records = Vec::new();
    let mut clock = 10_000;
    while records.len() < 3000 {
        let count = 1 + dice.below(6) as usize;
        let mut stamps = Vec::new();
        for _ in 0..count {
            clock += dice.below(50) as i64 - 5;
            stamps.push(clock);
        }
        records.extend(&stamps);
        rig.append(1, &batch(&stamps, 900, 0));
        if dice.below(3) == 0 {
            rig.commit();
        }
    }
    rig.commit();
    for _ in 0..300 {
        let wanted = 9_000 + dice.below(clock as u64 - 8_000) as i64;
        let expected = records.iter().position(|stamp| *stamp >= wanted);
        let expected = expected.map_or((0, -1, -1), |at| (0, records[at], at as i64));
        assert_eq!(look_up(&mut rig, &[(1, wanted)]), [expected], "{wanted}");
    }
}

#[test]
fn the_newest_timestamp_is_exact_wherever_in_the_ring_it_is() {
    let mut dice = Dice(4);
    for ahead in [0, 5, 40, 4_000_000] {
        // Some hundred records a segment.
        let mut rig = Rig::new(1, 8);
        let mut records = Vec::new();
        let mut clock = 10_000;
        for round in 0..400 {
            clock += dice.below(900) as i64 - 300;
            // One device's clock was ahead for a moment.
            let stamp = if round == 150 { clock + ahead } else { clock };
            records.push(stamp);
            rig.append(0, &batch(&[stamp], 40_000, 0));
            rig.commit();
            if round % 40 == 0 || round == 399 {
                let newest = records.iter().max().unwrap();
                let at = records.iter().position(|stamp| stamp == newest).unwrap();
                assert_eq!(look_up_newest(&mut rig), (*newest, at as i64), "{ahead} {round}");
            }
        }
        let record = MetaRecord::LogStart { handle: PartitionHandle(1), offset: Offset(151) };
        rig.broker.log.stage(RingIndex(0), &record, false, rig.now).unwrap();
        rig.commit();
        let newest = records[151..].iter().max().unwrap();
        let at = 151 + records[151..].iter().position(|stamp| stamp == newest).unwrap();
        assert_eq!(look_up_newest(&mut rig), (*newest, at as i64), "{ahead}");
    }
}

#[test]
fn a_timestamp_finds_its_record_inside_a_compressed_batch() {
    for codec in [1, 2, 3, 4] {
        let mut rig = Rig::new(1, 4);
        rig.append(0, &batch(&[10, 20, 30], 10, 0));
        rig.append(0, &packed(&batch(&[40, 60, 50], 10, 0), codec));
        rig.append(0, &packed(&batch(&[70, 90, 80], 5000, 0), codec));
        rig.append(0, &batch(&[85, 85, 85], 10, 8));
        rig.commit();
        let found =
            [20, 40, 41, 60, 61, 85, 90, 91].map(|wanted| look_up(&mut rig, &[(0, wanted)])[0]);
        let expected = [
            (0, 20, 1),
            (0, 40, 3),
            (0, 60, 4),
            (0, 60, 4),
            (0, 70, 6),
            (0, 90, 7),
            (0, 90, 7),
            (0, -1, -1),
        ];
        assert_eq!(found, expected, "codec {codec}");
        assert_eq!(look_up_newest(&mut rig), (90, 7), "codec {codec}");
    }
}

#[test]
fn of_a_compressed_batch_that_cannot_be_read_the_first_record_is_given() {
    let mut rig = Rig::new(1, 4);
    rig.append(0, &batch(&[10, 20, 30], 10, 0));
    // It says so, and is not.
    rig.append(0, &batch(&[40, 50, 60], 10, 2));
    rig.commit();
    assert_eq!(look_up(&mut rig, &[(0, 20)]), [(0, 20, 1)]);
    assert_eq!(look_up(&mut rig, &[(0, 60)]), [(0, 40, 3)]);
    assert_eq!(look_up(&mut rig, &[(0, 61)]), [(0, -1, -1)]);
}

#[test]
fn a_timestamp_finds_its_record_inside_a_compressed_batch_of_any_length() {
    let mut dice = Dice(9);
    // In what is read at once, in what a buffer holds, in a large buffer.
    for value in [5_000, 25_000, 250_000] {
        let mut rig = Rig::new(2, 4);
        for index in [0, 1] {
            let mut noise = batch(&[70, 80, 75, 90], value, 0);
            for at in (100..noise.len() - value).step_by(value + 10) {
                noise[at..at + value - 100].fill_with(|| dice.below(256) as u8);
            }
            rig.append(index, &batch(&[10, 20, 30], 10, 0));
            rig.append(index, &packed(&noise, 1 + index as u8 * 2));
            rig.append(index, &batch(&[85, 95], 10, 0));
            rig.commit();
        }
        for (wanted, found) in
            [(70, (70, 3)), (71, (80, 4)), (80, (80, 4)), (81, (90, 6)), (91, (95, 8))]
        {
            let asked = [(0, wanted), (1, wanted)];
            let expected = [(0, found.0, found.1); 2];
            assert_eq!(look_up(&mut rig, &asked), expected, "{wanted} of {value} bytes each");
        }
        assert_eq!(look_up_newest(&mut rig), (95, 8));
        assert_eq!(look_up(&mut rig, &[(0, 20), (1, 80)]), [(0, 20, 1), (0, 80, 4)]);
    }
}

#[test]
fn the_newest_timestamp_is_found_also_when_a_newer_record_was_deleted() {
    let mut rig = Rig::new(1, 4);
    assert_eq!(look_up_newest(&mut rig), (-1, -1));
    rig.append(0, &batch(&[10, 900, 30], 10, 0));
    rig.commit();
    rig.append(0, &batch(&[40, 80, 60, 80], 10, 0));
    rig.append(0, &batch(&[70, 20], 10, 0));
    rig.commit();
    assert_eq!(look_up_newest(&mut rig), (900, 1));
    for (log_start, expected) in [(1, (900, 1)), (2, (80, 4)), (5, (80, 6)), (7, (70, 7))] {
        let record = MetaRecord::LogStart { handle: PartitionHandle(1), offset: Offset(log_start) };
        let staged = rig.broker.log.stage(RingIndex(0), &record, false, rig.now);
        staged.unwrap();
        rig.commit();
        assert_eq!(rig.log_start(0), log_start);
        assert_eq!(look_up_newest(&mut rig), expected, "from {log_start}");
    }
}

#[test]
fn a_compressed_batch_that_the_disk_does_not_give_is_passed_over() {
    for value in [5_000, 250_000] {
        let mut dice = Dice(5);
        let mut rig = Rig::new(1, 4);
        let mut noise = batch(&[40, 60], value, 0);
        noise[100..value].fill_with(|| dice.below(256) as u8);
        let noise = packed(&noise, 3);
        rig.append(0, &noise);
        rig.append(0, &batch(&[70, 80], 10, 0));
        rig.commit();
        let (file, at) = rig.disk.find(&noise[4800..4900])[0];
        rig.disk.bad.lock().unwrap().push((file, at));
        assert_eq!(look_up(&mut rig, &[(0, 50)]), [(0, 70, 2)]);
    }
}
