//! What nobody holds in a held ring: it stays while there is room, and goes first when there is not.

use brooklet::codec::batch;

use super::rig::{RECORD_BYTES, Rig, SEGMENT_BYTES, config};
use crate::host::{NOON_MS, PLAIN, keyed_batch};
use crate::produce::{create_topic, produce};

/// A topic that a mirror does not take.
const UNHELD: &str = "up.internal";

fn rig() -> Rig {
    let mut rig = Rig::new(&["mirror:up"]);
    create_topic(&mut rig.host, UNHELD, 1, &[]);
    rig
}

/// How many records of it can be read. There may be some before and behind a segment that went.
fn left(rig: &mut Rig) -> i64 {
    let (mut next, end) = rig.bounds(UNHELD, 0);
    let mut records = 0;
    while next < end {
        let bytes = rig.host.fetch(UNHELD, 0, next);
        for found in batch::batches(&bytes).filter(|found| !found.header.is_control()) {
            assert!(found.crc_holds() && found.header.base_offset >= next);
            records += 1;
            next = found.header.base_offset + 1;
        }
    }
    records
}

#[test]
fn what_nobody_holds_stays_while_the_ring_has_room() {
    let mut rig = rig();
    for _ in 0..20 {
        rig.try_send(UNHELD, 0, 20_000).unwrap();
    }
    assert_eq!((left(&mut rig), rig.stats().freed), (20, 0));
    rig.reopen();
    assert_eq!((left(&mut rig), rig.stats().freed), (20, 0));
    // As many segments as in a ring that is not held, which has four.
    let mut other = Rig::new(&[]);
    create_topic(&mut other.host, UNHELD, 1, &[]);
    for _ in 0..100 {
        rig.send(UNHELD, 0);
        other.send(UNHELD, 0);
        assert!(rig.segments() <= 4);
    }
    assert!(left(&mut rig) >= left(&mut other) - 1, "{} and {}", left(&mut rig), left(&mut other));
}

#[test]
fn in_a_full_ring_what_nobody_holds_goes_first_and_the_oldest_of_it_before_the_rest() {
    let mut rig = rig();
    let sent = i64::from(SEGMENT_BYTES as u32) * 2 / RECORD_BYTES as i64;
    for _ in 0..sent {
        rig.send(UNHELD, 0);
    }
    assert_eq!(left(&mut rig), sent);
    let mut before = 0;
    while rig.try_send("t", 0, RECORD_BYTES).is_some() {
        let start = rig.bounds(UNHELD, 0).0;
        assert!(start >= before);
        before = start;
    }
    assert_eq!((rig.stats().evicted > 0 || rig.stats().freed > 0, before > 0), (true, true));
    assert_eq!(rig.bounds("t", 0).0, 0);
    let held = rig.bounds("t", 0).1;
    assert!(held >= 2 * 8, "{held} are held");
    rig.check("t", 0);
    rig.reopen();
    rig.check("t", 0);
}

#[test]
fn held_and_unheld_records_side_by_side_go_with_their_segment() {
    let mut rig = rig();
    let mut number = 0;
    while rig.try_send("t", 0, RECORD_BYTES).is_some() {
        number += 1;
        // Now and then so many that a segment has nothing else.
        for _ in 0..[1, 0, 2, 12][number % 4] {
            rig.send(UNHELD, 0);
        }
        rig.check("t", 0);
    }
    assert_eq!((rig.bounds("t", 0).0, rig.stats().evicted), (0, 0));
    // The newest are there, however full the ring is.
    for _ in 0..40 {
        rig.send(UNHELD, 0);
        assert!(left(&mut rig) >= 1);
    }
    assert_eq!((rig.bounds("t", 0).0, rig.stats().evicted), (0, 0));
    let end = rig.bounds("t", 0).1;
    rig.report("t", 0, end - 1).unwrap();
    assert!(rig.fill("t", 0) > 10);
}

#[test]
fn when_the_holder_keeps_up_the_oldest_segment_goes_whatever_it_holds() {
    let mut rig = rig();
    for _ in 0..24 {
        let offset = rig.send("t", 0);
        rig.report("t", 0, offset).unwrap();
    }
    let sent = 16;
    for _ in 0..sent {
        rig.send(UNHELD, 0);
    }
    assert_eq!(left(&mut rig), sent, "older records of the other topic went");
    assert!(rig.bounds("t", 0).0 > 0);
}

#[test]
fn a_ring_keeps_as_many_segments_with_more_spares() {
    let mut config = config(&["mirror:up"]);
    config.rings[0].spares = 6;
    let mut rig = Rig::with(config);
    create_topic(&mut rig.host, UNHELD, 1, &[]);
    for _ in 0..100 {
        rig.send(UNHELD, 0);
        assert!(rig.segments() <= 5);
    }
    assert_eq!(rig.segments(), 5);
    assert!(left(&mut rig) > 3 * 8, "{}", left(&mut rig));
}

#[test]
fn beside_a_compacted_topic_what_nobody_holds_stays_while_the_ring_has_room() {
    let mut config = config(&["mirror:up"]);
    config.rings[0].spares = 6;
    let mut rig = Rig::with(config);
    create_topic(&mut rig.host, UNHELD, 1, &[]);
    create_topic(&mut rig.host, "c.internal", 1, &[("cleanup.policy", "compact")]);
    let keyed = Some(keyed_batch(PLAIN, NOON_MS, &[(Some(b"k"), Some(&[7; 1000]))]));
    assert_eq!(rig.produce(&produce(-1, "c.internal", &[(0, keyed)])), Some((0, 0)));
    // Nothing else is stored meanwhile: no commit, and no report.
    let sent = 4 * 8;
    for number in 0..sent {
        rig.send(UNHELD, 0);
        assert_eq!(left(&mut rig), number + 1, "of {} segments", rig.segments());
    }
}
