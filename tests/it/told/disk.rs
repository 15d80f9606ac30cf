//! What an operator is told of segments that are overwritten and of a disk that fails.

use brooklet::storage::sim::{Failing, Op};

use crate::hold::rig::{RECORD_BYTES, RING, Rig};
use crate::lines::said;

#[test]
fn what_is_overwritten_is_said_at_times_and_the_rest_when_it_stops() {
    said("");
    let mut rig = Rig::new(&[]);
    for _ in 0..80 {
        rig.send("t", 0);
    }
    let (start, _) = rig.bounds("t", 0);
    let lines = said("overwritten");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (before, last) = lines[0].rsplit_once(' ').unwrap();
    let first = last.parse::<i64>().unwrap() + 1;
    let wanted = format!("is overwritten: {first} records, t-0 from 0 to");
    assert!(before.starts_with("ring main: segment ") && before.ends_with(&wanted), "{lines:?}");
    // The seal comes after a second.
    rig.pass_ms(2000);
    let rest = format!(
        "ring main: {} more segments of {} records are overwritten",
        rig.stats().evicted - 1,
        start - first
    );
    assert_eq!(said("overwritten"), [rest]);
    assert_eq!(rig.stats().records_overwritten, start.cast_unsigned());
    rig.pass_ms(60_000);
    assert!(said("").is_empty());
    assert_eq!(rig.host.broker.log.deadline(RING), None, "nothing wakes up for it");
    // Without a silence, and with one after a few records again and again.
    for pause_ms in [500, 5000] {
        for _ in 0..120 {
            rig.send("t", 0);
            rig.pass_ms(pause_ms);
        }
        let lines = said("overwritten").len() as u64;
        assert!((4..=2 * 120 * pause_ms / 10_000 + 1).contains(&lines), "{pause_ms}: {lines}");
    }
}

#[test]
fn a_disk_that_fails_is_said_once_then_each_minute_and_at_its_end() {
    said("");
    let mut rig = Rig::new(&[]);
    rig.send("t", 0);
    said("");
    let once = |rig: &mut Rig| {
        rig.host.storage.fail(Op::Sync, Failing::Once(0));
        rig.send("t", 0);
        said("")
    };
    let lines = once(&mut rig);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = "ring main: the disk failed at a commit group: sync: Input/output error (os error 5); what ";
    assert!(lines[0].starts_with(first) && lines[0].ends_with("consumers go on"), "{lines:?}");
    assert_eq!(lines[1], "ring main: the disk works again after 0.0 s and 1 failure");
    // Not whenever it comes and goes.
    assert!(once(&mut rig).is_empty() && once(&mut rig).is_empty());
    rig.pass_ms(61_000);
    let lines = once(&mut rig);
    assert!(lines[0].ends_with("go on (2 more failures since this was last said)"), "{lines:?}");
    rig.pass_ms(61_000);
    rig.host.storage.fail(Op::Sync, Failing::From(0));
    assert_eq!(rig.try_produce("t"), Err(56));
    assert_eq!(said("").len(), 1);
    for _ in 0..300 {
        rig.pass_ms(1000);
    }
    let lines = said("");
    assert!((4..=5).contains(&lines.len()), "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("ring main: the disk still fails after ")));
    rig.host.storage.fail(Op::Sync, Failing::Never);
    rig.pass_ms(31_000);
    let lines = said("");
    assert!(lines[0].starts_with("ring main: the disk works again after 3"), "{lines:?}");
    assert!(rig.try_send("t", 0, RECORD_BYTES).is_some() && said("").is_empty());
}
