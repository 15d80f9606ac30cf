//! Members that take the place of others of another protocol, and groups that change with what their
//! members have.

use kafka_protocol::messages::JoinGroupRequest;

use super::with_classic::{Classic, at_once, classic, subscription};
use super::*;

fn static_classic(instance: &'static str) -> Classic {
    Classic { instance: Some(instance), ..classic(1) }
}

/// Two consumers share four partitions: one that has this instance id, of the classic protocol, and
/// another.
fn half_classic(change: impl FnOnce(&mut Config)) -> (World, Client, Classic) {
    let mut world = World::with(4, |config| {
        at_once(config);
        change(config);
    });
    let mut a = world.joined(&["a"]).remove(0);
    let mut old = static_classic("one");
    assert_eq!(world.classic_join(&mut old).unwrap().error_code, 0);
    for _ in 0..2 {
        world.follow(&mut a);
        world.classic_follow(&mut old);
    }
    assert_eq!((a.owned.len(), old.owned.len()), (2, 2));
    (world, a, old)
}

#[test]
fn who_takes_over_without_an_id_is_given_one() {
    let (mut world, _, old) = half_classic(|_| {});
    let request = world.request(&static_client("", "one"), 0, true);
    let answer = world.bench.ask(0, &request);
    let id = answer.member_id.unwrap();
    assert!(answer.error_code == 0 && id.len() > 36 && id.as_str() != old.id);
    let mut new = Client { epoch: answer.member_epoch, ..static_client(&id, "one") };
    assert_eq!(world.beat_brief(&mut new), 0);
    // Others that come without an id are others.
    let answer = world.bench.ask(0, &world.request(&client(""), 0, true));
    assert!(answer.error_code == 0 && answer.member_id.unwrap() != id);
    assert_eq!(world.classic_join(&mut classic(2)).unwrap().error_code, 0);
    assert_eq!(world.bench.broker.groups.members_len(), 4);
    // It has another one when it is back.
    assert_eq!(world.leave(&new, -2), 0);
    let answer = world.bench.ask(0, &request);
    let again = answer.member_id.unwrap();
    assert!(answer.error_code == 0 && again.len() > 36);
    assert_eq!(world.beat_brief(&mut new), 82, "its id was of one that is gone");
}

#[test]
fn a_takeover_that_finds_no_room_leaves_the_classic_member_as_it_was() {
    let (mut world, _, old) = half_classic(|config| config.group_members_bytes = 4096);
    let used = world.bench.broker.groups.bytes_used();
    let long = "x".repeat(4000);
    let request = world.request(&static_client("b", "one"), 0, true);
    let request = request.with_subscribed_topic_names(Some(vec![topic(&long)]));
    assert_eq!(world.send(&request).error_code, 81);
    assert_eq!(world.bench.broker.groups.bytes_used(), used);
    assert_eq!(world.classic_beat(&old), 0);
    assert_eq!(world.classic_sync(&mut old.clone()), 0);
}

#[test]
fn a_takeover_is_a_new_epoch_though_it_wants_nothing() {
    let (mut world, a, old) = half_classic(|_| {});
    let (epoch, _) = world.epochs();
    let mut new = Client { topics: vec![], ..static_client("b", "one") };
    assert_eq!(world.join(&mut new), 0);
    assert_eq!((world.epochs(), new.told.len()), ((epoch + 1, epoch + 1), 0));
    let mut both = [a, new];
    world.settle(&mut both);
    assert_eq!(both[0].owned, of_t(0..4), "also what {} had", old.id);
}

#[test]
fn a_classic_member_does_not_leave_by_a_heartbeat() {
    let (mut world, _, old) = half_classic(|_| {});
    for epoch in [-1, -2] {
        assert_eq!(world.leave(&static_client(&old.id, "one"), epoch), 25);
        assert_eq!(world.leave(&client(&old.id), -1), 25);
    }
    assert_eq!(world.classic_beat(&old), 0);
}

#[test]
fn who_takes_over_without_an_id_has_nothing_and_is_of_the_present_epoch() {
    let mut world = World::with(4, at_once);
    let mut a = static_client("a", "one");
    assert_eq!(world.join(&mut a), 0);
    assert_eq!(world.leave(&a, -2), 0);
    let mut b = client("b");
    assert_eq!(world.join(&mut b), 0);
    let owned = of_t(0..4);
    let mut old = Classic { cooperative: true, owned, ..static_classic("one") };
    let answer = world.classic_join(&mut old).unwrap();
    assert_eq!((answer.error_code, answer.generation_id), (0, world.epochs().0));
    assert_eq!(world.classic_sync(&mut old), 0);
    assert_eq!(world.follow(&mut b), 0);
    assert_eq!((old.owned.len(), b.owned.len()), (2, 2));
}

#[test]
fn who_takes_the_place_of_the_last_consumer_makes_it_a_classic_group() {
    let mut world = World::with(4, at_once);
    let mut clients = [static_client("a", "one")];
    assert_eq!(world.join(&mut clients[0]), 0);
    world.settle(&mut clients);
    let mut second = classic(2);
    assert_eq!(world.classic_join(&mut second).unwrap().error_code, 0);
    let mut old = static_classic("one");
    assert_eq!(world.classic_join(&mut old).unwrap().error_code, 27);
    let is_consumer = |world: &World| world.bench.broker.groups.show(GROUP).unwrap().is_consumer();
    assert!(!is_consumer(&world));
    assert_eq!(world.bench.broker.groups.members_len(), 2);
    // Both are called, and one of them leads.
    assert_eq!(world.classic_beat(&second), 27);
    assert!(world.classic_join(&mut old).is_none(), "it waits for the other one");
    let answer = world.classic_join(&mut second).unwrap();
    let told = world.bench.receive::<JoinGroupRequest>(1, 7).unwrap();
    assert_eq!((answer.error_code, told.error_code), (0, 0));
    assert_eq!((&answer.leader, answer.generation_id), (&told.leader, told.generation_id));
    assert_eq!(answer.members.len() + told.members.len(), 2);
    assert!(!is_consumer(&world) && answer.generation_id > clients[0].epoch);
    assert_eq!(world.beat(&mut clients[0].clone()), 69);
}

#[test]
fn a_classic_member_with_too_long_an_id_is_unknown() {
    let mut world = World::with(2, at_once);
    world.joined(&["a"]);
    for (bytes, code) in [(101, 0), (102, 25)] {
        let mut long = Classic { id: "x".repeat(bytes), ..classic(1) };
        assert_eq!(world.classic_join(&mut long).unwrap().error_code, code, "{bytes}");
    }
    assert_eq!(world.bench.broker.groups.members_len(), 2);
}

#[test]
fn only_members_of_an_epoch_commit() {
    let mut world = World::with(4, at_once);
    world.classic_group(4);
    let mut expected = classic(2);
    let answer = world.bench.send(2, 7, &world.classic_request(&expected)).unwrap();
    assert_eq!(answer.error_code, 79);
    expected.id = answer.member_id.to_string();
    let mut new = static_client("new", "one");
    assert_eq!(world.join(&mut new), 0);
    assert_eq!(world.commit(9, &client(&expected.id), 0), 25, "it has not joined");
    assert_eq!(world.bench.broker.groups.members_len(), 2);
    assert_eq!(world.classic_join(&mut expected).unwrap().error_code, 0);
    // One that is away has no epoch.
    assert_eq!(world.leave(&new, -2), 0);
    assert_eq!(world.commit(9, &new, -2), 113);
}

#[test]
fn what_a_cooperative_member_goes_on_with_is_not_given_to_others() {
    let mut world = World::with(4, at_once);
    let mut old = Classic { cooperative: true, ..world.classic_group(4) };
    let mut second = classic(2);
    assert!(world.classic_join(&mut second).is_none(), "it waits for the first one");
    assert_eq!(world.classic_join(&mut old).unwrap().error_code, 0);
    assert_eq!(world.bench.receive::<JoinGroupRequest>(2, 7).unwrap().error_code, 0);
    // The next one comes before anything is assigned.
    assert!(world.classic_join(&mut classic(3)).is_none());
    let mut new = client("new");
    assert_eq!(world.join(&mut new), 0);
    assert_eq!(new.told, [].into());
    let shown = world.bench.broker.groups.show(GROUP).unwrap();
    let of_old = shown.consumer_members().find(|member| member.id == old.id).unwrap();
    assert_eq!(of_old.assigned.count(), 4);
    // It goes on with its share.
    world.classic_follow(&mut old);
    assert_eq!(old.owned.len(), 1);
    assert_eq!(world.follow(&mut new), 0);
    assert_eq!(new.owned.len(), 0, "nobody said that it gave it back");
    world.classic_follow(&mut old);
    assert_eq!(world.follow(&mut new), 0);
    assert_eq!(new.owned.len(), 1);
    assert!(new.owned.is_disjoint(&old.owned));
}

#[test]
fn another_order_of_a_classic_members_topics_is_a_new_epoch() {
    let mut world = World::with(1, at_once);
    world.create("u", 1);
    world.joined(&["a"]);
    let mut old = Classic { id: "old".into(), ..classic(1) };
    let mut epochs = Vec::new();
    for topics in [["t", "u"], ["t", "u"], ["u", "t"], ["u", "u"]] {
        let mut request = world.classic_request(&old);
        request.protocols[0].metadata = subscription(&topics, &[].into()).into();
        assert_eq!(world.bench.send(1, 7, &request).unwrap().error_code, 0);
        epochs.push(world.epochs().0);
    }
    old.generation = epochs[0];
    let grown: Vec<i32> = epochs.iter().map(|epoch| epoch - old.generation).collect();
    assert_eq!(grown, [0, 0, 1, 2]);
}
