//! Topics by their ids.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiKey, DeleteTopicsRequest, FetchRequest, FetchResponse, ProduceResponse,
};
use uuid::Uuid;

use crate::host::{Host, PLAIN, batch, config_small, frame, read_answer};
use crate::produce::{create_topic, produce, topic_name};
use brooklet::api::Step;
use brooklet::broker::ConnId;

/// A fetch of partitions of a topic, by its id.
fn fetch_by_id(id: [u8; 16], partitions: &[i32], wait_ms: i32) -> FetchRequest {
    let partitions = partitions.iter().map(|index| {
        FetchPartition::default().with_partition(*index).with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default()
        .with_topic_id(Uuid::from_bytes(id))
        .with_partitions(partitions.collect());
    let request = FetchRequest::default().with_topics(vec![topic]).with_max_wait_ms(wait_ms);
    request.with_max_bytes(1 << 20).with_min_bytes(1)
}

#[test]
fn topics_are_fetched_by_id_in_every_version_that_has_them() {
    let mut host = Host::new(config_small(4, 4 << 20));
    create_topic(&mut host, "t", 2, &[]);
    let id = host.broker.log.state().topic_named("t").unwrap().1.id.0;
    let batch = batch(PLAIN, 0, &[b"value"]);
    let sent: ProduceResponse = host.ask(ApiKey::Produce, 9, &produce(1, "t", &[(0, Some(batch))]));
    assert_eq!(sent.responses[0].partition_responses[0].error_code, 0);
    let records = host.fetch("t", 0, 0);
    for version in 13..=18 {
        let answer: FetchResponse =
            host.ask(ApiKey::Fetch, version, &fetch_by_id(id, &[0, 1, 7], 0));
        let topic = &answer.responses[0];
        assert_eq!((topic.topic_id.as_bytes(), topic.topic.as_str()), (&id, ""));
        let seen = topic.partitions.iter().map(|p| (p.partition_index, p.error_code));
        assert_eq!(seen.collect::<Vec<_>>(), [(0, 0), (1, 0), (7, 3)]);
        assert_eq!(topic.partitions[0].records.as_ref().unwrap(), &records);
        // Nobody has this id.
        let answer: FetchResponse =
            host.ask(ApiKey::Fetch, version, &fetch_by_id([9; 16], &[0, 1], 0));
        let topic = &answer.responses[0];
        assert_eq!(topic.topic_id.as_bytes(), &[9; 16]);
        assert!(topic.partitions.iter().all(|partition| partition.error_code == 100));
    }
}

#[test]
fn a_topic_that_is_deleted_while_it_is_waited_for_by_id_is_an_unknown_id() {
    let mut host = Host::new(config_small(4, 4 << 20));
    create_topic(&mut host, "t", 1, &[]);
    let id = host.broker.log.state().topic_named("t").unwrap().1.id.0;
    let request = frame(ApiKey::Fetch, 17, &fetch_by_id(id, &[0], 60_000));
    assert_eq!(host.dispatch(&request).0, Step::Job);
    assert!(host.read_until_sleep().is_empty());
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    let (step, _) = host.dispatch(&frame(ApiKey::DeleteTopics, 5, &delete));
    let Step::ReplyAfter { until, .. } = step else { panic!("{step:?}") };
    host.settle(&until);
    assert_eq!(host.broker.woken(), Some(ConnId(0)));
    let answer: FetchResponse = read_answer(ApiKey::Fetch, 17, &host.read_until_sleep());
    let topic = &answer.responses[0];
    assert_eq!((topic.topic_id.as_bytes(), topic.partitions[0].error_code), (&id, 100));
}
