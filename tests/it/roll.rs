//! Rolling from one segment to the next, and power cuts between its steps.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, ProduceResponse};

use crate::host::{Host, NOON_MS, PLAIN, batch, config_small, frame};
use crate::produce::{create_topic, produce};
use brooklet::clock::{Mono, Now};
use brooklet::storage::Storage as _;
use brooklet::storage::sim::{Cut, SimStorage};
use brooklet::types::RingIndex;

/// Produces until the next thing that the ring wants to write is a head.
fn fill_to_the_next_head(host: &mut Host) {
    let values = batch(PLAIN, NOON_MS, &[&[7; 20_000]]);
    let request = frame(ApiKey::Produce, 9, &produce(1, "t", &[(0, Some(values))]));
    for _ in 0..1000 {
        host.dispatch(&request);
        while let Some(mut job) = host.broker.log.next_io(RingIndex(0), host.now) {
            if job.at == 0 && !job.parts.is_empty() {
                return;
            }
            let result = job.run(&**host.broker.log.storage());
            host.broker.log.io_done(RingIndex(0), job, result, host.now);
        }
    }
    panic!("the segment is never full");
}

#[test]
fn a_ring_that_loses_its_power_between_each_foot_and_the_next_head_goes_on() {
    let storage = Arc::new(SimStorage::new(1));
    let now = Now { mono: Mono(0), wall_ms: NOON_MS, wall_synchronised: true };
    for life in 0..12 {
        let mut config = config_small(3, 1 << 20);
        config.rings[0].spares = 1;
        let mut host = Host::open(Arc::clone(&storage), config, now).unwrap();
        if life == 0 {
            create_topic(&mut host, "t", 1, &[]);
        }
        let values = batch(PLAIN, NOON_MS, &[b"value"]);
        let request = produce(1, "t", &[(0, Some(values))]);
        let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "life {life}");
        fill_to_the_next_head(&mut host);
        storage.power_cut(Cut::None);
    }
}

#[test]
fn a_ring_that_was_made_smaller_leaves_its_surplus_files_to_the_next_start() {
    let storage = Arc::new(SimStorage::new(1));
    let now = Now { mono: Mono(0), wall_ms: NOON_MS, wall_synchronised: true };
    let open = |segments| {
        let mut config = config_small(segments, 1 << 20);
        config.rings[0].spares = 1;
        config.rings[0].shrink = true;
        Host::open(Arc::clone(&storage), config, now).unwrap()
    };
    let files = || storage.files(RingIndex(0)).unwrap().len();
    // Whole segments, so that any place in a lap may be the one at which the ring is made smaller.
    let rolls = |host: &mut Host, segments: usize| {
        let values = batch(PLAIN, NOON_MS, &[&[7; 20_000]]);
        let request = produce(1, "t", &[(0, Some(values))]);
        let newest = |host: &Host| host.broker.log.segments(RingIndex(0)).next_back().unwrap().seq;
        for _ in 0..segments {
            let before = newest(host);
            while newest(host) == before {
                let answer: ProduceResponse = host.ask(ApiKey::Produce, 9, &request);
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            }
        }
    };
    let mut host = open(8);
    create_topic(&mut host, "t", 1, &[]);
    rolls(&mut host, 13);
    drop(host);
    assert_eq!(files(), 9);
    let mut host = open(3);
    rolls(&mut host, 4);
    drop(host);
    open(3);
    assert_eq!(files(), 4, "files for 3 segments and a spare");
}
