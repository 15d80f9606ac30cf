//! Who gets what, and what changes it.

use super::*;

fn counts(clients: &[Client]) -> Vec<usize> {
    clients.iter().map(|client| client.owned.len()).collect()
}

#[test]
fn uniform_gives_all_as_many_and_moves_no_more_than_that_takes() {
    let mut world = World::new(7);
    world.create("u", 6);
    let mut clients: Vec<Client> = ["a", "b", "c", "d"]
        .iter()
        .map(|id| Client { topics: vec!["t", "u"], ..client(id) })
        .collect();
    for count in 1..=4 {
        world.join(&mut clients[count - 1]);
        let before: Vec<_> = clients[..count].iter().map(|c| c.owned.clone()).collect();
        world.settle(&mut clients[..count]);
        let owned = counts(&clients[..count]);
        let (most, least) = (owned.iter().max().unwrap(), owned.iter().min().unwrap());
        assert!(most - least <= 1 && owned.iter().sum::<usize>() == 13, "{owned:?}");
        // Those who were there got nothing new.
        for (client, before) in clients[..count - 1].iter().zip(&before) {
            assert!(client.owned.is_subset(before));
        }
    }
    let gone = clients.remove(0);
    let before: Vec<_> = clients.iter().map(|c| c.owned.clone()).collect();
    world.leave(&gone, -1);
    world.settle(&mut clients);
    assert!(clients.iter().zip(&before).all(|(client, before)| client.owned.is_superset(before)));
}

#[test]
fn uniform_gives_topics_to_those_who_want_them_only() {
    let mut world = World::new(4);
    world.create("u", 4);
    world.create("v", 1);
    let mut a = Client { topics: vec!["t", "u", "v"], ..client("a") };
    let mut b = Client { topics: vec!["t"], ..client("b") };
    world.join(&mut a);
    world.join(&mut b);
    let mut clients = [a, b];
    world.settle(&mut clients);
    // Of nine, five are wanted by one alone.
    assert_eq!(counts(&clients), [5, 4]);
    assert_eq!(clients[1].owned, of_t(0..4));
}

#[test]
fn range_gives_neighbours_by_the_order_of_names() {
    let mut world = World::new(5);
    world.create("u", 2);
    let named = |id| Client { topics: vec!["t", "u"], assignor: Some("range"), ..client(id) };
    let mut clients = [named("b"), named("a")];
    for client in &mut clients {
        world.join(client);
    }
    world.settle(&mut clients);
    let [b, a] = clients;
    assert_eq!(a.owned, [("t", 0), ("t", 1), ("t", 2), ("u", 0)].into());
    assert_eq!(b.owned, [("t", 3), ("t", 4), ("u", 1)].into());
    assert_eq!(world.bench.broker.groups.show(GROUP).unwrap().assignor(), "range");
}

#[test]
fn the_assignor_is_that_of_most() {
    let mut world = World::new(1);
    let mut wants = |id: &str, assignor| {
        let mut client = Client { assignor, ..client(id) };
        assert_eq!(world.join(&mut client), 0);
        world.bench.broker.groups.show(GROUP).unwrap().assignor()
    };
    assert_eq!(wants("a", None), "uniform");
    assert_eq!(wants("b", Some("range")), "range");
    assert_eq!(wants("c", Some("uniform")), "uniform");
    assert_eq!(wants("d", Some("range")), "range");
}

#[test]
fn more_members_than_partitions_leave_some_without() {
    let mut world = World::new(2);
    let clients = world.joined(&["a", "b", "c"]);
    let mut owned = counts(&clients);
    owned.sort_unstable();
    assert_eq!(owned, [0, 1, 1]);
}

#[test]
fn a_subscription_that_changes_is_a_new_epoch_and_so_is_its_order() {
    let mut world = World::new(2);
    world.create("u", 2);
    let mut clients = world.joined(&["a"]);
    let epoch = clients[0].epoch;
    clients[0].topics = vec!["u", "t"];
    world.settle(&mut clients);
    assert_eq!((clients[0].epoch, clients[0].owned.len()), (epoch + 1, 4));
    clients[0].topics = vec!["t", "u"];
    world.settle(&mut clients);
    assert_eq!((clients[0].epoch, clients[0].owned.len()), (epoch + 2, 4));
    world.settle(&mut clients);
    assert_eq!(clients[0].epoch, epoch + 2, "it says the same again");
    // As many names as before, but one of them twice.
    clients[0].topics = vec!["t", "t"];
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, of_t(0..2));
    clients[0].topics = vec!["u"];
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, [("u", 0), ("u", 1)].into());
    clients[0].topics = vec![];
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, [].into());
}

#[test]
fn a_topic_that_is_created_or_grows_is_shared_out() {
    let mut world = World::new(2);
    let mut clients: Vec<Client> =
        ["a", "b"].iter().map(|id| Client { topics: vec!["t", "u"], ..client(id) }).collect();
    for client in &mut clients {
        world.join(client);
    }
    world.settle(&mut clients);
    let (epoch, _) = world.epochs();
    world.create("v", 3);
    assert_eq!(world.state(), "Stable", "nobody wants it");
    world.create("u", 2);
    assert_eq!(world.state(), "Assigning");
    assert_eq!(world.epochs(), (epoch + 1, epoch));
    world.settle(&mut clients);
    assert_eq!(counts(&clients), [2, 2]);
    world.grow("t", 4);
    world.settle(&mut clients);
    assert_eq!(counts(&clients), [3, 3]);
    assert_eq!(world.epochs(), (epoch + 2, epoch + 2));
}

#[test]
fn partitions_of_a_deleted_topic_are_nobodys_though_their_places_are_given_again() {
    let mut world = World::new(3);
    let mut clients = world.joined(&["a"]);
    world.delete("t");
    // It has as many partitions, in the same places.
    world.create("u", 3);
    clients[0].owned.clear();
    assert_eq!(world.beat_brief(&mut clients[0]), 0);
    assert_eq!(clients[0].told, [].into());
    let mut b = Client { topics: vec!["u"], ..client("b") };
    assert_eq!(world.join(&mut b), 0);
    assert_eq!(b.told.len(), 3, "nobody holds them");
    clients.push(b);
    // Created again, the first one has it again.
    world.create("t", 2);
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, of_t(0..2));
}
