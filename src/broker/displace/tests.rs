//! Who gives way to whom, and when nobody does.

use std::sync::atomic::Ordering;

use kafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, OffsetCommitRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::*;
use crate::broker::testing::Bench;
use crate::broker::topics::NewTopic;
use crate::config::Config;
use crate::types::ConnId;

const FULL: i16 = 15;
const UNUSED_DAYS: i64 = limits::GROUP_UNUSED_MS as i64 / DAY_MS;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// A broker with a topic of three partitions, and places for four groups.
fn bench_with(change: impl FnOnce(&mut Config)) -> Bench {
    let mut bench = Bench::with(|config| {
        config.groups_max = 4;
        change(config);
    });
    let new =
        NewTopic { name: "t".try_into().unwrap(), partitions: 3, configs: Default::default() };
    bench.broker.topic_create(&new, bench.now).unwrap();
    bench.drive();
    bench
}

fn bench() -> Bench {
    bench_with(|_| {})
}

fn commit_request(group: &str, partitions: i32, offset: i64) -> OffsetCommitRequest {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions((0..partitions).map(partition).collect());
    OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic])
}

fn commit(bench: &mut Bench, group: &str, offset: i64) -> i16 {
    bench.ask(7, &commit_request(group, 1, offset)).topics[0].partitions[0].error_code
}

/// Joins and waits for others: 0; else what it is refused with. `leave` ends that.
fn join(bench: &mut Bench, group: &str) -> i16 {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    bench.send(1, 3, &request).map_or(0, |answer| answer.error_code)
}

fn leave(bench: &mut Bench) {
    bench.broker.job_cancel(ConnId(1));
    for _ in 0..4 {
        bench.pass_ms(limits::GROUP_JOIN_MS_MAX);
    }
}

#[cfg(feature = "consumer-protocol")]
fn beat(bench: &mut Bench, group: &str, epoch: i32) -> i16 {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text("m"))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(10_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("t"))]))
        .with_topic_partitions(Some(vec![]));
    bench.ask(1, &request).error_code
}

fn pass_days(bench: &mut Bench, days: i64) {
    bench.now.wall_ms += days * DAY_MS;
    bench.pass_ms(days as u64 * 86_400_000);
}

fn committed(bench: &Bench, group: &str) -> Option<i64> {
    let state = bench.broker.log.state();
    Some(state.offset_newest(state.group_named(group)?)?.offset.0)
}

fn names(bench: &Bench) -> Vec<String> {
    bench.broker.log.state().groups().map(|(_, group)| group.name.to_string()).collect()
}

#[test]
fn ten_times_as_many_names_as_places_go_on_by_turns() {
    let mut bench = bench();
    for turn in 0..40 {
        let group = format!("console-{turn}");
        match turn % 3 {
            1 => {
                assert_eq!(join(&mut bench, &group), 0, "{turn}");
                leave(&mut bench);
            }
            #[cfg(feature = "consumer-protocol")]
            2 => {
                assert_eq!(beat(&mut bench, &group, 0), 0, "{turn}");
                assert_eq!(beat(&mut bench, &group, -1), 0, "{turn}");
            }
            _ => {}
        }
        assert_eq!(commit(&mut bench, &group, turn), 0, "{turn}");
        pass_days(&mut bench, 3);
        assert_eq!(committed(&bench, &group), Some(turn));
    }
    assert_eq!(names(&bench).len(), 4);
    assert_eq!(bench.broker.groups.counts.displaced, 36);
}

#[test]
fn the_group_that_was_unused_for_longest_gives_way_and_no_younger_one() {
    let mut bench = bench();
    for (place, group) in ["b", "a", "c", "d"].into_iter().enumerate() {
        assert_eq!(commit(&mut bench, group, place as i64), 0);
        bench.now.wall_ms += 1000;
    }
    assert_eq!(commit(&mut bench, "b", 9), 0, "it is used again");
    bench.now.wall_ms -= 4000;
    pass_days(&mut bench, UNUSED_DAYS);
    bench.now.wall_ms += 999;
    assert_eq!(commit(&mut bench, "new", 1), FULL);
    assert_eq!(join(&mut bench, "new"), FULL);
    assert_eq!(names(&bench), ["b", "a", "c", "d"]);
    bench.now.wall_ms += 1;
    assert_eq!(join(&mut bench, "new"), 0);
    assert_eq!(committed(&bench, "a"), None);
    assert_eq!((committed(&bench, "b"), committed(&bench, "c")), (Some(9), Some(2)));
    assert_eq!(commit(&mut bench, "other", 1), FULL, "the next one is a second younger");
    assert_eq!(bench.broker.groups.counts.displaced, 1);
}

#[test]
fn a_group_that_a_ring_is_held_or_watched_for_never_gives_way() {
    let holder = |name: &str| vec![Holder::Group(name.to_string())];
    let mut bench = bench_with(|config| {
        config.rings[0].hold_for = holder("held");
        config.rings[0].watch_for = holder("watched");
        config.groups_max = 3;
    });
    for group in ["held", "watched"] {
        assert_eq!(commit(&mut bench, group, 7), 0);
    }
    for turn in 0..10 {
        pass_days(&mut bench, UNUSED_DAYS);
        assert_eq!(commit(&mut bench, &format!("g{turn}"), turn), 0);
    }
    assert_eq!(names(&bench), ["held", "watched", "g9"]);
}

#[test]
fn ages_count_only_by_a_clock_that_is_right_and_stamps_of_one_that_was() {
    let mut bench = bench();
    let right_ms = bench.now.wall_ms;
    (bench.now.wall_ms, bench.now.wall_synchronised) = (5000, false);
    assert_eq!(commit(&mut bench, "early", 1), 0);
    bench.now.wall_ms = right_ms;
    for group in ["a", "b", "c"] {
        assert_eq!(commit(&mut bench, group, 1), 0);
    }
    pass_days(&mut bench, UNUSED_DAYS - 1);
    assert_eq!(commit(&mut bench, "new", 1), FULL, "nobody knows how old the first one is");
    // The clock is ahead, and comes back: nothing is known before it gets there again.
    assert_eq!(commit(&mut bench, "a", 2), 0);
    bench.now.wall_ms = right_ms - 1;
    assert_eq!(commit(&mut bench, "new", 1), FULL);
    bench.now.wall_ms = right_ms + UNUSED_DAYS * DAY_MS;
    assert_eq!(commit(&mut bench, "new", 1), 0);
    assert_eq!(names(&bench), ["early", "a", "new", "c"]);
}

#[test]
fn a_group_with_members_never_gives_way_and_is_stamped_anew_when_it_commits_nothing() {
    let mut bench = bench();
    for group in ["quiet", "a", "b", "c"] {
        assert_eq!(commit(&mut bench, group, 5), 0);
    }
    pass_days(&mut bench, 1);
    assert_eq!(join(&mut bench, "quiet"), 0);
    bench.now.mono = bench.now.mono.plus_ms(10_000);
    bench.drive();
    let written = bench.disk.writes.load(Ordering::Relaxed);
    pass_hours_asking(&mut bench, 24 * UNUSED_DAYS - 23);
    assert_eq!(bench.disk.writes.load(Ordering::Relaxed) - written, 1 + 7, "one a day");
    leave(&mut bench);
    bench.restart();
    bench.pass_ms(limits::GROUP_FORMER_MS);
    for group in ["d", "e", "f"] {
        assert_eq!(commit(&mut bench, group, 1), 0);
    }
    assert_eq!(commit(&mut bench, "g", 1), FULL);
    assert_eq!(committed(&bench, "quiet"), Some(5));
    // From then on it is unused.
    pass_days(&mut bench, UNUSED_DAYS - 1);
    assert_eq!(commit(&mut bench, "g", 1), FULL);
    pass_days(&mut bench, 1);
    assert_eq!(commit(&mut bench, "g", 1), 0);
    assert_eq!(committed(&bench, "quiet"), None);
}

/// Time passes with requests, while a member stays that waits for others.
fn pass_hours_asking(bench: &mut Bench, hours: i64) {
    for _ in 0..hours {
        bench.now.wall_ms += 3_600_000;
        bench.now.mono = bench.now.mono.plus_ms(3_600_000);
        let request = kafka_protocol::messages::DescribeClusterRequest::default();
        bench.ask(1, &request);
    }
}

#[test]
fn a_stamp_takes_nothing_back_that_is_on_its_way() {
    use crate::api::Step;
    let mut bench = bench();
    assert_eq!(commit(&mut bench, "g", 5), 0);
    pass_days(&mut bench, 2);
    let step = bench.step(7, &commit_request("g", 1, 6));
    assert!(matches!(step, Step::ReplyAfter { .. }));
    assert_eq!(join(&mut bench, "g"), 0);
    bench.now.mono = bench.now.mono.plus_ms(limits::RETENTION_CHECK_MS);
    let request = kafka_protocol::messages::DescribeClusterRequest::default();
    bench.ask(1, &request);
    bench.drive();
    assert_eq!(committed(&bench, "g"), Some(6));
}

#[test]
fn offsets_make_room_for_each_other_as_groups_do() {
    let mut bench = bench_with(|config| config.offsets_max = 4);
    let code = |bench: &mut Bench, group: &str| {
        let answer = bench.ask(7, &commit_request(group, 3, 1));
        answer.topics[0].partitions[0].error_code
    };
    assert_eq!(code(&mut bench, "a"), 0);
    assert_eq!(commit(&mut bench, "b", 1), 0);
    assert_eq!(code(&mut bench, "c"), FULL);
    pass_days(&mut bench, UNUSED_DAYS);
    assert_eq!(commit(&mut bench, "b", 2), 0);
    assert_eq!(code(&mut bench, "b"), 0, "a group that is there wants more of them");
    assert_eq!(names(&bench), ["b"]);
    assert_eq!(code(&mut bench, "c"), FULL);
}

#[test]
fn nobody_gives_way_where_all_that_may_are_not_enough() {
    let mut bench = bench_with(|config| {
        (config.offsets_max, config.offset_metadata_bytes) = (5, 100);
    });
    let metadata = |group: &str, partitions, bytes| {
        let mut request = commit_request(group, partitions, 1);
        for partition in &mut request.topics[0].partitions {
            partition.committed_metadata = Some(text(&"m".repeat(bytes)));
        }
        request
    };
    let code = |bench: &mut Bench, request: OffsetCommitRequest| {
        let answer = bench.ask(7, &request);
        answer.topics[0].partitions[0].error_code
    };
    assert_eq!(commit(&mut bench, "old", 1), 0);
    pass_days(&mut bench, UNUSED_DAYS);
    assert_eq!(code(&mut bench, metadata("a", 3, 30)), 0);
    assert_eq!(commit(&mut bench, "b", 1), 0);
    assert_eq!(code(&mut bench, commit_request("new", 2, 1)), FULL);
    assert_eq!(code(&mut bench, metadata("new", 1, 11)), FULL);
    assert_eq!(committed(&bench, "old"), Some(1));
    assert_eq!(code(&mut bench, metadata("new", 1, 10)), 0);
    assert_eq!(names(&bench), ["new", "a", "b"]);
}

#[test]
fn a_group_without_members_is_used_when_it_commits_the_same_again() {
    let mut bench = bench();
    for group in ["quiet", "a", "b", "c"] {
        assert_eq!(commit(&mut bench, group, 5), 0);
    }
    let stamp_ms = |bench: &Bench| {
        let state = bench.broker.log.state();
        let newest = state.offset_newest(state.group_named("quiet").unwrap());
        newest.unwrap().timestamp_ms
    };
    let mut stamps = vec![stamp_ms(&bench)];
    for _ in 0..4 * UNUSED_DAYS {
        bench.now.wall_ms += DAY_MS / 4;
        bench.pass_ms(DAY_MS as u64 / 4);
        assert_eq!(commit(&mut bench, "quiet", 5), 0);
        stamps.push(stamp_ms(&bench));
    }
    stamps.dedup();
    assert_eq!(stamps.len() as i64, 1 + UNUSED_DAYS, "one a day");
    for group in ["d", "e", "f"] {
        assert_eq!(commit(&mut bench, group, 1), 0);
    }
    assert_eq!(commit(&mut bench, "g", 1), FULL);
    assert_eq!(committed(&bench, "quiet"), Some(5));
}

#[test]
fn nobody_gives_way_before_members_can_have_found_the_broker_again() {
    let mut bench = bench_with(|config| config.groups_max = 1);
    assert_eq!(commit(&mut bench, "g", 1), 0);
    bench.now.wall_ms += UNUSED_DAYS * DAY_MS;
    bench.restart();
    assert_eq!(commit(&mut bench, "new", 1), FULL);
    assert_eq!(join(&mut bench, "new"), FULL);
    bench.pass_ms(limits::GROUP_FORMER_MS);
    assert_eq!(commit(&mut bench, "new", 1), 0);
    assert_eq!(names(&bench), ["new"]);
}

#[test]
fn nobody_gives_way_to_what_is_refused() {
    let mut bench = bench_with(|config| config.groups_max = 1);
    assert_eq!(commit(&mut bench, "g", 1), 0);
    pass_days(&mut bench, UNUSED_DAYS);
    assert_eq!(join(&mut bench, &"n".repeat(256)), 24);
    let nothing = JoinGroupRequest::default()
        .with_group_id(GroupId(text("new")))
        .with_session_timeout_ms(10_000)
        .with_protocol_type(text("consumer"));
    assert_eq!(bench.send(1, 3, &nothing).unwrap().error_code, 23);
    let nothing = nothing.with_session_timeout_ms(1);
    assert_eq!(bench.send(1, 3, &nothing).unwrap().error_code, 26);
    #[cfg(feature = "consumer-protocol")]
    {
        let nothing = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text("new")))
            .with_member_id(text("m"));
        assert_eq!(bench.ask(1, &nothing).error_code, 42);
    }
    assert_eq!(committed(&bench, "g"), Some(1));
}

#[test]
fn a_deletion_on_its_way_makes_room_before_anybody_gives_way() {
    let mut bench = bench_with(|config| config.groups_max = 2);
    for group in ["old", "deleted"] {
        assert_eq!(commit(&mut bench, group, 1), 0);
        pass_days(&mut bench, UNUSED_DAYS);
    }
    bench.broker.group_delete("deleted", bench.now).unwrap();
    assert_eq!(commit(&mut bench, "new", 1), 0);
    assert_eq!(names(&bench), ["old", "new"]);
}

#[test]
fn a_group_without_offsets_gives_way_at_once() {
    let mut bench = bench_with(|config| config.groups_max = 1);
    assert_eq!(commit(&mut bench, "g", 1), 0);
    let handle = {
        let state = bench.broker.log.state();
        state.partitions().next().unwrap().1.handle
    };
    bench.broker.offset_delete("g", handle, bench.now).unwrap();
    bench.drive();
    (bench.now.wall_ms, bench.now.wall_synchronised) = (0, false);
    assert_eq!(commit(&mut bench, "new", 1), 0);
    assert_eq!(names(&bench), ["new"]);
}

#[test]
fn while_the_disk_fails_nobody_gives_way() {
    let mut bench = bench_with(|config| config.groups_max = 1);
    assert_eq!(commit(&mut bench, "g", 1), 0);
    pass_days(&mut bench, UNUSED_DAYS);
    bench.disk.fails.store(true, Ordering::Relaxed);
    assert_eq!(join(&mut bench, "new"), FULL);
    assert_eq!(committed(&bench, "g"), Some(1));
    bench.disk.fails.store(false, Ordering::Relaxed);
    for _ in 0..4 {
        bench.pass_ms(60_000);
        bench.drive();
    }
    assert_eq!(join(&mut bench, "new"), 0);
    assert_eq!(committed(&bench, "g"), None);
}

#[test]
fn a_power_cut_at_any_write_leaves_the_one_or_the_other() {
    let mut outcomes = [0; 3];
    for cut in 1.. {
        let mut bench = bench_with(|config| config.groups_max = 1);
        assert_eq!(commit(&mut bench, "old", 1), 0);
        pass_days(&mut bench, UNUSED_DAYS);
        bench.disk.cut.store(cut, Ordering::Relaxed);
        // It is told nothing after the cut: to the broker the disk seems to go on.
        assert_eq!(commit(&mut bench, "new", 2), 0);
        let was_cut = bench.disk.cut.load(Ordering::Relaxed) == usize::MAX;
        bench.restart();
        bench.pass_ms(limits::GROUP_FORMER_MS);
        let found = (committed(&bench, "old"), committed(&bench, "new"));
        match found {
            (Some(1), None) => outcomes[0] += 1,
            (None, None) => outcomes[1] += 1,
            (None, Some(2)) => outcomes[2] += 1,
            found => panic!("CUT={cut} {found:?}"),
        }
        assert_eq!(commit(&mut bench, "new", 3), 0, "CUT={cut}");
        if !was_cut {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}
