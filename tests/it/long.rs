//! Produce requests that are read as they come, by what clients see: the same answers as if they had
//! been read whole, however their bytes arrive.

pub mod stream;

use brooklet::config::Config;
use brooklet::storage::sim::{Failing, Op};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse};

use crate::host::{Host, NOON_MS, PLAIN, Sequenced, batch, config_small, frame, read_answer};
use crate::produce::{create_topic, produce};
use stream::{Event, Stream, long};

const BATCH_BYTES_MAX: usize = 64 << 10;

fn config() -> Config {
    let mut config = config_small(16, 1 << 20);
    config.partitions_max = 32;
    config.message_max_bytes = BATCH_BYTES_MAX;
    config.commit_group_max_bytes = BATCH_BYTES_MAX;
    config
}

fn host() -> Host {
    let mut host = Host::new(config());
    create_topic(&mut host, "t", 24, &[]);
    host
}

/// One record, so that the batch is so long.
fn sized(bytes: usize, fill: u8) -> Vec<u8> {
    let around = batch(PLAIN, NOON_MS, &[&vec![fill; 20_000]]).len() - 20_000;
    let made = batch(PLAIN, NOON_MS, &[&vec![fill; bytes - around]]);
    // Longer records have longer lengths.
    let over = made.len() - bytes;
    let made = batch(PLAIN, NOON_MS, &[&vec![fill; bytes - around - over]]);
    assert_eq!(made.len(), bytes);
    made
}

fn small(fill: u8) -> Vec<u8> {
    batch(PLAIN, NOON_MS, &[&[fill; 8]])
}

/// Code and base offset of each partition.
fn outcomes(answer: &ProduceResponse) -> Vec<(i16, i64)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|partition| (partition.error_code, partition.base_offset)).collect()
}

fn ask(host: &mut Host, version: i16, request: &ProduceRequest) -> ProduceResponse {
    let bytes = frame(ApiKey::Produce, version, request);
    let answer = long(host, &bytes, &mut || 10_000).unwrap();
    read_answer(ApiKey::Produce, version, &answer.expect("an answer"))
}

/// How many records a partition has, and whether its last one is visible.
fn stored(host: &Host, index: i32) -> (i64, bool) {
    let state = host.broker.log.state();
    let (slot, _) = state.topic_named("t").unwrap();
    let (_, partition) = state.partitions_of(slot).nth(index as usize).unwrap();
    (partition.next.0, partition.next == partition.high_watermark)
}

#[test]
fn a_request_of_many_partitions_is_stored_whole_however_long_it_is() {
    let mut host = host();
    for (round, version) in (0..).zip(3..=12) {
        let all: Vec<_> = (0..24).map(|i| (i, Some(sized(60_000, i as u8)))).collect();
        let answer = ask(&mut host, version, &produce(-1, "t", &all));
        assert_eq!(outcomes(&answer), [(0, round); 24]);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((partition.log_append_time_ms, partition.log_start_offset.max(0)), (-1, 0));
    }
    for index in 0..24 {
        assert_eq!(stored(&host, index), (10, true));
        assert_eq!(host.fetch("t", index, 9)[100], index as u8);
    }
}

#[test]
fn a_batch_that_is_too_large_is_refused_at_any_place_and_of_any_size() {
    let mut host = host();
    create_topic(&mut host, "low", 1, &[("max.message.bytes", "51200")]);
    let mut round = 0;
    for bytes in [BATCH_BYTES_MAX + 1, 1_055_000, 5_000_000, 50_000_000] {
        let large = Some(sized(bytes, 7));
        for place in 0..3 {
            let mut all: Vec<_> = (0..3).map(|i| (i, Some(small(i as u8)))).collect();
            all[place] = (place as i32, large.clone());
            let answer = ask(&mut host, 9, &produce(1, "t", &all));
            let codes: Vec<i16> = outcomes(&answer).iter().map(|outcome| outcome.0).collect();
            let mut wanted = [0; 3];
            wanted[place] = 10;
            assert_eq!(codes, wanted, "{bytes} bytes at {place}");
            let message = &answer.responses[0].partition_responses[place].error_message;
            assert!(message.as_ref().is_some_and(|message| message.contains("max.message.bytes")));
            round += 1;
        }
        let alone = ask(&mut host, 9, &produce(-1, "t", &[(0, large.clone())]));
        assert_eq!(outcomes(&alone), [(10, -1)]);
        let unacknowledged = frame(ApiKey::Produce, 9, &produce(0, "t", &[(0, large)]));
        assert!(long(&mut host, &unacknowledged, &mut || 70_000).is_err());
    }
    assert_eq!(stored(&host, 0), (round * 2 / 3, true));
    let low = ask(&mut host, 9, &produce(1, "low", &[(0, Some(sized(60_000, 1)))]));
    assert_eq!(outcomes(&low), [(10, -1)]);
    let exactly = [(0, Some(sized(BATCH_BYTES_MAX, 1)))];
    assert_eq!(outcomes(&ask(&mut host, 9, &produce(1, "t", &exactly)))[0].0, 0);
}

#[test]
fn what_is_wrong_with_records_that_are_too_long_to_be_read_is_told_by_their_beginning() {
    let mut host = host();
    let large = sized(200_000, 7);
    let mut old = large.clone();
    old[16] = 1;
    let mut offset = large.clone();
    offset[7] = 1;
    let mut lying = large.clone();
    lying[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let cases = [
        ([small(1).repeat(1000), large.clone()].concat(), 87),
        (old, 87),
        (offset, 87),
        (lying, 87),
        (vec![0xff; 100_000], 87),
        (large, 10),
    ];
    let all: Vec<_> = (0..).zip(&cases).map(|(i, case)| (i, Some(case.0.clone()))).collect();
    let answer = ask(&mut host, 9, &produce(1, "t", &all));
    assert_eq!(outcomes(&answer), cases.map(|case| (case.1, -1)));
}

#[test]
fn an_error_in_the_middle_leaves_the_others_as_they_are() {
    let mut host = host();
    let mut wrong_crc = sized(30_000, 2);
    wrong_crc[29_000] ^= 1;
    let all = [
        (0, Some(sized(40_000, 0))),
        (99, Some(sized(50_000, 1))),
        (-1, Some(small(1))),
        (1, Some(wrong_crc)),
        (1, None),
        (1, Some(Vec::new())),
        (1, Some([small(1), small(2)].concat())),
        (0, Some(sized(60_000, 3))),
        (2, Some(small(4))),
    ];
    let mut request = produce(1, "t", &all);
    let unknown = produce(1, "unknown", &[(0, Some(sized(60_000, 5))), (3, None)]);
    let internal = produce(1, "__consumer_offsets", &[(0, Some(small(1)))]);
    let last = produce(1, "t", &[(3, Some(small(6)))]);
    for other in [unknown, internal, last] {
        request.topic_data.extend(other.topic_data);
    }
    request.topic_data.push(Default::default());
    let answer = ask(&mut host, 9, &request);
    let names: Vec<_> = answer.responses.iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["t", "unknown", "__consumer_offsets", "t", ""]);
    let codes = [0, 3, 3, 2, 87, 87, 87, 0, 0, 3, 3, 17, 0];
    let offsets = [0, -1, -1, -1, -1, -1, -1, 1, 0, -1, -1, -1, 0];
    assert_eq!(outcomes(&answer), codes.into_iter().zip(offsets).collect::<Vec<_>>());
    let other_acks = ask(&mut host, 9, &produce(5, "t", &all));
    assert!(outcomes(&other_acks).iter().all(|outcome| *outcome == (21, -1)));
    assert_eq!(stored(&host, 0), (2, true));
}

#[test]
fn without_acknowledgement_all_that_is_good_is_stored_and_an_error_closes() {
    let mut host = host();
    let all: Vec<_> = (0..3).map(|i| (i, Some(sized(60_000, i as u8)))).collect();
    let good = frame(ApiKey::Produce, 9, &produce(0, "t", &all));
    assert_eq!(long(&mut host, &good, &mut || 5000), Ok(None));
    let bad = [(0, Some(small(1))), (77, Some(small(1))), (1, Some(small(1)))];
    let bad = frame(ApiKey::Produce, 9, &produce(0, "t", &bad));
    assert!(long(&mut host, &bad, &mut || 5000).is_err());
    while host.work() {}
    assert_eq!([0, 1, 2].map(|index| stored(&host, index).0), [2, 2, 1]);
}

#[test]
fn partitions_of_a_held_ring_wait_each_and_those_stored_before_keep_their_offsets() {
    let mut config = config();
    config.rings[0].segments = 4;
    config.rings[0].segment_bytes = 256 << 10;
    config.rings[0].hold_for = vec![brooklet::config::Holder::from_text("mirror:up").unwrap()];
    let mut host = Host::new(config);
    create_topic(&mut host, "t", 24, &[]);
    let all: Vec<_> = (0..24).map(|i| (i, Some(sized(60_000, i as u8)))).collect();
    let request = frame(ApiKey::Produce, 9, &produce(-1, "t", &all));
    let mut stream = Stream::new(&request);
    let mut staged = 0;
    let held_back = loop {
        match stream.step(&mut host, &mut || 9000).unwrap() {
            Event::Staged(_) => staged += 1,
            Event::Again(until) => assert_ne!(host.settle(&until), brooklet::types::Settle::Failed),
            Event::Held(held_back) => break held_back,
            event => panic!("{event:?}"),
        }
    };
    assert!((2..20).contains(&staged), "{staged} fit");
    assert_eq!(held_back.wait_ms, Some(875));
    // It looks again, and has no room still.
    assert_eq!(stream.step(&mut host, &mut || 9000), Ok(Event::Held(held_back)));
    assert!(!stream.has_records(), "nobody waits with records in hand");
    host.waited_out = true;
    let answer = stream.finish(&mut host, &mut || 9000).unwrap().expect("an answer");
    let answer: ProduceResponse = read_answer(ApiKey::Produce, 9, &answer);
    let wanted = |i| if i < staged { (0, 0) } else { (19, -1) };
    assert_eq!(outcomes(&answer), (0..24).map(wanted).collect::<Vec<_>>());
}

#[test]
fn of_two_groups_of_one_request_the_one_that_failed_is_not_acknowledged() {
    for version in [3, 9] {
        let mut host = host();
        let all = [0, 1, 2].map(|i| (i, Some(sized(60_000, i as u8))));
        let request = frame(ApiKey::Produce, version, &produce(-1, "t", &all));
        let mut stream = Stream::new(&request);
        let mut staged = 0;
        while staged < 2 {
            match stream.step(&mut host, &mut || 9000).unwrap() {
                Event::Staged(until) => {
                    staged += 1;
                    if staged == 1 {
                        host.settle(&until);
                    }
                }
                event => panic!("{event:?}"),
            }
        }
        // The first is on flash by now; the second and all attempts to store it elsewhere fail.
        host.storage.fail(Op::Sync, Failing::From(0));
        let answer = stream.finish(&mut host, &mut || 9000).unwrap().expect("an answer");
        let answer: ProduceResponse = read_answer(ApiKey::Produce, version, &answer);
        assert_eq!(outcomes(&answer), [(0, 0), (56, -1), (56, -1)]);
        assert_eq!((stored(&host, 0), stored(&host, 1).1), ((1, true), false));
    }
}

#[test]
fn a_partition_that_is_named_twice_is_stored_twice_and_a_duplicate_once() {
    let mut host = host();
    let from = |first| Sequenced { id: 5, epoch: 0, first };
    let value = vec![7; 40_000];
    let sequenced = |first| Some(batch(from(first), NOON_MS, &[&value, &[1]]));
    let all = [(0, sequenced(0)), (0, sequenced(2)), (0, sequenced(0)), (0, sequenced(7))];
    let answer = ask(&mut host, 9, &produce(-1, "t", &all));
    assert_eq!(outcomes(&answer), [(0, 0), (0, 2), (0, 0), (45, -1)]);
    let again = ask(&mut host, 9, &produce(-1, "t", &all));
    assert_eq!(outcomes(&again), [(0, 0), (0, 2), (0, 0), (45, -1)]);
    assert_eq!(stored(&host, 0), (4, true));
}

#[test]
fn a_request_that_is_cut_leaves_what_was_stored_and_nothing_else() {
    for version in [3, 9] {
        let all = [0, 1, 2].map(|i| (i, Some(batch(PLAIN, NOON_MS, &[&[i as u8; 300]]))));
        let request = frame(ApiKey::Produce, version, &produce(-1, "t", &all));
        let mut staged_most = 0;
        for cut in 0..request.len() {
            let mut host = host();
            let mut stream = Stream::new(&request).cut(cut);
            let mut staged = 0;
            loop {
                match stream.step(&mut host, &mut || 1000).unwrap() {
                    Event::Staged(_) => staged += 1,
                    Event::Cut => break,
                    event => panic!("{event:?}"),
                }
            }
            while host.work() {}
            let found = [0, 1, 2].map(|index| stored(&host, index));
            assert_eq!(found, [0, 1, 2].map(|index| (i64::from(index < staged), true)));
            assert!(staged >= staged_most);
            staged_most = staged;
            // A frame that says it ends there is no request.
            assert!(long(&mut host, &request[..cut], &mut || 1000).is_err());
        }
        // Without tags, the last byte is the last record's.
        assert_eq!(staged_most, if version == 3 { 2 } else { 3 });
        let longer = [&request[..], &[0]].concat();
        assert!(long(&mut host(), &longer, &mut || 1000).is_err());
    }
}

#[test]
fn a_request_gets_the_same_answer_in_pieces_as_it_gets_whole() {
    for seed in 1..=60 {
        let mut dice = stream::Dice(seed);
        let (mut whole, mut pieces) = (host(), host());
        for host in [&mut whole, &mut pieces] {
            create_topic(host, "arrival", 2, &[("message.timestamp.type", "LogAppendTime")]);
            create_topic(host, "relaxed", 2, &[("flush.ms", "500")]);
            create_topic(host, "low", 1, &[("max.message.bytes", "300")]);
        }
        for round in 0..20 {
            let version = 3 + dice.below(10) as i16;
            let request = stream::request(&mut dice);
            let mut bytes = frame(ApiKey::Produce, version, &request);
            let spoilt = dice.below(8) == 0;
            if spoilt {
                let at = dice.below(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)];
            }
            let size = [1, 3, 100, 5000][dice.below(4)];
            let wanted = whole.exchange(&bytes);
            let got = long(&mut pieces, &bytes, &mut || 1 + dice.below(size));
            if spoilt {
                // What is whole is refused before anything is stored.
                break;
            }
            let why = format!("SEED={seed} ROUND={round}, version {version}: {request:?}");
            match (wanted, got) {
                (Ok(wanted), Ok(got)) => assert!(wanted == got, "{why}"),
                (wanted, got) => assert!(wanted.is_err() && got.is_err(), "{why}"),
            }
        }
    }
}
