//! The disk fails while the broker starts: for each k the k-th read, write or sync of a start fails,
//! once, a few times in a row, or for ever. What such a start shows, the next one shows, wherever the
//! power is cut; where it gives up, nothing is harmed.

use std::sync::Arc;

use brooklet::clock::{Mono, Now};
use brooklet::log::recovery::OpenError;
use brooklet::storage::sim::{Cut, Failing, Op, Rng, SimStorage};
use brooklet::types::{RingIndex, SegmentSeq};

use super::{Cuts, Hint, Kind, Run, config, opens_after, repeats, seeds};
use crate::host::Host;
use crate::model::{COMPACTED, Model, PARTITIONS, first_behind, first_readable};

/// A disk after a crash, and what must be on it.
struct Crashed {
    disk: SimStorage,
    kind: Kind,
    model: Model,
    now: Now,
    rng: Rng,
    /// Of each partition, where it begins behind the oldest segment that a start finds.
    behind: Vec<i64>,
    /// The oldest segment that one finds.
    oldest: SegmentSeq,
    /// Starts that served though something failed, and that gave up.
    served: u64,
    refused: u64,
}

impl Crashed {
    /// A workload that is cut at some instant. Failures before that may have used up the spares.
    fn new(seed: u64, kind: Kind) -> Crashed {
        let mut run = Run::new(seed, kind, Cuts::Nowhere);
        for _ in 0..run.rng.below(200) {
            run.step();
        }
        for _ in 0..run.rng.below(4) {
            let after = run.rng.below(3);
            run.host.storage.fail(Op::Sync, Failing::Once(after));
            for _ in 0..8 {
                run.step();
            }
        }
        run.host.storage.fail(Op::Sync, Failing::Never);
        let (mut forks, mut model) = (Vec::new(), Model::default());
        while forks.is_empty() {
            run.step();
            model = run.model.clone();
            run.host.storage.record_forks(true);
            run.work();
            run.host.storage.record_forks(false);
            forks = run.host.storage.forks_take();
        }
        let (_, disk) = forks.swap_remove(run.rng.below(forks.len() as u64) as usize);
        let cut = Cut::ALL[run.rng.below(5) as usize];
        disk.power_cut(cut);
        let now = Now { mono: Mono(0), ..run.host.now };
        let rng = run.rng;
        let works = Host::open(Arc::new(disk.fork(seed)), config(kind), now).unwrap();
        let partitions = PARTITIONS.iter();
        let behind = partitions.map(|(topic, index)| first_behind(&works, topic, *index, 1));
        let behind = behind.collect();
        let oldest = works.broker.log.segments(RingIndex(0)).next().unwrap().seq;
        Crashed { disk, kind, model, now, rng, behind, oldest, served: 0, refused: 0 }
    }

    /// All starts over it.
    fn start_in_all_ways(&mut self) {
        for op in [Op::Read, Op::Write, Op::Sync] {
            for how in [Failing::Once, |k| Failing::Burst(k, 3), Failing::From] {
                let mut k = 0;
                while self.start(op, how(k)) {
                    k += 1;
                }
                assert!(k > 0 || op == Op::Sync, "a start does some {op:?}");
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
        let opened = Host::open(Arc::clone(&disk), config(self.kind), self.now);
        disk.record_forks(false);
        let failed = disk.counts().failed > before.failed;
        // What it says is lost is, and what a start overwrites that is refused later on.
        let mut model = self.model.clone();
        model.oldest = Some(self.oldest);
        for (_, fork) in disk.forks_take() {
            let cut = Cut::ALL[self.rng.below(5) as usize];
            opens_after(&fork, cut, self.kind, &model, self.now);
        }
        match opened {
            Ok(mut host) => {
                let kept = PARTITIONS.iter().zip(&self.behind);
                for ((topic, index), behind) in kept.filter(|((topic, _), _)| *topic != COMPACTED) {
                    let first = first_readable(&mut host, topic, *index);
                    assert!(first <= *behind, "{topic}-{index} from {first}, there from {behind}");
                }
                self.served += u64::from(failed);
                let mut model = self.model.clone();
                model.note_lost(&host);
                self.go_on(host, model, op);
                return failed;
            }
            Err(OpenError::Unreadable(_)) => {
                assert_eq!(disk.counts().written_bytes, before.written_bytes, "it wrote");
            }
            Err(OpenError::Disk(_)) if failed => {}
            Err(error) => panic!("{error}"),
        }
        self.refused += 1;
        let cut = Cut::ALL[self.rng.below(5) as usize];
        opens_after(&disk, cut, self.kind, &model, self.now);
        failed
    }

    /// The start served: what it shows stays, also while the disk goes on failing and when it works.
    fn go_on(&mut self, host: Host, model: Model, op: Op) {
        if op == Op::Read {
            host.storage.fail(op, Failing::Never);
        }
        let disk = Arc::clone(&host.storage);
        let (cuts, rng) = (Cuts::InOneWay(self.rng.next() >> 8), Rng::new(self.rng.next()));
        let kind = self.kind;
        let owed = Vec::new();
        let mut run = Run { kind, host, model, rng, owed, cuts, instants: 0, carrying: 0 };
        run.model.check(&mut run.host);
        for _ in 0..3 {
            run.host.pass_us(300_000);
            run.step();
        }
        disk.fail(op, Failing::Never);
        run.progress();
        disk.record_forks(false);
        run.cuts = Cuts::Nowhere;
        run.go_on();
    }
}

#[test]
fn whatever_fails_while_the_broker_starts_nothing_acknowledged_or_shown_is_lost() {
    for seed in seeds(12, &[]) {
        let _hint = repeats(seed, None);
        let kind = [Kind::Pages, Kind::Sectors, Kind::Two][(seed % 3) as usize];
        let mut crashed = Crashed::new(seed, kind);
        crashed.start_in_all_ways();
        assert!(crashed.served > 10 && crashed.refused > 10, "{}", crashed.served);
    }
}
