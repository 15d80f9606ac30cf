//! A real client, rskafka, over the network: what it was acknowledged is there after a kill.

use std::collections::BTreeMap;

use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::record::{Record, RecordAndOffset};

use crate::process::Process;

const TOPIC: &str = "readings";
const FETCH_BYTES: std::ops::Range<i32> = 1..1_000_000;
const FETCH_WAIT_MS: i32 = 2_000;
const CREATE_TIMEOUT_MS: i32 = 5_000;

#[test]
fn rskafka_finds_after_a_kill_what_it_was_acknowledged() {
    let mut broker = Process::start("rskafka");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(create(&broker.bootstrap()));
    let plain = runtime.block_on(produce(&broker.bootstrap(), 0..10, Compression::NoCompression));
    assert_eq!(plain, (0..10).collect::<Vec<i64>>());
    runtime.block_on(check(&broker.bootstrap(), 10));

    broker.kill_and_start();
    runtime.block_on(check(&broker.bootstrap(), 10));
    let packed = runtime.block_on(produce(&broker.bootstrap(), 10..25, Compression::Gzip));
    assert_eq!(packed, (10..25).collect::<Vec<i64>>());

    broker.kill_and_start();
    runtime.block_on(check(&broker.bootstrap(), 25));
}

#[test]
fn rskafka_deletes_records_and_sees_the_log_start_move() {
    let broker = Process::start("rskafka-delete");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        create(&broker.bootstrap()).await;
        produce(&broker.bootstrap(), 0..6, Compression::Snappy).await;
        let partition = partition(&broker.bootstrap()).await;
        partition.delete_records(4, CREATE_TIMEOUT_MS).await.unwrap();
        assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 4);
        assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), 6);
    });
}

async fn create(bootstrap: &str) {
    let client = ClientBuilder::new(vec![bootstrap.to_owned()]).build().await.unwrap();
    let controller = client.controller_client().unwrap();
    controller.create_topic(TOPIC, 2, 1, CREATE_TIMEOUT_MS).await.unwrap();
    let topics = client.list_topics().await.unwrap();
    let topic = topics.iter().find(|topic| topic.name == TOPIC).expect("the topic in the list");
    assert_eq!(topic.partitions.iter().copied().collect::<Vec<i32>>(), [0, 1]);
}

async fn partition(bootstrap: &str) -> PartitionClient {
    let client = ClientBuilder::new(vec![bootstrap.to_owned()]).build().await.unwrap();
    client.partition_client(TOPIC, 1, UnknownTopicHandling::Retry).await.unwrap()
}

async fn produce(bootstrap: &str, numbers: std::ops::Range<i64>, codec: Compression) -> Vec<i64> {
    let partition = partition(bootstrap).await;
    partition.produce(numbers.map(record).collect(), codec).await.unwrap()
}

/// Reads everything: records, order, offsets, and both ends of the partition.
async fn check(bootstrap: &str, count: i64) {
    let partition = partition(bootstrap).await;
    assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
    assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), count);
    let mut next = 0;
    while next < count {
        let (records, high_watermark) =
            partition.fetch_records(next, FETCH_BYTES, FETCH_WAIT_MS).await.unwrap();
        assert_eq!(high_watermark, count);
        assert!(!records.is_empty(), "nothing at offset {next} of {count}");
        for RecordAndOffset { record: found, offset } in records {
            assert_eq!((offset, found), (next, record(next)));
            next += 1;
        }
    }
}

/// Record `number`: every third is a tombstone.
fn record(number: i64) -> Record {
    Record {
        key: Some(format!("key-{number}").into_bytes()),
        value: (number % 3 != 0).then(|| format!("value-{number}").repeat(20).into_bytes()),
        headers: BTreeMap::from([("number".to_owned(), number.to_be_bytes().to_vec())]),
        timestamp: Utc.timestamp_millis_opt(1_700_000_000_000 + number).unwrap(),
    }
}
