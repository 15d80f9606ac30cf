//! Compacted topics in a small ring that comes round many times: whatever happens, a consumer that
//! reads from the start ends with the newest value of each key, and with no key that was deleted.

mod far;
mod rules;
mod settings;
mod starts;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use brooklet::api::Step;
use brooklet::clock::{Mono, Now};
use brooklet::codec::batch::{Batch, batches};
use brooklet::config::{Config, Holder};
use brooklet::storage::sim::{Cut, Failing, Op, Rng, SimStorage};
use kafka_protocol::messages::{ApiKey, OffsetCommitResponse, ProduceResponse};

use crate::crash::{Hint, seeds};
use crate::hold::rig::commit;
use crate::host::{
    Host, Keyed, NOON_MS, PLAIN, config_small, frame, keyed_batch, packed, read_answer,
};
use crate::produce::{create_topic, produce};

/// What a key may be: by partition and number. A value is its number; none: deleted, or never there.
#[derive(Debug, Clone, Default)]
struct Model {
    keys: BTreeMap<(i32, u32), Key>,
    number_next: u64,
}

#[derive(Debug, Clone, Default)]
struct Key {
    /// What was acknowledged last.
    sure: Option<u64>,
    /// What was sent since and not acknowledged.
    maybe: Vec<Option<u64>>,
}

struct Run {
    host: Host,
    config: Config,
    model: Model,
    rng: Rng,
    instants: u64,
    deleted_seen: u64,
    held: u64,
}

/// One record that is sent: its key, and its value's number and length.
type Sent = (u32, Option<(u64, usize)>);

impl Run {
    fn new(seed: u64, config: Config) -> Run {
        let now = Now { mono: Mono(0), wall_ms: NOON_MS, wall_synchronised: true };
        let host = Host::open(Arc::new(SimStorage::new(seed)), config.clone(), now).unwrap();
        let (model, rng) = (Model::default(), Rng::new(seed));
        let mut run = Run { host, config, model, rng, instants: 0, deleted_seen: 0, held: 0 };
        create_topic(&mut run.host, "c", PARTITIONS, &[("cleanup.policy", "compact")]);
        create_topic(&mut run.host, "p", 1, &[]);
        run
    }

    /// Some records for one partition: mostly of a few keys, now and then of one that is seldom
    /// written.
    fn records(&mut self) -> Vec<Sent> {
        let count = 1 + self.rng.below(6);
        (0..count)
            .map(|_| {
                let key = match self.rng.below(5) {
                    0 => self.rng.below(40),
                    _ => self.rng.below(4),
                };
                self.model.number_next += 1;
                let value = (self.model.number_next, 8 + self.rng.below(300) as usize);
                (key as u32, (!self.rng.one_in(6)).then_some(value))
            })
            .collect()
    }

    /// Every other batch is compressed, with each codec.
    fn request(&mut self, partition: i32, sent: &[Sent]) -> Vec<u8> {
        let keys: Vec<_> = sent.iter().map(|(key, _)| format!("key-{key}")).collect();
        let values: Vec<_> = sent.iter().map(|(_, value)| value.map(value_of)).collect();
        let keys = keys.iter().map(|key| Some(key.as_bytes()));
        let records: Vec<_> = keys.zip(values.iter().map(|value| value.as_deref())).collect();
        let mut batch = keyed_batch(PLAIN, self.host.now.wall_ms, &records);
        let codec = self.rng.below(8) as u8;
        if (1..=4).contains(&codec) {
            batch = packed(&batch, codec);
        }
        frame(ApiKey::Produce, 9, &produce(-1, "c", &[(partition, Some(batch))]))
    }

    /// Sends records and waits for the acknowledgement.
    fn send(&mut self) {
        let partition = self.rng.below(PARTITIONS as u64) as i32;
        let sent = self.records();
        let request = self.request(partition, &sent);
        self.taken(&request);
        for (key, value) in sent {
            let value = value.map(|(number, _)| number);
            self.model.keys.insert((partition, key), Key { sure: value, maybe: Vec::new() });
        }
    }

    /// Sends records and waits for nothing.
    fn send_in_vain(&mut self) {
        let partition = self.rng.below(PARTITIONS as u64) as i32;
        let sent = self.records();
        let request = self.request(partition, &sent);
        let (step, _) = self.host.dispatch(&request);
        if matches!(step, Step::ReplyAfter { .. }) {
            for (key, value) in sent {
                let key = self.model.keys.entry((partition, key)).or_default();
                key.maybe.push(value.map(|(number, _)| number));
            }
        }
    }

    /// Something else that fills the ring.
    fn fill(&mut self) {
        let value = vec![7; 200 + self.rng.below(6000) as usize];
        let batch = keyed_batch(PLAIN, self.host.now.wall_ms, &[(None, Some(&value))]);
        self.taken(&frame(ApiKey::Produce, 9, &produce(-1, "p", &[(0, Some(batch))])));
    }

    /// The same, whatever comes of it.
    fn fill_in_vain(&mut self) {
        let value = vec![7; 200 + self.rng.below(6000) as usize];
        let batch = keyed_batch(PLAIN, self.host.now.wall_ms, &[(None, Some(&value))]);
        self.host.dispatch(&frame(ApiKey::Produce, 9, &produce(-1, "p", &[(0, Some(batch))])));
    }

    /// The disk does all that it can.
    fn settle_all(&mut self) {
        for _ in 0..1000 {
            if !self.host.work() {
                return;
            }
        }
        panic!("the disk is never done");
    }

    /// Records are acknowledged; where the ring is held, once its holder has had others.
    fn taken(&mut self, request: &[u8]) {
        let mut answer = self.host.exchange(request);
        if answer == Err("held") {
            self.held += 1;
            self.had();
            answer = self.host.exchange(request);
        }
        assert_eq!(code_of(&answer.unwrap().unwrap()), 0);
    }

    /// The holder has had all that there is.
    fn had(&mut self) {
        for (topic, index) in (0..PARTITIONS).map(|index| ("c", index)).chain([("p", 0)]) {
            let end = self.host.broker.partition_asked(topic, index).unwrap().high_watermark.0;
            let request = commit("g", topic, index, end);
            let answer: OffsetCommitResponse = self.host.ask(ApiKey::OffsetCommit, 8, &request);
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..50 => self.send(),
            50..96 => self.fill(),
            96..98 => self.host.pass_us(1_500_000),
            98 => self.host.pass_us(50_000_000_000),
            _ => self.reopen(),
        }
        for _ in 0..self.rng.below(6) {
            self.host.work();
        }
    }

    fn reopen(&mut self) {
        match self.rng.below(3) {
            0 => self.host.close(),
            1 => {
                self.send_in_vain();
                self.work_some();
                self.host.storage.process_kill();
            }
            _ => {
                self.send_in_vain();
                self.work_some();
                let cut = Cut::ALL[self.rng.below(5) as usize];
                self.host.storage.power_cut(cut);
            }
        }
        self.host = self.open(Arc::clone(&self.host.storage));
        self.deleted_seen += self.model.check(&mut self.host);
    }

    fn open(&self, storage: Arc<SimStorage>) -> Host {
        Host::open(storage, self.config.clone(), self.host.now).unwrap()
    }

    fn work_some(&mut self) {
        for _ in 0..self.rng.below(8) {
            self.host.work();
        }
    }

    /// The power is cut at each instant of some steps, in a way of many.
    fn cut_everywhere(&mut self, steps: u64) {
        for _ in 0..steps {
            self.host.storage.record_forks(true);
            match self.rng.below(3) {
                0 => self.send_in_vain(),
                _ => self.fill(),
            }
            while self.host.work() {}
            self.host.storage.record_forks(false);
            for (write, fork) in self.host.storage.forks_take() {
                let cut = Cut::ALL[self.rng.below(5) as usize];
                let _hint = Hint(format!("cut behind write {write} ({cut:?})"));
                fork.power_cut(cut);
                let mut host = self.open(Arc::new(fork));
                self.model.clone().check(&mut host);
                // What was under way is done again, and goes on as if nothing had been.
                while host.work() {}
                self.model.clone().check(&mut host);
                self.instants += 1;
            }
        }
    }
}

impl Model {
    /// What a consumer that starts at the beginning knows in the end is what was acknowledged last,
    /// or was sent later. Gives how many deleted keys it still came across.
    fn check(&mut self, host: &mut Host) -> u64 {
        let mut deleted = 0;
        for partition in 0..PARTITIONS {
            let found = read(host, partition);
            for ((_, key), expected) in self.keys.range_mut((partition, 0)..(partition + 1, 0)) {
                let last = found.get(key).copied();
                deleted += u64::from(last == Some(None));
                let last = last.flatten();
                let possible = last == expected.sure || expected.maybe.contains(&last);
                assert!(possible, "{partition}/{key}: {last:?}, not {expected:?}");
                *expected = Key { sure: last, maybe: Vec::new() };
            }
            let known = |key: &u32| self.keys.contains_key(&(partition, *key));
            assert!(found.keys().all(known), "a key that was never sent");
        }
        deleted
    }
}

/// All of a partition, as the last value of each key; offsets must grow, and the end be reached.
fn read(host: &mut Host, partition: i32) -> BTreeMap<u32, Option<u64>> {
    let mut found = BTreeMap::new();
    let bounds = host.broker.partition_asked("c", partition).unwrap();
    let (mut next, end) = (bounds.log_start.0, bounds.high_watermark.0);
    assert_eq!(next, 0, "the log start of a compacted partition does not move");
    let mut last = -1;
    while next < end {
        let bytes = host.fetch("c", partition, next);
        let before = next;
        for batch in batches(&bytes) {
            assert!(batch.crc_holds());
            for record in &records_of(&batch) {
                if record.offset < before {
                    continue;
                }
                assert!(record.offset > last, "{} behind {last}", record.offset);
                last = record.offset;
                let key = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap();
                let key = key.strip_prefix("key-").unwrap().parse().unwrap();
                let number = record.value.as_ref().map(|value| {
                    let number = u64::from_be_bytes(value[..8].try_into().unwrap());
                    assert!(value[8..].iter().all(|byte| *byte == number as u8));
                    number
                });
                found.insert(key, number);
            }
            next = next.max(batch.header.last_offset() + 1);
        }
        if next == before {
            break;
        }
    }
    found
}

/// A record that a consumer gets.
struct Got {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// The records of a batch, compressed or not; of one that stands for a hole none.
fn records_of(batch: &Batch<'_>) -> Vec<Got> {
    let mut plain = batch.bytes.to_vec();
    let input = &plain[61..];
    let mut output = Vec::new();
    match batch.header.compression() {
        0 => output.extend(input),
        1 => {
            flate2::read::GzDecoder::new(input).read_to_end(&mut output).unwrap();
        }
        2 => output = snap::raw::Decoder::new().decompress_vec(input).unwrap(),
        3 => {
            lz4_flex::frame::FrameDecoder::new(input).read_to_end(&mut output).unwrap();
        }
        _ => {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(input).unwrap();
            decoder.read_to_end(&mut output).unwrap();
        }
    }
    plain.truncate(61);
    plain.extend(output);
    let length = plain.len() as i32 - 12;
    plain[8..12].copy_from_slice(&length.to_be_bytes());
    plain[22] &= !7;
    if batch.header.is_control() {
        return Vec::new();
    }
    let plain = batches(&plain).next().unwrap();
    let records = plain.records().unwrap().map(Result::unwrap);
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    records.map(|r| Got { offset: r.offset, key: owned(r.key), value: owned(r.value) }).collect()
}

fn value_of((number, length): (u64, usize)) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(length, number as u8);
    value
}

fn code_of(answer: &[u8]) -> i16 {
    let answer: ProduceResponse = read_answer(ApiKey::Produce, 9, answer);
    answer.responses[0].partition_responses[0].error_code
}

/// Every other one has a second buffer that few batches fit.
fn config_for(seed: u64) -> Config {
    let mut config = config();
    if seed % 2 == 1 {
        config.commit_group_small_bytes = 1 << 10;
    }
    config
}

fn config() -> Config {
    let mut config = config_small(4, 128 << 10);
    config.commit_group_max_bytes = 16 << 10;
    config.compaction_keys_max = 64;
    config
}

const PARTITIONS: i32 = 2;

#[test]
fn the_newest_of_each_key_survives_many_laps_restarts_and_power_cuts() {
    for seed in seeds(6, &[]) {
        let _hint = Hint(format!("SEED={seed}"));
        let mut run = Run::new(seed, config_for(seed));
        for _ in 0..1500 {
            run.step();
        }
        run.model.check(&mut run.host);
        let newest = run.host.broker.log.segments(brooklet::types::RingIndex(0)).next_back();
        let laps = newest.unwrap().seq.0 / 4;
        assert!(laps >= 3, "only {laps} laps");
        assert!(run.deleted_seen > 0, "no tombstone was seen");
        let stats = run.host.broker.log.stats(brooklet::types::RingIndex(0));
        assert_eq!(stats.carry_damaged, 0);
    }
}

#[test]
fn a_power_cut_at_any_instant_loses_no_key() {
    for seed in seeds(2, &[]) {
        let _hint = Hint(format!("SEED={seed}"));
        let mut run = Run::new(seed, config_for(seed));
        for _ in 0..300 {
            run.step();
        }
        run.cut_everywhere(80);
        assert!(run.instants > 100, "only {} instants", run.instants);
    }
}

#[test]
fn a_disk_that_fails_at_any_write_or_sync_of_a_pass_loses_no_key() {
    let (mut carried, mut given_up) = (0, 0);
    for seed in seeds(3, &[]) {
        let _hint = Hint(format!("SEED={seed}"));
        let mut run = Run::new(seed, config_for(seed));
        for round in 0..60 {
            let (op, kind) = match run.rng.below(2) {
                0 => (Op::Sync, run.rng.below(12)),
                _ => (Op::Write, run.rng.below(12)),
            };
            run.host.storage.fail(op, Failing::Once(kind));
            for _ in 0..20 {
                match run.rng.below(2) {
                    0 => run.send_in_vain(),
                    _ => run.fill_in_vain(),
                }
                run.settle_all();
            }
            run.host.storage.fail(op, Failing::Never);
            run.host.pass_us(40_000_000);
            run.settle_all();
            if round % 7 == 6 {
                run.host.storage.power_cut(Cut::ALL[run.rng.below(5) as usize]);
                run.host = run.open(Arc::clone(&run.host.storage));
            }
            let stats = run.host.broker.log.stats(brooklet::types::RingIndex(0));
            assert_eq!(stats.carry_lost, 0, "one failure at a time leaves a file");
            run.model.check(&mut run.host);
        }
        let stats = run.host.broker.log.stats(brooklet::types::RingIndex(0));
        assert_eq!(stats.carry_damaged, 0);
        (carried, given_up) = (carried + stats.carried_records, given_up + stats.given_up);
    }
    assert!(carried > 0 && given_up > 0, "{carried} carried, {given_up} segments given up");
}

#[test]
fn a_held_ring_keeps_the_newest_of_each_key_and_goes_on_when_its_holder_does() {
    for seed in seeds(4, &[]) {
        let _hint = Hint(format!("SEED={seed}"));
        let mut config = config_for(seed);
        config.rings[0].hold_for = vec![Holder::from_text("group:g").unwrap()];
        let mut run = Run::new(seed, config);
        run.had();
        for _ in 0..1200 {
            run.step();
            if run.rng.one_in(60) {
                run.had();
            }
        }
        run.model.check(&mut run.host);
        let stats = run.host.broker.log.stats(brooklet::types::RingIndex(0));
        assert!(run.held > 3, "it was full {} times", run.held);
        assert_eq!((stats.carry_damaged, stats.carry_lost), (0, 0));
    }
}
