//! Holes at the end of a partition: offsets that were given out and have no records, of which a mirror
//! never reports anything.

use brooklet::config::Holder;
use brooklet::log::hold::Lag;
use brooklet::storage::sim::{Cut, Failing, Op};

use super::rig::{RECORD_BYTES, RING, Rig, config};
use crate::host::Host;
use crate::produce::create_topic;

/// What becomes of the last commit group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is cut short.
    Torn,
    /// The records are damaged after it was known to be on flash.
    Rotten,
    /// So is all that says which records it held.
    Lost,
}

const FATES: [Fate; 3] = [Fate::Torn, Fate::Rotten, Fate::Lost];

/// The partition `t-1` with records up to `records`, and a hole behind them.
fn with_hole(holders: &[&str], fate: Fate, records: i64) -> Rig {
    let mut rig = Rig::new(holders);
    for _ in 0..records {
        rig.send("t", 1);
    }
    rig.pass_ms(2000);
    let group_at = rig.host.broker.log.segments(RING).next_back().unwrap().end;
    rig.send("t", 1);
    if fate != Fate::Torn {
        // The seal proves it.
        rig.pass_ms(2000);
    }
    let file = rig.host.broker.log.segments(RING).next_back().unwrap().file;
    rig.host.storage.power_cut(Cut::All);
    let at = if fate == Fate::Lost { group_at + 128 } else { group_at + 5000 };
    rig.host.storage.garble(file, at, 20);
    rig.reopen();
    let (start, end) = rig.bounds("t", 1);
    assert!(start == 0 && end > records, "{fate:?}: {start} to {end}");
    assert_eq!(end == records + 1, fate != Fate::Lost, "{fate:?}: {end}");
    rig
}

fn lag(rig: &Rig) -> Lag {
    Lag { present: 0, ..rig.host.broker.log.hold(RING).lag(0) }
}

/// Records of `t-0` go round in the ring, and the mirror has them all.
fn laps(rig: &mut Rig, what: &str) {
    let evicted = rig.stats().evicted;
    for _ in 0..6 {
        assert!(rig.fill("t", 0) > 5, "{what}: the ring stands still");
        let end = rig.bounds("t", 0).1;
        assert_eq!(rig.report("t", 0, end - 1).map(|(code, _)| code), Some(0));
        assert_eq!(lag(rig), Lag::default(), "{what}");
    }
    assert!(rig.stats().evicted > evicted + 5, "{what}: the ring came round");
}

#[test]
fn a_hole_at_the_end_is_owed_to_nobody_who_has_what_is_before_it() {
    for fate in FATES {
        let mut rig = with_hole(&["mirror:up"], fate, 1);
        assert_eq!((lag(&rig).records, lag(&rig).unreported), (1, 1), "{fate:?}");
        assert_eq!(rig.report("t", 1, 0).map(|(code, _)| code), Some(0));
        assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
        laps(&mut rig, &format!("{fate:?}"));
    }
}

#[test]
fn a_partition_that_is_a_hole_alone_is_owed_to_nobody() {
    for fate in FATES {
        let mut rig = with_hole(&["mirror:up"], fate, 0);
        assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
        rig.reopen();
        assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
        laps(&mut rig, &format!("{fate:?}"));
    }
}

#[test]
fn a_hole_at_the_end_is_remembered_over_segments_and_starts() {
    for fate in FATES {
        let mut rig = with_hole(&["mirror:up"], fate, 1);
        let end = rig.bounds("t", 1).1;
        // Its own segment stays for the record in it; the heads behind it know of the hole.
        create_topic(&mut rig.host, "x.internal", 1, &[]);
        for round in 0..5 {
            let begun = rig.stats().segments;
            while rig.stats().segments < begun + 2 {
                if round > 0 || rig.try_send("t", 0, RECORD_BYTES).is_none() {
                    rig.send("x.internal", 0);
                }
            }
            match round % 2 {
                0 => rig.host.close(),
                _ => rig.host.storage.power_cut(Cut::All),
            }
            rig.reopen();
            assert_eq!(rig.bounds("t", 1), (0, end), "{fate:?}");
        }
        let sent = rig.bounds("t", 0).1;
        rig.report("t", 0, sent - 1).unwrap();
        assert_eq!((lag(&rig).records, lag(&rig).partitions), (1, 1), "{fate:?}");
        rig.report("t", 1, 0).unwrap();
        assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
        laps(&mut rig, &format!("{fate:?}"));
        rig.reopen();
        assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
    }
}

#[test]
fn a_group_that_committed_what_is_before_a_hole_has_had_all_of_it() {
    for fate in FATES {
        let mut rig = with_hole(&["group:g"], fate, 1);
        assert_eq!(lag(&rig).records, 1, "{fate:?}");
        assert_eq!(rig.commit("g", "t", 1, 1), 0);
        for round in 0..6 {
            assert!(rig.fill("t", 0) > 5, "{fate:?}: the ring stands still");
            let end = rig.bounds("t", 0).1;
            assert_eq!(rig.commit("g", "t", 0, end), 0);
            assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
            if round == 2 {
                rig.reopen();
            }
        }
    }
}

#[test]
fn records_behind_a_hole_are_owed_again_until_they_are_reported() {
    for fate in FATES {
        let mut rig = with_hole(&["mirror:up"], fate, 1);
        rig.report("t", 1, 0).unwrap();
        // They are in another segment than what is before the hole.
        while rig.host.broker.log.segments(RING).count() < 3 {
            let sent = rig.send("t", 0);
            rig.report("t", 0, sent).unwrap();
        }
        let new = rig.send("t", 1);
        for _ in 0..2 {
            assert_eq!((lag(&rig).records, lag(&rig).unreported), (1, 0), "{fate:?}");
            assert_eq!(lag(&rig).first.unwrap().1.0, new, "{fate:?}");
            rig.reopen();
        }
        // They hold the ring, and no record before them does.
        let evicted = rig.stats().evicted;
        while let Some(sent) = rig.try_send("t", 0, RECORD_BYTES) {
            rig.report("t", 0, sent).unwrap();
        }
        assert_eq!(rig.stats().evicted - evicted, 2, "{fate:?}");
        assert!(rig.host.fetch("t", 1, new).len() > RECORD_BYTES, "{fate:?}");
        rig.report("t", 1, new).unwrap();
        assert_eq!(lag(&rig), Lag::default(), "{fate:?}");
        laps(&mut rig, &format!("{fate:?}"));
    }
}

#[test]
fn records_that_could_not_be_synced_leave_a_hole_that_is_owed_to_nobody() {
    let mut rig = Rig::new(&["mirror:up"]);
    create_topic(&mut rig.host, "r", 1, &[("flush.messages", "1000"), ("flush.ms", "1000")]);
    rig.send("r", 0);
    rig.pass_ms(5000);
    rig.send("r", 0);
    rig.host.storage.fail(Op::Sync, Failing::Once(0));
    rig.pass_ms(2000);
    assert_eq!((rig.stats().failures, rig.bounds("r", 0)), (1, (0, 2)));
    rig.report("r", 0, 0).unwrap();
    assert_eq!(lag(&rig), Lag::default());
    laps(&mut rig, "not synced");
    rig.reopen();
    assert_eq!((rig.bounds("r", 0).1, lag(&rig)), (2, Lag::default()));
}

#[test]
fn two_holes_in_a_row_are_one() {
    let mut rig = with_hole(&["mirror:up"], Fate::Torn, 1);
    rig.report("t", 1, 0).unwrap();
    let group_at = rig.host.broker.log.segments(RING).next_back().unwrap().end;
    rig.send("t", 1);
    let file = rig.host.broker.log.segments(RING).next_back().unwrap().file;
    rig.host.storage.power_cut(Cut::All);
    rig.host.storage.garble(file, group_at + 5000, 20);
    rig.reopen();
    assert_eq!(rig.bounds("t", 1), (0, 3));
    assert_eq!(lag(&rig), Lag::default());
    laps(&mut rig, "two holes");
}

#[test]
fn what_is_watched_for_misses_nothing_in_a_hole() {
    let mut config = config(&[]);
    config.rings[0].watch_for = vec![Holder::from_text("mirror:up").unwrap()];
    let mut rig = with_hole(&["mirror:up"], Fate::Torn, 1);
    rig.config = config;
    rig.reopen();
    rig.report("t", 1, 0).unwrap();
    create_topic(&mut rig.host, "x.internal", 1, &[]);
    for _ in 0..60 {
        rig.send("x.internal", 0);
    }
    assert!(rig.stats().evicted > 3);
    let missed = |host: &Host| {
        let holder = Holder::from_text("mirror:up").unwrap();
        host.broker.log.state().missed.records(RING, &holder)
    };
    assert_eq!(missed(&rig.host), 0);
    let watched = rig.host.broker.log.watch(RING).lag(0);
    assert_eq!(Lag { present: 0, ..watched }, Lag::default());
}
