//! Members of both protocols in one group, and the way from one kind of group to the other.

use kafka_protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
};

use super::*;

/// A consumer of the classic protocol: it gives back everything before it joins, unless it is
/// cooperative.
#[derive(Debug, Clone, Default)]
pub(super) struct Classic {
    pub conn: u16,
    pub id: String,
    pub instance: Option<&'static str>,
    pub generation: i32,
    pub cooperative: bool,
    pub owned: BTreeSet<Owned>,
}

pub(super) fn classic(conn: u16) -> Classic {
    Classic { conn, generation: -1, ..Classic::default() }
}

/// Topics with partitions, as both messages of consumers among themselves have them.
fn topics_bytes(partitions: &BTreeSet<Owned>) -> Vec<u8> {
    let names: BTreeSet<&str> = partitions.iter().map(|(topic, _)| *topic).collect();
    let mut bytes = (names.len() as i32).to_be_bytes().to_vec();
    for name in names {
        let numbers: Vec<i32> =
            partitions.iter().filter(|(topic, _)| *topic == name).map(|p| p.1).collect();
        bytes.extend((name.len() as i16).to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((numbers.len() as i32).to_be_bytes());
        numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    }
    bytes
}

pub(super) fn subscription(topics: &[&str], owned: &BTreeSet<Owned>) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.extend(topics_bytes(owned));
    bytes
}

pub(super) fn assignment(partitions: &BTreeSet<Owned>) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(topics_bytes(partitions));
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

/// The partitions of "t" in an assignment.
pub(super) fn assigned(bytes: &[u8]) -> BTreeSet<Owned> {
    let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[..2], [0, 0], "its version");
    let owned: BTreeSet<Owned> = match int(2) {
        0 => [].into(),
        1 => (0..int(9)).map(|nth| ("t", int(13 + 4 * nth as usize))).collect(),
        more => panic!("{more} topics"),
    };
    assert_eq!(bytes, assignment(&owned));
    owned
}

impl World {
    pub(super) fn classic_request(&self, client: &Classic) -> JoinGroupRequest {
        let owned = if client.cooperative { client.owned.clone() } else { [].into() };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription(&["t"], &owned).into());
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(REBALANCE_MS as i32)
            .with_member_id(text(&client.id))
            .with_group_instance_id(client.instance.map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    /// Asks to join, until it is not asked to come again with an id; none: it waits for others.
    pub(super) fn classic_join(&mut self, client: &mut Classic) -> Option<JoinGroupResponse> {
        if !client.cooperative {
            client.owned.clear();
        }
        let mut answer = self.bench.send(client.conn, 7, &self.classic_request(client))?;
        if answer.error_code == 79 {
            client.id = answer.member_id.to_string();
            answer = self.bench.send(client.conn, 7, &self.classic_request(client))?;
        }
        if answer.error_code == 0 {
            client.id = answer.member_id.to_string();
            client.generation = answer.generation_id;
        }
        Some(answer)
    }

    pub(super) fn classic_sync_as(
        &mut self,
        client: &Classic,
        all: &[(&str, Vec<u8>)],
    ) -> Option<SyncGroupResponse> {
        let assignments = all.iter().map(|(id, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(assignment.clone().into())
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text(&client.id))
            .with_generation_id(client.generation)
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.collect());
        self.bench.send(client.conn, 5, &request)
    }

    /// Asks for what it has.
    pub(super) fn classic_sync(&mut self, client: &mut Classic) -> i16 {
        let answer = self.classic_sync_as(client, &[]).expect("it is answered at once");
        if answer.error_code == 0 {
            client.owned = assigned(&answer.assignment);
        }
        answer.error_code
    }

    pub(super) fn classic_beat(&mut self, client: &Classic) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&client.id))
            .with_generation_id(client.generation);
        self.bench.ask(3, &request).error_code
    }

    pub(super) fn classic_leave(&mut self, client: &Classic) -> i16 {
        let request =
            LeaveGroupRequest::default().with_group_id(group()).with_member_id(text(&client.id));
        self.bench.ask(2, &request).error_code
    }

    /// Does what it is told: joins again when it is called.
    pub(super) fn classic_follow(&mut self, client: &mut Classic) {
        match self.classic_beat(client) {
            0 => {}
            27 => {
                let answer = self.classic_join(client).expect("it is answered at once");
                assert_eq!((answer.error_code, answer.leader.as_str()), (0, ""));
                assert_eq!(self.classic_sync(client), 0);
            }
            code => panic!("{code}"),
        }
    }

    /// A classic group of its own: the one member has all.
    pub(super) fn classic_group(&mut self, partitions: i32) -> Classic {
        let mut one = classic(1);
        let answer = self.classic_join(&mut one).unwrap();
        assert_eq!((answer.error_code, answer.members.len()), (0, 1));
        let all = assignment(&of_t(0..partitions));
        let answer = self.classic_sync_as(&one, &[(&one.id.clone(), all)]).unwrap();
        one.owned = assigned(&answer.assignment);
        assert_eq!(one.owned, of_t(0..partitions));
        one
    }

    fn shown_types(&mut self) -> Vec<i8> {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
        let shown = self.bench.ask(1, &request).groups.remove(0);
        shown.members.iter().map(|member| member.member_type).collect()
    }
}

pub(super) fn at_once(config: &mut Config) {
    config.group_initial_rebalance_delay_ms = 0;
}

#[test]
fn a_consumer_that_joins_a_classic_group_has_it_assigned_to_by_the_broker() {
    let mut world = World::with(4, at_once);
    let mut old = world.classic_group(4);
    assert_eq!(world.commit(8, &client(&old.id), old.generation), 0);
    let mut new = client("new");
    assert_eq!(world.join(&mut new), 0);
    assert_eq!((new.told.len(), world.state()), (0, "Reconciling"));
    assert_eq!(world.shown_types(), [0, 1]);
    // The classic one is called, gives everything back, and gets its half.
    assert_eq!(world.classic_beat(&old), 27);
    assert_eq!(world.classic_sync(&mut old.clone()), 27);
    world.classic_follow(&mut old);
    assert_eq!(old.owned.len(), 2);
    world.settle(std::slice::from_mut(&mut new));
    assert_eq!(&old.owned | &new.owned, of_t(0..4));
    assert_eq!((world.classic_beat(&old), old.generation), (0, new.epoch));
    // It commits in its generation by any version, and another one is refused as it expects.
    assert_eq!(world.commit(8, &client(&old.id), old.generation), 0);
    assert_eq!(world.commit(8, &client(&old.id), old.generation - 1), 22);
    assert_eq!(world.commit(8, &new, new.epoch), 35);
}

#[test]
fn a_cooperative_member_gives_back_only_what_it_shall_not_have() {
    let mut world = World::with(4, at_once);
    let mut old = Classic { cooperative: true, ..world.classic_group(4) };
    let mut new = client("new");
    assert_eq!(world.join(&mut new), 0);
    assert_eq!(world.classic_beat(&old), 27);
    let before = old.generation;
    // It still has all of it, and is told what to go on with.
    assert_eq!(world.classic_join(&mut old).unwrap().generation_id, before);
    assert_eq!(world.classic_sync(&mut old), 0);
    assert_eq!(old.owned.len(), 2);
    assert_eq!(world.follow(&mut new), 0);
    assert_eq!(new.owned.len(), 0, "nobody said that it gave it back");
    world.classic_follow(&mut old);
    assert!(old.generation > before);
    world.settle(std::slice::from_mut(&mut new));
    assert_eq!((old.owned.len(), new.owned.len()), (2, 2));
    assert_eq!(world.classic_beat(&old), 0);
}

#[test]
fn when_the_last_consumer_is_gone_the_others_choose_a_leader_again() {
    let mut world = World::with(4, at_once);
    let mut old = world.classic_group(4);
    let mut new = client("new");
    assert_eq!(world.join(&mut new), 0);
    world.classic_follow(&mut old);
    world.settle(std::slice::from_mut(&mut new));
    assert_eq!(world.leave(&new, -1), 0);
    assert!(!world.bench.broker.groups.show(GROUP).unwrap().is_consumer());
    let generation = old.generation;
    assert_eq!(world.classic_beat(&old), 27);
    let answer = world.classic_join(&mut old).unwrap();
    assert_eq!((answer.error_code, answer.leader.as_str()), (0, old.id.as_str()));
    assert_eq!((answer.members.len(), answer.generation_id > generation), (1, true));
    let all = assignment(&of_t(0..4));
    let answer = world.classic_sync_as(&old, &[(&old.id.clone(), all)]).unwrap();
    assert_eq!(assigned(&answer.assignment), of_t(0..4));
    assert_eq!(world.classic_leave(&old), 0);
    world.bench.pass_ms(crate::limits::GROUP_EMPTY_MS);
    assert_eq!(world.bench.broker.groups.bytes_used(), 0);
}

#[test]
fn a_classic_member_joins_a_group_of_consumers() {
    let mut world = World::with(4, at_once);
    let mut clients = world.joined(&["a"]);
    let mut old = classic(1);
    let answer = world.classic_join(&mut old).unwrap();
    assert_eq!((answer.error_code, answer.leader.as_str()), (0, ""));
    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    assert_eq!(world.classic_sync(&mut old), 0);
    assert_eq!(old.owned.len(), 0, "the other one has it all");
    assert_eq!(world.classic_beat(&old), 0, "there is nothing to join for");
    for _ in 0..2 {
        world.follow(&mut clients[0]);
    }
    world.classic_follow(&mut old);
    assert_eq!((old.owned.len(), clients[0].owned.len()), (2, 2));
    // It is gone after its own session.
    world.pass_alive_ms(5000, &mut [&mut clients[0]]);
    assert_eq!(world.classic_beat(&old), 0);
    world.pass_alive_ms(10_000, &mut [&mut clients[0]]);
    assert_eq!(world.classic_beat(&old), 25);
    world.settle(&mut clients);
    assert_eq!(clients[0].owned, of_t(0..4));
}

#[test]
fn a_member_is_named_by_its_own_protocol_only() {
    let mut world = World::with(2, at_once);
    let clients = world.joined(&["a"]);
    let mut as_classic = Classic { id: "a".into(), generation: clients[0].epoch, ..classic(1) };
    assert_eq!(world.classic_join(&mut as_classic).unwrap().error_code, 25);
    assert_eq!(world.classic_sync(&mut as_classic), 25);
    assert_eq!(world.classic_beat(&as_classic), 25);
    assert_eq!(world.classic_leave(&as_classic), 25);
    let mut old = classic(1);
    world.classic_join(&mut old).unwrap();
    let mut as_consumer = Client { epoch: old.generation, ..client(&old.id) };
    assert_eq!(world.beat(&mut as_consumer), 25);
}

#[test]
fn who_waits_in_a_group_that_changes_is_called_to_join_again() {
    let mut world = World::with(4, at_once);
    let mut old = world.classic_group(4);
    let mut second = classic(2);
    assert!(world.classic_join(&mut second).is_none(), "it waits for the first one");
    let mut new = client("new");
    assert_eq!(world.join(&mut new), 0);
    let told = world.bench.receive::<JoinGroupRequest>(2, 7).unwrap();
    assert_eq!(told.error_code, 27);
    assert_eq!(world.classic_join(&mut second).unwrap().error_code, 0);
    assert_eq!(world.classic_sync(&mut second), 0);
    world.classic_follow(&mut old);
    for _ in 0..3 {
        world.follow(&mut new);
        world.classic_follow(&mut second);
        world.classic_follow(&mut old);
    }
    let counts = [old.owned.len(), second.owned.len(), new.owned.len()];
    assert_eq!((counts.iter().sum::<usize>(), counts.iter().max()), (4, Some(&2)), "{counts:?}");
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_place() {
    let mut world = World::with(4, at_once);
    let mut clients = vec![client("a"), static_client("b", "one")];
    for client in &mut clients {
        assert_eq!(world.join(client), 0);
    }
    world.settle(&mut clients);
    let mut old = Classic { instance: Some("one"), ..classic(1) };
    assert_eq!(world.classic_join(&mut old).unwrap().error_code, 0);
    assert_eq!(world.classic_sync(&mut old), 0);
    assert_eq!(old.owned, clients[1].owned);
    assert_eq!(world.beat(&mut clients[1].clone()), 82);
    let mut back = static_client("c", "one");
    assert_eq!(world.join(&mut back), 0);
    assert_eq!(back.told, old.owned);
    assert_eq!(world.classic_beat(&old), 25);
    assert_eq!(world.bench.broker.groups.members_len(), 2);
}

#[test]
fn a_group_whose_members_are_no_consumers_stays_what_it_is() {
    for (kind, metadata) in [("connect", subscription(&["t"], &[].into())), ("consumer", vec![7])] {
        let mut world = World::with(2, at_once);
        let mut request = world.classic_request(&classic(1)).with_protocol_type(text(kind));
        request.protocols[0].metadata = metadata.into();
        assert_eq!(world.bench.send(1, 3, &request).unwrap().error_code, 0);
        let used = world.bench.broker.groups.bytes_used();
        assert_eq!(world.join(&mut client("a")), 69, "{kind}");
        assert_eq!(world.beat_brief(&mut Client { epoch: 1, ..client("a") }), 69);
        assert_eq!(world.leave(&client("a"), -1), 69);
        assert_eq!(world.bench.broker.groups.bytes_used(), used);
    }
    let mut world = World::new(2);
    world.joined(&["a"]);
    let bad = |kind: &str, metadata: Vec<u8>, world: &mut World| {
        let mut request = world.classic_request(&classic(1)).with_protocol_type(text(kind));
        request.protocols[0].metadata = metadata.into();
        world.bench.send(1, 3, &request).unwrap().error_code
    };
    assert_eq!(bad("connect", subscription(&["t"], &[].into()), &mut world), 23);
    assert_eq!(bad("consumer", vec![0, 1, 0], &mut world), 23);
    assert_eq!(world.bench.broker.groups.members_len(), 1);
}

#[test]
fn a_consumer_that_finds_no_room_leaves_a_classic_group_as_it_was() {
    let mut world = World::with(2, |config| {
        at_once(config);
        config.group_max_size = 1;
    });
    let mut old = world.classic_group(2);
    assert_eq!(world.join(&mut client("a")), 81);
    let stays = |world: &mut World, old: &Classic| {
        assert!(!world.bench.broker.groups.show(GROUP).unwrap().is_consumer());
        assert_eq!(world.classic_beat(old), 0, "it is not even called to join");
    };
    stays(&mut world, &old);
    let mut world = World::with(2, |config| {
        at_once(config);
        config.group_members_max = 1;
    });
    old = world.classic_group(2);
    assert_eq!(world.join(&mut client("a")), 15);
    stays(&mut world, &old);
    let mut world = World::with(2, |config| {
        at_once(config);
        config.group_members_bytes = 4096;
    });
    old = world.classic_group(2);
    let long = "x".repeat(4000);
    let request = world.request(&client("a"), 0, true);
    let request = request.with_subscribed_topic_names(Some(vec![topic(&long)]));
    assert_eq!(world.send(&request).error_code, 81);
    stays(&mut world, &old);
}

#[test]
fn an_empty_group_is_of_whichever_protocol_comes_next() {
    let mut world = World::with(2, at_once);
    // Someone was given an id, and comes with it when the group is of the other kind.
    let mut old = classic(1);
    let answer = world.bench.send(1, 7, &world.classic_request(&old)).unwrap();
    assert_eq!(answer.error_code, 79);
    old.id = answer.member_id.to_string();
    let mut a = client("a");
    assert_eq!(world.join(&mut a), 0);
    assert_eq!(world.classic_join(&mut old).unwrap().leader.as_str(), "");
    assert_eq!(world.classic_leave(&old), 0);
    assert_eq!(world.leave(&a, -1), 0);
    assert_eq!(world.bench.broker.groups.state(GROUP), crate::group::states::State::Empty);

    let old = world.classic_group(2);
    assert!(!world.bench.broker.groups.show(GROUP).unwrap().is_consumer());
    assert_eq!(world.classic_leave(&old), 0);
    assert_eq!(world.join(&mut a), 0);
    assert_eq!(a.told, of_t(0..2));
}
