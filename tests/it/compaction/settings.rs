//! What else touches a compacted topic: idempotent producers, deleted records, and a cleanup policy
//! that changes.

use std::sync::Arc;

use brooklet::storage::Storage;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::rules::{COMPACT, K, V, all, host, lap, put};
use super::*;
use crate::host::Sequenced;
use crate::produce::topic_name;

fn policy_set(host: &mut Host, policy: &str) {
    let mut config = AlterableConfig::default();
    config.name = StrBytes::from_static_str("cleanup.policy");
    config.value = Some(StrBytes::from_string(policy.to_owned()));
    let mut resource = AlterConfigsResource::default();
    resource.resource_type = TOPIC;
    resource.resource_name = StrBytes::from_static_str("c");
    resource.configs.push(config);
    let mut request = IncrementalAlterConfigsRequest::default();
    request.resources.push(resource);
    let answer: IncrementalAlterConfigsResponse =
        host.ask(ApiKey::IncrementalAlterConfigs, 1, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    while host.work() {}
}

fn policy(host: &mut Host) -> String {
    let mut resource = DescribeConfigsResource::default();
    resource.resource_type = TOPIC;
    resource.resource_name = StrBytes::from_static_str("c");
    resource.configuration_keys = Some(vec![StrBytes::from_static_str("cleanup.policy")]);
    let mut request = DescribeConfigsRequest::default();
    request.resources.push(resource);
    let answer: DescribeConfigsResponse = host.ask(ApiKey::DescribeConfigs, 4, &request);
    let config = &answer.results[0].configs[0];
    config.value.as_ref().unwrap().to_string()
}

fn delete_before(host: &mut Host, offset: i64) -> i16 {
    let mut partition = DeleteRecordsPartition::default();
    partition.offset = offset;
    let mut topic = DeleteRecordsTopic::default();
    topic.name = topic_name("c");
    topic.partitions.push(partition);
    let mut request = DeleteRecordsRequest::default();
    request.topics.push(topic);
    let answer: DeleteRecordsResponse = host.ask(ApiKey::DeleteRecords, 2, &request);
    answer.topics[0].partitions[0].error_code
}

fn log_start(host: &Host) -> i64 {
    host.broker.partition_asked("c", 0).unwrap().log_start.0
}

fn killed(host: Host) -> Host {
    host.storage.process_kill();
    Host::open(Arc::clone(&host.storage), config(), host.now).unwrap()
}

/// The error code and the offset of a batch that an idempotent producer sends.
fn put_sequenced(host: &mut Host, first: i32, records: &[Keyed<'_>]) -> (i16, i64) {
    let batch = keyed_batch(Sequenced { id: 77, epoch: 0, first }, host.now.wall_ms, records);
    let request = frame(ApiKey::Produce, 9, &produce(-1, "c", &[(0, Some(batch))]));
    let answer = host.exchange(&request).unwrap().unwrap();
    let answer: ProduceResponse = read_answer(ApiKey::Produce, 9, &answer);
    while host.work() {}
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

const TOPIC: i8 = 2;

#[test]
fn a_producer_goes_on_where_it_stopped_though_its_records_were_carried_or_dropped() {
    let mut host = host(&[COMPACT]);
    assert_eq!(put_sequenced(&mut host, 0, &[(Some(b"a"), V), (Some(b"b"), V)]), (0, 0));
    assert_eq!(put_sequenced(&mut host, 2, &[(Some(b"b"), V)]), (0, 2));
    for _ in 0..2 {
        lap(&mut host);
        assert_eq!(put_sequenced(&mut host, 2, &[(Some(b"b"), V)]), (0, 2), "a duplicate");
        assert_eq!(put_sequenced(&mut host, 4, &[(Some(b"b"), V)]).0, 45, "a gap");
        host = killed(host);
    }
    assert_eq!(put_sequenced(&mut host, 3, &[(Some(b"a"), V)]), (0, 3));
    lap(&mut host);
    let offsets = all(&mut host, "c").into_iter().map(|(offset, key, _)| (offset, key));
    assert!(offsets.eq([(2, "b".to_string()), (3, "a".to_string())]));
}

#[test]
fn a_duplicate_is_known_though_there_is_no_room_for_more() {
    let mut host = host(&[COMPACT]);
    let value = [9; 3000];
    let key = |at: i32| format!("key-{at}").into_bytes();
    let mut at = 0;
    while put_sequenced(&mut host, at, &[(Some(&key(at)), Some(&value))]).0 == 0 {
        at += 1;
    }
    let again = put_sequenced(&mut host, at - 1, &[(Some(&key(at - 1)), Some(&value))]);
    assert_eq!(again, (0, i64::from(at) - 1));
    assert_eq!(put_sequenced(&mut host, at, &[(Some(&key(at)), Some(&value))]).0, 44);
    assert_eq!(put_sequenced(&mut host, at, &[(Some(&key(0)), None)]), (0, i64::from(at)));
}

#[test]
fn deleted_records_are_not_carried_and_without_delete_none_can_be() {
    let mut host = host(&[("cleanup.policy", "compact,delete")]);
    for key in [b"a", b"b", b"c", b"d"] {
        put(&mut host, "c", &[(Some(key), V)]);
    }
    lap(&mut host);
    assert_eq!(all(&mut host, "c").len(), 4);
    assert_eq!(delete_before(&mut host, 2), 0);
    for _ in 0..2 {
        let keys: Vec<String> = all(&mut host, "c").into_iter().map(|(_, key, _)| key).collect();
        assert_eq!((log_start(&host), keys), (2, vec!["c".to_string(), "d".to_string()]));
        lap(&mut host);
        host = killed(host);
    }
    assert_eq!(delete_before(&mut host, 4), 0);
    assert_eq!((log_start(&host), all(&mut host, "c").len()), (4, 0));
    lap(&mut host);
    let carried = host.broker.log.carried(brooklet::types::RingIndex(0));
    assert_eq!(carried.bytes, 0, "nothing lives");
    policy_set(&mut host, "compact");
    assert_eq!(delete_before(&mut host, 4), 44);
}

#[test]
fn a_topic_that_becomes_compacted_keeps_what_it_has_and_one_that_stops_loses_it_in_its_turn() {
    let mut host = host(&[]);
    for key in [b"a", b"b", b"a"] {
        put(&mut host, "c", &[(Some(key), V)]);
    }
    put(&mut host, "c", &[(None, V), (None, V)]);
    policy_set(&mut host, "compact");
    assert_eq!(policy(&mut host), "compact");
    // Of what has no key only the newest record of all is carried, so that the end can be reached.
    let kept = [(1, "b", Some(1)), (2, "a", Some(1)), (4, "-", Some(1))];
    let kept = kept.map(|(offset, key, value)| (offset, key.to_string(), value));
    for _ in 0..2 {
        lap(&mut host);
        assert_eq!(all(&mut host, "c"), kept);
        host = killed(host);
    }
    policy_set(&mut host, "delete");
    assert_eq!(all(&mut host, "c"), kept, "until the ring comes round");
    host = killed(host);
    assert_eq!((log_start(&host), all(&mut host, "c")), (1, kept.to_vec()));
    for _ in 0..2 {
        lap(&mut host);
    }
    assert_eq!((log_start(&host), all(&mut host, "c").len()), (5, 0));
    assert_eq!(put(&mut host, "c", &[(None, V)]), 0);
    assert_eq!(all(&mut host, "c").len(), 1);
}

#[test]
fn a_ring_that_shrinks_keeps_every_key_and_is_rid_of_its_last_files() {
    let with = |segments| {
        let mut config = config();
        config.rings[0].segments = segments;
        config.rings[0].shrink = true;
        config
    };
    let mut host = Host::new(with(8));
    create_topic(&mut host, "c", 1, &[COMPACT]);
    create_topic(&mut host, "p", 1, &[]);
    let (key, value) = (|at: u32| format!("key-{at}").into_bytes(), [9; 3000]);
    // More than the smaller ring will take on.
    for at in 0..65 {
        assert_eq!(put(&mut host, "c", &[(Some(&key(at)), Some(&value))]), 0);
    }
    for segments in [8, 4, 4, 4] {
        host.close();
        host = Host::open(Arc::clone(&host.storage), with(segments), host.now).unwrap();
        for _ in 0..3 {
            lap(&mut host);
        }
        assert_eq!(all(&mut host, "c").len(), 65, "{segments} segments");
    }
    let ring = brooklet::types::RingIndex(0);
    let stats = host.broker.log.stats(ring);
    assert_eq!((stats.carry_damaged, stats.carry_lost), (0, 0));
    let files = host.storage.files(ring).unwrap();
    let most = usize::from(with(4).rings[0].spares) + 4;
    assert_eq!(files.len(), most, "{files:?}");
    assert_eq!(put(&mut host, "c", &[(Some(&key(0)), Some(&value))]), 44);
}

#[test]
fn what_is_carried_of_a_compressed_batch_is_not_compressed_any_more() {
    let mut host = host(&[COMPACT]);
    for codec in 1..=4 {
        let key = [b'a' + codec];
        let records = [(K, V), (Some(&key[..]), V), (K, V)];
        let batch = packed(&keyed_batch(PLAIN, NOON_MS, &records), codec);
        let request = frame(ApiKey::Produce, 9, &produce(-1, "c", &[(0, Some(batch))]));
        assert_eq!(code_of(&host.exchange(&request).unwrap().unwrap()), 0);
    }
    for _ in 0..2 {
        lap(&mut host);
        let bytes = host.fetch("c", 0, 0);
        assert!(batches(&bytes).all(|batch| batch.header.compression() == 0));
        let keys: Vec<_> = all(&mut host, "c").into_iter().map(|(at, key, _)| (at, key)).collect();
        let kept = [(1, "b"), (4, "c"), (7, "d"), (10, "e"), (11, "k")];
        assert_eq!(keys, kept.map(|(offset, key)| (offset, key.to_string())));
        host = killed(host);
    }
}

#[test]
fn what_connect_and_mirrors_ask_for_is_made_and_shown() {
    let mut host = host(&[COMPACT, ("min.insync.replicas", "1"), ("segment.bytes", "52428800")]);
    assert_eq!(policy(&mut host), "compact");
    policy_set(&mut host, "compact,delete");
    assert_eq!(policy(&mut host), "compact,delete");
    host = killed(host);
    assert_eq!(policy(&mut host), "compact,delete");
}
