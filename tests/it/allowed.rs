//! What the configuration keeps clients from: changes from addresses that may make none, topics by
//! mistake, and the last places in the tables.

use brooklet::broker::Peer;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiKey, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, GroupId, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    MetadataRequest, MetadataResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    alter_configs_request as alter,
};
use kafka_protocol::protocol::StrBytes;

use crate::host::{Host, PLAIN, batch, config_small, frame, read_answer};
use crate::offsets::{codes, commit, committed};
use crate::produce::{create_topic, produce, topic_name};
use brooklet::api::Step;
use brooklet::config::Config;

pub fn config(admin_from: &str) -> Config {
    let mut config = config_small(3, 1 << 20);
    config.admin_from = vec![admin_from.parse().unwrap()];
    config
}

/// A topic `t` with a record, and what the group `g` committed of it.
pub fn stored(mut host: Host) -> Host {
    let admin_from = std::mem::take(&mut host.broker.config.admin_from);
    host.broker.config.admin_from = vec!["any".parse().unwrap()];
    create_topic(&mut host, "t", 1, &[]);
    let values = batch(PLAIN, 0, &[b"x"]);
    let answer: kafka_protocol::messages::ProduceResponse =
        host.ask(ApiKey::Produce, 9, &produce(-1, "t", &[(0, Some(values))]));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(codes(&mut host, 7, &commit("g", &[(0, 1, "")])), [0]);
    host.broker.config.admin_from = admin_from;
    host
}

/// The codes that each kind of change is answered with, those that delete last.
pub fn change_all(host: &mut Host) -> Vec<(ApiKey, i16)> {
    let name = || StrBytes::from_static_str("t");
    let new = CreatableTopic::default().with_name(topic_name("new"));
    let new = new.with_num_partitions(1).with_replication_factor(1);
    let create = CreateTopicsRequest::default().with_topics(vec![new]);
    let create: CreateTopicsResponse = host.ask(ApiKey::CreateTopics, 7, &create);
    let more = CreatePartitionsTopic::default().with_name(topic_name("t")).with_count(2);
    let more = more.with_assignments(None);
    let more = CreatePartitionsRequest::default().with_topics(vec![more]);
    let more: CreatePartitionsResponse = host.ask(ApiKey::CreatePartitions, 3, &more);
    let resource = alter::AlterConfigsResource::default().with_resource_type(2);
    let resource = resource.with_resource_name(name());
    let set = AlterConfigsRequest::default().with_resources(vec![resource]);
    let set: AlterConfigsResponse = host.ask(ApiKey::AlterConfigs, 2, &set);
    let resource = incremental::AlterConfigsResource::default().with_resource_type(2);
    let resource = resource.with_resource_name(name());
    let step = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let step: IncrementalAlterConfigsResponse = host.ask(ApiKey::IncrementalAlterConfigs, 1, &step);
    let partition = DeleteRecordsPartition::default().with_offset(1);
    let topic = DeleteRecordsTopic::default().with_name(topic_name("t"));
    let topic = topic.with_partitions(vec![partition]);
    let records = DeleteRecordsRequest::default().with_topics(vec![topic]);
    let records: DeleteRecordsResponse = host.ask(ApiKey::DeleteRecords, 2, &records);
    let topic = OffsetDeleteRequestTopic::default().with_name(topic_name("t"));
    let topic = topic.with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    let group = GroupId(StrBytes::from_static_str("g"));
    let offsets = OffsetDeleteRequest::default().with_group_id(group.clone());
    let offsets = offsets.with_topics(vec![topic]);
    let offsets: OffsetDeleteResponse = host.ask(ApiKey::OffsetDelete, 0, &offsets);
    let groups = DeleteGroupsRequest::default().with_groups_names(vec![group]);
    let groups: DeleteGroupsResponse = host.ask(ApiKey::DeleteGroups, 2, &groups);
    let delete: DeleteTopicsResponse = host.ask(ApiKey::DeleteTopics, 6, &delete_t());
    vec![
        (ApiKey::CreateTopics, create.topics[0].error_code),
        (ApiKey::CreatePartitions, more.results[0].error_code),
        (ApiKey::AlterConfigs, set.responses[0].error_code),
        (ApiKey::IncrementalAlterConfigs, step.responses[0].error_code),
        (ApiKey::DeleteRecords, records.topics[0].partitions[0].error_code),
        (ApiKey::OffsetDelete, offsets.error_code),
        (ApiKey::DeleteGroups, groups.results[0].error_code),
        (ApiKey::DeleteTopics, delete.responses[0].error_code),
    ]
}

fn delete_t() -> DeleteTopicsRequest {
    let topic = DeleteTopicState::default().with_name(Some(topic_name("t")));
    DeleteTopicsRequest::default().with_topics(vec![topic])
}

#[test]
fn nothing_is_changed_from_addresses_that_admin_from_does_not_have() {
    let mut host = stored(Host::new(config("10.0.0.0/8")));
    let writes = host.storage.counts().writes;
    for (key, code) in change_all(&mut host) {
        let of_groups = [ApiKey::OffsetDelete, ApiKey::DeleteGroups].contains(&key);
        assert_eq!(code, if of_groups { 30 } else { 29 }, "{key:?}");
    }
    assert_eq!(host.storage.counts().writes, writes);
    assert!(!host.fetch("t", 0, 0).is_empty());
    // What is used all day goes on.
    assert_eq!(unknown(&mut host, &["used"]), [0]);
    host.fetch("used", 0, 0);
    assert_eq!(codes(&mut host, 7, &commit("g", &[(0, 0, "")])), [0]);
    assert_eq!(committed(&mut host, "g").len(), 1);
}

#[test]
fn all_is_changed_from_an_address_that_admin_from_has() {
    let mut host = stored(Host::new(config("127.0.0.0/8")));
    let answers = change_all(&mut host);
    assert!(answers.iter().all(|(_, code)| *code == 0), "{answers:?}");
}

#[test]
fn no_topic_is_deleted_where_that_is_switched_off() {
    let mut off = config("any");
    off.delete_topic_enable = false;
    let mut host = stored(Host::new(off));
    for version in 1..=6 {
        let mut request = delete_t();
        if version < 6 {
            request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
        }
        let answer: DeleteTopicsResponse = host.ask(ApiKey::DeleteTopics, version, &request);
        let code = answer.responses[0].error_code;
        assert_eq!(code, if version < 3 { 42 } else { 73 }, "version {version}");
    }
    assert!(!host.fetch("t", 0, 0).is_empty());
}

/// What a client at this address is told of topics that it wants to use.
fn wanted(host: &mut Host, peer: &Peer, names: &[&str]) -> Vec<i16> {
    let topics = names.iter();
    let topics =
        topics.map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    let request = MetadataRequest::default().with_topics(Some(topics.collect()));
    let frame = frame(ApiKey::Metadata, 9, &request.with_allow_auto_topic_creation(true));
    for _ in 0..100 {
        match host.dispatch_as(peer, &frame) {
            (Step::Reply { .. }, answer) => {
                let answer: MetadataResponse = read_answer(ApiKey::Metadata, 9, &answer);
                return answer.topics.iter().map(|topic| topic.error_code).collect();
            }
            (Step::Again(until), _) => host.settle(&until),
            (step, _) => panic!("{step:?}"),
        };
    }
    panic!("it is tried for ever");
}

pub fn unknown(host: &mut Host, names: &[&str]) -> Vec<i16> {
    let peer = host.peer();
    wanted(host, &peer, names)
}

#[test]
fn only_topics_that_auto_create_topics_has_are_created_by_being_used() {
    let mut some = config("any");
    some.auto_create_topics = vec!["temp*".to_string(), "alarm?".to_string()];
    let mut host = Host::new(some);
    assert_eq!(unknown(&mut host, &["temp1", "tmep1", "alarm7", "alarm"]), [0, 3, 0, 3]);
    assert_eq!(host.broker.log.state().topics_len(), 2);
    create_topic(&mut host, "tmep1", 1, &[]);
    host.broker.config.auto_create_topics_enable = false;
    assert_eq!(unknown(&mut host, &["temp1", "temp2"]), [0, 3]);
}

#[test]
fn the_last_places_are_for_addresses_that_have_not_taken_so_many() {
    let mut small = config("any");
    (small.topics_max, small.partitions_max) = (16, 16);
    let mut host = Host::new(small);
    let [one, other] = ["10.0.0.1:5000", "10.0.0.2:5000"].map(|remote| {
        let mut peer = host.peer();
        peer.remote = remote.parse().unwrap();
        peer
    });
    for at in 0..14 {
        assert_eq!(wanted(&mut host, &one, &[&format!("one-{at}")]), [0], "{at}");
    }
    assert_eq!(wanted(&mut host, &one, &["one-14"]), [17]);
    assert_eq!(wanted(&mut host, &other, &["other-0", "other-1"]), [0, 0]);
    assert_eq!(wanted(&mut host, &other, &["other-2"]), [17], "there is no room at all");
    assert_eq!(wanted(&mut host, &one, &["one-3", "other-0"]), [0, 0], "what is there is shown");
}
