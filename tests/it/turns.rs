//! What is decompressed takes turns: no request keeps the others waiting for all that it brings.

use brooklet::api::Step;
use brooklet::broker::{ConnId, Peer};
use brooklet::config::{CheckRecords, Holder};
use brooklet::limits;
use kafka_protocol::messages::{ApiKey, ProduceResponse};

use crate::hold::rig::{SYNCS, offset_syncs};
use crate::host::{
    Host, NOON_MS, PLAIN, batch, config_small, frame, keyed_batch, packed, read_answer,
};
use crate::long::stream::{Event, Stream};
use crate::produce::{create_topic, produce};

/// A turn's work, and a piece that was begun in it.
const TURN_MAX: u32 = limits::DECOMPRESSED_TURN_BYTES + 64 * 1024;

fn host() -> Host {
    let mut host = Host::new(config_small(4, 1 << 20));
    create_topic(&mut host, "t", 8, &[]);
    host
}

/// One record that is much longer than what it is compressed to.
fn bomb(bytes: usize, codec: u8) -> Vec<u8> {
    packed(&batch(PLAIN, NOON_MS, &[&vec![0; bytes]]), codec)
}

/// Carries a request out turn by turn; gives the most that was decompressed in one, and the answer.
fn carry_out(host: &mut Host, request: &[u8]) -> (u32, Vec<u8>) {
    host.broker.unpacker.work();
    let (step, answer) = host.dispatch(request);
    let mut most = host.broker.unpacker.work();
    if step != Step::Long {
        return (most, answer);
    }
    let mut stream = Stream::new(request);
    loop {
        let event = stream.step(host, &mut || usize::MAX).unwrap();
        most = most.max(host.broker.unpacker.work());
        match event {
            Event::Again(until) => drop(host.settle(&until)),
            Event::End(true) => return (most, stream.answer()),
            Event::Turn | Event::Staged(_) => {}
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_request_full_of_bombs_gives_others_their_turns() {
    for codec in [1, 2, 3, 4] {
        let mut host = host();
        let one = produce(-1, "t", &[(0, Some(bomb(1 << 20, codec)))]);
        let all: Vec<_> = (0..8).map(|index| (index, Some(bomb(300_000, codec)))).collect();
        for request in [one, produce(-1, "t", &all)] {
            let (most, answer) = carry_out(&mut host, &frame(ApiKey::Produce, 9, &request));
            assert!((1..=TURN_MAX).contains(&most), "codec {codec}: {most} bytes in one turn");
            let answer: ProduceResponse = read_answer(ApiKey::Produce, 9, &answer);
            for partition in &answer.responses[0].partition_responses {
                assert_eq!(partition.error_code, 0, "codec {codec}");
            }
        }
    }
}

#[test]
fn who_wants_the_decompressor_meanwhile_waits_for_turns_and_nobody_else_waits() {
    let mut host = host();
    let request = |records| frame(ApiKey::Produce, 9, &produce(-1, "t", &[(0, Some(records))]));
    let (long, plain) = (request(bomb(3 << 20, 1)), request(batch(PLAIN, NOON_MS, &[b"v"])));
    let short = request(bomb(1000, 4));
    let other = Peer { conn: ConnId(1), ..host.peer() };
    assert_eq!(host.dispatch(&long).0, Step::Long);
    assert!(matches!(host.dispatch(&short).0, Step::ReplyAfter { .. }), "nobody has it");

    let mut stream = Stream::new(&long);
    assert_eq!(stream.step(&mut host, &mut || usize::MAX), Ok(Event::Turn));
    let mut waits = Stream::new(&short);
    let now = host.now;
    for _ in 0..3 {
        let event = waits.go(&mut host.broker, &other, now, &mut || usize::MAX);
        assert_eq!(event, Ok(Event::Turn));
        assert_eq!(stream.step(&mut host, &mut || usize::MAX), Ok(Event::Turn));
    }
    assert!(matches!(host.dispatch(&plain).0, Step::ReplyAfter { .. }), "it is not compressed");

    // Its client goes away.
    host.broker.job_cancel(ConnId(0));
    let event = waits.go(&mut host.broker, &other, now, &mut || usize::MAX);
    assert!(matches!(event, Ok(Event::Staged(_))), "{event:?}");
}

#[test]
fn a_mirrors_report_waits_for_turns_as_well_where_records_are_not_checked() {
    let mut config = config_small(4, 1 << 20);
    config.check_records = CheckRecords::Crc;
    config.rings[0].watch_for = vec![Holder::from_text("mirror:up").unwrap()];
    let mut host = Host::new(config);
    create_topic(&mut host, "c", 1, &[("cleanup.policy", "compact")]);
    create_topic(&mut host, "t", 1, &[]);
    create_topic(&mut host, SYNCS, 1, &[]);
    let request = |topic, records| {
        let request = produce(-1, topic, &[(0, Some(records))]);
        frame(ApiKey::Produce, 9, &request)
    };
    host.exchange(&request("t", batch(PLAIN, NOON_MS, &[b"v"]))).unwrap();
    let value = vec![0; 3 << 20];
    let keyed = packed(&keyed_batch(PLAIN, NOON_MS, &[(Some(b"k"), Some(&value))]), 1);
    let long = request("c", keyed);
    let report = request(SYNCS, packed(&offset_syncs(&[("t", 0, 0)]), 4));
    let mut stream = Stream::new(&long);
    assert_eq!(stream.step(&mut host, &mut || usize::MAX), Ok(Event::Turn));
    let other = Peer { conn: ConnId(1), ..host.peer() };
    assert_eq!(host.dispatch_as(&other, &report).0, Step::Long);
    let mut waits = Stream::new(&report);
    let now = host.now;
    let event = waits.go(&mut host.broker, &other, now, &mut || usize::MAX);
    assert_eq!(event, Ok(Event::Turn));
    host.broker.job_cancel(ConnId(0));
    let event = waits.go(&mut host.broker, &other, now, &mut || usize::MAX);
    assert!(matches!(event, Ok(Event::Staged(_))), "{event:?}");
}
