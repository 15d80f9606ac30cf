//! What calls members to join again, and what becomes of those who do not.

use super::*;

#[test]
fn a_new_member_calls_all_to_join_again() {
    let mut world = World::new();
    let mut clients = world.stable_of(2);
    let mut new = client(2);
    assert!(world.join(&mut new).is_none());
    assert_eq!(world.state(), "PreparingRebalance");
    for client in &clients {
        assert_eq!(world.heartbeat(client), 27);
        assert_eq!(world.sync(client, &[]).unwrap().error_code, 27);
    }
    for client in &mut clients {
        assert!(world.join(client).is_none() || client.conn == 1);
    }
    clients.push(new);
    let told: Vec<_> = clients[..1].iter().map(|c| world.join_answer(c).unwrap()).collect();
    assert_eq!((told[0].generation_id, told[0].members.len()), (2, 3));
    // The generation before is over.
    assert_eq!(world.heartbeat(&clients[0]), 22);
    assert_eq!(world.sync(&clients[0], &[]).unwrap().error_code, 22);
}

#[test]
fn those_who_do_not_join_again_in_time_are_gone_and_another_leads() {
    let mut world = World::new();
    let mut clients = world.stable_of(3);
    assert_eq!(world.leave(&clients[2].clone()), 0);
    let mut b = clients.remove(1);
    let a = clients.remove(0);
    assert!(world.join(&mut b).is_none());
    // The leader is alive, and does not come.
    world.pass_alive_ms(REBALANCE_MS - 1, &[&a]);
    assert!(world.join_answer(&b).is_none());
    world.bench.pass_ms(1);
    let answer = world.join_answer(&b).unwrap();
    assert_eq!((answer.leader.as_str(), answer.members.len()), (b.id.as_str(), 1));
    assert_eq!(world.heartbeat(&a), 25);
}

#[test]
fn a_silent_member_is_gone_after_its_session() {
    let mut world = World::new();
    let clients = world.stable_of(2);
    world.bench.pass_ms(SESSION_MS - 1);
    assert_eq!(world.heartbeat(&clients[0]), 0);
    world.bench.pass_ms(1);
    assert_eq!(world.heartbeat(&clients[0]), 27);
    assert_eq!(world.heartbeat(&clients[1]), 25);
    assert_eq!(world.bench.broker.groups.counts.expired, 1);
    let answer = world.join(&mut clients[0].clone()).unwrap();
    assert_eq!((answer.generation_id, answer.members.len()), (2, 1));
}

#[test]
fn the_last_one_leaves_an_empty_group() {
    let mut world = World::new();
    let clients = world.stable_of(1);
    assert_eq!(world.leave(&clients[0]), 0);
    assert_eq!(world.state(), "Empty");
    assert_eq!(world.leave(&clients[0]), 25);
    assert_eq!(world.heartbeat(&clients[0]), 25);
    // Generations go on where they were.
    let mut again = world.stable_of(1);
    assert_eq!(again.remove(0).generation, 3);
    world.bench.pass_ms(SESSION_MS);
    assert_eq!(world.state(), "Empty");
    world.bench.pass_ms(crate::limits::GROUP_EMPTY_MS);
    assert_eq!(world.state(), "Dead");
    assert_eq!(world.bench.broker.due(), crate::clock::Mono(u64::MAX), "nothing is left to do");
}

#[test]
fn a_member_that_joins_again_in_vain_is_told_the_present_generation() {
    let mut world = World::new();
    let mut clients = world.stable_of(2);
    // A follower that says the same disturbs nobody.
    let answer = world.join(&mut clients[1]).unwrap();
    assert_eq!((answer.generation_id, answer.members.len()), (1, 0));
    assert_eq!(answer.leader.as_str(), clients[0].id);
    assert_eq!(world.heartbeat(&clients[0]), 0);
    // One that says something else does.
    clients[1].protocols[0].1.push(9);
    assert!(world.join(&mut clients[1]).is_none());
    assert_eq!(world.heartbeat(&clients[0]), 27);
    // The leader was the last one, and has its answer at once.
    let answer = world.join(&mut clients[0]).unwrap();
    assert_eq!(&answer.members[1].metadata[..], [1, 9]);
    clients[0].joined(&answer);
    world.joined(&mut clients[1..]);

    // The same while the leader's word is waited for: its answer may have got lost.
    let again = world.join(&mut clients[0]).unwrap();
    assert_eq!((again.generation_id, again.members.len()), (2, 2));
    assert!(world.sync(&clients[1], &[]).is_none());
    clients[0].protocols[0].1.push(8);
    assert!(world.join(&mut clients[0]).is_none());
    assert_eq!(world.sync_answer(&clients[1]).unwrap().error_code, 27);
}

#[test]
fn the_leader_of_a_stable_group_calls_for_a_rebalance_by_joining_again() {
    let mut world = World::new();
    let mut clients = world.stable_of(2);
    assert!(world.join(&mut clients[0]).is_none());
    assert_eq!(world.heartbeat(&clients[1]), 27);
}

#[test]
fn those_who_never_ask_for_their_assignment_are_gone() {
    let mut world = World::new();
    let mut clients: Vec<Client> = (0..3).map(client).collect();
    for client in &mut clients {
        world.join(client);
    }
    world.bench.pass_ms(2 * DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    world.joined(&mut clients);
    assert!(world.sync(&clients[2], &[]).is_none());
    // The leader is alive, and says nothing.
    world.pass_alive_ms(REBALANCE_MS - 1, &[&clients[0], &clients[1]]);
    assert_eq!(world.state(), "CompletingRebalance");
    world.bench.pass_ms(1);
    assert_eq!(world.sync_answer(&clients[2]).unwrap().error_code, 27);
    assert_eq!(world.heartbeat(&clients[0]), 25);
    let answer = world.join(&mut clients[2].clone()).unwrap();
    assert_eq!((answer.generation_id, answer.members.len()), (2, 1));
}

#[test]
fn who_waits_cannot_be_silent_for_too_long() {
    let mut world = World::new();
    let mut clients = world.stable_of(2);
    world.join(&mut clients[0]);
    let other = clients[1].clone();
    world.pass_alive_ms(5 * SESSION_MS, &[&other]);
    assert!(world.join_answer(&clients[0]).is_none(), "it waits on");
    let answer = world.join(&mut clients[1]).unwrap();
    assert_eq!(answer.generation_id, 2);
    let leader = world.join_answer(&clients[0]).unwrap();
    assert_eq!(leader.members.len(), 2);
    // From the answer on, its session counts again.
    world.bench.pass_ms(SESSION_MS);
    assert_eq!(world.heartbeat(&clients[0]), 25);
}

#[test]
fn several_members_leave_at_once_and_each_is_told_what_became_of_it() {
    use kafka_protocol::messages::leave_group_request::MemberIdentity;
    let mut world = World::new();
    let mut clients = vec![client(0), client(1), static_client(2, "s"), static_client(3, "t")];
    world.stable(&mut clients);
    let pending = world.join_as(4, &client(9)).unwrap().member_id;
    let who = |id: &str, instance: Option<&str>| {
        MemberIdentity::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
    };
    let request = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![
        who(&clients[1].id, None),
        who(&clients[1].id, None),
        who("", Some("s")),
        who("", Some("u")),
        who("", None),
        who(&clients[2].id, Some("t")),
        who(&pending, None),
    ]);
    let answer = world.bench.ask(5, &request);
    let codes: Vec<i16> = answer.members.iter().map(|member| member.error_code).collect();
    assert_eq!((answer.error_code, codes), (0, vec![0, 25, 0, 25, 25, 82, 0]));
    assert_eq!(answer.members[2].group_instance_id.as_deref(), Some("s"));
    assert_eq!(world.bench.broker.groups.members_len(), 2);
    let none = LeaveGroupRequest::default().with_group_id(GroupId(text("none")));
    let unknown = world.bench.ask(3, &none.clone().with_members(vec![who("x", None)]));
    assert_eq!((unknown.error_code, unknown.members[0].error_code), (0, 25));
    assert_eq!(world.bench.ask(0, &none).error_code, 25);
    let no_name = LeaveGroupRequest::default().with_members(vec![who("x", None)]);
    let refused = world.bench.ask(3, &no_name);
    assert_eq!((refused.error_code, refused.members.len()), (24, 0));
}

#[test]
fn a_closed_connection_leaves_its_member_which_may_come_on_another() {
    use crate::types::ConnId;
    let mut world = World::new();
    let mut clients = world.stable_of(2);
    world.join(&mut clients[0]);
    world.bench.broker.job_cancel(ConnId(0));
    assert_eq!(world.bench.broker.groups.counts.waiting, 0);
    let mut moved = Client { conn: 5, ..clients[0].clone() };
    assert!(world.join(&mut moved).is_none());
    // The same member on a third one: the second has nothing to wait for any more.
    let mut again = Client { conn: 6, ..moved.clone() };
    assert!(world.join(&mut again).is_none());
    let next = world.bench.broker.groups.wait_next(ConnId(5));
    assert!(matches!(next, crate::group::WaitNext::Close(_)), "{next:?}");
    let follower = world.join(&mut clients[1]).unwrap();
    assert_eq!(follower.generation_id, 2);
    assert_eq!(world.join_answer(&again).unwrap().members.len(), 2);
}

#[test]
fn an_answer_that_comes_too_late_says_that_the_group_moved_on() {
    let mut world = World::new();
    let mut clients: Vec<Client> = (0..2).map(client).collect();
    for client in &mut clients {
        world.join(client);
    }
    world.bench.pass_ms(2 * DELAY_MS);
    world.bench.pass_ms(DELAY_MS);
    // Both have their answers, which were not fetched yet when a third one comes.
    assert_eq!(world.state(), "CompletingRebalance");
    assert!(world.join(&mut client(2)).is_none());
    assert_eq!(world.join_answer(&clients[0]).unwrap().error_code, 27);
    assert_eq!(world.join_answer(&clients[1]).unwrap().error_code, 27);
}

#[test]
fn after_a_restart_members_are_unknown_and_join_again() {
    let mut world = World::new();
    let clients = world.stable_of(2);
    world.bench.broker.groups =
        crate::group::Groups::new(&world.bench.broker.config, std::rc::Rc::default());
    assert_eq!(world.heartbeat(&clients[0]), 25);
    assert_eq!(world.sync(&clients[0], &[]).unwrap().error_code, 25);
    assert_eq!(world.join_as(7, &clients[0]).unwrap().error_code, 25);
    world.stable_of(2);
}
