//! The two protocols do not mix while a group has members.

use kafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_protocol::messages::{HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest};

use super::*;

fn join_classic(world: &mut World, member: &str) -> Option<(i16, String)> {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let answer = world.bench.send(5, 7, &request)?;
    Some((answer.error_code, answer.member_id.to_string()))
}

#[test]
fn a_classic_member_is_refused_by_a_group_of_consumers() {
    let mut world = World::new(2);
    let mut clients = world.joined(&["a"]);
    assert_eq!(join_classic(&mut world, "").unwrap().0, 23);
    assert_eq!(join_classic(&mut world, "a").unwrap().0, 23);
    let sync = SyncGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text("a"))
        .with_generation_id(clients[0].epoch);
    assert_eq!(world.bench.send(5, 3, &sync).unwrap().error_code, 25);
    let beat = HeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text("a"))
        .with_generation_id(clients[0].epoch);
    assert_eq!(world.bench.ask(3, &beat).error_code, 25);
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(text("a"));
    assert_eq!(world.bench.ask(2, &leave).error_code, 25);
    world.settle(&mut clients);
}

#[test]
fn a_consumer_is_refused_by_a_group_with_classic_members() {
    let mut world = World::with(2, |config| config.group_initial_rebalance_delay_ms = 0);
    let (code, id) = join_classic(&mut world, "").unwrap();
    assert_eq!(code, 79);
    assert_eq!(join_classic(&mut world, &id).unwrap().0, 0);
    assert_eq!(world.join(&mut client("a")), 69);
    assert_eq!(world.beat_brief(&mut Client { epoch: 1, ..client("a") }), 69);
    assert_eq!(world.leave(&client("a"), -1), 69);
}

#[test]
fn an_empty_group_is_of_whichever_protocol_comes_next() {
    let mut world = World::with(2, |config| config.group_initial_rebalance_delay_ms = 0);
    // Someone was given an id, and is not expected any more.
    let (_, pending) = join_classic(&mut world, "").unwrap();
    let mut a = client("a");
    assert_eq!(world.join(&mut a), 0);
    assert_eq!(join_classic(&mut world, &pending).unwrap().0, 23);
    assert_eq!(world.leave(&a, -1), 0);

    let (_, id) = join_classic(&mut world, "").unwrap();
    assert_eq!(join_classic(&mut world, &id).unwrap().0, 0);
    assert!(!world.bench.broker.groups.show(GROUP).unwrap().is_consumer());
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(text(&id));
    assert_eq!(world.bench.ask(2, &leave).error_code, 0);
    assert_eq!(world.join(&mut a), 0);
    assert_eq!(a.told, of_t(0..2));
}
