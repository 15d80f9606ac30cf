//! The rules of the classic protocol, as clients see them, in a time that the tests make.

mod churn;
mod commits;
mod former;
mod joins;
mod limits;
mod rebalances;
mod shown;
mod statics;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use kafka_protocol::messages::sync_group_response::SyncGroupResponse;
use kafka_protocol::messages::{GroupId, HeartbeatRequest, LeaveGroupRequest};
use kafka_protocol::protocol::StrBytes;

use crate::broker::testing::Bench;
use crate::config::Config;

/// A broker, and clients of one group: one per connection, with a session of 10 s and 60 s for
/// rebalances.
struct World {
    bench: Bench,
}

/// What a client knows of itself.
#[derive(Debug, Clone, Default)]
struct Client {
    conn: u16,
    id: String,
    instance: Option<&'static str>,
    protocols: Vec<(&'static str, Vec<u8>)>,
    generation: i32,
    rebalance_ms: u64,
}

const GROUP: &str = "group";
const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 60_000;
const DELAY_MS: u64 = 3000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

/// A client that can do "range", and says its connection's number to it.
fn client(conn: u16) -> Client {
    let protocols = vec![("range", vec![conn as u8])];
    Client { conn, protocols, generation: -1, rebalance_ms: REBALANCE_MS, ..Client::default() }
}

fn static_client(conn: u16, instance: &'static str) -> Client {
    Client { instance: Some(instance), ..client(conn) }
}

impl Client {
    fn join_request(&self) -> JoinGroupRequest {
        let protocols = self.protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(Bytes::from(metadata.clone()))
        });
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(SESSION_MS as i32)
            .with_rebalance_timeout_ms(self.rebalance_ms as i32)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(protocols.collect())
    }

    fn sync_request(&self, assignments: &[(&str, &[u8])]) -> SyncGroupRequest {
        let assignments = assignments.iter().map(|(id, bytes)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(Bytes::copy_from_slice(bytes))
        });
        SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(text))
            .with_assignments(assignments.collect())
    }

    /// Takes over what it was told.
    fn joined(&mut self, answer: &JoinGroupResponse) {
        assert_eq!(answer.error_code, 0);
        self.id = answer.member_id.to_string();
        self.generation = answer.generation_id;
    }
}

impl World {
    fn new() -> World {
        World::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> World {
        World { bench: Bench::with(change) }
    }

    /// Joins with version 5, or 9 where it matters; none: it waits.
    fn join_as(&mut self, version: i16, client: &Client) -> Option<JoinGroupResponse> {
        self.bench.send(client.conn, version, &client.join_request())
    }

    /// Joins; a new dynamic member is told its id first, and comes again with it.
    fn join(&mut self, client: &mut Client) -> Option<JoinGroupResponse> {
        if client.id.is_empty() && client.instance.is_none() {
            let told = self.join_as(7, client).unwrap();
            assert_eq!((told.error_code, told.generation_id), (79, -1));
            client.id = told.member_id.to_string();
        }
        self.join_as(7, client)
    }

    /// The answer to a join that waited.
    fn join_answer(&mut self, client: &Client) -> Option<JoinGroupResponse> {
        self.bench.receive::<JoinGroupRequest>(client.conn, 7)
    }

    fn sync(&mut self, client: &Client, assigned: &[(&str, &[u8])]) -> Option<SyncGroupResponse> {
        self.bench.send(client.conn, 3, &client.sync_request(assigned))
    }

    fn sync_answer(&mut self, client: &Client) -> Option<SyncGroupResponse> {
        self.bench.receive::<SyncGroupRequest>(client.conn, 3)
    }

    fn heartbeat(&mut self, client: &Client) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(client.generation)
            .with_member_id(text(&client.id))
            .with_group_instance_id(client.instance.map(text));
        self.bench.ask(3, &request).error_code
    }

    fn leave(&mut self, client: &Client) -> i16 {
        let request =
            LeaveGroupRequest::default().with_group_id(group()).with_member_id(text(&client.id));
        self.bench.ask(2, &request).error_code
    }

    fn state(&self) -> &'static str {
        self.bench.broker.group_state(GROUP).name()
    }

    /// Has clients join at once, and takes them through to a stable generation. The first leads,
    /// and gives each its connection's number.
    fn stable(&mut self, clients: &mut [Client]) {
        for client in &mut *clients {
            assert!(self.join(client).is_none());
        }
        // With new members, the first rebalance takes its time twice.
        self.bench.pass_ms(DELAY_MS);
        self.bench.pass_ms(DELAY_MS);
        self.joined(clients);
        self.synced(clients);
    }

    /// All have joined, and are told so.
    fn joined(&mut self, clients: &mut [Client]) {
        for client in clients {
            let answer = self.join_answer(client).expect("all have joined");
            client.joined(&answer);
        }
    }

    /// All ask for their assignments, the leader (who is one of them) last.
    fn synced(&mut self, clients: &[Client]) {
        let assigned: Vec<(String, Vec<u8>)> =
            clients.iter().map(|c| (c.id.clone(), vec![c.conn as u8])).collect();
        let assigned: Vec<(&str, &[u8])> =
            assigned.iter().map(|(id, bytes)| (id.as_str(), bytes.as_slice())).collect();
        for client in clients.iter().rev() {
            if let Some(answer) = self.sync(client, &assigned) {
                assert_eq!(answer.error_code, 0);
                assert_eq!(answer.assignment[..], [client.conn as u8]);
            }
        }
        for client in clients.iter().rev() {
            if self.bench.broker.groups.waits(crate::types::ConnId(client.conn)) {
                let answer = self.sync_answer(client).expect("the leader has said it");
                assert_eq!(answer.assignment[..], [client.conn as u8]);
            }
        }
        assert_eq!(self.state(), "Stable");
    }

    fn stable_of(&mut self, count: u16) -> Vec<Client> {
        let mut clients: Vec<Client> = (0..count).map(client).collect();
        self.stable(&mut clients);
        clients
    }

    /// Time passes, and these show that they are alive.
    fn pass_alive_ms(&mut self, ms: u64, clients: &[&Client]) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(SESSION_MS / 2);
            self.bench.pass_ms(step);
            for client in clients {
                self.heartbeat(client);
            }
            left -= step;
        }
    }
}
