//! Joining, heartbeats, epochs, leaving; what is refused, and with which code.

use super::*;

#[test]
fn the_first_member_has_everything_at_once() {
    let mut world = World::new(3);
    let mut a = client("a");
    let request = world.request(&a, 0, true);
    let answer = world.send(&request);
    assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (0, 5000));
    assert_eq!(answer.member_id, Some(text("a")));
    world.take(&mut a, &answer);
    assert_eq!(a.told, of_t(0..3));
    assert_eq!(world.epochs(), (a.epoch, a.epoch));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn nothing_is_told_that_did_not_change() {
    let mut world = World::new(3);
    let mut clients = world.joined(&["a"]);
    let request = world.request(&clients[0], clients[0].epoch, false);
    assert_eq!(world.send(&request).assignment, None);
    // Who says all is told all.
    let request = world.request(&clients[0], clients[0].epoch, true);
    assert!(world.send(&request).assignment.is_some());
    // Joining again with the same changes nothing.
    let epoch = clients[0].epoch;
    assert_eq!(world.join(&mut clients[0]), 0);
    assert_eq!((clients[0].epoch, &clients[0].told), (epoch, &of_t(0..3)));
}

#[test]
fn before_version_1_the_group_gives_the_id() {
    let mut world = World::new(1);
    let request = world.request(&client(""), 0, true);
    let answer = world.bench.ask(0, &request);
    let id = answer.member_id.unwrap();
    assert!(answer.error_code == 0 && id.len() > 36);
    let mut own = client(&id);
    own.epoch = answer.member_epoch;
    assert_eq!(world.beat_brief(&mut own), 0);
    assert_eq!(world.send(&request).error_code, 42);
}

#[test]
fn a_partition_changes_hands_only_when_it_was_given_back() {
    let mut world = World::new(4);
    let mut a = world.joined(&["a"]).remove(0);
    let (mut b, first) = (client("b"), a.epoch);
    assert_eq!(world.join(&mut b), 0);
    assert_eq!((b.told.len(), b.epoch), (0, first + 1), "it is there, and waits");
    assert_eq!(world.state(), "Reconciling");
    // The other is told, and stays in its epoch, until it is without them.
    assert_eq!(world.beat_brief(&mut a), 0);
    assert_eq!((a.told.len(), a.epoch), (2, first));
    world.beat_brief(&mut b);
    assert_eq!(b.told.len(), 0);
    world.beat(&mut a);
    assert_eq!(a.epoch, first, "it says that it still has all of them");
    world.beat_brief(&mut b);
    assert_eq!(b.told.len(), 0);
    a.owned = a.told.clone();
    world.beat(&mut a);
    assert_eq!(a.epoch, first + 1);
    world.beat_brief(&mut b);
    assert_eq!(b.told.len(), 2);
    assert!(a.told.is_disjoint(&b.told));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn what_a_leaver_had_goes_to_those_who_are_left() {
    let mut world = World::new(4);
    let mut clients = world.joined(&["a", "b"]);
    let b = clients.pop().unwrap();
    assert_eq!(world.leave(&b, -1), 0);
    assert_eq!(world.state(), "Assigning");
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, of_t(0..4));
    assert_eq!(world.leave(&b, -1), 25);
    assert_eq!(world.leave(&clients[0], -1), 0);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn who_is_silent_for_a_session_is_gone() {
    let mut world = World::new(4);
    let mut clients = world.joined(&["a", "b"]);
    let mut b = clients.pop().unwrap();
    world.pass_alive_ms(SESSION_MS, &mut [&mut clients[0]]);
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, of_t(0..4));
    assert_eq!(world.beat_brief(&mut b), 25);
    assert_eq!(world.bench.broker.groups.counts.expired, 1);
    assert_eq!(world.join(&mut b), 0);
}

#[test]
fn who_does_not_give_back_in_time_is_gone() {
    let mut world = World::new(4);
    let mut a = world.joined(&["a"]).remove(0);
    let mut b = client("b");
    world.join(&mut b);
    world.beat_brief(&mut a);
    world.pass_alive_ms(REBALANCE_MS - 5000, &mut [&mut a, &mut b]);
    assert_eq!((a.told.len(), b.told.len()), (2, 0));
    world.pass_alive_ms(5000, &mut [&mut b]);
    assert_eq!(b.told, of_t(0..4));
    assert_eq!(world.beat_brief(&mut a), 25);
}

#[test]
fn who_has_given_back_is_not_under_time() {
    let mut world = World::new(4);
    let mut clients = world.joined(&["a"]);
    let mut b = client("b");
    world.join(&mut b);
    clients.push(b);
    world.settle(&mut clients);
    let (a, b) = clients.split_at_mut(1);
    world.pass_alive_ms(2 * REBALANCE_MS, &mut [&mut a[0], &mut b[0]]);
    assert_eq!(world.bench.broker.groups.members_len(), 2);
}

#[test]
fn epochs_ahead_and_behind_are_fenced() {
    let mut world = World::new(4);
    let mut clients = world.joined(&["a", "b"]);
    let epoch = clients[0].epoch;
    for wrong in [epoch + 1, epoch - 2, 1] {
        let mut fenced = Client { epoch: wrong, ..clients[0].clone() };
        assert_eq!(world.beat(&mut fenced), 110, "{wrong}");
    }
    assert_eq!(world.beat_brief(&mut clients[0]), 0, "nothing happened to the member");
}

#[test]
fn the_epoch_before_is_accepted_from_who_has_no_more_than_it_holds() {
    let mut world = World::new(4);
    let mut a = world.joined(&["a"]).remove(0);
    let mut lost = a.clone();
    let mut b = client("b");
    world.join(&mut b);
    world.leave(&b, -1);
    world.settle(std::slice::from_mut(&mut a));
    // The answer that told it of its epoch got lost.
    assert!(lost.epoch < a.epoch);
    assert_eq!(world.beat_brief(&mut lost.clone()), 110, "it does not say what it has");
    assert_eq!(world.beat(&mut lost), 0);
    assert_eq!(lost.epoch, a.epoch);
}

#[test]
fn unknown_members_are_told_to_join_again() {
    let mut world = World::new(1);
    // Also if there is no group: it may be that of before a restart.
    assert_eq!(world.beat_brief(&mut Client { epoch: 5, ..client("a") }), 25);
    assert_eq!(world.leave(&client("a"), -1), 25);
    world.joined(&["b"]);
    assert_eq!(world.beat_brief(&mut Client { epoch: 5, ..client("a") }), 25);
}

#[test]
fn requests_that_say_too_little_or_nonsense_are_invalid() {
    let mut world = World::new(2);
    let a = client("a");
    let good = world.request(&a, 0, true);
    let mut owner = a.clone();
    owner.owned = of_t([0]);
    let wrong = [
        good.clone().with_group_id(GroupId(text(""))),
        good.clone().with_member_id(text("")),
        good.clone().with_member_id(text(&"x".repeat(102))),
        good.clone().with_instance_id(Some(text(""))),
        good.clone().with_rack_id(Some(text(""))),
        good.clone().with_rebalance_timeout_ms(-1),
        good.clone().with_subscribed_topic_names(None),
        good.clone().with_topic_partitions(None),
        world.request(&owner, 0, true),
        good.clone().with_member_epoch(-2),
        good.clone().with_member_epoch(-3),
    ];
    for request in &wrong {
        assert_eq!(world.send(request).error_code, 42, "{request:?}");
    }
    assert!(world.bench.broker.groups.show(GROUP).is_none());
    let request = good.clone().with_server_assignor(Some(text("mine")));
    assert_eq!(world.send(&request).error_code, 112);
    for some in ["t", ".*", "["] {
        let request = good.clone().with_subscribed_topic_regex(Some(text(some)));
        let answer = world.send(&request);
        assert_eq!(answer.error_code, 128, "{some}");
        let why = answer.error_message.unwrap();
        assert!(why.contains("brooklet does not evaluate regular expressions"), "{why}");
    }
    let request = good.clone().with_group_id(GroupId(text(&"g".repeat(256))));
    assert_eq!(world.send(&request).error_code, 24);
    assert_eq!(world.send(&good).error_code, 0);
}

#[test]
fn full_groups_and_tables_say_so() {
    let mut world = World::with(2, |config| {
        config.group_max_size = 2;
        config.group_members_max = 3;
        config.groups_max = 2;
    });
    world.joined(&["a", "b"]);
    assert_eq!(world.join(&mut client("c")), 81);
    let mut other = |name: &str, id: &str| {
        let request = world.request(&client(id), 0, true).with_group_id(GroupId(text(name)));
        world.bench.ask(1, &request).error_code
    };
    assert_eq!(other("other", "a"), 0);
    assert_eq!(other("other", "b"), 15, "the table of members is full");
    assert_eq!(other("third", "c"), 15, "the table of groups is full");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut world = World::with(2, |config| config.group_members_bytes = 4096);
    let mut clients = world.joined(&["a"]);
    let used = world.bench.broker.groups.bytes_used();
    let names: Vec<TopicName> = (0..200).map(|n| topic(&format!("topic-{n:020}"))).collect();
    let long = |request: ConsumerGroupHeartbeatRequest| {
        request.with_subscribed_topic_names(Some(names.clone()))
    };
    let request = long(world.request(&clients[0], clients[0].epoch, true));
    assert_eq!(world.send(&request).error_code, 81);
    let request = long(world.request(&client("b"), 0, true));
    assert_eq!(world.send(&request).error_code, 81);
    assert_eq!(world.bench.broker.groups.bytes_used(), used);
    assert_eq!(world.bench.broker.groups.members_len(), 1);
    world.settle(&mut clients);
}

#[test]
fn commits_are_of_the_present_epoch() {
    let mut world = World::new(2);
    let mut clients = world.joined(&["a"]);
    let a = clients[0].clone();
    assert_eq!(world.commit(9, &a, a.epoch), 0);
    assert_eq!(world.commit(9, &a, a.epoch - 1), 113);
    assert_eq!(world.commit(9, &a, a.epoch + 1), 113);
    assert_eq!(world.commit(8, &a, a.epoch), 35, "it does not know epochs");
    assert_eq!(world.commit(9, &client("b"), a.epoch), 25);
    assert_eq!(world.commit(9, &client(""), -1), 25, "the group has members");
    // A commit is no sign of life.
    for _ in 0..9 {
        world.bench.pass_ms(5000);
        world.commit(9, &a, a.epoch);
    }
    assert_eq!(world.beat_brief(&mut clients[0]), 25);
    assert_eq!(world.commit(9, &client(""), -1), 0, "the group has none");
}

#[test]
fn epochs_of_a_later_boot_are_further_on() {
    let mut world = World::new(1);
    let a = world.joined(&["a"]).remove(0);
    let boot = world.bench.broker.log.state().boot;
    assert_eq!(a.epoch, ((boot.0 << 16) + 1) as i32);
    let mut groups = crate::group::Groups::new(&Config::default(), std::rc::Rc::default());
    for boot in [0, 1, 16_383, 16_384, u32::MAX] {
        groups.epochs_begin(crate::types::Boot(boot));
        assert!((0..=i32::MAX - 65_536).contains(&groups.consumers.epoch_base), "{boot}");
    }
}

#[test]
fn a_member_without_an_id_is_told_much_by_its_next_heartbeat() {
    let many = crate::limits::GROUP_TOLD_WITH_ID_MAX as i32 + 1;
    let mut world = World::with(many, |config| config.partitions_max = many as usize);
    let request = world.request(&client(""), 0, true);
    let answer: ConsumerGroupHeartbeatResponse = world.bench.ask(0, &request);
    assert_eq!((answer.error_code, answer.assignment), (0, None));
    let mut a = client(&answer.member_id.unwrap());
    a.epoch = answer.member_epoch;
    assert_eq!(world.beat_brief(&mut a), 0);
    assert_eq!(a.told.len(), many as usize);
}
