//! A client of any Kafka broker, for the command line: blocking, one request at a time.
//!
//! Each API is used in one version (`messages`); whether a broker serves it is known since it was connected
//! to. There is one connection per broker that something was asked of, and one buffer each for requests and
//! answers. What may be different a moment later is asked again, for [`RETRY_MS_MAX`].

mod admin;
mod fetch;
mod groups;
pub mod messages;
mod produce;
mod topics;

pub use admin::Setting;
pub use fetch::{Position, Unpack};
pub use groups::{Committed, Group, Member};
pub use produce::Producer;
pub use topics::{EARLIEST, LATEST, Partition, Topic, leaders};

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use messages::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse, version};

use crate::api::APIS;
use crate::clock::{Clock, Mono};
use crate::codec::frame::{self, RequestHeader};
use crate::codec::{self, ErrorCode, Reader, Writer};
use crate::limits;

/// See the module.
pub struct Client {
    /// HOST:PORT, as it was given.
    address: String,
    clock: Clock,
    links: Vec<Link>,
    /// The brokers of the cluster and their addresses, as they say themselves.
    brokers: Vec<(i32, String)>,
    controller: i32,
    request: Vec<u8>,
    answer: Vec<u8>,
    correlation_id: i32,
    /// There was an answer: from now on a lost connection is made again.
    has_answered: bool,
    /// Nothing is tried again once this is set.
    stop: Arc<AtomicBool>,
}

/// A connection.
struct Link {
    node: i32,
    stream: TcpStream,
    /// The APIs that the broker serves.
    served: Vec<ApiVersion>,
}

/// Why something was not done.
#[derive(Debug)]
pub struct Trouble {
    /// What the broker answered; NONE: it did not.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
    /// It may be different a moment later.
    passes: bool,
}

impl Trouble {
    /// What no repetition changes.
    pub fn new(text: impl Into<String>) -> Trouble {
        Trouble { code: ErrorCode::NONE, text: text.into(), passes: false }
    }

    /// An answer, if it is one of an error; `what` was asked for, and the broker may say more.
    pub fn check(what: &str, code: ErrorCode, message: Option<&str>) -> Result<(), Trouble> {
        if code.is_none() {
            return Ok(());
        }
        let name = match code.name() {
            Some(name) => name.to_string(),
            None => code.to_string(),
        };
        let more = message.filter(|message| !message.is_empty()).unwrap_or(hint(code));
        let colon = if more.is_empty() { "" } else { ": " };
        let text = format!("{what}: {name}{colon}{more}");
        Err(Trouble { code, text, passes: PASSING.contains(&code) })
    }

    /// The same trouble, which may pass.
    pub fn passing(self) -> Trouble {
        Trouble { passes: true, ..self }
    }
}

impl From<codec::Error> for Trouble {
    fn from(error: codec::Error) -> Trouble {
        Trouble::new(format!("the answer is not one of Kafka's protocol: {error}"))
    }
}

impl Client {
    /// A client of the cluster that has a broker at this address. Nothing is connected yet.
    pub fn new(address: String) -> Client {
        Client {
            address,
            clock: Clock::start(),
            links: Vec::new(),
            brokers: Vec::new(),
            controller: ANY,
            request: vec![0; 4096],
            answer: Vec::new(),
            correlation_id: 0,
            has_answered: false,
            stop: Arc::default(),
        }
    }

    /// What whoever wants the work to end sets.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether the work is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tries until it is done, cannot be, or has been tried for long enough.
    pub fn retry(
        &mut self,
        attempt: &mut dyn FnMut(&mut Client) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        self.retry_for(RETRY_MS_MAX, attempt)
    }

    /// The same with another bound on the time.
    pub fn retry_for(
        &mut self,
        ms_max: u64,
        attempt: &mut dyn FnMut(&mut Client) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let until = self.clock.mono().plus_ms(ms_max);
        self.retry_until(until, attempt)
    }

    fn retry_until(
        &mut self,
        until: Mono,
        attempt: &mut dyn FnMut(&mut Client) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            let tried = attempt(self);
            let is_over = self.is_stopped() || self.clock.mono() >= until;
            match tried {
                Err(trouble) if trouble.passes && !is_over => {
                    self.links.clear();
                    std::thread::sleep(Duration::from_millis(pause_ms));
                    pause_ms = PAUSE_MS_MAX.min(pause_ms * 2);
                }
                done => return done,
            }
        }
    }

    /// Asks a broker, or [`ANY`], and gives what follows the header of its answer.
    fn ask(
        &mut self,
        node: i32,
        key: i16,
        version: i16,
        encode: &mut dyn FnMut(&mut Writer<'_>),
    ) -> Result<Reader<'_>, Trouble> {
        let at = self.link(node)?;
        let is_it = |api: &ApiVersion| {
            api.api_key == key && (api.min_version..=api.max_version).contains(&version)
        };
        if !self.links[at].served.iter().any(is_it) {
            let peer = self.address_of(node);
            let name = APIS.iter().find(|api| api.key == key).map_or("", |api| api.name);
            return Err(Trouble::new(format!(
                "{peer} does not serve {name} in version {version}: it is too old or too new for this \
                 command, which Kafka since 2.4 serves"
            )));
        }
        self.ask_on(at, node, key, version, encode)
    }

    /// The same on a connection that is there.
    fn ask_on(
        &mut self,
        at: usize,
        node: i32,
        key: i16,
        version: i16,
        encode: &mut dyn FnMut(&mut Writer<'_>),
    ) -> Result<Reader<'_>, Trouble> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = RequestHeader {
            api_key: key,
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some(CLIENT_ID),
        };
        let bytes = loop {
            let mut w = Writer::new(&mut self.request);
            frame::request_begin(&mut w, &header);
            encode(&mut w);
            match frame::response_end(&mut w) {
                Ok(bytes) => break bytes,
                Err(_) if w.len() > limits::CLIENT_FRAME_BYTES_MAX => {
                    return Err(Trouble::new("it is too much for one request"));
                }
                Err(_) => {
                    let bytes = w.len();
                    self.request.resize(bytes, 0);
                }
            }
        };
        let request = self.request.get(..bytes).unwrap_or_default();
        let exchanged = exchange(&mut self.links[at].stream, request, &mut self.answer);
        let answered = exchanged.map_err(|error| {
            let peer = self.address_of(node);
            match error.kind() {
                ErrorKind::InvalidData => {
                    Trouble::new(format!("{peer} does not answer as a Kafka broker: {error}"))
                }
                ErrorKind::UnexpectedEof if !self.has_answered => Trouble::new(format!(
                    "{peer} closes the connection: it may want TLS or a password, which there is no \
                     option for here, or be no Kafka broker"
                )),
                _ => Trouble::new(format!("the connection to {peer} is lost: {error}")).passing(),
            }
        });
        if let Err(trouble) = answered {
            self.links.swap_remove(at);
            return Err(trouble);
        }
        let mut reader = Reader::new(&self.answer);
        let repeated = <i32 as codec::Decode>::decode_from(&mut reader)?;
        if repeated != header.correlation_id {
            self.links.clear();
            return Err(Trouble::new("the answer belongs to another request"));
        }
        self.has_answered = true;
        Ok(reader)
    }

    /// The place of the connection to a broker, which is made if there is none.
    fn link(&mut self, node: i32) -> Result<usize, Trouble> {
        if let Some(at) = self.links.iter().position(|link| link.node == node) {
            return Ok(at);
        }
        let address = self.address_of(node);
        match connect(address) {
            Ok(stream) => self.links.push(Link { node, stream, served: Vec::new() }),
            Err(error) => {
                let named = match node {
                    ANY => "--broker names another one".to_string(),
                    _ => format!("so the broker at {} calls broker {node}", self.address),
                };
                let text = format!("no broker answers at {address}: {error}; {named}");
                return Err(Trouble { passes: self.has_answered, ..Trouble::new(text) });
            }
        }
        let at = self.links.len() - 1;
        let served = self.served(at, node)?;
        self.links[at].served = served;
        Ok(at)
    }

    /// What a broker says that it serves.
    fn served(&mut self, at: usize, node: i32) -> Result<Vec<ApiVersion>, Trouble> {
        let (key, version) = (ApiVersionsRequest::KEY, version::API_VERSIONS);
        let mut r = self.ask_on(at, node, key, version, &mut |w| {
            ApiVersionsRequest {}.encode(w, version);
        })?;
        let answer = ApiVersionsResponse::decode(&mut r, version)?;
        Trouble::check("the broker", answer.error_code, None)?;
        Ok(answer.api_keys.iter().collect())
    }

    fn address_of(&self, node: i32) -> &str {
        let broker = self.brokers.iter().find(|(id, _)| *id == node);
        broker.map_or(&self.address, |(_, address)| address)
    }

    /// Where a broker of the cluster is.
    fn broker_at(&mut self, node: i32, host: &str, port: i32) {
        let colons = host.contains(':');
        let address = if colons { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        self.brokers.retain(|(id, _)| *id != node);
        self.brokers.push((node, address));
    }
}

/// To the first of the name's addresses that answers.
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends a frame, and reads the one that answers it, without its length.
fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> std::io::Result<()> {
    stream.write_all(request)?;
    let mut length = [0; frame::LENGTH_BYTES];
    read_exact(stream, &mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limits::CLIENT_FRAME_BYTES_MAX {
        let text = format!("an answer of {length} bytes is longer than any that is read");
        return Err(std::io::Error::new(ErrorKind::InvalidData, text));
    }
    answer.resize(length, 0);
    read_exact(stream, answer)
}

/// What a time-out is called depends on the system.
fn read_exact(stream: &mut TcpStream, into: &mut [u8]) -> std::io::Result<()> {
    stream.read_exact(into).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => std::io::Error::new(ErrorKind::TimedOut, "no answer for 30 s"),
        ErrorKind::UnexpectedEof => std::io::Error::new(error.kind(), "it was closed"),
        _ => error,
    })
}

/// What to do about an error of which the broker says no more.
fn hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            "it is not there; brooklet topics lists those that are"
        }
        ErrorCode::TOPIC_ALREADY_EXISTS => "it is there already; topics alter changes it",
        ErrorCode::INVALID_TOPIC_EXCEPTION => {
            "a name has up to 249 letters, digits, dots, dashes and underscores"
        }
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
            "message_max_bytes of the broker, or max.message.bytes of the topic, is smaller"
        }
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
            "the group has members, which commit by themselves; stop them first"
        }
        ErrorCode::NON_EMPTY_GROUP => "the group has members; stop them first",
        ErrorCode::GROUP_ID_NOT_FOUND => "it is not there; brooklet groups lists those that are",
        ErrorCode::UNSUPPORTED_VERSION => "the broker is too old or too new for this command",
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        | ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED => {
            "the broker does not allow it from here; admin_from names those who may"
        }
        ErrorCode::INVALID_RECORD => "compacted topics want a key in each record",
        _ => "",
    }
}

/// Any broker: the one that was named.
const ANY: i32 = i32::MIN;
/// What the broker's log calls us.
const CLIENT_ID: &str = "brooklet";
/// For how long something is tried again.
pub const RETRY_MS_MAX: u64 = 30_000;
/// The first pause in between; each is twice as long as the one before it.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 1000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What brokers are given for what they do, below the time-out of their answers.
const REQUEST_TIMEOUT_MS: i32 = 20_000;

/// Codes that say: not now, or not here any more.
const PASSING: [ErrorCode; 18] = [
    ErrorCode::LEADER_NOT_AVAILABLE,
    ErrorCode::NOT_LEADER_OR_FOLLOWER,
    ErrorCode::REQUEST_TIMED_OUT,
    ErrorCode::BROKER_NOT_AVAILABLE,
    ErrorCode::REPLICA_NOT_AVAILABLE,
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
    ErrorCode::NOT_ENOUGH_REPLICAS,
    ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ErrorCode::REBALANCE_IN_PROGRESS,
    ErrorCode::NOT_CONTROLLER,
    ErrorCode::KAFKA_STORAGE_ERROR,
    ErrorCode::FENCED_LEADER_EPOCH,
    ErrorCode::UNKNOWN_LEADER_EPOCH,
    ErrorCode::OFFSET_NOT_AVAILABLE,
    ErrorCode::UNSTABLE_OFFSET_COMMIT,
    ErrorCode::THROTTLING_QUOTA_EXCEEDED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_was_asked_for_the_code_and_what_to_do() {
        let text = |code, message| Trouble::check("topic t", code, message).unwrap_err().text;
        assert!(Trouble::check("topic t", ErrorCode::NONE, None).is_ok());
        assert_eq!(
            text(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None),
            "topic t: UNKNOWN_TOPIC_OR_PARTITION: it is not there; brooklet topics lists those that are"
        );
        assert_eq!(text(ErrorCode::INVALID_CONFIG, Some("no")), "topic t: INVALID_CONFIG: no");
        assert_eq!(text(ErrorCode(999), Some("")), "topic t: error code 999");
    }

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        let mut client = Client::new(String::new());
        let mut tries = 0;
        let done = client.retry(&mut |_| {
            tries += 1;
            let code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            if tries < 3 { Trouble::check("t", code, None) } else { Ok(()) }
        });
        assert!(done.is_ok());
        assert_eq!(tries, 3);
        let now = client.clock.mono();
        for (until, code) in
            [(now, ErrorCode::NOT_CONTROLLER), (now.plus_ms(60_000), ErrorCode::INVALID_CONFIG)]
        {
            let mut tries = 0;
            let done = client.retry_until(until, &mut |_| {
                tries += 1;
                Trouble::check("t", code, None)
            });
            assert_eq!((done.unwrap_err().code, tries), (code, 1));
        }
    }
}
