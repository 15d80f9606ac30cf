//! Produce requests that are longer than a small buffer, however they arrive.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::fake::{ECHO, PRODUCE, Server, pool, request};
use crate::metrics::PoolKind;

#[test]
fn a_long_request_in_pieces_of_any_size_is_one_request() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    // The kind of pieces that its padding is taken in goes by the id; version 5 skips it.
    for (id, version) in (0..8).zip([0, 0, 0, 0, 5, 5, 3, 2]) {
        for size in [1, 7, 300, 5000, 70_000, 1 << 20] {
            let body = if version == 3 { 70_001 } else { 0 };
            let frame = request(PRODUCE, version, id, body, 200_000);
            // Byte by byte where a frame and its records begin.
            let (begin, rest) = frame.split_at(frame.len().min(size * 400));
            for piece in begin.chunks(size).chain(rest.chunks(50_000)) {
                client.send(piece);
            }
            assert_eq!(client.answer(), (id, body as usize), "pieces of {size}");
        }
    }
    assert!(server.stop());
}

#[test]
fn long_and_short_requests_are_answered_in_order_and_a_long_one_without_an_answer_gets_none() {
    let server = Server::start(|_| {});
    server.disk.sync_us.store(500, Ordering::Relaxed);
    let mut client = server.connect();
    let mut sender = client.0.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for id in 0..200 {
            let padding = [10, 70_000, 60_000, 300_000, 20][id as usize % 5];
            let version = if id % 7 == 3 { 1 } else { 0 };
            sender.write_all(&request(PRODUCE, version, id, 0, padding)).unwrap();
        }
    });
    for id in (0..200).filter(|id| id % 7 != 3) {
        assert_eq!(client.answer(), (id, 0));
    }
    sending.join().unwrap();
}

#[test]
fn a_failed_sync_makes_the_answer_to_a_long_request_say_so() {
    let server = Server::start(|_| {});
    server.disk.fails.store(true, Ordering::Relaxed);
    let mut client = server.connect();
    client.send(&request(PRODUCE, 0, 3, 0, 300_000));
    assert_eq!(client.answer(), (56, 0));
}

#[test]
fn who_stalls_in_the_middle_of_long_records_is_cut_off_when_another_waits_for_their_buffer() {
    let server = Server::start(|setup| pool(setup, PoolKind::Large, 1));
    let mut staller = server.connect();
    staller.send(&request(PRODUCE, 0, 3, 0, 300_000)[..150_000]);
    let mut other = server.connect();
    other.send(&request(ECHO, 0, 1, 5, 0));
    assert_eq!(other.answer(), (1, 5));
    for id in [3, 7] {
        other.send(&request(PRODUCE, 0, id, 0, 300_000));
        assert_eq!(other.answer(), (id, 0));
    }
    assert!(staller.is_closed());
}

#[test]
fn who_goes_away_in_the_middle_of_a_long_request_leaves_no_buffer_behind() {
    let server = Server::start(|setup| {
        for kind in PoolKind::ALL {
            pool(setup, kind, 1);
        }
    });
    for round in 0..40 {
        let mut client = server.connect();
        let frame = request(PRODUCE, round % 6, round as u32, 0, 250_000);
        client.send(&frame[..[9, 100, 5000, 66_000, 120_000, 249_000][round as usize % 6]]);
    }
    let mut client = server.connect();
    for id in 0..4 {
        client.send(&request(PRODUCE, 0, id, 0, 250_000));
        assert_eq!(client.answer(), (id, 0));
    }
    assert!(server.stop());
}
