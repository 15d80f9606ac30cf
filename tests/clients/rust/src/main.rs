//! The worker of the clients written in Rust: `clients-rust CLIENT BROKER`. Operations come as JSON
//! lines, each is answered by one line; workers.py says what each means.

mod librdkafka;
mod rskafka_client;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const OPERATION_SECONDS_MAX: u64 = 100;

pub type Answer = Result<Value, Box<dyn Error>>;

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Input {
    pub op: String,
    pub topic: String,
    pub partition: i32,
    pub records: Vec<Wire>,
    pub acks: String,
    pub idempotent: bool,
    pub codec: String,
    pub linger_ms: u64,
    pub bytes_max: u64,
    pub start: String,
    pub at: i64,
    pub count: usize,
    pub group: String,
    pub partitions: i32,
    pub configs: BTreeMap<String, String>,
    pub session_ms: u64,
    pub auto_commit: bool,
    pub instance: String,
    pub protocol: String,
}

/// A record on the worker's lines; key, value and header values are base64.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Wire {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<WireHeader>,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct WireHeader {
    pub name: String,
    pub value: Option<String>,
}

pub fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    text.as_ref().map(|text| STANDARD.decode(text).expect("base64"))
}

pub fn text(data: Option<&[u8]>) -> Option<String> {
    data.map(|data| STANDARD.encode(data))
}

pub fn tell(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("standard output");
}

/// What both clients offer; the member is librdkafka's alone.
pub trait Client {
    fn handle(&mut self, input: &Input) -> Answer;
    /// A call that sends one numbered record and waits for its acknowledgement.
    fn sender(&self, input: &Input) -> Result<Sender, Box<dyn Error>>;
}

pub type Sender = Box<dyn FnMut(String) -> Result<(), String> + Send>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (name, broker) = (arguments[1].as_str(), arguments[2].clone());
    let mut client: Box<dyn Client> = match name {
        "rdkafka" => Box::new(librdkafka::Librdkafka::new(broker)),
        "rskafka" => Box::new(rskafka_client::Rskafka::new(broker)),
        other => panic!("no client {other}"),
    };
    let mut stream = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input");
        let input: Input = serde_json::from_str(&line).expect("JSON");
        let out = match input.op.as_str() {
            "stream" => Stream::start(&*client, &input).map(|started| {
                stream = Some(started);
                Value::Null
            }),
            "stream_stop" => stream.take().expect("a stream").stop(),
            _ => client.handle(&input),
        };
        match out {
            Ok(value) => tell(&json!({ "ok": value })),
            Err(error) => tell(&json!({ "error": error.to_string() })),
        }
    }
}

/// Numbered records, each sent until it is acknowledged, whatever happens to the broker.
struct Stream {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u64>, String>>,
}

impl Stream {
    fn start(client: &dyn Client, input: &Input) -> Result<Stream, Box<dyn Error>> {
        let mut send = client.sender(input)?;
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let until = Instant::now() + Duration::from_secs(OPERATION_SECONDS_MAX);
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for number in 0u64.. {
                while let Err(error) = send(number.to_string()) {
                    if Instant::now() > until {
                        return Err(error);
                    }
                }
                acknowledged.push(number);
                if number == 0 {
                    tell(&json!({ "event": "started" }));
                }
                if seen.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(acknowledged)
        });
        Ok(Stream { ended, thread })
    }

    fn stop(self) -> Answer {
        self.ended.store(true, Ordering::Relaxed);
        let acknowledged = self.thread.join().map_err(|_| "the stream panicked")??;
        Ok(json!(acknowledged))
    }
}
