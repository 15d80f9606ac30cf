//! What administrators see of groups, and what they delete.

#[cfg(feature = "consumer-protocol")]
use kafka_protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::describe_groups_request::DescribeGroupsRequest;
use kafka_protocol::messages::list_groups_request::ListGroupsRequest;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, TopicName};

use super::*;
use crate::broker::topics::NewTopic;

/// With the topics `t` and `u`, and the group `old`, which has offsets of both.
fn world() -> World {
    let mut world = World::new();
    for name in ["t", "u"] {
        let name = name.try_into().unwrap();
        let new = NewTopic { name, partitions: 2, configs: Default::default() };
        world.bench.broker.topic_create(&new, world.bench.now).unwrap();
    }
    world.bench.drive();
    commit(&mut world, "old");
    world
}

fn commit(world: &mut World, group: &str) {
    let topics = ["t", "u"].map(|name| {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(vec![partition])
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.to_vec());
    let answer = world.bench.ask(7, &request);
    assert_eq!(answer.topics[1].partitions[0].error_code, 0);
}

/// What a consumer says that is subscribed to a topic.
fn subscribed(conn: u16, topic: &str) -> Client {
    let mut metadata = vec![0, 3, 0, 0, 0, 1, 0, topic.len() as u8];
    metadata.extend_from_slice(topic.as_bytes());
    metadata.extend_from_slice(&[0xff; 4]);
    Client { protocols: vec![("range", metadata)], ..client(conn) }
}

fn list(world: &mut World, states: &[&str], types: &[&str]) -> Vec<String> {
    let texts = |list: &[&str]| list.iter().map(|item| text(item)).collect();
    let request = ListGroupsRequest::default()
        .with_states_filter(texts(states))
        .with_types_filter(texts(types));
    let version = if types.is_empty() { 4 } else { 5 };
    let mut groups = world.bench.ask(version, &request).groups;
    groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    let shown = groups.iter().map(|group| {
        let name = group.group_id.as_str();
        format!("{name} {} {} {}", group.protocol_type, group.group_state, group.group_type)
    });
    shown.collect()
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = world();
    world.stable_of(1);
    let both = ["group consumer Stable ", "old  Empty "];
    assert_eq!(list(&mut world, &[], &[]), both);
    assert_eq!(list(&mut world, &["stable", " Dead"], &[]), both[..1]);
    assert_eq!(list(&mut world, &["EMPTY"], &["Classic"]), ["old  Empty classic"]);
    assert!(list(&mut world, &[], &["consumer"]).is_empty());
    let oldest = world.bench.ask(0, &ListGroupsRequest::default());
    assert_eq!(oldest.groups.len(), 2);
}

#[test]
fn groups_are_described_with_their_members() {
    let mut world = world();
    let mut clients = vec![client(0), static_client(1, "s")];
    world.stable(&mut clients);
    let names = ["group", "old", "none"].map(|name| GroupId(text(name)));
    let request = DescribeGroupsRequest::default()
        .with_groups(names.to_vec())
        .with_include_authorized_operations(true);
    let answer = world.bench.ask(6, &request);
    let [group, old, none] = &answer.groups[..] else { panic!("three were asked") };
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!((group.protocol_type.as_str(), group.authorized_operations), ("consumer", 3400));
    let member = &group.members[1];
    assert_eq!(member.member_id.as_str(), clients[1].id);
    assert_eq!(member.group_instance_id.as_deref(), Some("s"));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("test", "/10.0.0.8"));
    assert_eq!((&member.member_metadata[..], &member.member_assignment[..]), (&[1][..], &[1][..]));
    assert_eq!((old.error_code, old.group_state.as_str(), old.members.len()), (0, "Empty", 0));
    assert_eq!((none.error_code, none.group_state.as_str()), (69, "Dead"));
    assert_eq!(none.error_message.as_deref(), Some("Group none not found."));
    // Before version 6 that was no error; and what members say is shown of stable groups only.
    world.join(&mut client(3));
    let answer = world.bench.ask(5, &request);
    assert_eq!((answer.groups[2].error_code, answer.groups[2].group_state.as_str()), (0, "Dead"));
    let group = &answer.groups[0];
    assert_eq!(group.group_state.as_str(), "PreparingRebalance");
    assert!(group.protocol_data.is_empty() && group.members[0].member_metadata.is_empty());
    assert_eq!(group.members[1].member_assignment[..], [1]);
}

#[cfg(feature = "consumer-protocol")]
#[test]
fn a_group_of_offsets_alone_is_there_but_not_for_the_new_protocols_description() {
    let mut world = world();
    let names = vec![GroupId(text("old"))];
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(names);
    let old = &world.bench.ask(1, &request).groups[0];
    assert_eq!(old.error_code, 69);
    assert_eq!(old.error_message.as_deref(), Some("Group old is not a consumer group."));
}

#[test]
fn only_groups_without_members_are_deleted_and_all_of_them_is() {
    let mut world = world();
    let clients = world.stable_of(1);
    let names = ["group", "old", "none", "old"].map(|name| GroupId(text(name)));
    let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
    let codes = |world: &mut World| {
        let results = world.bench.ask(2, &request).results;
        results.iter().map(|r| (r.group_id.to_string(), r.error_code)).collect::<Vec<_>>()
    };
    let named = |name: &str, code: i16| (name.to_string(), code);
    let expected = [named("group", 68), named("old", 0), named("none", 69)];
    assert_eq!(codes(&mut world), expected);
    assert!(world.bench.broker.log.state().group_named("old").is_none());
    assert_eq!(world.bench.broker.log.state().offsets_len(), 0);
    assert_eq!(world.leave(&clients[0]), 0);
    let expected = [named("group", 0), named("old", 69), named("none", 69)];
    assert_eq!(codes(&mut world), expected);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn a_deletion_waits_for_commits_on_their_way_and_what_follows_it_is_kept() {
    use crate::api::Step;
    let mut world = world();
    let names = vec![GroupId(text("new"))];
    let delete = DeleteGroupsRequest::default().with_groups_names(names);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let commit =
        OffsetCommitRequest::default().with_group_id(GroupId(text("new"))).with_topics(vec![topic]);
    assert!(matches!(world.bench.step(7, &commit), Step::ReplyAfter { .. }));
    assert!(matches!(world.bench.step(2, &delete), Step::Again(_)));
    world.bench.drive();
    assert!(matches!(world.bench.step(2, &delete), Step::ReplyAfter { .. }));
    // The same offset as before: it has to be written again.
    assert!(matches!(world.bench.step(7, &commit), Step::ReplyAfter { .. }));
    world.bench.drive();
    let state = world.bench.broker.log.state();
    assert_eq!(state.offsets_of(state.group_named("new").unwrap()).len(), 1);
}

#[test]
fn a_failing_disk_is_an_error_that_is_retried() {
    use std::sync::atomic::Ordering;
    let mut world = world();
    world.bench.disk.fails.store(true, Ordering::Relaxed);
    let names = vec![GroupId(text("old"))];
    let request = DeleteGroupsRequest::default().with_groups_names(names);
    assert_eq!(world.bench.ask(2, &request).results[0].error_code, 16);
}

fn delete_offsets(world: &mut World, group: &str, topics: &[&str]) -> (i16, Vec<i16>) {
    let topics = topics.iter().map(|name| {
        let partitions =
            [0, 1].map(|index| OffsetDeleteRequestPartition::default().with_partition_index(index));
        OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.to_vec())
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.collect());
    let answer = world.bench.ask(0, &request);
    let codes = answer.topics.iter().map(|topic| topic.partitions[0].error_code);
    (answer.error_code, codes.collect())
}

#[test]
fn offsets_are_deleted_unless_their_topic_is_in_use() {
    let mut world = world();
    assert_eq!(delete_offsets(&mut world, "none", &["t"]), (69, vec![]));
    assert_eq!(delete_offsets(&mut world, "old", &["t", "x"]), (0, vec![0, 3]));
    let state = world.bench.broker.log.state();
    assert_eq!(state.offsets_of(state.group_named("old").unwrap()).len(), 1);

    commit(&mut world, GROUP);
    let mut clients = vec![subscribed(0, "t")];
    // Nothing is agreed on yet: it may be subscribed to all.
    world.join(&mut clients[0]);
    assert_eq!(delete_offsets(&mut world, GROUP, &["t", "u"]), (0, vec![86, 86]));
    world.bench.pass_ms(DELAY_MS);
    world.joined(&mut clients);
    world.synced(&clients);
    assert_eq!(delete_offsets(&mut world, GROUP, &["t", "u"]), (0, vec![86, 0]));
    // What cannot be read may mean anything.
    clients[0].protocols[0].1.truncate(5);
    let answer = world.join(&mut clients[0]).unwrap();
    clients[0].joined(&answer);
    assert_eq!(delete_offsets(&mut world, GROUP, &["u"]), (0, vec![86]));
    assert_eq!(world.leave(&clients[0]), 0);
    assert_eq!(delete_offsets(&mut world, GROUP, &["t"]), (0, vec![0]));

    let mut worker = client(3).join_request().with_protocol_type(text("connect"));
    worker.group_id = GroupId(text("old"));
    assert!(world.bench.send(3, 3, &worker).is_none());
    assert_eq!(delete_offsets(&mut world, "old", &["u"]), (68, vec![]));
}
