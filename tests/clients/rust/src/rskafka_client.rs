//! rskafka: no groups, no idempotence, acks=all always.

use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{Answer, Client, Input, OPERATION_SECONDS_MAX, Sender, Wire, WireHeader, bytes, text};

const TIMEOUT_MS: i32 = 10_000;
const FETCH_BYTES: std::ops::Range<i32> = 1..4_000_000;
const FETCH_WAIT_MS: i32 = 500;

pub struct Rskafka {
    broker: String,
    runtime: Runtime,
}

impl Rskafka {
    pub fn new(broker: String) -> Rskafka {
        Rskafka { broker, runtime: runtime() }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Client for Rskafka {
    fn handle(&mut self, input: &Input) -> Answer {
        self.runtime.block_on(handle(&self.broker, input))
    }

    fn sender(&self, input: &Input) -> Result<Sender, Box<dyn Error>> {
        let (broker, input, runtime) = (self.broker.clone(), input.clone(), runtime());
        let mut connected = None;
        Ok(Box::new(move |value| {
            runtime.block_on(async {
                if connected.is_none() {
                    let opened = partition(&broker, &input.topic, input.partition).await;
                    connected = Some(opened.map_err(|error| error.to_string())?);
                }
                let record =
                    outgoing(&Wire { value: text(Some(value.as_bytes())), ..Wire::default() });
                let partition = connected.as_ref().expect("just connected");
                let sent = partition.produce(vec![record], Compression::NoCompression).await;
                sent.map(|_| ()).map_err(|error| error.to_string())
            })
        }))
    }
}

async fn handle(broker: &str, input: &Input) -> Answer {
    let client = ClientBuilder::new(vec![broker.to_owned()]).build().await?;
    match input.op.as_str() {
        "produce" => produce(broker, input).await,
        "consume" => consume(broker, input).await,
        "offset" => {
            let partition = partition(broker, &input.topic, input.partition).await?;
            Ok(json!(partition.get_offset(asked(input)).await?))
        }
        "create_topic" => {
            let controller = client.controller_client()?;
            controller.create_topic(&input.topic, input.partitions, 1, TIMEOUT_MS).await?;
            Ok(Value::Null)
        }
        "delete_topic" => {
            client.controller_client()?.delete_topic(&input.topic, TIMEOUT_MS).await?;
            Ok(Value::Null)
        }
        "list_topics" => {
            let topics = client.list_topics().await?;
            Ok(json!(topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>()))
        }
        "partitions" => {
            let topics = client.list_topics().await?;
            let topic = topics.into_iter().find(|topic| topic.name == input.topic);
            Ok(json!(topic.ok_or("no such topic")?.partitions.len()))
        }
        "delete_records" => {
            let partition = partition(broker, &input.topic, input.partition).await?;
            partition.delete_records(input.at, TIMEOUT_MS).await?;
            Ok(Value::Null)
        }
        other => Err(format!("no operation {other}").into()),
    }
}

async fn partition(
    broker: &str,
    topic: &str,
    index: i32,
) -> Result<PartitionClient, rskafka::client::error::Error> {
    let client = ClientBuilder::new(vec![broker.to_owned()]).build().await?;
    client.partition_client(topic, index, UnknownTopicHandling::Error).await
}

fn asked(input: &Input) -> OffsetAt {
    match input.start.as_str() {
        "earliest" => OffsetAt::Earliest,
        "latest" => OffsetAt::Latest,
        _ => OffsetAt::Timestamp(Utc.timestamp_millis_opt(input.at).unwrap()),
    }
}

fn outgoing(wire: &Wire) -> Record {
    let timestamp = match wire.timestamp {
        0 => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
            Utc.timestamp_millis_opt(now.as_millis() as i64).unwrap()
        }
        stamp => Utc.timestamp_millis_opt(stamp).unwrap(),
    };
    let headers = wire.headers.iter();
    Record {
        key: bytes(&wire.key),
        value: bytes(&wire.value),
        headers: headers
            .map(|header| (header.name.clone(), bytes(&header.value).unwrap_or_default()))
            .collect(),
        timestamp,
    }
}

async fn produce(broker: &str, input: &Input) -> Answer {
    let codec = match input.codec.as_str() {
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::NoCompression,
    };
    // What it is told to produce at once is one batch.
    for run in input.records.chunk_by(|a, b| a.partition == b.partition) {
        let partition = partition(broker, &input.topic, run[0].partition).await?;
        partition.produce(run.iter().map(outgoing).collect(), codec).await?;
    }
    Ok(Value::Null)
}

async fn consume(broker: &str, input: &Input) -> Answer {
    let partition = partition(broker, &input.topic, input.partition).await?;
    let mut next = match input.start.as_str() {
        "offset" => input.at,
        _ => partition.get_offset(asked(input)).await?,
    };
    let until = Instant::now() + Duration::from_secs(OPERATION_SECONDS_MAX);
    let mut out: Vec<Wire> = Vec::new();
    while out.len() < input.count {
        if Instant::now() > until {
            return Err(format!("{} of {} records", out.len(), input.count).into());
        }
        let (records, _) = partition.fetch_records(next, FETCH_BYTES, FETCH_WAIT_MS).await?;
        for record in records {
            next = record.offset + 1;
            out.push(incoming(input.partition, &record));
        }
    }
    out.truncate(input.count);
    Ok(json!(out))
}

fn incoming(partition: i32, got: &RecordAndOffset) -> Wire {
    let headers = got.record.headers.iter();
    Wire {
        partition,
        offset: got.offset,
        timestamp: got.record.timestamp.timestamp_millis(),
        key: text(got.record.key.as_deref()),
        value: text(got.record.value.as_deref()),
        headers: headers
            .map(|(name, value)| WireHeader { name: name.clone(), value: text(Some(value)) })
            .collect(),
    }
}
