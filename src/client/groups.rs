//! Consumer groups, their members, and what they committed.

use super::messages::{
    Assignment, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitResponse,
    OffsetCommitTopic, OffsetFetchRequest, OffsetFetchResponse, version,
};
use super::{ANY, Client, Trouble};
use crate::codec::{ErrorCode, Reader};

/// A group.
#[derive(Debug, Default)]
pub struct Group {
    /// Kafka's name of its state.
    pub state: String,
    /// What its members agreed on.
    pub protocol: String,
    /// Its members.
    pub members: Vec<Member>,
}

/// A member.
#[derive(Debug)]
pub struct Member {
    /// What its client calls itself.
    pub client_id: String,
    /// From where it connects.
    pub host: String,
    /// What it was assigned.
    pub partitions: Vec<(String, i32)>,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The next record that the group wants; −1: none was committed.
    pub offset: i64,
}

impl Client {
    /// All groups of the cluster with the type of their protocol, by name.
    pub fn groups(&mut self) -> Result<Vec<(String, String)>, Trouble> {
        self.cluster()?;
        let mut groups = Vec::new();
        for node in self.nodes() {
            let mut r = self.ask(node, ListGroupsRequest::KEY, version::LIST_GROUPS, &mut |w| {
                ListGroupsRequest {}.encode(w, version::LIST_GROUPS);
            })?;
            let answer = ListGroupsResponse::decode(&mut r, version::LIST_GROUPS)?;
            Trouble::check("groups", answer.error_code, None)?;
            for group in answer.groups.iter() {
                let group = (group.group_id.to_string(), group.protocol_type.to_string());
                groups.insert(groups.partition_point(|other| *other < group), group);
            }
        }
        Ok(groups)
    }

    /// The broker that keeps a group.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, Trouble> {
        let (key, version) = (FindCoordinatorRequest::KEY, version::FIND_COORDINATOR);
        let mut r = self.ask(ANY, key, version, &mut |w| {
            FindCoordinatorRequest { key: group }.encode(w, version);
        })?;
        let answer = FindCoordinatorResponse::decode(&mut r, version)?;
        Trouble::check(&what(group), answer.error_code, None)?;
        let (node, host, port) = (answer.node_id, answer.host.to_string(), answer.port);
        self.broker_at(node, &host, port);
        Ok(node)
    }

    /// A group and its members; its state is Dead if there is none of that name.
    pub fn group(&mut self, coordinator: i32, group: &str) -> Result<Group, Trouble> {
        let (key, version) = (DescribeGroupsRequest::KEY, version::DESCRIBE_GROUPS);
        let mut r = self.ask(coordinator, key, version, &mut |w| {
            DescribeGroupsRequest { groups: &mut |list| list.push(group) }.encode(w, version);
        })?;
        let answer = DescribeGroupsResponse::decode(&mut r, version)?;
        let mut found = Group::default();
        for described in answer.groups.iter() {
            if described.error_code != ErrorCode::GROUP_ID_NOT_FOUND {
                Trouble::check(&what(group), described.error_code, None)?;
            }
            found.state = described.group_state.to_string();
            found.protocol = described.protocol_data.to_string();
            for member in described.members.iter() {
                found.members.push(Member {
                    client_id: member.client_id.to_string(),
                    host: member.client_host.trim_start_matches('/').to_string(),
                    partitions: assigned(member.member_assignment),
                });
            }
        }
        Ok(found)
    }

    /// All that a group has committed, in no order.
    pub fn committed(&mut self, coordinator: i32, group: &str) -> Result<Vec<Committed>, Trouble> {
        let (key, version) = (OffsetFetchRequest::KEY, version::OFFSET_FETCH);
        let mut r = self.ask(coordinator, key, version, &mut |w| {
            OffsetFetchRequest { group_id: group, topics: None }.encode(w, version);
        })?;
        let answer = OffsetFetchResponse::decode(&mut r, version)?;
        Trouble::check(&what(group), answer.error_code, None)?;
        let mut committed = Vec::new();
        for topic in answer.topics.iter() {
            for partition in topic.partitions.iter() {
                Trouble::check(&what(group), partition.error_code, None)?;
                committed.push(Committed {
                    topic: topic.name.to_string(),
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                });
            }
        }
        committed.retain(|committed| committed.offset >= 0);
        Ok(committed)
    }

    /// Deletes a group without members, and what it has committed.
    pub fn delete_group(&mut self, coordinator: i32, group: &str) -> Result<(), Trouble> {
        let (key, version) = (DeleteGroupsRequest::KEY, version::DELETE_GROUPS);
        let mut r = self.ask(coordinator, key, version, &mut |w| {
            DeleteGroupsRequest { groups_names: &mut |list| list.push(group) }.encode(w, version);
        })?;
        let answer = DeleteGroupsResponse::decode(&mut r, version)?;
        let mut codes = answer.results.iter().map(|result| result.error_code);
        codes.try_for_each(|code| Trouble::check(&what(group), code, None))
    }

    /// Commits offsets of a topic for a group without members.
    pub fn commit(
        &mut self,
        coordinator: i32,
        group: &str,
        topic: &str,
        offsets: &[(i32, i64)],
    ) -> Result<(), Trouble> {
        let (key, version) = (OffsetCommitRequest::KEY, version::OFFSET_COMMIT);
        let mut r = self.ask(coordinator, key, version, &mut |w| {
            OffsetCommitRequest {
                group_id: group,
                generation_id_or_member_epoch: -1,
                member_id: "",
                retention_time_ms: -1,
                topics: &mut |list| {
                    list.push(OffsetCommitTopic {
                        name: topic,
                        partitions: &mut |list| {
                            for (partition_index, committed_offset) in offsets {
                                list.push(OffsetCommitPartition {
                                    partition_index: *partition_index,
                                    committed_offset: *committed_offset,
                                    committed_metadata: Some(""),
                                });
                            }
                        },
                    });
                },
            }
            .encode(w, version);
        })?;
        let answer = OffsetCommitResponse::decode(&mut r, version)?;
        let mut results = answer.topics.iter().flat_map(|topic| topic.partitions.iter());
        results.try_for_each(|result| Trouble::check(&what(group), result.error_code, None))
    }
}

/// What a member was assigned; nothing, if it is no consumer.
fn assigned(bytes: &[u8]) -> Vec<(String, i32)> {
    let Ok(assignment) = Assignment::decode_prefix(&mut Reader::new(bytes), 0) else {
        return Vec::new();
    };
    let topics = assignment.topics.iter();
    let partitions = topics.flat_map(|topic| {
        topic.partitions.iter().map(move |partition| (topic.name.to_string(), partition))
    });
    partitions.collect()
}

/// What an error is about.
fn what(group: &str) -> String {
    format!("group {group}")
}
