//! What partitions are said to take, over restarts and laps of the ring.

use std::sync::Arc;

use brooklet::types::RingIndex;
use kafka_protocol::messages::{ApiKey, ProduceResponse};

use crate::host::{Host, NOON_MS, PLAIN, batch, config_small};
use crate::produce::{create_topic, produce};

fn size(host: &Host, topic: &str) -> u64 {
    let state = host.broker.log.state();
    let (slot, _) = state.topic_named(topic).unwrap();
    let sizes = host.broker.log.sizes(RingIndex(0));
    state.partitions_of(slot).map(|(slot, _)| sizes.of(slot)).sum()
}

fn store(host: &mut Host, topic: &str, values: usize, bytes: usize) {
    for _ in 0..values {
        let records = Some(batch(PLAIN, NOON_MS, &[&vec![7; bytes]]));
        let answer: ProduceResponse =
            host.ask(ApiKey::Produce, 9, &produce(-1, topic, &[(0, records)]));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

#[test]
fn sizes_are_those_of_what_is_left_and_about_the_same_after_a_restart() {
    let mut host = Host::new(config_small(6, 1 << 20));
    for topic in ["long", "short", "gone"] {
        create_topic(&mut host, topic, 1, &[]);
    }
    store(&mut host, "gone", 100, 1000);
    let each = size(&host, "gone") / 100;
    assert!((1060..1090).contains(&each), "{each}");
    for _ in 0..20 {
        store(&mut host, "long", 5, 10_000);
        store(&mut host, "short", 25, 100);
    }
    let exact = ["long", "short", "gone"].map(|topic| size(&host, topic));
    assert!((1_000_000..1_020_000).contains(&exact[0]), "{exact:?}");
    assert!((80_000..90_000).contains(&exact[1]), "{exact:?}");
    host.close();
    let (disk, config) = (Arc::clone(&host.storage), host.broker.config.clone());
    let mut host = Host::open(disk, config, host.now).unwrap();
    let after = ["long", "short"].map(|topic| size(&host, topic));
    for (after, exact) in after.into_iter().zip(exact) {
        assert!((exact / 20 * 19..exact / 20 * 21).contains(&after), "{after} of {exact}");
    }
    // The ring comes round: what is overwritten takes nothing any more.
    store(&mut host, "long", 700, 10_000);
    assert_eq!((size(&host, "gone"), size(&host, "short")), (0, 0));
    let left = size(&host, "long");
    assert!((4 << 20..6 << 20).contains(&left), "{left}");
}
