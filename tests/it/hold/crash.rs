//! The crash loop over a ring that is full and held: the power is cut at every write and sync, and
//! what was acknowledged and not had must be there, with all commits, and go on. A failure prints
//! `SEED=… CRASH=…`; with these in the environment the test runs nothing but that.

use std::collections::BTreeSet;
use std::sync::Arc;

use brooklet::api::Step;
use brooklet::storage::sim::{Cut, Failing, Op, Rng, SimStorage};
use brooklet::types::{Settle, Until};
use kafka_protocol::messages::ApiKey;

use super::rig::{RING, Rig, SYNCS, commit, config, offset_syncs};
use crate::host::{NOON_MS, PLAIN, batch, frame};
use crate::produce::{create_topic, produce};

/// What clients know: of each partition of `t` which records were acknowledged, and how far the mirror
/// said that it is, at least and at most; and of each group the same.
#[derive(Debug, Clone, Default)]
struct Known {
    acknowledged: [BTreeSet<i64>; 2],
    reported: [(i64, i64); 2],
    committed: [(i64, i64); GROUPS.len()],
}

enum Owed {
    Record(usize, i64),
    Report(usize, i64),
    Commit(usize, i64),
}

struct Run {
    rig: Rig,
    known: Known,
    owed: Vec<(Until, Owed)>,
    rng: Rng,
    /// Set where the power is cut: the seed, to be printed.
    cuts: Option<u64>,
    instants: u64,
    held: u64,
}

impl Run {
    fn new(seed: u64, cuts: bool) -> Run {
        let mut config = config(&["mirror:up"]);
        config.rings[0].segment_bytes = 128 << 10;
        config.commit_group_max_bytes = 32 << 10;
        let mut rig = Rig::with(config);
        create_topic(&mut rig.host, SYNCS, 1, &[]);
        Run {
            rig,
            known: Known::default(),
            owed: Vec::new(),
            rng: Rng::new(seed),
            cuts: cuts.then_some(seed),
            instants: 0,
            held: 0,
        }
    }

    /// One thing that clients may do, and some of the disk's work.
    fn step(&mut self) {
        match self.rng.below(8) {
            0..3 => self.send(),
            // The mirror is slow.
            3 if self.rng.one_in(4) => self.report(),
            _ => self.commit(),
        }
        for _ in 0..self.rng.below(4) {
            self.work();
        }
    }

    fn send(&mut self) {
        let index = self.rng.below(2) as usize;
        let state = self.rig.host.broker.log.state();
        let partition = self.rig.host.broker.partition_asked("t", index as i32).unwrap();
        let next = partition.next.0;
        assert!(state.partitions_len() == 3);
        let mut value = next.to_be_bytes().to_vec();
        value.resize(RECORD_BYTES, next as u8);
        let records = batch(PLAIN, NOON_MS, &[&value]);
        match self.rig.step(&produce(-1, "t", &[(index as i32, Some(records))])) {
            Step::ReplyAfter { until, .. } => {
                self.owed.push((until, Owed::Record(index, next)));
            }
            Step::Held(_) => self.held += 1,
            Step::Again(_) | Step::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self) {
        let group = self.rng.below(GROUPS.len() as u64) as usize;
        let offset = self.known.committed[group].1 + 1;
        let request = commit(GROUPS[group], "t", 0, offset);
        let (step, _) = self.rig.host.dispatch(&frame(ApiKey::OffsetCommit, 8, &request));
        match step {
            Step::ReplyAfter { until, .. } => {
                self.known.committed[group].1 = offset;
                self.owed.push((until, Owed::Commit(group, offset)));
            }
            Step::Again(_) | Step::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// The mirror has had all or part of what is there.
    fn report(&mut self) {
        let index = self.rng.below(2) as usize;
        let (_, end) = self.rig.bounds("t", index as i32);
        let from = self.known.reported[index].1;
        if from >= end {
            return;
        }
        let had = from + 1 + self.rng.below((end - from) as u64) as i64;
        let records = offset_syncs(&[("t", index as i32, had - 1)], 0);
        match self.rig.step(&produce(-1, SYNCS, &[(0, Some(records))])) {
            Step::ReplyAfter { until, .. } => {
                self.known.reported[index].1 = had;
                self.owed.push((until, Owed::Report(index, had)));
            }
            Step::Again(_) | Step::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// One step of the disk's work; where the power is cut, each of its instants is one.
    fn work(&mut self) -> bool {
        self.rig.host.storage.record_forks(self.cuts.is_some());
        let worked = self.rig.host.work();
        for (_, fork) in self.rig.host.storage.forks_take() {
            self.instants += 1;
            self.cut(&fork);
        }
        self.answers();
        worked
    }

    /// Answers that are due reach their clients.
    fn answers(&mut self) {
        let (log, known) = (&self.rig.host.broker.log, &mut self.known);
        self.owed.retain(|(until, owed)| match log.settled(until) {
            Settle::Pending => true,
            Settle::Failed => false,
            Settle::Done => {
                match *owed {
                    Owed::Record(index, offset) => {
                        known.acknowledged[index].insert(offset);
                    }
                    Owed::Report(index, had) => known.reported[index].0 = had,
                    Owed::Commit(group, offset) => known.committed[group].0 = offset,
                }
                false
            }
        });
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

    /// The power is cut here, in every way.
    fn cut(&self, fork: &SimStorage) {
        let seed = self.cuts.expect("forks are recorded for cuts");
        let instant = self.instants;
        if asked("CRASH").is_some_and(|crash| crash != instant) {
            return;
        }
        for cut in Cut::ALL {
            let _hint = Hint(format!("SEED={seed} CRASH={instant} ({cut:?})"));
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
        let rng = Rng::new(seed);
        let owed = Vec::new();
        let mut run = Run { rig, known, owed, rng, cuts: None, instants: 0, held: 0 };
        for _ in 0..10 {
            run.step();
        }
        run.finish();
        run.rig.reopen();
        run.known.check(&mut run.rig);
    }
}

impl Known {
    /// Compares with what is there after a start, and takes that over.
    fn check(&mut self, rig: &mut Rig) {
        for index in 0..2 {
            let (start, end) = rig.bounds("t", index as i32);
            let (least, most) = self.reported[index];
            let position = rig.position("t", index as i32).map_or(0, |position| position.0);
            assert!((least..=most).contains(&position), "{position} of {:?}", self.reported[index]);
            let there = records(rig, index, start, end);
            let held = self.acknowledged[index].range(most.max(start)..);
            let lost: Vec<_> = held.filter(|offset| !there.contains(offset)).collect();
            let gone: Vec<_> = self.acknowledged[index].range(most..start.max(most)).collect();
            assert!(lost.is_empty() && gone.is_empty(), "t-{index}: {lost:?}, {gone:?}");
            self.acknowledged[index] = there;
            self.reported[index] = (position, position);
        }
        for (name, (least, most)) in GROUPS.iter().zip(&mut self.committed) {
            let state = rig.host.broker.log.state();
            let handle = rig.host.broker.partition_asked("t", 0).unwrap().handle;
            let group = state.group_named(name);
            let found = group.and_then(|group| state.offset_of(group, handle));
            let offset = found.map_or(0, |found| found.offset.0);
            assert!((*least..=*most).contains(&offset), "{name}: {offset}, {least} to {most}");
            (*least, *most) = (offset, offset);
        }
    }
}

/// Which records can be fetched; what a cut took leaves a gap.
fn records(rig: &mut Rig, index: usize, start: i64, end: i64) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    let mut next = start;
    while next < end {
        let bytes = rig.host.fetch("t", index as i32, next);
        let before = next;
        for batch in brooklet::codec::batch::batches(&bytes) {
            assert!(batch.crc_holds());
            // One that stands for offsets without records shows none.
            let records = batch.records().unwrap().filter(|_| !batch.header.is_control());
            for record in records {
                let record = record.unwrap();
                assert_eq!(record.value.unwrap()[..8], record.offset.to_be_bytes());
                assert!(found.insert(record.offset), "{} is there twice", record.offset);
            }
            next = batch.header.last_offset() + 1;
        }
        assert!(next > before, "a reader comes no further than {before} of {end}");
    }
    found
}

/// Is printed when a test fails.
struct Hint(String);

impl Drop for Hint {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    asked("SEED").map_or(1..count + 1, |seed| seed..seed + 1)
}

#[test]
fn whenever_the_power_is_cut_a_full_ring_loses_nothing_that_is_held() {
    for seed in seeds(1) {
        let _hint = Hint(format!("SEED={seed}"));
        let mut run = Run::new(seed, true);
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
        let stats = run.rig.host.broker.log.stats(RING);
        assert!(run.held > 20 && stats.evicted > 2 && stats.freed > 2, "{} {stats:?}", run.held);
        assert!(run.instants > 500, "only {} instants", run.instants);
    }
}

#[test]
fn whatever_fails_on_a_full_ring_loses_nothing_that_is_held() {
    for seed in seeds(60) {
        let _hint = Hint(format!("SEED={seed}"));
        let mut run = Run::new(seed, false);
        for _ in 0..100 + run.rng.below(200) {
            run.step();
        }
        for _ in 0..4 {
            let (op, after) = ([Op::Write, Op::Sync][(seed % 2) as usize], run.rng.below(6));
            run.rig.host.storage.fail(op, Failing::Once(after));
            for _ in 0..60 {
                run.step();
            }
        }
        run.finish();
        run.rig.reopen();
        run.known.check(&mut run.rig);
    }
}

const STEPS: u64 = 500;
/// Seven fill a segment.
const RECORD_BYTES: usize = 14 << 10;
const GROUPS: [&str; 2] = ["a", "b"];
