//! The `rdkafka` crate: librdkafka behind Rust's types.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Answer, Client, Input, OPERATION_SECONDS_MAX, Sender, Wire, WireHeader, bytes, tell, text,
};

const WAIT: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(100);

pub struct Librdkafka {
    broker: String,
    runtime: Runtime,
    member: Option<Member>,
}

impl Librdkafka {
    pub fn new(broker: String) -> Librdkafka {
        Librdkafka { broker, runtime: runtime(), member: None }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker);
        config
    }

    /// A consumer for questions, and for the commits of nobody's member.
    fn asking(&self, group: &str) -> Result<BaseConsumer, Box<dyn Error>> {
        let group = if group.is_empty() { "none" } else { group };
        Ok(self.config().set("group.id", group).set("enable.auto.commit", "false").create()?)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Client for Librdkafka {
    fn handle(&mut self, input: &Input) -> Answer {
        match input.op.as_str() {
            "produce" => self.runtime.block_on(self.produce(input)),
            "consume" => self.consume(input),
            "offset" => self.offset(input),
            "commit" => {
                self.asking(&input.group)?.commit(&list(input, input.at)?, CommitMode::Sync)?;
                Ok(Value::Null)
            }
            "committed" => {
                let found = self.asking(&input.group)?.committed_offsets(list(input, 0)?, WAIT)?;
                Ok(json!(offset_of(&found)))
            }
            "list_groups" => {
                let groups = self.asking("")?.client().fetch_group_list(None, WAIT)?;
                Ok(json!(groups.groups().iter().map(|group| group.name()).collect::<Vec<_>>()))
            }
            "describe_group" => self.describe_group(input),
            "list_topics" => {
                let told = self.asking("")?.fetch_metadata(None, WAIT)?;
                Ok(json!(told.topics().iter().map(|topic| topic.name()).collect::<Vec<_>>()))
            }
            "partitions" => {
                let told = self.asking("")?.fetch_metadata(Some(&input.topic), WAIT)?;
                Ok(json!(told.topics()[0].partitions().len()))
            }
            "member" => {
                self.member = Some(Member::join(self.config(), input)?);
                Ok(Value::Null)
            }
            "member_commit" => {
                let member = self.member.as_ref().ok_or("no member")?;
                member.consumer.commit_consumer_state(CommitMode::Sync)?;
                Ok(Value::Null)
            }
            "member_leave" => self.member.take().ok_or("no member")?.leave(),
            _ => self.runtime.block_on(administer(&self.config(), input)),
        }
    }

    fn sender(&self, input: &Input) -> Result<Sender, Box<dyn Error>> {
        let producer = self.producer(input)?;
        let (topic, partition, runtime) = (input.topic.clone(), input.partition, runtime());
        Ok(Box::new(move |value| {
            let record = FutureRecord::<(), _>::to(&topic).partition(partition).payload(&value);
            let sent = runtime.block_on(producer.send(record, WAIT));
            sent.map(|_| ()).map_err(|(error, _)| error.to_string())
        }))
    }
}

impl Librdkafka {
    fn producer(&self, input: &Input) -> Result<FutureProducer, Box<dyn Error>> {
        let mut config = self.config();
        config
            .set("acks", &input.acks)
            .set("enable.idempotence", input.idempotent.to_string())
            .set("compression.type", &input.codec)
            .set("linger.ms", input.linger_ms.to_string());
        if input.bytes_max > 0 {
            config.set("message.max.bytes", input.bytes_max.to_string());
        }
        Ok(config.create()?)
    }

    async fn produce(&self, input: &Input) -> Answer {
        let producer = self.producer(input)?;
        let mut sent = Vec::new();
        for wire in &input.records {
            let (key, value) = (bytes(&wire.key), bytes(&wire.value));
            let mut headers = OwnedHeaders::new_with_capacity(wire.headers.len());
            for header in &wire.headers {
                let value = bytes(&header.value);
                headers = headers.insert(Header { key: &header.name, value: value.as_ref() });
            }
            let mut record = FutureRecord::<Vec<u8>, Vec<u8>>::to(&input.topic)
                .partition(wire.partition)
                .headers(headers);
            record.key = key.as_ref();
            record.payload = value.as_ref();
            record.timestamp = (wire.timestamp > 0).then_some(wire.timestamp);
            sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for one in sent {
            one.await?.map_err(|(error, _)| error)?;
        }
        Ok(Value::Null)
    }

    fn consume(&self, input: &Input) -> Answer {
        let consumer = self.asking("")?;
        let start = match input.start.as_str() {
            "earliest" => Offset::Beginning,
            "latest" => Offset::End,
            "timestamp" => {
                let asked = list(input, input.at)?;
                Offset::Offset(offset_of(&consumer.offsets_for_times(asked, WAIT)?))
            }
            _ => Offset::Offset(input.at),
        };
        let mut where_ = TopicPartitionList::new();
        where_.add_partition_offset(&input.topic, input.partition, start)?;
        consumer.assign(&where_)?;
        let until = Instant::now() + Duration::from_secs(OPERATION_SECONDS_MAX);
        let mut out = Vec::new();
        while out.len() < input.count {
            if Instant::now() > until {
                return Err(format!("{} of {} records", out.len(), input.count).into());
            }
            if let Some(message) = consumer.poll(POLL) {
                out.push(incoming(&message?));
            }
        }
        Ok(json!(out))
    }

    fn offset(&self, input: &Input) -> Answer {
        let consumer = self.asking("")?;
        let (low, high) = consumer.fetch_watermarks(&input.topic, input.partition, WAIT)?;
        match input.start.as_str() {
            "earliest" => Ok(json!(low)),
            "latest" => Ok(json!(high)),
            _ => Ok(json!(offset_of(&consumer.offsets_for_times(list(input, input.at)?, WAIT)?))),
        }
    }

    fn describe_group(&self, input: &Input) -> Answer {
        let groups = self.asking("")?.client().fetch_group_list(Some(&input.group), WAIT)?;
        let group = groups.groups().first().ok_or("no such group")?;
        let held: Vec<Vec<i32>> =
            group.members().iter().map(|member| assigned(member.assignment())).collect();
        Ok(json!({ "state": group.state(), "members": held }))
    }
}

/// The partitions in a member's assignment: version, topics {name, partitions}.
fn assigned(data: Option<&[u8]>) -> Vec<i32> {
    let mut rest = data.unwrap_or_default();
    let mut take = |count: usize| {
        let (part, left) = rest.split_at(count.min(rest.len()));
        rest = left;
        part.iter().fold(0i64, |value, byte| value << 8 | i64::from(*byte)) as i32
    };
    take(2);
    let mut out = Vec::new();
    for _ in 0..take(4) {
        let name_bytes = take(2) as usize;
        take(name_bytes);
        for _ in 0..take(4) {
            out.push(take(4));
        }
    }
    out
}

fn list(input: &Input, offset: i64) -> Result<TopicPartitionList, Box<dyn Error>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&input.topic, input.partition, Offset::Offset(offset))?;
    Ok(list)
}

fn offset_of(list: &TopicPartitionList) -> i64 {
    list.elements()
        .first()
        .and_then(|one| one.offset().to_raw())
        .filter(|at| *at >= 0)
        .unwrap_or(-1)
}

fn incoming(message: &impl Message) -> Wire {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Wire {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: text(message.key()),
        value: text(message.payload()),
        headers: headers
            .map(|header| WireHeader { name: header.key.to_owned(), value: text(header.value) })
            .collect(),
    }
}

// ---- group membership --------------------------------------------------------------------

/// Tells of each change of what it holds.
#[derive(Default)]
struct Told {
    held: Mutex<Vec<i32>>,
}

impl ClientContext for Told {}

impl ConsumerContext for Told {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, change: &Rebalance<'_>) {
        let mut held = self.held.lock().expect("the list");
        match change {
            Rebalance::Assign(list) => {
                held.extend(list.elements().iter().map(|one| one.partition()));
            }
            Rebalance::Revoke(list) => {
                held.retain(|held| list.elements().iter().all(|one| one.partition() != *held));
            }
            Rebalance::Error(_) => {}
        }
        tell(&json!({ "event": "assigned", "partitions": *held }));
    }
}

struct Member {
    consumer: Arc<BaseConsumer<Told>>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Member {
    fn join(mut config: ClientConfig, input: &Input) -> Result<Member, Box<dyn Error>> {
        config
            .set("group.id", &input.group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", input.auto_commit.to_string());
        let optional = [
            ("group.instance.id", input.instance.clone()),
            ("group.protocol", input.protocol.clone()),
            ("session.timeout.ms", input.session_ms.to_string()),
        ];
        for (name, value) in optional {
            if !value.is_empty() && value != "0" {
                config.set(name, value);
            }
        }
        let consumer: Arc<BaseConsumer<Told>> =
            Arc::new(config.create_with_context(Told::default())?);
        consumer.subscribe(&[&input.topic])?;
        let ended = Arc::new(AtomicBool::new(false));
        let (polled, seen) = (Arc::clone(&consumer), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                // Errors of a broker that is away pass by themselves.
                if let Some(Ok(message)) = polled.poll(POLL) {
                    tell(&json!({ "event": "record", "record": incoming(&message) }));
                }
            }
        });
        Ok(Member { consumer, ended, thread })
    }

    fn leave(self) -> Answer {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the member panicked")?;
        // Dropping the last reference closes the consumer, which leaves the group.
        drop(self.consumer);
        Ok(Value::Null)
    }
}

// ---- administration ----------------------------------------------------------------------

async fn administer(config: &ClientConfig, input: &Input) -> Answer {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let options = AdminOptions::new().request_timeout(Some(WAIT));
    let topic = input.topic.as_str();
    match input.op.as_str() {
        "create_topic" => {
            let mut wanted = NewTopic::new(topic, input.partitions, TopicReplication::Fixed(1));
            for (name, value) in &input.configs {
                wanted = wanted.set(name, value);
            }
            first(admin.create_topics(&[wanted], &options).await?)
        }
        "delete_topic" => first(admin.delete_topics(&[topic], &options).await?),
        "create_partitions" => {
            let wanted = NewPartitions::new(topic, input.partitions as usize);
            first(admin.create_partitions(&[wanted], &options).await?)
        }
        "delete_records" => {
            let done = admin.delete_records(&list(input, input.at)?, &options).await?;
            done.elements()[0].error()?;
            Ok(Value::Null)
        }
        "delete_group" => first(admin.delete_groups(&[&input.group], &options).await?),
        "configs" => {
            let told = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await?;
            let entries = told.into_iter().next().ok_or("no answer")??.entries;
            Ok(entries.into_iter().map(|entry| (entry.name, json!(entry.value))).collect())
        }
        "set_config" => {
            // AlterConfigs replaces everything: what is set already goes along.
            let told = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await?;
            let entries = told.into_iter().next().ok_or("no answer")??.entries;
            let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
            for entry in &entries {
                if entry.source == ConfigSource::DynamicTopic {
                    change = change.set(&entry.name, entry.value.as_deref().unwrap_or_default());
                }
            }
            for (name, value) in &input.configs {
                change = change.set(name, value);
            }
            first(admin.alter_configs(&[change], &options).await?)
        }
        other => Err(format!("no operation {other}").into()),
    }
}

fn first<T, N: std::fmt::Debug>(results: Vec<Result<T, (N, RDKafkaErrorCode)>>) -> Answer {
    match results.into_iter().next().ok_or("no answer")? {
        Ok(_) => Ok(Value::Null),
        Err((name, code)) => Err(format!("{name:?}: {code:?}: {code}").into()),
    }
}
