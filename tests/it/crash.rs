//! The crash loop: a workload over a small ring is cut at every write and at every sync, in every
//! way that a power cut can treat what was not synced; after each cut the broker is opened again,
//! and a model says what must be there. A failure prints `SEED=… CRASH=…`; with these in the
//! environment the tests run nothing but that.

mod starts;

use std::sync::Arc;

use brooklet::api::Step;
use brooklet::clock::{Mono, Now};
use brooklet::config::Config;
use brooklet::storage::sim::{Cut, Failing, Op, Rng, SimStorage};
use brooklet::types::{RingIndex, Settle, Until};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{ApiKey, GroupId, OffsetCommitRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;

use crate::host::{Host, NOON_MS, config_small, frame, read_answer};
use crate::model::{Batch, COMPACTED, Model, PARTITIONS, PRODUCERS, RELAXED_MESSAGES, RELAXED_MS};
use crate::produce::{create_topic, produce, topic_name};

/// A workload under way: the broker, what is known of it, and answers that are still owed.
struct Run {
    kind: Kind,
    host: Host,
    model: Model,
    rng: Rng,
    owed: Vec<Owed>,
    cuts: Cuts,
    instants: u64,
    /// Those of them in which records were carried.
    carrying: u64,
}

struct Owed {
    until: Until,
    what: What,
}

enum What {
    /// A batch of the model, by its place there.
    Batch(usize),
    Commit(i64),
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

/// Over which rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One ring, whose groups start on pages.
    Pages,
    /// One whose groups start on sectors, on a disk that tears no more than those.
    Sectors,
    /// Two: topic b and one that relaxes its syncs have their own.
    Two,
}

impl Run {
    fn new(seed: u64, kind: Kind, cuts: Cuts) -> Run {
        let storage = Arc::new(SimStorage::new(seed));
        if kind == Kind::Sectors {
            storage.tear_sectors();
        }
        let now = Now { mono: Mono(0), wall_ms: NOON_MS, wall_synchronised: true };
        let host = Host::open(storage, config(kind), now).unwrap();
        let mut run = Run {
            kind,
            host,
            model: Model::default(),
            rng: Rng::new(seed),
            owed: Vec::new(),
            cuts,
            instants: 0,
            carrying: 0,
        };
        run.model.boot(run.host.broker.log.state().boot);
        create_topic(&mut run.host, "a", 2, &[]);
        create_topic(&mut run.host, "b", 1, &[]);
        create_topic(&mut run.host, RELAXED_MS, 1, &[("flush.ms", "700")]);
        create_topic(&mut run.host, RELAXED_MESSAGES, 1, &[("flush.messages", "3")]);
        create_topic(&mut run.host, COMPACTED, 1, &[("cleanup.policy", "compact")]);
        run
    }

    /// One thing that clients may do, and some of the disk's work.
    fn step(&mut self) {
        match self.rng.below(10) {
            0..4 => {
                let partition = self.rng.below(PARTITIONS.len() as u64) as usize;
                self.send_new(partition, None);
            }
            4..8 => {
                let producer = self.rng.below(PRODUCERS.len() as u64) as usize;
                let unanswered: Vec<usize> = self.model.unanswered(producer).collect();
                match unanswered.iter().find(|place| !self.owes(**place)) {
                    // A client sends what failed again before anything new.
                    Some(place) => self.send(*place),
                    None if unanswered.len() >= 5 => {}
                    None => self.send_new(PRODUCERS[producer], Some(producer)),
                }
            }
            8 => self.commit(),
            _ => self.host.pass_us(1_500_000),
        }
        for _ in 0..self.rng.below(4) {
            self.work();
        }
    }

    fn owes(&self, place: usize) -> bool {
        let is = |owed: &Owed| matches!(owed.what, What::Batch(other) if other == place);
        self.owed.iter().any(is)
    }

    fn send_new(&mut self, partition: usize, producer: Option<usize>) {
        let records = 1 + self.rng.below(4) as usize;
        let lengths: Vec<usize> =
            (0..records).map(|_| 10 + self.rng.below(1500) as usize).collect();
        let place = self.model.batch_new(partition, producer, &lengths);
        self.send(place);
    }

    /// Sends a batch of the model, for the first time or again.
    fn send(&mut self, place: usize) {
        let batch = self.model.batches[place].clone();
        let request = request_for(&batch);
        for _ in 0..1000 {
            let (step, answer) = self.host.dispatch(&request);
            match step {
                Step::Again(_) => {
                    if !self.work() {
                        assert!(self.host.sleep(), "it must wait, and there is nothing to do");
                    }
                }
                Step::Reply { .. } | Step::ReplyAfter { .. } => {
                    let (code, offset) = read_produced(&answer);
                    if code == STORAGE_ERROR {
                        return;
                    }
                    assert_eq!(code, 0, "{:?}", self.model.batches[place]);
                    self.model.placed(place, offset);
                    match step {
                        Step::ReplyAfter { until, .. } => {
                            self.owed.push(Owed { until, what: What::Batch(place) });
                        }
                        _ => self.model.answered(place),
                    }
                    self.answers();
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("there is never room for it");
    }

    fn commit(&mut self) {
        let offset = self.model.commit_new();
        let (step, _) = self.host.dispatch(&commit_request(offset));
        match step {
            Step::ReplyAfter { until, .. } => {
                self.owed.push(Owed { until, what: What::Commit(offset) });
            }
            Step::Again(_) | Step::Reply { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// One step of the disk's work; where cuts are tried, each of its instants is one.
    fn work(&mut self) -> bool {
        if self.cuts != Cuts::Nowhere {
            self.host.storage.record_forks(true);
        }
        let carried = self.carried_records();
        let worked = self.host.work();
        let carries = self.carried_records() > carried;
        self.model.note_lost(&self.host);
        if self.cuts != Cuts::Nowhere {
            for (_, fork) in self.host.storage.forks_take() {
                self.instants += 1;
                self.carrying += u64::from(carries);
                self.cut(&fork);
            }
        }
        self.answers();
        worked
    }

    fn carried_records(&self) -> u64 {
        self.host.broker.log.stats(RingIndex(0)).carried_records
    }

    /// Answers that are due reach their clients; what is visible is seen.
    fn answers(&mut self) {
        let mut owed = std::mem::take(&mut self.owed);
        owed.retain(|owed| match self.host.broker.log.settled(&owed.until) {
            Settle::Pending => true,
            Settle::Done => {
                match owed.what {
                    What::Batch(place) => self.model.answered(place),
                    What::Commit(offset) => self.model.committed(offset),
                }
                false
            }
            Settle::Failed => false,
        });
        self.owed = owed;
        self.model.look(&mut self.host);
    }

    /// Works until nothing is owed, or only what cannot be.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.owed.is_empty() {
                return;
            }
            if !self.work() {
                assert!(self.host.sleep(), "nothing is left to do, and answers are owed");
            }
        }
        panic!("answers are owed for ever");
    }

    /// The power is cut here.
    fn cut(&self, fork: &SimStorage) {
        let instant = self.instants;
        let seed = match self.cuts {
            Cuts::Everywhere(seed) => seed,
            Cuts::InOneWay(seed) => {
                let cut = Cut::ALL[((seed + instant) % 5) as usize];
                return opens_after(fork, cut, self.kind, &self.model, self.host.now);
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
            let (model, now) = (self.model.clone(), self.host.now);
            after_crash(Arc::new(disk), self.kind, model, now, seed ^ instant);
            if all_synced {
                break;
            }
        }
    }
}

/// The power is cut and comes back: all must be there.
fn opens_after(fork: &SimStorage, cut: Cut, kind: Kind, model: &Model, now: Now) {
    let _hint = Hint(format!("then the power is cut ({cut:?})"));
    let disk = fork.fork(now.mono.0);
    disk.power_cut(cut);
    let now = Now { mono: Mono(0), ..now };
    let mut host = Host::open(Arc::new(disk), config(kind), now).unwrap();
    model.clone().check(&mut host);
}

/// Opens what a crash left, and compares. Then clients send again what was not acknowledged, go on
/// a while, and the broker is stopped and opened once more.
fn after_crash(disk: Arc<SimStorage>, kind: Kind, model: Model, now: Now, seed: u64) -> Run {
    let now = Now { mono: Mono(0), ..now };
    disk.record_forks(true);
    let host = Host::open(disk, config(kind), now).unwrap();
    let forks = host.storage.forks_take();
    host.storage.record_forks(false);
    let rng = Rng::new(seed);
    let cuts = Cuts::Nowhere;
    let mut run = Run { kind, host, model, rng, owed: Vec::new(), cuts, instants: 0, carrying: 0 };
    run.cut_again(&forks);
    run.model.check(&mut run.host);
    run.go_on();
    run
}

impl Run {
    /// Clients send again what was not acknowledged, and go on a while; then a clean stop.
    fn go_on(&mut self) {
        for producer in 0..PRODUCERS.len() {
            for place in self.model.unanswered(producer).collect::<Vec<_>>() {
                self.send(place);
                self.finish();
            }
        }
        for _ in 0..6 {
            self.step();
        }
        self.finish();
        self.host.close();
        self.reopen();
    }

    /// The disk works: a record and a commit are soon stored, whatever failed before.
    fn progress(&mut self) {
        for _ in 0..8 {
            self.host.pass_us(31_000_000);
            while self.work() {}
            let place = self.model.batch_new(0, None, &[100]);
            self.send(place);
            self.commit();
            self.finish();
            let committed = self.model.commit_acknowledged == self.model.commit_last();
            if self.model.batches[place].acknowledged && committed {
                return;
            }
        }
        panic!("the disk works, and the broker stores nothing any more");
    }

    /// The power is cut once more, while the broker started.
    fn cut_again(&mut self, forks: &[(u64, SimStorage)]) {
        if forks.is_empty() || !self.rng.one_in(4) {
            return;
        }
        let instant = self.rng.below(forks.len() as u64) as usize;
        let cut = Cut::ALL[self.rng.below(5) as usize];
        let _hint =
            Hint(format!("then instant {instant} of {} of the start ({cut:?})", forks.len()));
        let (_, fork) = &forks[instant];
        let disk = fork.fork(self.rng.next());
        disk.power_cut(cut);
        let mut host = Host::open(Arc::new(disk), config(self.kind), self.host.now).unwrap();
        self.model.clone().check(&mut host);
    }

    /// A new process over the same disk.
    fn reopen(&mut self) {
        let disk = Arc::clone(&self.host.storage);
        self.host = Host::open(disk, config(self.kind), self.host.now).unwrap();
        self.model.check(&mut self.host);
    }
}

fn request_for(batch: &Batch) -> Vec<u8> {
    let (topic, index) = PARTITIONS[batch.partition];
    let request = produce(-1, topic, &[(index, Some(batch.bytes()))]);
    frame(ApiKey::Produce, PRODUCE_VERSION, &request)
}

/// Error code and base offset.
fn read_produced(answer: &[u8]) -> (i16, i64) {
    let answer: ProduceResponse = read_answer(ApiKey::Produce, PRODUCE_VERSION, answer);
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

fn commit_request(offset: i64) -> Vec<u8> {
    let (topic, index) = PARTITIONS[0];
    let mut partition = OffsetCommitRequestPartition::default();
    partition.partition_index = index;
    partition.committed_offset = offset;
    let mut asked = OffsetCommitRequestTopic::default();
    asked.name = topic_name(topic);
    asked.partitions.push(partition);
    let mut request = OffsetCommitRequest::default();
    request.group_id = GroupId(StrBytes::from_static_str("g"));
    request.generation_id_or_member_epoch = -1;
    request.topics.push(asked);
    frame(ApiKey::OffsetCommit, 8, &request)
}

fn config(kind: Kind) -> Config {
    let mut config = config_small(4, 64 << 10);
    config.commit_group_max_bytes = 16 << 10;
    // Several portions of a segment are carried.
    config.compaction_keys_max = 64;
    if kind == Kind::Sectors {
        config.commit_alignment = 512;
    }
    if kind == Kind::Two {
        config.commit_group_small_bytes = 4 << 10;
        let mut other = config.rings[0].clone();
        config.rings[0].topics = vec!["a".into(), RELAXED_MS.into(), COMPACTED.into()];
        (other.name, other.topics) = ("other".into(), vec!["b".into(), RELAXED_MESSAGES.into()]);
        config.rings.push(other);
    }
    config
}

/// A number from the environment.
pub fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of a test: so many, or as the environment says, `SEED=` alone or `SEEDS=` times as many
/// from there on. Those which found something are tried every time.
pub fn seeds(count: u64, found: &[u64]) -> Vec<u64> {
    let Some(seed) = asked("SEED") else {
        return (1..=count).chain(found.iter().copied()).collect();
    };
    let count = asked("SEEDS").map_or(1, |times| times * count);
    (seed..seed + count).collect()
}

/// Is printed when a test fails.
pub struct Hint(pub String);

/// What repeats a failure.
pub fn repeats(seed: u64, crash: Option<u64>) -> Hint {
    let test = std::thread::current().name().unwrap_or("crash").to_owned();
    let crash = crash.map_or(String::new(), |crash| format!(" CRASH={crash}"));
    Hint(format!("it is repeated by: SEED={seed}{crash} cargo test --locked --test it {test}"))
}

impl Drop for Hint {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

#[test]
fn whenever_the_power_is_cut_nothing_acknowledged_or_seen_is_lost() {
    for seed in seeds(1, &[]) {
        let _hint = repeats(seed, None);
        let mut run = Run::new(seed, Kind::Pages, Cuts::Everywhere(seed));
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
        let state = run.host.broker.log.state();
        let starts: Vec<(bool, i64)> =
            state.partitions().map(|(_, p)| (p.compacted, p.log_start.0)).collect();
        let round = starts.iter().all(|(compacted, start)| *compacted == (*start == 0));
        assert!(round, "the ring came round: {starts:?}");
        assert!(run.instants > 200, "only {} instants", run.instants);
        let carried = run.host.broker.log.stats(RingIndex(0)).carried_records;
        assert!(carried > 20 && run.carrying > 20, "{carried} carried, {} cuts", run.carrying);
        run.host.close();
        run.reopen();
        assert!(run.model.dropped > 20, "only {} dropped", run.model.dropped);
    }
}

#[test]
fn what_a_process_served_after_failed_syncs_is_there_after_it_was_killed_and_the_power_cut() {
    for seed in seeds(300, &[]) {
        let _hint = repeats(seed, None);
        let kind = [Kind::Pages, Kind::Sectors, Kind::Two][(seed % 3) as usize];
        let mut run = Run::new(seed, kind, Cuts::Nowhere);
        for _ in 0..run.rng.below(60) {
            run.step();
        }
        let (op, after) = (if seed % 3 == 0 { Op::Write } else { Op::Sync }, run.rng.below(8));
        let for_ever = run.rng.one_in(2);
        let failing = if for_ever { Failing::From(after) } else { Failing::Once(after) };
        run.host.storage.fail(op, failing);
        for _ in 0..30 {
            run.step();
        }
        let Run { host, model, .. } = run;
        host.storage.process_kill();
        let mut run = after_crash(host.storage, kind, model, host.now, seed);
        run.host.storage.power_cut(Cut::ALL[(seed % 5) as usize]);
        run.reopen();
    }
}

const STEPS: u64 = 220;
const PRODUCE_VERSION: i16 = 9;
const STORAGE_ERROR: i16 = 56;
