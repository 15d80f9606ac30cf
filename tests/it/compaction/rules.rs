//! What a compacted topic takes, what of it is kept, and for how long.

use super::*;

#[test]
fn a_full_held_ring_goes_on_taking_what_is_kept_for_nobody_and_compacts_it() {
    let mut config = config();
    config.rings[0].hold_for = vec![Holder::from_text("group:g").unwrap()];
    let mut host = Host::new(config);
    create_topic(&mut host, SYNCS, 1, &[COMPACT]);
    create_topic(&mut host, "p", 1, &[]);
    let batch = keyed_batch(PLAIN, NOON_MS, &[(None, Some(&[7; 6000]))]);
    let fill = frame(ApiKey::Produce, 9, &produce(-1, "p", &[(0, Some(batch))]));
    let mut kept = 0;
    while let Ok(answer) = host.exchange(&fill) {
        assert_eq!(code_of(&answer.unwrap()), 0);
        kept += 1;
    }
    for round in 0..400_usize {
        let (key, value) = (format!("key-{}", round % 7), vec![round as u8; 3000 + round % 7]);
        assert_eq!(put(&mut host, SYNCS, &[(Some(key.as_bytes()), Some(&value))]), 0, "{round}");
    }
    let newest: BTreeMap<String, usize> =
        all(&mut host, SYNCS).into_iter().map(|(_, key, length)| (key, length.unwrap())).collect();
    assert!((0..7).all(|key| newest.get(&format!("key-{key}")) == Some(&(3000 + key))));
    let bounds = host.broker.partition_asked("p", 0).unwrap();
    assert_eq!((bounds.log_start.0, bounds.high_watermark.0), (0, kept));
    let stats = host.broker.log.stats(brooklet::types::RingIndex(0));
    assert_eq!((stats.evicted, stats.carry_lost), (0, 0));
    assert!(stats.freed > 5 && stats.carried_records > 7, "{stats:?}");
    // Nobody comes: it does not look again and again whether there is room.
    for _ in 0..4 {
        host.pass_us(60_000_000);
        while host.work() {}
    }
    assert!(!host.sleep(), "an idle broker wakes up");
}

/// MirrorMaker's topic at the source, with its defaults.
const SYNCS: &str = "mm2-offset-syncs.up.internal";

/// Sends records to one partition; gives the error code.
pub fn put(host: &mut Host, topic: &str, records: &[Keyed<'_>]) -> i16 {
    let batch = keyed_batch(PLAIN, host.now.wall_ms, records);
    let request = frame(ApiKey::Produce, 9, &produce(-1, topic, &[(0, Some(batch))]));
    let code = code_of(&host.exchange(&request).unwrap().unwrap());
    while host.work() {}
    code
}

/// Offset, key and value length of all that a consumer gets.
pub fn all(host: &mut Host, topic: &str) -> Vec<(i64, String, Option<usize>)> {
    let bounds = host.broker.partition_asked(topic, 0).unwrap();
    let (mut next, end) = (bounds.log_start.0, bounds.high_watermark.0);
    let mut found = Vec::new();
    while next < end {
        let before = next;
        for batch in batches(&host.fetch(topic, 0, next)) {
            let records = records_of(&batch).into_iter();
            found.extend(records.filter(|record| record.offset >= before).map(|record| {
                let key = String::from_utf8(record.key.unwrap_or(b"-".to_vec())).unwrap();
                (record.offset, key, record.value.map(|value| value.len()))
            }));
            next = batch.header.last_offset() + 1;
        }
        assert!(next > before, "a consumer gets no further than {next} of {end}");
    }
    found
}

/// The ring comes round once more.
pub fn lap(host: &mut Host) {
    let newest = |host: &Host| {
        let ring = brooklet::types::RingIndex(0);
        host.broker.log.segments(ring).next_back().unwrap().seq.0
    };
    let until = newest(host) + 6;
    while newest(host) < until {
        assert_eq!(put(host, "p", &[(None, Some(&[7; 6000]))]), 0);
    }
}

pub fn host(configs: &[(&str, &str)]) -> Host {
    let mut host = Host::new(config());
    create_topic(&mut host, "c", 1, configs);
    create_topic(&mut host, "p", 1, &[]);
    host
}

pub const COMPACT: (&str, &str) = ("cleanup.policy", "compact");

#[test]
fn at_a_quarter_of_the_ring_only_deletions_are_taken_and_other_topics_go_on() {
    let mut host = host(&[COMPACT]);
    let value = [9; 900];
    let key = |i: u32| format!("key-{i}").into_bytes();
    let mut taken = 0;
    let refused = loop {
        match put(&mut host, "c", &[(Some(&key(taken)), Some(&value))]) {
            0 => taken += 1,
            code => break code,
        }
        assert!(taken < 2000, "there is no bound");
    };
    assert_eq!(refused, 44);
    // A quarter is known to live, and as much may have been taken before it was looked at.
    let ring_bytes = 4 * (128 << 10);
    assert!((ring_bytes / 4..ring_bytes * 5 / 8).contains(&(taken * 961)), "{taken} records");
    for _ in 0..3 {
        lap(&mut host);
    }
    let there = all(&mut host, "c");
    assert_eq!(there.len(), taken as usize, "nothing that was taken is lost");
    assert_eq!(put(&mut host, "c", &[(Some(&key(0)), Some(&value))]), 44);
    for i in 0..taken - 5 {
        assert_eq!(put(&mut host, "c", &[(Some(&key(i)), None)]), 0, "{i}");
    }
    let mut codes = (0..20).map(|_| put(&mut host, "c", &[(Some(&key(0)), Some(&value))]));
    assert!(codes.any(|code| code == 0), "there is room again");
    lap(&mut host);
    let there = all(&mut host, "c");
    let living = there.iter().filter(|(_, _, value)| value.is_some());
    assert_eq!(living.count(), 6, "{there:?}");
}

#[test]
fn a_tombstone_is_kept_for_its_time_and_goes_with_all_that_was_older() {
    let day_us = 86_400_000_000;
    let mut host = host(&[COMPACT, ("delete.retention.ms", "172800000")]);
    put(&mut host, "c", &[(Some(b"gone"), Some(b"v")), (Some(b"stays"), Some(b"v"))]);
    lap(&mut host);
    put(&mut host, "c", &[(Some(b"gone"), None), (Some(b"last"), None)]);
    for laps in 0..3 {
        lap(&mut host);
        let there = all(&mut host, "c");
        let kept = [(1, "stays", Some(1)), (2, "gone", None), (3, "last", None)];
        let kept = kept.map(|(offset, key, value)| (offset, key.to_string(), value));
        assert_eq!(there, kept, "after {laps} laps");
        host.pass_us(day_us / 4);
    }
    host.pass_us(2 * day_us);
    for _ in 0..3 {
        lap(&mut host);
    }
    // The newest record of all stays, so that the end can be reached.
    let there = all(&mut host, "c");
    assert_eq!(there, [(1, "stays".to_string(), Some(1)), (3, "last".to_string(), None)]);
}

#[test]
fn a_record_younger_than_the_lag_is_kept_though_a_newer_one_has_its_key() {
    let hour_us = 3_600_000_000;
    let mut host = host(&[COMPACT, ("min.compaction.lag.ms", "7200000")]);
    for value in [&b"1"[..], b"22", b"333"] {
        put(&mut host, "c", &[(K, Some(value))]);
    }
    lap(&mut host);
    let lengths = |host: &mut Host| -> Vec<_> {
        all(host, "c").into_iter().map(|(_, _, length)| length.unwrap()).collect()
    };
    assert_eq!(lengths(&mut host), [1, 2, 3]);
    host.pass_us(3 * hour_us);
    lap(&mut host);
    assert_eq!(lengths(&mut host), [3]);
}

#[test]
fn what_may_not_be_compacted_is_refused() {
    let mut host = host(&[COMPACT]);
    assert_eq!(put(&mut host, "c", &[(None, Some(b"v"))]), 87);
    assert_eq!(put(&mut host, "c", &[(Some(&[7; 9000]), Some(b"v"))]), 87);
    assert_eq!(put(&mut host, "c", &[(Some(&[]), Some(b"v"))]), 0);
    for codec in 1..=4 {
        for (records, code) in [([(Some(&b"k"[..]), V), (None, V)], 87), ([(K, V), (K, None)], 0)] {
            let batch = packed(&keyed_batch(PLAIN, NOON_MS, &records), codec);
            let request = frame(ApiKey::Produce, 9, &produce(-1, "c", &[(0, Some(batch))]));
            assert_eq!(code_of(&host.exchange(&request).unwrap().unwrap()), code, "{codec}");
        }
    }
}

pub const K: Option<&[u8]> = Some(b"k");
pub const V: Option<&[u8]> = Some(b"v");

#[test]
fn a_damaged_batch_is_passed_over_and_the_others_are_carried() {
    let mut host = host(&[COMPACT]);
    for key in [b"a", b"b", b"c"] {
        put(&mut host, "c", &[(Some(key), Some(&[5; 3000]))]);
    }
    let ring = brooklet::types::RingIndex(0);
    let segment = host.broker.log.segments(ring).next().unwrap();
    let mut bytes = vec![0; 128 << 10];
    host.storage.read_durable(segment.file, 0, &mut bytes);
    // The middle one's value.
    let at = bytes.windows(3000).enumerate().filter(|(_, window)| *window == [5; 3000]).nth(1);
    host.storage.flip(segment.file, at.unwrap().0 as u64 + 9, 0);
    for _ in 0..2 {
        lap(&mut host);
    }
    let there = all(&mut host, "c");
    let keys: Vec<&str> = there.iter().map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "c"]);
}
