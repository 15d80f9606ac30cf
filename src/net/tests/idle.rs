//! Who is idle holds nothing, and makes way for who comes.

use smol::future::yield_now;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor};

use super::fake::request;
use super::*;
use crate::api::APIS;
use crate::broker::Broker;
use crate::broker::testing::{Bench, frame_of};
use crate::config::Config;
use crate::net::slots::Phase;
use crate::types::{ConnId, RingIndex};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

/// A broker behind its sockets, all in the test's own thread, so that the slots can be looked at.
pub struct Local {
    pub net: Rc<Net<Broker>>,
    listener: std::net::TcpListener,
    pub executor: Rc<LocalExecutor<'static>>,
}

/// A client, and the connection that serves it.
pub struct Guest {
    pub socket: Async<std::net::TcpStream>,
    pub conn: ConnId,
}

impl Local {
    pub fn new(change: impl FnOnce(&mut Config)) -> Local {
        let broker = Bench::with(change).broker;
        let setup = Setup::from(&broker.config);
        let net = Rc::new(Net::new(broker, setup, Clock::start()).unwrap());
        let executor = Rc::new(LocalExecutor::new());
        for ring in 0..net.setup.rings.len() {
            let ring = RingIndex(ring as u8);
            executor.spawn(committer::commit(Rc::clone(&net), ring)).detach();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Local { net, listener, executor }
    }

    pub fn connect(&self) -> Guest {
        let local = self.listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(local).unwrap();
        let (served, remote) = self.listener.accept().unwrap();
        let conn = self.net.hub.slots.borrow_mut().open(remote.ip(), Mono(0)).unwrap();
        let peer = Peer::new(conn, local, remote);
        let served = Async::new(served).unwrap();
        let connection = connection::Connection::new(Rc::clone(&self.net), conn, served, peer);
        self.executor.spawn(connection.serve()).detach();
        Guest { socket: Async::new(client).unwrap(), conn }
    }

    /// Looks at a connection once it is idle, and has completed so many requests of a key.
    async fn idle(&self, client: &Guest, key: i16, requests: u64) -> [u8; PoolKind::COUNT] {
        loop {
            let done = self.net.core.borrow().metrics.requests(key) >= requests;
            if let Some(slot) = self.net.hub.slots.borrow_mut().find(client.conn) {
                if done && slot.phase == Phase::Idle {
                    return slot.holds;
                }
            } else {
                panic!("key {key}: the connection was closed");
            }
            yield_now().await;
        }
    }
}

impl Guest {
    pub async fn send(&mut self, frame: &[u8]) {
        let prefix = (frame.len() as u32).to_be_bytes();
        self.socket.write_all(&[&prefix, frame].concat()).await.unwrap();
    }

    pub async fn answer(&mut self) -> Vec<u8> {
        let mut prefix = [0; 4];
        self.socket.read_exact(&mut prefix).await.unwrap();
        let mut answer = vec![0; u32::from_be_bytes(prefix) as usize];
        self.socket.read_exact(&mut answer).await.unwrap();
        answer
    }

    /// Whether it is closed rather than answered.
    pub(super) async fn is_closed(&mut self) -> bool {
        !matches!(self.socket.read(&mut [0]).await, Ok(1))
    }
}

/// A request without anything in it for every key, in a version that is served.
fn frames() -> Vec<(i16, Vec<u8>)> {
    macro_rules! frames {
        ($($request:ident)*) => {
            [$({
                // A build may leave some out.
                let key = <$request as kafka_protocol::protocol::Request>::KEY;
                let api = crate::api::api_of(key);
                api.map(|api| (key, frame_of(api.max, &$request::default())))
            }),*].into_iter().flatten().collect()
        };
    }
    frames![
        ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest
        OffsetFetchRequest FindCoordinatorRequest JoinGroupRequest HeartbeatRequest
        LeaveGroupRequest SyncGroupRequest DescribeGroupsRequest ListGroupsRequest
        ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest DeleteRecordsRequest
        InitProducerIdRequest OffsetForLeaderEpochRequest DescribeAclsRequest CreateAclsRequest
        DeleteAclsRequest DescribeConfigsRequest AlterConfigsRequest DescribeLogDirsRequest
        CreatePartitionsRequest DeleteGroupsRequest IncrementalAlterConfigsRequest
        ListPartitionReassignmentsRequest OffsetDeleteRequest DescribeClusterRequest
        DescribeProducersRequest AlterReplicaLogDirsRequest ElectLeadersRequest
        AlterPartitionReassignmentsRequest DescribeClientQuotasRequest DescribeQuorumRequest
        ListConfigResourcesRequest DescribeTopicPartitionsRequest ConsumerGroupHeartbeatRequest
        ConsumerGroupDescribeRequest
    ]
}

/// A produce request for a topic that is not there, or for one that is.
fn produce(acks: i16, topic: &str) -> Vec<u8> {
    produce_all(acks, 1000, &[(topic, 1)])
}

/// A produce request with a batch of so many records for each of these topics.
pub fn produce_all(acks: i16, timeout_ms: i32, topics: &[(&str, i32)]) -> Vec<u8> {
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let topics = topics.iter().map(|(topic, records)| {
        let records: Vec<_> = (0..*records).map(|offset| (0, offset)).collect();
        let batch = bytes::Bytes::from(crate::codec::batch::sample::batch_of(&records));
        let partition = PartitionProduceData::default().with_records(Some(batch));
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_string())))
            .with_partition_data(vec![partition])
    });
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(topics.collect());
    frame_of(9, &request)
}

pub fn create(topic: &str) -> Vec<u8> {
    use kafka_protocol::messages::create_topics_request::CreatableTopic;
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_string())))
        .with_num_partitions(1)
        .with_replication_factor(1);
    frame_of(7, &CreateTopicsRequest::default().with_topics(vec![topic]))
}

#[test]
fn who_is_idle_holds_nothing_whatever_it_asked_for() {
    let local = Local::new(|_| {});
    let nothing = [0; PoolKind::COUNT];
    smol::block_on(local.executor.run(async {
        let frames = frames();
        assert!(APIS.iter().all(|api| frames.iter().any(|(key, _)| *key == api.key)));
        for (key, frame) in frames {
            // Acknowledgements are asked for: a default request for none would close.
            let frame = if key == 0 { produce(1, "none") } else { frame };
            let mut client = local.connect();
            client.send(&frame).await;
            client.answer().await;
            assert_eq!(local.idle(&client, key, 1).await, nothing, "key {key}");
        }
    }));
}

#[test]
fn producers_that_want_no_acknowledgement_hold_no_buffer_for_answers() {
    let local = Local::new(|config| config.reply_leases = 1);
    let nothing = [0; PoolKind::COUNT];
    smol::block_on(local.executor.run(async {
        let mut other = local.connect();
        other.send(&create("t")).await;
        other.answer().await;
        for requests in 1..=4 {
            let mut client = local.connect();
            client.send(&produce(0, "t")).await;
            assert_eq!(local.idle(&client, 0, requests).await, nothing);
        }
        for acks in [1, -1] {
            other.send(&produce(acks, "t")).await;
            other.answer().await;
        }
        assert_eq!(local.idle(&other, 0, 6).await, nothing);
    }));
}

#[test]
fn of_requests_whose_bytes_stand_still_only_some_get_a_buffer() {
    let local = Local::new(|config| config.control_leases = 4);
    smol::block_on(local.executor.run(async {
        let mut clients: Vec<Guest> = (0..8).map(|_| local.connect()).collect();
        for client in &mut clients {
            let begun = [&60_000_u32.to_be_bytes()[..], &[0, 3, 0, 9], &[0; 10_000]].concat();
            client.socket.write_all(&begun).await.unwrap();
        }
        let holding = |client: &Guest| {
            let mut slots = local.net.hub.slots.borrow_mut();
            slots.get(client.conn).holds[PoolKind::Control as usize] > 0
        };
        // The kernel may have no room for what is behind them.
        while clients.iter().filter(|client| holding(client)).count() < 2 {
            yield_now().await;
        }
        let mut other = local.connect();
        for _ in 0..100 {
            other.send(&frame_of(12, &MetadataRequest::default())).await;
            other.answer().await;
        }
        assert_eq!(clients.iter().filter(|client| holding(client)).count(), 2);
    }));
}

#[test]
fn a_request_that_comes_in_pieces_is_answered_however_many_others_want_its_buffer() {
    let server = Server::start(|setup| {
        pool(setup, PoolKind::Control, 1);
        pool(setup, PoolKind::Fetch, 1);
        pool(setup, PoolKind::ProduceSmall, 1);
    });
    for (key, length) in [(ECHO, 60), (ECHO, 1000), (ECHO, 30_000), (JOIN, 60), (PRODUCE, 60)] {
        let first = 30;
        let frame = request(key, 0, 1, 0, length);
        let mut slow: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for client in &mut slow {
            client.send(&frame[..first]);
            let mut other = server.connect();
            other.send(&request(key, 0, 2, 0, 9));
            if key != JOIN {
                assert_eq!(other.answer(), (2, 0));
            }
        }
        for client in &mut slow {
            client.send(&[&frame[first..], &request(ECHO, 0, 3, 0, 0)].concat());
            if key != JOIN {
                assert_eq!(client.answer(), (1, 0), "{key} {length}");
            }
            assert_eq!(client.answer(), (3, 0));
        }
    }
}

#[test]
fn newcomers_displace_the_idle_and_not_each_other() {
    let server = Server::start(|setup| {
        (setup.max_connections, setup.newcomer_ms) = (8, 3_600_000);
    });
    let mut idle: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut idle {
        client.send(&request(ECHO, 0, 1, 0, 0));
        assert_eq!(client.answer(), (1, 0));
    }
    let mut new: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut new {
        client.send(&request(ECHO, 0, 2, 0, 0));
        assert_eq!(client.answer(), (2, 0));
    }
    assert!(idle.iter_mut().all(fake::Client::is_closed));
}

#[test]
fn beginnings_of_requests_and_long_polls_lock_no_slot() {
    for begun in [2, 6, 8, 11] {
        let server = Server::start(|setup| setup.max_connections = 4);
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send(&request(ECHO, 0, 1, 0, 0));
            assert_eq!(client.answer(), (1, 0));
            client.send(&request(ECHO, 0, 1, 0, 1000)[..begun]);
        }
        let mut new = server.connect();
        new.send(&request(ECHO, 0, 2, 0, 0));
        assert_eq!(new.answer(), (2, 0), "{begun}");
    }
    let server = Server::start(|setup| setup.max_connections = 4);
    let mut sleepers: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut sleepers {
        client.send(&request(FETCH, 1, 0, 10, 0));
    }
    let answered = || {
        let mut new = server.connect();
        new.0.write_all(&request(ECHO, 0, 2, 0, 0)).is_ok() && new.try_answer() == Some((2, 0))
    };
    assert!((0..1000).any(|_| answered()));
}

#[test]
fn an_address_that_has_its_share_displaces_only_its_own() {
    let server = Server::start(|setup| {
        (setup.max_connections_per_ip, setup.newcomer_ms) = (2, 3_600_000);
    });
    let mut clients: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&request(ECHO, 0, 1, 0, 0));
        assert_eq!(client.answer(), (1, 0));
    }
    let mut third = server.connect();
    third.send(&request(ECHO, 0, 1, 0, 0));
    assert_eq!(third.answer(), (1, 0));
    assert!(clients[0].is_closed());
    clients[1].send(&request(ECHO, 0, 4, 0, 0));
    assert_eq!(clients[1].answer(), (4, 0));
    // Who is at work is not cut for another.
    for client in [&mut clients[1], &mut third] {
        client.send(&request(FETCH, 0, 1, 50_000_000, 0));
        client.0.read_exact(&mut [0]).unwrap();
    }
    assert!(server.connect().is_closed());
}
