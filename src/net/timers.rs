//! The checks by time. None wakes a broker that has nothing to check.

use std::rc::Rc;
use std::time::Duration;

use smol::Timer;

use super::Net;
use super::committer::Alarm;
use super::core::Core;
use super::hub::Hub;
use super::slots::{Phase, Slot};
use crate::clock::Mono;
use crate::metrics::{CloseReason, PoolKind};

/// While a connection waits for a buffer: closes those that have one of its kind and are too slow. A
/// client that never completed a request has less time: it may be there only to hold buffers.
pub async fn check_stalls<C: Core>(net: Rc<Net<C>>) {
    loop {
        net.hub.wanted.rung().await;
        while is_wanted(&net.hub) {
            Timer::after(Duration::from_millis(STALL_CHECK_MS)).await;
            let bytes_min = net.setup.lease_bytes_per_second_min * STALL_CHECK_MS / 1000;
            cut_stalled(&net.hub, bytes_min);
        }
    }
}

fn is_wanted(hub: &Hub) -> bool {
    let pools = hub.pools.borrow();
    PoolKind::ALL.into_iter().any(|kind| pools.is_wanted(kind))
}

fn cut_stalled(hub: &Hub, bytes_min: u64) {
    let pools = hub.pools.borrow();
    for slot in hub.slots.borrow_mut().iter_mut() {
        let wanted = |kind: PoolKind| slot.holds[kind as usize] > 0 && pools.is_wanted(kind);
        if slot.phase == Phase::Held && PoolKind::ALL.into_iter().any(wanted) {
            // It checks by itself whether it has waited long enough.
            slot.wake();
        }
        let may_wait_long = matches!(slot.phase, Phase::Reading | Phase::Writing | Phase::Waiting);
        if may_wait_long && PoolKind::ALL.into_iter().any(wanted) {
            let looks = if slot.completed { STALL_LOOKS } else { 1 };
            let bytes_min = bytes_min * u64::from(slot.looks);
            let slow = slot.looks > 0 && slot.moved - slot.moved_seen < bytes_min;
            match (slow, slot.looks >= looks) {
                (true, true) => slot.end(CloseReason::Stalled),
                (true, false) => slot.looks += 1,
                (false, _) => (slot.moved_seen, slot.looks) = (slot.moved, 1),
            }
        } else {
            slot.looks = 0;
        }
    }
}

/// Closes connections that were silent for too long. Sleeps until the first one is due, if it stays
/// silent.
pub async fn check_idle<C: Core>(net: Rc<Net<C>>) {
    let hub = &net.hub;
    let idle_ms_max = net.setup.idle_ms_max;
    loop {
        if hub.slots.borrow().open_len() == 0 {
            hub.opened.rung().await;
        }
        let now = hub.clock.mono();
        let mut next = now.plus_ms(idle_ms_max);
        for slot in hub.slots.borrow_mut().iter_mut() {
            next = next.min(idle_until(slot, now, idle_ms_max));
        }
        // A little later, so that those that fell silent one after another are closed together.
        Timer::at(hub.clock.instant(next.plus_ms(IDLE_SLACK_MS))).await;
    }
}

/// Has the broker do what is due: sessions of group members end, rebalances go on.
pub async fn tick<C: Core>(net: Rc<Net<C>>) {
    let mut alarm = Alarm::default();
    let clock = net.hub.clock;
    loop {
        let due = {
            let mut core = net.core.borrow_mut();
            core.tick(net.hub.now());
            net.wake_jobs(&mut *core);
            core.due()
        };
        net.tick_at.set(due);
        // A deadline that is past, though there was nothing to do, must not become a busy loop.
        let due = (due < Mono(u64::MAX)).then(|| due.max(clock.mono().plus_ms(1)));
        alarm.wait(&clock, &net.hub.due_sooner, due).await;
    }
}

fn idle_until(slot: &mut Slot, now: Mono, idle_ms_max: u64) -> Mono {
    // In the first bytes of a frame a client counts as silent: a byte now and then is no request.
    let since = if slot.phase == Phase::Idle { slot.idle_since } else { slot.since };
    let until = since.plus_ms(idle_ms_max);
    if matches!(slot.phase, Phase::Busy | Phase::Waiting | Phase::Held) || slot.end.is_some() {
        now.plus_ms(idle_ms_max)
    } else if until <= now {
        slot.end(CloseReason::Idle);
        now.plus_ms(idle_ms_max)
    } else {
        until
    }
}

const STALL_CHECK_MS: u64 = 250;
/// For how many checks a client that completed requests may be too slow.
const STALL_LOOKS: u8 = 4;
const IDLE_SLACK_MS: u64 = 100;
