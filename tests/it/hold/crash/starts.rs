//! The disk fails while a broker starts over a held ring: for each k the k-th read, write or sync of
//! a start, once, a few times in a row, or for ever. What such a start shows the next one shows,
//! nothing that is held goes, and once the disk works the ring can be released and goes on.

use std::sync::Arc;

use brooklet::clock::Mono;
use brooklet::log::recovery::OpenError;
use brooklet::storage::sim::{Cut, Failing, Op, Rng, SimStorage};

use super::{Cuts, HELD, Hint, Kind, Known, Rig, Run, opens_after, repeats, seeds};
use crate::host::Host;

/// How a ring was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Somewhere in the middle of things.
    Anyhow,
    /// Full, with records that wait for the holder.
    Full,
    /// Full, after the disk failed twice under the last records that fit.
    FullFailedTwice,
}

/// A disk after a crash, and what must be on it.
struct Crashed {
    disk: SimStorage,
    rig: Rig,
    known: Known,
    rng: Rng,
    /// Starts that served though something failed, and that gave up.
    served: u64,
    refused: u64,
}

impl Crashed {
    /// A workload that is cut at some instant.
    fn new(seed: u64, kind: Kind, left: Left) -> Crashed {
        let mut run = Run::new(seed, kind, Cuts::Nowhere);
        match left {
            Left::Anyhow => {
                for _ in 0..run.rng.below(300) {
                    run.step();
                }
            }
            Left::Full => run.fill(0),
            Left::FullFailedTwice => run.fill(2),
        }
        let (mut forks, mut known) = (Vec::new(), run.known.clone());
        while forks.is_empty() {
            run.step();
            known = run.known.clone();
            run.rig.host.storage.record_forks(true);
            run.work();
            run.rig.host.storage.record_forks(false);
            forks = run.rig.host.storage.forks_take();
        }
        let (_, disk) = forks.swap_remove(run.rng.below(forks.len() as u64) as usize);
        disk.power_cut(Cut::ALL[run.rng.below(5) as usize]);
        run.rig.host.now.mono = Mono(0);
        Crashed { disk, rig: run.rig, known, rng: run.rng, served: 0, refused: 0 }
    }

    /// All starts over it.
    fn start_in_all_ways(&mut self) {
        for op in [Op::Read, Op::Write, Op::Sync] {
            for how in [Failing::Once, |k| Failing::Burst(k, 3), Failing::From] {
                let mut k = 0;
                while self.start(op, how(k)) {
                    k += 1;
                }
            }
        }
    }

    /// A start in which something fails; false: it was over before that.
    fn start(&mut self, op: Op, failing: Failing) -> bool {
        let _hint = Hint(format!("{op:?} {failing:?} of the start"));
        let disk = Arc::new(self.disk.fork(self.rng.next()));
        let before = disk.counts();
        disk.fail(op, failing);
        disk.record_forks(true);
        let opened = Host::open(Arc::clone(&disk), self.rig.config.clone(), self.rig.host.now);
        disk.record_forks(false);
        let failed = disk.counts().failed > before.failed;
        for (_, fork) in disk.forks_take() {
            self.opens_after(&fork);
        }
        match opened {
            Ok(host) => {
                self.served += u64::from(failed);
                self.go_on(host, op);
                return failed;
            }
            Err(OpenError::Unreadable(_)) => {
                assert_eq!(disk.counts().written_bytes, before.written_bytes, "it wrote");
            }
            Err(OpenError::Disk(_)) if failed => {}
            Err(error) => panic!("{error}"),
        }
        self.refused += 1;
        self.opens_after(&disk);
        failed
    }

    /// The start served: what it shows stays, also while the disk goes on failing and when it works.
    fn go_on(&mut self, host: Host, op: Op) {
        if op == Op::Read {
            host.storage.fail(op, Failing::Never);
        }
        let disk = Arc::clone(&host.storage);
        let mut rig = Rig { host, config: self.rig.config.clone() };
        let mut known = self.known.clone();
        known.check(&mut rig);
        let (cuts, rng) = (Cuts::InOneWay(self.rng.next() >> 8), Rng::new(self.rng.next()));
        let mut run = Run::over(rig, known, rng, cuts);
        for _ in 0..3 {
            run.rig.host.pass_us(300_000);
            run.step();
        }
        disk.fail(op, Failing::Never);
        disk.record_forks(false);
        run.cuts = Cuts::Nowhere;
        run.progress();
        run.go_on();
    }

    fn opens_after(&mut self, disk: &SimStorage) {
        let cut = Cut::ALL[self.rng.below(5) as usize];
        opens_after(disk, cut, &self.rig, &self.known);
    }
}

impl Run {
    /// Fills the ring until records wait, and other groups go on committing; meanwhile the disk fails
    /// so many times.
    fn fill(&mut self, failures: u64) {
        let mut at: Vec<u64> = (0..failures).map(|_| FILL_RECORDS - self.rng.below(12)).collect();
        at.extend((0..failures).map(|_| FILL_RECORDS + 4 + self.rng.below(8)));
        at.truncate(failures as usize);
        let op = [Op::Write, Op::Sync][self.rng.below(2) as usize];
        for number in 0.. {
            if at.contains(&number) {
                self.rig.host.storage.fail(op, Failing::Once(self.rng.below(3)));
            }
            let place = self.rng.below(HELD as u64) as usize;
            self.send(place);
            self.rig.host.pass_us(100_000);
            for _ in 0..self.rng.below(4) {
                self.work();
            }
            if self.held > 5 {
                break;
            }
        }
        self.rig.host.storage.process_kill();
        for _ in 0..self.rng.below(150) {
            self.commit();
            self.finish();
        }
    }
}

#[test]
fn whatever_fails_while_a_broker_starts_a_held_ring_loses_nothing_and_can_be_released() {
    for seed in seeds(18, &[136, 1008]) {
        let _hint = repeats(seed, None);
        let kind = Kind::ALL[(seed % 3) as usize];
        let left = [Left::Anyhow, Left::Full, Left::FullFailedTwice][(seed / 3 % 3) as usize];
        let mut crashed = Crashed::new(seed, kind, left);
        crashed.start_in_all_ways();
        let (served, refused) = (crashed.served, crashed.refused);
        assert!(served > 10 && refused > 10, "{served} served, {refused} refused");
    }
}

/// About so many records fill three segments.
const FILL_RECORDS: u64 = 21;
