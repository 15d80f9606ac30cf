//! How a group comes to be, and who may join.

use super::*;

#[test]
fn the_first_members_become_one_generation_and_the_leader_assigns() {
    let mut world = World::new();
    let (mut a, mut b) = (client(1), client(2));
    assert!(world.join(&mut a).is_none());
    assert_eq!(world.state(), "PreparingRebalance");
    assert!(world.join(&mut b).is_none());
    world.bench.pass_ms(DELAY_MS - 1);
    assert!(world.join_answer(&a).is_none());
    // Someone came meanwhile: it takes as long again.
    world.bench.pass_ms(1);
    assert!(world.join_answer(&a).is_none());
    world.bench.pass_ms(DELAY_MS);

    let (to_a, to_b) = (world.join_answer(&a).unwrap(), world.join_answer(&b).unwrap());
    a.joined(&to_a);
    b.joined(&to_b);
    assert_eq!((a.generation, b.generation), (1, 1));
    assert_eq!(to_a.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(to_a.protocol_name.as_deref(), Some("range"));
    assert_eq!((to_a.leader.as_str(), to_b.leader.as_str()), (a.id.as_str(), a.id.as_str()));
    let listed: Vec<(&str, &[u8])> =
        to_a.members.iter().map(|m| (m.member_id.as_str(), &m.metadata[..])).collect();
    assert_eq!(listed, [(a.id.as_str(), &[1][..]), (b.id.as_str(), &[2][..])]);
    assert!(to_b.members.is_empty() && !to_a.skip_assignment);
    assert_eq!(world.state(), "CompletingRebalance");

    assert!(world.sync(&b, &[]).is_none());
    assert_eq!(world.heartbeat(&b), 0);
    let (of_a, of_b) = (a.id.clone(), b.id.clone());
    // Names that are no members are ignored.
    let assigned = [(of_b.as_str(), &b"two"[..]), (&of_a, b"one"), ("nobody", b"x")];
    assert_eq!(&world.sync(&a, &assigned).unwrap().assignment[..], b"one");
    assert_eq!(&world.sync_answer(&b).unwrap().assignment[..], b"two");
    assert_eq!(world.state(), "Stable");
    // Who did not get its answer may ask again.
    assert_eq!(&world.sync(&b, &[]).unwrap().assignment[..], b"two");
    assert_eq!((world.heartbeat(&a), world.heartbeat(&b)), (0, 0));
    assert_eq!(world.bench.broker.groups.counts.rebalances, 1);
    assert_eq!(world.bench.broker.groups.counts.waiting, 0);
}

#[test]
fn a_protocol_without_a_name_is_refused_whoever_offers_it_and_beside_whichever_others() {
    for version in 0..=9 {
        for names in [&[""][..], &["", "range"], &["range", ""], &["", ""]] {
            let mut world = World::with(|config| config.group_initial_rebalance_delay_ms = 0);
            let mut a = client(1);
            a.protocols = names.iter().map(|name| (*name, vec![1])).collect();
            a.instance = (version == 6).then_some("i");
            let told = world.join_as(version, &a).expect("it is answered at once");
            assert_eq!(told.error_code, 23, "version {version}, {names:?}");
            // Nor is it taken from one who has an id, or is a member already.
            let mut b = client(2);
            world.join(&mut b).into_iter().for_each(|told| b.joined(&told));
            b.protocols.clone_from(&a.protocols);
            if version >= 1 {
                assert_eq!(world.join_as(version, &b).unwrap().error_code, 23);
            }
        }
    }
}

#[test]
fn a_new_group_waits_for_more_members_but_no_longer_than_their_rebalance_timeout() {
    let mut world = World::new();
    let mut first = client(0);
    world.join(&mut first);
    let mut waited_ms = 0;
    // One more comes in each delay; the last ones find the time used up.
    for conn in 1..40 {
        world.join(&mut client(conn));
        world.bench.pass_ms(DELAY_MS);
        waited_ms += DELAY_MS;
        if world.state() != "PreparingRebalance" {
            break;
        }
    }
    assert_eq!(waited_ms, REBALANCE_MS);
    assert_eq!(world.join_answer(&first).unwrap().members.len(), 21);
}

#[test]
fn without_a_delay_a_lone_consumer_starts_at_once() {
    let mut world = World::with(|config| config.group_initial_rebalance_delay_ms = 0);
    let mut a = client(1);
    let answer = world.join(&mut a).unwrap();
    a.joined(&answer);
    assert_eq!(world.state(), "CompletingRebalance");
}

#[test]
fn the_version_says_whether_a_new_member_is_told_its_id_first() {
    for version in 0..=9 {
        let mut world = World::with(|config| config.group_initial_rebalance_delay_ms = 0);
        let answer = world.join_as(version, &client(1)).unwrap();
        assert_eq!(answer.error_code, if version >= 4 { 79 } else { 0 }, "{version}");
        let id = answer.member_id.as_str();
        assert!(id.starts_with("test-") && id.len() == 5 + 36, "{id}");
        assert_eq!(world.bench.broker.groups.members_len(), 1);
    }
}

#[test]
fn an_id_that_was_given_and_not_used_ends_with_the_session_and_holds_up_a_rebalance() {
    let mut world = World::new();
    let mut clients = world.stable_of(2);
    let told = world.join_as(4, &client(7)).unwrap();
    assert_eq!(told.error_code, 79);
    // Nobody is disturbed yet.
    assert_eq!(world.heartbeat(&clients[0]), 0);
    assert!(world.join(&mut clients[0].clone()).is_none(), "the leader calls for a rebalance");
    assert!(world.join(&mut clients[1].clone()).is_none(), "the new one is waited for");
    world.bench.pass_ms(SESSION_MS);
    world.joined(&mut clients);
    assert_eq!(clients[0].generation, 2);
    // Its id means nothing any more.
    let late = Client { id: told.member_id.to_string(), ..client(7) };
    assert_eq!(world.join_as(4, &late).unwrap().error_code, 25);
}

#[test]
fn a_new_member_that_waits_too_long_is_forgotten() {
    let mut world = World::with(|config| config.group_initial_rebalance_delay_ms = 600_000);
    let mut a = client(1);
    assert!(world.join(&mut a).is_none());
    world.bench.pass_ms(299_999);
    assert!(world.join_answer(&a).is_none());
    world.bench.pass_ms(1);
    assert_eq!(world.join_answer(&a).unwrap().error_code, 25);
    assert_eq!(world.bench.broker.groups.members_len(), 0);
}

#[test]
fn what_cannot_join_is_told_why() {
    let mut world = World::new();
    let code = |world: &mut World, request: JoinGroupRequest| {
        let answer = world.bench.send(3, 5, &request).unwrap();
        (answer.error_code, answer.member_id.to_string())
    };
    let good = || Client { id: "me".to_string(), ..client(3) }.join_request();
    let no_group = GroupId(text(""));
    let me = |code: i16| (code, "me".to_string());
    assert_eq!(code(&mut world, good().with_group_id(no_group)), me(24));
    let long = GroupId(text(&"g".repeat(256)));
    assert_eq!(code(&mut world, good().with_group_id(long)), me(24));
    for ms in [5999, 1_800_001, -1, 0] {
        assert_eq!(code(&mut world, good().with_session_timeout_ms(ms)), me(26));
    }
    assert_eq!(code(&mut world, good()), me(25), "there is no such group");
    let new = || client(3).join_request();
    let nobody = |code: i16| (code, String::new());
    assert_eq!(code(&mut world, new().with_protocol_type(text(""))), nobody(23));
    assert_eq!(code(&mut world, new().with_protocols(vec![])), nobody(23));
    let long = text(&"p".repeat(65));
    assert_eq!(code(&mut world, new().with_protocol_type(long.clone())), nobody(23));
    let protocol = JoinGroupRequestProtocol::default().with_name(long);
    assert_eq!(code(&mut world, new().with_protocols(vec![protocol])), nobody(23));
    let many = vec![JoinGroupRequestProtocol::default().with_name(text("p")); 17];
    assert_eq!(code(&mut world, new().with_protocols(many)), nobody(23));

    world.stable_of(1);
    assert_eq!(code(&mut world, good()), me(25), "it is no member");
    assert_eq!(code(&mut world, new().with_protocol_type(text("connect"))), nobody(23));
    let other = JoinGroupRequestProtocol::default().with_name(text("sticky"));
    assert_eq!(code(&mut world, new().with_protocols(vec![other])), nobody(23));
}

#[test]
fn the_protocol_is_what_most_members_like_best_of_what_all_know() {
    let mut world = World::new();
    let likes = |conn: u16, names: &[&'static str]| Client {
        protocols: names.iter().map(|name| (*name, vec![conn as u8])).collect(),
        ..client(conn)
    };
    let mut clients =
        [likes(0, &["c", "a", "b"]), likes(1, &["x", "b", "a"]), likes(2, &["b", "a"])];
    for client in &mut clients {
        world.join(client);
    }
    world.bench.pass_ms(DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    let answer = world.join_answer(&clients[0]).unwrap();
    assert_eq!(answer.protocol_name.as_deref(), Some("b"));
    assert_eq!(&answer.members[2].metadata[..], [2]);
}

#[test]
fn who_asks_for_an_assignment_says_for_which_protocol_where_the_version_has_it() {
    let mut world = World::new();
    let clients = world.stable_of(1);
    let named = clients[0].sync_request(&[]);
    let range = || Some(text("range"));
    let consumer = || Some(text("consumer"));
    for (kind, name, code) in [
        (None, None, 23),
        (consumer(), None, 23),
        (None, range(), 23),
        (consumer(), Some(text("")), 23),
        (consumer(), Some(text("sticky")), 23),
        (consumer(), range(), 0),
    ] {
        let request = named.clone().with_protocol_type(kind).with_protocol_name(name);
        let told = world.bench.send(0, 5, &request).unwrap();
        assert_eq!(told.error_code, code, "{request:?}");
    }
    // It comes before everything else, as in Kafka.
    let stranger = client(7).sync_request(&[]);
    assert_eq!(world.bench.send(7, 5, &stranger).unwrap().error_code, 23);
    assert_eq!(world.bench.send(7, 4, &stranger).unwrap().error_code, 25);
}
