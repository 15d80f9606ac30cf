//! Who may commit offsets, and what keeps a session alive.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, TopicName};

use super::*;
use crate::broker::topics::NewTopic;

pub(super) fn world() -> World {
    let mut world = World::new();
    let new =
        NewTopic { name: "t".try_into().unwrap(), partitions: 3, configs: Default::default() };
    world.bench.broker.topic_create(&new, world.bench.now).unwrap();
    world.bench.drive();
    world
}

pub(super) fn commit_as(world: &mut World, version: i16, client: &Client, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(client.generation)
        .with_member_id(text(&client.id))
        .with_group_instance_id(client.instance.map(text))
        .with_topics(vec![topic]);
    let answer = world.bench.ask(version, &request);
    answer.topics[0].partitions[0].error_code
}

pub(super) fn commit(world: &mut World, client: &Client, offset: i64) -> i16 {
    commit_as(world, 7, client, offset)
}

#[test]
fn members_commit_in_their_generation_and_nobody_else_does() {
    let mut world = world();
    let mut clients = vec![client(0), static_client(1, "b")];
    world.stable(&mut clients);
    assert_eq!(commit(&mut world, &clients[0], 5), 0);
    assert_eq!(commit(&mut world, &clients[1], 6), 0);
    let old = Client { generation: 0, ..clients[0].clone() };
    assert_eq!(commit(&mut world, &old, 7), 22);
    let none = Client { generation: -1, ..clients[0].clone() };
    assert_eq!(commit(&mut world, &none, 7), 22);
    let stranger = Client { id: "x".to_string(), ..clients[0].clone() };
    assert_eq!(commit(&mut world, &stranger, 7), 25);
    assert_eq!(commit(&mut world, &client(9), 7), 25, "a group with members is theirs");
    let fenced = Client { id: clients[0].id.clone(), ..clients[1].clone() };
    assert_eq!(commit(&mut world, &fenced, 7), 82);
    // While all join, what they did may still be committed; then their partitions may change.
    assert!(world.join(&mut client(2)).is_none());
    assert_eq!(commit(&mut world, &clients[0], 8), 0);
    assert!(world.join(&mut clients[0]).is_none());
    let answer = world.join(&mut clients[1]).unwrap();
    clients[1].joined(&answer);
    assert_eq!(world.state(), "CompletingRebalance");
    assert_eq!(commit(&mut world, &clients[1], 9), 27);
}

#[test]
fn a_group_without_members_takes_commits_of_those_who_are_in_none() {
    let mut world = world();
    let member = Client { id: "m".to_string(), generation: 3, ..client(0) };
    assert_eq!(commit_as(&mut world, 8, &member, 1), 22, "there is no such group");
    assert_eq!(commit_as(&mut world, 9, &member, 1), 25, "it may be one of before a restart");
    assert_eq!(commit_as(&mut world, 9, &Client { id: String::new(), ..member.clone() }, 1), 69);
    assert_eq!(commit(&mut world, &client(0), 1), 0);
    assert_eq!(world.state(), "Empty");
    // It is there now, and has no members.
    assert_eq!(commit_as(&mut world, 9, &member, 2), 25);
    let mut clients = world.stable_of(1);
    assert_eq!(world.leave(&clients.remove(0)), 0);
    assert_eq!(commit(&mut world, &client(0), 3), 0);
    assert_eq!(commit(&mut world, &member, 4), 25);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut world = world();
    let clients = world.stable_of(1);
    for offset in 0..4 {
        world.bench.pass_ms(SESSION_MS - 1000);
        assert_eq!(commit(&mut world, &clients[0], offset), 0);
    }
    world.bench.pass_ms(SESSION_MS);
    assert_eq!(commit(&mut world, &clients[0], 9), 25);
}

#[test]
fn a_group_keeps_its_place_for_its_commits() {
    let mut world = World::with(|config| config.groups_max = 1);
    let new =
        NewTopic { name: "t".try_into().unwrap(), partitions: 1, configs: Default::default() };
    world.bench.broker.topic_create(&new, world.bench.now).unwrap();
    world.bench.drive();
    let clients = world.stable_of(1);
    let other = OffsetCommitRequest::default().with_group_id(GroupId(text("other")));
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let answer = world.bench.ask(7, &other.with_topics(vec![topic]));
    assert_eq!(answer.topics[0].partitions[0].error_code, 15);
    assert_eq!(commit(&mut world, &clients[0], 1), 0);
}

#[test]
fn a_commit_that_takes_back_one_in_the_disks_hands_is_written() {
    let mut world = world();
    assert_eq!(commit(&mut world, &client(0), 1), 0);
    let partition = |offset| OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let request = |offset| {
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition(offset)]);
        OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic])
    };
    use crate::api::Step;
    let ring = world.bench.broker.log.shared();
    assert!(matches!(world.bench.step(7, &request(2)), Step::ReplyAfter { .. }));
    world.bench.now.mono = world.bench.now.mono.plus_ms(100);
    let mut job = world.bench.broker.log.next_io(ring, world.bench.now).unwrap();
    // What is stored says 1, and what is on its way cannot be seen.
    assert!(matches!(world.bench.step(7, &request(1)), Step::Again(_)));
    let done = job.run(&**world.bench.broker.log.storage());
    world.bench.broker.log.io_done(ring, job, done, world.bench.now);
    assert!(matches!(world.bench.step(7, &request(1)), Step::ReplyAfter { .. }));
    world.bench.drive();
    assert!(matches!(world.bench.step(7, &request(1)), Step::Reply { .. }));
}
