//! Clients of both protocols in one group, anything in any order: no partition has two owners while the broker
//! assigns, whoever is called joins again, and in the end everything is somebody's.

use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};

use super::crowd::{core_check, random_of};
use super::with_classic::{Classic, assigned, assignment, classic};
use super::*;
use crate::group::states::State;

/// What a classic client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Joining,
    Joined,
    Syncing,
    Member,
}

struct Mixed {
    world: World,
    consumers: Vec<(Client, bool)>,
    classics: Vec<(Classic, Doing)>,
}

#[test]
fn whatever_both_protocols_do_no_partition_has_two_owners() {
    for seed in 1..=40_u64 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = random_of(seed);
    let world = World::with(5, |config| {
        config.group_initial_rebalance_delay_ms = 0;
        config.group_members_max = 5;
        config.group_members_bytes = 4096;
    });
    let consumers = ["a", "b", "c"].map(|id| (client(id), false)).to_vec();
    let classics = (1..4).map(|conn| {
        let client = Classic { cooperative: conn == 2, ..classic(conn) };
        (client, Doing::Nothing)
    });
    let mut all = Mixed { world, consumers, classics: classics.collect() };
    for step in 0..500 {
        let (who, choice) = (random(3), random(12));
        all.step(who, choice, random(5));
        all.check(&format!("SEED={seed} STEP={step} WHO={who} CHOICE={choice}"));
    }
    all.end(&format!("SEED={seed}"));
}

impl Mixed {
    fn step(&mut self, who: usize, choice: usize, luck: usize) {
        let (consumer, is_member) = &mut self.consumers[who];
        match choice {
            0..=2 => {
                let code = match *is_member {
                    true => self.world.beat(consumer),
                    false if luck == 0 => self.world.join(consumer),
                    false => return,
                };
                *is_member = code == 0;
                if *is_member {
                    consumer.owned = consumer.told.clone();
                } else {
                    consumer.owned.clear();
                }
            }
            3 if luck == 0 && *is_member => {
                self.world.leave(consumer, -1);
                consumer.owned.clear();
                *is_member = false;
            }
            4..=9 => self.classic(who, luck),
            10 if luck == 0 && self.classics[who].1 == Doing::Member => {
                self.world.classic_leave(&self.classics[who].0);
                self.classics[who] = (fresh(&self.classics[who].0), Doing::Nothing);
            }
            11 => self.world.bench.pass_ms([1, 100, 1000, 3000, 9000][luck]),
            _ => {}
        }
    }

    /// A classic client goes on.
    fn classic(&mut self, who: usize, luck: usize) {
        let (client, doing) = &mut self.classics[who];
        match *doing {
            Doing::Nothing if luck > 1 => {}
            Doing::Nothing => {
                *doing = Doing::Joining;
                if let Some(told) = self.world.classic_join(client) {
                    self.joined(who, &told);
                }
            }
            Doing::Joining => {
                let told = self.world.bench.receive::<JoinGroupRequest>(client.conn, 7);
                if let Some(told) = told {
                    self.joined(who, &told);
                }
            }
            Doing::Joined => {
                let told = self.world.classic_sync_as(client, &[]);
                *doing = Doing::Syncing;
                if let Some(told) = told {
                    self.synced(who, told.error_code, &told.assignment);
                }
            }
            Doing::Syncing => {
                let told = self.world.bench.receive::<SyncGroupRequest>(client.conn, 5);
                if let Some(told) = told {
                    self.synced(who, told.error_code, &told.assignment);
                }
            }
            Doing::Member => match self.world.classic_beat(client) {
                0 => {}
                27 => self.called(who),
                22 | 25 => self.classics[who] = (fresh(client), Doing::Nothing),
                code => panic!("{code}"),
            },
        }
    }

    fn called(&mut self, who: usize) {
        self.classics[who].1 = Doing::Joining;
        if let Some(told) = self.world.classic_join(&mut self.classics[who].0) {
            self.joined(who, &told);
        }
    }

    fn joined(&mut self, who: usize, told: &JoinGroupResponse) {
        let (client, doing) = &mut self.classics[who];
        match told.error_code {
            0 => {
                (client.generation, client.id) = (told.generation_id, told.member_id.to_string());
                *doing = Doing::Joined;
                if told.leader != told.member_id {
                    return;
                }
                // The leader deals out all of it.
                let count = told.members.len() as i32;
                let shares = told.members.iter().zip(0..).map(|(member, nth)| {
                    let own = (0..5).filter(|number| number % count == nth);
                    (member.member_id.as_str(), assignment(&of_t(own)))
                });
                let shares: Vec<_> = shares.collect();
                *doing = Doing::Syncing;
                if let Some(told) = self.world.classic_sync_as(client, &shares) {
                    self.synced(who, told.error_code, &told.assignment);
                }
            }
            27 => *doing = Doing::Nothing,
            15 | 25 | 81 => self.classics[who] = (fresh(client), Doing::Nothing),
            code => panic!("{code}"),
        }
    }

    fn synced(&mut self, who: usize, code: i16, bytes: &[u8]) {
        let (client, doing) = &mut self.classics[who];
        match code {
            0 => {
                client.owned = if bytes.is_empty() { [].into() } else { assigned(bytes) };
                *doing = Doing::Member;
            }
            27 => *doing = Doing::Nothing,
            15 | 22 | 25 => self.classics[who] = (fresh(client), Doing::Nothing),
            code => panic!("{code}"),
        }
    }

    /// While the broker assigns, what a client has that the group knows, the group holds for it.
    fn check(&mut self, what: &str) {
        core_check(&self.world, what);
        let groups = &self.world.bench.broker.groups;
        if groups.state(GROUP) != State::Consumer {
            // The leader deals out all of it anew, so that whoever joins has to be without anything.
            let joining = self.classics.iter_mut().filter(|(_, doing)| *doing != Doing::Member);
            joining.for_each(|(client, _)| client.owned.clear());
            return;
        }
        let group = groups.find(GROUP).unwrap();
        let state = self.world.bench.broker.log.state();
        let (topic, _) = state.topic_named("t").unwrap();
        let consumers = self.consumers.iter().map(|(client, _)| (&client.id, &client.owned));
        let classics = self.classics.iter().map(|(client, _)| (&client.id, &client.owned));
        for (id, owned) in consumers.chain(classics).filter(|(id, _)| !id.is_empty()) {
            let Some(at) = groups.member_named(group, id) else {
                continue;
            };
            for (_, number) in owned {
                let slot = state.partition_of(topic, *number as u32).unwrap();
                assert!(crate::group::consumer::bits::has(groups.held(at), slot.0), "{what}: {id}");
            }
        }
    }

    /// All go on, until each partition is somebody's and nobody is called any more; then all leave.
    fn end(&mut self, what: &str) {
        for _ in 0..60 {
            self.world.bench.pass_ms(1000);
            for who in 0..3 {
                self.step(who, 0, 0);
                self.classic(who, 0);
            }
            self.check(what);
        }
        let consumers = self.consumers.iter().flat_map(|(client, _)| client.owned.iter());
        let classics = self.classics.iter().flat_map(|(client, _)| client.owned.iter());
        let mut owned: Vec<Owned> = consumers.chain(classics).copied().collect();
        owned.sort_unstable();
        assert_eq!(owned, of_t(0..5).into_iter().collect::<Vec<_>>(), "{what}");
        for _ in 0..30 {
            self.world.bench.pass_ms(60_000);
        }
        let groups = &self.world.bench.broker.groups;
        assert_eq!((groups.members_len(), groups.bytes_used()), (0, 0), "{what}");
    }
}

/// The same client, which begins anew.
fn fresh(client: &Classic) -> Classic {
    Classic { cooperative: client.cooperative, ..classic(client.conn) }
}
