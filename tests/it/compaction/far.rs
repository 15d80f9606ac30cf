//! Records of one partition that compaction left further apart than 32 bits count offsets: some
//! billions were written between them, of keys that were written again.

use brooklet::log::record::MetaRecord;
use brooklet::types::{Offset, RingIndex};

use super::rules::{COMPACT, all, host, lap, put};
use super::*;

/// The next record gets this offset, as if all those before it had been written and dropped.
fn go_on_at(host: &mut Host, offset: i64) {
    let partition = host.broker.partition_asked("c", 0).unwrap();
    let (ring, handle) = (partition.ring, partition.handle);
    let bounds = MetaRecord::Partition {
        handle,
        log_start: Offset(0),
        next: Offset(offset),
        epochs: heapless::Vec::new(),
    };
    host.broker.log.stage(ring, &bounds, false, host.now).unwrap();
    while host.work() {}
}

fn write(host: &mut Host, key: &str) {
    assert_eq!(put(host, "c", &[(Some(key.as_bytes()), Some(&[5; 100]))]), 0);
}

/// From and to of what was carried.
fn stretches(host: &Host) -> Vec<(i64, i64)> {
    let entries = host.broker.log.index(RingIndex(0)).carried().entries().iter();
    entries.map(|entry| (entry.from.0, entry.to().0)).collect()
}

#[test]
fn what_is_carried_stays_though_its_offsets_are_further_apart_than_32_bits_count() {
    let (signed, unsigned) = (i64::from(i32::MAX), i64::from(u32::MAX));
    let mut joined = 0;
    for far in [signed - 1, signed, signed + 1, unsigned, unsigned + 1, unsigned + 2, 1 << 40] {
        let _hint = Hint(format!("the second record is at {far}"));
        let mut host = host(&[COMPACT]);
        write(&mut host, "a");
        lap(&mut host);
        go_on_at(&mut host, far);
        write(&mut host, "b");
        let mut kept = vec![(0, "a"), (far, "b")];
        for round in 0..6 {
            if round == 3 {
                // What is left begins far behind the log start, and is as far apart once more.
                go_on_at(&mut host, 2 * far);
                write(&mut host, "c");
                write(&mut host, "a");
                kept = vec![(far, "b"), (2 * far, "c"), (2 * far + 1, "a")];
            }
            lap(&mut host);
            let found = all(&mut host, "c");
            let found: Vec<_> = found.iter().map(|(at, key, _)| (*at, key.as_str())).collect();
            assert_eq!(found, kept, "round {round}, carried: {:?}", stretches(&host));
            assert!(stretches(&host).iter().all(|(from, to)| to - from <= unsigned));
            joined += usize::from(round == 2 && stretches(&host).len() == 1);
            match round % 2 {
                0 => host.close(),
                _ => host.storage.process_kill(),
            }
            host = Host::open(Arc::clone(&host.storage), config(), host.now).unwrap();
        }
        let stats = host.broker.log.stats(RingIndex(0));
        assert_eq!((stats.carry_damaged, stats.carry_lost), (0, 0));
    }
    assert!((1..7).contains(&joined), "{joined} of 7 are one stretch");
}
