//! Requests other than produce that are longer than a small buffer.

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};
use smol::future::yield_now;

use super::fake::{ECHO, JOIN, PRODUCE, Server, pool, request};
use super::idle::{Guest, Local};
use super::*;
use crate::broker::testing::frame_of;
use crate::config::Config;
use crate::group::states::State;
use crate::metrics::PoolKind;

/// The longest frame that is read into a buffer, its prefix included.
const FRAME_BYTES_MAX: usize = 1_048_588;

#[test]
fn a_long_request_in_pieces_of_any_size_is_one_request_whatever_comes_before_and_after() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    for padding in [65_536 - 15, 65_536 - 16, 70_000, FRAME_BYTES_MAX - 16] {
        let short = request(ECHO, 0, 1, 3, 0);
        let long = request(ECHO, 0, 2, 100_000, padding);
        let all = [&request(PRODUCE, 0, 7, 0, 0), &short, &long, &short, &long, &short];
        let all: Vec<u8> = all.into_iter().flatten().copied().collect();
        for size in [5, 4000, 65_000, all.len()] {
            // The small ones cut up what the frames begin with.
            let (begin, rest) = all.split_at(all.len().min(size * 40));
            for piece in begin.chunks(size).chain(rest.chunks(50_000)) {
                client.send(piece);
            }
            assert_eq!(client.answer(), (7, 0), "{padding} in pieces of {size}");
            for expected in [(1, 3), (2, 100_000), (1, 3), (2, 100_000), (1, 3)] {
                assert_eq!(client.answer(), expected, "{padding} in pieces of {size}");
            }
        }
    }
    assert!(server.stop());
}

#[test]
fn what_no_buffer_takes_is_answered_if_there_is_a_code_for_it_and_else_closes_the_connection() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    for size in [1, 70_000, 3 << 20] {
        let beyond = request(JOIN, 0, 9, 0, FRAME_BYTES_MAX - 15);
        let frames = [&request(PRODUCE, 0, 4, 0, 10), &beyond, &request(ECHO, 0, 5, 6, 0)];
        let all: Vec<u8> = frames.into_iter().flatten().copied().collect();
        let (begin, rest) = all.split_at(all.len().min(size * 100));
        for piece in begin.chunks(size).chain(rest.chunks(50_000)) {
            client.send(piece);
        }
        assert_eq!([client.answer(), client.answer(), client.answer()], [(4, 0), (9, 81), (5, 6)]);
    }
    client.send(&request(ECHO, 0, 1, 0, FRAME_BYTES_MAX - 15)[..100]);
    assert!(client.is_closed());
}

#[test]
fn who_stalls_in_a_long_request_is_cut_off_when_another_wants_the_buffer() {
    let server = Server::start(|setup| pool(setup, PoolKind::Large, 1));
    for key in [ECHO, PRODUCE] {
        let mut staller = server.connect();
        staller.send(&request(ECHO, 0, 3, 0, 300_000)[..150_000]);
        let mut other = server.connect();
        other.send(&request(key, 0, 3, 0, 300_000));
        assert_eq!(other.answer(), (3, 0));
        assert!(staller.is_closed());
    }
}

#[test]
fn the_beginnings_of_long_requests_take_no_buffer_from_those_that_come_whole() {
    let server = Server::start(|setup| pool(setup, PoolKind::Large, 1));
    let long = request(ECHO, 0, 3, 7, 300_000);
    let mut slow: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut slow {
        client.send(&long[..20_000]);
        let mut other = server.connect();
        other.send(&long);
        assert_eq!(other.answer(), (3, 7));
    }
    for client in &mut slow {
        client.send(&long[20_000..]);
        assert_eq!(client.answer(), (3, 7));
    }
}

#[test]
fn neither_waiting_members_nor_producers_for_a_full_ring_keep_a_large_buffer() {
    let server = Server::start(|setup| pool(setup, PoolKind::Large, 1));
    server.disk.full.store(true, Ordering::Relaxed);
    let mut member = server.connect();
    member.send(&request(JOIN, 1, 0, 9, 300_000));
    let mut producer = server.connect();
    producer.send(&request(PRODUCE, 4, 3, 0, 300_000)[..200_000]);
    let mut other = server.connect();
    for id in 0..3 {
        other.send(&request(ECHO, 0, id, 5, 300_000));
        assert_eq!(other.answer(), (id, 5));
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// A frame of exactly so many bytes, its prefix included: `with` makes one with so much in it.
fn exactly<R: Request>(version: i16, bytes: usize, with: impl Fn(usize) -> R) -> Vec<u8> {
    let bare = frame_of(version, &with(100_000)).len() + 4 - 100_000;
    let frame = frame_of(version, &with(bytes - bare));
    assert_eq!(frame.len() + 4, bytes);
    frame
}

async fn ask<R: Request>(client: &mut Guest, version: i16, frame: &[u8]) -> R::Response {
    client.send(frame).await;
    told::<R>(client, version).await
}

async fn told<R: Request>(client: &mut Guest, version: i16) -> R::Response {
    let mut answer = bytes::Bytes::from(client.answer().await);
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    let told = R::Response::decode(&mut answer, version).unwrap();
    assert!(answer.is_empty());
    told
}

fn join(metadata: usize) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(vec![7; metadata].into());
    JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(45_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// The connection goes on: a member, or nobody, says that it is alive.
async fn heartbeat(client: &mut Guest, member: &str, generation: i32) -> i16 {
    let alive = HeartbeatRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(text(member))
        .with_generation_id(generation);
    ask::<HeartbeatRequest>(client, 3, &frame_of(3, &alive)).await.error_code
}

fn roomy(config: &mut Config) {
    config.group_members_bytes = 2 << 20;
    config.group_initial_rebalance_delay_ms = 0;
}

#[test]
fn members_with_much_to_say_join_up_to_the_bound_and_are_told_beyond_it() {
    let local = Local::new(roomy);
    smol::block_on(local.executor.run(async {
        let mut client = local.connect();
        for frame in [frame_of(3, &join(200 << 10)), exactly(3, FRAME_BYTES_MAX, join)] {
            let joined = ask::<JoinGroupRequest>(&mut client, 3, &frame).await;
            assert_eq!(joined.error_code, 0);
            let leave = LeaveGroupRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_member_id(joined.member_id.clone());
            assert_eq!(heartbeat(&mut client, &joined.member_id, joined.generation_id).await, 0);
            let left = ask::<LeaveGroupRequest>(&mut client, 1, &frame_of(1, &leave)).await;
            assert_eq!(left.error_code, 0);
        }
        for (version, bytes) in [(3, 1), (0, 1), (9, 1000)] {
            let frame = exactly(version, FRAME_BYTES_MAX + bytes, join);
            let refused = ask::<JoinGroupRequest>(&mut client, version, &frame).await;
            assert_eq!(refused.error_code, 81);
            assert_eq!(heartbeat(&mut client, "nobody", 1).await, 25);
        }
        let core = local.net.core.borrow();
        assert_eq!((core.metrics.errors(81), core.metrics.requests(11)), (3, 5));
    }));
}

#[test]
fn what_members_say_beyond_group_members_bytes_is_told_for_good() {
    let local = Local::new(|config| config.group_initial_rebalance_delay_ms = 0);
    smol::block_on(local.executor.run(async {
        let mut client = local.connect();
        let refused = ask::<JoinGroupRequest>(&mut client, 3, &frame_of(3, &join(200 << 10))).await;
        assert_eq!(refused.error_code, 81);
        assert_eq!(heartbeat(&mut client, "nobody", 1).await, 25);
    }));
}

#[test]
fn a_leader_assigns_to_many_members_up_to_the_bound_and_is_told_beyond_it() {
    let local = Local::new(|config| {
        roomy(config);
        config.group_initial_rebalance_delay_ms = 3000;
    });
    smol::block_on(local.executor.run(async {
        let mut members: Vec<Guest> = (0..110).map(|_| local.connect()).collect();
        for (member, count) in members.iter_mut().zip(1..) {
            member.send(&frame_of(3, &join(50))).await;
            while local.net.core.borrow().groups.members_len() < count {
                yield_now().await;
            }
        }
        let mut now = local.net.hub.now();
        while local.net.core.borrow().groups.state("g") == State::PreparingRebalance {
            now.mono = now.mono.plus_ms(3000);
            let mut core = local.net.core.borrow_mut();
            core.tick(now);
            local.net.wake_jobs(&mut core);
        }
        let mut joined = Vec::new();
        for member in &mut members {
            joined.push(told::<JoinGroupRequest>(member, 3).await);
        }
        let sync = |at: usize, assignments: Vec<(usize, usize)>| {
            let assignments = assignments.into_iter().map(|(to, bytes)| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(joined[to].member_id.clone())
                    .with_assignment(vec![to as u8; bytes].into())
            });
            SyncGroupRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_generation_id(joined[at].generation_id)
                .with_member_id(joined[at].member_id.clone())
                .with_assignments(assignments.collect())
        };
        let leader = joined.iter().position(|one| one.member_id == one.leader).unwrap();
        // Too long to be read: told, and nothing has changed.
        let beyond = frame_of(3, &sync(leader, vec![(leader, 2 << 20)]));
        let refused = ask::<SyncGroupRequest>(&mut members[leader], 3, &beyond).await;
        assert_eq!(refused.error_code, 81);
        let alive = &joined[leader];
        let beat = heartbeat(&mut members[leader], &alive.member_id, alive.generation_id).await;
        assert_eq!(beat, 0);
        let all = (0..members.len()).map(|to| (to, 3000)).collect();
        let assigned =
            ask::<SyncGroupRequest>(&mut members[leader], 3, &frame_of(3, &sync(leader, all)))
                .await;
        assert_eq!((assigned.error_code, assigned.assignment.len()), (0, 3000));
        for (at, member) in members.iter_mut().enumerate() {
            let own = ask::<SyncGroupRequest>(member, 3, &frame_of(3, &sync(at, Vec::new()))).await;
            assert!(own.error_code == 0 && own.assignment == vec![at as u8; 3000]);
            let one = &joined[at];
            assert_eq!(heartbeat(member, &one.member_id, one.generation_id).await, 0);
        }
    }));
}

#[test]
fn a_thousand_topics_are_answered_one_by_one_up_to_the_bound_and_close_the_connection_beyond_it() {
    let setting = |name: &str| {
        let setting = CreatableTopicConfig::default().with_name(text(name));
        setting.with_value(Some(text("604800000")))
    };
    let topics = (0..1000).map(|at| {
        let name = if at == 999 { "retention" } else { "retention.ms" };
        CreatableTopic::default()
            .with_name(TopicName(text(&format!("topic-{at:04}"))))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![setting(name), setting("segment.ms")])
    });
    let mut frame = frame_of(4, &CreateTopicsRequest::default().with_topics(topics.collect()));
    let local = Local::new(|_| {});
    smol::block_on(local.executor.run(async {
        let mut client = local.connect();
        let answer = ask::<CreateTopicsRequest>(&mut client, 4, &frame).await.topics;
        let codes: Vec<i16> = answer.iter().map(|topic| topic.error_code).collect();
        // topics_max is 128; the last one has a setting that there is not.
        assert_eq!(codes.len(), 1000);
        assert!(codes[..128].iter().all(|code| *code == 0));
        assert!(codes[128..999].iter().all(|code| *code == 44));
        assert_eq!(codes[999], 40);
        assert_eq!(local.net.core.borrow().log.state().topics_len(), 128);
        assert_eq!(heartbeat(&mut client, "nobody", 1).await, 25);
        frame.resize(FRAME_BYTES_MAX - 3, 0);
        client.send(&frame).await;
        assert!(client.is_closed().await);
    }));
}

#[test]
fn the_metadata_of_thousands_of_topics_is_answered_up_to_the_bound() {
    let local = Local::new(|_| {});
    let named = |count: usize, bytes: usize| {
        let topics = (0..count).map(|at| {
            let name = format!("{at:0bytes$}");
            MetadataRequestTopic::default().with_name(Some(TopicName(text(&name))))
        });
        MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false)
    };
    smol::block_on(local.executor.run(async {
        let mut client = local.connect();
        // Of as many bytes each as there are in a request of the longest kind, and one more.
        for (count, bytes) in [(4000, 40), (4000, 255)] {
            let frame = frame_of(8, &named(count, bytes));
            let answer = ask::<MetadataRequest>(&mut client, 8, &frame).await;
            assert_eq!(answer.topics.len(), count);
            assert!(answer.topics.iter().all(|topic| [3, 17].contains(&topic.error_code)));
            assert_eq!(heartbeat(&mut client, "nobody", 1).await, 25);
        }
        client.send(&frame_of(8, &named(4000, 265))).await;
        assert!(client.is_closed().await);
    }));
}

#[test]
fn commits_of_two_thousand_partitions_with_metadata_are_stored_or_told_that_there_is_no_room() {
    let commit = |partitions: i32, bytes: usize| {
        let partitions = (0..partitions).map(|index| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(i64::from(index))
                .with_committed_metadata(Some(text(&"m".repeat(bytes))))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(partitions.collect());
        OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic])
    };
    let codes = |answer: OffsetCommitResponse| -> Vec<i16> {
        answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
    };
    for (metadata_bytes, code) in [(1 << 20, 0), (64 << 10, 12)] {
        let local = Local::new(|config| {
            config.partitions_max = 2048;
            config.offset_metadata_bytes = metadata_bytes;
        });
        smol::block_on(local.executor.run(async {
            let mut client = local.connect();
            let topic = CreatableTopic::default()
                .with_name(TopicName(text("t")))
                .with_num_partitions(2048)
                .with_replication_factor(1);
            let create = CreateTopicsRequest::default().with_topics(vec![topic]);
            let made = ask::<CreateTopicsRequest>(&mut client, 4, &frame_of(4, &create)).await;
            assert_eq!(made.topics[0].error_code, 0);
            let frame = frame_of(7, &commit(2048, 400));
            let told = codes(ask::<OffsetCommitRequest>(&mut client, 7, &frame).await);
            assert_eq!(told, vec![code; 2048]);
            assert_eq!(heartbeat(&mut client, "nobody", 1).await, 25);
            // More partitions than there are answers for in one window.
            let frame = frame_of(7, &commit(40_000, 0));
            let told = codes(ask::<OffsetCommitRequest>(&mut client, 7, &frame).await);
            assert_eq!(told, vec![28; 40_000]);
            client.send(&frame_of(7, &commit(2048, 600))).await;
            assert!(client.is_closed().await);
        }));
    }
}
