//! FindCoordinator, OffsetCommit and OffsetFetch, by what clients see.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::host::{Host, PLAIN, batch, config_small, frame};
use crate::produce::{create_topic, produce, topic_name};
use brooklet::api::Step;
use brooklet::config::Config;
use brooklet::storage::sim::{Cut, Failing, Op};

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A commit for partitions of topic `t`: index, offset, metadata.
pub fn commit(group: &str, partitions: &[(i32, i64, &str)]) -> OffsetCommitRequest {
    let mut topic = OffsetCommitRequestTopic::default();
    topic.name = topic_name("t");
    for (index, offset, metadata) in partitions {
        let mut partition = OffsetCommitRequestPartition::default();
        partition.partition_index = *index;
        partition.committed_offset = *offset;
        partition.committed_metadata = Some(string(metadata));
        topic.partitions.push(partition);
    }
    let mut request = OffsetCommitRequest::default();
    request.group_id = GroupId(string(group));
    request.generation_id_or_member_epoch = -1;
    request.topics.push(topic);
    request
}

pub fn codes(host: &mut Host, version: i16, request: &OffsetCommitRequest) -> Vec<i16> {
    let answer: OffsetCommitResponse = host.ask(ApiKey::OffsetCommit, version, request);
    answer.topics[0].partitions.iter().map(|p| p.error_code).collect()
}

/// Everything that a group committed: topic, index, offset, metadata.
pub fn committed(host: &mut Host, group: &str) -> Vec<(String, i32, i64, String)> {
    let mut request = OffsetFetchRequest::default();
    request.group_id = GroupId(string(group));
    request.topics = None;
    let answer: OffsetFetchResponse = host.ask(ApiKey::OffsetFetch, 7, &request);
    assert_eq!(answer.error_code, 0);
    let mut found = Vec::new();
    for topic in &answer.topics {
        for p in &topic.partitions {
            let metadata = p.metadata.clone().unwrap().to_string();
            found.push((topic.name.0.to_string(), p.partition_index, p.committed_offset, metadata));
        }
    }
    found
}

fn host() -> Host {
    let mut host = Host::new(config_small(4, 1 << 20));
    create_topic(&mut host, "t", 3, &[]);
    host
}

#[test]
fn every_version_stores_what_every_version_finds() {
    let mut host = host();
    for version in 2..=9 {
        let offset = i64::from(version) * 10;
        let mut request = commit("g", &[(0, offset, "m"), (2, offset + 1, "")]);
        if version < 6 {
            request.topics[0].partitions[0].committed_leader_epoch = -1;
        } else {
            request.topics[0].partitions[0].committed_leader_epoch = 4;
        }
        assert_eq!(codes(&mut host, version, &request), [0, 0]);
        for fetch in 1..=7 {
            let mut topic = OffsetFetchRequestTopic::default();
            topic.name = topic_name("t");
            topic.partition_indexes = vec![0, 1, 2, 9];
            let mut request = OffsetFetchRequest::default();
            request.group_id = GroupId(string("g"));
            request.topics = Some(vec![topic]);
            let answer: OffsetFetchResponse = host.ask(ApiKey::OffsetFetch, fetch, &request);
            let found: Vec<_> = answer.topics[0].partitions.iter().collect();
            let offsets: Vec<i64> = found.iter().map(|p| p.committed_offset).collect();
            assert_eq!(offsets, [offset, -1, offset + 1, -1]);
            assert!(found.iter().all(|p| p.error_code == 0));
            assert_eq!(found[0].metadata, Some(string("m")));
            if fetch >= 5 {
                let epoch = if version < 6 { -1 } else { 4 };
                assert_eq!(found[0].committed_leader_epoch, epoch);
            }
        }
    }
}

#[test]
fn many_groups_are_found_at_once_whole_or_in_part() {
    let mut host = host();
    assert_eq!(codes(&mut host, 8, &commit("a", &[(1, 5, "")])), [0]);
    assert_eq!(codes(&mut host, 8, &commit("b", &[(2, 6, "x")])), [0]);
    for version in 8..=9 {
        let mut request = OffsetFetchRequest::default();
        for group in ["a", "b", "none"] {
            let mut asked = OffsetFetchRequestGroup::default();
            asked.group_id = GroupId(string(group));
            asked.topics = None;
            request.groups.push(asked);
        }
        let mut topics = OffsetFetchRequestTopics::default();
        topics.name = topic_name("t");
        topics.partition_indexes = vec![1, 2];
        request.groups[1].topics = Some(vec![topics]);
        let answer: OffsetFetchResponse = host.ask(ApiKey::OffsetFetch, version, &request);
        let groups: Vec<Vec<(i32, i64)>> = answer
            .groups
            .iter()
            .map(|group| {
                let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.map(|p| (p.partition_index, p.committed_offset)).collect()
            })
            .collect();
        assert_eq!(groups, [vec![(1, 5)], vec![(1, -1), (2, 6)], vec![]]);
    }
}

#[test]
fn bad_commits_get_kafkas_codes() {
    let mut host = host();
    let long = "m".repeat(4097);
    let request = commit("g", &[(0, 1, ""), (3, 1, ""), (-1, 1, ""), (1, 1, &long)]);
    assert_eq!(codes(&mut host, 8, &request), [0, 3, 3, 12]);
    assert_eq!(codes(&mut host, 8, &commit(&"g".repeat(256), &[(0, 1, "")])), [24]);
    let mut member = commit("g", &[(0, 2, "")]);
    member.generation_id_or_member_epoch = 1;
    member.member_id = string("m-1");
    assert_eq!(codes(&mut host, 8, &member), [25]);
    member.group_id = GroupId(string("other"));
    assert_eq!(codes(&mut host, 8, &member), [22]);
    // Kafka's groups outlive its restarts: a member of a group that is not there joins again.
    assert_eq!(codes(&mut host, 9, &member), [25]);
    member.member_id = string("");
    assert_eq!(codes(&mut host, 9, &member), [69]);
    assert_eq!(committed(&mut host, "g"), [("t".into(), 0, 1, String::new())]);
    assert_eq!(committed(&mut host, "other"), []);
}

#[test]
fn an_unchanged_commit_writes_nothing_and_waits_while_it_is_on_its_way() {
    let mut host = host();
    let request = frame(ApiKey::OffsetCommit, 8, &commit("g", &[(0, 5, "")]));
    let (first, _) = host.dispatch(&request);
    let (second, _) = host.dispatch(&request);
    let Step::ReplyAfter { until, .. } = first else { panic!("{first:?}") };
    assert_eq!(first, second);
    host.settle(&until);
    let writes = host.storage.counts().writes;
    assert!(matches!(host.dispatch(&request).0, Step::Reply { .. }));
    // There and back again: the last one counts.
    let other = frame(ApiKey::OffsetCommit, 8, &commit("g", &[(0, 6, "")]));
    host.dispatch(&other);
    let (third, _) = host.dispatch(&request);
    let Step::ReplyAfter { until, .. } = third else { panic!("{third:?}") };
    host.settle(&until);
    assert!(host.storage.counts().writes > writes);
    assert_eq!(committed(&mut host, "g")[0].2, 5);
}

#[test]
fn what_was_answered_survives_a_power_cut() {
    let config = config_small(4, 1 << 20);
    let mut host = Host::new(config.clone());
    create_topic(&mut host, "t", 3, &[]);
    assert_eq!(codes(&mut host, 8, &commit("g", &[(0, 5, "a"), (1, 6, "")])), [0, 0]);
    assert_eq!(codes(&mut host, 8, &commit("g", &[(1, 7, "b")])), [0]);
    host.storage.power_cut(Cut::None);
    let mut host = Host::open(host.storage, config, host.now).unwrap();
    let expected = [("t".into(), 0, 5, "a".into()), ("t".into(), 1, 7, "b".into())];
    assert_eq!(committed(&mut host, "g"), expected);
}

#[test]
fn full_tables_refuse_what_is_new_and_take_what_is_known() {
    let mut host = host();
    for group in ["a", "b", "c"] {
        assert_eq!(codes(&mut host, 8, &commit(group, &[(0, 1, "")])), [0]);
    }
    assert_eq!(codes(&mut host, 8, &commit("d", &[(0, 1, "")])), [15]);
    assert_eq!(codes(&mut host, 8, &commit("a", &[(0, 2, ""), (1, 1, ""), (2, 1, "")])), [0; 3]);
    assert_eq!(codes(&mut host, 8, &commit("b", &[(1, 1, ""), (2, 1, "")])), [15, 15]);
    assert_eq!(codes(&mut host, 8, &commit("b", &[(0, 9, ""), (1, 1, "")])), [0, 0]);
    assert_eq!(codes(&mut host, 8, &commit("c", &[(1, 9, "")])), [15]);
    assert_eq!(codes(&mut host, 8, &commit("c", &[(0, 9, "")])), [0]);
}

#[test]
fn metadata_of_4096_letters_comes_back_also_after_a_power_cut() {
    let config = Config { offset_metadata_bytes: 16 << 10, ..config_small(4, 1 << 20) };
    let mut host = Host::new(config.clone());
    create_topic(&mut host, "t", 3, &[]);
    let long = "€".repeat(4096);
    let (bytes, too_long) = ("n".repeat(4096), "€".repeat(4097));
    assert_eq!(codes(&mut host, 8, &commit("g", &[(0, 1, &too_long)])), [12]);
    for metadata in ["m", &"n".repeat(250), &bytes, &long] {
        assert_eq!(codes(&mut host, 8, &commit("g", &[(0, 1, metadata), (1, 2, "x")])), [0, 0]);
        assert_eq!(committed(&mut host, "g")[0].3, metadata);
    }
    host.storage.power_cut(Cut::None);
    let mut host = Host::open(host.storage, config, host.now).unwrap();
    let expected = [("t".into(), 0, 1, long), ("t".into(), 1, 2, "x".into())];
    assert_eq!(committed(&mut host, "g"), expected);
}

#[test]
fn metadata_beyond_what_all_may_have_is_refused_and_nothing_else_is() {
    let config = Config { offset_metadata_bytes: 100, ..config_small(4, 1 << 20) };
    let mut host = Host::new(config);
    create_topic(&mut host, "t", 3, &[]);
    let (sixty, forty) = ("m".repeat(60), "n".repeat(40));
    assert_eq!(codes(&mut host, 8, &commit("g", &[(0, 1, &sixty), (1, 1, &forty)])), [0, 0]);
    let request = commit("h", &[(0, 1, ""), (1, 2, "x")]);
    assert_eq!(codes(&mut host, 8, &request), [0, 12], "all of it is taken");
    let request = commit("g", &[(0, 2, &forty), (1, 2, &sixty), (2, 2, "")]);
    assert_eq!(codes(&mut host, 8, &request), [0, 12, 0], "what gets shorter is not counted");
    let request = commit("g", &[(1, 3, &sixty), (0, 3, &forty)]);
    assert_eq!(codes(&mut host, 8, &request), [0, 0]);
    let stored: Vec<_> = committed(&mut host, "g").into_iter().map(|of| (of.2, of.3)).collect();
    assert_eq!(stored, [(3, forty), (3, sixty), (2, String::new())]);
}

#[test]
fn all_partitions_are_committed_at_once_whatever_the_group_is_called() {
    let config = Config {
        partitions_max: 512,
        offsets_max: 1024,
        offset_metadata_bytes: 64 << 10,
        ..config_small(4, 4 << 20)
    };
    let mut host = Host::new(config.clone());
    create_topic(&mut host, "t", 500, &[]);
    let group = "g".repeat(255);
    let member = "a-client-of-franz-go-with-a-long-name-6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    for (round, metadata) in ["", member].iter().enumerate() {
        let partitions: Vec<_> = (0..500).map(|i| (i, 7 + round as i64, *metadata)).collect();
        let request = frame(ApiKey::OffsetCommit, 8, &commit(&group, &partitions));
        let (step, _) = host.dispatch(&request);
        assert!(matches!(step, Step::ReplyAfter { .. }), "one group holds it: {step:?}");
        assert_eq!(codes(&mut host, 8, &commit(&group, &partitions)), [0; 500]);
    }
    host.storage.power_cut(Cut::None);
    let mut host = Host::open(host.storage, config, host.now).unwrap();
    let stored = committed(&mut host, &group);
    assert_eq!(stored.len(), 500);
    assert!(stored.iter().all(|of| of.2 == 8 && of.3 == member));
}

/// A commit of 12 partitions that takes two commit groups.
fn commit_of_two_groups(offset: i64, text: &str) -> OffsetCommitRequest {
    let metadata = text.repeat(4096);
    let partitions: Vec<_> = (0..12).map(|i| (i, offset + i64::from(i), &*metadata)).collect();
    let mut request = commit("g", &partitions);
    for (place, partition) in request.topics[0].partitions.iter_mut().enumerate() {
        // Else all have the same, which is written once.
        let own = format!("{place:02}{}", &metadata[2..]);
        partition.committed_metadata = Some(string(&own));
    }
    request
}

fn config_of_two_groups() -> Config {
    Config {
        partitions_max: 16,
        offsets_max: 32,
        offset_metadata_bytes: 64 << 10,
        ..config_small(4, 4 << 20)
    }
}

#[test]
fn a_commit_that_takes_several_groups_is_answered_when_all_are_on_flash() {
    let config = config_of_two_groups();
    let mut host = Host::new(config.clone());
    create_topic(&mut host, "t", 12, &[]);
    let syncs = host.storage.counts().syncs;
    assert_eq!(codes(&mut host, 8, &commit_of_two_groups(1, "m")), [0; 12]);
    assert_eq!(host.storage.counts().syncs - syncs, 2);
    host.storage.power_cut(Cut::None);
    let mut host = Host::open(host.storage, config, host.now).unwrap();
    let stored = committed(&mut host, "g");
    let offsets: Vec<_> = stored.iter().map(|of| of.2).collect();
    assert_eq!(offsets, (1..13).collect::<Vec<i64>>());
    assert!(stored.iter().all(|of| of.3 == format!("{:02}{}", of.1, "m".repeat(4094))));
}

#[test]
fn a_commit_whose_first_or_second_group_fails_is_refused_and_may_be_sent_again() {
    for failed in 0..2 {
        let mut host = Host::new(config_of_two_groups());
        create_topic(&mut host, "t", 12, &[]);
        // The group, and then whatever is tried in its place.
        host.storage.fail(Op::Sync, Failing::From(failed));
        let codes_then = codes(&mut host, 8, &commit_of_two_groups(1, "m"));
        assert!(codes_then.iter().all(|code| [0, 16].contains(code)), "{codes_then:?}");
        assert!(codes_then.contains(&16), "the disk fails from sync {failed} on");
        host.storage.fail(Op::Sync, Failing::Never);
        while host.work() || host.sleep() && host.broker.log.is_failing(host.broker.log.shared()) {}
        assert_eq!(codes(&mut host, 8, &commit_of_two_groups(1, "m")), [0; 12]);
        assert_eq!(committed(&mut host, "g").len(), 12);
    }
}

#[test]
fn tables_that_are_full_of_the_longest_there_is_fit_the_heads_of_segments() {
    let config = Config {
        topics_max: 128,
        partitions_max: 128,
        offsets_max: 12,
        offset_metadata_bytes: 48 << 10,
        ..config_small(4, 1 << 20)
    };
    let mut host = Host::new(config.clone());
    create_topic(&mut host, "t", 4, &[]);
    // Two bytes, and as many again for the key, make the 256 that settings may have.
    let replicas = ["0:1"; 63].join(",");
    let settings = [("leader.replication.throttled.replicas", replicas.as_str())];
    for topic in 1..120 {
        create_topic(&mut host, &format!("{topic:0>249}"), 1, &settings);
    }
    for group in ["a", "b", "c"].map(|letter| letter.repeat(255)) {
        // What is the same is written once.
        let metadata = ["0", "1", "2", "3"].map(|index| index.repeat(4096));
        let partitions = (0..).zip(&metadata).map(|(index, text)| (index, 1, text.as_str()));
        let request = commit(&group, &partitions.collect::<Vec<_>>());
        assert_eq!(codes(&mut host, 8, &request), [0; 4]);
    }
    let segments = host.broker.log.stats(Default::default()).segments;
    for value in 0..80_u8 {
        let batch = batch(PLAIN, 0, &[&[value; 30_000]]);
        let request = produce(-1, "t", &[(0, Some(batch))]);
        let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    assert!(host.broker.log.stats(Default::default()).segments > segments + 1);
    host.storage.power_cut(Cut::None);
    let mut host = Host::open(host.storage, config, host.now).unwrap();
    assert_eq!(host.broker.log.state().topics_len(), 120);
    assert_eq!(committed(&mut host, &"c".repeat(255)).len(), 4);
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_offset_counts() {
    let mut host = host();
    assert_eq!(codes(&mut host, 8, &commit("g", &[(0, 5, ""), (0, 6, "")])), [0, 0]);
    assert_eq!(committed(&mut host, "g")[0].2, 6);
    assert_eq!(codes(&mut host, 8, &commit("g", &[(0, 7, ""), (0, 6, "")])), [0, 0]);
    assert_eq!(committed(&mut host, "g")[0].2, 6, "also where that is stored already");
}

#[test]
fn a_failing_disk_sends_the_client_to_find_the_coordinator_again() {
    let mut host = host();
    host.storage.fail(Op::Sync, Failing::From(0));
    let request = commit("g", &[(0, 5, "")]);
    assert_eq!(codes(&mut host, 8, &request), [16]);
    assert_eq!(codes(&mut host, 8, &request), [16]);
    assert_eq!(committed(&mut host, "g"), []);
    host.storage.fail(Op::Sync, Failing::Never);
    while host.work() || host.sleep() && host.broker.log.is_failing(host.broker.log.shared()) {}
    assert_eq!(codes(&mut host, 8, &request), [0]);
    assert_eq!(committed(&mut host, "g")[0].2, 5);
}

#[test]
fn the_coordinator_of_every_group_is_here_and_transactions_have_none() {
    let mut host = host();
    for version in 0..=6 {
        for (kind, code) in [(0, 0), (1, 53), (2, 42), (9, 42)] {
            if version == 0 && kind != 0 {
                continue;
            }
            let mut request = FindCoordinatorRequest::default();
            request.key_type = kind;
            if version < 4 {
                request.key = string("g");
            } else {
                request.coordinator_keys = vec![string("g"), string("h")];
            }
            let answer: FindCoordinatorResponse =
                host.ask(ApiKey::FindCoordinator, version, &request);
            let (host, port) = if code == 0 { ("127.0.0.1", 9092) } else { ("", -1) };
            if version < 4 {
                assert_eq!((answer.error_code, answer.port), (code, port));
                assert_eq!(answer.host, string(host));
            } else {
                assert_eq!(answer.coordinators.len(), 2);
                let second = &answer.coordinators[1];
                assert_eq!((second.error_code, second.port), (code, port));
                assert_eq!((&second.key, &second.host), (&string("h"), &string(host)));
            }
        }
    }
}
