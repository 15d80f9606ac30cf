//! ConsumerGroupHeartbeat (68): joins a group that the broker assigns to, says what it is subscribed
//! to and has, learns what it shall have, and leaves. Versions 0–1.
//!
//! - 1 has members make their own ids, and adds the subscription by an expression.
//! - Epoch 0 joins, or joins again with nothing; −1 leaves; −2 is a static member that will be back.
//! - What a member must give back goes to another only when its heartbeat is without it; it has its
//!   rebalance timeout for that. The assignment is told when it changed, and to those who say all.
//! - A group that is not there is UNKNOWN_MEMBER_ID (25) to its members, where Kafka has
//!   GROUP_ID_NOT_FOUND (69): groups do not outlive a restart here, and clients join again on 25 but
//!   give up on 69. Who joins a group with members of the classic protocol has it assigned to by the broker
//!   from then on; one whose members are no consumers is 69.
//! - No expression is evaluated: one that is not empty is INVALID_REGULAR_EXPRESSION (128).
//! - Full: as with JoinGroup. Racks are kept and shown, and not used: there is one broker.

use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::topics::Busy;
use crate::clock::Now;
use crate::codec::{Array, Encode, ErrorCode, List, ListWriter, Writer, message};
use crate::group::consumer::{Beat, Beaten, NO_ROOM, Partitions, Refusal};
use crate::log::state::State;
use crate::types::{PartitionSlot, TopicId};

message! {
    /// Who is alive, and what changed.
    request ConsumerGroupHeartbeatRequest<'a>, key 68, flexible 0+ {
        group_id: &'a str, 0+;
        member_id: &'a str, 0+;
        member_epoch: i32, 0+;
        instance_id: Option<&'a str>, 0+, nullable 0+;
        rack_id: Option<&'a str>, 0+, nullable 0+;
        rebalance_timeout_ms: i32, 0+, default -1;
        subscribed_topic_names: Option<Array<'a, &'a str>>, 0+, nullable 0+;
        subscribed_topic_regex: Option<&'a str>, 1+, nullable 1+;
        server_assignor: Option<&'a str>, 0+, nullable 0+;
        topic_partitions: Option<Array<'a, OwnedTopicPartitions<'a>>>, 0+, nullable 0+;
    }

    /// The partitions of one topic that a member has.
    request OwnedTopicPartitions<'a> {
        topic_id: TopicId, 0+;
        partitions: Array<'a, i32>, 0+;
    }

    /// What the member is told.
    response ConsumerGroupHeartbeatResponse<'a>, key 68, flexible 0+ {
        throttle_time_ms: i32, 0+;
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        member_id: Option<&'a str>, 0+, nullable 0+;
        member_epoch: i32, 0+;
        heartbeat_interval_ms: i32, 0+;
        assignment: Option<Assignment<'a>>, 0+, nullable 0+;
    }

    /// All that a member has.
    response Assignment<'a> {
        topic_partitions: List<'a, TopicPartitions<'static>>, 0+;
    }

    /// The partitions of one topic.
    response TopicPartitions<'a> {
        topic_id: TopicId, 0+;
        partitions: List<'a, i32>, 0+;
    }
}

/// Takes a heartbeat.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    now: Now,
) -> Result<Step, Malformed> {
    let ask = ConsumerGroupHeartbeatRequest::decode(&mut request.reader(), request.version)?;
    let done = if out.from == 0 {
        beat(broker, request, &ask, now)
    } else {
        // A long answer, of which a part is sent.
        let again = broker.groups.beat_again(ask.group_id, ask.member_id);
        Ok(again.ok_or(Malformed("the member of a long answer is gone"))?)
    };
    let refusal = done.as_ref().err();
    if refusal == Some(&NO_ROOM)
        && let Err(Busy::Wait(until)) = broker.group_room(ask.group_id, request.client(), now)
    {
        return Ok(Step::Again(until));
    }
    if let Some(refusal) = refusal {
        broker.member_refused(ask.group_id, &request.caller(), refusal.code, now);
    }
    let beaten = done.as_ref().ok();
    let has_left = beaten.is_some_and(|beaten| beaten.member.is_none());
    let given_id = beaten.and_then(|beaten| broker.groups.beaten_id(beaten));
    let partitions = beaten.and_then(|beaten| broker.groups.beaten_partitions(beaten));
    let state = broker.log.state();
    Ok(request.reply(out, |w| {
        let mut list = |list: &mut ListWriter<'_, '_, TopicPartitions<'static>>| {
            topics(state, partitions, list);
        };
        ConsumerGroupHeartbeatResponse {
            throttle_time_ms: w.throttle_time_ms(),
            error_code: refusal.map_or(ErrorCode::NONE, |refusal| refusal.code),
            error_message: refusal.map(|refusal| refusal.why),
            member_id: if has_left { Some(ask.member_id) } else { given_id },
            member_epoch: beaten.map_or(0, |beaten| beaten.epoch),
            heartbeat_interval_ms: match given_id {
                Some(_) => broker.groups.heartbeat_ms(),
                None => 0,
            },
            assignment: partitions.map(|_| Assignment { topic_partitions: &mut list }),
        }
        .encode(w, request.version);
    }))
}

/// The answer to a request that was not read.
pub(super) fn refuse_unread(error_code: ErrorCode, w: &mut Writer<'_>, version: i16) {
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: w.throttle_time_ms(),
        error_code,
        error_message: Some("The request is too long."),
        member_id: None,
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        assignment: None,
    }
    .encode(w, version);
}

fn beat(
    broker: &mut Broker,
    request: &Request<'_>,
    ask: &ConsumerGroupHeartbeatRequest<'_>,
    now: Now,
) -> Result<Beaten, Refusal> {
    let invalid = |why| Refusal { code: ErrorCode::INVALID_REQUEST, why };
    if request.version >= OWN_ID_SINCE && ask.member_id.is_empty() {
        return Err(invalid("MemberId can't be empty."));
    }
    let has_room = ask.member_epoch != 0 || broker.group_has_room(ask.group_id);
    let random = broker.random();
    let Broker { log, groups, .. } = broker;
    let state = log.state();
    let topics =
        |each: &mut dyn FnMut(_)| ask.subscribed_topic_names.into_iter().flatten().for_each(each);
    let owned = |each: &mut dyn FnMut(PartitionSlot)| {
        for topic in ask.topic_partitions.into_iter().flatten() {
            let slot = state.topic_with_id(topic.topic_id).map(|(slot, _)| slot);
            let index = |index: i32| state.partition_of(slot?, index.try_into().ok()?);
            topic.partitions.iter().filter_map(index).for_each(&mut *each);
        }
    };
    let beat = Beat {
        group: ask.group_id,
        member_id: ask.member_id,
        epoch: ask.member_epoch,
        instance_id: ask.instance_id,
        rack: ask.rack_id,
        rebalance_ms: ask.rebalance_timeout_ms.try_into().ok(),
        topics: ask.subscribed_topic_names.is_some().then_some(&topics),
        regex: ask.subscribed_topic_regex,
        assignor: ask.server_assignor,
        owned: ask.topic_partitions.is_some().then_some(&owned),
        client_id: request.client_id.unwrap_or_default(),
        remote: request.peer.remote.ip().to_canonical(),
        random,
        has_room,
    };
    groups.beat(&beat, state, now)
}

impl Encode for Option<Assignment<'_>> {
    type Kind = Option<Assignment<'static>>;

    fn encode_to(self, w: &mut Writer<'_>) {
        match self {
            Some(assignment) => {
                1_i8.encode_to(w);
                assignment.encode_to(w);
            }
            None => (-1_i8).encode_to(w),
        }
    }
}

/// The topics of an assignment, with their partitions.
fn topics(
    state: &State,
    partitions: Option<Partitions<'_>>,
    list: &mut ListWriter<'_, '_, TopicPartitions<'static>>,
) {
    let Some(partitions) = partitions else {
        return;
    };
    for (slot, topic) in state.topics() {
        let own = || state.partitions_of(slot).filter(|(slot, _)| partitions.has(*slot));
        if own().next().is_some() {
            list.push(TopicPartitions {
                topic_id: topic.id,
                partitions: &mut |list| {
                    own().for_each(|(_, partition)| list.push(partition.index.cast_signed()));
                },
            });
        }
    }
}

/// Members make their own ids since this version.
const OWN_ID_SINCE: i16 = 1;
