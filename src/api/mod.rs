//! One file per API key: contract, message tables, handler, tests. This file has the one table of
//! keys, which drives dispatch, ApiVersions and the docs.

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
mod alteration;
pub mod api_versions;
mod change;
#[cfg(feature = "consumer-protocol")]
pub mod consumer_group_describe;
#[cfg(feature = "consumer-protocol")]
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
mod dedup;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
#[cfg(test)]
mod failing;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
mod outcomes;
pub mod produce;
pub mod sync_group;
mod waits;

use std::cell::Cell;

use crate::broker::allowed::Caller;
use crate::broker::refusal::Refusal;
use crate::broker::{Broker, Partly, Peer};
use crate::clock::Now;
use crate::codec::frame::{self, RequestHeader};
use crate::codec::{self, Array, ErrorCode, ErrorsSeen, Reader, Writer};
use crate::config::Config;
use crate::types::{HeldBack, Until};
use Pool::Control;
pub use waits::{Asked, wait_step};

/// Every key that is served, in ascending order. A key stands here only when its handler works, so
/// that nothing is advertised before.
#[rustfmt::skip] // A row is a line.
pub static APIS: &[Api] = &[
    // key, name, first and last version served, first flexible version, pool, handler
    Api::new(0, "Produce", (3, 12), 9, Pool::Produce, produce::handle).advertised_from(0),
    Api::new(1, "Fetch", (4, 18), 12, Pool::Fetch, fetch::handle),
    Api::new(2, "ListOffsets", (1, 10), 6, Control, list_offsets::handle),
    Api::new(3, "Metadata", (0, 13), 9, Control, metadata::handle),
    Api::new(8, "OffsetCommit", (2, 9), 8, Control, offset_commit::handle),
    Api::new(9, "OffsetFetch", (1, 9), 6, Control, offset_fetch::handle),
    Api::new(10, "FindCoordinator", (0, 6), 3, Control, find_coordinator::handle),
    Api::new(11, "JoinGroup", (0, 9), 6, Pool::Group, join_group::handle)
        .too_long(ErrorCode::GROUP_MAX_SIZE_REACHED, join_group::refuse_unread),
    Api::new(12, "Heartbeat", (0, 4), 4, Control, heartbeat::handle),
    Api::new(13, "LeaveGroup", (0, 5), 4, Control, leave_group::handle)
        .too_long(ErrorCode::INVALID_REQUEST, leave_group::refuse),
    Api::new(14, "SyncGroup", (0, 5), 4, Pool::Group, sync_group::handle)
        .too_long(ErrorCode::GROUP_MAX_SIZE_REACHED, sync_group::refuse),
    Api::new(15, "DescribeGroups", (0, 6), 5, Control, describe_groups::handle),
    Api::new(16, "ListGroups", (0, 5), 3, Control, list_groups::handle),
    Api::new(18, "ApiVersions", (0, 4), 3, Control, api_versions::handle),
    Api::new(19, "CreateTopics", (2, 7), 5, Control, create_topics::handle),
    Api::new(20, "DeleteTopics", (1, 6), 4, Control, delete_topics::handle),
    Api::new(21, "DeleteRecords", (0, 2), 2, Control, delete_records::handle),
    Api::new(22, "InitProducerId", (0, 5), 2, Control, init_producer_id::handle),
    Api::new(23, "OffsetForLeaderEpoch", (2, 4), 4, Control, offset_for_leader_epoch::handle),
    Api::new(29, "DescribeAcls", (1, 3), 2, Control, describe_acls::handle),
    Api::new(30, "CreateAcls", (1, 3), 2, Control, create_acls::handle),
    Api::new(31, "DeleteAcls", (1, 3), 2, Control, delete_acls::handle),
    Api::new(32, "DescribeConfigs", (1, 4), 4, Control, describe_configs::handle),
    Api::new(33, "AlterConfigs", (0, 2), 2, Control, alter_configs::handle),
    Api::new(34, "AlterReplicaLogDirs", (1, 2), 2, Control, alter_replica_log_dirs::handle),
    Api::new(35, "DescribeLogDirs", (1, 4), 2, Control, describe_log_dirs::handle),
    Api::new(37, "CreatePartitions", (0, 3), 2, Control, create_partitions::handle),
    Api::new(42, "DeleteGroups", (0, 2), 2, Control, delete_groups::handle),
    Api::new(43, "ElectLeaders", (0, 2), 2, Control, elect_leaders::handle)
        .too_long(ErrorCode::INVALID_REQUEST, elect_leaders::refuse),
    Api::new(44, "IncrementalAlterConfigs", (0, 1), 1, Control, incremental_alter_configs::handle),
    Api::new(45, "AlterPartitionReassignments", (0, 1), 0, Control, alter_partition_reassignments::handle)
        .too_long(ErrorCode::INVALID_REQUEST, alter_partition_reassignments::refuse),
    Api::new(46, "ListPartitionReassignments", (0, 0), 0, Control, list_partition_reassignments::handle)
        .too_long(ErrorCode::INVALID_REQUEST, list_partition_reassignments::refuse),
    Api::new(47, "OffsetDelete", (0, 0), i16::MAX, Control, offset_delete::handle)
        .too_long(ErrorCode::INVALID_REQUEST, offset_delete::refuse),
    Api::new(48, "DescribeClientQuotas", (0, 1), 1, Control, describe_client_quotas::handle),
    Api::new(55, "DescribeQuorum", (0, 2), 0, Control, describe_quorum::handle),
    Api::new(60, "DescribeCluster", (0, 2), 0, Control, describe_cluster::handle),
    Api::new(61, "DescribeProducers", (0, 0), 0, Control, describe_producers::handle),
    #[cfg(feature = "consumer-protocol")]
    Api::new(68, "ConsumerGroupHeartbeat", (0, 1), 0, Control, consumer_group_heartbeat::handle)
        .too_long(ErrorCode::GROUP_MAX_SIZE_REACHED, consumer_group_heartbeat::refuse_unread),
    #[cfg(feature = "consumer-protocol")]
    Api::new(69, "ConsumerGroupDescribe", (0, 1), 0, Control, consumer_group_describe::handle),
    Api::new(74, "ListConfigResources", (0, 1), 0, Control, list_config_resources::handle),
    Api::new(75, "DescribeTopicPartitions", (0, 0), 0, Control, describe_topic_partitions::handle),
];

/// One row of [`APIS`].
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Kafka's number of the API.
    pub key: i16,
    /// Kafka's name of it.
    pub name: &'static str,
    /// The first version that is served.
    pub min: i16,
    /// The last version that is served.
    pub max: i16,
    /// The first version that is advertised. Lower than `min` only for Produce, as in Kafka:
    /// librdkafka before 2.11 stops compressing unless it is 0.
    pub min_advertised: i16,
    /// The first version with compact lengths and tagged fields.
    pub flexible_since: i16,
    /// Where the requests' buffers come from.
    pub pool: Pool,
    /// Answers a request.
    pub handle: Handler,
    /// The answer to a request that is longer than any buffer, where one code can say so of all of it.
    pub too_long: Option<(ErrorCode, Refuse)>,
}

/// Writes an answer that has only this code, in this version.
pub type Refuse = fn(ErrorCode, &mut Writer<'_>, i16);

/// The pools of request buffers. They never lend to each other: one that is empty stops only
/// requests of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Record batches on their way in.
    Produce,
    /// Record batches on their way out.
    Fetch,
    /// Everything else.
    Control,
    /// The same buffers, for requests that may wait for other members of a group.
    Group,
}

/// Answers a request: reads and checks all of `request.body`, then does all of it, and writes the
/// answer into the window.
pub type Handler =
    fn(&mut Broker, request: &Request<'_>, out: Window<'_>, now: Now) -> Result<Step, Malformed>;

/// A request whose header was read.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Who asks.
    pub peer: &'a Peer,
    /// Its row in the table.
    pub api: &'static Api,
    /// The version of the message.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
    /// The message: what follows the header.
    pub body: &'a [u8],
    /// How long the client is asked to wait before it goes on, in ms (KIP-219); 0: not at all.
    pub throttle_time_ms: i32,
    /// The error codes that its answer has, for the metrics.
    pub errors: Cell<ErrorsSeen>,
    /// The digest of its answer.
    pub digest: Cell<u64>,
}

/// The bytes are not a request; says why. Kafka answers none of these and closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What a connection does after a request was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The answer is in the window: `bytes` is its whole length, its size prefix included. Where that
    /// is more than the window holds, the same frame is dispatched again for the next window.
    Reply {
        /// The answer's whole length.
        bytes: usize,
        /// See [`Writer::digest`]: what an answer shows may have changed when the next window is written.
        digest: u64,
    },
    /// The same, to be sent once `until` is settled. If that failed, [`fail`] makes the answer.
    ReplyAfter {
        /// The answer's whole length; it always fits one window.
        bytes: usize,
        /// What it waits for.
        until: Until,
    },
    /// Nothing was done: dispatch the same frame again once this is settled, in whatever way.
    Again(Until),
    /// Some of it was done: dispatch the same frame again with [`Peer::partly`] set to this, once its
    /// `until` is settled, in whatever way.
    Partly(Partly),
    /// Nothing was done: dispatch the same frame again when there is room, or with
    /// [`Peer::waited_out`] set when it was held back long enough.
    Held(HeldBack),
    /// Nothing was done: it is to be carried out as [`produce::Long`].
    Long,
    /// There is no answer (acks=0), ever.
    NoReply,
    /// A read job was started for this connection: see [`Broker::job_step`].
    Job,
    /// Other members of a group are waited for, and nothing is held for it but this: see [`wait_step`].
    Wait(Asked),
    /// Close the connection, and say why in the log.
    Close(&'static str),
}

/// Where an answer goes: the bytes of it from `from` on, as many as `buf` holds.
pub struct Window<'a> {
    /// The connection's leased buffer.
    pub buf: &'a mut [u8],
    /// How many bytes of the answer were sent before; above 0 only for handlers that change nothing.
    pub from: usize,
}

/// Handles one request: `frame` is what follows the size prefix.
pub fn dispatch(broker: &mut Broker, peer: &Peer, frame: &[u8], out: Window<'_>, now: Now) -> Step {
    let first = out.from == 0;
    let hidden = if first { broker.retention_tick(now) } else { Until::default() };
    if hidden != Until::default() {
        return Step::Again(hidden);
    }
    let handled = request_from(peer, frame).and_then(|request| {
        let api = request.api;
        let step = if (api.min..=api.max).contains(&request.version) {
            (api.handle)(broker, &request, out, now)
        } else if api.key == API_VERSIONS_KEY {
            Ok(api_versions::handle_unsupported(&request, out))
        } else {
            Err(VERSION_NOT_SERVED)
        }?;
        let later = matches!(step, Step::Again(_) | Step::Partly(_) | Step::Held(_) | Step::Long);
        if first && !later {
            broker.metrics.request(api.key);
            for code in request.errors.get() {
                if !code.is_none() {
                    broker.metrics.error(code.0);
                }
            }
        }
        Ok(step)
    });
    handled.unwrap_or_else(|Malformed(why)| Step::Close(why))
}

/// Writes the answer to a request that was not read because it is longer than any buffer. `begun` is what
/// it begins with: key, version, correlation id. Gives the answer's length and its code; none: nothing
/// but the end of the connection says it, as its API has no code for all of a request.
pub fn refuse(begun: &[u8; 8], out: Window<'_>) -> Option<(usize, ErrorCode)> {
    let [k0, k1, v0, v1, id @ ..] = *begun;
    let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let api = api_of(key).filter(|api| (api.min..=api.max).contains(&version))?;
    let (code, write) = api.too_long?;
    let mut w = Writer::window(out.buf, out.from);
    answer_write(&mut w, api, version, i32::from_be_bytes(id), |w| write(code, w, version));
    Some((w.len(), code))
}

/// The row of a key, if it is served.
pub fn api_of(key: i16) -> Option<&'static Api> {
    // Produce, and so most of the time.
    if let Some(first) = APIS.first()
        && first.key == key
    {
        return Some(first);
    }
    let at = APIS.binary_search_by_key(&key, |api| api.key).ok()?;
    APIS.get(at)
}

/// Which pool a request is read into, by the first two bytes of its frame. Unknown keys are read
/// like any small request, then refused.
pub fn pool_of(key: i16) -> Pool {
    api_of(key).map_or(Pool::Control, |api| api.pool)
}

/// Turns the encoded answer of a produce request, whose sync failed, into one that says
/// KAFKA_STORAGE_ERROR (56) for each partition. Other requests are dispatched again instead, and find the log
/// failing.
pub fn fail(frame_key: i16, frame_version: i16, answer: &mut [u8]) {
    if frame_key == PRODUCE_KEY {
        let code = codec::ErrorCode::KAFKA_STORAGE_ERROR;
        let failed = produce::produce_response_fail(frame_version, answer, code);
        assert_eq!(failed, Ok(()), "the answer is our own");
    }
}

impl Api {
    const fn new(
        key: i16,
        name: &'static str,
        versions: (i16, i16),
        flexible_since: i16,
        pool: Pool,
        handle: Handler,
    ) -> Api {
        Api {
            key,
            name,
            min: versions.0,
            max: versions.1,
            min_advertised: versions.0,
            flexible_since,
            pool,
            handle,
            too_long: None,
        }
    }

    const fn too_long(self, code: ErrorCode, refuse: Refuse) -> Api {
        Api { too_long: Some((code, refuse)), ..self }
    }

    const fn advertised_from(self, version: i16) -> Api {
        Api { min_advertised: version, ..self }
    }

    /// Whether an answer's header ends with a tagged section.
    pub fn response_header_flexible(&self, version: i16) -> bool {
        frame::response_header_flexible(self.key, version, self.flexible_since)
    }
}

impl<'a> Request<'a> {
    /// What the client calls itself, for people.
    pub fn client(&self) -> &'a str {
        self.client_id.unwrap_or_default()
    }

    /// Who asks, and for what.
    pub fn caller(&self) -> Caller<'a> {
        let (key, request) = (self.api.key, self.api.name);
        Caller { key, request, client: self.client(), remote: self.peer.remote }
    }

    /// A reader at the start of the message.
    pub fn reader(&self) -> Reader<'a> {
        Reader::new(self.body)
    }

    /// Writes the answer, or the window's part of it: the header, then what `encode` writes. Gives
    /// the whole answer's length.
    pub fn answer(&self, out: Window<'_>, encode: impl FnOnce(&mut Writer<'_>)) -> usize {
        let mut encode = Some(encode);
        self.answer_by(out, &mut |w| encode.take().expect("it is called once")(w))
    }

    /// The same, once for all handlers.
    fn answer_by(&self, out: Window<'_>, encode: &mut dyn FnMut(&mut Writer<'_>)) -> usize {
        let mut w = Writer::window(out.buf, out.from);
        w.set_throttle_time_ms(self.throttle_time_ms);
        answer_write(&mut w, self.api, self.version, self.correlation_id, encode);
        self.errors.set(w.errors());
        self.digest.set(w.digest());
        w.len()
    }

    /// The same, for an answer that is to be sent at once.
    pub fn reply(&self, out: Window<'_>, encode: impl FnOnce(&mut Writer<'_>)) -> Step {
        self.reply_after(out, Until::default(), encode)
    }

    /// The same, for an answer that waits for `until`, if that is anything.
    pub fn reply_after(
        &self,
        out: Window<'_>,
        until: Until,
        encode: impl FnOnce(&mut Writer<'_>),
    ) -> Step {
        let bytes = self.answer(out, encode);
        self.answered(bytes, until)
    }

    fn answered(&self, bytes: usize, until: Until) -> Step {
        if until.tickets == Until::default().tickets {
            Step::Reply { bytes, digest: self.digest.get() }
        } else {
            Step::ReplyAfter { bytes, until }
        }
    }

    /// What is kept of it while it waits for other members of a group.
    fn asked(&self) -> Asked {
        let &Request { api, version, correlation_id, .. } = self;
        Asked { key: api.key, version, correlation_id }
    }

    /// The length of the answer that `encode` would write.
    pub fn answer_bytes(&self, encode: impl FnOnce(&mut Writer<'_>)) -> usize {
        let out = Window { buf: &mut [], from: 0 };
        self.answer(out, encode)
    }
}

/// Writes a whole answer, from its header on.
fn answer_write(
    w: &mut Writer<'_>,
    api: &Api,
    version: i16,
    correlation_id: i32,
    encode: impl FnOnce(&mut Writer<'_>),
) {
    frame::response_begin(w, correlation_id, api.response_header_flexible(version));
    encode(w);
    // An answer that is longer than the window is no error: the rest follows.
    let _ = frame::response_end(w);
}

/// Whether all replicas that a client wants for a partition can be here.
fn replicas_check(brokers: Array<'_, i32>, config: &Config) -> Result<(), Refusal> {
    let bad = |why: std::fmt::Arguments<'_>| {
        Err(Refusal::new(codec::ErrorCode::INVALID_REPLICA_ASSIGNMENT, why))
    };
    match brokers.iter().find(|broker| *broker != config.node_id) {
        Some(other) => bad(format_args!("The assignment names broker {other}, which is unknown.")),
        None if brokers.is_empty() => bad(format_args!("The assignment names no broker.")),
        None if brokers.len() > 1 => bad(format_args!("The assignment names a broker twice.")),
        None => Ok(()),
    }
}

/// Reads the header. `body` is where the message starts.
fn request_from<'a>(peer: &'a Peer, frame: &'a [u8]) -> Result<Request<'a>, Malformed> {
    let mut r = Reader::new(frame);
    let flexible_since = |key| api_of(key).map_or(i16::MAX, |api| api.flexible_since);
    let header = RequestHeader::decode(&mut r, flexible_since)?;
    let api = api_of(header.api_key).ok_or(Malformed("the API key is not served"))?;
    Ok(Request {
        peer,
        api,
        version: header.api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
        body: r.rest(),
        throttle_time_ms: 0,
        errors: Cell::default(),
        digest: Cell::default(),
    })
}

impl From<codec::Error> for Malformed {
    fn from(error: codec::Error) -> Malformed {
        Malformed(error.what())
    }
}

const VERSION_NOT_SERVED: Malformed = Malformed("the version of the API is not served");

const PRODUCE_KEY: i16 = 0;
const API_VERSIONS_KEY: i16 = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::{Bench, frame_of};

    fn bytes_of(hex: &[&[u8]]) -> Vec<u8> {
        hex.concat()
    }

    #[test]
    fn an_unknown_version_of_api_versions_gets_the_list_in_version_0() {
        let mut bench = Bench::new();
        let mut buf = [0; 1024];
        // Version 9, correlation id 5, no client id, no tags, and what no one can read.
        let frame = bytes_of(&[&[0, 18, 0, 9, 0, 0, 0, 5, 255, 255, 0], b"what"]);
        let Step::Reply { bytes, .. } = bench.step_raw(&frame, &mut buf) else {
            panic!("it is answered");
        };
        assert_eq!(bytes, 4 + 4 + 2 + 4 + 6 * APIS.len());
        assert_eq!(buf[4..10], [0, 0, 0, 5, 0, 35]);
        assert_eq!(buf[10..14], (APIS.len() as u32).to_be_bytes());
    }

    #[test]
    fn what_is_not_served_closes_the_connection() {
        let mut bench = Bench::new();
        let mut buf = [0; 1024];
        let tail = [0, 0, 0, 5, 255, 255];
        for (key, version) in [(3, 14), (3, -1), (0, 2), (999, 0), (-1, 0), (50, 0)] {
            let head = [i16::to_be_bytes(key), i16::to_be_bytes(version)].concat();
            let step = bench.step_raw(&bytes_of(&[&head, &tail, &[0; 32]]), &mut buf);
            assert!(matches!(step, Step::Close(_)), "{key} {version}: {step:?}");
        }
    }

    #[test]
    fn cut_and_overlong_requests_close_the_connection() {
        let mut bench = Bench::new();
        let mut buf = [0; 1024];
        // Not Metadata, which librdkafka sends with bytes behind it.
        let request = kafka_protocol::messages::DescribeConfigsRequest::default();
        let mut frame = frame_of(4, &request);
        for cut in 0..frame.len() {
            let step = bench.step_raw(&frame[..cut], &mut buf);
            assert!(matches!(step, Step::Close(_)), "{cut}: {step:?}");
        }
        frame.push(0);
        assert!(matches!(bench.step_raw(&frame, &mut buf), Step::Close(_)));
    }

    #[test]
    fn an_answer_says_how_long_its_client_is_asked_to_wait() {
        use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
        use kafka_protocol::protocol::Decodable;
        let mut bench = Bench::new();
        let mut buf = [0; 256];
        let peer = bench.peer;
        let frame = frame_of(3, &HeartbeatRequest::default());
        let mut request = request_from(&peer, &frame).unwrap();
        request.throttle_time_ms = 70;
        let out = Window { buf: &mut buf, from: 0 };
        let step = (request.api.handle)(&mut bench.broker, &request, out, bench.now);
        assert!(matches!(step, Ok(Step::Reply { .. })), "{step:?}");
        let mut answer = bytes::Bytes::copy_from_slice(&buf[8..]);
        assert_eq!(HeartbeatResponse::decode(&mut answer, 3).unwrap().throttle_time_ms, 70);
    }

    #[test]
    fn requests_and_the_errors_of_their_answers_are_counted() {
        let mut bench = Bench::new();
        let mut buf = [0; 1024];
        let unknown = [0, 18, 0, 9, 0, 0, 0, 5, 255, 255, 0];
        bench.step_raw(&unknown, &mut buf);
        bench.step_raw(&unknown, &mut buf);
        assert_eq!(bench.broker.metrics.requests(18), 2);
        assert_eq!(bench.broker.metrics.errors(35), 2);
    }

    /// Requests with something in them, whose bytes are then spoilt.
    fn frames() -> Vec<Vec<u8>> {
        use kafka_protocol::messages::create_topics_request::{
            CreatableTopic, CreatableTopicConfig,
        };
        use kafka_protocol::messages::{
            CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, MetadataRequest,
            TopicName,
            delete_topics_request::DeleteTopicState,
            describe_configs_request::DescribeConfigsResource,
            incremental_alter_configs_request::{
                AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
            },
            metadata_request::MetadataRequestTopic,
        };
        use kafka_protocol::protocol::StrBytes;
        let text = StrBytes::from_static_str;
        let name = || TopicName(text("topic"));
        let setting = CreatableTopicConfig::default().with_name(text("flush.ms"));
        let topic = CreatableTopic::default()
            .with_name(name())
            .with_num_partitions(2)
            .with_replication_factor(1)
            .with_configs(vec![setting.with_value(Some(text("9")))]);
        let create = CreateTopicsRequest::default().with_topics(vec![topic.clone(), topic]);
        let gone = DeleteTopicState::default().with_name(Some(name()));
        let delete = DeleteTopicsRequest::default().with_topics(vec![gone]);
        let shown = MetadataRequestTopic::default().with_name(Some(name()));
        let metadata = MetadataRequest::default().with_topics(Some(vec![shown]));
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("topic"));
        let describe = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let change = AlterableConfig::default().with_name(text("cleanup.policy"));
        let change = change.with_config_operation(2).with_value(Some(text("delete")));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("topic"))
            .with_configs(vec![change]);
        let alter = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        vec![
            frame_of(7, &create),
            frame_of(4, &create),
            frame_of(6, &delete),
            frame_of(12, &metadata),
            frame_of(1, &metadata),
            frame_of(4, &describe),
            frame_of(1, &alter),
        ]
    }

    #[test]
    fn spoilt_requests_are_answered_or_refused_and_never_end_the_broker() {
        let mut bench = Bench::new();
        let mut buf = vec![0; 64 * 1024];
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let frames = frames();
        for _ in 0..20_000 {
            let mut frame = frames[random(frames.len())].clone();
            for _ in 0..random(4) {
                let at = random(frame.len());
                frame[at] = [0, 1, 2, 0x7f, 0x80, 0xff, random(256) as u8][random(7)];
            }
            if let Step::ReplyAfter { .. } | Step::Again(_) = bench.step_raw(&frame, &mut buf) {
                bench.drive();
            }
        }
        assert!(bench.broker.log.state().partitions_len() <= 512);
    }

    #[test]
    fn the_table_is_in_order_of_key_and_its_ranges_are_ranges() {
        assert!(APIS.is_sorted_by(|a, b| a.key < b.key));
        for api in APIS {
            assert!(0 <= api.min_advertised && api.min_advertised <= api.min);
            assert!(api.min <= api.max, "{}", api.name);
        }
    }
}
