//! ConsumerGroupDescribe (69): groups that the broker assigns to, and their members. Versions 0–1.
//!
//! - 1 adds the kind of each member: of the consumer protocol (1), or of the classic one (0).
//! - A group that is not there, or was last of the classic protocol, is GROUP_ID_NOT_FOUND (69), and
//!   the client asks DescribeGroups for it; one without a name is INVALID_GROUP_ID (24).
//! - Without ACLs, everyone is authorized to all operations.

use std::fmt::Write;

use crate::api::describe_groups::GROUP_OPERATIONS_ALL;
use crate::api::{Malformed, Request, Step, Window};
use crate::broker::Broker;
use crate::broker::refusal::Note;
use crate::clock::Now;
use crate::codec::{Array, ErrorCode, List, ListWriter, message};
use crate::group::GroupShown;
use crate::group::consumer::Partitions;
use crate::log::state::State;
use crate::types::TopicId;

message! {
    /// Which groups.
    request ConsumerGroupDescribeRequest<'a>, key 69, flexible 0+ {
        group_ids: Array<'a, &'a str>, 0+;
        include_authorized_operations: bool, 0+;
    }

    /// The groups.
    response ConsumerGroupDescribeResponse<'a>, key 69, flexible 0+ {
        throttle_time_ms: i32, 0+;
        groups: List<'a, DescribedGroup<'static>>, 0+;
    }

    /// One group.
    response DescribedGroup<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        group_id: &'a str, 0+;
        group_state: &'a str, 0+;
        group_epoch: i32, 0+;
        assignment_epoch: i32, 0+;
        assignor_name: &'a str, 0+;
        members: List<'a, Member<'static>>, 0+;
        authorized_operations: i32, 0+;
    }

    /// One member.
    response Member<'a> {
        member_id: &'a str, 0+;
        instance_id: Option<&'a str>, 0+, nullable 0+;
        rack_id: Option<&'a str>, 0+, nullable 0+;
        member_epoch: i32, 0+;
        client_id: &'a str, 0+;
        client_host: &'a str, 0+;
        subscribed_topic_names: List<'a, &'static str>, 0+;
        subscribed_topic_regex: Option<&'a str>, 0+, nullable 0+;
        assignment: Assignment<'a>, 0+;
        target_assignment: Assignment<'a>, 0+;
        member_type: i8, 1+;
    }

    /// What a member has, or shall have.
    response Assignment<'a> {
        topic_partitions: List<'a, TopicPartitions<'static>>, 0+;
    }

    /// The partitions of one topic.
    response TopicPartitions<'a> {
        topic_id: TopicId, 0+;
        topic_name: &'a str, 0+;
        partitions: List<'a, i32>, 0+;
    }
}

/// Shows groups with their members.
pub fn handle(
    broker: &mut Broker,
    request: &Request<'_>,
    out: Window<'_>,
    _now: Now,
) -> Result<Step, Malformed> {
    let ask = ConsumerGroupDescribeRequest::decode(&mut request.reader(), request.version)?;
    let operations =
        if ask.include_authorized_operations { GROUP_OPERATIONS_ALL } else { i32::MIN };
    broker.groups_look();
    let broker = &*broker;
    Ok(request.reply(out, |w| {
        ConsumerGroupDescribeResponse {
            throttle_time_ms: w.throttle_time_ms(),
            groups: &mut |list| {
                for name in ask.group_ids {
                    let shown = broker.groups.show(name).filter(GroupShown::is_consumer);
                    match shown {
                        Some(shown) => group(broker.log.state(), shown, operations, list),
                        None => missing(broker, name, list),
                    }
                }
            },
        }
        .encode(w, request.version);
    }))
}

fn missing(broker: &Broker, name: &str, list: &mut ListWriter<'_, '_, DescribedGroup<'static>>) {
    let is_there =
        broker.groups.show(name).is_some() || broker.log.state().group_named(name).is_some();
    let note = match is_there {
        true => Note::new(format_args!("Group {name} is not a consumer group.")),
        false => Note::new(format_args!("Group {name} not found.")),
    };
    let named = !name.is_empty();
    list.push(DescribedGroup {
        error_code: if named { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::INVALID_GROUP_ID },
        error_message: Some(note.as_str()),
        group_id: name,
        group_state: "",
        group_epoch: 0,
        assignment_epoch: 0,
        assignor_name: "",
        members: &mut |_| {},
        authorized_operations: i32::MIN,
    });
}

fn group(
    state: &State,
    shown: GroupShown<'_>,
    authorized_operations: i32,
    list: &mut ListWriter<'_, '_, DescribedGroup<'static>>,
) {
    list.push(DescribedGroup {
        error_code: ErrorCode::NONE,
        error_message: None,
        group_id: shown.name(),
        group_state: shown.consumer_state(),
        group_epoch: shown.epoch(),
        assignment_epoch: shown.target_epoch(),
        assignor_name: shown.assignor(),
        members: &mut |list| members(state, shown, list),
        authorized_operations,
    });
}

fn members(state: &State, group: GroupShown<'_>, list: &mut ListWriter<'_, '_, Member<'static>>) {
    for member in group.consumer_members() {
        let mut host = heapless::String::<48>::new();
        write!(host, "/{}", member.remote).expect("an address has at most 45 characters");
        list.push(Member {
            member_id: member.id,
            instance_id: member.instance_id,
            rack_id: member.rack,
            member_epoch: member.epoch,
            client_id: member.client_id,
            client_host: &host,
            subscribed_topic_names: &mut |list| member.topics().for_each(|name| list.push(name)),
            subscribed_topic_regex: None,
            assignment: Assignment {
                topic_partitions: &mut |list| topics(state, member.assigned, list),
            },
            target_assignment: Assignment {
                topic_partitions: &mut |list| topics(state, member.target, list),
            },
            member_type: if member.is_classic { MEMBER_CLASSIC } else { MEMBER_CONSUMER },
        });
    }
}

fn topics(
    state: &State,
    partitions: Partitions<'_>,
    list: &mut ListWriter<'_, '_, TopicPartitions<'static>>,
) {
    for (slot, topic) in state.topics() {
        let own = || state.partitions_of(slot).filter(|(slot, _)| partitions.has(*slot));
        if own().next().is_some() {
            list.push(TopicPartitions {
                topic_id: topic.id,
                topic_name: &topic.name,
                partitions: &mut |list| {
                    own().for_each(|(_, partition)| list.push(partition.index.cast_signed()));
                },
            });
        }
    }
}

/// The kinds of members, by the protocol that they speak.
const MEMBER_CLASSIC: i8 = 0;
const MEMBER_CONSUMER: i8 = 1;
