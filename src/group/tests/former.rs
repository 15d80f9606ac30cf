//! Members of before the start of the broker: what they are answered until their group has a generation.

use kafka_protocol::messages::DeleteGroupsRequest;

use super::commits::{commit, commit_as, world};
use super::*;
use crate::broker::topics::NewTopic;
use crate::limits;

/// Two members of before a restart, the second of them static, in generation 1; they have committed.
fn restarted() -> (World, Vec<Client>) {
    let mut world = world();
    let mut clients = vec![client(0), static_client(1, "b")];
    world.stable(&mut clients);
    assert_eq!(clients[0].generation, 1);
    assert_eq!(commit(&mut world, &clients[0], 5), 0);
    world.bench.restart();
    (world, clients)
}

/// What these are answered to a heartbeat, a request for an assignment, a commit, and to leaving.
fn answers(world: &mut World, client: &Client) -> [i16; 4] {
    let sync = world.sync(client, &[]).expect("it is answered at once").error_code;
    [world.heartbeat(client), sync, commit(world, client, 9), world.leave(client)]
}

#[test]
fn what_former_members_are_answered_before_and_after_the_first_generation_and_too_late() {
    let (mut world, clients) = restarted();
    for client in &clients {
        assert_eq!(answers(&mut world, client), [27, 27, 0, 25]);
    }
    // One joins; the other is called while it is waited for.
    let mut first = clients[0].clone();
    assert!(world.join(&mut first).is_none());
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(answers(&mut world, &clients[1]), [27, 27, 0, 25]);
    while world.state() == "PreparingRebalance" {
        world.bench.pass_ms(DELAY_MS);
    }
    world.joined(std::slice::from_mut(&mut first));
    assert_eq!((first.generation, &first.id), (2, &clients[0].id));
    assert_eq!(answers(&mut world, &clients[1]), [25, 25, 25, 25]);
    assert_eq!(commit(&mut world, &clients[0], 9), 22, "it is of an older generation");
    world.synced(std::slice::from_ref(&first));
    assert_eq!(answers(&mut world, &clients[1]), [25, 25, 25, 25]);
    assert_eq!(world.join(&mut clients[1].clone()).unwrap().error_code, 25);
    // The group is empty again, and had a generation.
    assert_eq!(world.leave(&first), 0);
    assert_eq!(world.state(), "Empty");
    assert_eq!(answers(&mut world, &clients[1]), [25, 25, 25, 25]);
    assert_eq!(world.join(&mut clients[1].clone()).unwrap().error_code, 25);

    let (mut world, clients) = restarted();
    world.bench.pass_ms(limits::GROUP_FORMER_MS);
    for client in &clients {
        assert_eq!(answers(&mut world, client), [25, 25, 25, 25]);
        assert_eq!(world.join(&mut client.clone()).unwrap().error_code, 25);
    }
}

#[test]
fn former_members_keep_their_ids_and_commit_before_they_join() {
    let (mut world, mut clients) = restarted();
    let before = clients.clone();
    for client in &mut clients {
        assert_eq!(world.heartbeat(client), 27);
        assert_eq!(commit(&mut world, client, 7), 0);
        assert!(world.join(client).is_none());
    }
    while world.state() == "PreparingRebalance" {
        world.bench.pass_ms(DELAY_MS);
    }
    world.joined(&mut clients);
    world.synced(&clients);
    for (client, before) in clients.iter().zip(&before) {
        assert_eq!((&client.id, client.generation), (&before.id, 2));
        assert_eq!(world.heartbeat(client), 0);
        assert_eq!(commit(&mut world, client, 8), 0);
    }
    // The static one is fenced as ever by who takes its place.
    let mut again = static_client(2, "b");
    let answer = world.join(&mut again).unwrap();
    again.joined(&answer);
    assert_eq!(commit(&mut world, &clients[1], 9), 82);
}

#[test]
fn a_former_static_member_is_fenced_by_one_that_took_its_place_meanwhile() {
    let (mut world, clients) = restarted();
    assert!(world.join(&mut static_client(2, "b")).is_none());
    assert_eq!(world.heartbeat(&clients[1]), 82);
    assert_eq!(commit(&mut world, &clients[1], 9), 82);
    assert_eq!(world.join(&mut clients[1].clone()).unwrap().error_code, 82);
    assert_eq!(commit(&mut world, &clients[0], 9), 0);
}

#[test]
fn who_was_fenced_before_the_start_is_fenced_once_a_newer_generation_was_heard_of() {
    let (mut world, clients) = restarted();
    let newer = Client { generation: 4, ..clients[0].clone() };
    let older = Client { generation: 3, ..clients[1].clone() };
    assert_eq!(world.heartbeat(&newer), 27);
    assert_eq!(world.heartbeat(&older), 22);
    assert_eq!(commit(&mut world, &older, 9), 22);
    assert_eq!(commit(&mut world, &newer, 9), 0);
}

#[test]
fn a_group_waits_for_former_members_that_are_alive() {
    let (mut world, mut clients) = restarted();
    let (first, second) = clients.split_at_mut(1);
    assert!(world.join(&mut first[0]).is_none());
    assert_eq!(world.heartbeat(&second[0]), 27);
    // It is busy with what it has, and its clock goes a little slower.
    for _ in 0..10 {
        world.bench.pass_ms(DELAY_MS + 40);
        assert_eq!(world.heartbeat(&second[0]), 27);
    }
    assert_eq!(world.state(), "PreparingRebalance");
    assert!(world.join(&mut second[0]).is_none());
    world.bench.pass_ms(DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    world.joined(&mut clients);
    world.synced(&clients);
    // Who is never heard of again is waited for no longer than a rebalance may take.
    world.bench.restart();
    assert!(world.join(&mut clients[0]).is_none());
    for _ in 0..REBALANCE_MS / DELAY_MS {
        assert_eq!(world.heartbeat(&clients[1]), 27);
        world.bench.pass_ms(DELAY_MS);
    }
    world.joined(&mut clients[..1]);
}

#[test]
fn a_group_waits_for_former_members_though_it_does_not_for_new_ones() {
    let mut world = World::with(|config| config.group_initial_rebalance_delay_ms = 0);
    let mut clients: Vec<Client> = (0..2).map(client).collect();
    let told = world.join_as(3, &clients[0]).expect("nobody is waited for");
    clients[0].joined(&told);
    clients[1].id = "other".to_string();
    world.bench.restart();
    assert!(world.join(&mut clients[0]).is_none());
    world.bench.pass_ms(2 * DELAY_MS - 1);
    assert!(world.join_answer(&clients[0]).is_none());
    assert!(world.join(&mut clients[1]).is_none());
    for _ in 0..3 {
        world.bench.pass_ms(DELAY_MS);
    }
    world.joined(&mut clients);
    world.synced(&clients);
}

#[test]
fn a_first_commit_of_a_former_member_is_taken_whether_or_not_it_knows_epochs() {
    for version in [7, 8, 9] {
        let mut world = world();
        let clients = world.stable_of(1);
        world.bench.restart();
        assert_eq!(commit_as(&mut world, version, &clients[0], 3), 0, "{version}");
    }
}

#[test]
fn a_ring_that_was_never_used_has_no_former_members() {
    let mut world = world();
    let stranger = Client { id: "x".to_string(), generation: 1, ..client(0) };
    assert_eq!(answers(&mut world, &stranger), [25, 25, 22, 25]);
    assert_eq!(world.join(&mut stranger.clone()).unwrap().error_code, 25);
}

#[test]
fn a_former_id_that_no_group_gives_is_not_adopted() {
    let (mut world, clients) = restarted();
    let long = Client { id: "x".repeat(limits::GROUP_MEMBER_ID_BYTES_MAX + 1), ..client(3) };
    assert_eq!(world.join(&mut long.clone()).unwrap().error_code, 25);
    assert!(world.join(&mut clients[0].clone()).is_none());
}

#[test]
fn a_group_that_had_a_generation_and_gave_its_place_away_has_no_former_members() {
    let mut world = World::with(|config| config.groups_max = 1);
    world.bench.restart();
    let mut clients = world.stable_of(1);
    assert_eq!(world.leave(&clients[0]), 0);
    let other = client(1).join_request().with_group_id(GroupId(text("other")));
    assert!(world.bench.send(1, 3, &other).is_none());
    assert_eq!(world.heartbeat(&clients[0]), 25);
    assert_ne!(world.join(&mut clients[0]).unwrap().error_code, 0);
}

fn heartbeat_of(world: &mut World, group: &str, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(generation)
        .with_member_id(text("m"));
    world.bench.ask(3, &request).error_code
}

#[test]
fn names_of_groups_that_nobody_joins_take_no_places() {
    let mut world = World::with(|config| config.groups_max = 2);
    world.bench.restart();
    for group in 0..20 {
        assert_eq!(heartbeat_of(&mut world, &format!("g{group}"), 0), 27);
    }
    assert_eq!(world.bench.broker.groups_len(""), 0);
    world.stable_of(2);
}

#[test]
fn who_names_no_member_or_the_last_of_all_generations_is_no_former_member() {
    let (mut world, clients) = restarted();
    let none = Client { id: String::new(), ..clients[0].clone() };
    assert_eq!((world.heartbeat(&none), commit(&mut world, &none, 9)), (25, 25));
    let last = Client { generation: i32::MAX, ..clients[0].clone() };
    assert_eq!((world.heartbeat(&last), commit(&mut world, &last, 9)), (25, 25));
    assert_eq!(commit(&mut world, &clients[0], 9), 0);
}

#[test]
fn who_may_have_been_fenced_does_not_commit_where_that_has_no_place() {
    let small = || {
        let mut world = World::with(|config| config.groups_max = 1);
        let new =
            NewTopic { name: "t".try_into().unwrap(), partitions: 1, configs: Default::default() };
        world.bench.broker.topic_create(&new, world.bench.now).unwrap();
        world.bench.drive();
        world.bench.restart();
        world
    };
    let member = |generation| Client { id: "m".to_string(), generation, ..client(0) };
    // The only place is that of a group with members.
    let mut world = small();
    let other = client(1).join_request().with_group_id(GroupId(text("other")));
    assert!(world.bench.send(1, 3, &other).is_none());
    assert_eq!(world.heartbeat(&member(3)), 27);
    assert_eq!(commit(&mut world, &member(3), 9), 14);
    // It was given away.
    let mut world = small();
    assert_eq!(world.heartbeat(&member(4)), 27);
    assert_eq!(heartbeat_of(&mut world, "other", 1), 27);
    assert_eq!(commit(&mut world, &member(3), 9), 22);
}

#[test]
fn former_members_undo_nothing_that_others_do_to_the_group() {
    let (mut world, clients) = restarted();
    assert_eq!(commit(&mut world, &client(9), 1), 0);
    for client in &clients {
        assert_eq!(answers(&mut world, client), [25, 25, 25, 25]);
    }
    let (mut world, clients) = restarted();
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(world.bench.ask(2, &delete).results[0].error_code, 0);
    assert_eq!(commit(&mut world, &clients[0], 9), 22);
    assert_eq!(world.bench.ask(2, &delete).results[0].error_code, 69);
}

#[test]
fn a_group_that_empties_before_its_first_generation_keeps_that_of_before() {
    let (mut world, clients) = restarted();
    assert!(world.join(&mut clients[0].clone()).is_none());
    assert_eq!(world.leave(&clients[0]), 0);
    for _ in 0..REBALANCE_MS / DELAY_MS {
        world.bench.pass_ms(DELAY_MS);
    }
    assert_eq!(world.state(), "Empty");
    assert_eq!(commit(&mut world, &clients[1], 9), 0);
}
