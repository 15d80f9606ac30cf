//! What happens when a bound is reached.

use super::*;

#[test]
fn a_group_takes_no_more_members_than_it_may() {
    let mut world = World::with(|config| config.group_max_size = 2);
    let mut clients = world.stable_of(2);
    assert_eq!(world.join_as(3, &client(5)).unwrap().error_code, 81);
    assert_eq!(world.join_as(7, &client(5)).unwrap().error_code, 81);
    assert_eq!(world.heartbeat(&clients[0]), 0, "nobody is disturbed");
    // In a rebalance, those who join first are in.
    assert!(world.join(&mut clients[0]).is_none());
    let mut new = client(5);
    assert!(world.join_as(3, &new).is_none());
    assert_eq!(world.join_as(7, &clients[1].clone()).unwrap().error_code, 81);
    let answer = world.bench.receive::<JoinGroupRequest>(5, 3).expect("all who are left joined");
    new.joined(&answer);
    assert_eq!(world.join_answer(&clients[0]).unwrap().members.len(), 2);
}

#[test]
fn the_table_of_members_is_for_those_who_join_not_for_ids_that_are_not_used() {
    let mut world = World::with(|config| config.group_members_max = 3);
    let first = world.join_as(4, &client(1)).unwrap();
    for conn in 2..9 {
        assert_eq!(world.join_as(4, &client(conn)).unwrap().error_code, 79, "{conn}");
    }
    assert_eq!(world.bench.broker.groups.members_len(), 3);
    let evicted = Client { id: first.member_id.to_string(), ..client(1) };
    assert_eq!(world.join_as(4, &evicted).unwrap().error_code, 25);
    for conn in 1..4 {
        assert!(world.join_as(3, &client(conn)).is_none());
    }
    // Real members make no room: who comes has to try again.
    assert_eq!(world.join_as(3, &client(4)).unwrap().error_code, 15);
    assert_eq!(world.join_as(4, &client(4)).unwrap().error_code, 15);
}

#[test]
fn what_members_say_has_a_bound() {
    let mut world = World::with(|config| config.group_members_bytes = 8192);
    let says = |conn: u16, bytes: usize| Client {
        protocols: vec![("range", vec![7; bytes])],
        ..client(conn)
    };
    // One that could never fit is told for good.
    assert_eq!(world.join_as(3, &says(1, 8200)).unwrap().error_code, 81);
    assert!(world.join_as(3, &says(1, 3900)).is_none());
    assert!(world.join_as(3, &says(2, 3900)).is_none());
    assert_eq!(world.join_as(3, &says(3, 3900)).unwrap().error_code, 81);
    assert_eq!(world.bench.broker.groups.members_len(), 2);
}

#[test]
fn assignments_that_do_not_fit_are_an_error_for_all_and_they_join_again() {
    let mut world = World::with(|config| config.group_members_bytes = 4096);
    let mut clients: Vec<Client> = (0..2).map(client).collect();
    for client in &mut clients {
        world.join(client);
    }
    world.bench.pass_ms(2 * DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    world.joined(&mut clients);
    assert!(world.sync(&clients[1], &[]).is_none());
    let id = clients[1].id.clone();
    let answer = world.sync(&clients[0], &[(&id, &[1; 5000])]).unwrap();
    assert_eq!(answer.error_code, 81, "there is never room for that");
    assert_eq!(world.sync_answer(&clients[1]).unwrap().error_code, 81);
    assert_eq!(world.heartbeat(&clients[1]), 27);
    let mut again = clients;
    world.again(&mut again);
    // With another group's members there is no room for what there was room for.
    let other = Client { protocols: vec![("range", vec![7; 2000])], ..client(7) };
    let other = other.join_request().with_group_id(GroupId(text("other")));
    assert!(world.bench.send(7, 3, &other).is_none());
    assert!(world.sync(&again[1], &[]).is_none());
    let answer = world.sync(&again[0], &[(&id, &[1; 2000])]).unwrap();
    assert_eq!(answer.error_code, 15, "others may make room");
    assert_eq!(world.sync_answer(&again[1]).unwrap().error_code, 15);
    world.again(&mut again);
    world.synced(&again);
}

#[test]
fn members_that_say_too_much_together_are_told_for_good() {
    let mut world = World::with(|config| config.group_members_bytes = 4096);
    let says = |conn: u16, bytes: usize| Client {
        protocols: vec![("range", vec![7; bytes])],
        ..client(conn)
    };
    assert!(world.join_as(3, &says(1, 2500)).is_none());
    assert_eq!(world.join_as(3, &says(2, 2500)).unwrap().error_code, 81);
    let other = says(3, 2500).join_request().with_group_id(GroupId(text("other")));
    assert_eq!(world.bench.send(3, 3, &other).unwrap().error_code, 15);
}

impl World {
    /// All join once more, the leader first.
    fn again(&mut self, clients: &mut [Client]) {
        for client in &mut *clients {
            if let Some(answer) = self.join(client) {
                client.joined(&answer);
            }
        }
        let told = self.join_answer(&clients[0]).unwrap();
        clients[0].joined(&told);
    }
}

#[test]
fn the_table_of_groups_is_for_those_with_members_or_offsets() {
    let mut world = World::with(|config| config.groups_max = 2);
    let named =
        |name: &str, conn: u16| client(conn).join_request().with_group_id(GroupId(text(name)));
    assert!(world.bench.send(1, 3, &named("a", 1)).is_none());
    // One that never got a member makes room.
    let refused = named("b", 2).with_protocols(vec![]);
    assert_eq!(world.bench.send(2, 3, &refused).unwrap().error_code, 23);
    assert!(world.bench.send(2, 3, &named("c", 2)).is_none());
    assert_eq!(world.bench.send(3, 3, &named("d", 3)).unwrap().error_code, 15);
    assert!(world.bench.send(3, 3, &named("c", 3)).is_none());
    assert_eq!(world.bench.broker.groups_len(""), 2);
}

#[test]
fn a_leader_is_told_of_more_than_fits_one_buffer() {
    let mut world = World::new();
    let mut clients: Vec<Client> = (0..40).map(client).collect();
    for client in &mut clients {
        client.protocols[0].1 = vec![client.conn as u8; 2000];
        world.join(client);
    }
    world.bench.pass_ms(2 * DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    let answer = world.join_answer(&clients[0]).unwrap();
    assert_eq!(answer.members.len(), 40);
    for (member, client) in answer.members.iter().zip(&clients) {
        assert_eq!(member.member_id.as_str(), client.id);
        assert!(member.metadata.iter().all(|byte| *byte == client.conn as u8));
    }
}
