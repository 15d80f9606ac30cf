//! Produce and InitProducerId, by what clients see.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsResponse, InitProducerIdRequest, InitProducerIdResponse, ProduceResponse,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use crate::host::{Host, NOON_MS, PLAIN, Sequenced, batch, config_small, frame, read_answer};
use brooklet::api::Step;
use brooklet::storage::sim::{Failing, Op};
use brooklet::types::Settle;

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub fn create_topic(host: &mut Host, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut topic = CreatableTopic::default();
    topic.name = topic_name(name);
    topic.num_partitions = partitions;
    topic.replication_factor = -1;
    for (name, value) in configs {
        let mut config = CreatableTopicConfig::default();
        config.name = StrBytes::from_string((*name).to_owned());
        config.value = Some(StrBytes::from_string((*value).to_owned()));
        topic.configs.push(config);
    }
    let mut request = CreateTopicsRequest::default();
    request.topics.push(topic);
    let answer: CreateTopicsResponse = host.ask(ApiKey::CreateTopics, 7, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
}

/// A request for partitions of one topic.
pub fn produce(acks: i16, topic: &str, partitions: &[(i32, Option<Vec<u8>>)]) -> ProduceRequest {
    let mut data = TopicProduceData::default();
    data.name = topic_name(topic);
    for (index, records) in partitions {
        let mut partition = PartitionProduceData::default();
        partition.index = *index;
        partition.records = records.clone().map(Bytes::from);
        data.partition_data.push(partition);
    }
    let mut request = ProduceRequest::default();
    request.acks = acks;
    request.timeout_ms = 1000;
    request.topic_data.push(data);
    request
}

fn partitions(answer: &ProduceResponse) -> &[PartitionProduceResponse] {
    &answer.responses[0].partition_responses
}

/// Error code and base offset of the only partition.
fn one(host: &mut Host, topic: &str, records: Option<Vec<u8>>) -> (i16, i64) {
    let request = produce(-1, topic, &[(0, records)]);
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
    (partitions(&answer)[0].error_code, partitions(&answer)[0].base_offset)
}

fn host() -> Host {
    let mut host = Host::new(config_small(4, 1 << 20));
    create_topic(&mut host, "t", 2, &[]);
    host
}

fn values(count: usize) -> Vec<u8> {
    batch(PLAIN, NOON_MS, &vec![b"value".as_slice(); count])
}

#[test]
fn every_version_answers_with_the_offset_of_the_first_record() {
    let mut host = host();
    let mut offset = 0;
    for version in 3..=12 {
        for acks in [1, -1] {
            let request = produce(acks, "t", &[(0, Some(values(3)))]);
            let answer: ProduceResponse = host.ask(ApiKey::Produce, version, &request);
            let partition = &partitions(&answer)[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, offset));
            assert_eq!(partition.log_append_time_ms, -1);
            if version >= 5 {
                assert_eq!(partition.log_start_offset, 0);
            }
            offset += 3;
        }
    }
    let (slot, _) = host.broker.log.state().topic_named("t").unwrap();
    let (_, partition) = host.broker.log.state().partitions_of(slot).next().unwrap();
    assert_eq!(partition.high_watermark.0, offset);
}

#[test]
fn each_partition_gets_its_own_answer() {
    let mut host = host();
    let mut wrong_crc = values(1);
    *wrong_crc.last_mut().unwrap() ^= 1;
    let cases = [
        (0, Some(values(2)), 0),
        (9, Some(values(1)), 3),
        (-1, Some(values(1)), 3),
        (1, Some(wrong_crc), 2),
        (1, None, 87),
        (1, Some(Vec::new()), 87),
        (1, Some([values(1), values(1)].concat()), 87),
        (1, Some(vec![7; 100]), 87),
        (0, Some(values(1)), 0),
        (1, Some(values(1)), 0),
    ];
    let asked: Vec<_> = cases.iter().map(|case| (case.0, case.1.clone())).collect();
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &produce(1, "t", &asked));
    let codes: Vec<i16> = partitions(&answer).iter().map(|p| p.error_code).collect();
    assert_eq!(codes, cases.map(|case| case.2));
    let offsets: Vec<i64> = partitions(&answer).iter().map(|p| p.base_offset).collect();
    assert_eq!(offsets, [0, -1, -1, -1, -1, -1, -1, -1, 2, 0]);
    for partition in partitions(&answer) {
        assert_eq!(partition.error_code != 0, partition.error_message.is_some());
    }
    assert_eq!(one(&mut host, "unknown", Some(values(1))), (3, -1));
    assert_eq!(one(&mut host, "__consumer_offsets", Some(values(1))), (17, -1));
}

#[test]
fn without_acknowledgement_there_is_no_answer_and_an_error_closes() {
    let mut host = host();
    let good = frame(ApiKey::Produce, 9, &produce(0, "t", &[(0, Some(values(1)))]));
    assert_eq!(host.exchange(&good), Ok(None));
    let bad = frame(ApiKey::Produce, 9, &produce(0, "u", &[(0, Some(values(1)))]));
    assert!(host.exchange(&bad).is_err());
    assert_eq!(one(&mut host, "t", Some(values(1))), (0, 1));
}

#[test]
fn other_acks_are_refused_for_every_partition() {
    let mut host = host();
    let request = produce(2, "t", &[(0, Some(values(1))), (7, None)]);
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
    assert!(partitions(&answer).iter().all(|p| p.error_code == 21));
    assert_eq!(one(&mut host, "t", Some(values(1))), (0, 0));
}

#[test]
fn versions_before_3_are_advertised_and_not_served() {
    let mut host = host();
    let request = frame(ApiKey::Produce, 3, &produce(1, "t", &[(0, Some(values(1)))]));
    for version in 0..3 {
        let mut old = request.clone();
        old[3] = version;
        assert!(host.exchange(&old).is_err());
    }
    let api = brooklet::api::api_of(0).unwrap();
    assert_eq!((api.min_advertised, api.min, api.max), (0, 3, 12));
}

#[test]
fn a_topics_settings_bound_what_it_takes() {
    let mut host = host();
    create_topic(&mut host, "small", 1, &[("max.message.bytes", "200")]);
    assert_eq!(one(&mut host, "small", Some(values(30))), (10, -1));
    assert_eq!(one(&mut host, "small", Some(values(1))), (0, 0));
    create_topic(&mut host, "replicated", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(one(&mut host, "replicated", Some(values(1))), (19, -1));
    let request = produce(1, "replicated", &[(0, Some(values(1)))]);
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
    assert_eq!(partitions(&answer)[0].error_code, 0);
}

#[test]
fn records_get_the_time_of_their_arrival_where_the_topic_says_so() {
    let mut host = host();
    let settings = [("message.timestamp.type", "LogAppendTime")];
    create_topic(&mut host, "arrival", 1, &settings);
    host.pass_us(5_000_000);
    let request = produce(1, "arrival", &[(0, Some(batch(PLAIN, 5, &[b"v"])))]);
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
    assert_eq!(partitions(&answer)[0].log_append_time_ms, host.now.wall_ms);
    // The clock jumps back, and nobody says that it is right.
    let before = host.now.wall_ms;
    host.now.wall_ms -= 3_600_000;
    host.now.wall_synchronised = false;
    let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
    assert_eq!(partitions(&answer)[0].log_append_time_ms, before);
}

#[test]
fn a_timestamp_far_ahead_is_refused_only_while_the_clock_is_right() {
    let mut host = host();
    let ahead = batch(PLAIN, NOON_MS + 7_200_000, &[b"v"]);
    assert_eq!(one(&mut host, "t", Some(ahead.clone())), (32, -1));
    assert_eq!(one(&mut host, "t", Some(batch(PLAIN, -1, &[b"v"]))), (0, 0));
    host.now.wall_ms = 0;
    host.now.wall_synchronised = false;
    assert_eq!(one(&mut host, "t", Some(ahead)), (0, 1));
}

#[test]
fn a_wrong_newest_timestamp_is_corrected_in_what_is_stored() {
    let mut host = host();
    let mut lying = values(1);
    brooklet::codec::batch::set_timestamps(&mut lying, false, NOON_MS + 99);
    assert_eq!(one(&mut host, "t", Some(lying)), (0, 0));
}

#[test]
fn idempotent_batches_are_stored_once_and_in_order() {
    let mut host = host();
    let from = |first| Sequenced { id: 77, epoch: 0, first };
    let mut send = |from: Sequenced, count: usize| {
        one(&mut host, "t", Some(batch(from, NOON_MS, &vec![b"v".as_slice(); count])))
    };
    assert_eq!(send(from(0), 2), (0, 0));
    assert_eq!(send(from(2), 3), (0, 2));
    assert_eq!(send(from(0), 2), (0, 0));
    assert_eq!(send(from(2), 3), (0, 2));
    assert_eq!(send(from(6), 1), (45, -1));
    assert_eq!(send(Sequenced { epoch: 1, ..from(5) }, 1), (45, -1));
    assert_eq!(send(Sequenced { epoch: 1, ..from(0) }, 1), (0, 5));
    assert_eq!(send(from(5), 1), (47, -1));
    assert_eq!(send(Sequenced { id: 78, ..from(1000) }, 1), (0, 6));
    for first in 1..8 {
        assert_eq!(send(Sequenced { epoch: 1, ..from(first) }, 1).0, 0);
    }
    assert_eq!(send(Sequenced { epoch: 1, ..from(1) }, 1), (46, -1));
}

#[test]
fn a_duplicate_waits_for_the_sync_of_the_first() {
    let mut host = host();
    let records = batch(Sequenced { id: 5, epoch: 0, first: 0 }, NOON_MS, &[b"v"]);
    // Twice in one request, too.
    let twice = [(0, Some(records.clone())), (0, Some(records.clone()))];
    let request = frame(ApiKey::Produce, 9, &produce(1, "t", &twice));
    let (first, _) = host.dispatch(&request);
    let (second, answer) = host.dispatch(&request);
    let (Step::ReplyAfter { until, .. }, Step::ReplyAfter { until: same, .. }) = (first, second)
    else {
        panic!("{first:?}, {second:?}");
    };
    assert_eq!(until, same);
    let answer: ProduceResponse = read_answer(ApiKey::Produce, 9, &answer);
    assert!(partitions(&answer).iter().all(|p| (p.error_code, p.base_offset) == (0, 0)));
    host.settle(&until);
    let (third, _) = host.dispatch(&request);
    assert!(
        matches!(third, Step::ReplyAfter { until, .. } if host.broker.log.settled(&until) == Settle::Done)
    );
}

#[test]
fn a_failing_disk_is_a_storage_error_and_no_loss() {
    let mut host = host();
    assert_eq!(one(&mut host, "t", Some(values(1))), (0, 0));
    host.storage.fail(Op::Sync, Failing::From(0));
    let records = batch(Sequenced { id: 5, epoch: 0, first: 0 }, NOON_MS, &[b"v"]);
    assert_eq!(one(&mut host, "t", Some(records.clone())), (56, -1));
    assert_eq!(one(&mut host, "t", Some(records.clone())), (56, -1));
    assert_eq!(one(&mut host, "t", Some(values(1))).0, 56);
    host.storage.fail(Op::Sync, Failing::Never);
    while host.work()
        || host.sleep() && host.broker.log.room(Default::default(), 1, 1, false).is_err()
    {}
    let (code, offset) = one(&mut host, "t", Some(records));
    assert_eq!((code, offset), (0, 1));
}

#[test]
fn a_relaxed_topic_is_acknowledged_when_written_and_visible_when_synced() {
    let mut host = host();
    create_topic(&mut host, "relaxed", 1, &[("flush.ms", "500")]);
    while host.work() {}
    let syncs = host.storage.counts().syncs;
    assert_eq!(one(&mut host, "relaxed", Some(values(1))), (0, 0));
    assert_eq!(host.storage.counts().syncs, syncs);
    let visible = |host: &Host| {
        let state = host.broker.log.state();
        let (slot, _) = state.topic_named("relaxed").unwrap();
        state.partitions_of(slot).next().unwrap().1.high_watermark.0
    };
    assert_eq!(visible(&host), 0);
    host.pass_us(500_000);
    while host.work() {}
    assert_eq!(visible(&host), 1);
    assert!(host.storage.counts().syncs > syncs);
}

#[test]
fn producer_ids_are_new_each_time_and_transactions_are_refused() {
    let mut host = host();
    let mut ids = Vec::new();
    for version in 0..=5 {
        let mut request = InitProducerIdRequest::default();
        request.transaction_timeout_ms = 1000;
        request.transactional_id = None;
        if version >= 3 {
            request.producer_id = 5.into();
            request.producer_epoch = 2;
        }
        let answer: InitProducerIdResponse = host.ask(ApiKey::InitProducerId, version, &request);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(answer.producer_id.0 >= 0 && !ids.contains(&answer.producer_id.0));
        ids.push(answer.producer_id.0);
        request.transactional_id = Some(TransactionalId(StrBytes::from_static_str("tx")));
        let answer: InitProducerIdResponse = host.ask(ApiKey::InitProducerId, version, &request);
        assert_eq!((answer.error_code, answer.producer_id.0), (53, -1));
        request.transactional_id = None;
        if version >= 3 {
            request.producer_epoch = -1;
            let answer: InitProducerIdResponse =
                host.ask(ApiKey::InitProducerId, version, &request);
            assert_eq!(answer.error_code, 42);
        }
    }
}
