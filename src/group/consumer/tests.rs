//! The rules of the consumer protocol, as clients see them, in a time that the tests make.

mod assigned;
mod beats;
mod crowd;
mod lookups;
mod mixed;
mod shown;
mod statics;
mod takeovers;
mod with_classic;

use std::collections::BTreeSet;

use kafka_protocol::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use kafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::broker::testing::Bench;
use crate::config::Config;
use crate::types::TopicId;

/// A broker with topics, and a group of consumers.
struct World {
    bench: Bench,
}

/// What a client knows of itself.
#[derive(Debug, Clone, Default)]
struct Client {
    id: String,
    instance: Option<&'static str>,
    topics: Vec<&'static str>,
    regex: Option<&'static str>,
    assignor: Option<&'static str>,
    epoch: i32,
    /// What it has, as topic and number.
    owned: BTreeSet<Owned>,
    /// What it was told last.
    told: BTreeSet<Owned>,
}

type Owned = (&'static str, i32);

const GROUP: &str = "group";
const REBALANCE_MS: u64 = 60_000;
const SESSION_MS: u64 = 45_000;

/// Names of topics that tests may use.
const TOPICS: [&str; 6] = ["t", "u", "v", "w", "x", "y"];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A client of topic "t".
fn client(id: &str) -> Client {
    Client { id: id.into(), topics: vec!["t"], ..Client::default() }
}

fn static_client(id: &str, instance: &'static str) -> Client {
    Client { instance: Some(instance), ..client(id) }
}

/// Partitions of "t".
fn of_t(numbers: impl IntoIterator<Item = i32>) -> BTreeSet<Owned> {
    numbers.into_iter().map(|number| ("t", number)).collect()
}

impl World {
    /// With topic "t" of so many partitions.
    fn new(partitions: i32) -> World {
        World::with(partitions, |_| {})
    }

    fn with(partitions: i32, change: impl FnOnce(&mut Config)) -> World {
        let mut world = World { bench: Bench::with(change) };
        world.create("t", partitions);
        world
    }

    fn create(&mut self, name: &str, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        assert_eq!(self.bench.ask(5, &request).topics[0].error_code, 0);
    }

    fn grow(&mut self, name: &str, partitions: i32) {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic(name))
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        assert_eq!(self.bench.ask(3, &request).results[0].error_code, 0);
    }

    fn delete(&mut self, name: &str) {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic(name)]);
        assert_eq!(self.bench.ask(5, &request).responses[0].error_code, 0);
    }

    fn id_of(&self, name: &str) -> Option<TopicId> {
        self.bench.broker.log.state().topic_named(name).map(|(_, topic)| topic.id)
    }

    /// A heartbeat that says nothing but who it is, and (with everything that a client says when
    /// it joins) what it has.
    fn request(&self, client: &Client, epoch: i32, whole: bool) -> ConsumerGroupHeartbeatRequest {
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&client.id))
            .with_member_epoch(epoch)
            .with_instance_id(client.instance.map(text))
            .with_topic_partitions(None);
        if whole {
            request = request
                .with_rebalance_timeout_ms(REBALANCE_MS as i32)
                .with_subscribed_topic_names(Some(client.topics.iter().map(|t| topic(t)).collect()))
                .with_subscribed_topic_regex(client.regex.map(text))
                .with_server_assignor(client.assignor.map(text))
                .with_topic_partitions(Some(self.owned(client)));
        }
        request
    }

    fn owned(&self, client: &Client) -> Vec<TopicPartitions> {
        let topics = TOPICS.iter().filter_map(|name| {
            let numbers: Vec<i32> =
                client.owned.iter().filter(|(topic, _)| topic == name).map(|p| p.1).collect();
            let id = uuid::Uuid::from_bytes(self.id_of(name)?.0);
            let of_topic = TopicPartitions::default().with_topic_id(id).with_partitions(numbers);
            (!of_topic.partitions.is_empty()).then_some(of_topic)
        });
        topics.collect()
    }

    fn send(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.bench.ask(1, request)
    }

    /// Joins with nothing.
    fn join(&mut self, client: &mut Client) -> i16 {
        client.owned.clear();
        client.told.clear();
        let request = self.request(client, 0, true);
        let answer = self.send(&request);
        self.take(client, &answer);
        answer.error_code
    }

    /// Says what it has, and all else.
    fn beat(&mut self, client: &mut Client) -> i16 {
        let request = self.request(client, client.epoch, true);
        let answer = self.send(&request);
        self.take(client, &answer);
        answer.error_code
    }

    /// Says nothing.
    fn beat_brief(&mut self, client: &mut Client) -> i16 {
        let request = self.request(client, client.epoch, false);
        let answer = self.send(&request);
        self.take(client, &answer);
        answer.error_code
    }

    fn leave(&mut self, client: &Client, epoch: i32) -> i16 {
        let request = self.request(client, epoch, false);
        let answer = self.send(&request);
        if answer.error_code == 0 {
            assert_eq!(answer.member_epoch, epoch);
        }
        answer.error_code
    }

    /// A client that does at once what it is told: gives back, then takes.
    fn follow(&mut self, client: &mut Client) -> i16 {
        let code = self.beat(client);
        client.owned = client.told.clone();
        code
    }

    /// Takes over what it was told.
    fn take(&mut self, client: &mut Client, answer: &ConsumerGroupHeartbeatResponse) {
        if answer.error_code != 0 {
            assert!(answer.error_message.is_some() && answer.assignment.is_none());
            return;
        }
        client.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            client.told = assignment
                .topic_partitions
                .iter()
                .flat_map(|of_topic| {
                    let id = TopicId(of_topic.topic_id.into_bytes());
                    let is = |name: &&&str| self.id_of(name) == Some(id);
                    let name =
                        *TOPICS.iter().find(is).expect("it is told of topics that are there");
                    of_topic.partitions.iter().map(move |number| (name, *number))
                })
                .collect();
        }
    }

    /// All do what they are told, until that changes nothing; with what each has then.
    fn settle(&mut self, clients: &mut [Client]) {
        for _ in 0..4 {
            for client in &mut *clients {
                assert_eq!(self.follow(client), 0);
            }
        }
        assert_eq!(self.state(), "Stable");
    }

    fn joined(&mut self, ids: &[&str]) -> Vec<Client> {
        let mut clients: Vec<Client> = ids.iter().map(|id| client(id)).collect();
        for client in &mut clients {
            assert_eq!(self.join(client), 0);
        }
        self.settle(&mut clients);
        clients
    }

    fn state(&mut self) -> &'static str {
        self.bench.broker.groups_look();
        let shown = self.bench.broker.groups.show(GROUP);
        shown.map_or("Dead", |shown| shown.consumer_state())
    }

    fn epochs(&self) -> (i32, i32) {
        let shown = self.bench.broker.groups.show(GROUP).unwrap();
        (shown.epoch(), shown.target_epoch())
    }

    fn commit(&mut self, version: i16, client: &Client, epoch: i32) -> i16 {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
        let of_topic = OffsetCommitRequestTopic::default()
            .with_name(topic("t"))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(text(&client.id))
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![of_topic]);
        self.bench.ask(version, &request).topics[0].partitions[0].error_code
    }

    /// Time passes, and these show that they are alive.
    fn pass_alive_ms(&mut self, ms: u64, clients: &mut [&mut Client]) {
        for _ in 0..ms / 5000 {
            self.bench.pass_ms(5000);
            for client in &mut *clients {
                self.beat_brief(client);
            }
        }
    }
}
