//! Handlers while the disk fails, at every moment of it: who is told to ask again must have something
//! to wait for, or it would ask for ever.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::Step;
use crate::broker::testing::{Bench, frame_of};
use crate::codec::batch::sample::batch_of;
use crate::storage::WriteJob;
use crate::types::{RingIndex, Settle};
use std::sync::atomic::Ordering;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn create(name: &str) -> Vec<u8> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(1)
        .with_replication_factor(1);
    frame_of(7, &CreateTopicsRequest::default().with_topics(vec![topic]))
}

/// A batch of so many records, which fill a group soon.
fn produce(records: i32) -> Vec<u8> {
    let records: Vec<_> = (0..records).map(|offset| (0, offset)).collect();
    let partition =
        PartitionProduceData::default().with_records(Some(bytes::Bytes::from(batch_of(&records))));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text("t")))
        .with_partition_data(vec![partition]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(9).with_topic_data(vec![topic]);
    frame_of(9, &request)
}

fn commit(offset: i64) -> Vec<u8> {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(&"g".repeat(200))))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    frame_of(8, &request)
}

/// A broker with the topic `t`, and groups that two large batches fill.
fn bench() -> Bench {
    let mut bench = Bench::with(|config| {
        config.message_max_bytes = 32 << 10;
        config.socket_request_max_bytes = 40 << 10;
        config.commit_group_max_bytes = 40 << 10;
    });
    let mut buf = vec![0; 64 << 10];
    assert!(matches!(bench.step_raw(&create("t"), &mut buf), Step::ReplyAfter { .. }));
    bench.drive();
    bench
}

/// Asks for everything that may be put off; fails if that is put off without an end.
fn ask(bench: &mut Bench, round: i64) {
    let mut buf = vec![0; 64 << 10];
    let frames = [
        produce(1),
        produce(2000),
        commit(round),
        create(&format!("u{round}")),
        create("v"),
        frame_of(
            9,
            &MetadataRequest::default().with_allow_auto_topic_creation(true).with_topics(Some(
                vec![
                    metadata_request::MetadataRequestTopic::default()
                        .with_name(Some(TopicName(text(&format!("w{round}"))))),
                ],
            )),
        ),
    ];
    for frame in frames {
        let step = bench.step_raw(&frame, &mut buf);
        if let Step::Again(until) = step {
            assert_eq!(bench.broker.log.settled(&until), Settle::Pending, "round {round}");
        }
    }
}

/// A job for the disk, if a ring has one.
fn next(bench: &mut Bench) -> Option<(RingIndex, WriteJob)> {
    bench.now.mono = bench.now.mono.plus_ms(60_000);
    let (log, now) = (&mut bench.broker.log, bench.now);
    log.rings().find_map(|ring| Some((ring, log.next_io(ring, now)?)))
}

/// Hands a job back, done or failed.
fn done(bench: &mut Bench, (ring, mut job): (RingIndex, WriteJob), fails: bool) {
    bench.disk.fails.store(fails, Ordering::Relaxed);
    let result = job.run(&**bench.broker.log.storage());
    bench.broker.log.io_done(ring, job, result, bench.now);
}

#[test]
fn nobody_is_told_to_ask_again_without_something_to_wait_for_whichever_writes_fail() {
    // Which of the first writes fail, by bits.
    for failures in 0..1_u32 << 7 {
        let mut bench = bench();
        let mut writes = 0;
        for round in 0..12 {
            // While nothing is out, while the disk has a job in hand, and when that has come back.
            ask(&mut bench, round);
            let Some(job) = next(&mut bench) else {
                continue;
            };
            ask(&mut bench, round + 100);
            done(&mut bench, job, failures >> writes & 1 == 1);
            writes += 1;
        }
        // The disk works again, and so does everything else.
        bench.disk.fails.store(false, Ordering::Relaxed);
        for _ in 0..4 {
            bench.now.mono = bench.now.mono.plus_ms(60_000);
            bench.drive();
        }
        let mut buf = vec![0; 64 << 10];
        let step = bench.step_raw(&produce(1), &mut buf);
        let Step::ReplyAfter { until, .. } = step else {
            panic!("{failures:b}: {step:?}");
        };
        bench.drive();
        assert_eq!(bench.broker.log.settled(&until), Settle::Done, "{failures:b}");
    }
}
