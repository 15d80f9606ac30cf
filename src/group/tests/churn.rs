//! Anything in any order: the tables stay whole, and in the end nobody is left waiting.

use super::*;
use crate::types::ConnId;

/// Clients that mean well.
#[derive(Default)]
struct Crowd {
    clients: Vec<Client>,
    waiting: Vec<Option<Waiting>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Waiting {
    Join,
    Sync,
}

#[test]
fn whatever_comes_in_whatever_order_nobody_is_left_waiting() {
    for seed in 1..=12_u64 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut world = World::with(|config| {
        config.group_members_max = 6;
        config.group_members_bytes = 4096;
        config.group_max_size = 5;
    });
    if seed.is_multiple_of(2) {
        // Whoever names a generation may be a member of before.
        world.bench.restart();
    }
    let mut crowd = Crowd::default();
    for conn in 0..8 {
        let instances = [None, None, Some("a"), Some("b")];
        let client = Client { instance: instances[random(4)], ..client(conn) };
        crowd.clients.push(client);
        crowd.waiting.push(None);
    }
    for _ in 0..2000 {
        let who = random(8);
        crowd.answers(&mut world);
        match random(16) {
            0..=5 => crowd.join(&mut world, who, [3, 7][random(2)]),
            6..=9 => crowd.sync(&mut world, who, random(300)),
            10 | 11 if crowd.waiting[who].is_none() => {
                let code = world.heartbeat(&crowd.clients[who]);
                assert!([0, 22, 24, 25, 27, 82].contains(&code), "SEED={seed} {code}");
            }
            12 => crowd.gone(&mut world, who),
            13 if crowd.waiting[who].is_none() => {
                world.leave(&crowd.clients[who]);
            }
            14 => crowd.clients[who].protocols[0].1 = vec![who as u8; random(400)],
            _ => world.bench.pass_ms([1, 100, 3000, 8000, 30_000][random(5)]),
        }
    }
    // Everyone falls silent: sessions end, waits with them, and the group is forgotten.
    for _ in 0..40 {
        crowd.answers(&mut world);
        world.bench.pass_ms(60_000);
    }
    crowd.answers(&mut world);
    let groups = &world.bench.broker.groups;
    assert_eq!((groups.members_len(), groups.bytes_used()), (0, 0), "SEED={seed}");
    assert_eq!(groups.counts.waiting, 0, "SEED={seed}");
    assert!(crowd.waiting.iter().all(Option::is_none), "SEED={seed}");
}

impl Crowd {
    /// Fetches what has come.
    fn answers(&mut self, world: &mut World) {
        for who in 0..self.clients.len() {
            match self.waiting[who] {
                Some(Waiting::Join) => self.join_answer(world, who),
                Some(Waiting::Sync) if world.sync_answer(&self.clients[who]).is_some() => {
                    self.waiting[who] = None;
                }
                _ => {}
            }
        }
    }

    fn join(&mut self, world: &mut World, who: usize, version: i16) {
        if self.waiting[who].is_some() {
            return;
        }
        // Answers that waited are read in version 7.
        let oldest = if self.clients[who].instance.is_some() { 7 } else { version.min(7) };
        let version = if self.clients[who].id.is_empty() { oldest } else { 7 };
        let request = self.clients[who].join_request();
        world.bench.peer.conn = ConnId(who as u16);
        match world.bench.send(who as u16, version, &request) {
            Some(answer) => self.told(who, &answer),
            None if version == 7 => self.waiting[who] = Some(Waiting::Join),
            // Nobody reads it: the connection is closed.
            None => world.bench.broker.job_cancel(ConnId(who as u16)),
        }
    }

    fn join_answer(&mut self, world: &mut World, who: usize) {
        if let Some(answer) = world.join_answer(&self.clients[who]) {
            self.waiting[who] = None;
            self.told(who, &answer);
        }
    }

    fn told(&mut self, who: usize, answer: &JoinGroupResponse) {
        let client = &mut self.clients[who];
        match answer.error_code {
            0 => client.joined(answer),
            79 => client.id = answer.member_id.to_string(),
            25 | 82 => client.id.clear(),
            15 | 27 | 81 => {}
            code => panic!("{code}"),
        }
    }

    fn sync(&mut self, world: &mut World, who: usize, bytes: usize) {
        if self.waiting[who].is_some() {
            return;
        }
        let ids: Vec<String> = self.clients.iter().map(|client| client.id.clone()).collect();
        let assigned = vec![7; bytes];
        let assigned: Vec<(&str, &[u8])> =
            ids.iter().map(|id| (id.as_str(), assigned.as_slice())).collect();
        if world.sync(&self.clients[who], &assigned).is_none() {
            self.waiting[who] = Some(Waiting::Sync);
        }
    }

    /// Its connection is closed, whatever it waits for.
    fn gone(&mut self, world: &mut World, who: usize) {
        world.bench.broker.job_cancel(ConnId(who as u16));
        self.waiting[who] = None;
    }
}
