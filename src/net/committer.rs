//! The committers: one task per ring, which takes what was staged to the disk.
//!
//! While syncs are quick they run right here: handing over to a thread would cost as much. When
//! their mean grows, they move to the thread that syncs, so that other tasks need not wait for them.
//! After a slow sync, the clients that were answered need a moment to send the next request; starting
//! without them splits clients into two halves that each wait for two syncs. So the next group waits
//! until as many requests are staged as the last one answered, but at most an eighth of a sync; and
//! every [`PROBE_GROUPS`]th for more than that, which joins halves that were split.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::Net;
use super::core::Core;
use super::hub::Bell;
use super::turn::{Turn, Work};
use crate::clock::{Clock, Mono};
use crate::log_limit::About;
use crate::storage::WriteJob;
use crate::types::RingIndex;

/// How long syncs take: a mean in which each weighs an eighth less than its successor.
#[derive(Debug, Default)]
pub struct SyncMean(Cell<u64>);

impl SyncMean {
    /// Adds one. A single slow one counts as at most four times the mean, so that a card that collects
    /// its garbage now and then does not send quick syncs to the thread.
    pub fn add(&self, us: u64) {
        let sum = self.0.get();
        let us_max = (sum / 2).max(OUTLIER_US_MIN);
        self.0.set(if sum == 0 { us * 8 } else { sum - sum / 8 + us.min(us_max) });
    }

    /// The mean; 0 before the first.
    pub fn us(&self) -> u64 {
        self.0.get() / 8
    }
}

/// Commits a ring's groups, for ever.
pub async fn commit<C: Core>(net: Rc<Net<C>>, ring: RingIndex) {
    let mut alarm = Alarm::default();
    let mut last = Last::default();
    let clock = net.hub.clock;
    let turn = Turn::default();
    loop {
        gather(&net, ring, &last, &mut alarm).await;
        let job = net.core.borrow_mut().next_io(ring, net.hub.now());
        if let Some(job) = job {
            let answered = net.hub.staged_take(ring);
            net.hub.set_gathering(ring, false);
            turn.take(Work::Window).await;
            carry_out(&net, ring, job).await;
            last.done = clock.mono();
            last.company = answered.saturating_add(net.hub.staged_count(ring));
            last.groups = last.groups.wrapping_add(1);
            let gathering = net.sync_mean.us() >= net.setup.gather_sync_us_min;
            net.hub.set_gathering(ring, gathering);
            continue;
        }
        // A deadline that is past, though there was nothing to do, must not become a busy loop.
        let soonest = clock.mono().plus_ms(1);
        let deadline = net.core.borrow().deadline(ring).map(|deadline| deadline.max(soonest));
        alarm.wait(&clock, net.hub.ring_bell(ring), deadline).await;
        turn.begin();
    }
}

/// The group before.
#[derive(Default)]
struct Last {
    /// How many requests it answered, and were staged meanwhile: as many may be staged soon.
    company: u32,
    done: Mono,
    /// How many groups there were.
    groups: u32,
}

/// Waits for more requests, if something is staged and waiting is worth it.
async fn gather<C: Core>(net: &Net<C>, ring: RingIndex, last: &Last, alarm: &mut Alarm) {
    let mean_us = net.sync_mean.us();
    if mean_us < net.setup.gather_sync_us_min || net.hub.stopping.get() {
        return;
    }
    let until = Mono(last.done.0 + mean_us / 8);
    let company = match last.groups % PROBE_GROUPS {
        0 => u32::MAX,
        _ => last.company,
    };
    loop {
        let staged = net.hub.staged_count(ring);
        if staged == 0 || staged >= company || net.hub.clock.mono() >= until {
            return;
        }
        let bell = net.hub.ring_bell(ring);
        alarm.wait(&net.hub.clock, bell, Some(until)).await;
    }
}

/// Carries a job out, here or on the thread that syncs, and hands it back.
async fn carry_out<C: Core>(net: &Net<C>, ring: RingIndex, mut job: WriteJob) {
    let clock = &net.hub.clock;
    let syncs = job.sync;
    // Reading may wait for the medium, however quick syncs are.
    let inline = job.errand.is_none() && net.sync_mean.us() < net.setup.sync_inline_us_max;
    let (job, result, took_us) = if inline {
        let before = clock.mono();
        let result = job.run(&*net.storage);
        let took_us = clock.mono().since_us(before);
        (job, result, took_us)
    } else {
        let done = net.flusher.run(ring, job).await;
        let took_us = done.took.as_micros() as u64;
        (done.job, done.result, took_us)
    };
    if syncs {
        net.sync_mean.add(took_us);
    }
    let mut core = net.core.borrow_mut();
    if syncs && result.is_ok() {
        core.metrics().sync_us.add(took_us);
    }
    note_slow(net, ring, took_us);
    core.io_done(ring, job, result, net.hub.now());
    net.wake_settled(&core);
    net.wake_held(&mut *core);
    net.wake_jobs(&mut *core);
    net.hub.ended.ring();
}

fn note_slow<C: Core>(net: &Net<C>, ring: RingIndex, took_us: u64) {
    if took_us >= SLOW_SYNC_US {
        let name = net.setup.ring_name(ring);
        let text = format_args!(
            "ring {name}: a write took the medium {} ms, usually {}; producers wait as long",
            took_us / 1000,
            net.sync_mean.us().div_ceil(1000)
        );
        net.complain(log::Level::Warn, About::kind("slow sync"), text);
    }
}

/// A timer that is set again only when it has to ring earlier: deadlines that move with every group
/// would else cost system calls for each.
#[derive(Default)]
pub struct Alarm {
    timer: Option<(Mono, smol::Timer)>,
}

impl Alarm {
    /// Waits until the bell rings or the deadline has come; may return early.
    pub async fn wait(&mut self, clock: &Clock, bell: &Bell, deadline: Option<Mono>) {
        match (deadline, &self.timer) {
            (Some(deadline), Some((set, _))) if *set <= deadline => {}
            (Some(deadline), _) => {
                let timer = smol::Timer::at(clock.instant(deadline));
                self.timer = Some((deadline, timer));
            }
            (None, _) => self.timer = None,
        }
        poll_fn(|context| {
            if bell.poll(context).is_ready() {
                return Poll::Ready(());
            }
            if let Some((_, timer)) = &mut self.timer
                && Pin::new(timer).poll(context).is_ready()
            {
                self.timer = None;
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

/// A sync that takes this long is logged.
const SLOW_SYNC_US: u64 = 2_000_000;

/// A sync always counts up to this: a mean of next to nothing could never grow otherwise.
const OUTLIER_US_MIN: u64 = 50;

/// One group in this many waits for more requests than the one before it answered.
const PROBE_GROUPS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_syncs_follows_a_change_and_not_an_outlier() {
        let mean = SyncMean::default();
        mean.add(100);
        assert_eq!(mean.us(), 100);
        mean.add(100_000);
        assert!(mean.us() < 150, "{}", mean.us());
        for _ in 0..20 {
            mean.add(5000);
        }
        assert!(mean.us() > 4000, "{}", mean.us());
        for _ in 0..60 {
            mean.add(100);
        }
        assert!(mean.us() < 150, "{}", mean.us());
    }

    #[test]
    fn the_mean_of_syncs_grows_from_next_to_nothing() {
        let mean = SyncMean::default();
        mean.add(0);
        for _ in 0..60 {
            mean.add(1000);
        }
        assert!(mean.us() > 900, "{}", mean.us());
    }
}
