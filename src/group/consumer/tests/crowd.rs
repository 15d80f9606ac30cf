//! Anything in any order: no partition has two owners, epochs only grow, and in the end everything
//! is somebody's.

use super::*;
use crate::group::consumer::bits;
use crate::group::members::MemberAt;
use crate::group::states::State;

/// A client with what it means to do.
#[derive(Debug, Clone, Default)]
struct Actor {
    client: Client,
    /// It is in the group, as far as it knows.
    is_member: bool,
}

const ACTORS: usize = 6;

#[test]
fn whatever_comes_in_whatever_order_no_partition_has_two_owners() {
    for seed in 1..=40_u64 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = random_of(seed);
    let mut world = World::with(5, |config| {
        config.group_members_max = 5;
        config.group_members_bytes = 4096;
    });
    let mut actors: Vec<Actor> = (0..ACTORS).map(|who| actor(who, random(3))).collect();
    let mut epoch = 0;
    for step in 0..600 {
        let who = random(ACTORS);
        let choice = random(20);
        act(&mut world, &mut actors[who], choice, &mut random);
        let what = format!("SEED={seed} STEP={step} CHOICE={choice}");
        if world.id_of("u").is_none() {
            for actor in &mut actors {
                actor.client.owned.retain(|(topic, _)| *topic != "u");
                actor.client.told.retain(|(topic, _)| *topic != "u");
            }
        }
        owners_check(&world, &actors, &what);
        core_check(&world, &what);
        if let Some(shown) = world.bench.broker.groups.show(GROUP) {
            assert!(shown.epoch() >= epoch && shown.target_epoch() <= shown.epoch(), "{what}");
            epoch = shown.epoch();
        }
    }
    everyone_gets_something(&mut world, &mut actors, &format!("SEED={seed}"));
    // Everyone falls silent.
    for _ in 0..30 {
        world.bench.pass_ms(60_000);
    }
    let groups = &world.bench.broker.groups;
    assert_eq!((groups.members_len(), groups.bytes_used()), (0, 0), "SEED={seed}");
}

/// Numbers below what is asked, the same ones for the same seed.
pub(super) fn random_of(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

fn actor(who: usize, kind: usize) -> Actor {
    let instance = [None, Some("one"), Some("two")][if who < 3 { 0 } else { kind }];
    let client = Client { instance, ..client(&format!("member-{who}")) };
    Actor { client, is_member: false }
}

fn act(
    world: &mut World,
    actor: &mut Actor,
    choice: usize,
    random: &mut impl FnMut(usize) -> usize,
) {
    match choice {
        0..=2 if !actor.is_member => {
            actor.client.topics = [vec!["t"], vec!["t", "u"], vec!["u"], vec![]][random(4)].clone();
            actor.client.regex = [None, Some("")][random(2)];
            actor.client.assignor = [None, Some("uniform"), Some("range")][random(3)];
            let code = world.join(&mut actor.client);
            told(actor, code);
        }
        3..=9 if actor.is_member => {
            let code = world.beat(&mut actor.client);
            told(actor, code);
        }
        // It does a part of what it was told: gives back first, then takes.
        10 | 11 if actor.is_member => {
            let client = &mut actor.client;
            client.owned.retain(|partition| client.told.contains(partition));
        }
        12..=14 if actor.is_member => {
            let client = &mut actor.client;
            client.owned = client.told.clone();
        }
        15 if actor.is_member => {
            let epoch = if actor.client.instance.is_some() && random(2) == 0 { -2 } else { -1 };
            world.leave(&actor.client, epoch);
            forget(actor);
        }
        // An answer gets lost: the client knows less than the group, and says all again.
        16 if actor.is_member => {
            let request = world.request(&actor.client, actor.client.epoch, true);
            world.send(&request);
            actor.client.told = actor.client.owned.clone();
        }
        // It is killed, and what it had with it.
        17 if random(3) == 0 => forget(actor),
        18 if random(6) == 0 => topics_change(world, random),
        19 => {
            world.bench.pass_ms([1, 1000, 5000, 20_000][random(4)]);
        }
        _ => {}
    }
}

/// A client that is not a member any more has nothing.
fn told(actor: &mut Actor, code: i16) {
    actor.is_member = code == 0;
    match code {
        0 => {}
        15 | 25 | 81 | 82 | 110 | 111 => forget(actor),
        code => panic!("{code}: {actor:?}"),
    }
}

fn forget(actor: &mut Actor) {
    actor.is_member = false;
    actor.client.owned.clear();
    actor.client.told.clear();
}

fn topics_change(world: &mut World, random: &mut impl FnMut(usize) -> usize) {
    match (world.id_of("u").is_some(), random(2)) {
        (false, _) => world.create("u", 1 + random(4) as i32),
        (true, 0) => world.delete("u"),
        (true, _) => {
            let (slot, _) = world.bench.broker.log.state().topic_named("u").unwrap();
            let count = world.bench.broker.log.state().partitions_of(slot).count();
            world.grow("u", count as i32 + 1);
        }
    }
}

/// What a client has that the group still knows, the group holds for it.
fn owners_check(world: &World, actors: &[Actor], what: &str) {
    let groups = &world.bench.broker.groups;
    let state = world.bench.broker.log.state();
    let Some(group) = groups.find(GROUP) else {
        return;
    };
    for actor in actors.iter().filter(|actor| actor.is_member) {
        let Some(at) = groups.member_named(group, &actor.client.id) else {
            continue;
        };
        for (topic, number) in &actor.client.owned {
            let (slot, _) = state.topic_named(topic).unwrap();
            let slot = state.partition_of(slot, *number as u32).unwrap();
            let holds = bits::has(groups.held(at), slot.0);
            assert!(holds, "{what}: {} has {topic}-{number}", actor.client.id);
        }
    }
}

/// All who may be members are, do what they are told, and have all there is.
fn everyone_gets_something(world: &mut World, actors: &mut [Actor], what: &str) {
    if world.id_of("u").is_none() {
        world.create("u", 3);
    }
    for _ in 0..40 {
        world.bench.pass_ms(5000);
        for actor in &mut *actors {
            actor.client.topics = vec!["t", "u"];
            actor.client.regex = Some("");
            let client = &mut actor.client;
            let code = if actor.is_member { world.beat(client) } else { world.join(client) };
            told(actor, code);
            actor.client.owned = actor.client.told.clone();
        }
    }
    assert_eq!(world.state(), "Stable", "{what}");
    let state = world.bench.broker.log.state();
    let owned: Vec<Owned> = actors.iter().flat_map(|a| a.client.owned.iter().copied()).collect();
    let different: BTreeSet<Owned> = owned.iter().copied().collect();
    assert_eq!((owned.len(), different.len()), (state.partitions_len(), owned.len()), "{what}");
    let members = actors.iter().filter(|actor| actor.is_member);
    let counts: Vec<usize> = members.map(|actor| actor.client.owned.len()).collect();
    assert!(counts.len() >= 3, "{what}: {counts:?}");
}

/// No two members hold the same partition, and nobody shall have what another shall.
pub(super) fn core_check(world: &World, what: &str) {
    let groups = &world.bench.broker.groups;
    if groups.state(GROUP) != State::Consumer {
        return;
    }
    let members: Vec<MemberAt> = groups.members.iter().map(|(at, _)| at).collect();
    for (place, a) in members.iter().enumerate() {
        for b in &members[..place] {
            let both = |x: &[u8], y: &[u8]| x.iter().zip(y).any(|(x, y)| x & y != 0);
            assert!(!both(groups.held(*a), groups.held(*b)), "{what}: held twice");
            assert!(!both(groups.target(*a), groups.target(*b)), "{what}: given twice");
        }
    }
}
