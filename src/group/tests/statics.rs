//! Static members: those with an instance id.

use super::*;

/// Joins in this version, and is answered at once.
fn back(world: &mut World, version: i16, client: &mut Client) -> JoinGroupResponse {
    let answer = world.join_as(version, client).expect("it disturbs nobody");
    client.joined(&answer);
    answer
}

#[test]
fn a_static_member_that_comes_back_keeps_its_assignment_and_fences_who_it_was() {
    let mut world = World::new();
    let mut clients = vec![static_client(0, "a"), static_client(1, "b")];
    world.stable(&mut clients);
    let old = clients[1].clone();
    let mut new = static_client(7, "b");
    let answer = back(&mut world, 5, &mut new);
    assert_eq!((answer.generation_id, answer.members.len()), (1, 0));
    assert_eq!(answer.leader.as_str(), clients[0].id);
    assert_ne!(new.id, old.id);
    assert_eq!(world.sync(&new, &[]).unwrap().assignment[..], [1]);
    assert_eq!((world.heartbeat(&new), world.heartbeat(&clients[0])), (0, 0));
    assert_eq!(world.heartbeat(&old), 82);
    assert_eq!(world.sync(&old, &[]).unwrap().error_code, 82);
    assert_eq!(world.join_as(7, &old).unwrap().error_code, 82);
    // Without its instance id it is nobody.
    assert_eq!(world.heartbeat(&Client { instance: None, ..old }), 25);
    let unknown = Client { id: new.id.clone(), generation: 1, ..static_client(8, "c") };
    assert_eq!(world.heartbeat(&unknown), 25);
}

#[test]
fn a_static_leader_that_comes_back_skips_the_assignment_or_follows() {
    for version in [8, 9] {
        let mut world = World::new();
        let mut clients = vec![static_client(0, "a"), static_client(1, "b")];
        world.stable(&mut clients);
        let mut new = static_client(7, "a");
        let answer = back(&mut world, version, &mut new);
        let skips = version == 9;
        assert_eq!(answer.skip_assignment, skips);
        assert_eq!(answer.members.len(), if skips { 2 } else { 0 });
        assert_eq!(answer.leader == answer.member_id, skips);
        assert_eq!(world.state(), "Stable");
        assert_eq!(world.sync(&new, &[]).unwrap().assignment[..], [0]);
        // It leads all the same: what it joins again for is a rebalance.
        assert!(world.join(&mut new).is_none());
        assert_eq!(world.heartbeat(&clients[1]), 27);
    }
}

#[test]
fn a_static_member_may_be_away_for_a_session_without_being_missed() {
    let mut world = World::new();
    let mut clients = vec![client(0), static_client(1, "b")];
    world.stable(&mut clients);
    // A rebalance goes on without it, and it stays a member.
    assert!(world.join(&mut clients[0]).is_none());
    let away = clients[1].clone();
    world.pass_alive_ms(REBALANCE_MS, &[&away]);
    let answer = world.join_answer(&clients[0]).unwrap();
    assert_eq!((answer.generation_id, answer.members.len()), (2, 2));
    clients[0].joined(&answer);
    assert_eq!(world.heartbeat(&away), 22);
    // Its session ends like any other's.
    for _ in 0..3 {
        world.bench.pass_ms(SESSION_MS / 2);
        world.heartbeat(&clients[0]);
    }
    assert_eq!(world.heartbeat(&away), 25);
}

#[test]
fn a_static_member_that_changes_the_vote_calls_for_a_rebalance() {
    let mut world = World::new();
    let both = |client: Client| Client {
        protocols: vec![("range", vec![1]), ("sticky", vec![2])],
        ..client
    };
    let mut clients = vec![both(static_client(0, "a")), both(static_client(1, "b"))];
    world.stable(&mut clients);
    let mut new = both(static_client(7, "b"));
    new.protocols.remove(0);
    assert!(world.join_as(7, &new).is_none());
    assert_eq!(world.heartbeat(&clients[0]), 27);
    let answer = world.join(&mut clients[0]).unwrap();
    assert_eq!(answer.protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn whoever_waits_for_a_replaced_member_is_fenced() {
    let mut world = World::new();
    let mut clients = vec![static_client(0, "a"), static_client(1, "b")];
    for client in &mut clients {
        world.join(client);
    }
    // While all join: the new one takes the place of the old.
    let mut new = static_client(7, "b");
    assert!(world.join_as(7, &new).is_none());
    assert_eq!(world.join_answer(&clients[1]).unwrap().error_code, 82);
    world.bench.pass_ms(2 * DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    let leader = world.join_answer(&clients[0]).unwrap();
    assert_eq!(leader.members.len(), 2);
    clients[0].joined(&leader);
    let answer = world.join_answer(&new).unwrap();
    new.joined(&answer);
    // While the leader is waited for: it may be assigning to the old one, so all join again.
    assert!(world.sync(&new, &[]).is_none());
    assert!(world.join_as(7, &static_client(8, "b")).is_none());
    assert_eq!(world.sync_answer(&new).unwrap().error_code, 82);
    assert_eq!(world.heartbeat(&clients[0]), 27);
}

#[test]
fn a_group_of_static_members_that_are_all_away_waits_for_them() {
    let mut world = World::new();
    let mut clients = vec![static_client(0, "a"), static_client(1, "b")];
    world.stable(&mut clients);
    assert_eq!(world.leave(&Client { instance: None, ..clients[0].clone() }), 0);
    let away = clients.pop().unwrap();
    world.pass_alive_ms(REBALANCE_MS, &[&away]);
    assert_eq!(world.state(), "PreparingRebalance");
    let answer = world.join(&mut away.clone()).unwrap();
    assert_eq!(answer.generation_id, 2);
}

#[test]
fn static_members_that_are_away_and_want_no_time_do_not_keep_the_broker_busy() {
    let mut world = World::new();
    let mut clients = vec![static_client(0, "a"), static_client(1, "b")];
    world.stable(&mut clients);
    for (client, conn) in clients.iter_mut().zip(7..) {
        *client = Client { conn, id: String::new(), rebalance_ms: 0, ..client.clone() };
        back(&mut world, 5, client);
    }
    // The leader goes, and the other one is not there. `pass_ms` sees that nothing stays due.
    assert_eq!(world.leave(&Client { instance: None, ..clients[0].clone() }), 0);
    world.bench.pass_ms(1);
    assert_eq!(world.state(), "PreparingRebalance");
    let answer = world.join(&mut clients[1]).unwrap();
    assert_eq!(answer.generation_id, 2);
}
