//! Garbage into every decode: never a panic, and never more work than the bytes are worth.

use super::envelope::record_batch;
use super::generate::{Variant, generate};
use super::{rows, schema};
use brooklet::codec::batch::{self, Rules, batches};
use brooklet::codec::compression::{Decompressor, WINDOW_BYTES_MIN};
use schema::Side;

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new("random_bytes_never_panic");
    for row in rows::all() {
        for version in row.versions.clone() {
            for _ in 0..200 {
                let length = random.below(96);
                let small = random.below(2) == 0;
                let byte = |random: &mut Random| match small {
                    // Small values pass for lengths and counts more often.
                    true => random.below(4) as u8,
                    false => random.below(256) as u8,
                };
                let bytes: Vec<u8> = (0..length).map(|_| byte(&mut random)).collect();
                let _ = (row.request_ours)(&bytes, version);
            }
        }
    }
}

#[test]
fn good_messages_with_a_few_wrong_bytes_never_panic() {
    let mut random = Random::new("good_messages_with_a_few_wrong_bytes_never_panic");
    for row in rows::all() {
        let schema = schema::load(row.name, Side::Request);
        for version in row.versions.clone() {
            let good = generate(&schema, version, Variant::Typical);
            for _ in 0..200 {
                let mut bytes = good.clone();
                for _ in 0..=random.below(4) {
                    if let Some(index) = random.below(bytes.len() as u64 + 1).checked_sub(1) {
                        bytes[index as usize] = random.below(256) as u8;
                    }
                }
                let _ = (row.request_ours)(&bytes, version);
            }
        }
    }
}

/// At each place where a length or count may stand, one that claims far more than is there. That
/// decoding cannot allocate for it is in its types: it returns views.
#[test]
fn absurd_counts_at_every_place_are_errors_or_other_values() {
    let absurd = [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0x7f, 0xff]];
    for row in rows::all() {
        let schema = schema::load(row.name, Side::Request);
        for version in row.versions.clone() {
            let good = generate(&schema, version, Variant::Typical);
            for at in 0..good.len() {
                for claim in absurd {
                    let mut bytes = good.clone();
                    let end = good.len().min(at + claim.len());
                    bytes[at..end].copy_from_slice(&claim[..end - at]);
                    let _ = (row.request_ours)(&bytes, version);
                }
            }
        }
    }
}

/// Wrong bytes under a right CRC: what passes the check can be walked to its end.
#[test]
fn record_batches_with_a_few_wrong_bytes_are_refused_or_whole() {
    let mut random = Random::new("record_batches_with_a_few_wrong_bytes_are_refused_or_whole");
    let rules = Rules {
        batch_bytes_max: 1 << 20,
        zstd_allowed: true,
        records_read: true,
        compacted: false,
    };
    let mut decompressor = Decompressor::new(WINDOW_BYTES_MIN);
    let (_, good) = record_batch(12);
    let mut passed = 0;
    for _ in 0..50_000 {
        let mut bytes = good.to_vec();
        for _ in 0..=random.below(2) {
            let index = random.below(bytes.len() as u64) as usize;
            bytes[index] = random.below(256) as u8;
        }
        if random.below(8) != 0 {
            let newest = batches(&bytes).next().map_or(0, |batch| batch.header.max_timestamp);
            batch::set_timestamps(&mut bytes, false, newest);
        }
        if let Ok(checked) = batch::check(&bytes, &rules, &mut decompressor) {
            passed += 1;
            let batch = batches(&bytes).next().unwrap();
            let records = batch.records().map(|records| records.filter(Result::is_ok).count());
            assert!(records.is_none_or(|records| records as u64 == checked.records));
        }
    }
    // Values and keys may be anything.
    assert!(passed > 1000, "{passed}");
}

/// An xorshift generator; a failing test shows the seed that repeats it.
struct Random(u64);

impl Random {
    fn new(test: &str) -> Random {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(0x9e37_79b9_7f4a_7c15);
        println!("{test}: SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}
