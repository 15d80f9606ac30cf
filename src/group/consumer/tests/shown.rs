//! What tools see of a group of consumers.

use kafka_protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::consumer_group_describe_response::Assignment;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::describe_groups_request::DescribeGroupsRequest;
use kafka_protocol::messages::list_groups_request::ListGroupsRequest;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};

use super::*;

fn numbers(assignment: &Assignment) -> Vec<i32> {
    assignment.topic_partitions.iter().flat_map(|t| t.partitions.clone()).collect()
}

#[test]
fn describe_shows_members_with_what_they_have_and_shall_have() {
    let mut world = World::new(4);
    let mut a = world.joined(&["a"]).remove(0);
    let mut b = static_client("b", "one");
    world.join(&mut b);
    world.beat_brief(&mut a);
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![group(), GroupId(text("none"))])
        .with_include_authorized_operations(true);
    let answer = world.bench.ask(1, &request);
    let (one, none) = (&answer.groups[0], &answer.groups[1]);
    assert_eq!((none.error_code, none.group_id.as_str()), (69, "none"));
    assert_eq!(none.error_message.as_deref(), Some("Group none not found."));
    assert_eq!((one.error_code, one.group_state.as_str()), (0, "Reconciling"));
    assert_eq!((one.group_epoch, one.assignment_epoch), (b.epoch, b.epoch));
    assert_eq!((one.assignor_name.as_str(), one.authorized_operations), ("uniform", 3400));
    let [first, second] = &one.members[..] else { panic!("two members") };
    assert_eq!((first.member_id.as_str(), first.member_epoch), ("a", a.epoch));
    assert_eq!((numbers(&first.assignment).len(), numbers(&first.target_assignment).len()), (2, 2));
    assert_eq!((second.instance_id.clone(), second.member_type), (Some(text("one")), 1));
    assert_eq!(
        (numbers(&second.assignment).len(), numbers(&second.target_assignment).len()),
        (0, 2)
    );
    assert_eq!(second.subscribed_topic_names, [topic("t")]);
    assert_eq!((second.client_id.as_str(), second.client_host.as_str()), ("test", "/10.0.0.8"));
    let topic = &first.assignment.topic_partitions[0];
    assert_eq!(topic.topic_name.as_str(), "t");
    assert_eq!(topic.topic_id.into_bytes(), world.id_of("t").unwrap().0);
}

#[test]
fn the_classic_description_does_not_know_it() {
    let mut world = World::new(1);
    let a = world.joined(&["a"]).remove(0);
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    for _ in 0..2 {
        let shown = &world.bench.ask(6, &request).groups[0];
        assert_eq!((shown.error_code, shown.members.len()), (69, 0));
        assert_eq!(world.bench.ask(5, &request).groups[0].group_state.as_str(), "Dead");
        world.leave(&a, -1);
    }
}

#[test]
fn lists_show_its_type_and_filter_by_it() {
    let mut world = World::new(1);
    let a = world.joined(&["a"]).remove(0);
    let mut list = |types: &[&str], states: &[&str]| {
        let request = ListGroupsRequest::default()
            .with_types_filter(types.iter().map(|t| text(t)).collect())
            .with_states_filter(states.iter().map(|t| text(t)).collect());
        let groups = world.bench.ask(5, &request).groups;
        let shown = groups.iter().map(|group| {
            let texts = [&group.protocol_type, &group.group_state, &group.group_type];
            texts.map(|text| text.to_string()).join(" ")
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["consumer Stable consumer"]);
    assert_eq!(list(&["Consumer"], &["stable"]), ["consumer Stable consumer"]);
    assert_eq!(list(&["classic"], &[]).len(), 0);
    assert_eq!(list(&[], &["empty"]).len(), 0);
    world.leave(&a, -1);
    let request = ListGroupsRequest::default();
    assert_eq!(world.bench.ask(5, &request).groups[0].group_type.as_str(), "consumer");
}

#[test]
fn it_is_deleted_when_it_is_empty_and_its_offsets_when_nobody_uses_them() {
    let mut world = World::new(1);
    world.create("u", 1);
    let a = world.joined(&["a"]).remove(0);
    assert_eq!(world.commit(9, &a, a.epoch), 0);
    let mut offsets = |name: &str| {
        let of_topic = OffsetDeleteRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
        let request =
            OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![of_topic]);
        world.bench.ask(0, &request).topics[0].partitions[0].error_code
    };
    assert_eq!((offsets("t"), offsets("u")), (86, 0));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(world.bench.ask(2, &delete).results[0].error_code, 68);
    world.leave(&a, -1);
    assert_eq!(world.bench.ask(2, &delete).results[0].error_code, 0);
    assert_eq!(world.state(), "Dead");
}

#[test]
fn offsets_are_shown_to_members_of_the_present_epoch_and_to_tools() {
    let mut world = World::new(1);
    let a = world.joined(&["a"]).remove(0);
    assert_eq!(world.commit(9, &a, a.epoch), 0);
    let mut fetch = |member: Option<&str>, epoch| {
        let of_topic = OffsetFetchRequestTopics::default()
            .with_name(topic("t"))
            .with_partition_indexes(vec![0]);
        let of_group = OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(vec![of_topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![of_group]);
        let answer = world.bench.ask(9, &request).groups.remove(0);
        (answer.error_code, answer.topics.first().map(|t| t.partitions[0].committed_offset))
    };
    assert_eq!(fetch(Some("a"), a.epoch), (0, Some(7)));
    assert_eq!(fetch(None, -1), (0, Some(7)));
    assert_eq!(fetch(Some("a"), a.epoch - 1), (113, None));
    assert_eq!(fetch(Some("b"), a.epoch), (25, None));
    assert_eq!(fetch(None, a.epoch), (25, None));
}
