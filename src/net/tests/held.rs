//! Producers that wait for room in a ring that is held are in nobody's way.

use std::sync::atomic::Ordering;

use smol::future::yield_now;

use super::fake::{COMMIT, Client, ECHO, PRODUCE, Server, request};
use super::idle::{Guest, Local, create, produce_all};
use crate::config::Holder;
use crate::metrics::PoolKind;
use crate::net::slots::{self, Phase};

/// Two rings, one of which is held for a group that commits nothing.
fn two_rings() -> Local {
    Local::new(|config| {
        let mut held = config.rings[0].clone();
        config.rings[0].topics = vec!["free".to_string()];
        (held.name, held.segments, held.spares) = ("held".to_string(), 3, 3);
        held.hold_for = vec![Holder::Group("g".to_string())];
        config.rings.push(held);
        config.reply_leases = 4;
    })
}

impl Local {
    fn is_held(&self, guest: &Guest) -> bool {
        let mut slots = self.net.hub.slots.borrow_mut();
        let slot = slots.find(guest.conn);
        slot.is_some_and(|slot| slot.phase == Phase::Held && !slot.waited_out)
    }

    /// Whether what was asked waits for room; else it is answered.
    async fn waits(&self, guest: &mut Guest) -> bool {
        loop {
            if guest.socket.get_ref().peek(&mut [0]).is_ok() {
                guest.answer().await;
                return false;
            }
            if self.is_held(guest) {
                return true;
            }
            yield_now().await;
        }
    }

    /// Buffers that those who wait for room have, by kind.
    fn held_buffers(&self) -> [usize; PoolKind::COUNT] {
        let slots = self.net.hub.slots.borrow();
        let mut sum = [0; PoolKind::COUNT];
        let held = |slot: &slots::Slot| slot.phase == Phase::Held && !slot.waited_out;
        for (_, slot) in slots.iter().filter(|(_, slot)| held(slot)) {
            sum.iter_mut().zip(slot.holds).for_each(|(sum, holds)| *sum += usize::from(holds));
        }
        sum
    }

    /// How often somebody had to wait for a buffer.
    fn waits_for_buffers(&self) -> u64 {
        self.net.hub.pools.borrow().metrics().iter().map(|pool| pool.waits).sum()
    }
}

/// Records in a batch of nearly a megabyte.
const MANY: i32 = 75_000;

#[test]
fn who_waits_for_room_in_one_ring_keeps_no_buffer_from_another() {
    let local = two_rings();
    smol::block_on(local.executor.run(async {
        let mut other = local.connect();
        for topic in ["free", "held"] {
            other.send(&create(topic)).await;
            other.answer().await;
        }
        let mut fills = local.connect();
        let long = produce_all(1, 60_000, &[("held", MANY)]);
        let mut sent = 0;
        loop {
            fills.send(&long).await;
            sent += 1;
            if local.waits(&mut fills).await {
                break;
            }
        }
        assert!((8..=13).contains(&sent), "three segments of 4 MiB take {sent} of them");
        // Some are short, some long, some have stored something before they find the ring full.
        let requests = [
            produce_all(1, 60_000, &[("held", MANY / 20)]),
            long,
            produce_all(1, 60_000, &[("free", MANY), ("held", MANY)]),
        ];
        let mut waiting = Vec::new();
        for i in 0..24 {
            let mut producer = local.connect();
            producer.send(&requests[i % 3]).await;
            let waits = local.waits(&mut producer).await;
            waiting.push((producer, waits));
            let held = local.held_buffers();
            for (kind, (count, _)) in PoolKind::ALL.iter().zip(local.net.setup.pools) {
                let buffers = held[*kind as usize];
                assert!(buffers <= count / 2, "{i}: {buffers} of {count} {}", kind.name());
            }
        }
        // Those who had to leave their buffers to others are answered.
        let mut still = 0;
        for (producer, waits) in &mut waiting {
            still += usize::from(*waits && local.waits(producer).await);
        }
        assert!(still >= 8, "{still} are waiting");
        let before = local.waits_for_buffers();
        for _ in 0..20 {
            other.send(&produce_all(1, 60_000, &[("free", MANY)])).await;
            other.answer().await;
        }
        assert_eq!(local.waits_for_buffers(), before);
    }));
}

#[test]
fn however_many_wait_for_room_some_connections_are_left_for_others() {
    let server = Server::start(|setup| setup.max_connections = 12);
    server.disk.full.store(true, Ordering::Relaxed);
    let mut other = server.connect();
    let asks = |other: &mut Client| {
        other.send(&request(ECHO, 0, 1, 10, 0));
        assert_eq!(other.answer(), (1, 10));
    };
    let mut producers = Vec::new();
    for id in 0..40 {
        let producer = server.connect();
        let padding = [10, 70_000][id as usize % 2];
        let sender = producer.0.try_clone().unwrap();
        let frame = request(PRODUCE, 4, id, 0, padding);
        // It may be closed before all of it is sent.
        std::thread::spawn(move || std::io::Write::write_all(&mut &sender, &frame));
        asks(&mut other);
        producers.push(producer);
    }
    let mut newcomer = server.connect();
    asks(&mut newcomer);
    asks(&mut other);
    let waiting = producers.split_off(30);
    // The first one found out that the ring is full, and was read by then.
    let made_way = &mut producers[1..28];
    assert!(made_way.iter_mut().all(Client::is_closed), "who waited longest made way");
    server.disk.full.store(false, Ordering::Relaxed);
    other.send(&request(COMMIT, 0, 7, 0, 0));
    assert_eq!(other.answer(), (7, 0));
    for (id, mut producer) in (30..).zip(waiting).skip(2) {
        assert_eq!(producer.answer(), (id, 0));
    }
}
