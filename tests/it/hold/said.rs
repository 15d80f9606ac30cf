//! What an operator is told of a held ring.

use brooklet::config::Holder;
use brooklet::metrics::TopicMetrics;
use brooklet::metrics::render::TopicStatus;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    ApiKey, DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, GroupId, OffsetDeleteRequest, OffsetDeleteResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::rig::{RECORD_BYTES, RING, Rig};
use crate::host::{NOON_MS, PLAIN, batch};
use crate::lines::said;
use crate::produce::{create_topic, produce, topic_name};

/// Time passes, and the broker looks at what is due.
fn pass(rig: &mut Rig, ms: u64) {
    rig.pass_ms(ms);
    let (broker, now) = (&mut rig.host.broker, rig.host.now);
    broker.hold_ends(now);
    broker.tick(now);
}

#[test]
fn that_producers_wait_is_said_while_they_do_and_that_they_do_not_when_none_does() {
    said("");
    let mut rig = Rig::new(&["group:g"]);
    create_topic(&mut rig.host, "tpyo", 1, &[]);
    rig.send("tpyo", 0);
    // There is still room for short ones.
    let sent = rig.fill_with("t", 0, RECORD_BYTES);
    let lines = said("producers wait");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["tpyo (1 records, newest timestamp ", "t (", "committed nothing", "group:g"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    for _ in 0..20 {
        pass(&mut rig, 500);
        assert!(!rig.host.broker.hold_ends(rig.host.now), "there is no room for what waits");
    }
    assert!(said("").is_empty());
    let due = rig.host.broker.due();
    assert!(due.0 - rig.host.now.mono.0 <= 180_000_000);
    let mut again = 0;
    for _ in 0..60 {
        pass(&mut rig, 10_000);
        assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
        again += said("producers wait").len();
    }
    assert_eq!(again, 3, "every three minutes");
    // Once nobody has tried for so long, there is nothing more to say, and nothing to wake up for.
    for _ in 0..60 {
        pass(&mut rig, 10_000);
        again += said("producers wait").len();
    }
    assert_eq!(again, 4);
    assert!(rig.host.broker.due().0 - rig.host.now.mono.0 > 3_600_000_000);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None);
    assert_eq!(said("producers wait").len(), 1);
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    assert_eq!(rig.try_send("t", 0, RECORD_BYTES), None, "the other topic is behind");
    let lines = said("producers wait").len();
    assert_eq!(lines, 0, "it was said a moment ago");
    assert_eq!(rig.commit("g", "tpyo", 0, 1), 0);
    // Those who waited are woken, and it is over when nobody has to wait again.
    assert!(rig.host.broker.hold_ends(rig.host.now));
    assert!(rig.host.broker.is_holding() && said("again after").is_empty());
    pass(&mut rig, 2000);
    assert_eq!(said("takes records again after").len(), 1);
    assert!(!rig.host.broker.is_holding());
}

#[test]
fn that_the_ring_takes_records_is_not_said_where_somebody_waits_again() {
    said("");
    let mut rig = Rig::new(&["group:g"]);
    rig.fill_with("t", 0, RECORD_BYTES);
    let short = produce(-1, "t", &[(1, Some(batch(PLAIN, NOON_MS, &[b"v"])))]);
    assert_eq!(rig.produce(&short), Some((0, 0)), "a short one has room");
    rig.fill_with("t", 1, 100);
    // A short one waits too now, and finds room when it is released; the long one does not.
    assert_eq!(rig.produce(&short), None);
    for offset in 1..12 {
        assert_eq!(rig.commit("g", "t", 0, offset), 0);
        rig.host.broker.hold_ends(rig.host.now);
        let _ = rig.try_send("t", 0, RECORD_BYTES);
        rig.fill_with("t", 0, RECORD_BYTES);
        pass(&mut rig, 900);
    }
    assert!(said("takes records again").is_empty());
}

#[test]
fn the_topics_that_hold_the_oldest_segment_are_named() {
    let mut config = super::rig::config(&["group:g"]);
    (config.offsets_max, config.partitions_max) = (32, 32);
    let mut rig = Rig::with(config);
    for topic in ["a", "b", "c", "d", "e", "f"] {
        create_topic(&mut rig.host, topic, 1, &[]);
        rig.try_send(topic, 0, 100).unwrap();
        rig.try_send(topic, 0, 100).unwrap();
    }
    let sent = rig.fill("t", 0);
    for topic in ["a", "b"] {
        assert_eq!(rig.commit("g", topic, 0, 1), 0);
    }
    assert_eq!(rig.commit("g", "t", 0, sent), 0);
    let oldest = rig.host.broker.log.hold(RING).oldest(0);
    let found: Vec<_> = oldest.topics.iter().flatten().map(|found| found.name).collect();
    assert_eq!((found, oldest.more), (vec!["c", "d", "e", "f"], 2));
    let first = TopicStatus {
        name: "c",
        metrics: TopicMetrics { records: 2, newest_ms: NOON_MS, never_reported: true },
    };
    assert_eq!(oldest.topics[0], Some(first));
    for topic in ["c", "d", "e"] {
        assert_eq!(rig.commit("g", topic, 0, 2), 0);
    }
    let oldest = rig.host.broker.log.hold(RING).oldest(0);
    let found = oldest.topics.iter().flatten();
    let found: Vec<_> =
        found.map(|s| (s.name, s.metrics.records, s.metrics.never_reported)).collect();
    assert_eq!(found, [("f", 2, true), ("a", 1, false), ("b", 1, false)]);
    for topic in ["a", "b", "f"] {
        assert_eq!(rig.commit("g", topic, 0, 2), 0);
    }
    assert_eq!(rig.host.broker.log.hold(RING).oldest(0).topics, [None; 4]);
}

#[test]
fn deletions_of_what_is_held_are_said_with_who_deleted() {
    let mut rig = Rig::new(&["group:g"]);
    create_topic(&mut rig.host, "x.internal", 1, &[]);
    for _ in 0..5 {
        rig.try_send("t", 0, 100).unwrap();
        rig.try_send("x.internal", 0, 100).unwrap();
    }
    assert_eq!(rig.commit("g", "t", 0, 1), 0);
    said("");
    let mut delete = |topic: &str, offset| {
        let mut partition = DeleteRecordsPartition::default();
        partition.offset = offset;
        let mut asked = DeleteRecordsTopic::default();
        asked.name = topic_name(topic);
        asked.partitions.push(partition);
        let mut request = DeleteRecordsRequest::default();
        request.topics.push(asked);
        let answer: DeleteRecordsResponse = rig.host.ask(ApiKey::DeleteRecords, 2, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        said("are deleted")
    };
    assert!(delete("t", 1).is_empty(), "the holder has had that");
    assert!(delete("x.internal", 3).is_empty(), "nobody holds that");
    let lines = delete("t", 3);
    assert_eq!(lines.len(), 1);
    for part in ["ring main: DeleteRecords by client ", " at ", "2 records of 1 partitions", "t-0"]
    {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    // What comes soon after is said with the next, and not of somebody who does nothing of the kind.
    assert!(delete("t", 4).is_empty());
    rig.pass_ms(20_000);
    assert_eq!(rig.commit("other", "t", 0, 1), 0);
    assert!(said("held").is_empty());
    let mut request = DeleteTopicsRequest::default();
    request.topic_names.push(topic_name("t"));
    let answer: DeleteTopicsResponse = rig.host.ask(ApiKey::DeleteTopics, 5, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    let lines = said("that were held are deleted");
    assert!(lines.len() == 1 && lines[0].contains("2 records of 2 partitions"), "{lines:?}");
}

#[test]
fn commits_that_are_not_the_holders_own_or_go_back_and_offsets_deleted_are_said() {
    let mut rig = Rig::new(&["group:g"]);
    for _ in 0..9 {
        rig.try_send("t", 0, 100).unwrap();
    }
    said("");
    assert_eq!(rig.commit("other", "t", 0, 5), 0);
    assert!(said("OffsetCommit").is_empty());
    assert_eq!(rig.commit("g", "t", 0, 5), 0);
    let lines = said("held no longer");
    assert!(lines.len() == 1 && lines[0].contains("OffsetCommit by client"), "{lines:?}");
    assert!(lines[0].contains("5 records of 1 partitions"), "{lines:?}");
    // Whoever always commits like that is named once.
    rig.pass_ms(60_000);
    assert_eq!(rig.commit("g", "t", 0, 7), 0);
    assert!(said("OffsetCommit").is_empty());
    assert_eq!(rig.commit("g", "t", 0, 2), 0);
    let lines = said("goes back");
    assert!(lines.len() == 1 && lines[0].contains("5 records of 1 partitions"), "{lines:?}");
    assert_eq!(rig.commit("g", "t", 1, 0), 0);
    let mut request = OffsetDeleteRequest::default();
    request.group_id = GroupId(StrBytes::from_static_str("g"));
    let mut topic = OffsetDeleteRequestTopic::default();
    topic.name = topic_name("t");
    topic.partitions.push(OffsetDeleteRequestPartition::default());
    request.topics.push(topic);
    let answer: OffsetDeleteResponse = rig.host.ask(ApiKey::OffsetDelete, 0, &request);
    assert_eq!((answer.error_code, answer.topics[0].partitions[0].error_code), (0, 0));
    let lines = said("offsets committed for them are deleted");
    assert!(lines.len() == 1 && lines[0].contains("OffsetDelete by client"), "{lines:?}");
    assert!(lines[0].contains("2 records of 1 partitions"), "{lines:?}");
    rig.pass_ms(60_000);
    let mut request = DeleteGroupsRequest::default();
    request.groups_names.push(GroupId(StrBytes::from_static_str("g")));
    let answer: DeleteGroupsResponse = rig.host.ask(ApiKey::DeleteGroups, 2, &request);
    assert_eq!(answer.results[0].error_code, 0);
    // Also where there is nothing to be held again: its position is gone.
    assert_eq!(said("offsets committed for them are deleted").len(), 1);
}

#[test]
fn what_a_watcher_misses_of_what_nobody_holds_is_counted() {
    let mut config = super::rig::config(&["group:g"]);
    config.rings[0].watch_for = vec![Holder::from_text("group:g").unwrap()];
    config.rings[0].hold_topics = vec!["t".to_string()];
    let mut rig = Rig::with(config);
    create_topic(&mut rig.host, "u", 1, &[]);
    rig.fill("t", 0);
    for _ in 0..60 {
        rig.send("u", 0);
    }
    let state = rig.host.broker.log.state();
    let missed = state.missed.records(RING, &Holder::from_text("group:g").unwrap());
    let start = rig.bounds("u", 0).0;
    assert!(start > 30 && rig.stats().freed > 3);
    assert_eq!(missed, start.cast_unsigned());
}
