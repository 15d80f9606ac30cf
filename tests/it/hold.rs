//! Rings that are held: what is kept, who waits, and what goes on meanwhile.

mod crash;
mod hole;
pub mod rig;
mod said;
mod unheld;
mod watch;

use brooklet::api::Step;
use brooklet::config::Holder;
use brooklet::storage::sim::{Failing, Op};
use brooklet::types::{HeldBack, Settle};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{
    ApiKey, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};

use crate::host::{NOON_MS, PLAIN, batch, frame, packed};
use crate::produce::{create_topic, produce, topic_name};
use rig::{RECORD_BYTES, RING, Rig, SEGMENT_BYTES, SYNCS, config, offset_syncs};

fn held(wait_ms: Option<u64>) -> Step {
    Step::Held(HeldBack { ring: RING, wait_ms })
}

/// A request whose client waits for a second is held back for so long.
const ONE_SECOND: HeldBack = HeldBack { ring: RING, wait_ms: Some(875) };

#[test]
fn a_full_ring_that_is_held_keeps_every_record_and_takes_no_more() {
    let mut rig = Rig::new(&["mirror:up"]);
    let sent = rig.fill("t", 0);
    assert!((20..40).contains(&sent), "{sent} records fill three segments");
    assert_eq!((rig.stats().evicted, rig.bounds("t", 0)), (0, (0, sent)));
    rig.check("t", 0);
    let request = produce(-1, "t", &[(1, Some(batch(PLAIN, NOON_MS, &[b"v"])))]);
    assert_eq!(rig.step(&request), held(Some(875)));
    rig.host.waited_out = true;
    assert_eq!(rig.produce(&request), Some((19, -1)));
    rig.host.waited_out = false;
    rig.reopen();
    assert_eq!(rig.step(&request), held(Some(875)));
    rig.check("t", 0);
}

#[test]
fn a_request_waits_until_shortly_before_its_client_gives_up_and_without_acks_for_ever() {
    let mut rig = Rig::new(&["mirror:up"]);
    rig.fill("t", 0);
    let records = Some(batch(PLAIN, NOON_MS, &[b"v"]));
    let mut request = produce(1, "t", &[(0, records)]);
    for (timeout_ms, wait_ms) in [
        (30_000, 28_000),
        (10_000, 8750),
        (1000, 875),
        (100, 500),
        (0, 500),
        (-1, 500),
        (i32::MAX, 120_000),
    ] {
        request.timeout_ms = timeout_ms;
        assert_eq!(rig.step(&request), held(Some(wait_ms)), "{timeout_ms}");
    }
    request.acks = 0;
    assert_eq!(rig.step(&request), held(None));
    rig.host.waited_out = true;
    assert!(matches!(rig.step(&request), Step::Close(_)));
}

#[test]
fn a_request_is_recognised_by_its_beginning() {
    let mut rig = Rig::new(&["mirror:up"]);
    create_topic(&mut rig.host, "x.internal", 1, &[]);
    rig.fill("t", 0);
    for version in 3..=12 {
        for (topic, held) in [("t", Some(ONE_SECOND)), ("x.internal", None), ("unknown", None)] {
            let records = Some(batch(PLAIN, NOON_MS, &[b"v"]));
            let request = frame(ApiKey::Produce, version, &produce(-1, topic, &[(0, records)]));
            let mut look = |bytes: usize| {
                let (broker, now) = (&mut rig.host.broker, rig.host.now);
                brooklet::api::produce::held_back(broker, &request[..bytes], 100, now)
            };
            assert_eq!(look(60.min(request.len())), held, "{topic} in version {version}");
            assert_eq!(look(20), None, "cut short");
        }
    }
}

#[test]
fn a_mirrors_report_releases_what_it_has_and_no_more() {
    let mut rig = Rig::new(&["mirror:up"]);
    let sent = rig.fill("t", 0);
    assert_eq!(rig.report("t", 0, 2), Some((0, 0)));
    assert_eq!(rig.position("t", 0).unwrap().0, 3);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    // The first segment is released as soon as its last record is reported.
    let mut last = 2;
    while rig.try_send("t", 0, RECORD_BYTES).is_none() {
        last += 1;
        rig.report("t", 0, last).unwrap();
    }
    assert!((5..10).contains(&last), "{last}");
    let more = rig.fill("t", 0);
    assert!((5..20).contains(&more), "one segment's worth: {more}");
    assert!(rig.bounds("t", 0).0 <= last + 1);
    rig.check("t", 0);
    // All of it.
    rig.report("t", 0, sent + more).unwrap();
    assert!((15..40).contains(&rig.fill("t", 0)));
}

#[test]
fn a_groups_commits_release_what_it_has_had() {
    let mut rig = Rig::new(&["group:g"]);
    let sent = rig.fill("t", 0);
    assert_eq!(rig.commit("other", "t", 0, sent), 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    assert_eq!(rig.commit("g", "t", 1, sent), 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    assert!(rig.try_send("t", 0, RECORD_BYTES).is_some());
    rig.check("t", 0);
}

#[test]
fn of_several_holders_the_last_one_counts() {
    let mut rig = Rig::new(&["group:g", "mirror:up"]);
    let sent = rig.fill("t", 0);
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    rig.report("t", 0, sent - 1).unwrap();
    assert!(rig.try_send("t", 0, RECORD_BYTES).is_some());
}

#[test]
fn a_partition_that_was_never_reported_is_held() {
    let mut rig = Rig::new(&["mirror:up"]);
    rig.send("t", 1);
    let sent = rig.fill("t", 0);
    rig.report("t", 0, sent - 1).unwrap();
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    rig.report("t", 1, 0).unwrap();
    assert!(rig.try_send("t", 0, RECORD_BYTES).is_some());
}

#[test]
fn topics_that_a_mirror_does_not_take_hold_nothing_and_wait_for_nothing() {
    let mut rig = Rig::new(&["mirror:up"]);
    for topic in ["x.internal", "heartbeats", "up.t"] {
        create_topic(&mut rig.host, topic, 1, &[]);
        rig.send(topic, 0);
    }
    let sent = rig.fill("t", 0);
    // A full ring takes them for ever, and keeps the newest.
    for _ in 0..40 {
        rig.send("x.internal", 0);
    }
    assert_eq!((rig.stats().evicted, rig.bounds("t", 0).0), (0, 0));
    rig.check("t", 0);
    rig.report("t", 0, sent - 1).unwrap();
    assert!(rig.try_send("t", 0, RECORD_BYTES).is_some());
    rig.reopen();
    let (_, end) = rig.bounds("x.internal", 0);
    assert_eq!(end, 41);
    rig.host.fetch("x.internal", 0, end - 1);
}

#[test]
fn deleted_records_and_topics_release_their_space() {
    let mut rig = Rig::new(&["mirror:up"]);
    create_topic(&mut rig.host, "gone", 1, &[]);
    let other = rig.fill("gone", 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    let mut partition = DeleteRecordsPartition::default();
    partition.offset = other / 2;
    let mut topic = DeleteRecordsTopic::default();
    topic.name = topic_name("gone");
    topic.partitions.push(partition);
    let mut request = DeleteRecordsRequest::default();
    request.topics.push(topic);
    let answer: DeleteRecordsResponse = rig.host.ask(ApiKey::DeleteRecords, 2, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    let sent = rig.fill("t", 0);
    assert!(sent > 0);
    rig.check("gone", 0);
    let mut request = DeleteTopicsRequest::default();
    request.topic_names.push(topic_name("gone"));
    let answer: DeleteTopicsResponse = rig.host.ask(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    assert!(rig.fill("t", 0) > 0);
    assert_eq!(rig.bounds("t", 0).0, 0);
    rig.check("t", 0);
    rig.reopen();
    rig.check("t", 0);
}

#[test]
fn a_topic_by_mistake_is_cured_by_naming_those_that_are_meant() {
    let mut rig = Rig::new(&["group:g"]);
    create_topic(&mut rig.host, "tpyo", 1, &[]);
    rig.send("tpyo", 0);
    let sent = rig.fill("t", 0);
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None, "the other topic is held");
    rig.config.rings[0].hold_topics = vec!["t".to_string(), "sensors.*".to_string()];
    rig.reopen();
    for _ in 0..2 {
        let more = rig.fill("t", 0);
        assert!(more > 10, "{more}");
        let end = rig.bounds("t", 0).1;
        assert_eq!(rig.commit("g", "t", 0, end), 0);
    }
    rig.check("t", 0);
    // It is overwritten now like any other.
    assert!(rig.bounds("tpyo", 0).0 > 0);
    // Without the key it is held again from then on; deleting it cures that as well.
    rig.config.rings[0].hold_topics = vec!["*".to_string()];
    rig.reopen();
    rig.send("tpyo", 0);
    rig.fill("t", 0);
    let end = rig.bounds("t", 0).1;
    assert_eq!(rig.commit("g", "t", 0, end), 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    let mut request = DeleteTopicsRequest::default();
    request.topic_names.push(topic_name("tpyo"));
    let answer: DeleteTopicsResponse = rig.host.ask(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    assert!(rig.fill("t", 0) > 10);
}

#[test]
fn weeks_of_commits_on_a_full_ring_take_nothing_from_it() {
    let mut rig = Rig::new(&["group:g", "mirror:up"]);
    let sent = rig.fill("t", 0);
    let before = rig.segments();
    for round in 0..2000 {
        assert_eq!(rig.commit("a", "t", 0, round), 0);
        assert_eq!(rig.commit("b", "t", round as i32 % 2, round), 0);
        assert_eq!(rig.report("t", 0, 0).map(|(code, _)| code), Some(0));
        if round % 500 == 250 {
            rig.reopen();
        }
    }
    // The commits went round in a ring of their own, the reports in what is left beside the records.
    let (log, shared) = (&rig.host.broker.log, rig.host.broker.log.shared());
    assert!(log.segments(shared).next_back().unwrap().seq.0 > log.segments(shared).count() as u64);
    assert!(rig.stats().freed > 2, "{:?}", rig.stats());
    assert_eq!(rig.stats().evicted, 0);
    assert!(rig.segments() <= before + 1, "{} and {before}", rig.segments());
    assert_eq!(rig.bounds("t", 0), (0, sent));
    rig.check("t", 0);
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    rig.report("t", 0, sent - 1);
    assert!(rig.fill("t", 0) > 10);
    rig.check("t", 0);
}

#[test]
fn a_full_ring_creates_and_deletes_topics() {
    let mut rig = Rig::new(&["group:g"]);
    let sent = rig.fill("t", 0);
    for _ in 0..300 {
        create_topic(&mut rig.host, "n", 1, &[]);
        let mut request = DeleteTopicsRequest::default();
        request.topic_names.push(topic_name("n"));
        let answer: DeleteTopicsResponse = rig.host.ask(ApiKey::DeleteTopics, 5, &request);
        assert_eq!(answer.responses[0].error_code, 0);
    }
    assert_eq!((rig.stats().evicted, rig.bounds("t", 0)), (0, (0, sent)));
    rig.check("t", 0);
}

#[test]
fn a_mirrors_positions_survive_restarts_and_laps() {
    let mut rig = Rig::new(&["mirror:up"]);
    rig.send("t", 1);
    rig.report("t", 1, 0).unwrap();
    let mut last = 0;
    for _ in 0..8 {
        rig.fill("t", 0);
        last = rig.bounds("t", 0).1 - 1;
        rig.report("t", 0, last).unwrap();
    }
    assert!(rig.stats().evicted > 10, "the ring came round");
    rig.host.close();
    rig.reopen();
    assert_eq!(rig.position("t", 0).unwrap().0, last + 1);
    assert_eq!(rig.position("t", 1).unwrap().0, 1);
    // A mirror that begins anew is believed.
    let start = rig.bounds("t", 0).0;
    rig.report("t", 0, start).unwrap();
    assert_eq!(rig.position("t", 0).unwrap().0, start + 1);
}

#[test]
fn reports_that_say_nothing_of_what_is_here_are_passed_over() {
    let mut rig = Rig::new(&["mirror:up"]);
    create_topic(&mut rig.host, SYNCS, 1, &[]);
    rig.send("t", 0);
    let reports = [("t", 0, 7), ("t", 9, 0), ("u", 0, 0), ("t", 0, -1), ("t", 1, 0)];
    let mut send = |records: Vec<u8>| {
        let sent = rig.produce(&produce(-1, SYNCS, &[(0, Some(records))]));
        assert_eq!(sent.unwrap().0, 0);
        rig.position("t", 0)
    };
    assert_eq!(send(offset_syncs(&reports)), None);
    assert_eq!(send(batch(PLAIN, NOON_MS, &[b"v"])), None);
    assert_eq!(send(packed(&batch(PLAIN, NOON_MS, &[&[7; 5000], b"v"]), 2)), None);
    assert_eq!(send(offset_syncs(&[("t", 0, 7), ("t", 0, 0)])).unwrap().0, 1);
}

#[test]
fn reports_in_compressed_batches_are_read() {
    let mut rig = Rig::new(&["mirror:up"]);
    create_topic(&mut rig.host, SYNCS, 1, &[]);
    for codec in 1..=4 {
        rig.send("t", 0);
        rig.send("t", 1);
        let newest = i64::from(codec) - 1;
        let reports = offset_syncs(&[("t", 0, newest), ("t", 1, newest), ("u", 0, newest)]);
        let request = produce(-1, SYNCS, &[(0, Some(packed(&reports, codec)))]);
        assert_eq!(rig.produce(&request).unwrap().0, 0);
        let had = [0, 1].map(|index| rig.position("t", index).unwrap().0);
        assert_eq!(had, [newest + 1; 2], "codec {codec}");
    }
}

#[test]
fn a_report_is_answered_once_its_position_is_on_flash_too() {
    let mut config = config(&["mirror:up"]);
    // The reports are in another ring than the metadata.
    let mut second = config.rings[0].clone();
    second.name = "second".to_string();
    config.rings[0].topics = vec!["t".to_string()];
    config.rings.push(second);
    let mut rig = Rig::with(config);
    create_topic(&mut rig.host, SYNCS, 1, &[]);
    rig.send("t", 0);
    let reports = offset_syncs(&[("t", 0, 0)]);
    let step = rig.step(&produce(1, SYNCS, &[(0, Some(reports))]));
    let Step::ReplyAfter { until, .. } = step else { panic!("{step:?}") };
    assert!(until.tickets[1].0 > 0 && until.tickets[2].0 > 0 && !until.written);
    assert_eq!(rig.host.settle(&until), Settle::Done);
    assert_eq!(rig.position("t", 0).unwrap().0, 1);
}

#[test]
fn other_rings_go_on_while_one_is_full() {
    let mut config = config(&["mirror:up"]);
    let mut alarms = config.rings[0].clone();
    alarms.name = "alarms".to_string();
    alarms.topics = vec!["alarm*".to_string()];
    alarms.hold_for.clear();
    config.rings.insert(0, alarms);
    let mut rig = Rig::with(config);
    create_topic(&mut rig.host, "alarm", 1, &[]);
    let sent = rig.fill("t", 0);
    for _ in 0..100 {
        rig.send("alarm", 0);
    }
    assert!(rig.bounds("alarm", 0).0 > 0, "that ring is not held");
    assert_eq!(rig.bounds("t", 0), (0, sent));
    // A request for both waits, and what can be stored is stored in the end.
    let mut request = produce(-1, "alarm", &[(0, Some(batch(PLAIN, NOON_MS, &[b"v"])))]);
    let held = produce(-1, "t", &[(0, Some(batch(PLAIN, NOON_MS, &[b"v"])))]);
    request.topic_data.extend(held.topic_data);
    assert!(matches!(rig.step(&request), Step::Held(_)));
    rig.host.waited_out = true;
    assert_eq!(rig.produce(&request), Some((0, 100)));
}

#[test]
fn retention_hides_nothing_that_is_held() {
    let mut config = config(&["group:g"]);
    config.log_retention_ms = 60_000;
    let mut rig = Rig::with(config);
    for _ in 0..18 {
        rig.send("t", 0);
    }
    assert_eq!(rig.commit("g", "t", 0, 3), 0);
    rig.pass_ms(3_600_000);
    assert_eq!(rig.commit("other", "t", 0, 1), 0);
    assert_eq!(rig.bounds("t", 0).0, 3);
    assert_eq!(rig.commit("g", "t", 0, 18), 0);
    rig.pass_ms(3_600_000);
    assert_eq!(rig.commit("other", "t", 0, 2), 0);
    assert_eq!(rig.bounds("t", 0).0, 18);
}

#[test]
fn failures_on_a_full_ring_take_no_record_that_is_held() {
    for (op, after) in [(Op::Sync, 0), (Op::Sync, 1), (Op::Write, 0), (Op::Sync, 2)] {
        let mut rig = Rig::new(&["mirror:up"]);
        let sent = rig.fill("t", 0);
        let shared = rig.host.broker.log.shared();
        let failures =
            |rig: &Rig| rig.stats().failures + rig.host.broker.log.stats(shared).failures;
        // The second one comes behind the first.
        for times in 1..=2 {
            rig.host.storage.fail(op, Failing::Once(after));
            for offset in 0..600 {
                assert_eq!(rig.report("t", 0, 0).map(|(code, _)| code), Some(0));
                assert_eq!(rig.commit("a", "t", 0, offset), 0);
            }
            assert_eq!(failures(&rig), times);
        }
        assert_eq!((rig.stats().evicted, rig.bounds("t", 0)), (0, (0, sent)));
        rig.check("t", 0);
        rig.reopen();
        rig.check("t", 0);
        rig.report("t", 0, sent - 1);
        assert!(rig.fill("t", 0) > 10);
    }
}

#[test]
fn a_failure_under_the_last_records_that_fit_leaves_room_for_metadata() {
    let mut rig = Rig::new(&["group:g"]);
    let sent = rig.fill_with("t", 0, RECORD_BYTES);
    let mut rig = Rig::new(&["group:g"]);
    for _ in 0..sent - 1 {
        rig.send("t", 0);
    }
    rig.host.storage.fail(Op::Sync, Failing::Once(0));
    rig.send("t", 0);
    assert_eq!((rig.stats().given_up, rig.stats().evicted), (1, 0));
    rig.fill("t", 0);
    for offset in 0..1000 {
        assert_eq!(rig.commit("a", "t", 0, offset), 0);
    }
    let end = rig.bounds("t", 0).1;
    rig.check("t", 0);
    assert_eq!(rig.commit("g", "t", 0, end), 0);
    assert!(rig.fill("t", 0) > 10);
    rig.check("t", 0);
}

#[test]
fn two_failures_under_the_last_records_that_fit_leave_room_for_metadata() {
    for first in 14..25 {
        for second in first + 1..first + 5 {
            let mut rig = Rig::new(&["group:g"]);
            for number in 0..100 {
                if number == first || number == second {
                    rig.host.storage.fail(Op::Sync, Failing::Once(0));
                }
                if rig.try_send("t", 0, RECORD_BYTES).is_none() {
                    break;
                }
            }
            for offset in 0..200 {
                assert_eq!(rig.commit("a", "t", 0, offset), 0, "{first}, {second}");
            }
            let end = rig.bounds("t", 0).1;
            assert_eq!((rig.stats().evicted, rig.bounds("t", 0).0), (0, 0));
            assert_eq!(rig.commit("g", "t", 0, end), 0, "{first}, {second}");
            assert!(rig.fill("t", 0) > 10, "{first}, {second}");
            rig.check("t", 0);
        }
    }
}

#[test]
fn when_failures_have_used_up_all_files_nothing_that_is_held_goes() {
    // Nobody held the ring while that happened, else files would be left for what nobody holds.
    let mut config = config(&[]);
    config.rings[0].spares = 3;
    let mut rig = Rig::with(config);
    while rig.segments() < 4 {
        rig.send("t", 0);
    }
    let mut failures = 0;
    while rig.segments() < 7 {
        rig.host.storage.fail(Op::Sync, Failing::Once(0));
        rig.send("t", 0);
        failures += 1;
        assert!(failures < 10, "{:?}", rig.stats());
    }
    assert_eq!((rig.bounds("t", 0).0, rig.stats().evicted), (0, 0));
    rig.config.rings[0].hold_for = vec![Holder::from_text("group:g").unwrap()];
    create_topic(&mut rig.host, "x.internal", 1, &[]);
    rig.reopen();
    let sent = rig.bounds("t", 0).1;
    rig.fill("t", 0);
    // What nobody holds goes to the current segment; when that is full, there is no other.
    for _ in 0..20 {
        if rig.try_produce("x.internal").is_err() {
            break;
        }
    }
    assert!(rig.host.broker.log.is_failing(RING));
    for _ in 0..5 {
        rig.pass_ms(30_000);
        rig.host.close();
        rig.reopen();
    }
    assert_eq!((rig.bounds("t", 0), rig.stats().evicted), ((0, sent), 0));
    rig.check("t", 0);
    // A group's commits are in a ring of their own.
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    rig.pass_ms(31_000);
    assert!(rig.fill("t", 0) > 10);
    assert!(rig.stats().evicted > 3);
    rig.check("t", 0);
}

#[test]
fn however_often_the_disk_fails_a_full_ring_takes_reports_and_gives_up_nothing() {
    for seed in 0..6 {
        let mut rig = Rig::new(&["mirror:up"]);
        rig.send("t", 0);
        assert_eq!(rig.report("t", 0, 0).map(|(code, _)| code), Some(0));
        let sent = 1 + rig.fill("t", 0);
        for round in 0..40 {
            let op = [Op::Sync, Op::Write][(seed + round) % 2];
            rig.host
                .storage
                .fail(op, Failing::Burst((round / 2 % 4) as u64, (seed as u64 % 3) + 1));
            for _ in 0..30 {
                rig.report("t", 0, 0);
                rig.pass_ms(2000);
            }
            rig.pass_ms(60_000);
            assert_eq!(rig.report("t", 0, 0).map(|(code, _)| code), Some(0), "{seed}, {round}");
            if round % 13 == 12 {
                rig.host.storage.process_kill();
                rig.reopen();
            }
        }
        assert_eq!((rig.stats().evicted, rig.bounds("t", 0)), (0, (0, sent)));
        rig.check("t", 0);
        rig.report("t", 0, sent - 1);
        assert!(rig.fill("t", 0) > 10);
    }
}

#[test]
fn while_the_disk_fails_for_long_nothing_that_is_held_goes() {
    let mut rig = Rig::new(&["group:g"]);
    let sent = rig.fill("t", 0);
    rig.host.storage.fail(Op::Sync, Failing::From(0));
    // NOT_COORDINATOR: consumers try again.
    assert_eq!(rig.commit("a", "t", 0, 1), 16);
    for _ in 0..20 {
        rig.pass_ms(30_000);
    }
    assert_eq!(rig.stats().evicted, 0);
    rig.host.storage.fail(Op::Sync, Failing::Never);
    rig.pass_ms(30_000);
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    assert!(rig.fill("t", 0) > 10);
    rig.check("t", 0);
}

#[test]
fn a_ring_without_holders_overwrites_its_oldest_records() {
    let mut rig = Rig::new(&[]);
    for _ in 0..100 {
        rig.send("t", 0);
    }
    let (start, _) = rig.bounds("t", 0);
    assert!(start > 50 && rig.stats().evicted > 5 && rig.stats().freed == 0);
    assert!(rig.segments() as u64 * SEGMENT_BYTES <= 5 * SEGMENT_BYTES);
    rig.check("t", 0);
}
