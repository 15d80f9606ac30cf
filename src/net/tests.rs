//! Sockets against a stand-in for the broker.

mod fake;
mod held;
mod idle;
mod large;
mod long;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;

use super::*;
use crate::metrics::PoolKind;
use fake::{COMMIT, ECHO, FETCH, JOIN, PRODUCE, Server, WAKE, pool, request};

#[test]
fn pipelined_produces_are_answered_in_order_on_the_executor_and_on_the_flush_thread() {
    for sync_us in [0, 2000] {
        // Room for eight answers in each buffer.
        let server = Server::start(|setup| setup.pools[PoolKind::Reply as usize].1 = 64);
        server.disk.sync_us.store(sync_us, Ordering::Relaxed);
        let mut client = server.connect();
        let mut sender = client.0.try_clone().unwrap();
        let count = if sync_us == 0 { 5000 } else { 500 };
        let sending = std::thread::spawn(move || {
            for id in 0..count {
                let wanted = if id % 100 == 7 { 9000 } else { 0 };
                let version = if id % 5 == 3 { 1 } else { 3 };
                let padding = (wanted as usize).max(id as usize % 700);
                let frame = request(PRODUCE, version, id, wanted, padding);
                sender.write_all(&frame).unwrap();
            }
        });
        for id in (0..count).filter(|id| id % 5 != 3) {
            let wanted = if id % 100 == 7 { 9000 } else { 0 };
            assert_eq!(client.answer(), (id, wanted));
        }
        sending.join().unwrap();
        let syncs = server.disk.syncs.load(Ordering::Relaxed);
        assert!(syncs < u64::from(count), "{syncs} syncs for {count}");
        assert!(server.stop());
    }
}

#[test]
fn requests_of_all_kinds_take_turns_on_one_connection() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    let mut all = Vec::new();
    for id in 0..200 {
        let key = [PRODUCE, ECHO, COMMIT, WAKE][id as usize % 4];
        let version = [0, 2][id as usize % 2];
        let padding = [0, 100, 60_000, 300_000][id as usize % 7 % 4];
        let padding = if key == PRODUCE { padding } else { padding.min(60_000) };
        all.extend(request(key, version, id, id, padding));
    }
    let mut sender = client.0.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&all).unwrap());
    for id in 0..200 {
        let body = if id % 4 == 1 { id as usize } else { 0 };
        assert_eq!(client.answer(), (id, body));
    }
    sending.join().unwrap();
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_one_frame() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    for byte in request(PRODUCE, 0, 17, 0, 5) {
        client.send(&[byte]);
    }
    assert_eq!(client.answer(), (17, 0));
}

#[test]
fn frames_of_impossible_sizes_close_the_connection() {
    let server = Server::start(|setup| setup.request_bytes_max = 100_000);
    for size in [-1i32, i32::MIN, 0, 3, 100_001, i32::MAX] {
        let mut client = server.connect();
        let mut frame = size.to_be_bytes().to_vec();
        frame.extend([0; 8]);
        client.send(&frame);
        assert!(client.is_closed(), "{size}");
    }
    let mut client = server.connect();
    client.send(&request(PRODUCE, 0, 1, 0, 99_988));
    assert_eq!(client.answer(), (1, 0));
    client.send(&request(99, 0, 1, 0, 0));
    assert!(client.is_closed(), "an unknown key");
}

#[test]
fn an_answer_of_any_length_reaches_a_slow_reader_whole() {
    let server = Server::start(|_| {});
    let mut slow = server.connect();
    let mut other = server.connect();
    slow.send(&request(ECHO, 0, 1, 9_000_000, 0));
    other.send(&request(ECHO, 0, 2, 60_000, 0));
    assert_eq!(other.answer(), (2, 60_000));
    assert_eq!(slow.answer(), (1, 9_000_000));
}

#[test]
fn a_long_answer_that_changes_while_it_is_sent_is_cut_off_and_a_short_one_is_not() {
    let server = Server::start(|_| {});
    let mut slow = server.connect();
    slow.send(&request(ECHO, 0, 1, 20_000_000, 0));
    let mut begin = [0; 8];
    slow.0.read_exact(&mut begin).unwrap();
    let mut other = server.connect();
    other.send(&[request(WAKE, 0, 2, 0, 0), request(ECHO, 0, 3, 60_000, 0)].concat());
    assert_eq!((other.answer(), other.answer()), ((2, 0), (3, 60_000)));
    // Nothing of what it is after the change follows.
    let mut rest = Vec::new();
    let _ = slow.0.read_to_end(&mut rest);
    assert!(rest.len() < 20_000_000, "{}", rest.len());
}

#[test]
fn a_failed_sync_makes_produce_answers_say_so_and_dispatches_others_again() {
    let server = Server::start(|_| {});
    server.disk.fails.store(true, Ordering::Relaxed);
    let mut client = server.connect();
    let mut all = Vec::new();
    for id in 0..3 {
        all.extend(request(PRODUCE, 0, id, 0, 10));
    }
    all.extend(request(COMMIT, 0, 4, 0, 10));
    client.send(&all);
    for _ in 0..4 {
        assert_eq!(client.answer(), (56, 0));
    }
}

#[test]
fn a_job_sleeps_without_a_buffer_until_it_is_woken() {
    let server = Server::start(|setup| pool(setup, PoolKind::Fetch, 1));
    let mut sleepers: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut sleepers {
        client.send(&request(FETCH, 1, 0, 200_000, 0));
    }
    let mut cold = server.connect();
    cold.send(&request(FETCH, 2, 0, 100_000, 0));
    let mut bytes = vec![0; 100_000];
    cold.0.read_exact(&mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    let mut waker = server.connect();
    waker.send(&request(WAKE, 0, 1, 0, 0));
    assert_eq!(waker.answer(), (1, 0));
    let mut bytes = vec![0; 200_000];
    for client in &mut sleepers {
        client.0.read_exact(&mut bytes).unwrap();
        client.send(&request(ECHO, 0, 5, 1, 0));
        assert_eq!(client.answer(), (5, 1));
    }
}

#[test]
fn a_job_that_never_waits_for_the_disk_keeps_nobody_else_waiting() {
    let server = Server::start(|_| {});
    let mut reader = server.connect();
    reader.send(&request(FETCH, 3, 0, 10, 0));
    for id in 0..10 {
        let mut other = server.connect();
        other.send(&request(ECHO, 0, id, 10, 0));
        assert_eq!(other.answer(), (id, 10));
        other.send(&request(PRODUCE, 0, id, 0, 10));
        assert_eq!(other.answer(), (id, 0));
    }
    assert!(server.stop());
}

#[test]
fn a_client_that_always_has_more_to_ask_keeps_nobody_else_waiting() {
    for (key, fails) in [(ECHO, false), (PRODUCE, false), (PRODUCE, true)] {
        let server = Server::start(|_| {});
        server.disk.fails.store(fails, Ordering::Relaxed);
        let mut busy: Vec<_> = (0..3).map(|_| server.connect()).collect();
        let frames = request(key, 0, 1, 0, 10).repeat(2000);
        let senders = busy.iter_mut().map(|client| {
            let (mut sender, mut reader) =
                (client.0.try_clone().unwrap(), client.0.try_clone().unwrap());
            let frames = frames.clone();
            std::thread::spawn(move || while sender.write_all(&frames).is_ok() {});
            std::thread::spawn(move || while reader.read(&mut [0; 65_536]).is_ok_and(|n| n > 0) {})
        });
        let senders: Vec<_> = senders.collect();
        for id in 0..20 {
            let mut other = server.connect();
            other.send(&request(ECHO, 0, id, 10, 0));
            assert_eq!(other.answer(), (id, 10));
        }
        drop(server);
        senders.into_iter().for_each(|reader| reader.join().unwrap());
    }
}

#[test]
fn members_that_wait_for_others_hold_no_buffer_and_are_all_answered() {
    let server = Server::start(|setup| {
        pool(setup, PoolKind::Control, 1);
        pool(setup, PoolKind::Fetch, 0);
    });
    let mut members: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for member in &mut members {
        // The next request comes with it, and is answered after it.
        member.send(&[request(JOIN, 1, 3, 28, 0), request(ECHO, 0, 4, 5, 0)].concat());
    }
    let mut other = server.connect();
    other.send(&request(ECHO, 0, 1, 10, 0));
    assert_eq!(other.answer(), (1, 10));
    for member in &mut members {
        other.send(&request(WAKE, 0, 2, 0, 0));
        assert_eq!(other.answer(), (2, 0));
        let mut job = [0; 28];
        member.0.read_exact(&mut job).unwrap();
        assert_eq!((job, member.answer()), ([7; 28], (4, 5)));
    }
}

#[test]
fn who_waits_with_a_buffer_is_cut_off_when_another_waits_for_it() {
    let server = Server::start(|setup| pool(setup, PoolKind::ProduceSmall, 1));
    let mut holder = server.connect();
    let frames =
        [request(PRODUCE, 0, 1, 0, 0), request(JOIN, 1, 2, 9, 0), request(ECHO, 0, 3, 5, 0)];
    holder.send(&frames.concat());
    assert_eq!(holder.answer(), (1, 0));
    let mut other = server.connect();
    other.send(&request(PRODUCE, 0, 4, 0, 0));
    assert_eq!(other.answer(), (4, 0));
    assert!(holder.is_closed());
}

#[test]
fn producers_for_a_full_ring_hold_no_buffer_and_go_on_when_there_is_room() {
    let server = Server::start(|setup| {
        pool(setup, PoolKind::ProduceSmall, 2);
        pool(setup, PoolKind::Large, 1);
    });
    server.disk.full.store(true, Ordering::Relaxed);
    let mut other = server.connect();
    // The first finds out that the ring is full, with a buffer. The others stay unread.
    let mut producers: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for (id, producer) in (0..).zip(&mut producers) {
        let padding = [10, 60_000, 300_000][id as usize % 3];
        let sender = producer.0.try_clone().unwrap();
        let frames = [request(PRODUCE, 4, id, 0, 10), request(PRODUCE, 4, id, 0, padding)];
        std::thread::spawn(move || (&sender).write_all(&frames.concat()));
        other.send(&request(ECHO, 0, 1, 10, 0));
        assert_eq!(other.answer(), (1, 10));
    }
    for id in 100..110 {
        other.send(&request(PRODUCE, 0, id, 0, 10));
        assert_eq!(other.answer(), (id, 0));
    }
    server.disk.full.store(false, Ordering::Relaxed);
    other.send(&request(COMMIT, 0, 7, 0, 0));
    assert_eq!(other.answer(), (7, 0));
    for (id, producer) in (0..).zip(&mut producers) {
        assert_eq!((producer.answer(), producer.answer()), ((id, 0), (id, 0)));
    }
}

#[test]
fn a_producer_that_waited_for_room_long_enough_is_told_so_with_all_that_came_with_it() {
    let server = Server::start(|_| {});
    server.disk.full.store(true, Ordering::Relaxed);
    server.disk.hold_wait_ms.store(300, Ordering::Relaxed);
    let mut producer = server.connect();
    for _ in 0..2 {
        let frames: Vec<_> = (0..5).map(|id| request(PRODUCE, 4, id, 0, 10)).collect();
        producer.send(&frames.concat());
        for _ in 0..5 {
            assert_eq!(producer.answer(), (19, 0));
        }
    }
    server.disk.full.store(false, Ordering::Relaxed);
    producer.send(&request(PRODUCE, 4, 9, 0, 10));
    assert_eq!(producer.answer(), (9, 0));
}

#[test]
fn a_clean_stop_does_not_wait_for_those_who_wait_for_room() {
    let server = Server::start(|_| {});
    server.disk.full.store(true, Ordering::Relaxed);
    let mut producers: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for producer in &mut producers {
        producer.send(&request(PRODUCE, 4, 1, 0, 10));
        let mut other = server.connect();
        other.send(&request(ECHO, 0, 1, 10, 0));
        assert_eq!(other.answer(), (1, 10));
    }
    assert!(server.stop());
    for producer in &mut producers {
        assert!(producer.is_closed());
    }
}

#[test]
fn a_client_that_goes_away_while_its_job_sleeps_gives_its_slot_back() {
    let server = Server::start(|setup| setup.max_connections = 1);
    let mut sleeper = server.connect();
    sleeper.send(&request(FETCH, 1, 0, 10, 0));
    drop(sleeper);
    let answered = || {
        let mut next = server.connect();
        let sent = next.0.write_all(&request(ECHO, 0, 1, 0, 0));
        sent.is_ok() && next.try_answer() == Some((1, 0))
    };
    assert!((0..1000).any(|_| answered()));
}

#[test]
fn a_sender_that_stalls_is_cut_off_when_another_waits_for_its_buffer() {
    let server = Server::start(|setup| pool(setup, PoolKind::Control, 1));
    let mut staller = server.connect();
    staller.send(&request(ECHO, 0, 1, 0, 50_000)[..40_000]);
    let mut other = server.connect();
    // Small produce requests do not come from that pool.
    other.send(&request(PRODUCE, 0, 2, 0, 100));
    assert_eq!(other.answer(), (2, 0));
    other.send(&request(ECHO, 0, 3, 9, 0));
    assert_eq!(other.answer(), (3, 9));
    assert!(staller.is_closed());
}

#[test]
fn a_reader_that_does_not_read_is_cut_off_when_another_waits_for_its_buffer() {
    let server = Server::start(|setup| pool(setup, PoolKind::Fetch, 1));
    let mut staller = server.connect();
    staller.send(&request(FETCH, 0, 1, 50_000_000, 0));
    let mut first = [0];
    staller.0.read_exact(&mut first).unwrap();
    let mut other = server.connect();
    other.send(&request(FETCH, 0, 2, 10, 0));
    let mut bytes = [0; 10];
    other.0.read_exact(&mut bytes).unwrap();
    let mut rest = Vec::new();
    let _ = staller.0.read_to_end(&mut rest);
    assert!(rest.len() < 49_999_999);
}

#[test]
fn a_new_connection_displaces_the_longest_idle_one_without_a_request() {
    let server = Server::start(|setup| (setup.max_connections, setup.newcomer_ms) = (3, 0));
    let mut before = server.connect();
    before.0.shutdown(Shutdown::Write).unwrap();
    assert!(before.is_closed());
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for (id, client) in (0..).zip(&mut clients) {
        if id != 1 {
            client.send(&request(ECHO, 0, id, 0, 0));
            assert_eq!(client.answer(), (id, 0));
        }
    }
    let mut fourth = server.connect();
    fourth.send(&request(ECHO, 0, 4, 0, 0));
    assert_eq!(fourth.answer(), (4, 0));
    assert!(clients[1].is_closed());
    let mut fifth = server.connect();
    fifth.send(&request(ECHO, 0, 5, 0, 0));
    assert_eq!(fifth.answer(), (5, 0));
    assert!(clients[0].is_closed());
    clients[2].send(&request(ECHO, 0, 6, 0, 0));
    assert_eq!(clients[2].answer(), (6, 0));
}

#[test]
fn silent_connections_are_closed_after_their_time() {
    let server = Server::start(|setup| setup.idle_ms_max = 300);
    let mut silent = server.connect();
    let mut halfway = server.connect();
    halfway.send(&[0, 0]);
    assert!(silent.is_closed());
    assert!(halfway.is_closed());
}

#[test]
fn a_stop_answers_what_is_owed_and_ends_every_connection() {
    let server = Server::start(|_| {});
    server.disk.sync_us.store(100_000, Ordering::Relaxed);
    let mut idle = server.connect();
    let mut sleeping = server.connect();
    sleeping.send(&request(FETCH, 1, 0, 10, 0));
    let mut owed = server.connect();
    owed.send(&request(ECHO, 0, 1, 0, 0));
    assert_eq!(owed.answer(), (1, 0));
    owed.send(&request(PRODUCE, 0, 2, 0, 0));
    while server.disk.syncs.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    server.stop_begin();
    assert_eq!(owed.answer(), (2, 0));
    assert!(owed.is_closed() && idle.is_closed() && sleeping.is_closed());
    assert!(server.stop());
}

#[test]
fn many_clients_with_the_fewest_buffers_all_get_their_answers() {
    let server = Server::start(|setup| {
        for kind in PoolKind::ALL {
            pool(setup, kind, 1);
        }
    });
    server.disk.sync_us.store(300, Ordering::Relaxed);
    let clients = (0..24).map(|seed: u32| {
        let mut client = server.connect();
        std::thread::spawn(move || {
            for round in 0..30u32 {
                let mut all = Vec::new();
                let kind = |i: u32| (seed + round * 7 + i * 5) % 6;
                for i in 0..6 {
                    let (key, padding) = match kind(i) {
                        0 => (PRODUCE, 100_000),
                        1 | 2 => (PRODUCE, 300),
                        3 => (ECHO, 50),
                        4 => (COMMIT, 5000),
                        _ => (PRODUCE, 60_000),
                    };
                    all.extend(request(key, 0, i, 3000, padding));
                }
                client.send(&all);
                for i in 0..6 {
                    let body = if kind(i) == 3 { 3000 } else { 0 };
                    assert_eq!(client.answer(), (i, body));
                }
            }
            client.0.shutdown(Shutdown::Both).unwrap();
        })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_probe_and_the_page_do_not_wait_for_whoever_takes_a_report_slowly() {
    use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let core = fake::Fake::new(std::sync::Arc::default(), 4);
    let setup = Setup::from(&crate::config::Config::default());
    let net = Rc::new(Net::new(core, setup, Clock::start()).unwrap());
    let executor = Rc::new(smol::LocalExecutor::new());
    smol::block_on(executor.run(async {
        let listener = async_net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = http::serve(Rc::clone(&net), Rc::clone(&executor), listener);
        let serving = executor.spawn(serving);
        let _report = net.shown.lock().await;
        for (path, content) in [("/health", "ok"), ("/", "</html>\n")] {
            let mut stream = async_net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(content));
        }
        drop(serving);
    }));
}

#[test]
fn a_connections_task_is_small() {
    let core = fake::Fake::new(std::sync::Arc::default(), 4);
    let setup = Setup::from(&crate::config::Config::default());
    let net = Rc::new(Net::new(core, setup, Clock::start()).unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = std::net::TcpStream::connect(address).unwrap();
    let id = net.hub.slots.borrow_mut().open(address.ip(), Mono(0));
    let peer = Peer::new(id.unwrap(), address, address);
    let socket = smol::Async::new(stream).unwrap();
    let mut connection = connection::Connection::new(Rc::clone(&net), peer.conn, socket, peer);
    let outcomes = connection.wire.try_take(PoolKind::Reply).unwrap();
    let long = std::mem::size_of_val(&connection.long(limits::LEASE_BYTES + 1, outcomes));
    // The broker's own state of one is larger than the stand-in's.
    let long = long - size_of::<fake::Long>() + size_of::<crate::api::produce::Long>();
    assert!(long <= limits::LONG_REQUEST_BYTES, "{long} bytes");
    let task = connection.serve();
    let bytes = std::mem::size_of_val(&task);
    assert!(bytes <= limits::CONNECTION_TASK_BYTES, "{bytes} bytes");
    drop(task);
}

#[test]
fn handlers_are_told_that_the_clock_is_right_while_the_configured_file_is_there() {
    let now = |file: &str| {
        let core = fake::Fake::new(std::sync::Arc::default(), 4);
        let set = [format!("clock_synchronised_file={file}")];
        let sources = crate::config::source::Sources { sets: &set, ..Default::default() };
        let config = crate::config::source::load(sources).unwrap().config;
        let net = Net::new(core, Setup::from(&config), Clock::start()).unwrap();
        net.look_at_clock();
        net.now.get()
    };
    assert!(now("/proc/self/status").wall_synchronised);
    assert!(!now("/proc/self/nothing").wall_synchronised);
    assert!(!now("").wall_synchronised);
}
