//! The crash loop over a ring that is full and held: the power is cut at every write and sync, and
//! what was acknowledged and not had must be there, with all commits, and go on. A failure prints
//! `SEED=… CRASH=…`; with these in the environment the test runs nothing but that.

mod known;
mod starts;

use std::sync::Arc;

use brooklet::api::Step;
use brooklet::storage::sim::{Cut, Failing, Op, Rng, SimStorage};
use brooklet::types::{RingIndex, Settle, Until};
use kafka_protocol::messages::ApiKey;

use super::rig::{Rig, SYNCS, commit, offset_syncs};
use crate::crash::{Hint, asked, repeats, seeds};
use crate::host::{NOON_MS, PLAIN, batch, frame};
use crate::produce::{create_topic, produce};
use known::{GROUPS, HELD, HOLDER, Kind, Known, PARTITIONS, RELAXED};

enum Owed {
    /// A record of a partition: offset and number.
    Record(usize, i64, u64),
    /// The holder is so far.
    Report(usize, i64),
    Commit(usize, i64),
}

struct Run {
    rig: Rig,
    known: Known,
    owed: Vec<(Until, Owed)>,
    rng: Rng,
    cuts: Cuts,
    instants: u64,
    held: u64,
    number_next: u64,
}

/// Where the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cuts {
    Nowhere,
    /// At every instant, in every way; the seed, to be printed.
    Everywhere(u64),
    /// At every instant, in some way, without going on from there.
    InOneWay(u64),
}

impl Run {
    fn new(seed: u64, kind: Kind, cuts: Cuts) -> Run {
        let mut rig = Rig::with(kind.config());
        if kind == Kind::Group {
            rig.host.storage.tear_sectors();
        }
        let relaxed = [("flush.ms", "700"), ("flush.messages", "4")];
        create_topic(&mut rig.host, RELAXED, 1, &relaxed);
        match kind {
            Kind::Mirror => create_topic(&mut rig.host, SYNCS, 1, &[]),
            Kind::Group => {}
            Kind::Beside => create_topic(&mut rig.host, "plain", 1, &[]),
        }
        Run::over(rig, Known::new(kind), Rng::new(seed), cuts)
    }

    fn over(rig: Rig, known: Known, rng: Rng, cuts: Cuts) -> Run {
        let number_next = rng.clone().next();
        Run { rig, known, owed: Vec::new(), rng, cuts, instants: 0, held: 0, number_next }
    }

    /// One thing that clients may do, and some of the disk's work.
    fn step(&mut self) {
        match self.rng.below(8) {
            0..3 => {
                let place = self.rng.below(self.known.kind.partitions().len() as u64) as usize;
                self.send(place);
            }
            // The holder is slow.
            3 if self.rng.one_in(4) => self.report_some(),
            4 if self.rng.one_in(4) => self.rig.host.pass_us(1_500_000),
            // The mirror says once more what it said: nobody holds such records.
            5 if self.known.kind == Kind::Mirror => self.report_again(),
            _ => self.commit(),
        }
        for _ in 0..self.rng.below(4) {
            self.work();
        }
    }

    fn send(&mut self, place: usize) {
        let (topic, index) = PARTITIONS[place];
        let next = self.rig.host.broker.partition_asked(topic, index).unwrap().next.0;
        let number = self.number_next;
        self.number_next = number.wrapping_add(1);
        let mut value = [next.to_be_bytes(), number.to_be_bytes()].concat();
        value.resize(RECORD_BYTES, next as u8);
        let records = batch(PLAIN, NOON_MS, &[&value]);
        match self.rig.step(&produce(-1, topic, &[(index, Some(records))])) {
            Step::ReplyAfter { until, .. } => {
                self.owed.push((until, Owed::Record(place, next, number)));
            }
            Step::Held(_) => self.held += 1,
            Step::Again(_) | Step::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self) {
        let group = self.rng.below(GROUPS.len() as u64) as usize;
        let offset = self.known.committed[group].1 + 1;
        if let Some(until) = self.commit_as(GROUPS[group], 0, offset) {
            self.known.committed[group].1 = offset;
            self.owed.push((until, Owed::Commit(group, offset)));
        }
    }

    fn commit_as(&mut self, group: &str, place: usize, offset: i64) -> Option<Until> {
        let (topic, index) = PARTITIONS[place];
        let request = commit(group, topic, index, offset);
        match self.rig.host.dispatch(&frame(ApiKey::OffsetCommit, 8, &request)).0 {
            Step::ReplyAfter { until, .. } => Some(until),
            Step::Again(_) | Step::Reply { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    /// The holder has had all or part of what is there.
    fn report_some(&mut self) {
        let place = self.rng.below(HELD as u64) as usize;
        let (topic, index) = PARTITIONS[place];
        let (from, end) = (self.known.reported[place].1, self.rig.bounds(topic, index).1);
        if from < end {
            let had = from + 1 + self.rng.below((end - from) as u64) as i64;
            self.report(place, had);
        }
    }

    /// The holder has had all below this offset.
    fn report(&mut self, place: usize, had: i64) {
        let (topic, index) = PARTITIONS[place];
        let until = if self.known.kind == Kind::Mirror {
            let records = offset_syncs(&[(topic, index, had - 1)]);
            match self.rig.step(&produce(-1, SYNCS, &[(0, Some(records))])) {
                Step::ReplyAfter { until, .. } => Some(until),
                Step::Again(_) | Step::Reply { .. } => None,
                other => panic!("{other:?}"),
            }
        } else {
            self.commit_as(HOLDER, place, had)
        };
        if let Some(until) = until {
            self.known.reported[place].1 = had;
            self.owed.push((until, Owed::Report(place, had)));
        }
    }

    fn report_again(&mut self) {
        let place = self.rng.below(HELD as u64) as usize;
        let (topic, index) = PARTITIONS[place];
        let had = self.known.reported[place].1;
        let records = offset_syncs(&[(topic, index, had.max(1) - 1)]);
        if had > 0 {
            self.rig.step(&produce(-1, SYNCS, &[(0, Some(records))]));
        }
    }

    /// One step of the disk's work; where the power is cut, each of its instants is one.
    fn work(&mut self) -> bool {
        let cuts = self.cuts != Cuts::Nowhere;
        if cuts {
            self.rig.host.storage.record_forks(true);
        }
        let worked = self.rig.host.work();
        if cuts {
            for (_, fork) in self.rig.host.storage.forks_take() {
                self.instants += 1;
                self.cut(&fork);
            }
        }
        self.answers();
        worked
    }

    /// Answers that are due reach their clients; what is visible is read.
    fn answers(&mut self) {
        let (log, known) = (&self.rig.host.broker.log, &mut self.known);
        self.owed.retain(|(until, owed)| match log.settled(until) {
            Settle::Pending => true,
            Settle::Failed => false,
            Settle::Done => {
                match *owed {
                    Owed::Record(place, offset, number) => {
                        known.acknowledged(place, offset, number)
                    }
                    Owed::Report(place, had) => known.reported[place].0 = had,
                    Owed::Commit(group, offset) => known.committed[group].0 = offset,
                }
                false
            }
        });
        self.known.look(&mut self.rig);
    }

    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.owed.is_empty() {
                return;
            }
            if !self.work() {
                assert!(self.rig.host.sleep(), "nothing is left to do, and answers are owed");
            }
        }
        panic!("answers are owed for ever");
    }

    /// The disk works: the holder's reports are stored, and the ring goes on over what they release.
    fn progress(&mut self) {
        let ring = RingIndex(u8::from(self.known.kind == Kind::Beside));
        let before = self.rig.host.broker.log.stats(ring).evicted;
        let mut stored = 0;
        for _ in 0..PROGRESS_MAX {
            if self.rig.host.broker.log.is_failing(ring) || stored == 0 {
                self.rig.host.pass_us(31_000_000);
            }
            while self.work() {}
            for (place, (topic, index)) in PARTITIONS[..HELD].iter().copied().enumerate() {
                let end = self.rig.bounds(topic, index).1;
                if self.known.reported[place].0 < end {
                    self.report(place, end);
                    self.finish();
                }
            }
            let there = self.known.shown[0].len();
            self.send(0);
            self.finish();
            stored += usize::from(self.known.shown[0].len() > there);
            if self.rig.host.broker.log.stats(ring).evicted > before && stored > 0 {
                return;
            }
        }
        let stats = self.rig.host.broker.log.stats(ring);
        panic!("the disk works, and the ring is stuck: {stored} records, {stats:?}");
    }

    /// The power is cut here.
    fn cut(&self, fork: &SimStorage) {
        let instant = self.instants;
        let seed = match self.cuts {
            Cuts::Everywhere(seed) => seed,
            Cuts::InOneWay(seed) => {
                let cut = Cut::ALL[((seed + instant) % 5) as usize];
                return opens_after(fork, cut, &self.rig, &self.known);
            }
            Cuts::Nowhere => return,
        };
        if asked("CRASH").is_some_and(|crash| crash != instant) {
            return;
        }
        for cut in Cut::ALL {
            let (_how, _hint) = (Hint(format!("{cut:?}")), repeats(seed, Some(instant)));
            let disk = fork.fork(seed ^ instant);
            let all_synced = disk.is_synced();
            disk.power_cut(cut);
            self.after_crash(Arc::new(disk), seed ^ instant);
            if all_synced {
                break;
            }
        }
    }

    /// Opens what a crash left, compares, goes on a while, and opens it once more.
    fn after_crash(&self, disk: Arc<SimStorage>, seed: u64) {
        let mut rig = Rig { host: self.rig.host_over(disk), config: self.rig.config.clone() };
        let mut known = self.known.clone();
        known.check(&mut rig);
        Run::over(rig, known, Rng::new(seed), Cuts::Nowhere).go_on();
    }

    /// Clients go on for a while, and the ring when its holder does; then a new process opens the ring.
    fn go_on(&mut self) {
        for _ in 0..10 {
            self.step();
        }
        self.finish();
        self.progress();
        self.rig.reopen();
        self.known.check(&mut self.rig);
    }
}

/// The power is cut and comes back: all must be there.
fn opens_after(fork: &SimStorage, cut: Cut, rig: &Rig, known: &Known) {
    let _hint = Hint(format!("then the power is cut ({cut:?})"));
    let disk = fork.fork(rig.host.now.mono.0);
    disk.power_cut(cut);
    let mut rig = Rig { host: rig.host_over(Arc::new(disk)), config: rig.config.clone() };
    known.clone().check(&mut rig);
}

#[test]
fn whenever_the_power_is_cut_a_full_ring_loses_nothing_that_is_held() {
    // What one run does not come to, others do.
    let (mut held, mut evicted, mut freed) = (0, 0, 0);
    for seed in seeds(3, &[]) {
        let _hint = repeats(seed, None);
        let kind = Kind::ALL[(seed % 3) as usize];
        let mut run = Run::new(seed, kind, Cuts::Everywhere(seed));
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
        let stats = run.rig.stats();
        held += run.held;
        evicted += stats.evicted;
        freed += stats.freed;
        assert!(run.instants > 300, "only {} instants", run.instants);
    }
    assert!(held > 0 && evicted > 0 && freed > 0, "{held} held, {evicted} evicted, {freed} freed");
}

#[test]
fn whatever_fails_on_a_full_ring_it_loses_nothing_that_is_held_and_goes_on_when_that_is_released() {
    for seed in seeds(90, &[]) {
        let _hint = repeats(seed, None);
        let kind = Kind::ALL[(seed % 3) as usize];
        let mut run = Run::new(seed, kind, Cuts::Nowhere);
        for _ in 0..100 + run.rng.below(200) {
            run.step();
        }
        for round in 0..4 {
            // Up to three failures before the holder comes on.
            for _ in 0..=run.rng.below(3) {
                let (op, after) =
                    ([Op::Write, Op::Sync][(seed / 3 % 2) as usize], run.rng.below(6));
                run.rig.host.storage.fail(op, Failing::Once(after));
                for _ in 0..60 {
                    run.step();
                }
            }
            run.rig.host.storage.fail(Op::Write, Failing::Never);
            run.rig.host.storage.fail(Op::Sync, Failing::Never);
            if round % 2 == 1 {
                run.rig.host.storage.process_kill();
            }
            run.finish();
            if round == 2 {
                run.rig.reopen();
                run.known.check(&mut run.rig);
            }
            run.progress();
            run.rig.reopen();
            run.known.check(&mut run.rig);
        }
    }
}

const STEPS: u64 = 500;
/// Seven fill a segment.
const RECORD_BYTES: usize = 14 << 10;
/// More than fill a ring twice.
const PROGRESS_MAX: usize = 100;
