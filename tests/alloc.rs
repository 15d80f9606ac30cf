//! The heap does not grow: live bytes after many requests equal those after few, for every key
//! that is served. A program of its own, because it counts every allocation of the process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use brooklet::api::{APIS, Api, api_of};
use brooklet::broker::Broker;
use brooklet::clock::Clock;
use brooklet::codec::crc::crc32c;
use brooklet::config::Config;
use brooklet::log::recovery::Opening;
use brooklet::log::{Log, LogConfig};
use brooklet::net::{Setup, serve};
use brooklet::plan::Plan;
use brooklet::storage::FileStorage;
use bytes::{Bytes, BytesMut};
use flate2::write::GzEncoder;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// The counts are the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn reading_a_request_allocates_nothing_whatever_it_claims() {
    let _alone = ALONE.lock();
    let claims: [&[u8]; 4] = [&[0; 64], &[0x7f; 64], &[0xff; 64], &[1; 64]];
    // The test runner's own thread may allocate meanwhile: once without is enough.
    let nothing = (0..20).any(|_| {
        let before = HEAP.stats().allocations;
        for bytes in claims {
            for at in 0..bytes.len() {
                read_all_kinds(&bytes[at..]);
            }
        }
        HEAP.stats().allocations == before
    });
    assert!(nothing);
}

/// Decodes the bytes as every request with an array in it, in its oldest and newest version.
fn read_all_kinds(bytes: &[u8]) {
    macro_rules! read {
        ($($module:ident::$request:ident: $oldest:literal, $newest:literal;)*) => {
            $(for version in [$oldest, $newest] {
                use brooklet::api::$module::$request;
                let mut r = brooklet::codec::Reader::new(bytes);
                std::hint::black_box($request::decode(&mut r, version).is_ok());
            })*
        };
    }
    read! {
        produce::ProduceRequest: 3, 12;
        fetch::FetchRequest: 4, 18;
        list_offsets::ListOffsetsRequest: 1, 10;
        metadata::MetadataRequest: 0, 13;
        offset_commit::OffsetCommitRequest: 2, 9;
        offset_fetch::OffsetFetchRequest: 1, 9;
        find_coordinator::FindCoordinatorRequest: 4, 6;
        create_topics::CreateTopicsRequest: 2, 7;
        delete_topics::DeleteTopicsRequest: 1, 6;
        create_partitions::CreatePartitionsRequest: 0, 3;
        delete_records::DeleteRecordsRequest: 0, 2;
        offset_for_leader_epoch::OffsetForLeaderEpochRequest: 2, 4;
        describe_configs::DescribeConfigsRequest: 1, 4;
        alter_configs::AlterConfigsRequest: 0, 2;
        incremental_alter_configs::IncrementalAlterConfigsRequest: 0, 1;
        describe_log_dirs::DescribeLogDirsRequest: 1, 4;
        join_group::JoinGroupRequest: 0, 9;
        sync_group::SyncGroupRequest: 0, 5;
    }
    #[cfg(feature = "consumer-protocol")]
    read! {
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest: 0, 1;
        consumer_group_describe::ConsumerGroupDescribeRequest: 0, 1;
    }
}

#[test]
fn the_heap_after_the_start_is_what_the_plan_says() {
    let _alone = ALONE.lock();
    let plan = Plan::of(&Server::config());
    let stats = HEAP.stats();
    let before = stats.bytes_allocated - stats.bytes_deallocated;
    let server = Server::start();
    let live = (server.live_bytes(None) - before) as u64;
    let planned = plan.heap_bytes();
    // Tasks of connections come later, and are planned for.
    let least = planned * 4 / 5;
    assert!((least..=planned).contains(&live), "{live} bytes are on the heap:\n{plan}");
}

#[test]
fn the_heap_is_no_larger_after_many_requests_than_after_few() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let mut client = server.connect();
    for (key, kind) in [(19, create_topic()), (3, metadata())] {
        if let Some(api) = api_of(key) {
            client.rounds(&request(api, kind), 3);
        }
    }
    let mut kinds = 0;
    for api in APIS {
        let Some(kind) = kind_of(api.key) else {
            panic!("{} has no request here", api.name);
        };
        let frame = request(api, kind);
        client.rounds(&frame, FEW);
        drop(client);
        let before = server.live_bytes(None);
        client = server.connect();
        // What carries data is asked most; of the others, fewer would show a leak as surely.
        let many = if api.key <= 1 { MANY } else { MANY / 10 };
        client.rounds(&frame, many);
        drop(client);
        let after = server.live_bytes(Some(before));
        assert!(
            after <= before,
            "{}: {} bytes more after {many} requests than after {FEW}",
            api.name,
            after - before
        );
        client = server.connect();
        kinds += 1;
    }
    drop(client);
    // What the reactor keeps for sockets grows with how many are open at once, not ever.
    let connects = |count| {
        for _ in 0..count {
            server.connect().rounds(&request(api_of(18).unwrap(), versions()), 1);
        }
    };
    connects(FEW);
    let before = server.live_bytes(None);
    connects(5 * FEW);
    let after = server.live_bytes(Some(before));
    assert!(after <= before, "{} bytes of connections stay", after - before);
    println!("{kinds} kinds of requests");
}

#[test]
fn jobs_that_read_allocate_nothing() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let mut client = server.connect();
    for (key, kind) in [(19, create_topic()), (3, metadata()), (0, produce())] {
        client.rounds(&request(api_of(key).unwrap(), kind), 1);
    }
    for key in [1, 2] {
        let frame = request(api_of(key).unwrap(), kind_of(key).unwrap());
        client.rounds(&frame, FEW);
        // Waiting for the socket allocates now and then, once per batch of requests.
        let before = HEAP.stats().allocations;
        client.rounds(&frame, FEW);
        let allocations = HEAP.stats().allocations - before;
        assert!(allocations < FEW / 2, "key {key}: {allocations} for {FEW} requests");
    }
}

#[test]
fn what_is_decompressed_turn_by_turn_leaves_nothing_on_the_heap() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let mut client = server.connect();
    for (key, kind) in [(19, create_topic()), (3, metadata())] {
        client.rounds(&request(api_of(key).unwrap(), kind), 1);
    }
    let one = produce_of(vec![gzip(&records_of(&[0; 900_000]))]);
    let two = produce_of(vec![gzip(&records_of(&[0; 300_000])); 2]);
    for kind in [one, two] {
        let frame = request(api_of(0).unwrap(), kind);
        client.rounds(&frame, 100);
        drop(client);
        let before = server.live_bytes(None);
        client = server.connect();
        client.rounds(&frame, 200);
        // The last answer: of its first partition, which is 0, no error, and an offset.
        assert!(client.answer[..64].windows(6).any(|bytes| bytes == [0; 6]), "{:?}", client.answer);
        drop(client);
        let after = server.live_bytes(Some(before));
        assert!(after <= before, "{} bytes more", after - before);
        client = server.connect();
    }
}

#[test]
fn the_heap_is_no_larger_after_many_generations_than_after_few() {
    let _alone = ALONE.lock();
    let server = Server::start();
    let mut client = server.connect();
    let topics = (create_topic(), metadata());
    for (key, kind) in [(19, topics.0), (3, topics.1)] {
        client.rounds(&request(api_of(key).unwrap(), kind), 1);
    }
    client.generations(200);
    drop(client);
    let before = server.live_bytes(None);
    let mut client = server.connect();
    client.generations(2000);
    drop(client);
    let after = server.live_bytes(Some(before));
    assert!(after <= before, "{} bytes more after many generations", after - before);
}

/// One request of a key that does the most usual thing.
fn kind_of(key: i16) -> Option<RequestKind> {
    Some(match key {
        0 => produce(),
        1 => fetch(),
        2 => list_offsets(),
        3 => metadata(),
        8 => offset_commit(),
        9 => RequestKind::OffsetFetch(OffsetFetchRequest::default().with_group_id(group())),
        10 => RequestKind::FindCoordinator(FindCoordinatorRequest::default()),
        // Told an id each time, which makes way for the next one.
        11 => RequestKind::JoinGroup(join("")),
        12 => RequestKind::Heartbeat(HeartbeatRequest::default().with_group_id(group())),
        13 => RequestKind::LeaveGroup(LeaveGroupRequest::default().with_group_id(group())),
        14 => RequestKind::SyncGroup(SyncGroupRequest::default().with_group_id(group())),
        15 => {
            RequestKind::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        16 => RequestKind::ListGroups(ListGroupsRequest::default()),
        18 => versions(),
        19 => create_topic(),
        20 => RequestKind::DeleteTopics(DeleteTopicsRequest::default()),
        21 => RequestKind::DeleteRecords(DeleteRecordsRequest::default()),
        22 => RequestKind::InitProducerId(InitProducerIdRequest::default()),
        23 => RequestKind::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest::default()),
        29 => RequestKind::DescribeAcls(DescribeAclsRequest::default()),
        30 => RequestKind::CreateAcls(CreateAclsRequest::default()),
        31 => RequestKind::DeleteAcls(DeleteAclsRequest::default()),
        32 => RequestKind::DescribeConfigs(DescribeConfigsRequest::default()),
        33 => RequestKind::AlterConfigs(AlterConfigsRequest::default()),
        35 => RequestKind::DescribeLogDirs(DescribeLogDirsRequest::default()),
        37 => RequestKind::CreatePartitions(CreatePartitionsRequest::default()),
        42 => RequestKind::DeleteGroups(
            DeleteGroupsRequest::default().with_groups_names(vec![group()]),
        ),
        44 => RequestKind::IncrementalAlterConfigs(IncrementalAlterConfigsRequest::default()),
        34 => RequestKind::AlterReplicaLogDirs(Default::default()),
        43 => RequestKind::ElectLeaders(Default::default()),
        45 => RequestKind::AlterPartitionReassignments(Default::default()),
        46 => RequestKind::ListPartitionReassignments(Default::default()),
        47 => RequestKind::OffsetDelete(OffsetDeleteRequest::default().with_group_id(group())),
        48 => RequestKind::DescribeClientQuotas(Default::default()),
        55 => RequestKind::DescribeQuorum(Default::default()),
        60 => RequestKind::DescribeCluster(DescribeClusterRequest::default()),
        61 => RequestKind::DescribeProducers(DescribeProducersRequest::default()),
        // Of a group of its own: one of the classic protocol has other members.
        68 => RequestKind::ConsumerGroupHeartbeat(consumer_heartbeat()),
        69 => RequestKind::ConsumerGroupDescribe(
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![consumer_group()]),
        ),
        74 => RequestKind::ListConfigResources(Default::default()),
        75 => RequestKind::DescribeTopicPartitions(Default::default()),
        _ => return None,
    })
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("telemetry"))
}

fn group() -> GroupId {
    GroupId(text("group"))
}

fn consumer_group() -> GroupId {
    GroupId(text("consumers"))
}

/// Joins again each time, and is told all that it has.
fn consumer_heartbeat() -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(consumer_group())
        .with_member_id(text("member"))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(10_000)
        .with_subscribed_topic_names(Some(vec![topic()]))
        .with_topic_partitions(Some(vec![]))
}

fn join(member_id: &str) -> JoinGroupRequest {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[3; 200]));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(StrBytes::from_string(member_id.to_string()))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn versions() -> RequestKind {
    RequestKind::ApiVersions(ApiVersionsRequest::default())
}

fn metadata() -> RequestKind {
    RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![
        metadata_request::MetadataRequestTopic::default().with_name(Some(topic())),
    ])))
}

fn create_topic() -> RequestKind {
    RequestKind::CreateTopics(CreateTopicsRequest::default().with_timeout_ms(1000).with_topics(
        vec![
                create_topics_request::CreatableTopic::default()
                    .with_name(topic())
                    .with_num_partitions(1)
                    .with_replication_factor(1),
            ],
    ))
}

fn produce() -> RequestKind {
    produce_of(vec![records_of(&[7; 100])])
}

/// A batch of one record with this value.
fn records_of(value: &'static [u8]) -> BytesMut {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        timestamp: 1_700_000_000_000,
        sequence: -1,
        offset: 0,
        key: None,
        value: Some(Bytes::from_static(value)),
        headers: Default::default(),
    };
    let mut records = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut records, [&record], &options).unwrap();
    records
}

/// The same batch, compressed.
fn gzip(batch: &[u8]) -> BytesMut {
    let (header, records) = batch.split_at(61);
    let mut encoder = GzEncoder::new(header.to_vec(), flate2::Compression::default());
    encoder.write_all(records).unwrap();
    let mut batch = BytesMut::from(&encoder.finish().unwrap()[..]);
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] |= 1;
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// A request with these batches, all of them for one partition.
fn produce_of(batches: Vec<BytesMut>) -> RequestKind {
    let partition = |batch: BytesMut| {
        produce_request::PartitionProduceData::default().with_records(Some(batch.freeze()))
    };
    let data = produce_request::TopicProduceData::default()
        .with_name(topic())
        .with_partition_data(batches.into_iter().map(partition).collect());
    RequestKind::Produce(
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]),
    )
}

fn fetch() -> RequestKind {
    let partition = fetch_request::FetchPartition::default()
        .with_fetch_offset(0)
        .with_partition_max_bytes(1000);
    let fetched =
        fetch_request::FetchTopic::default().with_topic(topic()).with_partitions(vec![partition]);
    RequestKind::Fetch(
        FetchRequest::default().with_min_bytes(1).with_max_bytes(1000).with_topics(vec![fetched]),
    )
}

fn list_offsets() -> RequestKind {
    let partition =
        list_offsets_request::ListOffsetsPartition::default().with_timestamp(1_700_000_000_000);
    let listed = list_offsets_request::ListOffsetsTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition]);
    RequestKind::ListOffsets(ListOffsetsRequest::default().with_topics(vec![listed]))
}

fn offset_commit() -> RequestKind {
    let partition =
        offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(5);
    let committed = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition]);
    RequestKind::OffsetCommit(
        OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![committed]),
    )
}

/// The frame of a request, at a version before topic ids took the place of names.
fn request(api: &Api, request: RequestKind) -> Vec<u8> {
    let version = match api.key {
        9 => 7,
        10 => 3,
        _ => api.max,
    };
    let key = ApiKey::try_from(api.key).unwrap();
    let mut frame = BytesMut::from(&[0; 4][..]);
    RequestHeader::default()
        .with_request_api_key(api.key)
        .with_request_api_version(version)
        .with_client_id(Some(text("alloc")))
        .encode(&mut frame, key.request_header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    let mut frame = frame.to_vec();
    let size = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

struct Server {
    address: SocketAddr,
    stop: smol::channel::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
    directory: std::path::PathBuf,
}

impl Server {
    fn config() -> Config {
        let mut config =
            Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() };
        config.group_initial_rebalance_delay_ms = 0;
        config.rings[0].segments = 4;
        config.rings[0].spares = 1;
        config.rings[0].segment_bytes = 8 << 20;
        config
    }

    fn start() -> Server {
        let directory = std::env::temp_dir().join(format!("brooklet-alloc-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let (stop, stopped) = smol::channel::bounded(1);
        let (ready, address) = mpsc::channel();
        let theirs = directory.clone();
        let thread = std::thread::spawn(move || {
            let clock = Clock::start();
            let config = Server::config();
            let storage = FileStorage::open(&theirs).unwrap();
            let mut opening = Opening {
                now: clock.now(),
                entropy: &mut |buf| buf.fill(9),
                progress: &mut |_, _| {},
                unreadable_is_damaged: true,
            };
            let log = LogConfig::of(&config);
            let log = Log::open(&log, Arc::new(storage), &mut opening).unwrap();
            let mut setup = Setup::from(&config);
            setup.status_socket = None;
            let stop = async move {
                let _ = stopped.recv().await;
            };
            let ready = move |address| ready.send(address).unwrap();
            assert!(serve(Broker::new(config, log), setup, clock, stop, ready).unwrap());
        });
        Server { address: address.recv().unwrap(), stop, thread: Some(thread), directory }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        Client { stream, answer: vec![0; 1 << 20] }
    }

    /// Bytes on the heap, once nothing is going on: a connection that just ended still holds some.
    fn live_bytes(&self, at_most: Option<usize>) -> usize {
        let patience = Instant::now() + Duration::from_secs(3);
        let mut least = usize::MAX;
        let mut quiet = 0;
        while quiet < 500 && at_most.is_none_or(|at_most| least > at_most) {
            let stats = HEAP.stats();
            let live = stats.bytes_allocated - stats.bytes_deallocated;
            quiet = if live < least { 0 } else { quiet + 1 };
            least = least.min(live);
            if Instant::now() > patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        least
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    /// Joins a group, asks for its assignment, shows that it is alive, commits and leaves, so many
    /// times.
    fn generations(&mut self, count: usize) {
        for _ in 0..count {
            let told: JoinGroupResponse = self.ask(11, RequestKind::JoinGroup(join("")));
            let id = told.member_id;
            let joined: JoinGroupResponse = self.ask(11, RequestKind::JoinGroup(join(&id)));
            assert_eq!(joined.error_code, 0);
            let assignment = sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(Bytes::from_static(&[5; 300]));
            let sync = SyncGroupRequest::default()
                .with_group_id(group())
                .with_generation_id(joined.generation_id)
                .with_member_id(id.clone())
                .with_protocol_type(Some(text("consumer")))
                .with_protocol_name(Some(text("range")))
                .with_assignments(vec![assignment]);
            let synced: SyncGroupResponse = self.ask(14, RequestKind::SyncGroup(sync));
            assert_eq!((synced.error_code, synced.assignment.len()), (0, 300));
            let heartbeat = HeartbeatRequest::default()
                .with_group_id(group())
                .with_generation_id(joined.generation_id)
                .with_member_id(id.clone());
            let alive: HeartbeatResponse = self.ask(12, RequestKind::Heartbeat(heartbeat));
            assert_eq!(alive.error_code, 0);
            let RequestKind::OffsetCommit(commit) = offset_commit() else { unreachable!() };
            let commit = commit
                .with_generation_id_or_member_epoch(joined.generation_id)
                .with_member_id(id.clone());
            let stored: OffsetCommitResponse = self.ask(8, RequestKind::OffsetCommit(commit));
            assert_eq!(stored.topics[0].partitions[0].error_code, 0);
            let who = leave_group_request::MemberIdentity::default().with_member_id(id);
            let leave = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![who]);
            let left: LeaveGroupResponse = self.ask(13, RequestKind::LeaveGroup(leave));
            assert_eq!(left.members[0].error_code, 0);
        }
    }

    fn ask<R: Decodable>(&mut self, key: i16, kind: RequestKind) -> R {
        let api = api_of(key).unwrap();
        self.stream.write_all(&request(api, kind)).unwrap();
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).unwrap();
        let size = u32::from_be_bytes(size) as usize;
        self.stream.read_exact(&mut self.answer[..size]).unwrap();
        let head = if api.response_header_flexible(api.max) { 5 } else { 4 };
        let mut body = Bytes::copy_from_slice(&self.answer[head..size]);
        R::decode(&mut body, api.max).unwrap()
    }

    /// Sends a request so many times, some at a time, and reads the answers.
    fn rounds(&mut self, frame: &[u8], count: usize) {
        let mut left = count;
        while left > 0 {
            let now = left.min(IN_FLIGHT);
            for _ in 0..now {
                self.stream.write_all(frame).unwrap();
            }
            for _ in 0..now {
                let mut size = [0; 4];
                self.stream.read_exact(&mut size).unwrap();
                let size = u32::from_be_bytes(size) as usize;
                self.stream.read_exact(&mut self.answer[..size]).unwrap();
            }
            left -= now;
        }
    }
}

const FEW: usize = 1000;
const MANY: usize = 100_000;
const IN_FLIGHT: usize = 50;
