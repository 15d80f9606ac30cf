//! Static members: away for a while, back under another id, fenced.

use super::*;

#[test]
fn who_says_that_it_will_be_back_finds_what_it_had() {
    let mut world = World::new(4);
    let mut a = static_client("a", "one");
    world.join(&mut a);
    let mut b = client("b");
    world.join(&mut b);
    let mut both = [a, b];
    world.settle(&mut both);
    let [a, mut b] = both;
    assert_eq!(world.leave(&a, -2), 0);
    assert_eq!(world.state(), "Reconciling");
    world.pass_alive_ms(SESSION_MS - 10_000, &mut [&mut b]);
    assert_eq!(b.told.len(), 2, "nobody else has it");

    let mut again = static_client("again", "one");
    assert_eq!(world.join(&mut again), 0);
    assert_eq!((&again.told, again.epoch), (&a.owned, a.epoch), "nothing is assigned anew");
    // Its old self is fenced, as whatever it does.
    assert_eq!(world.beat(&mut a.clone()), 82);
    assert_eq!(world.leave(&a, -1), 82);
    assert_eq!(world.commit(9, &a, a.epoch), 25);
    assert_eq!(world.state(), "Stable");
}

#[test]
fn who_stays_away_for_a_session_is_gone() {
    let mut world = World::new(4);
    let mut a = static_client("a", "one");
    world.join(&mut a);
    let mut b = client("b");
    world.join(&mut b);
    let mut both = [a, b];
    world.settle(&mut both);
    let [a, mut b] = both;
    assert_eq!(world.leave(&a, -2), 0);
    world.pass_alive_ms(SESSION_MS, &mut [&mut b]);
    assert_eq!(b.told, of_t(0..4));
    assert_eq!(world.leave(&a, -2), 25);
}

#[test]
fn an_instance_id_in_use_is_not_released() {
    let mut world = World::new(4);
    let mut a = static_client("a", "one");
    world.join(&mut a);
    assert_eq!(world.join(&mut static_client("b", "one")), 111);
    // The same member may join again: its answer got lost.
    assert_eq!(world.join(&mut a), 0);
    // It left for good.
    assert_eq!(world.leave(&a, -1), 0);
    assert_eq!(world.join(&mut static_client("b", "one")), 0);
    assert_eq!(world.beat_brief(&mut Client { epoch: 3, ..static_client("b", "two") }), 25);
}

#[test]
fn what_one_who_will_be_back_was_to_give_back_is_free() {
    let mut world = World::new(4);
    let mut a = static_client("a", "one");
    world.join(&mut a);
    a.owned = a.told.clone();
    let mut b = client("b");
    world.join(&mut b);
    world.beat_brief(&mut a);
    assert_eq!(world.leave(&a, -2), 0);
    world.beat_brief(&mut b);
    assert_eq!(b.told.len(), 2);
}
