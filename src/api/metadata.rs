//! Metadata (3): the broker, its topics and their partitions. Versions 0–13.
//!
//! - 1 adds the controller, racks and internal topics; 2 the cluster id; 3 the throttle time; 4
//!   whether unknown topics may be created; 5 offline replicas; 7 the leader epoch; 8 authorized
//!   operations (8–10 of the cluster too); 9 is flexible; 10 adds topic ids; 12 asks by topic id; 13 adds
//!   an error for the whole, of which there is none.
//! - All topics: an empty array in version 0, null since version 1 (where empty means none).
//! - Authorized operations: all, where they are asked for; there is no authorizer.
//! - A topic's name may be null since 10 in a request and since 12 in a response. Versions 10 and 11
//!   carry ids that they may not use: INVALID_REQUEST (42), as in Kafka.
//! - Unknown topics are created, if client and configuration allow it, and shown once they are on
//!   flash. What cannot be created for lack of room is INVALID_TOPIC_EXCEPTION (17): clients give up
//!   on that at once, where they would ask for ever on others.
//! - There is one broker, at the address that the client reached unless the configuration sets one.

use std::net::IpAddr;

use super::{Malformed, Request, Step, Window, dedup::OnceTopic};
use crate::broker::Broker;
use crate::broker::allowed::NotCreated;
use crate::broker::topics::{self, Busy, NewTopic};
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::log::state::{Topic, TopicConfigs, TopicName};
use crate::types::{TopicId, TopicSlot, Until};

message! {
    /// Asks for topics.
    request MetadataRequest<'a>, key 3, flexible 9+ {
        topics: Option<Array<'a, MetadataRequestTopic<'a>>>, 0+, nullable 1+;
        allow_auto_topic_creation: bool, 4+, default true;
        include_cluster_authorized_operations: bool, 8-10;
        include_topic_authorized_operations: bool, 8+;
    }

    /// One topic, by name or (since version 12) by id.
    request MetadataRequestTopic<'a> {
        topic_id: TopicId, 10+;
        name: Option<&'a str>, 0+, nullable 10+;
    }

    /// The cluster.
    response MetadataResponse<'a>, key 3, flexible 9+ {
        throttle_time_ms: i32, 3+;
        brokers: List<'a, MetadataResponseBroker<'static>>, 0+;
        cluster_id: Option<&'a str>, 2+, nullable 2+;
        controller_id: i32, 1+;
        topics: List<'a, MetadataResponseTopic<'static>>, 0+;
        cluster_authorized_operations: i32, 8-10;
        error_code: ErrorCode, 13+;
    }

    /// One broker.
    response MetadataResponseBroker<'a> {
        node_id: i32, 0+;
        host: &'a str, 0+;
        port: i32, 0+;
        rack: Option<&'a str>, 1+, nullable 1+;
    }

    /// One topic.
    response MetadataResponseTopic<'a> {
        error_code: ErrorCode, 0+;
        name: Option<&'a str>, 0+, nullable 12+;
        topic_id: TopicId, 10+;
        is_internal: bool, 1+;
        partitions: List<'a, MetadataResponsePartition<'static>>, 0+;
        topic_authorized_operations: i32, 8+;
    }

    /// One partition.
    response MetadataResponsePartition<'a> {
        error_code: ErrorCode, 0+;
        partition_index: i32, 0+;
        leader_id: i32, 0+;
        leader_epoch: i32, 7+;
        replica_nodes: &'a [i32], 0+;
        isr_nodes: &'a [i32], 0+;
        offline_replicas: &'a [i32], 5+;
    }
}

/// Shows the broker and topics; creates unknown ones first.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    // librdkafka (2.16 at least) asks for all topics from version 9 on with three bytes too many.
    let ask = MetadataRequest::decode_prefix(&mut request.reader(), request.version)?;
    let may_create = ask.allow_auto_topic_creation && broker.config.auto_create_topics_enable;
    if let Some(named) = ask.topics.filter(|_| may_create && out.from == 0) {
        let mut until = Until::default();
        for name in named.iter().filter_map(|topic| topic.name) {
            create(broker, request, name, &mut until, now);
        }
        if until != Until::default() {
            return Ok(Step::Again(until));
        }
    }

    let address = broker.advertised(request.peer);
    let node_id = broker.config.node_id;
    let answer = Answer {
        broker,
        remote: request.peer.remote.ip(),
        version: request.version,
        may_create,
        operations: if ask.include_topic_authorized_operations {
            TOPIC_OPERATIONS_ALL
        } else {
            i32::MIN
        },
    };
    Ok(request.reply(out, |w| {
        MetadataResponse {
            throttle_time_ms: w.throttle_time_ms(),
            brokers: &mut |list| {
                list.push(MetadataResponseBroker {
                    node_id,
                    host: &address.host,
                    port: address.port.into(),
                    rack: None,
                });
            },
            cluster_id: Some(answer.broker.cluster_id()),
            controller_id: node_id,
            topics: &mut |list| answer.topics(ask.topics, list),
            cluster_authorized_operations: if ask.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS_ALL
            } else {
                i32::MIN
            },
            error_code: ErrorCode::NONE,
        }
        .encode(w, request.version);
    }))
}

/// Stages the creation of a topic, if that is missing and possible; `until` then says when to look
/// again. Topics are staged one by one: what finds no room now is staged when the request is
/// dispatched again.
fn create(broker: &mut Broker, request: &Request<'_>, name: &str, until: &mut Until, now: Now) {
    match broker.topics_settled(|staged| staged == name) {
        Ok(()) => {}
        Err(Busy::Wait(staged)) => return until.merge(&staged),
        Err(Busy::Storage | Busy::TooMuch) => return,
    }
    let Ok(name) = broker.topic_name_free(name) else {
        return;
    };
    let new = new_topic(broker, name);
    if topics::is_internal(&new.name) {
        return;
    }
    let remote = request.peer.remote.ip();
    if let Err(why) = may_create(broker, &new, remote) {
        return broker.auto_create_refused(&new.name, &request.caller(), why, now);
    }
    if broker.topic_ring_begun(&new.name).is_err() {
        // It may be by the next time.
        return;
    }
    match broker.meta_room(broker.log.shared(), new.meta_bytes()) {
        Ok(()) => {
            if let Ok((_, ticket)) = broker.topic_create(&new, now) {
                broker.auto_created(&new.name, &request.caller(), now);
                until.add(broker.log.shared(), ticket);
            }
        }
        Err(Busy::Wait(full)) => until.merge(&full),
        Err(Busy::Storage | Busy::TooMuch) => {}
    }
}

fn new_topic(broker: &Broker, name: TopicName) -> NewTopic {
    NewTopic { partitions: broker.config.num_partitions, configs: TopicConfigs::new(), name }
}

/// Whether a topic may be created because a client at this address uses it.
fn may_create(broker: &Broker, new: &NewTopic, remote: IpAddr) -> Result<(), NotCreated> {
    broker.auto_create_check(&new.name, remote)?;
    let tables = broker.topic_grow(new, &mut broker.growth_staged());
    let flash = broker.meta_room(broker.log.shared(), new.meta_bytes());
    if tables.is_ok() && flash != Err(Busy::TooMuch) { Ok(()) } else { Err(NotCreated::Full) }
}

/// The topics of an answer.
struct Answer<'b> {
    broker: &'b Broker,
    remote: IpAddr,
    version: i16,
    may_create: bool,
    operations: i32,
}

type TopicList<'w, 'b> = ListWriter<'w, 'b, MetadataResponseTopic<'static>>;

impl Answer<'_> {
    fn topics(
        &self,
        asked: Option<Array<'_, MetadataRequestTopic<'_>>>,
        list: &mut TopicList<'_, '_>,
    ) {
        // Before version 1 there was no null.
        let asked = asked.filter(|asked| self.version > 0 || !asked.is_empty());
        let Some(asked) = asked else {
            for (slot, topic) in self.broker.log.state().topics() {
                self.topic(list, slot, topic);
            }
            return;
        };
        let mut once = OnceTopic::default();
        for topic in asked {
            match self.find(&topic) {
                Ok(slot) if once.first(slot.0) => {
                    let topic = self.broker.log.state().topic(slot);
                    self.topic(list, slot, topic.expect("it was just found"));
                }
                Ok(_) => {}
                Err(error_code) => list.push(MetadataResponseTopic {
                    error_code,
                    name: topic.name,
                    topic_id: topic.topic_id,
                    is_internal: false,
                    partitions: &mut |_| {},
                    topic_authorized_operations: i32::MIN,
                }),
            }
        }
    }

    fn find(&self, topic: &MetadataRequestTopic<'_>) -> Result<TopicSlot, ErrorCode> {
        let by_id = topic.topic_id != TopicId::default();
        if self.version < IDS_SINCE && (by_id || topic.name.is_none()) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let state = self.broker.log.state();
        match topic.name {
            _ if by_id => {
                let found = state.topic_with_id(topic.topic_id);
                found.map(|found| found.0).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
            }
            None => Err(ErrorCode::INVALID_REQUEST),
            Some(name) => {
                let found = state.topic_named(name);
                found.map(|found| found.0).ok_or_else(|| self.unknown(name))
            }
        }
    }

    fn unknown(&self, name: &str) -> ErrorCode {
        let Ok(name) = self.broker.topic_name_free(name) else {
            return ErrorCode::INVALID_TOPIC_EXCEPTION;
        };
        if !self.may_create {
            return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        match may_create(self.broker, &new_topic(self.broker, name), self.remote) {
            Err(NotCreated::Full | NotCreated::Share) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        }
    }

    fn topic(&self, list: &mut TopicList<'_, '_>, slot: TopicSlot, topic: &Topic) {
        let state = self.broker.log.state();
        let nodes = [self.broker.config.node_id];
        list.push(MetadataResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: topics::is_internal(&topic.name),
            partitions: &mut |list| {
                for (_, partition) in state.partitions_of(slot) {
                    list.push(MetadataResponsePartition {
                        error_code: ErrorCode::NONE,
                        partition_index: partition.index as i32,
                        leader_id: self.broker.config.node_id,
                        leader_epoch: state.boot.0 as i32,
                        replica_nodes: &nodes,
                        isr_nodes: &nodes,
                        offline_replicas: &[],
                    });
                }
            },
            topic_authorized_operations: self.operations,
        });
    }
}

/// Ids may be asked for since this version.
const IDS_SINCE: i16 = 12;

/// Read, write, create, delete, alter, describe, and describe and alter configs.
pub(super) const TOPIC_OPERATIONS_ALL: i32 = 3576;

/// Create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS_ALL: i32 = 8096;

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
    use kafka_protocol::messages::metadata_response::MetadataResponse;
    use kafka_protocol::messages::{DeleteTopicsRequest, TopicName as WireName};
    use kafka_protocol::protocol::StrBytes;
    use uuid::Uuid;

    use crate::api::{Step, Window, dispatch};
    use crate::broker::testing::{Bench, frame_of};

    fn named(name: &str) -> MetadataRequestTopic {
        let name = StrBytes::from_string(name.to_string());
        MetadataRequestTopic::default().with_name(Some(WireName(name)))
    }

    fn ask(bench: &mut Bench, create: bool, names: &[&str]) -> MetadataResponse {
        let topics = names.iter().map(|name| named(name)).collect();
        let request = MetadataRequest::default().with_topics(Some(topics));
        bench.ask(12, &request.with_allow_auto_topic_creation(create))
    }

    fn codes(answer: &MetadataResponse) -> Vec<(&str, i16)> {
        let topics = answer.topics.iter();
        topics
            .map(|topic| (topic.name.as_ref().map_or("", |n| n.as_str()), topic.error_code))
            .collect()
    }

    #[test]
    fn the_broker_is_shown_where_the_client_reached_it() {
        let mut bench = Bench::new();
        let answer = ask(&mut bench, false, &[]);
        let broker = &answer.brokers[0];
        assert_eq!((broker.node_id.0, broker.host.as_str(), broker.port), (1, "10.0.0.7", 9092));
        assert_eq!((answer.controller_id.0, answer.brokers.len()), (1, 1));
        assert_eq!(answer.cluster_id.unwrap().len(), 22);
    }

    #[test]
    fn unknown_topics_are_created_where_client_and_configuration_allow_it() {
        let mut bench = Bench::with(|config| config.num_partitions = 2);
        assert_eq!(codes(&ask(&mut bench, false, &["t"])), [("t", 3)]);
        let answer = ask(&mut bench, true, &["t", "u", "t"]);
        assert_eq!(codes(&answer), [("t", 0), ("u", 0)]);
        let partitions = &answer.topics[0].partitions;
        assert_eq!(partitions.len(), 2);
        assert_eq!((partitions[1].leader_id.0, partitions[1].leader_epoch), (1, 1));
        assert_eq!(partitions[1].isr_nodes.len(), 1);
        bench.broker.config.auto_create_topics_enable = false;
        assert_eq!(codes(&ask(&mut bench, true, &["v"])), [("v", 3)]);
    }

    #[test]
    fn what_can_never_be_created_is_an_invalid_topic() {
        let mut bench = Bench::with(|config| config.topics_max = 1);
        let answer = ask(&mut bench, true, &["a b", "", "__consumer_offsets"]);
        assert_eq!(codes(&answer), [("a b", 17), ("", 17), ("__consumer_offsets", 3)]);
        let answer = ask(&mut bench, true, &["t", "u"]);
        assert_eq!(codes(&answer), [("t", 0), ("u", 17)]);
    }

    #[test]
    fn topics_are_found_by_id_and_all_of_them_by_null() {
        let mut bench = Bench::new();
        ask(&mut bench, true, &["t", "u"]);
        let id = bench.broker.log.state().topic_named("u").unwrap().1.id;
        let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let topics = vec![by_id(Uuid::from_bytes(id.0)), by_id(Uuid::from_bytes([9; 16]))];
        let request = MetadataRequest::default().with_topics(Some(topics));
        assert_eq!(codes(&bench.ask(12, &request)), [("u", 0), ("", 100)]);
        // These versions carry ids and may not use them.
        assert_eq!(codes(&bench.ask(11, &request)), [("", 42), ("", 42)]);
        let all = MetadataRequest::default().with_topics(None);
        assert_eq!(codes(&bench.ask(12, &all)), [("t", 0), ("u", 0)]);
        let all = MetadataRequest::default().with_topics(Some(vec![]));
        assert_eq!(codes(&bench.ask(0, &all)), [("t", 0), ("u", 0)]);
        assert!(codes(&bench.ask(1, &all)).is_empty());
    }

    #[test]
    fn operations_are_shown_to_who_asks() {
        let mut bench = Bench::new();
        ask(&mut bench, true, &["t"]);
        let request = MetadataRequest::default().with_topics(Some(vec![named("t")]));
        assert_eq!(bench.ask(8, &request).topics[0].topic_authorized_operations, i32::MIN);
        let request = request
            .with_include_topic_authorized_operations(true)
            .with_include_cluster_authorized_operations(true);
        let answer = bench.ask(8, &request);
        assert_eq!(answer.topics[0].topic_authorized_operations, 3576);
        assert_eq!(answer.cluster_authorized_operations, 8096);
    }

    #[test]
    fn an_answer_that_changes_between_two_windows_is_another_one_even_if_it_is_as_long() {
        let mut bench = Bench::with(|config| {
            (config.topics_max, config.partitions_max) = (200, 4096);
            config.num_partitions = 1;
        });
        for name in ["one", "two", "six"] {
            ask(&mut bench, true, &[name]);
        }
        let all = MetadataRequest::default().with_topics(None);
        let frame = frame_of(12, &all);
        let step = |bench: &mut Bench, from: usize| {
            let window = Window { buf: &mut [0; 64], from };
            dispatch(&mut bench.broker, &bench.peer, &frame, window, bench.now)
        };
        let first = step(&mut bench, 0);
        assert_eq!(first, step(&mut bench, 64), "nothing has changed");
        bench.ask(
            1,
            &DeleteTopicsRequest::default()
                .with_topic_names(vec![WireName(StrBytes::from_static_str("one"))]),
        );
        ask(&mut bench, true, &["ten"]);
        let (Step::Reply { bytes, digest }, Step::Reply { bytes: others, digest: other }) =
            (first, step(&mut bench, 64))
        else {
            panic!("both are answers");
        };
        assert_eq!(bytes, others);
        assert_ne!(digest, other);
    }

    #[test]
    fn an_answer_of_any_length_comes_window_by_window() {
        let mut bench = Bench::with(|config| {
            (config.topics_max, config.partitions_max) = (200, 4096);
            config.num_partitions = 20;
        });
        let names: Vec<String> = (0..200).map(|n| format!("topic-{n:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for names in names.chunks(50) {
            ask(&mut bench, true, names);
        }
        // Decoded whole: 200 × 20 partitions of 26 bytes are more than one window.
        let answer = ask(&mut bench, false, &names);
        assert_eq!(answer.topics.len(), 200);
        assert!(answer.topics.iter().all(|topic| topic.partitions.len() == 20));
    }
}
