//! How much flash records take: docs/install.md says what a segment really holds.

use brooklet::config::source::{Sources, load};
use brooklet::plan::{Mib, Plan};
use brooklet::types::RingIndex;
use kafka_protocol::messages::{ApiKey, ProduceResponse};

use crate::docs::assert_table;
use crate::host::{Host, NOON_MS, PLAIN, batch, config_small};
use crate::produce::{create_topic, produce};

/// Sensors, and the seconds between two records of one of them.
const LOADS: [(u64, u64); 5] = [(10, 60), (10, 1), (100, 60), (100, 10), (100, 1)];
const DAYS: [u64; 3] = [1, 7, 30];
/// What a record of the table has.
const VALUE_BYTES: usize = 100;
/// Records of a producer that batches.
const BATCH_RECORDS: usize = 100;

#[test]
fn the_documented_sizes_of_rings_are_those_that_segments_hold() {
    let (lone, followed) = (bytes_of_a_record(1, SELDOM_US), bytes_of_a_record(1, OFTEN_US));
    let batched = bytes_of_a_record(BATCH_RECORDS, SELDOM_US);
    let mut expected = vec![
        "| sensors | a record each | 1 day | 7 days | 30 days | 30 days, in batches of 100 |"
            .into(),
        "| --- | --- | --- | --- | --- | --- |".to_string(),
    ];
    for (sensors, seconds) in LOADS {
        let records = |days: u64| (sensors * days * 86_400 / seconds) as f64;
        let mut row = format!("| {sensors} | {seconds} s |");
        for days in DAYS {
            // What comes within a second of another's keeps it from being sealed.
            let bytes = if seconds > sensors { lone } else { followed };
            row += &format!(" {} |", gib(records(days) * bytes));
        }
        expected.push(format!("{row} {} |", gib(records(30) * batched)));
    }
    assert_table("docs/install.md", "## How large the ring is", &expected);
    let text = std::fs::read_to_string("docs/install.md").unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        format!("takes {followed:.0} bytes of the ring"),
        format!("{lone:.0} bytes if nothing follows within a second"),
        format!("in batches of {BATCH_RECORDS} {batched:.0} bytes"),
    ] {
        assert!(text.contains(&said), "docs/install.md should say: {said}");
    }
}

#[test]
fn the_documented_rings_take_the_memory_that_is_said() {
    let text = std::fs::read_to_string("docs/install.md").unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| ring | segments |")).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 3, "docs/install.md has a table of rings");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [ring, segments, segment_bytes, flash, memory] = cells[..] else { panic!("{row}") };
        let sets = [("ring.segments", segments), ("ring.segment_bytes", segment_bytes)];
        let sets = sets.map(|(key, value)| format!("{key}={}", value.trim_matches(['`', '"'])));
        let config = load(Sources { sets: &sets, ..Sources::default() }).unwrap().config;
        let (plan, of) = (Plan::of(&config), &config.rings[0]);
        let gib = (u64::from(of.segments) * of.segment_bytes) >> 30;
        let is = [format!("{gib} GiB"), Mib(plan.flash_bytes()).to_string()];
        assert_eq!([ring, flash], is, "{row}");
        assert_eq!(memory, Mib(plan.memory_bytes()).to_string(), "{row}");
    }
}

/// Bytes of a segment for each record, where so many are sent at a time, so long after one another.
fn bytes_of_a_record(records: usize, gap_us: u64) -> f64 {
    let mut host = Host::new(config_small(3, SEGMENT_BYTES));
    create_topic(&mut host, "t", 1, &[]);
    let values = vec![&[b'7'; VALUE_BYTES][..]; records];
    let request = produce(1, "t", &[(0, Some(batch(PLAIN, NOON_MS, &values)))]);
    let newest = |host: &Host| host.broker.log.segments(RingIndex(0)).next_back().unwrap().seq;
    // From the beginning of one segment to that of the next.
    let mut batches = [0_u64; 2];
    for counted in &mut batches {
        let before = newest(&host);
        while newest(&host) == before {
            let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            host.pass_us(gap_us);
            while host.work() {}
            *counted += 1;
        }
    }
    SEGMENT_BYTES as f64 / (batches[1] * records as u64) as f64
}

const SEGMENT_BYTES: u64 = 16 << 20;
/// Longer and shorter than `seal_after_ms`.
const SELDOM_US: u64 = 6_000_000;
const OFTEN_US: u64 = 100_000;

/// As people say it, rounded up.
fn gib(bytes: f64) -> String {
    let gib = bytes / f64::from(1 << 30);
    if gib < 10.0 {
        format!("{:.1} GiB", (gib * 10.0).ceil() / 10.0)
    } else {
        format!("{:.0} GiB", gib.ceil())
    }
}
